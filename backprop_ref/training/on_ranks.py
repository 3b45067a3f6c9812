"""Whole epochs over a backend's pairs, for one of several processes."""

from __future__ import annotations

from typing import Any

import numpy as np

from backprop_ref import mlp
from backprop_ref.api import masks_on, on_backend
from backprop_ref.arrays import Batch, Rows, Vector
from backprop_ref.backends.base import Poll, Shares
from backprop_ref.dropout import Seeds
from backprop_ref.optimizers import Slots
from backprop_ref.parameters import Parameters
from backprop_ref.training.pairs import PairsTrainer


class PairsOnRanks(PairsTrainer):
    """A `PairsTrainer` that computes its own shards, and makes its steps from the sums over all ranks; to its bits."""

    def __init__(self, pairs: PairsTrainer, shares: Shares) -> None:
        vars(self).update(vars(pairs))
        self.shares = shares

    def epoch(
        self,
        params: Parameters,
        slots: Slots,
        data: tuple[Batch, Batch, Vector | None],
        order: Rows,
        learning_rate: float,
        poll: Poll,
        seeds: Seeds | None = None,
    ) -> tuple[float, Vector]:
        """Each batch's update. Ctrl-C is looked at where sums are."""
        (_, y, each), n, total, count = data, params.flat.size, 0.0, 0.0
        rows, measure = np.empty((self.shares.most, n + 1), params.dtype), np.zeros(self.measures)
        numbers = np.zeros((self.shares.most, self.measures))
        for batch in self.batches(order):
            size = self.count(batch, None if each is None else each[batch])
            own = self.shares.own(mlp.cut(len(batch), self.shards))
            for row, measured, part in zip(rows, numbers, own, strict=False):
                row[n], outputs = self.of_shard(
                    params, Parameters(row[:n], params.sizes), data, batch[part], size, seeds
                )
                measured[:] = self.measured([outputs], y[batch[part]])
            penalty = self.optimizer.penalty(params)
            summed, measures = self.shares.sum(rows[: len(own)], numbers[: len(own)])
            self.optimizer.step(params, Parameters(summed[:n], params.sizes), slots, learning_rate, size)
            measure += measures
            total += penalty
            total += float(summed[n]) * size
            count += size
        return total / count, measure

    def of_shard(
        self,
        params: Parameters,
        grads: Parameters,
        data: tuple[Batch, Batch, Vector | None],
        rows: Rows,
        size: float,
        seeds: Seeds | None,
    ) -> tuple[float, Any]:
        """The loss and the outputs of some rows of a batch of such a size; leaves their gradients in `grads`."""
        backend, (x, y, each) = self.backend, data
        W, *arrays = on_backend(backend, params, x[rows], y[rows], *([] if each is None else [each[rows]]))
        masks = masks_on(backend, self.masks(seeds, rows, params), params)
        x_, y_, *weights = arrays
        loss, found, outputs = mlp.value_and_grad(backend, self.network, W, x_, y_, 1, masks, size, *weights)
        for targets, gradients in ((grads.W, found.W), (grads.b, found.b)):
            for target, array in zip(targets, gradients, strict=True):
                target[...] = backend.to_numpy(array)
        return float(backend.to_numpy(loss)), outputs[0]
