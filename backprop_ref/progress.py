"""A progress bar for what takes over two seconds: on standard error where that is a terminal, or in a notebook."""

import sys
import time
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from rich.progress import Progress

PATIENCE = 2.0
PACE = 0.1
"""Seconds between two looks of a bar in a notebook."""


class Bar:
    """A bar of `total` steps, of which some are done; it shows up once they are expected to take over `PATIENCE`
    seconds.

    `what` says what a step is, such as 'epoch'. Where nothing is `wanted`, it shows up only if standard error is a
    terminal, or in a notebook.
    """

    def __init__(self, what: str, total: int, wanted: bool | None = None, done: int = 0) -> None:
        self.what, self.total, self.first = what, total, done
        shown = sys.stderr is not None and (sys.stderr.isatty() or _in_notebook())
        self.enabled = shown if wanted is None else bool(wanted)
        self.started = time.perf_counter()
        self._bar: Progress | _NotebookBar | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def update(self, done: int, **values: float) -> None:
        """`done` of `total` steps are finished; `values` are shown behind the bar."""
        if not self.enabled:
            return
        if self._bar is None:
            elapsed = time.perf_counter() - self.started
            if elapsed < 0.2 or elapsed * (self.total - self.first) / max(done - self.first, 1) < PATIENCE:
                return
            self._bar = _NotebookBar() if _in_notebook() else _rich_bar()
            self._bar.start()
            self._task: Any = self._bar.add_task(self.what, total=self.total, text="")
        text = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        self._bar.update(self._task, completed=done, text=text)


def _rich_bar() -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        MofNCompleteColumn(),
        BarColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}", markup=False),
    )
    return Progress(*columns, console=Console(stderr=True), transient=True)


def _in_notebook() -> bool:
    """Whether this runs in a notebook's kernel."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


class _NotebookBar:
    """One line of HTML below the cell, which goes when all is done; in the words of rich's bar."""

    def start(self) -> None:
        import IPython.display as shown

        display: Any = shown  # which has no types
        self._html, self._shown = display.HTML, display.display(display.HTML(""), display_id=True)
        self._last = 0.0

    def add_task(self, what: str, total: int, text: str) -> str:
        self._total = total
        return what

    def update(self, what: str, completed: int, text: str) -> None:
        if time.perf_counter() - self._last < PACE:
            return
        self._last = time.perf_counter()
        bar = f'<progress value="{completed}" max="{self._total}"></progress>'
        self._shown.update(self._html(f"<p>{bar} {what} {completed:,} of {self._total:,} &nbsp; {text}</p>"))

    def stop(self) -> None:
        self._shown.update(self._html(""))
