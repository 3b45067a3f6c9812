"""What scikit-learn draws from its `random_state`, in its order: initial weights, then an order of the samples for each
epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from backprop_ref.network import Network
from backprop_ref.parameters import Parameters


def initial(network: Network, random: np.random.RandomState, dtype: str) -> Parameters:
    """Glorot and Bengio's uniform weights (2010), √3 times smaller before sigmoids; biases are drawn too."""
    params = Parameters.zeros(network.sizes, dtype)
    hidden = network.activations[0]
    for layer, (W, b) in enumerate(zip(params.W, params.b, strict=True)):
        if layer < network.n_layers - 1:
            hidden = network.activations[layer]
        limit = np.sqrt((2.0 if hidden == "sigmoid" and network.n_layers > 1 else 6.0) / sum(W.shape))
        W[...] = random.uniform(-limit, limit, W.shape)
        b[...] = random.uniform(-limit, limit, b.shape)
    return params


class Shuffled:
    """A `backprop_ref.random.Orders`: each order is the last one, shuffled."""

    def __init__(self, random: np.random.RandomState, samples: int) -> None:
        self._random, self._order = random, np.arange(samples)

    @property
    def state(self) -> tuple[Any, npt.NDArray[np.int64]]:
        return self._random.get_state(legacy=False), self._order

    @state.setter
    def state(self, state: Any) -> None:
        if isinstance(state, tuple):  # the state of a training that goes on is of an order that has passed
            random, self._order = state
            self._random.set_state(random)

    def permutations(self, count: int, n: int) -> npt.NDArray[np.int64]:
        """The next `count` orders, shape (count, n)."""
        orders: Sequence[npt.NDArray[np.int64]] = [self._next() for _ in range(count)]
        return np.stack(orders)

    def _next(self) -> npt.NDArray[np.int64]:
        indices = np.arange(len(self._order))
        self._random.shuffle(indices)
        self._order = self._order[indices]
        return self._order
