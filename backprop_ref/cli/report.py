"""backprop-ref report."""

from pathlib import Path

from backprop_ref.cli import show
from backprop_ref.cli.files import free_file, write_images, write_page
from backprop_ref.cli.sweep_page import sections_of_sweep, unfinished
from backprop_ref.errors import InvalidInput
from backprop_ref.experiments.gather import gather
from backprop_ref.experiments.reading import Compared
from backprop_ref.experiments.sweep import PLAN, Sweep
from backprop_ref.report.charts import images
from backprop_ref.report.page import section_of_backends, sections_of_runs


def report(folders, out, compared, image_folder, formats):
    """Writes the page of some runs; with `image_folder` each of its charts too.

    Parameters
    ----------
    folders : list of path-like
    out : path-like or None
    compared : list of dict
        What ``backprop-ref compare --json`` printed.
    image_folder : path-like or None
    formats : sequence of str
        Of the images.
    """
    if image_folder is not None:
        images.check(image_folder)
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
    if image_folder is not None:
        write_images(sections, image_folder, formats)
    show.line(f"report: {write_page(title, sections, traces, target)}")
    if swept and len(made.rows()) < len(made.cells):
        show.line(unfinished(made))
    if runs and not traces:
        show.say("without layers and the network to click through: these need a run with --trace binary")
    for run in runs:
        if run.results is None:
            show.line(f"{run.name} has not ended: {len(run.history['loss']):,} epochs so far")


def read_comparison(path):
    """A file with what ``backprop-ref compare --json`` printed."""
    try:
        return Compared.read(path, "what 'backprop-ref compare --json' prints")
    except FileNotFoundError:
        raise InvalidInput(f"--compare {path}: no such file") from None
    except InvalidInput as error:
        raise InvalidInput(f"--compare {error}") from None
