"""The folder of a sweep, also of somebody's: only what its runs made is removed, and nothing outside is touched."""

import json
import os
import shutil
from pathlib import Path

import pytest
from helpers import command, tree

from backprop_ref import cli
from backprop_ref.experiments.sweep import Sweep

CELL = "seed=1"
SWEEP = ["sweep", "--dataset", "xor", "--epochs", "3", "--backend", "numpy", "--seeds", "1,2", "--workers", "1"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a sweep that is done."""
    folder = tmp_path_factory.mktemp("finished") / "s"
    assert cli.run([*SWEEP, "--trace", "binary,csv", "--out", str(folder)]) == 0
    return folder


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch, finished):
    """Each test in a folder of its own, with a copy of the sweep, and a folder of somebody's."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished, tmp_path / "s")
    (tmp_path / "outside" / "deeper").mkdir(parents=True)
    (tmp_path / "outside" / "precious.txt").write_text("precious\n")
    (tmp_path / "outside" / "deeper" / "more.txt").write_text("more\n")
    return tmp_path


@pytest.fixture
def refused(folder, capfd):
    """Has a command line refused, in one line and with status 2, without any change to any file; gives the line."""

    def refused(*arguments):
        before = tree(folder)
        assert cli.run([str(argument) for argument in arguments]) == 2
        out, err = capfd.readouterr()
        assert out == ""
        *said, error = err.splitlines()
        assert error.startswith("error: ")
        assert said in ([], ["1 of 2 runs are done; running the other 1"])
        assert tree(folder) == before
        return error

    return refused


def planned(change):
    """Changes the plan of the sweep."""
    path = Path("s/sweep.json")
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def stopped():
    """The first cell as a process leaves it that is killed before its first checkpoint; its folder."""
    cell = Path("s/cells") / CELL
    for name in ("cell.json", "results.json", "history.csv", "checkpoint.safetensors"):
        (cell / name).unlink()
    return cell


# --- what a plan may say ---

VALUES = [
    {"seed": "../../../outside"},
    {"seed": "1/../../../outside"},
    {"seed": "1/../../cells/seed=2"},
    {"seed": "1/../../.."},
    {"seed": "1/logs"},
    {"seed": "/../../../outside"},
    {"seed": "1\0"},
    {"seed": "1\n2"},
    {"seed": "1\\..\\..\\outside"},
    {"seed": "\x1b[31m"},
    {"seed": "１"},
    {"seed": ""},
    {"seed": 1},
    {"seed": None},
    {"seed": ["1"]},
    {"../../outside/x": "1"},
    {"/": "1"},
    {"": "1"},
    {},
    [],
    None,
    "../../outside",
]


@pytest.mark.few(6)
@pytest.mark.parametrize("values", VALUES, ids=repr)
def test_a_cell_is_nowhere_else(folder, refused, values):
    """Also where the way there exists, piece by piece."""
    for name in ("seed=..", "seed=", "..=1"):
        (folder / "s/cells" / name).mkdir()
    planned(lambda content: content["cells"][0].update(values=values))
    for arguments in (["sweep", "--resume", "s"], ["report", "s"]):
        assert "s/sweep.json" in refused(*arguments)
    if isinstance(values, dict):
        planned(lambda content: content.update(grid={axis: [value] for axis, value in values.items()}))
        planned(lambda content: content["cells"].pop(1))
        assert "s/sweep.json" in refused("sweep", "--resume", "s")


def test_a_process_touches_no_other_folder(folder):
    planned(lambda content: content["cells"][0].update(values={"seed": "1/../../../outside"}))
    before = tree(folder)
    done = command("sweep", "--resume", "s")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: s/sweep.json: seed '1/../../../outside' is no value of a sweep")
    assert done.stderr.count("\n") == 1
    assert tree(folder) == before


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("run", "output", "outside/precious.txt"),
        ("run", "output", "outside/new.json"),
        ("run", "dir", "outside/new"),
        ("run", "resume", "s/cells/seed=2"),
        ("logging", "file", "../../../outside/precious.txt"),
        ("logging", "file", "a/../../../../outside/new.log"),
        ("logging", "file", "/dev/null"),
        ("logging", "file", "a\0b"),
        ("logging", "file", "checkpoint.safetensors"),
        ("training", "epochs", "many"),
        ("data", "path", "a\0b"),
        ("nothing", "key", "value"),
    ],
)
def test_a_cells_configuration_leads_nowhere_else(refused, section, key, value):
    shutil.rmtree("s/cells/seed=1")
    planned(lambda content: content["cells"][0]["config"].setdefault(section, {}).update({key: value}))
    refused("sweep", "--resume", "s")


@pytest.mark.parametrize(
    "content",
    ["{", "[]", "7", "null", '"x"', "[" * 100_000, '{"cells": []}', '{"cells": {}}', "\0", "{}", "\udcff"],
    ids=lambda text: text[:20].encode("unicode_escape").decode(),
)
def test_what_is_no_plan(refused, content):
    Path("s/sweep.json").write_text(content, errors="surrogateescape")
    for arguments in (["sweep", "--resume", "s"], ["report", "s"]):
        assert "s/sweep.json: not the plan of a sweep, or damaged" in refused(*arguments)


def test_a_cell_twice(refused):
    planned(lambda content: content["cells"].append(content["cells"][0]))
    assert "a cell twice" in refused("sweep", "--resume", "s")


@pytest.mark.parametrize("where", ["../../outside", "cells/seed=2", "/", "cells/seed=1/../../../outside", 7, None])
def test_a_row_of_another_folder(folder, refused, where):
    row = folder / "s/cells" / CELL / "cell.json"
    row.write_text(json.dumps({**json.loads(row.read_text()), "folder": where}))
    problem = "of another cell, whose folder is" if isinstance(where, str) else "folder: input should be"
    for arguments in (["sweep", "--resume", "s"], ["report", "s"]):
        assert f"s/cells/{CELL}/cell.json: damaged, or of another version ({problem}" in refused(*arguments)


# --- links ---


@pytest.mark.parametrize("to", ["outside", "outside/precious.txt", "outside/nothing", "s/cells/seed=2"])
@pytest.mark.parametrize("name", ["cells", f"cells/{CELL}", f"cells/{CELL}/cell.json"])
def test_a_link_on_the_way_to_a_cell(folder, refused, name, to):
    path = folder / "s" / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    path.symlink_to(folder / to)
    for arguments in (["sweep", "--resume", "s"], ["report", "s"]):
        assert f"s/{name}: a link, and is neither followed nor replaced" in refused(*arguments)


@pytest.mark.parametrize("to", ["outside/precious.txt", "outside/new"])
@pytest.mark.parametrize("name", ["table.csv", "table.json"])
def test_a_link_for_a_table(folder, refused, name, to):
    (folder / "s/cells" / CELL / "cell.json").unlink()
    (folder / "s" / name).unlink()
    (folder / "s" / name).symlink_to(folder / to)
    assert f"s/{name}: a link" in refused("sweep", "--resume", "s")


@pytest.mark.parametrize("name", ["config.yaml", "trace.bin", "trace.csv", "trace.parquet", "logs", "logs/app.log"])
@pytest.mark.parametrize("checkpoint", [False, True])
def test_a_link_in_a_cell(folder, refused, name, checkpoint):
    cell = folder / "s/cells" / CELL
    if checkpoint:
        (cell / "cell.json").unlink()
    else:
        stopped()
    shutil.rmtree(cell / name) if (cell / name).is_dir() else (cell / name).unlink(missing_ok=True)
    (cell / name).symlink_to(folder / ("outside" if name in ("logs", "trace.parquet") else "outside/precious.txt"))
    assert f"s/cells/{CELL}/{name}: a link" in refused("sweep", "--resume", "s")


@pytest.mark.more
def test_a_process_follows_no_link(folder):
    shutil.rmtree("s/cells")
    Path("s/cells").symlink_to(folder / "outside")
    (folder / "outside" / CELL).mkdir()
    before = tree(folder)
    done = command("sweep", "--resume", "s")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: s/cells: a link")
    assert tree(folder) == before


# --- a cell that begins anew ---


@pytest.mark.parametrize(
    "name",
    [
        "notes.txt",
        ".notes",
        "config.yaml.bak",
        "config.yaml~",
        ".config.yaml.mine",
        "results.json",
        "trace.bin/notes.txt",
        "trace.parquet/notes.csv",
        "trace.parquet/deeper/part-00000.parquet",
        "logs/notes.txt",
        "logs/app.log.4",
        "logs/logs/app.log",
        "empty/",
        "deep/er/still/notes.txt",
    ],
)
@pytest.mark.few(6)
def test_a_file_of_somebodys_in_a_cell_stays(refused, name):
    cell = stopped()
    path = cell / name
    if (cell / "trace.bin").is_file() and name.startswith("trace.bin/"):
        (cell / "trace.bin").unlink()
    (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
    if not name.endswith("/"):
        path.write_text("mine")
    said = refused("sweep", "--resume", "s")
    assert "not of the run that was stopped" in said
    assert said.split(": ")[1].startswith(f"s/cells/{CELL}/{name.split('/')[0]}")
    assert said.endswith("move it away")


def test_a_process_leaves_a_file_of_somebodys(folder):
    (stopped() / "notes.txt").write_text("mine")
    before = tree(folder)
    done = command("sweep", "--resume", "s")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"s/cells/{CELL}/notes.txt: not of the run that was stopped in s/cells/{CELL}" in done.stderr
    assert tree(folder) == before


def test_what_a_run_leaves_that_was_killed_is_removed(folder, finished):
    cell = stopped()
    for name in ("logs/app.log.1", "logs/app.log.3", "trace.parquet/part-00000.parquet", ".config.yaml.17.0123abcd"):
        (cell / name).parent.mkdir(exist_ok=True)
        (cell / name).write_text("of the run")
    (cell / "trace.parquet/.part-00001.parquet.17.0123abcd").touch()
    (cell / ".checkpoint.safetensors.17.0123abcd").touch()
    assert cli.run(["sweep", "--resume", "s"]) == 0
    assert {path for path in tree(cell) if "report" not in path} == set(tree(finished / "cells" / CELL))
    hashes = [
        json.loads((place / "cells" / CELL / "cell.json").read_text())["sha256"] for place in (finished, folder / "s")
    ]
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize("name", ["", "logs", "config.yaml"])
@pytest.mark.few(1)
def test_a_run_that_was_killed_at_its_very_start(folder, name):
    """Its folder is empty, or has the first things in it."""
    cell = stopped()
    for path in sorted(cell.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    if name == "logs":
        (cell / name).mkdir()
    elif name:
        (cell / name).write_text("data:")
    assert cli.run(["sweep", "--resume", "s"]) == 0
    assert len(Sweep.open("s").rows()) == 2


def test_a_pipe_in_a_cell(refused):
    """Which would be waited for without an end."""
    os.mkfifo(stopped() / "notes")
    assert f"s/cells/{CELL}/notes: no file" in refused("sweep", "--resume", "s")
