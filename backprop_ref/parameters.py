"""Every weight and bias of a network as views of one flat vector, and their hash."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from backprop_ref import showing
from backprop_ref.arrays import Float, Matrix, Vector
from backprop_ref.errors import InvalidInput

DTYPES = ("float64", "float32")
_NAMES = {np.dtype(name): name for name in DTYPES}


class Parameters:
    """Weights and biases: views of ``flat`` = W0 (row-major, n_in × n_out), b0, W1, b1, …; always host NumPy.

    Parameters
    ----------
    flat : array of shape (n_parameters,), float64 or float32
        Kept, not copied: writing to a view writes to it.
    sizes : sequence of int
        Widths from the input to the output.

    Attributes
    ----------
    W, b : tuple of arrays
        One of shape (n_in, n_out), one of shape (n_out,), per layer.

    Examples
    --------
    >>> import backprop_ref as br
    >>> params = br.Parameters.from_arrays([[[1.0, 2.0]], [[3.0], [4.0]]], [[0.5, 0.5], [0.0]])
    >>> params.sizes, params.flat
    ((1, 2, 1), array([1. , 2. , 0.5, 0.5, 3. , 4. , 0. ]))
    """

    flat: Vector
    sizes: tuple[int, ...]
    W: tuple[Matrix, ...]
    b: tuple[Vector, ...]

    def __init__(self, flat: Vector, sizes: Iterable[int]) -> None:
        self.flat, self.sizes = flat, tuple(sizes)
        needed = count(self.sizes)
        if not isinstance(flat, np.ndarray) or flat.shape != (needed,):
            shape = getattr(flat, "shape", type(flat).__name__)
            raise InvalidInput(f"flat has shape {shape}; sizes {list(self.sizes)} need a NumPy array of ({needed},)")
        check_dtype(flat.dtype)
        if not flat.dtype.isnative:
            name = flat.dtype.name
            raise InvalidInput(f"flat has the other byte order ({flat.dtype.str}); pass flat.astype('{name}')")
        if not flat.flags.c_contiguous:
            raise InvalidInput("flat is not contiguous, so that W and b could not be views of it; pass a copy")
        self.W, self.b = views(flat, self.sizes)

    @classmethod
    def zeros(cls, sizes: Iterable[int], dtype: npt.DTypeLike = "float64") -> Parameters:
        """All of them 0."""
        sizes = tuple(sizes)
        return cls(np.zeros(count(sizes), dtype), sizes)

    @classmethod
    def from_arrays(
        cls,
        weights: Iterable[npt.ArrayLike],
        biases: Iterable[npt.ArrayLike],
        dtype: npt.DTypeLike | None = None,
    ) -> Parameters:
        """Copies lists of W, each (n_in, n_out), and b, each (n_out,), into one flat vector.

        Raises
        ------
        InvalidInput
            Shapes that do not chain, more than one dtype (unless `dtype` is given), or a dtype other than float64 and
            float32; whole numbers become float64.
        """
        Ws, bs = [np.asarray(W) for W in weights], [np.asarray(b) for b in biases]
        if len(Ws) != len(bs) or not Ws:
            raise InvalidInput(f"{len(Ws)} weights and {len(bs)} biases: one of each per layer is needed")
        n_in = Ws[0].shape[0] if Ws[0].ndim == 2 else None
        for layer, (W, b) in enumerate(zip(Ws, bs, strict=True)):
            if W.ndim != 2 or b.shape != W.shape[1:] or W.shape[0] != n_in:
                raise InvalidInput(
                    f"layer {layer}: W has shape {W.shape} and b {b.shape}; "
                    f"(n_in, n_out) and (n_out,) are needed, with n_in = {n_in}, the width before"
                )
            n_in = W.shape[1]
        found = {as_float_dtype(array.dtype) for array in Ws + bs}
        if dtype is None and len(found) > 1:
            raise InvalidInput(
                f"weights and biases have {len(found)} dtypes ({', '.join(sorted(found))}); convert, or say dtype="
            )
        flat = np.concatenate([array.ravel() for pair in zip(Ws, bs, strict=True) for array in pair])
        sizes = (Ws[0].shape[0], *(W.shape[1] for W in Ws))
        if 0 in sizes:
            raise InvalidInput(f"sizes {list(sizes)}: a layer without neurons; each width is 1 or more")
        return cls(flat.astype(check_dtype(dtype) if dtype else found.pop()), sizes)

    @property
    def dtype(self) -> np.dtype[Float]:
        """The dtype of every entry, as a `numpy.dtype`."""
        return self.flat.dtype

    def __reduce__(self) -> tuple[type[Parameters], tuple[Vector, tuple[int, ...]]]:
        return Parameters, (self.flat, self.sizes)

    def copy(self) -> Parameters:
        """Parameters with the same values in memory of their own."""
        return Parameters(self.flat.copy(), self.sizes)

    def sha256(self) -> str:
        """Hash of `flat` in little-endian IEEE bytes, and of nothing else; −0 and +0 differ.

        Examples
        --------
        >>> import backprop_ref as br
        >>> br.Parameters.zeros([2, 1]).sha256() == br.Parameters.from_arrays([[[0.0], [0.0]]], [[-0.0]]).sha256()
        False
        """
        import hashlib

        return hashlib.sha256(self.flat.astype(self.dtype.newbyteorder("<")).tobytes()).hexdigest()

    def _parts(self) -> showing.Parts:
        yield f"Parameters {'-'.join(map(str, self.sizes))}, {self.dtype}"
        named = [(f"{name}{layer}", array) for layer, pair in enumerate(zip(self.W, self.b, strict=True))
                 for name, array in zip("Wb", pair, strict=True)]  # fmt: skip
        yield showing.of_arrays(named)
        yield f"{self.flat.size:,} numbers, sha256 {self.sha256()[:16]}…"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return showing.html(self._parts())

    def _repr_markdown_(self) -> str:
        """The same as Markdown."""
        return showing.markdown(self._parts())

    def __repr__(self) -> str:
        return f"Parameters(sizes={list(self.sizes)}, dtype={self.dtype}, sha256={self.sha256()[:12]}…)"


def count(sizes: Sequence[int]) -> int:
    """Number of weights and biases of layers between widths."""
    return sum((n_in + 1) * n_out for n_in, n_out in pairwise(sizes))


def views(flat: npt.NDArray[Any], sizes: Sequence[int]) -> tuple[tuple[Matrix, ...], tuple[Vector, ...]]:
    """W and b of each layer as views of a flat vector of any dtype: two tuples of arrays; further axes stay last."""
    W, b, start = [], [], 0
    for n_in, n_out in pairwise(sizes):
        middle, end = start + n_in * n_out, start + (n_in + 1) * n_out
        W.append(flat[start:middle].reshape(n_in, n_out, *flat.shape[1:]))
        b.append(flat[middle:end])
        start = end
    return tuple(W), tuple(b)


def check_dtype(dtype: npt.DTypeLike) -> str:
    """'float64' or 'float32' from any way to name a dtype; anything else is refused."""
    if isinstance(dtype, np.dtype) and dtype in _NAMES:
        return _NAMES[dtype]
    try:
        name = np.dtype(dtype).name
    except TypeError:
        name = str(dtype)
    if name not in DTYPES:
        raise InvalidInput(f"dtype {name}: only {' and '.join(DTYPES)} are supported")
    return name


def as_float_dtype(dtype: npt.DTypeLike) -> str:
    """The name of the dtype in which numbers of `dtype` are taken: bool and integers as float64."""
    return "float64" if np.dtype(dtype).kind in "biu" else check_dtype(dtype)
