"""A submission in a process of its own: whatever it does there, the judge judges on."""

import json
import multiprocessing
import os
import socket
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from submissions import some_cases

import backprop_ref as br
from backprop_ref.cli import run
from backprop_ref.conformance.judging.judge import judge
from backprop_ref.conformance.submissions import calling, separate
from backprop_ref.conformance.submissions.calling import load
from backprop_ref.conformance.submissions.confined import trusted
from backprop_ref.conformance.submissions.functions import Function
from backprop_ref.conformance.submissions.models import Model
from backprop_ref.conformance.submissions.separate import Separate, messages
from backprop_ref.errors import InvalidInput
from backprop_ref.network import Network

CASES = some_cases()[:4]
BAD = CASES[2].network

THEIRS = f"""
import builtins, os, signal, subprocess, sys, time, warnings
import numpy as np
sys.path.insert(0, {str(Path(__file__).parent)!r})
from submissions import right


def hostile(act, before=True, only_bad=False):
    def function(network, weights, biases, x, y):
        result = right(network, weights, biases, x, y)
        if not only_bad or (network.sizes, network.activations) == {(BAD.sizes, BAD.activations)!r}:
            acted = act(result)
            return result if acted is None else acted
        return result
    return function


class Evil:
    ndim, shape = 2, (5, 4)
    def __array__(self, *arguments, **keywords):
        raise RuntimeError("evil array")


def raising(error):
    def act(result):
        raise error
    return act


def patch(result):
    for name in ("abs", "isfinite", "allclose", "finfo", "errstate", "all", "where"):
        setattr(np, name, lambda *a, **k: True)
    builtins.abs = builtins.all = builtins.isinstance = lambda *a: True
    loss, dW, db = result
    return loss, [g * 2 for g in dW], db


def flood(result):
    print("x" * 100_000)
    sys.stderr.write("x" * 100_000)
    os.write(1, b"x" * 100_000)
    os.write(2, b"x" * 100_000)


def close(result):
    sys.stdout.close()
    os.close(1)


def fork(result):
    os.fork()


def junk(result):
    for descriptor in range(3, 32):
        try:
            os.write(descriptor, b"\\xff" * 64)
        except OSError:
            pass


def children(result):
    child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])
    with open("children", "a") as file:
        file.write(f"{{child.pid}}\\n")
    time.sleep(60)


def strict_floats(result):
    np.seterr(all="raise")


def strict_warnings(result):
    warnings.simplefilter("error")


sound = hostile(lambda result: None)
patches = hostile(patch)
floods, closes, forks = hostile(flood), hostile(close), hostile(fork)
moves = hostile(lambda result: os.chdir("/"))
raises_floats, raises_warnings = hostile(strict_floats), hostile(strict_warnings)
recurses = hostile(lambda result: sys.setrecursionlimit(120))
leaves = hostile(lambda result: os._exit(0), only_bad=True)
crashes = hostile(lambda result: os.kill(os.getpid(), signal.SIGSEGV), only_bad=True)
interrupts = hostile(raising(KeyboardInterrupt()), only_bad=True)
ends = hostile(raising(SystemExit(0)), only_bad=True)
evil = hostile(lambda result: (1.0, [Evil(), Evil()], [Evil(), Evil()]), only_bad=True)
closes_all = hostile(lambda result: os.closerange(3, 64), only_bad=True)
writes_junk = hostile(junk, only_bad=True)
hangs_once, always_hangs = hostile(children, only_bad=True), hostile(children)
always_leaves = hostile(lambda result: os._exit(3))


def in_place(network, weights, biases, x, y):
    loss, dW, db = right(network, weights, biases, x, y)
    for part, g in zip(weights + biases, dW + db):
        part -= g
    weights[0] = weights[0].copy()
    return loss


def object_entries(network, weights, biases, x, y):
    loss, dW, db = right(network, weights, biases, x, y)
    return loss, [g.astype(object) for g in dW], db


class Plain:
    def __init__(self, network, lr):
        self.network, self.lr = network, lr
        self.weights = [np.zeros(shape) for shape in zip(network.sizes, network.sizes[1:])]
        self.biases = [np.zeros(n) for n in network.sizes[1:]]

    def fit(self, x, y):
        loss, dW, db = right(self.network, self.weights, self.biases, x, y)
        self.weights = [W - self.lr * g for W, g in zip(self.weights, dW)]
        self.biases = [b - self.lr * g for b, g in zip(self.biases, db)]
        return loss


calls = []


def turned(network, weights, biases, x, y):
    loss, dW, db = right(network, [W.T for W in weights], biases, x, y)
    return loss, [g.T for g in dW], db


def differs(network, weights, biases, x, y):
    calls.append(1)
    loss, dW, db = right(network, weights, biases, x, y)
    return loss, [g * len(calls) for g in dW], db
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with submissions in theirs.py."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "theirs.py").write_text(THEIRS)
    return tmp_path


def judged(name, time_limit=10.0, cases=CASES):
    submission = Function(Separate(f"theirs.py:{name}", time_limit))
    submission.answer(cases[0])  # finds the form of its arguments, which may leave something in it
    submission.restart(submission.function.afresh())
    return judge(submission, cases)


@pytest.mark.few(1)
@pytest.mark.parametrize(
    "name",
    [
        "sound",
        "floods",
        "closes",
        "forks",
        "moves",
        "raises_floats",
        "raises_warnings",
        "recurses",
        "in_place",
        "object_entries",
    ],
)
def test_what_has_nothing_to_do_with_the_gradient_does_no_harm(name, capfd, folder):
    filters = list(warnings.filters)
    report = judged(name)
    assert {one.verdict for one in report.cases} <= {"EXACT", "WITHIN BOUND"}, [one.reason for one in report.cases]
    assert capfd.readouterr() == ("", "")
    assert Path.cwd() == folder
    assert warnings.filters == filters
    assert np.geterr()["divide"] == "warn"


@pytest.mark.more
def test_a_patched_library_is_the_submissions_own():
    functions = np.abs, np.isfinite, np.finfo
    report = judged("patches", cases=CASES[:2])
    assert report.verdict in {"WRONG", "NO ANSWER"}
    assert (np.abs, np.isfinite, np.finfo) == functions


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("leaves", "its process ended with status 0"),
        ("crashes", "its process was ended by SIGSEGV"),
        ("interrupts", "KeyboardInterrupt"),
        ("ends", "sys.exit(0)"),
        ("evil", "RuntimeError: evil array"),
        ("closes_all", "its process"),
        ("writes_junk", "its process sent more than 64 MiB"),
        ("hangs_once", "no answer within 2 s; killed"),
    ],
)
def test_one_bad_case_does_not_spoil_the_others(name, said):
    report = judged(name, 2.0 if name == "hangs_once" else 10.0)
    verdicts = [one.verdict for one in report.cases]
    assert verdicts.pop(CASES.index(next(case for case in CASES if case.network == BAD))) == "NO ANSWER"
    assert set(verdicts) <= {"EXACT", "WITHIN BOUND"}
    assert said in next(one.reason for one in report.cases if one.case.network == BAD)


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("name", "said", "time_limit"),
    [("always_hangs", "no answer within 0.3 s; killed", 0.3), ("always_leaves", "ended with status 3", 10.0)],
)
def test_what_never_answers_costs_three_calls(name, said, time_limit, folder):
    with trusted(True):  # it says which processes it starts, in a file
        function = Separate(f"theirs.py:{name}", time_limit)
        report = judge(Function(function), CASES)
    assert {one.verdict for one in report.cases} == {"NO ANSWER"}
    assert all(said in one.reason for one in report.cases)
    assert function.breaker.lost == 3
    children = (folder / "children").read_text().split() if name == "always_hangs" else ["0"] * 3
    assert len(children) == 3
    assert all(gone(int(pid)) for pid in children if int(pid))


def test_what_answers_now_and_then_is_asked_more_often(monkeypatch):
    monkeypatch.setattr(calling, "IN_ALL", 2)
    bad = next(case for case in CASES if case.network == BAD)
    report = judged("leaves", cases=[CASES[0], bad, bad, CASES[1], bad])
    reasons = [one.reason.partition(":")[0] for one in report.cases]
    assert reasons == ["", *["its process ended with status 0"] * 2, *["not asked"] * 2]


def gone(pid):
    for _ in range(100):
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.02)
    return False


def test_a_second_call_goes_to_the_same_process():
    report = judged("differs")
    assert report.verdict == "WRONG"
    assert any("a second, identical call gives another" in one.reason for one in report.cases)


def test_the_answers_are_those_of_a_call_in_the_judge(folder):
    here, there = Function(load("theirs.py:sound")), Function(Separate("theirs.py:sound", 10.0))
    for case in some_cases():
        one, two = here.answer(case), there.answer(case)
        assert (one.changed, one.again, one.slack) == (two.changed, two.again, two.slack)
        assert np.asarray(one.values.loss).tobytes() == np.asarray(two.values.loss).tobytes()
        for first, second in zip(one.values.dW + one.values.db, two.values.dW + two.values.db, strict=True):
            assert (first.dtype, first.tobytes()) == (second.dtype, second.tobytes())


def test_classes_too():
    submission = Model(Separate("theirs.py:Plain", 10.0))
    report = judge(submission, CASES)
    assert {one.verdict for one in report.cases} == {"WITHIN BOUND"}, [one.reason for one in report.cases]


def test_the_process_ends_with_its_owner():
    function = Separate("theirs.py:sound", 10.0)
    pid = function.process.running.pid
    assert not gone_at_once(pid)
    del function
    assert gone(pid)


def gone_at_once(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


# ---- imports


@pytest.mark.few(3)
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import os\nos._exit(0)", "importing broken.py:f failed: its process ended with status 0"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt (broken.py, line 1"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("x = 1\ndef f(:", "SyntaxError: invalid syntax (broken.py, line 2)"),
        ("import no_such_module", "No module named 'no_such_module' (broken.py, line 1: import no_such_module)"),
        ("def g(): pass", "broken.py has no 'f': it has g"),
        ("def ff(): pass", "did you mean 'ff'?"),
        ("f = 3", "cannot be called"),
        ("while True: pass", "no answer within 0.5 s; killed"),
    ],
)
def test_imports_that_fail(folder, monkeypatch, text, said):
    if "while" in text:
        monkeypatch.setattr(separate, "IMPORT_LIMIT", 0.5)
    (folder / "broken.py").write_text(text + "\n")
    with pytest.raises(InvalidInput) as caught:
        Separate("broken.py:f", 0.1)
    assert said in str(caught.value)


@pytest.mark.more
def test_the_command_line(capfd, folder):
    for name, verdict in (("sound", "RIGHT"), ("floods", "RIGHT"), ("differs", "WRONG")):
        status = run(["verify", f"theirs.py:{name}", "--json", "--network", "3-5-4:sigmoid,sigmoid:sse"])
        out, err = capfd.readouterr()
        report = json.loads(out)
        assert err == ""
        assert (report["verdict"], status) == (verdict, report["exit"])


# ---- messages


@pytest.fixture
def ends():
    one, two = socket.socketpair()
    with one, two:
        yield one, two


def test_messages_arrive_as_they_were_sent(ends):
    one, two = ends
    message = {
        "numbers": [1.5, float("inf"), 3, None, True, "text"],
        "network": Network([2, 3, 1], ["tanh", "sigmoid"], "bce"),
        "single": np.float32(0.1),
        "arrays": [np.arange(6.0).reshape(2, 3).T, np.float32([np.nan, -0.0]), np.zeros((0, 4))],
    }
    messages.send(one, message)
    found = messages.receive(two, 1.0)
    assert found["numbers"] == message["numbers"]
    assert found["network"] == message["network"]
    assert (found["single"], found["single"].dtype) == (np.float32(0.1), np.float32)
    for there, sent in zip(found["arrays"], message["arrays"], strict=True):
        assert (there.dtype, there.shape, there.tobytes()) == (sent.dtype, sent.shape, sent.tobytes())
        assert there.flags.writeable


def framed(text, arrays=b""):
    return len(text).to_bytes(8, "little") + len(arrays).to_bytes(8, "little") + text + arrays


@pytest.mark.parametrize(
    "sent",
    [
        b"\xff" * 16,
        framed(b"{"),
        framed(b"\xff"),
        framed(b"[" * 100_000),
        framed(b'{"dtype": "|O", "shape": [1]}', b"12345678"),
        framed(b'{"dtype": "<f8", "shape": [2]}', b"12345678"),
        framed(b'{"dtype": "<f8", "shape": [-1]}', b"12345678"),
        framed(b'{"dtype": "<f8", "shape": "ab"}', b"12345678"),
        framed(b'{"sizes": 1, "activations": 2, "loss": 3}'),
    ],
)
def test_what_is_no_message_is_refused(ends, sent):
    one, two = ends
    one.sendall(sent)
    with pytest.raises(messages.Garbled):
        messages.receive(two, 1.0)


def test_half_a_message_is_waited_for_and_no_longer(ends):
    one, two = ends
    one.sendall(framed(b"[1, 2]")[:-1])
    with pytest.raises(TimeoutError):
        messages.receive(two, 0.05)
    one.close()
    with pytest.raises(EOFError):
        messages.receive(two, 0.05)


# ---- the report


def test_lines_are_as_wide_as_columns_says(capfd, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    run(["verify", "theirs.py:differs", "--network", "3-5-4:sigmoid,sigmoid:sse"])
    out, _ = capfd.readouterr()
    assert max(map(len, out.splitlines())) <= 60


def test_flags_on_the_page_are_not_broken_at_hyphens(folder):
    run(["verify", "theirs.py:turned", "--html", "page.html", "--network", "3-5-4:sigmoid,sigmoid:sse"])
    text = (folder / "page.html").read_text(encoding="utf-8")
    assert '<span class="flag">--weights</span> out-in' in text
    assert ".flag { white-space: nowrap; }" in text


POOLS = """
from multiprocessing import get_context
from strangers import plain

def one(W, b, x, y):
    return plain(W, b, x, y)[:3]

def each_time(weights, biases, x, y):
    with get_context("fork").Pool(1) as pool:
        return pool.apply(one, (weights, biases, x, y))

pool = get_context("fork").Pool(1)

def once(weights, biases, x, y):
    return pool.apply(one, (weights, biases, x, y))
"""


@pytest.mark.more
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="processes are not forked here")
def test_processes_are_started_once_and_not_in_each_call(folder, monkeypatch):
    (folder / "pools.py").write_text(POOLS)
    (folder / "strangers.py").write_text((Path(__file__).parent / "strangers.py").read_text())
    monkeypatch.setattr(separate, "STARTING", 0.0)
    assert "trust=True lifts that" in br.verify("pools.py:each_time").reason  # its locks lie in shared memory
    outcome = br.verify("pools.py:each_time", trust=True)
    assert outcome.verdict == "NOT JUDGED"
    assert "starts processes in its calls" in outcome.reason
    assert br.verify("pools.py:once", trust=True).verdict == "CONVENTION"
