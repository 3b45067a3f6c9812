"""Every pair of a backend, and a complete pass, on every golden vector; `backprop_ref.conformance.plugin` runs them.

A pair is given what the reproducible arithmetic has at its place. What comes out is then a mixed pass, so the bounds of
a complete pass hold for it, and under reproducible numerics the bits have to be those of the reference.
"""

import numpy as np
import pytest

from backprop_ref.backends import get_backend
from backprop_ref.conformance.cases import Values, tensors
from backprop_ref.conformance.judging.verdict import EXACT, WRONG, verdicts
from backprop_ref.conformance.running import answered, with_decay
from backprop_ref.conformance.vectors.files import shipped_cases


@pytest.fixture
def backend(request):
    """The backend that is judged."""
    return request.config.judged_backend


def check(backend, case, values):
    """Fails unless every tensor has the verdict that is due; extreme cases decide nothing."""
    worst = WRONG if backend.numerics == "fast" else None
    found = verdicts(values, case.expected)
    assert found, "nothing to judge"
    bad = [
        f"{name}[{layer}]: {v.verdict} {v.words or f'{v.ulp:.3g} ulp from the truth'}"
        for (name, layer), v in found.items()
        if v.verdict == worst or (worst is None and v.verdict != EXACT)
    ]
    if bad and not case.deciding:
        pytest.skip("decides nothing: " + bad[0])
    assert not bad, "\n".join(bad)


class Given:
    """A case as the reproducible arithmetic has it, in the backend's arrays."""

    def __init__(self, backend, case):
        self.backend, self.case, self.network = backend, case, case.network
        self.reference = case.expected.reference
        self.layers = range(case.network.n_layers)
        self.last = case.network.activations[-1]

    def __call__(self, array):
        return self.backend.asarray(array, self.case.params.dtype.name)

    def input(self, layer):
        return self(self.reference.a[layer - 1] if layer else self.case.x)

    def output(self, name, layer=-1):
        return self(getattr(self.reference, name)[layer])

    def da(self, layer):
        """dLoss/da of a layer, from the next layer's delta."""
        if layer == self.network.n_layers - 1:
            return self(self.case.da)
        plain = get_backend("numpy", "reproducible")
        with plain.scope():
            return self(plain.affine_backward_input(self.reference.delta[layer + 1], self.case.params.W[layer + 1]))


def affine_forward(given):
    params = given.case.params
    z = [given.backend.affine_forward(given.input(i), given(params.W[i]), given(params.b[i])) for i in given.layers]
    return {"z": z}


def activation_forward(given):
    names = given.network.activations
    return {"a": [given.backend.activation_forward(names[i], given.output("z", i)) for i in given.layers]}


def loss_forward(given):
    output = given.output("z"), given.output("a"), given(given.case.y)
    return {"loss": given.backend.loss_forward(given.network.loss, given.last, *output)}


def loss_backward(given):
    output = given.output("z"), given.output("a"), given(given.case.y)
    delta = [given.output("delta", i) for i in given.layers]
    delta[-1] = given.backend.loss_backward(given.network.loss, given.last, *output)
    return {"delta": delta}


def activation_backward(given):
    delta = [given.output("delta", i) for i in given.layers]
    for i in given.layers if given.case.da is not None else given.layers[:-1]:
        z, a = given.output("z", i), given.output("a", i)
        delta[i] = given.backend.activation_backward(given.network.activations[i], z, a, given.da(i))
    return {"delta": delta}


def affine_backward(given):
    pairs = [given.backend.affine_backward(given.output("delta", i), given.input(i)) for i in given.layers]
    dW, db = ([given.backend.to_numpy(pair[i]) for pair in pairs] for i in (0, 1))
    return {"dW": with_decay(given.case, dW), "db": db}


def affine_backward_input(given):
    return {"dx": given.backend.affine_backward_input(given.output("delta", 0), given(given.case.params.W[0]))}


PAIRS = (
    affine_forward,
    activation_forward,
    loss_forward,
    loss_backward,
    activation_backward,
    affine_backward,
    affine_backward_input,
)


def asked():
    """Each case with the pairs that it has something for."""
    for case in shipped_cases():
        without = {loss_forward, loss_backward} if case.da is not None else set()
        if case.da is None and case.network.n_layers == 1:
            without = {activation_backward}
        for pair in PAIRS:
            if pair not in without:
                yield pytest.param(pair, case, id=f"{pair.__name__}-{case.name}")


@pytest.mark.parametrize(("pair", "case"), list(asked()))
def test_pair(backend, pair, case):
    """One method of the interface, in every layer."""

    def fetched(value):
        if isinstance(value, list):
            return list(map(fetched, value))
        return value if isinstance(value, np.ndarray) else backend.to_numpy(value)

    with backend.scope():
        found = {name: fetched(value) for name, value in pair(Given(backend, case)).items()}
    if "loss" in found:
        found["loss"] = float(found["loss"])
    check(backend, case, Values(**found))


@pytest.mark.parametrize("case", shipped_cases(), ids=lambda case: case.name)
def test_whole_pass(backend, case):
    """Forward, backward, and three steps of the optimizer."""
    check(backend, case, answered(backend, case))


@pytest.mark.parametrize("case", [case for case in shipped_cases() if case.deciding], ids=lambda case: case.name)
def test_a_second_call_gives_the_same(backend, case):
    """And leaves what it was given as it was."""
    given = case.params.flat.copy(), case.x.copy(), case.y.copy()
    first, second = (tensors(answered(backend, case)) for _ in range(2))
    for key, value in first.items():
        np.testing.assert_array_equal(value, second[key], err_msg=str(key))
    for before, now in zip(given, (case.params.flat, case.x, case.y), strict=True):
        np.testing.assert_array_equal(before, now)
