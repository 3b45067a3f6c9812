"""Expressions as statements of a language in which computing is written like C."""

from collections import Counter
from collections.abc import Mapping

from backprop_ref.formulas import COMPARISONS, FUNCTIONS, SIGNS

from .expressions import OVER_ROWS, Node

CHOICE, COMPARISON, SUM, PRODUCT, SIGN, ATOM = range(6)
"""How tightly an expression holds together."""
LEVELS = {"+": SUM, "-": SUM, "*": PRODUCT, "/": PRODUCT, **dict.fromkeys(COMPARISONS.values(), COMPARISON)}
OPERATORS = SIGNS | COMPARISONS


class Writer:
    """Statements for some results; in a row, ``j`` goes through its ``n_out`` entries.

    What is used more than once gets a name, so the text reads as one would write it by hand. As it stands it writes
    CUDA C; subclasses say what is otherwise in their language.
    """

    words: Mapping[str, str] = {"absolute": "abs_of"}
    """Operations that are called otherwise there."""
    loop = "for (integer j = {first}; j < n_out; ++j)"

    def __init__(self, results: tuple[Node, ...], kind: str, row: str | None = None) -> None:
        self.kind, self.row, self.lines, self.names = kind, row, list[str](), dict[Node, str]()
        self.uses: Counter[Node] = Counter()
        for result in results:
            self._count(result)
        self.results = [self.text(result) for result in results]

    def _count(self, node: Node) -> None:
        self.uses[node] += 1
        if self.uses[node] == 1:
            for part in node.parts:
                self._count(part)

    def text(self, node: Node, least: int = CHOICE) -> str:
        """The expression, in parentheses if it holds together less tightly than `least`."""
        if node not in self.names and node.parts and self.deserves_name(node):
            self._name(node)
        shown, level = (self.names[node], ATOM) if node in self.names else self._spelled(node)
        return shown if level >= least else f"({shown})"

    def _spelled(self, node: Node) -> tuple[str, int]:
        """The expression, whether or not it has a name, and how tightly it holds together."""
        operation, parts = node.operation, node.parts
        if operation == "leaf":
            return node.name, ATOM
        if operation == "number":
            return self.literal(node.number), ATOM
        if operation == "negative":
            return f"-{self.text(parts[0], SIGN)}", SIGN
        if operation == "where":
            condition, yes, no = parts
            return f"{self.text(condition, COMPARISON)} ? {self.text(yes)} : {self.text(no)}", CHOICE
        if operation in OPERATORS:
            return self.binary(OPERATORS[operation], *parts)
        return f"{self.words.get(operation, operation)}({', '.join(map(self.text, parts))})", ATOM

    def literal(self, value: float) -> str:
        """A number: a whole one as it is, others rounded once, from binary64."""
        return f"{self.kind}{{{int(value) if value == int(value) else f'(REAL){value.hex()}'}}}"

    def binary(self, sign: str, one: Node, other: Node) -> tuple[str, int]:
        """An operation on two, and how tightly it holds together."""
        level = LEVELS[sign]
        return f"{self.text(one, level)} {sign} {self.text(other, level + 1)}", level

    def declared(self, node: Node, name: str, value: str) -> str:
        """The statement that gives a value a name."""
        return f"{self.kind} {name} = {value};"

    def sum_of(self, name: str, term: str) -> list[str]:
        """The statements that sum a row, in order."""
        return [f"{self.kind} {name} = {{0}};", self.loop.format(first=0), f"    {name} = {name} + {term};"]

    def deserves_name(self, node: Node) -> bool:
        if node.operation in OVER_ROWS:
            return True
        if node.in_row:
            return self.uses[node] > 1 and node.operation in FUNCTIONS
        return self.uses[node] > 1 or (self.row is not None and node.operation in FUNCTIONS)

    def _name(self, node: Node) -> None:
        """Writes the statement that computes a node; a row of them goes where the result will stand."""
        over_row = node.operation in OVER_ROWS
        shown = self.text(node.parts[0], PRODUCT) if over_row else self._spelled(node)[0]
        called = "part" if node.operation in {*OPERATORS, "absolute"} else node.operation
        name = f"{called}_{len(self.names)}"
        if node.operation == "total":
            self.lines += self.sum_of(name, shown)
        elif node.operation == "largest":
            self.lines.append(self.declared(node, name, shown.replace("[j]", "[0]")))
            self.lines += [self.loop.format(first=1), f"    {name} = {shown} > {name} ? {shown} : {name};"]
        elif node.in_row:
            assert self.row is not None and self.row not in self.names.values(), "one row of them, and no more"
            name = self.row
            self.lines += [self.loop.format(first=0), f"    {name} = {shown};"]
        else:
            self.lines.append(self.declared(node, name, shown))
        self.names[node] = name
