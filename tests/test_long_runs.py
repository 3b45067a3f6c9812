"""Runs of 10,000 short epochs, each looked at: they get to their end, and from the middle to the same bits."""

import contextlib
import io
import json

import numpy as np
import pytest

import backprop_ref as br
from backprop_ref import cli

EPOCHS = 10_000
NETWORK = br.Network([2, 2, 1], ["tanh", "sigmoid"], "bce")
X, Y = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), np.array([[0.0], [1.0], [1.0], [0.0]])
LOOKS = {
    "validation": {"validation": (X[1:], Y[1:])},
    "patience": {"patience": EPOCHS},
    "callback": {"callback": lambda at: at.epoch < 0},
    "all": {"validation": (X[1:], Y[1:]), "patience": EPOCHS, "callback": lambda at: at.epoch < 0},
}


def check(backend, look, folder):
    """In one go, in two halves, and without a look."""

    def train(epochs, **how):
        how = {"batch_size": None, "optimizer": br.SGD(0.3, momentum=0.5), "backend": backend, **how}
        return br.train(NETWORK, NETWORK.init(2), X, Y, epochs=epochs, **how)

    whole = train(EPOCHS, **look)
    train(EPOCHS // 2, run_dir=folder, **look)
    resumed = train(EPOCHS, run_dir=folder, resume=True, **look)
    assert (whole.epochs, resumed.epochs) == (EPOCHS, EPOCHS)
    assert whole.params.sha256() == resumed.params.sha256()
    for name, column in whole.history.items():
        np.testing.assert_array_equal(resumed.history[name], column)
    if "patience" not in look:
        assert whole.params.sha256() == train(EPOCHS).params.sha256()


@pytest.mark.more
@pytest.mark.parametrize(("look", "backend"), [("validation", "numba"), ("patience", "numpy"), ("callback", "numba")])
def test_looked_at_from_python(look, backend, tmp_path):
    check(backend, LOOKS[look], tmp_path / "run")


def command(*arguments):
    """The results that a training of the command line prints."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert cli.run(["train", *arguments, "--json"]) == 0
    return json.loads(said.getvalue())


def check_command(folder, *arguments):
    """The same by the command line."""
    whole = command(*arguments, "--epochs", str(EPOCHS), "--run-dir", f"{folder}/a")
    command(*arguments, "--epochs", str(EPOCHS // 2), "--run-dir", f"{folder}/b")
    level = [] if "--log-level" not in arguments else ["--log-level", "DEBUG"]
    resumed = command("--resume", f"{folder}/b", "--epochs", str(EPOCHS), *level)
    assert (whole["epochs"], resumed["epochs"]) == (EPOCHS, EPOCHS)
    assert whole["sha256"] == resumed["sha256"]
    return whole


@pytest.mark.more
def test_logged_epoch_by_epoch(tmp_path):
    check_command(tmp_path, "xor", "--backend", "numba", "--log-level", "DEBUG", "--batch-size", "full")
    for run in "ab":
        assert f"epoch {EPOCHS}: " in (tmp_path / run / "logs" / "app.log").read_text()


def test_more_epochs_than_can_be_counted_are_refused(capsys):
    assert cli.run(["train", "xor", "--epochs", "1" + 400 * "0", "--trace", "csv"]) == 2
    assert "--epochs" in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("look", LOOKS)
def test_every_look_on_every_trainer(look, backend, tmp_path):
    check(backend, LOOKS[look], tmp_path / "run")


@pytest.mark.long
@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize(
    "look",
    [
        ["--validation-size", "0.2"],
        ["--validation-size", "0.2", "--patience", str(EPOCHS)],
        ["--patience", str(EPOCHS)],
        ["--log-level", "DEBUG"],
        ["--validation-size", "0.2", "--patience", str(EPOCHS), "--log-level", "DEBUG", "--trace", "binary"],
    ],
    ids=" ".join,
)
def test_iris(look, backend, tmp_path):
    check_command(tmp_path, "iris", "--backend", backend, *look)
