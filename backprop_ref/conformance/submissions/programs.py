"""Programs and files as submissions: JSON in, JSON out, whatever language they are written in."""

import json
import math
import re
import shlex
import time
from dataclasses import replace
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
from backprop_ref.formulas import LOSSES

OUTPUT_LIMIT = 16 * 2**20
"""Bytes of standard output per case."""
SHELL = {"|", "||", "&&", ";", "&", ">", "<"}
"""Words that say something to a shell only."""
NOT_FINITE = re.compile(r"(?<=[\[,:\s])([+-]?)(nan|inf)(inity|\(\w*\))?(?=[\],}\s])", re.IGNORECASE)
"""How programs print what is no number; JSON as Python reads it has NaN and Infinity."""
NUMBER = re.compile(rb"(?<![\w.\"])-?(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?(?![\w.\"])")
ALL_DIGITS = 15
"""A number of float64 has that many; a program that prints as many hides nothing."""
OF_FLOAT32 = 9
"""So many digits tell each number of float32 from the next."""


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
        if SHELL & set(self.words):
            example = ask("--command", "sh -c 'cd there && ./mine'")
            raise InvalidInput(f"{ask('--command', command)}: it is run without a shell; name one, as in {example}")
        self.document, self.declared, self.time_limit = document, declared or Declared(), time_limit
        self.output_limit, self.many = output_limit, many
        self.process: Process | None = None
        self.layout = _stated(self.declared)
        self.breaker = CircuitBreaker()
        self.calls, self.seconds = 0, 0.0

    def within(self, seconds: float) -> int | None:
        """How many cases it answers in that time, if it goes on as it did; None: as many as there are."""
        return None if self.many else max(1, int(seconds * self.calls / max(self.seconds, 1e-9)))

    def sizes(self) -> None:
        """A program reads them with each case."""

    def answer(self, case: Case, layout: Layout | None = None, twice: bool = False) -> Answer:
        """Asks the program for one case; twice where it lives on for a second.

        What it answers without a weight decay or an upstream gradient as well does not ask for these.
        """
        first = self._answer(case)
        if first.values is not None and (case.weight_decay or case.da is not None):
            plain = self._answer(replace(case, weight_decay=0.0, da=None)).values
            if plain is not None and same_answers(first.values, plain):
                return Answer(left_out=f"it does not read {'da' if case.weight_decay == 0.0 else 'weight_decay'}")
        if not (twice and self.many) or first.values is None:
            return first
        second = self._answer(case).values
        return first._replace(again=None if second is None or same_answers(first.values, second) else second)

    def _answer(self, case: Case) -> Answer:
        answered, said, begun = False, "", time.monotonic()
        try:
            self.breaker.check()
            self.calls += 1
            process = self.process = self.process or Process(self.words, self.output_limit)
            output = process.ask(self.document(case) + "\n", self.time_limit, self.many)
            self.breaker.answered += 1
            said = process.said("; on standard error: ")
            answer = _of_digits(_shaped(_checked(_printed(output, self.many), case, self.layout), case), output)
            answered = True
            return answer
        except Refusal as reason:
            if isinstance(reason, Late):
                self.breaker.lose(str(reason))
            return Answer(problem=f"{reason}{'' if str(reason).startswith('not asked') else _asked_for(case)}")
        except Unreadable as reason:
            return Answer(problem=f"{reason}{said}{_asked_for(case)}")
        finally:
            self.seconds += time.monotonic() - begun
            if self.process is not None and not (self.many and answered):
                self.process.close()
                self.process = None


def _asked_for(case):
    """The case, as the end of a sentence."""
    network, n = case.network, len(case.x)
    kind = f"{'-'.join(map(str, network.sizes))}:{','.join(network.activations)}:{LOSSES[network.loss].short}"
    return f" (asked for {kind} with {n} sample{'s' if n > 1 else ''})"


def _printed(text: bytes, many: bool) -> Any:
    """The answer in what a program printed, which may be more than that."""
    try:
        return _parse(text, "its answer")
    except Unreadable as reason:
        try:
            lines = NOT_FINITE.sub(_as_python_has_it, text.decode()).splitlines(keepends=True)
        except UnicodeDecodeError:
            raise reason from None
        found, place = [], 0
        while place < len(lines):
            if lines[place].lstrip().startswith(("{", "[")):
                rest = "".join(lines[place:])
                start = len(rest) - len(rest.lstrip())
                try:
                    document, end = json.JSONDecoder().raw_decode(rest, start)
                except (ValueError, RecursionError):
                    break
                found += [document]
                place += rest[:end].count("\n")
            place += 1
        if len(found) == 1 and place >= len(lines):
            return found[0]
        remedy = "; what it tells people belongs on standard error"
        raise Unreadable(
            f"{reason}{'' if text.lstrip().startswith((b'{', b'[')) or not text.strip() else remedy}"
        ) from None


def _as_python_has_it(match):
    sign, name = match.group(1), match.group(2).lower()
    return "NaN" if name == "nan" else f"{sign.strip('+')}Infinity"


def _shaped(answer: Answer, case: Case) -> Answer:
    """The same answer, if its dW are of the shapes of W."""
    dW = (answer.values.dW if answer.values is not None else None) or []
    for layer, (ours, yours) in enumerate(zip(case.params.W, dW, strict=False)):
        if yours is not None and yours.shape != ours.shape:
            turned = "; if it is written the other way round, say so: " + ask("--weights", "out-in")
            turned = turned if yours.shape == ours.shape[::-1] else ""
            raise Unreadable(f"dW[{layer}] has the shape {yours.shape}, and W[{layer}] {ours.shape}{turned}")
    return answer


def _of_digits(answer: Answer, text: bytes) -> Answer:
    """The same answer, with what its numbers may have lost where they are printed in few digits, as by %f and %g."""
    if answer.values is None or answer.slack is not None:
        return answer
    numbers = NUMBER.findall(text)
    digits = max((len((whole + part).lstrip(b"0")) for whole, part, _ in numbers), default=ALL_DIGITS)
    if digits >= ALL_DIGITS or not any(part for _, part, _ in numbers):
        return answer
    places = {len(part) for _, part, exponent in numbers if not exponent}
    fixed = len(places) == 1 and not any(exponent for _, _, exponent in numbers)

    def lost(array):
        if array is None or fixed:
            return None if array is None else np.full(np.shape(array), 0.5 * 10.0 ** -max(places))
        size = np.abs(np.where(np.isfinite(array) & (array != 0.0), array, 1.0))
        return 0.5 * 10.0 ** (np.floor(np.log10(size)) + 1.0 - digits)

    dW, db = ([lost(part) for part in parts] if parts else None for parts in (answer.values.dW, answer.values.db))
    if dW is None:
        return answer
    values = answer.values if digits > OF_FLOAT32 else answer.values._replace(**_in_float32(answer.values))
    return answer._replace(values=values, slack=Values(dW=dW, db=db))


def _in_float32(values):
    """dW and db in float32, in which they may have been computed."""
    lists = {name: getattr(values, name) for name in ("dW", "db")}
    return {
        name: parts and [None if part is None else part.astype(np.float32) for part in parts]
        for name, parts in lists.items()
    }


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
        values = from_mapping(_with_nulls(content.get("expected", content)), n)
    else:
        values = returned(content, case.network.sizes)
    return Answer(layout.take(values))


def _with_nulls(mapping):
    """The same with NaN for null, which JavaScript writes for it, within the array of a layer."""

    def read(part):
        return [*map(read, part)] if isinstance(part, list) else math.nan if part is None else part

    def layers(value):
        return [read(part) if isinstance(part, list) else part for part in value] if isinstance(value, list) else value

    return {key: layers(value) for key, value in mapping.items()} if isinstance(mapping, dict) else mapping


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
    found = layout.take(from_mapping(_with_nulls(mapping), case.network.n_layers))
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
