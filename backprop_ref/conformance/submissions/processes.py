"""A program under way: asked on its standard input, listened to on its standard output and standard error."""

import contextlib
import os
import re
import selectors
import signal
import subprocess
import time
import weakref
from typing import Any

from backprop_ref.asking import ask
from backprop_ref.conformance.submissions.calling import Late, Refusal, ending
from backprop_ref.conformance.submissions.confined import start
from backprop_ref.errors import InvalidInput
from backprop_ref.text import printable

LAST_LINES = 3
"""Of its standard error, which a refusal shows."""
RAISED = re.compile(r"(Exception in thread |thread '.*' panicked|panic: |[\w.]*(Error|Exception)\b)")
"""How a line begins that says what was raised."""
FRAMES = ("at ", "...", "note: run with", "goroutine ", "exit status ", "Node.js v")
"""How lines begin that say where an error was, or in what, and not which."""


class Process:
    """A command that has been started, without a shell; `close` ends it and all that it has started.

    Raises
    ------
    InvalidInput
        It cannot be run.
    """

    def __init__(self, words: list[str], output_limit: int):
        self.output_limit, self._out, self._err = output_limit, bytearray(), bytearray()
        try:
            self.process = start(
                words,
                (),
                None,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise InvalidInput(f"{ask('--command')}: cannot run {words[0]}: {why}") from None
        stdin, stdout, stderr = self.process.stdin, self.process.stdout, self.process.stderr
        assert stdin is not None and stdout is not None and stderr is not None
        self._stdin, self._pipes = stdin, {stdout: self._out, stderr: self._err}
        for pipe in (stdin, stdout, stderr):
            os.set_blocking(pipe.fileno(), False)
        self.close = weakref.finalize(self, _end, self.process)

    def ask(self, text: str, seconds: float, by_line: bool) -> bytes:
        """What it writes when it has been given a text: everything until it ends, or one line.

        Raises
        ------
        Refusal
            It took too long, wrote too much, or ended with another status than 0, or before its line; with the last
            lines of its standard error.
        """
        if by_line and self._out.strip():
            raise Refusal("it wrote more than one line for a case" + self.said())
        self._out.clear()
        deadline, left = time.monotonic() + seconds, memoryview(text.encode())
        with selectors.DefaultSelector() as selector:
            for pipe in self._pipes:
                selector.register(pipe, selectors.EVENT_READ)
            selector.register(self._stdin, selectors.EVENT_WRITE)
            while True:
                ended = self.process.poll() is not None
                events: list[Any] = [key.fileobj for key, _ in selector.select(0.0 if ended else 0.02)]
                if self._stdin in events:
                    events.remove(self._stdin)
                    left = self._tell(left)
                    if not left:
                        selector.unregister(self._stdin)
                        if not by_line:
                            self._stdin.close()
                for pipe in events:
                    if not self._hear(pipe):
                        selector.unregister(pipe)
                if by_line and b"\n" in self._out:
                    line, _, self._out[:] = bytes(self._out).partition(b"\n")
                    return line
                if ended and not events:
                    return self._whole(by_line)
                if not selector.get_map():
                    time.sleep(0.002)
                if time.monotonic() > deadline:
                    remedy = "; it has to answer each line at once, and flush that" if by_line and not self._out else ""
                    raise Late(f"no answer within {seconds:g} s{remedy}; killed{self.said()}")

    def _hear(self, pipe):
        """Takes what a pipe holds; False at its end."""
        try:
            part = os.read(pipe.fileno(), 2**16)
        except BlockingIOError:
            return True
        self._pipes[pipe] += part
        del self._err[: -(2**16)]
        if len(self._out) > self.output_limit:
            raise Refusal(f"it wrote more than {self.output_limit / 2**20:g} MiB{self.said()}")
        return bool(part)

    def _tell(self, left):
        """Writes what the pipe takes; what is left. A program need not read what it is given."""
        try:
            return left[os.write(self._stdin.fileno(), left[: 2**16]) :]
        except BlockingIOError:
            return left
        except BrokenPipeError:
            return memoryview(b"")

    def _whole(self, by_line):
        if self.process.returncode:
            raise Refusal(ending(self.process.returncode) + self.said())
        if by_line and not self._out.strip():
            raise Refusal("it ended without an answer; with --many it reads a case a line until its input ends")
        return bytes(self._out)

    def said(self, before: str = ": ") -> str:
        """The last lines of its standard error, as the end of a sentence."""
        lines = [line.strip() for line in self._err.decode(errors="replace").splitlines() if line.strip()]
        telling = [line for line in lines if line != "^" and not line.startswith(FRAMES)] or lines
        named = [place for place, line in enumerate(telling) if RAISED.match(line)]
        telling = telling[named[-1] :][:LAST_LINES] if named else telling[-LAST_LINES:]
        return before + " | ".join(printable(line)[:160] for line in telling) if lines else ""


def _end(process):
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        with contextlib.suppress(BrokenPipeError):
            pipe.close()
