"""How good predictions are while a network is trained: accuracy for classes and for labels, R² for numbers.

A metric is 'accuracy', of rows; 'labels', the accuracy of outputs that are right or wrong each for itself; or 'r2'.
"""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from backprop_ref.arrays import Batch, Matrix, Vector
from backprop_ref.errors import unknown
from backprop_ref.formulas import LOSSES
from backprop_ref.kernels import ordered
from backprop_ref.network import Network


def metric_name(network: Network, y: Batch) -> str:
    """'accuracy' where targets are classes, 'labels' where they are several independent ones, else 'r2'.

    Softmax, cross-entropy and the hinge of several classes are for classes. Sigmoids, and with the hinge loss outputs
    whose targets are 0 or −1 and 1, are compared with 0 and 1, if every target is one of them:
    several of them each for itself with binary cross-entropy, and with other losses unless every row has one 1, which
    is its class.
    """
    output, loss = network.activations[-1], LOSSES.parts(network.loss)[0]
    if loss == "hinge":
        binary = bool(np.all((y == 0) | (y == 1) | (y == -1)))
    else:
        binary = output == "sigmoid" and bool(np.all((y == 0) | (y == 1)))
    if binary and y.shape[1] > 1:
        by_itself = loss == "binary_cross_entropy" or not bool(np.all((y > 0).sum(axis=1) == 1))
        return "labels" if by_itself else "accuracy"
    of_classes = output == "softmax" or loss in {"cross_entropy", "multi_class_hinge"}
    return "accuracy" if binary or of_classes else "r2"


def threshold(network: Network) -> float:
    """Above it an output says 1: 0 where the hinge loss has signs for labels, else 0.5."""
    return LOSSES[network.loss].with_output(network.activations[-1]).threshold


def chosen(metric: str | None, network: Network, y: Batch) -> str:
    """The metric that is asked for, or that of the targets."""
    if metric is not None and (not isinstance(metric, str) or metric not in MEASURES):
        raise unknown("metric", metric, MEASURES)
    return metric or metric_name(network, y)


def beside(metric: str, network: Network, y: Batch) -> str:
    """The metric of other targets y of the same kind: that of their own only where one of the two is R²."""
    usual = metric_name(network, y)
    return usual if "r2" in {usual, metric} else metric


def column_name(metric: str) -> str:
    """What a metric is called in a history."""
    return "accuracy" if metric == "labels" else metric


def width(metric: str, n_out: int) -> int:
    """How many numbers measure an epoch."""
    return n_out if metric == "r2" else 1


def predicted_class(a: Batch, out: npt.NDArray[np.intp] | None = None, least: float = 0.5) -> npt.NDArray[np.intp]:
    """Class of each row: the largest output, or with one output whether it is above `least`. Shape (batch,), intp."""
    if a.shape[1] > 1:
        return a.argmax(axis=1, out=out)
    return np.greater(a[:, 0], least, out=np.empty(len(a), np.intp) if out is None else out)


def count_correct(a: Batch, y: Batch, least: float = 0.5) -> int:
    """How many rows of outputs a, both (batch, n_out), are of the class that y says."""
    return int(np.count_nonzero(predicted_class(a, least=least) == predicted_class(y)))


def count_labels(a: Batch, y: Batch, least: float = 0.5) -> int:
    """How many outputs a are above `least` where y, of the same shape, is above 0.5, and only there."""
    return int(np.count_nonzero((a > least) == (y > 0.5)))


def squared_residuals(a: Batch, y: Batch, least: float = 0.5) -> Vector:
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


MEASURES: Mapping[str, Callable[[Batch, Batch, float], int | Vector]] = {
    "accuracy": count_correct,
    "labels": count_labels,
    "r2": squared_residuals,
}
"""What is added up over the rows of an epoch."""


def scores_from(metric: str, measures: Matrix, y: Batch) -> Vector:
    """A metric after each of some epochs, from what was added up over all rows of y, shape (epochs, `width`)."""
    if metric == "r2":
        return np.array([r2_from(residuals, y) for residuals in measures])
    return np.asarray(measures[:, 0] / (y.size if metric == "labels" else len(y)))


def score(metric: str, a: Batch, y: Batch, least: float = 0.5) -> float:
    """The metric for outputs a, which say 1 above `least`, and targets y."""
    measured = np.reshape(MEASURES[metric](a, y, least), (1, -1))
    return float(scores_from(metric, measured, y)[0])
