"""What a data set is, and one-hot encoding."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from backprop_ref.arrays import plain_array
from backprop_ref.errors import InvalidInput

if TYPE_CHECKING:
    from backprop_ref.data.columns import Column

Target: TypeAlias = npt.NDArray[np.int64 | np.float64]
"""Shape (samples,): class numbers, or values; with several targets (samples, targets)."""


@dataclass(frozen=True)
class Dataset:
    """Samples and what is to be learnt of them.

    Attributes
    ----------
    name : str
    x : array of shape (samples, features), float64
    target : array of shape (samples,)
        Class numbers (int64) for classification, values (float64) for regression.
    classes : tuple of str, or None
        Name of each class number; None for regression.
    feature_names : tuple of str
    target_name : str
    rules : tuple of Column, or None
        Of a table: what became of each of its columns.
    missing : str
        What is done where `x` is NaN.
    notes : tuple of str
        What was decided about a table, to be said.
    target_names : tuple of str
        Of several targets, each.
    named : bool
        Whether the table has a header.
    weights : array of shape (samples,), or None
        What each row counts in the loss, where a column of the table says so.
    """

    name: str
    x: npt.NDArray[np.float64]
    target: Target
    classes: tuple[str, ...] | None
    feature_names: tuple[str, ...]
    target_name: str = "target"
    rules: "tuple[Column, ...] | None" = None
    missing: str = "error"
    notes: tuple[str, ...] = ()
    target_names: tuple[str, ...] = ()
    named: bool = True
    weights: npt.NDArray[np.float64] | None = None

    def _replace_notes(self, notes: tuple[str, ...]) -> Self:
        return replace(self, notes=notes)

    @property
    def task(self) -> str:
        """'classification' or 'regression'."""
        return "regression" if self.classes is None else "classification"


def one_hot(labels: npt.ArrayLike, n_classes: int | None = None) -> npt.NDArray[np.float64]:
    """Class numbers as rows of zeros with a single one, shape (samples, n_classes), float64.

    Parameters
    ----------
    labels : array of shape (samples,), integers from 0
    n_classes : int, optional
        Default: the largest label + 1.

    Raises
    ------
    InvalidInput
        A label that is not a whole number, or not below `n_classes`; the message gives its position.

    Examples
    --------
    >>> import backprop_ref as br
    >>> br.one_hot([2, 0], n_classes=3)
    array([[0., 0., 1.],
           [1., 0., 0.]])
    """
    try:
        labels = plain_array(labels)
    except (ValueError, TypeError) as error:
        raise InvalidInput(f"labels are not a list of class numbers: {error}") from None
    if n_classes is not None and (isinstance(n_classes, bool) or not isinstance(n_classes, int | np.integer)):
        raise InvalidInput(f"n_classes={n_classes!r}: a whole number is needed")
    if labels.ndim != 1:
        raise InvalidInput(f"labels have shape {labels.shape}; (samples,) is needed, one class number each")
    if labels.dtype.kind not in "iubf":
        raise InvalidInput(
            f"labels have dtype {labels.dtype}; number the classes first: np.unique(labels, return_inverse=True)[1]"
        )
    for position in np.flatnonzero((labels != np.floor(labels)) | np.isinf(labels)):
        raise InvalidInput(f"label {labels[position]} at position {position} is not a whole number")
    largest = int(labels.max()) if labels.size else -1
    count = largest + 1 if n_classes is None else int(n_classes)
    for position in np.flatnonzero((labels < 0) | (labels >= count)):
        raise InvalidInput(
            f"label {labels[position]} at position {position} is out of range: 0 to {count - 1} for {count} classes; "
            "more of these, or labels from 0 on, as np.unique(labels, return_inverse=True)[1], are needed"
        )
    return np.asarray(labels[:, None] == np.arange(count), np.float64)
