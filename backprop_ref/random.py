"""Seeded streams that give the same numbers on every machine and with every NumPy.

NumPy promises the raw 64-bit words of PCG64 and the seeding by SeedSequence, and not what its `Generator` makes of
them. So the words are NumPy's and everything after them is here, in reproducible arithmetic.
"""

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from backprop_ref.errors import InvalidInput
from backprop_ref.kernels import elementary

COMPILED_FROM = 2**18
"""From how many rows on a shuffle repays that Numba is loaded for it."""

PURPOSES = ("init", "shuffle", "split", "data", "check", "dropout")


class Orders(Protocol):
    """Where the orders of the samples come from, if not from a `Stream`."""

    state: Any
    """Where it stands; set to go back there."""

    def permutations(self, count: int, n: int) -> npt.NDArray[np.int64]:
        """The next `count` orders of n samples, shape (count, n)."""
        ...


class Stream:
    """An endless sequence of random 64-bit words, and the numbers made from them.

    Parameters
    ----------
    seed : int
        Not negative.
    purpose : str
        One of `PURPOSES`. Streams of one seed and different purposes are independent, so that, say, another batch
        size never changes the initial weights.

    Raises
    ------
    InvalidInput
        A seed that is not a whole number, or negative.

    Examples
    --------
    >>> stream = Stream(seed=1, purpose="data")
    >>> stream.uniform(2).tolist()
    [0.1141246529720964, 0.8533637052303807]
    >>> stream.permutation(4).tolist()
    [2, 0, 1, 3]
    """

    def __init__(self, seed: int, purpose: str) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
            raise InvalidInput(f"seed {seed!r}: a whole number that is not negative is needed")
        sequence = np.random.SeedSequence(int(seed), spawn_key=(PURPOSES.index(purpose),))
        self._pcg = np.random.PCG64(sequence)

    @property
    def state(self) -> Any:
        """Where the stream stands, as JSON-ready text and integers; can be set."""
        return self._pcg.state

    @state.setter
    def state(self, state: Any) -> None:
        self._pcg.state = state

    def words(self, n: int) -> npt.NDArray[np.uint64]:
        """The next n words, shape (n,), uint64."""
        return self._pcg.random_raw(n)

    def uniform(self, n: int) -> npt.NDArray[np.float64]:
        """n numbers in [0, 1), shape (n,), float64: ``(word >> 11) * 2**-53``."""
        return np.asarray((self.words(n) >> np.uint64(11)) * 2.0**-53, np.float64)

    def normal(self, n: int) -> npt.NDArray[np.float64]:
        """n standard normal numbers, shape (n,), float64, by Marsaglia's polar method.

        Pairs (u, v) are drawn uniformly in the square [-1, 1)²; those with 0 < s = u² + v² < 1 give
        u·√(−2·log s / s) and v·√(−2·log s / s), in that order (Marsaglia and Bray, SIAM Review 6, 1964).
        """
        log = elementary.for_numpy("float64").log
        accepted, needed = [np.empty((0, 2))], (n + 1) // 2
        while needed > 0:
            u, v = 2.0 * self.uniform(2 * needed).reshape(needed, 2).T - 1.0
            s = u * u + v * v
            inside = (s > 0.0) & (s < 1.0)
            u, v, s = u[inside], v[inside], s[inside]
            factor = np.sqrt(-2.0 * log(s) / s)
            accepted.append(np.stack([u * factor, v * factor], axis=1))
            needed -= len(s)
        return np.concatenate(accepted).ravel()[:n]

    def integers_below(self, bounds: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """One integer in [0, bound) per bound, int64, unbiased: words beyond the last multiple are drawn again."""
        limits = np.asarray(bounds, dtype=np.uint64)
        words = self.words(len(limits))
        for i in np.flatnonzero(_unfair(words, limits)):
            while _unfair(words[i], limits[i]):
                words[i] = self.words(1)[0]
        return (words % limits).astype(np.int64)

    def permutation(self, n: int) -> npt.NDArray[np.int64]:
        """0 … n−1 in random order, shape (n,), int64, by Fisher and Yates: i = n−1 … 1 swaps with j ≤ i."""
        order: npt.NDArray[np.int64] = _swapped(self.integers_below(np.arange(n, 1, -1))[None, :], n)[0]
        return order

    def permutations(self, count: int, n: int) -> npt.NDArray[np.int64]:
        """What `permutation` gives when it is called `count` times, shape (count, n)."""
        before, bounds = self.state, np.tile(np.arange(n, 1, -1, dtype=np.uint64), count)
        words = self.words(len(bounds))
        if not np.any(_unfair(words, bounds)):
            return _swapped((words % bounds).astype(np.int64).reshape(count, max(n - 1, 0)), n)
        self.state = before
        return np.stack([self.permutation(n) for _ in range(count)])


def _unfair(words: Any, bounds: Any) -> Any:
    """Whether a word is beyond the last multiple of its bound below 2⁶⁴, both uint64."""
    most = np.uint64(2**64 - 1)
    return words > most - (most % bounds + np.uint64(1)) % bounds


def _swapped(partners: npt.NDArray[np.int64], n: int) -> npt.NDArray[np.int64]:
    """For each row of swap partners, of i = n−1 … 1, the permutation that the swaps make of 0 … n−1."""
    count = len(partners)
    orders = np.tile(np.arange(n), (count, 1))
    if count > n:
        rows = np.arange(count)
        for i, j in zip(range(n - 1, 0, -1), partners.T, strict=True):
            orders[:, i], orders[rows, j] = orders[rows, j], orders[:, i].copy()
        return orders
    if orders.size >= COMPILED_FROM:
        from backprop_ref.kernels.shuffling import swaps as compiled_swaps

        compiled_swaps()(np.ascontiguousarray(partners), orders)
        return orders
    for row, swaps in enumerate(partners.tolist()):
        order = list(range(n))
        for i, j in zip(range(n - 1, 0, -1), swaps, strict=True):
            order[i], order[j] = order[j], order[i]
        orders[row] = order
    return orders
