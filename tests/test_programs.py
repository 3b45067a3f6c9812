"""Programs as submissions: decimal or hexadecimal numbers, many cases to a process, steps, and their complaints."""

import json
import shlex
import sys

import numpy as np
import pytest

from backprop_ref.cli import run
from backprop_ref.conformance.judging.judge import judge
from backprop_ref.conformance.judging.said import outcome_of
from backprop_ref.conformance.measuring import grouping
from backprop_ref.conformance.measuring.verify import verify_submission
from backprop_ref.conformance.submissions import programs
from backprop_ref.conformance.submissions.calling import Refusal
from backprop_ref.conformance.submissions.programs import Program
from backprop_ref.conformance.vectors.documents import from_document, question, to_document
from backprop_ref.conformance.vectors.files import shipped_cases
from backprop_ref.errors import InvalidInput

CASES = [case for case in shipped_cases() if case.da is None and not case.weight_decay and case.deciding][:6]


@pytest.fixture
def program(tmp_path):
    """Makes a Program of Python text that has `right`, the expected answers by name of case."""
    key = {case.name: to_document(case)["expected"]["reference"] for case in CASES}
    (tmp_path / "key.json").write_text(json.dumps(key))

    def make(body, **options):
        start = f"import json, sys, time\nright = json.load(open({str(tmp_path / 'key.json')!r}))\n"
        (tmp_path / "mine.py").write_text(start + body)
        return Program(f"{shlex.quote(sys.executable)} -S {tmp_path}/mine.py", options.pop("ask", question), **options)

    return make


MANY = """
started = open(__file__ + ".starts", "a").write("x")
for line in sys.stdin:
    case = json.loads(line)
    print(json.dumps(right[case["name"]]), flush=True)
"""


def reasons(report):
    return [one.reason for one in report.cases]


@pytest.mark.parametrize("numbers", ["decimal", "hex"])
def test_numbers_are_exact_either_way(numbers):
    for case in shipped_cases():
        asked = json.loads(question(case, numbers))
        value = asked["weights"][0][0][0]
        assert isinstance(value, float if numbers == "decimal" else str)
        assert "\n" not in question(case, numbers)

        again = from_document({**_hex(asked), "expected": to_document(case)["expected"]})
        assert again.params.flat.tobytes() == case.params.flat.tobytes()
        assert again.x.tobytes() == case.x.tobytes()
        assert again.optimizer == case.optimizer


def _hex(value):
    """Every float as hexadecimal text."""
    if isinstance(value, dict):
        return {key: _hex(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_hex(part) for part in value]
    return value.hex() if isinstance(value, float) else value


def test_many_cases_to_one_process(program, tmp_path):
    submission = program(MANY, many=True)
    report = judge(submission, CASES)
    assert report.verdict == "EXACT", reasons(report)
    submission.process.close()
    assert (tmp_path / "mine.py.starts").read_text() == "x"


def test_a_process_that_ends_or_hangs_is_started_again(program, tmp_path):
    bad = f"""
    if case["name"] == {CASES[1].name!r}: sys.exit("no idea")
    if case["name"] == {CASES[3].name!r}: time.sleep(60)
"""
    body = MANY.replace("    print(", bad + "    print(")
    report = judge(program(body, many=True, time_limit=2.0), CASES)
    assert [one.verdict for one in report.cases] == ["EXACT", "NO ANSWER", "EXACT", "NO ANSWER", "EXACT", "EXACT"]
    assert reasons(report)[1].startswith("it ended with status 1: no idea (asked for ")
    assert reasons(report)[3].startswith(
        "no answer within 2 s; it has to answer each line at once, and flush that; killed"
    )
    assert (tmp_path / "mine.py.starts").read_text() == "xxx"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("print(json.dumps(right[case['name']])); break", "it ended without an answer; with --many"),
        ("break", "it ended without an answer; with --many"),
        ("print('{}\\n{}', flush=True)", "none of loss"),
        ("print(json.dumps(right[case['name']]) + '\\n{}', flush=True)", "it wrote more than one line for a case"),
    ],
)
def test_programs_that_are_not_for_many(program, answer, said):
    body = f"for line in sys.stdin:\n    case = json.loads(line)\n    {answer}"
    submission = program(body, many=True, time_limit=5.0)
    problems = [submission.answer(case).problem for case in CASES[:2]]
    assert problems[0] == "" or said in problems[0]
    assert said in problems[1]


@pytest.mark.parametrize(
    "body",
    [
        "sys.exit('first\\nsecond \\x1b[31mred\\nthird')",
        "print('{', flush=True)\nprint('first\\nsecond \\x1b[31mred\\nthird', file=sys.stderr)",
    ],
)
def test_what_it_complains_of_is_shown(program, body):
    (reason,) = reasons(judge(program(f"sys.stdin.read()\n{body}"), CASES[:1]))
    assert "first | second \\x1b[31mred | third (asked for " in reason


STEP = """
case = json.load(sys.stdin)
number = lambda part: [number(p) for p in part] if isinstance(part, list) else float.fromhex(part)
minus = lambda w, g: [minus(*p) for p in zip(w, g)] if isinstance(w, list) else w - RATE * float.fromhex(g)
key = right[case["name"]]
before = {"W": case["weights"], "b": case["biases"]}
after = {"W": minus(before["W"], key["dW"]), "b": minus(before["b"], key["db"])}
answer = {"loss": key["loss"], "before": before, "after": after, "learning_rate": RATE}
CHANGE
print(json.dumps(answer))
"""


@pytest.mark.parametrize("rate", ["0.1", "0.5"])
def test_weights_before_and_after_one_step(program, rate):
    report = judge(program(STEP.replace("RATE", rate).replace("CHANGE", "")), CASES)
    assert report.verdict == "WITHIN BOUND", reasons(report)
    assert {"dW[0]", "db[0]"} <= {name for one in report.cases for name in map(_name, one.verdicts)}
    uphill = "flip = lambda u, v: list(map(flip, u, v)) if isinstance(u, list) else 2 * u - v\n"
    uphill += "answer['after'] = {k: flip(before[k], after[k]) for k in before}"
    wrong = judge(program(STEP.replace("RATE", rate).replace("CHANGE", uphill)), CASES)
    assert (wrong.verdict, outcome_of(wrong).findings[0].id) == ("WRONG", "sign")


def _name(key):
    return f"{key[0]}[{key[1]}]"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("del answer['after']", "after is missing"),
        ("del answer['learning_rate']", "learning_rate, that of the step, is None"),
        ("answer['learning_rate'] = 0", "learning_rate is 0.0, and not above 0"),
        ("before['W'][0][0][0] += 1", "W in before is not W of the case"),
        ("del after['b']", "b in after has the shapes None"),
    ],
)
def test_a_step_that_cannot_be_read(program, change, said):
    (reason,) = reasons(judge(program(STEP.replace("RATE", "0.5").replace("CHANGE", change)), CASES[:1]))
    assert said in reason


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--answers", "x.json", "--many"], "--many goes with --command"),
        (["--answers", "x.json", "--numbers", "hex"], "--numbers goes with --command"),
        (["--command", "cat", "--numbers", "decimals"], "did you mean 'decimal'"),
    ],
)
def test_flags_without_effect_are_refused(words, said, capsys):
    assert run(["verify", *words]) == 2
    assert said in capsys.readouterr().err


def test_slack_is_no_wider_than_rounding(program):
    """A step hides of dW what rounding of the weights does, and not much more."""
    answer = program(STEP.replace("RATE", "0.5").replace("CHANGE", "")).answer(CASES[0])
    for slack, W in zip(answer.slack.dW, CASES[0].params.W, strict=True):
        assert np.all(slack <= 40 * np.finfo(np.float64).eps * (1.0 + np.abs(W)))


# ---- programs as people write them, in this process


class Told:
    """In the place of a process: what a function writes for a case."""

    def __init__(self, write):
        self.write = write

    def ask(self, text, seconds, by_line):
        try:
            return self.write(json.loads(text)).encode()
        except NotImplementedError:
            raise Refusal("it ended with status 1: not made for this") from None

    def said(self, before=""):
        return ""

    def close(self):
        pass


@pytest.fixture
def told(monkeypatch):
    """Makes a Program that writes what a function does."""

    def make(write, **options):
        monkeypatch.setattr(programs, "Process", lambda words, limit: Told(write))
        return Program("mine", question, **options)

    return make


def backprop(case, slope=lambda a: a * (1.0 - a), dtype=float):
    """Sigmoids and the mean squared error, or the sum over the outputs of that name, whatever the rest is."""
    W, b = ([np.array(part, dtype) for part in case[name]] for name in ("weights", "biases"))
    a, y, size = [np.array(case["x"], dtype)], np.array(case["y"], dtype), np.size(case["y"])
    if case["network"]["loss"] == "sum_squared_error":
        size = len(y)
    for weights, biases in zip(W, b, strict=True):
        a.append(1.0 / (1.0 + np.exp(-(a[-1] @ weights + biases))))
    error, dW, db = a[-1] - y, [], []
    delta = 2.0 * error / dtype(size) * a[-1] * (1.0 - a[-1])
    for layer in reversed(range(len(W))):
        dW.insert(0, a[layer].T @ delta)
        db.insert(0, delta.sum(axis=0))
        delta = delta @ W[layer].T * slope(a[layer])
    return {"loss": (error**2).sum() / dtype(size), "dW": dW, "db": db}


def written(answer, form=repr):
    """The answer as JSON, each number in a form."""
    if isinstance(answer, dict):
        return "{" + ", ".join(f'"{key}": {written(part, form)}' for key, part in answer.items()) + "}"
    if isinstance(answer, list | np.ndarray):
        return "[" + ", ".join(written(part, form) for part in answer) + "]"
    return form(answer)


def shortest(number):
    return str(np.format_float_positional(number))


def for_one_network(case):
    if case["network"]["loss"] != "mean_squared_error" or set(case["network"]["activations"]) != {"sigmoid"}:
        raise NotImplementedError
    return case


def for_squares(case):
    if case["network"]["loss"] not in {"mean_squared_error", "sum_squared_error"}:
        raise NotImplementedError
    return case


@pytest.mark.parametrize("made_for", [for_one_network, for_squares, lambda case: case])
@pytest.mark.few(1)
def test_what_a_program_is_made_for_is_found_out(told, made_for):
    right = verify_submission(told(lambda case: written(backprop(made_for(case)), shortest)))
    assert right.verdict == "RIGHT", right
    assert "3-5-4:sigmoid,sigmoid:mse" in right.networks
    wrong = verify_submission(told(lambda case: written(backprop(made_for(case), lambda a: 1.0 - a), shortest)))
    assert wrong.verdict == "WRONG"
    assert wrong.findings[0].layers == (0,)


@pytest.mark.parametrize("form", [lambda number: f"{number:.6g}", lambda number: f"{number:f}", shortest])
@pytest.mark.parametrize("dtype", [float, np.float32])
@pytest.mark.few(1)
def test_few_digits_are_no_bug(told, form, dtype):
    submission = told(lambda case: written(backprop(for_one_network(case), dtype=dtype), form))
    assert verify_submission(submission).verdict == "RIGHT"
    wrong = told(lambda case: written(backprop(for_one_network(case), lambda a: a, dtype), form))
    assert verify_submission(wrong).verdict == "WRONG"


def test_a_program_that_is_slow_is_asked_less(told, monkeypatch):
    monkeypatch.setattr(grouping, "SECONDS", 0.0)
    outcome = verify_submission(told(lambda case: written(backprop(for_squares(case)), shortest)))
    assert outcome.verdict == "RIGHT"
    assert any("not asked for every other size" in note for note in outcome.notes)
    refused = verify_submission(told(lambda case: for_one_network({**case, "network": {"loss": ""}})))
    assert "if it is made for one network only, say which: network='2-2-1:" in refused.reason


DECAY = next(case for case in shipped_cases() if case.weight_decay)
UPSTREAM = next(case for case in shipped_cases() if case.da is not None)


@pytest.mark.parametrize(("case", "key"), [(DECAY, "weight_decay"), (UPSTREAM, "da")])
@pytest.mark.parametrize("many", [True, False])
def test_what_a_program_does_not_read_is_not_held_against_it(told, case, key, many):
    answer = {"loss": 1.0, "dW": [W.tolist() for W in case.params.W]}
    assert told(lambda asked: json.dumps(answer), many=many).answer(case).left_out == f"it does not read {key}"
    reads = told(lambda asked: json.dumps({**answer, "loss": 1.0 if asked[key] else 2.0}), many=many)
    assert reads.answer(case).values.loss == 1.0


SHAPED = json.dumps({"loss": 0.5, "dW": [(0.0 * W).tolist() for W in CASES[0].params.W]})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"layers: 3\n{SHAPED}\n", ""),
        (f"{SHAPED}\ndone in 3 ms\n", ""),
        (f"[1] first\n  {SHAPED}\n", "is not JSON"),
        (f"{SHAPED}\n{SHAPED}\n", "is not JSON"),
        ("epoch 1\n", "what it tells people belongs on standard error"),
        (SHAPED.replace("[0.0", "[[0.0", 1), "dW"),
        (SHAPED[:-4], "is not JSON"),
    ],
)
def test_what_a_program_prints_beside_its_answer(told, text, said):
    problem = told(lambda case: text).answer(CASES[0]).problem
    assert said in problem if said else not problem


@pytest.mark.parametrize("word", ["NaN", "nan", "-nan", "-nan(0x7)", "inf", "-Infinity", "null"])
def test_numbers_that_are_none(told, word):
    values = told(lambda case: SHAPED.replace("[0.0", f"[{word}", 1)).answer(CASES[0]).values
    assert not np.isfinite(values.dW[0].flat[0])
    assert np.isfinite(values.dW[0].flat[1:]).all()


def test_shapes_that_do_not_fit_are_said(told):
    turned = json.dumps({"dW": [W.T.tolist() for W in CASES[0].params.W]})
    problem = told(lambda case: turned).answer(CASES[0]).problem
    n_in, n_out = CASES[0].params.W[0].shape
    assert f"dW[0] has the shape ({n_out}, {n_in}), and W[0] ({n_in}, {n_out})" in problem
    assert "weights='out-in'" in problem
    assert f"with {len(CASES[0].x)} samples" in problem


NODE = "x.js:3\n  throw e\n  ^\n\nError: no tanh\n    at f (x.js:3)\n    at g (x.js:9)\n\nNode.js v20"
JAVA = 'Exception in thread "main" E: no tanh\n\tat A.f(A.java:3)\n\t... 3 more'
RUST = "thread 'main' panicked at x.rs:3:5:\nno tanh\nnote: run with `RUST_BACKTRACE=1`"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (NODE, "Error: no tanh"),
        (JAVA, 'Exception in thread "main" E: no tanh'),
        (RUST, "thread 'main' panicked at x.rs:3:5: | no tanh"),
    ],
)
def test_of_a_stack_the_error_is_shown(program, lines, said):
    problem = program(f"sys.exit({lines!r})").answer(CASES[0]).problem
    assert problem.startswith(f"it ended with status 1: {said} (asked for ")


@pytest.mark.parametrize("command", ["cd x && ./mine", "./mine | tail -1", "./mine > x"])
def test_a_command_for_a_shell_names_one(command):
    with pytest.raises(InvalidInput, match="sh -c"):
        Program(command, question)
