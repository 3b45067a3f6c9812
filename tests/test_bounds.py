"""No right implementation is ever outside its bound, and small errors are."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import PAIRS, RARE, RARE_OPTIMIZERS, RARE_PAIRS, parameters, samples
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from naive import CHOICES, Naive

import backprop_ref as br
from backprop_ref.conformance.cases import Case, Values, mapped, tensors
from backprop_ref.conformance.rounding import truth
from backprop_ref.conformance.rounding.bounds import gradient_bounds, shares, usual_errors
from backprop_ref.conformance.rounding.precision import SOURCES
from backprop_ref.conformance.rounding.sharpness import actual_errors
from backprop_ref.conformance.rounding.updates import case_bounds
from backprop_ref.conformance.vectors.expected import completed
from backprop_ref.conformance.vectors.recipes import recipes
from backprop_ref.formulas import USUAL_ACTIVATIONS as ACTIVATIONS

NUMBER = truth.high_precision().number
LARGEST_Z = {"float64": 20.0, "float32": 8.0}
SEEDS = range(20)


def exact_errors(found, exact):
    """Differences to exact numbers, each rounded once."""
    flat = np.array(exact, dtype=object).ravel()
    pairs = zip(np.asarray(found, dtype=np.float64).ravel().tolist(), flat, strict=True)
    return np.array([float(NUMBER(value) - true) for value, true in pairs]).reshape(np.shape(found))


def outside(values, exact, bounds):
    """What is outside its bound."""
    exact, bounds = tensors(exact), tensors(bounds)
    return [
        (key, float(np.nanmax(np.abs(exact_errors(found, exact[key])) / bounds[key])))
        for key, found in tensors(values).items()
        if not np.all(np.abs(exact_errors(found, exact[key])) <= bounds[key])
    ]


def distribution(network, y):
    """y, with labels that sum to 1 where textbooks need it: p − y is the gradient only then."""
    if network.activations[-1] == "softmax" and network.loss == "cross_entropy":
        y[0] = np.where(np.arange(y.shape[1]) == 0, 0.75, 0.0) + np.where(np.arange(y.shape[1])[::-1] == 0, 0.25, 0.0)
    return y


def random_case(seed, dtype):
    """A small network of any kind, with |z| up to `LARGEST_Z`."""
    rng = np.random.default_rng(seed)
    pairs, kinds = [*PAIRS, *(("mean_squared_error", name) for name in RARE)], [*ACTIVATIONS, *RARE]
    loss, output = pairs[rng.integers(len(pairs))]
    sizes = [int(n) for n in rng.integers(1, 8, rng.integers(2, 5))]
    hidden = [kinds[i] for i in rng.integers(len(kinds), size=len(sizes) - 2)]
    network = br.Network(sizes, [*hidden, output], loss)
    x, y = samples(network, int(rng.integers(1, 9)), seed)
    y, params = distribution(network, y), parameters(network, seed)
    params.W[-1][...] *= rng.choice([1.0, 1.0, 3.0])
    largest = max(np.abs(z).max() for z in br.trace(network, params, x, y).z)
    params.W[-1][...] *= min(1.0, LARGEST_Z[dtype] / largest)
    params.b[-1][...] *= min(1.0, LARGEST_Z[dtype] / largest)
    params = br.Parameters.from_arrays(params.W, params.b, dtype)
    optimizers = (br.SGD(0.3), br.SGD(0.1, 0.9), br.SGD(0.1, 0.9, True), br.Adam(0.01), *RARE_OPTIMIZERS)
    optimizer = optimizers[rng.integers(len(optimizers))]
    if rng.integers(2):
        optimizer = replace(optimizer, weight_decay=0.1)
    return Case("random", network, params, x.astype(dtype), y.astype(dtype), optimizer=optimizer)


def exact_pass(case):
    return truth.exact_pass(case.network, list(case.params.W), list(case.params.b), case.x, case.y)


def check_random(seed, dtype):
    """A random network, a random naive implementation and NumPy: nothing is outside."""
    case = random_case(seed, dtype)
    exact = exact_pass(case)
    bounds = gradient_bounds(case.network, case.params, case.x, case.y, from_z=False)
    way = Naive(seed, dtype)
    with np.errstate(all="ignore"):
        naive = way.passed(case.network, list(case.params.W), list(case.params.b), case.x, case.y)
    assert naive.dW[0].dtype == case.params.dtype
    for values in (naive, Values.of(br.trace(case.network, case.params, case.x, case.y))):
        assert not outside(values, exact, bounds), (case.network, way.form)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32), dtype=st.sampled_from(["float64", "float32"]))
def test_naive_code_is_within_the_bounds(seed, dtype):
    check_random(seed, dtype)


@pytest.mark.long
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_no_false_alarm_in_ten_thousand_networks(dtype):
    for seed in range(5000):
        check_random(seed, dtype)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), dtype=st.sampled_from(["float64", "float32"]))
@pytest.mark.more
def test_naive_steps_are_within_the_bounds(seed, dtype):
    case, way = random_case(seed, dtype), Naive(seed, dtype)
    assume(largest_z_on_the_way(case) <= 2 * LARGEST_Z[dtype])  # far beyond it naive formulas overflow
    W, b = truth.exact_steps(case.network, list(case.params.W), list(case.params.b), case.batches(), case.optimizer)
    exact = Values(W=W, b=b)
    bounds = case_bounds(case, mapped(truth.rounded, exact_pass(case)._replace(W=W, b=b)))
    with np.errstate(all="ignore"):
        after = way.stepped(case)
    assert after[0][0].dtype == case.params.dtype
    assert not outside(Values(W=after[0], b=after[1]), exact, bounds), (case.network, case.optimizer, way.form)


def largest_z_on_the_way(case):
    """The largest |z| that the steps of a case meet; a high learning rate lets it grow."""
    params, found = case.params.copy(), 0.0
    state = case.optimizer.init(params.flat)
    for x, y in case.batches():
        seen = br.trace(case.network, params, x, y)
        found = max(found, *(float(np.abs(z).max()) for z in seen.z))
        grads = br.Parameters.from_arrays(seen.dW, seen.db, params.dtype)
        case.optimizer.step(params, grads, state, case.optimizer.learning_rate)
    return found


def test_every_choice_of_the_naive_code_is_made():
    made = {(name, Naive(seed, "float64").form[name]) for seed in range(100) for name in CHOICES}
    assert made == {(name, way) for name, ways in CHOICES.items() for way in ways}


def three_five_four(loss, hidden, output, seed):
    network = br.Network([3, 5, 4], [hidden, output], loss)
    x, y = samples(network, 7, seed + 100)
    return Case("sharp", network, parameters(network, seed), x, distribution(network, y))


# After softmax, errors of a are taken as if they did not sum to 0, so that bounds of these losses are wider.
RARE_HIDDEN = [
    *(("sum_squared_error", "tanh", name) for name in RARE),
    *((loss, output, "tanh") for loss, output in RARE_PAIRS if output != "softmax"),
]


@pytest.mark.few(4, 30)
@pytest.mark.parametrize(
    ("loss", "output", "hidden"), [*((*pair, hidden) for pair in PAIRS for hidden in ACTIVATIONS), *RARE_HIDDEN]
)
def test_bounds_are_within_200_times_the_error(loss, output, hidden):
    """Ratio of norms, per tensor, over twenty networks; the same on every machine."""
    squares: dict = {}
    for seed in SEEDS:
        case = three_five_four(loss, hidden, output, seed)
        exact = tensors(exact_pass(case))
        seen = br.trace(case.network, case.params, case.x, case.y, numerics="reproducible")
        bounds = tensors(gradient_bounds(case.network, case.params, case.x, case.y, from_z=False))
        for key, found in tensors(Values.of(seen)).items():
            pair = np.sum(np.square(bounds[key])), np.sum(np.square(exact_errors(found, exact[key])))
            squares[key] = squares.get(key, 0.0) + np.array(pair)
    ratios = {key: np.sqrt(bound / error) for key, (bound, error) in squares.items() if error}
    assert max(ratios.values()) <= 200.0, max(ratios.items(), key=lambda item: item[1])


def test_errors_are_measured_right():
    """Against extended precision as against 50 digits, to a hundredth."""
    case = three_five_four("cross_entropy", "tanh", "softmax", 1)
    found = actual_errors(case.network, case.params, case.x, case.y)
    seen, exact = Values.of(br.trace(case.network, case.params, case.x, case.y)), tensors(exact_pass(case))
    for key, value in tensors(seen).items():
        error = exact_errors(value, exact[key])
        assert np.linalg.norm(found[key] - error) <= 0.01 * np.linalg.norm(error), key


def test_a_planted_error_of_1e_12_is_caught():
    """In one entry of any dW or db of a 3-5-4 network; what remains are entries that are small by cancellation."""
    caught = []
    for loss, output, hidden in [*((*pair, hidden) for pair in PAIRS for hidden in ACTIVATIONS), *RARE_HIDDEN]:
        case = three_five_four(loss, hidden, output, 1)
        exact = exact_pass(case)
        bounds = gradient_bounds(case.network, case.params, case.x, case.y)
        for name in ("dW", "db"):
            for true, bound in zip(getattr(exact, name), getattr(bounds, name), strict=True):
                planted = truth.rounded(true) * (1.0 + 1e-12)
                caught.append(np.abs(exact_errors(planted, true)).ravel() > bound.ravel())
    assert np.mean(np.concatenate(caught)) >= 0.95


def test_sources_add_up():
    """The shares of the sources are those of the bound, to first order."""
    case = three_five_four("cross_entropy", "tanh", "softmax", 1)
    found = shares(case.network, case.params, case.x, case.y)
    assert set(found) == set(SOURCES)
    for layer in range(2):
        total = sum(part.dW[layer] for part in found.values())
        assert 1.0 - 1e-6 <= total <= 1.5


def test_usual_errors_are_smaller_than_bounds():
    case = three_five_four("sum_squared_error", "sigmoid", "linear", 1)
    bounds, usual = (f(case.network, case.params, case.x, case.y) for f in (gradient_bounds, usual_errors))
    assert all(
        np.all(usual <= bound) for bound, usual in zip(tensors(bounds).values(), tensors(usual).values(), strict=True)
    )


def test_bounds_have_the_same_bits_everywhere():
    """They are part of the vectors, so they are made in reproducible arithmetic."""
    first = next(iter(recipes()))
    once, again = completed(first).expected.bound, completed(first).expected.bound
    for key, bound in tensors(once).items():
        np.testing.assert_array_equal(bound, tensors(again)[key])
