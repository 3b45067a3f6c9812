"""Matrix products in whatever order is quickest: tiles held in vector registers, fused multiply-add.

    out[i, j] <- out[i, j] + (left[0, i] right[0, j] + left[1, i] right[1, j] + ...),  t = 0 .. depth - 1

The entries of `out` in a row stand side by side; `left` and `right` may be strided. A small operand is read where it
stands; a large one is packed block by block first, so that what a tile reads lies side by side (Goto and van de Geijn,
Anatomy of High-Performance Matrix Multiplication, ACM TOMS 34, 2008). For fast numerics: `fused_panels` has the same
product with every sum in order.

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

    ``tile_product(left, left_t, left_i, right, right_t, out, out_i, depth, height, width)``: three 1-D arrays that
    begin where the tile's operands do, their strides, and how many terms, rows and columns there are.
    """
    rows, _, lanes = tile_of(dtype)

    @intrinsic
    def tile_product(typingctx, left, left_t, left_i, right, right_t, out, out_i, depth, height, width):
        whole = types.intp
        signature = types.void(left, whole, whole, right, whole, out, whole, whole, whole, whole)

        def codegen(context, builder, signature, arguments):
            left, left_t, left_i, right, right_t, out, out_i, depth, height, width = arguments
            left, right, out = (
                make_array(signature.args[place])(context, builder, array).data
                for place, array in ((0, left), (3, right), (5, out))
            )
            emit = _Emitter(builder, dtype, rows, vectors, lanes, width)
            emit.tile((left, left_t, left_i), (right, right_t), (out, out_i), depth, height)
            return context.get_dummy_value()

        return signature, codegen

    return tile_product


class _Emitter(Vectors):
    """Writes the instructions of `tile_product`; the last vector of a row may be wider than what is left of it."""

    def __init__(self, builder, dtype, rows, vectors, lanes, width):
        super().__init__(builder, dtype, lanes)
        self.rows, self.vectors = rows, vectors
        self.mask = self.first_lanes(builder.sub(width, ir.IntType(64)((vectors - 1) * lanes)))

    def tile(self, left, right, out, depth, height):
        """Sums the outer products of `depth` terms and adds the sums to the tile, so that it is rounded once."""
        builder, index = self.builder, ir.IntType(64)
        (left, left_t, left_i), (right, right_t), (out, out_i) = left, right, out
        last = builder.sub(height, index(1))
        here = [self.smaller(index(row), last) for row in range(self.rows)]
        left_rows = [self.at(left, builder.mul(row, left_i)) for row in here]
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
        before = [[self.load_part(out_row, column) for column in range(self.vectors)] for out_row in out_rows]
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


# From here on ordinary code; `functions` gives it the tile's ROWS, VECTORS and LANES, the kernels, and `prange`.

ROWS, VECTORS, LANES = 4, 1, 1
tile_1 = tile_2 = tile_3 = None
prange = range

# Terms, rows of `left` and columns of `right` that are packed at once; and entries of an operand from which on it is.
DEPTH, HEIGHT, WIDTH = 256, 128, 1024
PACKED_FROM = 2**15


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


def tiles(left, left_t, left_i, left_panel, right, right_t, right_panel, out, out_i, depth, rows, columns, width):
    """A block of `out`, tile by tile; `left_panel` and `right_panel`: how far apart the operands of neighbours are."""
    for j in range(0, columns, width):
        here, b = min(width, columns - j), part(right, (j // width) * right_panel, 1)
        vectors = -(-here // LANES)
        for i in range(0, rows, ROWS):
            a, c, height = part(left, (i // ROWS) * left_panel, 1), part(out, i * out_i + j, 1), min(ROWS, rows - i)
            if vectors == 3:
                tile_3(a, left_t, left_i, b, right_t, c, out_i, depth, height, here)
            elif vectors == 2:
                tile_2(a, left_t, left_i, b, right_t, c, out_i, depth, height, here)
            else:
                tile_1(a, left_t, left_i, b, right_t, c, out_i, depth, height, here)


def product_part(left, left_t, left_i, right, right_t, right_j, out, out_i, depth, rows, columns, panels):
    """`product` by one worker."""
    vectors = -(-columns // LANES)
    width = -(-vectors // -(-vectors // VECTORS)) * LANES
    pack_left = depth * rows >= PACKED_FROM
    pack_right = right_j != 1 or depth * columns >= PACKED_FROM
    one, b_packed = np.int64(1), part(panels, HEIGHT * DEPTH, 1)
    for t in range(0, depth, DEPTH):
        terms = min(DEPTH, depth - t)
        for j in range(0, columns, WIDTH - WIDTH % width):
            wide = min(WIDTH - WIDTH % width, columns - j)
            b, b_t, b_panel = part(right, t * right_t + j * right_j, 1), right_t, width * right_j
            if pack_right:
                pack(b, right_t, right_j, terms, wide, width, b_packed)
                b, b_t, b_panel = b_packed, width, width * terms
            for i in range(0, rows, HEIGHT):
                high = min(HEIGHT, rows - i)
                a, a_t, a_i, a_panel = part(left, t * left_t + i * left_i, 1), left_t, left_i, ROWS * left_i
                if pack_left:
                    pack(a, left_t, left_i, terms, high, np.int64(ROWS), panels)
                    a, a_t, a_i, a_panel = part(panels, 0, 1), np.int64(ROWS), one, ROWS * terms
                c = part(out, i * out_i + j, 1)
                tiles(a, a_t, a_i, a_panel, b, b_t, b_panel, c, out_i, terms, high, wide, width)


def product(left, left_t, left_i, right, right_t, right_j, out, out_i, depth, rows, columns, panels, workers):
    """out[i, j] <- out[i, j] + (left[0, i] right[0, j] + left[1, i] right[1, j] + ...)

    NumPy: ``out += left.T @ right``

    Parameters
    ----------
    left, right, out : 1-D arrays
        left[t, i] is ``left[t * left_t + i * left_i]``, right[t, j] likewise, out[i, j] ``out[i * out_i + j]``.
    depth, rows, columns : int
        Number of t, i and j.
    panels : 1-D array
        Room to work in, of `room` entries.
    workers : int
        Among how many the rows or columns are divided.
    """
    if workers == 1:
        product_part(left, left_t, left_i, right, right_t, right_j, out, out_i, depth, rows, columns, panels)
        return
    by_rows = rows > columns
    share = -(-(rows if by_rows else columns) // (workers * VECTORS * LANES)) * VECTORS * LANES
    apart = panels.size // workers
    for worker in prange(workers):
        first = np.int64(worker) * share
        own = part(panels, np.int64(worker) * apart, apart)
        if by_rows:
            high = min(share, rows - first)
            if high > 0:
                a, c = part(left, first * left_i, 1), part(out, first * out_i, 1)
                product_part(a, left_t, left_i, right, right_t, right_j, c, out_i, depth, high, columns, own)
        else:
            wide = min(share, columns - first)
            if wide > 0:
                b, c = part(right, first * right_j, 1), part(out, first, 1)
                product_part(left, left_t, left_i, b, right_t, right_j, c, out_i, depth, rows, wide, own)


def room(depth, columns, workers):
    """Entries that `product` needs in `panels`, at most."""
    whole = -(-columns // 64) * 64 + 64
    return workers * (HEIGHT * DEPTH + min(depth, DEPTH) * min(whole, WIDTH))


@cache
def functions(dtype, shared=False):
    """`product`, compiled for a dtype; `shared`: with threads."""
    tile = tile_of(dtype)
    names = {"ROWS": tile.rows, "VECTORS": tile.vectors, "LANES": tile.lanes}
    names |= {f"tile_{vectors}": tile_product_for(dtype, vectors) for vectors in (1, 2, 3)}
    names["pack_turned"] = fused_panels.packing(dtype, tile.rows)
    label = f"{dtype}_{tile.rows}x{tile.lanes}"
    for function in (pack, tiles, product_part):
        names[function.__name__] = compiled(function, names, label, fused_panels.SOURCES)
    if not shared:
        return compiled(product, names, label, fused_panels.SOURCES)
    names |= {"prange": numba.prange}
    return compiled(product, names, f"{label}_shared", fused_panels.SOURCES, parallel=True)
