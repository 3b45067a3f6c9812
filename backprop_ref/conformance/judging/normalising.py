"""Answers in our conventions: without the factor of their loss, its weight decay, and the rate of their update."""

import math
from typing import Any

import numpy as np

from backprop_ref.conformance.cases import Expected, Values
from backprop_ref.conformance.judging.decay import Decay, find_decay
from backprop_ref.conformance.judging.fitting import fit_factor, widened, within
from backprop_ref.conformance.judging.outcome import UNDECLARED, Convention
from backprop_ref.conformance.submissions.conventions import REDUCTIONS, SIMPLE, Factor, reduction

READERS = {"program", "answers"}
"""Kinds of submission that read the vectors, which state our conventions."""


def normalise(submission, judged) -> list[Convention]:
    """Brings every answer into our conventions, and says which it had."""
    declared = submission.declared
    answered = [one for one in judged if one.answer.values is not None]
    for one in answered:
        one.values, one.again = one.answer.values, one.answer.again
        one.expected, one.slack = one.case.expected, one.answer.slack
    found = _learning_rate(submission, answered)
    decay = None
    if declared.l2 is not None:
        decay = Decay.parse(declared.l2, declared.l2_in == "loss", declared.l2_on == "all")
        found.append(Convention(decay.flags, "declared", decay.text()))
    losses = dict.fromkeys(one.case.network.loss for one in answered if one.case.da is None)
    known = []
    for loss in losses:
        group = [one for one in answered if one.case.network.loss == loss and one.case.da is None]
        factor, its_decay, how = _recognise(declared, loss, group, decay)
        for one in group:
            _divide(one, factor, its_decay)
        if how == UNDECLARED.lower() and factor == Factor() and submission.kind in READERS:
            how = "assumed"
        known.append((loss, factor, how))
        if its_decay is not None and decay is None:
            how = "detected" if its_decay.in_loss else UNDECLARED.lower()
            text = f"acceptable: {its_decay.text()}" if its_decay.in_loss else its_decay.text()
            found.append(Convention(its_decay.flags, how, text))
    for one in answered:
        if one.case.da is not None:
            one.expected = _with_slack(one.expected, one.slack)
    return list(dict.fromkeys([*found, *_factors(known)]))


def _factors(known):
    """One convention for each factor that is not 1 or that nobody told, over all losses that have it."""
    groups: dict[tuple[str, str], list[tuple[str, Factor]]] = {}
    common = {factor for _, factor, _ in known}
    everywhere = next((name for name in REDUCTIONS if all(reduction(name, loss) == f for loss, f, _ in known)), "")
    for loss, factor, how in known:
        name = everywhere or (factor.name(loss) if len(common) > 1 else "")
        flag = f"--loss {name}" if name else f"--factor {str(factor).replace(' ', '')}"
        if factor != Factor() or how == UNDECLARED.lower():
            groups.setdefault((flag, how), []).append((loss, factor))
    for (flag, how), group in groups.items():
        begin = {UNDECLARED.lower(): "no loss returned; the gradient is right if ", "detected": "acceptable: "}.get(
            how, ""
        )
        if common == {Factor()}:
            yield Convention(flag, how, "no loss returned; your gradients are those of our loss, if you say so")
            continue
        if len(common) == 1 and group[0][1].over_ours:
            yield Convention(flag, how, f"{begin}your loss is {group[0][1].over_ours}")
            continue
        words: dict[tuple[str, str], list[str]] = {}
        for loss, factor in group:
            words.setdefault((factor.in_words(loss), Factor().in_words(loss)), []).append(loss)
        texts = (
            f"your {' and '.join(losses)} {'is' if len(losses) == 1 else 'are'} {yours}, ours {ours}"
            for (yours, ours), losses in words.items()
        )
        yield Convention(flag, how, begin + "; ".join(texts))


def _recognise(declared, loss, group, decay):
    """Factor, weight decay, and how they are known."""
    told = declared.factor_of(loss)
    group = [one for one in group if one.case.deciding and not one.case.weight_decay]
    with_loss = [one for one in group if one.values.loss is not None]
    with_dW = [one for one in group if one.values.dW is not None]
    known = UNDECLARED.lower() if not with_loss else "detected"
    candidates = SIMPLE if told is None else [told]
    if with_loss:
        fit = fit_factor([_loss_measured(one, decay) for one in with_loss], candidates)
    elif with_dW:
        fit = fit_factor([_gradient_measured(one, decay) for one in with_dW], candidates)
    else:
        return told or Factor(), decay, "assumed" if told is None else "declared"
    right = fit.all and all(_gradient_near(one, fit.factor) for one in with_dW)
    how = known if told is None else "declared"
    if decay is None and with_dW and not right:
        # A loss that fits says which factor it has, and that it holds no penalty.
        sure = with_loss and fit.all
        found = find_decay(with_dW, [fit.factor] if sure else candidates, in_loss=bool(with_loss) and not fit.all)
        if found is not None:
            return found[0], found[1], how
    if told is not None:
        return told, decay, how
    keep = decay is not None or fit.all or (with_loss and 2 * fit.hits > fit.of)
    return (fit.factor if keep else Factor()), decay, how if keep else "detected"


def loss_fits(one) -> bool:
    """Whether the loss as answered is right but for a usual factor."""
    exact = one.case.expected
    return (
        exact.truth.loss is not None
        and fit_factor([(one.case, one.answer.values.loss, exact.truth.loss, exact.bound.loss, None)]).all
    )


def gradient_fits(one) -> bool:
    """Whether dW, where there is one to be judged, is right but for a usual factor."""
    return one.values is not None and one.values.dW is not None and fit_factor([_gradient_measured(one, None)]).all


def _loss_measured(one, decay):
    truth = one.expected.truth.loss
    value = one.values.loss if decay is None else one.values.loss - decay.loss(one.case)
    slack = None if decay is None else widened(0.0, one.values.loss)
    return one.case, value, truth, one.expected.bound.loss, slack


def _gradient_near(one, factor):
    _, value, truth, bound, slack = _gradient_measured(one, None)
    return within(value, truth, bound, slack, factor.of(one.case))


def _gradient_measured(one, decay):
    value = one.values.dW
    if decay is not None:
        value = _without(value, decay.gradients(one.case)["dW"])
    slack = None if one.slack is None else one.slack.dW
    return one.case, value, one.expected.truth.dW, one.expected.bound.dW, slack


def _divide(one, factor, decay):
    """Divides the values of an answer by the factor, after weight decay is subtracted; the bounds allow for both."""
    c, case = factor.of(one.case), one.case
    if c != 1.0 and case.weight_decay:
        one.values, one.reason = None, "weight decay beside a loss with another factor"
        return
    slack = None if one.slack is None else _divided(one.slack, case, c, None)
    one.expected = _with_slack(one.expected, slack)
    if c == 1.0 and decay is None:
        return
    one.values = _divided(one.values, case, c, decay)
    one.again = None if one.again is None else _divided(one.again, case, c, decay)
    rounding = None
    if decay is not None:
        u, truth = float(np.finfo(case.params.dtype).eps), one.expected.truth._asdict()
        parts: dict[str, Any] = {
            name: [u * (abs(more / c) + abs(g)) for more, g in zip(added, truth[name], strict=True)]
            for name, added in decay.gradients(case).items()
            if truth[name] is not None
        }
        rounding = Values(loss=case.params.flat.size * u * decay.loss(case) / c, **parts)  # Σ of squares, in any order
    one.expected = _with_slack(one.expected, rounding, inexact=decay is not None or not factor.exact(case))


def _divided(values, case, c, decay):
    changed: dict[str, Any] = {}
    if values.loss is not None:
        changed["loss"] = (float(values.loss) - (0.0 if decay is None else decay.loss(case))) / c
    added = {} if decay is None else decay.gradients(case)
    for name in ("delta", "dW", "db"):
        arrays = getattr(values, name)
        if arrays is not None:
            changed[name] = [_scaled(array, c) for array in _without(arrays, added.get(name))]
    if values.dx is not None:
        changed["dx"] = _scaled(values.dx, c)
    return values._replace(**changed)


def _without(arrays, added):
    """Gradients without what weight decay adds to them."""
    if added is None or len(arrays) != len(added):
        return arrays
    pairs = zip(arrays, added, strict=True)
    return [g.astype(np.float64) - more if g.shape == more.shape else g for g, more in pairs]


def _scaled(array, c):
    return (array / np.asarray(c, dtype=array.dtype)) if math.frexp(c)[0] == 0.5 else array.astype(np.float64) / c


def _with_slack(expected: Expected, slack: Values | None, inexact=False) -> Expected:
    """The same expectations, with bounds that allow for the rounding errors which the way of asking adds."""
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
        else:
            bound[name] = (widened(part, truth) if inexact else part) + (0.0 if more is None else more)
    return expected._replace(bound=expected.bound._replace(**bound))


def _learning_rate(submission, answered):
    """The rate of an update in place; where nobody says it, the one that fits the first answer."""
    if not submission.in_place:
        return []
    text = "weights are updated in place; the gradient is (before − after) / learning rate"
    if submission.learning_rate is not None:
        how = "declared" if submission.declared.learning_rate is not None else "passed"
        return [Convention(f"--learning-rate {submission.learning_rate:g}", how, text)]
    rates = [rate for one in answered if one.case.da is None and (rate := _rate(one)) is not None]
    rate = rates[0] if rates else 1.0
    for one in answered:
        one.values = _at_rate(one.values, rate)
        one.again = None if one.again is None else _at_rate(one.again, rate)
        one.slack = None if one.slack is None else _at_rate(one.slack, rate)
        one.expected = _with_slack(one.expected, None, inexact=True)
    return [Convention(f"--learning-rate {rate:g}", UNDECLARED.lower(), text)]


def _at_rate(values, rate):
    lists = {name: getattr(values, name) for name in ("dW", "db") if getattr(values, name) is not None}
    return values._replace(**{name: [array / rate for array in arrays] for name, arrays in lists.items()})


def _rate(one):
    """The learning rate that makes the last layer's weights fit best, to six digits."""
    values, truth = one.values, one.expected.truth
    if values.dW is None or values.dW[-1].shape != truth.dW[-1].shape or not one.case.deciding:
        return None
    size = float((truth.dW[-1] ** 2).sum())
    rate = float((values.dW[-1] * truth.dW[-1]).sum()) / size if size else math.nan
    return float(f"{rate:.6g}") if math.isfinite(rate) and rate > 0.0 else None
