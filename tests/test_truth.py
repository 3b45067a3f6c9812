"""The truth against methods that share nothing with it: the complex step, and exact fractions."""

from fractions import Fraction

import numpy as np
import pytest
from helpers import networks, parameters, samples

import backprop_ref as br
from backprop_ref.conformance.gradcheck import complex_loss, complex_step
from backprop_ref.conformance.rounding import truth
from backprop_ref.network import ACTIVATIONS
from backprop_ref.random import Stream


@pytest.mark.parametrize("network", [n for n in networks() if n.sizes == (3, 5, 2)], ids=str)
def test_truth_equals_the_complex_step(network):
    """Exact to the rounding of extended precision, where the machine has it."""
    params, (x, y) = parameters(network), samples(network, 5)
    exact = truth.exact_pass(network, list(params.W), list(params.b), x, y)
    with np.errstate(all="ignore"):
        steps = np.array([complex_step(network, params, x, y, i) for i in range(params.flat.size)])
        loss = complex_loss(network, params, x, y)[0]
    pairs = zip(exact.dW, exact.db, strict=True)
    flat = np.concatenate([truth.rounded(part).ravel() for pair in pairs for part in pair])
    apart = 2.0**10 * np.finfo(np.longdouble).eps + np.finfo(float).eps
    assert np.abs(flat - steps).max() <= apart * np.abs(flat).max()
    assert abs(float(exact.loss) - loss) <= 2.0**6 * np.finfo(float).eps * abs(loss)


@pytest.mark.parametrize("output", ACTIVATIONS)
def test_an_upstream_gradient_is_the_loss_by_another_way(output):
    """For da = 2(a − y)/n the pass is that of the squared error."""
    network = br.Network([3, 5, 4], ["tanh", output], "sse")
    params, (x, y) = parameters(network), samples(network, 7)
    given = network, list(params.W), list(params.b), x, y
    seen = truth.exact_pass(*given)
    da = [[2 * (a - t) / 7 for a, t in zip(*rows, strict=True)] for rows in zip(seen.a[-1], y.tolist(), strict=True)]
    other = truth.exact_pass(*given, da=da)
    for name in ("dW", "db"):
        for one, two in zip(getattr(seen, name), getattr(other, name), strict=True):
            np.testing.assert_array_equal(truth.rounded(one), truth.rounded(two))
    assert other.loss is None


def dyadic(seed, shape, scale):
    """Small multiples of 1/scale, whose sums and products are exact in binary64."""
    values = Stream(seed, "check").integers_below([2 * scale + 1] * int(np.prod(shape))).reshape(shape)
    return (values - scale) / scale


@pytest.mark.parametrize("output", ["linear", "relu"])
@pytest.mark.parametrize("loss", ["mean_squared_error", "sum_squared_error"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_dyadic_networks_have_the_same_bits_everywhere(backend, output, loss, dtype):
    """Where nothing is rounded every order of summation gives the exact bits, those of fractions."""
    network = br.Network([3, 4, 2], ["relu", output], loss)
    W = [dyadic(1, (3, 4), 4), dyadic(2, (4, 2), 4)]
    b = [dyadic(3, (4,), 4), dyadic(4, (2,), 4)]
    x, y = dyadic(5, (8, 3), 4), dyadic(6, (8, 2), 4)
    exact = truth.exact_pass(network, W, b, x, y, truth.fractions())
    assert isinstance(exact.loss, Fraction)
    seen = br.trace(network, br.Parameters.from_arrays(W, b, dtype), x, y, backend=backend)
    for name in ("z", "a", "delta", "dW", "db"):
        for found, true in zip(getattr(seen, name), getattr(exact, name), strict=True):
            np.testing.assert_array_equal(found, truth.rounded(true))
    assert seen.loss == float(exact.loss)


def test_fractions_and_digits_agree():
    network = br.Network([3, 4, 2], ["leaky_relu", "linear"], "mse")
    params, (x, y) = parameters(network), samples(network, 5)
    given = network, list(params.W), list(params.b), x, y
    one, two = truth.exact_pass(*given), truth.exact_pass(*given, truth.fractions())
    for first, second in zip(one.dW, two.dW, strict=True):
        np.testing.assert_array_equal(truth.rounded(first), truth.rounded(second))


def test_steps_are_those_of_the_definition():
    """One step of plain gradient descent: W − η·dW."""
    network = br.Network([3, 4, 2], ["linear", "linear"], "sse")
    params, (x, y) = parameters(network), samples(network, 5)
    numbers = truth.fractions()
    given = network, list(params.W), list(params.b)
    seen = truth.exact_pass(*given, x, y, numbers)
    W, b = truth.exact_steps(*given, [(x, y)], br.SGD(0.5), numbers)
    for after, before, g in zip(W, params.W, seen.dW, strict=True):
        assert after == [
            [Fraction(w) - g_kj / 2 for w, g_kj in zip(*rows, strict=True)]
            for rows in zip(before.tolist(), g, strict=True)
        ]
    assert b[0] == [Fraction(v) - g / 2 for v, g in zip(params.b[0].tolist(), seen.db[0], strict=True)]
