"""What is added to a step stays within proven bounds of exact steps in the fast numerics of every backend."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import more, parameters, samples, seldom
from naive import Naive
from test_bounds import outside

import backprop_ref as br
from backprop_ref.backends import numba_trainer
from backprop_ref.conformance.cases import Values, mapped, tensors
from backprop_ref.conformance.rounding import truth
from backprop_ref.conformance.rounding.bounds import gradient_bounds
from backprop_ref.conformance.rounding.near import bound
from backprop_ref.conformance.rounding.precision import Rounding
from backprop_ref.conformance.rounding.updates import after
from backprop_ref.random import Stream

NETWORK = br.Network([3, 5, 4], ["softsign", "softmax"], "cross_entropy(0.1)")
"""Labels are smoothed in all of them."""
ROWS, BATCH, EPOCHS, SEED = 13, 5, 2, 7
WEIGHTS = 0.1 + 2.9 * Stream(7, "check").uniform(ROWS)
CLASSES = np.array([0.5, 3.0, 1.0, 2.0])
ADDED = {
    "smoothing": {"optimizer": br.SGD(0.1)},
    "l1": {"optimizer": br.SGD(0.1, 0.9, l1=0.02)},
    "elastic net": {"optimizer": br.Adam(0.01, epsilon=0.01, weight_decay=0.03, l1=0.02)},
    "decoupled decay": {"optimizer": br.AdamW(0.01, epsilon=0.01, weight_decay=0.03, l1=0.02)},
    "clip_value": {"optimizer": br.RMSprop(0.01, epsilon=0.01, clip_value=0.05)},
    "clip_norm": {"optimizer": br.SGD(0.1, 0.9, True, clip_norm=0.2)},
    "max_norm": {"optimizer": br.SGD(0.3, max_norm=0.8)},
    "sample_weight": {"optimizer": br.SGD(0.1), "sample_weight": WEIGHTS},
    "class_weight": {"optimizer": br.Adam(0.01, epsilon=0.01), "class_weight": CLASSES},
    "dropout": {"optimizer": br.SGD(0.1, 0.9), "dropout": 0.4},
    "all": {
        "optimizer": br.SGD(0.1, 0.9, weight_decay=0.01, l1=0.02, clip_norm=0.3, max_norm=0.8),
        "sample_weight": WEIGHTS,
        "class_weight": CLASSES,
        "dropout": 0.4,
    },
}
"""Where a rule divides by what gradients were, ε keeps one that is nearly 0 from deciding everything."""
each_dtype = pytest.mark.parametrize("dtype", ["float64", "float32"])
each_addition = pytest.mark.parametrize("added", ADDED)


def data(dtype):
    return samples(NETWORK, ROWS, dtype=dtype)[0], br.one_hot(np.arange(ROWS) % 5 % 4).astype(dtype)


def weights_of(how, y):
    """What each row counts; None where there are no weights."""
    if not {"sample_weight", "class_weight"} & {*how}:
        return None
    of_classes = CLASSES[y.argmax(axis=1)] if "class_weight" in how else 1.0
    return (how.get("sample_weight", 1.0) * of_classes).astype(y.dtype)


def steps_of(how, x, y):
    """x, y, weights and masks of each step."""
    stream, weights, rate = Stream(SEED, "shuffle"), weights_of(how, y), how.get("dropout", 0.0)
    for epoch in range(1, EPOCHS + 1):
        order = stream.permutation(ROWS)
        for rows in (order[start : start + BATCH] for start in range(0, ROWS, BATCH)):
            masks = br.dropout_masks(NETWORK, rate, rows, seed=SEED, epoch=epoch, dtype=y.dtype.name)
            yield x[rows], y[rows], None if weights is None else weights[rows], masks


def exact_and_bounds(how, dtype, network=NETWORK):
    """W and b after the training, and how far an implementation may be from them."""
    start, steps = parameters(network, dtype=dtype), [*steps_of(how, *data(dtype))]
    exact = truth.exact_steps(network, list(start.W), list(start.b), steps, how["optimizer"])
    near = after(Rounding.of(dtype), network, start, [(how["optimizer"], *step) for step in steps])
    W, b = ([bound(each) for each in part] for part in near)
    return Values(W=exact[0], b=exact[1]), Values(W=W, b=b)


def trained(how, dtype, **further):
    given = {"epochs": EPOCHS, "batch_size": BATCH, "seed": SEED, **how, **further}
    params = br.train(NETWORK, parameters(NETWORK, dtype=dtype), *data(dtype), **given).params
    return Values(W=list(params.W), b=list(params.b))


@pytest.mark.seldom(backend="numba", dtype="float32")
@each_dtype
@each_addition
@pytest.mark.few(9)
def test_every_backend_trains_within_the_bounds(backend, added, dtype):
    assert not outside(trained(ADDED[added], dtype, backend=backend), *exact_and_bounds(ADDED[added], dtype))


@pytest.mark.parametrize(("kind", "dtype"), [more("rows", "float64"), seldom("rows", "float32")])
@each_addition
def test_so_do_programs_for_wide_layers(monkeypatch, kind, added, dtype):
    monkeypatch.setattr(numba_trainer, "NARROW", 0)
    assert not outside(trained(ADDED[added], dtype, backend="numba"), *exact_and_bounds(ADDED[added], dtype))


@each_dtype
@pytest.mark.parametrize("shards", [1, 3])
def test_gradients_of_every_backend_are_within_the_bounds(backend, shards, dtype):
    """Of smoothed labels, weights and masks together."""
    params, (x, y) = parameters(NETWORK, dtype=dtype), data(dtype)
    weights, masks = WEIGHTS.astype(dtype), br.dropout_masks(NETWORK, 0.4, np.arange(ROWS), dtype=dtype)
    exact = truth.exact_pass(NETWORK, list(params.W), list(params.b), x, y, weights=weights, masks=masks)
    bounds = gradient_bounds(NETWORK, params, x, y, sample_weight=weights, masks=masks)
    for left_out in ({}, {"sample_weight": None}, {"masks": None}):
        how = {"sample_weight": weights, "masks": masks, "shards": shards, "backend": backend, **left_out}
        loss, grads = br.value_and_grad(NETWORK, params, x, y, **how)
        assert bool(outside(Values(dW=list(grads.W), db=list(grads.b), loss=loss), exact, bounds)) == bool(left_out)


PLAIN = br.Network(NETWORK.sizes, NETWORK.activations, "cross_entropy")


@each_addition
@pytest.mark.few(5)
def test_naive_code_is_within_the_bounds(added):
    """Other orders of sums, other forms, norms in the working precision."""
    how = ADDED[added]
    for dtype in ("float64", "float32"):
        expected, batches = exact_and_bounds(how, dtype, PLAIN), [*steps_of(how, *data(dtype))]
        for seed in range(5):
            way = Naive(seed, dtype)
            W, b = way.steps(PLAIN, parameters(PLAIN, dtype=dtype), how["optimizer"], batches)
            assert W[0].dtype == dtype
            assert not outside(Values(W=W, b=b), *expected), way.form


def slightly_otherwise(how, factor):
    """The setting of what is added, times a factor."""
    optimizer, least = how["optimizer"], ("l1", "clip_value", "clip_norm", "max_norm")
    changed = {name: getattr(optimizer, name) * factor for name in least if getattr(optimizer, name)}
    if changed:
        return {**how, "optimizer": replace(optimizer, **changed)}
    one = np.where(np.arange(ROWS) == 0, factor, 1.0)
    if "sample_weight" in how:
        return {**how, "sample_weight": how["sample_weight"] * one}
    if "class_weight" in how:
        return {**how, "class_weight": how["class_weight"] * one[:4]}
    return {**how, "dropout": 1.0 - (1.0 - how["dropout"]) * factor}  # the same units, times another number


@pytest.mark.parametrize(("dtype", "planted"), [("float64", 2e-12), ("float32", 2e-3)])
@pytest.mark.parametrize("added", [name for name in ADDED if name != "smoothing"])
@pytest.mark.few(5)
def test_what_is_slightly_otherwise_is_outside(added, dtype, planted):
    """After six steps; and so is an entry that is beyond its bound by a hundredth."""
    exact, bounds = exact_and_bounds(ADDED[added], dtype)
    for factor in (1.0 + planted, 1.0 - planted):
        changed = slightly_otherwise(ADDED[added], factor)
        assert outside(trained(changed, dtype, numerics="reproducible"), exact, bounds), factor
    right = mapped(truth.rounded, exact)
    assert not outside(right, exact, bounds)
    for key, allowed in tensors(bounds).items():
        tensor = tensors(right)[key].copy()
        tensor[-1] += 1.01 * allowed[-1]
        name, layer = key
        planted_in = [tensor if at == layer else each for at, each in enumerate(getattr(right, name))]
        assert [where for where, _ in outside(right._replace(**{name: planted_in}), exact, bounds)] == [key]
