"""The root-mean-square norm on the CPU, a row at a time."""

import numpy as np
from numba import njit, prange

from audiomamba.ops.cpu.blocks import LANES, new_rows
from audiomamba.ops.cpu.sums import row_sum
from audiomamba.ops.cpu.vector_math import KERNEL, f32, product, vectorise

# Rows per task.
SPAN = 32


@njit(**KERNEL)
def _inverse_root(row, eps, parts):
    """Return the inverse of a row's root mean square.

    ``parts`` [LANES] is scratch.
    """
    vectorise()
    width = row.shape[0]
    parts[:] = f32(0.0)
    for start in range(0, width, LANES):
        for k in range(min(LANES, width - start)):
            parts[k] += row[start + k] * row[start + k]
    return f32(1.0) / np.sqrt(row_sum(parts) / f32(width) + eps)


@njit(parallel=True, **KERNEL)
def forward(x, weight, eps, out, n_threads):
    """Write the weighted norm of x [rows, D] to out."""
    n_rows, width = x.shape
    n_spans = (n_rows + SPAN - 1) // SPAN
    for thread in prange(n_threads):
        vectorise()
        parts = new_rows(1)[0]
        for task in range(thread, n_spans, n_threads):
            start = task * SPAN
            for i in range(start, min(start + SPAN, n_rows)):
                row, target = x[i], out[i]
                scale = _inverse_root(row, eps, parts)
                for k in range(width):
                    target[k] = row[k] * scale * weight[k]


@njit(**KERNEL)
def _row_gradient(grad, row, weight, scale, parts, dx, dweight):
    """Write a row's gradient and add its part of the weight's.

    ``parts`` [LANES] is scratch.
    """
    vectorise()
    width = row.shape[0]
    parts[:] = f32(0.0)
    for start in range(0, width, LANES):
        for k in range(min(LANES, width - start)):
            i = start + k
            parts[k] += grad[i] * weight[i] * row[i]
    along = row_sum(parts) * (scale * scale / f32(width))
    for k in range(width):
        dx[k] = scale * (grad[k] * weight[k] - product(row[k], along))
        dweight[k] += grad[k] * row[k] * scale


@njit(parallel=True, **KERNEL)
def backward(grad, x, weight, eps, dx, dweight, n_threads):
    """Write the gradient of x, and each span's part of the weight's.

    ``dweight`` [spans, D] starts at zero.
    """
    n_rows, n_spans = x.shape[0], dweight.shape[0]
    for thread in prange(n_threads):
        parts = new_rows(1)[0]
        for task in range(thread, n_spans, n_threads):
            start = task * SPAN
            for i in range(start, min(start + SPAN, n_rows)):
                scale = _inverse_root(x[i], eps, parts)
                _row_gradient(
                    grad[i], x[i], weight, scale, parts, dx[i], dweight[task]
                )
