"""The textbook pass, right or with a known bug, one quantity at a time, given what a submission did before it."""

import copy
import functools
from typing import NamedTuple

import numpy as np

from backprop_ref.conformance.catalogue.bug import Bug, Change
from backprop_ref.conformance.catalogue.known import CATALOGUE
from backprop_ref.conformance.catalogue.textbook import RULES, Pass, replaced
from backprop_ref.conformance.rounding.balls import Ball
from backprop_ref.conformance.rounding.precision import Precision

DOUBLE = Precision.of(np.float64)
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
    return tuple(found)


@functools.cache
def forward_forms(n_layers: int) -> tuple[Form, ...]:
    """Every form of every bug of the forward pass or of the loss; those of the bias also in one layer alone."""
    known = [
        Form(bug, change, fitted)
        for bug in CATALOGUE
        for fitted, changes in ((False, bug.variants), (True, bug.fitted))
        for change in changes
        if {"z", "a", "inputs", "terms", "loss"} & change.keys() or "target" in change
    ]
    alone = [
        Form(form.bug, {"z": functools.partial(_in_layer, form.change["z"], layer)})
        for form in known
        if set(form.change) == {"z"}
        for layer in range(n_layers if n_layers > 1 else 0)
    ]
    return (*known, *alone)


def _in_layer(wrong, place, right, p, layer):
    return wrong(right, p, layer) if layer == place else right(p, layer)


class Scene:
    """One batch of a network, and what a submission was measured to make of it.

    Attributes
    ----------
    case : Case
    given : dict of (str, int) to array
        Measured deltas and gradients, which take the place of computed ones in whatever follows.
    """

    def __init__(self, case, given=None, rules=RULES):
        self.case, self.given, self.base = case, given or {}, rules
        self._right = Pass(case, rules, DOUBLE, {}, case.x, case.y, len(case.x))
        for _ in self._right.forward():
            pass

    def _pass(self, rules, values=None):
        seen = copy.copy(self._right)
        seen.rules, seen.values = rules, values or {}
        seen.delta, seen.dW, seen.db = {}, {}, {}
        return seen

    def forward(self):
        """z and a by layer, under the right rules."""
        return [z.mid for z in self._right.z.values()], [a.mid for a in self._right.a.values()]

    def quantity(self, key, change=None, number=None, parameter=""):
        """What the rules give for one quantity of the backward pass; None where shapes do not fit."""
        rules = self.base if change is None else self._replaced(change)
        values = {} if number is None else {parameter: Ball.exact(number, DOUBLE)}
        seen = self._pass(rules, values)
        try:
            if change is not None and {"z", "a", "inputs"} & change.keys():
                seen.z, seen.a = {}, {}
                for _ in seen.forward():
                    pass
            return self._one(seen, *key)
        except (ValueError, IndexError, KeyError, TypeError):
            return None

    def left(self, layer, change):
        """What dW of a layer is made with, for a single sample."""
        return self._pass(self._replaced(change)).rule("left", layer).mid[0]

    def right(self):
        """The quantities of the backward pass under the right rules, as pairs of (name, layer) and Ball."""
        return self._pass(self.base).backward()

    def _replaced(self, change):
        if self.base is RULES:
            return replaced(change)
        return {**self.base, **{name: functools.partial(wrong, self.base[name]) for name, wrong in change.items()}}

    def _one(self, seen, name, layer):
        if name == "loss":
            return np.asarray(seen.rule("loss").mid)
        for above in range(seen.last, layer, -1):
            for part in ("delta", "dW", "db"):
                if (part, above) in self.given:
                    getattr(seen, part)[above] = seen.exact(self.given[part, above])
        if name == "delta":
            return seen.rule("delta", layer).mid
        seen.delta[layer] = seen.exact(self.given["delta", layer])
        return seen.rule(f"regularised_{name}", layer).mid


def numbers_for(measure, start, goal):
    """The number that brings ``measure(number)`` nearest to `goal`, by the secant method; None if it does nothing."""
    theta, last = start, 2.0 * start
    now, before = measure(theta), measure(last)
    if now is None or before is None or now.shape != goal.shape:
        return None
    for _ in range(8):
        change = (before - now) / (last - theta)
        size = float((change * change).sum())
        if not np.isfinite(size) or size == 0.0:
            return None
        step = float((change * (goal - now)).sum()) / size
        last, before, theta = theta, now, theta + step
        now = measure(theta)
        if now is None or not np.isfinite(theta):
            return None
        if abs(step) <= 1e-14 * abs(theta):
            break
    return theta
