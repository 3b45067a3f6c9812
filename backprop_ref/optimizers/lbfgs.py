"""L-BFGS: Newton's method with a Hessian guessed from the last steps, and a line search. For the whole data at once.

The direction is that of the two-loop recursion (Nocedal, Mathematics of Computation 35, 1980), the step that of a
search for the strong Wolfe conditions (Nocedal and Wright, Numerical Optimization, 2nd edition, algorithms 3.5 and 3.6)
with cubic interpolation and the safeguards of Schmidt's minFunc, which torch follows too. Vectors are in the
parameters' precision; numbers are binary64, and sums of products are in order, so with the same gradients come the same
bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from backprop_ref.arrays import Vector
from backprop_ref.errors import InvalidInput
from backprop_ref.optimizers import OPTIMIZERS, Optimizer, Slots, make_plain
from backprop_ref.parameters import Parameters

DECREASE, CURVATURE = 1e-4, 0.9
"""c1 and c2 of the Wolfe conditions."""


@dataclass(frozen=True)
class LBFGS:
    """L-BFGS over the whole data: each epoch is one direction and one line search, of a few evaluations.

    What is minimised is the loss plus λ/2·ΣW². Close to a minimum it gets there in far fewer epochs than the others.

    Parameters
    ----------
    learning_rate : float
        The first step that is tried, 1 in Newton's method; in the first epoch times min(1, 1/Σ|g|).
    memory : int
        Steps that the Hessian is guessed from.
    weight_decay : float
        λ, of W and not of b.
    evaluations : int
        Of a line search, at most, after the first.

    Examples
    --------
    >>> import backprop_ref as br
    >>> network = br.Network([1, 1], ["linear"], "mean_squared_error")
    >>> how = {"batch_size": None, "optimizer": br.LBFGS()}
    >>> result = br.train(network, network.init(), [[0.0], [1.0], [2.0]], [[1.0], [3.0], [5.0]], epochs=12, **how)
    >>> round(float(result.params.W[0][0, 0]), 6), round(float(result.params.b[0][0]), 6)
    (2.0, 1.0)
    """

    learning_rate: float = 1.0
    memory: int = 10
    weight_decay: float = 0.0
    evaluations: int = 25

    def __post_init__(self) -> None:
        make_plain(self, learning_rate=math.inf, weight_decay=math.inf)
        for name in ("memory", "evaluations"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 1 <= value <= 1000:
                raise InvalidInput(f"{name}={value!r}: a whole number from 1 to 1000 is needed")
            object.__setattr__(self, name, int(value))

    def init(self, flat: Vector) -> Slots:
        """The last steps s and changes of the gradient y, the newest first; 0 where there are none yet."""
        return {f"{name}{i}": np.zeros_like(flat) for name in "sy" for i in range(self.memory)}

    def penalty(self, params: Parameters) -> float:
        """None that the history's loss has."""
        return 0.0

    def rate_changes(self, slots: Slots, before: float, after: float) -> None:
        """What is remembered does not depend on the rate."""

    def remember(self, slots: Slots, s: Vector, y: Vector) -> None:
        """Puts a step in front of the others, unless it shows no curvature."""
        if dot(s, y) <= np.finfo(np.float64).eps * dot(y, y):
            return
        for name, new in (("s", s), ("y", y)):
            for i in range(self.memory - 1, 0, -1):
                slots[f"{name}{i}"][...] = slots[f"{name}{i - 1}"]
            slots[f"{name}0"][...] = new

    def direction(self, slots: Slots, g: Vector) -> Vector:
        """−H·g by the two-loop recursion; −g while nothing is known."""
        pairs = [(slots[f"s{i}"], slots[f"y{i}"]) for i in range(self.memory) if slots[f"y{i}"].any()]
        d, factors = -g, []
        for s, y in pairs:
            factors.append(dot(s, d) / dot(y, s))
            d = d - _real(g, factors[-1]) * y
        if pairs:
            s, y = pairs[0]
            d = d * _real(g, dot(y, s) / dot(y, y))
        for (s, y), factor in zip(reversed(pairs), reversed(factors), strict=True):
            d = d + _real(g, factor - dot(y, d) / dot(y, s)) * s
        return d


METHODS: Mapping[str, type[Any]] = {**OPTIMIZERS, "lbfgs": LBFGS}
"""Every optimizer, those of mini-batches and L-BFGS."""


class Point(NamedTuple):
    """Where a line search has looked: the step, the value there, its slope along the direction, and what else the
    evaluation gave."""

    t: float
    value: float
    slope: float
    found: Any


def line_search(at: Callable[[float], Point], start: Point, t: float, evaluations: int) -> Point:
    """A point that meets the strong Wolfe conditions, or the lowest that was seen within so many evaluations.

    `at` evaluates a step; `start` is step 0, whose slope is below 0; t is tried first.
    """

    def enough(point: Point) -> bool:
        return point.value <= start.value + DECREASE * point.t * start.slope

    def flat(point: Point) -> bool:
        return abs(point.slope) <= -CURVATURE * start.slope

    before, point, left = start, at(t), evaluations
    while left:  # until a minimum lies between two points
        if not enough(point) or (before is not start and point.value >= before.value):
            break
        if flat(point):
            return point
        if point.slope >= 0.0:
            break
        lower, upper = point.t + 0.01 * (point.t - before.t), 10.0 * point.t
        before, point, left = point, at(_between(before, point, lower, upper)), left - 1
    low, high = (before, point) if before.value <= point.value else (point, before)
    stuck = False
    while left and abs(high.t - low.t) > np.finfo(np.float64).eps * max(low.t, high.t):
        least, most = sorted((low.t, high.t))
        left_end, right_end = (low, high) if low.t < high.t else (high, low)
        t = _between(left_end, right_end, least, most)
        margin = 0.1 * (most - least)
        near = min(most - t, t - least) < margin
        if near and (stuck or t >= most or t <= least):
            t = most - margin if abs(t - most) < abs(t - least) else least + margin
            near = False
        stuck = near
        point, left = at(t), left - 1
        if not enough(point) or point.value >= low.value:
            high = point
            low, high = (low, high) if low.value <= high.value else (high, low)
        elif flat(point):
            return point
        else:
            high = low if point.slope * (high.t - low.t) >= 0.0 else high
            low = point
    return low


def _between(one: Point, two: Point, least: float, most: float) -> float:
    """The minimum of the cubic through two values and slopes, within bounds; else their middle (equation 3.59)."""
    middle = (least + most) / 2.0
    if not all(map(math.isfinite, (one.value, one.slope, two.value, two.slope))) or one.t == two.t:
        return middle
    first = one.slope + two.slope - 3.0 * (one.value - two.value) / (one.t - two.t)
    square = first * first - one.slope * two.slope
    if not 0.0 <= square < math.inf:
        return middle
    root = math.sqrt(square)
    below = two.slope - one.slope + 2.0 * root
    if below == 0.0:
        return middle
    t = two.t - (two.t - one.t) * ((two.slope + root - first) / below)
    return min(max(t, least), most)


def objective(loss: float, params: Parameters, grads: Parameters, weight_decay: float) -> float:
    """The loss plus λ/2·ΣW²; adds λ·W to the gradient, in place."""
    if not weight_decay:
        return loss
    squares = 0.0
    for dW, W in zip(grads.W, params.W, strict=True):
        squares += dot(W.reshape(-1), W.reshape(-1))
        dW += _real(W, weight_decay) * W
    return loss + 0.5 * weight_decay * squares


def dot(x: Vector, y: Vector) -> float:
    """Σ x·y in binary64, in order."""
    return float(np.add.accumulate(x.astype(np.float64) * y.astype(np.float64))[-1])


def size(x: Vector) -> float:
    """Σ |x| in binary64, in order."""
    return float(np.add.accumulate(np.abs(x).astype(np.float64))[-1])


def _real(like: Any, number: float) -> Any:
    """A number, rounded once to the precision of an array."""
    return like.dtype.type(number)


AnyOptimizer: TypeAlias = Optimizer | LBFGS
