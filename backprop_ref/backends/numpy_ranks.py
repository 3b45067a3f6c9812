"""The trainer in NumPy, for one of several processes: its own shards, and sums over all of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from backprop_ref.arrays import Rows, Vector
from backprop_ref.backends.array import divisor
from backprop_ref.backends.base import Shares
from backprop_ref.backends.numpy_trainer import MEASURE, Data, Trainer, cut
from backprop_ref.dropout import Seeds
from backprop_ref.parameters import Parameters


class Total:
    """What all ranks have measured of an epoch."""

    def __init__(self, before: Vector) -> None:
        self.total = before

    def sums(self) -> Vector:
        return self.total


class RanksTrainer(Trainer):
    """A `Trainer` whose gradients are sums over all ranks; it keeps one for each of its own shards as well."""

    def __init__(self, trainer: Trainer, shares: Shares) -> None:
        vars(self).update(vars(trainer))
        self.shares, n = shares, self.network.n_parameters
        self.rows, self.numbers = np.empty((shares.most, n), self.dtype), np.empty((shares.most, 1 + self.measures))

    def measure(self, data: Data, order: Rows, before: Vector) -> Any:
        return Total(before)

    def gradients(
        self, params: Parameters, data: Data, rows: Rows, size: float, factor: float, measured: Any, seeds: Seeds | None
    ) -> float:
        n, own = divisor(self.network.loss, data.y[:1], size), self.shares.own(cut(rows, self.shards))
        for row, numbers, part in zip(self.rows, self.numbers, own, strict=False):
            none, grads = np.zeros(self.measures), Parameters(row, self.network.sizes)
            here = MEASURE[self.metric](data, part, none)
            numbers[0] = self.of_shard(params, data, part, factor / n, grads, here, seeds)
            numbers[1:] = here.sums()
        if self.shares.rank == 0:
            self.numbers[0, 1:] += measured.total
        _, sums = self.shares.sum(self.rows[: len(own)], self.numbers[: len(own)], self.grads[0].flat)
        measured.total = sums[1:]
        return float(sums[0]) / n
