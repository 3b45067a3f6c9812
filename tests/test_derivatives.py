"""Derivatives beside the gradient, against differences of exact passes in 50 digits, and the same bits everywhere."""

import itertools
import warnings

import numpy as np
import pytest
from helpers import PAIRS, label, parameters, samples

import backprop_ref as br
from backprop_ref import formulas
from backprop_ref.backends.arithmetic import Fast
from backprop_ref.conformance.rounding import truth
from backprop_ref.conformance.rounding.bounds import jvp_bounds
from backprop_ref.derivatives.dual import DualArithmetic
from backprop_ref.network import ACTIVATIONS

pytest.importorskip("mpmath", reason="mpmath, the truth, is not installed: pip install 'backprop-ref[truth]'")

NUMBERS = truth.high_precision()
PROMISED = 1e-12
"""The largest relative error that the project promises."""
STEP = NUMBERS.number(10) ** -15
NETWORKS = [
    *(br.Network([3, 2, 4], [hidden, "softmax"], "ce") for hidden in ACTIVATIONS),
    *(br.Network([2, 3, 3], ["tanh", output], loss) for loss, output in PAIRS),
    br.Network([3, 1, 5, 2], ["sigmoid", "softmax", "tanh"], "mse"),
    br.Network([2, 1], ["sigmoid"], "bce"),
]


def moved(params, tangent, step):
    """W and b in 50 digits, a step along the tangent."""
    number = NUMBERS.number
    exact = [number(p) + step * number(t) for p, t in zip(params.flat.tolist(), tangent.flat.tolist(), strict=True)]
    W, b, start = [], [], 0
    for n_in, n_out in itertools.pairwise(params.sizes):
        rows = [exact[start + k * n_out : start + (k + 1) * n_out] for k in range(n_in + 1)]
        W.append(rows[:-1])
        b.append(rows[-1])
        start += (n_in + 1) * n_out
    return W, b


def difference(network, params, tangent, x, y, what, x_dot=None):
    """Central difference of a list of numbers that `what` takes from an exact pass."""
    found = []
    for step in (STEP, -STEP):
        rows = [[NUMBERS.number(v) for v in row] for row in x.tolist()]
        if x_dot is not None:
            rows = [
                [v + step * NUMBERS.number(d) for v, d in zip(*pair, strict=True)]
                for pair in zip(rows, x_dot, strict=True)
            ]
        found.append(what(truth.exact_pass(network, *moved(params, tangent, step), rows, y.tolist(), NUMBERS)))
    return np.array([float((p - m) / (2 * STEP)) for p, m in zip(*found, strict=True)])


def outputs(values):
    return [v for row in values.a[-1] for v in row]


def gradient(values):
    return [v for W, b in zip(values.dW, values.db, strict=True) for v in [*itertools.chain(*W), *b]]


def off(got, true):
    """Largest error relative to the largest entry."""
    return np.abs(got - true).max() / (np.abs(true).max() or 1.0)


@pytest.mark.parametrize("network", NETWORKS, ids=label)
def test_products_equal_differences_of_exact_passes(network):
    params, (x, y) = parameters(network), samples(network, 5)
    tangent, x_dot = parameters(network, 7), samples(network, 5, 8)[0]
    true = difference(network, params, tangent, x, y, gradient)
    assert off(br.hvp(network, params, x, y, tangent).flat, true) < PROMISED
    true = difference(network, params, tangent, x, y, outputs, x_dot.tolist())
    assert off(br.jvp(network, params, x, tangent, x_dot).ravel(), true) < PROMISED


@pytest.mark.parametrize(("loss", "output"), PAIRS)
def test_gauss_newton_is_j_h_j(loss, output):
    """J by exact differences along each parameter; H by those of the loss alone, behind an identity."""
    network = br.Network([2, 2, 3], ["tanh", output], loss)
    params, (x, y), tangent = parameters(network), samples(network, 4), parameters(network, 7)
    together, seen = formulas.together(loss, output), br.trace(network, params, x, y)
    last = (lambda values: [v for row in values.z[-1] for v in row]) if together else outputs
    J = np.array([difference(network, params, along, x, y, last).reshape(4, 3) for along in directions(params)])
    head = br.Network([3, 3], [output if together else "linear"], loss)
    same, at = br.Parameters.from_arrays([np.eye(3)], [np.zeros(3)]), (seen.z if together else seen.a)[-1]
    still, delta = br.Parameters.zeros(head.sizes), lambda values: [v for row in values.delta[0] for v in row]
    columns = [difference(head, same, still, at, y, delta, [unit] * 4) for unit in np.eye(3).tolist()]
    H = np.array(columns).reshape(3, 4, 3)
    G = sum(J[:, s] @ H[:, s] @ J[:, s].T for s in range(4))
    assert off(br.gauss_newton(network, params, x, y, tangent).flat, G @ tangent.flat) < PROMISED


def directions(params):
    return [br.Parameters(row, params.sizes) for row in np.eye(params.flat.size)]


def everything(network, params, x, y, tangent, x_dot, **backend):
    """Every function, by name, as arrays."""
    data = network, params, x, y
    return {
        "jvp": br.jvp(network, params, x, tangent, x_dot, **backend),
        "hvp": br.hvp(*data, tangent, **backend).flat,
        "gauss_newton": br.gauss_newton(*data, tangent, **backend).flat,
        "per_sample": br.per_sample_gradients(*data, **backend).flat,
        "norms": br.gradient_norms(*data, **backend),
        "inputs": br.input_gradients(*data, **backend),
    }


@pytest.mark.few(6)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_backends_agree(backend, dtype):
    """To the bit under reproducible numerics; else as far as rounding goes, and in the dtype of the parameters."""
    for network in (NETWORKS[0], NETWORKS[3], NETWORKS[4], NETWORKS[-2], NETWORKS[-1]):
        params, (x, y) = parameters(network, dtype=dtype), samples(network, 7, dtype=dtype)
        more = parameters(network, 7, dtype), samples(network, 7, 8, dtype)[0]
        true = everything(network, params, x, y, *more, backend="numpy", numerics="reproducible")
        for name, got in everything(network, params, x, y, *more, backend=backend).items():
            assert got.dtype == (np.float64 if name == "norms" else params.dtype), name
            if backend.numerics == "reproducible":
                np.testing.assert_array_equal(got, true[name], err_msg=name)
                assert not (np.signbit(got) != np.signbit(true[name])).any(), name
            else:
                assert off(got, true[name]) < 1000 * np.finfo(dtype).eps, name


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_jvp_stays_within_its_bound(backend, dtype):
    for network in (NETWORKS[1], NETWORKS[3], NETWORKS[4], NETWORKS[-2]):
        params, x = parameters(network, dtype=dtype), samples(network, 7, dtype=dtype)[0]
        more = parameters(network, 7, dtype), samples(network, 7, 8, dtype)[0]
        got = br.jvp(network, params, x, *more, backend=backend)
        wide, tangent = (br.Parameters(each.flat.astype(float), each.sizes) for each in (params, more[0]))
        apart = np.abs(got - br.jvp(network, wide, x, tangent, more[1]))
        assert np.all(apart <= 2.0 * jvp_bounds(network, params, x, *more)), label(network)


def test_samples_alone_give_what_they_give_together():
    network = br.Network([3, 4, 2], ["relu", "softmax"], "ce")
    params, (x, y) = parameters(network), samples(network, 5)
    with br.use(numerics="reproducible"):
        found, norms = br.per_sample_gradients(network, params, x, y), br.gradient_norms(network, params, x, y)
        inputs = br.input_gradients(network, params, x, y)
        for s in range(5):
            row = slice(s, s + 1)
            alone = br.value_and_grad(network, params, x[row], y[row])[1]
            assert found.flat[s].tobytes() == alone.flat.tobytes()
            np.testing.assert_array_equal(found.W[1][s], alone.W[1])
            np.testing.assert_array_equal(found.b[0][s], alone.b[0])
            np.testing.assert_array_equal(inputs[s], br.trace(network, params, x[row], y[row]).dx[0])
        np.testing.assert_allclose(norms, np.linalg.norm(found.flat, axis=1), rtol=1e-14)
        tiny = br.Parameters(params.flat * 1e-170, params.sizes)
        linear = br.Network([3, 4, 2], ["linear", "linear"], "sse")
        assert (br.gradient_norms(linear, tiny, x, 1e-170 * y) > 0.0).all()


def test_the_jacobian_and_its_transpose_agree(backend):
    network = br.Network([3, 5, 4], ["leaky_relu", "softmax"], "ce")
    params, (x, u) = parameters(network), samples(network, 7)
    tangent, x_dot = parameters(network, 7), samples(network, 7, 8)[0]
    left = np.sum(br.jvp(network, params, x, tangent, x_dot, backend=backend) * u)
    grads, dx = br.vjp(network, params, x, u, backend=backend)
    assert abs(left - grads.flat @ tangent.flat - np.sum(dx * x_dot)) < PROMISED * abs(left)


def test_kinks_are_said(backend):
    """At z = 0 of relu, where the direction leads away from it, and nowhere else."""
    network = br.Network([1, 1, 1], ["relu", "linear"], "sse")
    params = br.Parameters.from_arrays([[[1.0]], [[1.0]]], [[0.0], [0.0]])
    away, along = (br.Parameters.from_arrays([[[1.0]], [[1.0]]], [[b], [1.0]]) for b in (1.0, 0.0))
    products = (
        lambda x, tangent: br.jvp(network, params, x, tangent, backend=backend),
        lambda x, tangent: br.hvp(network, params, x, [[1.0]], tangent, backend=backend),
        lambda x, tangent: br.gauss_newton(network, params, x, [[1.0]], tangent, backend=backend),
    )
    for product in products:
        with pytest.warns(RuntimeWarning, match=r"a kink in layer 0 \(relu\) at 1 entries"):
            product([[0.0]], away)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            product([[0.0]], along)
            product([[1.0]], away)


RULES = {
    "exp": lambda m, x: m.exp(x),
    "log": lambda m, x: m.log(x + 3.0),
    "log1p": lambda m, x: m.log1p(x / 3.0),
    "tanh": lambda m, x: m.tanh(2.0 * x),
    "sqrt": lambda m, x: m.sqrt(x * x + 4.0),
    "sigmoid": lambda m, x: m.sigmoid(-x),
    "softplus": lambda m, x: m.softplus(x, less=x * 0.25),
    "quotient": lambda m, x: (x - 1.0) / (x * x + 1.0) + 1.0 / (2.0 - (1.0 - x) * x),
    "abs": lambda m, x: x * abs(x) - abs(-x),
    "where": lambda m, x: m.where(x > 0.25, 1.0, x) * m.where(x <= -1.0, x * x, 2.0),
    "total": lambda m, x: m.total(x * x) * x,
}


@pytest.mark.parametrize("rule", RULES)
def test_dual_numbers_differentiate_every_word(rule):
    """Against central differences of the same rule in 80-bit numbers, where there are such."""
    x, dot, h = np.array([[-1.5, -0.5, 0.1, 0.75, 2.0]]), np.array([[1.0, -2.0, 0.5, 3.0, 1.0]]), 2.0**-14
    words = DualArithmetic(Fast(np), np.count_nonzero)
    got = RULES[rule](words, words.number(x, dot))
    wide = (x.astype(np.longdouble) + step * dot for step in (-2 * h, -h, h, 2 * h))
    f = [RULES[rule](Fast(np), each) for each in wide]
    np.testing.assert_allclose(got.value, RULES[rule](Fast(np), x), rtol=1e-15)
    rounding = 64.0 * np.finfo(np.longdouble).eps / h
    assert off(got.dot, ((f[0] - f[3]) + 8.0 * (f[2] - f[1])) / (12.0 * h)) < max(rounding, 16.0 * np.finfo(float).eps)
    assert words.kinks == 0


def test_dual_numbers_tell_jumps_from_bends():
    """An elu's slope bends at 0 and does not jump; what a formula says in a word of its own is refused."""
    words = DualArithmetic(Fast(np), np.count_nonzero)
    z = words.number(np.array([[0.0, 0.0, 1.0]]), np.array([[1.0, 0.0, 1.0]]))
    words.where(z > 0.0, 3.0, 3.0 * (z + 1.0))
    assert (words.jumps, words.kinks) == (0, 1)
    abs(z)
    assert (words.jumps, words.kinks) == (0, 2)
    words.where(z > 0.0, 1.0, -1.0)
    assert (words.jumps, words.kinks) == (1, 3)
    with pytest.raises(br.InvalidInput, match="no second derivative is known of a formula with 'largest'"):
        words.largest(z)


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_products_agree_with_other_libraries(name):
    """Their autodifferentiation of a network written in their own operations."""
    other = pytest.importorskip(name, reason=f"{name} is not installed")
    network = br.Network([3, 4, 2], ["tanh", "linear"], "mse")
    params, (x, y), tangent = parameters(network), samples(network, 5), parameters(network, 7)
    pairs = [[array for pair in zip(p.W, p.b, strict=True) for array in pair] for p in (params, tangent)]

    def products(array, tanh, jvp, grad):
        x_, y_, *weights = map(array, (x, y, *pairs[0]))

        def output(W, b, V, c):
            return tanh(x_ @ W + b) @ V + c

        def loss(*weights):
            return ((output(*weights) - y_) ** 2).mean()

        moved = tuple(map(array, pairs[1]))
        gradient = grad(loss, (0, 1, 2, 3))
        return np.asarray(jvp(output, tuple(weights), moved)[1]), jvp(gradient, tuple(weights), moved)[1]

    if name == "torch":
        forward, second = products(other.from_numpy, other.tanh, other.func.jvp, other.func.grad)
    else:
        with other.enable_x64(True):
            forward, second = products(other.numpy.asarray, other.numpy.tanh, other.jvp, other.grad)
    assert off(br.jvp(network, params, x, tangent), forward) < PROMISED
    true = np.concatenate([np.ravel(np.asarray(part)) for part in second])
    assert off(br.hvp(network, params, x, y, tangent).flat, true) < PROMISED


def test_what_does_not_fit_is_refused():
    network = br.Network([2, 1], ["sigmoid"], "bce")
    params, x, y = network.init(), [[0.0, 1.0]], [[1.0]]
    for message, call in {
        "needs a direction": lambda: br.jvp(network, params, x),
        "x_tangent has 2": lambda: br.jvp(network, params, x, x_tangent=[[0.0, 1.0]] * 2),
        "tangent is ndarray": lambda: br.hvp(network, params, x, y, np.zeros(3)),
        "dtype float32": lambda: br.hvp(network, params, x, y, network.init(dtype="float32")),
        r"sizes \[2, 1\]": lambda: br.gauss_newton(network, params, x, y, br.Network([1, 1], ["linear"], "mse").init()),
    }.items():
        with pytest.raises(br.InvalidInput, match=message):
            call()
