"""The page that trains: its engine against Python to the bit, and in a real browser with real clicks."""

import dataclasses
import json
import re
import shutil
import socket
import subprocess
import time

import numpy as np
import pytest
from helpers import axe

import backprop_ref as br
from backprop_ref.cli import run as run_command
from backprop_ref.conformance.catalogue.known import BY_ID
from backprop_ref.conformance.judging.judge import judge
from backprop_ref.conformance.measuring.verify import submission_of
from backprop_ref.conformance.vectors.files import shipped_cases
from backprop_ref.experiments.playing import BUGS
from backprop_ref.formulas import ACTIVATIONS, LOSSES, OWN_ACTIVATIONS
from backprop_ref.network.initialisers import SCHEMES
from backprop_ref.optimizers import OPTIMIZERS, describe
from backprop_ref.report.engine import engine, module

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
NUMBERED = {
    "leaky_relu": "leaky_relu(0.2)",
    "elu": "elu(0.5)",
    "huber": "huber(0.5)",
    "cross_entropy": "cross_entropy(0.1)",
}

# Trains the cases of a text of JSON, and gives a hash and the losses of each.
TRAINED = """
const trained = (text) => JSON.stringify(JSON.parse(text).map((asked) => {
  const { sizes, activations, loss, scheme, seed, x, y, epochs, ...settings } = asked;
  const network = new Network(sizes, activations, loss);
  const params = initialise(network, seed, scheme);
  const rows = (values) => values.map((row) => Float64Array.from(row));
  const training = new Training(network, params, rows(x), rows(y), { ...settings, seed });
  const losses = Array.from({ length: epochs }, () => training.runEpoch());
  return { sha256: sha256(params.flat), losses, ...evaluate(network, params, rows(x), rows(y)) };
}));
"""
IN_NODE = """
import { readFileSync } from "node:fs";
console.log(trained(readFileSync(0, "utf-8")));
"""


def drawn(number):
    """One of many networks with all that training needs, each rule and optimizer in turn."""
    stream = br.random.Stream(number, "check")

    def pick(names):
        return names[int(stream.integers_below([len(names)])[0])]

    loss = list(LOSSES)[number % len(LOSSES)]
    activations = [name for name in ACTIVATIONS if name not in OWN_ACTIVATIONS]
    outputs = [name for name in LOSSES[loss].outputs if name not in OWN_ACTIVATIONS]
    output = outputs[number // len(LOSSES) % len(outputs)]
    depth, rows = pick([1, 2, 2, 3]), pick([1, 4, 7, 13])
    hidden = [activations[number % len(activations)], *(pick(activations) for _ in range(depth - 1))]
    sizes = [
        pick([1, 2, 5]),
        *(pick([1, 3, 8]) for _ in range(depth)),
        pick([2, 3]) if loss == "multi_class_hinge" else pick([1, 2, 3]),
    ]
    if pick([0, 1]):
        hidden = [NUMBERED.get(name, name) for name in hidden]
        loss = loss if loss == "cross_entropy" and output == "sigmoid" else NUMBERED.get(loss, loss)
    network = br.Network(sizes, [*hidden, output], loss)
    name = list(OPTIMIZERS)[number % len(OPTIMIZERS)]
    optimizer = OPTIMIZERS[name](0.05, weight_decay=pick([0.0, 0.01]))
    if name == "sgd":
        momentum = pick([0.0, 0.9])
        optimizer = br.SGD(0.05, momentum, bool(momentum and pick([0, 1])), pick([0.0, 0.01]))
    more = [{}, {}, {"l1": 0.01, "clip_value": 0.1}, {"clip_norm": 0.2, "max_norm": 0.9}, {"l2": 0.1}][number % 5]
    if number % 5 != 4 or name != "adamw":
        optimizer = dataclasses.replace(optimizer, **more)
    if name == "adam":
        optimizer = dataclasses.replace(optimizer, epsilon_hat=bool(pick([0, 1])))
    x = stream.normal(rows * sizes[0]).reshape(rows, -1)
    y = br.one_hot(np.arange(rows) % sizes[-1], sizes[-1]) if sizes[-1] > 1 else stream.uniform(rows)[:, None]
    training = {
        "batch_size": pick([None, 1, 3, 5]),
        "shuffle": bool(pick([0, 1, 1])),
        "seed": pick([1, 2**31, 2**40 + 5]),
    }
    return network, pick(list(SCHEMES)), optimizer, x, y, {**training, "epochs": 5}


def asked_for(cases):
    """JSON of some cases, as the engine takes them."""
    return json.dumps(
        [
            {
                **network.to_dict(),
                "scheme": scheme,
                "optimizer": describe(optimizer),
                "x": x.tolist(),
                "y": y.tolist(),
                **{"batchSize" if key == "batch_size" else key: value for key, value in training.items()},
            }
            for network, scheme, optimizer, x, y, training in cases
        ]
    )


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    file = tmp_path_factory.mktemp("node") / "driver.mjs"
    file.write_text(engine() + TRAINED + IN_NODE, encoding="utf-8")

    def run(text):
        done = subprocess.run(["node", file], input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def chromium(browser):
    page = browser.new_page()
    yield lambda text: page.evaluate(f"(text) => {{ {engine()} {TRAINED} return trained(text); }}", text)
    page.close()


class Firefox:
    """Firefox of the system, by its own remote protocol, Marionette: lengths and JSON over a socket."""

    def __init__(self, program, folder):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        (folder / "user.js").write_text(f'user_pref("marionette.port", {port});\n', encoding="utf-8")
        asked = [program, "--headless", "--marionette", "--no-remote", "--profile", str(folder)]
        self.process = subprocess.Popen(asked, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 90
        while True:
            try:
                self.socket = socket.create_connection(("127.0.0.1", port), timeout=120)
                break
            except OSError:
                assert self.process.poll() is None, "Firefox ended"
                assert time.monotonic() < until, "Firefox does not answer"
                time.sleep(0.2)
        self.stream = self.socket.makefile("rwb")
        self._read()
        self.ask("WebDriver:NewSession", {})

    def _read(self):
        length = b"".join(iter(lambda: self.stream.read(1), b":"))
        return json.loads(self.stream.read(int(length)))

    def ask(self, command, given):
        text = json.dumps([0, 1, command, given]).encode()
        self.stream.write(b"%d:%b" % (len(text), text))
        self.stream.flush()
        _, _, error, found = self._read()
        assert error is None, error
        return found

    def run(self, script, *given):
        """What a function of this body gives for these arguments."""
        return self.ask("WebDriver:ExecuteScript", {"script": script, "args": list(given)})["value"]

    def close(self):
        self.socket.close()
        self.process.terminate()
        self.process.wait()


@pytest.fixture(scope="module")
def firefox_itself(tmp_path_factory):
    program = next(filter(None, map(shutil.which, ("firefox-esr", "firefox"))), None)
    if program is None:
        pytest.skip("no Firefox here: apt-get install firefox-esr")
    firefox = Firefox(program, tmp_path_factory.mktemp("firefox"))
    yield firefox
    firefox.close()


@pytest.fixture
def firefox(firefox_itself):
    return lambda text: firefox_itself.run(f"{engine()} {TRAINED} return trained(arguments[0]);", text)


@pytest.mark.few(1, 9)
@pytest.mark.more(where="firefox")
@pytest.mark.parametrize("block", range(5))
@pytest.mark.parametrize("where", ["node", "chromium", "firefox"])
def test_the_engine_trains_to_the_bits_of_python(where, block, request):
    run = request.getfixturevalue(where)
    cases = [drawn(number) for number in range(40 * block, 40 * block + 40)]
    for case, found in zip(cases, json.loads(run(asked_for(cases))), strict=True):
        network, scheme, optimizer, x, y, training = case
        with br.use(numerics="reproducible"):
            params = network.init(training["seed"], scheme)
            result = br.train(network, params, x, y, optimizer=optimizer, **training)
            scored = br.evaluate(network, result.params, x, y)
        assert found["sha256"] == result.params.sha256(), (network, optimizer, training)
        assert found["losses"] == result.history["loss"].tolist()
        assert found["loss"] == scored["loss"]


@needs_node
def test_the_engine_is_exact_on_every_float64_vector(tmp_path):
    file = tmp_path / "engine.mjs"
    file.write_text(module(), encoding="utf-8")
    judged = judge(submission_of(command=f"node {file}", many=True), shipped_cases()).cases
    found = {(str(one.case.params.dtype), one.verdict) for one in judged}
    assert found == {("float64", "EXACT"), ("float32", "NOT JUDGED")}


@needs_node
@pytest.mark.few(1, 3)
@pytest.mark.parametrize("bug", BUGS)
def test_the_checker_names_the_bugs_that_the_page_switches_on(bug, tmp_path, capsys):
    file = tmp_path / "engine.mjs"
    file.write_text(module(), encoding="utf-8")
    output = {"softmax-extra-derivative": "softmax:ce", "sigmoid-extra-derivative": "sigmoid:bce"}.get(
        bug, "softmax:ce"
    )
    asked = ["verify", "--command", f"node {file} {bug}", "--many", "--network", f"3-5-4:sigmoid,{output}", "--json"]
    assert run_command(asked) == 1
    assert json.loads(capsys.readouterr().out)["findings"][0]["id"] == bug


def test_the_engine_has_the_bugs_of_the_page_by_their_names_in_the_catalogue():
    declared = engine().partition("const BUGS = {")[2].partition("\n};")[0]
    assert set(re.findall(r'^  "([\w-]+)": ', declared, re.MULTILINE)) == {*BUGS} <= {*BY_ID}


# ---- the file ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """The page, as the command writes it."""
    file = tmp_path_factory.mktemp("play") / "play.html"
    assert run_command(["play", "--out", str(file)]) == 0
    return file


def test_it_is_one_small_file_that_runs_no_other_code_and_asks_for_nothing(file):
    html = file.read_text(encoding="utf-8")
    assert len(html.encode()) <= 1_000_000
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)[1]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert not re.search(r"""\b(src|href)\s*=\s*["'](?!#|data:)|@import|url\(|<[^>]* (style|on\w+)=""", html)


def test_what_it_cannot_show_is_said_in_a_line(tmp_path, capsys):
    run = tmp_path / "dropped"
    assert run_command(["train", "iris", "--epochs", "1", "--dropout", "0.5", "--run-dir", str(run)]) == 0
    capsys.readouterr()
    for target, said in (("wine", "known are"), (str(run), "has dropout"), (str(tmp_path), "no run folder")):
        assert run_command(["play", target, "--out", str(tmp_path / "x.html")]) == 2
        err = capsys.readouterr().err
        assert said in err
        assert err.count("\n") == 1
    assert run_command(["play", "xor", "--engine", str(tmp_path / "x.mjs")]) == 2
    assert not list(tmp_path.glob("x.*"))


def test_the_engine_alone(tmp_path):
    file = tmp_path / "engine.mjs"
    assert run_command(["play", "--engine", str(file)]) == 0
    assert file.read_text(encoding="utf-8") == module()


# ---- in a browser --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    """Chromium of the system, driven by playwright."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install playwright"
    )
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser):
    """Opens a page at an address with every request blocked but that for the file; no error may be logged."""
    contexts, troubles = [], []

    def opened(file, words="", width=1280, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: troubles.append(request.url))
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.goto(f"{file.as_uri()}#{words}")
        page.wait_for_selector("html[data-ready=yes]")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert [trouble for trouble in troubles if not trouble.startswith(("blob:", "data:", "file:"))] == []


def part(page, name):
    return page.locator(f'[data-part="{name}"]')


def trained_by_its_command(page, folder):
    """The hash that the command shown by the page prints."""
    words = part(page, "command").inner_text().split()
    assert words[:2] == ["backprop-ref", "train"]
    output = folder / f"results-{len(list(folder.iterdir()))}.json"
    at = [] if "--resume" in words else ["--run-dir", str(folder / f"run-{len(list(folder.iterdir()))}")]
    assert run_command([*words[1:], *at, "--output", str(output)]) == 0
    return json.loads(output.read_text())["sha256"]


CLICKED = {
    "xor": lambda page: part(page, "momentum").fill("0.9"),
    "encoder": lambda page: part(page, "optimizer").select_option("adamw"),
    "moons": lambda page: part(page, "noise").fill("0.25"),
    "circles": lambda page: part(page, "deeper").click(),
    "spirals": lambda page: part(page, "shallower").click(),
    "iris": lambda page: part(page, "output").select_option("sigmoid"),
    "digits": lambda page: part(page, "init").select_option("xavier_uniform"),
}


@pytest.mark.few(2, 7)
@pytest.mark.parametrize("name", CLICKED)
def test_clicking_trains_to_the_hash_that_the_command_prints(name, file, opened, tmp_path):
    page = opened(file)
    part(page, "data").select_option(name)
    CLICKED[name](page)
    part(page, "seed").fill("3")
    part(page, "seed").press("Enter")
    for _ in range(3):
        part(page, "epoch").click()
    assert "epoch 3 ·" in part(page, "now").inner_text()
    assert part(page, "sha256").inner_text() == trained_by_its_command(page, tmp_path)


def test_the_worker_trains_on_and_a_link_leads_back(file, opened, tmp_path):
    page = opened(file, "data=circles&bug=derivative-missing")
    part(page, "train").click()
    page.wait_for_function("() => backpropRef.play.session.training.epoch > 20")
    part(page, "train").click()
    page.wait_for_function("() => !backpropRef.play.running")
    found = part(page, "sha256").inner_text()
    assert found == trained_by_its_command(page, tmp_path)
    again = opened(file, page.evaluate("location.hash.slice(1)"))
    again.wait_for_function("() => !backpropRef.play.running")
    assert part(again, "sha256").inner_text() == found
    part(page, "undo").click()
    assert "epoch 0 ·" in part(page, "now").inner_text()


@pytest.mark.more
def test_the_page_trains_in_firefox(file, firefox_itself, tmp_path):
    words = "data=moons&hidden=3.tanh&optimizer=adam&epoch=12"
    firefox_itself.ask("WebDriver:Navigate", {"url": f"{file.as_uri()}#{words}"})
    text = "return document.querySelector(`[data-part=${arguments[0]}]`).textContent"
    until = time.monotonic() + 60
    while not firefox_itself.run(text, "now").startswith("epoch 12 ·") or firefox_itself.run(text, "train")[0] != "▶":
        assert time.monotonic() < until, firefox_itself.run(text, "now")
        time.sleep(0.1)
    words = firefox_itself.run(text, "command").split()
    assert run_command([*words[1:], "--run-dir", str(tmp_path / "run"), "--output", str(tmp_path / "out.json")]) == 0
    assert firefox_itself.run(text, "sha256") == json.loads((tmp_path / "out.json").read_text())["sha256"]


def test_a_run_goes_on_where_it_is(opened, tmp_path, capsys):
    run = tmp_path / "run"
    asked = ["train", "iris", "--hidden", "5", "--activation", "tanh", "--optimizer", "adam", "--schedule", "constant"]
    asked += ["--clip-norm", "0.3", "--l1", "0.001", "--l2", "0.1", "--max-norm", "2"]
    assert run_command([*asked, "--epochs", "4", "--numerics", "reproducible", "--run-dir", str(run)]) == 0
    assert run_command(["play", str(run), "--out", str(tmp_path / "play.html")]) == 0
    page = opened(tmp_path / "play.html")
    assert part(page, "sha256").inner_text() == json.loads((run / "results.json").read_text())["sha256"]
    part(page, "epoch").click()
    part(page, "epoch").click()
    assert part(page, "sha256").inner_text() == trained_by_its_command(page, tmp_path)


def test_points_that_were_drawn_train_to_the_hash_of_their_file(file, opened, tmp_path, monkeypatch):
    page = opened(file, "data=points")
    assert "Draw points" in part(page, "now").inner_text()
    for place, label in (((60, 60), "0"), ((200, 90), "1"), ((150, 220), "1"), ((80, 140), "0")):
        part(page, "class").select_option(label)
        part(page, "plane").click(position={"x": place[0], "y": place[1]})
    with page.expect_download() as download:
        part(page, "save").click()
    download.value.save_as(tmp_path / "points.csv")
    part(page, "epoch").click()
    monkeypatch.chdir(tmp_path)
    assert part(page, "sha256").inner_text() == trained_by_its_command(page, tmp_path)


def as_shown(value, digits=5):
    return float(f"{value:.{digits}g}")


@pytest.mark.few(2, 6)
@pytest.mark.parametrize("width", [1280, 768, 380])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_numbers_shown_are_those_of_the_trace(file, opened, width, scheme):
    words = "data=xor&hidden=3.tanh,2.relu&output=softmax&loss=cross_entropy&batch=full&seed=5"
    page = opened(file, words, width, scheme)
    for _ in range(2):
        part(page, "epoch").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    network = br.Network([2, 3, 2, 2], ["tanh", "relu", "softmax"], "cross_entropy")
    x, y = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), br.one_hot(np.array([0, 1, 1, 0]), 2)
    with br.use(numerics="reproducible"):
        params = network.init(seed=5)
        params = br.train(network, params, x, y, epochs=2, batch_size=None, optimizer=br.SGD(0.5)).params
        trace = br.trace(network, params, x, y)
        after = br.train(network, params, x, y, epochs=1, batch_size=None, optimizer=br.SGD(0.5)).params
    sample = 2
    part(page, "sample").select_option(str(sample))
    for layer in range(3):
        for neuron in range(network.sizes[layer + 1]):
            page.get_by_role("button", name=f"neuron {neuron} of layer {layer}:").click()
            pairs = {name: getattr(trace, name)[layer][sample, neuron] for name in ("z", "a", "delta")}
            pairs |= {"db": trace.db[layer][neuron], "b after": after.b[layer][neuron]}
            for name, value in pairs.items():
                shown = page.locator(f'[data-part="formulas"] [data-of="{name}"]').first.inner_text()
                assert float(shown.replace("−", "-")) == as_shown(value), (layer, neuron, name)
            for name in ("W", "dW"):
                cells = page.locator(f'[data-part="formulas"] td[data-of="{name}"]').all_inner_texts()
                found = [float(cell.replace("−", "-")) for cell in cells]
                assert found == [
                    as_shown(value) for value in getattr(trace if name == "dW" else params, name)[layer][:, neuron]
                ]


def test_what_is_changed_by_hand_is_followed_and_undone(file, opened):
    page = opened(file, "data=xor&batch=full")
    before = part(page, "sha256").inner_text()
    field = page.locator("[data-edit]").first
    field.fill("1.5")
    field.press("Enter")
    assert page.locator('[data-part="formulas"] td[data-k="0"]').all_inner_texts()[1] == "1.5"
    assert part(page, "sha256").inner_text() != before
    assert "changed by hand" in part(page, "command-words").inner_text()
    part(page, "undo").click()
    assert part(page, "sha256").inner_text() == before
    page.get_by_role("button", name="neuron 0 of layer 1:").click()
    delta = page.locator('[data-part="formulas"] [data-of="delta"]').inner_text()
    field = page.locator("[data-edit]").last
    field.fill("0.25")
    field.press("Enter")
    assert page.locator('[data-part="formulas"] [data-of="delta"]').inner_text() != delta


def test_the_walk_and_the_tour_go_through_and_parts_can_be_left_out(file, opened):
    page = opened(file, "data=xor")
    page.emulate_media(reduced_motion="reduce")
    captions = []
    for _ in range(10):
        part(page, "walk").click()
        captions.append(part(page, "caption").inner_text())
    assert "and 1 of 4 rows" in part(page, "now").inner_text()
    assert [caption.split(":")[0] for caption in captions] == [
        *("Forward", "Forward, layer 0", "Forward, layer 1", "Loss", "Delta", "Delta, layer 0"),
        *("dW, layer 1", "dW, layer 0", "Update", "Forward"),
    ]
    part(page, "open-tour").click()
    for step in range(1, 11):
        assert part(page, "tour").locator("h2").inner_text().startswith(f"{step} of 10: ")
        part(page, "epoch").click()
        if step < 10:
            part(page, "tour-next").click()
    part(page, "tour-close").click()
    assert not part(page, "tour").is_visible()
    page = opened(file, "data=xor&hide=settings,command,tour")
    assert not part(page, "data").is_visible()
    assert not part(page, "command").is_visible()
    assert part(page, "bug").is_visible()


def test_the_keyboard_goes_from_neuron_to_neuron(file, opened):
    page = opened(file, "data=xor")
    page.locator('[data-unit][tabindex="0"]').focus()
    for key, name in (("ArrowRight", "neuron 0 of layer 1"), ("ArrowLeft", "neuron"), ("ArrowLeft", "input x")):
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith(name)


@pytest.mark.few(1, 1)
@pytest.mark.parametrize("width", [1280, 768, 380])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_accessible(file, opened, width, scheme):
    script = axe()
    for words in ("data=xor&bug=bias-in-weight-loop", "data=iris", "data=points", "tour=2"):
        page = opened(file, words, width, scheme)
        page.evaluate(script)
        violations = page.evaluate("async () => (await axe.run()).violations")
        assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in violations] == []
