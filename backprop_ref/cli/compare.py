"""backprop-ref compare."""

from typing import Any

from backprop_ref.backends import names
from backprop_ref.cli import show
from backprop_ref.commands import compare as run_compare
from backprop_ref.errors import BackendUnavailable, InvalidInput, unknown
from backprop_ref.experiments.config import merge
from backprop_ref.experiments.runner import prepare


def compare(dataset, backends, numerics, dtype, steps, as_json, flags):
    """Prints a row for each backend; 1 if one differs under reproducible numerics."""
    compared = run(dataset, backends, numerics, dtype, steps, flags)
    if as_json:
        show.as_json(compared.to_dict())
    else:
        print_table(compared)
    return 0 if compared.ok or numerics == "fast" else 1


def run(dataset, backends, numerics, dtype, steps, flags):
    """Compares as told."""
    flags = {"--hidden": ["32"], "--batch-size": "32", **flags}
    if "--data-path" not in flags:
        flags["--dataset"] = dataset or "digits"
    elif dataset is not None:
        raise InvalidInput(f"both {dataset} and --data-path {flags['--data-path']}: give one of them")
    config = merge({**flags, "--numerics": numerics, **({"--dtype": dtype} if dtype else {})})
    experiment, training = prepare(config), config.training
    params = experiment.network.init(config.training.seed, config.network.init, config.backend.dtype)
    x, y, weights = experiment.counted("train", params.dtype)
    batch_size: Any = len(x) if training.batch_size == "full" else training.batch_size
    x, y = x[: steps * batch_size], y[: steps * batch_size]
    chosen = [name.strip() for name in backends.split(",")] if backends else names()
    for name in chosen:
        if name not in names() and ":" not in name:
            raise unknown("backend", name, names())
    compared = run_compare(
        experiment.network,
        params,
        x,
        y,
        backends=chosen,
        numerics=numerics,
        sample_weight=None if weights is None else weights[: len(x)],
        batch_size=batch_size,
        optimizer=experiment.optimizer,
        shuffle=config.training.shuffle,
        shards=config.training.shards,
        dropout=config.training.dropout,
        seed=training.seed or 0,
    )
    for row in compared.found if backends else ():
        if not row.usable:
            raise BackendUnavailable(f"backend {row.backend}: {row.reason}")
    return compared


def print_table(compared):
    """Prints a row for each backend."""
    title, about, table, *said = compared.parts()
    show.say(title, about)
    show.table(table.header, table.rows)
    show.say(*said)
