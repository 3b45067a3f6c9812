"""How training scales over processes: what is measured here, and a model of what more machines would give.

    python bench/scaling.py --measure          # speed of 2 ranks, chain against Allreduce, and the model's constants
    python bench/scaling.py                    # strong and weak scaling to 64 ranks, from constants that stand here

A step of S shards on P ranks takes

    rows/P · flops of a row/rate + S/P · (shard + gradient/adding) + update + chain,

and the chain, pieces of 64 k entries that go up through the ranks and come down again, which for two is at once:

    chain = (pieces + P − 2)·(latency + piece/bandwidth + piece/adding), twice for more than two.

`--measure` finds rate and update by the steps of one rank at several batches, latency, bandwidth and adding by
themselves, and holds the model to the steps of two ranks, of which it has seen none.
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from backprop_ref.ranks.ranks import PIECE

SIZES, BATCH = (784, 2048, 2048, 10), 4096
BATCHES, MESSAGES = (256, 1024, 4096), 20
PARAMETERS = sum((n_in + 1) * n_out for n_in, n_out in pairwise(SIZES))
FLOPS_PER_ROW = 6 * PARAMETERS
"""A product forward, two backward, each of a multiplication and an addition."""


class Machine(NamedTuple):
    """What a rank does in a second, as `--measure` finds it."""

    flops: float = 5.0e10
    """Floating-point operations of passes."""
    shard: float = 1e-3
    """Seconds that a shard takes besides."""
    update: float = 1.5e-9
    """Seconds for each parameter: the optimizer, and copies."""
    adding: float = 3e9
    """Bytes of a running sum."""


class Network(NamedTuple):
    name: str
    latency: float
    """Seconds."""
    bandwidth: float
    """Bytes a second."""


NETWORKS = (
    Network("10 Gb/s", 30e-6, 10e9 / 8 * 0.9),
    Network("100 Gb/s", 3e-6, 100e9 / 8 * 0.9),
)


def chain_seconds(machine, network, ranks, parameters=PARAMETERS):
    """Of the chain."""
    if ranks == 1:
        return 0.0
    size, pieces = 4 * parameters, math.ceil(parameters / PIECE)
    piece = min(size, 4 * PIECE)
    hop = network.latency + piece / network.bandwidth + piece / machine.adding
    return (pieces + ranks - 2) * hop * (1 if ranks == 2 else 2)


def step_seconds(machine, network, ranks, batch=BATCH, parameters=PARAMETERS, shards=None):
    """Of a step with a shard for each rank, or so many shards."""
    own = (shards or ranks) / ranks
    passes = batch / ranks * 6 * parameters / machine.flops
    rows = own * (machine.shard + (4 * parameters / machine.adding if shards != 1 else 0.0))
    return passes + rows + parameters * machine.update + chain_seconds(machine, network, ranks, parameters)


def tables(machine):
    """Strong scaling by batch, and weak scaling, as text."""
    counts = (1, 2, 4, 8, 16, 32, 64, 128, 256)
    for network in NETWORKS:
        print(f"\n{network.name}: how many times as fast as one rank, {'-'.join(map(str, SIZES))}, float32")
        print("batch    " + "".join(f"{count:>8}" for count in counts))
        for batch in (64, 256, 1024, 4096, 16384, 65536):
            alone = step_seconds(machine, network, 1, batch)
            gains = [alone / step_seconds(machine, network, count, batch) for count in counts if count <= batch]
            print(f"{batch:<9}" + "".join(f"{gain:>8.2f}" for gain in gains))
        alone = step_seconds(machine, network, 1, BATCH)
        share = [alone / step_seconds(machine, network, count, BATCH * count) for count in counts]
        print(f"{f'{BATCH}·P':<9}" + "".join(f"{each:>8.2f}" for each in share) + "   of each rank's speed (weak)")


# what ranks are asked for


def train(shards, comm=None, steps=2, network=SIZES, batch=BATCH):
    """Seconds of a step with numba's trainer in one thread, float32, fast numerics; and the hash."""
    import backprop_ref as br

    stream = np.random.default_rng(1)
    x, y = stream.random((batch, network[0]), np.float32), np.eye(network[-1], dtype=np.float32)
    y = y[stream.integers(0, network[-1], batch)]
    net = br.Network(list(network), ["relu"] * (len(network) - 2) + ["softmax"], "cross_entropy")
    times = []

    def watch(epoch):
        times.append(time.perf_counter())

    how = {"epochs": steps + 1, "batch_size": batch, "shards": shards, "optimizer": br.SGD(0.01), "shuffle": False}
    where = {"backend": "numba", "numerics": "fast", "threads": 1, "comm": comm}
    result = br.train(net, net.init(dtype="float32"), x, y, callback=watch, **how, **where)
    return (times[-1] - times[0]) / steps if times else 0.0, result.params.sha256()  # rank 0 has the callback


def reductions(comm, rounds=15):
    """Seconds of the chain and of Allreduce, alternating; of a message of 8 bytes, and of a piece, one way; and of a
    piece that is added. The least of all rounds, but for the first two, which are compared: medians."""
    from mpi4py import MPI

    from backprop_ref.ranks.ranks import Ranks

    rows, ranks = np.ones((1, PARAMETERS), np.float32), Ranks(comm, comm.size)
    out, into = np.ones_like(rows[0]), np.ones_like(rows[0])
    little, piece, other = np.zeros(1), np.ones(PIECE, np.float32), np.ones(PIECE, np.float32)

    def there_and_back(array):
        for _ in range(MESSAGES):
            if comm.rank == 0:
                comm.Send(array, 1)
                comm.Recv(array, 1)
            else:
                comm.Recv(array, 0)
                comm.Send(array, 0)

    def add():
        for _ in range(2 * MESSAGES):
            np.add(piece, other, out=piece)

    tried = {
        "chain": lambda: ranks.sum(rows, np.zeros((1, 1)), out),
        "allreduce": lambda: comm.Allreduce(rows[0], into, MPI.SUM),
        "little": lambda: there_and_back(little),
        "piece": lambda: there_and_back(piece),
        "added": add,
    }
    found = {name: [] for name in tried}
    for _ in range(rounds):
        for name, function in tried.items():
            comm.Barrier()
            started = time.perf_counter()
            function()
            comm.Barrier()
            found[name].append(time.perf_counter() - started)
    compared = {name: float(np.median(found[name])) for name in ("chain", "allreduce")}
    return compared | {name: min(found[name]) / (2 * MESSAGES) for name in ("little", "piece", "added")}


def rank(what):
    """One rank, started by `measure`; rank 0 prints what was found."""
    comm = None
    if os.environ.get("PMI_SIZE", "1") != "1":
        from mpi4py import MPI

        comm = MPI.COMM_WORLD
    found = reductions(comm) if what == "reduce" else {batch: train(2, comm, batch=batch) for batch in BATCHES}
    if comm is None or comm.rank == 0:
        print(json.dumps(found), flush=True)


def started(ranks, what):
    """What so many ranks find."""
    mpiexec = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if mpiexec is None:
        sys.exit("error: no mpiexec here: pip install mpi4py mpich, or load a module of MPI")
    launch = [] if ranks == 1 else [mpiexec, "-n", str(ranks)]
    command = [*launch, sys.executable, __file__, "--rank", what]
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        sys.exit(f"error: {' '.join(command)}: {error.stderr.strip().splitlines()[-1:]}")
    return json.loads(done.stdout)


def measure(rounds):
    """One and two ranks, alternating; the chain against Allreduce; the constants, and what the model says of both."""
    least, hashes = {1: dict.fromkeys(BATCHES, math.inf), 2: dict.fromkeys(BATCHES, math.inf)}, {}
    for number in range(rounds):
        for ranks in (1, 2):
            for batch, (taken, sha256) in started(ranks, "train").items():
                least[ranks][int(batch)] = min(least[ranks][int(batch)], taken)
                hashes.setdefault(batch, set()).add(sha256)
        print(f"round {number + 1} of {rounds}", flush=True)
    same = all(len(each) == 1 for each in hashes.values())
    found = started(2, "reduce")
    share = found["chain"] / found["allreduce"]
    print(f"hashes of 1 and 2 ranks: {'the same' if same else 'ANOTHER'}")
    print(f"chain {found['chain'] * 1e3:.1f} ms, Allreduce {found['allreduce'] * 1e3:.1f} ms: {share:.2f} times")
    adding = 4 * PIECE / found["added"]
    slope, fixed = np.polyfit(BATCHES, [least[1][batch] for batch in BATCHES], 1, w=[1 / each for each in BATCHES])
    update = (fixed - 2 * 4 * PARAMETERS / adding) / PARAMETERS
    machine = Machine(6 * PARAMETERS / slope, 0.0, max(0.0, update), adding)
    memory = Network("memory", found["little"], 4 * PIECE / max(found["piece"] - found["little"], 1e-9))
    print(
        f"a rank: {machine.flops / 1e9:.0f} Gflop/s, {machine.update * 1e9:.2f} ns a parameter and step, "
        f"{adding / 1e9:.1f} GB/s added; messages: {memory.latency * 1e6:.1f} µs, {memory.bandwidth / 1e9:.1f} GB/s"
    )
    said = chain_seconds(machine, memory, 2)
    print(f"chain by the model {said * 1e3:.1f} ms: {said / found['chain']:.2f} of what it takes")
    print("batch     1 rank   model   2 ranks   model   times as fast   model")
    for batch in BATCHES:
        model = [step_seconds(machine, memory, ranks, batch, shards=2) for ranks in (1, 2)]
        one, two = least[1][batch], least[2][batch]
        seconds = f"{one:>9.4f}{model[0]:>8.4f}{two:>10.4f}{model[1]:>8.4f}"
        print(f"{batch:<7}{seconds}{one / two:>16.2f}{model[0] / model[1]:>8.2f}")
    return machine


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--measure", action="store_true")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--rank", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.rank:
        rank(given.rank)
        return
    tables(measure(given.rounds) if given.measure else Machine())


if __name__ == "__main__":
    main()
