"""`br.value_and_grad` on a batch: checks of the arguments, conversion, both passes, gradients back in NumPy's memory."""

import time

import pytest

import backprop_ref as br

LONGEST_SECONDS = 0.5


def bench_value_and_grad(benchmark, timed, backend, checks, rung, dtype):
    task, truth = checks.task, checks.truth
    x, y = task.first_batch
    started = time.perf_counter()
    br.value_and_grad(task.network, task.params, x[:1], y[:1], backend=backend)
    first = time.perf_counter()
    br.value_and_grad(task.network, task.params, x[:1], y[:1], backend=backend)
    seconds = time.perf_counter() - first
    benchmark.extra_info["first_call_seconds"] = first - started
    if seconds * task.batch > 100 * LONGEST_SECONDS:
        pytest.skip(f"one row takes {seconds:.2g} s, and a batch has {task.batch}")
    started = time.perf_counter()
    _, gradients = br.value_and_grad(task.network, task.params, x, y, backend=backend)
    seconds = time.perf_counter() - started
    verdict = truth.of_gradient(gradients, backend.numerics)
    if seconds > LONGEST_SECONDS:
        pytest.skip(f"{verdict}, but takes {seconds:.2g} s")
    benchmark.group = f"value_and_grad {rung} {dtype}"

    def value_and_grad():
        br.value_and_grad(task.network, task.params, x, y, backend=backend)

    timed(value_and_grad, backend=backend, verdict=verdict, rung=rung, dtype=dtype)
