"""Activations of one's own: on arrays and in plain Python, to the same bits; wrong ones, and other backends, refuse."""

import math

import numpy as np
import pytest
from helpers import gradients_of, parameters, samples

import backprop_ref as br
from backprop_ref import formulas
from backprop_ref.conformance.rounding.bounds import gradient_bounds

RULES = {
    "cube": (lambda m, z: 0.125 * (z * z * z), lambda m, z, a, da: da * (0.375 * (z * z))),
    "bend": (lambda m, z: m.where(z > 0.5, z, m.erf(z)), lambda m, z, a, da: m.where(z > 0.5, da, da * slope(m, z))),
}


def slope(m, z):
    return (2.0 / math.sqrt(math.pi)) * m.exp(-(z * z))


def gate_backward(m, z, a, da):
    root, s, sign = m.sqrt(1.0 + z * z), m.sigmoid(abs(z)), m.where(z > 0.0, 1.0, m.where(z < 0.0, -1.0, z))
    return da * (s * (z / root) + root * (sign * (s * (1.0 - s))))


RULES["gate"] = (lambda m, z: m.sqrt(1.0 + z * z) * m.sigmoid(abs(z)), gate_backward)


@pytest.fixture(autouse=True)
def registered():
    for name, pair in RULES.items():
        br.register_activation(name, *pair)
    yield
    for name in RULES:
        del formulas.ACTIVATIONS[name]
    formulas.OWN_ACTIVATIONS.clear()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", RULES)
def test_arrays_and_plain_python_have_the_same_bits(name, dtype):
    network = br.Network([3, 5, 2], [name, name], "mse")
    params, (x, y) = parameters(network, dtype=dtype), samples(network, 7, dtype=dtype)
    first, *others = (
        gradients_of(br.get_backend(one, "reproducible"), network, params, x, y)
        for one in ("numpy", "python", "array_api_strict")
    )
    for other in others:
        assert all(np.asarray(other[key]).tobytes() == np.asarray(found).tobytes() for key, found in first.items())
    again = br.train(network, params, x, y, epochs=3, batch_size=3, optimizer=br.SGD(1e-4), backend="numpy").params
    assert np.isfinite(again.flat).all()


def test_compiled_backends_and_bounds_refuse_them():
    network = br.Network([3, 5, 2], ["cube", "linear"], "mse")
    params, (x, y) = parameters(network), samples(network, 7)
    said = "activation cube is your own, and backend numba has no kernel of it: use numpy or python"
    for call in (br.value_and_grad, br.train):
        with pytest.raises(br.InvalidInput, match=said):
            call(network, params, x, y, backend="numba")
    with pytest.raises(br.InvalidInput, match="no bound on its rounding is proven"):
        gradient_bounds(network, params, x, y)


@pytest.mark.parametrize(
    ("name", "backward", "said"),
    [
        ("square", lambda m, z, a, da: da * z, "at z = -7 the backward rule gives -7; the derivative is -14"),
        ("square", lambda m, z, a, da: m.sine(z), "its rules fail: .*sine"),
        ("tanh", lambda m, z, a, da: da * (2.0 * z), "is there already"),
        ("elu(2)", lambda m, z, a, da: da * (2.0 * z), "a name is a word"),
    ],
)
def test_what_is_no_derivative_or_no_name_is_refused(name, backward, said):
    with pytest.raises(br.InvalidInput, match=said):
        br.register_activation(name, lambda m, z: z * z, backward)
    assert "square" not in formulas.ACTIVATIONS
