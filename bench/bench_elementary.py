"""exp, log, log1p, expm1 and tanh: ours over arrays, ours compiled, and the library's."""

import numba
import numpy as np
import pytest
from backprop_ref.kernels import elementary, scalars

from backprop_ref.conformance.rounding.elementary import LIMITS
from backprop_ref.conformance.rounding.precision import LIBRARY_ULP

FUNCTIONS = ("exp", "log", "log1p", "expm1", "tanh")
SIZE = 10_000


def over(function):
    """A compiled scalar function over an array, one entry after another."""

    @numba.njit(error_model="numpy")
    def loop(x, out):
        for i in range(x.size):
            out[i] = function(x[i])
        return out

    return loop


@pytest.mark.parametrize("whose", ["ours over arrays", "ours compiled", "numpy"])
@pytest.mark.parametrize("name", FUNCTIONS)
def bench_elementary(benchmark, timed, numbers, dtype, name, whose):
    x = numbers(dtype, SIZE)
    x = np.abs(x) if name.startswith("log") else x
    ours = getattr(elementary.for_numpy(dtype), name)
    if whose == "ours compiled":
        loop, out = over(getattr(scalars.functions(dtype), name)), np.empty_like(x)
        assert loop(x, out).tobytes() == ours(x).tobytes()
        function, arguments = loop, (x, out)
    else:
        function, arguments = (ours if whose == "ours over arrays" else getattr(np, name)), (x,)
        apart = np.abs(getattr(np, name)(x) - ours(x))
        assert np.all(apart <= (LIMITS[name] + LIBRARY_ULP) * np.spacing(np.abs(ours(x))))
    benchmark.group = f"{name} {dtype}"
    timed(function, *arguments, whose=whose, entries=SIZE, dtype=dtype)
