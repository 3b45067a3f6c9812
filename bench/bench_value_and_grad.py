"""`br.value_and_grad` on a batch: checks of the arguments, conversion, both passes, gradients in NumPy's memory."""

import time

import pytest

import backprop_ref as br

LONGEST_SECONDS, LONGEST_CHECK_SECONDS = 0.5, 60.0


def bench_value_and_grad(benchmark, timed, backend, checks, rung, dtype):
    task, (x, y) = checks.task, checks.task.first_batch

    def value_and_grad(rows=slice(None)):
        return br.value_and_grad(task.network, task.params, x[rows], y[rows], backend=backend)

    for_a_batch = seconds_of(lambda: value_and_grad(slice(1))) * task.batch
    if for_a_batch > LONGEST_CHECK_SECONDS:
        pytest.skip(f"row by row, a batch takes {for_a_batch:.2g} s")
    verdict = checks.truth.of_gradient(value_and_grad()[1], backend.numerics)
    seconds = seconds_of(value_and_grad, first=False)
    if seconds > LONGEST_SECONDS:
        pytest.skip(f"{verdict}, but takes {seconds:.2g} s")
    benchmark.group = f"value_and_grad {rung} {dtype}"
    timed(value_and_grad, backend=backend, verdict=verdict, rung=rung, dtype=dtype)


def seconds_of(function, first=True):
    """What a call takes, after one that may compile if it is the first."""
    if first:
        function()
    started = time.perf_counter()
    function()
    return time.perf_counter() - started
