"""The demo from its first line to its page."""

import itertools
import re
from pathlib import Path

import pytest

from backprop_ref.cli import run
from backprop_ref.training.ctrl_c import CtrlC, Interrupted


@pytest.mark.more
def test_demo_in_sixty_columns(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "60")
    assert run(["demo"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 60
    for said in (
        "test: accuracy 0.9",
        "gradients ok",
        "identical on every backend",
        "report: runs/digits-1/report.html",
    ):
        assert said in out
    assert "data-chart" in Path("runs/digits-1/report.html").read_text(encoding="utf-8")


@pytest.mark.more
def test_ctrl_c_in_its_training_ends_it(tmp_path, monkeypatch, capsys):
    """Within the first epoch, of which it says how far it came."""
    polls = itertools.count(1)

    def poll(_):
        if next(polls) > 4:
            raise Interrupted

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(CtrlC, "poll", poll)
    assert run(["demo"]) == 130
    out = capsys.readouterr().out
    assert re.search(r"^0 epochs and \d+ of 1,\d+ rows of the next in ", out, re.MULTILINE)
    assert "\ninterrupted; go on with: backprop-ref train --resume runs/digits-1\n" in out
    assert not Path("runs/digits-1/report.html").exists()
