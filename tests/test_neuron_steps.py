"""Networks of neurons that are dictionaries, which three functions fill in one after the other."""

import importlib.util

import pytest

import backprop_ref as br

SOURCE = """
from math import exp


def forward(layers, row):
    signals = row
    for layer in layers:
        for cell in layer:
            *weights, bias = cell["weights"]
            total = bias + sum(w * s for w, s in zip(weights, signals))
            cell["out"] = 1 / (1 + exp(-total))
        signals = [cell["out"] for cell in layer]
    return signals


def go_back(layers, wanted):
    for k in reversed(range(len(layers))):
        for j, cell in enumerate(layers[k]):
            if k == len(layers) - 1:
                blame = cell["out"] - wanted[j]
            else:
                blame = sum(above["weights"][j] * above["delta"] for above in layers[k + 1])
            cell["delta"] = blame * cell["out"] * (1 - cell["out"])


def update(layers, row, lr):
    signals = row[:-1]
    for layer in layers:
        for cell in layer:
            for i, signal in enumerate(signals):
                cell["weights"][i] -= lr * cell["delta"] * signal
            cell["weights"][-1] -= lr * cell["delta"]
        signals = [cell["out"] for cell in layer]


def train(layers, rows, lr, epochs):
    for _ in range(epochs):
        for row in rows:
            forward(layers, row)
            go_back(layers, [float(row[-1] == k) for k in range(len(layers[-1]))])
            update(layers, row, lr)
"""


def loaded(path, source):
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("old", "new", "bug"),
    [
        ("", "", ""),
        ("signals = row[:-1]", "signals = row", "bias-in-weight-loop"),
        ('above["weights"][j] * above["delta"]', 'above["delta"]', "weights-missing-back"),
    ],
)
def test_neurons_as_dictionaries(tmp_path, old, new, bug):
    assert old in SOURCE
    outcome = br.verify(loaded(tmp_path / "cells.py", SOURCE.replace(old, new)).go_back)
    assert [one.id for one in outcome.findings][:1] == ([bug] if bug else [])
    assert outcome.exit == bool(bug)
