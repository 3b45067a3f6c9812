"""Whole epochs compiled by Numba: the accelerator that the numba backend offers to training."""

import sys
import threading
import time
from functools import cache

import numba
import numpy as np

from backprop_ref.backends.array import CROSS_ENTROPY, divisor
from backprop_ref.kernels import fused_epochs, fused_fixed, fused_layers

CALL_SECONDS = 0.05
SHARED_FROM = fused_layers.SHARED_FROM
ANNOUNCED_AFTER_SECONDS = 1.0

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


def create(network, optimizer, dtype, batch_size, shards, metric, threads, steps_ahead=None, specialize="auto"):
    """A trainer with the `run` of `training.PairsTrainer` and the bits of it, or None for what it cannot do.

    Parameters
    ----------
    network : Network
    optimizer : SGD or Adam
    dtype : 'float64' or 'float32'
    batch_size, shards : int
    metric : 'accuracy' or 'r2'
    threads : int or None
        For large products; None is Numba's own setting. Changes no bit.
    steps_ahead : int, optional
        How many steps will be asked for, as far as known.
    specialize : 'auto', 'always' or 'never'
        Whether sizes and the rest become constants of a program of its own, which has to be compiled first.
    """
    plan = _plan(network, optimizer, batch_size, shards, metric, threads or numba.get_num_threads())
    return None if plan is None else Trainer(plan, network.n_parameters, dtype, specialize == 'always')


def _plan(network, optimizer, batch_size, shards, metric, workers):
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
    large = max(n_in * n_out * batch_size for n_in, n_out, _, _ in layers) >= fused_layers.SHARED_FROM
    return fused_epochs.Plan(
        layers=np.array(layers, np.int64),
        loss=TOGETHER.get(together, fused_layers.SQUARED_ERROR),
        rule=rule,
        metric=fused_layers.ACCURACY if metric == "accuracy" else fused_layers.RESIDUALS,
        batch_size=batch_size,
        shards=shards,
        workers=workers if large else 1,
        per_row=int(divisor(network.loss, np.empty((1, network.sizes[-1])))),
        numbers=np.array([float(getattr(optimizer, name, 0.0)) for name in names]),
    )


def _rule(optimizer):
    """The code of an optimizer's update rule; None for one that is not ours."""
    from backprop_ref.optimizers import SGD, Adam

    if type(optimizer) is Adam:
        return fused_layers.ADAM
    if type(optimizer) is not SGD:
        return None
    if optimizer.momentum == 0.0:
        return fused_layers.SGD
    return fused_layers.NESTEROV if optimizer.nesterov else fused_layers.MOMENTUM


class Trainer:
    """Whole epochs, compiled.

    Attributes
    ----------
    compile_seconds : float
        What compiling took when this trainer was made; 0.0 if the program was there already, on disk or in memory.
    """

    def __init__(self, plan, n_parameters, dtype, fixed):
        self.plan, self.dtype = plan, np.dtype(dtype)
        self.room = fused_epochs.make_room(plan, n_parameters, dtype)
        self.measures = 1 if plan.metric == fused_layers.ACCURACY else int(plan.layers[-1, 1])
        self.shared = plan.workers > 1
        self.steps = 1
        shape = fused_fixed.Shape.of(plan) if fixed else None
        if fixed:
            _, size = fused_fixed.program(dtype, shape)
            self.room = self.room._replace(work=np.zeros(size, dtype))
        self.program, self.compile_seconds = self._compiled(self.shared, shape)

    def run(self, params, slots, x, y, orders, learning_rates, poll=lambda: None):
        """Trains `params` and `slots` in place; see `training.PairsTrainer.run`."""
        flat, epochs = np.ascontiguousarray(params.flat), len(learning_rates)
        data = fused_epochs.Data(
            _locked(x, self.dtype), _locked(y, self.dtype), _locked(orders, np.int64), np.array(learning_rates, float)
        )
        history = fused_epochs.History(np.zeros(epochs), np.zeros((epochs, self.measures)), np.zeros(2, np.int64))
        state = self._state(flat, slots)
        more = epochs > 0
        while more:
            poll()
            started = time.perf_counter()
            more = self.program(self.plan, data, state, history, self.room, self.steps)
            if more:
                spent = time.perf_counter() - started
                self.steps = max(1, min(2 * self.steps, int(self.steps * CALL_SECONDS / max(spent, 1e-9))))
        if flat is not params.flat:
            params.flat[:] = flat
        done = history.cursor[0]
        return history.losses[:done], history.measures[:done]

    def _state(self, flat, slots):
        """The parameters and the optimizer's arrays, with empty ones for those that it does without."""
        arrays = [slots[name] for name in SLOTS[self.plan.rule]]
        arrays += [np.empty(0, self.dtype)] * (2 - len(arrays))
        return fused_epochs.State(flat, *arrays, slots.get("powers", np.ones(2)))

    def _compiled(self, shared, shape):
        """The program for the arguments that `run` gives it, and what compiling it took."""
        none, whole = np.empty((0, 0), self.dtype), np.empty((0, 0), np.int64)
        data = fused_epochs.Data(_locked(none, none.dtype), _locked(none, none.dtype), _locked(whole, np.int64), np.empty(0))
        flat = np.empty(0, self.dtype)
        state = fused_epochs.State(flat, flat, flat, np.empty(0))
        history = fused_epochs.History(np.empty(0), np.empty((0, 0)), np.empty(0, np.int64))
        arguments = (self.plan, data, state, history, self.room, 1)
        return _program(self.dtype.name, shared, shape, tuple(map(numba.typeof, arguments)))


@cache
def _ready(dtype, shared, shape, signature):
    program = fused_epochs.trainer(dtype, shared) if shape is None else fused_fixed.program(dtype, shape)[0]
    started = time.perf_counter()
    with _announced(f"compiling the trainer for {dtype}"):
        program.compile(signature)
    return program, time.perf_counter() - started if program.stats.cache_misses else 0.0


def _program(dtype, shared, shape, signature):
    before = _ready.cache_info().misses
    program, seconds = _ready(dtype, shared, shape, signature)
    return program, seconds if _ready.cache_info().misses > before else 0.0


class _announced:
    """Says on standard error what is going on, if it takes over a second and standard error is a terminal."""

    def __init__(self, what):
        self.timer = threading.Timer(ANNOUNCED_AFTER_SECONDS, self.say, [what])
        self.timer.daemon = True

    def say(self, what):
        if sys.stderr.isatty():
            print(f"backprop-ref: {what}; kept for the next time", file=sys.stderr)

    def __enter__(self):
        self.timer.start()

    def __exit__(self, *_):
        self.timer.cancel()


def _locked(array, dtype):
    """The array, C-contiguous, as a view that is read-only: one kind of array for the compiled code, however it came."""
    array = np.ascontiguousarray(array, dtype).view()
    array.flags.writeable = False
    return array
