"""Run folders as the report reads them, also those of runs that still go on or were killed."""

import itertools
import reprlib
import warnings
from pathlib import Path

import numpy as np

from backprop_ref.api import predict
from backprop_ref.errors import BackpropRefError, InvalidInput
from backprop_ref.experiments.config import merge, read_config
from backprop_ref.experiments.reading import Results
from backprop_ref.experiments.reproduce import check_few, traced_again
from backprop_ref.experiments.run_folder import CONFIG, RESULTS
from backprop_ref.experiments.runner import check_same_data, load_run, prepare
from backprop_ref.files import refuse_ways_out
from backprop_ref.metrics import predicted_class
from backprop_ref.report.charts.runs import Boundary, Run
from backprop_ref.report.charts.sweeps import Cell
from backprop_ref.stored import read_text
from backprop_ref.traces.file import FILE, open_trace
from backprop_ref.training.checkpoint import CHECKPOINT
from backprop_ref.training.history_file import HISTORY
from backprop_ref.training.stored_checkpoint import load_checkpoint

RESOLUTION = 90
MOST_NAMED = 3
TOLD_APART_BY = ("training", "network", "backend", "data")
OF_HISTORY = ("epoch", "loss", "accuracy", "r2", "learning_rate", "val_loss", "val_accuracy", "val_r2")
MOST_OF_HISTORY = 2**28
"""Bytes: some five million epochs."""


def gather(folders, most=0):
    """A `Run` for each folder; several are named by what tells their configurations apart. Of the first `most`, small
    ones without a trace are trained again for one.
    """
    folders = [Path(folder) for folder in folders]
    for folder in folders:
        _check(folder)
    differences = _differences(folders)
    named = zip(folders, _told_apart(folders), differences, strict=True)
    return [_gathered(*each, i < most) for i, each in enumerate(named)]


def gather_cells(sweep):
    """The finished cells of a `Sweep`, as its charts take them."""
    found = []
    for row in sweep.rows():
        folder = sweep.folder / row["folder"]
        refuse_ways_out(folder, RESULTS, HISTORY)
        trace = open_trace(folder) if (folder / FILE).exists() else None
        found.append(Cell(row, Run(folder.name, _history(folder, trace), _results(folder), trace)))
    return found


def _check(folder):
    if not folder.exists():
        raise InvalidInput(f"{folder}: no such folder; give the folder of a run, such as runs/digits-1")
    if not (folder / CONFIG).is_file() and not (folder / CHECKPOINT).is_file():
        what = "an empty folder" if folder.is_dir() and not any(folder.iterdir()) else "no run folder"
        inside = [path.parent for path in folder.glob(f"*/{CONFIG}")]
        newest = max(inside, key=lambda each: each.stat().st_mtime_ns, default="runs/digits-1")
        raise InvalidInput(f"{folder}: {what} (no {CONFIG} in it); give the folder of a run, such as {newest}")
    refuse_ways_out(folder, CONFIG, RESULTS, HISTORY)


def _gathered(folder, name, settings, retrained):
    trace = open_trace(folder) if (folder / FILE).exists() else None
    history, results = _history(folder, trace), _results(folder)
    again = trace is None and retrained and results is not None and (folder / CONFIG).is_file()
    untraced = ""
    if again:
        found = traced_again(folder, results)
        trace, untraced = (None, found) if isinstance(found, str) else (found, "")
    if trace is not None:
        trace.features = _features(folder)
    in_blocks = _settings(folder).get("block rows", "None") != "None"
    return Run(
        name, history, results, trace, _boundary(folder), settings, again and trace is not None, in_blocks,
        "" if in_blocks else untraced,
    )  # fmt: skip


def _features(folder):
    """The names of the network's inputs, where there is a table behind them and each is a column of it."""
    if not (folder / CHECKPOINT).exists() or not (folder / CONFIG).is_file():
        return ()
    _, preprocessing = load_run(folder)
    names = preprocessing.feature_names
    return names if len(names) == preprocessing.n_inputs else ()


def _told_apart(folders):
    """The folders' names; their paths where those are the same."""
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def _differences(folders):
    """For each folder, the first few settings in which the runs differ."""
    settings = [_settings(folder) for folder in folders]
    keys = [key for key in dict.fromkeys(itertools.chain(*settings)) if len({one.get(key) for one in settings}) > 1]
    return [", ".join(f"{key} {one.get(key, '–')}" for key in keys[:MOST_NAMED]) for one in settings]


def _settings(folder):
    """What was configured, key -> text, without what only says where things go."""
    if not (folder / CONFIG).is_file():
        return {}
    content = read_config(folder / CONFIG)
    told = {key: value for section in TOLD_APART_BY for key, value in content.get(section, {}).items() if key != "seed"}
    seeds = [content.get(section, {}).get("seed") for section in ("training", "data")]
    told |= {name: seed for name, seed in zip(("seed", "data_seed"), seeds, strict=True) if seed is not None}
    for key, value in told.items():
        if not all(map(_is_plain, value if isinstance(value, list) else [value])):
            raise InvalidInput(f"{folder / CONFIG}: {key} is neither a text or number nor a list of these")
    if told.get("data_seed") == told.get("seed"):
        told.pop("data_seed", None)
    return {key.replace("_", " "): str(value) for key, value in told.items()}


def _is_plain(value):
    return isinstance(value, str | float) or (isinstance(value, int) and abs(value) < 2**63)


def read_history(folder):
    """The columns of history.csv by name."""
    path = folder / HISTORY
    first, *lines = read_text(path, MOST_OF_HISTORY).split("\n")
    lines = lines[:-1]  # what is behind the last line break: nothing, or a line that is being written
    names = first.split(",")
    try:
        known = {"epoch", "loss"} <= set(names) <= set(OF_HISTORY) and {"accuracy", "r2"} & set(names)
        if not known or len(set(names)) < len(names):
            raise ValueError(f"its columns are {reprlib.repr(first)}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # loadtxt's, that there is no row yet
            rows = np.loadtxt(lines, delimiter=",", ndmin=2)
        return dict(zip(names, rows.reshape(-1, len(names)).T, strict=True))
    except ValueError as error:
        raise InvalidInput(f"{path}: not a history of ours, or damaged ({error})") from None


def _history(folder, trace):
    """The history; of a run that has not written it yet, what its trace has of it."""
    try:
        return read_history(folder)
    except FileNotFoundError:
        if trace is None or not len(trace):
            raise InvalidInput(f"{folder}: nothing to see yet: no epoch was written; try again in a moment") from None
        return {"loss": np.array(trace["loss"]), trace.metric: np.array(trace[trace.metric])}


def _results(folder):
    try:
        return Results.read(folder / RESULTS, "results of ours")
    except FileNotFoundError:
        return None if (folder / CONFIG).is_file() else _results_of_checkpoint(folder)


def _results_of_checkpoint(folder):
    """Those of ``br.train(…, run_dir=…)``, which knows no other rows than its own; None while it goes on."""
    model, state, metadata = load_checkpoint(folder / CHECKPOINT)
    if state.stopped is None:
        return None
    identity = metadata["identity"]
    return {
        "network": model.network.to_dict(),
        "epochs": state.epoch,
        "stopped": state.stopped,
        "train": None,
        "test": None,
        "backend": identity["backend"] or "any backend",
        "numerics": identity["numerics"],
        "dtype": identity["dtype"],
        "seconds": None,
    }


def changed_table(folder):
    """What is to be said of a run whose table has other rows by now; None of others.

    Only a table that was written after the run began is read again.
    """
    where = folder / CONFIG
    if not where.is_file() or not (folder / CHECKPOINT).is_file():
        return None
    try:
        config = merge({}, where, environment=False, computing=False)
    except BackpropRefError:
        return None
    tables = [Path(path) for path in (config.data.path, config.data.validation_path) if path is not None]
    times = [path.stat() for path in tables if path.is_file()]
    if not any(max(each.st_mtime_ns, each.st_ctime_ns) > where.stat().st_mtime_ns for each in times):
        return None
    try:
        check_same_data(folder, prepare(config), load_run(folder)[0].params.dtype)
    except BackpropRefError:
        told = ", ".join(map(str, tables))
        return f"{folder}: {told} has changed since; the page shows what was trained on the rows of then"
    return None


def _boundary(folder):
    """What the network says in the plane, if it has two inputs and its data are there."""
    if not (folder / CHECKPOINT).exists() or not (folder / CONFIG).is_file():
        return None
    model, preprocessing = load_run(folder)
    if len(preprocessing.feature_names) != 2 or preprocessing.n_inputs != 2 or preprocessing.targets:
        return None
    try:
        config = merge({}, folder / CONFIG, environment=False, computing=False)
        check_few(config.data)
        experiment = prepare(config)
        check_same_data(folder, experiment, model.params.dtype)
    except BackpropRefError:  # the data are gone, large, or others by now, and none of this run's business
        return None
    if experiment.network != model.network or experiment.preprocessing.classes != preprocessing.classes:
        return None  # the data are others by now
    dataset = experiment.dataset
    low, high = dataset.x.min(axis=0), dataset.x.max(axis=0)
    margin = 0.15 * np.where(high > low, high - low, 1.0)
    across, up = (np.linspace(low[i] - margin[i], high[i] + margin[i], RESOLUTION) for i in (0, 1))
    grid = np.stack([axis.ravel() for axis in np.meshgrid(across, up)], axis=1)
    a = predict(model.network, model.params, preprocessing.x(grid))
    classes = None if preprocessing.classes is None else list(preprocessing.classes)
    says: np.ndarray = a[:, 1] if classes and a.shape[1] == 2 else a[:, 0]
    if classes and len(classes) > 2:
        says = predicted_class(a)
    elif classes is None:
        says = preprocessing.values(a)
    shape = (RESOLUTION, RESOLUTION)
    names = list(dataset.feature_names)
    return Boundary(across, up, says.reshape(shape), dataset.x, np.asarray(dataset.target), names, classes)
