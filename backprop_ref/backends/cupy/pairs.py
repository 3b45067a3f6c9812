"""The pairs as launches on the GPU that write into arrays they are given: with cuBLAS, or in the order of the loops."""

from typing import Any, Protocol

from backprop_ref.backends.array import pair, refuse_own
from backprop_ref.backends.base import Array, Backend
from backprop_ref.formulas import ACTIVATIONS, TERMS, Table, terms_name, together
from backprop_ref.kernels.cuda_cupy import Kernels
from backprop_ref.kernels.cuda_rules import identity

BY_ROWS = {
    *(name for name, activation in ACTIVATIONS.items() if activation.by_rows),
    *(name for name, terms in TERMS.items() if terms.by_rows),
}
"""Whose kernels go row by row; all others take entries one by one."""


def named(table: Table[Any], name: str) -> tuple[str, tuple[float, ...]]:
    """The name of a rule's kernels, and what else they are given: of a family, the number."""
    plain, number = table.parts(name)
    return plain, () if number is None else (number,)


class FastPairs:
    """Matrix products by cuBLAS, sums by CuPy; everything between them in one kernel each.

    Nothing here waits for the GPU. The last argument of each method is what it writes to.
    """

    fast = True

    def __init__(self, cupy: Any, dtype: str) -> None:
        self.cupy = cupy
        self.kernels = Kernels(cupy, dtype, self.fast)

    def affine_forward(self, a: Array, W: Array, b: Array, z: Array) -> None:
        self.cupy.matmul(a, W, out=z)
        self.cupy.add(z, b, out=z)

    def affine_backward(self, delta: Array, a: Array, dW: Array, db: Array) -> None:
        self.cupy.matmul(a.T, delta, out=dW)
        self.cupy.sum(delta, axis=0, out=db)

    def affine_backward_input(self, delta: Array, W: Array, da: Array) -> None:
        self.cupy.matmul(delta, W.T, out=da)

    def mean(self, terms: Array, n: float, loss: Array) -> None:
        """The sum of `terms`, divided by n, into the 0-d `loss`."""
        self.cupy.sum(terms, out=loss)
        self.cupy.divide(loss, n, out=loss)

    def activation_forward(self, activation: str, z: Array, a: Array) -> None:
        refuse_own(activation, "cupy")
        if not identity(activation):
            name, number = named(ACTIVATIONS, activation)
            self._each(name, "forward", z.shape, z, *number, a)

    def activation_backward(self, activation: str, z: Array, a: Array, da: Array, delta: Array) -> None:
        """`delta` may be `da` itself."""
        if not identity(activation):
            name, number = named(ACTIVATIONS, activation)
            self._each(name, "backward", z.shape, z, a, da, *number, delta)

    def loss_forward(
        self,
        loss: str,
        activation: str,
        z: Array,
        a: Array,
        y: Array,
        n: float,
        terms: Array,
        value: Array,
        weights: Array | None = None,
    ) -> None:
        pair(loss, activation)
        name, number = named(TERMS, terms_name(loss, activation))
        self._each(name, "terms", y.shape, z, a, y, *number, terms)
        self._weigh(terms, weights)
        self.mean(terms, n, value)

    def loss_backward(
        self,
        loss: str,
        activation: str,
        z: Array,
        a: Array,
        y: Array,
        n: float,
        delta: Array,
        weights: Array | None = None,
    ) -> None:
        pair(loss, activation)
        name, number = named(TERMS, terms_name(loss, activation))
        self._each(name, "backward", y.shape, z, a, y, *number, n, delta)
        self._weigh(delta, weights)
        if not together(loss, activation):
            self.activation_backward(activation, z, a, delta, delta)

    def add(self, x: Array, y: Array, total: Array) -> None:
        """x + y, entry by entry."""
        self.kernels.each("add", x.size, x, y, total, x.size)

    def _weigh(self, x: Array, weights: Array | None) -> None:
        """Each row of x times its weight, in place."""
        if weights is not None:
            self.kernels.each("weigh", x.size, weights, x, *x.shape)

    def multiply(self, x: Array, y: Array, product: Array) -> None:
        """x · y, entry by entry."""
        self.kernels.each("multiply", x.size, x, y, product, x.size)

    def _each(self, rule: str, half: str, shape: tuple[int, int], *arguments: Any) -> None:
        rows, columns = shape
        if rule in BY_ROWS:
            self.kernels.each(f"{rule}_{half}", rows, *arguments, rows, columns)
        else:
            self.kernels.each(f"{rule}_{half}", rows * columns, *arguments, rows * columns)


class ReproduciblePairs(FastPairs):
    """Every product and sum in index order, by kernels of our own: the bits of the reproducible arithmetic."""

    fast = False

    def affine_forward(self, a: Array, W: Array, b: Array, z: Array) -> None:
        (batch, n_in), (_, n_out) = a.shape, W.shape
        self.kernels.tiles("affine_forward", batch, n_out, a, W, b, z, batch, n_in, n_out)

    def affine_backward(self, delta: Array, a: Array, dW: Array, db: Array) -> None:
        (batch, n_in), (_, n_out) = a.shape, delta.shape
        self.kernels.tiles("affine_backward", n_in, n_out, delta, a, dW, batch, n_in, n_out)
        self.kernels.each("affine_backward_bias", n_out, delta, db, batch, n_out)

    def affine_backward_input(self, delta: Array, W: Array, da: Array) -> None:
        (batch, n_out), (n_in, _) = delta.shape, W.shape
        self.kernels.tiles("affine_backward_input", batch, n_in, delta, W, da, batch, n_in, n_out)

    def mean(self, terms: Array, n: float, loss: Array) -> None:
        self.kernels.each("ordered_mean", 1, terms, n, loss, terms.size)


class PairsBackend(Backend, Protocol):
    """A backend with such pairs."""

    xp: Any

    def pairs(self, dtype: str) -> FastPairs:
        """The launches for one dtype."""
        ...
