"""What a page holds inside itself: its scripts and styles, data in letters, and what the browser may do for it."""

import base64
import gzip
import hashlib
import json
from importlib import resources

from backprop_ref.text import look


def static(name: str) -> str:
    """The text of a file that pages are made of."""
    return (resources.files("backprop_ref.report") / "static" / name).read_text(encoding="utf-8")


def styles(*names: str) -> str:
    """The style of a page: what all have, and what these files add."""
    return "".join([look(), *map(static, names)])


def as_json(value):
    """Compact, as bytes."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()


def compressed(data):
    """In letters, as the page's script unpacks it; the same input gives the same letters."""
    return letters(gzip.compress(data, 6, mtime=0))


def letters(data):
    """Base64."""
    return base64.b64encode(data).decode()


def hashed(content):
    """What a policy allows by: the sha256 of a script or a style."""
    return f"'sha256-{letters(hashlib.sha256(content).digest())}'"


def policy(*scripts):
    """What the browser may do for the page: run these scripts and none besides, and load nothing.

    Styles are allowed anywhere, since plotly.js makes them as it draws; no text of a run becomes one.
    """
    hashes = " ".join(map(hashed, scripts))
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
