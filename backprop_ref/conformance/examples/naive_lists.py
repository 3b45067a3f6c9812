"""Backpropagation with plain Python lists and floats: no array library at all.

backprop-ref verify naive_lists.py:gradients
backprop-ref verify --command 'python naive_lists.py'

The second way runs this file as a program: a case as JSON on standard input, the answer as JSON on standard output.
"""

import json
import math
import sys
from types import SimpleNamespace


def gradients(network, weights, biases, x, y, da=None):
    """The loss, dW and db of each layer, from nested lists or arrays; with da, for that upstream gradient."""
    weights, biases, x, y, da = (plain(part) for part in (weights, biases, x, y, da))
    batch, layers = len(x), len(weights)
    loss = 0.0
    dW = [[[0.0] * len(row) for row in W] for W in weights]
    db = [[0.0] * len(b) for b in biases]
    for s in range(batch):
        a, z = [x[s]], []
        for W, b, name in zip(weights, biases, network.activations, strict=True):
            z.append([b[j] + sum(a[-1][k] * W[k][j] for k in range(len(W))) for j in range(len(b))])
            a.append(activate(name, z[-1]))
        output = network.activations[-1]
        if da is None:
            term, delta = loss_and_delta(network.loss, output, z[-1], a[-1], y[s], batch)
            loss += term
        else:
            delta = derive(output, z[-1], a[-1], da[s])
        for layer in reversed(range(layers)):
            for j, d in enumerate(delta):
                db[layer][j] += d
                for k, value in enumerate(a[layer]):
                    dW[layer][k][j] += value * d
            if layer:
                back = [sum(d * w for d, w in zip(delta, row, strict=True)) for row in weights[layer]]
                delta = derive(network.activations[layer - 1], z[layer - 1], a[layer], back)
    return loss, dW, db


def activate(name, z):
    """One sample's a from its z."""
    if name == "softmax":
        e = [math.exp(v - max(z)) for v in z]
        return [v / sum(e) for v in e]
    return [SCALAR[name](v) for v in z]


def sigmoid(v):
    """1 / (1 + e^−v), without overflow."""
    return 1.0 / (1.0 + math.exp(-v)) if v >= 0.0 else math.exp(v) / (1.0 + math.exp(v))


SCALAR = {
    "sigmoid": sigmoid,
    "tanh": math.tanh,
    "relu": lambda v: max(v, 0.0),
    "leaky_relu": lambda v: v if v > 0.0 else 0.01 * v,
    "linear": lambda v: v,
}
SLOPE = {
    "sigmoid": lambda z, a: a * (1.0 - a),
    "tanh": lambda z, a: 1.0 - a * a,
    "relu": lambda z, a: 1.0 if z > 0.0 else 0.0,
    "leaky_relu": lambda z, a: 1.0 if z > 0.0 else 0.01,
    "linear": lambda z, a: 1.0,
}


LOSSES = ("mean_squared_error", "sum_squared_error", "binary_cross_entropy", "cross_entropy")


def derive(name, z, a, da):
    """One sample's delta from z, a and da."""
    if name == "softmax":
        t = sum(d * v for d, v in zip(da, a, strict=True))
        return [v * (d - t) for d, v in zip(da, a, strict=True)]
    return [d * SLOPE[name](u, v) for d, u, v in zip(da, z, a, strict=True)]


def loss_and_delta(loss, output, z, a, y, batch):
    """One sample's share of the loss, and its delta."""
    if loss not in LOSSES:
        raise NotImplementedError(loss)
    if loss.endswith("squared_error"):
        n = batch * len(y) if loss == "mean_squared_error" else batch
        da = [2.0 * (p - t) / n for p, t in zip(a, y, strict=True)]
        return sum((p - t) ** 2 for p, t in zip(a, y, strict=True)) / n, derive(output, z, a, da)
    if output == "softmax":
        log_sum = math.log(sum(math.exp(v - max(z)) for v in z))
        total = sum(t * (log_sum - (v - max(z))) for v, t in zip(z, y, strict=True))
        return total / batch, [(p * sum(y) - t) / batch for p, t in zip(a, y, strict=True)]
    soft = [math.log1p(math.exp(-abs(v))) for v in z]
    if loss == "binary_cross_entropy":
        n = batch * len(y)
        total = sum(max(v, 0.0) - v * t + extra for v, t, extra in zip(z, y, soft, strict=True))
        return total / n, [(p - t) / n for p, t in zip(a, y, strict=True)]
    total = sum(t * (max(-v, 0.0) + extra) for v, t, extra in zip(z, y, soft, strict=True))
    return total / batch, [-t * sigmoid(-v) / batch for v, t in zip(z, y, strict=True)]


def plain(part):
    """Nested lists of floats, from arrays, numbers or hexadecimal floats."""
    if isinstance(part, str):
        return float.fromhex(part)
    if hasattr(part, "tolist"):
        return part.tolist()
    return [plain(entry) for entry in part] if isinstance(part, list | tuple) else part


def main():
    """Answers one case."""
    case = json.load(sys.stdin)
    if plain(case["weight_decay"]) != 0.0:
        print(json.dumps({"not_judged": "no weight decay"}))
        return
    network = SimpleNamespace(**case["network"])
    loss, dW, db = gradients(network, case["weights"], case["biases"], case["x"], case["y"], case["da"])
    print(json.dumps({"dW": dW, "db": db} if case["da"] else {"loss": loss, "dW": dW, "db": db}))


if __name__ == "__main__":
    main()
