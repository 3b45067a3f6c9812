"""NumPy, the default backend."""

import contextlib
import copy
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import numpy.typing as npt

from backprop_ref.backends.arithmetic import Fast, Reproducible
from backprop_ref.backends.array import ArrayBackend
from backprop_ref.backends.base import Array, Shares, Trainer
from backprop_ref.dropout import Rates
from backprop_ref.errors import InvalidInput
from backprop_ref.kernels import ordered
from backprop_ref.network import Network
from backprop_ref.optimizers import Optimizer

SHARED_FROM = 2**25
"""From how many multiplications on a product is left to the BLAS's own threads.

Below, one thread is as fast on an idle machine and much faster on a busy one, where threads spin while they wait for
each other: 64-1024-10 at batch 64, beside two busy loops on two cores, took 36 s of computing with two threads and
3.6 s with one.
"""


class NumpyBackend(ArrayBackend):
    """The pairs on NumPy; `threads` limits the BLAS, and ordered products."""

    name = "numpy"

    def suited(self, multiplications: int) -> "NumpyBackend":
        """The backend for products of that size: with one thread for small ones, unless a number was given."""
        if self.threads is not None or multiplications >= SHARED_FROM:
            return self
        limited = copy.copy(self)
        limited.threads = 1
        return limited

    def to_numpy(self, a: Array) -> npt.NDArray[Any]:
        return np.asarray(a)

    def trainer(
        self,
        network: Network,
        optimizer: Optimizer,
        dtype: str,
        batch_size: int,
        shards: int,
        metric: str,
        steps_ahead: int | None = None,
        dropout: Rates = (),
        *,
        weighted: bool = False,
    ) -> Trainer | None:
        """Whole epochs in buffers that are used again, for fast numerics; see `numpy_trainer`."""
        if self.numerics != "fast":
            return None
        from backprop_ref.backends import numpy_trainer

        return numpy_trainer.create(network, optimizer, dtype, batch_size, shards, metric, dropout, weighted)

    def on_ranks(self, trainer: Any, shares: Shares) -> Trainer:
        """See `backends.base.OnRanks`."""
        from backprop_ref.backends.numpy_ranks import RanksTrainer

        return RanksTrainer(trainer, shares)

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        """Overflow and NaN are values here, not warnings; the BLAS and ordered products have `threads` threads."""
        before = ordered.THREADS.set(self.threads or cores())
        try:
            with np.errstate(all="ignore"), blas_threads(self.threads):
                yield
        finally:
            ordered.THREADS.reset(before)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def blas_threads(threads: int | None) -> AbstractContextManager[object]:
    """A context in which the BLAS has that many threads; None leaves its own setting."""
    if threads is None:
        return contextlib.nullcontext()
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[object] = threadpool_limits(limits=threads, user_api="blas")
    return limits


def create(arithmetic: type[Fast] | type[Reproducible], device: str | None, threads: int | None) -> NumpyBackend:
    if device not in {None, "cpu"}:
        raise InvalidInput(f"backend numpy has no device '{device}': its only device is cpu")
    return NumpyBackend(np, arithmetic(np), threads=threads)
