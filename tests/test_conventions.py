"""Every usual way to write the same gradient passes, and is reported for what it is."""

import itertools
import json

import numpy as np
import pytest
from submissions import right, some_cases, written

from backprop_ref.conformance.judging.decay import Decay
from backprop_ref.conformance.judging.judge import judge
from backprop_ref.conformance.submissions.conventions import (
    BIASES,
    REDUCTIONS,
    Declared,
    Factor,
    Layout,
    parse_factor,
    reduction,
)
from backprop_ref.conformance.submissions.functions import Function
from backprop_ref.conformance.submissions.programs import Answers
from backprop_ref.conformance.submissions.settings import OUR_RATE
from backprop_ref.errors import InvalidInput

LAYOUTS = [
    Layout(weights, samples, biases, single)
    for weights, biases in itertools.product(("in-out", "out-in"), BIASES[:3])
    for samples, single in (("rows", False), ("columns", False), ("flat", True), ("columns", True))
]


def judged(function, **declared):
    return judge(Function(function, Declared(**declared)), some_cases())


def flags(report):
    return [one.flag for one in report.conventions]


def scaled(name):
    """The factor of a reduction as a function of the loss and the batch."""

    def factor(loss, batch, n_out):
        chosen = reduction(name, loss)
        return float(batch) ** chosen.batch * float(n_out) ** chosen.outputs * 2.0**chosen.twos

    return factor


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: "-".join(map(str, layout)))
@pytest.mark.parametrize("name", ["ours", "half-sum"])
def test_every_layout_is_recognised(layout, name):
    if layout.one_sample and name == "half-sum":
        name = "half-mean"
    report = judged(written(layout, scaled(name)))
    assert report.exit == 0, report.first_wrong
    found = dict(flag.partition(" ")[::2] for flag in flags(report))
    assert found.get("--weights", "in-out") == layout.weights
    if not layout.one_sample:
        assert found.get("--samples", "rows") == layout.samples
        assert found.get("--biases", "flat") == layout.biases
    assert ("--one-sample" in found) == layout.one_sample


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("layout", [Layout(), Layout("out-in", "columns", "column")], ids=["ours", "columns"])
def test_every_reduction_is_recognised(name, layout):
    report = judged(written(layout, scaled(name)))
    assert report.exit == 0, report.first_wrong
    factors = [flag for flag in flags(report) if flag.startswith(("--loss", "--factor"))]
    assert factors == ([] if name == "ours" else [f"--loss {name}"])
    again = judged(written(layout, scaled(name)), loss=name)
    assert again.exit == 0
    assert {one.how for one in again.conventions if one.flag.startswith("--loss")} <= {"declared"}


@pytest.mark.parametrize("name", ["sum", "half-mean"])
def test_a_factor_without_a_loss_has_to_be_declared(name):
    def function(*arguments):
        return written(factor=scaled(name))(*arguments)[1:]

    report = judged(function)
    assert (report.verdict, report.exit) == ("UNDECLARED", 1)
    assert any(f"--loss {name}" in note for note in report.notes)
    assert judged(function, loss=name).exit == 0
    assert judged(function, loss="batch-mean").verdict == "WRONG"


def test_our_own_gradient_without_a_loss_has_to_be_declared_too():
    report = judged(lambda *arguments: right(*arguments)[1:])
    assert (report.verdict, report.exit, flags(report)) == ("UNDECLARED", 1, ["--loss ours"])
    assert any("--loss ours" in note for note in report.notes)
    assert judged(lambda *arguments: right(*arguments)[1:], loss="ours").exit == 0


def test_a_file_of_answers_follows_the_vectors_and_needs_no_loss(tmp_path):
    answers = [{"name": case.name, "dW": [g.tolist() for g in case.expected.reference.dW]} for case in some_cases()]
    (tmp_path / "answers.json").write_text(json.dumps(answers))
    assert judge(Answers(tmp_path / "answers.json"), some_cases()).exit == 0


def test_half_the_squared_errors_and_no_loss_take_one_flag():
    def function(network, *arguments):
        _, dW, db = right(network, *arguments)
        half = 0.5 if "squared" in network.loss else 1.0
        return [half * g for g in dW], [half * g for g in db]

    assert flags(judged(function)) == ["--loss half-ours"]
    assert judged(function, loss="half-ours").exit == 0


@pytest.mark.parametrize("c", [7.0, 0.5, 2.0])
def test_loss_and_gradient_have_to_agree(c):
    def function(*arguments):
        loss, dW, db = right(*arguments)
        return loss, [c * g for g in dW], [c * g for g in db]

    assert judged(function).verdict == "WRONG"

    def other(*arguments):
        loss, dW, db = right(*arguments)
        return c * loss, dW, db

    assert judged(other).verdict == "WRONG"


@pytest.mark.parametrize("layout", [Layout(biases="none"), Layout("out-in", "columns", "none")], ids=str)
def test_networks_without_biases(layout):
    report = judged(written(layout))
    assert report.exit == 0, report.first_wrong
    assert "--biases none" in flags(report)


@pytest.mark.parametrize("per_batch", [False, True])
@pytest.mark.parametrize("name", ["ours", "sum"])
def test_weight_decay_in_the_loss_is_acceptable(per_batch, name):
    def function(network, weights, biases, x, y, in_loss=True):
        loss, dW, db = written(factor=scaled(name))(network, weights, biases, x, y)
        rate = x.dtype.type(0.01 / len(x) if per_batch else 0.01)
        if in_loss:
            loss += rate / 2 * sum((W**2).sum() for W in weights)
        return loss, [g + rate * W for g, W in zip(dW, weights, strict=True)], db

    text = "0.01/batch" if per_batch else "0.01"
    report = judged(function)
    assert report.exit == 0, report.first_wrong
    assert f"--l2 {text}" in flags(report)
    assert judged(function, l2=text).exit == 0
    only = judged(lambda *arguments: function(*arguments, in_loss=False))
    assert (only.verdict, only.exit) == ("UNDECLARED", 1)
    assert f"--l2 {text} --l2-in gradient" in flags(only)
    assert judged(lambda *arguments: function(*arguments, in_loss=False), l2=text, l2_in="gradient").exit == 0


def test_weight_decay_on_the_biases_too():
    def function(network, weights, biases, x, y):
        loss, dW, db = right(network, weights, biases, x, y)
        loss += 0.01 * sum((p**2).sum() for p in weights + biases)
        return loss, *([g + 0.02 * p for g, p in zip(*both, strict=True)] for both in ((dW, weights), (db, biases)))

    report = judged(function)
    assert (report.exit, flags(report)) == (0, ["--l2 0.02 --l2-on all"])
    assert judged(function, l2="0.02", l2_on="all").exit == 0
    assert judged(function, l2="0.02").verdict == "WRONG"


@pytest.mark.parametrize("share", [lambda m: 1.0 / m, lambda m: m, lambda m: 0.5])
def test_rounding_is_no_weight_decay(share):
    """A wrong factor and a λ that rounding alone would explain are no convention."""

    def function(network, weights, biases, x, y):
        loss, dW, db = right(network, weights, biases, x, y)
        return loss, [g * share(len(x)) for g in dW], [g * share(len(x)) for g in db]

    report = judged(function)
    assert (report.verdict, report.first_wrong.quantity, flags(report)) == ("WRONG", "dW", [])


@pytest.mark.parametrize("gives_loss", [False, True])
def test_updates_in_place(gives_loss):
    def function(network, weights, biases, x, y, learning_rate=0.1):
        loss, dW, db = right(network, weights, biases, x, y)
        for p, g in zip(weights + biases, dW + db, strict=True):
            p -= learning_rate * g
        return loss if gives_loss else None

    loss = None if gives_loss else "ours"
    report = judged(function, loss=loss)
    assert report.exit == 0, report.first_wrong
    assert f"--learning-rate {OUR_RATE}" in flags(report)

    def fixed(network, weights, biases, x, y):
        return function(network, weights, biases, x, y)

    report = judged(fixed)
    assert (report.verdict, report.exit) == ("UNDECLARED", 1)
    assert "--learning-rate 0.1" in flags(report)
    assert judged(fixed, learning_rate=0.1, loss=loss).exit == 0
    assert judged(fixed, learning_rate=0.2).verdict == ("WRONG" if gives_loss else "UNDECLARED")


def test_a_small_rate_hides_a_small_error_and_no_large_one():
    def function(error, network, weights, biases, x, y):
        _, dW, db = right(network, weights, biases, x, y)
        for p, g in zip(weights + biases, dW + db, strict=True):
            p -= 2.0**-20 * (g * (1.0 + error))

    assert judged(lambda *a: function(0.0, *a), learning_rate=2.0**-20, loss="ours").exit == 0
    assert judged(lambda *a: function(1e-6, *a), learning_rate=2.0**-20, loss="ours").verdict == "WRONG"


def numbered(name, arrays):
    return {f"{name}{k + 1}": array for k, array in enumerate(arrays)}


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
        lambda loss, dW, db: (loss, dW),
        lambda loss, dW, db: loss,
    ],
)
def test_any_form_of_answer_is_read(form):
    report = judged(lambda *arguments: form(*right(*arguments)), loss="ours")
    assert report.exit == 0, [one.reason for one in report.cases]


def test_a_layout_declared_wrongly_is_told():
    report = judged(right, samples="columns")
    assert report.exit == 1
    assert any("--weights in-out --samples rows --biases flat does" in note for note in report.notes)


def test_one_sample_at_a_time_without_a_loss_and_biases_first():
    def function(*arguments):
        _, dW, db = written(Layout("out-in", "columns", "column", True))(*arguments)
        return db, dW

    report = judged(function)
    assert report.verdict == "UNDECLARED"
    assert {"--weights out-in", "--samples columns", "--one-sample", "--loss ours"} <= set(flags(report))
    assert judged(function, loss="ours").exit == 0


def test_an_ambiguous_layout_is_said():
    def both(network, weights, biases, x, y):
        layout = Layout("in-out" if weights[0].shape[0] == network.sizes[0] else "out-in")
        return written(layout)(network, weights, biases, x, y)

    report = judged(both)
    assert report.exit == 0
    assert any("ambiguous" in note for note in report.notes)


def test_factors_as_text():
    assert parse_factor("batch*n_out/2").of(some_cases()[0]) == some_cases()[0].y.size / 2
    assert str(Factor(1, 1, -1)) == "batch * n_out / 2"
    assert judged(written(factor=lambda loss, m, n: 3.0), factor="3").exit == 0
    for text in ("", "batch+1", "0", "1/0", "nan", "x"):
        with pytest.raises(InvalidInput, match="--factor"):
            parse_factor(text)
    for text in ("-1", "x", "0.1/n", "inf"):
        with pytest.raises(InvalidInput, match="--l2"):
            Decay.parse(text)


@pytest.mark.parametrize(
    "wrong",
    [
        {"weights": "sideways"},
        {"samples": "row"},
        {"biases": "flat-ish"},
        {"loss": "total"},
        {"loss": "sum", "factor": "2"},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"l2_in": "weights"},
        {"l2_on": "biases"},
    ],
)
def test_declarations_that_mean_nothing(wrong):
    with pytest.raises(InvalidInput, match="--"):
        Declared(**wrong)
