"""Elementary functions: errors against mpmath, edges of IEEE arithmetic, the same bits for every consumer."""

import functools
import hashlib
import math

import array_api_strict
import numba
import numpy as np
import pytest
from backprop_ref.kernels import elementary, scalars
from backprop_ref.kernels.compiling import compiled
from backprop_ref.kernels.fused import rules
from backprop_ref.kernels.registers import padded, vector_of
from helpers import from_python

from backprop_ref.conformance.rounding.elementary import LIMITS, integers, measured_ulp, sweep

DTYPES = ("float64", "float32")
NAMES = elementary.Elementary._fields
every_dtype = pytest.mark.parametrize("dtype", DTYPES)
every_function = pytest.mark.parametrize("name", NAMES)


@pytest.mark.few(1)
@every_dtype
@pytest.mark.parametrize("name", LIMITS)
def test_error_against_mpmath(name, dtype):
    error, argument = measured_ulp(name, dtype, 8000)
    assert 0.5 < error < LIMITS[name], f"{name}({argument!r}) is off by {error} ulp"


EDGES = {
    "exp": [(0.0, 1.0), (-0.0, 1.0), (math.inf, math.inf), (-math.inf, 0.0), (1e4, math.inf), (-1e4, 0.0)],
    "expm1": [(0.0, 0.0), (-0.0, -0.0), (math.inf, math.inf), (-math.inf, -1.0), (1e4, math.inf),
              (-1e4, -1.0)],
    "log": [(1.0, 0.0), (0.0, -math.inf), (-0.0, -math.inf), (-1.0, math.nan), (math.inf, math.inf),
            (-math.inf, math.nan), (-1e-30, math.nan)],
    "log1p": [(0.0, 0.0), (-0.0, -0.0), (-1.0, -math.inf), (-1.5, math.nan), (math.inf, math.inf),
              (-math.inf, math.nan)],
    "tanh": [(0.0, 0.0), (-0.0, -0.0), (math.inf, 1.0), (-math.inf, -1.0), (1e30, 1.0), (-1e30, -1.0)],
    "erf": [(0.0, 0.0), (-0.0, -0.0), (math.inf, 1.0), (-math.inf, -1.0), (1e30, 1.0), (-1e30, -1.0)],
    "cospi": [(0.0, 1.0), (-0.0, 1.0), (0.5, 0.0), (1.0, -1.0)],
}  # fmt: skip


@every_dtype
@every_function
def test_edges(name, dtype):
    """No warning either: pytest makes errors of them."""
    arguments, expected = np.array([*EDGES[name], (math.nan, math.nan)], dtype).T.copy()
    for result in (
        getattr(elementary.for_numpy(dtype), name)(arguments),
        on_scalars(getattr(elementary.for_scalars(dtype), name), arguments),
    ):
        np.testing.assert_array_equal(result, expected)
        number = ~np.isnan(expected)  # the sign of a NaN is nobody's business
        np.testing.assert_array_equal(np.signbit(result[number]), np.signbit(expected[number]))


@every_dtype
def test_ends_of_the_range(dtype):
    f, limits = elementary.for_numpy(dtype), np.finfo(dtype)
    top = np.array({"float64": 709.782712893384, "float32": 88.72283}[dtype], dtype)  # last with a finite exp
    assert np.isfinite(f.exp(top)) and f.exp(np.nextafter(top, top * 2)) == math.inf
    assert np.isfinite(f.expm1(top)) and f.expm1(np.nextafter(top, top * 2)) == math.inf
    tiny = limits.smallest_subnormal
    half = np.array(math.log(tiny) - math.log(2), dtype)  # exp(half) is about half of the smallest subnormal
    assert f.exp(half * dtype_of(dtype)(0.999)) == tiny and f.exp(half * dtype_of(dtype)(1.001)) == 0
    assert f.log(tiny) == dtype_of(dtype)(math.log(tiny))
    for name in ("expm1", "log1p", "tanh"):
        x = np.array([tiny, -tiny, limits.tiny, -limits.tiny])
        np.testing.assert_array_equal(getattr(f, name)(x), x)


@every_dtype
def test_symmetries(dtype):
    f = elementary.for_numpy(dtype)
    x = sweep("tanh", dtype, 20000)
    assert_same_bits(f.tanh(-x), -f.tanh(x))
    assert (abs(f.tanh(x)) <= 1).all()
    t = (np.arange(1025) / 1024).astype(dtype)
    assert_same_bits(f.cospi(1 - t[t != 0.5]), -f.cospi(t[t != 0.5]))


@every_dtype
@pytest.mark.parametrize("name, seams", [
    ("exp", [(k + 0.5) * math.log(2) for k in (-150, -3, -2, -1, 0, 1, 100)]),
    ("expm1", [(k + 0.5) * math.log(2) for k in (-30, -3, -2, -1, 0, 1, 23, 24, 31, 32, 53, 63, 64)]),
    ("log", [2.0**k * c for k in (-20, -1, 0, 1, 20) for c in (1.0, math.sqrt(2))]),
    ("log1p", [-0.28125, 0.40625, math.sqrt(2) - 1, math.sqrt(0.5) - 1, 1.0, 2 * math.sqrt(2) - 1]),
    ("tanh", [0.5498046875, 10.0]),
    ("erf", [0.75, 1.3125, 6.0]),
    ("cospi", [-0.25, -0.5, -0.75]),
])  # fmt: skip
def test_monotonic_at_seams(name, seams, dtype):
    """Over 2000 neighbouring numbers at each seam no value falls by more than 1 ulp."""
    f = getattr(elementary.for_numpy(dtype), name)
    sign = -1 if name == "cospi" else 1  # falls; its seams are given as negative numbers
    for seam in seams:
        bits = np.array(abs(seam) if name == "cospi" else seam, dtype).view(integers(dtype))
        x = np.sort((bits + np.arange(-1000, 1000)).astype(integers(dtype)).view(dtype))
        y = sign * f(x)
        falls = -np.diff(y)
        assert (falls <= np.spacing(abs(y[1:]))).all(), (seam, x[1:][falls > np.spacing(abs(y[1:]))])


# One source, many consumers.


def dtype_of(dtype):
    return np.dtype(dtype).type


def assert_same_bits(actual, expected):
    actual = np.asarray(actual)
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
    assert actual.tobytes() == expected.tobytes()


def on_scalars(function, x):
    """The function applied to Python floats (float64) or NumPy scalars (float32), its type kept in view."""
    scalar = float if x.dtype == np.float64 else np.float32
    values = [function(scalar(value)) for value in x]
    assert all(type(value) is scalar for value in values)
    return np.array(values, x.dtype)


def on_compiled_scalars(name, x):
    loop = compiled_loop(name, x.dtype.name)
    result = np.empty_like(x)
    loop(x, result)
    return result


@functools.cache
def compiled_loop(name, dtype):
    function = getattr(scalars.functions(dtype), name)

    @numba.njit(fastmath=False, error_model="numpy")
    def loop(x, result):
        for i in range(x.size):
            result[i] = function(x[i])

    return loop


def on_strict_arrays(name, x, device="CPU_DEVICE"):
    device = array_api_strict.Device(device)
    functions = elementary.build(elementary.array_primitives(array_api_strict, x.dtype), x.dtype)
    y = getattr(functions, name)(array_api_strict.asarray(x, device=device))
    assert y.device == device
    return np.asarray(y.to_device(array_api_strict.Device("CPU_DEVICE")))


@every_dtype
@every_function
def test_all_consumers_agree(name, dtype):
    """Arrays are the yardstick; each of the others has to give their bits and keep their dtype."""
    x = sweep(name, dtype, 20000)
    y = getattr(elementary.for_numpy(dtype), name)(x)
    assert y.dtype == dtype
    assert_same_bits(on_compiled_scalars(name, x), y)
    assert_same_bits(on_strict_arrays(name, x), y)
    few = slice(None, None, 40)
    assert_same_bits(on_scalars(getattr(elementary.for_scalars(dtype), name), x[few]), y[few])
    assert_same_bits(on_strict_arrays(name, x[few], "device1"), y[few])


@every_dtype
@pytest.mark.parametrize("name", ["exp", "log", "log1p", "tanh"])
def test_vectors_agree_whatever_the_length(name, dtype):
    vector, function = vector_of(dtype), from_python(rules.elementary(dtype, name))
    edges = np.array([*(argument for argument, _ in EDGES[name]), math.nan], dtype)
    x = np.concatenate([edges, sweep(name, dtype, 20000)])
    y = getattr(elementary.for_numpy(dtype), name)(x)
    for n in (*range(1, 70), len(x)):
        found = np.pad(x[:n], (0, 2 * vector), constant_values=2.0)
        function(n, 1, found, found)
        assert np.all(found[padded(n, vector) :] == 2.0), "beyond the last vector"
        nan = np.isnan(y[:n])
        assert np.array_equal(np.isnan(found[:n]), nan)
        assert_same_bits(np.where(nan, 0, found[:n]), np.where(nan, 0, y[:n]))


@every_dtype
@every_function
def test_compiled_signature_has_one_type(name, dtype):
    """No literal or untyped constant widens float32 inside compiled code."""
    function = getattr(scalars.functions(dtype), name)
    function(dtype_of(dtype)(0.5))
    assert [str(s) for s in function.nopython_signatures] == [f"({dtype},) -> {dtype}"]


@every_dtype
def test_shapes_and_strides(dtype):
    f = elementary.for_numpy(dtype)
    x = np.linspace(0.1, 0.9, 24).astype(dtype).reshape(4, 6)
    x.flags.writeable = False
    for name in NAMES:
        function = getattr(f, name)
        y = function(x)
        assert y.shape == x.shape
        assert_same_bits(np.ascontiguousarray(function(x.T[::2])), np.ascontiguousarray(y.T[::2]))
        assert function(x[:0]).shape == (0, 6)
        assert_same_bits(function(x[1, 2]), y[1, 2])


@every_dtype
@every_function
def test_torch_agrees(name, dtype):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    xp = pytest.importorskip("array_api_compat.torch", reason="PyTorch is not installed")
    x = sweep(name, dtype, 20000)
    functions = elementary.build(elementary.array_primitives(xp, dtype), dtype)
    y = getattr(functions, name)(torch.from_numpy(x)).numpy()
    assert_same_bits(y, getattr(elementary.for_numpy(dtype), name)(x))


# The other primitives.


def hard_roots(dtype):
    """Numbers of all exponents, and next to 4^k and (1 + 2^-p)^2 4^k, where roots are next to a midpoint."""
    limits = np.finfo(dtype)
    powers = 4.0 ** np.arange(-(-limits.minexp // 2) + 1, limits.maxexp // 2 - 1)
    near = [(powers * c).astype(dtype) for c in (1, 2, *(1 + k * float(limits.eps) for k in (1, 2, 3)))]
    near = [np.nextafter(x, to).astype(dtype) for x in near for to in (x * 0, x * 2)]
    return np.concatenate([*near, sweep("log", dtype, 400_000), np.array([0.0, -0.0, math.inf], dtype)])


@every_dtype
def test_mended_square_root_is_correctly_rounded(dtype):
    """Also from a root that is 1 ulp too large or too small, as PyTorch's is at times."""

    class Worse:
        """NumPy, but its square roots are off."""

        def __init__(self, direction):
            self.sqrt = lambda x: np.nextafter(np.sqrt(x), np.full_like(x, direction))

        def __getattr__(self, name):
            return getattr(np, name)

    x = hard_roots(dtype)
    for xp in (np, Worse(0), Worse(math.inf), array_api_strict):
        primitives = elementary.array_primitives(xp if xp is array_api_strict else np, dtype)
        sqrt = elementary._mended_sqrt(xp, dtype, primitives.scale, primitives.exponent)
        assert_same_bits(np.asarray(sqrt(xp.asarray(x))), np.sqrt(x))
        assert np.isnan(np.asarray(sqrt(xp.asarray(np.array([-1.0, -math.inf, math.nan], dtype))))).all()


@every_dtype
def test_torch_square_root(dtype):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    xp = pytest.importorskip("array_api_compat.torch", reason="PyTorch is not installed")
    x = hard_roots(dtype)
    assert_same_bits(elementary.array_primitives(xp, dtype).sqrt(torch.from_numpy(x)).numpy(), np.sqrt(x))


def primitives_of_numbers(dtype):
    """Those of compiled numbers, to be called from Python."""

    def called(name, names):
        inner = scalars.function(dtype, lambda m, *numbers: getattr(m.primitives(), name)(*numbers), names)
        of = {"x": lambda x: inner(x), "x n": lambda x, n: inner(x, n)}  # noqa: PLW0108 (an intrinsic is no function)
        return compiled(of[names])

    ways = {"rint": "x", "scale": "x n", "exponent": "x", "sqrt": "x"}
    return elementary.Primitives(None, *(called(name, names) for name, names in ways.items()))


@every_dtype
def test_primitives_of_all_consumers_agree(dtype):
    limits, scalar = np.finfo(dtype), dtype_of(dtype)
    n = np.arange(limits.minexp, limits.maxexp).astype(dtype)
    powers = np.exp2(n.astype("float64")).astype(dtype)
    ties = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 0.49, -7.51], dtype)
    mine = np.array(1 + limits.eps, dtype)
    for consumer in ("numpy", "strict", "scalars", "numbers"):
        arrays = consumer in ("numpy", "strict")
        xp = array_api_strict if consumer == "strict" else np
        primitives = {
            "scalars": elementary.scalar_primitives,
            "numbers": primitives_of_numbers,
        }.get(consumer, lambda dtype, xp=xp: elementary.array_primitives(xp, dtype))(dtype)

        def apply(function, *x, arrays=arrays, xp=xp):
            if arrays:
                return np.asarray(function(*map(xp.asarray, x)))
            return np.array([function(*map(scalar, row)) for row in zip(*x, strict=True)], dtype)

        assert_same_bits(apply(primitives.scale, np.broadcast_to(mine, n.shape), n), powers * mine)
        assert_same_bits(apply(primitives.exponent, powers), n)
        assert_same_bits(apply(primitives.exponent, np.nextafter(powers[1:], powers[:-1])), n[:-1])
        np.testing.assert_array_equal(apply(primitives.rint, ties), np.rint(ties))
        assert_same_bits(apply(primitives.sqrt, powers), np.sqrt(powers))


# Pinned: sha256 over the little-endian bytes of the function on `sweep(name, dtype, 20000)`.

PINNED = {
    ("exp", "float64"): "e5758c9d96b2989850e50a0c05650d98af13d7407a9ae2256ecbc46e2ef82cb5",
    ("log", "float64"): "bbd4e56713a796c2ccda71f3b3e66883e78f6778d69c60f0a8629559f2336e66",
    ("log1p", "float64"): "4f7d8176d37e21d51491b92a5d1bbe66b88632b6c04ada655c6a89480d39f596",
    ("expm1", "float64"): "c710ce3dbb182742cdac329c8126d149f52ded19dbd2400d870eae9a56b595ee",
    ("tanh", "float64"): "4891c571294f209222b78b030b2173d42e2791200b379d54d1991a89bf8094fd",
    ("erf", "float64"): "48adc98ed18fcde1420f84b0d41ac6335ae37e70a52eac779749b64ac12e2722",
    ("cospi", "float64"): "d71e7f165e458808ac4b57349ae07ee6f552fc2c21dc8a9e3dfdd016f27b6a3a",
    ("exp", "float32"): "04ed6daeda5425b34f5663c41774497a836e39c95e9ddb2ec65420670e103af5",
    ("log", "float32"): "512996cf375b76c5a1178428c63870339bc40cce3d8287171c9232c56d0ff485",
    ("log1p", "float32"): "db2bcb69e8840583d1f601ef5595c04c23576bb42ed8241a42c2f43922cd247a",
    ("expm1", "float32"): "dbebff7077a62b43d7b316759dcc1dcfe372a0bb172733fe16b85569d6ea7ff5",
    ("tanh", "float32"): "2f0134159135436a83e22d84f459ea5d2532988e230aff9e52d57a03f3a1192b",
    ("erf", "float32"): "271a6cea0727f4b499361aee45ffbeba04c9e59aa4d86ddc60c9ccd6e050319d",
    ("cospi", "float32"): "2a91ec7055d22a3b4ad9d7cfb57cf677bb1570df6d2684fa7d3ca8d3f06a3017",
}


def fingerprint(name, dtype):
    y = getattr(elementary.for_numpy(dtype), name)(sweep(name, dtype, 20000))
    return hashlib.sha256(y.astype(y.dtype.newbyteorder("<")).tobytes()).hexdigest()


@every_dtype
@every_function
def test_pinned_bits(name, dtype):
    assert fingerprint(name, dtype) == PINNED[name, dtype]


@every_dtype
@pytest.mark.parametrize("name", ["exp", "log", "log1p", "expm1", "tanh"])
def test_library_functions_are_told_apart(name, dtype):
    """NumPy's own function, however accurate, does not have the pinned bits."""
    x = sweep(name, dtype, 20000)
    with np.errstate(all="ignore"):
        y = getattr(np, name)(x)
    assert hashlib.sha256(y.tobytes()).hexdigest() != PINNED[name, dtype]


def test_one_bit_of_a_coefficient_is_told_apart(monkeypatch):
    """1/6 off by 2^-55 in e^r = 1 + r + r^2/2 + r^3/6 + ... shows in few values, and in the hash."""
    table = dict(elementary.CONSTANTS["float64"])
    sixth, *rest = table["exp"].split()
    table["exp"] = " ".join([math.nextafter(float.fromhex(sixth), 1).hex(), *rest])
    altered = {name: table if name == "float64" else other for name, other in elementary.CONSTANTS.items()}
    x = sweep("exp", "float64", 20000)
    monkeypatch.setattr(elementary, "CONSTANTS", altered)
    functions = elementary.build(elementary.array_primitives(np, "float64"), "float64")
    assert hashlib.sha256(functions.exp(x).tobytes()).hexdigest() != PINNED["exp", "float64"]


if __name__ == "__main__":  # prints the table above
    for dtype in DTYPES:
        for name in NAMES:
            print(f'    ("{name}", "{dtype}"): "{fingerprint(name, dtype)}",')


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_selections_by_bits(dtype):
    """They are NumPy's own, of NaN and of signs of zero too, and of numbers and of arrays that are broadcast."""
    x = np.tile(np.array([0.0, -0.0, math.nan, math.inf, -1.5, 5e-324, 2.0], dtype), (elementary._FEW, 1))
    y, constant = x[:, ::-1], np.array(-0.0, dtype)
    condition = np.arange(x.size).reshape(x.shape) % 3 == 0
    for a, b in ((x, y), (x, constant), (constant, y), (constant, constant), (x, -0.5), (-0.5, y), (x[:1], y)):
        found = elementary.where(np, condition, a, b)
        assert found.dtype == dtype
        assert_same_bits(found, np.where(condition, a, b))
