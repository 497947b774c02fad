"""The operators on the stock kernels of `mamba-ssm` 2 and `causal-conv1d`.

Neither package is patched.  Both know one direction and no lengths: the other
direction is the flipped sequence, and padding is zeroed before either sees
it.  A step of size zero leaves the state as it is, so padding that a flip
brings to the front does nothing.

The packages want [B, D, L] without gaps, which costs a copy per tensor; and
as an operator keeps nothing between its passes, the backward pass runs the
forward one again.  A fair comparison with these packages times their own
modules.
"""

import torch
import torch.nn.functional as F

from audiomamba.ops.composed import compose_inner


def _scan(*arguments):
    """Call the scan of `mamba-ssm`."""
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

    return selective_scan_fn(*arguments)


def _convolve(x, weight, bias, activation):
    """Call the convolution of `causal-conv1d`, with SiLU or without."""
    from causal_conv1d import causal_conv1d_fn

    name = "silu" if activation else None
    return causal_conv1d_fn(x, weight, bias, activation=name)


def _zero_padding(lengths, *tensors):
    """Return tensors [B, L, D] with zeros behind the lengths."""
    if lengths is None:
        return tensors
    steps = torch.arange(tensors[0].shape[1], device=tensors[0].device)
    padding = (steps >= lengths.to(steps.device)[:, None]).unsqueeze(-1)
    return [None if t is None else t.masked_fill(padding, 0) for t in tensors]


def _channels_first(tensor, reverse):
    """Return [B, L, D] as [B, D, L], flipped in time for reverse."""
    if tensor is None:
        return None
    return (tensor.flip(1) if reverse else tensor).mT.contiguous()


def _channels_last(tensor, reverse):
    """Return [B, D, L] as [B, L, D], flipped in time for reverse."""
    return (tensor.flip(2) if reverse else tensor).mT.contiguous()


def _gradients(function, tensors, grad):
    """Return the gradients of a package's function, None where not given."""
    leaves = [None if t is None else t.detach() for t in tensors]
    given = [t.requires_grad_() for t in leaves if t is not None]
    with torch.enable_grad():
        output = function(*leaves)
    found = iter(torch.autograd.grad(output, given, grad))
    return [None if t is None else next(found) for t in leaves]


def _directions(A, A_b):
    """Return the given matrices in float32, and which are reverse."""
    pairs = ((A, False), (A_b, True))
    return [(m.float(), reverse) for m, reverse in pairs if m is not None]


def _before_softplus(delta, bias):
    return delta.float() if bias is None else delta.float() + bias


def _prepared(u, delta, B, C, D, z, bias, softplus, lengths):
    """Return the scan's inputs as `selective_scan_fn` wants them, but for A.

    With lengths, bias and softplus come first, as either would make a step
    of the zeros behind the content.
    """
    if lengths is not None:
        delta = _before_softplus(delta, bias)
        delta = F.softplus(delta) if softplus else delta
        bias, softplus = None, False
    rows = _zero_padding(lengths, u, delta, B, C, z)
    rows = [None if t is None else t.to(u.dtype) for t in rows]
    D, bias = (None if t is None else t.float() for t in (D, bias))
    return rows, D, bias, softplus


def scan_forward(u, delta, A, A_b, *arguments):
    """Compute the scan; see `audiomamba.ops.selective_scan`."""
    rows, D, bias, softplus = _prepared(u, delta, *arguments)
    total = 0
    for matrix, reverse in _directions(A, A_b):
        x, step, B, C, z = (_channels_first(t, reverse) for t in rows)
        y = _scan(x, step, matrix, B, C, D, z, bias, softplus)
        total = total + _channels_last(y, reverse)
    return total


def scan_backward(grad, u, delta, A, A_b, *arguments):
    """Return the gradients of the nine tensors, None where not given."""
    B, C, D, z, bias, softplus, lengths = arguments
    given = (u, delta, A, A_b, B, C, D, z, bias)
    rows, D, inner_bias, inner_softplus = _prepared(u, delta, *arguments)
    (grad,) = _zero_padding(lengths, grad)
    dA, total = {}, None
    for matrix, reverse in _directions(A, A_b):
        x, step, B, C, z = (_channels_first(t, reverse) for t in rows)
        du, ddelta, dA[reverse], dB, dC, *others, dz, dbias = _gradients(
            lambda *tensors, s=inner_softplus: _scan(*tensors, s),
            (x, step, matrix, B, C, D, z, inner_bias),
            _channels_first(grad.to(x.dtype), reverse),
        )
        parts = [
            None if t is None else _channels_last(t, reverse)
            for t in (du, ddelta, dB, dC, dz)
        ]
        parts += [*others, dbias]
        total = (
            parts
            if total is None
            else [None if a is None else a + b for a, b in zip(total, parts)]
        )
    du, ddelta, dB, dC, dz, dD, dbias = total
    if lengths is not None:
        ddelta = ddelta.float()
        if softplus:
            ddelta = ddelta * torch.sigmoid(_before_softplus(delta, bias))
        (ddelta,) = _zero_padding(lengths, ddelta)
        dbias = ddelta.sum((0, 1))
    found = (du, ddelta, dA.get(False), dA.get(True), dB, dC, dD, dz, dbias)
    return [None if t is None else g.to(t.dtype) for g, t in zip(found, given)]


def conv_forward(x, weight, bias, activation, reverse, lengths):
    """Compute the convolution; see `audiomamba.ops.causal_conv1d`."""
    (x,) = _zero_padding(lengths, x)
    y = _convolve(_channels_first(x, reverse), weight, bias, activation)
    (y,) = _zero_padding(lengths, _channels_last(y, reverse))
    return y


def conv_backward(grad, x, weight, bias, activation, reverse, lengths):
    """Return the gradients of input, weight and bias."""
    grad, x = _zero_padding(lengths, grad, x)
    dx, dweight, dbias = _gradients(
        lambda *tensors: _convolve(*tensors, activation),
        (_channels_first(x, reverse), weight, bias),
        _channels_first(grad.to(x.dtype), reverse),
    )
    (dx,) = _zero_padding(lengths, _channels_last(dx, reverse))
    found, given = (dx, dweight, dbias), (x, weight, bias)
    return [None if t is None else g.to(t.dtype) for g, t in zip(found, given)]


inner_forward, inner_backward = compose_inner(
    scan_forward, scan_backward, conv_forward, conv_backward
)
