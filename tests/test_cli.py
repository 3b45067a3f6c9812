"""The commands: training, resuming after a signal, predicting and evaluating, and what is printed where."""

import csv
import fcntl
import io
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import yaml

import backprop_ref as br
from backprop_ref import progress
from backprop_ref.backends import names
from backprop_ref.cli import run
from backprop_ref.cli.app import command as command_line
from backprop_ref.data import load_dataset
from backprop_ref.network import ACTIVATIONS
from backprop_ref.network.model_file import load_all
from backprop_ref.optimizers.lbfgs import METHODS
from backprop_ref.optimizers.schedules import SCHEDULES

PROGRAM = [sys.executable, "-c", "from backprop_ref.cli import main; main()"]
FILES = {"checkpoint.safetensors", "config.yaml", "history.csv", "logs", "results.json"}
FOREVER = ["--epochs", "100000000"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Each test in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


@pytest.fixture
def command(capsys):
    """Runs a command line that has to end with `status`, without an error; gives what it printed."""

    def command(*arguments, status=0):
        assert run([str(argument) for argument in arguments]) == status
        out, err = capsys.readouterr()
        assert "error" not in err
        return out

    return command


@pytest.fixture
def train(command):
    """Trains, and gives the results."""
    return lambda *arguments: json.loads(command("train", *arguments, "--json"))


def table(text):
    """CSV text as a list of dictionaries."""
    return list(csv.DictReader(io.StringIO(text)))


def start(*arguments, **options):
    return subprocess.Popen([*PROGRAM, *arguments], stdout=subprocess.PIPE, text=True, **options)


# --- train ---


def test_train_says_everything_in_json(command, folder):
    results = json.loads(command("train", "iris", "--epochs", "3", "--output", "r.json", "--json"))
    assert json.loads((folder / "r.json").read_text()) == results
    assert json.loads((folder / "runs/iris-1/results.json").read_text()) == results
    assert (results["name"], results["task"], results["epochs"], results["stopped"]) == (
        "iris",
        "classification",
        3,
        "epochs",
    )
    assert results["rows"] == {"train": 120, "validation": 0, "test": 30}
    confusion = np.array(results["test"]["confusion"])
    assert confusion.sum() == 30
    assert confusion.trace() / 30 == results["test"]["accuracy"]
    assert results["sha256"] == br.load(folder / "runs/iris-1/checkpoint.safetensors").params.sha256()


def test_train_says_it_in_words(command, folder):
    out = command("train", "iris", "--epochs", "2", "--run-dir", "out")
    results = json.loads((folder / "out/results.json").read_text())
    assert f"test: accuracy {results['test']['accuracy']:.4f}" in out
    assert "confusion matrix" in out
    assert "run folder: out" in out
    assert {path.name for path in (folder / "out").iterdir()} == FILES
    assert "2 epochs" in (folder / "out/logs/app.log").read_text()
    history = table((folder / "out/history.csv").read_text())
    assert [row["epoch"] for row in history] == ["1", "2"]
    assert float(history[-1]["loss"]) == results["history_last"]["loss"]


def test_a_requirement_that_is_absent_is_said_in_a_line(folder, capsys, monkeypatch):
    (folder / "table.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert run(["train", "table.parquet"]) == 2
    assert capsys.readouterr().err == (
        "error: pyarrow is not installed; pip install backprop-ref installs all that is needed\n"
    )


def test_run_folders_are_counted_up(train, folder):
    assert [train("xor", "--epochs", "1")["run_dir"] for _ in range(3)] == ["runs/xor-1", "runs/xor-2", "runs/xor-3"]
    assert train("iris", "--epochs", "1")["run_dir"] == "runs/iris-1"
    (folder / "empty").mkdir()
    for name in ("empty", "new/deep/er"):
        assert train("iris", "--epochs", "1", "--run-dir", name)["run_dir"] == name


def test_two_at_once_get_a_folder_each(folder):
    both = [start("train", "xor", "--epochs", "1", "--json") for _ in range(2)]
    results = [json.loads(process.communicate()[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert {result["run_dir"] for result in results} == {"runs/xor-1", "runs/xor-2"}
    assert results[0]["sha256"] == results[1]["sha256"]


@pytest.mark.few(None, 100)
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimizer", METHODS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_optimizer_and_schedule(train, activation, optimizer, schedule):
    rule = ["--activation", activation, "--optimizer", optimizer, "--schedule", schedule]
    results = train("iris", "--epochs", "2", "--hidden-size", "4", *rule)
    assert results["network"]["activations"] == [activation, "softmax"]
    assert np.isfinite(results["test"]["loss"])


@pytest.mark.parametrize(
    ("arguments", "sizes", "output", "loss"),
    [
        (["iris"], [4, 128, 3], "softmax", "cross_entropy"),
        (["iris", "--hidden-size", "none"], [4, 3], "softmax", "cross_entropy"),
        (["iris", "--hidden-size", "8,4", "--hidden-size", "2"], [4, 8, 4, 2, 3], "softmax", "cross_entropy"),
        (["iris", "--hidden-size", "8,4", "--activation", "tanh"], [4, 8, 4, 3], "softmax", "cross_entropy"),
        (["iris", "--output-activation", "sigmoid"], [4, 128, 3], "sigmoid", "binary_cross_entropy"),
        (["iris", "--output-activation", "sigmoid", "--loss", "ce"], [4, 128, 3], "sigmoid", "cross_entropy"),
        (["iris", "--loss", "mse"], [4, 128, 3], "softmax", "mean_squared_error"),
        (["moons", "--loss", "bce"], [2, 128, 1], "sigmoid", "binary_cross_entropy"),
        (["moons", "--output-activation", "sigmoid", "--loss", "ce"], [2, 128, 2], "sigmoid", "cross_entropy"),
        (["xor"], [2, 4, 1], "sigmoid", "sum_squared_error"),
        (["encoder"], [8, 3, 8], "softmax", "cross_entropy"),
        (["encoder-16-4-16"], [16, 4, 16], "softmax", "cross_entropy"),
        (["encoder-4-2-4", "--output-activation", "sigmoid"], [4, 2, 4], "sigmoid", "binary_cross_entropy"),
        (["regression", "--n-features", "3"], [3, 128, 1], "linear", "mean_squared_error"),
    ],
)
def test_the_network_suits_the_data(train, arguments, sizes, output, loss):
    network = train(*arguments, "--epochs", "1")["network"]
    assert (network["sizes"], network["activations"][-1], network["loss"]) == (sizes, output, loss)


@pytest.mark.parametrize("name", ["regression", "diabetes"])
def test_regression_learns_by_itself(train, name):
    assert train(name)["test"]["r2"] > 0.0


@pytest.mark.parametrize("options", [["--batch-size", "full"], ["--batch-size", "1"], ["--dtype", "float32"]])
def test_options_of_training(train, options):
    results = train("iris", "--epochs", "2", *options)
    assert results["history_last"]["loss"] > 0.0
    assert results["dtype"] == ("float32" if "float32" in options else "float64")
    assert br.load(f"{results['run_dir']}/checkpoint.safetensors").params.dtype == results["dtype"]


def test_patience_stops_early_and_keeps_the_best(train):
    options = ["--validation-size", "0.25", "--patience", "2", "--learning-rate", "0.5", "--epochs", "500"]
    results = train("iris", *options)
    assert (results["stopped"], results["rows"]) == ("patience", {"train": 90, "validation": 30, "test": 30})
    history = table(Path(results["run_dir"], "history.csv").read_text())
    losses = [float(row["val_loss"]) for row in history]
    assert results["best_epoch"] == 1 + losses.index(min(losses)) == len(losses) - 2
    assert results["validation"]["loss"] == min(losses)


@pytest.mark.parametrize("name", ["iris", "wine"])
def test_the_csv_file_of_a_set_trains_the_same_network(command, train, folder, name):
    command("data", name, "--out", "f.csv")
    built_in = train(name, "--epochs", "2")
    from_file = train("--data-path", "f.csv", "--config", f"{built_in['run_dir']}/config.yaml")
    assert from_file["sha256"] == built_in["sha256"]
    assert from_file["test"] == built_in["test"]


def test_divergence_keeps_the_history_and_says_why(folder, capsys):
    rule = ["--activation", "linear", "--optimizer", "sgd", "--learning-rate", "1e6"]
    assert run(["train", "regression", *rule, "--json"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: training diverged in epoch 1: ")
    for part in ("of layer", "a learning rate that is too large (1e+06; try 100000)", "runs/regression-1"):
        assert part in err
    assert err.count("\n") == 1
    assert (folder / "runs/regression-1/history.csv").read_text().startswith("epoch")
    assert "diverged" in (folder / "runs/regression-1/logs/app.log").read_text()


# --- resume ---


@pytest.mark.few(1)
@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(train, folder, sent, status):
    options = ["--hidden-size", "16", "--optimizer", "adam", "--schedule", "constant", "--validation-size", "0.2"]
    process = start("train", "digits", *options, *FOREVER, "--run-dir", "run", "--json", stderr=subprocess.PIPE)
    while not (folder / "run/checkpoint.safetensors").exists():
        assert process.poll() is None
    process.send_signal(sent)
    out, err = process.communicate()
    assert (process.returncode, err) == (status, "")
    epoch = load_all(folder / "run/checkpoint.safetensors")[2]["progress"]["epoch"]
    if sent == signal.SIGINT:
        results = json.loads(out)
        assert (results["stopped"], results["epochs"]) == ("interrupted", epoch)
        assert {path.name for path in (folder / "run").iterdir()} == FILES
        assert len(table((folder / "run/history.csv").read_text())) == epoch
    epochs = ["--epochs", str(epoch + 3)]
    resumed, whole = train("--resume", "run", *epochs), train("digits", *options, *epochs)
    assert (resumed["epochs"], resumed["sha256"]) == (epoch + 3, whole["sha256"])
    assert resumed["test"] == whole["test"]
    assert (folder / "run/history.csv").read_text() == Path(whole["run_dir"], "history.csv").read_text()


PRESSED = """
import os, signal, sys

class Pressed:
    left = int(sys.argv[2])

    def find_spec(self, name, path, target=None):
        if hasattr(sys.modules.get("backprop_ref.starting"), "is_command"):
            Pressed.left -= 1
            if Pressed.left == 0:
                os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Pressed())
sys.argv = [sys.argv[1], "train", "xor", "--epochs", "0"]
from backprop_ref.cli import main
main()
"""


CAPTURED = {"capture_output": True, "text": True}


@pytest.mark.parametrize("at", [1, 40, 150, 260, 380])
@pytest.mark.few(2)
def test_ctrl_c_while_the_command_starts(folder, at):
    """At the n-th import: numpy's, our own, pydantic's."""
    done = subprocess.run([sys.executable, "-c", PRESSED, "bin/backprop-ref", str(at)], check=False, **CAPTURED)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr in {"", "error: interrupted\n"}
    assert not list(folder.iterdir())


def test_ctrl_c_in_a_program_that_imports_the_package_is_its_own(folder):
    done = subprocess.run([sys.executable, "-c", PRESSED, "mine.py", "40"], check=False, **CAPTURED)
    assert "KeyboardInterrupt" in done.stderr


def test_a_finished_run_goes_on_or_stays(train, folder, capsys):
    first = train("iris", "--epochs", "2", "--run-dir", "run")
    assert train("--resume", "run")["sha256"] == first["sha256"]
    whole = train("iris", "--epochs", "5")
    assert train("--resume", "run", "--epochs", "5")["sha256"] == whole["sha256"]
    assert yaml.safe_load((folder / "run/config.yaml").read_text())["training"]["epochs"] == 5
    assert run(["train", "--resume", "run", "--epochs", "3"]) == 2
    assert "epochs=3: the run in run has 5 already" in capsys.readouterr().err
    assert train("--resume", "run")["sha256"] == whole["sha256"]


def test_resuming_is_by_the_runs_own_configuration(train, folder, monkeypatch):
    train("iris", "--epochs", "2", "--run-dir", "run", "--dtype", "float32", "--seed", "3")
    whole = train("iris", "--epochs", "4", "--dtype", "float32", "--seed", "3")
    for name, value in {"RANDOM_SEED": "9", "BACKPROP_REF_DTYPE": "float64"}.items():
        monkeypatch.setenv(name, value)
    (folder / "c.yaml").write_text("run: {resume: run}\ntraining: {epochs: 4}")
    assert train("--config", "c.yaml")["sha256"] == whole["sha256"]


def test_a_resolved_configuration_starts_a_new_run(train):
    train("iris", "--epochs", "2", "--run-dir", "run")
    train("--resume", "run", "--epochs", "3")
    assert train("--config", "run/config.yaml")["run_dir"] == "runs/iris-1"


# --- predict and evaluate ---


@pytest.fixture
def iris(command, train):
    """A trained run, its results, and its data as CSV text."""
    results = train("iris", "--epochs", "20", "--run-dir", "run")
    return results, command("data", "iris", "--out", "iris.csv") or Path("iris.csv").read_text()


def test_predict_stands_beside_the_truth(command, iris):
    rows = table(command("predict", "run", "--data-path", "iris.csv", "--proba"))
    assert list(rows[0]) == ["prediction", "target", "p_setosa", "p_versicolor", "p_virginica"]
    p = np.array([[float(row[f"p_{name}"]) for name in ("setosa", "versicolor", "virginica")] for row in rows])
    # three terms, each rounded once, and two additions below 1
    assert (np.abs(p.sum(axis=1) - 1.0) <= 3 * np.finfo(np.float64).eps).all()
    assert [f"p_{row['prediction']}" for row in rows] == [list(rows[0])[2:][i] for i in p.argmax(axis=1)]
    right = sum(row["prediction"] == row["target"] for row in rows)
    evaluated = json.loads(command("evaluate", "run", "--data-path", "iris.csv", "--json"))
    assert evaluated["accuracy"] == right / 150
    assert evaluated["rows"] == np.sum(evaluated["confusion"]) == 150
    both = [(row["target"], row["prediction"]) for row in rows]
    names = evaluated["classes"]
    assert evaluated["confusion"] == [[both.count((target, found)) for found in names] for target in names]
    assert evaluated["confusion"] != np.transpose(evaluated["confusion"]).tolist()


def test_predict_finds_columns_by_name(command, iris):
    expected = command("predict", "run", "--data-path", "iris.csv")
    rows = [row.split(",") for row in iris[1].split("\n")[:-1]]
    Path("other.csv").write_text("".join(",".join([row[i] for i in (3, 4, 0, 2, 1)] + ["9"]) + "\n" for row in rows))
    assert command("predict", "run", "--data-path", "other.csv") == expected
    Path("bare.csv").write_text("".join(",".join(row[:4]) + "\n" for row in rows[1:]))
    assert table(command("predict", "run", "--data-path", "bare.csv")) == [
        {"prediction": row["prediction"]} for row in table(expected)
    ]


def test_predict_into_a_file_or_through_a_pipe(command, iris):
    printed = command("predict", "run/checkpoint.safetensors", "--data-path", "iris.csv")
    assert command("predict", "run", "--data-path", "iris.csv", "--output", "p.csv") == ""
    assert Path("p.csv").read_text() == printed


def test_evaluate_gives_what_train_printed(command, iris, monkeypatch):
    monkeypatch.setenv("RANDOM_SEED", "77")
    evaluated = json.loads(command("evaluate", "run", "--json"))
    assert {key: evaluated[key] for key in iris[0]["test"]} == iris[0]["test"]
    assert f"test: accuracy {evaluated['accuracy']:.4f}" in command("evaluate", "run")


def test_numbers_are_predicted_in_their_own_units(command, train):
    results = train("diabetes", "--run-dir", "run")
    command("data", "diabetes", "--out", "d.csv")
    rows = table(command("predict", "run", "--data-path", "d.csv"))
    target, predicted = (np.array([float(row[key]) for row in rows]) for key in ("target", "prediction"))
    assert np.array_equal(target, load_dataset("diabetes").target)
    r2 = json.loads(command("evaluate", "run", "--data-path", "d.csv", "--json"))["r2"]
    residuals, deviations = np.sum((predicted - target) ** 2), np.sum((target - target.mean()) ** 2)
    # both sums are of 442 positive terms, whose factors have lost a few units to the scaling and back
    assert abs(1.0 - residuals / deviations - r2) <= 2 * 442 * np.finfo(np.float64).eps
    assert json.loads(command("evaluate", "run", "--json"))["r2"] == results["test"]["r2"]
    assert f"R² {r2:.4f}" in command("evaluate", "run", "--data-path", "d.csv")


def test_two_classes_with_one_output(command, train):
    results = train("breast_cancer", "--output-activation", "sigmoid", "--epochs", "3", "--run-dir", "run")
    assert results["network"]["sizes"][-1] == 1
    command("data", "breast_cancer", "--out", "b.csv")
    rows = table(command("predict", "run", "--data-path", "b.csv", "--proba"))
    for row in rows:
        assert float(row["p_malignant"]) == 1.0 - float(row["p_benign"])
        assert row["prediction"] == ("benign" if float(row["p_benign"]) > 0.5 else "malignant")
    assert json.loads(command("evaluate", "run", "--json"))["accuracy"] == results["test"]["accuracy"]


def test_numeric_classes_and_a_label_by_position(command, train):
    Path("f.csv").write_text("".join(f"{3 + i % 2}.0,{i % 2},{i}\n" for i in range(12)))
    results = train("--data-path", "f.csv", "--label-column", "0", "--epochs", "50", "--run-dir", "run")
    assert results["test"]["classes"] == ["3", "4"]
    rows = table(command("predict", "run", "--data-path", "f.csv"))
    assert [row["target"] for row in rows] == ["3", "4"] * 6
    assert {row["prediction"] for row in rows} == {"3", "4"}


# --- data, gradcheck, backends, help ---


def test_data_lists_describes_and_writes(command):
    listed = command("data")
    assert all(name in listed for name in ("xor", "encoder", "spirals", "digits", "diabetes"))
    assert "400 rows, 2 features, 2 classes (0, 1)" in command("data", "moons")
    assert command("data", "moons", "--n-samples", "30", "--seed", "4", "--out", "m.csv") == ""
    dataset = load_dataset("moons", n_samples=30, seed=4)
    rows = table(Path("m.csv").read_text())
    assert [[float(row["x0"]), float(row["x1"])] for row in rows] == dataset.x.tolist()
    assert [int(row["target"]) for row in rows] == dataset.target.tolist()


@pytest.mark.parametrize("target", [[], ["wine"], ["--data-path", "f.csv"], ["run"]])
def test_gradcheck(command, train, target):
    Path("f.csv").write_text("1,2,x\n3,4,y\n5,6,x\n7,9,y\n2,2,x\n")
    if target == ["run"]:
        train("xor", "--epochs", "2", "--run-dir", "run", "--dtype", "float32")
    smaller = [] if target == ["run"] else ["--hidden-size", "5,4", "--activation", "tanh"]
    checked = json.loads(command("gradcheck", *target, *smaller, "--entries", "5", "--json"))
    assert checked["ok"]
    assert [row["tensor"] for row in checked["tensors"]][:2] == ["W0", "b0"]
    assert "gradients ok" in command("gradcheck", *target, *smaller, "--entries", "2")


def test_backends_are_listed_with_reasons(command):
    rows = json.loads(command("backends", "--json"))
    assert [row["name"] for row in rows] == names()
    assert all(row["usable"] or row["reason"] for row in rows)
    assert rows[0] == {"name": "numpy", "usable": True, "reason": "", "device": "cpu", "version": np.__version__}
    assert "numpy" in command("backends")


def test_the_version(command):
    assert command("--version") == f"backprop-ref {br.__version__}\n"


@pytest.mark.few(6)
@pytest.mark.parametrize("name", command_line().commands)
def test_help_fits_a_terminal_and_shows_an_example(command, monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "80")
    text = command(name, "--help")
    assert max(map(len, text.splitlines())) <= 80
    assert f" backprop-ref {name}" in text.partition("Example:")[2]
    examples = [line.strip() for line in text.partition("Example:")[2].splitlines() if line.strip()]
    options = {option for parameter in command_line().commands[name].params for option in parameter.opts}
    for example in examples:
        assert {word for word in example.split() if word.startswith("--")} <= options


def test_help_without_a_command_lists_the_commands(command):
    assert all(name in command() for name in command_line().commands)


# --- terminals, pipes, signals ---


def terminal():
    """Both ends of a terminal of 25 lines and 120 columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 25, 120, 0, 0))
    return ours, theirs


def read_until(ours, wanted):
    """What arrives until `wanted` does, or the other side is closed."""
    seen = b""
    while wanted not in seen:
        try:
            seen += os.read(ours, 4096)
        except OSError:
            break
    return seen


def test_a_long_run_shows_its_progress_on_a_terminal():
    ours, theirs = terminal()
    process = start("train", "xor", *FOREVER, stderr=theirs, env=os.environ | {"TERM": "xterm"})
    os.close(theirs)
    seen = read_until(ours, b"accuracy")
    assert b"epoch" in seen
    assert b"loss" in seen
    process.send_signal(signal.SIGINT)
    assert "interrupted; go on with: backprop-ref train --resume runs/xor-1" in process.communicate()[0]
    assert process.returncode == 130
    os.close(ours)


def test_a_short_run_shows_none():
    ours, theirs = terminal()
    process = start("train", "xor", "--epochs", "2", stderr=theirs, env=os.environ | {"TERM": "xterm"})
    os.close(theirs)
    assert "2 epochs" in process.communicate()[0]
    assert (process.returncode, read_until(ours, b"\0")) == (0, b"")
    os.close(ours)


@pytest.mark.parametrize(("seconds", "shown"), [(0.19, False), (0.21, True)])
def test_progress_is_for_what_takes_over_two_seconds(monkeypatch, seconds, shown):
    now = 0.0
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now)
    monkeypatch.setattr(progress, "_rich_bar", made := Mock())
    with progress.Bar("epoch", 10, wanted=True) as bar:
        for epoch in range(1, 11):
            now = epoch * seconds
            bar.update(epoch)
    assert made.called == shown


def test_nobody_reading_is_no_error():
    process = start("data", stderr=subprocess.PIPE)
    process.stdout.close()
    assert (process.stderr.read(), process.wait()) == ("", 0)
    process.stderr.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["explain", "xor", "--sample", "x"], "--sample: 'x' is not allowed; a whole number is needed"),
        (["sweep", "losses", "--workers", "0"], "--workers: '0' is not allowed; 1 or more is needed"),
        (["explain", "xor", "--digits", "40"], "--digits: '40' is not allowed; 17 or less is needed"),
        (["verify", "m:f", "--time-limit", "x"], "--time-limit: 'x' is not allowed; a number is needed"),
        (["train", "xor", "--epochs", "x"], "--epochs: 'x' is not allowed; a whole number is needed"),
    ],
)
def test_every_flag_refuses_a_value_in_the_same_words(capsys, arguments, message):
    assert run(arguments) == 2
    assert capsys.readouterr().err == f"error: {message}\n"


def test_a_folder_of_runs_leads_to_the_newest(capsys, train):
    for _ in range(2):
        train("xor", "--epochs", "1")
    assert run(["report", "runs"]) == 2
    err = capsys.readouterr().err
    assert "runs: no run folder (no config.yaml in it); give the folder of a run, such as runs/xor-2\n" in err
