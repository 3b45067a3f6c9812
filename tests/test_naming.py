"""Several bugs in one program: each is found and named, whatever the others are."""

import contextlib
import dataclasses
import random

import numpy as np
import pytest
from corpus import functions, truth
from corpus.kinds import BY_ID
from corpus.layout import Layout
from corpus.spec import draw, draw_net

import backprop_ref as br
from backprop_ref.conformance.measuring import by_rules
from backprop_ref.conformance.measuring.naming import powered


@pytest.fixture(autouse=True)
def _time_enough(monkeypatch):
    """How fast the machine is decides nothing."""
    monkeypatch.setattr(by_rules, "SECONDS", 15.0)


def judged(*kinds):
    """A function f(weights, biases, x, y) with these kinds of bug, and what is said of it."""
    rng = random.Random("-".join(kinds))
    for _ in range(functions.TRIES):
        net = draw_net(rng, depth=rng.choice([1, 2]))
        spec = dataclasses.replace(
            draw(rng, net, columns="rows", simple=True),
            layout=Layout("in-out", "rows", "flat"),
            signature="lists",
            returns="lists",
            hard="",
            inner="",
            update="",
            float32=False,
        )
        with contextlib.suppress(functions.Unfit):
            program = functions.planted(rng, [BY_ID[kind] for kind in kinds], spec, "several", "several")
            return program, br.verify(truth.load(program.source, program.name))
    raise AssertionError(f"no program has {kinds}")


@pytest.mark.more
@pytest.mark.parametrize(
    "kinds",
    [
        ("error-before-derivative", "derivative-at-activation", "bias-all-equal"),
        ("bias-in-forward-loop", "transposed-weights", "last-weight-skipped"),
        ("updated-weights", "labels-shifted", "weights-mean-twice"),
        ("labels-rolled", "derivative-twice", "decay-undeclared"),
        ("hidden-activation-missing", "reshaped-weights"),
    ],
    ids="+".join,
)
def test_every_bug_is_named(kinds):
    program, outcome = judged(*kinds)
    said = {finding.id for finding in outcome.findings}
    assert outcome.verdict == "WRONG"
    for bug in program.planted:
        same = said & {bug.id, *bug.also}
        assert same or any(functions.same_numbers(program, bug, name) for name in said), (said, program.source)


def test_a_verdict_does_not_wait_for_a_name(monkeypatch):
    monkeypatch.setattr(by_rules, "SECONDS", 0.0)
    _, outcome = judged("hidden-activation-missing", "reshaped-weights")
    assert outcome.verdict == "WRONG"
    assert by_rules.ENDED.format(0.0) in outcome.notes


@pytest.mark.more
def test_no_bug_is_named_beside_those_that_are_there():
    _, outcome = judged("derivative-twice", "last-weight-skipped")
    assert len(outcome.findings) == 2, outcome


@pytest.mark.parametrize(
    ("powers", "due", "names"),
    [
        ({("dW", 0): -1, ("db", 0): -1, ("dW", 1): -1, ("db", 1): -1}, -1, set()),
        ({("dW", 0): -1, ("db", 0): -1, ("dW", 1): -1, ("db", 1): -1}, 0, {"loss-sum"}),
        ({("dW", 0): 0, ("db", 0): 0, ("dW", 1): 0, ("db", 1): 0}, -1, {"missing-mean"}),
        ({("dW", 0): -2, ("db", 0): -2, ("dW", 1): -1, ("db", 1): -1}, None, {"mean-each-layer"}),
        ({("dW", 0): -2, ("db", 0): -1, ("dW", 1): -1, ("db", 1): 0}, -1, {"weights-mean-twice", "bias-sum"}),
        ({("dW", 0): -3, ("db", 0): -2, ("dW", 1): -1, ("db", 1): -1}, -1, {"mean-each-layer", "weights-mean-twice"}),
    ],
)
def test_divisions_by_the_batch_are_named_by_the_fewest_rules(powers, due, names):
    assert {finding.id for finding in powered(powers, due, "")} == names


def test_a_loss_that_nobody_sees_makes_no_bug():
    """Without a loss, p − y of a sigmoid is the binary cross-entropy's gradient, not a squared error's without φ'."""

    def gradients(weights, biases, x, y):
        p = 1.0 / (1.0 + np.exp(-(x @ weights[0] + biases[0])))
        delta = (p - y) / len(x)
        return [x.T @ delta], [delta.sum(axis=0)]

    assert br.verify(gradients).exit == 0


def planted_in_lists(activation, slope, loss, error, weight_gradient=None, bias_gradient=None):
    """f(weights, biases, x, y) of two layers, the last one linear, with these rules in its backward pass."""

    def gradients(weights, biases, x, y):
        z = x @ weights[0] + biases[0]
        a = activation(z)
        p = a @ weights[1] + biases[1]
        deltas = [None, error(p, y) / len(x)]
        deltas[0] = deltas[1] @ weights[1].T * slope(z, a)
        dW = [
            (weight_gradient or (lambda left, delta: left.T @ delta))(*pair)
            for pair in zip((x, a), deltas, strict=True)
        ]
        return loss(p, y) / len(x), dW, [(bias_gradient or (lambda delta: delta.sum(axis=0)))(d) for d in deltas]

    return gradients


def wavy(z):
    return z + 0.5 * np.sin(z)


def wavy_slope(z, a):
    return 1.0 + 0.5 * np.cos(z)


def quartic(p, y):
    return ((p - y) ** 4).sum()


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("name", "function"),
    [
        (
            "bias-wrong-axis",
            planted_in_lists(
                np.tanh, lambda z, a: 1 - a**2, quartic, lambda p, y: 4 * (p - y) ** 3, None, lambda d: d.sum(axis=1)
            ),
        ),
        (
            "labels-rolled",
            planted_in_lists(wavy, wavy_slope, quartic, lambda p, y: 4 * (p - np.roll(y, 1, axis=0)) ** 3),
        ),
        (
            "derivative-at-activation",
            planted_in_lists(wavy, lambda z, a: wavy_slope(a, a), quartic, lambda p, y: 4 * (p - y) ** 3),
        ),
        (
            "last-sample-only",
            planted_in_lists(
                np.tanh,
                lambda z, a: 1 - a**2,
                lambda p, y: ((p - y) ** 2).sum(),
                lambda p, y: 2 * (p - y),
                lambda left, delta: np.outer(left[-1], delta[-1]),
            ),
        ),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_a_bug_beside_a_loss_or_an_activation_of_its_own_is_named(name, function):
    outcome = br.verify(function)
    assert outcome.verdict == "WRONG"
    assert {finding.id for finding in outcome.findings} == {name}


@pytest.mark.parametrize(("sign", "named"), [(1.0, set()), (-1.0, {"decay-sign"})])
def test_a_penalty_of_absolute_values_is_held_against_its_own_loss(sign, named):
    plain = planted_in_lists(
        np.tanh, lambda z, a: 1 - a**2, lambda p, y: ((p - y) ** 2).sum(), lambda p, y: 2 * (p - y)
    )

    def penalised(weights, biases, x, y, lam=0.1):
        loss, dW, db = plain(weights, biases, x, y)
        loss += lam * sum(np.abs(W).sum() for W in weights)
        return loss, [g + sign * lam * np.sign(W) for g, W in zip(dW, weights, strict=True)], db

    assert {finding.id for finding in br.verify(penalised).findings} == named
