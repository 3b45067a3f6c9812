"""Dropout: which hidden units take part for which sample, from a counter-based generator in integers alone.

A unit is dropped with probability p, else its activation is multiplied by 1/(1 − p) (Srivastava, Hinton, Krizhevsky,
Sutskever and Salakhutdinov, JMLR 15, 2014, in the inverted form). Whether it is depends on the training's key, the
epoch, the sample's row in the data, the layer and the unit, and on nothing else: not on the batch, the shards, the
backend or the order of computation. ``arithmetic.md`` has the generator.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, SupportsFloat, TypeAlias

import numpy as np
import numpy.typing as npt

from backprop_ref.arrays import Batch, Rows
from backprop_ref.errors import InvalidInput, check_is
from backprop_ref.kernels.splitmix import word
from backprop_ref.network import Network
from backprop_ref.parameters import check_dtype
from backprop_ref.random import Stream

Seeds: TypeAlias = npt.NDArray[np.uint64]
"""A seed for each hidden layer."""

Rates: TypeAlias = tuple[float, ...]
"""The probability p of each hidden layer; () without dropout."""


def checked(dropout: SupportsFloat | Iterable[SupportsFloat] | None, network: Network) -> Rates:
    """The rates that one number for all hidden layers, or one for each, stand for; () where nothing is dropped."""
    if dropout is None:
        return ()
    hidden, several = network.n_layers - 1, isinstance(dropout, Iterable)
    rates: list[Any] = [*dropout] if isinstance(dropout, Iterable) else [dropout]
    for rate in rates:
        number = isinstance(rate, int | float | np.floating | np.integer) and not isinstance(rate, bool)
        if not number or not 0.0 <= rate < 1.0:
            raise InvalidInput(f"dropout={rate!r}: a probability from 0 to below 1 is needed")
    if several and len(rates) != hidden:
        raise InvalidInput(
            f"dropout has {len(rates)} rates, and the network {hidden} hidden layers: give one for each, or one for all"
        )
    if any(rates) and not hidden:
        raise InvalidInput("dropout is of hidden layers, and this network has none; leave it out")
    return tuple(map(float, rates if several else rates * hidden)) if any(rates) else ()


def key_of(seed: int) -> int:
    """The key of a training: a word of a stream of its own."""
    return int(Stream(seed, "dropout").words(1)[0])


def seeds(key: int, epoch: int, count: int, layers: int) -> Seeds:
    """The seeds of `count` epochs from `epoch` on, counted from 0: shape (count, layers), uint64."""
    places = np.arange(epoch * layers, (epoch + count) * layers, dtype=np.uint64)
    found: Seeds = word(np.uint64(key), places).reshape(count, layers)
    return found


def least_kept(rate: float) -> int:
    """From which of the integers below 2³² on a unit is kept."""
    return math.ceil(rate * 2.0**32)


def mask(seed: np.uint64, rate: float, rows: Rows, width: int, dtype: npt.DTypeLike) -> Batch:
    """What a layer's activations are multiplied by, shape (rows, width): 0 or 1/(1 − rate), rounded once.

    The stream of `seed` has ⌈width/2⌉ words for each row of the data, from the first on; the lower half of a word is
    of an even unit, the upper half of the next.
    """
    pairs = (width + 1) // 2
    places = rows.astype(np.uint64)[:, None] * np.uint64(pairs) + np.arange(pairs, dtype=np.uint64)
    halves = word(seed, places).astype("<u8", copy=False).view("<u4")[:, :width]
    kept = halves.astype(np.uint64) >= np.uint64(least_kept(rate))
    found: Batch = kept * np.array(1.0 / (1.0 - rate), dtype)
    return found


def masks(rates: Rates, of_epoch: Seeds, rows: Rows, widths: Sequence[int], dtype: npt.DTypeLike) -> list[Batch | None]:
    """The masks of the hidden layers for some rows of the data; None where nothing is dropped."""
    return [
        mask(seed, rate, rows, width, dtype) if rate else None
        for seed, rate, width in zip(of_epoch, rates, widths, strict=True)
    ]


def dropout_masks(
    network: Network,
    dropout: SupportsFloat | Iterable[SupportsFloat],
    rows: npt.ArrayLike,
    *,
    seed: int = 1,
    epoch: int = 1,
    dtype: str = "float64",
) -> list[Batch | None]:
    """The masks that training uses: what the activations of each hidden layer are multiplied by.

    Parameters
    ----------
    network : Network
    dropout : float or sequence of float
        As of `train`.
    rows : int array of shape (batch,)
        Rows of the training data, from 0.
    seed, epoch : int
        The seed of the training; the epoch, counted from 1.
    dtype : {'float64', 'float32'}

    Returns
    -------
    list
        For each hidden layer an array of shape (batch, n_out), of 0 and 1/(1 − p); None where nothing is dropped. The
        `masks` of `value_and_grad`.

    Raises
    ------
    InvalidInput
        Rates outside [0, 1) or of another number of layers, rows or an epoch that no training has.

    Examples
    --------
    >>> import backprop_ref as br
    >>> network = br.Network([2, 4, 1], ["tanh", "linear"], "mean_squared_error")
    >>> br.dropout_masks(network, 0.5, [0, 1])[0].tolist()
    [[2.0, 0.0, 2.0, 2.0], [2.0, 0.0, 0.0, 2.0]]
    """
    check_is("network", network, Network, "a Network")
    rates, places = checked(dropout, network), np.asarray(rows)
    if places.ndim != 1 or places.dtype.kind not in "iu" or (places < 0).any():
        raise InvalidInput("rows: whole numbers from 0 in one dimension are needed")
    if isinstance(epoch, bool) or not isinstance(epoch, int | np.integer) or epoch < 1:
        raise InvalidInput(f"epoch={epoch!r}: a whole number, 1 or more, is needed")
    check_dtype(np.dtype(dtype))
    hidden = network.sizes[1:-1]
    of_epoch = seeds(key_of(seed), int(epoch) - 1, 1, len(hidden))[0]
    return masks(rates or (0.0,) * len(hidden), of_epoch, places, hidden, dtype)
