"""The adjoint of the scan on the CPU.

The states are not stored for every step: one pass stores the state at each
chunk's start; then, from the last chunk to the first, a chunk's states are
recomputed and the adjoint recurrence runs through them.  Sums over channels
are taken per block and added in a fixed order, so that the result does not
depend on the number of threads.
"""

import numpy as np
from numba import njit, prange

from audiomamba.ops.cpu.blocks import (
    AHEAD,
    LANES,
    fetch,
    load_matrix,
    load_rows,
    new_rows,
    row_of,
)
from audiomamba.ops.cpu.decay import decay_row
from audiomamba.ops.cpu.scan import load_parameters, load_steps, prepare
from audiomamba.ops.cpu.sums import row_sum
from audiomamba.ops.cpu.vector_math import (
    KERNEL,
    LOG2_E,
    f32,
    product,
    sigmoid,
    vectorise,
    widen,
)

# Steps whose states and decays are held at once, in the L2 cache.
CHUNK = 64
LN_2 = f32(0.6931471805599453)


@njit(**KERNEL)
def _new_states(n_steps, n_state):
    """Return a buffer for states, [n, N, LANES]."""
    return new_rows(n_steps * n_state).reshape(n_steps, n_state, LANES)


@njit(**KERNEL)
def _mark_borders(
    delta, drive, rate, B, batch, n_steps, reverse, decay, state, borders
):
    """Store the state before every chunk (in scan order) in borders."""
    vectorise()
    n_state = rate.shape[0]
    state[:] = f32(0.0)
    for i in range((n_steps - 1) // CHUNK * CHUNK + 1):
        if i % CHUNK == 0:
            borders[i // CHUNK] = state
        step = n_steps - 1 - i if reverse else i
        b_n = row_of(B, batch, step, 0, n_state)
        for n in range(n_state):
            b = widen(b_n[n])
            decay_row(delta[step], rate[n], decay)
            for k in range(LANES):
                s = product(drive[step, k], b)
                state[n, k] = decay[k] * state[n, k] + s


@njit(**KERNEL)
def _recompute_step(delta, drive, rate, b_n, c_n, before, decays, after, y):
    """Recompute one step's decays, states and ungated output."""
    vectorise()
    for n in range(rate.shape[0]):
        b, c = widen(b_n[n]), widen(c_n[n])
        decay_row(delta, rate[n], decays[n])
        for k in range(LANES):
            s = decays[n, k] * before[n, k] + product(drive[k], b)
            after[n, k] = s
            y[k] += c * s


@njit(**KERNEL)
def _adjoint_step(
    delta, drive, grad, rate, b_n, c_n, before, decays, after, adjoint,
    parts_b, parts_c, d_rate, d_drive, d_delta, d_b, d_c,
):  # fmt: skip
    """Take one step of the adjoint recurrence, against the scan's order.

    ``rate`` is A log2(e), so ``d_delta`` sums d(delta) / ln(2); the factor is
    applied once, after the loops.  ``parts_b`` and ``parts_c`` [LANES] are
    scratch.
    """
    vectorise()
    for n in range(rate.shape[0]):
        b, c = widen(b_n[n]), widen(c_n[n])
        for k in range(LANES):
            d_state = adjoint[n, k] + grad[k] * c
            parts_b[k] = d_state * drive[k]
            parts_c[k] = grad[k] * after[n, k]
            d_drive[k] += d_state * b
            passed = d_state * decays[n, k]
            d_exponent = passed * before[n, k]
            d_rate[n, k] += d_exponent * delta[k]
            d_delta[k] += d_exponent * rate[n, k]
            adjoint[n, k] = passed
        d_b[n] += row_sum(parts_b)
        d_c[n] += row_sum(parts_c)


@njit(**KERNEL)
def _adjoint_direction(
    A, reverse, place, n_steps, delta, drive, grad, B, C, rate, adjoint,
    parts, borders, decays, states, total, d_rate, d_drive, d_delta, dA, dB,
    dC,
):  # fmt: skip
    """Run the adjoint recurrence of one direction through all chunks."""
    vectorise()
    batch, first, width = place
    n_state = rate.shape[0]
    load_matrix(A, first, width, LOG2_E, rate)
    _mark_borders(
        delta, drive, rate, B, batch, n_steps, reverse, decays[0, 0], adjoint,
        borders,
    )  # fmt: skip
    adjoint[:] = f32(0.0)
    d_rate[:] = f32(0.0)
    for chunk in range((n_steps + CHUNK - 1) // CHUNK - 1, -1, -1):
        start = chunk * CHUNK
        size = min(CHUNK, n_steps - start)
        states[0] = borders[chunk]
        for i in range(size):
            t = n_steps - 1 - start - i if reverse else start + i
            b, c = (
                row_of(B, batch, t, 0, n_state),
                row_of(C, batch, t, 0, n_state),
            )
            _recompute_step(
                delta[t], drive[t], rate, b, c, states[i], decays[i],
                states[i + 1], total[t],
            )  # fmt: skip
        for i in range(size - 1, -1, -1):
            t = n_steps - 1 - start - i if reverse else start + i
            b, c = (
                row_of(B, batch, t, 0, n_state),
                row_of(C, batch, t, 0, n_state),
            )
            _adjoint_step(
                delta[t], drive[t], grad[t], rate, b, c, states[i], decays[i],
                states[i + 1], adjoint, parts[0], parts[1], d_rate, d_drive[t],
                d_delta[t], dB[t], dC[t],
            )  # fmt: skip
    for k in range(width):
        for n in range(n_state):
            dA[first + k, n] = d_rate[n, k]


@njit(**KERNEL)
def _gate_gradient(grad, gate, n_steps):
    """Turn the gradient of the output into that of the ungated output.

    ``gate`` becomes the factor of its own gradient.
    """
    vectorise()
    for step in range(n_steps):
        grad_row, gate_row = grad[step], gate[step]
        for k in range(LANES):
            d, g = grad_row[k], gate_row[k]
            s = sigmoid(g)
            grad_row[k] = d * g * s
            gate_row[k] = d * s * (f32(1.0) + g * (f32(1.0) - s))


@njit(**KERNEL)
def _load_block(
    grad_output, u, delta, z, place, n_steps, weight, offset, skip,
    use_softplus, raw, size, drive, total, grad, gate,
):  # fmt: skip
    """Load what both directions of a block of channels share."""
    load_rows(grad_output, place, 0, n_steps, grad)
    load_steps(delta, weight, place, 0, n_steps, raw)
    size[:n_steps] = raw[:n_steps]
    prepare(
        u, place, 0, n_steps, offset, skip, use_softplus, size, drive, total
    )
    if z[0].shape[0] > 0:
        load_rows(z, place, 0, n_steps, gate)
        _gate_gradient(grad, gate, n_steps)


@njit(**KERNEL)
def _store_inputs(
    u, raw, offset, use_softplus, delta, grad, skip, d_drive, d_delta,
    place, n_steps, du, ddelta, dD, dbias,
):  # fmt: skip
    """Write the gradients of u and delta, sum those of D and the bias."""
    vectorise()
    batch, first, width = place
    dD[:] = f32(0.0)
    dbias[:] = f32(0.0)
    for step in range(n_steps):
        fetch(u, batch, step + AHEAD, first, width)
        fetch(du, batch, step + AHEAD, first, width)
        fetch(ddelta, batch, step + AHEAD, first, width)
        u_row = row_of(u, batch, step, first, width)
        du_row = row_of(du, batch, step, first, width)
        ddelta_row = row_of(ddelta, batch, step, first, width)
        drive_row, grad_row = d_drive[step], grad[step]
        delta_row, raw_row, d_row = delta[step], raw[step], d_delta[step]
        for k in range(width):
            d_xd, g, x = drive_row[k], grad_row[k], widen(u_row[k])
            du_row[k] = d_xd * delta_row[k] + product(g, skip[k])
            d = d_xd * x + product(d_row[k], LN_2)
            if use_softplus:
                d *= sigmoid(raw_row[k] + offset[k])
            ddelta_row[k] = d
            dD[k] += g * x
            dbias[k] += d


@njit(**KERNEL)
def _store_gate(gate, total, place, n_steps, dz):
    """Write the gradient of the gate."""
    vectorise()
    batch, first, width = place
    for step in range(n_steps):
        fetch(dz, batch, step + AHEAD, first, width)
        row = row_of(dz, batch, step, first, width)
        gate_row, total_row = gate[step], total[step]
        for k in range(width):
            row[k] = gate_row[k] * total_row[k]


@njit(parallel=True, **KERNEL)
def backward(
    grad_output, u, delta, dt_proj, A, A_b, B, C, D, z, bias, use_softplus,
    lengths, du, ddelta, dA, dB, dC, dD, dz, dbias, n_threads,
):  # fmt: skip
    """Write all gradients.

    ``dA`` [2, B, D, N], ``dD`` and ``dbias`` [B, D] are sums over steps;
    ``dB`` and ``dC`` [blocks, B, L, N] are sums over a block's channels.
    ``du``, ``ddelta`` and ``dz`` [B, L, D] come from `blocks.rows`; ``ddelta``
    is the gradient of the step sizes after ``dt_proj``.
    """
    n_channels = dD.shape[1]
    n_blocks, n_batch, n_total, n_state = dB.shape
    n_chunks = (n_total + CHUNK - 1) // CHUNK
    for thread in prange(n_threads):
        vectorise()
        raw, size = new_rows(n_total + 1), new_rows(n_total)
        drive, total = new_rows(n_total), new_rows(n_total)
        grad, gate = new_rows(n_total), new_rows(n_total)
        d_drive, d_delta = new_rows(n_total), new_rows(n_total)
        borders = _new_states(n_chunks, n_state)
        decays = _new_states(CHUNK, n_state)
        states = _new_states(CHUNK + 1, n_state)
        rate, d_rate = new_rows(n_state), new_rows(n_state)
        adjoint, weight = new_rows(n_state), new_rows(dt_proj.shape[1])
        parts = new_rows(2)
        skip, offset = np.empty(LANES, f32), np.empty(LANES, f32)
        for task in range(thread, n_batch * n_blocks, n_threads):
            batch, block = task // n_blocks, task % n_blocks
            first = block * LANES
            last = min(first + LANES, n_channels)
            place, n = (batch, first, last - first), lengths[batch]
            load_parameters(
                dt_proj, A, A_b, D, bias, place, weight, offset, skip
            )
            _load_block(
                grad_output, u, delta, z, place, n, weight, offset, skip,
                use_softplus, raw, size, drive, total, grad, gate,
            )  # fmt: skip
            d_drive[:n] = f32(0.0)
            d_delta[:n] = f32(0.0)
            for way in range(2):
                rates = A_b if way else A
                if rates.shape[0] == 0:
                    continue
                _adjoint_direction(
                    rates, way == 1, place, n, size, drive, grad, B, C, rate,
                    adjoint, parts, borders, decays, states, total, d_rate,
                    d_drive, d_delta, dA[way, batch], dB[block, batch],
                    dC[block, batch],
                )  # fmt: skip
            _store_inputs(
                u, raw, offset, use_softplus, size, grad, skip, d_drive,
                d_delta, place, n, du, ddelta, dD[batch, first:last],
                dbias[batch, first:last],
            )  # fmt: skip
            if z[0].shape[0] > 0:
                _store_gate(gate, total, place, n, dz)
