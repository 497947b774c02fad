"""Copies of blocks of channels between tensors and a kernel's buffers.

A kernel takes a tensor [B, L, D] with unit stride over channels as its flat
storage and two strides, so that halves of a projection's output are read in
place.
"""

import numpy as np
import torch
from numba import njit

from audiomamba.ops.cpu.vector_math import (
    KERNEL,
    f32,
    prefetch,
    vectorise,
    widen,
)

# Channels per task: four vectors of sixteen floats.
LANES = 64
# Steps to prefetch ahead: rows are a page apart, too far for the CPU's own
# prefetchers.
AHEAD = 16


def rows(tensor):
    """Return a tensor [B, L, D] as (flat array, sequence stride, step stride).

    Nothing is copied if the channels have unit stride in float32 or bfloat16.
    The bits of bfloat16 are passed as int16, as NumPy has no such type.
    """
    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.view(torch.int16)
    else:
        tensor = tensor.float()
    if not tensor.numel():
        return tensor.flatten().numpy(), 0, 0
    if tensor.stride(2) != 1 and tensor.shape[2] > 1:
        tensor = tensor.contiguous()
    n_batch, n_steps, n_channels = tensor.shape
    per_sequence, per_step = tensor.stride(0), tensor.stride(1)
    span = (n_batch - 1) * per_sequence + (n_steps - 1) * per_step
    flat = tensor.as_strided((span + n_channels,), (1,))
    return flat.numpy(), per_sequence, per_step


def array(tensor):
    """Return a tensor as a contiguous float32 array, None as an empty one."""
    if tensor is None:
        return np.empty(0, np.float32)
    return tensor.detach().float().contiguous().numpy()


def matrix(tensor):
    """Return a matrix as a contiguous float32 array, None as an empty one."""
    if tensor is None:
        return np.empty((0, 0), np.float32)
    return array(tensor)


def steps_of(lengths, like):
    """Return the number of steps of every sequence of a batch, int64 [B]."""
    n_batch, n_steps = like.shape[:2]
    if lengths is None:
        return np.full(n_batch, n_steps, np.int64)
    return lengths.detach().clamp(0, n_steps).to(torch.int64).numpy()


def new_output(like, lengths):
    """Return a float32 tensor for results, zeroed if there may be padding."""
    make = torch.empty if lengths is None else torch.zeros
    return make(like.shape, dtype=torch.float32)


@njit(**KERNEL)
def new_rows(n_rows):
    """Return a buffer of rows [n, LANES], aligned to cache lines.

    A vector of sixteen floats across two lines is read twice, which makes a
    scan a fifth slower.
    """
    flat = np.empty((n_rows + 1) * LANES, f32)
    start = (-flat.ctypes.data // 4) % 16
    return flat[start : start + n_rows * LANES].reshape(n_rows, LANES)


@njit(**KERNEL)
def row_of(source, batch, step, first, width):
    """Return a view of some channels of one step of one sequence.

    Its values must be read through `widen`.
    """
    flat, per_sequence, per_step = source
    start = batch * per_sequence + step * per_step + first
    return flat[start : start + width]


@njit(**KERNEL)
def fetch(source, batch, step, first, width):
    """Prefetch some channels of a step, which need not exist."""
    flat, per_sequence, per_step = source
    start = batch * per_sequence + step * per_step + first
    for k in range(0, width, 16):
        prefetch(flat, start + k)


@njit(**KERNEL)
def load_rows(source, place, start, stop, target):
    """Copy some steps' channels into target [L, LANES]; idle lanes are zero.

    Idle lanes take part in sums over channels, so they must be zero.
    ``place`` is (batch, first channel, number of channels).
    """
    batch, first, width = place
    if width < LANES:
        target[start:stop] = f32(0.0)
    for step in range(start, stop):
        fetch(source, batch, step + AHEAD, first, width)
        row = row_of(source, batch, step, first, width)
        for k in range(width):
            target[step, k] = widen(row[k])


@njit(**KERNEL)
def _project_pair(low, other, weight, row, other_row):
    """Multiply two rows [R] by weight [R, LANES].

    Two rows at a time, as the sums of one row depend on each other.
    """
    vectorise()
    for k in range(LANES):
        row[k] = f32(0.0)
        other_row[k] = f32(0.0)
    for r in range(weight.shape[0]):
        a, b = widen(low[r]), widen(other[r])
        for k in range(LANES):
            row[k] += a * weight[r, k]
            other_row[k] += b * weight[r, k]


@njit(**KERNEL)
def load_projected(source, weight, batch, start, stop, target):
    """Write some steps of source [L, R] times weight [R, LANES] to target.

    If the number of steps is odd, the row after the last is written as well.
    """
    n_rank = weight.shape[0]
    for step in range(start, stop, 2):
        other = min(step + 1, stop - 1)
        _project_pair(
            row_of(source, batch, step, 0, n_rank),
            row_of(source, batch, other, 0, n_rank),
            weight,
            target[step],
            target[step + 1],
        )


@njit(**KERNEL)
def load_matrix(source, first, width, scale, target):
    """Copy channels of [D, N] times scale into target [N, LANES]."""
    target[:] = f32(0.0)
    for n in range(source.shape[1]):
        for k in range(width):
            target[n, k] = source[first + k, n] * scale


@njit(**KERNEL)
def load_vector(source, first, width, target):
    """Copy channels of [D] into target [LANES]; an empty source is zero."""
    target[:] = f32(0.0)
    if source.shape[0] > 0:
        for k in range(width):
            target[k] = source[first + k]
