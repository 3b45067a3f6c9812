"""The demo from its first line to its page."""

from pathlib import Path

import pytest

from backprop_ref.cli import run


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
