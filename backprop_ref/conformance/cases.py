"""What a case of the conformance kit is: a network, its weights, a batch, and what has to come out."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from backprop_ref.network import Network
from backprop_ref.optimizers import SGD, Optimizer
from backprop_ref.parameters import Parameters

FORWARD, BACKWARD, STEPPED = ("z", "a"), ("delta", "dW", "db"), ("W", "b")
QUANTITIES = (*FORWARD, "loss", *BACKWARD, "dx", *STEPPED)
"""What a pass computes, in the order in which it does."""
WITHOUT_LAYERS = {"loss", "dx"}

Key = tuple[str, int]
"""Name and layer of a quantity; the layer is 0 for loss and dx."""
Tensor = TypeVar("Tensor")


class Values(NamedTuple, Generic[Tensor]):
    """The quantities of a pass, in our conventions: lists have one entry per layer. None: not given.

    What an entry is depends on the arithmetic: an array of floats, nested lists of exact numbers, a bound on each
    entry, or a centre with its error (`backprop_ref.conformance.rounding.near.Near`).
    """

    z: list[Tensor] | None = None
    a: list[Tensor] | None = None
    delta: list[Tensor] | None = None
    dW: list[Tensor] | None = None
    db: list[Tensor] | None = None
    dx: Tensor | None = None
    loss: Any = None
    W: list[Tensor] | None = None
    """After the last of the case's steps."""
    b: list[Tensor] | None = None

    @classmethod
    def of(cls, trace: Any) -> "Values[Any]":
        """The quantities of a trace of `backprop_ref.mlp` or `backprop_ref.api`."""
        return cls(**{name: getattr(trace, name) for name in cls._fields if name not in STEPPED})


def mapped(function: Callable[..., Any], values: Values[Any], *others: Values[Any]) -> Values[Any]:
    """The function of each entry of values, and of the same entry of others; what is not given is not given then."""
    found: dict[str, Any] = {}
    for name, *parts in zip(Values._fields, values, *others, strict=True):
        if parts[0] is not None:
            alone = name in WITHOUT_LAYERS
            found[name] = function(*parts) if alone else [function(*layer) for layer in zip(*parts, strict=True)]
    return Values(**found)


class Expected(NamedTuple):
    """What is right: the bits of the reproducible arithmetic, the exact values, and how far rounding may lead."""

    reference: Values[npt.NDArray[Any]]
    """In the precision of the case."""
    truth: Values[npt.NDArray[Any]]
    """Exact values, rounded to float64."""
    bound: Values[npt.NDArray[Any]]
    """In float64: ``|computed − truth| <= bound`` for every IEEE implementation, the rounding of truth included."""


@dataclass(frozen=True)
class Case:
    """One batch of one network, with explicit weights.

    Attributes
    ----------
    name : str
        Stable and unique, such as ``3-5-4-tanh-softmax-ce-b7-f64``.
    network : Network
    params : Parameters
        Its dtype is the precision of the case.
    x, y : arrays of shape (batch, n_in) and (batch, n_out)
    flags : tuple of str
        Ids of the known bugs (`backprop_ref.conformance.catalogue.known`) that show on this case, and ``extreme``.
    deciding : bool
        False for extreme values (|z| > 20, overflow), which are flagged ``extreme``, and for labels of softmax that do
        not sum to 1: such a case yields notes, and decides nothing.
    da : array of shape (batch, n_out), optional
        An upstream gradient: then dW, db and dx are those of `backprop_ref.vjp`, and there is no loss.
    weight_decay : float
        λ·W is added to each dW, nothing to the loss.
    optimizer : Optimizer
        Of the three steps after which W and b are expected.
    batch_size : int
        Of those steps: they go through x in order, batch after batch, the last one short, and around again.
    """

    name: str
    network: Network
    params: Parameters
    x: np.ndarray
    y: np.ndarray
    flags: tuple[str, ...] = ()
    deciding: bool = True
    da: np.ndarray | None = None
    weight_decay: float = 0.0
    optimizer: Optimizer = field(default_factory=lambda: SGD(0.1))
    batch_size: int = 3
    expected: Expected | None = None

    def batches(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """x and y of the three steps."""
        cut = [slice(start, start + self.batch_size) for start in range(0, len(self.x), self.batch_size)]
        return [(self.x[rows], self.y[rows]) for rows in (cut * 3)[:3]]


def tensors(values: Values[Any]) -> dict[Key, Any]:
    """The quantities given, by name and layer, in the order in which a pass computes them."""
    found: dict[Key, Any] = {}
    for name in FORWARD:
        for layer, array in enumerate(getattr(values, name) or []):
            found[name, layer] = array
    if values.loss is not None:
        found["loss", 0] = values.loss
    backward = [getattr(values, name) for name in BACKWARD]
    for layer in reversed(range(max((len(part) for part in backward if part), default=0))):
        for name, part in zip(BACKWARD, backward, strict=True):
            if part and layer < len(part) and part[layer] is not None:  # a layer may have no bias
                found[name, layer] = part[layer]
    if values.dx is not None:
        found["dx", 0] = values.dx
    for name in STEPPED:
        for layer, array in enumerate(getattr(values, name) or []):
            found[name, layer] = array
    return found


def tensor_name(key: Key) -> str:
    """``dW[1]``; the loss and dx have no layer."""
    name, layer = key
    return name if name in WITHOUT_LAYERS else f"{name}[{layer}]"


def same_bits(first: Any, second: Any) -> bool:
    """Whether two arrays or numbers have the same shape, the same dtype, and the same bits: −0 is not +0."""
    first, second = np.asarray(first), np.asarray(second)
    return first.shape == second.shape and first.dtype == second.dtype and bool(first.tobytes() == second.tobytes())
