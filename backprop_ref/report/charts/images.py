"""Charts as image files, drawn by plotly's kaleido and a browser that it drives."""

import tempfile
from importlib.util import find_spec
from pathlib import Path

from backprop_ref.asking import ask
from backprop_ref.errors import InvalidInput
from backprop_ref.files import create, writing
from backprop_ref.report.sections import escaped

FORMATS = ("png", "svg", "pdf")


def check(folder):
    """Refuses, before anything is computed, what `write` could not do."""
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidInput(
            f"{ask('--images', folder)}: not an empty folder, and nothing is overwritten; give a new one"
        )
    try:
        missing = find_spec("kaleido") is None
    except (ImportError, ValueError):  # of a module that is there in name only
        missing = True
    if missing:
        raise InvalidInput(
            f"{ask('--images')} needs kaleido, which is not installed: pip install 'backprop-ref[image]'; "
            "or save charts in the page by the buttons PNG and SVG above each"
        )


def write(charts, folder, formats):
    """Draws each chart in each format, in a new folder; the paths."""
    import plotly.io

    check(folder)
    folder = Path(folder)
    figures, targets = [], []
    for name, chart in _named(charts):
        for kind in formats:
            figures.append(_on_paper(chart))
            targets.append(folder / f"{name}.{kind}")
    with writing(ask("--images", folder), "give another folder"):
        folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as elsewhere:
        drawn = [Path(elsewhere) / target.name for target in targets]
        try:
            plotly.io.write_images(figures, drawn, validate=False, width=900, height=560, scale=2)
        except Exception as error:  # each version of kaleido has its own
            if not any(folder.iterdir()):
                folder.rmdir()
            first = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise InvalidInput(
                f"{ask('--images')}: kaleido could not draw ({first}); it needs Chrome or Chromium: install one, "
                "or name it by BROWSER_PATH"
            ) from None
        for image, target in zip(drawn, targets, strict=True):
            with writing(target, "give another folder"):
                create(target, image.read_bytes())
    return targets


def _named(charts):
    """Charts with names for files, numbered where several have the same."""
    used: dict[str, int] = {}
    for chart in charts:
        used[chart.name] = used.get(chart.name, 0) + 1
        yield chart.name if used[chart.name] == 1 else f"{chart.name}-{used[chart.name]}", chart


def _on_paper(chart):
    """The figure, with the title in its layout."""
    drawn, margin = chart.drawn, {"l": 70, "r": 20, "t": 50, "b": 60}
    layout = {**drawn["layout"], "title": {"text": escaped(chart.title)}, "margin": margin, "template": "none"}
    return {"data": drawn["data"], "layout": layout}
