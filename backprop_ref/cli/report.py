"""backprop-ref report."""

from backprop_ref.cli import show
from backprop_ref.cli.files import open_in_browser, write_images
from backprop_ref.errors import InvalidInput
from backprop_ref.experiments.pages import free_file, page_of
from backprop_ref.experiments.reading import Compared
from backprop_ref.report.charts import images


def report(folders, out, compared, image_folder, formats, shown=False):
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
    shown : bool
        Whether it is opened in the browser.
    """
    if image_folder is not None:
        images.check(image_folder)
    page = page_of(folders, compared)
    target = free_file(out, page.default)
    if image_folder is not None:
        write_images(page.sections, image_folder, formats)
    file = page.write(target)
    show.line(f"report: {file}")
    if shown:
        open_in_browser(file)
    for note in page.notes:
        show.say(note) if note.startswith("without") else show.line(note)


def read_comparison(path):
    """A file with what ``backprop-ref compare --json`` printed."""
    try:
        return Compared.read(path, "what 'backprop-ref compare --json' prints")
    except FileNotFoundError:
        raise InvalidInput(f"--compare {path}: no such file") from None
    except InvalidInput as error:
        raise InvalidInput(f"--compare {error}") from None
