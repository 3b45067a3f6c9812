"""Matrix products at the speed of the processor: tiles held in vector registers, in index order or in any.

    in order:  out[i, j] = ((start[i, j] + left[0, i] right[0, j]) + left[1, i] right[1, j]) + ...,  t = 0 .. depth - 1
    in any:    out[i, j] = start[i, j] + (left[0, i] right[0, j] + left[1, i] right[1, j] + ...)

In order, every product and every sum is rounded once, so each entry has the bits of "reproducible arithmetic, version
1": what runs side by side are entries. In any, for fast numerics, the two are fused.

The entries of `start` and `out` in a row stand side by side; `left` and `right` may be strided. A small operand is read
where it stands; a large one is packed block by block first, so that what a tile reads lies side by side (Goto and van
de Geijn, Anatomy of High-Performance Matrix Multiplication, ACM TOMS 34, 2008).

`out` is cut into pieces along its longer side. The operand that all pieces read is packed once, before any of them is
begun; each worker then takes the next piece when it is done with its last, so that none waits long for one that was
held up.

Where `out` has fewer rows than a tile, the tile's last rows repeat its last one, and write the same numbers again, but
a single row has a tile of its own; a tile that is wider than `out` leaves alone what is beside it.

Error: ``gamma(depth) |left|.T @ |right|``, and u |out| for each `DEPTH` terms; in order, ``gamma(depth + 1)`` of that
and |start|.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.registry import cpu_target

from ..compiling import merged
from ..registers import Registers, transpose_for, written
from .calls import calls_for, products_kind, shared_out
from .memory import blank, kind_of, reader, writer
from .views import View, at, corner

# Terms that are summed at a time; rows of `left`, or columns of `right`, that a piece has at most; and entries of an
# operand from which on it is packed.
DEPTH, HEIGHT, WIDTH = 512, 32, 480
PACKED_FROM = 2**15

# About how many pieces each of several workers gets; entries of a line of the cache, which the counter has to itself.
PIECES = 8
LINE = 16

# From how many multiplications on a product in order is shared out among threads; fused ones are twice as many.
SHARED_FROM = 2**20


def shared_from(ordered: bool) -> int:
    """From how many multiplications on a product is shared out among threads."""
    return SHARED_FROM if ordered else 2 * SHARED_FROM


class Tile(NamedTuple):
    """Entries of `out` that are held in registers: ``rows`` x (up to ``vectors`` of ``lanes`` each)."""

    rows: int
    vectors: int
    lanes: int


@cache
def tile_of(dtype: str, ordered: bool = False) -> Tile:
    """The tile that fits the registers of the processor that Numba compiles for; in order, the product before it is
    added needs one too."""
    _, _, features = cpu_target.target_context.codegen().magic_tuple()
    size = np.dtype(dtype).itemsize
    if "+avx512f" in features:
        return Tile(rows=8, vectors=3, lanes=64 // size)
    return Tile(rows=4, vectors=2 if ordered else 3, lanes=(32 if "+avx" in features.split(",") else 16) // size)


@cache
def tile_product_for(dtype: str, rows: int, vectors: int, ordered: bool) -> Any:
    """The innermost loop, for tiles that many vectors wide, as a function that compiled code may call; where they have
    one row, up to that many.

    ``tile_product(left, right, start, out, depth, height, width)``: views that begin where the tile's operands do, and
    how many terms, rows and columns there are.
    """
    lanes, first_masked = tile_of(dtype, ordered).lanes, vectors - 1 if rows > 1 else 0
    index, flags = ir.IntType(64), () if ordered else ("contract",)

    def write(builder: Any, left: Any, right: Any, start: Any, out: Any, depth: Any, height: Any, width: Any) -> None:
        """Adds the outer products of `depth` terms to `start` one by one; or in any order sums them first, so that
        `start` is rounded once."""
        r = Registers(builder, dtype, lanes)
        (left, left_t, left_i), (right, right_t, _), (start, start_i, _), (out, out_i, _) = left, right, start, out
        last = builder.sub(height, index(1))
        masks = {
            column: r.first_lanes(builder.sub(width, index(column * lanes))) for column in range(first_masked, vectors)
        }
        inside = [builder.icmp_signed("<", index(row), last) for row in range(rows)]
        here = [builder.select(condition, index(row), last) for row, condition in enumerate(inside)]
        left_rows, start_rows, out_rows = (
            [r.at(array, builder.mul(row, stride)) for row in here]
            for array, stride in ((left, left_i), (start, start_i), (out, out_i))
        )

        def load(row: Any, column: int) -> Any:
            """What is left of a row may be less than a vector."""
            pointer = r.at(row, column * lanes)
            return r.masked_load(pointer, masks[column]) if column in masks else r.load(pointer)

        def begin(row: Any, column: int) -> Any:
            return load(row, column) if ordered else r.zeros

        sums = [
            [cgutils.alloca_once_value(builder, begin(row, column)) for column in range(vectors)] for row in start_rows
        ]
        with cgutils.for_range(builder, depth) as loop:
            right_row = r.at(right, builder.mul(loop.index, right_t))
            b = [load(right_row, column) for column in range(vectors)]
            left_at = builder.mul(loop.index, left_t)
            for row in range(rows):
                a = r.broadcast(builder.load(r.at(left_rows[row], left_at)))
                for column, total in enumerate(sums[row]):
                    term = builder.fmul(a, b[column], flags=flags)
                    builder.store(builder.fadd(builder.load(total), term, flags=flags), total)
        found = [[builder.load(total) for total in totals] for totals in sums]
        if not ordered:
            before = [[load(row, column) for column in range(vectors)] for row in start_rows]
            found = [
                [builder.fadd(*pair) for pair in zip(*pairs, strict=True)] for pairs in zip(before, found, strict=True)
            ]
        for out_row, values in zip(out_rows, found, strict=True):
            for column, value in enumerate(values):
                pointer = r.at(out_row, column * lanes)
                if column in masks:
                    r.masked_store(value, pointer, masks[column])
                else:
                    r.store(value, pointer)

    return written("left right start out depth height width", write)


def _next_piece(builder: Any, counter: Any) -> Any:
    index = ir.IntType(64)
    return builder.atomic_rmw("add", builder.bitcast(counter, index.as_pointer()), index(1), "monotonic")


next_piece = written("counter", _next_piece, types.int64)
"""The number in the first eight bytes of a 1-D array, which is one more from then on, whoever asks."""


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


@cache
def pack_for(dtype: str) -> Callable[..., None]:
    """The piece "pack", yet to be compiled."""
    pack_transposed = packing(dtype, tile_of(dtype).rows)

    def pack(source: View, depth: int, count: int, width: int, panels: Any) -> None:
        """Copies source[t, i], t < depth, i < count, into panels of `width` entries per term."""
        for first in range(0, count, width):
            here, panel, of = min(width, count - first), at(panels, first * depth), corner(source, 0, first)
            if source.column == 1:
                for t in range(depth):
                    row, to = at(of.array, t * source.row), at(panel, t * width)
                    for i in range(here):
                        to[i] = row[i]
                continue
            if source.row == 1:
                pack_transposed(of.array, source.column, depth, here, width, panel)
                continue
            for t in range(depth):
                for i in range(here):
                    panel[t * width + i] = of.array[t * source.row + i * source.column]

    return pack


@cache
def product_piece_for(dtype: str, ordered: bool) -> Any:
    """`product_piece`, for compiled code."""
    tile_rows, most, lanes = tile_of(dtype, ordered)
    tile_1, tile_2, tile_3 = (tile_product_for(dtype, tile_rows, min(count, most), ordered) for count in (1, 2, 3))
    tile_of_row = tile_product_for(dtype, 1, most, ordered)
    call_pack = calls_for(dtype)["pack"]

    @merged
    def tiles(
        left: View,
        left_apart: int,
        right: View,
        right_apart: int,
        start: View,
        out: View,
        depth: int,
        rows: int,
        columns: int,
        width: int,
    ) -> None:
        """A block of `out`, tile by tile; `left_apart` and `right_apart`: from one tile's operand to the next."""
        for j in range(0, columns, width):
            here, b = min(width, columns - j), View(at(right.array, (j // width) * right_apart), right.row, 1)
            vectors = -(-here // lanes)
            for i in range(0, rows, tile_rows):
                height = min(tile_rows, rows - i)
                a = View(at(left.array, (i // tile_rows) * left_apart), left.row, left.column)
                if height == 1:
                    tile_of_row(a, b, corner(start, i, j), corner(out, i, j), depth, height, here)
                elif most > 2 and vectors == 3:
                    tile_3(a, b, corner(start, i, j), corner(out, i, j), depth, height, here)
                elif vectors == 2:
                    tile_2(a, b, corner(start, i, j), corner(out, i, j), depth, height, here)
                else:
                    tile_1(a, b, corner(start, i, j), corner(out, i, j), depth, height, here)

    @merged
    def product_piece(
        left: View,
        right: View,
        start: View,
        out: View,
        extent: Any,
        width: int,
        packed: Any,
        common: Any,
        mine: Any,
        pack: int,
    ) -> None:
        """A piece of `out`: every term of its rows and columns.

        `packed` says whether `left`, and whether `right`, is to be read packed, and whether pieces are rows of `out`;
        `common` is the packed operand that all pieces read, and how many entries it has for each term; `mine` is the
        worker's, for the other one.
        """
        (packed_left, packed_right, by_rows), (depth, rows, columns) = packed, extent
        for t in range(0, depth, DEPTH):
            terms = min(DEPTH, depth - t)
            b, b_apart = corner(right, t, 0), width * right.column
            if packed_right and by_rows:
                b, b_apart = View(at(common[0], t * common[1]), width, 1), width * terms
            elif packed_right:
                call_pack(pack, b, terms, columns, width, mine)
                b, b_apart = View(at(mine, 0), width, 1), width * terms
            before = start if t == 0 else out
            for i in range(0, rows, HEIGHT):
                high = min(HEIGHT, rows - i)
                a, a_apart = corner(left, t, i), tile_rows * left.column
                if packed_left and not by_rows:
                    a, a_apart = View(at(common[0], t * common[1] + i * terms), tile_rows, 1), tile_rows * terms
                elif packed_left:
                    call_pack(pack, a, terms, high, tile_rows, mine)
                    a, a_apart = View(at(mine, 0), tile_rows, 1), tile_rows * terms
                tiles(a, a_apart, b, b_apart, corner(before, i, 0), corner(out, i, 0), terms, high, columns, width)

    return product_piece


class Task(NamedTuple):
    """A product, cut into pieces along the longer side of `out`, rows or columns."""

    left: View
    right: View
    start: View
    out: View
    depth: int
    rows: int
    columns: int
    width: int
    """Columns of a tile."""
    by_rows: int
    packed_left: int
    packed_right: int
    per_term: int
    """Entries for each term of the operand that all pieces read, where it is packed."""
    share: int
    """How much of that operand's side each worker packs."""
    piece: int
    """Rows or columns of a piece."""
    panels: Any
    apart: int
    """From one worker's part of the panels to the next one's."""
    pack: int
    """The address of the piece."""


@cache
def task_kind(dtype: str) -> Any:
    """The type of a `Task`."""
    view, empty = View(np.empty(0, dtype), 0, 0), np.empty(0, dtype)
    return kind_of(blank(Task, left=view, right=view, start=view, out=view, panels=empty))


@cache
def product_for(dtype: str, ordered: bool) -> Callable[..., None]:
    """The piece "product", yet to be compiled."""
    tile_rows, tile_vectors, lanes = tile_of(dtype, ordered)
    least, write, share_out = shared_from(ordered), writer(task_kind(dtype)), shared_out()
    read = reader(products_kind(dtype))

    def product(
        left: View, right: View, start: View, out: View, depth: int, rows: int, columns: int, memory: Any
    ) -> None:
        """NumPy, but for the order: ``out[...] = start + left.T @ right``.

        `start` may be `out`, or one row, repeated. The panels are `panels_for` entries to work in; the pieces are
        divided among workers.
        """
        if columns == 1 and out.row == 1:  # one column is one row
            for i in range(rows):
                out.array[i] = start.array[i * start.row]
            left, right, start, out = right, left, View(out.array, rows, 1), View(out.array, rows, 1)
            rows, columns = 1, rows
        products = read(memory)
        workers = products.workers if depth * rows * columns >= least else 1
        across = -(-columns // (tile_vectors * lanes))
        width = -(-columns // (across * lanes)) * lanes
        by_rows = rows > columns
        packed_left, packed_right = depth * rows >= PACKED_FROM, right.column != 1 or depth * columns >= PACKED_FROM
        # Pieces are cut along `length`; `side` is that of the operand which all of them read.
        length, most, grain = (rows, HEIGHT, tile_rows) if by_rows else (columns, WIDTH, width)
        side, step = (columns, width) if by_rows else (rows, tile_rows)
        per_term, share = -(-side // step) * step, -(-side // (step * workers)) * step
        wanted = -(-length // (PIECES * workers if workers > 1 else 1))
        piece = min(-(-wanted // grain) * grain, most - most % grain)
        apart = (products.length - LINE - depth * per_term) // workers
        task = write(
            Task(
                left, right, start, out, depth, rows, columns, width, by_rows, packed_left, packed_right, per_term,
                share, piece, products.panels, apart, products.pack,
            )
        )  # fmt: skip
        if packed_right if by_rows else packed_left:
            share_out(products.parallel, products.packing, task, workers)
        counter = at(products.panels, 0)
        for i in range(LINE):
            counter[i] = 0
        share_out(products.parallel, products.share, task, workers)

    return product


@cache
def packing_for(dtype: str) -> Callable[..., None]:
    """The piece "share" that packs one worker's part of the operand which all pieces read, yet to be compiled."""
    call_pack, tile_rows, read = calls_for(dtype)["pack"], tile_of(dtype).rows, reader(task_kind(dtype))

    def packing(memory: int, worker: int) -> None:
        task = read(memory)
        side, width, source = (
            (task.columns, task.width, task.right) if task.by_rows else (task.rows, tile_rows, task.left)
        )
        first = worker * task.share
        count = min(task.share, side - first)
        for t in range(0, task.depth if count > 0 else 0, DEPTH):
            terms = min(DEPTH, task.depth - t)
            to = at(task.panels, LINE + t * task.per_term + first * terms)
            call_pack(task.pack, corner(source, t, first), terms, count, width, to)

    return packing


@cache
def share_for(dtype: str, ordered: bool) -> Callable[..., None]:
    """The piece "share" that computes pieces as long as there are any, yet to be compiled."""
    product_piece, read = product_piece_for(dtype, ordered), reader(task_kind(dtype))

    def share(memory: int, worker: int) -> None:
        task = read(memory)
        depth, by_rows, piece = task.depth, task.by_rows, task.piece
        length, counter = task.rows if by_rows else task.columns, at(task.panels, 0)
        common = at(task.panels, LINE)
        mine = at(task.panels, LINE + depth * task.per_term + worker * task.apart)
        first = next_piece(counter) * piece
        while first < length:
            count = min(piece, length - first)
            i, j = (first, 0) if by_rows else (0, first)
            extent = (depth, count, task.columns) if by_rows else (depth, task.rows, count)
            left_i, right_j = corner(task.left, 0, i), corner(task.right, 0, j)
            before, to = corner(task.start, i, j), corner(task.out, i, j)
            packed = task.packed_left, task.packed_right, by_rows
            common_one = common, task.per_term
            product_piece(left_i, right_j, before, to, extent, task.width, packed, common_one, mine, task.pack)
            first = next_piece(counter) * piece

    return share


def panels_for(depth: int, rows: int, columns: int, workers: int) -> int:
    """Entries that a product needs in `panels`, at most."""
    if columns == 1:  # as one row
        rows, columns = 1, rows
    tile = 64  # no tile is wider
    common, columns_packed = depth * (min(rows, columns) + tile), min(columns + tile, WIDTH)
    return LINE + common + workers * min(depth, DEPTH) * max(HEIGHT, columns_packed)
