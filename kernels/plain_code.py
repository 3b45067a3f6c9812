"""Activations, and the elementary functions that they call, in C99 and JavaScript: the bits of reproducible numerics.

The functions are those of `elementary`, evaluated on expressions; the rules are those of `backprop_ref.formulas`.
Nothing of either is written here again.
"""

import re
import textwrap
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, ClassVar

import numpy as np

from backprop_ref.formulas import ACTIVATIONS, FUNCTIONS, SIGNS

from .elementary import CONSTANTS, FORMAT, Primitives, build
from .expressions import WORDS, Node, leaf, node
from .writing import Writer

ARITHMETIC = set(SIGNS.values())
WIDEST = 110
"""Letters in a line."""


@cache
def elementary(dtype: str) -> Mapping[str, Node]:
    """The functions of `elementary` as expressions of x; where one calls another, that is an operation."""
    magic = float.fromhex(CONSTANTS[dtype]["magic"])
    bodies: dict[str, Any] = {}

    def compile(function: Any) -> Any:
        name = function.__name__
        if name not in FUNCTIONS:
            return function
        bodies[name] = function
        return lambda x: Node(name, x)

    def scale(x: Any, n: Any) -> Node:
        return Node("scale", node(x), node(n))

    def exponent(x: Node) -> Node:
        return Node("exponent", x)

    build(
        Primitives(WORDS.where, lambda x: (x + magic) - magic, scale, exponent, WORDS.sqrt), dtype, compile, passes=True
    )
    return {name: body(leaf("x")) for name, body in bodies.items()}


class Plain(Writer):
    """A language's numbers, and how a function is written in it."""

    functions: ClassVar[Mapping[str, str]]
    """Of what is needed besides, the text by name."""

    def __init__(self, results: tuple[Node, ...], dtype: str, row: str | None = None) -> None:
        self.dtype = dtype
        super().__init__(results, self.number_type(dtype), row)

    @classmethod
    def number_type(cls, dtype: str) -> str:
        """The type of a number."""
        raise NotImplementedError

    @classmethod
    def function(cls, name: str, arguments: Mapping[str, str], lines: list[str]) -> str:
        """A function; its arguments by name, each number, row or count."""
        raise NotImplementedError

    def rounded(self, value: float) -> float:
        """A constant in the precision."""
        return float(np.dtype(self.dtype).type(value))


class C(Plain):
    """C99."""

    words: Mapping[str, str] = {name: f"{name}_of" for name in FUNCTIONS}
    loop = "for (int j = {first}; j < n_out; ++j)"
    functions: ClassVar[Mapping[str, str]] = {
        "absolute": "static real absolute(real x) {{ return x > 0 ? x : 0 - x; }}\n",
        "scale": """/* x times 2 to the power of n */
static real scale(real x, real n)
{{
    const {bits} field = ({bits})((int32_t)n + {bias}) << {field};
    real power;
    memcpy(&power, &field, sizeof power);
    return x * power;
}}
""",
        "exponent": """/* the largest n for which 2 to the power of n is no more than x */
static real exponent(real x)
{{
    {bits} field;
    memcpy(&field, &x, sizeof field);
    return (real)((int32_t)(field >> {field}) - {bias});
}}
""",
    }

    @classmethod
    def number_type(cls, dtype: str) -> str:
        return "real"

    @classmethod
    def function(cls, name: str, arguments: Mapping[str, str], lines: list[str]) -> str:
        types = {"number": "real {}", "row": "const real *{}", "result": "real *{}", "count": "int {}"}
        listed = ", ".join(types[kind].format(each) for each, kind in arguments.items())
        gives = "void" if "result" in arguments.values() else "real"
        return f"static {gives} {cls.words.get(name, f'{name}_of')}({listed})\n{{\n{_indented(lines)}}}\n"

    def literal(self, value: float) -> str:
        value = self.rounded(value)
        if np.isinf(value):
            return "INFINITY" if value > 0 else "(-INFINITY)"
        if np.isnan(value):
            return "NAN"
        shown = c_number(value, self.dtype)
        return f"({shown})" if shown.startswith("-") else shown

    def declared(self, node: Node, name: str, value: str) -> str:
        if node.operation == "largest":
            return f"real {name} = {value};"
        return f"const {'int' if _is_condition(node) else 'real'} {name} = {value};"

    def sum_of(self, name: str, term: str) -> list[str]:
        return [f"real {name} = 0;", self.loop.format(first=0), f"    {name} = {name} + {term};"]


class JavaScript(Plain):
    """JavaScript, whose numbers are binary64; binary32 by rounding after each operation."""

    words: Mapping[str, str] = {"absolute": "Math.abs"}
    loop = "for (let j = {first}; j < n_out; ++j)"
    functions: ClassVar[Mapping[str, str]] = {
        "scale": """const bits = new DataView(new ArrayBuffer(8));

// x times 2 to the power of n
function scale(x, n) {{
  bits.setUint32(0, (n + 1023) << 20);
  bits.setUint32(4, 0);
  return {round}(x * bits.getFloat64(0));
}}
""",
        "exponent": """// the largest n for which 2 to the power of n is no more than x
function exponent(x) {{
  bits.setFloat64(0, x);
  return (bits.getUint32(0) >>> 20) - 1023;
}}
""",
    }

    @classmethod
    def number_type(cls, dtype: str) -> str:
        return "const"

    @classmethod
    def function(cls, name: str, arguments: Mapping[str, str], lines: list[str]) -> str:
        return f"function {name}({', '.join(arguments)}) {{\n{_indented(lines, 2)}}}\n"

    def literal(self, value: float) -> str:
        shown = number(self.rounded(value))
        return f"({shown})" if shown.startswith("-") else shown

    def binary(self, sign: str, one: Node, other: Node) -> tuple[str, int]:
        shown, level = super().binary(sign, one, other)
        if self.dtype == "float32" and sign in ARITHMETIC:
            return f"fround({shown})", 5
        return shown, level

    def declared(self, node: Node, name: str, value: str) -> str:
        return f"{'let' if node.operation == 'largest' else 'const'} {name} = {value};"

    def sum_of(self, name: str, term: str) -> list[str]:
        added = f"{name} + {term}"
        return [
            f"let {name} = 0;",
            self.loop.format(first=0),
            f"  {name} = {f'fround({added})' if self.dtype == 'float32' else added};",
        ]


def c_number(value: float, dtype: str) -> str:
    """A finite number of a dtype as C99 reads it, exactly."""
    few = value == int(value) and abs(value) < 1000
    shown = f"{value:.1f}" if few else re.sub(r"\.?0*p", "p", value.hex())
    return f"{shown}f" if dtype == "float32" else shown


def number(value: float) -> str:
    """A number as JavaScript reads it, in the fewest digits."""
    if np.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if np.isnan(value):
        return "NaN"
    return (
        f"{int(value)}"
        if value == int(value) and abs(value) < 1000 and (value or not np.signbit(value))
        else repr(value)
    )


def _is_condition(node: Node) -> bool:
    return node.operation in {"less", "less_equal", "greater", "greater_equal"}


def _indented(lines: list[str], by: int = 4) -> str:
    found = []
    for line in lines:
        before = " " * (by + len(line) - len(line.lstrip()))
        wrapped = textwrap.wrap(line.lstrip(), WIDEST - len(before), break_long_words=False, break_on_hyphens=False)
        found += [before + " " * (by if i else 0) + each for i, each in enumerate(wrapped)]
    return "".join(f"{line}\n" for line in found)


def functions(language: type[Plain], names: Iterable[str], dtype: str) -> str:
    """Each of some activations as a function, after the functions that they call, each once.

    Of a single neuron, ``f(z)`` gives a; over rows, ``f(z_j, a_j, n_out)`` writes a.
    """
    rules = {name: _rule(name) for name in names}
    whole = {name for name in rules if name in FUNCTIONS}  # tanh, which is a function already
    bodies = elementary(dtype)
    needed = _needed([expression for expression, _ in rules.values()], bodies)
    field, bias, _ = FORMAT[dtype]
    settings = {
        "bits": "uint32_t" if dtype == "float32" else "uint64_t",
        "bias": bias,
        "field": field,
        "round": "fround" if dtype == "float32" else "",
    }
    texts = [text.format(**settings) for name, text in language.functions.items() if name in needed]
    texts += [_written(language, name, body, {"x": "number"}, dtype) for name, body in bodies.items() if name in needed]
    for name, (expression, by_rows) in rules.items():
        called = identifier(name)
        if name in whole:
            continue
        if by_rows:
            writer = language((expression,), dtype, "a_j[j]")
            lines = [*writer.lines, language.loop.format(first=0), f"    a_j[j] = {writer.results[0]};"]
            texts.append(language.function(called, {"z_j": "row", "a_j": "result", "n_out": "count"}, lines))
        else:
            texts.append(_written(language, called, expression, {"z": "number"}, dtype))
    return "\n".join(texts)


def _rule(name: str) -> tuple[Node, bool]:
    rule = ACTIVATIONS[name]
    z = leaf("z_j[j]", in_row=True) if rule.by_rows else leaf("z")
    return node(rule.forward(WORDS, z)), rule.by_rows


def _needed(expressions: Iterable[Node], bodies: Mapping[str, Node]) -> set[str]:
    """The operations in some expressions, and in the functions that they call."""
    seen: set[Node] = set()
    left = list(expressions)
    while left:
        each = left.pop()
        if each not in seen:
            seen.add(each)
            left += [*each.parts, *([bodies[each.operation]] if each.operation in bodies else [])]
    return {each.operation for each in seen}


def _written(language: type[Plain], name: str, body: Node, arguments: Mapping[str, str], dtype: str) -> str:
    writer = language((body,), dtype)
    return language.function(name, arguments, [*writer.lines, f"return {writer.results[0]};"])


def identifier(name: str) -> str:
    """An activation's name as that of a function: ``leaky_relu(0.2)`` is leaky_relu_0_2."""
    return "".join(letter if letter.isalnum() else "_" for letter in name).strip("_")
