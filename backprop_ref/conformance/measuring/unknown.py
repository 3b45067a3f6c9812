"""A loss that is none of ours: is the gradient its derivative? If not, which rule is off?"""

import numpy as np

from backprop_ref.conformance.catalogue.known import BY_ID
from backprop_ref.conformance.catalogue.textbook import RULES, activate, derived
from backprop_ref.conformance.dissecting.comparing import same
from backprop_ref.conformance.dissecting.rules import DOUBLE, Form, Rows
from backprop_ref.conformance.measuring import material
from backprop_ref.conformance.measuring.own_loss import differences
from backprop_ref.conformance.rounding.balls import Ball
from backprop_ref.network import Network
from backprop_ref.parameters import Parameters

ENOUGH = 4
"""Samples of which the derivative is taken: each takes hundreds of calls."""
SCALAR = ("linear", "sigmoid", "tanh", "relu", "leaky_relu")
SURE = 1e-5
"""A central difference is used where its error is below this part of the tensor's largest entry."""


class Derivatives:
    """The derivative of a submission's own loss for one batch, tensor by tensor.

    Attributes
    ----------
    dW, db : list of array
        Entries whose error is too large, near a kink, are NaN.
    """

    def __init__(self, ask, network, params, x, y):
        found = differences(lambda moved: ask.losses(network, moved, x, y), params)
        self.ok = found is not None
        if found is None:
            return
        values, errors = found
        self.dW, self.db = (
            [_sure(part, error) for part, error in zip(getattr(values, name), getattr(errors, name), strict=True)]
            for name in ("dW", "db")
        )


def _sure(part, error):
    return np.where(error <= SURE * max(np.abs(part).max(), 1e-3), part, np.nan)


def agree(measured, true, tolerance) -> bool:
    """Whether gradients are the derivative, wherever that is sure; at least half of the entries have to be."""
    unsure = np.isnan(true)
    if unsure.mean() > 0.5 or not np.all(np.isfinite(measured)):
        return False
    size = max(np.abs(measured).max(initial=0.0), np.nanmax(np.abs(true), initial=0.0))
    return bool(np.all(np.abs(np.where(unsure, 0.0, measured - true)) <= max(tolerance, 10.0 * SURE) * size))


def is_derivative(values, true: Derivatives, tolerance) -> bool:
    """Whether dW and db are the derivative of the loss, up to the error of the differences."""
    pairs = list(zip(values.dW, true.dW, strict=True))
    if values.db is not None:
        pairs += [pair for pair in zip(values.db, true.db, strict=True) if pair[0] is not None]
    return all(agree(measured, due, tolerance) for measured, due in pairs)


def measured_samples(ask, network, batches):
    """The samples whose rules can be taken from the submission's own loss, and their `Rows`; none where there are none.

    With dLoss/db = delta and dLoss/dW = outer(input, delta) of one sample, the derivative tells every delta and every
    input, and so each slope: delta over what is carried back.
    """
    params, last = batches.params, network.n_layers - 1
    singles: list = []
    inputs: list = []
    slopes: list = []
    deltas: list = []
    for one in batches.singles:
        if len(singles) == ENOUGH:
            break
        true = Derivatives(ask, network, params, one.case.x, one.case.y)
        if not true.ok or any(np.isnan(part).any() for part in (*true.dW, *true.db)):
            continue
        read = [_input(true.dW[layer], true.db[layer]) for layer in range(last + 1)]
        if any(part is None for part in read):
            continue
        if same(read[0], one.case.x[0], 1e-5):
            read[0] = one.case.x[0]  # else it reads something made of x
        carried = [true.db[layer + 1] @ params.W[layer + 1].T for layer in range(last)]
        slope = [true.db[layer] / np.where(da == 0.0, np.nan, da) for layer, da in enumerate(carried)]
        if any(np.isnan(part).any() for part in slope):
            continue
        singles.append(one)
        inputs.append(read)
        slopes.append(slope)
        deltas.append(true.db[last])
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


def _input(dW, db):
    """What a layer read, from the neuron with the largest delta."""
    j = int(np.argmax(np.abs(db)))
    return dW[:, j] / db[j] if db[j] else None


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
    for s, one in enumerate(singles):
        for layer in range(rows.last):
            moved = params.copy()
            moved.b[layer][:] += rows.a[layer].mid[s] - rows.z[layer].mid[s]
            true = Derivatives(ask, network, moved, one.case.x, one.case.y)
            if not true.ok:
                return None
            with np.errstate(all="ignore"):
                found[layer][s] = true.db[layer] / (true.db[layer + 1] @ params.W[layer + 1].T)
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


def constant_rest(batches, ours, factors):
    """The factor with which what a loss has beyond ours is the same for every batch, and that rest; None: none.

    All batches are asked with the same weights: a penalty on these is such a rest.
    """
    theirs = np.array([one.loss for one in batches.all])
    sizes = np.array([len(one.case.x) for one in batches.all], dtype=float)
    for factor in factors:
        rest = theirs - np.array([factor.of(one.case) for one in batches.all]) * ours
        for by_batch in (False, True):
            level = rest * sizes if by_batch else rest
            if same(level, np.full_like(level, level[0]), 1e-7 * max(1.0, np.abs(theirs).max() / abs(level[0] or 1.0))):
                return factor, float(rest[0]), by_batch
    return None


def penalty(rest: float, params: Parameters, biases: bool) -> str:
    """A penalty on the weights in words, if its λ is a short number."""
    sums = {
        "½λ·ΣW²": 0.5 * sum(float((W * W).sum()) for W in params.W),
        "λ·Σ|W|": sum(float(np.abs(W).sum()) for W in params.W),
    }
    if biases:
        sums["½λ·Σ(W² + b²)"] = 0.5 * float((params.flat * params.flat).sum())
    for words, size in sums.items():
        value = rest / size
        if value > 0.0 and abs(float(f"{value:.4g}") - value) <= 1e-7 * value:
            return f"{words}, λ = {value:.4g}"
    return ""
