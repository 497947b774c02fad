"""The operators on the GPU, in Triton: one kernel launch per pass.

The scan of both directions, with step sizes, skip and gate, is one kernel.
Its gradient is another one, which stores the state at the borders of short
tiles and recomputes it between them.  The state is float32 whatever the
inputs are, and sums over programs are added in a fixed order, so that results
are reproducible.  Kernels are compiled, and their tile sizes tuned, on first
use; Triton caches both on disk.
"""

import torch
import triton

from audiomamba.ops.inner_from_parts import compose_inner
from audiomamba.ops.optional_gradients import cast_like

# Only for the interpreter: on a GPU the norm is PyTorch's own.
from audiomamba.ops.reference import norm_backward as norm_backward
from audiomamba.ops.reference import norm_forward as norm_forward
from audiomamba.ops.triton import adjoint as adjoint_kernels
from audiomamba.ops.triton import conv as conv_kernels
from audiomamba.ops.triton import scan as scan_kernels
from audiomamba.ops.triton.tiles import LANES


def _rows(tensor):
    """Return a tensor [B, L, D] with unit stride over channels."""
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


def _packed(vector):
    """Return a vector without gaps, None for None."""
    return None if vector is None else vector.contiguous()


def _on_device(lengths, like):
    return None if lengths is None else lengths.to(like.device).contiguous()


def _size(x):
    """Return a problem size, rounded so that few sizes are tuned for."""
    return triton.next_power_of_2(x.shape[0] * x.shape[2])


def _new(like, lengths):
    """Return a tensor for results, zeroed if there is padding."""
    make = torch.empty if lengths is None else torch.zeros
    return make(like.shape, dtype=like.dtype, device=like.device)


def _blocks(x):
    """Return the grid of a scan over x, which depends on a configuration."""
    n_batch, _, n_channels = x.shape
    return lambda config: (
        triton.cdiv(n_channels, LANES.value * config["GROUPS"]),
        n_batch,
    )


def _prepare(scan):
    """Return the scan's arguments as the kernels take them."""
    rows = {n: _rows(getattr(scan, n)) for n in ("u", "delta", "B", "C", "z")}
    return scan._replace(
        **rows,
        A=_matrix(scan.A),
        A_b=_matrix(scan.A_b),
        D=_packed(scan.D),
        delta_bias=_packed(scan.delta_bias),
        lengths=_on_device(scan.lengths, scan.u),
    )


def scan_forward(scan):
    """Compute the scan; see `audiomamba.ops.selective_scan`."""
    scan = _prepare(scan)
    u, n_state = scan.u, scan.B.shape[2]
    both = scan.A is not None and scan.A_b is not None
    out = _new(u, scan.lengths)
    partial = torch.empty_like(out, dtype=torch.float32) if both else None
    with torch.cuda.device_of(u):
        scan_kernels.forward_kernel[_blocks(u)](
            *scan.differentiable,
            scan.lengths,
            partial,
            out,
            *_strides(u, scan.delta, scan.B, scan.C, scan.z),
            u.shape[1],
            u.shape[2],
            n_state,
            _size(u),
            SOFTPLUS=scan.delta_softplus,
            STATES=triton.next_power_of_2(n_state),
        )
    return out


def _sum_parts(parts, n_parts, like, lengths):
    """Return the sum of the first parts of a flat buffer, in like's shape."""
    total = parts[: n_parts * like.numel()].view(n_parts, *like.shape).sum(0)
    if lengths is not None:
        steps = torch.arange(like.shape[1], device=like.device)
        padding = steps >= lengths[:, None]
        total.masked_fill_(padding.unsqueeze(-1), 0.0)
    return total


def scan_backward(grad_output, scan):
    """Return the gradients of the nine tensors, None where not given."""
    given, grad = scan.differentiable, _rows(grad_output)
    scan = _prepare(scan)
    u, delta, z, lengths = scan.u, scan.delta, scan.z, scan.lengths
    (n_batch, n_steps, n_channels), n_state = u.shape, scan.B.shape[2]
    ways = (scan.A is not None) + (scan.A_b is not None)

    def single(*shape):
        return torch.empty(shape, dtype=torch.float32, device=u.device)

    du, ddelta = _new(u, lengths), _new(delta, lengths)
    dz = None if z is None else _new(z, lengths)
    # Here the first of two directions writes its output and its gradients of u
    # and delta, for the other one to add.
    partial = single(*u.shape) if ways == 2 and z is not None else None
    partial_du = single(*u.shape) if ways == 2 else None
    partial_ddelta = single(*u.shape) if ways == 2 else None
    n_borders = triton.cdiv(n_steps, adjoint_kernels.SHORTEST_TILE.value)
    borders = single(n_batch, n_borders, n_state, n_channels)
    most = triton.cdiv(
        n_channels, LANES.value * adjoint_kernels.FEWEST_GROUPS.value
    )
    dB, dC = single(2, ways * most * scan.B.numel())
    dA = single(ways, n_batch, n_state, n_channels)
    dD, dbias = single(2, ways, n_batch, n_channels)
    with torch.cuda.device_of(u):
        adjoint_kernels.backward_kernel[_blocks(u)](
            grad,
            *scan.differentiable,
            lengths,
            borders,
            partial,
            partial_du,
            partial_ddelta,
            du,
            ddelta,
            dz,
            dB,
            dC,
            dA,
            dD,
            dbias,
            *_strides(u, delta, scan.B, scan.C, z, grad),
            n_steps,
            n_channels,
            n_state,
            _size(u),
            SOFTPLUS=scan.delta_softplus,
            STATES=triton.next_power_of_2(n_state),
        )
    blocks = _blocks(u)(adjoint_kernels.backward_kernel.best_config.kwargs)[0]
    dA = dA.sum(1).mT
    dB, dC = (_sum_parts(t, ways * blocks, scan.B, lengths) for t in (dB, dC))
    dD, dbias = dD.sum((0, 1)), dbias.sum((0, 1))
    return cast_like((du, ddelta, dA[0], dA[-1], dB, dC, dD, dz, dbias), given)


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


def conv_forward(conv):
    """Compute the convolution; see `audiomamba.ops.causal_conv1d`."""
    x = _rows(conv.x)
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    with torch.cuda.device_of(x):
        conv_kernels.forward_kernel[_tiles(x)](
            x,
            conv.weight.contiguous(),
            _packed(conv.bias),
            _on_device(conv.lengths, x),
            out,
            *_strides(x),
            x.shape[1],
            x.shape[2],
            _size(x),
            ACTIVATION=conv.activation,
            SIGN=1 if conv.reverse else -1,
            TAPS=conv.weight.shape[1],
        )
    return out


def conv_backward(grad_output, conv):
    """Return the gradients of input, weight and bias."""
    grad, x = _rows(grad_output), _rows(conv.x)
    n_batch, n_steps, n_channels = x.shape
    taps = conv.weight.shape[1]
    n_parts = n_batch * triton.cdiv(n_steps, conv_kernels.GRADIENT_STEPS)
    dx = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    dweight = dx.new_empty(n_parts, taps, n_channels, dtype=torch.float32)
    dbias = dx.new_empty(n_parts, n_channels, dtype=torch.float32)
    with torch.cuda.device_of(x):
        conv_kernels.backward_kernel[_tiles(x)](
            grad,
            x,
            conv.weight.contiguous(),
            _packed(conv.bias),
            _on_device(conv.lengths, x),
            dx,
            dweight,
            dbias,
            *_strides(grad, x),
            n_steps,
            n_channels,
            _size(x),
            ACTIVATION=conv.activation,
            SIGN=1 if conv.reverse else -1,
            TAPS=taps,
            STEPS=conv_kernels.GRADIENT_STEPS,
        )
    found = (dx, dweight.sum(0).t(), dbias.sum(0))
    return cast_like(found, conv.differentiable)


inner_forward, inner_backward = compose_inner(
    scan_forward, scan_backward, conv_forward, conv_backward
)
