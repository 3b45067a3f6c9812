"""CuPy: NVIDIA GPUs."""

import numpy as np

from backprop_ref.backends.array import ArrayBackend
from backprop_ref.errors import BackendUnavailable, InvalidInput


class CupyBackend(ArrayBackend):
    """The pairs on CuPy arrays; devices cuda, cuda:0, …"""

    name = "cupy"

    def asarray(self, x, dtype, copy=False):
        with self._device:
            return self.xp.array(np.ascontiguousarray(x, dtype=dtype))

    def to_numpy(self, a):
        return self.xp.asnumpy(a)

    def synchronize(self):
        self._device.synchronize()

    def scope(self):
        return self._device


def create(arithmetic, device, threads):
    if arithmetic.numerics == "reproducible":
        raise InvalidInput("backend cupy has fast numerics only; use numpy for reproducible numerics")
    import cupy

    number = (device or "cuda:0").removeprefix("cuda").removeprefix(":") or "0"
    if not number.isdecimal():
        raise InvalidInput(f"backend cupy has no device '{device}': its devices are cuda:0, cuda:1, …")
    try:
        chosen = cupy.cuda.Device(int(number))
        cupy.ones(1).sum()
    except Exception as error:
        raise BackendUnavailable(f"backend cupy: installed, but no device: {str(error).splitlines()[0]}") from None
    backend = CupyBackend(cupy, arithmetic(cupy), chosen, threads)
    backend.device = f"cuda:{number}"
    return backend
