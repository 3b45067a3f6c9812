"""A sweep that is killed: its workers end with it, nothing is left behind, and it goes on at once."""

import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers import PROGRAM

from backprop_ref.cli import run
from backprop_ref.experiments.workers import await_workers
from backprop_ref.training.checkpoint import CHECKPOINT

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are looked up in /proc")
SWEEP = ["sweep", "--dataset", "xor", "--backend", "numpy", "--seeds", "1-4", "--out", "s"]
FOREVER = ["--epochs", "100000000", "--workers", "2"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Each test in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def session(leader):
    """Processes of a session that have not ended, by their id with their command line; zombies have ended."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, its = (place / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(its) == leader and state not in "ZX":
                found[int(place.name)] = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def left_in_memory(process):
    """Semaphores and folders of a process that are still in /dev/shm."""
    shared = Path("/dev/shm")
    return [path.name for path in shared.iterdir() if str(process) in path.name] if shared.is_dir() else []


def wait_for(what):
    """Waits until it is so; a test that hangs is one that fails."""
    while not what():
        time.sleep(0.01)


def workers(leader):
    """Those of a sweep."""
    return [process for process, command in session(leader).items() if "--process-name" in command]


def started(*arguments, **options):
    """A sweep whose two workers train, in a session of its own."""
    process = subprocess.Popen([*PROGRAM, *SWEEP, *arguments], **{"start_new_session": True, **options})
    wait_for(lambda: process.poll() is not None or len(list(Path("s/cells").glob(f"*/{CHECKPOINT}"))) == 2)
    assert process.poll() is None
    assert len(workers(process.pid)) == 2
    return process


def check_that_nothing_is_left(process):
    """Of a sweep that was killed: no process, no file being written, nothing in memory."""
    process.wait()
    wait_for(lambda: not workers(process.pid))
    written = {path: path.stat().st_mtime_ns for path in Path("s").rglob("*")}
    wait_for(lambda: not session(process.pid))
    assert {path: path.stat().st_mtime_ns for path in Path("s").rglob("*")} == written
    assert not left_in_memory(process.pid)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.few(1)
def test_workers_end_with_the_sweep(how):
    process = started(*FOREVER, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    process.send_signal(how)
    check_that_nothing_is_left(process)
    assert process.returncode == -how
    assert process.stdout.read() == ""
    process.stdout.close()


@pytest.mark.more
def test_workers_end_with_the_terminal():
    """All processes of the terminal are told; the one that cleans up stays to the end."""
    ours, theirs = pty.openpty()

    def take_it():
        os.setsid()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    process = started(*FOREVER, **streams, start_new_session=False, preexec_fn=take_it)
    os.close(theirs)
    os.close(ours)
    check_that_nothing_is_left(process)
    assert process.returncode == -signal.SIGHUP


@pytest.mark.more
def test_workers_that_have_not_begun_yet_do_not_begin():
    process = subprocess.Popen([*PROGRAM, *SWEEP, *FOREVER], start_new_session=True, stdout=subprocess.DEVNULL)
    wait_for(lambda: process.poll() is not None or workers(process.pid))
    process.kill()
    check_that_nothing_is_left(process)
    assert not list(Path("s").glob("cells/*"))


@pytest.mark.more
def test_a_sweep_that_was_killed_goes_on_at_once():
    """Only the sweep is told; and each network ends as it does by itself."""
    few = ["--epochs", "6000", "--seeds", "1-2", "--workers", "2"]
    process = started(*few)
    process.kill()
    process.wait()
    assert run(["sweep", "--resume", "s", "--workers", "1"]) == 0
    rows = json.loads(Path("s/table.json").read_text())
    assert [row["seed"] for row in rows] == ["1", "2"]
    assert run([*SWEEP[:-1], "whole", *few]) == 0
    assert [row["sha256"] for row in rows] == [
        row["sha256"] for row in json.loads(Path("whole/table.json").read_text())
    ]


PARENT = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", sys.argv[1]])
sys.stdin.read()
"""
CHILD = """
import os, time
from backprop_ref.experiments.workers import _end_with
_end_with(os.getppid())
print("begun", flush=True)
while True:
    time.sleep(0.01)
"""


def test_a_process_ends_with_its_parent():
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "start_new_session": True}
    with subprocess.Popen([sys.executable, "-c", PARENT, CHILD], **pipes) as parent:
        assert parent.stdout.readline() == b"begun\n"
        assert len(session(parent.pid)) == 2
        parent.kill()
        parent.wait()
        wait_for(lambda: not session(parent.pid))


def test_a_process_whose_parent_has_ended_does_not_begin():
    program = "from backprop_ref.experiments.workers import _end_with\n_end_with(1)\nprint('begun')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")


def waited_for(file):
    """Whether a process waits for a lock of this file, as the system lists it."""
    inode = f":{file.stat().st_ino} "
    return any("->" in line and inode in line for line in Path("/proc/locks").read_text().splitlines())


def test_workers_are_waited_for(folder):
    """One of them is still there when the sweep is to go on."""
    (folder / "plan").touch()
    program = (
        "import sys\nfrom backprop_ref.experiments.workers import _locked\n_locked('plan', 'LOCK_SH')\n"
        "print('begun', flush=True)\nsys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        worker.stdout.readline()
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(await_workers, folder / "plan")
            wait_for(lambda: waiting.done() or waited_for(folder / "plan"))
            assert not waiting.done()
            worker.kill()
            worker.wait()
            waiting.result()
