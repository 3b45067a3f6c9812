"""Text from outside, such as names, paths and messages, made fit for a terminal, a page or a table."""

import base64
import codecs
import csv
import hashlib
import html
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources

HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode's categories of characters that act without being seen: controls, marks of writing direction, line
separators, and halves of surrogate pairs."""


SPELT = {
    **dict(zip("αβδελημσ", ("alpha", "beta", "delta", "epsilon", "lambda", "eta", "mu", "sigma"), strict=True)),
    "Σ": "sum",
    "√": "sqrt",
    "²": "^2",
    "·": "*",
    "×": "x",
    "−": "-",
    "½": "1/2",
    "…": "...",
    "–": "-",
    "→": "->",
    "′": "'",
    "≤": "<=",
    "≥": ">=",
    "≠": "!=",
    "∂": "d",
    "⊙": "*",
    "ᵀ": "^T",
    "∞": "inf",
    "±": "+-",
    "°": " deg",
}
"""How characters are written where an encoding lacks them; lines of tables as - and |, all others as escapes."""


def spelt(error: UnicodeError) -> tuple[str, int]:
    """What stands in for characters that an encoding lacks: a handler of errors, as `codecs` has them."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(SPELT.get(character) or _spelt(character) for character in lacking), error.end


def _spelt(character: str) -> str:
    if "\u2500" <= character <= "\u259f":  # lines and blocks
        return "|" if character in "│┃║" else "-"
    return character.encode("ascii", "backslashreplace").decode()


codecs.register_error("spelt", spelt)


def printable(text: str) -> str:
    """The text in one line, each hidden character as its escape, such as ``\\x1b``; everything else stays."""
    if text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode() if unicodedata.category(character) in HIDDEN else character
        for character in text
    )


def numbered(count: int, word: str) -> str:
    """As many of them, in the singular where that is one."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def as_html(text: str) -> str:
    """The text as HTML that shows it as it is, in an element or in an attribute."""
    return html.escape(printable(text))


def look() -> str:
    """The style that every page of ours begins with."""
    return (resources.files("backprop_ref") / "look.css").read_text(encoding="utf-8")


def page_without_scripts(title: str, body: str, more: str) -> str:
    """The HTML of a page with a style of its own besides; a browser may load nothing for it."""
    style = look() + more
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<title>{as_html(title)}</title><style>{style}</style></head>\n<body><main>\n{body}\n</main></body></html>\n"
    )


def as_csv(rows: Iterable[Iterable[object]]) -> str:
    """Rows as CSV that reads back as the same texts: what holds a line break of any kind is quoted."""
    writer = csv.writer(_Echo())  # it quotes what its own line ends are made of, which are \r\n
    return "".join(writer.writerow(row).removesuffix("\r\n") + "\n" for row in rows)


def as_table(rows: Sequence[Mapping[str, object]]) -> str:
    """Mappings as CSV, a column for each key that any of them has."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return as_csv([names, *([row.get(name) for name in names] for row in rows)])


class _Echo:
    """A file that hands back what is written."""

    def write(self, text: str) -> str:
        return text
