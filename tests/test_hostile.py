"""Hostile run folders, sweeps, models, configurations and answers, opened by every command: nothing is imported, run,
overwritten or read outside, and what is refused is in one line."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors import safe_open
from safetensors.numpy import save_file

from backprop_ref.cli import run

BYTES = 2**30 + 2**28
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


def configured(section, **values):
    """A change of a run's configuration."""

    def change(folder):
        content = yaml.safe_load((folder / "config.yaml").read_text())
        content.setdefault(section, {}).update(values)
        (folder / "config.yaml").write_text(yaml.safe_dump(content))

    return change


def text(name, content):
    def change(folder):
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return change


def link(name, to):
    def change(folder):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(to)

    return change


def pipe(name):
    def change(folder):
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return change


def metadata(entry, change_it):
    def change(folder):
        path = folder / "checkpoint.safetensors"
        with safe_open(path, framework="numpy") as file:
            tensors, words = {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata())  # noqa: SIM118
        words[entry] = json.dumps(change_it(json.loads(words[entry])))
        save_file(tensors, path, words)

    return change


SECRET = "../../outside/secret.csv"
RUNS = {
    "backend of the system's": configured("backend", name="os:abort"),
    "backend that leaves": configured("backend", name="sys:exit"),
    "backend that lies here": configured("backend", name="evil:make"),
    "output elsewhere": configured("run", output=SECRET),
    "folder elsewhere": configured("run", dir="../../outside", resume="../../outside"),
    "log elsewhere": configured("logging", file="../../outside/secret.csv"),
    "log over a file": configured("logging", file="config.yaml"),
    "data of a pipe": configured("data", path="pipe", dataset=None, n_samples=None),
    "data of a device": configured("data", path="/dev/zero", dataset=None, n_samples=None),
    "data without end": configured("data", n_samples=10**12),
    "network without end": configured("network", hidden=[10**9, 10**9]),
    "epochs without end": configured("training", epochs="x" * 10**5),
    "YAML that grows": text("config.yaml", BOMB + "data: {drop: [*i]}\n"),
    "YAML of many keys": text("config.yaml", "data:\n" + "".join(f"  k{i}: 1\n" for i in range(10**6))),
    "YAML of a number": text("config.yaml", "training: {epochs: " + "1:" * 10**5 + "1}"),
    "YAML that calls": text("config.yaml", "data: !!python/object/apply:os.system ['touch ../../outside/new']"),
    **{
        f"{name} elsewhere": link(name, SECRET)
        for name in ("config.yaml", "checkpoint.safetensors", "history.csv", "results.json", "trace.bin")
    },
    **{
        f"{name} a pipe": pipe(name)
        for name in ("config.yaml", "checkpoint.safetensors", "history.csv", "results.json", "trace.bin")
    },
    **{
        f"{name} a device": link(name, "/dev/zero")
        for name in ("config.yaml", "checkpoint.safetensors", "history.csv", "results.json", "trace.bin")
    },
    "a log that is a link": lambda folder: (
        shutil.rmtree(folder / "logs"),
        (folder / "logs").symlink_to("../../outside"),
    ),
    "a history of a million columns": text("history.csv", "epoch,loss,accuracy" + ",x" * 10**6 + "\n1,2,3"),
    "a history of another kind": text("history.csv", b"\xff\xfe\0epoch"),
    "results of 40 MB": text("results.json", "[" + "[]," * 13_000_000 + "[]]"),
    "results nested": text("results.json", '{"a":' * 10**6),
    "a checkpoint of a pickle": text("checkpoint.safetensors", b"\x80\x04cos\nsystem\n(S'touch x'\ntR."),
    "a model that says much": metadata("preprocessing", lambda said: {**said, "target_name": "x" * 10**7}),
    "classes of markup": metadata(
        "preprocessing", lambda said: {**said, "classes": ["[/b]", "\x1b]0;x\x07<img src=x onerror=alert(1)>"]}
    ),
    "activations of code": metadata("network", lambda said: {**said, "activations": ["os.system('x')", "softmax"]}),
}
COMMANDS = (
    ["report", "RUN", "--out", "page.html"],
    ["evaluate", "RUN"],
    ["evaluate", "RUN", "--data-path", "t.csv"],
    ["predict", "RUN", "--data-path", "t.csv"],
    ["explain", "RUN"],
    ["gradcheck", "RUN", "--entries", "1"],
    ["columns", "RUN"],
    ["export", "RUN", "--to", "c", "--out", "made.c"],
    ["export", "RUN", "--to", "torch", "--out", "made.safetensors"],
    ["train", "--resume", "RUN", "--epochs", "4"],
    ["train", "moons", "--from", "RUN", "--epochs", "1", "--run-dir", "new"],
    ["train", "--config", "RUN/config.yaml", "--epochs", "1", "--run-dir", "new"],
    ["train", "--data-path", "RUN/history.csv", "--epochs", "1", "--run-dir", "new"],
    ["import", "RUN/checkpoint.safetensors", "--out", "imported.safetensors"],
    ["report", "RUN", "--compare", "RUN/results.json", "--out", "page.html"],
    ["verify", "--answers", "RUN/results.json"],
    ["sweep", "--config", "RUN/config.yaml", "--seeds", "1", "--epochs", "1", "--out", "swept"],
    ["sweep", "--resume", "RUN"],
    ["compare", "RUN"],
)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A run, and a sweep."""
    folder = tmp_path_factory.mktemp("sound")
    options = ["--epochs", "3", "--hidden", "3", "--n-samples", "40", "--backend", "numpy", "--trace", "binary"]
    assert run(["train", "moons", *options, "--run-dir", str(folder / "run")]) == 0
    grid = ["--dataset", "xor", "--epochs", "2", "--seeds", "1,2", "--backend", "numpy", "--workers", "1"]
    assert run(["sweep", *grid, "--out", str(folder / "sweep")]) == 0
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder, in which code lies, and beside it what is nobody's business."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.csv").write_text("secret,1\n" * 9)
    folder = tmp_path / "here"
    folder.mkdir()
    for name in ("evil", "torch", "kaleido", "jax", "cupy"):
        (folder / f"{name}.py").write_text("open('../outside/imported', 'w')")
    (folder / "t.csv").write_text("x0,x1\n" + "1.0,2.0\n" * 5)
    os.mkfifo(folder / "pipe")
    monkeypatch.chdir(folder)
    return folder


def contents(folder):
    return {str(path): path.is_file() and path.read_bytes() for path in folder.rglob("*")}


def opened(here, commands):
    """What each command did, in a process of its own for all of them."""
    before = contents(here.parent / "outside")
    program = [sys.executable, str(Path(__file__).with_name("hostile.py"))]
    (here / "tmp").mkdir()
    kept = {**os.environ, "TMPDIR": str(here / "tmp")}
    asked = json.dumps(commands)
    subprocess.run(program, input=asked, text=True, timeout=600, check=True, capture_output=True, env=kept)
    assert contents(here.parent / "outside") == before
    for found in map(json.loads, (here / "found.json").read_text().splitlines()):
        name = " ".join(found["arguments"])
        judges = found["arguments"][0] == "verify"  # which has a process of its own
        touched = [each for each in found["touched"] if not (judges and each.startswith("subprocess.Popen"))]
        assert touched == [], name
        assert found["status"] in {0, 1, 2}, (name, found)
        errors = [line for line in found["err"].splitlines() if line.startswith("error:")]
        assert len(errors) == (found["status"] != 0 and "NOT JUDGED" not in found["out"]), (name, found["err"])
        assert "Traceback" not in found["err"], (name, found["err"])
        assert "\x1b" not in found["out"] + found["err"], name
        assert found["bytes"] < BYTES, (name, found["err"])
        yield found


@pytest.mark.more
@pytest.mark.few(1, 3)
@pytest.mark.parametrize("name", RUNS)
def test_a_hostile_run_folder(here, sound, name):
    (here / "runs").mkdir()
    commands = []
    for number, command in enumerate(COMMANDS):
        folder = here / "runs" / str(number)
        shutil.copytree(sound / "run", folder)
        RUNS[name](folder)
        words = [word.replace("RUN", f"runs/{number}") for word in command]
        commands.append(
            [
                f"{number}-{word}" if word.split(".")[0] in {"page", "made", "imported", "new", "swept"} else word
                for word in words
            ]
        )
    found = list(opened(here, commands))
    assert any(each["status"] == 2 for each in found)
    for page in here.glob("*page.html"):
        assert "<img src=x" not in page.read_text()


def planned(change):
    def changed(folder):
        path = folder / "sweep.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return changed


def first(key, value, section=None):
    def change(content):
        place = content["cells"][0]
        (place if section is None else place["config"][section])[key] = value

    return planned(change)


SWEEPS = {
    "a cell elsewhere": first("values", {"seed": "../../../outside"}),
    "a cell with output": first("output", SECRET, "run"),
    "a cell's folder": first("dir", "../outside", "run"),
    "a backend that lies here": first("name", "evil:make", "backend"),
    "a backend of the system's": first("name", "os:abort", "backend"),
    "a log elsewhere": first("file", "../../../outside/secret.csv", "logging"),
    "cells that are a link": lambda folder: (
        shutil.rmtree(folder / "cells"),
        (folder / "cells").symlink_to("../outside"),
    ),
    "a row that is a link": lambda folder: link("cell.json", "../../../../outside/secret.csv")(folder / "cells/seed=1"),
    "a row that is a pipe": lambda folder: pipe("cell.json")(folder / "cells/seed=1"),
    "a trace that is a link": lambda folder: link("trace.bin", "../../../../outside/secret.csv")(
        folder / "cells/seed=1"
    ),
    "a plan that is a pipe": pipe("sweep.json"),
    "a plan that is a device": link("sweep.json", "/dev/zero"),
    "a title of markup": planned(lambda content: content.update(title="<img src=x onerror=alert(1)>\x1b[31m")),
    "a plan of 40 MB": text("sweep.json", "[" + "[]," * 13_000_000 + "[]]"),
    "a million cells": planned(lambda content: content.update(cells=[{"values": {}, "config": {}}] * 10**5)),
}


@pytest.mark.more
@pytest.mark.few(1, 2)
@pytest.mark.parametrize("name", SWEEPS)
def test_a_hostile_sweep(here, sound, name):
    for number in range(3):
        shutil.copytree(sound / "sweep", here / f"s{number}")
        (here / f"s{number}" / "cells" / "seed=2" / "cell.json").unlink()
        SWEEPS[name](here / f"s{number}")
    commands = [
        ["sweep", "--resume", "s0", "--workers", "1"],
        ["report", "s1", "--out", "page.html"],
        ["sweep", "--resume", "s2", "--json", "--workers", "1"],
    ]
    list(opened(here, commands))
    if (here / "page.html").exists():
        assert "<img src=x" not in (here / "page.html").read_text()


LARGE = {
    "an answer of 40 MB": ("answers.json", b"[" + b"[]," * 13_000_000 + b"[]]"),
    "an answer nested": ("answers.json", b'{"a":' * 10**6),
    "answers of markup": ("answers.json", json.dumps([{"name": "[/b]\x1b[31m<img src=x>", "expected": 3}]).encode()),
}


@pytest.mark.more
def test_hostile_files_that_are_named(here):
    for number, (name, content) in enumerate(LARGE.values()):
        (here / f"{number}{name}").write_bytes(content)
    (here / "many.csv").write_text(",".join(f"c{i}" for i in range(10**6)) + "\n" + ",".join(["1"] * 10**6) + "\n")
    commands = [
        *(["verify", "--answers", f"{number}{name}"] for number, (name, _) in enumerate(LARGE.values())),
        *(["verify", "--answers", name] for name in ("pipe", "/dev/zero", ".")),
        *(["verify", name] for name in ("pipe", "/dev/zero", ".")),
        *(["train", "--data-path", name, "--run-dir", "new"] for name in ("pipe", "/dev/zero", ".", "many.csv")),
        *(["train", "--config", name, "--run-dir", "new"] for name in ("pipe", "/dev/zero", ".")),
        *(["report", "evil.py", "--compare", name] for name in ("pipe", "/dev/zero")),
        ["sweep", "--dataset", "xor", "--seeds", "1-1000000", "--out", "swept"],
        ["sweep", "--dataset", "xor", "--seeds", f"1-{'9' * 5000}", "--out", "swept"],
        ["import", "pipe"],
    ]
    assert all(found["status"] == 2 for found in opened(here, commands))


@pytest.mark.more
def test_packed_tables_out_of_proportion(here):
    """A few KB that hold 160 MB, in one file and another."""
    import pyarrow as pa
    import pyarrow.feather
    import pyarrow.parquet

    table = pa.table({"a": np.zeros(2 * 10**7)})
    pyarrow.parquet.write_table(table, here / "t.parquet", compression="zstd")
    pyarrow.feather.write_feather(table, here / "t.feather", compression="zstd")
    for found in opened(here, [["columns", "t.parquet"], ["columns", "t.feather"]]):
        assert found["status"] == 2
        assert "over 100 times as large unpacked; give it as CSV" in found["err"]
