"""Tables and numbers on the terminal, plain where it is not one."""

import os
import shutil
import sys
import textwrap

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from backprop_ref.files import json_text


def width():
    """Columns to keep to: the terminal's, or those that COLUMNS says; None into a file or a pipe without it."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit():
        return shutil.get_terminal_size((80, 24)).columns
    return None


def say(text):
    """Prints lines, broken between words where they would not fit."""
    typer.echo("\n".join(part for line in text.split("\n") for part in _broken(line, width())))


def table(header, rows, title=None, too_wide=None):
    """Prints a table, as wide as it needs to be; where there is less room, `too_wide`, or a block for each row."""
    console, room = Console(), width()
    made = Table(*header, box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False, title_style="bold")
    for row in rows:
        made.add_row(*(Text(str(cell)) for cell in row))
    needed = console.measure(made, options=console.options.update(width=10_000)).maximum
    if room is None or needed <= room:
        console.width = max(80, needed) if room is None else room
        console.print(made)
        return
    if too_wide is not None:
        say(too_wide)
        return
    if title is not None:
        typer.echo(title)
    indent = max(map(len, map(str, header))) + 2
    for row in rows:
        for name, cell in zip(header, map(str, row), strict=True):
            if cell:
                typer.echo("\n".join(_broken(f"{name:<{indent}}{cell}", room, " " * indent)))
        typer.echo()


def _broken(text, room, indent=""):
    if room is None or len(text) <= room:
        return [text]
    wide = max(room, len(indent) + 20)
    return textwrap.wrap(text, wide, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def as_json(value):
    """Prints a JSON document."""
    typer.echo(json_text(value))


def scores(name, scored):
    """Prints what `experiments.runner.score` found."""
    if "r2" in scored:
        say(f"{name}: R² {scored['r2']:.4f}, loss {scored['loss']:.4g} (of the normalised target)")
        return
    say(f"{name}: accuracy {scored['accuracy']:.4f}, loss {scored['loss']:.4g}")
    classes = scored["classes"]
    if len(classes) <= 20:
        rows = [(label, *row) for label, row in zip(classes, scored["confusion"], strict=True)]
        title = "confusion matrix: rows are the truth, columns what was predicted"
        too_wide = f"the confusion matrix is too wide for {width()} columns; see it with --json"
        table(("", *classes), rows, title, too_wide)
