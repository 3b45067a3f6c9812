"""The tests' list of backends for the benchmarks, the ladder, and what every figure's JSON says of the machine.

The order is shuffled, always in the same way; ``--benchmark-disable`` runs everything once on the small rungs alone.
"""

import contextlib
import timeit

import conftest as of_tests
import numpy as np
import pytest
from conftest import _clean_environment, backend, pytest_configure  # noqa: F401 (fixtures and a hook)

import backprop_ref as br
from backprop_ref.benchmarks.check import Checks, LeftOut
from backprop_ref.benchmarks.contestants import refuse_emulation
from backprop_ref.benchmarks.ladder import LADDER, QUICK, Task
from backprop_ref.benchmarks.machine import machine
from backprop_ref.random import Stream

DTYPES = ("float64", "float32")
ROUNDS, ROUND_SECONDS = 7, 0.01


def pytest_addoption(parser):
    """The tests' own option, unless the tests are there and have it added."""
    with contextlib.suppress(ValueError):
        of_tests.pytest_addoption(parser)


def pytest_benchmark_update_machine_info(config, machine_info):
    """Threads, BLAS, versions and the processor, in the JSON of every run."""
    machine_info["backprop_ref"] = machine()


def pytest_generate_tests(metafunc):
    """`rung` and `dtype` go over all there are; where nothing is timed, over small networks and float64."""
    once = metafunc.config.getoption("benchmark_disable")
    if "rung" in metafunc.fixturenames:
        metafunc.parametrize("rung", QUICK if once else LADDER)
    if "dtype" in metafunc.fixturenames:
        metafunc.parametrize("dtype", DTYPES[:1] if once else DTYPES)


def pytest_collection_modifyitems(config, items):
    """No benchmark always has the same neighbours' heat: the order is random, and the same each time.

    The emulation of CUDA is never timed.
    """
    emulated = [item for item in items if item.path.name.startswith("bench_") and item.get_closest_marker("cuda_host")]
    config.hook.pytest_deselected(items=emulated)
    items[:] = [item for item in items if item not in emulated]
    ours = [place for place, item in enumerate(items) if item.path.name.startswith("bench_")]
    shuffled = [items[ours[place]] for place in Stream(1, "check").permutation(len(ours))]
    for place, item in zip(ours, shuffled, strict=True):
        items[place] = item


_CHECKS: dict[tuple, Checks] = {}


@pytest.fixture
def checks(rung, dtype):
    """The task and what contestants for it are held against, computed once in a run."""
    key = rung, dtype
    if key not in _CHECKS:
        _CHECKS[key] = Checks(Task(LADDER[rung], dtype))
    return _CHECKS[key]


@pytest.fixture
def task(checks):
    return checks.task


@pytest.fixture
def timed(benchmark, request):
    """Times a function until the device is idle, after a warm-up; the JSON says what the figure is of.

    `setup` makes the arguments of each call, off the clock; without it, calls are repeated until they take long enough
    for the clock.
    """

    def time(function, *arguments, backend=None, setup=None, scope=contextlib.nullcontext, **notes):  # noqa: F811
        if backend is not None:
            refuse_emulation(backend)
            notes |= {"backend": backend.name, "numerics": backend.numerics, "device": backend.device}
        benchmark.extra_info.update(notes)
        synchronize, scope = (backend.synchronize, backend.scope) if backend else (lambda: None, scope)

        def call(*given):
            function(*given)
            synchronize()

        with scope():
            if setup is None:
                calls = 1 if request.config.getoption("benchmark_disable") else calls_in(call, arguments)
                benchmark.pedantic(call, arguments, rounds=ROUNDS, iterations=calls)
            else:
                benchmark.pedantic(call, setup=lambda: (setup(), {}), rounds=ROUNDS, warmup_rounds=1)

    return time


def calls_in(call, arguments, seconds=ROUND_SECONDS):
    """How many calls take so long together, found by making them, which is the warm-up."""
    calls = 1
    while (spent := timeit.timeit(lambda: call(*arguments), number=calls)) < seconds:
        calls = max(2 * calls, int(calls * seconds / max(spent, 1e-9)))
    return calls


@pytest.fixture
def admitted(checks):
    """Makes a contestant and checks it; its verdict stands in the JSON."""

    def admit(make, benchmark):
        try:
            contestant = make(checks.task)
            benchmark.extra_info["verdict"] = checks.verdict(contestant)
        except (LeftOut, br.BackendUnavailable) as reason:
            pytest.skip(str(reason))
        return contestant

    return admit


@pytest.fixture
def numbers():
    """A function that draws arrays of normal numbers, far from the subnormal ones."""
    stream = Stream(1, "check")
    return lambda dtype, *shape: stream.normal(int(np.prod(shape))).reshape(shape).astype(dtype)
