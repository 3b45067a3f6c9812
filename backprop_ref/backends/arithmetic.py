"""The two arithmetics an `ArrayBackend` can compute in: the namespace's own, or the reproducible one."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from backprop_ref import formulas
from backprop_ref.arrays import Vector
from backprop_ref.backends.base import Array
from backprop_ref.errors import BackendUnavailable
from backprop_ref.kernels import elementary, ordered


class OfArrays(formulas.Arithmetic):
    """Words of the formulas that every namespace computes in the same way."""

    def __init__(self, xp: Any) -> None:
        self.xp = xp

    def where(self, condition: Array, yes: Array, no: Array) -> Array:
        """One of the two, of which one may be a number."""
        if self.xp is not np and isinstance(yes, float):
            yes = self.xp.full_like(no, yes)
        elif self.xp is not np and isinstance(no, float):
            no = self.xp.full_like(yes, no)
        return elementary.where(self.xp, condition, yes, no)

    def sigmoid(self: Any, z: Array) -> Array:
        """1/(1 + exp(−z)) with one division."""
        e = self.exp(-abs(z))
        return self.where(z >= 0.0, 1.0, e) / (1.0 + e)

    def largest(self, x: Array) -> Array:
        """The largest of each row, shape (batch, 1)."""
        return self.xp.max(x, axis=1, keepdims=True)

    def width(self: Any, x: Array) -> Array:
        """How many entries each row has, shape (batch, 1)."""
        return self.total(self.xp.ones_like(x))


class Fast(OfArrays):
    """Whatever is quickest in the namespace: its matrix product, sums, division and elementary functions."""

    numerics = "fast"

    def __init__(self, xp: Any) -> None:
        super().__init__(xp)
        self.exp, self.expm1, self.log1p, self.log, self.tanh = xp.exp, xp.expm1, xp.log1p, xp.log, xp.tanh
        self.sqrt = xp.sqrt
        self._erf = getattr(xp, "erf", None) or Reproducible(xp).erf

    def erf(self, x: Array) -> Array:
        """The namespace's own, where it has one."""
        return self._erf(x)

    def affine(self, a: Array, W: Array, b: Array) -> Array:
        """``a @ W + b``."""
        return self.xp.matmul(a, W) + b

    def matmul_tn(self, a: Array, delta: Array) -> Array:
        """``a.T @ delta``."""
        return self.xp.matmul(a.T, delta)

    def matmul_nt(self, delta: Array, W: Array) -> Array:
        """``delta @ W.T``."""
        return self.xp.matmul(delta, W.T)

    def sum_rows(self, x: Array) -> Array:
        """Sum over axis 0, shape (n_out,)."""
        return self.xp.sum(x, axis=0)

    def total(self, x: Array) -> Array:
        """The sum of each row, shape (batch, 1)."""
        return self.xp.sum(x, axis=1, keepdims=True)

    def sum_all(self, x: Array) -> Array:
        """Sum over everything, 0-d."""
        return self.xp.sum(x)


class Reproducible(OfArrays):
    """Sums and products in index order, and our own exp, log, tanh and the like: the same bits in every namespace."""

    numerics = "reproducible"

    def __init__(self, xp: Any) -> None:
        super().__init__(xp)
        self._functions: dict[str, elementary.Elementary] = {}

    def probe(self, asarray: Callable[..., Array], to_numpy: Callable[[Array], npt.NDArray[Any]]) -> None:
        """Compares every kind of operation with NumPy's scalars, on enough entries that a library would use threads.

        `asarray` and `to_numpy` put the entries on the backend's device and fetch them. An operation that is not
        rounded once and to nearest, or loses subnormal numbers, is a BackendUnavailable whose message names it.
        """
        for dtype in ("float64", "float32"):
            u, v, n = probing_values(dtype)
            x, y, powers = (asarray(np.tile(row, (_PROBED_ROWS, 1)), dtype) for row in (u, v, n))
            column = asarray(np.full((_PROBED_ROWS, 1), v[0]), dtype)
            primitives = elementary.array_primitives(self.xp, dtype)
            scalars = elementary.scalar_primitives(dtype)._replace(scale=math.ldexp, sqrt=math.sqrt)
            for operation, function in _PROBES.items():
                got = to_numpy(function(x, y, column, powers, primitives))
                one_by_one = [function(*row, v[0], int(k), scalars) for *row, k in zip(u, v, n, strict=True)]
                if not (got == np.array(one_by_one).astype(dtype)).all():
                    raise BackendUnavailable(
                        f"reproducible numerics: in {self.xp.__name__}, {dtype}, {operation} is not IEEE arithmetic, "
                        "rounded once and to nearest; use fast numerics, or another backend"
                    )

    def _of(self, x: Array) -> elementary.Elementary:
        dtype = "float32" if x.dtype == self.xp.float32 else "float64"
        if self.xp is np:
            return elementary.for_numpy(dtype)
        if dtype not in self._functions:
            primitives = elementary.array_primitives(self.xp, dtype)
            self._functions[dtype] = elementary.build(primitives, dtype, passes=True)
        return self._functions[dtype]

    def exp(self, x: Array) -> Array:
        return self._of(x).exp(x)

    def expm1(self, x: Array) -> Array:
        return self._of(x).expm1(x)

    def log(self, x: Array) -> Array:
        return self._of(x).log(x)

    def log1p(self, x: Array) -> Array:
        return self._of(x).log1p(x)

    def tanh(self, x: Array) -> Array:
        return self._of(x).tanh(x)

    def erf(self, x: Array) -> Array:
        return self._of(x).erf(x)

    def sqrt(self, x: Array) -> Array:
        dtype = "float32" if x.dtype == self.xp.float32 else "float64"
        return elementary.array_primitives(self.xp, dtype).sqrt(x)

    def affine(self, a: Array, W: Array, b: Array) -> Array:
        """``a @ W + b``, from b, k in order."""
        return ordered.affine(self.xp, a, W, b)

    def matmul_tn(self, a: Array, delta: Array) -> Array:
        """``a.T @ delta``, samples in order."""
        return ordered.matmul_tn(self.xp, a, delta)

    def matmul_nt(self, delta: Array, W: Array) -> Array:
        """``delta @ W.T``, neurons in order."""
        return ordered.matmul_nt(self.xp, delta, W)

    def sum_rows(self, x: Array) -> Array:
        """Sum over axis 0 in order, shape (n_out,)."""
        return ordered.sum_rows(self.xp, x)

    def total(self, x: Array) -> Array:
        """The sum of each row in order, shape (batch, 1)."""
        return ordered.sum_columns(self.xp, x)

    def sum_all(self, x: Array) -> Array:
        """One running sum, row by row, 0-d."""
        return ordered.running_sum(self.xp, x)


_PROBED_ROWS = 1000
_PROBES: dict[str, Callable[..., Any]] = {
    "a sum": lambda x, y, column, powers, p: x + y,
    "a difference": lambda x, y, column, powers, p: x - y,
    "a product": lambda x, y, column, powers, p: x * y,
    "a product and a sum": lambda x, y, column, powers, p: x * y + x,
    "a quotient": lambda x, y, column, powers, p: x / y,
    "division by a number": lambda x, y, column, powers, p: x / 3.0,
    "division of a number": lambda x, y, column, powers, p: 1.0 / y,
    "division by a column": lambda x, y, column, powers, p: x / column,
    "a square root": lambda x, y, column, powers, p: p.sqrt(x),
    "scaling by 2^n": lambda x, y, column, powers, p: p.scale(x, powers),
}


def probing_values(dtype: str) -> tuple[Vector, Vector, npt.NDArray[np.float64]]:
    """Two rows of numbers, subnormal ones in the first, and a row of powers of 2 that make others subnormal."""
    least, lowest = np.finfo(dtype).smallest_normal, np.finfo(dtype).minexp
    fractions = (np.arange(30) * 0.6180339887498949) % 1.0
    u = np.concatenate([1.0 + fractions, least * fractions[1:11], least * (1.0 + fractions[:10])]).astype(dtype)
    v = np.concatenate([3.0 - fractions, 1.0 + fractions[:20]]).astype(dtype)
    return u, v, np.where(np.arange(50) % 2, float(lowest), 30.0)


def check_rounding() -> None:
    """Refuses a thread whose arithmetic does not round to nearest or loses subnormals; each thread has its own
    setting.
    """
    least, half, one, little = _SETTING
    if least * half == 0.0 or least * half * one == 0.0 or not least * half > 0.0:
        found = "numbers too small for the normal range are set to 0 (FTZ or DAZ is on)"
    elif one + little != one or one - little != one or -one - little != -one:
        found = "results are not rounded to nearest"
    else:
        return
    raise BackendUnavailable(
        f"reproducible numerics: in this thread {found}. A library built with -ffast-math does that when it is loaded; "
        "load it in another process, or use fast numerics"
    )


_SETTING = (2.0**-1022, 0.5, 1.0, 2.0**-60)
