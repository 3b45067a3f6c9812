"""The classic experiments in full, as the command line runs them by default: minutes, so only with ``-m long``."""

import pytest

from backprop_ref.experiments.config import merge
from backprop_ref.experiments.runner import run

pytestmark = pytest.mark.long


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("seed", range(20))
def test_xor_is_learnt_from_every_seed(seed):
    results = run(merge({"--dataset": "xor", "--seed": seed}))
    assert results["network"] == {
        "sizes": [2, 4, 1],
        "activations": ["sigmoid", "sigmoid"],
        "loss": "sum_squared_error",
    }
    assert results["epochs"] == 20_000
    assert 4 * results["train"]["loss"] < 0.01
    assert results["train"]["accuracy"] == 1.0


@pytest.mark.parametrize("seed", range(10))
def test_the_encoder_is_learnt_from_every_seed(seed):
    results = run(merge({"--dataset": "encoder", "--seed": seed}))
    assert results["network"] == {"sizes": [8, 3, 8], "activations": ["sigmoid", "softmax"], "loss": "cross_entropy"}
    assert results["train"]["accuracy"] == 1.0


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_digits_are_read_at_least_as_well_as_by_scikit_learn():
    """Median over five seeds, on the same arrays."""
    from statistics import median

    from sklearn.neural_network import MLPClassifier

    from backprop_ref.experiments.runner import prepare

    ours, theirs = [], []
    for seed in range(5):
        experiment = prepare(merge({"--dataset": "digits", "--seed": seed}))
        (x, y), (x_test, y_test) = experiment.xy("train"), experiment.xy("test")
        peer = MLPClassifier(random_state=seed).fit(x, y.argmax(axis=1))
        theirs.append(peer.score(x_test, y_test.argmax(axis=1)))
        ours.append(run(merge({"--dataset": "digits", "--seed": seed}))["test"]["accuracy"])
    print("ours", ours, "scikit-learn", theirs)
    assert median(ours) >= median(theirs)
