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

import functools
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any

import numpy as np

THREADS: ContextVar[int] = ContextVar("THREADS", default=1)
"""How many threads share a large product of NumPy arrays: each has rows of its own, so no bit depends on it."""
_SHARED_FROM = 2**21
"""From how many multiplications on it is shared, a millisecond of work, for threads that take a tenth to begin."""


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
    if isinstance(x, np.ndarray):
        if x[:1].size > 1:
            return np.einsum("tj->j", np.ascontiguousarray(x), out=np.empty(x.shape[1:], x.dtype))
        total = np.add.accumulate(x)[-1] if x.size else np.zeros(x.shape[1:], x.dtype)[()]
        return total + x.dtype.type(0)
    total = xp.zeros(x.shape[1:], dtype=x.dtype, device=x.device)
    for t in range(x.shape[0]):
        total += x[t, ...]
    return total


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
    if isinstance(left, np.ndarray):
        if not start.ndim:
            return _outer_products_numpy(left, right)
        if np.count_nonzero(start) == start.size or not np.signbit(start[start == 0]).any():
            return _outer_products_numpy(_beneath(1, left), _beneath(start, right))  # of -0 it would make +0 + 1 * -0
    total = xp.broadcast_to(start, (left.shape[1], right.shape[1]))
    for t in range(left.shape[0]):
        total = total + left[t, :, None] * right[t, None, :]
    return total if left.shape[0] else xp.asarray(total, copy=True)


def _beneath(first: Any, others: Any) -> Any:
    """An array whose first row is `first`."""
    rows = np.empty((len(others) + 1, others.shape[1]), others.dtype)
    rows[0], rows[1:] = first, others
    return rows


def _outer_products_numpy(left: Any, right: Any) -> Any:
    """The same from +0, by a call of NumPy's for all of it.

    `einsum` goes through memory in order: its inner loop is along the axis of the least strides, here the longer one of
    i and j, where it adds a number's products with a row to a row of the result. So t is further out, and ascends.
    It is compiled for what every processor has, two or four numbers an instruction, and still is several times as fast
    as two calls for each t, which go through the whole result in memory.
    """
    (rows, columns), dtype = (left.shape[1], right.shape[1]), left.dtype
    if rows > columns:
        return _outer_products_numpy(right, left).T
    if rows == columns == 1:
        return np.add.accumulate(np.concatenate([np.zeros((1, 1), dtype), left * right]))[-1:]
    if not _einsum_rounds_each(dtype):
        return _terms_in_turn(left, right)
    right, out = np.ascontiguousarray(right), np.empty((rows, columns), dtype)

    def part(number: int) -> None:
        some = slice(rows * number // threads, rows * (number + 1) // threads)
        np.einsum("ti,tj->ij", left[:, some], right, out=out[some])

    threads = min(THREADS.get(), rows) if left.size * columns >= _SHARED_FROM else 1
    if threads < 2:
        return np.einsum("ti,tj->ij", left, right, out=out)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(part, range(threads)))
    return out


def _terms_in_turn(left: Any, right: Any) -> Any:
    """The same by two calls for each term."""
    total = np.zeros((left.shape[1], right.shape[1]), left.dtype)
    for t in range(len(left)):
        total += left[t, :, None] * right[t]
    return total


@functools.cache
def _einsum_rounds_each(dtype: Any) -> bool:
    """Whether `einsum` rounds each product, which where NumPy is built for fused multiply-add it does not."""
    left = 1 + (np.arange(35) * 0.6180339887498949 % 1).reshape(7, 5).astype(dtype)
    right = 1 - (np.arange(7 * 67) * 0.7320508075688772 % 1).reshape(7, 67).astype(dtype)
    for columns in (2, 3, 8, 21, 67):
        part, out = np.ascontiguousarray(right[:, :columns]), np.empty((5, columns), dtype)
        if not np.array_equal(np.einsum("ti,tj->ij", left, part, out=out), _terms_in_turn(left, part)):
            return False
    return True
