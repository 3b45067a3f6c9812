"""A notebook in JupyterLab, in a real browser without any network: explorer, live widget and tables in both themes.

Needs jupyterlab, anywidget, playwright and Chromium. With ``SCREENSHOTS=folder`` it leaves pictures to look at.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import backprop_ref as br

THEMES = ("Light", "Dark")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NEEDED = [name for name in ("jupyterlab", "anywidget", "playwright") if importlib.util.find_spec(name) is None]
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
pytestmark = [
    pytest.mark.more,
    pytest.mark.skipif(bool(NEEDED), reason=f"not installed: {', '.join(NEEDED)}"),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
]

SETTING = """
import backprop_ref as br
network = br.Network([2, 4, 1], ["tanh", "sigmoid"], "binary_cross_entropy")
params = network.init(seed=1)
x, y = [[0, 0], [0, 1], [1, 0], [1, 1]], [[0], [1], [1], [0]]
how = {"batch_size": 1, "optimizer": br.SGD(0.5)}
"""
CELLS = {
    "explorer": SETTING
    + "result = br.train(network, params, x, y, epochs=200, trace=br.Recorder(), **how)\nresult.explorer()",
    "live": "live = br.live(network, params, x, y, **how)\nlive",
    "network": "network",
    "parameters": "params",
    "result": "result",
    "trace": "br.trace(network, params, x, y)",
    "gradcheck": "br.gradcheck(network, params, x, y)",
    "explanation": "br.explain(network, params, x, y, layer=1, neuron=0, derivation=False)",
    "verdict": """
def gradients(network, weights, biases, x, y):
    (W,), (b,) = weights, biases
    return (((x @ W + b) - y) ** 2).mean(), [x.T @ (x @ W + b - y) / len(x)], [(x @ W + b - y).sum(axis=0) / len(x)]
br.verify(gradients, network="3-1:linear:mse")""",
    "pass": "br.explorer(network, result.params, x, y)",
    "bar": "import time\nbr.train(network, params, x, y, epochs=30, callback=lambda at: time.sleep(0.1))",
}
namespace: dict = {}
exec(SETTING, namespace)


def notebook(cells, outputs=lambda source: []):
    """A file of Jupyter's."""
    rows = [
        {"cell_type": "code", "id": name, "metadata": {}, "source": source.strip(), "outputs": outputs(source)}
        for name, source in cells.items()
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    content = {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}}
    return json.dumps({**content, "cells": [{**row, "execution_count": None} for row in rows]})


def displayed(source):
    """What a kernel would have given, in a file that nobody has signed."""
    html = eval(source, namespace)._repr_html_()
    return [{"output_type": "display_data", "metadata": {}, "data": {"text/html": html, "text/plain": "?"}}]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab on this machine, with nothing of its user's; gives its address."""
    folder, home = tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("home")
    (folder / "trusted.ipynb").write_text(notebook(CELLS))
    shown = {"page": "br.explorer(network, params, x, y)", "table": "network"}
    (folder / "untrusted.ipynb").write_text(notebook(shown, displayed))
    settings = home / "settings/@jupyterlab/apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
    places = {f"JUPYTER_{name}_DIR": home / name.lower() for name in ("CONFIG", "DATA", "RUNTIME")}
    places |= {"IPYTHONDIR": home / "ipython", "JUPYTERLAB_SETTINGS_DIR": home / "settings"}
    places |= {"JUPYTERLAB_WORKSPACES_DIR": home / "workspaces", "JUPYTER_PLATFORM_DIRS": "1", "HOME": home}
    flags = [
        *("--no-browser", "--allow-root", "--port=0", "--ServerApp.ip=127.0.0.1", "--IdentityProvider.token=here"),
        *(f"--ServerApp.root_dir={folder}", "--expose-app-in-browser"),
    ]
    log = home / "log"
    with log.open("w") as file:
        command = [sys.executable, "-m", "jupyterlab", *flags]
        environment = {**os.environ, **{name: str(place) for name, place in places.items()}}
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=file, stderr=file)
    try:
        yield answering(log)
    finally:
        server.terminate()
        server.wait(60)


def answering(log):
    """The address that the server has logged, once it answers there."""
    for _ in range(600):
        found = re.search(r"http://127\.0\.0\.1:\d+", log.read_text())
        try:
            urllib.request.urlopen(f"{found[0]}/api/status?token=here").close()
            return found[0]
        except (TypeError, urllib.error.URLError):
            time.sleep(0.2)
    raise AssertionError(log.read_text())


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def opened(lab, browser):
    """Opens a notebook in a new window; no request may go elsewhere, and no warning or error may be logged."""
    troubles = []

    def opened(name):
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.route(lambda url: not url.startswith((lab, "data:", "blob:")), lambda route: route.abort())
        page.on("request", lambda asked: asked.url.startswith((lab, "data:", "blob:")) or troubles.append(asked.url))
        page.on("console", lambda said: troubles.append(said.text) if worth_saying(said) else None)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.goto(f"{lab}/lab/workspaces/{name}/tree/{name}.ipynb?token=here")
        page.wait_for_selector(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-CodeCell", timeout=120_000)
        page.wait_for_function("() => window.jupyterapp")
        return page

    yield opened
    assert troubles == []


def worth_saying(said):
    """Of a console's lines, those of trouble; that a machine is slow is none of ours."""
    return said.type in {"warning", "error"} and "is taking too long to activate" not in said.text


def ask(page, command, arguments=None):
    """A command of JupyterLab."""
    page.evaluate("([name, given]) => void jupyterapp.commands.execute(name, given)", [command, arguments or {}])


def cell(page, name):
    return page.locator(".jp-Notebook .jp-CodeCell").nth(list(CELLS).index(name))


def scrolled_to(page, name):
    """A cell that is to be seen, and stands still: JupyterLab lays cells out as they come into sight."""
    for _ in range(2):
        cell(page, name).evaluate("it => it.scrollIntoView({ block: 'start' })")
        page.wait_for_timeout(500)
    return cell(page, name)


def theme(page, name):
    """Switches, and waits for it."""
    ask(page, "apputils:change-theme", {"theme": f"JupyterLab {name}"})
    light = "true" if name == "Light" else "false"
    page.wait_for_selector(f'body[data-jp-theme-light="{light}"]', state="attached")
    page.wait_for_timeout(1000)


def picture(page, name):
    """Of the window, or of what is in it."""
    if "SCREENSHOTS" in os.environ:
        folder = Path(os.environ["SCREENSHOTS"])
        folder.mkdir(exist_ok=True)
        page.screenshot(path=folder / f"{name}.png")


def brightness(colour):
    """Of a colour as the browser gives it, from 0 to 1; of one that is transparent, None."""
    red, green, blue, *alpha = map(float, re.findall(r"[\d.]+", colour))
    return None if alpha == [0.0] else (0.3 * red + 0.6 * green + 0.1 * blue) / 255


def test_everything_is_shown_in_light_and_dark(opened):
    page = opened("trusted")
    page.get_by_text("| Idle").first.wait_for(timeout=120_000)  # the kernel's, in the line below all
    ask(page, "notebook:run-all-cells")
    for n, name in enumerate(CELLS, 1):
        cell(page, name).get_by_text(f"[{n}]:").first.wait_for(timeout=120_000)
    check_explorer(page)
    check_live(page)
    check_bar(page)
    for name in THEMES:
        theme(page, name)
        for each in CELLS:
            check_letters(page, name, each)
    ask(page, "docmanager:save")
    page.wait_for_timeout(500)


def check_explorer(page):
    """All epochs are there, the formulas of a neuron that is clicked are of the trace."""
    frame = page.frame_locator("iframe[title=Explorer]").first
    frame.locator("html[data-ready=yes]").wait_for()
    assert frame.locator('[data-part="epoch"]').get_attribute("max") == "200"
    frame.locator('[data-part="epoch"]').fill("0")
    frame.locator('[data-part="sample"]').select_option("0")
    frame.locator("[data-unit]").nth(6).click()
    assert "Neuron 0 of layer 1, sigmoid" in frame.locator('[data-part="formulas"]').inner_text()
    space = namespace
    seen = br.trace(space["network"], space["params"], space["x"], space["y"], numerics="reproducible")
    shown = frame.locator('[data-part="formulas"] [data-of="z"]').first.inner_text().replace("−", "-")
    assert float(shown) == float(f"{seen.z[1][0, 0]:.5g}")


def check_live(page):
    """Steps, epochs, playing, the rate and starting again; numbers are those of training."""
    widget = scrolled_to(page, "live")
    now, panel = widget.locator('[data-part="now"]'), widget.locator('[data-part="formulas"]')
    assert now.inner_text().startswith("epoch 1, before step 1 of 4")
    check_numbers(panel, steps=0)
    press(widget, "do-step")
    said(now, "epoch 1, before step 2 of 4")
    check_numbers(panel, steps=1)
    press(widget, "do-epoch")
    said(now, "epoch 2, before step 1 of 4")
    check_numbers(panel, steps=4)
    widget.locator('[data-part="epoch"]').fill("0")
    check_numbers(panel, steps=0)
    press(widget, "play")
    said(now, "epoch 6")
    press(widget, "play")
    typed(widget, "00.25")
    press(widget, "do-reset")
    said(now, "epoch 1, before step 1 of 4")
    press(widget, "do-step")
    said(now, "epoch 1, before step 2 of 4")
    check_numbers(panel, steps=1, rate=0.25)


def press(widget, part):
    """By the keyboard: JupyterLab may scroll between the moves of a mouse."""
    widget.locator(f'[data-part="{part}"]').press("Enter")


def typed(widget, number):
    """A learning rate, by keys of which some are JupyterLab's outside of the widget: two zeros restart the kernel."""
    rate = widget.locator('[data-part="rate"]')
    rate.fill("")
    rate.press_sequentially(number)
    rate.press("Tab")


def said(now, text):
    now.filter(has_text=text).wait_for()


def check_numbers(panel, steps, rate=0.5):
    """z, a, delta, W and dW of the first neuron are those of the reference after so many steps."""
    space = namespace
    expected = br.notebook.Steps(space["network"], space["params"], space["x"], space["y"], **space["how"])
    expected.learning_rate = rate
    for _ in range(steps):
        expected.go("step")
    x, y = expected.x[expected.rows], expected.y[expected.rows]
    seen = br.trace(space["network"], expected.params, x, y, numerics="reproducible")
    wanted = {"z": seen.z, "a": seen.a, "delta": seen.delta, "dW": seen.dW}
    for name, arrays in {**wanted, "W": expected.params.W}.items():
        shown = panel.locator(f'td[data-of="{name}"][data-k="1"], .result[data-of="{name}"]').last.inner_text()
        k = 1 if name in {"W", "dW"} else 0
        assert float(shown.replace("−", "-")) == float(f"{arrays[0][k, 0]:.5g}"), name


def check_bar(page):
    """It has gone, and left the result alone."""
    assert cell(page, "bar").locator("progress").count() == 0


def check_letters(page, name, each):
    """Letters are dark on light, or light on dark, in a cell's output, and in what it holds of its own."""
    place = scrolled_to(page, each)
    if each in {"explorer", "pass"}:
        frame = place.frame_locator("iframe")
        found = [frame.locator("html").get_attribute("data-theme"), frame.locator(".card"), frame.locator("h3").first]
    elif each == "live":
        found = [place.locator(".page").get_attribute("data-theme"), place.locator(".card"), place.locator("h3").first]
    elif each == "bar":
        found = None
    else:
        around, letters = page.locator(".jp-Notebook:visible").first, place.locator(".jp-OutputArea-output p").first
        found = [name.lower(), around, letters]
    if found:
        said, ground, letters = found
        assert said == name.lower()
        under = brightness(ground.evaluate("it => getComputedStyle(it).backgroundColor"))
        above = brightness(letters.evaluate("it => getComputedStyle(it).color"))
        assert (under > 0.8 and above < 0.4) if name == "Light" else (under < 0.2 and above > 0.8)
    if each in {"parameters", "gradcheck"}:
        assert place.locator("td").first.evaluate("it => getComputedStyle(it).textAlign") == "left"
    picture(place.locator(".card") if each == "live" else page, f"{name}-{each}")


def test_what_nobody_trusts_is_read_without_scripts(opened):
    page = opened("untrusted")
    page.get_by_text("Trust the notebook").first.wait_for()
    page.get_by_text("Network 2-4-1").first.wait_for()
    assert page.locator("iframe").count() == 0
    picture(page, "untrusted")
