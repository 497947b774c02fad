"""What the scan's kernels share: indexing, loads and elementary functions.

A program scans one block of channels of one sequence.  It is a single warp
that keeps the state in registers as a cube [N, GROUPS, LANES]: eight threads
along the last axis and four along the states, so that a sum over states takes
two shuffles and most of a sum over channels stays in a thread.
"""

import triton
import triton.language as tl

LANES = tl.constexpr(8)
LOG2_E = tl.constexpr(1.4426950408889634)
LN_2 = tl.constexpr(0.6931471805599453)


@triton.jit
def sigmoid(x):
    """Return 1 / (1 + exp(-x))."""
    return 1.0 / (1.0 + tl.exp2(-LOG2_E * x))


@triton.jit
def silu_slope(x):
    """Return the derivative of x sigmoid(x)."""
    s = sigmoid(x)
    return s * (1.0 + x * (1.0 - s))


@triton.jit
def softplus(x):
    """Return log(1 + exp(x)), accurate where it is tiny as well.

    log(1 + e) / e on [0, 1] is a Chebyshev fit of degree 8, 2e-7 off at most.
    """
    e = tl.exp2(-LOG2_E * tl.abs(x))
    p = 0.00525345793 * e - 0.0295885075
    p = p * e + 0.0783616677
    p = p * e - 0.136747703
    p = p * e + 0.191114306
    p = p * e - 0.248443693
    p = p * e + 0.333192706
    p = p * e - 0.499995023
    p = p * e + 1.0
    return tl.maximum(x, 0.0) + p * e


@triton.jit
def valid_steps(lengths, batch, n_steps):
    """Return how many steps of a sequence are valid."""
    if lengths is not None:
        n_steps = tl.minimum(tl.load(lengths + batch), n_steps).to(tl.int32)
    return n_steps


@triton.jit
def block_of_channels(n_channels, GROUPS: tl.constexpr):
    """Return this program's channels [GROUPS, LANES] and a mask of them."""
    group = tl.arange(0, GROUPS)[:, None]
    lane = tl.arange(0, LANES)[None, :]
    channels = (tl.program_id(0) * GROUPS + group) * LANES + lane
    return channels, channels < n_channels


@triton.jit
def cube_of(channels, inside, n_channels, n_state, STATES: tl.constexpr):
    """Return a cube's offsets in [N, D] and a mask of those that exist."""
    states = tl.arange(0, STATES)[:, None, None]
    at = states * n_channels + channels[None, :, :]
    return at, (states < n_state) & inside[None, :, :]


@triton.jit
def load_vector(base, channels, inside):
    """Return one value per channel in float32, zeros for None."""
    values = tl.zeros(channels.shape, tl.float32)
    if base is not None:
        values += tl.load(base + channels, inside, other=0.0)
    return values


@triton.jit
def step_of(place, n_steps, REVERSE: tl.constexpr):
    """Return the step at a position in the scan's order.

    It is int64, as hours of sound are more than 2 ** 31 values.
    """
    if REVERSE:
        step = n_steps - 1 - place
    else:
        step = place
    return tl.cast(step, tl.int64)


@triton.jit
def load_rows(
    base,
    stride,
    first,
    n_steps,
    columns,
    inside,
    REVERSE: tl.constexpr,
    TILE: tl.constexpr,
):
    """Return TILE rows in the scan's order as a tuple, zeros outside.

    They keep their dtype, as half precision takes half the registers.  For
    None the tuple is empty.
    """
    rows = ()
    if base is not None:
        for t in tl.static_range(TILE):
            place = first + t
            exists = inside & (place >= 0) & (place < n_steps)
            row = base + step_of(place, n_steps, REVERSE) * stride
            rows = rows + (tl.load(row + columns, exists, other=0.0),)
    return rows


@triton.jit
def load_tiles(
    bases,
    strides,
    first,
    n_steps,
    columns,
    inside,
    REVERSE: tl.constexpr,
    TILE: tl.constexpr,
):
    """Return the rows of three tensors, each a tuple of `load_rows`."""
    a, b, c = bases
    i, j, k = strides
    return (
        load_rows(a, i, first, n_steps, columns, inside, REVERSE, TILE),
        load_rows(b, j, first, n_steps, columns, inside, REVERSE, TILE),
        load_rows(c, k, first, n_steps, columns, inside, REVERSE, TILE),
    )


@triton.jit
def step_sizes(row, bias, SOFTPLUS: tl.constexpr):
    """Return the step sizes of a row before and after the softplus."""
    raw = row.to(tl.float32) + bias
    size = raw
    if SOFTPLUS:
        size = softplus(raw)
    return raw, size


@triton.jit
def over_channels(row):
    """Return a row [GROUPS, LANES] that broadcasts over the states."""
    return row.to(tl.float32)[None, :, :]


@triton.jit
def over_states(row):
    """Return a row [N] that broadcasts over the channels."""
    return row.to(tl.float32)[:, None, None]
