"""The products of a backward pass as text, for each way of laying out arrays; and the arrays themselves in that way."""

import itertools
import re
from typing import NamedTuple

import numpy as np


def bracketed(text: str) -> str:
    """In brackets, unless it is a name, an entry or one call."""
    if re.fullmatch(r"[\w.]+(\[[^\[\]()]*\])*(\.T)?", text):
        return text
    depths = list(itertools.accumulate({"(": 1, ")": -1}.get(character, 0) for character in text))
    is_call = re.match(r"[\w.]+\(", text) and text.endswith(")") and 0 not in depths[text.index("(") : -1]
    return text if is_call else f"({text})"


class Layout(NamedTuple):
    """How arrays lie: W in×out or out×in, samples in rows, in columns or one vector, b (n,), (1, n) or (n, 1)."""

    weights: str = "in-out"
    samples: str = "rows"
    biases: str = "flat"
    dot: str = "@"

    @property
    def axis(self) -> int:
        """Along which the samples lie."""
        return 1 if self.samples == "columns" else 0

    @property
    def in_out(self) -> bool:
        return self.weights == "in-out"

    def times(self, a: str, b: str) -> str:
        """The product of two matrices."""
        if self.dot == "np.dot":
            return f"np.dot({a}, {b})"
        a, b = bracketed(a), bracketed(b)
        return f"{a}.dot({b})" if self.dot == "dot" else f"{a} @ {b}"

    def product(self, a: str, W: str) -> str:
        """What a layer makes of its input, without b."""
        W = bracketed(W)
        if self.samples == "columns":
            return self.times(W if not self.in_out else f"{W}.T", a)
        if self.samples == "flat" and not self.in_out:
            return self.times(W, a)
        return self.times(a, W if self.in_out else f"{W}.T")

    def bias(self, b: str) -> str:
        """b, to be added to z."""
        if self.samples == "columns":
            return f"{b}[:, None]" if self.biases == "flat" else b
        if self.samples == "flat":
            return b if self.biases == "flat" else f"{b}.ravel()"
        return f"{b}.T" if self.biases == "column" else b

    def back(self, delta: str, W: str, transposed: bool = True) -> str:
        """delta·Wᵀ; with W in the place of its transpose if not `transposed`."""
        W = bracketed(W)
        across = self.in_out == transposed
        if self.samples == "rows":
            return self.times(delta, f"{W}.T" if across else W)
        return self.times(W if across else f"{W}.T", delta)

    def outer(self, left: str, delta: str) -> str:
        """The gradient of W."""
        if self.samples == "flat":
            return f"np.outer({left}, {delta})" if self.in_out else f"np.outer({delta}, {left})"
        first, second = (left, delta) if self.in_out else (delta, left)
        first, second = bracketed(first), bracketed(second)
        return self.times(f"{first}.T", second) if self.samples == "rows" else self.times(first, f"{second}.T")

    def over_samples(self, delta: str, how: str = "sum") -> str:
        """The sum over the samples, in the shape of b."""
        if self.samples == "flat":
            return delta if self.biases == "flat" else f"{delta}.reshape({self._shape})"
        kept = (self.samples, self.biases) in {("rows", "row"), ("columns", "column")}
        text = f"np.{how}({delta}, axis={self.axis}{', keepdims=True' if kept else ''})"
        return text if kept or self.biases == "flat" else f"{text}.reshape({self._shape})"

    @property
    def _shape(self):
        return {"flat": "-1", "row": "1, -1", "column": "-1, 1"}[self.biases]

    def over_units(self, text: str, how: str = "sum") -> str:
        """The sum over the neurons of a layer, to be used beside it."""
        if self.samples == "flat":
            return f"np.{how}({text})"
        return f"np.{how}({text}, axis={1 - self.axis}, keepdims=True)"

    def sample(self, text: str, which: str) -> str:
        """Some samples, such as ``-1:``."""
        return f"{text}[:, {which}]" if self.samples == "columns" else f"{text}[{which}]"

    def units(self, text: str, which: str) -> str:
        """Some neurons."""
        return f"{text}[:, {which}]" if self.samples == "rows" else f"{text}[{which}]"

    def inputs_of(self, W: str, which: str) -> str:
        """The weights from some inputs."""
        return f"{W}[{which}]" if self.in_out else f"{W}[:, {which}]"

    def outputs_of(self, W: str, which: str) -> str:
        """The weights to some neurons."""
        return f"{W}[:, {which}]" if self.in_out else f"{W}[{which}]"

    # ---- arrays ----------------------------------------------------------------------------------------------------

    def give_W(self, W):
        return np.array(W if self.in_out else W.T, order="C")

    def take_W(self, W):
        return W if self.in_out else W.T

    def bias_shape(self, n: int) -> tuple[int, ...]:
        return {"flat": (n,), "row": (1, n), "column": (n, 1)}[self.biases]

    def give_b(self, b):
        return b.reshape(self.bias_shape(b.size)).copy()

    def give_x(self, x):
        if self.samples == "flat":
            return x[0].copy()
        return np.array(x.T if self.samples == "columns" else x, order="C")
