"""How others write the same gradient: other layouts of the arrays, and losses that differ by a constant factor.

Ours: W is (n_in, n_out), samples are rows, b is (n_out,), and each loss is a mean over the batch.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from backprop_ref.asking import ask
from backprop_ref.conformance.cases import Case, Values
from backprop_ref.errors import InvalidInput, unknown

WEIGHTS = ("in-out", "out-in")
SAMPLES = ("rows", "columns", "flat")
BIASES = ("flat", "row", "column", "none")
BOTH_MEAN = ("mean_squared_error", "binary_cross_entropy")
"""The losses that are a mean over the outputs too."""


class Layout(NamedTuple):
    """The shapes in which somebody's code takes and gives arrays."""

    weights: str = "in-out"
    samples: str = "rows"
    """``rows``, ``columns``, or ``flat``: one sample as a vector."""
    biases: str = "flat"
    """``flat`` (n,), ``row`` (1, n), ``column`` (n, 1), or ``none``: the network has no biases."""
    one_sample: bool = False

    def give_weights(self, weights):
        """Copies of our weights in this layout."""
        return [np.array(W.T if self.weights == "out-in" else W, order="C") for W in weights]

    def give_biases(self, biases):
        """Copies of our biases in this layout; none if it has none."""
        shapes = {"flat": (-1,), "row": (1, -1), "column": (-1, 1)}
        return [] if self.biases == "none" else [b.reshape(shapes[self.biases]).copy() for b in biases]

    def give_samples(self, x):
        """A copy of x, or of y, in this layout."""
        if self.samples == "columns":
            return np.array(x.T, order="C")
        return x[0].copy() if self.samples == "flat" else x.copy()

    def take_weight(self, array):
        """A weight matrix, or its gradient, in our layout."""
        return array.T if self.weights == "out-in" and array.ndim == 2 else array

    def take_bias(self, array):
        """A bias, or its gradient, in our layout, from any of the usual shapes."""
        return array.reshape(-1) if array.ndim == 0 or (array.ndim == 2 and 1 in array.shape) else array

    def take_samples(self, array):
        """z, a, delta or dx in our layout."""
        if self.samples == "columns" and array.ndim == 2:
            return array.T
        return array[None, :] if self.samples == "flat" and array.ndim == 1 else array

    def take(self, values: Values) -> Values:
        """Everything of an answer in our layout."""
        ways = {"W": self.take_weight, "dW": self.take_weight, "b": self.take_bias, "db": self.take_bias}
        taken: dict[str, Any] = {"loss": values.loss}
        for name in ("z", "a", "delta", "dW", "db", "W", "b"):
            arrays = getattr(values, name)
            way = ways.get(name, self.take_samples)
            taken[name] = None if arrays is None else [None if array is None else way(array) for array in arrays]
        taken["dx"] = None if values.dx is None else self.take_samples(values.dx)
        return Values(**taken)

    def describe(self) -> dict[str, str]:
        """Flag and value of each of its properties."""
        return {"--weights": self.weights, "--samples": self.samples, "--biases": self.biases}


def layouts(declared: dict[str, Any]):
    """Every layout that fits what is declared, the usual ones first; one sample at a time comes last."""
    shapes = [(s, w, b) for s in SAMPLES for w in WEIGHTS for b in BIASES]
    found = [Layout(w, s, b, single) for single in (False, True) for s, w, b in shapes if single or s != "flat"]
    return [
        layout
        for layout in sorted(found, key=lambda layout: (layout.biases == "none", layout.one_sample))
        if all(getattr(layout, name) == value for name, value in declared.items() if value is not None)
    ]


class Factor(NamedTuple):
    """A loss relative to ours: ``batch^batch · n_out^outputs · 2^twos``."""

    batch: int = 0
    outputs: int = 0
    twos: int = 0

    def of(self, case: Case) -> float:
        """The number it is for a case."""
        return float(len(case.x)) ** self.batch * float(case.y.shape[1]) ** self.outputs * 2.0**self.twos

    def exact(self, case: Case) -> bool:
        """Whether dividing by it rounds nothing."""
        return math.frexp(self.of(case))[0] == 0.5

    def __str__(self):
        parts = (("batch", self.batch), ("n_out", self.outputs), ("2", self.twos))
        above = [name for name, power in parts for _ in range(power)]
        below = [name for name, power in parts for _ in range(-power)]
        return " * ".join(above or ["1"]) + "".join(f" / {name}" for name in below)

    def in_words(self, loss: str) -> str:
        """What a loss with this factor is, such as 'half the sum over the batch and the outputs'."""
        batch, outputs = self.batch - 1, self.outputs - (loss in BOTH_MEAN)
        if not {batch, outputs} <= {-1, 0} or abs(self.twos) > 1:
            return f"{self} times ours"
        size = {-1: "half the ", 0: "the ", 1: "twice the "}[self.twos]
        if batch == outputs:
            return f"{size}{'mean' if batch else 'sum'} over the batch and the outputs"
        first, second = ("mean over the batch", "sum over the outputs")
        if batch == 0:
            first, second = ("sum over the batch", "mean over the outputs")
        return f"{size}{first} of the {second}"


SIMPLE = sorted(
    (Factor(*powers) for powers in itertools.product((0, 1, -1), (0, 1, -1), (0, -1, 1))),
    key=lambda factor: sum(map(abs, factor)),
)
"""Every usual factor, the simplest first."""
OF_LOSSES = (*SIMPLE, *(factor._replace(twos=2 * factor.twos) for factor in SIMPLE if factor.twos))
"""Every usual factor of a loss that is there to be seen, in which a ½ or a 2 may stand once more than it should."""


@dataclass(frozen=True)
class Declared:
    """What a submitter says about the code; None is looked for, or taken to be as ours."""

    weights: str | None = None
    samples: str | None = None
    biases: str | None = None
    one_sample: bool | None = None
    in_place: bool = False
    learning_rate: float | None = None

    def __post_init__(self):
        for name, known in (("weights", WEIGHTS), ("samples", SAMPLES), ("biases", BIASES)):
            value = getattr(self, name)
            if value is not None and value not in known:
                raise unknown(ask(f"--{name}"), value, known)
        if self.samples == "flat":
            object.__setattr__(self, "one_sample", True)
        rate = self.learning_rate
        if rate is not None and not (math.isfinite(rate) and rate > 0.0):
            raise InvalidInput(f"{ask('--learning-rate', rate)}: a number above 0 is needed, the rate of the update")

    def layout(self) -> dict[str, Any]:
        """What is declared of the layout."""
        return {name: getattr(self, name) for name in Layout._fields}
