"""The forward scan on the CPU: a block of channels at a time.

A task takes one sequence and LANES channels.  Its states [N, LANES] stay in
the first-level cache, and the loop over lanes is what LLVM turns into vector
code.  Step sizes and inputs are prepared once for both directions.
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
    sigmoid,
    softplus,
    vectorise,
    widen,
)

# Steps that are taken through all stages before the next ones are, so that
# what one stage leaves is still in the cache for the next.
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
            s = decay[k] * state[n, k] + drive[k] * b
            state[n, k] = s
            total[k] += c * s


@njit(**KERNEL)
def load_parameters(dt_proj, A, A_b, D, bias, place, weight, offset, skip):
    """Load what a block of channels needs of the parameters.

    Every direction adds the skip.
    """
    _, first, width = place
    load_matrix(dt_proj, first, width, f32(1.0), weight)
    load_vector(bias, first, width, offset)
    load_vector(D, first, width, skip)
    if A.shape[0] and A_b.shape[0]:
        skip *= f32(2.0)


@njit(**KERNEL)
def load_steps(delta, weight, batch, first, width, start, stop, raw):
    """Load the step sizes before bias and softplus into raw [L, LANES].

    ``delta`` is [L, D], or [L, R] where ``weight`` [R, LANES] widens it.
    """
    if weight.shape[0]:
        load_projected(delta, weight, batch, start, stop, raw)
    else:
        load_rows(delta, batch, first, width, start, stop, raw)


@njit(**KERNEL)
def prepare(
    u, batch, first, width, start, stop, bias, skip, use_softplus,
    delta, drive, total,
):  # fmt: skip
    """Compute delta, delta u and skip u, [L, LANES] each, idle lanes zero.

    ``delta`` holds the step sizes before bias and softplus.
    """
    vectorise()
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
def _store(total, z, gated, batch, first, width, start, stop, out):
    """Write some steps of total SiLU(z) to channels of out."""
    vectorise()
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
    u, delta, B, C, place, n_steps, weight, rate, bias, skip, scans,
    use_softplus, size, drive, total, decay, state,
):  # fmt: skip
    """Prepare all steps and, where it ``scans``, take them in this order."""
    batch, first, width = place
    n_state = rate.shape[0]
    state[:] = f32(0.0)
    for start in range(0, n_steps, CHUNK):
        stop = min(start + CHUNK, n_steps)
        load_steps(delta, weight, *place, start, stop, size)
        prepare(
            *(u, *place, start, stop, bias, skip, use_softplus),
            *(size, drive, total),
        )
        for step in range(start, stop if scans else start):
            fetch(u, batch, step + CHUNK, first, width)
            _scan_step(
                *(size[step], drive[step], rate),
                row_of(B, batch, step, 0, n_state),
                row_of(C, batch, step, 0, n_state),
                *(decay, state, total[step]),
            )


@njit(**KERNEL)
def _scan_backward(
    z, B, C, place, n_steps, rate, scans, gated, size, drive, total, decay,
    state, out,
):  # fmt: skip
    """Where it ``scans``, take all steps from the last; write the output."""
    batch, first, width = place
    n_state = rate.shape[0]
    state[:] = f32(0.0)
    for stop in range(n_steps, 0, -CHUNK):
        start = max(stop - CHUNK, 0)
        for step in range(stop - 1, start - 1 if scans else stop - 1, -1):
            fetch(z, batch, step, first, width)
            fetch(out, batch, step, first, width)
            _scan_step(
                *(size[step], drive[step], rate),
                row_of(B, batch, step, 0, n_state),
                row_of(C, batch, step, 0, n_state),
                *(decay, state, total[step]),
            )
        _store(total, z, gated, *place, start, stop, out)


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
        size, drive = new_rows(n_total + 1), new_rows(n_total)
        total, weight = new_rows(n_total), new_rows(dt_proj.shape[1])
        state, rate = new_rows(n_state), new_rows(n_state)
        decay = new_rows(1)[0]
        skip, offset = np.empty(LANES, f32), np.empty(LANES, f32)
        for task in range(thread, n_batch * n_blocks, n_threads):
            batch, first = task // n_blocks, task % n_blocks * LANES
            width = min(LANES, n_channels - first)
            place = (batch, first, width)
            load_parameters(
                *(dt_proj, A, A_b, D, bias, place, weight, offset, skip)
            )
            load_matrix(A, first, width, LOG2_E, rate)
            _scan_forward(
                *(u, delta, B, C, place, lengths[batch], weight, rate),
                *(offset, skip, A.shape[0] > 0, use_softplus),
                *(size, drive, total, decay, state),
            )
            load_matrix(A_b, first, width, LOG2_E, rate)
            _scan_backward(
                *(z, B, C, place, lengths[batch], rate, A_b.shape[0] > 0),
                *(gated, size, drive, total, decay, state, flat_out),
            )
