"""A training on data that are read in blocks: a window of whole batches at a time goes to the trainer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from backprop_ref import dropout
from backprop_ref.arrays import Batch, Vector
from backprop_ref.backends.base import Poll
from backprop_ref.blocks.order import Stripes
from backprop_ref.blocks.part import Part
from backprop_ref.errors import InvalidInput, TrainingDiverged
from backprop_ref.network import Network
from backprop_ref.optimizers.lbfgs import LBFGS, AnyOptimizer
from backprop_ref.training.fit import Run
from backprop_ref.training.state import Chunk


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

    @property
    def stripes(self) -> Stripes:
        """How the rows become batches."""
        return Stripes(len(self.part), self.plan.batch_size, self.pairs.shards)

    def _pausing(self, poll: Poll, due: float) -> Poll:
        """As it is: what is written is written between epochs."""
        return poll

    @property
    def part(self) -> Part:
        part: Any = self.data[0]
        checked: Part = part
        return checked

    def _trained(self, rates: Sequence[float], poll: Poll = lambda: None) -> Chunk:
        """One epoch. Each window has masks of its own, as if it were an epoch."""
        params, slots = self._beside(rates[0])
        state, stripes = self.state, self.stripes
        key: int | None = int(self._words(1)[0]) if self.plan.shuffle else None
        windows, layers = len(stripes.windows), len(self.pairs.rates)
        loss, measure = 0.0, np.zeros(self.pairs.measures)
        for i, (x, y) in enumerate(self.part.windows(stripes, key, self._own, params.dtype)):
            poll()
            more: dict[str, Any] = {}
            if self.pairs.rates and state.key is not None:
                more["seeds"] = dropout.seeds(state.key, state.epoch * windows + i, 1, layers)
            losses, measures = self.trainer.run(params, slots, x, y, np.arange(len(x))[None], rates, poll, **more)
            loss += float(losses[0]) * len(x)
            measure = measure + measures[0]
            if not np.isfinite(losses[0]):
                break
        orders = np.empty((1, 0), np.int64)
        return Chunk(params, slots, orders, rates, np.array([loss / len(self.part)]), measure[None], None, None)

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
