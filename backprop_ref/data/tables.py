"""Tables to train on and to predict for: which column is what, said in the open, and rules kept for later files."""

import re
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from backprop_ref.asking import ask
from backprop_ref.data import cells, sources
from backprop_ref.data.cells import Writing
from backprop_ref.data.columns import (
    KINDS,
    MISSING,
    MOST_CATEGORIES,
    ORDERS,
    Asked,
    Column,
    Look,
    Problems,
    alike,
    as_numbers,
    as_written,
    decide,
    doubtful,
    listed,
)
from backprop_ref.data.dataset import Dataset, Target
from backprop_ref.data.preprocessing import Preprocessing
from backprop_ref.data.raw import Distinct, Numbers, Raw, Text, shown
from backprop_ref.errors import InvalidInput, check_is, unknown
from backprop_ref.files import Name, write_output
from backprop_ref.text import as_csv

TASKS = ("classification", "regression")
FEW_NUMBERS = 20
"""Up to so many different whole numbers in a target are classes."""
FEW_EACH = 10
"""From so many on, numbers most of which are of one row are quantities."""
MOST_CLASSES = 100
"""Up to so many different values may all be classes, though most of them are of one row."""


def read_csv(
    path: Name, label_column: str | int | None = None, task: str | None = None, header: bool | None = None
) -> Dataset:
    """`read_table` for a file, with the names that arguments had before.

    Parameters
    ----------
    path : path-like
    label_column : str or int, optional
        Name, or position from 0 (negative: from the end); default: the last.
    task : str, optional
        'classification' or 'regression'; default: by the looks of the label.
    header : bool, optional
        Whether the first line names the columns; default: by its looks.
    """
    return read_table(path, label_column, task=task, header=header)


def read_table(
    source: object,
    target: str | int | Sequence[str | int] | None = None,
    *,
    task: str | None = None,
    header: bool | None = None,
    drop: Sequence[str] = (),
    id: Sequence[str] = (),
    kinds: Mapping[str, str] | None = None,
    missing: str = "error",
    missing_values: Sequence[str | float] = (),
    decimal: str | None = None,
    dates: str | None = None,
    encoding: str | None = None,
    sheet: str | None = None,
    sample_weight: str | None = None,
) -> Dataset:
    """A table as a `Dataset`: of a file, or of pandas, Polars, pyarrow or NumPy.

    Parameters
    ----------
    source : path-like or table
        See `sources.read`.
    target : str, int, or several of them, optional
        Name or position of what is to be learnt; default: the last column. Several are quantities.
    task : str, optional
        'classification' or 'regression'. Default: classification for texts, for two values and for few whole numbers.
    header : bool, optional
        Whether the first row names the columns; default: by its looks.
    drop, id : sequence of str
        Columns that are left out; that are left out, and kept beside predictions.
    kinds : mapping of str to str, optional
        What columns are: number, boolean, category, hashed or date; default: by their looks.
    missing : str
        error; drop: rows without a value are left out; mean, median, most-frequent: of the training rows, and a
        feature that says where something was missing.
    missing_values : sequence of str or numbers
        Texts that stand for a missing value, besides the usual such as NA and ?.
    decimal, dates : str, optional
        '.' or ','; 'day-first', 'month-first' or 'year-first'; where cells leave it open.
    encoding : str, optional
    sheet : str, optional
        The sheet of a spreadsheet; default: the largest.
    sample_weight : str, optional
        The column that says what each row counts in the loss; it is no feature.

    Raises
    ------
    InvalidInput
        Anything that cannot be used, with file, line and column, and what to do about it.

    Examples
    --------
    >>> import backprop_ref as br
    >>> table = br.read_table({"size": [1.5, 2.0, 3.5], "colour": ["red", "blue", "red"], "kind": ["a", "b", "a"]})
    >>> table.feature_names, table.classes
    (('size', 'colour=blue', 'colour=red'), ('a', 'b'))
    """
    if not isinstance(kinds or {}, Mapping):
        raise InvalidInput(f"kinds={kinds!r}: a dict of columns is needed, such as kinds={{'zip': 'category'}}")
    if header is not None and not isinstance(header, bool):
        raise InvalidInput(f"header={header!r}: True or False is needed, or None for what it looks like")
    for name, value, known in (
        ("missing", missing, MISSING),
        *([("task", task, TASKS)] if task is not None else []),
        *(("kind", kind, KINDS[:5]) for kind in (kinds or {}).values()),
    ):
        if value not in known:
            raise unknown(name, value, known)
    for name, choice, allowed in (("decimal", decimal, (".", ",")), ("dates", dates, ORDERS)):
        if choice is not None and choice not in allowed:
            raise unknown(name, choice, allowed)
    where = str(source) if isinstance(source, str | Path) else "table"
    wanted = list(target) if isinstance(target, Sequence) and not isinstance(target, str) else [target]
    if not wanted or not all(one is None or isinstance(one, str | int | np.integer) for one in wanted):
        raise InvalidInput(f"target={target!r}: the name or position of a column is needed, or several")
    drop, id = _listed("drop", drop), _listed("id", id)
    check_is("sample_weight", sample_weight, (str, NoneType), "the name of a column")
    counted = () if sample_weight is None else (sample_weight,)
    known_names = {str(name) for name in wanted if name is not None and not _is_position(name)}
    known_names |= {*drop, *id, *counted}
    raw = sources.read(source, header, encoding, known_names, left_out=drop, sheet=sheet)
    nothing = tuple(shown(float(one)) if isinstance(one, int | float | np.number) else one for one in missing_values)
    asked = Asked(drop, id, dict(kinds or {}), missing, nothing, decimal, dates)
    return _dataset(where, raw, wanted, task, asked, sample_weight)


def _listed(argument: str, names: Sequence[str] | None) -> tuple[str, ...]:
    check_is(argument, names, (Iterable, NoneType), "a name of a column, or a list of them,")
    return (names,) if isinstance(names, str) else tuple(map(str, names or ()))


def _rejoined(given: Sequence[Any], names: Sequence[str]) -> list[Any]:
    """Names of columns, those put together again that were cut at a comma which is part of them."""
    found, rest = [], list(given)
    while rest:
        fits = (k for k in range(1, len(rest) + 1) if ", ".join(map(str, rest[:k])) in names)
        count = next(fits, 1)
        found.append(rest[0] if count == 1 else ", ".join(rest[:count]))
        rest = rest[count:]
    return found


def _is_position(name: object) -> bool:
    return str(name).removeprefix("-").isdecimal()


def _dataset(
    where: str,
    raw: Raw,
    wanted: Sequence[str | int | None],
    task: str | None,
    asked: Asked,
    sample_weight: str | None,
) -> Dataset:
    width = len(raw.columns)
    names = raw.names or [f"x{i}" for i in range(width)]
    raw = raw.without_blank_rows().without_repeated_names()
    raw.notes.extend(_check_rows(where, raw))
    _name_all(where, raw, names)
    wanted = _rejoined(wanted, names)
    counted = () if sample_weight is None else (sample_weight,)
    drop, ids = _rejoined(asked.drop, names), tuple(_rejoined(asked.ids, names))
    asked = replace(asked, drop=(*drop, *counted), ids=ids)
    targets = list(dict.fromkeys(_position(where, raw, -1 if one is None else one) for one in wanted))
    for name in (*asked.drop, *asked.ids, *(asked.kinds or {})):
        if name not in names:
            raise InvalidInput(f"{where}: {unknown('column', name, names)}")
        if name in [names[i] for i in targets] and name not in (asked.kinds or {}):
            raise InvalidInput(
                f"{where}: column {name} is the target and cannot be left out; name another by {ask('--target')}"
            )
    asked = replace(asked, kinds=_with_categories(where, raw, names, asked))
    kind = (asked.kinds or {}).get(names[targets[0]])
    task = task or (None if kind is None else "regression" if kind == "number" else "classification")
    places = [i for i in range(width) if i not in targets]
    if not places:
        raise InvalidInput(f"{where}: one column only; features and a target are needed")

    asked = as_written(asked, looked := [Look.at(column, asked) for column in raw.columns])
    columns, notes, problems = decide(
        [names[i] for i in places], [raw.columns[i] for i in places], [looked[i] for i in places], asked, raw
    )
    label_names = [
        names[i] if raw.names else ("target" if len(targets) == 1 else f"target{k}") for k, i in enumerate(targets)
    ]
    learnt = _targets(where, raw, [raw.columns[i] for i in targets], label_names, task, asked, problems, notes)
    problems.raise_any(f"{where}, ", raw)
    used = [(column, i) for column, i in zip(columns, places, strict=True) if column.features]
    if not used:
        said = "; ".join(notes) or "all columns are left out"
        texts = [f"{column.name}=hashed" for column in columns if column.why.endswith(("rows", "some of them"))]
        remedy = f"give {ask('--as', *texts)}" if texts else "leave out less, or add one that differs from row to row"
        raise InvalidInput(f"{where}: no column to learn from ({said}); {remedy}")
    keep = ~learnt.gone
    if asked.missing == "drop":
        for column, place in used:
            keep &= ~np.isnan(column.transform(raw.columns[place]).features).any(axis=1)
    left_out = int((~keep).sum())
    if left_out:
        notes.append(f"{left_out} of {raw.rows} rows are left out, as they lack a value")
    if not keep.any():
        raise InvalidInput(
            f"{where}: every row lacks a value; use {ask('--drop', 'COLUMN')}, or {ask('--missing', 'median')}"
        )
    weights = None if sample_weight is None else _weights(where, raw, names.index(sample_weight), sample_weight)[keep]
    x = _side_by_side(where, used, raw, None if keep.all() else keep)
    target = learnt.target if keep.all() else learnt.target[keep]
    if learnt.classes is not None:
        target, learnt = _classes_kept(target, learnt, where)
    decided = iter(columns)
    rules: list[Column] = [learnt.rules[targets.index(i)] if i in targets else next(decided) for i in range(width)]
    features = tuple(feature for column, _ in used for feature in column.features)
    dataset = Dataset(
        Path(where).name.split(".")[0] or "table",
        x,
        target,
        learnt.classes,
        features,
        ", ".join(label_names),
        tuple(rules),
        asked.missing,
        (),
        tuple(label_names),
        raw.names is not None,
        weights,
    )
    return dataset._replace_notes((*_decisions(dataset, raw, label_names, targets), *raw.notes, *notes))


def _name_all(where: str, raw: Raw, names: list[str]) -> None:
    """Names columns without a name in which there is nothing; refuses others, but for the first."""
    for i, (name, column) in enumerate(zip(names, raw.columns, strict=True)):
        if not name and i and isinstance(column, Text) and column.values == [""]:
            names[i] = f"column {i + 1}"
        elif not name and i:
            raise InvalidInput(f"{where}: column {i + 1} has no name; name it in the header")


def _weights(where: str, raw: Raw, place: int, name: str) -> npt.NDArray[np.float64]:
    """What each row counts."""
    column = raw.columns[place]
    found = column.numbers if isinstance(column, Numbers) else as_numbers(column)
    for row in np.flatnonzero(~((found >= 0.0) & np.isfinite(found))).tolist():
        raise InvalidInput(
            f"{where}, {raw.where(row)}, column {name}: {column.text(row)!r} is no weight; a number, 0 or more, is "
            "needed: mend the cell"
        )
    return np.asarray(found, np.float64)


def _with_categories(where: str, raw: Raw, names: Sequence[str], asked: Asked) -> dict[str, str]:
    """What columns are said to be, by the user or by the source."""
    kinds = dict(asked.kinds or {})
    for name in raw.categories - {*kinds, *asked.drop, *asked.ids}:
        column = raw.columns[names.index(name)]
        if isinstance(column, Text) and len(column.values) > MOST_CATEGORIES:
            said = f"column {name} is a category with {len(column.values)} values"
            remedy = f"give {ask('--as', f'{name}=hashed')}, or {ask('--drop', name)}"
            raise InvalidInput(f"{where}: {said}; {remedy}")
        kinds[name] = "category"
    return kinds


TOTAL = re.compile(r"(grand |sub)?total|sum|average|avg|mean|summe|gesamt|insgesamt|durchschnitt", re.IGNORECASE)


def _check_rows(where: str, raw: Raw) -> list[str]:
    """Refuses what is no row of data: a rule below the header; what says that it is a total of rows above, and is.

    A last row that says so, and is none that can be shown, is spoken of.
    """
    if not raw.rows:
        raise InvalidInput(f"{where}: nothing in any row; at least one row of data is needed")
    if raw.rows == 1:
        raise InvalidInput(f"{where}: one row of data; more are needed")
    cells_ = [column.text(0) for column in raw.columns]
    if any(cells_) and all(cell == "" or re.fullmatch(r"[-:=+ ]*[-=]{2,}[-:=+ ]*", cell) for cell in cells_):
        cell = next(filter(None, cells_))
        raise InvalidInput(f"{where}, {raw.where(0)}: no row of data ({cell!r}); remove that {raw.line}")
    _refuse_bare_total(where, raw)
    for labels in (column for column in raw.columns if isinstance(column, Text)):
        words = [i for i, text in enumerate(labels.values) if TOTAL.fullmatch(text.strip(" :"))]
        rows = np.flatnonzero(np.isin(labels.codes, words))[:20].tolist() if words else []
        for start, row in zip([0, *(row + 1 for row in rows)], rows, strict=False):
            found = [_adds_up(column, start, row) for column in raw.columns] if row - start > 1 else []
            if 2 * found.count(True) > found.count(True) + found.count(False) > 0:
                said = f"{labels.text(row)!r} of the rows above; remove that {raw.line}"
                raise InvalidInput(f"{where}, {raw.where(row)}: {said}" + (", and others like it" if rows[1:] else ""))
        if rows == [raw.rows - 1] and raw.rows > 3:
            return [
                f"{raw.where(rows[0])} is learnt from; if {labels.text(rows[0])!r} is a total, remove that {raw.line}"
            ]
    return []


def _refuse_bare_total(where: str, raw: Raw) -> None:
    """Refuses a last row without a label whose numbers are all the sums of those above."""
    end = raw.rows - 1
    last = [column.text(end) for column in raw.columns]
    if end < 3 or sum(map(bool, last)) < 2 or any(cell and cells.readings([cell]).others for cell in last):
        return
    for column, cell in zip(raw.columns, last, strict=True):
        numbers = column.numbers if isinstance(column, Numbers) else as_numbers(column) if cell else np.zeros(end + 1)
        if cell and not numbers[end] > np.fmax.reduce(numbers[:end]):
            return
        above = numbers[:end][np.isfinite(numbers[:end])]
        if cell and not (len(above) and np.isclose(above.sum(), numbers[end], rtol=1e-9)):
            return
    raise InvalidInput(f"{where}, {raw.where(end)}: the sums of the rows above; remove that {raw.line}")


def _adds_up(column: Text | Numbers, start: int, end: int) -> bool | None:
    """Whether a number is the sum or the mean of those above it, from a row on or from the first; None if it may be."""
    numbers = column.numbers if isinstance(column, Numbers) else as_numbers(column)
    if not np.isfinite(numbers[end]) or numbers[end] == 0.0 or (numbers == numbers[end]).all():
        return None
    above = [numbers[start:end], numbers[:end]]
    found = [total for some in above if np.isfinite(some).any() for total in (np.nansum(some), np.nanmean(some))]
    return bool(np.isclose(found, numbers[end], rtol=1e-4).any())


def _side_by_side(
    where: str, used: Sequence[tuple[Column, int]], raw: Raw, keep: npt.NDArray[np.bool_] | None
) -> npt.NDArray[np.float64]:
    """Features column by column, each column of the table let go once it is used.

    Columns that were read side by side, and are features as they are, stay where they are, but for closing up.
    """
    lines = _lines(used, raw) if keep is None else None
    rows, width = raw.rows if keep is None else int(keep.sum()), sum(len(column.features) for column, _ in used)
    x, at = np.empty((rows, width), order="F") if lines is None else lines[:width, :rows].T, 0
    for column, place in used:
        part, bad = column.transform(raw.columns[place])
        if bad:
            row = min(bad)
            raise InvalidInput(
                f"{where}, {raw.where(row)}, column {column.name}: {bad[row]}; mend the cell or drop the row"
            )
        raw.columns[place] = Text(np.zeros(0, np.int32), [])
        there = x[:, at : at + part.shape[1]]
        if lines is None or there.ctypes.data != part.ctypes.data:
            there[:] = part if keep is None else part[keep]
        at += part.shape[1]
    return x if x.size > 1 << 20 else np.ascontiguousarray(x)


def _lines(used: Sequence[tuple[Column, int]], raw: Raw) -> npt.NDArray[np.float64] | None:
    """The array that columns are lines of which are all features as they are, if there is such a one."""
    found: dict[int, npt.NDArray[np.float64]] = {}
    for rule, place in used:
        column = raw.columns[place]
        if not isinstance(column, Numbers) or column.lines is None or rule.kind != "number" or rule.nothing:
            return None
        found[id(column.lines)] = column.lines
    return next(iter(found.values())) if len(found) == 1 else None


def _position(where: str, raw: Raw, wanted: str | int) -> int:
    """The number of the column that is meant."""
    names, label, width = raw.names, str(wanted), len(raw.columns)
    if names and label in names:
        return names.index(label)
    if not _is_position(label):
        if names is None:
            raise InvalidInput(
                f"{where}: no column '{label}'; the first {raw.line} holds no names (else: {ask('--header')})"
            )
        raise InvalidInput(f"{where}: no column '{label}'; its columns are {listed(names)}")
    if not -width <= int(label) < width:
        named = "" if names else f"; if the first {raw.line} names the columns, say {ask('--header')}"
        raise InvalidInput(
            f"{where}: label column {label} is out of range; there are {width} columns, 0 to {width - 1}{named}"
        )
    return int(label) % width


class _Learnt(NamedTuple):
    """What is to be learnt."""

    target: Target
    classes: tuple[str, ...] | None
    gone: npt.NDArray[np.bool_]
    """Rows without it."""
    rules: list[Column]


def _targets(
    where: str,
    table: Raw,
    raws: Sequence[Text | Numbers],
    names: Sequence[str],
    task: str | None,
    asked: Asked,
    problems: Problems,
    notes: list[str],
) -> _Learnt:
    if len(raws) > 1:
        if task == "classification":
            raise InvalidInput(f"{where}: several targets are quantities, not classes; give one {ask('--target')}")
        several = [
            _quantities(raw, name, asked, table, problems, several=True) for raw, name in zip(raws, names, strict=True)
        ]
        target = np.stack([one.target for one in several], axis=1)
        return _Learnt(target, None, np.asarray(np.isnan(target).any(axis=1)), [one.rules[0] for one in several])
    raw, name = raws[0], names[0]
    if task is None and _is_dated(raw, asked):
        said = f"target {name} holds dates, neither classes nor quantities; name another by {ask('--target')}"
        raise InvalidInput(f"{where}: {said}, or say {ask('--task', 'classification')}")
    found = task or _task(raw, asked)
    if found == "regression":
        learnt = _quantities(raw, name, asked, table, problems)
        notes += doubtful(learnt.rules[0], raw, raw.values if isinstance(raw, Text) else ())
        return learnt
    return _labels(where, raw, name, task, asked, table, problems, notes)


def _present(raw: Text | Numbers, asked: Asked) -> tuple[list[str], npt.NDArray[np.bool_]]:
    """Distinct texts of a target that are values, and which rows have none."""
    assert isinstance(raw, Text)
    also = frozenset(asked.nothing)
    certain = [value for value in raw.values if not cells.is_missing(value, also, True)]
    numbers = bool(certain) and not cells.readings(certain[:10000]).others
    gone = np.array([cells.is_missing(value, also, numbers) for value in raw.values], bool)
    return [value for value, out in zip(raw.values, gone, strict=True) if not out], gone[raw.codes]


def _is_dated(raw: Text | Numbers, asked: Asked) -> bool:
    """Whether a target holds dates."""
    if isinstance(raw, Numbers):
        return raw.kind == "date"
    present, _ = _present(raw, asked)
    return len(present) > 1 and bool(cells.date_forms(present)) and not all(map(cells.PLAIN.fullmatch, present))


def _task(raw: Text | Numbers, asked: Asked) -> str:
    """Whether a target holds classes or quantities, by its looks."""
    if isinstance(raw, Numbers):
        known = raw.without(asked.nothing).numbers
        numbers = known[~np.isnan(known)] if raw.kind != "boolean" else None
    else:
        numbers = _if_numbers(raw, asked)
    if numbers is None:
        return "classification"
    if (numbers != np.floor(numbers)).any():
        return "regression"
    distinct, counts, _ = Distinct.of(numbers)
    return "classification" if are_classes(distinct, counts) else "regression"


def are_classes(distinct: npt.NDArray[np.float64], counts: npt.NDArray[np.int64]) -> bool:
    """Whether whole numbers, of which each is in so many rows, look like classes and not like quantities."""
    rows = int(counts.sum())
    counted = len(distinct) and distinct[0] in {0, 1} and distinct[-1] - distinct[0] == len(distinct) - 1
    if not counted and len(distinct) == rows > 2:  # each in one row
        return False
    even = len(counts) > 0 and counts.max() <= 3 * counts.min()
    most = MOST_CLASSES if counted and even else FEW_NUMBERS if 2 * len(distinct) <= rows else FEW_EACH
    return len(distinct) <= most


def _if_numbers(raw: Text, asked: Asked) -> npt.NDArray[np.float64] | None:
    """The numbers in a target of texts, if it is one of numbers; a fraction, if they are written as no class is."""
    present, _ = _present(raw, asked)
    some = present[:10000]
    read = cells.readings(some)
    numbers = {text: number for text in some if (number := cells.number(text, read.writings[0])) is not None}
    broken = any(number != np.floor(number) for number in numbers.values())
    odd = bool(read.others) and not (broken and 3 * len(read.others) <= len(some))
    if cells.pair(present) or 2 * len(read.others) > len(some) or (odd and len(present) <= FEW_NUMBERS):
        return None
    unit = read.writings[0].prefix + read.writings[0].suffix
    if not read.others and Writing() not in read.writings and (read.marked or not unit.isalpha()):  # no class is so
        return np.array([0.5])
    found: npt.NDArray[np.float64] = np.array([numbers.get(value, np.nan) for value in raw.values])[raw.codes]
    return np.asarray(found[~np.isnan(found)])


def _quantities(
    raw: Text | Numbers, name: str, asked: Asked, table: Raw, problems: Problems, several: bool = False
) -> _Learnt:
    kinds = {**(asked.kinds or {}), name: "number"}
    if isinstance(raw, Numbers):
        column = Column(name, "number", nothing=asked.nothing)
    else:
        present, gone = _present(raw, asked)
        if present and len(cells.readings(present).others) == len(present):
            remedy = f"name another by {ask('--target')}"
            remedy = remedy if several else f"use {ask('--task', 'classification')}, or {remedy}"
            problems.add(f"column {name} holds texts, no quantities; {remedy}")
            return _Learnt(np.zeros(len(raw)), None, gone, [Column(name, "number")])
        said = Asked(kinds=kinds, missing="median", nothing=asked.nothing, decimal=asked.decimal)
        decided, _, found = decide([name], [raw], [Look.at(raw, said)], said, table)
        column = decided[0]
        for problem in found.said:
            cell = re.sub(rf",? or ({ask('--as')}|{ask('--drop')})\b.*$", "", problem)
            gap = asked.missing == "error" and ask("--missing-value") in cell
            problems.add(f"{cell} with {ask('--missing', 'drop')}" if gap else cell)
        for flag, named in found.flags.items():
            problems.flags.setdefault(flag, []).extend(named)
        if found.said:
            column = Column(name, "number")
    features, bad = column.transform(raw)
    if bad and not problems.said:
        row = min(bad)
        problems.add(f"{table.where(row)}, column {name}: {bad[row]}; mend the cell or drop the row")
    values = features[:, 0].copy()
    gone = np.isnan(values)
    if asked.missing == "error" and gone.any() and not problems.said:
        problems.add(
            f"{table.where(int(np.argmax(gone)))}, column {name}: no label; fill it in or remove that {table.line}",
            "--missing",
            "drop",
        )
    return _Learnt(values, None, gone, [column])


def _labels(
    where: str,
    raw: Text | Numbers,
    name: str,
    task: str | None,
    asked: Asked,
    table: Raw,
    problems: Problems,
    notes: list[str],
) -> _Learnt:
    if isinstance(raw, Numbers):
        raw = raw.without(asked.nothing)
        distinct, _, codes = Distinct.of(raw.numbers)
        raw = Text(codes.astype(np.int32), [Numbers(distinct, raw.kind).text(i) for i in range(len(distinct))])
    present, gone = _present(raw, asked)
    for value in present:
        if value.lower().lstrip("+-") in {"inf", "infinity", "1e400"}:
            row = int(np.argmax(raw.codes == raw.values.index(value)))
            raise InvalidInput(
                f"{where}, {table.where(row)}, column {name}: '{value}' is no class; mend the cell or remove that "
                f"{table.line}"
            )
    if present and gone.any() and asked.missing == "error":
        row = int(np.argmax(gone))
        said = f"{table.where(row)}, column {name}: no label"
        if 2 * gone.sum() > len(gone):
            problems.add(f"{said}, as in most rows; name another column by {ask('--target')}")
        else:
            problems.add(f"{said}; fill it in or remove that {table.line}", "--missing", "drop")
        return _Learnt(np.zeros(len(raw), np.int64), ("", ""), gone, [Column(name, "category")])
    if not present:
        raise InvalidInput(f"{where}: no value at all in column '{name}'; name another by {ask('--target')}")
    canonical = {value: cells.label(value) for value in present}
    words = cells.pair(present)
    if words and len(present) > 2:  # Yes, yes and NO
        canonical = {value: words[cells.truth(value, words) or 0] for value in present}
    numeric = all(cells.PLAIN.fullmatch(value) for value in canonical.values())
    classes = tuple(sorted(set(canonical.values()), key=lambda value: (float(value) if numeric else 0.0, value)))
    rows = len(raw) - int(gone.sum())
    units = cells.units(classes) if task is None else ()
    if units:
        said = f"column '{name}' holds numbers with different units ({listed(units)}); bring them to one"
        raise InvalidInput(f"{where}: {said}, or say {ask('--task', 'classification')}")
    if len(classes) < 2:
        said = f"only one class ('{classes[0][:30]}') in column '{name}'; at least two are needed"
        raise InvalidInput(f"{where}: {said}; name another by {ask('--target')}")
    measures = 2 * len(cells.readings(classes).others) < len(classes)
    counted = task is not None or classes == tuple(str(i) for i in range(len(classes)))
    single = measures and not counted and len(classes) == rows > FEW_EACH
    if single or len(classes) > max(MOST_CLASSES, rows // 2):
        other = f"name another column by {ask('--target')}"
        quantities = f"if they are quantities, use {ask('--task', 'regression')}" if measures else other
        raise InvalidInput(f"{where}: {len(classes)} different values in column '{name}' for {rows} rows; {quantities}")
    notes.extend(alike(Column(name, "category", values=classes)))
    number = {value: i for i, value in enumerate(classes)}
    of_code = np.array([number[canonical[value]] if value in canonical else -1 for value in raw.values], np.int64)
    return _Learnt(of_code[raw.codes], classes, gone, [Column(name, "category", values=classes, nothing=asked.nothing)])


def _classes_kept(target: Target, learnt: _Learnt, where: str) -> tuple[Target, _Learnt]:
    """Without the classes of which no row is left."""
    used, _, codes = Distinct.of(target)
    classes = tuple((learnt.classes or ())[i] for i in used)
    if len(classes) < 2:
        raise InvalidInput(
            f"{where}: only one class is left of the rows that have every value; use {ask('--missing', 'median')}"
        )
    rule = learnt.rules[0]
    made = Column(rule.name, "category", values=classes, nothing=rule.nothing)
    return codes.astype(np.int64), learnt._replace(classes=classes, rules=[made])


def _decisions(dataset: Dataset, raw: Raw, names: Sequence[str], targets: Sequence[int]) -> list[str]:
    """What was taken for header, target, task and classes, and the flags that say otherwise."""
    header = ""
    if raw.rows_only:
        without = f"no header, so columns are x0, x1, … (else: {ask('--header')}); "
        header = without if raw.names is None else f"header read (else: {ask('--no-header')}); "
    place = f" (column {targets[0]})" if raw.names is None else ""
    if dataset.classes is None:
        other = f" (else: {ask('--task', 'classification')})" if len(names) == 1 else ""
        what = f"numbers: regression{other}"
    else:
        what = (
            f"{len(dataset.classes)} classes ({listed(dataset.classes, 6)}): classification "
            f"(else: {ask('--task', 'regression')})"
        )
    return [
        f"{header}target {', '.join(names)}{place} (else: {ask('--target', 'NAME')}), {what}; "
        f"{len(dataset.feature_names)} features"
    ]


# --- a table for a trained network ---


class Features(NamedTuple):
    """A table for a trained network.

    Attributes
    ----------
    x : array of shape (rows, features)
        NaN where a value is missing that the network can do without.
    truth : array of shape (rows,), or None
        Class numbers, -1 where there is none that the network knows; or values, NaN where there is none.
    bad : dict of int to str
        Rows for which nothing can be predicted, and why.
    ids : dict of str to list of str
        Columns to be kept.
    where : callable
        What messages call a row.
    told : list of str or None
        The truth as the file has it.
    """

    x: npt.NDArray[np.float64]
    truth: Target | None
    bad: dict[int, str]
    ids: dict[str, list[str]]
    where: Callable[[int], str]
    told: list[str] | None


def read_features(
    source: object,
    preprocessing: Preprocessing,
    header: bool | None = None,
    ids: Sequence[str] = (),
    encoding: str | None = None,
    sheet: str | None = None,
) -> Features:
    """A table for a trained network, by the rules of its training: its features, and the truth where the table has it.

    Columns are found by name if table and network have names, else by position.
    """
    where = str(source) if isinstance(source, str | Path) else "table"
    rules = preprocessing.rules or _old_rules(preprocessing)
    targets = preprocessing.target_names
    features = [rule for rule in rules if rule.features and rule.name not in targets]
    known = {rule.name for rule in features} if preprocessing.named else set()
    used = {rule.name for rule in rules if rule.kind != "left out"} | set(ids) | set(targets)
    left_out: Container[str] = _AllBut(used) if preprocessing.named else ()
    raw = sources.read(source, header, encoding, known, counted=False, left_out=left_out, sheet=sheet)
    if header is None and raw.names and not preprocessing.named and _fits(raw.names, rules, features, targets):
        raw = sources.read(source, False, encoding, counted=False, sheet=sheet)
    places = _places(where, raw, rules, features, targets, preprocessing)
    kept = {rule.name for rule in rules if rule.kind == "id"} | set(ids)
    for name in ids:
        if name not in (raw.names or ()):
            raise InvalidInput(f"{where}: {unknown('column', name, raw.names or ())}")
    names = raw.names or [rule.name for rule in rules]
    bad: dict[int, str] = {}
    parts: list[npt.NDArray[np.float64]] = []
    for rule in features:
        made = rule.transform(raw.columns[places[rule.name]])
        first = sum(part.shape[1] for part in parts)
        parts.append(made.features)
        for row, why in made.bad.items():
            bad.setdefault(row, f"column {rule.name}: {why}")
        if first not in preprocessing.indicators:  # training saw no gap there, so the network cannot tell
            for row in np.flatnonzero(np.isnan(made.features[:, 0])).tolist():
                bad.setdefault(row, f"column {rule.name}: empty")
    x = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
    found = [raw.columns[places[name]] for name in targets if name in places]
    truth = _truth(found, rules, targets, preprocessing) if len(found) == len(targets) else None
    told = [found[0].text(row) for row in range(raw.rows)] if truth is not None and len(found) == 1 else None
    columns = {
        name: raw.columns[names.index(name)] for name in names if name in kept and names.index(name) < len(raw.columns)
    }
    texts = {name: [column.text(row) for row in range(raw.rows)] for name, column in columns.items()}
    return Features(x, truth, dict(sorted(bad.items())), texts, raw.where, told)


class _AllBut(Container[str]):
    """All names but some."""

    def __init__(self, used: Collection[str]) -> None:
        self._used = used

    def __contains__(self, name: object) -> bool:
        return name not in self._used


def _fits(cells_: Sequence[str], rules: Sequence[Column], features: Sequence[Column], targets: Sequence[str]) -> bool:
    """Whether what looks like a header is a row that a network without names of columns can use."""
    without = [rule for rule in rules if rule.name not in targets]
    order = next((order for order in (rules, without, features) if len(order) == len(cells_)), ())
    pairs = [(rule, cell) for rule, cell in zip(order, cells_, strict=False) if rule.features]
    return bool(pairs) and not any(rule.transform(Text.of([cell])).bad for rule, cell in pairs)


def _old_rules(preprocessing: Preprocessing) -> tuple[Column, ...]:
    """Of a network that was saved before there were rules: every feature is a number."""
    rules = [Column(name, "number") for name in preprocessing.feature_names]
    kind = "number" if preprocessing.classes is None else "category"
    target = Column(preprocessing.target_name, kind, values=preprocessing.classes or ())
    # where the label stood in a file without names: at the gap in x0, x1, …, else last
    gap = next((i for i, rule in enumerate(rules) if rule.name != f"x{i}"), len(rules))
    at = gap if all(re.fullmatch(r"x\d+", rule.name) for rule in rules) else len(rules)
    return (*rules[:at], target, *rules[at:])


def _places(
    where: str,
    raw: Raw,
    rules: Sequence[Column],
    features: Sequence[Column],
    targets: Sequence[str],
    preprocessing: Preprocessing,
) -> dict[str, int]:
    """The number of each column that is needed, by name."""
    width, trained_on = len(raw.columns), [rule.name for rule in features]
    if raw.names is not None:
        missing = [name for name in trained_on if name not in raw.names]
        if not missing:
            return {name: raw.names.index(name) for name in (*trained_on, *targets) if name in raw.names}
        if preprocessing.named or len(missing) < len(trained_on):
            also = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            raise InvalidInput(
                f"{where}: no column '{missing[0]}'{also}; the network was trained on {listed(trained_on)}"
            )
    without = [rule for rule in rules if rule.name not in targets]
    for order in (rules, without, features):
        if width == len(order):
            return {rule.name: i for i, rule in enumerate(order) if rule.features or rule.name in targets}
    needed = " or ".join(str(n) for n in sorted({len(features), len(without), len(rules)}))
    raise InvalidInput(
        f"{where}: {width} columns; the network was trained on {len(features)} features; {needed} are needed"
    )


def _truth(
    found: Sequence[Text | Numbers], rules: Sequence[Column], targets: Sequence[str], preprocessing: Preprocessing
) -> Target:
    by_name = {rule.name: rule for rule in rules}
    if preprocessing.classes is None:
        columns = [by_name[name].transform(raw).features[:, 0] for name, raw in zip(targets, found, strict=True)]
        return columns[0] if len(columns) == 1 else np.stack(columns, axis=1)
    raw, number = found[0], {name: i for i, name in enumerate(preprocessing.classes)}
    words = cells.pair(preprocessing.classes) if len(preprocessing.classes) == 2 else None
    places = {words.index(name.lower()): i for name, i in number.items()} if words else {}

    def class_of(text: str) -> int:
        other = places.get(cells.truth(text, words), -1) if words else -1  # type: ignore[arg-type]
        return number.get(text, number.get(cells.label(text), other))

    return np.array([class_of(raw.text(row)) for row in range(len(raw))], np.int64)


def not_done(table: Features) -> str:
    """Which rows nothing is predicted for, and why."""
    told = [f"{table.where(row)}, {why}" for row, why in list(table.bad.items())[:5]]
    more = f"; and {len(table.bad) - 5} more" if len(table.bad) > 5 else ""
    return f"no prediction for {len(table.bad)} of {len(table.x)} rows: {'; '.join(told)}{more}; mend these cells"


def read_known(
    source: object,
    preprocessing: Preprocessing,
    header: bool | None = None,
    encoding: str | None = None,
    sheet: str | None = None,
) -> Dataset:
    """The rows of a table, for a trained network, that have the truth and can be predicted; its notes say of others.

    Raises
    ------
    InvalidInput
        The table has no column with the truth, or a class in it that the network does not know.
    """
    table = read_features(source, preprocessing, header, encoding=encoding, sheet=sheet)
    if table.truth is None:
        raise InvalidInput(f"{source}: no column '{preprocessing.target_name}' with the truth; use predict")
    unknown = np.isnan(table.truth) if preprocessing.classes is None else table.truth == -1
    unknown = unknown.any(axis=1) if unknown.ndim == 2 else unknown
    told, classes = table.told or [], preprocessing.classes or ()
    for row in np.flatnonzero(unknown).tolist() if told and classes else ():
        if told[row] not in cells.NOTHING:
            raise InvalidInput(
                f"{source}, {table.where(row)}: label {told[row][:30]!r} is out of range; "
                f"the network knows {listed(classes)}"
            )
    keep = np.asarray(~unknown)
    keep[list(table.bad)] = False
    if not keep.any():
        why = not_done(table) if table.bad else "no row has the truth"
        raise InvalidInput(f"{source}: {why}")
    why = "; ".join(f"{table.where(row)}, {reason}" for row, reason in list(table.bad.items())[:3])
    said = f"{source}: {int((~keep).sum())} of {len(keep)} rows are left out ({why or 'no truth'})"
    return Dataset(
        Path(str(source)).name.split(".")[0],
        table.x[keep],
        table.truth[keep],
        preprocessing.classes,
        preprocessing.feature_names,
        preprocessing.target_name,
        preprocessing.rules or None,
        preprocessing.missing,
        () if keep.all() else (said,),
        preprocessing.target_names,
        preprocessing.named,
    )


def write_csv(path: Name, names: Iterable[object], rows: Iterable[Iterable[object]], flag: str = "") -> None:
    """A header and rows in a new file; numbers with as many digits as it takes to read them back.

    `flag` is what messages call the file.
    """
    remedy = "give a new file in a folder that exists and that you may write to"
    write_output(flag, path, as_csv([names, *rows]), remedy)
