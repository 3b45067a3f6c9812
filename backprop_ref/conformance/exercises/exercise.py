"""A program with one bug, and the program without."""

from pathlib import Path
from typing import NamedTuple

from backprop_ref.conformance.exercises.edits import EDITS, OF_STEPS
from backprop_ref.random import Stream

HARMLESS = {"labels-assumed-one-hot", "relu-at-zero", "penalty-in-loss", "adam-epsilon-uncorrected", "decay-decoupled"}
HARMLESS |= {"leaky-slope-other"}
"""What is another convention, or, forward and back alike, right in its own terms."""
SOLUTION = Path(__file__).with_name("solution.py")
_STEPS = (
    (", steps=0, optimizer=None, batch_size=0):\n", "):\n"),
    ("; or weights and biases after some steps.", "."),
    (
        "    if steps:\n        return train(network, weights, biases, x, y, steps, optimizer, batch_size)\n",
        "",
    ),
)


class Exercise(NamedTuple):
    """A bug as a program.

    Attributes
    ----------
    bug : str
        Its id.
    program, solution : str
        Python files with a function ``gradients``, with the bug and without.
    """

    bug: str
    program: str
    solution: str


def exercise(bug: str) -> Exercise:
    """The exercise of a bug of `EDITS`; what trains is in it only where the bug strikes there."""
    solution = SOLUTION.read_text(encoding="utf-8")
    if bug not in OF_STEPS:
        solution = _exchanged(solution.partition("\n\n\ndef train(")[0] + "\n", _STEPS)
    return Exercise(bug, _exchanged(solution, EDITS[bug]), solution)


def drawn(seed: int) -> str:
    """The id of a bug for an exercise, drawn by a seed; none that `verify` takes for another convention."""
    known = sorted(EDITS.keys() - HARMLESS)
    return known[Stream(seed, "check").integers_below([len(known)])[0]]


def _exchanged(text, edits):
    for old, new in edits:
        assert text.count(old) == 1, f"{text.count(old)} times in the solution: {old!r}"
        text = text.replace(old, new)
    return text
