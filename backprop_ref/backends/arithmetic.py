"""The two arithmetics an `ArrayBackend` can compute in: the namespace's own, or the reproducible one."""

from backprop_ref.kernels import elementary, ordered


class Fast:
    """Whatever is quickest in the namespace: its matrix product, sums, division and elementary functions."""

    numerics = "fast"

    def __init__(self, xp):
        self.xp = xp
        self.exp, self.log1p, self.log, self.tanh = xp.exp, xp.log1p, xp.log, xp.tanh

    def affine(self, a, W, b):
        """``a @ W + b``."""
        return self.xp.matmul(a, W) + b

    def matmul_tn(self, a, delta):
        """``a.T @ delta``."""
        return self.xp.matmul(a.T, delta)

    def matmul_nt(self, delta, W):
        """``delta @ W.T``."""
        return self.xp.matmul(delta, W.T)

    def sum_rows(self, x):
        """Sum over axis 0, shape (n_out,)."""
        return self.xp.sum(x, axis=0)

    def sum_columns(self, x):
        """Sum over axis 1, shape (batch, 1)."""
        return self.xp.sum(x, axis=1, keepdims=True)

    def sum_all(self, x):
        """Sum over everything, 0-d."""
        return self.xp.sum(x)


class Reproducible:
    """Sums and products in index order, and our own exp, log, log1p and tanh: the same bits in every namespace."""

    numerics = "reproducible"

    def __init__(self, xp):
        self.xp = xp
        self._functions = {
            dtype: elementary.build(elementary.array_primitives(xp, dtype), dtype) for dtype in ("float64", "float32")
        }

    def _of(self, x):
        return self._functions["float32" if x.dtype == self.xp.float32 else "float64"]

    def exp(self, x):
        return self._of(x).exp(x)

    def log(self, x):
        return self._of(x).log(x)

    def log1p(self, x):
        return self._of(x).log1p(x)

    def tanh(self, x):
        return self._of(x).tanh(x)

    def affine(self, a, W, b):
        """``a @ W + b``, from b, k in order."""
        return ordered.affine(self.xp, a, W, b)

    def matmul_tn(self, a, delta):
        """``a.T @ delta``, samples in order."""
        return ordered.matmul_tn(self.xp, a, delta)

    def matmul_nt(self, delta, W):
        """``delta @ W.T``, neurons in order."""
        return ordered.matmul_nt(self.xp, delta, W)

    def sum_rows(self, x):
        """Sum over axis 0 in order, shape (n_out,)."""
        return ordered.sum_rows(self.xp, x)

    def sum_columns(self, x):
        """Sum over axis 1 in order, shape (batch, 1)."""
        return ordered.sum_columns(self.xp, x)

    def sum_all(self, x):
        """One running sum, row by row, 0-d."""
        return ordered.running_sum(self.xp, x)
