"""Formulas as trees: shown with names or with the numbers in them, as text, LaTeX or MathML.

A tree is made by arithmetic on `Entry` and the like, or by giving them to the rules of `backprop_ref.formulas`, with
`Symbolic` as the arithmetic: then what is shown is what the code computes. An entry has an index, such as
j; ``show`` is told where each index stands, and where it is told nothing, letters remain.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from operator import add, mul, sub, truediv
from typing import Any

from numpy.lib.mixins import NDArrayOperatorsMixin

from backprop_ref.formulas import FUNCTIONS, SIGNS, Arithmetic

CASES, SUM, PRODUCT, ATOM = range(4)  # how tightly what is shown holds together
OPERATORS = SIGNS | {"matmul": "@"}
COMPARISONS = {"less": "<", "less_equal": "≤", "greater": ">", "greater_equal": "≥"}

Places = Mapping[str, int | str]
"""Where each index stands: at a number, or as another letter."""


class Node(NDArrayOperatorsMixin):
    """What can be shown; arithmetic on it makes larger ones."""

    def show(self, page: Any, at: Places) -> tuple[int, str]:
        """How tightly it holds together, and what it looks like on a page with each index where `at` has it."""
        raise NotImplementedError

    def value(self, place: int) -> float:
        """The number at a place of the index j."""
        raise NotImplementedError

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        name = ufunc.__name__
        if name in COMPARISONS:
            return Condition(inputs[0], COMPARISONS[name], inputs[1])
        if name == "negative":
            return Negative(self)
        return Call("abs", self) if name == "absolute" else Binary(node(inputs[0]), OPERATORS[name], node(inputs[1]))


def node(value):
    """A number as a tree."""
    return value if isinstance(value, Node) else Number(float(value))


@dataclass(frozen=True)
class Number(Node):
    """A number."""

    number: float

    def show(self, page, at):
        return page.number(self.number)

    def value(self, place):
        return self.number


@dataclass(frozen=True)
class Symbol(Node):
    """A name alone; `below` are its indices, or what else stands there."""

    name: str
    layer: int | None = None
    below: tuple[str, ...] = ()

    def show(self, page, at):
        return ATOM, page.symbol(self.name, self.layer, tuple(str(at.get(letter, letter)) for letter in self.below))


@dataclass(frozen=True)
class Entry(Node):
    """An entry of a vector or matrix: its name while an index is a letter, its number where all are known."""

    name: str
    layer: int | None
    values: Any
    indices: tuple[str, ...] = ("j",)

    def show(self, page, at):
        places = tuple(at.get(letter, letter) for letter in self.indices)
        if any(isinstance(place, str) for place in places):
            return ATOM, page.symbol(self.name, self.layer, tuple(map(str, places)))
        return page.number(float(self.values[places]))

    def value(self, place):
        """At a place of the index j, or at those of all indices."""
        return float(self.values[tuple(place[letter] for letter in self.indices) if isinstance(place, dict) else place])


@dataclass(frozen=True)
class Scalar(Node):
    """A name with a number; shown as that as soon as any index is known."""

    name: str
    number: float

    def show(self, page, at):
        known = any(not isinstance(place, str) for place in at.values())
        return page.number(self.number) if known else (ATOM, page.symbol(self.name, None, ()))

    def value(self, place):
        return self.number


@dataclass(frozen=True)
class Binary(Node):
    """A sum, difference, product or quotient; the right side keeps its parentheses, and so the order of rounding."""

    left: Node
    operator: str
    right: Node

    def show(self, page, at):
        holds = SUM if self.operator in "+-" else PRODUCT
        left, right = self.left.show(page, at), self.right.show(page, at)
        if self.operator == "/":
            return page.quotient(left, right)
        return holds, page.between(_held(page, left, holds), self.operator, _held(page, right, holds + 1))

    def value(self, place):
        left, right = self.left.value(place), self.right.value(place)
        return {"+": add, "-": sub, "*": mul, "/": truediv}[self.operator](left, right)


@dataclass(frozen=True)
class Power(Node):
    """A scalar to the power of another."""

    base: Scalar
    exponent: Scalar

    def show(self, page, at):
        return PRODUCT, page.power(self.base.show(page, at)[1], self.exponent.show(page, at)[1])


@dataclass(frozen=True)
class Negative(Node):
    """The negative of something."""

    of: Node

    def show(self, page, at):
        return SUM, page.negative(_held(page, self.of.show(page, at), PRODUCT))

    def value(self, place):
        return -self.of.value(place)

    def __abs__(self):
        return abs(self.of)


@dataclass(frozen=True)
class Call(Node):
    """A function of something: exp, log, log1p, tanh, sqrt or abs."""

    name: str
    of: Node

    def show(self, page, at):
        return ATOM, page.call(self.name, self.of.show(page, at)[1])

    def value(self, place):
        function = abs if self.name == "abs" else getattr(math, self.name)
        return float(function(self.of.value(place)))


@dataclass(frozen=True)
class Total(Node):
    """The sum of something over all `count` places of an index, which letters call `letter`; on top of `start`."""

    of: Node
    count: int
    index: str = "j"
    letter: str = "i"
    start: Node | None = None

    def show(self, page, at):
        begin = [] if self.start is None else [self.start.show(page, at)]
        if not any(isinstance(place, int) for place in at.values()):
            body = _held(page, self.of.show(page, {**at, self.index: self.letter}), PRODUCT)
            return SUM, _sum(page, [*begin, (PRODUCT, page.total(self.letter, body))])
        shown = self.count if self.count <= page.terms else max(1, page.terms - 1)
        terms = [*begin, *(self.of.show(page, {**at, self.index: place}) for place in range(shown))]
        if shown < self.count:
            terms.append((PRODUCT, page.more(self.count - shown)))
        return (SUM if len(terms) > 1 else terms[0][0]), _sum(page, terms)

    def value(self, place):
        begin = 0.0 if self.start is None else self.start.value(place)
        return sum((self.of.value(index) for index in range(self.count)), begin)


@dataclass(frozen=True)
class Largest(Node):
    """The largest entry of a vector."""

    of: Entry

    def show(self, page, at):
        if isinstance(at.get("j", "j"), str):
            return ATOM, page.call("max", page.symbol(self.of.name, self.of.layer, ()))
        return page.number(float(max(self.of.values)))


@dataclass(frozen=True)
class Condition:
    """A comparison of an entry, or its negative, with a number that may have a name."""

    left: Node
    operator: str
    limit: Any

    def show(self, page, at):
        return page.between(self.left.show(page, at)[1], self.operator, node(self.limit).show(page, at)[1])

    def other(self):
        """The comparison that holds where this one does not."""
        return Condition(self.left, {"≥": "<", ">": "≤", "≤": ">", "<": "≥"}[self.operator], self.limit)

    def holds(self, place):
        """Whether it is true at a place of the index j, or at those of all indices."""
        value, limit = self.left.value(place), node(self.limit).value(place)
        return {"≥": value >= limit, ">": value > limit, "≤": value <= limit, "<": value < limit}[self.operator]


@dataclass(frozen=True)
class Where(Node):
    """One of two, by a condition; with numbers, the one that counts."""

    condition: Condition
    yes: Node
    no: Node

    def show(self, page, at):
        place = at.get("j", "j")
        if not isinstance(place, str):
            yes = self.condition.holds(at if "k" in at else place)
            chosen, why = (self.yes, self.condition) if yes else (self.no, self.condition.other())
            return ATOM, page.chosen(chosen.show(page, at)[1], why.show(page, at))
        cases = (self.yes.show(page, at)[1], self.condition.show(page, at), self.no.show(page, at)[1])
        return CASES, page.cases(*cases)

    def value(self, place):
        return (self.yes if self.condition.holds(place) else self.no).value(place)


class Symbolic(Arithmetic):
    """The formulas over trees: an entry with index j stands for a row of a batch, of `count` entries."""

    def __init__(self, count):
        self.count = count

    def __getattr__(self, name):
        if name not in FUNCTIONS:
            raise AttributeError(name)
        return partial(Call, name)

    def total(self, x):
        return Total(x, self.count)

    def width(self, x):
        return Number(float(self.count))

    def largest(self, x):
        return Largest(x)

    def where(self, condition, yes, no):
        return Where(condition, node(yes), node(no))


@dataclass(frozen=True)
class Transposed(Node):
    """A matrix with rows and columns exchanged."""

    of: Node

    def show(self, page, at):
        return ATOM, page.transposed(self.of.show(page, at)[1])


def as_data(tree: Node) -> Any:
    """A tree as JSON: a number, a name, or a list of an operation and what it works on, for the page's script."""
    found: Any
    match tree:
        case Number(number):
            found = number
        case Entry(name) | Symbol(name):
            found = name
        case Binary(left, operator, right):
            found = [operator, as_data(left), as_data(right)]
        case Negative(of):
            found = ["negative", as_data(of)]
        case Call(name, of):
            found = [name, as_data(of)]
        case Total(of) | Largest(of):
            found = [type(tree).__name__.lower(), as_data(of)]
        case Where(condition, yes, no):
            compared = [condition.operator, as_data(condition.left), condition.limit]
            found = ["where", compared, as_data(yes), as_data(no)]
        case _:
            raise TypeError(f"{type(tree).__name__} has no form as data")
    return found


def replaced(tree: Any, by: Mapping[int, Node]) -> Any:
    """The tree with others, by the identity of each, in the places of some of its parts."""
    if id(tree) in by or not isinstance(tree, Node):
        return by.get(id(tree), tree)
    kind: Any = type(tree)
    return kind(**{name: replaced(part, by) for name, part in vars(tree).items()})


def elementwise(left, right):
    """The product of two matrices, entry by entry."""
    return Binary(left, "⊙", right)


def _sum(page, pieces):
    """Pieces with plus signs between, from left to right."""
    text = pieces[0][1]
    for piece in pieces[1:]:
        text = page.between(text, "+", _held(page, piece, PRODUCT))
    return text


def _held(page, piece, least):
    """What is shown, in parentheses if it does not hold together tightly enough."""
    holds, text = piece
    return text if holds >= least else page.parentheses(text)
