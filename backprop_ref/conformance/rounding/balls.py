"""Arrays that carry their rounding: a centre and a radius that no order of summation leaves.

`Ball` knows the few operations of a forward and backward pass. So any formula written with them, a wrong one too,
comes with a bound: u is the unit roundoff, γ(n) = n·u/(1 − n·u) (Higham, Accuracy and Stability of Numerical
Algorithms, ch. 3), library functions err by at most `LIBRARY_ULP`. Centres and radii are float64.
"""

from typing import NamedTuple

import numpy as np

from backprop_ref import formulas
from backprop_ref.kernels.elementary import for_numpy


class Ball:
    """An array in float64 and, entry by entry, how far a computation may be from it.

    Operations with plain numbers and arrays take these as exact, but for a fraction such as 0.01, which a program
    rounds to its precision. A division is allowed two roundings, since many multiply by a reciprocal.

    Where the precision has no `bounds`, only centres are computed, and radii are None.
    """

    __slots__ = ("mid", "precision", "rad")
    __array_ufunc__ = None

    def __init__(self, mid, rad, precision):
        self.mid, self.rad, self.precision = mid, rad, precision

    @classmethod
    def exact(cls, array, precision):
        """An array without error."""
        mid = np.asarray(array, dtype=np.float64)
        return cls(mid, np.zeros(mid.shape) if precision.bounds else None, precision)

    def made(self, mid, rad):
        """A ball of the same precision; ``rad()`` is worked out if radii are."""
        return Ball(mid, None if self.rad is None else rad(), self.precision)

    @property
    def shape(self):
        return self.mid.shape

    @property
    def T(self):
        return self.made(self.mid.T, lambda: self.rad.T)

    def __len__(self):
        return len(self.mid)

    def __getitem__(self, index):
        return self.made(self.mid[index], lambda: self.rad[index])

    def reshape(self, *shape):
        return self.made(self.mid.reshape(*shape), lambda: self.rad.reshape(*shape))

    def _parts(self, other):
        if isinstance(other, Ball):
            return other.mid, other.rad
        if isinstance(other, np.ndarray):
            return other, 0.0
        return other, 0.0 if float(np.float32(other)) == other else self.precision.u * abs(other)

    def __neg__(self):
        return self.made(-self.mid, lambda: self.rad)

    def __abs__(self):
        return self.made(np.abs(self.mid), lambda: self.rad)

    def __add__(self, other):
        mid, rad = self._parts(other)
        total = self.mid + mid
        return self.made(total, lambda: self.rad + rad + self.precision.u * np.abs(total))

    __radd__ = __add__

    def __sub__(self, other):
        mid, rad = self._parts(other)
        difference = self.mid - mid
        return self.made(difference, lambda: self.rad + rad + self.precision.u * np.abs(difference))

    def __rsub__(self, other):
        return -(self - other)

    def __mul__(self, other):
        mid, rad = self._parts(other)
        product = self.mid * mid

        def radius():
            spread = (np.abs(self.mid) + self.rad) * rad + np.abs(mid) * self.rad
            return spread + self.precision.u * np.abs(product) + self.precision.tiny

        return self.made(product, radius)

    __rmul__ = __mul__

    def __truediv__(self, other):
        mid, rad = self._parts(other)
        quotient = self.mid / mid

        def radius():
            spread = (self.rad + np.abs(quotient) * rad) / np.maximum(np.abs(mid) - rad, 0.0)
            return spread + (2.0 * self.precision.u * np.abs(quotient) + self.precision.tiny)

        return self.made(quotient, radius)

    def __rtruediv__(self, other):
        return Ball.exact(other, self.precision) / self

    def __gt__(self, limit):
        return Condition(self, limit, at_zero=False, holds_above=True)

    def __ge__(self, limit):
        return Condition(self, limit, at_zero=True, holds_above=True)

    def __le__(self, limit):
        return Condition(self, limit, at_zero=False, holds_above=False)

    def __lt__(self, limit):
        return Condition(self, limit, at_zero=True, holds_above=False)

    def __matmul__(self, other):
        mid, rad = self._parts(other)

        def radius():
            size, n = np.abs(self.mid), self.mid.shape[-1]
            spread = self.precision.gamma(n) * (size @ np.abs(mid)) + self.rad @ np.abs(mid)
            spread = spread + n * self.precision.tiny * (spread > 0.0)  # a sum of zeros stays exact
            return spread + (size + self.rad) @ rad if isinstance(other, Ball) else spread

        return self.made(self.mid @ mid, radius)

    def sum(self, axis=None, keepdims=False):
        def radius():
            n = self.mid.size if axis is None else self.mid.shape[axis]
            size = self.precision.gamma(max(n - 1, 0)) * np.abs(self.mid) + self.rad
            return size.sum(axis, keepdims=keepdims)

        return self.made(self.mid.sum(axis, keepdims=keepdims), radius)

    def zeros_like(self):
        return self.made(np.zeros(self.mid.shape), lambda: np.zeros(self.mid.shape))

    def masked(self, keep):
        """Zero, without error, wherever `keep` is False."""
        return self.made(np.where(keep, self.mid, 0.0), lambda: np.where(keep, self.rad, 0.0))

    def fits(self, array):
        """Whether another computation of the same formula may have given `array`; NaN never."""
        return array.shape == self.mid.shape and bool(np.all(np.abs(array - self.mid) <= 2.0 * self.rad))


class Condition(NamedTuple):
    """z compared with a number."""

    z: Ball
    limit: float
    at_zero: bool
    """Whether z there counts as above."""
    holds_above: bool


def where_positive(z, then, otherwise, at_zero=False):
    """``then`` where z > 0 (or z = 0, if `at_zero`), else ``otherwise``; both where rounding may decide."""
    (a, ra), (b, rb) = z._parts(then), z._parts(otherwise)
    positive = z.mid >= 0.0 if at_zero else z.mid > 0.0

    def radius():
        return np.where(np.abs(z.mid) < z.rad, np.abs(a - b) + np.maximum(ra, rb), np.where(positive, ra, rb))

    return z.made(np.where(positive, a, b), radius)


def exp(z):
    mid = np.exp(z.mid)
    return z.made(mid, lambda: mid * (np.expm1(z.rad) + z.precision.elementary) + z.precision.tiny)


def expm1(z):
    mid = np.expm1(z.mid)

    def radius():
        grown = (mid + 1.0) * np.expm1(z.rad)
        return grown + z.precision.elementary * np.abs(mid) + z.precision.tiny

    return z.made(mid, radius)


def log(z):
    mid = np.log(z.mid)
    return z.made(mid, lambda: z.rad / np.maximum(z.mid - z.rad, 0.0) + z.precision.elementary * np.abs(mid))


def sqrt(z):
    mid = np.sqrt(z.mid)

    def radius():
        spread = np.sqrt(z.mid + z.rad) - np.sqrt(np.maximum(z.mid - z.rad, 0.0))
        return spread + z.precision.u * mid

    return z.made(mid, radius)


def erf(z):
    mid = for_numpy("float64").erf(z.mid)

    def radius():
        slope = 2.0 / np.sqrt(np.pi) * np.exp(-(np.maximum(np.abs(z.mid) - z.rad, 0.0) ** 2))
        return slope * z.rad + z.precision.elementary * np.abs(mid) + z.precision.tiny

    return z.made(mid, radius)


def sigmoid(z):
    e = np.exp(-np.abs(z.mid))
    mid = np.where(z.mid >= 0.0, 1.0, e) / (1.0 + e)

    def radius():
        moved = np.minimum(e / ((1.0 + e) * (1.0 + e)) * np.expm1(z.rad), 1.0)
        return moved + (z.precision.elementary + 3 * z.precision.u) * mid + z.precision.tiny

    return z.made(mid, radius)


def tanh(z):
    mid = np.tanh(z.mid)

    def radius():
        e = np.exp(-2.0 * np.abs(z.mid))
        moved = np.minimum(2.0 * e / ((1.0 + e) * (1.0 + e)) * np.expm1(2.0 * z.rad), 2.0)
        return moved + z.precision.elementary * np.abs(mid) + z.precision.tiny

    return z.made(mid, radius)


def softplus(z):
    """log(1 + exp(z))."""
    mid = np.maximum(z.mid, 0.0) + np.log1p(np.exp(-np.abs(z.mid)))
    return z.made(mid, lambda: z.rad + (z.precision.elementary + 2 * z.precision.u) * mid)


class OfBalls(formulas.Arithmetic):
    """The words of the formulas over balls; sigmoid and softplus err less than the operations they are made of."""

    exp, expm1, log, sqrt = map(staticmethod, (exp, expm1, log, sqrt))
    tanh, erf, sigmoid = map(staticmethod, (tanh, erf, sigmoid))

    def log1p(self, x):
        return log(1.0 + x)

    def softplus(self, z, less=None):
        return softplus(z) if less is None else softplus(z) - less

    def where(self, condition, yes, no):
        above, below = (yes, no) if condition.holds_above else (no, yes)
        z = condition.z
        beyond = z.made(z.mid - condition.limit, lambda: z.rad)
        return where_positive(beyond, above, below, condition.at_zero)

    def largest(self, x):
        """The largest centre of each row, taken as exact: what is subtracted from all of a row cancels."""
        return x.mid.max(axis=1, keepdims=True)

    def total(self, x):
        return x.sum(axis=1, keepdims=True)

    def width(self, x):
        return float(x.mid.shape[1])


ARITHMETIC = OfBalls()


def softmax(z, axis=1):
    """Along rows, or, as one bug has it, along columns."""
    return formulas.softmax(ARITHMETIC, z) if axis == 1 else softmax(z.T).T
