"""The explorer in a notebook: a page of its own in a frame, which can do nothing to what is around it."""

from __future__ import annotations

import html
from string import Template
from typing import Any

from backprop_ref import showing
from backprop_ref.errors import InvalidInput
from backprop_ref.report.embedding import as_json, compressed, letters, policy, static, styles
from backprop_ref.report.explorer import explored
from backprop_ref.text import numbered

SCRIPTS = ("records.js", "formulas.js", "neurons.js", "explorer.js", "frame.js")
MOST_BYTES = 2_000_000
"""Of a frame: a notebook keeps it in its file."""
TALLER = 8
"""Pixels by which a frame in dark surroundings is higher: the page in it sees nothing else of them."""
STYLE = """
iframe {{ width: 100%; height: {light}px; border: 0; color-scheme: light; }}
.untrusted {{ display: none; }}
@media (prefers-color-scheme: dark) {{ iframe {{ height: {dark}px; color-scheme: dark; }} }}
:is([data-jp-theme-light="true"], [data-theme="light"], .vscode-light) :scope iframe {{
  height: {light}px; color-scheme: light;
}}
:is([data-jp-theme-light="false"], [data-theme="dark"], .vscode-dark) :scope iframe {{
  height: {dark}px; color-scheme: dark;
}}
"""
UNTRUSTED = (
    "The network to click through is not shown here: this notebook is not trusted, or what shows it runs no scripts. "
    "Trust the notebook, or run the cell."
)


class Explorer:
    """A network to click through: every z, a, delta, dW and db of a sample in its formula; a notebook shows it.

    Attributes
    ----------
    page : str
        The HTML file in the frame, which needs no network.
    """

    def __init__(self, trace: Any, height: int = 640) -> None:
        if not isinstance(height, int) or not 100 <= height <= 10_000:
            raise InvalidInput(f"height={height!r}: a whole number of pixels from 100 to 10,000 is needed")
        script = "\n".join(static(name) for name in SCRIPTS)
        layout = static("explorer.html")
        fixed = len(script) + len(layout) + len(styles("page.css")) + len(static("frame.html"))
        found = explored(trace, (MOST_BYTES - fixed) // 2) if len(trace) else None
        if found is None:
            raise InvalidInput("the network is too large for a frame in a notebook; trace fewer samples")
        about, data = found
        self._about, self._trace, self._height = about, trace, height
        self.page = Template(static("frame.html")).substitute(
            policy=policy(script.encode()),
            title="Explorer",
            style=styles("page.css"),
            dark_from=height + TALLER // 2,
            explorer=layout,
            explorers=compressed(as_json([about])),
            records=letters(data),
            script=script,
        )

    def _parts(self) -> showing.Parts:
        trace, epochs = self._trace, self._about["epochs"]
        sizes = "-".join(map(str, trace.network.sizes))
        times = "" if len(trace) == 1 else f", epochs {epochs[0]:,} to {epochs[-1]:,}"
        yield f"Explorer of {sizes}: {numbered(len(trace.samples), 'sample')}{times}"
        rows = [
            (name, *(f"{float(trace[name][at]):.6g}" for at in dict.fromkeys((0, -1 % len(trace)))))
            for name in ("loss", trace.metric)
        ]
        yield showing.Table(("", "value") if len(trace) == 1 else ("", "first", "last"), rows)

    def _repr_html_(self) -> str:
        """What a notebook shows; one that is not trusted leaves out the frame and the style, and shows the numbers."""
        style = STYLE.format(light=self._height, dark=self._height + TALLER)
        frame = f'<iframe sandbox="allow-scripts" title="Explorer" srcdoc="{html.escape(self.page)}"></iframe>'
        said = f"<p>{UNTRUSTED}</p>\n{showing.html(self._parts())}"
        return showing.scoped(style, f'{frame}\n<div class="untrusted">{said}</div>')

    def _repr_markdown_(self) -> str:
        """The numbers, for what shows no HTML."""
        return showing.markdown(self._parts())

    def __repr__(self) -> str:
        return showing.text(self._parts())
