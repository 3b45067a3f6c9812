"""CSV files: with or without header, classes as text or numbers; a bad cell is named by line and column."""

import csv
import itertools
import math
import re
import reprlib
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from backprop_ref.data.dataset import Dataset, Target
from backprop_ref.data.preprocessing import Preprocessing
from backprop_ref.errors import InvalidInput
from backprop_ref.files import Name, write_output
from backprop_ref.text import as_csv


class Table(NamedTuple):
    """Chosen columns of a CSV file: the features as numbers, and the label, if there is one, as text."""

    names: tuple[str, ...]
    features: npt.NDArray[np.float64]
    label_name: str | None
    labels: list[str]
    lines: list[int]


Choose: TypeAlias = Callable[[list[str] | None, int], tuple[int | None, list[int]]]
"""``(names or None, number of columns) -> position of the label or None, positions of the features``"""


def read_csv(
    path: Name, label_column: str | int | None = None, task: str = "classification", header: bool | None = None
) -> Dataset:
    """A CSV file as a `Dataset`.

    Parameters
    ----------
    path : path-like
        UTF-8; separated by commas, semicolons or tabs, whichever the first line has most of.
    label_column : str or int, optional
        Name, or position from 0 (negative: from the end); default: the last.
    task : str
        'classification' or 'regression'.
    header : bool, optional
        Whether the first line names the columns; default: if it holds text where numbers have to be.

    Raises
    ------
    InvalidInput
        Anything that cannot be used, with file, line and column.
    """
    label = "-1" if label_column is None else str(label_column)
    at = int(label) if label.removeprefix("-").isdecimal() else None

    def choose(names: list[str] | None, width: int) -> tuple[int, list[int]]:
        if names and label in names:
            position = names.index(label)
        elif at is None:
            listed = f"its columns are {_listed(names)}" if names else "line 1 holds no names (see --header)"
            raise InvalidInput(f"{path}: no column '{label}'; {listed}")
        elif not -width <= at < width:
            raise InvalidInput(
                f"{path}: label column {at} is out of range; there are {width} columns, 0 to {width - 1}"
            )
        else:
            position = at % width
        return position, [i for i in range(width) if i != position]

    hint = ", or choose another label with --label-column"
    table = read_table(path, choose, header, {label} if at is None else (), -1 if at is None else at, hint)
    assert table.label_name is not None, "`choose` chooses one"
    cells = list(zip(table.lines, table.labels, strict=True))
    target: Target
    classes: tuple[str, ...] | None = None
    if task == "regression":
        target = np.array([_number(path, *cell, table.label_name) for cell in cells])
    else:
        target, classes = _numbered(path, cells, table.label_name)
    return Dataset(Path(path).stem, table.features, target, classes, table.names, table.label_name)


def read_features(
    path: Name, preprocessing: Preprocessing, header: bool | None = None
) -> tuple[npt.NDArray[np.float64], Target | None]:
    """A CSV file for a trained network: its features, and the truth where the file has it.

    Columns are found by name if file and network have names, else by position.

    Returns
    -------
    features : array of shape (rows, features)
    truth : array of shape (rows,), or None
        Class numbers or values.
    """
    wanted, target = preprocessing.feature_names, preprocessing.target_name
    n = len(wanted)
    positions = [f"x{i}" for i in range(n + 1) if f"x{i}" in wanted]

    def choose(names: list[str] | None, width: int) -> tuple[int | None, list[int]]:
        missing = [name for name in wanted if name not in (names or wanted)]
        if names and not missing:
            return names.index(target) if target in names else None, [names.index(name) for name in wanted]
        if missing and (len(positions) < n or len(missing) < n):
            raise InvalidInput(f"{path}: no column '{missing[0]}'; the network was trained on {_listed(wanted)}")
        if width not in {n, n + 1}:
            raise InvalidInput(
                f"{path}: {width} columns; the network was trained on {n} features; {n} or {n + 1} are needed"
            )
        # where the label stood in the training file: at the gap in x0, x1, …, else last
        at = next((i for i, name in enumerate(positions) if name != f"x{i}"), n) if width > n else None
        return at, [i for i in range(width) if i != at]

    table = read_table(path, choose, header, known=set(wanted))
    if table.label_name is None:
        return table.features, None
    cells = zip(table.lines, table.labels, strict=True)
    if preprocessing.classes is None:
        return table.features, np.array([_number(path, *cell, target) for cell in cells])
    number = {name: i for i, name in enumerate(preprocessing.classes)}
    truth = []
    for line, cell in cells:
        name = cell if cell in number else _whole(cell)
        if name not in number:
            raise InvalidInput(
                f"{path}, line {line}: label {reprlib.repr(cell)} is out of range; "
                f"the network knows {_listed(preprocessing.classes)}"
            )
        truth.append(number[name])
    return table.features, np.array(truth, dtype=np.int64)


def read_table(
    path: Name,
    choose: Choose,
    header: bool | None = None,
    known: Collection[str] = (),
    label: int = -1,
    hint: str = "",
) -> Table:
    """The chosen columns of a CSV file, as a `Table`.

    Parameters
    ----------
    choose : `Choose`
    header : bool, optional
        As in `read_csv`.
    known : collection of str
        Names that a header would have.
    label : int
        Position of a column that may hold text.
    hint : str
        What else to do about text among the features.
    """
    rows = _rows(path)
    first_line, first = next(rows, (0, None))
    if first is None:
        raise InvalidInput(f"{path}: empty; a CSV file with one row per sample is needed")
    second = next(rows, None)
    names = _header(first, second[1] if second else None, header, known, label)
    if names and second is None:
        raise InvalidInput(f"{path}: only a header; at least one row of data is needed")
    if names:
        _check_names(path, first_line, names)
    width = len(first)
    at, chosen = choose(names, width)
    if not chosen:
        raise InvalidInput(f"{path}: one column only; features and a label are needed, separated by , or ; or tab")
    titles = names or [f"x{i}" for i in range(width)]
    body = ([] if names else [(first_line, first)]) + ([second] if second else [])
    values, labels = array("d"), []
    lines: list[int] = []
    for line, cells in itertools.chain(body, rows):
        if len(cells) != width:
            raise InvalidInput(
                f"{path}, line {line}: {len(cells)} cells, but line {first_line} has {width}; mend or remove that line"
            )
        if at is not None:
            labels.append(cells[at].strip())
            if not labels[-1]:
                column = names[at] if names else at + 1
                raise InvalidInput(f"{path}, line {line}, column {column}: no label; fill it in or remove that line")
        try:
            row = [float(cells[i]) for i in chosen]
        except ValueError:
            row = [math.nan]
        if not all(map(math.isfinite, row)):
            if not lines and not names:
                hint += "; if this line names the columns, say --header"
            for i in chosen:
                _number(path, line, cells[i], names[i] if names else i + 1, hint)
        values.extend(row)
        lines.append(line)
    features = np.frombuffer(values, dtype=np.float64).reshape(len(lines), len(chosen))
    label_name = None if at is None else names[at] if names else "target"
    return Table(tuple(titles[i] for i in chosen), features, label_name, labels, lines)


def write_csv(path: Name, names: Iterable[object], rows: Iterable[Iterable[object]], flag: str = "") -> None:
    """A header and rows in a new file; numbers with as many digits as it takes to read them back.

    `flag` is what messages call the file.
    """
    remedy = "give a new file in a folder that exists and that you may write to"
    write_output(flag, path, as_csv([names, *rows]), remedy)


def _rows(path: Name) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of every line that is not blank."""
    end = 0
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            head = []
            for text in file:
                head.append(text)
                if text.strip():
                    break
            delimiter = max(",;\t", key="".join(head).count)
            lines = itertools.chain(head, file)
            reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
            for cells in reader:
                line, end = end + 1, reader.line_num
                if any(cell.strip() for cell in cells):
                    yield line, cells
    except FileNotFoundError:
        raise InvalidInput(f"{path}: no such file; check the path") from None
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path}: not UTF-8 text ({error.reason}); save it as UTF-8") from None
    except csv.Error as error:
        raise InvalidInput(f"{path}, line {end + 1}: not CSV ({error}); mend that line") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidInput(f"{path}: cannot be read ({reason}); give a CSV file that you may read") from None


def _header(
    first: list[str], second: list[str] | None, header: bool | None, known: Collection[str], label: int
) -> list[str] | None:
    """The column names, if the first line holds names, as told or by its looks.

    Features are numbers, so a line without any number among them is a header. A line of numbers is one only
    if its label is text, and the label beneath a number.
    """
    cells = [cell.strip() for cell in first]
    if header is None and known:
        header = set(known) <= set(cells) or None
    if header is None:
        label %= len(cells)
        numeric = [_is_number(cell) for i, cell in enumerate(cells) if i != label]
        beneath = second[label] if second and label < len(second) else ""
        header = not any(numeric) or (all(numeric) and not _is_number(cells[label]) and _is_number(beneath))
    return cells if header else None


def _check_names(path: Name, line: int, names: list[str]) -> None:
    for i, name in enumerate(names):
        if name in names[:i]:
            raise InvalidInput(f"{path}, line {line}: two columns are named '{name}'; rename one")
    if not names[-1]:
        raise InvalidInput(f"{path}, line {line}: the last column has no name; name it, or end no line with a comma")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _number(path: Name, line: int, cell: str, column: str | int | None, hint: str = "") -> float:
    """A cell as a finite number."""
    value: float | None
    try:
        value = float(cell)
    except ValueError:
        value = None
    if value is None or not math.isfinite(value):
        what = f"{reprlib.repr(cell.strip())} is not a finite number" if cell.strip() else "empty"
        also = hint if value is None and cell.strip() else ""
        raise InvalidInput(f"{path}, line {line}, column {column}: {what}; mend the cell or remove that line{also}")
    return value


def _whole(label: str) -> str:
    """'3.0' as '3'; anything else as it is."""
    return re.sub(r"^([+-]?\d+)\.0*$", r"\1", label)


def _numbered(
    path: Name, cells: Sequence[tuple[int, str]], column: str | None
) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    """Class numbers and class names, from (line, label); names sorted, as numbers where all are."""
    for line, label in cells:
        if _is_number(label) and not math.isfinite(float(label)):
            raise InvalidInput(
                f"{path}, line {line}, column {column}: '{label}' is no class; mend the cell or remove that line"
            )
    names = [_whole(label) for _, label in cells]
    numeric = all(map(_is_number, set(names)))
    classes = tuple(sorted(set(names), key=lambda name: (float(name) if numeric else 0.0, name)))
    if len(classes) < 2:
        raise InvalidInput(
            f"{path}: only one class ({reprlib.repr(classes[0])}) in column '{column}'; "
            "at least two are needed, or use --task regression"
        )
    if len(classes) > max(20, len(names) // 2):
        raise InvalidInput(
            f"{path}: {len(classes)} different values in column '{column}' for {len(names)} rows; "
            "if they are quantities, use --task regression"
        )
    number = {name: i for i, name in enumerate(classes)}
    return np.array([number[name] for name in names], dtype=np.int64), classes


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
