"""Bugs of every gradient at once: a factor, a sign, nothing at all."""

import math

from backprop_ref.conformance.catalogue.bug import Bug
from backprop_ref.conformance.catalogue.changes import (
    batch,
    cross_entropy,
    outputs,
    over,
    squared,
    sums_outputs,
    times,
    where,
    zero,
)


def _scale(factor):
    """A factor on everything: on the output delta, on dW and db as they are made, or as they are handed out."""
    return times("mean", factor), {**times("dW", factor), **times("db", factor)}, times("scaled", factor)


def _divide(by):
    return over("mean", by), {**over("dW", by), **over("db", by)}, over("scaled", by)


BUGS: tuple[Bug, ...] = (
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
)
