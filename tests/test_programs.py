"""Programs as submissions: decimal or hexadecimal numbers, many cases to a process, steps, and their complaints."""

import json
import shlex
import sys

import numpy as np
import pytest

from backprop_ref.cli import run
from backprop_ref.conformance.judging.judge import judge
from backprop_ref.conformance.judging.said import outcome_of
from backprop_ref.conformance.submissions.programs import Program
from backprop_ref.conformance.vectors.documents import from_document, question, to_document
from backprop_ref.conformance.vectors.files import shipped_cases

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
    assert reasons(report)[1] == "it ended with status 1: no idea"
    assert reasons(report)[3] == "no answer within 2 s; killed"
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
    assert reason.endswith("first | second \\x1b[31mred | third")


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
