"""The derivative of somebody's own loss along directions, by central differences with an estimate of their error."""

import numpy as np

from backprop_ref.parameters import Parameters

STEP = 2.0**-12
"""Short, so that few kinks lie within it; differences keep nine digits."""


def slopes(losses_at, params: Parameters, directions) -> tuple[np.ndarray, np.ndarray] | None:
    """The derivative of the loss along each direction, and how far it may be from right; None where a loss is missing.

    Parameters
    ----------
    losses_at : callable
        The losses for a list of `Parameters`, None for one where there is none.
    params : Parameters
    directions : array of shape (n, n_parameters)

    Notes
    -----
    Richardson's extrapolation of a step and its half (Ridders 1982), four losses for each direction. The error is
    estimated by the difference of the limit and the better of the two, and by the rounding of the losses. Where a kink
    lies within the steps the two disagree, and the estimate is large.
    """
    ends = [
        Parameters(params.flat + sign * step * direction, params.sizes)
        for direction in directions
        for step in (STEP, STEP / 2.0)
        for sign in (1.0, -1.0)
    ]
    losses = losses_at(ends)
    if any(loss is None for loss in losses):
        return None
    table = np.reshape(np.asarray(losses, dtype=np.float64), (-1, 2, 2))
    long, short = (table[:, :, 0] - table[:, :, 1]).T / np.array([[2.0 * STEP], [STEP]])
    found = short + (short - long) / 3.0
    lost = 16.0 * np.finfo(float).eps * np.abs(table).max(axis=(1, 2), initial=0.0) / STEP
    return found, np.abs(found - short) + lost


def entries(losses_at, params: Parameters, chosen) -> tuple[Parameters, Parameters] | None:
    """The derivatives of the `chosen` entries of the flat vector and their errors, NaN elsewhere; or None."""
    places = np.flatnonzero(chosen)
    found = slopes(losses_at, params, np.eye(params.flat.size)[places])
    if found is None:
        return None
    parts = []
    for part in found:
        flat = np.full(params.flat.size, np.nan)
        flat[places] = part
        parts.append(Parameters(flat, params.sizes))
    return parts[0], parts[1]
