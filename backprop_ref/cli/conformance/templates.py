"""backprop-ref verify --template: a program to begin with, in a language."""

import re
from pathlib import Path

from backprop_ref.cli import show
from backprop_ref.conformance import examples
from backprop_ref.errors import InvalidInput, unknown
from backprop_ref.files import check_output, is_stream, write_output

FOLDER = Path(examples.__file__).parent / "templates"
TEMPLATES = {
    "python": "gradients.py",
    "class": "network.py",
    "c": "mine.c",
    "javascript": "mine.js",
    "java": "Mine.java",
    "rust": "mine.rs",
}
"""A file of the folder for each language."""


def template(language, out):
    """Writes a skeleton with one place to fill in to standard output or a new file, whose name is put into it."""
    if language is None:
        raise InvalidInput("--out goes with --template; a report is written by --html")
    if language not in TEMPLATES:
        raise unknown("--template", language, TEMPLATES)
    file = FOLDER / TEMPLATES[language]
    text = file.read_text(encoding="utf-8")
    if out is None:
        show.document(text)
        return
    check_output("--out", out)
    if not is_stream(out):
        text = named(text, Path(out), file.suffix)
    write_output("--out", out, text)
    show.line(f"template: {out}; fill it in, and check it by the command at its top")


def named(text, path, suffix):
    """The text with the name of its file in place of mine."""
    if path.suffix != suffix:
        raise InvalidInput(f"--out {path}: give a file that ends in {suffix}")
    if not path.stem.isidentifier():
        raise InvalidInput(f"--out {path}: give a name of letters, digits and _, which the program can have too")
    return re.sub(r"\bmine\b", path.stem, re.sub(r"\bMine\b", path.stem, text))
