"""One class for the per-neuron loops, as plain Python or compiled: it makes arrays and lets the loops fill them."""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import numpy.typing as npt

from backprop_ref.backends.arithmetic import Fast, Reproducible
from backprop_ref.backends.array import divisor, known, pair
from backprop_ref.backends.base import Array
from backprop_ref.errors import InvalidInput
from backprop_ref.formulas import terms_name, together


class LoopsBackend(ABC):
    """The pairs as loops over samples, neurons and inputs, in NumPy arrays; `Backend` documents them.

    The loops keep the order of the reproducible arithmetic under either numerics. `threads` are for loops that can
    share their work; None leaves the library's own setting.
    """

    name = "loops"
    device = "cpu"
    version = ""

    def __init__(self, numerics: str, threads: int | None = None) -> None:
        self.numerics, self.threads = numerics, threads

    @abstractmethod
    def run(self, loop: str, work: int, *arrays: Array) -> None:
        """Calls a function of `kernels.neuron_loops` by name; `work` is the number of its multiplications."""

    @abstractmethod
    def scope(self) -> AbstractContextManager[None]:
        """What the loops run inside."""

    def affine_forward(self, a: Array, W: Array, b: Array) -> Array:
        z = np.empty((a.shape[0], W.shape[1]), a.dtype)
        self.run("affine_forward", a.shape[0] * W.size, a, W, b, z)
        return z

    def affine_backward(self, delta: Array, a: Array) -> tuple[Array, Array]:
        dW, db = np.empty((a.shape[1], delta.shape[1]), a.dtype), np.empty(delta.shape[1], a.dtype)
        self.run("affine_backward", a.shape[0] * dW.size, delta, a, dW, db)
        return dW, db

    def affine_backward_input(self, delta: Array, W: Array) -> Array:
        da = np.empty((delta.shape[0], W.shape[0]), delta.dtype)
        self.run("affine_backward_input", delta.shape[0] * W.size, delta, W, da)
        return da

    def activation_forward(self, activation: str, z: Array) -> Array:
        a = np.empty_like(z)
        self._check(activation)
        self.run(f"{activation}_forward", z.size, z, a)
        return a

    def activation_backward(self, activation: str, z: Array, a: Array, da: Array) -> Array:
        delta = np.empty_like(z)
        self._check(activation)
        self.run(f"{activation}_backward", z.size, z, a, da, delta)
        return delta

    def _check(self, activation: str) -> None:
        """Refuses an activation that is not known."""
        known(activation)

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
        value, n = np.empty((), y.dtype), y.dtype.type(divisor(loss, y, batch))
        pair(loss, activation)
        w = np.ones(len(y), y.dtype) if weights is None else weights
        self.run(f"{terms_name(loss, activation)}_forward", y.size, z, a, y, w, n, value)
        return value

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
        error, n = np.empty_like(y), y.dtype.type(divisor(loss, y, batch))
        pair(loss, activation)
        w = np.ones(len(y), y.dtype) if weights is None else weights
        self.run(f"{terms_name(loss, activation)}_backward", y.size, z, a, y, w, n, error)
        return error if together(loss, activation) else self.activation_backward(activation, z, a, error)

    def asarray(self, x: npt.ArrayLike, dtype: str, copy: bool = False) -> Array:
        """C-contiguous and writeable, so that compiled loops see one kind of array only."""
        return np.array(x, dtype, order="C") if copy else np.require(np.asarray(x), dtype, ["C", "A", "W"])

    def to_numpy(self, a: Array) -> npt.NDArray[Any]:
        return np.asarray(a)

    def synchronize(self) -> None:
        """Every loop has ended when it returns."""
        return


def numerics_on_cpu(name: str, arithmetic: type[Fast] | type[Reproducible], device: str | None) -> str:
    """The numerics asked for, after a look at the device."""
    if device not in {None, "cpu"}:
        raise InvalidInput(f"backend {name} has no device '{device}': its only device is cpu")
    return arithmetic.numerics
