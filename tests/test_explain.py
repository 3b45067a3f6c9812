"""Explaining a step: every number printed is what its printed formula gives, evaluated by plain Python."""

import itertools
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from backprop_ref.kernels import elementary
from helpers import OF_RARE_LOSSES, RARE_OPTIMIZERS, label, networks, parameters, samples

import backprop_ref as br
from backprop_ref.cli import run
from backprop_ref.formulas import ACTIVATIONS, LOSSES
from backprop_ref.report.derivations import derivation
from backprop_ref.report.derivations.documents import PAGES, Equation, Heading, Text, breakable
from backprop_ref.report.derivations.explain import explain, shortened
from backprop_ref.report.derivations.step import Step

PROGRAM = [sys.executable, "-c", "from backprop_ref.cli import main; main()"]
OURS = elementary.for_scalars("float64")._asdict() | {"sqrt": math.sqrt}
RULES = [
    *RARE_OPTIMIZERS,
    br.SGD(0.1),
    br.SGD(0.1, 0.9),
    br.SGD(0.1, 0.9, True, 0.01),
    br.Adam(0.01),
    br.Adam(0.01, weight_decay=0.5),
    br.SGD(0.1, l1=0.1, weight_decay=0.01, l2=0.3, clip_value=0.02, max_norm=0.5),
    br.Adam(0.01, clip_norm=0.05, l1=0.2, max_norm=0.9),
    br.AdamW(0.01, clip_norm=100.0, max_norm=100.0),
]
EVERYTHING = 10**6
SETTINGS = {"eta", "mu", "lambda", "beta1", "beta2", "rho", "epsilon", "t", "lambda1", "c", "s"}
NUMBER = r"-?\d+(?:\.\d+)?(?:e[+-]\d+)?"


def step_of(network, optimizer=None, seed=1, started=False):
    """A step by one sample; `started`: not the optimizer's first."""
    optimizer, params = optimizer or br.SGD(0.1), parameters(network, seed)
    x, y = samples(network, 1, seed + 1)
    slots = None
    if started:
        slots = optimizer.init(params.flat)
        _, grads = br.value_and_grad(network, params, x, y, numerics="reproducible")
        optimizer.step(params, grads, slots, optimizer.learning_rate)
    return Step.of(network, params, x, y, optimizer, 0.05, slots, "reproducible", 2 if started else 1)


def printed(step, digits=17, **options):
    blocks = shortened(explain(step, with_derivation=False, **options), EVERYTHING)
    return Text(digits, EVERYTHING, EVERYTHING).document(blocks)


def equations(text):
    """What stands on the left, formulas and the number on the right, of each line that has numbers alone.

    Settings, which are given and not computed, are left out.
    """
    for line in text.splitlines():
        left, *formulas = line.strip().split(" = ")
        if formulas and re.fullmatch(NUMBER, formulas[-1]) and left not in SETTINGS:
            yield left, formulas[:-1], formulas[-1]


def without_reasons(formula):
    """Without what stands after each "if", up to the parenthesis that closes the choice."""
    while (start := formula.find(" if ")) >= 0:
        depths = itertools.accumulate({"(": 1, ")": -1}.get(letter, 0) for letter in formula[start:])
        formula = formula[:start] + formula[start + list(depths).index(-1) :]
    return formula


def evaluated(formula, functions=OURS):
    """A printed formula with numbers in it, in plain Python."""
    python = without_reasons(formula).replace("·", "*").replace("^", "**")
    return float(eval(re.sub(r"\|([^|]*)\|", r"abs(\1)", python), {"__builtins__": {"abs": abs}}, functions))


def truth(step):
    """Every number of a step by the name that it is printed with."""
    found, new = {"loss": step.trace.loss}, step.after
    if "softmax" in step.network.activations[-1:] and step.network.loss.startswith("cross_entropy"):
        found["S"] = step.total
    found |= {f"c{i}": 1.0 - power for i, power in enumerate(step.slots_after.get("powers", ()), 1)}
    slots = {name: br.Parameters(slot, new.sizes) for name, slot in step.slots_after.items() if name != "powers"}
    called = {"velocity": "v'", "m": "m'", "v": "v'"}
    tensors = {
        **{name: getattr(step.trace, name) for name in ("z", "a", "delta", "dW", "db")},
        "da": step.da,
        "W'": new.W,
        "b'": new.b,
    }
    for slot, values in slots.items():
        for W, b, layer in zip(values.W, values.b, itertools.count(), strict=False):
            for index, value in [*np.ndenumerate(W), *np.ndenumerate(b)]:
                found[f"{called[slot]}[{layer}]_{''.join(map(str, index))}"] = value
    for name, layers in tensors.items():
        for layer, array in enumerate(layers):
            rows = array if array is None or name in {"dW", "db", "W'", "b'"} else array[0]
            for index, value in [] if rows is None else np.ndenumerate(rows):
                found[f"{name}[{layer}]_{''.join(map(str, index))}"] = value
    return found


@pytest.mark.few(None, 100)
@pytest.mark.parametrize("network", [*networks(), *OF_RARE_LOSSES], ids=label)
def test_every_number_is_what_its_formula_gives(network):
    """To the last bit: the formulas are printed in the order in which they are computed."""
    step, seen = step_of(network), {}
    for left, formulas, result in equations(printed(step)):
        assert left not in seen
        seen[left] = float(result)
        assert [evaluated(formula) for formula in formulas] == [float(result)] * len(formulas)
    assert seen == truth(step)


@pytest.mark.parametrize(
    ("number", "digits", "text"),
    [
        (0.29119837, 5, "0.29120"),
        (-0.29119837, 5, "-0.29120"),
        (0.05, 5, "0.05"),
        (0.0, 5, "0"),
        (-0.0, 5, "0"),
        (1.0, 5, "1"),
        (2.9999999e-7, 5, "3.0000e-07"),
        (12345.6, 5, "12346"),
        (999999.5, 5, "1.0000e+06"),
        (2.9, 1, "3"),
        (2.9e-9, 1, "3e-09"),
        (1234567, 5, "1234567"),
    ],
)
def test_zeros_at_the_end_say_that_a_number_is_rounded(number, digits, text):
    assert Text(digits, 8).number(number)[1] == text


def test_a_number_looks_the_same_in_a_formula_and_in_a_matrix():
    """Also in single precision, in which 0.1 is no tenth."""
    assert Text(5, 8).number(np.float32(0.1)) == Text(5, 8).number(float(np.float32(0.1)))


@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_every_name_in_an_update_has_its_number(rule, started):
    """Each letter of the formulas that is neither an entry nor a function is given a number before."""
    text = printed(step_of(br.Network([3, 2], ["softmax"], "ce"), rule, started=started))
    update = text.partition("\nUpdate")[2]
    given = set(re.findall(rf"^  (\w+) = (?:.* = )?{NUMBER}$", update, re.M))
    formulas = [line for line in update.splitlines() if re.match(r"  [Wbmv]'\[0\]_k?j =", line)]
    used = set(re.findall(r"(?<![\w'])[a-z]+\d?(?![\w\['(])", " ".join(formulas))) - {"if", "else"}
    assert "eta" in used
    assert used <= given
    assert given <= SETTINGS | {"c1", "c2"}


@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("optimizer", RULES, ids=repr)
def test_every_update_is_what_its_formula_gives(optimizer, started):
    step = step_of(br.Network([3, 2, 4], ["tanh", "softmax"], "ce"), optimizer, started=started)
    seen = {}
    for left, formulas, result in equations(printed(step)):
        seen.setdefault(left, float(result))
        assert [evaluated(formula) for formula in formulas] == [float(result)] * len(formulas)
    assert set(seen) == set(truth(step))


@pytest.mark.parametrize("network", list(networks())[::3], ids=label)
def test_another_mathematical_library_gives_the_digits_shown(network):
    """Python's own exp and log, on operands with all their digits, lead to the 5 digits that are printed."""
    step = step_of(network)
    shown = {left: result for left, _, result in equations(printed(step, digits=5))}
    for left, formulas, _ in equations(printed(step)):
        for formula in formulas:
            assert f"{evaluated(formula, vars(math)) + 0.0:.5g}" == f"{float(shown[left]):.5g}"


def test_a_planted_error_is_seen():
    step = step_of(br.Network([3, 2, 4], ["tanh", "softmax"], "ce"))
    step.trace.delta[0][0, 1] *= 1.0 + 2.0**-50
    wrong = [
        left
        for left, formulas, result in equations(printed(step))
        if formulas and evaluated(formulas[0]) != float(result)
    ]
    assert wrong == ["delta[0]_1", "dW[0]_01", "dW[0]_11", "dW[0]_21"]


def shown(tree):
    return tree.show(Text(5, 8), {})[1]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_derivations_end_in_what_the_code_computes(activation):
    """The last formula but the one for matrices is the code's, run on symbols; the chains before it are equal."""
    blocks = [block for block in derivation.of_activation(activation, 3) if isinstance(block, Equation)]
    chains = [[shown(tree) for tree, _ in block.parts] for block in blocks]
    assert ["delta_j", shown(derivation.backward(activation, 3, derivation.Z, derivation.A, derivation.DA))] in chains


@pytest.mark.parametrize("z", [-3.25, -0.5, 0.0, 0.75, 2.0])
@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
def test_steps_of_a_derivative_are_equal(activation, z):
    """Each formula of the chain for ∂a/∂z, at a number, beside the complex step."""
    a = 1.0 / (1.0 + math.exp(-z)) if activation == "sigmoid" else math.tanh(z)
    h = 1e-30
    exact = (1.0 / (1.0 + np.exp(-(z + 1j * h)))).imag / h if activation == "sigmoid" else np.tanh(z + 1j * h).imag / h
    (chain,) = (
        [shown(tree) for tree, _ in block.parts]
        for block in derivation.DERIVATIVE[activation]
        if shown(block.parts[0][0]).startswith("∂a_j/∂z_j")
    )
    for formula in chain[1:]:
        got = evaluated(formula, {**vars(math), "z_j": z, "a_j": a})
        assert f"{got:.12g}" == f"{exact:.12g}"


TOGETHER = [(name, output) for name, loss in LOSSES.items() for output in loss.together]


@pytest.mark.parametrize("pair", TOGETHER, ids="-".join)
def test_derivations_of_losses_end_in_the_code(pair):
    blocks = [block for block in derivation.of_loss(*pair, 3) if isinstance(block, Equation)]
    error = LOSSES[pair[0]].with_output(pair[1]).error
    tree = error(derivation.Symbolic(3), derivation.Z, derivation.A, derivation.Y) / derivation.N
    assert [shown(part) for part, _ in blocks[-1].parts] == ["delta_j", shown(tree)]


def test_softmax_and_cross_entropy_from_the_jacobian_to_a_minus_y():
    text = Text(5, 8, 200).document(derivation.of_loss("cross_entropy", "softmax", 3))
    assert "(a_i·([i=j] - a_j))" in text
    assert "a_j·(Σ_i y_i) - y_j" in text
    assert "p - y" in text


# --- pages ---


class Tags(HTMLParser):
    """Whether every tag is closed, and what is loaded from elsewhere."""

    def __init__(self):
        super().__init__()
        self.open, self.loaded = [], []

    def handle_starttag(self, tag, attributes):
        self.loaded += [value for name, value in attributes if name in {"src", "href"}]
        if tag not in {"meta", "wbr"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.few(8)
@pytest.mark.parametrize("matrices", [False, True])
@pytest.mark.parametrize("network", [*list(networks())[::7], *OF_RARE_LOSSES], ids=label)
def test_html_is_whole_and_needs_no_network(network, matrices):
    blocks = [Heading(1, "a < b"), *shortened(explain(step_of(network), matrices=matrices), 8)]
    text = PAGES["html"](5, 8).document(blocks)
    tags = Tags()
    tags.feed(text)
    assert (tags.open, tags.loaded) == ([], [])
    assert "a &lt; b" in text
    assert "http:" not in text and "https:" not in text


def test_formulas_break_between_terms_and_nowhere_else():
    sign = {name: f'<mo form="infix">{name}</mo>' for name in "+="}
    inside = f"<mrow><mn>1</mn>{sign['+']}<mn>2</mn></mrow>"
    formula = f"<mi>z</mi>{sign['=']}<mn>3</mn>{sign['+']}{inside}{sign['=']}<mn>6</mn>"
    pieces = breakable(formula)
    assert "".join(pieces) == formula
    assert pieces == ["<mi>z</mi>", f"{sign['=']}<mn>3</mn>", f"{sign['+']}{inside}", f"{sign['=']}<mn>6</mn>"]


@pytest.mark.parametrize("network", [*list(networks())[::7], *OF_RARE_LOSSES], ids=label)
def test_latex_is_balanced(network):
    for matrices in (False, True):
        text = PAGES["markdown"](5, 8).document(list(shortened(explain(step_of(network), matrices=matrices), 8)))
        assert text.count("$$") % 2 == 0
        for formula in text.split("$$")[1::2]:
            assert formula.count("{") == formula.count("}")
            assert formula.count(r"\left") == formula.count(r"\right")
            assert re.search(r"\d e[+-]|e-\d|δ|Σ|≥|≤|·", formula) is None


def test_all_pages_show_the_same_numbers():
    blocks = list(shortened(explain(step_of(br.Network([3, 2], ["softmax"], "ce")), with_derivation=False), 8))
    found = {}
    for name, page in PAGES.items():
        text = page(4, 8, EVERYTHING).document(blocks).partition("<body>")[2 * (name == "html")]
        text = re.sub(r"</?m\w+[^>]*>", " ", text).replace("−", "-").replace("- ", "-")
        found[name] = set(re.findall(r"\d\.\d+", text))
    assert found["terminal"] == found["html"] == found["markdown"] != set()


def test_matrices_are_shown_whole_or_with_dots():
    step = step_of(br.Network([64, 12, 3], ["relu", "softmax"], "ce"))
    text = Text(5, 8, 60).document(list(shortened(explain(step, matrices=True), 8)))
    assert "W[0] (64 × 12) =" in text
    assert max(map(len, text.splitlines())) <= 60
    assert "…" in text


def test_long_sums_and_wide_layers_are_cut():
    step = step_of(br.Network([64, 128, 10], ["relu", "softmax"], "ce"))
    text = Text(5, 4, EVERYTHING).document(list(shortened(explain(step), 4)))
    assert "… 61 more terms" in text
    assert "… 120 more neurons; see one with layer=0 and a neuron from 0 to 127" in text
    assert len(text.splitlines()) < 600


# --- the command ---


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Each test in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def explained(capsys, *arguments, status=0):
    assert run(["explain", *map(str, arguments)]) == status
    out, err = capsys.readouterr()
    return out if status == 0 else err


@pytest.mark.more
def test_sixty_columns_no_colour_and_a_pipe():
    done = subprocess.run(
        [*PROGRAM, "explain", "xor", "--sample", "2"],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "60", "TERM": "dumb"},
        check=True,
    )
    assert "\x1b" not in done.stdout + done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 60
    assert "neuron 3 of layer 0" in done.stdout


@pytest.mark.more
def test_an_output_without_greek_letters():
    done = subprocess.run(
        [*PROGRAM, "explain", "xor"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "cp1252"},
        check=True,
    )
    assert b"z[0]_j = b[0]_j + sum_k" in done.stdout
    assert done.stderr == b""


def test_the_first_sample_shown_has_inputs(capsys):
    """XOR's sample 0 is (0, 0), from which every dW of the first layer is 0."""
    assert explained(capsys, "xor") == explained(capsys, "xor", "--sample", 1)
    assert "xor, sample 0" in explained(capsys, "xor", "--sample", 0)


def test_rounding_is_said(capsys):
    words = "Numbers are rounded to 3 significant digits, and computed unrounded"
    assert words in explained(capsys, "xor", "--digits", 3)


def test_one_neuron_of_one_layer(capsys):
    out = explained(capsys, "xor", "--layer", 0, "--neuron", 3)
    assert re.findall(r"^neuron.*", out, re.M) == ["neuron 3 of layer 0"] * 3
    assert "loss =" not in out


def test_a_trained_run_goes_on_where_it_is(capsys, folder):
    """The update shown is the one that training makes next."""
    rule = ["--optimizer", "adam", "--batch-size", "1", "--no-shuffle", "--numerics", "reproducible"]
    assert run(["train", "encoder-3-2-3", *rule, "--epochs", "3", "--run-dir", "b"]) == 0
    capsys.readouterr()
    out = explained(capsys, "b", "--digits", 17, "--terms", 100)
    model = br.load("b")
    config = br.network.model_file.load_all("b")[1]
    x, y = np.eye(3)[:1], np.eye(3)[:1]
    slots = {name: config[f"resume.slot.{name}"] for name in ("m", "v", "powers")}
    _, grads = br.value_and_grad(model.network, model.params, x, y, numerics="reproducible")
    br.Adam(0.001).step(model.params, grads, slots, 0.001)
    results = dict(re.findall(rf"^  (W'\[0\]_00) .*= ({NUMBER})$", " ".join(out.split("\n      ")), re.M))
    assert float(results["W'[0]_00"]) == model.params.W[0][0, 0]
    assert "\n  t = 10\n" in out  # three epochs of three samples, and this one


def test_markdown_and_html_to_a_file(capsys, folder):
    for name in ("markdown", "html"):
        explained(capsys, "xor", "--format", name, "--output", f"x.{name}")
        assert "exists already" in explained(capsys, "xor", "--format", name, "--output", f"x.{name}", status=2)
    assert Path("x.html").read_text().startswith("<!DOCTYPE html>")
    assert Path("x.markdown").read_text().startswith("# One step")


@pytest.mark.few(6)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["xor", "--layer", "2"], "--layer 2: there is none; there are 2, 0 to 1"),
        (["xor", "--layer", "0", "--neuron", "4"], "--neuron 4: there is none; there are 4, 0 to 3"),
        (["xor", "--neuron", "0"], "--neuron 0: of which layer? add --layer 0 to 1"),
        (["xor", "--sample", "4"], "--sample 4: there is none; there are 4, 0 to 3"),
        (["xor", "--sample", "-1"], "--sample -1: there is none; there are 4, 0 to 3"),
        (["empty"], "empty: no run folder (no config.yaml in it)"),
        (["foreign"], "foreign: no run folder (no config.yaml in it)"),
        (["begun"], "begun: no checkpoint.safetensors yet"),
        (["run", "--seed", "2"], "run is a run folder and has its own network and data; leave out --seed"),
        (["run/config.yaml"], "run/config.yaml: no run folder"),
        (["nothing"], "unknown data set 'nothing'"),
        (["xor", "--format", "pdf"], "unknown --format 'pdf'"),
        (["xor", "--data-path", "x.csv"], "both xor and --data-path x.csv"),
    ],
)
def test_mistakes_get_one_clear_line(capsys, folder, arguments, message):
    assert run(["train", "xor", "--epochs", "1", "--run-dir", "run"]) == 0
    capsys.readouterr()
    for name in ("empty", "foreign", "begun"):
        Path(name).mkdir()
    Path("foreign/model.pt").write_bytes(b"something else")
    Path("begun/config.yaml").write_text(Path("run/config.yaml").read_text())
    error = explained(capsys, *arguments, status=2)
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.more
def test_a_run_that_is_going_on(folder):
    training = subprocess.Popen(
        [*PROGRAM, "train", "xor", "--epochs", "100000000", "--run-dir", "run"], stdout=subprocess.DEVNULL
    )
    try:
        while not Path("run/checkpoint.safetensors").exists():
            assert training.poll() is None
            time.sleep(0.05)
        done = subprocess.run([*PROGRAM, "explain", "run"], capture_output=True, text=True, check=True)
    finally:
        training.send_signal(signal.SIGINT)
        training.wait()
    assert re.search(r"run\s+after\s+epoch\s+\d+\s+of\s+100000000,\s+going\s+on", done.stdout)
    assert json.loads(Path("run/results.json").read_text())["stopped"] == "interrupted"


def test_rows_of_weight_0_are_counted(capsys, folder):
    Path("f.csv").write_text("a,w,t\n" + "".join(f"{i + 1},{i % 2},{i / 4}\n" for i in range(8)))
    given = ["explain", "--data-path", "f.csv", "--sample-weight", "w", "--test-size", "0", "--normalize", "none"]
    assert run([*given, "--hidden", "2", "--sample", "3"]) == 0
    assert re.search(r"z\[0\]_0 = .*\b4(\.0+)?·", capsys.readouterr().out)
    assert run([*given, "--hidden", "2"]) == 0
    assert "sample 1" in capsys.readouterr().out
    assert run([*given, "--sample", "4"]) == 2
    assert "--sample 4: a row of weight 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags", [["--optimizer", "lbfgs"], ["--l1", "0.1", "--clip-norm", "0.01"], ["--max-norm", "0.1"]]
)
def test_runs_of_every_kind_are_explained(capsys, folder, flags):
    assert run(["train", "iris", "--hidden", "3", "--epochs", "2", "--run-dir", "run", *flags]) == 0
    assert run(["explain", "run", "--layer", "1", "--neuron", "0"]) == 0
    assert "Backward" in capsys.readouterr().out


def test_of_lbfgs_the_gradient_is_explained():
    step = step_of(br.Network([3, 2], ["softmax"], "ce"), br.LBFGS())
    text = printed(step)
    assert "no formula for one sample" in text.partition("Update: lbfgs")[2]
    seen = {left: float(result) for left, _, result in equations(text)}
    assert seen["dW[0]_11"] == step.trace.dW[0][1, 1]
