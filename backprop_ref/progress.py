"""A progress bar on standard error for what takes over two seconds; none where that is not a terminal."""

import sys
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress

PATIENCE = 2.0


class Bar:
    """A bar of `total` steps, of which some are done; it shows up once they are expected to take over `PATIENCE`
    seconds.

    `what` says what a step is, such as 'epoch'. Where nothing is `wanted`, it shows up only if standard error is a
    terminal.
    """

    def __init__(self, what: str, total: int, wanted: bool | None = None, done: int = 0) -> None:
        self.what, self.total, self.first = what, total, done
        self.enabled = (sys.stderr is not None and sys.stderr.isatty()) if wanted is None else bool(wanted)
        self.started = time.perf_counter()
        self._bar: Progress | None = None

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
            self._bar = _rich_bar()
            self._bar.start()
            self._task = self._bar.add_task(self.what, total=self.total, text="")
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
