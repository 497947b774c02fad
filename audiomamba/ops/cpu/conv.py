"""The causal depthwise convolution with SiLU on the CPU.

Steps are cut into spans, one task each, and a span into blocks of channels
whose rows stay in the L1 cache.  LLVM vectorises the loop over channels.
"""

from numba import njit, prange

from audiomamba.ops.cpu.blocks import LANES, fetch, new_rows, row_of
from audiomamba.ops.cpu.vector_math import (
    KERNEL,
    f32,
    sigmoid,
    vectorise,
    widen,
)

# Steps and channels of a block.
SPAN, WIDTH = 32, 512


@njit(**KERNEL)
def _convolve(source, batch, step, first, weight, bias, sign, n_steps, y):
    """Compute channels of one step before the activation, y [width].

    ``sign`` is -1 to look back and 1 to look ahead.
    """
    vectorise()
    n_taps, width = weight.shape[0], y.shape[0]
    y[:] = bias[first : first + width]
    for tap in range(n_taps):
        at = step + sign * (n_taps - 1 - tap)
        if at < 0 or at >= n_steps:
            continue
        row = row_of(source, batch, at, first, width)
        w = weight[tap, first : first + width]
        for k in range(width):
            y[k] += w[k] * widen(row[k])


@njit(**KERNEL)
def _activate(y, activation, row):
    """Write the activated y [width]."""
    vectorise()
    for k in range(y.shape[0]):
        v = y[k]
        row[k] = v * sigmoid(v) if activation else v


@njit(parallel=True, **KERNEL)
def forward(x, weight, bias, activation, sign, lengths, out, n_threads):
    """Write the activated convolution to out [B, L, D].

    ``weight`` is [K, D]; ``x`` comes from `blocks.rows`.
    """
    n_batch, n_total, n_channels = out.shape
    n_spans = (n_total + SPAN - 1) // SPAN
    flat_out = (out.reshape(-1), n_total * n_channels, n_channels)
    for thread in prange(n_threads):
        buffer = new_rows(WIDTH // LANES).reshape(WIDTH)
        for task in range(thread, n_batch * n_spans, n_threads):
            batch, start = task // n_spans, task % n_spans * SPAN
            n_steps = lengths[batch]
            for first in range(0, n_channels, WIDTH):
                width = min(WIDTH, n_channels - first)
                y = buffer[:width]
                for step in range(start, min(start + SPAN, n_steps)):
                    fetch(x, batch, step + 1, first, width)
                    _convolve(
                        x, batch, step, first, weight, bias, sign, n_steps, y
                    )
                    row = row_of(flat_out, batch, step, first, width)
                    _activate(y, activation, row)


@njit(**KERNEL)
def _undo_activation(grad, activation, y):
    """Turn y, before the activation, into the gradient there."""
    vectorise()
    for k in range(y.shape[0]):
        slope = f32(1.0)
        if activation:
            s = sigmoid(y[k])
            slope = s * (f32(1.0) + y[k] * (f32(1.0) - s))
        y[k] = widen(grad[k]) * slope


@njit(**KERNEL)
def _accumulate(factor, row, target):
    """Add factor times row to target, all [width]."""
    vectorise()
    for k in range(target.shape[0]):
        target[k] += factor[k] * widen(row[k])


@njit(parallel=True, **KERNEL)
def backward(
    grad, x, weight, bias, activation, sign, lengths, dx, dweight, dbias,
    n_threads,
):  # fmt: skip
    """Write the gradient of x, and each span's part of the other two.

    ``grad``, ``x`` and ``dx`` come from `blocks.rows`; ``dweight``
    [spans, K, D] and ``dbias`` [spans, D] start at zero.
    """
    n_batch, (n_taps, n_channels) = lengths.shape[0], weight.shape
    n_tasks, reach = dbias.shape[0], n_taps - 1
    n_spans = n_tasks // n_batch
    for thread in prange(n_threads):
        n_rows = (SPAN + reach) * (WIDTH // LANES)
        inner = new_rows(n_rows).reshape(SPAN + reach, WIDTH)
        for task in range(thread, n_tasks, n_threads):
            batch, start = task // n_spans, task % n_spans * SPAN
            n_steps = lengths[batch]
            stop = min(start + SPAN, n_steps)
            # The outputs that depend on an input of this span.
            low = start if sign < 0 else max(start - reach, 0)
            high = min(stop + reach, n_steps) if sign < 0 else stop
            for first in range(0, n_channels, WIDTH):
                width = min(WIDTH, n_channels - first)
                for step in range(low, high):
                    y = inner[step - low, :width]
                    _convolve(
                        x, batch, step, first, weight, bias, sign, n_steps, y
                    )
                    g = row_of(grad, batch, step, first, width)
                    _undo_activation(g, activation, y)
                for step in range(start, stop):
                    g = inner[step - low, :width]
                    target = row_of(dx, batch, step, first, width)
                    target[:] = f32(0.0)
                    dbias[task, first : first + width] += g
                    for tap in range(n_taps):
                        w = weight[tap, first : first + width]
                        away = sign * (reach - tap)
                        if low <= step - away < high:
                            later = inner[step - away - low, :width]
                            _accumulate(w, later, target)
                        if 0 <= step + away < n_steps:
                            seen = row_of(x, batch, step + away, first, width)
                            d = dweight[task, tap, first : first + width]
                            _accumulate(g, seen, d)
