"""The files of a data folder: X.npy with y.npy, Arrow IPC files, or Parquet files of one schema, as blocks of rows."""

from __future__ import annotations

import contextlib
import sys
import threading
import tokenize
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from backprop_ref.arrays import memory
from backprop_ref.asking import ask
from backprop_ref.data import cells
from backprop_ref.data.raw import shown
from backprop_ref.data.sources import STREAM, STREAMED
from backprop_ref.errors import InvalidInput, unknown

BLOCK_ROWS = 2**16
"""Rows of a block, where nothing else is said, and no row groups of Parquet say it."""
MOST_FEATURES = 10**6
"""Of each its statistics and its rule are kept."""
LONGEST_LABEL = 1000
ARROW, PARQUET = (".arrow", ".feather", ".ipc"), (".parquet", ".pq")
KINDS = "X.npy and y.npy, Arrow files (.arrow, .feather), or Parquet files"
FEATURES = npt.NDArray[np.float64]
MOST_WHOLE = 2**53
"""Larger whole numbers are none of float64 each."""
NO_LABEL = "no label; fill it in, or remove that row"


class Block(NamedTuple):
    """Rows `start` to `stop` of a part of a file: a row group, a record batch, or all of it."""

    file: int
    group: int
    start: int
    stop: int

    @property
    def rows(self) -> int:
        return self.stop - self.start


class Labels(NamedTuple):
    """What stands in the column of classes: the distinct texts, and which of them stands in each row."""

    codes: npt.NDArray[np.int64]
    texts: list[str]


class Files(ABC):
    """The files of a folder, in the order of their names.

    Attributes
    ----------
    paths : list of Path
    empty : list of Path
        Those without rows.
    features, targets : names of columns, without what is left out
    others : names of columns that are left out
    columns : names of columns that may be left out, of which the features are made
    unread : names of what else lies in the folder
    named : whether the files name them
    """

    paths: list[Path]
    empty: list[Path]
    features: list[str]
    targets: list[str]
    others: list[str]
    columns: list[str]
    unread: list[str]
    named = True

    def __init__(self, paths: Sequence[Path]) -> None:
        self._as_found = {path: _stamp(path) for path in paths}

    @property
    @abstractmethod
    def groups(self) -> list[tuple[int, int, int]]:
        """File, number and rows of all that can be read by itself."""

    @property
    def usual_rows(self) -> int:
        """The rows of a block, where nobody says how many."""
        return BLOCK_ROWS

    def read(self, block: Block) -> tuple[FEATURES, Any]:
        """The features of a block, (rows, features), and its targets, as `numbers` and `labels` take them.

        Raises
        ------
        InvalidInput
            A file cannot be read, or is another one than when the folder was opened.
        """
        self._unchanged(block)  # what is mapped into memory and no longer there would end the process
        found = self._read(block)
        self._unchanged(block)
        return found

    @abstractmethod
    def _read(self, block: Block) -> tuple[FEATURES, Any]:
        """As `read`."""

    def _unchanged(self, block: Block) -> None:
        for path in self._of(block):
            if _stamp(path) != self._as_found[path]:
                raise InvalidInput(f"{path}: has changed while it was read; train again")

    def _of(self, block: Block) -> Sequence[Path]:
        """The files that a block is in."""
        return self.paths[block.file : block.file + 1]

    @abstractmethod
    def numbers(self, targets: Any) -> FEATURES:
        """Targets as numbers, (rows, targets); NaN where there is none."""

    @abstractmethod
    def labels(self, targets: Any) -> Labels:
        """Targets as texts."""

    @property
    @abstractmethod
    def of_texts(self) -> bool:
        """Whether targets are texts, or true and false, and so classes."""

    def held(self, rows: int) -> int:
        """The rows that are in memory at once where blocks have so many."""
        return min(rows, max(there for _, _, there in self.groups))

    def blocks(self, rows: int) -> list[Block]:
        """All rows, cut into blocks of so many, and anew where a file or a part of one begins.

        Raises
        ------
        InvalidInput
            One is larger than this machine's memory.
        """
        held, columns = self.held(rows), len(self.features) + len(self.targets)
        needed, there = 2 * 8 * held * columns, memory()  # as it is read, and as it is normalised
        if there and needed > there:
            way = f"give fewer by {ask('--block-rows')}" if held <= rows else "write it again in smaller row groups"
            raise InvalidInput(
                f"{self.paths[0].parent}: {held:,} rows of {columns:,} columns at once need {needed / 2**30:,.0f} GiB, "
                f"and there are {there / 2**30:,.0f}; {way}"
            )
        return [
            Block(file, group, start, min(start + rows, there))
            for file, group, there in self.groups
            for start in range(0, there, rows)
        ]

    def where(self, block: Block, row: int, *, target: bool = False) -> str:
        """File and row, from 0, of a row of a block, for messages; the file may be another for the target."""
        before = sum(there for file, group, there in self.groups if file == block.file and group < block.group)
        return f"{self.paths[block.file]}, row {before + block.start + row}"

    def _labelled(self, labels: Labels, block: Block, name: str) -> Labels:
        """The labels of a block; refuses texts that stand for none, as of tables."""
        nothing = [i for i, text in enumerate(labels.texts) if cells.is_missing(text, frozenset(), among_numbers=False)]
        if nothing and (missing := np.isin(labels.codes, nothing)).any():
            raise InvalidInput(f"{self.where(block, int(missing.argmax()), target=True)}, column {name}: {NO_LABEL}")
        return labels


def open_folder(folder: Path, target: Sequence[str] | None, left_out: Sequence[str]) -> Files:
    """The data of a folder; the target is its last column, if none is named.

    Raises
    ------
    InvalidInput
        No data in it, of several kinds, of several schemas, or columns that it has not.
    """
    inside = sorted(path for path in folder.iterdir() if not path.name.startswith(("_", ".")))
    there = [path for path in inside if path.is_file()]
    arrays = [path for path in there if path.name.lower() in {"x.npy", "y.npy"}]
    kinds: dict[str, list[Path]] = {
        "X.npy": arrays,
        "Arrow": [path for path in there if path.suffix.lower() in ARROW],
        "Parquet": [path for path in there if path.suffix.lower() in PARQUET],
    }
    found = {name: paths for name, paths in kinds.items() if paths}
    if not found:
        raise InvalidInput(f"{folder}: no data in this folder{_instead(folder, inside)}")
    if len(found) > 1:
        raise InvalidInput(f"{folder}: files of several kinds ({', '.join(found)}); keep one in this folder")
    ((kind, paths),) = found.items()
    opened: Files
    if kind == "X.npy":
        opened = Arrays(folder, paths, target, left_out)
    else:
        opened = (ArrowFiles if kind == "Arrow" else ParquetFiles)(folder, paths, target, left_out)
    opened.unread = [path.name + "/" * path.is_dir() for path in inside if path not in paths]
    return opened


def _stamp(path: Path) -> tuple[int, ...] | None:
    """What is another one when a file is written anew; None where there is none."""
    try:
        there = path.stat()
    except OSError:
        return None
    return there.st_dev, there.st_ino, there.st_size, there.st_mtime_ns


def _check_features(where: Path, count: int) -> None:
    if count > MOST_FEATURES:
        raise InvalidInput(f"{where}: {count:,} features; {MOST_FEATURES:,} are the most that can be had of a folder")


def some(names: Sequence[str]) -> str:
    """The first of some names, and how many there are besides."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")


def _instead(folder: Path, inside: Sequence[Path]) -> str:
    """What there is in a folder without data, and what to do."""
    ends = {*ARROW, *PARQUET}
    below = (path for each in ("*/*", "*/*/*", "*/*/*/*") for path in folder.glob(each))
    deeper = next((path for path in below if path.suffix.lower() in ends or path.name.lower() == "x.npy"), None)
    if deeper is not None:
        return (
            f", but in folders inside it, which are not looked into; give one of them, such as {deeper.parent}, or "
            f"move the data files into {folder} itself"
        )
    said = f", but {some([path.name + '/' * path.is_dir() for path in inside])}" if inside else ""
    return f"{said}; {KINDS} are needed"


class Arrays(Files):
    """X.npy and y.npy, which lie in the file and are copied a block at a time."""

    named = False

    def __init__(self, folder: Path, paths: list[Path], target: Sequence[str] | None, left_out: Sequence[str]) -> None:
        paths = sorted(paths, key=lambda path: path.name.lower())
        if [path.name.lower() for path in paths] != ["x.npy", "y.npy"]:
            raise InvalidInput(
                f"{folder}: {', '.join(path.name for path in paths)}; one X.npy and one y.npy are needed"
            )
        if target or left_out:
            flag = "--target" if target else "--drop"
            raise InvalidInput(f"{ask(flag)}: X.npy and y.npy have no names of columns; leave it out")
        super().__init__(paths)
        self.paths, self.y_path, self.both, self.empty = [paths[0]], paths[1], paths, []
        self.x, self.y = map(_array, paths)
        if self.x.ndim < 2 or not self.x.size or self.x.dtype.kind not in "biuf":
            raise InvalidInput(
                f"{paths[0]}: {_shortly(self.x.dtype)} of shape {self.x.shape}; numbers of shape (rows, features) are "
                "needed"
            )
        if not self.y.size or not self.y.ndim or self.y.dtype.kind not in "biufUS":
            raise InvalidInput(
                f"{paths[1]}: {_shortly(self.y.dtype)} of shape {self.y.shape}; for each row a number, a text, or "
                "numbers are needed"
            )
        if len(self.y) != len(self.x):
            raise InvalidInput(f"{folder}: X has {len(self.x)} rows and y has {len(self.y)}; as many are needed")
        self.x, self.y = self.x.reshape(len(self.x), -1), self.y.reshape(len(self.y), -1)
        for path, array in zip(paths, (self.x, self.y), strict=True):
            _check_features(path, array.shape[1])
        head = self.y[:BLOCK_ROWS]
        self.one_hot = head.shape[1] > 1 and _are_one_hot(head)
        width = 1 if self.one_hot else self.y.shape[1]
        self.features = [f"x{i}" for i in range(self.x.shape[1])]
        self.targets = ["target"] if width == 1 else [f"target{i}" for i in range(width)]
        self.others, self.columns = [], []

    @property
    def groups(self) -> list[tuple[int, int, int]]:
        return [(0, 0, len(self.x))]

    @property
    def of_texts(self) -> bool:
        return self.one_hot or self.y.dtype.kind in "US" or (self.y.dtype.kind == "b" and self.y.shape[1] == 1)

    def where(self, block: Block, row: int, *, target: bool = False) -> str:
        return f"{self.y_path if target else self.paths[0]}, row {block.start + row}"

    def _of(self, block: Block) -> Sequence[Path]:
        return self.both

    def _read(self, block: Block) -> tuple[FEATURES, Any]:
        rows = slice(block.start, block.stop)
        x, y = self.x[rows], self.y[rows]
        for name, array, places in (("x", x, self.features), ("y", y, self.targets)):
            place = _too_large(array)
            if place is not None:
                where = self.where(block, place[0], target=name == "y")
                raise InvalidInput(_no_float(where, places[place[1]], array[place], ", or texts" * (name == "y")))
        if self.one_hot:
            if not _are_one_hot(y):
                wrong = int(np.argmax((y != 0).sum(axis=1) != 1))
                raise InvalidInput(
                    f"{self.where(block, wrong, target=True)}: y has a single 1 in the first rows, and not here"
                )
            y = y.argmax(axis=1)[:, None]
        return np.array(x, np.float64, order="C"), [(block, np.array(y))]

    def numbers(self, targets: Any) -> FEATURES:
        ((_, y),) = targets
        return np.asarray(y, np.float64)

    def labels(self, targets: Any) -> Labels:
        ((block, y),) = targets
        try:
            found = _labels_of(y[:, 0])
        except ValueError:
            raise InvalidInput(f"{self.y_path}: holds texts that are none; save them again") from None
        _check_labels(self.y_path, found.texts)
        return self._labelled(found, block, self.targets[0])


def _shortly(kind: Any) -> str:
    return f"{kind}"[:80]


def _array(path: Path) -> npt.NDArray[Any]:
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (ValueError, OSError, EOFError, OverflowError, TypeError, SyntaxError, tokenize.TokenError) as error:
        said = " ".join(str(error).split())[:120]
        raise InvalidInput(f"{path}: no array that can be read ({said}); save plain numbers by np.save") from None


def _are_one_hot(y: npt.NDArray[Any]) -> bool:
    return bool(np.isin(y, [0, 1]).all() and (y.sum(axis=1) == 1).all())


def _too_large(values: npt.NDArray[Any], *, whole: bool = False) -> tuple[int, ...] | None:
    """Where the first whole number stands that float64 may not hold; None if each is held. `whole`: floats are such."""
    if not (whole or (values.dtype.kind in "iu" and values.dtype.itemsize == 8)) or not values.size:
        return None
    most = MOST_WHOLE - 1 if whole else MOST_WHOLE
    if values.max() <= most and (values.dtype.kind == "u" or values.min() >= -most):
        return None
    wrong = values > most if values.dtype.kind == "u" else (values > most) | (values < -most)
    return tuple(map(int, np.argwhere(wrong)[0]))


def _no_float(where: str, name: str, value: object, out: str) -> str:
    """Says that a whole number is too large."""
    return f"{where}, column {name}: {value} has more digits than a float64 holds; give smaller numbers{out}"


def _labels_of(values: npt.NDArray[Any]) -> Labels:
    """Texts of numbers, or of texts."""
    distinct, codes = np.unique(values, return_inverse=True)
    if values.dtype.kind == "U":
        points = distinct.astype(distinct.dtype.newbyteorder("=")).view(np.uint32)
        if points.size and points.max() > sys.maxunicode:  # NumPy makes texts of these that break what reads them
            raise ValueError(f"no character has the number {points.max()}")
    kind = "boolean" if values.dtype.kind == "b" else "number"
    number = values.dtype.kind in "biuf"
    texts = [shown(float(value), kind) if number else _text(value) for value in distinct.tolist()]
    return Labels(codes.reshape(-1).astype(np.int64), [cells.label(text) for text in texts])


def _text(value: str | bytes) -> str:
    """A text that can be written down."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    value.encode()
    return value


def _check_labels(where: object, texts: Sequence[str]) -> None:
    longest = max(map(len, texts), default=0)
    if longest > LONGEST_LABEL:
        raise InvalidInput(
            f"{where}: a text of {longest:,} characters, which is no label; those have {LONGEST_LABEL:,}"
        )


class ArrowFiles(Files):
    """Arrow IPC files, which stay where they are where they are not packed."""

    what = "an Arrow file"

    def __init__(self, folder: Path, paths: list[Path], target: Sequence[str] | None, left_out: Sequence[str]) -> None:
        import pyarrow as pa

        super().__init__(paths)
        self.paths, self.codes, self._seen = paths, list[str](), set[tuple[Any, ...]]()
        self._local, self._groups, schemas = threading.local(), list[tuple[int, int, int]](), []
        names: list[str] = []
        for i, path in enumerate(paths):
            try:
                opened = self._open(path)
                schemas.append(self._schema(opened))
                names = list(schemas[-1].names)
                self._groups += [(i, group, rows) for group, rows in self._parts(opened)]
            except (pa.ArrowException, OSError, ValueError) as error:
                raise InvalidInput(f"{path}: {self._unreadable(path, error)}") from None
        for path, schema in zip(paths, schemas, strict=True):
            if not schema.equals(schemas[0]):
                apart = _apart(schemas[0], schema, paths[0].name)
                raise InvalidInput(f"{path}: {apart}; files of one schema are needed")
        if not sum(rows for _, _, rows in self._groups):
            raise InvalidInput(f"{folder}: no rows in its files")
        filled = {file for file, _, rows in self._groups if rows}
        self.empty = [path for file, path in enumerate(paths) if file not in filled]
        schema = schemas[0]
        types = dict(zip(names, schema.types, strict=True))
        _check_features(paths[0], len(names))
        twice = next((name for name, count in Counter(names).items() if count > 1), None)
        if twice is not None:
            raise InvalidInput(f"{paths[0]}: two columns are named {twice}; give each a name of its own")
        for name in (*(target or ()), *left_out):
            if name not in names:
                raise InvalidInput(f"{folder}: {unknown('column', name, names)}")
        self.targets = list(target or names[-1:])
        both = [name for name in left_out if name in self.targets]
        if both:
            raise InvalidInput(f"{folder}: column {both[0]} is the target and cannot be left out")
        self.others = [name for name in names if name in left_out]
        self.columns = [name for name in names if name not in {*self.targets, *left_out}]
        texts = [name for name in self.columns if not _is_number(pa, types[name])]
        if texts:
            raise InvalidInput(
                f"{folder}: column {texts[0]} is of type {_shortly(types[texts[0]])}; of a folder, features are "
                f"numbers, true and false, or lists of as many numbers in each row; give {ask('--drop', *texts)}"
            )
        if not self.columns:
            raise InvalidInput(f"{folder}: no column but the target {', '.join(self.targets)}; features are needed")
        for name in self.targets:
            self._check_target(pa, folder, name, types[name])
        with self._refusing(paths[0]):
            self.widths = {name: self._width(pa, name, types[name]) for name in self.columns}
        _check_features(folder, sum(self.widths.values()))
        self._bits = sum(_bits(types[name]) for name in names)
        self.features = [
            f"{name}{i}" if _is_list(pa, types[name]) else name
            for name in self.columns
            for i in range(self.widths[name])
        ]
        kind = types[self.targets[0]]
        self.codes = [name for name in self.targets if _is_text(pa, types[name])]
        self._of_texts = len(self.targets) == 1 and not (_is_number(pa, kind) and not pa.types.is_boolean(kind))

    @staticmethod
    def _check_target(pa: Any, folder: Path, name: str, kind: Any) -> None:
        """Refuses a target that is neither a number nor a text."""
        held = kind.value_type if pa.types.is_dictionary(kind) else kind
        if _is_text(pa, held) or (_is_number(pa, held) and not _is_list(pa, held)):
            return
        what = "dates" if pa.types.is_date(held) or pa.types.is_timestamp(held) else f"values of type {_shortly(kind)}"
        raise InvalidInput(
            f"{folder}: target {name} holds {what}, neither classes nor quantities; name another by {ask('--target')}, "
            "or write it as numbers or texts"
        )

    def _unreadable(self, path: Path, error: Exception) -> str:
        """What is wrong with a file, and what to do."""
        with path.open("rb") as file:
            head = file.read(len(STREAM))
        if head == STREAM:
            return STREAMED
        said = " ".join(str(error).split())[:120] if head else "it is empty"
        return f"cannot be read as {self.what} ({said}); write it again, or take it out of this folder"

    def _width(self, pa: Any, name: str, kind: Any) -> int:
        """How many features a column makes: of a list as many as it is long."""
        if not _is_list(pa, kind):
            return 1
        if pa.types.is_fixed_size_list(kind):
            return int(kind.list_size)
        file, group, _ = next(each for each in self._groups if each[2])
        return len(self._table(Block(file, group, 0, 1), [name]).column(0)[0])

    def _open(self, path: Path) -> Any:
        import pyarrow as pa

        return pa.ipc.open_file(pa.memory_map(str(path)))

    @staticmethod
    def _parts(opened: Any) -> list[tuple[int, int]]:
        return [(i, opened.get_batch(i).num_rows) for i in range(opened.num_record_batches)]

    @staticmethod
    def _schema(opened: Any) -> Any:
        return opened.schema.remove_metadata()

    def _opened(self, file: int) -> Any:
        """A file, for this thread alone; of several it has one open at a time."""
        if getattr(self._local, "file", None) != file:
            self._local.opened, self._local.file = self._open(self.paths[file]), file
        return self._local.opened

    def _table(self, block: Block, columns: Sequence[str]) -> Any:
        found = self._opened(block.file).get_batch(block.group).select(list(columns))
        return self._sound(found, (block.file, block.group, *columns))

    def _sound(self, table: Any, which: tuple[Any, ...]) -> Any:
        """A batch or row group, looked through the first time: else a damaged one leads out of the memory it is in."""
        if which not in self._seen:
            table.validate(full=True)
            self._seen.add(which)
        return table

    @property
    def groups(self) -> list[tuple[int, int, int]]:
        return self._groups

    def held(self, rows: int) -> int:
        """Those of a batch that is packed are unpacked at once."""
        sizes = [(self._as_found[path] or (0, 0, 0))[2] for path in self.paths]
        packed = [there for file, _, there in self._groups if there * self._bits > 8 * sizes[file]]
        return max(super().held(rows), *packed, 0)

    @property
    def of_texts(self) -> bool:
        return self._of_texts

    @contextlib.contextmanager
    def _refusing(self, path: Path) -> Iterator[None]:
        """What Arrow does not read of a file, as an error of ours."""
        import pyarrow as pa

        try:
            yield
        except InvalidInput:
            raise
        except MemoryError:  # Arrow's is one of these, too
            way = f"give fewer rows by {ask('--block-rows')}, or write it again in smaller row groups"
            raise InvalidInput(f"{path}: a block of it does not fit into memory; {way}") from None
        except (pa.ArrowException, OSError, ValueError) as error:
            said = " ".join(str(error).split())[:120]
            raise InvalidInput(f"{path}: cannot be read ({said}); write it again") from None

    def _read(self, block: Block) -> tuple[FEATURES, Any]:
        with self._refusing(self.paths[block.file]):
            return self._columns(block)

    def _columns(self, block: Block) -> tuple[FEATURES, Any]:
        import pyarrow as pa

        table = self._table(block, [*self.columns, *self.targets]).slice(block.start, block.rows)
        if table.num_rows != block.rows:
            raise InvalidInput(f"{self.paths[block.file]}: has fewer rows than it says; write it again")
        x = np.empty((block.rows, len(self.features)))
        place = 0
        for name in self.columns:
            made = self._numbers(pa, table.column(name), block, name)
            x[:, place : place + made.shape[1]] = made
            place += made.shape[1]
        return x, [(block, name, table.column(name)) for name in self.targets]

    def _numbers(self, pa: Any, column: Any, block: Block, name: str) -> npt.NDArray[Any]:
        """A column as numbers, (rows, its features)."""
        out = f", or give {ask('--drop', name)}" if name in self.columns and len(self.columns) > 1 else ""
        other = ", or texts" if name in self.targets else ""
        if column.null_count:
            row = column.is_null().to_pylist().index(True)
            gone = f"missing; fill it in before{out}" if name in self.columns else NO_LABEL
            raise InvalidInput(f"{self.where(block, row)}, column {name}: {gone}")
        if _is_list(pa, column.type):
            flat = column.combine_chunks() if hasattr(column, "combine_chunks") else column
            made = np.asarray(flat.flatten().to_numpy(zero_copy_only=False))
            width = self.widths[name]
            if len(made) != block.rows * width or flat.flatten().null_count:
                raise InvalidInput(
                    f"{self.where(block, 0)} and on, column {name}: lists of {width} numbers in each row are needed"
                )
            made, whole = made.reshape(block.rows, width), False
        else:
            whole = bool(pa.types.is_decimal(column.type)) and column.type.scale <= 0
            if pa.types.is_decimal(column.type):
                column = column.cast(pa.float64())
            said = {} if isinstance(column, pa.ChunkedArray) else {"zero_copy_only": False}
            made = np.asarray(column.to_numpy(**said))[:, None]
        place = _too_large(made, whole=whole)
        if place is not None:
            raise InvalidInput(_no_float(self.where(block, place[0]), name, made[place], out or other))
        return made

    def numbers(self, targets: Any) -> FEATURES:
        import pyarrow as pa

        for _, name, column in targets:
            if not _is_number(pa, column.type):
                raise InvalidInput(
                    f"column {name} is of type {column.type}, no quantity; use {ask('--task', 'classification')}, or "
                    f"name another by {ask('--target')}"
                )
        made = [self._numbers(pa, column, block, name) for block, name, column in targets]
        return np.concatenate(made, axis=1).astype(np.float64, copy=False)

    def labels(self, targets: Any) -> Labels:
        import pyarrow as pa

        ((block, name, column),) = targets
        if column.null_count:
            row = column.is_null().to_pylist().index(True)
            raise InvalidInput(f"{self.where(block, row)}, column {name}: {NO_LABEL}")
        if _is_number(pa, column.type):
            return _labels_of(self._numbers(pa, column, block, name)[:, 0])
        with self._refusing(self.paths[block.file]):
            if not pa.types.is_dictionary(column.type):
                column = column.dictionary_encode()
            if isinstance(column, pa.ChunkedArray):
                column = column.unify_dictionaries().combine_chunks()
            codes = column.indices.to_numpy(zero_copy_only=False).astype(np.int64)
            used, first, codes = np.unique(codes, return_index=True, return_inverse=True)
            entries = column.dictionary.cast(pa.string()).take(pa.array(used)).to_pylist()
        if None in entries:
            row = int(first[entries.index(None)])
            raise InvalidInput(f"{self.where(block, row)}, column {name}: {NO_LABEL}")
        _check_labels(f"{self.paths[block.file]}, column {name}", entries)
        texts: dict[str, int] = {}
        of_entry = np.empty(len(entries), np.int64)
        for entry in np.argsort(first).tolist():
            of_entry[entry] = texts.setdefault(entries[entry], len(texts))
        found = Labels(of_entry[codes.reshape(-1)], [cells.label(text.strip()) for text in texts])
        return self._labelled(found, block, name)


class ParquetFiles(ArrowFiles):
    """Parquet files; a block is a row group or part of one, which is decoded when it is its turn."""

    what = "a Parquet file"

    def _open(self, path: Path) -> Any:
        import pyarrow.parquet

        # a text is held once, however many rows it stands in
        return pyarrow.parquet.ParquetFile(str(path), read_dictionary=self.codes)

    def held(self, rows: int) -> int:
        return self.usual_rows

    @staticmethod
    def _parts(opened: Any) -> list[tuple[int, int]]:
        metadata = opened.metadata
        return [(i, metadata.row_group(i).num_rows) for i in range(metadata.num_row_groups)]

    @staticmethod
    def _schema(opened: Any) -> Any:
        return opened.schema_arrow.remove_metadata()

    @property
    def usual_rows(self) -> int:
        return max(rows for _, _, rows in self._groups)

    def _table(self, block: Block, columns: Sequence[str]) -> Any:
        found = self._opened(block.file).read_row_group(block.group, columns=list(columns), use_threads=False)
        return self._sound(found, (block.file, block.group, *columns))


def _apart(first: Any, other: Any, name: str) -> str:
    """In what the schema of a file is another than that of the first, of that name."""
    for one, two, says in ((first, other, "has no column"), (other, first, "has a further column")):
        missing = [*(Counter(one.names) - Counter(two.names))]
        if missing:
            return f"{says} {missing[0]}, unlike {name}"
    if first.names != other.names:
        place = next(i for i, pair in enumerate(zip(first.names, other.names, strict=False)) if len({*pair}) > 1)
        return (
            f"its columns are in another order: column {place} is {other.names[place]}, in {name} {first.names[place]}"
        )
    here, there = next((a, b) for a, b in zip(other, first, strict=True) if not a.equals(b))
    types = [f"{field.type}{'' if field.nullable else ' not null'}" for field in (here, there)]
    return f"column {here.name} is of type {types[0]}, in {name} {types[1]}"


def _is_list(pa: Any, kind: Any) -> bool:
    return bool(pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _bits(kind: Any) -> int:
    """Of one row of a column, at least."""
    try:
        return int(kind.bit_width)
    except ValueError:  # as long as it is
        return 1


def _is_text(pa: Any, kind: Any) -> bool:
    types = pa.types
    views = getattr(types, "is_string_view", lambda _: False)
    return bool(types.is_string(kind) or types.is_large_string(kind) or views(kind))


def _is_number(pa: Any, kind: Any) -> bool:
    """Whether a column of that type is a number in each row, or a list of numbers."""
    if _is_list(pa, kind):
        return _is_number(pa, kind.value_type) and not _is_list(pa, kind.value_type)
    types = pa.types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_decimal(kind))
