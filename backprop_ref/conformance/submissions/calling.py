"""Somebody's code, imported and called in this process: what it returns, or one line that says why it does not."""

import ast
import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import signal
import sys
import threading
import types
import warnings
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from backprop_ref.asking import ask
from backprop_ref.conformance.submissions.outline import SHORTENED
from backprop_ref.conformance.submissions.reading import Unreadable
from backprop_ref.conformance.submissions.scripts.definitions import define
from backprop_ref.conformance.submissions.scripts.epochs import one_epoch
from backprop_ref.conformance.submissions.scripts.script import SCRIPT, as_class, changes_weights
from backprop_ref.conformance.submissions.scripts.top_level import TOP_LEVEL, Loop
from backprop_ref.errors import InvalidInput, blame, is_library
from backprop_ref.import_path import importable

TIME_LIMIT, MOST_SECONDS = 10.0, 86_400.0
PATIENCE = 5.0
"""Processor seconds that a file may take to be imported, before what trains in it is left out; or four times as many
by the clock."""
FROM_THE_START, IN_ALL = 3, 12
"""How many calls without an answer end the calls: if there never was an answer, and if there were some."""


_FAILED: list[str] = []
"""Why files that were imported are without what they run beside definitions; a name that is missing may be for that."""


class Refusal(Exception):
    """There is no answer, for the reason given."""


class NotJudged(Exception):
    """The code does not claim to do this case."""


class Late(Refusal):
    """There is no answer within the time limit."""


class Costly(Exception):
    """Asking on would take minutes; the message says why."""


class CircuitBreaker:
    """Ends the calls once too many had no answer, so that all of them together cost a bounded time."""

    def __init__(self):
        self.answered, self.lost, self.reason = 0, 0, ""

    def check(self):
        """Raises a `Refusal` if there is to be no other call."""
        if self.lost >= (IN_ALL if self.answered else FROM_THE_START):
            raise Refusal(f"not asked: {self.lost} calls before had no answer; the last: {self.reason}")

    def lose(self, reason: str):
        """Counts a call without an answer."""
        self.lost, self.reason = self.lost + 1, reason


def check_time_limit(seconds: object) -> None:
    """Refuses what is no number of seconds to wait."""
    if not isinstance(seconds, Real) or isinstance(seconds, bool) or not 0.0 < float(seconds) <= MOST_SECONDS:
        raise InvalidInput(
            f"{ask('--time-limit', seconds)}: a number of seconds above 0, up to {MOST_SECONDS:g}, is needed"
        )


def folder_of(target: str) -> Path:
    """Where what a target imports may lie: its file's folder; of a module, the current one."""
    place = target.rpartition(":")[0]
    return Path(place).resolve().parent if place.endswith(".py") else Path.cwd()


def load(target: str, folder: Path | str | None = None) -> Any:
    """What ``package.module:name`` or ``file.py:name`` names, imported afresh.

    While it is imported, the modules in `folder` can be as well; default: `folder_of` it.

    Raises
    ------
    InvalidInput
        No such module, file or name; or the import raised, with what and where.
    """
    place, colon, name = target.rpartition(":")
    if not colon or not place or not name:
        raise InvalidInput(f"'{target}': package.module:name or file.py:name is needed, as in mine.py:gradients")
    try:
        with importable(folder or folder_of(target)), _quiet():
            module = _from_file(place, name) if place.endswith(".py") else _from_name(place)
    except (InvalidInput, KeyboardInterrupt):
        raise
    except BaseException as error:
        if isinstance(error, ModuleNotFoundError) and place.startswith(f"{error.name}"):
            raise InvalidInput(
                f"no module '{error.name}' here or on Python's path; a file: {place}.py:{name}"
            ) from None
        remedy = '; put what asks under if __name__ == "__main__":' if isinstance(error, EOFError) else ""
        raise InvalidInput(f"importing {place} failed: {blame(error)}{remedy}") from None
    found = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise InvalidInput(_no_such_name(place, part, found))
        found = getattr(found, part)
    if not callable(found):
        raise InvalidInput(f"{target} is a {type(found).__name__}, and cannot be called")
    return found


ABSENT = (
    *("matplotlib", "seaborn", "plotly", "tqdm", "IPython", "tabulate", "wandb", "requests", "pandas", "torchvision"),
    *("cv2", "PIL", "skimage", "imageio", "h5py", "mnist", "idx2numpy", "kagglehub"),
)
"""Packages without which a submission computes the same: they draw, or read data."""


class _StandIn(types.ModuleType):
    """A module, its functions and what they return: all do nothing; a progress bar is what it goes through."""

    __path__: list[str] = []  # noqa: RUF012 (a package, whose modules are stand-ins too)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return _StandIn(name)

    def __call__(self, *arguments, **keywords):
        return arguments[0] if arguments and hasattr(arguments[0], "__iter__") else self

    def __iter__(self):
        return iter((_StandIn("figure"), _StandIn("axes")))

    def __getitem__(self, place):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def __instancecheck__(self, instance):
        return False


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds what is absent for a submission, and not for libraries, which do without what is not installed."""

    def find_spec(self, name, path, target=None):
        absent = name.partition(".")[0] in ABSENT and not is_library(_importer())
        return importlib.machinery.ModuleSpec(name, self) if absent else None

    def create_module(self, spec):
        return _StandIn(spec.name)

    def exec_module(self, module):
        pass


def _importer():
    """The file in which the import stands that is under way."""
    frame = sys._getframe(1)
    while frame.f_back and (frame.f_code.co_filename == __file__ or "importlib" in frame.f_code.co_filename):
        frame = frame.f_back
    return frame.f_code.co_filename


def stand_in():
    """From now on, nothing in this process draws or shows progress; what would need not be installed."""
    os.environ["MPLBACKEND"] = "Agg"  # a window would wait for someone to close it
    sys.meta_path.append(_Finder())


def _no_such_name(place, name, module):
    import difflib

    known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"it has {', '.join(known[:10]) or 'no functions'}"
    return f"{place} has no '{name}': {hint}"


def _from_file(place, name):
    """A file as a module; where importing it fails or takes long, without what it runs beside definitions."""
    path = Path(place).resolve()
    if not path.is_file():
        raise InvalidInput(f"{place}: no such file")
    if name == TOP_LEVEL:
        return _defined(path)
    if name == SCRIPT:
        return _as_a_whole(path)
    with contextlib.suppress(SyntaxError, ValueError):
        tree = ast.parse(path.read_bytes(), path.name)
        if changes_weights(tree, name) and hasattr(whole := _as_a_whole(path, name), name):
            return whole
        if (loop := Loop.of(tree, name)) is not None:
            return _defined(path, name, loop)
    module = _module(path)
    try:
        with _patient():
            tree = ast.parse(path.read_bytes(), path.name)
            vars(module)[SHORTENED] = one_epoch(tree)
            exec(compile(tree, str(path), "exec"), vars(module))
    except (KeyboardInterrupt, SyntaxError, ImportError):
        raise
    except BaseException as error:
        _FAILED.append(_late(place) if isinstance(error, _TimeUp) else blame(error))
        with contextlib.suppress(Exception):
            module = _defined(path)
        if not hasattr(module, name.partition(".")[0]):
            raise InvalidInput(_late(place)) if isinstance(error, _TimeUp) else error from None
    return module


def _late(place):
    return f'importing {place} takes over {PATIENCE:g} s; put what trains under if __name__ == "__main__":'


def _module(path):
    """An empty module for a file; where no other has its name, processes that it starts find what is in it by that."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[f"submitted:{path}"] = module
    if path.stem not in sys.modules and not _is_another(path):
        sys.modules[path.stem] = module
    return module


def _is_another(path):
    """Whether importing the name of a file gives something else."""
    with contextlib.suppress(ImportError, ValueError):
        found = importlib.util.find_spec(path.stem)
        return found is not None and found.origin != str(path)
    return False


def _defined(path, name=TOP_LEVEL, loop=None):
    """The module of a file without the training at its top level, or in a function, which is a function in it."""
    tree, module = ast.parse(path.read_bytes(), path.name), _module(path)
    with _patient():
        define(tree, vars(module), str(path))
    if (loop := loop or Loop.of(tree)) is not None:
        vars(module)[name] = loop.function(vars(module), str(path))
    return module


def _as_a_whole(path, name=""):
    """A module with the script as a class in it: under the name of the function that trains, if one is to be called."""
    module = _module(path)
    with _patient():
        if (found := as_class(ast.parse(path.read_bytes(), path.name), str(path), name)) is not None:
            vars(module)[name or SCRIPT] = found
    return module


def _from_name(place):
    if place in sys.modules and not place.startswith("backprop_ref"):
        return importlib.reload(sys.modules[place])
    importlib.invalidate_caches()
    return importlib.import_module(place)


def run(function, *arguments, limit=TIME_LIMIT, **keywords):
    """Calls somebody's function; prints go nowhere, and every way to fail but Ctrl-C becomes a `Refusal`.

    The time is limited where signals can be had, that is in the main thread; None: not here.
    """
    depth = sys.getrecursionlimit()
    try:
        with _quiet(), _limited(limit), np.errstate():
            return function(*arguments, **keywords)
    except (KeyboardInterrupt, Refusal, NotJudged, Unreadable):
        raise
    except NotImplementedError as error:
        said = f": {error}" if str(error) else ""
        raise NotJudged(f"NotImplementedError{said}") from None
    except _TimeUp:
        raise Refusal(f"no answer within {limit:g} s") from None
    except SystemExit as error:
        raise Refusal(f"it called sys.exit({error.code!r})") from None
    except BaseException as error:
        raise Refusal(why(error)) from None
    finally:
        sys.setrecursionlimit(depth)


def why(error: BaseException) -> str:
    """An exception of somebody's function in one line; of a name that is missing, also why it is."""
    missing = type(error) is NameError and _FAILED
    return blame(error) + (f", as importing it raised {_FAILED[-1]}" if missing else "")


def ending(status: int, what="it") -> str:
    """How a process ended, by its status, in words."""
    if status < 0:
        with contextlib.suppress(ValueError):
            return f"{what} was ended by {signal.Signals(-status).name}"
    return f"{what} ended with status {status}"


class _TimeUp(BaseException):
    """Not an Exception, so that an ``except Exception`` in the code asked does not swallow it."""


@contextlib.contextmanager
def _patient():
    """Ends what takes too long; a machine that is busy with something else has its time."""
    with _limited(4.0 * PATIENCE), _limited(PATIENCE, busy=True):
        yield


@contextlib.contextmanager
def _limited(seconds, busy=False):
    """Ends the block after some seconds by the clock; or, if `busy`, of processor time."""
    if seconds is None or threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_):
        raise _TimeUp

    number, timer = (signal.SIGPROF, signal.ITIMER_PROF) if busy else (signal.SIGALRM, signal.ITIMER_REAL)
    before = signal.signal(number, stop)
    signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        signal.setitimer(timer, 0.0)
        signal.signal(number, before)


@contextlib.contextmanager
def _quiet():
    """No prints and no warnings: standard output belongs to the report."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            yield
