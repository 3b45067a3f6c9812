"""backprop-ref sweep."""

from backprop_ref.cli import show
from backprop_ref.cli.files import write_images
from backprop_ref.cli.train import warn_of_csv
from backprop_ref.errors import InvalidInput
from backprop_ref.experiments.new_sweep import new_sweep
from backprop_ref.experiments.pages import free_file, write_page
from backprop_ref.experiments.schema import Config
from backprop_ref.experiments.sweep import Sweep
from backprop_ref.experiments.sweep_page import MEANINGS, cell_text, columns, meanings, sections_of_sweep
from backprop_ref.report.charts import images
from backprop_ref.report.charts import sweeps as charts_sweep
from backprop_ref.report.ends import counted
from backprop_ref.report.sections import Section, table

MOST_ROWS = 60
WRONG_GRADIENTS = "wrong-gradients"


def sweep(experiment, config_file, given, out, resume, workers, scheduler, image_folder, flags):
    """Runs what is to be run, prints the table, writes the page; 130 after Ctrl-C."""
    as_json = flags.pop("--json", False)
    if image_folder is not None:
        images.check(image_folder)
    if scheduler is not None and workers is not None:
        raise InvalidInput("both --workers and --scheduler, which has workers of its own: give one of them")
    if experiment == WRONG_GRADIENTS:
        if config_file is not None or given or resume is not None or scheduler is not None or flags:
            raise InvalidInput(
                f"{WRONG_GRADIENTS}: is always the same; leave out everything but --out, --images and --json"
            )
        return _wrong_gradients(out, image_folder, as_json)
    if resume is not None:
        backend = flags.pop("--backend", None)
        alone = InvalidInput(
            f"--resume {resume} goes on by the sweep's own plan; leave out everything but --workers or --scheduler"
        )
        if experiment is not None or config_file is not None or given or out is not None or flags:
            raise alone
        made = Sweep.open(resume)
        if backend is not None and backend not in {cell.backend for cell in made.cells}:
            raise alone
        show.line(_left(made), err=True)
    else:
        backend = flags.get("--backend")
        made = new_sweep(experiment, config_file, given, out, flags)
        warn_of_csv([Config(**cell.config) for cell in made.cells])
    try:
        made.run(workers, backend=backend, scheduler=scheduler)
    except KeyboardInterrupt:
        _show(made, as_json)
        return _interrupted(made)
    _show(made, as_json)
    try:
        _write_report(made, image_folder, as_json)
    except KeyboardInterrupt:
        return _interrupted(made)
    return 0


def _left(made):
    """What is left to do of a sweep that goes on."""
    done, wanted = len(made.rows()), len(made.cells)
    if done == wanted:
        return f"nothing was missing: all {wanted} runs are done"
    return f"{done} of {wanted} runs are done; running the other {wanted - done}"


def _interrupted(made):
    done = f"interrupted: {len(made.rows())} of {len(made.cells)} are done"
    show.line(f"{done}; go on with: backprop-ref sweep --resume {made.folder}", err=True)
    return 130


def _show(made, as_json):
    rows = made.rows()
    if as_json:
        show.as_json({**made.about, "folder": str(made.folder), "cells": len(made.cells), "rows": rows})
    else:
        _print(made, rows)


def _write_report(made, image_folder, as_json):
    """A page, unless there is one that shows all of it, and images if asked for."""
    path = made.newest_report()
    if path is not None and image_folder is None:
        show.line(f"report: {path}", err=as_json)
        return
    sections, traces = sections_of_sweep(made)
    if path is None:
        path = free_file(None, made.folder / "report.html")
        write_page(made.about["title"], sections, traces, path)
    show.line(f"report: {path}", err=as_json)
    if image_folder is not None:
        write_images(sections, image_folder, err=as_json)


def _wrong_gradients(out, image_folder, as_json):
    from backprop_ref.experiments import wrong_gradients

    found = wrong_gradients.curves()
    folder, rows = wrong_gradients.write(found, out), wrong_gradients.rows(found)
    names = ("network", "bug", "what is wrong", "all right from epoch", "one would wrongly conclude")
    meaning = MEANINGS["all_right_from_epoch"]
    body = f"<p>{meaning}</p>\n" + table(names, [[cell_text(row[name]) for name in names] for row in rows], "words")
    words = (
        "<p>The 8-3-8 encoder from the same initial weights, with gradients as they are and with bugs of the "
        "catalogue. Every one of them learns, and some look better than the right one: a loss that falls proves "
        "nothing. backprop-ref verify tells them apart.</p>"
    )
    sections = [Section("What to see", words, (charts_sweep.wrong_gradients(found),)), Section("Table", body)]
    page = write_page("What a wrong gradient does", sections, [], folder / "report.html")
    if as_json:
        show.as_json(rows)
    else:
        short = [name for name in names if name != "what is wrong"]
        show.table(short, [[cell_text(row[name]) for name in short] for row in rows])
        show.say(meaning)
        show.line(f"table: {folder / 'table.csv'}")
        show.line(f"report: {page}")
    if image_folder is not None:
        write_images(sections, image_folder, err=as_json)
    return 0


def _print(made, rows):
    names = columns(made, rows)
    if rows:
        cells = [[cell_text(row.get(name)) for name in names] for row in rows[:MOST_ROWS]]
        show.table([name.replace("_", " ") for name in names], cells)
    if len(rows) > MOST_ROWS:
        show.say(f"… {len(rows) - MOST_ROWS} more rows in the table")
    diverged = counted([row["outcome"] for row in rows])
    show.say(f"{len(rows)} of {len(made.cells)} runs done{'; ' if diverged else ''}{diverged}")
    for meaning in meanings(names):
        show.say(meaning)
    show.line(f"table: {made.folder / 'table.csv'}")
