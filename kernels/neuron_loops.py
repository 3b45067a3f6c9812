"""Forward and backward, neuron by neuron, to be stepped through: the formulas as loops over s, j and k.

    s  sample   0 .. batch - 1
    j  neuron   0 .. n_out - 1
    k  input    0 .. n_in - 1

The order of every sum and the association of every formula are those of "reproducible arithmetic, version 1". Loops
over single numbers are handed the rule that they apply, from the table of `formulas`. Numba compiles these very
functions, for one dtype at a time, over the compiled rules of that dtype; `prange` may share its turns out among
threads. It only ever counts things that are computed apart from each other, so no sum depends on the number of threads.

All arrays that a function takes have one dtype, float64 or float32, and every number in it is of that dtype. The last
argument or arguments are arrays for the results. Nothing else is written to, and nothing need be in them before.
"""

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from backprop_ref import formulas

from .elementary import for_scalars

Array: TypeAlias = NDArray[Any]
Loop: TypeAlias = Callable[..., None]

# The affine map. a (batch, n_in), W (n_in, n_out), b (n_out,), z and delta (batch, n_out).


def affine(prange: Callable[[int], Iterable[int]] = range) -> tuple[Loop, Loop, Loop]:
    """The three of the affine map."""

    def affine_forward(a: Array, W: Array, b: Array, z: Array) -> None:
        """z[s, j] = b[j] + a[s, 0] W[0, j] + a[s, 1] W[1, j] + ...

        NumPy: ``z = a @ W + b``
        """
        batch, n_out = z.shape
        n_in = a.shape[1]
        for s in prange(batch):
            for j in range(n_out):
                z[s, j] = b[j]
            for k in range(n_in):
                for j in range(n_out):
                    z[s, j] += a[s, k] * W[k, j]

    def affine_backward(delta: Array, a: Array, dW: Array, db: Array) -> None:
        """dW[k, j] = a[0, k] delta[0, j] + a[1, k] delta[1, j] + ..., and db[j] = delta[0, j] + delta[1, j] + ...

        NumPy: ``dW, db = a.T @ delta, delta.sum(axis=0)``
        """
        batch, n_out = delta.shape
        n_in = a.shape[1]
        zero = delta.dtype.type(0)
        for k in prange(n_in):
            for j in range(n_out):
                dW[k, j] = zero
            for s in range(batch):
                for j in range(n_out):
                    dW[k, j] += a[s, k] * delta[s, j]
        for j in range(n_out):
            db[j] = zero
        for s in range(batch):
            for j in range(n_out):
                db[j] += delta[s, j]

    def affine_backward_input(delta: Array, W: Array, da: Array) -> None:
        """da[s, k] = delta[s, 0] W[k, 0] + delta[s, 1] W[k, 1] + ...

        NumPy: ``da = delta @ W.T``
        """
        batch, n_out = delta.shape
        n_in = W.shape[0]
        zero = delta.dtype.type(0)
        for s in prange(batch):
            for k in range(n_in):
                da[s, k] = zero
            for j in range(n_out):
                for k in range(n_in):
                    da[s, k] += delta[s, j] * W[k, j]

    return affine_forward, affine_backward, affine_backward_input


# Activations: a from z, and beneath it delta from z, a and da. All (batch, n_out).


def forward(rule: Callable[..., Any]) -> Loop:
    """For an activation of single numbers."""

    def activation_forward(z: Array, a: Array) -> None:
        """a[s, j] = rule(z[s, j])"""
        batch, n_out = z.shape
        for s in range(batch):
            for j in range(n_out):
                a[s, j] = rule(z[s, j])

    return activation_forward


def backward(rule: Callable[..., Any]) -> Loop:
    """For an activation of single numbers."""

    def activation_backward(z: Array, a: Array, da: Array, delta: Array) -> None:
        """delta[s, j] = rule(z[s, j], a[s, j], da[s, j])"""
        batch, n_out = z.shape
        for s in range(batch):
            for j in range(n_out):
                delta[s, j] = rule(z[s, j], a[s, j], da[s, j])

    return activation_backward


# Losses: one running sum of terms over s and j, divided by n once (`loss` is 0-d), and beneath it dLoss/da, or
# delta where the loss and the activation before it are differentiated as one. n is batch, or batch n_out for
# a mean over the outputs.


def terms(rule: Callable[..., Any]) -> Loop:
    """For a loss whose terms are of single numbers."""

    def loss_forward(z: Array, a: Array, y: Array, n: Any, loss: Array) -> None:
        """loss = sum of rule(z[s, j], a[s, j], y[s, j]), over n"""
        batch, n_out = y.shape
        total = y.dtype.type(0)
        for s in range(batch):
            for j in range(n_out):
                total += rule(z[s, j], a[s, j], y[s, j])
        loss[()] = total / n

    return loss_forward


def error(rule: Callable[..., Any]) -> Loop:
    """For a loss whose errors are of single numbers."""

    def loss_backward(z: Array, a: Array, y: Array, n: Any, delta: Array) -> None:
        """delta[s, j] = rule(z[s, j], a[s, j], y[s, j]) / n, or da"""
        batch, n_out = y.shape
        for s in range(batch):
            for j in range(n_out):
                delta[s, j] = rule(z[s, j], a[s, j], y[s, j]) / n

    return loss_backward


# What reads rows has loops of its own, as each sum is part of the loop that makes its terms.


def largest(z: Array, s: int) -> Any:
    """max over j of z[s, j]"""
    top = z[s, 0]
    for j in range(1, z.shape[1]):
        top = z[s, j] if z[s, j] > top else top
    return top


def softmax(exp: Callable[..., Any], largest: Callable[..., Any]) -> tuple[Loop, Loop]:
    """The pair of the softmax."""

    def softmax_forward(z: Array, a: Array) -> None:
        """a[s, j] = e[j] / (e[0] + e[1] + ...) with e[j] = exp(z[s, j] - max over j of z[s, j])"""
        batch, n_out = z.shape
        zero = z.dtype.type(0)
        for s in range(batch):
            top, total = largest(z, s), zero
            for j in range(n_out):
                a[s, j] = exp(z[s, j] - top)
            for j in range(n_out):
                total += a[s, j]
            for j in range(n_out):
                a[s, j] /= total

    def softmax_backward(z: Array, a: Array, da: Array, delta: Array) -> None:
        """delta[s, j] = a[s, j] (da[s, j] - t) with t = da[s, 0] a[s, 0] + da[s, 1] a[s, 1] + ..."""
        batch, n_out = z.shape
        zero = z.dtype.type(0)
        for s in range(batch):
            t = zero
            for j in range(n_out):
                t += da[s, j] * a[s, j]
            for j in range(n_out):
                delta[s, j] = a[s, j] * (da[s, j] - t)

    return softmax_forward, softmax_backward


def softmax_cross_entropy(
    exp: Callable[..., Any], log: Callable[..., Any], largest: Callable[..., Any]
) -> tuple[Loop, Loop]:
    """The pair of the cross-entropy of a softmax."""

    def softmax_cross_entropy_forward(z: Array, a: Array, y: Array, n: Any, loss: Array) -> None:
        """loss = sum of y (log S - (z - max)), over n, with S = sum over j of exp(z - max)"""
        batch, n_out = y.shape
        zero = y.dtype.type(0)
        total = zero
        for s in range(batch):
            top, S = largest(z, s), zero
            for j in range(n_out):
                S += exp(z[s, j] - top)
            log_S = log(S)
            for j in range(n_out):
                total += y[s, j] * (log_S - (z[s, j] - top))
        loss[()] = total / n

    def softmax_cross_entropy_backward(z: Array, a: Array, y: Array, n: Any, delta: Array) -> None:
        """delta = (a Y - y) / n with Y = y[s, 0] + y[s, 1] + ..., 1 for probabilities"""
        batch, n_out = y.shape
        zero = y.dtype.type(0)
        for s in range(batch):
            Y = zero
            for j in range(n_out):
                Y += y[s, j]
            for j in range(n_out):
                delta[s, j] = (a[s, j] * Y - y[s, j]) / n

    return softmax_cross_entropy_forward, softmax_cross_entropy_backward


# All of them.


class Numbers(formulas.Arithmetic):
    """The arithmetic of NumPy scalars of a dtype."""

    def __init__(self, dtype: str):
        self.real, self.functions = np.dtype(dtype).type, for_scalars(dtype)

    def exp(self, x: Any) -> Any:
        return self.real(self.functions.exp(x))

    def log(self, x: Any) -> Any:
        return self.real(self.functions.log(x))

    def log1p(self, x: Any) -> Any:
        return self.real(self.functions.log1p(x))

    def tanh(self, x: Any) -> Any:
        return self.real(self.functions.tanh(x))

    def sqrt(self, x: Any) -> Any:
        return np.sqrt(x)

    def where(self, condition: Any, yes: Any, no: Any) -> Any:
        return self.real(yes if condition else no)


def loops(
    function: Callable[[Callable[..., Any], str], Callable[..., Any]],
    compiled: Callable[[Loop], Loop] = lambda loop: loop,
) -> dict[str, Loop]:
    """All loops by name: affine_forward, tanh_forward, tanh_backward, ...

    Parameters
    ----------
    function : callable
        ``function(rule, names)`` gives a rule of `formulas` as a function of numbers with these names.
    compiled : callable, optional
        Applied to every loop.
    """
    exp, log = function(lambda m, x: m.exp(x), "x"), function(lambda m, x: m.log(x), "x")
    top = compiled(largest)
    pairs = {"softmax": softmax(exp, top), "softmax_cross_entropy": softmax_cross_entropy(exp, log, top)}
    for name, activation in formulas.ACTIVATIONS.items():
        if not activation.by_rows:
            pairs[name] = forward(function(activation.forward, "z")), backward(function(activation.backward, "z a da"))
    for name, pair in formulas.TERMS.items():
        if not pair.by_rows:
            pairs[name] = terms(function(pair.terms, "z a y")), error(function(pair.error, "z a y"))
    found = {loop.__name__: loop for loop in affine()}
    for name, (above, beneath) in pairs.items():
        found |= {f"{name}_forward": above, f"{name}_backward": beneath}
    return {name: compiled(loop) for name, loop in found.items()}


@cache
def plain(dtype: str) -> dict[str, Loop]:
    """The loops as they are written, over NumPy scalars of a dtype."""
    m = Numbers(dtype)
    return loops(lambda rule, names: lambda *numbers: rule(m, *numbers))
