"""backprop-ref report."""

import json
from pathlib import Path

import typer

from backprop_ref.cli.files import free_file, write_page
from backprop_ref.cli.sweep import sections_of_sweep, unfinished
from backprop_ref.errors import InvalidInput
from backprop_ref.experiments.gather import gather
from backprop_ref.experiments.sweep import PLAN, Sweep
from backprop_ref.report.page import section_of_backends, sections_of_runs


def report(folders, out, compared, images, formats):
    """Writes the page of some runs; with `images` each of its charts too.

    Parameters
    ----------
    folders : list of path-like
    out : path-like or None
    compared : list of dict
        What ``backprop-ref compare --json`` printed.
    images : path-like or None
    formats : sequence of str
        Of the images.
    """
    swept = any((Path(folder) / PLAN).is_file() for folder in folders)
    if swept and len(folders) > 1:
        raise InvalidInput("one of these is the folder of a sweep: give it alone, or only runs")
    if swept:
        made, runs = Sweep.open(folders[0]), []
        title, (sections, traces) = made.about["title"], sections_of_sweep(made)
    else:
        runs = gather(folders)
        title = runs[0].name if len(runs) == 1 else f"{len(runs)} runs"
        sections, traces = sections_of_runs(runs), [run.trace for run in runs if run.trace is not None]
    sections += [section_of_backends(each) for each in compared]
    target = free_file(out, Path("report.html") if len(folders) > 1 else Path(folders[0]) / "report.html")
    if images is not None:
        export(sections, images, formats)
    typer.echo(f"report: {write_page(title, sections, traces, target)}")
    if swept and len(made.rows()) < len(made.cells):
        typer.echo(unfinished(made))
    for run in runs:
        if run.results is None:
            typer.echo(f"{run.name} has not ended: {len(run.history['loss']):,} epochs so far")


def export(sections, folder, formats):
    """Writes each chart as an image into a new folder, by plotly's kaleido and a browser that it drives."""
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise InvalidInput(f"--images {folder}: not empty, and nothing is overwritten; give a new folder")
    try:
        import kaleido  # noqa: F401 (only whether it is there)
        import plotly.io
    except ImportError:
        raise InvalidInput(
            "--images needs kaleido, which is not installed: pip install 'backprop-ref[image]'; "
            "or save charts in the page by the buttons above each"
        ) from None
    figures, targets, used = [], [], set()
    for section in sections:
        for chart in section.charts:
            for kind in formats:
                name = next(n for n in _numbered(chart.name) if f"{n}.{kind}" not in used)
                used.add(f"{name}.{kind}")
                figures.append({"data": chart.figure["data"], "layout": _on_paper(chart)})
                targets.append(folder / f"{name}.{kind}")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        plotly.io.write_images(figures, targets, validate=False, width=900, height=560, scale=2)
    except Exception as error:  # each version of kaleido has its own
        if not any(folder.iterdir()):
            folder.rmdir()
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InvalidInput(
            f"--images: kaleido could not draw ({first}); it needs Chrome or Chromium: install one, or name it by "
            "BROWSER_PATH"
        ) from None
    typer.echo(f"{len(targets)} images: {folder}")


def _on_paper(chart):
    """The layout with the title, and without what only acts on a screen."""
    kept = {key: value for key, value in chart.figure["layout"].items() if key not in {"sliders", "updatemenus"}}
    return {**kept, "title": {"text": chart.title}, "margin": {"l": 70, "r": 20, "t": 50, "b": 60}, "template": "none"}


def _numbered(name):
    yield name
    number = 2
    while True:
        yield f"{name}-{number}"
        number += 1


def read_comparison(path):
    """A file with what ``backprop-ref compare --json`` printed."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        content["reference"], content["backends"][0]["exact"]
    except OSError as error:
        raise InvalidInput(f"--compare {path}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, IndexError):
        raise InvalidInput(f"--compare {path}: not what 'backprop-ref compare --json' prints") from None
    return content
