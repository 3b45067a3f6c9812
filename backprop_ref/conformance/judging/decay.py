"""Weight decay inside somebody's gradient: λ·W added to dW, perhaps λ·b to db, with its penalty in the loss or not."""

import itertools
import math
from typing import NamedTuple

import numpy as np

from backprop_ref.conformance.cases import Case
from backprop_ref.conformance.judging.fitting import widened, within
from backprop_ref.conformance.submissions.conventions import Factor
from backprop_ref.errors import InvalidInput

DIGITS = 6
"""λ is worked out to so many digits, and is none where rounding leaves fewer."""


class Decay(NamedTuple):
    """λ, or λ divided by the batch."""

    rate: float
    per_batch: bool = False
    in_loss: bool = True
    on_bias: bool = False

    @classmethod
    def parse(cls, text: str, in_loss: bool = True, on_bias: bool = False):
        """From ``0.01`` or ``0.01/batch``."""
        number, slash, rest = text.replace(" ", "").partition("/")
        try:
            rate = float(number)
        except ValueError:
            rate = math.nan
        if not math.isfinite(rate) or rate < 0.0 or rest != ("batch" if slash else ""):
            raise InvalidInput(f"--l2 {text}: a number not below 0 is needed, or one with /batch, such as 0.01/batch")
        return cls(rate, bool(slash), in_loss, on_bias)

    def of(self, case: Case) -> float:
        """λ for a case."""
        return self.rate / len(case.x) if self.per_batch else self.rate

    def loss(self, case: Case) -> float:
        """What it adds to the loss of a case."""
        decayed = [*case.params.W, *(case.params.b if self.on_bias else ())]
        return 0.5 * self.of(case) * _squares(decayed) if self.in_loss else 0.0

    def gradients(self, case: Case) -> dict[str, list[np.ndarray]]:
        """What it adds to dW and db of a case."""
        parts = {"dW": case.params.W, "db": case.params.b} if self.on_bias else {"dW": case.params.W}
        return {name: [self.of(case) * w.astype(np.float64) for w in arrays] for name, arrays in parts.items()}

    @property
    def flags(self) -> str:
        """As one would declare it."""
        return f"--l2 {self}{' --l2-on all' if self.on_bias else ''}{'' if self.in_loss else ' --l2-in gradient'}"

    def text(self) -> str:
        """In words."""
        squares, added = ("Σ(W² + b²)", "λ·W in dW, λ·b in db") if self.on_bias else ("ΣW²", "λ·W in dW")
        where = f"½λ·{squares} in your loss, {added}" if self.in_loss else f"{added}, and nothing in the loss"
        return f"L2: {where}, λ = {self}"

    def __str__(self):
        return f"{self.rate:g}{'/batch' if self.per_batch else ''}"


def find_decay(answered, factors, in_loss: bool) -> tuple[Factor, Decay] | None:
    """The factor of the loss and the decay that explain every case, if there are such.

    Parameters
    ----------
    answered : list of Judged
        With dW each.
    factors : iterable of Factor
        Those that the loss may have.
    in_loss : bool
        Whether the losses hold the penalty: then they have to fit with it.
    """
    if sum(W.size for one in answered for W in one.case.params.W) < 2:
        return None  # one number is a multiple of any other
    for factor in factors:
        rates = [found for one in answered if (found := _rate(one, factor)) is not None]
        case, rate = max(rates, key=lambda found: found[1] / found[2], default=(None, None, None))[:2]
        if case is None:
            continue
        for per_batch, on_bias in itertools.product((False, True), repeat=2):
            number = float(f"{rate * len(case.x) ** per_batch:.{DIGITS}g}")
            decay = Decay(number, per_batch, in_loss, on_bias)
            fits = all(_gradient_fits(factor, decay, one) for one in answered)
            if fits and (not in_loss or all(_loss_fits(factor, decay, one) for one in answered)):
                return factor, decay
    return None


def _rate(one, factor):
    """The case, the λ that explains most of what is left of dW, and how far rounding may move it; None if too far."""
    case, truth, bound = one.case, one.expected.truth.dW, one.expected.bound.dW
    if [g.shape for g in one.values.dW] != [g.shape for g in truth] or _squares(case.params.W) == 0.0:
        return None
    c = factor.of(case)
    slack = [0.0] * len(truth) if one.slack is None else one.slack.dW
    parts = list(zip(one.values.dW, truth, bound, slack, case.params.W, strict=True))
    along = sum(float(((g - c * t) * W).sum()) for g, t, _, _, W in parts)
    allowed = sum(float(((widened(c * b, c * t) + more) * abs(W)).sum()) for _, t, b, more, W in parts)
    known = math.isfinite(along) and along > 10.0**DIGITS * allowed
    return (case, along / _squares(case.params.W), allowed / _squares(case.params.W)) if known else None


def _gradient_fits(factor, decay, one):
    case, c = one.case, factor.of(one.case)
    u = float(np.finfo(case.params.dtype).eps)
    added = decay.gradients(case)
    for name in ("dW", "db"):
        values, truth, bound = (getattr(part, name) for part in (one.values, one.expected.truth, one.expected.bound))
        if values is None:
            continue
        nothing = [0.0] * len(truth)
        more, slack = added.get(name, nothing), nothing if one.slack is None else getattr(one.slack, name)
        if len(values) != len(truth) or not all(
            within(g, c * t + m, c * b + s + u * (abs(m) + abs(c * t)))
            for g, t, m, b, s in zip(values, truth, more, bound, slack, strict=True)
        ):
            return False
    return True


def _loss_fits(factor, decay, one):
    if one.values.loss is None:
        return True
    case, c, more = one.case, factor.of(one.case), decay.loss(one.case)
    u = float(np.finfo(case.params.dtype).eps)
    rounding = case.params.flat.size * u * more  # the squares may be summed in any order
    truth, bound = one.expected.truth.loss, one.expected.bound.loss
    return within(one.values.loss, c * truth + more, widened(c * bound + rounding, one.values.loss))


def _squares(arrays):
    return sum(float((array.astype(np.float64) ** 2).sum()) for array in arrays)
