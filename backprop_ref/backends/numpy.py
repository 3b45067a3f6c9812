"""NumPy, the default backend."""

import contextlib

import numpy as np

from backprop_ref.backends.array import ArrayBackend
from backprop_ref.errors import InvalidInput


class NumpyBackend(ArrayBackend):
    """The pairs on NumPy; `threads` limits the BLAS."""

    name = "numpy"

    def to_numpy(self, a):
        return np.asarray(a)

    def trainer(self, network, optimizer, dtype, batch_size, shards, metric, steps_ahead=None):
        """Whole epochs in buffers that are used again, for fast numerics; see `numpy_trainer`."""
        if self.numerics != "fast":
            return None
        from backprop_ref.backends import numpy_trainer

        return numpy_trainer.create(network, optimizer, dtype, batch_size, shards, metric)

    @contextlib.contextmanager
    def scope(self):
        """Overflow and NaN are values here, not warnings; the BLAS has `threads` threads."""
        with np.errstate(all="ignore"), blas_threads(self.threads):
            yield


def blas_threads(threads):
    """A context in which the BLAS has that many threads; None leaves its own setting."""
    if threads is None:
        return contextlib.nullcontext()
    from threadpoolctl import threadpool_limits

    return threadpool_limits(limits=threads, user_api="blas")


def create(arithmetic, device, threads):
    if device not in {None, "cpu"}:
        raise InvalidInput(f"backend numpy has no device '{device}': its only device is cpu")
    return NumpyBackend(np, arithmetic(np), threads=threads)
