"""The one list of backends, for tests, conformance and benchmarks alike."""

import functools
import signal

import hypothesis
import pytest

import backprop_ref as br

BACKENDS = [
    ("numpy", "fast", None),
    ("numpy", "reproducible", None),
    ("numba", "fast", None),
    ("numba", "reproducible", None),
    ("python", "reproducible", None),
    ("helpers:ReadOnlyBackend", "fast", None),
    ("array_api_strict", "fast", None),
    ("array_api_strict", "reproducible", None),
    ("array_api_strict", "fast", "device1"),
    ("torch", "fast", None),
    ("torch", "reproducible", None),
    ("jax", "fast", None),
    ("cupy", "fast", None),
    ("cupy", "reproducible", None),
    pytest.param(("host_cupy:make", "fast", None), marks=pytest.mark.cuda_host),
    pytest.param(("host_cupy:make", "reproducible", None), marks=pytest.mark.cuda_host),
]


# The same examples each time, unless --hypothesis-profile=default asks for others.
hypothesis.settings.register_profile("same", derandomize=True)
hypothesis.settings.load_profile("same")


def pytest_addoption(parser):
    parser.addoption(
        "--require-backend",
        action="append",
        default=[],
        metavar="NAME",
        help="fail, rather than skip, where this backend cannot be used; repeatable",
    )
    for name, what in (("--all", "everything"), ("--repetitions", "only what is left out by default")):
        parser.addoption(name, action="store_true", help=f"{what}: see pytest_collection_modifyitems in conftest.py")


def pytest_collection_modifyitems(config, items):
    """Leaves out repetitions and tests marked `more`, unless ``--all`` is given or a test is asked for by its name.

    A case repeats others if each value of each of its parameters has been in a case of the same test. So every backend,
    formula, dtype and planted error is tried in every kind of check, and only their combinations are fewer.
    """
    if config.getoption("--all") or any("::" in argument for argument in config.args):
        return
    seen, first, repetitions = set(), [], []
    for item in items:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        values = {(item.nodeid.split("[")[0], name, repr(value)) for name, value in parameters.items()}
        repeats = item.get_closest_marker("more") or (values and seen.issuperset(values))
        (repetitions if repeats else first).append(item)
        seen.update(() if repeats else values)
    if config.getoption("--repetitions"):
        first, repetitions = repetitions, first
    config.hook.pytest_deselected(items=repetitions)
    items[:] = first


def pytest_configure(config):
    """Ctrl-C and the end of a terminal act on the tests and what they start, even if the caller ignores them."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # as under nohup
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@functools.cache
def _backend(name, numerics, device):
    return br.get_backend(name, numerics, device)


@pytest.fixture(params=BACKENDS, ids=lambda entry: "-".join(filter(None, entry)).replace("helpers:", ""))
def backend(request):
    """Each usable backend; the others are skipped with their reason."""
    try:
        return _backend(*request.param)
    except br.BackendUnavailable as error:
        if request.param[0] in request.config.getoption("--require-backend"):
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch, tmp_path_factory):
    """No setting of the caller's reaches a test, nor the width of a terminal, which pytest-xdist gives its workers."""
    for name in ("BACKEND", "NUMERICS", "DTYPE", "DEVICE", "THREADS"):
        monkeypatch.delenv(f"BACKPROP_REF_{name}", raising=False)
    for name in ("LOG_LEVEL", "RANDOM_SEED", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
