"""Bounds on weights and biases after some steps, whose errors go through the gradients of the next step.

As in `backprop_ref.conformance.rounding.rules`, whose conventions hold here: a `Near` per tensor, for every
implementation that keeps the scalars of the optimizer (learning rate, momentum, 1 − β, 1 − β^t) in binary64 until they
meet an array, in any of the usual forms: the learning rate inside or outside the velocity, decay on the gradient or as
W·(1 − η·λ), ``m + (1 − β)(g − m)``, √v/√c in place of √(v/c), η/c₁ as one step size. Norms that clip a gradient or
constrain weights are computed in the working precision or a wider one, summed in any order.
"""

from typing import Any

import numpy as np

from backprop_ref.conformance.cases import mapped
from backprop_ref.conformance.rounding.bounds import near_pass, propagate
from backprop_ref.conformance.rounding.near import Near, bound, exactly
from backprop_ref.conformance.rounding.precision import Rounding
from backprop_ref.optimizers import SGD, AdaGrad, Adam, AdamW, RMSprop, norms

HOST = float(np.finfo(np.float64).eps) / 2


def case_bounds(case, exact):
    """The bounds of everything expected of a case, `exact` the truth, whose rounding to float64 is added."""
    rounding = Rounding.of(case.params.dtype)
    seen = near_pass(rounding, case.network, case.params, case.x, case.y, from_z=False, da=case.da)
    if case.weight_decay:
        pairs = zip(map(exactly, case.params.W), seen.dW, strict=True)
        seen = seen._replace(dW=[decayed(rounding, case.weight_decay, *pair) for pair in pairs])
    if exact.W is not None:
        W, b = stepped(rounding, case)
        seen = seen._replace(W=W, b=b)
    return mapped(_beside, seen, exact)


def stepped(rounding, case):
    """W and b after the case's steps, lists of `Near`."""
    return after(rounding, case.network, case.params, [(case.optimizer, *batch) for batch in case.batches()])


def after(rounding, network, params, steps):
    """W and b after `steps`: (optimizer, x, y) of each, or (optimizer, x, y, weights, masks) with those of samples and
    hidden layers; the optimizer the same but for its learning rate.
    """
    W, b = ([exactly(array) for array in arrays] for arrays in (params.W, params.b))
    states: list[dict] = [{} for _ in W + b]
    with np.errstate(all="ignore"):
        for t, (optimizer, x, y, *counted) in enumerate(steps, start=1):
            weights, masks = counted or (None, ())
            seen = propagate(rounding, network, W, b, x, y, weights=weights, masks=masks)
            gradients = _clipped(rounding, optimizer, seen.dW + seen.db)
            dW, db = gradients[: len(W)], gradients[len(W) :]
            decay = 0.0 if optimizer.decoupled else optimizer.weight_decay
            dW = [_lasso(rounding, optimizer.l1, *pair) for pair in zip(W, dW, strict=True)]
            dW = [decayed(rounding, decay, *pair) for pair in zip(W, dW, strict=True)]
            if optimizer.decoupled:
                W = [_shrunk(rounding, optimizer.learning_rate * optimizer.weight_decay, each) for each in W]
            moved = [
                _moved(rounding, optimizer, state, tensor, g, t)
                for state, tensor, g in zip(states, W + b, dW + db, strict=True)
            ]
            W, b = moved[: len(W)], moved[len(W) :]
            if optimizer.max_norm is not None:
                W = [_scaled(rounding, _factor(rounding, optimizer.max_norm, each), each) for each in W]
    return W, b


def _clipped(rounding, optimizer, gradients):
    """Each entry between the bounds, or all tensors as one vector."""
    if optimizer.clip_value is not None:
        return [_between(rounding, optimizer.clip_value, g) for g in gradients]
    if optimizer.clip_norm is None:
        return gradients
    pairs = zip(*((np.ravel(g.value), np.ravel(g.error)) for g in gradients), strict=True)
    factor = _factor(rounding, optimizer.clip_norm, Near(*map(np.concatenate, pairs)))
    return [_scaled(rounding, factor, g) for g in gradients]


def _between(rounding, most, g):
    """g or ±most, which is rounded: no two numbers move apart, and what is surely beyond forgets its error."""
    u = rounding.in_entries(1)
    beyond, near = np.abs(g.value) - 2.0 * g.error > most * (1.0 + 2.0 * u), g.computed >= most * (1.0 - 2.0 * u)
    return Near(np.clip(g.value, -most, most), np.where(beyond, 0.0, g.error) + near * u * most)


def _factor(rounding, most, w):
    """most/M with M = max(‖w‖, most), for each column w.

    A norm errs by that of the errors, and by what rounds n squares, their sum and its root, in the working precision or
    a wider one; M by no more. ``most/M' − most/M = (most/M)·(M − M')/M'``; `most`, the quotient and it are rounded.
    """
    n, size = len(w.value), norms(w.value)
    error = norms(w.error) + rounding.in_sums(n + 1) * norms(w.computed) + n * rounding.tiny / most
    least = np.maximum(size - 2.0 * error, most)
    apart = (most / least) * (error / least + rounding.in_entries(3))
    return Near(most / np.maximum(size, most), np.where(size + 2.0 * error <= most, 0.0, apart))


def _scaled(rounding, factor, w):
    """``s·w``: a product, but where the factor is surely 1."""
    rounded = rounding.in_entries(1) * factor.computed * w.computed + rounding.tiny
    error = factor.exact * w.error + factor.error * w.computed + (factor.error > 0.0) * rounded
    return Near(factor.value * w.value, error)


def _lasso(rounding, strength, W, g):
    """``g + λ₁·sign(W)``: λ₁ rounded, a sum; where rounding may decide the sign, twice λ₁."""
    if not strength:
        return g
    doubtful = (np.abs(W.value) <= 2.0 * W.error) & (W.error > 0.0)
    error = g.error + 2.0 * strength * doubtful + rounding.in_entries(2) * (g.computed + strength)
    return Near(g.value + strength * np.sign(W.value), error)


def decayed(rounding, decay, W, g):
    """``g + λ·W``: λ rounded, a product, a sum."""
    if not decay:
        return g
    error = g.error + decay * W.error + rounding.in_entries(3) * (g.computed + decay * W.computed)
    return Near(g.value + decay * W.value, error)


def _moved(rounding, optimizer, state, W, g, t):
    """``W − η·d``: η rounded, a product, a sum; and three roundings of W where decay is a factor."""
    d = STEPS[type(optimizer)](rounding, optimizer, state, g, t)
    rate, gamma = optimizer.learning_rate, rounding.in_entries
    error = W.error + rate * d.error + gamma(4) * rate * d.computed
    return Near(W.value - rate * d.value, error + gamma(3 if optimizer.weight_decay else 1) * W.computed)


def _shrunk(rounding, strength, W):
    """``W − η·λ·W`` or ``W·(1 − η·λ)``: two roundings of the factor, a product, a sum."""
    error = (1.0 + strength) * W.error + rounding.in_entries(4) * (1.0 + strength) * W.computed
    return Near(W.value - strength * W.value, error)


def _sgd(rounding, optimizer, state, g, t):
    """The velocity, or ``g + μ·v``: μ rounded, a product, a sum."""
    if not optimizer.momentum:
        return g
    v = state["v"] = _mixed(rounding, optimizer.momentum, state.get("v"), 1.0, g)
    return _mixed(rounding, optimizer.momentum, v, 1.0, g) if optimizer.nesterov else v


def _mixed(rounding, p, first, q, second):
    """``p·first + q·second``, with p and q rounded; `first` is 0 if None."""
    first = first or Near(0.0 * second.value, 0.0 * second.error)
    error = p * first.error + q * second.error
    error += rounding.in_entries(4) * (p * first.computed + q * second.computed)
    return Near(p * first.value + q * second.value, error)


def _adam(rounding, optimizer, state, g, t):
    """``(m/c₁) / (√(v/c₂) + ε)``"""
    beta1, beta2 = optimizer.beta1, optimizer.beta2
    m = state["m"] = _mixed(rounding, beta1, state.get("m"), 1.0 - beta1, g)
    v = state["v"] = _mixed(rounding, beta2, state.get("v"), 1.0 - beta2, _squared(rounding, g))
    m, v = _corrected(rounding, m, beta1, t), _corrected(rounding, v, beta2, t)
    if not optimizer.epsilon_hat:
        return _over_root(rounding, m, v, optimizer.epsilon)
    epsilon = _corrected(rounding, Near(optimizer.epsilon * np.sqrt(1.0 - beta2**t), 0.0), beta2, t)  # ε/√c₂
    return _over_root(rounding, m, v, epsilon.value, epsilon.error)


def _rmsprop(rounding, optimizer, state, g, t):
    """``g / (√v + ε)``"""
    rho = optimizer.rho
    v = state["v"] = _mixed(rounding, rho, state.get("v"), 1.0 - rho, _squared(rounding, g))
    return _over_root(rounding, g, v, optimizer.epsilon)


def _adagrad(rounding, optimizer, state, g, t):
    """``g / (√v + ε)``"""
    v = state["v"] = _mixed(rounding, 1.0, state.get("v"), 1.0, _squared(rounding, g))
    return _over_root(rounding, g, v, optimizer.epsilon)


STEPS: dict[type, Any] = {SGD: _sgd, Adam: _adam, AdamW: _adam, RMSprop: _rmsprop, AdaGrad: _adagrad}
"""By optimizer, what of its step the learning rate multiplies."""


def _squared(rounding, g):
    error = g.error * (2.0 * np.abs(g.value) + 3.0 * g.error)
    return Near(g.value**2, error + rounding.in_entries(1) * g.computed**2)


def _over_root(rounding, m, v, epsilon, its_error=0.0):
    """``m / (√v + ε)``.

    With √v' − √v = (v' − v)/(√v' + √v) ≤ √|v' − v|, and p'/q' − p/q = (p' − p)/q' + p·(q − q')/(q·q').
    """
    gamma = rounding.in_entries
    least = np.sqrt(np.maximum(v.value - 2.0 * v.error, 0.0))
    root_error = np.minimum(np.sqrt(v.error), v.error / (2.0 * np.maximum(least, np.finfo(float).tiny)))
    below = least + epsilon
    error = root_error + gamma(4) * np.sqrt(v.computed) + gamma(2) * epsilon + its_error
    value = m.value / (np.sqrt(v.value) + epsilon)
    return Near(value, m.error / below + m.exact * error / below**2 + gamma(2) * m.computed / below)


def _corrected(rounding, moment, beta, t):
    """``moment / (1 − β^t)``: of β^t, t roundings in binary64, which the difference makes relatively larger."""
    c = 1.0 - beta**t
    relative = t * HOST * beta**t / c + rounding.in_entries(2)
    return Near(moment.value / c, moment.error / c + relative * moment.computed / c)


def _beside(near, exact):
    """The bound of a `Near`, and the error of the truth's rounding to float64."""
    worst = bound(near) + HOST * np.abs(exact) + float(np.finfo(np.float64).smallest_subnormal)
    return worst if np.ndim(worst) else float(worst)
