"""CSV and its kin, read by pyarrow: what separates cells, in which encoding, and where the table begins.

How the file is written is found out from its head and handed to pyarrow, which guesses nothing: cells come as text, and
what they say is decided in `columns`. Numbers of a large file come as numbers.
"""

import bz2
import codecs
import contextlib
import csv
import gzip
import io
import lzma
import mmap
import re
import unicodedata
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, TypeVar

import numpy as np

from backprop_ref.asking import ask
from backprop_ref.data import cells
from backprop_ref.data.header import check_names, is_header, one_line
from backprop_ref.data.raw import Block, Numbers, Raw, Text, Texts
from backprop_ref.errors import InvalidInput
from backprop_ref.files import Name, refuse_endless

HEAD_BYTES = 1 << 18
"""How much of a file is looked at to find out how it is written."""
LARGE_BYTES = 1 << 25
"""From here on columns that begin as plain numbers are read as numbers at once."""
BLOCK_BYTES = 1 << 22
PART_BYTES = 1 << 23
MOST_LINES, MOST_ROWS = 10, 100_000
"""So many lines that are no rows are named, within so many after the first."""
SCAN_BYTES = 1 << 17  # stays in a core's cache
MOST_THREADS = 16
"""Each reads a part, and what has been read of parts takes memory."""
DELIMITERS = (",", ";", "\t", "|")
_BOMS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_OPENERS: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ": lzma.LZMAFile,
}
MOST_TIMES, ALWAYS_BYTES = 100, 1 << 27
"""A packed file may become so many times as large, or of this size."""
OUT_OF_PROPORTION = f"packed, and over {MOST_TIMES} times as large unpacked; unpack it yourself, and give that"
DAMAGED = (*(zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, OSError, zlib.error, lzma.LZMAError),)
"""What `zipfile` raises."""
Bytes = bytes | mmap.mmap
Found = TypeVar("Found")


def content(path: Name) -> Bytes:
    """All of a file, unpacked if it is packed; a large one as a map of it."""
    refuse_endless(path)
    try:
        with Path(path).open("rb") as file:
            large = Path(path).is_file() and Path(path).stat().st_size > LARGE_BYTES
            data: Bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if large else file.read()
        for magic, opened in _OPENERS.items():
            if data[: len(magic)] == magic:
                with opened(io.BytesIO(data)) as packed:
                    return unpacked(path, packed, len(data))
    except FileNotFoundError:
        raise InvalidInput(f"{path}: no such file; check the path") from None
    except (EOFError, lzma.LZMAError, gzip.BadGzipFile, zlib.error) as error:
        raise InvalidInput(f"{path}: packed, and damaged ({error}); restore it from a copy") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidInput(f"{path}: cannot be read ({reason}); give a table that you may read") from None
    return data


def most_unpacked(size: int) -> int:
    """How many bytes a packed file of `size` may hold."""
    return max(MOST_TIMES * size, ALWAYS_BYTES)


def unpacked(path: Name, packed: IO[bytes], size: int) -> bytes:
    """What a packed file of `size` bytes holds; refused if it is out of proportion, as one made to fill memory is."""
    most = most_unpacked(size)
    found = packed.read(most + 1)
    if len(found) > most:
        raise InvalidInput(f"{path}: {OUT_OF_PROPORTION}")
    return found


def refuse_bomb(archive: zipfile.ZipFile, size: int) -> None:
    """Refuses a zip archive of `size` bytes whose files are out of proportion, by the sizes that it says they have.

    Python reads no more of a file in it than that.
    """
    if sum(file.file_size for file in archive.infolist()) > most_unpacked(size):
        raise InvalidInput(OUT_OF_PROPORTION)


def unzipped(path: Name, data: Bytes) -> bytes:
    """The only file in a zip archive."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/") and "__MACOSX" not in name]
            if len(names) != 1:
                raise InvalidInput(f"{path}: an archive of {len(names)} files; unpack it and give one of them")
            with archive.open(names[0]) as packed:
                return unpacked(path, packed, len(data))
    except DAMAGED as error:
        raise InvalidInput(f"{path}: packed, and cannot be unpacked ({error}); unpack it first") from None


class Layout(NamedTuple):
    """How a file is written."""

    delimiter: str
    start: int
    """Bytes before the first row of data."""
    first_line: int
    """Lines before it."""
    names: list[str] | None
    width: int
    quotes: Literal["none", "paired", "loose"] = "none"
    """Whether there are any, and each first one begins a cell and each second one ends it."""


def read(
    path: Name,
    data: Bytes,
    header: bool | None,
    encoding: str | None,
    known: Collection[str] = (),
    counted: bool = True,
) -> Raw:
    """The table in the bytes of a text file; see `sources.read`."""
    notes: list[str] = []
    data = utf8(path, data, encoding, notes)
    data = _plain_delimiters(path, data)
    layout = _layout(path, data, header, known, counted, notes)
    if data.find(b'"', layout.start) >= 0:
        layout = layout._replace(quotes="paired" if _quotes_pair(data, layout) else "loose")
    if layout.quotes == "loose":
        _check_quotes(path, data, layout)
    columns = _columns(path, data, layout)
    rows = len(columns[0])
    if not rows:
        raise InvalidInput(f"{path}: only a header; at least one row of data is needed")
    names, left_out = layout.names, []
    while (
        len(columns) > 1 and isinstance(columns[-1], Text) and columns[-1].values == [""] and not (names and names[-1])
    ):
        columns, names = columns[:-1], names and names[:-1]
    if len(columns) < layout.width:
        empty = layout.width - len(columns)
        left_out = ["an empty last column is left out" if empty == 1 else f"{empty} empty last columns are left out"]
    if names is not None:
        check_names(f"{path}, line {layout.first_line}", names)
    return Raw(names, columns, rows, _line_of(data, layout), notes + left_out, True, layout.delimiter)


def _line_at(data: Bytes, at: int) -> str:
    before = bytes(data[:at]).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return f"line {before.count(bytes([10])) + 1}"


# --- encoding ---


def utf8(path: Name, data: Bytes, encoding: str | None, notes: list[str]) -> Bytes:
    """The text in UTF-8, without a byte order mark."""
    if data[-1:] == b"\x1a":  # how DOS ended a file
        data = bytes(data[:-1])
    head = bytes(data[:4])
    found = next((name for mark, name in _BOMS.items() if head.startswith(mark)), None)
    if encoding is None and found in {None, "utf-8"} and _is_utf8(data):
        return bytes(data[3:]) if found and not isinstance(data, mmap.mmap) else data
    if encoding is None and found is None:
        found = _guessed(path, bytes(data[:4096]))
        notes.append(f"not UTF-8: read as {found} (else: {ask('--encoding', 'NAME')})")
    name = encoding or found or "utf-8"
    try:
        return bytes(data).decode(name).removeprefix("\ufeff").encode()
    except LookupError:
        raise InvalidInput(
            f"{ask('--encoding', name)}: no such encoding; such as utf-8, cp1252, utf-16, shift_jis"
        ) from None
    except UnicodeError as error:
        raise InvalidInput(
            f"{path}: not {name} text ({getattr(error, 'reason', error)}); give {ask('--encoding', 'NAME')}"
        ) from None


def _is_utf8(data: Bytes) -> bool:
    if bytes(data[: 1 << 16]).count(0) > len(data[: 1 << 16]) // 4:  # UTF-16 without its mark
        return False
    text = np.frombuffer(data, np.uint8)
    if all(_over_blocks(lambda first: bool(text[first : first + SCAN_BYTES].max() < 128), 0, len(data))):
        return True
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, len(data), BLOCK_BYTES):
            block = data[start : start + BLOCK_BYTES]
            if not block.isascii():
                decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


ENCODINGS = (
    *("cp1251", "cp1250", "cp1253", "cp1254", "cp1255", "cp1256", "cp866", "koi8_r", "cp874"),
    *("gb18030", "big5", "shift_jis", "euc_kr", "euc_jp", "cp850", "mac_roman"),
)
"""What a text may be in that reads strangely as cp1252."""
_STRANGE = (
    re.compile(r"[A-Za-z][^\x00-\x7f\w’‘–—·´®™°…]+[A-Za-z]"),  # a mark inside a word
    re.compile(r"[£¥]([^\W\d_]{3}|\S[£¥¤])|[¤¶¦¬¯¨¸\x80-\x9f]"),
    re.compile(r"[a-z][À-ÖØ-ÞŠŽŸ]|[^\W\d_][À-ÖØ-ÞŠŽŸ][a-z]"),  # a large letter inside a word
)


def _strange(words: Sequence[str]) -> list[str]:
    """Those in which characters stand as in no language of Western Europe."""
    found = []
    for word in words:
        runs = [run for run in re.findall(r"[^\x00-\x7f]+", word) if len(set(run)) > 1]
        long = any(len(run) > 3 or (len(run) == 3 and not run.islower()) for run in runs)
        if long or any(form.search(word) for form in _STRANGE):
            found.append(word)
    return found


def _refuse_strange(path: Name, head: bytes, read: str) -> None:
    """Refuses text that would be read as what it is not, and shows what it would be in other encodings."""
    text = head[: max(head.rfind(b"\n"), head.rfind(b"\r")) + 1 or len(head)]
    words = re.findall(r"[^\s,;|\"']*[^\x00-\x7f][^\s,;|\"']*", text.decode(read))
    strange = _strange(words)
    if 4 * len(strange) <= len(words):
        return
    example, shown = strange[0].encode(read), []
    for name in ENCODINGS:
        with contextlib.suppress(UnicodeDecodeError):
            text.decode(name)
            word = example.decode(name)
            letters = [letter for letter in word if not letter.isascii()]
            if (
                all(unicodedata.category(letter)[0] in "LM" for letter in letters)
                and len({unicodedata.name(letter, "?")[:4] for letter in letters}) == 1
            ):
                shown.append(f"{name} ({word[:20]!r})")
    said = (
        f"not UTF-8, nor {read}, which would make it {strange[0][:20]!r}; say what it is: {ask('--encoding', 'NAME')}"
    )
    raise InvalidInput(f"{path}: {said}" + (f", such as {', '.join(shown)}" if shown else ""))


def _guessed(path: Name, head: bytes) -> str:
    if head.count(0) > len(head) // 4:
        return "utf-16-le" if head[1::2].count(0) > head[::2].count(0) else "utf-16-be"
    if _is_japanese(head):
        return "cp932"
    guess = "latin-1" if set(head) & {0x81, 0x8D, 0x8F, 0x90, 0x9D} else "cp1252"
    _refuse_strange(path, head, guess)
    return guess


def _is_japanese(head: bytes) -> bool:
    """Whether it reads as Japanese in Shift-JIS, with bytes that no letters of Europe have."""
    high = [byte for byte in head if byte > 0x7F]
    try:
        text = head[: head.rfind(b"\n") + 1].decode("cp932")
    except UnicodeDecodeError:
        return False
    letters = [letter for letter in text if not letter.isascii()]
    between = len(re.findall(r"(?<=[A-Za-z])[^\x00-\x7f](?=[A-Za-z])", text))  # letters of Europe, taken for Japanese
    known = sum("\u3000" <= letter <= "\u9fff" or "\uff01" <= letter <= "\uff60" for letter in letters)
    return (
        bool(letters)
        and 4 * between <= len(letters)
        and 10 * known >= 9 * len(letters)
        and 4 * sum(0x81 <= byte <= 0x9F for byte in high) >= len(high)
    )


# --- what separates cells ---


def _lines(data: Bytes) -> list[str]:
    """The whole lines of a file's head."""
    head = bytes(data[:HEAD_BYTES])
    if len(data) > HEAD_BYTES:
        head = head[: max(head.rfind(b"\n"), head.rfind(b"\r")) + 1] or head
    return io.StringIO(head.decode(errors="ignore"), newline="").readlines()


def _parsed(lines: Sequence[str], delimiter: str) -> list[tuple[int, list[str]]]:
    """(lines up to its end, trimmed cells) of each row that is not blank, as far as it can be read."""
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    rows: list[tuple[int, list[str]]] = []
    with contextlib.suppress(csv.Error):
        rows.extend((reader.line_num, [cell.strip() for cell in row]) for row in reader if len(row) > 1 or any(row))
    return [(line, row) for line, row in rows if len(row) > 1 or row[0]]


def _plain_delimiters(path: Name, data: Bytes) -> Bytes:
    """Cells between runs of spaces are put between tabs, and spaces between a delimiter and a quote taken away."""
    lines = [line for line in _lines(data) if line.strip() and not line.startswith("#")]
    some = lines[:200]
    if len(some) > 1 and not any(delimiter in line for line in some[1:] for delimiter in DELIMITERS[:2] + ("|",)):
        split = [_WORDS.findall(line) for line in some]
        widths = {len(row) for row in split[1:]}
        aligned = "\t" not in "".join(some) or sum("  " in line for line in some) > len(some) // 2
        listed = [cell for row in split[1:] for cell in row]
        numbers = sum(cells.PLAIN.fullmatch(cell.strip('"')) is not None for cell in listed)
        if len(widths) == 1 and min(widths) > 1 and aligned and 2 * numbers >= len(listed):
            whole = bytes(data).decode()
            return "\n".join("\t".join(_WORDS.findall(line)) for line in whole.splitlines()).encode()
    if any(_FORCED.search(line) for line in some):
        data = re.sub(_FORCED.pattern.encode(), rb'\1"\2"', bytes(data), flags=re.MULTILINE)
    if some and all(re.fullmatch(r"\s*'.*'\s*", line) for line in some) and data.find(b'"') < 0:
        return bytes(data).replace(b"'", b'"')
    if not isinstance(data, mmap.mmap) and any(_RULE.fullmatch(line.encode()) for line in lines):
        data = _RULE.sub(rb"\1", data)
    head = "".join(lines).encode()
    if any(found[1] for found in _SPACE_BEFORE_QUOTE.finditer(head)) and not isinstance(data, mmap.mmap):
        return _SPACE_BEFORE_QUOTE.sub(lambda found: found[1] or found[0], data)
    return data


_FORCED = re.compile(r"""((?:^|[,;\t|])\s*)="([^"\r\n]*)"(?=\s*(?:[,;\t|\r\n]|$))""", re.MULTILINE)
"""A cell that Excel is to take for text: ="0123"."""
_SPACE_BEFORE_QUOTE = re.compile(rb'"(?:[^"]|"")*+"|([,;\t|]) +(?=")')
"""A cell in quotes, or (with a delimiter as its group) spaces before one."""
_RULE = re.compile(rb"^[ \t]*[|+]?[-=:+| ]*[-=]{3,}[-=:+| ]*[|+][-=:+| ]*(\r?\n)", re.MULTILINE)
"""A line of dashes, as databases and Markdown draw tables."""
_WORDS = re.compile(r'"[^"]*"|[^\s"]+')


def _delimiter(lines: Sequence[str]) -> str:
    """What separates cells: what cuts rows into the same number of cells, most of them numbers."""

    def judged(delimiter: str) -> tuple[float, bool, float, int]:
        rows = [row for _, row in _parsed(lines[:500], delimiter)]
        if not rows:
            return (0.0, False, 0.0, 0)
        widths = [len(row) for row in rows]
        usual = max(set(widths), key=widths.count)
        same = sum(width == usual for width in widths) / len(widths) if usual > 1 else 0.0
        listed = [cell for row in rows[:50] for cell in row]
        shapes = [cells.PLAIN] if delimiter == "," else [cells.PLAIN, cells.COMMA_DECIMAL]
        numbers = sum(any(shape.fullmatch(cell) for shape in shapes) for cell in listed) / max(len(listed), 1)
        return (round(same, 1), widths[0] == usual, round(numbers, 1), usual)

    return max(DELIMITERS, key=judged)


def _layout(
    path: Name, data: Bytes, header: bool | None, known: Collection[str], counted: bool, notes: list[str]
) -> Layout:
    lines = _lines(data)
    if len(data) > HEAD_BYTES and lines[-1][-1:] not in {"\n", "\r"}:
        raise InvalidInput(
            f"{path}: a first line of over {HEAD_BYTES >> 10} KiB: too many columns; leave some out, or give Parquet"
        )
    skipped, comments, delimiter = _preamble(lines)
    if comments == len(lines):
        raise InvalidInput(f"{path}: empty; a table with one row per sample is needed")
    delimiter = delimiter or _delimiter(lines[comments:])
    rows = _parsed(lines[comments:], delimiter)
    if not rows:
        raise InvalidInput(f"{path}: empty; a table with one row per sample is needed")
    if comments > skipped:
        marked = _marked(lines[comments - 1], delimiter)
        if len(marked) == len(rows[0][1]) > 1 and not any(cells.PLAIN.fullmatch(cell) for cell in marked):
            return Layout(delimiter, _bytes(lines[:comments]), comments, marked, len(marked))
        notes.append(f"{comments - skipped} lines that begin with # are left out")
    first, dropped = _first_row(rows, counted)
    before = comments + (rows[first - 1][0] if first else 0)
    if dropped:
        notes.append(f"lines above the table are left out: line {before} and before")
    body = [row for _, row in rows[first:]]
    body[0], names_rows = _widened(body, set(known) <= set(body[0]))
    width = len(body[0])
    header = True if names_rows and header is None else header
    if width == 1:
        raise InvalidInput(
            f"{path}: one column only; features and a target are needed, separated by , or ; or tab or |"
        )
    if header is None and known:
        header = True if set(known) <= set(body[0]) else None
    rest = [row for row in body[1:] if len(row) == width]
    named = is_header(body[0], rest, counted) if header is None else header
    if not named:
        return Layout(delimiter, _bytes(lines[:before]), before, None, width)
    end = comments + rows[first][0]
    return Layout(delimiter, _bytes(lines[:end]), end, [one_line(name) for name in body[0]], width)


def _marked(comment: str, delimiter: str) -> list[str]:
    """The cells of a comment."""
    return next(iter(_parsed([comment.lstrip("#").strip()], delimiter)), (0, []))[1]


def _widened(body: Sequence[list[str]], may_name_rows: bool) -> tuple[list[str], bool]:
    """The first row, as wide as the others if they are one cell wider, and whether their first cell names rows."""
    first = body[0]
    if len(body) < 3 or {len(row) for row in body[1:]} != {len(first) + 1}:
        return first, False
    if not any(row[-1] for row in body[1:]):  # rows end with a delimiter
        return [*first, ""], False
    names = [row[0] for row in body[1:]]
    decimal = any(cells.PLAIN.fullmatch(name) and not name.isdecimal() for name in names)
    may_name_rows &= len(set(names)) == len(names) and not decimal
    return (["", *first], True) if may_name_rows else (first, False)  # as R writes them


def _preamble(lines: Sequence[str]) -> tuple[int, int, str | None]:
    """Lines before the comments, lines before the table, and the delimiter that a line ``sep=;`` names."""
    skipped, delimiter = 0, None
    while skipped < len(lines) and not lines[skipped].strip():
        skipped += 1
    said = re.fullmatch(r'"?sep=(.|\\t)"?\s*', lines[skipped]) if skipped < len(lines) else None
    if said:
        skipped, delimiter = skipped + 1, said[1].replace("\\t", "\t")
    comments = skipped
    while comments < len(lines) and lines[comments].startswith("#"):
        comments += 1
    return skipped, comments, delimiter


def _first_row(rows: Sequence[tuple[int, list[str]]], counted: bool) -> tuple[int, bool]:
    """Which row the table begins with: after lines of a single text above rows of more than two cells, and after
    narrower ones above a header as wide as all rows that follow.
    """

    def is_title(row: list[str]) -> bool:
        full = [cell for cell in row if cell]
        return len(full) < 2 and not any(map(cells.PLAIN.fullmatch, full))

    first = 0
    while first < min(10, len(rows) - 2) and len(rows[-1][1]) > 2 and is_title(rows[first][1]):
        first += 1
    width = len(rows[-1][1])
    narrow = next((i for i, (_, row) in enumerate(rows[:20]) if len(row) == width), 0)
    body = [row for _, row in rows[narrow:]]
    if (
        first < narrow < len(rows) - 2
        and {len(row) for row in body} == {width}
        and is_header(body[0], body[1:], counted)
    ):
        first = narrow
    return first, first > 0


def _bytes(lines: Sequence[str]) -> int:
    return sum(len(line.encode()) for line in lines)


# --- what a quote may be ---


def _quotes_pair(data: Bytes, layout: Layout) -> bool:
    """Whether each first quote begins a cell (or follows a quote), and each second one ends it: surely well written."""
    beside = np.zeros(256, bool)
    beside[[ord(layout.delimiter), *b'\n\r"']] = True
    text, second = np.frombuffer(data, np.uint8), 0
    for start in range(layout.start, len(data), BLOCK_BYTES):
        places = start + np.flatnonzero(text[start : start + BLOCK_BYTES] == 34)
        first, last = places[second::2], places[1 - second :: 2]
        second = (second + len(places)) % 2
        before = first[first > layout.start] - 1
        after = last[last < len(data) - 1] + 1
        if not (beside[text[before]].all() and beside[text[after]].all()):
            return False
    return second == 0


def _check_quotes(path: Name, data: Bytes, layout: Layout) -> None:
    """Refuses a cell that begins with a quote and does not end with one."""
    mark = re.escape(layout.delimiter.encode())
    cell = re.compile(rb'(?:\A|[\n\r]|%b)"(?:[^"]|"")*+(?:"[ ]*(?=%b|[\n\r]|\Z)|(?P<bad>"|\Z))' % (mark, mark))
    for found in cell.finditer(data, layout.start):
        if found["bad"] is not None:
            line = _line_at(data, found.start() + 1)
            what = "goes on after its closing quote" if found["bad"] else "has no closing quote"
            raise InvalidInput(f"{path}, {line}: not CSV (a cell in quotes {what}); mend that line")


# --- cells ---


def _columns(path: Name, data: Bytes, layout: Layout) -> list[Text | Numbers]:
    import pyarrow as pa

    large = len(data) > LARGE_BYTES
    plain = _plain_columns(data, layout) if large else set()
    try:
        return _read(path, data, layout, plain)
    except _ZerosInFront:
        return _columns_as_text(path, data, layout)
    except pa.ArrowInvalid as error:
        if plain and "conversion" in str(error):
            return _columns_as_text(path, data, layout)
        raise _explained(path, data, layout, error) from None


def _columns_as_text(path: Name, data: Bytes, layout: Layout) -> list[Text | Numbers]:
    import pyarrow as pa

    try:
        return _read(path, data, layout, set())
    except pa.ArrowInvalid as error:
        raise _explained(path, data, layout, error) from None


class _ZerosInFront(Exception):
    """A cell that may be a code in digits, in a column that begins as plain numbers."""


def _has_zeros_in_front(data: Bytes, start: int, end: int, layout: Layout) -> bool:
    """Whether some cell between two places begins with 0 and a digit, but for one at the very beginning."""
    text, mark = np.frombuffer(data, np.uint8), ord(layout.delimiter)
    for first in range(max(start, 1), end, SCAN_BYTES):
        block = text[first - 1 : first + SCAN_BYTES + 1]
        before = block[:-2] <= ord(",")  # a line break, a quote, a tab, a space, a sign, a comma
        if mark > ord(","):
            before |= block[:-2] == mark
        if (before & (block[1:-1] == ord("0")) & (block[2:] - np.uint8(ord("0")) < 10)).any():
            return True
    return False


def _plain_columns(data: Bytes, layout: Layout) -> set[int]:
    """Columns whose cells in the file's head are all plain numbers without zeros in front."""
    rows = _head_rows(data, layout)
    # zeros in front, or so many digits that some are lost
    not_plain = re.compile(r"[+-]?(0\d|\d{16})")

    def plain(column: Sequence[str]) -> bool:
        present = [cell for cell in column if cell not in cells.NOTHING]
        numbers = all(cells.PLAIN.fullmatch(cell) and not not_plain.match(cell) for cell in present)
        dated = all(map(cells.COMPACT.fullmatch, present)) or cells.compact_forms(present[:100])
        pointed = [cell for cell in present if "." in cell]
        thousands = bool(pointed) and all(map(cells.DOT_GROUPS.fullmatch, pointed))
        return numbers and not thousands and not dated

    return {i for i in range(layout.width) if rows and plain([row[i] for row in rows])}


def _head_rows(data: Bytes, layout: Layout) -> list[list[str]]:
    parsed = _parsed(_lines(data)[layout.first_line :], layout.delimiter)
    return [row for _, row in parsed if len(row) == layout.width]


def _read(path: Name, data: Bytes, layout: Layout, plain: set[int]) -> list[Text | Numbers]:
    """Each column: numbers where `plain`, texts elsewhere.

    Parts of the file are read side by side: each thread looks through its part, has pyarrow read it, and puts its
    numbers in their place as soon as it is known how many rows come before.
    """
    if layout.start == len(data):
        return [Text(np.zeros(0, np.int32), []) for _ in range(layout.width)]
    rows = _head_rows(data, layout)
    whole = any(all(row[i].lstrip("+-").isdigit() for row in rows) for i in plain)  # may be codes
    numbers = Block(_line_breaks(data, layout.start) + (data[-1] not in b"\r\n"), sorted(plain)) if plain else None
    texts = {i: Texts() for i in range(layout.width) if i not in plain}
    threads, before = _threads(), Future[int]()
    before.set_result(0)
    start, pending = layout.start, deque[Future[dict[int, Any]]]()
    with ThreadPoolExecutor(threads) as pool:
        while start < len(data) or pending:
            if start < len(data) and len(pending) <= threads:
                end, after = _end_of_part(data, start, layout), Future[int]()
                task = _Part(data, start, end, layout, plain, whole)
                pending.append(pool.submit(task.read, numbers, before, after))
                start, before = end, after
            else:
                for i, encoded in pending.popleft().result().items():
                    texts[i].add(encoded)
        found = {} if numbers is None else numbers.columns(before.result())
        list(pool.map(lambda column: column.extremes, found.values()))
    return [found[i] if i in plain else texts.pop(i).done() for i in range(layout.width)]


class _Part(NamedTuple):
    """Whole rows of a file that one thread reads."""

    data: Bytes
    start: int
    end: int
    layout: Layout
    plain: set[int]
    whole: bool
    """Whether a column of whole numbers may turn out to be one of codes."""

    def read(self, numbers: Block | None, before: Future[int], after: Future[int]) -> dict[int, Any]:
        """Puts numbers behind the rows `before`, says how many there are `after`, and gives the columns of text."""
        try:
            table = self._table()
            first = before.result()
        except BaseException as error:
            after.set_exception(error)
            raise
        after.set_result(first + table.num_rows)
        if numbers is not None:
            numbers.put(first, table)
        encoded = {i: Texts.encoded(table.column(i)) for i in range(self.layout.width) if i not in self.plain}
        if isinstance(self.data, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            at = self.start - self.start % mmap.PAGESIZE
            self.data.madvise(mmap.MADV_DONTNEED, at, self.end - at)  # what was read takes no memory from here on
        return encoded

    def _table(self) -> Any:
        import pyarrow as pa
        import pyarrow.csv as arrow_csv

        layout, size = self.layout, self.end - self.start
        if self.whole and _has_zeros_in_front(self.data, self.start, self.end, layout):
            raise _ZerosInFront
        names = [str(i) for i in range(layout.width)]
        alone = layout.quotes == "loose"  # one part is all of the file
        block = BLOCK_BYTES if alone else size + 1
        reading = arrow_csv.ReadOptions(column_names=names, block_size=block, use_threads=alone)
        parsing = arrow_csv.ParseOptions(delimiter=layout.delimiter, newlines_in_values=layout.quotes != "none")
        converting = arrow_csv.ConvertOptions(
            column_types={name: pa.float64() if int(name) in self.plain else pa.string() for name in names},
            null_values=sorted(cells.NOTHING),
            strings_can_be_null=False,
        )
        part = pa.BufferReader(pa.py_buffer(self.data).slice(self.start, size))
        return arrow_csv.read_csv(part, reading, parsing, converting)


def _line_breaks(data: Bytes, start: int) -> int:
    """How many there are; two characters that end a line together are one."""
    text, returns = np.frombuffer(data, np.uint8), data.find(b"\r", start) >= 0

    def count(first: int) -> int:
        block = text[first : first + SCAN_BYTES + 1]
        some = block[:SCAN_BYTES]
        found = np.count_nonzero(some == ord("\n"))
        if returns:
            ends = some == ord("\r")
            found += np.count_nonzero(ends) - np.count_nonzero(ends[: len(block) - 1] & (block[1:] == ord("\n")))
        return int(found)

    return sum(_over_blocks(count, start, len(data)))


def _over_blocks(function: Callable[[int], Found], start: int, end: int) -> Iterator[Found]:
    """A function of each place at which a block of `SCAN_BYTES` begins, on all cores where there are many."""
    if end - start < LARGE_BYTES:
        yield from map(function, range(start, end, SCAN_BYTES))
        return
    with ThreadPoolExecutor(_threads()) as pool:
        stretches = (range(first, min(first + PART_BYTES, end), SCAN_BYTES) for first in range(start, end, PART_BYTES))
        for found in pool.map(lambda stretch: [function(first) for first in stretch], stretches):
            yield from found


def _threads() -> int:
    import pyarrow as pa

    return min(int(pa.cpu_count()), MOST_THREADS)


def _end_of_part(data: Bytes, start: int, layout: Layout) -> int:
    """Where a part of whole rows ends, of `PART_BYTES` and what is left of its last row.

    Only the parts that are being read take memory.
    """
    if layout.quotes != "loose":
        for newline in re.compile(rb"[\r\n]").finditer(data, start + PART_BYTES):
            if layout.quotes == "none" or data[start : newline.start()].count(b'"') % 2 == 0:
                return newline.end()
    return len(data)


def _rows(data: Bytes, layout: Layout) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of each row of data, slowly."""
    text = io.TextIOWrapper(io.BytesIO(bytes(data[layout.start :])), encoding="utf-8", newline="")
    reader, end = csv.reader(text, delimiter=layout.delimiter), 0
    for row in reader:
        line, end = layout.first_line + end + 1, reader.line_num
        if row:
            yield line, row


def _line_of(data: Bytes, layout: Layout) -> Callable[[int], str]:
    """What messages call a row, given its number from 0."""

    def line_of(row: int) -> str:
        try:
            line = next(line for i, (line, _) in enumerate(_rows(data, layout)) if i == row)
        except (csv.Error, StopIteration):
            return f"row {row + 1}"
        return f"line {line}"

    return line_of


def _explained(path: Name, data: Bytes, layout: Layout, error: Exception) -> InvalidInput:
    """What pyarrow could not read, by its line."""
    end = layout.first_line
    wrong: list[tuple[int, int]] = []
    try:
        for line, row in _rows(data, layout):
            end = line
            if len(row) != layout.width:
                wrong.append((line, len(row)))
            if len(wrong) == MOST_LINES or (wrong and line > wrong[0][0] + MOST_ROWS):
                break
        if wrong:
            first = "the header" if layout.names else f"line {layout.first_line + 1}"
            said = f"{path}, line {wrong[0][0]}: {wrong[0][1]} cells, but {first} has {layout.width}"
            more = ", ".join(str(line) for line, _ in wrong[1:])
            remedy = f"mend or remove lines {wrong[0][0]}, {more}" if more else "mend or remove that line"
            return InvalidInput(f"{said}; {remedy}{' and more' if len(wrong) == MOST_LINES else ''}")
    except csv.Error as problem:
        return InvalidInput(f"{path}, line {end + 1}: not CSV ({problem}); mend that line")
    return InvalidInput(f"{path}: not CSV ({error}); mend it")
