"""backprop-ref compare."""

import platform
from typing import NamedTuple

from backprop_ref.backends import names
from backprop_ref.cli import show
from backprop_ref.errors import BackendUnavailable, InvalidInput, unknown
from backprop_ref.experiments.compare import Comparison
from backprop_ref.experiments.compare import compare as run_compare
from backprop_ref.experiments.config import merge
from backprop_ref.experiments.runner import prepare
from backprop_ref.network import Network
from backprop_ref.parameters import Parameters

REFERENCE = "numpy, reproducible"


class Compared(NamedTuple):
    """What was compared, and what came out."""

    network: Network
    params: Parameters
    batch_size: int
    rows: int
    found: list[Comparison]
    numerics: str

    @property
    def ok(self):
        """Whether no usable backend differs."""
        return all(row.all_exact for row in self.found if row.usable)

    def to_dict(self):
        """As ``--json`` prints it."""
        rows = [{**row._asdict(), "all_exact": row.all_exact} for row in self.found]
        for row in rows:
            row["first"] = row["first"] and row["first"]._asdict()
        network = self.network.to_dict()
        about = {"ok": self.ok, "reference": REFERENCE, "numerics": self.numerics, "network": network}
        return {**about, "backends": rows}


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
    experiment = prepare(config)
    params = experiment.network.init(config.training.seed, config.network.init, config.backend.dtype)
    x, y, weights = experiment.counted("train", params.dtype)
    batch_size = len(x) if config.training.batch_size == "full" else config.training.batch_size
    x, y = x[: steps * batch_size], y[: steps * batch_size]
    chosen = [name.strip() for name in backends.split(",")] if backends else names()
    for name in chosen:
        if name not in names() and ":" not in name:
            raise unknown("backend", name, names())
    found = run_compare(
        experiment.network,
        params,
        x,
        y,
        chosen,
        numerics,
        sample_weight=None if weights is None else weights[: len(x)],
        batch_size=batch_size,
        optimizer=experiment.optimizer,
        shuffle=config.training.shuffle,
        shards=config.training.shards,
        seed=config.training.seed,
    )
    for row in found if backends else ():
        if not row.usable:
            raise BackendUnavailable(f"backend {row.backend}: {row.reason}")
    return Compared(experiment.network, params, batch_size, len(x), found, numerics)


def print_table(compared):
    """Prints a row for each backend."""
    network, params, batch_size, rows, found, numerics = compared
    sizes = "-".join(map(str, network.sizes))
    show.say(f"{sizes}, {', '.join(network.activations)}, {network.loss}, {params.dtype}; batch of {batch_size}")
    machine = platform.processor() or platform.machine()
    show.say(f"held against {REFERENCE}; weights after one epoch of {rows} rows; {machine}")
    table = []
    for row in (row for row in found if row.usable):
        same = sum(row.exact.values())
        verdict = "EXACT" if row.all_exact else f"{same} of {len(row.exact)} exact"
        apart = "0" if row.all_exact else f"{row.largest_ulp:.3g} ulp, {row.largest_relative:.1e}"
        table.append(
            (
                row.backend,
                verdict,
                apart,
                row.gradients[:12],
                row.weights[:12] if row.weights else "diverged",
                "" if row.step_seconds is None else f"{float(f'{1e6 * row.step_seconds:.3g}'):,g} µs",
                "" if row.first_seconds is None else f"{row.first_seconds:.2f} s",
            )
        )
    show.table(("backend", "tensors", "largest difference", "gradients", "weights", "step", "first run"), table)
    for row in found:
        if row.first is not None:
            first = row.first
            layer = "" if first.layer is None else f" of layer {first.layer}"
            entry = f" at {list(first.entry)}" if first.entry else ""
            show.say(f"{row.backend}: differs first in {first.quantity}{layer}{entry}, by {first.ulp:g} ulp")
        elif row.usable and not row.weights_exact:
            show.say(f"{row.backend}: the same gradients, but other weights after training")
        if not row.usable:
            show.say(f"{row.backend}: left out: {' '.join(row.reason.split())}")
    if numerics == "reproducible":
        show.say("identical on every backend" if compared.ok else "NOT identical: see above")
