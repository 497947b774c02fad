"""The decays exp(delta A) of a row of states: most of a scan's work.

LLVM does not use AVX-512's instruction for x 2**n, which needs no guard
against underflow, when it vectorises a loop.  With it the forward scan takes
0.86 of the time.
"""

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from audiomamba.ops.cpu.blocks import LANES
from audiomamba.ops.cpu.vector_math import (
    EXP2,
    KERNEL,
    ROUND,
    exp2,
    vectorise,
)

_INT16, _INT32 = ir.IntType(16), ir.IntType(32)
_VECTOR = ir.VectorType(ir.FloatType(), 16)


@njit(**KERNEL)
def _decay_row_loop(delta, rate, decay):
    """Write decay = 2 ** (delta * rate), [LANES] each."""
    vectorise()
    for k in range(LANES):
        decay[k] = exp2(delta[k] * rate[k])


def _constant(value):
    """Return a vector of sixteen equal numbers."""
    return ir.Constant(_VECTOR, [float(value)] * 16)


def _function(builder, name, argument_types):
    """Return the LLVM intrinsic of this name, which returns a vector."""
    kind = ir.FunctionType(_VECTOR, argument_types)
    return cgutils.get_or_insert_function(builder.module, kind, name)


def _power(builder, x, y):
    """Return 2 ** (x * y) of two vectors, as `vector_math.exp2` computes it."""
    fma = _function(builder, "llvm.fma.v16f32", [_VECTOR] * 3)
    scale = _function(
        builder,
        "llvm.x86.avx512.mask.scalef.ps.512",
        [_VECTOR, _VECTOR, _VECTOR, _INT16, _INT32],
    )
    whole = builder.fsub(
        builder.call(fma, [x, y, _constant(ROUND)]), _constant(ROUND)
    )
    f = builder.call(fma, [x, y, builder.fneg(whole)])
    p = _constant(EXP2[0])
    for coefficient in (*EXP2[1:], 1.0):
        p = builder.call(fma, [p, f, _constant(coefficient)])
    # all lanes, in the current rounding mode
    how = [_constant(0.0), _INT16(-1), _INT32(4)]
    return builder.call(scale, [p, whole, *how])


@intrinsic
def _decay_row_avx512(typing_context, delta, rate, decay):
    """Write decay = 2 ** (delta * rate), rows from `blocks.new_rows`."""

    def generate(context, builder, signature, arguments):
        delta, rate, decay = (
            builder.bitcast(
                context.make_array(kind)(context, builder, argument).data,
                _VECTOR.as_pointer(),
            )
            for kind, argument in zip(signature.args, arguments)
        )
        for i in range(LANES // 16):
            x, y, power = (
                builder.gep(row, [_INT32(i)], inbounds=True)
                for row in (delta, rate, decay)
            )
            x, y = builder.load(x, align=64), builder.load(y, align=64)
            builder.store(_power(builder, x, y), power, align=64)
        return context.get_dummy_value()

    return types.none(delta, rate, decay), generate


def _choose_decay_row():
    """Return the better function for the CPU that Numba compiles for."""
    # NUMBA_CPU_NAME may ask for another CPU than this machine's.
    features = cpu_target.target_context.codegen().magic_tuple()[2]
    if "+avx512f" in features.split(","):
        return _decay_row_avx512
    return _decay_row_loop


decay_row = _choose_decay_row()
