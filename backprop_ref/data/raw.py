"""A table before its columns become numbers: columns of text, or of numbers where the file has types."""

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from backprop_ref.data.cells import PLAIN


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


class Numbers(NamedTuple):
    """A column of numbers; NaN is missing. Dates are days since 1970."""

    numbers: npt.NDArray[np.float64]
    kind: str = "number"
    """number, boolean or date"""

    def __len__(self) -> int:
        return len(self.numbers)

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


class Growing:
    """`Numbers` in the making: room for about so many rows, and for more if it has to be."""

    def __init__(self, rows: int) -> None:
        self._room, self._rows = np.empty(rows), 0

    def add(self, numbers: npt.NDArray[np.float64]) -> None:
        """The next rows."""
        end = self._rows + len(numbers)
        if end > len(self._room):
            self._room.resize(end + end // 4, refcheck=False)
        self._room[self._rows : end] = numbers
        self._rows = end

    def done(self) -> Numbers:
        """The column."""
        return Numbers(self._room[: self._rows])


class Texts:
    """A `Text` in the making, from pyarrow's arrays of strings."""

    def __init__(self) -> None:
        self._parts: list[Any] = []

    def add(self, strings: Any) -> None:
        """The next rows."""
        import pyarrow.compute as pc

        self._parts.append(pc.utf8_trim_whitespace(strings).dictionary_encode())

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
    if np.isnan(value):
        return ""
    if kind == "boolean":
        return str(bool(value))
    if kind == "date":
        return str((np.datetime64("1970-01-01") + np.timedelta64(round(value * 86400), "s")).astype("M8[s]"))
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)


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
