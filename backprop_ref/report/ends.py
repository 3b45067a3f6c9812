"""How a run ended, in the words of tables, charts and pages."""

DIGITS = 4
STATES = {
    "epochs": "all epochs",
    "patience": "stopped early",
    "callback": "stopped by a callback",
    "interrupted": "interrupted",
    "diverged": "not finite",
}
"""`Result.stopped` in words."""

FELL, SAME, GREW, NOT_FINITE = "loss fell", "loss unchanged", "diverged: loss grew", "diverged: not finite"
DIVERGED = (GREW, NOT_FINITE)


def outcome(stopped, initial_loss, last_loss):
    """What became of the loss of the training rows, compared in the `DIGITS` digits that tables show.

    ==================== ==============================================================
    loss fell            last loss < initial loss
    loss unchanged       last loss = initial loss, or no epoch was trained
    diverged: loss grew  last loss > initial loss
    diverged: not finite the loss or a parameter became NaN or infinite on the way
    ==================== ==============================================================

    Parameters
    ----------
    stopped : str
        `Result.stopped`.
    initial_loss, last_loss : float or None
        With the initial weights, and of the last epoch; None if no epoch was trained.
    """
    if stopped == "diverged":
        return NOT_FINITE
    if last_loss is None or shown(last_loss) == shown(initial_loss):
        return SAME
    return FELL if last_loss < initial_loss else GREW


def shown(number):
    """A measured number as tables show it."""
    return f"{number:.{DIGITS}g}"


def counted(outcomes):
    """How many of some runs diverged, and in which way; empty if none did."""
    grew, not_finite = (outcomes.count(one) for one in (GREW, NOT_FINITE))
    words = [f"{grew} with a loss that grew"] * bool(grew) + [f"{not_finite} no longer finite"] * bool(not_finite)
    return f"{grew + not_finite} of {len(outcomes)} diverged: {', '.join(words)}" if words else ""
