"""Whole epochs compiled by Numba: the accelerator that the numba backend offers to training."""

import contextlib
import sys
import threading
import time
from functools import cache

import numba
import numpy as np

from backprop_ref.backends.array import CROSS_ENTROPY, divisor
from backprop_ref.backends.numba_threads import FORKED, POOL
from backprop_ref.errors import unknown
from backprop_ref.kernels import fused_epochs, fused_fixed, fused_layers, fused_rows
from backprop_ref.optimizers import SGD, Adam

CALL_SECONDS = 0.05  # between two looks at whether Ctrl-C was pressed
ANNOUNCED_AFTER_SECONDS = 1.0

# What `specialize="auto"` reckons with: what a program with constants saves, by layer and step, and what compiling it
# costs, by layer; it has to save that several times over, as neither is known well.
SAVED_SECONDS = 1e-7
COMPILE_SECONDS = 3.0
TIMES_OVER = 2.0
SPECIALIZE = ("auto", "always", "never")

# In fast numerics, layers up to that width have the samples of a batch side by side, wider ones those of a neuron.
NARROW = 16

ACTIVATIONS = {
    "sigmoid": fused_layers.SIGMOID,
    "tanh": fused_layers.TANH,
    "relu": fused_layers.RELU,
    "leaky_relu": fused_layers.LEAKY_RELU,
    "softmax": fused_layers.SOFTMAX,
    "linear": fused_layers.LINEAR,
}
TOGETHER = {
    ("cross_entropy", "softmax"): fused_layers.SOFTMAX_CROSS_ENTROPY,
    ("cross_entropy", "sigmoid"): fused_layers.SIGMOID_CROSS_ENTROPY,
    ("binary_cross_entropy", "sigmoid"): fused_layers.SIGMOID_BINARY_CROSS_ENTROPY,
}
SLOTS = {
    fused_layers.SGD: (),
    fused_layers.MOMENTUM: ("velocity",),
    fused_layers.NESTEROV: ("velocity",),
    fused_layers.ADAM: ("m", "v"),
}


def create(
    network,
    optimizer,
    dtype,
    batch_size,
    shards,
    metric,
    threads,
    steps_ahead=None,
    specialize="auto",
    numerics="reproducible",
):
    """A trainer with the `run` of `training.PairsTrainer`, or None for what it cannot do.

    Parameters
    ----------
    network : Network
    optimizer : SGD or Adam
    dtype : 'float64' or 'float32'
    batch_size, shards : int
    metric : 'accuracy' or 'r2'
    threads : int or None
        For large products; None is Numba's own setting.
    steps_ahead : int, optional
        How many steps will be asked for, as far as known.
    specialize : 'auto', 'always' or 'never'
        Whether sizes and the rest become constants of a program of its own, which has to be compiled first.
    numerics : 'reproducible' or 'fast'
        Reproducible: the bits of `training.PairsTrainer`, whatever the threads. Fast: fused multiply-add, and sums in
        an order that is the same for the same machine and threads.
    """
    if specialize not in SPECIALIZE:
        raise unknown("specialize", specialize, SPECIALIZE)
    plan = _plan(network, optimizer, batch_size, shards, metric, threads, numerics)
    if plan is None:
        return None
    worth_it = specialize == "auto" and _small(plan) and _repays(plan, steps_ahead or 0)
    fixed = specialize == "always" or worth_it
    if numerics == "reproducible":
        return Trainer(plan, dtype, "fixed" if fixed else "epochs")
    return Trainer(plan, dtype, "fixed" if fixed else "epochs" if _narrow(plan) else "rows", fused=True)


def _small(plan):
    """Whether every product is one that plain loops do."""
    rows = -(-plan.batch_size // plan.shards)
    return all(n_in * n_out * rows < fused_layers.PACKED_FROM for n_in, n_out, _, _ in plan.layers)


def _narrow(plan):
    """Whether a batch fills vector registers better than a layer."""
    return bool(plan.layers[:, :2].max() <= NARROW)


def _repays(plan, steps_ahead):
    """Whether a program of its own saves more time in so many steps than compiling it takes, as estimated above."""
    return steps_ahead * SAVED_SECONDS > TIMES_OVER * COMPILE_SECONDS


def _plan(network, optimizer, batch_size, shards, metric, threads, numerics):
    """The network and what is asked of it in numbers; None if there is something that has none."""
    rule = _rule(optimizer)
    together = (network.loss, network.activations[-1])
    known = together in TOGETHER or together not in CROSS_ENTROPY
    if rule is None or not known or not set(network.activations) <= set(ACTIVATIONS):
        return None
    layers, w = [], 0
    for n_in, n_out, activation in zip(network.sizes, network.sizes[1:], network.activations, strict=False):
        layers.append((n_in, n_out, ACTIVATIONS[activation], w))
        w += (n_in + 1) * n_out
    names = ("momentum", "beta1", "beta2", "epsilon", "weight_decay")
    large = max(n_in * n_out for n_in, n_out, _, _ in layers) * batch_size >= _shared_from(numerics)
    return fused_epochs.Plan(
        layers=np.array(layers, np.int64),
        loss=TOGETHER.get(together, fused_layers.SQUARED_ERROR),
        rule=rule,
        metric=fused_layers.ACCURACY if metric == "accuracy" else fused_layers.RESIDUALS,
        batch_size=batch_size,
        shards=shards,
        workers=(threads or numba.get_num_threads()) if large else 1,
        per_row=int(divisor(network.loss, np.empty((1, network.sizes[-1])))),
        numbers=np.array([float(getattr(optimizer, name, 0.0)) for name in names]),
    )


def _shared_from(numerics):
    """From how many multiplications on a product is divided among threads."""
    return fused_layers.SHARED_FROM if numerics == "reproducible" else fused_rows.SHARED_FROM


def _rule(optimizer):
    """The code of an optimizer's update rule; None for one that is not ours."""
    if type(optimizer) is Adam:
        return fused_layers.ADAM
    if type(optimizer) is not SGD:
        return None
    if optimizer.momentum == 0.0:
        return fused_layers.SGD
    return fused_layers.NESTEROV if optimizer.nesterov else fused_layers.MOMENTUM


class Trainer:
    """Whole epochs, compiled.

    Parameters
    ----------
    plan : fused_epochs.Plan
    dtype : 'float64' or 'float32'
    kind : 'epochs', 'rows' or 'fixed'
        The program: for every network, for wide layers, or with constants, made for this network.
    fused : bool
        Whether it is one for fast numerics; "rows" always is.

    Notes
    -----
    Beyond its caller's arrays it has one of parameters + batch x (sum of widths + 3 x widest + outputs + 2) numbers,
    those of a shard's gradient where there are several, and the packed operands of one product. Plain gradient descent
    of wide layers in fast numerics does without the parameters. Parameters and data are not copied, but for data
    of another dtype or layout; with "fixed" the parameters and the optimizer's arrays are, as it is for few.

    Attributes
    ----------
    shared : bool
        Whether large products are divided among Numba's threads.
    compile_seconds : float
        What compiling its program took; 0.0 or next to it if it was on disk, or compiled for another trainer.
    """

    def __init__(self, plan, dtype, kind, fused=False):
        self.plan, self.dtype, self.kind, self.fused = plan, np.dtype(dtype), kind, fused
        self.shared = plan.workers > 1 and kind != "fixed"
        self.compile_seconds = 0.0
        self._measures = 1 if plan.metric == fused_layers.ACCURACY else int(plan.layers[-1, 1])
        self._sections, self._steps = _sections_of(kind, plan, dtype, fused), 1
        self._shape = fused_fixed.Shape.of(plan) if kind == "fixed" else None
        size = self._sections.end if self._shape is None else fused_fixed.constants(dtype, self._shape)[1]
        self._work = np.zeros(size, self.dtype)
        self._program(self.shared)

    def _program(self, shared):
        """The program that computes, compiled first if need be."""
        started = time.perf_counter()
        made, seconds = _ready(self.kind, self.dtype.name, shared, self.fused, self._shape)
        spent = time.perf_counter() - started  # next to nothing where another trainer has compiled it
        self.compile_seconds = max(self.compile_seconds, min(seconds, spent))
        return made

    def run(self, params, slots, x, y, orders, learning_rates, poll=lambda: None, kept=None):
        """Trains `params` and `slots` in place; see `training.PairsTrainer.run`."""
        flat = np.ascontiguousarray(params.flat)
        data = fused_epochs.Data(
            *(_locked(x, self.dtype), _locked(y, self.dtype), _locked(orders, np.int64)),
            np.array(learning_rates, np.float64),
        )
        self._check(flat, data)
        history = self._history(flat, len(learning_rates), kept)
        if len(learning_rates) > 0:
            self._all_steps(data, self._state(flat, slots), history, poll)
        if flat is not params.flat:
            params.flat[:] = flat
        done = history.cursor[0]
        return history.losses[:done], history.measures[:done]

    def _check(self, flat, data):
        """Compiled code looks at no bounds, so everything that it is given has to fit."""
        layers, epochs = self.plan.layers, len(data.rates)
        samples, n_flat = len(data.x), int((layers[:, 0] * layers[:, 1] + layers[:, 1]).sum())
        wanted = (n_flat,), (samples, layers[0, 0]), (samples, layers[-1, 1]), (epochs, samples)
        found = flat.shape, data.x.shape, data.y.shape, data.orders.shape
        if found != wanted:
            raise ValueError(f"parameters, x, y and orders have shapes {found}; {wanted} are needed")
        if data.orders.size and not 0 <= data.orders.min() <= data.orders.max() < samples:
            raise IndexError(f"orders have to be of rows 0 to {samples - 1}")

    def _all_steps(self, data, state, history, poll):
        """Calls the program, for a little while each time, until there is nothing more to do."""
        more = True
        while more:
            poll()
            started, steps = time.perf_counter(), self._steps
            # who comes second does not wait for Numba's threads, but computes alone, and to the same bits
            shared = self.shared and not FORKED.is_set() and POOL.acquire(blocking=False)
            try:
                more = self._program(shared)(self.plan, self._sections, data, state, history, self._work, steps)
            finally:
                if shared:
                    POOL.release()
            if more:
                spent = max(time.perf_counter() - started, 1e-9)
                self._steps = max(1, min(2 * steps, int(steps * CALL_SECONDS / spent)))

    def _state(self, flat, slots):
        """The parameters and the optimizer's arrays, with empty ones for those that it does without."""
        arrays = [slots[name] for name in SLOTS[self.plan.rule]]
        arrays += [np.empty(0, self.dtype)] * (2 - len(arrays))
        return fused_epochs.State(flat, *arrays, slots.get("powers", np.ones(2)))

    def _history(self, flat, epochs, kept):
        """Room for that many epochs' losses and measures, and for the parameters of those that are kept."""
        shapes = epochs, (epochs, self._measures), int(self.plan.layers[-1, 1])
        snapshots, rows = (np.empty((0, flat.size), self.dtype), np.full(epochs, -1)) if kept is None else kept
        if rows.shape != (epochs,) or rows.max(initial=-1) >= len(snapshots) or snapshots.shape[1:] != flat.shape:
            raise ValueError(f"{rows.shape} rows of {snapshots.shape} do not fit {epochs} epochs of {flat.size}")
        return fused_epochs.History(*map(np.zeros, shapes), np.zeros(2, np.int64), snapshots, rows)


def _sections_of(kind, plan, dtype, fused):
    """Where in the work array of such a program stands what."""
    if kind == "rows":
        return fused_rows.sections_of(plan, dtype)
    return fused_epochs.sections_of(plan, dtype, packed=not fused)


@cache
def _ready(kind, dtype, shared, fused, shape):
    """The program for what `Trainer.run` gives it, compiled or loaded, and the seconds that compiling it took."""
    if kind == "rows":
        made = fused_rows.program(dtype, shared)
    elif kind == "fixed":
        made = fused_fixed.program(dtype, shape, fused)
    else:
        made = fused_epochs.program(dtype, shared, fused)
    if shared:
        numba.get_num_threads()  # starts Numba's threads, which code that comes from disk does not do by itself
    started = time.perf_counter()
    with _announced(f"compiling a training step for {dtype}"):
        made.compile(_signature(dtype))
    return made, time.perf_counter() - started if made.stats.cache_misses else 0.0


def _signature(dtype):
    """The types of a program's arguments."""
    real, whole, places = np.empty(0, dtype), np.empty((0, 0), np.int64), np.empty(0, np.int64)
    wide, matrix = np.empty(0), np.empty((0, 0))
    data = fused_epochs.Data(_locked(matrix, dtype), _locked(matrix, dtype), _locked(whole, np.int64), wide)
    arguments = (
        fused_epochs.Plan(whole, wide, *[0] * 7),
        fused_epochs.Sections(*[0] * len(fused_epochs.Sections._fields)),
        *(data, fused_epochs.State(real, real, real, wide)),
        *(fused_epochs.History(wide, matrix, wide, places, np.empty((0, 0), dtype), places), real, 0),
    )
    return tuple(map(numba.typeof, arguments))


@contextlib.contextmanager
def _announced(what):
    """Says on standard error what is going on, if it takes over a second and standard error is a terminal."""

    def say():
        if sys.stderr.isatty():
            print(f"backprop-ref: {what} (kept for the next time)", file=sys.stderr)

    timer = threading.Timer(ANNOUNCED_AFTER_SECONDS, say)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _locked(array, dtype):
    """The array, C-contiguous, as a view that is read-only: one kind of array for compiled code, however it came."""
    array = np.ascontiguousarray(array, dtype).view()
    array.flags.writeable = False
    return array
