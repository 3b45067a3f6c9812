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
from backprop_ref.conformance.measuring.naming import powered


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
