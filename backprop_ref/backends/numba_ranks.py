"""The compiled trainer, for one of several processes: its own shards, then the update from the sum of all."""

from collections.abc import Sequence

import numpy as np

from backprop_ref import sample_weights
from backprop_ref.arrays import Batch, Matrix, Rows, Vector
from backprop_ref.backends.base import Poll, Progress, Shares, Snapshots, finite
from backprop_ref.backends.numba_threads import FORKED, POOL
from backprop_ref.backends.numba_trainer import Trainer
from backprop_ref.dropout import Seeds
from backprop_ref.kernels import compiling
from backprop_ref.kernels.fused import shards
from backprop_ref.optimizers import Slots
from backprop_ref.parameters import Parameters


class RanksTrainer(Trainer):
    """A `Trainer` whose gradients are sums over all ranks; it keeps one for each of its own shards as well."""

    def __init__(self, trainer: Trainer, shares: Shares) -> None:
        plan, kind = trainer._general
        super().__init__(plan, trainer.rules, kind, None, False, 0)
        self.shares, before = shares, compiling.seconds()
        self.shard, self.update = shards.programs(self.dtype.name)
        self.compile_seconds += compiling.seconds() - before

    def run(
        self,
        params: Parameters,
        slots: Slots,
        x: Batch,
        y: Batch,
        orders: Rows,
        learning_rates: Sequence[float],
        poll: Poll = lambda: None,
        snapshots: Snapshots | None = None,
        seeds: Seeds | None = None,
        weights: Vector | None = None,
        part: Progress | None = None,
    ) -> tuple[Vector, Matrix]:
        """Trains `params` and `slots` in place; see `backends.base.Trainer.run`. Ctrl-C is looked at where sums are."""
        flat = np.ascontiguousarray(params.flat)
        data = self._data(x, y, orders, learning_rates, seeds, weights)
        part = part or Progress.none(self._measures)
        self._check(flat, data, part)
        history, plan, most, n = self._history(flat, len(orders), None, part), self.plan, self.shares.most, flat.size
        of_shard = history.sums[len(history.sums) // 2 :][: self._measures]
        rows, numbers = np.empty((most, n + 1), self.dtype), np.empty((most, self._measures))
        summed, done = self._work[self._sections.grads :][: n + 1], 0  # the loss where a shard's gradients would be
        shared = self.shared and not FORKED.is_set() and POOL.acquire(blocking=False)
        try:
            with self._state(flat, slots) as state:
                job = self._job(shared, data, state, history)
                for epoch, order in enumerate(orders):
                    counted = 0.0
                    for start in range(0, len(order), plan.batch_size):
                        batch = order[start : start + plan.batch_size]
                        weight = float(len(batch)) if weights is None else sample_weights.total(weights[batch])
                        counted += weight
                        if epoch == 0 and start < part.rows:
                            continue
                        own = self.shares.own(cut(start, len(batch), plan.shards))
                        for row, measured, (begin, m) in zip(rows, numbers, own, strict=False):
                            row[n] = self.shard(job, epoch, begin, m, weight, row)
                            measured[:] = of_shard
                        _, measures = self.shares.sum(rows[: len(own)], numbers[: len(own)], summed)
                        loss = float(summed[n])
                        self.update(job, epoch, weight)
                        history.losses[epoch] += loss * weight
                        history.measures[epoch] += measures
                        if epoch == 0:
                            part.rows, part.loss = start + len(batch), history.losses[0]
                            part.measures = history.measures[0]
                    history.losses[epoch] /= counted
                    done = epoch + 1
                    if snapshots is not None:
                        snapshots.take(epoch, flat)
                    if not finite(history.losses[epoch], Parameters(flat, params.sizes)):
                        break
        finally:
            if shared:
                POOL.release()
            if flat is not params.flat:
                params.flat[:] = flat
        return history.losses[:done], history.measures[:done]


def cut(start: int, size: int, n: int) -> list[tuple[int, int]]:
    """Where each shard of a batch begins, and how many samples it has; as `mlp.cut`."""
    small, larger = divmod(size, n)
    return [(start + shard * small + min(shard, larger), small + (shard < larger)) for shard in range(min(n, size))]
