"""Rules and elementary functions as functions of single numbers, for compiled code: one function per rule."""

from collections.abc import Callable
from functools import cache
from typing import Any

from numba.core import types

from .compiling import compiled
from .elementary import Elementary
from .registers import Instructions, written


def function(dtype: str, rule: Callable[..., Any], names: str = "x") -> Any:
    """A rule ``rule(m, *numbers)`` as a function of numbers of a dtype, for compiled code; `names` are theirs."""

    def write(builder: Any, *values: Any) -> Any:
        (found,) = Instructions(builder, dtype).evaluated(rule, list(values))
        return found

    return written(names, write, getattr(types, dtype))


@cache
def functions(dtype: str) -> Elementary:
    """exp, log, log1p, expm1, tanh, erf and cospi of one number, compiled; to be called from Python for a check.

    Error: as in ``elementary.py``, and the same bits.
    """

    def called(name: str) -> Any:
        inner = function(dtype, lambda m, x: getattr(m.functions, name)(x))
        return compiled(lambda x: inner(x))  # noqa: PLW0108 (an intrinsic is no function)

    return Elementary(*map(called, Elementary._fields))
