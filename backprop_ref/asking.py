"""What messages call what can be said: flags on the command line, arguments in Python."""

import contextlib
import os
import shlex
from collections.abc import Iterator
from contextvars import ContextVar

_FLAGS: ContextVar[bool] = ContextVar("backprop_ref_flags", default=False)
ARGUMENTS = {"--as": "kinds", "--missing-value": "missing_values", "--from": "start"}
"""Arguments that are not called as their flags are."""
_LISTS = {"--drop", "--id", "--missing-value"}
_CALLED = {"--header": "header=True", "--no-header": "header=False", "--trust": "trust=True"}


@contextlib.contextmanager
def by_flags() -> Iterator[None]:
    """Inside, messages name flags of the command line."""
    token = _FLAGS.set(True)
    try:
        yield
    finally:
        _FLAGS.reset(token)


def flag_of(name: str) -> str:
    """The flag of an argument.

    >>> flag_of("batch_size"), flag_of("kinds")
    ('--batch-size', '--as')
    """
    return next((flag for flag, called in ARGUMENTS.items() if called == name), f"--{name.replace('_', '-')}")


def argument(flag: str) -> str:
    """What a flag is called in Python.

    >>> argument("--batch-size"), argument("--as")
    ('batch_size', 'kinds')
    """
    return ARGUMENTS.get(flag) or flag.removeprefix("--").replace("-", "_")


def called(flag: str) -> str:
    """What it is called where the message is read."""
    return flag if _FLAGS.get() else argument(flag)


def ask(flag: str, *values: object) -> str:
    """How to say something, with values: --drop a,b or drop=['a', 'b']; without, what it is called.

    Without a flag, the values alone.

    >>> ask("--as", "zip=category"), ask("--task", "regression"), ask("--header"), ask("--drop", "a", "b")
    ("kinds={'zip': 'category'}", "task='regression'", 'header=True', "drop=['a', 'b']")
    >>> with by_flags():
    ...     ask("--as", "zip=category"), ask("--sample", 3), ask("--no-header")
    ('--as zip=category', '--sample 3', '--no-header')
    """
    values = tuple(os.fspath(value) if isinstance(value, os.PathLike) else value for value in values)
    texts = [str(value) for value in values]
    if not flag:
        return " ".join(texts)
    if _FLAGS.get():
        if flag == "--missing-value":  # in which a comma is part of the text
            return " ".join(f"{flag} {shlex.quote(text)}" for text in texts) or flag
        return f"{flag} {shlex.quote(','.join(texts))}" if texts else flag
    if not values or flag in _CALLED:
        return _CALLED.get(flag, argument(flag))
    said: object = list(values) if flag in _LISTS or len(values) > 1 else values[0]
    if flag == "--as":
        said = dict(text.rpartition("=")[::2] for text in texts)
    return f"{argument(flag)}={said!r}"


def joined(said: dict[str, list[str]]) -> str:
    """Several of them side by side."""
    return (" " if _FLAGS.get() else ", ").join(ask(flag, *values) for flag, values in said.items())
