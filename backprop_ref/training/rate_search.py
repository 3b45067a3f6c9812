"""A learning rate to begin with: many are tried, each for a batch, from far too small to far too large."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import SupportsFloat

import numpy as np
import numpy.typing as npt

from backprop_ref import dropout as dropping
from backprop_ref.api import check_fit
from backprop_ref.arrays import Batch, BatchLike, Rows, Vector
from backprop_ref.backends import get_backend
from backprop_ref.backends.base import BackendChoice
from backprop_ref.errors import InvalidInput
from backprop_ref.kernels import elementary
from backprop_ref.network import Network
from backprop_ref.optimizers import SGD, Optimizer
from backprop_ref.parameters import Parameters
from backprop_ref.progress import Bar
from backprop_ref.random import Stream
from backprop_ref.sample_weights import ClassWeight, weighted
from backprop_ref.training.arguments import finite_data, integer
from backprop_ref.training.pairs import PairsTrainer
from backprop_ref.training.train import suited

SMOOTHING = 0.9
DIVERGED = 4.0
"""How many times its smallest value the smoothed loss is where the search ends."""
SHARE = 10.0


@dataclass(frozen=True)
class RateSearch:
    """What a search for a learning rate found.

    Attributes
    ----------
    rates : array of shape (batches,)
        Those that were tried, one for each batch.
    losses, smoothed : array of shape (batches,)
        The loss of each batch before its update, and the moving mean of them by which the rule goes.
    suggested : float or None
        A tenth of the rate at which the smoothed loss was least; None where it never fell.
    reason : str
        Why, in a sentence.

    Examples
    --------
    >>> import backprop_ref as br
    >>> network = br.Network([1, 1], ["linear"], "mean_squared_error")
    >>> br.find_learning_rate(network, network.init(), [[1.0], [2.0]], [[2.0], [4.0]], highest=1.0).reason
    'the loss still fell at 1, the highest rate that was tried; a tenth of it is suggested'
    """

    rates: npt.NDArray[np.float64]
    losses: npt.NDArray[np.float64]
    smoothed: npt.NDArray[np.float64]
    suggested: float | None
    reason: str


def find_learning_rate(
    network: Network,
    params: Parameters,
    x: BatchLike,
    y: BatchLike,
    *,
    lowest: float = 1e-6,
    highest: float = 10.0,
    steps: int = 100,
    batch_size: int | None = 32,
    optimizer: Optimizer | None = None,
    shuffle: bool = True,
    seed: int = 1,
    shards: int = 1,
    sample_weight: npt.ArrayLike | None = None,
    class_weight: ClassWeight | None = None,
    dropout: SupportsFloat | Iterable[SupportsFloat] | None = None,
    backend: BackendChoice = None,
    numerics: str | None = None,
    device: str | None = None,
    threads: int | None = None,
    progress: bool | None = None,
) -> RateSearch:
    """Suggests a learning rate, by training a copy of `params` with one that rises from batch to batch.

    The rates are in geometric progression; the search ends where the smoothed loss is four times its least value, or
    not finite. Suggested is a tenth of the rate at which the smoothed loss was least: there it no longer falls, and ten
    times less is the usual margin. The test is Smith's (Cyclical learning rates for training neural networks, WACV
    2017), the rule that of `lr_find` in Howard and Gugger's fastai, its `minimum`. The moving mean is
    ``m ← 0.9·m + 0.1·loss``, divided by ``1 − 0.9^t``.

    Parameters
    ----------
    network, params, x, y
        As of `train`.
    lowest, highest : float
        The first and the last rate.
    steps : int
        Batches at most, 2 or more.
    batch_size, optimizer, shuffle, seed, shards, sample_weight, class_weight, dropout
        As of `train`; the optimizer's own learning rate is not used.
    backend, numerics, device, threads : optional
        See `get_backend`.
    progress : bool, optional
        As of `train`.

    Returns
    -------
    RateSearch
        The same for the same seed; under reproducible numerics on every backend.

    Raises
    ------
    InvalidInput
        Arguments that do not fit.

    Examples
    --------
    >>> import backprop_ref as br
    >>> x, y = [[0, 0], [0, 1], [1, 0], [1, 1]], [[0], [1], [1], [1]]
    >>> network = br.Network([2, 1], ["sigmoid"], "binary_cross_entropy")
    >>> found = br.find_learning_rate(network, network.init(), x, y, batch_size=2, highest=1000.0)
    >>> found.suggested is not None and 0.1 < found.suggested < 100.0
    True
    """
    check_fit(network, params)
    x, y, weights = weighted(*finite_data(network, x, y, params.dtype), sample_weight, class_weight)
    optimizer = SGD() if optimizer is None else optimizer
    if not isinstance(optimizer, Optimizer):
        raise InvalidInput(f"optimizer={optimizer!r}: one of mini-batches such as br.SGD() or br.Adam() is needed")
    numbers = all(isinstance(each, int | float) and not isinstance(each, bool) for each in (lowest, highest))
    if not numbers or not 0.0 < lowest < highest < math.inf:
        raise InvalidInput(f"lowest={lowest!r}, highest={highest!r}: two numbers above 0 are needed, the first smaller")
    rows, steps, seed = len(x), integer("steps", steps, 2), integer("seed", seed, 0)
    size = rows if batch_size is None else min(integer("batch_size", batch_size, 1), rows)
    computing = suited(get_backend(backend, numerics, device, threads), network, size)
    rates_of_layers = dropping.checked(dropout, network)
    pairs = PairsTrainer(computing, network, optimizer, size, integer("shards", shards, 1), "r2", rates_of_layers)
    stream = Stream(seed, "shuffle")
    rates = _rates(float(lowest), float(highest), steps)
    order = stream if shuffle and batch_size is not None else None
    with Bar("batch", steps, progress) as bar:
        losses = _tried(pairs, params.copy(), (x, y), weights, rates, order, seed, bar)
    return _judged(rates[: len(losses)], losses, whole=len(losses) == steps)


def _rates(lowest: float, highest: float, steps: int) -> npt.NDArray[np.float64]:
    """A geometric progression, by our own exp and log."""
    m = elementary.for_numpy("float64")
    ends = m.log(np.array([lowest, highest]))
    found: npt.NDArray[np.float64] = m.exp(ends[0] + (ends[1] - ends[0]) * (np.arange(steps) / (steps - 1)))
    found[0], found[-1] = lowest, highest
    return found


def _tried(
    pairs: PairsTrainer,
    params: Parameters,
    data: tuple[Batch, Batch],
    weights: Vector | None,
    rates: npt.NDArray[np.float64],
    stream: Stream | None,
    seed: int,
    bar: Bar,
) -> npt.NDArray[np.float64]:
    """The loss of each batch, until it has diverged; without a stream rows stay in order."""
    (x, y), slots, losses, watch = data, pairs.optimizer.init(params.flat), list[float](), _Mean()
    epoch, batches, seeds = 0, list[Rows](), None
    with pairs.backend.scope():
        for rate in rates.tolist():
            if not batches:
                batches = pairs.batches(np.arange(len(x)) if stream is None else stream.permutation(len(x)))
                if pairs.rates:
                    seeds = dropping.seeds(dropping.key_of(seed), epoch, 1, len(pairs.rates))[0]
                epoch += 1
            at = batches.pop(0)
            masks, counted = pairs.masks(seeds, at, params), None if weights is None else weights[at]
            loss, _ = pairs.step(params, slots, x[at], y[at], rate, masks, counted)
            losses.append(float(pairs.backend.to_numpy(loss)))
            bar.update(len(losses), rate=rate, loss=losses[-1])
            if not watch.add(losses[-1]) < DIVERGED * watch.least:
                break
    return np.array(losses)


class _Mean:
    """A moving mean that is not drawn towards where it begins."""

    def __init__(self) -> None:
        self.total, self.weight, self.least = 0.0, 1.0, math.inf

    def add(self, loss: float) -> float:
        self.total = SMOOTHING * self.total + (1.0 - SMOOTHING) * loss
        self.weight *= SMOOTHING
        mean = self.total / (1.0 - self.weight)
        self.least = min(self.least, mean)
        return mean


def _judged(rates: npt.NDArray[np.float64], losses: npt.NDArray[np.float64], whole: bool) -> RateSearch:
    mean = _Mean()
    smoothed = np.array([mean.add(loss) for loss in losses.tolist()])
    at = int(np.nanargmin(smoothed)) if np.isfinite(smoothed).any() else 0
    where = f"the smoothed loss is least at {rates[at]:.3g}"
    if at == 0:
        reason = f"the loss never fell, from {rates[0]:.3g} on: begin lower, or look at the data"
        return RateSearch(rates, losses, smoothed, None, reason)
    if at == len(rates) - 1 and whole:
        where = f"the loss still fell at {rates[at]:.3g}, the highest rate that was tried"
    return RateSearch(rates, losses, smoothed, float(rates[at]) / SHARE, f"{where}; a tenth of it is suggested")
