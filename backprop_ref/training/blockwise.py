"""A training on data that are read in blocks: a window of whole batches at a time goes to the trainer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from backprop_ref import dropout
from backprop_ref.arrays import Batch, Vector
from backprop_ref.backends.base import Poll, Progress
from backprop_ref.blocks.order import Stripes
from backprop_ref.blocks.part import Part
from backprop_ref.errors import InvalidInput, TrainingDiverged
from backprop_ref.network import Network
from backprop_ref.optimizers.lbfgs import LBFGS, AnyOptimizer
from backprop_ref.training.ctrl_c import Interrupted
from backprop_ref.training.fit import Paused, Run
from backprop_ref.training.state import Begun, Chunk


def check_blockwise(network: Network, part: Any, optimizer: AnyOptimizer, **others: object) -> None:
    """Refuses what a training on blocks does without."""
    if not isinstance(part, Part):
        raise InvalidInput("validation has to be read in blocks, as x is; give a part of the folder")
    if (part.shape[1], part.n_out) != (network.sizes[0], network.sizes[-1]):
        raise InvalidInput(
            f"the data have {part.shape[1]} features and {part.n_out} outputs; the network {network.sizes[0]} and "
            f"{network.sizes[-1]}"
        )
    if isinstance(optimizer, LBFGS):
        raise InvalidInput("LBFGS takes all rows in each step, and these are read in blocks; give br.Adam()")
    for name, value in others.items():
        if value is not None:
            raise InvalidInput(f"{name} is not for data that are read in blocks; leave it out")


class BlockwiseRun(Run):
    """A `Run` over a `Part`."""

    _due = math.inf
    _rest: Iterator[tuple[int, Batch, Batch]] | None = None
    """The windows that are left of an epoch under way."""
    _window: tuple[int, Batch, Batch] | None = None
    """The one that a stop leaves to be trained first."""

    @property
    def stripes(self) -> Stripes:
        """How the rows become batches."""
        return Stripes(len(self.part), self.plan.batch_size, self.pairs.shards)

    @property
    def _step(self) -> int:
        return self.stripes.windows[0][1]

    def _pausing(self, poll: Poll, due: float) -> Poll:
        """As it is: a checkpoint that is due is written before the next window."""
        self._due = due
        return poll

    @property
    def part(self) -> Part:
        part: Any = self.data[0]
        checked: Part = part
        return checked

    def _trained(self, rates: Sequence[float], poll: Poll = lambda: None) -> Chunk:
        """One epoch, or what is left of it. Each window has masks of its own, as if it were an epoch; a stop within one
        leaves what was reached before it."""
        state, begun = self.state, self.state.begun
        self.state = state._replace(begun=None)
        params, slots = self._beside(rates[0], begun)
        part = Progress.none(self.pairs.measures) if begun is None else begun.part
        if begun is None or self._rest is None:
            self._rest, self._window = self._windows(part.rows, params.dtype), None
        windows, layers, first = len(self.stripes.windows), len(self.pairs.rates), part.rows
        while (window := self._window or next(self._rest, None)) is not None:
            self._window, (i, x, y) = window, window
            reached = Begun(params.copy(), {name: slot.copy() for name, slot in slots.items()}, replace(part))
            more: dict[str, Any] = {}
            if self.pairs.rates and state.key is not None:
                more["seeds"] = dropout.seeds(state.key, state.epoch * windows + i, 1, layers)
            try:
                poll()
                if self.ranks.agreed(part.rows > first and self.folder is not None and perf_counter() > self._due):
                    raise Paused
                losses, measures = self.trainer.run(params, slots, x, y, np.arange(len(x))[None], rates, poll, **more)
            except (Interrupted, Paused):
                if part.rows:
                    self.state = self.state._replace(begun=reached)
                raise
            self._window = None
            part.rows += len(x)
            part.loss += float(losses[0]) * len(x)
            part.measures = part.measures + measures[0]
            if not np.isfinite(losses[0]):
                break
        self._rest = None
        orders = np.empty((1, 0), np.int64)
        loss = np.array([part.loss / len(self.part)])
        return Chunk(params, slots, orders, rates, loss, part.measures[None], None, None)

    def _windows(self, done: int, dtype: npt.DTypeLike) -> Iterator[tuple[int, Batch, Batch]]:
        """The windows of an epoch, each with its number, after so many rows of them."""
        stripes = self.stripes
        key: int | None = int(self._words(1)[0]) if self.plan.shuffle else None
        for i, (x, y) in enumerate(self.part.windows(stripes, key, self._own, dtype)):
            if stripes.windows[i][0] >= done:
                yield i, x, y

    @property
    def _words(self) -> Any:
        stream: Any = self.stream
        return stream.words

    @property
    def _own(self) -> range:
        """The shards of this process."""
        return self.ranks.share(self.pairs.shards)

    def _scores(self, measures: Batch) -> Vector:
        return self.part.scores(self.pairs.metric, measures)

    def _diverged(self, rates: Sequence[float]) -> TrainingDiverged:
        self.stop("diverged")
        epoch = self.state.epoch + 1
        message = (
            f"training diverged in epoch {epoch}: the loss or a weight is no longer finite. Likely causes: a learning "
            f"rate that is too large ({rates[0]:g}; try {rates[0] / 10:g}), inputs that are not normalised"
        )
        return TrainingDiverged(message, None, epoch, None)
