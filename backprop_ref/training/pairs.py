"""Whole epochs over a backend's pairs: what every backend can do, and what faster trainers are held to."""

from __future__ import annotations

import numpy as np

from backprop_ref import metrics, mlp
from backprop_ref.api import as_parameters, on_backend
from backprop_ref.arrays import Batch, Matrix, Rows, Vector
from backprop_ref.backends.base import Array, Backend, Poll, Snapshots
from backprop_ref.network import Network
from backprop_ref.optimizers import Optimizer, Slots
from backprop_ref.parameters import Parameters
from backprop_ref.training.state import finite


class PairsTrainer:
    """Whole epochs over a backend's pairs; what compiled trainers do faster, and to the same bits."""

    def __init__(
        self, backend: Backend, network: Network, optimizer: Optimizer, batch_size: int, shards: int, metric: str
    ) -> None:
        self.backend, self.network, self.optimizer = backend, network, optimizer
        self.batch_size, self.shards, self.metric = batch_size, shards, metric
        self.measures = 1 if metric == "accuracy" else network.sizes[-1]

    def run(
        self,
        params: Parameters,
        slots: Slots,
        x: Batch,
        y: Batch,
        orders: Rows,
        learning_rates: list[float],
        poll: Poll = lambda: None,
        snapshots: Snapshots | None = None,
    ) -> tuple[Vector, Matrix]:
        """Trains `params` and `slots` in place; see `backends.base.Trainer.run`."""
        losses, measures = [], []
        for epoch, (order, learning_rate) in enumerate(zip(orders, learning_rates, strict=True)):
            batch_losses, measure = [], np.zeros(self.measures)
            for rows in self.batches(order):
                poll()
                batch_loss, outputs = self.step(params, slots, x[rows], y[rows], learning_rate)
                batch_losses.append((batch_loss, len(rows)))
                measure += self.measured(outputs, y[rows])
            total = 0.0
            for batch_loss, size in batch_losses:
                total += float(self.backend.to_numpy(batch_loss)) * size
            losses.append(total / len(order))
            measures.append(measure)
            if snapshots is not None:
                snapshots.take(epoch, params.flat)
            if not finite(losses[-1], params):
                break
        return np.array(losses), np.array(measures)

    def batches(self, order: Rows) -> list[Rows]:
        """The rows of each batch of an epoch."""
        return [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]

    def step(
        self, params: Parameters, slots: Slots, x: Batch, y: Batch, learning_rate: float
    ) -> tuple[Array, list[Array]]:
        """One update; the batch's loss, still on the device, and its outputs."""
        weights, x, y = on_backend(self.backend, params, x, y)
        loss, grads, outputs = mlp.value_and_grad(self.backend, self.network, weights, x, y, self.shards)
        self.optimizer.step(params, as_parameters(self.backend, grads, params), slots, learning_rate)
        return loss, outputs

    def measured(self, outputs: list[Array], y: Batch) -> int | Vector:
        """Correct samples, or squared residuals per output, of a batch."""
        a = np.concatenate([self.backend.to_numpy(part) for part in outputs])
        return metrics.count_correct(a, y) if self.metric == "accuracy" else metrics.squared_residuals(a, y)
