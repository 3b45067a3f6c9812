"""Whole epochs over a backend's pairs, for one of several processes."""

from __future__ import annotations

from typing import Any

import numpy as np

from backprop_ref import mlp
from backprop_ref.api import masks_on, on_backend
from backprop_ref.arrays import Batch, Rows, Vector
from backprop_ref.backends.base import Poll, Progress, Shares
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
        *parts: Progress,
    ) -> tuple[float, Vector]:
        """Each batch's update. Ctrl-C is looked at where sums are."""
        (_, y, each), n, part = data, params.flat.size, parts[0]
        rows, numbers = np.empty((self.shares.most, n + 1), params.dtype), np.zeros((self.shares.most, self.measures))
        for batch in self.batches(order[part.rows :]):
            size = self.count(batch, None if each is None else each[batch])
            own = self.shares.own(mlp.cut(len(batch), self.shards))
            for row, measured, shard in zip(rows, numbers, own, strict=False):
                row[n], outputs = self.of_shard(
                    params, Parameters(row[:n], params.sizes), data, batch[shard], size, seeds
                )
                measured[:] = self.measured([outputs], y[batch[shard]])
            penalty = self.optimizer.penalty(params)
            summed, measures = self.shares.sum(rows[: len(own)], numbers[: len(own)])
            self.optimizer.step(params, Parameters(summed[:n], params.sizes), slots, learning_rate, size)
            part.measures += measures
            part.loss += penalty
            part.loss += float(summed[n]) * size
            part.rows += len(batch)
        return part.loss / self.counted(order, each), part.measures

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
