"""What the page's network explorer shows: the records of a trace, thinned to what a page can hold."""

import math

import numpy as np

MOST_DRAWN = 128
"""Neurons of a layer that are all drawn; of a wider one, half as many."""
BYTES = 4_000_000
"""Of all explorers of a page together, before compression."""


def explored(trace, budget=BYTES):
    """The numbers of one trace as the page's script reads them.

    Parameters
    ----------
    trace : Trace
    budget : int
        Bytes that may be used.

    Returns
    -------
    about : dict
        JSON-ready: the network, the samples, and name, shape and chosen neurons of each field.
    data : bytes
        Float64, little-endian: each field for all frames, one field after the other.

    None where the trace is empty, or two of its records take more than the budget.
    """
    for most, samples in ((MOST_DRAWN, len(trace.samples)), (MOST_DRAWN // 2, 2), (MOST_DRAWN // 4, 1)):
        shown = [drawn(size, most) for size in trace.network.sizes]
        fields = list(_fields(trace, shown, samples))
        record = 8 * sum(math.prod(shape) for _, shape, *_ in fields)
        frames = min(len(trace), budget // record)
        if frames >= min(len(trace), 12):
            break
    if frames < min(2, len(trace)) or frames == 0:
        return None
    kept = thinned(len(trace), frames)
    data = b"".join(np.ascontiguousarray(trace[name][kept][pick], "<f8").tobytes() for name, _, pick, *_ in fields)
    about = {
        **trace.network.to_dict(),
        "configuration": trace.configuration,
        "metric": trace.metric,
        "samples": trace.samples[:samples],
        "traced": len(trace.samples),
        "x": trace.x[:samples].tolist(),
        "y": trace.y[:samples].tolist(),
        "every": trace.every,
        "total": len(trace),
        "frames": len(kept),
        "shown": shown,
        "fields": [
            {"name": called, "shape": shape, "rows": rows, "columns": columns}
            for _, shape, _, called, rows, columns in fields
        ],
    }
    return about, data


def drawn(size, most):
    """Neurons of a layer that are drawn: all, or evenly spaced ones."""
    return list(range(size)) if size <= most else np.linspace(0, size - 1, most // 2).astype(int).tolist()


def thinned(total, most):
    """At most `most` of the indices below `total`, evenly spaced, with the first and the last."""
    if total <= most:
        return list(range(total))
    return np.unique(np.linspace(0, total - 1, most).round().astype(int)).tolist()


def _fields(trace, shown, samples):
    """Field of the trace, shape in a frame, the part of it, its name in the page, and the neurons in rows and columns.

    A formula of a drawn neuron needs all that it reads and all that it feeds, and of other neurons nothing.
    """
    sizes, last = trace.network.sizes, trace.network.n_layers - 1
    for name in ("epoch", "loss", trace.metric):
        yield name, [], (slice(None),), name, None, None
    for layer in range(last + 1):
        n_in, n_out, own = sizes[layer], sizes[layer + 1], shown[layer + 1]
        some, all_of_it = own if len(own) < n_out else None, len(own) == n_out
        columns = slice(None) if all_of_it else own
        of_samples = (slice(None), slice(samples))
        softmax = trace.network.activations[layer] == "softmax"
        for name, whole in (("z", softmax), ("a", True), ("delta", layer > 0)):
            full = whole or all_of_it
            shape = [samples, n_out if full else len(own)]
            pick = (*of_samples, slice(None) if full else columns)
            yield f"{name}{layer}", shape, pick, f"{name}{layer}", None, None if full else some
        for name in ("b", "db"):
            yield f"{name}{layer}", [1, len(own)], (slice(None), columns), f"{name}{layer}", None, some
        for name in ("W", "dW"):
            pick = (slice(None), slice(None), columns)
            yield f"{name}{layer}", [n_in, len(own)], pick, f"{name}{layer}", None, some
        if layer > 0 and not all_of_it:
            rows = shown[layer]
            part = rows if len(rows) < n_in else None
            pick = (slice(None), rows if part else slice(None), slice(None))
            yield f"W{layer}", [len(rows), n_out], pick, f"W{layer}rows", part, None
