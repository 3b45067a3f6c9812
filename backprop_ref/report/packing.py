"""Numbers as the page holds them: the digits that it shows, as whole numbers whose differences compress well.

The page's script undoes this, operation by operation the same, in ``static/records.js``.
"""

import gzip

import numpy as np

DIGITS = 5
"""Significant digits of each number of the explorer."""
LEAST = 10 ** (DIGITS - 1)
SPAN = 9 * LEAST
LOWEST = -324
INFINITE = (309 - LOWEST) * SPAN + 1
NEAR_TIE = 2.0**-20  # far wider than what scaling rounds
TENS = np.array([float(f"1e{i}") for i in range(309)])
DECADES = np.array([float(f"1e{i}") for i in range(LOWEST + 1, 309)])
HALFWAY = 300  # powers of ten beyond this are taken in two steps, as 1e309 is infinite


def codes(values, exact=True):
    """Numbers as int64 that rise with them: 0 for 0, and for each decade `SPAN` of them.

    With `exact`, ties and what is close to one are rounded as Python formats them, from all bits of the number.
    """
    values = np.asarray(values, np.float64)
    size = np.where(np.isfinite(values), np.abs(values), 0.0)
    exponent = np.searchsorted(DECADES, size, side="right") + LOWEST
    scaled = _shifted(size, DIGITS - 1 - exponent)
    mantissa = np.floor(scaled + 0.5)
    if exact:
        for i in zip(*np.nonzero(np.abs(scaled - np.floor(scaled) - 0.5) < NEAR_TIE), strict=True):
            digits, _, power = f"{size[i]:.{DIGITS - 1}e}".partition("e")
            mantissa[i] = int(digits.replace(".", "")) * 10 ** (int(power) - exponent[i])
    code = np.where(size > 0, (exponent - LOWEST) * SPAN + mantissa - LEAST + 1, 0.0)
    code = np.where(np.isinf(values), INFINITE, code) * np.where(values < 0, -1.0, 1.0)
    return np.where(np.isnan(values), INFINITE + 1, code).astype(np.int64)


def numbers_of(codes):
    """The numbers, of `DIGITS` digits, behind codes."""
    place = np.abs(codes) - 1
    exponent, mantissa = place // SPAN + LOWEST, place % SPAN + LEAST
    size = _shifted(mantissa.astype(np.float64), np.minimum(exponent, 308) - DIGITS + 1)
    size = np.where(place < INFINITE - 1, size, np.where(place < INFINITE, np.inf, np.nan))
    return np.where(codes == 0, 0.0, np.sign(codes) * size)


def packed(parts):
    """Arrays of integers, compressed: gzip of the lowest byte of every number, then the next one of every number, and
    so on.

    The sign is the lowest bit, so that small numbers have only zeros in their higher bytes.
    """
    numbers = np.concatenate([part.ravel() for part in parts]).astype(np.int32)
    folded = ((numbers << 1) ^ (numbers >> 31)).astype("<u4")
    planes = np.ascontiguousarray(folded.view(np.uint8).reshape(-1, 4).T)
    return gzip.compress(planes.tobytes(), 6, mtime=0)


def _shifted(numbers, places):
    """numbers · 10^places."""
    far = np.abs(places)
    near, rest = TENS[np.minimum(far, HALFWAY)], TENS[np.maximum(far - HALFWAY, 0)]
    with np.errstate(over="ignore"):
        return np.where(places >= 0, numbers * near * rest, numbers / near / rest)
