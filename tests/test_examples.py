"""The shipped examples: nested loops in C to the bit, plain lists, torch, jax and scikit-learn within the bounds."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import OF_RARE_LOSSES, label, parameters, samples

from backprop_ref import get_backend
from backprop_ref.cli import run
from backprop_ref.conformance import examples
from backprop_ref.conformance.cases import Case
from backprop_ref.conformance.judging.judge import judge
from backprop_ref.conformance.measuring.verify import submission_of
from backprop_ref.conformance.running import answered
from backprop_ref.conformance.vectors import recipes
from backprop_ref.conformance.vectors.documents import question
from backprop_ref.conformance.vectors.files import shipped_cases
from backprop_ref.formulas import ACTIVATIONS
from backprop_ref.optimizers import Adam

FOLDER = Path(examples.__file__).parent


@pytest.fixture
def verify(capsys, monkeypatch):
    """Runs the command; gives its exit status and its report."""
    monkeypatch.setattr(sys, "path", list(sys.path))

    def verify(*arguments):
        status = run(["verify", *map(str, arguments), "--json"])
        return status, json.loads(capsys.readouterr().out)

    return verify


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """The C program."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    program = tmp_path_factory.mktemp("c") / "mlp"
    flags = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off"]
    subprocess.run([compiler, *flags, "-o", program, FOLDER / "mlp.c", "-lm"], check=True)
    return program


@pytest.mark.more
def test_the_c_program_is_right_and_exact_on_every_float64_vector(verify, compiled):
    status, report = verify("--command", compiled)
    assert (status, report["verdict"], set(report["vectors"])) == (0, "RIGHT", {"EXACT", "NOT JUDGED"})
    for one in judge(submission_of(command=str(compiled)), shipped_cases()).cases:
        if one.case.name.endswith("-f64"):
            assert one.verdict == "EXACT", one
            assert {"dW", "db", "dx", "z", "a", "delta"} <= {name for name, _ in one.verdicts}
        else:
            assert one.reason == "float64 only"


@pytest.mark.parametrize("name", [*ACTIVATIONS, "elu(0.5)", "leaky_relu(0.2)"])
def test_the_c_program_has_the_bits_of_every_activation(compiled, name):
    """Hidden and at the output; three steps too."""
    assert_bits(compiled, recipes.make("3-7-5", [name, name], "mse", gain=4.0))


@pytest.mark.parametrize("network", OF_RARE_LOSSES, ids=label)
def test_the_c_program_has_the_bits_of_every_loss(compiled, network):
    x, y = samples(network, 7)
    assert_bits(compiled, Case("made", network, parameters(network), x, y, optimizer=Adam(0.01)))


def assert_bits(compiled, case):
    done = subprocess.run([compiled], input=question(case, "hex"), capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    for kind, layers in answered(get_backend("numpy", "reproducible"), case)._asdict().items():
        assert flat(found[kind]).tobytes() == flat(layers).tobytes(), kind


def flat(nested):
    """All numbers in lists and arrays; as text they are hexadecimal."""
    if isinstance(nested, list | np.ndarray):
        return np.concatenate([flat(part) for part in nested])
    return np.array([float.fromhex(nested) if isinstance(nested, str) else nested])


@pytest.mark.parametrize("text", ["", "{", "[]", '{"dtype": "float64"}', "nonsense", '{"dtype": "float64'])
def test_the_c_program_says_what_is_wrong_with_its_input(compiled, text):
    done = subprocess.run([compiled], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("mlp: ")


def right(answered):
    """Whether it is right, and within the bounds of the golden vectors of its networks."""
    status, report = answered
    assert set(report["vectors"]) <= {"EXACT", "WITHIN BOUND", "NOT JUDGED"}
    return (status, report["verdict"]) == (0, "RIGHT") and report["vectors"]["WITHIN BOUND"] >= len(
        report["networks"]
    ) / 2


@pytest.mark.more
def test_plain_lists_are_within_the_bounds(verify):
    target = "backprop_ref.conformance.examples.naive_lists:gradients"
    assert right(verify(target))
    few = ("--network", "3-5-4:tanh,softmax:ce")
    for way in ([f"{FOLDER}/naive_lists.py:gradients"], ["--command", f"{sys.executable} {FOLDER}/naive_lists.py"]):
        status, report = verify(*way, *few)
        assert (status, report["verdict"]) == (0, "RIGHT")


@pytest.mark.parametrize(("library", "module"), [("torch", "torch_autograd"), ("jax", "jax_grad")])
def test_automatic_differentiation_is_within_the_bounds(verify, library, module):
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    target = f"backprop_ref.conformance.examples.{module}:gradients"
    assert right(verify(target))


@pytest.mark.more
def test_scikit_learn_has_a_factor_in_its_squared_error(verify):
    target = "backprop_ref.conformance.examples.sklearn_mlp:step"
    status, report = verify(target)
    assert (status, report["verdict"]) == (1, "WRONG")
    assert all(network.endswith("linear:mse") for network in report["networks"])
    assert [(found["id"], found["confidence"]) for found in report["findings"]] == [("sum-over-outputs", "certain")]
    assert verify(target, "--network", "3-5-4:relu,softmax:ce")[0] == 0
