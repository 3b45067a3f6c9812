"""Objects that go back by themselves: the gradient of each operation beside the difference of what it computes."""

import contextlib
import inspect
import operator
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

BINARY = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "@": operator.matmul}
UNARY: dict[str, Callable[[Any], Any]] = {
    **{f"** {n}": lambda a, n=n: a**n for n in (2, 3, -1)},  # type: ignore[misc]
    "-a": operator.neg,
}
VALUES = (0.7, 1.3, -0.6)
STEP = 1e-6


def wrong_operations(box: type, arrays: bool) -> dict[str, tuple[float, float]]:
    """What gives another gradient than due: the gradient, and the difference of values that it should be.

    Each operation by itself, then after another one, so that what comes from above counts, then with an operand that
    is used twice, so that its gradients are added.
    """
    found: dict[str, tuple[float, float]] = {}
    plus, times = operator.add, operator.mul
    for name, function, n in _operations(box, arrays):
        for place in range(n):
            operand = f"{name}, operand {place + 1}" if n > 1 else name
            ways: dict[str, Callable[..., Any]] = {
                "": lambda a, b, c, f=function: f(a, b),
                ", what comes from above": lambda a, b, c, f=function: times(f(a, b), c),
                ", of an operand used twice": lambda a, b, c, f=function: plus(f(a, b), f(a, b)),
            }
            for words, way in ways.items():
                pair = _pair(box, arrays, way, place)
                if pair is not None and not _close(*pair):
                    found[operand + words] = pair
                    break
    alone = {name: pair for name, pair in found.items() if ", what" not in name and ", of an" not in name}
    basic = [{name: pair for name, pair in some.items() if name.startswith(("+", "*,"))} for some in (alone, found)]
    return next(filter(None, (*basic, alone, found)), {})  # the others are made with + and *


def _operations(box, arrays) -> Iterator[tuple[str, Any, int]]:
    """Those of two objects, and of one: powers and methods without arguments that give another one."""
    for name, function in BINARY.items():
        if name != "@" or arrays:
            yield name, function, 2
    for name, alone in {**UNARY, **_methods(box)}.items():
        yield name, lambda a, b, f=alone: f(a), 1


def _methods(box):
    """Those that need no argument."""
    found = {name: one for name, one in vars(box).items() if inspect.isfunction(one) and not name.startswith("_")}
    taken = {name: list(inspect.signature(one).parameters.values())[1:] for name, one in found.items()}
    plain = [name for name, some in taken.items() if all(one.default is not one.empty for one in some)]
    return {name: found[name] for name in plain if name not in {"backward", "zero_grad"}}


def _pair(box, arrays, way, place):
    """The gradient of one operand, and the difference quotient; None where either cannot be had."""

    def made(values):
        operands = [box(np.full((2, 2), value) + np.eye(2) / 8.0 if arrays else value) for value in values]
        out = way(*operands)
        out = out.sum() if arrays and np.size(out.data) > 1 else out
        return operands, out

    for values in (VALUES, VALUES[::-1]):
        with contextlib.suppress(Exception):
            operands, out = made(values)
            if not isinstance(out, box) or any(out is one for one in operands):
                return None
            out.backward()
            ends = []
            for step in (STEP, -STEP):
                moved = list(values)
                moved[place] += step
                ends.append(float(np.sum(made(moved)[1].data)))
            due = (ends[0] - ends[1]) / (2.0 * STEP)
            grad = operands[place].grad
            got = 0.0 if grad is None else float(np.sum(grad))
            if not _close(got, due) or values[0] < 0.0:
                return got, due
    return None


def _close(one, two):
    return bool(np.isclose(one, two, rtol=1e-4, atol=1e-6))
