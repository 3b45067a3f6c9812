"""Epochs of one line search each, over a backend's pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from backprop_ref.arrays import Batch, Matrix, Vector
from backprop_ref.backends.base import Array, Backend
from backprop_ref.network import Network
from backprop_ref.optimizers import Slots, lbfgs
from backprop_ref.optimizers.lbfgs import LBFGS, Point
from backprop_ref.parameters import Parameters
from backprop_ref.training.pairs import PairsTrainer


class Evaluated(NamedTuple):
    """The network at some parameters."""

    params: Parameters
    loss: Array
    value: float
    grads: Vector
    outputs: list[Array]


class LineSearches(PairsTrainer):
    """A `PairsTrainer` for `LBFGS`: its step is a direction and a search along it. Its one batch is the epoch."""

    def __init__(
        self, backend: Backend, network: Network, optimizer: LBFGS, samples: int, shards: int, metric: str
    ) -> None:
        super().__init__(backend, network, optimizer, samples, shards, metric)
        self.method = optimizer
        self.reached: Evaluated | None = None

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
        """One direction and one step along it; the loss before it, and the outputs then."""
        start = self.reached
        if start is None or start.params.flat.tobytes() != params.flat.tobytes():
            start = self.evaluated(params.copy(), x, y, weights)
        d = self.method.direction(slots, start.grads)
        slope = lbfgs.dot(start.grads, d)
        if not slope < 0.0:  # at a minimum, or what is remembered is of no use
            self.forget(slots)
            d = -start.grads
            slope = lbfgs.dot(start.grads, d)
        if not -math.inf < slope < 0.0:
            return start.loss, start.outputs
        known = slots["y0"].any()
        first = learning_rate if known else learning_rate * min(1.0, 1.0 / lbfgs.size(start.grads))

        def at(t: float) -> Point:
            moved = Parameters(params.flat + d.dtype.type(t) * d, params.sizes)
            found = self.evaluated(moved, x, y, weights)
            return Point(t, found.value, lbfgs.dot(found.grads, d), found)

        point = lbfgs.line_search(at, Point(0.0, start.value, slope, start), first, self.method.evaluations)
        if point.t == 0.0:
            self.forget(slots)
            return start.loss, start.outputs
        found: Evaluated = point.found
        self.method.remember(slots, d.dtype.type(point.t) * d, found.grads - start.grads)
        params.flat[:], self.reached = found.params.flat, found
        return start.loss, start.outputs

    def evaluated(self, params: Parameters, x: Batch, y: Batch, weights: Vector | None) -> Evaluated:
        """Value and gradient of what is minimised."""
        loss, grads, outputs = self.gradients(params, x, y, weights=weights)
        value = float(self.backend.to_numpy(loss))
        value = lbfgs.objective(value, params, grads, self.method.weight_decay)
        return Evaluated(params, loss, value if math.isfinite(value) else math.inf, grads.flat, outputs)

    def forget(self, slots: Slots) -> None:
        """Starts anew from the steepest descent."""
        for slot in slots.values():
            slot[...] = 0.0
