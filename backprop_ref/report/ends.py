"""How a run ended, in the words of tables, charts and pages."""

import numpy as np

DIGITS = 4
FACTOR_OF_DIVERGENCE = 2
"""A final loss above so many times the initial one is called divergence; a lesser rise may be a plateau's."""
STATES = {
    "epochs": "all epochs",
    "patience": "stopped early",
    "callback": "stopped by a callback",
    "interrupted": "interrupted",
    "diverged": "not finite",
}
"""`Result.stopped` in words."""

FELL, SAME, ROSE = "loss fell", "loss unchanged", "loss rose"
GREW, NOT_FINITE = "diverged: loss grew", "diverged: not finite"
DIVERGED = (GREW, NOT_FINITE)
OUTCOMES = (FELL, SAME, ROSE, *DIVERGED)


def outcome(stopped, initial_loss, final_loss):
    """What became of the loss, compared in the `DIGITS` digits that tables show.

    ==================== ==============================================================
    loss fell            final loss < initial loss
    loss unchanged       final loss = initial loss, or no epoch was trained
    loss rose            initial loss < final loss ≤ `FACTOR_OF_DIVERGENCE` · initial loss
    diverged: loss grew  final loss > `FACTOR_OF_DIVERGENCE` · initial loss
    diverged: not finite the loss or a parameter became NaN or infinite on the way
    ==================== ==============================================================

    Parameters
    ----------
    stopped : str
        `Result.stopped`.
    initial_loss, final_loss : float or None
        Of all training rows, with the initial and with the final weights; None if no epoch was trained.
    """
    if stopped == "diverged":
        return NOT_FINITE
    if final_loss is None or shown(final_loss) == shown(initial_loss):
        return SAME
    if final_loss < initial_loss:
        return FELL
    return GREW if final_loss > FACTOR_OF_DIVERGENCE * initial_loss else ROSE


def shown(number):
    """A measured number as tables show it."""
    return f"{number:.{DIGITS}g}"


def counted(outcomes):
    """How many of some runs diverged, and in which way; empty if none did."""
    grew, not_finite = (outcomes.count(one) for one in (GREW, NOT_FINITE))
    words = [f"{grew} with a loss that grew"] * bool(grew) + [f"{not_finite} no longer finite"] * bool(not_finite)
    return f"{grew + not_finite} of {len(outcomes)} diverged: {', '.join(words)}" if words else ""


def right_from(accuracy):
    """The epoch, from 1, from which on every sample is right until the end; None if the last epoch has a wrong one."""
    wrong = np.flatnonzero(np.asarray(accuracy) != 1.0)
    first = int(wrong[-1]) + 2 if len(wrong) else 1
    return first if first <= len(accuracy) else None
