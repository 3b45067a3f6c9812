"""Sums of products along rows, in index order: dW of layers that are narrower than a batch is long.

    out[i, j] = x[i, 0] y[j, 0] + x[i, 1] y[j, 1] + ...

Terms are added one after the other, and an addition waits for the one before it; so up to eight rows of x and a vector
of rows of y are done side by side, with all their sums in registers. What a vector register needs side by side, y has
below one another: as many terms as rows are read and transposed in registers.

Every product and every sum is rounded once, as "reproducible arithmetic, version 1" has it. Terms that fill up the last
block are +0, which changes no sum that began with +0.
"""

from functools import cache
from typing import Any

from llvmlite import ir
from numba.core import cgutils

from ..registers import Registers, written
from .products import tile_of
from .views import at

ROWS = 8
HEIGHTS = 2, 5, ROWS
"""One loop takes the time of as many rows as it is written for."""


def heights_for(x_rows: int) -> set[int]:
    """The heights that so many rows of x make use of."""
    parts = {min(ROWS, x_rows), x_rows % ROWS} - {0}
    return {min(height for height in HEIGHTS if height >= part) for part in parts}


@cache
def tile_sums_for(dtype: str, heights: tuple[int, ...]) -> Any:
    """The innermost loops, one for each height, as a function that compiled code may call.

    ``tile_sums(x, rows, y, columns, m, sums)``: up to `ROWS` rows of x and as many of y as a vector has lanes, both 1-D
    arrays of rows of m numbers; the sums go to ``sums``, first those of y alone, then row by row. Where there are fewer
    rows than a height, the last one stands for those that are missing.
    """
    lanes, index = tile_of(dtype).lanes, ir.IntType(64)

    def write(builder: Any, x: Any, rows: Any, y: Any, columns: Any, m: Any, sums: Any) -> None:
        lower = 0
        for height in heights:
            above = builder.icmp_signed(">", rows, index(lower))
            with builder.if_then(builder.and_(above, builder.icmp_signed("<=", rows, index(height)))):
                write_loop(builder, height, x, rows, y, columns, m, sums)
            lower = height

    def write_loop(builder: Any, most: int, x: Any, rows: Any, y: Any, columns: Any, m: Any, sums: Any) -> None:
        """All blocks of terms, then one that is filled up with 0; stores the sums."""
        r = Registers(builder, dtype, lanes)
        x_rows, y_rows = begins(r, x, rows, m, most), begins(r, y, columns, m, lanes)
        totals = [cgutils.alloca_once_value(builder, r.zeros) for _ in range(1 + most)]
        blocks = builder.sdiv(m, index(lanes))
        with cgutils.for_range(builder, blocks) as loop:
            first = builder.mul(loop.index, index(lanes))
            x_here = [r.at(row, first) for row in x_rows]
            numbers = [[builder.load(r.at(row, t)) for t in range(lanes)] for row in x_here]
            add(r, totals, numbers, [r.load(r.at(row, first)) for row in y_rows])
        first = builder.mul(blocks, index(lanes))
        left = builder.sub(m, first)
        with builder.if_then(builder.icmp_signed(">", left, index(0))):
            mask = r.first_lanes(left)
            x_last, y_last = ([r.masked_load(r.at(row, first), mask) for row in rows] for rows in (x_rows, y_rows))
            add(r, totals, [[r.lane(row, t) for t in range(lanes)] for row in x_last], y_last)
        for number, total in enumerate(totals):
            r.store(builder.load(total), r.at(sums, number * lanes))

    def begins(r: Registers, array: Any, count: Any, m: Any, wanted: int) -> list[Any]:
        """Where so many rows begin."""
        last = r.builder.sub(count, index(1))
        inside = [r.builder.icmp_signed("<", index(row), last) for row in range(wanted)]
        here = [r.builder.select(condition, index(row), last) for row, condition in enumerate(inside)]
        return [r.at(array, r.builder.mul(row, m)) for row in here]

    def add(r: Registers, totals: list[Any], x_rows: list[Any], y_rows: list[Any]) -> None:
        """Adds as many terms as a vector has lanes, one after the other."""
        for t, y in enumerate(r.transposed(y_rows)):
            terms = [y, *(r.builder.fmul(r.broadcast(row[t]), y) for row in x_rows)]
            for term, total in zip(terms, totals, strict=True):
                r.builder.store(r.builder.fadd(r.builder.load(total), term), total)

    return written("x rows y columns m sums", write)


@cache
def row_products_for(dtype: str, heights: tuple[int, ...] = HEIGHTS) -> Any:
    """``row_products(x, y, x_rows, y_rows, m, out, y_sums, sums)`` for a dtype, yet to be compiled; the heights are all
    of `heights_for` x_rows, and may be more."""
    lanes, tile_sums = tile_of(dtype).lanes, tile_sums_for(dtype, heights)

    def row_products(x: Any, y: Any, x_rows: int, y_rows: int, m: int, out: Any, y_sums: Any, sums: Any) -> None:
        """out[i, j] = x[i, 0] y[j, 0] + x[i, 1] y[j, 1] + ..., and y_sums[j] = y[j, 0] + y[j, 1] + ...

        NumPy, but for the order: ``out[...] = x @ y.T`` and ``y_sums[...] = y.sum(1)``, on 1-D arrays of shapes
        (x_rows, m), (y_rows, m) and (x_rows, y_rows). `sums` is for work, (`ROWS` + 1) x 64 bytes at least.
        """
        for j in range(0, y_rows, lanes):
            wide, y_here = min(lanes, y_rows - j), at(y, j * m)
            for i in range(0, x_rows, ROWS):
                high = min(ROWS, x_rows - i)
                x_here = at(x, i * m)
                tile_sums(x_here, high, y_here, wide, m, sums)
                for row in range(high):
                    for column in range(wide):
                        out[(i + row) * y_rows + j + column] = sums[(1 + row) * lanes + column]
            for column in range(wide):
                y_sums[j + column] = sums[column]

    return row_products
