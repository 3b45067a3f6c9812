"""What becomes of each column of a table: stated rules, found on the training file and applied to any other."""

import re
import unicodedata
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from backprop_ref import asking
from backprop_ref.asking import ask
from backprop_ref.data import cells
from backprop_ref.data.cells import Readings, Writing
from backprop_ref.data.raw import Numbers, Raw, Text, shown
from backprop_ref.errors import InvalidInput

KINDS = ("number", "boolean", "category", "hashed", "date", "id", "left out")
MISSING = ("error", "drop", "mean", "median", "most-frequent")
ORDERS = (cells.DAY_FIRST, cells.MONTH_FIRST, cells.YEAR_FIRST)
"""Of dates in numbers."""
MOST_CATEGORIES = 50
_LONG = re.compile(r"[+-]?\d{16,40}")
BUCKETS = 32
"""Features of a column that is hashed."""


@dataclass(frozen=True)
class Column:
    """A column of a table, and how its cells become features.

    Attributes
    ----------
    name : str
    kind : str
        number; boolean (0 or 1); category (one-hot); hashed (one-hot by a checksum, several texts may share a
        feature); date (days since 1970, a time of day in hours); id (kept beside predictions); or left out.
    decimal, groups, prefix, suffix : str
        How its numbers are written.
    values : tuple of str
        The categories; or the words for 0 and 1.
    form : str
        Of dates: day-first, month-first, year-first, iso, time, or as `strptime` has it.
    nothing : tuple of str
        What stands for a missing value besides the usual.
    why : str
        Why it is left out.
    """

    name: str
    kind: str
    decimal: str = "."
    groups: str = ""
    prefix: str = ""
    suffix: str = ""
    values: tuple[str, ...] = ()
    form: str = ""
    nothing: tuple[str, ...] = ()
    why: str = ""

    @property
    def features(self) -> list[str]:
        """The names of what becomes of it; none where it is no feature."""
        if self.kind == "category":
            return [f"{self.name}={value}" for value in self.values]
        if self.kind == "hashed":
            return [f"{self.name}#{bucket}" for bucket in range(BUCKETS)]
        return [] if self.kind in {"id", "left out"} else [self.name]

    def transform(self, raw: Text | Numbers) -> "Transformed":
        """Its features, NaN where the cell is missing, and what could not be read."""
        if isinstance(raw, Numbers) and self.nothing:
            raw = raw.without(self.nothing)
        if (
            isinstance(raw, Numbers)
            and raw.kind != "date"
            and self.kind == "number"
            and not np.isinf(raw.extremes).any()
        ):
            return Transformed(raw.numbers[:, None], {})
        if isinstance(raw, Numbers) and raw.kind != "date" and self.kind in {"number", "boolean"}:
            wrong = np.isinf(raw.numbers) if self.kind == "number" else ~np.isin(raw.numbers, [0.0, 1.0, np.nan])
            wrong &= ~np.isnan(raw.numbers)
            bad = {row: f"{raw.numbers[row]} is not a finite number" for row in np.flatnonzero(wrong).tolist()}
            return Transformed((np.where(wrong, np.nan, raw.numbers) if bad else raw.numbers)[:, None], bad)
        if isinstance(raw, Numbers) and raw.kind == self.kind == "date":
            return Transformed(raw.numbers[:, None], {})
        if isinstance(raw, Numbers):
            distinct, codes = np.unique(raw.numbers, return_inverse=True)
            raw = Text(codes.astype(np.int32), [shown(float(value), raw.kind) for value in distinct])
        table, bad_codes = self._table(raw.values)
        rows = np.flatnonzero(np.isin(raw.codes, list(bad_codes))).tolist() if bad_codes else []
        return Transformed(table[raw.codes], {row: bad_codes[int(raw.codes[row])] for row in rows})

    def _table(self, values: list[str]) -> tuple[npt.NDArray[np.float64], dict[int, str]]:
        """A row of features for each distinct cell, and what could not be read."""
        if self.kind in {"number", "boolean"}:
            found = _plain(values, self.nothing) if self.kind == "number" and self.writing == Writing() else None
            if found is not None:
                return found[:, None], {}
        width = len(self.features)
        table, bad = np.full((len(values), width), np.nan), {}
        also, among_numbers = frozenset(self.nothing), self.kind in {"number", "date", "boolean"}
        for code, value in enumerate(values):
            if cells.is_missing(value, also, among_numbers):
                continue
            feature = self._feature(value)
            if isinstance(feature, str):
                bad[code] = feature
            elif self.kind in {"category", "hashed"}:
                table[code] = 0.0
                table[code, int(feature)] = 1.0
            else:
                table[code] = feature
        return table, bad

    def _feature(self, value: str) -> float | str:
        """A cell's number, or the number of the feature that is 1; or what is wrong with it."""
        if self.kind == "number":
            number = cells.number(value, self.writing)
            return f"{value[:30]!r} is not a finite number" if number is None or not cells.finite(number) else number
        if self.kind == "boolean":
            truth = cells.truth(value, self.values)
            return f"{value[:30]!r} is neither {' nor '.join(self.values)}" if truth is None else float(truth)
        if self.kind == "date":
            days = cells.date(value, self.form)
            return f"{value[:30]!r} is no date of the form {self.form}" if days is None else days
        if self.kind == "hashed":
            return float(zlib.crc32(value.encode()) % BUCKETS)
        known = value if value in self.values else cells.label(value)
        if known not in self.values:
            return f"{value[:30]!r} is none of the values that the network knows ({listed(self.values)})"
        return float(self.values.index(known))

    @property
    def writing(self) -> Writing:
        """How its numbers are written."""
        return Writing(self.decimal, self.groups, self.prefix, self.suffix)

    def described(self) -> str:
        """The rule in words."""
        if self.kind == "number":
            marks = {(".", ","): "thousands by commas", (",", ""): "decimal comma", (",", "."): "decimal comma"}
            said = [marks.get((self.decimal, self.groups), ""), f"in {self.prefix or self.suffix}"]
            return ", ".join(["a number", *filter(None, said if self.prefix or self.suffix else said[:1])])
        if self.kind == "boolean":
            return f"{self.values[0]} 0, {self.values[1]} 1"
        if self.kind == "category":
            return f"one-hot: {listed(self.values)}"
        if self.kind == "hashed":
            return f"hashed to {BUCKETS} features"
        if self.kind == "date":
            unit = "hours" if self.form == cells.TIME else "days since 1970"
            return f"a date as {unit}" + (f", {self.form}" if self.form else "")
        return "kept in predictions" if self.kind == "id" else f"left out: {self.why}"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without what is as usual."""
        told = ((field, getattr(self, field.name)) for field in fields(self))
        return {field.name: value for field, value in told if value != field.default}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """What `to_dict` gave, from JSON."""
        made: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        return cls(**made)


class Transformed(NamedTuple):
    """Features of one column, and what is wrong in which row."""

    features: npt.NDArray[np.float64]
    bad: dict[int, str]


@dataclass(frozen=True)
class Asked:
    """What the user says about columns.

    Attributes
    ----------
    drop, ids : tuple of str
    kinds : dict of str to str
        What a column is, instead of what it looks like.
    missing : str
        One of `MISSING`.
    nothing : tuple of str
        More texts that stand for a missing value.
    decimal, dates : str or None
        '.' or ','; 'day-first', 'month-first' or 'year-first'.
    """

    drop: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    kinds: dict[str, str] | None = None
    missing: str = "error"
    nothing: tuple[str, ...] = ()
    decimal: str | None = None
    dates: str | None = None


ONE_VALUE = {"--missing", "--decimal", "--dates"}
"""Flags that are given a single value, the first that is asked for: each fills or drops rows without a label."""


class Problems:
    """What stands in the way, over all columns, so that one message names every flag."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.flags: dict[str, list[str]] = {}
        self.strange: dict[int, dict[str, str]] = {}

    def add(self, said: str, flag: str = "", *values: str) -> None:
        """One more, and the flag that helps."""
        self.said.append(said)
        if flag:
            listed_values = self.flags.setdefault(flag, [])
            if flag not in ONE_VALUE or not listed_values:
                listed_values += [value for value in values if value not in listed_values]

    def no_number(self, row: int, cell: str, name: str) -> None:
        """A cell of a row that is no number, where all others of its column are."""
        self.strange.setdefault(row, {})[name] = cell

    def raise_any(self, where: str, table: Raw) -> None:
        """All of them in one line, if there are any; of a row of which several cells are none, that it is no data."""
        for row, cells_ in self.strange.items():
            if len(cells_) > 1:
                named = ", ".join(f"{cell!r} in column {name}" for name, cell in list(cells_.items())[:3])
                header = f"; if it names the columns, say {asking.ask('--header')}" if table.names is None else ""
                header = "" if row else header
                raise InvalidInput(
                    f"{where}{table.where(row)}: no row of data ({named}); remove that {table.line}{header}"
                )
        if self.said:
            flags = asking.joined(self.flags)
            said = "; ".join(self.said[:6]) + (f"; and {len(self.said) - 6} more" if len(self.said) > 6 else "")
            raise InvalidInput(f"{where}{said}" + (f"; give {flags}" if flags else ""))


def decide(
    names: Sequence[str], raws: Sequence[Text | Numbers], looked: Sequence["Look"], asked: Asked, table: Raw
) -> tuple[list[Column], list[str], Problems]:
    """The rule of each of some columns of a table, what is to be said about them, and what stands in the way."""
    kinds = dict(asked.kinds or {})
    problems, notes = Problems(), []
    found = []
    for i, (name, raw, look) in enumerate(zip(names, raws, looked, strict=True)):
        kind = "left out" if name in asked.drop else "id" if name in asked.ids else kinds.get(name)
        if kind == "left out":
            found.append(Column(name, "left out", why="as asked"))
        elif kind == "id":
            found.append(Column(name, "id"))
        else:
            column = _decided(_Case(i, name, raw, look, kind, asked, table, problems))
            if look.n_missing and column.kind != "left out" and asked.missing == "error":
                cell = "" if isinstance(raw, Numbers) else raw.text(look.first_missing)
                what = f"{cell!r} stands for a missing value" if cell else "empty"
                count = f" ({look.n_missing} of {len(raw)} rows)" if look.n_missing > 1 else ""
                said = f"{table.where(look.first_missing)}, column {name}: {what}{count}; mend the cell or remove "
                problems.add(f"{said}that {table.line}", "--missing", "median")
            notes += alike(column)
            short = next((text for text in look.present if column.kind == "date" and cells.short_year(text)), None)
            if short is not None:
                years = f"{1900 + cells.PIVOT} to {1999 + cells.PIVOT}"
                notes.append(f"{name}: years of two digits, as in {short!r}, are {years}")
            if column.kind == "number" and kind is None:
                notes += doubtful(column, raw, look.present)
            if column.kind == "number" and kind is None and len(raw) >= 10 and _counts_rows(raw):
                notes.append(f"{name} counts the rows, and is learnt from (else: {ask('--id', name)})")
            elif column.kind == "number" and kind is None and _identifies(column, raw):
                notes.append(f"{name} differs from row to row, and is learnt from (else: {ask('--id', name)})")
            elif column.kind == "number" and kind is None and _CODED.search(name) and _are_whole(column, raw):
                notes.append(f"{name} is learnt from as a number (else: {ask('--as', f'{name}=category')})")
            if column.kind == "category" and kind is None and cells.are_codes(look.present):
                notes.append(f"{name}: {min(look.present)!r} is a code (else: {ask('--as', f'{name}=number')})")
            if column.kind == "left out" and column.why:
                notes.append(f"{name or 'the first column'} is left out: {column.why}")
            found.append(column)
    return found, notes, problems


def doubtful(column: Column, raw: Text | Numbers, present: Sequence[str]) -> list[str]:
    """What may be no quantities in a column of numbers: codes with zeros in front, and -999 for a missing value."""
    name, said = column.name, []
    zeros = next((value for value in present if re.match(r"0\d", value)), None)
    if zeros is not None:
        said.append(f"{name}: {zeros!r} is learnt from as a number (else: {ask('--as', f'{name}=category')})")
    some = present[:10_000]
    rounded = (
        r"|\d+\.[1-9]0" if any(re.fullmatch(r"\d+\.\d", value) for value in some) else ""
    )  # 1.10, as no 1.9 has it
    code = next((value for value in some if re.fullmatch(r"\d+[eE]\d+" + rounded, value)), None)
    if code is not None:
        told = f"{name}: {code!r} is learnt from as the number {cells.number(code, column.writing):g}"
        said.append(f"{told} (else: {ask('--as', f'{name}=category')})")
    as_it_is = isinstance(raw, Numbers) and not column.nothing and raw.finite
    found = raw if isinstance(raw, Numbers) and as_it_is else Numbers(column.transform(raw).features[:, 0])
    numbers = found.numbers
    if np.isnan(found.extremes).any():
        return said
    for extreme in sorted(set(found.extremes)):
        if extreme not in {-9.0, *SENTINELS} and (len(numbers) > MOST_LOOKED_AT or not extreme.is_integer()):
            continue
        alone = extreme in {-9.0, *SENTINELS} and extreme < 0.0 <= _next(extreme, numbers[:1000])
        if not alone and not _is_far(extreme, numbers[:1000]):  # from all others neither, then
            continue
        others = numbers[(numbers != extreme) & ~np.isnan(numbers)]
        count = int((numbers == extreme).sum())
        several = len(others) > 0 and (alone or extreme in SENTINELS or len(np.unique(others)) > 4)
        if several and count > 1 and (_is_far(extreme, others) or (alone and others.min() >= 0.0)):
            texts = [text for text in present if cells.number(text, column.writing) == extreme] or [f"{extreme:g}"]
            remedy = _as_nothing(texts, Asked())
            where = "far from all others" if _is_far(extreme, others) else "and no other is below 0"
            said.append(f"{name}: {count} cells are {texts[0]}, {where} (else: {remedy})")
    return said


def _next(least: float, numbers: npt.NDArray[np.float64]) -> float:
    """The least of some numbers but that one; 0 if there is none."""
    others = numbers[(numbers != least) & ~np.isnan(numbers)]
    return float(others.min()) if len(others) else 0.0


def _is_far(extreme: float, numbers: npt.NDArray[np.float64]) -> bool:
    """Whether all numbers that are another are further from it than twice their range."""
    others = numbers[(numbers != extreme) & ~np.isnan(numbers)]
    with np.errstate(over="ignore"):
        return not len(others) or bool(np.abs(others - extreme).min() > 2.0 * (others.max() - others.min()))


MOST_LOOKED_AT = 100_000
"""Rows up to which any whole number that is far from all others is spoken of."""
SENTINELS = {sign * float("9" * digits) for sign in (-1, 1) for digits in range(2, 6)}
"""Numbers that often stand for a missing value."""


def alike(column: Column) -> list[str]:
    """Categories that look the same but for large and small letters, to be said."""
    first: dict[str, str] = {}
    values = column.values if column.kind == "category" else ()
    twice = [(first.setdefault(_looks(value), value), value) for value in values]
    return [
        f"{column.name}: {ascii(a) if a.lower() != b.lower() else repr(a)} and "
        f"{ascii(b) if a.lower() != b.lower() else repr(b)} are two values"
        for a, b in twice
        if a != b
    ]


def _looks(text: str) -> str:
    """A text without what nobody sees: how accents are composed, characters of no width, large letters."""
    seen = (character for character in unicodedata.normalize("NFKC", text) if unicodedata.category(character) != "Cf")
    return "".join(seen).casefold()


class Look(NamedTuple):
    """What is in a column."""

    present: list[str]
    """Distinct texts that are not missing; of numbers, none."""
    counts: npt.NDArray[np.int64]
    readings: Readings | None
    numeric: float
    """Share of the rows with a value that hold a number."""
    n_missing: int
    first_missing: int
    distinct: int
    n_present: int

    @property
    def unlike(self) -> bool:
        """Whether nearly every row has a text of its own."""
        return self.distinct >= max(10, 0.9 * self.n_present)

    @classmethod
    def at(cls, raw: Text | Numbers, asked: Asked) -> Self:
        also = frozenset(asked.nothing)
        if isinstance(raw, Numbers):
            raw = raw.without(also)
            if raw.full and len(raw):
                distinct = 2 if raw.extremes[0] < raw.extremes[1] else 1
                return cls([], np.zeros(0, np.int64), None, 1.0, 0, 0, distinct, len(raw))
            nan = np.isnan(raw.numbers)
            numbers = raw.numbers[~nan] if nan.any() else raw.numbers
            distinct = 0 if not len(numbers) else 1 if (numbers == numbers[0]).all() else 2
            missing = int(nan.sum())
            first = int(np.argmax(nan)) if missing else 0
            return cls([], np.zeros(0, np.int64), None, 1.0, missing, first, distinct, len(numbers))
        counts = np.bincount(raw.codes, minlength=len(raw.values))
        for among_numbers in (True, False):
            gone = np.array([cells.is_missing(value, also, among_numbers) for value in raw.values], bool)
            present = [value for value, out in zip(raw.values, gone, strict=True) if not out]
            kept = counts[~gone]
            plain = _plain(present)
            certain = plain is not None and not _could_be_groups(present)
            pointed = any("." in value for value in present)
            read = Readings((Writing(),), (), pointed) if certain else cells.readings(present)
            others = set(read.others)
            total = int(kept.sum())
            bad = (
                sum(int(count) for value, count in zip(present, kept, strict=True) if value in others) if others else 0
            )
            numeric = 1.0 - bad / total if total else 0.0
            if numeric >= 0.5 or cells.date_forms(present):
                break
        rows_gone = gone[raw.codes]
        first = int(np.argmax(rows_gone)) if rows_gone.any() else 0
        return cls(present, kept, read, numeric, int(rows_gone.sum()), first, len(present), total)


def as_numbers(raw: Text) -> npt.NDArray[np.float64]:
    """The cells of a column that are numbers as most are written; NaN elsewhere."""
    writing = cells.readings(raw.values).writings[0]
    found = [cells.number(value, writing) for value in raw.values]
    return np.array([np.nan if number is None else number for number in found])[raw.codes]


def _plain(values: Sequence[str], also: Collection[str] = ()) -> npt.NDArray[np.float64] | None:
    """Numbers as Python writes them; NaN for nothing; None if there is anything else."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        texts = pa.array([None if value in cells.NOTHING or value in also else value for value in values], pa.string())
        numbers: npt.NDArray[np.float64] = pc.cast(texts, pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        return None
    return None if np.isinf(numbers).any() else numbers


def as_written(asked: Asked, looked: Sequence[Look]) -> Asked:
    """What the user says, and how numbers and dates are written as the columns of a file show that together."""
    return replace(asked, decimal=asked.decimal or _decimal(looked), dates=asked.dates or _order(looked))


def _decimal(looked: Sequence[Look]) -> str | None:
    """The decimal mark that columns show in which it can be only one; None if none does, or several do."""
    marks = set()
    for look in looked:
        if look.readings is not None and look.readings.marked and not look.readings.others:
            usable = {writing.decimal for writing in look.readings.writings}
            if _plain_marked(look) or len(usable) == 1:
                marks |= {"."} if _plain_marked(look) else usable
    return marks.pop() if len(marks) == 1 else None


def _order(looked: Sequence[Look]) -> str | None:
    """The order of dates in numbers that columns show in which it can be only one; None if none does, or several do."""
    found = [forms for look in looked if (forms := cells.date_forms(look.present)) and set(forms) <= set(ORDERS)]
    certain = {forms[0] for forms in found if len(forms) == 1}
    return certain.pop() if len(certain) == 1 and len(found) > 1 else None


def _could_be_groups(texts: Sequence[str]) -> bool:
    """Whether every point in these numbers could separate thousands."""
    pointed = [text for text in texts if "." in text]
    return bool(pointed) and all(map(cells.DOT_GROUPS.fullmatch, pointed))


def _plain_marked(look: Look) -> bool:
    """Whether its cells have a point that can only be a decimal one."""
    return any("." in cell and not cells.DOT_GROUPS.fullmatch(cell) for cell in look.present[:1000]) and (
        Writing() in [writing._replace(prefix="", suffix="") for writing in look.readings.writings]
        if look.readings
        else False
    )


class _Case(NamedTuple):
    """A column whose rule is to be found."""

    place: int
    name: str
    raw: Text | Numbers
    look: Look
    kind: str | None
    """What it is said to be."""
    asked: Asked
    table: Raw
    problems: Problems


def _decided(case: _Case) -> Column:
    """The rule of one column: the first that fits."""
    useless = _useless(case) if case.kind is None else None
    if useless is not None:
        return Column(case.name, "left out", why=useless)
    if isinstance(case.raw, Numbers):
        return _typed(case, case.raw)
    return _numeric(case, case.raw) or _dated(case, case.raw) or _worded(case)


def _useless(case: _Case) -> str | None:
    """Why nothing can be learnt from a column, if so."""
    raw, look = case.raw, case.look
    if look.n_present == 0:
        return "it is empty"
    unnamed = case.place == 0 and (not case.name or case.name.lower() in {"unnamed: 0", "index"})
    if unnamed and _is_index(raw, look):
        return "it counts or names the rows"
    if case.name.startswith("__index_level_"):
        return "it is the index of a table of pandas"
    if look.distinct == 1 and len(raw) > 1 and not look.n_missing:
        return f"it is always {raw.text(0)[:30]}"
    if look.numeric == 1.0 and any(_LONG.fullmatch(value) for value in look.present):
        return "numbers of 16 digits and more, such as identifiers, lose some of them"
    return None


def _typed(case: _Case, raw: Numbers) -> Column:
    """The rule of a column that came as numbers."""
    nothing = case.asked.nothing
    if case.kind in {"category", "hashed"}:
        numbers = raw.without(nothing).numbers
        values = tuple(shown(float(value), raw.kind) for value in np.unique(numbers[~np.isnan(numbers)]))
        return Column(case.name, case.kind, values=values if case.kind == "category" else (), nothing=nothing)
    return Column(case.name, raw.kind, values=("false", "true") if raw.kind == "boolean" else (), nothing=nothing)


def _numeric(case: _Case, raw: Text) -> Column | None:
    """The rule of a column of numbers, of days in digits, or of words for 0 and 1."""
    look, kind = case.look, case.kind
    words = cells.pair(look.present) or ()
    if kind in {None, "boolean"} and words:
        return Column(case.name, "boolean", values=words, nothing=case.asked.nothing)
    if kind is None and (dated := _dated_in_digits(case)):
        return dated
    if kind is None and cells.are_codes(look.present):
        return _coded(case)
    if (kind is None and look.numeric >= 0.5) or kind == "number":
        return _number(case, raw)
    return None


def _dated_in_digits(case: _Case) -> Column | None:
    """The rule of a column of days or months in digits alone."""
    look = case.look
    if look.distinct > 1 and all(map(cells.COMPACT.fullmatch, look.present)):
        return _dated_as(case, ("%Y%m%d",))
    if look.distinct > 3 and all(map(cells.MONTH.fullmatch, look.present)):
        return _dated_as(case, ("%Y%m",))
    forms = cells.compact_forms(look.present) if look.distinct > 2 else ()
    return _dated_as(case, forms) if forms else None


def _coded(case: _Case) -> Column:
    """The rule of a column of codes in digits, of which no sum means anything."""
    look, name = case.look, case.name
    if look.distinct <= MOST_CATEGORIES and not look.unlike:
        values = tuple(sorted(look.present, key=_in_order))
        return Column(name, "category", values=values, nothing=case.asked.nothing)
    said = f"column {name} holds codes such as {min(look.present)[:30]!r}"
    case.problems.add(f"{said} (or: {ask('--as', f'{name}=hashed')}, {ask('--as', f'{name}=number')})", "--drop", name)
    return Column(name, "left out")


def _as_nothing(texts: Collection[str], asked: Asked) -> str:
    """How to say that cells stand for a missing value, and what to do about those."""
    said = {"--missing-value": sorted(texts)} | ({"--missing": ["median"]} if asked.missing == "error" else {})
    return asking.joined(said)


def _dated(case: _Case, raw: Text) -> Column | None:
    """The rule of a column of dates."""
    look, name, problems = case.look, case.name, case.problems
    forms = cells.date_forms(look.present) if case.kind in {None, "date"} else ()
    strays = cells.nearly_dates(look.present) if case.kind is None and not forms else []
    if strays:
        strange = strays[0]
        row = int(np.argmax(raw.codes == raw.values.index(strange)))
        said = f"{case.table.where(row)}, column {name}: {strange[:30]!r} "
        if cells.date_forms([strange]):
            said += "is a date of another form than most others; bring them to one"
            problems.add(f"{said}, or {ask('--as', f'{name}=category')}, or {ask('--drop', name)}")
        else:
            said += f"is no date, as most others are; mend the cell or remove that {case.table.line}"
            problems.add(f"{said}, or say what it is: {_as_nothing(strays[:3], case.asked)}")
        return Column(name, "left out")
    if forms:
        return _dated_as(case, forms)
    if case.kind in {"date", "boolean"}:
        problems.add(f"column {name}: {look.present[0]!r} is no {case.kind} that is known")
        return Column(name, "left out")
    return None


def _dated_as(case: _Case, forms: tuple[str, ...]) -> Column:
    """The rule of a column of dates, of one form or of one that has to be said."""
    asked = cells.IN_DIGITS.get(case.asked.dates or "", "")
    known = next((form for form in (case.asked.dates, asked) if form in forms), None)
    orders = [next((order for order, form in cells.IN_DIGITS.items() if form == each), each) for each in forms]
    if known is None and len(forms) > 1:
        others = " or ".join(ask("--dates", order) for order in orders[1:])
        said = f"column {case.name}: {case.look.present[0]!r} is several dates (or: {others})"
        case.problems.add(said, "--dates", orders[0])
    return Column(case.name, "date", form=known or forms[0], nothing=case.asked.nothing)


def _worded(case: _Case) -> Column:
    """The rule of a column of texts."""
    look, name, nothing = case.look, case.name, case.asked.nothing
    if case.kind == "hashed":
        return Column(name, "hashed", nothing=nothing)
    unlike = case.kind is None and look.unlike
    if unlike and not _has_numbers(look):
        return Column(name, "left out", why=f"{look.distinct:,} different texts in {look.n_present:,} rows")
    units = cells.units(look.present) if case.kind is None else ()
    if units:
        said = f"column {name}: numbers with different units ({listed(units)}); bring them to one"
        case.problems.add(f"{said}, or {ask('--as', f'{name}=category')}")
        return Column(name, "left out")
    if unlike and look.distinct <= MOST_CATEGORIES:
        said = f"column {name}: {look.present[0][:30]!r} and the like are no numbers or dates that can be read; rewrite"
        case.problems.add(f"{said} them (or: {ask('--as', f'{name}=category')})", "--drop", name)
        return Column(name, "left out")
    if case.kind is None and look.distinct > MOST_CATEGORIES:
        said = f"column {name} is text with {look.distinct:,} different values"
        case.problems.add(f"{said} (or: {ask('--as', f'{name}=hashed')})", "--drop", name)
        return Column(name, "left out")
    return Column(name, "category", values=tuple(sorted(look.present, key=_in_order)), nothing=nothing)


def _has_numbers(look: Look) -> bool:
    """Whether many of its texts begin with a number, as measures with different units do."""
    begins = sum(value[0].isdigit() or value[0] in "$€£¥₹+-(" for value in look.present)
    return 2 * begins > look.distinct and any(not value.isalnum() for value in look.present)


def _number(case: _Case, raw: Text) -> Column:
    """The rule of a column of numbers: how they are written, or which cell is none."""
    look, name = case.look, case.name
    assert look.readings is not None, "of text"
    writing = _writing(case, look.readings)
    column = Column(name, "number", *writing, nothing=case.asked.nothing)
    bad = column.transform(raw).bad
    if bad:
        row = min(bad)
        cell, different = raw.text(row)[:30], {raw.text(each) for each in bad}
        for each in bad if len(bad) <= 3 else ():
            case.problems.no_number(each, raw.text(each)[:30], name)
        more = f" ({len(bad)} such cells)" if len(bad) > 1 else ""
        said = (
            f"{case.table.where(row)}, column {name}: {cell!r} is not a finite number{more}; mend the cell or remove "
        )
        said += f"that {case.table.line}"
        if len(different) <= 3 and "\0" not in cell:
            said += f", or say what it is: {_as_nothing(different, case.asked)}"
        if row == 0 and case.table.names is None:
            said += f"; if this {case.table.line} names the columns, say {ask('--header')}"
        few = look.distinct <= MOST_CATEGORIES
        case.problems.add(f"{said} or {ask('--as', f'{name}=category')}" if few else f"{said} or {ask('--drop', name)}")
    return column


def _writing(case: _Case, readings: Readings) -> Writing:
    """How the numbers of a column are written, by the rest of the file where it could be either."""
    writings, present = readings.writings, case.look.present
    decimal = case.asked.decimal
    usable = [writing for writing in writings if writing.decimal == decimal] or list(writings)
    if decimal is not None or not readings.marked or not _differ(present, writings):
        return usable[0]
    plain = Writing() == writings[0]._replace(prefix="", suffix="")
    if plain and case.table.delimiter != ";":  # 1.234, in a file that shows nothing to the contrary
        return writings[0]
    if case.table.delimiter == ",":  # "1,234" in quotes, where commas separate cells
        return next((writing for writing in writings if writing[:2] == (".", ",")), usable[0])
    example = next(value for value in present if "," in value or "." in value)
    mark = "." if plain else ","
    said = f"column {case.name}: {example!r} may have a decimal {'point' if plain else 'comma'} or separate thousands"
    case.problems.add(f"{said} (or: {ask('--decimal', ',' if plain else '.')})", "--decimal", mark)
    return usable[0]


def _differ(texts: Sequence[str], writings: Sequence[Writing]) -> bool:
    """Whether some cell is another number in another of these ways of writing."""
    for text in texts:
        if "." in text or "," in text:
            numbers = {cells.number(text, writing) for writing in writings}
            if len(numbers - {None}) > 1:
                return True
    return False


def _is_index(raw: Text | Numbers, look: Look) -> bool:
    """Whether a column counts rows, or names each differently."""
    return _counts_rows(raw) or (isinstance(raw, Text) and look.distinct == len(raw) and _plain(raw.values) is None)


def _counts_rows(raw: Text | Numbers) -> bool:
    """Whether a column is 0, 1, 2, … or 1, 2, 3, …"""
    if isinstance(raw, Text):
        distinct = _plain(raw.values)
        if distinct is None:
            return False
        numbers = distinct[raw.codes]
    else:
        numbers = raw.numbers
    if not len(numbers) or numbers[0] not in {0.0, 1.0} or numbers[-1] - numbers[0] != len(numbers) - 1:
        return False
    return bool((np.diff(numbers) == 1.0).all())


def _identifies(column: Column, raw: Text | Numbers) -> bool:
    """Whether a column is an identifier by its name, with another whole number in each row."""
    if len(raw) < 10 or _NAMED_ID.search(column.name) is None or not _are_whole(column, raw):
        return False
    return len(np.unique(column.transform(raw).features)) == len(raw)


_NAMED_ID = re.compile(r"(^|[^A-Za-z])(id|ID|Id)$|[a-z]I[dD]$")
_CODED = re.compile(
    r"(?i)(^|[^a-z])(zip|plz|post(al)?.?codes?|phone|telefon|mobile|isbn|ean|barcode|ssn|iban|account)($|[^a-z])|zip.?code"
)
"""Names of columns that hold codes, whatever their digits look like."""


def _are_whole(column: Column, raw: Text | Numbers) -> bool:
    numbers = column.transform(raw).features[:, 0]
    return bool((numbers == np.floor(numbers))[~np.isnan(numbers)].all())


def _in_order(text: str) -> tuple[int, float, str]:
    """Numbers by size, before texts."""
    return (0, float(text), text) if cells.PLAIN.fullmatch(text) else (1, 0.0, text)


def listed(names: Sequence[str], most: int = 12) -> str:
    """Names with commas between, and … where there are many."""
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
