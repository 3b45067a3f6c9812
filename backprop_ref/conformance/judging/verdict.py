"""Three verdicts on a tensor: EXACT (the same bits), WITHIN BOUND (as near as rounding allows), WRONG."""

from typing import NamedTuple

import numpy as np

from backprop_ref.conformance.cases import Expected, Key, Values, same_bits, tensors

EXACT, WITHIN_BOUND, WRONG = "EXACT", "WITHIN BOUND", "WRONG"
UNUSUAL = 100.0
"""So many times what rounding usually does is worth a note."""


class Verdict(NamedTuple):
    """What is to be said of one tensor."""

    verdict: str
    words: str = ""
    """Why it is wrong; or, of one within its bound, that its error is unusual. Empty if there is nothing to say."""
    entry: tuple[int, ...] | None = None
    """The first wrong entry, else the one nearest to its bound; None if EXACT, or if shape or dtype is wrong."""
    ulp: float = 0.0
    """How far that entry is from the truth, in units in the last place of the case's precision."""
    bounds: float = 0.0
    """The same in bounds."""


def verdicts(values: Values, expected: Expected) -> dict[Key, Verdict]:
    """A `Verdict` for each tensor given, by name and layer, in the order of computation."""
    references, truths, bounds = map(tensors, expected)
    return {
        key: judged(found, references[key], truths[key], bounds[key])
        for key, found in tensors(values).items()
        if references.get(key) is not None
    }


def judged(found, reference, truth, bound, usual=None):
    """The `Verdict` on one tensor.

    Parameters
    ----------
    found, reference : array or float
        What is judged, and the bits of the reproducible arithmetic, whose shape and dtype are due. A loss may be a
        float whatever the precision.
    truth, bound : array or float
        In float64; an entry is right if ``|found − truth| <= bound`` and it is finite where the truth is.
    usual : array, optional
        What rounding usually does, for a note.
    """
    reference, truth, bound = np.asarray(reference), np.asarray(truth), np.asarray(bound)
    scalar, found = not isinstance(found, np.ndarray), np.asarray(found)
    if found.shape != reference.shape:
        return Verdict(WRONG, f"shape {found.shape}; {reference.shape} is due")
    if found.dtype != reference.dtype and not scalar:
        return Verdict(WRONG, f"dtype {found.dtype}; {reference.dtype} is due")
    if found.dtype.kind != "f":
        return Verdict(WRONG, f"dtype {found.dtype}: no floating-point numbers")
    if same_bits(found, reference) and not np.any(np.isnan(found)):
        return Verdict(EXACT)
    with np.errstate(all="ignore"):
        apart = np.where(found == truth, 0.0, np.abs(found.astype(np.float64) - truth))
        fits = (apart <= bound) & (np.isfinite(found) | (found == truth))  # NaN is never within anything
        shares = np.where(apart == 0.0, 0.0, apart / bound)
        ulps = apart / np.spacing(np.abs(truth).astype(reference.dtype))
    shares = np.where(np.isnan(shares) | ~np.isfinite(found) & (apart > 0.0), np.inf, shares)
    entry = _place(np.argmin(fits) if not np.all(fits) else np.argmax(shares), found.shape)
    ulp, share = float(ulps[entry]), float(shares[entry])
    if not np.all(fits):
        count = int(np.count_nonzero(~fits))
        words = f"{count} of {found.size} entries; the first, {list(entry)}, is {found[entry]!s}, not {truth[entry]!s}"
        return Verdict(WRONG, words, entry, ulp, share)
    words = "" if usual is None else _unusual(apart, np.asarray(usual))
    return Verdict(WITHIN_BOUND, words, entry, ulp, share)


def _unusual(apart, usual):
    times = float(np.linalg.norm(apart) / (np.linalg.norm(usual) or np.inf))
    return f"inside the bound, but {times:.0f} × what rounding usually does" if times > UNUSUAL else ""


def _place(position, shape):
    return tuple(int(index) for index in np.unravel_index(position, shape))
