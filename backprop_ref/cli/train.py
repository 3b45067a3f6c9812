"""backprop-ref train."""

import contextlib
import shlex
from pathlib import Path

import numpy as np

from backprop_ref.cli import show
from backprop_ref.errors import BackpropRefError, InvalidInput
from backprop_ref.experiments.config import merge
from backprop_ref.experiments.runner import csv_bytes, merged, prepare, run, run_beside
from backprop_ref.network.model_file import load_all
from backprop_ref.ranks import launched
from backprop_ref.text import numbered
from backprop_ref.training.checkpoint import CHECKPOINT
from backprop_ref.training.ctrl_c import ended_in_words
from backprop_ref.training.rate_search import find_learning_rate

MUCH_CSV_BYTES = 50e6
CURVE, SHOWN = ("rates", "losses", "smoothed"), 20


def find_rate(dataset, config_file, flags):
    """Suggests a learning rate for what would be trained, and shows the losses it goes by."""
    for flag in ("--resume", "--run-dir", "--output", "--folds", "--from", "--learning-rate", "--trace"):
        if flag in flags:
            raise InvalidInput(f"--find-rate trains nothing to keep; leave out {flag}")
    config = merge(_with_dataset(dataset, flags), config_file)
    experiment, training, chosen = prepare(config), config.training, config.backend
    found = find_learning_rate(
        experiment.network,
        experiment.network.init(training.seed, config.network.init, chosen.dtype),
        *experiment.xy("train"),
        **experiment.of_steps,
        backend=chosen.name,
        numerics=chosen.numerics,
        device=chosen.device,
        threads=chosen.threads,
    )
    if config.run.json_:
        curve = {
            name: [value if np.isfinite(value) else None for value in getattr(found, name).tolist()] for name in CURVE
        }
        show.as_json({"suggested": found.suggested, "reason": found.reason, **curve})
        return 0
    every = range(0, len(found.rates), max(1, len(found.rates) // SHOWN))
    rows = [tuple(f"{getattr(found, name)[i]:.3g}" for name in CURVE) for i in every]
    show.table(("rate", "loss", "smoothed"), rows)
    if found.suggested is not None:
        show.line(f"suggested: --learning-rate {found.suggested:.2g}")
    show.say(found.reason)
    return 0


def _with_dataset(dataset, flags):
    """The flags with the data set that stands by itself."""
    if dataset is None:
        return flags
    if "--dataset" in flags:
        raise InvalidInput(f"both {dataset} and --dataset {flags['--dataset']}: give one of them")
    return {"--dataset": dataset, **flags}


def train(dataset, config_file, flags):
    """Trains as told, prints the outcome; 130 after Ctrl-C."""
    flags = _with_dataset(dataset, flags)
    config = merged(flags, config_file)
    if config.data.folds is not None and config.data.fold is None and config.run.resume is None:
        return _folds(config)
    comm = launched.world()
    if comm is not None and comm.rank > 0:
        run_beside(config, comm)
        return 0
    warn_of_csv([config])
    with ended_in_words(lambda: f"interrupted; {_how_to_go_on(config.run.dir)}"):
        try:
            results = run(config, announce=lambda note: show.say(note, err=config.run.json_), may_grow=False, comm=comm)
        except BrokenPipeError:  # which one process ends by in silence, and several would wait for rank 0
            if comm is None:
                raise
            said = "standard output: nobody reads it any more; have it read, or leave out the pipe"
            raise InvalidInput(said) from None
    if config.run.json_:
        show.as_json(results)
    else:
        print_results(results)
    return 130 if results["stopped"] == "interrupted" else 0


def _of_the_next(results):
    """What Ctrl-C left of the epoch under way, which a resumed run goes on in."""
    rows = 0
    if results["stopped"] == "interrupted":
        with contextlib.suppress(BackpropRefError):  # of a folder that is gone
            rows = load_all(Path(results["run_dir"], CHECKPOINT))[2]["progress"].get("begun", 0)
    return f" and {rows:,} of {results['rows']['train']:,} rows of the next" if rows else ""


def _how_to_go_on(folder):
    """What to do with a run that something stopped."""
    if folder is None or not (Path(folder) / CHECKPOINT).exists():
        return "nothing was trained yet"
    return f"go on with: backprop-ref train --resume {shlex.quote(str(folder))}"


def _folds(config):
    """Trains once for each fold; the mean of the scores and their deviation."""
    if launched.world() is not None:
        raise InvalidInput("--folds in several processes: train one fold after the other, each by its --fold")
    if config.run.output is not None:
        raise InvalidInput("--output with --folds: each fold has results of its own; leave it out, and use --json")
    folder, all_results = config.run.dir, []
    for number in range(config.data.folds):
        one = config.model_copy(deep=True)
        one.data.fold = number
        one.run.dir = None if folder is None else f"{folder}-{number}"
        told = [] if number else [lambda note: show.say(note, err=config.run.json_)]
        results = run(one, announce=told[0] if told else lambda note: None, may_grow=False)
        all_results.append(results)
        if not config.run.json_:
            show.line(f"fold {number}: {show.short(results['test'])}, {results['run_dir']}")
            show.never_found(results["test"])
        if results["stopped"] == "interrupted":
            return 130
    measure = "accuracy" if "accuracy" in all_results[0]["test"] else "r2"
    scores = np.array([results["test"][measure] for results in all_results])
    summary = {"measure": measure, "mean": scores.mean().item(), "deviation": scores.std(ddof=1).item()}
    if config.run.json_:
        show.as_json({**summary, "folds": all_results})
    else:
        name = "R²" if measure == "r2" else measure
        show.line(f"{len(scores)} folds: {name} {summary['mean']:.4f}, deviation {summary['deviation']:.4f}")
    return 0


def warn_of_csv(configs):
    """Says beforehand, on standard error, how much some runs will write as CSV, where that is a lot."""
    size = sum(csv_bytes(prepare(config)) for config in configs if "csv" in (config.trace.sinks or ()))
    if size > MUCH_CSV_BYTES:
        written = f"{size / 1e6:,.0f} MB" if size < 1e9 else f"{size / 1e9:,.1f} GB"
        show.line(
            f"the trace as CSV will take about {written}; less with --trace-every N, with --trace-samples 0, "
            "or as --trace binary or parquet",
            err=True,
        )


def print_results(results):
    """What a training reached, in a few lines."""
    network = results["network"]
    sizes = "-".join(map(str, network["sizes"]))
    described = f"{', '.join(network['activations'])}, {network['loss']}"
    show.say(f"{results['name']}: network {sizes}, {results['n_parameters']:,} parameters, {described}")
    where = f"{results['backend']} ({results['numerics']}, {results['dtype']})"
    best = f", best epoch {results['best_epoch']}" if results["best_epoch"] else ""
    compiled = f", after compiling for {results['compile_seconds']:.1f} s" if results["compile_seconds"] > 0.05 else ""
    done = f"{numbered(results['epochs'], 'epoch')}{_of_the_next(results)}"
    show.say(f"{done} in {results['seconds']:.1f} s on {where}{compiled}{best}")
    if results["stopped"] == "interrupted":
        show.line(f"interrupted; {_how_to_go_on(results['run_dir'])}")
    elif results["stopped"] == "patience":
        show.say("stopped early: the validation loss no longer improved")
    if results["validation"]:
        show.say(f"validation rows: {show.short(results['validation'])}")
    if not results["train"] and results["epochs"]:  # of a folder
        show.say(f"training rows, in the last epoch: {show.short(results['history_last'])}")
    if results["test"]:
        if results["train"]:
            show.say(f"training rows: {show.short(results['train'])}")
        show.scores("test", results["test"])
        show.never_found_but_in(results["test"], results["train"])
    elif results["train"]:
        show.scores("training rows (none kept for a test)", results["train"])
    show.line(f"run folder: {results['run_dir']}")
