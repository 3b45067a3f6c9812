"""What is timed: the ladder of networks, and the batches each of them trains on."""

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from backprop_ref import metrics
from backprop_ref.errors import unknown
from backprop_ref.formulas import LOSSES
from backprop_ref.network import Network
from backprop_ref.parameters import Parameters
from backprop_ref.random import Stream

NUMBERS_OF_DATA = 2**18  # as many as are sure to stay in a processor's caches
FEWEST_BATCHES, MOST_BATCHES = 4, 100
LEARNING_RATE = 2.0**-7


class Rung(NamedTuple):
    """A network and the size of its batches."""

    network: Network
    batch: int
    rows: int | None = None
    """Of an epoch; else as many as caches hold."""
    patience: float = 1.0
    """How many times as long as usual an epoch may take."""

    @property
    def name(self):
        """The widths, such as '2-4-1'."""
        return "-".join(map(str, self.network.sizes))

    @property
    def multiplications(self):
        """How many a training step does in its products: z and dW of each layer, da of each but the first."""
        layers = [n_in * n_out for n_in, n_out in pairwise(self.network.sizes)]
        return self.batch * (3 * sum(layers) - layers[0])


def _rung(sizes, batch, hidden="relu", output="softmax", loss="cross_entropy"):
    return Rung(Network(sizes, [hidden] * (len(sizes) - 2) + [output], loss), batch)


LADDER = {
    rung.name: rung
    for rung in (
        _rung([2, 4, 1], 4, "sigmoid", "sigmoid", "sum_squared_error"),
        _rung([8, 3, 8], 8, "sigmoid", "sigmoid", "sum_squared_error"),
        _rung([2, 5, 1], 1600, "tanh", "sigmoid", "binary_cross_entropy"),
        _rung([20, 128, 64, 32, 3], 32),
        _rung([64, 128, 10], 64),
        _rung([784, 256, 128, 10], 128),
        _rung([784, 2048, 2048, 10], 256),
    )
}
LARGER = {
    rung.name: rung
    for rung in (
        _rung([784, 4096, 4096, 10], 1024)._replace(patience=30.0),
        _rung([100, *[64] * 16, 1], 256, output="sigmoid", loss="binary_cross_entropy"),
        Rung(Network([10, 100, 1], ["relu", "linear"], "mean_squared_error"), 1000, rows=10**6, patience=30.0),
    )
}
"""For a look at what is wide, deep or full of data; only by name."""
QUICK = ("2-4-1", "8-3-8", "20-128-64-32-3")


def rung_of(name):
    """The rung of that name."""
    known = LADDER | LARGER
    if name not in known:
        raise unknown("rung of the ladder", name, known)
    return known[name]


@dataclass(frozen=True)
class Task:
    """What everybody who is timed is given: initial parameters, an epoch of batches, plain gradient descent.

    Targets are random, so that no network can learn them: deltas stay far from the subnormal numbers, which some
    processors are slow with, and as training starts anew in each round, so do the parameters. No number of threads
    leaves each library's own setting.
    """

    rung: Rung
    dtype: str
    threads: int | None = None

    @property
    def network(self):
        return self.rung.network

    @property
    def batch(self):
        return self.rung.batch

    @property
    def batches(self):
        """Steps in an epoch."""
        if self.rung.rows:
            return self.rung.rows // self.batch
        width = self.network.sizes[0] + self.network.sizes[-1]
        return min(max(NUMBERS_OF_DATA // (self.batch * width), FEWEST_BATCHES), MOST_BATCHES)

    @cached_property
    def params(self) -> Parameters:
        """Initial parameters; not to be changed."""
        return self.network.init(1, "he" if "relu" in self.network.activations else "xavier", self.dtype)

    @cached_property
    def data(self):
        """x and y of an epoch, batch after batch."""
        n, stream = self.batches * self.batch, Stream(1, "check")
        n_in, n_out = self.network.sizes[0], self.network.sizes[-1]
        x = stream.normal(n * n_in).reshape(n, n_in)
        if self.network.loss == "cross_entropy" or LOSSES[self.network.loss].one_class:
            y = np.eye(n_out)[stream.integers_below([n_out] * n)]
        else:
            y = stream.integers_below([2] * (n * n_out)).reshape(n, n_out).astype("float64")
        return x.astype(self.dtype), y.astype(self.dtype)

    @property
    def first_batch(self):
        """x and y of the first step."""
        x, y = self.data
        return x[: self.batch], y[: self.batch]

    @property
    def metric(self):
        """What training keeps beside the loss."""
        return metrics.metric_name(self.network, self.data[1])


IDEAL = {"width": 2.0, "batch": 1.0, "depth": 1.0, "rows": 0.0}
"""The powers with which a step's time would grow if it were that of the multiplications alone."""


def scaling_tasks(dtype, threads, quick=False):
    """Networks that differ in one thing only: for width, batch, depth and rows, pairs of the value and its `Task`."""
    widths = (32, 64, 128, 256) if quick else (32, 64, 128, 256, 512, 1024)
    batches = (16, 64, 256) if quick else (4, 16, 64, 256, 1024)
    depths = (1, 2, 4) if quick else (1, 2, 4, 8, 16)
    epochs = (64, 256, 1024) if quick else (64, 256, 1024, 4096)
    rungs = {
        "width": [(width, _rung([width, width, width, 10], 64)) for width in widths],
        "batch": [(batch, _rung([128, 128, 10], batch)) for batch in batches],
        "depth": [(depth, _rung([128] * (depth + 1) + [10], 64)) for depth in depths],
        "rows": [(count, _rung([16, 16, 2], 64)._replace(rows=64 * count)) for count in epochs],
    }
    return {vary: [(value, Task(rung, dtype, threads)) for value, rung in chosen] for vary, chosen in rungs.items()}


def fitted_exponent(values, seconds):
    """p of ``seconds ~ c·values**p``, by least squares in logarithms; None for fewer than two values."""
    if len(values) < 2:
        return None
    x, y = ([math.log(number) for number in numbers] for numbers in (values, seconds))
    middle_x, middle_y = sum(x) / len(x), sum(y) / len(y)
    over = sum((one - middle_x) * (other - middle_y) for one, other in zip(x, y, strict=True))
    return over / sum((one - middle_x) ** 2 for one in x)
