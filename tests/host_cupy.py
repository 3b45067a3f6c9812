"""Stands in for the parts of CuPy that the backend uses, its GPU being the host: cupy (host emulation).

The kernels are those of ``kernels/cuda``, compiled by the C++ compiler behind ``host_cuda.h``, and launched as CUDA
would: every argument by its address. It is stricter than CuPy: an array holds NaN until it is written to, a launch
checks each argument against the kernel's text and looks for numbers written beside an array, what is copied to it is
read as late as CuPy may, and what CuPy would copy through the host, flush to zero, sum in another order or refuse while
a graph is captured, is treated so here. How long anything takes says nothing of a GPU: `make` gives a backend that is
marked `emulated`, and of such no times are told.
"""

import atexit
import contextlib
import ctypes
import platform
import shutil
import subprocess
import sys
import tempfile
import types
import weakref
from functools import cache
from pathlib import Path

import numpy as np
from backprop_ref.kernels import cuda_source

from backprop_ref.errors import BackendUnavailable

NAME = "cupy (host emulation)"
FOLDER = Path(__file__).parent
GUARD = 4096  # bytes on either side of an array
ALIGNMENT = 512  # of an array in bytes, as CuPy allocates
_PATTERN = 0xA5


class ImplicitConversion(TypeError):
    """An array of the device was used as one of the host."""


# Arrays.


class ndarray:
    """An array in the device's memory, which only kernels, and what is asked for by name, can read."""

    def __init__(self, shape, dtype=float, _host=None, _base=None):
        if _host is None:
            check_not_capturing("an allocation")
            shape = (shape,) if isinstance(shape, int) else tuple(shape)
            dtype = np.dtype(dtype)
            count = int(np.prod(shape)) * dtype.itemsize
            device.take(count)
            _base = np.full(count + 2 * GUARD + ALIGNMENT, _PATTERN, np.uint8)
            start = -_base.ctypes.data % ALIGNMENT
            _base = _base[start : start + count + 2 * GUARD]
            _host = _base[GUARD : GUARD + count].view(dtype).reshape(shape)
            _host[...] = np.nan if dtype.kind == "f" else np.iinfo(dtype).min
        self._host, self._base = _host, _base

    shape = property(lambda self: self._host.shape)
    dtype = property(lambda self: self._host.dtype)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    strides = property(lambda self: self._host.strides)
    flags = property(lambda self: types.SimpleNamespace(c_contiguous=self._host.flags.c_contiguous))
    T = property(lambda self: self._view(self._host.T))
    device = property(lambda self: device)

    def _view(self, host):
        return type(self)(None, _host=host, _base=self._base)

    def __getitem__(self, key):
        found = self._host[key]
        assert np.shares_memory(found, self._host) or not found.size, "a copy, which the backend does not need"
        return self._view(found)

    def reshape(self, *shape):
        return self._view(self._host.reshape(*shape))

    def get(self):
        check_not_capturing("a transfer")
        copy_what_was_sent()
        return self._host.copy()

    def set(self, array):
        check_not_capturing("a transfer")
        assert type(array) is np.ndarray and array.flags.c_contiguous
        assert (array.shape, array.dtype) == (self.shape, self.dtype), "CuPy would refuse this"
        sent[self] = weakref.ref(array)

    def __add__(self, other):
        return add(self, other)

    def __mul__(self, other):
        return _computed(np.multiply, self, other)

    def __array__(self, *_, **__):
        raise ImplicitConversion("Implicit conversion to a NumPy array is not allowed")

    def _refuse(self, *_):
        raise ImplicitConversion("this waits for the GPU and copies through the host")

    __float__ = __int__ = __bool__ = __iter__ = __len__ = __index__ = _refuse


sent: weakref.WeakKeyDictionary[ndarray, weakref.ref] = weakref.WeakKeyDictionary()
"""What `ndarray.set` was given; it is copied when the device next does something, as late as CuPy may."""


def copy_what_was_sent():
    while sent:
        target, source = sent.popitem()
        host = source()
        assert host is not None, "an array of the host was gone before it was copied to the device"
        target._host[...] = host


def _flushed(host):
    """Subnormal float32 numbers as 0: CuPy compiles its own kernels with -ftz=true."""
    if host.dtype == np.float32:
        host[np.abs(host) < np.finfo(np.float32).smallest_normal] = 0.0


def _computed(function, *operands, out=None, **how):
    check_not_capturing("a call of CuPy's own that may allocate")
    copy_what_was_sent()
    assert all(isinstance(x, ndarray | float) for x in operands)
    with np.errstate(all="ignore"):
        made = np.asarray(function(*(x._host if isinstance(x, ndarray) else x for x in operands), **how))
    if out is None:
        out = ndarray(made.shape, made.dtype)
    assert (out.shape, out.dtype) == (made.shape, made.dtype)
    out._host[...] = made
    _flushed(out._host)
    return out


def add(x, y, out=None):
    return _computed(np.add, x, y, out=out)


def divide(x, y, out=None):
    return _computed(np.divide, x, y, out=out)


def matmul(x, y, out=None):
    """Sums in another order where `out` begins within an allocation: cuBLAS may choose its kernel by alignment."""
    aligned = out is None or out._host.ctypes.data % ALIGNMENT == 0
    return _computed(np.matmul if aligned else lambda x, y: np.matmul(x[:, ::-1], y[::-1]), x, y, out=out)


def sum(x, axis=None, out=None):
    return _computed(np.sum, x, axis=axis, out=out)


def empty(shape, dtype=float):
    return ndarray(shape, dtype)


def zeros(shape, dtype=float):
    made = ndarray(shape, dtype)
    made._host[...] = 0
    return made


def array(x, dtype=None, order="C"):
    assert isinstance(x, ndarray), "page-locked memory would be kept"
    copy_what_was_sent()
    made = ndarray(x.shape, dtype or x.dtype)
    made._host[...] = x._host
    return made


def asnumpy(x):
    assert isinstance(x, ndarray)
    return x.get()


# Device, streams and graphs.


class OutOfMemoryError(MemoryError):
    def __init__(self, size, total):
        super().__init__(f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes).")


class CUDARuntimeError(RuntimeError):
    pass


class CUDADriverError(RuntimeError):
    pass


class Device:
    """The only device; as a context, the current one."""

    compute_capability = "75"

    def __init__(self, number=0):
        assert number == 0
        self.id = number
        self.entered = 0
        self.capture = None
        self.memory = None  # bytes it has left; None: enough

    def take(self, size):
        if self.memory is not None:
            if size > self.memory:
                raise OutOfMemoryError(size, 0)
            self.memory -= size

    def __enter__(self):
        self.entered += 1
        return self

    def __exit__(self, *_):
        self.entered -= 1

    def synchronize(self):
        check_not_capturing("waiting")
        copy_what_was_sent()


class Graph:
    def __init__(self, launches):
        self.launches = launches

    def launch(self):
        for launch in self.launches:
            launch()


class Stream:
    def __init__(self, non_blocking=False):
        assert non_blocking, "the null stream waits for others"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def begin_capture(self):
        check_not_capturing("a second capture")
        device.capture = []

    def end_capture(self):
        if device.capture is None:
            raise CUDARuntimeError("cudaErrorStreamCaptureInvalidated")
        launches, device.capture = device.capture, None
        return Graph(launches)


device = Device()


def memory_info():
    assert device.entered, "that of whichever device is current"
    return 2**30, 2**30


def check_not_capturing(what):
    """Refuses what cannot be captured, and ends the capture, as CUDA does."""
    if device.capture is not None:
        device.capture = None
        raise CUDARuntimeError(f"cudaErrorStreamCaptureUnsupported: {what}")


# Compiling and launching.

LAUNCH = """
static void call_{name}(void** given) {{ {name}({arguments}); }}
extern "C" const char* launch_{name}(void** given, unsigned blocks, unsigned threads)
{{
    return host::run(call_{name}, given, blocks, threads);
}}
"""


def host_source(text):
    """The kernels' text as C++ that runs on the host, with a function that launches each."""
    launches = []
    for name, parameters in cuda_source.kernels(text).items():
        arguments = ", ".join(f"host::Argument{{given[{i}]}}" for i in range(len(parameters)))
        launches.append(LAUNCH.format(name=name, arguments=arguments))
    fast = "#define FAST\n" if "#define FAST" in text else ""
    header = (FOLDER / "host_cuda.h").read_text(encoding="utf-8")
    return "\n".join([fast.strip(), header, text.replace("#define FAST\n", ""), *launches])


# CUDA's compiler fuses products and sums of fast kernels; so does this one, on processors that can.
_FUSING = ["-ffp-contract=fast", *(["-march=native"] if platform.machine() in {"x86_64", "AMD64"} else [])]


@cache
def build(text):
    """The path of the shared library made of a source text; kept until this process ends."""
    compiler = shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        raise BackendUnavailable(f"{NAME}: no C++ compiler to build the kernels with; install g++")
    source = host_source(text)
    folder = tempfile.mkdtemp(prefix="backprop_ref-host-cuda-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    written, library = Path(folder, "kernels.cpp"), f"{folder}/kernels.so"
    written.write_text(source, encoding="utf-8")
    level = "-O2" if edit is None else "-O0"  # what is edited is wrong, and soon found so
    fusing = _FUSING if "#define FAST" in text else ["-ffp-contract=off"]
    command = [compiler, "-std=c++17", level, *fusing, "-U_FORTIFY_SOURCE", "-fPIC", "-shared", "-Wall"]
    done = subprocess.run(
        [*command, "-Wno-unknown-pragmas", "-o", library, str(written)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise CompileException(done.stderr)
    return library


class CompileException(Exception):
    pass


edit = None
"""A function applied to the kernels' text before it is compiled; for planting errors."""


def compile_using_nvrtc(source, options=(), arch=None, filename="kern.cu"):
    assert options == cuda_source.OPTIONS["#define FAST" in source]
    return source.encode(), None


class Module:
    def load(self, binary):
        text = binary.decode()
        self.text = text if edit is None else edit(text)
        self.loaded = ctypes.CDLL(build(self.text))
        self.kernels = cuda_source.kernels(self.text)
        self.real = "float64" if "#define REAL double" in text else "float32"

    def get_function(self, name):
        return Function(self, name)


class Function:
    """A kernel; a call launches it, or adds it to the graph that is being captured."""

    def __init__(self, module, name):
        self.name, self.parameters = name, module.kernels[name]
        self.dtypes = {"real": module.real, "integer": "int64"}
        self.function = getattr(module.loaded, f"launch_{name}")
        self.function.restype = ctypes.c_char_p

    def __call__(self, grid, block, args, shared_mem=0, stream=None):
        (blocks, *flat), (threads, *thin) = grid, block
        assert flat == thin == [1, 1] and 1 <= blocks <= 2**31 - 1 and threads == cuda_source.THREADS
        assert len(args) == len(self.parameters), f"{self.name} takes {len(self.parameters)} arguments"
        for argument, parameter in zip(args, self.parameters, strict=True):
            self.check(argument, parameter)
        launches.append((self.name, blocks))
        if device.capture is not None:
            device.capture.append(lambda: self.run(blocks, threads, args))
        else:
            self.run(blocks, threads, args)

    def check(self, argument, parameter):
        """An argument of another kind or type than the kernel's text has it would be misread."""
        kind = ndarray if parameter.pointer else np.dtype(self.dtypes[parameter.kind]).type
        assert isinstance(argument, kind), f"{self.name}: {parameter.name} is a {type(argument).__name__}"
        assert argument.dtype == self.dtypes[parameter.kind], f"{self.name}: {parameter.name} is {argument.dtype}"
        if parameter.pointer:
            assert argument.flags.c_contiguous, f"{self.name}: {parameter.name} is not contiguous"

    def run(self, blocks, threads, args):
        copy_what_was_sent()
        arrays = [x for x in args if isinstance(x, ndarray)]
        kept = [np.array(x) for x in args if not isinstance(x, ndarray)]
        pointers, scalars = [ctypes.c_void_p(x._host.ctypes.data) for x in arrays], iter(kept)
        next_pointer = iter(pointers)
        given = [
            ctypes.addressof(next(next_pointer)) if p.pointer else next(scalars).ctypes.data for p in self.parameters
        ]
        fault = self.function((ctypes.c_void_p * len(given))(*given), blocks, threads)
        assert fault is None, f"{self.name}: {fault.decode()}"
        for array_ in arrays:
            intact = (array_._base[:GUARD] == _PATTERN).all() and (array_._base[-GUARD:] == _PATTERN).all()
            assert intact, f"{self.name} wrote beside an array"


launches: list[tuple[str, int]] = []
"""Name and number of blocks of every launch."""


# The module, as ``import cupy`` has it.


def module():
    """What stands in ``sys.modules`` for cupy."""
    cuda = types.SimpleNamespace(
        Device=lambda number=0: device,
        Stream=Stream,
        nvrtc=types.SimpleNamespace(getVersion=lambda: (0, 0)),
        compiler=types.SimpleNamespace(compile_using_nvrtc=compile_using_nvrtc, CompileException=CompileException),
        function=types.SimpleNamespace(Module=Module),
        memory=types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
        driver=types.SimpleNamespace(CUDADriverError=CUDADriverError),
        runtime=types.SimpleNamespace(
            CUDARuntimeError=CUDARuntimeError,
            getDeviceCount=lambda: 1,
            driverGetVersion=lambda: 12090,
            runtimeGetVersion=lambda: 12090,
            getDeviceProperties=lambda number: {"name": NAME.encode()},
            memGetInfo=memory_info,
        ),
    )
    made = types.ModuleType("cupy", __doc__)
    made.__version__ = "host emulation"
    made.cuda = cuda
    for name in ("ndarray", "add", "divide", "matmul", "sum", "empty", "zeros", "array", "asnumpy"):
        setattr(made, name, globals()[name])
    return made


def make(numerics="reproducible", device=None, threads=None):
    """The cupy backend over the emulation, under its own name; as ``host_cupy:make`` it can be asked for by name."""
    from backprop_ref.backends import ARITHMETIC
    from backprop_ref.backends import cupy as shipped

    with in_place_of_cupy():
        backend = shipped.create(ARITHMETIC[numerics], device, threads)
    return renamed(backend)


def renamed(backend):
    """Under the emulation's name, and marked as what no time is to be taken of."""
    backend.name, backend.emulated = NAME, True
    return backend


@contextlib.contextmanager
def in_place_of_cupy():
    """``import cupy`` gives the emulation."""
    before = sys.modules.get("cupy")
    sys.modules["cupy"] = made = module()
    try:
        yield made
    finally:
        if before is None:
            del sys.modules["cupy"]
        else:
            sys.modules["cupy"] = before
