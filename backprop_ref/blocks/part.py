"""Some blocks of a folder, as a network takes them."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from backprop_ref.arrays import Batch, Matrix, Rows, Vector
from backprop_ref.blocks.files import Block, Files
from backprop_ref.blocks.looking import Figures, Seen
from backprop_ref.blocks.order import Piece, Stripes, pieces, visits
from backprop_ref.data import Preprocessing
from backprop_ref.errors import InvalidInput
from backprop_ref.kernels import ordered

SOME = 2**13
"""Rows that are normalised at once."""


class Part:
    """Blocks of a folder, one behind the other: x and y of a training or of an evaluation.

    Attributes
    ----------
    shape : (rows, n_in)
    n_out : int
    spread : float64 array of shape (n_out,)
        Of each output, Σ (y − mean)².
    """

    def __init__(
        self,
        files: Files,
        blocks: Sequence[Block],
        seen: Sequence[Seen],
        preprocessing: Preprocessing,
        targets: Figures | None,
        readers: int = 1,
    ) -> None:
        self.files, self.blocks, self.preprocessing, self.readers = files, list(blocks), preprocessing, readers
        self.rows = sum(block.rows for block in blocks)
        self.shape, self.n_out = (self.rows, preprocessing.n_inputs), preprocessing.n_outputs
        self._digests = [each.digest for each in seen]
        scale = np.broadcast_to(np.asarray(preprocessing.target_scale, np.float64), (self.n_out,))
        self.spread = np.zeros(self.n_out) if targets is None else targets.squares / (scale * scale)
        self._codes = {text: i for i, text in enumerate(preprocessing.classes or ())}

    def __len__(self) -> int:
        return self.rows

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"data in blocks have no {name}")

    def fingerprint(self) -> str:
        """Hash of all that the blocks hold, and of where they are cut."""
        digest = hashlib.sha256()
        for block, each in zip(self.blocks, self._digests, strict=True):
            digest.update(f"{block.rows} ".encode() + each)
        told = self.preprocessing.to_dict()
        digest.update(repr(sorted((key, told.get(key)) for key in ("shift", "scale", "classes"))).encode())
        return digest.hexdigest()

    @property
    def block_rows(self) -> int:
        """The rows of a block, unless a file or part of it ends before."""
        return max(block.rows for block in self.blocks)

    def some_targets(self, dtype: npt.DTypeLike) -> Batch:
        """Those of the first rows, which show of what kind they are."""
        return self.read(Piece(0, 0, min(SOME, self.blocks[0].rows)), dtype)[1]

    def read(self, piece: Piece, dtype: npt.DTypeLike, order: Rows | None = None) -> tuple[Batch, Batch]:
        """x and y of rows of one block, in the order that is given for them."""
        block, preparation = self.blocks[piece.block], self.preprocessing
        block = block._replace(start=block.start + piece.start, stop=block.start + piece.stop)
        columns, targets = self.files.read(block)
        target: npt.NDArray[Any] = (
            self.files.numbers(targets) if preparation.classes is None else self._classes(targets)
        )
        if preparation.classes is None and not preparation.targets:
            target = target[:, 0]
        rows = np.arange(block.rows) if order is None else order
        x, y = np.empty((block.rows, self.shape[1]), dtype), np.empty((block.rows, self.n_out), dtype)
        with np.errstate(over="ignore"):
            for start in range(0, block.rows, SOME):
                some = slice(start, start + SOME)
                x[some], y[some] = preparation.x(columns[rows[some]]), preparation.y(target[rows[some]])
        return x, y

    def _classes(self, targets: Any) -> npt.NDArray[np.int64]:
        labels = self.files.labels(targets)
        of_text = np.array([self._codes.get(text, -1) for text in labels.texts], np.int64)
        found: npt.NDArray[np.int64] = of_text[labels.codes]
        if (found < 0).any():
            raise InvalidInput(
                f"{self.files.paths[0].parent}: its files have changed while they were read; train again"
            )
        return found

    def each(self, chosen: Iterable[int], dtype: npt.DTypeLike) -> Iterator[tuple[Batch, Batch]]:
        """x and y of some blocks, one after the other."""
        with self._readers() as pool:
            whole = ((Piece(i, 0, self.blocks[i].rows), None) for i in chosen)
            yield from _Ahead(self, whole, dtype, pool).each()

    def windows(
        self, stripes: Stripes, key: int | None, own: Sequence[int], dtype: npt.DTypeLike
    ) -> Iterator[tuple[Batch, Batch]]:
        """x and y of each window of an epoch, in the order in which they are trained.

        The rows of other shards than one's `own` are left as they are: nobody looks at them, nor takes memory for them.
        """
        cut = pieces(stripes.lengths, [block.rows for block in self.blocks])
        with self._readers() as pool:
            ahead = [_Ahead(self, visits(cut[shard], shard, key), dtype, pool) for shard in own]
            for start, stop in stripes.windows:
                x, y = np.empty((stop - start, self.shape[1]), dtype), np.empty((stop - start, self.n_out), dtype)
                for shard, rows in zip(own, ahead, strict=True):
                    places = stripes.places(start, stop, shard)
                    rows.take(places, x, y)
                yield x, y

    def scores(self, metric: str, measures: Matrix) -> Vector:
        """As `metrics.scores_from`, from what was added up over all rows."""
        if metric != "r2":
            return np.asarray(measures[:, 0] / (self.rows * (self.n_out if metric == "labels" else 1)))
        constant = self.spread == 0.0
        shares = np.where(constant, measures != 0.0, measures / np.where(constant, 1.0, self.spread))
        return np.asarray(ordered.sum_columns(np, 1.0 - shares)[:, 0] / self.n_out)

    @contextlib.contextmanager
    def _readers(self) -> Iterator[Executor | None]:
        """What reads ahead."""
        pool = ThreadPoolExecutor(self.readers) if self.readers else None
        try:
            yield pool
        finally:
            if pool is not None:
                pool.shutdown(cancel_futures=True)


class _Ahead:
    """The rows of a stripe in turn; the next block is read while this one is used."""

    def __init__(
        self, part: Part, order: Iterator[tuple[Piece, Rows | None]], dtype: npt.DTypeLike, pool: Executor | None
    ) -> None:
        self.part, self.order, self.dtype, self.pool = part, order, dtype, pool
        self.x: Batch = np.empty((0, part.shape[1]), dtype)
        self.y: Batch = np.empty((0, part.n_out), dtype)
        self.done = 0
        self.next = self._asked()

    def _asked(self) -> Any:
        """What gives the next block, if there is one."""
        found = next(self.order, None)
        if found is None:
            return None
        piece, rows = found
        if self.pool is None:
            return lambda: self.part.read(piece, self.dtype, rows)
        return self.pool.submit(self.part.read, piece, self.dtype, rows).result

    def each(self) -> Iterator[tuple[Batch, Batch]]:
        """All blocks, one after the other."""
        while self.next is not None:
            found = self.next()
            self.next = self._asked()
            yield found

    def take(self, places: Rows, x: Batch, y: Batch) -> None:
        """Puts the next rows at these places."""
        while len(places):
            if self.done == len(self.x):
                del self.x, self.y
                (self.x, self.y), self.done = self.next(), 0
                self.next = self._asked()
            count = min(len(places), len(self.x) - self.done)
            rows = slice(self.done, self.done + count)
            x[places[:count]], y[places[:count]] = self.x[rows], self.y[rows]
            places, self.done = places[count:], self.done + count
