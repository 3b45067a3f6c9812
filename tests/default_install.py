"""An environment as ``pip install backprop-ref`` makes it, without any extra: links to what is installed here."""

import os
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

OURS = "backprop-ref"
ROOT = Path(__file__).resolve().parent.parent
PLACES = [place for place in sys.path if Path(place).resolve() != ROOT]  # a build leaves an egg-info in the checkout

MACHINE_CODE = str(Path(sys.prefix, "var", "cache", "numba"))


def distributions(name=OURS):
    """The distributions that a plain install of `name` brings, by name."""
    found, open_ = {}, [(name, frozenset())]
    while open_:
        name, extras = open_.pop()
        if (name, extras) in found:
            continue
        found[name, extras] = distribution = next(iter(metadata.distributions(name=name, path=PLACES)))
        for line in distribution.requires or ():
            wanted = Requirement(line)
            if wanted.marker is None or any(wanted.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
                open_.append((canonicalize_name(wanted.name), frozenset(wanted.extras)))
    return {name: distribution for (name, _), distribution in found.items()}


class DefaultInstall:
    """A virtual environment in `folder` that holds the default dependencies and nothing else."""

    def __init__(self, folder):
        base = Path(sys._base_executable)
        self.bin = folder / "bin"
        site = folder / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
        self.bin.mkdir(parents=True)
        site.mkdir(parents=True)
        (folder / "pyvenv.cfg").write_text(f"home = {base.parent}\ninclude-system-site-packages = false\n")
        (self.bin / "python").symlink_to(base)
        for distribution in distributions().values():
            for name in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
                if not (site / name).exists():
                    (site / name).symlink_to(distribution.locate_file(name))
        command = self.bin / OURS
        command.write_text(
            f"#!{self.bin / 'python'}\nimport sys\nfrom backprop_ref.cli import main\nsys.exit(main())\n"
        )
        command.chmod(0o755)

    def run(self, command, cwd):
        """Runs a line of shell, or a list of arguments, in `cwd`; everything printed is in its ``stdout``.

        Machine code is that of the environment that the tests run in.
        """
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
        path = f"{self.bin}{os.pathsep}{kept.get('PATH', '')}"
        return subprocess.run(
            command,
            shell=isinstance(command, str),
            cwd=cwd,
            env={"NUMBA_CACHE_DIR": MACHINE_CODE, **kept, "PATH": path, "PYTHONUTF8": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            check=False,
        )
