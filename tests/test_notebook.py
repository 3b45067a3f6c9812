"""The explorer in a frame, a training step by step, and the bar, as a notebook has them; without a browser."""

import html
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from test_from_python import Elements

import backprop_ref as br
from backprop_ref import notebook, progress
from backprop_ref.notebook import Steps
from backprop_ref.report.frame import MOST_BYTES

NETWORK = br.Network([3, 5, 4, 2], ["tanh", "relu", "softmax"], "cross_entropy")
PARAMS = NETWORK.init(seed=2)
X = np.reshape(br.random.Stream(3, "data").uniform(21), (7, 3))
Y = br.one_hot([0, 1, 1, 0, 1, 0, 0], 2)


def traced(**more):
    return br.train(NETWORK, PARAMS, X, Y, epochs=6, batch_size=3, trace=br.Recorder(**more), progress=False)


# ---- the explorer in a frame ---------------------------------------------------------------------------------------


def framed(explorer):
    """The page in the frame, after what is around it is seen to leave the notebook alone."""
    said = Elements(explorer._repr_html_())
    frames = [attributes for tag, attributes in said.found if tag == "iframe"]
    assert [frame["sandbox"] for frame in frames] == ["allow-scripts"]
    assert not {tag for tag, _ in said.found} & {"script", "link", "img", "html", "body"}
    assert not {name for _, attributes in said.found for name in attributes} & {"src", "href", "id", "style"}
    assert re.findall(r"<style>(.)", explorer._repr_html_()) == ["@", "@"]
    return frames[0]["srcdoc"]


def test_an_explorer_is_a_page_in_a_sandboxed_frame():
    result = traced()
    for explorer in (result.explorer(), br.explorer(result), br.explorer(NETWORK, PARAMS, X, Y)):
        page = framed(explorer)
        assert page == explorer.page
        assert "default-src 'none'" in page
        outside = re.sub(r'id="page-\w+">[^<]*<', "", page)
        assert not re.search(r"""\b(src|href)\s*=\s*["'](?!#|data:)|@import|url\(""", outside)
        assert "plotly" not in page.lower().replace("plotly.js makes", "")
        assert len(explorer._repr_html_()) < 150_000


def test_a_notebook_that_is_not_trusted_shows_the_numbers():
    explorer = traced().explorer()
    left = re.sub(r"<(style|iframe).*?</\1>", "", explorer._repr_html_(), flags=re.DOTALL)  # what a notebook leaves out
    text = html.unescape(re.sub("<[^>]*>", " ", left))
    assert "Trust the notebook" in text
    assert "Explorer of 3-5-4-2: 7 samples, epochs 0 to 6" in text
    assert "Explorer of 3-5-4-2" in str(explorer)
    assert "Explorer of 3-5-4-2" in explorer._repr_markdown_()


def test_a_large_training_is_thinned_to_the_size_of_a_frame():
    network = br.Network([60, 40, 10], ["tanh", "softmax"], "cross_entropy")
    x, y = br.random.Stream(3, "data").uniform(600).reshape(10, 60), br.one_hot(np.arange(10), 10)
    result = br.train(network, network.init(), x, y, epochs=60, trace=br.Recorder(), progress=False)
    assert MOST_BYTES / 20 < len(result.explorer()._repr_html_()) <= MOST_BYTES


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda: br.train(NETWORK, PARAMS, X, Y, epochs=1).explorer(), r"train with br\.train\(…, trace=br\.Recorder"),
        (lambda: br.explorer(NETWORK), "with its parameters and data"),
        (lambda: br.explorer(NETWORK, PARAMS, X, Y, samples=[7]), "from 0 to 6"),
        (lambda: br.explorer(NETWORK, PARAMS, X, Y, samples=[]), "from 0 to 6"),
        (lambda: br.explorer(NETWORK, PARAMS, X, Y, height="tall"), "height='tall'"),
        (lambda: br.explorer(3), "got int"),
        (lambda: br.explorer("nowhere"), "no binary trace"),
        (lambda: br.explorer(traced(), samples=[1]), "samples of its trace"),
        (lambda: br.live(NETWORK, PARAMS, X, Y, optimizer=br.LBFGS()), "take br.SGD or br.Adam"),
        (lambda: br.live(NETWORK, PARAMS, X, Y, batch_size=0), "batch_size=0"),
        (lambda: br.live(*wide()), "at most 20,000 and 64"),
    ],
)
def test_a_mistake_is_said_in_a_line(call, why):
    with pytest.raises(br.InvalidInput, match=why) as raised:
        call()
    assert "\n" not in str(raised.value)


def wide():
    network = br.Network([3, 65, 2], ["tanh", "softmax"], "cross_entropy")
    return network, network.init(), X, Y


def test_a_recorder_without_a_folder_keeps_its_trace_as_long_as_the_result():
    result = traced(kinds=["binary"])
    folder = result.trace.folder
    assert (folder / "trace.bin").exists()
    del result
    assert not folder.exists()


# ---- step by step --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [
    {"batch_size": 3, "optimizer": br.SGD(0.3, momentum=0.9), "seed": 4},
    {"batch_size": 1, "optimizer": br.Adam(0.05), "shuffle": False},
    {"batch_size": None, "optimizer": br.RMSprop(0.01, l2=0.1)},
])  # fmt: skip
def test_steps_are_those_of_train_to_the_bit(how):
    steps = Steps(NETWORK, PARAMS, X, Y, **how)
    epochs = 4 if steps.steps == 1 else 3
    for what in ("step", "epoch", "epoch", *["step"] * steps.steps):
        assert steps.go(what) == ""
    assert (steps.epoch, steps.step) == (epochs, 0)
    result = br.train(NETWORK, PARAMS, X, Y, epochs=epochs, numerics="reproducible", progress=False, **how)
    assert steps.params.sha256() == result.params.sha256()
    steps.reset()
    assert steps.params.sha256() == PARAMS.sha256()


def test_what_is_shown_of_a_step_is_the_trace_of_its_rows_and_its_update():
    steps = Steps(NETWORK, PARAMS, X, Y, batch_size=3, optimizer=br.SGD(0.5))
    for _ in range(steps.steps + 1):
        steps.go("step")
    fields, state = steps.state()
    rows, found, at = state["samples"], {}, 0
    values = np.frombuffer(state["values"])
    for field in fields:
        shape = (field["rows"] or len(rows), field["width"])
        found[field["name"]] = values[at : at + np.prod(shape)].reshape(shape)
        at += np.prod(shape)
    assert at == len(values)
    trace = br.trace(NETWORK, steps.params, X[rows], Y[rows], numerics="reproducible")
    for name in ("z", "a", "delta", "dW", "db"):
        for layer, wanted in enumerate(getattr(trace, name)):
            assert np.array_equal(found[f"{name}{layer}"].reshape(wanted.shape), wanted)
    scores = br.evaluate(NETWORK, steps.params, X, Y, numerics="reproducible")
    assert (found["loss"], found["whole"]) == (trace.loss, scores["loss"])
    assert found["accuracy"] == scores["accuracy"]
    before, dW = found["W1"].copy(), found["dW1"]
    steps.go("step")
    assert np.array_equal(steps.params.W[1], before - 0.5 * dW)


def test_a_step_out_of_the_finite_numbers_is_not_made():
    steps = Steps(NETWORK, PARAMS, X, Y, batch_size=3)
    steps.learning_rate = 1e308
    said = [steps.go("step") for _ in range(4)]
    assert "learning rate 1e+308 is too large" in said[-1]
    assert np.isfinite(steps.params.flat).all()


def test_without_anywidget_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "anywidget", None)
    notebook._widget_class.cache_clear()
    with pytest.raises(br.InvalidInput, match=r"pip install 'backprop-ref\[notebook\]'"):
        br.live(NETWORK, PARAMS, X, Y)


@pytest.mark.filterwarnings("ignore")  # those of ipywidgets
def test_the_widget_answers_each_question_once():
    pytest.importorskip("anywidget", reason="anywidget is not installed: pip install 'backprop-ref[notebook]'")
    notebook._widget_class.cache_clear()
    widget = br.live(NETWORK, PARAMS, X, Y, batch_size=3)
    widget.learning_rate = 0.25
    for what in ("step", "epoch", "import os", "reset", "step"):
        widget._handle_custom_msg({"do": what}, None)
    assert widget.state["answer"] == 4
    assert widget.training.step == 1
    assert "live in a notebook: 0 epochs and 1 step done" in repr(widget)
    rows = Steps(NETWORK, PARAMS, X, Y, batch_size=3).rows
    _, grads = br.value_and_grad(NETWORK, PARAMS, X[rows], Y[rows], numerics="reproducible")
    assert np.array_equal(widget.training.params.flat, PARAMS.flat - 0.25 * grads.flat)


# ---- the bar -------------------------------------------------------------------------------------------------------


def test_in_a_notebook_the_bar_is_shown_and_goes(monkeypatch):
    shown, shell = [], SimpleNamespace(kernel=None)
    display = SimpleNamespace(HTML=str, display=lambda html, display_id: SimpleNamespace(update=shown.append))
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell, display=display))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    with progress.Bar("epoch", 100) as bar:
        assert bar.enabled
        bar.started -= 50
        bar.update(20, loss=0.5)
    assert re.fullmatch(r'<p><progress value="20" max="100"></progress> epoch 20 of 100 .* loss 0\.5</p>', shown[0])
    assert shown[1:] == [""]
    shell.__dict__.clear()
    assert not progress._in_notebook()
