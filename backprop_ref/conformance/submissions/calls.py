"""One call of somebody's function, read as numbers: the same here as in a process of its own."""

import copy
import itertools
import sys
import time
from typing import Any, NamedTuple

import numpy as np

from backprop_ref.conformance.submissions.calling import why
from backprop_ref.conformance.submissions.labels import labels
from backprop_ref.conformance.submissions.reading import Shapes, Unreadable, array, depth, leaves, number, readings
from backprop_ref.conformance.submissions.recording import Recording
from backprop_ref.conformance.submissions.settings import BATCH, setting
from backprop_ref.errors import is_library


def one_call(function, arguments: list[Any], keywords: dict[str, Any], shapes: Shapes) -> dict[str, Any]:
    """What a call gives, and its arguments as they are afterwards.

    The former are `reading.readings` as pairs: of a number, and None, a number or values by name.
    """
    arguments, keywords = _with_classes(arguments, keywords, shapes)
    return _reply(_called(function, arguments, keywords, shapes), arguments, keywords, shapes)


def _called(function, arguments, keywords, shapes):
    """What a call gives; a name for the number of samples that is nowhere defined, since no data were read, is that."""
    given: list[tuple[dict[str, Any], str]] = []
    try:
        while True:
            try:
                return function(*arguments, **keywords)
            except NameError as error:
                space, samples = _innermost(error.__traceback__), _samples((*arguments, *keywords.values()), shapes)
                name = error.name or ""
                if setting(name) not in BATCH or samples is None or name in space:
                    raise
                space[name] = samples
                given.append((space, name))
    finally:
        for space, name in given:
            space.pop(name, None)


def _innermost(frames) -> dict[str, Any]:
    while frames.tb_next is not None:
        frames = frames.tb_next
    return frames.tb_frame.f_globals


def _samples(arguments, shapes) -> int | None:
    """The length that all arrays but the weights have in common, if there is one."""
    known = {*shapes.W, *(shape[::-1] for shape in shapes.W), *shapes.b}
    found = [set(one.shape) for one in arguments if isinstance(one, np.ndarray) and one.ndim and one.shape not in known]
    common = set.intersection(*found) if found else set()
    return int(common.pop()) if len(common) == 1 else None


def recorded(function, arguments: list[Any], keywords: dict[str, Any], shapes: Shapes) -> dict[str, Any]:
    """The numbers that a call keeps or prints, as `recording.Recording` finds them."""
    arguments, keywords = _with_classes(arguments, keywords, shapes)
    with Recording() as recording:
        _called(function, arguments, keywords, shapes)
    return {"recorded": recording.found}


class Named(dict):
    """A dictionary whose entries are attributes too, as those of a tuple with names."""

    def __getattr__(self, name):
        if name not in self:
            raise AttributeError(f"'dict' object has no attribute '{name}'")
        return self[name]


def _with_classes(arguments, keywords, shapes):
    """The same, with `Labels` for indices of classes, and `Named` for dictionaries."""
    classes = max(shapes.b[-1], default=0) if shapes.b else 0

    def made(one):
        return Named(one) if type(one) is dict else labels(one, classes)

    return list(map(made, arguments)), {name: made(one) for name, one in keywords.items()}


def _reply(result, arguments, keywords, shapes):
    found: dict[int, Any] = {0: None}
    if result is not None and depth(result) == 0:
        found = {0: number(result, "the loss")}
    elif result is not None:
        found = {
            place: {name: part for name, part in values._asdict().items() if part is not None}
            for place, values in readings(result, shapes).items()
        }
    given = [after(one) for one in (*arguments, *keywords.values())]
    return {"readings": list(found.items()), "arguments": given}


def after(argument: Any) -> Any:
    """An argument of a call, or None if it no longer holds numbers."""
    if isinstance(argument, dict):
        return {name: after(part) for name, part in argument.items()}
    if isinstance(argument, list):
        return [after(part) for part in argument]
    try:
        return array(argument, "")
    except Unreadable:
        return None


WRONG_KIND = ("KeyError", "AttributeError", "NameError", "TypeError", "UnboundLocalError")
"""How an error begins that other sizes do not mend."""


class Attempt(NamedTuple):
    """How far a call got."""

    lines: int = 0
    """Different lines of the submission that were reached."""
    steps: int = 0
    """Lines that were run, each as often as it was."""
    failure: str = ""
    """Why there is no answer; empty: there is one."""
    shapes: list[Any] = []  # noqa: RUF012 (of a tuple)
    """Those of the arrays that were returned."""
    reply: dict[str, Any] = {}  # noqa: RUF012
    """What `one_call` gives."""
    place: int = 0
    """Where in its line it failed, as the number of an instruction."""

    @property
    def far(self) -> tuple[bool, int, bool, int, int]:
        """More is further; in the same line, an error about sizes is further than one about kinds of arguments."""
        return not self.failure, self.lines, not self.failure.startswith(WRONG_KIND), self.place, self.steps


def attempts(
    function, calls: list[tuple[list[Any], dict[str, Any], Shapes]], traced: bool, seconds: float
) -> dict[str, Any]:
    """An `Attempt` for each set of arguments, keywords and shapes; a call that raises does not end the others.

    Lines are counted where it is `traced`. No other call is begun after so many seconds: then there are fewer.
    """
    found, begun = [], time.monotonic()
    for call in calls:
        found.append(_attempt(function, *call, traced))
        if time.monotonic() - begun > seconds:
            break
    return {"attempts": found}


def _attempt(function, arguments, keywords, shapes, traced):
    reached = _Reached()
    before = sys.gettrace()
    arguments, keywords = _with_classes(arguments, keywords, shapes)
    if traced and _are_taken_for_arrays(function, arguments, keywords, shapes):
        return Attempt(failure=TAKEN)
    try:
        sys.settrace(reached.enter if traced else before)
        result = _called(function, arguments, keywords, shapes)
    except (Exception, SystemExit) as error:
        return Attempt(len(reached.lines), reached.steps, why(error), place=_place(error.__traceback__))
    finally:
        sys.settrace(before)
    try:
        return Attempt(len(reached.lines), reached.steps, "", [], _reply(result, arguments, keywords, shapes))
    except Unreadable as reason:
        found = [part.shape for part in itertools.islice(leaves(result, set()), MANY)]
        return Attempt(len(reached.lines), reached.steps, str(reason), found)


TAKEN = "TypeError: list indices: it takes a list of arrays, which happen to have equal shapes, for one array"


class _TakenForArray(Exception):
    pass


class _Layers(list):
    """A list of arrays that cannot be taken for one array of them all."""

    def __array__(self, dtype=None, copy=None):
        if dtype is not None and np.dtype(dtype).kind == "O":
            return np.array([*self, None], dtype=object)[:-1]
        raise _TakenForArray


def _are_taken_for_arrays(function, arguments, keywords, shapes) -> bool:
    """Whether ``x @ W`` works for a list W of arrays, only because these are alike or there is but one."""
    alike = [_alike(one) for one in (*arguments, *keywords.values())]
    if not any(alike):
        return False
    copies = [copy.deepcopy(one) for one in (*arguments, *keywords.values())]
    guarded = [_Layers(one) if is_alike else one for one, is_alike in zip(copies, alike, strict=True)]
    given, named = guarded[: len(arguments)], dict(zip(keywords, guarded[len(arguments) :], strict=True))
    try:
        _called(function, given, named, shapes)
    except (Exception, SystemExit) as error:
        return isinstance(error, _TakenForArray)
    return False


def _alike(argument) -> bool:
    shapes = {part.shape for part in argument if isinstance(part, np.ndarray)} if isinstance(argument, list) else ()
    return len(shapes) == 1 and all(isinstance(part, np.ndarray) for part in argument)


def _place(frames):
    """The instruction at which a submission's innermost frame failed."""
    place = 0
    while frames is not None:
        place = place if is_library(frames.tb_frame.f_code.co_filename) else frames.tb_lasti
        frames = frames.tb_next
    return place


MANY = 64
"""So many arrays in what is returned are looked at."""


class _Reached:
    """The lines of a submission that run."""

    def __init__(self):
        self.lines: set[tuple[Any, int]] = set()
        self.steps = 0

    def enter(self, frame, event, argument):
        """Follows what is not a library's."""
        return None if is_library(frame.f_code.co_filename) else self.line

    def line(self, frame, event, argument):
        """Counts a line."""
        if event == "line":
            self.steps += 1
            self.lines.add((frame.f_code, frame.f_lineno))
        return self.line
