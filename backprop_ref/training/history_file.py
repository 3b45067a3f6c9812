"""history.csv: a line for each epoch, appended while training goes on."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from backprop_ref.errors import InvalidInput
from backprop_ref.files import create, open_in_place, replace
from backprop_ref.training.state import State

HISTORY = "history.csv"


class Counted(NamedTuple):
    """The beginning of the file that counts: so many epochs, bytes, and their hash."""

    epochs: int
    bytes: int
    sha256: str


class HistoryFile:
    """The file of a run, which holds what the states that are written to it have in common and more.

    `there` says whether a file of this run's may be there already: it is replaced by the first write, and otherwise
    made by it, over nothing. Later writes append. A checkpoint says how much of the file counts.
    """

    def __init__(self, folder: Path, there: bool) -> None:
        self._path, self.there = folder / HISTORY, there
        self._epochs, self._end, self._digest = 0, 0, hashlib.sha256()

    def write(self, state: State) -> Counted:
        """Sees that the file has the history of a state, on the disk; what of it counts then."""
        if state.epoch < self._epochs or not self._append(state):
            self._begin(state)
        return Counted(self._epochs, self._end, self._digest.hexdigest())

    def remove(self) -> None:
        """Removes the file of an earlier run."""
        if self.there:
            self._path.unlink(missing_ok=True)
        self._epochs = self._end = 0

    def _begin(self, state: State) -> None:
        text = ",".join(["epoch", *state.columns]) + "\n" + _lines(state.columns, 0, state.epoch)
        try:
            (replace if self.there else create)(self._path, text)
        except FileExistsError:
            raise
        except BaseException:  # Ctrl-C, after which the file may have its name already
            self.there = self.there or os.path.lexists(self._path)
            raise
        self.there = True
        self._epochs, self._end, self._digest = state.epoch, len(text), hashlib.sha256(text.encode())

    def _append(self, state: State) -> bool:
        """Writes behind what counts; gives whether there is such a file."""
        if self._end == 0:
            return False
        if state.epoch == self._epochs:
            return True
        with contextlib.suppress(InvalidInput, FileNotFoundError), open_in_place(self._path, "r+b") as file:
            if os.fstat(file.fileno()).st_size < self._end:
                return False
            data = _lines(state.columns, self._epochs, state.epoch).encode()
            file.seek(self._end)
            file.write(data)
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
            self._epochs, self._end = state.epoch, self._end + len(data)
            self._digest.update(data)
            return True
        return False


def _lines(columns: Mapping[str, Sequence[float]], done: int, epoch: int) -> str:
    """The lines of the epochs after `done`, up to `epoch`: numbers as `repr` has them, without anything quoted."""
    texts = [map(str, range(done + 1, epoch + 1)), *(_texts(column[done:epoch]) for column in columns.values())]
    return "".join(f"{line}\n" for line in map(",".join, zip(*texts, strict=True)))


def _texts(column: Sequence[float]) -> list[str]:
    """Each number's shortest text; that of a few numbers which come again and again is made once."""
    distinct = set(column)
    if len(distinct) > len(column) / 8 or 0.0 in distinct:  # which is equal to −0.0
        return [*map(repr, column)]
    known = {value: repr(value) for value in distinct}
    return [known[value] for value in column]
