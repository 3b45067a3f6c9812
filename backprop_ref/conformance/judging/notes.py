"""Notes on a submission: what decides nothing, and is worth knowing."""

import contextlib

import numpy as np

from backprop_ref.conformance.cases import tensor_name, tensors
from backprop_ref.conformance.judging.normalising import gradient_fits, loss_fits
from backprop_ref.conformance.judging.outcome import NO_ANSWER
from backprop_ref.conformance.judging.verdict import WITHIN_BOUND, WRONG

OVERFLOWS = ("OverflowError", "FloatingPointError", "ZeroDivisionError", "ValueError: math")
"""How reasons begin where a number could not be computed."""


def notes_on(submission, asked, verdict):
    """What is worth saying of a submission beside its verdict."""
    changed = dict.fromkeys(name for one in asked for name in one.changed)
    notes = [f"it changes its {' and '.join(changed)} in place"] if changed else []
    notes += _extremes(asked, digits_too=verdict != WRONG)
    notes += _loose(asked) if verdict != WRONG else []
    notes += _unusual(asked)
    if submission.kind == "function" and asked and all(one.verdict == NO_ANSWER for one in asked):
        notes.append("it is called as f(network, weights, biases, x, y), with lists of arrays for weights and biases")
    elif submission.kind == "function" and not any(name == "W" for one in asked for name, _ in one.verdicts):
        notes.append("weights after three steps are not judged: the function takes no keyword steps")
    return notes


def _extremes(asked, digits_too):
    """For each kind of output, the least |z| at which its formula fails.

    What is wrong at usual values has nothing to do with extreme ones. Where digits are lost, everything else has to be
    right.
    """
    sizes: dict[str, tuple[float, bool]] = {}
    usual = {
        kind: [one for one in asked if one.case.deciding and _kind(one) == kind] for kind in set(map(_kind, asked))
    }
    for one in asked:
        kind = _kind(one)
        if "extreme" not in one.case.flags or not _at_issue(one) or (usual[kind] and not any(map(_sound, usual[kind]))):
            continue
        size, overflow = float(max(abs(z).max() for z in one.case.expected.truth.z)), _not_finite(one)
        if (overflow or digits_too) and (kind not in sizes or size < sizes[kind][0]):
            sizes[kind] = (size, overflow)
    for kind, (size, overflow) in sizes.items():
        fails = f"overflows beyond |z| = {size:g}" if overflow else f"loses its digits at |z| = {size:g}"
        yield f"extreme values decide nothing: the formula for {kind} {fails}"


def _kind(one):
    return f"{one.case.network.activations[-1]} with {one.case.network.loss}"


def _at_issue(one):
    """Whether numbers are wrong, or could not be computed."""
    return one.verdict == WRONG or (one.verdict == NO_ANSWER and one.reason.startswith(OVERFLOWS))


def _sound(one):
    """Whether its formula is the right one, as far as can be seen."""
    values = one.answer.values
    return values is not None and (loss_fits(one) if values.loss is not None else gradient_fits(one))


def _loose(asked):
    """What is right only for labels that sum to 1."""
    if any(one.verdict == WRONG and not one.case.deciding and "extreme" not in one.case.flags for one in asked):
        yield "right for labels that sum to 1 only, which decides nothing: the delta of softmax is (p·Σy − y)/batch"


def _unusual(asked):
    """The tensors within their bounds whose errors are larger than rounding usually makes them."""
    found = [
        (f"{tensor_name(key)} in case {one.case.name}", detail)
        for one in asked
        for key, detail in one.details.items()
        if one.case.deciding and detail.verdict == WITHIN_BOUND and detail.words
    ]
    if found:
        name, detail = max(found, key=lambda item: item[1].bounds)
        yield f"{name}{f' and {len(found) - 1} more' if len(found) > 1 else ''}: {detail.words}"


def _not_finite(one):
    if one.values is None:
        return True
    with contextlib.suppress(TypeError, ValueError):
        return not all(np.isfinite(np.asarray(value, dtype=float)).all() for value in tensors(one.values).values())
    return True
