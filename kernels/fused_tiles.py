"""Matrix products in whatever order is quickest: tiles held in vector registers, fused multiply-add.

    out[i, j] = start[i, j] + (left[0, i] right[0, j] + left[1, i] right[1, j] + ...),  t = 0 .. depth - 1

The entries of `start` and `out` in a row stand side by side; `left` and `right` may be strided. A small operand is read
where it stands; a large one is packed block by block first, so that what a tile reads lies side by side (Goto and van
de Geijn, Anatomy of High-Performance Matrix Multiplication, ACM TOMS 34, 2008). For fast numerics: `fused_panels` has
the same product with every sum in order.

`out` is cut into pieces along its longer side. The operand that all pieces read is packed once, before any of them is
begun; each worker then takes the next piece when it is done with its last, so that none waits long for one that was
held up.

Where `out` has fewer rows than a tile, the tile's last rows repeat its last one, and write the same numbers again; a
tile that is wider than `out` leaves alone what is beside it.

Error: ``gamma(depth) |left|.T @ |right|``, and u |out| for each `DEPTH` terms.
"""

from functools import cache

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from . import fused_panels
from .elementary_numba import compiled
from .fused_panels import pack_turned, part
from .vectors import Vectors


@cache
def tile_of(dtype):
    """The `fused_panels.Tile` for the registers of the processor that Numba compiles for, up to three vectors wide."""
    return fused_panels.tile_of(dtype)._replace(vectors=3)


@cache
def tile_product_for(dtype, vectors):
    """The innermost loop, for tiles that many vectors wide, as a function that compiled code may call.

    ``tile_product(left, left_t, left_i, right, right_t, start, start_i, out, out_i, depth, height, width)``: 1-D arrays
    that begin where the tile's operands do, their strides, and how many terms, rows and columns there are.
    """
    rows, _, lanes = tile_of(dtype)

    @intrinsic
    def tile_product(typingctx, left, left_t, left_i, right, right_t, start, start_i, out, out_i, depth, height, width):
        whole = types.intp
        signature = types.void(left, whole, whole, right, whole, start, whole, out, whole, whole, whole, whole)

        def codegen(context, builder, signature, arguments):
            left, left_t, left_i, right, right_t, start, start_i, out, out_i, depth, height, width = arguments
            left, right, start, out = (
                make_array(signature.args[place])(context, builder, array).data
                for place, array in ((0, left), (3, right), (5, start), (7, out))
            )
            emit = _Emitter(builder, dtype, rows, vectors, lanes, width)
            emit.tile((left, left_t, left_i), (right, right_t), (start, start_i), (out, out_i), depth, height)
            return context.get_dummy_value()

        return signature, codegen

    return tile_product


class _Emitter(Vectors):
    """Writes the instructions of `tile_product`; the last vector of a row may be wider than what is left of it."""

    def __init__(self, builder, dtype, rows, vectors, lanes, width):
        super().__init__(builder, dtype, lanes)
        self.rows, self.vectors = rows, vectors
        self.mask = self.first_lanes(builder.sub(width, ir.IntType(64)((vectors - 1) * lanes)))

    def tile(self, left, right, start, out, depth, height):
        """Sums the outer products of `depth` terms and adds the sums to `start`, so that it is rounded once."""
        builder, index = self.builder, ir.IntType(64)
        (left, left_t, left_i), (right, right_t), (start, start_i), (out, out_i) = left, right, start, out
        last = builder.sub(height, index(1))
        here = [self.smaller(index(row), last) for row in range(self.rows)]
        left_rows = [self.at(left, builder.mul(row, left_i)) for row in here]
        start_rows = [self.at(start, builder.mul(row, start_i)) for row in here]
        out_rows = [self.at(out, builder.mul(row, out_i)) for row in here]
        sums = [[cgutils.alloca_once_value(builder, self.zeros) for _ in range(self.vectors)] for _ in range(self.rows)]
        with cgutils.for_range(builder, depth) as loop:
            b_row = self.at(right, builder.mul(loop.index, right_t))
            b = [self.load_part(b_row, column) for column in range(self.vectors)]
            a_at = builder.mul(loop.index, left_t)
            for row in range(self.rows):
                a = self.broadcast(builder.load(self.at(left_rows[row], a_at)))
                for column, total in enumerate(sums[row]):
                    term = builder.fmul(a, b[column], flags=("contract",))
                    builder.store(builder.fadd(builder.load(total), term, flags=("contract",)), total)
        before = [[self.load_part(start_row, column) for column in range(self.vectors)] for start_row in start_rows]
        for out_row, olds, totals in zip(out_rows, before, sums, strict=True):
            for column, (old, total) in enumerate(zip(olds, totals, strict=True)):
                self.store_part(builder.fadd(old, builder.load(total)), out_row, column)

    def smaller(self, one, other):
        return self.builder.select(self.builder.icmp_signed("<", one, other), one, other)

    def load_part(self, row, column):
        pointer = self.at(row, column * self.lanes)
        return self.load(pointer) if column < self.vectors - 1 else self.masked_load(pointer, self.mask)

    def store_part(self, value, row, column):
        pointer = self.at(row, column * self.lanes)
        if column < self.vectors - 1:
            self.store(value, pointer)
        else:
            self.masked_store(value, pointer, self.mask)


@intrinsic
def next_piece(typingctx, counter):
    """The number in the first eight bytes of a 1-D array, which is one more from then on, whoever asks."""

    def codegen(context, builder, signature, arguments):
        index = ir.IntType(64)
        place = make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.atomic_rmw("add", builder.bitcast(place, index.as_pointer()), index(1), "monotonic")

    return types.int64(counter), codegen


# From here on ordinary code; `functions` gives it the tile's ROWS, VECTORS and LANES, the kernels, and `prange`.

ROWS, VECTORS, LANES = 4, 1, 1
tile_1 = tile_2 = tile_3 = None
prange = range

# Terms that are summed at a time; rows of `left`, or columns of `right`, that a piece has at most; and entries of an
# operand from which on it is packed.
DEPTH, HEIGHT, WIDTH = 512, 32, 480
PACKED_FROM = 2**15

# About how many pieces each of several workers gets; entries of a line of the cache, which the counter has to itself.
PIECES = 8
LINE = 16


def pack(source, stride_t, stride_i, depth, count, width, panels):
    """Copies source[t * stride_t + i * stride_i], t < depth, i < count, into panels of `width` entries per term."""
    for first in range(0, count, width):
        here, panel = min(width, count - first), part(panels, first * depth, depth * width)
        if stride_i == 1:
            for t in range(depth):
                row, to = part(source, t * stride_t + first, here), part(panel, t * width, here)
                for i in range(here):
                    to[i] = row[i]
            continue
        if stride_t == 1:
            pack_turned(part(source, first * stride_i, 1), stride_i, depth, here, width, panel)
            continue
        for t in range(depth):
            for i in range(here):
                panel[t * width + i] = source[t * stride_t + (first + i) * stride_i]


def tiles(a, a_t, a_i, a_panel, b, b_t, b_panel, start, start_i, out, out_i, depth, rows, columns, width):
    """A block of `out`, tile by tile; `a_panel` and `b_panel`: how far apart the operands of neighbours are."""
    for j in range(0, columns, width):
        here, right = min(width, columns - j), part(b, (j // width) * b_panel, 1)
        vectors = -(-here // LANES)
        for i in range(0, rows, ROWS):
            left, height = part(a, (i // ROWS) * a_panel, 1), min(ROWS, rows - i)
            before, c = part(start, i * start_i + j, 1), part(out, i * out_i + j, 1)
            if vectors == 3:
                tile_3(left, a_t, a_i, right, b_t, before, start_i, c, out_i, depth, height, here)
            elif vectors == 2:
                tile_2(left, a_t, a_i, right, b_t, before, start_i, c, out_i, depth, height, here)
            else:
                tile_1(left, a_t, a_i, right, b_t, before, start_i, c, out_i, depth, height, here)


def product_piece(left, right, start, out, extent, width, by_rows, common, whole, own):
    """A piece of `out`: every term of its rows and columns.

    `common`: the packed operand that all pieces read, `whole` entries for each term; `own`: the worker's room.
    """
    (left, left_t, left_i, packed_left), (right, right_t, right_j, packed_right) = left, right
    (start, start_i), (out, out_i), (depth, rows, columns) = start, out, extent
    for t in range(0, depth, DEPTH):
        terms = min(DEPTH, depth - t)
        b, b_t, b_panel = part(right, t * right_t, 1), right_t, width * right_j
        if packed_right and by_rows:
            b, b_t, b_panel = part(common, t * whole, 1), width, width * terms
        elif packed_right:
            pack(b, right_t, right_j, terms, columns, width, own)
            b, b_t, b_panel = own, width, width * terms
        if t > 0:
            start, start_i = out, out_i
        for i in range(0, rows, HEIGHT):
            high = min(HEIGHT, rows - i)
            a, a_t, a_i, a_panel = part(left, t * left_t + i * left_i, 1), left_t, left_i, ROWS * left_i
            if packed_left and not by_rows:
                a, a_t, a_i, a_panel = part(common, t * whole + i * terms, 1), ROWS, 1, ROWS * terms
            elif packed_left:
                pack(a, left_t, left_i, terms, high, ROWS, own)
                a, a_t, a_i, a_panel = own, ROWS, 1, ROWS * terms
            before, c = part(start, i * start_i, 1), part(out, i * out_i, 1)
            tiles(a, a_t, a_i, a_panel, b, b_t, b_panel, before, start_i, c, out_i, terms, high, columns, width)


def product(
    left, left_t, left_i, right, right_t, right_j, start, start_i, out, out_i, depth, rows, columns, panels, workers
):
    """out[i, j] = start[i, j] + (left[0, i] right[0, j] + left[1, i] right[1, j] + ...)

    NumPy: ``out[...] = start + left.T @ right``

    Parameters
    ----------
    left, right, start, out : 1-D arrays
        left[t, i] is ``left[t * left_t + i * left_i]``, right[t, j] likewise, start[i, j] ``start[i * start_i + j]``,
        out[i, j] likewise. `start` may be `out`, or one row with start_i = 0.
    depth, rows, columns : int
        Number of t, i and j.
    panels : 1-D array
        Room to work in, of `room` entries.
    workers : int
        Among how many the pieces are divided.
    """
    across = -(-columns // (VECTORS * LANES))
    width = -(-columns // (across * LANES)) * LANES
    by_rows = rows > columns
    packed_left, packed_right = depth * rows >= PACKED_FROM, right_j != 1 or depth * columns >= PACKED_FROM
    # Pieces are cut along `length`; `side` is that of the operand which all of them read.
    length, most, grain = (rows, HEIGHT, ROWS) if by_rows else (columns, WIDTH, width)
    side, step = (columns, width) if by_rows else (rows, ROWS)
    whole, share = -(-side // step) * step, -(-side // (step * workers)) * step
    common = part(panels, LINE, depth * whole)
    packed_common = packed_right if by_rows else packed_left
    if packed_common:
        for worker in prange(workers):
            first = np.int64(worker) * share
            count = min(share, side - first)
            for t in range(0, depth if count > 0 else 0, DEPTH):
                terms = min(DEPTH, depth - t)
                to = part(common, t * whole + first * terms, 1)
                if by_rows:
                    pack(part(right, t * right_t + first * right_j, 1), right_t, right_j, terms, count, width, to)
                else:
                    pack(part(left, t * left_t + first * left_i, 1), left_t, left_i, terms, count, ROWS, to)
    wanted = -(-length // (PIECES * workers if workers > 1 else 1))
    piece = min(-(-wanted // grain) * grain, most - most % grain)
    begin, counter = LINE + depth * whole, part(panels, 0, LINE)
    apart = (panels.size - begin) // workers
    for i in range(LINE):  # a slice would be a parallel loop of its own
        counter[i] = 0
    for worker in prange(workers):
        own = part(panels, begin + np.int64(worker) * apart, apart)
        first = next_piece(counter) * piece
        while first < length:
            count = min(piece, length - first)
            i, j = (first, 0) if by_rows else (0, first)
            product_piece(
                (part(left, i * left_i, 1), left_t, left_i, packed_left),
                (part(right, j * right_j, 1), right_t, right_j, packed_right),
                (part(start, i * start_i + j, 1), start_i),
                (part(out, i * out_i + j, 1), out_i),
                (depth, count if by_rows else rows, columns if by_rows else count),
                *(width, by_rows, common, whole, own),
            )
            first = next_piece(counter) * piece


def room(depth, rows, columns, workers):
    """Entries that `product` needs in `panels`, at most."""
    tile = 64  # no tile is wider
    common, columns_packed = depth * (min(rows, columns) + tile), min(columns + tile, WIDTH)
    return LINE + common + workers * min(depth, DEPTH) * max(HEIGHT, columns_packed)


@cache
def functions(dtype, shared=False):
    """`product`, compiled for a dtype; `shared`: with threads."""
    tile = tile_of(dtype)
    names = {"ROWS": np.int64(tile.rows), "VECTORS": np.int64(tile.vectors), "LANES": np.int64(tile.lanes)}
    names |= {f"tile_{vectors}": tile_product_for(dtype, vectors) for vectors in (1, 2, 3)}
    names["pack_turned"] = fused_panels.packing(dtype, tile.rows)
    label = f"{dtype}_{tile.rows}x{tile.lanes}"
    for function in (pack, tiles, product_piece):
        names[function.__name__] = compiled(function, names, label, fused_panels.SOURCES)
    if not shared:
        return compiled(product, names, label, fused_panels.SOURCES)
    names |= {"prange": numba.prange}
    return compiled(product, names, f"{label}_shared", fused_panels.SOURCES, parallel=True)
