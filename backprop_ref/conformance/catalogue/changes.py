"""Kinds of change to the textbook pass, of which the bugs are made."""

from collections.abc import Callable

from backprop_ref.conformance.catalogue.bug import Change
from backprop_ref.conformance.catalogue.textbook import derived, divisor
from backprop_ref.conformance.rounding import balls

SMOOTH = ("sigmoid", "tanh")
EVERY = ("sigmoid", "tanh", "relu", "leaky_relu", "softmax")
PLACES = EVERYWHERE, HIDDEN, OUTPUT = "every layer", "hidden layers", "the output"


def times(rule: str, factor: Callable) -> Change:
    """What the rule gives, times ``factor(p)``."""
    return {rule: lambda right, p, *rest: right(p, *rest) * factor(p)}


def over(rule: str, divisor: Callable) -> Change:
    """What the rule gives, divided by ``divisor(p)``."""
    return {rule: lambda right, p, *rest: right(p, *rest) / divisor(p)}


def zero(rule: str) -> Change:
    """Zeros of the shape that the rule gives."""
    return {rule: lambda right, p, *rest: right(p, *rest).zeros_like()}


def where(condition: Callable, change: Change) -> Change:
    """A change that acts only where ``condition(p)``; elsewhere the rule stays right."""

    def guarded(wrong):
        def rule(right, p, *rest):
            return wrong(right, p, *rest) if condition(p) else right(p, *rest)

        return rule

    return {rule: guarded(wrong) for rule, wrong in change.items()}


def slope(formula: Callable, *names: str, place: str = EVERYWHERE) -> Change:
    """``formula(p, layer, da)`` for delta, in the layers of that place that have one of these activations."""

    def wrong(right, p, layer, da):
        here = place == EVERYWHERE or (layer == p.last) == (place == OUTPUT)
        return formula(p, layer, da) if here and p.network.activations[layer] in names else right(p, layer, da)

    return {"slope": wrong}


def slopes(formula: Callable, *names: str, places: tuple[str, ...] = PLACES) -> tuple[Change, ...]:
    """`slope` in each of these places: for all names together, then for each alone if there are several."""
    groups = [names] if len(names) == 1 else [names, *((name,) for name in names)]
    return tuple(slope(formula, *group, place=place) for place in places for group in groups)


def no_derivative(p, layer, da):
    """For `slopes`: the derivative is left out."""
    return da


def as_if(name: str) -> Callable:
    """For `slopes`: the derivative of the activation of that name."""
    return lambda p, layer, da: derived(name, p.z[layer], p.a[layer], da)


def batch(p):
    """Number of samples."""
    return p.batch


def outputs(p):
    """Number of outputs."""
    return p.n_out


def squared(p):
    """Whether the loss is a squared error."""
    return p.squared


def cross_entropy(p):
    """Whether the loss is a cross-entropy."""
    return not p.squared


def sums_outputs(p):
    """Whether the loss is a sum over the outputs."""
    return divisor(p) == p.batch


def minus_y_log_a(right, p):
    """The terms of a cross-entropy, from a."""
    return -(p.rule("target", "loss") * balls.log(p.a[p.last]))
