"""Ctrl-C, SIGTERM and the end of a terminal in training: noted at once, acted on where the run is whole."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from backprop_ref.text import printable

if TYPE_CHECKING:
    from backprop_ref.training.state import Result

ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


FINISH_SECONDS = 0.5


class Interrupted(Exception):
    """The run was asked to stop; raised where stopping is safe."""


class CtrlC:
    """Inside ``with``, the first Ctrl-C is noted, and `poll` raises `Interrupted`; a second one acts as usual.

    With `ending` so are the signals that end a process; `pass_on` then lets them do so. In another thread than the main
    one, and where a signal is ignored, nothing changes.
    """

    pressed: int = 0
    """The signal that was noted."""
    patient = False
    """Whether a second one is only noted too: of several processes, none may end by itself."""
    _at_once, _since = False, 0.0

    def __init__(self, ending: bool = False) -> None:
        self._numbers = (signal.SIGINT, *(ENDING if ending else ()))
        self._usual: dict[int, Any] = {}

    def __enter__(self) -> CtrlC:
        if threading.current_thread() is threading.main_thread():
            found = {number: signal.getsignal(number) for number in self._numbers}
            self._usual = {number: usual for number, usual in found.items() if usual not in {None, signal.SIG_IGN}}
        for number in self._usual:
            signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, usual in self._usual.items():
            signal.signal(number, usual)

    def _note(self, number: int, _: Any) -> None:
        self.pressed, self._since = number, time.monotonic()
        if not self.patient:
            signal.signal(number, self._usual[number])
        if self._at_once and not self.patient:
            signal.raise_signal(number)

    def poll(self) -> None:
        """Raises `Interrupted` once the run was asked to stop."""
        if self.pressed:
            raise Interrupted

    def poll_late(self) -> None:
        """The same, where that was `FINISH_SECONDS` ago: time to finish what would else be lost."""
        if self.pressed and time.monotonic() - self._since > FINISH_SECONDS:
            raise Interrupted

    def pass_on(self) -> None:
        """After ``with``: the process ends by the signal that was noted, unless that was Ctrl-C."""
        if self.pressed in ENDING:
            signal.raise_signal(self.pressed)

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside, the first Ctrl-C also acts as usual: a compiler may lose its exception or raise another."""
        self._at_once = True
        try:
            self.poll()
            yield
        finally:
            self._at_once = False


def uninterrupted(result: Result) -> Result:
    """A training's result, for what can do nothing with a part of it.

    Raises
    ------
    KeyboardInterrupt
        Ctrl-C stopped it, which `train` keeps to itself.
    """
    if result.stopped == "interrupted":
        raise KeyboardInterrupt
    return result


@contextlib.contextmanager
def tidied() -> Iterator[None]:
    """Inside, the signals that end a process act as Ctrl-C does, and end it behind: what was made for a while is
    removed."""
    noted: list[int] = []

    def interrupt(number: int, _: object) -> None:
        noted.append(number)
        raise KeyboardInterrupt

    with _on_ending(interrupt):
        try:
            yield
        finally:
            if noted:  # also where the exception was lost on its way
                signal.signal(noted[0], signal.SIG_DFL)
                signal.raise_signal(noted[0])


def ended_in_words(words: Callable[[], str]) -> contextlib.AbstractContextManager[None]:
    """Inside, the signals that end a process do so after a line on standard error."""

    def say(number: int, _: object) -> None:
        with contextlib.suppress(OSError):  # of a closed standard error
            os.write(2, f"{printable(words())}\n".encode(errors="replace"))
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    return _on_ending(say)


@contextlib.contextmanager
def _on_ending(handler: Callable[[int, Any], object]) -> Iterator[None]:
    """Inside, `handler` is what the signals that end a process call, where they end it."""
    main = threading.current_thread() is threading.main_thread()
    usual = {number: signal.getsignal(number) for number in ENDING if main}
    usual = {number: before for number, before in usual.items() if before == signal.SIG_DFL}
    try:
        for number in usual:
            signal.signal(number, handler)
        yield
    finally:
        for number, before in usual.items():
            signal.signal(number, before)
