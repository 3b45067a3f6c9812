"""The registry: names, settings and their precedence, what is unknown, missing or foreign; and the one interface."""

import importlib.metadata
import inspect
import itertools
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import get_args, get_origin

import numpy as np
import pytest
from helpers import PAIRS, parameters, samples

import backprop_ref as br
from backprop_ref import settings
from backprop_ref.backends.base import Backend, OffersTrainer
from backprop_ref.conformance.rounding.bounds import gradient_bounds
from backprop_ref.network import ACTIVATIONS

backends = sys.modules["backprop_ref.backends"]  # the name in the package is the function
NETWORK = br.Network([3, 4, 2], ["tanh", "softmax"], "ce")


def signature(function):
    """Its parameters, with names, defaults and annotations, and the annotation of its result.

    What `contextlib.contextmanager` makes of an iterator is a context.
    """
    found = inspect.signature(function, eval_str=True)
    result = found.return_annotation
    if hasattr(function, "__wrapped__") and get_origin(result) is Iterator:
        result = AbstractContextManager[get_args(result)]
    return list(found.parameters.values()), result


@pytest.mark.few(6)
def test_every_backend_has_the_same_signatures(backend):
    for interface in (Backend, OffersTrainer):
        for name, method in inspect.getmembers(interface, inspect.isfunction):
            if not name.startswith("_") and isinstance(backend, interface):
                (_, *asked), result = signature(method)
                (_, *found), found_result = signature(getattr(type(backend), name))
                assert found[: len(asked)] == asked, name
                assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in found[len(asked) :]), name
                assert found_result == result, name
    assert isinstance(backend, Backend)
    assert backend.numerics in {"fast", "reproducible"}


@pytest.mark.few(6)
def test_arrays_come_back_as_they_went(backend):
    for dtype in ("float64", "float32"):
        array = np.arange(6.0).reshape(2, 3)
        with backend.scope():
            made = backend.asarray(array, dtype)
            backend.synchronize()
            back = backend.to_numpy(made)
        np.testing.assert_array_equal(back, array)
        assert isinstance(back, np.ndarray)
        assert back.dtype == dtype


@pytest.mark.few(8)
def test_results_are_numpy_and_float(backend):
    params, (x, y) = parameters(NETWORK), samples(NETWORK, 5)
    loss, grads = br.value_and_grad(NETWORK, params, x, y, backend=backend)
    assert type(loss) is float
    assert type(grads) is br.Parameters
    assert type(br.predict(NETWORK, params, x, backend=backend)) is np.ndarray
    assert type(br.vjp(NETWORK, params, x, y, backend=backend)[1]) is np.ndarray


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("numerics", ["fast", "reproducible"])
def test_on_another_device_nothing_goes_through_the_host(numerics, dtype):
    """Every activation, loss and update on array-api-strict's fake device, whose arrays NumPy cannot read."""
    backend = br.get_backend("array_api_strict", numerics, "device1")
    with pytest.raises(RuntimeError, match="device1"):
        np.asarray(backend.asarray(np.ones(2), dtype))
    numpy = br.get_backend("numpy", numerics)
    for (loss, output), hidden in zip(PAIRS, itertools.cycle(ACTIVATIONS)):
        network = br.Network([3, 5, 2], [hidden, output], loss)
        params, (x, y) = parameters(network, dtype=dtype), samples(network, 5, dtype=dtype)
        loss, grads = br.value_and_grad(network, params, x, y, backend=backend, shards=2)
        right, right_grads = br.value_and_grad(network, params, x, y, backend=numpy, shards=2)
        if numerics == "reproducible":
            assert (loss, grads.sha256()) == (right, right_grads.sha256())
        bounds = gradient_bounds(network, params, x, y)
        assert abs(loss - right) <= 2.0 * bounds.loss


def test_a_trip_through_the_host_is_caught(monkeypatch):
    backend = br.get_backend("array_api_strict", "fast", "device1")

    def trip(activation, z):
        return backend.asarray(np.tanh(np.asarray(z)), "float64")

    monkeypatch.setattr(backend, "activation_forward", trip)
    with pytest.raises(RuntimeError, match="device1"):
        br.value_and_grad(NETWORK, parameters(NETWORK), *samples(NETWORK, 5), backend=backend)


def test_unset_and_empty_mean_numpy(monkeypatch):
    assert br.get_backend().name == "numpy"
    for value in ("", "  "):
        monkeypatch.setenv("BACKPROP_REF_BACKEND", value)
        assert br.get_backend().name == "numpy"


def test_the_environment_is_read_when_needed(monkeypatch):
    monkeypatch.setenv("BACKPROP_REF_BACKEND", "array_api_strict")
    monkeypatch.setenv("BACKPROP_REF_DEVICE", "device1")
    monkeypatch.setenv("BACKPROP_REF_NUMERICS", "reproducible")
    monkeypatch.setenv("BACKPROP_REF_DTYPE", "float32")
    assert br.get_backend().name == "array_api_strict"
    assert "device1" in br.get_backend().device
    assert br.get_backend().numerics == "reproducible"
    assert NETWORK.init().dtype == np.float32


def test_argument_over_context_over_environment(monkeypatch):
    monkeypatch.setenv("BACKPROP_REF_BACKEND", "nothing such")
    monkeypatch.setenv("BACKPROP_REF_DTYPE", "float32")
    with br.use(backend="array_api_strict", dtype="float64"):
        assert br.get_backend().name == "array_api_strict"
        assert br.get_backend("numpy").name == "numpy"
        assert NETWORK.init().dtype == np.float64
        assert NETWORK.init(dtype="float32").dtype == np.float32
        with br.use(numerics="reproducible"):
            assert (br.get_backend().name, br.get_backend().numerics) == ("array_api_strict", "reproducible")
        assert br.get_backend().numerics == "fast"
    with pytest.raises(br.InvalidInput):
        br.get_backend()


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("BACKEND", "nunpy", r"unknown backend 'nunpy': did you mean 'numpy'\? known are .*torch"),
        ("NUMERICS", "exact", "unknown BACKPROP_REF_NUMERICS 'exact': known are fast, reproducible"),
        ("THREADS", "many", "BACKPROP_REF_THREADS='many': a number of threads"),
        ("THREADS", "0", "BACKPROP_REF_THREADS='0'"),
        ("DEVICE", "gpu", "backend numpy has no device 'gpu'"),
    ],
)
def test_wrong_values_of_the_environment_are_named(monkeypatch, variable, value, message):
    monkeypatch.setenv(f"BACKPROP_REF_{variable}", value)
    with pytest.raises(br.InvalidInput, match=message):
        br.get_backend()


def test_a_wrong_dtype_of_the_environment_is_named(monkeypatch):
    monkeypatch.setenv("BACKPROP_REF_DTYPE", "float16")
    with pytest.raises(br.InvalidInput, match="BACKPROP_REF_DTYPE 'float16': .*known are float32, float64"):
        NETWORK.init()


def test_known_but_not_installed_says_how_to_install(monkeypatch):
    right = backends.importlib.util.find_spec
    monkeypatch.setattr(backends.importlib.util, "find_spec", lambda name: None if name == "torch" else right(name))
    backends._made.cache_clear()
    with pytest.raises(br.BackendUnavailable, match=r"backend torch: not installed; install 'backprop-ref\[torch\]'"):
        br.get_backend("torch")
    status = {status.name: status for status in br.backends()}["torch"]
    assert (status.usable, status.reason) == (False, "not installed; install 'backprop-ref[torch]'")


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    """Folder on sys.path for modules with backends of somebody else's."""
    monkeypatch.syspath_prepend(tmp_path)
    backends._made.cache_clear()
    yield tmp_path
    backends._made.cache_clear()


FOREIGN = """
import numpy as np
from backprop_ref.backends.arithmetic import Fast, Reproducible
from backprop_ref.backends.numpy import NumpyBackend
ready = NumpyBackend(np, Fast(np))
class Namespace:
    inner = ready
def make(numerics, device, threads):
    return NumpyBackend(np, {"fast": Fast, "reproducible": Reproducible}[numerics](np))
number = 3
def fussy(more):
    pass
half = object
"""


def test_a_backend_by_module_and_object(foreign):
    (foreign / "theirs.py").write_text(FOREIGN)
    import theirs

    assert br.get_backend("theirs:ready") is theirs.ready
    assert br.get_backend("theirs:Namespace.inner") is theirs.ready
    assert br.get_backend("theirs:make", "reproducible").numerics == "reproducible"
    assert br.get_backend(theirs.ready) is theirs.ready


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent_module:thing", "cannot import 'absent_module'"),
        ("theirs:nothing", "has no attribute 'nothing'"),
        ("theirs:number", "int is neither a backend nor a callable"),
        ("theirs:half", "backend theirs:half: builtins.object is neither a backend nor a callable of theirs"),
        ("theirs:fussy", "backend theirs:fussy: cannot be made: .*'more'"),
    ],
)
def test_a_foreign_backend_that_is_none_is_refused(foreign, name, message):
    (foreign / "theirs.py").write_text(FOREIGN)
    with pytest.raises(br.InvalidInput, match=message):
        br.get_backend(name)


def test_numerics_asked_for_and_not_had_are_refused(foreign):
    (foreign / "theirs.py").write_text(FOREIGN)
    with pytest.raises(br.InvalidInput, match="computes with fast numerics; reproducible was asked for"):
        br.get_backend("theirs:ready", "reproducible")


def test_an_object_that_lacks_pairs_is_told_which():
    class Half:
        name, numerics, device, version = "half", "fast", "cpu", "1"

        def affine_forward(self, a, W, b):
            return a @ W + b

    with pytest.raises(br.InvalidInput, match="Half lacks affine_backward, "):
        br.get_backend(Half())


def test_a_backend_by_entry_point(foreign):
    """As another package registers one: an installed distribution with an entry point."""
    (foreign / "theirs.py").write_text(FOREIGN)
    info = foreign / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[backprop_ref.backends]\ntheirs = theirs:make\nbroken = theirs:missing\n")
    importlib.metadata.MetadataPathFinder().invalidate_caches()
    assert br.get_backend("theirs").name == "numpy"
    statuses = {status.name: status for status in br.backends()}
    assert statuses["theirs"].usable
    assert not statuses["broken"].usable
    assert "does not load" in statuses["broken"].reason


def test_two_backends_side_by_side():
    params, (x, y) = parameters(NETWORK), samples(NETWORK, 5)
    first, second = br.get_backend("numpy"), br.get_backend("array_api_strict")
    bounds = gradient_bounds(NETWORK, params, x, y)
    losses = [br.value_and_grad(NETWORK, params, x, y, backend=each)[0] for each in (first, second, first)]
    assert losses[0] == losses[2]
    assert abs(losses[0] - losses[1]) <= 2.0 * bounds.loss


def test_threads_are_limited_inside_alone():
    from threadpoolctl import threadpool_info

    def blas():
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    before = blas()
    with br.get_backend("numpy", threads=1).scope():
        assert blas() == {1}
    assert blas() == before


def test_the_settings_of_another_thread_are_its_own():
    import threading

    seen = []
    with br.use(numerics="reproducible"):
        thread = threading.Thread(target=lambda: seen.append(settings.resolve("numerics")))
        thread.start()
        thread.join()
        assert settings.resolve("numerics") == "reproducible"
    assert seen == ["fast"]


def test_a_backend_that_fails_to_load_is_reported_not_skipped(tmp_path):
    """A torch that raises at import: another backend must go on working, and the reason must be told."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError('libtorch.so is broken')\n")
    code = (
        "import backprop_ref as br; print({s.name: s for s in br.backends()}['torch'].reason); "
        "print(br.get_backend().name)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(tmp_path), "PATH": ""},
    )
    assert done.stdout.splitlines() == ["installed, but it does not load: libtorch.so is broken", "numpy"]


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.ones((4, 3)), np.ones(4), r"y has shape \(4,\); .*br.one_hot\(y, 2\)"),
        (np.ones(3), np.ones((1, 2)), r"x has shape \(3,\); .*x\[None, :\]"),
        (np.ones((4, 2)), np.ones((4, 2)), r"x has shape \(4, 2\); numbers of shape \(batch, 3\) are needed"),
        (np.ones((4, 3)), np.ones((3, 2)), "x has 4 rows and y has 3"),
        (np.ones((0, 3)), np.ones((0, 2)), "x has no rows"),
        (np.ma.masked_equal(np.eye(4, 3), 1.0), np.ones((4, 2)), "x is a masked array"),
        (np.ones((4, 3), "float16"), np.ones((4, 2)), "float16: only float64 and float32"),
        (np.ones((4, 3), complex), np.ones((4, 2)), "complex128: real numbers"),
        (np.ones((4, 3), object), np.ones((4, 2)), "object: real numbers"),
        ([["a", "b", "c"]], np.ones((1, 2)), "real numbers are needed"),
        ([[1.0], [1.0, 2.0]], np.ones((2, 2)), "x is not a table of numbers"),
        (np.ones((2, 3, 1)), np.ones((2, 2)), r"\(2, 3, 1\)"),
    ],
)
def test_data_that_do_not_fit_are_refused(x, y, message):
    with pytest.raises(br.InvalidInput, match=message):
        br.value_and_grad(NETWORK, parameters(NETWORK), x, y)


def test_one_output_as_a_vector_is_refused_with_the_remedy():
    network = br.Network([3, 1], ["sigmoid"], "bce")
    with pytest.raises(br.InvalidInput, match=r"y\[:, None\]"):
        br.value_and_grad(network, parameters(network), np.ones((4, 3)), np.ones(4))


def test_parameters_of_another_network_are_refused():
    params = br.Network([3, 5, 2], ["tanh", "softmax"], "ce").init()
    with pytest.raises(br.InvalidInput, match=r"\[3, 5, 2\] do not fit a network of sizes \[3, 4, 2\]"):
        br.value_and_grad(NETWORK, params, *samples(NETWORK, 2))


def test_use_is_undone_by_an_exception():
    with pytest.raises(RuntimeError), br.use(dtype="float32"):
        raise RuntimeError
    assert settings.resolve("dtype") == "float64"


@pytest.mark.parametrize("loss", ["crossentropy", "binary_cross_entropy"])
def test_array_backends_refuse_losses_that_are_none(loss):
    backend = br.get_backend("numpy")
    arrays = (np.ones((1, 2)),) * 3
    for method in (backend.loss_forward, backend.loss_backward):
        with pytest.raises(br.InvalidInput):
            method(loss, "softmax", *arrays)


def test_one_hot():
    np.testing.assert_array_equal(br.one_hot(np.array([0, 2], dtype=np.uint8)), [[1, 0, 0], [0, 0, 1]])
    assert br.one_hot([], 3).shape == (0, 3)
    with pytest.raises(br.InvalidInput, match="label 3 at position 1 is out of range: 0 to 2"):
        br.one_hot([0, 3], 3)
    with pytest.raises(br.InvalidInput, match=r"n_classes=2.5"):
        br.one_hot([0, 1], 2.5)
