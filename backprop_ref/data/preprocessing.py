"""Splitting into parts, and what turns a data set's columns into a network's x and y and back."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from backprop_ref.arrays import Batch, Float, Rows
from backprop_ref.asking import ask
from backprop_ref.data.columns import Column
from backprop_ref.data.dataset import Dataset, Target, one_hot
from backprop_ref.errors import InvalidInput, unknown
from backprop_ref.kernels import ordered
from backprop_ref.random import Stream

REACHED = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "relu": (0.0, np.inf), "softmax": (0.0, 1.0)}
"""What activations give that do not give every number."""
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


def fold(n: int, folds: int, number: int, stream: Stream, labels: Target | None = None) -> tuple[Rows, Rows]:
    """Rows that stay, and those of one of several folds; every row is in one fold, every class spread over them.

    Raises
    ------
    InvalidInput
        There are fewer rows than folds, or fewer folds than the number says.
    """
    if n < folds or number >= folds:
        raise InvalidInput(f"fold {number} of {folds} for {n} rows: fewer folds, and a number below theirs, are needed")
    labels = np.zeros(n) if labels is None else labels
    dealt = [rows[stream.permutation(len(rows))] for rows in (np.flatnonzero(labels == c) for c in np.unique(labels))]
    out = np.zeros(n, dtype=bool)
    out[np.concatenate(dealt)[number::folds]] = True
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
    rules : of a table, what becomes of each of its columns
    missing : the rule for missing values, which are NaN
    fill : what stands in their place, per feature
    indicators : the features beside which another one says that they were missing
    targets : the names of several targets
    named : whether the table had a header

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
    target_shift: float | tuple[float, ...]
    target_scale: float | tuple[float, ...]
    one_column: bool
    normalize: str
    rules: tuple[Column, ...] = ()
    missing: str = "error"
    fill: tuple[float, ...] = ()
    indicators: tuple[int, ...] = ()
    targets: tuple[str, ...] = ()
    named: bool = True

    @classmethod
    def fit(
        cls,
        dataset: Dataset,
        rows: Sequence[int] | Rows,
        normalize: str = "standardize",
        one_column: bool = False,
        output: str = "linear",
    ) -> Self:
        """Statistics over `rows` of a data set, with sums in order; a constant column is only shifted.

        Quantities are scaled to what the activation of the output reaches.
        """
        if normalize not in NORMALIZATIONS:
            raise unknown("normalization", normalize, NORMALIZATIONS)
        fill, indicators, columns = _filling(dataset, rows)
        shift, scale = _statistics(columns, normalize, [*dataset.feature_names, *(f"{i}" for i in indicators)])
        target_shift, target_scale = [0.0], [1.0]
        targets = dataset.target_names if len(dataset.target_names) > 1 else ()
        if dataset.classes is None:
            column = dataset.target[rows] if targets else dataset.target[rows][:, None]
            target_shift, target_scale = _statistics(column, normalize, targets or [dataset.target_name])
            if output in REACHED:
                target_shift, target_scale = within(column.astype(np.float64), output, normalize, target_scale)
        return cls(
            dataset.feature_names,
            dataset.target_name,
            dataset.classes,
            tuple(shift),
            tuple(scale),
            tuple(target_shift) if targets else target_shift[0],
            tuple(target_scale) if targets else target_scale[0],
            one_column and len(dataset.classes or ()) == 2,
            normalize,
            dataset.rules or (),
            dataset.missing,
            fill,
            indicators,
            targets,
            dataset.named,
        )

    @property
    def target_names(self) -> tuple[str, ...]:
        """Each target's name."""
        return self.targets or (self.target_name,)

    @property
    def n_inputs(self) -> int:
        """Width of x."""
        return len(self.shift)

    @property
    def n_outputs(self) -> int:
        """Width of y."""
        if self.classes is None:
            return len(self.target_names)
        return 1 if self.one_column else len(self.classes)

    def x(self, columns: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Feature columns (samples, features) as the network's x."""
        n = len(self.feature_names)
        if columns.shape[1] != n:
            raise InvalidInput(f"{columns.shape[1]} feature columns; the network was trained on {n}")
        if self.fill:
            columns = _filled(columns, self.fill, self.indicators)
        x: npt.NDArray[np.float64] = (columns - np.array(self.shift)) / np.array(self.scale)
        return x

    def y(self, target: Target) -> npt.NDArray[np.float64]:
        """Class numbers or values (samples,) as the network's y (samples, n_outputs)."""
        if self.classes is None:
            y = np.asarray((target - np.array(self.target_shift)) / np.array(self.target_scale), np.float64)
            return y if y.ndim == 2 else y[:, None]
        return target[:, None].astype(np.float64) if self.one_column else one_hot(target, len(self.classes))

    def values(self, a: Batch) -> npt.NDArray[Float]:
        """For regression: outputs in the target's own units, shape (samples,); of several, (samples, targets)."""
        if self.targets:
            return np.asarray(a * np.array(self.target_scale) + np.array(self.target_shift))
        return np.asarray(a[:, 0] * self.target_scale + self.target_shift)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without what is as usual; `from_dict` reads it back."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        usual = {field.name: field.default for field in fields(self)}
        values["rules"] = tuple(rule.to_dict() for rule in self.rules)
        return {key: value for key, value in values.items() if value != usual[key]}

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
        rules = tuple(Column.from_dict(rule) for rule in stored.pop("rules"))
        made: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in stored.items()}
        return cls(**made, rules=rules)


def within(
    column: npt.NDArray[np.float64], output: str, normalize: str, scale: list[float]
) -> tuple[list[float], list[float]]:
    """Shift and scale that bring targets to what an output activation reaches.

    Raises
    ------
    InvalidInput
        They are not to be scaled, and out of reach; or the output is a softmax, whose shares sum to 1.
    """
    low, high = REACHED[output]
    least, most = column.min(axis=0), column.max(axis=0)
    if output == "softmax":
        remedy = ask("--output-activation", "linear")
        raise InvalidInput(f"output activation softmax gives shares that sum to 1, no quantities; use {remedy}")
    if normalize == "none":
        if (least < low).any() or (most > high).any():
            raise InvalidInput(
                f"output activation {output} reaches {low:g} to {high:g}, and the target goes from {least.min():g} to "
                f"{most.max():g}; use {ask('--output-activation', 'linear')}, or another {ask('--normalize')}"
            )
        return [0.0] * len(least), [1.0] * len(least)
    if not np.isfinite(high):
        return (least - low).tolist(), scale
    width = np.where(most > least, (most - least) / (high - low), 1.0)
    return (least - low * width).tolist(), width.tolist()


def _filling(
    dataset: Dataset, rows: Sequence[int] | Rows
) -> tuple[tuple[float, ...], tuple[int, ...], npt.NDArray[np.float64]]:
    """What stands in for missing values, which features need to say so, and the rows without gaps.

    Of a category's features, mean and median are 0: that it was missing is a feature of its own. The most frequent
    category is the one that most rows have.
    """
    columns = dataset.x[rows]
    gaps = np.asarray(np.isnan(dataset.x).any(axis=0))
    if dataset.missing in {"error", "drop"} or not gaps.any():
        return (), (), columns
    owner = [i for i, rule in enumerate(_used(dataset)) for _ in rule.features]
    several = np.bincount(owner)[owner] > 1
    first = [i for i in range(len(owner)) if i == 0 or owner[i] != owner[i - 1]]
    fill = np.zeros(len(owner))
    for i in np.flatnonzero(gaps & ~several).tolist():
        present = columns[:, i][~np.isnan(columns[:, i])]
        if len(present):
            distinct, counts = np.unique(present, return_counts=True)
            frequent = distinct[counts.argmax()]
            fill[i] = {"mean": present.mean(), "median": np.median(present)}.get(dataset.missing, frequent)
    if dataset.missing == "most-frequent":
        for start in (i for i in first if gaps[i] and several[i]):
            group = [i for i in range(len(owner)) if owner[i] == owner[start]]
            fill[group[int(np.nansum(columns[:, group], axis=0).argmax())]] = 1.0
    indicators = tuple(i for i in first if gaps[i])
    return tuple(fill.tolist()), indicators, _filled(columns, tuple(fill.tolist()), indicators)


def _used(dataset: Dataset) -> list[Column]:
    return [rule for rule in dataset.rules or () if rule.features and rule.name not in dataset.target_names]


def _filled(
    columns: npt.NDArray[np.float64], fill: tuple[float, ...], indicators: tuple[int, ...]
) -> npt.NDArray[np.float64]:
    gaps = np.isnan(columns)
    said = gaps[:, list(indicators)].astype(np.float64)
    return np.concatenate([np.where(gaps, np.array(fill), columns), said], axis=1)


def _statistics(columns: Target, normalize: str, names: Sequence[str]) -> tuple[list[float], list[float]]:
    """Shift and scale of each column, as lists."""
    n, width = columns.shape
    if normalize == "none":
        return [0.0] * width, [1.0] * width
    least, most = columns.min(axis=0), columns.max(axis=0)
    if normalize == "minmax":
        return shift_and_scale(normalize, names, least, most, least, least)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = ordered.sum_rows(np, columns) / n
        centred = columns - mean
        return shift_and_scale(
            normalize, names, least, most, mean, np.sqrt(ordered.sum_rows(np, centred * centred) / n)
        )


def shift_and_scale(
    normalize: str,
    names: Sequence[str],
    least: npt.NDArray[np.float64],
    most: npt.NDArray[np.float64],
    mean: npt.NDArray[np.float64],
    deviation: npt.NDArray[np.float64],
) -> tuple[list[float], list[float]]:
    """Shift and scale of columns, by their least and largest, mean and deviation; as lists."""
    if normalize == "none":
        return [0.0] * len(least), [1.0] * len(least)
    with np.errstate(over="ignore", invalid="ignore"):
        shift, scale = (least, most - least) if normalize == "minmax" else (mean, deviation)
    # the mean of equal numbers may be off by a rounding, and their deviation then just above 0
    constant = (least == most) | (scale == 0.0)
    shift, scale = np.where(constant, least, shift), np.where(constant, 1.0, scale)
    with np.errstate(over="ignore", invalid="ignore"):
        bad = np.flatnonzero(~np.isfinite(shift + scale)).tolist()
    for i in bad:
        raise InvalidInput(
            f"column {names[i]}: from {least[i]:g} to {most[i]:g}, too large to {normalize}; "
            f"divide it, or use {ask('--normalize', 'none')}"
        )
    return shift.tolist(), scale.tolist()
