"""The affine map of wide layers.

Values of a layer stand sample after sample, as the data do: z, a and delta here are ``(m, n_out)``, m the rows of the
batch or shard. So a sample is gathered in one piece, and of each layer's three products only that with W's transpose,
which the first layer does without, has to transpose what it reads. Products are those of `products`; they are added
to the biases, and for plain gradient descent in fast numerics to the weights: W <- W - a^T (eta delta) is one product,
and no gradient is ever stored; what comes out is another where eta delta leaves the range of the dtype.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

from .calls import calls_for, products_kind
from .memory import reader
from .views import View, at, matrix, repeated, transposed


@cache
def affine(dtype: str, direct: bool) -> dict[str, Callable[..., None]]:
    """The three of the affine map, yet to be compiled. W and b stand in `flat` from w on, dW and db likewise in
    `target`; `direct`: they are added to what is there. `calls.Products` stand first in memory."""
    call_product, read = calls_for(dtype)["product"], reader(products_kind(dtype))

    def affine_forward(flat: Any, w: int, n_in: int, n_out: int, m: int, a: Any, z: Any, memory: Any) -> None:
        """z[s, j] = b[j] + a[s, 0] W[0, j] + a[s, 1] W[1, j] + ..."""
        a_ks, W_kj, b_sj = transposed(matrix(a, 0, n_in)), matrix(flat, w, n_out), repeated(flat, w + n_in * n_out)
        call_product(read(memory).product, a_ks, W_kj, b_sj, matrix(z, 0, n_out), n_in, m, n_out, memory)

    def affine_backward(
        delta: Any, a: Any, w: int, n_in: int, n_out: int, m: int, target: Any, memory: Any, slots: Any
    ) -> None:
        """dW[k, j] = a[0, k] delta[0, j] + a[1, k] delta[1, j] + ..., and db likewise, as a product with ones."""
        dW_kj, db_j, zero_j = (
            matrix(target, w, n_out),
            repeated(target, w + n_in * n_out),
            repeated(read(memory).zeros, 0),
        )
        a_sk, delta_sj, ones = matrix(a, 0, n_in), matrix(delta, 0, n_out), View(at(slots, 0), 0, 0)
        slots[0] = 1
        start, start_b = (dW_kj, db_j) if direct else (zero_j, zero_j)
        call_product(read(memory).product, ones, delta_sj, start_b, db_j, m, 1, n_out, memory)
        call_product(read(memory).product, a_sk, delta_sj, start, dW_kj, m, n_in, n_out, memory)

    def affine_backward_input(
        delta: Any, flat: Any, w: int, n_in: int, n_out: int, m: int, da: Any, memory: Any
    ) -> None:
        """da[s, k] = delta[s, 0] W[k, 0] + delta[s, 1] W[k, 1] + ..."""
        delta_js, W_jk = transposed(matrix(delta, 0, n_out)), transposed(matrix(flat, w, n_out))
        zero_k, da_sk = repeated(read(memory).zeros, 0), matrix(da, 0, n_in)
        call_product(read(memory).product, delta_js, W_jk, zero_k, da_sk, n_out, m, n_in, memory)

    return {function.__name__: function for function in (affine_forward, affine_backward, affine_backward_input)}


def products_of(n_in: int, n_out: int, m: int) -> tuple[tuple[int, int, int], ...]:
    """Terms, rows and columns of a layer's three large products."""
    return (n_in, m, n_out), (m, n_in, n_out), (n_out, m, n_in)
