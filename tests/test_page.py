"""The report page: what is in the file, and in a real browser without any network that it draws the trace's numbers."""

import base64
import csv
import gzip
import importlib.util
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import zlib
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from helpers import OF_RARE_LOSSES, axe, label, parameters, rare_network, samples

import backprop_ref as br
from backprop_ref.backends.array import divisor
from backprop_ref.cli import run as run_command
from backprop_ref.formulas import USUAL_ACTIVATIONS, USUAL_LOSSES
from backprop_ref.report.explorer import explored, formulas
from backprop_ref.report.packing import DIGITS, codes, numbers_of, packed
from backprop_ref.report.page import MOST_BYTES
from backprop_ref.traces.file import open_trace
from backprop_ref.traces.recorder import Recorder

ROOM = 4_000_000
NETWORKS = {
    "encoder": br.Network([8, 3, 8], ["sigmoid", "softmax"], "cross_entropy"),
    "three layers": br.Network([3, 5, 4, 2], ["tanh", "leaky_relu", "sigmoid"], "sum_squared_error"),
    "softmax inside": br.Network([3, 4, 2], ["softmax", "softmax"], "mean_squared_error"),
    "one output": br.Network([2, 3, 1], ["relu", "sigmoid"], "binary_cross_entropy"),
    "sigmoid classes": br.Network([2, 3, 2], ["linear", "sigmoid"], "cross_entropy"),
}


def traced(folder, network, epochs=12, samples=None):
    """A trace of a few epochs of training on odd data."""
    stream = br.random.Stream(3, "data")
    x = np.reshape(stream.uniform(7 * network.sizes[0]), (7, -1))
    labels = np.arange(7) % max(2, network.sizes[-1])
    y = br.one_hot(labels, network.sizes[-1]) if network.sizes[-1] > 1 else labels[:, None]
    recorder = Recorder(folder, samples=samples)
    br.train(network, network.init(seed=2), x, y, epochs=epochs, batch_size=3, optimizer=br.SGD(0.3), trace=recorder)
    return open_trace(folder)


def unpacked(html, name):
    """What the page's script finds in one of its blocks."""
    return gzip.decompress(base64.b64decode(re.search(rf'id="page-{name}">([^<]*)<', html)[1]))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders of runs: the encoder and xor with traces, iris without."""
    folder = tmp_path_factory.mktemp("runs")
    kept = {
        "encoder": ["--epochs", "300"],
        "xor": ["--epochs", "40"],
        "digits": ["--hidden-size", "128", "--epochs", "3"],
    }
    for name, more in kept.items():
        assert run_command(["train", name, "--run-dir", str(folder / name), "--trace", "binary", *more]) == 0
    assert run_command(["train", "iris", "--run-dir", str(folder / "iris"), "--epochs", "3"]) == 0
    return folder


@pytest.fixture
def report(runs, tmp_path, capsys):
    """Writes a report of runs by name, and gives the file."""

    def report(*names, more=()):
        file = tmp_path / f"{'-'.join(names)}.html"
        status = run_command(["report", *(str(runs / name) for name in names), "--out", str(file), *more])
        assert status == 0, capsys.readouterr().err
        return file

    return report


# ---- the file ------------------------------------------------------------------------------------------------------


@pytest.mark.more
def test_one_file_of_bearable_size_that_asks_for_nothing_else(report):
    for names in (("encoder",), ("encoder", "xor", "digits", "iris")):
        html = report(*names).read_text(encoding="utf-8")
        assert len(html.encode()) <= MOST_BYTES
        outside = re.sub(r'id="page-\w+">[^<]*<', "", html)
        assert not re.search(r"""\b(src|href)\s*=\s*["'](?!#|data:)|@import|url\(""", outside)
        assert b"plotly.js v" in unpacked(html, "plotly")


def test_a_small_run_without_a_trace_is_trained_again_for_its_network(runs, report, opened, tmp_path, capsys):
    file = report("iris")
    html = file.read_text(encoding="utf-8")
    assert "trained once more for this page, to the same bits: iris" in html
    (about,) = json.loads(unpacked(html, "explorers"))
    assert about["epochs"] == [0, 1, 2, 3]
    assert "petal" in about["features"][2]
    page = opened(file)
    last = page.evaluate("backpropRef.explorer.records.bias('b', 3, 0, 0)")
    assert as_shown(last) == as_shown(br.load(runs / "iris" / "checkpoint.safetensors").params.b[0][0])
    assert not list((runs / "iris").glob("trace*"))
    shutil.copytree(runs / "iris", tmp_path / "others")
    config = tmp_path / "others" / "config.yaml"
    config.write_text(re.sub(r"learning_rate: .*", "learning_rate: 0.011", config.read_text()))
    capsys.readouterr()
    assert run_command(["report", str(tmp_path / "others")]) == 0
    assert "nothing was traced" in (said := capsys.readouterr().out)
    assert "(not trained again for it: training it again gives other weights)" in said
    results = tmp_path / "others" / "results.json"
    for key, value, why in (("seconds", 5.25, "trained for 5.2 s, more than 5"), ("n_parameters", 3001, "3,001 param")):
        results.write_text(json.dumps(json.loads(results.read_text()) | {key: value}))
        assert run_command(["report", str(tmp_path / "others"), "--out", str(tmp_path / f"{key}.html")]) == 0
        assert f"(not trained again for it: {why}" in capsys.readouterr().out
        assert f"others (not trained again for one: {why}" in (tmp_path / f"{key}.html").read_text(encoding="utf-8")


def test_a_result_that_was_recorded_is_reported_with_its_network(tmp_path):
    network = br.Network([2, 3, 1], ["tanh", "sigmoid"], "binary_cross_entropy")
    result = br.train(network, network.init(), [[0.0, 1.0]], [[1.0]], epochs=4, trace=Recorder())
    (about,) = json.loads(unpacked(result.report(out=tmp_path / "r.html").read_text(encoding="utf-8"), "explorers"))
    assert about["epochs"] == [0, 1, 2, 3, 4]


def hard_numbers():
    """Numbers of every size, ties, and what is no number."""
    stream = br.random.Stream(5, "data")
    sizes = 10.0 ** (stream.uniform(5000) * 600 - 300)
    ties = [12344.5, 12345.5, 99999.5, 1.00005, 0.999995, 0.5, 1.0, 1e5, 1e-5, 5e-324, 2.5e-310, 1.79e308]
    positive = np.concatenate([sizes, ties])
    return np.concatenate([positive, -positive, [0.0, -0.0, np.inf, -np.inf, np.nan]])


def test_a_packed_number_is_that_number_to_the_digits_shown():
    given = hard_numbers()
    for value, kept in zip(given, numbers_of(codes(given)), strict=True):
        assert f"{kept + 0.0:.{DIGITS - 1}e}" == f"{value + 0.0:.{DIGITS - 1}e}"
    finite = np.sort(given[np.isfinite(given)])
    assert np.all(np.diff(codes(finite)) >= 0)


def test_packed_integers_come_back():
    given = np.array([0, 1, -1, 2**30, -(2**30), 12345, -7])
    planes = np.frombuffer(gzip.decompress(packed([given[:3], given[3:]])), np.uint8).reshape(4, -1)
    folded = np.ascontiguousarray(planes.T).view("<u4")[:, 0].astype(np.int64)
    assert np.array_equal((folded >> 1) ^ -(folded & 1), given)


def test_a_long_trace_is_thinned_with_first_and_last(tmp_path):
    trace = traced(tmp_path / "t", NETWORKS["encoder"], epochs=200)
    about, data = explored(trace, budget=20_000)
    assert len(data) <= 20_000
    assert about["total"] == 201 > len(about["epochs"]) > 12
    assert about["epochs"][0] == 0
    assert about["epochs"][-1] == 200


def test_of_wide_layers_some_neurons_are_drawn_with_all_that_they_read(tmp_path):
    network = br.Network([3, 200, 150, 2], ["tanh", "relu", "softmax"], "ce")
    trace = traced(tmp_path / "t", network, epochs=2)
    about, _ = explored(trace, ROOM)
    assert [len(neurons) for neurons in about["shown"]] == [3, 64, 64, 2]
    shapes = {field["name"]: field["shape"] for field in about["fields"]}
    assert shapes["W1"] == [200, 64]
    assert shapes["W1rows"] == [64, 150]
    assert shapes["a0"] == [7, 200]
    assert explored(trace, budget=1000) is None


def test_the_networks_here_have_every_usual_activation_and_loss():
    assert {activation for network in NETWORKS.values() for activation in network.activations} == {*USUAL_ACTIVATIONS}
    assert {network.loss for network in NETWORKS.values()} == {*USUAL_LOSSES}


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.parametrize("network", [rare_network(), *OF_RARE_LOSSES], ids=label)
@pytest.mark.few(4)
def test_the_script_computes_what_rare_formulas_say(network):
    """a and delta of each layer, to rounding."""
    params, (x, y) = parameters(network), samples(network, 1)
    seen, last, asked = br.trace(network, params, x, y), network.n_layers - 1, []
    trees, n = formulas(network), divisor(network.loss, y)
    for layer, tree in enumerate(trees["layers"]):
        known = {"z": seen.z[layer][0], "a": seen.a[layer][0], "y": y[0], "n": [n] * len(y[0])}
        asked.append([tree["a"], known, seen.a[layer][0]])
        if layer < last:
            known = known | {"da": (seen.delta[layer + 1] @ params.W[layer + 1].T)[0]}
            asked.append([tree["delta"], known, seen.delta[layer][0]])
    if trees["together"]:
        asked.append([trees["loss"], known, seen.delta[last][0]])
    script = (
        resources.files("backprop_ref.report").joinpath("static", "formulas.js").read_text("utf-8")
        + """
    for (const [tree, known, wanted] of JSON.parse(require("fs").readFileSync(0)))
      wanted.forEach((due, j) => {
        const found = new Formula(tree, wanted.length, (name, i) => known[name][i]).value(j);
        const near = Math.abs(found - due) <= 1e-12 * Math.max(1, Math.abs(due));
        if (!near) console.log(JSON.stringify(tree), found, due);
      });
    """
    )
    text = json.dumps(asked, default=lambda array: array.tolist())
    done = subprocess.run(["node", "-e", script], input=text, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("", "")


def test_charts_leave_gaps_for_what_is_not_finite(report):
    html = report("encoder", "xor").read_text(encoding="utf-8")
    figures, explorers = (json.loads(unpacked(html, name)) for name in ("figures", "explorers"))
    assert {"loss", "accuracy", "gradient-norm-by-layer", "decision-boundary"} <= {f["name"] for f in figures}
    assert [about["configuration"] for about in explorers] == ["encoder", "xor"]


@pytest.mark.more
def test_comparison_of_backends(report, tmp_path, capsys):
    assert run_command(["compare", "xor", "--backends", "numpy,python", "--steps", "2", "--json"]) == 0
    (tmp_path / "compared.json").write_text(capsys.readouterr().out)
    html = report("xor", more=["--compare", str(tmp_path / "compared.json")]).read_text(encoding="utf-8")
    assert "EXACT" in html
    assert '"name":"time-of-a-step"' in unpacked(html, "figures").decode()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "no such folder"),
        (lambda folder: folder.mkdir(), "an empty folder"),
        (lambda folder: (folder.mkdir(), (folder / "notes.txt").write_text("?")), "no run folder"),
        (lambda folder: (folder.mkdir(), (folder / "config.yaml").write_text("")), "nothing to see yet"),
        (lambda folder: folder.write_text("?"), "no run folder"),
    ],
)
def test_other_folders_give_one_clear_line(tmp_path, capsys, make, message):
    make(tmp_path / "it")
    assert run_command(["report", str(tmp_path / "it")]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_a_table_that_changed_since_is_told_of(tmp_path, capsys):
    table = tmp_path / "t.csv"
    table.write_text("a,b,c,kind\n" + "".join(f"{i},{i * i % 7},{i % 5},{i % 2}\n" for i in range(30)))
    run_dir = tmp_path / "run"
    br.run(data_path=table, target="kind", epochs=1, run_dir=run_dir, backend="numpy", progress=False)
    for change, told in ((str, False), (lambda text: text.replace("3,2,3,1", "3,5,3,1"), True)):
        table.write_text(change(table.read_text()))
        assert run_command(["report", str(run_dir)]) == 0
        assert ("t.csv has changed since" in capsys.readouterr().out) is told


def test_a_run_that_still_goes_on(runs, tmp_path, capsys):
    going = tmp_path / "going"
    shutil.copytree(runs / "encoder", going)
    (going / "results.json").unlink()
    with (going / "trace.bin").open("r+b") as file:
        file.truncate((going / "trace.bin").stat().st_size // 2)
    assert run_command(["report", str(going)]) == 0
    assert "has not ended: 300 epochs so far" in capsys.readouterr().out
    (going / "history.csv").unlink()
    assert run_command(["report", str(going)]) == 0
    assert (going / "report-2.html").exists()


def test_nothing_is_overwritten(runs, tmp_path, capsys):
    (tmp_path / "there.html").write_text("mine")
    assert run_command(["report", str(runs / "xor"), "--out", str(tmp_path / "there.html")]) == 2
    assert (tmp_path / "there.html").read_text() == "mine"
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "mine.png").touch()
    images = ["--images", str(tmp_path / "images")]
    assert run_command(["report", str(runs / "xor"), "--out", str(tmp_path / "x.html"), *images]) == 2
    assert "nothing is overwritten" in capsys.readouterr().err
    assert run_command(["report", str(runs / "xor"), *images, "--image-format", "gif"]) == 2
    assert "known are pdf, png, svg" in capsys.readouterr().err


def command_line(arguments, folder, before="", **environment):
    """The command in a process of its own, after some Python."""
    program = f"import sys\n{before}\nfrom backprop_ref.cli import main\nmain(sys.argv[1:])"
    root = str(Path(br.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root, **environment}
    run = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(run, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def no_kaleido():
    """Python that makes kaleido impossible to import."""
    return (
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'kaleido': raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Absent())"
    )


@pytest.mark.parametrize("command", ["report", "sweep"])
def test_images_without_kaleido_say_what_to_install_before_anything_is_done(runs, tmp_path, command):
    what = ["report", runs / "xor", "--out", "x.html"] if command == "report" else ["sweep", "wrong-gradients"]
    done = command_line([*what, "--images", "images"], tmp_path, no_kaleido())
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "pip install 'backprop-ref[image]'" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_images_without_a_browser_say_that_one_is_needed(runs, tmp_path):
    pytest.importorskip("kaleido", reason="kaleido is not installed: pip install 'backprop-ref[image]'")
    what = ["report", runs / "xor", "--out", "x.html", "--images", "images"]
    done = command_line(what, tmp_path, PATH="", BROWSER_PATH=str(tmp_path / "none"))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "Chrome or Chromium" in done.stderr
    assert not (tmp_path / "images").exists()


def test_every_chart_as_png_and_svg(runs, tmp_path):
    pytest.importorskip("kaleido", reason="kaleido is not installed: pip install 'backprop-ref[image]'")
    if chromium() is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    what = ["report", runs / "xor", "--out", "x.html", "--images", "images"]
    done = command_line(what, tmp_path, BROWSER_PATH=chromium())
    assert done.returncode == 0, done.stderr
    names = {figure["name"] for figure in json.loads(unpacked((tmp_path / "x.html").read_text("utf-8"), "figures"))}
    images = list((tmp_path / "images").iterdir())
    assert {image.name for image in images} == {f"{name}.{kind}" for name in names for kind in ("png", "svg")}
    for image in images:
        assert (b"\x89PNG" if image.suffix == ".png" else b"<svg") in image.read_bytes()[:200]


def test_a_folder_that_cannot_be_written_to_gives_one_clear_line(runs, tmp_path, capsys):
    for path in unwritable(tmp_path):
        for what in (
            ["report", runs / "xor", "--out", path / "x.html"],
            ["report", runs / "xor", "--out", tmp_path / "x.html", "--images", path / "images"],
            ["explain", "xor", "--format", "html", "--output", path / "x.html"],
        ):
            if "--images" in what and not importlib.util.find_spec("kaleido"):
                continue
            assert run_command(list(map(str, what))) == 2
            err = capsys.readouterr().err
            assert err.count("\n") == 1
            assert re.search("cannot be written|no such folder", err)


def unwritable(folder):
    """Places where nobody, or only the superuser, can write."""
    (folder / "file").touch()
    yield folder / "file"
    if Path("/proc/self").exists():
        yield Path("/proc/self")
    if os.geteuid() != 0:
        (folder / "closed").mkdir(mode=0o500)
        yield folder / "closed"


def test_both_losses_of_the_last_epoch_are_named(runs, report):
    html = report("encoder").read_text(encoding="utf-8")
    final = json.loads((runs / "encoder" / "results.json").read_text())["train"]["loss"]
    assert f'<td data-label="training loss" class="number">{final:.4g}</td>' in html
    assert "in the table are those of the final weights" in html
    assert "running" in html
    assert html.count("Running: each epoch") == 2


def test_several_runs_are_a_section_each(report):
    html = report("encoder", "xor", "iris").read_text(encoding="utf-8")
    titles = re.findall(r"<h2>([^<]*)</h2>", html)
    assert titles == ["Runs", "Explorer", "Training", "encoder", "xor", "iris"]


def test_a_table_sets_numbers_to_the_right_and_leaves_out_empty_columns():
    from backprop_ref.report.sections import table

    html = table(("name", "never", "loss"), [("a", None, "1.5e-3"), ("12", "", None)])
    assert re.findall(r"<t[hd][^>]*>([^<]*)", html)[1:] == ["name", "loss", "a", "1.5e-3", "12", ""]
    assert re.findall(r'<th scope="col"( class="number")?>', html) == ["", ' class="number"']


def chromium():
    """The system's browser, or None."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


# ---- in a browser --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    """Chromium of the system, driven by playwright."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install playwright"
    )
    if chromium() is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser):
    """Opens a file in a new window with every request blocked but that for the file; no error may be logged."""
    contexts, troubles = [], []

    def opened(file, width=1280, scheme="light", height=900):
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, offline=True)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: troubles.append(request.url) if request.url != file.as_uri() else None)
        page.on("console", lambda message: troubles.append(message.text) if message.type != "log" else None)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.goto(file.as_uri())
        if "page-figures" in page.content():
            page.wait_for_selector("html[data-ready=yes]")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert [trouble for trouble in troubles if not trouble.startswith(("blob:", "data:"))] == []


def shown(page, name):
    """A number in the panel of formulas."""
    return float(page.locator(f'[data-part="formulas"] [data-of="{name}"]').first.inner_text().replace("−", "-"))


def as_shown(value):
    """A number to the digits that the page shows."""
    return float(f"{value:.{DIGITS}g}")


def draw_all(page):
    """Draws every chart, and waits for them."""
    page.evaluate("() => backpropRef.charts.places.forEach(place => backpropRef.charts.draw(place))")
    page.wait_for_function("() => backpropRef.charts.places.every(place => place.querySelector('.main-svg .xy'))")


def click(page, layer, neuron):
    index = page.evaluate(
        "([layer, neuron]) => backpropRef.explorer.units.findIndex(u => u.layer === layer && u.neuron === neuron)",
        [layer, neuron],
    )
    page.locator(f'[data-unit="{index}"]').click()


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_draws_without_errors_and_fits_the_screen(report, opened, width, scheme):
    page = opened(report("encoder", "xor"), width, scheme)
    charts = page.locator("[data-chart]")
    page.evaluate("() => backpropRef.charts.places.forEach(place => backpropRef.charts.draw(place))")
    page.wait_for_function("() => document.querySelectorAll('.main-svg').length >= 3 * 8")
    assert charts.count() >= 8
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator("#theme").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    inked = "canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(v => v)"
    assert page.locator('[data-part="edges"]').evaluate(inked)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_numbers_of_every_neuron_are_those_of_the_trace(tmp_path, opened, name):
    from backprop_ref.report.page import page as page_of

    trace = traced(tmp_path / "run", NETWORKS[name])
    (tmp_path / "page.html").write_text(page_of("t", [], [trace]), encoding="utf-8")
    page = opened(tmp_path / "page.html")
    frame, sample = 7, 4
    page.locator('[data-part="epoch"]').fill(str(frame))
    page.locator('[data-part="sample"]').select_option(str(sample))
    for layer, n in enumerate(trace.network.sizes[1:]):
        for j in range(n):
            click(page, layer, j)
            for quantity in ("z", "a", "delta"):
                assert shown(page, quantity) == as_shown(trace[f"{quantity}{layer}"][frame, sample, j])
            assert shown(page, "db") == as_shown(trace[f"db{layer}"][frame, j])
            for k in range(trace.network.sizes[layer]):
                for quantity in ("W", "dW"):
                    text = page.locator(f'[data-of="{quantity}"][data-k="{k}"]').inner_text().replace("−", "-")
                    assert float(text) == as_shown(trace[f"{quantity}{layer}"][frame, k, j])
            for step in page.locator(".step").all():
                check_arithmetic(step)


ATTACKS = (
    '<img src=x onerror="window.hacked=1">',
    "<svg/onload=window.hacked=1>",
    "</script><script>window.hacked=1</script>",
    '<a href="javascript:window.hacked=1">link</a>',
    "<b>bold</b>",
    "&lt;i&gt; %{x} ${window.hacked=1}",
)
"""Names that a page must show as they are."""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Two runs and a comparison of somebody else's, whose every text is an attack."""
    folder = tmp_path_factory.mktemp("hostile")
    rows = [[i + j / 7, i * j % 5, name] for i, name in enumerate(ATTACKS) for j in range(6)]
    with (folder / "data.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([[ATTACKS[0], ATTACKS[4], "kind"], *rows])
    runs = [folder / "run<img src=x onerror=window.hacked=1>", folder / "<b>run"]
    options = ["--epochs", "4", "--hidden-size", "3", "--validation-size", "0.2", "--trace", "binary"]
    for path in runs:
        what = ["train", "--data-path", str(folder / "data.csv"), *options, "--run-dir", str(path)]
        assert run_command(what) == 0
        results = json.loads((path / "results.json").read_text())
        of_machine = dict.fromkeys(("backend", "numerics", "dtype", "name", "run_dir", "sha256", "version"), ATTACKS[0])
        (path / "results.json").write_text(json.dumps({**results, **of_machine}))
        line, _, records = (path / "trace.bin").read_bytes().partition(b"\n")
        header = json.dumps({**json.loads(line), "configuration": ATTACKS[0]})
        (path / "trace.bin").write_bytes(header.encode() + b"\n" + records)
    settings = (runs[1] / "config.yaml").read_text()
    (runs[1] / "config.yaml").write_text(settings.replace("optimizer: sgd", f"optimizer: '{ATTACKS[0]}'"))
    backend = {
        **dict.fromkeys(("backend", "reason", "gradients", "weights"), ATTACKS[0]),
        "usable": True,
        "exact": {ATTACKS[0]: False},
        "all_exact": False,
        "largest_relative": 1.0,
        "step_seconds": 1e-3,
    }
    compared = {"reference": ATTACKS[0], "numerics": ATTACKS[0], "backends": [backend, {**backend, "usable": False}]}
    (folder / "compared.json").write_text(json.dumps(compared))
    return runs, folder / "compared.json"


def spaceless(text):
    """A text without spaces, at which plotly breaks lines."""
    return re.sub(r"\s", "", text)


def shown_texts(page):
    """Every text in a table or a chart."""
    texts = "[...document.querySelectorAll('main td, main .main-svg text')].map(each => each.textContent)"
    return set(map(spaceless, page.evaluate(texts)))


@pytest.mark.parametrize("count", [1, 2])
def test_a_foreign_run_whose_every_text_is_an_attack_is_shown_and_does_nothing(hostile, opened, tmp_path, count):
    runs, compared = hostile
    file = tmp_path / "page.html"
    what = ["report", *map(str, runs[:count]), "--compare", str(compared), "--out", str(file)]
    assert run_command(what) == 0
    page = opened(file)
    draw_all(page)
    for unit in range(page.evaluate("backpropRef.explorer.units.length")):
        page.locator(f'[data-unit="{unit}"]').click()
    for choice in page.locator("[data-choose], [data-part=quantity], [data-part=sample]").all():
        for i in range(min(3, choice.locator("option").count())):
            choice.select_option(index=i)
    for chart in page.locator("[data-chart]").all():
        chart.hover()
    page.get_by_role("button", name="Save as SVG").first.click()
    page.wait_for_timeout(300)
    assert page.evaluate("window.hacked") is None
    assert page.locator("main a:not(nav a), main img, main svg[onload]").count() == 0
    assert page.locator("script").count() == 6  # with plotly
    texts = shown_texts(page)
    assert {spaceless(f"class {name}") for name in ATTACKS} <= texts  # of the decision boundary
    assert set(map(spaceless, ATTACKS)) - texts <= set(map(spaceless, ATTACKS[1:3]))  # of axes, not all have room
    assert page.locator("[data-part=run] option").first.inner_text() == ATTACKS[0]
    if count == 2:
        assert [text for text in texts if text.startswith("<b>run(optimizer<img")]


def test_a_foreign_sweep_whose_texts_are_attacks_is_shown_and_does_nothing(opened, tmp_path):
    grid = ["--dataset", "xor", "--epochs", "2", "--seeds", "1,2", "--activations", "tanh,relu", "--backend", "numpy"]
    assert run_command(["sweep", *grid, "--out", str(tmp_path / "sweep")]) == 0
    plan = json.loads((tmp_path / "sweep/sweep.json").read_text())
    (tmp_path / "sweep/sweep.json").write_text(json.dumps({**plan, "title": ATTACKS[2]}))
    for i, path in enumerate(sorted((tmp_path / "sweep/cells").glob("*/cell.json"))):
        row = json.loads(path.read_text())
        path.write_text(json.dumps({**row, "sha256": ATTACKS[i], "seconds": ATTACKS[i]}))
    assert run_command(["report", str(tmp_path / "sweep"), "--out", str(tmp_path / "page.html")]) == 0
    page = opened(tmp_path / "page.html")
    draw_all(page)
    for chart in page.locator("[data-chart]").all():
        chart.hover()
    page.wait_for_timeout(300)
    assert page.evaluate("window.hacked") is None
    assert page.locator("h1").inner_text() == ATTACKS[2]


@pytest.mark.parametrize("kind", ["report", "explain"])
def test_a_page_lets_no_other_script_run(report, browser, tmp_path, kind):
    """Whatever came into it."""
    file = tmp_path / "explained.html"
    if kind == "report":
        file = report("xor")
    else:
        assert run_command(["explain", "xor", "--format", "html", "--output", str(file)]) == 0
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.goto(file.as_uri())
    page.evaluate(
        """() => {
          window.refused = [];
          addEventListener('securitypolicyviolation', (event) => refused.push(event.effectiveDirective));
          const attack = '<img src="data:," onerror="hacked = 1"><p onclick="hacked = 2">';
          document.body.insertAdjacentHTML('beforeend', attack);
          document.body.lastChild.click();
          const script = document.createElement('script');
          script.textContent = 'hacked = 3';
          document.body.append(script);
          location.href = 'javascript:hacked = 4';
        }"""
    )
    page.wait_for_function("refused.length >= 4")
    assert page.evaluate("typeof hacked") == "undefined"
    assert set(page.evaluate("refused")) <= {"script-src-attr", "script-src-elem", "img-src"}
    context.close()


def check_arithmetic(step):
    """What stands between the signs of equality comes to the result, as far as the digits shown allow."""
    parts = step.locator("span").all()
    if len(parts) < 3 or step.locator("sup, .rest").count():
        return
    text = parts[1].inner_text().removeprefix("=").strip().replace("·", "*").replace("e−", "e-")
    if not re.fullmatch(r"[-−+*/() 0-9.e]+", text):
        return
    exact, sizes = (eval(text.replace("−", sign)) for sign in "-+")
    printed = float(step.locator(".result").inner_text().replace("−", "-"))
    half_a_digit = 0.5 * 10.0 ** (1 - DIGITS)  # relative; a product here has four factors at most, each rounded
    assert abs(exact - printed) <= 4 * half_a_digit * abs(sizes) + half_a_digit * abs(printed)


def test_slider_keys_and_play(report, runs, opened):
    page = opened(report("encoder"))
    trace = open_trace(runs / "encoder")
    click(page, 0, 1)
    seen = []
    for frame in (0, 150, 300):
        page.locator('[data-part="epoch"]').fill(str(frame))
        assert f"epoch {trace['epoch'][frame]} " in page.locator('[data-part="now"]').inner_text()
        seen.append(shown(page, "z"))
        assert seen[-1] == as_shown(trace["z0"][frame, 0, 1])
    assert len(set(seen)) == 3
    page.locator("[data-unit].chosen").focus()
    page.keyboard.press("ArrowRight")
    assert "of layer 1" in page.locator('[data-part="formulas"] h3').inner_text()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert "Input" in page.locator('[data-part="formulas"] h3').inner_text()
    page.keyboard.press("Enter")
    for quantity in ("weight", "activation", "delta", "gradient"):
        page.locator('[data-part="quantity"]').select_option(quantity)
    page.locator('[data-part="epoch"]').fill("0")
    page.locator('[data-part="play"]').click()
    page.wait_for_function("() => backpropRef.explorer.frame > 5")
    page.locator('[data-part="play"]').click()
    assert not page.evaluate("backpropRef.explorer.playing")


def entries(trace, name, frame):
    """A field of the page at a frame, from the trace."""
    field = name.removesuffix("rows")
    if field.startswith("da"):
        layer = int(field[2:])
        if layer == trace.network.n_layers - 1:
            n = len(trace.y) * (trace.y.shape[1] if trace.network.loss in PER_OUTPUT else 1)
            return 2.0 * (trace[f"a{layer}"][frame] - trace.y) / n
        return trace[f"delta{layer + 1}"][frame] @ trace[f"W{layer + 1}"][frame].T
    return np.array(trace[field][frame], np.float64)


PER_OUTPUT = {"mean_squared_error", "binary_cross_entropy"}
WIDE = br.Network([3, 140, 130, 2], ["tanh", "relu", "softmax"], "mean_squared_error")


@pytest.mark.parametrize("network", [*NETWORKS.values(), WIDE], ids=[*NETWORKS, "wide"])
def test_every_number_that_the_page_holds_is_that_of_the_trace(tmp_path, opened, network):
    from backprop_ref.report.page import page as page_of

    trace = traced(tmp_path / "run", network, samples=[5, 0, 3])
    (tmp_path / "page.html").write_text(page_of("t", [], [trace]), encoding="utf-8")
    page = opened(tmp_path / "page.html")
    assert page.evaluate("backpropRef.explorer.records.epochs") == trace["epoch"].tolist()
    frame = 9
    chosen = "f => { const { fields, frames } = backpropRef.explorer.records; "
    chosen += f"return Array.from(fields[f].values).filter((_, i) => i % frames === {frame}) }}"
    for field in explored(trace, ROOM)[0]["fields"]:
        held = page.evaluate(chosen, field["name"])
        there = np.atleast_2d(entries(trace, field["name"], frame))
        there = there if field["rows"] is None else there[field["rows"]]
        there = there if field["columns"] is None else there[:, field["columns"]]
        assert [as_shown(value) for value in held] == [as_shown(value) for value in there.ravel()], field["name"]


def test_a_long_trace_of_a_large_network_keeps_many_epochs_and_says_how_many(tmp_path, opened):
    from backprop_ref.report.page import page as page_of

    trace = traced(tmp_path / "run", br.Network([64, 128, 10], ["relu", "softmax"], "ce"), epochs=400)
    html = page_of("t", [], [trace])
    assert len(html.encode()) <= MOST_BYTES
    (tmp_path / "page.html").write_text(html, encoding="utf-8")
    page = opened(tmp_path / "page.html")
    kept = page.evaluate("backpropRef.explorer.records.frames")
    numbers = sum(np.prod(field["shape"], dtype=int) for field in explored(trace, ROOM)[0]["fields"])
    assert numbers * kept > MOST_BYTES / 2  # less than two bytes for each
    assert f"{kept} of the 401 epochs are in this page" in page.locator('[data-part="note"]').inner_text()


def test_slider_sample_and_speed_act_at_once_while_playing(report, opened):
    page = opened(report("encoder"))
    page.locator('[data-part="speed"]').select_option("5")
    page.locator('[data-part="play"]').click()
    page.wait_for_function("() => backpropRef.explorer.frame >= 2 && backpropRef.explorer.frame < 100")
    page.locator('[data-part="epoch"]').fill("200")
    page.wait_for_function("() => backpropRef.explorer.frame > 201")
    assert page.evaluate("backpropRef.explorer.playing && backpropRef.explorer.frame < 250")
    page.locator('[data-part="sample"]').select_option("3")
    page.wait_for_function("() => document.querySelector('.where').textContent.endsWith('sample 3')")
    page.locator('[data-part="epoch"]').fill("0")
    page.locator('[data-part="speed"]').select_option("60")
    page.wait_for_function("() => backpropRef.explorer.frame >= 100", timeout=10_000)  # at 5 a second, 20 s
    assert page.evaluate("backpropRef.explorer.playing")


@pytest.mark.parametrize("width", [1280, 360])
def test_a_chart_has_buttons_that_save_it_and_none_that_lie_over_it_or_send_it_away(report, opened, width):
    page = opened(report("xor"), width)
    draw_all(page)
    assert page.locator(".modebar-btn").count() == 0
    figure = page.locator("figure").first
    for kind, start in (("svg", b"<svg"), ("png", b"\x89PNG")):
        with page.expect_download() as download:
            figure.get_by_role("button", name=f"Save as {kind.upper()}").click()
        assert download.value.suggested_filename == f"loss.{kind}"
        assert start in Path(download.value.path()).read_bytes()[:200]


def drawn_lines(pdf):
    """How many straight lines a PDF draws."""
    total = 0
    for stream in re.findall(rb"stream\r?\n(.*?)endstream", pdf, re.DOTALL):
        try:
            total += len(re.findall(rb" l\n", zlib.decompress(stream)))
        except zlib.error:  # an image or a font
            continue
    return total


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_chart_is_printed_in_dark_ink(report, opened, scheme):
    page = opened(report("encoder"), scheme=scheme)
    page.evaluate(
        "() => addEventListener('beforeprint', () => {"
        " window.ink = getComputedStyle(document.querySelector('.main-svg text')).fill })"
    )
    assert page.locator(".main-svg").count() == 0
    first = page.pdf(format="A4")
    assert page.evaluate("backpropRef.charts.places.every(place => place.querySelector('.main-svg'))")
    red, green, blue = map(int, re.findall(r"\d+", page.evaluate("window.ink"))[:3])
    assert max(red, green, blue) < 100
    assert len(re.findall(rb"/Type /Page\b", first)) <= 6
    page.wait_for_timeout(500)
    assert drawn_lines(first) == drawn_lines(page.pdf(format="A4")) > 500
    assert (
        page.evaluate("getComputedStyle(document.querySelector('.main-svg text')).fill") != page.evaluate("window.ink")
        or scheme == "light"
    )


def test_printed_charts_are_as_wide_as_their_cards_and_whole_on_the_screen_afterwards(report, opened):
    page = opened(report("encoder"))
    draw_all(page)
    sizes = "() => backpropRef.charts.places.map(place => place.querySelector('.main-svg').getBoundingClientRect())"
    before = page.evaluate(sizes)
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    shares = "place => place.querySelector('.main-svg').clientWidth / place.clientWidth"
    assert min(page.evaluate(f"backpropRef.charts.places.map({shares})")) > 0.99
    page.emulate_media(media="screen")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.wait_for_timeout(300)
    after = page.evaluate(sizes)
    assert [(box["width"], box["height"]) for box in after] == [(box["width"], box["height"]) for box in before]


def test_what_is_printed_too_early_says_so(report, browser):
    context = browser.new_context(java_script_enabled=False)  # a page that never gets ready
    page = context.new_page()
    page.goto(report("xor").as_uri())
    assert not page.locator("#early").is_visible()
    page.emulate_media(media="print")
    assert page.locator("#early").is_visible()
    assert not page.locator("[data-chart]").first.is_visible()
    context.close()


def test_edges_and_neurons_keep_together_at_any_width(report, opened):
    page = opened(report("encoder"))
    shares = page.evaluate(
        """() => {
          const { stage, canvas, svg, units, size } = backpropRef.explorer;
          stage.style.width = '300px'; // as on paper, where nothing is laid out anew
          const { width, height } = canvas.getBoundingClientRect();
          const left = stage.getBoundingClientRect().left;
          const box = units.at(-1).circle.getBoundingClientRect();
          return [width / size[0], height / size[1], ((box.left + box.right) / 2 - left) / units.at(-1).x];
        }"""
    )
    assert max(shares) - min(shares) < 0.01
    assert shares[0] < 0.5


def test_a_table_of_many_columns_fits_on_paper(tmp_path, opened):
    from backprop_ref.report.page import page as page_of
    from backprop_ref.report.sections import Section, table

    words = ["activation", "weight_init", "width", "optimizer", "state", "outcome"]
    values = ["leaky_relu", "random_uniform", "16x16x16x16x16x16x16x16", "adam", "all epochs", "diverged: loss grew"]
    rows = [[*values, *["0.3333"] * 7, "1.234e+31", "1.2e+308"]] * 3
    section = Section("Table", table([*words, *[f"some measure {i}" for i in range(9)]], rows))
    (tmp_path / "page.html").write_text(page_of("t", [section], []), encoding="utf-8")
    page = opened(tmp_path / "page.html", width=720)  # A4 upright with the margins of a browser
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") <= 720


def test_numbers_in_neurons_do_not_overrun_each_other(tmp_path, opened):
    from backprop_ref.report.page import page as page_of

    trace = traced(tmp_path / "run", br.Network([64, 32, 16, 10], ["relu", "tanh", "softmax"], "ce"), epochs=2)
    (tmp_path / "page.html").write_text(page_of("t", [], [trace]), encoding="utf-8")
    for width in (1280, 900, 360):
        page = opened(tmp_path / "page.html", width)
        for quantity in ("weight", "delta"):
            page.locator('[data-part="quantity"]').select_option(quantity)
            boxes = page.evaluate(
                "() => [...document.querySelectorAll('[data-part=units] text')].filter(text => text.textContent)"
                ".map(text => { const { left, right, top, bottom } = text.getBoundingClientRect();"
                " return [left, right, top, bottom] })"
            )
            assert len(boxes) == (58 if width == 1280 else 0)
            for i, (left, right, top, bottom) in enumerate(boxes):
                others = boxes[i + 1 :]
                assert not any(a < right and left < b and c < bottom and top < d for a, b, c, d in others)


# What is wider than the screen, or than the box that it is drawn in, and does not scroll.
CUT = """() => {
  const scrolls = (element) => element.closest('.scroll, .formula, select');
  const found = [...document.querySelectorAll('body *')].filter((element) => {
    const { left, right, width } = element.getBoundingClientRect();
    return width && (right > innerWidth + 0.5 || left < -0.5) && !scrolls(element) && !element.closest('svg');
  });
  for (const text of document.querySelectorAll('.main-svg text')) {
    const box = text.closest('[data-chart]').getBoundingClientRect();
    const { left, right, width } = text.getBoundingClientRect();
    if (width && getComputedStyle(text).fill !== 'rgba(0, 0, 0, 0)' && (right > box.right + 1 || left < box.left - 1)) {
      found.push(text);
    }
  }
  return found.map((element) => element.outerHTML.slice(0, 200));
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("what", ["encoder", "encoder and xor", "digits", "wrong gradients", "explain"])
def test_nothing_is_cut_on_a_phone(runs, report, opened, tmp_path, what, scheme):
    if what == "wrong gradients":
        file = tmp_path / "wrong" / "report.html"
        assert run_command(["sweep", "wrong-gradients", "--out", str(file.parent)]) == 0
    elif what == "explain":
        file = tmp_path / "explained.html"
        for more in ([], ["--matrices"]):
            assert run_command(["explain", "digits", *more, "--format", "html", "--output", str(file)]) == 0
            assert opened(file, 360, scheme, 740).evaluate(CUT) == []
            file.rename(tmp_path / f"{len(more)}.html")
        return
    else:
        file = report(*what.split(" and "))
    page = opened(file, 360, scheme, 740)
    draw_all(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate(CUT) == []
    for box in page.locator(".scroll").all():
        if box.evaluate("box => box.scrollWidth > box.clientWidth"):
            assert "gradient" in box.evaluate("box => getComputedStyle(box).backgroundImage")


@pytest.mark.more
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 380])
def test_pages_are_accessible(runs, report, browser, tmp_path, width, scheme):
    script, files = axe(), [report("xor")]
    for name, asked in {
        "explain": ["explain", "xor", "--format", "html", "--output"],
        "verify": ["verify", "backprop_ref.api:value_and_grad", "--network", "2-3-1:tanh,sigmoid:bce", "--html"],
    }.items():
        files.append(tmp_path / f"{name}.html")
        run_command([*asked, str(files[-1])])
    for file in files:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True)
        page = context.new_page()
        page.goto(file.as_uri())
        page.wait_for_timeout(500)
        page.evaluate(script)
        found = page.evaluate("async () => (await axe.run()).violations")
        assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found] == [], file
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        context.close()


def test_by_keyboard_alone(report, opened):
    page = opened(report("encoder"))
    focused = "() => document.activeElement.dataset.part ?? document.activeElement.tagName"
    ring = """() => {
      const circle = document.activeElement.querySelector('circle');
      const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement);
      return circle ? getComputedStyle(circle).strokeWidth : outlineStyle === 'none' ? '0px' : outlineWidth;
    }"""

    def tab_to(name):
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate(focused) == name:
                assert float(page.evaluate(ring).removesuffix("px")) >= 3
                return
        raise AssertionError(f"{name} is never reached")

    tab_to("quantity")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("backpropRef.explorer.quantity") == "weight"
    tab_to("play")
    page.keyboard.press("Enter")
    page.wait_for_function("() => backpropRef.explorer.playing && backpropRef.explorer.frame > 3")
    page.keyboard.press("Enter")
    assert not page.evaluate("backpropRef.explorer.playing")
    tab_to("epoch")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("backpropRef.explorer.frame") == 1
    tab_to("g")  # a neuron
    page.keyboard.press("ArrowDown")
    assert "Neuron 1 of layer 0" in page.locator('[data-part="formulas"] h3').inner_text()
    page.keyboard.press("Enter")
    assert page.evaluate(focused) == "formulas"
    page.keyboard.press("Escape")
    assert page.locator('[data-part="formulas"] h3').count() == 0
    assert page.evaluate(focused) == "g"
    page.keyboard.press("ArrowUp")
    assert page.locator('[data-part="formulas"] h3').count() == 0
    page.keyboard.press("Enter")
    assert "Neuron 0 of layer 0" in page.locator('[data-part="formulas"] h3').inner_text()
    page.keyboard.press("Shift+Tab")
    assert page.evaluate(focused) == "close"
    page.keyboard.press("Enter")
    assert page.locator('[data-part="formulas"] h3').count() == 0


def test_what_chooses_and_plays_above_charts_by_keyboard_alone(report, runs, opened):
    page = opened(report("encoder"))
    draw_all(page)
    trace = open_trace(runs / "encoder")
    chosen = page.locator("[data-choose]")
    chosen.focus()
    page.keyboard.press("End")
    assert chosen.input_value() == "layer 1, neuron 7"
    lines = "figure => figure.querySelector('[data-chart]').data.filter(line => line.visible)"
    figure = page.locator("figure", has=chosen)
    assert figure.evaluate(f"{lines}".replace("visible)", "visible).map(line => line.y.at(-1))")) == [
        *map(as_charted, trace["W1"][-1, :, 7]),
        as_charted(trace["b1"][-1, 7]),
    ]
    assert [focused for focused in tab_stops(page, 6) if focused not in ("BUTTON", "INPUT")] == []
    moving = page.locator("figure", has=page.locator("[data-frame]")).first
    moving.locator("[data-frame]").focus()
    page.keyboard.press("Home")
    z = "figure => figure.querySelector('[data-chart]').data[0].z"
    assert moving.locator("output").inner_text() == "epoch 0"
    assert moving.evaluate(z) == [[as_charted(value) for value in row] for row in trace["a0"][0]]
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    page.wait_for_function("() => Number(document.querySelector('[data-frame]').value) > 3")
    page.keyboard.press("Enter")
    assert moving.get_by_role("button", name="Play").is_visible()


def as_charted(value):
    """A number to the digits that charts hold."""
    return float(f"{value:.6g}")


def tab_stops(page, count):
    """What the next presses of the tabulator reach."""
    for _ in range(count):
        page.keyboard.press("Tab")
        yield page.evaluate("document.activeElement.tagName")


def test_every_frame_is_drawn_while_playing(report, opened):
    page = opened(report("encoder"))
    page.evaluate(
        "() => { window.spent = []; const { explorer } = backpropRef; const show = explorer.show.bind(explorer);"
        " explorer.show = (frame) => { const t = performance.now(); show(frame); spent.push(performance.now() - t) } }"
    )
    page.locator('[data-part="play"]').click()
    page.wait_for_function("() => backpropRef.explorer.frame > 0 && !backpropRef.explorer.playing", timeout=60_000)
    spent = page.evaluate("window.spent")
    assert len(spent) > 30
    assert page.evaluate("backpropRef.explorer.frame") == page.evaluate("backpropRef.explorer.records.frames") - 1
    print(f"{len(spent)} frames, script {statistics.median(spent):.2f} ms each")
