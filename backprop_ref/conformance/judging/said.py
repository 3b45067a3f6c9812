"""What golden vectors say of a submission: an outcome, as measuring gives it."""

from collections import Counter

import numpy as np

from backprop_ref.conformance.diagnosis.diagnose import diagnose
from backprop_ref.conformance.judging.judge import Held
from backprop_ref.conformance.judging.judged import NO_ANSWER, NOT_JUDGED
from backprop_ref.conformance.judging.notes import first_wrong, notes_on
from backprop_ref.conformance.judging.verdict import WRONG
from backprop_ref.conformance.outcomes.outcome import CONVENTION, RIGHT, Finding, Outcome


def outcome_of(held: Held, target: str = "") -> Outcome:
    """The verdict on all deciding cases together, and what is wrong with those that are wrong."""
    verdict, findings = held.verdict, []
    if verdict in {WRONG, NO_ANSWER}:
        findings = bugs_in(held)
        verdict = CONVENTION if verdict == WRONG and harmless(findings) else WRONG
    elif verdict != NOT_JUDGED:
        verdict = CONVENTION if held.conventions else RIGHT
    notes, reason = list(notes_on(held)), ""
    if verdict == NOT_JUDGED:
        reason = next((one.reason for one in held.cases if one.reason), "it answers no case that decides")
    outcome = Outcome(target, verdict, findings=findings, conventions=held.conventions, notes=notes, reason=reason)
    outcome.vectors = tally(held)
    outcome.cases = [one.document() for one in held.cases]
    return outcome


def harmless(findings: list[Finding]) -> bool:
    """Whether what was found is another convention, and certainly nothing else."""
    return bool(findings) and all(one.acceptable and one.confidence == "certain" for one in findings)


def tally(held: Held) -> dict[str, int]:
    """How many deciding cases got which verdict."""
    return dict(Counter(one.verdict for one in held.deciding))


def bugs_in(held: Held) -> list[Finding]:
    """What is wrong with all deciding cases at once; else loss by loss, as a bug may be in the code of one alone."""
    judged = [one for one in held.deciding if one.verdicts]
    with np.errstate(all="ignore"):
        found = diagnose(judged)
        if not _certain(found):
            losses = dict.fromkeys(one.case.network.loss for one in judged if one.verdict == WRONG)
            parts = [diagnose([one for one in judged if one.case.network.loss == loss]) for loss in losses]
            if parts and all(map(_certain, parts)):
                found = list({finding.id: finding for part in parts for finding in part}.values())
    if not found:
        found = [Finding("unknown", words, confidence="measured") for words in first_wrong(judged)]
    return found


def _certain(findings):
    return any(found.confidence == "certain" for found in findings)
