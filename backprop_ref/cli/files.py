"""Writing the images of a page's charts."""

from backprop_ref.cli import show
from backprop_ref.report.charts import images

IMAGE_FORMATS = ("png", "svg")


def write_images(sections, folder, formats=IMAGE_FORMATS, err=False):
    """Writes each chart of a page as an image, and says so."""
    charts = [chart for section in sections for chart in section.charts]
    show.line(f"{len(images.write(charts, folder, formats))} images: {folder}", err=err)
