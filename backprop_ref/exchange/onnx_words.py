"""The words of the formulas in operators that ONNX has."""

from backprop_ref.formulas import Arithmetic
from backprop_ref.kernels.expressions import WORDS, Node
from backprop_ref.kernels.plain_code import elementary

NATIVE = {"sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "Relu", "softmax": "Softmax", "linear": "Identity"}
OPERATORS = {
    "add": "Add",
    "subtract": "Sub",
    "multiply": "Mul",
    "divide": "Div",
    "absolute": "Abs",
    "negative": "Neg",
    "less": "Less",
    "less_equal": "LessOrEqual",
    "greater": "Greater",
    "greater_equal": "GreaterOrEqual",
    "where": "Where",
    "exp": "Exp",
    "log": "Log",
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
    "sqrt": "Sqrt",
    "erf": "Erf",
}
"""ONNX's names of operations."""


class Words(Arithmetic):
    """The words of the formulas, as nodes of operators that ONNX has."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype
        self.where, self.exp, self.log, self.tanh = WORDS.where, WORDS.exp, WORDS.log, WORDS.tanh

    def sigmoid(self, z: Node) -> Node:
        """ONNX has it."""
        return Node("sigmoid", z)

    def expm1(self, x: Node) -> Node:
        """exp(x) − 1 = 2t/(1 − t) with t = tanh(x/2), for x ≤ 0 without cancellation."""
        t = Node("tanh", 0.5 * x)
        quotient: Node = (t + t) / (1.0 - t)
        return quotient

    def log1p(self, x: Node) -> Node:
        """log(1 + x) = x·log(u)/(u − 1), u = 1 + x rounded, and x where u is 1 (Kahan; Goldberg 1991, theorem 4)."""
        u = 1.0 + x
        grown = u > 1.0
        quotient = Node("log", u) / WORDS.where(grown, u - 1.0, 1.0)
        return WORDS.where(grown, x * quotient, x)

    def erf(self, x: Node) -> Node:
        """ONNX's in float32; few runtimes have one of float64, so there the project's own is the graph."""
        return Node("erf", x) if self.dtype == "float32" else replaced(elementary(self.dtype)["erf"], x)


def replaced(expression: Node, x: Node) -> Node:
    """An expression of x, of another x."""
    made: dict[Node, Node] = {}

    def of(part: Node) -> Node:
        if part not in made:
            new = [of(each) for each in part.parts]
            made[part] = x if part.operation == "leaf" else Node(part.operation, *new, number=part.number)
        return made[part]

    return of(expression)
