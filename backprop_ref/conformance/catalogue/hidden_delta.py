"""Bugs of the activations and their derivatives."""

import numpy as np

from backprop_ref.conformance.catalogue.bug import Bug, Change
from backprop_ref.conformance.catalogue.changes import (
    EVERY,
    EVERYWHERE,
    HIDDEN,
    SMOOTH,
    as_if,
    no_derivative,
    slope,
    slopes,
)
from backprop_ref.conformance.catalogue.textbook import activate, derived
from backprop_ref.conformance.rounding.balls import where_positive

NOT_OUTPUT = (EVERYWHERE, HIDDEN)
"""Places of a `slope`: all but the output alone."""


def at_activation(p, layer, da):
    """φ'(a), that is the derivative's formula with φ(a) in the place of a."""
    name, a = p.network.activations[layer], p.a[layer]
    return derived(name, a, activate(name, a), da)


def fed_z(p, layer, da):
    """The derivative written in terms of a, with z in its place."""
    z = p.z[layer]
    return derived(p.network.activations[layer], z, z, da)


def of_layer(shift, from_z=False):
    """The derivative at the z and a of a neighbouring layer, or at its z alone, where the widths allow it."""

    def wrong(right, p, layer, da):
        other = layer + shift
        if not 0 <= other <= p.last or p.z[other].shape != da.shape:
            return right(p, layer, da)
        name, z = p.network.activations[layer], p.z[other]
        return derived(name, z, activate(name, z) if from_z else p.a[other], da)

    return {"slope": wrong}


def of_output_activation(right, p, layer, da):
    """The derivative of the output's activation, in hidden layers."""
    if layer == p.last:
        return right(p, layer, da)
    return derived(p.network.activations[p.last], p.z[layer], p.a[layer], da)


def twice(p, layer, da):
    """The derivative, applied twice."""
    name, z, a = p.network.activations[layer], p.z[layer], p.a[layer]
    return derived(name, z, a, derived(name, z, a, da))


def slope_alone(p, layer, da):
    """The derivative itself."""
    return derived(p.network.activations[layer], p.z[layer], p.a[layer], da.zeros_like() + 1.0)


def as_relu(p, layer, da):
    """The derivative of relu."""
    return where_positive(p.z[layer], da, 0.0)


def leak(p, layer, da):
    """The derivative of relu or leaky_relu."""
    return where_positive(p.z[layer], da, da * 0.01 if p.network.activations[layer] == "leaky_relu" else 0.0)


def at_zero(share):
    """The derivative at 0 is that share of the way from its value on the left to that on the right."""

    def wrong(p, layer, da):
        zero = p.exact(np.where(p.z[layer].mid == 0.0, share, 0.0))
        below = leak(p, layer, da)
        return below + (da - below) * zero

    return wrong


def other_leak(p, z, then):
    """leaky_relu with another slope, or its derivative."""
    return where_positive(z, then, then * p.values["slope"])


def no_activation(is_output, with_derivative):
    """a = z in the output layer or in the hidden ones, and the derivative of that or the right one."""

    def here(p, layer):
        return (layer == p.last) == is_output

    change: Change = {"a": lambda right, p, layer: p.z[layer] if here(p, layer) else right(p, layer)}
    derivative: Change = {"slope": lambda right, p, layer, da: da if here(p, layer) else right(p, layer, da)}
    return {**change, **derivative} if with_derivative else change


BUGS: tuple[Bug, ...] = (
    Bug(
        "derivative-missing",
        "the derivative of the activation is left out",
        "hidden delta",
        "delta = da·φ'(z)",
        "delta = da",
        "multiply by φ'(z)",
        (
            *(slope(no_derivative, *EVERY, place=place) for place in NOT_OUTPUT),
            *slopes(no_derivative, *SMOOTH, places=NOT_OUTPUT),
            *slopes(no_derivative, "softmax", places=NOT_OUTPUT),
        ),
    ),
    Bug(
        "upstream-missing",
        "delta is the derivative alone: the gradient from above is left out",
        "hidden delta",
        "delta = da·φ'(z)",
        "delta = φ'(z)",
        "multiply the derivative by da",
        slopes(slope_alone, "sigmoid", "tanh", "relu", "leaky_relu"),
    ),
    Bug(
        "derivative-at-activation",
        "the derivative is taken at a instead of z",
        "hidden delta",
        "φ'(z) = a·(1 − a) for the sigmoid, 1 − a² for tanh",
        "φ'(a): the sigmoid of the sigmoid",
        "a is φ(z) already: use a·(1 − a), or pass z to the derivative",
        slopes(at_activation, *SMOOTH),
    ),
    Bug(
        "derivative-fed-z",
        "the derivative written in terms of a is given z",
        "hidden delta",
        "a·(1 − a) for the sigmoid, 1 − a² for tanh",
        "z·(1 − z), 1 − z²",
        "pass a, or apply the activation first",
        slopes(fed_z, *SMOOTH),
    ),
    Bug(
        "tanh-slope-linear",
        "tanh's derivative lacks the square",
        "hidden delta",
        "1 − a²",
        "1 − a",
        "square a",
        slopes(lambda p, layer, da: da * (1.0 - p.a[layer]), "tanh"),
    ),
    Bug(
        "tanh-slope-of-sigmoid",
        "tanh has the sigmoid's derivative",
        "hidden delta",
        "1 − a²",
        "a·(1 − a)",
        "use tanh's own derivative",
        slopes(as_if("sigmoid"), "tanh"),
    ),
    Bug(
        "sigmoid-slope-of-tanh",
        "the sigmoid has tanh's derivative",
        "hidden delta",
        "a·(1 − a)",
        "1 − a²",
        "use the sigmoid's own derivative",
        slopes(as_if("tanh"), "sigmoid"),
    ),
    Bug(
        "activation-for-derivative",
        "delta is multiplied by a instead of the derivative",
        "hidden delta",
        "delta = da·φ'(z)",
        "delta = da·a",
        "multiply by the derivative",
        slopes(lambda p, layer, da: da * p.a[layer], *SMOOTH),
    ),
    Bug(
        "derivative-twice",
        "the derivative of the activation is applied twice",
        "hidden delta",
        "delta = da·φ'(z)",
        "delta = da·φ'(z)²",
        "multiply by φ'(z) once",
        slopes(twice, *SMOOTH),
    ),
    Bug(
        "derivative-of-neighbour",
        "the derivative is taken at the z of a neighbouring layer",
        "hidden delta",
        "delta[l] = da[l]·φ'(z[l])",
        "delta[l] = da[l]·φ'(z[l ± 1])",
        "check the loop's index",
        (of_layer(1), of_layer(-1)),
    ),
    Bug(
        "derivative-of-output-activation",
        "hidden layers have the derivative of the output's activation",
        "hidden delta",
        "delta[l] = da[l]·φ'(z[l]) with the layer's own φ",
        "φ of the output",
        "use each layer's own derivative",
        ({"slope": of_output_activation},),
    ),
    Bug(
        "relu-mask-missing",
        "relu's delta is not set to zero where z ≤ 0",
        "hidden delta",
        "delta = da where z > 0, else 0",
        "delta = da",
        "mask with z > 0",
        slopes(no_derivative, "relu", places=NOT_OUTPUT),
    ),
    Bug(
        "relu-mask-on-delta",
        "relu's mask is taken from the gradient instead of z",
        "hidden delta",
        "delta = da where z > 0, else 0",
        "delta = da where da > 0, else 0",
        "mask with z > 0",
        slopes(lambda p, layer, da: where_positive(da, da, 0.0), "relu", places=NOT_OUTPUT),
    ),
    Bug(
        "relu-guided",
        "relu's delta is also set to zero where the gradient is negative",
        "hidden delta",
        "delta = da where z > 0, else 0",
        "delta = da where z > 0 and da > 0, else 0",
        "mask with z > 0 alone",
        slopes(lambda p, layer, da: where_positive(da, as_relu(p, layer, da), 0.0), "relu", places=NOT_OUTPUT),
    ),
    Bug(
        "relu-at-zero",
        "the derivative of relu at 0 is another one",
        "hidden delta",
        "relu'(0) = 0, leaky_relu'(0) = 0.01",
        "relu'(0) = 1 or ½",
        "nothing, if you mean it; z > 0 instead of z ≥ 0 otherwise",
        (
            *slopes(at_zero(1.0), "relu", "leaky_relu", places=(EVERYWHERE,)),
            *slopes(at_zero(0.5), "relu", "leaky_relu", places=(EVERYWHERE,)),
        ),
        acceptable=True,
    ),
    Bug(
        "leaky-slope-forgotten",
        "leaky relu is differentiated as if it were relu",
        "hidden delta",
        "delta = 0.01·da where z ≤ 0",
        "delta = 0 where z ≤ 0",
        "multiply by the slope instead",
        (
            *slopes(as_relu, "leaky_relu", places=NOT_OUTPUT),
            {
                "a": lambda right, p, layer: (
                    where_positive(p.z[layer], p.z[layer], 0.0)
                    if p.network.activations[layer] == "leaky_relu"
                    else right(p, layer)
                ),
                **slope(as_relu, "leaky_relu"),
            },
        ),
    ),
    Bug(
        "leaky-slope-other",
        "leaky relu has another slope than 0.01",
        "a",
        "0.01·z where z ≤ 0",
        "slope·z where z ≤ 0",
        "use the slope 0.01, or declare yours",
        fitted=(
            {
                "a": lambda right, p, layer: (
                    other_leak(p, p.z[layer], p.z[layer])
                    if p.network.activations[layer] == "leaky_relu"
                    else right(p, layer)
                ),
                **slope(lambda p, layer, da: other_leak(p, p.z[layer], da), "leaky_relu"),
            },
            slope(lambda p, layer, da: other_leak(p, p.z[layer], da), "leaky_relu"),
        ),
        parameter="slope",
        start=0.1,
    ),
    Bug(
        "hidden-activation-missing",
        "the hidden layers' activation is not applied",
        "a",
        "a = φ(z)",
        "a = z",
        "apply the activation",
        (no_activation(False, with_derivative=True), no_activation(False, with_derivative=False)),
    ),
    Bug(
        "output-activation-missing",
        "the output's activation is not applied",
        "a",
        "a = φ(z)",
        "a = z",
        "apply the activation",
        (no_activation(True, with_derivative=True), no_activation(True, with_derivative=False)),
    ),
)
