"""An outcome as one self-contained HTML page, and as a part of a notebook."""

import re

from backprop_ref.conformance.outcomes.words import MANY, facts, pairs, where
from backprop_ref.text import as_html as escape
from backprop_ref.text import policy

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222;
       background: #fff; }
h1 { font-size: 1.5rem; overflow-wrap: anywhere; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
table { border-collapse: collapse; } td, th { padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top; }
th { font-weight: 600; } td.number { text-align: right; } .scroll { overflow-x: auto; }
code, pre { font: 14px/1.5 ui-monospace, monospace; overflow-wrap: anywhere; white-space: pre-wrap; }
.flag { white-space: nowrap; }
.badge { padding: .1rem .5rem; border-radius: .3rem; color: #fff; white-space: nowrap; }
.good { background: #196b2c; } .bad { background: #b3261e; } .open { background: #7a5900; }
.finding { border-left: 4px solid #b3261e; padding: .1rem 1rem; margin: 1rem 0; }
.finding.accepted { border-color: #196b2c; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; }
dt { font-weight: 600; } dd { margin: 0; }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #181818; } }
"""
_CLASS = {0: "good", 1: "bad", 2: "open"}
_OF_CASE = {"EXACT": "good", "WITHIN BOUND": "good", "WRONG": "bad", "NO ANSWER": "bad"}


def page(outcome) -> str:
    """The page's HTML; it loads nothing."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy(STYLE)}">'
        f"<title>{escape(f'{outcome.target}: {outcome.verdict}')}</title><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(part for part in _parts(outcome) if part)
        + "\n</body></html>\n"
    )


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
    head = "<tr><th>case</th><th>verdict</th><th>tensors</th></tr>"
    body = "\n".join(rows)
    table = f'<div class="scroll"><table>{head}\n{body}</table></div>'
    return f"<h2>Golden vectors</h2><details><summary>all {len(rows)}</summary>{table}</details>"


def _of_case(verdict):
    return _badge(verdict, _OF_CASE.get(verdict, "open"))


def _text(text):
    """Escaped; names of flags do not break at their hyphens."""
    return re.sub(r"(?<!\S)--[\w-]+", r'<span class="flag">\g<0></span>', escape(text))
