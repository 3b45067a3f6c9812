"""Kinds of change to the textbook pass, of which the bugs are made."""

from collections.abc import Callable

from backprop_ref.conformance.catalogue.bug import Change
from backprop_ref.conformance.catalogue.textbook import derived, divisor
from backprop_ref.conformance.rounding import balls

SMOOTH = ("sigmoid", "tanh")
EVERY = ("sigmoid", "tanh", "relu", "leaky_relu", "softmax")


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


def slopes(formula: Callable, *names: str) -> tuple[Change, ...]:
    """``formula(p, layer, da)`` for delta in layers with these activations: in all, the hidden, the output layer.

    With several names also for the first of them alone, and so on.
    """
    groups = [names] if len(names) == 1 else [names, *((name,) for name in names)]
    return tuple(
        _slope(formula, group, place) for place in ("every layer", "hidden layers", "the output") for group in groups
    )


def _slope(formula, names, place):
    def wrong(right, p, layer, da):
        here = place == "every layer" or (layer == p.last) == (place == "the output")
        return formula(p, layer, da) if here and p.network.activations[layer] in names else right(p, layer, da)

    return {"slope": wrong}


def as_if(name: str) -> Callable:
    """For `slopes`: the derivative of the activation of that name."""
    return lambda p, layer, da: derived(name, p.z[layer], p.a[layer], da)


def hidden(variants: tuple[Change, ...]) -> tuple[Change, ...]:
    """Of what `slopes` gives, without the output layer alone."""
    return variants[: 2 * len(variants) // 3]


def output(variants: tuple[Change, ...]) -> tuple[Change, ...]:
    """Of what `slopes` gives, the output layer alone."""
    return variants[2 * len(variants) // 3 :]


def batch(p):
    return p.batch


def outputs(p):
    return p.n_out


def squared(p):
    return p.squared


def cross_entropy(p):
    return not p.squared


def sums_outputs(p):
    return divisor(p) == p.batch


def minus_y_log_a(right, p):
    """The terms of a cross-entropy, from a."""
    return -(p.rule("target", "loss") * balls.log(p.a[p.last]))
