"""An outcome as one self-contained HTML page, and as a part of a notebook."""

import re

from backprop_ref.conformance.outcomes.words import MANY, facts, pairs, where
from backprop_ref.text import as_html as escape
from backprop_ref.text import page_without_scripts

STYLE = """
.badge { padding: .1rem .5rem; border-radius: .3rem; color: #fff; white-space: nowrap; }
.good { background: #196b2c; } .bad { background: #b3261e; } .open { background: #7a5900; }
.finding { border-left: 4px solid #b3261e; padding: .1rem 1rem; margin: 1rem 0; }
.finding.accepted { border-color: #196b2c; }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .2rem 1rem; }
dt { font-weight: 600; } dd { margin: 0; }
code { font: 0.88em/1.5 ui-monospace, "Cascadia Mono", "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
.flag { white-space: nowrap; }
"""
OF_PAGE = """
main { margin: 1.5rem auto; }
.finding { background: var(--surface); border-radius: 0 12px 12px 0; }
th, td { text-align: left; white-space: normal; vertical-align: top; }
summary { cursor: pointer; min-height: 24px; }
@media (max-width: 640px) {
  dl { grid-template-columns: minmax(0, 1fr); }
  thead { display: none; }
  tr { display: block; padding: 8px 0; border-bottom: 1px solid var(--line); }
  td { display: block; border: 0; }
}
"""
SCROLL = 'class="scroll" role="region" aria-label="Golden vectors" tabindex="0"'
_CLASS = {0: "good", 1: "bad", 2: "open"}
_OF_CASE = {"EXACT": "good", "WITHIN BOUND": "good", "WRONG": "bad", "NO ANSWER": "bad"}


def page(outcome) -> str:
    """The page's HTML; it loads nothing."""
    body = "\n".join(part for part in _parts(outcome) if part)
    return page_without_scripts(f"{outcome.target}: {outcome.verdict}", body, STYLE + OF_PAGE)


def fragment(outcome) -> str:
    """The same for a notebook, whose own text keeps its style."""
    parts = "\n".join(part for part in _parts(outcome) if part)
    return f"<div><style>@scope {{{STYLE}}}</style>\n{parts}\n</div>"


def _parts(outcome):
    name = f"<code>{escape(outcome.target)}</code> " if outcome.target else ""
    yield f"<h1>{name}{_badge(outcome.verdict, _CLASS[outcome.exit])}</h1>"
    yield from (f"<p>{escape(text)}</p>" for text in facts(outcome))
    if len(outcome.networks) > MANY:
        listed = "".join(f"<li><code>{escape(network)}</code></li>" for network in outcome.networks)
        yield f"<details><summary>all {len(outcome.networks)} networks</summary><ul>{listed}</ul></details>"
    if outcome.findings:
        yield "<h2>What it is</h2>"
    for found in outcome.findings:
        yield _finding(found)
    yield _bullets("Conventions", outcome.conventions)
    yield _bullets("Notes", outcome.notes)
    yield _bullets("What its process was kept from", outcome.prevented)
    if outcome.cases:
        yield _cases(outcome.cases)


def _badge(verdict, kind):
    return f'<span class="badge {kind}">{escape(verdict)}</span>'


def _finding(found):
    """A finding in a box, with what is due and what was found below it."""
    listed = "".join(f"<dt>{name}</dt><dd><code>{_text(said)}</code></dd>" for name, said in pairs(found))
    return (
        f'<div class="{"finding accepted" if found.acceptable else "finding"}"><p><strong>{escape(found.id)}</strong> '
        f"({escape(f'{found.confidence}{where(found)}')}): {_text(found.text)}</p><dl>{listed}</dl></div>"
    )


def _bullets(title, lines):
    listed = "".join(f"<li>{_text(line)}</li>" for line in lines)
    return f"<h2>{title}</h2><ul>{listed}</ul>" if lines else ""


def _cases(cases):
    """A table of golden vectors, and of the tensors of each."""
    rows = []
    for one in cases:
        kind = "" if one["deciding"] else " (decides nothing)"
        badges = " ".join(f"{escape(name)}&nbsp;{_of_case(said)}" for name, said in one["tensors"].items())
        name, verdict = f"<code>{escape(one['name'])}</code>{kind}", _of_case(one["verdict"])
        rows.append(f"<tr><td>{name}</td><td>{verdict}</td><td>{escape(one['reason'])} {badges}</td></tr>")
    head = "<thead><tr><th>case</th><th>verdict</th><th>tensors</th></tr></thead>"
    body = "\n".join(rows)
    table = f"<div {SCROLL}><table>{head}\n<tbody>{body}</tbody></table></div>"
    return f"<h2>Golden vectors</h2><details><summary>all {len(rows)}</summary>{table}</details>"


def _of_case(verdict):
    return _badge(verdict, _OF_CASE.get(verdict, "open"))


def _text(text):
    """Escaped; names of flags do not break at their hyphens."""
    return re.sub(r"(?<!\S)--[\w-]+", r'<span class="flag">\g<0></span>', escape(text))
