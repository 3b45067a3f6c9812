"""The networks and batches of the golden vectors.

Chosen so that known bugs show: distinct and prime widths beside square ones, biases that are not 0, unbalanced labels,
inputs that do not sum to 1, some z exactly 0 and some beyond 6, depths 0 to 3, width 1, outputs 1 to 3, batches of 1, 5
and 7 whose steps end in a short batch, weight decay, and upstream gradients other than 1.
"""

import re
from dataclasses import replace
from itertools import pairwise

import numpy as np

from backprop_ref.conformance.cases import Case
from backprop_ref.formulas import ACTIVATIONS, LOSSES, OWN_ACTIVATIONS, USUAL_ACTIVATIONS
from backprop_ref.network import Network
from backprop_ref.optimizers import SGD, AdaGrad, Adam, AdamW, RMSprop
from backprop_ref.parameters import Parameters
from backprop_ref.random import Stream

DECAY = 0.125
PLAIN = SGD(0.5)


def recipes():
    """Every case without flags and expectations, in the order in which they are published."""
    return [
        *_every_pair(),
        *_every_hidden(),
        *_usual(),
        *_shapes(),
        *_updates(),
        *_upstream(),
        *_float32(),
        *_extreme(),
        *_loose(),
        *_rarer(),
    ]


def _every_pair():
    """Each loss with each output it goes with."""
    hidden = ("tanh", "sigmoid", "relu", "leaky_relu", "softmax", "linear")
    for i, output in enumerate(hidden):
        yield make("3-5-4", [hidden[i - 5], output], "sse")
        yield make("5-3-7", [hidden[i - 4], output], "mse", batch=5)
    yield make("3-5-4", ["tanh", "softmax"], "ce")
    yield make("3-5-4", ["sigmoid", "softmax"], "ce", batch=5, gain=3.0)
    yield make("3-7-5", ["relu", "sigmoid"], "ce", zero=True)
    yield make("3-7-5", ["tanh", "sigmoid"], "bce")


def _every_hidden():
    """Each activation in two hidden layers; one unit's z is 0 throughout."""
    for activation in ("sigmoid", "tanh", "relu", "leaky_relu", "softmax", "linear"):
        yield make("3-7-5-3", [activation, activation, "softmax"], "ce", zero=True)


def _usual():
    """The networks of textbooks and course work, which often know one activation and one loss only."""
    yield make("3-5-4", ["sigmoid", "sigmoid"], "sse")
    yield make("3-7-5-2", ["sigmoid", "sigmoid", "sigmoid"], "sse", batch=5)
    yield make("5-7-1", ["sigmoid", "sigmoid"], "mse")
    yield make("5-3-7", ["sigmoid", "sigmoid"], "mse", batch=5)
    yield make("3-5-4", ["tanh", "tanh"], "sse")
    yield make("3-7-5-3", ["tanh", "tanh", "linear"], "mse", batch=5)
    yield make("3-7-5-2", ["relu", "relu", "linear"], "mse", batch=5)
    yield make("3-7-5", ["relu", "softmax"], "ce")
    yield make("5-7-1", ["relu", "sigmoid"], "bce", batch=5)


def _shapes():
    """Depths 0 to 3, widths and batches of 1, one and two outputs, square layers."""
    yield make("3-1", ["sigmoid"], "bce", gain=2.0)
    yield make("5-3", ["softmax"], "ce", batch=5)
    yield make("3-2", ["linear"], "mse", batch=1)
    yield make("1-1-1", ["tanh", "linear"], "sse", batch=5)
    yield make("3-1-5", ["sigmoid", "softmax"], "ce")
    yield make("7-3-2", ["leaky_relu", "softmax"], "ce", batch=1)
    yield make("5-7-1", ["relu", "sigmoid"], "bce", batch=1, gain=2.0)
    yield make("5-7-3-1", ["tanh", "relu", "sigmoid"], "bce")
    yield make("3-7-5-11-2", ["tanh", "sigmoid", "leaky_relu", "linear"], "mse", batch=5)
    yield make("7-5-3-5-3", ["relu", "tanh", "sigmoid", "softmax"], "ce", zero=True)
    yield make("5-5-5", ["tanh", "tanh"], "sse", batch=5)
    yield make("5-5-5-5", ["sigmoid", "leaky_relu", "softmax"], "ce", batch=5)
    yield make("3-5-4", ["tanh", "softmax"], "ce", gain=6.0, seed=5, note="steep")
    yield make("3-5-3", ["sigmoid", "sigmoid"], "bce", soft=True, batch=5)
    yield make("5-3-4", ["tanh", "softmax"], "ce", soft=True, batch=5)


def _updates():
    """Optimizers and weight decay."""
    yield make("3-5-4", ["tanh", "softmax"], "ce", optimizer=SGD(0.5, weight_decay=DECAY), note="decay")
    yield make("5-7-3", ["relu", "linear"], "mse", optimizer=SGD(0.25, weight_decay=DECAY), batch=5, note="decay")
    yield make("3-5-1", ["sigmoid", "sigmoid"], "bce", optimizer=SGD(0.3, momentum=0.9), note="momentum")
    yield make("3-5-4", ["tanh", "linear"], "sse", optimizer=SGD(0.1, momentum=0.9, nesterov=True), note="nesterov")
    yield make("3-5-4", ["tanh", "softmax"], "ce", optimizer=Adam(0.01), note="adam")
    yield make("5-3-2", ["sigmoid", "linear"], "mse", optimizer=Adam(0.01, weight_decay=DECAY), note="adam-decay")


def _upstream():
    """Gradients of something other than the loss."""
    for activation in ("sigmoid", "tanh", "relu", "softmax"):
        yield make("3-5-4", ["leaky_relu", activation], "sse", upstream=True)


def _float32():
    single = {"dtype": "float32"}
    yield make("3-5-4", ["tanh", "softmax"], "ce", **single)
    yield make("3-5-4", ["sigmoid", "linear"], "sse", batch=5, **single)
    yield make("3-7-5", ["leaky_relu", "sigmoid"], "bce", **single)
    yield make("5-3-2", ["relu", "softmax"], "mse", batch=5, zero=True, **single)
    yield make("3-1", ["sigmoid"], "bce", batch=5, **single)
    yield make("3-5-3", ["softmax", "sigmoid"], "ce", **single)
    yield make("7-5-3-5-3", ["relu", "tanh", "sigmoid", "softmax"], "ce", zero=True, **single)
    yield make("3-5-4", ["tanh", "tanh"], "mse", optimizer=SGD(0.5, momentum=0.9, weight_decay=DECAY), **single)
    yield make("3-5-4", ["tanh", "softmax"], "ce", optimizer=Adam(0.01), note="adam", **single)
    yield make("3-5-4", ["tanh", "softmax"], "sse", upstream=True, **single)


def _extreme():
    """z so large that usual formulas overflow; those of the project do not."""
    for output, loss in (("softmax", "ce"), ("sigmoid", "ce"), ("sigmoid", "bce"), ("tanh", "mse"), ("softmax", "mse")):
        for size in (40.0, 1000.0):
            yield _reaching(size, output, loss)
    yield _reaching(100.0, "softmax", "ce", "float32")
    yield _reaching(100.0, "sigmoid", "bce", "float32")


def _loose():
    """Labels that do not sum to 1, which most formulas for softmax do not allow."""
    yield replace(make("3-5-4", ["tanh", "softmax"], "ce", loose=True), deciding=False)


def _rarer():
    """The activations, losses and update rules that fewer programs know, each once, on both sides of a kink."""
    rare = [name for name in ACTIVATIONS if name not in {*USUAL_ACTIVATIONS, *OWN_ACTIVATIONS}]
    names = [*rare[:9], "elu(0.5)", *rare[9:]]  # beside one of the first ten, so that a new one changes no case
    for i, name in enumerate(names):
        yield make("3-5-2", [name, names[(i - 3) % 10]], "mse", batch=5, gain=3.0)
    yield make("3-5-2", ["leaky_relu(0.2)", "linear"], "sse", batch=5, zero=True)
    outputs = {"mae": "sigmoid", "huber": "softmax", "huber(0.5)": "linear", "logcosh": "tanh"}
    for loss, output in [*outputs.items(), *(("hinge", name) for name in ("linear", "tanh"))]:
        yield make("3-5-2", ["tanh", output], loss, batch=5)
    for output in ("linear", "softplus"):
        yield make("3-5-2", ["tanh", output], "poisson", batch=5)
    yield make("3-5-4", ["tanh", "linear"], "multi_class_hinge", batch=5)
    yield make("3-5-4", ["tanh", "softmax"], "cross_entropy(0.1)", batch=5)
    rules = {"adamw": AdamW(0.01, weight_decay=DECAY), "rmsprop": RMSprop(0.01), "adagrad": AdaGrad(0.1)}
    for rule, optimizer in rules.items():
        yield make("3-5-2", ["tanh", "linear"], "mse", batch=5, optimizer=optimizer, note=rule)
    yield make("3-5-2", ["gelu", "mish"], "huber", batch=5, dtype="float32")
    yield make("3-5-2", ["selu", "softplus"], "poisson", batch=5, dtype="float32")
    for loss in [*LOSSES][10:]:
        yield make("3-5-2", ["tanh", LOSSES[loss].outputs[0]], loss, batch=5)


def make(
    sizes,
    activations,
    loss,
    batch=7,
    seed=1,
    gain=1.0,
    zero=False,
    soft=False,
    loose=False,
    upstream=False,
    optimizer=PLAIN,
    note="",
    dtype="float64",
):
    """A case from its shape.

    Parameters
    ----------
    sizes : str
        Such as 3-5-4.
    gain : float
        Factor on the weights of the last layer.
    zero : bool
        Whether the first hidden unit has no weights and no bias, so that its z is exactly 0.
    soft : bool
        Labels in quarters, rather than 0 and 1.
    loose : bool
        The same, and they need not sum to 1.
    upstream : bool
        An upstream gradient in place of the loss's.
    """
    network = Network(list(map(int, sizes.split("-"))), activations, loss)
    stream = Stream(seed, "check")
    pairs = list(pairwise(network.sizes))
    W = [stream.normal(n_in * n_out).reshape(n_in, n_out) / np.sqrt(n_in) for n_in, n_out in pairs]
    b = [0.5 * stream.normal(n_out) for _, n_out in pairs]
    W[-1] *= gain
    if zero:
        W[0][:, 0], b[0][0] = 0.0, 0.0
    x = stream.normal(batch * network.sizes[0]).reshape(batch, -1)
    shape = (batch, network.sizes[-1])
    y = _targets(stream, loss, shape, soft, loose)
    marks = (
        ["zero"] * zero
        + ["soft"] * soft
        + ["loose"] * loose
        + ["gain"] * (gain != 1.0 and not note)
        + ["da"] * upstream
    )
    marks += [note] if note else []
    name = [sizes, *activations, loss, *marks, f"b{batch}", "f64" if dtype == "float64" else "f32"]
    return Case(
        name=re.sub(r"[()]", "", "-".join(name)),
        network=network,
        params=Parameters.from_arrays(W, b, dtype),
        x=x.astype(dtype),
        y=y.astype(dtype),
        da=(2.0 * stream.normal(y.size)).reshape(shape).astype(dtype) if upstream else None,
        weight_decay=0.0 if optimizer.decoupled else optimizer.weight_decay,
        optimizer=optimizer,
    )


def _targets(stream, loss, shape, soft, loose):
    batch, n_out = shape
    if loss == "poisson":
        return stream.integers_below([4] * (batch * n_out)).reshape(shape) * 1.0
    if not loss.startswith(("ce", "cross_entropy", "bce", "hinge", "multi_class_hinge")):
        return stream.normal(batch * n_out).reshape(shape)
    if soft and loss == "ce":
        return np.tile(np.array([0.25, 0.5, 0.25, 0.0])[:n_out], (batch, 1))
    if soft or loose:
        return stream.integers_below([5] * (batch * n_out)).reshape(shape) / 4.0
    if n_out == 1:
        return (stream.uniform(batch) < 0.75).astype(float)[:, None]
    return np.eye(n_out)[np.minimum(stream.integers_below([2 * n_out] * batch), n_out - 1)]


def _reaching(size, output, loss, dtype="float64"):
    """A single layer whose z are ±size, 0 and in between."""
    sizes, rows = "3-3", np.array([[1.0, -1.0, 0.0], [-1.0, 0.5, 1.0], [0.0, 1.0, -0.5], [0.25, -0.125, 1.0]])
    case = make(sizes, [output], loss, batch=len(rows), dtype=dtype)
    return replace(
        case,
        name=f"{sizes}-{output}-{loss}-z{size:g}-b{len(rows)}-{'f64' if dtype == 'float64' else 'f32'}",
        params=Parameters.from_arrays([size * np.eye(3)], [np.zeros(3)], dtype),
        x=rows.astype(dtype),
        deciding=False,
        flags=("extreme",),
    )
