"""backprop-ref play."""

from pathlib import Path

from backprop_ref.cli import show
from backprop_ref.cli.files import open_in_browser
from backprop_ref.errors import InvalidInput
from backprop_ref.experiments.pages import free_file
from backprop_ref.experiments.playing import page_of
from backprop_ref.files import check_output, write_output
from backprop_ref.report.engine import module


def play(target, out, shown, engine):
    """Writes the page that trains, or its engine alone; `shown` opens it."""
    if engine is not None:
        if target is not None or out is not None or shown:
            raise InvalidInput("--engine writes no page: give it alone")
        check_output("--engine", engine)
        write_output("--engine", engine, module())
        show.line(f"engine: {engine}")
        return
    file = free_file(out, Path("play.html"))
    write_output("--out", file, page_of(target))
    show.line(f"page: {file}")
    if shown:
        open_in_browser(file)
