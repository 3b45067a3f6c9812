"""Programs and files as submissions: JSON in, JSON out, whatever language they are written in."""

import contextlib
import json
import os
import selectors
import shlex
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from backprop_ref.conformance.cases import Case
from backprop_ref.conformance.submissions.answer import Answer
from backprop_ref.conformance.submissions.calling import TIME_LIMIT, CircuitBreaker, Late, Refusal, ending
from backprop_ref.conformance.submissions.conventions import Declared, Layout
from backprop_ref.conformance.submissions.reading import Unreadable, from_mapping, returned
from backprop_ref.errors import InvalidInput

OUTPUT_LIMIT = 16 * 2**20
"""Bytes of standard output per case."""


class Program:
    """A command that reads one case as JSON on standard input, and writes its answer as JSON on standard output.

    Parameters
    ----------
    command : str
        Split as a shell would; run once for each case, without a shell.
    document : callable
        The JSON text of a case.
    time_limit : float
        Seconds for each case; then the program and all it has started are killed.
    """

    kind = "program"
    in_place = False

    def __init__(self, command, document, declared=None, time_limit=TIME_LIMIT, output_limit=OUTPUT_LIMIT):
        try:
            self.words = shlex.split(command)
        except ValueError as error:
            raise InvalidInput(f"--command {command}: {error}") from None
        if not self.words:
            raise InvalidInput("--command: a command is needed, such as --command './mine'")
        self.document, self.declared, self.time_limit = document, declared or Declared(), time_limit
        self.output_limit = output_limit
        self.layout = _stated(self.declared)
        self.breaker = CircuitBreaker()

    def answer(self, case: Case) -> Answer:
        """Runs the program for one case."""
        try:
            self.breaker.check()
            output = self.run(self.document(case))
            self.breaker.answered += 1
            return _checked(_parse(output, "its answer"), case, self.layout)
        except (Refusal, Unreadable) as reason:
            if isinstance(reason, Late):
                self.breaker.lose(str(reason))
            return Answer(problem=str(reason))

    def run(self, text: str) -> bytes:
        """The program's standard output for a text on its standard input.

        Raises
        ------
        Refusal
            It took too long, wrote too much, or ended with another status than 0.
        """
        with tempfile.TemporaryFile() as question:
            question.write(text.encode())
            question.seek(0)
            try:
                process = subprocess.Popen(
                    self.words, stdin=question, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
                )
            except OSError as error:
                raise InvalidInput(f"--command: cannot run {self.words[0]}: {error.strerror or error}") from None
        try:
            out, err = self._listen(process)
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for pipe in (process.stdout, process.stderr):
                assert pipe is not None
                pipe.close()
        if process.returncode:
            lines = err.decode(errors="replace").strip().splitlines()
            said = f": {lines[-1].strip()[:160]}" if lines else ""
            raise Refusal(f"{ending(process.returncode)}{said}")
        return out

    def _listen(self, process):
        """Everything the process writes, until it ends."""
        deadline = time.monotonic() + self.time_limit
        written = {process.stdout: bytearray(), process.stderr: bytearray()}
        with selectors.DefaultSelector() as selector:
            for pipe in written:
                os.set_blocking(pipe.fileno(), False)
                selector.register(pipe, selectors.EVENT_READ)
            while True:
                ended = process.poll() is not None
                events = selector.select(0.0 if ended else 0.02)
                for key, _ in events:
                    if not _drain(key.fileobj, written[key.fileobj]):
                        selector.unregister(key.fileobj)
                if len(written[process.stdout]) > self.output_limit:
                    raise Refusal(f"it wrote more than {self.output_limit / 2**20:g} MiB")
                del written[process.stderr][: -(2**16)]
                if ended and not events:
                    return bytes(written[process.stdout]), bytes(written[process.stderr])
                if not selector.get_map():
                    time.sleep(0.002)
                if time.monotonic() > deadline:
                    raise Late(f"no answer within {self.time_limit:g} s; killed")


def _drain(pipe, into):
    """Takes what a pipe holds; False at its end."""
    try:
        part = os.read(pipe.fileno(), 2**16)
    except BlockingIOError:
        return True
    into += part
    return bool(part)


class Answers:
    """A file of answers: a JSON object with a list ``answers``, a list, one object by case name, or JSON lines.

    Each answer has the ``name`` of its case and any of loss, dW, db, z, a, delta, dx, W, b; what it does not have is
    not judged, and neither are cases that are not in the file.
    """

    kind = "answers"
    in_place = False

    def __init__(self, path, declared=None):
        self.path, self.declared = path, declared or Declared()
        self.layout = _stated(self.declared)
        self.found = _by_name(_read(path), path)

    def unknown(self, cases) -> list[str]:
        """Names in the file that are no cases."""
        return sorted(set(self.found) - {case.name for case in cases})

    def answer(self, case: Case) -> Answer:
        """What the file holds for a case."""
        if case.name not in self.found:
            return Answer(left_out="not in the file")
        try:
            return _checked(self.found[case.name], case, self.layout)
        except Unreadable as reason:
            return Answer(problem=str(reason))


def _read(path):
    try:
        text = Path(path).read_bytes()
    except IsADirectoryError:
        raise InvalidInput(f"{path}: a folder, and not a file of answers") from None
    try:
        return _parse(text, path)
    except Unreadable as error:
        lines = [line for line in text.splitlines() if line.strip()]
        try:
            return [_parse(line, path) for line in lines] if len(lines) > 1 else _refuse(error)
        except Unreadable:
            raise InvalidInput(str(error)) from None


def _refuse(error):
    raise InvalidInput(str(error)) from None


def _by_name(content: Any, path) -> dict[str, Any]:
    if isinstance(content, dict):
        for key in ("answers", "cases"):
            if isinstance(content.get(key), list | dict):
                return _by_name(content[key], path)
        if content and all(isinstance(value, dict) for value in content.values()):
            return content
        content = [content]
    if not isinstance(content, list) or not all(isinstance(answer, dict) for answer in content):
        raise InvalidInput(f"{path}: a list of answers is needed, each an object with the name of its case")
    found = {}
    for position, answer in enumerate(content):
        name = answer.get("name", answer.get("case"))
        if not isinstance(name, str):
            raise InvalidInput(f"{path}: answer {position} has no name; each needs the name of its case")
        if name in found:
            raise InvalidInput(f"{path}: two answers for {name}")
        found[name] = answer
    return found


def _parse(text: bytes, what) -> Any:
    if not text.strip():
        raise Unreadable(f"{what} is empty; one JSON document is needed")
    try:
        return json.loads(text)
    except UnicodeDecodeError:
        raise Unreadable(f"{what} is not UTF-8 text") from None
    except RecursionError:
        raise Unreadable(f"{what} is nested too deeply") from None
    except ValueError as error:
        start = text[:40].decode(errors="replace").strip()
        raise Unreadable(f"{what} is not JSON: {error} (it starts with {start!r})") from None


def _checked(content: Any, case: Case, layout: Layout) -> Answer:
    n = case.network.n_layers
    if isinstance(content, dict):
        refusal = content.get("not_judged") or content.get("unsupported")
        if refusal:
            return Answer(left_out=str(refusal)[:160])
        values = from_mapping(content.get("expected", content), n)
    else:
        values = returned(content, case.network.sizes)
    return Answer(layout.take(values))


def _stated(declared: Declared) -> Layout:
    """The layout declared; what is not is ours, as the JSON is."""
    return Layout(**{name: value for name, value in declared.layout().items() if value is not None})
