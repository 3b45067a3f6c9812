"""Masks of dropout, drawn where they are used: `splitmix` says from which words."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..compiling import inlined
from ..splitmix import word as word_of
from . import rows

LOW, HALF = np.uint64(2**32 - 1), np.uint64(32)


def lines(layout: rows.Layout) -> tuple[Callable[..., None], Callable[..., None]]:
    """``draw(n_out, m, seed, rate, order, mask)`` and ``multiply(n, values, mask, out)``, yet to be compiled.

    A mask has, for each of the m samples of an order, 0 or 1/(1 - rate) for each of n_out units.
    """
    word, rows_of = inlined(word_of), layout.rows

    @inlined
    def put(seed: Any, place: Any, least: Any, kept: Any, j: int, s: int, mask_sj: Any) -> None:
        """Two units of a sample, from one word."""
        drawn, zero = word(seed, place), mask_sj.dtype.type(0)
        mask_sj[s, j] = kept if (drawn & LOW) >= least else zero
        if j + 1 < mask_sj.shape[1]:
            mask_sj[s, j + 1] = kept if (drawn >> HALF) >= least else zero

    def by_neurons(n_out: int, m: int, seed: Any, rate: float, order: Any, mask: Any) -> None:
        mask_sj, least, pairs = rows_of(mask, n_out, m), np.uint64(np.ceil(rate * 2.0**32)), np.uint64((n_out + 1) // 2)
        kept = mask_sj.dtype.type(1.0 / (1.0 - rate))
        for j in range(0, n_out, 2):
            for s in range(m):
                put(seed, np.uint64(order[s]) * pairs + np.uint64(j // 2), least, kept, j, s, mask_sj)

    def by_samples(n_out: int, m: int, seed: Any, rate: float, order: Any, mask: Any) -> None:
        mask_sj, least, pairs = rows_of(mask, n_out, m), np.uint64(np.ceil(rate * 2.0**32)), np.uint64((n_out + 1) // 2)
        kept = mask_sj.dtype.type(1.0 / (1.0 - rate))
        for s in range(m):
            first = np.uint64(order[s]) * pairs
            for j in range(0, n_out, 2):
                put(seed, first + np.uint64(j // 2), least, kept, j, s, mask_sj)

    def multiply(n: int, values: Any, mask: Any, out: Any) -> None:
        """out <- values times mask"""
        for i in range(n):
            out[i] = values[i] * mask[i]

    return (by_samples if layout is rows.BY_SAMPLES else by_neurons), multiply
