"""The loss that code keeps or prints, and does not return: it says which networks its gradient may be of."""

import numpy as np

from backprop_ref.conformance.dissecting.rules import loss_of
from backprop_ref.conformance.measuring import material
from backprop_ref.conformance.measuring.forwards import right
from backprop_ref.conformance.measuring.losses import factors
from backprop_ref.formulas import LOSSES
from backprop_ref.parameters import Parameters

DIGITS = 1e-7
"""To such a part of its size a number is a loss."""


def told_by_record(ask, batches, members) -> tuple[list, str]:
    """The networks whose loss, but for a usual factor, is kept or printed in each of a few calls; and a note on it.

    Without any, all of them and no note: people print much that is no loss.
    """
    asked = [batches.five, *([batches.seven] if batches.seven else []), *batches.singles[:3]]
    records = [ask.submission.recorded(one.case) for one in asked]
    ask.calls += len(records)
    names = [name for name in records[0] if all(name in record for record in records)]
    if not names:
        return members, ""
    theirs = np.array([[record[name][0] for name in names] for record in records])
    slack = np.array([[record[name][1] for name in names] for record in records])
    told: dict[str, None] = {}
    found = []
    for forward in right(members):
        for params in _weights(ask, batches, asked):
            ours = [
                loss_of(material.case(forward.network, each, one.case.x, one.case.y), forward.rules)
                for each, one in zip(params, asked, strict=True)
            ]
            sizes = [(len(one.case.x), one.case.y.shape[1]) for one in asked]
            due = np.array([loss * factors(*size) for loss, size in zip(ours, sizes, strict=True)])
            gap = np.abs(due[:, :, None] - theirs[:, None, :])
            fits = np.all(gap <= DIGITS * np.abs(due[:, :, None]) + slack[:, None, :], axis=0).any(axis=0)
            fits &= np.ptp(theirs, axis=0) > 100.0 * slack.max(axis=0)
            if np.any(fits):
                told |= {names[int(np.flatnonzero(fits)[0])].removesuffix(" at first"): None}
                found.append(forward.network)
                break
    if not found:
        return members, ""
    loss = " or ".join(dict.fromkeys(LOSSES[one.loss].short for one in found))
    name = next(iter(told))
    how = "prints it" if name.startswith("printed") else f"keeps it as '{name}'"
    return found, f"it returns no loss, but {how}: {loss}"


def _weights(ask, batches, asked):
    """Those before the step, and, with a rate that is known, those after it: some look at the loss then."""
    yield [batches.params] * len(asked)
    rate = ask.submission.learning_rate
    if not ask.submission.in_place or rate is None or any(one.values.dW is None for one in asked):
        return
    for_b = [one.values.db or [None] * len(batches.params.b) for one in asked]
    yield [
        Parameters.from_arrays(
            [W - rate * g for W, g in zip(batches.params.W, one.values.dW, strict=True)],
            [b - rate * (0.0 if g is None else g) for b, g in zip(batches.params.b, db, strict=True)],
        )
        for one, db in zip(asked, for_b, strict=True)
    ]
