"""Bad input: a cause and a remedy in one line on standard error, exit status 2, and every file as it was before."""

import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import backprop_ref as br
from backprop_ref import cli
from backprop_ref.experiments import runner

GOOD = "a,b,kind\n" + "".join(f"{i},{i * i},{'xy'[i % 2]}\n" for i in range(10))
CSV = ["train", "--data-path", "f.csv", "--epochs", "1"]
IRIS = ["train", "iris", "--epochs", "1"]


def snapshot():
    """Every file and folder with its bytes; of logs, which only ever grow, the names."""
    files = {path for path in Path().rglob("*") if path.is_file() and path.suffix != ".log"}
    return {path: path.read_bytes() if path in files else None for path in Path().rglob("*")}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Each test in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


@pytest.fixture
def refused(capsys):
    """Runs a command line that has to be refused, with these words in the message."""

    def refused(arguments, *words, status=2, printed=""):
        before = snapshot()
        assert cli.run([str(argument) for argument in arguments]) == status
        out, err = capsys.readouterr()
        assert out[: out.find(" (")] == printed if printed else out == ""
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert "Traceback" not in err
        for word in words:
            assert word in err
        assert snapshot() == before

    return refused


@pytest.fixture
def trained(capsys):
    """Folders of two trained networks, with classes and with numbers."""
    assert cli.run(["train", "iris", "--epochs", "2", "--run-dir", "run"]) == 0
    assert cli.run(["train", "diabetes", "--epochs", "2", "--run-dir", "numbers"]) == 0
    assert cli.run(["data", "iris", "--out", "iris.csv"]) == 0
    capsys.readouterr()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ["f.csv: no such file"]),
        ("", ["f.csv: empty"]),
        ("a,b,kind\n", ["f.csv: only a header"]),
        ("a,b,kind\n1,2,x\n3,4,x\n", ["f.csv: only one class ('x') in column 'kind'", "another by --target"]),
        ("a,b,kind\n1,2,x\n3,nan,y\n", ["f.csv, line 3, column b: 'nan'", "remove that line", "--missing median"]),
        ("a,b,kind\n1,2,x\n3,,y\n", ["f.csv, line 3, column b: empty"]),
        ("a,b,kind\n1,2,x\n3,4\n", ["f.csv, line 3: 2 cells, but the header has 3"]),
        ("a,b,kind\n1e308,2,x\n-1e308,3,y\n", ["column a: from -1e+308 to 1e+308", "--normalize none"]),
    ],
)
def test_training_data(refused, content, words):
    if content is not None:
        Path("f.csv").write_text(content)
    refused(CSV, *words)


@pytest.mark.few(15)
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train"], ["no data", "--data-path", "digits"]),
        (["train", "--seed", "1"], ["no data"]),
        (["train", "igits"], ["unknown data set 'igits': did you mean 'digits'?"]),
        (["train", "iris", "wine"], ["unexpected extra argument", "see backprop-ref train --help"]),
        (["train", "iris", "--dataset", "wine"], ["both iris and --dataset wine"]),
        (["train", "iris", "--data-path", "f.csv"], ["both --dataset and --data-path"]),
        (["trian"], ["'trian'", "'train'"]),
        ([*IRIS, "--epoch", "3"], ["--epoch", "--epochs"]),
        ([*IRIS, "--batch-size", "abc"], ["--batch-size: 'abc' is not allowed; a whole number or full is needed"]),
        ([*IRIS, "--hidden-size", "8,x"], ["--hidden: 'x'"]),
        ([*IRIS, "--hidden-size", "0"], ["--hidden: '0'", "1 or more"]),
        ([*IRIS, "--hidden-size", "8,8", "--activation", "relu,relu,relu"], ["3 for 2 hidden layers"]),
        ([*IRIS, "--activation", "foo"], ["--activation: 'foo'", "leaky_relu"]),
        ([*IRIS, "--output-activation", "relu", "--loss", "ce"], ["cross_entropy does not go with", "softmax"]),
        ([*IRIS, "--optimizer", "adma"], ["--optimizer: 'adma'", "sgd, adam, adamw, rmsprop, adagrad or lbfgs"]),
        ([*IRIS, "--nesterov"], ["nesterov needs a momentum"]),
        ([*IRIS, "--momentum", "0.9", "--optimizer", "adam"], ["--momentum", "--optimizer sgd"]),
        ([*IRIS, "--backend", "nump"], ["unknown backend 'nump': did you mean 'numpy'?"]),
        ([*IRIS, "--device", "moon"], ["no device 'moon'"]),
        ([*IRIS, "--task", "regression"], ["iris is for classification"]),
        (
            [*IRIS, "--folds", "4", "--test-size", "0.1"],
            ["--test-size with --folds", "1/4", "leave out one of the two"],
        ),
        ([*IRIS, "--fold", "1"], ["--fold: one of how many is needed; give --folds too"]),
        ([*IRIS, "--n-samples", "5"], ["iris has no option n_samples"]),
        ([*IRIS, "--header"], ["--header", "built-in"]),
        ([*IRIS, "--config", "absent.yaml"], ["absent.yaml: no such file"]),
        ([*IRIS, "--output", "no/r.json"], ["--output no/r.json: cannot be written"]),
        ([*IRIS, "--output", "."], ["--output .: exists already"]),
        (["data", "iris", "--out", ""], ["--out '': the name of a file is needed"]),
        ([*IRIS, "--run-dir", ""], ["--run-dir: ''"]),
        ([*IRIS, "--log-file", "../out.log"], ["--log-file"]),
        ([*IRIS, "--log-file", "/tmp/out.log"], ["--log-file"]),
        ([*IRIS, "--log-file", "checkpoint.safetensors"], ["--log-file"]),
        (["train", "--resume", "absent"], ["--resume absent: no run folder"]),
        (["train", "moons", "--n-samples", "1"], ["1 rows cannot show 2 classes"]),
        (["data", "nope"], ["unknown data set 'nope'"]),
        (["data", "moons", "--n-samples", "many"], ["--n-samples: 'many'"]),
        (["data", "moons", "--out", "no/f.csv"], ["no/f.csv: cannot be written"]),
        (["gradcheck", "nope"], ["unknown data set 'nope'"]),
        (["gradcheck", "iris", "--data-path", "f.csv"], ["both iris and --data-path f.csv"]),
        (["predict", "absent", "--data-path", "f.csv"], ["absent: no such file"]),
        (["predict", "absent"], ["--data-path", "see backprop-ref predict --help"]),
        (["evaluate", "absent"], ["absent: no such file"]),
    ],
)
def test_command_lines(refused, arguments, words):
    refused(arguments, *words)


@pytest.mark.parametrize("label", ["3", "-4"])
def test_a_label_out_of_range(refused, label):
    Path("f.csv").write_text(GOOD)
    refused([*CSV, "--label-column", label], f"label column {label} is out of range; there are 3 columns, 0 to 2")
    refused([*CSV, "--n-samples", "3"], "--n-samples: nothing that a CSV file has")


@pytest.mark.parametrize("where", ["file/below", "file", "full"])
def test_a_run_folder_that_cannot_be_used(refused, where):
    Path("file").write_text("")
    Path("full").mkdir()
    Path("full/kept.txt").write_text("kept")
    refused([*IRIS, "--run-dir", where], f"{where}: ", "give a")


def test_a_file_in_the_place_of_runs(refused):
    Path("runs").write_text("")
    refused(IRIS, "--run-dir runs: cannot be made")


def test_a_disk_without_room():
    """The system refuses to let any file grow."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    program = [sys.executable, "-c", "from backprop_ref.cli import main; main()"]
    done = subprocess.run(
        [*program, *IRIS, "--run-dir", "run"], capture_output=True, text=True, check=False, preexec_fn=limit
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: run/config.yaml: File too large\n"
    assert not Path("run").exists()


def test_what_turns_out_bad_after_the_folder_was_made(refused):
    Path("f.csv").write_text("a,b,kind\n1e39,2,x\n-1e39,3,y\n")
    refused(
        [*CSV, "--dtype", "float32", "--normalize", "none", "--run-dir", "run"], "x[0, 0] is inf", printed="header read"
    )
    assert not Path("run").exists()


@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty", "missing"])
@pytest.mark.parametrize("command", [["train", "--resume"], ["predict", "--data-path", "iris.csv"], ["evaluate"]])
def test_a_damaged_checkpoint(refused, trained, damage, command):
    path = Path("run/checkpoint.safetensors")
    whole = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes({"truncated": whole[:-9], "garbage": b"\xff" * 99, "empty": b""}[damage])
    refused([*command, "run", *(["--epochs", "5"] if "train" in command else [])], "checkpoint.safetensors")


def test_resuming_what_is_another_run(refused, trained):
    Path("run/config.yaml").write_text(Path("run/config.yaml").read_text().replace("batch_size: 32", "batch_size: 8"))
    refused(["train", "--resume", "run", "--epochs", "5"], "another batch_size (batch_size was 32, now 8)")
    refused(["train", "--resume", "run", "--batch-size", "8"], "leave out --batch-size 8")
    refused(["train", "iris", "--resume", "run"], "leave out --dataset iris")
    refused(["train", "--config", "run/config.yaml", "--resume", "run"], "leave out")
    refused(["train", "iris", "--run-dir", "run"], "--run-dir run: not empty", "--resume run")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ["f.csv: no such file"]),
        ("", ["f.csv: empty"]),
        ("1,2,3\n", ["f.csv: 3 columns; the network was trained on 4 features"]),
        ("1,2,3,4,5,6\n", ["f.csv: 6 columns"]),
        ("1,2,3,4\n1,2,3\n", ["f.csv, line 2: 3 cells, but line 1 has 4"]),
        (
            "sepal length (cm),b,c,d\n1,2,3,4\n",
            ["no column 'sepal width (cm)' (and 2 more); the network was trained on"],
        ),
    ],
)
def test_data_for_a_trained_network(refused, trained, content, words):
    if content is not None:
        Path("f.csv").write_text(content)
    refused(["predict", "run", "--data-path", "f.csv"], *words)
    refused(["evaluate", "run", "--data-path", "f.csv"], *words)


def test_a_class_that_the_network_does_not_know(refused, trained, capsys):
    Path("f.csv").write_text("1,2,3,4,sesota\n")
    words = "f.csv, line 1: label 'sesota' is out of range; the network knows setosa"
    refused(["evaluate", "run", "--data-path", "f.csv"], words)
    assert cli.run(["predict", "run", "--data-path", "f.csv"]) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith(",sesota")


def test_rows_without_a_prediction_are_named(trained, capsys):
    capsys.readouterr()
    Path("f.csv").write_text("1,2,3,4\n1,2,?,4\n1,2,x,4\n")
    assert cli.run(["predict", "run", "--data-path", "f.csv"]) == 0
    out, err = capsys.readouterr()
    assert [bool(line.strip('"')) for line in out.splitlines()] == [True, True, False, False]
    for words in ("2 of 3 rows", "line 2, column petal length (cm): empty", "line 3, column petal length (cm): 'x'"):
        assert words in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["predict", "run", "--data-path", "iris.csv", "--output", "no/p.csv"], ["no/p.csv: cannot be written"]),
        (["predict", "run", "--data-path", "iris.csv", "--output", "run"], ["run: exists already"]),
        (["predict", "run", "--data-path", "iris.csv", "--output", "iris.csv"], ["iris.csv: exists already"]),
        (["predict", "numbers", "--data-path", "iris.csv", "--proba"], ["--proba: numbers predicts numbers"]),
        (["predict", "iris.csv", "--data-path", "iris.csv"], ["not a safetensors file"]),
        (["evaluate", "run/checkpoint.safetensors"], ["not a run folder", "--data-path FILE.csv"]),
        (["data", "iris", "--out", "iris.csv"], ["iris.csv: exists already"]),
        (["gradcheck", "run", "--hidden-size", "3"], ["run is a run folder", "leave out --hidden"]),
    ],
)
def test_using_what_is_trained(refused, trained, arguments, words):
    refused(arguments, *words)


def test_evaluating_without_the_truth(refused, trained):
    lines = Path("iris.csv").read_text().splitlines()
    Path("f.csv").write_text("".join(line.rpartition(",")[0] + "\n" for line in lines))
    refused(["evaluate", "run", "--data-path", "f.csv"], "f.csv: no column 'target' with the truth; use predict")


@pytest.mark.parametrize("preprocessing", [None, {"note": 1}, {"classes": 3}])
def test_a_model_of_somebody_elses(refused, preprocessing):
    network = br.Network([2, 1], ["linear"], "mse")
    br.save("m.safetensors", network, network.init(), preprocessing)
    Path("f.csv").write_text("1,2\n")
    refused(["predict", "m.safetensors", "--data-path", "f.csv"], "m.safetensors: ", "preprocessing")


def test_of_a_real_process_too():
    process = subprocess.run(
        [sys.executable, "-c", "from backprop_ref.cli import main; main()", *CSV],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr == f"error: {Path('f.csv').absolute()}: no such file; check the path\n"
    assert snapshot() == {}


def test_not_enough_memory(refused, monkeypatch):
    def allocate(*_, **__):
        return np.empty(2**59)

    monkeypatch.setattr(runner, "load_dataset", allocate)
    refused(IRIS, "not enough memory", "use fewer rows")
