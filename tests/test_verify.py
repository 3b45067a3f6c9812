"""backprop-ref verify: what it prints, as text, JSON and a page, and with which exit status."""

import fcntl
import importlib
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from helpers import command, more
from submissions import usual_cases

import backprop_ref
from backprop_ref.cli import run
from backprop_ref.conformance.judging import verdict
from backprop_ref.conformance.rounding import sharpness

SUBMISSIONS = """
import sys
import numpy as np
sys.path.insert(0, {tests!r})
from naive import Naive
from submissions import right, written
from backprop_ref import Network
from backprop_ref.conformance.submissions.conventions import Layout


def sound(network, weights, biases, x, y):
    return right(network, weights, biases, x, y)


def summed(network, weights, biases, x, y):
    loss, dW, db = right(network, weights, biases, x, y)
    return loss, [g * len(x) for g in dW], [g * len(x) for g in db]


def without_loss(network, weights, biases, x, y):
    return summed(network, weights, biases, x, y)[1:]


def noisy(network, weights, biases, x, y):
    loss, dW, db = right(network, weights, biases, x, y)
    dW[0][0, 0] += 0.01
    return loss, dW, db


def ascending(network, weights, biases, x, y):
    loss, dW, db = right(network, weights, biases, x, y)
    return loss, [-g for g in dW], [-g for g in db]


def tanh_softmax(network, weights, biases, x, y):
    return right(Network(network.sizes, ["tanh"] * (len(weights) - 1) + ["softmax"], "ce"), weights, biases, x, y)


def one_hot(network, weights, biases, x, y):
    way = Naive(1, weights[0].dtype)
    way.form["gradient"], way.form["mean"] = "difference", "divide"
    with np.errstate(all="ignore"):
        seen = way.passed(network, weights, biases, x, y)
    return seen.loss, seen.dW, seen.db


def no_number(network, weights, biases, x, y):
    loss, dW, db = right(network, weights, biases, x, y)
    dW[-1][0, 0] = float("nan")
    return float("inf"), dW, db


def shallow(network, weights, biases, x, y):
    (W, V), (b, c) = weights, biases
    return right(Network(network.sizes, ["relu", "softmax"], "ce"), [W, V], [b, c], x, y)


def shallow_without_loss(*arguments):
    return shallow(*arguments)[1:]


def shallow_at_ascent(*arguments):
    loss, dW, db = shallow(*arguments)
    return loss, [-g for g in dW], [-g for g in db]


columns = written(Layout("out-in", "columns", "column"), lambda loss, batch, n_out: float(batch))
"""
ROOT = Path(backprop_ref.__file__).parent.parent


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with submissions in theirs.py."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    for module in ("theirs", "package"):  # other tests have modules of these names
        monkeypatch.delitem(sys.modules, module, raising=False)
    (tmp_path / "theirs.py").write_text(SUBMISSIONS.format(tests=str(Path(__file__).parent)))
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("from theirs import sound\n")
    return tmp_path


@pytest.fixture
def verify(capsys):
    """Runs verify; gives status, standard output and standard error."""

    def verify(*arguments):
        status = run(["verify", *map(str, arguments)])
        return status, *capsys.readouterr()

    return verify


@pytest.fixture(scope="module")
def answered():
    """What was asked before, and the answer."""
    return {}


@pytest.fixture
def as_json(verify, answered):
    """Runs verify --json, once for the same arguments; gives status and document, in which there is no NaN."""

    def as_json(*arguments):
        if arguments not in answered:
            status, out, err = verify(*arguments, "--json")
            assert err == ""
            answered[arguments] = status, json.loads(out, parse_constant=pytest.fail)
        return answered[arguments]

    return as_json


FEW = ("--network", "3-5-4:tanh,softmax:ce")


@pytest.mark.more
def test_code_for_one_depth_is_found_out(as_json):
    status, report = as_json("theirs.py:shallow")
    assert (status, report["verdict"], report["networks"]) == (0, "RIGHT", ["3-5-4:relu,softmax:ce"])
    assert "made for 2 layers of weights: other depths get no answer" in report["notes"]
    assert report["findings"] == []
    assert [found["id"] for found in as_json("theirs.py:shallow_at_ascent")[1]["findings"]] == ["sign"]


@pytest.mark.more
def test_code_for_one_depth_without_a_loss_is_found_out_too(as_json):
    status, report = as_json("theirs.py:shallow_without_loss")
    assert (status, report["verdict"], report["networks"]) == (0, "RIGHT", ["3-5-4:relu,softmax:ce"])
    assert "no loss is returned, so none is judged" in report["notes"]


@pytest.mark.more
def test_a_right_one(as_json):
    status, report = as_json("theirs.py:sound")
    assert (status, report["exit"], report["verdict"]) == (0, 0, "RIGHT")
    assert (report["findings"], report["conventions"], report["reason"]) == ([], [], "")
    assert {network.partition(":")[0] for network in report["networks"]} == {"3-5-4"}
    assert len(report["networks"]) > 50
    assert set(report["vectors"]) <= {"EXACT", "WITHIN BOUND", "NOT JUDGED"}
    assert sum(report["vectors"].values()) > 50
    assert any("extreme values" in note and "|z| = " in note for note in report["notes"])
    report = as_json("theirs.py:sound", *FEW)[1]
    for name in ("theirs:sound", "package:sound"):
        other = as_json(name, *FEW)[1]
        assert (other["networks"], other["vectors"]) == (report["networks"], report["vectors"])


def test_a_wrong_one_is_named(as_json):
    status, report = as_json("theirs.py:summed", *FEW)
    assert (status, report["exit"], report["verdict"]) == (1, 1, "WRONG")
    (found,) = report["findings"]
    assert (found["id"], found["confidence"], found["layers"]) == ("missing-mean", "certain", [0, 1])
    assert found["text"]
    assert found["right"] != found["measured"]
    assert found["remedy"]
    assert as_json("theirs.py:ascending", *FEW)[1]["findings"][0]["id"] == "sign"


def test_what_nobody_knows_is_measured(as_json):
    status, report = as_json("theirs.py:noisy", "--network", "3-5-4:tanh,softmax:ce")
    assert status == 1
    (found,) = report["findings"]
    assert (found["quantity"], found["layers"], found["confidence"]) == ("dW", [0], "measured")
    assert "0.01" in found["measured"]


@pytest.mark.more
def test_conventions_are_reported(as_json, verify):
    status, report = as_json("theirs.py:columns")
    assert (status, report["verdict"]) == (0, "CONVENTION")
    *losses, layout = report["conventions"]
    assert losses
    assert all(said.startswith("your loss is the sum over the batch") for said in losses)
    assert layout == "layout: --weights out-in, --samples columns, --biases column"
    assert verify("theirs.py:columns", *FEW, *re.findall(r"[\w-]+", layout)[1:])[0] == 0


@pytest.mark.more
def test_a_factor_without_a_loss_is_a_convention(as_json):
    status, report = as_json("theirs.py:without_loss")
    assert (status, report["verdict"]) == (0, "CONVENTION")
    assert all("no loss is returned that would say otherwise" in said for said in report["conventions"])


@pytest.mark.more
def test_numbers_that_are_none_make_valid_json(as_json):
    status, report = as_json("theirs.py:no_number", *FEW)
    assert (status, [found["id"] for found in report["findings"]]) == (1, ["not-finite"])


@pytest.mark.more
def test_who_does_one_kind_of_network_only(as_json):
    status, report = as_json("theirs.py:tanh_softmax")
    assert (status, report["verdict"], report["networks"]) == (0, "RIGHT", ["3-5-4:tanh,softmax:ce"])


@pytest.fixture
def answers(folder):
    """Writes what a submission of theirs.py answers to golden vectors as a file; gives its name."""

    def answers(name, change=lambda case, dW, db: None):
        function, found = getattr(importlib.import_module("theirs"), name), []
        for case in usual_cases():
            if case.da is None and not case.weight_decay and case.params.dtype.name == "float64":
                with np.errstate(all="ignore"):
                    loss, dW, db = function(case.network, case.params.W, case.params.b, case.x, case.y)
                change(case, dW, db)
                parts = {"dW": [g.tolist() for g in dW], "db": [g.tolist() for g in db]}
                found.append({"name": case.name, "loss": float(loss), **parts})
        (folder / f"{name}.json").write_text(json.dumps(found))
        return f"{name}.json"

    return answers


@pytest.mark.more
def test_a_file_of_right_answers(as_json, answers):
    status, report = as_json("--answers", answers("one_hot"))
    assert (status, report["verdict"], report["findings"], report["conventions"]) == (0, "RIGHT", [], [])
    assert {case["verdict"] for case in report["cases"] if case["deciding"]} <= {"EXACT", "WITHIN BOUND"}
    assert any("extreme values" in note and "|z| = " in note for note in report["notes"])
    assert any(note.startswith("right for labels that sum to 1 only") for note in report["notes"])
    assert not any("what rounding usually does" in note for note in report["notes"])


@pytest.mark.more
def test_errors_larger_than_usual_are_told_and_fail_nothing(verify, answers, monkeypatch):
    monkeypatch.setattr(verdict, "UNUSUAL", 0.1)
    status, out, _ = verify("--answers", answers("one_hot"))
    assert status == 0
    assert "inside the bound, but" in " ".join(out.split())


@pytest.mark.more
def test_a_file_of_wrong_answers(as_json, answers, verify):
    status, report = as_json("--answers", answers("summed"))
    assert (status, report["verdict"]) == (1, "WRONG")
    assert [found["id"] for found in report["findings"]] == ["missing-mean"]

    def noise(case, dW, db):
        dW[0][0, 0] += 0.01

    name = answers("sound", noise)
    status, out, _ = verify("--answers", name, "--json")
    report = json.loads(out)
    assert (status, report["findings"][-1]["id"]) == (1, "unknown")
    assert (report["findings"][-1]["quantity"], report["findings"][-1]["layers"]) == ("dW", [0])
    assert report["notes"][0].startswith("first wrong: dW of layer 0")
    case = next(case for case in report["cases"] if case["verdict"] == "WRONG")
    assert case["details"]["dW[0]"]["share_of_bound"] > 1.0
    assert case["details"]["dW[0]"]["entry"] == [0, 0]


def test_a_file_of_answers_with_a_sum_for_a_mean(as_json, answers):
    def summed(network, weights, biases, x, y):
        loss, dW, db = importlib.import_module("theirs").summed(network, weights, biases, x, y)
        return loss * len(x), dW, db

    importlib.import_module("theirs").summed_both = summed
    status, report = as_json("--answers", answers("summed_both"))
    assert (status, report["verdict"]) == (0, "CONVENTION")
    assert all("which a learning rate makes up for" in said for said in report["conventions"])


@pytest.mark.more
def test_sharpness_of_the_bounds(verify, as_json, monkeypatch):
    monkeypatch.setattr(sharpness, "SIZES", ("2-4-1",))
    status, (row,) = as_json("--bounds")
    assert status == 0
    assert row["sizes"] == "2-4-1"
    assert 1.0 < row["median"] <= row["worst"] <= 200.0
    assert set(row["shares"]) == {"sums", "functions", "entrywise"}
    assert "2-4-1" in verify("--bounds")[1]


@pytest.mark.few(4)
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing to verify"),
        (["theirs.py:sound", "--answers", "x.json"], "both TARGET and --answers"),
        (["nowhere.py"], "No such file"),
        (["theirs.py:missing"], "has no 'missing'"),
        (["nowhere.py:f"], "no such file"),
        (["--answers", "nowhere.json"], "nowhere.json"),
        (["--command", "./nowhere"], "cannot run ./nowhere"),
        (["theirs.py:sound", "--weights", "out"], "unknown --weights"),
        (["theirs.py:sound", "--learning-rate", "0"], "--learning-rate"),
        (["theirs.py:sound", "--html", "theirs.py"], "exists already"),
        (["theirs.py:sound", "--html", "no/such/folder.html"], "folder"),
        (["theirs.py:sound", "--time-limit", "0"], "time-limit"),
        (["theirs.py:sound", "--network", "2-2-1"], "as in 2-2-1:sigmoid,sigmoid:sse"),
        (["theirs.py:sound", "--network", "2-x-1:tanh,linear:mse"], "sizes 2-x-1 are not numbers"),
        (["theirs.py:sound", "--network", "2-2-1:sigmod,sigmoid:sse"], "did you mean 'sigmoid'"),
        (["theirs.py:sound", "--network", "2-2-1:tanh,softmax:ce"], "softmax of one output is always 1"),
        (["--answers", "x.json", "--network", "2-2-1:tanh,linear:mse"], "--network goes with a function"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(verify, arguments, said):
    status, out, err = verify(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert said in err


class Page(HTMLParser):
    """Tags still open, and whatever a page would load."""

    def __init__(self):
        super().__init__()
        self.open, self.loaded = [], []

    def handle_starttag(self, tag, attributes):
        if tag not in {"meta", "br"}:
            self.open.append(tag)
        self.loaded += [value for name, value in attributes if name in {"src", "href"}]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("name", ["sound", "summed", "columns", more("noisy"), "no_number"])
@pytest.mark.more
def test_the_page_is_whole_and_loads_nothing(verify, folder, name):
    status, out, _ = verify(f"theirs.py:{name}", *FEW, "--html", "report.html")
    text = (folder / "report.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert (page.open, page.loaded) == ([], [])
    assert "default-src 'none'" in text
    assert "report.html" in out
    assert ("missing-mean" in text) == (name == "summed")
    assert ("out-in" in text) == (name == "columns")
    assert verify(f"theirs.py:{name}", *FEW, "--html", "report.html")[0] == 2
    assert (folder / "report.html").read_text(encoding="utf-8") == text
    assert status == (0 if name in {"sound", "columns"} else 1)


def test_text_of_the_submission_is_no_markup(verify, folder):
    (folder / "odd.py").write_text(
        "def f(network, weights, biases, x, y):\n    raise ValueError('<script>alert(1)</script> [red]:smile:[/red]')\n"
    )
    status, out, _ = verify("odd.py:f", *FEW, "--html", "odd.html")
    assert status == 2
    assert "[red]:smile:[/red]" in re.sub(r"\s+", " ", out)
    text = (folder / "odd.html").read_text(encoding="utf-8")
    assert "<script>" not in text
    assert "alert(1)" in text


def test_the_page_of_a_file_of_answers_has_a_row_for_each_golden_vector(verify, folder, answers):
    assert verify("--answers", answers("summed"), "--html", "report.html")[0] == 1
    text = (folder / "report.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert (page.open, page.loaded) == ([], [])
    assert text.count("<tr>") > 50
    assert "missing-mean" in text


@pytest.mark.more
def test_a_pipe_gets_no_colour_and_80_columns(verify):
    for name in ("sound", "summed", "columns"):
        _, out, _ = verify(f"theirs.py:{name}", *FEW)
        assert "\x1b" not in out
        assert max(map(len, out.splitlines())) <= 80


@pytest.mark.more
def test_a_narrow_terminal_gets_colour_and_60_columns():
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 60, 0, 0))
    program = [sys.executable, "-c", "from backprop_ref.cli import main; main()", "verify", "theirs.py:summed", *FEW]
    settings = {**os.environ, "TERM": "xterm", "PYTHONPATH": str(ROOT)}
    settings.pop("COLUMNS", None)
    with subprocess.Popen(program, stdin=slave, stdout=slave, stderr=subprocess.DEVNULL, env=settings) as process:
        os.close(slave)
        shown = b""
        while part := _read(master):
            shown += part
    os.close(master)
    assert process.returncode == 1
    text = shown.decode()
    assert "\x1b[1;31mWRONG" in text
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert max(len(line.rstrip("\r")) for line in plain.splitlines()) <= 60


def _read(master):
    try:
        return os.read(master, 65536)
    except OSError:  # the other end is closed
        return b""


def test_the_help_has_examples():
    out = " ".join(command("verify", "--help").stdout.split())
    for word in ("--weights", "--one-sample", "--command", "--answers", "mine.py:gradients", "--learning-rate"):
        assert word in out
    assert "--network 2-2-1:sigmoid,sigmoid:sse" in out
    assert "RIGHT, RIGHT IN ITS OWN TERMS, CONVENTION 0; WRONG 1; NOT JUDGED" in out
