"""Submissions that cheat, kill, flood, fork and hide: refused or judged, and nothing outside is touched or left."""

import json
import os
import socket
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import backprop_ref as br
from backprop_ref.backends import get_backend
from backprop_ref.cli import run
from backprop_ref.conformance.cases import mapped
from backprop_ref.conformance.judging.judge import judge
from backprop_ref.conformance.measuring import verify
from backprop_ref.conformance.running import answered
from backprop_ref.conformance.submissions import confined
from backprop_ref.conformance.submissions.answer import Answer
from backprop_ref.conformance.submissions.calling import Refusal
from backprop_ref.conformance.submissions.reading import Shapes
from backprop_ref.conformance.submissions.separate import Separate
from backprop_ref.conformance.vectors.files import SHIPPED, shipped_cases

pytestmark = pytest.mark.skipif(
    confined.landlock_version() < 6 or confined._calls() is None, reason="no Landlock with signals here"
)

SEVERAL = 2
ACTS = {
    "kills its judge": "os.kill(JUDGE, signal.SIGKILL)",
    "stops its judge": "os.kill(JUDGE, signal.SIGSTOP)",
    "ends all there is": "os.kill(-1, signal.SIGTERM)",
    "ends the judge's group": "os.killpg(os.getpgid(JUDGE), signal.SIGTERM)",
    "limits its judge": "resource.prlimit(JUDGE, resource.RLIMIT_NOFILE, (3, 3))",
    "forks and waits": "[os.fork() or time.sleep(99) for _ in range(30)]",
    "hides in a session of its own": "os.fork() or (os.setsid(), os.fork() or time.sleep(99))",
    "starts a process that stays": "subprocess.Popen(['sleep', '99'], start_new_session=True)",
    "writes into the package": "open(PACKAGE + '/api.py', 'a')",
    "changes another's file": "open(OTHER, 'w').write('mine')",
    "removes another's file": "os.remove(OTHER)",
    "reads what is expected": "open(os.path.join(VECTORS, 'cases', NAME + '.json')).read()",
    "reads a file of the user's": "open(SECRET).read()",
    "reads the environment": "os.environ['MY_API_TOKEN']",
    "reads the judge's environment": "open(f'/proc/{JUDGE}/environ', 'rb').read()[0]",
    "writes into the judge's memory": "open(f'/proc/{JUDGE}/mem', 'r+b')",
    "prints past the report": "open(f'/proc/{JUDGE}/fd/1', 'w').write('RIGHT')",
    "prints on the terminal": "open('/dev/tty', 'w').write('RIGHT')",
    "connects": "socket.create_connection(('127.0.0.1', PORT))",
    "sends": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', PORT))",
    "takes all memory": "np.ones(2**33)",
    "fills the disk": "open('large', 'wb').truncate(2**40)",
    "forgives itself its limits": "resource.setrlimit(resource.RLIMIT_FSIZE, (2**50, 2**50))"
    if os.getuid()
    else "resource.prlimit(1, resource.RLIMIT_FSIZE)",
    "floods its judge": "[os.write(fd, b'x' * 2**16) for fd in range(3, 99) if sockets(fd) for _ in range(2000)]",
    "pins its judge": "os.sched_setaffinity(JUDGE, {0})",
    "idles its judge": "os.sched_setscheduler(JUDGE, os.SCHED_IDLE, os.sched_param(0))",
    "signals its judge by a file": "signal.pidfd_send_signal(os.open(f'/proc/{JUDGE}', os.O_DIRECTORY), 0)",
    "leaves memory": "called('shmget', 0, 4096, 0o1600)",
    "leaves a queue": "called('msgget', 0, 0o1600)",
    "leaves a semaphore": "called('semget', 0, 1, 0o1600)",
    "leaves a named queue": "called('mq_open', b'/of-a-submission', os.O_CREAT | os.O_RDWR, 0o600, None)",
    "leaves a file in memory": "open('/dev/shm/of-a-submission', 'w')",
    "leaves": "os._exit(0)",
    "never answers": "time.sleep(99)",
}
"""What a submission does when it is called; all but a few of these are to raise."""
GONE = {"leaves": "ended with status 0", "never answers": "no answer within", "floods its judge": "its process"}
"""Those of which the process is lost, and what is said."""
QUIET = {"forks and waits", "hides in a session of its own"}
"""Those that are done before anybody is to be asked."""

HEAD = """
import ctypes, os, resource, signal, socket, subprocess, sys, time
import numpy as np

{values}

def sockets(fd):
    return os.path.exists(f"/proc/self/fd/{{fd}}") and "socket" in os.readlink(f"/proc/self/fd/{{fd}}")

def called(name, *arguments):
    if getattr(ctypes.CDLL(None), name)(*arguments) < 0:
        raise OSError(name)

def f(x):
    said = []
    try:
        {act}
        said = [1.0]
    except (OSError, KeyError, MemoryError, subprocess.SubprocessError, ValueError):
        said = [2.0]
    return said[0]
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with somebody's file, beside it a secret, and a process that listens."""
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "other.py").write_text("theirs")
    (tmp_path / "secret").write_text("secret")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MY_API_TOKEN", "secret")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        values = {
            "JUDGE": os.getpid(),
            "PACKAGE": str(SHIPPED.parents[2]),
            "VECTORS": str(SHIPPED),
            "NAME": shipped_cases()[0].name,
            "OTHER": str(folder / "other.py"),
            "SECRET": str(tmp_path / "secret"),
            "PORT": server.getsockname()[1],
        }
        yield folder, values
        with pytest.raises(BlockingIOError):
            server.accept()


def written(folder, values, act):
    text = HEAD.format(values="\n".join(f"{name} = {value!r}" for name, value in values.items()), act=act)
    (folder / "mine.py").write_text(text)


def left(private):
    """Processes that were given this folder, and are no zombies."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if str(private).encode() in (place / "environ").read_bytes():
                found.append(place)
        except OSError:
            continue
    return found


@pytest.mark.few(SEVERAL, 10)
@pytest.mark.parametrize("name", ACTS)
def test_what_a_submission_may_not_do(place, name):
    folder, values = place
    written(folder, values, ACTS[name])
    function = Separate("mine.py:f", 3.0)
    private = function.process.private.path
    try:
        reply = function.call([np.ones(2)], {}, Shapes([(1, 1)], [(1,)]))
    except Refusal as error:
        assert GONE[name] in str(error)
    else:
        assert name not in GONE
        assert reply["readings"][0][1] == (1.0 if name in QUIET else 2.0), reply
    del function
    deadline = time.monotonic() + 5.0
    while left(private) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not left(private)
    assert not private.exists()
    assert (folder / "other.py").read_text() == "theirs"
    assert sorted(path.name for path in folder.iterdir()) == ["mine.py", "other.py"]


PROGRAM = """
import json, os, sys, time
case = json.load(sys.stdin)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.close(0), os.close(1), os.close(2)
        time.sleep(99)
    os._exit(0)
print(json.dumps({"not_judged": "it only leaves something behind" + str(sorted(os.environ))}))
"""


@pytest.mark.more
def test_a_command_leaves_nothing_behind_either(place, capsys):
    folder, _ = place
    (folder / "program.py").write_text(PROGRAM)
    before = set(confined._children())
    assert run(["verify", "--command", f"{sys.executable} program.py", "--network", "2-2-1:sigmoid,sigmoid:sse"]) == 2
    said = capsys.readouterr().out
    assert "it only leaves something behind" in said
    assert "MY_API_TOKEN" not in said
    assert set(confined._children()) <= before


class Known:
    """A submission that answers golden vectors, and others by what `else_` makes of the right answer."""

    in_place, learning_rate = False, None

    def __init__(self, else_):
        self.else_ = else_

    def answer(self, case):
        if case.expected is not None:
            return Answer(case.expected.reference)
        return Answer(mapped(self.else_, answered(get_backend("numpy", "reproducible"), case)))


@pytest.mark.parametrize(
    ("else_", "computes"), [(lambda a: a, True), (lambda a: a * 1.001, False), (np.zeros_like, False)]
)
def test_a_case_that_nobody_knows(else_, computes):
    """Three times, as it is another one each time."""
    for case in shipped_cases()[:3]:
        submission = Known(else_)
        assert verify._computes(submission, judge(submission, [case]).cases) is computes


@pytest.mark.more
def test_what_was_prevented_is_said(place, capsys):
    folder, values = place
    written(folder, values, "raise OSError")
    run(["verify", "mine.py:f", "--json", "--network", "2-2-1:sigmoid,sigmoid:sse"])
    found = json.loads(capsys.readouterr().out)
    assert found["prevented"] == list(confined.confinement().prevented)
    assert found["not_prevented"] == []


@pytest.mark.more
@pytest.mark.parametrize("head", ["K = 1", "K = len(open('../secret').read())", "K = len(open(SECRET).read())"])
def test_what_lets_it_read_is_said(place, capsys, head):
    """At its top, where it is then taken without, and in the function; followed, the remedy works."""
    folder, values = place
    (folder / "mine.py").write_text(
        f"SECRET = {values['SECRET']!r}\n{head}\ndef f(network, weights, biases, x, y):\n"
        "    open(SECRET).read() if K == 1 else K\n    e = x @ weights[0] + biases[0] - y\n"
        "    return (e**2).sum() / len(x), [2 * x.T @ e / len(x)], [2 * e.sum(axis=0) / len(x)]\n"
    )
    arguments = ["verify", "mine.py:f", "--network", "3-2:linear:sse"]
    assert run(arguments) == 2
    said = " ".join(capsys.readouterr().out.split())
    assert "secret" in said
    assert "--trust lifts that" in said
    assert run([*arguments, "--trust"]) == 0


@pytest.mark.parametrize("asked", [{"trust": "no"}, {"trust": 1}, {"time_limit": -1}, {"time_limit": float("inf")}])
def test_trust_is_true_or_false_and_time_a_number(asked):
    with pytest.raises(br.InvalidInput, match=next(iter(asked))):
        br.verify("mine.py:f", **asked)


def test_a_filter_of_calls_is_for_two_machines():
    program = confined._program(confined._calls(), 4321)
    assert all(
        0 <= yes < len(program) - at and 0 <= no < len(program) - at for at, (_, yes, no, _) in enumerate(program)
    )
    assert program[-1] == (0x06, 0, 0, 0x7FFF0000)
