"""Errors of our elementary functions in units in the last place, against mpmath."""

import math
from typing import NamedTuple

import numpy as np

from backprop_ref.errors import BackendUnavailable
from backprop_ref.kernels import elementary
from backprop_ref.progress import Bar

LIMITS = {"exp": 1.0, "log": 1.0, "log1p": 1.0, "expm1": 1.0, "tanh": 2.5, "erf": 1.0, "sigmoid": 2.5, "cospi": 2.0}
"""The largest error that each function may have, in ulp."""


class Error(NamedTuple):
    """The largest error found of one function."""

    function: str
    dtype: str
    points: int
    ulp: float
    at: float
    limit: float

    @property
    def ok(self):
        """Whether the error is within the limit."""
        return self.ulp < self.limit


def measure_all(points, progress=None):
    """An `Error` for each function and dtype, over about `points` arguments each."""
    pairs = [(name, dtype) for dtype in ("float64", "float32") for name in LIMITS]
    found = []
    with Bar("function", len(pairs), progress) as bar:
        for name, dtype in pairs:
            ulp, at = measured_ulp(name, dtype, points)
            found.append(Error(name, dtype, len(sweep(name, dtype, points)), ulp, at, LIMITS[name]))
            bar.update(len(found))
    return found


def integers(dtype):
    """The integer type whose bits a float of the dtype has."""
    return {"float64": np.int64, "float32": np.int32}[dtype]


def spread(low, high, n):
    """n numbers from low up to but not including high, evenly; by + - * / alone, so the same everywhere."""
    return low + (high - low) * (np.arange(n) / n)


def sweep(name, dtype, points):
    """Arguments of the function, dense where it bends and over all exponents; the same on every machine."""
    bottom, top = {"float64": (-746.0, 709.75), "float32": (-104.5, 88.7)}[dtype]
    n = points // 4
    last = int(np.finfo(dtype).max.view(integers(dtype)))
    magnitudes = (np.arange(n) * (last // n)).astype(integers(dtype)).view(dtype)  # even in the exponent
    dense = {
        "exp": [(bottom, top), (-1.5, 1.5), (bottom, 0.9375 * bottom)],
        "expm1": [(-40.0, top), (-1.5, 1.5), (0.3125, 0.5)],
        "log": [(0.25, 3.0), (0.875, 1.125), (0.625, 0.75)],
        "log1p": [(-1.0, 3.0), (-0.375, 0.5), (0.375, 0.4375)],
        "tanh": [(-25.0, 25.0), (-1.0, 1.0), (0.5, 0.625)],
        "erf": [(-6.5, 6.5), (-1.0, 1.0), (1.25, 1.5)],
        "sigmoid": [(bottom, 40.0), (-4.0, 1.0), (-2.8125, -2.6875)],
        "cospi": [(0.0, 1.0), (0.1875, 0.3125), (0.375, 0.5)],
    }[name]
    parts = [spread(low, high, n).astype(dtype) for low, high in dense]
    if name != "cospi":
        parts += [magnitudes] if name == "log" else [magnitudes[::2], -magnitudes[1::2]]
    x = np.concatenate(parts)
    return x[x > {"log": 0, "log1p": -1}.get(name, -math.inf)]


def sigmoid(functions, z):
    e = functions.exp(-abs(z))
    return np.where(z >= 0, 1 / (1 + e), e / (1 + e))


def evaluate(name, functions, x):
    return sigmoid(functions, x) if name == "sigmoid" else getattr(functions, name)(x)


def truth(name):
    """The function in mpmath, at its working precision."""
    try:
        import mpmath
    except ImportError:
        raise BackendUnavailable(
            "mpmath, the truth to compare with, is not installed; install 'backprop-ref[truth]'"
        ) from None
    if name == "sigmoid":
        return lambda x: 1 / (1 + mpmath.exp(-x))
    if name == "tanh":
        return lambda x: -mpmath.expm1(-2 * x) / (2 + mpmath.expm1(-2 * x)) if x < 1e6 else mpmath.mpf(1)
    return getattr(mpmath, name)


def measured_ulp(name, dtype, points):
    """Largest error over about `points` arguments, in ulp of the exact result, and where it is.

    One ulp is the distance of neighbouring numbers of the dtype at the exact result: 2^(e - p) in the binade
    below 2^e, and no less than the smallest subnormal. Arguments whose exact result overflows are left out.
    """
    function = truth(name)
    import mpmath

    limits = np.finfo(dtype)
    precision, lowest = limits.nmant + 1, limits.minexp - limits.nmant
    x = sweep(name, dtype, points)
    y = evaluate(name, elementary.for_numpy(dtype), x)
    worst = (0.0, math.nan)
    with mpmath.workprec(160):
        for argument, value in zip(x.tolist(), y.tolist(), strict=True):
            exact = function(mpmath.mpf(argument))
            if exact and abs(exact) <= limits.max:
                ulp = mpmath.ldexp(1, max(mpmath.frexp(exact)[1] - precision, lowest))
                worst = max(worst, (float(abs(value - exact) / ulp), argument))
    return worst
