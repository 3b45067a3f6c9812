"""Masks of dropout, drawn where they are used: `splitmix` says from which words."""

from functools import partial
from typing import Any

import numpy as np

from ..compiling import FUSED, inlined
from ..splitmix import word as word_of
from . import rows

LOW, HALF = np.uint64(2**32 - 1), np.uint64(32)


def lines(layout: rows.Layout, fused: bool) -> tuple[Any, Any]:
    """``draw(n_out, m, seed, rate, order, mask)`` and ``multiply(n, values, mask, out)``.

    A mask has, for each of the m samples of an order, 0 or 1/(1 - rate) for each of n_out units.
    """
    compiled_in: Any = partial(inlined, **(FUSED if fused else {}))
    word, rows_of = inlined(word_of), layout.rows

    @compiled_in
    def put(seed: Any, place: Any, least: Any, kept: Any, j: int, s: int, mask_sj: Any) -> None:
        """Two units of a sample, from one word."""
        drawn, zero = word(seed, place), mask_sj.dtype.type(0)
        mask_sj[s, j] = kept if (drawn & LOW) >= least else zero
        if j + 1 < mask_sj.shape[1]:
            mask_sj[s, j + 1] = kept if (drawn >> HALF) >= least else zero

    @compiled_in
    def by_neurons(n_out: int, m: int, seed: Any, rate: float, order: Any, mask: Any) -> None:
        mask_sj, kept, least = (
            rows_of(mask, n_out, m),
            mask.dtype.type(1.0 / (1.0 - rate)),
            np.uint64(np.ceil(rate * 2.0**32)),
        )
        pairs = np.uint64((n_out + 1) // 2)
        for j in range(0, n_out, 2):
            for s in range(m):
                put(seed, np.uint64(order[s]) * pairs + np.uint64(j // 2), least, kept, j, s, mask_sj)

    @compiled_in
    def by_samples(n_out: int, m: int, seed: Any, rate: float, order: Any, mask: Any) -> None:
        mask_sj, kept, least = (
            rows_of(mask, n_out, m),
            mask.dtype.type(1.0 / (1.0 - rate)),
            np.uint64(np.ceil(rate * 2.0**32)),
        )
        pairs = np.uint64((n_out + 1) // 2)
        for s in range(m):
            first = np.uint64(order[s]) * pairs
            for j in range(0, n_out, 2):
                put(seed, first + np.uint64(j // 2), least, kept, j, s, mask_sj)

    @compiled_in
    def multiply(n: int, values: Any, mask: Any, out: Any) -> None:
        """out <- values times mask"""
        for i in range(n):
            out[i] = values[i] * mask[i]

    return (by_samples if layout is rows.BY_SAMPLES else by_neurons), multiply
