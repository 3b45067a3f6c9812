"""One forward and backward pass as a trace of one record, in memory."""

import numpy as np

from backprop_ref import metrics
from backprop_ref.api import evaluate_on
from backprop_ref.arrays import Batch, Vector
from backprop_ref.backends import get_backend
from backprop_ref.network import Network
from backprop_ref.parameters import Parameters
from backprop_ref.traces.file import About, Trace, record_dtype
from backprop_ref.traces.recorder import filled


def traced_pass(
    network: Network, params: Parameters, x: Batch, y: Batch, weights: Vector | None, samples: list[int], metric: str
) -> Trace:
    """Of checked x and y, which are these samples of some data, as one batch: what `br.trace` gives under reproducible
    numerics, with the parameters.
    """
    backend, column = get_backend("numpy", "reproducible"), metrics.column_name(metric)
    records = np.zeros(1, record_dtype(network, len(x), ["loss", column, "learning_rate"], x.dtype))
    filled(records, backend, network, params.flat[None], x, y, weights)
    with backend.scope():
        found = evaluate_on(backend, network, params, x, y, metric, weights)
    for name, value in found.items():
        records[name] = value
    return Trace(About(network, "one pass", samples, x, y, 1, "reproducible", column, weights), records)
