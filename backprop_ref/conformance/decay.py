"""Weight decay inside somebody's gradient: λ·W added to dW, with ½λ·ΣW² in the loss or without."""

import math
from typing import NamedTuple

import numpy as np

from backprop_ref.conformance.cases import Case
from backprop_ref.conformance.conventions import SIMPLE, Factor, near, widened
from backprop_ref.errors import InvalidInput


class Decay(NamedTuple):
    """λ, or λ divided by the batch."""

    rate: float
    per_batch: bool = False
    in_loss: bool = True

    @classmethod
    def parse(cls, text: str, in_loss: bool = True):
        """From ``0.01`` or ``0.01/batch``."""
        number, slash, rest = text.replace(" ", "").partition("/")
        try:
            rate = float(number)
        except ValueError:
            rate = math.nan
        if not math.isfinite(rate) or rate < 0.0 or rest != ("batch" if slash else ""):
            raise InvalidInput(f"--l2 {text}: a number not below 0 is needed, or one with /batch, such as 0.01/batch")
        return cls(rate, bool(slash), in_loss)

    def of(self, case: Case) -> float:
        """λ for a case."""
        return self.rate / len(case.x) if self.per_batch else self.rate

    def loss(self, case: Case) -> float:
        """What it adds to the loss of a case."""
        return 0.5 * self.of(case) * _squares(case) if self.in_loss else 0.0

    def text(self) -> str:
        """In words."""
        where = "½λ·ΣW² in your loss and λ·W in dW" if self.in_loss else "λ·W in dW, and nothing in the loss"
        return f"L2: {where}, λ = {self}"

    def __str__(self):
        return f"{self.rate:g}{'/batch' if self.per_batch else ''}"


def find_decay(measured) -> tuple[Factor, Decay] | None:
    """The factor of the loss and the decay that explain every case, if there are such.

    Parameters
    ----------
    measured : list of (Case, Values, Expected)
    """
    if not measured:
        return None
    case, values, expected = measured[0]
    for factor in SIMPLE:
        rate = _rate(values.dW, expected.truth.dW, case, factor)
        if rate is None:
            continue
        for per_batch in (False, True):
            decay = Decay(float(f"{rate * len(case.x) ** per_batch:.6g}"), per_batch)
            if decay.rate > 0.0 and all(_gradient_fits(factor, decay, *one) for one in measured):
                return factor, decay._replace(in_loss=all(_loss_fits(factor, decay, *one) for one in measured))
    return None


def _rate(dW, truth, case, factor):
    """The λ that explains most of what is left of dW."""
    if [g.shape for g in dW] != [g.shape for g in truth]:
        return None
    rest = [g - factor.of(case) * exact for g, exact in zip(dW, truth, strict=True)]
    along = sum(float((r * W).sum()) for r, W in zip(rest, case.params.W, strict=True))
    return along / _squares(case) if math.isfinite(along) and _squares(case) > 0.0 else None


def _gradient_fits(factor, decay, case, values, expected):
    c, rate = factor.of(case), decay.of(case)
    if [g.shape for g in values.dW] != [g.shape for g in expected.truth.dW]:
        return False
    u = float(np.finfo(case.params.dtype).eps)
    return all(
        near(g, c * exact + rate * W, c * bound + u * abs(rate * W) + u * abs(c * exact))
        for g, exact, bound, W in zip(values.dW, expected.truth.dW, expected.bound.dW, case.params.W, strict=True)
    )


def _loss_fits(factor, decay, case, values, expected):
    if values.loss is None:
        return False
    c, more = factor.of(case), decay.loss(case)
    u = float(np.finfo(case.params.dtype).eps)
    room = case.params.flat.size * u * more  # ΣW² may be summed in any order
    return near(values.loss, c * expected.truth.loss + more, widened(c * expected.bound.loss + room, values.loss))


def _squares(case):
    return sum(float((W.astype(np.float64) ** 2).sum()) for W in case.params.W)
