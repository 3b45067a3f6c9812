"""What is added to a step stays within proven bounds of exact steps in the fast numerics of every backend."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import more, parameters, samples, seldom
from test_bounds import outside

import backprop_ref as br
from backprop_ref.backends import numba_trainer
from backprop_ref.conformance.cases import Values
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
    "elastic net": {"optimizer": br.Adam(0.01, weight_decay=0.03, l1=0.02)},
    "decoupled decay": {"optimizer": br.AdamW(0.01, weight_decay=0.03, l1=0.02)},
    "clip_value": {"optimizer": br.RMSprop(0.01, clip_value=0.05)},
    "clip_norm": {"optimizer": br.SGD(0.1, 0.9, True, clip_norm=0.2)},
    "max_norm": {"optimizer": br.AdaGrad(0.1, max_norm=0.8)},
    "sample_weight": {"optimizer": br.SGD(0.1), "sample_weight": WEIGHTS},
    "class_weight": {"optimizer": br.Adam(0.01), "class_weight": CLASSES},
    "dropout": {"optimizer": br.SGD(0.1, 0.9), "dropout": 0.4},
    "all": {
        "optimizer": br.SGD(0.1, 0.9, weight_decay=0.01, l1=0.02, clip_norm=0.3, max_norm=0.8),
        **{"sample_weight": WEIGHTS, "class_weight": CLASSES, "dropout": 0.4},
    },
}
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


def steps_of(how, x, y, epochs=EPOCHS):
    """x, y, weights and masks of each step."""
    stream, weights, rate = Stream(SEED, "shuffle"), weights_of(how, y), how.get("dropout", 0.0)
    for epoch in range(1, epochs + 1):
        order = stream.permutation(ROWS)
        for rows in (order[start : start + BATCH] for start in range(0, ROWS, BATCH)):
            masks = br.dropout_masks(NETWORK, rate, rows, seed=SEED, epoch=epoch, dtype=y.dtype.name)
            yield x[rows], y[rows], None if weights is None else weights[rows], masks


def exact_and_bounds(how, dtype, epochs=EPOCHS):
    start, steps = parameters(NETWORK, dtype=dtype), [*steps_of(how, *data(dtype), epochs)]
    exact = truth.exact_steps(NETWORK, list(start.W), list(start.b), steps, how["optimizer"])
    near = after(Rounding.of(dtype), NETWORK, start, [(how["optimizer"], *step) for step in steps])
    return Values(W=exact[0], b=exact[1]), Values(*[None] * 7, *([bound(each) for each in part] for part in near))


def trained(how, dtype, epochs=EPOCHS, **further):
    given = {"epochs": epochs, "batch_size": BATCH, "seed": SEED, **how, **further}
    params = br.train(NETWORK, parameters(NETWORK, dtype=dtype), *data(dtype), **given).params
    return Values(W=list(params.W), b=list(params.b))


@pytest.mark.seldom(backend="numba", dtype="float32")
@each_dtype
@each_addition
def test_every_backend_trains_within_the_bounds(backend, added, dtype):
    assert not outside(trained(ADDED[added], dtype, backend=backend), *exact_and_bounds(ADDED[added], dtype))
