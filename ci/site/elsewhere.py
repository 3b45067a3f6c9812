"""What pages load from other machines."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

LOADED_BY_STYLE = re.compile(r"""url\(\s*['"]?([^'")]+)|@import\s+['"]([^'"]+)""")
LOADED_BY_SCRIPT = re.compile(r"""(?:import|fetch|importScripts|\.src\s*=)\s*\(?\s*['"`](\w+:)?(//[^'"`]+)""")


class Requests(HTMLParser):
    """What a page loads, as it is shown."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        loaded = {"src", "srcset", "poster", "data", *(("href", "xlink:href") if tag != "a" else ())}
        self.found += [value or "" for name, value in attrs if name in loaded]


def requests_elsewhere(site: Path) -> Iterator[str]:
    """Every address on another machine that a page, a style sheet or a script of the site loads."""
    for file in sorted(site.rglob("*")):
        if file.suffix in {".html", ".css", ".svg", ".js"}:
            text = file.read_text("utf-8")
            found = Requests(text).found if file.suffix in {".html", ".svg"} else []
            found += [address for pair in LOADED_BY_STYLE.findall(text) for address in pair]
            found += [address for _, address in LOADED_BY_SCRIPT.findall(text)]
            yield from (f"{file.relative_to(site)}: {each}" for each in found if re.match(r"(https?:)?//", each))
