"""Where a page goes, and writing it and the images of its charts."""

from pathlib import Path

from backprop_ref.cli import show
from backprop_ref.errors import InvalidInput
from backprop_ref.files import write_atomically
from backprop_ref.report import images
from backprop_ref.report.page import page

IMAGE_FORMATS = ("png", "svg")


def write_page(title, sections, traces, path):
    """Writes the page; gives its path."""
    try:
        write_atomically(path, page(title, sections, traces))
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be written ({error.strerror}); give --out FILE.html elsewhere") from None
    return path


def write_images(sections, folder, formats=IMAGE_FORMATS, err=False):
    """Writes each chart of a page as an image, and says so."""
    charts = [chart for section in sections for chart in section.charts]
    show.line(f"{len(images.write(charts, folder, formats))} images: {folder}", err=err)


def free_file(asked, default):
    """The file asked for, which must not exist; or the default, with a number where that is taken."""
    if asked is not None:
        if Path(asked).exists():
            raise InvalidInput(f"--out {asked}: exists already, and nothing is overwritten; give another name")
        if not Path(asked).absolute().parent.is_dir():
            raise InvalidInput(f"--out {asked}: there is no such folder; give a file in a folder that exists")
        return Path(asked)
    number, path = 1, default
    while path.exists():
        number += 1
        path = default.with_stem(f"{default.stem}-{number}")
    return path
