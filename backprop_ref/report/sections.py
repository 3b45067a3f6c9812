"""What a page is made of: sections, charts and tables."""

import html
import re
from typing import Any, NamedTuple

from backprop_ref.text import as_html, printable

MOST_COLUMNS = 12
"""Of a table in letters of the usual size."""
_NUMBER = re.compile(r"([-+]?[\d,.]+(e[-+]?\d+)?( µs)?|nan|[-+]?inf)?")


def escaped(figure):
    """A figure, or a part of it, for plotly to show each text as it is, and not to read HTML in it.

    Templates stay as they are: nothing in them is from outside.
    """
    if isinstance(figure, dict):
        return {key: part if key.endswith("template") else escaped(part) for key, part in figure.items()}
    if isinstance(figure, list | tuple):
        return [escaped(part) for part in figure]
    return html.escape(printable(figure), quote=False) if isinstance(figure, str) else figure


class Chart(NamedTuple):
    """A chart with its words."""

    title: str
    figure: dict[str, Any]
    caption: str = ""
    wide: bool = False
    choices: tuple[str, ...] = ()
    """Of each line the choice under which it is drawn; a page shows one choice at a time."""
    frames: tuple[str, ...] = ()
    """Names of the figure's frames, between which a page has a slider; the figure itself is the last."""

    @property
    def name(self):
        """A name for a file."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")

    @property
    def drawn(self):
        """The figure as plotly is to have it, which shows each text as it is."""
        return escaped(self.figure)


class Section(NamedTuple):
    """A part of the page: a heading, HTML, and charts below it."""

    title: str
    body: str = ""
    charts: tuple[Chart, ...] = ()


def table(header, rows, kind="numbers"):
    """A table as HTML, of 'numbers' or of 'words', which may wrap; None and '' are empty cells.

    A column that is empty in every row is left out. Numbers stand to the right, words to the left. On a narrow screen a
    table of numbers scrolls in its own box; one of words shows each row as a list.
    """
    texts = [["" if cell is None else str(cell) for cell in row] for row in rows]
    filled = [i for i in range(len(header)) if any(row[i] for row in texts)]
    names = [as_html(str(name)) for name in header]
    aligned = [' class="number"' if all(_NUMBER.fullmatch(row[i]) for row in texts) else "" for i in range(len(header))]
    cells = "".join(f'<th scope="col"{aligned[i]}>{names[i]}</th>' for i in filled)
    lines = "\n".join(
        "<tr>" + "".join(f'<td data-label="{names[i]}"{aligned[i]}>{_breakable(row[i])}</td>' for i in filled) + "</tr>"
        for row in texts
    )
    content = f"<thead><tr>{cells}</tr></thead>\n<tbody>{lines}</tbody>"
    box = 'class="scroll" role="region" aria-label="Table" tabindex="0"'
    wide = " many" if len(filled) > MOST_COLUMNS else ""
    return f'<div {box}><table class="{kind}{wide}">{content}</table></div>\n'


def _breakable(text):
    """A cell, of which long names may break where they are joined, as in 16x16 and he_uniform."""
    return re.sub(r"(_|(?<=\d)x(?=\d))", r"\1<wbr>", as_html(text))
