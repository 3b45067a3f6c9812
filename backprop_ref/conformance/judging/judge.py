"""Holds a submission to golden vectors: it is asked for each, and each tensor of each answer gets a verdict."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from backprop_ref.conformance.cases import Case, tensor_name, tensors
from backprop_ref.conformance.judging.fitting import widened
from backprop_ref.conformance.judging.judged import NO_ANSWER, NOT_JUDGED, ORDER, Judged
from backprop_ref.conformance.judging.normalising import normalise
from backprop_ref.conformance.judging.verdict import WRONG, Verdict, judged
from backprop_ref.conformance.rounding.bounds import usual_errors
from backprop_ref.progress import Bar


class Held(NamedTuple):
    """What came of every case, and the conventions in which the answers differ from ours."""

    cases: list[Judged]
    conventions: list[str]

    @property
    def deciding(self) -> list[Judged]:
        """The cases that decide: those of usual numbers."""
        return [one for one in self.cases if one.case.deciding]

    @property
    def verdict(self) -> str:
        """The worst verdict of a deciding case."""
        return max((one.verdict for one in self.deciding), key=ORDER.index, default=NOT_JUDGED)


def judge(submission, cases: Iterable[Case], progress: bool | None = None) -> Held:
    """Asks a submission for cases, in its layout, and judges what it answers.

    Parameters
    ----------
    submission : Function, Model, Program or Answers
    cases : list of Case
    progress : bool, optional
        Whether to show a bar; default: on a terminal.
    """
    asked: list[Judged] = []
    cases = list(cases)
    with Bar("case", len(cases), progress) as bar:
        for case in cases:
            asked.append(Judged(case, submission.answer(case)))
            bar.update(len(asked))
    conventions = normalise(submission, asked)
    for one in asked:
        _judge(one)
    return Held(asked, conventions)


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
