"""Activations of one's own: on arrays and in plain Python, to the same bits; wrong ones, and other backends, refuse."""

import math
import subprocess
import sys

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


@pytest.mark.parametrize("name", RULES)
def test_their_second_derivatives_are_those_of_the_rule(name):
    """Against central differences of gradients, to a hundred times the square of the step."""
    network = br.Network([3, 5, 2], [name, "linear"], "mse")
    params, tangent, (x, y) = parameters(network), parameters(network, 5), samples(network, 7)

    def moved(step):
        return br.value_and_grad(network, br.Parameters(params.flat + step * tangent.flat, network.sizes), x, y)[1].flat

    found, wanted = br.hvp(network, params, x, y, tangent).flat, (moved(1e-4) - moved(-1e-4)) / 2e-4
    assert np.abs(found - wanted).max() <= 1e-6 * np.abs(wanted).max()


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
        ("square", lambda m, z, a, da: m.sine(z), "its rules fail: m has no 'sine'; they may use"),
        ("square", lambda m, z, a, da: da * np.exp(z), "NumPy's exp is not of the arithmetic; they may use"),
        ("square", lambda m, z, a, da: da * (2.0 * z**1.0), "NumPy's power is not of the arithmetic"),
        ("square", lambda m, z, a, da: da if z > 0.0 else -da, "if, max and min do not choose, m.where does"),
        ("square", lambda m, z, a, da: None, "one returns None"),
        ("square", lambda m, z: z, "takes 2 positional arguments but 4 were given"),
        ("tanh", lambda m, z, a, da: da * (2.0 * z), "is there already"),
        ("elu(2)", lambda m, z, a, da: da * (2.0 * z), "a name is a word"),
    ],
)
def test_what_is_no_derivative_or_no_name_is_refused(name, backward, said):
    with pytest.raises(br.InvalidInput, match=said):
        br.register_activation(name, lambda m, z: z * z, backward)
    assert "square" not in formulas.ACTIVATIONS


LOADED = """
import sys, backprop_ref as br
for path in sys.argv[1:]:
    try:
        br.load(path)
    except br.InvalidInput as error:
        print(error)
br.register_activation("cube", lambda m, z: 0.125 * (z * z * z), lambda m, z, a, da: da * (0.375 * (z * z)))
print(*(br.load(path).params.sha256() for path in sys.argv[1:]))
"""


def test_a_saved_network_is_loaded_where_its_activation_is_registered(tmp_path):
    network = br.Network([3, 5, 2], ["cube", "linear"], "mse")
    (x, y), model, folder = samples(network, 7), tmp_path / "model.safetensors", tmp_path / "run"
    trained = br.train(network, parameters(network), x, y, epochs=2, optimizer=br.SGD(1e-4), run_dir=folder).params
    br.save(model, network, trained)
    done = subprocess.run([sys.executable, "-c", LOADED, model, folder], capture_output=True, text=True, check=True)
    said = (
        "unknown activation 'cube'; if it is your own, it has to be registered first: br.register_activation('cube', "
    )
    *lines, hashes = done.stdout.splitlines()
    assert [said in line for line in lines] == [True, True]
    assert hashes.split() == [trained.sha256()] * 2
