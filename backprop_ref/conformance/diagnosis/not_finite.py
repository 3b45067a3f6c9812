"""NaN and infinity in an answer: they say where they are, and nothing of the formula; no known bug is looked for."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from backprop_ref.conformance.cases import Key, tensor_name, tensors
from backprop_ref.conformance.outcomes.outcome import Finding

HINT = (
    "NaN comes of 0/0, inf − inf and 0·log(0), infinity of exp(large z), log(0) and x/0; stop at the first one: "
    "np.seterr(all='raise')"
)


def missing_numbers(one: Any) -> dict[Key, int]:
    """How many entries of each tensor are not finite where the truth is; by name and layer, in order of computation."""
    expected, found = one.expected or one.case.expected, dict[Key, int]()
    truths = {} if expected is None else tensors(expected.truth)
    for key, value in tensors(one.values).items():
        value, truth = np.asarray(value, dtype=float), np.asarray(truths.get(key, np.nan))
        due = np.isfinite(truth) if truth.shape == value.shape else np.array(False)
        count = int(np.count_nonzero(due & ~np.isfinite(value)))
        if count:
            found[key] = count
    return found


def describe(evidence: Iterable[Any]) -> Finding | None:
    """What is to be said of all cases with NaN or infinity; None if there is none."""
    evidence = list(evidence)
    having = [(one, found) for one in evidence if (found := missing_numbers(one))]
    if not having:
        return None
    one, found = having[0]
    values = tensors(one.values)
    every = np.concatenate([np.asarray(values[key], dtype=float).ravel() for key in found])
    nan, infinite = bool(np.isnan(every).any()), bool(np.isinf(every).any())
    kind = "NaN and infinity" if nan and infinite else "NaN" if nan else "infinity"
    quantity, layer = next(iter(found))
    counts = ", ".join(f"{count} of {np.size(values[key])} in {tensor_name(key)}" for key, count in found.items())
    return Finding(
        "not-finite",
        f"{kind} where a number is due, in {len(having)} of {len(evidence)} cases",
        quantity,
        (layer,),
        remedy=HINT,
        network=one.case.name,
        evidence=f"in the order of computation: {counts}",
    )
