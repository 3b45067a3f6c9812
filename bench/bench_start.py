"""What is paid once: importing, compiling, and a process up to its first step. Each round is a process of its own.

The programs measure themselves, so that launching Python is in none but the last.
"""

import json
import os
import subprocess
import sys

import beginner
import pytest

IMPORT = """
import json, time
started = time.perf_counter()
{}
print(json.dumps(time.perf_counter() - started))
"""
COMPILE = """
import json, time
import numpy as np
import backprop_ref as br
from backprop_ref.optimizers import SGD
backend = br.get_backend("numba", {numerics!r})
network = br.Network({sizes}, {activations}, {loss!r})
started = time.perf_counter()
trainer = backend.trainer(network, SGD(), {dtype!r}, 4, 1, "r2", {steps_ahead})
print(json.dumps(time.perf_counter() - started))
"""
SMALL = {"sizes": [2, 4, 1], "activations": ["sigmoid"] * 2, "loss": "sse"}


def in_a_process(program, **environment):
    """The number that a program prints."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("what", ["import backprop_ref", "import numba", "import numpy"])
def bench_import(benchmark, what):
    benchmark.group, rounds = "import", []
    benchmark.pedantic(lambda: rounds.append(in_a_process(IMPORT.format(what))), rounds=5, warmup_rounds=1)
    benchmark.extra_info["inside_seconds"] = rounds


@pytest.mark.parametrize("steps_ahead", [0, 10**9], ids=["for every network", "for one network"])
@pytest.mark.parametrize("numerics", ["fast", "reproducible"])
def bench_compile(benchmark, request, tmp_path_factory, dtype, numerics, steps_ahead):
    """Nothing on disk: each round has a new, empty NUMBA_CACHE_DIR."""
    if request.config.getoption("benchmark_disable"):
        pytest.skip("timed runs only: nothing but compiling happens here")
    program, rounds = COMPILE.format(**SMALL, dtype=dtype, numerics=numerics, steps_ahead=steps_ahead), []

    def compile():
        rounds.append(in_a_process(program, NUMBA_CACHE_DIR=str(tmp_path_factory.mktemp("numba"))))

    benchmark.group = f"compile {dtype}"
    benchmark.pedantic(compile, rounds=3)
    benchmark.extra_info["inside_seconds"] = rounds


def bench_load(benchmark, tmp_path_factory, dtype):
    """The same with compiled code on disk, in a new process: a second start."""
    program = COMPILE.format(**SMALL, dtype=dtype, numerics="fast", steps_ahead=0)
    rounds = []
    benchmark.group = f"compile {dtype}"
    benchmark.pedantic(lambda: rounds.append(in_a_process(program)), rounds=5, warmup_rounds=1)
    benchmark.extra_info["inside_seconds"] = rounds


def bench_first_step(benchmark):
    """From launching Python to the end of the first training step on Numba, compiled code on disk."""
    benchmark.group = "start"
    benchmark.pedantic(beginner.first_step, rounds=5, warmup_rounds=1)
