"""Gradients against the complex step, and every backend against the bounds of the Error lines."""

import numpy as np
import pytest
from helpers import BATCHES, PAIRS, gradients_of, label, networks, parameters, reference, samples
from hypothesis import given, settings
from hypothesis import strategies as st

import backprop_ref as br
from backprop_ref.conformance.gradcheck import Near, _Point, complex_loss, complex_step, gradcheck
from backprop_ref.conformance.rounding.bounds import gradient_bounds
from backprop_ref.network import ACTIVATIONS

ALL = list(networks())


@pytest.mark.few(1)
@pytest.mark.parametrize("batch", BATCHES)
def test_gradients_equal_the_complex_step(batch):
    """Every permitted activation and loss, depth 0 to 3, odd widths: the figure the project promises is 1e-12."""
    worst = {}
    for network in ALL:
        params, (x, y) = parameters(network), samples(network, batch)
        grads = br.value_and_grad(network, params, x, y)[1]
        with np.errstate(all="ignore"):
            exact = br.Parameters(
                np.array([complex_step(network, params, x, y, i) for i in range(params.flat.size)]), params.sizes
            )
        for kind in ("W", "b"):
            for layer, (got, true) in enumerate(zip(getattr(grads, kind), getattr(exact, kind), strict=True)):
                worst[label(network), kind, layer] = np.abs(got - true).max() / (np.abs(true).max() or 1.0)
    assert max(worst.values()) <= 1e-12, max(worst, key=worst.get)


@pytest.mark.few(8, 150)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("loss", "output"), PAIRS)
def test_backends_stay_within_the_bounds(backend, loss, output, dtype):
    for network in ALL:
        if (network.loss, network.activations[-1]) != (loss, output) or len(
            set(network.activations)
        ) == 1 < network.n_layers:
            continue
        params, (x, y) = parameters(network, dtype=dtype), samples(network, 7, dtype=dtype)
        wide = br.Parameters.from_arrays(params.W, params.b, "float64")
        expected = gradients_of(reference(), network, wide, x, y)
        bounds = gradient_bounds(network, params, x, y)
        for name, got in gradients_of(backend, network, params, x, y).items():
            bound = getattr(bounds, name) if name in {"loss", "dx"} else getattr(bounds, name[:-1])[int(name[-1])]
            assert got.shape == expected[name].shape
            assert name == "loss" or got.dtype == params.dtype
            apart = np.abs(got.astype(np.float64) - expected[name])
            assert np.all(apart <= 2.0 * np.asarray(bound)), f"{label(network)} {name}: {apart.max():.3g}"


@pytest.mark.few(10, 100)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_vjp_is_the_gradient_of_the_weighted_output(backend, activation):
    """For da = 2(a − y)/n the vjp is the gradient of the squared error; da enters linearly and power-of-two exactly."""
    network = br.Network([3, 4, 5], ["tanh", activation], "sse")
    params, (x, y) = parameters(network), samples(network, 7)
    da = 2.0 * (br.predict(network, params, x, backend=backend) - y) / 7.0
    grads, dx = br.vjp(network, params, x, da, backend=backend)
    seen, bounds = br.trace(network, params, x, y, backend=backend), gradient_bounds(network, params, x, y)
    for layer in range(2):
        assert np.all(np.abs(grads.W[layer] - seen.dW[layer]) <= 2.0 * bounds.dW[layer])
        assert np.all(np.abs(grads.b[layer] - seen.db[layer]) <= 2.0 * bounds.db[layer])
    assert np.all(np.abs(dx - seen.dx) <= 2.0 * bounds.dx)
    doubled, dx2 = br.vjp(network, params, x, 2.0 * da, backend=backend)
    np.testing.assert_array_equal(doubled.flat, 2.0 * grads.flat)
    np.testing.assert_array_equal(dx2, 2.0 * dx)


@pytest.mark.few(3)
@pytest.mark.parametrize(("loss", "output"), [pair for pair in PAIRS if not pair[0].endswith("squared_error")])
def test_cross_entropies_are_right_at_extreme_z(backend, loss, output):
    """At z = ±1e4 the loss is linear in z, to the last bit in what it can hold; nothing overflows."""
    network = br.Network([2, 2], [output], loss)
    params = br.Parameters.from_arrays([np.eye(2)], [np.zeros(2)])
    x, y = np.array([[1e4, -1e4], [-1e4, 1e4]]), np.array([[0.0, 1.0], [0.0, 1.0]])
    value, grads = br.value_and_grad(network, params, x, y, backend=backend)
    per_sample = {
        ("cross_entropy", "softmax"): 2e4,
        ("cross_entropy", "sigmoid"): 1e4,
        ("binary_cross_entropy", "sigmoid"): 1e4,
    }
    assert value == per_sample[loss, output] / 2
    assert np.isfinite(grads.flat).all()
    delta = br.trace(network, params, x, y, backend=backend).delta[0]
    wrong = {
        ("cross_entropy", "softmax"): [0.5, -0.5],
        ("cross_entropy", "sigmoid"): [0.0, -0.5],
        ("binary_cross_entropy", "sigmoid"): [0.25, -0.25],
    }
    np.testing.assert_array_equal(delta, [wrong[loss, output], [0.0, 0.0]])


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.few(11)
def test_activations_are_finite_at_extreme_z(backend, activation):
    network = br.Network([1, 3, 2], [activation, activation], "mse")
    params = br.Parameters.from_arrays([[[1e4, -1e4, 0.0]], np.ones((3, 2))], [np.zeros(3), [1.0, -1.0]])
    loss, grads = br.value_and_grad(network, params, [[1.0], [-1.0]], np.zeros((2, 2)), backend=backend)
    assert np.isfinite(loss)
    assert np.isfinite(grads.flat).all()


def test_kinks_take_the_slope_of_the_left(backend):
    """relu'(0) = 0 and leaky_relu'(0) = its slope."""
    for activation, slope in (("relu", 0.0), ("leaky_relu", 0.01)):
        network = br.Network([1, 1], [activation], "sse")
        params = br.Parameters.from_arrays([[[0.0]]], [[0.0]])
        seen = br.trace(network, params, [[1.0]], [[-1.0]], backend=backend)
        assert seen.delta[0][0, 0] == 2.0 * slope


def test_nan_passes_through(backend):
    for activation in ACTIVATIONS:
        network = br.Network([2, 3, 2], [activation, activation], "sse")
        seen = br.trace(network, parameters(network), [[np.nan, 1.0]], [[0.0, 1.0]], backend=backend)
        assert np.isnan(seen.a[0]).all(), activation
        assert np.isnan(seen.dW[0][0]).all(), activation


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_invariances(data):
    """What holds of any right gradient: shuffled samples, a doubled batch, shards, hidden units in another order."""
    network = data.draw(st.sampled_from(ALL))
    batch, seed = data.draw(st.integers(2, 9)), data.draw(st.integers(0, 1000))
    params, (x, y) = parameters(network, seed), samples(network, batch, seed)
    loss, grads = br.value_and_grad(network, params, x, y)
    bounds = gradient_bounds(network, params, x, y)
    allowed = 4.0 * np.concatenate([part.ravel() for pair in zip(bounds.dW, bounds.db, strict=True) for part in pair])
    order = np.random.default_rng(seed).permutation(batch)
    variants = [
        br.value_and_grad(network, params, x[order], y[order]),
        br.value_and_grad(network, params, np.concatenate([x, x]), np.concatenate([y, y])),
        br.value_and_grad(network, params, x, y, shards=data.draw(st.integers(2, 12))),
    ]
    for other_loss, other in variants:
        assert abs(other_loss - loss) <= 4.0 * bounds.loss
        assert np.all(np.abs(other.flat - grads.flat) <= allowed)


def test_inputs_are_never_changed(backend):
    network = br.Network([3, 4, 2], ["leaky_relu", "softmax"], "ce")
    params, (x, y) = parameters(network), samples(network, 5)
    before = params.flat.copy(), x.copy(), y.copy()
    first = br.value_and_grad(network, params, x, y, backend=backend)
    second = br.value_and_grad(network, params, x, y, backend=backend)
    assert first[0] == second[0]
    np.testing.assert_array_equal(first[1].flat, second[1].flat)
    for array, kept in zip((params.flat, x, y), before, strict=True):
        np.testing.assert_array_equal(array, kept)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradcheck_passes_what_is_right(activation):
    network = br.Network([3, 5, 4], [activation, "softmax"], "ce")
    rows = gradcheck(network, parameters(network), *samples(network, 7))
    assert [row.tensor for row in rows] == ["W0", "b0", "W1", "b1", "loss", "Jv"]
    assert all(row.ok for row in rows)


def test_gradcheck_sets_kinks_aside():
    network = br.Network([1, 1, 1], ["relu", "linear"], "sse")
    params = br.Parameters.from_arrays([[[1.0]], [[1.0]]], [[0.0], [0.5]])
    rows = gradcheck(network, params, [[1e-9], [1.0]], [[0.0], [1.0]])
    assert rows[1].kinks == 1
    assert all(row.ok for row in rows)


@pytest.mark.parametrize("planted", ["jvp", "vjp"])
def test_gradcheck_sees_a_jacobian_that_is_not_the_transpose(planted, monkeypatch):
    network = br.Network([3, 5, 4], ["tanh", "softmax"], "ce")
    right = getattr(br, planted)

    def wrong(*arguments, **backend):
        found = right(*arguments, **backend)
        return found * (1.0 + 1e-9) if planted == "jvp" else (found[0], found[1] * (1.0 + 1e-9))

    monkeypatch.setattr(f"backprop_ref.conformance.gradcheck.{planted}", wrong)
    rows = gradcheck(network, parameters(network), *samples(network, 7), entries=1)
    assert [row.tensor for row in rows if not row.ok] == ["Jv"]


@pytest.mark.parametrize("masked", [False, True])
def test_a_loss_with_one_parameter_moved_is_that_of_the_whole_pass(masked):
    """What the parameter does not reach is computed once; the bits are those of a pass from the first layer on."""
    network = br.Network([3, 4, 2, 3], ["relu", "tanh", "softmax"], "cross_entropy")
    params, x = network.init(seed=1), np.array([[0.5, -1.0, 2.0], [1.5, 0.25, -0.5]])
    y = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    masks = [np.array([[2.0, 0.0, 2.0, 0.0]]), np.array([[0.0, 2.0]])] if masked else ()
    for dtype, step in ((np.longdouble, 0.125), (np.clongdouble, 0.125j)):
        near = Near(network, params, x, dtype, masks)
        for index in range(params.flat.size):
            flat = params.flat.astype(dtype)
            flat[index] += step
            loss, sides = complex_loss(network, _Point.at(flat, params.sizes), x, y, masks)
            found, found_sides = near.loss(y, index, dtype(params.flat[index]) + step)
            assert found == loss and np.array_equal(found_sides, sides)
