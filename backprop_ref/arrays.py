"""Names for arrays by their shape, in signatures; every one of them is of float64 or float32."""

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
