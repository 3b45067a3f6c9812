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
)
