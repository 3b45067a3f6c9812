"""An outcome as lines of text: the verdict first."""

import textwrap

from backprop_ref.text import printable

MANY = 4
"""So many networks are listed; of more, the first."""
VERDICT, HEADING, LINE = "verdict", "heading", "line"


def lines(outcome, width=80):
    """Pairs of what a line is and its text, at most `width` wide where words allow it."""
    target = printable(outcome.target)
    yield VERDICT, f"{target}: {outcome.verdict}" if target else outcome.verdict
    for text in facts(outcome):
        yield from _wrapped(text, width)
    if outcome.findings:
        yield from _heading("what it is")
    for found in outcome.findings:
        yield from _wrapped(f"{found.id} ({found.confidence}){where(found)}: {found.text}", width)
        for name, said in pairs(found):
            yield from _wrapped(said, width, f"    {name + ':':<10}", 14)
    for title, said in (("conventions", outcome.conventions), ("notes", outcome.notes)):
        if said:
            yield from _heading(title)
        for text in said:
            yield from _wrapped(text, width)


def facts(outcome):
    """Why it is not judged, for which networks the verdict holds, and what the golden vectors say."""
    if outcome.reason:
        yield outcome.reason
    if outcome.networks:
        yield f"for {first_of(outcome.networks)}"
    if outcome.others:
        yield f"not made for {first_of(outcome.others)}"
    if outcome.vectors:
        yield "golden vectors: " + ", ".join(f"{count} {verdict}" for verdict, count in outcome.vectors.items())
    if outcome.not_prevented:
        yield f"not kept from: {', '.join(outcome.not_prevented)}"


def where(found):
    """The layers of a finding."""
    layers = ", ".join(map(str, found.layers))
    return f" in layer{'s' if len(found.layers) > 1 else ''} {layers}" if layers else ""


def pairs(found):
    """What is due, what was measured, what to do, and which other bugs it may be."""
    others = f"{', '.join(found.others)}, which give the same numbers here" if found.others else ""
    said = (
        ("right", found.right),
        ("yours", found.measured),
        ("evidence", found.evidence),
        ("hint", found.remedy),
        ("or", others),
    )
    return [(name, text) for name, text in said if text]


def first_of(names):
    """The first few of a list."""
    more = f" and {len(names) - MANY} more" if len(names) > MANY else ""
    return f"{', '.join(names[:MANY])}{more}"


def _heading(title):
    yield LINE, ""
    yield HEADING, title


def _wrapped(text, width, start="  ", indent=2):
    for part in textwrap.wrap(printable(text), width, initial_indent=start, subsequent_indent=" " * indent,
                              break_on_hyphens=False):  # fmt: skip
        yield LINE, part
