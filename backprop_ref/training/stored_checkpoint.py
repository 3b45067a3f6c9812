"""A checkpoint as it is read from a file: every entry is checked before training goes on from it."""

from __future__ import annotations

import hashlib
from array import array
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field, field_validator

from backprop_ref.backends.base import Progress
from backprop_ref.errors import InvalidInput
from backprop_ref.files import Name, beginning
from backprop_ref.network.model_file import Model, load_all
from backprop_ref.optimizers import Slots
from backprop_ref.parameters import Parameters
from backprop_ref.stored import Count, Stored
from backprop_ref.training.history_file import HISTORY, Counted
from backprop_ref.training.state import Begun, Link, State, column_of

SLOT, BEGUN = "resume.slot.", "resume.begun."

Word = Annotated[int, Field(ge=0, lt=2**128)]


class _Words(Stored):
    state: Word
    inc: Word


class _Random(Stored):
    """`Stream.state`."""

    bit_generator: Literal["PCG64"]
    state: _Words
    has_uint32: Literal[0, 1]
    uinteger: Annotated[int, Field(ge=0, lt=2**32)]


class _Progress(Stored):
    epoch: Count
    random: _Random
    best_value: str
    best_epoch: Count | None
    stopped: Literal["epochs", "patience", "callback", "interrupted", "diverged"] | None
    key: Annotated[int, Field(ge=0, lt=2**64)] | None = None
    begun: Annotated[int, Field(ge=1)] | None = None

    @field_validator("best_value")
    @classmethod
    def _is_a_number(cls, text: str) -> str:
        float.fromhex(text)
        return text


class _Identity(Stored):
    """Other entries are only compared."""

    model_config = ConfigDict(extra="allow")

    data: str


class _Chain(Stored):
    version: str
    links: list[Annotated[tuple[Count, str, str, str], Field(strict=False)]]


class _Metadata(Stored):
    progress: _Progress
    history: list[str]
    counted: tuple[Count, Count, str] | None = Field(None, strict=False)
    chain: _Chain | None = None


class _Checkpoint(Stored):
    identity: _Identity


def load_checkpoint(path: Path) -> tuple[Model, State, dict[str, Any]]:
    """`load_with_state` of a run folder's checkpoint, which says what the run was."""
    model, state, metadata = load_with_state(path)
    try:
        _Checkpoint.checked(metadata)
    except ValueError as error:
        raise InvalidInput(f"{path}: not a checkpoint to resume from, or damaged ({error})") from None
    return model, state, metadata


def load_with_state(path: Name) -> tuple[Model, State, dict[str, Any]]:
    """A model, the state of its training, all of whose entries have the type, range and shape that they should, and
    what else is told of it.
    """
    model, tensors, metadata = load_all(path)
    if "progress" not in metadata:
        raise InvalidInput(
            f"{path}: a model, but not a checkpoint, and no state of a training is kept in it; give a run folder, or "
            "what br.save(…, state=result.state) wrote"
        )
    try:
        stored = _Metadata.checked(metadata)
        progress, names = stored.progress, stored.history
        flat = Parameters(tensors["resume.flat"], model.network.sizes).flat
        if stored.counted is None:
            for name in names:
                _check(tensors, f"history.{name}", (progress.epoch,), np.float64)
            columns = {name: column_of(tensors[f"history.{name}"]) for name in names}
        else:
            columns = _counted(path, Counted(*stored.counted), progress.epoch, names)
        for name in tensors:
            if name == f"{BEGUN}sums":
                _check(tensors, name, (max(2, tensors[name].size),), np.float64)
            elif name.startswith("resume."):
                powers = name.endswith("slot.powers")
                _check(tensors, name, (2,) if powers else flat.shape, np.float64 if powers else flat.dtype)
        state = State(
            Parameters(flat.copy(), model.network.sizes),
            _slots(tensors, SLOT),
            metadata["progress"]["random"],
            columns,
            progress.epoch,
            tensors.get("resume.best"),
            float.fromhex(progress.best_value),
            progress.best_epoch,
            progress.stopped,
            key=progress.key,
            chain=() if stored.chain is None else tuple(Link(*link) for link in stored.chain.links),
            begun=None if progress.begun is None else _begun(tensors, progress.begun, model.network.sizes),
        )
    except KeyError as error:
        raise InvalidInput(f"{path}: not a checkpoint to resume from, or damaged (no {error})") from None
    except (ValueError, OverflowError) as error:
        raise InvalidInput(f"{path}: not a checkpoint to resume from, or damaged ({error})") from None
    return model, state, metadata


def _slots(tensors: dict[str, npt.NDArray[Any]], prefix: str) -> Slots:
    return {name.removeprefix(prefix): slot.copy() for name, slot in tensors.items() if name.startswith(prefix)}


def _begun(tensors: dict[str, npt.NDArray[Any]], rows: int, sizes: tuple[int, ...]) -> Begun:
    """The epoch that was under way."""
    params, slots = Parameters(tensors[f"{BEGUN}flat"].copy(), sizes), _slots(tensors, f"{BEGUN}slot.")
    if set(slots) != set(_slots(tensors, SLOT)):
        raise ValueError("the epoch under way has another optimizer's state")
    loss, *measures = tensors[f"{BEGUN}sums"].tolist()
    return Begun(params, slots, Progress(rows, loss, np.array(measures)))


def _counted(path: Name, counted: Counted, epoch: int, names: list[str]) -> dict[str, array[float]]:
    """The history of a run that was killed, from the file that it was written to; a ValueError where that is another
    one.
    """
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    try:
        data = beginning(folder / HISTORY, counted.bytes)
    except FileNotFoundError:
        raise ValueError(f"{HISTORY}, which it goes on in, is not beside it") from None
    if len(data) < counted.bytes or hashlib.sha256(data).hexdigest() != counted.sha256:
        raise ValueError(f"{HISTORY} beside it was changed")
    first, *lines = data.decode().splitlines()
    if first != ",".join(["epoch", *names]) or not len(lines) == counted.epochs == epoch:
        raise ValueError(f"{HISTORY} beside it is of another run")
    rows = np.loadtxt(lines, delimiter=",", ndmin=2) if lines else np.empty((0, 1 + len(names)))
    return {name: column_of(column) for name, column in zip(names, rows[:, 1:].T, strict=True)}


def _check(tensors: dict[str, npt.NDArray[Any]], name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
    tensor = tensors[name]
    if (tensor.shape, tensor.dtype) != (shape, dtype):
        raise ValueError(f"{name} is {tensor.dtype} of shape {tensor.shape}, where {np.dtype(dtype)} {shape} is needed")
