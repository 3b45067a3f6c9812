"""What the arguments of a training have to be, and how one that is not is refused."""

from __future__ import annotations

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
    if not np.isfinite(array).all():
        entry = tuple(map(int, np.argwhere(~np.isfinite(array))[0]))
        where = ", ".join(map(str, entry))
        raise InvalidInput(f"{name}[{where}] is {array[entry]}: training needs finite numbers; {remedy}")


def integer(name: str, value: Any, least: int) -> int:
    """A number of epochs, rows or the like, refused below `least` and above `MOST`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not least <= value <= MOST:
        raise InvalidInput(f"{name}={value!r}: a whole number from {least} to {MOST:,} is needed")
    return int(value)
