"""Imports go one way, and ``import backprop_ref`` is light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import backprop_ref

PACKAGE = Path(backprop_ref.__file__).parent
KERNELS = Path(backprop_ref.kernels.__file__).parent

# part -> parts it must never import; errors, settings, version, files, import_path, network, parameters, random,
# metrics and optimizers lie below all of these, and know none of them
FORBIDDEN = {
    "kernels": {path.stem for path in PACKAGE.iterdir()} - {"kernels"},
    "backends": {"mlp", "api", "training", "checkpoint", "conformance", "experiments", "report", "cli", "data"},
    "mlp": {"backends", "api", "training", "conformance", "experiments", "report", "cli", "data", "numpy"},
    "data": {"mlp", "api", "backends", "training", "conformance", "experiments", "report", "cli"},
    "api": {"training", "conformance", "experiments", "report", "cli", "data"},
    "training": {"conformance", "experiments", "report", "cli", "data"},
    "conformance": {"training", "experiments", "report", "cli", "data"},
    "report": {"training", "conformance", "experiments", "cli", "data"},
    "experiments": {"cli"},
    **{
        low: {"mlp", "api", "backends", "training", "conformance", "experiments", "report", "cli", "data"}
        for low in (
            "errors",
            "settings",
            "files",
            "import_path",
            "network",
            "parameters",
            "random",
            "metrics",
            "optimizers",
            "progress",
        )
    },
}


def imports(file):
    """Top-level parts of the package, and foreign packages, that a file imports anywhere in it."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            whole = node.module == "backprop_ref"
            names = [f"{node.module}.{alias.name}" for alias in node.names] if whole else [node.module]
        else:
            continue
        for name in names:
            first, *rest = name.split(".")
            yield rest[0] if first == "backprop_ref" and rest else first


def files(part):
    folder = KERNELS if part == "kernels" else PACKAGE / part
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [PACKAGE / f"{part}.py"]


@pytest.mark.parametrize("part", FORBIDDEN)
def test_imports_go_one_way(part):
    found = {(str(file.name), name) for file in files(part) for name in imports(file) if name in FORBIDDEN[part]}
    assert not found


def test_mlp_imports_no_array_library_and_stays_small():
    assert set(imports(PACKAGE / "mlp.py")) <= {"typing"}
    assert len((PACKAGE / "mlp.py").read_text().splitlines()) <= 130


def test_the_import_loads_numpy_and_nothing_heavier():
    code = (
        "import sys, numpy; before = set(sys.modules); import backprop_ref; "
        "print(sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(ast.literal_eval(done.stdout)) - {"backprop_ref", "numpy"}
    assert loaded <= set(sys.stdlib_module_names) | {"__editable___backprop_ref_finder"}
