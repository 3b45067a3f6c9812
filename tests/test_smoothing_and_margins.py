"""Cross-entropy of smoothed labels, hinge of several classes, and how hinge networks are scored."""

import numpy as np
import pytest
from helpers import more, parameters, samples
from test_weights import assert_close, check_trainer

import backprop_ref as br
from backprop_ref import metrics

SMOOTHED = br.Network([3, 5, 4], ["tanh", "softmax"], "cross_entropy(0.1)")
MARGINS = br.Network([3, 5, 4], ["tanh", "linear"], "multi_class_hinge")
LABELS = np.arange(13) % 4 % 3


def test_smoothed_labels_are_those_of_the_formula():
    x, y = samples(SMOOTHED, 7)
    plain = br.Network(SMOOTHED.sizes, SMOOTHED.activations, "cross_entropy")
    found = br.value_and_grad(SMOOTHED, parameters(SMOOTHED), x, y)
    wanted = br.value_and_grad(plain, parameters(plain), x, 0.9 * y + 0.1 / 4)
    assert found[0] == pytest.approx(wanted[0], rel=1e-14)
    np.testing.assert_allclose(found[1].flat, wanted[1].flat, rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize(
    ("given", "name"),
    [("ce(0.1)", "cross_entropy(0.1)"), ("cross_entropy(0)", "cross_entropy"), ("ce", "cross_entropy")],
)
def test_a_loss_has_one_name(given, name):
    network = br.Network([2, 2], ["softmax"], given)
    assert network.loss == name
    assert br.Network(**network.to_dict()) == network


@pytest.mark.parametrize("number", ["1", "-0.1", "nan", "x"])
def test_labels_are_smoothed_by_less_than_1(number):
    with pytest.raises(br.InvalidInput, match="with a number ε above 0 and below 1, or cross_entropy alone for 0"):
        br.Network([2, 2], ["softmax"], f"cross_entropy({number})")


def test_what_goes_with_neither_is_refused():
    with pytest.raises(br.InvalidInput, match=r"cross_entropy\(0.1\) does not go with output activation sigmoid"):
        br.Network([2, 2], ["sigmoid"], "cross_entropy(0.1)")
    with pytest.raises(br.InvalidInput, match="multi_class_hinge does not go with output activation tanh: use linear"):
        br.Network([2, 2], ["tanh"], "multi_margin")
    for labels, count in (([1.0, 1.0, 0.0, 0.0], 2), ([0.0] * 4, 0)):
        with pytest.raises(br.InvalidInput, match=rf"y\[0\] has {count} labels above 0: multi_class_hinge needs one"):
            br.value_and_grad(MARGINS, parameters(MARGINS), [[1.0] * 3], [labels])


def test_the_hinge_of_several_classes_is_that_of_its_source():
    """Weston and Watkins: every other class whose output is above that of the row's own less 1."""
    x, y = br.one_hot([0, 1, 2, 3])[:, :3], br.one_hot([1, 0, 3, 2])
    params = parameters(MARGINS)
    a = br.predict(MARGINS, params, x)
    wanted = [
        max(0.0, 1.0 + a[s, j] - a[s, own]) for s, own in enumerate(y.argmax(axis=1)) for j in range(4) if j != own
    ]
    assert br.evaluate(MARGINS, params, x, y)["loss"] == pytest.approx(sum(wanted) / 16, rel=1e-14)
    signs = br.value_and_grad(MARGINS, params, x, 2.0 * y - 1.0)
    assert signs[0] == br.value_and_grad(MARGINS, params, x, y)[0]


# Scores.


def hinge(outputs, output="linear"):
    """A network that gives its inputs."""
    network = br.Network([outputs, outputs], [output], "hinge")
    return network, br.Parameters.from_arrays([np.eye(outputs)], [np.zeros(outputs)])


@pytest.mark.parametrize("low", [0.0, -1.0])
@pytest.mark.parametrize("output", ["linear", "tanh"])
def test_the_hinge_of_two_classes_is_scored_by_the_sign(low, output):
    network, params = hinge(1, output)
    x, y = [[0.2], [-0.2], [0.4], [3.0], [-2.0]], np.array([[1.0], [low], [low], [1.0], [1.0]])
    scored = br.evaluate(network, params, x, y)
    assert scored["accuracy"] == 0.6
    assert scored["recall"] == [0.5, 2 / 3]
    assert "r2" not in scored
    result = br.train(network, params, x, y, epochs=1, optimizer=br.SGD(0.0), validation=(x, y))
    assert result.history["accuracy"].tolist() == result.history["val_accuracy"].tolist() == [0.6]


def test_hinges_of_classes_and_of_labels():
    network, params = hinge(3)
    x = [[0.2, -0.1, -3.0], [0.2, 0.1, 0.4]]
    assert br.evaluate(network, params, x, [[1, -1, -1], [-1, 1, -1]])["accuracy"] == 0.5
    assert metrics.metric_name(network, np.array([[1.0, 1.0, -1.0], [1.0, -1.0, -1.0]])) == "labels"
    scored = br.evaluate(network, params, x, [[1, 1, -1], [1, 1, 1]])
    assert (scored["accuracy"], scored["exact_match"]) == (5 / 6, 0.5)
    assert br.evaluate(MARGINS, parameters(MARGINS), *samples(MARGINS, 9))["accuracy"] <= 1.0


@pytest.mark.parametrize("numerics", ["fast", "reproducible"])
def test_every_trainer_scores_alike(numerics):
    network = br.Network([3, 1], ["linear"], "hinge")
    x, y = samples(network, 13)[0], np.where(np.arange(13) % 3 == 0, 1.0, -1.0)[:, None]
    how = {"epochs": 3, "batch_size": 5, "numerics": numerics}
    found = [br.train(network, parameters(network), x, y, backend=name, **how).history for name in ("numpy", "python")]
    assert found[0]["accuracy"].tolist() == found[1]["accuracy"].tolist()


@pytest.mark.parametrize(("network", "numerics"), [more(SMOOTHED, "reproducible"), more(MARGINS, "reproducible")])
def test_numba_trains_them(network, numerics):
    numba_trainer = pytest.importorskip("backprop_ref.backends.numba_trainer")
    how = {"specialize": "always", "numerics": numerics, "weighted": True}
    trainer = numba_trainer.create(network, br.SGD(0.1), "float64", 5, 2, "r2", 1, **how)
    check_trainer(trainer, network, br.SGD(0.1), "float64", 2, numerics)


@pytest.mark.parametrize("network", [SMOOTHED, MARGINS], ids=lambda network: network.loss)
def test_numpy_trains_them(network):
    backend = br.get_backend("numpy", "fast")
    trainer = backend.trainer(network, br.Adam(0.01), "float64", 5, 2, "r2", weighted=True)
    with backend.scope():
        check_trainer(trainer, network, br.Adam(0.01), "float64", 2, "fast")


@pytest.mark.parametrize("network", [SMOOTHED, MARGINS], ids=lambda network: network.loss)
def test_torch_comes_to_the_same_weights(network):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    of = torch.nn.functional
    loss_of = {SMOOTHED: lambda z, t: of.cross_entropy(z, t, label_smoothing=0.1), MARGINS: of.multi_margin_loss}[
        network
    ]
    x, start = samples(network, 13)[0], parameters(network)
    W, b = ([torch.tensor(one, requires_grad=True) for one in arrays] for arrays in (start.W, start.b))
    theirs = torch.optim.SGD([*W, *b], lr=0.1, momentum=0.9)
    for _ in range(5):
        for rows in (slice(at, at + 5) for at in range(0, 13, 5)):
            theirs.zero_grad()
            z = torch.tanh(torch.tensor(x[rows]) @ W[0] + b[0]) @ W[1] + b[1]
            loss_of(z, torch.tensor(LABELS[rows])).backward()
            theirs.step()
    how = {"epochs": 5, "batch_size": 5, "optimizer": br.SGD(0.1, 0.9), "shuffle": False}
    found = br.train(network, start, x, br.one_hot(LABELS, 4), **how).params
    assert_close([*found.W, *found.b], [one.detach().numpy() for one in (*W, *b)])
