"""backprop-ref gradcheck, verify --elementary and verify --bounds."""

from pathlib import Path

from backprop_ref.cli import show
from backprop_ref.commands import gradcheck as check
from backprop_ref.conformance.rounding import sharpness
from backprop_ref.conformance.rounding.elementary import measure_all
from backprop_ref.errors import InvalidInput
from backprop_ref.experiments.config import merge
from backprop_ref.experiments.python_run import python_run
from backprop_ref.experiments.run_folder import CONFIG
from backprop_ref.experiments.runner import load_run, prepare
from backprop_ref.parameters import Parameters

COMPUTING = ("backend", "numerics", "device", "threads")


def gradcheck(target, batch_size, entries, seed, as_json, flags):
    """Checks the gradients of a fresh or a trained network; 1 if one is wrong."""
    if target is not None and "--data-path" in flags:
        raise InvalidInput(f"both {target} and --data-path {flags['--data-path']}: give one of them")
    folder = target is not None and Path(target).is_dir()
    if folder:
        for flag in sorted(set(flags) - {f"--{name}" for name in COMPUTING}):
            raise InvalidInput(f"{target} is a run folder and has its own network and data; leave out {flag}")
    if folder and not (Path(target) / CONFIG).is_file():
        run = python_run(Path(target), "br.gradcheck", "the folder of a run, or a data set")
        network, params, x, y, weights = run.network, run.state.params, run.x, run.y, run.weights
        where = {name: flags[f"--{name}"] for name in COMPUTING if f"--{name}" in flags}
        where |= {"threads": int(where["threads"])} if "threads" in where else {}
    else:
        data = {} if "--data-path" in flags else {"--dataset": target or "iris"}
        given = {} if folder else {**data, "--seed": seed}
        config = merge({**given, **flags}, Path(target) / CONFIG if folder else None, environment=not folder)
        experiment = prepare(config)
        network = experiment.network
        params = load_run(target)[0].params if folder else network.init(seed, config.network.init)
        x, y, weights = experiment.counted("train", "float64")
        chosen = config.backend
        where = dict(zip(COMPUTING, (chosen.name, chosen.numerics, chosen.device, chosen.threads), strict=True))
    params = Parameters.from_arrays(params.W, params.b, "float64")
    x, y, weights = x[:batch_size], y[:batch_size], None if weights is None else weights[:batch_size]
    checked = check(network, params, x, y, entries=entries, seed=seed, sample_weight=weights, **where)
    if as_json:
        tensors = [row._asdict() for row in checked.rows]
        show.as_json({"ok": checked.ok, "network": network.to_dict(), "batch": len(x), "tensors": tensors})
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
