"""Names for NumPy arrays by their shape, in signatures; numbers are float64 or float32."""

import os
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Float: TypeAlias = np.float64 | np.float32
Vector: TypeAlias = npt.NDArray[Float]
"""Shape (n,): biases, or all parameters side by side."""
Matrix: TypeAlias = npt.NDArray[Float]
"""Shape (n_in, n_out): weights; column j belongs to neuron j."""
Batch: TypeAlias = npt.NDArray[Float]
"""Shape (samples, width): a row for each sample."""
BatchLike: TypeAlias = npt.ArrayLike
"""What becomes a `Batch`: arrays, nested lists, tables of numbers."""
Rows: TypeAlias = npt.NDArray[np.int64]
"""Shape (rows,): numbers of rows, from 0; or (epochs, samples): the order of the samples in each epoch."""


def is_masked(values: Any) -> bool:
    """Whether this is one of NumPy's masked arrays; their module is not imported for what is none."""
    return isinstance(values, np.ndarray) and type(values) is not np.ndarray and isinstance(values, np.ma.MaskedArray)


def plain_array(values: Any) -> npt.NDArray[Any]:
    """Values as a NumPy array: tensors without their gradients, what is sparse in full, tables column by column.

    Raises
    ------
    ValueError, TypeError
        They are no array.
    """
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values if str(values.layout) == "torch.strided" else values.to_dense()
    if hasattr(values, "tocsr"):
        values = values.toarray()
    array = np.asarray(values)
    if array.dtype.kind == "O" and hasattr(values, "columns"):
        columns = [np.asarray(values[name]) for name in values.columns]
        if all(column.dtype.kind in "biuf" or _holds_numbers(column) for column in columns):
            array = np.stack([column.astype(np.float64) for column in columns], axis=1)
    elif array.dtype.kind == "O" and hasattr(values, "to_numpy") and _holds_numbers(array):
        array = array.astype(np.float64)
    return array


def _holds_numbers(column: npt.NDArray[Any]) -> bool:
    """Whether a column of objects is one of numbers, as nullable columns of tables are."""
    return all(isinstance(value, bool | int | float | np.number | np.bool_) for value in column.ravel().tolist())


def memory() -> int:
    """Bytes that this machine has; 0 where it does not say."""
    if not hasattr(os, "sysconf"):
        return 0
    return max(0, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
