"""Bugs of weight decay and of its penalty in the loss."""

import numpy as np

from backprop_ref.conformance.catalogue.bug import Bug, Change
from backprop_ref.conformance.catalogue.changes import batch, over, times


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


BUGS: tuple[Bug, ...] = (
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
        "decay-of-gradient",
        "weight decay is made of the gradient",
        "dW",
        "dW = … + λ·W",
        "dW = … + λ·dW",
        "use λ·W: the penalty is one on the weights",
        (
            {
                "decay": lambda right, p, W, strength: W.zeros_like(),
                "regularised_dW": lambda right, p, layer: right(p, layer) * (1.0 + p.weight_decay),
                "accumulated": lambda right, p, name, layer: (
                    right(p, name, layer) * (1.0 + p.optimizer.weight_decay) if name == "W" else right(p, name, layer)
                ),
            },
        ),
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
)
