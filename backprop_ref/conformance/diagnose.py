"""Which known bug explains a wrong submission? The catalogue is run on the very cases, and compared within bounds.

The search goes from the simple to the involved, and ends at the first step that explains every wrong case and
contradicts no right one: one bug; one bug with a number that is worked out from the submission (a learning rate, an
epsilon); two bugs; and the same once more as if the submission were computed in float32. Then bugs that explain some of
the wrong cases. What is left is *unknown*, with the nearest candidates.

A submission and a candidate are both computed in floating point, so they may differ by twice the radius that
`backprop_ref.conformance.rounding.balls` gives the candidate. A bug is *certain* if it alone, of the whole catalogue,
explains everything; *possible* if others do as well; *likely* if it explains a part, or is one of the common members of
several pairs.
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from backprop_ref.conformance import not_finite
from backprop_ref.conformance.cases import Case, Expected, Values, tensors
from backprop_ref.conformance.catalogue.bug import Bug, Change
from backprop_ref.conformance.catalogue.known import BY_ID, CATALOGUE
from backprop_ref.conformance.catalogue.textbook import FORWARD, RULES, Pass, predict, replaced
from backprop_ref.conformance.rounding.balls import Ball
from backprop_ref.conformance.rounding.precision import Precision

Key = tuple[str, int]
STEPS = 8  # of the secant method: most numbers enter linearly, and are found in one
TRIES = 8  # cases for which no bug is found, until the search is given up
TRIALS = 4000  # pairs of bugs that are tried, at most
SCALES = ("missing-mean", "mean-twice", "mean-over-outputs", "sum-over-outputs", "missing-two", "extra-two")
ROUNDED = 16  # rounding to float32 leaves an error above u/16 in most tensors, even in those of one entry
COST = 20  # of three steps of training, in trials of one gradient


@dataclass(frozen=True)
class Evidence:
    """What was submitted for one case.

    Attributes
    ----------
    case : Case
    values : Values
        In our conventions, whatever part of them was given.
    expected : Expected, optional
        With wider bounds than the case's own, where the way of asking adds rounding errors.
    again : Values, optional
        What a second, identical call gave, if it differs.
    changed : tuple of str
        Names of the arguments that the call changed.
    """

    case: Case
    values: Values
    expected: Expected | None = None
    again: Values | None = None
    changed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """A bug, and why it is thought to be there; `case`, `quantity` and `layer` say where it first shows."""

    id: str
    confidence: str
    text: str
    evidence: str
    right: str = ""
    wrong: str = ""
    hint: str = ""
    case: str = ""
    quantity: str = ""
    layer: int = 0
    acceptable: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As a JSON-ready dictionary."""
        return asdict(self)


class Suspect(NamedTuple):
    """One form of a bug, with its number if it needs one."""

    bug: Bug
    change: Change
    number: Any = None

    @property
    def values(self):
        return {} if self.number is None else {self.bug.parameter: self.number}


def diagnose(evidence: Iterable[Any]) -> list[Finding]:
    """Names what is wrong with a submission.

    Parameters
    ----------
    evidence : iterable of Evidence
        Every judged case, right ones too: they rule candidates out. Cases without values are passed over.

    Returns
    -------
    list of Finding
        The most certain first; empty if everything is right.
    """
    usable = [one for one in evidence if one.values is not None and _complete(one)]
    state = _state(usable)
    broken = not_finite.describe(usable)
    if broken is not None:
        state.append(Finding(**broken))
        usable = [one for one in usable if not not_finite.missing_numbers(one)]
    with np.errstate(all="ignore"):
        exhibits = [Exhibit(one) for one in usable]
        wrong = sorted(
            (one for one in exhibits if one.wrong), key=lambda one: (len(one.case.x) == 1, -len(one.wrong), one.size)
        )
        if not wrong:
            return state
        right = sorted((one for one in exhibits if not one.wrong), key=lambda one: one.size)
        return [*state, *_search(wrong, right)]


def _complete(one):
    """Whether there is an array for each layer of what is given."""
    lists = [part for part in one.values if isinstance(part, list | tuple)]
    return all(len(part) == one.case.network.n_layers for part in lists)


class Replay:
    """What an iterator gives, as often as needed, and computed as far as needed."""

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


class Exhibit:
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
        own, self.expected = self.case.expected, evidence.expected or self.case.expected
        self.room = _widening(own, self.expected)
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

    def predictions(self, suspects, precision=None) -> Iterable[tuple[Key, Ball]]:
        """What the suspects together give for the quantities submitted, one after the other."""
        precision = precision or self.precision
        if len(suspects) != 1 or suspects[0].number is not None:
            return self._compute(suspects, precision)
        name = id(suspects[0].change), precision
        if name not in self._replays:
            self._replays[name] = Replay(self._compute(suspects, precision))
        return self._replays[name]

    def _compute(self, suspects, precision):
        rules = replaced(*(suspect.change for suspect in suspects))
        values = {name: number for suspect in suspects for name, number in suspect.values.items()}
        moved = any(FORWARD & suspect.change.keys() for suspect in suspects)
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
        room = 2.0 * ball.rad + self.room.get(key, 0.0)
        return bool(np.all((np.abs(given - ball.mid) <= room) | np.isnan(room)))

    def explained(self, suspects, precision=None) -> bool | None:
        """Whether the suspects together give everything that was submitted.

        None: nothing contradicts them, but their radii are not finite, as after steps that diverge, so that nothing
        speaks for them.
        """
        seen, decided = 0, not self.wrong
        for key, ball in self.predictions(suspects, precision):
            if not self.agrees(key, ball):
                return False
            seen += 1
            decided = decided or (key in self.wrong and bool(np.all(np.isfinite(ball.rad))))
        return (True if decided else None) if seen == len(self.given) else False

    def distance(self, suspects):
        """Largest relative distance, tensor by tensor, of the candidate from what was submitted."""
        found = [_relative(self.given[key], ball.mid) for key, ball in self.predictions(suspects)]
        return max(found) if len(found) == len(self.given) else np.inf


def _widening(own, roomy):
    """How much wider bounds are than the case's own, by (name, layer)."""
    if own is None or roomy is None or roomy is own:
        return {}
    narrow, wide = tensors(own.bound), tensors(roomy.bound)
    return {key: np.maximum(bound - narrow[key], 0.0) for key, bound in wide.items()}


def _relative(given, mid):
    if given.shape != mid.shape:
        return np.inf
    size = max(float(np.abs(given).max(initial=0.0)), float(np.abs(mid).max(initial=0.0)))
    gap = float(np.abs(given - mid).max(initial=0.0))
    return gap / size if size else gap


# ---- the search ----------------------------------------------------------------------------------------------------


def _search(wrong, right):
    explained = _singles(wrong, right, None) or _pairs(wrong, right, None)
    if explained:
        return _named(explained, wrong, None)
    single = Precision.of(np.float32)
    explained = _singles(wrong, right, single) if any(one.precision != single for one in wrong) else []
    explained = [group for group in explained if _gap(group, wrong) > single.u / ROUNDED]
    if explained:
        return _named(explained, wrong, single)
    found, left = _partly(wrong, right)
    return found + (_unknown(left, right) if left else [])


def _suspects() -> Iterator[Suspect]:
    """Every form of every bug."""
    return (Suspect(bug, change) for bug in CATALOGUE for change in bug.variants)


def _fitted() -> Iterator[Suspect]:
    """Every form of a bug that needs a number, with a usual value of it."""
    return (Suspect(bug, change, bug.start) for bug in CATALOGUE for change in bug.fitted)


def _singles(wrong, right, precision):
    """Bugs that explain every case, each as a group of one."""
    if precision is not None and all(one.explained((), precision) for one in (*wrong, *right)):
        return [()]
    found = {}
    for suspect in _suspects():
        if suspect.bug.id not in found and _explains((suspect,), wrong, right, precision):
            found[suspect.bug.id] = (suspect,)
    for suspect in () if found else _fitted():
        known = None if suspect.bug.id in found else _with_number((), suspect, wrong, right, precision)
        if known:
            found[suspect.bug.id] = known
    return list(found.values())


def _explains(suspects, wrong, right, precision):
    """Whether the suspects together are contradicted by no case, and explain one."""
    decided = False
    for one in itertools.chain(wrong, right):
        verdict = one.explained(suspects, precision)
        if verdict is False:
            return False
        decided = decided or verdict is True
    return decided


def _with_number(others, suspect, wrong, right, precision):
    """The suspects with the number that makes them fit everything; None if there is none."""
    for exhibit in wrong:
        estimate = _estimate(exhibit, others, suspect, precision)
        if estimate is None:
            continue
        for number in estimate:
            group = (*others, suspect._replace(number=number))
            if _explains(group, wrong, right, precision):
                return group
        return None
    return None


def _estimate(exhibit, others, suspect, precision):
    """The number that a suspect needs to fit a case: the shortest decimal within the precision, and the number itself.

    By the secant method on the entry that depends on it most, in the first quantity that does; None if none does.
    """
    unit, start = precision or exhibit.precision, suspect.bug.start

    def results(number):
        group = (*others, suspect._replace(number=Ball.exact(number, unit)))
        return exhibit.predictions(group, precision)

    both = zip(results(start), results(2.0 * start), strict=False)
    found = ((key, one, two, _most_sensitive(exhibit.given[key], one, two)) for (key, one), (_, two) in both)
    first = next((one for one in found if one[-1] is not None), None)
    if first is None:
        return None
    key, now, before, index = first
    theta, last = start, 2.0 * start
    for _ in range(STEPS):
        slope = (now.mid[index] - before.mid[index]) / (theta - last)
        room, step = 2.0 * now.rad[index] / abs(slope), (exhibit.given[key][index] - now.mid[index]) / slope
        if not np.isfinite(step):
            return None
        theta, last = theta + step, theta
        if abs(step) <= room or theta == last:
            break
        before, now = now, next((ball for other, ball in results(theta) if other == key), None)
        if now is None or now.mid[index] == before.mid[index]:
            break
    short = _shortest(theta - room, theta + room)
    return [Ball.exact(short, unit), Ball(np.asarray(theta), np.asarray(room), unit)]


def _most_sensitive(given, now, before):
    """Index of the entry whose change is largest beside its radius; None if nothing changes."""
    if now.shape != before.shape or now.shape != given.shape or not given.size:
        return None
    change = np.abs(now.mid - before.mid)
    usable = np.isfinite(change) & (change > now.rad + before.rad)
    ratio = np.where(usable, change / np.maximum(now.rad, now.precision.tiny), 0.0)
    return np.unravel_index(int(ratio.argmax()), ratio.shape) if usable.any() else None


def _shortest(low, high):
    """The number with the fewest decimal digits between low and high."""
    middle = 0.5 * (low + high)
    return next((x for d in range(1, 18) if low <= (x := float(f"{middle:.{d}g}")) <= high), middle)


# ---- two bugs ------------------------------------------------------------------------------------------------------


class Effect(NamedTuple):
    """What a suspect does to one case: the keys it changes, and those it makes equal to what was submitted."""

    changed: frozenset
    fits: frozenset


def _effect(exhibit, suspect, precision):
    right = exhibit.right(precision)
    changed, fits = set(), set()
    for key, ball in exhibit.predictions((suspect,), precision):
        usual = right[key]
        if ball.shape != usual.shape or not np.all(np.abs(ball.mid - usual.mid) <= 2.0 * (ball.rad + usual.rad)):
            changed.add(key)
        if exhibit.agrees(key, ball):
            fits.add(key)
    return Effect(frozenset(changed), frozenset(fits))


def _pairs(wrong, right, precision):
    """Pairs of bugs that explain every case.

    What only one of two bugs changes it has to explain alone, and together they have to change all that is wrong: that
    leaves few pairs to be tried. Those whose members come nearest by themselves are tried first.
    """
    probe, found = wrong[0], {}
    usual = probe.right(precision)
    amiss = frozenset(key for key in probe.given if not probe.agrees(key, usual[key]))
    suspects = [*_suspects(), *(one._replace(number=Ball.exact(one.number, probe.precision)) for one in _fitted())]
    effects = {index: _effect(probe, suspect, precision) for index, suspect in enumerate(suspects)}
    near = {index: probe.distance((suspects[index],)) for index, effect in effects.items() if effect.changed}
    active = sorted(near, key=lambda index: near[index])
    trials = TRIALS // COST if probe.only_steps else TRIALS
    for i, j in sorted(itertools.combinations(range(len(active)), 2), key=sum):
        one, two = suspects[active[i]], suspects[active[j]]
        if one.bug.id == two.bug.id or (one.bug.id, two.bug.id) in found:
            continue
        if not _plausible(effects[active[i]], effects[active[j]], amiss, one.bug.parameter, two.bug.parameter):
            continue
        group = _composed(one, two, wrong, right, precision)
        if group:
            found[one.bug.id, two.bug.id] = group
        trials -= 1
        if not trials:
            break
    return list(found.values()) or _pairs_apart(suspects, effects, wrong, right, precision)


def _plausible(one, two, amiss, one_open, two_open):
    """Whether what only one of the two changes is explained by it alone; a bug with an open number may yet do so."""
    if not amiss <= one.changed | two.changed:
        return False
    alone, other = one.changed - two.changed, two.changed - one.changed
    return (alone <= amiss if one_open else alone <= one.fits) and (other <= amiss if two_open else other <= two.fits)


def _composed(one, two, wrong, right, precision):
    """The two in the order that explains everything; None if neither does."""
    if one.bug.parameter and two.bug.parameter:
        return None
    if one.bug.parameter or two.bug.parameter:
        fixed, open_ = (two, one) if one.bug.parameter else (one, two)
        return _with_number((fixed,), open_._replace(number=None), wrong, right, precision)
    orders = [(one, two)] + ([(two, one)] if one.change.keys() & two.change.keys() else [])
    return next((pair for pair in orders if _explains(pair, wrong, right, precision)), None)


def _pairs_apart(suspects, effects, wrong, right, precision):
    """Pairs of which only one bug shows on the first case, and the other on a later one."""
    probe, found = wrong[0], {}
    for index, effect in effects.items():
        one = suspects[index]
        if one.bug.parameter or not effect.changed or len(effect.fits) < len(probe.given):
            continue
        rest = next((exhibit for exhibit in wrong[1:] if exhibit.explained((one,), precision) is False), None)
        if rest is None:
            continue
        for two in _suspects():
            if two.bug.id == one.bug.id or (one.bug.id, two.bug.id) in found:
                continue
            if rest.explained((one, two), precision) and _explains((one, two), wrong, right, precision):
                found[one.bug.id, two.bug.id] = (one, two)
    return list(found.values())


# ---- a part of the cases -------------------------------------------------------------------------------------------


def _partly(wrong, right):
    """Bugs that explain some of the wrong cases and contradict none of the right ones; and the cases left."""
    findings, left, unsolved = list[Finding](), list(wrong), list[Exhibit]()
    while left and len(unsolved) < (2 if left[0].only_steps else TRIES):
        exhibit = left[0]
        able = [suspect for suspect in _suspects() if exhibit.explained((suspect,))]
        able = [suspect for suspect in able if all(other.explained((suspect,)) is not False for other in right)]
        solved = [[one for one in left if one.explained((suspect,))] for suspect in able]
        most = max(map(len, solved), default=0)
        best = {
            suspect.bug.id: (suspect, ones) for suspect, ones in zip(able, solved, strict=True) if len(ones) == most
        }
        for suspect, _ in best.values():
            confidence = "likely" if len(best) == 1 else "possible"
            findings.append(_finding(suspect, confidence, f"explains {most} of {len(wrong)} wrong cases", exhibit))
        gone = {id(one) for _, ones in best.values() for one in ones} | {id(exhibit)}
        unsolved += [] if best else [exhibit]
        left = [one for one in left if id(one) not in gone]
    return findings, unsolved + left


# ---- findings ------------------------------------------------------------------------------------------------------


def _named(groups, wrong, precision):
    """Findings for groups of bugs each of which explains everything."""
    inside = [_float32_inside(wrong[0], _gap(groups[0], wrong))] if precision is not None else []
    ids = [[suspect.bug.id for suspect in group] for group in groups]
    findings = {}
    for group in groups:
        for suspect in group:
            in_all = all(suspect.bug.id in others for others in ids)
            confidence = "certain" if len(groups) == 1 else "likely" if in_all else "possible"
            if confidence == "certain" and (_weak(suspect, group, wrong) or _conventional(suspect, wrong)):
                confidence = "likely"
            if suspect.bug.id not in findings:
                findings[suspect.bug.id] = _finding(suspect, confidence, _evidence(group, suspect, wrong), wrong[0])
    ranks = ["certain", "likely", "possible"]
    return sorted(findings.values(), key=lambda finding: ranks.index(finding.confidence)) + inside


def _weak(suspect, group, wrong):
    """Whether a number was fitted to so little that it would fit anything, or says only that there is some factor."""
    if not suspect.bug.parameter:
        return False
    entries = sum(int(one.given[key].size) for one in wrong for key in one.wrong)
    factor_only = suspect.bug.id == "learning-rate-folded" and not any(
        float(suspect.number.mid) == one.case.optimizer.learning_rate for one in wrong
    )
    return entries <= len(group) or factor_only


def _conventional(suspect, wrong):
    """Whether the bug is a factor which a loss that nobody returned may have as well."""
    return suspect.bug.id in SCALES and not any(("loss", 0) in one.given for one in wrong)


def _evidence(group, suspect, wrong):
    exhibit = wrong[0]
    shares = [
        float(
            np.max(np.abs(exhibit.given[key] - ball.mid) / np.maximum(2.0 * ball.rad, ball.precision.tiny), initial=0.0)
        )
        for key, ball in exhibit.predictions(group)
    ]
    count = sum(exhibit.given[key].size for exhibit in wrong for key in exhibit.wrong)
    parts = [f"'{suspect.bug.wrong}' gives all {count} wrong entries of {len(wrong)} cases within their bounds"]
    parts.append(f"largest share of a bound on {exhibit.name}: {max(shares, default=0.0):.2g}")
    if suspect.number is not None:
        parts.append(f"{suspect.bug.parameter} = {float(suspect.number.mid):.6g}")
    if len(group) > 1:
        parts.append("together with " + ", ".join(other.bug.id for other in group if other is not suspect))
    ratio = _ratio(exhibit)
    return "; ".join([*parts, *([ratio] if ratio else [])])


def _ratio(exhibit):
    """The one factor between what was submitted and what is right, of the first wrong quantity, if there is one."""
    key = exhibit.wrong[0]
    given, right = exhibit.given[key], exhibit.right()[key]
    if given.shape != right.shape or given.size < 2:
        return ""
    low, high = -np.inf, np.inf
    for h, g, r in zip(given.ravel(), right.mid.ravel(), 2.0 * right.rad.ravel(), strict=True):
        if abs(g) <= r:
            continue
        ends = sorted(((h - np.copysign(abs(h / g) * r, h)) / g, (h + np.copysign(abs(h / g) * r, h)) / g))
        low, high = max(low, ends[0]), min(high, ends[1])
    if not -np.inf < low <= high < np.inf:
        return ""
    return f"{_label(key)} is {_shortest(low, high):g} times what is right"


def _finding(suspect, confidence, evidence, exhibit):
    bug, key = suspect.bug, exhibit.wrong[0]
    effect = _effect(exhibit, suspect, None).changed
    key = next((one for one in exhibit.wrong if one in effect), key)
    return Finding(
        id=bug.id,
        confidence=confidence,
        text=bug.text,
        evidence=evidence,
        right=bug.right,
        wrong=bug.wrong,
        hint=bug.hint,
        case=exhibit.name,
        quantity=key[0],
        layer=key[1],
        acceptable=bug.acceptable,
    )


def _gap(group, wrong):
    """The usual distance from what the group gives, relative to the tensor's norm: the median over wrong tensors."""
    gaps = [
        float(np.linalg.norm(exhibit.given[key] - ball.mid) / np.linalg.norm(ball.mid))
        for exhibit in wrong
        for key, ball in exhibit.predictions(group)
        if key in exhibit.wrong and ball.mid.any()
    ]
    return float(np.median(gaps)) if gaps else 0.0


def _float32_inside(exhibit, gap):
    evidence = f"within the bounds of float32, not of float64; relative errors of about {gap:.0e}"
    return _finding(Suspect(BY_ID["float32-inside"], {}), "likely", evidence, exhibit)


def _unknown(wrong, right):
    """The first wrong entry, and the candidates that come nearer than the right formula does."""
    exhibit = wrong[0]
    key, usual = exhibit.wrong[0], exhibit.distance(())
    distances: dict[str, float] = {}
    for suspect in _suspects():
        distance = exhibit.distance((suspect,))
        if distance < min(usual, distances.get(suspect.bug.id, np.inf)):
            distances[suspect.bug.id] = distance
    nearest = sorted(distances.items(), key=lambda item: item[1])[:3]
    near = ", ".join(f"{name} {distance:.1e}" for name, distance in nearest) or "none"
    cases = f"{len(wrong)} of {len(wrong) + len(right)} cases"
    return [
        Finding(
            id="unknown",
            confidence="possible",
            text=f"no known bug explains {cases}; first wrong: {_first_entry(exhibit, key)}",
            evidence=f"distance from the right formula, relative to the largest entry: {usual:.1e}; nearer are: {near}",
            case=exhibit.name,
            quantity=key[0],
            layer=key[1],
        )
    ]


def _first_entry(exhibit, key):
    given, right = exhibit.given[key], exhibit.right()[key]
    if given.shape != right.shape:
        return f"{_label(key)} has the shape {given.shape}, not {right.shape}"
    outside = ~(np.abs(given - right.mid) <= 2.0 * right.rad)
    index = tuple(int(i) for i in np.unravel_index(int(outside.argmax()), given.shape))
    place = "".join(f"[{i}]" for i in index)
    return f"{_label(key)}{place} of {exhibit.name} is {float(given[index]):.17g}, not {float(right.mid[index]):.17g}"


def _label(key):
    return key[0] if key[0] in {"loss", "dx"} else f"{key[0]} of layer {key[1]}"


# ---- state ---------------------------------------------------------------------------------------------------------


def _state(evidence):
    """What second calls and changed arguments show."""
    findings = []
    changed = next((one for one in evidence if getattr(one, "changed", ())), None)
    if changed is not None:
        findings.append(_of_state("inputs-changed", changed.case.name, f"changed: {', '.join(changed.changed)}"))
    second = [(one, again) for one in evidence if (again := _again(one)) is not None]
    if second:
        doubled = all(_doubled(one.values, again) for one, again in second)
        id_ = "gradients-not-zeroed" if doubled else "second-call-differs"
        what = "twice the first call's gradients" if doubled else "other values than the first"
        findings.append(_of_state(id_, second[0][0].case.name, f"the second, identical call gives {what}"))
    return findings


def _again(one):
    answer = getattr(one, "answer", None)
    return getattr(answer, "again", None) if answer is not None else one.again


def _doubled(values, again):
    """Whether a second call's gradients are the first's, twice."""
    first, second = tensors(values), tensors(again)
    keys = [key for key in first if key[0] in {"dW", "db"} and key in second]
    u = 8.0 * np.finfo(np.float64).eps
    return bool(keys) and all(
        np.shape(first[key]) == np.shape(second[key])
        and np.all(np.abs(second[key] - 2.0 * np.asarray(first[key])) <= u * np.abs(first[key]))
        for key in keys
    )


def _of_state(id_, case, evidence):
    bug = BY_ID[id_]
    return Finding(id_, "certain", bug.text, evidence, bug.right, bug.wrong, bug.hint, case=case, quantity="state")
