"""SplitMix64 as a counter-based generator: the word at any place of a seed's stream, in integers modulo 2⁶⁴.

Steele, Lea and Flood, Fast splittable pseudorandom number generators, OOPSLA 2014; the constants are Stafford's mix 13.
The same source serves arrays of NumPy and compiled numbers.
"""

from typing import Any

import numpy as np

GAMMA, FIRST, SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
ONE, A, B, C = np.uint64(1), np.uint64(30), np.uint64(27), np.uint64(31)


def word(seed: Any, place: Any) -> Any:
    """The word of a stream at a place, counted from 0; both uint64, at least one of them an array."""
    x = seed + (place + ONE) * GAMMA
    x = (x ^ (x >> A)) * FIRST
    x = (x ^ (x >> B)) * SECOND
    return x ^ (x >> C)
