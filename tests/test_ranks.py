"""One training in several processes: the bits of one, whatever their number; one that fails ends all."""

import contextlib
import os
import pickle
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import backprop_ref as br
from backprop_ref.errors import InvalidInput
from backprop_ref.ranks import launched
from backprop_ref.ranks.ranks import PIECE, Ranks
from backprop_ref.starting import SIZES
from backprop_ref.training import fit
from backprop_ref.training.ctrl_c import CtrlC, Interrupted
from backprop_ref.training.held_out import HeldOut

SHARDS, ROWS = 8, 61
SCRIPT = Path(__file__).with_name("ranks_script.py")


class Threads:
    """What of an MPI communicator is used, for ranks that are threads of this process."""

    def __init__(self, rank, size, boxes, barrier, aborted):
        self.rank, self.size, self.boxes, self.barrier, self.aborted = rank, size, boxes, barrier, aborted

    def Dup(self):
        return self

    def Free(self):
        pass

    def Abort(self, status):
        self.aborted.append((self.rank, status))
        self.barrier.abort()
        for other in range(self.size):
            if (self.rank, other) in self.boxes:
                self.boxes[self.rank, other].put(None)
        raise SystemExit(status)  # MPI's, too, does not come back, or this process ends at once

    def Isend(self, array, to):
        self.boxes[self.rank, to].put(array.copy())
        return SimpleNamespace(Wait=lambda: None)

    def Recv(self, array, source):
        sent = self.boxes[source, self.rank].get(timeout=60)
        if sent is None:
            raise RuntimeError(f"rank {source} has aborted")
        array[:] = sent

    def Bcast(self, array, root):
        array[:] = self.allgather(array.copy())[root]

    def bcast(self, value):
        found = self.allgather(value)[0]
        return value if self.rank == 0 else pickle.loads(pickle.dumps(found))

    def allgather(self, value):
        self.boxes[self.rank] = value
        self.barrier.wait(60)
        found = [self.boxes[rank] for rank in range(self.size)]
        self.barrier.wait(60)
        return found


def on_threads(size, function):
    """What ``function(comm)`` gives on each of so many ranks, or the error that it raises; and who aborted."""
    boxes = {(a, b): queue.Queue() for a in range(size) for b in range(size)}
    barrier, aborted, found = threading.Barrier(size), [], [None] * size

    def run(rank):
        try:
            found[rank] = function(Threads(rank, size, boxes, barrier, aborted))
        except BaseException as error:
            found[rank] = error

    ranks = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for each in ranks:
        each.start()
    for each in ranks:
        each.join()
    return found, aborted


def data(kind, dtype):
    """Network, parameters and data: classes, numbers, or labels."""
    stream = br.random.Stream(3, "data")
    x, t = stream.normal(ROWS * 5).reshape(ROWS, 5), stream.normal(ROWS * 3).reshape(ROWS, 3)
    y = {"classes": np.eye(3)[np.argmax(t, axis=1)], "numbers": t, "labels": (t > 0).astype(float)}[kind]
    output, loss = {"classes": ("softmax", "ce"), "numbers": ("linear", "mse"), "labels": ("sigmoid", "bce")}[kind]
    network = br.Network([5, 7, 3], ["tanh", output], loss)
    return network, network.init(seed=1, dtype=dtype), x, y


HOW = {
    "sgd": {"optimizer": br.SGD(0.1)},
    "adam, cosine, dropout": {"optimizer": br.Adam(0.01, clip_norm=0.5), "schedule": "cosine", "dropout": 0.2},
    "early stopping": {"optimizer": br.SGD(1.0, momentum=0.9, weight_decay=0.01), "patience": 2, "held out": True},
    "weights": {"optimizer": br.AdamW(0.01), "sample_weight": np.arange(ROWS) % 3 + 0.5},
}


def trained(kind, dtype, how, backend, numerics, comm=None, **more):
    """What training comes to, as bytes."""
    network, params, x, y = data(kind, dtype)
    how = dict(HOW[how])
    if how.pop("held out", False):
        how["validation"] = x[:20] + 0.1, y[:20]
    result = br.train(
        network, params, x, y, epochs=6, batch_size=18, shards=SHARDS, backend=backend, numerics=numerics, threads=1,
        comm=comm, **how, **more,
    )  # fmt: skip
    return result.params.sha256(), {name: column.tolist() for name, column in result.history.items()}


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(
    ("kind", "dtype", "backend", "numerics"),
    [
        ("classes", "float64", "numpy", "reproducible"),
        ("numbers", "float32", "numpy", "reproducible"),
        ("numbers", "float64", "numpy", "fast"),
        ("labels", "float32", "numpy", "fast"),
        pytest.param("classes", "float32", "numba", "reproducible", marks=pytest.mark.more),
        pytest.param("numbers", "float64", "numba", "reproducible", marks=pytest.mark.more),
        pytest.param("numbers", "float32", "numba", "fast", marks=pytest.mark.more),
    ],
)
def test_any_number_of_ranks_gives_the_bits_of_one_process(kind, dtype, backend, numerics, how):
    one = trained(kind, dtype, how, backend, numerics)
    for size in (2, 3) if backend == "numpy" and how != "sgd" else (2, 3, 4, 8):
        found, _ = on_threads(size, lambda comm: trained(kind, dtype, how, backend, numerics, comm))
        assert found == [one] * size, size


def test_checkpoints_that_are_due_while_ranks_validate_change_no_bit(tmp_path, monkeypatch):
    told, usual, calls = ("classes", "float64", "early stopping", "numpy", "reproducible"), HeldOut.evaluate, []
    one = trained(*told)

    def evaluate(*given):
        calls.append(given)
        assert len(calls) <= 6 * (2 + 3), "an epoch was trained again"
        return usual(*given)

    monkeypatch.setattr(fit, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(HeldOut, "evaluate", evaluate)
    for size in (2, 3):
        found, _ = on_threads(size, lambda comm: trained(*told, comm, run_dir=tmp_path / f"run-{comm.size}"))
        assert found == [one] * size


@pytest.mark.parametrize("backend", ["python", pytest.param("numba", marks=pytest.mark.more)])
def test_residuals_go_shard_by_shard_on_every_backend(backend):
    how = ("numbers", "float64", "sgd")
    assert trained(*how, backend, "reproducible") == trained(*how, "numpy", "reproducible")


@pytest.mark.parametrize("n", [1, PIECE - 1, 2 * PIECE + 7])
def test_sums_are_in_the_order_of_the_shards(n):
    rows = br.random.Stream(1, "data").normal(SHARDS * n).reshape(SHARDS, n) * 10.0 ** np.arange(SHARDS)[:, None]
    expected = rows[0].copy()
    for row in rows[1:]:
        expected += row

    def summed(comm):
        ranks = Ranks(comm, SHARDS)
        own = ranks.own(rows)
        assert len(own) == ranks.most
        return ranks.sum(np.array(own), np.ones((len(own), 1)))

    for size in (2, 3, 8):
        for total, count in on_threads(size, summed)[0]:
            assert total.tobytes() == expected.tobytes() and count == [SHARDS]


def test_ctrl_c_on_one_rank_stops_all_at_the_same_sum():
    def stopped(comm):
        ranks, ranks.ctrl_c = Ranks(comm, SHARDS), CtrlC()
        done = 0
        try:
            for done in range(5):
                ranks.ctrl_c.pressed = comm.rank == 1 and done == 2
                ranks.sum(np.zeros((ranks.most, 3)), np.zeros((ranks.most, 0)))
        except Interrupted:
            return done
        return None

    assert on_threads(3, stopped)[0] == [2, 2, 2]


def test_rank_0_decides_for_all_and_what_it_raises_all_raise(tmp_path):
    def callback(comm):
        return lambda epoch: epoch.epoch == 3 if comm.rank == 0 else pytest.fail("called on another rank")

    def run(comm):
        return len(trained("numbers", "float64", "sgd", "numpy", "fast", comm, callback=callback(comm))[1]["loss"])

    assert on_threads(3, run)[0] == [3, 3, 3]
    (tmp_path / "file").write_text("")
    found, aborted = on_threads(
        2, lambda comm: trained("numbers", "float64", "sgd", "numpy", "fast", comm, run_dir=tmp_path / "file" / "run")
    )
    assert not aborted and all(isinstance(each, InvalidInput) and "cannot be created" in str(each) for each in found)


def test_a_rank_that_fails_ends_all(capsys):
    class Broken(br.random.Stream):
        def permutations(self, count, n):
            raise RuntimeError("no more orders")

    def run(comm):
        stream = Broken if comm.rank == 1 else br.random.Stream
        return trained("numbers", "float64", "sgd", "numpy", "fast", comm, shuffle=stream(1, "shuffle"))

    found, aborted = on_threads(2, run)
    assert aborted[0] == (1, 1) and isinstance(found[1], SystemExit)
    assert "error: rank 1 of 2 ended, and so all do: RuntimeError: no more orders" in capsys.readouterr().err


def test_what_does_not_fit_is_refused_on_every_rank():
    network, params, x, y = data("numbers", "float64")

    def refused(size, **how):
        found, aborted = on_threads(size, lambda comm: br.train(network, params, x, y, comm=comm, **how))
        assert not aborted and all(isinstance(each, InvalidInput) for each in found)
        return str(found[-1])

    assert "shards=2 on 3 processes" in refused(3, shards=2)
    assert "LBFGS trains in one process" in refused(2, shards=2, optimizer=br.LBFGS(), batch_size=None)
    found, _ = on_threads(2, lambda comm: br.train(network, network.init(comm.rank), x, y, shards=2, comm=comm))
    assert all("params: rank 1 has" in str(each) for each in found)
    with pytest.raises(InvalidInput, match="comm is a int: a communicator of mpi4py"):
        br.train(network, params, x, y, comm=2)


def test_a_launch_without_mpi_is_said_in_a_line(monkeypatch):
    for name in SIZES:
        monkeypatch.delenv(name, raising=False)
    assert launched.world() is None and "mpi4py" not in sys.modules
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(InvalidInput, match=r"pip install 'backprop-ref\[mpi\]'"):
        launched.world()


# with real processes


def mpiexec():
    pytest.importorskip("mpi4py", reason="extra mpi: pip install 'backprop-ref[mpi]'", exc_type=ImportError)
    found = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    return found or pytest.skip("no mpiexec")


def launch(size, *arguments, cwd, sent=None, number=signal.SIGINT, seconds=100):
    """Runs Python in so many processes; status and both outputs. `sent`, a line after which Ctrl-C is pressed, or
    another signal is sent to the launcher."""
    command = [mpiexec(), "-n", str(size), sys.executable, *map(str, arguments)]
    # a session of its own, as Ctrl-C may be ignored in this one
    process = subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )  # fmt: skip
    try:
        text = ""
        while sent is not None and sent not in text:
            line = process.stdout.readline()
            assert line, text
            text += line
        if sent is not None:
            process.send_signal(number)
        text += process.communicate(timeout=seconds)[0]
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return process.returncode, text


def hashes(text):
    return sorted({line for line in text.splitlines() if line.startswith("sha256")})


@pytest.mark.more
@pytest.mark.parametrize("size", [2, 3])
def test_processes_of_mpi_give_the_bits_of_one(size, tmp_path):
    one = subprocess.run([sys.executable, SCRIPT, "all"], cwd=tmp_path, capture_output=True, text=True, check=True)
    status, text = launch(size, SCRIPT, "all", cwd=tmp_path)
    assert status == 0 and len(hashes(one.stdout)) > 1 and hashes(text) == hashes(one.stdout)


@pytest.mark.more
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(
    ("how", "said"), [("raise", "broken"), ("exit", "SystemExit: 0"), ("kill", "Killed"), ("leave", "")]
)
def test_a_process_that_dies_ends_all_and_the_run_goes_on_to_the_same_bits(how, said, rank, tmp_path):
    subprocess.run([sys.executable, SCRIPT, "run", "whole"], cwd=tmp_path, check=True)
    status, text = launch(2, SCRIPT, "run", "broken", how, rank, cwd=tmp_path)
    assert "reached the end" not in text and said in text
    assert status != 0 or how == "leave"  # of one that leaves by os._exit(0), MPICH says nothing: it has no result
    status, text = launch(3, SCRIPT, "resume", "broken", cwd=tmp_path)
    assert status == 0, text
    assert (tmp_path / "broken/history.csv").read_bytes() == (tmp_path / "whole/history.csv").read_bytes()
    reached = (br.load(tmp_path / name / "checkpoint.safetensors").params.sha256() for name in ("broken", "whole"))
    assert next(reached) == next(reached)


@pytest.mark.more
def test_the_command_line_in_several_processes(tmp_path):
    asked = ("train", "iris", "--epochs", "30", "--shards", "3", "--backend", "numpy", "--numerics", "reproducible")
    asked = ("-m", "backprop_ref", *asked, "--trace", "binary", "--json", "--run-dir")
    subprocess.run([sys.executable, *asked, "one"], cwd=tmp_path, check=True, capture_output=True)
    status, text = launch(2, *asked, "two", cwd=tmp_path)
    assert status == 0 and text.count('"sha256"') == 1
    one, two = (br.load(tmp_path / name / "checkpoint.safetensors").params.sha256() for name in ("one", "two"))
    assert one == two and one in (tmp_path / "two/results.json").read_text()
    certificates = [(tmp_path / name / "certificate.json").read_bytes() for name in ("one", "two")]
    assert certificates[0] == certificates[1]
    reproduce = [sys.executable, "-m", "backprop_ref", "reproduce", "two", "--backend", "numba"]
    said = subprocess.run(reproduce, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert said.returncode == 0 and "IDENTICAL" in said.stdout
    status, text = launch(2, *asked, "two", cwd=tmp_path)
    assert status != 0 and "give a new folder" in text
    status, text = launch(2, "-m", "backprop_ref", "train", "iris", cwd=tmp_path)
    assert status != 0 and "shards=1 on 2 processes" in text


@pytest.mark.more
@pytest.mark.parametrize(
    ("asked", "said", "expected"),
    [
        ("--nosuch", "No such option", 2),
        ("--epochs x", "a whole number is needed", 2),
        ("--optimizer adamw --l2 0.1", "decoupled weight decay", 2),  # where each looks at its data
        ("--shards 1", "shards=1 on 2 processes", 2),  # in br.train
        ("--run-dir file/run", "cannot be made", 2),  # on rank 0 alone
        ("--optimizer sgd --learning-rate 1e300 --normalize none", "training diverged in epoch 1", 1),
    ],
)
def test_a_mistake_is_said_once_as_in_one_process(asked, said, expected, tmp_path):
    (tmp_path / "file").write_text("")
    status, text = launch(2, "-m", "backprop_ref", "train", "iris", "--shards", 2, *asked.split(), cwd=tmp_path)
    (line,) = text.splitlines()
    assert status == expected and line.startswith("error: ") and said in line


@pytest.mark.more
@pytest.mark.parametrize("wrong", [0, 1])
def test_a_mistake_that_one_process_makes_ends_the_others(wrong, tmp_path):
    ranks = [["-m", "backprop_ref", "train", "iris", "--shards", 2] for _ in range(2)]
    ranks[wrong][3] = "nosuch"
    status, text = launch(1, *ranks[0], ":", "-n", 1, sys.executable, *ranks[1], cwd=tmp_path)
    assert status == 2 and f"error: rank {wrong} of 2 ended, and so all do: unknown data set 'nosuch'" in text
    assert text.count("error:") == 1


@pytest.mark.more
def test_output_that_nobody_reads_any_more_ends_all(tmp_path):
    (tmp_path / "t.csv").write_text("a,b,c\n" + "".join(f"{i % 7},{i % 5},{'xyz'[i % 3]}\n" for i in range(99)))
    (tmp_path / "piped.py").write_text(
        "import os, sys\nread, write = os.pipe()\nos.dup2(write, 1)\nos.close(read)\nos.close(write)\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'backprop_ref', *sys.argv[1:]])\n"
    )
    asked = ("train", "t.csv", "--shards", 2, "--backend", "numpy", "--run-dir", "run")
    status, text = launch(2, "piped.py", *asked, cwd=tmp_path, seconds=20)
    assert status == 2 and text.startswith("error: rank 0 of 2 ended, and so all do: standard output: nobody reads")
    assert not (tmp_path / "run").exists()


PRESSED = """
import importlib.abc, os, signal, subprocess, sys, time
import backprop_ref

moment, pressed = sys.argv.pop(1), int(os.environ["PMI_RANK"]) == int(sys.argv.pop(1))

class OfMPI(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "mpi4py.MPI" and pressed:
            subprocess.Popen(["sh", "-c", f"sleep 0.7; kill -INT {os.getpid()}"])
        elif name == "mpi4py.MPI":
            time.sleep(2.0)

if moment == "before":
    if pressed:
        os.kill(os.getpid(), signal.SIGINT)
else:
    sys.meta_path.insert(0, OfMPI())
from backprop_ref.cli import main
main()
"""
"""The command line, with Ctrl-C on one rank before it starts MPI, or while it does."""


@pytest.mark.more
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("moment", ["before", "while"])
def test_ctrl_c_before_mpi_has_started_on_all_processes_ends_them_all(moment, rank, tmp_path):
    (tmp_path / "backprop-ref.py").write_text(PRESSED)
    asked = ("train", "iris", "--shards", 2, "--backend", "numpy", "--run-dir", tmp_path / "run")
    status, text = launch(2, "backprop-ref.py", moment, rank, *asked, cwd=tmp_path, seconds=20)
    assert status == 130 and text.startswith(f"error: rank {rank} of 2 ended, and so all do: interrupted\n")
    assert text.count("interrupted") == 1 and "Traceback" not in text
    assert not (tmp_path / "run").exists()
    check_gone(tmp_path / "run")


@pytest.mark.more
def test_ctrl_c_stops_all_processes_after_the_same_epoch(tmp_path):
    status, text = launch(2, SCRIPT, "long", "run", cwd=tmp_path, sent="trains\n")
    assert status == 0, text
    assert len({line for line in text.splitlines() if line.startswith("interrupted")}) == 1


def running(folder):
    """Processes whose command line names a folder, and that have not ended."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
            if str(folder).encode() in (process / "cmdline").read_bytes() and state not in "ZX":
                found.append(process.name)
    return found


def check_gone(folder):
    """Within five seconds there is none of them."""
    until = time.monotonic() + 5.0
    while running(folder):
        assert time.monotonic() < until, running(folder)
        time.sleep(0.05)


@pytest.mark.more
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_launch_that_is_ended_leaves_no_process_and_goes_on_to_the_same_bits(tmp_path, number):
    """SIGTERM, which launchers hand on, saves first; after the others the last checkpoint is there."""
    subprocess.run([sys.executable, SCRIPT, "run", "whole"], cwd=tmp_path, check=True)
    folder = tmp_path / "stopped"
    status, text = launch(2, SCRIPT, "slow", folder, cwd=tmp_path, sent="trains\n", number=number)
    assert status != 0 and "reached the end" not in text
    check_gone(folder)
    state = br.load_state(folder)
    assert state.stopped == ("interrupted" if number == signal.SIGTERM else None)
    status, text = launch(3, SCRIPT, "resume", folder, cwd=tmp_path)
    assert status == 0, text
    assert br.load(folder).params.sha256() == br.load(tmp_path / "whole").params.sha256()
    for name in ("history.csv", "certificate.json"):
        assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
