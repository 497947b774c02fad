"""The operators on the CPU, in Numba: float32, vectorised, in parallel.

The kernels are compiled on first use, in seconds, and cached on disk.
"""

import numba
import numpy as np
import torch

from audiomamba.ops.cpu.cache import kernel_cache

with kernel_cache():
    from audiomamba.ops.cpu import conv, scan
    from audiomamba.ops.cpu import scan_backward as adjoint
    from audiomamba.ops.cpu.blocks import (
        LANES,
        array,
        matrix,
        new_output,
        rows,
        steps_of,
    )


def _launch_threads():
    """Start Numba's threads without touching PyTorch's number of threads.

    Both use the same OpenMP runtime, and Numba sets its number at the start.
    """
    n_threads = torch.get_num_threads()
    numba.get_num_threads()
    torch.set_num_threads(n_threads)


def _keep_memory():
    """Let the C library keep freed memory for the next layer.

    glibc hands back to the system what is free beyond twice the largest block
    freed so far, counting blocks up to 32 MB.  A layer's tensors come and go;
    without this their pages are fetched and cleared anew in every layer, a
    fifth of AuM-Base's time.
    """
    torch.empty(2**23 - 2**12, dtype=torch.float32)


_launch_threads()
_keep_memory()


def _threads():
    """Return how many threads to use: as many as PyTorch, if there are."""
    n_threads = min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS)
    numba.set_num_threads(n_threads)
    return n_threads


def _scan_inputs(
    u, delta, A, A_b, B, C, D, z, delta_bias, delta_softplus, lengths
):
    """Return the kernels' form of the scan's arguments."""
    nothing = (np.empty(0, np.float32), 0, 0)
    return (
        rows(u),
        rows(delta),
        matrix(A),
        matrix(A_b),
        array(B),
        array(C),
        array(D),
        nothing if z is None else rows(z),
        array(delta_bias),
        delta_softplus,
        steps_of(lengths, u),
    )


def scan_forward(u, *arguments):
    """Compute the scan; see `audiomamba.ops.selective_scan`."""
    out = new_output(u, arguments[-1])
    scan.forward(*_scan_inputs(u, *arguments), out.numpy(), _threads())
    return out.to(u.dtype)


def scan_backward(grad_output, *arguments):
    """Return the gradients of the nine tensors, None where not given."""
    given, lengths = arguments[:9], arguments[-1]
    u, A, A_b, B = given[0], *given[2:5]
    n_batch, n_steps, n_channels = u.shape
    n_state = B.shape[2]
    n_blocks = -(-n_channels // LANES)
    du, ddelta, dz = (new_output(u, lengths) for _ in range(3))
    dA = torch.zeros(2, n_batch, n_channels, n_state)
    dB, dC = torch.zeros(2, n_blocks, n_batch, n_steps, n_state)
    dD, dbias = torch.zeros(2, n_batch, n_channels)
    adjoint.backward(
        rows(grad_output),
        *_scan_inputs(*arguments),
        *(t.numpy() for t in (du, ddelta, dA, dB, dC, dD, dz, dbias)),
        _threads(),
    )
    ways = (A is not None) + (A_b is not None)
    found = (
        *(du, ddelta, dA[0].sum(0), dA[1].sum(0), dB.sum(0), dC.sum(0)),
        *(ways * dD.sum(0), dz, dbias.sum(0)),
    )
    return [None if t is None else g.to(t.dtype) for g, t in zip(found, given)]


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
    conv.forward(*_conv_inputs(x, *arguments), out.numpy(), _threads())
    return out.to(x.dtype)


def conv_backward(grad_output, x, weight, bias, *arguments):
    """Return the gradients of input, weight and bias."""
    inputs = _conv_inputs(x, weight, bias, *arguments)
    source, taps, _, _, sign, lengths = inputs
    n_threads = _threads()
    inner, dx = (torch.zeros(x.shape) for _ in range(2))
    conv.gradient_before_activation(
        rows(grad_output), *inputs, inner.numpy(), n_threads
    )
    n_tasks = x.shape[0] * -(-x.shape[1] // conv.SPAN)
    dweight = torch.zeros(n_tasks, *taps.shape)
    dbias = torch.zeros(n_tasks, x.shape[2])
    conv.backward(
        *(inner.numpy(), source, taps, sign, lengths),
        *(dx.numpy(), dweight.numpy(), dbias.numpy(), n_threads),
    )
    found = (dx, dweight.sum(0).t(), dbias.sum(0))
    return [
        None if t is None else g.to(t.dtype)
        for g, t in zip(found, (x, weight, bias))
    ]
