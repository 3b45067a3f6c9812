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

from collections.abc import Iterable
from typing import Any

import numpy as np

from backprop_ref.conformance.diagnosis import not_finite
from backprop_ref.conformance.diagnosis.findings import finding_of, findings_of, typical_gap, unknown_finding
from backprop_ref.conformance.diagnosis.observation import Observation, all_candidates
from backprop_ref.conformance.diagnosis.pairs import explaining_pairs
from backprop_ref.conformance.diagnosis.singles import explaining_singles
from backprop_ref.conformance.diagnosis.state import state_findings
from backprop_ref.conformance.outcomes.outcome import Finding
from backprop_ref.conformance.rounding.precision import Precision

TRIES = 8
"""Cases for which no bug is found, until the search is given up."""
ROUNDED = 16
"""Rounding to float32 leaves an error above u/16 in most tensors, even in those of one entry."""


def diagnose(evidence: Iterable[Any]) -> list[Finding]:
    """Names what is wrong with a submission.

    Parameters
    ----------
    evidence : iterable of Judged
        Every judged case, right ones too: they rule candidates out. Cases without values are passed over.

    Returns
    -------
    list of Finding
        The most certain first; empty if everything is right.
    """
    usable = [one for one in evidence if one.values is not None and _complete(one)]
    state = state_findings(usable)
    broken = not_finite.describe(usable)
    if broken is not None:
        state.append(broken)
        usable = [one for one in usable if not not_finite.missing_numbers(one)]
    with np.errstate(all="ignore"):
        observations = [Observation(one) for one in usable]
        wrong = sorted(
            (one for one in observations if one.wrong),
            key=lambda one: (len(one.case.x) == 1, -len(one.wrong), one.size),
        )
        if not wrong:
            return state
        right = sorted((one for one in observations if not one.wrong), key=lambda one: one.size)
        return [*state, *_search(wrong, right)]


def _complete(one):
    """Whether there is an array for each layer of what is given."""
    lists = [part for part in one.values if isinstance(part, list | tuple)]
    return all(len(part) == one.case.network.n_layers for part in lists)


def _search(wrong, right):
    explained = explaining_singles(wrong, right, None) or explaining_pairs(wrong, right, None)
    if explained:
        return findings_of(explained, wrong, None)
    single = Precision.of(np.float32)
    explained = explaining_singles(wrong, right, single) if any(one.precision != single for one in wrong) else []
    explained = [group for group in explained if typical_gap(group, wrong) > single.u / ROUNDED]
    if explained:
        return findings_of(explained, wrong, single)
    found, left = _partly(wrong, right)
    return found + (unknown_finding(left, right) if left else [])


def _partly(wrong, right):
    """Bugs that explain some of the wrong cases and contradict none of the right ones; and the cases left."""
    findings, left, unsolved = list[Finding](), list(wrong), list[Observation]()
    while left and len(unsolved) < (2 if left[0].only_steps else TRIES):
        observation = left[0]
        able = [candidate for candidate in all_candidates() if observation.explained((candidate,))]
        able = [candidate for candidate in able if all(other.explained((candidate,)) is not False for other in right)]
        solved = [[one for one in left if one.explained((candidate,))] for candidate in able]
        most = max(map(len, solved), default=0)
        pairs = zip(able, solved, strict=True)
        best = {candidate.bug.id: (candidate, ones) for candidate, ones in pairs if len(ones) == most}
        confidence = "likely" if len(best) == 1 else "possible"
        evidence = f"explains {most} of {len(wrong)} wrong cases"
        findings += [finding_of(candidate, confidence, evidence, observation) for candidate, _ in best.values()]
        gone = {id(one) for _, ones in best.values() for one in ones} | {id(observation)}
        unsolved += [] if best else [observation]
        left = [one for one in left if id(one) not in gone]
    return findings, unsolved + left
