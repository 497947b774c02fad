"""The forward scan on the CPU: a block of channels at a time.

A task scans LANES channels of one sequence.  Its states [N, LANES] stay in the
L1 cache, and LLVM vectorises the loop over lanes.  Step sizes and inputs are
prepared once for both directions.
"""

import numpy as np
from numba import njit, prange

from audiomamba.ops.cpu.blocks import (
    LANES,
    fetch,
    load_matrix,
    load_projected,
    load_rows,
    load_vector,
    new_rows,
    row_of,
)
from audiomamba.ops.cpu.decay import decay_row
from audiomamba.ops.cpu.vector_math import (
    KERNEL,
    LOG2_E,
    f32,
    product,
    sigmoid,
    softplus,
    vectorise,
    widen,
)

# Steps that go through all stages together, so that what one stage writes is
# still in the cache when the next one reads it.
CHUNK = 32


@njit(**KERNEL)
def _scan_step(delta, drive, rate, b_n, c_n, decay, state, total):
    """Take one step of all states and add sum_n C_n h_n to total [LANES].

    ``rate`` is A log2(e), so that the decay is a power of two.
    """
    vectorise()
    for n in range(rate.shape[0]):
        b, c = widen(b_n[n]), widen(c_n[n])
        decay_row(delta, rate[n], decay)
        for k in range(LANES):
            s = decay[k] * state[n, k] + product(drive[k], b)
            state[n, k] = s
            total[k] += c * s


@njit(**KERNEL)
def load_parameters(dt_proj, A, A_b, D, bias, place, weight, offset, skip):
    """Load a block's parameters; each direction adds the skip."""
    _, first, width = place
    load_matrix(dt_proj, first, width, f32(1.0), weight)
    load_vector(bias, first, width, offset)
    load_vector(D, first, width, skip)
    if A.shape[0] and A_b.shape[0]:
        skip *= f32(2.0)


@njit(**KERNEL)
def load_steps(delta, weight, place, start, stop, raw):
    """Load the step sizes before bias and softplus into raw [L, LANES].

    ``delta`` is [L, D], or [L, R] if ``weight`` [R, LANES] projects it.
    """
    if weight.shape[0]:
        load_projected(delta, weight, place[0], start, stop, raw)
    else:
        load_rows(delta, place, start, stop, raw)


@njit(**KERNEL)
def prepare(
    u, place, start, stop, bias, skip, use_softplus, delta, drive, total
):
    """Compute delta, delta u and skip u, [L, LANES] each, idle lanes zero.

    ``delta`` holds the step sizes before bias and softplus.
    """
    vectorise()
    batch, first, width = place
    if width < LANES:
        drive[start:stop] = f32(0.0)
        total[start:stop] = f32(0.0)
    for step in range(start, stop):
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
def _store(total, z, gated, place, start, stop, out):
    """Write some steps of total SiLU(z) to channels of out."""
    vectorise()
    batch, first, width = place
    for step in range(start, stop):
        row = row_of(out, batch, step, first, width)
        total_row = total[step]
        if gated:
            z_row = row_of(z, batch, step, first, width)
            for k in range(width):
                g = widen(z_row[k])
                row[k] = total_row[k] * g * sigmoid(g)
        else:
            for k in range(width):
                row[k] = total_row[k]


@njit(**KERNEL)
def _scan_forward(
    u, delta, B, C, place, n_steps, weight, bias, skip, rate, use_softplus,
    scans, size, drive, total, decay, state,
):  # fmt: skip
    """Prepare all steps and, if ``scans``, take them in this order."""
    batch, first, width = place
    n_state = rate.shape[0]
    state[:] = f32(0.0)
    for start in range(0, n_steps, CHUNK):
        stop = min(start + CHUNK, n_steps)
        load_steps(delta, weight, place, start, stop, size)
        prepare(
            u, place, start, stop, bias, skip, use_softplus, size, drive, total
        )
        for step in range(start, stop if scans else start):
            fetch(u, batch, step + CHUNK, first, width)
            b = row_of(B, batch, step, 0, n_state)
            c = row_of(C, batch, step, 0, n_state)
            _scan_step(
                size[step], drive[step], rate, b, c, decay, state, total[step]
            )


@njit(**KERNEL)
def _scan_backward(
    z, B, C, place, n_steps, rate, gated, scans, size, drive, total, decay,
    state, out,
):  # fmt: skip
    """If ``scans``, take all steps from the last; write the output."""
    batch, first, width = place
    n_state = rate.shape[0]
    state[:] = f32(0.0)
    for stop in range(n_steps, 0, -CHUNK):
        start = max(stop - CHUNK, 0)
        for step in range(stop - 1, start - 1 if scans else stop - 1, -1):
            fetch(z, batch, step, first, width)
            fetch(out, batch, step, first, width)
            b = row_of(B, batch, step, 0, n_state)
            c = row_of(C, batch, step, 0, n_state)
            _scan_step(
                size[step], drive[step], rate, b, c, decay, state, total[step]
            )
        _store(total, z, gated, place, start, stop, out)


@njit(parallel=True, **KERNEL)
def forward(
    u, delta, dt_proj, A, A_b, B, C, D, z, bias, use_softplus, lengths, out,
    n_threads,
):  # fmt: skip
    """Scan in the given directions; write the gated sum to out [B, L, D].

    ``u``, ``delta``, ``B``, ``C`` and ``z`` come from `blocks.rows`;
    ``dt_proj``, ``A``, ``A_b``, ``D``, ``z`` and ``bias`` are empty if they
    were not given.
    """
    n_batch, n_total, n_channels = out.shape
    n_state = max(A.shape[1], A_b.shape[1])
    n_blocks = (n_channels + LANES - 1) // LANES
    gated = z[0].shape[0] > 0
    flat_out = (out.reshape(-1), n_total * n_channels, n_channels)
    for thread in prange(n_threads):
        vectorise()
        size, drive = new_rows(n_total + 1), new_rows(n_total)
        total, weight = new_rows(n_total), new_rows(dt_proj.shape[1])
        state, rate = new_rows(n_state), new_rows(n_state)
        decay = new_rows(1)[0]
        skip, offset = np.empty(LANES, f32), np.empty(LANES, f32)
        for task in range(thread, n_batch * n_blocks, n_threads):
            batch, first = task // n_blocks, task % n_blocks * LANES
            width = min(LANES, n_channels - first)
            place, n_steps = (batch, first, width), lengths[batch]
            load_parameters(
                dt_proj, A, A_b, D, bias, place, weight, offset, skip
            )
            load_matrix(A, first, width, LOG2_E, rate)
            _scan_forward(
                u, delta, B, C, place, n_steps, weight, offset, skip, rate,
                use_softplus, A.shape[0] > 0, size, drive, total, decay, state,
            )  # fmt: skip
            load_matrix(A_b, first, width, LOG2_E, rate)
            _scan_backward(
                z, B, C, place, n_steps, rate, gated, A_b.shape[0] > 0, size,
                drive, total, decay, state, flat_out,
            )  # fmt: skip
