"""Networks, weights and batches made on the spot, on which a submission is measured."""

import functools
import itertools

import numpy as np

from backprop_ref.conformance.cases import Case
from backprop_ref.formulas import ACTIVATIONS, LOSSES, USUAL_ACTIVATIONS, USUAL_LOSSES
from backprop_ref.network import Network
from backprop_ref.parameters import Parameters

SAMPLES = 7
"""Of the batch whose samples are also asked for one by one."""
OTHER_BATCH = 9

OTHER_WIDTHS = {
    1: ((2, 5), (3, 3), (3, 1)),
    2: ((4, 2, 5), (3, 3, 3), (3, 4, 1)),
    3: ((5, 2, 4, 6), (3, 3, 3, 3), (3, 5, 4, 1)),
}
OTHER_WIDTHS |= {4: ((4, 2, 3, 5, 6), (3, 3, 3, 3, 3), (3, 5, 4, 2, 1))}
"""What is right in the first of `WIDTHS` is also tried with growing widths, in a square, and with one output: some bugs
show there alone."""
WIDTHS = {
    1: ((3, 4), (3, 2), (3, 1), (2, 1), (2, 2), (4, 3), (5, 4)),
    2: ((3, 5, 4), (4, 3, 2), (3, 4, 1), (2, 3, 1), (2, 2, 1), (2, 4, 1), (2, 5, 1), (3, 5, 1), (2, 3, 2), (3, 4, 3)),
    3: ((3, 5, 4, 6), (3, 5, 4, 2), (4, 5, 3, 2), (3, 5, 4, 1), (2, 3, 2, 1), (2, 4, 4, 1), (3, 4, 4, 3), (2, 3, 3, 2)),
    4: ((3, 5, 4, 7, 6), (3, 5, 4, 6, 2), (3, 5, 4, 2, 1)),
}
"""By the number of layers, sizes that are tried: first all distinct with more than two outputs, since one of two tells
the other; then those that code is often written for."""


def networks(sizes):
    """Every usual kind of network of these sizes: an activation for all hidden layers, an output, and a loss for it."""
    return _networks(sizes, USUAL_ACTIVATIONS, USUAL_ACTIVATIONS, USUAL_LOSSES)


def rarer_networks(sizes, hidden=tuple(ACTIVATIONS)):
    """Every other kind, with one of these hidden activations: for code that no usual one fits."""
    usual = set(networks(sizes))
    return [one for one in _networks(sizes, hidden, tuple(ACTIVATIONS), tuple(LOSSES)) if one not in usual]


def _networks(sizes, hidden, outputs, losses):
    return [
        Network(sizes, [inner] * (len(sizes) - 2) + [outer], loss)
        for loss in losses
        for outer in LOSSES[loss].outputs
        if outer in outputs and (outer != "softmax" or sizes[-1] > 1)  # else it is always 1
        for inner in (hidden if len(sizes) > 2 else ("linear",))
    ]


@functools.cache
def parameters(sizes, seed=1, biases=()) -> Parameters:
    """Weights and biases that make all neurons differ, and none of them saturate; 0 in layers that have no biases."""
    rng = np.random.default_rng([seed, *sizes])
    W = [rng.normal(0.0, 0.9, (n_in, n_out)) for n_in, n_out in itertools.pairwise(sizes)]
    b = [rng.normal(0.0, 0.5, n) * has for n, has in itertools.zip_longest(sizes[1:], biases, fillvalue=True)]
    return Parameters.from_arrays(W, b)


@functools.cache
def batch(sizes, size, seed=1, hard=False):
    """x, and labels that suit every loss: each row sums to 1 and is soft, or, if `hard`, one-hot; alone, 0 to 1."""
    rng = np.random.default_rng([seed, size, *sizes])
    x, n_out = rng.normal(0.0, 1.0, (size, sizes[0])), sizes[-1]
    if n_out == 1:
        y = rng.uniform(0.1, 0.9, (size, 1))
        return x, (y > 0.5) * 1.0 if hard else y
    y = rng.uniform(0.1, 1.0, (size, n_out))
    y = np.eye(n_out)[rng.permutation(size) % n_out] if hard else y / y.sum(axis=1, keepdims=True)
    return x, y


def case(network, params, x, y, name="made for it") -> Case:
    """A case without expectations."""
    return Case(name, network, params, x, y)
