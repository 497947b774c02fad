"""The operators on the CPU, in Numba: float32, vectorised, in parallel.

The kernels are compiled on first use, in seconds, and cached on disk.
"""

import numpy as np
import torch

from audiomamba.ops.composed import (
    decay_rates,
    log_gradient,
    select,
    weight_gradient,
)
from audiomamba.ops.cpu.cache import kernel_cache
from audiomamba.ops.cpu.process import keep_memory, launch_threads, n_threads

with kernel_cache():
    from audiomamba.ops.cpu import conv, norm, scan
    from audiomamba.ops.cpu import scan_backward as adjoint
    from audiomamba.ops.cpu.blocks import (
        LANES,
        array,
        matrix,
        new_output,
        rows,
        steps_of,
    )

launch_threads()
keep_memory()


def _scan_inputs(
    u, delta, dt_proj, A, A_b, B, C, D, z, delta_bias, delta_softplus, lengths
):
    """Return the kernels' form of the scan's arguments."""
    nothing = (np.empty(0, np.float32), 0, 0)
    return (
        rows(u),
        rows(delta),
        matrix(dt_proj),
        matrix(A),
        matrix(A_b),
        rows(B),
        rows(C),
        array(D),
        nothing if z is None else rows(z),
        array(delta_bias),
        delta_softplus,
        steps_of(lengths, u),
    )


def scan_forward(u, delta, *arguments):
    """Compute the scan; see `audiomamba.ops.selective_scan`."""
    out = new_output(u, arguments[-1])
    inputs = _scan_inputs(u, delta, None, *arguments)
    scan.forward(*inputs, out.numpy(), n_threads())
    return out.to(u.dtype)


def _scan_gradients(grad, inputs, n_state, du, ddelta, dz):
    """Fill in the gradients of u, delta and z; return the others.

    Those are the gradients of A, A_b, B, C, D and the bias of delta.
    """
    n_batch, n_steps, n_channels = du.shape
    n_blocks = -(-n_channels // LANES)
    dA = torch.zeros(2, n_batch, n_channels, n_state)
    dB, dC = torch.zeros(2, n_blocks, n_batch, n_steps, n_state)
    dD, dbias = torch.zeros(2, n_batch, n_channels)
    adjoint.backward(
        *(rows(grad), *inputs, rows(du), rows(ddelta)),
        *(t.numpy() for t in (dA, dB, dC, dD)),
        *(rows(dz), dbias.numpy(), n_threads()),
    )
    ways = sum(rates.shape[0] > 0 for rates in inputs[3:5])
    return (
        *(dA[0].sum(0), dA[1].sum(0), dB.sum(0), dC.sum(0)),
        *(ways * dD.sum(0), dbias.sum(0)),
    )


def _like(gradients, tensors):
    """Return gradients in their tensors' dtypes, None where not given."""
    return [
        None if t is None else g.to(t.dtype) for g, t in zip(gradients, tensors)
    ]


def scan_backward(grad_output, u, delta, *arguments):
    """Return the gradients of the nine tensors, None where not given."""
    A, A_b, B, C, D, z, delta_bias, _, lengths = arguments
    du, ddelta, dz = (new_output(u, lengths) for _ in range(3))
    inputs = _scan_inputs(u, delta, None, *arguments)
    *dA, dB, dC, dD, dbias = _scan_gradients(
        grad_output, inputs, B.shape[2], du, ddelta, dz
    )
    return _like(
        (du, ddelta, *dA, dB, dC, dD, dz, dbias),
        (u, delta, A, A_b, B, C, D, z, delta_bias),
    )


def _conv_inputs(x, weight, bias, activation, reverse, lengths):
    """Return the kernels' form of the convolution's arguments."""
    if bias is None:
        bias = weight.new_zeros(weight.shape[0])
    sign = 1 if reverse else -1
    return (
        *(rows(x), array(weight.t()), array(bias)),
        *(activation, sign, steps_of(lengths, x)),
    )


def conv_forward(x, *arguments):
    """Compute the convolution; see `audiomamba.ops.causal_conv1d`."""
    out = new_output(x, arguments[-1])
    conv.forward(*_conv_inputs(x, *arguments), out.numpy(), n_threads())
    return out.to(x.dtype)


def _conv_gradients(grad, dx, *arguments):
    """Fill in the gradient of x; return those of weight and bias."""
    inputs = _conv_inputs(*arguments)
    n_batch, n_steps, n_channels = dx.shape
    n_spans = n_batch * -(-n_steps // conv.SPAN)
    dweight = torch.zeros(n_spans, *inputs[1].shape)
    dbias = torch.zeros(n_spans, n_channels)
    conv.backward(
        *(rows(grad), *inputs, rows(dx)),
        *(dweight.numpy(), dbias.numpy(), n_threads()),
    )
    return dweight.sum(0).t(), dbias.sum(0)


def conv_backward(grad_output, x, weight, bias, *arguments):
    """Return the gradients of input, weight and bias."""
    dx = new_output(x, arguments[-1])
    found = _conv_gradients(grad_output, dx, x, weight, bias, *arguments)
    return _like((dx, *found), (x, weight, bias))


def inner_forward(
    xz, conv_weight, conv_bias, x_proj, dt_proj, dt_bias, A_log, A_b_log, D,
    lengths,
):  # fmt: skip
    """Compute a mixer's inside; see `audiomamba.ops.mamba_inner`."""
    x, z = xz.chunk(2, dim=-1)
    A, A_b = decay_rates(A_log), decay_rates(A_b_log)
    u = conv_forward(x, conv_weight, conv_bias, True, A is None, lengths)
    dt, B, C = select(u, x_proj, dt_proj.shape[1])
    inputs = _scan_inputs(
        u, dt, dt_proj, A, A_b, B, C, D, z, dt_bias, True, lengths
    )
    out = new_output(u, lengths)
    scan.forward(*inputs, out.numpy(), n_threads())
    return out.to(xz.dtype)


def inner_backward(
    grad_output, xz, conv_weight, conv_bias, x_proj, dt_proj, dt_bias,
    A_log, A_b_log, D, lengths,
):  # fmt: skip
    """Return the gradients of the nine tensors, None where not given."""
    x, z = xz.chunk(2, dim=-1)
    A, A_b = decay_rates(A_log), decay_rates(A_b_log)
    convolution = (x, conv_weight, conv_bias, True, A is None, lengths)
    u = conv_forward(*convolution)
    dt, B, C = select(u, x_proj, dt_proj.shape[1])
    inputs = _scan_inputs(
        u, dt, dt_proj, A, A_b, B, C, D, z, dt_bias, True, lengths
    )
    d_xz = new_output(xz, lengths)
    dx, dz = d_xz.chunk(2, dim=-1)
    du, d_delta = (new_output(u, lengths) for _ in range(2))
    dA, dA_b, dB, dC, dD, d_bias = _scan_gradients(
        grad_output, inputs, B.shape[2], du, d_delta, dz
    )
    dA_log, dA_b_log = log_gradient(dA, A), log_gradient(dA_b, A_b)
    d_delta = d_delta.to(xz.dtype)
    parts = (d_delta @ dt_proj, dB.to(xz.dtype), dC.to(xz.dtype))
    d_selected = torch.cat(parts, dim=-1)
    du += d_selected @ x_proj
    d_conv = _conv_gradients(du, dx, *convolution)
    d_x_proj = weight_gradient(d_selected, u)
    d_dt_proj = weight_gradient(d_delta, dt)
    given = (
        *(xz, conv_weight, conv_bias, x_proj, dt_proj, dt_bias),
        *(A_log, A_b_log, D),
    )
    found = (
        *(d_xz, *d_conv, d_x_proj, d_dt_proj, d_bias),
        *(dA_log, dA_b_log, dD),
    )
    return _like(found, given)


def _flat_rows(x):
    """Return a tensor [..., D] as float32 rows [n, D]."""
    return array(x.reshape(-1, x.shape[-1]))


def norm_forward(x, weight, eps):
    """Compute the norm; see `audiomamba.ops.rms_norm`."""
    rows_in = _flat_rows(x)
    out = torch.empty(rows_in.shape)
    norm.forward(
        *(rows_in, array(weight), np.float32(eps), out.numpy(), n_threads())
    )
    return out.view(x.shape).to(x.dtype)


def norm_backward(grad_output, x, weight, eps):
    """Return the gradients of input and weight."""
    rows_in = _flat_rows(x)
    dx = torch.empty(rows_in.shape)
    dweight = torch.zeros(-(-len(rows_in) // norm.SPAN), *weight.shape)
    norm.backward(
        *(_flat_rows(grad_output), rows_in, array(weight), np.float32(eps)),
        *(dx.numpy(), dweight.numpy(), n_threads()),
    )
    return _like((dx.view(x.shape), dweight.sum(0)), (x, weight))
