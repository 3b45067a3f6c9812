"""history.csv: a line for each epoch, appended while training goes on."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from backprop_ref.arrays import Vector
from backprop_ref.errors import InvalidInput
from backprop_ref.files import create, open_in_place, replace
from backprop_ref.training.state import State

HISTORY = "history.csv"
MANY = 20_000
"""Lines from which on Arrow is loaded for them."""


class Counted(NamedTuple):
    """The beginning of the file that counts: so many epochs, bytes, and their hash."""

    epochs: int
    bytes: int
    sha256: str


class Counts(NamedTuple):
    """The same while it grows; replaced by one assignment, which Ctrl-C comes before or after."""

    epochs: int = 0
    bytes: int = 0
    digest: Any = hashlib.sha256()


class HistoryFile:
    """The file of a run, which holds what the states that are written to it have in common and more.

    `there` says whether a file of this run's may be there already: it is replaced by the first write, and otherwise
    made by it, over nothing. Later writes append. A checkpoint says how much of the file counts.
    """

    def __init__(self, folder: Path, there: bool) -> None:
        self._path, self.there = folder / HISTORY, there
        self._counts = Counts()

    def write(self, state: State) -> Counted:
        """Sees that the file has the history of a state, on the disk; what of it counts then."""
        if state.epoch < self._counts.epochs or not self._append(state):
            self._begin(state)
        epochs, end, digest = self._counts
        return Counted(epochs, end, digest.hexdigest())

    def remove(self) -> None:
        """Removes the file of an earlier run."""
        if self.there:
            self._path.unlink(missing_ok=True)
        self._counts = Counts()

    def _begin(self, state: State) -> None:
        text = history_text(state.columns, state.epoch)
        try:
            (replace if self.there else create)(self._path, text)
            self.there = True
        except FileExistsError:
            raise
        except BaseException:  # Ctrl-C, after which the file may have its name already
            self.there = self.there or os.path.lexists(self._path)
            raise
        self._counts = Counts(state.epoch, len(text), hashlib.sha256(text))

    def _append(self, state: State) -> bool:
        """Writes behind what counts; gives whether there is such a file."""
        epochs, end, digest = self._counts
        if end == 0:
            return False
        if state.epoch == epochs:
            return True
        with contextlib.suppress(InvalidInput, FileNotFoundError), open_in_place(self._path, "r+b") as file:
            if os.fstat(file.fileno()).st_size < end:
                return False
            data = _lines(state.columns, epochs, state.epoch)
            file.seek(end)
            file.write(data)
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
            digest = digest.copy()
            digest.update(data)
            self._counts = Counts(state.epoch, end + len(data), digest)
            return True
        return False


def history_text(columns: Mapping[str, Sequence[float]], epoch: int) -> bytes:
    """The whole file after an epoch."""
    return ",".join(["epoch", *columns]).encode() + b"\n" + _lines(columns, 0, epoch)


def _lines(columns: Mapping[str, Sequence[float]], done: int, epoch: int) -> bytes:
    """The lines of the epochs after `done`, up to `epoch`: numbers as `repr` has them, without anything quoted."""
    rows = [column[done:epoch] for column in columns.values()]
    if epoch - done >= MANY:
        return _many_lines(np.arange(done + 1, epoch + 1), rows)
    texts = [map(str, range(done + 1, epoch + 1)), *(map(repr, row) for row in rows)]
    return "".join(f"{line}\n" for line in map(",".join, zip(*texts, strict=True))).encode()


def _many_lines(epochs: npt.NDArray[np.int64], rows: Sequence[Sequence[float]]) -> bytes:
    """The same by Arrow, in a fifth of the time: epochs of small networks take no longer than `repr` of their lines."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = [pa.array(epochs).cast(pa.string()), *(_texts(np.asarray(row)) for row in rows)]
    lines = pc.binary_join_element_wise(pc.binary_join_element_wise(*texts, ","), "", "\n")
    return bytes(lines.buffers()[2])[: pc.sum(pc.binary_length(lines)).as_py()]


def _texts(values: Vector) -> Any:
    """What `repr` gives for each number, as Arrow's strings."""
    import pyarrow as pa
    import pyarrow.compute as pc

    bits = values.view(np.int64)
    if len(np.unique(bits[::64])) <= len(bits[::64]) / 8:  # few numbers, again and again
        known, places = np.unique(bits, return_inverse=True)
        return pa.array([*map(repr, known.view(np.float64).tolist())], pa.string()).take(pa.array(places))
    texts = pa.array(values, from_pandas=False).cast(pa.string())
    with np.errstate(invalid="ignore"):  # NaN may be of the kind that signals
        size, whole = np.abs(values), values == np.rint(values)
    for where, as_repr in (  # where Arrow writes them otherwise
        ((size >= 1e-5) & (size < 1e-4), lambda of, _: _with_exponent(of, "0000")),
        ((size >= 1e-6) & (size < 1e-5), lambda of, _: _with_exponent(of, "00000")),
        ((size >= 1e-9) & (size < 1e-6), lambda of, _: pc.replace_substring(of, "e-", "e-0")),
        (whole | ~(size < 1e10), lambda _, of: pa.array([*map(repr, of.tolist())], pa.string())),
    ):
        if where.any():
            mask = pa.array(where)
            texts = pc.replace_with_mask(texts, mask, as_repr(texts.filter(mask), values[where]))
    return texts


def _with_exponent(texts: Any, zeros: str) -> Any:
    """Of 0.0000123, 1.23e-05."""
    import pyarrow.compute as pc

    moved = rf"\1\2.\3e-0{len(zeros) + 1}"
    return pc.replace_substring(pc.replace_substring_regex(texts, rf"^(-?)0\.{zeros}(.)(.*)$", moved), ".e", "e")
