"""Ctrl-C while a network is trained: noted at once, acted on where the run is whole."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


class Interrupted(Exception):
    """Ctrl-C was pressed; raised where stopping is safe."""


class CtrlC:
    """Inside ``with``, the first Ctrl-C is noted, and `poll` raises `Interrupted`; a second one acts as usual.

    In another thread than the main one, and where Ctrl-C is ignored, nothing changes.
    """

    pressed = False
    patient = False
    """Whether a second one is only noted too: of several processes, none may end by itself."""
    _at_once = False

    def __enter__(self) -> CtrlC:
        self._usual = signal.getsignal(signal.SIGINT)
        in_main_thread = threading.current_thread() is threading.main_thread()
        self._noted = in_main_thread and self._usual not in {None, signal.SIG_IGN}
        if self._noted:
            signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._noted:
            signal.signal(signal.SIGINT, self._usual)

    def _note(self, number: int, _: Any) -> None:
        self.pressed = True
        if not self.patient:
            signal.signal(number, self._usual)
        if self._at_once and not self.patient:
            signal.raise_signal(number)

    def poll(self) -> None:
        """Raises `Interrupted` once Ctrl-C was pressed."""
        if self.pressed:
            raise Interrupted

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside, the first Ctrl-C also acts as usual: a compiler may lose its exception or raise another."""
        self._at_once = True
        try:
            self.poll()
            yield
        finally:
            self._at_once = False
