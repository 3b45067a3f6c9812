"""The pairs as launches on the GPU that write into arrays they are given: with cuBLAS, or in the order of the loops."""

from backprop_ref.backends.array import pair
from backprop_ref.formulas import ACTIVATIONS, TERMS, terms_name, together
from backprop_ref.kernels.cuda_cupy import Kernels
from backprop_ref.kernels.cuda_rules import identity

BY_ROWS = {name for table in (ACTIVATIONS, TERMS) for name, rule in table.items() if rule.by_rows}
"""Whose kernels go row by row; all others take entries one by one."""


class FastPairs:
    """Matrix products by cuBLAS, sums by CuPy; everything between them in one kernel each.

    Nothing here waits for the GPU. The last argument of each method is what it writes to.

    Parameters
    ----------
    cupy : module
    dtype : "float64" or "float32"
    """

    fast = True

    def __init__(self, cupy, dtype):
        self.cupy = cupy
        self.kernels = Kernels(cupy, dtype, self.fast)

    def affine_forward(self, a, W, b, z):
        self.cupy.matmul(a, W, out=z)
        self.cupy.add(z, b, out=z)

    def affine_backward(self, delta, a, dW, db):
        self.cupy.matmul(a.T, delta, out=dW)
        self.cupy.sum(delta, axis=0, out=db)

    def affine_backward_input(self, delta, W, da):
        self.cupy.matmul(delta, W.T, out=da)

    def mean(self, terms, n, loss):
        """The sum of `terms`, divided by n, into the 0-d `loss`."""
        self.cupy.sum(terms, out=loss)
        self.cupy.divide(loss, n, out=loss)

    def activation_forward(self, activation, z, a):
        if not identity(activation):
            self._each(activation, "forward", z.shape, z, a)

    def activation_backward(self, activation, z, a, da, delta):
        """`delta` may be `da` itself."""
        if not identity(activation):
            self._each(activation, "backward", z.shape, z, a, da, delta)

    def loss_forward(self, loss, activation, z, a, y, n, terms, value):
        pair(loss, activation)
        self._each(terms_name(loss, activation), "terms", y.shape, z, a, y, terms)
        self.mean(terms, n, value)

    def loss_backward(self, loss, activation, z, a, y, n, delta):
        pair(loss, activation)
        self._each(terms_name(loss, activation), "backward", y.shape, z, a, y, n, delta)
        if not together(loss, activation):
            self.activation_backward(activation, z, a, delta, delta)

    def _each(self, rule, half, shape, *arguments):
        rows, columns = shape
        if rule in BY_ROWS:
            self.kernels.each(f"{rule}_{half}", rows, *arguments, rows, columns)
        else:
            self.kernels.each(f"{rule}_{half}", rows * columns, *arguments, rows * columns)


class ReproduciblePairs(FastPairs):
    """Every product and sum in index order, by kernels of our own: the bits of the reproducible arithmetic."""

    fast = False

    def affine_forward(self, a, W, b, z):
        (batch, n_in), (_, n_out) = a.shape, W.shape
        self.kernels.tiles("affine_forward", batch, n_out, a, W, b, z, batch, n_in, n_out)

    def affine_backward(self, delta, a, dW, db):
        (batch, n_in), (_, n_out) = a.shape, delta.shape
        self.kernels.tiles("affine_backward", n_in, n_out, delta, a, dW, batch, n_in, n_out)
        self.kernels.each("affine_backward_bias", n_out, delta, db, batch, n_out)

    def affine_backward_input(self, delta, W, da):
        (batch, n_out), (n_in, _) = delta.shape, W.shape
        self.kernels.tiles("affine_backward_input", batch, n_in, delta, W, da, batch, n_in, n_out)

    def mean(self, terms, n, loss):
        self.kernels.each("ordered_mean", 1, terms, n, loss, terms.size)

    def add(self, x, y, total):
        """x + y, entry by entry."""
        self.kernels.each("add", x.size, x, y, total, x.size)
