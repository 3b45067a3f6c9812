"""The plots of a benchmark run, as one page that needs nothing but itself, or as images."""

import html
import math

from backprop_ref.errors import InvalidInput

NOT_A_STEP = ("limit",)
# The page loads nothing from anywhere, and a browser that reads this line would not let it.
CLOSED = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:"
)
STYLE = "body{font:16px sans-serif;max-width:70em;margin:2em auto;padding:0 1em}table{border-collapse:collapse}\
td,th{padding:.2em .8em;text-align:left;border-bottom:1px solid #ddd}"
SYMBOLS = ("circle", "square", "diamond", "cross", "triangle-up", "x", "star", "pentagon", "hexagon")


def figures(result):
    """The plots by name, as Plotly figures; those for which there are no numbers are left out.

    Parameters
    ----------
    result : dict
        What `experiments.bench.run` returns.
    """
    cases = [case for case in result["cases"] if case["step_seconds"]]
    made = {}
    for dtype in dict.fromkeys(case["dtype"] for case in cases):
        chosen = [case for case in cases if case["dtype"] == dtype]
        made[f"step-{dtype}"] = _step(chosen, dtype)
        made[f"crossover-{dtype}"] = _crossover(chosen, dtype)
        made[f"limit-{dtype}"] = _share(chosen, dtype)
    for vary in dict.fromkeys(series["vary"] for series in result["scaling"]):
        made[f"scaling-{vary}"] = _scaling([series for series in result["scaling"] if series["vary"] == vary], vary)
    return made


def page(result):
    """The whole page as text."""
    from plotly.offline import get_plotlyjs

    plots = [
        figure.to_html(full_html=False, include_plotlyjs=False, config={"displaylogo": False}, div_id=name)
        for name, figure in figures(result).items()
    ]
    machine = result["machine"]
    facts = {
        "processor": f"{machine['processor']}, {machine['cores_allowed']} of {machine['cores']} cores",
        "threads": machine["threads"] or "each library's own setting",
        "libraries": ", ".join(f"{lib['internal_api']} {lib['version']}" for lib in machine["libraries"]),
        "packages": ", ".join(f"{name} {version}" for name, version in machine["packages"].items()),
        "environment": ", ".join(f"{key}={value}" for key, value in machine["environment"].items() if value) or "–",
        "system": f"{machine['system']}, Python {machine['python']}, backprop_ref {machine['backprop_ref']}",
    }
    rows = "".join(f"<tr><th>{key}<td>{html.escape(str(value))}" for key, value in facts.items())
    interrupted = "<p>The run was interrupted: not everything was measured.</p>" if result["interrupted"] else ""
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{CLOSED}"><title>backprop_ref: benchmark</title>'
        f"<style>{STYLE}</style><script>{get_plotlyjs()}</script></head><body><h1>backprop_ref: benchmark</h1>"
        f"{interrupted}<table>{rows}</table>{''.join(plots)}</body></html>"
    )


def write_images(result, folder):
    """Each plot as a PNG file; needs kaleido and a browser for it to draw with."""
    check_images()
    for name, figure in figures(result).items():
        try:
            figure.write_image(folder / f"{name}.png", width=1100, height=650)
        except Exception as error:  # kaleido's own, and whatever the browser says
            cause = str(error).strip().splitlines()[0]
            raise InvalidInput(f"{name}.png: kaleido cannot draw it: {cause}; it needs Chrome or Chromium") from None


def check_images():
    """Refuses, before anything is measured, to draw images without what draws them."""
    from importlib.util import find_spec

    if find_spec("kaleido") is None:
        raise InvalidInput("--png needs kaleido: pip install 'backprop-ref[image]'; bench.html needs nothing more")


def _step(cases, dtype):
    return _lines(
        _of_each(cases, lambda case: 1e6 * case["step_seconds"]["median"]),
        *(f"time per training step, {dtype}", "multiplications in a step", "µs"),
        errors=_of_each(cases, lambda case: 1e6 * (case["step_seconds"]["high"] - case["step_seconds"]["median"])),
    )


def _crossover(cases, dtype):
    """Times relative to the quickest on each rung: where lines cross, the best choice changes."""
    steps = [case for case in cases if case["kind"] not in NOT_A_STEP]
    quickest: dict[str, float] = {}
    for case in steps:
        median = case["step_seconds"]["median"]
        quickest[case["rung"]] = min(median, quickest.get(case["rung"], math.inf))
    relative = _of_each(steps, lambda case: case["step_seconds"]["median"] / quickest[case["rung"]])
    return _lines(relative, f"which to choose, {dtype}", "multiplications in a step", "times the quickest")


def _share(cases, dtype):
    measured = [case for case in cases if "products" in case["of_limit"] and case["kind"] not in NOT_A_STEP]
    relative = _of_each(measured, lambda case: 100.0 / case["of_limit"]["products"]["median"])
    title = f"share of the step that its matrix products alone would take, {dtype}"
    return _lines(relative, title, "multiplications in a step", "%")


def _scaling(series, vary):
    def label(one):
        fitted = "" if one["exponent"] is None else f": {vary}^{one['exponent']:.2f}"
        return f"{one['name']}{fitted}"

    points = {
        label(one): [(point[vary], 1e6 * point["step_seconds"]["median"], "") for point in one["points"]]
        for one in series
    }
    return _lines(points, f"time per step against {vary}, {series[0]['dtype']}", vary, "µs")


def _of_each(cases, value):
    """By name, points (multiplications, value, rung)."""
    found: dict[str, list] = {}
    for case in sorted(cases, key=lambda case: case["multiplications"]):
        text = f"{case['rung']}, batch {case['batch']}"
        found.setdefault(case["name"], []).append((case["multiplications"], value(case), text))
    return found


def _lines(points, title, x, y, errors=None):
    """A figure with a line for each name, both axes logarithmic."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for place, (name, found) in enumerate(points.items()):
        across, up, text = zip(*found, strict=True) if found else ((), (), ())
        spread = {"array": [each[1] for each in errors[name]]} if errors else None
        figure.add_scatter(
            x=across,
            y=up,
            text=text,
            name=name,
            error_y=spread,
            mode="lines+markers",
            marker={"symbol": SYMBOLS[place % len(SYMBOLS)], "size": 8},
        )
    figure.update_layout(title=title, template="plotly_white", height=550)
    figure.update_xaxes(type="log", title=x)
    figure.update_yaxes(type="log", title=y)
    return figure
