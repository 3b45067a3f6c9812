"""The order of an epoch over data that are read in blocks.

Each shard of a batch has a run of neighbouring rows of its own, its *stripe*, so that whoever computes the shard reads
nothing else. A stripe is cut where blocks end. In each epoch its blocks come in a random order, and the rows of each
in another; the next batch takes the next rows of every stripe. All of it follows from the seed, the number of shards,
the size of a batch and the rows of each block, and from nothing else: neither processes nor threads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from backprop_ref.arrays import Rows
from backprop_ref.random import Stream

WINDOW = 2**14
"""About so many rows are handed to a trainer at once: whole batches."""


class Piece(NamedTuple):
    """Some rows of a block that are together in a stripe."""

    block: int
    start: int
    stop: int


class Stripes(NamedTuple):
    """How `rows` rows become batches of `batch_size`, each of so many `shards`."""

    rows: int
    batch_size: int
    shards: int

    def shares(self, size: int) -> list[int]:
        """How many rows of a batch of that size are of each shard; as `mlp.cut`, but with the empty ones."""
        small, larger = divmod(size, self.shards)
        return [small + (shard < larger) for shard in range(self.shards)]

    @property
    def lengths(self) -> list[int]:
        """How many rows are of each shard."""
        full, rest = divmod(self.rows, self.batch_size)
        shares = zip(self.shares(self.batch_size), self.shares(rest), strict=True)
        return [full * share + last for share, last in shares]

    @property
    def windows(self) -> list[tuple[int, int]]:
        """Where each window of an epoch begins and ends: whole batches, about `WINDOW` rows."""
        step = self.batch_size * max(1, WINDOW // self.batch_size)
        return [(start, min(start + step, self.rows)) for start in range(0, self.rows, step)]

    def places(self, start: int, stop: int, shard: int) -> Rows:
        """The places in a window, counted from its first, where the rows of a shard come in turn."""
        found = []
        for begin in range(start, stop, self.batch_size):
            shares = self.shares(min(self.batch_size, stop - begin))
            first = begin - start + sum(shares[:shard])
            found.append(np.arange(first, first + shares[shard]))
        return np.concatenate(found)


def pieces(lengths: Sequence[int], blocks: Sequence[int]) -> list[list[Piece]]:
    """The pieces of each stripe, by the lengths of the stripes and the rows of each block."""
    found, block, start = list[list[Piece]](), 0, 0
    for length in lengths:
        stripe, left = list[Piece](), length
        while left:
            taken = min(left, blocks[block] - start)
            if taken:
                stripe.append(Piece(block, start, start + taken))
            left, start = left - taken, start + taken
            if start == blocks[block]:
                block, start = block + 1, 0
        found.append(stripe)
    return found


def visits(stripe: Sequence[Piece], shard: int, key: int | None) -> Iterator[tuple[Piece, Rows | None]]:
    """The pieces of a stripe in the order of an epoch, each with the order of its rows; as they lie, without `key`.

    Each epoch has a key, of 64 random bits; the orders are those of a `Stream` of ``key·2³² + shard``.
    """
    if key is None:
        yield from ((piece, None) for piece in stripe)
        return
    stream = Stream((int(key) << 32) + shard, "shuffle")
    for i in stream.permutation(len(stripe)).tolist():
        piece = stripe[i]
        yield piece, stream.permutation(piece.stop - piece.start)
