"""Reading the ONNX graphs of other exporters: what has to be a chain of layers, and the names of activations."""

from __future__ import annotations

import math
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from backprop_ref.errors import InvalidInput
from backprop_ref.exchange.models import made
from backprop_ref.exchange.onnx_words import NATIVE, Words
from backprop_ref.formulas import ACTIVATIONS, SELU_ALPHA, SELU_SCALE
from backprop_ref.kernels.expressions import Node, leaf, node, parts_of
from backprop_ref.network import Network
from backprop_ref.network.model_file import Model

PASSES = {"Identity", "Dropout", "Cast", "Flatten", "Reshape", "Squeeze"}
"""What changes no number when a network is used."""
ELEMENTWISE = {
    "Add": "add",
    "Sub": "subtract",
    "Mul": "multiply",
    "Div": "divide",
    "Abs": "absolute",
    "Neg": "negative",
    "Less": "less",
    "LessOrEqual": "less_equal",
    "Greater": "greater",
    "GreaterOrEqual": "greater_equal",
    "Where": "where",
    "Exp": "exp",
    "Log": "log",
    "Tanh": "tanh",
    "Sigmoid": "sigmoid",
    "Erf": "erf",
    "Pow": "power",
    "Relu": "relu",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "Mish": "mish",
    "Max": "maximum",
    "Sqrt": "sqrt",
}
OPERATORS = {*ELEMENTWISE, "Softmax", "LeakyRelu", "Elu", "Gelu", "Clip", "HardSigmoid", "Selu", "Swish"}
"""What can be read."""
DIGITS = {"float64": 15, "float32": 7}
"""Of a constant, so many are what the dtype holds."""


class Layer(NamedTuple):
    """A layer of a chain, and what comes before it."""

    W: np.ndarray[Any, Any]
    b: np.ndarray[Any, Any] | None
    before: Layer | None
    activation: str
    """Of the layer before."""


class Chain(NamedTuple):
    """What a value of the graph is: a function of z of a layer, or of x, where there is none."""

    layer: Layer | None
    expression: Node


def layers(onnx: Any, proto: Any, path: Path, network: Network | None, preprocessing: dict[str, Any] | None) -> Model:
    """The model of a graph.

    Raises
    ------
    InvalidInput
        It is no chain of layers; the message names the node.
    """
    graph = proto.graph
    try:
        values: dict[str, Any] = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    except (KeyError, TypeError, ValueError) as error:
        said = " ".join(str(error).split())[:80]
        raise InvalidInput(
            f"{path}: weights of a type or shape that cannot be read ({said}); export it again"
        ) from None
    inputs = [each.name for each in graph.input if each.name not in values]
    outputs = [each.name for each in graph.output]
    if len(inputs) != 1 or len(outputs) != 1:
        many = f"{len(inputs)} inputs ({', '.join(inputs)}) and {len(outputs)} outputs ({', '.join(outputs)})"
        raise InvalidInput(
            f"{path}: {many}; a network has one of each. A classifier of scikit-learn is read by br.from_sklearn"
        )
    values[inputs[0]] = Chain(None, leaf("x"))
    for each in graph.node:
        settings = {one.name: onnx.helper.get_attribute_value(one) for one in each.attribute}
        reader = _Reader(path, each, settings, [values.get(name) for name in each.input if name], onnx)
        values[each.output[0]] = reader.value()
        for name in each.output[1:]:
            values[name] = None
    last = values.get(outputs[0])
    if not isinstance(last, Chain) or last.layer is None:
        raise InvalidInput(f"{path}: its output {outputs[0]} does not come from a layer with weights")
    activations = [_activation(path, last, "its output")]
    found = [last.layer]
    while found[-1].before is not None:
        activations.append(found[-1].activation)
        found.append(found[-1].before)
    found, activations = found[::-1], activations[::-1]
    Ws = [layer.W for layer in found]
    bs = [np.zeros(layer.W.shape[1], layer.W.dtype) if layer.b is None else layer.b for layer in found]
    _check_width(path, next(each for each in graph.input if each.name == inputs[0]), Ws[0])
    return made(path, Ws, bs, activations, network, preprocessing)


def _check_width(path: Path, x: Any, W: np.ndarray[Any, Any]) -> None:
    """A reshape in the graph may make several rows of one, which no network does."""
    widths = [each.dim_value for each in x.type.tensor_type.shape.dim[1:]]
    if all(widths) and math.prod(widths) != W.shape[0]:
        raise InvalidInput(f"{path}: its rows have {math.prod(widths)} numbers, and its first layer takes {W.shape[0]}")


class _Reader:
    """One node of a graph, and what its inputs are."""

    def __init__(self, path: Path, each: Any, settings: dict[str, Any], inputs: list[Any], onnx: Any) -> None:
        self.path, self.kind, self.settings, self.inputs, self.onnx = path, each.op_type, settings, inputs, onnx
        self.domain = each.domain
        self.left_out = "" in each.input
        self.called = f"node {each.name or each.output[0]} ({each.op_type})"
        self.chains = [value for value in inputs if isinstance(value, Chain)]

    def refuse(self, why: str) -> InvalidInput:
        return InvalidInput(f"{self.path}: {self.called} {why}")

    def value(self) -> Any:
        """What it gives: an array, where it is a constant, or a `Chain`."""
        if self.domain not in {"", "ai.onnx"} and (self.domain, self.kind) != ("com.microsoft", "Gelu"):
            raise self.refuse(f"is of {self.domain}, whose operators are not known")
        if self.kind == "Constant":
            return self._constant()
        if any(value is None for value in self.inputs):
            raise self.refuse("works on what is no number of a chain of layers")
        if not self.chains:
            try:
                return self._folded()
            except ValueError as error:
                raise self.refuse(f"cannot be computed ({error})") from None
        layers = {id(chain.layer) for chain in self.chains}
        if len(layers) > 1:
            raise self.refuse("joins branches of the graph: a network is a chain of layers")
        if self.kind in {"Gemm", "MatMul"}:
            return self._affine()
        if self.kind in PASSES:
            return self._passed()
        if self.kind == "Add" and len(self.chains) == 1 and self._is_bias():
            layer = self.chains[0].layer
            other = next(value for value in self.inputs if not isinstance(value, Chain))
            return Chain(layer._replace(b=other.reshape(-1)), leaf("z"))  # type: ignore[union-attr]
        return Chain(self.chains[0].layer, self._expression())

    def _constant(self) -> Any:
        for name, value in self.settings.items():
            if name == "value":
                return self.onnx.numpy_helper.to_array(value)
            if name in {"value_float", "value_int", "value_floats", "value_ints"}:
                return np.asarray(value, np.float32 if "float" in name else np.int64)
        raise self.refuse("holds no number")

    def _folded(self) -> Any:
        """What a few operations make of constants."""
        if (
            self.kind == "Transpose"
            and np.ndim(self.inputs[0]) == 2
            and list(self.settings.get("perm", [1, 0])) == [1, 0]
        ):
            return self.inputs[0].T
        if self.kind in {"Identity", "Squeeze"}:
            return self.inputs[0].reshape(-1) if self.kind == "Squeeze" else self.inputs[0]
        if self.kind == "Concat":
            return np.concatenate(self.inputs, axis=self.settings["axis"])
        if self.kind == "Reshape" and self.inputs[1].all():
            return self.inputs[0].reshape(self.inputs[1])
        raise self.refuse("computes with constants, which is not looked into; simplify the graph")

    def _affine(self) -> Chain:
        if not isinstance(self.inputs[0], Chain) or len(self.chains) != 1:
            raise self.refuse("has weights that are no constant, or on the left")
        s = self.settings
        if s.get("alpha", 1.0) != 1.0 or s.get("beta", 1.0) != 1.0 or s.get("transA", 0):
            raise self.refuse("has alpha, beta or transA, which a layer has not")
        W = np.asarray(self.inputs[1])
        if W.ndim != 2:
            raise self.refuse(f"has weights of shape {W.shape}; a layer's are a matrix")
        W = W.T if s.get("transB", 0) else W
        if len(self.inputs) > 2 and not _is_row(self.inputs[2]):
            raise self.refuse(f"has a bias of shape {np.shape(self.inputs[2])}, which differs from row to row")
        b = np.asarray(self.inputs[2]).reshape(-1) if len(self.inputs) > 2 else None
        b = np.full(W.shape[1], b[0], W.dtype) if b is not None and b.size == 1 else b
        before, activation = self.chains[0].layer, _activation(self.path, self.chains[0], f"before {self.called}")
        if before is None and activation != "linear":
            raise self.refuse(f"has {activation} of the input before it; let the first layer see x itself")
        return Chain(Layer(W, b, before, activation), leaf("z"))

    def _is_bias(self) -> bool:
        chain = self.chains[0]
        other = next(value for value in self.inputs if not isinstance(value, Chain))
        plain = chain.layer is not None and chain.layer.b is None and chain.expression.operation == "leaf"
        width = chain.layer.W.shape[1] if plain else None  # type: ignore[union-attr]
        return _is_row(other) and np.size(other) == width

    def _passed(self) -> Chain:
        chain: Chain = self.inputs[0]
        if self.kind == "Flatten" and self.settings.get("axis", 1) not in (1, -1):
            raise self.refuse("changes the rows")
        if self.kind == "Cast" and self.settings["to"] not in (1, 11):
            raise self.refuse("goes to a type that is neither float32 nor float64")
        if self.kind == "Reshape":
            shape = np.asarray(self.inputs[1]).tolist()
            width = None if chain.layer is None else chain.layer.W.shape[1]
            if len(shape) != 2 or (width is not None and shape[1] not in (width, -1)):
                raise self.refuse(f"to {shape} changes the rows")
        if self.kind == "Squeeze":
            raise self.refuse("changes the rows")
        return chain

    def _expression(self) -> Node:  # noqa: PLR0911, PLR0912 (an operator each)
        """The node as an operation on expressions."""
        if self.kind not in OPERATORS:
            raise self.refuse("is no operator of a multi-layer perceptron")
        parts = [value.expression if isinstance(value, Chain) else self._scalar(value) for value in self.inputs]
        s, dtype = self.settings, self._dtype()
        if self.kind in ELEMENTWISE:
            return Node(ELEMENTWISE[self.kind], *parts)
        if self.kind == "Softmax":
            if s.get("axis", -1) not in (1, -1):
                raise self.refuse(f"is over axis {s['axis']}; over the outputs it is 1")
            return Node("softmax", *parts)
        if self.kind in {"LeakyRelu", "Elu"}:
            number = s.get("alpha", 0.01 if self.kind == "LeakyRelu" else 1.0)
            number = float(np.float32(number)) if dtype == "float64" else float(str(np.float32(number)))
            name = "leaky_relu" if self.kind == "LeakyRelu" else "elu"
            if f"{name}({number!r})" not in ACTIVATIONS:
                raise self.refuse(f"has alpha {number:g}; that of {name} is above 0 here")
            return Node(ACTIVATIONS.spelled(f"{name}({number!r})"), *parts)
        if self.kind == "Gelu":
            return Node("gelu_tanh" if s.get("approximate", b"none") == b"tanh" else "gelu", *parts)
        if self.kind == "Clip":
            low = parts[1].number if len(parts) > 1 else s.get("min", -math.inf)
            if len(parts) > 2 or s.get("max", math.inf) < 3e38 or low != 0.0 or self.left_out:
                raise self.refuse("has bounds that are no activation here")
            return Node("relu", parts[0])
        if self.kind == "HardSigmoid":
            alpha, beta = s.get("alpha", 0.2), s.get("beta", 0.5)
            if (np.float32(alpha), beta) != (np.float32(1.0 / 6.0), 0.5):
                raise self.refuse(f"has slope {alpha:g}; the hard_sigmoid here has 1/6")
            self._only_single("1/6")
            return Node("hard_sigmoid", *parts)
        if self.kind == "Swish" and s.get("alpha", 1.0) != 1.0:
            raise self.refuse(f"has alpha {s['alpha']:g}; the silu here has 1")
        if self.kind == "Selu":
            if {"alpha", "gamma"} & s.keys() and not _usual_selu(s):
                raise self.refuse("has other constants than SELU")
            self._only_single("its constants")
            return Node("selu", *parts)
        return Node("silu", *parts)

    def _only_single(self, what: str) -> None:
        if self._dtype() == "float64":
            raise self.refuse(f"holds {what} in float32, in a graph of float64; convert the graph to float32")

    def _dtype(self) -> str:
        layer = self.chains[0].layer
        return "float32" if layer is None else layer.W.dtype.name

    def _scalar(self, value: Any) -> Node:
        if np.size(value) != 1:
            raise self.refuse(f"has a constant of shape {np.shape(value)}: each output its own is no activation")
        return node(float(np.asarray(value).reshape(-1)[0]))


def _is_row(array: Any) -> bool:
    """Whether it adds the same to each row of a batch."""
    return np.size(array) == np.shape(array)[-1] if np.ndim(array) else True


def _usual_selu(settings: dict[str, Any]) -> bool:
    pairs = ((settings.get("alpha", SELU_ALPHA), SELU_ALPHA), (settings.get("gamma", SELU_SCALE), SELU_SCALE))
    return all(np.float32(one) == np.float32(other) for one, other in pairs)


def _activation(path: Path, chain: Chain, where: str) -> str:
    """The name of a function of z."""
    expression = chain.expression
    if expression.operation == "leaf":
        return "linear"
    dtype = "float32" if chain.layer is None else chain.layer.W.dtype.name
    if expression.operation in ACTIVATIONS and expression.parts[0].operation == "leaf":
        return ACTIVATIONS.spelled(expression.operation)
    try:
        shown = canonical(expression, dtype)
    except (ArithmeticError, RecursionError):
        raise InvalidInput(f"{path}: {where} is too deep or too large a formula, which is no activation here") from None
    known = _known(dtype, tuple(ACTIVATIONS))
    if shown in known:
        return known[shown]
    for family in ACTIVATIONS.families:
        for number in _numbers(expression, dtype):
            name = f"{family}({number!r})"
            if name in ACTIVATIONS and canonical(_written(name, dtype), dtype) == shown:
                return ACTIVATIONS.spelled(name)
    raise InvalidInput(f"{path}: {where} is {shown[:100]}, which is no activation here")


def _numbers(expression: Node, dtype: str) -> set[float]:
    """The constants in an expression, those of float32 in the fewest digits."""
    found = {part.number for part in parts_of(expression) if part.operation == "number"}
    return {float(str(np.float32(number))) for number in found} if dtype == "float32" else found


def _written(name: str, dtype: str) -> Node:
    """An activation as this project writes it."""
    return node(ACTIVATIONS[name].forward(Words(dtype), leaf("z")))


@cache
def _known(dtype: str, names: tuple[str, ...]) -> dict[str, str]:
    """The activations that exporters write out, and those of this project, by their canonical form."""
    z = leaf("z")
    half = 0.5 * z
    root, cubic = math.sqrt(0.5), math.sqrt(2.0 / math.pi)
    written = {
        "silu": z * Node("sigmoid", z),
        "mish": z * Node("tanh", Node("softplus", z)),
        "gelu": half * (1.0 + Node("erf", z * root)),
        "gelu_tanh": half * (1.0 + Node("tanh", cubic * (z + 0.044715 * (z * z * z)))),
        "relu": Node("maximum", z, node(0.0)),
        "softsign": z / (1.0 + abs(z)),
    }
    known = {canonical(expression, dtype): name for name, expression in written.items()}
    for seam in (20.0, 40.0) if dtype == "float32" else (40.0,):  # torch's, from which on softplus is z to rounding
        known[canonical(Node("where", z > seam, z, Node("softplus", z)), dtype)] = "softplus"
    for name in names:
        if name not in NATIVE and not ACTIVATIONS[name].by_rows:
            known[canonical(_written(name, dtype), dtype)] = name
    return known


def canonical(expression: Node, dtype: str) -> str:
    """An expression as text, the same whatever the order of factors and summands, constants to what the dtype holds."""
    number = np.dtype(dtype).type

    def constant(value: float) -> str:
        return f"{float(number(value)):.{DIGITS[dtype]}g}"

    def of(part: Node) -> str:
        if part.operation == "leaf":
            return "z"
        if part.operation == "number":
            return constant(part.number)
        if part.operation in {"multiply", "divide", "power"}:
            by, factors = product(part)
            texts = sorted(f"{text}^{power}" if power != 1 else text for text, power in factors.items() if power)
            return f"({'·'.join([constant(by)] * (by != 1.0) + texts)})"
        if part.operation in {"add", "subtract"}:
            return f"({'+'.join(sorted(summands(part)))})"
        return f"{part.operation}({','.join(map(of, part.parts))})"

    def product(part: Node) -> tuple[float, Counter[str]]:
        """The constant factor, and the powers of the others."""
        if part.operation == "number":
            return part.number, Counter()
        if part.operation in {"multiply", "divide"}:
            (by, one), (other_by, other) = map(product, part.parts)
            sign = 1 if part.operation == "multiply" else -1
            total = Counter(one)
            for text, power in other.items():
                total[text] += sign * power
            return (by * other_by if sign == 1 else by / other_by), total
        if part.operation == "power" and part.parts[1].number in (2.0, 3.0):
            by, factors = product(part.parts[0])
            n = int(part.parts[1].number)
            return by**n, Counter({text: n * power for text, power in factors.items()})
        return 1.0, Counter({of(part): 1})

    def summands(part: Node, sign: str = "") -> list[str]:
        if part.operation == "add":
            return [*summands(part.parts[0], sign), *summands(part.parts[1], sign)]
        if part.operation == "subtract":
            return [*summands(part.parts[0], sign), *summands(part.parts[1], "" if sign else "-")]
        return [sign + of(part)]

    return of(expression)
