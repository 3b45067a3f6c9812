"""What can go wrong by a user's doing. Every message says what was wrong, where, and what to do."""

import functools
import os
import reprlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any


class BackpropRefError(Exception):
    """Base of every error raised on purpose; the command line prints it in one line and exits with 2.

    Examples
    --------
    >>> import backprop_ref as br
    >>> try:
    ...     br.get_backend("numpy", "reproducable")
    ... except br.BackpropRefError as error:
    ...     print(error)
    unknown numerics 'reproducable': did you mean 'reproducible'? known are fast, reproducible
    """


class InvalidInput(BackpropRefError, ValueError):
    """An argument, a file or a setting that cannot be used.

    Attributes
    ----------
    result : Result or None
        What training had reached, if it was under way.

    Examples
    --------
    >>> import backprop_ref as br
    >>> br.one_hot([0, 1.5], 3)
    Traceback (most recent call last):
    backprop_ref.errors.InvalidInput: label 1.5 at position 1 is not a whole number
    """

    result: Any = None


class OtherBits(UserWarning):
    """What is computed will not have the bits that it had before; the command line shows it in one line."""


class BackendUnavailable(BackpropRefError, RuntimeError):
    """A known backend that cannot run here: not installed, or installed but without a device.

    Examples
    --------
    >>> import backprop_ref as br
    >>> issubclass(br.BackendUnavailable, RuntimeError)
    True
    """


class CommandInterrupted(BaseException):
    """Ctrl-C in a command, in a form that typer lets through; of KeyboardInterrupt it makes a status without a word."""


class TrainingDiverged(BackpropRefError, ArithmeticError):
    """The loss or a parameter became NaN or infinite.

    Attributes
    ----------
    result : Result
        What was reached before: parameters and history up to the last finite epoch.
    epoch : int
        The epoch, counted from 1, in which the first value that is not finite appeared.
    layer : int or None
        The layer, counted from 0, where it appeared; None if a replay of the epoch stayed finite.

    Examples
    --------
    >>> import backprop_ref as br
    >>> network = br.Network([1, 1], ["linear"], "mean_squared_error")
    >>> params = br.Parameters.from_arrays([[[1.0]]], [[0.0]])
    >>> try:
    ...     br.train(network, params, [[1e200]], [[0.0]], epochs=3, optimizer=br.SGD(1e200))
    ... except br.TrainingDiverged as error:
    ...     print(error.epoch, error.result.epochs)
    1 0
    """

    def __init__(self, message: str, result: Any, epoch: int, layer: int | None) -> None:
        super().__init__(message)
        self.result, self.epoch, self.layer = result, epoch, layer


def unknown(what: str, name: object, known: Iterable[str]) -> InvalidInput:
    """An `InvalidInput` for a name that is not among the `known`, with the nearest match."""
    import difflib

    known = sorted(known)
    near = difflib.get_close_matches(str(name).lower(), known, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return InvalidInput(f"unknown {what} '{name}': {hint}known are {', '.join(known)}")


def check_is(name: str, value: object, kinds: type | tuple[type, ...], needed: str) -> None:
    """Refuses an argument that is of another kind than those that are needed."""
    if not isinstance(value, kinds):
        raise InvalidInput(f"{name}={reprlib.repr(value)}: {needed} is needed")


def blame(error: BaseException) -> str:
    """An exception in one line, with the line of the user's code in which it arose."""
    import linecache

    said = " ".join(str(error).split())
    text = f"{type(error).__name__}: {said[:200]}" if said else type(error).__name__
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} ({Path(error.filename or '?').name}, line {error.lineno})"
    step, theirs = error.__traceback__, None
    while step is not None:
        theirs = theirs if is_library(step.tb_frame.f_code.co_filename) else step
        step = step.tb_next
    if theirs is None:
        return text
    file = theirs.tb_frame.f_code.co_filename
    linecache.checkcache(file)
    line = linecache.getline(file, theirs.tb_lineno, theirs.tb_frame.f_globals)
    return f"{text} ({Path(file).name}, line {theirs.tb_lineno}: {line.strip()[:80]})"


@functools.cache
def is_library(filename: str) -> bool:
    """Whether code in that file is Python's, an installed package's or ours, and not a user's."""
    examples = os.sep + "examples" + os.sep
    ours = str(Path(__file__).parent) + os.sep
    installed = "site-packages" in filename or filename.startswith(("<frozen", str(Path(os.__file__).parent)))
    return installed or (filename.startswith(ours) and examples not in filename)
