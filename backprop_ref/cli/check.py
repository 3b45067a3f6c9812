"""backprop-ref gradcheck, verify --elementary and verify --bounds."""

from pathlib import Path
from typing import Any

from backprop_ref.cli import show
from backprop_ref.commands import gradcheck as check
from backprop_ref.conformance.rounding import sharpness
from backprop_ref.conformance.rounding.elementary import measure_all
from backprop_ref.errors import InvalidInput
from backprop_ref.experiments.config import merge
from backprop_ref.experiments.run_folder import CONFIG, no_run_folder
from backprop_ref.experiments.runner import load_run, prepare
from backprop_ref.parameters import Parameters


def gradcheck(target, batch_size, entries, seed, as_json, flags):
    """Checks the gradients of a fresh or a trained network; 1 if one is wrong."""
    if target is not None and "--data-path" in flags:
        raise InvalidInput(f"both {target} and --data-path {flags['--data-path']}: give one of them")
    trained = target is not None and (Path(target) / CONFIG).is_file()
    if trained:
        for flag in sorted(set(flags) - {"--backend", "--numerics", "--device", "--threads"}):
            raise InvalidInput(f"{target} is a run folder and has its own network and data; leave out {flag}")
        config = merge(flags, Path(target) / CONFIG, environment=False)
    else:
        if target is not None and Path(target).is_dir():
            raise no_run_folder(target, "br.gradcheck", "the folder of a run, or a data set")
        data = {} if "--data-path" in flags else {"--dataset": target or "iris"}
        config = merge({**data, **flags, "--seed": seed})
    experiment = prepare(config)
    fresh = experiment.network.init(seed, config.network.init)
    params = load_run(target)[0].params if trained else fresh
    params = Parameters.from_arrays(params.W, params.b, "float64")
    x, y, weights = experiment.counted("train", "float64")
    x, y, weights = x[:batch_size], y[:batch_size], None if weights is None else weights[:batch_size]
    chosen = config.backend
    where: dict[str, Any] = {
        "backend": chosen.name,
        "numerics": chosen.numerics,
        "device": chosen.device,
        "threads": chosen.threads,
    }
    checked = check(experiment.network, params, x, y, entries=entries, seed=seed, sample_weight=weights, **where)
    if as_json:
        tensors = [row._asdict() for row in checked.rows]
        show.as_json({"ok": checked.ok, "network": experiment.network.to_dict(), "batch": len(x), "tensors": tensors})
    else:
        _print(checked)
    return 0 if checked.ok else 1


def _print(checked):
    _, table, words, verdict = checked.parts()
    show.say(*checked.network.summary().splitlines(), f"batch of {checked.batch}", "")
    show.table(table.header, table.rows)
    show.say(words, verdict)


def verify_elementary(points, as_json):
    """Prints the largest error of each elementary function; 1 if one is beyond its limit."""
    found = measure_all(points)
    if as_json:
        show.as_json([{**error._asdict(), "ok": error.ok} for error in found])
    else:
        rows = [
            (
                error.function,
                error.dtype,
                f"{error.points:,}",
                f"{error.ulp:.4f}",
                repr(error.at),
                error.limit,
                "ok" if error.ok else "BROKEN",
            )
            for error in found
        ]
        show.table(("function", "dtype", "points", "largest error in ulp", "at", "promised below", ""), rows)
    return 0 if all(error.ok for error in found) else 1


def verify_bounds(as_json):
    """Prints how far the bounds on rounding errors are above NumPy's errors; 0."""
    found = sharpness.measure_all()
    if as_json:
        show.as_json([row._asdict() for row in found])
        return 0
    rows = [
        (
            row.sizes,
            row.networks,
            f"{row.median:.3g}",
            f"{row.worst:.3g}",
            row.tensor,
            *map("{:.0%}".format, row.shares.values()),
        )
        for row in found
    ]
    show.table(("network", "tried", "median", "worst", "in", *found[0].shares), rows)
    show.say(
        "median, worst: bound ÷ error of NumPy's tensors in float64, ratios of norms; the errors are measured against "
        "extended precision. Behind them the part of the bound of dW and db that each source makes."
    )
    return 0
