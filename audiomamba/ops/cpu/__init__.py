"""The operators on the CPU, in Numba: float32, vectorised, in parallel.

The kernels are compiled on first use, in about a minute, and cached on disk.
"""

import numpy as np
import torch

from audiomamba.ops.cpu.cache import announce_compilation, kernel_cache
from audiomamba.ops.cpu.process import (
    keep_memory,
    launch_threads,
    n_threads,
    one_at_a_time,
    return_memory,
)
from audiomamba.ops.inner_from_parts import (
    before_scan,
    log_gradient,
    split_gate,
    weight_gradient,
)
from audiomamba.ops.optional_gradients import cast_like
from audiomamba.ops.products import multiply

with kernel_cache():
    from audiomamba.ops.cpu import conv as conv_kernels
    from audiomamba.ops.cpu import norm
    from audiomamba.ops.cpu import scan as scan_kernels
    from audiomamba.ops.cpu import scan_backward as adjoint_kernels
    from audiomamba.ops.cpu.blocks import (
        LANES,
        array,
        matrix,
        new_output,
        rows,
        steps_of,
    )

announce_compilation()
launch_threads()
keep_memory()


def _kernel_scan(scan, dt_proj=None):
    """Return the scan's arguments as the kernels take them.

    With ``dt_proj``, delta is dt, [B, L, R], which the kernels project.
    """
    nothing = (np.empty(0, np.float32), 0, 0)
    return (
        rows(scan.u),
        rows(scan.delta),
        matrix(dt_proj),
        matrix(scan.A),
        matrix(scan.A_b),
        rows(scan.B),
        rows(scan.C),
        array(scan.D),
        nothing if scan.z is None else rows(scan.z),
        array(scan.delta_bias),
        scan.delta_softplus,
        steps_of(scan.lengths, scan.u),
    )


@one_at_a_time
def scan_forward(scan, dt_proj=None, out=None):
    """Compute the scan; see `audiomamba.ops.selective_scan`.

    ``out`` may be u: a channel is read to its end before it is written.
    """
    return_memory(scan.u)
    if out is None:
        out = new_output(scan.u, scan.lengths)
    scan_kernels.forward(*_kernel_scan(scan, dt_proj), out.numpy(), n_threads())
    return out.to(scan.u.dtype)


def _scan_gradients(grad, scan, dt_proj, du, ddelta, dz):
    """Fill in the gradients of u, delta and z; return the others.

    Those are the gradients of A, A_b, B, C, D and the bias of delta.
    """
    (n_batch, n_steps, n_channels), n_state = scan.u.shape, scan.B.shape[2]
    n_blocks = -(-n_channels // LANES)
    dA = torch.zeros(2, n_batch, n_channels, n_state)
    dB, dC = torch.zeros(2, n_blocks, n_batch, n_steps, n_state)
    dD, dbias = torch.zeros(2, n_batch, n_channels)
    adjoint_kernels.backward(
        rows(grad),
        *_kernel_scan(scan, dt_proj),
        rows(du),
        rows(ddelta),
        dA.numpy(),
        dB.numpy(),
        dC.numpy(),
        dD.numpy(),
        rows(dz),
        dbias.numpy(),
        n_threads(),
    )
    ways = (scan.A is not None) + (scan.A_b is not None)
    return (
        dA[0].sum(0),
        dA[1].sum(0),
        dB.sum(0),
        dC.sum(0),
        ways * dD.sum(0),
        dbias.sum(0),
    )


@one_at_a_time
def scan_backward(grad_output, scan):
    """Return the gradients of the nine tensors, None where not given."""
    du, ddelta, dz = (new_output(scan.u, scan.lengths) for _ in range(3))
    dA, dA_b, dB, dC, dD, dbias = _scan_gradients(
        grad_output, scan, None, du, ddelta, dz
    )
    found = (du, ddelta, dA, dA_b, dB, dC, dD, dz, dbias)
    return cast_like(found, scan.differentiable)


def _kernel_conv(conv):
    """Return the convolution's arguments as the kernels take them."""
    weight, bias = conv.weight, conv.bias
    return (
        rows(conv.x),
        array(weight.t()),
        array(weight.new_zeros(weight.shape[0]) if bias is None else bias),
        conv.activation,
        1 if conv.reverse else -1,
        steps_of(conv.lengths, conv.x),
    )


@one_at_a_time
def conv_forward(conv):
    """Compute the convolution; see `audiomamba.ops.causal_conv1d`."""
    out = new_output(conv.x, conv.lengths)
    conv_kernels.forward(*_kernel_conv(conv), out.numpy(), n_threads())
    return out.to(conv.x.dtype)


def _conv_gradients(grad, dx, conv):
    """Fill in the gradient of x; return those of weight and bias."""
    n_batch, n_steps, n_channels = dx.shape
    n_spans = n_batch * -(-n_steps // conv_kernels.SPAN)
    dweight = torch.zeros(n_spans, conv.weight.shape[1], n_channels)
    dbias = torch.zeros(n_spans, n_channels)
    conv_kernels.backward(
        rows(grad),
        *_kernel_conv(conv),
        rows(dx),
        dweight.numpy(),
        dbias.numpy(),
        n_threads(),
    )
    return dweight.sum(0).t(), dbias.sum(0)


@one_at_a_time
def conv_backward(grad_output, conv):
    """Return the gradients of input, weight and bias."""
    dx = new_output(conv.x, conv.lengths)
    found = _conv_gradients(grad_output, dx, conv)
    return cast_like((dx, *found), conv.differentiable)


@one_at_a_time
def inner_forward(inner):
    """Compute a mixer's inside; see `audiomamba.ops.mamba_inner`."""
    _, scan = before_scan(inner, conv_forward)
    out = scan.u if scan.u.dtype == torch.float32 else None
    return scan_forward(scan, inner.dt_proj, out)


@one_at_a_time
def inner_backward(grad_output, inner):
    """Return the gradients of the nine tensors, None where not given."""
    conv, scan = before_scan(inner, conv_forward)
    u, dtype = scan.u, inner.xz.dtype
    # The gradients of x and z are written into the halves of one tensor.
    d_xz = new_output(inner.xz, inner.lengths)
    dx, dz = split_gate(d_xz, u)
    du, d_delta = (new_output(u, inner.lengths) for _ in range(2))
    if dz is None:
        dz = torch.empty_like(du)
    dA, dA_b, dB, dC, dD, d_bias = _scan_gradients(
        grad_output, scan, inner.dt_proj, du, d_delta, dz
    )
    d_delta = d_delta.to(dtype)
    parts = (multiply(d_delta, inner.dt_proj), dB.to(dtype), dC.to(dtype))
    d_selected = torch.cat(parts, dim=-1)
    du += multiply(d_selected, inner.x_proj)
    found = (
        d_xz,
        *_conv_gradients(du, dx, conv),
        weight_gradient(d_selected, u),
        weight_gradient(d_delta, scan.delta),
        d_bias,
        log_gradient(dA, scan.A),
        log_gradient(dA_b, scan.A_b),
        dD,
    )
    return cast_like(found, inner.differentiable)


def _flat_rows(x):
    """Return a tensor [..., D] as float32 rows [n, D]."""
    return array(x.reshape(-1, x.shape[-1]))


@one_at_a_time
def norm_forward(x, weight, eps):
    """Compute the norm; see `audiomamba.ops.rms_norm`."""
    x_rows = _flat_rows(x)
    out = torch.empty(x_rows.shape)
    norm.forward(
        x_rows, array(weight), np.float32(eps), out.numpy(), n_threads()
    )
    return out.view(x.shape).to(x.dtype)


@one_at_a_time
def norm_backward(grad_output, x, weight, eps):
    """Return the gradients of input and weight."""
    x_rows = _flat_rows(x)
    dx = torch.empty(x_rows.shape)
    dweight = torch.zeros(-(-len(x_rows) // norm.SPAN), *weight.shape)
    norm.backward(
        _flat_rows(grad_output),
        x_rows,
        array(weight),
        np.float32(eps),
        dx.numpy(),
        dweight.numpy(),
        n_threads(),
    )
    return cast_like((dx.view(x.shape), dweight.sum(0)), (x, weight))
