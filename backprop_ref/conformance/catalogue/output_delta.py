"""Bugs where the backward pass begins: the labels, and the loss with its output activation."""

import numpy as np

from backprop_ref.conformance.catalogue.bug import Bug
from backprop_ref.conformance.catalogue.changes import (
    EVERY,
    OUTPUT,
    as_if,
    batch,
    cross_entropy,
    minus_y_log_a,
    no_derivative,
    slope,
    slopes,
    squared,
    times,
    where,
)
from backprop_ref.conformance.catalogue.textbook import derived
from backprop_ref.conformance.rounding import balls


def softmax_ce(p):
    return p.network.loss == "cross_entropy" and p.network.activations[p.last] == "softmax"


def sigmoid_ce(p):
    return p.network.loss.endswith("cross_entropy") and p.network.activations[p.last] == "sigmoid"


def jacobian(a, e):
    """The softmax Jacobian at a, times e."""
    return derived("softmax", None, a, e)


def labels(change, uses=("loss", "error")):
    """``change(y)`` in place of the labels, in the loss and the gradient or in one of them."""
    return {"target": lambda right, p, use: change(right(p, use)) if use in uses else right(p, use)}


def rolled(shift, axis):
    def roll(y):
        return y.made(np.roll(y.mid, shift, axis), lambda: np.roll(y.rad, shift, axis))

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


def diagonal_error(right, p):
    """The diagonal of the softmax Jacobian, times −y/a."""
    return -(p.rule("target", "error") * (1.0 - p.a[p.last]))


def error_at_activation(right, p):
    """dLoss/da of a cross-entropy."""
    a, y = p.a[p.last], p.rule("target", "error")
    return (a - y) / (a * (1.0 - a)) if p.network.loss == "binary_cross_entropy" else -(y / a)


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


def clipped_error(right, p):
    """y/(a + ε) instead of y/a, times the derivative of the activation."""
    a, y, epsilon = p.a[p.last], p.rule("target", "error"), p.values["epsilon"]
    e = -(y / (a + epsilon))
    if p.network.loss == "binary_cross_entropy":
        e = e + (1.0 - y) / ((1.0 - a) + epsilon)
    return jacobian(a, e) if softmax_ce(p) else e * (a * (1.0 - a))


def clipped_terms(right, p):
    """−log(a + ε) instead of −log a."""
    return terms_with(p, p.values["epsilon"])


def terms_with(p, epsilon):
    """The terms of a cross-entropy with an ε in its logarithms."""
    a, y = p.a[p.last], p.rule("target", "loss")
    terms = -(y * balls.log(a + epsilon))
    return terms - (1.0 - y) * balls.log((1.0 - a) + epsilon) if p.network.loss == "binary_cross_entropy" else terms


def softmax_down_the_batch(right, p, layer):
    return balls.softmax(p.z[layer], axis=0) if p.network.activations[layer] == "softmax" else right(p, layer)


BUGS: tuple[Bug, ...] = (
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
        (
            {**where(softmax_ce, {"error": diagonal_error}), **slope(as_if("sigmoid"), "softmax")},
            slope(as_if("sigmoid"), "softmax"),
            where(softmax_ce, {"error": diagonal_error}),
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
        "cross-entropy-at-activation",
        "dLoss/da of the cross-entropy is taken for dLoss/dz",
        "delta of the output",
        "delta = dLoss/da·φ'(z): p − y for softmax, a − y for sigmoid with binary cross-entropy",
        "delta = dLoss/da: −y/p, (a − y)/(a·(1 − a))",
        "go on through the output's activation, or use the short form p − y",
        (where(cross_entropy, {"error": error_at_activation}),),
    ),
    Bug(
        "output-derivative-missing",
        "the derivative of the output's activation is left out",
        "delta of the output",
        "delta = dLoss/da·φ'(z)",
        "delta = dLoss/da",
        "multiply by φ'(z) of the output layer",
        slopes(no_derivative, *EVERY, places=(OUTPUT,)),
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
)
