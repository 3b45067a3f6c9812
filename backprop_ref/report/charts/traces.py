"""Charts from a binary trace: gradients and updates by layer, parameters by neuron, activations over epochs."""

import numpy as np

from backprop_ref.backends.arithmetic import Fast
from backprop_ref.formulas import ACTIVATIONS
from backprop_ref.report.charts.runs import DIVERGING, LOG, SEQUENTIAL, layout, line, numbers
from backprop_ref.report.explorer import thinned
from backprop_ref.report.sections import Chart

MOST_NEURONS, MOST_WEIGHTS = 32, 16
MOST_FRAMES, MOST_RECORDS, MOST_BYTES = 60, 200, 2**26


@np.errstate(all="ignore")
def layers(trace):
    """Gradient norm, and size of the update beside that of the weights, for each layer."""
    records = _records(trace)
    if len(records) < 2:
        return []
    epochs = trace["epoch"][records]
    gradients, ratios = [], []
    for layer in range(trace.network.n_layers):
        dW = np.asarray(trace[f"dW{layer}"][records], dtype=np.float64)
        gradients.append(line(epochs, _norms(dW), f"layer {layer}", layer))
        W = np.asarray(trace[f"W{layer}"][records], dtype=np.float64)
        ratios.append(line(epochs[1:], _ratios(W, epochs), f"layer {layer}", layer))
    gradient = {"data": gradients, "layout": layout("epoch", "‖dW‖", yaxis=LOG)}
    ratio = {"data": ratios, "layout": layout("epoch", "‖ΔW‖ / ‖W‖", yaxis=LOG)}
    of_samples = f"Of the {len(trace.samples)} traced samples as one batch."
    between = "How far W moved since the epoch drawn before, per epoch, beside its own size."
    return [Chart("Gradient norm by layer", gradient, of_samples), Chart("Update to weight by layer", ratio, between)]


def _norms(stack):
    return np.sqrt(np.sum(stack * stack, axis=(1, 2)))


def _ratios(W, epochs):
    moved = _norms(np.diff(W, axis=0)) / np.diff(epochs)
    size = _norms(W[:-1])
    ratio = np.divide(moved, size, out=np.full_like(moved, np.nan), where=size > 0)
    return np.where(ratio > 0, ratio, np.nan)


def parameters(trace):
    """Weights and bias of each neuron over epochs, a neuron at a time."""
    records = _records(trace)
    epochs, lines, owners = trace["epoch"][records], [], []
    neurons = [(layer, j) for layer, n in enumerate(trace.network.sizes[1:]) for j in range(n)]
    some = [neurons[i] for i in thinned(len(neurons), MOST_NEURONS)]
    for layer, j in some:
        W = np.asarray(trace[f"W{layer}"][records, :, j])
        strongest = np.sort(np.argsort(-np.abs(W[-1]), kind="stable")[:MOST_WEIGHTS])
        for i, k in enumerate(strongest):
            lines.append(line(epochs, W[:, k], f"from {k}", i + 1, visible=(layer, j) == some[0]))
        lines.append(line(epochs, trace[f"b{layer}"][records, j], "bias", 0, visible=(layer, j) == some[0]))
        owners += [f"layer {layer}, neuron {j}"] * (len(strongest) + 1)
    caption = []
    if len(some) < len(neurons):
        caption.append(f"{len(some)} of {len(neurons)} neurons, evenly spaced, are here.")
    if max(trace.network.sizes[:-1]) > MOST_WEIGHTS:
        caption.append(f"Of each, its {MOST_WEIGHTS} weights that end largest.")
    figure = {"data": lines, "layout": layout("epoch", "weight, bias")}
    return [Chart("Weights and bias of a neuron", figure, " ".join(caption), wide=True, choices=tuple(owners))]


def activations(trace):
    """Activations of each layer for the traced samples, epoch by epoch."""
    found = []
    shown = [int(i) for i in np.asarray(_records(trace))[thinned(len(_records(trace)), MOST_FRAMES)]]
    last = trace.network.n_layers - 1
    for layer, activation in enumerate(trace.network.activations):
        neurons = thinned(trace.network.sizes[layer + 1], 4 * MOST_NEURONS)
        a = np.asarray(trace[f"a{layer}"][shown], dtype=np.float64)[:, :, neurons]
        largest = float(np.max(np.abs(a), initial=0.0, where=np.isfinite(a))) or 1.0
        left, right = ACTIVATIONS[activation].forward(Fast(np), np.array([[-1e3, 1e3]]))[0]
        signed, bounded = left < 0.0, left == 0.0 and right == 1.0
        surface = {
            "type": "heatmap",
            "x": [str(j) for j in neurons],
            "y": [str(row) for row in trace.samples],
            "z": numbers(a[-1]),
            "colorscale": DIVERGING if signed else SEQUENTIAL,
            "zmin": -largest if signed else 0.0,
            "zmax": 1.0 if bounded else largest,
            "colorbar": {"title": {"text": "a"}, "thickness": 12},
            "hovertemplate": "sample %{y}, neuron %{x}: %{z}<extra></extra>",
        }
        epochs = tuple(str(int(epoch)) for epoch in trace["epoch"][shown])
        frames = [{"name": name, "data": [{"z": numbers(z)}], "traces": [0]} for name, z in zip(epochs, a, strict=True)]
        category = {"type": "category"}
        down = {**category, "autorange": "reversed"}
        drawn = layout(f"neuron of layer {layer}", "sample", xaxis=category, yaxis=down)
        place = "output" if layer == last else f"hidden layer {layer}"
        figure = {"data": [surface], "layout": drawn, "frames": frames}
        found.append(Chart(f"Activations, {place}", figure, f"{len(epochs)} epochs, evenly spaced.", frames=epochs))
    return found


def _records(trace):
    """Records that the charts read: evenly spaced, and few enough for memory."""
    return thinned(len(trace), max(2, min(MOST_RECORDS, MOST_BYTES // trace.records.dtype.itemsize)))
