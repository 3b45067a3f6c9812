"""Programs and files as submissions: JSON in, JSON out, whatever language they are written in."""

import json
import shlex
from typing import Any

import numpy as np

from backprop_ref.asking import ask
from backprop_ref.conformance.cases import Case, Values
from backprop_ref.conformance.submissions.answer import Answer
from backprop_ref.conformance.submissions.calling import TIME_LIMIT, CircuitBreaker, Late, Refusal
from backprop_ref.conformance.submissions.conventions import Declared, Layout
from backprop_ref.conformance.submissions.functions import hidden, same_answers
from backprop_ref.conformance.submissions.processes import Process
from backprop_ref.conformance.submissions.reading import Unreadable, from_mapping, number, returned
from backprop_ref.errors import InvalidInput
from backprop_ref.files import content

OUTPUT_LIMIT = 16 * 2**20
"""Bytes of standard output per case."""


class Program:
    """A command that reads cases as JSON on standard input, and writes answers as JSON on standard output.

    Parameters
    ----------
    command : str
        Split as a shell would, and run without one.
    document : callable
        The JSON text of a case, in one line.
    time_limit : float
        Seconds for each case; then the program and all it has started are killed.
    many : bool
        Whether it is started once and gets a case a line, for an answer a line; else it is started for each case.
    """

    kind = "program"
    in_place = False
    takes_network = True
    n_layers = None

    def __init__(self, command, document, declared=None, time_limit=TIME_LIMIT, output_limit=OUTPUT_LIMIT, many=False):
        try:
            self.words = shlex.split(command)
        except ValueError as error:
            raise InvalidInput(f"{ask('--command', command)}: {error}") from None
        if not self.words:
            raise InvalidInput(f"{ask('--command')}: a command is needed, such as {ask('--command', './mine')}")
        self.document, self.declared, self.time_limit = document, declared or Declared(), time_limit
        self.output_limit, self.many = output_limit, many
        self.process: Process | None = None
        self.layout = _stated(self.declared)
        self.breaker = CircuitBreaker()

    def sizes(self) -> None:
        """A program reads them with each case."""

    def answer(self, case: Case, layout: Layout | None = None, twice: bool = False) -> Answer:
        """Asks the program for one case; twice where it lives on for a second."""
        first = self._answer(case)
        if not (twice and self.many) or first.values is None:
            return first
        second = self._answer(case).values
        return first._replace(again=None if second is None or same_answers(first.values, second) else second)

    def _answer(self, case: Case) -> Answer:
        answered, said = False, ""
        try:
            self.breaker.check()
            process = self.process = self.process or Process(self.words, self.output_limit)
            output = process.ask(self.document(case) + "\n", self.time_limit, self.many)
            self.breaker.answered += 1
            said = process.said("; on standard error: ")
            answer = _checked(_parse(output, "its answer"), case, self.layout)
            answered = True
            return answer
        except Refusal as reason:
            if isinstance(reason, Late):
                self.breaker.lose(str(reason))
            return Answer(problem=str(reason))
        except Unreadable as reason:
            return Answer(problem=f"{reason}{said}")
        finally:
            if self.process is not None and not (self.many and answered):
                self.process.close()
                self.process = None


class Answers:
    """A file of answers: a JSON object with a list ``answers``, a list, one object by case name, or JSON lines.

    Each answer has the ``name`` of its case and any of loss, dW, db, z, a, delta, dx, W, b; or ``before`` and ``after``
    one step, each with W and b, and its ``learning_rate``. What it does not have is not judged, and neither are cases
    that are not in the file.
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
        text = content(path)
    except FileNotFoundError:
        raise InvalidInput(f"{path}: no such file; give a file of answers") from None
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
        if isinstance(content.get("before"), dict) or isinstance(content.get("after"), dict):
            return _of_a_step(content, case, layout)
        values = from_mapping(content.get("expected", content), n)
    else:
        values = returned(content, case.network.sizes)
    return Answer(layout.take(values))


def _of_a_step(content, case, layout):
    """The gradients in the weights before and after one step of gradient descent, and what rounding hides of them."""
    rate = number(content.get("learning_rate"), "learning_rate, that of the step,")
    if not rate > 0.0:
        raise Unreadable(f"learning_rate is {rate}, and not above 0")
    then, now = (_weights(content.get(name), name, case, layout) for name in ("before", "after"))
    for name, ours in (("W", case.params.W), ("b", case.params.b)):
        if not all(map(np.array_equal, getattr(then, name), ours)):
            raise Unreadable(f"{name} in before is not {name} of the case; begin with those of the case")
    u = float(np.finfo(case.params.dtype).eps) / 2
    moves = {f"d{name}": _pairwise(lambda old, new: (old - new) / rate, name, then, now) for name in "Wb"}
    slack = {f"d{name}": _pairwise(lambda old, new: hidden(old, new, u) / rate, name, then, now) for name in "Wb"}
    loss = content.get("loss")
    return Answer(Values(**moves, loss=None if loss is None else number(loss, "loss")), slack=Values(**slack))


def _weights(mapping, name, case, layout):
    if not isinstance(mapping, dict):
        raise Unreadable(f"{name} is missing; before and after are objects with W and b, a list for each layer")
    found = layout.take(from_mapping(mapping, case.network.n_layers))
    for key, theirs, ours in zip("Wb", (found.W, found.b), (case.params.W, case.params.b), strict=True):
        shapes = None if theirs is None else [np.shape(part) for part in theirs]
        if shapes != [part.shape for part in ours]:
            raise Unreadable(f"{key} in {name} has the shapes {shapes}, not {[part.shape for part in ours]}")
    return found


def _pairwise(function, name, then, now):
    return [function(old, new) for old, new in zip(getattr(then, name), getattr(now, name), strict=True)]


def _stated(declared: Declared) -> Layout:
    """The layout declared; what is not is ours, as the JSON is."""
    return Layout(**{name: value for name, value in declared.layout().items() if value is not None})
