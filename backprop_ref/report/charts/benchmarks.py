"""Charts of a benchmark run: time per step by size, which to choose, share of the limit, scaling."""

import html
import math

from backprop_ref.report.charts.runs import LOG, colour, layout, numbers
from backprop_ref.report.sections import Chart, Section, table

NOT_A_STEP = ("limit",)
SYMBOLS = ("circle", "square", "diamond", "cross", "triangle-up", "x", "star")
SIZE = "multiplications in a step"


def sections(result):
    """What the page says of a run, which `benchmarks.run.run` returned, as a list of `Section`."""
    interrupted = "<p>The run was interrupted: not everything was measured.</p>" if result["interrupted"] else ""
    facts = table(("", ""), _machine(result["machine"]), "words")
    charts = tuple(by_size(result["cases"]))
    found = [Section("Machine", interrupted + facts), Section("Networks", _words(result), charts)]
    scaling = tuple(against_scale(result["scaling"]))
    return [*found, Section("Scaling", "", scaling)] if scaling else found


def _machine(machine):
    return (
        ("processor", f"{machine['processor']}, {machine['cores_allowed']} of {machine['cores']} cores"),
        ("threads", machine["threads"] or "each library's own setting"),
        ("libraries", ", ".join(f"{lib['internal_api']} {lib['version']}" for lib in machine["libraries"])),
        ("packages", ", ".join(f"{name} {version}" for name, version in machine["packages"].items())),
        ("environment", ", ".join(f"{key}={value}" for key, value in machine["environment"].items() if value) or "–"),
        ("system", f"{machine['system']}, Python {machine['python']}, backprop_ref {machine['backprop_ref']}"),
    )


def _words(result):
    left_out = {(case["name"], case["left_out"]) for case in result["cases"] if case["left_out"]}
    lines = "".join(f"<li>{html.escape(f'{name}: {why}')}" for name, why in sorted(left_out))
    return f"<p>Left out on some networks:</p><ul>{lines}</ul>" if lines else ""


def by_size(cases):
    """For each dtype: time per step with its upper quartile, times the quickest, and share of the matrix products."""
    cases = [case for case in cases if case["step_seconds"]]
    for dtype in dict.fromkeys(case["dtype"] for case in cases):
        chosen = [case for case in cases if case["dtype"] == dtype]
        steps = [case for case in chosen if case["kind"] not in NOT_A_STEP]
        yield _lines(
            _of_each(chosen, lambda case: 1e6 * case["step_seconds"]["median"]),
            *(f"Time per training step, {dtype}", "Medians; bars reach to the upper quartile.", SIZE, "µs"),
            errors=_of_each(chosen, lambda case: 1e6 * (case["step_seconds"]["high"] - case["step_seconds"]["median"])),
        )
        quickest: dict[str, float] = {}
        for case in steps:
            median = case["step_seconds"]["median"]
            quickest[case["rung"]] = min(median, quickest.get(case["rung"], math.inf))
        yield _lines(
            _of_each(steps, lambda case: case["step_seconds"]["median"] / quickest[case["rung"]]),  # noqa: B023
            *(f"Which to choose, {dtype}", "Where lines cross, the best choice changes.", SIZE, "times the quickest"),
        )
        measured = [case for case in steps if "products" in case["of_limit"]]
        yield _lines(
            _of_each(measured, lambda case: 100.0 / case["of_limit"]["products"]["median"]),
            *(f"Share of the limit, {dtype}", "Its matrix products alone, by NumPy's BLAS, are 100 %.", SIZE, "%"),
        )


def against_scale(scaling):
    """Time per step against width, batch and depth, with the fitted exponent."""
    for vary in dict.fromkeys(series["vary"] for series in scaling):
        chosen = [series for series in scaling if series["vary"] == vary]
        points = {
            _fitted(one): [(point[vary], 1e6 * point["step_seconds"]["median"], "") for point in one["points"]]
            for one in chosen
        }
        title = f"Time per step against {vary}, {chosen[0]['dtype']}"
        yield _lines(points, title, f"The exponent is of {vary}, by least squares in logarithms.", vary, "µs")


def _fitted(series):
    return series["name"] if series["exponent"] is None else f"{series['name']}: {series['exponent']:.2f}"


def _of_each(cases, value):
    """By name, points (multiplications, value, rung)."""
    found: dict[str, list] = {}
    for case in sorted(cases, key=lambda case: case["multiplications"]):
        text = f"{case['rung']}, batch {case['batch']}"
        found.setdefault(case["name"], []).append((case["multiplications"], value(case), text))
    return found


def _lines(points, title, caption, x, y, errors=None):
    """A line for each name, both axes logarithmic."""
    data = []
    for place, (name, found) in enumerate(points.items()):
        across, up, text = zip(*found, strict=True) if found else ((), (), ())
        stroke, dash = colour(place, len(points))
        spread = {"array": numbers([each[1] for each in errors[name]])} if errors else {"visible": False}
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": name,
                "text": list(text),
                "x": list(across),
                "y": numbers(list(up)),
                "error_y": {"color": stroke, **spread},
                "line": {"color": stroke, "dash": dash},
                "marker": {"symbol": SYMBOLS[place % len(SYMBOLS)], "size": 8, "color": stroke},
            }
        )
    power = {**LOG, "dtick": 1}
    of_x = power if x == SIZE else {"type": "log"}
    return Chart(title, {"data": data, "layout": layout(x, y, xaxis=of_x, yaxis=power)}, caption, wide=True)
