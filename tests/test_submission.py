"""Whatever a submission does, every case gets a clear verdict, and the rest is still judged."""

import contextlib
import json
import os
import shlex
import sys
import time
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import submissions
from submissions import ours, right, some_cases, usual_cases

import backprop_ref as br
from backprop_ref.conformance.judging.judge import judge
from backprop_ref.conformance.judging.judged import ORDER
from backprop_ref.conformance.judging.said import outcome_of
from backprop_ref.conformance.measuring.verify import _certify
from backprop_ref.conformance.outcomes.outcome import Outcome
from backprop_ref.conformance.submissions.calling import load
from backprop_ref.conformance.submissions.composing import composed
from backprop_ref.conformance.submissions.functions import Function
from backprop_ref.conformance.submissions.models import Model
from backprop_ref.conformance.submissions.programs import Answers, Program
from backprop_ref.conformance.vectors.documents import question, to_document
from backprop_ref.errors import InvalidInput

CASES = some_cases()
BAD = CASES[3].name


def right_in(held):
    """Whether every answer is right."""
    return ORDER.index(held.verdict) <= ORDER.index("WITHIN BOUND")


def sometimes(bad):
    """Right but for one case, of which it does something else."""

    def function(network, weights, biases, x, y):
        case = next(case for case in CASES if case.network == network)
        return bad() if case.name == BAD else right(network, weights, biases, x, y)

    return function


def raises(error):
    def bad():
        raise error

    return bad


def hangs():
    while True:
        time.sleep(0.01)


def hides_from_exceptions():
    while True:
        with contextlib.suppress(Exception):
            time.sleep(10)


@pytest.mark.few(3)
@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (raises(ValueError("no idea")), "ValueError: no idea"),
        (raises(SystemExit(3)), "sys.exit(3)"),
        (raises(RecursionError("deep")), "RecursionError"),
        (raises(MemoryError()), "MemoryError"),
        (raises(GeneratorExit()), "GeneratorExit"),
        (hangs, "no answer within 1 s"),
        (hides_from_exceptions, "no answer within 1 s"),
        (lambda: "gradients", "text 'gradients'"),
        (lambda: {"gradient": 1}, "none of loss"),
        (object, "a object"),
        (lambda: (1.0, 2.0), "2 numbers"),
        (lambda: (1.0, [None, None], [None, None]), "None"),
        (lambda: (1.0, [[1.0, [2.0]]], [[1.0]]), "different lengths"),
        (lambda: (1.0, [[[1.0], [2.0, 3.0]], [[1.0]]], [[1.0], [1.0]]), "cannot be read as numbers"),
        (lambda: (1.0, [["a"]], [[1.0]]), "'a' is no number"),
        (lambda: (1.0, [np.ones((2, 2), complex)] * 2, [np.ones(2)] * 2), "complex"),
        (lambda: (1.0, np.zeros(0), np.zeros(0)), ""),
        (lambda: (1j, [], []), "complex"),
        (lambda: ("1.5", [], []), "make it a number with float()"),
        (lambda: (1.0, [np.full((5, 3), "1.5")] * 2, [np.ones(3)] * 2), "astype(float)"),
        (lambda: (1.0, np.ones(29)), "one vector of 29 numbers; cut it into a list of dW and a list of db"),
        (lambda: (float("nan"), [np.full((5, 3), np.nan)] * 2, [np.full(3, np.nan)] * 2), ""),
        (lambda: (1e400, [np.full((5, 3), np.inf)] * 2, [np.full(3, -np.inf)] * 2), ""),
        (list, "empty list"),
    ],
)
def test_one_bad_case_does_not_spoil_the_others(bad, said):
    report = judge(Function(sometimes(bad), time_limit=1.0), CASES)
    verdicts = {one.case.name: one.verdict for one in report.cases}
    assert verdicts.pop(BAD) in ({"NO ANSWER"} if said else {"WRONG"})
    assert set(verdicts.values()) <= {"EXACT", "WITHIN BOUND"}
    assert said in next(one.reason for one in report.cases if one.case.name == BAD)
    json.loads(json.dumps(outcome_of(report).document(), allow_nan=False))


@pytest.mark.parametrize("kind", [float, Fraction, Decimal, np.float64])
def test_objects_that_are_numbers_are_read(kind):
    def function(*arguments):
        loss, dW, db = right(*arguments)
        return loss, [np.vectorize(lambda entry: kind(float(entry)), otypes=[object])(g) for g in dW], db

    assert right_in(judge(Function(function), CASES[:4]))


@pytest.mark.parametrize(("value", "said"), [(np.nan, "NaN where"), (np.inf, "infinity where"), (None, "NaN and inf")])
@pytest.mark.few(1)
def test_numbers_that_are_not_finite_are_named(value, said):
    def function(*arguments):
        loss, dW, db = right(*arguments)
        db[0][0], loss = np.nan if value is None else value, np.inf if value is None else loss
        return loss, dW, db

    start = time.process_time()
    outcome = outcome_of(judge(Function(function), usual_cases()))
    assert [(found.id, found.confidence) for found in outcome.findings] == [("not-finite", "certain")]
    assert outcome.findings[0].text.startswith(said)
    assert "in db[0]" in outcome.findings[0].evidence
    assert time.process_time() - start < 20


def test_none_means_an_update_that_did_not_happen():
    report = judge(Function(lambda *_: None), CASES)
    assert report.verdict == "NO ANSWER"
    assert all("None" in one.reason for one in report.cases)


def test_the_users_line_is_shown(tmp_path):
    (tmp_path / "theirs.py").write_text("def f(network, weights, biases, x, y):\n    return undefined_name + 1\n")
    report = judge(Function(load(f"{tmp_path}/theirs.py:f")), CASES)
    assert "(theirs.py, line 2: return undefined_name + 1)" in report.cases[0].reason


def test_a_case_it_does_not_claim_is_not_judged():
    report = judge(Function(sometimes(raises(NotImplementedError("no relu")))), CASES)
    assert right_in(report)
    assert next(one for one in report.cases if one.case.name == BAD).reason == "NotImplementedError: no relu"
    assert judge(Function(lambda *_: raises(NotImplementedError())()), CASES).verdict == "NOT JUDGED"


def test_prints_go_nowhere(capsys):
    def talkative(*arguments):
        print("x" * 10_000)
        print("y", file=sys.stderr)
        return right(*arguments)

    assert right_in(judge(Function(talkative), CASES))
    assert capsys.readouterr() == ("", "")


def test_changed_arguments_are_told_and_do_no_harm():
    def careless(network, weights, biases, x, y):
        result = right(network, weights, biases, x, y)
        for part in (*weights, x, y):
            part[...] = 0.0
        weights.clear()
        return result

    report = judge(Function(careless), CASES)
    assert right_in(report)
    assert "it changes its weights and x and y in place" in outcome_of(report).notes


def test_gradients_that_are_not_set_to_zero():
    kept = {}

    def accumulating(network, weights, biases, x, y):
        loss, dW, db = right(network, weights, biases, x, y)
        total = kept.setdefault((network, x.dtype), [0.0 * g for g in dW + db])
        for there, new in zip(total, dW + db, strict=True):
            there += new
        return loss, [g.copy() for g in total[: len(dW)]], [g.copy() for g in total[len(dW) :]]

    report = judge(Function(accumulating), CASES)
    assert report.verdict == "WRONG"
    assert any("twice the first" in one.reason for one in report.cases)


def test_noise_within_the_bound_is_no_fault():
    calls = iter(range(10**9))

    def noisy(network, weights, biases, x, y):
        loss, dW, db = right(network, weights, biases, x, y)
        up = 1.0 + 2.0**-52 * (next(calls) % 2)
        return loss, [g * up for g in dW], db

    cases = [case for case in CASES if case.params.dtype.name == "float64"]
    assert right_in(judge(Function(noisy), cases))


def test_another_derivative_of_relu_at_0_is_acceptable():
    def function(network, weights, biases, x, y):
        loss, dW, db = right(network, weights, biases, x, y)
        return loss, dW, db

    def at_zero(name, z, a, da):
        return da * (z >= 0) if name == "relu" else kept(name, z, a, da)

    kept, submissions.derived = submissions.derived, at_zero
    try:
        outcome = outcome_of(judge(Function(function), usual_cases()))
    finally:
        submissions.derived = kept
    assert (outcome.verdict, outcome.exit) == ("CONVENTION", 0)
    assert [found.id for found in outcome.findings] == ["relu-at-zero"]


def test_that_derivative_of_relu_is_a_convention_in_a_whole_run(monkeypatch):
    kept = submissions.derived
    monkeypatch.setattr(
        submissions,
        "derived",
        lambda name, z, a, da: da * (z >= 0) if name == "relu" else kept(name, z, a, da),
    )

    def gradients(network, weights, biases, x, y):
        return right(network, weights, biases, x, y)

    outcome = Outcome("mine", "RIGHT", networks=["3-5-4:relu,softmax:mse"])
    _certify(Function(gradients), outcome, None)
    assert (outcome.verdict, [found.id for found in outcome.findings]) == ("CONVENTION", ["relu-at-zero"])


def test_a_torch_module_stands_for_a_class_that_makes_such():
    class Module:
        def __init__(self, size):
            self.weights = np.zeros(size)

        def forward(self, x):
            return x @ self.weights

        def state_dict(self):
            return vars(self)

    made = Module(3)
    again = composed(made)()
    again.weights += 1.0
    assert isinstance(again, Module)
    assert (made.weights.sum(), again.forward(np.ones(3))) == (0.0, 3.0)
    assert composed(Module) is Module


# ---- keywords


def test_decay_upstream_gradients_and_steps_are_passed_to_those_who_take_them():
    from backprop_ref.optimizers import OPTIMIZERS

    def complete(network, weights, biases, x, y, da=None, weight_decay=0.0, steps=0, optimizer=None, batch_size=None):
        params = br.Parameters.from_arrays(weights, biases)
        if steps:
            settings = {key: value for key, value in optimizer.items() if key != "name"}
            made = OPTIMIZERS[optimizer["name"]](**settings)
            state = made.init(params.flat)
            cut = [slice(start, start + batch_size) for start in range(0, len(x), batch_size)]
            for rows in (cut * steps)[:steps]:
                _, grads = br.value_and_grad(network, params, x[rows], y[rows], numerics="reproducible")
                made.step(params, grads, state, made.learning_rate)
            return params.W, params.b
        if da is not None:
            grads, _ = br.vjp(network, params, x, da, numerics="reproducible")
            return grads.W, grads.b
        loss, grads = br.value_and_grad(network, params, x, y, numerics="reproducible")
        return loss, [g + x.dtype.type(weight_decay) * W for g, W in zip(grads.W, params.W, strict=True)], grads.b

    report = judge(Function(complete), usual_cases())
    assert all(one.verdict == "EXACT" for one in report.cases)
    assert any(name == "W" for one in report.cases for name, _ in one.verdicts)


@pytest.mark.parametrize("backend", ["numpy", "python", "numba"])
@pytest.mark.parametrize("numerics", ["fast", "reproducible"])
@pytest.mark.few(1)
def test_our_own_backends_pass(backend, numerics):
    if (backend, numerics) == ("python", "fast"):
        pytest.skip("python is reproducible only")
    compiled_in_time = Function(lambda *a: ours(*a, backend=backend, numerics=numerics), time_limit=200.0)
    report = judge(compiled_in_time, usual_cases())
    assert report.verdict in (("EXACT",) if numerics == "reproducible" else ("EXACT", "WITHIN BOUND"))


# ---- loading


def test_targets_that_cannot_be_loaded(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "sound_module.py").write_text("def gradients(): pass\nnumber = 3\n")
    (tmp_path / "broken_module.py").write_text("def f(:\n")
    (tmp_path / "leaving_module.py").write_text("import sys\nsys.exit(1)\n")
    (tmp_path / "needy_module.py").write_text("import no_such_module_at_all\n")
    for target, said in (
        ("sound_module", "file.py:name"),
        (":f", "file.py:name"),
        ("sound_module:", "file.py:name"),
        ("no_such_module:f", "no module 'no_such_module'"),
        ("nowhere.py:f", "no such file"),
        ("sound_module:gradient", "did you mean 'gradients'"),
        ("sound_module:number", "cannot be called"),
        ("broken_module:f", "SyntaxError"),
        ("leaving_module:f", "SystemExit"),
        ("needy_module:f", "no_such_module_at_all"),
    ):
        with pytest.raises(InvalidInput, match=said):
            load(target)


# ---- classes


class Plain:
    """Weights out×in, biases as columns, fit makes one step."""

    def __init__(self, sizes, activations, loss, learning_rate=0.1):
        self.network = type("N", (), {"sizes": sizes, "activations": activations, "loss": loss})
        self.rate = learning_rate
        self.W = [np.zeros((n_out, n_in)) for n_in, n_out in zip(sizes, sizes[1:], strict=False)]
        self.b = [np.zeros((n, 1)) for n in sizes[1:]]

    def fit(self, X, y, epochs=1000):
        for _ in range(epochs):
            _, dW, db = right(self.network, [W.T for W in self.W], [b[:, 0] for b in self.b], X, y)
            for W, g in zip(self.W, dW, strict=True):
                W -= self.rate * g.T
            for b, g in zip(self.b, db, strict=True):
                b -= self.rate * g[:, None]


class Numbered(Plain):
    """W1, b1, W2, … in a dictionary, columns as samples, and a sum over the batch."""

    def __init__(self, layer_dims, activations, loss, lr):
        super().__init__(layer_dims, activations, loss, lr)
        self.params = {f"W{k + 1}": W for k, W in enumerate(self.W)} | {f"b{k + 1}": b for k, b in enumerate(self.b)}
        del self.W, self.b

    def train_step(self, X, Y):
        layers = range(1, len(self.params) // 2 + 1)
        W, b = [self.params[f"W{k}"] for k in layers], [self.params[f"b{k}"] for k in layers]
        loss, dW, db = right(self.network, [w.T for w in W], [v[:, 0] for v in b], X.T, Y.T)
        for k, w, v, g, h in zip(layers, W, b, dW, db, strict=True):
            self.params[f"W{k}"], self.params[f"b{k}"] = w - self.rate * g.T, v - self.rate * h[:, None]
        return loss


class Layered:
    """A list of layer objects; the rate is fixed."""

    class Layer:
        def __init__(self, n_in, n_out):
            self.weights, self.bias = np.zeros((n_in, n_out)), np.zeros(n_out)

    def __init__(self, network):
        self.network = network
        self.layers = [self.Layer(*pair) for pair in zip(network.sizes, network.sizes[1:], strict=False)]

    def train(self, x, y):
        weights, biases = [layer.weights for layer in self.layers], [layer.bias for layer in self.layers]
        loss, dW, db = right(self.network, weights, biases, x, y)
        for layer, g, h in zip(self.layers, dW, db, strict=True):
            layer.weights = layer.weights - 0.25 * g
            layer.bias = layer.bias - 0.25 * h
        return loss


@pytest.mark.few(1)
@pytest.mark.parametrize("made", [Plain, Numbered, Layered])
def test_classes(made):
    outcome = br.verify(made)
    assert outcome.exit == 0, str(outcome)
    assert len(outcome.networks) > 20


def test_a_rate_nobody_knows_is_found_out():
    outcome = br.verify(Layered, network="3-5-4:tanh,softmax:ce")
    assert outcome.exit == 0
    assert any("0.25" in said for said in outcome.conventions), outcome.conventions


def test_classes_that_cannot_be_asked():
    class Mute:
        pass

    class Demanding(Plain):
        def __init__(self, sizes, colour):
            pass

    class Secret:
        def __init__(self, sizes):
            self.hidden = 1

        def fit(self, x, y):
            pass

    with pytest.raises(InvalidInput, match="none of the methods"):
        Model(Mute)
    assert "'colour'" in judge(Model(Demanding), CASES).cases[0].reason
    assert "no weights of shapes" in judge(Model(Secret), CASES).cases[0].reason


# ---- programs


def program(tmp_path, body, **options):
    """A Python program that has the case as `case`; `right(case)` prints the expected answer."""
    key = {case.name: to_document(case)["expected"]["reference"] for case in CASES}
    (tmp_path / "key.json").write_text(json.dumps(key))
    (tmp_path / "mine.py").write_text(
        "import json, os, sys, time\n"
        "case = json.load(sys.stdin)\n"
        f"bad = case['name'] == {BAD!r}\n"
        f"right = json.load(open({str(tmp_path / 'key.json')!r}))[case['name']]\n{body}\n"
    )
    return Program(f"{shlex.quote(sys.executable)} -S {tmp_path}/mine.py", question, **options)


def test_a_right_program_is_exact(tmp_path):
    assert judge(program(tmp_path, "print(json.dumps(right))"), CASES).verdict == "EXACT"


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("print('{')", "not JSON"),
        ("print('[' * 100000)", "nested too deeply"),
        ("print('{} {}')", "is among its keys"),
        ("sys.stdout.buffer.write(bytes([255, 254, 0]))", "not"),
        ("pass", "empty"),
        ("print('null')", "None"),
        ("print(json.dumps({'dW': 'x', 'loss': 1}))", "list"),
        ("print(json.dumps({'dW': [[[{}]]], 'loss': 1}))", "numbers"),
        ("print(json.dumps({'loss': '12'}))", "no number"),
        ("print(json.dumps({'loss': '0x' + 'f' * 400 + 'p+9999'}))", "numbers"),
        ("print('9' * 10000)", "JSON"),
        ("sys.exit(7)", "status 7"),
        ("sys.exit('I am out of ideas')", "I am out of ideas"),
        ("os.abort()", "SIGABRT"),
        ("print(json.dumps(right)); sys.exit(1)", "status 1"),
        ("time.sleep(60)", "no answer within 2 s"),
        ("\n while True: print('x' * 4096)", "MiB"),
        ("\n while True: print('x' * 4096, file=sys.stderr)", "no answer within 2 s"),
    ],
)
def test_one_bad_answer_does_not_spoil_the_others(tmp_path, bad, said):
    body = f"if bad:\n {bad}\nelse: print(json.dumps(right))"
    cases = [CASES[0], CASES[3], CASES[5]]
    submission = program(tmp_path, body, time_limit=2.0 if said.startswith("no answer") else 30.0)
    report = judge(submission, cases)
    assert [one.verdict for one in report.cases] == ["EXACT", "NO ANSWER", "EXACT"], report.cases[1].reason
    assert said in report.cases[1].reason


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999", '"nan"', '"-inf"'])
def test_numbers_that_are_not_finite_are_wrong(tmp_path, value):
    report = judge(program(tmp_path, f"print('{{\"loss\": {value}}}' if bad else json.dumps(right))"), CASES[:4])
    assert [one.verdict for one in report.cases] == ["EXACT"] * 3 + ["WRONG"]
    json.loads(json.dumps(outcome_of(report).document(), allow_nan=False))


def test_a_hanging_program_dies_with_its_children(tmp_path):
    body = (
        "if bad:\n import subprocess\n"
        f" child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f" open({str(tmp_path / 'child')!r}, 'w').write(str(child.pid))\n time.sleep(60)\n"
        "else: print(json.dumps(right))"
    )
    start = time.monotonic()
    report = judge(program(tmp_path, body, time_limit=3.0), [CASES[3]])
    assert "no answer within 3 s; killed" in report.cases[0].reason
    assert time.monotonic() - start < 30
    assert _gone(int((tmp_path / "child").read_text()))


def test_a_program_that_never_answers_is_asked_three_times(tmp_path):
    report = judge(program(tmp_path, "time.sleep(60)", time_limit=0.3), CASES)
    reasons = [one.reason for one in report.cases]
    assert all(one.startswith("no answer within 0.3 s; killed (asked for ") for one in reasons[:3])
    assert all(reason.startswith("not asked: 3 calls before had no answer") for reason in reasons[3:])


def _gone(pid):
    for _ in range(100):
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.02)
    return False


def test_a_child_that_stays_does_not_hold_the_answer_back(tmp_path):
    body = "print(json.dumps(right), flush=True)\nimport subprocess\n"
    body += "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"
    start = time.monotonic()
    assert judge(program(tmp_path, body), CASES[:1]).verdict == "EXACT"
    assert time.monotonic() - start < 30


def test_commands_that_cannot_be_run(tmp_path):
    for command in ("", "'", "./no-such-program", str(tmp_path)):
        with pytest.raises(InvalidInput, match="command"):
            judge(Program(command, question), CASES[:1])


def test_the_question_holds_no_answer():
    asked = json.loads(question(CASES[0]))
    assert "expected" not in asked
    assert {"name", "network", "weights", "biases", "x", "y", "steps", "optimizer", "batch_size"} <= set(asked)


# ---- files of answers


def reference(case, *names):
    document = to_document(case)["expected"]["reference"]
    return {"name": case.name, **{name: document[name] for name in names or document}}


@pytest.mark.parametrize("names", [("dW",), ("W", "b"), ("loss",), ("delta", "db"), ("z",), ()])
def test_partial_answers_are_judged_for_what_they_hold(tmp_path, names):
    path = tmp_path / "answers.json"
    path.write_text(json.dumps({"answers": [reference(case, *names) for case in CASES[:5]]}))
    report = judge(Answers(path), CASES)
    assert report.verdict == "EXACT"
    assert outcome_of(report).vectors == {"EXACT": 5, "NOT JUDGED": len(CASES) - 5}
    assert {name for one in report.cases for name, _ in one.verdicts} == set(names or reference(CASES[0])) - {"name"}


@pytest.mark.parametrize(
    "form",
    [
        json.dumps,
        lambda answers: "\n".join(map(json.dumps, answers)),
        lambda answers: json.dumps({answer["name"]: answer for answer in answers}),
        lambda answers: json.dumps({"cases": answers}, indent=2),
        lambda answers: json.dumps([{**answer, "case": answer["name"], "name": None} for answer in answers]),
    ],
)
def test_forms_of_a_file(tmp_path, form):
    path = tmp_path / "answers.json"
    path.write_text(form([reference(case) for case in CASES]))
    if "null" in path.read_text():
        with pytest.raises(InvalidInput, match="no name"):
            Answers(path)
    else:
        assert judge(Answers(path), CASES).verdict == "EXACT"


def test_plain_numbers_are_as_good_as_hexadecimal_ones(tmp_path):
    def plain(value):
        if isinstance(value, list):
            return [plain(part) for part in value]
        return float.fromhex(value) if value.startswith(("0x", "-0x")) else value

    answers = [{key: plain(value) for key, value in reference(case).items()} for case in CASES]
    path = tmp_path / "answers.json"
    path.write_text(json.dumps(answers))
    found = judge(Answers(path), CASES)
    assert right_in(found)
    assert all(one.verdict == "EXACT" for one in found.cases if one.case.params.dtype.name == "float64")


@pytest.mark.parametrize("text", ["", "{", "3", "[1]", '[{"dW": 1}]', '[{"name": "a"}, {"name": "a"}]', "\xff"])
def test_files_that_are_none(tmp_path, text):
    path = tmp_path / "answers.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidInput, match="answers"):
        Answers(path)


def test_wrong_lengths_and_shapes(tmp_path):
    case = next(case for case in CASES if case.network.n_layers == 2)
    answer = reference(case)
    path = tmp_path / "answers.json"
    for change, verdict in (
        ({"dW": answer["dW"][:1]}, "NO ANSWER"),
        ({"db": [*answer["db"], answer["db"][0]]}, "NO ANSWER"),
        ({"dW": [list(map(list, zip(*part, strict=True))) for part in answer["dW"]]}, "WRONG"),
        ({"delta": [part[:-1] for part in answer["delta"]]}, "WRONG"),
        ({"dx": [["0x0p+0"]]}, "WRONG"),
    ):
        path.write_text(json.dumps([{**answer, **change}]))
        report = judge(Answers(path), [case])
        assert report.cases[0].verdict == verdict, change.keys()
