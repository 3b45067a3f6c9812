"""A grid of runs: workers, resuming, and one table with a row for each."""

import itertools
import math
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, StrictStr, ValidationError

from backprop_ref import showing
from backprop_ref.asking import ask
from backprop_ref.errors import InvalidInput, TrainingDiverged, unknown
from backprop_ref.experiments.config import check_backend, merge
from backprop_ref.experiments.gather import read_history
from backprop_ref.experiments.reading import Row
from backprop_ref.experiments.run_folder import before_checkpoint, check_links, check_log, remove
from backprop_ref.experiments.runner import prepare, run
from backprop_ref.experiments.schema import Config
from backprop_ref.experiments.workers import await_workers, in_processes
from backprop_ref.files import create, json_text, make_folder, refuse_links, remove_torn, replace
from backprop_ref.progress import Bar
from backprop_ref.report.ends import STATES, outcome, right_from
from backprop_ref.stored import parsed, read_text
from backprop_ref.text import as_table, numbered
from backprop_ref.traces.file import FILE, open_trace
from backprop_ref.training.checkpoint import CHECKPOINT, locked

PLAN, ROW, CELLS, TABLES = "sweep.json", "cell.json", "cells", ("table.csv", "table.json")
ELSEWHERE = ("dir", "resume", "output")
"""What a run's configuration may say of where it goes, and a sweep's may not."""
MOST_SHOWN = 50
"""Rows of the table that a notebook shows."""
WORTH_WORKERS_SECONDS = 10.0
"""What is left has to take longer than this before processes are started for it, each of which has to import first."""


class Axis(NamedTuple):
    """One dimension of a grid."""

    flag: str
    flags_of: Callable[[str], dict[str, Any]]
    """What a value means, as flags of a single run."""


def _loss(text):
    output, _, loss = text.rpartition("+")
    return {"--loss": loss, **({"--output-activation": output} if output else {})}


def _width(text):
    if not re.fullmatch(r"none|\d+(x\d+)*", text):
        raise InvalidInput(
            f"{ask('--widths')}: '{text}' is not allowed; whole numbers with x between, or none, are needed"
        )
    return {"--hidden": [] if text == "none" else text.split("x")}


AXES = {
    "learning_rate": Axis("--learning-rates", lambda text: {"--learning-rate": text}),
    "activation": Axis("--activations", lambda text: {"--activation": [text]}),
    "loss": Axis("--losses", _loss),
    "init": Axis("--inits", lambda text: {"--init": text}),
    "width": Axis("--widths", _width),
    "optimizer": Axis("--optimizers", lambda text: {"--optimizer": text}),
    "seed": Axis("--seeds", lambda text: {"--seed": text}),
}


EARLIER_AXES = {"weight_init": "init"}
"""What axes were called before; plans of then keep the names, as folders have them."""


class Cell(NamedTuple):
    """A point of the grid."""

    values: dict[str, str]
    config: dict[str, Any]

    @property
    def name(self):
        """Its folder's name."""
        return ",".join(f"{axis}={value}" for axis, value in self.values.items())

    @property
    def backend(self):
        """The name of its backend; None: the one in force."""
        return Config(**self.config).backend.name


def _check_cell(cell, config, where):
    """Refuses values of which no folder's name can be made, and a configuration that leads out of that folder."""
    for axis, value in cell.values.items():
        if axis not in {*AXES, *EARLIER_AXES}:
            raise unknown(f"axis in {where}", axis, AXES)
        if not re.fullmatch(r"[\w.+-]+", value, re.ASCII):
            raise InvalidInput(
                f"{where}: {axis} {value!r} is no value of a sweep; letters, digits and . + - _ are allowed"
            )
    check_log(config.logging.file)
    for key in ELSEWHERE:
        if getattr(config.run, key) is not None:
            raise InvalidInput(f"{where}: run.{key}: the runs of a sweep go into its own folder; leave it out")


class _Entry(BaseModel):
    """A cell as the plan has it."""

    values: dict[StrictStr, StrictStr]
    config: dict[StrictStr, Any]


class _Content(BaseModel):
    """What the plan has to say; whatever else stands there is left out."""

    name: StrictStr
    experiment: StrictStr | None
    title: StrictStr
    grid: dict[StrictStr, list[StrictStr]]
    cells: list[_Entry]


def grid_of(given, section):
    """The grid, axis -> values as text, from flags (axis -> text) over the section `sweep` of a file."""
    grid = {}
    section = {EARLIER_AXES.get(axis, axis): values for axis, values in section.items()}
    for axis in section:
        if axis not in AXES:
            raise unknown("axis in section sweep", axis, AXES)
    for axis, (flag, _) in AXES.items():
        values = given.get(axis) or section.get(axis)
        if values is None:
            continue
        listed = values if isinstance(values, list) else [values]
        texts = values.split(",") if isinstance(values, str) else [_text(value) for value in listed]
        found = [each for text in texts for each in _ranged(axis, text.strip())]
        if not all(found):
            raise InvalidInput(f"{ask(flag)}: an empty value; give values with commas between")
        if len(set(found)) < len(found):
            raise InvalidInput(f"{ask(flag)} {','.join(found)}: a value stands there twice")
        grid[axis] = found
    if not grid:
        flags = ", ".join(ask(axis.flag) for axis in AXES.values())
        raise InvalidInput(f"nothing to sweep over: give at least one of {flags}")
    return grid


def _text(value):
    """A YAML value as on the command line: [32, 16] is 32x16."""
    return "x".join(map(str, value)) if isinstance(value, list) else str(value)


MOST_RUNS = 10_000
"""Of a sweep."""


def _ranged(axis, text):
    match = re.fullmatch(r"(\d{1,18})-(\d{1,18})", text) if axis == "seed" else None
    if match is None:
        return [text]
    first, last = int(match[1]), int(match[2])
    if first > last:
        raise InvalidInput(f"{ask('--seeds')}: {text} is empty; give the smaller one first, as {last}-{first}")
    if last - first >= MOST_RUNS:
        said = f"{text} are {last - first + 1:,}, and {MOST_RUNS:,} runs a sweep at most"
        raise InvalidInput(f"{ask('--seeds')}: {said}; give fewer")
    return [str(seed) for seed in range(first, last + 1)]


def plan(grid, flags, path=None):
    """The cells of a grid over what `flags` (flag -> value) and a file say, all of them checked."""
    runs = math.prod(map(len, grid.values()))
    if runs > MOST_RUNS:
        raise InvalidInput(
            f"{path or 'sweep'}: {runs:,} runs, and a sweep has {MOST_RUNS:,} at most; give fewer values"
        )
    cells = []
    checked = set()
    for values in itertools.product(*grid.values()):
        named = dict(zip(grid, values, strict=True))
        implied: dict[str, Any] = {}
        given_as: dict[str, str] = {}
        for axis, value in named.items():
            meant = AXES[axis].flags_of(value)
            implied |= meant
            given_as |= dict.fromkeys(meant, AXES[axis].flag)
        for flag in sorted(set(implied) & set(flags)):
            raise InvalidInput(f"both {ask(flag)} and a sweep over it: give one of them")
        config = merge({**flags, **implied}, path, besides=("sweep",), given_as=given_as)
        cell = Cell(named, config.model_dump(by_alias=True))
        _check_cell(cell, config, path or "sweep")
        rest = tuple(value for axis, value in named.items() if axis != "seed")
        if rest not in checked:
            _check(config, named)
            checked.add(rest)
        cells.append(cell)
    return cells


def _check(config, values):
    """Loads the data and makes the network, so that what does not fit is said before anything is trained."""
    try:
        prepare(config)
    except InvalidInput as error:
        what = ", ".join(f"{axis} {value}" for axis, value in values.items())
        raise InvalidInput(f"{what}: {error}") from None


class Sweep:
    """The folder of a sweep: its plan, its cells, its table. `about` has name and title, JSON-ready."""

    def __init__(self, folder, about, cells):
        self.folder, self.about, self.cells = Path(folder), about, cells

    @classmethod
    def create(cls, folder, about, cells):
        """A new one; with no folder given, the next free ./sweeps/NAME-N."""
        sweep = cls(make_folder("--out", folder, Path("sweeps", about["name"])), about, cells)
        content = {**about, "cells": [cell._asdict() for cell in cells]}
        try:
            create(sweep.folder / PLAN, json_text(content) + "\n")
        except OSError as error:
            raise InvalidInput(f"{ask('--out', str(sweep.folder))}: cannot be written to ({error.strerror})") from None
        return sweep

    @classmethod
    def open(cls, folder):
        """The one in a folder; what its plan says, and any link in it, has to stay inside the folder."""
        path = Path(folder) / PLAN
        try:
            content = _Content(**parsed(read_text(path))).model_dump()
            cells = [Cell(**cell) for cell in content.pop("cells")]
            configs = [Config(**cell.config) for cell in cells]
        except FileNotFoundError:
            raise InvalidInput(
                f"{folder}: no folder of a sweep (no {PLAN} in it); give one that a sweep wrote"
            ) from None
        except ValidationError as error:
            wrong = error.errors()[0]
            place = ".".join(map(str, wrong["loc"]))
            raise InvalidInput(f"{path}: not the plan of a sweep, or damaged ({place}: {wrong['msg']})") from None
        except (ValueError, TypeError, RecursionError) as error:
            raise InvalidInput(f"{path}: not the plan of a sweep, or damaged ({error})") from None
        for cell, config in zip(cells, configs, strict=True):
            _check_cell(cell, config, path)
            if cell.values.keys() != content["grid"].keys():
                raise InvalidInput(
                    f"{path}: not the plan of a sweep, or damaged ({cell.values} is no point of its grid)"
                )
        names = {cell.name for cell in cells}
        if len(names) < len(cells) or "" in names:
            raise InvalidInput(f"{path}: not the plan of a sweep, or damaged (a cell twice, or no axis)")
        refuse_links(folder, *(Path(CELLS) / name / ROW for name in sorted(names)))
        return cls(folder, content, cells)

    def place(self, cell):
        """The run folder of a cell."""
        return self.folder / CELLS / cell.name

    def newest_report(self):
        """The last page written into the folder, if no run has ended since; else None."""
        changed = max((path.stat().st_mtime_ns for path in self.folder.glob(f"{CELLS}/*/{ROW}")), default=0)
        pages = [path for path in self.folder.glob("report*.html") if path.stat().st_mtime_ns > changed]
        return max(pages, key=lambda path: path.stat().st_mtime_ns, default=None)

    def rows(self):
        """The rows of the cells that are finished, in the order of the grid."""
        found = [_read_row(cell, self.place(cell)) for cell in self.cells]
        return [row for row in found if row is not None]

    def _parts(self) -> showing.Parts:
        rows, columns = self.rows(), [*self.about["grid"], "outcome", "epochs", "final_loss"]
        yield f"{self.about['title']}: {len(rows)} of {numbered(len(self.cells), 'run')}, in {self.folder}"
        values = ([row.get(name) for name in columns] for row in rows[:MOST_SHOWN])
        yield showing.Table(columns, [[f"{v:.4g}" if isinstance(v, float) else str(v) for v in row] for row in values])
        if len(rows) > MOST_SHOWN:
            yield f"the first {MOST_SHOWN} of {len(rows):,} rows; table.csv has them all"

    def __repr__(self) -> str:
        return showing.text(self._parts())

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return showing.html(self._parts())

    def _repr_markdown_(self) -> str:
        """The same as Markdown."""
        return showing.markdown(self._parts())

    def run(
        self,
        workers: int | None = None,
        progress: bool | None = None,
        backend: str | None = None,
        scheduler: str | None = None,
    ) -> None:
        """Runs what is not finished yet, and writes the table; also after Ctrl-C, which goes on to the caller.

        `workers` are processes (default: as many as processors, where there is enough to do for them); `progress` shows
        a bar (default: if standard error is a terminal); `backend`, of this command line, allows the plan's: see
        `check_backend`; `scheduler` is the address of Dask's, whose workers run the cells instead.
        """
        for cell in self.cells:
            check_backend(cell.backend, self.folder / PLAN, backend)
        lock = locked(self.folder)
        try:
            await_workers(self.folder / PLAN)
            self._run(workers, progress, scheduler)
        finally:
            if lock is not None:
                os.close(lock)

    def _run(self, workers, progress, scheduler):
        ahead = [cell for cell in self.cells if _read_row(cell, self.place(cell)) is None]
        done = len(self.cells) - len(ahead)
        tasks = [(str(self.place(cell)), cell.values, cell.config) for cell in ahead]
        refuse_links(self.folder, *TABLES)
        remove_torn(self.folder, PLAN, *TABLES)
        for folder, _, config in tasks:
            _begun(Path(folder), Config(**config))
        try:
            with Bar("cell", len(self.cells), progress, done) as bar:
                here = _run_all(tasks, workers, str(self.folder / PLAN))
                for _ in here if scheduler is None else _run_elsewhere(tasks, scheduler):
                    done += 1
                    bar.update(done)
            self.write_table()
        except (InvalidInput, OSError) as error:
            what = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else error
            elsewhere = "" if scheduler is None else f" {ask('--scheduler', scheduler)}"
            remedy = f"then go on with: backprop-ref sweep --resume {self.folder}{elsewhere}"
            raise InvalidInput(f"{what}; {remedy}") from None
        except KeyboardInterrupt:
            self.write_table()
            raise

    def write_table(self):
        """table.csv and table.json: the finished cells."""
        rows = self.rows()
        for name, content in zip(TABLES, (as_table(rows), json_text(rows) + "\n"), strict=True):
            replace(self.folder / name, content)


def _read_row(cell, folder):
    """The row of a finished cell, or None."""
    try:
        row: dict[str, Any] = parsed(read_text(folder / ROW))
        Row.checked(row)
        for name, value in {**cell.values, "folder": _relative(folder)}.items():
            if row.get(name) != value:
                raise ValueError(f"of another cell, whose {name} is {row.get(name)!r}")
    except FileNotFoundError:
        return None
    except ValueError as error:
        again = f"remove it, and the cell is run again by: backprop-ref sweep --resume {folder.parent.parent}"
        raise InvalidInput(f"{folder / ROW}: damaged, or of another version ({error}); {again}") from None
    return row


def _relative(folder):
    """A cell's folder as its row names it."""
    return str(Path(CELLS) / folder.name)


def _run_all(tasks, workers, plan):
    """Runs the tasks, first one after the other, and in processes once that pays; yields as they end."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    first = True
    while tasks and (workers or 1) == 1:
        started = time.perf_counter()
        yield run_cell(*tasks.pop(0))
        spent = time.perf_counter() - started
        if workers is None and not first and cores > 1 and spent * len(tasks) > WORTH_WORKERS_SECONDS:
            workers = cores
        first = False  # whose time is that of imports and compilation most of all
    if tasks:
        workers = min(workers, len(tasks))
        yield from in_processes(run_cell, tasks, workers, max(1, cores // workers), plan)


def _run_elsewhere(tasks, scheduler):
    """Runs the tasks on the workers of a Dask scheduler; yields as they end."""
    from backprop_ref.experiments.elsewhere import on_scheduler

    for folder, _, config in tasks:
        remove(_begun(Path(folder), Config(**config)))
    yield from on_scheduler(scheduler, run_cell, tasks, ROW)


def run_cell(folder, values, config):
    """Runs one cell, or goes on with it, and writes its row, which says that it is finished.

    A cell that diverges is finished too.
    """
    folder, config = Path(folder), Config(**config)
    if (folder / CHECKPOINT).exists():
        remove_torn(folder, ROW)
        config.run.resume = str(folder)
    else:
        remove(_begun(folder, config))
        config.run.dir = str(folder)
    try:
        results = run(config, progress=False)
    except TrainingDiverged as error:
        row = _diverged(error)
    else:
        if results["stopped"] == "interrupted":
            raise KeyboardInterrupt
        row = _finished(results)
    row = {**values, **_with_outcome(row, _initial_loss(folder, config))}
    row["all_right_from_epoch"] = right_from(read_history(folder).get("accuracy", ()))
    row["folder"] = _relative(folder)
    create(folder / ROW, json_text(row) + "\n")
    return row


def _begun(folder, config):
    """What has to go before a cell begins anew; none of it where there is a checkpoint, from which it goes on.

    A link, or something that no run makes, is refused.
    """
    if (folder / CHECKPOINT).exists():
        check_links(folder, config.logging.file)
        return []
    return before_checkpoint(folder, config.logging.file) if folder.exists() else []


def _with_outcome(row, initial_loss):
    """A row with its state in words, and behind it what became of the loss."""
    stopped = row.pop("state")
    became = outcome(stopped, initial_loss, row["final_loss"])
    return {"state": STATES[stopped], "outcome": became, "initial_loss": initial_loss, **row}


def _finished(results):
    row = {"state": results["stopped"], "final_loss": results["train"]["loss"], "epochs": results["epochs"]}
    row["diverged_in_epoch"] = None
    for part in ("train", "validation", "test"):
        for name in ("loss", "accuracy", "r2"):
            if results[part] and name in results[part] and (part, name) != ("train", "loss"):
                row[f"{part}_{name}"] = results[part][name]
    return row | {key: results[key] for key in ("seconds", "compile_seconds", "sha256")}


def _diverged(error):
    result = error.result
    row = {"state": "diverged", "final_loss": None, "epochs": result.epochs, "diverged_in_epoch": error.epoch}
    return row | {"compile_seconds": result.compile_seconds, "sha256": result.params.sha256()}


def _initial_loss(folder, config):
    """That of all training rows with the initial weights: epoch 0 of the trace, if there is a binary one."""
    if (folder / FILE).exists():
        return float(open_trace(folder)["loss"][0])
    experiment = prepare(config)
    params = experiment.network.init(config.training.seed, config.network.init, config.backend.dtype)
    return experiment.initial_loss(params)
