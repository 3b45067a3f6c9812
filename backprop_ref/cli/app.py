"""The commands and what each is given; what they do is in the modules they call."""

import copy
import shutil
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from backprop_ref.cli.flags import Command, Group, with_flags
from backprop_ref.files import overwriting
from backprop_ref.version import __version__

NARROW = 80
"""Columns below which help is plain text: in less, tables of flags would cut words off."""

app = typer.Typer(
    cls=Group,
    help="Multi-layer perceptrons whose gradients are the gradients: train them, and check them.",
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich" if shutil.get_terminal_size().columns >= NARROW else None,
    epilog="Example: backprop-ref train digits",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Force = Annotated[bool, typer.Option("--force", help="Replace the file that is there.")]
registered = partial(app.command, cls=Command)

Run = Annotated[str, typer.Argument(help="Run folder or model file.", metavar="RUN")]
Csv = Annotated[
    str, typer.Option(help="Table with the features, in any order; and the truth, where it has that column.")
]
Header = Annotated[
    bool | None,
    typer.Option("--header/--no-header", help="Whether the first line names the columns; default: looked at."),
]
# What makes no difference in a single epoch.
OVER_EPOCHS = ("--schedule", "--step-epochs", "--step-factor", "--minimum-factor", "--patience", "--min-delta")
_YOURS = "How yours is written"
Encoding = Annotated[
    str | None, typer.Option(help="Of a text file; default: UTF-8, or what it looks like.", metavar="NAME")
]
Sheet = Annotated[
    str | None, typer.Option(help="Of a spreadsheet; default: the first with the columns.", metavar="NAME")
]
Json = Annotated[bool, typer.Option("--json", help="Print the results as JSON.")]


def command(asked=None):
    """The whole command line as one callable; where one of its commands is `asked` for, with no other."""
    chosen = [each for each in app.registered_commands if each.callback and each.callback.__name__ == asked]
    if not chosen:
        return typer.main.get_command(app)
    alone = copy.copy(app)
    alone.registered_groups, alone.registered_commands = [], chosen
    return typer.main.get_command(alone)


def as_now(arguments):
    """The command line in the words of this version: flags by their names of today, ``train c.yaml`` by its flag."""
    from backprop_ref.experiments.config import EARLIER_FLAGS

    made = []
    for argument in map(str, arguments):
        name, equals, value = argument.partition("=")
        made.append(EARLIER_FLAGS.get(name, name) + equals + value)
    place = 1
    if (
        made[:1] == ["train"]
        and made[place:]
        and made[place].endswith((".yaml", ".yml"))
        and Path(made[place]).is_file()
    ):
        made.insert(place, "--config")
    return made


def example(*lines):
    """The end of a command's help."""
    return "\n\n".join(["Example:", *(f"backprop-ref {line}" for line in lines)])


@app.callback(invoke_without_command=True)
def top(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
):
    if version:
        typer.echo(f"backprop-ref {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


@registered(
    epilog=example(
        "train iris.csv --hidden 16,8 --dropout 0.2",
        "train digits --find-rate",
        "train trips/ --target fare",
    )
)
@with_flags()
def train(
    dataset: Annotated[
        str | None,
        typer.Argument(help="Built-in data set (backprop-ref data), file or folder.", metavar="DATASET"),
    ] = None,
    config: Annotated[str | None, typer.Option(help="YAML file; flags override it.", metavar="FILE")] = None,
    find_learning_rate: Annotated[bool, typer.Option("--find-rate", help="Suggest one, and train nothing.")] = False,
    **flags,
):
    """Train a network, and keep everything about it in a run folder."""
    from backprop_ref.cli import train

    if find_learning_rate:
        return train.find_rate(dataset, config, flags)
    return train.train(dataset, config, flags)


@registered(epilog=example("predict runs/iris-1 --data-path new.csv --output predicted.csv --proba"))
def predict(
    run: Run,
    data_path: Csv,
    output: Annotated[str | None, typer.Option(help="CSV file to write; default: standard output.")] = None,
    proba: Annotated[bool, typer.Option("--proba", help="A column for each class with the network's output.")] = False,
    header: Header = None,
    id: Annotated[
        list[str] | None, typer.Option(help="Columns to keep beside the predictions.", metavar="COLUMNS")
    ] = None,
    encoding: Encoding = None,
    sheet: Sheet = None,
    force: Force = False,
):
    """Predict for each row of a table; the truth stands beside it where the table has it.

    Rows for which nothing can be predicted are named, and their prediction is left blank.
    """
    from backprop_ref.cli.use import predict

    with overwriting(force):
        ids = [name for text in id or () for name in text.split(",")]
        predict(run, data_path, output, proba, header, ids, encoding, sheet)


@registered(epilog=example("export runs/iris-1 --to onnx", "export runs/iris-1 --out iris.c"))
def export(
    run: Run,
    to: Annotated[
        str | None,
        typer.Option(
            help="onnx, torch, keras, flax, c or javascript; default: by the ending of --out.", metavar="FORMAT"
        ),
    ] = None,
    out: Annotated[str | None, typer.Option(help="File to write; default: named after RUN.", metavar="FILE")] = None,
    force: Force = False,
):
    """Write a trained network for another library, or as a program without dependencies in C or JavaScript.

    A program takes the numbers as the table has them; for a library they are scaled before, as in the run.
    """
    from backprop_ref.cli.exchange import export

    with overwriting(force):
        export(run, to, out)


@registered(name="import", epilog=example("import classifier.onnx --out classifier.safetensors"))
def import_(
    file: Annotated[
        str,
        typer.Argument(
            help=".onnx; .safetensors or .pt with a torch state_dict; .keras; .msgpack with Flax variables.",
            metavar="FILE",
        ),
    ],
    network: Annotated[
        str | None,
        typer.Option(
            help="What the file does not tell, such as 4-16-3:tanh,softmax:ce: activations of a state_dict or of Flax "
            "variables; the loss.",
            metavar="NETWORK",
        ),
    ] = None,
    out: Annotated[
        str | None, typer.Option(help="Model file to write; default: named after FILE.", metavar="FILE")
    ] = None,
    force: Force = False,
):
    """Make a model file of a network that another library wrote, for every command that takes one."""
    from backprop_ref.cli.exchange import import_

    with overwriting(force):
        import_(file, network, out)


@registered(epilog=example("evaluate runs/digits-1", "evaluate runs/iris-1 --data-path more.csv"))
def evaluate(
    run: Run,
    data_path: Annotated[
        str | None, typer.Option(help="CSV file with features and truth; default: the run's own test rows.")
    ] = None,
    header: Header = None,
    encoding: Encoding = None,
    sheet: Sheet = None,
    json: Json = False,
):
    """Loss, and accuracy with the confusion matrix or R², of a trained network; all scores with --json."""
    from backprop_ref.cli.use import evaluate

    evaluate(run, data_path, header, encoding, sheet, json)


@registered(
    epilog=example(
        "reproduce runs/digits-1 --backend numba", "reproduce certificate.json", "reproduce runs/digits-1 --spot 3"
    )
)
def reproduce(
    run: Annotated[str, typer.Argument(help="Run folder, or the certificate.json of one.", metavar="RUN")],
    spot: Annotated[
        int | None,
        typer.Option(min=1, help="Only from so many of its kept checkpoints, drawn at random, and from the beginning."),
    ] = None,
    backend: Annotated[str | None, typer.Option(help="What trains again; default: the run's.", metavar="NAME")] = None,
    device: Annotated[str | None, typer.Option(help="Device of the backend.", metavar="NAME")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the backend.")] = None,
    json: Json = False,
):
    """Trains a run again and says IDENTICAL, or the first epoch that differs; status 1 then, 2 if nothing is proved."""
    from backprop_ref.cli.reproduce import reproduce

    return reproduce(run, spot, backend, device, threads, json)


@registered(epilog=example("columns houses.csv --target price", "columns runs/houses-1"))
@with_flags(
    only=(
        *("--target", "--header", "--task", "--drop", "--id", "--missing", "--as", "--missing-value", "--decimal"),
        *("--dates", "--encoding", "--sheet"),
    )
)
def columns(
    table: Annotated[str, typer.Argument(help="A table, or the folder of a run.", metavar="FILE|RUN")],
    json: Json = False,
    **flags,
):
    """Show what training would make of each column of a table, or has made of it."""
    from backprop_ref.cli.use import columns

    columns(table, json, flags)


@registered(epilog=example("data moons --n-samples 500 --out moons.csv"))
@with_flags(only=("--n-samples", "--n-features", "--n-classes", "--noise", "--seed"))
def data(
    name: Annotated[
        str | None, typer.Argument(help="Built-in data set; without one, they are listed.", metavar="NAME")
    ] = None,
    out: Annotated[str | None, typer.Option(help="CSV file to write.", metavar="FILE")] = None,
    force: Force = False,
    **flags,
):
    """List the built-in data sets, or write one as CSV."""
    from backprop_ref.cli.use import data

    with overwriting(force):
        data(name, out, flags)


@registered(epilog=example("gradcheck iris --activation tanh --hidden 5,4", "gradcheck runs/digits-1"))
@with_flags(sections=("data", "network", "backend"), exclude=("--dataset", "--dtype", "--validation-size"))
def gradcheck(
    target: Annotated[
        str | None, typer.Argument(help="Data set or run folder; default: iris.", metavar="DATASET|RUN")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows to check on, the first of the training rows.")] = 7,
    entries: Annotated[int, typer.Option(min=1, help="Check at most so many entries of each tensor.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of data, weights and chosen entries.")] = 1,
    json: Json = False,
    **flags,
):
    """Check gradients by complex step, central differences and Taylor remainder; exit status 1 if one is wrong."""
    from backprop_ref.cli.check import gradcheck

    return gradcheck(target, batch_size, entries, seed, json, flags)


@registered(epilog=example("explain xor --sample 2", "explain runs/iris-1 --layer 1 --neuron 0 --format markdown"))
@with_flags(sections=("data", "network", "training", "backend"), exclude=("--dataset",))
def explain(
    target: Annotated[
        str | None, typer.Argument(help="Data set or run folder; default: xor.", metavar="DATASET|RUN")
    ] = None,
    sample: Annotated[
        int | None, typer.Option(help="Row of the training data, from 0; default: the first that is not all 0.")
    ] = None,
    layer: Annotated[int | None, typer.Option(help="Only this layer, from 0.")] = None,
    neuron: Annotated[int | None, typer.Option(help="Only this neuron of the layer, from 0.")] = None,
    matrices: Annotated[bool, typer.Option("--matrices", help="As matrices, not neuron by neuron.")] = False,
    derivation: Annotated[bool, typer.Option(help="Why the formulas of the backward pass are what they are.")] = True,
    format: Annotated[str, typer.Option(help="terminal, markdown (with LaTeX) or html.", metavar="NAME")] = "terminal",
    output: Annotated[str | None, typer.Option(help="File to write.", metavar="FILE")] = None,
    force: Force = False,
    digits: Annotated[int, typer.Option(min=1, max=17, help="Significant digits of each number.")] = 5,
    terms: Annotated[int, typer.Option(min=2, help="Terms of a sum, and weights of a neuron, to show.")] = 8,
    **flags,
):
    """Show one step in numbers: every z, a, loss, delta, dW, db and update, with its formula and why."""
    from backprop_ref.cli.explain import explain

    with overwriting(force):
        explain(target, sample, layer, neuron, matrices, derivation, format, output, digits, terms, flags)


@registered(epilog=example("compare", "compare iris --backends numpy,numba --numerics fast"))
@with_flags(
    sections=("data", "network", "training"), exclude=("--dataset", "--epochs", "--validation-size", *OVER_EPOCHS)
)
def compare(
    dataset: Annotated[str | None, typer.Argument(help="Data set; default: digits.", metavar="DATASET")] = None,
    backends: Annotated[str | None, typer.Option(help="Names, comma between; default: all.", metavar="NAMES")] = None,
    numerics: Annotated[str, typer.Option(help="reproducible, or fast.", metavar="NAME")] = "reproducible",
    dtype: Annotated[str | None, typer.Option(help="float64 or float32.", metavar="NAME")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Updates to train for.")] = 10,
    json: Json = False,
    **flags,
):
    """One model on every backend: the same bits or not, where a difference starts, time per step; status 1 if not."""
    from backprop_ref.cli.compare import compare

    return compare(dataset, backends, numerics, dtype, steps, json, flags)


@registered(epilog=example("play", "play runs/xor-1 --open", "play --engine engine.mjs"))
def play(
    target: Annotated[
        str | None,
        typer.Argument(
            help="xor, encoder, moons, circles, spirals, iris, digits, or a run folder; default: xor.",
            metavar="DATASET|RUN",
        ),
    ] = None,
    out: Annotated[str | None, typer.Option(help="HTML file to write; default: play.html.", metavar="FILE")] = None,
    open: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
    engine: Annotated[
        str | None,
        typer.Option(help="Instead: write what computes, a JavaScript module that answers verify.", metavar="FILE"),
    ] = None,
    force: Force = False,
):
    """Write a page that trains a network, to the bits of reproducible numerics, in any browser and offline."""
    from backprop_ref.cli.play import play

    with overwriting(force):
        play(target, out, open, engine)


@registered(
    epilog=example(
        "verify mine.py:gradients",
        "verify mine.py:gradients --network 2-2-1:sigmoid,sigmoid:sse",
        "verify package.module:Network --learning-rate 0.1 --html report.html",
        "verify --command './mine' --many --time-limit 2",
        "verify --answers answers.json",
        "verify --template rust --out mine.rs",
    )
)
def verify(
    target: Annotated[
        str | None,
        typer.Argument(
            help="file.py, file.py:name or package.module:name: a function f(network, weights, biases, x, y) that "
            "gives (loss, list of dW, list of db), or a class with a method such as fit. A file alone: what in it "
            "goes back is found, or the loop that trains.",
            metavar="TARGET",
        ),
    ] = None,
    command: Annotated[
        str | None,
        typer.Option(
            help="A program: one case as JSON (network, weights, biases, x, y, …) on its standard input, its answer as "
            "JSON (loss, dW, db) on standard output."
        ),
    ] = None,
    answers: Annotated[
        str | None,
        typer.Option(
            help="A JSON file: a list of answers, each with the name of its case and any of loss, dW, db, z, a, delta, "
            "dx, W, b.",
            metavar="FILE",
        ),
    ] = None,
    elementary: Annotated[
        bool,
        typer.Option(
            "--elementary", hidden=True, help="Instead: our own exp, log, log1p, expm1, tanh against mpmath, in ulp."
        ),
    ] = False,
    bounds: Annotated[
        bool,
        typer.Option(
            "--bounds", hidden=True, help="Instead: how far the bounds on rounding are above errors, by size."
        ),
    ] = False,
    points: Annotated[
        int, typer.Option(min=100, hidden=True, help="With --elementary: arguments per function and dtype.")
    ] = 20_000,
    network: Annotated[
        str | None,
        typer.Option(
            help="The only network it is made for: sizes, activations and loss, such as 2-2-1:sigmoid,sigmoid:sse. "
            "Default: found out.",
            metavar="NETWORK",
        ),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="in-out or out-in: the shape of W.", metavar="LAYOUT", rich_help_panel=_YOURS)
    ] = None,
    samples: Annotated[
        str | None,
        typer.Option(help="rows or columns of x and y; flat: one vector.", metavar="LAYOUT", rich_help_panel=_YOURS),
    ] = None,
    biases: Annotated[
        str | None,
        typer.Option(help="flat (n,), row (1, n), column (n, 1), or none.", metavar="LAYOUT", rich_help_panel=_YOURS),
    ] = None,
    one_sample: Annotated[
        bool | None,
        typer.Option("--one-sample/--batch", help="Called with one sample at a time.", rich_help_panel=_YOURS),
    ] = None,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Weights are updated, not gradients returned.", rich_help_panel=_YOURS)
    ] = False,
    learning_rate: Annotated[
        float | None, typer.Option(help="That of the update.", metavar="NUMBER", rich_help_panel=_YOURS)
    ] = None,
    numbers: Annotated[
        str | None,
        typer.Option(
            help="With --command: decimal, as JSON has them, or hex, as text. Both are exact. Default: decimal.",
            metavar="NAME",
        ),
    ] = None,
    many: Annotated[
        bool,
        typer.Option("--many", help="With --command: started once; a case a line in, an answer a line out."),
    ] = False,
    time_limit: Annotated[float, typer.Option(min=0.01, help="Seconds for each case.", metavar="SECONDS")] = 10.0,
    trust: Annotated[
        bool, typer.Option("--trust", help="Let it use files, network and memory as you may, and see the environment.")
    ] = False,
    html: Annotated[
        str | None, typer.Option(help="Write the report as a page; never over a file.", metavar="FILE")
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(
            help="Instead: a program to begin with: python, class, c, javascript, java or rust.", metavar="LANGUAGE"
        ),
    ] = None,
    out: Annotated[
        str | None, typer.Option(help="With --template: the file to write; default: standard output.", metavar="FILE")
    ] = None,
    json: Json = False,
):
    """Measure each rule of a backprop: prove it right, or name its bug.

    Verdict and exit status: RIGHT, RIGHT IN ITS OWN TERMS, CONVENTION 0; WRONG 1; NOT JUDGED, or wrong usage, 2.

    A function, class or program is asked for networks made on the spot; network, layout, loss and rate are found out.

    What is right is held to the golden vectors of these too; --answers holds a file of answers to them.

    Some vectors need a function with a keyword: da, an upstream gradient; weight_decay, for λ·W in dW.

    The keyword steps, with optimizer and batch_size, asks for weights after three steps.

    The vectors as files: backprop-ref developer vectors --out DIR.
    """
    if template is not None or out is not None:
        from backprop_ref.cli.conformance.templates import template as write_template

        return write_template(template, out)
    if elementary:
        from backprop_ref.cli.check import verify_elementary

        return verify_elementary(points, json)
    if bounds:
        from backprop_ref.cli.check import verify_bounds

        return verify_bounds(json)
    from backprop_ref.cli.conformance.verify import verify

    conventions = {
        "weights": weights,
        "samples": samples,
        "biases": biases,
        "one_sample": one_sample,
        "in_place": in_place,
        "learning_rate": learning_rate,
    }
    options = {
        "numbers": numbers,
        "many": many,
        "time_limit": time_limit,
        "trust": trust,
        "html": html,
        "as_json": json,
        "network": network,
    }
    return verify(target, command, answers, conventions, **options)


@registered(epilog=example("bugs", "bugs updated-weights", "bugs --exercise --seed 7 --out mine.py"))
def bugs(
    id: Annotated[str | None, typer.Argument(help="Of one bug; default: all.", metavar="ID")] = None,
    exercise: Annotated[
        bool, typer.Option("--exercise", help="Write a program with that bug, and beside it FILE-solution.")
    ] = False,
    out: Annotated[str | None, typer.Option(help="The program to write; never over a file.", metavar="FILE")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Draws the bug where no ID is given; default: 1.")] = None,
    json: Json = False,
):
    """The catalogue of known bugs: right and wrong formula, how it shows, the remedy; and exercises for a class."""
    from backprop_ref.cli.conformance.bugs import bugs

    return bugs(id, exercise, out, seed, json)


developer = typer.Typer(
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=example("developer elementary", "developer bounds"),
)
app.add_typer(developer, name="developer", help="What the project itself is checked by: vectors, elementary, bounds.")


@developer.command(cls=Command, epilog=example("developer elementary --points 1000"))
def elementary(
    points: Annotated[int, typer.Option(min=100, help="Arguments per function and dtype.")] = 20_000,
    json: Json = False,
):
    """Our own exp, log, log1p, expm1 and tanh against mpmath, in ulp."""
    from backprop_ref.cli.check import verify_elementary

    return verify_elementary(points, json)


@developer.command(cls=Command, epilog=example("developer bounds"))
def bounds(json: Json = False):
    """How far the bounds on rounding are above errors, by size."""
    from backprop_ref.cli.check import verify_bounds

    return verify_bounds(json)


@developer.command(cls=Command, epilog=example("developer vectors --out vectors"))
@registered(hidden=True, epilog=example("vectors --out vectors", "vectors --out vectors --check"))
def vectors(
    out: Annotated[str, typer.Option(help="Folder to write, or to check.", metavar="DIR")],
    check: Annotated[bool, typer.Option("--check", help="Write nothing; status 1 if a file differs.")] = False,
    json: Json = False,
):
    """Make the golden vectors: cases with bits, exact values and bounds, as JSON and safetensors; some 40 seconds.

    schema.json says what each key is, index.json what the flags mean, arithmetic.md how to get the same bits.
    """
    from backprop_ref.cli.conformance.vectors import vectors

    return vectors(out, check, json)


@registered(epilog=example("bench --quick", "bench --backends numpy,numba --dtype float32 --out figures"))
def bench(
    quick: Annotated[bool, typer.Option("--quick", help="A few small networks, float64, a few short rounds.")] = False,
    backends: Annotated[str | None, typer.Option(help="Names, comma between; default: all.", metavar="NAMES")] = None,
    dtype: Annotated[str | None, typer.Option(help="float64, float32; default: both.", metavar="NAMES")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="For every library; default: its own setting.")] = None,
    scaling: Annotated[
        bool, typer.Option("--scaling/--no-scaling", help="Also time against width, batch, depth and rows.")
    ] = True,
    against: Annotated[
        str | None, typer.Option(help="bench.json of an earlier run here: exit status 1 if slower.", metavar="FILE")
    ] = None,
    out: Annotated[
        str | None, typer.Option(help="New folder for JSON, CSV and HTML; default: ./runs/bench-N.", metavar="FOLDER")
    ] = None,
    images: Annotated[
        str | None, typer.Option(help="New folder for each chart as PNG and SVG; extra image.", metavar="FOLDER")
    ] = None,
    json: Json = False,
):
    """Time training steps on a ladder of networks, backend against backend; gradients are checked first."""
    from backprop_ref.cli.bench import bench

    return bench(quick, backends, dtype, threads, scaling, against, out, images, json)


@registered(epilog=example("backends --json"))
def backends(as_json: Json = False):
    """List the backends: usable or not, and why not."""
    from backprop_ref.backends import backends
    from backprop_ref.cli import show

    statuses = backends()
    if as_json:
        show.as_json([status._asdict() for status in statuses])
        return
    rows = [
        (s.name, "yes" if s.usable else "no", s.version or "", s.device or "", " ".join(s.reason.split()))
        for s in statuses
    ]
    show.table(("backend", "usable", "version", "device", "why not"), rows)


@registered(epilog=example("report runs/digits-1", "report runs/xor-1 runs/xor-2 --out xor.html --images charts"))
def report(
    runs: Annotated[list[str], typer.Argument(help="Run folders, also of runs that still go on.", metavar="RUN…")],
    out: Annotated[
        str | None, typer.Option(help="HTML file to write; default: report.html in the run's folder.", metavar="FILE")
    ] = None,
    compare: Annotated[
        list[str] | None,
        typer.Option(help="What backprop-ref compare --json printed, to be shown too.", metavar="FILE"),
    ] = None,
    images: Annotated[
        str | None, typer.Option(help="New folder for each chart as an image, by the extra image.", metavar="FOLDER")
    ] = None,
    image_format: Annotated[str, typer.Option(help="png, svg or pdf, or several.", metavar="NAMES")] = "png,svg",
    open: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
    force: Force = False,
):
    """One HTML file with charts of runs and the network to click through; it loads nothing.

    A small run that was not traced is trained once more for its network; a larger one needs train --trace binary.
    """
    from backprop_ref.cli.report import read_comparison, report

    with overwriting(force):
        report(runs, out, [read_comparison(path) for path in compare or []], images, _formats(image_format), open)


@registered(epilog=example("sweep learning-rates", "sweep --dataset iris --seeds 1-5 --learning-rates 0.01,0.1"))
@with_flags(exclude=("--run-dir", "--resume", "--output"))
def sweep(
    experiment: Annotated[
        str | None,
        typer.Argument(
            help="Ready-made: initial-weights, learning-rates, losses, vanishing-gradients, wrong-gradients.",
            metavar="EXPERIMENT",
        ),
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="Seeds, as 1,2,3 or 1-5.", metavar="LIST")] = None,
    learning_rates: Annotated[str | None, typer.Option(help="Step sizes η.", metavar="LIST")] = None,
    activations: Annotated[str | None, typer.Option(help="Of the hidden layers.", metavar="LIST")] = None,
    losses: Annotated[
        str | None, typer.Option(help="Losses; with the output's activation as sigmoid+sse.", metavar="LIST")
    ] = None,
    inits: Annotated[str | None, typer.Option(help="Schemes of initial weights.", metavar="LIST")] = None,
    widths: Annotated[str | None, typer.Option(help="Hidden layers, as 16,32x16,none.", metavar="LIST")] = None,
    optimizers: Annotated[str | None, typer.Option(help="Update rules.", metavar="LIST")] = None,
    config: Annotated[
        str | None, typer.Option(help="YAML file, in which the section sweep holds lists.", metavar="FILE")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default: as many as pay.")] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(help="Dask's, whose workers train, on this machine or others; extra dask.", metavar="ADDRESS"),
    ] = None,
    out: Annotated[str | None, typer.Option(help="New folder; default: ./sweeps/NAME-N.", metavar="FOLDER")] = None,
    resume: Annotated[str | None, typer.Option(help="Folder of a sweep to go on with.", metavar="FOLDER")] = None,
    images: Annotated[
        str | None,
        typer.Option(help="New folder for each chart as PNG and SVG, by the extra image.", metavar="FOLDER"),
    ] = None,
    **flags,
):
    """Train over a grid of settings, with one table and one page; a sweep that was killed goes on where it was."""
    from backprop_ref.cli.sweep import sweep

    given = {
        "seed": seeds,
        "learning_rate": learning_rates,
        "activation": activations,
        "loss": losses,
        "init": inits,
        "width": widths,
        "optimizer": optimizers,
    }
    given = {axis: text for axis, text in given.items() if text}
    return sweep(experiment, config, given, out, resume, workers, scheduler, images, flags)


def _formats(text):
    from backprop_ref.errors import unknown
    from backprop_ref.report.charts.images import FORMATS

    formats = [name.strip() for name in text.split(",")]
    for name in formats:
        if name not in FORMATS:
            raise unknown("--image-format", name, FORMATS)
    return formats


@registered(epilog=example("demo"))
def demo():
    """Train on handwritten digits, check the gradients, compare three backends, draw it all.

    Some 10 seconds; half a minute the first time, when loops are compiled; more on a busy machine.
    """
    from backprop_ref.cli.demo import demo

    return demo()
