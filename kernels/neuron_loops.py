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

import functools
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from backprop_ref import formulas

from .elementary import for_numpy, for_scalars

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
# delta where the loss and the activation before it are differentiated as one. w (batch,) is what each sample counts,
# 1 if nothing else is said; n is the sum of w over the whole batch, times n_out for a mean over the outputs.


def terms(rule: Callable[..., Any]) -> Loop:
    """For a loss whose terms are of single numbers."""

    def loss_forward(z: Array, a: Array, y: Array, w: Array, n: Any, loss: Array) -> None:
        """loss = sum of w[s] rule(z[s, j], a[s, j], y[s, j]), over n"""
        batch, n_out = y.shape
        total = y.dtype.type(0)
        for s in range(batch):
            for j in range(n_out):
                total += w[s] * rule(z[s, j], a[s, j], y[s, j])
        loss[()] = total / n

    return loss_forward


def error(rule: Callable[..., Any]) -> Loop:
    """For a loss whose errors are of single numbers."""

    def loss_backward(z: Array, a: Array, y: Array, w: Array, n: Any, delta: Array) -> None:
        """delta[s, j] = w[s] (rule(z[s, j], a[s, j], y[s, j]) / n), or da"""
        batch, n_out = y.shape
        for s in range(batch):
            for j in range(n_out):
                delta[s, j] = w[s] * (rule(z[s, j], a[s, j], y[s, j]) / n)

    return loss_backward


# The same for rules over rows, of which each is handed whole rows.


def forward_of_rows(rule: Callable[..., Any]) -> Loop:
    """For an activation over rows."""

    def activation_forward(z: Array, a: Array) -> None:
        """a[s] = rule(z[s])"""
        for s in range(len(z)):
            a[s] = rule(z[s])

    return activation_forward


def backward_of_rows(rule: Callable[..., Any]) -> Loop:
    """For an activation over rows."""

    def activation_backward(z: Array, a: Array, da: Array, delta: Array) -> None:
        """delta[s] = rule(z[s], a[s], da[s])"""
        for s in range(len(z)):
            delta[s] = rule(z[s], a[s], da[s])

    return activation_backward


def terms_of_rows(rule: Callable[..., Any]) -> Loop:
    """For a loss whose terms are of rows."""

    def loss_forward(z: Array, a: Array, y: Array, w: Array, n: Any, loss: Array) -> None:
        """loss = sum of w[s] rule(z[s], a[s], y[s])[j], over n"""
        total = y.dtype.type(0)
        for s in range(len(y)):
            for term in rule(z[s], a[s], y[s]):
                total += w[s] * term
        loss[()] = total / n

    return loss_forward


def error_of_rows(rule: Callable[..., Any]) -> Loop:
    """For a loss whose errors are of rows."""

    def loss_backward(z: Array, a: Array, y: Array, w: Array, n: Any, delta: Array) -> None:
        """delta[s] = w[s] (rule(z[s], a[s], y[s]) / n), or da"""
        for s in range(len(y)):
            delta[s] = w[s] * (rule(z[s], a[s], y[s]) / n)

    return loss_backward


OVER_ROWS = forward_of_rows, backward_of_rows, terms_of_rows, error_of_rows


# All of them.


class Numbers(formulas.Arithmetic):
    """The arithmetic of NumPy scalars of a dtype."""

    def __init__(self, dtype: str):
        self.real, self.functions = np.dtype(dtype).type, for_scalars(dtype)

    def exp(self, x: Any) -> Any:
        return self.real(self.functions.exp(x))

    def expm1(self, x: Any) -> Any:
        return self.real(self.functions.expm1(x))

    def log(self, x: Any) -> Any:
        return self.real(self.functions.log(x))

    def log1p(self, x: Any) -> Any:
        return self.real(self.functions.log1p(x))

    def tanh(self, x: Any) -> Any:
        return self.real(self.functions.tanh(x))

    def erf(self, x: Any) -> Any:
        return self.real(self.functions.erf(x))

    def sqrt(self, x: Any) -> Any:
        return np.sqrt(x)

    def where(self, condition: Any, yes: Any, no: Any) -> Any:
        return self.real(yes if condition else no)


class Rows(formulas.Arithmetic):
    """The arithmetic of rows of NumPy numbers of a dtype; a sum or the largest is a row of one."""

    def __init__(self, dtype: str):
        functions = for_numpy(dtype)
        self.exp, self.expm1, self.tanh, self.erf = functions.exp, functions.expm1, functions.tanh, functions.erf
        self.log, self.log1p = functions.log, functions.log1p
        self.sqrt = np.sqrt

    def where(self, condition: Any, yes: Any, no: Any) -> Any:
        return np.where(condition, yes, no)

    def largest(self, x: Array) -> Array:
        top = x[0]
        for number in x[1:]:
            top = number if number > top else top
        return np.array([top])

    def width(self, x: Array) -> Array:
        return self.total(np.ones_like(x))

    def total(self, x: Array) -> Array:
        found = x.dtype.type(0)
        for number in x:
            found += number
        return np.array([found])


HALVES = "forward", "backward"


class Loops(dict[str, Loop]):
    """All loops by name: affine_forward, tanh_forward, tanh_backward, elu(0.5)_forward, ...

    ``function(rule, names)`` gives a rule of `formulas` as a function of numbers with these names; `compiled` is
    applied to every loop.
    """

    def __init__(
        self,
        function: Callable[[Callable[..., Any], str], Callable[..., Any]],
        over_rows: Sequence[Callable[[Callable[..., Any]], Loop]],
        compiled: Callable[[Loop], Loop] = lambda loop: loop,
    ) -> None:
        super().__init__({loop.__name__: compiled(loop) for loop in affine()})
        self._function, self._over_rows, self._compiled = function, over_rows, compiled
        for name in (*formulas.ACTIVATIONS, *formulas.TERMS):
            if name not in formulas.OWN_ACTIVATIONS:
                self._make(name)

    def __missing__(self, loop: str) -> Loop:
        self._make(loop.rpartition("_")[0])
        return self[loop]

    def _make(self, name: str) -> None:
        """Adds the two loops of an activation, or of the terms of a loss."""
        halves: tuple[tuple[Callable[..., Any], Callable[..., Loop], str], ...]
        if name in formulas.ACTIVATIONS:
            activation = formulas.ACTIVATIONS[name]
            over_rows = self._over_rows[:2] if activation.by_rows else None
            halves = (activation.forward, forward, "z"), (activation.backward, backward, "z a da")
        else:
            pair = formulas.TERMS[name]
            over_rows = self._over_rows[2:] if pair.by_rows else None
            halves = (pair.terms, terms, "z a y"), (pair.error, error, "z a y")
        rule: Callable[..., Any]
        of_rule: Callable[..., Loop]
        for half, (rule, of_rule, names) in enumerate(halves):
            loop = over_rows[half](rule) if over_rows else self._compiled(of_rule(self._function(rule, names)))
            self[f"{name}_{HALVES[half]}"] = loop


@cache
def plain(dtype: str) -> Loops:
    """The loops as they are written, over NumPy scalars of a dtype, and rows of them."""
    m, rows = Numbers(dtype), Rows(dtype)
    over_rows = [lambda rule, make=make: make(functools.partial(rule, rows)) for make in OVER_ROWS]
    return Loops(lambda rule, names: lambda *numbers: rule(m, *numbers), over_rows)
