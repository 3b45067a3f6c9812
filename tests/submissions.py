"""Backpropagation as somebody else would write it in NumPy, in any convention and with any mistake."""

import numpy as np

import backprop_ref as br
from backprop_ref.conformance.judging.judged import Judged
from backprop_ref.conformance.submissions.answer import Answer
from backprop_ref.conformance.submissions.conventions import Layout
from backprop_ref.conformance.vectors.files import shipped_cases
from backprop_ref.formulas import USUAL_ACTIVATIONS, USUAL_LOSSES, USUAL_UPDATES


def usual_cases():
    """The golden vectors of the rules that code such as this knows."""
    return [
        case
        for case in shipped_cases()
        if {*case.network.activations} <= {*USUAL_ACTIVATIONS}
        and case.network.loss in USUAL_LOSSES
        and case.optimizer.rule in USUAL_UPDATES
        and not case.optimizer.decoupled
    ]


def some_cases():
    """One case for each output and loss, and one in float32: enough to tell conventions apart."""
    found = {}
    for case in usual_cases():
        if case.deciding and case.da is None and not case.weight_decay:
            key = case.network.activations[-1], case.network.loss, case.params.dtype.name == "float32"
            if not key[2] or key[0] == "softmax":
                found.setdefault(key, case)
    return list(found.values())


def case_named(name):
    """One of the golden vectors."""
    return next(case for case in shipped_cases() if case.name == name)


def softmax(z):
    """Without care for overflow."""
    return np.exp(z) / np.exp(z).sum(1, keepdims=True)


ACTIVATION = {
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
    "leaky_relu": lambda z: np.where(z > 0, z, z.dtype.type(0.01) * z),
    "softmax": lambda z: softmax(z - z.max(1, keepdims=True)),
    "linear": lambda z: z,
}


def derived(name, z, a, da):
    """delta from da."""
    if name == "softmax":
        return a * (da - (da * a).sum(1, keepdims=True))
    slope = {"sigmoid": a * (1 - a), "tanh": 1 - a * a, "relu": z > 0, "leaky_relu": np.where(z > 0, 1, 0.01)}
    return da * slope[name] if name in slope else da


def right(network, weights, biases, x, y):
    """The loss, dW and db in the project's conventions."""
    a, z = [x], []
    for W, b, name in zip(weights, biases, network.activations, strict=True):
        z.append(a[-1] @ W + b)
        a.append(ACTIVATION[name](z[-1]))
    output, (batch, n_out) = network.activations[-1], y.shape
    n = batch * (n_out if network.loss in {"mean_squared_error", "binary_cross_entropy"} else 1)
    p = a[-1]
    with np.errstate(all="ignore"):
        if network.loss.endswith("squared_error"):
            loss, delta = ((p - y) ** 2).sum() / n, derived(output, z[-1], p, 2 * (p - y) / n)
        elif network.loss == "binary_cross_entropy":
            loss, delta = -(y * np.log(p) + (1 - y) * np.log(1 - p)).sum() / n, (p - y) / n
        elif output == "softmax":
            loss, delta = -(y * np.log(p)).sum() / n, (p * y.sum(1, keepdims=True) - y) / n
        else:
            loss, delta = -(y * np.log(p)).sum() / n, -y * (1 - p) / n
    dW, db = [], []
    for layer in reversed(range(len(weights))):
        dW.insert(0, a[layer].T @ delta)
        db.insert(0, delta.sum(0))
        if layer:
            delta = derived(network.activations[layer - 1], z[layer - 1], a[layer], delta @ weights[layer].T)
    return loss, dW, db


def written(layout=Layout(), factor=lambda loss, batch, n_out: 1.0):  # noqa: B008
    """The right implementation in another layout, which takes no other, and with its loss times a factor."""

    def gradients(network, weights, biases, x, y):
        _expect(layout, network, weights, biases, x, y)
        W = [layout.take_weight(part) for part in weights]
        b = [part.reshape(-1) for part in biases]
        x, y = (part[None] if layout.samples == "flat" else layout.take_samples(part) for part in (x, y))
        loss, dW, db = right(network, W, b, x, y)
        c = factor(network.loss, *y.shape)
        return c * loss, layout.give_weights([c * g for g in dW]), layout.give_biases([c * g for g in db])

    def without_biases(network, weights, x, y):
        loss, dW, _ = gradients(network, weights, [np.zeros(n, x.dtype) for n in network.sizes[1:]], x, y)
        return loss, dW

    return without_biases if layout.biases == "none" else gradients


def _expect(layout, network, weights, biases, x, y):
    sizes = network.sizes
    for W, shape in zip(weights, zip(sizes, sizes[1:], strict=False), strict=True):
        assert W.shape == (shape if layout.weights == "in-out" else shape[::-1]), "shape of W"
    for b, n in zip(biases, sizes[1:], strict=True):
        assert b.shape == {"row": (1, n), "column": (n, 1)}.get(layout.biases, (n,)), "shape of b"
    width = {"rows": 1, "columns": 0, "flat": 0}[layout.samples]
    assert x.shape[width] == sizes[0], "shape of x"
    assert y.shape[width] == sizes[-1], "shape of y"
    assert not layout.one_sample or x.size == sizes[0], "one sample"


def ours(network, weights, biases, x, y, **backend):
    """The package's own gradient, by any backend."""
    loss, grads = br.value_and_grad(network, br.Parameters.from_arrays(weights, biases), x, y, **backend)
    return loss, grads.W, grads.b


def evidence_of(case, values, again=None, changed=()):
    """A case with what was answered, as the diagnosis is given it."""
    return Judged(case, Answer(values, changed=changed), values=values, again=again)
