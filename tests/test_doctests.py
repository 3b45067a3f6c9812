"""The examples in docstrings of the public API give what they say, and every public name has one."""

import doctest
import importlib
import sys

import pytest

import backprop_ref as br
import backprop_ref.data
import backprop_ref.metrics.scores
import backprop_ref.random
import backprop_ref.testing

PUBLIC = {name: getattr(br, name) for name in br.__all__ if name != "__version__"}
MODULES = sorted(
    {
        "backprop_ref",
        "backprop_ref.random",
        "backprop_ref.metrics.scores",
        "backprop_ref.testing",
        "backprop_ref.traces.recorder",
        "backprop_ref.conformance.gradcheck",
        *(thing.__module__ for thing in PUBLIC.values()),
    }
    | {getattr(br.data, name).__module__ for name in br.data.__all__ if name != "NAMES"}
)


def examples(thing, module):
    """The doctests of a function, or of a class with its methods, in the names of its module."""
    found = doctest.DocTestFinder(recurse=True).find(thing, module=module, globs=dict(vars(module)))
    return [test for test in found if test.examples]


@pytest.mark.parametrize("name", MODULES)
def test_examples_give_what_they_say(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    for test in examples(module, module):
        said: list[str] = []
        failed, _ = doctest.DocTestRunner().run(test, out=said.append)
        assert not failed, "".join(said)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_has_an_example(name):
    thing = PUBLIC[name]
    assert examples(thing, sys.modules[thing.__module__])
