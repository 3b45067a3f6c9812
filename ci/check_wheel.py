"""Builds the sdist, and from it the wheel, into dist/; looks at what a user of the wheel gets.

The README that goes into them has absolute links, to the repository that pyproject.toml names, so that its picture
shows on the page of a package index too.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
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
        wheel = build(Path(folder) / "dist", Path(folder) / "sources")
        problems = [*wrong_contents(wheel), *wrong_page(wheel), *wrong_when_installed(wheel, Path(folder) / "site")]
        (ROOT / "dist").mkdir(exist_ok=True)
        for built in wheel.parent.iterdir():
            shutil.copy(built, ROOT / "dist")
    for problem in problems:
        print(f"{wheel.name}: {problem}", file=sys.stderr)
    if problems:
        sys.exit(1)
    print(f"dist/{wheel.name}, built from the sdist beside it: contents, imports and command are right")


def build(folder, sources):
    """The wheel; ``build`` makes it from the unpacked sdist, so that the sdist is known to be complete."""
    shutil.copytree(
        ROOT, sources, symlinks=True, ignore=shutil.ignore_patterns(".venv*", ".git", "dist", "build", "*.egg-info")
    )
    readme = sources / "README.md"
    readme.write_text(absolute(readme.read_text(encoding="utf-8"), repository()), encoding="utf-8")
    done = run([sys.executable, "-m", "build", "--outdir", folder, sources])
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}make wheel: the build failed, see above")
    return next(folder.glob("*.whl"))


def repository():
    """Where the project is, as pyproject.toml has it."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]


def absolute(text, base):
    """A page with its relative links and pictures led to the repository."""

    def led(link):
        start, target = link.groups()
        kind = "raw" if link[0].startswith("!") else "blob"
        return link[0] if re.match(r"\w+:|#", target) else f"{start}{base}/{kind}/HEAD/{target})"

    return re.sub(r"(!?\[[^\]]*\]\()([^)]*)\)", led, text)


def wrong_page(wheel):
    """What a package index would say of the metadata, and links of the page that lead nowhere there."""
    done = run([sys.executable, "-m", "twine", "check", "--strict", *wheel.parent.iterdir()])
    if done.returncode:
        yield f"twine check: {done.stdout.strip()}{done.stderr.strip()}"
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        page = archive.read(name).decode().partition("\n\n")[2]
    for target in re.findall(r"\]\(([^)]*)\)", page):
        if not target.startswith(("https://", "#")):
            yield f"the page has a link that leads nowhere on a package index: {target}"


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
