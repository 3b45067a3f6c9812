"""Whatever disturbs a run: when it goes on, it ends with the bits, history and traces of an undisturbed one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FAULTS = Path(__file__).with_name("faults.py")


def check(folder, disturbance, run, step=1, before=()):
    """Disturbs a run at each `step`-th place; `before` stands before the program."""
    program = [*before, sys.executable, str(FAULTS), disturbance, run, str(folder), str(step)]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(program, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["complaints"] == {}
    assert found["resumed"] > 0
    if run != "in_chunks":
        assert 1 < found["best_epoch"] < found["epoch"]


@pytest.mark.more
def test_a_write_error_at_every_operation(tmp_path):
    check(tmp_path, "error", "looked_at")


OFTEN = [
    *[(disturbance, "looked_at", 17) for disturbance in ("error", "full", "kill", "interrupt")],
    *[(disturbance, "by_command", 53) for disturbance in ("error", "full", "kill", "interrupt")],
    *[(disturbance, "looked_at", 307) for disturbance in ("line-once", "line-twice")],
    *[(disturbance, "in_chunks", 15) for disturbance in ("moment-kill", "moment-interrupt")],
]


@pytest.mark.parametrize(("disturbance", "run", "step"), OFTEN)
@pytest.mark.more
def test_disturbed_here_and_there(tmp_path, disturbance, run, step):
    check(tmp_path, disturbance, run, step)


@pytest.mark.long
@pytest.mark.parametrize(("disturbance", "run"), [(disturbance, run) for disturbance, run, _ in OFTEN])
def test_disturbed_everywhere(tmp_path, disturbance, run):
    check(tmp_path, disturbance, run)


@pytest.mark.parametrize("run", ["looked_at", "by_command"])
@pytest.mark.more
def test_a_disk_that_is_full(tmp_path, run):
    """File systems of one page and more, mounted where only this test sees them."""
    alone = ["unshare", "--user", "--map-root-user", "--mount"]
    try:
        tried = subprocess.run(
            [*alone, "mount", "-t", "tmpfs", "none", tmp_path], capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        pytest.skip(f"no file system can be mounted: {error}")
    if tried.returncode:
        pytest.skip(f"no file system can be mounted: {tried.stderr}")
    check(tmp_path, "disk", run, 5, alone)
