"""Arrays with the errors that an implementation may make in them; the proof is in `rules`."""

from typing import Any, NamedTuple

import numpy as np

INFLATION = 1.0 + 2.0**-12
"""Covers the terms that the rules drop, and the rounding of the bounds themselves."""


class Near(NamedTuple):
    """A centre, computed in float64, and how far from exact an implementation may be."""

    value: Any
    error: Any

    @property
    def exact(self):
        """How large the exact value may be."""
        return np.abs(self.value) + self.error

    @property
    def computed(self):
        """How large a computed value may be."""
        return np.abs(self.value) + 2.0 * self.error


class Upstream(NamedTuple):
    """da as a `Near` whose error is taken apart: what comes of the next layer's delta through W, and the rest."""

    value: Any
    error: Any
    local: Any
    """The rest: of W and of rounding."""
    delta: Any
    """The error of the next layer's delta."""
    W: Any

    @property
    def computed(self):
        """How large a computed value may be."""
        return Near(self.value, self.error).computed

    @classmethod
    def alone(cls, near):
        """None of the error comes of a next layer."""
        batch, width = near.value.shape
        return cls(near.value, near.error, near.error, np.zeros((batch, 0)), exactly(np.zeros((width, 0))))


def exactly(array):
    """What is given rather than computed, as a `Near`."""
    return Near(array.astype(np.float64), np.zeros(array.shape))


def bound(near):
    """The error of a `Near`, inflated; NaN, as from an overflow, is no bound at all."""
    worst = np.where(np.isnan(near.error), np.inf, near.error) * INFLATION
    return worst if worst.ndim else float(worst)
