"""The causal depthwise convolution with SiLU on the CPU.

Steps are cut into spans, one task each; within a span the loop over channels,
which lie side by side, is what LLVM turns into vector code.
"""

import numpy as np
from numba import njit, prange

from audiomamba.ops.cpu.vector_math import (
    KERNEL,
    f32,
    sigmoid,
    vectorise,
    widen,
)

SPAN = 32


@njit(**KERNEL)
def _convolve(source, batch, step, weight, bias, sign, n_steps, y):
    """Compute one step before the activation, y [D].

    ``sign`` is -1 to look back and 1 to look ahead.
    """
    vectorise()
    flat, per_sequence, per_step = source
    n_taps, n_channels = weight.shape
    y[:] = bias
    for tap in range(n_taps):
        at = step + sign * (n_taps - 1 - tap)
        if at < 0 or at >= n_steps:
            continue
        start = batch * per_sequence + at * per_step
        row = flat[start : start + n_channels]
        w = weight[tap]
        for k in range(n_channels):
            y[k] += w[k] * widen(row[k])


@njit(parallel=True, **KERNEL)
def forward(x, weight, bias, activation, sign, lengths, out, n_threads):
    """Write the activated convolution to out [B, L, D].

    ``weight`` is [K, D]; ``x`` comes from `blocks.rows`.
    """
    n_batch, n_total, n_channels = out.shape
    n_spans = (n_total + SPAN - 1) // SPAN
    for thread in prange(n_threads):
        vectorise()
        y = np.empty(n_channels, f32)
        for task in range(thread, n_batch * n_spans, n_threads):
            batch, start = task // n_spans, task % n_spans * SPAN
            n_steps = lengths[batch]
            for step in range(start, min(start + SPAN, n_steps)):
                _convolve(x, batch, step, weight, bias, sign, n_steps, y)
                row = out[batch, step]
                for k in range(n_channels):
                    v = y[k]
                    row[k] = v * sigmoid(v) if activation else v


@njit(parallel=True, **KERNEL)
def gradient_before_activation(
    grad, x, weight, bias, activation, sign, lengths, inner, n_threads
):
    """Write the gradient of what the activation reads to inner [B, L, D]."""
    n_batch, n_total, n_channels = inner.shape
    n_spans = (n_total + SPAN - 1) // SPAN
    flat, per_sequence, per_step = grad
    for thread in prange(n_threads):
        vectorise()
        y = np.empty(n_channels, f32)
        for task in range(thread, n_batch * n_spans, n_threads):
            batch, start = task // n_spans, task % n_spans * SPAN
            n_steps = lengths[batch]
            for step in range(start, min(start + SPAN, n_steps)):
                row = inner[batch, step]
                at = batch * per_sequence + step * per_step
                g = flat[at : at + n_channels]
                if activation:
                    _convolve(x, batch, step, weight, bias, sign, n_steps, y)
                for k in range(n_channels):
                    row[k] = widen(g[k])
                    if activation:
                        s = sigmoid(y[k])
                        row[k] *= s * (f32(1.0) + y[k] * (f32(1.0) - s))


@njit(parallel=True, **KERNEL)
def backward(inner, x, weight, sign, lengths, dx, dweight, dbias, n_threads):
    """Write the input's gradient and each span's share of the others.

    ``inner`` is zero behind a sequence's end; ``dweight`` [spans, K, D] and
    ``dbias`` [spans, D] start at zero, a span being a task of `forward`.
    """
    n_batch, n_total, n_channels = dx.shape
    n_spans = (n_total + SPAN - 1) // SPAN
    n_taps = weight.shape[0]
    flat, per_sequence, per_step = x
    for thread in prange(n_threads):
        vectorise()
        for task in range(thread, n_batch * n_spans, n_threads):
            batch, start = task // n_spans, task % n_spans * SPAN
            n_steps = lengths[batch]
            for step in range(start, min(start + SPAN, n_steps)):
                g = inner[batch, step]
                row = dx[batch, step]
                row[:] = f32(0.0)
                dbias[task] += g
                for tap in range(n_taps):
                    reach = sign * (n_taps - 1 - tap)
                    if 0 <= step - reach < n_steps:
                        later = inner[batch, step - reach]
                        w = weight[tap]
                        for k in range(n_channels):
                            row[k] += w[k] * later[k]
                    if 0 <= step + reach < n_steps:
                        at = batch * per_sequence + (step + reach) * per_step
                        seen = flat[at : at + n_channels]
                        d = dweight[task, tap]
                        for k in range(n_channels):
                            d[k] += g[k] * widen(seen[k])
