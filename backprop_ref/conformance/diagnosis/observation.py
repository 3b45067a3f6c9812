"""One case of a submission, beside what the known bugs would give for it."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from backprop_ref.conformance.cases import Key, tensors
from backprop_ref.conformance.catalogue.bug import Bug, Change
from backprop_ref.conformance.catalogue.known import CATALOGUE
from backprop_ref.conformance.catalogue.textbook import FORWARD, RULES, Pass, predict, replaced
from backprop_ref.conformance.rounding.balls import Ball
from backprop_ref.conformance.rounding.precision import Precision


class Candidate(NamedTuple):
    """One form of a bug, with its number if it needs one."""

    bug: Bug
    change: Change
    number: Any = None

    @property
    def values(self):
        return {} if self.number is None else {self.bug.parameter: self.number}


class Replay:
    """An iterator that can be gone through again; each item is computed once, when it is first needed."""

    def __init__(self, source: Iterator):
        self.source, self.seen = source, list[Any]()

    def __iter__(self):
        for index in itertools.count():
            if index == len(self.seen):
                try:
                    self.seen.append(next(self.source))
                except StopIteration:
                    return
            yield self.seen[index]


class Observation:
    """One case of a submission, ready to be compared with candidates.

    Attributes
    ----------
    given : dict of (str, int) to array
        What was submitted.
    wrong : list of (str, int)
        What of it is outside the bounds, in the order of computation.
    """

    def __init__(self, evidence):
        self.case, self.name = evidence.case, evidence.case.name
        self.precision = Precision.of(self.case.params.dtype)
        self.size = self.case.params.flat.size * len(self.case.x)
        self.given = {key: np.asarray(value, dtype=np.float64) for key, value in tensors(evidence.values).items()}
        self._forwards: dict[Precision, Pass] = {}
        self._replays: dict[tuple[int, Precision], Replay] = {}
        self.expected = evidence.expected or self.case.expected
        self.slack = _widening(self.case.expected, self.expected)
        self._right: dict[Precision, dict[Key, Ball]] = {}
        if self.expected is not None:
            known = tensors(self.expected.truth)
            self.given = {key: value for key, value in self.given.items() if key in known}
        self.wrong = [key for key in self.given if not self._is_right(key)]

    @property
    def only_steps(self):
        """Whether only weights after the steps were submitted: three passes to compute instead of one."""
        return not any(key[0] in {"dW", "db", "delta"} for key in self.given)

    def _is_right(self, key):
        if self.expected is None:
            return self.agrees(key, self.right()[key])
        truth, bound = (np.asarray(tensors(part)[key]) for part in (self.expected.truth, self.expected.bound))
        given = self.given[key]
        return given.shape == truth.shape and bool(np.all(np.abs(given - truth) <= bound))

    def right(self, precision=None):
        """What is right, as `Ball` by (name, layer)."""
        precision = precision or self.precision
        if precision not in self._right:
            self._right[precision] = dict(self.predictions((), precision))
        return self._right[precision]

    def predictions(self, candidates, precision=None) -> Iterable[tuple[Key, Ball]]:
        """What the candidates together give for the quantities submitted, one after the other."""
        precision = precision or self.precision
        if len(candidates) != 1 or candidates[0].number is not None:
            return self._compute(candidates, precision)
        name = id(candidates[0].change), precision
        if name not in self._replays:
            self._replays[name] = Replay(self._compute(candidates, precision))
        return self._replays[name]

    def _compute(self, candidates, precision):
        rules = replaced(*(candidate.change for candidate in candidates))
        values = {name: number for candidate in candidates for name, number in candidate.values.items()}
        moved = any(FORWARD & candidate.change.keys() for candidate in candidates)
        forward, left = None if moved else self._forward(precision), len(self.given)
        try:
            for key, ball in predict(self.case, rules, precision, values, None, forward):
                if key in self.given:
                    left -= 1
                    yield key, ball
                if not left:
                    return
        except (ValueError, IndexError):  # the bugs' shapes do not fit together
            return

    def _forward(self, precision):
        if precision not in self._forwards:
            seen = Pass(self.case, RULES, precision, {}, self.case.x, self.case.y, len(self.case.x))
            for _ in (*seen.forward(), *itertools.islice(seen.backward(), 1)):  # z, a and the loss
                pass
            self._forwards[precision] = seen
        return self._forwards[precision]

    def agrees(self, key, ball):
        """Whether what was submitted may have come from a formula with this result."""
        given = self.given[key]
        if given.shape != ball.shape:
            return False
        allowed = 2.0 * ball.rad + self.slack.get(key, 0.0)
        return bool(np.all((np.abs(given - ball.mid) <= allowed) | np.isnan(allowed)))

    def explained(self, candidates, precision=None) -> bool | None:
        """Whether the candidates together give everything that was submitted.

        None: nothing contradicts them, but their radii are not finite, as after steps that diverge, so that nothing
        speaks for them.
        """
        seen, decided = 0, not self.wrong
        for key, ball in self.predictions(candidates, precision):
            if not self.agrees(key, ball):
                return False
            seen += 1
            decided = decided or (key in self.wrong and bool(np.all(np.isfinite(ball.rad))))
        return (True if decided else None) if seen == len(self.given) else False

    def distance(self, candidates):
        """Largest relative distance, tensor by tensor, of the candidate from what was submitted."""
        found = [_relative(self.given[key], ball.mid) for key, ball in self.predictions(candidates)]
        return max(found) if len(found) == len(self.given) else np.inf


class Effect(NamedTuple):
    """What a candidate does to one case: the keys it changes, and those it makes equal to what was submitted."""

    changed: frozenset
    fits: frozenset


def effect_of(observation, candidate, precision):
    """The `Effect` of a candidate on a case."""
    right = observation.right(precision)
    changed, fits = set(), set()
    for key, ball in observation.predictions((candidate,), precision):
        usual = right[key]
        if ball.shape != usual.shape or not np.all(np.abs(ball.mid - usual.mid) <= 2.0 * (ball.rad + usual.rad)):
            changed.add(key)
        if observation.agrees(key, ball):
            fits.add(key)
    return Effect(frozenset(changed), frozenset(fits))


def _widening(published, expected):
    """How much wider the bounds of a submission are than the published ones of the case, by (name, layer)."""
    if published is None or expected is None or expected is published:
        return {}
    narrow, wide = tensors(published.bound), tensors(expected.bound)
    return {key: np.maximum(bound - narrow[key], 0.0) for key, bound in wide.items()}


def _relative(given, mid):
    if given.shape != mid.shape:
        return np.inf
    size = max(float(np.abs(given).max(initial=0.0)), float(np.abs(mid).max(initial=0.0)))
    gap = float(np.abs(given - mid).max(initial=0.0))
    return gap / size if size else gap


def all_candidates() -> Iterator[Candidate]:
    """Every form of every bug."""
    return (Candidate(bug, change) for bug in CATALOGUE for change in bug.variants)


def open_candidates() -> Iterator[Candidate]:
    """Every form of a bug that needs a number, with a usual value of it."""
    return (Candidate(bug, change, bug.start) for bug in CATALOGUE for change in bug.fitted)
