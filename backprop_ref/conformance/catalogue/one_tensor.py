"""Bugs of dW or db alone, most often of the biases."""

from backprop_ref.conformance.catalogue.bug import Bug
from backprop_ref.conformance.catalogue.changes import batch, over, times, zero
from backprop_ref.conformance.catalogue.textbook import inputs


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


def mean_over_neurons(sums):
    """The mean of db in all of its entries."""
    return sums.zeros_like() + sums.sum() / len(sums)


def of_layer(shift):
    """The sum of a neighbouring layer's delta, where the widths allow it."""

    def wrong(right, p, layer):
        other = layer + shift
        if not 0 <= other <= p.last or p.network.sizes[other + 1] != p.network.sizes[layer + 1]:
            return right(p, layer)
        return (p.delta[other] if shift > 0 else p.rule("delta", other)).sum(axis=0)

    return {"db": wrong}


def factor(*rules, here=lambda p, layer: True):
    """A number that has to be worked out, on the gradients of some layers."""
    return {
        rule: lambda right, p, layer: right(p, layer) * p.values["factor"] if here(p, layer) else right(p, layer)
        for rule in rules
    }


def first(p, layer):
    return layer == 0 < p.last


def last(p, layer):
    return layer == p.last > 0


def forward_bias(factor):
    return {
        "z": lambda right, p, layer: (
            p.rule("inputs", layer) @ p.W[layer] + p.b[layer] * factor(p, layer)
            if factor(p, layer)
            else p.rule("inputs", layer) @ p.W[layer]
        )
    }


BUGS: tuple[Bug, ...] = (
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
        "bias-added-twice",
        "the forward pass adds the bias twice",
        "z",
        "z = a·W + b",
        "z = a·W + 2·b",
        "add b once",
        (forward_bias(lambda p, layer: 2.0),),
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
    Bug(
        "bias-mean-over-neurons",
        "db is a mean over the neurons",
        "db",
        "db[j] = Σₛ delta[s,j]",
        "db[j] = (1/n_out)·Σⱼ Σₛ delta[s,j], or a mean over s too, or (1/n_out)·Σⱼ delta[s,j] for each s",
        "sum over the batch's axis only",
        (
            {"db": lambda right, p, layer: mean_over_neurons(right(p, layer))},
            {"db": lambda right, p, layer: mean_over_neurons(right(p, layer)) / p.batch},
            not_in_steps({"db": lambda right, p, layer: p.delta[layer].sum(axis=1) / p.delta[layer].shape[1]}),
        ),
    ),
    Bug(
        "bias-of-other-layer",
        "db is that of a neighbouring layer",
        "db",
        "db[l] = Σₛ delta[l]",
        "db[l] = Σₛ delta[l ± 1]",
        "check the loop's index",
        (of_layer(1), of_layer(-1)),
    ),
    Bug(
        "weights-factor",
        "dW has a constant factor that db does not have",
        "dW",
        "dW = aᵀ·delta",
        "dW = c·aᵀ·delta",
        "take the factor out, or give it to both",
        fitted=(factor("dW"),),
        parameter="factor",
        start=0.3,
    ),
    Bug(
        "bias-factor",
        "db has a constant factor that dW does not have",
        "db",
        "db = Σₛ delta",
        "db = c·Σₛ delta",
        "take the factor out, or give it to both",
        fitted=(factor("db"),),
        parameter="factor",
        start=0.3,
    ),
    Bug(
        "layer-factor",
        "the gradients of one layer have a constant factor",
        "dW",
        "dW[l] = a[l−1]ᵀ·delta[l]",
        "dW[l] = c·a[l−1]ᵀ·delta[l] in the first or the last layer, or db[l], or both",
        "treat every layer alike",
        fitted=tuple(factor(*rules, here=here) for here in (first, last) for rules in (("dW", "db"), ("dW",), ("db",))),
        parameter="factor",
        start=0.3,
    ),
    Bug(
        "carried-factor",
        "da has a constant factor at each layer",
        "hidden delta",
        "da = delta·Wᵀ",
        "da = c·delta·Wᵀ",
        "take the factor out",
        fitted=({"da": lambda right, p, layer: right(p, layer) * p.values["factor"]},),
        parameter="factor",
        start=0.3,
    ),
)
