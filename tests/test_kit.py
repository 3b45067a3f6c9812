"""The pytest kit for backends, run as its users run it: from an empty folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import more

WRONG = """
import numpy as np
from backprop_ref.backends.arithmetic import Fast
from backprop_ref.backends.numpy import NumpyBackend

class Forgetful(NumpyBackend):
    def affine_backward(self, delta, a):
        dW, db = super().affine_backward(delta, a)
        return dW, 0.0 * db

backend = Forgetful(np, Fast(np))
"""


def run(folder, *arguments):
    pytest = str(Path(sys.executable).with_name("pytest"))  # python -m pytest would put the folder on the import path
    kit = [pytest, "-q", "-p", "no:cacheprovider", "-p", "backprop_ref.conformance.plugin"]
    done = subprocess.run(
        [*kit, "--pyargs", "backprop_ref.conformance", *arguments],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"},  # what it prints is read
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.few(1)
@pytest.mark.parametrize(("numerics", "which"), [("fast", ("-k", "3-5-4")), ("reproducible", ()), more("fast", ())])
def test_a_right_backend_passes(tmp_path, numerics, which):
    status, output = run(tmp_path, "--backend", "numpy", "--numerics", numerics, *which)
    assert status == 0, output
    assert "failed" not in output


ONE = ("-k", "3-5-4-tanh-softmax-ce-b7-f64")


def test_a_wrong_backend_fails_where_it_is_wrong(tmp_path):
    (tmp_path / "mine.py").write_text(WRONG)
    status, output = run(tmp_path, "--backend", "mine:backend", *ONE)
    assert status == 1
    assert "affine_backward-3-5-4-tanh-softmax-ce-b7-f64" in output
    assert "FAILED" in output
    assert "[affine_forward" not in output
    assert "db[0]: WRONG" in output


@pytest.mark.more
def test_skips_and_expected_failures_come_from_a_file(tmp_path):
    (tmp_path / "mine.py").write_text(WRONG)
    skips = tmp_path / "skips.txt"
    skips.write_text("# known\n\nxfail test_pair[affine_backward-*] db is 0\nskip test_whole_pass* db is 0\n")
    arguments = ("--backend", "mine:backend", "--skips", str(skips), "-rx", *ONE)
    status, output = run(tmp_path, *arguments)
    assert status == 0, output
    assert "db is 0" in output
    skips.write_text("xfail test_pair[affine_forward-*] is right, so this is unexpected\n")
    assert run(tmp_path, *arguments)[0] == 1


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--backend is missing"),
        (("--backend", "nump"), "did you mean 'numpy'"),
        (("--backend", "nothing:here"), "cannot import 'nothing'"),
        (("--backend", "numpy", "--skips", "none.txt"), "cannot be read"),
        (("--backend", "numpy", "--skips", "bad.txt"), "bad.txt:1: 'skip PATTERN reason'"),
        (("--backend", "numpy", "--skips", "stale.txt"), "stale.txt:1: no test is named 'nothing*'"),
    ],
)
def test_mistakes_are_one_line(tmp_path, arguments, message):
    (tmp_path / "bad.txt").write_text("omit everything\n")
    (tmp_path / "stale.txt").write_text("skip nothing* because\n")
    status, output = run(tmp_path, *arguments)
    assert status == 4
    assert message in output
    assert "Traceback" not in output


def test_other_sessions_do_not_see_it(pytestconfig):
    assert not hasattr(pytestconfig.option, "skips")
