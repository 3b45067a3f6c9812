"""All that the commands print: plain where there is no terminal, and nothing that a terminal would act on.

Names, paths and messages come from files and from whoever wrote them. They are printed by the functions here, which
show hidden characters as escapes.
"""

import os
import shutil
import sys
import textwrap
import unicodedata

import numpy as np

from backprop_ref.errors import InvalidInput
from backprop_ref.files import json_text
from backprop_ref.metrics import scores as scores_of
from backprop_ref.text import as_csv as csv_text
from backprop_ref.text import printable

MOST_MISSED = 3
"""How many classes that are never found are named."""

ONE_AT_A_TIME = (
    "one file is judged at a time; of many, in a shell: "
    'for file in {place}/*.py; do backprop-ref verify "$file" --json > "$file.json"; done'
)
"""What `verify` says of several files, or of a folder."""


def width():
    """Columns to keep to: the terminal's, or those that COLUMNS says; None into a file or a pipe without it."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit():
        return shutil.get_terminal_size((80, 24)).columns
    return None


def _echo(text, err=False, end="\n"):
    """Writes as the stream is encoded; typer would take a stream of ASCII for one of UTF-8."""
    stream = sys.stderr if err else sys.stdout
    stream.write(text + end)
    stream.flush()


def line(text="", err=False):
    """Prints one line, however long, so that a path in it can be copied."""
    _echo(printable(text), err)


def say(*lines, err=False):
    """Prints lines, broken between words where they would not fit."""
    for each in lines:
        for part in _broken(printable(each), width()):
            _echo(part, err)


def table(header, rows, title=None, too_wide=None):
    """Prints a table, as wide as it needs to be; where there is less room, `too_wide`, or a block for each row."""
    header, rows = [printable(str(name)) for name in header], [[printable(str(cell)) for cell in row] for row in rows]
    widths = [max(map(_columns, cells)) for cells in zip(header, *rows, strict=True)]
    room, needed = width(), sum(widths) + 3 * len(widths) - 1
    if room is None or needed <= room:
        for part in [] if title is None else _broken(printable(title), room):
            _echo(_bold(part))
        rule = " " + "─" * (needed - 2) + " "
        head, *body = (
            " " + "   ".join(cell + " " * (wide - _columns(cell)) for cell, wide in zip(row, widths, strict=True)) + " "
            for row in (header, *rows)
        )
        blank = " " * needed
        _echo("\n".join([blank, _bold(head), rule, *body, blank]))
        return
    if too_wide is not None:
        say(too_wide)
        return
    if title is not None:
        line(title)
    indent = max(map(len, header)) + 2
    for row in rows:
        for name, cell in zip(header, row, strict=True):
            if cell:
                _echo("\n".join(_broken(f"{name:<{indent}}{cell}", room, " " * indent)))
        line()


def _columns(text):
    """How many columns of a terminal a text takes: wide letters two, accents that are letters of their own none."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(map(bool, map(unicodedata.combining, text)))


def _bold(text):
    """Bold on a terminal that knows how."""
    plain = not sys.stdout.isatty() or os.name == "nt" or os.environ.get("TERM") == "dumb"
    return text if plain else f"\x1b[1m{text}\x1b[0m"


def _broken(text, room, indent=""):
    if room is None or len(text) <= room:
        return [text]
    wide = max(room, len(indent) + 20)
    return textwrap.wrap(text, wide, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def as_json(value):
    """Prints a JSON document, which is of visible ASCII."""
    _echo(json_text(value))


def document(text):
    """Prints lines whose every part was made `printable` already."""
    _echo(text, end="")


def as_csv(names, rows):
    """Prints CSV: the data as they are into a pipe or a file; on a terminal hidden characters as escapes, and says so.

    Raises
    ------
    InvalidInput
        Standard output has an encoding without one of the characters.
    """
    if sys.stdout is None:
        raise InvalidInput("standard output is closed; give --output FILE.csv")
    data = [names, *rows]
    shown = [[printable(cell) if isinstance(cell, str) else cell for cell in row] for row in data]
    terminal = sys.stdout.isatty()
    text = csv_text(shown if terminal else data)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError as error:
        character = error.object[error.start]
        raise InvalidInput(
            f"standard output is {sys.stdout.encoding}, which has no {character!r}; give --output FILE.csv"
        ) from None
    sys.stdout.write(text)  # typer.echo would leave out what looks like a colour
    sys.stdout.flush()
    if terminal and shown != [list(row) for row in data]:
        say("hidden characters are shown as escapes; --output FILE.csv writes them as they are", err=True)


def scores(name, scored):
    """Prints what `experiments.runner.score` found."""
    if "exact_match" in scored:
        say(f"{name}: {_of_labels(scored)}, loss {scored['loss']:.4g}")
        never_found(scored)
        return
    if "r2" in scored:
        say(f"{name}: R² {scored['r2']:.4f}, {_errors(scored)}, loss {scored['loss']:.4g} (of the normalised target)")
        return
    say(f"{name}: accuracy {scored['accuracy']:.4f}, loss {scored['loss']:.4g}")
    classes = scored["classes"]
    never_found(scored)
    if len(classes) <= 20:
        rows = [(label, *row) for label, row in zip(classes, scored["confusion"], strict=True)]
        title = "confusion matrix: rows are the truth, columns what was predicted"
        too_wide = f"the confusion matrix is too wide for {width()} columns; see it with --json"
        table(("", *classes), rows, title, too_wide)


def never_found(scored, where="", but=()):
    """Says of which classes or labels there are rows and none was found, which a high accuracy may hide."""
    if "recall" not in scored:
        return
    missed = [j for j in scores_of.never_found(scored["recall"], scored["support"]) if j not in but]
    kind, names = ("label", scored["targets"]) if "exact_match" in scored else ("class", scored["classes"])
    for j in missed[:MOST_MISSED]:
        rows = scored["support"][j]
        missing = f"none of its {rows:,} rows" if rows > 1 else "not its one row"
        say(f"{kind} {names[j]} is never found{where}: {missing}")
    if len(missed) > MOST_MISSED:
        say(f"{len(missed) - MOST_MISSED} more are never found{where} either: see recall with --json")


def never_found_but_in(test, train):
    """The same of the training rows, for classes of which the test has no rows."""
    if "recall" in test and train:
        never_found(train, " in the training rows", np.flatnonzero(test["support"]))


def short(scored):
    """The one score that says most."""
    if "exact_match" in scored:
        return _of_labels(scored)
    return f"R² {scored['r2']:.4f}" if "r2" in scored else f"accuracy {scored['accuracy']:.4f}"


def _of_labels(scored):
    return f"accuracy of labels {scored['accuracy']:.4f}, all of a row right {scored['exact_match']:.4f}"


def _errors(scored):
    """RMSE and mean absolute error in the target's own units; of several targets, RMSE of each."""
    if isinstance(scored["rmse"], list):
        return "RMSE " + ", ".join(map("{:.4g} of {}".format, scored["rmse"], scored["targets"]))
    return f"RMSE {scored['rmse']:.4g}, MAE {scored['mae']:.4g}"
