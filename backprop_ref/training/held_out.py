"""What is evaluated after each epoch: by shards, or by blocks where it is read in blocks, each rank its own."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from backprop_ref import metrics, mlp, sample_weights
from backprop_ref.api import on_backend
from backprop_ref.arrays import Batch, Vector
from backprop_ref.blocks.part import Part
from backprop_ref.parameters import Parameters
from backprop_ref.ranks.ranks import Alone
from backprop_ref.training.pairs import PairsTrainer


class HeldOut:
    """Rows that are not trained on. Their loss and measures are sums over shards, in order: the bits of any number of
    ranks."""

    def __init__(self, pairs: PairsTrainer, data: tuple[Batch, Batch] | Part, weights: Vector | None = None) -> None:
        self.pairs, self.weights = pairs, weights
        self.part = data if isinstance(data, Part) else None
        self.arrays = None if isinstance(data, Part) else data
        self.metric = pairs.metric
        if self.arrays is not None:
            self.metric = metrics.beside(pairs.metric, pairs.network, self.arrays[1])

    def evaluate(self, params: Parameters, ranks: Alone) -> dict[str, float]:
        """Loss and metric, inside the backend's scope; all ranks call it together."""
        width = metrics.width(self.metric, self.pairs.network.sizes[-1])
        numbers = [self._of_rows(params, *rows) for rows in self._parts(params, ranks)]
        loss, *measures = ranks.added(np.array(numbers, float).reshape(-1, 1 + width)).tolist()
        if self.part is not None:
            score = self.part.scores(self.metric, np.array([measures]))
        elif self.arrays is not None:
            score = metrics.scores_from(self.metric, np.array([measures]), self.arrays[1])
        return {"loss": loss, metrics.column_name(self.metric): float(score[0])}

    def _parts(self, params: Parameters, ranks: Alone) -> Iterator[tuple[float, Batch, Batch, Vector | None]]:
        """How much all rows count, and x, y and weights of each of one's own shards or blocks."""
        if self.part is not None:
            for x, y in self.part.each(ranks.share(len(self.part.blocks)), params.dtype):
                yield float(self.part.rows), x, y, None
        elif self.arrays is not None:
            (x, y), weights = self.arrays, self.weights
            size = float(len(x)) if weights is None else sample_weights.total(weights)
            own = ranks.share(self.pairs.shards)
            for rows in mlp.cut(len(x), self.pairs.shards)[own.start : own.stop]:
                yield size, x[rows], y[rows], None if weights is None else weights[rows]

    def _of_rows(self, params: Parameters, size: float, x: Batch, y: Batch, each: Vector | None) -> list[float]:
        """What some rows add to the loss of so many, and to the measures."""
        backend, network = self.pairs.backend, self.pairs.network
        W, x_, y_, *counted = on_backend(backend, params, x, y, *([] if each is None else [each]))
        z, a = mlp.forward(backend, network, W, x_)
        loss = backend.loss_forward(network.loss, network.activations[-1], z[-1], a[-1], y_, size, *counted)
        measured = metrics.MEASURES[self.metric](backend.to_numpy(a[-1]), y, metrics.threshold(network))
        return [float(backend.to_numpy(loss)), *np.atleast_1d(measured).astype(float).tolist()]
