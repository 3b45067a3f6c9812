"""Products and sums in index order: every product and every sum rounded once, as in the plain loops.

Matrix products of array libraries sum in an order that depends on the library, the processor and the number
of threads; ``sum`` adds in pairs or blocks. Here each entry is one running sum, in the order of "reproducible
arithmetic, version 1", so its bits are those of three nested loops in any language. The whole array advances
by one term at a time: a product, then a sum, never fused, since they are two calls.

All functions take a namespace first (PyTorch and CuPy through ``array_api_compat``) and arrays of one
floating-point dtype and device, which the results have too. Inputs are never written to; they may be
read-only, have any strides and any size, 0 included. NaN and infinities go through as IEEE 754 has it; NumPy
then warns as it does for any arithmetic, unless the caller sets ``np.errstate``.
"""

from typing import Any

import numpy as np

# NumPy only, where small calls cost more than their arithmetic: how many products are held at once, and the
# largest term for which `accumulate` (documented as sequential) beats a call for each. Neither changes a bit.
_BLOCK = 2**15
_SMALL = 64


def affine(xp: Any, a: Any, W: Any, b: Any) -> Any:
    """``z = a @ W + b``, each z[s, j] starting at b[j], then k = 0, 1, ...: z + a[s, k] * W[k, j].

    Error: ``gamma(n_in + 1) * (|a| @ |W| + |b|)``, with ``gamma(n) = n u / (1 - n u)`` (Higham, Accuracy and Stability
    of Numerical Algorithms, ch. 3).
    """
    return _outer_products(xp, b, a.T, W)


def matmul_tn(xp: Any, a: Any, delta: Any) -> Any:
    """``dW = a.T @ delta``, each dW[k, j] starting at +0, then s = 0, 1, ...: dW + a[s, k] * delta[s, j].

    Error: ``gamma(batch) * (|a|.T @ |delta|)``.
    """
    return _outer_products(xp, _zero(xp, a), a, delta)


def matmul_nt(xp: Any, delta: Any, W: Any) -> Any:
    """``da = delta @ W.T``, each da[s, k] starting at +0, then j = 0, 1, ...: da + delta[s, j] * W[k, j].

    Error: ``gamma(n_out) * (|delta| @ |W|.T)``.
    """
    return _outer_products(xp, _zero(xp, delta), delta.T, W.T)


def sum_rows(xp: Any, x: Any) -> Any:
    """``x.sum(axis=0)``: row after row, from +0; of a 1-D x, one number.

    Error: ``gamma(rows - 1) * |x|.sum(axis=0)``.
    """
    total = xp.zeros(x.shape[1:], dtype=x.dtype, device=x.device)
    return _sum(total, x)


def sum_columns(xp: Any, x: Any) -> Any:
    """``x.sum(axis=1, keepdims=True)``: column after column, from +0.

    Error: ``gamma(columns - 1) * |x|.sum(axis=1)``.
    """
    return sum_rows(xp, x.T)[:, None]


def running_sum(xp: Any, x: Any) -> Any:
    """``x.sum()``: one running sum over all entries, row-major, from +0; a 0-d array, of NumPy a scalar.

    Error: ``gamma(x.size - 1) * |x|.sum()``.
    """
    return sum_rows(xp, xp.reshape(x, (-1,)))


def _zero(xp: Any, like: Any) -> Any:
    return xp.zeros((), dtype=like.dtype, device=like.device)


def _outer_products(xp: Any, start: Any, left: Any, right: Any) -> Any:
    """start + sum over t of left[t, i] * right[t, j], in the order of t."""
    shape = (left.shape[1], right.shape[1])
    if isinstance(left, np.ndarray):
        return _outer_products_numpy(start, left, right, shape)
    total = xp.broadcast_to(start, shape)
    for t in range(left.shape[0]):
        total = total + left[t, :, None] * right[t, None, :]
    return total if left.shape[0] else xp.asarray(total, copy=True)


def _outer_products_numpy(start: Any, left: Any, right: Any, shape: Any) -> Any:
    """The same in blocks of products, in buffers that are used again."""
    total = np.empty(shape, left.dtype)
    total[...] = start
    right = np.ascontiguousarray(right)
    length = min(left.shape[0], max(1, _BLOCK // max(1, total.size)))
    products = np.empty((length, *shape), left.dtype)
    for t in range(0, left.shape[0], length or 1):
        block = left[t : t + length, :, None], right[t : t + length, None, :]
        total = _sum(total, np.multiply(*block, out=products[: len(block[0])]))
    return total


def _sum(total: Any, terms: Any) -> Any:
    """total + terms[0] + terms[1] + ..., in this order; total may be overwritten."""
    if isinstance(total, np.ndarray) and total.size <= _SMALL:
        return np.add.accumulate(np.concatenate([total[None], terms]))[-1]
    for t in range(terms.shape[0]):
        total += terms[t, ...]
    return total
