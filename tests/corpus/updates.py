"""Functions that also make steps, by the documented keywords, right and with each bug of an optimizer."""

import dataclasses
import random

import numpy as np

from . import functions, truth
from .layout import Layout
from .plan import Plan
from .program import Planted, Program
from .spec import Spec, draw_net

STEPS = """

def gradients(network, weights, biases, x, y, steps=None, optimizer=None, batch_size=None):
    if steps is None:
        return loss_and_gradients(weights, biases, x, y)
    params = [p.copy() for pair in zip(weights, biases) for p in pair]
    rate, decay = optimizer["learning_rate"], optimizer.get("weight_decay", 0.0)
    first = [np.zeros_like(p) for p in params]
    second = [np.zeros_like(p) for p in params]
    batches = [slice(i, i + batch_size) for i in range(0, len(x), batch_size)]
    for t in range(1, steps + 1):
        rows = batches[(t - 1) % len(batches)]
        _, dW, db = loss_and_gradients(params[::2], params[1::2], x[rows], y[rows])
        grads = [g for pair in zip(dW, db) for g in pair]
        for i, g in enumerate(grads):
            if i % 2 == 0:
                g = g + decay * params[i]
            if optimizer["name"] == "sgd":
                mu = optimizer.get("momentum", 0.0)
                first[i] = mu * first[i] + g
                step = g + mu * first[i] if optimizer.get("nesterov") else first[i]
                params[i] = params[i] - rate * step
            else:
                beta1, beta2, eps = optimizer["beta1"], optimizer["beta2"], optimizer["epsilon"]
                first[i] = beta1 * first[i] + (1 - beta1) * g
                second[i] = beta2 * second[i] + (1 - beta2) * g ** 2
                m_hat = first[i] / (1 - beta1 ** t)
                v_hat = second[i] / (1 - beta2 ** t)
                params[i] = params[i] - rate * m_hat / (np.sqrt(v_hat) + eps)
    return params[::2], params[1::2]
"""

_BATCHES = "        rows = batches[(t - 1) % len(batches)]\n"
BUGS = (
    (
        "gradients-not-zeroed",
        [
            (
                "        grads = [g for pair in zip(dW, db) for g in pair]\n",
                "        grads = [g for pair in zip(dW, db) for g in pair]\n"
                "        grads = [old + g for old, g in zip(previous, grads)] if t > 1 else grads\n"
                "        previous = grads\n",
            )
        ],
    ),
    (
        "short-batch-nominal",
        [
            (
                "        grads = [g for pair in zip(dW, db) for g in pair]\n",
                "        grads = [g * len(x[rows]) / batch_size for pair in zip(dW, db) for g in pair]\n",
            )
        ],
    ),
    (
        "short-batch-dropped",
        [("for i in range(0, len(x), batch_size)]", "for i in range(0, len(x) - batch_size + 1, batch_size)]")],
    ),
    ("first-batch-only", [(_BATCHES, "        rows = batches[0]\n")]),
    ("one-step-less", [("range(1, steps + 1)", "range(1, steps)")]),
    (
        "bias-not-updated",
        [
            (
                "        for i, g in enumerate(grads):\n",
                "        for i, g in enumerate(grads):\n            if i % 2 == 1:\n                continue\n",
            )
        ],
    ),
    ("momentum-sign", [("first[i] = mu * first[i] + g", "first[i] = g - mu * first[i]")]),
    ("momentum-missing", [("first[i] = mu * first[i] + g", "first[i] = g")]),
    ("momentum-averaged", [("first[i] = mu * first[i] + g", "first[i] = mu * first[i] + (1 - mu) * g")]),
    ("nesterov-missing", [('step = g + mu * first[i] if optimizer.get("nesterov") else first[i]', "step = first[i]")]),
    (
        "adam-no-bias-correction",
        [
            ("m_hat = first[i] / (1 - beta1 ** t)", "m_hat = first[i]"),
            ("v_hat = second[i] / (1 - beta2 ** t)", "v_hat = second[i]"),
        ],
    ),
    ("adam-epsilon-inside", [("(np.sqrt(v_hat) + eps)", "np.sqrt(v_hat + eps)")]),
    ("adam-step-frozen", [("beta1 ** t)", "beta1)"), ("beta2 ** t)", "beta2)")]),
    (
        "adam-betas-swapped",
        [
            (
                'beta1, beta2, eps = optimizer["beta1"], optimizer["beta2"]',
                'beta2, beta1, eps = optimizer["beta1"], optimizer["beta2"]',
            )
        ],
    ),
    ("adam-root-missing", [("(np.sqrt(v_hat) + eps)", "(v_hat + eps)")]),
    (
        "one-sample-steps",
        [
            ("i + batch_size) for i in range(0, len(x), batch_size)]", "i + 1) for i in range(len(x))]"),
            ("range(1, steps + 1)", "range(1, min(steps * batch_size, len(x)) + 1)"),
        ],
    ),
)
OPTIMIZERS = (
    {"name": "sgd", "learning_rate": 0.1, "momentum": 0.9, "nesterov": False, "weight_decay": 0.0},
    {"name": "sgd", "learning_rate": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.0},
    {"name": "adam", "learning_rate": 0.1, "beta1": 0.9, "beta2": 0.99, "epsilon": 1e-3, "weight_decay": 0.0},
)


def made(seed: int, bug: bool) -> Program:
    """A function that makes steps; the bugs take turns."""
    rng = random.Random(f"update {seed} {bug}")
    net = draw_net(rng, depth=rng.choice([1, 1, 2]))
    n = net.last + 1
    reduction = "mean" if bug else rng.choice(["mean", "element", "sum"])
    spec = Spec(
        net,
        Layout(),
        reduction,
        "lists",
        "loss-lists",
        (True,) * n,
        looped=rng.random() < 0.5,
        from_z=rng.random() < 0.5,
        name="loss_and_gradients",
    )
    right = Plan(spec).source() + STEPS
    spec = dataclasses.replace(spec, signature="network", name="gradients")
    if not bug:
        return Program(
            f"right-steps-{seed}", "right", right, "gradients", "right", about=functions.about(spec), spec=spec
        )
    kind, edits = BUGS[seed % len(BUGS)]
    wrong = right
    for old, new in edits:
        if old not in wrong:
            raise ValueError(f"{kind}: no '{old}'")
        wrong = wrong.replace(old, new)
    truths = (Planted(kind, "update", tuple(range(n))),)
    return Program(f"update-{seed}", "update", wrong, "gradients", "wrong", truths, functions.about(spec), spec)


def stepped(program: Program) -> list[np.ndarray]:
    """All weights after three steps, by each optimizer."""
    W, b, x, y = program.spec.net.inputs(7, 3)
    function = truth.load(program.source, program.name)
    results = [function(None, W, b, x, y, steps=3, optimizer=one, batch_size=3) for one in OPTIMIZERS]
    return [truth.flat(*result) for result in results]
