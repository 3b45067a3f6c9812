"""The binary trace of a run: its layout, and its reader.

``trace.bin`` is one line of JSON, padded with blanks, and then records of one size, little-endian, without gaps; new
ones are appended while training goes on. The line names the fields of a record with dtype and shape, so that any
language reads it.
"""

import itertools
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field

from backprop_ref.arrays import Batch, Vector
from backprop_ref.asking import ask
from backprop_ref.errors import InvalidInput
from backprop_ref.files import Name, refuse_endless, refuse_ways_out
from backprop_ref.network import Network
from backprop_ref.stored import Count, Stored, StoredNetwork, parsed

FILE, FORMAT, MOST_HEADER, MOST_NAME = "trace.bin", "backprop_ref-trace-1", 2**25, 2000
OF_SAMPLES, OF_PARAMETERS = ("z", "a", "delta"), ("W", "b", "dW", "db")
REALS = ("<f8", "<f4")
VALIDATIONS: tuple[list[str], ...] = ([], ["val_loss", "val_accuracy"], ["val_loss", "val_r2"])
"""Columns of the history that are there or not."""

RecordType: TypeAlias = np.dtype[np.void]
Records: TypeAlias = npt.NDArray[np.void]
"""Shape (records,): structured, with a field for each quantity of each layer."""


class _Header(Stored):
    """The first line, as JSON has it."""

    model_config = ConfigDict(allow_inf_nan=True)

    format: Literal["backprop_ref-trace-1"]
    fields: list[Any]
    record_bytes: Count
    network: StoredNetwork
    configuration: Annotated[str, Field(max_length=MOST_NAME)]
    samples: Annotated[list[Count], Field(min_length=1)]
    x: list[list[float]]
    y: list[list[float]]
    every: Annotated[Count, Field(ge=1)]
    numerics: Literal["fast", "reproducible"]
    metric: Literal["accuracy", "r2"]
    weights: list[float] | None = None

    def dtype(self, network: Network) -> RecordType:
        """The dtype of a record: one of the few that a network has, never one that the file makes up."""
        for validation, real in itertools.product(VALIDATIONS, REALS):
            columns = ["loss", self.metric, "learning_rate", *validation]
            if len(self.fields) == 2 + len(columns) + len(OF_SAMPLES + OF_PARAMETERS) * network.n_layers:
                dtype = record_dtype(network, len(self.samples), columns, real)
                if self.fields == _described(dtype) and self.record_bytes == dtype.itemsize:
                    return dtype
        raise ValueError("the fields of a record are not those of its network")

    def array(self, name: str, width: int, dtype: npt.DTypeLike) -> Batch:
        """x or y."""
        rows = getattr(self, name)
        if len(rows) != len(self.samples) or any(len(row) != width for row in rows):
            raise ValueError(f"{name} is not of shape ({len(self.samples)}, {width})")
        with np.errstate(over="ignore"):
            return np.array(rows, dtype)


class About(NamedTuple):
    """What a trace is of."""

    network: Network
    configuration: str
    samples: list[int]
    x: Batch
    y: Batch
    every: int
    numerics: str
    metric: str
    weights: Vector | None = None
    """What each sample counts in the loss; None where all count the same."""

    def to_json(self, dtype: RecordType) -> str:
        """One line with everything, and the fields of a record."""
        arrays = {"network": self.network.to_dict(), "x": self.x.tolist(), "y": self.y.tolist()}
        fields = {"fields": _described(dtype), "record_bytes": dtype.itemsize}
        content = {"format": FORMAT, **fields, **self._asdict(), **arrays}
        weights = content.pop("weights")
        return json.dumps(content if weights is None else {**content, "weights": weights.tolist()})

    @classmethod
    def from_json(cls, line: bytes) -> tuple[Self, RecordType]:
        """What `to_json` wrote: an `About` and the dtype of a record; a ValueError says what else it is."""
        header = _Header.checked(parsed(line))
        network = header.network.network()
        dtype = header.dtype(network)
        real = dtype["W0"].base
        x, y = (header.array(name, width, real) for name, width in (("x", network.sizes[0]), ("y", network.sizes[-1])))
        weights = None if header.weights is None else np.array(header.weights, real)
        if weights is not None and not (
            weights.shape == x.shape[:1] and (weights > 0).all() and weights.sum() < np.inf
        ):
            raise ValueError("weights are not positive numbers, one for each sample")
        rest = (header.every, header.numerics, header.metric, weights)
        return cls(network, header.configuration, header.samples, x, y, *rest), dtype


def record_dtype(network: Network, samples: int, columns: Sequence[str], dtype: npt.DTypeLike) -> RecordType:
    """A record: epoch, iteration, the history's columns, then each quantity of every layer."""
    real = np.dtype(dtype).newbyteorder("<").str
    fields: list[tuple[str, str, tuple[int, ...]]] = [
        ("epoch", "<i8", ()),
        ("iteration", "<i8", ()),
        *((name, "<f8", ()) for name in columns),
    ]
    for quantity in OF_SAMPLES + OF_PARAMETERS:
        for layer, (n_in, n_out) in enumerate(itertools.pairwise(network.sizes)):
            shape = {"W": (n_in, n_out), "b": (n_out,)}.get(quantity.removeprefix("d"), (samples, n_out))
            fields.append((f"{quantity}{layer}", real, shape))
    return np.dtype(fields)


class Trace:
    """The records of a binary trace, mapped from the file; ``trace["W0"]`` is W of the first layer in each of them.

    It has all of `About`, and `names`: epoch, iteration, loss and the rest of the history, z0, a0, delta0, W0, b0, dW0,
    …
    """

    features: Sequence[str] = ()
    """The names of the inputs, where somebody has told them."""

    def __init__(self, about: About, records: Records) -> None:
        self.about, self.records, self.names = about, records, records.dtype.names

    def __getattr__(self, name: str) -> Any:
        if name in About._fields:
            return getattr(self.about, name)
        raise AttributeError(name)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self.records[name]


def open_trace(path: Name) -> Trace:
    """The `Trace` in a run folder or file, as far as it is written: also while the run goes on, or after it was
    killed.
    """
    path = Path(path)
    file = path / FILE if path.is_dir() else path
    if file.name == FILE:
        refuse_ways_out(file.parent, FILE)
    refuse_endless(file)
    try:
        with file.open("rb") as opened:
            line = opened.readline(MOST_HEADER)
            about, dtype = About.from_json(line)
            count = (os.fstat(opened.fileno()).st_size - len(line)) // dtype.itemsize
            if count < 1:
                return Trace(about, np.empty(0, dtype))
            records = np.memmap(opened, dtype, "r", offset=len(line), shape=(count,))
            return Trace(about, records[: _rising(records["epoch"])])
    except FileNotFoundError:
        raise InvalidInput(f"{path}: no binary trace ({FILE}) there; train with {ask('--trace', 'binary')}") from None
    except OSError as error:
        raise InvalidInput(f"{file}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise InvalidInput(f"{file}: not a binary trace of ours, or its first line is damaged ({error})") from None


def _rising(epochs: npt.NDArray[np.int64]) -> int:
    """How many records there are without those at the end whose epoch is not above the one before: when the power
    fails, blocks of zeros may be left there.
    """
    count = len(epochs)
    while count > 1 and epochs[count - 1] <= epochs[count - 2]:
        count -= 1
    return count


def _described(dtype: RecordType) -> list[list[Any]]:
    """Name, type and shape of each field, as JSON has them."""
    return [[name, dtype[name].base.str, list(dtype[name].shape)] for name in dtype.names or ()]
