"""The textbook pass, right or with known bugs, given what a submission did before."""

import copy
import functools
from typing import NamedTuple

import numpy as np

from backprop_ref.conformance.catalogue.bug import Bug, Change
from backprop_ref.conformance.catalogue.changes import no_derivative, slope
from backprop_ref.conformance.catalogue.hidden_delta import as_relu, at_activation, of_layer, slope_alone, twice
from backprop_ref.conformance.catalogue.known import BY_ID, CATALOGUE
from backprop_ref.conformance.catalogue.linear_algebra import as_wide_as, error_back, gradient_reshaped, in_turn
from backprop_ref.conformance.catalogue.output_delta import error_at_activation, labels
from backprop_ref.conformance.catalogue.textbook import RULES, Pass, activate, derived
from backprop_ref.conformance.rounding.precision import Precision
from backprop_ref.formulas import ACTIVATIONS, USUAL_ACTIVATIONS

DOUBLE = Precision.of(np.float64)
CENTRES = DOUBLE._replace(bounds=False)
"""For what is compared with a tolerance, and not with what rounding can do."""
MOST_FIXED = 6
"""Loops over neurons that end at a fixed number end below this one."""
GRADIENT = {"error", "mean", "slope", "delta", "da", "weights_back", "left", "dW", "db", "target", "decay"}
"""The rules of the backward pass: a bug of other rules is measured otherwise."""


class Form(NamedTuple):
    """One form of a known bug; `fitted` if it needs a number."""

    bug: Bug
    change: Change
    fitted: bool = False


@functools.cache
def forms() -> tuple[Form, ...]:
    """Every form of every bug that changes what one backward pass computes."""
    found = []
    for bug in CATALOGUE:
        for fitted, changes in ((False, bug.variants), (True, bug.fitted)):
            found += [Form(bug, change, fitted) for change in changes if GRADIENT & change.keys()]
    return (*found, *_more_forms())


def _more_forms():
    """Forms that only made-up networks show: of labels with several outputs, of loops with a fixed end."""
    yield Form(BY_ID["label-broadcast"], labels(lambda y: y.sum() / y.mid.size + y.zeros_like(), ("error",)))
    yield Form(BY_ID["reshaped-weights"], {"weights_back": gradient_reshaped})
    for name, activation, other in OTHER_SLOPES:
        yield Form(BY_ID[name], slope(_unless_of_output(other), activation))
    for name, formula in RARER_SLOPES.items():
        yield Form(BY_ID[name], slope(formula, *RARER))
    yield Form(BY_ID["leaky-slope-forgotten"], slope(as_relu, "elu", "selu"))
    yield Form(BY_ID["derivative-of-output-activation"], {"slope": _output_slope_at_z})
    for shift in (1, -1):
        yield Form(BY_ID["derivative-of-neighbour"], of_layer(shift, from_z=True))
    yield Form(BY_ID["samples-in-turn"], in_turn(True, False, biases=False), True)
    for width in range(1, MOST_FIXED):
        yield Form(BY_ID["loop-of-other-layer"], as_wide_as(lambda p, layer, width=width: width))


@functools.cache
def forms_of(*rules: str, fitted: bool = False) -> tuple[Form, ...]:
    """The forms that change these rules and no others, at least the first."""
    usable = (form for form in forms() if form.fitted == fitted and not form.bug.acceptable)
    return tuple(form for form in usable if rules[0] in form.change and form.change.keys() <= {*rules})


RARER = tuple(name for name in ACTIVATIONS if name not in USUAL_ACTIVATIONS)
RARER_SLOPES = {
    "derivative-missing": no_derivative,
    "derivative-twice": twice,
    "derivative-at-activation": at_activation,
    "activation-for-derivative": lambda p, layer, da: da * p.a[layer],
    "upstream-missing": slope_alone,
}
"""What may stand in the place of a rarer activation's derivative."""
OTHER_SLOPES = (("tanh-slope-of-sigmoid", "tanh", "sigmoid"), ("sigmoid-slope-of-tanh", "sigmoid", "tanh"))


def _at_z(name):
    """The derivative of that activation at z, whatever a is."""
    return lambda p, layer, da: derived(name, p.z[layer], activate(name, p.z[layer]), da)


def _unless_of_output(name):
    """The same; where it is the derivative of the output's activation, in a hidden layer, it has another name."""
    at_z = _at_z(name)

    def formula(p, layer, da):
        own = layer < p.last and name == p.network.activations[p.last]
        return derived(p.network.activations[layer], p.z[layer], p.a[layer], da) if own else at_z(p, layer, da)

    return formula


def _output_slope_at_z(right, p, layer, da):
    return right(p, layer, da) if layer == p.last else _at_z(p.network.activations[p.last])(p, layer, da)


RAW_ERROR = Form(BY_ID["error-before-derivative"], error_back(lambda p, layer: True))
RAW_ENTROPY = Form(
    RAW_ERROR.bug,
    {"da": lambda right, p, layer: p.rule("mean", error_at_activation(None, p)) @ p.rule("weights_back", layer + 1).T},
)
"""dLoss/da of a cross-entropy is carried back."""


def _in_two_steps(right, p, layer):
    if layer < p.last:
        return right(p, layer)
    return p.rule("slope", layer, p.rule("mean", p.rule("error")))


TWO_STEPS: Change = {"error": error_at_activation, "delta": _in_two_steps}
"""A cross-entropy's delta by way of dLoss/da and the activation's derivative: right, and slower."""


def _clipped(right, p):
    a, y, epsilon = p.a[p.last], p.rule("target", "error"), p.values["epsilon"]
    e = -(y / (a + epsilon))
    return e + (1.0 - y) / ((1.0 - a) + epsilon) if p.network.loss == "binary_cross_entropy" else e


CLIPPED = Form(BY_ID["log-epsilon"], {**TWO_STEPS, "error": _clipped}, True)
"""The same with a small number in the logarithm."""
UPDATED = next(form for form in forms() if form.bug.id == "updated-weights" and form.fitted)


class Part(NamedTuple):
    """A rule that is off in a layer: the forms of known bugs that give the same there, and the number they need."""

    layer: int | None
    forms: tuple[Form, ...]
    number: float | None = None


def changed(rules, change: Change, layer: int | None = None, parameter: str = "", number: float | None = None):
    """Rules with some replaced, in one layer only if it is given."""
    return {**rules, **{name: _at(wrong, rules[name], layer, parameter, number) for name, wrong in change.items()}}


def with_parts(rules, parts):
    """Rules with the first form of every part."""
    for part in parts:
        form = part.forms[0]
        layer = part.layer + 1 if part.layer is not None and "weights_back" in form.change else part.layer
        rules = changed(rules, form.change, layer, form.bug.parameter, part.number)
    return rules


def _at(wrong, right, place, parameter, number):
    def rule(p, *rest):
        if place is not None and rest and isinstance(rest[0], int) and rest[0] != place:
            return right(p, *rest)
        if number is not None:
            p.values = {**p.values, parameter: p.exact(number)}
        return wrong(right, p, *rest)

    return rule


def ran(case, rules, given=None) -> dict:
    """dW and db of a whole pass by (name, layer), with given ones in what follows; empty where shapes do not fit."""
    try:
        with np.errstate(all="ignore"):
            return {key: ball.mid for key, ball in right_pass(case, rules, given, CENTRES) if key[0] in {"dW", "db"}}
    except (ValueError, IndexError, KeyError, TypeError):
        return {}


def deltas_of(case, rules) -> list | None:
    """delta of a whole pass, one array a layer; None where shapes do not fit."""
    try:
        with np.errstate(all="ignore"):
            found = {key[1]: ball.mid for key, ball in right_pass(case, rules, precision=CENTRES) if key[0] == "delta"}
    except (ValueError, IndexError, KeyError, TypeError):
        return None
    return [found[layer] for layer in range(len(found))]


def right_pass(case, rules, given=None, precision=DOUBLE):
    """The quantities of a backward pass, as pairs of (name, layer) and Ball."""
    seen = Pass(case, rules, precision, {}, case.x, case.y, len(case.x), given)
    for _ in seen.forward():
        pass
    return seen.backward()


def loss_of(case, rules) -> float:
    """The loss of a whole pass; NaN where shapes do not fit."""
    seen = Pass(case, rules, CENTRES, {}, case.x, case.y, len(case.x))
    try:
        with np.errstate(all="ignore"):
            for _ in seen.forward():
                pass
            return float(seen.rule("loss").mid)
    except (ValueError, IndexError, KeyError, TypeError):
        return float("nan")


class Rows(Pass):
    """Single samples side by side: the rows of one pass, each a batch of its own.

    Attributes
    ----------
    each : list of Pass
        The same for each sample alone, with z and a.
    known : dict
        What was worked out for it already.
    """

    def __init__(self, case, rules=RULES, apart=True):
        super().__init__(case, rules, CENTRES, {}, case.x, case.y, 1)
        self.case = case
        self.known: dict = {}
        alone = Pass(case, rules, CENTRES, {}, case.x, case.y, 1)
        self.each = [alone.part(slice(s, s + 1), alone.W, alone.b) for s in range(len(case.x))]
        for one in self.each:
            one.is_part = False
        for _ in self.forward():
            pass
        if apart and not self._as_alone():  # some rule looks across the batch
            for one in self.each:
                for _ in one.forward():
                    pass
            for name in ("z", "a"):
                stacks = [np.concatenate([getattr(one, name)[layer].mid for one in self.each]) for layer in self.z]
                setattr(self, name, {layer: self.exact(stack) for layer, stack in enumerate(stacks)})
        for s, one in enumerate(self.each):
            one.z, one.a = ({at: ball[s : s + 1] for at, ball in part.items()} for part in (self.z, self.a))

    def _as_alone(self):
        first = self.each[0]
        for _ in first.forward():
            pass
        return np.allclose(first.a[self.last].mid, self.a[self.last].mid[:1], rtol=1e-9, atol=0.0, equal_nan=True)

    @property
    def batch(self):
        return 1

    def inputs(self, layer):
        """What a layer reads, one row a sample."""
        return self.case.x if layer == 0 else self.a[layer - 1].mid

    def attempt(self, name, *arguments, change=None, parameter="", number=None, alone=False, delta=None, above=None):
        """What a rule gives, row by row; None where shapes do not fit or the numbers are not finite.

        Parameters
        ----------
        change, parameter, number
            Of a known bug in it.
        alone : bool
            Ask for each sample alone, and stack the answers.
        delta, above : dict of int to array
            Deltas, and dW of the layers above, that take the place of computed ones.
        """
        rules = self.rules if change is None else changed(self.rules, change, None, parameter, number)
        seen = [copy.copy(one) for one in (self.each if alone else [self])]
        found = []
        try:
            with np.errstate(all="ignore"):
                for s, one in enumerate(seen):
                    rows = slice(s, s + 1) if alone else slice(None)
                    one.rules, one.dW, one.db = rules, {}, {}
                    one.delta = {at: self.exact(part[rows]) for at, part in (delta or {}).items()}
                    one.dW = {at: self.exact(part[s]) for at, part in (above or {}).items()} if alone else {}
                    found.append(one.rule(name, *arguments).mid)
        except (ValueError, IndexError, KeyError, TypeError):
            return None
        if not alone:
            return found[0] if np.all(np.isfinite(found[0])) else None
        if len({part.shape for part in found}) > 1:
            return None
        stack = np.concatenate(found) if name in {"error", "mean"} else np.stack(found)
        return stack if np.all(np.isfinite(stack)) else None


def numbers_for(measure, start, goal):
    """The number that brings ``measure(number)`` nearest to `goal`, by the secant method; None if it does nothing."""
    theta, last = start, 2.0 * start
    now, before = measure(theta), measure(last)
    if now is None or before is None or now.shape != goal.shape:
        return None
    for turn in range(8):
        change = (before - now) / (last - theta)
        size = float((change * change).sum())
        if not np.isfinite(size) or size == 0.0:
            return theta if turn else None  # it is as near as it can be, or the number does nothing
        step = float((change * (goal - now)).sum()) / size
        last, before, theta = theta, now, theta + step
        now = measure(theta)
        if now is None or not np.isfinite(theta):
            return None
        if abs(step) <= 1e-14 * abs(theta):
            break
    return theta
