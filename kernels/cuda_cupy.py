"""The kernels of ``cuda/`` compiled for CuPy's current device, cached on disk, and launched by name."""

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from .cuda_source import OPTIONS, THREADS, TILE, kernels, source

MOST_BLOCKS = 2**31 - 1
"""What a grid can hold in its first dimension, the only one used; kernels go round where there is more to do."""

VERSIONS = {"affine_forward": 2, "affine_backward": 2, "affine_backward_input": 2, "ordered_mean": 2}
"""The version of a kernel that is launched, 1 where nothing is said."""

DIGEST = hashlib.sha256().digest_size


class Kernels:
    """All kernels for one dtype and the device that is current when they are made; `fast` as in `cuda_source.source`.

    Where NVRTC refuses the kernels, is not there, or does not know the GPU, it raises CuPy's CompileException or a
    RuntimeError.
    """

    def __init__(self, cupy: Any, dtype: str, fast: bool) -> None:
        text = source(dtype, fast)
        self.real: type[np.floating] = np.dtype(dtype).type
        # CuPy's own RawModule appends -ftz=true to the options, which sets subnormal float32 numbers to 0.
        module = loaded(cupy, text, OPTIONS[fast])
        self._functions = {name: module.get_function(name) for name in kernels(text)}

    def each(self, name: str, work: int, *arguments: Any) -> None:
        """Launches a kernel in which each thread computes one of `work` entries or rows, or as many as a grid needs."""
        self._launch(name, -(-work // THREADS), arguments)

    def tiles(self, name: str, rows: int, columns: int, *arguments: Any) -> None:
        """Launches a product with so many rows and columns: version 1 entry by entry, version 2 tile by tile."""
        if VERSIONS[name] == 1:
            self.each(name, rows * columns, *arguments)
        else:
            self._launch(name, -(-rows // TILE) * -(-columns // TILE), arguments)

    def _launch(self, name: str, blocks: int, arguments: tuple[Any, ...]) -> None:
        """Arguments are arrays, Python floats for real numbers and Python ints for whole ones."""
        if not blocks:
            return
        packed = tuple(
            self.real(each) if isinstance(each, float) else np.int64(each) if isinstance(each, int) else each
            for each in arguments
        )
        function = self._functions[f"{name}_v{VERSIONS.get(name, 1)}"]
        function((min(blocks, MOST_BLOCKS), 1, 1), (THREADS, 1, 1), packed)


def loaded(cupy: Any, text: str, options: tuple[str, ...]) -> Any:
    """A source text as a module: compiled by NVRTC, or found in CuPy's cache."""
    version, capability = cupy.cuda.nvrtc.getVersion(), cupy.cuda.Device().compute_capability
    made_from = repr((text, options, capability, version, cupy.__version__))
    name = f"backprop_ref-{hashlib.sha256(made_from.encode()).hexdigest()}.cubin"
    unloadable = cupy.cuda.driver.CUDADriverError
    cached = _read(name)
    if cached is not None:
        with contextlib.suppress(unloadable):
            return _module(cupy, cached)
    binary, _ = cupy.cuda.compiler.compile_using_nvrtc(text, options, None, "backprop_ref.cu")
    try:
        module = _module(cupy, binary)
    except unloadable as error:
        if "NO_BINARY_FOR_GPU" not in str(error):
            raise
        # CuPy asks NVRTC for the newest GPU that it knows, whose machine code others do not run.
        raise RuntimeError(
            f"NVRTC {'.'.join(map(str, version))} does not know GPUs of compute capability {capability[:-1]}."
            f"{capability[-1]}; update it, and CuPy"
        ) from error
    _cache(name, binary)
    return module


def _module(cupy: Any, binary: bytes) -> Any:
    module = cupy.cuda.function.Module()
    module.load(binary)
    return module


def _read(name: str) -> bytes | None:
    """The cached machine code; None if there is none, or it was damaged."""
    with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: no home
        content = (cache_folder() / name).read_bytes()
        digest, binary = content[:DIGEST], content[DIGEST:]
        return binary if digest == hashlib.sha256(binary).digest() else None
    return None


def _cache(name: str, binary: bytes) -> None:
    """Caches machine code behind its hash; where nothing can be written, every process compiles for itself."""
    if not binary.startswith(b"\x7fELF"):  # but PTX, as CUPY_COMPILE_WITH_PTX asks for
        return
    with contextlib.suppress(OSError, RuntimeError):
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            file.write(hashlib.sha256(binary).digest() + binary)
        Path(file.name).replace(folder / name)


def cache_folder() -> Path:
    """CuPy's own folder for compiled kernels."""
    return Path(os.environ.get("CUPY_CACHE_DIR") or Path.home() / ".cupy" / "kernel_cache")
