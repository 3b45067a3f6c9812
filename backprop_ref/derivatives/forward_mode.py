"""How a pass changes along a direction: forward mode, and second derivatives by forward over backward.

With a dot for the derivative along a direction in which W, b and x move, the lines of `mlp` become

    z_dot[l]     = a[l-1] @ W_dot[l] + b_dot[l] + a_dot[l-1] @ W[l]
    a_dot[l]     = z_dot[l] * activation'(z[l])
    dW_dot[l]    = a[l-1].T @ delta_dot[l] + a_dot[l-1].T @ delta[l]
    da_dot[l-1]  = delta_dot[l] @ W[l].T + delta[l] @ W_dot[l].T

and delta_dot is the derivative of the line that gives delta (Pearlmutter 1994, Fast exact multiplication by the
Hessian; Schraudolph 2002 for Gauss and Newton's approximation). The Jacobian of every activation is symmetric, so
`activation_backward` gives a_dot as well; the table of formulas, in dual numbers, gives delta_dot.
"""

from __future__ import annotations

import contextlib
import functools
from typing import Any, NamedTuple

import numpy as np

from backprop_ref import mlp
from backprop_ref.backends.arithmetic import Fast, OfArrays, Reproducible
from backprop_ref.backends.array import divisor
from backprop_ref.backends.base import Array, Backend
from backprop_ref.derivatives.dual import Dual, DualArithmetic
from backprop_ref.errors import InvalidInput
from backprop_ref.formulas import ACTIVATIONS, LOSSES, together
from backprop_ref.mlp import HasWeights, Weights
from backprop_ref.network import Network


class Moving(NamedTuple):
    """A forward pass along a direction: z, a, how they change, and at how many entries of a layer a has a kink."""

    z: list[Array]
    a: list[Array]
    z_dot: list[Array]
    a_dot: list[Array]
    kinks: list[int]


def forward(
    backend: Backend, network: Network, params: HasWeights, x: Array, tangent: HasWeights, x_dot: Array = None
) -> Moving:
    """Forward pass along the direction in which W and b move by `tangent`, and x by `x_dot` if that is given."""
    z, a = mlp.forward(backend, network, params, x)
    moving, before, before_dot = Moving(z, a, [], [], []), x, x_dot
    for layer, (W, W_dot, b_dot) in enumerate(zip(params.W, tangent.W, tangent.b, strict=True)):
        z_dot = backend.affine_forward(before, W_dot, b_dot)
        if before_dot is not None:
            z_dot = z_dot + backend.affine_forward(before_dot, W, _zeros(backend, b_dot))
        activation = network.activations[layer]
        moving.z_dot.append(z_dot)
        moving.a_dot.append(backend.activation_backward(activation, z[layer], a[layer], z_dot))
        moving.kinks.append(Duals(backend).jumps(activation, moving, layer))
        before, before_dot = a[layer], moving.a_dot[layer]
    return moving


def gauss_newton(
    backend: Backend,
    network: Network,
    params: HasWeights,
    x: Array,
    y: Array,
    tangent: HasWeights,
    batch: float | None = None,
    weights: Array = None,
) -> tuple[Weights, list[int]]:
    """Jᵀ·H·J times `tangent`, and the kinks of each layer and of the loss.

    J is the Jacobian of the last z where the loss and the output activation are differentiated as one, else of the last
    a; H is the Hessian of the loss with respect to that.
    """
    moving, duals, output = forward(backend, network, params, x, tangent), Duals(backend), network.activations[-1]
    _, delta_dot = duals.error(network, moving, y, batch, weights)
    if not together(network.loss, output):
        delta_dot = backend.activation_backward(output, moving.z[-1], moving.a[-1], delta_dot)
    _, dW, db, _ = mlp.backward(backend, network, params, x, moving.z, moving.a, delta_dot)
    return Weights(dW, db), [*moving.kinks, duals.words.kinks]


def hvp(
    backend: Backend,
    network: Network,
    params: HasWeights,
    x: Array,
    y: Array,
    tangent: HasWeights,
    batch: float | None = None,
    weights: Array = None,
) -> tuple[Weights, list[int]]:
    """The Hessian of the loss times `tangent`, and the kinks of each layer and of the loss."""
    moving, duals = forward(backend, network, params, x, tangent), Duals(backend)
    dW, db = list[Array]([None] * network.n_layers), list[Array]([None] * network.n_layers)
    delta, delta_dot = duals.error(network, moving, y, batch, weights)
    kinks = [*moving.kinks, duals.words.kinks]
    for layer in reversed(range(network.n_layers)):
        if layer < network.n_layers - 1:
            da = backend.affine_backward_input(delta, params.W[layer + 1])
            da_dot = backend.affine_backward_input(delta_dot, params.W[layer + 1])
            da_dot = da_dot + backend.affine_backward_input(delta, tangent.W[layer + 1])
        else:
            da, da_dot = delta, delta_dot
        if layer < network.n_layers - 1 or not together(network.loss, network.activations[layer]):
            duals = Duals(backend)
            delta, delta_dot = duals.delta(network.activations[layer], moving, layer, da, da_dot)
            kinks[layer] = max(kinks[layer], duals.words.kinks)
        dW[layer], db[layer] = backend.affine_backward(delta_dot, moving.a[layer - 1] if layer > 0 else x)
        if layer > 0:
            dW[layer] = dW[layer] + backend.affine_backward(delta, moving.a_dot[layer - 1])[0]
    return Weights(dW, db), kinks


class Duals:
    """The rules of the table in dual numbers, for the arrays of a backend.

    They are computed in the backend's arithmetic of arrays; where it has none, as loops have not, in NumPy's of the
    same numerics.
    """

    def __init__(self, backend: Backend) -> None:
        arithmetic = getattr(backend, "arithmetic", None)
        self.backend, self.here = backend, isinstance(arithmetic, OfArrays)
        self.words = DualArithmetic(arithmetic if self.here else _of_numpy(backend.numerics), self.count)

    def jumps(self, activation: str, moving: Moving, layer: int) -> int:
        """At how many entries of a layer its activation has no derivative."""
        if _chooses(activation):
            z_dot = moving.z_dot[layer]
            self.delta(activation, moving, layer, z_dot, z_dot)
        return self.words.jumps

    def delta(self, activation: str, moving: Moving, layer: int, da: Array, da_dot: Array) -> tuple[Array, Array]:
        """delta of a layer, and its derivative, from da and its own."""
        z = self.dual(moving.z[layer], moving.z_dot[layer])
        a = self.dual(moving.a[layer], moving.a_dot[layer])
        with np.errstate(all="ignore"):
            return self.arrays(ACTIVATIONS[activation].backward(self.words, z, a, self.dual(da, da_dot)), da)

    def error(
        self, network: Network, moving: Moving, y: Array, batch: float | None, weights: Array | None
    ) -> tuple[Array, Array]:
        """The loss's error over n, and its derivative: delta of the last layer, or da where it is of a."""
        z = self.dual(moving.z[-1], moving.z_dot[-1])
        a = self.dual(moving.a[-1], moving.a_dot[-1])
        pair = LOSSES[network.loss].with_output(network.activations[-1])
        with np.errstate(all="ignore"):
            error = pair.error(self.words, z, a, self.array(y)) / divisor(network.loss, y, batch)
            return self.arrays(error if weights is None else error * self.array(weights)[:, None], y)

    def dual(self, value: Array, dot: Array) -> Dual:
        return self.words.number(self.array(value), self.array(dot))

    def array(self, array: Array) -> Array:
        """An array of the backend where the rules are computed."""
        return array if self.here else self.backend.to_numpy(array)

    def arrays(self, number: Any, like: Array) -> tuple[Array, Array]:
        """A value and its dot in arrays of the backend; what is constant does not change."""
        if not isinstance(number, Dual):
            number = self.words.number(number, number * 0.0)
        if self.here:
            return number.value, number.dot
        dtype = self.array(like).dtype.name
        return self.backend.asarray(number.value, dtype), self.backend.asarray(number.dot, dtype)

    def count(self, holds: Array) -> int:
        """How many entries are true."""
        return int(np.count_nonzero(self.backend.to_numpy(holds) if self.here else holds))


@functools.cache
def _of_numpy(numerics: str) -> OfArrays:
    """NumPy's arithmetic of arrays."""
    return Fast(np) if numerics == "fast" else Reproducible(np)


@functools.cache
def _chooses(activation: str) -> bool:
    """Whether the rule of an activation's derivative chooses between sides, so that it may jump."""
    words = DualArithmetic(_of_numpy("fast"), np.count_nonzero)
    one = words.number(np.ones((1, 1)), np.ones((1, 1)))
    with contextlib.suppress(InvalidInput):
        ACTIVATIONS[activation].backward(words, one, one, one)
    return words.chooses


def _zeros(backend: Backend, like: Array) -> Array:
    host = backend.to_numpy(like)
    return backend.asarray(np.zeros_like(host), host.dtype.name)
