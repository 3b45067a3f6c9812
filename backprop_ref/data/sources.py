"""Tables from files of every kind and from other libraries, as a `Raw` table of columns."""

import contextlib
import csv
import io
import json
import math
import re
import tokenize
import zipfile
from collections import Counter
from collections.abc import Collection, Container, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from backprop_ref.arrays import is_masked
from backprop_ref.asking import ask
from backprop_ref.data import csv_file
from backprop_ref.data.header import check_names, check_width, is_header, one_line
from backprop_ref.data.raw import Numbers, Raw, Text, Texts
from backprop_ref.data.sheets import Unreadable
from backprop_ref.data.sheets import read as sheets_of
from backprop_ref.data.sheets import text as as_text
from backprop_ref.errors import InvalidInput, unknown
from backprop_ref.files import Name

MODELS = {".safetensors", ".onnx", ".pt", ".pth", ".keras", ".msgpack"}
JSON = {".json", ".jsonl", ".ndjson"}
_ATTRIBUTE = re.compile(r"""@attribute\s+('[^']+'|"[^"]+"|[^\s'"]\S*)\s*(\S.*)""", re.IGNORECASE)
LIBSVM = {".libsvm", ".svmlight", ".svm"}
_LIBSVM = re.compile(rb"\s*[+-]?\d[\d.eE+-]*(?: \d+:[+-]?[\d.][\d.eE+-]*)+\s*[\r\n#]")
"""A line of theirs: a label, and numbers with their columns."""
_FEATURES, _TARGETS = ("x", "X", "data", "features", "x_train", "X_train"), ("y", "Y", "target", "labels", "y_train")


def read(
    source: Any,
    header: bool | None = None,
    encoding: str | None = None,
    known: Collection[str] = (),
    counted: bool = True,
    left_out: Container[str] = (),
    sheet: str | None = None,
) -> Raw:
    """A table, as it stands in a file or in memory.

    Parameters
    ----------
    source : path-like, or a table
        CSV and its kin (packed or not), Excel and OpenDocument, Parquet, Feather, JSON, ARFF, libsvm's, npy and npz;
        tables of pandas, Polars, pyarrow and whatever else hands out Arrow; arrays and sparse matrices.
    header : bool, optional
        Whether the first row names the columns; default: by its looks.
    encoding : str, optional
        Of text; default: UTF-8, or what the file looks like.
    known : collection of str
        Names that a header would have.
    counted : bool
        Whether a first row of 0, 1, 2, … or of years may be a header.
    left_out : container of str
        Names of columns that are not used, so that it does not matter what is in them.
    sheet : str, optional
        Of a spreadsheet; default: the largest, or the first that names the columns of a trained network.
    """
    if not isinstance(source, str | Path) and not hasattr(source, "__fspath__"):
        return _table(source, header, counted, left_out)
    if Path(source).suffix.lower() in MODELS and Path(source).is_file():
        raise InvalidInput(
            f"{source}: a model, not a table; backprop-ref predict and br.load read it: give a table here"
        )
    data = csv_file.content(source)
    head, suffix = bytes(data[:8]), Path(source).suffix.lower()
    if head.startswith(b"PK") and suffix != ".npz" and not _is_office(data):
        data = csv_file.unzipped(source, data)
        head = bytes(data[:8])
    if head.startswith((b"PAR1", b"ARROW1", b"FEA1")):
        return _arrow_file(source, head, left_out)
    if head.startswith(b"\x93NUMPY") or suffix == ".npz":
        return _arrays(source, data)
    if head.startswith((b"PK", b"\xd0\xcf\x11\xe0")):
        return _sheet(source, data, header, known, counted, sheet)
    _refuse_others(source, bytes(data[:512]))
    if sheet is not None:
        raise InvalidInput(f"{source}: no spreadsheet, so it has no sheet '{sheet}'; leave out {ask('--sheet')}")
    if suffix in JSON:
        return _json(source, data, header, counted, left_out)
    return _text(source, data, header, encoding, known, counted)


STREAM = b"\xff\xff\xff\xff"
"""How Arrow's stream format begins."""
STREAMED = (
    "Arrow's stream format, and its file format is needed; read it by pyarrow.ipc.open_stream and write it by "
    "pyarrow.ipc.new_file"
)
_OTHERS = (
    (rb"\s*<(!doctype html|html|table|head|meta)", "a web page"),
    (rb"\s*<\?xml", "XML"),
    (rb"(\s|--[^\n]*\n|/\*.*?\*/;?)*(INSERT INTO|CREATE TABLE|DROP TABLE) ", "a dump in SQL"),
    (rb"SQLite format 3", "a database of SQLite"),
    (rb"\x80[\x02-\x05][\x00-\xff]", "a pickle of Python's"),
    (rb"%PDF", "a PDF"),
    (rb"\$FL[23]", "a file of SPSS"),
    (rb"\x00{12}\xc2\xea\x81\x60|HEADER RECORD\*", "a file of SAS"),
    (rb"<stata_dta>|[\x6c-\x73][\x01\x02]\x01\x00", "a file of Stata"),
    (rb"RD[XAB][23]\n|[XA]\n\x00\x00\x00[\x02\x03]", "a file of R"),
    (rb"\x89HDF|MATLAB 5", "a file of HDF5 or MATLAB"),
    (rb"\x89PNG|\xff\xd8\xff|GIF8", "an image"),
    (rb"\{\\rtf", "a document"),
    (rb"Obj\x01|ORC", "a file of Avro or ORC"),
)
"""How files begin that hold no table that is read, and what they are."""


def _refuse_others(path: Name, head: bytes) -> None:
    if head.startswith(STREAM):
        raise InvalidInput(f"{path}: {STREAMED}")
    kind = next((kind for begins, kind in _OTHERS if re.match(begins, head, re.IGNORECASE)), None)
    if kind is None and not head.startswith((b"\xff\xfe", b"\xfe\xff")) and 0 < head.count(0) <= len(head) // 4:
        control = frozenset(range(1, 32)) - frozenset(b"\t\n\r\f\x1a\x1b")
        kind = "no text" if 50 * sum(byte in control for byte in head) > len(head) else None
    if kind is not None:
        raise InvalidInput(f"{path}: {kind}, which is not read; save its table as CSV, Excel or Parquet, and give that")


def _text(
    path: Name, data: Any, header: bool | None, encoding: str | None, known: Collection[str], counted: bool
) -> Raw:
    """A text file of rows, of whichever kind."""
    suffix = Path(path).suffix.lower()
    if suffix == ".arff":
        return _arff(path, data, encoding)
    if suffix in LIBSVM or (suffix in {"", ".txt"} and _LIBSVM.match(bytes(data[:4096]))):
        return _libsvm(path, data, known)
    return csv_file.read(path, data, header, encoding, known, counted)


def _is_office(data: Any) -> bool:
    return any(mark in data[:] for mark in (b"xl/workbook", b"opendocument.spreadsheet"))


# --- spreadsheets ---


def _sheet(path: Name, data: Any, header: bool | None, known: Collection[str], counted: bool, asked: str | None) -> Raw:
    """The sheet asked for, or the largest; for a trained network, the first that names its columns."""
    packed = bytes(data)
    try:
        if packed[:2] == b"PK":
            csv_file.refuse_bomb(zipfile.ZipFile(io.BytesIO(packed)), len(packed))
        book = sheets_of(packed, asked)
        if asked is not None and asked not in book.names:
            raise InvalidInput(unknown("sheet", asked, book.names))
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from None
    except (Unreadable, *csv_file.DAMAGED) as error:
        raise InvalidInput(f"{path}: no spreadsheet that can be read ({error}); save it as CSV") from None
    full = {name: rows for name, rows in book.sheets.items() if rows}
    if not full:
        raise InvalidInput(f"{path}: empty; a sheet with one row per sample is needed")
    names_all = (name for name, rows in full.items() if any(set(known) <= set(row) for row in rows[:20]))
    largest = max(full, key=lambda name: sum(value != "" for row in full[name] for value in row))
    sheet = asked or (next(names_all, largest) if known else largest)
    if sheet not in full:
        raise InvalidInput(f"{path}: sheet {sheet} is empty; name another by {ask('--sheet')}")
    cells = [[cell.strip() for cell in row] for row in full[sheet]]
    first = next((i for i, row in enumerate(cells) if sum(map(bool, row)) > 1), 0)
    last = max(i for i, row in enumerate(cells) if any(row))
    body = cells[first : last + 1]
    others = ", ".join(name for name in full if name != sheet)
    notes = [f"sheet {sheet} is read (else: {ask('--sheet', 'NAME')}, of {others})"] if others and not asked else []
    notes += (
        [f"rows above the table are left out: row {first} and before"] if any(any(row) for row in cells[:first]) else []
    )
    if any(name and not any(row[i] for row in body[1:]) for i, name in enumerate(body[0])):
        _refuse_formulas(path, data)
    kept = [i for i in range(len(body[0])) if any(row[i] for row in body)]
    body = [[row[i] for i in kept] for row in body]
    if header is None and known and set(known) <= set(body[0]):
        header = True
    named = is_header(body[0], body[1:], counted) if header is None else header
    names, body = ([one_line(name) for name in body[0]], body[1:]) if named else (None, body)
    if not body:
        raise InvalidInput(f"{path}: only a header; at least one row of data is needed")
    numbered = [(number, row) for number, row in enumerate(body, first + (2 if named else 1)) if any(row)]
    columns: list[Text | Numbers] = [Text.of([row[i] for _, row in numbered]) for i in range(len(body[0]))]
    check_names(path, names)
    return Raw(names, columns, len(numbered), lambda row: f"row {numbered[row][0]}", notes, True)


def _refuse_formulas(path: Name, data: Any) -> None:
    """Refuses a spreadsheet that a program wrote with formulas, and without what they come to."""
    if bytes(data[:2]) != b"PK":
        return
    empty = re.compile(rb"""<c(?![^>]*t="str")[^>]*><f[^>]*>[^<]*</f>(<v ?/>|<v></v>)?</c>""")
    with contextlib.suppress(*csv_file.DAMAGED), zipfile.ZipFile(io.BytesIO(bytes(data))) as archive:
        sheets = [name for name in archive.namelist() if name.startswith("xl/worksheets/")]
        if any(empty.search(archive.read(name)) for name in sheets):
            said = "holds formulas without their values; open it in a spreadsheet program and save it there"
            raise InvalidInput(f"{path}: {said}")


# --- Arrow, and what hands it out ---


def _arrow_file(path: Name, head: bytes, left_out: Container[str]) -> Raw:
    import pyarrow as pa
    import pyarrow.dataset
    import pyarrow.feather
    import pyarrow.parquet

    parquet = head.startswith(b"PAR1")
    try:
        if not head.startswith(b"FEA1"):  # which packs nothing
            said = pyarrow.dataset.dataset(str(path), format="parquet" if parquet else "ipc")
            if 8 * said.count_rows() * len(said.schema) > csv_file.most_unpacked(Path(path).stat().st_size):
                raise InvalidInput(f"packed, and over {csv_file.MOST_TIMES} times as large unpacked; give it as CSV")
        table = (pyarrow.parquet.read_table if parquet else pyarrow.feather.read_table)(str(path))
        table.validate(full=True)  # else a damaged file leads out of the memory that it is read into
        return _without_index(table, left_out)
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InvalidInput(f"{path}: cannot be read ({error}); write it again") from None


def _without_index(table: Any, left_out: Container[str]) -> Raw:
    """A table that pandas may have written, without the index of its rows."""
    described = (table.schema.pandas_metadata or {}).get("index_columns", ())
    index = [name for name in described if isinstance(name, str) and name in table.column_names]
    said = [f"{name} is left out: it is the index (else: reset the index before saving)" for name in index]
    return _arrow(table.drop_columns(index), left_out)._replace(notes=said)


def _table(source: Any, header: bool | None, counted: bool, left_out: Container[str]) -> Raw:
    """A table in memory."""
    import pyarrow as pa

    if hasattr(source, "collect") and not hasattr(source, "__arrow_c_stream__"):
        raise InvalidInput(f"a {type(source).__name__} holds no rows yet; pass its .collect()")
    try:
        if hasattr(source, "iloc") and hasattr(source, "columns"):
            index = [str(name) for name in source.index.names if name is not None]
            lost = [f"the index {', '.join(index)} is left out (else: pass .reset_index())"] if index else []
            return _arrow(_of_pandas(source, left_out), left_out)._replace(notes=lost)
        if hasattr(source, "__arrow_c_stream__") and not hasattr(source, "iloc"):
            return _arrow(pa.table(source), left_out)
        if isinstance(source, dict):
            return _arrow(pa.table({str(name): list(values) for name, values in source.items()}), left_out)
        if isinstance(source, list | tuple) and source and all(isinstance(record, dict) for record in source):
            return _arrow(_from_records(source, left_out), left_out)
    except (pa.ArrowException, TypeError, OverflowError) as error:
        said = " ".join(str(error).split())[:120]
        raise InvalidInput(f"no table ({said}); columns of numbers, texts or dates are needed, all as long") from None
    if hasattr(source, "toarray") and hasattr(source, "tocsr"):
        source = source.toarray()
    if is_masked(source):
        source = np.ma.filled(source.astype(object), "")
    try:
        array = np.asarray(source)
    except Exception as error:
        said = " ".join(str(error).split())[:120]
        raise InvalidInput(f"no table ({said}); rows of numbers or texts are needed, all as long") from None
    return _rows_of_cells(array, header, counted)


def _of_pandas(frame: Any, left_out: Container[str]) -> Any:
    """A frame of pandas as a table of Arrow's; columns of mixed objects as texts."""
    import pyarrow as pa

    columns: dict[str, Any] = {}
    unusable: list[str] = []
    check_names("the table", list(map(str, frame.columns)))
    for name, column in zip(map(str, frame.columns), (frame.iloc[:, i] for i in range(frame.shape[1])), strict=True):
        try:
            dense = np.asarray(column) if str(column.dtype).startswith("Sparse") else column
            columns[name] = pa.array(dense, from_pandas=True)
        except (pa.ArrowException, OverflowError):
            mixed = column.dtype == object
            columns[name] = pa.array(
                [str(cell) if mixed and here else None for cell, here in zip(column, column.notna(), strict=True)]
            )
            unusable += [] if mixed or name in left_out else [name]
    if unusable:
        kind = frame[unusable[0]].dtype
        said = f"column {unusable[0]} is of type {kind}; numbers, texts and dates can be used"
        raise InvalidInput(f"{said}, so give {ask('--drop', *unusable)}")
    return pa.table(columns)


def _rows_of_cells(array: Any, header: bool | None, counted: bool) -> Raw:
    """An array, or nested lists; the first row may hold names."""
    raw = _array(array)
    if array.dtype.names or (array.dtype.kind not in "UO" and not header):
        return raw
    rows = [[column.text(row) for column in raw.columns] for row in range(min(raw.rows, 500))]
    if not (is_header(rows[0], rows[1:], counted) if header is None else header):
        return raw
    check_names("the table", rows[0])
    return _named(_array(array[1:]), [one_line(name) for name in rows[0]])


def _arrow(table: Any, left_out: Container[str] = ()) -> Raw:
    import pyarrow as pa

    names = [str(name) for name in table.column_names]
    check_names("the table", names)
    if not names or not table.num_rows:
        raise InvalidInput("the table is empty; at least one row and a column for the target are needed")
    unusable = [name for name, column in zip(names, table.columns, strict=True) if not _is_flat(column.type)]
    wanted = [name for name in unusable if name not in left_out]
    if wanted:
        said = f"column {wanted[0]} is of type {table.schema.field(names.index(wanted[0])).type}"
        raise InvalidInput(f"{said}; numbers, texts and dates can be used, so give {ask('--drop', *wanted)}")
    columns: list[Text | Numbers] = []
    for name, chunked in zip(names, table.columns, strict=True):
        found = _empty(table.num_rows) if name in unusable else _as_numbers(chunked)
        columns.append(_as_text(chunked) if found is None else found)
    described = {name for name, column in zip(names, table.columns, strict=True) if pa.types.is_dictionary(column.type)}
    return Raw(names, columns, table.num_rows, _row, [], categories=frozenset(described))


def _empty(rows: int) -> Text:
    return Text(np.zeros(rows, np.int32), [""])


def _is_flat(kind: Any) -> bool:
    """Whether a column of Arrow's has a number, text or date in each row."""
    import pyarrow as pa

    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    known = "boolean null integer floating decimal timestamp date duration time"
    return _is_text(kind) or any(getattr(pa.types, f"is_{name}")(kind) for name in known.split(" "))


def _as_numbers(chunked: Any) -> Numbers | None:
    """A column of Arrow's as numbers; None if it is of another kind."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind, types = chunked.type, pa.types
    if types.is_boolean(kind):
        return Numbers(_floats(pc.cast(chunked, pa.uint8())), "boolean")
    if types.is_dictionary(kind) or (types.is_integer(kind) and not _exact(chunked)):
        return None
    if types.is_null(kind) or types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return Numbers(_floats(chunked))
    if types.is_timestamp(kind) or types.is_date(kind):
        moments = pc.cast(pc.cast(chunked, pa.timestamp("us"), safe=False), pa.int64())
        return Numbers(_floats(moments) / 86_400e6, "date")
    if types.is_duration(kind) or types.is_time(kind):
        unit = pa.duration("us") if types.is_duration(kind) else pa.time64("us")
        return Numbers(_floats(pc.cast(pc.cast(chunked, unit), pa.int64())) / 3600e6)
    return None


def _exact(chunked: Any) -> bool:
    """Whether floats hold these integers; identifiers may be larger."""
    import pyarrow.compute as pc

    least, most = pc.min_max(chunked).as_py().values()
    return least is None or max(-least, most) <= 2**53


def _as_text(chunked: Any) -> Text:
    """A column of Arrow's as texts."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind, made = chunked.type, Texts()
    if pa.types.is_dictionary(kind):  # some kinds of which pyarrow cannot look up
        return Text.of(["" if value is None else as_text(value) for value in chunked.to_pylist()])
    for chunk in chunked.chunks:
        made.add(Texts.encoded(pc.fill_null(pc.cast(chunk, pa.string()), "")))
    return made.done()


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    return any(is_kind(kind) for is_kind in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))


def _row(row: int) -> str:
    return f"row {row}"


def _floats(chunked: Any) -> Any:
    import pyarrow as pa

    return np.asarray(chunked.cast(pa.float64(), safe=False).to_numpy(), np.float64)


def _json(path: Name, data: Any, header: bool | None, counted: bool, left_out: Container[str]) -> Raw:
    """A list of records, or one in each line; or a record of lists."""
    import pyarrow as pa

    try:
        text = bytes(data).decode("utf-8-sig")
        try:
            found = json.loads(text, object_pairs_hook=_unlike)
        except json.JSONDecodeError:
            found = [json.loads(line, object_pairs_hook=_unlike) for line in text.splitlines() if line.strip()]
        if isinstance(found, dict):
            found = _records(found)
        if found and all(isinstance(record, list) for record in found):
            return _rows_of_cells(np.array([[as_text(cell) for cell in record] for record in found]), header, counted)
        return _arrow(_from_records(found, left_out) if isinstance(found, list) else pa.table(found), left_out)
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError, pa.ArrowException) as error:
        if isinstance(error, InvalidInput):
            raise InvalidInput(f"{path}: {error}") from None
        said = " ".join(str(error).split())[:120]
        raise InvalidInput(f"{path}: no table in JSON ({said}); a list of records is needed") from None


def _unlike(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A record, whose names must differ."""
    made = dict(pairs)
    if len(made) < len(pairs):
        (name, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise InvalidInput(f"a record has '{name}' twice; rename one")
    return made


def _records(found: dict[str, Any]) -> Any:
    """A table in one JSON object: lists by column, as pandas writes it by row or split, or a single record."""
    if {"columns", "data"} <= set(found) and isinstance(found["data"], list):
        return [dict(zip(found["columns"], row, strict=True)) for row in found["data"]]
    tables = [name for name, rows in found.items() if isinstance(rows, list) and rows and isinstance(rows[0], dict)]
    inside = [rows for rows in found.values() if isinstance(rows, dict | list)]
    if len(inside) == 1 and isinstance(inside[0], dict) and any(isinstance(rows, list) for rows in inside[0].values()):
        return _records(inside[0])
    if len(tables) == 1 and not any(isinstance(found[name], list | dict) for name in found if name != tables[0]):
        return found[tables[0]]
    if found and all(isinstance(column, dict) for column in found.values()):
        rows = list(dict.fromkeys(row for column in found.values() for row in column))
        _refuse_sparse(len(found), len(rows), sum(map(len, found.values())))
        if all(name.isdecimal() for name in found) and not any(row.isdecimal() for row in rows):  # row by row
            return list(found.values())
        return [{name: column.get(row) for name, column in found.items()} for row in rows]
    return found if any(isinstance(column, list) for column in found.values()) else [found]


def _refuse_sparse(n_names: int, n_records: int, n_values: int) -> None:
    """Refuses records of which nearly every one has other names, as their table would be out of proportion."""
    if n_names * n_records > max(csv_file.MOST_TIMES * n_values, csv_file.ALWAYS_BYTES // 8):
        raise InvalidInput(f"{n_names:,} names in {n_records:,} records, most of which have few; give records alike")


def _flat(record: dict[str, Any], left_out: Container[str], before: str = "") -> dict[str, Any]:
    """A record whose objects are columns of their own, as place.city."""
    made: dict[str, Any] = {}
    for key, value in record.items():
        name = f"{before}{key}"
        if isinstance(value, dict) and value and name not in left_out:
            made |= _flat(value, left_out, f"{name}.")
        else:
            made[name] = value
    return made


def _from_records(records: Iterable[dict[str, Any]], left_out: Container[str]) -> Any:
    import pyarrow as pa

    records = [_flat(record, left_out) for record in records]
    names = list(dict.fromkeys(name for record in records for name in record))
    check_width("the table", len(names))
    _refuse_sparse(len(names), len(records), sum(map(len, records)))

    def value(cell: object) -> object:
        if isinstance(cell, int) and not -(2**63) <= cell < 2**63:
            return str(cell)
        return cell if cell is None or isinstance(cell, int | float | bool) else str(cell)

    columns = {}
    for name in names:
        nested = any(isinstance(record.get(name), dict | list) for record in records)
        if nested and name not in left_out:
            raise InvalidInput(
                f"column {name} holds objects or lists; numbers and texts can be used, so give {ask('--drop', name)}"
            )
        cells = [value(record.get(name)) for record in records]
        mixed = any(isinstance(cell, str) for cell in cells)
        columns[name] = [None if cell is None else str(cell) for cell in cells] if mixed else cells
    return pa.table(columns)


# --- Weka's and libsvm's ---


def _arff(path: Name, data: Any, encoding: str | None) -> Raw:
    """Rows of cells below the names and kinds of the columns; nominal ones are categories."""
    notes: list[str] = []
    lines = enumerate(bytes(csv_file.utf8(path, data, encoding, notes)).decode().splitlines(), 1)
    used = ((number, line.strip()) for number, line in lines if line.strip() and not line.lstrip().startswith("%"))
    names, nominal, rows = list[str](), set[str](), list[tuple[int, list[str]]]()
    for number, line in used:
        found = _ATTRIBUTE.fullmatch(line)
        if found:
            names.append(found[1].strip("'\""))
            nominal |= {names[-1]} if found[2].startswith("{") else set()
        elif line.lower().startswith("@data"):
            break
        elif not line.lower().startswith("@relation"):
            raise InvalidInput(
                f"{path}, line {number}: no @attribute with a name and a kind, as ARFF has; mend that line"
            )
    for number, line in used:
        quote = '"' if '"' in line and "'" not in line else "'"
        row = next(csv.reader([line], quotechar=quote, escapechar="\\", skipinitialspace=True))
        if line.startswith("{") or len(row) != len(names):
            why = (
                "rows in braces are not read" if line.startswith("{") else f"{len(row)} cells for {len(names)} columns"
            )
            raise InvalidInput(f"{path}, line {number}: {why}; mend that line, or save the table as CSV")
        rows.append((number, [cell.strip() for cell in row]))
    check_names(path, names)
    if not rows or not names:
        raise InvalidInput(f"{path}: no rows below @data; at least one, and a column for the target, are needed")
    columns: list[Text | Numbers] = [Text.of([row[i] for _, row in rows]) for i in range(len(names))]
    return Raw(
        names,
        columns,
        len(rows),
        lambda row: f"line {rows[row][0]}",
        notes,
        delimiter=",",
        categories=frozenset(nominal),
    )


def _libsvm(path: Name, data: Any, known: Collection[str]) -> Raw:
    """What scikit-learn reads; a column is named after its number in the file, the label comes last."""
    from sklearn.datasets import load_svmlight_file

    try:
        found, target = load_svmlight_file(io.BytesIO(bytes(data)), zero_based=True)
    except (ValueError, OverflowError) as error:
        said = " ".join(str(error).split())[:120]
        raise InvalidInput(f"{path}: no file as of libsvm ({said}); a label and COLUMN:NUMBER are needed") from None
    if not len(target):
        raise InvalidInput(f"{path}: empty; a table with one row per sample is needed")
    wanted = [int(name[1:]) for name in known if re.fullmatch(r"x\d+", name)]
    end = max([found.shape[1], *(number + 1 for number in wanted)])
    check_width(path, end)
    first = int(0 not in wanted and not found[:, [0]].nnz)
    if 8 * len(target) * end > csv_file.most_unpacked(len(data)):
        raise InvalidInput(
            f"{path}: {len(target):,} rows of {end:,} columns, nearly all of which are 0; leave some out"
        )
    dense = np.zeros((len(target), end))
    dense[:, : found.shape[1]] = found.toarray()
    columns: list[Text | Numbers] = [Numbers(dense[:, i].copy()) for i in range(first, end)]
    return Raw([*(f"x{i}" for i in range(first, end)), "target"], [*columns, Numbers(target)], len(target), _row, [])


# --- arrays ---


def _arrays(path: Name, data: Any) -> Raw:
    packed = bytes(data)
    try:
        if packed[:2] != b"PK":
            return _array(_loaded(packed))
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            csv_file.refuse_bomb(archive, len(packed))
            held = {name.removesuffix(".npy"): _loaded(archive.read(name)) for name in archive.namelist()}
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from None
    except (ValueError, SyntaxError, tokenize.TokenError, ArithmeticError, TypeError, *csv_file.DAMAGED) as error:
        raise InvalidInput(f"{path}: arrays that cannot be read ({error}); save plain numbers") from None
    except MemoryError as error:
        raise InvalidInput(f"{path}: arrays that memory does not hold ({error}); save fewer numbers") from None
    features = next((held[name] for name in _FEATURES if name in held), None)
    target = next((held[name] for name in _TARGETS if name in held), None)
    if features is None and len(held) == 1:
        return _array(next(iter(held.values())))
    if features is None:
        raise InvalidInput(f"{path}: holds {', '.join(held)}; arrays named x and y are needed")
    wide = features.reshape(len(features), -1)
    if target is None:
        return _named(_array(wide), [f"x{i}" for i in range(wide.shape[1])])
    if len(target) != len(wide):
        raise InvalidInput(f"{path}: {len(wide)} rows of features, {len(target)} of targets; as many are needed")
    targets = target.reshape(len(target), -1)
    if targets.shape[1] > 1 and np.isin(targets, [0, 1]).all() and (targets.sum(axis=1) == 1).all():
        targets = targets.argmax(axis=1)[:, None]  # one-hot
    names = ["target"] if targets.shape[1] == 1 else [f"target{i}" for i in range(targets.shape[1])]
    first, second = _array(wide), _array(targets)
    used = [next(name for name in known if name in held) for known in (_FEATURES, _TARGETS)]
    rest = ", ".join(name for name in held if name not in used)
    notes = [f"{used[0]} and {used[1]} are read, and {rest} left out"] if rest else []
    return Raw([f"x{i}" for i in range(wide.shape[1])] + names, first.columns + second.columns, len(wide), _row, notes)


def _loaded(content: bytes) -> Any:
    """The array of an npy file, whose header may ask for more than there is."""
    file = io.BytesIO(content)
    first = np.lib.format.read_magic(file) == (1, 0)
    shape, _, dtype = (np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0)(file)
    there = len(content) - file.tell()
    if not dtype.hasobject and (not dtype.itemsize or math.prod(shape) * dtype.itemsize > there):
        raise ValueError(f"{dtype} of shape {shape} in {there} bytes")
    return np.load(io.BytesIO(content), allow_pickle=False)


def _named(raw: Raw, names: list[str]) -> Raw:
    return raw._replace(names=names)


def _array(array: Any) -> Raw:
    """Rows of numbers or texts; a structured array has names."""
    if array.dtype.names:
        columns = [_array(array[name][:, None]).columns[0] for name in array.dtype.names]
        return Raw(list(array.dtype.names), columns, len(array), _row, [])
    if array.ndim != 2 or not array.size:
        raise InvalidInput(f"an array of shape {array.shape}; a table with a row for each sample is needed")
    check_width("an array", array.shape[1])
    if array.dtype.kind in "biuf":
        kind = "boolean" if array.dtype.kind == "b" else "number"
        made: list[Text | Numbers] = [Numbers(np.array(column, np.float64), kind) for column in array.T]
    elif array.dtype.kind in "UO":
        made = [Text.of(["" if cell is None else as_text(cell) for cell in column]) for column in array.T]
    else:
        raise InvalidInput(f"an array of {array.dtype}; numbers or texts are needed")
    return Raw(None, made, len(array), _row, [])
