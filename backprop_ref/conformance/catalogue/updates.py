"""Bugs of batches and optimizers, which show in the weights after some steps."""

import math
from dataclasses import replace

from backprop_ref.conformance.catalogue.bug import Bug
from backprop_ref.conformance.rounding import balls
from backprop_ref.optimizers import SGD


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
    """A batch of each sample."""
    return [(x[s : s + 1], y[s : s + 1]) for x, y in right(case) for s in range(len(x))]


def full_only(right, case):
    """Three batches without the short one, where there are others."""
    full = [batch for batch in right(case) if len(batch[0]) == case.batch_size] or right(case)
    return (full * 3)[:3]


BUGS: tuple[Bug, ...] = (
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
)
