"""The one list of backends, for tests, conformance and benchmarks alike."""

import functools
import itertools
import signal
import zlib

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

MAY_BE_ABSENT = ["torch", "jax", "cupy", "host_cupy:make"]

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
    """Leaves out repetitions and cases marked `more`, unless ``--all`` is given or a test is asked for by its name.

    Those marked `seldom` run with ``--all`` alone. Of each test few cases are chosen in which each of `_values` is: so
    every backend, formula, dtype and planted error is tried in every kind of check, and only their combinations are
    fewer. Where cases differ in nothing that other tests do not try as well, `few` says how many are enough.
    """
    if config.getoption("--all") or any("::" in argument for argument in config.args):
        return
    tests: dict = {}
    for item in items:
        if not _is(item, "seldom"):
            tests.setdefault(item.nodeid.split("[")[0], []).append(item)
    chosen = set()
    for cases in tests.values():
        default = _first(0, _covering(case for case in cases if not _is(case, "more")), cases)
        rest = (case for case in sorted(cases, key=_chance) if case not in default)
        chosen |= _first(1, rest, cases) if config.getoption("--repetitions") else default
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = [item for item in items if item in chosen]


def _first(which, chosen, cases):
    """As many as the mark `few` says are enough: its first number by default, its second as repetitions."""
    mark = cases[0].get_closest_marker("few")
    return set(itertools.islice(chosen, mark.args[which] if mark and len(mark.args) > which else None))


def _chance(item):
    """An order that is the same each time, and has nothing to do with that of the parameters."""
    return zlib.crc32(item.nodeid.encode())


def _parameters(item):
    return item.callspec.params if hasattr(item, "callspec") else {}


def _name(value):
    """Of a backend, whatever its numerics."""
    return value[0] if isinstance(value, tuple) and value else value


def _is(item, name):
    """Whether a case has every value that a mark of this name has."""
    parameters = _parameters(item)
    marks = [mark.kwargs for mark in item.iter_markers(name)]
    return any(all(_name(parameters[name]) == value for name, value in mark.items()) for mark in marks)


def _covering(cases):
    """Few of a test's cases, in which each value is: one after the other the case with the most that are new."""
    left = {item: _values(item) for item in sorted(cases, key=_chance)}
    while left:
        item = max(left, key=lambda item: len(left[item]))
        yield item
        seen = left.pop(item)
        left = {other: values - seen for other, values in left.items() if values - seen}


def _values(item):
    """What a case tries: each value of each parameter, and pairs of those that are marked `together`.

    Of a network these are the depth, each hidden activation, and the loss with the output. A case on a backend that may
    be absent tries that backend, and stands for nothing else.
    """
    parameters = _parameters(item)
    values = {name: {(name, part) for part in _parts(value)} for name, value in parameters.items()}
    for name, value in parameters.items():
        if isinstance(_name(value), str) and _name(value) in MAY_BE_ABSENT:
            return values[name]
    pairs = (itertools.product(*(values[name] for name in mark.args)) for mark in item.iter_markers("together"))
    return set(itertools.chain([item.nodeid] if not values else [], *values.values(), *pairs))


def _parts(value):
    if not isinstance(value, br.Network):
        return {repr(value)}
    return {len(value.sizes), *value.activations[:-1], f"{value.loss} of {value.activations[-1]}"}


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


@pytest.fixture(autouse=True)
def _unexpected_errors(monkeypatch):
    """What goes wrong in the checker itself fails a test, rather than end as NOT JUDGED."""
    monkeypatch.setattr("backprop_ref.conformance.measuring.verify.UNEXPECTED", ())
