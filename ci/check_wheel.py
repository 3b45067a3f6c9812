"""Builds the sdist, and from it the wheel, into dist/; looks at what a user of the wheel gets."""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from bootstrap import ROOT, clean_environment

PIP = [sys.executable, "-m", "pip"]
SOURCES = {"backprop_ref": "backprop_ref", "kernels": "backprop_ref/kernels"}
OUTSIDE = """
import sys, backprop_ref, backprop_ref.kernels
for module in (backprop_ref, backprop_ref.kernels):
    assert module.__file__.startswith(sys.argv[1]), module.__file__ + " is not in the wheel"
from backprop_ref.kernels import cuda_source
assert len(cuda_source.kernels(cuda_source.source("float64"))) > 30, "the CUDA kernels are not in the wheel"
print(backprop_ref.__version__)
"""


def main():
    with tempfile.TemporaryDirectory() as folder:
        wheel = build(Path(folder) / "dist")
        problems = [*wrong_contents(wheel), *wrong_when_installed(wheel, Path(folder) / "site")]
        (ROOT / "dist").mkdir(exist_ok=True)
        for built in wheel.parent.iterdir():
            shutil.copy(built, ROOT / "dist")
    for problem in problems:
        print(f"{wheel.name}: {problem}", file=sys.stderr)
    if problems:
        sys.exit(1)
    print(f"dist/{wheel.name}, built from the sdist beside it: contents, imports and command are right")


def build(folder):
    """The wheel; ``build`` makes it from the unpacked sdist, so that the sdist is known to be complete."""
    done = run([sys.executable, "-m", "build", "--outdir", folder, ROOT])
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}make wheel: the build failed, see above")
    return next(folder.glob("*.whl"))


def wrong_contents(wheel):
    """Compares the wheel with the sources: each file of the packages, the licence, and nothing else."""
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    expected = {f"{package}/{path}" for source, package in SOURCES.items() for path in files(ROOT / source)}
    for name in sorted(expected - inside):
        yield f"{name} is missing; see packages and package-data in pyproject.toml"
    metadata = {name for name in inside if name.split("/")[0].endswith(".dist-info")}
    for name in sorted(inside - metadata - expected):
        yield f"{name} does not belong here"
    if "backprop_ref/py.typed" not in inside:
        yield "py.typed is missing"
    if not any(name.endswith(".dist-info/licenses/LICENSE") for name in metadata):
        yield "LICENSE is missing in the metadata"


def files(folder):
    """Paths of the files below ``folder``, without caches and hidden files."""
    for path in folder.rglob("*"):
        below = path.relative_to(folder)
        if path.is_file() and not any(part == "__pycache__" or part.startswith(".") for part in below.parts):
            yield below.as_posix()


def wrong_when_installed(wheel, site):
    """Imports the package and starts the command from a folder of its own; dependencies come from .venv."""
    commands = {
        "pip install": [*PIP, "install", "--quiet", "--no-deps", "--target", site, wheel],
        "import backprop_ref, backprop_ref.kernels": [sys.executable, "-c", OUTSIDE, site],
        "backprop-ref --help": [site / "bin/backprop-ref", "--help"],
    }
    for name, command in commands.items():
        done = run(command, cwd=site.parent, PYTHONPATH=str(site))
        if done.returncode:
            yield f"{name} failed outside the checkout: {done.stderr.strip()}"
            return


def run(command, cwd=ROOT, **settings):
    command = [str(part) for part in command]
    environment = {**clean_environment(), **settings}
    return subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


if __name__ == "__main__":
    main()
