"""Makes the project's environment, ``.venv``, and installs the project into it.

``python3 ci/bootstrap.py [EXTRA ...]``, or ``make setup``. It needs a bare Python, writes in the project's
folder only, and returns at once when nothing is to do. The syntax is that of Python 3.7: an old Python can
read it and say what it lacks.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST = (3, 11)
NEWER = ("python3.13", "python3.12", "python3.11", "python3.14")
ERRORS_ONLY = ("--quiet", "--quiet")
UNFINISHED = {"unfinished": True}
REMEDY = (
    "install the venv module of this Python (Debian and Ubuntu: apt install python3-venv) "
    "or name another Python: make PYTHON=/path/to/python3"
)


class SetupError(Exception):
    """Something that the reader has to mend; the message is one line and says how."""


def main(extras):
    """Sets up ``.venv`` with these extras; a failure becomes one line and exit status 1."""
    if sys.version_info < OLDEST:
        switch_to_newer(extras)
    try:
        set_up(ROOT, set(extras))
    except SetupError as error:
        sys.exit(f"setup: {error}")
    except OSError as error:
        sys.exit(f"setup: {error.filename or ROOT}: {error.strerror or error}")
    except KeyboardInterrupt:
        sys.exit("setup: interrupted; the next run starts afresh")


def set_up(root, extras):
    """Brings ``root/.venv`` to the state that pyproject.toml, the running Python and the extras ask for."""
    venv = root / ".venv"
    wanted = state(root, extras)
    if satisfies(venv, wanted):
        return
    with lock(root):
        found = read_stamp(venv)
        if satisfies(venv, wanted):
            return
        wanted["extras"] = sorted(extras | set(found.get("extras", [])) & declared_extras(root))
        if reusable(venv, found, wanted):
            update(venv, found, wanted)
        else:
            build(venv, wanted)


def build(venv, wanted):
    """A new ``.venv``, or none: whatever goes wrong, no half of one stays."""
    python = outer_python(venv)
    start = time.monotonic()
    remove(venv)
    try:
        say(f"making .venv with Python {sys.version.split()[0]}")
        make_venv(venv, python)
        install(venv, wanted, "about a minute")
        write_stamp(venv, wanted)
    except BaseException:
        remove(venv)
        raise
    say(f"ready after {time.monotonic() - start:.0f} s")


def update(venv, found, wanted):
    """Installs into the ``.venv`` that is there.

    The stamp says "unfinished" meanwhile, so that the run after an interruption builds a new one. Where pip
    itself gives up (no network, say), it has changed nothing, and the environment stays as good as it was.
    """
    write_stamp(venv, UNFINISHED)
    try:
        install(venv, wanted, "some seconds")
    except SetupError:
        write_stamp(venv, found)
        raise
    write_stamp(venv, wanted)


def install(venv, wanted, duration):
    extras = ",".join(wanted["extras"])
    say(f"installing backprop-ref{f' with {extras}' if extras else ''} into .venv ({duration})")
    target = f"{venv.parent}[{extras}]" if extras else str(venv.parent)
    command = [venv / "bin/python", "-m", "pip", "install", *ERRORS_ONLY, "--editable", target]
    run(command, "pip could not install the project, see above")
    # pip compiles what it copies, and an editable install copies nothing.
    sources = [venv.parent / name for name in ("backprop_ref", "kernels")]
    run([venv / "bin/python", "-m", "compileall", "-q", "-j0", *sources], "the project does not compile, see above")


# ---- the ways to an environment


def make_venv(venv, python):
    """Tries each way this Python offers, best first."""
    wheel = bundled_pip()
    for way in ways(importable, wheel is not None):
        venv.mkdir()
        write_stamp(venv, UNFINISHED)
        try:
            if way == "venv":
                run([python, "-m", "venv", venv], "python -m venv failed", quiet=True)
            else:
                virtualenv(venv, python, ["-m", "pip"] if way == "pip" else [f"{wheel}/pip"])
            run([venv / "bin/python", "-m", "pip", "--version"], "the environment has no pip", quiet=True)
            return
        except SetupError as error:
            say(f"{error}; looking for another way")
            remove(venv)
    raise SetupError(f"found no way to make .venv with {python}: {REMEDY}")


def ways(has, has_bundled_pip):
    """The ways to try, given ``has(module)``: venv needs ensurepip, any pip can fetch virtualenv."""
    found = ["venv"] if has("venv") and has("ensurepip") else []
    found += ["pip"] if has("pip") else []
    found += ["bundled pip"] if has_bundled_pip else []
    return found


def virtualenv(venv, python, pip):
    """Makes ``venv`` by the package virtualenv, which lies in ``.venv.tools`` as long as this takes."""
    tools = venv.parent / ".venv.tools"
    remove(tools)
    try:
        say("fetching virtualenv, which does what this Python cannot (some seconds)")
        fetch = [python, *pip, "install", *ERRORS_ONLY, "--target", tools, "virtualenv"]
        run(fetch, "pip could not fetch virtualenv, see above")
        settings = {
            "PYTHONPATH": str(tools),
            "VIRTUALENV_CONFIG_FILE": os.devnull,
            "VIRTUALENV_OVERRIDE_APP_DATA": str(tools / "data"),
        }
        make = [python, "-m", "virtualenv", "--quiet", "--no-download", "--python", python, venv]
        run(make, "virtualenv failed, see above", settings)
    finally:
        remove(tools)


def bundled_pip():
    """The pip wheel of ensurepip, or of the folder that a distribution keeps for such wheels, or None."""
    spec = importlib.util.find_spec("ensurepip")
    folders = [Path(place) / "_bundled" for place in (spec.submodule_search_locations if spec else [])]
    if sysconfig.get_config_var("WHEEL_PKG_DIR"):
        folders.append(Path(sysconfig.get_config_var("WHEEL_PKG_DIR")))
    return next((wheel for folder in folders for wheel in sorted(folder.glob("pip-*.whl"))), None)


def importable(module):
    return importlib.util.find_spec(module) is not None


# ---- which Python


def switch_to_newer(extras):
    """Goes on under a newer Python on PATH; does not return."""
    version = ".".join(map(str, sys.version_info[:3]))
    python = newer_python(os.environ.get("PATH", ""))
    if python is None:
        sys.exit(
            f"setup: this is Python {version}, and 3.11 or newer is needed: "
            "install one, or name one: make PYTHON=/path/to/python3"
        )
    say(f"this is Python {version}, going on with {python}")
    sys.stderr.flush()
    os.execv(python, [python, __file__, *extras])


def newer_python(path):
    """The first of NEWER on this search path that runs and is new enough, or None."""
    question = f"import sys; sys.exit(sys.version_info < {OLDEST})"
    for name in NEWER:
        for folder in path.split(os.pathsep):
            python = str(Path(folder or ".") / name)
            if os.access(python, os.X_OK):
                with contextlib.suppress(SetupError):
                    run([python, "-c", question], "too old, or no Python", quiet=True)
                    return python
    return None


def outer_python(venv):
    """The running Python, or where the caller has activated ``venv``, the one that this was made from."""
    inside = Path(sys.prefix).resolve() == venv.resolve()
    return sys._base_executable if inside else sys.executable


# ---- what is there


def state(root, extras):
    """What the installation depends on; the scripts and the editable install hold the folder's path."""
    project = read_project(root)
    relevant = [project.get("build-system"), project["project"], project.get("tool", {}).get("setuptools")]
    relevant = json.dumps(relevant, sort_keys=True)
    major, minor = sys.version_info[:2]
    return {
        "python": f"{sys.implementation.name} {major}.{minor}{sys.abiflags}",
        "folder": str(root),
        "project": hashlib.sha256(relevant.encode()).hexdigest(),
        "extras": sorted(extras),
    }


def satisfies(venv, wanted):
    found = read_stamp(venv)
    same = all(found.get(key) == wanted[key] for key in ("python", "folder", "project"))
    return same and set(wanted["extras"]) <= set(found["extras"]) and (venv / "bin/python").exists()


def reusable(venv, found, wanted):
    """Whether to install into the ``.venv`` that is there rather than into a new one.

    One without a stamp was made by somebody else: it is used if it can be, replaced if it is empty, and never
    thrown away otherwise.
    """
    if not venv.exists() or found == UNFINISHED:
        return False
    if found:
        same = all(found[key] == wanted[key] for key in ("python", "folder"))
        return same and (venv / "bin/python").exists()
    question = f"import sys, pip; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
    with contextlib.suppress(SetupError):
        run([venv / "bin/python", "-c", question], "another Python, or no pip", quiet=True)
        return True
    if packages(venv):
        raise SetupError(".venv is somebody else's, for another Python or without pip: move it away")
    return False


def packages(venv):
    """What is installed in ``venv``, apart from what an empty one holds."""
    names = {path.name.partition("-")[0] for path in venv.glob("lib/python*/site-packages/*.dist-info")}
    return names - {"pip", "setuptools", "wheel"}


def read_project(root):
    import tomllib

    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))


def declared_extras(root):
    return set(read_project(root)["project"].get("optional-dependencies", {}))


def read_stamp(venv):
    """What was installed; ``{}`` if unknown."""
    try:
        return json.loads((venv / "backprop-ref.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        return UNFINISHED


def write_stamp(venv, found):
    (venv / "backprop-ref.json").write_text(json.dumps(found) + "\n", encoding="utf-8")


# ---- small things


@contextlib.contextmanager
def lock(root):
    """One setup at a time in this folder. Where the file system knows no locks, none."""
    folder = os.open(str(root), os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another setup in this folder")
            fcntl.flock(folder, fcntl.LOCK_EX)
        except OSError:
            pass
        yield
    finally:
        os.close(folder)


def run(command, failure, settings=None, quiet=False):
    """Runs a command; raises SetupError with the message ``failure`` if it does not end well."""
    output = subprocess.DEVNULL if quiet else None
    try:
        status = subprocess.call(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**clean_environment(), **(settings or {})},
        )
    except OSError:
        status = 127
    if status:
        raise SetupError(failure)


def clean_environment():
    """The caller's environment without what would lead Python or pip out of ``.venv``.

    pip's cache lies outside the project's folder and stays unused, unless the caller names a place for it.
    """
    misleading = {"VIRTUAL_ENV", "__PYVENV_LAUNCHER__", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT"}
    misleading |= {name for name in os.environ if name.startswith("PYTHON")}
    kept = {name: value for name, value in os.environ.items() if name not in misleading}
    kept.update(PIP_USER="0", PIP_REQUIRE_VIRTUALENV="0", PIP_DISABLE_PIP_VERSION_CHECK="1")
    if "PIP_CACHE_DIR" not in kept:
        kept["PIP_NO_CACHE_DIR"] = "1"
    return kept


def remove(folder):
    if folder.exists():
        shutil.rmtree(str(folder))


def say(message):
    print(f"setup: {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
