"""Findings: which bug it is, how certain that is, and why."""

import numpy as np

from backprop_ref.conformance.cases import WITHOUT_LAYERS
from backprop_ref.conformance.catalogue.known import BY_ID
from backprop_ref.conformance.diagnosis.estimate import shortest
from backprop_ref.conformance.diagnosis.observation import Candidate, all_candidates, effect_of
from backprop_ref.conformance.outcomes.outcome import Finding

SCALES = ("missing-mean", "mean-twice", "mean-over-outputs", "sum-over-outputs", "missing-two", "extra-two")
"""The bugs that are a factor on the gradient, as a loss may have it too."""


def findings_of(groups, wrong, precision):
    """Findings for groups of bugs each of which explains everything."""
    inside = [_float32_inside(wrong[0], typical_gap(groups[0], wrong))] if precision is not None else []
    ids = [[candidate.bug.id for candidate in group] for group in groups]
    findings = {}
    for group in groups:
        for candidate in group:
            in_all = all(candidate.bug.id in others for others in ids)
            confidence = "certain" if len(groups) == 1 else "likely" if in_all else "possible"
            if confidence == "certain" and (_weak(candidate, group, wrong) or _conventional(candidate, wrong)):
                confidence = "likely"
            if candidate.bug.id not in findings:
                evidence = _evidence(group, candidate, wrong)
                findings[candidate.bug.id] = finding_of(candidate, confidence, evidence, wrong[0])
    ranks = ["certain", "likely", "possible"]
    return sorted(findings.values(), key=lambda finding: ranks.index(finding.confidence)) + inside


def _weak(candidate, group, wrong):
    """Whether a number was fitted to so little that it would fit anything, or says only that there is some factor."""
    if not candidate.bug.parameter:
        return False
    entries = sum(int(one.given[key].size) for one in wrong for key in one.wrong)
    factor_only = candidate.bug.id == "learning-rate-folded" and not any(
        float(candidate.number.mid) == one.case.optimizer.learning_rate for one in wrong
    )
    return entries <= len(group) or factor_only


def _conventional(candidate, wrong):
    """Whether the bug is a factor which a loss that nobody returned may have as well."""
    return candidate.bug.id in SCALES and not any(("loss", 0) in one.given for one in wrong)


def _evidence(group, candidate, wrong):
    """In words: what is explained, how closely, and with which numbers and other bugs."""
    observation = wrong[0]
    shares = [
        np.abs(observation.given[key] - ball.mid) / np.maximum(2.0 * ball.rad, ball.precision.tiny)
        for key, ball in observation.predictions(group)
    ]
    largest = max((float(np.max(share, initial=0.0)) for share in shares), default=0.0)
    count = sum(one.given[key].size for one in wrong for key in one.wrong)
    parts = [f"'{candidate.bug.wrong}' gives all {count} wrong entries of {len(wrong)} cases within their bounds"]
    parts.append(f"largest share of a bound on {observation.name}: {largest:.2g}")
    if candidate.number is not None:
        parts.append(f"{candidate.bug.parameter} = {float(candidate.number.mid):.6g}")
    if len(group) > 1:
        parts.append("together with " + ", ".join(other.bug.id for other in group if other is not candidate))
    ratio = _ratio(observation)
    return "; ".join([*parts, *([ratio] if ratio else [])])


def _ratio(observation):
    """The one factor between what was submitted and what is right, of the first wrong quantity, if there is one."""
    key = observation.wrong[0]
    given, right = observation.given[key], observation.right()[key]
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
    return f"{_label(key)} is {shortest(low, high):g} times what is right"


def finding_of(candidate, confidence, evidence, observation):
    """The `Finding` for a candidate; it shows first in what it changes of the case."""
    bug, key = candidate.bug, observation.wrong[0]
    effect = effect_of(observation, candidate, None).changed
    key = next((one for one in observation.wrong if one in effect), key)
    return Finding(
        id=bug.id,
        text=bug.text,
        quantity=key[0],
        layers=(key[1],),
        right=bug.right,
        measured=bug.wrong,
        remedy=bug.hint,
        confidence=confidence,
        acceptable=bug.acceptable,
        network=observation.name,
        evidence=evidence,
    )


def typical_gap(group, wrong):
    """The usual distance from what the group gives, relative to the tensor's norm: the median over wrong tensors."""
    gaps = [
        float(np.linalg.norm(observation.given[key] - ball.mid) / np.linalg.norm(ball.mid))
        for observation in wrong
        for key, ball in observation.predictions(group)
        if key in observation.wrong and ball.mid.any()
    ]
    return float(np.median(gaps)) if gaps else 0.0


def _float32_inside(observation, gap):
    evidence = f"within the bounds of float32, not of float64; relative errors of about {gap:.0e}"
    return finding_of(Candidate(BY_ID["float32-inside"], {}), "likely", evidence, observation)


def unknown_finding(wrong, right):
    """The first wrong entry, and the candidates that come nearer than the right formula does."""
    observation = wrong[0]
    key, usual = observation.wrong[0], observation.distance(())
    distances: dict[str, float] = {}
    for candidate in all_candidates():
        distance = observation.distance((candidate,))
        if distance < min(usual, distances.get(candidate.bug.id, np.inf)):
            distances[candidate.bug.id] = distance
    nearest = sorted(distances.items(), key=lambda item: item[1])[:3]
    near = ", ".join(f"{name} {distance:.1e}" for name, distance in nearest) or "none"
    cases = f"{len(wrong)} of {len(wrong) + len(right)} cases"
    return [
        Finding(
            id="unknown",
            text=f"no known bug explains {cases}; first wrong: {_first_entry(observation, key)}",
            quantity=key[0],
            layers=(key[1],),
            confidence="measured",
            network=observation.name,
            evidence=f"distance from the right formula, relative to the largest entry: {usual:.1e}; nearer are: {near}",
        )
    ]


def _first_entry(observation, key):
    given, right = observation.given[key], observation.right()[key]
    if given.shape != right.shape:
        return f"{_label(key)} has the shape {given.shape}, not {right.shape}"
    outside = ~(np.abs(given - right.mid) <= 2.0 * right.rad)
    index = tuple(int(i) for i in np.unravel_index(int(outside.argmax()), given.shape))
    place = "".join(f"[{i}]" for i in index)
    found, wanted = float(given[index]), float(right.mid[index])
    return f"{_label(key)}{place} of {observation.name} is {found:.17g}, not {wanted:.17g}"


def _label(key):
    return key[0] if key[0] in WITHOUT_LAYERS else f"{key[0]} of layer {key[1]}"
