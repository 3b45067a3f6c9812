"""What each sample counts in a loss: a number for each row, from weights of samples and of classes.

The loss is Σ w_s·loss_s / Σ w_s over the samples of a batch. A sample of weight 0 is left out before anything else is
done; so no batch is without weight. Scores, such as accuracy, count every sample once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias, TypeVar, cast

import numpy as np
import numpy.typing as npt

from backprop_ref.arrays import Batch, Vector, plain_array
from backprop_ref.errors import InvalidInput
from backprop_ref.kernels import ordered
from backprop_ref.metrics import predicted_class

Rows = TypeVar("Rows", bound=npt.NDArray[Any])

ClassWeight: TypeAlias = str | Mapping[int, float] | npt.ArrayLike
"""'balanced', or a weight for each class: by its number, where classes that are not named have 1, or in their order."""


def weighted(
    x: Rows,
    y: Batch,
    sample_weight: npt.ArrayLike | None,
    class_weight: ClassWeight | None,
    names: tuple[str, str] = ("sample_weight", "class_weight"),
) -> tuple[Rows, Batch, Vector | None]:
    """x and y without the rows of weight 0, and the weights of the others in the dtype of y; None where all are 1.

    Parameters
    ----------
    x, y : arrays of shape (batch, n_in) and (batch, n_out)
    sample_weight : array of shape (batch,), optional
    class_weight : 'balanced', mapping of int to float, or array of shape (classes,), optional
        Times `sample_weight`. 'balanced': rows / (classes · rows of the class), of the classes that there are
        (King and Zeng 2001), where rows of weight 0 do not count.
    names : pair of str
        What the two are called in messages.

    Raises
    ------
    InvalidInput
        A weight that is negative or not finite; none above 0; shapes that do not fit; class weights where a row of y
        is not of one class.
    """
    if sample_weight is None and class_weight is None:
        return x, y, None
    found = np.ones(len(y)) if sample_weight is None else _each(sample_weight, len(y), names[0])
    if class_weight is not None:
        classes = _classes(y, names)
        found = found * _of_classes(class_weight, classes, found > 0.0, max(2, y.shape[1]), names[1])[classes]
    with np.errstate(over="ignore", under="ignore", divide="ignore"):
        weights = found.astype(y.dtype)
        positive = weights > 0.0
        sums = np.array([total(weights), 1.0 / total(weights) if positive.any() else np.inf]).astype(y.dtype)
    given = names[0] if sample_weight is not None else names[1]
    if not found.any():
        raise InvalidInput(f"{given}: no row has a weight above 0; at least one is needed")
    if not np.isfinite(sums).all():
        raise InvalidInput(f"{given}: the sum of the weights leaves the range of {y.dtype}; divide them by their mean")
    return (x, y, weights) if positive.all() else (cast(Rows, x[positive]), y[positive], weights[positive])


def total(weights: Vector) -> float:
    """Σ w_s, in binary64 and in order."""
    return float(ordered.running_sum(np, weights.astype(np.float64)))


def _each(values: npt.ArrayLike, rows: int, name: str) -> npt.NDArray[np.float64]:
    """A weight for each row, checked."""
    try:
        array = plain_array(values)
    except (ValueError, TypeError) as error:
        raise InvalidInput(f"{name} is not a list of numbers: {error}") from None
    if array.dtype.kind not in "biuf" or array.shape != (rows,):
        found = f"shape {array.shape}" if array.dtype.kind in "biuf" else f"dtype {array.dtype}"
        remedy = f": pass np.ravel({name})" if array.shape in {(rows, 1), (1, rows)} else ""
        raise InvalidInput(f"{name} has {found}; numbers of shape ({rows},) are needed, one for each row{remedy}")
    for row in np.flatnonzero(~((array >= 0.0) & np.isfinite(array))):
        raise InvalidInput(f"{name}[{row}] is {array[row]}: a finite number, 0 or more, is needed")
    return array.astype(np.float64)


def _classes(y: Batch, names: tuple[str, str]) -> npt.NDArray[np.intp]:
    """The class of each row: 0 or 1 where there is one output, else that of its single 1."""
    low = (y == 0.0) | (y == -1.0)
    if not bool((low | (y == 1.0)).all()) or (y.shape[1] > 1 and not bool(((y == 1.0).sum(axis=1) == 1).all())):
        raise InvalidInput(
            f"{names[1]}: not every row of y is of one class (one column of 0 and 1, or a single 1 in each row); "
            f"give {names[0]}, a weight for each row"
        )
    return predicted_class(y)


def _of_classes(
    given: ClassWeight, classes: npt.NDArray[np.intp], counting: npt.NDArray[np.bool_], n: int, name: str
) -> npt.NDArray[np.float64]:
    """A weight for each of n classes."""
    if isinstance(given, str):
        if given != "balanced":
            raise InvalidInput(f"{name}='{given}': 'balanced', or a weight for each class, is needed")
        counts = np.bincount(classes[counting], minlength=n)
        there = int(np.count_nonzero(counts))
        return np.asarray(counts.sum() / np.maximum(there * counts, 1))
    if not isinstance(given, Mapping):
        return _each(given, n, name)
    for key in given:
        if isinstance(key, bool) or not isinstance(key, int | np.integer) or not 0 <= key < n:
            raise InvalidInput(f"{name}: there is no class {key!r}; the classes are 0 to {n - 1}")
    return _each([given.get(number, 1.0) for number in range(n)], n, name)
