"""What the arguments of a training have to be, and how one that is not is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from backprop_ref.api import checked_data
from backprop_ref.arrays import Batch, BatchLike, Vector
from backprop_ref.errors import InvalidInput
from backprop_ref.network import Network
from backprop_ref.optimizers import SGD
from backprop_ref.optimizers.lbfgs import METHODS, AnyOptimizer
from backprop_ref.sample_weights import weighted

BLOCK = 2**20
"""Numbers that are looked at together."""

MOST = 2**53
"""Epochs, and whatever else is counted: up to here floats hold every whole number."""


def optimizer_or_default(optimizer: AnyOptimizer | None) -> AnyOptimizer:
    """The optimizer, or the default."""
    if optimizer is not None and not isinstance(optimizer, tuple(METHODS.values())):
        raise InvalidInput(f"optimizer={optimizer!r}: an optimizer such as br.SGD(0.1) or br.Adam() is needed")
    return SGD(0.1) if optimizer is None else optimizer


def finite_data(
    network: Network, x: BatchLike, y: BatchLike, dtype: npt.DTypeLike, of: str = ""
) -> tuple[Batch, Batch]:
    """x and y as arrays that fit the network, refused where an entry is not finite; `of` begins their names."""
    x, y = checked_data(network, x, y, dtype)
    check_finite(f"{of}x", x)
    check_finite(f"{of}y", y)
    return x, y


def validation_data(
    network: Network, validation: Any, dtype: npt.DTypeLike
) -> tuple[tuple[Batch, Batch] | None, Vector | None]:
    """x and y of what is evaluated after each epoch, and the weights of its rows; None for what there is not."""
    if validation is None:
        return None, None
    if not isinstance(validation, tuple | list) or len(validation) not in {2, 3}:
        raise InvalidInput(
            f"validation is a {type(validation).__name__}: a pair (x, y), or (x, y, sample_weight), is needed"
        )
    x, y, given = validation if len(validation) == 3 else (*validation, None)
    x, y = finite_data(network, x, y, dtype, "validation ")
    x, y, weights = weighted(x, y, given, None, ("validation sample_weight", "class_weight"))
    return (x, y), weights


def check_finite(name: str, array: npt.NDArray[Any], remedy: str = "remove or fill in that row") -> None:
    """Refuses an array with an entry that is infinite or NaN."""
    for start, block in blocks(array):
        if not np.isfinite(block).all():
            row, *rest = map(int, np.argwhere(~np.isfinite(block))[0])
            where = ", ".join(map(str, (start + row, *rest)))
            raise InvalidInput(f"{name}[{where}] is {block[(row, *rest)]}: training needs finite numbers; {remedy}")


def largest(array: npt.NDArray[Any]) -> float:
    """The largest size of an entry."""
    return max((float(np.abs(block).max()) for _, block in blocks(array)), default=0.0)


def blocks(array: npt.NDArray[Any]) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """The rows of an array some at a time, each with the number of its first: what is made of all of them at once
    would not fit into memory where the array does not."""
    rows = max(1, BLOCK // max(1, array[:1].size))
    for start in range(0, len(array), rows):
        yield start, array[start : start + rows]


def integer(name: str, value: Any, least: int) -> int:
    """A number of epochs, rows or the like, refused below `least` and above `MOST`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not least <= value <= MOST:
        raise InvalidInput(f"{name}={value!r}: a whole number from {least} to {MOST:,} is needed")
    return int(value)
