"""What a type checker tells a user: every public function, attribute and result has a type, and none is Any.

mypy runs on a user's program that imports the package as it is installed: outside the repository, by its py.typed.
"""

import inspect
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

import pytest

import backprop_ref as br
from backprop_ref import data

pytest.importorskip("mypy", reason="mypy is not installed: pip install 'backprop-ref[check]'")

PACKAGE = Path(br.__file__).parent
KERNELS = Path(br.kernels.__file__).parent

NO_ANY = (
    (r"numpy\.ndarray\[tuple\[Any, \.\.\.\]", "the shape of any NumPy array"),
    (r"dict\[str, Any\]", "what JSON holds"),
    (r"tuple\[[^]]*fallback=backprop_ref\.formulas\.Settings\]", "numbers of whichever arithmetic"),
    (r"tuple\[int, Any, fallback=backprop_ref\.traces\.sinks\.Written\]", "where a sink ends, in its own measure"),
)
"""Where Any is no gap, and why."""

BELOW = {"br.InvalidInput.result", "br.TrainingDiverged"}
"""The errors lie below training, and cannot name its `Result`."""

LET_OFF = {f"backprop_ref.{folder}.*" for folder in ("benchmarks", "cli", "conformance", "experiments", "report")}
"""What is not public, and not strict."""


def members(kind):
    """Public attributes and methods of a class that are the package's own."""
    ours = [base for base in inspect.getmro(kind) if base.__module__.startswith("backprop_ref")]
    names = {name for base in ours for name in (*vars(base), *inspect.get_annotations(base))}
    return sorted(name for name in names if not name.startswith("_"))


def program():
    """A user's program that asks for the type of everything public: line -> what it asks for."""
    lines = ["from typing import Any, reveal_type", "import numpy as np", "import backprop_ref as br"]
    lines += ["from backprop_ref import data", "from backprop_ref.traces.recorder import Recorder"]
    asked = {}

    def ask(expression, before="", name=None):
        lines.append(f"{before}reveal_type({expression})")
        asked[len(lines)] = name or expression

    for module, called in ((br, "br"), (data, "data")):
        for name in module.__all__:
            ask(f"{called}.{name}")
        for name, kind in inspect.getmembers(module, inspect.isclass):
            if name in module.__all__:
                lines.append(f"def of_{called}_{name}(it: {called}.{name}) -> None:")
                for member in members(kind):
                    ask(f"it.{member}", "    ", f"{called}.{name}.{member}")
                lines.append("    pass")
    ask("Recorder")
    lines += ["def use(params: br.Parameters, x: np.ndarray[Any, np.dtype[np.float64]]) -> None:"]
    lines += ["    network = br.Network([2, 3, 1], ['tanh', 'linear'], 'mse')"]
    for expression in (
        *("network.init()", "params.W[0]", "params.b[0]", "params.flat", "br.train(network, params, x, x)"),
        *("br.train(network, params, x, x).history['loss']", "br.predict(network, params, [[0.0, 1.0]])"),
        *("br.evaluate(network, params, x, x)", "br.value_and_grad(network, params, x, x)"),
        *("br.vjp(network, params, x, x)", "br.trace(network, params, x, x).z[0]", "br.load('m.safetensors').params"),
    ):
        ask(expression, "    ")
    return "\n".join(lines) + "\n", asked


@pytest.fixture(scope="module")
def revealed(tmp_path_factory):
    """What mypy says of that program, in an environment that has the package as a wheel lays it out: name -> type."""
    folder = tmp_path_factory.mktemp("user")
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder / "venv"), "platbase": str(folder / "venv")}))
    for source, target in ((PACKAGE, "backprop_ref"), (KERNELS, "backprop_ref/kernels")):
        shutil.copytree(source, site / target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    (site / "rest.pth").write_text(sysconfig.get_path("purelib"))
    text, asked = program()
    (folder / "program.py").write_text(text)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-pretty", "--no-error-summary", "--cache-dir=cache"]
    command += [f"--python-executable={python}", "program.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    found = re.findall(r'^program\.py:(\d+): note: Revealed type is "(.*)"$', done.stdout, re.MULTILINE)
    others = [line for line in done.stdout.splitlines() if "Revealed type is" not in line]
    assert (others, done.stderr) == ([], "")
    return {asked[int(line)]: kind for line, kind in found}, asked


def gaps(kind):
    """A type without those Any that are no gap, if there is an Any left."""
    for pattern, _ in NO_ANY:
        kind = re.sub(pattern, "", kind)
    result = kind.rpartition(" -> ")[2] if kind.startswith(("def ", "Overload")) else kind
    bare = re.search(r": Any\b", kind)
    return kind if bare or re.search(r"\bAny\b", result) else None


@pytest.mark.more
def test_everything_public_has_a_type_that_is_no_any(revealed):
    found, asked = revealed
    assert found.keys() == set(asked.values())
    assert {name: kind for name, kind in found.items() if gaps(kind) and name not in BELOW} == {}


def test_only_what_is_not_public_is_let_off():
    settings = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["tool"]["mypy"]
    lax = {
        (module, flag)
        for override in settings["overrides"]
        for module in override["module"]
        for flag, value in override.items()
        if value is False and module not in LET_OFF
    }
    assert settings["strict"]
    assert lax == {
        ("backprop_ref.kernels.*", "disallow_untyped_decorators"),
        ("backprop_ref.sklearn.*", "disallow_untyped_decorators"),
        ("backprop_ref.sklearn.*", "disallow_subclassing_any"),
    }


@pytest.mark.parametrize(
    ("kind", "is_one"),
    [
        ("Any", True),
        ("def (x: builtins.int) -> Any", True),
        ("def (x: Any) -> builtins.int", True),
        ("builtins.list[Any]", True),
        ("numpy.ndarray[tuple[Any, ...], numpy.dtype[numpy.float64]]", False),
        ("numpy.ndarray[tuple[Any, ...], numpy.dtype[Any]]", True),
        ("def () -> dict[str, Any]", False),
    ],
)
def test_gaps_are_found(kind, is_one):
    assert bool(gaps(kind)) == is_one
