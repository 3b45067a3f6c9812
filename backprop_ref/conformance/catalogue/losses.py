"""Bugs of the loss whose gradient is right."""

import math

from backprop_ref.conformance.catalogue.bug import Bug
from backprop_ref.conformance.catalogue.changes import (
    batch,
    cross_entropy,
    minus_y_log_a,
    outputs,
    over,
    squared,
    sums_outputs,
    times,
    where,
)
from backprop_ref.conformance.rounding import balls

BUGS: tuple[Bug, ...] = (
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
)
