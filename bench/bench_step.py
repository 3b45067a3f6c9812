"""Whole training steps: a round is an epoch, from the initial parameters, of everything that `OnBackend` says.

On the clock: gathering rows, both passes, loss and measures, the update. Off it: drawing the order of the samples, the
parameters' return to where they started, compiling (in `bench_start.py`).
"""

import pytest

from backprop_ref.benchmarks.contestants import OnBackend
from backprop_ref.benchmarks.ladder import LEARNING_RATE


@pytest.fixture
def steps_ahead(request):
    """Programs with constants for small networks, as for a long training; none where nothing is timed."""
    return 0 if request.config.getoption("benchmark_disable") else 10**9


def bench_step(benchmark, timed, backend, admitted, steps_ahead, rung, dtype):
    contestant = admitted(lambda task: OnBackend(task, backend, steps_ahead), benchmark)
    steps = contestant.steps
    benchmark.group = f"step {rung} {dtype}"
    timed(contestant.run, backend=backend, setup=lambda: restarted(contestant), steps=steps, rung=rung, dtype=dtype)


def restarted(contestant):
    contestant.restart(LEARNING_RATE)
    return (1,)
