"""Errors as they are made in the wild, planted one at a time: gradcheck must catch each, or it proves nothing."""

import functools
import sys

import numpy as np
import pytest
from helpers import parameters, samples

import backprop_ref as br
from backprop_ref import mlp
from backprop_ref.backends.arithmetic import Fast
from backprop_ref.backends.numpy import NumpyBackend
from backprop_ref.conformance.bounds import gradient_bounds
from backprop_ref.conformance.gradcheck import gradcheck

CLASSES = br.Network([3, 5, 5, 4], ["tanh", "sigmoid", "softmax"], "ce")
NUMBERS = br.Network([3, 5, 5, 3], ["sigmoid", "relu", "linear"], "mse")
LEAKY = br.Network([3, 5, 4], ["leaky_relu", "sigmoid"], "bce")
SOFTMAX = br.Network([3, 4], ["softmax"], "sse")


class Planted(NumpyBackend):
    """NumPy with some methods replaced: name -> function of the right method and its arguments."""

    def __init__(self, **wrong):
        super().__init__(np, Fast(np))
        for name, function in wrong.items():
            setattr(self, name, functools.partial(function, getattr(self, name)))


def activation(change):
    return {"activation_backward": lambda right, name, z, a, da: change(name, z, a, da, right(name, z, a, da))}


def scaled(factor):
    return {"loss_backward": lambda right, *args: factor(args[4]) * right(*args)}


def derivative_at_a(name, z, a, da, delta):
    s = 1.0 / (1.0 + np.exp(-a))
    return da * s * (1.0 - s) if name == "sigmoid" else delta


def with_dW(change):
    return {"affine_backward": lambda right, delta, a: (change(right(delta, a)[0], delta, a), right(delta, a)[1])}


def with_db(change):
    return {"affine_backward": lambda right, delta, a: (right(delta, a)[0], change(right(delta, a)[1], delta, a))}


PLANTED = {
    "not divided by the batch": (CLASSES, scaled(len)),
    "divided by the batch twice": (CLASSES, scaled(lambda y: 1.0 / len(y))),
    "mean over outputs forgotten": (NUMBERS, scaled(lambda y: y.shape[1])),
    "the 2 of the squared error missing": (NUMBERS, scaled(lambda y: 0.5)),
    "sign": (CLASSES, scaled(lambda y: -1.0)),
    "softmax with an extra p(1 - p)": (
        CLASSES,
        {"loss_backward": lambda right, loss, act, z, a, *rest: right(loss, act, z, a, *rest) * a * (1.0 - a)},
    ),
    "softmax by the diagonal of its Jacobian": (
        SOFTMAX,
        activation(lambda n, z, a, da, d: da * a * (1 - a) if n == "softmax" else d),
    ),
    "sigmoid and binary cross-entropy with an extra a(1 - a)": (
        LEAKY,
        {"loss_backward": lambda right, loss, act, z, a, *rest: right(loss, act, z, a, *rest) * a * (1.0 - a)},
    ),
    "derivative left out": (CLASSES, activation(lambda n, z, a, da, d: da)),
    "derivative of the sigmoid taken at a": (CLASSES, activation(derivative_at_a)),
    "z(1 - z) for a(1 - a)": (CLASSES, activation(lambda n, z, a, da, d: da * z * (1 - z) if n == "sigmoid" else d)),
    "tanh: 1 - a": (CLASSES, activation(lambda n, z, a, da, d: da * (1 - a) if n == "tanh" else d)),
    "tanh: 1 - z²": (CLASSES, activation(lambda n, z, a, da, d: da * (1 - z * z) if n == "tanh" else d)),
    "derivative twice": (CLASSES, activation(lambda n, z, a, da, d: d * a * (1 - a) if n == "sigmoid" else d)),
    "relu without its mask": (NUMBERS, activation(lambda n, z, a, da, d: da if n == "relu" else d)),
    "relu mask from delta": (NUMBERS, activation(lambda n, z, a, da, d: np.where(da > 0, da, 0) if n == "relu" else d)),
    "leaky slope forgotten": (
        LEAKY,
        activation(lambda n, z, a, da, d: np.where(z > 0, da, 0.0) if n == "leaky_relu" else d),
    ),
    "dW transposed": (NUMBERS, with_dW(lambda dW, delta, a: dW.T if dW.shape[0] == dW.shape[1] else dW)),
    "W where its transpose is due": (
        CLASSES,
        {"affine_backward_input": lambda right, d, W: d @ W if W.shape[0] == W.shape[1] else right(d, W)},
    ),
    "mean first, outer product after": (
        CLASSES,
        with_dW(lambda dW, delta, a: np.outer(a.mean(axis=0), delta.sum(axis=0))),
    ),
    "only the last sample": (CLASSES, with_dW(lambda dW, delta, a: np.outer(a[-1], delta[-1]))),
    "first weight skipped": (CLASSES, with_dW(lambda dW, delta, a: np.concatenate([0 * dW[:1], dW[1:]]))),
    "db the mean": (CLASSES, with_db(lambda db, delta, a: db / len(delta))),
    "db zero": (CLASSES, with_db(lambda db, delta, a: 0.0 * db)),
    "db inside the loop over inputs": (CLASSES, with_db(lambda db, delta, a: db * a.shape[1])),
    "db the row sum of dW": (CLASSES, with_db(lambda db, delta, a: (a.T @ delta).sum(axis=0))),
    "a constant added": (NUMBERS, with_dW(lambda dW, delta, a: dW + 1e-6)),
    "one entry off by a part in 10⁹": (
        NUMBERS,
        with_dW(lambda dW, delta, a: dW * np.where(dW == dW.max(), 1 + 1e-9, 1.0)),
    ),
    "NaN in one entry": (CLASSES, with_db(lambda db, delta, a: np.concatenate([[np.nan], db[1:]]))),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_error_is_caught(name):
    network, wrong = PLANTED[name]
    params, (x, y) = parameters(network), samples(network, 7)
    assert all(row.ok for row in gradcheck(network, params, x, y, entries=12))
    rows = gradcheck(network, params, x, y, backend=Planted(**wrong), entries=None)
    assert not all(row.ok for row in rows)


def test_updated_weights_used_further_back_are_caught():
    """The most reported bug of all: each W is updated before the delta of the layer below is made with it."""
    network = CLASSES
    params, (x, y) = parameters(network), samples(network, 7)

    class Updating(Planted):
        def affine_backward(self, delta, a):
            dW, db = super().affine_backward(delta, a)
            self.updated = -0.1 * dW
            return dW, db

        def affine_backward_input(self, delta, W):
            return super().affine_backward_input(delta, W + self.updated)

    rows = gradcheck(network, params, x, y, backend=Updating())
    assert [row.ok for row in rows] == [False] * 4 + [True] * 3


def test_the_wrong_layers_activation_is_caught(monkeypatch):
    """dW made with the layer's own output instead of its input."""
    network = br.Network([5, 5, 5], ["tanh", "linear"], "sse")
    params, (x, y) = parameters(network), samples(network, 7)
    right = mlp.backward

    def wrong(backend, network, params, x, z, a, delta, with_dx=False):
        deltas, _, db, dx = right(backend, network, params, x, z, a, delta, with_dx)
        return deltas, [a[layer].T @ deltas[layer] for layer in range(2)], db, dx

    monkeypatch.setattr(mlp, "backward", wrong)
    rows = {row.tensor: row.ok for row in gradcheck(network, params, x, y)}
    assert not rows["W0"]
    assert not rows["W1"]
    assert rows["b0"]
    assert rows["b1"]


@pytest.mark.parametrize("check", ["complex step", "central differences", "Taylor remainder"])
def test_each_check_decides_alone(check, monkeypatch):
    """A factor of 1.01 on one tensor, with the other two checks made blind."""
    module = sys.modules["backprop_ref.conformance.gradcheck"]
    params, (x, y) = parameters(NUMBERS), samples(NUMBERS, 7)
    grads = br.value_and_grad(NUMBERS, params, x, y)[1]
    grads.W[1][...] *= 1.01
    if check != "complex step":
        monkeypatch.setattr(module, "complex_step", lambda network, params, x, y, index: grads.flat[index])
    if check != "central differences":
        blind = lambda network, params, x, y, index, error: (grads.flat[index], 0.0, False)  # noqa: E731
        monkeypatch.setattr(module, "central_difference", blind)
    if check != "Taylor remainder":
        monkeypatch.setattr(module, "taylor_slope", lambda *_: None)
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
