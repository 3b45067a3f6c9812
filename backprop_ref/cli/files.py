"""Writing the images of a page's charts, and showing a page."""

import webbrowser
from pathlib import Path

from backprop_ref.cli import show
from backprop_ref.report.charts import images

IMAGE_FORMATS = ("png", "svg")


def write_images(sections, folder, formats=IMAGE_FORMATS, err=False):
    """Writes each chart of a page as an image, and says so."""
    charts = [chart for section in sections for chart in section.charts]
    show.line(f"{len(images.write(charts, folder, formats))} images: {folder}", err=err)


def open_in_browser(file):
    """Shows a page, or says that no browser was found."""
    if not webbrowser.open(Path(file).absolute().as_uri()):
        show.line(f"no browser was found; open {file} in one", err=True)
