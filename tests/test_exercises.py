"""The exercises: each program has the gradient that the catalogue's formula gives, and its solution is right."""

import re

import numpy as np
import pytest
from submissions import usual_cases

from backprop_ref.conformance.cases import Values, tensors
from backprop_ref.conformance.catalogue.known import BY_ID, CATALOGUE
from backprop_ref.conformance.catalogue.textbook import RULES, predict, replaced
from backprop_ref.conformance.exercises.edits import EDITS, OF_STEPS
from backprop_ref.conformance.exercises.exercise import exercise
from backprop_ref.conformance.rounding.balls import Ball
from backprop_ref.conformance.rounding.precision import Precision
from backprop_ref.optimizers import describe

CASES = sorted(
    (
        case
        for case in usual_cases()
        if "extreme" not in case.flags and case.da is None and case.params.dtype == "float64"
    ),
    key=lambda case: case.params.flat.size * len(case.x),
)
OF_STATE = [bug.id for bug in CATALOGUE if not (bug.variants or bug.fitted)]
GIVEAWAYS = re.compile(r"bug|wrong|mistake|error[^\"]*planted|should|todo|fixme|exercise", re.IGNORECASE)


def loaded(text):
    """The function of a program."""
    space: dict = {"__name__": "program"}
    exec(compile(text, "program.py", "exec"), space)
    return space["gradients"]


def answered(function, case, in_steps):
    """What a program gives for a case, by name and layer."""
    given = (case.network, list(case.params.W), list(case.params.b), case.x, case.y)
    with np.errstate(all="ignore"):
        loss, dW, db = function(*given, **({"weight_decay": case.weight_decay} if case.weight_decay else {}))
        how = {"steps": 3, "optimizer": describe(case.optimizer), "batch_size": case.batch_size}
        W, b = function(*given, **how) if in_steps else (None, None)
    return tensors(Values(loss=loss, dW=dW, db=db, W=W, b=b))


def predicted(case, keys, form=None):
    """What the catalogue's formula gives for these quantities."""
    values = {bug.parameter: Ball.exact(bug.start, Precision.of("float64")) for bug in CATALOGUE if bug.parameter}
    if form is not None and form[0].parameter:
        values |= {form[0].parameter: Ball.exact(form[0].start, Precision.of("float64"))}
    with np.errstate(all="ignore"):
        balls = predict(case, RULES if form is None else replaced(form[1]), values=values)
        found = {}
        for key, ball in balls:
            if key in keys:
                found[key] = ball
            if len(found) == len(keys):
                break
    return found


def same(given, balls):
    """Whether a program's numbers may have come from the formula."""
    return all(
        np.shape(given[key]) == ball.shape and np.all(np.abs(given[key] - ball.mid) <= 2.0 * ball.rad)
        for key, ball in balls.items()
    )


def test_every_bug_has_an_exercise():
    assert EDITS.keys() == BY_ID.keys()


@pytest.mark.few(30)
@pytest.mark.parametrize("bug", [bug for bug in EDITS if bug not in OF_STATE])
def test_a_program_computes_the_catalogue_s_formula(bug):
    made, in_steps = exercise(bug), bug in OF_STEPS
    assert not GIVEAWAYS.search(made.program)
    wrong, right = loaded(made.program), loaded(made.solution)
    left, seen = [(BY_ID[bug], form) for form in (*BY_ID[bug].variants, *BY_ID[bug].fitted)], set()
    for case in (case for case in CASES if bug in case.flags):
        given, usual = answered(wrong, case, in_steps), answered(right, case, in_steps)
        assert same(usual, predicted(case, usual))
        left = [form for form in left if same(given, predicted(case, given, form))]
        if not same(given, predicted(case, given)):
            seen.add(case.network.activations[-1])
        if len(seen) == 2:
            break
    assert seen, "it is right"
    assert left, "no form of the catalogue gives these numbers"


def test_the_exercises_of_state():
    case = CASES[-1]
    given = (case.network, list(case.params.W), list(case.params.b), case.x)
    found = {bug: loaded(exercise(bug).program) for bug in OF_STATE}
    y = case.y.copy()
    found["inputs-changed"](*given, y)
    assert not np.array_equal(y, case.y)
    first, second = (found["second-call-differs"](*given, case.y) for _ in range(2))
    assert not np.array_equal(first[1][0], second[1][0])
    right = loaded(exercise("float32-inside").solution)(*given, case.y)[1][0]
    gap = np.abs(found["float32-inside"](*given, case.y)[1][0] - right).max()
    assert np.finfo(np.float64).eps * 100 < gap < np.finfo(np.float32).eps * 10
