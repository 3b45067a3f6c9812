"""backprop-ref bench."""

import csv
import io
from pathlib import Path

from backprop_ref.backends import names
from backprop_ref.benchmarks import against as older
from backprop_ref.benchmarks.ladder import IDEAL
from backprop_ref.benchmarks.machine import machine
from backprop_ref.benchmarks.run import Plan, backend_makers, run
from backprop_ref.cli import show
from backprop_ref.cli.files import write_images
from backprop_ref.errors import unknown
from backprop_ref.experiments.pages import write_page
from backprop_ref.files import create, json_text, make_folder
from backprop_ref.report.charts import benchmarks as charts_bench
from backprop_ref.report.charts import images
from backprop_ref.settings import CHOICES

HEADER = ("rung", "batch", "dtype", "who", "gradient", "a step", "quartiles", "÷ products", "÷ update", "remark")
COLUMNS = ("rung", "batch", "dtype", "name", "kind", "verdict", "left_out", "multiplications", "parameters")


def bench(quick, backends, dtype, threads, scaling, against, out, image_folder, as_json):
    """Runs the ladder; 130 after Ctrl-C, and 1 if a gradient is wrong, or a step slower than `against` says."""
    chosen = [name.strip() for name in backends.split(",")] if backends else None
    for name in chosen or ():
        if name not in names() and ":" not in name:
            raise unknown("backend", name, names())
    dtypes = list(CHOICES["dtype"]) if dtype is None else dtype.split(",")
    for each in dtypes:
        if each not in CHOICES["dtype"]:
            raise unknown("dtype", each, CHOICES["dtype"])
    if image_folder:
        images.check(image_folder)
    old = None if against is None else older.read(against)
    if old is not None:
        older.check(against, old, machine(threads))
    # compiling programs for small networks takes longer than all else that is quick
    makers = backend_makers(chosen, threads, **({"steps_ahead": 0} if quick else {}))
    make = Plan.quickly if quick else Plan
    options = {"dtypes": dtypes[:1] if quick else dtypes, "threads": threads}
    plan = make(makers, **options, scaling=[name for name in makers if scaling and name.endswith("fast")])
    folder = make_folder("--out", out, "runs/bench")
    result = run(plan)
    sections = write(result, folder)
    if image_folder:
        write_images(sections, image_folder, err=as_json)
    if as_json:
        show.as_json(result)
    else:
        show_cases(result)
        show.line(f"results in {folder}: bench.json, bench.csv, bench.html")
    slower = old is not None and show_changes(older.changes(old, result), err=as_json)
    if result["interrupted"]:
        return 130
    return int(slower or any(case["error"] == "WrongGradient" for case in result["cases"]))


def show_changes(changes, err=False):
    """Prints what is slower or faster than before; whether anything is slower."""
    marked = [change for change in changes if change.verdict]
    for change in marked:
        before, now = change.before, change.now
        show.line(
            f"{change.verdict}: {change.rung} {change.dtype} {change.name}: {now.median / before.median:.3g} times, "
            f"{now.low:.3g} to {now.high:.3g} of the products, before {before.low:.3g} to {before.high:.3g}",
            err,
        )
    slower = sum(change.verdict == "SLOWER" for change in marked)
    show.line(f"{len(changes)} cases compared: {slower} slower, {len(marked) - slower} faster", err)
    return slower > 0


def write(result, folder):
    """bench.json, bench.csv and bench.html; gives the sections of the page."""
    folder, sections = Path(folder), charts_bench.sections(result)
    create(folder / "bench.json", json_text(result))
    create(folder / "bench.csv", csv_text(result["cases"]))
    write_page("Benchmark", sections, [], folder / "bench.html")
    return sections


def csv_text(cases):
    """A line for each case; times in seconds."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    parts = ("median", "low", "high")
    writer.writerow([*COLUMNS, *(f"step_seconds_{part}" for part in parts), "of_products", "of_update"])
    for case in cases:
        step, limits = case["step_seconds"] or {}, case["of_limit"]
        ratios = [limits.get(limit, {}).get("median") for limit in ("products", "update")]
        writer.writerow([*(case[column] for column in COLUMNS), *(step.get(part) for part in parts), *ratios])
    return text.getvalue()


def show_cases(result):
    """Prints what was measured as a table."""
    where, bandwidth = result["machine"], result["memory_bandwidth"]
    blas = [f"{library['internal_api']} {library['architecture']}" for library in where["libraries"]]
    show.line(
        f"{where['processor']} ({' '.join(where['features'])}), {where['cores_allowed']} of {where['cores']} cores, "
        f"{', '.join(dict.fromkeys(blas))}, threads: {where['threads'] or 'as each library has it'}"
        + (f", memory {bandwidth['median'] / 1e9:.3g} GB/s" if bandwidth else "")
        + f"; medians of {result['settings']['rounds']} rounds"
    )
    show.table(HEADER, [_row(case) for case in result["cases"]])
    fits = [series for series in result["scaling"] if series.get("exponent") is not None]
    if fits:
        rows = [(each["vary"], each["name"], f"{each['exponent']:.2f}", f"{IDEAL[each['vary']]:g}") for each in fits]
        show.table(("against", "who", "exponent", "ideal"), rows, "time per step grows as a power")
    if result["interrupted"]:
        show.line("interrupted: the rest was not measured")


def _row(case):
    step, limits = case["step_seconds"], case["of_limit"]
    compiled = f"compiled in {case['compile_seconds']:.1f} s" if (case["compile_seconds"] or 0.0) > 0.05 else ""
    return (
        case["rung"],
        case["batch"],
        case["dtype"],
        case["name"],
        "WRONG" if case["error"] == "WrongGradient" else case["verdict"] or "",
        in_words(step["median"]) if step else "",
        f"{in_words(step['low'])} to {in_words(step['high'])}" if step else "",
        *(f"{limits[limit]['median']:.3g}" if limit in limits else "" for limit in ("products", "update")),
        case["left_out"] or compiled or case["extra"] or "",
    )


def in_words(seconds):
    """A time with a unit that suits it."""
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * scale >= 1.0:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"
