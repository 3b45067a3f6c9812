"""The derivative of somebody's own loss, by central differences with an estimate of their error."""

import numpy as np

from backprop_ref.conformance.cases import Values
from backprop_ref.parameters import Parameters

STEPS = (2.0**-8, 2.0**-9, 2.0**-10)


def differences(losses_at, params: Parameters) -> tuple[Values, Values] | None:
    """dLoss/dW and dLoss/db, and how far each entry may be from right; None where a loss is missing.

    Parameters
    ----------
    losses_at : callable
        The losses for a list of `Parameters`, None for one where there is none.
    params : Parameters

    Notes
    -----
    Richardson's extrapolation over three halved steps (Ridders 1982). The error is estimated by the last two columns of
    its table, and by the rounding of the losses. Where a kink lies within the steps the two disagree, and the estimate
    is large.
    """
    size = params.flat.size
    ends = []
    for index in range(size):
        for step in STEPS:
            for sign in (1.0, -1.0):
                moved = params.copy()
                moved.flat[index] += sign * step
                ends.append(moved)
    losses = losses_at(ends)
    if any(loss is None for loss in losses):
        return None
    table = np.reshape(np.asarray(losses, dtype=np.float64), (size, len(STEPS), 2))
    found, errors = np.empty(size), np.empty(size)
    for index, row in enumerate(table):
        found[index], errors[index] = _extrapolated(list((row[:, 0] - row[:, 1]) / (2.0 * np.asarray(STEPS))))
        errors[index] += 16.0 * np.finfo(float).eps * np.abs(row).max() / STEPS[-1]
    gradient, error = Parameters(found, params.sizes), Parameters(errors, params.sizes)
    return (Values(dW=list(part.W), db=list(part.b)) for part in (gradient, error))  # type: ignore[return-value]


def _extrapolated(row):
    """The limit of differences with halved steps, and the difference of the two best estimates."""
    table = [row]
    while len(table[-1]) > 1:
        power, last = 4.0 ** len(table), table[-1]
        table.append([(power * b - a) / (power - 1.0) for a, b in zip(last, last[1:], strict=False)])
    return table[-1][0], max(abs(table[-1][0] - value) for value in table[-2])
