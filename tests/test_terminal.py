"""What is printed in 60 columns, into a pipe and on a terminal that knows no colour: nothing is cut or torn."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from backprop_ref.cli import run, show
from backprop_ref.cli.app import command

EVERY_HELP = """
from backprop_ref.cli import run
for name in {names}:
    print("#", name)
    run([*name.split(), "--help"])
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Each test in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("columns", [60, 80])
def test_help_is_whole(columns):
    names = ["", *command().commands]
    plain = {"COLUMNS": str(columns), "NO_COLOR": "1", "TERM": "dumb"}
    program = [sys.executable, "-c", EVERY_HELP.format(names=names)]
    said = subprocess.run(program, env={**os.environ, **plain}, capture_output=True, text=True, check=True).stdout
    assert "\x1b" not in said
    assert max(map(len, said.splitlines())) <= columns
    assert "(data.label_column)" in said
    for line in said.splitlines():
        assert "…" not in line.replace("RUN…", "").replace("x, y, …", "").replace(" …)", ""), line


@pytest.mark.parametrize(
    "arguments",
    [
        ["backends"],
        ["data"],
        ["data", "digits"],
        ["train", "iris", "--epochs", "2", "--hidden-size", "5"],
        ["gradcheck", "iris", "--hidden-size", "5"],
        ["explain", "xor"],
        ["explain", "iris", "--matrices"],
        ["compare", "iris", "--backends", "numpy,python", "--hidden-size", "3", "--steps", "1"],
        ["sweep", "--dataset", "xor", "--epochs", "2", "--seeds", "1,2", "--backend", "numpy"],
    ],
    ids=" ".join,
)
def test_sixty_columns(capsys, monkeypatch, arguments):
    monkeypatch.setenv("COLUMNS", "60")
    run(arguments)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 60
    assert not any("\x1b" in line for line in lines)


def test_a_table_in_a_pipe_is_as_wide_as_it_needs_to_be(capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    show.table(("name", "why"), [("a", "word " * 40), ("b", "short")], "title")
    assert "word " * 40 in capsys.readouterr().out


def test_a_table_in_little_room_is_a_block_for_each_row(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    show.table(("name", "why"), [("a", "word " * 10), ("b", "")], "title")
    words = "word word word word word word word"
    assert capsys.readouterr().out == f"title\nname  a\nwhy   {words}\n      word word word\n\nname  b\n\n"


@pytest.mark.parametrize(("columns", "shown"), [("60", True), ("40", False)])
def test_a_confusion_matrix_is_a_table_or_a_line(capsys, monkeypatch, columns, shown):
    monkeypatch.setenv("COLUMNS", columns)
    classes = [str(digit) for digit in range(10)]
    confusion = [[36 if i == j else 0 for j in range(10)] for i in range(10)]
    show.scores("test", {"accuracy": 1.0, "loss": 0.1, "classes": classes, "confusion": confusion})
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= int(columns)
    assert len(lines) < 20
    rows = [line.split() for line in lines if line[:2].strip() in classes]
    assert rows == [[label, *map(str, row)] for label, row in zip(classes, confusion, strict=True)] * shown
    assert shown or "too wide for 40 columns; see it with --json" in " ".join(lines)


@pytest.mark.parametrize("name", ["train", "compare", "gradcheck", "explain", "sweep"])
def test_a_file_where_a_data_set_was_meant(capsys, name):
    Path("mine.csv").write_text("a,b\n1,x\n2,y\n")
    target = ["--dataset", "mine.csv", "--seeds", "1"] if name == "sweep" else ["mine.csv"]
    assert run([name, *target]) == 2
    err = capsys.readouterr().err
    assert "--data-path" in err
    assert err.count("\n") == 1
