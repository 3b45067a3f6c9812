"""Who is timed: backends, by their trainers or by the pairs, and the parts of a step that bound its time from below.

A contestant has a `name`, `kind`, `steps` (in an epoch) and `scope()`; ``restart(learning_rate)`` goes back to the
task's initial parameters, off the clock; ``run(epochs)`` trains, and returns when all is computed. One that trains has
``parameters()`` as well, and ``first_step(learning_rate)``, which restarts, trains on the first batch alone and returns
them. `compile_seconds` is what compilation took, where that is known.
"""

import time
from itertools import pairwise

import numpy as np

from backprop_ref.api import value_and_grad
from backprop_ref.backends import get_backend
from backprop_ref.backends.numpy import blas_threads
from backprop_ref.benchmarks.check import LeftOut
from backprop_ref.benchmarks.ladder import LEARNING_RATE
from backprop_ref.errors import BackendUnavailable
from backprop_ref.optimizers import SGD
from backprop_ref.random import Stream
from backprop_ref.training.pairs import PairsTrainer

STEPS_AHEAD = 10**9
LONGEST_CHECK_SECONDS = 60.0
EMULATED = "host emulation"


class OnBackend:
    """Training on a backend, as `backprop_ref.train` does it between two looks at the clock.

    Timed: gathering each batch's rows, forward and backward pass, loss, accuracy or residuals, update; and on a device,
    the transfers. Not timed: drawing the order of the samples, the history, early stopping. The trainer is told to
    expect `steps_ahead` steps; of many, a small network is compiled with constants.
    """

    kind = "backend"

    def __init__(self, task, backend, steps_ahead=STEPS_AHEAD):
        refuse_emulation(backend)
        self.task, self.backend, self.steps = task, backend, task.batches
        self.name, self.numerics = f"{backend.name} {backend.numerics}", backend.numerics
        offer = getattr(backend, "trainer", None)
        if offer is None:
            self._refuse_the_slow()
        network, optimizer, dtype = task.network, SGD(LEARNING_RATE), task.dtype
        asked = (network, optimizer, dtype, task.batch, 1, task.metric)
        with backend.scope():
            trainer = offer and offer(*asked, steps_ahead)
        self.trainer = trainer or PairsTrainer(backend, network, optimizer, task.batch, 1, task.metric)
        self.compile_seconds = getattr(trainer, "compile_seconds", 0.0)
        self._orders = np.empty((0, len(task.data[0])), np.int64)
        self.restart(LEARNING_RATE)

    def _refuse_the_slow(self):
        """One row tells whether a whole batch is worth waiting for."""
        x, y = (rows[:1] for rows in self.task.first_batch)
        for _ in range(2):  # the first may have to compile
            started = time.perf_counter()
            value_and_grad(self.task.network, self.task.params, x, y, backend=self.backend)
            seconds = time.perf_counter() - started
        if seconds * self.task.batch > LONGEST_CHECK_SECONDS:
            raise LeftOut(f"one row takes {seconds:.2g} s, and a batch has {self.task.batch}")

    def scope(self):
        return self.backend.scope()

    def restart(self, learning_rate):
        self.learning_rate = learning_rate
        self.params = self.task.params.copy()
        self.slots = SGD(learning_rate).init(self.params.flat)

    def run(self, epochs):
        self._train(self.task.data, self._orders_of(epochs))
        self.backend.synchronize()

    def first_step(self, learning_rate):
        self.restart(learning_rate)
        with self.scope():
            self._train(self.task.first_batch, np.arange(self.task.batch)[None, :])
        return self.parameters()

    def parameters(self):
        return self.params

    def _train(self, data, orders):
        x, y = data
        self.trainer.run(self.params, self.slots, x, y, orders, [self.learning_rate] * len(orders))

    def _orders_of(self, epochs):
        """The same batches in each epoch, kept from the warm-up on."""
        if len(self._orders) != epochs:
            self._orders = np.tile(np.arange(self._orders.shape[1]), (epochs, 1))
        return self._orders


class Limit:
    """A part of the step that nobody gets round, alone: `products`, or `update`.

    products: every matrix product of the step by NumPy's BLAS, into memory that is there already. update: ``W -= g``
    for all parameters.
    """

    kind, compile_seconds = "limit", 0.0

    def __init__(self, task, part):
        self.name, self.task, self.steps = part, task, task.batches
        self._step = {"products": self._products, "update": self._update}[part]()

    def scope(self):
        return blas_threads(self.task.threads)

    def restart(self, learning_rate):
        """Nothing goes on from step to step."""

    def run(self, epochs):
        for _ in range(epochs * self.steps):
            self._step()

    def _products(self):
        sizes, stream = self.task.network.sizes, Stream(1, "check")
        operands = [
            (left, right, left @ right)
            for layer, (n_in, n_out) in enumerate(pairwise(sizes))
            for left, right in products(stream, self.task.batch, n_in, n_out, layer > 0, self.task.dtype)
        ]

        def step():
            for left, right, out in operands:
                np.matmul(left, right, out=out)

        return step

    def _update(self):
        W, g = self.task.params.flat.copy(), np.zeros_like(self.task.params.flat)
        return lambda: np.subtract(W, g, out=W)


def products(stream, batch, n_in, n_out, with_input, dtype):
    """The operands of a layer's z, dW and, `with_input`, da, stored as a backend has them."""
    a, W, delta = (
        stream.normal(rows * columns).reshape(rows, columns).astype(dtype)
        for rows, columns in ((batch, n_in), (n_in, n_out), (batch, n_out))
    )
    return [(a, W), (a.T, delta), (delta, W.T)][: 3 if with_input else 2]


def backend_of(name, numerics, device=None, threads=None):
    """The backend to time; jax, which cannot be given a number of threads, takes what the process is allowed."""
    return get_backend(name, numerics, device, None if name == "jax" else threads)


def refuse_emulation(backend):
    """`BackendUnavailable` for a device that the processor only pretends to be: its times say nothing."""
    if EMULATED in f"{backend.name} {backend.device}":
        raise BackendUnavailable(f"backend {backend.name}: {backend.device} is a {EMULATED}, which is never timed")
