"""Sweeps: the grid, the table, workers, being killed and going on, divergence, and the ready-made experiments."""

import csv
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backprop_ref.cli import run
from backprop_ref.cli.sweep import MEANINGS
from backprop_ref.errors import InvalidInput
from backprop_ref.experiments.classics import CLASSICS
from backprop_ref.experiments.gather import gather_cells
from backprop_ref.experiments.sweep import AXES, ROW, Sweep, grid_of, plan
from backprop_ref.report.charts import sweeps as charts_sweep
from backprop_ref.report.ends import DIVERGED, FELL, GREW, NOT_FINITE, ROSE, SAME, counted, outcome, right_from
from backprop_ref.training.checkpoint import locked

PROGRAM = [sys.executable, "-c", "from backprop_ref.cli import main; main()"]
SHORT = ["--dataset", "xor", "--epochs", "5", "--backend", "numpy"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Each test in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table(folder):
    """The rows of table.csv, which are those of table.json."""
    with (folder / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    as_json = json.loads((folder / "table.json").read_text())
    assert [row["folder"] for row in rows] == [row["folder"] for row in as_json]
    return rows


def test_every_axis_reaches_the_run():
    given = {
        "seed": "1-2",
        "learning_rate": "0.1,0.5",
        "activation": "tanh",
        "loss": "sigmoid+sse,softmax+ce",
        "init": "he",
        "width": "3x2,none",
        "optimizer": "adam",
    }
    grid = grid_of(given, {})
    assert set(grid) == set(AXES)
    cells = plan(grid, {"--dataset": "iris", "--epochs": "1"})
    assert len(cells) == 2 * 2 * 2 * 2
    last = cells[-1]
    assert last.values == {
        "learning_rate": "0.5",
        "activation": "tanh",
        "loss": "softmax+ce",
        "init": "he",
        "width": "none",
        "optimizer": "adam",
        "seed": "2",
    }
    network, training = last.config["network"], last.config["training"]
    assert (network["hidden"], network["loss"], network["output_activation"]) == ([], "ce", "softmax")
    assert (training["seed"], training["learning_rate"], training["optimizer"]) == (2, 0.5, "adam")
    assert cells[0].config["network"]["hidden"] == [3, 2]


def test_a_section_of_a_file_and_flags_over_it(folder):
    Path("my.yaml").write_text(
        "data: {dataset: xor}\ntraining: {epochs: 2}\nsweep: {seed: [1, 2], width: [[3, 2], 4], learning_rate: 0.5}\n"
    )
    assert run(["sweep", "--config", "my.yaml", "--seeds", "7"]) == 0
    rows = table(folder / "sweeps" / "sweep-1")
    assert [(row["seed"], row["width"], row["learning_rate"]) for row in rows] == [
        ("7", "3x2", "0.5"),
        ("7", "4", "0.5"),
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (SHORT, "nothing to sweep over"),
        ([*SHORT, "--seeds", "1,1"], "a value stands there twice"),
        ([*SHORT, "--seeds", "1,,2"], "an empty value"),
        ([*SHORT, "--seeds", "1", "--seed", "2"], "both --seed and a sweep over it"),
        ([*SHORT, "--seeds", "one"], "--seeds: 'one' is not allowed; a whole number is needed"),
        ([*SHORT, "--seeds", "5-1"], "--seeds: 5-1 is empty; give the smaller one first, as 1-5"),
        (["losses", "--seeds", "5-1"], "--seeds: 5-1 is empty"),
        ([*SHORT, "--widths", "4,x"], "--widths: 'x' is not allowed; whole numbers with x between, or none, are"),
        ([*SHORT, "--widths", "4,0"], "--widths: '0' is not allowed; 1 or more is needed"),
        ([*SHORT, "--learning-rates", "0.1,z"], "--learning-rates: 'z' is not allowed; a number is needed"),
        ([*SHORT, "--losses", "softmax+bce,sse"], "loss softmax+bce"),
        (["learning-rate"], "did you mean 'learning-rates'"),
        (["xor"], "xor is a data set: give --dataset xor"),
        (["--resume", "nowhere"], "no folder of a sweep"),
        (["--resume", "nowhere", "--seeds", "1"], "leave out everything but --workers"),
    ],
)
def test_mistakes_are_said_before_anything_is_trained(folder, capsys, arguments, message):
    assert run(["sweep", *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not (folder / "sweeps").exists()


def test_an_axis_in_a_file_that_there_is_not():
    with pytest.raises(InvalidInput, match="did you mean 'seed'"):
        grid_of({}, {"seeds": [1]})


def test_divergence_is_a_row(folder, capsys):
    grid = ["--learning-rates", "0.01,1e300"]
    fixed = ["--output-activation", "linear", "--loss", "sse", "--json"]
    assert run(["sweep", *SHORT, *grid, *fixed]) == 0
    content = json.loads(capsys.readouterr().out)
    assert [row["state"] for row in content["rows"]] == ["all epochs", "not finite"]
    assert content["rows"][1]["outcome"] == NOT_FINITE
    assert content["rows"][1]["diverged_in_epoch"] == 1
    assert len(table(Path(content["folder"]))) == 2
    assert (Path(content["folder"]) / "report.html").exists()


@pytest.mark.parametrize("trace", ["binary", "csv"])
@pytest.mark.more
def test_table_chart_and_last_line_agree_on_what_diverged(folder, capsys, trace):
    """Step sizes that learn, that do nothing, that end far above the start, and that overflow."""
    grid = ["--learning-rates", "0,0.03,10,1e300", "--seeds", "1,2", "--trace", trace]
    assert run(["sweep", "--dataset", "encoder", "--epochs", "300", "--batch-size", "1", *grid, "--out", "s"]) == 0
    rows = table(folder / "s")
    wanted = {"0": SAME, "0.03": FELL, "10": GREW, "1e300": GREW}
    assert [row["outcome"] for row in rows] == [wanted[row["learning_rate"]] for row in rows]
    for row in rows:
        first, last = float(row["initial_loss"]), float(row["final_loss"])
        assert (row["outcome"] == GREW) == (last > 2 * first)
    said = "4 of 8 diverged: 4 with a loss that grew"
    assert said in capsys.readouterr().out
    chart = charts_sweep.ends(gather_cells(Sweep.open("s")), "learning_rate")
    assert chart.caption.startswith(said)
    assert {each["name"]: len(each["x"]) for each in chart.figure["data"]} == {SAME: 2, FELL: 2, GREW: 4}


@pytest.mark.parametrize(
    ("stopped", "first", "last", "what"),
    [
        ("epochs", 1.0, 0.5, FELL),
        ("patience", 1.0, 2.5, GREW),
        ("epochs", 1.0, 2.0, ROSE),
        ("epochs", 1.0, 1.001, ROSE),
        ("epochs", 1.0, 1.0 + 1e-9, SAME),
        ("epochs", 1.0, None, SAME),
        ("diverged", 1.0, 0.5, NOT_FINITE),
        ("diverged", 1.0, None, NOT_FINITE),
    ],
)
def test_outcomes(stopped, first, last, what):
    assert outcome(stopped, first, last) == what
    assert counted([what, FELL]).startswith("1 of 2 diverged") == (what in DIVERGED)


@pytest.mark.parametrize(
    ("accuracy", "epoch"),
    [([], None), ([0.5, 0.5], None), ([1.0, 0.5], None), ([0.5, 1.0], 2), ([1.0, 0.5, 1.0, 1.0], 3), ([1.0], 1)],
)
def test_all_right_from_an_epoch_means_to_the_end(accuracy, epoch):
    assert right_from(accuracy) == epoch


@pytest.mark.more
def test_the_losses_compared_are_of_the_same_rows(folder, capsys):
    """A plateau: the weights end a little below where they began, though the last epoch's running mean is above."""
    fixed = ["--activations", "sigmoid", "--widths", "16x16x16x16", "--seeds", "3", "--backend", "numba"]
    assert run(["sweep", "vanishing-gradients", *fixed, "--out", "s"]) == 0
    (row,) = table(folder / "s")
    results = json.loads((folder / "s" / row["folder"] / "results.json").read_text())
    assert float(row["final_loss"]) == results["train"]["loss"] < float(row["initial_loss"])
    assert results["history_last"]["loss"] > float(row["initial_loss"])
    assert row["outcome"] == FELL
    out = " ".join(capsys.readouterr().out.split())
    page = (folder / "s" / "report.html").read_text(encoding="utf-8")
    for words in MEANINGS.values():
        assert (words in out) == (words in page) == (words == MEANINGS["final_loss"])


def test_terminal_and_page_show_the_same_columns(folder, capsys):
    assert run(["sweep", *SHORT, "--seeds", "1,2", "--out", "s"]) == 0
    header = capsys.readouterr().out.splitlines()[1]
    columns = re.findall('<th scope="col"[^>]*>(.*?)</th>', (folder / "s" / "report.html").read_text(encoding="utf-8"))
    assert header.split() == " ".join(columns).split()
    assert "diverged in epoch" not in columns


def test_workers_give_the_same_bits(folder):
    for workers in ("1", "2"):
        assert run(["sweep", *SHORT, "--seeds", "1-4", "--workers", workers, "--out", workers]) == 0
    hashes = [[row["sha256"] for row in table(folder / workers)] for workers in ("1", "2")]
    assert hashes[0] == hashes[1]
    assert len(set(hashes[0])) == 4


def test_nothing_is_overwritten(folder, capsys):
    (folder / "mine").mkdir()
    (folder / "mine" / "notes").write_text("x")
    assert run(["sweep", *SHORT, "--seeds", "1", "--out", "mine"]) == 2
    assert "not empty" in capsys.readouterr().err
    assert [path.name for path in (folder / "mine").iterdir()] == ["notes"]


def test_finished_cells_are_not_run_again(folder):
    assert run(["sweep", *SHORT, "--seeds", "1-3", "--out", "s"]) == 0
    made = Sweep.open("s")
    rows = made.rows()
    written = {cell.name: (made.place(cell) / ROW).stat().st_mtime_ns for cell in made.cells}
    (made.place(made.cells[1]) / ROW).unlink()  # as if it had been killed behind its last checkpoint
    for path in made.place(made.cells[2]).iterdir():  # and another before its first
        if path.is_file():
            path.unlink()
    assert run(["sweep", "--resume", "s"]) == 0
    assert [row["sha256"] for row in made.rows()] == [row["sha256"] for row in rows]
    again = {name for name, time in written.items() if (folder / "s" / "cells" / name / ROW).stat().st_mtime_ns > time}
    assert again == {made.cells[1].name, made.cells[2].name}


def test_going_on_says_what_is_left_and_writes_no_page_twice(folder, capsys):
    assert run(["sweep", *SHORT, "--seeds", "1-3", "--out", "s"]) == 0
    made = Sweep.open("s")
    capsys.readouterr()
    for _ in range(2):
        assert run(["sweep", "--resume", "s"]) == 0
        out, err = capsys.readouterr()
        assert err == "nothing was missing: all 3 runs are done\n"
        assert "report: s/report.html\n" in out
    assert [path.name for path in (folder / "s").glob("*.html")] == ["report.html"]
    (made.place(made.cells[1]) / ROW).unlink()
    assert run(["sweep", "--resume", "s"]) == 0
    out, err = capsys.readouterr()
    assert err == "2 of 3 runs are done; running the other 1\n"
    assert "report: s/report-2.html\n" in out


@pytest.mark.few(1)
@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_sweep_that_was_stopped_goes_on(folder, workers, how):
    command = [*PROGRAM, "sweep", "--dataset", "xor", "--epochs", "1500", "--seeds", "1-6", "--backend", "numpy"]
    started = subprocess.Popen(
        [*command, "--out", "s", "--workers", workers], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    rows: list = []
    while len(rows) < 2 and started.poll() is None:
        time.sleep(0.02)
        rows = list((folder / "s" / "cells").glob(f"*/{ROW}"))
    os.killpg(started.pid, how)
    _, err = started.communicate()
    if how == signal.SIGINT:
        assert started.returncode == 130
        assert "go on with: backprop-ref sweep --resume s" in err
        assert err.count("\n") == 1
        assert 2 <= len(table(folder / "s")) < 6
    kept = {path: path.stat().st_mtime_ns for path in rows}
    assert run(["sweep", "--resume", "s"]) == 0
    assert len(table(folder / "s")) == 6
    assert all(path.stat().st_mtime_ns == before for path, before in kept.items())


@pytest.mark.parametrize("experiment", CLASSICS)
@pytest.mark.more
def test_ready_made_experiments(folder, experiment):
    assert run(["sweep", experiment, "--epochs", "3", "--seeds", "1,2", "--backend", "numpy"]) == 0
    made = folder / "sweeps" / f"{experiment}-1"
    grid = {**CLASSICS[experiment].grid, "seed": ["1", "2"]}
    n = 1
    for values in grid.values():
        n *= len(values)
    assert len(table(made)) == n
    assert "data-chart" in (made / "report.html").read_text(encoding="utf-8")


@pytest.mark.more
def test_a_report_of_a_sweep_that_is_not_done_yet(folder, capsys):
    assert run(["sweep", *SHORT, "--seeds", "1-2", "--out", "s"]) == 0
    made = Sweep.open("s")
    (made.place(made.cells[0]) / ROW).unlink()
    capsys.readouterr()
    assert run(["report", "s", "--out", "half.html"]) == 0
    words = "1 of 2 runs of this sweep are done; if it no longer runs, go on with: backprop-ref sweep --resume s"
    assert words in capsys.readouterr().out
    assert words in (folder / "half.html").read_text(encoding="utf-8")
    assert run(["report", "s", "s", "--out", "both.html"]) == 2
    assert "give it alone" in capsys.readouterr().err
    (made.place(made.cells[1]) / ROW).unlink()
    assert run(["report", "s", "--out", "none.html"]) == 2
    err = capsys.readouterr().err
    assert "nothing to see yet" in err
    assert "backprop-ref sweep --resume s" in err
    assert run(["sweep", "--resume", "s"]) == 0
    assert run(["report", "s", "--out", "whole.html"]) == 0
    assert "--resume" not in capsys.readouterr().out + (folder / "whole.html").read_text(encoding="utf-8")[:10000]


@pytest.mark.more
def test_a_full_disk_says_how_to_go_on(folder):
    """The system refuses to let a file grow, in the middle of the first run."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    grid = ["--seeds", "1-2", "--workers", "1", "--out", "s"]
    command = [*PROGRAM, "sweep", "--dataset", "xor", "--epochs", "3000", "--backend", "numpy", *grid]
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=limit)
    assert (done.returncode, done.stdout) == (2, "")
    assert "seed=1/trace.bin: cannot be written (" in done.stderr
    assert "go on with: backprop-ref sweep --resume s" in done.stderr
    assert done.stderr.count("\n") == 1
    assert run(["sweep", "--resume", "s"]) == 0
    assert len(table(folder / "s")) == 2
    assert run(["sweep", "--dataset", "xor", "--epochs", "3000", "--backend", "numpy", *grid[:-1], "whole"]) == 0
    assert [row["sha256"] for row in table(folder / "s")] == [row["sha256"] for row in table(folder / "whole")]


def test_a_sweep_that_runs_is_not_run_by_another(folder, capsys):
    assert run(["sweep", *SHORT, "--seeds", "1", "--out", "s"]) == 0
    lock = locked(folder / "s")
    assert run(["sweep", "--resume", "s"]) == 2
    assert "another run is writing to this folder; wait for it" in capsys.readouterr().err
    os.close(lock)
    assert run(["sweep", "--resume", "s"]) == 0


def test_folders_of_others(folder, capsys):
    (folder / "empty").mkdir()
    (folder / "foreign").mkdir()
    (folder / "foreign" / "sweep.json").write_text("[]")
    (folder / "file").write_text("x")
    for arguments, message in (
        (["sweep", "--resume", "empty"], "no folder of a sweep"),
        (["sweep", "--resume", "foreign"], "not the plan of a sweep, or damaged"),
        (["report", "foreign"], "not the plan of a sweep, or damaged"),
        (["report", "empty"], "an empty folder"),
        (["sweep", *SHORT, "--seeds", "1", "--out", "file"], "cannot be made"),
        (["sweep", *SHORT, "--seeds", "1", "--out", "file/s"], "cannot be made"),
        (["gradcheck", "empty"], "empty: no run folder"),
        (["explain", "empty"], "empty: no run folder"),
    ):
        assert run(arguments) == 2, arguments
        err = capsys.readouterr().err
        assert message in err
        assert err.count("\n") == 1
    assert not list((folder / "empty").iterdir())


@pytest.mark.few(1)
@pytest.mark.parametrize("content", ['{"state": "epochs"}', "[]", "7", "{"])
def test_a_damaged_row_is_named_with_what_to_do(folder, capsys, content):
    assert run(["sweep", *SHORT, "--seeds", "1-2", "--out", "s"]) == 0
    made = Sweep.open("s")
    row = made.place(made.cells[0]) / ROW
    row.write_text(content, encoding="utf-8")
    for command in (["report", "s"], ["sweep", "--resume", "s"]):
        assert run(command) == 2
        err = capsys.readouterr().err
        assert str(row) in err
        assert "remove it" in err and err.count("\n") == 1
    row.unlink()
    assert run(["sweep", "--resume", "s"]) == 0
