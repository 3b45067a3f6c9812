"""A trained network as a safetensors file.

Its metadata holds JSON: ``format``, the ``version`` of the package that wrote it, ``network``, ``preprocessing``, and
``contents``, a SHA-256 by which a changed bit is noticed. It is over a line of JSON for the other entries of the
metadata (their names sorted, no blanks), and then, by their names, for each tensor a line ``[name, dtype, shape]`` of
JSON and the bytes. Format 1, which is read too, had neither version nor hash.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from backprop_ref.errors import InvalidInput
from backprop_ref.files import (
    MOST_BYTES,
    Name,
    is_stream,
    path_of,
    refuse_endless,
    refuse_ways_out,
    replace,
    send,
    writing,
)
from backprop_ref.formulas import ACTIVATIONS
from backprop_ref.network import Network
from backprop_ref.parameters import Parameters
from backprop_ref.version import __version__


class Model(NamedTuple):
    """What a model file holds.

    Examples
    --------
    >>> import backprop_ref as br
    >>> network = br.Network([2, 1], ["sigmoid"], "bce")
    >>> br.Model(network, network.init(), None).params.W[0].shape
    (2, 1)
    """

    network: Network
    params: Parameters
    preprocessing: dict[str, Any] | None


FORMAT, WITHOUT_HASH = "backprop_ref-2", "backprop_ref-1"
DTYPES = {"F64": "<f8", "F32": "<f4"}
"""What safetensors calls the dtypes that are written."""
OF_OTHERS = "a model of another library becomes one by: backprop-ref import FILE"


class Packs(Protocol):
    """What can be kept beside a model: the `state` of a training's `Result`."""

    def packed(self) -> tuple[Mapping[str, npt.NDArray[Any]], dict[str, Any]]:
        """Tensors by name, and JSON-ready metadata."""
        ...


def save(
    path: Name,
    network: Network,
    params: Parameters,
    preprocessing: dict[str, Any] | None = None,
    state: Packs | None = None,
) -> None:
    """Writes a model as safetensors: tensors W0, b0, W1, …; the rest as JSON in the metadata. Atomic.

    Parameters
    ----------
    path : path-like
        A file that is there is replaced when the new one is complete; a link is refused.
    network, params : Network, Parameters
    preprocessing : dict, optional
        JSON-ready; see `backprop_ref.data.preprocessing`.
    state : State, optional
        ``result.state`` of a training, which `load_state` reads back.

    Examples
    --------
    >>> import backprop_ref as br
    >>> network = br.Network([2, 1], ["sigmoid"], "bce")
    >>> br.save("model.safetensors", network, network.init(seed=1))
    """
    if state is not None and not hasattr(state, "packed"):
        raise InvalidInput(f"state is a {type(state).__name__}: the state of a Result is needed, result.state")
    content = model_parts(network, params, preprocessing, *(() if state is None else state.packed()))
    if not path_of(path).absolute().parent.is_dir() or Path(path).is_dir():
        raise InvalidInput(f"{path}: cannot be written; give a file in a folder that exists")
    with writing(path, "give another file"):
        if is_stream(path):
            send(path, b"".join(content))
        else:
            replace(path, content)


def check_pair(network: Network, params: Parameters) -> None:
    """Refuses what are no parameters, and those of other sizes than the network's."""
    if not isinstance(network, Network) or not isinstance(params, Parameters):
        found = f"{type(network).__name__} and {type(params).__name__}"
        raise InvalidInput(f"a Network and its Parameters are needed, got {found}")
    if params.sizes != network.sizes:
        raise InvalidInput(
            f"parameters of sizes {list(params.sizes)} do not fit a network of sizes {list(network.sizes)}"
        )


def model_parts(
    network: Network,
    params: Parameters,
    preprocessing: dict[str, Any] | None = None,
    extra_tensors: Mapping[str, npt.NDArray[Any]] | None = None,
    extra_metadata: Mapping[str, Any] | None = None,
) -> list[bytes | memoryview]:
    """What `save` writes, in pieces; with more arrays and JSON-ready entries for checkpoints, which keep their state
    there. Arrays that have their bytes in order are not copied.
    """
    check_pair(network, params)
    tensors = {}
    for layer, (W, b) in enumerate(zip(params.W, params.b, strict=True)):
        tensors[f"W{layer}"], tensors[f"b{layer}"] = W, b
    entries = {"network": network.to_dict(), "preprocessing": preprocessing, **(extra_metadata or {})}
    try:
        told = {key: json.dumps(value) for key, value in {**entries, "version": __version__}.items()}
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"preprocessing has to be JSON-ready: {error}") from None
    metadata = {"format": FORMAT, **told}
    tensors = {name: _little(array) for name, array in {**tensors, **(extra_tensors or {})}.items()}
    names = {np.dtype(dtype): name for name, dtype in DTYPES.items()}
    header: dict[str, Any] = {"__metadata__": {**metadata, "contents": contents_hash(tensors, metadata)}}
    end = 0
    for name, array in tensors.items():
        begin, end = end, end + array.nbytes
        header[name] = {"dtype": names[array.dtype], "shape": list(array.shape), "data_offsets": [begin, end]}
    line = json.dumps(header).encode()
    line += b" " * (-len(line) % 8)
    return [len(line).to_bytes(8, "little"), line, *(_bytes_of(array) for array in tensors.values())]


def model_bytes(network: Network, params: Parameters, preprocessing: dict[str, Any] | None = None) -> bytes:
    """What `save` writes."""
    return b"".join(model_parts(network, params, preprocessing))


def contents_hash(tensors: Mapping[str, npt.NDArray[Any]], metadata: Mapping[str, str]) -> str:
    """The hash over all that a file holds, but for itself; see above."""
    digest = hashlib.sha256(_line(dict(sorted(metadata.items()))))
    for name, array in sorted(tensors.items()):
        array = _little(array)
        digest.update(_line([name, array.dtype.str, list(array.shape)]))
        digest.update(_bytes_of(array))
    return digest.hexdigest()


def _line(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _little(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """In row-major order and little-endian."""
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<"))


def _bytes_of(array: npt.NDArray[Any]) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def load(path: Name) -> Model:
    """Reads what `save` wrote, a checkpoint or a run folder as ``Model(network, params, preprocessing)``.

    Raises
    ------
    InvalidInput
        The file is missing, truncated, not safetensors, or not one of ours.

    Examples
    --------
    >>> import backprop_ref as br
    >>> network = br.Network([2, 1], ["sigmoid"], "bce")
    >>> params = network.init(seed=1)
    >>> br.save("again.safetensors", network, params)
    >>> br.load("again.safetensors").params.sha256() == params.sha256()
    True
    """
    model, _, _ = load_all(path)
    return model


def load_all(path: Name) -> tuple[Model, dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """`load`, with the remaining tensors and metadata: ``Model, tensors, metadata``."""
    path = path_of(path)
    path = path / "checkpoint.safetensors" if path.is_dir() else path
    if path.name == "checkpoint.safetensors":
        refuse_ways_out(path.parent, path.name)
    tensors, metadata = _read(path)
    _check_registered(path, metadata.get("network"))
    try:
        network = Network(**metadata.pop("network"))
        layers = range(network.n_layers)
        params = Parameters.from_arrays([tensors.pop(f"W{i}") for i in layers], [tensors.pop(f"b{i}") for i in layers])
        if params.sizes != network.sizes:
            raise InvalidInput(f"sizes {list(params.sizes)} of the tensors, {list(network.sizes)} of the description")
    except (KeyError, TypeError, InvalidInput) as error:
        raise InvalidInput(f"{path}: not a usable model file ({error}); save it again") from None
    return Model(network, params, metadata.pop("preprocessing", None)), tensors, metadata


def _check_registered(path: Path, described: Any) -> None:
    """Refuses a network with an activation that may be somebody's own, and that this process does not know."""
    names = described.get("activations") if isinstance(described, dict) else None
    for name in names if isinstance(names, list) else []:
        if isinstance(name, str) and name.isidentifier() and name not in ACTIVATIONS:
            raise InvalidInput(
                f"{path}: unknown activation '{name}'; if it is your own, it has to be registered first: "
                f"br.register_activation('{name}', forward, backward)"
            )


def _read(path: Path) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    refuse_endless(path)
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
            if sum(map(len, metadata.values())) > MOST_BYTES:
                raise InvalidInput(f"{path}: what it says of its model is longer than that of any; save it again")
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
    except FileNotFoundError:
        raise InvalidInput(
            f"{path}: no such file; give a model written by br.save or a run folder's checkpoint"
        ) from None
    except (SafetensorError, TypeError, AttributeError) as error:  # the last two: of a dtype that NumPy lacks
        remedy = "restore it from a copy or train again" if path.suffix == ".safetensors" else OF_OTHERS
        raise InvalidInput(f"{path}: truncated or not a safetensors file ({error}); {remedy}") from None
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read ({error.strerror or error})") from None
    written_as = metadata.get("format", "")
    if written_as not in {FORMAT, WITHOUT_HASH}:
        ours = re.fullmatch(r"backprop_ref-\d+", written_as)
        raise InvalidInput(
            f"{path}: {_of_another_version(written_as, metadata)}"
            if ours
            else f"{path}: a safetensors file, but not one that br.save wrote (no format '{FORMAT}'); {OF_OTHERS}"
        )
    found = metadata.pop("contents", None)
    if written_as == FORMAT and found != contents_hash(tensors, metadata):
        raise InvalidInput(
            f"{path}: damaged: its contents are not those that its hash was made of; restore it from a copy or train "
            "again"
        )
    metadata = {key: value for key, value in metadata.items() if key not in {"format", "version"}}
    try:
        return tensors, {key: json.loads(value) for key, value in metadata.items()}
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{path}: its metadata is damaged ({error}); restore it from a copy") from None


def _of_another_version(written_as: str, metadata: Mapping[str, str]) -> str:
    by = metadata.get("version", "").strip('"') or "another version"
    return (
        f"written by backprop_ref {by[:20]} in format '{written_as[:40]}'; this is {__version__}, which reads "
        f"'{FORMAT}' and '{WITHOUT_HASH}': read it with that version, or damaged"
    )
