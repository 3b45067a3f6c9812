"""The way in: any terminal, few flags, values from other libraries, and what a training may begin with."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers import more

import backprop_ref as br
from backprop_ref.cli import run
from backprop_ref.experiments.schema import Config
from backprop_ref.text import spelt


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def train(capsys):
    """Runs ``train … --json`` and gives the results."""

    def train(*arguments):
        status = run(["train", *arguments, "--json"])
        out, err = capsys.readouterr()
        assert status == 0, err
        return json.loads(out)

    return train


def refused(capsys, *arguments, status=2):
    assert run(arguments) == status
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    return err


# --- terminals ---

MINE = """
def gradients(network, weights, biases, x, y):
    a, rows = x, len(x)
    for W, b in zip(weights, biases):
        a = 1 / (1 + 2.718281828459045 ** -(a @ W + b))
    return 0.0, [W * 0 for W in weights], [b * 0 for b in biases]
"""


@pytest.mark.parametrize("encoding", ["ascii", more("cp1252"), more("cp932")])
@pytest.mark.more
def test_no_command_dies_of_an_encoding(encoding):
    Path("mine.py").write_text(MINE)
    Path("größe.csv").write_text("größe;t\n1,5;0,5\n2,5;1,5\n", encoding="utf-8")
    commands = [
        *(["-h"], ["train", "--help-all"], ["verify", "--help"], ["columns", "größe.csv"], ["explain", "xor"]),
        ["train", "diabetes", "--epochs", "2", "--hidden", "3"],
        ["verify", "mine.py:gradients", "--network", "3-5-4:sigmoid,sigmoid:sse"],
    ]
    program = (
        "import sys, json; from backprop_ref import cli; sys.stdout.reconfigure(errors='strict'); codes = []\n"
        "exit, sys.exit = sys.exit, codes.append\n"
        f"for command in {commands!r}: cli.main(command)\n"
        "print(codes); exit(0)"
    )
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    how = {"env": environment, "capture_output": True}
    done = subprocess.run([sys.executable, "-c", program], check=False, **how)
    assert b"Traceback" not in done.stderr, done.stderr.decode(encoding)
    assert done.stdout.decode(encoding).splitlines()[-1] == "[0, 0, 0, 0, 0, 0, 1]"


def test_what_an_encoding_lacks_is_spelt():
    assert "R² of η·Σ, ½ → ─│, é".encode("ascii", "spelt").decode() == r"R^2 of eta*sum, 1/2 -> -|, \xe9"
    with pytest.raises(UnicodeDecodeError):
        spelt(UnicodeDecodeError("ascii", b"\xff", 0, 1, "why"))


def test_the_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "backprop_ref", "-h"], capture_output=True, text=True, check=True)
    assert "Usage: backprop-ref" in done.stdout


# --- flags ---


def test_help_has_the_basic_flags_and_help_all_the_rest(capsys):
    assert run(["train", "-h"]) == 0
    short = capsys.readouterr().out
    assert run(["train", "--help-all"]) == 0
    long = capsys.readouterr().out
    assert len(short.splitlines()) <= 45
    assert len(long.splitlines()) > 100
    assert "--hidden " in short
    assert ("--beta1" in short, "--beta1" in long) == (False, True)
    assert "<bool>" not in short + long


def test_earlier_names_are_still_read(train):
    earlier = train("iris", "--hidden-size", "5", "--weight-init", "zeros", "--epochs", "1")
    now = train("iris", "--hidden", "5", "--init", "zeros", "--epochs", "1")
    Path("c.yaml").write_text("{data: {dataset: iris}, network: {hidden: [5], init: zeros}, training: {epochs: 1}}")
    Path("d.yaml").write_text(
        "{data: {dataset: iris, random_seed: 1}, network: {hidden_layers: [5], weight_init: zeros},"
        " training: {epochs: 1}}"
    )
    assert Config(network={"hidden_layers": [5]}) == Config(network={"hidden": [5]})  # as in a plan of a sweep
    written = yaml.safe_load(Path(now["run_dir"], "config.yaml").read_text())
    assert (written["network"]["hidden"], written["network"]["init"], written["data"]["seed"]) == ([5], "zeros", 1)
    assert {now["sha256"], train("c.yaml")["sha256"], train("--config", "d.yaml")["sha256"]} == {earlier["sha256"]}


def test_a_name_twice_is_refused(capsys):
    Path("c.yaml").write_text("network: {hidden: [5], hidden_layers: [6]}")
    assert "network.hidden and network.hidden_layers are the same" in refused(capsys, "train", "c.yaml")


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_task_alone_trains_on_the_generator_of_that_name(train, task):
    assert (results := train("--task", task, "--epochs", "1"))["name"] == task
    assert results["task"] == task


def test_files_are_replaced_on_request(capsys):
    Path("f.csv").write_text("mine")
    assert "nothing is overwritten; give another name, or --force" in refused(capsys, "data", "xor", "--out", "f.csv")
    assert run(["data", "xor", "--out", "f.csv", "--force"]) == 0
    assert Path("f.csv").read_text().startswith("x0,x1,target\n")
    Path("link.csv").symlink_to("f.csv")
    capsys.readouterr()
    assert "nothing is overwritten" in refused(capsys, "data", "xor", "--out", "link.csv", "--force")


def test_developers_have_a_command_of_their_own(capsys):
    assert run(["developer", "elementary", "--points", "100", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)


# --- what training begins with ---


def table(name, rows, seed=1):
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, 2))
    lines = [f"{a},{b},{'up' if a + b > 0 else 'down'}" for a, b in x.tolist()]
    Path(name).write_text("a,b,kind\n" + "\n".join(lines) + "\n")
    return name


def test_a_validation_file(train, capsys):
    results = train("--data-path", table("f.csv", 60), "--validation-path", table("v.csv", 20, 2), "--epochs", "3")
    assert results["rows"] == {"train": 48, "validation": 20, "test": 12}
    assert "val_loss" in results["history_last"]
    both = ["train", "--data-path", "f.csv", "--validation-path", "v.csv", "--validation-size", "0.1"]
    assert "give one of them" in refused(capsys, *both)


def test_folds(train):
    summary = train("iris", "--folds", "5", "--epochs", "5", "--run-dir", "fold")
    tested = [results["test"]["confusion"] for results in summary["folds"]]
    assert np.sum(tested) == 150
    assert np.sum(tested, axis=(0, 2)).tolist() == [50, 50, 50]
    assert summary["mean"] == pytest.approx(np.mean([results["test"]["accuracy"] for results in summary["folds"]]))
    assert yaml.safe_load(Path("fold-3/config.yaml").read_text())["data"]["fold"] == 3


def test_going_on_from_another_runs_weights(train, capsys):
    first = train("--data-path", table("f.csv", 60), "--epochs", "20", "--run-dir", "first", "--hidden", "7")
    more = table("g.csv", 40, 3)
    again = train("--data-path", more, "--from", "first", "--epochs", "0", "--run-dir", "again")
    assert (again["network"], again["sha256"]) == (first["network"], first["sha256"])
    wrong = ["train", "--data-path", more, "--from", "first", "--hidden", "3"]
    assert "its sizes are [2, 7, 2], not [2, 3, 2]" in refused(capsys, *wrong)
    assert "no such file" in refused(capsys, "train", "--data-path", more, "--from", "absent")
    assert "other columns or classes" in refused(capsys, "train", "iris", "--from", "first")
    for flags in (("--target", "a"), ("--normalize", "none"), ("--drop", "a"), ("--task", "regression")):
        said = refused(capsys, "train", "--data-path", more, "--from", "first", *flags)
        assert said.startswith(f"error: {flags[0]} with --from: the table is read by the rules of that run")


def test_several_targets(train, capsys):
    Path("f.csv").write_text("a,u,v\n" + "".join(f"{i},{2 * i},{30 - i}\n" for i in range(40)))
    results = train("--data-path", "f.csv", "--target", "u,v", "--epochs", "40", "--run-dir", "run")
    assert results["network"]["sizes"] == [1, 128, 2]
    assert results["test"]["r2"] > 0.9
    assert run(["predict", "run", "--data-path", "f.csv"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "prediction u,prediction v,u,v"
    assert run(["evaluate", "run", "--data-path", "f.csv", "--json"]) == 0


def test_missing_values_and_ids_from_training_to_prediction(train, capsys):
    rows = "".join(f"p{i},{'' if i % 5 == 0 else i},{'x' if i < 20 else 'y'}\n" for i in range(40))
    Path("f.csv").write_text("who,a,kind\n" + rows)
    flags = ["--missing", "median", "--id", "who", "--epochs", "60", "--run-dir", "run"]
    assert train("--data-path", "f.csv", *flags)["network"]["sizes"][0] == 2
    Path("new.csv").write_text("kind,a,who\n?,,ann\n,3,bob\n,z,cy\n")
    assert run(["predict", "run", "--data-path", "new.csv"]) == 0
    out, err = capsys.readouterr()
    assert [line.split(",")[0] for line in out.splitlines()] == ["who", "ann", "bob", "cy"]
    assert [bool(line.split(",")[1]) for line in out.splitlines()] == [True, True, True, False]
    assert err == ("no prediction for 1 of 3 rows: line 4, column a: 'z' is not a finite number; mend these cells\n")
    assert run(["columns", "run"]) == 0
    assert "kept in predictions" in capsys.readouterr().out
    for command in (["explain", "run"], ["evaluate", "run"], ["report", "run"], ["gradcheck", "run"]):
        assert run(command) == 0


def test_an_encoding_for_training_and_prediction(train, capsys):
    rows = "値,色\n" + "".join(f"{i},{'赤青'[i % 2]}\n" for i in range(20))
    Path("f.csv").write_bytes(rows.encode("shift_jis"))
    flags = ["--data-path", "f.csv", "--encoding", "shift_jis"]
    assert train(*flags, "--epochs", "1", "--run-dir", "run")["test"]["classes"] == ["赤", "青"]
    assert run(["predict", "run", *flags]) == 0
    assert capsys.readouterr().out.startswith("prediction,色\n")
    assert run(["evaluate", "run", *flags]) == 0


def test_names_and_texts_with_commas(train):
    Path("f.csv").write_text('"size, in m",b,t\n' + "".join(f'"{i},5",{i % 3},{i}.25\n' for i in range(30)))
    flags = ["--data-path", "f.csv", "--epochs", "1"]
    assert train(*flags, "--drop", "size, in m")["network"]["sizes"][0] == 1
    assert train(*flags, "--as", "size, in m=category")["network"]["sizes"][0] == 31
    assert train(*flags, "--missing-value", "2,5", "--missing", "mean")["network"]["sizes"][0] == 3
    Path("c.yaml").write_text("data: {path: f.csv, kinds: {b: category}, drop: 'size, in m'}")
    assert train("c.yaml", "--epochs", "1")["network"]["sizes"][0] == 3


def test_folds_are_for_training(capsys):
    assert "say which one by --fold" in refused(capsys, "gradcheck", "iris", "--folds", "3")


# --- what training ends with ---


def test_divergence_that_stays_finite_is_divergence(capsys):
    flags = ["--hidden", "none", "--normalize", "none", "--optimizer", "sgd", "--learning-rate", "1", "--epochs", "12"]
    message = refused(capsys, "train", "regression", *flags, status=1)
    assert "training diverged: the loss grew from 6.07 to" in message
    assert "leave out --normalize none" in message


@pytest.mark.parametrize(("output", "low", "high"), [("sigmoid", 0, 1), ("tanh", -1, 1), ("relu", 0, np.inf)])
def test_targets_are_scaled_to_what_the_output_reaches(train, output, low, high):
    results = train("diabetes", "--output-activation", output, "--epochs", "20", "--run-dir", "run")
    assert "the target is scaled to" in results["notes"][0]
    assert results["test"]["r2"] > 0.3
    kept = br.load("run").preprocessing
    y = (br.load_dataset("diabetes").target - kept["target_shift"]) / kept["target_scale"]
    assert low - 0.1 <= y.min()
    assert y.max() <= high + 0.1


def test_targets_out_of_reach_are_refused(capsys):
    for words, flags in (
        ("reaches 0 to 1, and the target goes from 31 to 346", ["sigmoid", "--normalize", "none"]),
        ("shares that sum to 1", ["softmax"]),
    ):
        assert words in refused(capsys, "train", "diabetes", "--output-activation", *flags)


# --- from Python ---

NETWORK = br.Network([3, 1], ["linear"], "mean_squared_error")


def column(kind):
    """Two targets as somebody has them."""
    if kind == "tensor":
        return pytest.importorskip("torch").tensor([1.0, 2.0], requires_grad=True)
    if kind in {"pandas", "polars"}:
        return pytest.importorskip(kind).Series([1.0, 2.0])
    return [1.0, 2.0] if kind == "list" else np.array([1.0, 2.0])


@pytest.mark.parametrize("kind", ["list", "array", "pandas", "polars", "tensor"])
def test_the_remedy_for_a_column_works(kind):
    y, x, params = column(kind), np.eye(3)[:2], NETWORK.init(seed=1)
    with pytest.raises(br.InvalidInput) as caught:
        br.value_and_grad(NETWORK, params, x, y)
    remedy = str(caught.value).partition("pass ")[2]
    expected = br.value_and_grad(NETWORK, params, x, [[1.0], [2.0]])[0]
    assert br.value_and_grad(NETWORK, params, x, eval(remedy, {"np": np, "y": y}))[0] == expected


def test_the_remedy_for_integer_labels_works():
    network = br.Network([3, 4], ["softmax"], "categorical_crossentropy")
    assert network.loss == "cross_entropy"
    labels = (np.array([0, 3]), np.array([[0], [3]]), [0, 3])
    for y in (*labels, [1, 4], ["a", "b"], np.array(["a", "b"], object)):
        with pytest.raises(br.InvalidInput) as caught:
            br.value_and_grad(network, network.init(seed=1), np.eye(3)[:2], y)
        remedy = str(caught.value).partition("pass ")[2]
        second = 3 if any(y is one for one in labels) else 1  # others are numbered
        assert eval(remedy, {"np": np, "br": br, "y": y}).argmax(axis=1).tolist() == [0, second]


def test_frames_and_sparse_matrices():
    sparse = pytest.importorskip("scipy.sparse").csr_matrix(np.eye(3))
    params = NETWORK.init(seed=1)
    assert np.array_equal(br.predict(NETWORK, params, sparse), br.predict(NETWORK, params, np.eye(3)))
    pandas = pytest.importorskip("pandas")
    dummies = pandas.get_dummies(pandas.DataFrame({"k": ["x", "y", "z"]}))
    mixed = pandas.DataFrame({"a": [1.0, 2.0], "b": [True, False], "c": pandas.array([1, 2], dtype="Int64")})
    assert np.array_equal(br.predict(NETWORK, params, dummies), br.predict(NETWORK, params, np.eye(3)))
    assert np.array_equal(br.predict(NETWORK, params, mixed), br.predict(NETWORK, params, [[1, 1, 1], [2, 0, 2]]))
    with pytest.raises(br.InvalidInput, match="column 'b' of x has dtype .*leave it out"):
        br.predict(NETWORK, params, pandas.DataFrame({"a": [1.0], "b": ["x"], "c": [1]}))


def test_a_summary_is_shown_in_lines():
    assert repr(NETWORK.summary()) == str(NETWORK.summary())


# --- how fast ---


def test_small_products_use_one_thread():
    backend = br.get_backend("numpy", "fast")
    assert (backend.suited(1000).threads, backend.suited(2**30).threads) == (1, None)
    assert br.get_backend("numpy", "fast", threads=3).suited(1000).threads == 3


def test_training_on_digits_does_without_scikit_learn():
    code = "import sys; from backprop_ref.cli import run; run(['train', 'digits', '--epochs', '1', '--hidden', '5']); "
    done = subprocess.run(
        [sys.executable, "-c", code + "print('sklearn' in sys.modules)"], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "False"


def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    ours, theirs = br.load_dataset("digits"), load_digits()
    assert np.array_equal(ours.x, theirs.data)
    assert np.array_equal(ours.target, theirs.target)
    assert ours.feature_names == tuple(theirs.feature_names)


def test_a_shell_completes(capsys, monkeypatch):
    monkeypatch.setenv("_BACKPROP_REF_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "backprop-ref tra")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert run([]) == 0
    assert capsys.readouterr() == ("train\n", "")


def test_ctrl_c_in_any_command_is_said(capsys, monkeypatch):
    """Typer makes a status of it without a word."""

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("backprop_ref.cli.use.predict", interrupted)
    assert run(["predict", "run", "--data-path", "t.csv"]) == 130
    assert capsys.readouterr().err == "error: interrupted\n"
