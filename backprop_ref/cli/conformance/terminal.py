"""An outcome on a terminal: readable at 60 columns, coloured on a terminal only."""

import shutil

from rich.console import Console
from rich.text import Text

from backprop_ref.conformance.outcomes.words import HEADING, VERDICT, lines
from backprop_ref.text import printable

COLOUR = {0: "green", 1: "red", 2: "yellow"}
"""The colour of a verdict, by its exit status."""


def print_outcome(outcome):
    """Prints what is said of a submission, the verdict first."""
    console = Console(highlight=False, soft_wrap=True, emoji=False)
    width = max(40, min(shutil.get_terminal_size((80, 24)).columns, 100))
    for kind, text in lines(outcome, width):
        if kind == VERDICT:
            console.print(Text(printable(text.removesuffix(outcome.verdict))), end="")
            console.print(Text(outcome.verdict, f"bold {COLOUR[outcome.exit]}"))
        else:
            console.print(Text(printable(text), "bold" if kind == HEADING else ""))
