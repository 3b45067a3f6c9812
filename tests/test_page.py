"""The report page: what is in the file, and in a real browser without any network that it draws the trace's numbers."""

import base64
import gzip
import json
import re
import shutil
import statistics

import numpy as np
import pytest

import backprop_ref as br
from backprop_ref.cli import run as run_command
from backprop_ref.network import ACTIVATIONS, LOSSES
from backprop_ref.report.explorer import explored
from backprop_ref.report.recorder import Recorder
from backprop_ref.report.trace import open_trace

MOST_BYTES, DIGITS = 8_000_000, 6
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


def test_one_file_of_bearable_size_that_asks_for_nothing_else(report):
    for names in (("encoder",), ("encoder", "xor", "digits", "iris")):
        html = report(*names).read_text(encoding="utf-8")
        assert len(html.encode()) <= MOST_BYTES
        outside = re.sub(r'id="page-\w+">[^<]*<', "", html)
        assert not re.search(r"""(src|href)\s*=\s*["'](?!#|data:)|@import|url\(""", outside)
        assert b"plotly.js v" in unpacked(html, "plotly")


def test_the_explorer_holds_the_bits_of_the_trace(tmp_path):
    for name, network in NETWORKS.items():
        trace = traced(tmp_path / name, network)
        about, data = explored(trace)
        values, start = np.frombuffer(data, "<f8"), 0
        assert about["frames"] == len(trace) == 13
        for field in about["fields"]:
            expected = np.array(trace[field["name"]], np.float64)
            got = values[start : start + expected.size].reshape(expected.shape)
            start += expected.size
            assert got.tobytes() == expected.tobytes(), field
        assert start == len(values)


def test_a_long_trace_is_thinned_with_first_and_last(tmp_path):
    trace = traced(tmp_path / "t", NETWORKS["encoder"], epochs=200)
    about, data = explored(trace, budget=100_000)
    assert len(data) <= 100_000
    assert about["total"] == 201 > about["frames"] > 12
    epochs = np.frombuffer(data, "<f8")[: about["frames"]]
    assert epochs[0] == 0
    assert epochs[-1] == 200


def test_of_wide_layers_some_neurons_are_drawn_with_all_that_they_read(tmp_path):
    network = br.Network([3, 200, 150, 2], ["tanh", "relu", "softmax"], "ce")
    trace = traced(tmp_path / "t", network, epochs=2)
    about, _ = explored(trace)
    assert [len(neurons) for neurons in about["shown"]] == [3, 64, 64, 2]
    shapes = {field["name"]: field["shape"] for field in about["fields"]}
    assert shapes["W1"] == [200, 64]
    assert shapes["W1rows"] == [64, 150]
    assert shapes["a0"] == [7, 200]
    assert explored(trace, budget=1000) is None


def test_the_networks_here_have_every_activation_and_loss():
    assert {activation for network in NETWORKS.values() for activation in network.activations} == set(ACTIVATIONS)
    assert {network.loss for network in NETWORKS.values()} == set(LOSSES)


def test_charts_leave_gaps_for_what_is_not_finite(report):
    data = json.loads(unpacked(report("encoder", "xor").read_text(encoding="utf-8"), "data"))
    assert {"loss", "accuracy", "gradient-norm-by-layer", "decision-boundary"} <= {f["name"] for f in data["figures"]}
    assert [about["configuration"] for about in data["explorers"]] == ["encoder", "xor"]


def test_comparison_of_backends(report, tmp_path, capsys):
    assert run_command(["compare", "xor", "--backends", "numpy,python", "--steps", "2", "--json"]) == 0
    (tmp_path / "compared.json").write_text(capsys.readouterr().out)
    html = report("xor", more=["--compare", str(tmp_path / "compared.json")]).read_text(encoding="utf-8")
    assert "EXACT" in html
    assert '"name": "time-of-a-step"' in unpacked(html, "data").decode()


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


def test_nothing_is_overwritten_and_images_need_kaleido(runs, tmp_path, capsys, monkeypatch):
    (tmp_path / "there.html").write_text("mine")
    assert run_command(["report", str(runs / "xor"), "--out", str(tmp_path / "there.html")]) == 2
    assert (tmp_path / "there.html").read_text() == "mine"
    monkeypatch.setitem(__import__("sys").modules, "kaleido", None)
    images = ["--images", str(tmp_path / "images")]
    assert run_command(["report", str(runs / "xor"), "--out", str(tmp_path / "x.html"), *images]) == 2
    assert "backprop-ref[image]" in capsys.readouterr().err
    assert run_command(["report", str(runs / "xor"), *images, "--image-format", "gif"]) == 2
    assert "known are pdf, png, svg" in capsys.readouterr().err


# ---- in a browser --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    """Chromium of the system, driven by playwright."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install playwright"
    )
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser):
    """Opens a file in a new window with every request blocked but that for the file; no error may be logged."""
    contexts, troubles = [], []

    def opened(file, width=1280, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: troubles.append(request.url) if request.url != file.as_uri() else None)
        page.on("console", lambda message: troubles.append(message.text) if message.type != "log" else None)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.goto(file.as_uri())
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


@pytest.mark.parametrize(("name", "most"), [("encoder", 1 / 60), ("digits", 0.25)])
def test_a_frame_is_quick_to_draw(report, opened, name, most):
    page = opened(report(name))
    timed = "() => { const t = performance.now(); backpropRef.explorer.show(1); return performance.now() - t }"
    assert statistics.median(page.evaluate(timed) for _ in range(40)) / 1000 < most
