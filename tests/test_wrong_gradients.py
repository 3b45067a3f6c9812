"""The experiment on wrong gradients: its right curve is that of training, its wrong ones differ."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import backprop_ref as br
from backprop_ref.cli import run
from backprop_ref.conformance.catalogue.known import CATALOGUE
from backprop_ref.experiments import wrong_gradients
from backprop_ref.experiments.wrong_gradients import CONCLUDED, LEARNING_RATE, NETWORKS, PATTERNS, RIGHT, curves


def test_the_right_curve_is_that_of_training():
    epochs = 20
    for curve in curves(epochs):
        network = NETWORKS[curve.network]
        params = network.init(seed=1, scheme="xavier")
        how = {"epochs": epochs - 1, "batch_size": None, "optimizer": br.SGD(LEARNING_RATE)}
        trained = br.train(network, params, PATTERNS, PATTERNS, **how).params
        a = br.predict(network, trained, PATTERNS)
        same = np.isclose(curve.distance[-1], np.sum((a - PATTERNS) ** 2) / len(a))
        assert same == (curve.bug == RIGHT), curve.bug


def test_all_right_means_until_the_end():
    (curve, *_) = curves(1)
    assert curve._replace(accuracy=np.array([1.0, 0.5, 1.0, 1.0])).all_right_from_epoch == 3
    assert curve._replace(accuracy=np.array([0.5, 1.0, 0.5])).all_right_from_epoch is None


def test_every_bug_is_in_the_catalogue():
    told = {bug for bugs in CONCLUDED.values() for bug in bugs} - {RIGHT}
    assert told <= {bug.id for bug in CATALOGUE}


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(wrong_gradients.curves, "__defaults__", (5, 1, None))
    assert run(["sweep", "wrong-gradients", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == sum(map(len, CONCLUDED.values()))
    assert "data-chart" in Path("sweeps/wrong-gradients-1/report.html").read_text(encoding="utf-8")
    assert run(["sweep", "wrong-gradients", "--seeds", "1"]) == 2


def test_the_chart_as_images(tmp_path, monkeypatch, capsys):
    pytest.importorskip("kaleido", reason="kaleido is not installed: pip install 'backprop-ref[image]'")
    if not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))):
        pytest.skip("no Chromium here: apt-get install chromium")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(wrong_gradients.curves, "__defaults__", (5, 1, None))
    assert run(["sweep", "wrong-gradients", "--images", "images"]) == 0
    assert "2 images: images" in capsys.readouterr().out
    png, svg = (Path("images") / f"right-and-wrong-gradients.{kind}" for kind in ("png", "svg"))
    assert png.read_bytes().startswith(b"\x89PNG")
    text = svg.read_text(encoding="utf-8")
    assert all(bug in text for bugs in CONCLUDED.values() for bug in bugs)
