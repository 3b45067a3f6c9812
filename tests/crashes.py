"""Runs and sweeps that are stopped by signals at random moments, gone on with, and compared with undisturbed ones.

A program: ``python crashes.py STOPS SWEEP_STOPS FOLDER [SEED [SIGNAL]]`` prints as JSON how many stops of each signal
there were, how many ended otherwise than they should, and what was lost. Runs are forked, as in `faults`; sweeps, and
as many runs on several ranks, where MPI is installed, are processes of their own, with others beneath them.

A launch that has not ended after `PATIENCE` seconds is wrong, and is ended; so is the one under way where this program
is ended.

``python crashes.py 60 0 FOLDER 1 SIGKILL`` measures how many seconds of training SIGKILL takes.
"""

import io
import json
import mmap
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
from contextlib import contextmanager, redirect_stdout, suppress
from importlib.util import find_spec
from pathlib import Path

from faults import KINDS, digest, forked
from test_workers import session

from backprop_ref import cli
from backprop_ref.training import fit
from backprop_ref.training.checkpoint import CHECKPOINT

SIGNALS = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STATUS = {signal.SIGKILL: {-9, 0}, signal.SIGINT: {130, 0}, signal.SIGTERM: {-15, 0}, signal.SIGHUP: {-1, 0}}
SINKS = f"--trace {','.join(KINDS)} --trace-samples 0,3"
CONFIGURATIONS = {
    "numba": f"xor --backend numba --numerics reproducible --epochs 60000 {SINKS} --trace-every 500",
    "dropout": f"iris --backend numpy --hidden 6,5 --dropout 0.2,0.3 --optimizer adam --epochs 120 {SINKS}",
    "validation": f"iris --backend numpy --optimizer sgd --momentum 0.9 --validation-size 0.2 --patience 500 "
    f"--epochs 250 {SINKS}",
    "logged": f"xor --backend numpy --numerics reproducible --log-level DEBUG --epochs 900 {SINKS} --trace-every 7",
    "float32": f"regression --n-samples 90 --backend numpy --dtype float32 --optimizer adamw --epochs 400 {SINKS}",
    "chain": "xor --backend numba --numerics reproducible --epochs 400000",
    "long epochs": "iris --backend python --numerics reproducible --hidden 40,40 --batch-size 1 --dropout 0.1 "
    f"--optimizer adam --epochs 4 {SINKS}",
    "shards": f"iris --backend numba --shards 3 --optimizer rmsprop --epochs 3000 {SINKS} --trace-every 100",
}
RANKS = f"iris --backend numpy --numerics reproducible --shards 4 --dropout 0.1 --epochs 250 {SINKS} --trace-every 10"
SWEEP = "--dataset xor --backend numpy --seeds 1-3 --learning-rates 0.1,0.5 --epochs 6000 --workers 2"
PATIENCE = 120.0
"""Seconds in which a launch has to end, on a machine that has much else to do."""


class Watched:
    """What a run last recorded and saved, in memory that outlives it: epochs, dropped epochs, when it was saved."""

    def __init__(self):
        self._shared = mmap.mmap(-1, 24)

    def install(self):
        """Stands in the way of a `Run` for the rest of the process."""
        trained, save, started = fit.Run._trained, fit.Run.save, []

        def looked_at(run, rates, *arguments):
            if not started:  # what came before, such as compiling, is no training
                started.append(self.put(saved=time.monotonic()))
            try:
                return trained(run, rates, *arguments)
            except fit.Interrupted:
                self.put(dropped=len(rates) - (run.state.begun is not None or len(rates) == 1))
                raise

        def timed(run):
            started = time.monotonic()
            save(run)
            self.put(saved=started)

        fit.Run._trained, fit.Run.save = looked_at, timed

    def put(self, dropped=None, saved=None):
        """Notes one of them."""
        before = self.get()
        values = [old if new is None else new for old, new in zip(before, (dropped, saved), strict=True)]
        self._shared[:16] = struct.pack("dd", *values)

    def get(self):
        """Both of them."""
        return struct.unpack("dd", self._shared[:16])


def command(arguments, watched=None):
    """The action of a command in a forked process, with what it left if it came to its end."""

    def action(said):
        if watched is not None:
            watched.install()
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with redirect_stdout(io.StringIO()):
            return cli.run(arguments)

    return action


def stopped_runs(stops, folder, chance, signals):
    """Stops runs, each again and again until it is at its end."""
    found = {"stops": {}, "wrong": [], "dropped": 0, "lost": []}
    if not stops:
        return found
    wanted, seconds = {}, {}
    for name, line in CONFIGURATIONS.items():
        place, started = folder / f"whole-{name}" / "run", time.monotonic()
        assert forked(command(["train", *line.split(), "--run-dir", str(place)])) == (0, "")
        seconds[name], wanted[name] = time.monotonic() - started, digest(place)
    done = run = 0
    while done < stops:
        name = list(CONFIGURATIONS)[run % len(CONFIGURATIONS)]
        place, arguments = folder / f"{run}-{name}" / "run", ["train", *CONFIGURATIONS[name].split()]
        run += 1
        resume = False
        for attempt in range(40):
            number = chance.choice(signals) if attempt < 6 else None
            how = ["train", "--resume", str(place)] if resume else [*arguments, "--run-dir", str(place)]
            watched = Watched()
            after = chance.uniform(0.0, 0.6 * seconds[name])
            status, said = forked(command(how, watched), after, number) if number else forked(command(how, watched))
            if number is None or status == 0:
                if status or digest(place) != wanted[name]:
                    found["wrong"].append(f"{place}: {status} {said}")
                break
            killed = time.monotonic()
            done += 1
            found["stops"][number.name] = found["stops"].get(number.name, 0) + 1
            dropped, saved = watched.get()
            if status not in STATUS[number] or len(said.splitlines()) > 1:
                found["wrong"].append(f"{place}: {number.name} ended with {status} {said}")
            if number == signal.SIGKILL and saved:
                found["lost"].append(round(killed - saved, 2))
            found["dropped"] += int(dropped)
            if done % 20 == 0:
                print(json.dumps(found), file=sys.stderr, flush=True)
            if not (place / CHECKPOINT).exists():
                subprocess.run(["rm", "-rf", place], check=True)
            resume = (place / CHECKPOINT).exists()
    return found


def beneath(place):
    """Processes that have not ended and whose command line names a folder."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (process / "cmdline").read_bytes()
            if (
                str(place).encode() in words
                and (process / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
            ):
                found[int(process.name)] = words
    return found


@contextmanager
def launched(program, place):
    """A process in a session of its own; behind, neither it nor any that names the folder is left."""
    process = subprocess.Popen(program, start_new_session=True, stdout=-3, stderr=-3)
    try:
        yield process
    finally:
        left = {process.pid, *session(process.pid)} if process.poll() is None else set()
        for each in left | set(beneath(place)):
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        process.wait()


def ended(process):
    """The status of a process; None if it has not ended in time."""
    with suppress(subprocess.TimeoutExpired):
        return process.wait(PATIENCE)


def stopped_ranks(stops, folder, chance):
    """Stops runs on several ranks, the launcher or one of the ranks, and goes on with another number of them."""
    mpiexec = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    found = {"stops": {}, "wrong": [], "left": 0}
    if mpiexec is None or find_spec("mpi4py") is None:
        return "no MPI"
    assert forked(command(["train", *RANKS.split(), "--run-dir", str(folder / "one" / "run")])) == (0, "")
    wanted, place, seconds = json.loads(digest(folder / "one" / "run")), None, None
    for stop in range(stops + 1):
        new = place is None
        place = place or folder / f"ranks-{stop}" / "run"
        how = [*RANKS.split(), "--run-dir", place] if new else ["--resume", place]
        program = [mpiexec, "-n", str(chance.choice((2, 3, 4))), sys.executable, "-m", "backprop_ref", "train", *how]
        started, status, number = time.monotonic(), 0, None
        with launched(program, place) as process:
            if stop < stops and seconds is not None and chance.random() < 0.8:
                time.sleep(chance.uniform(0.1, 0.9) * seconds)
                number, ranks = chance.choice(SIGNALS), [each for each in beneath(place) if each != process.pid]
                of_a_rank = number == signal.SIGKILL and ranks and chance.random() < 0.5
                with suppress(ProcessLookupError):
                    os.kill(chance.choice(ranks) if of_a_rank else process.pid, number)
                name = f"{number.name}{' of a rank' if of_a_rank else ''}"
                found["stops"][name] = found["stops"].get(name, 0) + 1
                time.sleep(5.0)
                found["left"] += len(beneath(place))
            status = ended(process)
        if status is None:
            found["wrong"].append(f"{place}: {number and number.name} did not end")
        if number is not None:
            place = place if (place / CHECKPOINT).exists() else None
        elif status or json.loads(digest(place)) != wanted or list(place.rglob(".*")):
            found["wrong"].append(str(place))
        else:
            place, seconds = None, seconds or time.monotonic() - started
    return found


def stopped_sweeps(stops, folder, chance):
    """Stops sweeps; after five seconds nothing of them may be there."""
    program = [sys.executable, "-m", "backprop_ref", "sweep"]
    found = {"stops": {}, "wrong": [], "left": 0}

    def rows(place):
        return sorted((row["seed"], row["learning_rate"], row["sha256"]) for row in json.loads(place.read_text()))

    started = time.monotonic()
    subprocess.run([*program, *SWEEP.split(), "--out", folder / "whole"], check=True, capture_output=True)
    seconds = time.monotonic() - started
    wanted = rows(folder / "whole/table.json")
    place = number = None
    for _ in range(stops):
        number = chance.choice(SIGNALS)
        how = ["--resume", place] if place else [*SWEEP.split(), "--out", folder / f"{time.monotonic_ns()}"]
        place = place or Path(how[-1])
        with launched([*program, *how], place) as process:
            time.sleep(chance.uniform(0.1, 0.9) * seconds)
            process.send_signal(number)
            found["stops"][number.name] = found["stops"].get(number.name, 0) + 1
            time.sleep(5.0)
            found["left"] += len(session(process.pid)) * (number != signal.SIGINT)
            if ended(process) is None:
                found["wrong"].append(f"{place}: {number.name} did not end")
        place = place if (place / "sweep.json").exists() else None
        if place and chance.random() < 0.3:
            subprocess.run([*program, "--resume", place], check=True, capture_output=True)
            if rows(place / "table.json") != wanted or list(place.rglob(".*")):
                found["wrong"].append(str(place))
            place = None
    return found


def main(stops, sweep_stops, folder, seed="1", *signals):
    """The campaign."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored in the background
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    folder, chance = Path(folder), random.Random(int(seed))
    found = {
        "runs": stopped_runs(int(stops), folder, chance, [signal.Signals[name] for name in signals] or SIGNALS),
        "ranks": stopped_ranks(int(sweep_stops), folder, chance) if int(sweep_stops) else None,
        "sweeps": stopped_sweeps(int(sweep_stops), folder, chance) if int(sweep_stops) else None,
    }
    lost = found["runs"].pop("lost")
    found["runs"]["lost_s_at_SIGKILL"] = {"most": max(lost, default=0), "over 1 s": sum(each > 1.0 for each in lost)}
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
