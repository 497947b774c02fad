"""The scan's forward kernel, and the sweep that its gradient repeats."""

import triton
import triton.language as tl

from audiomamba.ops.triton.configs import tuned
from audiomamba.ops.triton.tiles import (
    LANES,
    LOG2_E,
    block_of_channels,
    cube_of,
    load_rows,
    load_tiles,
    load_vector,
    over_channels,
    over_states,
    sigmoid,
    silu_slope,
    step_of,
    step_sizes,
    valid_steps,
)


@triton.jit
def gated(y, zs, gs, t: tl.constexpr):
    """Return y SiLU(z) or, with a gradient g, the gradient of z."""
    if len(zs) > 0:
        z = zs[t].to(tl.float32)
        if len(gs) > 0:
            y *= gs[t].to(tl.float32) * silu_slope(z)
        else:
            y *= z * sigmoid(z)
    return y


@triton.jit
def sweep(
    sources, strides, gates, gate_strides, matrices, vectors, targets,
    n_steps, n_channels, n_state,
    REVERSE: tl.constexpr, SOFTPLUS: tl.constexpr, STATES: tl.constexpr,
    GROUPS: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """Scan one sequence in one direction, TILE steps at a time.

    The sources are u, delta and the other direction's output, to be added.
    The gates are z, to gate the output, and the gradient of the output, to
    compute that of z instead.  If there is a buffer for borders, the state
    before every tile is stored there.

    The next tile is loaded before this one is computed, as a multiprocessor
    has too few warps to hide the latency of memory.
    """
    B, B_step, C, C_step = matrices
    A, skip, bias = vectors
    out, borders = targets
    channels, inside = block_of_channels(n_channels, GROUPS)
    cube, cube_inside = cube_of(channels, inside, n_channels, n_state, STATES)
    border_size = n_state * n_channels
    states = tl.arange(0, STATES)
    known = states < n_state
    rates = tl.load(A + cube, cube_inside, other=0.0) * LOG2_E
    skip = load_vector(skip, channels, inside)
    bias = load_vector(bias, channels, inside)
    state = tl.zeros([STATES, GROUPS, LANES], tl.float32)
    next_rows = load_tiles(
        sources, strides, 0, n_steps, channels, inside, REVERSE, TILE
    )
    next_gates = load_tiles(
        gates, gate_strides, 0, n_steps, channels, inside, REVERSE, TILE
    )
    for first in range(0, n_steps, TILE):
        us, ds, ys = next_rows
        zs, gs, _ = next_gates
        ahead = first + TILE
        next_rows = load_tiles(
            sources, strides, ahead, n_steps, channels, inside, REVERSE, TILE
        )
        next_gates = load_tiles(
            gates, gate_strides, ahead, n_steps, channels, inside, REVERSE, TILE
        )
        bs = load_rows(B, B_step, first, n_steps, states, known, REVERSE, TILE)
        cs = load_rows(C, C_step, first, n_steps, states, known, REVERSE, TILE)
        if borders is not None:
            border = borders + tl.cast(first // TILE, tl.int64) * border_size
            tl.store(border + cube, state, cube_inside)
        for t in tl.static_range(TILE):
            _, size = step_sizes(ds[t], bias, SOFTPLUS)
            x = us[t].to(tl.float32)
            decay = tl.exp2(over_channels(size) * rates)
            drive = over_channels(size * x) * over_states(bs[t])
            state = decay * state + drive
            if out is not None:
                y = tl.sum(state * over_states(cs[t]), 0) + skip * x
                if len(ys) > 0:
                    y += ys[t]
                y = gated(y, zs, gs, t)
                exists = inside & (first + t < n_steps)
                step = step_of(first + t, n_steps, REVERSE)
                tl.store((out + step * n_channels) + channels, y, exists)


# The kernel's integers, which are not compiled into it.
_INTEGERS = (
    "u_batch u_step delta_batch delta_step B_batch B_step C_batch C_step "
    "z_batch z_step n_steps n_channels n_state size"
).split()


@tuned(
    dict(GROUPS=4, TILE=4),
    dict(GROUPS=4, TILE=2),
    dict(GROUPS=2, TILE=4),
    dict(GROUPS=1, TILE=4),
    key=["size", "n_state"],
)
@triton.jit(do_not_specialize=_INTEGERS)
def forward_kernel(
    u, delta, A, A_b, B, C, D, z, bias, lengths, partial, out, u_batch,
    u_step, delta_batch, delta_step, B_batch, B_step, C_batch, C_step,
    z_batch, z_step, n_steps, n_channels, n_state, size,
    SOFTPLUS: tl.constexpr, STATES: tl.constexpr, GROUPS: tl.constexpr,
    TILE: tl.constexpr,
):  # fmt: skip
    """Scan a block of channels of one sequence in the given directions.

    A and A_b are [N, D].  The first of two directions writes its output to
    `partial`, in float32.
    """
    batch = tl.program_id(1).to(tl.int64)
    own = batch * n_steps * n_channels
    out = out + own
    u = u + batch * u_batch
    delta = delta + batch * delta_batch
    if partial is not None:
        partial += own
    if z is not None:
        z += batch * z_batch
    gates = (z, None, None)
    matrices = (B + batch * B_batch, B_step, C + batch * C_batch, C_step)
    steps = (u_step, delta_step, n_channels)
    valid = valid_steps(lengths, batch, n_steps)
    if A is not None:
        if A_b is not None:
            sweep(
                (u, delta, None), steps, (None, None, None), steps, matrices,
                (A, D, bias), (partial, None), valid, n_channels, n_state,
                False, SOFTPLUS, STATES, GROUPS, TILE,
            )  # fmt: skip
            tl.debug_barrier()
        else:
            sweep(
                (u, delta, None), steps, gates, (z_step, 0, 0), matrices,
                (A, D, bias), (out, None), valid, n_channels, n_state,
                False, SOFTPLUS, STATES, GROUPS, TILE,
            )  # fmt: skip
    if A_b is not None:
        sweep(
            (u, delta, partial), steps, gates, (z_step, 0, 0), matrices,
            (A_b, D, bias), (out, None), valid, n_channels, n_state,
            True, SOFTPLUS, STATES, GROUPS, TILE,
        )  # fmt: skip
