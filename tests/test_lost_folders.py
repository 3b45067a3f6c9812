"""A run folder that is full, read-only or gone in the midst of training: one line says what is kept, and what to do."""

import json
import os
import shutil
import subprocess
import sys

import pytest

import backprop_ref as br
from backprop_ref.errors import InvalidInput
from backprop_ref.training import fit
from backprop_ref.training.checkpoint import CHECKPOINT

NETWORK = br.Network([2, 2, 1], ["tanh", "sigmoid"], "bce")
X, Y = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [[0.0], [1.0], [1.0], [0.0]]


def train(folder, happens=lambda _: None, **how):
    return br.train(NETWORK, NETWORK.init(1), X, Y, epochs=9, run_dir=folder, callback=happens, progress=False, **how)


@pytest.mark.parametrize("how", ["removed", "moved"])
def test_a_folder_that_is_gone(tmp_path, monkeypatch, how):
    monkeypatch.setattr(fit, "CHECKPOINT_SECONDS", 0.0)

    def happens(at):
        if at.epoch == 5:
            shutil.rmtree(tmp_path / "run") if how == "removed" else (tmp_path / "run").rename(tmp_path / "other")

    with pytest.raises(
        InvalidInput, match=r"cannot be written to \(No such .*run was moved or removed, and 5 epochs"
    ) as e:
        train(tmp_path / "run", happens)
    assert e.value.result.epochs == 5
    if how == "moved":
        assert train(tmp_path / "other", resume=True).params.sha256() == train(tmp_path / "whole").params.sha256()


ON_A_DISK = """
import json, subprocess, sys
from backprop_ref.training import fit
import test_lost_folders as here

how, place, fit.CHECKPOINT_SECONDS = sys.argv[1], sys.argv[2], 0.0

def mount(*options):
    subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "none", place], check=True)

def happens(at):
    if at.epoch == 5 and how == "full":
        try:
            open(f"{place}/more", "wb").write(bytes(10**7))
        except OSError:
            pass
    elif at.epoch == 5:
        subprocess.run(["mount", "-o", "remount,ro", "--bind", place, place], check=True)

mount("size=1m")
if how == "read-only":
    subprocess.run(["mount", "--bind", place, place], check=True)
try:
    here.train(f"{place}/run", happens)
except here.InvalidInput as error:
    print(json.dumps([str(error), error.result.epochs]))
if how == "full":
    mount("remount", "size=20m")
else:
    subprocess.run(["mount", "-o", "remount,rw", "--bind", place, place], check=True)
print(here.train(f"{place}/run", resume=True).params.sha256())
"""


@pytest.mark.parametrize(("how", "why"), [("full", "No space left on device"), ("read-only", "Read-only file system")])
@pytest.mark.few(1)
def test_a_disk_that_takes_no_more(tmp_path, how, why):
    """Mounted where only this test sees it."""
    (tmp_path / "disk").mkdir()
    alone = ["unshare", "--user", "--map-root-user", "--mount", sys.executable, "-c", ON_A_DISK, how, tmp_path / "disk"]
    if shutil.which("unshare") is None:
        pytest.skip("no unshare: no file system can be mounted")
    environment = os.environ | {"PYTHONPATH": os.path.dirname(__file__)}  # noqa: PTH120
    done = subprocess.run(alone, capture_output=True, text=True, check=False, env=environment)
    if "mount" in done.stderr and "CalledProcessError" in done.stderr:
        pytest.skip(f"no file system can be mounted: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    said, sha256 = done.stdout.splitlines()
    message, epochs = json.loads(said)
    assert f"cannot be written to ({why})" in message and epochs == 5
    assert message.endswith("run holds 4 of 5 epochs, and goes on from there by resume")
    assert sha256 == train(tmp_path / "whole").params.sha256()


def test_nothing_is_said_to_be_kept_before_there_is_something(tmp_path, monkeypatch):
    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("backprop_ref.training.checkpoint.create", no_space)
    with pytest.raises(InvalidInput, match="free some space or give another folder$"):
        train(tmp_path / "run")
    assert not (tmp_path / "run" / CHECKPOINT).exists()
