"""Bounds on rounding errors: the *Error* line of each pair in `backprop_ref.backends.base`, evaluated entry by entry.

A pass beside the computation carries, for each z, a, delta, dW and db, a first-order bound on the difference between
what any IEEE implementation gets, whatever its order of summation, and the exact value. Tolerances come from here.
"""

from typing import NamedTuple

import numpy as np

from backprop_ref import mlp
from backprop_ref.api import check_fit, checked_data
from backprop_ref.backends.arithmetic import Fast
from backprop_ref.backends.array import CROSS_ENTROPY, LEAKY_SLOPE, divisor
from backprop_ref.backends.numpy import NumpyBackend

LIBRARY_ULP = 4.0


class Bounds(NamedTuple):
    """For each quantity of a `Trace`, an array of its shape: how far from exact it may be."""

    z: list[np.ndarray]
    a: list[np.ndarray]
    delta: list[np.ndarray]
    dW: list[np.ndarray]
    db: list[np.ndarray]
    dx: np.ndarray
    loss: float


def gradient_bounds(network, params, x, y, dtype=None):
    """The `Bounds` of one forward and backward pass, in float64.

    Parameters
    ----------
    network, params, x, y
        As for `backprop_ref.value_and_grad`.
    dtype : str, optional
        The precision whose rounding is bounded; default: that of `params`.
    """
    check_fit(network, params)
    u = np.finfo(dtype or params.dtype).eps / 2
    x, y = (array.astype(np.float64) for array in checked_data(network, x, y, params.dtype))
    W, b = [w.astype(np.float64) for w in params.W], [v.astype(np.float64) for v in params.b]
    backend = NumpyBackend(np, Fast(np))
    with np.errstate(all="ignore"):
        seen = mlp.trace(backend, network, mlp.Weights(W, b), x, y)
        return _Shadow(u, float(np.finfo(dtype or params.dtype).smallest_subnormal)).propagate(network, W, b, seen)


class _Shadow:
    """The error lines, for unit roundoff u and smallest subnormal `tiny`; e is the error an argument brings."""

    def __init__(self, u, tiny):
        self.u, self.tiny, self.elementary = u, tiny, 2.0 * LIBRARY_ULP * u

    def gamma(self, n):
        return n * self.u / (1.0 - n * self.u)

    def propagate(self, network, W, b, seen):
        layers = range(network.n_layers)
        inputs = [seen.x, *seen.a[:-1]]
        ez, ea, e = [], [], np.zeros_like(seen.x)
        for layer in layers:
            ez.append(self.affine(inputs[layer], W[layer], b[layer], e))
            e = self.activation(network.activations[layer], seen.z[layer], seen.a[layer], ez[-1])
            ea.append(e)
        eloss = self.loss(network, seen, ez[-1], ea[-1])
        edelta, edW, edb = [list(map(np.zeros_like, arrays)) for arrays in (seen.delta, seen.dW, seen.db)]
        eda = np.empty(0)
        for layer in reversed(layers):
            delta = np.abs(seen.delta[layer])
            if layer == network.n_layers - 1:
                edelta[layer] = self.loss_delta(network, seen, ez[layer], ea[layer])
            else:
                da = seen.delta[layer + 1] @ W[layer + 1].T
                edelta[layer] = self.activation_delta(
                    network.activations[layer], seen.z[layer], seen.a[layer], da, ez[layer], ea[layer], eda
                )
            a, e = np.abs(inputs[layer]), ea[layer - 1] if layer else np.zeros_like(seen.x)
            batch, n_out = delta.shape
            edW[layer] = self.gamma(batch) * (a.T @ delta) + e.T @ delta + (a + e).T @ edelta[layer] + batch * self.tiny
            edb[layer] = self.gamma(batch - 1) * delta.sum(axis=0) + edelta[layer].sum(axis=0) + self.tiny
            eda = (
                self.gamma(n_out) * (delta @ np.abs(W[layer]).T)
                + edelta[layer] @ np.abs(W[layer]).T
                + n_out * self.tiny
            )
        return Bounds(ez, ea, edelta, edW, edb, eda, eloss)

    def affine(self, a, W, b, e):
        n_in = W.shape[0]
        products = ((a != 0.0) | (e != 0.0)).astype(float) @ (W != 0.0)  # those that may underflow
        return self.gamma(n_in + 1) * (np.abs(a) @ np.abs(W) + np.abs(b)) + e @ np.abs(W) + self.tiny * products

    def activation(self, name, z, a, e):
        if name == "sigmoid":
            return (self.elementary + 3 * self.u) * a + np.minimum(_slope(z) * np.expm1(e), 1.0) + self.tiny
        if name == "tanh":
            return self.elementary * np.abs(a) + np.minimum(2.0 * _slope(2.0 * z) * np.expm1(2.0 * e), 2.0) + self.tiny
        if name == "leaky_relu":
            return e + self.u * np.abs(a) + self.tiny
        if name == "softmax":
            r = self.elementary + self.u * (z.max(axis=1, keepdims=True) - z) + e
            r = r + self.gamma(a.shape[1])
            return np.minimum(a * np.expm1(r + (a * np.expm1(r)).sum(axis=1, keepdims=True)), 1.0) + self.tiny
        return e

    def activation_delta(self, name, z, a, da, ez, ea, eda):
        u, size = self.u, np.abs(da)
        if name == "sigmoid":
            return (size + eda) * (ea * (1.0 + ea) + 3 * u * a * (1.0 - a)) + a * (1.0 - a) * eda + self.tiny
        if name == "tanh":
            slope = 1.0 - a * a
            return (size + eda) * ((2.0 * np.abs(a) + ea) * ea + u * a * a + 2 * u * slope) + slope * eda + self.tiny
        if name == "softmax":
            t = (da * a).sum(axis=1, keepdims=True)
            et = ((size + eda) * ea + a * eda).sum(axis=1, keepdims=True)
            et = et + self.gamma(a.shape[1]) * (size * a).sum(axis=1, keepdims=True)
            return ea * (np.abs(da - t) + eda + et) + a * (eda + et) + 2 * u * a * np.abs(da - t) + self.tiny
        if name in {"relu", "leaky_relu"}:
            leak = LEAKY_SLOPE if name == "leaky_relu" else 0.0
            jump = np.where(np.abs(z) < ez, size + eda, 0.0)
            return np.where(z > 0.0, eda, leak * (eda + u * size)) + jump
        return eda

    def loss(self, network, seen, ez, ea):
        z, a, y = np.abs(seen.z[-1]), seen.a[-1], seen.y
        n = divisor(network.loss, y)
        if (network.loss, network.activations[-1]) not in CROSS_ENTROPY:
            return float(self.gamma(y.size + 3) * seen.loss + ((2.0 * np.abs(a - y) + ea) * ea).sum() / n + self.tiny)
        parts = (1.0 + np.abs(y)) * (1.0 + z + z.max(axis=1, keepdims=True))
        slopes = np.abs(seen.delta[-1]) * n
        return float(((self.gamma(y.size + 4) + self.elementary) * parts.sum() + (slopes * ez).sum()) / n)

    def loss_delta(self, network, seen, ez, ea):
        u, output = self.u, network.activations[-1]
        z, a, y, delta = seen.z[-1], seen.a[-1], seen.y, np.abs(seen.delta[-1])
        n = divisor(network.loss, y)
        if (network.loss, output) not in CROSS_ENTROPY:
            da = (2.0 * (a - y)) / n
            return self.activation_delta(output, z, a, da, ez, ea, 2.0 * ea / n + 2 * u * np.abs(da) + self.tiny)
        if network.loss == "binary_cross_entropy":
            return ea / n + 2 * u * delta + self.tiny
        if output == "softmax":
            size = np.abs(y).sum(axis=1, keepdims=True)
            total = np.abs(y.sum(axis=1, keepdims=True))
            return (ea * total + self.gamma(a.shape[1] + 1) * a * size) / n + 2 * u * delta + self.tiny
        other = 1.0 / (1.0 + np.exp(z))
        return np.abs(y) * (a * other * ez + (self.elementary + 5 * u) * other) / n + self.tiny


def _slope(z):
    """σ(z)·σ(−z), without cancellation."""
    e = np.exp(-np.abs(z))
    return e / ((1.0 + e) * (1.0 + e))


def case_bounds(case, exact):
    """The bounds of every quantity expected of a case, rounding of the truth included."""
    from backprop_ref.conformance.cases import Values

    u = float(np.finfo(case.params.dtype).eps) / 2
    found = gradient_bounds(case.network, case.params, case.x, case.y)
    values = {name: [2.0 * e for e in getattr(found, name)] for name in ("z", "a", "delta", "dW", "db")}
    values |= {"dx": 2.0 * found.dx, "loss": None if exact.loss is None else 2.0 * found.loss}
    if case.da is not None:
        scale = 8.0 * len(case.x) * np.abs(case.da).max()
        for name in ("delta", "dW", "db"):
            values[name] = [scale * e for e in values[name]]
        values["dx"] = scale * values["dx"]
    if exact.W is not None:
        values["W"] = [100.0 * u * (1.0 + np.abs(W)) for W in exact.W]
        values["b"] = [100.0 * u * (1.0 + np.abs(b)) for b in exact.b]
    return Values(**values)
