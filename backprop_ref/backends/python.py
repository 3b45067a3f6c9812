"""The per-neuron loops as they are written, in plain Python: slow, and made to be stepped through."""

import platform
from contextlib import AbstractContextManager

import numpy as np

from backprop_ref.backends.arithmetic import Fast, Reproducible
from backprop_ref.backends.base import Array
from backprop_ref.backends.loops import LoopsBackend, numerics_on_cpu
from backprop_ref.kernels import neuron_loops


class PythonBackend(LoopsBackend):
    """The pairs in plain Python, on one thread whatever `threads` says."""

    name = "python"
    version = platform.python_version()

    def run(self, loop: str, work: int, *arrays: Array) -> None:
        neuron_loops.plain(arrays[0].dtype.name)[loop](*arrays)

    def scope(self) -> AbstractContextManager[None]:
        """Overflow and NaN are values here, not warnings."""
        return np.errstate(all="ignore")


def create(arithmetic: type[Fast] | type[Reproducible], device: str | None, threads: int | None) -> PythonBackend:
    return PythonBackend(numerics_on_cpu("python", arithmetic, device), threads)
