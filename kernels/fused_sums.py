"""Sums of products along rows, in index order: dW of layers that are narrower than a batch is long.

    out[i, j] = x[i, 0] y[j, 0] + x[i, 1] y[j, 1] + ...

Terms are added one after the other, and an addition waits for the one before it; so eight rows of x and a vector of
rows of y are done side by side, with all their sums in registers. What a vector register needs side by side, y has
below one another: as many terms as rows are read and turned in registers.

Every product and every sum is rounded once, as "reproducible arithmetic, version 1" has it. Terms that fill up the last
block are +0, which changes no sum that began with +0.
"""

from functools import cache

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from .elementary_numba import compiled
from .fused_panels import part, tile_of

ROWS = 8


@cache
def tile_sums_for(dtype):
    """The innermost loop for float64 or float32, as a function that compiled code may call.

    ``tile_sums(x, rows, y, columns, m, sums)``: up to `ROWS` rows of x and as many of y as a vector has lanes, both 1-D
    arrays of rows of m numbers; the sums go to ``sums``, row by row, `ROWS` of them and one with the sums of y alone.
    Where there are fewer rows, the last one stands for those that are missing.
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
            _Emitter(builder, dtype, lanes).tile(x, rows, y, columns, m, sums)
            return context.get_dummy_value()

        return signature, codegen

    return tile_sums


class _Emitter:
    """Writes the instructions of `tile_sums`."""

    def __init__(self, builder, dtype, lanes):
        self.builder, self.lanes = builder, lanes
        number, self.align = {"float64": (ir.DoubleType(), 8), "float32": (ir.FloatType(), 4)}[dtype]
        self.vector, self.suffix = ir.VectorType(number, lanes), f"v{lanes}f{8 * self.align}"
        self.zeros = ir.Constant(self.vector, [0.0] * lanes)

    def tile(self, x, rows, y, columns, m, sums):
        """Whole blocks of terms, then one that is filled up with 0; stores the sums."""
        builder, index = self.builder, ir.IntType(64)
        x_rows, y_rows = self.rows(x, rows, m, ROWS), self.rows(y, columns, m, self.lanes)
        totals = [cgutils.alloca_once_value(builder, self.zeros) for _ in range(ROWS + 1)]
        blocks = builder.sdiv(m, index(self.lanes))
        with cgutils.for_range(builder, blocks) as loop:
            first = builder.mul(loop.index, index(self.lanes))
            scalars = [[builder.gep(row, [builder.add(first, index(t))]) for t in range(self.lanes)] for row in x_rows]
            x_terms = [[self.broadcast(builder.load(at)) for at in row] for row in scalars]
            self.add(totals, x_terms, [builder.load(self.at(row, first), align=self.align) for row in y_rows])
        first = builder.mul(blocks, index(self.lanes))
        left = builder.sub(m, first)
        with builder.if_then(builder.icmp_signed(">", left, index(0))):
            places = ir.Constant(ir.VectorType(index, self.lanes), list(range(self.lanes)))
            mask = builder.icmp_signed("<", places, self.broadcast(left))
            x_last = [self.masked(self.at(row, first), mask) for row in x_rows]
            x_terms = [
                [self.broadcast(builder.extract_element(row, ir.IntType(32)(t))) for t in range(self.lanes)]
                for row in x_last
            ]
            self.add(totals, x_terms, [self.masked(self.at(row, first), mask) for row in y_rows])
        for number, total in enumerate(totals):
            builder.store(builder.load(total), self.at(sums, index(number * self.lanes)), align=self.align)

    def rows(self, array, count, m, wanted):
        """Where so many rows begin."""
        builder, index = self.builder, ir.IntType(64)
        last = builder.sub(count, index(1))
        here = [builder.select(builder.icmp_signed("<", index(row), last), index(row), last) for row in range(wanted)]
        return [builder.gep(array, [builder.mul(row, m)]) for row in here]

    def add(self, totals, x_terms, y_rows):
        """Adds as many terms as a vector has lanes, one after the other."""
        builder = self.builder
        for t, y in enumerate(self.turned(y_rows)):
            for row, total in zip(x_terms, totals, strict=False):
                builder.store(builder.fadd(builder.load(total), builder.fmul(row[t], y)), total)
            builder.store(builder.fadd(builder.load(totals[ROWS]), y), totals[ROWS])

    def turned(self, vectors):
        """The transpose of as many vectors as lanes: halves are interleaved until each entry is in its place."""
        half, kind = self.lanes // 2, ir.VectorType(ir.IntType(32), self.lanes)
        low = ir.Constant(kind, [lane // 2 + self.lanes * (lane % 2) for lane in range(self.lanes)])
        high = ir.Constant(kind, [half + lane // 2 + self.lanes * (lane % 2) for lane in range(self.lanes)])
        for _ in range(self.lanes.bit_length() - 1):
            pairs = zip(vectors[:half], vectors[half:], strict=True)
            vectors = [self.builder.shuffle_vector(*pair, mask) for pair in pairs for mask in (low, high)]
        return vectors

    def at(self, row, first):
        return self.builder.bitcast(self.builder.gep(row, [first]), self.vector.as_pointer())

    def masked(self, pointer, mask):
        """Loads the lanes that are in the mask, 0 in the others."""
        arguments = [pointer, ir.IntType(32)(self.align), mask, self.zeros]
        kind = ir.FunctionType(self.vector, [argument.type for argument in arguments])
        function = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.masked.load.{self.suffix}.p0")
        return self.builder.call(function, arguments)

    def broadcast(self, number):
        kind, lanes = ir.VectorType(number.type, self.lanes), ir.VectorType(ir.IntType(32), self.lanes)
        first = self.builder.insert_element(ir.Constant(kind, ir.Undefined), number, ir.IntType(32)(0))
        return self.builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), ir.Constant(lanes, [0] * self.lanes))


# From here on ordinary code; `functions` gives it the vector's LANES and `tile_sums`.

LANES = 8
tile_sums = None


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
            tile_sums(part(x, i * m, 1), high, y_here, wide, m, room)
            for row in range(high):
                for column in range(wide):
                    out[(i + row) * y_rows + j + column] = room[row * LANES + column]
        for column in range(wide):
            y_sums[j + column] = room[ROWS * LANES + column]


@cache
def functions(dtype):
    """`row_products`, compiled for a dtype."""
    lanes = tile_of(dtype).lanes
    names = {"LANES": lanes, "tile_sums": tile_sums_for(dtype)}
    return compiled(row_products, names, f"{dtype}_{lanes}")
