"""Charts of runs, as figures in plotly's own notation: plain dictionaries that a page or an export takes."""

from typing import Any, NamedTuple

import numpy as np

from backprop_ref.report.explorer import thinned
from backprop_ref.report.sections import Chart

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C8C8C")
DASHES = ("solid", "dash", "dot", "dashdot")
DIVERGING = [[0.0, "#b35806"], [0.25, "#f1a340"], [0.5, "#f2f2f2"], [0.75, "#67a9cf"], [1.0, "#1f66a8"]]
SEQUENTIAL = "Cividis"
LOG = {"type": "log", "exponentformat": "power"}
MOST_POINTS = 400


class Run(NamedTuple):
    """A run as the report shows it."""

    name: str
    """What tells it from the others."""
    history: dict[str, np.ndarray]
    results: dict | None
    """Those that training wrote at its end; None while it goes on."""
    trace: Any = None
    boundary: "Boundary | None" = None
    settings: str = ""
    """In which it differs from the others."""
    again: bool = False
    """Whether its trace is of the same training once more."""
    in_blocks: bool = False
    """Whether it was trained on a folder of data, and so cannot be traced."""
    untraced: str = ""
    """Why it was not trained once more for one."""

    @property
    def label(self):
        """Name and settings."""
        return f"{self.name} ({self.settings})" if self.settings else self.name


class Boundary(NamedTuple):
    """What a network with two inputs says in the plane of its data."""

    across: np.ndarray
    up: np.ndarray
    says: np.ndarray
    """Shape (up, across): the class from 0, the output of the only neuron, or the predicted number."""
    points: np.ndarray
    truth: np.ndarray
    names: list[str]
    """Of the two columns."""
    classes: list[str] | None


def layout(x, y, **more):
    """The common layout, with titles of the axes; options of an axis as ``xaxis={…}``."""
    axes = {
        name: {"title": {"text": text}, "automargin": True, **more.pop(name, {})}
        for name, text in (("xaxis", x), ("yaxis", y))
    }
    return {"margin": {"l": 64, "r": 16, "t": 12, "b": 48}, "legend": {"orientation": "v"}, **axes, **more}


def colour(i, n):
    """Colour and dash of the i-th of n lines: told apart by both where there are many."""
    return COLOURS[i % len(COLOURS)], DASHES[i // len(COLOURS) % len(DASHES)]


def line(x, y, name, i=0, n=1, log=False, **more):
    """A line, thinned to `MOST_POINTS`; evenly on a log scale where x is drawn on one."""
    drawn = _thinned_log(len(x)) if log else thinned(len(x), MOST_POINTS)
    stroke, dash = colour(i, n)
    style = {"color": stroke, "dash": dash, "width": 2, **more.pop("line", {})}
    return {
        "type": "scatter",
        "mode": "lines" if len(drawn) > 1 else "markers",
        "x": numbers(np.asarray(x)[drawn]),
        "y": numbers(np.asarray(y)[drawn]),
        "name": name,
        "line": style,
        **more,
    }


def _thinned_log(total):
    even = np.geomspace(1, total, min(total, MOST_POINTS)).round().astype(int) - 1
    return np.unique(np.append(even, np.arange(min(total, MOST_POINTS // 4))))


def numbers(array):
    """A list, or nested ones, for JSON, of six digits; what is not finite is None, a gap."""
    array = np.asarray(array)
    if array.ndim > 1:
        return [numbers(row) for row in array]
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in array.tolist()]


def training(runs):
    """Loss, and accuracy or R², over epochs: a line for each run, thin for validation."""
    found = []
    for quantity, title, scale in (
        ("loss", "Loss", "log"),
        ("accuracy", "Accuracy", "linear"),
        ("r2", "R²", "linear"),
    ):
        lines = []
        for i, run in enumerate(runs):
            for prefix, style in (("", {}), ("val_", {"width": 1.2, "dash": "dot"})):
                column = run.history.get(prefix + quantity)
                if column is not None and len(column):
                    epochs = np.arange(1, len(column) + 1)
                    words = ["validation"] if prefix else ["training"] if "val_loss" in run.history else []
                    name = ", ".join([*([run.label] if len(runs) > 1 else []), *words]) or run.name
                    lines.append(line(epochs, column, name, i, len(runs), line=style))
        if lines:
            positive = all(value is None or value > 0 for each in lines for value in each["y"])
            axis: dict[str, Any] = {"type": scale if positive else "linear", "exponentformat": "power"}
            if quantity == "accuracy":
                axis["range"] = [-0.02, 1.02]
            figure = {"data": lines, "layout": layout("epoch", title.lower(), yaxis=axis)}
            longest = max(len(next(iter(run.history.values()), ())) for run in runs)
            thin = f" {MOST_POINTS} of {longest:,} epochs are drawn." if longest > MOST_POINTS else ""
            running = f"Running: each epoch's mean over its batches, each before its update.{thin}"
            found.append(Chart(title, figure, running))
    return found


def confusion(run):
    """The confusion matrix of a run's test rows, or of its training rows where none were kept."""
    scored = run.results and (run.results["test"] or run.results["train"])
    if not scored or "confusion" not in scored:
        return []
    counts, classes = np.array(scored["confusion"]), [str(each) for each in scored["classes"]]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    data = {
        "type": "heatmap",
        "x": classes,
        "y": classes,
        "z": numbers(shares),
        "text": counts.tolist(),
        "texttemplate": "%{text}" if len(classes) <= 20 else "",
        "hovertemplate": "truth %{y}, predicted %{x}: %{text}<extra></extra>",
        "colorscale": SEQUENTIAL,
        "zmin": 0,
        "zmax": 1,
        "colorbar": {"title": {"text": "share"}, "thickness": 12},
    }
    category = {"type": "category"}
    square = {"autorange": "reversed", "scaleanchor": "x", "constrain": "domain"}
    drawn = layout("predicted", "truth", xaxis={**category, "constrain": "domain"}, yaxis={**category, **square})
    rows = "test rows" if run.results["test"] else "training rows"
    caption = f"Counts of the {rows}; colour: share of row."
    return [Chart("Confusion matrix", {"data": [data], "layout": drawn}, caption)]


def boundary(run):
    """What the network says in the plane of its two inputs, with the data on top."""
    if run.boundary is None:
        return []
    plane = run.boundary
    several = plane.classes is not None and len(plane.classes) > 2
    area = {
        "type": "heatmap" if several else "contour",
        "x": numbers(plane.across),
        "y": numbers(plane.up),
        "z": numbers(plane.says),
        "colorscale": SEQUENTIAL if several or plane.classes is None else DIVERGING,
        "opacity": 0.75,
        "colorbar": {"title": {"text": "class" if several else "output"}, "thickness": 12},
        "hovertemplate": "%{x}, %{y}: %{z}<extra></extra>",
    }
    if not several and plane.classes is not None:
        area |= {"zmin": 0, "zmax": 1, "contours": {"start": 0.0, "end": 1.0, "size": 0.1}}
    data: list[dict] = [area]
    groups = ["data"] if plane.classes is None else [f"class {name}" for name in plane.classes]
    for i, name in enumerate(groups):
        rows = plane.points if plane.classes is None else plane.points[plane.truth == i]
        marker = {
            "size": 7,
            "symbol": ["circle", "diamond", "square", "cross", "x"][i % 5],
            "color": COLOURS[(1, 0)[i] if len(groups) == 2 else i % len(COLOURS)],
            "line": {"width": 1, "color": "#ffffff"},
        }
        x, y = numbers(rows[:, 0]), numbers(rows[:, 1])
        data.append({"type": "scatter", "mode": "markers", "x": x, "y": y, "name": name, "marker": marker})
    drawn = layout(*plane.names, legend={"orientation": "h", "y": 1.08})
    caption = "The network's output in the plane; points: data."
    return [Chart("Decision boundary", {"data": data, "layout": drawn}, caption)]


def backends(compared):
    """Time of a step on each backend, from what ``backprop-ref compare --json`` printed."""
    timed = [row for row in compared["backends"] if row["usable"] and row["step_seconds"]]
    if not timed:
        return []
    timed.sort(key=lambda row: row["step_seconds"], reverse=True)
    data = {
        "type": "bar",
        "orientation": "h",
        "x": [microseconds(row) for row in timed],
        "y": [row["backend"] for row in timed],
        "texttemplate": "%{x} µs",
        "marker": {"color": COLOURS[0]},
    }
    drawn = layout("µs a step", "", xaxis={"type": "log"})
    return [Chart("Time of a step", {"data": [data], "layout": drawn}, f"{compared['numerics']} numerics; log scale.")]


def microseconds(row):
    """A backend's time of a step, to three digits."""
    return float(f"{1e6 * row['step_seconds']:.3g}")
