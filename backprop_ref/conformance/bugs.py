"""The catalogue: how backprop goes wrong in the wild, each bug as the rules of the textbook pass that it replaces.

A *change* is a dictionary from the name of a rule of `backprop_ref.conformance.textbook` to a function that takes the
rule it replaces, the pass, and the rule's arguments. A bug has one change for each form it is met in, its *variants*.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from backprop_ref.conformance.cases import Case
from backprop_ref.conformance.rounding import balls
from backprop_ref.conformance.rounding.balls import where_positive
from backprop_ref.conformance.textbook import RULES, activate, derived, divisor, inputs, predict, replaced
from backprop_ref.optimizers import SGD

Change = dict[str, Callable]


@dataclass(frozen=True)
class Bug:
    """A known bug.

    Attributes
    ----------
    id : str
        Stable.
    text : str
        The bug in plain words.
    where : str
        The first quantity to go wrong: z, a, loss, delta of the output, hidden delta, dW, db, update or state.
    right, wrong : str
        The formula as it should be and as it is.
    hint : str
        What to do.
    variants : tuple of dict
        The forms it is met in. None for a bug of state, which only a second call or the arguments show.
    fitted : tuple of dict
        Forms that need a number, which has to be worked out from the submission,
    parameter : str
        the name of that number, such as learning rate, and
    start : float
        a usual value of it.
    acceptable : bool
        A matter of convention, which a checker reports and does not fail.
    """

    id: str
    text: str
    where: str
    right: str
    wrong: str
    hint: str
    variants: tuple[Change, ...] = field(repr=False, default=())
    fitted: tuple[Change, ...] = field(repr=False, default=())
    parameter: str = ""
    start: float = 0.0
    acceptable: bool = False


def shown_by(case: Case) -> tuple[str, ...]:
    """Ids of the bugs that show on a case: a variant leads outside the bounds."""
    with np.errstate(all="ignore"):
        right = dict(predict(case, RULES))
        return tuple(
            bug.id for bug in CATALOGUE if any(_shows(case, bug, form, right) for form in (*bug.variants, *bug.fitted))
        )


def _shows(case, bug, variant, right):
    values = {bug.parameter: balls.Ball.exact(bug.start, right["z", 0].precision)}
    return any(
        wrong.shape != right[key].shape or not np.all(np.abs(wrong.mid - right[key].mid) <= wrong.rad + right[key].rad)
        for key, wrong in predict(case, replaced(variant), values=values)
    )


# ---- kinds of change -----------------------------------------------------------------------------------------------


def times(rule: str, factor: Callable) -> Change:
    """What the rule gives, times ``factor(p)``."""
    return {rule: lambda right, p, *rest: right(p, *rest) * factor(p)}


def over(rule: str, divisor: Callable) -> Change:
    """What the rule gives, divided by ``divisor(p)``."""
    return {rule: lambda right, p, *rest: right(p, *rest) / divisor(p)}


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


def softmax_ce(p):
    return p.network.loss == "cross_entropy" and p.network.activations[p.last] == "softmax"


def sigmoid_ce(p):
    return p.network.loss.endswith("cross_entropy") and p.network.activations[p.last] == "sigmoid"


def squared(p):
    return p.squared


def cross_entropy(p):
    return not p.squared


def sums_outputs(p):
    return divisor(p) == p.batch


def jacobian(a, e):
    """The softmax Jacobian at a, times e."""
    return a * (e - (e * a).sum(axis=1, keepdims=True))


def only(ball, rows=slice(None), columns=slice(None)):
    """Zero outside the given rows and columns."""
    keep = np.zeros(ball.shape, dtype=bool)
    keep[(rows, columns)[: keep.ndim]] = True
    return ball.masked(keep)


# ---- output delta --------------------------------------------------------------------------------------------------


def labels(change, uses=("loss", "error")):
    """``change(y)`` in place of the labels, in the loss and the gradient or in one of them."""
    return {"target": lambda right, p, use: change(right(p, use)) if use in uses else right(p, use)}


def rolled(shift, axis):
    def roll(y):
        return balls.Ball(np.roll(y.mid, shift, axis), np.roll(y.rad, shift, axis), y.precision)

    return roll


def both_uses(change):
    return labels(change), labels(change, uses=("error",))


def hardened(y):
    """A 1 at the largest label, 0 elsewhere."""
    return balls.Ball.exact(np.eye(y.shape[1])[y.mid.argmax(axis=1)], y.precision)


def class_numbers(y):
    """The number of the class in every column."""
    return balls.Ball.exact(np.repeat(y.mid.argmax(axis=1)[:, None], y.shape[1], axis=1), y.precision)


def one_output(p):
    return p.n_out == 1


def mean_label(y):
    return y.sum(axis=0, keepdims=True) / len(y) + y.zeros_like()


def all_pairs(right, p):
    """The squares of the differences of every output with every label, as a mean over the labels."""
    a, y = p.a[p.last], p.y
    return ((a - y.T) * (a - y.T)).sum(axis=1, keepdims=True) / p.batch


def softmax_of_softmax(right, p):
    a, y = p.a[p.last], p.rule("target", "error")
    return jacobian(a, balls.softmax(a) * y.sum(axis=1, keepdims=True) - y)


def terms_of_softmax(right, p):
    a, y = p.a[p.last], p.rule("target", "loss")
    return y * (balls.log(balls.exp(a).sum(axis=1, keepdims=True)) - a)


def sigmoid_of_sigmoid(right, p):
    a, y = p.a[p.last], p.rule("target", "error")
    q = balls.sigmoid(a)
    wrong = q - y if p.network.loss == "binary_cross_entropy" else -(y * balls.sigmoid(-a))
    return wrong * (a * (1.0 - a))


def terms_of_sigmoid(right, p):
    a, y = p.a[p.last], p.rule("target", "loss")
    return balls.softplus(a) - a * y if p.network.loss == "binary_cross_entropy" else y * balls.softplus(-a)


def minus_y_log_a(right, p):
    return -(p.rule("target", "loss") * balls.log(p.a[p.last]))


def clipped_error(right, p):
    """y/(a + ε) instead of y/a, times the derivative of the activation."""
    a, y, epsilon = p.a[p.last], p.rule("target", "error"), p.values["epsilon"]
    e = -(y / (a + epsilon))
    if p.network.loss == "binary_cross_entropy":
        e = e + (1.0 - y) / ((1.0 - a) + epsilon)
    return jacobian(a, e) if softmax_ce(p) else e * (a * (1.0 - a))


def clipped_terms(right, p):
    a, y, epsilon = p.a[p.last], p.rule("target", "loss"), p.values["epsilon"]
    terms = -(y * balls.log(a + epsilon))
    return terms - (1.0 - y) * balls.log((1.0 - a) + epsilon) if p.network.loss == "binary_cross_entropy" else terms


# ---- hidden delta --------------------------------------------------------------------------------------------------


def at_activation(p, layer, da):
    """φ'(a), that is the derivative's formula with φ(a) in the place of a."""
    name, a = p.network.activations[layer], p.a[layer]
    return derived(name, a, activate(name, a), da)


def fed_z(p, layer, da):
    """The derivative written in terms of a, with z in its place."""
    z = p.z[layer]
    return derived(p.network.activations[layer], z, z, da)


def as_if(name):
    return lambda p, layer, da: derived(name, p.z[layer], p.a[layer], da)


def of_layer(shift):
    """The derivative at the z and a of a neighbouring layer, where the widths allow it."""

    def wrong(right, p, layer, da):
        other = layer + shift
        if not 0 <= other <= p.last or p.z[other].shape != da.shape:
            return right(p, layer, da)
        return derived(p.network.activations[layer], p.z[other], p.a[other], da)

    return {"slope": wrong}


def of_output_activation(right, p, layer, da):
    if layer == p.last:
        return right(p, layer, da)
    return derived(p.network.activations[p.last], p.z[layer], p.a[layer], da)


def twice(p, layer, da):
    name, z, a = p.network.activations[layer], p.z[layer], p.a[layer]
    return derived(name, z, a, derived(name, z, a, da))


def leak(p, layer, da):
    return where_positive(p.z[layer], da, da * 0.01 if p.network.activations[layer] == "leaky_relu" else 0.0)


def at_zero(share):
    """The derivative at 0 is that share of the way from its value on the left to that on the right."""

    def wrong(p, layer, da):
        zero = p.exact(np.where(p.z[layer].mid == 0.0, share, 0.0))
        below = leak(p, layer, da)
        return below + (da - below) * zero

    return wrong


def other_leak(p, z, then):
    return where_positive(z, then, then * p.values["slope"])


# ---- linear algebra ------------------------------------------------------------------------------------------------


def square_transposed(right, p, *rest):
    ball = right(p, *rest)
    return ball.T if ball.shape[0] == ball.shape[1] else ball


def reshaped(right, p, *rest):
    """The numbers of the transpose, read in the wrong order."""
    ball = right(p, *rest)
    return ball.reshape(ball.shape[::-1]).T


def gradient_reshaped(right, p, *rest):
    ball = right(p, *rest)
    return ball.T.reshape(ball.shape)


def updated_weights(right, p, layer):
    if p.in_steps:
        return p.rule("updated", "W", layer, dict(p.states["W", layer]))
    return p.W[layer] - p.dW[layer] * p.values["learning rate"] if layer in p.dW else p.W[layer]


def updated_in_steps(right, p, layer):
    return updated_weights(right, p, layer) if p.in_steps else right(p, layer)


def updated_by_own_rate(right, p, layer):
    rate = p.optimizer.learning_rate
    return updated_weights(right, p, layer) if p.in_steps else p.W[layer] - p.dW[layer] * rate


def factor_from(other):
    """Another array in the place of what the layer read, where the widths allow it."""

    def wrong(right, p, layer):
        ball = other(p, layer)
        return ball if ball is not None and ball.shape == inputs(p, layer).shape else right(p, layer)

    return {"left": wrong}


def mean_first(right, p, layer):
    left, delta = p.rule("left", layer), p.delta[layer]
    return (left.sum(axis=0, keepdims=True) / p.batch).T @ delta.sum(axis=0, keepdims=True)


def sample(index, factor):
    """dW and db of one sample."""
    return {
        "dW": lambda right, p, layer: (
            p.rule("left", layer)[index : index + 1 or None].T @ p.delta[layer][index : index + 1 or None] * factor(p)
        ),
        "db": lambda right, p, layer: p.delta[layer][index] * factor(p),
    }


def sample_variants(index):
    """Of dW and db, with and without the 1/batch, and of dW alone."""
    full, divided = sample(index, batch), sample(index, lambda p: 1.0)
    return full, divided, {"dW": full["dW"]}, {"dW": divided["dW"]}


def without(rule, rows=slice(None), columns=slice(None)):
    """The rule's array with zeros outside those rows and columns; a vector has rows only."""
    return {rule: lambda right, p, *rest: only(right(p, *rest), rows, columns)}


def as_wide_as(pick):
    """Only as many columns, and biases, as ``pick(p, layer)``."""
    return {
        "dW": lambda right, p, layer: only(right(p, layer), columns=slice(pick(p, layer))),
        "db": lambda right, p, layer: only(right(p, layer), slice(pick(p, layer))),
    }


def width(shift):
    """The width of a neighbouring layer; the layer's own at the ends."""

    def pick(p, layer):
        sizes = p.network.sizes
        return sizes[layer + 1 + shift] if 0 <= layer + 1 + shift < len(sizes) else sizes[layer + 1]

    return pick


def last_term_only(right, p, layer):
    return p.delta[layer + 1][:, -1:] @ p.rule("weights_back", layer + 1)[:, -1:].T


def unsummed(right, p, layer):
    """delta as db; with one sample or one neuron it is read as a vector, as biases of such shapes are."""
    delta = p.delta[layer]
    return delta.reshape(-1) if 1 in delta.shape else delta


def not_in_steps(change):
    """Arrays of the wrong shape cannot be used for a step."""
    return {
        rule: (lambda right, p, *rest, wrong=wrong: right(p, *rest) if p.in_steps else wrong(right, p, *rest))
        for rule, wrong in change.items()
    }


def zero(rule):
    return {rule: lambda right, p, *rest: right(p, *rest).zeros_like()}


# ---- forward -------------------------------------------------------------------------------------------------------


def forward_bias(factor):
    return {
        "z": lambda right, p, layer: (
            p.rule("inputs", layer) @ p.W[layer] + p.b[layer] * factor(p, layer)
            if factor(p, layer)
            else p.rule("inputs", layer) @ p.W[layer]
        )
    }


def no_activation(is_output, with_derivative):
    """a = z in the output layer or in the hidden ones, and the derivative of that or the right one."""

    def here(p, layer):
        return (layer == p.last) == is_output

    change: Change = {"a": lambda right, p, layer: p.z[layer] if here(p, layer) else right(p, layer)}
    derivative: Change = {"slope": lambda right, p, layer, da: da if here(p, layer) else right(p, layer, da)}
    return {**change, **derivative} if with_derivative else change


def softmax_down_the_batch(right, p, layer):
    return balls.softmax(p.z[layer], axis=0) if p.network.activations[layer] == "softmax" else right(p, layer)


# ---- regularisation ------------------------------------------------------------------------------------------------


def _with_penalty(in_loss, weights, biases=0.0):
    """``in_loss``·c·ΣW² in the loss, ``weights``·c·W in dW and ``biases``·c·b in db, with a c that nobody asked for."""
    change: Change = {}
    if in_loss:
        change["loss"] = lambda right, p: sum(
            ((W * W).sum() * p.values["coefficient"] * in_loss for W in p.W), right(p)
        )
    if weights:
        change["dW"] = lambda right, p, layer: right(p, layer) + p.W[layer] * p.values["coefficient"] * weights
    if biases:
        change["db"] = lambda right, p, layer: right(p, layer) + p.b[layer] * p.values["coefficient"] * biases
    return change


# ---- steps ---------------------------------------------------------------------------------------------------------


def summed(right, p, name, layer):
    """The gradients of all steps so far."""
    state, g = p.states[name, layer], right(p, name, layer)
    state["sum"] = state["sum"] + g if "sum" in state else g
    return state["sum"]


def swapped_betas(right, p, g, state):
    """Adam with β1 and β2 exchanged."""
    p.optimizer, adam = replace(p.optimizer, beta1=p.optimizer.beta2, beta2=p.optimizer.beta1), p.optimizer
    step = right(p, g, state)
    p.optimizer = adam
    return step


def summed_change(right, p, g, state):
    """A step with the gradients of all steps so far, weight decay included."""
    state["sum"] = state["sum"] + g if "sum" in state else g
    return right(p, state["sum"], state)


def negative_momentum(right, p, g, state):
    """A momentum of −μ wherever μ is due, in the look ahead of Nesterov's too."""
    momentum = p.optimizer.momentum
    if not momentum:
        return right(p, g, state)
    state["v"] = g - state.get("v", g.zeros_like()) * momentum
    return (g - state["v"] * momentum if p.optimizer.nesterov else state["v"]) * p.optimizer.learning_rate


def plain_momentum(right, p, g, state):
    """Nesterov's momentum without the look ahead."""
    p.optimizer, nesterov = replace(p.optimizer, nesterov=False), p.optimizer
    step = right(p, g, state)
    p.optimizer = nesterov
    return step


def decoupled(right, p, name, layer, state):
    """Adam's step without weight decay, which is then taken from the weights."""
    rate, strength = p.optimizer.learning_rate, p.optimizer.weight_decay
    if isinstance(p.optimizer, SGD) or name == "b" or not strength:
        return right(p, name, layer, state)
    p.optimizer, adam = replace(p.optimizer, weight_decay=0.0), p.optimizer
    stepped = right(p, name, layer, state)
    p.optimizer = adam
    return stepped - p.W[layer] * (rate * strength)


def one_by_one(right, case):
    return [(x[s : s + 1], y[s : s + 1]) for x, y in right(case) for s in range(len(x))]


def full_only(right, case):
    whole = [batch for batch in right(case) if len(batch[0]) == case.batch_size] or right(case)
    return (whole * 3)[:3]


# ---- the catalogue -------------------------------------------------------------------------------------------------

SMOOTH = ("sigmoid", "tanh")
EVERY = ("sigmoid", "tanh", "relu", "leaky_relu", "softmax")


def _scale(factor):
    """A factor on everything: on the output delta, on dW and db as they are made, or as they are handed out."""
    return times("mean", factor), {**times("dW", factor), **times("db", factor)}, times("scaled", factor)


def _divide(by):
    return over("mean", by), {**over("dW", by), **over("db", by)}, over("scaled", by)


CATALOGUE: tuple[Bug, ...] = (
    # -- all tensors
    Bug(
        "missing-mean",
        "the gradients lack the 1/batch that the loss has",
        "delta of the output",
        "delta = dLoss/dz, with the 1/batch of the loss",
        "delta without 1/batch",
        "divide the output delta by the batch size, once",
        _scale(batch),
    ),
    Bug(
        "mean-twice",
        "the gradients are divided by the batch size once more than the loss",
        "delta of the output",
        "1/batch once, in the output delta",
        "1/batch in delta and again in dW and db, or in the update",
        "keep one of the two divisions",
        (*_divide(batch), over("change", batch)),
    ),
    Bug(
        "mean-over-outputs",
        "the gradients are divided by the number of outputs, over which the loss is a sum",
        "delta of the output",
        "delta = …/batch",
        "delta = …/(batch·n_out)",
        "divide by the batch size only, or take the mean over the outputs in the loss too",
        (where(sums_outputs, over("mean", outputs)), over("mean", outputs)),
    ),
    Bug(
        "sum-over-outputs",
        "the gradients are not divided by the number of outputs, over which the loss is a mean",
        "delta of the output",
        "delta = …/(batch·n_out)",
        "delta = …/batch",
        "divide by the number of outputs too, or let the loss be a sum over them",
        (where(lambda p: not sums_outputs(p), times("mean", outputs)),),
    ),
    Bug(
        "missing-two",
        "the 2 of the squared error's derivative is missing, and its loss has no ½",
        "delta of the output",
        "d(a − y)²/da = 2·(a − y)",
        "a − y",
        "multiply by 2, or let the loss have ½",
        (where(squared, times("mean", lambda p: 0.5)),),
    ),
    Bug(
        "extra-two",
        "the squared error's derivative has a 2 too many, or the loss a ½",
        "delta of the output",
        "2·(a − y)",
        "4·(a − y)",
        "keep one factor 2",
        (where(squared, times("mean", lambda p: 2.0)),),
    ),
    Bug(
        "sign",
        "the sign is reversed: the steps go uphill",
        "delta of the output",
        "a − y; W ← W − η·dW",
        "y − a, or W ← W + η·dW",
        "turn the sign round",
        (*_scale(lambda p: -1.0), times("change", lambda p: -1.0)),
    ),
    Bug(
        "learning-rate-folded",
        "all gradients have one constant factor, as if multiplied by a learning rate",
        "dW",
        "dW = aᵀ·delta",
        "dW = η·aᵀ·delta",
        "return the gradient; the learning rate belongs to the update",
        fitted=(times("scaled", lambda p: p.values["factor"]), times("mean", lambda p: p.values["factor"])),
        parameter="factor",
        start=0.1,
    ),
    Bug(
        "log-base-2",
        "the gradient is that of a loss with log₂",
        "delta of the output",
        "natural logarithm",
        "log₂: a factor 1/ln 2 = 1.4427",
        "use the natural logarithm",
        (where(cross_entropy, times("mean", lambda p: 1.0 / math.log(2.0))),),
    ),
    Bug(
        "log-base-10",
        "the gradient is that of a loss with log₁₀",
        "delta of the output",
        "natural logarithm",
        "log₁₀: a factor 1/ln 10 = 0.4343",
        "use the natural logarithm",
        (where(cross_entropy, times("mean", lambda p: 1.0 / math.log(10.0))),),
    ),
    Bug(
        "all-zero",
        "every gradient is zero",
        "dW",
        "dW = aᵀ·delta",
        "0",
        "look whether the backward pass runs at all, and whether its result is returned",
        (zero("scaled"),),
    ),
    # -- loss
    Bug(
        "loss-sum",
        "the loss is a sum over the batch, the gradients are those of the mean",
        "loss",
        "loss = Σ…/batch",
        "loss = Σ…",
        "divide the loss by the batch size",
        (times("loss", batch),),
    ),
    Bug(
        "loss-outputs",
        "the loss is a sum over the outputs where the gradients are those of the mean, or the reverse",
        "loss",
        "the same n in loss and gradient",
        "loss × n_out or ÷ n_out",
        "use the same divisor in loss and gradient",
        (
            times("loss", outputs),
            over("loss", outputs),
            where(sums_outputs, over("loss", outputs)),
            where(lambda p: not sums_outputs(p), times("loss", outputs)),
        ),
    ),
    Bug(
        "loss-half",
        "the loss has a ½ that the gradients do not have, or the gradients a 2 too many",
        "loss",
        "loss = Σ(a − y)²/n, with the derivative 2·(a − y)/n",
        "loss = ½·Σ(a − y)²/n",
        "leave out the ½, or the 2 in the derivative",
        (where(squared, times("loss", lambda p: 0.5)),),
    ),
    Bug(
        "loss-log-base-2",
        "the loss is computed with log₂, its gradient with the natural logarithm",
        "loss",
        "natural logarithm",
        "log₂",
        "use the natural logarithm",
        (where(cross_entropy, times("loss", lambda p: 1.0 / math.log(2.0))),),
    ),
    Bug(
        "loss-log-base-10",
        "the loss is computed with log₁₀, its gradient with the natural logarithm",
        "loss",
        "natural logarithm",
        "log₁₀",
        "use the natural logarithm",
        (where(cross_entropy, times("loss", lambda p: 1.0 / math.log(10.0))),),
    ),
    Bug(
        "loss-sign",
        "the loss has the wrong sign, its gradient the right one",
        "loss",
        "−Σ y·log a",
        "Σ y·log a",
        "turn the loss's sign round",
        (times("loss", lambda p: -1.0),),
    ),
    Bug(
        "loss-one-sided",
        "the binary cross-entropy leaves out the samples with label 0",
        "loss",
        "−y·log a − (1 − y)·log(1 − a)",
        "−y·log a",
        "add the term with 1 − y",
        (
            where(
                lambda p: p.network.loss == "binary_cross_entropy",
                {
                    "terms": minus_y_log_a,
                    "error": lambda right, p: -(p.rule("target", "error") * balls.sigmoid(-p.z[p.last])),
                },
            ),
            where(lambda p: p.network.loss == "binary_cross_entropy", {"terms": minus_y_log_a}),
        ),
    ),
    # -- one tensor
    Bug(
        "bias-mean",
        "db is divided by the batch size once more than dW",
        "db",
        "db = Σₛ delta",
        "db = mean over s of delta",
        "sum delta over the batch: it holds the 1/batch already",
        (over("db", batch),),
    ),
    Bug(
        "bias-sum",
        "db is not divided by the batch size, dW is",
        "db",
        "db = Σₛ delta, delta with 1/batch",
        "db = batch·Σₛ delta",
        "divide both by the batch size, once",
        (times("db", batch),),
    ),
    Bug(
        "weights-mean-twice",
        "dW is divided by the batch size once more than db",
        "dW",
        "dW = aᵀ·delta",
        "dW = aᵀ·delta/batch",
        "divide once",
        (over("dW", batch),),
    ),
    Bug(
        "weights-missing-mean",
        "dW is not divided by the batch size, db is",
        "dW",
        "dW = aᵀ·delta, delta with 1/batch",
        "dW = batch·aᵀ·delta",
        "divide both by the batch size, once",
        (times("dW", batch),),
    ),
    Bug(
        "bias-in-weight-loop",
        "the bias is updated inside the loop over the incoming weights",
        "db",
        "db[j] = Σₛ delta[s,j]",
        "db[j] = n_in·Σₛ delta[s,j]",
        "move the bias out of the inner loop",
        ({"db": lambda right, p, layer: right(p, layer) * inputs(p, layer).shape[1]},),
    ),
    Bug(
        "bias-in-forward-loop",
        "the bias is added inside the loop over the inputs",
        "z",
        "z = Σₖ a[k]·W[k,j] + b[j]",
        "z = Σₖ (a[k]·W[k,j] + b[j])",
        "move the bias out of the inner loop",
        (forward_bias(lambda p, layer: p.W[layer].shape[0]),),
    ),
    Bug(
        "bias-not-added",
        "the forward pass leaves out the bias",
        "z",
        "z = a·W + b",
        "z = a·W",
        "add b",
        (forward_bias(lambda p, layer: 0),),
    ),
    Bug(
        "mean-each-layer",
        "delta is divided by the batch size again at each layer",
        "hidden delta",
        "da = delta·Wᵀ",
        "da = delta·Wᵀ/batch",
        "divide by the batch size at the output only",
        (over("da", batch),),
    ),
    Bug(
        "bias-zero",
        "db is zero",
        "db",
        "db = Σₛ delta",
        "0",
        "sum delta over the batch",
        (zero("db"),),
    ),
    Bug(
        "bias-not-summed",
        "db is not summed over the batch",
        "db",
        "db = Σₛ delta, of shape (n_out,)",
        "db = delta, of shape (batch, n_out)",
        "sum over the batch's axis",
        (not_in_steps({"db": unsummed}), not_in_steps({"db": lambda right, p, layer: p.delta[layer]})),
    ),
    Bug(
        "bias-wrong-axis",
        "db is summed over the neurons instead of the samples",
        "db",
        "db[j] = Σₛ delta[s,j]",
        "db[s] = Σⱼ delta[s,j]",
        "sum over the batch's axis",
        (not_in_steps({"db": lambda right, p, layer: p.delta[layer].sum(axis=1)}),),
    ),
    Bug(
        "bias-all-equal",
        "all entries of db are the sum over samples and neurons",
        "db",
        "db[j] = Σₛ delta[s,j]",
        "db[j] = Σₛ Σⱼ delta[s,j]",
        "sum over the batch's axis only",
        ({"db": lambda right, p, layer: right(p, layer).zeros_like() + p.delta[layer].sum()},),
    ),
    Bug(
        "bias-row-sum",
        "db is the sum of dW over the inputs",
        "db",
        "db[j] = Σₛ delta[s,j]",
        "db[j] = Σₖ dW[k,j]",
        "sum delta, not dW",
        ({"db": lambda right, p, layer: p.rule("dW", layer).sum(axis=0)},),
    ),
    # -- output delta
    Bug(
        "softmax-extra-derivative",
        "softmax with cross-entropy has an extra factor p·(1 − p)",
        "delta of the output",
        "delta = (p − y)/batch",
        "delta = (p − y)·p·(1 − p)/batch",
        "p − y holds the derivative of softmax already",
        (where(softmax_ce, {"error": lambda right, p: right(p) * (p.a[p.last] * (1.0 - p.a[p.last]))}),),
    ),
    Bug(
        "softmax-jacobian-on-top",
        "softmax with cross-entropy has its Jacobian applied on top of p − y",
        "delta of the output",
        "delta = (p − y)/batch",
        "delta = J·(p − y)/batch: the gradient of ½‖p − y‖²",
        "p − y holds the derivative of softmax already",
        (where(softmax_ce, {"error": lambda right, p: jacobian(p.a[p.last], right(p))}),),
    ),
    Bug(
        "softmax-diagonal",
        "only the diagonal of softmax's Jacobian is used",
        "delta of the output",
        "delta = p·(da − Σ da·p)",
        "delta = da·p·(1 − p)",
        "every output of softmax depends on every z of its row: use the whole Jacobian",
        tuple(
            {**ce, **slope}
            for ce, slope in (
                (
                    where(softmax_ce, {"error": lambda right, p: -(p.rule("target", "error") * (1.0 - p.a[p.last]))}),
                    slopes(as_if("sigmoid"), "softmax")[0],
                ),
                ({}, slopes(as_if("sigmoid"), "softmax")[0]),
                (where(softmax_ce, {"error": lambda right, p: -(p.rule("target", "error") * (1.0 - p.a[p.last]))}), {}),
            )
        ),
    ),
    Bug(
        "softmax-twice",
        "softmax is applied to what is softmax already",
        "loss",
        "p = softmax(z); loss = −Σ y·log p",
        "loss = −Σ y·log softmax(p)",
        "give the loss z (the logits), or leave out one softmax",
        (
            where(softmax_ce, {"error": softmax_of_softmax, "terms": terms_of_softmax}),
            where(softmax_ce, {"error": softmax_of_softmax}),
            {
                "a": lambda right, p, layer: (
                    balls.softmax(right(p, layer)) if layer == p.last and softmax_ce(p) else right(p, layer)
                ),
                **where(softmax_ce, {"terms": minus_y_log_a}),
            },
        ),
    ),
    Bug(
        "sigmoid-twice",
        "sigmoid is applied to what is a sigmoid's output already",
        "loss",
        "a = σ(z); the loss of a",
        "the loss of σ(a)",
        "give the loss z (the logits), or leave out one sigmoid",
        (
            where(sigmoid_ce, {"error": sigmoid_of_sigmoid, "terms": terms_of_sigmoid}),
            where(sigmoid_ce, {"error": sigmoid_of_sigmoid}),
        ),
    ),
    Bug(
        "softmax-over-batch",
        "softmax is normalised over the batch instead of the classes",
        "a",
        "a[s,j] = e[s,j]/Σⱼ e[s,j]",
        "a[s,j] = e[s,j]/Σₛ e[s,j]",
        "sum over the classes' axis",
        ({"a": softmax_down_the_batch, **where(softmax_ce, {"terms": minus_y_log_a})}, {"a": softmax_down_the_batch}),
    ),
    Bug(
        "sigmoid-extra-derivative",
        "sigmoid with cross-entropy has an extra factor a·(1 − a)",
        "delta of the output",
        "delta = (a − y)/n",
        "delta = (a − y)·a·(1 − a)/n",
        "a − y holds the derivative of the sigmoid already",
        (where(sigmoid_ce, {"error": lambda right, p: right(p) * (p.a[p.last] * (1.0 - p.a[p.last]))}),),
    ),
    Bug(
        "output-derivative-missing",
        "the derivative of the output's activation is left out",
        "delta of the output",
        "delta = dLoss/da·φ'(z)",
        "delta = dLoss/da",
        "multiply by φ'(z) of the output layer",
        output(slopes(lambda p, layer, da: da, *EVERY)),
    ),
    Bug(
        "label-broadcast",
        "labels of shape (batch,) meet outputs of shape (batch, 1): every output is compared with every label",
        "delta of the output",
        "a[s] − y[s]",
        "a[s] − mean of all y",
        "give the labels the shape (batch, 1)",
        tuple(
            where(here, change)
            for here in (one_output, lambda p: one_output(p) and p.squared)
            for change in (
                {**labels(mean_label), **where(squared, {"terms": all_pairs})},
                labels(mean_label, ("error",)),
                {**labels(mean_label, ("error",)), **times("mean", batch)},
            )
        ),
    ),
    Bug(
        "labels-rolled",
        "the labels are those of other samples",
        "delta of the output",
        "a[s] − y[s]",
        "a[s] − y[s ± 1], or the labels in reverse",
        "shuffle and slice inputs and labels together",
        (*both_uses(rolled(1, 0)), *both_uses(rolled(-1, 0)), *both_uses(lambda y: y[::-1])),
    ),
    Bug(
        "labels-shifted",
        "the classes are off by one",
        "delta of the output",
        "y[s,j] = 1 where j is the class",
        "y[s,j ± 1]",
        "count the classes from 0",
        (*both_uses(rolled(1, 1)), *both_uses(rolled(-1, 1))),
    ),
    Bug(
        "labels-not-one-hot",
        "the number of the class is subtracted from every output",
        "delta of the output",
        "p − y with y one-hot",
        "p − class",
        "make the labels one-hot",
        (where(softmax_ce, {"error": lambda right, p: p.a[p.last] - class_numbers(p.y)}),),
    ),
    Bug(
        "labels-hardened",
        "soft labels are replaced by the class with the largest",
        "delta of the output",
        "p − y",
        "p − onehot(argmax y)",
        "use the labels as they are",
        tuple(where(softmax_ce, change) for change in both_uses(hardened)),
    ),
    Bug(
        "labels-assumed-one-hot",
        "p − y is right only for labels that sum to 1",
        "delta of the output",
        "delta = (p·Σy − y)/batch",
        "delta = (p − y)/batch",
        "multiply p by the sum of the labels if they need not sum to 1",
        (where(softmax_ce, {"error": lambda right, p: p.a[p.last] - p.rule("target", "error")}),),
        acceptable=True,
    ),
    Bug(
        "log-epsilon",
        "a small number is added inside the logarithm, which moves loss and gradient",
        "loss",
        "log a, computed from z",
        "log(a + ε), and y/(a + ε) in its derivative",
        "compute the loss from z: log-sum-exp, or log1p(exp(−|z|))",
        fitted=(
            where(cross_entropy, {"error": clipped_error, "terms": clipped_terms}),
            where(cross_entropy, {"error": clipped_error}),
            where(cross_entropy, {"terms": clipped_terms}),
        ),
        parameter="epsilon",
        start=1e-8,
    ),
    # -- hidden delta
    Bug(
        "derivative-missing",
        "the derivative of the activation is left out",
        "hidden delta",
        "delta = da·φ'(z)",
        "delta = da",
        "multiply by φ'(z)",
        (
            *hidden(slopes(lambda p, layer, da: da, *EVERY))[::6],
            *hidden(slopes(lambda p, layer, da: da, *SMOOTH)),
            *hidden(slopes(lambda p, layer, da: da, "softmax")),
        ),
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
        hidden(slopes(lambda p, layer, da: da, "relu")),
    ),
    Bug(
        "relu-mask-on-delta",
        "relu's mask is taken from the gradient instead of z",
        "hidden delta",
        "delta = da where z > 0, else 0",
        "delta = da where da > 0, else 0",
        "mask with z > 0",
        hidden(slopes(lambda p, layer, da: where_positive(da, da, 0.0), "relu")),
    ),
    Bug(
        "relu-guided",
        "relu's delta is also set to zero where the gradient is negative",
        "hidden delta",
        "delta = da where z > 0, else 0",
        "delta = da where z > 0 and da > 0, else 0",
        "mask with z > 0 alone",
        hidden(slopes(lambda p, layer, da: where_positive(da, where_positive(p.z[layer], da, 0.0), 0.0), "relu")),
    ),
    Bug(
        "relu-at-zero",
        "the derivative of relu at 0 is another one",
        "hidden delta",
        "relu'(0) = 0, leaky_relu'(0) = 0.01",
        "relu'(0) = 1 or ½",
        "nothing, if you mean it; z > 0 instead of z ≥ 0 otherwise",
        (
            *slopes(at_zero(1.0), "relu", "leaky_relu")[:3],
            *slopes(at_zero(0.5), "relu", "leaky_relu")[:3],
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
            *hidden(slopes(lambda p, layer, da: where_positive(p.z[layer], da, 0.0), "leaky_relu")),
            {
                "a": lambda right, p, layer: (
                    where_positive(p.z[layer], p.z[layer], 0.0)
                    if p.network.activations[layer] == "leaky_relu"
                    else right(p, layer)
                ),
                **slopes(lambda p, layer, da: where_positive(p.z[layer], da, 0.0), "leaky_relu")[0],
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
                **slopes(lambda p, layer, da: other_leak(p, p.z[layer], da), "leaky_relu")[0],
            },
            slopes(lambda p, layer, da: other_leak(p, p.z[layer], da), "leaky_relu")[0],
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
    # -- linear algebra
    Bug(
        "transposed-weights",
        "delta is carried back by W where its transpose is due",
        "hidden delta",
        "da = delta·Wᵀ",
        "da = delta·W",
        "transpose W; a network with different widths would have shown it",
        ({"weights_back": square_transposed},),
    ),
    Bug(
        "reshaped-weights",
        "W is reshaped where it should be transposed",
        "hidden delta",
        "da = delta·Wᵀ",
        "da = delta·W.reshape(n_out, n_in)",
        "transpose: reshape reads the numbers in another order",
        ({"weights_back": reshaped},),
    ),
    Bug(
        "weights-missing-back",
        "delta is carried back without the weights",
        "hidden delta",
        "da[k] = Σⱼ delta[j]·W[k,j]",
        "da[k] = Σⱼ delta[j]",
        "multiply by W",
        ({"weights_back": lambda right, p, layer: right(p, layer).zeros_like() + 1.0},),
    ),
    Bug(
        "transposed-gradient",
        "dW is the transpose of the gradient",
        "dW",
        "dW = aᵀ·delta",
        "dW = deltaᵀ·a",
        "exchange the factors",
        ({"dW": square_transposed}, {"dW": gradient_reshaped}),
    ),
    Bug(
        "updated-weights",
        "weights that are updated already carry delta further back",
        "hidden delta",
        "da = delta·Wᵀ with W before the step",
        "da = delta·(W − η·dW)ᵀ",
        "compute all gradients first, then update",
        (
            {"weights_back": updated_in_steps},
            {"weights_back": updated_by_own_rate},
        ),
        ({"weights_back": updated_weights},),
        parameter="learning rate",
        start=0.1,
    ),
    Bug(
        "input-for-activation",
        "dW is made with the network's input instead of the layer's",
        "dW",
        "dW[l] = a[l−1]ᵀ·delta[l]",
        "dW[l] = xᵀ·delta[l]",
        "use the activation of the layer below",
        (factor_from(lambda p, layer: p.x),),
    ),
    Bug(
        "own-activation",
        "dW is made with the layer's output instead of its input",
        "dW",
        "dW[l] = a[l−1]ᵀ·delta[l]",
        "dW[l] = a[l]ᵀ·delta[l]",
        "use the activation of the layer below",
        (factor_from(lambda p, layer: p.a[layer]),),
    ),
    Bug(
        "z-for-activation",
        "dW is made with z instead of a of the layer below",
        "dW",
        "dW[l] = a[l−1]ᵀ·delta[l]",
        "dW[l] = z[l−1]ᵀ·delta[l]",
        "use a, not z",
        (factor_from(lambda p, layer: p.z[layer - 1] if layer else None),),
    ),
    Bug(
        "mean-before-outer",
        "inputs and deltas are averaged before they are multiplied",
        "dW",
        "dW = Σₛ a[s]ᵀ·delta[s]",
        "dW = (mean of a)ᵀ·(Σ delta): rank 1",
        "multiply sample by sample, then sum",
        ({"dW": mean_first},),
    ),
    Bug(
        "last-sample-only",
        "the gradient is that of the last sample: assigned where it should be added",
        "dW",
        "dW = Σₛ a[s]ᵀ·delta[s]",
        "dW = a[last]ᵀ·delta[last]",
        "add the samples' gradients",
        sample_variants(-1),
    ),
    Bug(
        "first-sample-only",
        "the gradient is that of the first sample",
        "dW",
        "dW = Σₛ a[s]ᵀ·delta[s]",
        "dW = a[0]ᵀ·delta[0]",
        "loop over the whole batch",
        sample_variants(0),
    ),
    Bug(
        "first-weight-skipped",
        "the weights from the first input have no gradient",
        "dW",
        "k = 0, 1, …, n_in − 1",
        "k = 1, …",
        "start the loop over the inputs at 0",
        (without("dW", rows=slice(1, None)),),
    ),
    Bug(
        "last-weight-skipped",
        "the weights from the last input have no gradient",
        "dW",
        "k = 0, 1, …, n_in − 1",
        "k = 0, …, n_in − 2",
        "let the loop over the inputs run to n_in − 1",
        (without("dW", rows=slice(None, -1)),),
    ),
    Bug(
        "first-unit-skipped",
        "the first neuron has no gradient",
        "dW",
        "j = 0, 1, …, n_out − 1",
        "j = 1, …",
        "start the loop over the neurons at 0",
        (
            {**without("dW", columns=slice(1, None)), **without("db", rows=slice(1, None))},
            without("dW", columns=slice(1, None)),
            without("db", rows=slice(1, None)),
        ),
    ),
    Bug(
        "last-unit-skipped",
        "the last neuron has no gradient",
        "dW",
        "j = 0, 1, …, n_out − 1",
        "j = 0, …, n_out − 2",
        "let the loop over the neurons run to n_out − 1",
        (
            {**without("dW", columns=slice(None, -1)), **without("db", rows=slice(None, -1))},
            without("dW", columns=slice(None, -1)),
            without("db", rows=slice(None, -1)),
        ),
    ),
    Bug(
        "loop-of-other-layer",
        "the loop over the neurons runs as far as another layer is wide",
        "dW",
        "j < n_out of the layer",
        "j < width of a neighbouring layer",
        "use the layer's own width",
        (as_wide_as(width(-1)), as_wide_as(width(1))),
    ),
    Bug(
        "overwritten-sum",
        "only the last neuron's part of da remains: assigned where it should be added",
        "hidden delta",
        "da[k] = Σⱼ delta[j]·W[k,j]",
        "da[k] = delta[last]·W[k,last]",
        "add up over the neurons",
        ({"da": last_term_only},),
    ),
    # -- regularisation
    Bug(
        "decay-missing",
        "weight decay is left out",
        "dW",
        "dW = … + λ·W",
        "dW = …",
        "add λ·W",
        ({"decay": lambda right, p, W, strength: W.zeros_like()},),
    ),
    Bug(
        "decay-doubled",
        "weight decay has a factor 2",
        "dW",
        "dW = … + λ·W",
        "dW = … + 2·λ·W, the derivative of λ·W²",
        "use λ·W, or halve λ",
        (times("decay", lambda p: 2.0),),
    ),
    Bug(
        "decay-halved",
        "weight decay has a factor ½",
        "dW",
        "dW = … + λ·W",
        "dW = … + ½·λ·W",
        "use λ·W",
        (times("decay", lambda p: 0.5),),
    ),
    Bug(
        "decay-sign",
        "weight decay has the wrong sign",
        "dW",
        "dW = … + λ·W",
        "dW = … − λ·W",
        "turn the sign round",
        (times("decay", lambda p: -1.0),),
    ),
    Bug(
        "decay-over-batch",
        "weight decay is divided by the batch size",
        "dW",
        "dW = … + λ·W",
        "dW = … + λ·W/batch",
        "do not divide λ, or multiply it by the batch size beforehand",
        (over("decay", batch),),
    ),
    Bug(
        "decay-on-bias",
        "weight decay acts on the biases too",
        "db",
        "db = Σₛ delta",
        "db = Σₛ delta + λ·b",
        "leave the biases out, or declare that you mean it",
        (
            {
                "db": lambda right, p, layer: right(p, layer) + p.rule("decay", p.b[layer], p.weight_decay),
                "accumulated": lambda right, p, name, layer: (
                    right(p, name, layer) + p.rule("decay", p.b[layer], p.optimizer.weight_decay)
                    if name == "b"
                    else right(p, name, layer)
                ),
            },
        ),
        fitted=(_with_penalty(0.5, weights=1.0, biases=1.0), _with_penalty(0.0, weights=0.0, biases=1.0)),
        parameter="coefficient",
        start=0.01,
    ),
    Bug(
        "penalty-disagrees",
        "the penalty in the loss is not the one whose derivative is in dW",
        "loss",
        "½·λ·Σ W² in the loss, λ·W in dW",
        "λ·Σ W² in the loss with λ·W in dW, or ½·λ·Σ W² with 2·λ·W, or with nothing",
        "use one λ for both: the derivative of ½·λ·W² is λ·W",
        fitted=(_with_penalty(1.0, weights=1.0), _with_penalty(0.25, weights=1.0), _with_penalty(0.5, weights=0.0)),
        parameter="coefficient",
        start=0.01,
    ),
    Bug(
        "decay-absolute",
        "weight decay is that of the absolute value",
        "dW",
        "dW = … + λ·W",
        "dW = … + λ·sign(W)",
        "use λ·W",
        ({"decay": lambda right, p, W, strength: p.exact(np.sign(W.mid)) * strength},),
    ),
    Bug(
        "decay-undeclared",
        "dW holds a multiple of W that nobody asked for",
        "dW",
        "dW = aᵀ·delta + λ·W with the λ given",
        "dW = aᵀ·delta + c·W",
        "take the weight decay from the settings",
        fitted=({"decay": lambda right, p, W, strength: right(p, W, strength) + W * p.values["coefficient"]},),
        parameter="coefficient",
        start=0.01,
    ),
    Bug(
        "decay-absolute-undeclared",
        "dW holds a multiple of sign(W) that nobody asked for",
        "dW",
        "dW = aᵀ·delta",
        "dW = aᵀ·delta + c·sign(W)",
        "take the penalty out, or declare it",
        fitted=(
            {
                "decay": lambda right, p, W, strength: (
                    right(p, W, strength) + p.exact(np.sign(W.mid)) * p.values["coefficient"]
                )
            },
        ),
        parameter="coefficient",
        start=0.01,
    ),
    Bug(
        "penalty-in-loss",
        "the loss holds the weight decay's penalty",
        "loss",
        "loss without penalty; λ·W is added to dW only",
        "loss + ½·λ·Σ W²",
        "nothing, if you mean it: the gradient is right",
        tuple(
            {
                "loss": lambda right, p, factor=factor: sum(
                    ((W * W).sum() * (p.weight_decay * factor(p)) for W in p.W if p.weight_decay), right(p)
                )
            }
            for factor in (lambda p: 0.5, lambda p: 1.0, lambda p: 0.5 / p.batch)
        ),
        acceptable=True,
    ),
    # -- updates
    Bug(
        "gradients-not-zeroed",
        "the gradients of earlier calls are still in them",
        "state",
        "each call starts from zero",
        "each call adds to the last one's gradients",
        "set the gradients to zero before each backward pass",
        ({"accumulated": summed}, {"change": summed_change}),
    ),
    Bug(
        "short-batch-nominal",
        "the last, shorter batch is divided by the nominal batch size",
        "update",
        "1/(number of samples in this batch)",
        "1/batch_size",
        "divide by the number of samples that the batch has",
        ({"mean": lambda right, p, error: right(p, error) * p.batch / p.nominal},),
    ),
    Bug(
        "short-batch-dropped",
        "the last, shorter batch is left out",
        "update",
        "every sample is used",
        "only whole batches are used",
        "use the short batch too",
        ({"batches": full_only},),
    ),
    Bug(
        "first-batch-only",
        "every step uses the first batch",
        "update",
        "step t uses batch t",
        "step t uses batch 0",
        "advance the slice with the step",
        ({"batches": lambda right, case: right(case)[:1] * 3},),
    ),
    Bug(
        "one-sample-steps",
        "the weights are updated after each sample instead of each batch",
        "update",
        "one update for each batch",
        "one update for each sample",
        "add up the batch's gradients before the update",
        ({"batches": one_by_one},),
    ),
    Bug(
        "one-step-less",
        "a step is missing",
        "update",
        "three steps",
        "two steps",
        "check the bounds of the loop",
        ({"batches": lambda right, case: right(case)[:2]},),
    ),
    Bug(
        "bias-not-updated",
        "the biases are never updated",
        "update",
        "b ← b − η·db",
        "b ← b",
        "update b with db",
        (
            {
                "accumulated": lambda right, p, name, layer: (
                    right(p, name, layer).zeros_like() if name == "b" else right(p, name, layer)
                )
            },
        ),
    ),
    Bug(
        "momentum-sign",
        "the momentum term has the wrong sign",
        "update",
        "v ← μ·v + g",
        "v ← g − μ·v",
        "add the old velocity",
        ({"velocity": lambda right, p, g, v: g - v * p.optimizer.momentum}, {"sgd": negative_momentum}),
    ),
    Bug(
        "momentum-missing",
        "the momentum has no effect",
        "update",
        "v ← μ·v + g, kept from step to step",
        "v ← g",
        "keep v from step to step",
        ({"velocity": lambda right, p, g, v: g},),
    ),
    Bug(
        "momentum-averaged",
        "the gradient enters the velocity with a factor 1 − μ",
        "update",
        "v ← μ·v + g",
        "v ← μ·v + (1 − μ)·g",
        "leave out the factor, or raise the learning rate by 1/(1 − μ)",
        ({"velocity": lambda right, p, g, v: v * p.optimizer.momentum + g * (1.0 - p.optimizer.momentum)},),
    ),
    Bug(
        "nesterov-missing",
        "Nesterov's momentum is computed as ordinary momentum",
        "update",
        "W ← W − η·(g + μ·v)",
        "W ← W − η·v",
        "look ahead: use g + μ·v",
        ({"sgd": plain_momentum},),
    ),
    Bug(
        "adam-no-bias-correction",
        "Adam lacks its bias correction",
        "update",
        "(m/c1)/(√(v/c2) + ε)",
        "m/(√v + ε): 3.162 times too far in the first step with the usual betas",
        "divide m by 1 − β1^t and v by 1 − β2^t",
        ({"corrected": lambda right, p, m, v, t: (m, v)},),
    ),
    Bug(
        "adam-epsilon-inside",
        "Adam's epsilon stands inside the root",
        "update",
        "√(v/c2) + ε",
        "√(v/c2 + ε)",
        "add epsilon after the root",
        ({"adam_root": lambda right, p, v, t: balls.sqrt(v + p.optimizer.epsilon)},),
    ),
    Bug(
        "adam-epsilon-uncorrected",
        "Adam's epsilon is added before the bias correction",
        "update",
        "√(v/c2) + ε",
        "(√v + ε)/√c2",
        "nothing, if you mean it: some libraries do so",
        (
            {
                "adam_root": lambda right, p, v, t: (
                    balls.sqrt(v) + p.optimizer.epsilon / math.sqrt(1.0 - p.optimizer.beta2**t)
                )
            },
        ),
        acceptable=True,
    ),
    Bug(
        "adam-step-frozen",
        "Adam's bias correction always uses t = 1",
        "update",
        "c1 = 1 − β1^t, c2 = 1 − β2^t",
        "c1 = 1 − β1, c2 = 1 − β2",
        "count the steps",
        ({"corrected": lambda right, p, m, v, t: right(p, m, v, 1)},),
    ),
    Bug(
        "adam-betas-swapped",
        "Adam's β1 and β2 are exchanged",
        "update",
        "m with β1, v with β2",
        "m with β2, v with β1",
        "exchange them",
        ({"adam": swapped_betas},),
    ),
    Bug(
        "adam-root-missing",
        "Adam divides by v instead of its root",
        "update",
        "√(v/c2) + ε",
        "v/c2 + ε",
        "take the root",
        ({"adam_root": lambda right, p, v, t: v + p.optimizer.epsilon},),
    ),
    Bug(
        "decay-decoupled",
        "weight decay is taken from the weights beside Adam, as AdamW does",
        "update",
        "g ← g + λ·W, then Adam",
        "W ← W − η·λ·W − η·Adam(g)",
        "nothing, if you mean AdamW; add λ·W to the gradient otherwise",
        ({"updated": decoupled},),
        acceptable=True,
    ),
    # -- state
    Bug(
        "inputs-changed",
        "an argument is changed in place",
        "state",
        "inputs are only read",
        "a call writes into x, y, W or b",
        "work on copies",
        (),
    ),
    Bug(
        "second-call-differs",
        "a second, identical call gives another answer",
        "state",
        "the answer depends on the arguments only",
        "something is kept from call to call",
        "look for state that is not reset",
        (),
    ),
    Bug(
        "float32-inside",
        "the computation is in float32 somewhere",
        "dW",
        "float64 throughout",
        "float32",
        "set the dtype of all arrays and constants",
        (),
    ),
)


BY_ID = {bug.id: bug for bug in CATALOGUE}
