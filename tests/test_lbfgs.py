"""L-BFGS: its line search, its steps beside torch's and SciPy's, and the minima that it comes to."""

import math

import numpy as np
import pytest
from helpers import parameters, samples
from scipy.optimize import minimize

import backprop_ref as br
from backprop_ref.optimizers.lbfgs import CURVATURE, DECREASE, Point, line_search
from backprop_ref.random import Stream

NETWORK = br.Network([3, 5, 4], ["tanh", "softmax"], "ce")
CURVES = {
    "parabola": (lambda t: (t - 3.0) ** 2, lambda t: 2.0 * (t - 3.0)),
    "steep": (lambda t: np.cosh(20.0 * t - 1.0), lambda t: 20.0 * np.sinh(20.0 * t - 1.0)),
    "quartic": (lambda t: (t - 1.0) ** 4 - t, lambda t: 4.0 * (t - 1.0) ** 3 - 1.0),
    "waves": (lambda t: -t / 5.0 + math.sin(4.0 * t) / 6.0 + t * t / 40.0 - t, None),
    "wall": (lambda t: -t if t < 0.5 else math.inf, lambda t: -1.0 if t < 0.5 else math.nan),
}


@pytest.mark.parametrize("first", [1e-6, 1e-2, 0.3, 1.0, 40.0])
@pytest.mark.parametrize("curve", CURVES)
def test_the_line_search_ends_where_the_wolfe_conditions_hold(curve, first):
    """Moré and Thuente's kind of curves; behind the wall, where nothing is finite, it is lower at least."""
    value, slope = CURVES[curve]
    slope = slope or (lambda t: -1.2 + 4.0 * math.cos(4.0 * t) / 6.0 + t / 20.0)
    seen = []

    def at(t):
        seen.append(t)
        return Point(t, value(t), slope(t), None)

    start = Point(0.0, value(0.0), slope(0.0), None)
    with np.errstate(over="ignore"):
        found = line_search(at, start, first, 25)
    assert len(seen) <= 26 and found.t in seen
    assert found.value <= start.value + DECREASE * found.t * start.slope
    if curve != "wall":
        assert abs(found.slope) <= CURVATURE * abs(start.slope)


def test_it_keeps_to_its_evaluations():
    seen = []

    def at(t):
        seen.append(t)
        return Point(t, -t, -1.0, None)  # falls for ever

    assert line_search(at, Point(0.0, 0.0, -1.0, None), 1.0, 4).t == max(seen)
    assert len(seen) == 5


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_backend_has_the_same_bits(backend, dtype):
    if backend.numerics == "fast":
        pytest.skip("fast numerics have bits of their own")
    given = NETWORK, parameters(NETWORK, dtype=dtype), *samples(NETWORK, 13, dtype=dtype)
    how = {"epochs": 6, "batch_size": None, "optimizer": br.LBFGS(weight_decay=0.01), "shards": 2}
    wanted = br.train(*given, backend="numpy", numerics="reproducible", **how)
    assert br.train(*given, backend=backend, **how).params.sha256() == wanted.params.sha256()
    assert wanted.params.sha256() != parameters(NETWORK, dtype=dtype).sha256()


def penalised(network, x, y, strength):
    """What is minimised, and its gradient, of a flat vector."""

    def of(flat):
        params = br.Parameters(flat.copy(), network.sizes)
        loss, grads = br.value_and_grad(network, params, x, y)
        for dW, W in zip(grads.W, params.W, strict=True):
            dW += strength * W
        return loss + strength / 2 * sum((W * W).sum() for W in params.W), grads.flat

    return of


def iris():
    from backprop_ref.data import Preprocessing, load_dataset

    data = load_dataset("iris")
    preparation = Preprocessing.fit(data, rows=slice(None))
    return preparation.x(data.x), preparation.y(data.target), data.target


def test_scipy_and_scikit_learn_come_to_the_same_minimum():
    """Softmax regression of iris, which has one. SciPy's line search is another, so steps differ, and the end does not;
    scikit-learn divides its C by nothing: λ = 1/(C·n)."""
    from sklearn.linear_model import LogisticRegression

    x, y, labels = iris()
    network, strength = br.Network([4, 3], ["softmax"], "ce"), 0.01
    how = {"epochs": 60, "batch_size": None, "optimizer": br.LBFGS(weight_decay=strength)}
    ours = br.train(network, network.init(), x, y, **how).params
    value, gradient = penalised(network, x, y, strength)(ours.flat)
    assert np.abs(gradient).max() < 1e-8
    options = {"maxiter": 500, "ftol": 1e-15, "gtol": 1e-10}
    theirs = minimize(
        penalised(network, x, y, strength), network.init().flat, jac=True, method="L-BFGS-B", options=options
    )
    assert abs(value - theirs.fun) <= 1e-12 * value
    W = ours.W[0]
    assert np.abs(W - br.Parameters(theirs.x, network.sizes).W[0]).max() <= 1e-6 * np.abs(W).max()
    fitted = LogisticRegression(C=1 / (strength * len(x)), tol=1e-10, max_iter=1000).fit(x, labels)
    assert np.abs(W - fitted.coef_.T).max() <= 1e-6 * np.abs(W).max()


def test_it_trains_a_network_on_real_data_in_few_epochs():
    """To a hundredth of the first gradient; Adam is far above it after as many epochs."""
    x, y, _ = iris()
    network, strength = br.Network([4, 8, 3], ["tanh", "softmax"], "ce"), 0.001
    given = {"batch_size": None, "epochs": 100}
    found = br.train(network, network.init(), x, y, optimizer=br.LBFGS(weight_decay=strength), **given)
    value, gradient = penalised(network, x, y, strength)(found.params.flat)
    of_start = penalised(network, x, y, strength)(network.init().flat)[1]
    assert np.abs(gradient).max() <= 0.01 * np.abs(of_start).max()
    adam = br.train(network, network.init(), x, y, optimizer=br.Adam(0.01, weight_decay=strength), **given)
    assert value < 0.9 * penalised(network, x, y, strength)(adam.params.flat)[0]
    assert found.history["accuracy"][-1] >= 0.98


def test_at_a_minimum_it_stays():
    network = br.Network([1, 1], ["linear"], "mse")
    params = br.Parameters.from_arrays([[[2.0]]], [[1.0]])
    result = br.train(network, params, [[0.0], [1.0]], [[1.0], [3.0]], batch_size=None, optimizer=br.LBFGS(), epochs=3)
    assert result.params.sha256() == params.sha256() and result.epochs == 3


def test_what_it_cannot_do_is_refused():
    given = NETWORK, parameters(NETWORK), *samples(NETWORK, 13)
    for how, told in (({"batch_size": 5}, "all rows"), ({"batch_size": None, "dropout": 0.5}, "dropout")):
        with pytest.raises(br.InvalidInput, match=told):
            br.train(*given, optimizer=br.LBFGS(), **how)
    for settings in ({"memory": 0}, {"memory": 2.0}, {"evaluations": 0}, {"learning_rate": -1.0}, {"memory": True}):
        with pytest.raises(br.InvalidInput):
            br.LBFGS(**settings)


def test_torch_makes_the_same_steps():
    """With the line search that it calls strong_wolfe, one iteration a step; it stops where steps are below 1e-9."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    x, y = samples(NETWORK, 40)
    start = parameters(NETWORK)
    flat = torch.tensor(start.flat, requires_grad=True)
    theirs = torch.optim.LBFGS(
        [flat], max_iter=1, max_eval=100, history_size=4, tolerance_grad=0.0, line_search_fn="strong_wolfe"
    )

    def loss():
        theirs.zero_grad()
        a, begin = torch.tensor(x), 0
        for layer, (n_in, n_out) in enumerate(((3, 5), (5, 4))):
            W = flat[begin : begin + n_in * n_out].reshape(n_in, n_out)
            z = a @ W + flat[begin + n_in * n_out : begin + (n_in + 1) * n_out]
            a, begin = (torch.tanh(z) if layer == 0 else torch.log_softmax(z, dim=1)), begin + (n_in + 1) * n_out
        value = -(torch.tensor(y) * a).sum() / len(y)
        value.backward()
        return value

    params, state = start, None
    for _ in range(12):
        theirs.step(loss)
        how = {"epochs": 1, "batch_size": None, "optimizer": br.LBFGS(memory=4), "state": state}
        result = br.train(NETWORK, params, x, y, **how)
        params, state = result.params, result.state
        apart = np.abs(params.flat - flat.detach().numpy()).max() / np.abs(params.flat).max()
        assert apart <= 1e-10
        assert result.epochs > 5 or apart <= 1e-12


def test_the_direction_is_newtons_on_a_quadratic_with_enough_memory():
    """After n steps whose changes span the space, H is the inverse of the matrix."""
    stream = Stream(4, "check")
    square = stream.normal(9).reshape(3, 3)
    matrix = square @ square.T + np.eye(3)
    method, slots = br.LBFGS(memory=3), br.LBFGS(memory=3).init(np.zeros(3))
    basis = np.linalg.qr(stream.normal(9).reshape(3, 3))[0]
    values, vectors = np.linalg.eigh(matrix)
    for column in vectors.T:  # conjugate directions
        method.remember(slots, column, matrix @ column)
    g = basis[0]
    np.testing.assert_allclose(method.direction(slots, g), -np.linalg.solve(matrix, g), rtol=1e-12)
    assert (values > 0).all()
    before = {name: slot.copy() for name, slot in slots.items()}
    method.remember(slots, g, -g)  # no curvature: left out
    assert all((slots[name] == slot).all() for name, slot in before.items())
