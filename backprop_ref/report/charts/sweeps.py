"""Charts of a sweep: curves and ends of its runs, by one dimension of its grid."""

import itertools
from typing import NamedTuple

import numpy as np

from backprop_ref.report.charts.runs import COLOURS, DASHES, LOG, Run, colour, layout, line, numbers
from backprop_ref.report.ends import FELL, GREW, NOT_FINITE, ROSE, SAME, counted
from backprop_ref.report.sections import Chart

MOST_CURVES = 60


class Cell(NamedTuple):
    """A finished run of a sweep."""

    row: dict
    run: Run


def initial_weights(cells):
    """Curves by seed, and how long each took."""
    axis = next((name for name in ("init", "weight_init") if _several(cells, name)), "seed")
    return [curves(cells, axis, "loss"), curves(cells, axis, "accuracy"), until_right(cells, axis)]


def learning_rates(cells):
    """The loss that each learning rate ends with, and the way there."""
    return [ends(cells, "learning_rate"), curves(cells, "learning_rate", "loss")]


def losses(cells):
    """Accuracy over epochs by loss, and how long each took."""
    return [curves(cells, "loss", "accuracy"), until_right(cells, "loss")]


def vanishing_gradients(cells):
    """Gradient norms by layer of the deepest networks, and by depth in the first layer."""
    traced = [cell for cell in cells if cell.run.trace is not None and len(cell.run.trace)]
    if not traced:
        return [curves(cells, "activation", "loss")]
    deepest = max(_depth(cell) for cell in traced)
    by_layer, by_depth = [], []
    for i, (activation, group) in enumerate(_grouped(traced, "activation")):
        if deep := [_norms(cell) for cell in group if _depth(cell) == deepest]:
            by_layer.append(_marked(list(range(deepest)), _mean(deep), activation, i))
        depths = sorted({_depth(cell) for cell in group})
        first = [_mean([_norms(cell)[:1] for cell in group if _depth(cell) == depth])[0] for depth in depths]
        by_depth.append(_marked(depths, first, activation, i))
    integers = {"dtick": 1}
    caption = "At the initial weights, of the traced samples; geometric mean over seeds."
    return [
        Chart(
            f"Gradient norm by layer, {deepest} layers",
            {"data": by_layer, "layout": layout("layer, 0 is next to the input", "‖dW‖", xaxis=integers, yaxis=LOG)},
            caption,
        ),
        Chart(
            "Gradient norm of the first layer by depth",
            {"data": by_depth, "layout": layout("layers with weights", "‖dW‖ of layer 0", xaxis=integers, yaxis=LOG)},
            caption,
        ),
        curves(cells, "activation", "loss"),
    ]


def wrong_gradients(found):
    """Curves of trainings with right and wrong gradients: a colour for each bug, a dash for each network."""
    dashes = dict(zip(dict.fromkeys(curve.network for curve in found), DASHES, strict=False))
    bugs = list(dict.fromkeys(curve.bug for curve in found))
    lines = []
    for curve in found:
        shade = colour(bugs.index(curve.bug), 1)[0]
        style = {"color": shade, "dash": dashes[curve.network], "width": 4 if curve.bug == "right" else 2}
        epochs = np.arange(1, len(curve.distance) + 1)
        group = {"legendgroup": curve.network, "legendgrouptitle": {"text": curve.network}}
        lines.append(line(epochs, curve.distance, curve.bug, log=True, line=style, **group))
    drawn = layout("epoch", "Σ (a − y)², mean over samples", xaxis=LOG, yaxis=LOG)
    caption = "Solid: softmax with cross-entropy; dashed: sigmoid with squared error. Wide: the right gradient."
    return Chart("Right and wrong gradients", {"data": lines, "layout": drawn}, caption, wide=True)


def general(cells, grid):
    """What any sweep shows: curves and ends by each dimension with several values."""
    axes = [axis for axis in grid if _several(cells, axis)] or list(grid)[:1]
    found = []
    for axis in axes:
        found += [curves(cells, axis, "loss"), ends(cells, axis)]
    return found


def curves(cells, axis, quantity):
    """A line for each run, coloured by its value on an axis."""
    lines = []
    groups = list(_grouped(cells, axis))
    drawn = 0
    for i, (value, group) in enumerate(groups):
        for first, cell in zip(itertools.chain([True], itertools.repeat(False)), group, strict=False):
            column = cell.run.history.get(quantity)
            if column is None or not len(column) or drawn >= MOST_CURVES:
                continue
            drawn += 1
            name = f"{_named(axis)} {value}"
            epochs = np.arange(1, len(column) + 1)
            style = {"legendgroup": name, "showlegend": first, "line": {"width": 1.5}, "hovertext": _hover(cell)}
            lines.append(line(epochs, column, name, i, len(groups), log=True, **style))
    positive = quantity == "loss" and all(value is None or value > 0 for each in lines for value in each["y"])
    figure = {"data": lines, "layout": layout("epoch", quantity, xaxis=LOG, yaxis=LOG if positive else {})}
    cut = f" The first {MOST_CURVES} of {len(cells)} runs." if len(cells) > MOST_CURVES else ""
    caption = f"Training, epoch by epoch; epochs on a log scale.{cut}"
    return Chart(f"{quantity.capitalize()} by {_named(axis)}", figure, caption)


def ends(cells, axis):
    """The loss that each run ends with, marked by its outcome."""
    kinds = {
        FELL: ("circle", COLOURS[0]),
        SAME: ("square", COLOURS[2]),
        ROSE: ("diamond", COLOURS[1]),
        GREW: ("x", COLOURS[5]),
        NOT_FINITE: ("triangle-up", COLOURS[3]),
    }
    finite = [cell.row["final_loss"] for cell in cells if cell.row["final_loss"]]
    top = 3 * max(finite, default=1.0)
    data = []
    for kind, (symbol, shade) in kinds.items():
        ended_so = [cell for cell in cells if cell.row["outcome"] == kind]
        if not ended_so:
            continue
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": [_place(cell.row[axis]) for cell in ended_so],
                "y": [top if kind == NOT_FINITE else cell.row["final_loss"] for cell in ended_so],
                "name": kind,
                "text": [_hover(cell) for cell in ended_so],
                "marker": {"symbol": symbol, "size": 10, "color": shade},
            }
        )
    horizontal = {"type": "log"} if axis == "learning_rate" else {"type": "category"}
    drawn = layout(_named(axis), "final loss of the training rows", xaxis=horizontal, yaxis=LOG)
    drawn["legend"] = {"orientation": "h", "y": 1.12}
    diverged = counted([cell.row["outcome"] for cell in cells]) or f"None of {len(cells)} runs diverged"
    caption = f"{diverged}. Not finite is drawn at the top."
    return Chart(f"Loss in the end by {_named(axis)}", {"data": data, "layout": drawn}, caption)


def until_right(cells, axis):
    """The epoch from which on every sample is right."""
    reached = [cell for cell in cells if cell.row["all_right_from_epoch"] is not None]
    data = []
    for i, (value, group) in enumerate(_grouped(reached, axis)):
        x = [str(value)] * len(group)
        y = [cell.row["all_right_from_epoch"] for cell in group]
        marker = {"size": 11, "color": colour(i, 1)[0]}
        text = [_hover(cell) for cell in group]
        name = f"{_named(axis)} {value}"
        points = {"type": "scatter", "mode": "markers", "x": x, "y": y, "name": name, "text": text, "marker": marker}
        data.append(points)
    drawn = layout(_named(axis), "epoch", xaxis={"type": "category"}, yaxis={"rangemode": "tozero"}, showlegend=False)
    caption = f"Reached by {len(reached)} of {len(cells)} runs."
    return Chart("Epoch from which on every sample is right", {"data": data, "layout": drawn}, caption)


def _grouped(cells, axis):
    """Value on an axis, and its cells, in the order of the grid."""
    for value in dict.fromkeys(cell.row[axis] for cell in cells):
        yield value, [cell for cell in cells if cell.row[axis] == value]


def _several(cells, axis):
    return len({cell.row.get(axis) for cell in cells}) > 1


def _named(axis):
    return axis.replace("_", " ")


def _place(value):
    try:
        return float(value)
    except ValueError:
        return value


def _hover(cell):
    return cell.run.name


def _depth(cell):
    return cell.run.trace.network.n_layers


def _norms(cell):
    """Norm of dW of each layer at the initial weights."""
    trace = cell.run.trace
    return [float(np.linalg.norm(trace[f"dW{layer}"][0])) for layer in range(trace.network.n_layers)]


def _mean(rows):
    """Geometric mean over rows; None where one is 0, which a log scale cannot show."""
    table = np.array(rows, dtype=np.float64)
    with np.errstate(divide="ignore"):
        return numbers(np.exp(np.mean(np.log(table), axis=0)))


def _marked(x, y, name, i):
    shade, _ = colour(i, 1)
    style = {"line": {"color": shade}, "marker": {"size": 8, "symbol": i}}
    return {"type": "scatter", "mode": "lines+markers", "x": x, "y": y, "name": name, **style}
