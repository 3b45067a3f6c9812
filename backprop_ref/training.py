"""Training: batches, shuffling, schedules, validation, history, early stopping, divergence, interruption, resuming."""

import contextlib
import signal
import threading
import time
from dataclasses import dataclass, field, is_dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from backprop_ref import checkpoint, metrics, mlp
from backprop_ref.api import as_parameters, check_fit, checked_data, evaluate_on, on_backend
from backprop_ref.backends import get_backend
from backprop_ref.errors import InvalidInput, TrainingDiverged
from backprop_ref.network import Network
from backprop_ref.optimizers import SGD, Adam, describe
from backprop_ref.parameters import Parameters
from backprop_ref.progress import Bar
from backprop_ref.random import Stream
from backprop_ref.schedules import Constant, Step, get_schedule

CHUNK_SECONDS = 0.1
CHECKPOINT_SECONDS = 1.0


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
        which goes on from its checkpoint to the same bits as if it had never stopped.
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
    state = _State.start(params, optimizer, Stream(seed, "shuffle"))
    state.columns = {name: [] for name in ("loss", metric, "learning_rate")}
    if validation is not None:
        state.columns |= {"val_loss": [], f"val_{metrics.metric_name(network, validation[1])}": []}
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
    elif resume:
        raise InvalidInput("resume=True needs run_dir, the folder of the run to go on with")
    try:
        if folder and resume:
            folder.restore(state, plan.epochs)
        trainer = pairs
        _start_trace(pairs, plan, state, x, y, validation, resume)
        try:
            trainer = _offered(backend, pairs, params.dtype.name, plan, len(x)) or pairs
        except KeyboardInterrupt:  # while it was being compiled
            state.stopped = "interrupted"
        result = _fit(pairs, trainer.run, plan, state, x, y, validation, callback, folder, progress)
        _end_trace(plan, state)
        return replace(result, compile_seconds=getattr(trainer, "compile_seconds", 0.0))
    finally:
        for opened in filter(None, (trace, folder)):
            opened.close()


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


@dataclass
class _State:
    """Everything that goes on from epoch to epoch; a checkpoint holds all of it."""

    params: Parameters
    slots: dict[str, np.ndarray]
    stream: Stream
    epoch: int = 0
    columns: dict[str, list[float]] = field(default_factory=dict)
    best: np.ndarray | None = None
    best_value: float = np.inf
    best_epoch: int | None = None
    stopped: str | None = None

    @classmethod
    def start(cls, params, optimizer, stream):
        return cls(params.copy(), optimizer.init(params.flat), stream)

    def snapshot(self):
        """What an epoch changes, to go back to."""
        return self.params.flat.copy(), {name: slot.copy() for name, slot in self.slots.items()}, self.stream.state

    def go_back(self, snapshot):
        """Returns to a snapshot."""
        self.params.flat[:], slots, self.stream.state = snapshot
        for name, slot in slots.items():
            self.slots[name][...] = slot

    def result(self, plan):
        """The `Result` as things stand."""
        params = self.params.copy()
        if plan.patience is not None and plan.restore_best and self.best is not None:
            params.flat[:] = self.best
        history = {name: np.array(values, dtype=np.float64) for name, values in self.columns.items()}
        return Result(params, history, self.stopped or "epochs", self.epoch, self.best_epoch)


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


def _fit(trainer, run, plan, state, x, y, validation, callback, folder, progress):
    clock, chunk = time.perf_counter(), 1
    if _out_of_patience(plan, state):
        state.stopped = "patience"
    with trainer.backend.scope(), _ctrl_c() as poll, Bar("epoch", plan.epochs, progress, state.epoch) as bar:
        while state.stopped is None and state.epoch < plan.epochs:
            started = time.perf_counter()
            count = 1 if plan.each_epoch else min(chunk, plan.epochs - state.epoch)
            if plan.trace:
                count = min(count, plan.trace.most_epochs)
            try:
                _advance(trainer, run, plan, state, x, y, validation, count, poll, folder)
                _look(plan, state, callback)
            except (_Interrupted, KeyboardInterrupt):
                state.stopped = "interrupted"
            except TrainingDiverged:
                raise
            except BaseException:
                _keep(folder, state, plan)
                raise
            shown = {name: column[-1] for name, column in state.columns.items() if column and name != "learning_rate"}
            bar.update(state.epoch, **shown)
            spent = time.perf_counter() - started
            chunk = max(1, min(2 * chunk, int(chunk * CHUNK_SECONDS / max(spent, 1e-9))))
            if time.perf_counter() - clock > CHECKPOINT_SECONDS:
                _keep(folder, state, plan)
                clock = time.perf_counter()
    state.stopped = state.stopped or "epochs"
    _keep(folder, state, plan)
    return state.result(plan)


def _advance(trainer, run, plan, state, x, y, validation, count, poll, folder):
    """Trains `count` epochs and appends them to the history, or leaves `state` as it was."""
    before = state.snapshot()
    rates = _rates(trainer.optimizer, plan, state.epoch, count)
    kept = _room(plan, state, count)
    try:
        orders = _orders(plan, state.stream, count, len(x))
        traced = () if kept is None else (kept,)
        losses, measures = run(state.params, state.slots, x, y, orders, rates, poll, *traced)
        if not _finite(losses[-1], state.params):
            raise _diverged(trainer, run, plan, state, before, x, y, rates, folder)
        values = evaluate_on(trainer.backend, trainer.network, state.params, *validation) if validation else {}
    except TrainingDiverged:
        raise
    except BaseException:
        state.go_back(before)
        raise
    _record(trainer, plan, state, y, losses, measures, rates, values, kept)
    if values and not np.isfinite(values["loss"]):
        state.stopped = "diverged"
        _end_trace(plan, state)
        _keep(folder, state, plan)
        message = f"training diverged: the validation loss is {values['loss']} after epoch {state.epoch}"
        raise TrainingDiverged(message, state.result(plan), state.epoch, None)


def _keep(folder, state, plan):
    """Writes the run's files, if there is a folder; should that fail, the error carries the result so far."""
    try:
        if plan.trace:
            plan.trace.flush()
        if folder:
            folder.write(state, plan)
    except InvalidInput as error:
        error.result = state.result(plan)
        raise


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


def _record(trainer, plan, state, y, losses, measures, rates, values, kept):
    """Appends the epochs of a chunk to the history, and those that were kept to the trace."""
    if trainer.metric == "accuracy":
        scores = measures[:, 0] / len(y)
    else:
        scores = [metrics.r2_from(residuals, y) for residuals in measures]
    columns = {"loss": losses, trainer.metric: scores, "learning_rate": rates}
    columns |= {f"val_{name}": [value] for name, value in values.items()}
    for name, column in columns.items():
        state.columns[name].extend(np.asarray(column, dtype=np.float64).tolist())
    first = state.epoch + 1
    state.epoch += len(losses)
    if kept is not None:
        _write_trace(plan, state, first + np.flatnonzero(kept.rows >= 0), kept.snapshots)


def _start_trace(pairs, plan, state, x, y, validation, resume):
    """Opens the trace, if there is one; that of a new run begins with the initial parameters and what they score."""
    if not plan.trace:
        return
    backend, network = pairs.backend, pairs.network
    batches = -(-len(x) // plan.batch_size)
    about = {"numerics": backend.numerics, "metric": pairs.metric, "columns": list(state.columns)}
    plan.trace.start(network, x, y, batches=batches, epochs=plan.epochs, done=state.epoch, resume=resume, **about)
    if state.epoch == 0 and plan.trace.last < 0:
        with backend.scope():
            values = evaluate_on(backend, network, state.params, x, y) | {"learning_rate": 0.0}
            scored = evaluate_on(backend, network, state.params, *validation) if validation else {}
        values |= {f"val_{name}": value for name, value in scored.items()}
        plan.trace.write([0], state.params.flat[None], {name: [values[name]] for name in state.columns})


def _room(plan, state, count):
    """Where the next `count` epochs leave the parameters that the trace asks for."""
    if not plan.trace:
        return None
    rows = plan.trace.rows(state.epoch, count)
    return Kept(np.empty((rows.max() + 1, state.params.flat.size), state.params.dtype), rows)


def _end_trace(plan, state):
    """The last epoch is part of the trace, whichever it is."""
    if plan.trace and plan.trace.last < state.epoch:
        _write_trace(plan, state, [state.epoch], state.params.flat[None])


def _write_trace(plan, state, epochs, flats):
    """Hands the parameters after some epochs to the trace, with their history."""
    at = [epoch - 1 for epoch in epochs]
    columns = {name: [column[i] for i in at] for name, column in state.columns.items()}
    try:
        plan.trace.write(epochs, flats, columns)
    except InvalidInput as error:
        error.result = state.result(plan)
        raise


def _look(plan, state, callback):
    """Early stopping and the callback, after an epoch."""
    if plan.patience is not None:
        value = state.columns.get("val_loss", state.columns["loss"])[-1]
        if value < state.best_value - plan.min_delta:
            state.best, state.best_value, state.best_epoch = state.params.flat.copy(), value, state.epoch
        elif _out_of_patience(plan, state):
            state.stopped = "patience"
    if callback is not None:
        values = {name: column[-1] for name, column in state.columns.items()}
        if callback(Epoch(state.epoch, values, state.params)):
            state.stopped = "callback"


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


def _diverged(trainer, run, plan, state, before, x, y, rates, folder):
    """Replays a chunk that did not stay finite, up to the step that broke, and says where it did.

    A compiled trainer may break, in fast numerics, at numbers that the pairs just get past: then no layer is named.
    """
    state.go_back(before)
    layer, where = None, "the loss or a weight"
    for rate in rates:
        before = state.snapshot()
        orders = _orders(plan, state.stream, 1, len(x))
        kept = _room(plan, state, 1)
        traced = () if kept is None else (kept,)
        losses, measures = run(state.params, state.slots, x, y, orders, [rate], _nobody, *traced)
        if not _finite(losses[-1], state.params):
            state.go_back(before)
            layer, where = _first_bad_step(trainer, state, x, y, orders[0], rate)
            state.go_back(before)
            break
        _record(trainer, plan, state, y, losses, measures, [rate], {}, kept)
    state.stopped = "diverged"
    _end_trace(plan, state)
    _keep(folder, state, plan)
    message = (
        f"training diverged in epoch {state.epoch + 1}: {where} is no longer finite. Likely causes: a learning rate "
        f"that is too large ({rate:g}; try {rate / 10:g}), inputs that are not normalised (largest |x| here: "
        f"{np.abs(x).max():.3g}), targets out of the output's range (largest |y|: {np.abs(y).max():.3g})"
    )
    return TrainingDiverged(message, state.result(plan), state.epoch + 1, layer)


def _first_bad_step(trainer, state, x, y, order, rate):
    """Layer and name of the first quantity that is not finite in an epoch, in the order of computation."""
    backend, network, params = trainer.backend, trainer.network, state.params
    for rows in trainer.batches(order):
        weights, x_rows, y_rows = on_backend(backend, params.copy(), x[rows], y[rows])
        trainer.step(params, state.slots, x[rows], y[rows], rate)
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
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise InvalidInput(f"{name}={value!r}: a whole number, {least} or more, is needed")
    return int(value)
