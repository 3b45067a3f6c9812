"""Spreadsheets, read in a process of their own: what reads them ends its process where a file is damaged in some ways,
and takes whatever memory a file asks for.

This file is also the program of that process, which gets a spreadsheet on standard input and prints its sheets as JSON.
So it imports nothing of the package.
"""

import contextlib
import io
import json
import math
import subprocess
import sys
from datetime import date, datetime, time, timedelta
from typing import Any, NamedTuple

MEMORY, SECONDS, LETTERS = 2**30, 10, 2**22
"""Bytes and seconds of a processor that the process may take, and letters that it may print."""


class Unreadable(Exception):
    """No spreadsheet that can be read, and why."""


class Book(NamedTuple):
    """The names of the sheets, and the cells of those that were asked for."""

    names: list[str]
    sheets: dict[str, list[list[str]]]


def read(data: bytes, asked: str | None) -> Book:
    """The sheets of a spreadsheet, or the one that is asked for. What that may take grows with its size.

    Raises
    ------
    Unreadable
    """
    limits = [MEMORY + 64 * len(data), SECONDS + (len(data) >> 20), LETTERS + 100 * len(data)]
    program = [sys.executable, "-I", __file__, *map(str, limits), *([] if asked is None else [asked])]
    try:
        done = subprocess.run(program, input=data, capture_output=True, check=False)
        found = json.loads(done.stdout)
    except (ValueError, OSError):
        found = f"it ends what reads it, or asks for over {limits[0] >> 20:,} MiB of memory or {limits[1]} s"
    if isinstance(found, str):
        raise Unreadable(found)
    return Book(*found)


def text(value: object) -> str:
    """What stands in a cell, as text: 3 for 3.0, nothing for NaN, hours for a duration."""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, float):
        whole = value.is_integer() and abs(value) < 2**53
        return "" if math.isnan(value) else str(int(value)) if whole else repr(value)
    if isinstance(value, datetime):
        return value.isoformat(" ") if value.time() != time() else value.date().isoformat()
    if isinstance(value, date | time):
        return value.isoformat()
    return str(value.total_seconds() / 3600) if isinstance(value, timedelta) else str(value)


def _rows_of(sheet: Any) -> list[list[str]]:
    """The cells of a sheet; those that are merged over several rows all have its value."""
    rows = [[text(value) for value in row] for row in sheet.to_python(skip_empty_area=False)]
    for (top, left), (bottom, right) in getattr(sheet, "merged_cell_ranges", None) or ():
        if left == right:
            for row in rows[top + 1 : bottom + 1]:
                row[left : left + 1] = rows[top][left : left + 1]
    return rows


def _limit(memory: int, seconds: int) -> None:
    """Limits this process, where the system has such limits."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        for name, most in (("CORE", 0), ("CPU", seconds), ("AS", memory)):
            kind = getattr(resource, f"RLIMIT_{name}")
            allowed = resource.getrlimit(kind)[1]
            most = most if allowed == resource.RLIM_INFINITY else min(most, allowed)
            resource.setrlimit(kind, (most, allowed))


def _main(limits: list[str], asked: str | None = None) -> None:
    memory, seconds, most = map(int, limits)
    _limit(memory, seconds)
    try:
        from python_calamine import CalamineWorkbook

        book = CalamineWorkbook.from_filelike(io.BytesIO(sys.stdin.buffer.read()))
        wanted = [name for name in book.sheet_names if asked in {None, name}]
        said = json.dumps([book.sheet_names, {name: _rows_of(book.get_sheet_by_name(name)) for name in wanted}])
        said = said if len(said) <= most else json.dumps("over 100 times as large unpacked")
    except Exception as error:
        said = json.dumps(" ".join(str(error).split()) or type(error).__name__)
    sys.stdout.write(said)


if __name__ == "__main__":
    _main(sys.argv[1:4], *sys.argv[4:])
