"""The kernels of ``cuda/`` compiled for CuPy's current device, kept on disk, and launched by name."""

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

import numpy as np

from .cuda_source import OPTIONS, THREADS, TILE, kernels, source

MOST_BLOCKS = 2**31 - 1
"""What a grid can hold in its first dimension, the only one used; kernels go round where there is more to do."""

VERSIONS = {"affine_forward": 2, "affine_backward": 2, "affine_backward_input": 2, "ordered_mean": 2}
"""The version of a kernel that is launched, 1 where nothing is said."""


class Kernels:
    """All kernels for one dtype and the device that is current when they are made.

    Parameters
    ----------
    cupy : module
    dtype : "float64" or "float32"
    fast : bool
        As in `cuda_source.source`.

    Raises
    ------
    cupy.cuda.compiler.CompileException, RuntimeError
        NVRTC refuses the kernels, or is not there.
    """

    def __init__(self, cupy, dtype, fast):
        text = source(dtype, fast)
        self.real = np.dtype(dtype).type
        # CuPy's own RawModule appends -ftz=true to the options, which sets subnormal float32 numbers to 0.
        module = cupy.cuda.function.Module()
        module.load(_binary(cupy, text, OPTIONS[fast]))
        self._functions = {name: module.get_function(name) for name in kernels(text)}

    def each(self, name, work, *arguments):
        """Launches a kernel in which each thread computes one of `work` entries or rows, or as many as a grid needs."""
        self._launch(name, -(-work // THREADS), arguments)

    def tiles(self, name, rows, columns, *arguments):
        """Launches a product with so many rows and columns: version 1 entry by entry, version 2 tile by tile."""
        if VERSIONS[name] == 1:
            self.each(name, rows * columns, *arguments)
        else:
            self._launch(name, -(-rows // TILE) * -(-columns // TILE), arguments)

    def _launch(self, name, blocks, arguments):
        """Arguments are arrays, Python floats for real numbers and Python ints for whole ones."""
        if not blocks:
            return
        packed = tuple(
            self.real(each) if isinstance(each, float) else np.int64(each) if isinstance(each, int) else each
            for each in arguments
        )
        function = self._functions[f"{name}_v{VERSIONS.get(name, 1)}"]
        function((min(blocks, MOST_BLOCKS), 1, 1), (THREADS, 1, 1), packed)


def _binary(cupy, text, options):
    """The machine code of a source text, compiled by NVRTC, or found where CuPy keeps what it has compiled."""
    version = cupy.cuda.nvrtc.getVersion()
    made_from = repr((text, options, cupy.cuda.Device().compute_capability, version, cupy.__version__))
    kept = cache_folder() / f"backprop_ref-{hashlib.sha256(made_from.encode()).hexdigest()}.cubin"
    if kept.is_file():
        return kept.read_bytes()
    binary, _ = cupy.cuda.compiler.compile_using_nvrtc(text, options, None, "backprop_ref.cu")
    if not binary.startswith(b"\x7fELF"):  # PTX, for a GPU that NVRTC does not know: the driver goes on with it
        return binary
    with contextlib.suppress(OSError):  # where nothing can be kept, every process compiles for itself
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=kept.parent, delete=False) as file:
            file.write(binary)
        Path(file.name).replace(kept)
    return binary


def cache_folder():
    """CuPy's own folder for compiled kernels."""
    return Path(os.environ.get("CUPY_CACHE_DIR") or Path.home() / ".cupy" / "kernel_cache")
