"""backprop-ref bugs: the catalogue of known bugs, and exercises made of it."""

import difflib
from pathlib import Path

from backprop_ref.cli import show
from backprop_ref.conformance.catalogue.known import BY_ID, CATALOGUE
from backprop_ref.conformance.exercises.exercise import drawn, exercise
from backprop_ref.conformance.vectors.files import shipped_cases
from backprop_ref.errors import InvalidInput
from backprop_ref.files import check_output, is_stream, write_output

ORDER = ("z", "a", "loss", "delta of the output", "hidden delta", "dW", "db", "update", "state")
"""The first quantity to go wrong, in the order of the computation."""


def bugs(id_, make_exercise, out, seed, as_json):
    """Lists the catalogue or one bug of it, or writes an exercise and its solution."""
    if id_ is not None:
        _known(id_)
    if make_exercise:
        return _exercise(id_, out, seed, as_json)
    if out is not None or seed is not None:
        raise InvalidInput("--out and --seed go with --exercise; add it")
    chosen = [BY_ID[id_]] if id_ is not None else CATALOGUE
    if as_json:
        found = [described(bug) for bug in chosen]
        show.as_json(found[0] if id_ is not None else found)
        return None
    if id_ is not None:
        _print(described(BY_ID[id_]))
        return None
    show.line(f"{len(CATALOGUE)} known bugs, by the first quantity to go wrong")
    for where, group in grouped():
        show.line()
        show.line(f"{where} ({len(group)})")
        for bug in group:
            show.line()
            _print(described(bug), "  ")
    return None


def grouped():
    """The bugs of each place, in order, as pairs."""
    return [(where, [bug for bug in CATALOGUE if bug.where == where]) for where in ORDER]


def described(bug):
    """A bug as a dictionary, with what shows it."""
    cases = [case.name for case in shipped_cases() if bug.id in case.flags]
    return {
        "id": bug.id,
        "text": bug.text,
        "where": bug.where,
        "right": bug.right,
        "wrong": bug.wrong,
        "number": bug.parameter or None,
        "shows": _shows(bug, cases),
        "remedy": bug.hint,
        "acceptable": bug.acceptable,
        "cases": cases,
    }


def _shows(bug, cases):
    if not cases:
        return "in no formula: in a second, equal call, in changed arguments, or in the size of rounding errors"
    first = "in the weights after some steps" if bug.where == "update" else f"first in {bug.where}"
    return f"{first}; in {len(cases)} of {len(shipped_cases())} golden vectors, such as {min(cases, key=len)}"


def _print(bug, indent=""):
    note = " (a matter of convention)" if bug["acceptable"] else ""
    show.say(f"{indent}{bug['id']}: {bug['text']}{note}")
    number = f", with a number: {bug['number']}" if bug["number"] else ""
    for name, text in (
        ("right", bug["right"]),
        ("wrong", f"{bug['wrong']}{number}"),
        ("shows", bug["shows"]),
        ("remedy", bug["remedy"]),
    ):
        show.say(f"{indent}  {name + ':':<8}{text}")


def _known(id_):
    if id_ not in BY_ID:
        near = difflib.get_close_matches(id_.lower(), BY_ID, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise InvalidInput(f"unknown bug '{id_}': {hint}backprop-ref bugs lists all {len(BY_ID)}")


def _exercise(id_, out, seed, as_json):
    if out is None:
        raise InvalidInput("--exercise: give the file to write, such as --out mine.py")
    if id_ is not None and seed is not None:
        raise InvalidInput(f"--seed draws a bug, and {id_} is one; give one of them")
    if is_stream(out):
        raise InvalidInput(f"--out {out}: two files are written, so give the name of one")
    path = Path(out)
    check_output("--out", out)
    solution = path.with_name(f"{path.stem}-solution{path.suffix}")
    check_output("--out", solution)
    made = exercise(id_ or drawn(1 if seed is None else seed))
    write_output("--out", path, made.program)
    write_output("--out", solution, made.solution)
    if as_json:
        show.as_json({"program": str(path), "solution": str(solution)})
        return
    show.line(f"exercise: {path}; its solution: {solution}")
    show.line(f"what verify says of it: backprop-ref verify {path}:gradients")
