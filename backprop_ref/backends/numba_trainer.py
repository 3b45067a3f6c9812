"""Whole epochs compiled by Numba: the accelerator that the numba backend offers to training."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from functools import cache
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from backprop_ref import metrics
from backprop_ref.arrays import Batch, Matrix, Rows, Vector
from backprop_ref.backends.base import Poll, Snapshots
from backprop_ref.backends.numba_threads import FORKED, POOL
from backprop_ref.dropout import Rates, Seeds
from backprop_ref.errors import unknown
from backprop_ref.formulas import LOSSES, OWN_ACTIVATIONS, UPDATES, terms_name
from backprop_ref.kernels.fused import epochs, layers, one_network, ordered_products, wide_layers
from backprop_ref.kernels.fused.epochs import Data, History, Hyper, Layer, Plan, Sections, State
from backprop_ref.network import Network
from backprop_ref.optimizers import OPTIMIZERS, Optimizer, Slots
from backprop_ref.parameters import Parameters

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


def create(
    network: Network,
    optimizer: Optimizer,
    dtype: str,
    batch_size: int,
    shards: int,
    metric: str,
    threads: int | None,
    steps_ahead: int | None = None,
    specialize: str = "auto",
    numerics: str = "reproducible",
    dropout: Rates = (),
    weighted: bool = False,
) -> "Trainer | None":
    """A trainer, or None for what it cannot do.

    Parameters
    ----------
    threads : int or None
        For large products; None is Numba's own setting.
    specialize : 'auto', 'always' or 'never'
        Whether a program is compiled for this network alone, with its sizes and the rest as constants.
    numerics : 'reproducible' or 'fast'
        Reproducible: the bits of `PairsTrainer`, whatever the threads. Fast: fused multiply-add, and sums in an order
        that is the same for the same machine and threads.
    dropout : tuple of float
        The rate of each hidden layer. A program with constants knows none.
    weighted : bool
        Whether samples have weights: then the program is one of its own.
    """
    if specialize not in SPECIALIZE:
        raise unknown("specialize", specialize, SPECIALIZE)
    output = network.activations[-1]
    own = OWN_ACTIVATIONS & {*network.activations}
    if type(optimizer) not in OPTIMIZERS.values() or own:
        return None
    loss, terms, rows, w = LOSSES[network.loss], terms_name(network.loss, output), list[Layer](), 0
    how = bool(dropout), not optimizer.simple, weighted
    known = layers.Known.of(network.activations, terms, optimizer.rule, *how)
    for n_in, n_out, activation in zip(network.sizes, network.sizes[1:], network.activations, strict=False):
        rows.append(Layer(n_in, n_out, known.activations.index(activation), w))
        w += (n_in + 1) * n_out
    reproducible, most = numerics == "reproducible", max(row.n_in * row.n_out for row in rows)
    shared_from = (ordered_products if reproducible else wide_layers).SHARED_FROM
    plan = Plan(
        layers=np.array(rows, np.int64),
        hyper=_hyper(optimizer),
        loss=known.terms.index(terms),
        together=output in loss.together,
        rule=known.updates.index(optimizer.rule),
        metric=layers.METRICS.index(metric),
        batch_size=batch_size,
        shards=shards,
        workers=(threads or numba.get_num_threads()) if most * batch_size >= shared_from else 1,
        per_row=int(loss.divisor(1, network.sizes[-1])),
        dropout=np.array([*dropout, 0.0] if dropout else [0.0] * network.n_layers),
    )
    small = most * -(-batch_size // shards) < layers.PACKED_FROM  # plain loops do every product
    repays = (steps_ahead or 0) * SAVED_SECONDS > TIMES_OVER * COMPILE_SECONDS
    if not dropout and (specialize == "always" or (specialize == "auto" and small and repays)):
        return Trainer(plan, known, dtype, "fixed", fused=not reproducible)
    narrow = max(network.sizes) <= NARROW  # a batch fills vector registers better than a layer
    return Trainer(plan, known, dtype, "epochs" if reproducible or narrow else "rows", fused=not reproducible)


def _hyper(optimizer: Optimizer) -> Hyper:
    """What an optimizer is set to."""
    after_a_step = optimizer.init(np.empty(0))
    optimizer.advance(after_a_step)
    settings = optimizer.settings(optimizer.learning_rate, after_a_step)
    epsilons, decay = (getattr(optimizer, "epsilon", 0.0), 0.0), optimizer.weight_decay
    epsilon, epsilon_hat = reversed(epsilons) if getattr(optimizer, "epsilon_hat", False) else epsilons
    return Hyper(
        *(settings.momentum, settings.beta1, settings.beta2, epsilon, epsilon_hat),
        weight_decay=0.0 if optimizer.decoupled else decay,
        decoupled_decay=decay if optimizer.decoupled else 0.0,
        l1=optimizer.l1,
        clip_value=optimizer.clip_value or 0.0,
        clip_norm=optimizer.clip_norm or 0.0,
        max_norm=optimizer.max_norm or 0.0,
    )


class Trainer:
    """A `backends.base.Trainer`, compiled.

    Its `kind` of program is 'epochs' for every network, 'rows' for wide layers, or 'fixed' with constants, for this
    network alone; `fused` is one for fast numerics, as 'rows' always is.

    Beyond its caller's arrays it has one of parameters + batch x (sum of widths + 3 x widest + outputs + 2) numbers,
    those of a shard's gradient where there are several, and the packed operands of one product. Plain gradient descent
    of wide layers in fast numerics does without the parameters. Parameters and data are not copied, but for data of
    another dtype or layout; with 'fixed' the parameters and the optimizer's arrays are, as it is for few.

    `shared` says whether large products are divided among Numba's threads; `compile_seconds` what compiling its program
    took, 0.0 or next to it if it was on disk, or compiled for another trainer.
    """

    def __init__(self, plan: Plan, known: layers.Known, dtype: str, kind: str, fused: bool = False) -> None:
        self.known, self.dtype, self.kind, self.fused = known, np.dtype(dtype), kind, fused
        self.shared = plan.workers > 1 and kind != "fixed"
        self.compile_seconds = 0.0
        self._measures = metrics.width(layers.METRICS[plan.metric], int(plan.layers[-1, 1]))
        self.plan, self._sections = _placed(kind, plan, known, self.dtype.name, fused)
        self._steps = 1
        self._shape = one_network.Shape.of(plan, known) if kind == "fixed" else None
        self._work = np.zeros(self._sections.end, self.dtype)
        self._program(self.shared)

    def _program(self, shared: bool) -> Any:
        """The program that computes, compiled first if need be."""
        started = time.perf_counter()
        program, seconds = _ready(self.kind, self.known, self.dtype.name, shared, self.fused, self._shape)
        spent = time.perf_counter() - started  # next to nothing where another trainer has compiled it
        self.compile_seconds = max(self.compile_seconds, min(seconds, spent))
        return program

    def run(
        self,
        params: Parameters,
        slots: Slots,
        x: Batch,
        y: Batch,
        orders: Rows,
        learning_rates: list[float],
        poll: Poll = lambda: None,
        snapshots: Snapshots | None = None,
        seeds: Seeds | None = None,
        weights: Vector | None = None,
    ) -> tuple[Vector, Matrix]:
        """Trains `params` and `slots` in place; see `backends.base.Trainer.run`."""
        flat = np.ascontiguousarray(params.flat)
        each = np.empty((0, 1)) if weights is None else weights[:, None]
        data = Data(
            *(_locked(x, self.dtype), _locked(y, self.dtype), _locked(each, self.dtype), _locked(orders, np.int64)),
            np.array(learning_rates, np.float64),
            np.zeros((len(learning_rates), len(self.plan.layers)), np.uint64) if seeds is None else seeds,
        )
        self._check(flat, data)
        history = self._history(flat, len(learning_rates), snapshots)
        if len(learning_rates) > 0:
            self._all_steps(data, self._state(flat, slots), history, poll)
        if flat is not params.flat:
            params.flat[:] = flat
        done = history.cursor[0]
        return history.losses[:done], history.measures[:done]

    def _check(self, flat: Vector, data: Data) -> None:
        """Compiled code looks at no bounds, so everything that it is given has to fit."""
        table, n_epochs = self.plan.layers, len(data.rates)
        samples, n_flat = len(data.x), int((table[:, 0] * table[:, 1] + table[:, 1]).sum())
        each = (samples * self.known.weighted, 1)
        wanted = (n_flat,), (samples, table[0, 0]), (samples, table[-1, 1]), each, (n_epochs, samples)
        found = flat.shape, data.x.shape, data.y.shape, data.weights.shape, data.orders.shape
        if data.seeds.shape[0] != n_epochs or data.seeds.shape[1] < len(table) - 1:
            raise ValueError(f"seeds have shape {data.seeds.shape}; {(n_epochs, len(table) - 1)} is needed")
        if found != wanted:
            raise ValueError(f"parameters, x, y, weights and orders have shapes {found}; {wanted} are needed")
        if data.orders.size and not 0 <= data.orders.min() <= data.orders.max() < samples:
            raise IndexError(f"orders have to be of rows 0 to {samples - 1}")

    def _all_steps(self, data: Data, state: State, history: History, poll: Poll) -> None:
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

    def _state(self, flat: Vector, slots: Slots) -> State:
        """The parameters and the optimizer's arrays, with empty ones for those that it does without."""
        empty = np.empty(0, self.dtype)
        state = UPDATES[self.known.updates[self.plan.rule]].state
        first, second, *_ = [*(slots[name] for name in state), empty, empty]
        return State(flat, first, second, slots.get("powers", np.ones(2)), np.empty(self.plan.layers[:, 1].max()))

    def _history(self, flat: Vector, n_epochs: int, snapshots: Snapshots | None) -> History:
        """Arrays for that many epochs' losses and measures, and for the parameters after some of them."""
        none = Snapshots(np.empty((0, flat.size), self.dtype), np.full(n_epochs, -1))
        flats, rows = none if snapshots is None else snapshots
        if rows.shape != (n_epochs,) or rows.max(initial=-1) >= len(flats) or flats.shape[1:] != flat.shape:
            raise ValueError(f"{rows.shape} rows of {flats.shape} do not fit {n_epochs} epochs of {flat.size}")
        losses, measures = np.zeros(n_epochs), np.zeros((n_epochs, self._measures))
        return History(losses, measures, np.zeros(self.plan.layers[-1, 1]), np.zeros(2, np.int64), flats, rows)


def _placed(kind: str, plan: Plan, known: layers.Known, dtype: str, fused: bool) -> tuple[Plan, Any]:
    """The plan for such a program, and the sections of its work array."""
    if kind == "rows":
        return wide_layers.placed_with_panels(plan, dtype, known)
    if kind == "fixed":
        return plan, one_network.sections_of(one_network.Shape.of(plan, known), dtype)
    return epochs.placed_with_panels(plan, dtype, known, packed=not fused)


@cache
def _ready(
    kind: str, known: layers.Known, dtype: str, shared: bool, fused: bool, shape: one_network.Shape | None
) -> tuple[Any, float]:
    """The program for what `Trainer.run` gives it, compiled or loaded, and the seconds that compiling it took."""
    if kind == "rows":
        program = wide_layers.program(dtype, known, shared)
    elif shape is not None:
        program = one_network.program(dtype, shape, fused)
    else:
        program = epochs.program(dtype, known, shared, fused)
    if shared:
        numba.get_num_threads()  # starts Numba's threads, which code that comes from disk does not do by itself
    started = time.perf_counter()
    with _announced(f"compiling a training step for {dtype}"):
        program.compile(_signature(dtype, shape))
    return program, time.perf_counter() - started if program.stats.cache_misses else 0.0


def _signature(dtype: str, shape: one_network.Shape | None) -> tuple[Any, ...]:
    """The types of a program's arguments."""
    sections = Sections(*[0] * len(Sections._fields)) if shape is None else one_network.sections_of(shape, dtype)
    real, whole, places = np.empty(0, dtype), np.empty((0, 0), np.int64), np.empty(0, np.int64)
    wide, matrix = np.empty(0), np.empty((0, 0))
    rows, seeds = _locked(matrix, dtype), np.empty((0, 0), np.uint64)
    data = Data(rows, rows, rows, _locked(whole, np.int64), wide, seeds)
    arguments = (
        Plan(whole, Hyper(), 0, False, 0, 0, 0, 0, 0, 0, wide),
        sections,
        *(data, State(real, real, real, wide, wide)),
        *(History(wide, matrix, wide, places, np.empty((0, 0), dtype), places), real, 0),
    )
    return tuple(map(numba.typeof, arguments))


@contextlib.contextmanager
def _announced(what: str) -> Iterator[None]:
    """Says on standard error what is going on, if it takes over a second and standard error is a terminal."""

    def say() -> None:
        if sys.stderr.isatty():
            print(f"backprop-ref: {what} (kept for the next time)", file=sys.stderr)

    timer = threading.Timer(ANNOUNCED_AFTER_SECONDS, say)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _locked(array: npt.ArrayLike, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """The array, C-contiguous, as a view that is read-only: one kind of array for compiled code, however it came."""
    array = np.ascontiguousarray(array, dtype).view()
    array.flags.writeable = False
    return array
