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
    load_projected,
    load_rows,
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
def _scan_step(delta, drive, rate, b_n, c_n, state, total):
    """Take one step of all states and add sum_n C_n h_n to total [LANES]."""
    vectorise()
    for n in range(rate.shape[0]):
        b, c = widen(b_n[n]), widen(c_n[n])
        for k in range(LANES):
            decay = exp2(delta[k] * rate[n, k])
            s = decay * state[n, k] + drive[k] * b
            state[n, k] = s
            total[k] += c * s


@njit(**KERNEL)
def scan_block(delta, drive, rate, B, C, batch, n_steps, reverse, state, total):
    """Add one direction's sum_n C_n h_n to total [L, LANES].

    ``rate`` is A log2(e), so that the decay is a power of two.
    """
    n_state = rate.shape[0]
    state[:] = f32(0.0)
    for i in range(n_steps):
        step = n_steps - 1 - i if reverse else i
        _scan_step(
            *(delta[step], drive[step], rate),
            row_of(B, batch, step, 0, n_state),
            row_of(C, batch, step, 0, n_state),
            *(state, total[step]),
        )


@njit(**KERNEL)
def load_steps(delta, dt_proj, batch, first, width, n_steps, weight, raw):
    """Load the step sizes before bias and softplus, raw [L, LANES].

    ``delta`` is [L, D], or [L, R] where ``dt_proj`` [D, R] widens it;
    ``weight`` [R, LANES] is room for the block's share of that.
    """
    if dt_proj.shape[0]:
        load_matrix(dt_proj, first, width, f32(1.0), weight)
        load_projected(delta, weight, batch, n_steps, raw)
    else:
        load_rows(delta, batch, first, n_steps, width, raw)


@njit(**KERNEL)
def prepare(
    u, batch, first, width, bias, skip, use_softplus, n_steps,
    delta, drive, total,
):  # fmt: skip
    """Compute delta, delta u and skip u, [L, LANES] each, idle lanes zero.

    ``delta`` holds the step sizes before bias and softplus.
    """
    vectorise()
    if width < LANES:
        drive[:n_steps] = f32(0.0)
        total[:n_steps] = f32(0.0)
    for step in range(n_steps):
        fetch_ahead(u, batch, step, first, width)
        u_row = row_of(u, batch, step, first, width)
        delta_row, drive_row, total_row = delta[step], drive[step], total[step]
        for k in range(width):
            size = delta_row[k] + bias[k]
            if use_softplus:
                size = softplus(size)
            x = widen(u_row[k])
            delta_row[k] = size
            drive_row[k] = size * x
            total_row[k] = skip[k] * x


@njit(**KERNEL)
def store(total, z, gated, batch, n_steps, first, width, out):
    """Write total SiLU(z) to channels of out."""
    vectorise()
    for step in range(n_steps):
        fetch_ahead(out, batch, step, first, width)
        row = row_of(out, batch, step, first, width)
        total_row = total[step]
        if gated:
            fetch_ahead(z, batch, step, first, width)
            z_row = row_of(z, batch, step, first, width)
            for k in range(width):
                g = widen(z_row[k])
                row[k] = total_row[k] * g * sigmoid(g)
        else:
            for k in range(width):
                row[k] = total_row[k]


@njit(parallel=True, **KERNEL)
def forward(
    u, delta, dt_proj, A, A_b, B, C, D, z, bias, use_softplus, lengths, out,
    n_threads,
):  # fmt: skip
    """Scan in the given directions; write the gated sum to out [B, L, D].

    ``u``, ``delta``, ``B``, ``C`` and ``z`` come from `blocks.rows`;
    ``dt_proj``, ``A``, ``A_b``, ``D``, ``z`` and ``bias`` are empty where they
    were not given.
    """
    n_batch, n_total, n_channels = out.shape
    n_state = max(A.shape[1], A_b.shape[1])
    n_blocks = (n_channels + LANES - 1) // LANES
    gated = z[0].shape[0] > 0
    flat_out = (out.reshape(-1), n_total * n_channels, n_channels)
    for thread in prange(n_threads):
        vectorise()
        buffers = np.empty((3, n_total + 1, LANES), f32)
        size, drive, total = buffers[0], buffers[1], buffers[2]
        state = np.empty((n_state, LANES), f32)
        rate = np.empty((n_state, LANES), f32)
        weight = np.empty((dt_proj.shape[1], LANES), f32)
        skip, offset = np.empty(LANES, f32), np.empty(LANES, f32)
        for task in range(thread, n_batch * n_blocks, n_threads):
            batch, first = task // n_blocks, task % n_blocks * LANES
            width = min(LANES, n_channels - first)
            n_steps = lengths[batch]
            load_vector(bias, first, width, offset)
            load_vector(D, first, width, skip)
            if A.shape[0] and A_b.shape[0]:
                skip *= f32(2.0)
            load_steps(
                delta, dt_proj, batch, first, width, n_steps, weight, size
            )
            prepare(
                *(u, batch, first, width, offset, skip, use_softplus),
                *(n_steps, size, drive, total),
            )
            for reverse in (False, True):
                matrix = A_b if reverse else A
                if matrix.shape[0]:
                    load_matrix(matrix, first, width, LOG2_E, rate)
                    scan_block(
                        *(size, drive, rate, B, C, batch, n_steps),
                        *(reverse, state, total),
                    )
            store(total, z, gated, batch, n_steps, first, width, flat_out)
