"""Writes the catalogue of known bugs as a page, .docs/bugs.md; ``--check`` only says whether it would change."""

import sys
from pathlib import Path

from backprop_ref.cli.conformance.bugs import described, grouped
from backprop_ref.conformance.catalogue.known import CATALOGUE

PAGE = Path(__file__).resolve().parent.parent / ".docs/bugs.md"
START = """# Known bugs

How backpropagation goes wrong, as {n} formulas, by the first quantity to go wrong. `backprop-ref bugs` prints the same;
`backprop-ref bugs updated-weights --exercise --out exercise.py` writes a program with one of them, and beside it its
solution. What is marked *convention* is a bug only if it is not meant. `python ci/bugs_page.py` writes this page.
"""


def page():
    """The page as it should be."""
    parts = [START.format(n=len(CATALOGUE))]
    for where, group in grouped():
        parts.append(f"\n## {where}\n\n| bug | right | wrong | shows in | remedy |\n|---|---|---|---|---|\n")
        for bug in map(described, group):
            note = " *(convention)*" if bug["acceptable"] else ""
            shown = f"{len(bug['cases'])} cases" if bug["cases"] else "calls"
            cells = (f"`{bug['id']}`: {bug['text']}{note}", bug["right"], bug["wrong"], shown, bug["remedy"])
            parts.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n")
    return "".join(parts)


def main(arguments):
    if arguments not in ([], ["--check"]):
        sys.exit("bugs_page.py: nothing, or --check")
    made = page()
    if arguments == ["--check"]:
        current = PAGE.exists() and PAGE.read_text(encoding="utf-8") == made
        print(f"{PAGE.name}: {'current' if current else 'to be written again: python ci/bugs_page.py'}")
        return 0 if current else 1
    PAGE.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
