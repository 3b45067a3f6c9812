"""A table before its columns become numbers: columns of text, or of numbers where the file has types."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from backprop_ref.data import sheets
from backprop_ref.data.cells import PLAIN

IN_CACHE = 1 << 15
"""So many numbers stay in a core's cache."""


class Text(NamedTuple):
    """A column of texts: the distinct ones, trimmed, and which of them stands in each row."""

    codes: npt.NDArray[np.int32]
    values: list[str]

    def __len__(self) -> int:
        return len(self.codes)

    @classmethod
    def of(cls, texts: Sequence[str]) -> "Text":
        """From a text for each row."""
        number: dict[str, int] = {}
        codes = [number.setdefault(text.strip(), len(number)) for text in texts]
        return cls(np.array(codes, np.int32), list(number))

    def take(self, rows: Any) -> "Text":
        """Some rows, with the values that stand in them."""
        used, codes = np.unique(self.codes[rows], return_inverse=True)
        return Text(codes.astype(np.int32), [self.values[i] for i in used])

    def text(self, row: int) -> str:
        """The cell in a row."""
        return self.values[int(self.codes[row])]


@dataclass(frozen=True, eq=False)
class Numbers:
    """A column of numbers; NaN is missing. Dates are days since 1970."""

    numbers: npt.NDArray[np.float64]
    kind: str = "number"
    """number, boolean or date"""
    lines: npt.NDArray[np.float64] | None = None
    """The array that it is a line of, where all that were read at once are, and nobody else has them."""

    def __len__(self) -> int:
        return len(self.numbers)

    @cached_property
    def extremes(self) -> tuple[float, float]:
        """The least and the largest; NaN where there is none."""
        return self._looked[:2]

    @property
    def finite(self) -> bool:
        """Whether no number is infinite."""
        return not np.isinf(self.extremes).any()

    @property
    def full(self) -> bool:
        """Whether there is a number in every row."""
        return not self._looked[2]

    @cached_property
    def _looked(self) -> tuple[float, float, bool]:
        """The least, the largest, and whether there are gaps."""
        least, most, gaps = np.nan, np.nan, False
        for start in range(0, len(self.numbers), IN_CACHE):
            some = self.numbers[start : start + IN_CACHE]
            low, high = some.min(), some.max()
            if np.isnan(low):
                low, high, gaps = np.fmin.reduce(some), np.fmax.reduce(some), True
            least, most = np.fmin(least, low), np.fmax(most, high)
        return float(least), float(most), gaps

    def take(self, rows: Any) -> "Numbers":
        """Some rows."""
        return Numbers(self.numbers[rows], self.kind)

    def without(self, texts: Collection[str]) -> "Numbers":
        """Those that are none of these, which stand for a missing value."""
        gone = [
            float(text) for text in texts if PLAIN.fullmatch(text) or text.lstrip("+-").lower() in {"inf", "infinity"}
        ]
        return Numbers(np.where(np.isin(self.numbers, gone), np.nan, self.numbers), self.kind) if gone else self

    def text(self, row: int) -> str:
        """The cell in a row, as text."""
        return shown(float(self.numbers[row]), self.kind)


class Block:
    """Columns of `Numbers` in the making, side by side in one array, with room for so many rows."""

    def __init__(self, rows: int, places: Sequence[int]) -> None:
        self._numbers, self._places = np.empty((len(places), rows)), places

    def put(self, first: int, table: Any) -> None:
        """The rows of a table of Arrow's, from one on."""
        for line, place in zip(self._numbers, self._places, strict=True):
            at = first
            for chunk in table.column(place).chunks:
                line[at : at + len(chunk)] = chunk.to_numpy(zero_copy_only=False)
                at += len(chunk)

    def columns(self, rows: int) -> dict[int, Numbers]:
        """The columns, of so many rows, by their places."""
        return {
            place: Numbers(line[:rows], lines=self._numbers)
            for line, place in zip(self._numbers, self._places, strict=True)
        }


class Texts:
    """A `Text` in the making, from pyarrow's arrays of strings."""

    def __init__(self) -> None:
        self._parts: list[Any] = []

    @staticmethod
    def encoded(strings: Any) -> Any:
        """Trimmed texts by the numbers of the distinct ones."""
        import pyarrow.compute as pc

        return pc.utf8_trim_whitespace(strings).dictionary_encode()

    def add(self, encoded: Any) -> None:
        """The next rows."""
        self._parts += encoded.chunks if hasattr(encoded, "chunks") else [encoded]

    def done(self) -> Text:
        """The column."""
        import pyarrow as pa

        if not self._parts:
            return Text(np.zeros(0, np.int32), [])
        column = pa.chunked_array(self._parts).unify_dictionaries()
        codes = [chunk.indices.to_numpy() for chunk in column.chunks]
        return Text(np.concatenate(codes), column.chunk(0).dictionary.to_pylist())


class Raw(NamedTuple):
    """A table as it was read."""

    names: list[str] | None
    columns: list[Text | Numbers]
    rows: int
    where: Callable[[int], str]
    """What messages call a row, given its number from 0."""
    notes: list[str]
    """What was decided on the way, to be said."""
    rows_only: bool = False
    """Whether the file has nothing but rows, so that a header is found out."""
    delimiter: str = ""
    """What separates cells: a comma inside a number is no decimal one where commas do, a point may be where ; does."""
    categories: frozenset[str] = frozenset()
    """The columns that the source calls categories."""

    def without_blank_rows(self) -> "Raw":
        """Without rows in which there is nothing, as spreadsheets leave them at the end."""
        blank = np.ones(self.rows, bool)
        for column in self.columns:
            if isinstance(column, Numbers):
                blank &= np.isnan(column.numbers)
            else:
                blank &= (column.codes == column.values.index("")) if "" in column.values else False
            if not blank.any():
                return self
        return self._without(blank, f"{int(blank.sum())} of {self.rows} rows are left out, as they are empty")

    def without_repeated_names(self) -> "Raw":
        """Without rows that repeat all names of the columns, as files have them that were put together."""
        again = np.full(self.rows, self.names is not None and len(self.columns) > 1)
        for name, column in zip(self.names or (), self.columns, strict=bool(self.names)):
            if not again.any() or isinstance(column, Numbers) or name not in column.values:
                return self
            again &= column.codes == column.values.index(name)
        if not again.any():
            return self
        first, several = self.where(int(np.argmax(again))), ", and others like it," if again.sum() > 1 else ""
        return self._without(again, f"{first} repeats the header{several} and is left out")

    def _without(self, out: npt.NDArray[np.bool_], note: str) -> "Raw":
        kept, where = np.flatnonzero(~out), self.where
        return self._replace(
            columns=[column.take(kept) for column in self.columns],
            rows=len(kept),
            where=lambda row: where(int(kept[row])),
            notes=[*self.notes, note],
        )

    @property
    def line(self) -> str:
        """What a row is called."""
        return "line" if self.delimiter else "row"


def shown(value: float, kind: str = "number") -> str:
    """A number as text: 3 for 3.0; True or False for a boolean; nothing for NaN."""
    if kind == "boolean" and not np.isnan(value):
        return str(bool(value))
    if kind == "date" and not np.isnan(value):
        return str((np.datetime64("1970-01-01") + np.timedelta64(round(value * 86400), "s")).astype("M8[s]"))
    return sheets.text(value)


class Distinct(NamedTuple):
    """The different numbers of a column, rising; how often each comes; and which stands in each row."""

    values: npt.NDArray[Any]
    counts: npt.NDArray[np.int64]
    codes: npt.NDArray[np.int64]

    @classmethod
    def of(cls, numbers: npt.NDArray[Any]) -> "Distinct":
        """As `np.unique` has them; whole numbers that are close together are counted, not sorted."""
        low, high = (numbers.min(), numbers.max()) if len(numbers) else (0, np.inf)
        if not high - low < 1e6 or (numbers != np.floor(numbers)).any():
            values, codes, counts = np.unique(numbers, return_inverse=True, return_counts=True)
            return cls(values, counts, codes)
        steps = (numbers - low).astype(np.int64)
        counts = np.bincount(steps)
        used = np.flatnonzero(counts)
        return cls((used + low).astype(numbers.dtype), counts[used], (np.cumsum(counts > 0) - 1)[steps])
