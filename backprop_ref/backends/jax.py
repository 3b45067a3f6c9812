"""JAX, one operation at a time; float64 is switched on inside our scope alone."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from backprop_ref.backends.arithmetic import Fast, Reproducible
from backprop_ref.backends.array import ArrayBackend
from backprop_ref.backends.base import Array
from backprop_ref.errors import BackendUnavailable, InvalidInput


class JaxBackend(ArrayBackend):
    """The pairs on jax.numpy; devices cpu, gpu, tpu. Has fast numerics only."""

    name = "jax"

    def asarray(self, x: npt.ArrayLike, dtype: str, copy: bool = False) -> Array:
        import jax

        return jax.device_put(np.array(x, dtype=dtype), self._device)

    def to_numpy(self, a: Array) -> npt.NDArray[Any]:
        return np.asarray(a)

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        import jax

        with jax.enable_x64(True), jax.default_device(self._device), jax.default_matmul_precision("highest"):
            yield


def create(arithmetic: type[Fast] | type[Reproducible], device: str | None, threads: int | None) -> JaxBackend:
    if arithmetic.numerics == "reproducible":
        raise InvalidInput(
            "backend jax has fast numerics only: it turns some divisions into products with a reciprocal and flushes "
            "subnormal numbers; use numpy, numba or torch for reproducible numerics"
        )
    if threads is not None:
        raise InvalidInput("backend jax cannot be given a number of threads; leave threads unset")
    import jax

    try:
        chosen = jax.devices(device or "cpu")[0]
    except RuntimeError as error:
        raise BackendUnavailable(f"backend jax: installed, but no device '{device}': {error}") from None
    return JaxBackend(jax.numpy, arithmetic(jax.numpy), chosen)
