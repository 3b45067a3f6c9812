"""The catalogue of known bugs: the textbook pass is right, and every bug shows, is caught and gets its name."""

import itertools
import random

import numpy as np
import pytest
from submissions import evidence_of, usual_cases

from backprop_ref.conformance.cases import Case, Values, tensors
from backprop_ref.conformance.catalogue.known import BY_ID, CATALOGUE, shown_by
from backprop_ref.conformance.catalogue.textbook import FORWARD, LOSS, RULES, predict, replaced
from backprop_ref.conformance.diagnosis.diagnose import diagnose
from backprop_ref.conformance.rounding.balls import Ball
from backprop_ref.conformance.rounding.precision import Precision

CASES = [case for case in usual_cases() if "extreme" not in case.flags]
NAMES = ("z", "a", "delta", "dW", "db", "dx", "loss", "W", "b")
GRADIENTS = ("loss", "dW", "db")
STEPS = ("W", "b")
FORMS = [(bug, form) for bug in CATALOGUE for form in (*bug.variants, *bug.fitted)]
LABELS = [f"{bug.id}-{(*bug.variants, *bug.fitted).index(form)}" for bug, form in FORMS]
WANTED = {
    *("missing-mean", "mean-twice", "derivative-at-activation", "derivative-missing", "updated-weights", "sign"),
    *("bias-in-weight-loop", "softmax-extra-derivative", "transposed-weights"),
}


def submitted(case: Case, changes, names, number=None) -> Values:
    """What an implementation with these bugs gives, in the precision of the case, with a number where they need one."""
    values = {bug.parameter: Ball.exact(number or bug.start, Precision.of("float64")) for bug in CATALOGUE}
    balls = predict(case, replaced(*changes), values=values)
    if names is GRADIENTS:
        balls = itertools.takewhile(lambda item: item[0][0] != "dx", balls)
    with np.errstate(all="ignore"):
        got = {key: ball.mid.astype(case.params.dtype) for key, ball in balls}
    layers = range(case.network.n_layers)
    found = {name: [got[name, k] for k in layers] for name in names if name not in {"loss", "dx"} and (name, 0) in got}
    if "dx" in names:
        found["dx"] = got["dx", 0]
    if "loss" in names and ("loss", 0) in got:
        found["loss"] = float(got["loss", 0])
    return Values(**found)


def evidence(changes, names, dtype="float64", number=None):
    return [evidence_of(c, submitted(c, changes, names, number)) for c in CASES if c.params.dtype == dtype]


def test_the_catalogue_is_large_and_plain():
    assert len(CATALOGUE) >= 45
    assert len(BY_ID) == len(CATALOGUE)
    assert set(BY_ID) >= WANTED
    for bug in CATALOGUE:
        assert bug.id == bug.id.lower().replace("_", "-").replace(" ", "-")
        assert all((bug.text, bug.where, bug.right, bug.wrong, bug.hint)), bug.id
        assert bool(bug.fitted) <= bool(bug.parameter), bug.id
        for form in (*bug.variants, *bug.fitted):
            assert form.keys() <= RULES.keys(), bug.id
    assert RULES.keys() >= FORWARD | LOSS


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_textbook_pass_is_right(case):
    reference, truth, bound = (tensors(part) for part in case.expected)
    with np.errstate(all="ignore"):
        balls = dict(predict(case, RULES))
    for key, value in reference.items():
        assert balls[key].fits(np.asarray(value, dtype=np.float64)), key
        assert np.all(np.abs(balls[key].mid - truth[key]) <= np.asarray(bound[key]) + balls[key].rad), key


def test_centres_are_the_same_without_radii():
    case = next(case for case in CASES if case.params.dtype == np.float64 and case.network.n_layers > 1)
    double = Precision.of(np.float64)
    values = {bug.parameter: Ball.exact(bug.start, double) for bug in CATALOGUE}
    for bug, form in FORMS:
        with np.errstate(all="ignore"):
            whole = predict(case, replaced(form), values=values)
            alone = predict(case, replaced(form), double._replace(bounds=False), values)
            for (key, ball), (_, centre) in zip(whole, alone, strict=True):
                assert centre.rad is None, (bug.id, key)
                assert np.array_equal(ball.mid, centre.mid, equal_nan=True), (bug.id, key)


def test_every_bug_shows_on_a_vector():
    probes = sorted(CASES, key=lambda case: case.params.flat.size * len(case.x))
    left = {bug.id for bug in CATALOGUE if bug.variants or bug.fitted}
    for case in probes:
        if left & set(case.flags):
            left -= set(shown_by(case))
    assert not left


def expected_of(bug, form, names):
    """Whether the bug shows in these quantities at all: those of the steps need the weights."""
    steps = {"batches", "updated", "accumulated", "change", "sgd", "velocity", "adam", "adam_root", "corrected"}
    only_steps = set(form) <= steps or bug.id == "short-batch-nominal"
    return not (only_steps and names is GRADIENTS)


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("names", "dtype", "in_gradients"),
    [
        pytest.param(GRADIENTS, "float64", {True}, id="gradients-float64"),
        pytest.param(NAMES, "float32", {False}, id="traces-float32-beyond-gradients", marks=pytest.mark.more),
        pytest.param(GRADIENTS, "float32", {True}, id="gradients-float32", marks=pytest.mark.more),
        pytest.param(NAMES, "float32", {True}, id="traces-float32", marks=pytest.mark.more),
        pytest.param(NAMES, "float64", {True, False}, id="traces-float64", marks=pytest.mark.long),
    ],
)
def test_every_bug_gets_its_name(names, dtype, in_gradients):
    """The first form of each bug that shows in gradients, or beyond them; every form is tried by the test below."""
    shown, first, wrongly = 0, 0, []
    for bug in CATALOGUE:
        form = next(iter((*bug.fitted, *bug.variants)), None)
        if form is None or expected_of(bug, form, GRADIENTS) not in in_gradients:
            continue
        given = evidence([form], names, dtype, number=0.3 if bug.id == "updated-weights" else None)
        found = diagnose(given)
        shown += bool(found)
        first += bool(found) and found[0].id == bug.id
        wrongly += [(bug.id, f.id) for f in found if f.confidence == "certain" and f.id != bug.id]
        assert found or not expected_of(bug, form, names) or dtype == "float32", bug.id
    assert first >= 0.9 * shown
    assert wrongly == []


@pytest.mark.long
@pytest.mark.parametrize(("bug", "form"), FORMS, ids=LABELS)
def test_every_form_gets_its_name(bug, form):
    found = diagnose(evidence([form], NAMES))
    if expected_of(bug, form, NAMES):
        assert found
    if found:
        assert found[0].id == bug.id
        assert {f.id for f in found if f.confidence == "certain"} <= {bug.id}


@pytest.mark.few(1)
@pytest.mark.parametrize("bug", ["sign", "momentum-sign", "adam-no-bias-correction", "one-step-less"])
def test_the_weights_after_the_steps_are_enough(bug):
    found = diagnose(evidence([BY_ID[bug].variants[0]], STEPS))
    assert found[0].id == bug


@pytest.mark.parametrize("rate", [0.1, 0.025, 1.0 / 3.0])
@pytest.mark.few(1)
def test_a_number_is_worked_out(rate):
    found = diagnose(evidence([BY_ID["updated-weights"].fitted[0]], GRADIENTS, number=rate))
    assert [(finding.id, finding.confidence) for finding in found] == [("updated-weights", "certain")]
    assert f"learning rate = {rate:.6g}" in found[0].evidence


@pytest.mark.more
def test_random_pairs_are_both_named():
    draw, both, tried = random.Random(5), 0, 0
    fixed = [(bug, form) for bug, form in FORMS if form in bug.variants]
    usual = [tensors(one.values) for one in evidence([], GRADIENTS)]
    while tried < 12:
        (one, first), (two, second) = draw.sample(fixed, 2)
        given = evidence([first, second], GRADIENTS)
        alone = [usual, *([tensors(e.values) for e in evidence([form], GRADIENTS)] for form in (first, second))]
        if one.id == two.id or any(same([tensors(e.values) for e in given], other) for other in alone):
            continue  # a pair that looks like one bug, or like none
        if any(same(usual, other) for other in alone[1:]):
            continue
        found = {finding.id: finding.confidence for finding in diagnose(given)}
        assert found, (one.id, two.id)
        assert {name for name, confidence in found.items() if confidence == "certain"} <= {one.id, two.id}
        both += {one.id, two.id} <= found.keys()
        tried += 1
    assert both >= 0.6 * tried


def same(one, two):
    """Whether two sets of answers are equal to half their digits."""
    digits = np.sqrt(np.finfo(np.float64).eps)
    return all(
        np.shape(a[key]) == np.shape(b[key]) and np.allclose(a[key], b[key], rtol=digits, atol=digits, equal_nan=True)
        for a, b in zip(one, two, strict=True)
        for key in a
    )
