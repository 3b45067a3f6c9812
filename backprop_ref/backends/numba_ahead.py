"""A program with constants, compiled by another process while this one trains with the program for every network."""

import contextlib
import os
import pickle
import subprocess
import sys
import weakref

from backprop_ref.kernels.fused import one_network
from backprop_ref.kernels.fused.epochs import SIGNATURE
from backprop_ref.kernels.fused.one_network import Shape

COMMAND = "from backprop_ref.backends.numba_ahead import compile_it; compile_it()"


class Ahead:
    """The other process. It ends with this object, and with the program that made it."""

    def __init__(self, dtype: str, shape: Shape) -> None:
        read, write = os.pipe()
        with os.fdopen(read, "rb") as given, os.fdopen(write, "wb") as giving:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", COMMAND],
                stdin=given,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            weakref.finalize(self, _end, self._process)
            giving.write(pickle.dumps((dtype, shape)))

    def is_over(self) -> bool:
        """Whether it has ended, with its program on disk or without."""
        return self._process.poll() is not None


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()


def compile_it() -> None:
    """What the other process does, after everything else that wants a processor."""
    with contextlib.suppress(AttributeError, OSError):
        os.nice(10)
    one_network.program(*pickle.load(sys.stdin.buffer)).compile(SIGNATURE)
