"""Every activation, loss and update rule, once.

A rule is written with Python's operators and the words of an `Arithmetic` m. What it computes depends on the numbers it
is given: arrays of any namespace, single numbers, balls that carry their rounding, trees that can be shown, vector
registers, text of another language. The order of the operations is that of "reproducible arithmetic, version 1".

    z   pre-activation        a   activation        y   target        da   dLoss/da        delta   dLoss/dz

A new entry is found by its name everywhere. Some entries take a number, as in ``elu(0.5)``. Witnesses that share
nothing with this table have to be told of it apart: the network in 50 digits, the complex step, the proven bounds and
the example in C; a test names what is missing.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

Number: TypeAlias = Any
"""What an arithmetic computes with; it has + − × ÷, abs and comparisons, also with a Python float."""


FUNCTIONS = ("exp", "expm1", "log", "log1p", "tanh", "erf", "sqrt")
"""The words of an arithmetic that are functions of one number."""
SIGNS = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/"}
COMPARISONS = {"less": "<", "less_equal": "<=", "greater": ">", "greater_equal": ">="}
"""Python's operators by the names that NumPy gives them, for numbers that are an ``NDArrayOperatorsMixin``."""


class Words(Protocol):
    """What an arithmetic has to bring along. A row is one sample: its entries are those of the layer's neurons."""

    def exp(self, x: Number) -> Number: ...
    def expm1(self, x: Number) -> Number: ...
    def log(self, x: Number) -> Number: ...
    def log1p(self, x: Number) -> Number: ...
    def tanh(self, x: Number) -> Number: ...
    def erf(self, x: Number) -> Number: ...
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

    def width(self, x: Number) -> Number:
        """How many entries each row has."""
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


Rule = TypeVar("Rule")


class Family(NamedTuple, Generic[Rule]):
    """Rules that differ in a number."""

    symbol: str
    """How the number is called."""
    default: float
    """What it is where the name stands alone."""
    of: Callable[[Number], Rule]
    """The rule for a number."""
    above: float = 0.0
    below: float = math.inf
    """Between what the number has to be, if it is not the default."""


class Table(dict[str, Rule]):
    """Rules by name; those of a family by ``name(number)`` too, which are made when they are first asked for.

    The names that it lists are the plain ones.
    """

    def __init__(self, rules: Mapping[str, Rule | Family[Rule]]) -> None:
        self.families = {name: rule for name, rule in rules.items() if isinstance(rule, Family)}
        super().__init__(
            {name: rule.of(rule.default) if isinstance(rule, Family) else rule for name, rule in rules.items()}
        )
        self._made: dict[str, Rule] = {}

    def __missing__(self, name: str) -> Rule:
        if name not in self._made:
            plain, number = self.parts(name)
            if number is None:
                raise KeyError(name)
            self._made.setdefault(name, self.families[plain].of(number))
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (isinstance(name, str) and self.parts(name)[1] is not None)

    def parts(self, name: str) -> tuple[str, float | None]:
        """The plain name, and the number: of a rule without one, and of what is no name at all, None."""
        found = re.fullmatch(r"(\w+)\(([^()]+)\)", name)
        family = self.families.get(found[1] if found else name)
        if family is None or not found:
            return name, family and family.default
        try:
            number = float(found[2])
        except ValueError:
            number = math.nan
        fits = family.above < number < family.below or number == family.default
        return (found[1], number) if fits else (name, None)

    def spelled(self, name: str) -> str:
        """The one spelling of a name: ``elu(1.0)`` is elu. What is no name stays as it is.

        Raises
        ------
        ValueError
            The number is not what the family takes.
        """
        plain, number = self.parts(name)
        if number is not None:
            default = number == self.families[plain].default
            return plain if default else f"{plain}({float(number)!r})".replace(".0)", ")")
        family = self.families.get(name.partition("(")[0])
        if family and name.endswith(")"):
            known = name.partition("(")[0]
            limit = "" if family.below == math.inf else f" and below {family.below:g}"
            needed = f"{known}({family.symbol}) with a number {family.symbol} above {family.above:g}{limit}"
            raise ValueError(f"'{name}': {needed}, or {known} alone for {family.default:g}, is needed")
        return name


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


def leaky_relu(slope: Number) -> Activation:
    """z where it is positive, else slope·z."""
    return Activation(
        lambda m, z: m.where(z > 0.0, z, slope * z),
        lambda m, z, a, da: m.where(z > 0.0, da, slope * da),
    )


def elu(alpha: Number) -> Activation:
    """z where it is positive, else α·(exp(z) − 1), whose derivative is a + α."""
    return Activation(
        lambda m, z: m.where(z > 0.0, z, alpha * m.expm1(-abs(z))),
        lambda m, z, a, da: m.where(z > 0.0, da, da * (a + alpha)),
    )


SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
"""λ and α that keep mean 0 and variance 1 (Klambauer, Unterthiner, Mayr and Hochreiter, 2017)."""
SELU_FLOOR = SELU_SCALE * SELU_ALPHA


def silu_slope(m: Any, z: Number) -> Number:
    """σ(z)·(1 + z·(1 − σ(z)))"""
    s = m.sigmoid(z)
    return s * (1.0 + z * (1.0 - s))


def normal(m: Any, z: Number) -> Number:
    """Φ(z) = ½(1 + erf(z/√2)), the distribution function of the standard normal."""
    return 0.5 * (1.0 + m.erf(z * math.sqrt(0.5)))


def normal_density(m: Any, z: Number) -> Number:
    """φ(z) = exp(−z²/2)/√(2π)"""
    return (1.0 / math.sqrt(2.0 * math.pi)) * m.exp(-0.5 * (z * z))


GELU_CUBIC, GELU_SCALE, GELU_FLAT = 0.044715, 2.0 * math.sqrt(2.0 / math.pi), 22.0
"""Of GELU's tanh form: u = √(2/π)·(z + 0.044715·z³); from `GELU_FLAT` on ½(1 + tanh(u)) is 0 or 1."""


def near_normal(m: Any, z: Number) -> tuple[Number, Number]:
    """½(1 + tanh(u)) = σ(2u), which is near Φ(z), and the derivative of 2u (Hendrycks and Gimpel, 2016)."""
    square = m.where(abs(z) < GELU_FLAT, z * z, GELU_FLAT * GELU_FLAT)
    slope = GELU_SCALE * (1.0 + (3.0 * GELU_CUBIC) * square)
    return m.sigmoid(z * (GELU_SCALE * (1.0 + GELU_CUBIC * square))), slope


def gelu_tanh_slope(m: Any, z: Number) -> Number:
    """s + z·s(1 − s)·(2u)′ with s = σ(2u)"""
    s, slope = near_normal(m, z)
    return s + z * ((s * (1.0 - s)) * slope)


def mish_gate(m: Any, z: Number) -> Number:
    """tanh(log(1 + exp(z))) = ((1 + exp(z))² − 1)/((1 + exp(z))² + 1), without cancellation or overflow."""
    e = m.exp(-abs(z))
    right, left = 1.0 + 2.0 * e, e * (e + 2.0)
    return m.where(z >= 0.0, right / (right + 2.0 * (e * e)), left / (left + 2.0))


def mish_slope(m: Any, z: Number) -> Number:
    """t + z·(1 − t²)·σ(z) with t the gate"""
    t = mish_gate(m, z)
    return t + z * ((1.0 - t * t) * m.sigmoid(z))


def softsign_slope(z: Number) -> Number:
    """1/(1 + |z|)²"""
    r = 1.0 / (1.0 + abs(z))
    return r * r


def within(m: Any, z: Number, inside: Number, below: float, above: Number) -> Number:
    """One of three, by where z is: between −3 and 3, below or above."""
    return m.where(z <= -3.0, below, m.where(z >= 3.0, above, inside))


# fmt: off
ACTIVATIONS: Table[Activation] = Table({
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
    "leaky_relu": Family("slope", 0.01, leaky_relu),
    "softmax": Activation(
        softmax,
        lambda m, z, a, da: a * (da - m.total(da * a)),
        by_rows=True,
    ),
    "linear": Activation(
        lambda m, z: z,
        lambda m, z, a, da: da,
    ),
    "softsign": Activation(
        lambda m, z: z / (1.0 + abs(z)),
        lambda m, z, a, da: da * softsign_slope(z),
        z_for_a=False,
    ),
    "hard_sigmoid": Activation(
        lambda m, z: within(m, z, (z + 3.0) / 6.0, 0.0, 1.0),
        lambda m, z, a, da: within(m, z, da / 6.0, 0.0, 0.0),
        z_for_a=False,
    ),
    "softplus": Activation(
        lambda m, z: m.softplus(z),
        lambda m, z, a, da: da * m.sigmoid(z),
        z_for_a=False,
    ),
    "silu": Activation(
        lambda m, z: z * m.sigmoid(z),
        lambda m, z, a, da: da * silu_slope(m, z),
        z_for_a=False,
    ),
    "elu": Family("α", 1.0, elu),
    "selu": Activation(
        lambda m, z: m.where(z > 0.0, SELU_SCALE * z, SELU_FLOOR * m.expm1(-abs(z))),
        lambda m, z, a, da: m.where(z > 0.0, SELU_SCALE * da, da * (a + SELU_FLOOR)),
    ),
    "gelu": Activation(
        lambda m, z: z * normal(m, z),
        lambda m, z, a, da: da * (normal(m, z) + z * normal_density(m, z)),
        z_for_a=False,
    ),
    "gelu_tanh": Activation(
        lambda m, z: z * near_normal(m, z)[0],
        lambda m, z, a, da: da * gelu_tanh_slope(m, z),
        z_for_a=False,
    ),
    "mish": Activation(
        lambda m, z: z * mish_gate(m, z),
        lambda m, z, a, da: da * mish_slope(m, z),
        z_for_a=False,
    ),
})
# fmt: on

USUAL_ACTIVATIONS = tuple(ACTIVATIONS)[:6]
"""What most code uses: the checker tries these first."""

OWN_ACTIVATIONS: set[str] = set()
"""The names that `own_activations` has put into the table; no compiled kernel has them, and no witness."""


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
    output: str | None = None
    """The activation over rows whose passes the terms go on from, where there is one."""
    threshold: float = 0.5
    """Above it an output says that a label is 1."""


def sign(m: Any, x: Number) -> Number:
    """1 above 0, −1 below, and 0."""
    return m.where(x > 0.0, 1.0, m.where(x < 0.0, -1.0, x))


def huber(delta: Number) -> Terms:
    """½·(a − y)² as far as |a − y| ≤ δ, then δ·(|a − y| − ½·δ)."""
    return Terms(
        lambda m, z, a, y: m.where(abs(a - y) <= delta, 0.5 * ((a - y) * (a - y)), delta * (abs(a - y) - 0.5 * delta)),
        lambda m, z, a, y: m.where(abs(a - y) <= delta, a - y, delta * sign(m, a - y)),
    )


def side(m: Any, y: Number) -> Number:
    """t: 1 for a label above 0, else −1, so that 0 and −1 are the same label."""
    return m.where(y > 0.0, 1.0, m.where(y <= 0.0, -1.0, y))


def smoothed(m: Any, y: Number, epsilon: Number) -> Number:
    """Labels that are uncertain: (1 − ε)·y + ε/K for K classes (Szegedy and others 2016)."""
    return y - epsilon * (y - 1.0 / m.width(y))


def smoothed_cross_entropy(epsilon: Number) -> Terms:
    """`softmax_cross_entropy` of smoothed labels."""

    def error(m: Any, z: Number, a: Number, y: Number) -> Number:
        labels = smoothed(m, y, epsilon)
        return a * m.total(labels) - labels

    return Terms(
        lambda m, z, a, y: smoothed(m, y, epsilon) * minus_log_softmax(m, z), error, by_rows=True, output="softmax"
    )


def of_others(m: Any, y: Number, x: Number) -> Number:
    """x of the classes that are not the row's, whose label is above 0."""
    return m.where(y > 0.0, 0.0, m.where(y <= 0.0, x, y))


def margin(m: Any, a: Number, y: Number) -> Number:
    """1 + a − a of the row's class."""
    return 1.0 + (a - m.total(m.where(y > 0.0, a, 0.0)))


def violated(m: Any, a: Number, y: Number) -> Number:
    """1 for every other class whose margin is above 0."""
    over = margin(m, a, y)
    return of_others(m, y, m.where(over > 0.0, 1.0, m.where(over <= 0.0, 0.0, over)))


def multi_class_hinge_terms(m: Any, z: Number, a: Number, y: Number) -> Number:
    """The margins of the other classes where they are above 0 (Weston and Watkins 1999)."""
    over = margin(m, a, y)
    return of_others(m, y, m.where(over <= 0.0, 0.0, over))


def multi_class_hinge_error(m: Any, z: Number, a: Number, y: Number) -> Number:
    """1 for each of them, and for the row's class −1 for all together."""
    hits = violated(m, a, y)
    return m.where(y > 0.0, -m.total(hits), hits)


POISSON_FAR = -40.0
"""From there on log(softplus(z)) is z, and its derivative 1."""


def log_softplus_slope(m: Any, z: Number, a: Number) -> Number:
    """σ(z)/softplus(z)"""
    return m.where(z < POISSON_FAR, 1.0, m.sigmoid(z) / a)


# fmt: off
TERMS: Table[Terms] = Table({
    "squared_error": Terms(
        lambda m, z, a, y: (a - y) * (a - y),
        lambda m, z, a, y: 2.0 * (a - y),
    ),
    "softmax_cross_entropy": Terms(
        lambda m, z, a, y: y * minus_log_softmax(m, z),
        lambda m, z, a, y: a * m.total(y) - y,
        by_rows=True,
        output="softmax",
    ),
    "sigmoid_cross_entropy": Terms(
        lambda m, z, a, y: y * m.softplus(-z),
        lambda m, z, a, y: -(y * m.sigmoid(-z)),
    ),
    "sigmoid_binary_cross_entropy": Terms(
        lambda m, z, a, y: m.softplus(z, less=z * y),
        lambda m, z, a, y: a - y,
    ),
    "absolute_error": Terms(
        lambda m, z, a, y: abs(a - y),
        lambda m, z, a, y: sign(m, a - y),
    ),
    "huber": Family("δ", 1.0, huber),
    "log_cosh": Terms(
        lambda m, z, a, y: abs(a - y) + (m.log1p(m.exp(-2.0 * abs(a - y))) - math.log(2.0)),
        lambda m, z, a, y: m.tanh(a - y),
    ),
    "hinge": Terms(
        lambda m, z, a, y: m.where(side(m, y) * a < 1.0, 1.0 - side(m, y) * a, 0.0),
        lambda m, z, a, y: m.where(side(m, y) * a < 1.0, -side(m, y), 0.0),
        threshold=0.0,
    ),
    "multi_class_hinge": Terms(multi_class_hinge_terms, multi_class_hinge_error, by_rows=True),
    "smoothed_cross_entropy": Family("ε", 0.1, smoothed_cross_entropy, below=1.0),
    "poisson_of_log": Terms(
        lambda m, z, a, y: m.exp(z) - y * z,
        lambda m, z, a, y: m.exp(z) - y,
    ),
    "poisson_of_softplus": Terms(
        lambda m, z, a, y: a - y * m.where(z < POISSON_FAR, z, m.log(a)),
        lambda m, z, a, y: m.sigmoid(z) - y * log_softplus_slope(m, z, a),
    ),
})
# fmt: on
"""Every pair by name, so that one kernel serves the losses that share it."""


class Loss(NamedTuple):
    """A loss, and how it is differentiated; its pairs are named as in `TERMS`."""

    short: str
    """Its short name."""
    over_outputs: bool
    """Whether n counts the outputs too: a mean over them, not a sum."""
    alone: str | None
    """The pair whose error is of a."""
    together: Mapping[str, str]
    """By output activation, the pairs whose error is of z."""
    only: tuple[str, ...] = ()
    """The output activations that go with the pair alone; every one where none is named."""
    one_class: bool = False
    """Whether every row has to have one label above 0, that of its class."""
    meaning: str = ""
    """What it is, in words."""

    def terms(self, output: str) -> str:
        """The name of the pair for an output activation that it goes with."""
        name = self.together.get(output, self.alone)
        assert name is not None, f"no rule for {output}"
        return name

    def with_output(self, output: str) -> Terms:
        """The pair for an output activation that it goes with."""
        return TERMS[self.terms(output)]

    def divisor(self, rows: float, n_out: int) -> float:
        """n for so many samples, or for such a sum of their weights, of so many outputs."""
        return float(rows * (n_out if self.over_outputs else 1))

    @property
    def outputs(self) -> tuple[str, ...]:
        """The output activations it goes with."""
        alone = () if self.alone is None else self.only or tuple(ACTIVATIONS)
        return (*self.together, *(name for name in alone if name not in self.together))

    def goes_with(self, output: str) -> bool:
        """Whether it goes with an output activation, `outputs` or another of their families."""
        return ACTIVATIONS.parts(output)[0] in self.outputs and output in ACTIVATIONS


def huber_loss(delta: float) -> Loss:
    name = TERMS.spelled(f"huber({delta!r})")
    return Loss(
        name,
        True,
        name,
        {},
        meaning="of ½(a − y)² up to |a − y| = δ, then δ(|a − y| − ½δ); δ = 1, or as in `huber(0.5)`",
    )


def cross_entropy(epsilon: float) -> Loss:
    if epsilon == 0.0:
        pairs = {"softmax": "softmax_cross_entropy", "sigmoid": "sigmoid_cross_entropy"}
    else:
        pairs = {"softmax": TERMS.spelled(f"smoothed_cross_entropy({epsilon!r})")}
    smooth = "`cross_entropy(ε)`, with softmax: of labels (1 − ε)·y + ε/K, K outputs; as torch's label_smoothing"
    short = "ce" if epsilon == 0.0 else f"cross_entropy({epsilon!r})"
    return Loss(short, False, None, pairs, meaning=f"of −y·log a; {smooth}")


# fmt: off
LOSSES: Table[Loss] = Table({
    "mean_squared_error": Loss("mse", True, "squared_error", {}, meaning="of (a − y)²"),
    "sum_squared_error": Loss("sse", False, "squared_error", {}, meaning="of (a − y)²"),
    "binary_cross_entropy": Loss(
        "bce", True, None, {"sigmoid": "sigmoid_binary_cross_entropy"}, meaning="of −y·log a − (1 − y)·log(1 − a)"
    ),
    "cross_entropy": Family("ε", 0.0, cross_entropy, below=1.0),
    "mean_absolute_error": Loss(
        "mae", True, "absolute_error", {}, meaning="of |a − y|; its derivative at 0 is 0"
    ),
    "huber": Family("δ", 1.0, huber_loss),
    "log_cosh": Loss("logcosh", True, "log_cosh", {}, meaning="of log cosh(a − y)"),
    "hinge": Loss(
        "hinge", True, "hinge", {}, only=("linear", "tanh"), meaning="of max(0, 1 − t·a); t = 1 where y > 0, else −1"
    ),
    "multi_class_hinge": Loss(
        "multi_margin", True, "multi_class_hinge", {}, only=("linear",), one_class=True,
        meaning="of max(0, 1 + a − a of the class) for every other class (Weston and Watkins 1999); the class is where "
        "y > 0; as torch's multi_margin_loss",
    ),
    "poisson": Loss(
        "poisson", True, None, {"linear": "poisson_of_log", "softplus": "poisson_of_softplus"},
        meaning="of λ − y·log λ; with linear, a is log λ; with softplus, a is λ",
    ),
})
# fmt: on
USUAL_LOSSES = tuple(LOSSES)[:4]
"""As `USUAL_ACTIVATIONS`."""


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


def rmsprop(m: Any, s: Settings, W: Number, g: Number, v: Number) -> tuple[Number, ...]:
    """v ← ρ·v + (1 − ρ)·g², ρ in the place of β2; W ← W − (η·g) / (√v + ε)"""
    v = s.beta2 * v + s.rest2 * (g * g)
    return W - (s.rate * g) / (m.sqrt(v) + s.epsilon), v


def adagrad(m: Any, s: Settings, W: Number, g: Number, v: Number) -> tuple[Number, ...]:
    """v ← v + g²; W ← W − (η·g) / (√v + ε)"""
    v = v + g * g
    return W - (s.rate * g) / (m.sqrt(v) + s.epsilon), v


def decay(W: Number, g: Number, strength: Number) -> Number:
    """Weight decay: g ← g + λ·W, for W and not for b."""
    return g + strength * W


def decoupled_decay(W: Number, strength: Number) -> Number:
    """Decoupled weight decay, before the step: W ← W − (η·λ)·W, for W and not for b.

    The bits are those of ``decay(W, W, −η·λ)``, as which compiled code does it.
    """
    return W - strength * W


def lasso(m: Any, W: Number, g: Number, strength: Number) -> Number:
    """The subgradient of λ₁·|W| with 0 at W = 0: g ← g + λ₁·sign(W), for W and not for b."""
    return g + m.where(W > 0.0, strength, m.where(W < 0.0, -strength, 0.0))


def clipped(m: Any, g: Number, limit: Number) -> Number:
    """Each entry of a gradient, in the bounds −limit and limit; NaN passes."""
    return m.where(g > limit, limit, m.where(g < -limit, -limit, g))


UPDATES: Mapping[str, Update] = {
    "sgd": Update((), sgd),
    "momentum": Update(("velocity",), momentum),
    "nesterov": Update(("velocity",), nesterov),
    "adam": Update(("m", "v"), adam),
    "rmsprop": Update(("v",), rmsprop),
    "adagrad": Update(("v",), adagrad),
}

USUAL_UPDATES = tuple(UPDATES)[:4]
"""As `USUAL_ACTIVATIONS`."""


def together(loss: str, output: str) -> bool:
    """Whether the loss and the output activation are differentiated as one, so that no da stands between them."""
    return output in LOSSES[loss].together


def terms_name(loss: str, output: str) -> str:
    """The name in `TERMS` of the pair of a loss with an output activation."""
    return LOSSES[loss].terms(output)
