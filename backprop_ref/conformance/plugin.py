"""The conformance kit for backends: ``pytest --pyargs backprop_ref.conformance --backend module:object``.

A pytest plugin that stays out of every other session: its options exist only where ``backprop_ref.conformance`` is
asked for. The tests are in `backprop_ref.conformance.test_backend`. ``--skips FILE`` has a line for each of them that
is not to run (``skip PATTERN reason``) or is known to fail (``xfail PATTERN reason``); the pattern, with ``*`` and
``?``, is of the test's name, such as ``test_pair[affine_forward-3-5-4-*-f32]``. Lines that begin with # and empty ones
mean nothing.
"""

import fnmatch
from pathlib import Path

import pytest

TARGET = "backprop_ref.conformance"


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config, args):
    if any(str(argument).partition("::")[0].startswith(TARGET) for argument in args):
        early_config.pluginmanager.register(_Kit(), "backprop_ref-kit")


class _Kit:
    """The options, and what they do."""

    def pytest_addoption(self, parser):
        group = parser.getgroup("backprop_ref")
        group.addoption("--backend", metavar="NAME", help="the backend to judge: module:object, or a built-in name")
        group.addoption("--numerics", metavar="NAME", help="fast or reproducible; default: the setting in force")
        group.addoption("--skips", metavar="FILE", help="tests to skip or expected to fail, with reasons")

    def pytest_configure(self, config):
        """Creates the backend here, so that a failure is one line rather than an error for each test."""
        from backprop_ref.backends import get_backend
        from backprop_ref.errors import BackpropRefError

        if config.option.backend is None:
            raise pytest.UsageError("--backend is missing: give module:object, or a built-in name such as numpy")
        try:
            config.judged_backend = get_backend(config.option.backend, config.option.numerics)
        except BackpropRefError as error:
            raise pytest.UsageError(str(error)) from None

    def pytest_report_header(self, config):
        backend = config.judged_backend
        due = "EXACT" if backend.numerics == "reproducible" else "WITHIN BOUND"
        return f"backend: {backend.name} {backend.version}, {backend.numerics} on {backend.device}; due: {due}"

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, config, items):
        if config.option.skips is None:
            return
        for place, kind, pattern, reason in _skips(Path(config.option.skips)):
            named = [item for item in items if fnmatch.fnmatchcase(item.name, pattern.replace("[", "[[]"))]
            if not named:
                raise pytest.UsageError(f"{place}: no test is named '{pattern}'")
            mark = pytest.mark.skip(reason=reason) if kind == "skip" else pytest.mark.xfail(reason=reason, strict=True)
            for item in named:
                item.add_marker(mark)


def _skips(file):
    """Place, kind, pattern and reason of each line."""
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise pytest.UsageError(f"--skips {file}: cannot be read ({error})") from None
    for number, line in enumerate(lines, start=1):
        kind, *rest = line.split(maxsplit=2) or ["#"]
        if kind.startswith("#"):
            continue
        if kind not in {"skip", "xfail"} or len(rest) < 2:
            raise pytest.UsageError(f"{file}:{number}: 'skip PATTERN reason' or 'xfail PATTERN reason' is needed")
        yield f"{file}:{number}", kind, *rest
