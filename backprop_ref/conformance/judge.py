"""The whole kit on one submission: what it is asked, which conventions it has, a verdict for each tensor of each case."""

import contextlib
import math
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from backprop_ref.conformance.cases import Case, Expected, Values, tensors
from backprop_ref.conformance.conventions import (
    Declared,
    Factor,
    Layout,
    fit_factor,
    layouts,
    near,
    widened,
    without_biases,
)
from backprop_ref.conformance.decay import Decay, find_decay
from backprop_ref.conformance.submission import Answer
from backprop_ref.errors import InvalidInput
from backprop_ref.progress import Bar

EXACT, WITHIN_BOUND, WRONG = "EXACT", "WITHIN BOUND", "WRONG"


def verdict(value, reference, truth, bound):
    value, reference = np.asarray(value), np.asarray(reference)
    if value.shape != np.shape(truth):
        return WRONG
    if value.dtype == reference.dtype and value.tobytes() == reference.tobytes():
        return EXACT
    with np.errstate(all="ignore"):
        return WITHIN_BOUND if (abs(value.astype(float) - truth) <= bound).all() else WRONG


NOT_JUDGED, NO_ANSWER, UNDECLARED = "NOT JUDGED", "NO ANSWER", "UNDECLARED"
GUESS = (
    "no layout makes the loss fit, so that in use is a guess, the first that runs; declare yours with --weights, "
    "--samples, --biases"
)
ORDER = (NOT_JUDGED, EXACT, WITHIN_BOUND, WRONG, NO_ANSWER)
"""From what decides nothing to the worst: a case's verdict is the worst of its tensors'."""


class Entry(NamedTuple):
    """The entry of a tensor that is farthest outside its bound."""

    index: tuple[int, ...]
    yours: float
    truth: float
    bound: float


class Wrong(NamedTuple):
    """The first wrong quantity in the order of computation."""

    case: str
    layer: int
    quantity: str
    entry: Entry | None


@dataclass
class Judged:
    """One case: its answer in our conventions, and what is to be said of it."""

    case: Case
    answer: Answer
    values: Values | None = None
    """In our layout, divided by the factor of the loss."""
    expected: Expected | None = None
    verdicts: dict[tuple[str, int], str] = field(default_factory=dict)
    verdict: str = NOT_JUDGED
    reason: str = ""

    @property
    def first_wrong(self) -> tuple[str, int] | None:
        """Name and layer of the first wrong quantity."""
        return next((key for key, found in self.verdicts.items() if found == WRONG), None)


class Convention(NamedTuple):
    """One way in which a submission is written."""

    flag: str
    """With its value, as one would declare it."""
    how: str
    """declared, detected, or undeclared."""
    text: str


@dataclass
class Report:
    """Everything the kit has to say of one submission."""

    target: str
    verdict: str
    cases: list[Judged]
    conventions: list[Convention]
    diagnosis: list[Any]
    first_wrong: Wrong | None
    notes: list[str]
    strict: bool = False

    @property
    def exit(self) -> int:
        """0 if everything judged is right and the conventions are known, else 1."""
        return 0 if self.verdict in {EXACT, WITHIN_BOUND} else 1

    def counts(self) -> dict[str, int]:
        """How many deciding cases got which verdict."""
        deciding = [judged.verdict for judged in self.cases if judged.case.deciding or self.strict]
        return {verdict: deciding.count(verdict) for verdict in ORDER if verdict in deciding}


def judge(submission, cases, *, target="", strict=False, reload=None, diagnose=None, progress=None) -> Report:
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
        Gives the submission afresh, after the calls made to find its layout may have left something in it.
    diagnose : callable, optional
        ``diagnose(judged) -> list`` of what is wrong, for the cases that were answered.
    """
    conventions, notes = _find_layout(submission, cases)
    if reload is not None:
        submission = reload(submission)
    cases = _suited(submission, cases)
    judged = _ask(submission, cases, progress)
    conventions += _normalise(submission, judged)
    for one in judged:
        _judge(one)
    notes = _notes(submission, judged) + notes
    counting = [one for one in judged if one.case.deciding or strict]
    report = Report(target, _overall(counting, conventions), judged, conventions, [], _first(counting), notes, strict)
    if report.exit == 0:
        report.notes = [note for note in notes if note != GUESS]
    if report.verdict == WRONG and diagnose is not None:
        report.diagnosis = diagnose(counting)
    return report


# ---- the layout


def _find_layout(submission, cases) -> tuple[list[Convention], list[str]]:
    """Tries the layouts that are left open on a case or several, and keeps the one that fits."""
    if not hasattr(submission, "layouts"):
        return _layout_conventions(submission.layout, submission.declared, "declared"), []
    candidates = submission.layouts(layouts(submission.declared.layout()))
    if not candidates:
        raise InvalidInput("the layout declared does not fit the function's arguments: four of them mean no biases")
    scores: dict[Layout, int] = {}
    for case in probes(cases):
        found = _scores(submission, case, candidates)
        if max(found.values()) > max(scores.values(), default=-1):
            scores = found
        if max(scores.values()) == 3:
            break
    best = max(scores.values())
    fitting = [layout for layout, score in scores.items() if score == best]
    submission.layout = fitting[0]
    conventions = _layout_conventions(fitting[0], submission.declared, "detected" if best else "assumed")
    return conventions, _ambiguity(fitting, best)


def probes(cases):
    """Cases that tell layouts apart: all sizes and the batch distinct, none of them 1; one for each loss and output."""
    found = {}
    for case in cases:
        sizes = [*case.network.sizes, len(case.x)]
        if len(set(sizes)) == len(sizes) and 1 not in sizes and case.deciding and case.da is None and not case.weight_decay:
            found.setdefault((case.network.activations[-1], case.network.loss), case)
    return list(found.values()) or cases[:1]


def _scores(submission, case, candidates) -> dict[Layout, int]:
    """How well each layout fits on one case; the unusual ones are not tried where a usual one does."""
    scores: dict[Layout, int] = {}
    for layout in candidates:
        unusual = layout.one_sample or layout.biases == "none"
        if not unusual or max(scores.values(), default=0) < 3:
            scores[layout] = _score(submission, case, layout)
    return scores


def _score(submission, case, layout) -> int:
    """3: the loss fits, or the gradient where there is none; 2: the shapes do; 1: something came out; 0: nothing."""
    answer = submission.answer(case, layout, twice=False)
    values = answer.values
    if values is None:
        return 0
    expected = (completed_without_biases(case) if layout.biases == "none" else case).expected
    truth, bound = expected.truth, expected.bound
    if values.loss is not None and fit_factor([(case, values.loss, truth.loss, bound.loss)]).all:
        return 3
    if values.dW is None or [g.shape for g in values.dW] != [g.shape for g in truth.dW]:
        return 1
    slack = answer.slack.dW if answer.slack is not None else [np.zeros_like(g) for g in bound.dW]
    room = [one + more for one, more in zip(bound.dW, slack, strict=True)]
    return 3 if fit_factor([(case, values.dW, truth.dW, room)]).all else 2


def _layout_conventions(layout, declared, how):
    told = declared.layout()
    words = {
        "weights": {"out-in": "W is (n_out, n_in)"},
        "samples": {"columns": "samples are columns", "flat": "a sample is a vector"},
        "biases": {"row": "b is (1, n)", "column": "b is (n, 1)", "none": "no biases"},
    }
    found = []
    for name, texts in words.items():
        value = getattr(layout, name)
        if value in texts:
            known = "declared" if told[name] is not None else how
            found.append(Convention(f"--{name} {value}", known, texts[value]))
    if layout.one_sample:
        known = "declared" if told["one_sample"] else how
        found.append(Convention("--one-sample", known, "one sample at a time; their mean is judged"))
    return found


def _ambiguity(fitting, best):
    if best == 0:
        return ["no layout could be called; taken as ours"]
    if best < 3:
        return [GUESS]
    others = {layout for layout in fitting[1:] if layout[:2] != fitting[0][:2] and layout.biases == fitting[0].biases}
    if others and not fitting[0].one_sample:
        texts = ", ".join(f"--weights {layout.weights} --samples {layout.samples}" for layout in sorted(others))
        return [f"ambiguous: {texts} fits as well; if that is meant, declare it"]
    return []


_WITHOUT: dict[str, Case] = {}


def completed_without_biases(case):
    """The case without biases, and what is expected of it; needs mpmath."""
    from backprop_ref.conformance.recipes import completed

    if case.name not in _WITHOUT:
        _WITHOUT[case.name] = completed(without_biases(case))
    return _WITHOUT[case.name]


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


# ---- factors, weight decay, learning rate


def _normalise(submission, judged) -> list[Convention]:
    """Brings every answer into our conventions, and says which it had."""
    declared = submission.declared
    answered = [one for one in judged if one.answer.values is not None]
    for one in answered:
        one.values, one.expected = one.answer.values, _roomy(one.case.expected, one.answer.slack)
    found = _learning_rate(submission, answered)
    decay = None if declared.l2 is None else Decay.parse(declared.l2, declared.l2_in_loss)
    if decay is not None:
        found.append(Convention(f"--l2 {declared.l2}", "declared", decay.text()))
    losses = dict.fromkeys(one.case.network.loss for one in answered if one.case.da is None)
    for loss in losses:
        group = [one for one in answered if one.case.network.loss == loss and one.case.da is None]
        found += _normalise_loss(declared, loss, group, decay)
    return found


def _normalise_loss(declared, loss, group, decay):
    factor, decay, how = _recognise(declared, loss, group, decay)
    for one in group:
        _divide(one, factor, decay)
    found = []
    flag = f"--loss {factor.name(loss)}" if factor.name(loss) else f"--factor {str(factor).replace(' ', '')}"
    if factor != Factor():
        text = f"your {loss} is {factor.in_words(loss)}, ours {Factor().in_words(loss)}"
        if how == UNDECLARED.lower():
            text = f"no loss returned; the gradient is right if your {loss} is {factor.in_words(loss)}"
        found.append(Convention(flag, how, text))
    if decay is not None and declared.l2 is None:
        how = "detected" if decay.in_loss else UNDECLARED.lower()
        found.append(Convention(f"--l2 {decay}{'' if decay.in_loss else ' --l2-in gradient'}", how, decay.text()))
    return found


def _recognise(declared, loss, group, decay):
    """Factor, weight decay, and how they are known."""
    told = declared.factor_of(loss)
    if told is not None:
        return told, decay, "declared"
    group = [one for one in group if one.case.deciding and not one.case.weight_decay]
    with_loss = [one for one in group if one.values.loss is not None]
    if with_loss:
        fit = fit_factor([_loss_measured(one, decay) for one in with_loss])
        sound = all(_gradient_near(one, fit.factor) for one in group if one.values.dW is not None)
        if decay is not None or (fit.all and sound):
            return fit.factor, decay, "detected"
    elif any(one.values.dW is not None for one in group):
        fit = fit_factor([_gradient_measured(one, decay) for one in group if one.values.dW is not None])
        if fit.all or decay is not None:
            return fit.factor, decay, UNDECLARED.lower()
    else:
        return Factor(), decay, "assumed"
    found = find_decay([(one.case, one.values, one.expected) for one in group if one.values.dW is not None])
    if found is not None:
        return found[0], found[1], "detected" if with_loss else UNDECLARED.lower()
    keep = with_loss and 2 * fit.hits > fit.of
    return (fit.factor if keep else Factor()), decay, "detected"


def _loss_measured(one, decay):
    truth = one.expected.truth.loss
    value = one.values.loss if decay is None else one.values.loss - decay.loss(one.case)
    return one.case, value, truth, one.expected.bound.loss + (0.0 if decay is None else widened(0.0, one.values.loss))


def _gradient_near(one, factor):
    return near(one.values.dW, one.expected.truth.dW, one.expected.bound.dW, factor.of(one.case))


def _gradient_measured(one, decay):
    value = one.values.dW
    if decay is not None and len(value) == one.case.network.n_layers:
        value = [g - decay.of(one.case) * W for g, W in zip(value, one.case.params.W, strict=True)]
    return one.case, value, one.expected.truth.dW, one.expected.bound.dW


def _divide(one, factor, decay):
    """Divides what a case's answer holds by the factor, after weight decay is taken off; its bound gets room for it."""
    c, values, case = factor.of(one.case), one.values, one.case
    if c != 1.0 and case.weight_decay:
        one.values, one.reason = None, "weight decay beside a loss with another factor"
        return
    if c == 1.0 and decay is None:
        return
    changed: dict[str, Any] = {}
    if values.loss is not None:
        changed["loss"] = (float(values.loss) - (0.0 if decay is None else decay.loss(case))) / c
    for name in ("delta", "dW", "db"):
        arrays = getattr(values, name)
        if arrays is not None:
            changed[name] = [_scaled(array, c) for array in arrays]
    if values.dx is not None:
        changed["dx"] = _scaled(values.dx, c)
    room = None
    if decay is not None and values.dW is not None and len(values.dW) == case.network.n_layers:
        rate = decay.of(case)
        pairs = list(zip(values.dW, case.params.W, strict=True))
        changed["dW"] = [g.astype(np.float64) - rate * W if g.shape == W.shape else g for g, W in pairs]
        changed["dW"] = [_scaled(array, c) for array in changed["dW"]]
        u = float(np.finfo(case.params.dtype).eps)
        room = Values(dW=[u * abs(rate * W / c) + u * abs(one.expected.truth.dW[k]) for k, (_, W) in enumerate(pairs)])
    one.values = values._replace(**changed)
    one.expected = _roomy(one.expected, room, inexact=decay is not None or not factor.exact(case))


def _scaled(array, c):
    return (array / np.asarray(c, dtype=array.dtype)) if math.frexp(c)[0] == 0.5 else array.astype(np.float64) / c


def _roomy(expected: Expected, slack: Values | None, inexact=False) -> Expected:
    """The same expectations, with bounds that hold for what the way of asking adds."""
    if slack is None and not inexact:
        return expected
    bound: dict[str, Any] = {}
    for name, part in expected.bound._asdict().items():
        if part is None or name in {"z", "a", "W", "b"}:
            continue
        truth, more = getattr(expected.truth, name), None if slack is None else getattr(slack, name)
        if isinstance(part, list):
            extra = more if more is not None and len(more) == len(part) else [0.0] * len(part)
            bound[name] = [
                (widened(b, t) if inexact else b) + (e if np.shape(e) in {(), b.shape} else 0.0)
                for b, t, e in zip(part, truth, extra, strict=True)
            ]
        elif inexact:
            bound[name] = widened(part, truth)
    return expected._replace(bound=expected.bound._replace(**bound))


def _learning_rate(submission, answered):
    """The rate of an update in place; where nobody says it, the one that fits the first answer."""
    if not submission.in_place:
        return []
    text = "weights are updated in place; the gradient is (before − after) / learning rate"
    if submission.learning_rate is not None:
        how = "declared" if submission.declared.learning_rate is not None else "passed"
        return [Convention(f"--learning-rate {submission.learning_rate:g}", how, text)]
    rates = [rate for one in answered if (rate := _rate(one)) is not None]
    rate = rates[0] if rates else 1.0
    for one in answered:
        for name in ("dW", "db"):
            arrays = getattr(one.values, name)
            if arrays is not None:
                one.values = one.values._replace(**{name: [array / rate for array in arrays]})
        if one.answer.slack is not None:
            parts = {k: [a / rate for a in v] for k, v in one.answer.slack._asdict().items() if v is not None}
            one.expected = _roomy(one.case.expected, Values(**parts), inexact=True)
    return [Convention(f"--learning-rate {rate:g}", UNDECLARED.lower(), text)]


def _rate(one):
    """The learning rate that makes the last layer's weights fit best, to six digits."""
    values, truth = one.values, one.expected.truth
    if values.dW is None or not one.case.deciding or one.case.da is not None or values.dW[-1].shape != truth.dW[-1].shape:
        return None
    size = float((truth.dW[-1] ** 2).sum())
    rate = float((values.dW[-1] * truth.dW[-1]).sum()) / size if size else math.nan
    return float(f"{rate:.6g}") if math.isfinite(rate) and rate > 0.0 else None


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
    again = one.answer.again
    if again is None or one.verdict == WRONG:
        return
    first = one.answer.values
    key = next(key for key, value in tensors(first).items() if not _bits(value, tensors(again).get(key)))
    name, layer = key
    size, now = (np.asarray(tensors(values).get(key), dtype=float) for values in (first, again))
    with np.errstate(all="ignore"):
        twice = size.shape == now.shape and bool((abs(now - 2.0 * size) <= widened(0.0, now)).all())
    one.reason = f"a second, identical call gives another {name}[{layer}]"
    if twice:
        one.reason += ": twice the first, as if gradients were not set to zero before each call"
    one.verdict = one.verdicts[key] = WRONG


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
    value, truth, bound = (
        np.asarray(tensors(values)[key], dtype=np.float64)
        for values in (one.values, one.expected.truth, one.expected.bound)
    )
    if value.shape != truth.shape:
        return None
    with np.errstate(all="ignore"):
        excess = np.nan_to_num(abs(value - truth) - bound, nan=np.inf)
    index = np.unravel_index(int(excess.argmax()), value.shape) if value.ndim else ()
    where = tuple(int(i) for i in index)
    return Entry(where, float(value[where]), float(truth[where]), float(bound[where]))


# ---- notes


def _notes(submission, judged):
    notes = list(dict.fromkeys(note for one in judged for note in one.answer.notes))
    notes = [f"it {note}" for note in notes]
    failing = [one for one in judged if not one.case.deciding and one.verdict in {WRONG, NO_ANSWER}]
    extreme = [(float(max(abs(z).max() for z in one.case.expected.truth.z)), one) for one in failing]
    kinds: dict[str, tuple[float, Judged]] = {}
    for size, one in extreme:
        kind = f"{one.case.network.activations[-1]} with {one.case.network.loss}"
        if kind not in kinds or size < kinds[kind][0]:
            kinds[kind] = (size, one)
    for kind, (size, one) in kinds.items():
        what = "overflows" if _not_finite(one) else "loses its digits"
        notes.append(f"extreme values: the formula for {kind} {what} at |z| = {size:g}")
    if submission.kind == "function" and all("W" not in dict(one.verdicts) for one in judged):
        steps = not any(key[0] == "W" for one in judged for key in one.verdicts)
        if steps and any(one.verdicts for one in judged):
            notes.append("weights after three steps are not judged: the function takes no keyword steps")
    return notes


def _not_finite(one):
    if one.values is None:
        return True
    with contextlib.suppress(TypeError, ValueError):
        return not all(np.isfinite(np.asarray(value, dtype=float)).all() for value in tensors(one.values).values())
    return True
