"""The binary trace of a run: its layout, and its reader.

``trace.bin`` is one line of JSON, padded with blanks, and then records of one size, little-endian, without gaps; new
ones are appended while training goes on. The line names the fields of a record with dtype and shape, so that any
language reads it.
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from backprop_ref.errors import InvalidInput
from backprop_ref.network import Network

FILE, FORMAT, MOST_HEADER = "trace.bin", "backprop_ref-trace-1", 2**26
OF_SAMPLES, OF_PARAMETERS = ("z", "a", "delta"), ("W", "b", "dW", "db")


class About(NamedTuple):
    """What a trace is of."""

    network: Network
    configuration: str
    samples: list[int]
    x: np.ndarray
    y: np.ndarray
    every: int
    numerics: str
    metric: str

    def to_json(self, dtype):
        """One line with everything, and the fields of a record."""
        fields = [[name, *_described(dtype[name])] for name in dtype.names]
        arrays = {"network": self.network.to_dict(), "x": self.x.tolist(), "y": self.y.tolist()}
        about = {"format": FORMAT, "fields": fields, "record_bytes": dtype.itemsize, **self._asdict(), **arrays}
        return json.dumps(about)

    @classmethod
    def from_json(cls, line):
        """What `to_json` wrote: an `About` and the dtype of a record."""
        entries = json.loads(line)
        if entries.pop("format") != FORMAT:
            raise ValueError("another format")
        fields = [(name, kind, tuple(shape)) for name, kind, shape in entries.pop("fields")]
        dtype = np.dtype(fields)
        if entries.pop("record_bytes") != dtype.itemsize:
            raise ValueError("fields of another size")
        entries["network"] = Network(**entries["network"])
        for name in ("x", "y"):
            entries[name] = np.array(entries[name], dtype["W0"].base)
        return cls(**entries), dtype


def record_dtype(network, samples, columns, dtype):
    """A record: epoch, iteration, the history's columns, then each quantity of every layer."""
    real = np.dtype(dtype).newbyteorder("<").str
    fields = [("epoch", "<i8", ()), ("iteration", "<i8", ()), *((name, "<f8", ()) for name in columns)]
    for quantity in OF_SAMPLES + OF_PARAMETERS:
        for layer, (n_in, n_out) in enumerate(zip(network.sizes, network.sizes[1:], strict=False)):
            own = {"W": (n_in, n_out), "b": (n_out,)}.get(quantity.removeprefix("d"), (samples, n_out))
            fields.append((f"{quantity}{layer}", real, own))
    return np.dtype(fields)


class Trace:
    """The records of a binary trace, mapped from the file; ``trace["W0"]`` is W of the first layer in each of them.

    Attributes
    ----------
    network, configuration, samples, x, y, every, numerics, metric
        See `About`.
    names : tuple of str
        The fields: epoch, iteration, loss and the rest of the history, z0, a0, delta0, W0, b0, dW0, db0, z1, …
    """

    def __init__(self, about, records):
        self.about, self.records, self.names = about, records, records.dtype.names

    def __getattr__(self, name):
        if name in About._fields:
            return getattr(self.about, name)
        raise AttributeError(name)

    def __len__(self):
        return len(self.records)

    def __getitem__(self, name):
        return self.records[name]


def open_trace(path):
    """The `Trace` in a run folder or file, as far as it is written: also while the run goes on, or after it was killed.

    Raises
    ------
    InvalidInput
        There is none, or the file is something else.
    """
    path = Path(path)
    file = path / FILE if path.is_dir() else path
    try:
        with file.open("rb") as opened:
            line = opened.readline(MOST_HEADER)
        about, dtype = About.from_json(line)
    except FileNotFoundError:
        raise InvalidInput(f"{path}: no binary trace ({FILE}) there; train with --trace binary") from None
    except OSError as error:
        raise InvalidInput(f"{file}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(f"{file}: not a binary trace of ours, or its first line is damaged ({error})") from None
    whole = (file.stat().st_size - len(line)) // dtype.itemsize
    if whole < 1:
        return Trace(about, np.empty(0, dtype))
    return Trace(about, np.memmap(file, dtype, "r", offset=len(line), shape=(whole,)))


def _described(dtype):
    return dtype.base.str, list(dtype.shape)
