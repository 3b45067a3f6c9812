"""A report as one self-contained HTML page."""

import re
from collections.abc import Iterable, Sequence

from backprop_ref.conformance.cases import tensor_name
from backprop_ref.conformance.judging.outcome import Report
from backprop_ref.conformance.judging.summary import describe_wrong, largest_error, summary, tally
from backprop_ref.text import as_html as escape

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
_CLASS = {"EXACT": "good", "WITHIN BOUND": "good", "ACCEPTABLE": "good", "WRONG": "bad", "NO ANSWER": "bad"}


def page(report: Report) -> str:
    """The page's HTML; it loads nothing."""
    parts = [
        f"<h1><code>{escape(report.target)}</code> {_badge(report.verdict)}</h1>",
        f"<p>{escape(summary(report))}</p>",
        _tally(report),
        *(f"<p>{escape(line)}</p>" for line in largest_error(report)),
        bullets("First wrong", describe_wrong(report)),
        *_findings(report),
        _conventions(report),
        bullets("Notes", report.notes),
        _cases(report),
    ]
    return document(f"{report.target}: {report.verdict}", parts)


def document(title: str, parts: Iterable[str]) -> str:
    """A page of these parts that loads nothing; empty parts are left out."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        """<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">"""
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body></html>\n"
    )


def badge(verdict: str, kind: str) -> str:
    """A verdict in its colour: good, bad or open."""
    return f'<span class="badge {kind}">{escape(verdict)}</span>'


def bullets(title: str, lines: Sequence[str]) -> str:
    """A heading and a list; nothing without lines."""
    if not lines:
        return ""
    return f"<h2>{escape(title)}</h2><ul>{''.join(f'<li>{_text(line)}</li>' for line in lines)}</ul>"


def finding(name: str, confidence: str, text: str, pairs: Iterable[tuple[str, object]], acceptable: bool) -> str:
    """A finding in a box, with pairs such as ("right", formula) below it."""
    listed = "".join(f"<dt>{key}</dt><dd><code>{_text(str(said))}</code></dd>" for key, said in pairs if said)
    return (
        f'<div class="{"finding accepted" if acceptable else "finding"}"><p><strong>{escape(name)}</strong> '
        f"({escape(confidence)}): {_text(text)}</p><dl>{listed}</dl></div>"
    )


def _text(text):
    """Escaped; names of flags do not break at their hyphens."""
    return re.sub(r"(?<!\S)--[\w-]+", r'<span class="flag">\g<0></span>', escape(text))


def _badge(verdict):
    return badge(verdict, _CLASS.get(verdict, "open"))


def _table(header, rows):
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "\n".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{head}</tr>\n{body}</table></div>'


def _tally(report):
    rows = tally(report)
    if not rows:
        return ""
    names = list(next(iter(rows.values())))
    return _table(["quantity", *names], [[escape(name), *map(str, counts.values())] for name, counts in rows.items()])


def _findings(report):
    if report.diagnosis:
        yield "<h2>What it is</h2>"
    for found in report.diagnosis:
        pairs = (("right", found.right), ("yours", found.wrong), ("evidence", found.evidence), ("hint", found.hint))
        yield finding(found.id, found.confidence, found.text, pairs, found.acceptable)


def _conventions(report):
    if not report.conventions:
        return ""
    rows = [(f"<code>{_text(one.flag)}</code>", escape(one.how), _text(one.text)) for one in report.conventions]
    return "<h2>Conventions</h2>" + _table(["flag", "how it is known", "what it says"], rows)


def _cases(report):
    rows = []
    for one in report.cases:
        tensors = " ".join(f"{escape(tensor_name(key))}&nbsp;{_badge(said)}" for key, said in one.verdicts.items())
        kind = "" if one.case.deciding else " (decides nothing)"
        text = f"{escape(one.reason)} {tensors}"
        rows.append((f"<code>{escape(one.case.name)}</code>{kind}", _badge(one.verdict), text))
    table = _table(["case", "verdict", "tensors"], rows)
    return f"<h2>Cases</h2><details><summary>all {len(rows)}</summary>{table}</details>"
