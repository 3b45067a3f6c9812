"""An outcome as one self-contained HTML page, and as a part of a notebook."""

from backprop_ref.conformance.judging.page import STYLE, badge, bullets, document, finding
from backprop_ref.conformance.measuring.words import MANY, facts, pairs, where
from backprop_ref.text import as_html as escape

_CLASS = {0: "good", 1: "bad", 2: "open"}


def page(outcome) -> str:
    """The page's HTML; it loads nothing."""
    return document(f"{outcome.target}: {outcome.verdict}", _parts(outcome))


def fragment(outcome) -> str:
    """The same for a notebook, whose own text keeps its style."""
    parts = "\n".join(part for part in _parts(outcome) if part)
    return f"<div><style>@scope {{{STYLE}}}</style>\n{parts}\n</div>"


def _parts(outcome):
    name = f"<code>{escape(outcome.target)}</code> " if outcome.target else ""
    yield f"<h1>{name}{badge(outcome.verdict, _CLASS[outcome.exit])}</h1>"
    yield from (f"<p>{escape(text)}</p>" for text in facts(outcome))
    if len(outcome.networks) > MANY:
        listed = "".join(f"<li><code>{escape(network)}</code></li>" for network in outcome.networks)
        yield f"<details><summary>all {len(outcome.networks)} networks</summary><ul>{listed}</ul></details>"
    if outcome.findings:
        yield "<h2>What it is</h2>"
    for found in outcome.findings:
        yield finding(found.id, f"{found.confidence}{where(found)}", found.text, pairs(found), found.acceptable)
    yield bullets("Conventions", outcome.conventions)
    yield bullets("Notes", outcome.notes)
