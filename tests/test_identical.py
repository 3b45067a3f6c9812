"""The headline promise: under reproducible numerics every backend gives the same bits, in this process and the next."""

import ast
import contextlib
import ctypes
import functools
import itertools
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from helpers import (
    BATCHES,
    FEW_RULES,
    OF_RARE_LOSSES,
    PAIRS,
    RARE_OPTIMIZERS,
    WIDTHS,
    gradients_of,
    label,
    networks,
    parameters,
    samples,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import backprop_ref as br
from backprop_ref.backends.arithmetic import Reproducible
from backprop_ref.backends.numpy import NumpyBackend
from backprop_ref.data import load_dataset
from backprop_ref.formulas import USUAL_ACTIVATIONS
from backprop_ref.network import ACTIVATIONS

DTYPES = ("float64", "float32")
OTHERS = ("numba", "numba_shared", "python", "array_api_strict", "torch", "cupy")
EVERY = {"numba_shared": 12, "array_api_strict": 4}  # of the many cases, where waking threads or checking takes long
OPTIMIZERS = (br.SGD(0.02), br.SGD(0.01, 0.9), br.SGD(0.01, 0.9, nesterov=True, weight_decay=0.01), br.Adam(0.01))
REFERENCE = br.get_backend("numpy", "reproducible")
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=["sgd", "momentum", "nesterov", "adam"])


@contextlib.contextmanager
def made(name):
    """One of `OTHERS`; numba_shared is numba with two threads at work on every affine map, however small."""
    if name != "numba_shared":
        yield br.get_backend(name, "reproducible", threads=1)
        return
    try:
        backend = br.get_backend("numba", "reproducible", threads=2)
    except br.InvalidInput as error:
        pytest.skip(str(error))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[type(backend).__module__], "SHARED_FROM", 0)
        yield backend


@pytest.fixture(params=OTHERS)
def other(request):
    """Each backend that is compared with the reference."""
    with contextlib.ExitStack() as stack:
        try:
            backend = stack.enter_context(made(request.param))
        except br.BackendUnavailable as error:
            if request.param in request.config.getoption("--require-backend"):
                pytest.fail(str(error))
            pytest.skip(str(error))
        yield backend


# What is compared, and how a difference is told.


def computed(backend, network, params, x, y):
    """Everything one pass computes, by name, in the order in which it is computed."""
    seen = br.trace(network, params, x, y, backend=backend)
    layers = range(network.n_layers)
    forward = [(layer, name) for layer in layers for name in ("z", "a")]
    backward = [(layer, name) for layer in reversed(layers) for name in ("delta", "dW", "db")]
    named = {f"layer {layer}, {name}": getattr(seen, name)[layer] for layer, name in forward + backward}
    assert len(named) + 2 == len(gradients_of(REFERENCE, network, params, x, y)), "something is left out"
    return {**named, "loss": np.array(seen.loss, params.dtype), "dx": seen.dx}


def weights(params):
    """W and b of every layer by name."""
    return {f"layer {i}, {kind}": getattr(params, kind)[i] for i in range(len(params.W)) for kind in ("W", "b")}


def position(x):
    """Where floats stand among all of their dtype, as integers: neighbours differ by 1, and −0 comes before +0."""
    bits = x.view({8: np.int64, 4: np.int32}[x.itemsize]).ravel().tolist()
    return [i if i >= 0 else -1 - (i + 2 ** (8 * x.itemsize - 1)) for i in bits]


def assert_identical(got, expected, about=""):
    """The same names, shapes, dtypes and bits; else it says where they part first."""
    assert list(got) == list(expected)
    for name, right in expected.items():
        right, array = np.array(right), np.array(got[name])
        assert (array.shape, array.dtype) == (right.shape, right.dtype), f"{about}: {name}"
        assert not np.isnan(right).any(), f"{about}: {name} has NaN, whose bits differ by machine"
        if array.tobytes() == right.tobytes():
            continue
        apart = [a - b for a, b in zip(position(array), position(right), strict=True)]
        first = next(i for i, distance in enumerate(apart) if distance)
        entry = ", ".join(str(int(i)) for i in np.unravel_index(first, right.shape))
        pytest.fail(
            f"{about}: the first difference is in {name}[{entry}], {array.flat[first]!r} instead of "
            f"{right.flat[first]!r}: {apart[first]:+d} ulp; {sum(map(bool, apart))} of {right.size} entries differ"
        )


def test_a_difference_is_named():
    right = {"loss": np.array(0.25), "layer 0, dW": np.array([[1.0, -2.0, 0.0]], np.float32)}
    assert_identical(right, {name: array.copy() for name, array in right.items()})
    above, below = np.nextafter(1.0, 2.0, dtype=np.float32), np.nextafter(-2.0, -3.0, dtype=np.float32)
    for wrong, message in (
        ([[above, -2.0, 0.0]], r"in layer 0, dW\[0, 0\], .* instead of .*: \+1 ulp; 1 of 3 entries differ"),
        ([[1.0, below, 0.5]], r"dW\[0, 1\], .*: -1 ulp; 2 of 3"),
        ([[1.0, -2.0, -0.0]], r"dW\[0, 2\], .*-0.0.* instead of .*0.0.*: -1 ulp; 1 of 3"),
    ):
        with pytest.raises(pytest.fail.Exception, match=message):
            assert_identical({**right, "layer 0, dW": np.array(wrong, np.float32)}, right)
    with pytest.raises(AssertionError, match="has NaN"):
        assert_identical({"loss": np.array(np.nan)}, {"loss": np.array(np.nan)})


# Gradients.


@pytest.mark.few(2, 8)
@each_dtype
@pytest.mark.parametrize("batch", BATCHES)
def test_every_tensor_has_the_same_bits(other, batch, dtype, request):
    """All activations and losses, depth 0 to 3, odd widths: z, a, delta, dW, db, dx and the loss."""
    step = EVERY.get(request.node.callspec.params["other"], 1)
    for network in itertools.islice([*networks(), *OF_RARE_LOSSES], batch % step, None, step):
        params, (x, y) = parameters(network, dtype=dtype), samples(network, batch, dtype=dtype)
        expected = computed(REFERENCE, network, params, x, y)
        assert_identical(computed(other, network, params, x, y), expected, f"{other.name} {dtype} {label(network)}")


@pytest.mark.few(3)
@each_dtype
def test_wide_layers_have_the_same_bits(other, dtype):
    """Widths beyond a vector register, a cache line and the point from which Numba's threads are worth it."""
    if other.name == "python":
        pytest.skip("a million multiplications take plain Python seconds")
    network = br.Network([67, 129, 33, 10], ["leaky_relu", "tanh", "softmax"], "ce")
    params, (x, y) = parameters(network, dtype=dtype), samples(network, 101, dtype=dtype)
    assert_identical(computed(other, network, params, x, y), computed(REFERENCE, network, params, x, y), other.name)


@st.composite
def cases(draw):
    """A network with parameters, a batch and a way to cut it; z from subnormal to 1e4, deltas from subnormal to 1e3."""
    loss, output = draw(st.sampled_from(PAIRS))
    sizes = draw(st.lists(st.integers(1, 9), min_size=2, max_size=5))
    hidden = draw(st.lists(st.sampled_from(ACTIVATIONS), min_size=len(sizes) - 2, max_size=len(sizes) - 2))
    network = br.Network(sizes, [*hidden, output], loss)
    dtype, seed = draw(st.sampled_from(DTYPES)), draw(st.integers(0, 1000))
    least = {"float64": -1070, "float32": -147}[dtype]
    scale = st.one_of(st.integers(least, 12), st.integers(-8, 12))
    params = parameters(network, seed, dtype)
    for W, b in zip(params.W, params.b, strict=True):
        W *= params.dtype.type(2.0 ** draw(st.integers(-8, 8)))
        b *= params.dtype.type(2.0 ** draw(st.integers(-8, 13)))
    x, y = samples(network, draw(st.integers(1, 9)), seed, dtype)
    da = y * params.dtype.type(2.0 ** draw(scale))
    return network, params, x * params.dtype.type(2.0 ** draw(scale)), y, da, draw(st.integers(1, 11))


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.more
def test_any_network_has_the_same_bits(name):
    @settings(max_examples={"numba": 150, "numba_shared": 10}.get(name, 30), deadline=None, database=None)
    @given(cases())
    def compare(case):
        network, params, x, y, da, shards = case
        with np.errstate(all="ignore"):
            expected = computed(REFERENCE, network, params, x, y)
            assume(all(np.isfinite(array).all() for array in expected.values()))
            assert_identical(computed(backend, network, params, x, y), expected, label(network))
            for call in (
                lambda backend: br.value_and_grad(network, params, x, y, shards=shards, backend=backend)[::-1],
                lambda backend: br.vjp(network, params, x, da, backend=backend),
            ):
                (grads, rest), (right, right_rest) = call(backend), call(REFERENCE)
                assume(np.isfinite(right.flat).all() and np.isfinite(right_rest).all())
                assert_identical(weights(grads) | {"rest": rest}, weights(right) | {"rest": right_rest}, label(network))

    try:
        with made(name) as backend:
            compare()
    except br.BackendUnavailable as error:
        pytest.skip(str(error))


# Planted: what changes bits and nothing else has to be told apart.


class KBackwards(NumpyBackend):
    def affine_forward(self, a, W, b):
        return super().affine_forward(a[:, ::-1], W[::-1], b)


class BiasLast(NumpyBackend):
    def affine_forward(self, a, W, b):
        return super().affine_forward(a, W, 0.0 * b) + b


class SamplesBackwards(NumpyBackend):
    def affine_backward(self, delta, a):
        return super().affine_backward(delta[::-1], a[::-1])


class NeuronsBackwards(NumpyBackend):
    def affine_backward_input(self, delta, W):
        return super().affine_backward_input(delta[:, ::-1], W[:, ::-1])


class Reciprocal(NumpyBackend):
    def loss_backward(self, loss, activation, z, a, y, batch=None):
        return super().loss_backward(loss, activation, z, a, y, 1) * (1.0 / len(y))


class PairwiseLoss(NumpyBackend):
    def loss_forward(self, loss, activation, z, a, y, batch=None):
        return np.float64(np.sum((a - y) * (a - y)) / len(y))


class LibraryTanh(NumpyBackend):
    def activation_forward(self, activation, z):
        return np.tanh(z) if activation == "tanh" else super().activation_forward(activation, z)


class Regrouped(NumpyBackend):
    def activation_backward(self, activation, z, a, da):
        if activation == "tanh":
            return da * ((1.0 - a) * (1.0 + a))
        return super().activation_backward(activation, z, a, da)


@pytest.mark.parametrize(
    ("planted", "where"),
    [
        (KBackwards, r"layer 0, z\["),
        (BiasLast, r"layer 0, z\["),
        (LibraryTanh, r"layer 0, a\["),
        (PairwiseLoss, r"loss\["),
        (Reciprocal, r"layer 1, delta\["),
        (SamplesBackwards, r"layer 1, dW\["),
        (Regrouped, r"layer 0, delta\["),
        (NeuronsBackwards, r"layer 0, delta\["),
    ],
)
def test_a_reordering_is_told_apart(planted, where):
    """Each is found, and found where it is."""
    network = br.Network([11, 9, 7], ["tanh", "linear"], "sse")
    params, (x, y) = parameters(network), samples(network, 41)
    backend = planted(np, Reproducible(np))
    with pytest.raises(pytest.fail.Exception, match=f"the first difference is in {where}"):
        assert_identical(computed(backend, network, params, x, y), computed(REFERENCE, network, params, x, y))


# Training.


def trained(backend, network, optimizer, dtype):
    """Weights after 50 steps on batches of 3, every third one short."""
    x, y = samples(network, 7, dtype=dtype)
    how = {"epochs": 17, "batch_size": 3, "schedule": "cosine", "backend": backend}
    return weights(br.train(network, parameters(network, dtype=dtype), x, y, optimizer=optimizer, **how).params)


once_trained = functools.cache(functools.partial(trained, REFERENCE))


def some_networks(shift, activations=ACTIVATIONS):
    """One network for every loss and output, of each depth and with each of these hidden activations in turn."""
    for i, (loss, output) in enumerate(PAIRS):
        depth, hidden = (i + shift) % len(WIDTHS), activations[(i // 2 + shift) % len(activations)]
        yield br.Network(WIDTHS[depth], [hidden] * depth + [output], loss)


@pytest.mark.few(4, 12)
@pytest.mark.more(other="numba", dtype="float32")
@pytest.mark.more(other="numba_shared", dtype="float32")
@each_dtype
@each_optimizer
def test_weights_after_50_steps_have_the_same_bits(other, optimizer, dtype):
    shift = OPTIMIZERS.index(optimizer) + DTYPES.index(dtype)
    step = 7 if other.name != "numba" else 15 if other.threads == 2 else 1
    of = USUAL_ACTIVATIONS if other.name == "numba" else ACTIVATIONS  # the others need programs: see test_trainers.py
    for network in itertools.islice(some_networks(shift, of), shift % 4, None, step):
        about = f"{other.name} {dtype} {label(network)} after training"
        assert_identical(trained(other, network, optimizer, dtype), once_trained(network, optimizer, dtype), about)


@each_dtype
@pytest.mark.parametrize("optimizer", RARE_OPTIMIZERS, ids=repr)
def test_rare_optimizers_give_the_same_bits(other, optimizer, dtype):
    if other.name != "numba":  # whose trainers are compared in test_trainers.py
        assert_identical(trained(other, FEW_RULES, optimizer, dtype), once_trained(FEW_RULES, optimizer, dtype))


@pytest.mark.long
@each_dtype
@each_optimizer
def test_weights_of_every_network_after_50_steps_have_the_same_bits(other, optimizer, dtype, request):
    """Where that takes long, each network with one of the optimizers and dtypes, in turn."""
    combinations = len(OPTIMIZERS) * len(DTYPES)
    turn = OPTIMIZERS.index(optimizer) * len(DTYPES) + DTYPES.index(dtype)
    slow = request.node.callspec.params["other"] in EVERY
    for network in itertools.islice(networks(), turn if slow else 0, None, combinations if slow else 1):
        about = f"{other.name} {dtype} {label(network)} after training"
        assert_identical(trained(other, network, optimizer, dtype), once_trained(network, optimizer, dtype), about)


# Pinned: the bits themselves, for every machine, library and year.

PINNED_NETWORKS = [
    br.Network([3, 5, 11], ["tanh", "softmax"], "ce"),
    br.Network([2, 4, 1], ["sigmoid", "sigmoid"], "sse"),
    br.Network([5, 1, 7, 3], ["relu", "leaky_relu", "sigmoid"], "bce"),
    br.Network([7, 3], ["softmax"], "mse"),
    br.Network([13, 17, 6, 2], ["softmax", "linear", "sigmoid"], "ce"),
]
PINNED_GRADIENTS = [  # float64 and float32 of each
    "1a9b30e6bdd47d8e0528713a349eccb9bd8f7cd25db455d35f913b476c739213",
    "333781091bbf4f5b5a2209304908afea675c3a3c6a2116796eaf05c111a2a309",
    "8d270b3bf2f42aec0e71a65cc36521abf366b738dcfc550432230c25fbac7645",
    "e354d328cc0be9f0298ac66f16ca6318bd40316979128176b1db65b9fccb79ec",
    "dee9ad7953be7ada9074797ff7fc9131fab0578032314566423fe14c716e7cf5",
    "d146a28eb3bcea0995fa3b38b3e0264d25422d0a11062404fae0e5da9f2fe874",
    "2b1eec752797b0b8788f2a89d10db626df80573a23ab8d07e23e4f374151cafc",
    "9fac832db10a22d2bde28e89ff2baa9a34c21b2500194c23ca0d1ee613ffd13d",
    "2b3510769d58a3d0d4258a92f05146c654afbcbc2d582df298d390dc3c4c7bb8",
    "706f1729ba56da9f1d445cccb5cedb0c59ece6a2e271ed0f5f4ed744e132471b",
]
PINNED_RUNS = {
    ("xor", 300): "60f64fdfa2e1c979da93101492ca6d1df932ed2b6a079aa129d4ace85dcad765",
    ("encoder", 50): "334ce7587d43763353c2a90c36f6ce0da15823c0e3cb8ca28b6b78c4b927dedc",
    ("digits", 1): "c12de40b86efe3f69e2a1f08c6eee92ca48667afe5d06f4eb8e1a34d84956c52",
    ("xor", 20000): "029d54b4bf07689b58b446ea563d33f93d00f0f9ec90062a1fced8c9eeea7846",
    ("encoder", 10000): "97b29099d64aa161f322abc5193ee616451777fccc5215e6e24353a0799df0e9",
    ("digits", 5): "5c567ca6814ffef097c178ba1d2a89a60d5ea5236f6e413182e4f604ede50aae",
}


def gradient_hashes(backend, count=None):
    """sha256 of the gradients of the `PINNED_NETWORKS`, each in both dtypes, or the first `count` of them."""
    hashes = []
    for network, dtype in itertools.islice(itertools.product(PINNED_NETWORKS, DTYPES), count):
        params, (x, y) = parameters(network, dtype=dtype), samples(network, 7, dtype=dtype)
        hashes.append(br.value_and_grad(network, params, x, y, backend=backend)[1].sha256())
    return hashes


def run_hash(name, epochs, backend):
    """sha256 of the weights after so many epochs on a data set."""
    data = load_dataset(name)
    n_in, n_out = data.x.shape[1], len(data.classes)
    x, y = data.x, br.one_hot(data.target)
    if name == "xor":
        network, optimizer = br.Network([n_in, 4, 1], ["sigmoid", "sigmoid"], "sse"), br.SGD(0.5, momentum=0.9)
        y, batch_size = data.target[:, None], None
    elif name == "encoder":
        network, optimizer = br.Network([n_in, 3, n_out], ["sigmoid", "sigmoid"], "bce"), br.SGD(0.5)
        batch_size = 1
    else:
        network, optimizer = br.Network([n_in, 32, n_out], ["tanh", "softmax"], "ce"), br.Adam(0.005)
        x, batch_size = x / 16.0, 32
    params = network.init(seed=1)
    how = {"epochs": epochs, "batch_size": batch_size, "optimizer": optimizer, "backend": backend}
    return br.train(network, params, x, y, **how).params.sha256()


@pytest.mark.parametrize("name", ["numpy", *OTHERS])
def test_gradients_have_their_pinned_hash(name):
    try:
        with made(name) as backend:
            assert gradient_hashes(backend) == PINNED_GRADIENTS
    except br.BackendUnavailable as error:
        pytest.skip(str(error))


SHORT = [("xor", 300), ("encoder", 50), ("digits", 1)]
LONG = [("xor", 20_000), ("encoder", 10_000), ("digits", 5)]


@pytest.mark.more
@pytest.mark.parametrize("name", ["numpy", "numba"])
@pytest.mark.parametrize(("data", "epochs"), LONG)
def test_full_runs_have_their_pinned_hash(name, data, epochs):
    check_run(name, data, epochs)


@pytest.mark.parametrize("name", ["numpy", *OTHERS])
@pytest.mark.parametrize(("data", "epochs"), SHORT)
@pytest.mark.few(4)
def test_short_runs_have_their_pinned_hash(name, data, epochs):
    check_run(name, data, epochs)


@pytest.mark.long
@pytest.mark.parametrize("name", ["numpy", *OTHERS])
@pytest.mark.parametrize(("data", "epochs"), LONG)
def test_long_runs_have_their_pinned_hash(name, data, epochs):
    check_run(name, data, epochs)


def check_run(name, data, epochs):
    """A run's hash on one backend; an absent backend is skipped with its reason."""
    try:
        with made(name) as backend:
            assert run_hash(data, epochs, backend) == PINNED_RUNS[data, epochs]
    except br.BackendUnavailable as error:
        pytest.skip(str(error))


# Other processors, other processes.


def in_another_process(code, **variables):
    """What a fresh Python prints, with these environment variables."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent), **variables}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


def simd_found():
    """Names of what NumPy uses of this processor beyond its baseline, the best last."""
    return np.show_config(mode="dicts").get("SIMD Extensions", {}).get("found", [])


def hashes_elsewhere(backend, count=None, **variables):
    """`gradient_hashes` of a fresh Python with these environment variables."""
    made = f"br.get_backend({backend!r}, 'reproducible')"
    code = f"import backprop_ref as br, test_identical as t; print(t.gradient_hashes({made}, {count}))"
    return ast.literal_eval(in_another_process(code, **variables))


@pytest.mark.parametrize("left", [0, 1])
@pytest.mark.few(1)
def test_hashes_do_not_depend_on_numpys_processor_features(left):
    """All features beyond the baseline off, or all but the first; and another kernel of OpenBLAS, and one thread."""
    features = simd_found()[left:]
    if not features:
        pytest.skip("NumPy uses nothing here that could be switched off")
    blas = {"OPENBLAS_CORETYPE": "Prescott", "OPENBLAS_NUM_THREADS": "1"}
    assert hashes_elsewhere("numpy", NPY_DISABLE_CPU_FEATURES=" ".join(features), **blas) == PINNED_GRADIENTS


@pytest.mark.more
def test_hashes_do_not_depend_on_numbas_processor(tmp_path):
    """Compiled for any processor of this kind, that is without AVX and FMA, and for one thread."""
    generic = {"NUMBA_CPU_NAME": "generic", "NUMBA_NUM_THREADS": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    assert hashes_elsewhere("numba", 1, **generic) == PINNED_GRADIENTS[:1]


# The processor's setting, which any library can change for the thread that loads it.

SETTING = """
#include <xmmintrin.h>
void set_mxcsr(unsigned bits) { _mm_setcsr((_mm_getcsr() & ~0xe040u) | bits); }
"""
MXCSR = {"FTZ": 0x8000, "DAZ": 0x0040, "down": 0x2000, "up": 0x4000, "to zero": 0x6000}


@pytest.fixture(scope="module")
def compiler(tmp_path_factory):
    """Compiles C to a shared library and returns its path."""
    cc, folder = shutil.which("cc") or shutil.which("gcc"), tmp_path_factory.mktemp("setting")

    def build(name, source, *ways):
        if cc is None:
            pytest.skip("no C compiler")
        (folder / f"{name}.c").write_text(source)
        for options in ways or [()]:
            command = [cc, "-shared", "-fPIC", *options, "-o", str(folder / f"{name}.so"), str(folder / f"{name}.c")]
            if subprocess.run(command, capture_output=True, check=False).returncode == 0:
                return folder / f"{name}.so"
        pytest.skip(f"the C compiler cannot build {name}.c, which is for x86 processors")

    return build


def in_a_thread(function):
    """What a function returns or raises in a thread of its own, whose setting ends with it."""
    result = []

    def run():
        try:
            result.append(function())
        except Exception as error:
            result.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return result[0]


@pytest.mark.parametrize("name", ["numpy", "python", "numba", "array_api_strict"])
@pytest.mark.parametrize("bits", MXCSR)
def test_a_thread_with_another_setting_is_refused(compiler, name, bits):
    """By name and as an object, under reproducible numerics alone, in that thread alone."""
    library = ctypes.CDLL(str(compiler("setting", SETTING)))
    ready = br.get_backend(name, "reproducible")

    def ask(backend, numerics):
        library.set_mxcsr(MXCSR[bits])
        try:
            return br.get_backend(backend, numerics)
        finally:
            library.set_mxcsr(0)

    for backend in (name, ready):
        error = in_a_thread(lambda backend=backend: ask(backend, "reproducible"))
        assert isinstance(error, br.BackendUnavailable)
        found = "FTZ or DAZ is on" if bits in {"FTZ", "DAZ"} else "not rounded to nearest"
        assert found in str(error)
    assert in_a_thread(lambda: ask(name, "fast")).numerics == "fast"
    assert br.get_backend(name, "reproducible") is ready


def test_a_library_built_with_fast_math_is_noticed(compiler):
    """Loading it is enough; later compilers want the second option for that, earlier ones do not know it."""
    ways = ("-ffast-math", "-mdaz-ftz"), ("-ffast-math",)
    path = compiler("fast", "double f(double x) { return x; }", *ways)

    def load():
        ctypes.CDLL(str(path))
        return br.get_backend("numpy", "reproducible")

    error = in_a_thread(load)
    assert isinstance(error, br.BackendUnavailable)
    assert "-ffast-math" in str(error)


def test_numbas_threads_are_asked_too(compiler):
    """They are started once, with the setting of whoever starts them."""
    path = compiler("setting", SETTING)
    code = f"""
import ctypes, sys, numba, numpy as np, backprop_ref as br
library = ctypes.CDLL({str(path)!r})
library.set_mxcsr({MXCSR["FTZ"]})
numba.set_num_threads(2)
library.set_mxcsr(0)
backend = br.get_backend("numba", "reproducible", threads=2)
sys.modules[type(backend).__module__].SHARED_FROM = 0
one = np.ones((8, 8))
try:
    backend.affine_forward(one, one, one[0])
except br.BackendUnavailable as error:
    print(error)
"""
    assert "a thread of Numba's" in in_another_process(code, NUMBA_NUM_THREADS="2", NUMBA_THREADING_LAYER="workqueue")


# A namespace is probed before it may call itself reproducible.


class Crooked:
    """NumPy, with one thing computed differently."""

    def __init__(self, **different):
        self.__dict__.update(different)
        self.__name__ = "crooked"

    def __getattr__(self, name):
        return getattr(np, name)


class Flushing(np.ndarray):
    """Arrays whose products are flushed to zero where they are subnormal."""

    def __mul__(self, other):
        product = np.asarray(self) * np.asarray(other)
        return np.where(abs(product) < np.finfo(product.dtype).smallest_normal, 0.0, product).view(type(self))


class ByReciprocal(np.ndarray):
    """Arrays that are divided by a column by multiplying with its reciprocal."""

    def __truediv__(self, other):
        if getattr(other, "shape", self.shape) != self.shape:
            return np.asarray(self) * (np.asarray(self).dtype.type(1.0) / np.asarray(other))
        return np.asarray(self) / np.asarray(other)


def test_a_namespace_that_rounds_otherwise_is_refused():
    def asarray(kind):
        return lambda x, dtype: np.asarray(x, dtype).view(kind)

    Reproducible(np).probe(asarray(np.ndarray), np.asarray)
    off = Crooked(sqrt=lambda x: np.nextafter(np.sqrt(x), x.dtype.type(2)))
    for xp, kind, message in (
        (off, np.ndarray, "in crooked, float64, a square root is not IEEE arithmetic"),
        (np, Flushing, "a product is not IEEE"),
        (np, ByReciprocal, "division by a column is not IEEE"),
    ):
        with pytest.raises(br.BackendUnavailable, match=message):
            Reproducible(xp).probe(asarray(kind), np.asarray)
