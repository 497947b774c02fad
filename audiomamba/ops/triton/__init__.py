"""The operators on the GPU, in Triton: one kernel launch per pass.

The scan of both directions, with step sizes, skip and gate, is one kernel;
its gradient is another one, which keeps the state at the borders of short
tiles and computes it again between them.  The state is float32 whatever the
inputs are, and sums over programs are added in one order, so that results
repeat.  Kernels are compiled, and their shapes chosen, on first use; Triton
caches both on disk.
"""

import torch
import triton

from audiomamba.ops.composed import compose_inner
from audiomamba.ops.triton import adjoint, conv, scan
from audiomamba.ops.triton.tiles import LANES


def _rows(tensor):
    """Return a tensor [B, L, D] with its channels side by side."""
    if tensor is None or tensor.stride(2) == 1:
        return tensor
    return tensor.contiguous()


def _strides(*tensors):
    """Return each tensor's strides over sequences and steps, 0 for None."""
    pairs = [(0, 0) if t is None else t.stride()[:2] for t in tensors]
    return [stride for pair in pairs for stride in pair]


def _matrix(A):
    """Return a matrix [D, N] as [N, D] in float32."""
    return None if A is None else A.t().float().contiguous()


def _on_device(lengths, like):
    return None if lengths is None else lengths.to(like.device).contiguous()


def _size(x):
    """Return about how much there is to do at once: choices depend on it."""
    return triton.next_power_of_2(x.shape[0] * x.shape[2])


def _new(like, lengths, dtype=None):
    """Return a tensor for results, zeroed where padding stays."""
    make = torch.empty if lengths is None else torch.zeros
    return make(like.shape, dtype=dtype or like.dtype, device=like.device)


def _blocks(x):
    """Return the grid of a scan over x, which depends on a configuration."""
    n_batch, _, n_channels = x.shape
    return lambda config: (
        triton.cdiv(n_channels, LANES.value * config["GROUPS"]),
        n_batch,
    )


def scan_forward(
    u, delta, A, A_b, B, C, D, z, delta_bias, delta_softplus, lengths
):
    """Compute the scan; see `audiomamba.ops.selective_scan`."""
    u, delta, B, C, z = map(_rows, (u, delta, B, C, z))
    lengths = _on_device(lengths, u)
    both = A is not None and A_b is not None
    out = _new(u, lengths)
    partial = torch.empty_like(out, dtype=torch.float32) if both else None
    n_state = B.shape[2]
    with torch.cuda.device_of(u):
        scan.forward_kernel[_blocks(u)](
            *(u, delta, _matrix(A), _matrix(A_b), B, C, D, z, delta_bias),
            *(lengths, partial, out, *_strides(u, delta, B, C, z)),
            *(u.shape[1], u.shape[2], n_state, _size(u)),
            SOFTPLUS=delta_softplus,
            STATES=triton.next_power_of_2(n_state),
        )
    return out


def _sum_parts(parts, n_parts, like, lengths):
    """Return the sum of the first parts of a flat buffer, shaped as like."""
    total = parts[: n_parts * like.numel()].view(n_parts, *like.shape).sum(0)
    if lengths is not None:
        steps = torch.arange(like.shape[1], device=like.device)
        padding = steps >= lengths[:, None]
        total.masked_fill_(padding.unsqueeze(-1), 0.0)
    return total


def scan_backward(grad_output, *arguments):
    """Return the gradients of the nine tensors, None where not given."""
    given, (delta_softplus, lengths) = arguments[:9], arguments[9:]
    u, delta, A, A_b, B, C, D, z, delta_bias = given
    grad, u, delta, B, C, z = map(_rows, (grad_output, u, delta, B, C, z))
    lengths = _on_device(lengths, u)
    (n_batch, n_steps, n_channels), n_state = u.shape, B.shape[2]
    ways = (A is not None) + (A_b is not None)

    def single(*shape):
        return torch.empty(shape, dtype=torch.float32, device=u.device)

    du, ddelta = _new(u, lengths), _new(delta, lengths)
    dz = None if z is None else _new(z, lengths)
    # What the first of two directions leaves to the other one.
    left = [single(*u.shape) if ways == 2 else None for _ in range(3)]
    left[0] = None if z is None else left[0]
    n_borders = triton.cdiv(n_steps, adjoint.SHORTEST_TILE.value)
    most = triton.cdiv(n_channels, LANES.value * adjoint.FEWEST_GROUPS.value)
    dB, dC = single(2, ways * most * B.numel())
    dA = single(ways, n_batch, n_state, n_channels)
    dD, dbias = single(2, ways, n_batch, n_channels)
    with torch.cuda.device_of(u):
        adjoint.backward_kernel[_blocks(u)](
            *(grad, u, delta, _matrix(A), _matrix(A_b), B, C, D, z),
            *(delta_bias, lengths),
            *(single(n_batch, n_borders, n_state, n_channels), *left),
            *(du, ddelta, dz, dB, dC, dA, dD, dbias),
            *_strides(u, delta, B, C, z, grad),
            *(n_steps, n_channels, n_state, _size(u)),
            SOFTPLUS=delta_softplus,
            STATES=triton.next_power_of_2(n_state),
        )
    blocks = _blocks(u)(adjoint.backward_kernel.best_config.kwargs)[0]
    dA = dA.sum(1).mT
    found = (
        *(du, ddelta, dA[0], dA[-1]),
        *(_sum_parts(t, ways * blocks, B, lengths) for t in (dB, dC)),
        *(dD.sum((0, 1)), dz, dbias.sum((0, 1))),
    )
    return [None if t is None else g.to(t.dtype) for g, t in zip(found, given)]


def _tiles(x):
    """Return the grid of a convolution, which depends on a configuration.

    Steps come first, as only a grid's first axis may exceed 65,535.
    """
    n_batch, n_steps, n_channels = x.shape
    return lambda config: (
        triton.cdiv(n_steps, config["STEPS"]),
        triton.cdiv(n_channels, config["WIDTH"]),
        n_batch,
    )


def conv_forward(x, weight, bias, activation, reverse, lengths):
    """Compute the convolution; see `audiomamba.ops.causal_conv1d`."""
    x = _rows(x)
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    with torch.cuda.device_of(x):
        conv.forward_kernel[_tiles(x)](
            *(x, weight.contiguous(), bias, _on_device(lengths, x), out),
            *(*_strides(x), x.shape[1], x.shape[2], _size(x)),
            ACTIVATION=activation,
            SIGN=1 if reverse else -1,
            TAPS=weight.shape[1],
        )
    return out


def conv_backward(grad_output, x, weight, bias, activation, reverse, lengths):
    """Return the gradients of input, weight and bias."""
    grad, x = _rows(grad_output), _rows(x)
    n_batch, n_steps, n_channels = x.shape
    taps = weight.shape[1]
    n_parts = n_batch * triton.cdiv(n_steps, conv.GRADIENT_STEPS)
    dx = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    dweight = dx.new_empty(n_parts, taps, n_channels, dtype=torch.float32)
    dbias = dx.new_empty(n_parts, n_channels, dtype=torch.float32)
    with torch.cuda.device_of(x):
        conv.backward_kernel[_tiles(x)](
            *(grad, x, weight.contiguous(), bias, _on_device(lengths, x)),
            *(dx, dweight, dbias, *_strides(grad, x)),
            *(n_steps, n_channels, _size(x)),
            ACTIVATION=activation,
            SIGN=1 if reverse else -1,
            TAPS=taps,
            STEPS=conv.GRADIENT_STEPS,
        )
    found = (dx, dweight.sum(0).t(), dbias.sum(0))
    return [
        None if t is None else g.to(t.dtype)
        for g, t in zip(found, (x, weight, bias))
    ]


inner_forward, inner_backward = compose_inner(
    scan_forward, scan_backward, conv_forward, conv_backward
)
