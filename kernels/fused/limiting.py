"""Clipped gradients, penalties and constrained weights, compiled; norms as `optimizers.norms` has them."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..compiling import FUSED, IN_ANY_ORDER, inlined
from . import rules
from .epochs import layer_of
from .views import at, part

TINY, HUGE = 1e-280, 1e280
"""Between them a sum of squares has lost nothing to underflow or overflow."""

SMALL = 2**10  # weights up to which columns are summed one by one


def lines(dtype: str, fused: bool) -> tuple[Callable[..., None], Callable[..., None], Callable[..., float]]:
    """Yet to be compiled, ``limit(table, n_layers, n, flat, grads, clip_value, clip_norm, l1)`` clips the gradients and
    adds that of an L1 penalty, and ``constrain(table, n_layers, flat, max_norm, norms)`` scales the weights into each
    neuron. What is 0 is not done. ``squares(table, n_layers, flat)`` is the sum of W². `table` is that of an
    `epochs.Plan`; `fused`: for fast numerics, in which sums are of numbers as they are, where that is safe.
    """
    options: dict[str, Any] = FUSED if fused else {}
    compiled_in: Any = partial(inlined, **options)
    in_any_order: Any = partial(inlined, **(IN_ANY_ORDER if fused else {}))

    @compiled_in
    def exponent_of(x: Any) -> int:
        """That of the largest finite entry, which the power of two 2^-exponent brings into [1/2, 1)."""
        largest = 0.0
        for i in range(x.size):
            size = abs(np.float64(x[i]))
            largest = size if largest < size < np.inf else largest
        return math.frexp(largest)[1]

    @in_any_order
    def sum_of_squares(x: Any, first: float, second: float) -> float:
        total = 0.0
        for i in range(x.size):
            value = np.float64(x[i]) * first * second
            total += value * value
        return total

    @compiled_in
    def norm(x: Any) -> float:
        if fused:
            total = sum_of_squares(x, 1.0, 1.0)
            if TINY < total < HUGE:
                return math.sqrt(total)
        exponent = exponent_of(x)
        half = exponent // 2
        total = sum_of_squares(x, math.ldexp(1.0, -half), math.ldexp(1.0, half - exponent))
        return math.ldexp(math.sqrt(total), exponent)

    @compiled_in
    def sums_of_columns(W: Any, n_in: int, n_out: int, first: float, second: float, sums: Any) -> bool:
        """Leaves the sums of squares of each column, k in order; whether none of them is too small or too large."""
        for j in range(n_out):
            sums[j] = 0.0
        for k in range(n_in):
            for j in range(n_out):
                value = np.float64(W[k * n_out + j]) * first * second
                sums[j] += value * value
        bad = 0
        for j in range(n_out):
            bad += 0 if TINY < sums[j] < HUGE else 1
        return bad == 0

    @compiled_in
    def scale_column(W: Any, n_in: int, n_out: int, j: int, size: float, limit: float) -> None:
        factor = W.dtype.type(limit / size)
        for k in range(n_in):
            W[k * n_out + j] *= factor

    @compiled_in
    def scale_all(W: Any, n_in: int, n_out: int, exponent: int, limit: float, norms: Any) -> None:
        """Every column by its factor, which takes the place of its sum; row by row, as they stand in memory."""
        some = False
        for j in range(n_out):
            size = math.ldexp(math.sqrt(norms[j]), exponent)
            some = some or size > limit
            norms[j] = limit / size if size > limit else 1.0
        if some:
            for k in range(n_in):
                for j in range(n_out):
                    W[k * n_out + j] *= W.dtype.type(norms[j])

    @compiled_in
    def scaled_safely(W: Any, n_in: int, n_out: int, limit: float, norms: Any) -> bool:
        """Whether sums of the numbers as they are say enough, and columns are scaled by them."""
        least = limit * limit
        good: bool = True
        if not TINY < least < HUGE:
            return False
        if n_in * n_out > SMALL:
            good = good and sums_of_columns(W, n_in, n_out, 1.0, 1.0, norms)
            if good:
                scale_all(W, n_in, n_out, 0, limit, norms)
            return good
        for j in range(n_out):
            total = 0.0
            for k in range(n_in):
                value = np.float64(W[k * n_out + j])
                total += value * value
            good = good and total < HUGE
            if least < total < HUGE:
                scale_column(W, n_in, n_out, j, math.sqrt(total), limit)
        return good

    @compiled_in
    def scale_columns(W: Any, n_in: int, n_out: int, limit: float, norms: Any) -> None:
        if fused and scaled_safely(W, n_in, n_out, limit, norms):
            return
        exponent = exponent_of(W)
        half = exponent // 2
        sums_of_columns(W, n_in, n_out, math.ldexp(1.0, -half), math.ldexp(1.0, half - exponent), norms)
        scale_all(W, n_in, n_out, exponent, limit, norms)

    clip, add_lasso, real = rules.clip(dtype, **options), rules.lasso(dtype, **options), np.dtype(dtype).type

    def limit(
        table: Any, n_layers: int, n: int, flat: Any, grads: Any, clip_value: float, clip_norm: float, l1: float
    ) -> None:
        if clip_value != 0.0:
            clip(n, 1, grads, real(clip_value))
        if clip_norm != 0.0:
            size = norm(part(grads, 0, n))
            if size > clip_norm:
                factor = real(clip_norm / size)
                for i in range(n):
                    grads[i] *= factor
        if l1 != 0.0:
            for index in range(n_layers):
                layer = layer_of(table, index)
                add_lasso(layer.n_in, layer.n_out, at(flat, layer.w), at(grads, layer.w), real(l1))

    def constrain(table: Any, n_layers: int, flat: Any, max_norm: float, norms: Any) -> None:
        if max_norm != 0.0:
            for index in range(n_layers):
                layer = layer_of(table, index)
                W = part(flat, layer.w, layer.n_in * layer.n_out)
                scale_columns(W, layer.n_in, layer.n_out, max_norm, norms)

    def squares(table: Any, n_layers: int, flat: Any) -> float:
        total = 0.0
        for index in range(n_layers):
            layer = layer_of(table, index)
            total += sum_of_squares(part(flat, layer.w, layer.n_in * layer.n_out), 1.0, 1.0)
        return total

    return limit, constrain, squares
