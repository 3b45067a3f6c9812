"""Runs that are disturbed everywhere: each is then resumed, and has to end as if nothing had happened.

A program: ``python faults.py DISTURBANCE RUN FOLDER [STEP]`` prints as JSON how many runs it disturbed, and what was
wrong afterwards. It forks for each run, which then takes milliseconds and may be killed.
"""

import builtins
import contextlib
import errno
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import backprop_ref as br
from backprop_ref import cli, files
from backprop_ref.network.model_file import load_all
from backprop_ref.traces import recorder, sinks
from backprop_ref.traces.file import open_trace
from backprop_ref.training import checkpoint, fit, history_file, state, train

KINDS = [kind for kind in sinks.SINKS if kind != "parquet" or find_spec("pyarrow")]
NETWORK = br.Network([3, 4, 2], ["tanh", "softmax"], "ce")
CHANGES = ["open", "write", "fsync", "mkdir", "link", "rename", "replace", "unlink", "rmdir", "truncate", "chmod"]
TAKE_SPACE = {"write", "open", "mkdir", "fsync"}
MODULES = {module.__file__ for module in (train, fit, state, checkpoint, history_file, files, recorder, sinks)}
MOMENTS, PAGES, PAGE = 40, 64, 4096

# --- the runs, which save after each chunk; the best epoch is neither the first nor the last ---


def looked_at(folder, resume):
    """Patience, validation, a callback and every kind of trace."""
    x = np.sin(np.arange(33.0)).reshape(11, 3)
    y = np.eye(2)[(np.arange(11) * 7 % 11) % 2]
    how = {"batch_size": 3, "optimizer": br.SGD(0.5, momentum=0.9), "progress": False}
    how |= {"validation": (x[7:], y[7:]), "patience": 3, "callback": lambda _: None}
    trace = recorder.Recorder(folder, KINDS, samples=[0, 4])
    fit.CHECKPOINT_SECONDS = 0.0
    br.train(NETWORK, NETWORK.init(3), x[:7], y[:7], epochs=4, run_dir=folder, resume=resume, trace=trace, **how)


def by_command(folder, resume):
    """The same by the command line, with a log of each epoch."""
    new = "iris --optimizer sgd --learning-rate 0.5 --momentum 0.9 --validation-size 0.2 --hidden-size 3 --patience 3"
    new += " --epochs 4 --backend numpy --numerics reproducible"
    new += f" --trace {','.join(KINDS)} --trace-samples 0,4 --run-dir {folder}"
    arguments = ["--resume", str(folder)] if resume else new.split()
    fit.CHECKPOINT_SECONDS = 0.0
    sys.exit(cli.run(["train", *arguments, "--log-level", "DEBUG", "--json"]))


def in_chunks(folder, resume):
    """Some hundred epochs, many at a time; only some are traced."""
    x = np.sin(np.arange(33.0)).reshape(11, 3)
    y = np.eye(2)[(np.arange(11) * 7 % 11) % 2]
    trace = recorder.Recorder(folder, KINDS, samples=[0, 4], every=3)
    fit.CHUNK_SECONDS = fit.CHECKPOINT_SECONDS = 0.005
    how = {"batch_size": 5, "optimizer": br.Adam(0.01), "progress": False, "numerics": "reproducible"}
    br.train(NETWORK, NETWORK.init(3), x, y, epochs=500, run_dir=folder, resume=resume, trace=trace, **how)


RUNS = {"looked_at": looked_at, "by_command": by_command, "in_chunks": in_chunks}

# --- what disturbs them ---


class Operation:
    """At the n-th operation, counted from 1, that changes a file or a folder.

    Parameters
    ----------
    how : str
        'error': it fails, a write after half of its bytes; 'full': so does every later one that takes space; 'kill':
        SIGKILL before it, or after half of the bytes; 'interrupt': two SIGINT before it.
    at : int
    """

    def __init__(self, how, at):
        self.how, self.at, self.count = how, at, 0

    def install(self):
        """Stands between Python and the system for the rest of the process."""
        usual, met = io.open, self._met

        class Raw(io.FileIO):
            def write(self, data):
                met("write", lambda: io.FileIO.write(self, memoryview(data)[: len(data) // 2]))
                return super().write(data)

            def truncate(self, size=None):
                met("truncate")
                return super().truncate(size)

        def opened(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, **how):
            if not set(mode) & set("wax+"):
                return usual(file, mode, buffering, encoding, errors, newline, **how)
            if not isinstance(file, int):
                met("open")
            raw = Raw(file, mode.replace("b", "").replace("t", ""), **how)
            if buffering == 0:
                return raw
            buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
            return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)

        def counted(name, usual):
            def operation(*arguments, **options):
                if name != "open" or arguments[1] & (os.O_CREAT | os.O_WRONLY | os.O_RDWR):
                    met(name)
                return usual(*arguments, **options)

            return operation

        builtins.open = io.open = opened
        for name in (
            "open",
            "write",
            "fsync",
            "mkdir",
            "link",
            "rename",
            "replace",
            "unlink",
            "rmdir",
            "truncate",
            "chmod",
        ):
            setattr(os, name, counted(name, getattr(os, name)))

    def _met(self, name, half=lambda: None):
        self.count += 1
        full = self.how == "full" and 0 < self.at <= self.count and name in TAKE_SPACE
        if self.count != self.at and not full:
            return
        if self.how == "interrupt":
            try:
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:  # which two that come at once do not raise: then all is written
                half()
                raise
            return
        half()
        if self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "error" or full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Line:
    """Ctrl-C, once or twice, at the n-th line that runs of the modules which train and write."""

    def __init__(self, times, at):
        self.times, self.at, self.count = times, at, 0

    def install(self):
        """For the rest of the process."""
        sys.settrace(lambda frame, *_: self._line if frame.f_code.co_filename in MODULES else None)

    def _line(self, frame, event, _):
        if event == "line":
            self.count += 1
            if self.count == self.at:
                for _ in range(self.times):
                    signal.raise_signal(signal.SIGINT)
        return self._line


class Moment:
    """A signal from outside, after n fortieths of the time that a run takes."""

    def __init__(self, number, at):
        self.number, self.at, self.count = number, at, MOMENTS

    def install(self):
        """The signal comes from the process that forked."""


class Disk:
    """A file system of n pages, mounted where the run's folder is made; it grows before the run goes on."""

    def __init__(self, at):
        self.at, self.count = at, PAGES

    def install(self):
        """It is there already."""

    def mount(self, place, *more):
        """Mounts it, or, with ``remount``, makes it large."""
        size = f"size={PAGES * PAGE if 'remount' in more else self.at * PAGE}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join([*more, size]), "none", place], check=True)


DISTURBANCES = {
    **{how: lambda at, how=how: Operation(how, at) for how in ("error", "full", "kill", "interrupt")},
    "line-once": lambda at: Line(1, at),
    "line-twice": lambda at: Line(2, at),
    "moment-kill": lambda at: Moment(signal.SIGKILL, at),
    "moment-interrupt": lambda at: Moment(signal.SIGINT, at),
    "disk": Disk,
}
RIGHT = {
    "error": {0, 2},
    "full": {0, 2},
    "disk": {0, 2},
    "kill": {-signal.SIGKILL},
    "moment-kill": {0, -signal.SIGKILL},
}

# --- one of them, and the run that goes on ---


def forked(action, after=None, number=None):
    """The exit status of a process that does `action`, or minus the signal that ended it; and what it said.

    Given those, the process gets the signal `number` `after` so many seconds.
    """
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        with os.fdopen(write, "w") as said, contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            try:
                status = action(said) or 0
            except SystemExit as error:
                status = error.code
            except KeyboardInterrupt:
                status = 130
            except br.InvalidInput as error:
                said.write(str(error))
                status = 2
            except BaseException:
                said.write(traceback.format_exc())
                status = 3
            with contextlib.suppress(BaseException):
                said.flush()
            os._exit(status)
    os.close(write)
    if number is not None:
        time.sleep(after)
        os.kill(child, number)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said


def disturbed(run, folder, disturbance):
    """The action of a run with a disturbance; says how many places for it there were."""

    def action(said):
        disturbance.install()
        try:
            with contextlib.suppress(SystemExit if disturbance.at == 0 else ()):
                run(folder, False)
        finally:
            sys.settrace(None)
        if disturbance.at == 0:
            said.write(str(disturbance.count))

    return action


def undisturbed(run, folder, resume):
    """The action of a run to its end; says what it leaves."""

    def action(said):
        try:
            run(folder, resume)
        except SystemExit as error:
            if error.code:
                raise
        said.write(digest(folder))

    return action


def digest(folder):
    """Everything that a finished run leaves, but for times and the log."""
    model, tensors, metadata = load_all(folder)
    found = {"sha256": model.params.sha256(), "progress": metadata["progress"]}
    found |= {name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in tensors.items()}
    found["chain"] = metadata["chain"]
    if (folder / checkpoint.CERTIFICATE).exists():
        found["certificate"] = (folder / checkpoint.CERTIFICATE).read_text()
    for name in (history_file.HISTORY, "trace.bin", "trace.csv"):
        if (folder / name).exists():
            found[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    if (folder / "trace.bin").exists():
        found["epochs"] = open_trace(folder)["epoch"].tolist()
    if (folder / "trace.parquet").exists():
        from pyarrow import parquet

        table = parquet.read_table(folder / "trace.parquet", use_threads=False)
        found["parquet"] = hashlib.sha256(repr(table.to_pydict()).encode()).hexdigest()
    if (folder / "results.json").exists():
        results = json.loads((folder / "results.json").read_text())
        found["results"] = {name: results[name] for name in ("epochs", "best_epoch", "sha256", "test")}
    return json.dumps(found, sort_keys=True)


def judged(name, run, at, place, wanted, seconds):
    """Whether a run that is disturbed left something to resume, and what was wrong then, if anything was."""
    disturbance, folder = DISTURBANCES[name](at), place / "run"
    when = (seconds * at / MOMENTS, disturbance.number) if isinstance(disturbance, Moment) else ()
    if isinstance(disturbance, Disk):
        disturbance.mount(place)
    status, said = forked(disturbed(run, folder, disturbance), *when)
    if status not in RIGHT.get(name, {0, 130}) or len(said.splitlines()) > 1:
        return False, f"ended with {status}: {said}"
    if isinstance(disturbance, Disk):
        disturbance.mount(place, "remount")
    begun = (folder / checkpoint.CHECKPOINT).exists()
    if not begun and ("kill" in name or (status == 130 and name != "interrupt")):
        return False, "a history without a checkpoint" if (folder / history_file.HISTORY).exists() else None
    unfinished = begun and load_all(folder)[2]["progress"]["stopped"] != "epochs"
    status, said = forked(undisturbed(run, folder, begun))
    if status:
        return unfinished, f"{'resumed' if begun else 'run anew'}: {status}, {said}"
    found, wanted = json.loads(said), json.loads(wanted)
    others = [f"another {key}: {found.get(key)}" for key in wanted if found.get(key) != wanted[key]]
    if "kill" not in name:
        others += [f"left behind: {path}" for path in folder.rglob(".*")]
    return unfinished, "; ".join(others)


def main(name, run, folder, step=1):
    """Disturbs at each `step`-th place."""
    run, folder = RUNS[run], Path(folder)
    os.fsync = lambda file: None  # slow, and no power is cut here
    for place in ("loaded", "whole", "places"):
        (folder / place).mkdir()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        run(folder / "loaded" / "run", False)  # and so is all that is loaded when it is needed
    started = time.perf_counter()
    status, wanted = forked(undisturbed(run, folder / "whole" / "run", False))
    seconds = time.perf_counter() - started
    assert status == 0, wanted
    status, count = forked(disturbed(run, folder / "places" / "run", DISTURBANCES[name](0)))
    assert status == 0, count
    places, resumed, complaints = range(1, int(count) + 1, int(step)), 0, {}
    for at in places:
        place = folder / str(at)
        place.mkdir()
        unfinished, complaint = judged(name, run, at, place, wanted, seconds)
        resumed += unfinished
        if complaint:
            complaints[at] = complaint
        elif not place.is_mount():
            shutil.rmtree(place)
    progress = json.loads(wanted)["progress"]
    found = {"disturbed": len(places), "resumed": resumed, "complaints": complaints}
    print(json.dumps(found | {name: progress[name] for name in ("epoch", "best_epoch")}))


if __name__ == "__main__":
    main(*sys.argv[1:])
