"""How good predictions are: accuracy for classes, R² for numbers."""

import numpy as np
import numpy.typing as npt

from backprop_ref.arrays import Batch, Vector
from backprop_ref.kernels import ordered
from backprop_ref.network import Network


def metric_name(network: Network, y: Batch) -> str:
    """'accuracy' where targets are classes, else 'r2'.

    Classes are what a sigmoid or softmax output is compared with, if every target is 0 or 1; under softmax, always.
    """
    output = network.activations[-1]
    if output == "softmax" or network.loss == "cross_entropy":
        return "accuracy"
    return "accuracy" if output == "sigmoid" and bool(np.all((y == 0) | (y == 1))) else "r2"


def predicted_class(a: Batch, out: npt.NDArray[np.intp] | None = None) -> npt.NDArray[np.intp]:
    """Class of each row: the largest output, or with one output whether it is above 0.5. Shape (batch,), intp."""
    if a.shape[1] > 1:
        return a.argmax(axis=1, out=out)
    return np.greater(a[:, 0], 0.5, out=np.empty(len(a), np.intp) if out is None else out)


def count_correct(a: Batch, y: Batch) -> int:
    """How many rows of outputs a, both (batch, n_out), are of the class that y says."""
    return int(np.count_nonzero(predicted_class(a) == predicted_class(y)))


def squared_residuals(a: Batch, y: Batch) -> Vector:
    """Sum over rows, in order, of (a − y)², per output, in float64."""
    difference = np.asarray(a, dtype=np.float64) - y
    sums: Vector = ordered.sum_rows(np, difference * difference)
    return sums


def r2_from(residuals: Vector, y: Batch) -> float:
    """R² averaged over outputs, from the sums that `squared_residuals` gives; a constant target gives 1 or 0."""
    mean = ordered.sum_rows(np, np.asarray(y, dtype=np.float64)) / len(y)
    around_mean = squared_residuals(mean, y)
    constant = np.all(y == y[:1], axis=0)
    share = np.where(constant, residuals != 0.0, residuals / np.where(constant, 1.0, around_mean))
    return float(ordered.running_sum(np, 1.0 - share)) / len(share)


def score(name: str, a: Batch, y: Batch) -> float:
    """The metric of that name for outputs a and targets y."""
    return count_correct(a, y) / len(y) if name == "accuracy" else r2_from(squared_residuals(a, y), y)
