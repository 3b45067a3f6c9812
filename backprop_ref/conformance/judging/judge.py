"""Judges a submission: it is asked for every case, and each tensor of each answer gets a verdict."""

import numpy as np

from backprop_ref.conformance.cases import tensor_name, tensors
from backprop_ref.conformance.judging.detection import GUESS, UNCALLED, completed_without_biases, find_layout
from backprop_ref.conformance.judging.fitting import widened
from backprop_ref.conformance.judging.narrowing import made_for
from backprop_ref.conformance.judging.normalising import loss_fits, normalise
from backprop_ref.conformance.judging.notes import notes_on
from backprop_ref.conformance.judging.outcome import (
    ACCEPTABLE,
    NO_ANSWER,
    NOT_JUDGED,
    ORDER,
    UNDECLARED,
    Entry,
    Judged,
    Report,
    Wrong,
)
from backprop_ref.conformance.judging.verdict import EXACT, WITHIN_BOUND, WRONG, Verdict, judged
from backprop_ref.conformance.rounding.bounds import usual_errors
from backprop_ref.progress import Bar


def judge(submission, cases, *, target="", strict=False, reload=None, settled=False, progress=None) -> Report:
    """Asks a submission for every case, and judges what it answers.

    Parameters
    ----------
    submission : Function, Model, Program or Answers
    cases : list of Case
    target : str
        What the report calls it.
    strict : bool
        Whether extreme cases decide too.
    reload : callable, optional
        Imports the function or class again, since the calls that find its layout may have left something in it.
    settled : bool
        Whether the layout is known already.
    """
    conventions, notes = ([], []) if settled else find_layout(submission, cases)
    if reload is not None:
        submission.restart(reload())
    cases = _suited(submission, cases)
    asked = _ask(submission, cases, progress)
    conventions += normalise(submission, asked)
    for one in asked:
        _judge(one)
    counting = [one for one in asked if one.case.deciding or strict]
    verdict = _overall(counting, conventions)
    notes = [*notes_on(submission, asked, verdict), *notes]
    if verdict == UNDECLARED:
        flags = " ".join(one.flag for one in conventions if one.how == UNDECLARED.lower())
        notes.insert(0, f"convention undeclared: if that is how yours is meant, say {flags}")
    report = Report(target, verdict, asked, conventions, [], _first(counting), notes, strict)
    if report.exit == 0 or any(one.answer.values is not None and loss_fits(one) for one in asked):
        report.notes = [note for note in notes if note not in {GUESS, UNCALLED}]
    if verdict == WRONG:
        fitting, hint = made_for(counting)
        report.notes += hint
        _diagnose(report, counting, fitting)
    return report


def _diagnose(report, counting, fitting):
    """Adds the diagnosis; if all that is wrong is a convention, the submission is acceptable.

    Bugs that explain all cases come first, then those that explain the cases which the code seems to be written for.
    """
    with np.errstate(all="ignore"):
        report.diagnosis = _findings([one for one in counting if one.verdicts])
        if fitting and not _certain(report.diagnosis):
            # On networks that it is not written for any bug fits by chance; without a loss, so does any factor.
            known = any(one.verdict == WRONG and one.answer.values.loss is not None for one in fitting)
            report.diagnosis = _findings(fitting) if known else []
    certain = _certain(report.diagnosis)
    if certain and all(found.acceptable for found in certain) and not any(one.verdict == NO_ANSWER for one in counting):
        report.verdict = ACCEPTABLE


def _certain(findings):
    return [found for found in findings if found.confidence == "certain"]


def _findings(asked):
    """What is wrong with all cases at once; else loss by loss, since a bug may be in the code of one loss only."""
    from backprop_ref.conformance.diagnosis.diagnose import diagnose

    found = diagnose(asked)
    if _certain(found):
        return found
    losses = dict.fromkeys(one.case.network.loss for one in asked if one.verdict == WRONG)
    parts = [diagnose([one for one in asked if one.case.network.loss == loss]) for loss in losses]
    sure = all(map(_certain, parts))
    return list({finding.id: finding for part in parts for finding in part}.values()) if parts and sure else found


def _suited(submission, cases):
    if submission.layout.biases == "none":
        return [completed_without_biases(case) for case in cases]
    return cases


def _ask(submission, cases, progress):
    asked: list[Judged] = []
    with Bar("case", len(cases), progress) as bar:
        for case in cases:
            asked.append(Judged(case, submission.answer(case)))
            bar.update(len(asked))
    return asked


def _judge(one: Judged):
    """The verdict on each tensor of a case, and on the case."""
    if one.answer.left_out:
        one.reason = one.answer.left_out
        return
    if one.answer.problem:
        one.verdict, one.reason = NO_ANSWER, one.answer.problem
        return
    if one.values is None or one.expected is None:
        return
    lengths = _lengths(one.values, one.case)
    if lengths:
        one.verdict, one.reason = NO_ANSWER, lengths
        return
    one.details = _verdicts(one.values, one.expected, _usual(one.case))
    one.verdict = max((found.verdict for found in one.details.values()), key=ORDER.index, default=NOT_JUDGED)
    if not one.details:
        one.reason = "nothing in the answer is expected of this case"
    _judge_second(one)


def _usual(case):
    """By name and layer, what rounding usually does to one pass from the loss."""
    if case.da is not None:
        return {}
    return tensors(usual_errors(case.network, case.params, case.x, case.y))


def _verdicts(values, expected, usual):
    """`verdict.verdicts`, where numbers in more than the case's precision are taken as they are."""
    found = {}
    references, truths, bounds = map(tensors, expected)
    for key, value in tensors(values).items():
        if key in references:
            precise = np.asarray(value).dtype == np.float64 and key[0] != "loss"
            reference = np.asarray(references[key], dtype=np.float64) if precise else references[key]
            found[key] = judged(value, reference, truths[key], bounds[key], usual.get(key))
    return found


def _judge_second(one):
    """A second, identical call may differ by rounding, and by nothing else."""
    if one.again is None or one.verdict == WRONG:
        return
    second = {} if _lengths(one.again, one.case) else _verdicts(one.again, one.expected, {})
    key = next((key for key in one.details if key not in second or second[key].verdict == WRONG), None)
    if key is None:
        one.again = None
        return
    first, now = (np.asarray(tensors(values).get(key, np.nan), dtype=float) for values in (one.values, one.again))
    with np.errstate(all="ignore"):
        twice = first.shape == now.shape and bool((abs(now - 2.0 * first) <= widened(0.0, now)).all())
    more = ": twice the first, as if gradients were not set to zero before each call" if twice else ""
    one.reason = f"a second, identical call gives another {tensor_name(key)}{more}"
    one.details[key] = second.get(key) or Verdict(WRONG, "missing in the second call")
    one.verdict, one.at_second = WRONG, True


def _lengths(values, case):
    n = case.network.n_layers
    lists = {name: len(part) for name, part in values._asdict().items() if isinstance(part, list) and len(part) != n}
    return "; ".join(f"{name} has {length} arrays for {n} layers" for name, length in lists.items())


def _overall(counting, conventions):
    verdicts = {one.verdict for one in counting}
    if verdicts & {WRONG, NO_ANSWER}:
        return WRONG
    if not verdicts & {EXACT, WITHIN_BOUND}:
        return NOT_JUDGED
    if any(convention.how == UNDECLARED.lower() for convention in conventions):
        return UNDECLARED
    return WITHIN_BOUND if WITHIN_BOUND in verdicts else EXACT


def _first(counting):
    """The first wrong quantity of the first case that has one."""
    for one in counting:
        key = one.first_wrong
        if key is not None:
            return Wrong(one.case.name, key[1], key[0], _entry(one, key), one.details[key].words)
    return None


def _entry(one: Judged, key) -> Entry | None:
    """The first wrong entry of a tensor; None where its shape or dtype is wrong."""
    where = one.details[key].entry
    if where is None or one.expected is None:
        return None
    sources = (one.again if one.at_second else one.values, one.expected.truth, one.expected.bound)
    return Entry(where, *(float(np.asarray(tensors(values)[key])[where]) for values in sources if values is not None))
