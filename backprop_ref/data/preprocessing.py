"""Splitting into parts, and what turns a data set's columns into a network's x and y and back."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from backprop_ref.arrays import Batch, Rows, Vector
from backprop_ref.data.dataset import Dataset, Target, one_hot
from backprop_ref.errors import InvalidInput, unknown
from backprop_ref.kernels import ordered
from backprop_ref.random import Stream

NORMALIZATIONS = ("standardize", "minmax", "none")


def split(n: int, share: float, stream: Stream, labels: Target | None = None) -> tuple[Rows, Rows]:
    """Rows that stay, and a random share of rows taken out, both ascending.

    Parameters
    ----------
    n : int
        Number of rows, at least 1.
    share : float
        From 0 up to below 1; round(share·n) rows are taken out, or as many as leave one of each class.
    stream : Stream
    labels : int array of shape (n,), optional
        Stratify: each class gives its share, rounded down, and the largest remainders give one row more.

    Returns
    -------
    stay, out : int arrays of row numbers

    Raises
    ------
    InvalidInput
        A share outside [0, 1).

    Examples
    --------
    >>> import numpy as np
    >>> from backprop_ref.random import Stream
    >>> stay, out = split(6, 1 / 3, Stream(1, "split"), labels=np.array([0, 0, 0, 1, 1, 1]))
    >>> len(stay), len(out), int((out < 3).sum())
    (4, 2, 1)
    """
    if not 0.0 <= share < 1.0:
        raise InvalidInput(f"share {share} to split off: a number from 0 to below 1 is needed")
    labels = np.zeros(n) if labels is None else labels
    groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    quotas = [len(group) * share for group in groups]
    counts = [min(math.floor(quota), len(group) - 1) for quota, group in zip(quotas, groups, strict=True)]
    while sum(counts) < round(n * share):
        can_give = [i for i, group in enumerate(groups) if counts[i] < len(group) - 1]
        if not can_give:
            break
        counts[max(can_give, key=lambda i: quotas[i] - counts[i])] += 1
    out = np.zeros(n, dtype=bool)
    for group, count in zip(groups, counts, strict=True):
        out[group[stream.permutation(len(group))[:count]]] = True
    return np.flatnonzero(~out), np.flatnonzero(out)


@dataclass(frozen=True)
class Preprocessing:
    """Columns to x and y, by the training rows' statistics; kept beside a trained network.

    Attributes
    ----------
    feature_names, target_name : the columns
    classes : tuple of str, or None for regression
    shift, scale : per feature; ``x = (column − shift) / scale``
    target_shift, target_scale : for regression, likewise; 0 and 1 for classes
    one_column : two classes as one output, 0 or 1, instead of one-hot
    normalize : standardize (mean and deviation), minmax (to 0 … 1), or none

    Examples
    --------
    >>> from backprop_ref.data import load_dataset
    >>> xor = load_dataset("xor")
    >>> preparation = Preprocessing.fit(xor, rows=[0, 1, 2, 3])
    >>> preparation.x(xor.x).tolist()
    [[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]]
    >>> preparation.y(xor.target).shape
    (4, 2)
    """

    feature_names: tuple[str, ...]
    target_name: str
    classes: tuple[str, ...] | None
    shift: tuple[float, ...]
    scale: tuple[float, ...]
    target_shift: float
    target_scale: float
    one_column: bool
    normalize: str

    @classmethod
    def fit(
        cls, dataset: Dataset, rows: Sequence[int] | Rows, normalize: str = "standardize", one_column: bool = False
    ) -> Self:
        """Statistics over `rows` of a data set, with sums in order; a constant column is only shifted."""
        if normalize not in NORMALIZATIONS:
            raise unknown("normalization", normalize, NORMALIZATIONS)
        shift, scale = _statistics(dataset.x[rows], normalize, dataset.feature_names)
        target_shift, target_scale = [0.0], [1.0]
        if dataset.classes is None:
            column = dataset.target[rows][:, None]
            target_shift, target_scale = _statistics(column, normalize, [dataset.target_name])
        return cls(
            dataset.feature_names,
            dataset.target_name,
            dataset.classes,
            tuple(shift),
            tuple(scale),
            target_shift[0],
            target_scale[0],
            one_column and len(dataset.classes or ()) == 2,
            normalize,
        )

    @property
    def n_outputs(self) -> int:
        """Width of y."""
        return 1 if self.classes is None or self.one_column else len(self.classes)

    def x(self, columns: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Feature columns (samples, features) as the network's x."""
        if columns.shape[1] != len(self.shift):
            n = len(self.shift)
            raise InvalidInput(f"{columns.shape[1]} feature columns; the network was trained on {n}")
        x: npt.NDArray[np.float64] = (columns - np.array(self.shift)) / np.array(self.scale)
        return x

    def y(self, target: Target) -> npt.NDArray[np.float64]:
        """Class numbers or values (samples,) as the network's y (samples, n_outputs)."""
        if self.classes is None:
            return np.asarray((target - self.target_shift) / self.target_scale, np.float64)[:, None]
        return target[:, None].astype(np.float64) if self.one_column else one_hot(target, len(self.classes))

    def values(self, a: Batch) -> Vector:
        """For regression: outputs (samples, 1) in the target's own units, shape (samples,)."""
        return a[:, 0] * self.target_scale + self.target_shift

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: object) -> Self:
        """What `to_dict` wrote and JSON has kept.

        Raises
        ------
        ValueError
            It is something else.
        """
        from backprop_ref.data.stored import StoredPreprocessing

        stored = StoredPreprocessing.checked(values).model_dump()
        fields: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in stored.items()}
        return cls(**fields)


def _statistics(columns: Target, normalize: str, names: Sequence[str]) -> tuple[list[float], list[float]]:
    """Shift and scale of each column, as lists."""
    n, width = columns.shape
    if normalize == "none":
        return [0.0] * width, [1.0] * width
    least, most = columns.min(axis=0), columns.max(axis=0)
    with np.errstate(over="ignore", invalid="ignore"):
        if normalize == "minmax":
            shift, scale = least, most - least
        else:
            shift = ordered.sum_rows(np, columns) / n
            centred = columns - shift
            scale = np.sqrt(ordered.sum_rows(np, centred * centred) / n)
    # the mean of equal numbers may be off by a rounding, and their deviation then just above 0
    constant = (least == most) | (scale == 0.0)
    shift, scale = np.where(constant, least, shift), np.where(constant, 1.0, scale)
    for i in np.flatnonzero(~np.isfinite(shift + scale)).tolist():
        raise InvalidInput(
            f"column {names[i]}: from {least[i]:g} to {most[i]:g}, too large to {normalize}; "
            "divide it, or use --normalize none"
        )
    return shift.tolist(), scale.tolist()
