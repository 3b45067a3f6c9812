"""Whole training steps of what people would use instead, on the same tasks; those not installed are skipped by name."""

import beginner
import peers
import pytest

from backprop_ref.benchmarks.contestants import Limit
from backprop_ref.benchmarks.ladder import LEARNING_RATE

SLOW_TO_COMPILE = {"torch.compile"}


@pytest.mark.parametrize("peer", peers.PEERS)
def bench_step_of_peer(benchmark, request, timed, admitted, rung, dtype, peer):
    if peer in SLOW_TO_COMPILE and request.config.getoption("benchmark_disable"):
        pytest.skip("timed runs only: compiling takes long")
    contestant = admitted(peers.makers()[peer], benchmark)
    benchmark.group = f"step {rung} {dtype}"
    notes = {"peer": peer, "extra": contestant.extra, "steps": contestant.steps, "rung": rung, "dtype": dtype}
    timed(contestant.run, backend=None, setup=lambda: restarted(contestant), scope=contestant.scope, **notes)


@pytest.mark.parametrize("limit", ["products", "update"])
def bench_limit(benchmark, timed, task, rung, dtype, limit):
    contestant = Limit(task, limit)
    benchmark.group = f"step {rung} {dtype}"
    timed(contestant.run, 1, scope=contestant.scope, limit=limit, steps=contestant.steps, rung=rung, dtype=dtype)


@pytest.mark.parametrize("who", ["Numba", "beginner"])
def bench_online_xor(benchmark, who):
    """2,000 epochs, one sample at a time, against a program of objects and loops."""
    beginner.check(50)
    train, epochs = {"Numba": beginner.train_ours, "beginner": beginner.train_theirs}[who], 2000
    benchmark.group = "online XOR"
    benchmark.pedantic(train, (epochs,), rounds=3)


def restarted(contestant):
    contestant.restart(LEARNING_RATE)
    return (1,)
