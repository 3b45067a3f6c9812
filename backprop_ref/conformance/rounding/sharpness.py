"""How far the bounds on rounding errors are above the errors that NumPy makes, and what they consist of.

Errors are measured against the same pass in the extended precision of `numpy.longdouble`, whose roundings are 2048
times finer or more; the tests hold its formulas, and NumPy's errors in small networks, to 50 digits.
"""

from typing import NamedTuple

import numpy as np

from backprop_ref import mlp
from backprop_ref.api import trace
from backprop_ref.backends.arithmetic import Fast
from backprop_ref.backends.numpy import NumpyBackend
from backprop_ref.conformance.cases import Key, Values, tensor_name, tensors
from backprop_ref.conformance.rounding.bounds import gradient_bounds, shares
from backprop_ref.conformance.rounding.precision import SOURCES
from backprop_ref.errors import BackendUnavailable
from backprop_ref.network import Network
from backprop_ref.progress import Bar
from backprop_ref.random import Stream

SIZES = ("2-4-1", "3-5-4", "8-3-8", "20-128-64-32-3", "64-128-10", "784-256-128-10", "784-2048-2048-10")
BATCH = 7
NETWORKS = {10**5: 20, 10**6: 3}
"""How many up to so many parameters; beyond, one: its tensors average over many entries already."""


class Sharpness(NamedTuple):
    """Bound ÷ error of the tensors of one size: ratio of norms, over all networks tried."""

    sizes: str
    networks: int
    median: float
    worst: float
    tensor: str
    """The one with the worst ratio."""
    shares: dict[str, float]
    """The part of the bound of dW and db that each source of errors makes up alone, on average."""


def measure_all(progress=None) -> list[Sharpness]:
    """A `Sharpness` for each of `SIZES`."""
    with Bar("size", len(SIZES), progress) as bar:
        found = []
        for sizes in SIZES:
            found.append(measure(sizes))
            bar.update(len(found))
    return found


def measure(sizes: str) -> Sharpness:
    """Tanh networks with softmax, or one sigmoid output, and the cross-entropy that goes with it; batch 7."""
    widths = list(map(int, sizes.split("-")))
    hidden = ["tanh"] * (len(widths) - 2)
    output, loss = ("sigmoid", "bce") if widths[-1] == 1 else ("softmax", "ce")
    network = Network(widths, [*hidden, output], loss)
    networks = next((count for most, count in NETWORKS.items() if network.n_parameters <= most), 1)
    squares: dict[Key, np.ndarray] = {}
    parts: dict[str, list[float]] = {source: [] for source in SOURCES}
    for seed in range(1, networks + 1):
        params, x, y = example(network, seed)
        bounds, errors = tensors(gradient_bounds(network, params, x, y)), actual_errors(network, params, x, y)
        for key, error in errors.items():
            pair = np.array([np.sum(np.square(bounds[key])), np.sum(np.square(error))])
            squares[key] = squares.get(key, 0.0) + pair
        for source, part in shares(network, params, x, y).items():
            parts[source] += part.dW + part.db
    ratios = {key: float(np.sqrt(bound / error)) for key, (bound, error) in squares.items() if error}
    worst = max(ratios, key=lambda key: ratios[key])
    average = {source: float(np.mean(part)) for source, part in parts.items()}
    median = float(np.median(list(ratios.values())))
    return Sharpness(sizes, networks, median, ratios[worst], tensor_name(worst), average)


def example(network, seed):
    """Weights of deviation 1/√fan-in and biases of deviation ½; normal inputs, and a class for each."""
    stream, n_out = Stream(seed, "check"), network.sizes[-1]
    params = network.init(seed, "zeros")
    for W, b in zip(params.W, params.b, strict=True):
        W[...] = stream.normal(W.size).reshape(W.shape) / np.sqrt(len(W))
        b[...] = 0.5 * stream.normal(b.size)
    x = stream.normal(BATCH * network.sizes[0]).reshape(BATCH, -1)
    return params, x, np.eye(max(n_out, 2))[stream.integers_below([max(n_out, 2)] * BATCH)][:, :n_out]


def actual_errors(network, params, x, y):
    """What NumPy's `fast` pass is away from the same in extended precision, by name and layer."""
    if np.finfo(np.longdouble).eps >= np.finfo(np.float64).eps:
        raise BackendUnavailable("NumPy has no precision beyond float64 on this machine, and errors need it")
    wide = mlp.Weights(*([array.astype(np.longdouble) for array in arrays] for arrays in (params.W, params.b)))
    backend = NumpyBackend(np, Fast(np))
    exact = mlp.trace(backend, network, wide, x.astype(np.longdouble), y.astype(np.longdouble))
    found = tensors(Values.of(trace(network, params, x, y, backend="numpy", numerics="fast")))
    return {key: np.asarray(found[key] - value, dtype=np.float64) for key, value in tensors(Values.of(exact)).items()}
