"""The whole kit on one submission: every case is asked, and each tensor of each answer gets its verdict."""

import contextlib

import numpy as np

from backprop_ref.conformance.cases import Expected, Values, tensors
from backprop_ref.conformance.conventions import widened
from backprop_ref.conformance.detection import GUESS, completed_without_biases, find_layout
from backprop_ref.conformance.normalising import normalise
from backprop_ref.conformance.outcome import (
    ACCEPTABLE,
    EXACT,
    NO_ANSWER,
    NOT_JUDGED,
    ORDER,
    UNDECLARED,
    WITHIN_BOUND,
    WRONG,
    Entry,
    Judged,
    Report,
    Wrong,
)
from backprop_ref.progress import Bar


def verdict(value, reference, truth, bound):
    value, reference = np.asarray(value), np.asarray(reference)
    if value.shape != np.shape(truth):
        return WRONG
    if value.dtype == reference.dtype and value.tobytes() == reference.tobytes():
        return EXACT
    with np.errstate(all="ignore"):
        return WITHIN_BOUND if (abs(value.astype(float) - truth) <= bound).all() else WRONG


def judge(submission, cases, *, target="", strict=False, reload=None, progress=None) -> Report:
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
        Gives the function or class afresh, after the calls made to find its layout may have left something in it.
    """
    conventions, notes = find_layout(submission, cases)
    if reload is not None:
        submission.restart(reload())
    cases = _suited(submission, cases)
    judged = _ask(submission, cases, progress)
    conventions += normalise(submission, judged)
    for one in judged:
        _judge(one)
    counting = [one for one in judged if one.case.deciding or strict]
    verdict = _overall(counting, conventions)
    notes = [*_notes(submission, judged, verdict), *notes]
    if verdict == UNDECLARED:
        flags = " ".join(one.flag for one in conventions if one.how == UNDECLARED.lower())
        notes.insert(0, f"convention undeclared: if that is how yours is meant, say {flags}")
    report = Report(target, verdict, judged, conventions, [], _first(counting), notes, strict)
    if report.exit == 0:
        report.notes = [note for note in notes if note != GUESS]
    if verdict == WRONG:
        _diagnose(report, counting)
    return report


def _diagnose(report, counting):
    """What is wrong; if it is a convention, and nothing else is, the whole is acceptable."""
    with np.errstate(all="ignore"):
        report.diagnosis = _findings([one for one in counting if one.verdicts])
    certain = [found for found in report.diagnosis if found.confidence == "certain"]
    if certain and all(found.acceptable for found in certain) and not any(one.verdict == NO_ANSWER for one in counting):
        report.verdict = ACCEPTABLE


def _findings(judged):
    """What is wrong with all cases at once; else loss by loss, since a bug may be in the code of one loss only."""
    from backprop_ref.conformance.diagnose import diagnose

    found = diagnose(judged)
    if any(finding.confidence == "certain" for finding in found):
        return found
    losses = dict.fromkeys(one.case.network.loss for one in judged if one.verdict == WRONG)
    parts = [diagnose([one for one in judged if one.case.network.loss == loss]) for loss in losses]
    sure = all(any(finding.confidence == "certain" for finding in part) for part in parts)
    return list({finding.id: finding for part in parts for finding in part}.values()) if parts and sure else found


def _suited(submission, cases):
    if submission.layout.biases == "none":
        return [completed_without_biases(case) for case in cases]
    return cases


# ---- asking


def _ask(submission, cases, progress):
    judged = []
    with Bar("case", len(cases), progress) as bar:
        for case in cases:
            judged.append(Judged(case, submission.answer(case)))
            bar.update(len(judged))
    return judged


# ---- verdicts


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
    try:
        given = tensors(_expected_only(one.values, one.expected))
    except (IndexError, TypeError):
        one.verdict, one.reason = NO_ANSWER, _lengths(one.values, one.case)
        return
    expected = {kind: tensors(getattr(one.expected, kind)) for kind in Expected._fields}
    for key, value in given.items():
        one.verdicts[key] = verdict(value, *(expected[kind][key] for kind in Expected._fields))
    one.verdict = max(one.verdicts.values(), key=ORDER.index, default=NOT_JUDGED)
    if not one.verdicts:
        one.reason = "nothing in the answer is expected of this case"
    _compare_second(one)


def _compare_second(one):
    """A second, identical call has to give a right answer too."""
    again = one.again
    if again is None or one.verdict == WRONG:
        return
    first = one.values
    key = next(key for key, value in tensors(first).items() if not _bits(value, tensors(again).get(key)))
    name, layer = key
    size, now = (np.asarray(tensors(values).get(key), dtype=float) for values in (first, again))
    with np.errstate(all="ignore"):
        twice = size.shape == now.shape and bool((abs(now - 2.0 * size) <= widened(0.0, now)).all())
    one.reason = f"a second, identical call gives another {name}[{layer}]"
    if twice:
        one.reason += ": twice the first, as if gradients were not set to zero before each call"
    one.verdict = one.verdicts[key] = WRONG
    one.at_second = True


def _bits(one, two):
    return two is not None and np.asarray(one).tobytes() == np.asarray(two).tobytes()


def _expected_only(values, expected):
    """Those quantities of an answer of which the case knows what is right."""
    kept = {
        name: value
        for name, value in values._asdict().items()
        if value is not None and getattr(expected.truth, name) is not None
    }
    for name, value in kept.items():
        if isinstance(value, list) and len(value) != len(getattr(expected.truth, name)):
            raise IndexError(name)
    return Values(**kept)


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
            return Wrong(one.case.name, key[1], key[0], farthest(one, key))
    return None


def farthest(one: Judged, key) -> Entry | None:
    """The entry of a tensor that is farthest outside its bound; None where shapes differ."""
    yours = one.again if one.at_second else one.values
    assert yours is not None
    assert one.expected is not None
    value, truth, bound = (
        np.asarray(tensors(values)[key], dtype=np.float64)
        for values in (yours, one.expected.truth, one.expected.bound)
    )
    if value.shape != truth.shape:
        return None
    with np.errstate(all="ignore"):
        excess = np.nan_to_num(abs(value - truth) - bound, nan=np.inf)
    index = np.unravel_index(int(excess.argmax()), value.shape) if value.ndim else ()
    where = tuple(int(i) for i in index)
    return Entry(where, float(value[where]), float(truth[where]), float(bound[where]))


# ---- notes


def _notes(submission, judged, verdict):
    changed = dict.fromkeys(name for one in judged for name in one.changed)
    notes = [f"it changes its {' and '.join(changed)} in place"] if changed else []
    notes += _extremes(judged, digits_too=verdict != WRONG)
    if submission.kind == "function" and not any(name == "W" for one in judged for name, _ in one.verdicts):
        notes.append("weights after three steps are not judged: the function takes no keyword steps")
    return notes


def _extremes(judged, digits_too):
    """For each kind of output, the least |z| at which its formula fails.

    What is wrong throughout has nothing to do with extreme values: then only overflow is told.
    """
    sizes: dict[str, tuple[float, bool]] = {}
    for one in judged:
        if one.case.deciding or one.verdict not in {WRONG, NO_ANSWER}:
            continue
        kind = f"{one.case.network.activations[-1]} with {one.case.network.loss}"
        size, overflow = float(max(abs(z).max() for z in one.case.expected.truth.z)), _not_finite(one)
        if (overflow or digits_too) and (kind not in sizes or size < sizes[kind][0]):
            sizes[kind] = (size, overflow)
    for kind, (size, overflow) in sizes.items():
        fails = f"overflows beyond |z| = {size:g}" if overflow else f"loses its digits at |z| = {size:g}"
        yield f"extreme values decide nothing: the formula for {kind} {fails}"


def _not_finite(one):
    if one.values is None:
        return True
    with contextlib.suppress(TypeError, ValueError):
        return not all(np.isfinite(np.asarray(value, dtype=float)).all() for value in tensors(one.values).values())
    return True
