"""Initial weights, the same for the same seed on every machine."""

import math
from collections.abc import Callable, Mapping, Sequence

from backprop_ref import settings
from backprop_ref.errors import unknown
from backprop_ref.parameters import Parameters, check_dtype
from backprop_ref.random import Stream

Deviation = Callable[[int, int], float]

SCHEMES: Mapping[str, tuple[str, Deviation]] = {
    "xavier": ("normal", lambda n_in, n_out: math.sqrt(2.0 / (n_in + n_out))),
    "xavier_uniform": ("uniform", lambda n_in, n_out: math.sqrt(2.0 / (n_in + n_out))),
    "he": ("normal", lambda n_in, n_out: math.sqrt(2.0 / n_in)),
    "he_uniform": ("uniform", lambda n_in, n_out: math.sqrt(2.0 / n_in)),
    "random_normal": ("normal", lambda n_in, n_out: 0.05),
    "random_uniform": ("uniform", lambda n_in, n_out: 0.05),
    "zeros": ("zeros", lambda n_in, n_out: 0.0),
}
"""Scheme -> (distribution, standard deviation for a layer of n_in × n_out); both distributions have that deviation."""


def initialise(sizes: Sequence[int], seed: int = 1, scheme: str = "xavier", dtype: str | None = None) -> Parameters:
    """Initial parameters: random weights, biases 0. The same bits for the same seed on every machine.

    Weights are drawn in float64 in the order of `flat` and rounded once to `dtype`.

    Parameters
    ----------
    sizes : sequence of int
        Widths from the input to the output.
    seed : int
    scheme : str
        xavier (deviation √(2/(n_in + n_out)); Glorot and Bengio 2010), he (√(2/n_in); He et al. 2015), random_normal
        (0.05), each normal; xavier_uniform, he_uniform, random_uniform, of the same deviation; zeros.
    dtype : str, optional
        float64 or float32; default: the setting in force, see `backprop_ref.settings`.
    """
    if scheme not in SCHEMES:
        raise unknown("weight initialisation", scheme, SCHEMES)
    distribution, deviation = SCHEMES[scheme]
    params = Parameters.zeros(sizes, check_dtype(settings.resolve("dtype", dtype)))
    stream = Stream(seed, "init")
    for W in params.W:
        if distribution == "normal":
            W[...] = (deviation(*W.shape) * stream.normal(W.size)).reshape(W.shape)
        elif distribution == "uniform":
            limit = deviation(*W.shape) * math.sqrt(3.0)
            W[...] = (limit * (2.0 * stream.uniform(W.size) - 1.0)).reshape(W.shape)
    return params
