"""Sums over the lanes of a row, in an order that LLVM cannot change.

A loop that sums floats is vectorised only if LLVM may reorder it, and then each
copy of a kernel may add in an order of its own.  Here products go to a row,
lane by lane, and the row is added up pairwise.
"""

from llvmlite import ir
from numba.extending import intrinsic

from audiomamba.ops.cpu.blocks import LANES

_FLOAT, _INT32 = ir.FloatType(), ir.IntType(32)


def _indices(start, stop):
    """Return a vector of consecutive lanes, for a shuffle."""
    return ir.Constant(
        ir.VectorType(_INT32, stop - start), list(range(start, stop))
    )


@intrinsic
def row_sum(typing_context, row):
    """Return the sum of a row [LANES] from `blocks.new_rows`."""

    def generate(context, builder, signature, arguments):
        array = context.make_array(signature.args[0])
        vector = ir.VectorType(_FLOAT, LANES).as_pointer()
        data = array(context, builder, arguments[0]).data
        lanes = builder.load(builder.bitcast(data, vector), align=64)
        width = LANES
        while width > 1:
            half = width // 2
            low, high = (
                builder.shuffle_vector(lanes, lanes, _indices(start, stop))
                for start, stop in ((0, half), (half, width))
            )
            lanes, width = builder.fadd(low, high), half
        return builder.extract_element(lanes, _INT32(0))

    return row.dtype(row), generate
