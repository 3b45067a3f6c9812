"""Whether the first row of a table names its columns."""

from collections.abc import Sequence
from itertools import pairwise

from backprop_ref.data import cells
from backprop_ref.errors import InvalidInput

YEARS = range(1800, 2201)


def is_header(first: Sequence[str], body: Sequence[Sequence[str]], counted: bool = True) -> bool:
    """Whether `first` names the columns of which `body` holds the rows.

    It does if its numbers are 0, 1, 2, … (from 1 on, if there are many, or texts below one) or years, with no years
    below, or few and in even steps, and each text in it is found nowhere else in its column. A text above numbers,
    beside a number above numbers, is a cell that somebody has to mend. Unless `counted`, no number is a name. Below, a
    header may be repeated above numbers.
    """
    columns = _without_repeats(first, body)
    numbers = [cell for cell in first if _is_number(cell)]
    texts = [(cell, column) for cell, column in zip(first, columns, strict=True) if cell and not _is_number(cell)]
    if numbers and not (counted and _counts(numbers, first, columns)):
        return False
    if not texts:
        return bool(numbers) and _counts(numbers, first, columns)
    above = any(_is_value(column) for _, column in texts)
    if numbers and not above and len(numbers) < 3 and not _years(numbers):
        return False
    if any(_is_number(cell) or cells.date_forms([cell]) for cell, _ in texts):
        return False
    return all(cell not in column for cell, column in texts)


def _without_repeats(first: Sequence[str], body: Sequence[Sequence[str]]) -> list[Sequence[str]]:
    """The columns below the first row, without rows that repeat it, where it has texts above numbers."""
    others = [row for row in body if list(row) != list(first)]
    columns: list[Sequence[str]] = list(zip(*others, strict=True)) if others else [()] * len(first)
    named = any(not _is_number(cell) and _is_value(column) for cell, column in zip(first, columns, strict=True) if cell)
    if named or not body:
        return columns
    return list(zip(*body, strict=True))


def one_line(name: str) -> str:
    """A name that goes over several lines, in one; without characters at its ends that nobody sees."""
    name = name.strip("\u200b\u200e\u200f\u2060\ufeff ")
    return " ".join(name.split()) if "\n" in name or "\r" in name else name


MOST_COLUMNS = 100_000
"""Of a table, each of whose columns is looked at by itself."""


def check_width(where: object, n_columns: int) -> None:
    """Refuses tables of more columns than are looked at."""
    if n_columns > MOST_COLUMNS:
        raise InvalidInput(
            f"{where}: {n_columns:,} columns, and a table may have {MOST_COLUMNS:,}; leave some out, or give a folder "
            "with X.npy and y.npy"
        )


def check_names(where: object, names: Sequence[str] | None) -> None:
    """Refuses two columns of one name, and too many."""
    check_width(where, len(names or ()))
    seen = set[str]()
    for name in names or ():
        if name and name in seen:
            raise InvalidInput(f"{where}: two columns are named '{name}'; rename one")
        seen.add(name)


def _is_number(cell: str) -> bool:
    return cell not in cells.NOTHING and cells.readings([cell]).others == () and not any(c.isalpha() for c in cell)


def _is_value(column: Sequence[str]) -> bool:
    """Whether a column holds numbers or dates."""
    some = [cell for cell in column[:50] if not cells.is_missing(cell, frozenset(), True)]
    return bool(some) and (all(map(_is_number, some)) or bool(cells.date_forms(some)))


def _counts(numbers: Sequence[str], first: Sequence[str], columns: Sequence[Sequence[str]]) -> bool:
    """Whether the numbers in a row are names: they count from 0 or 1, or are years above other numbers."""
    if not all(cell.isascii() and cell.isdecimal() for cell in numbers):
        return False
    values = [int(cell) for cell in numbers]
    steps = {after - before for before, after in pairwise(values)}
    texts = any(
        cell in numbers and column and not any(map(_is_number, column))
        for cell, column in zip(first, columns, strict=True)
    )
    counted = steps <= {1} and (values[0] == 0 or (values[0] == 1 and (len(values) > 4 or texts)))
    if counted and (len(values) >= 3 or len(values) < len(first)):
        return not all(
            _same_as_counted(column, cell) for cell, column in zip(first, columns, strict=True) if cell in numbers
        )
    if 0 in steps or not _years(numbers):
        return False
    below = [cell for cell, column in zip(first, columns, strict=True) if cell in numbers for cell in column[:50]]
    years = sum(cell.isdecimal() and int(cell) in YEARS for cell in below)
    return not years or (len(steps) == 1 and 4 * years <= len(below))


def _years(numbers: Sequence[str]) -> bool:
    """Whether these are several years."""
    return len(numbers) > 1 and all(cell.isascii() and cell.isdecimal() and int(cell) in YEARS for cell in numbers)


def _same_as_counted(column: Sequence[str], cell: str) -> bool:
    """Whether a column holds nothing but the number above it, so that this may be one more row."""
    return bool(column) and set(column) == {cell}
