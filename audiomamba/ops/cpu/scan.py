"""The forward scan on the CPU: a block of channels at a time.

A task takes one sequence and LANES channels.  Its states [N, LANES] stay in
the first-level cache, and the loop over lanes is what LLVM turns into vector
code.  Step sizes and inputs are prepared once for both directions.
"""

import numpy as np
from numba import njit, prange

from audiomamba.ops.cpu.blocks import (
    LANES,
    fetch_ahead,
    load_matrix,
    load_vector,
    row_of,
)
from audiomamba.ops.cpu.vector_math import (
    KERNEL,
    LOG2_E,
    exp2,
    f32,
    sigmoid,
    softplus,
    vectorise,
    widen,
)


@njit(**KERNEL)
def scan_block(delta, drive, rate, B, C, n_steps, reverse, state, y, total):
    """Add one direction's sum_n C_n h_n to total [L, LANES].

    ``rate`` is A log2(e), so that the decay is a power of two.
    """
    vectorise()
    state[:] = f32(0.0)
    for i in range(n_steps):
        step = n_steps - 1 - i if reverse else i
        for k in range(LANES):
            y[k] = f32(0.0)
        for n in range(rate.shape[0]):
            b, c = B[step, n], C[step, n]
            for k in range(LANES):
                decay = exp2(delta[step, k] * rate[n, k])
                s = decay * state[n, k] + drive[step, k] * b
                state[n, k] = s
                y[k] += c * s
        for k in range(LANES):
            total[step, k] += y[k]


@njit(**KERNEL)
def prepare(
    u, raw, batch, first, width, bias, use_softplus, n_steps, delta, drive
):
    """Compute delta and delta * u, [L, LANES] each, idle lanes zero."""
    vectorise()
    if width < LANES:
        delta[:n_steps] = f32(0.0)
        drive[:n_steps] = f32(0.0)
    for step in range(n_steps):
        fetch_ahead(u, batch, step, first, width)
        fetch_ahead(raw, batch, step, first, width)
        u_row = row_of(u, batch, step, first, width)
        raw_row = row_of(raw, batch, step, first, width)
        delta_row, drive_row = delta[step], drive[step]
        for k in range(width):
            size = widen(raw_row[k]) + bias[k]
            if use_softplus:
                size = softplus(size)
            delta_row[k] = size
            drive_row[k] = size * widen(u_row[k])


@njit(**KERNEL)
def store(total, u, skip, z, gated, batch, n_steps, first, width, out):
    """Write (total + skip u) SiLU(z) to channels of out."""
    vectorise()
    for step in range(n_steps):
        fetch_ahead(out, batch, step, first, width)
        u_row = row_of(u, batch, step, first, width)
        row = row_of(out, batch, step, first, width)
        total_row = total[step]
        for k in range(width):
            row[k] = total_row[k] + skip[k] * widen(u_row[k])
        if gated:
            fetch_ahead(z, batch, step, first, width)
            z_row = row_of(z, batch, step, first, width)
            for k in range(width):
                g = widen(z_row[k])
                row[k] *= g * sigmoid(g)


@njit(parallel=True, **KERNEL)
def forward(
    u, delta, A, A_b, B, C, D, z, bias, use_softplus, lengths, out, n_threads
):
    """Scan in the given directions; write the gated sum to out [B, L, D].

    ``u``, ``delta`` and ``z`` come from `blocks.rows`; ``A``, ``A_b``, ``D``,
    ``z`` and ``bias`` are empty where they were not given.
    """
    n_batch, n_total, n_channels = out.shape
    n_state, n_blocks = B.shape[2], (n_channels + LANES - 1) // LANES
    gated = z[0].shape[0] > 0
    flat_out = (out.reshape(-1), n_total * n_channels, n_channels)
    for thread in prange(n_threads):
        vectorise()
        buffers = np.empty((3, n_total, LANES), f32)
        size, drive, total = buffers[0], buffers[1], buffers[2]
        state = np.empty((n_state, LANES), f32)
        rate = np.empty((n_state, LANES), f32)
        vectors = np.empty((3, LANES), f32)
        y, skip, offset = vectors[0], vectors[1], vectors[2]
        for task in range(thread, n_batch * n_blocks, n_threads):
            batch, first = task // n_blocks, task % n_blocks * LANES
            width = min(LANES, n_channels - first)
            n_steps = lengths[batch]
            load_vector(bias, first, width, offset)
            prepare(
                *(u, delta, batch, first, width, offset, use_softplus),
                *(n_steps, size, drive),
            )
            total[:n_steps] = f32(0.0)
            for reverse in (False, True):
                matrix = A_b if reverse else A
                if matrix.shape[0]:
                    load_matrix(matrix, first, width, LOG2_E, rate)
                    scan_block(
                        *(size, drive, rate, B[batch], C[batch], n_steps),
                        *(reverse, state, y, total),
                    )
            load_vector(D, first, width, skip)
            if A.shape[0] and A_b.shape[0]:
                skip *= f32(2.0)
            store(
                *(total, u, skip, z, gated, batch),
                *(n_steps, first, width, flat_out),
            )
