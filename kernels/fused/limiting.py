"""Clipped gradients, the L1 penalty and constrained weights, compiled; norms as `optimizers.norms` has them."""

import math
from functools import partial
from typing import Any

import numpy as np

from ..compiling import FUSED, IN_ANY_ORDER, inlined
from . import rules

TINY, HUGE = 1e-280, 1e280
"""Between them a sum of squares has lost nothing to underflow or overflow."""


def lines(dtype: str, fused: bool) -> tuple[Any, Any, Any, Any]:
    """``clip(n, grads, limit)``, ``add_lasso(n, W, dW, strength)``, ``norm(x)`` and ``scale_columns(W, n_in, n_out,
    limit, norms)``; `fused`: for fast numerics, in which sums are of numbers as they are, where that is safe."""
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
    def scale_columns(W: Any, n_in: int, n_out: int, limit: float, norms: Any) -> None:
        exponent = 0
        if not fused or not sums_of_columns(W, n_in, n_out, 1.0, 1.0, norms):
            exponent = exponent_of(W)
            half = exponent // 2
            sums_of_columns(W, n_in, n_out, math.ldexp(1.0, -half), math.ldexp(1.0, half - exponent), norms)
        for j in range(n_out):
            size = math.ldexp(math.sqrt(norms[j]), exponent)
            if size > limit:
                factor = W.dtype.type(limit / size)
                for k in range(n_in):
                    W[k * n_out + j] *= factor

    return rules.clip(dtype, **options), rules.lasso(dtype, **options), norm, scale_columns
