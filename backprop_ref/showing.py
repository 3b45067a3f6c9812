"""How results look in a notebook: HTML and Markdown of the same parts, sentences and tables.

The HTML takes its colours and letters from what surrounds it, light or dark; its few rules hold inside it alone; it has
no script, so that an untrusted notebook shows it as well. Every text is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy.typing as npt

from backprop_ref.text import as_html, printable

STYLE = """
table { border-collapse: collapse; margin: .4em 0; }
th, td { padding: .15em .8em .15em 0; text-align: right; background: none; border: 0; }
th { font-weight: 600; border-bottom: 1px solid color-mix(in srgb, currentColor 35%, transparent); }
:scope :is(th, td):first-child { text-align: left; }
p { margin: .2em 0; overflow-wrap: anywhere; }
"""


class Table(NamedTuple):
    """Columns of text; the first stands to the left."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


Parts: TypeAlias = Iterable[str | Table]
"""The first one is the title."""


def of_arrays(named: Iterable[tuple[str, npt.NDArray[Any]]]) -> Table:
    """Shape and range of each array."""
    rows = []
    for name, array in named:
        shape = " × ".join(map(str, array.shape)) or "number"
        numbers = (array.min(), array.mean(), array.max()) if array.size else ()
        rows.append((name, shape, *(f"{float(number):.4g}" for number in numbers)))
    return Table(("", "shape", "least", "mean", "largest"), rows)


def scoped(style: str, body: str) -> str:
    """HTML whose style holds inside it alone."""
    return f"<div><style>@scope {{{style}}}</style>\n{body}\n</div>"


def html(parts: Parts) -> str:
    """As `_repr_html_` gives it."""
    title, *rest = parts
    return scoped(STYLE, "\n".join([f"<p><strong>{as_html(str(title))}</strong></p>", *map(_html, rest)]))


def _html(part: str | Table) -> str:
    if isinstance(part, str):
        return f"<p>{as_html(part)}</p>"
    head = "".join(f'<th scope="col">{as_html(cell)}</th>' for cell in part.header)
    rows = ("".join(f"<td>{as_html(cell)}</td>" for cell in row) for row in part.rows)
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>"


def markdown(parts: Parts) -> str:
    """As `_repr_markdown_` gives it."""
    title, *rest = parts
    return "\n\n".join([f"**{as_markdown(str(title))}**", *map(_markdown, rest)]) + "\n"


def _markdown(part: str | Table) -> str:
    if isinstance(part, str):
        return as_markdown(part)
    rule = ["---", *["---:"] * (len(part.header) - 1)]
    rows = [[as_markdown(cell).replace("|", r"\|") for cell in row] for row in (part.header, *part.rows)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [rows[0], rule, *rows[1:]])


def text(parts: Parts) -> str:
    """As `print` shows it."""
    return "\n".join(part if isinstance(part, str) else _text(part) for part in parts)


def _text(table: Table) -> str:
    rows = [[printable(cell) for cell in row] for row in (table.header, *table.rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        [f"{row[0]:<{widths[0]}}", *(f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))]
        for row in rows
    )
    return "\n".join("  ".join(line).rstrip() for line in lines)


def as_markdown(text: str) -> str:
    """The text as Markdown that shows it as it is; an underscore inside a word needs no help."""
    return re.sub(r"[\\`*<>&$\[\]]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", printable(text))
