"""The factor between somebody's loss or gradient and ours, found from values and their bounds."""

from typing import NamedTuple

import numpy as np

from backprop_ref.conformance.submissions.conventions import SIMPLE, Factor

ALMOST = 1e-5
"""A relative difference of losses that an ε in a logarithm makes."""


class Fit(NamedTuple):
    """The factor that explains a set of cases best, and how many of them it explains."""

    factor: Factor
    hits: int
    of: int

    @property
    def all(self):
        """Whether it explains every case."""
        return self.hits == self.of > 0


def fit_factor(measured, candidates=SIMPLE) -> Fit:
    """The simplest factor c with ``|value − c·truth| <= c·bound + slack`` in most cases.

    Parameters
    ----------
    measured : list of (Case, value, truth, bound, slack)
        Numbers, or lists of arrays; slack is None where there is none.
    """
    best = Fit(Factor(), 0, len(measured))
    for factor in candidates:
        hits = sum(within(value, truth, bound, slack, factor.of(case)) for case, value, truth, bound, slack in measured)
        if hits > best.hits:
            best = Fit(factor, hits, len(measured))
        if best.all:
            break
    return best


def within(value, truth, bound, slack=None, factor=1.0) -> bool:
    """Whether a value, or each array of a list, is within factor·bound + slack of factor·truth."""
    if isinstance(value, list):
        slack = [None] * len(truth) if slack is None else slack
        return len(value) == len(truth) == len(slack) and all(
            within(*parts, factor) for parts in zip(value, truth, bound, slack, strict=True)
        )
    value, truth = np.asarray(value, dtype=np.float64), np.asarray(truth)
    if value.shape != truth.shape:
        return False
    with np.errstate(all="ignore"):
        allowed = widened(abs(factor) * bound, factor * truth) + (0.0 if slack is None else slack)
        return bool((abs(value - factor * truth) <= allowed).all())


def widened(bound, value):
    """A bound that also holds for the few roundings in float64 that bring a value into our conventions."""
    return bound + 4.0 * np.finfo(np.float64).eps * np.abs(value)
