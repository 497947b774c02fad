"""A mixer's inside, composed of an engine's convolution and its scan."""

import torch
import torch.nn.functional as F


def decay_rates(A_log):
    """Return A = -exp(A_log), None for None.

    Arguments
    ---------
    A_log : torch.Tensor or None
        [D, N].

    Returns
    -------
    torch.Tensor or None
        [D, N], float32 or wider.

    Example
    -------
    >>> decay_rates(torch.zeros(1, 2))
    tensor([[-1., -1.]])
    """
    if A_log is None:
        return None
    dtype = torch.promote_types(A_log.dtype, torch.float32)
    return -torch.exp(A_log.to(dtype))


def log_gradient(gradient, A):
    """Return the gradient of A_log from that of A = -exp(A_log).

    Arguments
    ---------
    gradient : torch.Tensor or None
        [D, N].
    A : torch.Tensor or None
        [D, N].

    Returns
    -------
    torch.Tensor or None

    Example
    -------
    >>> log_gradient(torch.ones(1, 2), torch.full((1, 2), -3.0))
    tensor([[-3., -3.]])
    """
    return None if A is None else gradient * A


def select(u, x_proj, rank):
    """Return low-rank step sizes, B and C, which the convolved input selects.

    Arguments
    ---------
    u : torch.Tensor
        Convolved input, [B, L, D].
    x_proj : torch.Tensor
        [R + 2 N, D].
    rank : int
        R, the width of the step sizes.

    Returns
    -------
    list of torch.Tensor
        Step sizes [B, L, R], B and C [B, L, N] each.

    Example
    -------
    >>> dt, B, C = select(torch.randn(2, 5, 8), torch.randn(7, 8), rank=1)
    >>> dt.shape, B.shape, C.shape
    (torch.Size([2, 5, 1]), torch.Size([2, 5, 3]), torch.Size([2, 5, 3]))
    """
    n_state = (x_proj.shape[0] - rank) // 2
    return F.linear(u, x_proj).split([rank, n_state, n_state], dim=-1)


def weight_gradient(grad_output, inputs):
    """Return the gradient of a projection's weight, [out, in].

    Arguments
    ---------
    grad_output : torch.Tensor
        [B, L, out].
    inputs : torch.Tensor
        [B, L, in].

    Returns
    -------
    torch.Tensor

    Example
    -------
    >>> weight_gradient(torch.ones(1, 3, 2), torch.ones(1, 3, 4)).tolist()
    [[3.0, 3.0, 3.0, 3.0], [3.0, 3.0, 3.0, 3.0]]
    """
    grad_output, inputs = grad_output.flatten(0, 1), inputs.flatten(0, 1)
    # Libraries multiply fastest with the wider matrix on the right.
    if inputs.shape[1] < grad_output.shape[1]:
        return (inputs.t() @ grad_output).t()
    return grad_output.t() @ inputs


def compose_inner(scan_forward, scan_backward, conv_forward, conv_backward):
    """Return ``inner_forward`` and ``inner_backward`` of an engine.

    Arguments
    ---------
    scan_forward : callable
        As in `audiomamba.ops.engines`, as the other three.
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

    def inner_forward(
        xz, conv_weight, conv_bias, x_proj, dt_proj, dt_bias, A_log, A_b_log,
        D, lengths,
    ):  # fmt: skip
        x, z = xz.chunk(2, dim=-1)
        A, A_b = decay_rates(A_log), decay_rates(A_b_log)
        u = conv_forward(x, conv_weight, conv_bias, True, A is None, lengths)
        dt, B, C = select(u, x_proj, dt_proj.shape[1])
        delta = F.linear(dt, dt_proj)
        return scan_forward(
            u, delta, A, A_b, B, C, D, z, dt_bias, True, lengths
        )

    def inner_backward(
        grad_output, xz, conv_weight, conv_bias, x_proj, dt_proj, dt_bias,
        A_log, A_b_log, D, lengths,
    ):  # fmt: skip
        x, z = xz.chunk(2, dim=-1)
        A, A_b = decay_rates(A_log), decay_rates(A_b_log)
        conv = (x, conv_weight, conv_bias, True, A is None, lengths)
        u = conv_forward(*conv)
        dt, B, C = select(u, x_proj, dt_proj.shape[1])
        delta = F.linear(dt, dt_proj)
        du, d_delta, dA, dA_b, dB, dC, dD, dz, d_bias = scan_backward(
            *(grad_output, u, delta, A, A_b, B, C, D, z, dt_bias),
            *(True, lengths),
        )
        d_selected = torch.cat((d_delta @ dt_proj, dB, dC), dim=-1)
        dx, *d_conv = conv_backward(du + d_selected @ x_proj, *conv)
        return [
            torch.cat((dx, dz), dim=-1),
            *d_conv,
            weight_gradient(d_selected, u),
            weight_gradient(d_delta, dt),
            *(d_bias, log_gradient(dA, A), log_gradient(dA_b, A_b), dD),
        ]

    return inner_forward, inner_backward
