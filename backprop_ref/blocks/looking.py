"""One pass over all blocks of a folder: what is in them, and the statistics of their columns, to the same bits in any
number of processes.

Of each block by itself: the least and largest of each column, its mean, and the sum of the squares of what is left
after the mean is taken off. Both sums are made of `LANES` running sums, of every `LANES`-th row each, which are then
added in order. The figures of the blocks are joined in the order of the blocks (Chan, Golub and LeVeque, The American
Statistician 37, 1983): with d = mean_b − mean and n' = n + n_b,

    mean ← mean + d·(n_b / n')        squares ← (squares + squares_b) + (d·d)·(n·(n_b / n'))
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from backprop_ref.asking import ask
from backprop_ref.blocks.files import Block, Files, Labels
from backprop_ref.errors import InvalidInput
from backprop_ref.kernels import ordered
from backprop_ref.progress import Bar

LANES = 256
MOST_DISTINCT = 10_000
"""More different values than that of a target are not counted."""
Numbers = npt.NDArray[np.float64]


class Figures(NamedTuple):
    """Of some rows of some columns: how many, and of each column least, largest, mean and sum of squares around it."""

    rows: int
    least: Numbers
    most: Numbers
    mean: Numbers
    squares: Numbers

    @classmethod
    def of(cls, columns: Numbers) -> Figures:
        """Those of the rows of a block."""
        mean = _sum(columns) / len(columns)
        around = columns - mean
        return cls(len(columns), columns.min(axis=0), columns.max(axis=0), mean, _sum(np.square(around, out=around)))

    def joined(self, other: Figures) -> Figures:
        """Those of these rows and then others."""
        rows = self.rows + other.rows
        apart, share = other.mean - self.mean, other.rows / rows
        return Figures(
            rows,
            np.minimum(self.least, other.least),
            np.maximum(self.most, other.most),
            self.mean + apart * share,
            (self.squares + other.squares) + (apart * apart) * (self.rows * share),
        )


def _sum(columns: Numbers) -> Numbers:
    """The sum of each column: of `LANES` running sums."""
    whole = len(columns) // LANES * LANES
    lanes = np.zeros((LANES, columns.shape[1]))
    for start in range(0, whole, LANES):
        lanes += columns[start : start + LANES]
    rest = columns[whole:]
    lanes[: len(rest)] += rest
    return np.asarray(ordered.sum_rows(np, lanes))


class Seen(NamedTuple):
    """What one block holds."""

    digest: bytes
    features: Figures
    targets: Figures | None
    """Of quantities, or what may be ones."""
    counts: dict[str, int] | None
    """How many rows each text of the target has; None where they are too many."""


def look(files: Files, block: Block) -> Seen:
    """Reads a block. Refuses what is no finite number, with its place."""
    x, targets = files.read(block)
    with np.errstate(over="ignore", invalid="ignore"):
        features = Figures.of(x)
    _check(files, block, x, files.features, features)
    digest = hashlib.sha256(f"{x.shape}".encode())
    digest.update(x.data)
    numbers = labels = None
    if not files.of_texts:
        y = files.numbers(targets)
        digest.update(np.ascontiguousarray(y).data)
        with np.errstate(over="ignore", invalid="ignore"):
            numbers = Figures.of(y)
        _check(files, block, y, files.targets, numbers)
    if len(files.targets) == 1 and (numbers is None or len(np.unique(y)) <= MOST_DISTINCT):
        labels = files.labels(targets)
    if numbers is None and labels is not None:
        digest.update(repr(labels.texts).encode() + labels.codes.tobytes())
    return Seen(digest.digest(), features, numbers, _counts(labels))


def _counts(labels: Labels | None) -> dict[str, int] | None:
    if labels is None or len(labels.texts) > MOST_DISTINCT:
        return None
    found: dict[str, int] = {}
    for text, count in zip(labels.texts, np.bincount(labels.codes, minlength=len(labels.texts)).tolist(), strict=True):
        if count:
            found[text] = found.get(text, 0) + count
    return found


def _check(files: Files, block: Block, columns: Numbers, names: Sequence[str], figures: Figures) -> None:
    """Refuses what is not finite; the sum of a column then is not."""
    if np.isfinite(figures.least).all() and np.isfinite(figures.most).all():
        return
    row, column = map(int, np.argwhere(~np.isfinite(columns))[0])
    name = names[column]
    out = f", or give {ask('--drop', name)}" if name in files.columns and len(files.columns) > 1 else ""
    where = files.where(block, row, target=names is files.targets)
    raise InvalidInput(
        f"{where}, column {name}: {columns[row, column]} is not a finite number; mend it in the files{out}"
    )


def look_at_all(files: Files, blocks: Sequence[Block], comm: Any = None, progress: bool | None = None) -> list[Seen]:
    """What each block holds; each process of a communicator reads as many as the others, neighbouring ones."""
    rank, size = (0, 1) if comm is None else (comm.rank, comm.size)
    first, last = (part * len(blocks) // size for part in (rank, rank + 1))
    found = []
    with Bar("block", last - first, False if rank else progress) as bar:
        for done, block in enumerate(blocks[first:last], 1):
            found.append(look(files, block))
            bar.update(done)
    return found if comm is None else [each for part in comm.allgather(found) for each in part]


def joined(figures: Sequence[Figures]) -> Figures:
    """Those of some blocks together, in their order."""
    found, *others = figures
    for other in others:
        found = found.joined(other)
    return found


def counts(seen: Sequence[Seen]) -> dict[str, int] | None:
    """How many rows each text of the target has in all blocks; None where they are too many."""
    found: dict[str, int] = {}
    for each in seen:
        if each.counts is None or len(found) > MOST_DISTINCT:
            return None
        for text, count in each.counts.items():
            found[text] = found.get(text, 0) + count
    return found
