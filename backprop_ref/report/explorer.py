"""What the page's network explorer shows: the records of a trace, thinned to what a page can hold."""

import math
from typing import Any

import numpy as np

from backprop_ref.arrays import Vector
from backprop_ref.backends.arithmetic import Fast
from backprop_ref.backends.array import divisor
from backprop_ref.formulas import ACTIVATIONS, LOSSES, together
from backprop_ref.network import Network
from backprop_ref.report.derivations import derivation
from backprop_ref.report.derivations.trees import as_data
from backprop_ref.report.packing import codes, numbers_of, packed
from backprop_ref.sample_weights import total
from backprop_ref.text import printable

MOST_DRAWN = 128
"""Neurons of a layer that are all drawn; of a wider one, half as many."""
ENOUGH = 12
"""Frames for which fewer neurons are drawn."""
LEAST_BYTES = 0.5
"""Of a number, compressed, before there are so many that all of them are not even tried."""


def explored(trace, budget):
    """The numbers of one trace as the page's script reads them, in at most `budget` bytes.

    Gives what is there, JSON-ready: the network, the samples, and name, shape and chosen neurons of each field; and the
    data: of each field the codes of its numbers, see `packing`, of each entry the first, then differences from frame to
    frame. Of dW instead the differences from what the page itself makes of a and delta. None where the trace is empty,
    or two of its records take more than the budget.
    """
    for most in (MOST_DRAWN, MOST_DRAWN // 2, MOST_DRAWN // 4):
        shown = [drawn(size, most) for size in trace.network.sizes]
        fields = list(_fields(trace, shown))
        chosen, data = _fitting(trace, fields, budget)
        if len(chosen) >= min(len(trace), ENOUGH):
            break
    if len(chosen) < min(2, len(trace)) or not chosen:
        return None
    about = {
        **trace.network.to_dict(),
        "formulas": formulas(trace.network, trace.weights is not None),
        "divisor": _divisor(trace),
        "weights": None if trace.weights is None else trace.weights.tolist(),
        "configuration": printable(trace.configuration),
        "metric": trace.metric,
        "samples": trace.samples,
        "features": list(map(printable, getattr(trace, "features", ()))),
        "x": numbers(trace.x),
        "y": numbers(trace.y),
        "every": trace.every,
        "total": len(trace),
        "epochs": trace["epoch"][chosen].tolist(),
        "shown": shown,
        "fields": [
            {"name": called, "shape": shape, "rows": rows, "columns": columns}
            for _, shape, _, called, rows, columns in fields
        ],
    }
    return about, data


def state(trace: Any, shown: list[list[int]]) -> tuple[list[dict[str, Any]], Vector]:
    """The fields of the page and their numbers in the first record, one after the other and in all their digits: name,
    rows (None: one for each sample) and width; float64.
    """
    fields, parts = [], []
    for field, shape, *_ in _fields(trace, shown):
        rows, width = shape or (1, 1)
        of_samples = field.startswith(("z", "a", "da", "delta")) and bool(shape)
        fields.append({"name": field, "rows": None if of_samples else rows, "width": width})
        values = _da(trace, int(field[2:]), [0]) if field.startswith("da") else trace[field]
        parts.append(np.ravel(values[0]))
    return fields, np.concatenate(parts, dtype=np.float64)


def numbers(rows):
    """Rows of numbers for JSON, which has no word for those that are not finite."""
    return [[value if math.isfinite(value) else None for value in row] for row in rows.tolist()]


def formulas(network: Network, weighted: bool = False) -> dict[str, Any]:
    """What the page shows and evaluates: a and delta of each layer, and what the loss gives the last one."""
    loss, output = network.loss, network.activations[-1]
    layers = [
        {
            "a": as_data(derivation.forward(activation, n_out, derivation.Z)),
            "delta": as_data(derivation.backward(activation, n_out, *map(derivation.entry, ("z", "a", "da")))),
        }
        for activation, n_out in zip(network.activations, network.sizes[1:], strict=True)
    ]
    names = ("z", "a", "y", "n", "w") if weighted else ("z", "a", "y", "n")
    found = derivation.loss_backward(loss, output, network.sizes[-1], *map(derivation.entry, names))
    return {"layers": layers, "loss": as_data(found), "together": together(loss, output)}


def _divisor(trace):
    return divisor(trace.network.loss, trace.y, None if trace.weights is None else total(trace.weights))


def drawn(size, most):
    """Neurons of a layer that are drawn: all, or evenly spaced ones."""
    return list(range(size)) if size <= most else np.linspace(0, size - 1, most // 2).astype(int).tolist()


def thinned(total, most):
    """At most `most` of the indices below `total`, evenly spaced, with the first and the last."""
    if total <= most:
        return list(range(total))
    return np.unique(np.linspace(0, total - 1, most).round().astype(int)).tolist()


def _fitting(trace, fields, budget):
    """As many records as fit, and their data."""
    numbers = sum(math.prod(shape) for _, shape, *_ in fields)
    frames = min(len(trace), int(budget / LEAST_BYTES) // numbers)
    while frames >= min(2, len(trace)) and frames > 0:
        chosen = thinned(len(trace), frames)
        data = _data(trace, fields, chosen)
        if len(data) <= budget:
            return chosen, data
        frames = min(frames - 1, int(frames * budget / len(data)))
    return [], b""


def _data(trace, fields, chosen):
    decoded, parts = {}, []
    for field, _, pick, _, _, columns in fields:
        values = _da(trace, int(field[2:]), chosen) if field.startswith("da") else trace[field][chosen]
        digits = codes(values[pick])
        if field.startswith(("a", "delta")):
            decoded[field] = numbers_of(digits)
        if field.startswith("dW"):
            steps = digits - codes(_products(trace, decoded, int(field[2:]), digits.shape[2], columns), exact=False)
        else:
            steps = np.diff(digits, axis=0, prepend=0)
        parts.append(np.moveaxis(steps, 0, -1))
    return packed(parts)


def _products(trace, decoded, layer, n_out, columns):
    """Σ over samples of a·delta, in order, from the digits that the page has of both."""
    delta = decoded[f"delta{layer}"]
    if delta.shape[2] != n_out:
        delta = delta[:, :, columns]
    before = decoded[f"a{layer - 1}"] if layer else np.broadcast_to(trace.x, (len(delta), *trace.x.shape))
    total = np.zeros((len(delta), before.shape[2], n_out))
    with np.errstate(all="ignore"):
        for s in range(len(trace.samples)):
            total += before[:, s, :, None].astype(np.float64) * delta[:, s, None, :]
    return total


def _da(trace, layer, chosen):
    """dLoss/da, which no trace holds."""
    network = trace.network
    with np.errstate(all="ignore"):
        if layer == network.n_layers - 1:
            pair = LOSSES[network.loss].with_output(network.activations[layer])
            z, a = trace[f"z{layer}"][chosen], trace[f"a{layer}"][chosen]
            each = 1.0 if trace.weights is None else trace.weights[:, None]
            return each * (pair.error(Fast(np), z, a, trace.y) / _divisor(trace))
        return trace[f"delta{layer + 1}"][chosen] @ np.swapaxes(trace[f"W{layer + 1}"][chosen], 1, 2)


def _fields(trace, shown):
    """Field of the trace, shape in a frame, the part of it, its name in the page, and the neurons in rows and columns.

    A formula of a drawn neuron needs all that it reads and all that it feeds, and of other neurons nothing. What dW is
    made from stands before it.
    """
    network, samples = trace.network, len(trace.samples)
    sizes, last = network.sizes, network.n_layers - 1
    for name in ("loss", trace.metric):
        yield name, [], (slice(None),), name, None, None
    for layer in range(last + 1):
        n_in, n_out, drawn_here = sizes[layer], sizes[layer + 1], shown[layer + 1]
        some, all_of_it = drawn_here if len(drawn_here) < n_out else None, len(drawn_here) == n_out
        columns = slice(None) if all_of_it else drawn_here
        by_rows = ACTIVATIONS[network.activations[layer]].by_rows
        needed = {"z": by_rows, "a": True, "delta": layer > 0, "da": by_rows}
        if layer == last and together(network.loss, network.activations[layer]):
            del needed["da"]
        for name, everywhere in needed.items():
            full = everywhere or all_of_it
            shape = [samples, n_out if full else len(drawn_here)]
            pick = (slice(None), slice(None), slice(None) if full else columns)
            yield f"{name}{layer}", shape, pick, f"{name}{layer}", None, None if full else some
        for name in ("b", "db"):
            yield f"{name}{layer}", [1, len(drawn_here)], (slice(None), columns), f"{name}{layer}", None, some
        for name in ("W", "dW"):
            pick = (slice(None), slice(None), columns)
            yield f"{name}{layer}", [n_in, len(drawn_here)], pick, f"{name}{layer}", None, some
        if layer > 0 and not all_of_it:
            rows = shown[layer]
            part = rows if len(rows) < n_in else None
            pick = (slice(None), rows if part else slice(None), slice(None))
            yield f"W{layer}", [len(rows), n_out], pick, f"W{layer}rows", part, None
