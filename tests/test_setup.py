"""Which way ``ci/bootstrap.py`` takes, keeps and repairs; the Makefile's targets. Nothing is installed."""

import ast
import importlib.util
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
PROJECT = """
[build-system]
requires = ["setuptools"]
[project]
name = "some"
version = "1"
dependencies = []
[project.optional-dependencies]
test = ["pytest"]
check = ["ruff"]
[tool.ruff]
line-length = 110
"""


@pytest.fixture
def bootstrap():
    spec = importlib.util.spec_from_file_location("_bootstrap_under_test", ROOT / "ci/bootstrap.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Machine:
    """Stands in for the commands that bootstrap runs: notes them, makes what they make, fails on demand."""

    def __init__(self, bootstrap, failing=()):
        self.bootstrap = bootstrap
        self.failing = failing
        self.done = []

    def run(self, command, failure, settings=None, quiet=False):
        command = [str(part) for part in command]
        kinds = ("virtualenv", "venv", "--version", "--editable", "compileall")
        kind = next((kind for kind in kinds if kind in command), "ask")
        if command[1:2] and command[1].endswith("/pip"):
            kind = f"bundled pip {kind}"
        self.done.append(kind)
        if "venv" in command or command[1:3] == ["-m", "virtualenv"]:
            python = Path(command[-1]) / "bin/python"
            python.parent.mkdir(parents=True, exist_ok=True)
            python.touch()
        if kind in self.failing:
            raise self.bootstrap.SetupError(failure)

    def installs(self):
        return self.done.count("--editable")


@pytest.fixture
def project(tmp_path):
    root = tmp_path / "a project"
    root.mkdir()
    (root / "pyproject.toml").write_text(PROJECT)
    return root


@pytest.fixture
def machine(bootstrap, monkeypatch):
    machine = Machine(bootstrap)
    monkeypatch.setattr(bootstrap, "run", machine.run)
    monkeypatch.setattr(bootstrap, "importable", lambda module: True)
    return machine


@pytest.mark.parametrize(
    ("modules", "wheel", "expected"),
    [
        ({"venv", "ensurepip", "pip"}, True, ["venv", "pip", "bundled pip"]),
        ({"venv", "ensurepip"}, True, ["venv", "bundled pip"]),
        ({"venv", "pip"}, False, ["pip"]),
        ({"ensurepip", "pip"}, True, ["pip", "bundled pip"]),
        ({"ensurepip"}, True, ["bundled pip"]),
        ({"pip"}, False, ["pip"]),
        ({"venv"}, False, []),
        (set(), False, []),
    ],
)
def test_ways_that_a_python_offers(bootstrap, modules, wheel, expected):
    assert bootstrap.ways(modules.__contains__, wheel) == expected


def test_first_run_installs_and_second_does_nothing(bootstrap, project, machine):
    bootstrap.set_up(project, {"test"})
    assert machine.done == ["venv", "--version", "--editable", "compileall"]
    bootstrap.set_up(project, {"test"})
    bootstrap.set_up(project, set())
    assert machine.installs() == 1


def test_broken_venv_falls_back_to_virtualenv_and_leaves_no_tools(bootstrap, project, machine):
    machine.failing = ("venv",)
    bootstrap.set_up(project, set())
    assert machine.done == ["venv", "virtualenv", "virtualenv", "--version", "--editable", "compileall"]
    assert sorted(path.name for path in project.iterdir()) == [".venv", "pyproject.toml"]


def test_bundled_pip_fetches_virtualenv_where_there_is_no_other(bootstrap, project, machine, monkeypatch):
    monkeypatch.setattr(bootstrap, "importable", lambda module: False)
    monkeypatch.setattr(bootstrap, "bundled_pip", lambda: Path("pip-1-py3-none-any.whl"))
    bootstrap.set_up(project, set())
    assert machine.done == ["bundled pip virtualenv", "virtualenv", "--version", "--editable", "compileall"]


def test_no_way_at_all_is_one_line_with_a_remedy(bootstrap, project, machine, monkeypatch):
    monkeypatch.setattr(bootstrap, "importable", lambda module: False)
    monkeypatch.setattr(bootstrap, "bundled_pip", lambda: None)
    with pytest.raises(bootstrap.SetupError, match=r"python3-venv.*make PYTHON=") as raised:
        bootstrap.set_up(project, set())
    assert "\n" not in str(raised.value)
    assert [path.name for path in project.iterdir()] == ["pyproject.toml"]


def test_failed_installation_leaves_no_half_made_environment(bootstrap, project, machine):
    machine.failing = ("--editable",)
    with pytest.raises(bootstrap.SetupError, match="pip could not install"):
        bootstrap.set_up(project, set())
    assert not (project / ".venv").exists()


def test_extras_add_up_in_place(bootstrap, project, machine):
    bootstrap.set_up(project, {"test"})
    (project / ".venv/mine").touch()
    bootstrap.set_up(project, {"check"})
    assert machine.done.count("venv") == 1
    assert bootstrap.read_stamp(project / ".venv")["extras"] == ["check", "test"]
    bootstrap.set_up(project, {"check", "test"})
    assert machine.installs() == 2
    assert (project / ".venv/mine").exists()


def test_changed_dependencies_install_again_but_changed_tool_settings_do_not(bootstrap, project, machine):
    bootstrap.set_up(project, set())
    (project / "pyproject.toml").write_text(PROJECT.replace("110", "90"))
    bootstrap.set_up(project, set())
    assert machine.installs() == 1
    (project / "pyproject.toml").write_text(PROJECT.replace("dependencies = []", 'dependencies = ["numpy"]'))
    bootstrap.set_up(project, set())
    assert machine.installs() == 2
    assert machine.done.count("venv") == 1


def test_failed_update_leaves_the_environment_as_it_was(bootstrap, project, machine):
    bootstrap.set_up(project, {"test"})
    machine.failing = ("--editable",)
    with pytest.raises(bootstrap.SetupError):
        bootstrap.set_up(project, {"check"})
    bootstrap.set_up(project, {"test"})
    assert machine.done.count("venv") == 1


@pytest.mark.parametrize("stamp", ['{"unfinished": true}', '{"pyth'], ids=["interrupted", "torn"])
def test_interrupted_installation_is_made_anew(bootstrap, project, machine, stamp):
    bootstrap.set_up(project, set())
    (project / ".venv/backprop-ref.json").write_text(stamp)
    (project / ".venv/half").touch()
    bootstrap.set_up(project, set())
    assert machine.done.count("venv") == 2
    assert not (project / ".venv/half").exists()


@pytest.mark.parametrize(("key", "value"), [("python", "cpython 2.7"), ("folder", "/elsewhere")])
def test_other_python_or_moved_folder_is_made_anew(bootstrap, project, machine, key, value):
    bootstrap.set_up(project, set())
    stamp = project / ".venv/backprop-ref.json"
    stamp.write_text(json.dumps({**json.loads(stamp.read_text()), key: value}))
    bootstrap.set_up(project, set())
    assert machine.done.count("venv") == 2


def test_vanished_interpreter_is_made_anew(bootstrap, project, machine):
    bootstrap.set_up(project, set())
    (project / ".venv/bin/python").unlink()
    bootstrap.set_up(project, set())
    assert machine.done.count("venv") == 2


def test_an_environment_of_somebody_else_is_used_or_kept(bootstrap, project, machine):
    package = project / ".venv/lib/python3/site-packages/torch-1.dist-info"
    package.mkdir(parents=True)
    machine.failing = ("ask",)
    with pytest.raises(bootstrap.SetupError, match="move it away"):
        bootstrap.set_up(project, set())
    machine.failing = ()
    bootstrap.set_up(project, set())
    assert package.exists()
    assert "venv" not in machine.done


def test_a_half_made_environment_of_somebody_else_is_replaced(bootstrap, project, machine):
    (project / ".venv/lib").mkdir(parents=True)
    machine.failing = ("ask",)
    bootstrap.set_up(project, set())
    assert not (project / ".venv/lib").exists()


def test_newer_python_has_to_run(bootstrap, tmp_path):
    broken, good = tmp_path / "shims", tmp_path / "bin"
    for folder, name, script in [
        (broken, "python3.13", "exit 127"),
        (broken, "python3.12", "exit 127"),
        (good, "python3.12", "exit 0"),
    ]:
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    assert bootstrap.newer_python(f"{broken}:{good}") == str(good / "python3.12")
    assert bootstrap.newer_python(str(broken)) is None


def test_callers_python_settings_do_not_reach_pip(bootstrap, monkeypatch):
    for name in ("PYTHONPATH", "PYTHONWARNINGS", "VIRTUAL_ENV", "PIP_TARGET", "PIP_CACHE_DIR"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("PIP_USER", "1")
    kept = bootstrap.clean_environment()
    assert not {"PYTHONPATH", "PYTHONWARNINGS", "VIRTUAL_ENV", "PIP_TARGET", "PIP_NO_CACHE_DIR"} & set(kept)
    assert (kept["PIP_USER"], kept["PIP_CACHE_DIR"]) == ("0", "x")
    monkeypatch.delenv("PIP_CACHE_DIR")
    assert bootstrap.clean_environment()["PIP_NO_CACHE_DIR"] == "1"


# ---- the Makefile

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(*arguments):
    """What ``make`` prints, whatever the ``make`` that may have started these tests was told."""
    told = ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "GNUMAKEFLAGS", "ARGS", "PYTHON")
    env = {name: value for name, value in os.environ.items() if name not in told}
    done = subprocess.run(["make", *arguments], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_make
def test_help_lists_every_target():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[0].split()
    assert re.findall(r"^make ([\w-]+)", make("help"), re.MULTILINE) == targets
    assert {"demo", "test", "lint", "types", "wheel", "check", "bench", "clean"} < set(targets)


@needs_make
@pytest.mark.parametrize(
    ("goals", "extras", "last"),
    [
        (["test"], "test workers", ".venv/bin/python -m pytest"),
        (["demo"], "", ".venv/bin/backprop-ref demo"),
        (["check"], "check test workers", ".venv/bin/python -m pytest"),
        (["lint", "test"], "check test workers", ".venv/bin/python -m pytest"),
    ],
)
def test_goals_are_set_up_once_with_all_their_extras(goals, extras, last):
    lines = make("-n", "--no-print-directory", *goals).splitlines()
    setups = [line.rstrip() for line in lines if "bootstrap.py" in line]
    assert setups == [f"'python3' ci/bootstrap.py {extras}".rstrip()]
    assert lines[-1].startswith(last)


@needs_make
def test_hooks_before_a_commit_check_what_make_checks_and_download_nothing():
    made = make("-n", "--no-print-directory", "lint", "types")
    repositories = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert [repository["repo"] for repository in repositories] == ["local"]
    hooks = repositories[0]["hooks"]
    assert {hook["language"] for hook in hooks} == {"system"}
    checks = re.findall(r"^\.venv/bin/python -m (mypy|ruff \w+)", made, re.MULTILINE)
    assert checks == ["ruff check", "ruff format", "mypy"]
    assert "ruff format --check" in made
    for check, hook in zip(checks, hooks, strict=True):
        assert hook["entry"].startswith(f".venv/bin/python -m {check}")


def test_an_old_python_can_read_bootstrap():
    ast.parse((ROOT / "ci/bootstrap.py").read_text(encoding="utf-8"), feature_version=(3, 7))
