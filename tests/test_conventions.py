"""Every usual way to write the same gradient passes, and is reported for what it is."""

import itertools
import json

import numpy as np
import pytest
from submissions import right, some_cases, written

import backprop_ref as br
from backprop_ref.asking import by_flags
from backprop_ref.conformance.measuring.verify import verify_answers
from backprop_ref.conformance.submissions.conventions import BIASES, Declared, Factor, Layout
from backprop_ref.errors import InvalidInput

LAYOUTS = [
    Layout(weights, samples, biases, single)
    for weights, biases in itertools.product(("in-out", "out-in"), BIASES[:3])
    for samples, single in (("rows", False), ("columns", False), ("flat", True), ("columns", True))
]
NETWORKS = ["3-5-4:tanh,softmax:ce", "3-5-4:relu,sigmoid:mse"]


def verdict_of(function, network=NETWORKS[0], **declared):
    return br.verify(function, network=network, **declared)


def scaled(factor):
    """The factor of a reduction as a function of the loss and the batch."""
    return lambda loss, batch, n_out: float(batch) ** factor.batch * float(n_out) ** factor.outputs * 2.0**factor.twos


@pytest.mark.few(8)
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: "-".join(map(str, layout)))
@pytest.mark.parametrize("factor", [Factor(), Factor(twos=-1)], ids=["ours", "half"])
def test_every_layout_is_recognised(layout, factor):
    outcome = verdict_of(written(layout, scaled(factor)))
    assert outcome.exit == 0, str(outcome)
    assert outcome.verdict == ("RIGHT" if factor == Factor() else "CONVENTION")
    said = " ".join(outcome.conventions)
    assert ("--weights out-in" in said) == (layout.weights == "out-in")
    assert ("one-sample" in said or "--samples flat" in said) == layout.one_sample
    if not layout.one_sample:
        assert ("--samples columns" in said) == (layout.samples == "columns")
        assert (f"--biases {layout.biases}" in said) == (layout.biases != "flat")


REDUCTIONS = [
    (Factor(1), "the sum over the batch"),
    (Factor(0, -1), "mean over the batch and the outputs"),
    (Factor(1, 0, -1), "half the sum over the batch"),
]


@pytest.mark.parametrize("layout", [Layout(), Layout("out-in", "columns", "column")], ids=["ours", "columns"])
@pytest.mark.parametrize(("factor", "words"), REDUCTIONS)
def test_every_reduction_is_recognised(factor, words, layout):
    outcome = verdict_of(written(layout, scaled(factor)))
    assert (outcome.verdict, outcome.findings) == ("CONVENTION", [])
    assert words in outcome.conventions[0]
    without = verdict_of(lambda *arguments: written(layout, scaled(factor))(*arguments)[1:])
    assert (without.verdict, without.findings) == ("CONVENTION", [])
    assert "no loss is returned that would say otherwise" in without.conventions[0]


def test_a_file_of_answers_follows_the_vectors_and_needs_no_loss(tmp_path):
    answers = [{"name": case.name, "dW": [g.tolist() for g in case.expected.reference.dW]} for case in some_cases()]
    (tmp_path / "answers.json").write_text(json.dumps(answers))
    assert verify_answers(tmp_path / "answers.json").verdict == "RIGHT"
    for answer, case in zip(answers, some_cases(), strict=True):
        answer["dW"] = [(g * len(case.x)).tolist() for g in case.expected.reference.dW]
    (tmp_path / "sums.json").write_text(json.dumps(answers))
    outcome = verify_answers(tmp_path / "sums.json")
    assert (outcome.verdict, outcome.findings) == ("CONVENTION", [])
    assert all("no loss is returned" in said for said in outcome.conventions)


@pytest.mark.few(1)
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("c", [7.0, 0.5, 2.0])
def test_loss_and_gradient_have_to_agree(c, network):
    def function(*arguments):
        loss, dW, db = right(*arguments)
        return loss, [c * g for g in dW], [c * g for g in db]

    assert verdict_of(function, network).verdict == "WRONG"

    def other(*arguments):
        loss, dW, db = right(*arguments)
        return c * loss, dW, db

    assert verdict_of(other, network).verdict == "WRONG"


@pytest.mark.parametrize("layout", [Layout(biases="none"), Layout("out-in", "columns", "none")], ids=str)
def test_networks_without_biases(layout):
    outcome = verdict_of(written(layout))
    assert outcome.exit == 0, str(outcome)
    assert "--biases none" in outcome.conventions[-1]


@pytest.mark.parametrize("per_batch", [False, True])
def test_weight_decay_in_the_loss_is_a_convention_and_in_the_gradient_alone_it_is_said(per_batch):
    def function(network, weights, biases, x, y, in_loss=True):
        loss, dW, db = right(network, weights, biases, x, y)
        rate = x.dtype.type(0.01 / len(x) if per_batch else 0.01)
        if in_loss:
            loss += rate / 2 * sum((W**2).sum() for W in weights)
        return loss, [g + rate * W for g, W in zip(dW, weights, strict=True)], db

    outcome = verdict_of(function)
    assert (outcome.exit, outcome.findings) == (0, []), str(outcome)
    only = verdict_of(lambda *arguments: function(*arguments, in_loss=False))
    assert [found.id for found in only.findings] == ["decay-undeclared"]


@pytest.mark.parametrize("share", [lambda m: 1.0 / m, lambda m: m, lambda m: 0.5])
def test_rounding_is_no_weight_decay(share):
    """A wrong factor and a λ that rounding alone would explain are no convention."""

    def function(network, weights, biases, x, y):
        loss, dW, db = right(network, weights, biases, x, y)
        return loss, [g * share(len(x)) for g in dW], [g * share(len(x)) for g in db]

    outcome = verdict_of(function)
    assert outcome.verdict == "WRONG"
    assert not any("decay" in found.id for found in outcome.findings)


@pytest.mark.parametrize("gives_loss", [False, True])
def test_updates_in_place(gives_loss):
    def function(network, weights, biases, x, y, learning_rate=0.1):
        loss, dW, db = right(network, weights, biases, x, y)
        for p, g in zip(weights + biases, dW + db, strict=True):
            p -= learning_rate * g
        return loss if gives_loss else None

    def fixed(network, weights, biases, x, y):
        return function(network, weights, biases, x, y)

    assert verdict_of(function).exit == 0
    outcome = verdict_of(fixed)
    assert outcome.exit == 0
    assert any("0.1" in said for said in outcome.conventions)
    assert verdict_of(fixed, learning_rate=0.1).exit == 0
    assert verdict_of(fixed, learning_rate=0.2).verdict == ("WRONG" if gives_loss else "CONVENTION")


@pytest.mark.more
def test_a_small_rate_hides_a_small_error_and_no_large_one():
    def function(error, network, weights, biases, x, y):
        _, dW, db = right(network, weights, biases, x, y)
        for p, g in zip(weights + biases, dW + db, strict=True):
            p -= 2.0**-20 * (g + error * np.abs(g).max() * np.sin(np.arange(g.size)).reshape(g.shape))

    assert verdict_of(lambda *a: function(0.0, *a), learning_rate=2.0**-20).exit == 0
    assert verdict_of(lambda *a: function(1e-4, *a), learning_rate=2.0**-20).verdict == "WRONG"


def numbered(name, arrays):
    return {f"{name}{k + 1}": array for k, array in enumerate(arrays)}


@pytest.mark.few(5)
@pytest.mark.parametrize(
    "form",
    [
        lambda loss, dW, db: (dW, db),
        lambda loss, dW, db: (loss, (dW, db)),
        lambda loss, dW, db: (dW, db, loss),
        lambda loss, dW, db: (loss, list(zip(dW, db, strict=True))),
        lambda loss, dW, db: list(zip(dW, db, strict=True)),
        lambda loss, dW, db: [part for pair in zip(dW, db, strict=True) for part in pair],
        lambda loss, dW, db: dW + db,
        lambda loss, dW, db: (loss, *[part for pair in zip(dW, db, strict=True) for part in pair]),
        lambda loss, dW, db: {"loss": loss, "dW": dW, "db": db},
        lambda loss, dW, db: {"cost": loss, "grads": {"W": dW, "b": db}},
        lambda loss, dW, db: (loss, numbered("dW", dW) | numbered("db", db)),
        lambda loss, dW, db: (loss, [g.tolist() for g in dW], [g.tolist() for g in db]),
        lambda loss, dW, db: (np.array(loss), dW, [g[None] for g in db]),
        lambda loss, dW, db: (db, dW),
    ],
)
def test_any_form_of_answer_is_read(form):
    outcome = verdict_of(lambda *arguments: form(*right(*arguments)))
    assert outcome.verdict == "RIGHT", str(outcome)


@pytest.mark.more
def test_one_sample_at_a_time_without_a_loss_and_biases_first():
    def function(*arguments):
        _, dW, db = written(Layout("out-in", "columns", "column", True))(*arguments)
        return db, dW

    outcome = verdict_of(function)
    assert outcome.exit == 0, str(outcome)
    assert "--weights out-in, --samples columns" in outcome.conventions[-1]


def test_factors_as_text():
    assert str(Factor(1, 1, -1)) == "batch * n_out / 2"
    assert Factor(1, 1, -1).of(some_cases()[0]) == some_cases()[0].y.size / 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"weights": "sideways"},
        {"samples": "row"},
        {"biases": "flat-ish"},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
    ],
)
def test_declarations_that_mean_nothing(wrong):
    """They are named as they were said."""
    (name,) = wrong
    with pytest.raises(InvalidInput, match=name):
        Declared(**wrong)
    with by_flags(), pytest.raises(InvalidInput, match=f"--{name.replace('_', '-')}"):
        Declared(**wrong)
