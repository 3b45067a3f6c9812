"""Matrix products in index order at the speed of the processor: packed panels and a tile held in registers.

    out[i, j] <- ((out[i, j] + left[0, i] right[0, j]) + left[1, i] right[1, j]) + ...

Every product and every sum is rounded once and the terms are added in ascending t, so each entry has the bits of
"reproducible arithmetic, version 1". What runs side by side are entries: a tile of ``rows`` x ``lanes * vectors`` of
them stays in vector registers while t goes through a block, and is put back in between (the layout of Goto and van
de Geijn, Anatomy of High-Performance Matrix Multiplication, ACM TOMS 34, 2008; the order of the sums is what differs).
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numba.core.registry import cpu_target

from ..compiling import inlined, merged
from ..registers import Registers, transpose_for, written
from .calls import calls_for, products_kind, shared_out
from .memory import blank, kind_of, reader, writer
from .views import View, at, corner, transposed

# From how many multiplications on a product is shared out among threads.
SHARED_FROM = 2**20

# Entries of a block: terms of a sum, so that a panel of `right` stays in the first cache; rows of `left` in the second.
DEPTH = 128
HEIGHT = 256


class Tile(NamedTuple):
    """Entries of `out` that are held in registers: ``rows`` x (``vectors`` of ``lanes`` each)."""

    rows: int
    vectors: int
    lanes: int

    @property
    def columns(self) -> int:
        """Width of the tile in entries."""
        return self.vectors * self.lanes


@cache
def tile_of(dtype: str) -> Tile:
    """The tile that fits the registers of the processor that Numba compiles for."""
    _, _, features = cpu_target.target_context.codegen().magic_tuple()
    size = np.dtype(dtype).itemsize
    if "+avx512f" in features:
        return Tile(rows=8, vectors=3, lanes=64 // size)
    return Tile(rows=4, vectors=2, lanes=(32 if "+avx" in features.split(",") else 16) // size)


@cache
def tile_product_for(dtype: str) -> Any:
    """The innermost loop, as a function that compiled code may call.

    ``tile_product(left, right, out, row, depth)``: packed entries of the first term stand first in `left` and `right`,
    the tile's first in `out`, its rows `row` apart. Without flags, LLVM keeps products and sums apart.
    """
    rows, vectors, lanes = tile_of(dtype)

    def write(builder: Any, left: Any, right: Any, out: Any, row_stride: Any, depth: Any) -> None:
        r, index = Registers(builder, dtype, lanes), ir.IntType(64)
        row_at = [r.at(out, builder.mul(row_stride, index(row))) for row in range(rows)]
        at = {(row, c): r.at(row_at[row], c * lanes) for row in range(rows) for c in range(vectors)}
        sums = {entry: cgutils.alloca_once_value(builder, r.load(pointer)) for entry, pointer in at.items()}
        with cgutils.for_range(builder, depth) as loop:
            left_t = r.at(left, builder.mul(loop.index, index(rows)))
            right_t = r.at(right, builder.mul(loop.index, index(vectors * lanes)))
            b = [r.load(r.at(right_t, column * lanes)) for column in range(vectors)]
            for row in range(rows):
                a = r.broadcast(builder.load(r.at(left_t, row)))
                for column in range(vectors):
                    total = builder.load(sums[row, column])
                    builder.store(builder.fadd(total, builder.fmul(a, b[column])), sums[row, column])
        for entry, pointer in at.items():
            r.store(builder.load(sums[entry]), pointer)

    return written("left right out row depth", write)


@cache
def packing(dtype: str, size: int) -> Any:
    """`pack_transposed` for a dtype and squares of so many rows."""
    transpose = transpose_for(dtype, size)

    @merged
    def pack_transposed(source: Any, row: int, depth: int, count: int, width: int, panel: Any) -> None:
        """Copies source[t + i * row], t < depth, i < count, to panel[t * width + i], square by square."""
        last_t, last_i = depth - depth % size, count - count % size
        for i in range(0, last_i, size):
            for t in range(0, last_t, size):
                transpose(at(source, i * row + t), row, at(panel, t * width + i), width)
        for i in range(count):
            one = at(source, i * row)
            for t in range(last_t if i < last_i else 0, depth):
                panel[t * width + i] = one[t]

    return pack_transposed


class Task(NamedTuple):
    """A product whose rows are divided among workers; the columns of `right` are packed, first in the panels."""

    left: View
    out: View
    depth: int
    rows: int
    columns: int
    panels: Any
    workers: int
    pack: int


@cache
def task_kind(dtype: str) -> Any:
    """The type of a `Task`."""
    view, empty = View(np.empty(0, dtype), 0, 0), np.empty(0, dtype)
    return kind_of(blank(Task, left=view, out=view, panels=empty))


@cache
def product_for(dtype: str) -> Callable[..., None]:
    """The piece "product", yet to be compiled."""
    tile_rows, _, _ = tile = tile_of(dtype)
    tile_columns, write, share_out = tile.columns, writer(task_kind(dtype)), shared_out()
    read = reader(products_kind(dtype))
    call_pack = calls_for(dtype)["pack"]

    @inlined
    def turned(rows: int, columns: int) -> bool:
        """Whether the tiles lie the other way, rows of `out` along the vectors: where fewer entries are wasted so."""
        here = -(-rows // tile_rows) * tile_rows * (-(-columns // tile_columns) * tile_columns)
        return -(-columns // tile_rows) * tile_rows * (-(-rows // tile_columns) * tile_columns) < here

    def product(
        left: View, right: View, start: View, out: View, depth: int, rows: int, columns: int, memory: Any
    ) -> None:
        """out[i, j] <- (out[i, j] + left[0, i] right[0, j]) + left[1, i] right[1, j] + ..., t = 0 .. depth - 1

        NumPy, but for the order: ``out += left.T @ right``. `start` is `out`. The panels are `panels_for` entries to
        work in; among workers the rows are divided, and no sum depends on how many there are.
        """
        if turned(rows, columns):
            left, right, out, rows, columns = right, left, transposed(out), columns, rows
        products = read(memory)
        workers = products.workers if depth * rows * columns >= SHARED_FROM else 1
        call_pack(products.pack, right, depth, columns, tile_columns, products.panels)
        task = Task(left, out, depth, rows, columns, products.panels, workers, products.pack)
        share_out(products.parallel, products.share, write(task), workers)

    return product


@cache
def share_for(dtype: str) -> Callable[..., None]:
    """The piece "share" of that product, yet to be compiled: the rows of one worker."""
    tile_rows, _, _ = tile = tile_of(dtype)
    tile_columns, read = tile.columns, reader(task_kind(dtype))
    tile_product, call_pack = tile_product_for(dtype), calls_for(dtype)["pack"]

    @merged
    def add_block(left: Any, right: Any, apart: int, edge: Any, depth: int, out: View, rows: int, columns: int) -> None:
        """Adds `depth` terms to a block of `out`.

        `left`: the packed block; `right`: the packed columns, a panel every `apart` entries; `edge`: for one tile.
        """
        for j in range(0, columns, tile_columns):
            width, right_panel = min(tile_columns, columns - j), at(right, (j // tile_columns) * apart)
            for i in range(0, rows, tile_rows):
                height, left_panel, to = min(tile_rows, rows - i), at(left, i * depth), corner(out, i, j)
                if height == tile_rows and width == tile_columns and out.column == 1:
                    tile_product(left_panel, right_panel, to.array, out.row, depth)
                    continue
                for r in range(height):
                    for c in range(width):
                        edge[r * tile_columns + c] = to.array[r * out.row + c * out.column]
                tile_product(left_panel, right_panel, edge, tile_columns, depth)
                for r in range(height):
                    for c in range(width):
                        to.array[r * out.row + c * out.column] = edge[r * tile_columns + c]

    def share(memory: int, worker: int) -> None:
        left, out, depth, rows, columns, panels, workers, pack = read(memory)
        each = -(-rows // (workers * tile_rows)) * tile_rows
        packed, size = depth * (-(-columns // tile_columns) * tile_columns), HEIGHT * DEPTH + tile_rows * tile_columns
        first = worker * each
        end, space = min(first + each, rows), at(panels, packed + worker * size)
        edge = at(space, HEIGHT * DEPTH)
        for top in range(first, end, HEIGHT):
            height = min(HEIGHT, end - top)
            for t in range(0, depth, DEPTH):
                terms = min(DEPTH, depth - t)
                call_pack(pack, corner(left, t, top), terms, height, tile_rows, space)
                right_t = at(panels, t * tile_columns)
                add_block(space, right_t, depth * tile_columns, edge, terms, corner(out, top, 0), height, columns)

    return share


@cache
def pack_for(dtype: str) -> Callable[..., None]:
    """The piece "pack", yet to be compiled."""
    pack_transposed, zero = packing(dtype, tile_of(dtype).rows), np.dtype(dtype).type(0)

    def pack(source: View, depth: int, count: int, width: int, panels: Any) -> None:
        """Copies source[t, i], t < depth, i < count, into panels of `width` entries per term.

        A panel holds the entries of one term after those of another, filled up with 0.
        """
        for first in range(0, count, width):
            here, panel, of = min(width, count - first), at(panels, first * depth), corner(source, 0, first)
            for t in range(depth if here < width else 0):
                for i in range(here, width):
                    panel[t * width + i] = zero
            if source.row == 1:
                pack_transposed(of.array, source.column, depth, here, width, panel)
            elif source.column == 1:
                for t in range(depth):
                    row, to = at(of.array, t * source.row), at(panel, t * width)
                    for i in range(here):
                        to[i] = row[i]
            else:
                for t in range(depth):
                    for i in range(here):
                        panel[t * width + i] = of.array[t * source.row + i * source.column]

    return pack


def panels_for(depth: int, rows: int, columns: int, workers: int, dtype: str) -> int:
    """Entries that a product needs in `panels`, at most."""
    tile = tile_of(dtype)
    widest = -(-max(rows, columns) // tile.columns) * tile.columns
    return depth * widest + workers * (HEIGHT * DEPTH + tile.rows * tile.columns)
