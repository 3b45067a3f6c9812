"""Training: batches, shuffling, schedules, validation, history, early stopping, divergence, interruption, resuming."""

import contextlib
import signal
import threading
import time
from dataclasses import dataclass, is_dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from backprop_ref import checkpoint, metrics, mlp
from backprop_ref.api import as_parameters, check_fit, checked_data, evaluate_on, on_backend
from backprop_ref.backends import get_backend
from backprop_ref.errors import InvalidInput, TrainingDiverged
from backprop_ref.network import Network
from backprop_ref.optimizers import SGD, Adam, Constant, Step, describe, get_schedule
from backprop_ref.parameters import Parameters
from backprop_ref.progress import Bar
from backprop_ref.random import Stream

CHUNK_SECONDS = 0.1
CHECKPOINT_SECONDS = 1.0
MOST = 2**53
"""Epochs, and whatever else is counted: up to here floats hold every whole number."""


@dataclass
class Result:
    """What training reached.

    Attributes
    ----------
    params : Parameters
        After the last whole epoch, or the best ones if early stopping restored them.
    history : dict of str to 1-D array
        One entry an epoch: loss, accuracy or r2, learning_rate; with validation, val_loss and val_accuracy or val_r2.
        Those without val_ are over the epoch's batches, each before its own update.
    stopped : str
        'epochs' (all done), 'patience', 'callback', 'interrupted' or 'diverged'.
    epochs : int
        Whole epochs done.
    best_epoch : int or None
        With `patience`, the epoch, counted from 1, with the lowest monitored loss.
    compile_seconds : float
        What of the time went into compiling the backend's own trainer.
    """

    params: Parameters
    history: dict[str, np.ndarray]
    stopped: str
    epochs: int
    best_epoch: int | None
    compile_seconds: float = 0.0


class Kept(NamedTuple):
    """Room for the parameters after some of a chunk's epochs: those after its i-th epoch, counted from 0, go to
    ``snapshots[rows[i]]``, unless that row is -1."""

    snapshots: np.ndarray
    rows: np.ndarray

    def keep(self, epoch, flat):
        """Copies the parameters after the chunk's epoch of that number, if they are asked for."""
        if self.rows[epoch] >= 0:
            self.snapshots[self.rows[epoch]] = flat


class Epoch(NamedTuple):
    """What a callback is given: the epoch, counted from 1, its history entries, and the parameters as they go on:
    copy them to keep them, and leave them as they are."""

    epoch: int
    values: dict[str, float]
    params: Parameters


def train(
    network: Network,
    params: Parameters,
    x,
    y,
    *,
    epochs=100,
    batch_size=32,
    optimizer=None,
    schedule=None,
    shuffle=True,
    seed=1,
    shards=1,
    validation=None,
    patience=None,
    min_delta=0.0,
    restore_best=True,
    callback=None,
    progress=None,
    run_dir=None,
    resume=False,
    trace=None,
    preprocessing=None,
    config=None,
    backend=None,
    numerics=None,
    device=None,
    threads=None,
):
    """Trains a copy of `params` on x and y.

    Parameters
    ----------
    network, params : Network, Parameters
    x, y : arrays of shape (samples, n_in) and (samples, n_out), finite
    epochs : int
    batch_size : int or None
        None: full batch; 1: online. The last batch of an epoch may be short; it counts by its own size.
    optimizer : SGD or Adam
        Default ``SGD(0.1)``.
    schedule : None, str or callable
        'constant', 'step', 'cosine', or ``(epoch, epochs) -> factor`` on the learning rate; epoch counts from 0.
    shuffle : bool
        A new order of the samples in each epoch, from `seed`. A full batch is never shuffled.
    validation : (x, y), optional
        Evaluated after each epoch.
    patience : int, optional
        Stop after that many epochs without a validation loss (training loss, without validation) more than
        `min_delta` below the best; `restore_best` then returns the best parameters instead of the last.
    callback : callable, optional
        Given an `Epoch` after each one; a true return value stops.
    progress : bool, optional
        A bar on standard error; default: if that is a terminal and training takes over two seconds.
    run_dir : path, optional
        Folder for history.csv and checkpoint.safetensors; created. One that holds a run is refused unless `resume`,
        which goes on from its checkpoint to the same bits as if it had never stopped. The checkpoint is written at the
        start, about every `CHECKPOINT_SECONDS`, and at the end, whatever ends training.
    trace : Recorder, optional
        Writes every z, a, delta, gradient and parameter of some epochs to files; see `report.trace`.
    preprocessing, config : dict, optional
        JSON-ready, kept in the checkpoint.
    backend, numerics, device, threads : optional
        See `get_backend`.

    Returns
    -------
    Result
        Also when Ctrl-C stopped it (``stopped == 'interrupted'``): the state after a whole epoch, at most about
        `CHUNK_SECONDS` or one epoch back.

    Raises
    ------
    TrainingDiverged
        The loss or a parameter is no longer finite; carries the `Result` up to then.
    InvalidInput
        Arguments that do not fit; or a run folder that cannot be written to any more: then `result` holds what was
        reached.
    """
    check_fit(network, params)
    _check_finite("params.flat", params.flat, "start from other ones")
    x, y = checked_data(network, x, y, params.dtype)
    _check_finite("x", x)
    _check_finite("y", y)
    if validation is not None:
        if not isinstance(validation, tuple | list) or len(validation) != 2:
            raise InvalidInput(f"validation is a {type(validation).__name__}: a pair (x, y) is needed")
        x_val, y_val = validation
        validation = checked_data(network, x_val, y_val, params.dtype)
        _check_finite("validation x", validation[0])
        _check_finite("validation y", validation[1])
    optimizer = SGD(0.1) if optimizer is None else optimizer
    if not isinstance(optimizer, SGD | Adam):
        raise InvalidInput(f"optimizer={optimizer!r}: an optimizer such as br.SGD(0.1) or br.Adam() is needed")
    if callback is not None and not callable(callback):
        raise InvalidInput(f"callback={callback!r}: a callable that takes an Epoch is needed")
    if not isinstance(min_delta, int | float) or not min_delta >= 0.0:
        raise InvalidInput(f"min_delta={min_delta!r}: a number not below 0 is needed")
    plan = _Plan(
        epochs=_whole("epochs", epochs, 0),
        batch_size=len(x) if batch_size is None else min(_whole("batch_size", batch_size, 1), len(x)),
        shuffle=bool(shuffle) and batch_size is not None,
        schedule=get_schedule(schedule),
        patience=None if patience is None else _whole("patience", patience, 1),
        min_delta=min_delta,
        restore_best=restore_best,
        each_epoch=validation is not None or patience is not None or callback is not None,
        trace=trace,
    )
    backend = get_backend(backend, numerics, device, threads)
    metric = metrics.metric_name(network, y)
    pairs = PairsTrainer(backend, network, optimizer, plan.batch_size, _whole("shards", shards, 1), metric)
    stream = Stream(seed, "shuffle")
    columns: dict[str, list[float]] = {name: [] for name in ("loss", metric, "learning_rate")}
    if validation is not None:
        columns |= {"val_loss": [], f"val_{metrics.metric_name(network, validation[1])}": []}
    state = _State(params.copy(), optimizer.init(params.flat), stream.state, columns)
    with contextlib.ExitStack() as opened:
        folder = None
        if run_dir is not None:
            identity = {
                "network": network.to_dict(),
                "dtype": params.dtype.name,
                "optimizer": describe(optimizer),
                "batch_size": plan.batch_size,
                "shuffle": plan.shuffle,
                "shards": pairs.shards,
                "seed": int(seed),
                "schedule": _described(plan.schedule, plan.epochs),
                "numerics": backend.numerics,
                "backend": None if backend.numerics == "reproducible" else backend.name,
                "data": checkpoint.fingerprint(x, y, *(validation or ())),
            }
            folder = checkpoint.Folder(Path(run_dir), network, preprocessing, config, identity, resume)
            opened.callback(folder.close)
            state = folder.restore(state, plan.epochs) if resume else state
        elif resume:
            raise InvalidInput("resume=True needs run_dir, the folder of the run to go on with")
        run = _Run(plan, pairs, (x, y), validation, state, stream, folder)
        opened.callback(run.close_trace)
        run.begin(resume)
        try:
            run.trainer = _offered(backend, pairs, params.dtype.name, plan, len(x)) or pairs
        except KeyboardInterrupt:  # while it was being compiled
            run.stop("interrupted")
        try:
            result = run.fit(callback, progress)
        except InvalidInput as error:
            error.result = error.result or run.state.result(plan)
            raise
    return replace(result, compile_seconds=getattr(run.trainer, "compile_seconds", 0.0))


@dataclass(frozen=True)
class _Plan:
    epochs: int
    batch_size: int
    shuffle: bool
    schedule: object
    patience: int | None
    min_delta: float
    restore_best: bool
    each_epoch: bool
    trace: Any


class _State(NamedTuple):
    """A run after a whole epoch: everything that goes on from there, and all that a checkpoint holds.

    All states of a run share its `columns`, of which the first `epoch` entries are a state's history.
    """

    params: Parameters
    slots: dict[str, np.ndarray]
    random: dict[str, Any]
    columns: dict[str, list[float]]
    epoch: int = 0
    best: np.ndarray | None = None
    best_value: float = np.inf
    best_epoch: int | None = None
    stopped: str | None = None
    traced: Any = ()

    def history(self):
        """The columns, one entry an epoch."""
        return {name: np.array(column[: self.epoch], dtype=np.float64) for name, column in self.columns.items()}

    def last(self):
        """The history of the last epoch."""
        at = self.epoch - 1
        return {name: column[at] for name, column in self.columns.items()} if self.epoch else {}

    def result(self, plan):
        """The `Result` as things stand."""
        params = self.params.copy()
        if plan.patience is not None and plan.restore_best and self.best is not None:
            params.flat[:] = self.best
        return Result(params, self.history(), self.stopped or "epochs", self.epoch, self.best_epoch)


class _Chunk(NamedTuple):
    """Epochs that are trained, and not yet part of the run."""

    params: Parameters
    slots: dict[str, np.ndarray]
    orders: np.ndarray
    rates: list[float]
    losses: np.ndarray
    measures: np.ndarray
    kept: Kept | None

    @property
    def finite(self):
        """Whether the last epoch's loss is, and every parameter."""
        return _finite(self.losses[-1], self.params)


class _Interrupted(Exception):
    """Ctrl-C was pressed; raised where stopping is safe."""


class PairsTrainer:
    """Whole epochs over a backend's pairs; what compiled trainers do faster, and to the same bits."""

    def __init__(self, backend, network, optimizer, batch_size, shards, metric):
        self.backend, self.network, self.optimizer = backend, network, optimizer
        self.batch_size, self.shards, self.metric = batch_size, shards, metric
        self.measures = 1 if metric == "accuracy" else network.sizes[-1]

    def run(self, params, slots, x, y, orders, learning_rates, poll=lambda: None, kept=None):
        """Trains `params` and `slots` in place, one epoch per learning rate; stops after an epoch that is not finite.

        Parameters
        ----------
        params : Parameters
        slots : dict of str to array
            The optimizer's state.
        x, y : arrays of shape (samples, n_in) and (samples, n_out)
        orders : int64 array of shape (epochs, samples)
            The order of the samples in each epoch.
        learning_rates : list of float
        poll : callable
            Called now and then; raises if Ctrl-C was pressed.
        kept : Kept, optional
            Gets the parameters after some of the epochs.

        Returns
        -------
        losses : array of shape (epochs done,)
            Mean of the batch losses, weighted by batch size.
        measures : array of shape (epochs done, 1 or n_out)
            Correct samples, or squared residuals per output.
        """
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
            if kept is not None:
                kept.keep(epoch, params.flat)
            if not _finite(losses[-1], params):
                break
        return np.array(losses), np.array(measures)

    def batches(self, order):
        """The rows of each batch of an epoch."""
        return [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]

    def step(self, params, slots, x, y, learning_rate):
        """One update; the batch's loss, still on the device, and its outputs."""
        weights, x, y = on_backend(self.backend, params, x, y)
        loss, grads, outputs = mlp.value_and_grad(self.backend, self.network, weights, x, y, self.shards)
        self.optimizer.step(params, as_parameters(self.backend, grads, params), slots, learning_rate)
        return loss, outputs

    def measured(self, outputs, y):
        """Correct samples, or squared residuals per output, of a batch."""
        a = np.concatenate([self.backend.to_numpy(part) for part in outputs])
        return metrics.count_correct(a, y) if self.metric == "accuracy" else metrics.squared_residuals(a, y)


class _Run:
    """A training under way.

    Its `state` is only ever replaced, by one assignment, when an epoch is complete: trained, validated, judged and
    traced. Whatever fails before that, and Ctrl-C at any moment, leaves all of the run at the epoch before.
    """

    def __init__(self, plan, pairs, data, validation, state, stream, folder):
        self.plan, self.pairs, self.trainer, self.folder = plan, pairs, pairs, folder
        self.data, self.validation, self.state, self.stream = data, validation, state, stream
        stream.state = state.random
        spare = state.params.copy(), {name: slot.copy() for name, slot in state.slots.items()}
        self._memory = (state.params, state.slots), spare

    def begin(self, resume):
        """Opens the trace and writes the first checkpoint: from then on the run can be resumed."""
        trace = self.plan.trace
        try:
            if trace:
                self._start_trace(resume)
            if not resume:
                self.save()
        except BaseException:
            if trace:
                trace.discard()
            raise

    def fit(self, callback, progress):
        """Trains until something says stop, and saves what was reached, whatever ends it."""
        plan, diverged = self.plan, None
        bar = Bar("epoch", plan.epochs, progress, self.state.epoch)
        saved, count = time.perf_counter(), 1
        if self.state.stopped is None and _out_of_patience(plan, self.state):
            self.stop("patience")
        with self.pairs.backend.scope(), _ctrl_c() as poll, bar:
            try:
                while self.state.stopped is None and self.state.epoch < plan.epochs:
                    started, count = time.perf_counter(), self._at_most(count)
                    try:
                        diverged = self._advance(count, poll)
                        if diverged is None and callback is not None:
                            self._call(callback)
                    except (_Interrupted, KeyboardInterrupt):
                        self.stop("interrupted")
                    if bar.enabled:
                        shown = self.state.last()
                        shown.pop("learning_rate", None)
                        bar.update(self.state.epoch, **shown)
                    now = time.perf_counter()
                    count = max(1, min(2 * count, int(count * CHUNK_SECONDS / max(now - started, 1e-9))))
                    if now - saved > CHECKPOINT_SECONDS:
                        self.save()
                        saved = time.perf_counter()
                self.stop(self.state.stopped or "epochs")
                self._end_trace()
            except BaseException:
                self.save()
                raise
            self.save()
        if diverged is not None:
            diverged.result = self.state.result(plan)
            raise diverged
        return self.state.result(plan)

    def stop(self, reason):
        """Ends training after the epochs that are done."""
        self.state = self.state._replace(stopped=reason)

    def save(self):
        """Writes what was reached to the disk: first the trace, then the checkpoint, which may only speak of epochs
        that the trace holds."""
        if self.plan.trace:
            self.state = self.state._replace(traced=self.plan.trace.flush(self.state.traced))
        if self.folder:
            self.folder.write(self.state, self.plan)

    def close_trace(self):
        """Closes the trace where the run ends."""
        if self.plan.trace:
            self.plan.trace.close(self.state.traced)

    def _at_most(self, count):
        """How many of the next `count` epochs are trained before anything looks at them."""
        if self.plan.each_epoch:
            return 1
        most = self.plan.trace.most_epochs if self.plan.trace else count
        return min(count, most, self.plan.epochs - self.state.epoch)

    def _advance(self, count, poll):
        """Trains `count` epochs and makes them part of the run.

        Returns
        -------
        TrainingDiverged or None
            If an epoch did not stay finite: then training has stopped, and those before it are part of the run.
        """
        plan, pairs, epoch = self.plan, self.pairs, self.state.epoch
        rates = _rates(pairs.optimizer, plan, epoch, count)
        chunk = self._trained(rates, poll)
        if not chunk.finite:
            return self._diverged(rates)
        values = {}
        if self.validation is not None:
            values = evaluate_on(pairs.backend, pairs.network, chunk.params, *self.validation)
            if not np.isfinite(values["loss"]):
                self.stop("diverged")
                message = f"training diverged: the validation loss is {values['loss']} after epoch {epoch + 1}"
                return TrainingDiverged(message, None, epoch + 1, None)
        self._record(chunk, values)
        return None

    def _trained(self, rates, poll):
        """An epoch for each rate, in memory that the state does not use."""
        state, (x, y) = self.state, self.data
        params, slots = self._memory[1 if state.params is self._memory[0][0] else 0]
        params.flat[:] = state.params.flat
        for name, slot in state.slots.items():
            slots[name][...] = slot
        kept = self._snapshots(len(rates))
        traced = () if kept is None else (kept,)
        orders = _orders(self.plan, self.stream, len(rates), len(x))
        losses, measures = self.trainer.run(params, slots, x, y, orders, rates, poll, *traced)
        return _Chunk(params, slots, orders, rates[: len(losses)], losses, measures, kept)

    def _snapshots(self, count):
        """Where the next `count` epochs leave the parameters that the trace asks for."""
        if not self.plan.trace:
            return None
        params, rows = self.state.params, self.plan.trace.rows(self.state.epoch, count)
        return Kept(np.empty((rows.max() + 1, params.flat.size), params.dtype), rows)

    def _record(self, chunk, values):
        """Makes a chunk part of the run: of history, best, trace and state, or, if any of it fails, of none."""
        metric, y = self.pairs.metric, self.data[1]
        if metric == "accuracy":
            scores = chunk.measures[:, 0] / len(y)
        else:
            scores = [metrics.r2_from(residuals, y) for residuals in chunk.measures]
        columns = {"loss": chunk.losses, metric: scores, "learning_rate": chunk.rates}
        columns |= {f"val_{name}": [value] for name, value in values.items()}
        done = self.state.epoch
        for name, column in columns.items():
            self.state.columns[name][done:] = np.asarray(column, dtype=np.float64).tolist()
        state = self.state._replace(
            params=chunk.params, slots=chunk.slots, random=self.stream.state, epoch=done + len(chunk.losses)
        )
        state = _judged(self.plan, state)
        if chunk.kept is not None:
            epochs = done + 1 + np.flatnonzero(chunk.kept.rows >= 0)
            state = self._traced(state, epochs, chunk.kept.snapshots)
        self.state = state

    def _call(self, callback):
        """Shows the callback the last epoch."""
        state = self.state
        if callback(Epoch(state.epoch, state.last(), state.params)):
            self.stop("callback")

    def _start_trace(self, resume):
        """Opens the trace; that of a new run begins with the initial parameters and what they score."""
        plan, pairs, state = self.plan, self.pairs, self.state
        (x, y), backend, network = self.data, pairs.backend, pairs.network
        about = {"numerics": backend.numerics, "metric": pairs.metric, "columns": list(state.columns)}
        about |= {"batches": -(-len(x) // plan.batch_size), "epochs": plan.epochs}
        traced = plan.trace.start(network, x, y, done=state.epoch, resume=resume, **about)
        if state.epoch == 0:
            with backend.scope():
                values = evaluate_on(backend, network, state.params, x, y) | {"learning_rate": 0.0}
                scored = evaluate_on(backend, network, state.params, *self.validation) if self.validation else {}
            values |= {f"val_{name}": value for name, value in scored.items()}
            columns = {name: [values[name]] for name in state.columns}
            traced = plan.trace.write([0], state.params.flat[None], columns, traced)
        self.state = state._replace(traced=traced)

    def _end_trace(self):
        """The last epoch is part of the trace, whichever it is."""
        if self.plan.trace and self.state.epoch > 0:
            self.state = self._traced(self.state, [self.state.epoch], self.state.params.flat[None])

    def _traced(self, state, epochs, flats):
        """The state with the parameters after some epochs, and their history, in the trace."""
        columns = {name: [column[epoch - 1] for epoch in epochs] for name, column in state.columns.items()}
        return state._replace(traced=self.plan.trace.write(epochs, flats, columns, state.traced))

    def _diverged(self, rates):
        """Replays a chunk that did not stay finite, up to the step that broke, and says where it did.

        A compiled trainer may break, in fast numerics, at numbers that the pairs just get past: then no layer is named.
        """
        x, y = self.data
        self.stream.state = self.state.random
        layer, where = None, "the loss or a weight"
        for rate in rates:
            chunk = self._trained([rate], _nobody)
            if not chunk.finite:
                layer, where = _first_bad_step(self.pairs, self.state, x, y, chunk.orders[0], rate)
                break
            self._record(chunk, {})
        self.stop("diverged")
        epoch = self.state.epoch + 1
        message = (
            f"training diverged in epoch {epoch}: {where} is no longer finite. Likely causes: a learning rate "
            f"that is too large ({rate:g}; try {rate / 10:g}), inputs that are not normalised (largest |x| here: "
            f"{np.abs(x).max():.3g}), targets out of the output's range (largest |y|: {np.abs(y).max():.3g})"
        )
        return TrainingDiverged(message, None, epoch, layer)


def _judged(plan, state):
    """The state with the best epoch so far; stopped, if that was too long ago."""
    if plan.patience is None:
        return state
    value = state.columns.get("val_loss", state.columns["loss"])[state.epoch - 1]
    if value < state.best_value - plan.min_delta:
        return state._replace(best=state.params.flat.copy(), best_value=value, best_epoch=state.epoch)
    return state._replace(stopped="patience") if _out_of_patience(plan, state) else state


def _rates(optimizer, plan, epoch, count):
    """The learning rates of `count` epochs from `epoch` on, counted from 0."""
    if isinstance(plan.schedule, Constant):
        return [optimizer.learning_rate] * count
    factors = [plan.schedule(each, plan.epochs) for each in range(epoch, epoch + count)]
    for each, factor in enumerate(factors, epoch):
        if not isinstance(factor, int | float | np.floating | np.integer) or not 0.0 <= factor < np.inf:
            raise InvalidInput(f"schedule gives {factor!r} in epoch {each}: a factor not below 0 is needed")
    return [optimizer.learning_rate * float(factor) for factor in factors]


def _described(schedule, epochs):
    """A schedule as text that is the same in another process; with the epochs where it depends on them."""
    if isinstance(schedule, Constant | Step):
        return repr(schedule)
    name = schedule if is_dataclass(schedule) else getattr(schedule, "__qualname__", type(schedule).__qualname__)
    return f"{name} over {epochs}"


def _orders(plan, stream, count, n):
    """The order of the samples in each of `count` epochs, shape (count, n)."""
    return stream.permutations(count, n) if plan.shuffle else np.broadcast_to(np.arange(n), (count, n))


def _offered(backend, pairs, dtype, plan, n):
    """The trainer of the backend's own, if it has one for this network and optimizer."""
    offer = getattr(backend, "trainer", None)
    if offer is None:
        return None
    steps_ahead = plan.epochs * -(-n // plan.batch_size)
    return offer(pairs.network, pairs.optimizer, dtype, plan.batch_size, pairs.shards, pairs.metric, steps_ahead)


def _out_of_patience(plan, state):
    return plan.patience is not None and state.epoch - (state.best_epoch or 0) >= plan.patience


@contextlib.contextmanager
def _ctrl_c():
    """Inside, the first Ctrl-C makes the yielded `poll` raise `_Interrupted`; a second one acts as usual."""
    pressed = threading.Event()

    def poll():
        if pressed.is_set():
            raise _Interrupted

    usual = signal.getsignal(signal.SIGINT)
    ours = threading.current_thread() is threading.main_thread()
    if not ours or usual in {None, signal.SIG_IGN}:
        yield poll
        return

    def note(*_):
        pressed.set()
        signal.signal(signal.SIGINT, usual)

    signal.signal(signal.SIGINT, note)
    try:
        yield poll
    finally:
        signal.signal(signal.SIGINT, usual)


def _finite(loss, params):
    return np.isfinite(loss) and bool(np.isfinite(params.flat).all())


def _first_bad_step(trainer, state, x, y, order, rate):
    """Layer and name of the first quantity that is not finite in an epoch, in the order of computation."""
    backend, network, params = trainer.backend, trainer.network, state.params.copy()
    slots = {name: slot.copy() for name, slot in state.slots.items()}
    for rows in trainer.batches(order):
        weights, x_rows, y_rows = on_backend(backend, params.copy(), x[rows], y[rows])
        trainer.step(params, slots, x[rows], y[rows], rate)
        seen = mlp.trace(backend, network, weights, x_rows, y_rows)
        layers = range(network.n_layers)
        computed = [(layer, name, getattr(seen, name)[layer]) for layer in layers for name in ("z", "a")]
        computed.append((network.n_layers - 1, "loss", seen.loss))
        computed += [
            (layer, name, getattr(seen, name)[layer]) for layer in reversed(layers) for name in ("delta", "dW", "db")
        ]
        computed = [(layer, name, backend.to_numpy(array)) for layer, name, array in computed]
        computed += [(layer, name, getattr(params, name)[layer]) for layer in layers for name in ("W", "b")]
        for layer, name, array in computed:
            if not np.isfinite(array).all():
                return layer, f"{name} of layer {layer}"
    return None, "the loss or a weight"


def _nobody():
    """The `poll` of what is over soon."""


def _check_finite(name, array, remedy="remove or fill in that row"):
    if not np.isfinite(array).all():
        entry = tuple(map(int, np.argwhere(~np.isfinite(array))[0]))
        where = ", ".join(map(str, entry))
        raise InvalidInput(f"{name}[{where}] is {array[entry]}: training needs finite numbers; {remedy}")


def _whole(name, value, least):
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not least <= value <= MOST:
        raise InvalidInput(f"{name}={value!r}: a whole number from {least} to {MOST:,} is needed")
    return int(value)
