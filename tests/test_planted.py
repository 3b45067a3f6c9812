"""Errors as they are made in the wild, planted one at a time: gradcheck must catch each, or it proves nothing."""

import functools
import itertools
import sys

import numpy as np
import pytest
from helpers import parameters, samples

import backprop_ref as br
from backprop_ref.backends.arithmetic import Fast
from backprop_ref.backends.numpy import NumpyBackend
from backprop_ref.conformance.cases import Case
from backprop_ref.conformance.catalogue.known import CATALOGUE
from backprop_ref.conformance.catalogue.textbook import predict, replaced
from backprop_ref.conformance.gradcheck import gradcheck
from backprop_ref.conformance.rounding.balls import Ball
from backprop_ref.conformance.rounding.bounds import gradient_bounds
from backprop_ref.conformance.rounding.precision import Precision

CLASSES = br.Network([3, 5, 5, 4], ["tanh", "sigmoid", "softmax"], "ce")
NUMBERS = br.Network([3, 5, 5, 3], ["sigmoid", "relu", "linear"], "mse")
LEAKY = br.Network([3, 5, 4], ["leaky_relu", "sigmoid"], "bce")
SOFTMAX = br.Network([3, 4], ["softmax"], "sse")
ONE_OUTPUT = br.Network([3, 5, 1], ["tanh", "sigmoid"], "bce")
SQUARE = br.Network([5, 5, 5], ["tanh", "linear"], "sse")
NETWORKS = (CLASSES, NUMBERS, LEAKY, SOFTMAX, ONE_OUTPUT, SQUARE)


class Planted(NumpyBackend):
    """NumPy with some methods replaced: name -> function of the right method and its arguments."""

    def __init__(self, **wrong):
        super().__init__(np, Fast(np))
        for name, function in wrong.items():
            setattr(self, name, functools.partial(function, getattr(self, name)))


def with_dW(change):
    return {"affine_backward": lambda right, delta, a: (change(right(delta, a)[0]), right(delta, a)[1])}


def with_db(change):
    return {"affine_backward": lambda right, delta, a: (right(delta, a)[0], change(right(delta, a)[1]))}


PLANTED = {
    "a constant added": with_dW(lambda dW: dW + 1e-6),
    "one entry off by a part in 10⁹": with_dW(lambda dW: dW * np.where(dW == dW.max(), 1 + 1e-9, 1.0)),
    "first weight skipped": with_dW(lambda dW: np.concatenate([0 * dW[:1], dW[1:]])),
    "NaN in one entry": with_db(lambda db: np.concatenate([[np.nan], db[1:]])),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_error_is_caught(name):
    params, (x, y) = parameters(NUMBERS), samples(NUMBERS, 7)
    assert all(row.ok for row in gradcheck(NUMBERS, params, x, y, entries=12))
    assert not all(row.ok for row in gradcheck(NUMBERS, params, x, y, backend=Planted(**PLANTED[name])))


def gradients(case, change):
    """dW and db of a pass with a bug, or with none, as numbers with their radii."""
    values = {bug.parameter: Ball.exact(bug.start, Precision.of("float64")) for bug in CATALOGUE}
    with np.errstate(all="ignore"):
        items = itertools.takewhile(lambda item: item[0][0] != "dx", predict(case, replaced(change), values=values))
        return {key: ball for key, ball in items if key[0] in {"dW", "db"}}


def shows(wrong, right):
    """Whether some gradient differs by more than rounding."""
    return any(
        wrong[key].shape != ball.shape or not np.all(np.abs(wrong[key].mid - ball.mid) <= wrong[key].rad + ball.rad)
        for key, ball in right.items()
    )


CASES = [Case("planted", network, parameters(network), *samples(network, 7)) for network in NETWORKS]
RIGHT = [gradients(case, {}) for case in CASES]


@pytest.mark.parametrize("bug", [bug for bug in CATALOGUE if bug.variants or bug.fitted], ids=lambda bug: bug.id)
def test_a_known_bug_is_caught(bug):
    """The first form that shows in gradients, as gradients of the first network on which it shows."""
    for form, (case, right) in itertools.product((*bug.variants, *bug.fitted), zip(CASES, RIGHT, strict=True)):
        wrong = gradients(case, form)
        if shows(wrong, right):
            break
    else:
        assert bug.where in BEYOND_GRADIENTS or bug.id in ELSEWHERE
        return
    shapes = [array.shape for pair in zip(case.params.W, case.params.b, strict=True) for array in pair]
    arrays = [wrong[name, layer].mid for layer in range(case.network.n_layers) for name in ("dW", "db")]
    if [array.shape for array in arrays] != shapes:
        return  # refused for its shape
    grads = br.Parameters.from_arrays(arrays[::2], arrays[1::2])
    assert not all(row.ok for row in gradcheck(case.network, case.params, case.x, case.y, grads=grads))


BEYOND_GRADIENTS = {"loss", "update", "state"}
ELSEWHERE = {"relu-at-zero", *(bug.id for bug in CATALOGUE if bug.id.startswith("decay-"))}
"""Nothing shows of them unless some z is exactly 0, or without weight decay."""


@pytest.mark.parametrize("check", ["complex step", "central differences", "Taylor remainder"])
def test_each_check_decides_alone(check, monkeypatch):
    """A factor of 1.01 on one tensor, with the other two checks made blind."""
    module = sys.modules["backprop_ref.conformance.gradcheck"]
    params, (x, y) = parameters(NUMBERS), samples(NUMBERS, 7)
    grads = br.value_and_grad(NUMBERS, params, x, y)[1]
    grads.W[1][...] *= 1.01
    if check != "complex step":
        monkeypatch.setattr(module, "complex_step", lambda network, params, x, y, index, **_: grads.flat[index])
    if check != "central differences":
        blind = lambda network, params, x, y, index, *_, **__: (grads.flat[index], 0.0, False)  # noqa: E731
        monkeypatch.setattr(module, "central_difference", blind)
    if check != "Taylor remainder":
        monkeypatch.setattr(module, "taylor_slope", lambda *_, **__: None)
    assert [row.ok for row in gradcheck(NUMBERS, params, x, y, grads=grads)] == [True, True, False, True, True, True]


def test_a_wrong_loss_is_caught():
    wrong = Planted(loss_forward=lambda right, *args: 3.0 * right(*args) + 1.0)
    rows = gradcheck(CLASSES, parameters(CLASSES), *samples(CLASSES, 7), backend=wrong)
    assert [row.tensor for row in rows if not row.ok] == ["loss"]


@pytest.mark.parametrize("factor", [0.0, 0.8, 1.2])
def test_a_kink_hides_no_error(factor):
    """XOR with relu from its initial weights: every z of the first row is exactly 0, with nothing to round."""
    network = br.Network([2, 4, 1], ["relu", "sigmoid"], "bce")
    x, y = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([[0.0], [1], [1], [0]])
    params = network.init(seed=1)
    grads = br.value_and_grad(network, params, x, y)[1]
    assert all(row.ok for row in gradcheck(network, params, x, y))
    grads.b[0][...] *= factor
    assert [row.tensor for row in gradcheck(network, params, x, y, grads=grads) if not row.ok] == ["b0"]


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0, 300.0])
def test_right_gradients_raise_no_alarm_even_saturated(scale):
    for network in (CLASSES, NUMBERS, LEAKY, SOFTMAX, br.Network([1, 1, 1], ["tanh", "tanh"], "mse")):
        params = parameters(network)
        params.flat *= scale
        rows = gradcheck(network, params, *samples(network, 7), entries=6)
        assert [row for row in rows if not row.ok] == []


def test_small_errors_are_beyond_the_bounds():
    """A relative error of 1e-11 in an entry of a 3-5-4 network's dW is mostly outside what rounding may do."""
    network = br.Network([3, 5, 4], ["tanh", "softmax"], "ce")
    params, (x, y) = parameters(network), samples(network, 7)
    grads, bounds = br.value_and_grad(network, params, x, y)[1], gradient_bounds(network, params, x, y)
    caught = [1e-11 * np.abs(dW) > 2.0 * bound for dW, bound in zip(grads.W, bounds.dW, strict=True)]
    assert np.mean(np.concatenate([part.ravel() for part in caught])) > 0.9
