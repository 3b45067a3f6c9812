"""What a multi-layer perceptron is: sizes, one activation per layer, a loss. No arrays."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, SupportsIndex

from backprop_ref import formulas, showing
from backprop_ref.errors import InvalidInput, unknown

if TYPE_CHECKING:
    from backprop_ref.parameters import Parameters

ACTIVATIONS = tuple(formulas.ACTIVATIONS)
LOSSES = {name: loss.short for name, loss in formulas.LOSSES.items()}
_LONG = {short: name for name, short in LOSSES.items()}
ELSEWHERE = {
    "categorical_crossentropy": "cross_entropy",
    "sparse_categorical_crossentropy": "cross_entropy",
    "binary_crossentropy": "binary_cross_entropy",
}
"""What other libraries call the same losses."""

ACTIVATIONS_ELSEWHERE = {"swish": "silu"}


def activation_name(name: str) -> str:
    """Our name of an activation that another library calls otherwise, and the one spelling of its number."""
    return _spelled("activation", formulas.ACTIVATIONS, ACTIVATIONS_ELSEWHERE.get(name, name))


def loss_name(name: str) -> str:
    """The long name of a loss, also of one that another library calls otherwise, and the one spelling of its number."""
    plain, bracket, number = name.partition("(")
    return _spelled("loss", formulas.LOSSES, (_LONG | ELSEWHERE).get(plain, plain) + bracket + number)


def _spelled(what: str, table: formulas.Table[Any], name: str) -> str:
    try:
        return table.spelled(name)
    except ValueError as error:
        raise InvalidInput(f"{what} {error}") from None


OUTPUTS_OF = {name: loss.outputs for name, loss in formulas.LOSSES.items()}
"""The output activations each loss goes with."""


class Summary(str):
    """Text that a notebook shows in lines."""

    __repr__ = str.__str__


@dataclass(frozen=True)
class Network:
    """A multi-layer perceptron, as a description.

    Parameters
    ----------
    sizes : sequence of int
        Widths from the input to the output; at least two, each at least 1.
    activations : sequence of str
        One per layer, that is ``len(sizes) - 1`` of sigmoid, tanh, relu, leaky_relu, softmax, linear, gelu or another
        of ``backprop_ref.network.ACTIVATIONS``. Two may have a number: ``leaky_relu(0.2)`` its slope where z is
        negative (else 0.01), ``elu(0.5)`` its α (else 1).
    loss : str
        mean_squared_error (mse), sum_squared_error (sse), binary_cross_entropy (bce), cross_entropy (ce), huber or
        another of ``backprop_ref.network.LOSSES``. ``cross_entropy(0.1)`` smooths labels by ε = 0.1, ``huber(0.5)``
        has that δ (else 1).

    Raises
    ------
    InvalidInput
        Unknown names, sizes that are not positive integers, or a loss that does not go with the output activation.

    Examples
    --------
    >>> import backprop_ref as br
    >>> network = br.Network([2, 4, 1], activations=["sigmoid", "sigmoid"], loss="sse")
    >>> network.loss, network.n_layers, network.n_parameters
    ('sum_squared_error', 2, 17)
    >>> print(network.summary())
    layer      W  activation         parameters
        0  2 x 4  sigmoid                    12
        1  4 x 1  sigmoid                     5
                  sum_squared_error          17
    >>> br.Network(**network.to_dict()) == network
    True
    """

    sizes: tuple[int, ...]
    activations: tuple[str, ...]
    loss: str

    def __init__(self, sizes: Iterable[SupportsIndex], activations: Iterable[str], loss: str) -> None:
        if isinstance(activations, str):
            raise InvalidInput(f"activations: expected one name per layer in a list, got the text '{activations}'")
        for name, value in (("sizes", sizes), ("activations", activations)):
            if not hasattr(value, "__iter__"):
                raise InvalidInput(f"{name}: a list is needed, got {value!r}")
        object.__setattr__(self, "sizes", tuple(_positive(size) for size in sizes))
        object.__setattr__(self, "activations", tuple(activation_name(str(name)) for name in activations))
        object.__setattr__(self, "loss", loss_name(str(loss)))
        self._check()

    def _check(self) -> None:
        if len(self.sizes) < 2:
            raise InvalidInput(f"sizes {list(self.sizes)}: at least an input and an output size are needed")
        if len(self.activations) != self.n_layers:
            raise InvalidInput(
                f"{len(self.activations)} activations for {self.n_layers} layers: "
                f"sizes {list(self.sizes)} need one activation for each size after the first"
            )
        for name in self.activations:
            if name not in formulas.ACTIVATIONS:
                raise unknown("activation", name, ACTIVATIONS)
        if self.loss not in formulas.LOSSES:
            raise unknown("loss", self.loss, {*LOSSES, *_LONG})
        if not formulas.LOSSES[self.loss].goes_with(self.activations[-1]):
            raise InvalidInput(
                f"loss {self.loss} does not go with output activation {self.activations[-1]}: "
                f"use {' or '.join(formulas.LOSSES[self.loss].outputs)}, or a squared error"
            )

    @property
    def n_layers(self) -> int:
        """Number of layers, each an affine map and an activation."""
        return len(self.sizes) - 1

    @property
    def n_parameters(self) -> int:
        """Number of weights and biases."""
        return sum((n_in + 1) * n_out for n_in, n_out in pairwise(self.sizes))

    def init(self, seed: int = 1, scheme: str = "xavier", dtype: str | None = None) -> Parameters:
        """Random `Parameters`, the same on every machine; see `backprop_ref.network.initialisers.initialise`.

        Examples
        --------
        >>> import backprop_ref as br
        >>> params = br.Network([2, 3, 1], ["tanh", "linear"], "mse").init(seed=7, scheme="he", dtype="float32")
        >>> [W.shape for W in params.W], params.dtype.name
        ([(2, 3), (3, 1)], 'float32')
        """
        from backprop_ref.network.initialisers import initialise

        return initialise(self.sizes, seed, scheme, dtype)

    def _parts(self) -> showing.Parts:
        yield f"Network {'-'.join(map(str, self.sizes))}, {self.loss}"
        rows = [
            (str(layer), f"{n_in} × {n_out}", self.activations[layer], f"{(n_in + 1) * n_out:,}")
            for layer, (n_in, n_out) in enumerate(pairwise(self.sizes))
        ]
        yield showing.Table(("layer", "W", "activation", "parameters"), rows)
        yield f"{self.n_parameters:,} parameters"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return showing.html(self._parts())

    def _repr_markdown_(self) -> str:
        """The same as Markdown."""
        return showing.markdown(self._parts())

    def summary(self) -> str:
        """A table as text: layer, shape of W, activation, number of parameters."""
        rows = [("layer", "W", "activation", "parameters")]
        for layer, (n_in, n_out) in enumerate(pairwise(self.sizes)):
            rows.append((str(layer), f"{n_in} x {n_out}", self.activations[layer], f"{(n_in + 1) * n_out:,}"))
        rows.append(("", "", self.loss, f"{self.n_parameters:,}"))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        aligned = (
            (f"{layer:>{widths[0]}}", f"{shape:>{widths[1]}}", f"{name:<{widths[2]}}", f"{count:>{widths[3]}}")
            for layer, shape, name, count in rows
        )
        return Summary("\n".join("  ".join(row) for row in aligned))

    def to_dict(self) -> dict[str, Any]:
        """The description as JSON-ready lists and text; `Network(**d)` reads it back."""
        return {"sizes": list(self.sizes), "activations": list(self.activations), "loss": self.loss}


def _positive(size: SupportsIndex) -> int:
    try:
        number = operator.index(size)
    except TypeError:
        number = 0
    if number < 1 or isinstance(size, bool):
        raise InvalidInput(f"sizes: {size!r} is not a positive integer")
    return number
