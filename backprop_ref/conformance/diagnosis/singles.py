"""Single bugs that explain every case."""

import itertools

from backprop_ref.conformance.diagnosis.estimate import estimated
from backprop_ref.conformance.diagnosis.observation import all_candidates, open_candidates


def explaining_singles(wrong, right, precision):
    """Bugs that explain every case, each as a group of one."""
    if precision is not None and all(one.explained((), precision) for one in (*wrong, *right)):
        return [()]
    found = {}
    for candidate in all_candidates():
        if candidate.bug.id not in found and explains((candidate,), wrong, right, precision):
            found[candidate.bug.id] = (candidate,)
    for candidate in () if found else open_candidates():
        known = None if candidate.bug.id in found else with_number((), candidate, wrong, right, precision)
        if known:
            found[candidate.bug.id] = known
    return list(found.values())


def explains(candidates, wrong, right, precision):
    """Whether the candidates together are contradicted by no case, and explain one."""
    decided = False
    for one in itertools.chain(wrong, right):
        verdict = one.explained(candidates, precision)
        if verdict is False:
            return False
        decided = decided or verdict is True
    return decided


def with_number(others, candidate, wrong, right, precision):
    """The candidates with the number that makes them fit everything; None if there is none."""
    for observation in wrong:
        estimate = estimated(observation, others, candidate, precision)
        if estimate is None:
            continue
        for number in estimate:
            group = (*others, candidate._replace(number=number))
            if explains(group, wrong, right, precision):
                return group
        return None
    return None
