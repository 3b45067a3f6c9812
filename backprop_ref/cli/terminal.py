"""The report of `backprop_ref.conformance.judging` as text: readable at 60 columns, coloured on a terminal only."""

import shutil
import textwrap
from collections import Counter

from rich.console import Console
from rich.text import Text

from backprop_ref.conformance.judging.outcome import ACCEPTABLE, NO_ANSWER, NOT_JUDGED, UNDECLARED
from backprop_ref.conformance.judging.summary import describe_wrong, largest_error, summary, tally
from backprop_ref.conformance.judging.verdict import EXACT, WITHIN_BOUND, WRONG
from backprop_ref.conformance.measuring.words import HEADING, VERDICT, lines
from backprop_ref.text import printable

COLOUR = {
    EXACT: "green",
    WITHIN_BOUND: "green",
    ACCEPTABLE: "green",
    UNDECLARED: "yellow",
    WRONG: "red",
    NO_ANSWER: "red",
    NOT_JUDGED: "yellow",
}


def print_report(report):
    """Prints everything there is to say, the verdict first."""
    writer = _Writer()
    writer.verdict(report)
    if report.first_wrong is not None:
        writer.heading("first wrong")
        for line in describe_wrong(report):
            writer.line(line)
    if report.diagnosis:
        writer.heading("what it is")
        for found in report.diagnosis:
            writer.finding(found)
    if report.conventions:
        writer.heading("conventions")
        for convention in report.conventions:
            writer.item(f"{convention.flag} ({convention.how})", convention.text)
    writer.reasons("no answer", report, NO_ANSWER)
    writer.reasons("not judged", report, NOT_JUDGED)
    writer.reasons("also", report, WRONG)
    if report.notes:
        writer.heading("notes")
        for note in report.notes:
            writer.line(note)


OUTCOME = {0: "green", 1: "red", 2: "yellow"}
"""The colour of a verdict, by its exit status."""


def print_outcome(outcome):
    """Prints what measuring a submission came to, the verdict first."""
    writer = _Writer()
    writer.outcome(outcome)


class _Writer:
    def __init__(self):
        self.console = Console(highlight=False, soft_wrap=True, emoji=False)
        self.width = max(40, min(shutil.get_terminal_size((80, 24)).columns, 100))

    def verdict(self, report):
        self._print(f"{report.target}: ", end="")
        self._print(report.verdict, f"bold {COLOUR[report.verdict]}")
        self.line(summary(report), indent=0)
        rows = tally(report)
        if rows:
            names = list(dict.fromkeys(name for row in rows.values() for name in row))
            self._print("")
            self._row("", names)
            for quantity, counts in rows.items():
                self._row(quantity, [str(counts.get(name, "")) for name in names])
        for line in largest_error(report):
            self.line(line)

    def outcome(self, outcome):
        for kind, text in lines(outcome, self.width):
            if kind == VERDICT:
                self._print(text.removesuffix(outcome.verdict), end="")
                self._print(outcome.verdict, f"bold {OUTCOME[outcome.exit]}")
            else:
                self._print(text, "bold" if kind == HEADING else "")

    def _print(self, text, style="", end="\n"):
        self.console.print(Text(printable(text), style), end=end)

    def _row(self, first, cells):
        self._print(f"  {first:<6}" + "".join(f"{cell:>14}" for cell in cells))

    def heading(self, text):
        self._print("")
        self._print(text, "bold")

    def line(self, text, indent=2):
        margin = " " * indent
        wrapped = textwrap.wrap(
            text, self.width, initial_indent=margin, subsequent_indent=margin, break_on_hyphens=False
        )
        for part in wrapped:
            self._print(part)

    def item(self, head, text):
        self.line(head)
        self.line(text, indent=4)

    def finding(self, found):
        self.line(f"{found.id} ({found.confidence}): {found.text}")
        for name in ("right", "wrong", "evidence", "hint"):
            said = getattr(found, name)
            if said:
                self.pair({"wrong": "yours"}.get(name, name), str(said))

    def pair(self, name, text):
        lines = textwrap.wrap(text, self.width, initial_indent=f"    {name + ':':<10}", subsequent_indent=" " * 14)
        for part in lines:
            self._print(part)

    def reasons(self, title, report, verdict):
        """Why, and in how many cases; one of them by name."""
        ones = [one for one in report.cases if one.verdict == verdict and one.reason]
        counts = Counter(one.reason for one in ones)
        if not counts:
            return
        self.heading(title)
        for reason, count in counts.most_common(6):
            name = next(one.case.name for one in ones if one.reason == reason)
            self.line(f"{name}{f' and {count - 1} more' if count > 1 else ''}: {reason}")
        if len(counts) > 6:
            self.line(f"… and {len(counts) - 6} other reasons: see --json")
