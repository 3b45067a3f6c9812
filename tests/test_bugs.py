"""backprop-ref bugs: the catalogue in words, and exercises that verify can be pointed at."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from backprop_ref.cli import run
from backprop_ref.cli.conformance.bugs import ORDER
from backprop_ref.conformance.catalogue.known import BY_ID, CATALOGUE
from backprop_ref.conformance.exercises.exercise import drawn

ROOT = Path(__file__).resolve().parent.parent


def test_every_bug_is_listed_with_its_formulas_and_remedy(capsys):
    assert run(["bugs"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for bug in CATALOGUE:
        for part in (f"{bug.id}: {bug.text}", bug.right, bug.wrong, bug.hint):
            assert " ".join(part.split()) in text, bug.id
    assert {bug.where for bug in CATALOGUE} == set(ORDER)


def test_one_bug_in_full(capsys):
    assert run(["bugs", "updated-weights", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["right"] == BY_ID["updated-weights"].right
    assert found["number"] == "learning rate"
    assert found["cases"]
    assert f"{len(found['cases'])} of " in found["shows"]
    assert run(["bugs", "--json"]) == 0
    assert found in json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["bugs", "update-weights"], "did you mean 'updated-weights'?"),
        (["bugs", "--exercise"], "give the file to write"),
        (["bugs", "--out", "x.py"], "go with --exercise"),
        (["bugs", "sign", "--exercise", "--seed", "2", "--out", "x.py"], "give one of them"),
        (["bugs", "sign", "--exercise", "--out", "none/x.py"], "in a folder that exists"),
    ],
)
def test_a_mistake_is_one_line(words, said, capsys):
    assert run(words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.more
def test_an_exercise_and_its_solution(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["bugs", "derivative-at-activation", "--exercise", "--out", "mine.py"]) == 0
    capsys.readouterr()
    assert run(["verify", "mine.py:gradients", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["findings"][0]["id"] == "derivative-at-activation"
    assert run(["verify", "mine-solution.py:gradients"]) == 0
    assert run(["bugs", "sign", "--exercise", "--out", "mine.py"]) == 2


def test_a_seed_draws(tmp_path):
    texts = set()
    for seed in (1, 2, 3):
        for name in ("one", "two"):
            assert run(["bugs", "--exercise", "--seed", str(seed), "--out", str(tmp_path / f"{name}{seed}.py")]) == 0
        one, two = ((tmp_path / f"{name}{seed}.py").read_text() for name in ("one", "two"))
        assert one == two
        texts.add(one)
    assert len(texts) > 1


def test_the_page_is_current():
    done = subprocess.run(
        [sys.executable, ROOT / "ci/bugs_page.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_exercise_that_is_drawn_is_a_convention():
    every = {drawn(seed) for seed in range(2000)}
    assert len(every) > 100
    assert not any(BY_ID[bug].acceptable for bug in every)
    assert "leaky-slope-other" not in every
