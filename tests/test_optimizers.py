"""Update rules against the formulas written out with plain numbers, and schedules."""

import dataclasses
import math

import numpy as np
import pytest
from helpers import parameters, samples
from hypothesis import given
from hypothesis import strategies as st

import backprop_ref as br

SIZES = [2, 3]
NUMBERS = st.floats(-1e3, 1e3, width=32)


def by_formula(optimizer, W, gradients, is_weight):
    """One parameter after several steps, in Python floats, every product and sum in the order of the specification."""
    v = m = 0.0
    power1 = power2 = 1.0
    for g in gradients:
        if optimizer.clip_value is not None:
            g = min(max(g, -optimizer.clip_value), optimizer.clip_value)
        if optimizer.l1 and is_weight:
            g = g + (optimizer.l1 if W > 0 else -optimizer.l1 if W < 0 else 0.0)
        if optimizer.decoupled and is_weight:
            W = W - (optimizer.learning_rate * optimizer.weight_decay) * W
        elif (optimizer.weight_decay or optimizer.l2) and is_weight:
            g = g + (optimizer.weight_decay + optimizer.l2) * W
        if isinstance(optimizer, br.Adam):
            power1, power2 = power1 * optimizer.beta1, power2 * optimizer.beta2
            m = optimizer.beta1 * m + (1.0 - optimizer.beta1) * g
            v = optimizer.beta2 * v + (1.0 - optimizer.beta2) * (g * g)
            epsilon = optimizer.epsilon / (math.sqrt(1.0 - power2) if optimizer.epsilon_hat else 1.0)
            W = W - (optimizer.learning_rate * (m / (1.0 - power1))) / (math.sqrt(v / (1.0 - power2)) + epsilon)
        elif isinstance(optimizer, br.RMSprop | br.AdaGrad):
            rmsprop = isinstance(optimizer, br.RMSprop)
            v = optimizer.rho * v + (1.0 - optimizer.rho) * (g * g) if rmsprop else v + g * g
            W = W - (optimizer.learning_rate * g) / (math.sqrt(v) + optimizer.epsilon)
        elif optimizer.momentum:
            v = optimizer.momentum * v + g
            W = W - optimizer.learning_rate * (g + optimizer.momentum * v if optimizer.nesterov else v)
        else:
            W = W - optimizer.learning_rate * g
    return W


OPTIMIZERS = [
    br.SGD(0.1),
    br.SGD(0.3, weight_decay=0.01),
    br.SGD(0.1, momentum=0.9),
    br.SGD(0.1, momentum=0.7, nesterov=True, weight_decay=0.3),
    br.Adam(),
    br.Adam(0.1, beta1=0.5, beta2=0.25, epsilon=1e-3, weight_decay=0.1),
    br.AdamW(0.1, weight_decay=0.1),
    br.Adam(0.1, epsilon=1e-3, epsilon_hat=True),
    br.SGD(0.1, weight_decay=0.1, l1=0.3, l2=0.2),
    br.Adam(0.1, l1=0.2, clip_value=7.0),
    br.RMSprop(0.01, rho=0.7, epsilon=1e-3, weight_decay=0.1),
    br.AdaGrad(0.3, epsilon=1e-6, weight_decay=0.2),
]


@pytest.mark.few(2)
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
@given(data=st.data())
def test_steps_equal_the_formulas_to_the_bit(optimizer, data):
    values = data.draw(st.lists(NUMBERS, min_size=9, max_size=9))
    gradients = data.draw(st.lists(st.lists(NUMBERS, min_size=9, max_size=9), min_size=1, max_size=4))
    params = br.Parameters(np.array(values), SIZES)
    state = optimizer.init(params.flat)
    for gradient in gradients:
        optimizer.step(params, br.Parameters(np.array(gradient), SIZES), state, optimizer.learning_rate)
    for i, value in enumerate(values):
        expected = by_formula(optimizer, value, [gradient[i] for gradient in gradients], is_weight=i < 6)
        assert params.flat[i].hex() == float(expected).hex()


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_float32_stays_float32(optimizer):
    params = br.Parameters(np.linspace(-1, 1, 9, dtype="float32"), SIZES)
    state = optimizer.init(params.flat)
    optimizer.step(params, br.Parameters(np.linspace(2, 3, 9, dtype="float32"), SIZES), state, optimizer.learning_rate)
    assert params.dtype == np.float32
    assert all(slot.dtype == np.float32 for name, slot in state.items() if name != "powers")


def test_a_gradient_is_scaled_to_the_largest_norm():
    """Over all weights and biases, even where squares overflow, or all is 0."""
    for scale in (1.0, 1e-3, 1e200, 1e-200):
        g = br.Parameters(np.linspace(-1.0, 2.0, 9) * scale, SIZES)
        before = g.flat.copy()
        br.SGD(clip_norm=2.0).clip(g)
        wanted = before * min(1.0, 2.0 / scale / math.sqrt(sum(x * x for x in (before / scale).tolist())))
        np.testing.assert_allclose(g.flat, wanted, rtol=1e-15)
    nothing = br.Parameters(np.zeros(9), SIZES)
    br.SGD(clip_norm=2.0).clip(nothing)
    assert not nothing.flat.any()
    br.SGD(clip_norm=2.0).clip(broken := br.Parameters(np.array([math.nan] + [1.0] * 8), SIZES))
    assert math.isnan(broken.flat[0])


def test_weights_into_a_neuron_have_a_largest_norm():
    params = br.Parameters(np.array([3.0, 0.3, 0.0, 4.0, 0.4, -9.0, 7.0, 8.0, 9.0], "float32"), SIZES)
    br.SGD(max_norm=2.0).constrain(params)
    np.testing.assert_allclose(params.W[0], [[1.2, 0.3, 0.0], [1.6, 0.4, -2.0]], rtol=1e-7)
    assert params.b[0].tolist() == [7.0, 8.0, 9.0]
    assert params.W[0][:, 1].tolist() == [np.float32(0.3), np.float32(0.4)]


CONSTRAINED = [
    br.SGD(0.5, l1=0.01, l2=0.02, clip_norm=0.1),
    br.Adam(0.1, clip_value=0.01, max_norm=0.9, weight_decay=0.1),
]


@pytest.mark.few(2)
@pytest.mark.seldom(name="numba", dtype="float32")
@pytest.mark.parametrize("name", ["numba", "python", "array_api_strict", "host_cupy:make"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("optimizer", CONSTRAINED, ids=repr)
def test_every_backend_trains_with_them_to_the_same_bits(name, optimizer, dtype):
    network = br.Network([3, 5, 2], ["tanh", "softmax"], "ce")
    x, y = samples(network, 13, dtype=dtype)
    try:
        other = br.get_backend(name, "reproducible")
    except br.BackendUnavailable as error:
        pytest.skip(str(error))

    def trained(backend, optimizer):
        how = {"epochs": 3, "batch_size": 5, "optimizer": optimizer, "backend": backend, "shards": 2}
        return br.train(network, parameters(network, dtype=dtype), x, y, **how).params.sha256()

    reference = br.get_backend("numpy", "reproducible")
    assert trained(other, optimizer) == trained(reference, optimizer)
    for field in ("l1", "l2", "clip_value", "clip_norm", "max_norm"):
        if value := getattr(optimizer, field):
            usual = dataclasses.replace(optimizer, **{field: 0.0 if field in {"l1", "l2"} else None})
            assert trained(reference, usual) != trained(reference, optimizer), f"{field}={value} does nothing"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: br.SGD(clip_norm=0), "clip_norm=0: a number above 0"),
        (lambda: br.SGD(clip_norm=1, clip_value=1), "by one of them"),
        (lambda: br.Adam(max_norm="1"), "max_norm='1'"),
        (lambda: br.Adam(l1=-1), "l1=-1"),
        (lambda: br.AdamW(l2=1.0), "use Adam"),
        (lambda: br.SGD(-0.1), "learning_rate=-0.1"),
        (lambda: br.SGD(math.nan), "learning_rate=nan"),
        (lambda: br.SGD(math.inf), "learning_rate=inf"),
        (lambda: br.SGD("0.1"), "learning_rate='0.1'"),
        (lambda: br.SGD(0.1, momentum=1.0), "momentum=1.0: a number not below 0 and below 1"),
        (lambda: br.SGD(0.1, nesterov=True), "nesterov needs a momentum"),
        (lambda: br.SGD(0.1, weight_decay=-1), "weight_decay=-1"),
        (lambda: br.Adam(beta1=1.5), "beta1=1.5"),
        (lambda: br.RMSprop(rho=1), "rho=1: a number not below 0 and below 1"),
        (lambda: br.AdaGrad(epsilon=-1), "epsilon=-1"),
        (lambda: br.Step(every=0), "every=0"),
        (lambda: br.Cosine(minimum=-1), "minimum=-1"),
    ],
)
def test_values_out_of_range_are_refused(make, message):
    with pytest.raises(br.InvalidInput, match=message):
        make()


def test_schedules():
    assert [br.Constant()(epoch, 4) for epoch in range(4)] == [1.0] * 4
    assert [br.Step(2, 0.5)(epoch, 6) for epoch in range(6)] == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    cosine = [br.Cosine()(epoch, 4) for epoch in range(5)]
    assert cosine[::2] == [1.0, 0.5, 0.0]
    assert all(a > b for a, b in zip(cosine, cosine[1:], strict=False))
    assert br.Cosine(minimum=0.25)(8, 8) == 0.25
