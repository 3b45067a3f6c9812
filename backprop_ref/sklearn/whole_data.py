"""SciPy's L-BFGS-B over the loss and gradients of this package: the steps of scikit-learn's ``solver="lbfgs"``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from backprop_ref.api import value_and_grad
from backprop_ref.arrays import Batch, Vector
from backprop_ref.backends.base import BackendChoice
from backprop_ref.network import Network
from backprop_ref.parameters import Parameters, views


def minimised(
    network: Network,
    params: Parameters,
    x: Batch,
    y: Batch,
    weights: Vector | None,
    *,
    factor: float,
    alpha: float,
    tol: float,
    max_iter: int,
    max_fun: int,
    backend: BackendChoice,
    numerics: str | None,
    callback: Callable[[float], None],
) -> tuple[Parameters, Any]:
    """The parameters where ``factor·loss + alpha/(2n)·ΣW²`` is smallest, and SciPy's result.

    `callback` is told the value after each iteration. Numbers stand in scikit-learn's order, all W before all b, so
    that sums over them are the same.
    """
    from scipy.optimize import minimize

    n = len(x) if weights is None else float(weights.sum())
    places = _places(params)

    def at(vector: Vector) -> Parameters:
        return Parameters(vector[places].astype(params.dtype), params.sizes)

    back = np.argsort(places)

    def objective(vector: Vector) -> tuple[float, Vector]:
        here = at(vector)
        loss, grads = value_and_grad(network, here, x, y, sample_weight=weights, backend=backend, numerics=numerics)
        grads.flat[:] *= factor
        squares = 0.0
        for W, dW in zip(here.W, grads.W, strict=True):
            squares += float(np.dot(W.ravel(), W.ravel()))
            dW += alpha / n * W
        return factor * loss + 0.5 * alpha * squares / n, grads.flat[back].astype(np.float64)

    def told(intermediate_result: Any) -> None:
        callback(float(intermediate_result.fun))

    options = {"maxfun": max_fun, "maxiter": max_iter, "gtol": tol}
    start = params.flat[back].astype(np.float64)
    found = minimize(objective, start, method="L-BFGS-B", jac=True, options=options, callback=told)
    return at(found.x), found


def _places(params: Parameters) -> Any:
    """For each entry of `flat`, where it stands in scikit-learn's order."""
    W, b = views(np.arange(params.flat.size), params.sizes)
    return np.argsort(np.concatenate([part.ravel() for part in (*W, *b)]))
