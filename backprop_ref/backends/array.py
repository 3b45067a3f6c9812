"""One class for every array namespace (NumPy, PyTorch, JAX, array-api-strict)."""

import contextlib

from backprop_ref.errors import InvalidInput, unknown
from backprop_ref.formulas import ACTIVATIONS, LOSSES


class ArrayBackend:
    """The pairs over an array-API namespace; `Backend` documents them.

    Parameters
    ----------
    xp : namespace
        As the array API standard describes it; what a library does differently, its subclass overrides.
    arithmetic : `backprop_ref.backends.arithmetic.Fast` or `Reproducible`
    device : object, optional
        The namespace's device; None is its default.
    threads : int, optional
        For the namespace's matrix products; None leaves its own setting.
    """

    name = "array"

    def __init__(self, xp, arithmetic, device=None, threads=None):
        self.xp, self.arithmetic, self.threads = xp, arithmetic, threads
        self.numerics = arithmetic.numerics
        self._device = device
        self.device = "cpu" if device is None else str(device)
        self.version: str = getattr(xp, "__version__", "")

    def affine_forward(self, a, W, b):
        return self.arithmetic.affine(a, W, b)

    def affine_backward(self, delta, a):
        return self.arithmetic.matmul_tn(a, delta), self.arithmetic.sum_rows(delta)

    def affine_backward_input(self, delta, W):
        return self.arithmetic.matmul_nt(delta, W)

    def activation_forward(self, activation, z):
        return known(activation).forward(self.arithmetic, z)

    def activation_backward(self, activation, z, a, da):
        return known(activation).backward(self.arithmetic, z, a, da)

    def loss_forward(self, loss, activation, z, a, y, batch=None):
        terms = pair(loss, activation).terms(self.arithmetic, z, a, y)
        return self.arithmetic.sum_all(terms) / divisor(loss, y, batch)

    def loss_backward(self, loss, activation, z, a, y, batch=None):
        error = pair(loss, activation).error(self.arithmetic, z, a, y) / divisor(loss, y, batch)
        return error if activation in LOSSES[loss].together else self.activation_backward(activation, z, a, error)

    def asarray(self, x, dtype, copy=False):
        return self.xp.asarray(x, dtype=getattr(self.xp, dtype), device=self._device, copy=copy or None)

    def to_numpy(self, a):
        import numpy as np

        return np.asarray(a)

    def synchronize(self):
        pass

    def scope(self):
        return contextlib.nullcontext()


def known(activation):
    """The activation of that name in the table of formulas."""
    if activation not in ACTIVATIONS:
        raise unknown("activation", activation, ACTIVATIONS)
    return ACTIVATIONS[activation]


def pair(loss, activation):
    """The formulas of a loss, by its long name, with an output activation; refuses what does not go together."""
    if loss not in LOSSES:
        raise unknown("loss", loss, LOSSES)
    if activation not in LOSSES[loss].outputs:
        raise InvalidInput(f"loss {loss} does not go with output activation {activation}")
    return LOSSES[loss].with_output(activation)


def divisor(loss, y, batch=None):
    """n of the loss, as a float: the rows of the whole batch, times the outputs where the loss is a mean over them."""
    rows, n_out = y.shape
    return LOSSES[loss].divisor(batch or rows, n_out)
