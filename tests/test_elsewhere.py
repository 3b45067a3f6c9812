"""A sweep on the workers of a Dask scheduler: the local one's table."""

import json
import os
import signal
import sys

import pytest

from backprop_ref.cli import run
from backprop_ref.errors import InvalidInput
from backprop_ref.experiments import elsewhere, sweep
from backprop_ref.training.checkpoint import CHECKPOINT
from backprop_ref.version import __version__

SWEEP = ["sweep", "--dataset", "xor", "--backend", "numpy", "--epochs", "20", "--seeds"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows(folder):
    """A table without times."""
    found = json.loads((folder / "table.json").read_text())
    return [{name: value for name, value in row.items() if not name.endswith("seconds")} for row in found]


def test_a_cell_comes_back_as_it_would_be_here(folder):
    assert run([*SWEEP, "1", "--out", "here"]) == 0
    made = sweep.Sweep.open("here")
    (cell,) = made.cells
    place = folder / "there" / cell.name
    found = elsewhere._there(sweep.run_cell, str(place), (cell.values, cell.config), {}, __version__)
    elsewhere._write(place, found, sweep.ROW)
    its_own = {path.name for path in made.place(cell).rglob("*")}
    assert {path.name for path in place.rglob("*")} == its_own
    one, two = (json.loads((at / sweep.ROW).read_text()) for at in (place, made.place(cell)))
    assert one["sha256"] == two["sha256"] and one["folder"] == two["folder"]
    assert json.loads((place / "results.json").read_text())["run_dir"] == str(place)
    with pytest.raises(InvalidInput, match="install the same"):
        elsewhere._there(sweep.run_cell, str(place), (cell.values, cell.config), {}, "0")


def test_a_cell_that_was_begun_goes_on_elsewhere(folder):
    assert run([*SWEEP, "1", "--out", "here"]) == 0
    made = sweep.Sweep.open("here")
    begun = elsewhere._read(made.place(made.cells[0]))
    del begun[sweep.ROW]
    seen = []

    def function(here, *arguments):
        seen.append(sorted(elsewhere._read(elsewhere.Path(here))) == sorted(begun))

    elsewhere._there(function, "x", (), begun, __version__)
    assert seen == [True] and CHECKPOINT in begun


def test_what_leads_out_of_the_folder_is_refused(folder):
    with pytest.raises(InvalidInput, match="outside of it"):
        elsewhere._write(folder, {"../file": b""}, "last")


def test_mistakes_are_said_in_a_line(capsys, monkeypatch):
    assert run([*SWEEP, "1", "--scheduler", "tcp://x:1", "--workers", "2"]) == 2
    assert "give one of them" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert run([*SWEEP, "1", "--scheduler", "tcp://x:1"]) == 2
    assert "pip install 'backprop-ref[dask]'" in capsys.readouterr().err


@pytest.mark.more
@pytest.mark.filterwarnings("default")
def test_workers_of_which_one_is_killed_give_the_local_table(folder, monkeypatch, capsys):
    distributed = pytest.importorskip("distributed", reason="extra dask: pip install 'backprop-ref[dask]'")
    assert run([*SWEEP, "1-12", "--workers", "1", "--out", "here"]) == 0
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        pid = next(iter(cluster.workers.values())).pid
        usual, written = elsewhere._write, []

        def write(*arguments):
            usual(*arguments)
            written.append(arguments[0])
            if len(written) == 3:
                os.kill(pid, signal.SIGKILL)

        monkeypatch.setattr(elsewhere, "_write", write)
        assert run([*SWEEP, "1-12", "--scheduler", cluster.scheduler_address, "--out", "there"]) == 0
    assert rows(folder / "there") == rows(folder / "here")
    assert run(["sweep", "--resume", "there", "--scheduler", "tcp://127.0.0.1:1"]) == 2
    assert "cannot be reached" in capsys.readouterr().err
