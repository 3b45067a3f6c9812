"""The exercises of the learning part: `verify` calls each solution right, and each mistake by its name."""

import re
from pathlib import Path

import pytest

import backprop_ref as br

PAGE = (Path(__file__).resolve().parent.parent / ".docs/learn/exercises.md").read_text(encoding="utf-8")
TEMPLATES = dict(re.findall(r'^```python title="(\w+\.py)"\n(.*?)^```$', PAGE, re.DOTALL | re.MULTILINE))
NETWORKS = dict(re.findall(r"^    backprop-ref verify (\w+\.py):gradients --network (\S+)$", PAGE, re.MULTILINE))
SOLUTIONS = re.findall(r'^```python title="solution"\n *(.*?)\n```$', PAGE, re.MULTILINE)
MISTAKES = re.findall(r"^\| `(\w+\.py)` \| `(.*)` \| `([\w-]+)` \|$", PAGE, re.MULTILINE)


def marked(name, line):
    """The outcome for an exercise whose gap is filled by this line."""
    gap = f"{line.partition(' = ')[0]} = ..."
    assert TEMPLATES[name].count(gap) == 1
    names = {}
    exec(TEMPLATES[name].replace(gap, line), names)
    return br.verify(names["gradients"], network=NETWORKS[name])


def test_every_exercise_has_a_template_a_network_a_solution_and_a_mistake():
    assert len(TEMPLATES) == len(SOLUTIONS) == 4
    assert TEMPLATES.keys() == NETWORKS.keys() == {name for name, _, _ in MISTAKES}


@pytest.mark.parametrize(("name", "line"), [*zip(TEMPLATES, SOLUTIONS, strict=True)])
def test_a_solution_is_right_and_the_gap_is_not(name, line):
    assert marked(name, line).verdict == "RIGHT"
    assert marked(name, f"{line.partition(' = ')[0]} = ...").verdict == "NOT JUDGED"


@pytest.mark.parametrize(("name", "line", "bug"), MISTAKES)
def test_a_mistake_is_called_by_its_name(name, line, bug):
    outcome = marked(name, line)
    assert outcome.verdict == "WRONG"
    assert bug in {found.id for found in outcome.findings}, str(outcome)
