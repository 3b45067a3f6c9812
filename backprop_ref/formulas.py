"""Every activation, loss and update rule, once.

A rule is written with Python's operators and the words of an `Arithmetic` m. What it computes depends on the numbers it
is given: arrays of any namespace, single numbers, balls that carry their rounding, trees that can be shown, vector
registers, text of another language. The order of the operations is that of "reproducible arithmetic, version 1".

    z   pre-activation        a   activation        y   target        da   dLoss/da        delta   dLoss/dz

A new entry is found by its name everywhere. Witnesses that share nothing with this table have to be told of it apart:
the network in 50 digits, the complex step and the proven bounds; a test names what is missing.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

LEAKY_SLOPE = 0.01

Number: TypeAlias = Any
"""What an arithmetic computes with; it has + − × ÷, abs and comparisons, also with a Python float."""


FUNCTIONS = ("exp", "log", "log1p", "tanh", "sqrt")
"""The words of an arithmetic that are functions of one number."""
SIGNS = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/"}
COMPARISONS = {"less": "<", "less_equal": "<=", "greater": ">", "greater_equal": ">="}
"""Python's operators by the names that NumPy gives them, for numbers that are an ``NDArrayOperatorsMixin``."""


class Words(Protocol):
    """What an arithmetic has to bring along. A row is one sample: its entries are those of the layer's neurons."""

    def exp(self, x: Number) -> Number: ...
    def log(self, x: Number) -> Number: ...
    def log1p(self, x: Number) -> Number: ...
    def tanh(self, x: Number) -> Number: ...
    def sqrt(self, x: Number) -> Number: ...

    def where(self, condition: Number, yes: Number, no: Number) -> Number:
        """``yes`` where the condition holds, else ``no``: a choice, never a product with a mask."""
        ...

    def largest(self, x: Number) -> Number:
        """The largest of each row."""
        ...

    def total(self, x: Number) -> Number:
        """The sum of each row, in order."""
        ...


class Arithmetic:
    """Words made of other words; a base for arithmetics, which may know a better way for their numbers."""

    def sigmoid(self: Any, z: Number) -> Number:
        """1/(1 + exp(−z)) without overflow."""
        e = self.exp(-abs(z))
        return self.where(z >= 0.0, 1.0 / (1.0 + e), e / (1.0 + e))

    def softplus(self: Any, z: Number, less: Number = None) -> Number:
        """log(1 + exp(z)) − less without overflow: (max(z, 0) − less) + log(1 + exp(−|z|))."""
        above = self.where(z > 0.0, z, 0.0)
        return (above if less is None else above - less) + self.log1p(self.exp(-abs(z)))


class Activation(NamedTuple):
    """A pair: a from z, and beneath it delta from z, a and da."""

    forward: Callable[[Any, Number], Number]
    backward: Callable[[Any, Number, Number, Number], Number]
    by_rows: bool = False
    """Whether a depends on every z of its row."""
    z_for_a: bool = True
    """Whether the backward rule gives the same with a in the place of z, so that z need not be stored."""


def softmax(m: Any, z: Number) -> Number:
    """exp(z) over its sum along the row, without overflow."""
    e = m.exp(z - m.largest(z))
    return e / m.total(e)


# fmt: off
ACTIVATIONS: Mapping[str, Activation] = {
    "sigmoid": Activation(
        lambda m, z: m.sigmoid(z),
        lambda m, z, a, da: da * (a * (1.0 - a)),
    ),
    "tanh": Activation(
        lambda m, z: m.tanh(z),
        lambda m, z, a, da: da * (1.0 - a * a),
    ),
    "relu": Activation(
        lambda m, z: m.where(z <= 0.0, 0.0, z),
        lambda m, z, a, da: m.where(z <= 0.0, 0.0, da),
    ),
    "leaky_relu": Activation(
        lambda m, z: m.where(z > 0.0, z, LEAKY_SLOPE * z),
        lambda m, z, a, da: m.where(z > 0.0, da, LEAKY_SLOPE * da),
    ),
    "softmax": Activation(
        softmax,
        lambda m, z, a, da: a * (da - m.total(da * a)),
        by_rows=True,
    ),
    "linear": Activation(
        lambda m, z: z,
        lambda m, z, a, da: da,
    ),
}
# fmt: on


def minus_log_softmax(m: Any, z: Number) -> Number:
    """log S − (z − max) with S the sum of exp(z − max) along the row."""
    shifted = z - m.largest(z)
    return m.log(m.total(m.exp(shifted))) - shifted


class Terms(NamedTuple):
    """A pair: the terms whose sum over n is the loss, and beneath it the error, which over n is dLoss/da, or dLoss/dz
    where a loss and the output activation are differentiated as one."""

    terms: Callable[[Any, Number, Number, Number], Number]
    error: Callable[[Any, Number, Number, Number], Number]
    by_rows: bool = False


# fmt: off
SQUARED_ERROR = Terms(
    lambda m, z, a, y: (a - y) * (a - y),
    lambda m, z, a, y: 2.0 * (a - y),
)
SOFTMAX_CROSS_ENTROPY = Terms(
    lambda m, z, a, y: y * minus_log_softmax(m, z),
    lambda m, z, a, y: a * m.total(y) - y,
    by_rows=True,
)
SIGMOID_CROSS_ENTROPY = Terms(
    lambda m, z, a, y: y * m.softplus(-z),
    lambda m, z, a, y: -(y * m.sigmoid(-z)),
)
SIGMOID_BINARY_CROSS_ENTROPY = Terms(
    lambda m, z, a, y: m.softplus(z, less=z * y),
    lambda m, z, a, y: a - y,
)
# fmt: on


class Loss(NamedTuple):
    """A loss, and how it is differentiated."""

    short: str
    """Its short name."""
    over_outputs: bool
    """Whether n counts the outputs too: a mean over them, not a sum."""
    alone: Terms | None
    """The pair whose error is of a, for any output activation."""
    together: Mapping[str, Terms]
    """By output activation, the pairs whose error is of z."""

    def with_output(self, output: str) -> Terms:
        """The pair for an output activation that it goes with."""
        pair = self.together.get(output, self.alone)
        assert pair is not None, f"no rule for {output}"
        return pair

    def divisor(self, rows: int, n_out: int) -> float:
        """n for so many samples of so many outputs."""
        return float(rows * (n_out if self.over_outputs else 1))

    @property
    def outputs(self) -> tuple[str, ...]:
        """The output activations it goes with."""
        return tuple(self.together) if self.alone is None else tuple(ACTIVATIONS)


TERMS: Mapping[str, Terms] = {
    "squared_error": SQUARED_ERROR,
    "softmax_cross_entropy": SOFTMAX_CROSS_ENTROPY,
    "sigmoid_cross_entropy": SIGMOID_CROSS_ENTROPY,
    "sigmoid_binary_cross_entropy": SIGMOID_BINARY_CROSS_ENTROPY,
}
"""Every pair by name, so that one kernel serves the losses that share it."""

LOSSES: Mapping[str, Loss] = {
    "mean_squared_error": Loss("mse", True, SQUARED_ERROR, {}),
    "sum_squared_error": Loss("sse", False, SQUARED_ERROR, {}),
    "binary_cross_entropy": Loss("bce", True, None, {"sigmoid": SIGMOID_BINARY_CROSS_ENTROPY}),
    "cross_entropy": Loss("ce", False, None, {"softmax": SOFTMAX_CROSS_ENTROPY, "sigmoid": SIGMOID_CROSS_ENTROPY}),
}


class Settings(NamedTuple):
    """The numbers of an update rule, each rounded once to the parameters' precision."""

    rate: Number
    momentum: Number = 0.0
    beta1: Number = 0.0
    rest1: Number = 0.0
    """1 − β1"""
    beta2: Number = 0.0
    rest2: Number = 0.0
    """1 − β2"""
    c1: Number = 0.0
    """1 − β1^t"""
    c2: Number = 0.0
    """1 − β2^t"""
    epsilon: Number = 0.0


class Update(NamedTuple):
    """An update rule: the new W, and the new state, from W, the gradient g and the state."""

    state: tuple[str, ...]
    """What it keeps for each parameter, 0 at first."""
    step: Callable[..., tuple[Number, ...]]
    """``step(m, settings, W, g, *state) -> W, *state``"""


def sgd(m: Any, s: Settings, W: Number, g: Number) -> tuple[Number, ...]:
    """W ← W − η·g"""
    return (W - s.rate * g,)


def momentum(m: Any, s: Settings, W: Number, g: Number, v: Number) -> tuple[Number, ...]:
    """v ← μ·v + g; W ← W − η·v"""
    v = s.momentum * v + g
    return W - s.rate * v, v


def nesterov(m: Any, s: Settings, W: Number, g: Number, v: Number) -> tuple[Number, ...]:
    """v ← μ·v + g; W ← W − η·(g + μ·v)"""
    v = s.momentum * v + g
    return W - s.rate * (g + s.momentum * v), v


def adam(m: Any, s: Settings, W: Number, g: Number, first: Number, second: Number) -> tuple[Number, ...]:
    """m ← β1·m + (1 − β1)·g; v ← β2·v + (1 − β2)·g²; W ← W − (η·(m/c1)) / (√(v/c2) + ε)"""
    first = s.beta1 * first + s.rest1 * g
    second = s.beta2 * second + s.rest2 * (g * g)
    return W - (s.rate * (first / s.c1)) / (m.sqrt(second / s.c2) + s.epsilon), first, second


def decay(W: Number, g: Number, strength: Number) -> Number:
    """Weight decay: g ← g + λ·W, for W and not for b."""
    return g + strength * W


UPDATES: Mapping[str, Update] = {
    "sgd": Update((), sgd),
    "momentum": Update(("velocity",), momentum),
    "nesterov": Update(("velocity",), nesterov),
    "adam": Update(("m", "v"), adam),
}


def together(loss: str, output: str) -> bool:
    """Whether the loss and the output activation are differentiated as one, so that no da stands between them."""
    return output in LOSSES[loss].together


def terms_name(loss: str, output: str) -> str:
    """The name in `TERMS` of the pair of a loss with an output activation."""
    pair = LOSSES[loss].with_output(output)
    return next(name for name, each in TERMS.items() if each is pair)
