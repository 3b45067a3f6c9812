"""The per-neuron loops compiled by Numba, for the CPU."""

import contextlib
import copy
from collections.abc import Iterator
from functools import cache, partial
from typing import Any

import numba
import numpy as np

from backprop_ref.backends import numba_trainer
from backprop_ref.backends.arithmetic import Fast, Reproducible
from backprop_ref.backends.array import refuse_own
from backprop_ref.backends.base import Array, Shares, Trainer
from backprop_ref.backends.loops import LoopsBackend, numerics_on_cpu
from backprop_ref.backends.numba_threads import FORKED, MOST_THREADS, POOL
from backprop_ref.dropout import Rates
from backprop_ref.errors import BackendUnavailable, InvalidInput
from backprop_ref.kernels import neuron_loops
from backprop_ref.kernels.compiling import compiled
from backprop_ref.network import Network
from backprop_ref.optimizers import Optimizer

# From how many multiplications on a loop is shared out among threads: below, waking them costs more.
SHARED_FROM = 2**18
_SHARED = ("affine_forward", "affine_backward", "affine_backward_input")
_DTYPES = {8: "float64", 4: "float32"}  # by size: NumPy takes longer to name a dtype than a small layer needs


class NumbaBackend(LoopsBackend):
    """The pairs compiled; `threads` is Numba's number of threads, and large layers use them."""

    name = "numba"
    version = numba.__version__
    waits = False
    """Whether training waits until all of it is compiled, as it is to be timed."""

    def timed(self) -> "NumbaBackend":
        """This one, to be timed."""
        found = copy.copy(self)
        found.waits = True
        return found

    def run(self, loop: str, work: int, *arrays: Array) -> None:
        dtype = _DTYPES[arrays[0].itemsize]
        if loop in _SHARED and work >= SHARED_FROM and self._has_threads() and POOL.acquire(blocking=False):
            try:
                if self.numerics == "reproducible":
                    check_workers(dtype, numba.get_num_threads())
                loops(dtype, shared=True)[loop](*arrays)
            finally:
                POOL.release()
        else:
            loops(dtype)[loop](*arrays)

    def _check(self, activation: str) -> None:
        super()._check(activation)
        refuse_own(activation, self.name)

    def affine_backward_input(self, delta: Array, W: Array) -> Array:
        """With W laid out column by column, as the innermost loop goes through it."""
        return super().affine_backward_input(delta, np.asfortranarray(W))

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
        specialize: str = "auto",
    ) -> Trainer | None:
        """Whole epochs, compiled; see `numba_trainer.create`. None where Numba is told not to compile."""
        if numba.config.DISABLE_JIT:
            return None
        threads = 1 if FORKED.is_set() else self.threads
        trainer = numba_trainer.create(
            *(network, optimizer, dtype, batch_size, shards, metric, threads),
            *(None if self.waits else steps_ahead, specialize),
            numerics=self.numerics,
            dropout=dropout,
            weighted=weighted,
        )
        if trainer is not None and trainer.shared and self.numerics == "reproducible":
            with POOL:
                check_workers(dtype, trainer.plan.workers)
        return trainer

    def on_ranks(self, trainer: Any, shares: Shares) -> Trainer:
        """See `backends.base.OnRanks`."""
        from backprop_ref.backends.numba_ranks import RanksTrainer

        return RanksTrainer(trainer, shares)

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        """Overflow and NaN are values here, not warnings; Numba has `threads` threads."""
        if self.threads in {None, 1}:
            with np.errstate(all="ignore"):
                yield
            return
        before = numba.get_num_threads()
        numba.set_num_threads(self.threads)
        try:
            with np.errstate(all="ignore"):
                yield
        finally:
            numba.set_num_threads(before)

    def _has_threads(self) -> bool:
        return self.threads != 1 and MOST_THREADS > 1 and not FORKED.is_set() and numba.get_num_threads() > 1


@cache
def check_workers(dtype: str, threads: int) -> None:
    """Whether Numba's threads round to nearest and keep subnormal numbers, as `check_rounding` asks of this one."""
    least, little = np.finfo(dtype).smallest_normal, np.finfo(dtype).eps / 8
    W, b = np.array([[least, little, -little]], dtype), np.array([0.0, 1.0, 1.0], dtype)
    a, z = np.full((16 * threads, 1), 0.5, dtype), np.empty((16 * threads, 3), dtype)
    loops(dtype, shared=True)["affine_forward"](a, W, b, z)
    if not (z == np.array([0.5 * least, 1.0, 1.0], dtype)).all():
        raise BackendUnavailable(
            "reproducible numerics: a thread of Numba's sets small numbers to 0 or does not round to nearest; "
            "a library built with -ffast-math was loaded before these threads were started. Use threads=1, or fast "
            "numerics"
        )


@cache
def loops(dtype: str, shared: bool = False, cache: bool = True) -> dict[str, neuron_loops.Loop]:
    """The functions of `kernels.neuron_loops` by name, compiled for a dtype; with `cache`, the code is stored on disk.

    `shared`: the three of the affine map alone, whose outermost turns are shared out among threads.
    """
    if numba.config.DISABLE_JIT:
        return neuron_loops.plain(dtype)
    if shared:
        return {loop.__name__: compiled(loop, cache=cache, parallel=True) for loop in neuron_loops.affine(numba.prange)}
    from backprop_ref.kernels import scalars
    from backprop_ref.kernels.fused import rows

    compiled_in = partial(compiled, cache=cache)
    return neuron_loops.Loops(partial(scalars.function, dtype), rows.over_arrays(dtype, compiled_in), compiled_in)


def create(arithmetic: type[Fast] | type[Reproducible], device: str | None, threads: int | None) -> NumbaBackend:
    numerics = numerics_on_cpu("numba", arithmetic, device)
    if threads is not None and threads > MOST_THREADS:
        raise InvalidInput(
            f"backend numba cannot use {threads} threads: Numba was started with {MOST_THREADS}; "
            "ask for fewer, or set NUMBA_NUM_THREADS before Python starts"
        )
    return NumbaBackend(numerics, threads)
