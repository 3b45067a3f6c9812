"""Everything that is asked of a submission: its rules measured, then, where it is right, the golden vectors."""

import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from backprop_ref.backends import get_backend
from backprop_ref.conformance.cases import Expected, mapped, tensors
from backprop_ref.conformance.catalogue.known import BY_ID
from backprop_ref.conformance.judging.fitting import ALMOST
from backprop_ref.conformance.judging.judge import Held, judge
from backprop_ref.conformance.judging.judged import NO_ANSWER
from backprop_ref.conformance.judging.notes import decides_nothing
from backprop_ref.conformance.judging.said import bugs_in, harmless, outcome_of, tally
from backprop_ref.conformance.judging.verdict import EXACT, WITHIN_BOUND
from backprop_ref.conformance.judging.verdict import WRONG as WRONG_TENSOR
from backprop_ref.conformance.measuring.networks import parse
from backprop_ref.conformance.measuring.submission import measure
from backprop_ref.conformance.outcomes.outcome import CONVENTION, NOT_JUDGED, RIGHT, WRONG, Finding, Outcome
from backprop_ref.conformance.running import answered as run_pass
from backprop_ref.conformance.submissions.calling import TIME_LIMIT, Costly
from backprop_ref.conformance.submissions.composing import composed
from backprop_ref.conformance.submissions.confined import confinement, lifted
from backprop_ref.conformance.submissions.conventions import Declared, Factor, Layout
from backprop_ref.conformance.submissions.functions import Function
from backprop_ref.conformance.submissions.models import Model
from backprop_ref.conformance.submissions.programs import Answers, Program
from backprop_ref.conformance.submissions.separate import Separate, outline
from backprop_ref.conformance.submissions.steps.targets import targets
from backprop_ref.conformance.vectors.documents import question
from backprop_ref.conformance.vectors.expected import completed
from backprop_ref.conformance.vectors.files import shipped_cases
from backprop_ref.conformance.vectors.recipes import make
from backprop_ref.errors import BackpropRefError, InvalidInput
from backprop_ref.formulas import LOSSES
from backprop_ref.network import Network
from backprop_ref.optimizers import SGD, Adam, describe
from backprop_ref.parameters import Parameters

UNEXPECTED: tuple[type[Exception], ...] = (Exception,)
"""What ends as NOT JUDGED if the checker itself raises it."""
FOR_VECTORS = 4.0
"""Seconds for golden vectors, of a program that is started anew for each: it is asked for the first ones."""
SMALL = 1e-6
"""A relative deviation that is no other formula: an ε, a clip, lost digits."""


def submission_of(
    target: Callable[..., object] | str | None = None,
    command: str | None = None,
    declared: Declared | None = None,
    time_limit: float = TIME_LIMIT,
    numbers: str = "decimal",
    many: bool = False,
) -> Function | Model | Program:
    """The `Function`, `Model` or `Program` to be asked.

    Parameters
    ----------
    target : str or callable
        ``file.py:name`` or ``package.module:name``, which runs in a process of its own; or a function or class.
    command : str
        A program.
    """
    declared = declared or Declared()
    if command is not None:
        return Program(command, partial(question, numbers=numbers), declared, time_limit, many=many)
    found = Separate(target, time_limit) if isinstance(target, str) else composed(target)
    kind = Model if outline(found).is_class else Function
    return kind(found, declared) if isinstance(found, Separate) else kind(found, declared, time_limit)


PUT_TOGETHER = "name a function of weights, biases, x and y, or a class with train(x, y), that makes a whole step"
TRIED = 4
"""So many functions and classes of a file are tried."""
SECONDS = 8.0
"""After so long, in processor time here and in their processes, no other one is."""


def verify_file(path: str, declared: Declared | None, time_limit: float, network: Network | str | None) -> Outcome:
    """The outcome for the first function, class or training loop of a file that can be judged, the likeliest first."""
    first: Outcome | InvalidInput | None = None
    begun, spent = time.process_time(), 0.0
    for name, is_part in targets(path)[:TRIED]:
        if isinstance(first, Outcome) and time.process_time() - begun + spent > SECONDS:
            first.reason += f"; that took over {SECONDS:g} s, so that nothing else in the file was tried: name it"
            break
        target = f"{path}:{name}"
        try:
            submission = submission_of(target, None, declared, time_limit)
            outcome = verify_submission(submission, target=target, network=network)
            spent += getattr(submission.function, "spent", 0.0) if not isinstance(submission, Program) else 0.0
        except InvalidInput as error:
            first = first or error
            continue
        if is_part and outcome.verdict != NOT_JUDGED and not (outcome.findings and _named(outcome)):
            reason = f"{name} is a layer alone; what the file makes of it is not found: {PUT_TOGETHER}"
            outcome = Outcome(target, NOT_JUDGED, reason=reason, calls=outcome.calls)
        if outcome.verdict != NOT_JUDGED:
            return outcome
        first = first if isinstance(first, Outcome) else outcome
    if isinstance(first, InvalidInput):
        raise first
    assert first is not None
    return first


def _named(outcome):
    return all(one.id in BY_ID for one in outcome.findings)


def verify_submission(
    submission: Function | Model | Program, *, target: str = "", network: Network | str | None = None
) -> Outcome:
    """Measures a submission, and holds it to the golden vectors of the networks for which it is right.

    What goes wrong in here is nothing to be held against it: then it is NOT JUDGED, with what it was.
    """
    try:
        return _verified(submission, target, network)
    except Costly as reason:
        return Outcome(target, NOT_JUDGED, reason=str(reason))
    except BackpropRefError:
        raise
    except UNEXPECTED as error:
        if sys.flags.dev_mode:
            raise
        return Outcome(target, NOT_JUDGED, reason=_unexpected(error))


def _unexpected(error):
    """What went wrong in the checker, in one line."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return (
        f"the checker itself could not read what it gives: {said} ({Path(last.filename).name}, line {last.lineno}); "
        "python -X dev -m backprop_ref verify … shows where; please report it with the code"
    )


def _verified(submission, target, network):
    chosen = parse(network) if isinstance(network, str) else network
    function = None if isinstance(submission, Program) else submission.function
    kept = confinement(isinstance(submission, Program)) if not callable(function) else None
    reload = function.afresh if isinstance(function, Separate) else None
    outcome = measure(submission, target=target, network=chosen, reload=reload)
    for name in () if function is None else outline(function).shortened:
        outcome.notes.append(f"{name}() was run for one epoch, and not for the number that stands in it")
    if kept is not None:
        outcome.prevented, outcome.not_prevented = map(list, kept)
        if outcome.verdict == NOT_JUDGED:
            outcome.reason += lifted(outcome.reason, isinstance(submission, Program))
    if outcome.verdict in {RIGHT, CONVENTION} and chosen is None and submission.sizes() is None:
        _certify(submission, outcome, reload)
    if outcome.verdict != NOT_JUDGED and (flags := _flags(submission.layout)):
        outcome.conventions.append(f"layout: {', '.join(flags)}")
    return outcome


def _flags(layout):
    """The flags that say in what a layout differs from ours."""
    ours = Layout().describe()
    flags = [f"{flag} {value}" for flag, value in layout.describe().items() if value != ours[flag]]
    return [*flags, *(["--one-sample"] if layout.one_sample and layout.samples != "flat" else [])]


def _certify(submission, outcome, reload):
    """Adds what the golden vectors say; a wrong one makes the outcome WRONG."""
    if not outcome.plain or (submission.in_place and submission.learning_rate is None):
        return  # with a rate that nobody knows, no vector has a size
    made_for = {tuple(text.split(":")[1:]) for text in outcome.networks}
    depth = submission.n_layers
    if depth is None and not submission.takes_network and all("," not in names for names, _ in made_for):
        depth = 1  # which hidden layers it is made for is not known
    cases = [case for case in shipped_cases() if _suits(case, made_for, depth)]
    steps = submission.kind == "function" and "steps" in submission.names
    if steps:
        cases += [completed(case) for case in _of_optimizers(parse(outcome.networks[0]))]
        claimed = outline(submission.function).optimizers
        cases = [case for case in cases if describe(case.optimizer)["name"] in {"sgd", "adam", *claimed}]
    if not cases or outcome.findings:
        return
    if reload is not None:
        submission.restart(reload())
    few = submission.within(FOR_VECTORS) if isinstance(submission, Program) else None
    if few is not None and few < len(cases):
        outcome.notes.append(f"asked for {few} of {len(cases)} golden vectors alone, as each case starts it anew")
        cases = cases[:few]
    held = judge(submission, cases)
    if steps and any(factor != Factor() for factor in submission.factors.values()):
        if any(factor.batch for factor in submission.factors.values()):
            cases += [completed(replace(case, batch_size=len(case.x))) for case in cases[-OPTIMIZERS:]]
            outcome.notes.append("its steps are judged for whole batches: a sum over parts of them has other sizes")
        held = judge(submission, cases)  # now with steps of the size that its gradients have
    measured = {text.split(":")[0].count("-") for text in outcome.networks}
    answered = [one for one in held.cases if one.verdict != NO_ANSWER and _answers(one, measured)]
    outcome.notes += _silent(held, answered)
    if any(_far(one) for one in answered if one.case.deciding and one.verdict == WRONG_TENSOR):
        outcome.findings = bugs_in(Held(answered, held.conventions))
        convention = harmless(outcome.findings)
        outcome.verdict = CONVENTION if convention else WRONG
        outcome.conventions = outcome.conventions if convention else []
        return
    if not _computes(submission, answered):
        outcome.verdict, outcome.conventions = WRONG, []
        text = "it answers the golden vectors, and not the same network with other numbers"
        due, found = "the gradient for any weights and data", "answers that it knows"
        outcome.findings = [Finding("known-answers", text, "dW", (), due, found, "have it compute them")]
        return
    if any(one.case.deciding and one.verdict == WRONG_TENSOR for one in answered):
        outcome.notes.append("what is WRONG in golden vectors is off in its last digits only, as by an ε or a clip")
    outcome.notes += decides_nothing(held)
    outcome.vectors = tally(Held(answered, held.conventions))


def verify_answers(path: str, declared: Declared | None = None) -> Outcome:
    """Holds a file of answers to the golden vectors that it names.

    Raises
    ------
    InvalidInput
        If it is no file of answers.
    """
    answers, cases = Answers(path, declared), shipped_cases()
    outcome = outcome_of(judge(answers, [case for case in cases if case.name in answers.found]), str(path))
    if strangers := answers.unknown(cases):
        outcome.notes.append(f"no such cases: {', '.join(strangers[:5])}{' …' if len(strangers) > 5 else ''}")
    return outcome


def _answers(one, depths):
    """Whether there is a gradient for each W: code for some depths may ignore what other weights there are."""
    dW = {} if one.values is None else tensors(one.values)
    shapes = {("dW", layer): W.shape for layer, W in enumerate(one.case.params.W)}
    return (
        one.values is None
        or one.case.network.n_layers in depths
        or all(key in dW and dW[key].shape == shape for key, shape in shapes.items())
    )


class _Repeated:
    """A submission of which the answers are known."""

    def __init__(self, submission, answers):
        self.submission, self.answers = submission, answers

    def __getattr__(self, name):
        return getattr(self.submission, name)

    def answer(self, case):
        return self.answers[case.name]


def _computes(submission, answered) -> bool:
    """Whether a case that nobody knows is answered as well as the golden vector that it is like; what is due is
    computed after the answer.
    """
    known = [
        one for one in answered if one.case.deciding and one.case.da is None and one.verdict in {EXACT, WITHIN_BOUND}
    ]
    if not known:
        return True
    one = min(known, key=lambda one: one.case.params.flat.size)
    rng, old = np.random.default_rng(), one.case
    W, b = (
        [rng.normal(0.0, size, part.shape) for part in parts]
        for size, parts in ((0.7, old.params.W), (0.4, old.params.b))
    )
    x, y = rng.normal(0.0, 1.0, old.x.shape), old.y[rng.permutation(len(old.y))]
    params = Parameters.from_arrays(W, b, old.params.dtype)
    case = replace(old, name="fresh", params=params, x=x.astype(old.x.dtype), y=y, expected=None)
    answer = submission.answer(case)
    if answer.values is None:
        return True  # which is no wrong answer
    due = run_pass(get_backend("numpy", "reproducible"), case)
    near = mapped(lambda part: np.full(np.shape(part), SMALL * max(float(np.max(np.abs(part))), 1e-3)), due)
    case = replace(case, expected=Expected(due, mapped(lambda part: np.asarray(part, np.float64), due), near))
    held = judge(_Repeated(submission, {old.name: one.answer, case.name: answer}), [old, case], progress=False)
    return not _far(held.cases[-1])


def _silent(held, answered):
    """A note on golden vectors without an answer, where others have one."""
    silent = [one for one in held.cases if one.verdict == NO_ANSWER]
    depths = {one.case.network.n_layers for one in answered}
    if not silent or not answered:
        return
    if depths.isdisjoint(one.case.network.n_layers for one in silent):
        yield f"made for {' and '.join(map(str, sorted(depths)))} layers of weights: other depths get no answer"
    else:
        more = f" and {len(silent) - 1} more" if len(silent) > 1 else ""
        yield f"no answer for {silent[0].case.name}{more}: {silent[0].reason}"


OPTIMIZERS = 3
"""So many cases `_of_optimizers` has."""


def _of_optimizers(network):
    """A case of the network with steps of each optimizer that needs more than the gradient."""
    sizes = "-".join(map(str, network.sizes))
    for optimizer, note in (
        (SGD(0.1, momentum=0.9), "momentum"),
        (SGD(0.1, momentum=0.9, nesterov=True), "nesterov"),
        (Adam(0.01), "adam"),
    ):
        yield make(sizes, network.activations, LOSSES[network.loss].short, optimizer=optimizer, note=f"{note}-made")


def _suits(case, made_for, n_layers):
    network, short = case.network, LOSSES[case.network.loss].short
    hidden = dict.fromkeys(network.activations[:-1] or ["linear"])
    kinds = [(",".join([name] * (network.n_layers - 1) + [network.activations[-1]]), short) for name in hidden]
    depth = n_layers in {None, network.n_layers}
    return depth and all(_of_any_depth(kind, made_for) for kind in kinds)


def _of_any_depth(kind, made_for):
    """Whether the hidden activation and output, whatever the depth, are among those it is made for."""
    activations, short = kind
    names = activations.split(",")
    for made, loss in made_for:
        mine = made.split(",")
        if loss == short and mine[-1] == names[-1] and (len(names) == 1 or len(mine) == 1 or mine[0] == names[0]):
            return True
    return False


def _far(one):
    """Whether a tensor of a case is wrong by more than a lost digit."""
    truth = tensors(one.expected.truth)
    for key, detail in one.details.items():
        if detail.verdict == WRONG_TENSOR:
            yours, due = np.asarray(tensors(one.values)[key], dtype=float), np.asarray(truth[key], dtype=float)
            small = 1e-3 if one.case.params.dtype == np.float32 else ALMOST if key[0] == "loss" else SMALL
            size = due - getattr(one.case.params, key[0])[key[1]] if key[0] in {"W", "b"} else due
            if yours.shape != due.shape or not np.abs(yours - due).max() <= small * max(np.abs(size).max(), 1e-300):
                return True
    return False
