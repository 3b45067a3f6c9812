"""What the commands do, from Python: the same results, pages and folders; and what a notebook shows of them."""

import functools
import html.parser
import json
import re

import numpy as np
import pytest
from safetensors.numpy import save

import backprop_ref as br
from backprop_ref.cli import run
from backprop_ref.conformance.outcomes.outcome import Finding
from backprop_ref.experiments.config import merge
from backprop_ref.experiments.runner import prepare
from backprop_ref.sklearn import MLPClassifier

NETWORK = br.Network([2, 3, 1], ["tanh", "sigmoid"], "binary_cross_entropy")
X, Y = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [[0.0], [1.0], [1.0], [0.0]]
PARAMS = NETWORK.init(seed=1)


def said(capsys, *arguments):
    assert run(list(arguments)) == 0
    return capsys.readouterr().out


def iris(*more):
    """What the commands take where they are told nothing: the network, initial weights, training rows."""
    experiment = prepare(merge({"--dataset": "iris", **dict(more)}))
    params = experiment.network.init(1, experiment.config.network.init, "float64")
    return experiment, params, *experiment.xy("train")


@pytest.mark.more
def test_gradcheck_is_that_of_the_command(capsys):
    experiment, params, x, y = iris()
    command = json.loads(said(capsys, "gradcheck", "iris", "--json"))
    found = br.gradcheck(experiment.network, params, x[:7], y[:7], entries=1000)
    assert [json.loads(json.dumps(row._asdict())) for row in found.rows] == command["tensors"]
    assert found.ok is command["ok"] is True
    wrong = br.value_and_grad(NETWORK, PARAMS, X, Y)[1]
    wrong.W[1][...] *= 1.001
    found = br.gradcheck(NETWORK, PARAMS, X, Y, grads=wrong)
    assert not found.ok
    assert re.search(r"W1 .* WRONG", str(found))


@pytest.mark.more
def test_compare_is_that_of_the_command(capsys):
    names = ["numpy", "python"]
    command = json.loads(said(capsys, "compare", "iris", "--backends", ",".join(names), "--json"))
    experiment, params, x, y = iris(("--hidden", ["32"]), ("--batch-size", "32"))
    how = {"optimizer": experiment.optimizer, "seed": experiment.config.training.seed}
    found = br.compare(experiment.network, params, x[:320], y[:320], backends=names, progress=False, **how)
    assert [row["gradients"] for row in command["backends"]] == [row.gradients for row in found.found]
    assert [row["weights"] for row in command["backends"]] == [row.weights for row in found.found]
    assert found.ok
    assert str(found).endswith("identical on every backend")


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda: br.compare(NETWORK, PARAMS, X, Y, backends=["tpu"]), "unknown backend 'tpu'"),
        (lambda: br.compare(NETWORK, PARAMS, X, Y, backends=[]), "nothing to compare"),
        (lambda: br.gradcheck(NETWORK, PARAMS, X, Y, entries=0), "entries=0: a whole number from 1"),
        (lambda: br.gradcheck(PARAMS, NETWORK, X, Y), "a Network and its Parameters are needed"),
        (lambda: br.explain(NETWORK, PARAMS, X, Y, sample=1.5), r"sample=1\.5: there is none"),
        (lambda: MLPClassifier(activation=None).fit(X, [0, 1, 1, 0]), "activation=None: a name"),
        (lambda: br.report([]), "got none"),
        (lambda: br.report(None), "got NoneType"),
    ],
)
def test_a_mistake_is_said_in_a_line(call, why):
    with pytest.raises(br.InvalidInput, match=why):
        call()


def test_explain_is_that_of_the_command(capsys):
    experiment, params, x, y = iris()
    rate = experiment.optimizer.learning_rate * experiment.schedule(0, experiment.config.training.epochs)
    how = {"optimizer": experiment.optimizer, "learning_rate": rate, "layer": 1, "neuron": 0, "name": "iris"}
    about = f"initial weights {experiment.config.network.init}, seed 1"
    found = br.explain(experiment.network, params, x, y, about=about, **how)
    for form in ("terminal", "markdown", "html"):
        command = said(capsys, "explain", "iris", "--layer", "1", "--neuron", "0", "--format", form)
        assert command == found.document(form)
    assert str(found) == found.document()
    assert found._repr_markdown_() == found.document("markdown")
    with pytest.raises(br.InvalidInput, match="there are 4"):
        br.explain(NETWORK, PARAMS, X, Y, sample=4)


def test_report_and_plot_of_a_training_in_memory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = br.train(NETWORK, PARAMS, X, Y, epochs=5, validation=(X, Y), progress=False)
    paths = result.report(), br.report(result)
    assert [path.name for path in paths] == ["report.html", "report-2.html"]
    page = paths[0].read_text("utf-8")
    assert "Training of 2-3-1: 5 epochs" in page
    assert "src=" not in re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    drawn = result.plot("accuracy")
    assert [len(trace.x) for trace in drawn.data] == [5, 5]
    with pytest.raises(br.InvalidInput, match="loss, accuracy"):
        result.plot("r2")
    with pytest.raises(br.InvalidInput, match="exists"):
        result.report(out="report.html")


def test_a_sweep_is_a_folder_for_every_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    how = {"backend": "numpy", "workers": 1, "progress": False}
    made = br.sweep(dataset="xor", epochs=2, learning_rates=[0.1, 1.0], out="mine", **how)
    assert [row["learning_rate"] for row in made.rows()] == ["0.1", "1.0"]
    assert re.search(r"2 of 2 runs, in mine\nlearning_rate +outcome +epochs +final_loss\n0\.1 +loss", repr(made))
    assert "<td>1.0</td>" in made._repr_html_()
    assert "report.html" in said(capsys, "report", "mine")
    one = next((tmp_path / "mine" / "cells").iterdir())
    assert br.report(one).name == "report.html"
    said(capsys, "explain", str(one))
    with pytest.raises(br.InvalidInput, match="did you mean 'epochs'"):
        br.sweep(dataset="xor", epoch=2, seeds=[1])
    with pytest.raises(br.InvalidInput, match="nothing to sweep over"):
        br.sweep(dataset="xor")


def test_a_run_is_a_folder_for_every_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    found = br.run(dataset="iris", epochs=3, hidden=[4], run_dir="mine", backend="numpy", progress=False)
    assert (found["epochs"], found["network"]["sizes"]) == (3, [4, 4, 3])
    assert json.loads((tmp_path / "mine" / "results.json").read_text())["sha256"] == found["sha256"]
    for command in ("evaluate", "explain", "gradcheck", "report"):
        said(capsys, command, "mine")
    said(capsys, "train", "--resume", "mine", "--epochs", "4")
    with pytest.raises(br.InvalidInput, match="did you mean 'hidden'"):
        br.run(dataset="iris", hiden=[4])


def test_a_folder_of_train_has_a_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    br.train(NETWORK, PARAMS, X, Y, epochs=3, run_dir="mine", trace=br.Recorder("mine"), progress=False)
    page = br.report("mine").read_text("utf-8")
    assert "2-3-1 (tanh, sigmoid)" in page
    assert "not ended" not in page
    assert "report-2.html" in said(capsys, "report", "mine")
    assert run(["train", "--resume", "mine"]) == 2
    assert "with resume=True in Python" in capsys.readouterr().err


def test_a_folder_of_train_is_explained_and_checked_as_in_python(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    weights = [1.0, 2.0, 1.0, 0.0]
    how = {"batch_size": 2, "optimizer": br.Adam(0.1, l1=0.01), "schedule": "cosine", "sample_weight": weights}
    result = br.train(NETWORK, PARAMS, X, Y, epochs=3, run_dir="mine", progress=False, **how)
    rate = result.history["learning_rate"][-1].item()
    given = {"state": result.state, "learning_rate": rate, "step": 3 * 2 + 1, "sample_weight": weights, "sample": 1}
    found = br.explain(
        NETWORK, result.params, X, Y, optimizer=how["optimizer"], name="mine", about="mine after epoch 3", **given
    )
    assert said(capsys, "explain", "mine", "--sample", "1", "--format", "markdown") == found.document("markdown")
    checked = br.gradcheck(NETWORK, result.params, X[:3], Y[:3], entries=1000, sample_weight=weights[:3])
    told = json.loads(said(capsys, "gradcheck", "mine", "--json", "--backend", "numpy", "--threads", "1"))
    assert [json.loads(json.dumps(row._asdict())) for row in checked.rows] == told["tensors"]
    for damage, why in (
        (lambda file: file.write_bytes(file.read_bytes()[:-9]), "cannot be read, or damaged"),
        (lambda file: file.write_bytes(save({"x": np.ones((4, 2))}, {"data": "another"})), "of another run"),
        (lambda file: file.unlink(), "use br.{} in Python"),
    ):
        damage(tmp_path / "mine/data.safetensors")
        for command in ("explain", "gradcheck"):
            assert run([command, "mine"]) == 2
            assert why.format(command) in capsys.readouterr().err


def test_many_data_are_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("backprop_ref.training.kept_data.MOST_BYTES", 8 * 12 - 1)
    br.train(NETWORK, PARAMS, X, Y, epochs=1, run_dir=tmp_path / "mine", progress=False)
    assert not (tmp_path / "mine/data.safetensors").exists()


def test_a_recorder_is_at_hand(tmp_path):
    result = br.train(NETWORK, PARAMS, X, Y, epochs=2, trace=br.Recorder(tmp_path / "run"), progress=False)
    assert (tmp_path / "run" / "trace.bin").exists()
    assert result.network == NETWORK
    with pytest.raises(AttributeError, match="Recorders"):
        _ = br.Recorders


class Elements(html.parser.HTMLParser):
    """The elements of a piece of HTML, each closed where it has to be; and its text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.found, self.text = [], [], ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag != "wbr":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data if "style" not in self.open else ""


EVIL = "<script>alert(1)</script>|*`$x$`"
BAD = br.Outcome(
    EVIL, "WRONG", networks=[EVIL], findings=[Finding(EVIL, EVIL, remedy=EVIL)], notes=[EVIL], conventions=[EVIL]
)


@functools.cache
def shown():
    result = br.train(NETWORK, PARAMS, X, Y, epochs=3, progress=False)
    return {
        "network": (NETWORK, "3 × 1"),
        "parameters": (PARAMS, PARAMS.sha256()[:16]),
        "result": (result, "3 epochs"),
        "trace": (br.trace(NETWORK, PARAMS, X, Y), "delta1"),
        "gradcheck": (br.gradcheck(NETWORK, PARAMS, X, Y), "gradients ok"),
        "comparison": (br.compare(NETWORK, PARAMS, X, Y, backends=["numpy"], progress=False), "EXACT"),
        "explanation": (br.explain(NETWORK, PARAMS, X, Y, name=EVIL), "Backward"),
        "verdict": (BAD, "WRONG"),
    }


SHOWN = "network", "parameters", "result", "trace", "gradcheck", "comparison", "explanation", "verdict"


@pytest.mark.parametrize("name", SHOWN)
def test_a_notebook_shows_it_without_scripts_and_leaves_styles_around_it_as_they_are(name):
    thing, text = shown()[name]
    page = Elements(thing._repr_html_())
    assert text in page.text
    kinds = {tag for tag, _ in page.found}
    assert not kinds & {"script", "iframe", "link", "img", "html", "body"}
    names = {name for _, attributes in page.found for name in attributes}
    assert not names & {"src", "href", "id", "style"}
    assert not [name for name in names if name.startswith("on")]
    styles = re.findall(r"<style>(.*?)</style>", thing._repr_html_(), re.DOTALL)
    assert [style.startswith("@scope {") and style.endswith("}") for style in styles] == [True]
    if name != "verdict":  # whose badges have a ground of their own; other colours are those around it
        assert not re.search(r"#[0-9a-f]{3}|rgb\(|white|black|background: [^n]", styles[0])
    if name in {"verdict", "explanation"}:
        assert EVIL in page.text


@pytest.mark.parametrize("name", SHOWN)
def test_markdown_says_the_same_and_shows_texts_as_they_are(name):
    thing, text = shown()[name]
    said = thing._repr_markdown_()
    assert text in said.replace("\\", "")
    assert not re.search(r"(?<!\\)<script", said)
    for table in re.findall(r"(?:^\|.*\|$\n?)+", said, re.MULTILINE):
        counts = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(counts) == 1


def test_ranges_of_arrays_are_those_of_numpy():
    rows = re.findall(r"^\| (\w+) \| (.*?) \| (.*?) \| (.*?) \| (.*?) \|$", PARAMS._repr_markdown_(), re.MULTILINE)
    found = {name: tuple(map(float, numbers)) for name, _, *numbers in rows}
    for layer, W in enumerate(PARAMS.W):
        assert found[f"W{layer}"] == tuple(float(f"{value:.4g}") for value in (W.min(), W.mean(), W.max()))
    assert np.isfinite(list(found.values())).all()
