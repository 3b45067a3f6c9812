"""What messages call what can be said about a table: flags on the command line, arguments in Python."""

import contextlib
import shlex
from collections.abc import Iterator
from contextvars import ContextVar

_FLAGS: ContextVar[bool] = ContextVar("backprop_ref_flags", default=False)
_LISTS = {"--drop": "drop", "--id": "id", "--missing-value": "missing_values"}
_CALLED = {"--header": "header=True", "--no-header": "header=False"}


@contextlib.contextmanager
def by_flags() -> Iterator[None]:
    """Inside, messages name flags of the command line."""
    token = _FLAGS.set(True)
    try:
        yield
    finally:
        _FLAGS.reset(token)


def ask(flag: str, *values: str) -> str:
    """How to say something, with values: --drop a,b or drop=['a', 'b']; without, what it is called.

    >>> ask("--as", "zip=category"), ask("--task", "regression"), ask("--header"), ask("--drop", "a", "b")
    ("kinds={'zip': 'category'}", "task='regression'", 'header=True', "drop=['a', 'b']")
    """
    if _FLAGS.get() and flag == "--missing-value":  # in which a comma is part of the text
        return " ".join(f"{flag} {shlex.quote(value)}" for value in values) or flag
    if _FLAGS.get():
        return f"{flag} {shlex.quote(','.join(values))}" if values else flag
    if flag in _CALLED:
        return _CALLED[flag]
    if flag == "--as":
        pairs = dict(value.rpartition("=")[::2] for value in values)
        return f"kinds={pairs}" if values else "kinds"
    name = _LISTS.get(flag) or flag.removeprefix("--").replace("-", "_")
    if not values:
        return name
    return f"{name}={list(values)}" if flag in _LISTS or len(values) > 1 else f"{name}={values[0]!r}"


def joined(said: dict[str, list[str]]) -> str:
    """Several of them side by side."""
    return (" " if _FLAGS.get() else ", ").join(ask(flag, *values) for flag, values in said.items())
