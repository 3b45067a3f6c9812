"""The report: one HTML file with charts, tables and the network explorer, which needs no network."""

from importlib import resources
from string import Template

from backprop_ref.asking import ask
from backprop_ref.report.charts import runs as charts
from backprop_ref.report.charts import traces as charts_trace
from backprop_ref.report.embedding import as_json, compressed, letters, policy, static, styles
from backprop_ref.report.ends import STATES
from backprop_ref.report.explorer import explored
from backprop_ref.report.sections import Section, table
from backprop_ref.text import as_html

SCRIPTS = ("records.js", "formulas.js", "neurons.js", "explorer.js", "page.js")
MOST_IN_DETAIL = 3
MOST_BYTES, SPARE = 8_000_000, 200_000
"""Of a page, and what of these is left for its words."""
LOSSES = (
    "Loss and scores in the table are those of the final weights. In the charts and the explorer they are running "
    "ones: means over the batches of an epoch, each before its own update, so those of the last epoch belong to "
    "slightly earlier weights."
)


def sections_of_runs(runs):
    """What a report says of runs: a table, training, and for the first few every detail; a list of `Section`."""
    rows = [_run_row(run) for run in runs]
    found = [Section("Runs", table(_RUN_COLUMNS, rows, "words") + f'<p class="quiet">{LOSSES}</p>')]
    found.append(Section("Training", "", tuple(charts.training(runs))))
    traced = [run for run in runs if run.trace is not None and len(run.trace)]
    for run in runs[:MOST_IN_DETAIL]:
        details = _details(run, run in traced)
        if len(runs) == 1:
            found += details
        elif details:
            found.append(Section(run.name, "", tuple(chart for section in details for chart in section.charts)))
    notes = []
    if len(runs) > MOST_IN_DETAIL:
        notes.append(f"The first {MOST_IN_DETAIL} of {len(runs)} runs are shown in detail.")
    if len(traced) < len(runs):
        lacking = [run for run in runs if run not in traced]
        names = ", ".join(
            run.name + (f" (not trained again for one: {run.untraced})" if run.untraced else "") for run in lacking
        )
        remedies = [f"Train with {ask('--trace', 'binary')} for these.", "On a folder of data nothing is traced."]
        said = " ".join(remedies[in_blocks] for in_blocks in sorted({run.in_blocks for run in lacking}))
        notes.append(f"Without a trace, so without layers and explorer: {names}. {said}")
    if any(run.again for run in runs):
        names = ", ".join(run.name for run in runs if run.again)
        notes.append(f"Not traced when trained, and trained once more for this page, to the same bits: {names}.")
    if notes:
        found[0] = found[0]._replace(body=found[0].body + f'<p class="quiet">{as_html(" ".join(notes))}</p>')
    return found


def _details(run, traced):
    """Sections about a single run; those that would be empty are left out."""
    found = []
    if traced:
        by_layer = (*charts_trace.layers(run.trace), *charts_trace.parameters(run.trace))
        found.append(Section("Layers and neurons", "", by_layer))
        found.append(Section("Activations", "", tuple(charts_trace.activations(run.trace))))
    predictions = (*charts.confusion(run), *charts.boundary(run))
    return [*found, Section("Predictions", "", predictions)] if predictions else found


def section_of_backends(compared):
    """Agreement and timing of backends, from what ``backprop-ref compare --json`` printed."""
    rows = []
    for row in compared["backends"]:
        exact = sum(row["exact"].values())
        verdict = "EXACT" if row["all_exact"] else f"{exact} of {len(row['exact'])} tensors exact"
        if not row["usable"]:
            rows.append((row["backend"], "left out", row["reason"], "", ""))
            continue
        step = "" if row["step_seconds"] is None else f"{charts.microseconds(row):,g} µs"
        gradients, weights = (str(row[name] or "diverged")[:12] for name in ("gradients", "weights"))
        apart = "0" if row["all_exact"] else _shown(row["largest_relative"], ".1e")
        rows.append((row["backend"], verdict, f"{gradients} / {weights}", apart, step))
    header = ("backend", "tensors", "sha256 of gradients / weights", "largest relative difference", "step")
    words = f"<p>Held against {as_html(compared['reference'])}.</p>"
    return Section("Backends", words + table(header, rows), tuple(charts.backends(compared)))


def page(title, sections, traces=(), subtitle=""):
    """The whole file as HTML; of the traces, the explorer holds the first `MOST_IN_DETAIL`."""
    traces = [trace for trace in traces if len(trace)][:MOST_IN_DETAIL]
    figures: list[dict] = []
    parts = [(section.title, section.body + _charts(section.charts, figures)) for section in sections]
    plotly, drawn = compressed(_plotly()), compressed(as_json(figures))
    budget = (MOST_BYTES - SPARE - len(plotly) - len(drawn) - sum(len(body) for _, body in parts)) * 3 // 4
    found = [explored(trace, budget // len(traces)) for trace in traces]
    explorers = [each for each in found if each is not None]
    if explorers:
        parts.insert(0, ("Explorer", static("explorer.html")))
    elif traces:
        parts.insert(0, ("Explorer", "<p>The network is too large for the explorer to fit into this page.</p>"))
    if traces and len(parts) > 1:  # below the first section, which says what the page is of
        parts[0], parts[1] = parts[1], parts[0]
    script = "\n".join(static(name) for name in SCRIPTS)
    return Template(static("page.html")).substitute(
        policy=policy(script.encode(), _plotly()),
        title=as_html(title),
        subtitle=f'<p class="quiet">{as_html(subtitle)}</p>' if subtitle else "",
        style=styles("page.css"),
        navigation=" ".join(f'<a href="#s{i}">{as_html(name)}</a>' for i, (name, _) in enumerate(parts)),
        sections="\n".join(
            f'<section id="s{i}"><h2>{as_html(name)}</h2>\n{body}\n</section>' for i, (name, body) in enumerate(parts)
        ),
        footer="Made by backprop-ref. This file needs no network. Charts: plotly.js (MIT licence). "
        '<span class="mouse">Drag over a chart to zoom in; double-click it to see all again.</span>',
        figures=drawn,
        explorers=compressed(as_json([about for about, _ in explorers])),
        records="\n".join(letters(data) for _, data in explorers),
        plotly=plotly,
        script=script,
    )


_RUN_COLUMNS = (
    *("run", "network", "loss function", "epochs", "ended by", "training loss", "training rows", "test rows"),
    *("backend", "seconds"),
)


def _run_row(run):
    results = run.results
    if results is None:
        loss = run.history["loss"]
        score = run.history.get("accuracy", run.history.get("r2"))
        last = (f"{loss[-1]:.4g}, running", f"{score[-1]:.4f}, running") if len(loss) else ("", "")
        described = _network(run.trace.network.to_dict()) if run.trace else ("", "")
        return (run.label, *described, f"{len(loss):,}", "not ended", *last, "", "", "")
    return (
        run.label,
        *_network(results["network"]),
        f"{results['epochs']:,}",
        STATES[results["stopped"]],
        _shown(results["train"]["loss"], ".4g") if results["train"] else "",
        *(_score(results[part]) for part in ("train", "test")),
        f"{results['backend']}, {results['numerics']}, {results['dtype']}",
        "" if results["seconds"] is None else f"{results['seconds']:.2f}",
    )


def _network(described):
    """Sizes with activations, and the loss."""
    return f"{'-'.join(map(str, described['sizes']))} ({', '.join(described['activations'])})", described["loss"]


def _score(scored):
    if not scored:
        return ""
    name, called = ("accuracy", "accuracy") if "accuracy" in scored else ("r2", "R²")
    return f"{called} {_shown(scored[name], '.4f')}"


def _shown(number, form):
    """A number that JSON may have had no word for."""
    return "not finite" if number is None else format(number, form)


_BUTTON = '<button type="button" data-save="{0}" aria-label="Save as {1}" title="Save as {1}">{1}</button>'
_SAVE = f'<span class="save">{_BUTTON.format("png", "PNG")}{_BUTTON.format("svg", "SVG")}</span>'


def _charts(drawn, figures):
    """Places for charts; their figures go to the end of `figures`."""
    if not drawn:
        return ""
    places = []
    for chart in drawn:
        words = as_html(chart.caption)
        places.append(
            f'<figure class="{"wide" if chart.wide else ""}">'
            f'<div class="heading"><h3>{as_html(chart.title)}</h3>{_SAVE}</div>{_chooser(chart)}{_player(chart)}'
            f'<div data-chart="{len(figures)}" role="img" aria-label="{as_html(chart.title)}"></div>'
            f"<figcaption>{words}</figcaption></figure>"
        )
        figures.append({"name": chart.name, "choices": chart.choices, **chart.drawn})
    return f'<div class="charts">{"".join(places)}</div>'


def _chooser(chart):
    """A drop-down of the choices of a chart."""
    if not chart.choices:
        return ""
    options = "".join(f"<option>{as_html(each)}</option>" for each in dict.fromkeys(chart.choices))
    return f'<select data-choose aria-label="{as_html(chart.title)}">{options}</select>'


def _player(chart):
    """Button, slider and the name of the frame of a chart that moves."""
    if not chart.frames:
        return ""
    last = len(chart.frames) - 1
    return (
        '<div class="time"><button type="button" data-play>▶ Play</button>'
        f'<input type="range" data-frame min="0" max="{last}" value="{last}" aria-label="Epoch">'
        f"<output>epoch {as_html(chart.frames[-1])}</output></div>"
    )


def _plotly():
    return (resources.files("plotly") / "package_data" / "plotly.min.js").read_bytes()
