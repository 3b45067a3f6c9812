"""A loss that is none of ours: is the gradient its derivative? If not, which rule is off?"""

import functools

import numpy as np

from backprop_ref.conformance.catalogue.known import BY_ID
from backprop_ref.conformance.catalogue.textbook import RULES, activate, derived
from backprop_ref.conformance.dissecting.comparing import same
from backprop_ref.conformance.dissecting.rules import DOUBLE, Form, Rows
from backprop_ref.conformance.measuring import material
from backprop_ref.conformance.measuring.asking import HALF_THE_DIGITS
from backprop_ref.conformance.measuring.unknown_loss import differences
from backprop_ref.conformance.rounding.balls import Ball
from backprop_ref.conformance.submissions.conventions import SIMPLE
from backprop_ref.network import Network
from backprop_ref.parameters import Parameters

ENOUGH = 4
"""Samples of which the rules are taken from the derivative: each takes a hundred calls."""
DIRECTIONS = 3
"""In so many a gradient is held against the differences of the loss: an entry that is off shows in nearly every one."""
SCALAR = ("linear", "sigmoid", "tanh", "relu", "leaky_relu")
SURE = 1e-5
"""A central difference is used where its error is below this part of the tensor's largest entry."""


def derivatives(ask, network, params, x, y, chosen) -> Parameters | None:
    """The derivative of a submission's own loss for one batch; None where there is no loss.

    NaN: entries that are not `chosen`, a `Parameters` of ones and zeros, and those whose error is too large, near a
    kink.
    """
    found = differences.entries(lambda moved: ask.losses(network, moved, x, y), params, chosen.flat)
    if found is None:
        return None
    values, errors = found
    for name in ("W", "b"):
        for part, error in zip(getattr(values, name), getattr(errors, name), strict=True):
            largest = np.abs(part[~np.isnan(part)]).max(initial=1e-3)
            part[~(error <= SURE * largest)] = np.nan
    return values


def agree(measured, true, tolerance) -> bool:
    """Whether gradients are the derivative, wherever that is sure; at least half of the entries have to be."""
    unsure = np.isnan(true)
    if unsure.mean() > 0.5 or not np.all(np.isfinite(measured)):
        return False
    size = max(np.abs(measured).max(initial=0.0), np.nanmax(np.abs(true), initial=0.0))
    return bool(np.all(np.abs(np.where(unsure, 0.0, measured - true)) <= max(tolerance, 10.0 * SURE) * size))


def is_derivative(ask, network, batches) -> bool | None:
    """Whether dW and db are the derivative of the loss along random directions; None where there is no loss.

    Each tensor is tried in `DIRECTIONS`, all together in as many where calls are dear; where a kink is too near, with
    another batch. Code for one sample at a time is asked for single ones.
    """
    several = not ask.submission.layout.one_sample
    rng = np.random.default_rng(network.sizes)
    asked = [batches.five, batches.seven, *batches.singles[:3]] if several else batches.singles[:3]
    left: set[int] = set()
    for number, one in enumerate(part for part in asked if part is not None):
        groups = _groups(one.values, network.n_layers, ask.dear)
        left = set(range(len(groups))) if not number or not several else left
        for place in sorted(left):
            found = _along(ask, network, batches, one, groups[place], rng)
            if found is None or not found[1]:
                return None if found is None else False
            if found[0]:
                left.discard(place)
        if several and not left:
            return True
    return not left


def _groups(values, n_layers, together):
    """The tensors, by name and layer, that have a gradient: each alone, or all `together`."""
    db = values.db or [None] * n_layers
    every = [("W", layer) for layer in range(n_layers)]
    every += [("b", layer) for layer in range(n_layers) if db[layer] is not None]
    return [every] if together else [[one] for one in every]


def _along(ask, network, batches, one, tensors, rng):
    """Whether any direction in these tensors was sure, and whether the gradient agrees in those that were; or None.

    Several tensors have as large a part in the slope each.
    """
    params = batches.params
    gradient = Parameters.zeros(params.sizes)
    directions, size = [], 0.0
    for name, layer in tensors:
        getattr(gradient, name)[layer][...] = getattr(one.values, f"d{name}")[layer]
    if not np.all(np.isfinite(gradient.flat)):
        return True, False
    for _ in range(DIRECTIONS):
        direction = Parameters.zeros(params.sizes)
        for name, layer in tensors:
            part = getattr(direction, name)[layer]
            largest = float(np.abs(getattr(gradient, name)[layer]).max()) or 1.0
            part[...] = rng.normal(size=part.shape) / (largest if len(tensors) > 1 else 1.0)
        directions.append(direction.flat / np.linalg.norm(direction.flat))
    found = differences.slopes(
        lambda moved: ask.losses(network, moved, one.case.x, one.case.y), params, np.array(directions)
    )
    if found is None:
        return None
    slopes, errors = found
    due = np.array(directions) @ gradient.flat
    size = max(np.abs(slopes).max(), np.abs(due).max(), np.abs(gradient.flat).max() if len(tensors) == 1 else 0.0)
    sure = errors <= SURE * max(size, 1e-3)
    agrees = np.abs(slopes - due) <= max(batches.tolerance, 10.0 * SURE) * size + errors  # of 0 there is but rounding
    return bool(sure.any()), bool(np.all(agrees[sure]))


def measured_samples(ask, network, batches):
    """The samples whose rules can be taken from the submission's own loss, and their `Rows`; none where there are none.

    With dLoss/db = delta and dLoss/dW = outer(input, delta) of one sample, the derivative tells every delta and every
    input, and so each slope: delta over what is carried back. An input is read off the weights of one neuron.
    """
    params, last = batches.params, network.n_layers - 1
    singles: list = []
    inputs: list = []
    slopes: list = []
    deltas: list = []
    for one in batches.singles:
        if len(singles) == ENOUGH:
            break
        wanted = Parameters.zeros(params.sizes)
        for b in wanted.b:
            b[...] = 1.0
        true = derivatives(ask, network, params, one.case.x, one.case.y, wanted)
        if true is None:
            return [], None
        if any(np.isnan(b).any() for b in true.b):
            continue
        neurons = [int(np.argmax(np.abs(b))) for b in true.b]
        wanted = Parameters.zeros(params.sizes)
        for W, j in zip(wanted.W, neurons, strict=True):
            W[:, j] = 1.0
        weights = derivatives(ask, network, params, one.case.x, one.case.y, wanted)
        if weights is None or any(b[j] == 0.0 for b, j in zip(true.b, neurons, strict=True)):
            continue
        read = [weights.W[layer][:, j] / true.b[layer][j] for layer, j in enumerate(neurons)]
        if same(read[0], one.case.x[0], 1e-5):
            read[0] = one.case.x[0]  # else it reads something made of x
        carried = [true.b[layer + 1] @ params.W[layer + 1].T for layer in range(last)]
        slope = [true.b[layer] / np.where(da == 0.0, np.nan, da) for layer, da in enumerate(carried)]
        if any(np.isnan(part).any() for part in (*read, *slope)):
            continue
        singles.append(one)
        inputs.append(read)
        slopes.append(slope)
        deltas.append(true.b[last])
    if not singles:
        return [], None
    y = np.concatenate([one.case.y for one in singles])
    read, slope = (list(map(np.stack, zip(*parts, strict=True))) for parts in (inputs, slopes))
    names = [_activation(read[layer] @ params.W[layer] + params.b[layer], read[layer + 1]) for layer in range(last)]
    case = material.case(Network(network.sizes, [*names, "tanh"], "sse"), params, read[0], y)
    return singles, Rows(case, _rules(read, slope, np.stack(deltas), last), apart=False)


def _activation(z, a):
    """The activation of ours that gives a; "tanh" stands for one that is none of ours."""
    known = (name for name in SCALAR if same(activate(name, Ball.exact(z, DOUBLE)).mid, a, 1e-4))
    return next(known, "tanh")


def _rules(inputs, slopes, delta, last):
    """The textbook's rules with measured activations, slopes and last delta."""

    def exact(p, array):
        return Ball.exact(array, p.precision)

    def a(p, layer):
        return exact(p, inputs[layer + 1]) if layer < last else activate("tanh", p.z[layer])

    def slope(p, layer, da):
        return da * slopes[layer] if layer < last else da

    def at_layer(p, layer):
        return exact(p, delta) if layer == last else p.rule("slope", layer, p.rule("da", layer))

    return {**RULES, "a": a, "slope": slope, "delta": at_layer}


def _hidden(change):
    """A change of the slope in hidden layers."""
    return {
        "slope": lambda right, p, layer, da: right(p, layer, da) if layer == p.last else change(right, p, layer, da)
    }


def _output(name, formula):
    """The last delta with another function of z in the place of the derivative of an activation of that name."""

    def wrong(right, p, layer):
        found = right(p, layer)
        if layer != p.last:
            return found
        z = p.z[layer]
        a = activate(name, z)
        one = Ball.exact(np.ones(z.shape), p.precision)
        return found / derived(name, z, a, one) * formula(name, z, a, one)

    return {"delta": wrong}


OUTPUT_SLOPES = {
    "output-derivative-missing": lambda name, z, a, one: one,
    "derivative-twice": lambda name, z, a, one: derived(name, z, a, derived(name, z, a, one)),
    "derivative-at-activation": lambda name, z, a, one: derived(name, a, activate(name, a), one),
    "derivative-fed-z": lambda name, z, a, one: derived(name, z, z, one),
    "activation-for-derivative": lambda name, z, a, one: a,
    "tanh-slope-linear": lambda name, z, a, one: one - a,
    "tanh-slope-of-sigmoid": lambda name, z, a, one: a * (one - a),
    "sigmoid-slope-of-tanh": lambda name, z, a, one: one - a * a,
}
"""What may stand in the place of the output's derivative."""


def slopes_at_a(ask, network, params, singles, rows: Rows) -> Form | None:
    """The derivatives of hidden activations at a instead of z, by moving each bias by a − z; None where that fails."""
    found = [np.ones_like(rows.z[layer].mid) for layer in range(rows.last)]
    wanted = Parameters.zeros(params.sizes)
    for b in wanted.b:
        b[...] = 1.0
    for s, one in enumerate(singles):
        for layer in range(rows.last):
            moved = params.copy()
            moved.b[layer][:] += rows.a[layer].mid[s] - rows.z[layer].mid[s]
            true = derivatives(ask, network, moved, one.case.x, one.case.y, wanted)
            if true is None:
                return None
            with np.errstate(all="ignore"):
                found[layer][s] = true.b[layer] / (true.b[layer + 1] @ params.W[layer + 1].T)
    if not all(np.all(np.isfinite(part)) for part in found):
        return None
    return Form(BY_ID["derivative-at-activation"], _hidden(lambda right, p, layer, da: da * found[layer]))


def by_other_labels(ask, network, batches) -> str:
    """The known bug of labels by which a batch's gradient is the sum of what its samples give; empty: none.

    Whatever the loss, and whatever is wrong with single samples: these are asked with the labels of others.
    """
    x, y = batches.five.case.x, batches.five.case.y
    rolls = [np.roll(y, 1, axis=0), np.roll(y, -1, axis=0), y[::-1]]
    pairs = [*(("labels-rolled", labels) for labels in rolls), ("label-broadcast", np.full_like(y, y.mean()))]
    for name, labels in pairs:
        if name == "label-broadcast" and y.shape[1] > 1:
            continue
        total = None
        for s in range(len(x)):
            one = ask(network, batches.params, x[s : s + 1], labels[s : s + 1])
            if one is None or one.values.dW is None:
                return ""
            total = one.values.dW if total is None else list(map(np.add, total, one.values.dW))
        if total and all(_a_power(a, b, len(x)) for a, b in zip(batches.five.values.dW, total, strict=True)):
            return name
    return ""


def _a_power(measured, total, size):
    return any(same(measured, float(size) ** power * total, 1e-6) for power in (0, -1, 1, -2))


def own_forms() -> tuple[Form, ...]:
    """What may be wrong with the slope of an activation that is none of ours, and with the output's."""
    missing, twice = BY_ID["derivative-missing"], BY_ID["derivative-twice"]
    return (
        Form(missing, _hidden(lambda right, p, layer, da: da)),
        Form(twice, _hidden(lambda right, p, layer, da: right(p, layer, right(p, layer, da)))),
        *(
            Form(BY_ID[bug], _output(name, formula))
            for bug, formula in OUTPUT_SLOPES.items()
            for name in ("sigmoid", "tanh")
        ),
    )


def constant_rest(batches, ours):
    """The usual factor with which what a loss has beyond ours is the same for every batch, and that rest; None: none.

    All batches are asked with the same weights: a penalty on these is such a rest.
    """
    theirs = np.array([one.loss for one in batches.all])
    sizes = np.array([len(one.case.x) for one in batches.all], dtype=float)
    scales = np.stack([_scales(*one.case.y.shape) for one in batches.all], axis=1)
    rests = theirs - scales * ours
    levels = np.stack([rests, rests * sizes], axis=1)  # of each factor: as it is, and by batch
    first, size = levels[..., :1], np.abs(levels).max(axis=-1)
    most = np.maximum(1.0, np.abs(theirs).max() / np.abs(np.where(first == 0.0, 1.0, first)))[..., 0]
    level = (size < np.inf) & (np.abs(levels - first).max(axis=-1) <= digits_of(batches) * most * size)
    found = next(iter(np.argwhere(level)), None)
    return None if found is None else (SIMPLE[found[0]], float(rests[found[0], 0]), bool(found[1]))


@functools.cache
def _scales(batch, n_out):
    """The numbers that usual factors are for a batch of that size."""
    return np.array([float(batch) ** f.batch * float(n_out) ** f.outputs * 2.0**f.twos for f in SIMPLE])


def digits_of(batches) -> float:
    """To such a part of its size a loss is right, in the precision in which it is computed."""
    return 1e-7 if batches.tolerance < HALF_THE_DIGITS["float32"] else 4e-6


def penalty(rest: float, params: Parameters, biases: bool, digits: float = 1e-7) -> str:
    """A penalty on the weights in words, if its λ is a short number."""
    sums = {
        "½λ·ΣW²": 0.5 * sum(float((W * W).sum()) for W in params.W),
        "λ·Σ|W|": sum(float(np.abs(W).sum()) for W in params.W),
    }
    if biases:
        sums["½λ·Σ(W² + b²)"] = 0.5 * float((params.flat * params.flat).sum())
    for words, size in sums.items():
        value = rest / size
        if value > 0.0 and abs(float(f"{value:.{3 if digits > 1e-7 else 4}g}") - value) <= digits * value:
            return f"{words}, λ = {value:.4g}"
    return ""
