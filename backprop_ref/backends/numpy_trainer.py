"""Whole epochs in NumPy with buffers that are used again: the accelerator that the numpy backend offers to training.

The rules of `backprop_ref.formulas` in place, some of them in fewer passes over memory. z and a of a layer share an
array where its slope can be had from a; delta and da have one each, of the widest layer.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from backprop_ref import sample_weights
from backprop_ref.arrays import Batch, Matrix, Rows, Vector
from backprop_ref.backends.arithmetic import Fast
from backprop_ref.backends.array import divisor
from backprop_ref.backends.base import EpochByEpoch, Poll, Progress
from backprop_ref.dropout import Rates, Seeds, mask
from backprop_ref.formulas import ACTIVATIONS, LOSSES, TERMS, UPDATES, Terms, lasso
from backprop_ref.metrics import count_labels, predicted_class, threshold, width
from backprop_ref.network import Network
from backprop_ref.optimizers import OPTIMIZERS, SGD, Adam, Optimizer, Slots
from backprop_ref.parameters import Parameters

SATURATED = 40.0

# Entries of the flat vector that are updated at a time, so that they stay in the cache from line to line.
BLOCK = 2**14

# Each activation is a pair: a from z, in place, and beneath it delta from da, in place. `scratch` is an array like z.
# Where the slope needs z, it is left there by the first, and found there by the second.

Forward: TypeAlias = Callable[[Batch, Batch], None]
Backward: TypeAlias = Callable[[Batch, Batch, Batch], None]
Together: TypeAlias = Callable[["Buffers", Vector | None, float], Any]


def sigmoid(z: Batch, scratch: Batch) -> None:
    """e / (1 + e) with e = exp(z), which is 1 to rounding from `SATURATED` on."""
    np.minimum(z, SATURATED, out=z)
    np.exp(z, out=z)
    np.add(z, 1, out=scratch)
    z /= scratch


def sigmoid_backward(a: Batch, da: Batch, scratch: Batch) -> None:
    np.multiply(a, a, out=scratch)
    np.subtract(a, scratch, out=scratch)
    da *= scratch


def tanh(z: Batch, scratch: Batch) -> None:
    np.tanh(z, out=z)


def tanh_backward(a: Batch, da: Batch, scratch: Batch) -> None:
    np.multiply(a, a, out=scratch)
    np.subtract(1, scratch, out=scratch)
    da *= scratch


def relu(z: Batch, scratch: Batch) -> None:
    scratch.fill(0)  # NumPy has no vectorised maximum of an array and a number
    np.maximum(z, scratch, out=z)


def relu_backward(a: Batch, da: Batch, scratch: Batch) -> None:
    da *= a > 0


def leaky_relu(z: Batch, scratch: Batch) -> None:
    np.multiply(z, 0.01, out=scratch)
    np.maximum(z, scratch, out=z)


def leaky_relu_backward(a: Batch, da: Batch, scratch: Batch) -> None:
    np.multiply(da, 0.01, out=da, where=np.less_equal(a, 0))


def softmax(z: Batch, scratch: Batch) -> None:
    z -= z.max(axis=1, keepdims=True)
    np.exp(z, out=z)
    z /= z.sum(axis=1, keepdims=True)


def softmax_backward(a: Batch, da: Batch, scratch: Batch) -> None:
    np.multiply(da, a, out=scratch)
    da -= scratch.sum(axis=1, keepdims=True)
    da *= a


ACTIVATION: dict[str, tuple[Forward, Backward]] = {
    "sigmoid": (sigmoid, sigmoid_backward),
    "tanh": (tanh, tanh_backward),
    "relu": (relu, relu_backward),
    "leaky_relu": (leaky_relu, leaky_relu_backward),
    "softmax": (softmax, softmax_backward),
}


def in_place(name: str) -> tuple[Forward, Backward]:
    """The pair of an activation: the one above, or else its rules, whose results are copied."""
    rule, m = ACTIVATIONS[name], Fast(np)

    def forward(z: Batch, scratch: Batch) -> None:
        a = rule.forward(m, z)
        if not rule.z_for_a:
            scratch[...] = z
        if a is not z:
            z[...] = a

    def backward(a: Batch, da: Batch, scratch: Batch) -> None:
        delta = rule.backward(m, a if rule.z_for_a else scratch, a, da)
        if delta is not da:
            da[...] = delta

    return ACTIVATION.get(name, (forward, backward))


# Each loss, or pair of one with an activation, turns z of the last layer into a, returns the sum of the loss's terms,
# and puts `scale` times the derivatives of that sum with respect to z into the delta of the last layer. `sums_of_y` are
# over its outputs, or None where all are 1 or the loss does without.


def softmax_cross_entropy(b: Buffers, sums_of_y: Vector | None, scale: float) -> Any:
    z, delta = b.a[-1], b.delta[-1]
    z -= z.take(b.firsts + z.argmax(1))[:, None]  # the largest of each row; NumPy's max is slow along short ones
    np.exp(z, out=delta)
    total = delta.dot(b.ones_out)
    logs = np.log(total)
    loss = (logs.sum() if sums_of_y is None else sums_of_y.dot(logs)) - np.vdot(b.y, z)
    np.divide(delta, total[:, None], out=z)
    if sums_of_y is None:
        np.subtract(z, b.y, out=delta)
    else:
        np.multiply(z, sums_of_y[:, None], out=delta)
        delta -= b.y
    delta *= scale
    return loss


def sigmoid_cross_entropy(b: Buffers, sums_of_y: Vector | None, scale: float) -> Any:
    z, y, delta, scratch = b.a[-1], b.y, b.delta[-1], b.scratch[-1]
    np.negative(z, out=delta)
    softplus(delta, scratch, z)
    loss = np.vdot(y, scratch)
    np.negative(delta, out=z)
    sigmoid(delta, scratch)
    delta *= y
    delta *= -scale
    sigmoid(z, scratch)
    return loss


def sigmoid_binary_cross_entropy(b: Buffers, sums_of_y: Vector | None, scale: float) -> Any:
    z, y, delta, scratch = b.a[-1], b.y, b.delta[-1], b.scratch[-1]
    softplus(z, scratch, delta)
    np.multiply(z, y, out=delta)
    scratch -= delta
    loss = scratch.sum()
    sigmoid(z, scratch)
    np.subtract(z, y, out=delta)
    delta *= scale
    return loss


def softplus(x: Batch, out: Batch, scratch: Batch) -> None:
    """log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|))"""
    np.abs(x, out=out)
    np.negative(out, out=out)
    np.exp(out, out=out)
    np.log1p(out, out=out)
    out += np.maximum(x, 0, out=scratch)


TOGETHER: dict[tuple[str, str], Together] = {
    ("cross_entropy", "softmax"): softmax_cross_entropy,
    ("cross_entropy", "sigmoid"): sigmoid_cross_entropy,
    ("binary_cross_entropy", "sigmoid"): sigmoid_binary_cross_entropy,
}


def by_rules(pair: Terms, together: bool) -> Callable[[Buffers, tuple[Forward, Backward], float], Any]:
    """The same for any other pair, and for samples that have weights; `rule` is the output activation's."""
    m = Fast(np)

    def loss(b: Buffers, rule: tuple[Forward, Backward], scale: float) -> Any:
        (forward, backward), z, a, delta = rule, b.a[-1].copy() if together else b.a[-1], b.a[-1], b.delta[-1]
        forward(a, b.scratch[-1])
        terms, error = pair.terms(m, z, a, b.y), pair.error(m, z, a, b.y)
        if b.weights.size:
            total = b.weights.dot(terms.sum(axis=1))
            np.multiply(error, (scale * b.weights)[:, None], out=delta)
        else:
            total = terms.sum()
            np.multiply(error, scale, out=delta)
        if not together:
            backward(a, delta, b.scratch[-1])
        return total

    return loss


def squared_error(b: Buffers, rule: tuple[Forward, Backward], scale: float) -> Any:
    """The same for the squared error and any activation; `rule` is its pair."""
    (forward, backward), z, delta = rule, b.a[-1], b.delta[-1]
    forward(z, b.scratch[-1])
    np.subtract(z, b.y, out=delta)
    loss = np.vdot(delta, delta)
    delta *= 2 * scale
    backward(z, delta, b.scratch[-1])
    return loss


class Data(NamedTuple):
    """What is trained on; the sums over the outputs of y, for the cross entropy under softmax, None where all are 1;
    the class that y says, where the metric is accuracy; and the weights of the samples, if they have any.
    """

    x: Batch
    y: Batch
    sums_of_y: Vector | None
    classes: npt.NDArray[np.intp] | None
    weights: Vector | None


class Buffers:
    """The buffers of a trainer, cut to a batch or shard of m rows.

    a has x, and of each layer z, then a. `given` is what each layer is given, a of the layer before or, under dropout,
    that times a mask in `masks`; `given_T` their transposes. Neighbouring layers have deltas in different memory;
    all scratch arrays are one, but those that hold the z of a layer. `firsts` is where the rows of the last layer's
    arrays begin; it and `ones_out` are for the softmax under cross entropy.
    """

    def __init__(self, trainer: Trainer, m: int) -> None:
        widths = trainer.network.sizes
        self.a = [_cut(buffer, m, width) for buffer, width in zip(trainer.a, widths, strict=True)]
        self.scratch = [_cut(buffer, m, n_out) for buffer, n_out in zip(trainer.scratch, widths[1:], strict=True)]
        self.given = [*self.a[:1], *(self.a[1:-1] if not trainer.rates else self._dropped(trainer, m))]
        self.given_T = [a.T for a in self.given]
        self.delta = [_cut(trainer.deltas[layer % 2], m, n_out) for layer, n_out in enumerate(widths[1:])]
        self.masks = list[Batch | None]()
        self.y, self.ones, self.ones_out = _cut(trainer.y, m, widths[-1]), trainer.ones[:m], trainer.ones[: widths[-1]]
        self.weights, self.firsts = trainer.weights[:m], np.arange(m) * widths[-1]
        self.least = threshold(trainer.network)

    def _dropped(self, trainer: Trainer, m: int) -> list[Batch]:
        """Arrays for what hidden layers hand on: their own a where nothing is dropped."""
        return [
            np.empty((m, a.shape[1]), a.dtype) if rate else a
            for rate, a in zip(trainer.rates, self.a[1:], strict=False)
        ]

    def draw(self, rates: Rates, seeds: Seeds, rows: Rows) -> None:
        """The masks of these rows."""
        self.masks = [
            mask(seed, rate, rows, a.shape[1], a.dtype) if rate else None
            for seed, rate, a in zip(seeds, rates, self.a[1:], strict=False)
        ]


class Correct:
    """How many rows of an epoch are of the class that y says; compared at its end, all at once."""

    def __init__(self, data: Data, order: Rows, before: Vector) -> None:
        assert data.classes is not None, "which y has where the metric is accuracy"
        self.wanted, self.before = data.classes.take(order), before
        self.found, self.done = np.empty_like(self.wanted), 0

    def add(self, b: Buffers) -> None:
        a = b.a[-1]
        here = self.found[self.done : self.done + len(a)]
        self.done += len(a)
        predicted_class(a, here, b.least)

    def sums(self) -> Vector:
        return self.before + np.count_nonzero(self.found[: self.done] == self.wanted[: self.done])


class Labels:
    """How many outputs of an epoch are on the side of 0.5 that y says."""

    def __init__(self, data: Data, order: Rows, before: Vector) -> None:
        self.total = before

    def add(self, b: Buffers) -> None:
        self.total = self.total + count_labels(b.a[-1], b.y, b.least)

    def sums(self) -> Vector:
        return self.total


class Residuals:
    """The sum over the rows of an epoch of (a - y)^2, for each output."""

    def __init__(self, data: Data, order: Rows, before: Vector) -> None:
        self.total = before.copy()

    def add(self, b: Buffers) -> None:
        difference = np.subtract(b.a[-1], b.y, out=b.scratch[-1])
        self.total += b.ones.dot(np.multiply(difference, difference, out=difference))

    def sums(self) -> Vector:
        return self.total


MEASURE: dict[str, type[Correct | Labels | Residuals]] = {"accuracy": Correct, "labels": Labels, "r2": Residuals}


class Trainer(EpochByEpoch):
    """A `backends.base.Trainer` in NumPy.

    Beyond its caller's arrays it keeps gradients, those of a shard as well where there are several, and for each row
    of a batch or shard: x, y, a of each layer, z of those whose slope needs it, twice the width of a layer with
    dropout, and three numbers for each neuron of the widest; and three whole numbers for each row of the data where
    correct ones are counted. Parameters and data are not copied. For plain gradient
    descent the learning rate is a factor of the last layer's delta, and so of every other and of all dW: what comes out
    is another where eta delta leaves the range of the dtype.
    """

    by_parts = True

    def __init__(
        self,
        network: Network,
        optimizer: Optimizer,
        dtype: str,
        batch_size: int,
        shards: int,
        metric: str,
        rates: Rates = (),
        has_weights: bool = False,
    ) -> None:
        self.network, self.optimizer, self.dtype, self.metric = network, optimizer, np.dtype(dtype), metric
        self.batch_size, self.shards, self.rates = batch_size, shards, rates
        self.plain = optimizer == SGD(optimizer.learning_rate)
        self.measures = width(metric, network.sizes[-1])
        self.rules = [in_place(name) for name in network.activations]
        loss, output = LOSSES[network.loss], network.activations[-1]
        together, pair = output in loss.together, loss.with_output(output)
        self.together = None if has_weights else TOGETHER.get((network.loss, output))
        squared = pair is TERMS["squared_error"] and not has_weights
        self.alone = squared_error if squared else by_rules(pair, together)
        m, n_flat = -(-batch_size // shards), network.n_parameters
        self.a = [np.empty(m * width, dtype) for width in network.sizes]
        self.weights = np.empty(m * has_weights, dtype)
        self.y, self.ones = np.empty(m * network.sizes[-1], dtype), np.ones(max(m, network.sizes[-1]), dtype)
        scratch, *self.deltas = (np.empty(m * max(network.sizes[1:]), dtype) for _ in range(3))
        self.scratch = [
            scratch if ACTIVATIONS[name].z_for_a else np.empty(m * n_out, dtype)
            for name, n_out in zip(network.activations, network.sizes[1:], strict=True)
        ]
        self.grads = [Parameters(np.empty(n_flat, dtype), network.sizes) for _ in range(2 if shards > 1 else 1)]
        self.blocks = np.empty((2, min(BLOCK, n_flat)), dtype)
        self._buffers: dict[int, Buffers] = {}

    def begin(self, params: Parameters, slots: Slots, x: Batch, y: Batch, weights: Vector | None) -> Data:
        """x and y, with what of them is used again and again."""
        sums_of_y = y.sum(axis=1) if self.together is softmax_cross_entropy else None
        classes = predicted_class(y) if self.metric == "accuracy" else None
        return Data(x, y, None if sums_of_y is None or (sums_of_y == 1).all() else sums_of_y, classes, weights)

    def epoch(
        self,
        params: Parameters,
        slots: Slots,
        data: Data,
        order: Rows,
        learning_rate: float,
        poll: Poll,
        seeds: Seeds | None = None,
        *parts: Progress,
    ) -> tuple[float, Vector]:
        """Each batch's gradients and update; plain gradient descent has the learning rate in the gradients."""
        part, count = parts[0], 0.0
        total, done, measured = part.loss, part.rows, self.measure(data, order[part.rows :], part.measures)
        try:
            for start in range(0, len(order), self.batch_size):
                rows = order[start : start + self.batch_size]
                size = len(rows) if data.weights is None else sample_weights.total(data.weights.take(rows))
                count += size
                if start < done:
                    continue
                poll()
                if self.optimizer.l2:
                    total += 0.5 * self.optimizer.l2 * sum(float(W.ravel().dot(W.ravel())) for W in params.W)
                if self.plain:
                    loss = self.gradients(params, data, rows, size, -learning_rate, measured, seeds)
                    params.flat += self.grads[0].flat
                else:
                    loss = self.gradients(params, data, rows, size, 1.0, measured, seeds)
                    self.update(params, slots, learning_rate, size)
                total += loss * size
                part.rows, part.loss = start + len(rows), total
        finally:
            part.measures = measured.sums()
        return total / count, part.measures

    def measure(self, data: Data, order: Rows, before: Vector) -> Any:
        """What is measured over so many rows, beside what was before."""
        return MEASURE[self.metric](data, order, before)

    def gradients(
        self, params: Parameters, data: Data, rows: Rows, size: float, factor: float, measured: Any, seeds: Seeds | None
    ) -> float:
        """The loss of a batch of such a size, or such a sum of weights; leaves `factor` times its gradients in
        ``grads[0]``, and adds to `measured`.
        """
        n, loss = divisor(self.network.loss, data.y[:1], size), 0.0
        for shard, part in enumerate(cut(rows, self.shards)):
            loss += self.of_shard(params, data, part, factor / n, self.grads[shard > 0], measured, seeds)
            if shard > 0:
                self.grads[0].flat += self.grads[1].flat
        return loss / n

    def of_shard(
        self,
        params: Parameters,
        data: Data,
        part: Rows,
        scale: float,
        grads: Parameters,
        measured: Correct | Labels | Residuals,
        seeds: Seeds | None,
    ) -> float:
        """The sum of the loss's terms for some rows; fills `grads` with `scale` times its gradients, and adds to
        `measured`."""
        b = self._buffers.get(len(part)) or self._buffers.setdefault(len(part), Buffers(self, len(part)))
        _gather(data.x, part, b.a[0])
        _gather(data.y, part, b.y)
        if data.weights is not None:
            data.weights.take(part, out=b.weights)
        if self.rates and seeds is not None:
            b.draw(self.rates, seeds, part)
        sums_of_y = None if data.sums_of_y is None else data.sums_of_y.take(part)
        loss = float(self.value_and_grad(params, b, sums_of_y, scale, grads))
        measured.add(b)
        return loss

    def value_and_grad(
        self, params: Parameters, b: Buffers, sums_of_y: Vector | None, scale: float, grads: Parameters
    ) -> Any:
        """The sum of the loss's terms for gathered rows; fills `grads` with `scale` times its gradients."""
        last = self.network.n_layers - 1
        for layer in range(last + 1):
            z = b.given[layer].dot(params.W[layer], b.a[layer + 1])
            z += params.b[layer]
            if layer < last:
                self.rules[layer][0](z, b.scratch[layer])
                _drop(z, b.masks, layer, b.given[layer + 1])
        loss = self.together(b, sums_of_y, scale) if self.together else self.alone(b, self.rules[last], scale)
        for layer in range(last, -1, -1):
            delta = b.delta[layer]
            if layer < last:
                self.rules[layer][1](b.a[layer + 1], delta, b.scratch[layer])
            if layer > 0:
                delta.dot(params.W[layer].T, b.delta[layer - 1])
                _drop(b.delta[layer - 1], b.masks, layer - 1, b.delta[layer - 1])
            b.given_T[layer].dot(delta, grads.W[layer])
            b.ones.dot(delta, grads.b[layer])
        return loss

    def update(self, params: Parameters, slots: Slots, rate: float, rows: float) -> None:
        """One step of the optimizer, block by block; `grads`, of a batch of so many rows, is used up."""
        optimizer, grads, strength = self.optimizer, self.grads[0], self.optimizer.strength(rows)
        optimizer.clip(grads)
        if optimizer.l1:
            for dW, W in zip(grads.W, params.W, strict=True):
                dW[...] = lasso(np, W, dW, W.dtype.type(optimizer.l1))
        if strength:
            for dW, W in zip(grads.W, params.W, strict=True):
                if optimizer.decoupled:
                    _add_product(W, -rate * strength, W, self.blocks[0])
                else:
                    _add_product(dW, strength, W, self.blocks[0])
        optimizer.advance(slots)
        for start in range(0, len(grads.flat), BLOCK):
            part = slice(start, start + BLOCK)
            state = {name: slot if name == "powers" else slot[part] for name, slot in slots.items()}
            g = grads.flat[part]
            update = UPDATE.get(optimizer.rule, by_table)
            update(optimizer, params.flat[part], g, state, rate, *self.blocks[:, : len(g)])
        optimizer.constrain(params)


def sgd(optimizer: SGD, flat: Vector, g: Vector, slots: Slots, rate: float, scratch: Vector, more: Vector) -> None:
    """W <- W - eta g, with momentum as `SGD` says."""
    if optimizer.momentum:
        v = slots["velocity"]
        v *= optimizer.momentum
        v += g
        if optimizer.nesterov:
            g += np.multiply(v, optimizer.momentum, out=scratch)
        else:
            g = v
    flat -= np.multiply(g, rate, out=scratch)


def adam(optimizer: Adam, flat: Vector, g: Vector, slots: Slots, rate: float, scratch: Vector, more: Vector) -> None:
    """W <- W - (eta (m/c1)) / (sqrt(v/c2) + epsilon), as `Adam` says."""
    m, v = slots["m"], slots["v"]
    settings = optimizer.settings(rate, slots)
    m *= optimizer.beta1
    np.multiply(g, 1.0 - optimizer.beta1, out=scratch)
    m += scratch
    v *= optimizer.beta2
    np.multiply(g, g, out=scratch)
    scratch *= 1.0 - optimizer.beta2
    v += scratch
    np.divide(v, settings.c2, out=scratch)
    np.sqrt(scratch, out=scratch)
    scratch += settings.epsilon
    np.multiply(m, rate / settings.c1, out=more)
    more /= scratch
    flat -= more


def by_table(
    optimizer: Optimizer, flat: Vector, g: Vector, slots: Slots, rate: float, scratch: Vector, more: Vector
) -> None:
    """The rule of `backprop_ref.formulas`, with an array for each result."""
    update = UPDATES[optimizer.rule]
    state = [slots[name] for name in update.state]
    new = update.step(np, optimizer.settings(rate, slots), flat, g, *state)
    for array, value in zip((flat, *state), new, strict=True):
        array[...] = value


UPDATE: dict[str, Callable[..., None]] = {**dict.fromkeys(("sgd", "momentum", "nesterov"), sgd), "adam": adam}


def create(
    network: Network,
    optimizer: Optimizer,
    dtype: str,
    batch_size: int,
    shards: int,
    metric: str,
    rates: Rates = (),
    has_weights: bool = False,
) -> Trainer | None:
    """A `Trainer` for fast numerics, or None for what it cannot do."""
    if type(optimizer) not in OPTIMIZERS.values():
        return None
    return Trainer(network, optimizer, dtype, batch_size, shards, metric, rates, has_weights)


def _drop(values: Batch, masks: list[Batch | None], layer: int, out: Batch) -> None:
    """out <- values times the mask of a layer, if it has one."""
    if masks and (kept := masks[layer]) is not None:
        np.multiply(values, kept, out=out)


def cut(rows: Rows, shards: int) -> list[Rows]:
    """The rows of each shard, as `mlp.cut`."""
    small, larger = divmod(len(rows), shards)
    starts = [shard * small + min(shard, larger) for shard in range(min(shards, len(rows)) + 1)]
    return [rows[start:end] for start, end in pairwise(starts)]


def _cut(buffer: Vector, m: int, width: int) -> Batch:
    """The first rows of a buffer."""
    return buffer[: m * width].reshape(m, width)


def _gather(source: Batch, rows: Rows, out: Batch) -> None:
    """out <- source[rows]; `take` is the quicker, but would copy all of a source that is not C-contiguous."""
    if source.flags.c_contiguous:
        source.take(rows, 0, out, "clip")
    else:
        out[...] = source[rows]


def _add_product(total: Matrix, factor: float, array: Matrix, scratch: Vector) -> None:
    """total <- total + factor * array, block by block; all C-contiguous."""
    entries, factors = total.reshape(-1), array.reshape(-1)
    for start in range(0, entries.size, len(scratch)):
        part = slice(start, start + len(scratch))
        entries[part] += np.multiply(factors[part], factor, out=scratch[: len(entries[part])])
