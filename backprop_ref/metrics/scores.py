"""How good the predictions of a trained network are: more than one number, by the definitions of scikit-learn.

Every sum is in order, so that equal outputs have equal scores on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from backprop_ref import metrics
from backprop_ref.arrays import Batch, Vector
from backprop_ref.kernels import elementary, ordered
from backprop_ref.network import Network

Classes = npt.NDArray[np.intp]
"""A class for each row."""


class Scores(TypedDict, total=False):
    """Scores by name; which, depends on the targets. Lists have an entry for each class, label or number.

    Examples
    --------
    >>> import backprop_ref as br
    >>> network = br.Network([1, 1], ["sigmoid"], "binary_cross_entropy")
    >>> params = br.Parameters.from_arrays([[[1.0]]], [[-2.0]])
    >>> scored = br.evaluate(network, params, [[0.0], [1.0], [1.0], [4.0]], [[0], [0], [1], [1]])
    >>> scored["accuracy"], scored["balanced_accuracy"], scored["recall"], scored["roc_auc"]
    (0.75, 0.75, [1.0, 0.5], 0.875)
    """

    loss: float
    accuracy: float
    """Share of right rows; of labels, of right outputs."""
    balanced_accuracy: float
    """Mean of the recalls of the classes that there are."""
    exact_match: float
    """Share of rows whose labels are all right."""
    log_loss: float
    """Mean of −log p of the true class, where outputs are probabilities."""
    roc_auc: float
    """Area under the ROC curve; of several classes the mean, each against the rest, of labels the mean."""
    precision: list[float]
    """Of what was taken for a class, the share that is; 0 where nothing was."""
    recall: list[float]
    """Of what is of a class, the share that was found; 0 where nothing is."""
    f1: list[float]
    """2/(1/precision + 1/recall)"""
    support: list[int]
    """How many rows are of a class."""
    r2: float
    rmse: float
    """Root of the mean squared error, the mean over outputs."""
    mae: float
    """Mean absolute error, the mean over outputs."""


def of(metric: str, network: Network, a: Batch, y: Batch) -> Scores:
    """The scores that go with a metric of outputs a and targets y, both (batch, n_out); without the loss."""
    if metric == "r2":
        root, absolute = residuals(a, y)
        return {"r2": metrics.score("r2", a, y), "rmse": _mean(root), "mae": _mean(absolute)}
    if metric == "labels":
        return of_labels(a, y, metrics.threshold(network))
    scores = of_classes(network, a, metrics.predicted_class(y), max(2, y.shape[1]))
    if not np.all((y == 0) | (y == 1)):  # shares of classes, which have no one true class
        scores.pop("log_loss", None)
    return scores


def of_classes(network: Network, a: Batch, truth: Classes, n: int) -> Scores:
    """The scores of outputs a, (batch, n) or (batch, 1) for two classes, where `truth` has each row's class."""
    counts = confusion(a, truth, n, metrics.threshold(network))
    found, support, taken = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    shares = a if a.shape[1] == n else np.concatenate([1.0 - a, a], axis=1)
    recall = _ratios(found, support)
    scores: Scores = {
        "accuracy": int(found.sum()) / len(truth),
        "balanced_accuracy": _mean([share for share, rows in zip(recall, support, strict=True) if rows]),
        "roc_auc": _mean([_auc(a[:, -1], truth == 1)] if n == 2 else [_auc(a[:, j], truth == j) for j in range(n)]),
        "precision": _ratios(found, taken),
        "recall": recall,
        "f1": _ratios(2 * found, support + taken),
        "support": support.tolist(),
    }
    if network.activations[-1] == "softmax" or (a.shape[1] == 1 and network.activations[-1] == "sigmoid"):
        scores["log_loss"] = _log_loss(shares, truth)
    return scores


def of_labels(a: Batch, y: Batch, least: float = 0.5) -> Scores:
    """The scores of independent labels, each 1 or not; outputs above `least` say 1."""
    wanted, said = y > 0.5, a > least
    found, support, taken = (each.sum(axis=0) for each in (wanted & said, wanted, said))
    return {
        "accuracy": metrics.score("labels", a, y, least),
        "exact_match": int(np.count_nonzero((wanted == said).all(axis=1))) / len(y),
        "roc_auc": _mean([_auc(*column) for column in zip(a.T, wanted.T, strict=True)]),
        "precision": _ratios(found, taken),
        "recall": _ratios(found, support),
        "f1": _ratios(2 * found, support + taken),
        "support": support.tolist(),
    }


def confusion(a: Batch, truth: Classes, n: int, least: float = 0.5) -> npt.NDArray[np.intp]:
    """How many rows of class i were taken for class j, shape (n, n)."""
    return np.bincount(truth * n + metrics.predicted_class(a, least=least), minlength=n * n).reshape(n, n)


def residuals(a: Batch, y: Batch) -> tuple[list[float], list[float]]:
    """RMSE and mean absolute error of each output."""
    difference = np.asarray(a, np.float64) - np.asarray(y, np.float64)
    squares, absolute = (ordered.sum_rows(np, part) / len(y) for part in (difference * difference, np.abs(difference)))
    return np.sqrt(squares).tolist(), absolute.tolist()


def never_found(recall: Sequence[float], support: Sequence[int]) -> list[int]:
    """The classes of which there are rows, and none was found."""
    return [j for j, (share, rows) in enumerate(zip(recall, support, strict=True)) if rows and share == 0.0]


def _auc(a: Vector, positive: npt.NDArray[np.bool_]) -> float:
    """The share of pairs, a positive and a negative one, in which the positive one's output is the larger; of equal
    ones half. NaN without such pairs (Hanley and McNeil 1982).
    """
    ones, zeros = int(np.count_nonzero(positive)), int(np.count_nonzero(~positive))
    if not ones or not zeros or not np.isfinite(a).all():
        return math.nan
    _, place, counts = np.unique(a, return_inverse=True, return_counts=True)
    twice_rank = (2 * np.cumsum(counts) - counts + 1)[place]  # of equal outputs, the mean of their ranks
    return (int(twice_rank[positive].sum()) - ones * (ones + 1)) / (2 * ones * zeros)


def _log_loss(shares: Batch, truth: Classes) -> float:
    """Mean of −log p of the true class, p not nearer to 0 than the precision of the outputs."""
    least = float(np.finfo(shares.dtype).eps)
    p = np.take_along_axis(shares, truth[:, None], axis=1)[:, 0].astype(np.float64)
    logarithms = elementary.for_numpy("float64").log(np.clip(p, least, 1.0 - least))
    return float(-ordered.running_sum(np, logarithms)) / len(truth)


def _ratios(counts: npt.NDArray[np.intp], totals: npt.NDArray[np.intp]) -> list[float]:
    return [part / of if of else 0.0 for part, of in zip(counts.tolist(), totals.tolist(), strict=True)]


def _mean(values: Sequence[float]) -> float:
    return float(ordered.running_sum(np, np.array(values, np.float64))) / len(values)
