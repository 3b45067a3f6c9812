"""Whole epochs on the GPU: data, parameters and the optimizer's state stay there from the first batch to the last."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np

from backprop_ref import metrics
from backprop_ref.arrays import Batch, Matrix, Rows, Vector
from backprop_ref.backends.array import divisor
from backprop_ref.backends.base import Array, EpochByEpoch, Poll, Progress
from backprop_ref.backends.cupy.pairs import PairsBackend
from backprop_ref.dropout import Seeds
from backprop_ref.formulas import UPDATES
from backprop_ref.kernels.cuda_rules import OF_STEP, ROW, identity, settings_of
from backprop_ref.network import Network
from backprop_ref.optimizers import Optimizer, Slots
from backprop_ref.parameters import Parameters, views


class Trainer(EpochByEpoch):
    """A `backends.base.Trainer`; under reproducible numerics, to the bits of `PairsTrainer`.

    A step is a fixed sequence of launches on fixed buffers. Its batch, its learning rate and where its loss goes to it
    finds in `position`, which its last launch moves on, so it can be played again as it is. Under reproducible numerics
    it is captured in a CUDA graph, one for each size of a batch; CuPy does not capture calls of cuBLAS. Capturing has
    been tried in an emulation alone: where CUDA refuses it, steps are launched one by one.
    """

    by_parts = True

    def __init__(
        self, backend: PairsBackend, network: Network, optimizer: Optimizer, dtype: str, batch_size: int, metric: str
    ) -> None:
        self.backend, self.network, self.optimizer, self.metric = backend, network, optimizer, metric
        self.dtype, self.batch_size, self.xp = dtype, batch_size, backend.xp
        self.measures = metrics.width(metric, network.sizes[-1])
        self.pairs = backend.pairs(dtype)
        self.graphs: dict[int, Any] = {}
        self.capturing = backend.numerics == "reproducible"
        self.data: tuple[Batch, Batch] | None = None
        with backend.scope():
            self._allocate()

    def _allocate(self) -> None:
        """Everything a step reads and writes, apart from what depends on the number of samples."""
        empty, sizes = self._empty, self.network.sizes
        count = self.network.n_parameters
        self.flat, self.gradient = empty(count), empty(count)
        self.W, self.b = views(self.flat, sizes)
        self.dW, self.db = views(self.gradient, sizes)
        self.slots = {name: empty(count) for name in UPDATES[self.optimizer.rule].state}
        self.x, self.y, self.terms = (empty(self.batch_size, n) for n in (sizes[0], sizes[-1], sizes[-1]))
        self.z = [empty(self.batch_size, n) for n in sizes[1:]]
        same = [identity(activation) for activation in self.network.activations]
        self.a = [z if a_is_z else empty(*z.shape) for z, a_is_z in zip(self.z, same, strict=True)]
        self.delta = [empty(*z.shape) for z in self.z]
        self.loss = self.xp.empty((), self.dtype)
        self.position = self.xp.empty(2, "int64")

    def _empty(self, *shape: int) -> Array:
        return self.xp.empty(shape, self.dtype)

    def begin(self, params: Parameters, slots: Slots, x: Batch, y: Batch, weights: Vector | None) -> Batch:
        """Everything to the GPU; the targets."""
        with self.backend.scope():
            self._bring(x, y)
            self.flat.set(params.flat)
            for name, slot in self.slots.items():
                slot.set(slots[name])
        return y

    def epoch(
        self,
        params: Parameters,
        slots: Slots,
        data: Batch,
        order: Rows,
        learning_rate: float,
        poll: Poll,
        seeds: Seeds | None = None,
        *parts: Progress,
    ) -> tuple[float, Vector]:
        """One epoch on the GPU, or what is left of it, after which the parameters are fetched."""
        part, begin = parts[0], parts[0].rows
        with self.backend.scope():
            self._send(order, self._settings(slots, learning_rate, begin), begin)
            try:
                for start in range(begin, len(order), self.batch_size):
                    poll()
                    size = min(self.batch_size, len(order) - start)
                    self._play(size)
                    self.optimizer.advance(slots)
                    part.rows += size
            finally:
                params.flat[:] = self.backend.to_numpy(self.flat)
                self._measure(data[order], part, begin)
        return part.loss / len(order), part.measures

    def end(self, slots: Slots) -> None:
        """Fetches the optimizer's state."""
        with self.backend.scope():
            for name, slot in self.slots.items():
                slots[name][:] = self.backend.to_numpy(slot)

    def _bring(self, x: Batch, y: Batch) -> None:
        """The samples to the GPU, unless they are there, and arrays for what an epoch leaves behind."""
        if self.data is not None and self.data[0] is x and self.data[1] is y:
            return
        self.data, self.graphs = None, {}
        self.X, self.Y = (self.backend.asarray(array, self.dtype) for array in (x, y))
        self.steps = -(-len(x) // self.batch_size)
        self.order = self.xp.empty(len(x), "int64")
        self.settings, self.losses = self._empty(self.steps, ROW), self._empty(self.steps)
        self.outputs = self._empty(len(x), self.network.sizes[-1])
        self.data = x, y

    def _settings(self, slots: Slots, learning_rate: float, begin: int) -> Matrix:
        """What each step of an epoch is told, a row for each, from that of the sample `begin` on."""
        rows, optimizer = np.zeros((self.steps, ROW)), self.optimizer
        slots = {name: slot.copy() for name, slot in slots.items() if name not in self.slots}
        strength = -learning_rate * optimizer.weight_decay if optimizer.decoupled else optimizer.weight_decay
        for row in rows[begin // self.batch_size :]:
            optimizer.advance(slots)
            settings = optimizer.settings(learning_rate, slots)
            row[:] = [*(getattr(settings, name) for name in OF_STEP), strength]
        return rows.astype(self.dtype)

    def _send(self, order: Rows, settings: Matrix, begin: int) -> None:
        """What an epoch goes by, from the sample `begin` on."""
        # Copies may still go on after `set`, so what is copied has to stay.
        self.sent = np.ascontiguousarray(order), settings, np.array([begin, begin // self.batch_size])
        for array, host in zip((self.order, self.settings, self.position), self.sent, strict=True):
            array.set(host)

    def _measure(self, y: Batch, part: Progress, begin: int) -> None:
        """Adds the losses, and correct samples or squared residuals per output, batch by batch; y is in order."""
        outputs, losses = (self.backend.to_numpy(array) for array in (self.outputs, self.losses))
        for start in range(begin, part.rows, self.batch_size):
            rows = slice(start, start + self.batch_size)
            part.loss += float(losses[start // self.batch_size]) * len(y[rows])
            part.measures += metrics.MEASURES[self.metric](outputs[rows], y[rows], metrics.threshold(self.network))

    def _play(self, size: int) -> None:
        """A step of so many samples: the first as it is, which loads every kernel, later ones as a graph."""
        if not self.capturing or size not in self.graphs:
            self._step(size)
            self.graphs[size] = None
            return
        if self.graphs[size] is None:
            self.graphs[size] = self._captured(size)
        if self.graphs[size] is None:
            self._step(size)
        else:
            self.graphs[size].launch()

    def _captured(self, size: int) -> Any:
        """The graph of a step, or None where CUDA refuses it; then no step is captured any more."""
        try:
            with self.xp.cuda.Stream(non_blocking=True) as stream:
                stream.begin_capture()
                try:
                    self._step(size)
                except BaseException:  # Ctrl-C too: a capture left open would make every later call fail
                    with contextlib.suppress(RuntimeError):
                        stream.end_capture()
                    raise
                return stream.end_capture()
        except RuntimeError:  # CUDA's, or a NotImplementedError of CuPy's; any other fault will show in the launches
            self.capturing = False
            return None

    def _step(self, size: int) -> None:
        """One update: gather the batch, go forward, backward, update, keep loss and outputs, move on."""
        each, pairs, network = self.pairs.kernels.each, self.pairs, self.network
        x, y, terms = self.x[:size], self.y[:size], self.terms[:size]
        z, a, delta = ([array[:size] for array in arrays] for arrays in (self.z, self.a, self.delta))
        for samples, rows in ((self.X, x), (self.Y, y)):
            each("gather", rows.size, samples, self.order, self.position, rows, *rows.shape)
        for layer, activation in enumerate(network.activations):
            pairs.affine_forward(a[layer - 1] if layer else x, self.W[layer], self.b[layer], z[layer])
            pairs.activation_forward(activation, z[layer], a[layer])
        n, output = divisor(network.loss, y), network.activations[-1]
        pairs.loss_forward(network.loss, output, z[-1], a[-1], y, n, terms, self.loss)
        pairs.loss_backward(network.loss, output, z[-1], a[-1], y, n, delta[-1])
        for layer in reversed(range(network.n_layers)):
            pairs.affine_backward(delta[layer], a[layer - 1] if layer else x, self.dW[layer], self.db[layer])
            if layer:
                before = delta[layer - 1]
                pairs.affine_backward_input(delta[layer], self.W[layer], before)
                pairs.activation_backward(network.activations[layer - 1], z[layer - 1], a[layer - 1], before, before)
        self._update()
        each("keep_loss", 1, self.loss, self.position, self.losses)
        each("keep_rows", a[-1].size, a[-1], self.position, self.outputs, *a[-1].shape)
        each("advance", 2, self.position, size)

    def _update(self) -> None:
        """The optimizer's step on the flat vector."""
        each, optimizer, count = self.pairs.kernels.each, self.optimizer, self.flat.size
        arrays, settings = (self.flat, self.gradient, *self.slots.values()), (self.settings, self.position)
        if optimizer.weight_decay:
            for W, dW in zip(self.W, self.dW, strict=True):
                each("weight_decay", W.size, W, W if optimizer.decoupled else dW, *settings, W.size)
        state = optimizer.init(np.empty(0))
        optimizer.advance(state)
        constant = optimizer.settings(optimizer.learning_rate, state)
        numbers = [getattr(constant, name) for name in settings_of(optimizer.rule)]
        each(optimizer.rule, count, *arrays, *settings, *numbers, count)
