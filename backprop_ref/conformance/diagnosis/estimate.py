"""The number that a bug needs to fit a submission."""

import numpy as np

from backprop_ref.conformance.rounding.balls import Ball

STEPS = 8
"""Of the secant method: most numbers enter linearly, and are found in one."""


def estimated(observation, others, candidate, precision):
    """The number that a candidate needs to fit a case: the shortest decimal that fits, and the number as it comes out.

    By the secant method on the entry that depends on it most, in the first quantity that does; None if none does.
    """
    unit, start = precision or observation.precision, candidate.bug.start

    def results(number):
        group = (*others, candidate._replace(number=Ball.exact(number, unit)))
        return observation.predictions(group, precision)

    both = zip(results(start), results(2.0 * start), strict=False)
    found = ((key, one, two, _most_sensitive(observation.given[key], one, two)) for (key, one), (_, two) in both)
    first = next((one for one in found if one[-1] is not None), None)
    if first is None:
        return None
    key, now, before, index = first
    theta, last = start, 2.0 * start
    for _ in range(STEPS):
        slope = (now.mid[index] - before.mid[index]) / (theta - last)
        tolerance, step = 2.0 * now.rad[index] / abs(slope), (observation.given[key][index] - now.mid[index]) / slope
        if not np.isfinite(step):
            return None
        theta, last = theta + step, theta
        if abs(step) <= tolerance or theta == last:
            break
        before, now = now, next((ball for other, ball in results(theta) if other == key), None)
        if now is None or now.mid[index] == before.mid[index]:
            break
    short = shortest(theta - tolerance, theta + tolerance)
    return [Ball.exact(short, unit), Ball(np.asarray(theta), np.asarray(tolerance), unit)]


def _most_sensitive(given, now, before):
    """Index of the entry whose change is largest beside its radius; None if nothing changes."""
    if now.shape != before.shape or now.shape != given.shape or not given.size:
        return None
    change = np.abs(now.mid - before.mid)
    usable = np.isfinite(change) & (change > now.rad + before.rad)
    ratio = np.where(usable, change / np.maximum(now.rad, now.precision.tiny), 0.0)
    return np.unravel_index(int(ratio.argmax()), ratio.shape) if usable.any() else None


def shortest(low, high):
    """The number with the fewest decimal digits between low and high."""
    middle = 0.5 * (low + high)
    return next((x for d in range(1, 18) if low <= (x := float(f"{middle:.{d}g}")) <= high), middle)
