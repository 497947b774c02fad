"""The causal convolution with SiLU and its gradient, tile by tile.

A program computes a tile of steps and channels of one sequence.  The taps
read the same rows again, from the L1 cache.  The gradient recomputes the
input of the activation instead of storing it.
"""

import triton
import triton.language as tl

from audiomamba.ops.triton.configs import tuned
from audiomamba.ops.triton.tiles import sigmoid, silu_slope, valid_steps

# Steps of the gradient's tiles, each of which writes a part of the weight's
# gradient.  With more steps, registers spill.
GRADIENT_STEPS = 16


@triton.jit
def tile_of(n_channels, STEPS: tl.constexpr, WIDTH: tl.constexpr):
    """Return where this program's tile starts, its steps and its channels.

    The steps [STEPS, 1] count from the start, which is int64, as hours of sound
    are more than 2 ** 31 values.  The channels [1, WIDTH] come with a mask of
    those that exist.
    """
    start = tl.program_id(0).to(tl.int64) * STEPS
    steps = tl.arange(0, STEPS)[:, None]
    channels = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)[None, :]
    return start, steps, channels, channels < n_channels


@triton.jit
def span_of(start, n_steps):
    """Return the valid steps, from first to end, counted from the start."""
    return (0 - start).to(tl.int32), (n_steps - start).to(tl.int32)


@triton.jit
def load_tile(base, stride, steps, channels, inside, span):
    """Return a tile in float32, zeros outside the sequence."""
    first, end = span
    exists = inside & (steps >= first) & (steps < end)
    at = steps * stride + channels
    return tl.load(base + at, exists, other=0.0).to(tl.float32)


@triton.jit
def load_tap(weight, tap, channels, inside, TAPS: tl.constexpr):
    """Return one tap of the kernels of all channels, [1, WIDTH]."""
    at = channels * TAPS + tap
    return tl.load(weight + at, inside, other=0.0).to(tl.float32)


@triton.jit
def convolved(
    x, x_step, weight, bias, steps, channels, inside, span,
    SIGN: tl.constexpr, TAPS: tl.constexpr,
):  # fmt: skip
    """Return the convolution at the given steps, before the activation."""
    y = load_tile(x, x_step, steps, channels, inside, span)
    y *= load_tap(weight, TAPS - 1, channels, inside, TAPS)
    for distance in tl.static_range(1, TAPS):
        source = steps + SIGN * distance
        row = load_tile(x, x_step, source, channels, inside, span)
        y += row * load_tap(weight, TAPS - 1 - distance, channels, inside, TAPS)
    if bias is not None:
        y += tl.load(bias + channels, inside, other=0.0).to(tl.float32)
    return y


@tuned(
    dict(STEPS=16, WIDTH=128, num_warps=4),
    dict(STEPS=32, WIDTH=128, num_warps=4),
    dict(STEPS=16, WIDTH=256, num_warps=4),
    key=["size", "TAPS"],
)
@triton.jit(do_not_specialize=["n_steps", "size"])
def forward_kernel(
    x, weight, bias, lengths, out, x_batch, x_step, n_steps, n_channels,
    size,
    ACTIVATION: tl.constexpr, SIGN: tl.constexpr, TAPS: tl.constexpr,
    STEPS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Convolve a tile; SIGN is -1 for looking back and 1 for ahead."""
    batch = tl.program_id(2).to(tl.int64)
    valid = valid_steps(lengths, batch, n_steps)
    start, steps, channels, inside = tile_of(n_channels, STEPS, WIDTH)
    span = span_of(start, valid)
    x = x + batch * x_batch + start * x_step
    y = convolved(
        x, x_step, weight, bias, steps, channels, inside, span, SIGN, TAPS
    )
    if ACTIVATION:
        y *= sigmoid(y)
    y = tl.where(steps < span[1], y, 0.0)
    out = out + (batch * n_steps + start) * n_channels
    exists = inside & (steps < n_steps - start)
    tl.store(out + (steps * n_channels + channels), y, exists)


@triton.jit
def gradient_inside(
    tensors,
    steps,
    channels,
    inside,
    span,
    ACTIVATION: tl.constexpr,
    SIGN: tl.constexpr,
    TAPS: tl.constexpr,
):
    """Return the gradient before the activation at the given steps."""
    grad, grad_step, x, x_step, weight, bias = tensors
    g = load_tile(grad, grad_step, steps, channels, inside, span)
    if ACTIVATION:
        y = convolved(
            x, x_step, weight, bias, steps, channels, inside, span, SIGN, TAPS
        )
        g *= silu_slope(y)
    return g


@tuned(
    dict(WIDTH=64, num_warps=4),
    dict(WIDTH=32, num_warps=4),
    dict(WIDTH=128, num_warps=4),
    key=["size", "TAPS"],
)
@triton.jit(do_not_specialize=["n_steps", "size"])
def backward_kernel(
    grad, x, weight, bias, lengths, dx, dweight, dbias, grad_batch,
    grad_step, x_batch, x_step, n_steps, n_channels, size,
    ACTIVATION: tl.constexpr, SIGN: tl.constexpr, TAPS: tl.constexpr,
    STEPS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Differentiate a tile.

    dweight [B, tiles, K, D] and dbias [B, tiles, D] are partial sums.
    """
    batch = tl.program_id(2).to(tl.int64)
    valid = valid_steps(lengths, batch, n_steps)
    start, steps, channels, inside = tile_of(n_channels, STEPS, WIDTH)
    span = span_of(start, valid)
    grad = grad + batch * grad_batch + start * grad_step
    x = x + batch * x_batch + start * x_step
    part = batch * tl.num_programs(0) + tl.program_id(0)
    tensors = (grad, grad_step, x, x_step, weight, bias)
    g = gradient_inside(
        tensors, steps, channels, inside, span, ACTIVATION, SIGN, TAPS
    )
    total = g * load_tap(weight, TAPS - 1, channels, inside, TAPS)
    own = load_tile(x, x_step, steps, channels, inside, span)
    row = (part * TAPS + TAPS - 1) * n_channels
    column = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    exists = column < n_channels
    tl.store(dweight + row + column, tl.sum(g * own, 0), exists)
    tl.store(dbias + part * n_channels + column, tl.sum(g, 0), exists)
    for distance in tl.static_range(1, TAPS):
        source = steps + SIGN * distance
        seen = load_tile(x, x_step, source, channels, inside, span)
        row = (part * TAPS + TAPS - 1 - distance) * n_channels
        tl.store(dweight + row + column, tl.sum(g * seen, 0), exists)
        later = steps - SIGN * distance
        target = gradient_inside(
            tensors, later, channels, inside, span, ACTIVATION, SIGN, TAPS
        )
        tap = load_tap(weight, TAPS - 1 - distance, channels, inside, TAPS)
        total += target * tap
    total = tl.where(steps < span[1], total, 0.0)
    dx = dx + (batch * n_steps + start) * n_channels
    exists = inside & (steps < n_steps - start)
    tl.store(dx + (steps * n_channels + channels), total, exists)
