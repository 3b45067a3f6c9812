"""The affine map of wide layers, in fast numerics.

Values of a layer stand sample after sample, as the data do: z, a and delta here are ``(m, n_out)``, m the rows of the
batch or shard. So a sample is gathered in one piece, and of each layer's three products only that with W's transpose,
which the first layer does without, has to transpose what it reads. Products are those of `fast_products`; they are
added to the biases, and for plain gradient descent to the weights: W <- W - a^T (eta delta) is one product, and no
gradient is ever stored; what comes out is another where eta delta leaves the range of the dtype.
"""

from functools import cache, partial
from typing import Any

from ..compiling import IN_ANY_ORDER, linked
from .fast_products import product_for
from .views import View, matrix, part, repeated, transposed

# From how many multiplications on a product is shared out among threads.
SHARED_FROM = 2**21


@cache
def affine(dtype: str, shared: bool = False, direct: bool = False) -> tuple[Any, Any, Any]:
    """The three of the affine map. W and b stand in `flat` from w on, dW and db likewise in `target`.

    `shared`: large products are divided among threads; `direct`: dW and db are added to what is in `target`. `zeros`
    are as many as the widest layer has neurons.
    """
    product = product_for(dtype)
    product_shared = product_for(dtype, True) if shared else product
    compiled_in: Any = partial(linked, **IN_ANY_ORDER)

    @compiled_in
    def add_product(
        left: View, right: View, start: View, out: View, depth: int, rows: int, columns: int, panels: Any, workers: int
    ) -> None:
        """out[i, j] = start[i, j] + (left[0, i] right[0, j] + left[1, i] right[1, j] + ...)"""
        if depth * rows * columns >= SHARED_FROM:
            product_shared(left, right, start, out, depth, rows, columns, panels, workers)
        else:
            product(left, right, start, out, depth, rows, columns, panels, 1)

    @compiled_in
    def affine_forward(
        flat: Any, w: int, n_in: int, n_out: int, m: int, a: Any, z: Any, panels: Any, workers: int
    ) -> None:
        """z[s, j] = b[j] + a[s, 0] W[0, j] + a[s, 1] W[1, j] + ..."""
        a_ks, W_kj, b_sj = transposed(matrix(a, 0, n_in)), matrix(flat, w, n_out), repeated(flat, w + n_in * n_out)
        add_product(a_ks, W_kj, b_sj, matrix(z, 0, n_out), n_in, m, n_out, panels, workers)

    @compiled_in
    def affine_backward(
        delta: Any,
        a: Any,
        w: int,
        n_in: int,
        n_out: int,
        m: int,
        target: Any,
        panels: Any,
        workers: int,
        zeros: Any,
        one: Any,
    ) -> None:
        """dW[k, j] = a[0, k] delta[0, j] + a[1, k] delta[1, j] + ..., and db likewise; `one`: for a 1."""
        dW_kj, db_j = matrix(target, w, n_out), repeated(target, w + n_in * n_out)
        a_sk, delta_sj, zero_j = matrix(a, 0, n_in), matrix(delta, 0, n_out), repeated(zeros, 0)
        one[0] = 1
        every, start, start_b = View(part(one, 0, 1), 0, 0), dW_kj if direct else zero_j, db_j if direct else zero_j
        add_product(every, delta_sj, start_b, db_j, m, 1, n_out, panels, workers)
        add_product(a_sk, delta_sj, start, dW_kj, m, n_in, n_out, panels, workers)

    @compiled_in
    def affine_backward_input(
        delta: Any, flat: Any, w: int, n_in: int, n_out: int, m: int, da: Any, panels: Any, workers: int, zeros: Any
    ) -> None:
        """da[s, k] = delta[s, 0] W[k, 0] + delta[s, 1] W[k, 1] + ..."""
        delta_js, W_jk = transposed(matrix(delta, 0, n_out)), transposed(matrix(flat, w, n_out))
        add_product(delta_js, W_jk, repeated(zeros, 0), matrix(da, 0, n_in), n_out, m, n_in, panels, workers)

    return affine_forward, affine_backward, affine_backward_input


def products_of(n_in: int, n_out: int, m: int) -> tuple[tuple[int, int, int], ...]:
    """Terms, rows and columns of a layer's three large products."""
    return (n_in, m, n_out), (m, n_in, n_out), (n_out, m, n_in)
