"""The data of a training in Python, kept in its run folder where they are few, so that commands can look at the run."""

import contextlib
from pathlib import Path

import numpy as np

from backprop_ref.arrays import Batch, Vector
from backprop_ref.errors import InvalidInput
from backprop_ref.files import replace
from backprop_ref.network import Network
from backprop_ref.training.checkpoint import Folder

DATA = "data.safetensors"
MOST_BYTES = 4_000_000


def keep_data(folder: Folder | None, x: Batch, y: Batch, weights: Vector | None) -> None:
    """Writes them, with the fingerprint of all that the run is trained on; nothing where they are many, or where a
    configuration says what they are.
    """
    if folder is None or folder.config is not None:
        return
    from safetensors.numpy import save

    tensors = {"x": x, "y": y} if weights is None else {"x": x, "y": y, "weights": weights}
    if sum(tensor.nbytes for tensor in tensors.values()) > MOST_BYTES:
        return
    content = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    with contextlib.suppress(OSError):  # training needs them not, and commands say that there are none
        replace(folder.path / DATA, save(content, {"data": folder.identity["data"]}))


def kept_data(folder: Path, fingerprint: str, network: Network) -> tuple[Batch, Batch, Vector | None] | None:
    """x, y and the weights of the rows; None where they were not kept."""
    from safetensors import SafetensorError, safe_open

    path = folder / DATA
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (OSError, SafetensorError, TypeError, AttributeError) as error:
        raise InvalidInput(f"{path}: cannot be read, or damaged ({error}); train again") from None
    x, y, weights = (tensors.get(name) for name in ("x", "y", "weights"))
    if metadata.get("data") != fingerprint:
        raise InvalidInput(f"{path}: of another run than the one in {folder}; train again")
    rows = 0 if x is None else len(x)
    if (
        x is None
        or y is None
        or (x.shape, y.shape) != ((rows, network.sizes[0]), (rows, network.sizes[-1]))
        or not rows
    ):
        raise InvalidInput(f"{path}: not the data of this network, or damaged; train again")
    if weights is not None and weights.shape != (rows,):
        raise InvalidInput(f"{path}: not a weight for each row, or damaged; train again")
    return x, y, weights
