"""Sums of products along rows, in index order: dW of layers that are narrower than a batch is long.

    out[i, j] = x[i, 0] y[j, 0] + x[i, 1] y[j, 1] + ...

Terms are added one after the other, and an addition waits for the one before it; so up to eight rows of x and a vector
of rows of y are done side by side, with all their sums in registers. What a vector register needs side by side, y has
below one another: as many terms as rows are read and turned in registers.

Every product and every sum is rounded once, as "reproducible arithmetic, version 1" has it. Terms that fill up the last
block are +0, which changes no sum that began with +0.
"""

from functools import cache

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from . import fused_panels
from .elementary_numba import compiled
from .fused_panels import part, tile_of
from .vectors import Vectors

ROWS = 8


@cache
def tile_sums_for(dtype, most):
    """The innermost loop for float64 or float32, as a function that compiled code may call.

    ``tile_sums(x, rows, y, columns, m, sums)``: up to `most` rows of x and as many of y as a vector has lanes, both 1-D
    arrays of rows of m numbers; the sums go to ``sums``, first those of y alone, then row by row. Where there are fewer
    rows, the last one stands for those that are missing.
    """
    lanes = tile_of(dtype).lanes

    @intrinsic
    def tile_sums(typingctx, x, rows, y, columns, m, sums):
        signature = types.void(x, types.intp, y, types.intp, types.intp, sums)

        def codegen(context, builder, signature, arguments):
            x, rows, y, columns, m, sums = arguments
            x, y, sums = (
                make_array(signature.args[place])(context, builder, array).data
                for place, array in ((0, x), (2, y), (5, sums))
            )
            _Emitter(builder, dtype, lanes, most).tile(x, rows, y, columns, m, sums)
            return context.get_dummy_value()

        return signature, codegen

    return tile_sums


class _Emitter(Vectors):
    """Writes the instructions of `tile_sums`."""

    def __init__(self, builder, dtype, lanes, most):
        super().__init__(builder, dtype, lanes)
        self.most = most

    def tile(self, x, rows, y, columns, m, sums):
        """Whole blocks of terms, then one that is filled up with 0; stores the sums."""
        builder, index = self.builder, ir.IntType(64)
        x_rows, y_rows = self.rows(x, rows, m, self.most), self.rows(y, columns, m, self.lanes)
        totals = [cgutils.alloca_once_value(builder, self.zeros) for _ in range(1 + self.most)]
        blocks = builder.sdiv(m, index(self.lanes))
        with cgutils.for_range(builder, blocks) as loop:
            first = builder.mul(loop.index, index(self.lanes))
            x_here = [self.at(row, first) for row in x_rows]
            numbers = [[builder.load(self.at(row, t)) for t in range(self.lanes)] for row in x_here]
            self.add(totals, numbers, [self.load(self.at(row, first)) for row in y_rows])
        first = builder.mul(blocks, index(self.lanes))
        left = builder.sub(m, first)
        with builder.if_then(builder.icmp_signed(">", left, index(0))):
            mask = self.first_lanes(left)
            x_last, y_last = (
                [self.masked_load(self.at(row, first), mask) for row in rows] for rows in (x_rows, y_rows)
            )
            self.add(totals, [[self.lane(row, t) for t in range(self.lanes)] for row in x_last], y_last)
        for number, total in enumerate(totals):
            self.store(builder.load(total), self.at(sums, number * self.lanes))

    def rows(self, array, count, m, wanted):
        """Where so many rows begin."""
        builder, index = self.builder, ir.IntType(64)
        last = builder.sub(count, index(1))
        here = [builder.select(builder.icmp_signed("<", index(row), last), index(row), last) for row in range(wanted)]
        return [self.at(array, builder.mul(row, m)) for row in here]

    def add(self, totals, x_rows, y_rows):
        """Adds as many terms as a vector has lanes, one after the other."""
        builder = self.builder
        for t, y in enumerate(self.turned(y_rows)):
            terms = [y, *(builder.fmul(self.broadcast(row[t]), y) for row in x_rows)]
            for term, total in zip(terms, totals, strict=True):
                builder.store(builder.fadd(builder.load(total), term), total)


# From here on ordinary code; `functions` gives it the vector's LANES and loops for few rows and for many, as one takes
# the time of as many rows as it was written for.

LANES = 8
tile_sums_2 = tile_sums_5 = tile_sums_8 = None


def row_products(x, y, x_rows, y_rows, m, out, y_sums, room):
    """out[i, j] = x[i, 0] y[j, 0] + x[i, 1] y[j, 1] + ..., and y_sums[j] = y[j, 0] + y[j, 1] + ...

    NumPy, but for the order: ``out[...] = x @ y.T`` and ``y_sums[...] = y.sum(1)``

    Parameters
    ----------
    x, y, out : 1-D arrays, C-contiguous
        Of shapes (x_rows, m), (y_rows, m) and (x_rows, y_rows).
    y_sums : 1-D array of y_rows entries
    room : 1-D array
        Room to work in, of (`ROWS` + 1) x 64 bytes at least.
    """
    for j in range(0, y_rows, LANES):
        wide, y_here = min(LANES, y_rows - j), part(y, j * m, 1)
        for i in range(0, x_rows, ROWS):
            high = min(ROWS, x_rows - i)
            x_here = part(x, i * m, 1)
            if high <= 2:
                tile_sums_2(x_here, high, y_here, wide, m, room)
            elif high <= 5:
                tile_sums_5(x_here, high, y_here, wide, m, room)
            else:
                tile_sums_8(x_here, high, y_here, wide, m, room)
            for row in range(high):
                for column in range(wide):
                    out[(i + row) * y_rows + j + column] = room[(1 + row) * LANES + column]
        for column in range(wide):
            y_sums[j + column] = room[column]


@cache
def functions(dtype):
    """`row_products`, compiled for a dtype."""
    lanes = tile_of(dtype).lanes
    names = {"LANES": lanes} | {f"tile_sums_{most}": tile_sums_for(dtype, most) for most in (2, 5, ROWS)}
    return compiled(row_products, names, f"{dtype}_{lanes}", fused_panels.SOURCES)
