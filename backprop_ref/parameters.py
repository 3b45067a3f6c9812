"""Every weight and bias of a network as views of one flat vector; initial values; the hash; files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from backprop_ref.arrays import Matrix, Vector
from backprop_ref.errors import InvalidInput
from backprop_ref.files import is_stream, replace, send
from backprop_ref.network import Network

DTYPES = ("float64", "float32")


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
    """

    flat: Vector
    sizes: tuple[int, ...]
    W: tuple[Matrix, ...]
    b: tuple[Vector, ...]

    def __init__(self, flat: Vector, sizes: Iterable[int]) -> None:
        self.flat, self.sizes = flat, tuple(sizes)
        needed = sum((n_in + 1) * n_out for n_in, n_out in zip(self.sizes, self.sizes[1:], strict=False))
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
        count = sum((n_in + 1) * n_out for n_in, n_out in zip(sizes, sizes[1:], strict=False))
        return cls(np.zeros(count, dtype), sizes)

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
    def dtype(self) -> np.dtype[Any]:
        """The dtype of every entry, as a `numpy.dtype`."""
        return self.flat.dtype

    def __reduce__(self) -> tuple[type[Parameters], tuple[Vector, tuple[int, ...]]]:
        return Parameters, (self.flat, self.sizes)

    def copy(self) -> Parameters:
        """Parameters with the same values in memory of their own."""
        return Parameters(self.flat.copy(), self.sizes)

    def sha256(self) -> str:
        """Hash of `flat` in little-endian IEEE bytes, and of nothing else; −0 and +0 differ."""
        import hashlib

        return hashlib.sha256(self.flat.astype(self.dtype.newbyteorder("<")).tobytes()).hexdigest()

    def __repr__(self) -> str:
        return f"Parameters(sizes={list(self.sizes)}, dtype={self.dtype}, sha256={self.sha256()[:12]}…)"


def views(flat: npt.NDArray[Any], sizes: Sequence[int]) -> tuple[tuple[Matrix, ...], tuple[Vector, ...]]:
    """W and b of each layer as views of a flat vector of any dtype: two tuples of arrays; further axes stay last."""
    W, b, start = [], [], 0
    for n_in, n_out in zip(sizes, sizes[1:], strict=False):
        middle, end = start + n_in * n_out, start + (n_in + 1) * n_out
        W.append(flat[start:middle].reshape(n_in, n_out, *flat.shape[1:]))
        b.append(flat[middle:end])
        start = end
    return tuple(W), tuple(b)


def check_dtype(dtype: npt.DTypeLike) -> str:
    """'float64' or 'float32' from any way to name a dtype; anything else is refused."""
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


class Model(NamedTuple):
    """What a model file holds."""

    network: Network
    params: Parameters
    preprocessing: dict | None


FORMAT = "backprop_ref-1"


def save(path, network, params, preprocessing=None):
    """Writes a model as safetensors: tensors W0, b0, W1, …; the rest as JSON in the metadata. Atomic.

    Parameters
    ----------
    path : path-like
        A file that is there is replaced when the new one is complete; a link is refused.
    network, params : Network, Parameters
    preprocessing : dict, optional
        JSON-ready; see `backprop_ref.data.preprocessing`.
    """
    content = model_bytes(network, params, preprocessing)
    if not Path(path).absolute().parent.is_dir():
        raise InvalidInput(f"{path}: cannot be written; give a file in a folder that exists")
    (send if is_stream(path) else replace)(path, content)


def model_bytes(network, params, preprocessing=None, extra_tensors=None, extra_metadata=None):
    """What `save` writes; with more arrays and JSON-ready entries for checkpoints, which keep their state there."""
    from safetensors.numpy import save as to_bytes

    if params.sizes != network.sizes:
        raise InvalidInput(
            f"parameters of sizes {list(params.sizes)} do not fit a network of sizes {list(network.sizes)}"
        )
    tensors = {}
    for layer, (W, b) in enumerate(zip(params.W, params.b, strict=True)):
        tensors[f"W{layer}"], tensors[f"b{layer}"] = W, b
    entries = {"network": network.to_dict(), "preprocessing": preprocessing, **(extra_metadata or {})}
    try:
        metadata = {"format": FORMAT, **{key: json.dumps(value) for key, value in entries.items()}}
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"preprocessing has to be JSON-ready: {error}") from None
    tensors = {key: np.ascontiguousarray(value) for key, value in {**tensors, **(extra_tensors or {})}.items()}
    return to_bytes(tensors, metadata=metadata)


def load(path):
    """Reads what `save` wrote, a checkpoint or a run folder as ``Model(network, params, preprocessing)``.

    Raises
    ------
    InvalidInput
        The file is missing, truncated, not safetensors, or not one of ours.
    """
    model, _, _ = load_all(path)
    return model


def load_all(path):
    """`load`, with the remaining tensors and metadata: ``Model, tensors, metadata``."""
    path = Path(path) / "checkpoint.safetensors" if Path(path).is_dir() else Path(path)
    tensors, metadata = _read(path)
    try:
        network = Network(**metadata.pop("network"))
        layers = range(network.n_layers)
        params = Parameters.from_arrays([tensors.pop(f"W{i}") for i in layers], [tensors.pop(f"b{i}") for i in layers])
        if params.sizes != network.sizes:
            raise InvalidInput(f"sizes {list(params.sizes)} of the tensors, {list(network.sizes)} of the description")
    except (KeyError, TypeError, InvalidInput) as error:
        raise InvalidInput(f"{path}: not a usable model file ({error}); save it again") from None
    return Model(network, params, metadata.pop("preprocessing", None)), tensors, metadata


def _read(path):
    from safetensors import SafetensorError, safe_open

    if path.exists() and not path.is_file():
        raise InvalidInput(f"{path}: not a regular file")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
    except FileNotFoundError:
        raise InvalidInput(
            f"{path}: no such file; give a model written by br.save or a run folder's checkpoint"
        ) from None
    except (SafetensorError, TypeError, AttributeError) as error:  # the last two: of a dtype that NumPy lacks
        raise InvalidInput(
            f"{path}: truncated or not a safetensors file ({error}); restore it from a copy or train again"
        ) from None
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read ({error.strerror or error})") from None
    if metadata.pop("format", None) != FORMAT:
        raise InvalidInput(f"{path}: a safetensors file, but not one that br.save wrote (no format '{FORMAT}')")
    try:
        return tensors, {key: json.loads(value) for key, value in metadata.items()}
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{path}: its metadata is damaged ({error}); restore it from a copy") from None
