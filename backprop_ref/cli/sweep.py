"""backprop-ref sweep."""

from html import escape

from backprop_ref import settings
from backprop_ref.cli import show
from backprop_ref.cli.files import free_file, write_images, write_page
from backprop_ref.cli.train import warn_of_csv
from backprop_ref.data.named import NAMES
from backprop_ref.errors import InvalidInput, unknown
from backprop_ref.experiments.classics import CLASSICS
from backprop_ref.experiments.config import read_config
from backprop_ref.experiments.gather import gather_cells
from backprop_ref.experiments.schema import Config
from backprop_ref.experiments.sweep import Sweep, grid_of, plan
from backprop_ref.report import charts_sweep, images
from backprop_ref.report.ends import counted, shown
from backprop_ref.report.page import Section, table

MOST_ROWS = 60
WRONG_GRADIENTS = "wrong-gradients"
SHOWN = (
    *("state", "outcome", "epochs", "initial_loss", "final_loss", "train_accuracy", "test_accuracy", "train_r2"),
    *("test_r2", "all_right_from_epoch", "diverged_in_epoch", "seconds"),
)
"""Columns that the terminal and the page show, behind those of the grid."""
MEANINGS = {
    "final_loss": "Initial and final loss are of the training rows, with the weights before and after training.",
    "all_right_from_epoch": "All right from epoch: from there to the end, each sample was right as it was trained on.",
}
"""What columns mean, where their names do not say it."""


def sweep(experiment, config_file, given, out, resume, workers, image_folder, flags):
    """Runs what is to be run, prints the table, writes the page; 130 after Ctrl-C."""
    as_json = flags.pop("--json", False)
    if image_folder is not None:
        images.check(image_folder)
    if experiment == WRONG_GRADIENTS:
        if config_file is not None or given or resume is not None or flags:
            raise InvalidInput(
                f"{WRONG_GRADIENTS}: is always the same; leave out everything but --out, --images and --json"
            )
        return _wrong_gradients(out, image_folder, as_json)
    if resume is not None:
        if experiment is not None or config_file is not None or given or out is not None or flags:
            raise InvalidInput(f"--resume {resume} goes on by the sweep's own plan; leave out everything but --workers")
        made = Sweep.open(resume)
        show.line(_left(made), err=True)
    else:
        made = _new(experiment, config_file, given, out, flags)
        warn_of_csv([Config(**cell.config) for cell in made.cells])
    try:
        made.run(workers)
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


def _new(experiment, config_file, given, out, flags):
    if experiment is not None and experiment not in CLASSICS:
        if experiment.partition("-")[0] in NAMES:
            raise InvalidInput(
                f"{experiment} is a data set: sweep --dataset {experiment}, and a grid such as --seeds 1-5"
            )
        raise unknown("experiment", experiment, (*CLASSICS, WRONG_GRADIENTS))
    section = {} if config_file is None else read_config(config_file, besides=("sweep",)).get("sweep", {})
    if experiment is None:
        grid = grid_of(given, section)
        name, about = "sweep", {"experiment": None, "title": "Sweep over " + ", ".join(grid)}
    else:
        classic = CLASSICS[experiment]
        grid = grid_of({**given}, {**classic.grid, **section})
        name, about = experiment, {"experiment": experiment, "title": classic.title}
        flags = {**_suited(classic, config_file), **flags}
    flags.setdefault("--trace", ["binary"])
    if settings.from_environment("backend") is None and config_file is None:
        flags.setdefault("--backend", "numba")
    cells = plan(grid, flags, config_file)
    return Sweep.create(out, {"name": name, **about, "grid": grid}, cells)


def _wrong_gradients(out, image_folder, as_json):
    from backprop_ref.experiments import wrong_gradients

    found = wrong_gradients.curves()
    folder, rows = wrong_gradients.write(found, out), wrong_gradients.rows(found)
    names = ("network", "bug", "what is wrong", "all right from epoch", "one would wrongly conclude")
    meaning = MEANINGS["all_right_from_epoch"]
    body = f"<p>{meaning}</p>\n" + table(names, [[_cell(row[name]) for name in names] for row in rows], "words")
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
        show.table(short, [[_cell(row[name]) for name in short] for row in rows])
        show.say(meaning)
        show.line(f"table: {folder / 'table.csv'}")
        show.line(f"report: {page}")
    if image_folder is not None:
        write_images(sections, image_folder, err=as_json)
    return 0


def _suited(classic, config_file):
    """What a ready-made experiment fixes; what a file says stays."""
    return dict(classic.flags) if config_file is None else {}


def _print(made, rows):
    names = _columns(made, rows)
    if rows:
        cells = [[_cell(row.get(name)) for name in names] for row in rows[:MOST_ROWS]]
        show.table([name.replace("_", " ") for name in names], cells)
    if len(rows) > MOST_ROWS:
        show.say(f"… {len(rows) - MOST_ROWS} more rows in the table")
    diverged = counted([row["outcome"] for row in rows])
    show.say(f"{len(rows)} of {len(made.cells)} runs done{'; ' if diverged else ''}{diverged}")
    for meaning in _meanings(names):
        show.say(meaning)
    show.line(f"table: {made.folder / 'table.csv'}")


def _columns(made, rows):
    """Those that say something of one row at least."""
    return [name for name in (*made.about["grid"], *SHOWN) if any(row.get(name) is not None for row in rows)]


def _meanings(names):
    return [meaning for name, meaning in MEANINGS.items() if name in names]


def _cell(value):
    if value is None:
        return ""
    return shown(value) if isinstance(value, float) else str(value)


def unfinished(made):
    """What to do about the runs of a sweep that are missing."""
    done = f"{len(made.rows())} of {len(made.cells)} runs of this sweep are done"
    return f"{done}; if it no longer runs, go on with: backprop-ref sweep --resume {made.folder}"


def sections_of_sweep(made):
    """The page of a sweep, as far as it is done, and the traces of its runs."""
    cells = gather_cells(made)
    if not cells:
        raise InvalidInput(f"{made.folder}: nothing to see yet: {unfinished(made)}")
    experiment = CLASSICS.get(made.about["experiment"])
    if experiment and not set(experiment.grid) <= set(made.about["grid"]):
        raise InvalidInput(f"{made.folder}: a sweep called {made.about['experiment']}, but over another grid")
    charts = experiment.charts(cells) if experiment else charts_sweep.general(cells, made.about["grid"])
    rows = [cell.row for cell in cells]
    names = _columns(made, rows)
    body = "".join(f"<p>{meaning}</p>\n" for meaning in _meanings(names))
    body += table(
        [name.replace("_", " ") for name in names], [[_cell(row.get(name)) for name in names] for row in rows]
    )
    words = [experiment.words] if experiment else []
    words += [unfinished(made)] if len(cells) < len(made.cells) else []
    sections = [Section("What to see", "".join(f"<p>{escape(each)}</p>" for each in words), tuple(charts))]
    sections.append(Section("Table", body))
    return sections, [cell.run.trace for cell in cells if cell.run.trace is not None]
