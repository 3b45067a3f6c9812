"""Dual numbers: what a rule of the table of formulas gives, and how that changes with what it is given.

A number is ``value + ε·dot`` with ε² = 0 (Clifford 1873; Griewank and Walther, Evaluating Derivatives, ch. 3), both in
arrays of one arithmetic. A backward rule of `backprop_ref.formulas`, given them, yields delta and its derivative along
the direction that the dots say: so no second derivative of an activation or a loss is written down anywhere. What is
not dual is constant.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

from backprop_ref.backends.base import Array
from backprop_ref.errors import InvalidInput
from backprop_ref.formulas import Arithmetic


class DualArithmetic(Arithmetic):
    """The words of the formulas for dual numbers over another arithmetic.

    Where a choice is made at a tie that the direction leads away from, a rule may have a kink, and the dot is that of
    the side which the rule takes: `jumps` counts the entries at which the two sides differ, `kinks` those at which they
    or their dots do. `chooses` says whether there was a choice at all.
    """

    def __init__(self, over: Any, count: Callable[[Array], int]) -> None:
        self.over, self.count = over, count
        self.jumps, self.kinks, self.chooses = 0, 0, False

    def __getattr__(self, word: str) -> Any:
        raise InvalidInput(f"no second derivative is known of a formula with '{word}'; use another activation or loss")

    def number(self, value: Array, dot: Array) -> Dual:
        """value + ε·dot"""
        return Dual(self, value, dot)

    def exp(self, x: Dual) -> Dual:
        e = self.over.exp(x.value)
        return self.number(e, e * x.dot)

    def expm1(self, x: Dual) -> Dual:
        e = self.over.expm1(x.value)
        return self.number(e, (e + 1.0) * x.dot)

    def erf(self, x: Dual) -> Dual:
        slope = self.over.exp(-(x.value * x.value)) * (2.0 / math.sqrt(math.pi))
        return self.number(self.over.erf(x.value), slope * x.dot)

    def log(self, x: Dual) -> Dual:
        return self.number(self.over.log(x.value), x.dot / x.value)

    def log1p(self, x: Dual) -> Dual:
        return self.number(self.over.log1p(x.value), x.dot / (1.0 + x.value))

    def sqrt(self, x: Dual) -> Dual:
        root = self.over.sqrt(x.value)
        return self.number(root, (0.5 * x.dot) / root)

    def tanh(self, x: Dual) -> Dual:
        t = self.over.tanh(x.value)
        return self.number(t, (1.0 - t * t) * x.dot)

    def sigmoid(self, z: Dual) -> Dual:
        s = self.over.sigmoid(z.value)
        return self.number(s, (s * self.over.sigmoid(-z.value)) * z.dot)

    def softplus(self, z: Dual, less: Any = None) -> Any:
        s = self.number(self.over.softplus(z.value), self.over.sigmoid(z.value) * z.dot)
        return s if less is None else s - less

    def total(self, x: Any) -> Any:
        if not isinstance(x, Dual):
            return self.over.total(x)
        return self.number(self.over.total(x.value), self.over.total(x.dot))

    def width(self, x: Any) -> Any:
        return self.over.width(x.value if isinstance(x, Dual) else x)

    def where(self, condition: Any, yes: Any, no: Any) -> Dual:
        """The value and the dot of the side that is chosen."""
        self.chooses = True
        (yes_value, yes_dot), (no_value, no_dot) = _parts(yes), _parts(no)
        if isinstance(condition, Comparison):
            jump = condition.leaving & (yes_value != no_value)
            self.jumps += self.count(jump)
            self.kinks += self.count(jump | (condition.leaving & (yes_dot != no_dot)))
        return self.number(self._chosen(condition, yes_value, no_value), self._chosen(condition, yes_dot, no_dot))

    def _chosen(self, condition: Any, yes: Any, no: Any) -> Array:
        holds, like = condition[:2] if isinstance(condition, Comparison) else (condition, None)
        if isinstance(yes, float) and isinstance(no, float):
            yes = self.over.xp.full_like(like, yes)
        return self.over.where(holds, yes, no)


class Comparison(NamedTuple):
    """Where a comparison holds, an array of its shape, and where it is a tie that the direction leads away from."""

    holds: Array
    like: Array
    leaving: Array


class Dual:
    """A value and its derivative along a direction."""

    __array_ufunc__ = None  # so that NumPy leaves operators to us

    def __init__(self, m: DualArithmetic, value: Array, dot: Array) -> None:
        self.m, self.value, self.dot = m, value, dot

    def __neg__(self) -> Dual:
        return Dual(self.m, -self.value, -self.dot)

    def __abs__(self) -> Dual:
        return self.m.where(self < 0.0, -self, self)

    def __add__(self, other: Any) -> Dual:
        value, dot = _parts(other)
        return Dual(self.m, self.value + value, self.dot + dot)

    def __sub__(self, other: Any) -> Dual:
        value, dot = _parts(other)
        return Dual(self.m, self.value - value, self.dot - dot)

    def __rsub__(self, other: Any) -> Dual:
        return Dual(self.m, other - self.value, -self.dot)

    def __mul__(self, other: Any) -> Dual:
        if isinstance(other, Dual):
            return Dual(self.m, self.value * other.value, self.dot * other.value + self.value * other.dot)
        return Dual(self.m, self.value * other, self.dot * other)

    def __truediv__(self, other: Any) -> Dual:
        if isinstance(other, Dual):
            quotient = self.value / other.value
            return Dual(self.m, quotient, (self.dot - quotient * other.dot) / other.value)
        return Dual(self.m, self.value / other, self.dot / other)

    def __rtruediv__(self, other: Any) -> Dual:
        quotient = other / self.value
        return Dual(self.m, quotient, -((quotient * self.dot) / self.value))

    __radd__, __rmul__ = __add__, __mul__

    def __lt__(self, other: Any) -> Comparison:
        return self._compared(operator.lt, *_parts(other))

    def __le__(self, other: Any) -> Comparison:
        return self._compared(operator.le, *_parts(other))

    def __gt__(self, other: Any) -> Comparison:
        return self._compared(operator.gt, *_parts(other))

    def __ge__(self, other: Any) -> Comparison:
        return self._compared(operator.ge, *_parts(other))

    def _compared(self, holds: Callable[[Any, Any], Any], value: Any, dot: Any) -> Comparison:
        return Comparison(holds(self.value, value), self.value, (self.value == value) & (self.dot != dot))


def _parts(number: Any) -> tuple[Any, Any]:
    """The value and the dot, which is 0 of a constant."""
    return (number.value, number.dot) if isinstance(number, Dual) else (number, 0.0)
