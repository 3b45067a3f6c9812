"""array-api-strict, which allows only what the array API standard promises; its fake devices refuse silent copies."""

from typing import Any

import numpy.typing as npt

from backprop_ref.backends.arithmetic import Fast, Reproducible
from backprop_ref.backends.array import ArrayBackend
from backprop_ref.backends.base import Array
from backprop_ref.backends.numpy import NumpyBackend
from backprop_ref.errors import InvalidInput


class StrictBackend(ArrayBackend):
    """The pairs on array-api-strict; devices cpu, device1, device2."""

    name = "array_api_strict"
    scope = NumpyBackend.scope

    def to_numpy(self, a: Array) -> npt.NDArray[Any]:
        return super().to_numpy(self.xp.asarray(a, device=self.xp.Device("CPU_DEVICE")))


def create(arithmetic: type[Fast] | type[Reproducible], device: str | None, threads: int | None) -> StrictBackend:
    import array_api_strict as xp

    names = {"cpu": "CPU_DEVICE", "CPU_DEVICE": "CPU_DEVICE", "device1": "device1", "device2": "device2"}
    if device is not None and device not in names:
        raise InvalidInput(f"backend array_api_strict has no device '{device}': its devices are cpu, device1, device2")
    chosen = None if device is None else xp.Device(names[device])
    return StrictBackend(xp, arithmetic(xp), chosen, threads)
