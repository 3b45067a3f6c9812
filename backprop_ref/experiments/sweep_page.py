"""What a sweep shows: on its page, and which columns of its table."""

from html import escape

from backprop_ref.errors import InvalidInput
from backprop_ref.experiments.classics import CLASSICS
from backprop_ref.experiments.gather import gather_cells
from backprop_ref.report.charts import sweeps as charts_sweep
from backprop_ref.report.ends import shown
from backprop_ref.report.sections import Section, table

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


def columns(made, rows):
    """Those that say something of one row at least."""
    return [name for name in (*made.about["grid"], *SHOWN) if any(row.get(name) is not None for row in rows)]


def meanings(names):
    return [meaning for name, meaning in MEANINGS.items() if name in names]


def cell_text(value):
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
    names = columns(made, rows)
    body = "".join(f"<p>{meaning}</p>\n" for meaning in meanings(names))
    body += table(
        [name.replace("_", " ") for name in names], [[cell_text(row.get(name)) for name in names] for row in rows]
    )
    words = [experiment.words] if experiment else []
    words += [unfinished(made)] if len(cells) < len(made.cells) else []
    sections = [Section("What to see", "".join(f"<p>{escape(each)}</p>" for each in words), tuple(charts))]
    sections.append(Section("Table", body))
    return sections, [cell.run.trace for cell in cells if cell.run.trace is not None]
