"""Much at once, and places that are not there: the same bits as ever, in every process and thread."""

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import backprop_ref as br
from backprop_ref.cli import run

NETWORK = br.Network([70, 60, 3], ["tanh", "softmax"], "ce")
X, Y = np.sin(np.arange(90 * 70.0)).reshape(90, 70), np.eye(3)[np.arange(90) % 3]
STEP = """
import backprop_ref as br
network = br.Network([2, 3, 1], ["tanh", "sigmoid"], "bce")
how = {"epochs": 3, "backend": "numba", "numerics": "reproducible", "progress": False}
print(br.train(network, network.init(1), [[0.0, 1.0], [1.0, 1.0]], [[1.0], [0.0]], **how).params.sha256())
"""


def started(**variables):
    environment = {name: value for name, value in (os.environ | variables).items() if value is not None}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", STEP], env=environment, text=True, **pipes)


def said(process):
    out, err = process.communicate()
    assert process.returncode == 0, err
    return out


@pytest.mark.more
def test_two_processes_that_compile_at_once(tmp_path):
    """Into one folder, which is then whole; one that may not be written is as good."""
    one, two = (started(NUMBA_CACHE_DIR=str(tmp_path)) for _ in range(2))
    hashes = {said(one), said(two), said(started(NUMBA_CACHE_DIR=str(tmp_path)))}
    assert len(hashes) == 1 and list(tmp_path.rglob("*.nbi"))


@pytest.mark.more
@pytest.mark.parametrize("home", [None, "", "/nowhere"])
def test_without_a_home(home):
    assert len({said(started(HOME=home, XDG_CACHE_HOME=None)), said(started())}) == 1


@pytest.mark.more
def test_threads_of_a_process_with_other_numbers_of_threads():
    """In reproducible numerics they have the same bits, in fast ones the same within the rounding of a product."""
    params = NETWORK.init(1)

    def gradient(number):
        kinds = [("numba", "reproducible"), ("numpy", "reproducible"), ("numpy", "fast")]
        backend, numerics = kinds[number % 3]
        with br.use(backend=backend, numerics=numerics, threads=1 + number // 3 % 2):
            return numerics, br.value_and_grad(NETWORK, params, X, Y)[1]

    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(gradient, range(60)))
    exact = {grads.sha256() for numerics, grads in found if numerics == "reproducible"}
    assert len(exact) == 1
    right = next(grads.flat for numerics, grads in found if numerics == "reproducible")
    for _, grads in found:
        np.testing.assert_allclose(grads.flat, right, rtol=0, atol=1e-12)


@pytest.fixture
def of_a_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(["train", "xor", "--epochs", "2", "--backend", "numpy", "--run-dir", "runs/0"]) == 0
    return tmp_path


@pytest.mark.long
def test_a_report_of_200_runs(of_a_run):
    for number in range(1, 200):
        shutil.copytree("runs/0", f"runs/{number}")
    assert run(["report", *(f"runs/{number}" for number in range(200)), "--out", "all.html"]) == 0


@pytest.mark.long
def test_a_trace_of_100000_epochs(of_a_run):
    options = ["--epochs", "100000", "--trace", "binary", "--backend", "numba", "--run-dir", "long"]
    assert run(["train", "xor", *options]) == 0
    assert run(["report", "long", "--out", "long.html"]) == 0
    assert (of_a_run / "long.html").stat().st_size < 2**25


@pytest.mark.long
def test_a_sweep_of_2000_cells(of_a_run):
    options = ["--dataset", "xor", "--epochs", "1", "--seeds", "1-2000", "--backend", "numpy", "--out", "swept"]
    assert run(["sweep", *options, "--workers", "2"]) == 0
    assert len(json.loads((of_a_run / "swept" / "table.json").read_text())) == 2000
