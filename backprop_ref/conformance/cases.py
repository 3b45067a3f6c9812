"""What a case of the conformance kit is: a network, its weights, a batch, and what has to come out."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from backprop_ref.network import Network
from backprop_ref.optimizers import SGD, Adam
from backprop_ref.parameters import Parameters


class Values(NamedTuple):
    """What a pass computes, in our conventions; lists have one array per layer. None: not given."""

    z: list[np.ndarray] | None = None
    a: list[np.ndarray] | None = None
    delta: list[np.ndarray] | None = None
    dW: list[np.ndarray] | None = None
    db: list[np.ndarray] | None = None
    dx: np.ndarray | None = None
    loss: float | None = None
    W: list[np.ndarray] | None = None
    """After the last of the case's steps."""
    b: list[np.ndarray] | None = None


class Expected(NamedTuple):
    """What is right: the bits of the reproducible arithmetic, the exact values, and how far rounding may lead."""

    reference: Values
    """In the precision of the case."""
    truth: Values
    """Exact values, rounded to float64."""
    bound: Values
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
        Ids of the known bugs (`backprop_ref.conformance.bugs`) that show on this case, and ``extreme``.
    deciding : bool
        False for extreme values (|z| > 20, overflow), which are flagged ``extreme``, and for labels of softmax that do
        not sum to 1: such a case yields notes, and decides nothing.
    da : array of shape (batch, n_out), optional
        An upstream gradient: then dW, db and dx are those of `backprop_ref.vjp`, and there is no loss.
    weight_decay : float
        λ·W is added to each dW, nothing to the loss.
    optimizer : SGD or Adam
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
    optimizer: SGD | Adam = field(default_factory=lambda: SGD(0.1))
    batch_size: int = 3
    expected: Expected | None = None

    def batches(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """x and y of the three steps."""
        cut = [slice(start, start + self.batch_size) for start in range(0, len(self.x), self.batch_size)]
        return [(self.x[rows], self.y[rows]) for rows in (cut * 3)[:3]]


def tensors(values: Values) -> dict[tuple[str, int], Any]:
    """The quantities given, by name and layer (0 for loss and dx), in the order in which a pass computes them."""
    found: dict[tuple[str, int], Any] = {}
    for name in ("z", "a"):
        for layer, array in enumerate(getattr(values, name) or []):
            found[name, layer] = array
    if values.loss is not None:
        found["loss", 0] = values.loss
    backward = [getattr(values, name) for name in ("delta", "dW", "db")]
    for layer in reversed(range(max((len(part) for part in backward if part), default=0))):
        for name, part in zip(("delta", "dW", "db"), backward, strict=True):
            if part:
                found[name, layer] = part[layer]
    if values.dx is not None:
        found["dx", 0] = values.dx
    for name in ("W", "b"):
        for layer, array in enumerate(getattr(values, name) or []):
            found[name, layer] = array
    return found
