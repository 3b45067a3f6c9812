"""Answers in our conventions: without the factor of their loss, and the rate of their update."""

import math
from typing import Any

import numpy as np

from backprop_ref.conformance.cases import Expected, Values
from backprop_ref.conformance.judging.fitting import ALMOST, fit_factor, widened
from backprop_ref.conformance.submissions.conventions import OF_LOSSES, SIMPLE, Factor


def normalise(submission, judged) -> list[str]:
    """Brings every answer into our conventions, and says in which it was."""
    answered = [one for one in judged if one.answer.values is not None]
    for one in answered:
        one.values, one.again = one.answer.values, one.answer.again
        one.expected, one.slack = one.case.expected, one.answer.slack
    _learning_rate(submission, answered)
    groups: dict[str, list[Any]] = {}
    for one in answered:
        if one.case.da is None:
            groups.setdefault(one.case.network.loss, []).append(one)
        else:
            one.expected = _with_slack(one.expected, one.slack)
    losses: dict[tuple[str, str, bool], list[str]] = {}
    for loss, group in groups.items():
        factor, has_loss = _recognised(group)
        told = submission.factors.get(loss, Factor()) if hasattr(submission, "factors") else Factor()
        for one in group:
            _divide(one, factor)
            if factor not in {told, Factor()} and one.values is not None:
                one.values = one.values._replace(W=None, b=None)  # steps of other sizes
        if hasattr(submission, "factors"):
            submission.factors[loss] = factor
        if factor != Factor():
            losses.setdefault((factor.in_words(loss), Factor().in_words(loss), has_loss), []).append(loss)
    return [in_words(*words, names) for words, names in losses.items()]


def in_words(yours: str, ours: str, has_loss: bool, losses: list[str]) -> str:
    """What it means that a loss, or the gradient without one, has a factor beside ours."""
    names = " and ".join(losses)
    if has_loss:
        return (
            f"your loss ({names}) is {yours}, ours {ours}: the gradient has the same factor, which a learning rate "
            "makes up for"
        )
    return (
        f"the gradient is that of {yours} ({names}); ours of {ours}; no loss is returned that would say otherwise, and "
        "a learning rate makes up for it"
    )


def _recognised(group):
    """The factor of the losses, or of the gradients where there are none, and whether there are losses."""
    group = [one for one in group if one.case.deciding and not one.case.weight_decay]
    with_loss = [one for one in group if one.values.loss is not None]
    with_dW = [one for one in group if one.values.dW is not None]
    if not with_loss and not with_dW:
        return Factor(), False
    measured = [_loss_measured(one) for one in with_loss] or [_gradient_measured(one) for one in with_dW]
    factors = OF_LOSSES if with_loss else SIMPLE
    fit = fit_factor(measured, factors)
    if (with_loss and 2 * fit.hits <= fit.of) or not (with_loss or fit.all):  # lost digits hide no factor
        fit = fit_factor([(*one[:4], _almost(one[1])) for one in measured], factors)
    return fit.factor if fit.all or (with_loss and 2 * fit.hits > fit.of) else Factor(), bool(with_loss)


def _almost(value):
    """What lost digits, or an ε in a logarithm, may make of a number, or of each array of a list."""
    if isinstance(value, list):
        return [_almost(array) for array in value]
    return ALMOST * np.abs(np.asarray(value, dtype=float)).max(initial=0.0)


def loss_fits(one) -> bool:
    """Whether the loss as answered is right but for a usual factor."""
    exact, loss = one.case.expected, one.answer.values.loss
    return exact.truth.loss is not None and fit_factor([(one.case, loss, exact.truth.loss, exact.bound.loss, None)]).all


def gradient_fits(one) -> bool:
    """Whether dW, where there is one to be judged, is right but for a usual factor."""
    return one.values is not None and one.values.dW is not None and fit_factor([_gradient_measured(one)]).all


def _loss_measured(one):
    return one.case, one.values.loss, one.expected.truth.loss, one.expected.bound.loss, None


def _gradient_measured(one):
    slack = None if one.slack is None else one.slack.dW
    return one.case, one.values.dW, one.expected.truth.dW, one.expected.bound.dW, slack


def _divide(one, factor):
    """Divides the values of an answer by the factor; the bounds allow for that."""
    c, case = factor.of(one.case), one.case
    if c != 1.0 and case.weight_decay:
        one.values, one.reason = None, "weight decay beside a loss with another factor"
        return
    slack = None if one.slack is None else _divided(one.slack, c)
    one.expected = _with_slack(one.expected, slack, inexact=not factor.exact(case))
    if c != 1.0:
        one.values = _divided(one.values, c)
        one.again = None if one.again is None else _divided(one.again, c)


def _divided(values, c):
    changed: dict[str, Any] = {}
    if values.loss is not None:
        changed["loss"] = float(values.loss) / c
    for name in ("delta", "dW", "db"):
        arrays = getattr(values, name)
        if arrays is not None:
            changed[name] = [None if array is None else _scaled(array, c) for array in arrays]
    if values.dx is not None:
        changed["dx"] = _scaled(values.dx, c)
    return values._replace(**changed)


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
                (widened(b, t) if inexact else b) + (e if e is not None and np.shape(e) in {(), b.shape} else 0.0)
                for b, t, e in zip(part, truth, extra, strict=True)
            ]
        else:
            bound[name] = (widened(part, truth) if inexact else part) + (0.0 if more is None else more)
    return expected._replace(bound=expected.bound._replace(**bound))


def _learning_rate(submission, answered):
    """Where weights are updated in place at a rate that nobody says, the one that fits the first answer."""
    if not submission.in_place or submission.learning_rate is not None:
        return
    rates = [rate for one in answered if one.case.da is None and (rate := _rate(one)) is not None]
    rate = rates[0] if rates else 1.0
    for one in answered:
        one.values = _at_rate(one.values, rate)
        one.again = None if one.again is None else _at_rate(one.again, rate)
        one.slack = None if one.slack is None else _at_rate(one.slack, rate)
        one.expected = _with_slack(one.expected, None, inexact=True)


def _at_rate(values, rate):
    lists = {name: getattr(values, name) for name in ("dW", "db") if getattr(values, name) is not None}
    divided = {name: [None if one is None else one / rate for one in arrays] for name, arrays in lists.items()}
    return values._replace(**divided)


def _rate(one):
    """The learning rate that makes the last layer's weights fit best, to six digits."""
    values, truth = one.values, one.expected.truth
    if values.dW is None or values.dW[-1].shape != truth.dW[-1].shape or not one.case.deciding:
        return None
    size = float((truth.dW[-1] ** 2).sum())
    rate = float((values.dW[-1] * truth.dW[-1]).sum()) / size if size else math.nan
    return float(f"{rate:.6g}") if math.isfinite(rate) and rate > 0.0 else None
