"""Names for NumPy arrays by their shape, in signatures; numbers are float64 or float32."""

from typing import TypeAlias

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
