"""Sums of products along rows against plain loops, to the bit."""

from functools import cache

import numpy as np
import pytest
from backprop_ref.kernels.compiling import linked
from backprop_ref.kernels.fused import narrow_products
from backprop_ref.kernels.fused.products import tile_of
from helpers import from_python

DTYPES = ("float64", "float32")
SIZES = [(1, 1, 1), (2, 5, 1600), (5, 1, 7), (8, 16, 33), (9, 17, 31), (3, 40, 2), (16, 3, 64)]  # rows of x, of y, m


def rows(count, m, dtype, seed):
    """Numbers of many magnitudes, with both zeros among them."""
    random = np.random.default_rng(seed)
    found = random.standard_normal((count, m)) * 10.0 ** random.integers(-9, 9, (count, m))
    found[random.random((count, m)) < 0.1] = -0.0
    return found.astype(dtype)


@cache
def row_products(dtype):
    return from_python(linked(narrow_products.row_products_for(dtype)))


def by_fused(x, y):
    dtype = x.dtype.name
    out, y_sums = np.full((len(x), len(y)), 7, dtype), np.full(len(y), 7, dtype)
    sums = np.zeros((narrow_products.ROWS + 1) * tile_of(dtype).lanes, dtype)
    m = x.shape[1]
    row_products(dtype)(x.ravel(), y.ravel(), len(x), len(y), m, out.reshape(-1), y_sums, sums)
    return out, y_sums


def by_loops(x, y):
    out, y_sums = np.zeros((len(x), len(y)), x.dtype), np.zeros(len(y), x.dtype)
    for t in range(x.shape[1]):
        out += x[:, t, None] * y[None, :, t]
        y_sums += y[:, t]
    return out, y_sums


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("x_rows, y_rows, m", SIZES)
def test_the_order_is_that_of_a_loop(x_rows, y_rows, m, dtype):
    x, y = rows(x_rows, m, dtype, 1), rows(y_rows, m, dtype, 2)
    for found, wanted in zip(by_fused(x, y), by_loops(x, y), strict=True):
        assert found.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_not_finite_stays_in_its_row(dtype):
    x, y = rows(3, 21, dtype, 1), rows(4, 21, dtype, 2)
    x[1, 20], y[2, 0] = np.inf, np.nan
    x[:, 0] = 1
    with np.errstate(invalid="ignore"):
        for found, wanted in zip(by_fused(x, y), by_loops(x, y), strict=True):
            np.testing.assert_array_equal(found, wanted)
    assert np.isnan(by_fused(x, y)[1]).tolist() == [False, False, True, False]
