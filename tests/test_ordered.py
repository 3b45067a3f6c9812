"""Ordered products and sums against plain loops, to the bit."""

import contextvars
import functools
import math
import platform

import array_api_strict
import numpy as np
import pytest
from backprop_ref.kernels import ordered
from hypothesis import given, settings
from hypothesis import strategies as st

DTYPES = ("float64", "float32")
FEW_SIZES = [(7, 5, 11), (1, 1, 1), (3, 0, 2), (0, 3, 2)]  # batch, n_in, n_out
SIZES = [*FEW_SIZES, (7, 3, 1), (1, 100, 1), (2, 3, 300), (300, 2, 3), (9, 40, 33), (3, 2, 0)]
quick = settings(max_examples=40, deadline=None)


# The references: scalars of the dtype, one product and one sum at a time; a Python float is a binary64.


def loop_products(start, left, right):
    """start[i, j] + left[0, i] * right[0, j] + left[1, i] * right[1, j] + ..."""
    scalar = float if left.dtype == np.float64 else np.float32
    result = np.empty(start.shape, left.dtype)
    for i, j in np.ndindex(*start.shape):
        total = scalar(start[i, j])
        for t in range(left.shape[0]):
            total = total + scalar(left[t, i]) * scalar(right[t, j])
        result[i, j] = total
    return result


def loop_affine(a, W, b):
    return loop_products(np.broadcast_to(b, (a.shape[0], W.shape[1])), a.T, W)


def loop_matmul_tn(a, delta):
    return loop_products(np.zeros((a.shape[1], delta.shape[1])), a, delta)


def loop_matmul_nt(delta, W):
    return loop_products(np.zeros((delta.shape[0], W.shape[0])), delta.T, W.T)


def loop_sum(x):
    scalar = float if x.dtype == np.float64 else np.float32
    total = scalar(0.0)
    for value in x.ravel().tolist():
        total = total + scalar(value)
    return np.asarray(total, x.dtype)


def loop_sum_rows(x):
    return np.array([loop_sum(column) for column in x.T], x.dtype)


def loop_sum_columns(x):
    return np.array([loop_sum(row) for row in x], x.dtype)[:, None]


def assert_same_bits(actual, expected):
    actual = np.asarray(actual)
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
    assert np.ascontiguousarray(actual).tobytes() == expected.tobytes()


def read_only(x):
    x.flags.writeable = False
    return x


def operands(batch, n_in, n_out, dtype, seed=0):
    """a, W, b, delta of many magnitudes, so that a change of order or rounding shows; some entries are -0."""
    rng = np.random.default_rng([seed, batch, n_in, n_out])

    def array(*shape):
        x = rng.normal(size=shape) * np.exp2(rng.integers(-20, 20, shape))
        return read_only(np.where(rng.random(shape) < 0.1, -0.0, x).astype(dtype))

    return {"a": array(batch, n_in), "W": array(n_in, n_out), "b": array(n_out), "delta": array(batch, n_out)}


CASES = {  # function: arguments, loops
    "affine": ("a W b", loop_affine),
    "matmul_tn": ("a delta", loop_matmul_tn),
    "matmul_nt": ("delta W", loop_matmul_nt),
    "sum_rows": ("delta", loop_sum_rows),
    "sum_columns": ("delta", loop_sum_columns),
    "running_sum": ("delta", loop_sum),
}
every_function = pytest.mark.parametrize("name", CASES)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)


def compare(name, arrays, xp=np, convert=lambda x: x, back=np.asarray):
    arguments, loops = CASES[name]
    arrays = [arrays[argument] for argument in arguments.split()]
    assert_same_bits(back(getattr(ordered, name)(xp, *map(convert, arrays))), loops(*arrays))


@every_function
@every_dtype
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_numpy_equals_loops(name, dtype, sizes):
    compare(name, operands(*sizes, dtype))


@every_function
@every_dtype
def test_without_einsum(name, dtype, monkeypatch):
    """Where NumPy is built for fused multiply-add."""
    monkeypatch.setattr(ordered, "_einsum_rounds_each", lambda dtype: False)
    compare(name, operands(7, 13, 5, dtype))


@every_function
def test_threads_change_no_bit(name, monkeypatch):
    monkeypatch.setattr(ordered, "_SHARED_FROM", 0)
    context = contextvars.copy_context()
    context.run(ordered.THREADS.set, 3)
    for sizes in SIZES:
        context.run(compare, name, operands(*sizes, "float64"))


@every_dtype
def test_a_fused_einsum_is_found(dtype, monkeypatch):
    """It is left to the terms in turn, as the one of NumPy here is not."""

    def fused(subscripts, left, right, out):
        for t in range(len(left)):
            out[...] = (out * bool(t) + left[t, :, None].astype(np.longdouble) * right[t]).astype(out.dtype)
        return out

    rounds_each = ordered._einsum_rounds_each.__wrapped__
    if platform.machine() == "x86_64":
        assert rounds_each(np.dtype(dtype))
    monkeypatch.setattr(np, "einsum", fused)
    assert not rounds_each(np.dtype(dtype))


@every_function
@every_dtype
def test_strided_inputs(name, dtype):
    x = operands(14, 10, 9, dtype)
    a, W, b, delta = np.asfortranarray(x["a"]), x["W"], x["b"], x["delta"]
    compare(name, {"a": a[::2], "W": W[:, ::-3], "b": b[::-3], "delta": delta[1::2, ::-3]})


@every_function
@every_dtype
@pytest.mark.parametrize("device", ["CPU_DEVICE", "device1"])
def test_array_api_strict_equals_loops(name, dtype, device):
    device = array_api_strict.Device(device)

    def back(x):
        assert x.device == device
        return np.asarray(x.to_device(array_api_strict.Device("CPU_DEVICE")))

    convert = functools.partial(array_api_strict.asarray, device=device)
    for sizes in FEW_SIZES:
        compare(name, operands(*sizes, dtype), array_api_strict, convert, back)


@every_function
@every_dtype
def test_torch_equals_loops(name, dtype):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    xp = pytest.importorskip("array_api_compat.torch", reason="PyTorch is not installed")
    for sizes in FEW_SIZES:
        compare(name, operands(*sizes, dtype), xp, lambda x: torch.from_numpy(x.copy()), lambda x: x.numpy())


@quick
@given(sizes=st.tuples(*[st.integers(0, 8)] * 3), seed=st.integers(0, 2**32), dtype=st.sampled_from(DTYPES))
@pytest.mark.parametrize("name", CASES)
def test_any_sizes(name, sizes, seed, dtype):
    compare(name, operands(*sizes, dtype, seed))


@quick
@given(values=st.lists(st.floats(width=32), max_size=40), dtype=st.sampled_from(DTYPES))
def test_any_values(values, dtype):
    """Infinities and NaN too; of a NaN only that it is one is compared."""
    x = np.array(values, dtype)
    with np.errstate(invalid="ignore", over="ignore"):
        actual, expected = ordered.running_sum(np, x), loop_sum(x)
    assert np.isnan(actual) if np.isnan(expected) else actual.tobytes() == expected.tobytes()


def test_special_values_stay_in_their_entries():
    a = np.array([[math.inf, 1.0], [math.nan, 1.0], [1.0, 1.0]])
    W, b = np.array([[1.0, 0.0], [2.0, 3.0]]), np.array([0.5, -0.0])
    with np.errstate(invalid="ignore"):
        z = ordered.affine(np, a, W, b)
    np.testing.assert_array_equal(z, [[math.inf, math.nan], [math.nan, math.nan], [3.5, 3.0]])


@every_dtype
def test_signs_of_zero(dtype):
    """z starts at b, so that -0 stays; all the others start at +0, so that it cannot."""
    minus, plus = np.full((3, 2), -0.0, dtype), np.zeros((2, 3), dtype)
    b = np.full(3, -0.0, dtype)
    assert np.signbit(ordered.affine(np, minus, plus, b)).all()
    assert np.signbit(ordered.affine(np, minus[:, :0], plus[:0], b)).all()
    for result in (
        ordered.matmul_tn(np, minus, minus + 1),
        ordered.matmul_nt(np, minus, plus.T),
        ordered.sum_rows(np, minus),
        ordered.sum_columns(np, minus),
        ordered.running_sum(np, minus),
    ):
        assert not np.signbit(result).any()


def test_result_is_the_callers():
    """No result is a view of an input, even where there is nothing to add."""
    b = np.arange(3.0)
    z = ordered.affine(np, np.empty((2, 0)), np.empty((0, 3)), b)
    z += 1
    np.testing.assert_array_equal(b, [0, 1, 2])


# Planted violations: what the comparison above has to tell apart.


@pytest.mark.parametrize(
    "violation",
    [
        lambda a, delta: np.sum(a * delta),
        lambda a, delta: ordered.matmul_tn(np, a[::-1], delta[::-1]),
        lambda a, delta: sum(ordered.matmul_tn(np, a[t : t + 50], delta[t : t + 50]) for t in (0, 50)),
        lambda a, delta: ordered.matmul_tn(np, a.astype(float), delta.astype(float)).astype(a.dtype),
    ],
    ids=["pairwise", "reversed", "two halves", "wider precision"],
)
def test_violations_are_told_apart(violation):
    rng = np.random.default_rng(3)
    a, delta = rng.normal(size=(2, 100, 1)).astype("float32")
    assert violation(a, delta).tobytes() != loop_matmul_tn(a, delta).tobytes()


def test_pairwise_and_library_sums_are_told_apart():
    """2^53 + 1 + 1 + ... stays 2^53 in order; any other grouping of the ones does not lose them."""
    x = np.array([2.0**53] + [1.0] * 255)
    assert ordered.running_sum(np, x) == loop_sum(x) == 2.0**53
    assert np.sum(x) != 2.0**53
    ones = np.ones((256, 1))
    assert ordered.matmul_tn(np, x[:, None], ones) == 2.0**53
    assert ordered.affine(np, x[None, 1:], ones[1:], x[:1]) == 2.0**53
    if (x[None] @ ones).item() == 2.0**53:
        pytest.skip("NumPy's matrix product sums in index order here")
