"""Whole epochs over a backend's pairs: what every backend can do, and what faster trainers are held to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backprop_ref import dropout, metrics, mlp, sample_weights
from backprop_ref.api import as_parameters, masks_on, on_backend
from backprop_ref.arrays import Batch, Matrix, Rows, Vector
from backprop_ref.backends.base import Array, Backend, EpochByEpoch, Poll, Progress
from backprop_ref.dropout import Rates, Seeds
from backprop_ref.network import Network
from backprop_ref.optimizers import Slots
from backprop_ref.optimizers.lbfgs import AnyOptimizer
from backprop_ref.parameters import Parameters


class PairsTrainer(EpochByEpoch):
    """Whole epochs over a backend's pairs; what compiled trainers do faster, and to the same bits."""

    by_parts = True

    def __init__(
        self,
        backend: Backend,
        network: Network,
        optimizer: AnyOptimizer,
        batch_size: int,
        shards: int,
        metric: str,
        rates: Rates = (),
    ) -> None:
        self.backend, self.network, self.rates = backend, network, rates
        self.optimizer: Any = optimizer
        self.batch_size, self.shards, self.metric = batch_size, shards, metric
        self.measures = metrics.width(metric, network.sizes[-1])

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
        """Each batch's update, and only then a look at what they left on the device."""
        (x, y, each), losses, part = data, [], parts[0]
        try:
            for rows in self.batches(order[part.rows :]):
                poll()
                masks, weights = self.masks(seeds, rows, params), None if each is None else each[rows]
                penalty = self.optimizer.penalty(params)
                loss, outputs = self.step(params, slots, x[rows], y[rows], learning_rate, masks, weights)
                losses.append((loss, self.count(rows, weights), penalty, len(rows)))
                part.measures += self.measured(outputs, y[rows])
        finally:
            for loss, size, penalty, rows_done in losses:
                part.loss += penalty
                part.loss += float(self.backend.to_numpy(loss)) * size
                part.rows += rows_done
        return part.loss / self.counted(order, each), part.measures

    def counted(self, order: Rows, each: Vector | None) -> float:
        """What an epoch counts in its loss: its batches, added in order."""
        if each is None:
            return float(len(order))
        return sum(self.count(rows, each[rows]) for rows in self.batches(order))

    def count(self, rows: Rows | Batch, weights: Vector | None) -> float:
        """What some rows count in the loss."""
        return len(rows) if weights is None else sample_weights.total(weights)

    def batches(self, order: Rows) -> list[Rows]:
        """The rows of each batch of an epoch."""
        return [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]

    def masks(self, seeds: Seeds | None, rows: Rows, params: Parameters) -> list[Matrix | None]:
        """The masks of some rows in an epoch with these seeds; none without dropout."""
        if not self.rates or seeds is None:
            return []
        return dropout.masks(self.rates, seeds, rows, self.network.sizes[1:-1], params.dtype)

    def step(
        self,
        params: Parameters,
        slots: Slots,
        x: Batch,
        y: Batch,
        learning_rate: float,
        masks: Sequence[Matrix | None] = (),
        weights: Vector | None = None,
    ) -> tuple[Array, list[Array]]:
        """One update; the batch's loss, still on the device, and its outputs."""
        loss, grads, outputs = self.gradients(params, x, y, masks, weights)
        self.optimizer.step(params, grads, slots, learning_rate, self.count(y, weights))
        return loss, outputs

    def gradients(
        self,
        params: Parameters,
        x: Batch,
        y: Batch,
        masks: Sequence[Matrix | None] = (),
        weights: Vector | None = None,
    ) -> tuple[Array, Parameters, list[Array]]:
        """A batch's loss and outputs, still on the device, and its gradients."""
        backend, given = self.backend, [x, y] if weights is None else [x, y, weights]
        W, x, y, *counted = on_backend(backend, params, *given)
        batch = [None] if weights is None else [sample_weights.total(weights), *counted]
        masks = masks_on(backend, masks, params)
        loss, grads, outputs = mlp.value_and_grad(backend, self.network, W, x, y, self.shards, masks, *batch)
        return loss, as_parameters(backend, grads, params), outputs

    def measured(self, outputs: list[Array], y: Batch) -> int | Vector:
        """Correct samples or labels, or squared residuals per output, of a batch: its shards' sums, added in order."""
        measure, least, start = metrics.MEASURES[self.metric], metrics.threshold(self.network), 0
        total: int | Vector = 0
        for part in outputs:
            a = self.backend.to_numpy(part)
            total = total + measure(a, y[start : start + len(a)], least)
            start += len(a)
        return total
