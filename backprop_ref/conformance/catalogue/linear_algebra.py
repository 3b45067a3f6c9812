"""Bugs of products and loops: transposes, wrong factors, wrong bounds."""

import numpy as np

from backprop_ref.conformance.catalogue.bug import Bug
from backprop_ref.conformance.catalogue.changes import batch
from backprop_ref.conformance.catalogue.textbook import inputs


def square_transposed(right, p, *rest):
    """The transpose, where the shape allows it."""
    ball = right(p, *rest)
    return ball.T if ball.shape[0] == ball.shape[1] else ball


def reshaped(right, p, *rest):
    """The numbers of the transpose, read in the wrong order."""
    ball = right(p, *rest)
    return ball.reshape(ball.shape[::-1]).T


def gradient_reshaped(right, p, *rest):
    """The transpose, reshaped to the shape that is due."""
    ball = right(p, *rest)
    return ball.T.reshape(ball.shape)


def updated_weights(right, p, layer):
    """W after the step whose gradients are being computed."""
    if p.in_steps:
        return p.rule("updated", "W", layer, dict(p.states["W", layer]))
    return p.W[layer] - p.dW[layer] * p.values["learning rate"] if layer in p.dW else p.W[layer]


def updated_in_steps(right, p, layer):
    """The same, in steps of training only."""
    return updated_weights(right, p, layer) if p.in_steps else right(p, layer)


def updated_by_the_rate(right, p, layer):
    """The same, with the optimizer's learning rate outside of steps too."""
    rate = p.optimizer.learning_rate
    return updated_weights(right, p, layer) if p.in_steps else p.W[layer] - p.dW[layer] * rate


def in_turn(forward, while_going_back, biases=True):
    """Gradients of single samples, after each of which the weights are updated, as their mean.

    forward: a new forward pass with the updated weights, or that of the whole batch before them. while_going_back: each
    layer is updated before delta is carried through it. biases: these are updated as well.
    """

    def gradients(p):
        W, b, rate = list(p.W), list(p.b), p.values["learning rate"]
        rate_b = rate if biases else 0.0
        layers, seen = range(p.network.n_layers), []
        for s in range(p.batch):
            rows = slice(s, s + 1)
            one = p.part(rows, W, b)
            one.z, one.a = ({layer: part[layer][rows] for layer in layers} for part in (p.z, p.a))
            for _ in one.forward() if forward else ():
                pass
            for layer in reversed(layers):
                one.delta[layer] = one.rule("delta", layer)
                one.dW[layer], one.db[layer] = one.rule("dW", layer), one.rule("db", layer)
                if while_going_back:
                    W[layer], b[layer] = W[layer] - one.dW[layer] * rate, b[layer] - one.db[layer] * rate_b
            for layer in () if while_going_back else layers:
                W[layer], b[layer] = W[layer] - one.dW[layer] * rate, b[layer] - one.db[layer] * rate_b
            seen.append(one)
        return {name: [sum(getattr(one, name)[layer] for one in seen) for layer in layers] for name in ("dW", "db")}

    def wrong(name):
        def rule(right, p, layer):
            if p.in_steps or p.is_part:
                return right(p, layer)
            if layer == p.last and name == "dW":  # the first that a pass asks for
                p.summed = gradients(p)
            return p.summed[name][layer] / p.batch

        return rule

    return {"dW": wrong("dW"), "db": wrong("db")}


def before_derivative(p, layer):
    """dLoss/da of a layer, its derivative yet to come."""
    if layer < p.last:
        return p.rule("da", layer)
    return p.rule("mean", p.rule("error")) if p.da is None else p.da


def error_back(here):
    """What comes before the derivative is carried back, from the layers with ``here(p, layer)``."""
    return {
        "da": lambda right, p, layer: (
            before_derivative(p, layer + 1) @ p.rule("weights_back", layer + 1).T
            if here(p, layer + 1)
            else right(p, layer)
        )
    }


def factor_from(other):
    """Another array in the place of what the layer read, where the widths allow it."""

    def wrong(right, p, layer):
        ball = other(p, layer)
        return ball if ball is not None and ball.shape == inputs(p, layer).shape else right(p, layer)

    return {"left": wrong}


def mean_first(right, p, layer):
    """The mean of the inputs times the sum of the deltas."""
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


def only(ball, rows=slice(None), columns=slice(None)):
    """Zero outside the given rows and columns."""
    keep = np.zeros(ball.shape, dtype=bool)
    keep[(rows, columns)[: keep.ndim]] = True
    return ball.masked(keep)


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


def first_term_only(right, p, layer):
    """The first neuron's term of the sum, where the last to be added is that."""
    return p.delta[layer + 1][:, :1] @ p.rule("weights_back", layer + 1)[:, :1].T


def last_term_only(right, p, layer):
    """The last neuron's term of the sum."""
    return p.delta[layer + 1][:, -1:] @ p.rule("weights_back", layer + 1)[:, -1:].T


BUGS: tuple[Bug, ...] = (
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
        ({"dW": square_transposed}, {"dW": gradient_reshaped}, {"dW": reshaped}),
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
            {"weights_back": updated_by_the_rate},
        ),
        ({"weights_back": updated_weights},),
        parameter="learning rate",
        start=0.1,
    ),
    Bug(
        "error-before-derivative",
        "the error is carried back before it is multiplied by the layer's derivative",
        "hidden delta",
        "da[l] = delta[l+1]·W[l+1]ᵀ with delta[l+1] = da[l+1]·φ'(z[l+1])",
        "da[l] = da[l+1]·W[l+1]ᵀ",
        "carry delta back, not the error",
        (
            error_back(lambda p, layer: True),
            error_back(lambda p, layer: layer == p.last),
            error_back(lambda p, layer: layer < p.last),
        ),
    ),
    Bug(
        "samples-in-turn",
        "the weights are updated after each sample of the batch, so that later samples meet other weights",
        "dW",
        "dW = Σₛ dW(s), all with the same W",
        "dW = Σₛ dW(s) with W ← W − η·dW(s) in between",
        "compute the gradients of the whole batch first, then update",
        fitted=(in_turn(True, False), in_turn(True, True), in_turn(False, True)),
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
        ({"da": last_term_only}, {"da": first_term_only}),
    ),
)
