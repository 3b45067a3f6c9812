"""What rounding can do in a floating-point format, alone and in sums."""

from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np

ULP = {
    "float64": {"exponentials": 2.0, "logarithms": 2.0, "tangents": 4.0},
    "float32": {"exponentials": 3.0, "logarithms": 4.0, "tangents": 4.0},
}
"""How far a library's functions may be from exact, in units in the last place."""
LIBRARY_ULP = max(ULP["float32"].values())
SOURCES = {"sums": ["sums"], "functions": ["exponentials", "logarithms", "tangents"], "entrywise": ["entrywise"]}
"""Where rounding errors come from, each with its fields of `Rounding`."""


@dataclass(frozen=True)
class Rounding:
    """What one rounding can do, by its source.

    Attributes
    ----------
    sums, entrywise : float
        Unit roundoff in sums of products, and in everything done entry by entry.
    exponentials, logarithms, tangents : float
        Relative errors of a library's exp and cosh, of its log and log1p, of its tanh; λ in the rules.
    tiny : float
        Absolute error where a result underflows.
    usual : bool
        √n in place of n: what n roundings usually do. No bound.
    """

    sums: float
    entrywise: float
    exponentials: float
    logarithms: float
    tangents: float
    tiny: float
    usual: bool = False

    @classmethod
    def of(cls, dtype):
        """The worst in a dtype."""
        u = float(np.finfo(dtype).eps) / 2
        exp, log, tanh = (2.0 * ulp * u for ulp in ULP[np.dtype(dtype).name].values())
        return cls(u, u, exp, log, tanh, float(np.finfo(dtype).smallest_subnormal))

    @classmethod
    def usually(cls, dtype):
        """The usual in a dtype: libraries within half an ulp or little more."""
        u = float(np.finfo(dtype).eps) / 2
        return cls(u, u, u, u, u, float(np.finfo(dtype).smallest_subnormal), usual=True)

    def only(self, source):
        """As if only one of `SOURCES` rounded."""
        others: dict[str, Any] = {name: 0.0 for part in SOURCES if part != source for name in SOURCES[part]}
        return replace(self, tiny=0.0, **others)

    def in_sums(self, n):
        """γ(n) of n roundings in a sum of products."""
        return self._gamma(n, self.sums)

    def in_entries(self, n):
        """γ(n) of n roundings of an entry."""
        return self._gamma(n, self.entrywise)

    def _gamma(self, n, u):
        count = np.sqrt(n) if self.usual else n
        return count * u / (1.0 - np.minimum(count * u, 0.5))


class Precision(NamedTuple):
    """What rounding can do in a floating-point format."""

    u: float
    tiny: float
    """The smallest subnormal: what underflow can do."""
    bounds: bool = True
    """Whether radii are worked out."""

    @classmethod
    @cache
    def of(cls, dtype):
        """The precision of a NumPy dtype."""
        limits = np.finfo(dtype)
        return cls(float(limits.eps) / 2, float(limits.smallest_subnormal))

    @property
    def elementary(self):
        """Relative error of a library function."""
        return 2.0 * LIBRARY_ULP * self.u

    def gamma(self, n):
        """Relative error of a sum of n products."""
        return n * self.u / (1.0 - n * self.u)
