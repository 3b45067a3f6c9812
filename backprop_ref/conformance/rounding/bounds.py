"""Bounds on the rounding errors of one forward and backward pass, entry by entry."""

import numpy as np

from backprop_ref.api import check_fit, checked_data
from backprop_ref.conformance.cases import Values, mapped
from backprop_ref.conformance.rounding.near import Near, Upstream, bound, exactly
from backprop_ref.conformance.rounding.precision import SOURCES, Rounding
from backprop_ref.conformance.rounding.rules import Rules
from backprop_ref.errors import InvalidInput
from backprop_ref.formulas import OWN_ACTIVATIONS


def gradient_bounds(network, params, x, y, dtype=None, from_z=True, sample_weight=None, masks=()):
    """How far from exact each entry of a pass may be: `Values` of float64 arrays, without W and b.

    Parameters
    ----------
    network, params, x, y, sample_weight, masks
        As for `backprop_ref.value_and_grad`; but rows of weight 0 stay.
    dtype : str, optional
        The precision whose rounding is bounded; default: that of `params`.
    from_z : bool
        Whether the cross-entropies of sigmoid are known to be computed from z, as the backends do. From log a, with
        a = ½(1 + tanh(z/2)), they are worth little where a is near 0, and from log(1 − a) where it is near 1.
    """
    rounding = Rounding.of(dtype or params.dtype)
    seen = near_pass(rounding, network, params, x, y, from_z=from_z, weights=sample_weight, masks=masks)
    return mapped(bound, seen)


def usual_errors(network, params, x, y, dtype=None):
    """`gradient_bounds` as if n roundings did √n: about what they do. For notes, not for verdicts."""
    return mapped(bound, near_pass(Rounding.usually(dtype or params.dtype), network, params, x, y))


def shares(network, params, x, y):
    """For each of `SOURCES`, the part of each tensor's bound that it makes up, as a ratio of norms."""
    rounding = Rounding.of(params.dtype)
    total = mapped(bound, near_pass(rounding, network, params, x, y))

    def ratio(near, total):
        return float(np.linalg.norm(bound(near)) / (np.linalg.norm(total) or 1.0))

    return {source: mapped(ratio, near_pass(rounding.only(source), network, params, x, y), total) for source in SOURCES}


def near_pass(rounding, network, params, x, y, from_z=True, da=None, weights=None, masks=()):
    """One pass as `Values` of `Near`; from an upstream gradient, and without a loss, if `da` is given."""
    check_fit(network, params)
    if own := OWN_ACTIVATIONS & {*network.activations}:
        raise InvalidInput(
            f"activation {min(own)} is your own: no bound on its rounding is proven. Its derivative was checked when "
            "it was registered"
        )
    x, y = checked_data(network, x, y, params.dtype, "y" if da is None else "da")
    W, b = ([exactly(array) for array in arrays] for arrays in (params.W, params.b))
    return propagate(rounding, network, W, b, x, y, from_z, da, weights, masks)


def propagate(rounding, network, W, b, x, y, from_z=True, da=None, weights=None, masks=()):
    """`near_pass` for weights and biases that are themselves `Near`."""
    rules, layers = Rules(rounding), range(network.n_layers)
    x, y = exactly(x), y.astype(np.float64)
    masks = dict(enumerate(masks))  # by hidden layer
    z, a, inputs = [], [], [x]
    with np.errstate(all="ignore"):
        for layer in layers:
            z.append(rules.affine(inputs[-1], W[layer], b[layer]))
            a.append(rules.activation(network.activations[layer], z[-1]))
            inputs.append(a[-1] if masks.get(layer) is None else rules.dropped(a[-1], masks[layer]))
        loss = None if da is not None else rules.loss(network, z[-1], a[-1], y, from_z, weights)
        delta, dW, db = ([None] * network.n_layers for _ in range(3))
        back = None if da is None else Upstream.alone(exactly(da))
        for layer in reversed(layers):
            if back is None:
                delta[layer] = rules.loss_delta(network, z[layer], a[layer], y, weights)
            else:
                delta[layer] = rules.activation_delta(network.activations[layer], z[layer], a[layer], back)
            dW[layer], db[layer], back = rules.affine_delta(inputs[layer], W[layer], delta[layer])
            if masks.get(layer - 1) is not None:
                back = Upstream.alone(rules.dropped(back, masks[layer - 1]))
    return Values(z, a, delta, dW, db, back, loss)


def jvp_bounds(network, params, x, tangent, x_tangent):
    """How far from exact each entry of `backprop_ref.jvp` may be, float64 of shape (batch, n_out): forward mode is made
    of the pairs, and a sum of two.
    """
    rules = Rules(Rounding.of(params.dtype))
    a, a_dot = exactly(x), exactly(x_tangent)
    with np.errstate(all="ignore"):
        layers = zip(network.activations, params.W, params.b, tangent.W, tangent.b, strict=True)
        for activation, *arrays in layers:
            W, b, W_dot, b_dot = map(exactly, arrays)
            one, other = rules.affine(a, W_dot, b_dot), rules.affine(a_dot, W, exactly(0.0 * b.value))
            rounded = rules.u * (one.computed + other.computed)
            z, z_dot = rules.affine(a, W, b), Near(one.value + other.value, one.error + other.error + rounded)
            a = rules.activation(activation, z)
            a_dot = rules.activation_delta(activation, z, a, Upstream.alone(z_dot))
        return bound(a_dot)
