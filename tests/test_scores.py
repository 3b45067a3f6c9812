"""Scores are scikit-learn's, labels are no classes, and a class that is never found is said."""

import json
import math

import numpy as np
import pytest
from helpers import parameters
from sklearn import metrics as sklearn

import backprop_ref as br
from backprop_ref.cli import run
from backprop_ref.metrics import scores
from backprop_ref.random import Stream

SAME = {"rtol": 1e-12, "atol": 0.0}


def unbalanced(network, rows=60):
    """x, and classes of which the last is rare and one is never right."""
    x = Stream(3, "check").normal(rows * network.sizes[0]).reshape(rows, -1)
    n = max(2, network.sizes[-1])
    return x, np.minimum(Stream(4, "check").integers_below([3 * n] * rows) // 2, n - 1)


@pytest.mark.parametrize(
    "sizes, output, loss", [([3, 4], "softmax", "ce"), ([3, 2], "softmax", "ce"), ([3, 1], "sigmoid", "bce")]
)
def test_classes_are_scored_as_scikit_learn_does(sizes, output, loss):
    network = br.Network(sizes, [output], loss)
    params, (x, truth) = parameters(network), unbalanced(network)
    n, a = max(2, sizes[-1]), br.predict(network, params, x)
    y = br.one_hot(truth, n) if sizes[-1] > 1 else truth[:, None]
    got = br.evaluate(network, params, x, y)
    found = a.argmax(axis=1) if sizes[-1] > 1 else (a[:, 0] > 0.5).astype(int)
    assert got["accuracy"] == sklearn.accuracy_score(truth, found)
    assert got["support"] == np.bincount(truth, minlength=n).tolist()
    parts = sklearn.precision_recall_fscore_support(truth, found, labels=range(n), zero_division=0.0)
    for name, part in zip(("precision", "recall", "f1"), parts, strict=False):
        np.testing.assert_allclose(got[name], part, **SAME)
    np.testing.assert_allclose(got["balanced_accuracy"], sklearn.balanced_accuracy_score(truth, found), **SAME)
    shares = a if sizes[-1] > 1 else np.concatenate([1.0 - a, a], axis=1)
    np.testing.assert_allclose(got["log_loss"], sklearn.log_loss(truth, shares), **SAME)
    ranked = shares if n > 2 else shares[:, 1]
    np.testing.assert_allclose(got["roc_auc"], sklearn.roc_auc_score(truth, ranked, multi_class="ovr"), **SAME)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_whatever_is_predicted_is_scored_as_scikit_learn_does(n):
    """With ties, classes of which there is no row, and classes that are never predicted; one output has two classes."""
    rng, classes, undefined = np.random.default_rng(n), max(2, n), 0
    network = br.Network([1, n], ["sigmoid" if n == 1 else "softmax"], "bce" if n == 1 else "ce")
    for rows in range(1, 25):
        a = rng.integers(1, 4, (rows, n)) / 4
        if n > 1:
            a[:, 0] *= rng.integers(2)
            a /= a.sum(axis=1, keepdims=True)
        truth = rng.integers(classes - rng.integers(2), size=rows)
        got = scores.of("accuracy", network, a, br.one_hot(truth, n) if n > 1 else truth[:, None])
        shares = a if n > 1 else np.concatenate([1.0 - a, a], axis=1)
        found = a.argmax(axis=1) if n > 1 else (a[:, 0] > 0.5).astype(int)
        of_each = {"labels": range(classes), "zero_division": 0.0}
        parts = sklearn.precision_recall_fscore_support(truth, found, **of_each)
        wanted = dict(zip(("precision", "recall", "f1", "support"), parts, strict=True))
        wanted["accuracy"] = sklearn.accuracy_score(truth, found)
        wanted["balanced_accuracy"] = wanted["recall"][wanted["support"] > 0].mean()
        wanted["log_loss"] = sklearn.log_loss(truth, shares, labels=range(classes))
        if len({*truth}) == classes:
            ranked = shares[:, 1] if classes == 2 else shares
            wanted["roc_auc"] = sklearn.roc_auc_score(truth, ranked, multi_class="ovr")
        else:
            undefined += 1
            assert math.isnan(got["roc_auc"])
        for name, value in wanted.items():
            np.testing.assert_allclose(got[name], value, **SAME, err_msg=name)
    assert 0 < undefined < 24


def test_ties_count_half_in_roc_auc_and_one_class_has_none():
    a, truth = np.array([0.1, 0.5, 0.5, 0.5, 0.9, 0.2]), np.array([0, 1, 0, 1, 1, 1])
    network = br.Network([1, 1], ["sigmoid"], "bce")
    got = scores.of_classes(network, a[:, None], truth, 2)["roc_auc"]
    np.testing.assert_allclose(got, sklearn.roc_auc_score(truth, a), **SAME)
    assert math.isnan(scores.of_classes(network, a[:, None], np.zeros(6, int), 2)["roc_auc"])


@pytest.mark.parametrize("loss", ["bce", "sse", "ce"])
def test_labels_are_scored_one_by_one(loss):
    network = br.Network([3, 3], ["sigmoid"], loss)
    params, (x, _) = parameters(network), unbalanced(network)
    y = (Stream(5, "check").uniform(180).reshape(60, 3) < [0.5, 0.3, 0.1]).astype(float)
    got, said = br.evaluate(network, params, x, y), br.predict(network, params, x) > 0.5
    assert got["accuracy"] == np.mean(said == y)
    assert got["exact_match"] == sklearn.accuracy_score(y, said)
    parts = sklearn.precision_recall_fscore_support(y, said, zero_division=0.0)
    for name, part in zip(("precision", "recall", "f1"), parts, strict=False):
        np.testing.assert_allclose(got[name], part, **SAME)
    np.testing.assert_allclose(got["roc_auc"], sklearn.roc_auc_score(y, br.predict(network, params, x)), **SAME)


def test_right_labels_are_right():
    """All right is 1, and one of three is a third: no largest output decides."""
    network = br.Network([3, 3], ["sigmoid"], "bce")
    params = br.Parameters.from_arrays([20.0 * np.eye(3)], [[-10.0] * 3])
    x = np.array([[1, 1, 0], [0, 1, 1], [0, 0, 0], [1, 1, 1]])
    every = br.evaluate(network, params, x, x)
    assert (every["accuracy"], every["exact_match"]) == (1.0, 1.0)
    for said, true in (([[1, 1, 1]], [[1, 0, 0]]), ([[1, 0, 0]], [[1, 1, 1]])):
        got = br.evaluate(network, params, said, true)
        assert (got["accuracy"], got["exact_match"]) == (1 / 3, 0.0)
    assert br.evaluate(network, params, np.eye(3), np.eye(3), metric="accuracy")["balanced_accuracy"] == 1.0
    one_hot = br.Network([3, 3], ["sigmoid"], "mse")
    assert "exact_match" not in br.evaluate(one_hot, params, np.eye(3), np.eye(3))
    with pytest.raises(br.InvalidInput, match="unknown metric 'f1'"):
        br.evaluate(network, params, x, x, metric="f1")


def test_the_history_has_the_accuracy_of_labels(backend):
    network = br.Network([3, 4, 3], ["tanh", "sigmoid"], "bce")
    x, _ = unbalanced(network, 24)
    y = (x > 0.0).astype(float)
    params, at = parameters(network), {"backend": backend, "batch_size": 7}
    result = br.train(network, params, x, y, epochs=2, optimizer=br.SGD(0.0), validation=(x[:1], y[:1]), **at)
    assert result.history["accuracy"].tolist() == [br.evaluate(network, params, x, y, backend=backend)["accuracy"]] * 2
    assert 0.0 < result.history["accuracy"][0] < 1.0
    assert result.history["val_accuracy"][0] == np.mean((br.predict(network, params, x[:1]) > 0.5) == y[:1])


def test_numbers_have_their_errors():
    network = br.Network([3, 2], ["linear"], "mse")
    params, (x, _) = parameters(network), unbalanced(network)
    y = x[:, :2] ** 2
    got, a = br.evaluate(network, params, x, y), br.predict(network, params, x)
    np.testing.assert_allclose(got["rmse"], sklearn.root_mean_squared_error(y, a), **SAME)
    np.testing.assert_allclose(got["mae"], sklearn.mean_absolute_error(y, a), **SAME)


def table(path, rows):
    path.write_text("\n".join(",".join(map(str, row)) for row in rows) + "\n", encoding="utf-8")


def told(capsys, *arguments):
    assert run([*map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_a_class_that_is_never_found_is_said(tmp_path, monkeypatch, capsys):
    """By train and evaluate; its row is in the results; the target's own units are in those of numbers."""
    monkeypatch.chdir(tmp_path)
    x, _ = unbalanced(br.Network([3, 2], ["softmax"], "ce"), 200)
    kinds = ["rare" if i % 67 == 5 else "up" if row[0] > 0 else "down" for i, row in enumerate(x)]
    table(tmp_path / "k.csv", [("a", "b", "c", "kind"), *((*row, kind) for row, kind in zip(x, kinds, strict=True))])
    out = told(capsys, "train", "--data-path", "k.csv", "--epochs", 5, "--test-size", 0.3, "--run-dir", "run")
    assert "class rare is never found" in out
    assert "class rare is never found: none of its 3 rows" in told(capsys, "evaluate", "run", "--data-path", "k.csv")
    at = kinds.index("rare")
    table(tmp_path / "one.csv", [("a", "b", "c", "kind"), (*x[at], "rare")])
    assert "class rare is never found: not its one row" in told(capsys, "evaluate", "run", "--data-path", "one.csv")
    scored = json.loads(told(capsys, "evaluate", "run", "--data-path", "k.csv", "--json"))
    at = scored["classes"].index("rare")
    assert (scored["recall"][at], scored["support"][at], scored["confusion"][at][at]) == (0.0, 3, 0)
    assert scored["balanced_accuracy"] < 0.7 < scored["accuracy"]
    kept = json.loads((tmp_path / "run" / "results.json").read_text())
    assert {"precision", "recall", "f1", "roc_auc", "log_loss"} <= set(kept["train"])


def test_errors_are_in_the_targets_own_units(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    x, _ = unbalanced(br.Network([3, 2], ["softmax"], "ce"), 80)
    numbers = 1000.0 + 50.0 * x[:, 0]
    table(tmp_path / "n.csv", [("a", "b", "c", "t"), *((*row, t) for row, t in zip(x, numbers, strict=True))])
    out = told(capsys, "train", "--data-path", "n.csv", "--epochs", 1, "--run-dir", "run")
    scored = json.loads(told(capsys, "evaluate", "run", "--data-path", "n.csv", "--json"))
    told(capsys, "predict", "run", "--data-path", "n.csv", "--output", "p.csv")
    predicted = [float(line.split(",")[0]) for line in (tmp_path / "p.csv").read_text().splitlines()[1:]]
    np.testing.assert_allclose(scored["rmse"], sklearn.root_mean_squared_error(numbers, predicted), rtol=1e-9)
    np.testing.assert_allclose(scored["mae"], sklearn.mean_absolute_error(numbers, predicted), rtol=1e-9)
    assert "RMSE" in out
