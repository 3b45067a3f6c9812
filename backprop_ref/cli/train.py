"""backprop-ref train and demo."""

import time
from pathlib import Path

import typer

from backprop_ref.cli import show
from backprop_ref.errors import InvalidInput
from backprop_ref.experiments.config import merge
from backprop_ref.experiments.runner import CONFIG, run

RESUMABLE = {"--resume", "--epochs", "--patience", "--json", "--output", "--log-level"}


def train(dataset, config_file, flags):
    """Trains as told, prints the outcome; 130 after Ctrl-C."""
    if dataset is not None:
        if "--data-path" in flags:
            raise InvalidInput(f"both a data set ({dataset}) and --data-path {flags['--data-path']}: give one of them")
        flags = {"--dataset": dataset, **flags}
    if "--resume" in flags:
        refused = sorted(set(flags) - RESUMABLE)
        if refused or config_file:
            raise InvalidInput(f"--resume goes on by the run's own configuration; leave out {(refused or ['--config'])[0]} or start a new run")
        config_file = Path(flags["--resume"]) / CONFIG
        if not config_file.is_file():
            raise InvalidInput(f"--resume {flags['--resume']}: no run folder (no {CONFIG} in it); give the folder of an earlier run")
    config = merge(flags, config_file)
    if config.run.resume is not None and config_file is not None:
        config.run.dir = config.run.resume
    results = run(config)
    if config.run.json_:
        show.as_json(results)
    else:
        _report(results)
    return 130 if results["stopped"] == "interrupted" else 0


def _report(results):
    network = results["network"]
    sizes = "-".join(map(str, network["sizes"]))
    typer.echo(f"{results['name']}: network {sizes}, {results['n_parameters']:,} parameters, {', '.join(network['activations'])}, {network['loss']}")
    best = f", best epoch {results['best_epoch']}" if results["best_epoch"] else ""
    typer.echo(f"{results['epochs']} epochs in {results['seconds']:.1f} s on {results['backend']} ({results['numerics']}, {results['dtype']}){best}")
    if results["stopped"] == "interrupted":
        typer.echo(f"interrupted; go on with: backprop-ref train --resume {results['run_dir']}")
    elif results["stopped"] == "patience":
        typer.echo("stopped early: the validation loss no longer improved")
    if results["test"]:
        typer.echo(f"training rows: {_short(results['train'])}")
        show.scores("test", results["test"])
    else:
        show.scores("training rows (none kept for a test)", results["train"])
    typer.echo(f"run folder: {results['run_dir']}")


def _short(scored):
    return f"R² {scored['r2']:.4f}" if "r2" in scored else f"accuracy {scored['accuracy']:.4f}"


def demo():
    """Digits, trained and checked."""
    from backprop_ref.cli.check import gradcheck

    started = time.perf_counter()
    typer.echo("1. Train a network on 1,797 real handwritten digits: backprop-ref train digits\n")
    results = run(merge({"--dataset": "digits"}))
    _report(results)
    typer.echo(f"\n2. Check its gradients: backprop-ref gradcheck {results['run_dir']} --entries 100\n")
    status = gradcheck(results["run_dir"], 7, 100, 1, False, {})
    typer.echo(f"\nDone in {time.perf_counter() - started:.1f} s. Next: the README, or backprop-ref --help")
    return 130 if results["stopped"] == "interrupted" else status
