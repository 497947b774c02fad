"""A mixer's inside, from an engine's convolution and its scan."""

import torch

from audiomamba.ops.arguments import ConvArguments, ScanArguments
from audiomamba.ops.products import linear, multiply


def decay_rates(A_log):
    """Return A = -exp(A_log), [D, N] in float32 or wider, None for None."""
    if A_log is None:
        return None
    dtype = torch.promote_types(A_log.dtype, torch.float32)
    return -torch.exp(A_log.to(dtype))


def log_gradient(gradient, A):
    """Return the gradient of A_log from that of A = -exp(A_log)."""
    return None if A is None else gradient * A


def split_gate(xz, like):
    """Return the input and the gate, None for an input without one.

    ``like`` has as many channels as the input, last.
    """
    x, *gate = xz.split(like.shape[-1], dim=-1)
    return x, gate[0] if gate else None


def before_scan(inner, conv_forward):
    """Compute a mixer's inside up to the scan.

    Arguments
    ---------
    inner : InnerArguments
    conv_forward : callable
        The engine's convolution.

    Returns
    -------
    conv : ConvArguments
        What the convolution was given.
    scan : ScanArguments
        What the scan needs, except that ``delta`` is dt, [B, L, R].
    """
    x, z = split_gate(inner.xz, inner.x_proj)
    A, A_b = decay_rates(inner.A_log), decay_rates(inner.A_b_log)
    conv = ConvArguments(
        x, inner.conv_weight, inner.conv_bias, True, A is None, inner.lengths
    )
    u = conv_forward(conv)
    rank = inner.dt_proj.shape[1]
    n_state = (inner.x_proj.shape[0] - rank) // 2
    selected = linear(u, inner.x_proj)
    dt, B, C = selected.split([rank, n_state, n_state], dim=-1)
    scan = ScanArguments(
        u, dt, A, A_b, B, C, inner.D, z, inner.dt_bias, True, inner.lengths
    )
    return conv, scan


def weight_gradient(grad_output, inputs):
    """Return the gradient of a projection's weight, [out, in].

    ``grad_output`` is [B, L, out], ``inputs`` [B, L, in].
    """
    grad_output, inputs = grad_output.flatten(0, 1), inputs.flatten(0, 1)
    # Libraries multiply fastest with the wider matrix on the right.
    if inputs.shape[1] < grad_output.shape[1]:
        return multiply(inputs.t(), grad_output).t()
    return multiply(grad_output.t(), inputs)


def compose_inner(scan_forward, scan_backward, conv_forward, conv_backward):
    """Return ``inner_forward`` and ``inner_backward`` of an engine.

    Arguments
    ---------
    scan_forward : callable
        As described in `audiomamba.ops.engines`, like the other three.
    scan_backward : callable
    conv_forward : callable
    conv_backward : callable

    Returns
    -------
    tuple of callable
        See `audiomamba.ops.mamba_inner`.

    Example
    -------
    >>> from audiomamba.ops import reference as r
    >>> forward, backward = compose_inner(
    ...     r.scan_forward, r.scan_backward, r.conv_forward, r.conv_backward
    ... )
    """

    def inner_forward(inner):
        _, scan = before_scan(inner, conv_forward)
        delta = linear(scan.delta, inner.dt_proj)
        return scan_forward(scan._replace(delta=delta))

    def inner_backward(grad_output, inner):
        conv, scan = before_scan(inner, conv_forward)
        dt, delta = scan.delta, linear(scan.delta, inner.dt_proj)
        du, d_delta, dA, dA_b, dB, dC, dD, dz, d_bias = scan_backward(
            grad_output, scan._replace(delta=delta)
        )
        d_dt = multiply(d_delta, inner.dt_proj)
        d_selected = torch.cat((d_dt, dB, dC), dim=-1)
        dx, *d_conv = conv_backward(
            du + multiply(d_selected, inner.x_proj), conv
        )
        return [
            dx if dz is None else torch.cat((dx, dz), dim=-1),
            *d_conv,
            weight_gradient(d_selected, scan.u),
            weight_gradient(d_delta, dt),
            d_bias,
            log_gradient(dA, scan.A),
            log_gradient(dA_b, scan.A_b),
            dD,
        ]

    return inner_forward, inner_backward
