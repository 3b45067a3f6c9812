"""The loop of training: chunks of epochs, and what is done between them."""

from __future__ import annotations

import itertools
import math
from array import array
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from backprop_ref import dropout, metrics
from backprop_ref.api import evaluate_on
from backprop_ref.arrays import Batch, Matrix, Rows, Vector
from backprop_ref.backends.base import Poll, Progress, Snapshots, Trainer
from backprop_ref.errors import InvalidInput, TrainingDiverged
from backprop_ref.optimizers import Slots
from backprop_ref.optimizers.lbfgs import AnyOptimizer
from backprop_ref.optimizers.schedules import Constant
from backprop_ref.parameters import Parameters
from backprop_ref.progress import Bar
from backprop_ref.random import Orders
from backprop_ref.ranks.ranks import Alone
from backprop_ref.training.arguments import largest
from backprop_ref.training.chain import next_kept
from backprop_ref.training.checkpoint import Folder
from backprop_ref.training.ctrl_c import CtrlC, Interrupted
from backprop_ref.training.divergence import first_bad_step
from backprop_ref.training.held_out import HeldOut
from backprop_ref.training.pairs import PairsTrainer
from backprop_ref.training.state import Begun, Chunk, Epoch, Plan, Result, State, column_of, out_of_patience

if TYPE_CHECKING:
    from backprop_ref.traces.recorder import Recorder

CHUNK_SECONDS, GROWTH = 0.1, 16
"""Of a chunk, and how many times as long as the last, at most, it is."""
CHECKPOINT_SECONDS, SAVING_SECONDS = 0.5, 1.0 / 3.0
"""Between the end of a checkpoint and the next one, in the midst of an epoch if need be; longer in proportion where
writing one takes longer than the second. SIGKILL takes no more than the time between two and that of writing one."""


class Paused(Exception):
    """A checkpoint is due in the midst of an epoch."""


class Run:
    """A training under way.

    Its `state` is only ever replaced, by one assignment, when an epoch is complete: trained, validated, judged and
    traced. Whatever fails before that, and Ctrl-C at any moment, leaves all of the run at the epoch before; a run that
    stops between two batches has what is done of the next one beside it.
    """

    trainer: Trainer

    def __init__(
        self,
        plan: Plan,
        pairs: PairsTrainer,
        data: tuple[Batch, Batch],
        held_out: HeldOut | None,
        state: State,
        stream: Orders,
        folder: Folder | None,
        weights: Vector | None = None,
        ranks: Alone | None = None,
    ) -> None:
        self.plan, self.pairs, self.trainer, self.folder = plan, pairs, pairs, folder
        self.data, self.held_out, self.state, self.stream = data, held_out, state, stream
        self.weights, self.ranks = weights, ranks or Alone()
        stream.state = state.random
        copies = state.params.copy(), {name: slot.copy() for name, slot in state.slots.items()}
        self._memory = (state.params, state.slots), copies
        self._order: Rows | None = None
        """Of the epoch under way, if this process began it."""

    def begin(self, resume: bool) -> None:
        """Opens the trace and writes the first checkpoint: from then on the run can be resumed."""
        trace = self.plan.trace
        self._check_begun()
        try:
            if trace:
                self._start_trace(trace, resume or (self.folder is not None and self.folder.again))
            self.state = self._linked(self.state)
            if not resume:
                self.save()
            elif self.folder:
                self.folder.keep(self.state, self.plan)  # not done where it ended
        except BaseException:
            if trace:
                trace.discard()
            raise

    @property
    def _step(self) -> int:
        """So many rows, or a multiple, are done of an epoch under way."""
        return self.plan.batch_size

    def _check_begun(self) -> None:
        """Refuses to go on in an epoch that is not this run's."""
        if self.state.begun is None:
            return
        part, rows = self.state.begun.part, len(self.data[0])
        if part.rows % self._step or part.rows >= rows or len(part.measures) != self.pairs.measures:
            where = "" if self.folder is None else f"{self.folder.path}: "
            raise InvalidInput(f"{where}the epoch under way is of other data, or damaged; start a new run instead")

    def fit(self, callback: Callable[[Epoch], object] | None, progress: bool | None, ctrl_c: CtrlC) -> Result:
        """Trains until something says stop, and saves what was reached, whatever ends it."""
        plan, diverged = self.plan, None
        bar = Bar("epoch", plan.epochs, progress, self.state.epoch)
        saved, each, count = perf_counter(), CHECKPOINT_SECONDS, 1
        alone = self.ranks.size == 1
        poll, poll_late = (ctrl_c.poll, ctrl_c.poll_late) if alone else (_where_they_sum, _where_they_sum)
        if self.state.stopped is None and out_of_patience(plan, self.state):
            self.stop("patience")
        with self.pairs.backend.scope(), bar:
            try:
                while self.state.stopped is None and self.state.epoch < plan.epochs:
                    started, count = perf_counter(), self.ranks.agreed(self._at_most(count))
                    try:
                        poll()
                        within = self._pausing(*((poll, saved + each) if count == 1 else (poll_late, math.inf)))
                        diverged = self._advance(count, within)
                        if self.folder:
                            self.folder.keep(self.state, self.plan)
                        if diverged is None and callback is not None:
                            self._call(callback)
                    except Paused:
                        pass
                    except Interrupted:
                        self.stop("interrupted")
                    except KeyboardInterrupt:
                        if self.ranks.size > 1:
                            raise
                        self.stop("interrupted")
                    self._show(bar)
                    now = perf_counter()
                    if self.state.begun is None:
                        count = max(1, min(GROWTH * count, int(count * CHUNK_SECONDS / max(now - started, 1e-9))))
                    if now - saved > each:
                        self.save()
                        saved = perf_counter()
                        each = CHECKPOINT_SECONDS * max(1.0, (saved - now) / SAVING_SECONDS)
                self.stop(self.state.stopped or "epochs")
                self._end_trace()
            except BaseException:
                self.save()
                raise
            self.ranks.first(self.save)  # the others wait: a launcher kills what is left when one has ended
        if diverged is not None:
            diverged.result = self.state.result(plan)
            raise diverged
        return self.state.result(plan)

    def _show(self, bar: Bar) -> None:
        if bar.enabled:
            bar.update(
                self.state.epoch,
                **{name: value for name, value in self.state.last().items() if name != "learning_rate"},
            )

    def stop(self, reason: str) -> None:
        """Ends training after the epochs that are done."""
        self.state = self.state._replace(stopped=reason)

    def save(self) -> None:
        """Writes what was reached to the disk: first the trace, then the checkpoint, which may only speak of epochs
        that the trace holds."""
        if self.plan.trace:
            self.state = self.state._replace(traced=self.plan.trace.flush(self.state.traced))
        if self.folder:
            self.folder.write(self.state, self.plan)

    def say_what_is_kept(self, error: InvalidInput) -> None:
        """Adds to an error what was reached, and what the folder, which may take no more, has of it."""
        error.result = error.result or self.state.result(self.plan)
        if self.folder is not None:
            error.args = (f"{error}; {self.folder.what_is_kept(self.state.epoch)}",)

    def close_trace(self) -> None:
        """Closes the trace where the run ends."""
        if self.plan.trace:
            self.plan.trace.close(self.state.traced)

    def _pausing(self, poll: Poll, due: float) -> Poll:
        """A poll that also ends, when a checkpoint is due, an epoch that went on since by a batch or more; several
        ranks see where they sum whether rank 0 says so."""
        polls = itertools.count()
        is_written = self.folder is not None and getattr(self.trainer, "by_parts", False)

        def look() -> None:
            poll()
            if self.ranks.size == 1 and is_due():
                pause()

        def is_due() -> bool:
            return is_written and next(polls) > 0 and perf_counter() > due

        def pause() -> None:
            raise Paused

        self.ranks.is_due, self.ranks.pause = is_due, pause
        return look

    def _at_most(self, count: int) -> int:
        """How many of the next `count` epochs are trained before anything looks at them."""
        if self.plan.each_epoch:
            return 1
        most, done = self.plan.trace.most_epochs if self.plan.trace else count, self.state.epoch
        if self.folder is not None and self.folder.chain is not None:
            most = min(most, next_kept(done) - done)
        return min(count, most, self.plan.epochs - done)

    def _advance(self, count: int, poll: Poll) -> TrainingDiverged | None:
        """Trains `count` epochs and makes them part of the run.

        Where one does not stay finite, training has stopped, those before it are part of the run, and what happened is
        given back.
        """
        plan, pairs, epoch = self.plan, self.pairs, self.state.epoch
        rates = _rates(pairs.optimizer, plan, epoch, count)
        chunk = self._trained(rates, poll)
        if not chunk.is_finite:
            return self._diverged(rates)
        values: dict[str, float] = {}
        if self.held_out is not None:
            values = self.held_out.evaluate(chunk.params, self.ranks)
            if not np.isfinite(values["loss"]):
                self.stop("diverged")
                message = f"training diverged: the validation loss is {values['loss']} after epoch {epoch + 1}"
                return TrainingDiverged(message, None, epoch + 1, None)
        self._record(chunk, values)
        return None

    def _trained(self, rates: Sequence[float], poll: Poll = lambda: None) -> Chunk:
        """An epoch for each rate, in memory that the state does not use."""
        state, (x, y), begun = self.state, self.data, self.state.begun
        self.state = state._replace(begun=None)  # its memory is trained in
        params, slots = self._beside(rates[0], begun)
        snapshots = self._snapshots(len(rates))
        asked = () if snapshots is None else (snapshots,)
        if begun is None or self._order is None:
            self._order = _orders(self.plan, self.stream, len(rates), len(x))
        orders, self._order = self._order, None
        seeds, more = None, dict[str, Any]()
        if self.weights is not None:
            more["weights"] = self.weights
        if self.pairs.rates and state.key is not None:
            more["seeds"] = seeds = dropout.seeds(state.key, state.epoch, len(rates), len(self.pairs.rates))
        trainer, part = self.trainer, Progress.none(self.pairs.measures) if begun is None else begun.part
        if begun is not None and not getattr(trainer, "by_parts", False):
            trainer = self.pairs
        if getattr(trainer, "by_parts", False):
            more["part"] = part
        try:
            losses, measures = trainer.run(params, slots, x, y, orders, rates, poll, *asked, **more)
        except (Interrupted, Paused):
            if len(rates) == 1 and part.rows:
                self.state, self._order = self.state._replace(begun=Begun(params, slots, part)), orders
            raise
        finally:
            self.ranks.is_due = Alone.is_due  # sums that follow, as of validation, are of whole epochs
        return Chunk(params, slots, orders, rates[: len(losses)], losses, measures, snapshots, seeds)

    def _beside(self, rate: float, begun: Begun | None = None) -> tuple[Parameters, Slots]:
        """Parameters and slots as they are, or as an epoch under way has them, in memory that the state does not use,
        for steps of such a rate."""
        state = self.state
        params, slots = self._memory[1 if state.params is self._memory[0][0] else 0]
        if begun is None or begun.params is not params:
            goes_on = state if begun is None else begun
            params.flat[:] = goes_on.params.flat
            for name, slot in goes_on.slots.items():
                slots[name][...] = slot
        if begun is None and state.epoch:
            self.pairs.optimizer.rate_changes(slots, state.columns["learning_rate"][state.epoch - 1], rate)
        return params, slots

    def _snapshots(self, count: int) -> Snapshots | None:
        """Where the next `count` epochs leave the parameters that the trace asks for."""
        if not self.plan.trace:
            return None
        params, rows = self.state.params, self.plan.trace.rows(self.state.epoch, count)
        return Snapshots(np.empty((rows.max() + 1, params.flat.size), params.dtype), rows)

    def _record(self, chunk: Chunk, values: dict[str, float]) -> None:
        """Makes a chunk part of the run: of history, best, trace and state, or, if any of it fails, of none."""
        scores = self._scores(chunk.measures)
        columns: dict[str, Any] = {"loss": chunk.losses, metrics.column_name(self.pairs.metric): scores}
        columns |= {"learning_rate": chunk.rates}
        columns |= {f"val_{name}": [value] for name, value in values.items()}
        done = self.state.epoch
        for name, column in columns.items():
            self.state.columns[name][done:] = column_of(column)
        state = self.state._replace(
            params=chunk.params, slots=chunk.slots, random=self.stream.state, epoch=done + len(chunk.losses)
        )
        state = self._linked(_judged(self.plan, state))
        if chunk.snapshots is not None:
            epochs = done + 1 + np.flatnonzero(chunk.snapshots.rows >= 0)
            state = self._traced(state, epochs.tolist(), chunk.snapshots.flats)
        self.state = state

    def _scores(self, measures: Matrix) -> Vector:
        """The metric after each of some epochs, from what was added up over all rows."""
        return metrics.scores_from(self.pairs.metric, measures, self.data[1])

    def _linked(self, state: State) -> State:
        """The state with its link in the chain of hashes, if there is one and its epoch is kept."""
        chain = None if self.folder is None else self.folder.chain
        return state if chain is None else chain.with_link(state)

    def _call(self, callback: Callable[[Epoch], object]) -> None:
        """Shows the callback the last epoch."""
        state = self.state
        if self.ranks.first(lambda: bool(callback(Epoch(state.epoch, state.last(), state.params)))):
            self.stop("callback")

    def _start_trace(self, trace: Recorder, resume: bool) -> None:
        """Opens the trace; that of a new run begins with the initial parameters and what they score."""
        plan, pairs, state = self.plan, self.pairs, self.state
        (x, y), backend, network = self.data, pairs.backend, pairs.network
        metric = metrics.column_name(pairs.metric)
        about: dict[str, Any] = {"numerics": backend.numerics, "metric": metric, "columns": list(state.columns)}
        about |= {"batches": -(-len(x) // plan.batch_size), "epochs": plan.epochs}
        traced = trace.start(network, x, y, done=state.epoch, resume=resume, weights=self.weights, **about)
        if state.epoch == 0:
            with backend.scope():
                values = evaluate_on(backend, network, state.params, x, y, pairs.metric, self.weights)
                values, scored = values | {"learning_rate": 0.0}, {}
                if self.held_out is not None:
                    scored = self.held_out.evaluate(state.params, Alone())
            values |= {f"val_{name}": value for name, value in scored.items()}
            columns = {name: [values[name]] for name in state.columns}
            traced = trace.write([0], state.params.flat[None], columns, traced)
        self.state = state._replace(traced=traced)

    def _end_trace(self) -> None:
        """The last epoch is part of the trace, whichever it is."""
        if self.state.epoch > 0:
            self.state = self._traced(self.state, [self.state.epoch], self.state.params.flat[None])

    def _traced(self, state: State, epochs: Sequence[int], flats: Matrix) -> State:
        """The state with the parameters after some epochs, and their history, in the trace, if there is one."""
        if self.plan.trace is None:
            return state
        columns = {name: [column[epoch - 1] for epoch in epochs] for name, column in state.columns.items()}
        return state._replace(traced=self.plan.trace.write(epochs, flats, columns, state.traced))

    def _diverged(self, rates: Sequence[float]) -> TrainingDiverged:
        """Replays a chunk that did not stay finite, up to the step that broke, and says where it did.

        A compiled trainer may break, in fast numerics, at numbers that the pairs just get past: then no layer is named.
        """
        x, y = self.data
        self.stream.state = self.state.random
        self._order = None
        layer, where = None, "the loss or a weight"
        for rate in rates:
            chunk = self._trained([rate])
            if not chunk.is_finite:
                seeds = None if chunk.seeds is None else chunk.seeds[0]
                data = x, y, self.weights
                layer, where = first_bad_step(self.pairs, self.state, data, chunk.orders[0], rate, seeds)
                break
            self._record(chunk, {})
        self.stop("diverged")
        epoch = self.state.epoch + 1
        message = (
            f"training diverged in epoch {epoch}: {where} is no longer finite. Likely causes: a learning rate "
            f"that is too large ({rate:g}; try {rate / 10:g}), inputs that are not normalised (largest |x| here: "
            f"{largest(x):.3g}), targets out of the output's range (largest |y|: {largest(y):.3g})"
        )
        return TrainingDiverged(message, None, epoch, layer)


def _where_they_sum() -> None:
    """Several ranks look whether to stop where they sum."""


def _judged(plan: Plan, state: State) -> State:
    """The state with the best epoch so far; stopped, if that was too long ago."""
    if plan.patience is None:
        return state
    value = state.columns.get("val_loss", state.columns["loss"])[state.epoch - 1]
    if value < state.best_value - plan.min_delta:
        return state._replace(best=state.params.flat.copy(), best_value=value, best_epoch=state.epoch)
    return state._replace(stopped="patience") if out_of_patience(plan, state) else state


def _rates(optimizer: AnyOptimizer, plan: Plan, epoch: int, count: int) -> Sequence[float]:
    """The learning rates of `count` epochs from `epoch` on, counted from 0."""
    if isinstance(plan.schedule, Constant):
        return array("d", [optimizer.learning_rate]) * count
    factors = [plan.schedule(each, plan.epochs) for each in range(epoch, epoch + count)]
    for each, factor in enumerate(factors, epoch):
        if not isinstance(factor, int | float | np.floating | np.integer) or not 0.0 <= factor < np.inf:
            raise InvalidInput(f"schedule gives {factor!r} in epoch {each}: a factor not below 0 is needed")
    return [optimizer.learning_rate * float(factor) for factor in factors]


def _orders(plan: Plan, stream: Orders, count: int, n: int) -> Rows:
    """The order of the samples in each of `count` epochs, shape (count, n)."""
    return stream.permutations(count, n) if plan.shuffle else np.broadcast_to(np.arange(n), (count, n))
