"""CSV files: with or without header, classes as text or numbers; a bad cell is named by line and column."""

import csv
import io
import itertools
import math
from array import array
from pathlib import Path
from typing import NamedTuple

import numpy as np

from backprop_ref.data.dataset import Dataset
from backprop_ref.errors import InvalidInput
from backprop_ref.files import write_atomically


class Table(NamedTuple):
    """Columns of a CSV file: numbers, and one column of text if a label was asked for."""

    names: tuple[str, ...] | None
    features: np.ndarray
    label_name: str | None
    labels: list[str] | None
    lines: list[int]


def read_csv(path, label_column=None, task="classification", header=None):
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
        Whether the first line names the columns; default: if it holds text where numbers follow.

    Raises
    ------
    InvalidInput
        Anything that cannot be used, with file, line and column.
    """
    label = -1 if label_column is None else label_column
    if isinstance(label, str) and label.removeprefix("-").isdigit():
        label = int(label)
    table = read_table(path, label, header)
    names = table.names or tuple(f"x{column}" for column in range(table.features.shape[1]))
    if task == "regression":
        target = np.array([_number(path, *cell, table.label_name) for cell in zip(table.lines, table.labels, strict=True)])
        return Dataset(Path(path).stem, table.features, target, None, names, table.label_name)
    labels, classes = _numbered(table.labels)
    if len(classes) < 2:
        raise InvalidInput(f"{path}: only one class ('{classes[0]}') in column '{table.label_name}'; at least two are needed, or use --task regression")
    if len(classes) > max(20, len(labels) // 2):
        raise InvalidInput(
            f"{path}: {len(classes)} different values in column '{table.label_name}' for {len(labels)} rows; "
            "if they are quantities, use --task regression"
        )
    return Dataset(Path(path).stem, table.features, labels, tuple(classes), names, table.label_name)


def read_features(path, preprocessing, header=None):
    """A CSV file for a trained network: its features, and the truth where the file has it.

    Columns are found by name if file and network have names, else by position.

    Returns
    -------
    features : array of shape (rows, features)
    truth : array of shape (rows,), or None
        Class numbers or values.
    """
    wanted, target = preprocessing.feature_names, preprocessing.target_name
    width, names = _layout(path, header)
    named = names is not None and set(wanted) <= set(names)
    if names is not None and not named and width not in {len(wanted), len(wanted) + 1}:
        missing = sorted(set(wanted) - set(names))
        raise InvalidInput(f"{path}: no column '{missing[0]}'; the network was trained on {', '.join(wanted[:8])}{', …' if len(wanted) > 8 else ''}")
    if named:
        keep, label = set(wanted), target if target in names else None
    elif width in {len(wanted), len(wanted) + 1}:
        keep, label = None, None if width == len(wanted) else -1
    else:
        raise InvalidInput(f"{path}: {width} columns; the network was trained on {len(wanted)} features, so {len(wanted)} or {len(wanted) + 1} are needed")
    table = read_table(path, label, header, keep)
    features = table.features
    if named and table.names != wanted:
        features = features[:, [table.names.index(name) for name in wanted]]
    if table.labels is None:
        return features, None
    cells = zip(table.lines, table.labels, strict=True)
    if preprocessing.classes is None:
        return features, np.array([_number(path, line, cell, target) for line, cell in cells])
    number = {name: i for i, name in enumerate(preprocessing.classes)}
    truth = []
    for line, cell in cells:
        name = cell if cell in number else _canonical(cell)
        if name not in number:
            raise InvalidInput(f"{path}, line {line}: label '{cell}' is out of range; the network knows {', '.join(preprocessing.classes[:12])}")
        truth.append(number[name])
    return features, np.array(truth, dtype=np.int64)


def read_table(path, label, header=None, keep=None):
    """Features as numbers and the label column as text.

    Parameters
    ----------
    label : str, int or None
        Name or position of the label column; None: every column is a feature.
    keep : set of str, optional
        Names of the feature columns to read; default: all.
    """
    with _opened(path) as file:
        rows = _rows(path, file)
        first = next(rows, None)
        if first is None:
            raise InvalidInput(f"{path}: empty; a CSV file with one row per sample is needed")
        second = next(rows, None)
        names = _header(first, second, label, header)
        if names is not None and second is None:
            raise InvalidInput(f"{path}: only a header; at least one row of data is needed")
        at = _position(path, label, names, len(first[1]))
        chosen = [i for i in range(len(first[1])) if i != at and (keep is None or names[i] in keep)]
        if not chosen:
            raise InvalidInput(f"{path}: one column only; features and a label are needed")
        body = [second] if names is not None else [first] + ([second] if second else [])
        values, labels, lines = array("d"), [], []
        for line, cells in itertools.chain(body, rows):
            if len(cells) != len(first[1]):
                raise InvalidInput(f"{path}, line {line}: {len(cells)} cells, but line {first[0]} has {len(first[1])}; mend or remove that line")
            try:
                row = [float(cells[i]) for i in chosen]
            except ValueError:
                row = [math.nan]
            if not all(map(math.isfinite, row)):
                for i in chosen:
                    _number(path, line, cells[i], names[i] if names else i + 1)
            values.extend(row)
            if at is not None:
                if not cells[at].strip():
                    raise InvalidInput(f"{path}, line {line}, column {names[at] if names else at + 1}: no label; fill it in or remove that line")
                labels.append(cells[at].strip())
            lines.append(line)
    features = np.frombuffer(values, dtype=np.float64).reshape(len(lines), len(chosen))
    label_name = None if at is None else names[at] if names else "target"
    return Table(names and tuple(names[i] for i in chosen), features, label_name, labels if at is not None else None, lines)


def write_csv(path, names, rows):
    """A header and rows, written at once; numbers with as many digits as they need to be read back the same."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
    try:
        write_atomically(path, text.getvalue())
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be written ({error.strerror}); give a file in a folder that exists and that you may write to") from None


def _opened(path):
    try:
        return Path(path).open(newline="", encoding="utf-8-sig")
    except FileNotFoundError:
        raise InvalidInput(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read ({error.strerror})") from None


def _rows(path, file):
    """(line number, cells) of every line that is not blank."""
    try:
        start = file.readline()
        file.seek(0)
        reader = csv.reader(file, delimiter=max(",;\t", key=start.count), skipinitialspace=True)
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, cells
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from None
    except csv.Error as error:
        raise InvalidInput(f"{path}, line {reader.line_num}: not CSV ({error}); mend that line") from None


def _layout(path, header):
    """Number of columns, and their names if there is a header."""
    with _opened(path) as file:
        rows = _rows(path, file)
        first = next(rows, None)
        if first is None:
            raise InvalidInput(f"{path}: empty; a CSV file with one row per sample is needed")
        return len(first[1]), _header(first, next(rows, None), -1, header)


def _header(first, second, label, header):
    """The column names, if the first line holds names: text above a number, and not among other numbers."""
    cells = [cell.strip() for cell in first[1]]
    if header is None and not isinstance(label, str):
        at = None if label is None else label % len(cells)
        numeric = [_is_number(cell) for i, cell in enumerate(cells) if i != at]
        below = [_is_number(cell) for cell in second[1]] if second else [True] * len(cells)
        above = any(under and not _is_number(cell) for cell, under in zip(cells, below, strict=False))
        header = above and (all(numeric) or not any(numeric))
    return cells if header or (header is None and isinstance(label, str)) else None


def _position(path, label, names, width):
    if label is None:
        return None
    if isinstance(label, str):
        if label not in (names or ()):
            raise InvalidInput(f"{path}: no column '{label}'; its columns are {', '.join(names or ['unnamed'])}")
        return names.index(label)
    if not -width <= label < width:
        raise InvalidInput(f"{path}: label column {label} is out of range; there are {width} columns, 0 to {width - 1}")
    return label % width


def _is_number(cell):
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _number(path, line, cell, column):
    """A cell as a finite number."""
    try:
        value = float(cell)
    except ValueError:
        value = None
    if value is None or not math.isfinite(value):
        what = f"'{cell.strip()}' is not a finite number" if cell.strip() else "empty"
        raise InvalidInput(f"{path}, line {line}, column {column}: {what}; mend the cell or remove that line")
    return value


def _canonical(label):
    """A whole number written otherwise, such as 3.0, as '3'; anything else as it is."""
    if _is_number(label) and math.isfinite(float(label)) and float(label).is_integer():
        return str(int(float(label)))
    return label


def _numbered(labels):
    """Class numbers and class names, names sorted, as numbers where all are."""
    names = [_canonical(label) for label in labels]
    numeric = all(_is_number(name) for name in set(names))
    classes = sorted(set(names), key=float if numeric else None)
    number = {name: i for i, name in enumerate(classes)}
    return np.array([number[name] for name in names], dtype=np.int64), classes
