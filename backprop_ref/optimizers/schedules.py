"""Schedules: the factor on the learning rate in each epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from backprop_ref.errors import InvalidInput, unknown
from backprop_ref.optimizers import make_plain


@dataclass(frozen=True)
class Constant:
    """The learning rate as it is.

    Examples
    --------
    >>> import backprop_ref as br
    >>> br.Constant()(5, 100)
    1.0
    """

    def __call__(self, epoch: int, epochs: int) -> float:
        """The factor on the learning rate in `epoch`, counted from 0, of `epochs`."""
        return 1.0


@dataclass(frozen=True)
class Step:
    """The learning rate times `factor` after every `every` epochs.

    Examples
    --------
    >>> import backprop_ref as br
    >>> [br.Step(every=2, factor=0.5)(epoch, 6) for epoch in range(6)]
    [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    """

    every: int = 30
    factor: float = 0.1

    def __post_init__(self) -> None:
        if isinstance(self.every, bool) or not isinstance(self.every, int) or self.every < 1:
            raise InvalidInput(f"schedule step: every={self.every!r}: a whole number of epochs, 1 or more, is needed")
        make_plain(self, "schedule step: ", factor=math.inf)

    def __call__(self, epoch: int, epochs: int) -> float:
        """`factor` multiplied with itself as often as `every` epochs have passed."""
        product = 1.0
        for _ in range(epoch // self.every):
            product *= self.factor
        return product


@dataclass(frozen=True)
class Cosine:
    """From the learning rate down to `minimum` times it along half a cosine (Loshchilov and Hutter 2017).

    `over` is the number of epochs that this takes, at `minimum` from then on; None: all epochs of the training.

    Examples
    --------
    >>> import backprop_ref as br
    >>> br.Cosine()(50, 100), br.Cosine(over=50)(25, 26)
    (0.5, 0.5)
    """

    minimum: float = 0.0
    over: int | None = None

    def __post_init__(self) -> None:
        if self.over is not None and (isinstance(self.over, bool) or not isinstance(self.over, int) or self.over < 1):
            raise InvalidInput(f"schedule cosine: over={self.over!r}: a whole number of epochs, 1 or more, is needed")
        make_plain(self, "schedule cosine: ", minimum=math.inf)

    def __call__(self, epoch: int, epochs: int) -> float:
        """``minimum + (1 − minimum)·(1 + cos(π·epoch/epochs))/2``, with our own cosine."""
        from backprop_ref.kernels import elementary

        cosine: float = elementary.for_scalars("float64").cospi(min(epoch / (self.over or epochs), 1.0))
        return self.minimum + (1.0 - self.minimum) * ((1.0 + cosine) / 2.0)


Schedule: TypeAlias = Callable[[int, int], float]
"""The factor on the learning rate in an epoch, counted from 0, of so many."""

SCHEDULES: Mapping[str, Callable[[], Schedule]] = {"constant": Constant, "step": Step, "cosine": Cosine}


def get_schedule(schedule: str | Schedule | None) -> Schedule:
    """A schedule from None (constant), a name, or any callable ``(epoch, epochs) -> factor``."""
    if schedule is None:
        return Constant()
    if isinstance(schedule, str):
        if schedule not in SCHEDULES:
            raise unknown("schedule", schedule, SCHEDULES)
        return SCHEDULES[schedule]()
    if not callable(schedule):
        raise InvalidInput(
            f"schedule {schedule!r}: a name ({', '.join(SCHEDULES)}) or a callable (epoch, epochs) -> factor is needed"
        )
    return schedule
