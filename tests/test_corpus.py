"""The corpus: what it calls right is the gradient of its own loss, and what it calls wrong is not."""

import dataclasses
import functools

import numpy as np
import pytest
from corpus import classes, functions, loops, measure, truth, updates
from corpus.kinds import BY_ID, KINDS
from corpus.measure import ACCEPTED, NOT_JUDGED, WRONG, Finding, Judgement, Result
from corpus.plan import Plan

import backprop_ref as br

SEEDS = range(0, 200, 7)


@functools.cache
def singles():
    """A program with each kind of bug."""
    return [functions.single(seed) for seed in range(len(KINDS))]


def answered(program, spec=None, source=None):
    """The gradient of a program on seeded inputs, as one vector."""
    spec, batch = spec or program.spec, 1 if program.spec.layout.samples == "flat" else 7
    function = truth.load(source or program.source, program.name)
    return truth.flat(*truth.answer(spec, function, batch, 3)[1:])


@pytest.mark.few(1)
@pytest.mark.parametrize("make", [loops.right, lambda seed: functions.unknown(seed, bug=False)])
def test_right_programs_are_the_gradient_of_their_own_loss(make):
    for program in map(make, SEEDS):
        spec, source = program.spec, program.source
        if program.key.startswith(("right-any", "right-numbers", "right-steps")):
            continue
        if not spec.has_loss or spec.update or spec.float32 or spec.epsilon:  # say the same with all returned
            spec = spec.plain()
            source = Plan(spec).source()
            worst = 1e-4 if program.spec.float32 else 1e-9
            assert np.max(np.abs(answered(program) - answered(program, spec, source))) < worst, program.key
        assert truth.is_own_gradient(spec, truth.load(source, program.name)), program.key


@pytest.mark.parametrize("make", [loops.nested, loops.by_numbers, loops.any_network])
def test_functions_written_out_are_too(make):
    programs = [program for program in map(make, range(24)) if program.spec.has_loss]
    assert programs
    for program in programs:
        assert truth.is_own_gradient(program.spec, truth.load(program.source, program.name)), program.key


def test_wrong_programs_are_not():
    several = [make(seed) for make in (functions.pair, functions.triple) for seed in range(8)]
    for program in [*singles()[::4], *several]:
        if program.planted[0].rule != "state" and not program.spec.decay_keyword:
            witness = truth.load(program.witness, program.name)
            assert not truth.is_own_gradient(program.spec.plain(), witness, seeds=(31, 32)), program.key


def test_bugs_lie_in_the_layers_that_are_said():
    """A bug of dW or db touches its layers only; one of the slope or the carry leaves those above as they are."""
    seen = 0
    for program in singles():
        (bug,), spec = program.planted, program.spec
        if bug.rule not in {"dW", "db", "slope", "carry"}:
            continue
        batch = 1 if spec.layout.samples == "flat" else 7
        wrong, right = (
            truth.answer(spec, truth.load(source, spec.name), batch, 3)[1:]
            for source in (program.source, functions.text(spec, []))
        )
        touched = {
            layer
            for one, other in zip(wrong, right, strict=True)
            for layer in range(spec.net.last + 1)
            if one[layer] is not None
            and (one[layer].shape != other[layer].shape or not np.allclose(one[layer], other[layer], atol=1e-12))
        }
        above = max(bug.layers) - (bug.rule == "carry")
        allowed = set(bug.layers) if bug.rule in {"dW", "db"} else set(range(above + 1))
        assert touched <= allowed, program.key
        seen += bool(touched)
    assert seen > 40


def test_every_kind_can_be_planted():
    assert {program.planted[0].id for program in singles()} == {kind.id for kind in KINDS}


def test_bugs_in_nested_lists_show():
    for bug in loops.NESTED_BUGS:
        program = loops.nested(1, bug)
        plain = dataclasses.replace(program.spec, inner="")
        assert not np.allclose(answered(program), answered(program, plain, Plan(plain).source())), bug[0]


@pytest.mark.parametrize("program", classes.sources(), ids=lambda program: program.key)
def test_classes_make_the_step_they_should(program):
    tutorial = next(one for one in classes.TUTORIALS if program.key.startswith(f"class-{one.key}"))
    step, right = classes.taken_step(tutorial, program.source)
    assert (np.max(np.abs(step - right)) < 1e-12) == (program.expect == "right")


def test_classes_with_other_names_are_the_same_programs():
    for program in classes.programs(others=True):
        assert truth.load(program.source, program.name), program.key


def test_bugs_of_steps_show():
    for seed in range(len(updates.BUGS)):
        wrong = updates.made(seed, bug=True)
        spec = dataclasses.replace(wrong.spec, signature="lists", name="loss_and_gradients")
        right = dataclasses.replace(wrong, source=Plan(spec).source() + updates.STEPS)
        pairs = zip(updates.stepped(wrong), updates.stepped(right), strict=True)
        assert any(np.max(np.abs(one - other)) > 1e-6 for one, other in pairs), wrong.planted


def judged(program, verdict, *findings):
    """What the harness holds against such a verdict."""
    return Result(program, Judgement(verdict, int(verdict not in ACCEPTED), findings), measure.Path("a.py"))


def test_what_the_harness_counts():
    right, wrong = functions.right(1), functions.single(0)
    bug = wrong.planted[0]
    assert [judged(right, verdict).failed for verdict in (*ACCEPTED, WRONG, NOT_JUDGED)] == [
        "",
        "",
        "",
        "called wrong",
        "not judged",
    ]
    assert judged(wrong, "RIGHT").failed == "passed"
    assert judged(wrong, WRONG, Finding("nonsense"), Finding(bug.id)).failed == "not named first"
    assert judged(wrong, WRONG, Finding(bug.id)).failed == ""
    two = functions.pair(0)
    assert judged(two, WRONG, Finding(two.planted[0].id)).failed == "not all named"
    assert judged(two, WRONG, *(Finding(one.id) for one in two.planted)).failed == ""


def test_another_name_for_the_same_numbers_counts():
    program = next(p for p in singles() if p.planted[0].id == "sigmoid-extra-derivative")
    (bug,) = program.planted
    assert functions.same_numbers(program, bug, "sigmoid-extra-derivative")
    assert not functions.same_numbers(program, bug, "sign")
    assert measure.names(Finding(bug.id), bug, program)
    assert not measure.names(Finding("sign"), bug, program)
    two = functions.pair(0)
    assert all(functions.same_numbers(two, bug, bug.id) for bug in two.planted)
    assert not functions.same_numbers(two, two.planted[0], two.planted[1].id)


def test_a_factor_of_db_alone_is_one_of_dw_where_no_loss_is_returned():
    programs = (functions.wrong(f"sum {seed}", "single", lambda rng: (BY_ID["bias-sum"],)) for seed in range(40))
    program = next(p for p in programs if not p.spec.has_loss and len(p.planted[0].layers) == p.spec.net.last + 1)
    assert functions.same_numbers(program, program.planted[0], "weights-mean-twice")


@pytest.mark.more
@pytest.mark.parametrize("scale", ["4", "m"])
def test_steps_of_gradients_with_a_factor(scale):
    steps = next(one for seed in range(9) if " / m\n" in (one := updates.made(seed, bug=False).source))
    right = steps.replace(" / m\n", f" / m * {scale}\n")
    assert br.verify(truth.load(right, "gradients")).exit == 0
    for old, new in (
        ("first[i] = mu * first[i] + g", "first[i] = g"),
        ("(np.sqrt(v_hat) + eps)", "np.sqrt(v_hat + eps)"),
    ):
        assert old in right
        assert br.verify(truth.load(right.replace(old, new), "gradients")).verdict == "WRONG"


def test_loops_over_its_own_sizes_skip_no_weight():
    """With two outputs the loop over one leaves gradients of 0, as two bugs of other names do in these relus."""
    program = functions.right(7770082)
    assert br.verify(truth.load(program.source, program.name)).verdict == "RIGHT"


@pytest.mark.few(1)
@pytest.mark.parametrize("seed", [8881037, 8881057, 6661140])
def test_right_programs_that_were_once_called_wrong(seed):
    """A large gradient moves the weights far; some layer has no bias; an ε is more of the loss in other sizes."""
    program = functions.right(seed)
    assert br.verify(truth.load(program.source, program.name)).verdict == "RIGHT"


def test_a_db_that_is_no_array_in_one_layer_is_compared():
    """Answers are told apart though one layer's db has another shape than its b."""
    program = functions.wrong("of one layer 8", "single", lambda rng: (BY_ID["bias-not-summed"],))
    assert br.verify(truth.load(program.source, program.name)).verdict == "WRONG"


@pytest.mark.more
def test_a_linear_network_is_judged_where_no_other_loss_goes_with_its_output():
    program = functions.triple(169)
    assert br.verify(truth.load(program.source, program.name)).verdict == "WRONG"


MENDED = (
    (functions.unknown, 47038),  # a short step hides that weights were updated already
    *((functions.every_pair, seed) for seed in (17, 41, 72, 94, 99, 122, 128, 151, 165, 194, 227, 229, 389, 411)),
    (functions.triple, 30030),
)
"""Which delta most entries tell of; the layout that answers in distinct sizes; biases that are given; penalties beside
bugs of the forward pass or the loss; equal widths; what rounding leaves of 0."""


@pytest.mark.few(1)
@pytest.mark.parametrize(("make", "seed"), MENDED)
def test_bugs_that_were_once_hidden_are_named(make, seed):
    program = make(seed, bug=True) if make is functions.unknown else make(seed)
    outcome = br.verify(truth.load(program.source, program.name))
    findings = [Finding(one.id) for one in outcome.findings]
    assert outcome.exit == 1
    for bug in program.planted if make is not functions.unknown else ():
        assert any(measure.names(one, bug, program) for one in findings), (bug.id, [one.id for one in findings])
