"""What second calls and changed arguments show."""

import numpy as np

from backprop_ref.conformance.cases import tensors
from backprop_ref.conformance.catalogue.known import BY_ID
from backprop_ref.conformance.outcomes.outcome import Finding


def state_findings(evidence):
    """What second calls and changed arguments show."""
    findings = []
    changed = next((one for one in evidence if one.changed), None)
    if changed is not None:
        findings.append(_of_state("inputs-changed", changed.case.name, f"changed: {', '.join(changed.changed)}"))
    second = [one for one in evidence if one.again is not None]
    if second:
        doubled = all(_doubled(one.values, one.again) for one in second)
        id_ = "gradients-not-zeroed" if doubled else "second-call-differs"
        what = "twice the first call's gradients" if doubled else "other values than the first"
        findings.append(_of_state(id_, second[0].case.name, f"the second, identical call gives {what}"))
    return findings


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
    said = {"right": bug.right, "measured": bug.wrong, "remedy": bug.hint, "evidence": evidence}
    return Finding(id_, bug.text, "state", **said, network=case)
