"""Notes on golden vectors: where they are wrong first, which have no answer, and what decides nothing."""

import contextlib
from collections import Counter

import numpy as np

from backprop_ref.conformance.cases import WITHOUT_LAYERS, tensor_name, tensors
from backprop_ref.conformance.judging.judged import NO_ANSWER
from backprop_ref.conformance.judging.normalising import gradient_fits, loss_fits
from backprop_ref.conformance.judging.verdict import WITHIN_BOUND, WRONG

OVERFLOWS = ("OverflowError", "FloatingPointError", "ZeroDivisionError", "ValueError: math")
"""How reasons begin where a number could not be computed."""
MANY = 4
"""So many reasons why there is no answer are told."""


def notes_on(held):
    """What is worth saying beside the verdict, a line each."""
    asked = held.cases
    yield from first_wrong(held.deciding)
    yield from _silent(asked)
    changed = dict.fromkeys(name for one in asked for name in one.changed)
    if changed:
        yield f"it changes its {' and '.join(changed)} in place"
    yield from decides_nothing(held)
    if held.verdict != WRONG:
        yield from _unusual(held.deciding)


def decides_nothing(held):
    """Where usual formulas fail: at extreme values, and for labels that do not sum to 1."""
    yield from _extremes(held.cases, digits_too=held.verdict != WRONG)
    if held.verdict != WRONG and any(
        one.verdict == WRONG and not one.case.deciding and "extreme" not in one.case.flags for one in held.cases
    ):
        yield "right for labels that sum to 1 only, which decides nothing: the delta of softmax is (p·Σy − y)/batch"


def first_wrong(judged):
    """The first wrong quantity of the first case that has one."""
    for one in judged:
        if (key := one.first_wrong) is not None:
            layer = "" if key[0] in WITHOUT_LAYERS else f" of layer {key[1]} (of 0 to {one.case.network.n_layers - 1})"
            words = one.reason if one.at_second else one.details[key].words
            yield f"first wrong: {key[0]}{layer} in case {one.case.name}: {words}"
            return


def _silent(asked):
    """Why cases have no answer; one of each kind by name."""
    ones = [one for one in asked if one.verdict == NO_ANSWER]
    reasons = Counter(one.reason for one in ones)
    for reason, count in reasons.most_common(MANY):
        name = next(one.case.name for one in ones if one.reason == reason)
        yield f"no answer for {name}{f' and {count - 1} more' if count > 1 else ''}: {reason}"
    if len(reasons) > MANY:
        yield f"no answer for {len(reasons) - MANY} other reasons: see --json"


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


def _unusual(judged):
    """The tensors within their bounds whose errors are larger than rounding usually makes them."""
    found = [
        (f"{tensor_name(key)} in case {one.case.name}", detail)
        for one in judged
        for key, detail in one.details.items()
        if detail.verdict == WITHIN_BOUND and detail.words
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
