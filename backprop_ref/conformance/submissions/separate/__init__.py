"""A submission in a separate process: whatever it does to its Python, the judge is not affected."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import weakref
from pathlib import Path
from typing import Any

from backprop_ref.conformance.submissions.calling import CircuitBreaker, Costly, NotJudged, Refusal, ending, folder_of
from backprop_ref.conformance.submissions.calls import Attempt
from backprop_ref.conformance.submissions.confined import Private, lifted, start
from backprop_ref.conformance.submissions.outline import Outline
from backprop_ref.conformance.submissions.reading import Unreadable
from backprop_ref.conformance.submissions.separate.messages import Garbled, receive, send
from backprop_ref.errors import InvalidInput

STARTING = 20.0
"""So many seconds are waited for calls of which each starts processes."""
IMPORT_LIMIT = 60.0
"""Seconds to import a submission in, if its time limit is not longer."""

_PACKAGE = str(Path(__file__).parents[3] / "__init__.py")
_START = """
import importlib.util, sys
file, descriptor = sys.argv[1:]
spec = importlib.util.spec_from_file_location("backprop_ref", file)
sys.modules["backprop_ref"] = package = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)
from backprop_ref.conformance.submissions.separate.worker import main
main(int(descriptor))
"""
"""The judge's own backprop_ref, wherever it was found; with -P, no folder is added to the import path for it."""


class Lost(Exception):
    """The process gave no answer, and is to be killed."""


class Separate:
    """What ``package.module:name`` or ``file.py:name`` names, imported and called in another process.

    Parameters
    ----------
    target : str
    time_limit : float
        Seconds for one call; then the process is killed with all that it started, and the next call gets a new one.

    Attributes
    ----------
    outline : Outline
    spent, waited : float
        Processor seconds of its process; seconds that were waited for answers with which it started others.

    Raises
    ------
    InvalidInput
        It cannot be imported; the message says why.
    """

    def __init__(self, target, time_limit):
        self.target, self.time_limit, self.folder = target, time_limit, folder_of(target)
        self.process: _Process | None = None
        self.spent = self.waited = 0.0
        self.outline = self._start()
        self.breaker = CircuitBreaker()

    def afresh(self):
        """The same, with nothing left in it of earlier calls."""
        self._kill()
        self.breaker = CircuitBreaker()
        return self

    def call(self, arguments, keywords, shapes) -> dict[str, Any]:
        """What `calls.one_call` gives for the function.

        Raises
        ------
        Refusal, NotJudged, Unreadable
            There is no answer, and why.
        """
        return self._ask({"call": {"arguments": arguments, "keywords": keywords, "shapes": shapes}})

    def recorded(self, arguments, keywords, shapes) -> dict[str, Any]:
        """What `calls.recorded` gives for the function."""
        return self._ask({"recorded": {"arguments": arguments, "keywords": keywords, "shapes": shapes}})

    def attempts(self, calls, traced, seconds=None) -> dict[str, Any]:
        """What `calls.attempts` gives for the function, in so many seconds; default: its time limit."""
        return self._ask({"attempts": calls, "traced": traced}, seconds)

    def step(self, **keywords):
        """What `steps.one_step` gives for the class."""
        return self._ask({"step": keywords})

    def sizes(self, **keywords):
        """What `steps.own_sizes` gives for the class."""
        return self._ask({"sizes": keywords})

    def _ask(self, question, seconds=None):
        self.breaker.check()
        try:
            if self.process is None:
                self._start()
            assert self.process is not None
            begun = time.monotonic()
            reply = self.process.ask(question, seconds or self.time_limit)
        except (Lost, InvalidInput) as reason:
            self._kill()
            self.breaker.lose(str(reason))
            raise Refusal(str(reason)) from None
        self.spent = reply.pop("spent", self.spent)
        if (started := reply.pop("started", 0)) > self.process.started:
            self.process.started, self.waited = started, self.waited + time.monotonic() - begun
        if self.waited > STARTING:
            raise Costly(
                f"it starts processes in its calls, {started} so far, and is asked some hundred times: "
                "have it start them once, when the file is imported, or compute in one process"
            )
        for kind in (Refusal, NotJudged, Unreadable):
            if kind.__name__ in reply:
                raise kind(str(reply[kind.__name__])[:500])
        if not all(Attempt(*one).failure for one in reply.get("attempts", [()])):
            self.breaker.answered += 1
        return reply

    def _start(self):
        self.process = _Process(self.folder)
        question = {"target": self._target(), "folder": str(self.folder), "path": [str(place) for place in sys.path]}
        try:
            reply = self.process.ask(question, max(self.time_limit, IMPORT_LIMIT))
            if "InvalidInput" not in reply:
                return Outline.from_document(reply)
            failure = str(reply["InvalidInput"])
        except Lost as reason:
            failure = f"importing {self.target} failed: {reason}"
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            failure = f"importing {self.target} failed: its process sent something else than what is in it"
        self._kill()
        raise InvalidInput(failure + lifted(failure))

    def _target(self):
        """The target as its process finds it."""
        place, colon, name = self.target.rpartition(":")
        assert self.process is not None
        if not place.endswith(".py") or Path(self.process.private.work, place).exists():
            return self.target
        return f"{Path(place).absolute()}{colon}{name}"

    def _kill(self):
        if self.process is not None:
            self.process.kill()
        self.process = None


def outline(found) -> Outline:
    """That of a callable here or in another process."""
    return found.outline if isinstance(found, Separate) else Outline.of(found)


class _Process:
    """A fresh Python that runs `worker.main`; it ends with this object at the latest."""

    def __init__(self, folder):
        self.started = 0
        self.channel, theirs = socket.socketpair()
        self.private = Private([Path.cwd()])
        with theirs:
            descriptor = theirs.fileno()
            self.running = start(
                [sys.executable, "-P", "-c", _START, _PACKAGE, str(descriptor)],
                [folder, Path.cwd(), *_packages()],
                self.private,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(descriptor,),
                start_new_session=True,
            )
        self.kill = weakref.finalize(self, _end, self.running, self.channel, self.private)

    def ask(self, question, seconds):
        """The answer to a question, or `Lost`."""
        try:
            self.channel.settimeout(seconds)
            send(self.channel, {**question, "seconds": seconds})
            reply = receive(self.channel, seconds)
        except TimeoutError:
            raise Lost(f"no answer within {seconds:g} s; killed") from None
        except (EOFError, ConnectionError):
            raise Lost(self._ending()) from None
        except Garbled as error:
            raise Lost(f"its process sent {error}") from None
        if not isinstance(reply, dict):
            raise Lost("its process sent something else than an answer")
        return reply

    def _ending(self):
        try:
            return ending(self.running.wait(1.0), "its process")
        except subprocess.TimeoutExpired:
            return "its process closed its connection to the judge"


def _packages():
    """Where this package lies, wherever that is."""
    package = Path(_PACKAGE).parent
    return package, package.parent / "kernels"


def _end(process, channel, private):
    """Kills a process with all that it started, and removes its folder."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    channel.close()
    private.remove()
