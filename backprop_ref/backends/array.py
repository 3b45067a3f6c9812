"""One class for every array namespace (NumPy, PyTorch, JAX, array-api-strict)."""

import contextlib
from contextlib import AbstractContextManager
from typing import Any

import numpy.typing as npt

from backprop_ref.backends.arithmetic import Fast, Reproducible
from backprop_ref.backends.base import Array
from backprop_ref.errors import InvalidInput, unknown
from backprop_ref.formulas import ACTIVATIONS, LOSSES, OWN_ACTIVATIONS, Activation, Terms


class ArrayBackend:
    """The pairs over an array-API namespace; `Backend` documents them.

    What a library does differently from the standard, its subclass overrides. `device` is the namespace's, None its
    default; `threads` are for its matrix products, None leaves its own setting.
    """

    name = "array"

    def __init__(
        self, xp: Any, arithmetic: Fast | Reproducible, device: Any = None, threads: int | None = None
    ) -> None:
        self.xp, self.arithmetic, self.threads = xp, arithmetic, threads
        self.numerics = arithmetic.numerics
        self._device = device
        self.device = "cpu" if device is None else str(device)
        self.version: str = getattr(xp, "__version__", "")

    def affine_forward(self, a: Array, W: Array, b: Array) -> Array:
        return self.arithmetic.affine(a, W, b)

    def affine_backward(self, delta: Array, a: Array) -> tuple[Array, Array]:
        return self.arithmetic.matmul_tn(a, delta), self.arithmetic.sum_rows(delta)

    def affine_backward_input(self, delta: Array, W: Array) -> Array:
        return self.arithmetic.matmul_nt(delta, W)

    def activation_forward(self, activation: str, z: Array) -> Array:
        return known(activation).forward(self.arithmetic, z)

    def activation_backward(self, activation: str, z: Array, a: Array, da: Array) -> Array:
        return known(activation).backward(self.arithmetic, z, a, da)

    def loss_forward(
        self,
        loss: str,
        activation: str,
        z: Array,
        a: Array,
        y: Array,
        batch: float | None = None,
        weights: Array | None = None,
    ) -> Array:
        terms = pair(loss, activation).terms(self.arithmetic, z, a, y)
        if weights is not None:
            terms = weights[:, None] * terms
        return self.arithmetic.sum_all(terms) / divisor(loss, y, batch)

    def loss_backward(
        self,
        loss: str,
        activation: str,
        z: Array,
        a: Array,
        y: Array,
        batch: float | None = None,
        weights: Array | None = None,
    ) -> Array:
        error = pair(loss, activation).error(self.arithmetic, z, a, y) / divisor(loss, y, batch)
        if weights is not None:
            error = weights[:, None] * error
        return error if activation in LOSSES[loss].together else self.activation_backward(activation, z, a, error)

    def asarray(self, x: npt.ArrayLike, dtype: str, copy: bool = False) -> Array:
        return self.xp.asarray(x, dtype=getattr(self.xp, dtype), device=self._device, copy=copy or None)

    def to_numpy(self, a: Array) -> npt.NDArray[Any]:
        import numpy as np

        return np.asarray(a)

    def synchronize(self) -> None:
        pass

    def scope(self) -> AbstractContextManager[None]:
        return contextlib.nullcontext()


def known(activation: str) -> Activation:
    """The activation of that name in the table of formulas."""
    if activation not in ACTIVATIONS:
        raise unknown("activation", activation, ACTIVATIONS)
    return ACTIVATIONS[activation]


def refuse_own(activation: str, backend: str) -> None:
    """Refuses an activation of the user's own, for a backend whose kernels are compiled."""
    if activation in OWN_ACTIVATIONS:
        raise InvalidInput(
            f"activation {activation} is your own, and backend {backend} has no kernel of it: use numpy or python"
        )


def pair(loss: str, activation: str) -> Terms:
    """The formulas of a loss, by its long name, with an output activation; refuses what does not go together."""
    if loss not in LOSSES:
        raise unknown("loss", loss, LOSSES)
    if not LOSSES[loss].goes_with(activation):
        raise InvalidInput(f"loss {loss} does not go with output activation {activation}")
    return LOSSES[loss].with_output(activation)


def divisor(loss: str, y: Array, batch: float | None = None) -> float:
    """n of the loss, as a float: the rows of the whole batch, or the sum of their weights, times the outputs where the
    loss is a mean over them.
    """
    rows, n_out = y.shape
    return LOSSES[loss].divisor(batch or rows, n_out)
