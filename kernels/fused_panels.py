"""Matrix products in index order at the speed of the processor: packed panels and a tile held in registers.

    out[i, j] <- ((out[i, j] + left[0, i] right[0, j]) + left[1, i] right[1, j]) + ...

Every product and every sum is rounded once and the terms are added in ascending t, so each entry has the bits of
"reproducible arithmetic, version 1". What runs side by side are entries: a tile of ``rows`` x ``lanes * vectors`` of
them stays in vector registers while t goes through a block, and is put back in between (the layout of Goto and van
de Geijn, Anatomy of High-Performance Matrix Multiplication, ACM TOMS 34, 2008; the order of the sums is what differs).

Some functions are written in the compiler's own operations: `view`, `part` and `borrowed`, arrays on memory that is
owned elsewhere, without the cost of counting references, and the tile, whose additions and multiplications LLVM keeps
apart because they carry no flags.
"""

from functools import cache
from typing import NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.registry import cpu_target
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

from . import vectors
from .elementary_numba import compiled
from .vectors import Vectors, turn_for

# Entries of a block: terms of a sum, so that a panel of `right` stays in the first cache; rows of `left` in the second.
DEPTH = 128
HEIGHT = 256


class Tile(NamedTuple):
    """Entries of `out` that are held in registers: ``rows`` x (``vectors`` of ``lanes`` each)."""

    rows: int
    vectors: int
    lanes: int

    @property
    def columns(self):
        """Width of the tile in entries."""
        return self.vectors * self.lanes


@cache
def tile_of(dtype):
    """The tile that fits the registers of the processor that Numba compiles for."""
    _, _, features = cpu_target.target_context.codegen().magic_tuple()
    size = np.dtype(dtype).itemsize
    if "+avx512f" in features:
        return Tile(rows=8, vectors=3, lanes=64 // size)
    return Tile(rows=4, vectors=2, lanes=(32 if "+avx" in features.split(",") else 16) // size)


@intrinsic
def view(typingctx, buffer, offset, rows, columns):
    """``buffer[offset : offset + rows * columns].reshape(rows, columns)`` of a contiguous 1-D array, unchecked."""
    array = types.Array(buffer.dtype, 2, "C", readonly=not buffer.mutable)

    def codegen(context, builder, signature, arguments):
        whole, start, n_rows, n_columns = arguments
        data = builder.gep(make_array(signature.args[0])(context, builder, whole).data, [start])
        size = context.get_constant(types.intp, context.get_abi_sizeof(context.get_data_type(buffer.dtype)))
        made = make_array(array)(context, builder)
        strides = [builder.mul(n_columns, size), size]
        populate_array(made, data=data, shape=[n_rows, n_columns], strides=strides, itemsize=size, meminfo=None)
        return made._getvalue()

    return array(buffer, types.intp, types.intp, types.intp), codegen


@intrinsic
def borrowed(typingctx, array):
    """The same array, not counted as a reference: whoever called keeps it alive."""

    def codegen(context, builder, signature, arguments):
        made = make_array(array)(context, builder, arguments[0])
        made.meminfo = made.meminfo.type(None)
        made.parent = made.parent.type(None)
        return made._getvalue()

    return array(array), codegen


@intrinsic
def part(typingctx, buffer, offset, length):
    """``buffer[offset : offset + length]`` of a contiguous 1-D array, unchecked."""
    array = types.Array(buffer.dtype, 1, "C", readonly=not buffer.mutable)

    def codegen(context, builder, signature, arguments):
        whole, start, size = arguments
        data = builder.gep(make_array(signature.args[0])(context, builder, whole).data, [start])
        item = context.get_constant(types.intp, context.get_abi_sizeof(context.get_data_type(buffer.dtype)))
        made = make_array(array)(context, builder)
        populate_array(made, data=data, shape=[size], strides=[item], itemsize=item, meminfo=None)
        return made._getvalue()

    return array(buffer, types.intp, types.intp), codegen


@cache
def tile_product_for(dtype):
    """The innermost loop for float64 or float32, as a function that compiled code may call.

    ``tile_product(panels, left, right, out, corner, stride, depth)``: the packed entries of the first term stand at
    ``left`` and ``right`` in `panels`; the tile begins at ``corner`` in `out`, its rows ``stride`` apart.
    """
    tile = tile_of(dtype)

    @intrinsic
    def tile_product(typingctx, panels, left, right, out, corner, stride, depth):
        signature = types.void(panels, types.intp, types.intp, out, types.intp, types.intp, types.intp)

        def codegen(context, builder, signature, arguments):
            panels, left, right, out, corner, stride, depth = arguments
            data = make_array(signature.args[0])(context, builder, panels).data
            out = make_array(signature.args[3])(context, builder, out).data
            emit = _Emitter(builder, dtype, tile)
            emit.tile(*(builder.gep(*at) for at in ((data, [left]), (data, [right]), (out, [corner]))), stride, depth)
            return context.get_dummy_value()

        return signature, codegen

    return tile_product


class _Emitter(Vectors):
    """Writes the instructions of `tile_product`."""

    def __init__(self, builder, dtype, shape):
        super().__init__(builder, dtype, shape.lanes)
        self.shape = shape

    def tile(self, left, right, out, stride, depth):
        """Loads the tile, adds the outer products of `depth` terms to it, in order, and stores it."""
        builder, (rows, vectors, lanes), index = self.builder, self.shape, ir.IntType(64)
        rows_at = [self.at(out, builder.mul(stride, index(row))) for row in range(rows)]
        at = {(row, c): self.at(rows_at[row], c * lanes) for row in range(rows) for c in range(vectors)}
        sums = {entry: cgutils.alloca_once_value(builder, self.load(pointer)) for entry, pointer in at.items()}
        with cgutils.for_range(builder, depth) as loop:
            left_t = self.at(left, builder.mul(loop.index, index(rows)))
            right_t = self.at(right, builder.mul(loop.index, index(vectors * lanes)))
            b = [self.load(self.at(right_t, column * lanes)) for column in range(vectors)]
            for row in range(rows):
                a = self.broadcast(builder.load(self.at(left_t, row)))
                for column in range(vectors):
                    total = builder.load(sums[row, column])
                    builder.store(builder.fadd(total, builder.fmul(a, b[column])), sums[row, column])
        for entry, pointer in at.items():
            self.store(builder.load(sums[entry]), pointer)


# From here on ordinary code; `functions` gives it the tile's ROWS and COLUMNS, `tile_product` and `prange`.

ROWS, COLUMNS = 4, 4
tile_product = turn = None
prange = range


def pack_turned(source, stride_i, depth, count, width, panel):
    """Copies source[t + i * stride_i], t < depth, i < count, to panel[t * width + i], square by square."""
    turned_t, turned_i = depth - depth % ROWS, count - count % ROWS
    for i in range(0, turned_i, ROWS):
        for t in range(0, turned_t, ROWS):
            turn(part(source, i * stride_i + t, 1), stride_i, part(panel, t * width + i, 1), width)
    for i in range(count):
        row = part(source, i * stride_i, depth)
        for t in range(turned_t if i < turned_i else 0, depth):
            panel[t * width + i] = row[t]


def pack(source, stride_t, stride_i, depth, count, width, panels, start):
    """Copies source[t * stride_t + i * stride_i], t < depth, i < count, into panels of `width` entries per term.

    A panel holds the entries of one term after those of another, filled up with 0; ``panels[start:]`` gets them.
    """
    zero = panels.dtype.type(0)
    for first in range(0, count, width):
        here = min(width, count - first)
        panel = view(panels, start + first * depth, depth, width)
        if here < width:
            panel[:, here:] = zero
        if stride_t == 1:
            rows, to = part(source, first * stride_i, 1), part(panels, start + first * depth, 1)
            pack_turned(rows, stride_i, depth, here, width, to)
        elif stride_i == 1:
            for t in range(depth):
                row = view(source, t * stride_t + first, 1, here)
                for i in range(here):
                    panel[t, i] = row[0, i]
        else:
            for t in range(depth):
                for i in range(here):
                    panel[t, i] = source[t * stride_t + (first + i) * stride_i]


def add_block(panels, left, right, step, tile, depth, out, origin, stride_i, stride_j, rows, columns):
    """Adds `depth` terms to the rows of a block of `out`.

    `left`, `right`, `tile`: where in `panels` the packed block, the packed columns (a panel every `step`), and room
    for one tile are. `origin`: where in `out` the block begins.
    """
    for j in range(0, columns, COLUMNS):
        width, right_panel = min(COLUMNS, columns - j), right + (j // COLUMNS) * step
        for i in range(0, rows, ROWS):
            height, left_panel, corner = min(ROWS, rows - i), left + i * depth, origin + i * stride_i + j * stride_j
            if height == ROWS and width == COLUMNS and stride_j == 1:
                tile_product(panels, left_panel, right_panel, out, corner, stride_i, depth)
                continue
            edge = view(panels, tile, ROWS, COLUMNS)
            for r in range(height):
                for c in range(width):
                    edge[r, c] = out[corner + r * stride_i + c * stride_j]
            tile_product(panels, left_panel, right_panel, panels, tile, COLUMNS, depth)
            for r in range(height):
                for c in range(width):
                    out[corner + r * stride_i + c * stride_j] = edge[r, c]


def product(left, left_t, left_i, right, right_t, right_j, out, out_i, out_j, depth, rows, columns, panels, workers):
    """out[i, j] <- (out[i, j] + left[0, i] right[0, j]) + left[1, i] right[1, j] + ..., t = 0 .. depth - 1

    NumPy, but for the order: ``out += left.T @ right``

    Parameters
    ----------
    left, right, out : 1-D arrays
        left[t, i] is ``left[t * left_t + i * left_i]``; right and out likewise.
    depth, rows, columns : int
        Number of t, i and j.
    panels : 1-D array
        Room to work in, of `room` entries.
    workers : int
        Among how many the rows are divided; no sum depends on it.
    """
    if turned(rows, columns):
        left, left_t, left_i, right, right_t, right_j = right, right_t, right_j, left, left_t, left_i
        rows, columns, out_i, out_j = columns, rows, out_j, out_i
    pack(right, right_t, right_j, depth, columns, np.int64(COLUMNS), panels, np.int64(0))
    share = -(-rows // (workers * ROWS)) * ROWS
    for worker in prange(workers):
        first = np.int64(worker) * share
        part = (np.int64(worker), first, min(rows, first + share))
        product_part(left, left_t, left_i, out, out_i, out_j, depth, columns, panels, part)


def product_part(left, left_t, left_i, out, out_i, out_j, depth, columns, panels, part):
    """The rows of one worker: its number, its first row, and the row after its last."""
    worker, first, last = part
    block = depth * (-(-columns // COLUMNS) * COLUMNS) + worker * (HEIGHT * DEPTH + ROWS * COLUMNS)
    tile = block + HEIGHT * DEPTH
    for top in range(first, last, HEIGHT):
        height, corner = min(HEIGHT, last - top), top * out_i
        for t in range(0, depth, DEPTH):
            terms, begin = min(DEPTH, depth - t), t * left_t + top * left_i
            pack(left[begin:], left_t, left_i, terms, height, np.int64(ROWS), panels, block)
            add_block(
                panels, block, t * COLUMNS, depth * COLUMNS, tile, terms, out, corner, out_i, out_j, height, columns
            )


def turned(rows, columns):
    """Whether the tiles lie the other way, rows of `out` along the vectors: where fewer entries are wasted so."""
    upright = -(-rows // ROWS) * ROWS * (-(-columns // COLUMNS) * COLUMNS)
    return -(-columns // ROWS) * ROWS * (-(-rows // COLUMNS) * COLUMNS) < upright


def room(depth, rows, columns, workers, dtype):
    """Entries that `product` needs in `panels`, at most."""
    tile = tile_of(dtype)
    widest = -(-max(rows, columns) // tile.columns) * tile.columns
    return depth * widest + workers * (HEIGHT * DEPTH + tile.rows * tile.columns)


SOURCES = (__file__, vectors.__file__)


@cache
def packing(dtype, rows):
    """`pack_turned`, compiled for a dtype and squares of so many rows."""
    return compiled(pack_turned, {"ROWS": rows, "turn": turn_for(dtype, rows)}, f"{dtype}_{rows}", SOURCES)


@cache
def functions(dtype, shared=False):
    """`product`, compiled for a dtype; `shared`: with threads."""
    tile = tile_of(dtype)
    names = {"ROWS": tile.rows, "COLUMNS": tile.columns, "tile_product": tile_product_for(dtype)}
    names["pack_turned"] = packing(dtype, tile.rows)
    label = f"{dtype}_{tile.rows}x{tile.columns}"
    for function in (turned, add_block):
        names[function.__name__] = compiled(function, names, label, inline="always", cache=False)
    for function in (pack, product_part):
        names[function.__name__] = compiled(function, names, label, SOURCES)
    if not shared:
        return compiled(product, names, label, SOURCES)
    return compiled(product, names | {"prange": numba.prange}, f"{label}_shared", SOURCES, parallel=True)
