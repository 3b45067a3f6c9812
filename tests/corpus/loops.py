"""Functions written out by hand: nested lists in plain Python, and one network number by number."""

import random

from . import functions, truth, updates
from .layout import Layout
from .program import Planted, Program
from .spec import Net, Spec, draw_net

FORWARD = {
    "sigmoid": "1.0 / (1.0 + math.exp(-v))",
    "tanh": "math.tanh(v)",
    "relu": "max(0.0, v)",
    "identity": "v",
}
SLOPE = {"sigmoid": "{a} * (1 - {a})", "tanh": "1 - {a} ** 2", "relu": "(1.0 if {z} > 0 else 0.0)", "identity": "1.0"}

NESTED = """
import math


def hidden_activation(v):
    return {hidden}


def output_activation(v):
    return {output}


def backprop({arguments}):
    m, last = len(x), len(weights) - 1
    dW = [[[0.0 for _ in row] for row in W] for W in weights]
    db = [[0.0 for _ in b] for b in biases]
    loss = 0.0
    for s in range(m):
        a, z = [list(x[s])], []
        for l in range(last + 1):
            W, b = weights[l], biases[l]
            z.append([])
            for j in range(len(b)):
                total = 0.0
                for k in range(len(a[l])):
                    total += a[l][k] * {W_kj}
                total += b[j]
                z[l].append(total)
            a.append([output_activation(v) if l == last else hidden_activation(v) for v in z[l]])
        error = [{two}(a[-1][j] - y[s][j]) for j in range(len(a[-1]))]
        loss += {half}sum((a[-1][j] - y[s][j]) ** 2 for j in range(len(a[-1])))
        delta = [error[j] * {output_slope} for j in range(len(error))]
        for l in range(last, -1, -1):
            W = weights[l]
            for j in range(len(delta)):
                for k in range(len(a[l])):
                    {dW_kj} += a[l][k] * delta[j]
                db[l][j] += delta[j]
            if l > 0:
                error = []
                for k in range(len(a[l])):
                    total = 0.0
                    for j in range(len(delta)):
                        total += delta[j] * {W_kj}
                    error.append(total)
                delta = [error[k] * {hidden_slope} for k in range(len(error))]
{mean}    return {returns}
"""
MEAN = """    loss /= m
    dW = [[[g / m for g in row] for row in part] for part in dW]
    db = [[g / m for g in part] for part in db]
"""

BY_NUMBERS = """
import math


def squash(v):
    return 1 / (1 + math.exp(-v))


def gradients({arguments}):
    w1, w3 = {W0}[0]
    w2, w4 = {W0}[1]
    w5, w6 = {W1}[0][0], {W1}[1][0]
    g1 = g2 = g3 = g4 = g5 = g6 = 0.0
    gb1 = gb2 = gb3 = 0.0
    cost = 0.0
    for (i1, i2), (target,) in zip(x, y):
        h1 = squash(w1 * i1 + w2 * i2 + {b0}[0])
        h2 = squash(w3 * i1 + w4 * i2 + {b0}[1])
        out = squash(w5 * h1 + w6 * h2 + {b1}[0])
        cost += 0.5 * (target - out) ** 2
        d_out = -(target - out) * out * (1 - out)
        g5 += d_out * h1
        g6 += d_out * h2
        gb3 += d_out
        d_h1 = d_out * w5 * h1 * (1 - h1)
        d_h2 = d_out * w6 * h2 * (1 - h2)
        g1 += d_h1 * i1
        g2 += d_h1 * i2
        g3 += d_h2 * i1
        g4 += d_h2 * i2
        gb1 += d_h1
        gb2 += d_h2
    return {returns}
"""

ANY_NETWORK = """
import numpy as np

PHI = {
    "sigmoid": (lambda z: 1 / (1 + np.exp(-z)), lambda z, a, da: da * a * (1 - a)),
    "tanh": (np.tanh, lambda z, a, da: da * (1 - a * a)),
    "relu": (lambda z: np.maximum(z, 0), lambda z, a, da: da * (z > 0)),
    "leaky_relu": (lambda z: np.where(z > 0, z, 0.01 * z), lambda z, a, da: da * np.where(z > 0, 1, 0.01)),
    "linear": (lambda z: z, lambda z, a, da: da),
    "softmax": (
        lambda z: np.exp(z - z.max(1, keepdims=True)) / np.exp(z - z.max(1, keepdims=True)).sum(1, keepdims=True),
        lambda z, a, da: a * (da - (da * a).sum(1, keepdims=True)),
    ),
}


def gradients(network, weights, biases, x, y):
    a, z = [x], []
    for W, b, name in zip(weights, biases, network.activations):
        z.append(a[-1] @ W + b)
        a.append(PHI[name][0](z[-1]))
    p, {size}
    if network.loss in ("mean_squared_error", "sum_squared_error"):
        n = {both} if network.loss == "mean_squared_error" else {batch}
        loss, da = ((p - y) ** 2).sum() / n, 2 * (p - y) / n
    elif network.loss == "binary_cross_entropy":
        n = {both}
        loss, da = -(y * np.log(p) + (1 - y) * np.log(1 - p)).sum() / n, (p - y) / (p * (1 - p)) / n
    elif network.loss == "cross_entropy":
        n = {batch}
        loss, da = -(y * np.log(p)).sum() / n, -y / p / n
    else:
        raise NotImplementedError(network.loss)
    dW, db = [], []
    for l in range(len(weights) - 1, -1, -1):
        delta = PHI[network.activations[l]][1](z[l], a[l + 1], da)
        dW.insert(0, a[l].T @ delta)
        db.insert(0, delta.sum(axis=0))
        da = delta @ weights[l].T
    return {returns}
"""
NAMES = {"identity": "linear"}
LOSSES = {
    "squared": ("sum_squared_error", "mean_squared_error"),
    "bce": ("binary_cross_entropy",),
    "ce": ("cross_entropy",),
}

NESTED_BUGS = (
    (
        "bias-in-weight-loop",
        "db",
        "every",
        "                db[l][j] += delta[j]\n",
        "                    db[l][j] += delta[j]\n",
    ),
    ("bias-zero", "db", "every", "                db[l][j] += delta[j]\n", ""),
    ("bias-not-added", "forward", "every", "                total += b[j]\n", ""),
    (
        "bias-in-forward-loop",
        "forward",
        "every",
        "                total += b[j]\n                z",
        "                z",
    ),
    (
        "overwritten-sum",
        "carry",
        "carries",
        "                        total += delta[j] *",
        "                        total = delta[j] *",
    ),
    ("weights-missing-back", "carry", "carries", "total += delta[j] * {W_kj}", "total += delta[j]"),
    ("error-before-derivative", "carry", "carries", "total += delta[j] * {W_kj}", "total += before[j] * {W_kj}"),
    (
        "derivative-missing",
        "slope",
        "hidden",
        "delta = [error[k] * {hidden_slope} for k in range(len(error))]",
        "delta = error",
    ),
    (
        "output-derivative-missing",
        "output",
        "output",
        "delta = [error[j] * {output_slope} for j in range(len(error))]",
        "delta = error",
    ),
    ("last-sample-only", "batch", "every", "{dW_kj} += a[l][k]", "{dW_kj} = a[l][k]"),
    (
        "first-weight-skipped",
        "dW",
        "every",
        "                for k in range(len(a[l])):\n                    {dW_kj}",
        "                for k in range(1, len(a[l])):\n                    {dW_kj}",
    ),
    ("sign", "factor", "every", "(a[-1][j] - y[s][j]) for", "(y[s][j] - a[-1][j]) for"),
    (
        "z-for-activation",
        "dW",
        "carries",
        "{dW_kj} += a[l][k] * delta[j]",
        "{dW_kj} += (z[l - 1][k] if l > 0 else a[0][k]) * delta[j]",
    ),
    (
        "bias-mean",
        "db",
        "every",
        "db = [[g / m for g in part] for part in db]",
        "db = [[g / m / m for g in part] for part in db]",
    ),
)


def nested(seed: int, bug=None) -> Program:
    """Nested lists; right, or with a bug."""
    rng = random.Random(f"nested {seed} {bug and bug[0]}")
    for _ in range(functions.TRIES):
        depth = rng.choice([1, 1, 2])
        sizes = tuple(rng.choice([2, 3, 4]) for _ in range(depth + 1)) + (rng.choice([1, 2, 3]),)
        hidden = rng.choice(["sigmoid", "tanh", "relu"])
        output = rng.choice(["sigmoid", "tanh", "identity"])
        half, mean = rng.random() < 0.5, rng.random() < 0.5
        layout = Layout(rng.choice(["in-out", "out-in"]), "rows", "flat")
        reduction = ("half" if half else "sum") if not mean else ("half-mean" if half else "mean")
        signature, returns = (
            rng.choice(["network", "lists", "lists-last"]),
            rng.choice(["loss-lists", "loss-lists", "lists"]),
        )
        spec = Spec(
            Net(sizes, (*[hidden] * depth, output), "squared"),
            layout,
            reduction,
            signature,
            returns,
            (True,) * (depth + 1),
            name="backprop",
        )
        arguments = {
            "network": "network, weights, biases, x, y",
            "lists": "weights, biases, x, y",
            "lists-last": "x, y, weights, biases",
        }
        in_out = layout.in_out
        pieces = {
            "hidden": FORWARD[hidden],
            "output": FORWARD[output],
            "arguments": arguments[signature],
            "W_kj": "W[k][j]" if in_out else "W[j][k]",
            "dW_kj": "dW[l][k][j]" if in_out else "dW[l][j][k]",
            "two": "" if half else "2 * ",
            "half": "0.5 * " if half else "",
            "output_slope": _bracket(SLOPE[output].format(a="a[-1][j]", z="z[-1][j]")),
            "hidden_slope": _bracket(SLOPE[hidden].format(a="a[l][k]", z="z[l - 1][k]")),
            "mean": MEAN if mean else "",
            "returns": "loss, dW, db" if returns == "loss-lists" else "dW, db",
        }
        right = wrong = NESTED.format(**pieces).lstrip()
        if bug:
            old, new = (text.format(**pieces) for text in bug[3:])
            if old not in right:
                continue
            wrong = right.replace(old, new)
            product = f"total += a[l][k] * {pieces['W_kj']}\n"
            if bug[0] == "bias-in-forward-loop":
                wrong = wrong.replace(product, product.replace("\n", " + b[j]\n"))
            if bug[0] == "error-before-derivative":
                wrong = wrong.replace("                error = []\n", "                before, error = error, []\n")
            if bug[0] == "last-sample-only":
                wrong = wrong.replace("db[l][j] += delta", "db[l][j] = delta")
        group, key = ("single", f"single-nested-{bug[0]}-{seed}") if bug else ("right", f"right-nested-{seed}")
        if not bug:
            return Program(key, group, right, "backprop", "right", about=functions.about(spec), spec=spec)
        if truth.harmless(spec, truth.load(wrong, "backprop"), truth.load(right, "backprop")):
            continue
        layers = {
            "every": tuple(range(depth + 1)),
            "carries": tuple(range(1, depth + 1)),
            "hidden": tuple(range(depth)),
            "output": (depth,),
        }[bug[2]]
        truths = (Planted(bug[0], bug[1], layers, ("relu-mask-missing",) if bug[0] == "derivative-missing" else ()),)
        return Program(key, group, wrong, "backprop", "wrong", truths, functions.about(spec), spec)
    raise RuntimeError(f"nothing was found for {seed} {bug}")


def _bracket(text):
    return f"({text})"


def by_numbers(seed: int) -> Program:
    """2-2-1, each weight by its own name; wrong or raising for any other network."""
    rng = random.Random(f"numbers {seed}")
    signature, returns = rng.choice(["lists", "network", "spread"]), rng.choice(["loss-lists", "lists", "spread"])
    spec = Spec(Net((2, 2, 1), ("sigmoid", "sigmoid"), "squared"), Layout(), "half", signature, returns, (True, True))
    dW, db = "[[g1, g3], [g2, g4]], [[g5], [g6]]", "[gb1, gb2], [gb3]"
    names = {
        "lists": {
            "arguments": "weights, biases, x, y",
            "W0": "weights[0]",
            "W1": "weights[1]",
            "b0": "biases[0]",
            "b1": "biases[1]",
        },
        "network": {
            "arguments": "network, weights, biases, x, y",
            "W0": "weights[0]",
            "W1": "weights[1]",
            "b0": "biases[0]",
            "b1": "biases[1]",
        },
        "spread": {"arguments": "x, y, W1, b1, W2, b2", "W0": "W1", "W1": "W2", "b0": "b1", "b1": "b2"},
    }[signature]
    form = {
        "loss-lists": f"cost, [{dW}], [{db}]",
        "lists": f"[{dW}], [{db}]",
        "spread": "[[g1, g3], [g2, g4]], [gb1, gb2], [[g5], [g6]], [gb3]",
    }[returns]
    source = BY_NUMBERS.format(**names, returns=form).lstrip()
    return Program(
        f"right-numbers-{seed}", "right", source, "gradients", "right", about=functions.about(spec), spec=spec
    )


def any_network(seed: int) -> Program:
    """One function for every network, which it is told."""
    rng = random.Random(f"any {seed}")
    net = draw_net(rng)
    loss = rng.choice(LOSSES[net.loss])
    net = Net(net.sizes, tuple(NAMES.get(name, name) for name in net.activations), loss)
    returns = rng.choice(["loss-lists", "lists"])
    spec = Spec(net, Layout(), "mean", "network", returns, (True,) * (net.last + 1))
    source = _filled(returns, rng.random() < 0.3)
    return Program(f"right-any-{seed}", "right", source, "gradients", "right", about=functions.about(spec), spec=spec)


def _filled(returns, summed):
    pieces = {
        "{size}": "k = a[-1], y.shape[1]" if summed else "(m, k) = a[-1], y.shape",
        "{both}": "k" if summed else "m * k",
        "{batch}": "1" if summed else "m",
        "{returns}": "loss, dW, db" if returns == "loss-lists" else "dW, db",
    }
    source = ANY_NETWORK.lstrip()
    for name, piece in pieces.items():
        source = source.replace(name, piece)
    return source


def right(seed: int) -> Program:
    """Every tenth is written out by hand or makes steps, the others are drawn."""
    other = {19: by_numbers, 29: lambda seed: updates.made(seed, bug=False), 39: any_network}
    if seed % 40 in other:
        return other[seed % 40](seed)
    return nested(seed) if seed % 10 == 9 else functions.right(seed)


def single(seed: int) -> Program:
    """One of the kinds in turn, then the bugs of nested lists."""
    number = seed % (len(functions.KINDS) + len(NESTED_BUGS))
    if number < len(functions.KINDS):
        return functions.wrong(f"single-{seed}", "single", lambda rng: (functions.KINDS[number],))
    return nested(seed, NESTED_BUGS[number - len(functions.KINDS)])
