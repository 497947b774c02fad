"""The scan's gradient: a sweep that stores borders, then the adjoint sweep."""

import triton
import triton.language as tl

from audiomamba.ops.triton.configs import tuned
from audiomamba.ops.triton.scan import sweep
from audiomamba.ops.triton.tiles import (
    LANES,
    LN_2,
    LOG2_E,
    block_of_channels,
    cube_of,
    load_rows,
    load_tiles,
    load_vector,
    over_channels,
    over_states,
    sigmoid,
    step_of,
    step_sizes,
    valid_steps,
)

# No configuration has shorter tiles or narrower blocks: the buffers for borders
# and for partial sums over channels have room for these.
SHORTEST_TILE = tl.constexpr(2)
FEWEST_GROUPS = tl.constexpr(2)


@triton.jit
def recomputed(
    state, us, ds, bs, rates, bias, SOFTPLUS: tl.constexpr, TILE: tl.constexpr
):
    """Return the states before and after each step of a tile, and decays."""
    states = (state,)
    decays = ()
    for t in tl.static_range(TILE):
        _, size = step_sizes(ds[t], bias, SOFTPLUS)
        decay = tl.exp2(over_channels(size) * rates)
        drive = over_channels(size * us[t].to(tl.float32)) * over_states(bs[t])
        state = decay * state + drive
        states = states + (state,)
        decays = decays + (decay,)
    return states, decays


@triton.jit
def adjoint(
    sources, strides, grad, grad_step, left, matrices, vectors, borders,
    row_targets, state_targets, sums, n_steps, n_channels, n_state,
    REVERSE: tl.constexpr, SOFTPLUS: tl.constexpr, STATES: tl.constexpr,
    GROUPS: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """Run one direction's adjoint recurrence, the last tile first.

    The sources are u, delta and z; `left` holds the other direction's gradients
    of u and delta, to be added.  They are loaded step by step, not a tile ahead
    as the rest: more registers would spill.
    """
    B, B_step, C, C_step = matrices
    A, skip, bias = vectors
    du, ddelta = row_targets
    dB, dC = state_targets
    dA, dskip, dbias = sums
    channels, inside = block_of_channels(n_channels, GROUPS)
    cube, cube_inside = cube_of(channels, inside, n_channels, n_state, STATES)
    states = tl.arange(0, STATES)
    known = states < n_state
    rates = tl.load(A + cube, cube_inside, other=0.0) * LOG2_E
    skip = load_vector(skip, channels, inside)
    bias = load_vector(bias, channels, inside)
    costate = tl.zeros([STATES, GROUPS, LANES], tl.float32)
    sum_A = tl.zeros([STATES, GROUPS, LANES], tl.float32)
    sum_skip = tl.zeros([GROUPS, LANES], tl.float32)
    sum_bias = tl.zeros([GROUPS, LANES], tl.float32)
    border_size = n_state * n_channels
    last = ((n_steps - 1) // TILE) * TILE
    next_rows = load_tiles(
        sources, strides, last, n_steps, channels, inside, REVERSE, TILE
    )
    next_gs = load_rows(
        grad, grad_step, last, n_steps, channels, inside, REVERSE, TILE
    )
    for first in range(last, -1, -TILE):
        us, ds, zs = next_rows
        gs = next_gs
        ahead = first - TILE
        next_rows = load_tiles(
            sources, strides, ahead, n_steps, channels, inside, REVERSE, TILE
        )
        next_gs = load_rows(
            grad, grad_step, ahead, n_steps, channels, inside, REVERSE, TILE
        )
        bs = load_rows(B, B_step, first, n_steps, states, known, REVERSE, TILE)
        cs = load_rows(C, C_step, first, n_steps, states, known, REVERSE, TILE)
        state = tl.load(
            (borders + tl.cast(first // TILE, tl.int64) * border_size) + cube,
            cube_inside & (first < n_steps),
            other=0.0,
        )
        hs, decays = recomputed(state, us, ds, bs, rates, bias, SOFTPLUS, TILE)
        for t in tl.static_range(TILE - 1, -1, -1):
            dus, dds, _ = load_tiles(
                left, (n_channels, n_channels, 0), first + t, n_steps, channels,
                inside, REVERSE, 1,
            )  # fmt: skip
            raw, size = step_sizes(ds[t], bias, SOFTPLUS)
            x = us[t].to(tl.float32)
            g = gs[t].to(tl.float32)
            if len(zs) > 0:
                z = zs[t].to(tl.float32)
                g *= z * sigmoid(z)
            dc = tl.sum(tl.sum(over_channels(g) * hs[t + 1], 1), 1)
            costate += over_channels(g) * over_states(cs[t])
            db = tl.sum(tl.sum(costate * over_channels(size * x), 1), 1)
            ddrive = tl.sum(costate * over_states(bs[t]), 0)
            costate *= decays[t]
            back = costate * hs[t]
            sum_A += back * over_channels(size)
            dsize = ddrive * x + LN_2 * tl.sum(back * rates, 0)
            if SOFTPLUS:
                dsize *= sigmoid(raw)
            sum_bias += dsize
            dx = ddrive * size + skip * g
            sum_skip += g * x
            if len(dus) > 0:
                dx += dus[0]
                dsize += dds[0]
            exists = first + t < n_steps
            step = step_of(first + t, n_steps, REVERSE)
            at = step * n_channels
            tl.store((du + at) + channels, dx, inside & exists)
            tl.store((ddelta + at) + channels, dsize, inside & exists)
            at = step * n_state
            tl.store((dB + at) + states, db, known & exists)
            tl.store((dC + at) + states, dc, known & exists)
    tl.store(dA + cube, sum_A, cube_inside)
    tl.store(dskip + channels, sum_skip, inside)
    tl.store(dbias + channels, sum_bias, inside)


@triton.jit
def one_way(
    rows, steps, gates, matrices, vectors, left, borders, targets,
    state_targets, sums, n_steps, n_channels, n_state,
    REVERSE: tl.constexpr, SOFTPLUS: tl.constexpr, STATES: tl.constexpr,
    GROUPS: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """Differentiate one direction: the borders first, then the adjoint.

    `left` holds the other direction's output and gradients of u and delta;
    `targets` is where this direction writes its own.
    """
    u, delta, z, grad = rows
    u_step, delta_step, z_step, grad_step = steps
    left_y, left_du, left_ddelta = left
    y, du, ddelta = targets
    sweep(
        (u, delta, left_y), (u_step, delta_step, n_channels),
        gates, (z_step, grad_step, 0),
        matrices, vectors, (y, borders), n_steps, n_channels, n_state,
        REVERSE, SOFTPLUS, STATES, GROUPS, TILE,
    )  # fmt: skip
    tl.debug_barrier()
    adjoint(
        (u, delta, z), (u_step, delta_step, z_step), grad, grad_step,
        (left_du, left_ddelta, None), matrices, vectors, borders,
        (du, ddelta), state_targets, sums, n_steps, n_channels, n_state,
        REVERSE, SOFTPLUS, STATES, GROUPS, TILE,
    )  # fmt: skip
    tl.debug_barrier()


# The kernel's integers, which are not compiled into it.
_INTEGERS = (
    "u_batch u_step delta_batch delta_step B_batch B_step C_batch C_step "
    "z_batch z_step grad_batch grad_step n_steps n_channels n_state size"
).split()


# Longer tiles spill registers: tools/inspect_kernels.py counts them.
@tuned(
    dict(GROUPS=4, TILE=2),
    dict(GROUPS=2, TILE=2),
    key=["size", "n_state"],
)
@triton.jit(do_not_specialize=_INTEGERS)
def backward_kernel(
    grad, u, delta, A, A_b, B, C, D, z, bias, lengths, borders, partial,
    partial_du, partial_ddelta, du, ddelta, dz, dB, dC, dA, dD, dbias,
    u_batch, u_step, delta_batch, delta_step, B_batch, B_step, C_batch,
    C_step, z_batch, z_step, grad_batch, grad_step, n_steps, n_channels,
    n_state, size,
    SOFTPLUS: tl.constexpr, STATES: tl.constexpr, GROUPS: tl.constexpr,
    TILE: tl.constexpr,
):  # fmt: skip
    """Differentiate the scan of a block of channels of one sequence.

    Every program writes its own part of sums over sequences or channels: dB
    and dC are [ways, blocks, B, L, N], dA is [ways, B, N, D], dD and dbias are
    [ways, B, D].
    """
    n_batch = tl.num_programs(1)
    batch = tl.program_id(1).to(tl.int64)
    valid = valid_steps(lengths, batch, n_steps)
    own = batch * n_steps * n_channels
    borders = borders + (batch * tl.cdiv(n_steps, SHORTEST_TILE)) * (
        n_state * n_channels
    )
    u += batch * u_batch
    delta += batch * delta_batch
    grad += batch * grad_batch
    gates = (None, None, None)
    if z is not None:
        z += batch * z_batch
        dz += own
        gates = (z, grad, None)
    if partial is not None:
        partial += own
    if partial_du is not None:
        partial_du += own
        partial_ddelta += own
    rows = (u, delta, z, grad)
    steps = (u_step, delta_step, z_step, grad_step)
    matrices = (B + batch * B_batch, B_step, C + batch * C_batch, C_step)
    partials = (partial, partial_du, partial_ddelta)
    results = (dz, du + own, ddelta + own)
    block = tl.program_id(0).to(tl.int64)
    part = (block * n_batch + batch) * n_steps * n_state
    parts = (dB + part, dC + part)
    own = batch * n_channels
    sums = (dA + own * n_state, dD + own, dbias + own)
    if A is not None:
        if A_b is not None:
            one_way(
                rows, steps, (None, None, None), matrices, (A, D, bias),
                (None, None, None), borders, partials, parts, sums,
                valid, n_channels, n_state,
                False, SOFTPLUS, STATES, GROUPS, TILE,
            )  # fmt: skip
            own += n_batch * n_channels
            sums = (dA + own * n_state, dD + own, dbias + own)
            blocks = tl.num_programs(0).to(tl.int64)
            part += blocks * n_batch * n_steps * n_state
            parts = (dB + part, dC + part)
        else:
            one_way(
                rows, steps, gates, matrices, (A, D, bias),
                (None, None, None), borders, results, parts, sums,
                valid, n_channels, n_state,
                False, SOFTPLUS, STATES, GROUPS, TILE,
            )  # fmt: skip
    if A_b is not None:
        one_way(
            rows, steps, gates, matrices, (A_b, D, bias),
            partials, borders, results, parts, sums,
            valid, n_channels, n_state,
            True, SOFTPLUS, STATES, GROUPS, TILE,
        )  # fmt: skip
