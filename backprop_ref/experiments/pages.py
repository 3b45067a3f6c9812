"""The page of runs, of a sweep or of a training in memory: what is on it, where it goes, and writing it."""

import os
import shlex
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from backprop_ref import showing
from backprop_ref.asking import ask
from backprop_ref.errors import InvalidInput
from backprop_ref.experiments.gather import changed_table, gather
from backprop_ref.experiments.run_folder import RESULTS
from backprop_ref.experiments.sweep import PLAN, Sweep
from backprop_ref.experiments.sweep_page import sections_of_sweep, unfinished
from backprop_ref.files import Name, check_output, write_output
from backprop_ref.report.charts import runs as charts
from backprop_ref.report.charts.runs import Run
from backprop_ref.report.page import MOST_IN_DETAIL, page, section_of_backends, sections_of_runs
from backprop_ref.report.sections import Section, table
from backprop_ref.text import as_html
from backprop_ref.traces.file import open_trace
from backprop_ref.training.state import Result


class Page(NamedTuple):
    """What is on a page, and where it goes unless a file is named."""

    title: str
    sections: list[Section]
    traces: list[Any]
    default: Path
    notes: list[str]
    """What is not on it, and why."""
    subtitle: str = ""
    """Data set, date and the command that writes it."""

    def write(self, out: Name | None = None) -> Path:
        """Writes it into a file that does not exist; gives its path."""
        file = free_file(out, self.default)
        return write_page(self.title, self.sections, self.traces, file, self.subtitle)


def page_of(what: Sequence[Any], compared: Sequence[Any] = ()) -> Page:
    """The page of run folders, of the folder of one sweep, or of one `Result`; with comparisons of backends."""
    if any(isinstance(each, Result) for each in what):
        if len(what) > 1:
            raise InvalidInput("a Result is shown alone: give one Result, or only run folders")
        return _of_result(what[0])
    swept = any((Path(folder) / PLAN).is_file() for folder in what)
    if swept and len(what) > 1:
        raise InvalidInput("one of these is the folder of a sweep: give it alone, or only runs")
    default = Path("report.html") if len(what) > 1 else Path(what[0]) / "report.html"
    if swept:
        made = Sweep.open(what[0])
        sections, traces = sections_of_sweep(made)
        notes = [unfinished(made)] if len(made.rows()) < len(made.cells) else []
        title = made.about["title"]
    else:
        runs = gather(what, MOST_IN_DETAIL)
        title = runs[0].name if len(runs) == 1 else f"{len(runs)} runs"
        sections, traces = sections_of_runs(runs), [run.trace for run in runs if run.trace is not None]
        how = f"{ask('--trace', 'binary')}, or trace=br.Recorder(folder)"
        why = next((f" (not trained again for it: {run.untraced})" for run in runs if run.untraced), "")
        remedy = "on a file in place of a folder" if all(run.in_blocks for run in runs) else f"with {how}"
        lacking = f"nothing was traced, so without layers and the network to click through{why}; train {remedy}"
        notes = [] if traces else [lacking]
        notes += [
            f"{run.name} has not ended: {len(run.history['loss']):,} epochs so far"
            for run in runs
            if run.results is None
        ]
        notes += filter(None, (changed_table(Path(folder)) for folder in what))
    sections += [section_of_backends(each) for each in compared]
    return Page(title, sections, traces, default, notes, "" if swept else _subtitle(what, runs))


def _subtitle(folders: Sequence[Any], runs: Sequence[Run]) -> str:
    """The data sets, when the last training ended, and how the page is written again."""
    names = dict.fromkeys(str(run.results["name"]) for run in runs if run.results and run.results.get("name"))
    ends = [(Path(folder) / RESULTS).stat().st_mtime for folder in folders if (Path(folder) / RESULTS).is_file()]
    parts = [", ".join(names)] if names else []
    if ends:
        parts.append(f"trained {datetime.fromtimestamp(max(ends)).strftime('%Y-%m-%d %H:%M')}")
    return " · ".join([*parts, f"backprop-ref report {shlex.join(map(str, folders))}"])


def _of_result(result: Result) -> Page:
    title, *parts = result._parts()
    body = "".join(
        table(part.header, part.rows) if isinstance(part, showing.Table) else f"<p>{as_html(part)}</p>"
        for part in parts
    )
    run = Run("training", result.history, None)
    sections = [Section("Run", body), Section("Training", "", tuple(charts.training([run])))]
    recorder = result.trace
    traces = [open_trace(recorder.folder)] if recorder is not None and "binary" in recorder.kinds else []
    return Page(str(title), sections, traces, Path("report.html"), [])


def figure(result: Result, quantity: str = "loss") -> object:
    """A plotly figure of loss, accuracy or r2 over the epochs."""
    import plotly.graph_objects as go

    names = {"loss": "Loss", "accuracy": "Accuracy", "r2": "R²"}
    known = [name for name in names if len(result.history.get(name, ()))]
    if quantity not in known:
        raise InvalidInput(f"quantity={quantity!r}: the history has {', '.join(known) or 'no epoch'}")
    found = {chart.title: chart for chart in charts.training([Run("training", result.history, None)])}
    drawn: dict[str, Any] = dict(found[names[quantity]].drawn)
    return go.Figure(data=drawn["data"], layout=drawn["layout"])


def write_page(title, sections, traces, path, subtitle=""):
    """Writes the page; gives its path."""
    remedy = f"give {ask('--out', 'FILE.html')} elsewhere"
    write_output("", path, page(title, sections, traces, subtitle), remedy)
    return path


def free_file(asked: Name | None, default: Path) -> Path:
    """The file asked for, which must not exist; or the default, with a number where that is taken."""
    if asked is not None:
        check_output("--out", asked)
        return Path(asked)
    number, path = 1, default
    while os.path.lexists(path):
        number += 1
        path = default.with_stem(f"{default.stem}-{number}")
    return path
