"""What lies in the current folder is not imported, and what a file names is not run."""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml
from helpers import more

import backprop_ref as br
from backprop_ref.cli import run
from backprop_ref.cli.app import command as command_line
from backprop_ref.import_path import importable

PROGRAMS = {
    "backprop-ref": [str(Path(sys.executable).with_name("backprop-ref"))],
    "python -m backprop_ref": [sys.executable, "-m", "backprop_ref"],
}
OPTIONAL = (
    *("IPython", "array_api_strict", "attr", "bottleneck", "cffi", "charset_normalizer", "colorama", "cuda", "cupy"),
    *("dask", "email_validator", "ipywidgets", "jax", "kaleido", "lz4", "matplotlib", "numexpr", "orjson"),
    *("pandas", "polars", "psutil", "pyarrow", "tbb", "torch", "tqdm", "xarray"),
)
NEEDED = (
    *("joblib", "mpmath", "numba", "numpy", "plotly", "pydantic", "rich", "safetensors", "scipy", "sklearn", "typer"),
    "yaml",
)
STANDARD = ("csv", "difflib", "logging", "multiprocessing", "platform", "sitecustomize", "statistics", "usercustomize")

MARK = "from pathlib import Path\nPath(__file__).with_suffix('.ran').touch()\n"
TRAP = f"{MARK}raise ImportError('a trap')\n"

MINE = """
import helpers

def f(network, weights, biases, x, y):
    import lately
    return helpers.right(network, weights, biases, x, y)
"""
PROGRAM = """
import json, sys
import helpers
case = json.load(sys.stdin)
print(json.dumps({"not_judged": helpers.REASON}))
"""
HELPERS = """
REASON = "it only reads"

def right(*arguments):
    from submissions import right
    return right(*arguments)
"""
BACKEND = """
import sys
from functools import partial
from os import abort
from sys import exit as leave
import numpy as np
from backprop_ref.backends.arithmetic import Fast
from backprop_ref.backends.numpy import NumpyBackend

def make():
    import beside
    return NumpyBackend(np, Fast(np))

def leaves():
    sys.exit(0)

def breaks():
    raise RuntimeError("no such device")

class Late(NumpyBackend):
    def __init__(self):
        super().__init__(np, Fast(np))

    def asarray(self, *arguments, **keywords):
        import later
        return super().asarray(*arguments, **keywords)

class Leaving(NumpyBackend):
    trainer = None

    def __init__(self):
        super().__init__(np, Fast(np))

    def affine_forward(self, *arguments):
        sys.exit(0)
"""


def environment(**variables):
    """The caller's, without what would already keep the current folder away."""
    return {
        name: value for name, value in os.environ.items() if name not in {"PYTHONSAFEPATH", "PYTHONPATH"}
    } | variables


def process(program, *arguments, folder, **variables):
    """Status, standard output and standard error of a command line in a folder."""
    done = subprocess.run(
        [*program, *map(str, arguments)],
        cwd=folder,
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


def ran(folder):
    """The traps that were sprung."""
    return sorted(path.name for path in Path(folder).rglob("*.ran"))


@pytest.fixture(scope="module", params=PROGRAMS)
def trapped(request, tmp_path_factory):
    """A command, to be run in a folder of modules that have the names of others."""
    folder = tmp_path_factory.mktemp("trapped")
    for name in (*OPTIONAL, *NEEDED, *STANDARD):
        (folder / f"{name}.py").write_text(TRAP)
    (folder / "theirs-1.0.dist-info").mkdir()
    (folder / "theirs-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (folder / "theirs-1.0.dist-info" / "entry_points.txt").write_text("[backprop_ref.backends]\ntheirs = torch:make\n")
    theirs = {"mine": MINE, "program": PROGRAM, "helpers": HELPERS, "lately": "", "named": BACKEND, "beside": ""}
    theirs["submissions"] = Path(__file__).with_name("submissions.py").read_text()
    for name, text in theirs.items():
        (folder / f"{name}.py").write_text(text)
    (folder / "answers.json").write_text("[]")

    def trapped(*arguments):
        status, out, err = process(PROGRAMS[request.param], *arguments, folder=folder)
        assert ran(folder) == []
        return status, out + err

    return trapped


@pytest.mark.parametrize("name", ["", "train", *(more(name) for name in command_line().commands if name != "train")])
@pytest.mark.few(1)
def test_help_imports_nothing_from_the_current_folder(trapped, name):
    status, said = trapped(*filter(None, [name]), "--help")
    assert (status, "Usage: backprop-ref" in said) == (0, True)


@pytest.mark.more
@pytest.mark.more(trapped="backprop-ref")  # python -m has the current folder on its path from the start
def test_no_command_imports_from_the_current_folder(trapped):
    """One after the other, since some read what others wrote."""
    few = ("--network", "3-5-4:tanh,softmax:ce")
    assert trapped("data", "iris", "--out", "iris.csv")[0] == 0  # which scikit-learn brings
    assert trapped("data", "moons", "--out", "moons.csv")[0] == 0
    assert trapped("train", "moons", "--epochs", "2", "--trace", "binary", "--run-dir", "run")[0] == 0
    assert trapped("train", "--resume", "run", "--epochs", "3")[0] == 0
    assert trapped("predict", "run", "--data-path", "moons.csv")[0] == 0
    assert trapped("evaluate", "run")[0] == 0
    assert trapped("gradcheck", "run", "--entries", "2")[0] == 0
    assert trapped("explain", "run")[0] == 0
    assert trapped("report", "run")[0] == 0
    assert trapped("report", "run", "--out", "drawn.html", "--images", "images")[0] in {0, 2}  # 2: without kaleido
    assert trapped("compare", "xor", "--steps", "1", "--backends", "numpy")[0] == 0
    status, said = trapped("backends")
    assert (status, "theirs" in said) == (0, False)
    named = ("--backend", "named:make")
    grid = ("--dataset", "xor", "--seeds", "1-2", "--epochs", "2", "--workers", "2")
    assert trapped("sweep", *grid, *named, "--out", "s")[0] == 0
    assert trapped("sweep", "--resume", "s", *named)[0] == 0
    assert trapped("report", "s")[0] == 0
    assert trapped("verify", "mine.py:f", *few)[0] == 0
    assert trapped("verify", "mine:f", *few)[0] == 0
    assert trapped("verify", "--command", f"{shlex.quote(sys.executable)} program.py", *few)[0] == 2
    assert trapped("verify", "--answers", "answers.json")[0] == 2
    assert trapped("verify", "--elementary", "--points", "100")[0] == 0
    assert trapped("train", "xor", "--epochs", "1", "--backend", "absent:make")[0] == 2


@pytest.mark.long
def test_the_long_commands_import_nothing_from_the_current_folder_either(trapped):
    assert trapped("verify", "--bounds")[0] == 0
    assert trapped("vectors", "--out", "vectors")[0] == 0
    assert trapped("bench", "--quick", "--no-scaling", "--out", "bench")[0] == 0
    assert trapped("demo")[0] == 0


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current one, with a backend in a module of a name of its own."""
    monkeypatch.chdir(tmp_path)
    for name in ("ours", "beside", "later"):
        monkeypatch.delitem(sys.modules, name, raising=False)
        (tmp_path / f"{name}.py").write_text(MARK + BACKEND if name == "ours" else "")
    made = sys.modules["backprop_ref.backends"]._made
    made.cache_clear()
    yield tmp_path
    made.cache_clear()


@pytest.mark.more
def test_a_package_that_lies_in_the_current_folder_itself_finds_itself(tmp_path):
    """Also in the workers of a sweep; by the Python below the virtual environment, where it is not installed."""
    package = Path(br.__file__).parent
    shutil.copytree(package, tmp_path / "backprop_ref")
    shutil.copytree(Path(br.kernels.__file__).parent, tmp_path / "backprop_ref" / "kernels", dirs_exist_ok=True)
    program = [sys._base_executable, "-m", "backprop_ref"]
    grid = ("--dataset", "xor", "--seeds", "1,2", "--epochs", "1", "--workers", "2", "--backend", "numpy")
    installed = sysconfig.get_path("purelib")
    assert process(program, "sweep", *grid, "--out", "s", folder=tmp_path, PYTHONPATH=installed)[0] == 0
    assert len(list(tmp_path.glob("s/cells/*/cell.json"))) == 2


# --- a backend that the user names ---


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("how", ["flag", "environment"])
def test_a_backend_that_is_named_may_lie_in_the_current_folder(folder, name, how):
    flags, variables = (
        (["--backend", "ours:make"], {}) if how == "flag" else ([], {"BACKPROP_REF_BACKEND": "ours:make"})
    )
    arguments = ("train", "xor", "--epochs", "2", *flags)
    assert process(PROGRAMS[name], *arguments, folder=folder, **variables)[0] == 0
    assert ran(folder) == ["ours.ran"]


def test_only_while_it_is_imported_and_made(folder):
    before = list(sys.path)
    assert br.get_backend("ours:make").name == "numpy"
    assert sys.path == before
    with pytest.raises(ModuleNotFoundError, match="later"):
        br.get_backend("ours:Late").asarray([1.0], "float64")


def test_what_is_installed_comes_first(folder):
    (folder / "mpmath.py").write_text(TRAP)
    (folder / "ours.py").write_text(f"{MARK}import mpmath\n{BACKEND}")
    assert br.get_backend("ours:make").name == "numpy"
    assert ran(folder) == ["ours.ran"]


def test_the_path_is_as_before_whatever_the_code_did_to_it(tmp_path, monkeypatch):
    entry = str(tmp_path)
    monkeypatch.setattr(sys, "path", [entry, *sys.path])
    before = list(sys.path)
    with importable(tmp_path), importable(tmp_path):
        assert sys.path == [*before, entry, entry]
    assert sys.path == before
    with importable(tmp_path):
        sys.path.append("more")
    assert sys.path == [*before, "more"]
    with importable(tmp_path):
        sys.path = before[1:]
    assert sys.path == before[1:]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("os:abort", "backend os:abort: os has no backend to name so; known are numpy, "),
        ("sys:exit", "backend sys:exit: sys has no backend to name so"),
        ("builtins:exit", "backend builtins:exit: builtins has no backend to name so"),
        ("backprop_ref.cli:main", "backprop_ref.cli has no backend to name so"),
        ("ours:abort", "backend ours:abort: posix.abort is neither a backend nor a callable of ours that makes one"),
        ("ours:leave", "backend ours:leave: sys.exit is neither a backend nor a callable of ours"),
        ("ours:partial", "backend ours:partial: functools.partial is neither a backend nor a callable of ours"),
        ("ours:leaves", "backend ours:leaves: cannot be made: SystemExit: 0 (ours.py, line 17: sys.exit(0))"),
        ("ours:breaks", "backend ours:breaks: cannot be made: RuntimeError: no such device (ours.py, line 20: "),
        ("ours:Leaving", "ended by code that was imported: SystemExit: 0 (ours.py, line 37: sys.exit(0))"),
        ("leaving:make", "backend leaving:make: cannot import 'leaving' (SystemExit: 0 (leaving.py, line 2: "),
        ("broken:make", "backend broken:make: cannot import 'broken' (SyntaxError: '(' was never closed (broken.py, "),
        ("needs:make", "cannot import 'needs' (ModuleNotFoundError: No module named 'nothing' (needs.py, line 1: "),
        ("nothing:make", "No module named 'nothing'); it is looked for on Python's path, then in the current folder"),
        (":make", "backend :make: cannot import '' (ValueError: Empty module name)"),
    ],
)
def test_what_is_no_backend_is_refused(folder, capsys, name, message):
    (folder / "leaving.py").write_text("import sys\nsys.exit(0)\n")
    (folder / "broken.py").write_text("x = (\n")
    (folder / "needs.py").write_text("import nothing\n")
    assert run(["gradcheck", "iris", "--entries", "1", "--backend", name]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err


@pytest.mark.parametrize(
    "name", ["ours:leaves", "ours:Leaving", *map(more, ("os:abort", "sys:exit", "ours:abort", "ours:leave"))]
)
def test_a_backend_does_not_end_the_process_as_if_all_were_well(folder, name):
    program = PROGRAMS["python -m backprop_ref"]
    status, out, err = process(program, "gradcheck", "xor", "--entries", "1", "--backend", name, folder=folder)
    assert (status, out, err.count("\n")) == (2, "", 1)


def test_an_installed_backend_that_ends_the_process_is_listed_as_not_usable(folder, monkeypatch):
    """As another package registers it, by an entry point."""
    (folder / "leaving.py").write_text("import sys\nsys.exit(0)\n")
    (folder / "theirs-1.0.dist-info").mkdir()
    (folder / "theirs-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (folder / "theirs-1.0.dist-info" / "entry_points.txt").write_text(
        "[backprop_ref.backends]\ntheirs = leaving:make\n"
    )
    assert "theirs" not in {status.name for status in br.backends()}
    monkeypatch.syspath_prepend(folder)
    reasons = {status.name: status.reason for status in br.backends()}
    assert "(leaving:make) does not load: cannot import 'leaving' (SystemExit: 0" in reasons["theirs"]


# --- a backend that a file names ---


@pytest.fixture
def foreign(folder):
    """A run, a configuration and a sweep that name a backend, whose module lies here and in the run's folder."""
    assert run(["train", "iris", "--epochs", "2", "--trace", "binary", "--run-dir", "run"]) == 0
    assert run(["sweep", "--dataset", "iris", "--seeds", "1,2", "--epochs", "1", "--out", "sweep"]) == 0
    config = yaml.safe_load(Path("run/config.yaml").read_text())
    config["backend"]["name"] = "ours:make"
    Path("run/config.yaml").write_text(yaml.safe_dump(config))
    Path("config.yaml").write_text("data: {dataset: iris}\nbackend: {name: 'ours:make'}\n")
    Path("grid.yaml").write_text("data: {dataset: iris}\nbackend: {name: 'ours:make'}\nsweep: {seed: [1, 2]}\n")
    plan = Path("sweep/sweep.json")
    plan.write_text(plan.read_text().replace('"numba"', '"ours:make"'))
    shutil.rmtree("sweep/cells/seed=2")
    shutil.copy("ours.py", "run")
    return folder


OPENING = {
    "train --resume run --epochs 3": "run/config.yaml",
    "train --config config.yaml --epochs 1": "config.yaml",
    "gradcheck run --entries 1": "run/config.yaml",
    "sweep --config grid.yaml --epochs 1": "grid.yaml",
    "sweep --resume sweep": "sweep/sweep.json",
}
"""Command lines that compute on a backend, and the file that names it."""


@pytest.mark.few(1)
@pytest.mark.parametrize("line", OPENING)
def test_a_backend_that_a_file_names_is_refused(foreign, capsys, line):
    capsys.readouterr()
    assert run(line.split()) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == (
        f"error: {OPENING[line]}: backend ours:make is code from elsewhere, which no file may have run; "
        "if you trust it, give --backend ours:make"
    )
    assert run([*line.split(), "--backend", "nothing:make"]) == 2
    assert ran(foreign) == []


@pytest.mark.few(1)
@pytest.mark.parametrize("how", ["flag", "environment"])
@pytest.mark.parametrize("line", OPENING)
def test_the_same_name_from_the_user_allows_it(foreign, monkeypatch, line, how):
    if how == "environment":
        monkeypatch.setenv("BACKPROP_REF_BACKEND", "ours:make")
    assert run([*line.split(), *(["--backend", "ours:make"] if how == "flag" else [])]) == 0
    assert ran(foreign) == ["ours.ran"]


@pytest.mark.parametrize(
    "line",
    [
        "evaluate run",
        "explain run",
        "report run",
        "report sweep",
        "predict run --data-path iris.csv",
    ],
)
@pytest.mark.more
def test_what_only_reads_a_run_does_not_care_for_its_backend(foreign, line):
    assert run(["data", "iris", "--out", "iris.csv"]) == 0
    assert run(line.split()) == 0
    assert ran(foreign) == []


def test_a_name_is_shown_so_that_a_shell_takes_it_as_one_word(folder, capsys):
    Path("config.yaml").write_text("data: {dataset: iris}\nbackend: {name: 'ours:x; rm -r *'}\n")
    assert run(["train", "--config", "config.yaml"]) == 2
    assert capsys.readouterr().err.endswith("give --backend 'ours:x; rm -r *'\n")


# --- other files that would be run ---


@pytest.mark.more
def test_compiled_code_is_not_taken_from_where_a_file_in_the_folder_says(folder):
    """Numba reads .numba_config.yaml there, and would unpickle what lies in its `cache_dir`."""
    (folder / ".numba_config.yaml").write_text("cache_dir: cached\n")
    arguments = ("gradcheck", "xor", "--entries", "1", "--backend", "numba")
    assert process(PROGRAMS["backprop-ref"], *arguments, folder=folder)[0] == 0
    assert not (folder / "cached").exists()
    assert process(PROGRAMS["backprop-ref"], *arguments, folder=folder, NUMBA_CACHE_DIR="cached")[0] == 0
    assert (folder / "cached").exists()  # which the user may say
