"""br.verify and assert_gradients_right: functions, classes and files from Python."""

import subprocess
import sys
from dataclasses import fields

import numpy as np
import pytest
from submissions import right

import backprop_ref as br
from backprop_ref.checking import Conventions
from backprop_ref.conformance.measuring import verify
from backprop_ref.conformance.outcomes.outcome import Finding
from backprop_ref.conformance.submissions.conventions import Declared
from backprop_ref.testing import assert_gradients_right

XOR = "2-2-1:sigmoid,sigmoid:sse"


def sound(network, weights, biases, x, y):
    return right(network, weights, biases, x, y)


def summed(network, weights, biases, x, y):
    loss, dW, db = right(network, weights, biases, x, y)
    return loss, [g * len(x) for g in dW], [g * len(x) for g in db]


def for_xor(weights, biases, x, y):
    """Whatever the network, but of these sizes only."""
    assert [W.shape for W in weights] == [(2, 2), (2, 1)]
    return right(br.Network([2, 2, 1], ["sigmoid", "sigmoid"], "sse"), weights, biases, x, y)


class Trained:
    def __init__(self, network, learning_rate):
        self.network, self.learning_rate = network, learning_rate
        self.weights = [np.zeros(shape) for shape in zip(network.sizes, network.sizes[1:], strict=False)]
        self.biases = [np.zeros(n) for n in network.sizes[1:]]

    def fit(self, x, y):
        loss, dW, db = right(self.network, self.weights, self.biases, x, y)
        self.weights = [W - self.learning_rate * g for W, g in zip(self.weights, dW, strict=True)]
        self.biases = [b - self.learning_rate * g for b, g in zip(self.biases, db, strict=True)]
        return loss


@pytest.mark.few(1)
@pytest.mark.parametrize("f", [sound, Trained])
def test_a_right_one(f):
    outcome = br.verify(f)
    assert (outcome.verdict, outcome.exit, outcome.findings) == ("RIGHT", 0, [])
    assert len(outcome.networks) > 50
    assert str(outcome).startswith(f"{f.__name__}: RIGHT\n")
    assert_gradients_right(f, network=XOR)


def test_a_wrong_one_is_named():
    outcome = br.verify(summed, network="3-5-4:tanh,softmax:ce")
    assert (outcome.verdict, outcome.exit) == ("WRONG", 1)
    assert [found.id for found in outcome.findings] == ["missing-mean"]
    assert outcome.findings[0].layer == 1
    with pytest.raises(AssertionError) as caught:
        assert_gradients_right(summed, network="3-5-4:tanh,softmax:ce")
    assert str(caught.value) == str(outcome)
    assert "missing-mean (certain) in layers 0, 1" in str(outcome)


@pytest.mark.more
def test_one_for_one_network():
    for network in (None, br.Network([2, 2, 1], ["sigmoid", "sigmoid"], "sse")):
        outcome = br.verify(for_xor, network=network)
        assert (outcome.verdict, outcome.networks) == ("RIGHT", [XOR])
    outcome = br.verify(for_xor, network="3-2-1:sigmoid,sigmoid:sse")
    assert (outcome.verdict, outcome.exit) == ("NOT JUDGED", 2)
    with pytest.raises(AssertionError, match="NOT JUDGED"):
        assert_gradients_right(for_xor, network="3-2-1:sigmoid,sigmoid:sse")


def test_what_goes_wrong_in_the_checker_is_not_held_against_the_code(monkeypatch):
    def fails(*arguments, **keywords):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(verify, "measure", fails)
    with pytest.raises(ZeroDivisionError):
        br.verify(sound)
    monkeypatch.setattr(verify, "UNEXPECTED", (Exception,))
    outcome = br.verify(sound)
    assert (outcome.verdict, outcome.exit, len(outcome.reason.splitlines())) == ("NOT JUDGED", 2, 1)
    assert "ZeroDivisionError: division by zero (test_checking.py, line" in outcome.reason


@pytest.mark.parametrize(
    ("body", "said"), [("input('how many? ')", "take what it asks for as an argument"), ("exit(3)", "return instead")]
)
def test_what_does_not_return_is_told_what_helps(body, said, tmp_path):
    (tmp_path / "theirs.py").write_text(f"def f(weights, biases, x, y):\n    {body}\n")
    outcome = br.verify(f"{tmp_path}/theirs.py:f")
    assert outcome.verdict == "NOT JUDGED"
    assert said in outcome.reason
    assert "--network" not in outcome.reason


def test_one_in_a_file(tmp_path):
    (tmp_path / "theirs.py").write_text(
        "def f(network, weights, biases, x, y):\n"
        "    e = x @ weights[0] + biases[0] - y\n"
        "    return (e**2).mean(), [x.T @ e / e.size], [e.sum(axis=0) / e.size]\n"
    )
    outcome = br.verify(f"{tmp_path}/theirs.py:f", network="3-3:linear:mse")
    assert (outcome.verdict, [found.id for found in outcome.findings]) == ("WRONG", ["missing-two"])


@pytest.mark.more
def test_a_convention_is_taken_as_given():
    def columns(network, weights, biases, x, y):
        loss, dW, db = right(network, [W.T for W in weights], [b[:, 0] for b in biases], x.T, y.T)
        return loss, [g.T for g in dW], [g[:, None] for g in db]

    outcome = br.verify(columns, network="3-5-4:tanh,softmax:ce", weights="out-in", samples="columns")
    assert outcome.verdict == "RIGHT"
    assert outcome.conventions == ["layout: --weights out-in, --samples columns, --biases column"]
    assert br.verify(columns, network="3-5-4:tanh,softmax:ce", samples="rows").exit == 2


def test_a_notebook_shows_it_without_markup_of_its_own():
    def f(network, weights, biases, x, y):
        raise ValueError("<script>alert(1)</script>")

    shown = br.verify(f, network=XOR)._repr_html_()
    assert "NOT JUDGED" in shown
    assert "<script>" not in shown
    assert "alert(1)" in shown
    assert "missing-mean" in br.verify(summed, network=XOR)._repr_html_()


def test_nothing_in_its_text_acts_on_a_terminal():
    finding = Finding("unknown", "\x1b[2J", right="\a", measured="\x9b2J", remedy="\r")
    outcome = br.Outcome("f\x1b[31m", "WRONG", ["\x07"], findings=[finding], notes=["\x1b]0;x\x07"])
    assert all(character.isprintable() or character == "\n" for character in str(outcome))


def test_conventions_are_those_of_the_command():
    """All but those of the loss, which the command holds to golden vectors."""
    of_the_loss = {"loss", "factor", "l2", "l2_in", "l2_on"}
    assert list(Conventions.__annotations__) == [f.name for f in fields(Declared) if f.name not in of_the_loss]


@pytest.mark.parametrize(
    ("arguments", "keywords", "said"),
    [
        ((), {}, "nothing to verify: give one of f and command"),
        ((sound,), {"command": "./mine"}, "both f and command"),
        ((3,), {}, "f is int"),
        (("theirs.py",), {}, "No such file"),
        ((sound,), {"wieghts": "out-in"}, "did you mean 'weights'"),
        ((sound,), {"weights": "out"}, "unknown weights"),
        ((sound,), {"network": "2-2-1"}, f"as in {XOR}"),
    ],
)
def test_a_mistake_is_said_in_one_line(arguments, keywords, said):
    for function in (br.verify, assert_gradients_right):
        with pytest.raises(br.InvalidInput) as caught:
            function(*arguments, **keywords)
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.more
def test_a_test_of_somebodys_own_fails_with_what_is_wrong(tmp_path):
    (tmp_path / "test_theirs.py").write_text(
        "from backprop_ref.testing import assert_gradients_right\n"
        "def f(network, weights, biases, x, y):\n"
        "    e = x @ weights[0] + biases[0] - y\n"
        "    return (e**2).mean(), [-2 * x.T @ e / e.size], [-2 * e.sum(axis=0) / e.size]\n"
        "def test_f():\n"
        "    assert_gradients_right(f, network='3-2:linear:mse')\n"
    )
    program = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_theirs.py"]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "E       AssertionError: f: WRONG" in done.stdout
    assert "sign (certain)" in done.stdout
    assert "verify(f, command=command" not in done.stdout
