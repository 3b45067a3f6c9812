"""The search for a learning rate: its rule, its determinism, and that what it suggests trains."""

import json

import numpy as np
import pytest
from helpers import command, parameters, samples

import backprop_ref as br
from backprop_ref.progress import Bar
from backprop_ref.random import Stream

NETWORK = br.Network([3, 5, 4], ["tanh", "softmax"], "ce")


def test_the_rule_is_what_the_docstring_says():
    """By hand: the moving mean, its least value, a tenth of the rate there; and the losses are those of SGD's steps."""
    x, y = samples(NETWORK, 23)
    found = br.find_learning_rate(NETWORK, parameters(NETWORK), x, y, batch_size=5, steps=60, highest=1000.0)
    mean, means = 0.0, []
    for t, loss in enumerate(found.losses.tolist(), 1):
        mean = 0.9 * mean + 0.1 * loss
        means.append(mean / (1 - 0.9**t))
    np.testing.assert_allclose(found.smoothed, means, rtol=1e-13)
    assert found.suggested == found.rates[np.argmin(means)] / 10
    assert all(mean < 4 * min(means[: t + 1]) for t, mean in enumerate(means[:-1]))
    assert len(means) < 60 and not means[-1] < 4 * min(means)
    wanted = 1e-6 * 1e9 ** (np.arange(60) / 59)
    np.testing.assert_allclose(found.rates, wanted[: len(means)], rtol=1e-13)
    params, order = parameters(NETWORK), Stream(1, "shuffle").permutation(23)
    for step in range(4):
        rows = order[5 * step : 5 * step + 5]
        loss, grads = br.value_and_grad(NETWORK, params, x[rows], y[rows])
        assert loss == pytest.approx(found.losses[step], rel=1e-13)
        params.flat[:] -= found.rates[step] * grads.flat


@pytest.mark.few(6)
def test_it_is_the_same_every_time_and_on_every_backend(backend):
    if backend.numerics == "fast":
        pytest.skip("fast numerics have bits of their own")
    x, y = samples(NETWORK, 23)
    given = NETWORK, parameters(NETWORK), x, y
    how = {"batch_size": 5, "optimizer": br.Adam(), "steps": 30, "shards": 2, "dropout": 0.2, "seed": 3}
    how["sample_weight"] = np.arange(23) % 4
    wanted = br.find_learning_rate(*given, backend="numpy", numerics="reproducible", **how)
    found = br.find_learning_rate(*given, backend=backend, **how)
    assert found.losses.tobytes() == wanted.losses.tobytes() and found.suggested == wanted.suggested


def test_where_the_loss_never_falls_nothing_is_suggested():
    network = br.Network([1, 1], ["linear"], "mse")
    params = br.Parameters.from_arrays([[[2.0]]], [[1.0]])
    found = br.find_learning_rate(network, params, [[0.0], [1.0]], [[1.0], [3.0]], steps=5)
    assert found.suggested is None and "never fell" in found.reason
    rising = br.find_learning_rate(NETWORK, parameters(NETWORK), *samples(NETWORK, 23), highest=1e-3, steps=40)
    assert "still fell" in rising.reason and rising.suggested == pytest.approx(1e-4, rel=0.5)


@pytest.mark.parametrize(
    "wrong", [{"lowest": 0.0}, {"lowest": 2.0, "highest": 1.0}, {"steps": 1}, {"optimizer": br.LBFGS()}, {"seed": -1}]
)
def test_what_does_not_fit_is_refused(wrong):
    with pytest.raises(br.InvalidInput):
        br.find_learning_rate(NETWORK, parameters(NETWORK), *samples(NETWORK, 5), **wrong)


@pytest.mark.more
def test_the_command_suggests_what_trains(tmp_path):
    told = command("train", "iris", "--find-rate", "--json", cwd=tmp_path)
    found = json.loads(told.stdout)
    assert told.returncode == 0 and 0.001 < found["suggested"] < 1.0 and not list(tmp_path.iterdir())
    refused = command("train", "iris", "--find-rate", "--run-dir", "here", cwd=tmp_path)
    assert refused.returncode == 2 and "leave out --run-dir" in refused.stderr


def test_a_bar_shows_how_far_it_is(monkeypatch):
    seen = []
    monkeypatch.setattr(Bar, "update", lambda bar, done, **values: seen.append((done, bar.total, sorted(values))))
    network = br.Network([2, 1], ["sigmoid"], "binary_cross_entropy")
    x, y = [[0, 0], [0, 1], [1, 0], [1, 1]], [[0], [1], [1], [1]]
    found = br.find_learning_rate(network, network.init(), x, y, batch_size=2, steps=20, progress=True)
    assert seen == [(done, 20, ["loss", "rate"]) for done in range(1, len(found.rates) + 1)]
