"""Rules of `backprop_ref.formulas` as expressions, to be written in another language or cut into passes over rows."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from backprop_ref.formulas import FUNCTIONS, Arithmetic

OVER_ROWS = ("total", "largest")


class Node(NDArrayOperatorsMixin):
    """An expression: a number, a leaf with its name, or an operation, named like NumPy's, on others.

    `in_row`: whether it differs along a row.
    """

    __eq__, __hash__ = object.__eq__, object.__hash__

    def __init__(self, operation: str, *parts: "Node", name: str = "", number: float = 0.0, in_row: bool = False):
        self.operation, self.parts, self.name, self.number = operation, parts, name, number
        self.in_row: bool = in_row or (operation not in OVER_ROWS and any(part.in_row for part in parts))

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> "Node":
        return Node(ufunc.__name__, *map(node, inputs))

    def __repr__(self) -> str:
        return f"{self.operation}({', '.join(map(repr, self.parts)) or self.name or self.number})"


def node(value: Node | float) -> Node:
    """A number as an expression."""
    return value if isinstance(value, Node) else Node("number", number=value)


def leaf(name: str, in_row: bool = False) -> Node:
    """A variable."""
    return Node("leaf", name=name, in_row=in_row)


def parts_of(expression: Node) -> Iterator[Node]:
    """An expression, its parts, and theirs."""
    yield expression
    for part in expression.parts:
        yield from parts_of(part)


def leaves(expression: Node) -> set[str]:
    """The names of the variables in an expression."""
    return {part.name for part in parts_of(expression) if part.operation == "leaf"}


class _Words(Arithmetic):
    """The words of the formulas, as nodes."""

    def __getattr__(self, name: str) -> Callable[[Node], Node]:
        if name not in {*FUNCTIONS, *OVER_ROWS}:
            raise AttributeError(name)
        return lambda x: Node(name, x)

    def width(self, x: Node) -> Node:
        return Node("total", node(1.0))

    def where(self, condition: Node, yes: Node | float, no: Node | float) -> Node:
        return Node("where", condition, node(yes), node(no))


WORDS = _Words()


def evaluated(expression: Node, m: Any, values: Mapping[str, Any]) -> Any:
    """What an expression comes to in the arithmetic m, with values for its variables."""
    if expression.operation == "leaf":
        return values[expression.name]
    if expression.operation == "number":
        return expression.number
    function = getattr(m, expression.operation, None) or getattr(np, expression.operation)
    return function(*(evaluated(part, m, values) for part in expression.parts))
