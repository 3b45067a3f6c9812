"""backprop-ref gradcheck."""

from pathlib import Path

import typer

from backprop_ref.cli import show
from backprop_ref.conformance.gradcheck import gradcheck as check
from backprop_ref.errors import InvalidInput
from backprop_ref.experiments.config import merge
from backprop_ref.experiments.runner import CONFIG, load_run, prepare
from backprop_ref.parameters import Parameters


def gradcheck(target, batch_size, entries, seed, as_json, flags):
    """Checks the gradients of a fresh or a trained network; 1 if one is wrong."""
    trained = target is not None and "--data-path" not in flags and (Path(target) / CONFIG).is_file()
    if trained and set(flags) - {"--backend", "--numerics", "--device", "--threads"}:
        raise InvalidInput(f"{target} is a run folder and has its own network and data; leave out {sorted(flags)[0]}")
    if "--data-path" not in flags and not trained:
        flags = {"--dataset": target or "iris", **flags}
    config = merge({**flags, "--seed": seed}, Path(target) / CONFIG if trained else None)
    if trained:
        config = merge({key: value for key, value in flags.items()}, Path(target) / CONFIG)
    experiment = prepare(config)
    params = load_run(target)[0].params if trained else experiment.network.init(seed, config.network.weight_init, "float64")
    params = Parameters.from_arrays(params.W, params.b, "float64")
    x, y = (part[:batch_size] for part in experiment.xy("train"))
    chosen = config.backend
    where = {"backend": chosen.name, "numerics": chosen.numerics, "device": chosen.device, "threads": chosen.threads}
    rows = check(experiment.network, params, x, y, entries=entries, seed=seed, **where)
    ok = all(row.ok for row in rows)
    if as_json:
        show.as_json({"ok": ok, "network": experiment.network.to_dict(), "batch": len(x), "tensors": [row._asdict() for row in rows]})
    else:
        _print(experiment.network, len(x), rows, ok)
    return 0 if ok else 1


def _print(network, batch, rows, ok):
    typer.echo(network.summary() + f"\nbatch of {batch}\n")
    header = ("tensor", "checked", "max |g|", "complex step", "of the bound", "central diff.", "kinks", "Taylor slope", "")
    table = []
    for row in rows:
        slope = "rounding" if row.slope is None else f"{row.slope:.3f}"
        checked = f"{row.checked} of {row.shape[0] * (row.shape[1] if len(row.shape) > 1 else 1)}"
        verdict = "ok" if row.ok else "WRONG"
        table.append((row.tensor, checked, f"{row.largest:.3g}", f"{row.complex_step:.1e}", f"{row.share:.2g}", f"{row.central:.1e}", row.kinks, slope, verdict))
    show.table(header, table)
    typer.echo("Differences are relative to the tensor's largest entry. The bound is what rounding may do; a right gradient's Taylor slope is 2.")
    typer.echo("gradients ok" if ok else "gradients WRONG: see the rows marked above")
