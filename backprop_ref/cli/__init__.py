"""The command ``backprop-ref``.

Exit status: 0 fine, 1 a check failed or training diverged, 2 wrong usage, 130 Ctrl-C.
"""

import io
import os
import sys
import warnings
from collections.abc import Sequence

from backprop_ref.errors import BackpropRefError, CommandInterrupted, OtherBits, TrainingDiverged, blame
from backprop_ref.starting import INTERRUPTED, end_at_once
from backprop_ref.text import printable

COMPLETION = "_BACKPROP_REF_COMPLETE"
COMPLETES = {"--show-completion", "--install-completion"}
LONGEST = 2000
"""Characters of a message, most of which may be a name from a file; its end says what to do."""
COMPILED_CODE = ("NUMBA_CACHE_DIR", "NUMBA_CACHE_LOCATOR_CLASSES")
"""Where Numba takes compiled code from, and unpickles it."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and ends the process with its exit status."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not everyone's terminal has a Σ
            stream.reconfigure(errors="spelt")
    for variable in COMPILED_CODE:  # or else a file .numba_config.yaml in the current folder could say it
        os.environ.setdefault(variable, "")
    status = run(arguments)
    end_at_once()  # all is done: while the process ends, an exception would only be a traceback
    sys.exit(status)


def _open_closed_streams() -> None:
    """Standard streams that the caller closed lead nowhere; or else the next file opened would be one of them."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            handle = os.open(os.devnull, os.O_RDWR)
            if handle != number:
                os.dup2(handle, number)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8"))


def run(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; a user's mistake becomes one line on standard error. Returns the exit status."""
    message: object
    try:
        from backprop_ref.asking import by_flags
        from backprop_ref.cli.app import as_now, command

        with warnings.catch_warnings(), by_flags():
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", OtherBits)
            warnings.showwarning = _show_warning
            given = as_now(sys.argv[1:] if arguments is None else arguments)
            asked = command(given[0] if given else None)
            status = asked(args=given, prog_name="backprop-ref", standalone_mode=False)
            sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except SystemExit as error:
        asked = sys.argv[1:] if arguments is None else arguments
        if COMPLETION in os.environ or COMPLETES & set(asked):  # typer ends by itself
            return int(error.code or 0)
        if isinstance(error.__context__, BrokenPipeError):  # how typer ends when nobody reads its output any more
            return 0
        message, status = f"ended by code that was imported: {blame(error)}", 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except TrainingDiverged as error:  # of several processes, rank 0 alone raises it
        message, status = error, 1
    except BackpropRefError as error:
        message, status = error, 2
    except (KeyboardInterrupt, CommandInterrupted):
        message, status = "interrupted", INTERRUPTED
    except OSError as error:
        message, status = f"{error.filename or 'system'}: {error.strerror or error}", 2
    except MemoryError as error:
        message, status = f"not enough memory: {error}; use fewer rows, smaller layers or float32", 2
    except Exception as error:
        message, status = _said(error), 2
        if message is None:
            from backprop_ref.ranks.launched import end_all_started

            end_all_started(error)
            raise
    said = " ".join(str(message).split())
    said = said if len(said) <= LONGEST else f"{said[: LONGEST - 500]} … {said[-500:]}"
    if _is_train(arguments) and status != 1 and _is_said_by_rank_0(said, status):
        return status
    print("error:", printable(said), file=sys.stderr)
    return status


def _is_train(arguments: Sequence[str] | None) -> bool:
    """Whether it is the command whose processes, if there are several, do one thing together."""
    return list(sys.argv[1:2] if arguments is None else arguments[:1]) == ["train"]


def _is_said_by_rank_0(said: str, status: int) -> bool:
    from backprop_ref.ranks.launched import is_said_by_rank_0

    return is_said_by_rank_0(said, status)


def _show_warning(message: object, *_: object, **__: object) -> None:
    print("note:", printable(str(message)), file=sys.stderr)


def _said(error):
    """An error of the command line itself, of a value in the words that the configuration's flags have; that a package
    is absent. None for others."""
    package = error.name if isinstance(error, ModuleNotFoundError) else None
    if package is not None and not package.startswith("backprop_ref"):
        return f"{package} is not installed; pip install backprop-ref installs all that is needed"
    if not hasattr(error, "format_message"):
        return None
    problems = getattr(error.__cause__, "errors", None)
    if problems is not None and getattr(error, "param", None) is not None:
        from backprop_ref.experiments.config import refused

        return refused(error.param.opts[-1], problems())
    asked = getattr(getattr(error, "ctx", None), "command_path", "backprop-ref")
    said = error.format_message().rstrip(".?")
    from backprop_ref.cli import show

    if asked.endswith(" verify") and "extra argument" in said:
        return f"{said}; {show.ONE_AT_A_TIME.format(place='handins')}"
    return f"{said}; see {asked} --help"
