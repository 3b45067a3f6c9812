"""Whole epochs compiled by Numba: the accelerator that the numba backend offers to training."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from backprop_ref import metrics
from backprop_ref.arrays import Batch, Matrix, Rows, Vector
from backprop_ref.backends.base import Poll, Progress, Snapshots
from backprop_ref.backends.numba_ahead import Ahead
from backprop_ref.backends.numba_threads import FORKED, POOL
from backprop_ref.dropout import Rates, Seeds
from backprop_ref.errors import unknown
from backprop_ref.formulas import LOSSES, OWN_ACTIVATIONS, UPDATES, terms_name
from backprop_ref.kernels import compiling
from backprop_ref.kernels.fused import epochs, layers, memory, one_network, pieces, products, uncompiled
from backprop_ref.kernels.fused.calls import Products
from backprop_ref.kernels.fused.epochs import (
    Counts,
    Data,
    History,
    Hyper,
    Job,
    Layer,
    Pieces,
    Plan,
    Sections,
    State,
)  # fmt: skip
from backprop_ref.kernels.fused.layers import Rules
from backprop_ref.kernels.fused.pieces import Kind
from backprop_ref.network import Network
from backprop_ref.optimizers import OPTIMIZERS, Optimizer, Slots
from backprop_ref.parameters import Parameters

CALL_SECONDS = 0.05  # between two looks at whether Ctrl-C was pressed
ANNOUNCED_AFTER_SECONDS = 1.0

# What `specialize="auto"` reckons with: what a program with constants saves, by layer and step, and what compiling it
# costs, by layer; it has to save that several times over, as neither is known well. Another process compiles it for
# training that has gone on for a while and will go on for longer.
SAVED_SECONDS = 1e-7
COMPILE_SECONDS = 3.0
TIMES_OVER = 2.0
AHEAD_AFTER_SECONDS = 1.0
AHEAD_FOR_SECONDS = 5.0

# The program for every network does nothing but call its pieces, and runs in Python, too, some 0.1 ms a step slower.
# Where it is not on disk, so many steps do without.
UNCOMPILED_STEPS = 1000
SPECIALIZE = ("auto", "always", "never")

# Layers up to that width have the samples of a batch side by side, wider ones those of a neuron.
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
        Whether a program is compiled for this network alone, with its sizes and the rest as constants. By 'auto', for a
        small network, where it repays the wait. Reproducible numerics, to which it makes no difference, take it as soon
        as it is on disk, and in the midst of long training.
    numerics : 'reproducible' or 'fast'
        Reproducible: the bits of `PairsTrainer`, whatever the threads. Fast: fused multiply-add, and sums in an order
        that is the same for the same machine and threads.
    dropout : tuple of float
        The rate of each hidden layer. A program with constants knows none.
    weighted : bool
        Whether samples have weights.
    """
    if specialize not in SPECIALIZE:
        raise unknown("specialize", specialize, SPECIALIZE)
    output = network.activations[-1]
    own = OWN_ACTIVATIONS & {*network.activations}
    if type(optimizer) not in OPTIMIZERS.values() or own:
        return None
    loss, table, w = LOSSES[network.loss], list[Layer](), 0
    for n_in, n_out in zip(network.sizes, network.sizes[1:], strict=False):
        table.append(Layer(n_in, n_out, w))
        w += (n_in + 1) * n_out
    terms, hyper = terms_name(network.loss, output), _hyper(optimizer)
    rules = Rules(network.activations, terms, optimizer.rule, metric, weighted, not optimizer.simple)
    fast, most = numerics == "fast", max(row.n_in * row.n_out for row in table)
    small = most * -(-batch_size // shards) < layers.PACKED_FROM  # plain loops do every product
    # else a batch fills vector registers better than a layer
    wide = max(network.sizes) > NARROW and (fast or not (small or batch_size == 1))
    direct = fast and wide and rules.update == "sgd" and shards == 1 and not _changes_gradients(hyper)
    plan = Plan(
        layers=np.array(table, np.int64),
        hyper=hyper,
        pieces=memory.blank(Pieces),
        together=output in loss.together,
        direct=direct,
        batch_size=batch_size,
        shards=shards,
        workers=(threads or numba.get_num_threads()) if most * batch_size >= products.shared_from(not fast) else 1,
        per_row=int(loss.divisor(1, network.sizes[-1])),
        dropout=np.array([*dropout, 0.0] if dropout else [0.0] * network.n_layers),
    )
    shape = None
    if specialize == "always" or (specialize == "auto" and small):
        shape = None if dropout else one_network.Shape.of(plan, rules)
    fixed = shape is not None and (
        specialize == "always"
        or (steps_ahead or 0) * SAVED_SECONDS > TIMES_OVER * COMPILE_SECONDS
        or (not fast and compiling.is_stored(one_network.program(dtype, shape), epochs.SIGNATURE))
    )
    kind = Kind(dtype, fast, wide, packed=not (small or fast), shared=plan.workers > 1, direct=direct)
    return Trainer(plan, rules, kind, shape, fixed, steps_ahead or 0)


def _changes_gradients(hyper: Hyper) -> bool:
    return bool(hyper.weight_decay or hyper.l1 or hyper.l2 or hyper.clip_value or hyper.clip_norm)


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
        l2=optimizer.l2,
        clip_value=optimizer.clip_value or 0.0,
        clip_norm=optimizer.clip_norm or 0.0,
        max_norm=optimizer.max_norm or 0.0,
    )


class Trainer:
    """A `backends.base.Trainer`, compiled.

    Its program is that for every network, with the pieces of a `kind`, or, `fixed`, one with constants for this network
    alone. In reproducible numerics the one takes the place of the other when it has been compiled elsewhere. Where the
    program for every network is not there either, and `steps_ahead` are known and few, it runs in Python, `uncompiled`.

    Beyond its caller's arrays it has one of parameters + batch x (sum of widths + 3 x widest + outputs + 2) numbers,
    under dropout of batch x 2 widths more, those of a shard's gradient where there are several, and the packed operands
    of one product. Plain gradient descent of wide layers in fast numerics does without the parameters. Parameters and
    data are not copied, but for data of another dtype or layout; with `fixed` the parameters and the optimizer's arrays
    are, as it is for few.

    `compile_seconds` says what compiling its program took, 0.0 or next to it if it was on disk, or compiled for another
    trainer.
    """

    by_parts = True

    def __init__(
        self, plan: Plan, rules: Rules, kind: Kind, shape: one_network.Shape | None, fixed: bool, steps_ahead: int
    ) -> None:
        self.rules, self.dtype, self.compile_seconds = rules, np.dtype(kind.dtype), 0.0
        self._general, self._constants = (plan, kind), shape
        self._ahead: Ahead | None = None
        self._steps, self._steps_ahead, self._steps_done, self._seconds = 1, steps_ahead, 0, 0.0
        self._next: one_network.Shape | None = None
        few = not fixed and 0 < steps_ahead <= UNCOMPILED_STEPS
        self._uncompiled = few and not pieces.program_is_there(kind.dtype)
        self._measures = metrics.width(rules.metric, int(plan.layers[-1, 1]))
        self._take(shape if fixed else None)

    @property
    def fixed(self) -> bool:
        """Whether its program is one with constants."""
        return self._shape is not None

    @property
    def shared(self) -> bool:
        """Whether large products are divided among Numba's threads."""
        return self.kind.shared

    def _take(self, shape: one_network.Shape | None) -> None:
        """Lays out memory, and compiles if need be, for the program with these constants, or that for every network."""
        self._shape, self._plans = shape, dict[bool, tuple[Products, Plan]]()
        self.plan, self.kind = self._general
        if shape is None:
            self.plan, self._sections = pieces.placed_with_panels(self.plan, self.kind, self.rules)
            self._work = np.zeros(self._sections.end, self.dtype)
        else:
            self.kind = self.kind._replace(wide=False, packed=False, shared=False)
            self._sections = memory.blank(Sections)
            self._work = np.zeros(one_network.sections_of(shape, self.dtype.name).end, self.dtype)
        self._plan(self.shared)

    def _plan(self, shared: bool) -> tuple[Products, Plan]:
        """What products need, and the plan, with the addresses of the pieces; these, and the program, are compiled
        first if need be."""
        if shared not in self._plans:
            before, dtype, shape = compiling.seconds(), self.dtype.name, self._shape
            if shared:
                numba.get_num_threads()  # starts Numba's threads, which code that comes from disk does not do by itself
            with _announced(f"compiling a training step for {dtype}"), compiling.uncollected():
                kind, plan = self.kind._replace(shared=shared), self.plan
                if shape is None:
                    self._program = uncompiled.program(dtype) if self._uncompiled else epochs.program(dtype)
                    plan = pieces.with_pieces(plan, kind, self.rules, self._uncompiled)
                else:
                    self._program = one_network.program(dtype, shape, self.kind.fused)
                    self._program.compile(epochs.SIGNATURE)
                self._plans[shared] = pieces.products_for(plan, self._sections, kind, self._work), plan
            self.compile_seconds += compiling.seconds() - before
        return self._plans[shared]

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
        """Trains `params` and `slots` in place; see `backends.base.Trainer.run`."""
        flat = np.ascontiguousarray(params.flat)
        data = self._data(x, y, orders, learning_rates, seeds, weights)
        part = part or Progress.none(self._measures)
        self._check(flat, data, part)
        history = self._history(flat, len(learning_rates), snapshots, part)
        more = len(learning_rates) > 0
        try:
            while more:
                with self._state(flat, slots) as state:
                    more = self._steps_of_one_program(data, state, history, poll)
                if more:
                    self._take(self._next)
        finally:
            if flat is not params.flat:
                params.flat[:] = flat
            if more and history.cursor[0] == 0:
                part.rows, part.loss, part.measures = int(history.cursor[1]), history.losses[0], history.measures[0]
        done = history.cursor[0]
        return history.losses[:done], history.measures[:done]

    def _data(
        self,
        x: Batch,
        y: Batch,
        orders: Rows,
        learning_rates: Sequence[float],
        seeds: Seeds | None,
        weights: Vector | None,
    ) -> Data:
        each = np.empty((0, 1)) if weights is None else weights[:, None]
        return Data(
            *(_locked(x, self.dtype), _locked(y, self.dtype), _locked(each, self.dtype), _locked(orders, np.int64)),
            np.array(learning_rates, np.float64),
            np.zeros((len(learning_rates), len(self.plan.layers)), np.uint64) if seeds is None else seeds,
        )

    def _check(self, flat: Vector, data: Data, part: Progress) -> None:
        """Compiled code looks at no bounds, so everything that it is given has to fit."""
        table, n_epochs = self.plan.layers, len(data.rates)
        samples, n_flat = len(data.x), int((table[:, 0] * table[:, 1] + table[:, 1]).sum())
        each = (samples * self.rules.weighted, 1)
        wanted = (n_flat,), (samples, table[0, 0]), (samples, table[-1, 1]), each, (n_epochs, samples)
        found = flat.shape, data.x.shape, data.y.shape, data.weights.shape, data.orders.shape
        if data.seeds.shape[0] != n_epochs or data.seeds.shape[1] < len(table) - 1:
            raise ValueError(f"seeds have shape {data.seeds.shape}; {(n_epochs, len(table) - 1)} is needed")
        if found != wanted:
            raise ValueError(f"parameters, x, y, weights and orders have shapes {found}; {wanted} are needed")
        if part.rows and not (0 < part.rows < samples and part.rows % self.plan.batch_size == 0):
            raise ValueError(f"{part.rows} rows are no whole batches of an epoch")
        if data.orders.size and not 0 <= data.orders.min() <= data.orders.max() < samples:
            raise IndexError(f"orders have to be of rows 0 to {samples - 1}")

    def _steps_of_one_program(self, data: Data, state: State, history: History, poll: Poll) -> bool:
        """Calls the program, for a little while each time, until there is nothing more to do, or another one is there
        that goes on; gives whether there is more to do."""
        more, jobs, samples = True, dict[bool, Any](), len(data.x)
        done = _steps_at(history.cursor, samples, self.plan.batch_size)
        while more and not self._another_is_there():
            poll()
            started, steps = time.perf_counter(), self._steps
            # who comes second does not wait for Numba's threads, but computes alone, and to the same bits
            shared = self.shared and not FORKED.is_set() and POOL.acquire(blocking=False)
            try:
                if shared not in jobs:
                    jobs[shared] = self._job(shared, data, state, history)
                more = self._program(jobs[shared], steps)
            finally:
                if shared:
                    POOL.release()
            spent = max(time.perf_counter() - started, 1e-9)
            if more:
                self._steps = max(1, min(2 * steps, int(steps * CALL_SECONDS / spent)))
            done, before = _steps_at(history.cursor, samples, self.plan.batch_size), done
            self._steps_done, self._seconds = self._steps_done + done - before, self._seconds + spent
        return more

    def _another_is_there(self) -> bool:
        """Whether it is time for another program, the `_next`: for one with constants that is on disk now, which
        another process starts to compile where training will last."""
        if self._uncompiled:
            self._uncompiled = self._steps_done < UNCOMPILED_STEPS
            return not self._uncompiled
        if self.fixed or self._constants is None or self.kind.fused:
            return False
        if self._ahead is not None:
            if not self._ahead.is_over():
                return False
            self._ahead, shape = None, self._constants
            there = compiling.is_stored(one_network.program(self.dtype.name, shape), epochs.SIGNATURE)
            self._next = self._constants = shape if there else None
            return there
        left = self._seconds * (self._steps_ahead / max(self._steps_done, 1) - 1.0)
        if self._seconds > AHEAD_AFTER_SECONDS and left > AHEAD_FOR_SECONDS and sys.executable:
            self._ahead = Ahead(self.dtype.name, self._constants)
        return False

    def _job(self, shared: bool, data: Data, state: State, history: History) -> Any:
        """All that the program gets, in memory."""
        products, plan = self._plan(shared)
        counts = Counts(
            layers=len(plan.layers),
            flat=state.flat.size,
            samples=len(data.x),
            epochs=len(data.rates),
            measures=self._measures,
            seeds=data.seeds.shape[1],
            weighted=self.rules.weighted,
        )
        job = Job(products, plan, self._sections, data, state, history, counts, self._work)
        if self._uncompiled:
            return uncompiled.Memory.of(self.dtype.name, job)
        return memory.words_of(epochs.kind_for(self.dtype.name), job)

    @contextlib.contextmanager
    def _state(self, flat: Vector, slots: Slots) -> Iterator[State]:
        """The parameters and the optimizer's arrays, with empty ones for those that it does without; where the program
        has them in its work array, they are there meanwhile."""
        empty = np.empty(0, self.dtype)
        arrays = [flat, *(slots[name] for name in UPDATES[self.rules.update].state)]
        inside = arrays
        if self._shape is not None:
            begins = one_network.sections_of(self._shape, self.dtype.name)
            starts = begins.flat, begins.first, begins.second
            inside = [self._work[start : start + flat.size] for start, _ in zip(starts, arrays, strict=False)]
            for into, array in zip(inside, arrays, strict=True):
                into[:] = array
        norms = np.empty(self.plan.layers[:, 1].max())
        try:
            flat, first, second, *_ = [*inside, empty, empty]
            yield State(flat, first, second, slots.get("powers", np.ones(2)), norms)
        finally:
            for into, array in zip(inside, arrays, strict=True):
                if into is not array:
                    array[:] = into

    def _history(self, flat: Vector, n_epochs: int, snapshots: Snapshots | None, part: Progress) -> History:
        """Arrays for that many epochs' losses and measures, of which the first has a part, and for the parameters after
        some of them."""
        none = Snapshots(np.empty((0, flat.size), self.dtype), np.full(n_epochs, -1))
        flats, rows = none if snapshots is None else snapshots
        if rows.shape != (n_epochs,) or rows.max(initial=-1) >= len(flats) or flats.shape[1:] != flat.shape:
            raise ValueError(f"{rows.shape} rows of {flats.shape} do not fit {n_epochs} epochs of {flat.size}")
        losses, measures = np.zeros(n_epochs), np.zeros((n_epochs, self._measures))
        losses[:1], measures[:1] = part.loss, part.measures
        sums = np.zeros(2 * self.plan.layers[-1, 1])
        return History(losses, measures, sums, np.array([0, part.rows]), flats, rows)


def _steps_at(cursor: npt.NDArray[np.int64], samples: int, batch_size: int) -> int:
    """How many steps lie before a cursor."""
    epoch, start = cursor
    return int(epoch * -(-samples // batch_size) + start // batch_size)


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
