"""What is printed in 60 columns, into a pipe and on a terminal: nothing is cut or torn, and nothing acts on it."""

import csv
import io
import os
import pty
import subprocess
import sys
import unicodedata
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


@pytest.mark.few(1)
@pytest.mark.parametrize("columns", [60, 80])
def test_help_is_whole(columns):
    names = ["", *command().commands]
    plain = {"COLUMNS": str(columns), "NO_COLOR": "1", "TERM": "dumb"}
    program = [sys.executable, "-c", EVERY_HELP.format(names=names)]
    said = subprocess.run(program, env={**os.environ, **plain}, capture_output=True, text=True, check=True).stdout
    assert "\x1b" not in said
    assert max(map(len, said.splitlines())) <= columns
    assert "(data.target)" in said
    for line in said.splitlines():
        assert "…" not in line.replace("RUN…", "").replace("x, y, …", "").replace(" …)", ""), line


@pytest.mark.few(4)
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
    found = {"recall": [1.0] * 10, "support": [36] * 10, "classes": classes, "confusion": confusion}
    show.scores("test", {"accuracy": 1.0, "loss": 0.1, **found})
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= int(columns)
    assert len(lines) < 20
    rows = [line.split() for line in lines if line[:2].strip() in classes]
    assert rows == [[label, *map(str, row)] for label, row in zip(classes, confusion, strict=True)] * shown
    assert shown or "too wide for 40 columns; see it with --json" in " ".join(lines)


def test_a_file_stands_where_a_data_set_may(capsys):
    Path("mine.csv").write_text("a,b\n1,x\n2,y\n3,x\n4,y\n")
    assert run(["gradcheck", "mine.csv"]) == 0
    assert run(["train", "mine.csv", "--target", "a", "--task", "classification", "--test-size", "0"]) == 0
    assert "target a" in capsys.readouterr().out
    assert run(["train", "other.csv"]) == 2
    assert capsys.readouterr().err == "error: other.csv: no such file; check the path\n"


# ---- names that act on a terminal ----------------------------------------------------------------------------------

PROGRAM = [sys.executable, "-c", "from backprop_ref.cli import main; main()"]
ACTING = {
    "[/x]": "[/x]",
    "[bold]": "[bold]",
    ":smile:": ":smile:",
    "\x1b]0;title\x07": r"\x1b]0;title\x07",
    "\x1b]52;c;aGk=\x1b\\": r"\x1b]52;c;aGk=\x1b\ ".rstrip(),
    "\x9b31m": r"\x9b31m",
    "a\u202eb": r"a\u202eb",
    "a\rb": r"a\rb",
    "a\nb": r"a\nb",
    "a\x00\u2028\x7f": r"a\x00\u2028\x7f",
}
"""Names, and how they are shown."""
COLUMNS = ("[red]\x1b[31m", "b", "kind\x1b[2J")
RUN = "run\x1b]0;x\x07[/y]"
WIDE = {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "400"}


def printed(arguments, folder, terminal):
    """Status, and what the command prints into a pipe or on a terminal of its own."""
    how = {"cwd": folder, "env": {**os.environ, **WIDE}}
    if not terminal:
        done = subprocess.run([*PROGRAM, *arguments], stdout=-1, stderr=subprocess.STDOUT, check=False, **how)
        return done.returncode, done.stdout.decode()
    ours, theirs = pty.openpty()
    started = subprocess.Popen([*PROGRAM, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, **how)
    os.close(theirs)
    pieces = []
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # how Linux says that nobody has the terminal open any more
            break
        if not piece:
            break
        pieces.append(piece)
    os.close(ours)
    return started.wait(), b"".join(pieces).decode().replace("\r\n", "\n")


def acting(text):
    """Characters of a text that are not for the eye."""
    return {character for character in text if character != "\n" and unicodedata.category(character)[0] in "CZ"} - {" "}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with data, a run, and a submission, the names in which act on a terminal; and what training printed."""
    folder = tmp_path_factory.mktemp("acting")
    rows = [[i + j / 7, i * j % 5, name] for i, name in enumerate(ACTING) for j in range(6)]
    with (folder / "data.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([COLUMNS, *rows])
    (folder / "mine.py").write_text(
        "def f(network, weights, biases, x, y):\n    raise ValueError('\x1b]0;x\x07[/z]')\n"
    )
    (folder / "answers.json").write_text('[{"name": "\\u001b]0;x\\u0007[/z]", "loss": 1}]')
    (folder / "bad.yaml").write_text('training: {"\\e]0;x\\a[/z]": 1}')
    (folder / "\x1b[2J.csv").write_text("a,b,c\n1,2,\x1b[2J\n3,4\n")
    what = ["train", "--data-path", "data.csv", "--epochs", "2", "--hidden-size", "5", "--trace", "binary"]
    return folder, printed([*what, "--run-dir", RUN], folder, terminal=True)


@pytest.mark.more
def test_training_shows_names_that_act(trained):
    _, (status, text) = trained
    assert (status, acting(text)) == (0, set())
    assert r"run folder: run\x1b]0;x\x07[/y]" in text
    assert [name for name in ACTING.values() if f"\n {name} " not in text] == []


@pytest.mark.parametrize("terminal", [False, True], ids=["pipe", "terminal"])
@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["evaluate", RUN], 0, [*ACTING.values()]),
        (["explain", RUN, "--layer", "1", "--neuron", "0"], 0, [r"run\x1b]0;x\x07[/y] after epoch 2"]),
        (["explain", RUN, "--format", "markdown"], 0, [r"run\\x1b\]0;x\\x07\[/y\] after epoch 2"]),
        (["report", RUN], 0, [r"report: run\x1b]0;x\x07[/y]/report"]),
        (["verify", "mine.py:f"], 2, [r"\x1b]0;x\x07[/z]"]),
        (["verify", "--answers", "answers.json"], 2, [r"\x1b]0;x\x07[/z]"]),
        (["train", "--config", "bad.yaml"], 2, [r"'\x1b]0;x\x07[/z]'"]),
        (["train", "--data-path", "\x1b[2J.csv"], 2, [r"\x1b[2J.csv, line 3: 2 cells"]),
        (["train", "iris", "--backend", "\x1b]0;x\x07[/z]"], 2, [r"\x1b]0;x\x07[/z]"]),
        (["train", "iris", "--epochs", "\x1b]0;x\x07"], 2, [r"'\x1b]0;x\x07'"]),
        (["\x1b]0;x\x07"], 2, [r"'\x1b]0;x\x07'"]),
        (["evaluate", os.fsdecode(b"\xff\n\xc2\x9b")], 2, [r"\udcff \x9b: no such file"]),
    ],
    ids=lambda value: ascii(value)[:40],
)
@pytest.mark.more
def test_no_command_prints_what_acts_on_a_terminal(trained, terminal, arguments, status, words):
    found, text = printed(arguments, trained[0], terminal)
    assert (found, acting(text)) == (status, set()), text
    assert [word for word in words if word not in text] == []


@pytest.mark.more
def test_predictions_are_escaped_on_a_terminal_and_nowhere_else(trained):
    folder, _ = trained
    predict = ["predict", RUN, "--data-path", "data.csv", "--proba"]
    status, text = printed(predict, folder, terminal=True)
    assert (status, acting(text)) == (0, set())
    assert "hidden characters are shown as escapes" in text
    assert r"kind\x1b[2J" in text
    status, text = printed(predict, folder, terminal=False)
    assert status == 0
    with (folder / "data.csv").open(newline="", encoding="utf-8") as file:
        truth = [row[2] for row in csv.reader(file)]
    assert [row[1] for row in csv.reader(io.StringIO(text, newline=""))] == truth


def test_predictions_that_the_encoding_lacks_are_refused_in_one_line(trained):
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    how = {"cwd": trained[0], "env": environment, "capture_output": True}
    done = subprocess.run([*PROGRAM, "predict", RUN, "--data-path", "data.csv", "--proba"], check=False, **how)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.count(b"\n") == 1
    assert b"standard output is cp1252, which has no '\\u2028'; give --output FILE.csv" in done.stderr
