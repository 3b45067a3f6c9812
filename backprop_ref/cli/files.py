"""Where a page goes, and writing it and the images of its charts."""

import os
from pathlib import Path

from backprop_ref.cli import show
from backprop_ref.files import check_output, write_output
from backprop_ref.report.charts import images
from backprop_ref.report.page import page

IMAGE_FORMATS = ("png", "svg")


def write_page(title, sections, traces, path):
    """Writes the page; gives its path."""
    write_output("", path, page(title, sections, traces), "give --out FILE.html elsewhere")
    return path


def write_images(sections, folder, formats=IMAGE_FORMATS, err=False):
    """Writes each chart of a page as an image, and says so."""
    charts = [chart for section in sections for chart in section.charts]
    show.line(f"{len(images.write(charts, folder, formats))} images: {folder}", err=err)


def free_file(asked, default):
    """The file asked for, which must not exist; or the default, with a number where that is taken."""
    if asked is not None:
        check_output("--out", asked)
        return Path(asked)
    number, path = 1, default
    while os.path.lexists(path):
        number += 1
        path = default.with_stem(f"{default.stem}-{number}")
    return path
