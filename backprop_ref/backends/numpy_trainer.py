"""Whole epochs in NumPy with buffers that are used again: the accelerator that the numpy backend offers to training.

The rules of `backprop_ref.formulas` in place, some of them in fewer passes over memory. z and a of a layer share an
array, as every slope can be had from a; delta and da have one each, of the widest layer.
"""

from typing import Any, NamedTuple

import numpy as np

from backprop_ref.backends.arithmetic import Fast
from backprop_ref.backends.array import divisor
from backprop_ref.formulas import ACTIVATIONS, LEAKY_SLOPE, LOSSES, SQUARED_ERROR
from backprop_ref.metrics import predicted_class
from backprop_ref.optimizers import SGD, Adam
from backprop_ref.parameters import Parameters

SATURATED = 40.0

# Entries of the flat vector that are updated at a time, so that they stay in the cache from line to line.
BLOCK = 2**14

# Each activation is a pair: a from z, in place, and beneath it delta from da, in place. `room` is an array like z.


def sigmoid(z, room):
    """e / (1 + e) with e = exp(z), which is 1 to rounding from `SATURATED` on."""
    np.minimum(z, SATURATED, out=z)
    np.exp(z, out=z)
    np.add(z, 1, out=room)
    z /= room


def sigmoid_backward(a, da, room):
    np.multiply(a, a, out=room)
    np.subtract(a, room, out=room)
    da *= room


def tanh(z, room):
    np.tanh(z, out=z)


def tanh_backward(a, da, room):
    np.multiply(a, a, out=room)
    np.subtract(1, room, out=room)
    da *= room


def relu(z, room):
    room.fill(0)  # NumPy has no vectorised maximum of an array and a number
    np.maximum(z, room, out=z)


def relu_backward(a, da, room):
    da *= a > 0


def leaky_relu(z, room):
    np.multiply(z, LEAKY_SLOPE, out=room)
    np.maximum(z, room, out=z)


def leaky_relu_backward(a, da, room):
    np.multiply(da, LEAKY_SLOPE, out=da, where=np.less_equal(a, 0))


def softmax(z, room):
    z -= z.max(axis=1, keepdims=True)
    np.exp(z, out=z)
    z /= z.sum(axis=1, keepdims=True)


def softmax_backward(a, da, room):
    np.multiply(da, a, out=room)
    da -= room.sum(axis=1, keepdims=True)
    da *= a


def linear(z, room):
    pass


def linear_backward(a, da, room):
    pass


ACTIVATION = {
    "sigmoid": (sigmoid, sigmoid_backward),
    "tanh": (tanh, tanh_backward),
    "relu": (relu, relu_backward),
    "leaky_relu": (leaky_relu, leaky_relu_backward),
    "softmax": (softmax, softmax_backward),
    "linear": (linear, linear_backward),
}


def in_place(name):
    """The pair of an activation: the one above, or else its rules, whose results are copied."""
    rule, m = ACTIVATIONS[name], Fast(np)

    def forward(z, room):
        z[...] = rule.forward(m, z)

    def backward(a, da, room):
        da[...] = rule.backward(m, a, a, da)

    return ACTIVATION.get(name, (forward, backward))


# Each loss, or pair of one with an activation, turns z of the last layer into a, returns the sum of the loss's terms,
# and puts `scale` times the derivatives of that sum with respect to z into the delta of the last layer. `whole` are the
# sums over the outputs of y, or None where all are 1 or the loss does without.


def softmax_cross_entropy(b, whole, scale):
    z, delta = b.a[-1], b.delta[-1]
    z -= z.take(b.firsts + z.argmax(1))[:, None]  # the largest of each row; NumPy's max is slow along short ones
    np.exp(z, out=delta)
    total = delta.dot(b.ones_out)
    logs = np.log(total)
    loss = (logs.sum() if whole is None else whole.dot(logs)) - np.vdot(b.y, z)
    np.divide(delta, total[:, None], out=z)
    if whole is None:
        np.subtract(z, b.y, out=delta)
    else:
        np.multiply(z, whole[:, None], out=delta)
        delta -= b.y
    delta *= scale
    return loss


def sigmoid_cross_entropy(b, whole, scale):
    z, y, delta, room = b.a[-1], b.y, b.delta[-1], b.room[-1]
    np.negative(z, out=delta)
    softplus(delta, room, z)
    loss = np.vdot(y, room)
    np.negative(delta, out=z)
    sigmoid(delta, room)
    delta *= y
    delta *= -scale
    sigmoid(z, room)
    return loss


def sigmoid_binary_cross_entropy(b, whole, scale):
    z, y, delta, room = b.a[-1], b.y, b.delta[-1], b.room[-1]
    softplus(z, room, delta)
    np.multiply(z, y, out=delta)
    room -= delta
    loss = room.sum()
    sigmoid(z, room)
    np.subtract(z, y, out=delta)
    delta *= scale
    return loss


def softplus(x, out, room):
    """log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|))"""
    np.abs(x, out=out)
    np.negative(out, out=out)
    np.exp(out, out=out)
    np.log1p(out, out=out)
    out += np.maximum(x, 0, out=room)


TOGETHER = {
    ("cross_entropy", "softmax"): softmax_cross_entropy,
    ("cross_entropy", "sigmoid"): sigmoid_cross_entropy,
    ("binary_cross_entropy", "sigmoid"): sigmoid_binary_cross_entropy,
}


def squared_error(b, rule, scale):
    """The same for the squared error and any activation; `rule` is its pair."""
    (forward, backward), z, delta = rule, b.a[-1], b.delta[-1]
    forward(z, b.room[-1])
    np.subtract(z, b.y, out=delta)
    loss = np.vdot(delta, delta)
    delta *= 2 * scale
    backward(z, delta, b.room[-1])
    return loss


class Data(NamedTuple):
    """What is trained on.

    Attributes
    ----------
    x, y : arrays of shape (n, n_in) and (n, n_out)
    whole : array of shape (n,) or None
        The sums over the outputs of y, for the cross entropy under softmax; None where all are 1.
    classes : array of shape (n,) or None
        What class y says, where the metric is accuracy.
    """

    x: np.ndarray
    y: np.ndarray
    whole: np.ndarray | None
    classes: np.ndarray | None


class Rows:
    """The buffers of a trainer, cut to a batch or shard of m rows.

    Attributes
    ----------
    a, a_T : lists of arrays of shape (m, width), and their transposes
        x, and of each layer z, then a.
    delta, room : lists of arrays of shape (m, n_out), one for each layer
        Neighbouring layers have deltas in different memory; all rooms are one.
    y : array of shape (m, n_out)
    ones, ones_out : arrays of m and of the last layer's n_out ones
    firsts : array of shape (m,)
        Where the rows of the last layer's arrays begin; it and `ones_out` are for the softmax under cross entropy.
    """

    def __init__(self, trainer, m):
        widths = trainer.network.sizes
        self.a = [_cut(buffer, m, width) for buffer, width in zip(trainer.a, widths, strict=True)]
        self.a_T = [a.T for a in self.a]
        self.room = [_cut(trainer.room, m, n_out) for n_out in widths[1:]]
        self.delta = [_cut(trainer.deltas[layer % 2], m, n_out) for layer, n_out in enumerate(widths[1:])]
        self.y, self.ones, self.ones_out = _cut(trainer.y, m, widths[-1]), trainer.ones[:m], trainer.ones[: widths[-1]]
        self.firsts = np.arange(m) * widths[-1]


class Correct:
    """How many rows of an epoch are of the class that y says; compared at its end, all at once."""

    def __init__(self, data, order):
        self.wanted = data.classes.take(order)
        self.found, self.done = np.empty_like(self.wanted), 0

    def add(self, b):
        a = b.a[-1]
        here = self.found[self.done : self.done + len(a)]
        self.done += len(a)
        predicted_class(a, here)

    def sums(self):
        return [np.count_nonzero(self.found == self.wanted)]


class Residuals:
    """The sum over the rows of an epoch of (a - y)^2, for each output."""

    def __init__(self, data, order):
        self.total = np.zeros(data.y.shape[1])

    def add(self, b):
        difference = np.subtract(b.a[-1], b.y, out=b.room[-1])
        self.total += b.ones.dot(np.multiply(difference, difference, out=difference))

    def sums(self):
        return self.total


MEASURE: dict[str, type[Correct] | type[Residuals]] = {"accuracy": Correct, "r2": Residuals}


class Trainer:
    """Whole epochs in NumPy, with the `run` of `training.pairs.PairsTrainer`.

    Beyond its caller's arrays it keeps gradients, those of a shard as well where there are several, and for each row
    of a batch or shard: x, y, a of each layer and three numbers for each neuron of the widest; and three whole numbers
    for each row of the data where correct ones are counted. Parameters and data are not copied. For plain gradient
    descent the learning rate is a factor of the last layer's delta, and so of every other and of all dW: what comes out
    is another where eta delta leaves the range of the dtype.
    """

    def __init__(self, network, optimizer, dtype, batch_size, shards, metric):
        self.network, self.optimizer, self.dtype, self.metric = network, optimizer, np.dtype(dtype), metric
        self.batch_size, self.shards = batch_size, shards
        self.plain = optimizer == SGD(optimizer.learning_rate)
        self.measures = 1 if metric == "accuracy" else network.sizes[-1]
        self.rules = [in_place(name) for name in network.activations]
        self.together = TOGETHER.get((network.loss, network.activations[-1]))
        m, n_flat = -(-batch_size // shards), network.n_parameters
        self.a = [np.empty(m * width, dtype) for width in network.sizes]
        self.y, self.ones = np.empty(m * network.sizes[-1], dtype), np.ones(max(m, network.sizes[-1]), dtype)
        self.room, *self.deltas = (np.empty(m * max(network.sizes[1:]), dtype) for _ in range(3))
        self.grads = [Parameters(np.empty(n_flat, dtype), network.sizes) for _ in range(2 if shards > 1 else 1)]
        self.spare = np.empty((2, min(BLOCK, n_flat)), dtype)
        self._rows = {}

    def run(self, params, slots, x, y, orders, learning_rates, poll=lambda: None, kept=None):
        """Trains `params` and `slots` in place; see `training.pairs.PairsTrainer.run`."""
        losses, measures, data = [], [], self.data(x, y)
        for epoch, (order, rate) in enumerate(zip(orders, learning_rates, strict=True)):
            total, measured = 0.0, MEASURE[self.metric](data, order)
            for start in range(0, len(order), self.batch_size):
                poll()
                rows = order[start : start + self.batch_size]
                if self.plain:
                    loss = self.gradients(params, data, rows, -rate, measured)
                    params.flat += self.grads[0].flat
                else:
                    loss = self.gradients(params, data, rows, 1.0, measured)
                    self.update(params, slots, rate)
                total += loss * len(rows)
            losses.append(total / len(order))
            measures.append(measured.sums())
            if kept is not None:
                kept.keep(epoch, params.flat)
            if not (np.isfinite(losses[-1]) and np.isfinite(params.flat).all()):
                break
        return np.array(losses), np.array(measures, float).reshape(-1, self.measures)

    def data(self, x, y):
        """x and y, with what of them is used again and again."""
        whole = y.sum(axis=1) if self.together is softmax_cross_entropy else None
        classes = predicted_class(y) if self.metric == "accuracy" else None
        return Data(x, y, None if whole is None or (whole == 1).all() else whole, classes)

    def gradients(self, params, data, rows, factor, measured):
        """The loss of a batch; leaves `factor` times its gradients in ``grads[0]``, and adds to `measured`."""
        small, larger = divmod(len(rows), self.shards)
        n, start, loss = divisor(self.network.loss, data.y[:1], len(rows)), 0, 0.0
        for shard in range(min(self.shards, len(rows))):
            part = rows[start : start + small + (shard < larger)]
            start += len(part)
            b = self._rows.get(len(part)) or self._rows.setdefault(len(part), Rows(self, len(part)))
            _gather(data.x, part, b.a[0])
            _gather(data.y, part, b.y)
            whole = None if data.whole is None else data.whole.take(part)
            loss += float(self.value_and_grad(params, b, whole, factor / n, self.grads[shard > 0]))
            if shard > 0:
                self.grads[0].flat += self.grads[1].flat
            measured.add(b)
        return loss / n

    def value_and_grad(self, params, b, whole, scale, grads):
        """The sum of the loss's terms for gathered rows; fills `grads` with `scale` times its gradients."""
        last = self.network.n_layers - 1
        for layer in range(last + 1):
            z = b.a[layer].dot(params.W[layer], b.a[layer + 1])
            z += params.b[layer]
            if layer < last:
                self.rules[layer][0](z, b.room[layer])
        loss = self.together(b, whole, scale) if self.together else squared_error(b, self.rules[last], scale)
        for layer in range(last, -1, -1):
            delta = b.delta[layer]
            if layer < last:
                self.rules[layer][1](b.a[layer + 1], delta, b.room[layer])
            if layer > 0:
                delta.dot(params.W[layer].T, b.delta[layer - 1])
            b.a_T[layer].dot(delta, grads.W[layer])
            b.ones.dot(delta, grads.b[layer])
        return loss

    def update(self, params, slots, rate):
        """One step of the optimizer, block by block; `grads` is used up."""
        optimizer, grads = self.optimizer, self.grads[0]
        if optimizer.weight_decay:
            for dW, W in zip(grads.W, params.W, strict=True):
                _add_product(dW, optimizer.weight_decay, W, self.spare[0])
        if isinstance(optimizer, Adam):
            slots["powers"] *= (optimizer.beta1, optimizer.beta2)
        for start in range(0, len(grads.flat), BLOCK):
            part = slice(start, start + BLOCK)
            own = {name: slot if name == "powers" else slot[part] for name, slot in slots.items()}
            g = grads.flat[part]
            UPDATE[type(optimizer)](optimizer, params.flat[part], g, own, rate, *self.spare[:, : len(g)])


def sgd(optimizer, flat, g, slots, rate, spare, more):
    """W <- W - eta g, with momentum as `SGD` says."""
    if optimizer.momentum:
        v = slots["velocity"]
        v *= optimizer.momentum
        v += g
        if optimizer.nesterov:
            g += np.multiply(v, optimizer.momentum, out=spare)
        else:
            g = v
    flat -= np.multiply(g, rate, out=spare)


def adam(optimizer, flat, g, slots, rate, spare, more):
    """W <- W - (eta (m/c1)) / (sqrt(v/c2) + epsilon), as `Adam` says."""
    m, v = slots["m"], slots["v"]
    c1, c2 = (1.0 - slots["powers"]).tolist()
    m *= optimizer.beta1
    np.multiply(g, 1.0 - optimizer.beta1, out=spare)
    m += spare
    v *= optimizer.beta2
    np.multiply(g, g, out=spare)
    spare *= 1.0 - optimizer.beta2
    v += spare
    np.divide(v, c2, out=spare)
    np.sqrt(spare, out=spare)
    spare += optimizer.epsilon
    np.multiply(m, rate / c1, out=more)
    more /= spare
    flat -= more


UPDATE: dict[Any, Any] = {SGD: sgd, Adam: adam}


def create(network, optimizer, dtype, batch_size, shards, metric):
    """A `Trainer` for fast numerics, or None for what it cannot do."""
    loss, output = network.loss, network.activations[-1]
    known = (loss, output) in TOGETHER or LOSSES[loss].with_output(output) is SQUARED_ERROR
    from_a = all(ACTIVATIONS[name].z_for_a for name in network.activations)
    if not (known and from_a) or type(optimizer) not in UPDATE:
        return None
    return Trainer(network, optimizer, dtype, batch_size, shards, metric)


def _cut(buffer, m, width):
    """The first rows of a buffer."""
    return buffer[: m * width].reshape(m, width)


def _gather(source, rows, out):
    """out <- source[rows]; `take` is the quicker, but would copy all of a source that is not C-contiguous."""
    if source.flags.c_contiguous:
        source.take(rows, 0, out, "clip")
    else:
        out[...] = source[rows]


def _add_product(total, factor, array, spare):
    """total <- total + factor * array, block by block; all C-contiguous."""
    total, array = total.reshape(-1), array.reshape(-1)
    for start in range(0, total.size, len(spare)):
        part = slice(start, start + len(spare))
        total[part] += np.multiply(array[part], factor, out=spare[: len(total[part])])
