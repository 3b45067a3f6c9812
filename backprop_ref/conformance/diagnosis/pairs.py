"""Pairs of bugs that explain every case."""

import itertools

from backprop_ref.conformance.diagnosis.observation import all_candidates, effect_of, open_candidates
from backprop_ref.conformance.diagnosis.singles import explains, with_number
from backprop_ref.conformance.rounding.balls import Ball

TRIALS = 4000
"""Pairs of bugs that are tried, at most."""
COST = 20
"""Of three steps of training, or of a number to be worked out, in trials of one gradient."""


def explaining_pairs(wrong, right, precision):
    """Pairs of bugs that explain every case.

    What only one of two bugs changes it has to explain alone, and together they have to change all that is wrong: that
    leaves few pairs to be tried. Those whose members come nearest by themselves are tried first.
    """
    probe, found = wrong[0], dict[tuple[str, str], tuple]()
    usual = probe.right(precision)
    wrong_keys = frozenset(key for key in probe.given if not probe.agrees(key, usual[key]))
    candidates = [
        *all_candidates(),
        *(one._replace(number=Ball.exact(one.number, probe.precision)) for one in open_candidates()),
    ]
    effects = {index: effect_of(probe, candidate, precision) for index, candidate in enumerate(candidates)}
    near = {index: probe.distance((candidates[index],)) for index, effect in effects.items() if effect.changed}
    active = sorted(near, key=lambda index: near[index])
    trials = TRIALS // COST if probe.only_steps else TRIALS
    ranked = sorted(itertools.combinations(range(len(active)), 2), key=sum)
    pairs = [(i, j, any(candidates[active[k]].bug.parameter for k in (i, j))) for i, j in ranked]
    for i, j, opened in sorted(pairs, key=lambda pair: pair[2]):
        if opened and found:
            break  # as with single bugs, a number is worked out only where nothing explains all without
        one, two = candidates[active[i]], candidates[active[j]]
        if one.bug.id == two.bug.id or (one.bug.id, two.bug.id) in found:
            continue
        if not _plausible(effects[active[i]], effects[active[j]], wrong_keys, one.bug.parameter, two.bug.parameter):
            continue
        group = _composed(one, two, wrong, right, precision)
        if group:
            found[one.bug.id, two.bug.id] = group
        trials -= COST if opened else 1
        if trials <= 0:
            break
    return list(found.values()) or _pairs_apart(candidates, effects, wrong, right, precision)


def _plausible(one, two, wrong_keys, one_open, two_open):
    """Whether what only one of the two changes is explained by it alone; a bug with an open number may yet do so."""
    if not wrong_keys <= one.changed | two.changed:
        return False
    by_one, by_two = one.changed - two.changed, two.changed - one.changed
    return by_one <= (wrong_keys if one_open else one.fits) and by_two <= (wrong_keys if two_open else two.fits)


def _composed(one, two, wrong, right, precision):
    """The two in the order that explains everything; None if neither does."""
    if one.bug.parameter and two.bug.parameter:
        return None
    if one.bug.parameter or two.bug.parameter:
        fixed, open_ = (two, one) if one.bug.parameter else (one, two)
        return with_number((fixed,), open_._replace(number=None), wrong, right, precision)
    orders = [(one, two)] + ([(two, one)] if one.change.keys() & two.change.keys() else [])
    return next((pair for pair in orders if explains(pair, wrong, right, precision)), None)


def _pairs_apart(candidates, effects, wrong, right, precision):
    """Pairs of which only one bug shows on the first case, and the other on a later one."""
    probe, found = wrong[0], {}
    for index, effect in effects.items():
        one = candidates[index]
        if one.bug.parameter or not effect.changed or len(effect.fits) < len(probe.given):
            continue
        rest = next((other for other in wrong[1:] if other.explained((one,), precision) is False), None)
        if rest is None:
            continue
        for two in all_candidates():
            if two.bug.id == one.bug.id or (one.bug.id, two.bug.id) in found:
                continue
            if rest.explained((one, two), precision) and explains((one, two), wrong, right, precision):
                found[one.bug.id, two.bug.id] = (one, two)
    return list(found.values())
