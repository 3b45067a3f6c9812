"""Tables and numbers on the terminal, plain where it is not one."""

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from backprop_ref.files import json_text


def table(header, rows, title=None):
    """Prints a table, as wide as it needs to be; on a terminal too narrow for it, a block of lines for each row."""
    console = Console()
    made = Table(*header, box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False, title_style="bold")
    for row in rows:
        made.add_row(*(Text(str(cell)) for cell in row))
    needed = console.measure(made, options=console.options.update(width=10_000)).maximum
    if not console.is_terminal:
        console.width = max(80, needed)
    if needed <= console.width:
        console.print(made)
        return
    indent = max(map(len, header)) + 2
    for row in rows:
        for name, cell in zip(header, map(str, row), strict=True):
            if cell:
                typer.echo(f"{name:<{indent}}{cell}")
        typer.echo()


def as_json(value):
    """Prints a JSON document."""
    typer.echo(json_text(value))


def scores(name, scored):
    """Prints what `experiments.runner.score` found."""
    if "r2" in scored:
        typer.echo(f"{name}: R² {scored['r2']:.4f}, loss {scored['loss']:.4g} (of the normalised target)")
        return
    typer.echo(f"{name}: accuracy {scored['accuracy']:.4f}, loss {scored['loss']:.4g}")
    classes = scored["classes"]
    if len(classes) <= 20:
        rows = [(label, *row) for label, row in zip(classes, scored["confusion"], strict=True)]
        table(("truth \\ predicted", *classes), rows, "confusion matrix")
