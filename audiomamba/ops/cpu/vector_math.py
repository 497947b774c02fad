"""Elementary functions that LLVM turns into vector code.

The C library's exp and log are scalar calls, which keep a loop from being
vectorised.  These are a few multiplications each, with relative errors of
about 2e-7, close to float32's own.
"""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, overload

f32 = np.float32
i32 = np.int32

LOG2_E = f32(1.4426950408889634)

# Adding 1.5 * 2**23 leaves a float's integer part in its lowest bits.
ROUND = f32(12582912.0)
# (exp2(f) - 1) / f on [-0.5, 0.5], minimax in the relative error of exp2
# (9e-8); exp2(0) stays exactly 1, as a small step needs a decay close to 1.
EXP2 = tuple(
    f32(c) for c in (0.00132647, 0.00967151, 0.05550734, 0.24022242, 0.69314698)
)
# 2 artanh(s) / s as a polynomial in s * s, for s in [0, 1/3].
_ARTANH = tuple(f32(2.0 / k) for k in (13, 11, 9, 7, 5, 3, 1))

# Python's error model would test every division for zero, which keeps a loop
# from being vectorised.
# Every kernel has its own copy of the functions that it calls, and LLVM
# optimises each copy by itself.  The process that compiles the kernels runs
# other copies than one that loads them from the cache, and both must give the
# same bits.  So rounding is not left to LLVM: "reassoc" and "arcp" are missing,
# and `product` and `sums.row_sum` stand where LLVM would have a choice.
KERNEL = dict(cache=True, error_model="numpy", fastmath={"contract", "nsz"})


@intrinsic
def vectorise(typing_context):
    """Let LLVM vectorise the calling function as well as it can.

    On CPUs with AVX-512 LLVM prefers 256-bit vectors, as the first such CPUs
    lowered their clock for 512 bits; in these kernels 512 bits are a third
    faster.  On other CPUs this changes nothing.

    The caller's arguments must not overlap if it writes to one of them.  LLVM
    is told so: its own test before every loop takes as long as the loop over a
    block of channels.
    """

    def generate(context, builder, signature, arguments):
        # llvmlite's own `add` admits only attributes without a value.
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        for argument in builder.function.args:
            if argument.type.is_pointer:
                argument.add_attribute("noalias")
        return context.get_dummy_value()

    return types.none(), generate


@intrinsic
def product(typing_context, a, b):
    """Return a * b, rounded.

    In a sum of two products LLVM could fuse either one with the addition.
    """

    def generate(context, builder, signature, arguments):
        # Without flags of its own it would get those of the function.
        return builder.fmul(*arguments, flags=("nsz",))

    return a(a, b), generate


@intrinsic
def prefetch(typing_context, flat, index):
    """Prefetch a flat array's cache line; the index may be out of bounds."""

    def generate(context, builder, signature, arguments):
        kind = signature.args[0]
        array = context.make_array(kind)(context, builder, arguments[0])
        line = cgutils.get_item_pointer(
            context, builder, kind, array, arguments[1:]
        )
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        call = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [byte, number, number, number]),
            "llvm.prefetch.p0",
        )
        # for reading, high locality, data cache
        how = [number(0), number(3), number(1)]
        builder.call(call, [builder.bitcast(line, byte), *how])
        return context.get_dummy_value()

    return types.none(flat, types.intp), generate


def widen(x):
    """Return a stored value as float32; bfloat16 is stored as int16."""
    return f32(x)


@overload(widen, jit_options=KERNEL)
def _widen(x):
    if x == types.int16:
        return lambda x: i32(i32(x) << i32(16)).view(f32)
    return lambda x: x


@njit(**KERNEL)
def exp2(x):
    """Return 2 ** x for x <= 127; below 2 ** -126 it stays there."""
    x = max(x, f32(-126.0))
    shifted = x + ROUND
    f = x - (shifted - ROUND)
    p = EXP2[0]
    p = p * f + EXP2[1]
    p = p * f + EXP2[2]
    p = p * f + EXP2[3]
    p = p * f + EXP2[4]
    p = f32(p * f + f32(1.0))
    exponent = i32(f32(shifted).view(i32) << i32(23))
    return i32(p.view(i32) + exponent).view(f32)


@njit(**KERNEL)
def sigmoid(x):
    """Return 1 / (1 + exp(-x))."""
    return f32(1.0) / (f32(1.0) + exp2(-LOG2_E * max(x, f32(-87.0))))


@njit(**KERNEL)
def softplus(x):
    """Return log(1 + exp(x)), accurate where it is tiny as well."""
    t = exp2(-LOG2_E * abs(x))
    s = t / (f32(2.0) + t)
    square = s * s
    p = _ARTANH[0]
    p = p * square + _ARTANH[1]
    p = p * square + _ARTANH[2]
    p = p * square + _ARTANH[3]
    p = p * square + _ARTANH[4]
    p = p * square + _ARTANH[5]
    p = p * square + _ARTANH[6]
    return max(x, f32(0.0)) + p * s
