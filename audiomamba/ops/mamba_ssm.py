"""The operators on the stock kernels of `mamba-ssm` 2 and `causal-conv1d`.

Neither package is patched.  Both know one direction and no lengths: the other
direction is the flipped sequence, and padding is zeroed first.  A step of size
zero leaves the state as it is, so padding that a flip brings to the front has
no effect.

The packages take contiguous [B, D, L], which costs a copy per tensor; and as
an operator keeps nothing between its passes, the backward pass runs the
forward pass again.  To compare with these packages fairly, time their own
modules.
"""

import torch
import torch.nn.functional as F

from audiomamba.ops.inner_from_parts import compose_inner
from audiomamba.ops.optional_gradients import cast_like


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
    """Return tensors [B, L, D] with zeros past the lengths."""
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


def _directions(scan):
    """Return the given decay rates, each with whether it scans backward."""
    both = ((scan.A, False), (scan.A_b, True))
    return [(A.float(), reverse) for A, reverse in both if A is not None]


def _before_softplus(scan):
    delta, bias = scan.delta.float(), scan.delta_bias
    return delta if bias is None else delta + bias


def _prepare(scan):
    """Return the scan's arguments as `selective_scan_fn` takes them.

    With lengths, bias and softplus are applied first: either would turn the
    zeros of the padding into a step.
    """
    if scan.lengths is not None:
        delta = _before_softplus(scan)
        delta = F.softplus(delta) if scan.delta_softplus else delta
        scan = scan._replace(delta=delta, delta_bias=None, delta_softplus=False)
    rows = (scan.u, scan.delta, scan.B, scan.C, scan.z)
    rows = _zero_padding(scan.lengths, *rows)
    rows = [None if t is None else t.to(scan.u.dtype) for t in rows]
    singles = (scan.D, scan.delta_bias)
    D, bias = (None if t is None else t.float() for t in singles)
    scan = scan._replace(**dict(zip(("u", "delta", "B", "C", "z"), rows)))
    return scan._replace(D=D, delta_bias=bias)


def _one_way(scan, A, reverse):
    """Return the eight tensors that `selective_scan_fn` takes."""
    rows = (scan.u, scan.delta, scan.B, scan.C, scan.z)
    u, delta, B, C, z = (_channels_first(t, reverse) for t in rows)
    return u, delta, A, B, C, scan.D, z, scan.delta_bias


def scan_forward(scan):
    """Compute the scan; see `audiomamba.ops.selective_scan`."""
    scan = _prepare(scan)
    total = 0
    for A, reverse in _directions(scan):
        y = _scan(*_one_way(scan, A, reverse), scan.delta_softplus)
        total = total + _channels_last(y, reverse)
    return total


def scan_backward(grad, scan):
    """Return the gradients of the nine tensors, None where not given."""
    prepared = _prepare(scan)
    (grad,) = _zero_padding(scan.lengths, grad.to(scan.u.dtype))
    dA, total = {}, None
    for A, reverse in _directions(scan):
        du, ddelta, dA[reverse], dB, dC, *others, dz, dbias = _gradients(
            lambda *tensors: _scan(*tensors, prepared.delta_softplus),
            _one_way(prepared, A, reverse),
            _channels_first(grad, reverse),
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
    if scan.lengths is not None:
        ddelta = ddelta.float()
        if scan.delta_softplus:
            ddelta = ddelta * torch.sigmoid(_before_softplus(scan))
        (ddelta,) = _zero_padding(scan.lengths, ddelta)
        dbias = ddelta.sum((0, 1))
    found = (du, ddelta, dA.get(False), dA.get(True), dB, dC, dD, dz, dbias)
    return cast_like(found, scan.differentiable)


def conv_forward(conv):
    """Compute the convolution; see `audiomamba.ops.causal_conv1d`."""
    (x,) = _zero_padding(conv.lengths, conv.x)
    x = _channels_first(x, conv.reverse)
    y = _convolve(x, conv.weight, conv.bias, conv.activation)
    (y,) = _zero_padding(conv.lengths, _channels_last(y, conv.reverse))
    return y


def conv_backward(grad, conv):
    """Return the gradients of input, weight and bias."""
    grad, x = _zero_padding(conv.lengths, grad.to(conv.x.dtype), conv.x)
    dx, dweight, dbias = _gradients(
        lambda *tensors: _convolve(*tensors, conv.activation),
        (_channels_first(x, conv.reverse), conv.weight, conv.bias),
        _channels_first(grad, conv.reverse),
    )
    (dx,) = _zero_padding(conv.lengths, _channels_last(dx, conv.reverse))
    return cast_like((dx, dweight, dbias), conv.differentiable)


inner_forward, inner_backward = compose_inner(
    scan_forward, scan_backward, conv_forward, conv_backward
)
