"""CuPy: NVIDIA GPUs. Kernels of our own for all but the matrix products of `fast`, which are cuBLAS's."""

import contextlib

import numpy as np

from backprop_ref.backends import CUDA_EXTRAS
from backprop_ref.backends.arithmetic import Reproducible, probing_values
from backprop_ref.backends.array import ArrayBackend, divisor
from backprop_ref.backends.cupy_pairs import FastPairs, ReproduciblePairs
from backprop_ref.errors import BackendUnavailable, InvalidInput, unknown
from backprop_ref.network import ACTIVATIONS

PAIRS = {"fast": FastPairs, "reproducible": ReproduciblePairs}


class CupyBackend:
    """The pairs on CuPy arrays of one GPU, in the current stream; nothing but `to_numpy` waits for the GPU.

    `Backend` documents them; the formulas stand in ``kernels/cuda``.

    Parameters
    ----------
    cupy : module
    numerics : 'fast' or 'reproducible'
    number : int
        Of the GPU, as CUDA counts.

    Notes
    -----
    Arrays have to be C-contiguous and of one dtype; others are refused, not copied. `threads` means nothing to a GPU.
    """

    name = "cupy"

    def __init__(self, cupy, numerics, number):
        self.xp, self.numerics, self.version = cupy, numerics, cupy.__version__
        self.device = f"cuda:{number} ({cupy.cuda.runtime.getDeviceProperties(number)['name'].decode()})"
        self._device = cupy.cuda.Device(number)
        self._pairs = {}
        self._empty = _adding_by_kernel(cupy, self) if numerics == "reproducible" else cupy.ndarray

    def affine_forward(self, a, W, b):
        n_in, n_out = self._shape("affine_forward", "W", W)
        pairs = self.checked("affine_forward", a=(a, (None, n_in)), W=(W, (n_in, n_out)), b=(b, (n_out,)))
        z = self._empty((a.shape[0], n_out), a.dtype)
        pairs.affine_forward(a, W, b, z)
        return z

    def affine_backward(self, delta, a):
        batch, n_in = self._shape("affine_backward", "a", a)
        pairs = self.checked("affine_backward", delta=(delta, (batch, None)), a=(a, (batch, n_in)))
        n_out = delta.shape[1]
        dW, db = self._empty((n_in, n_out), a.dtype), self._empty((n_out,), a.dtype)
        pairs.affine_backward(delta, a, dW, db)
        return dW, db

    def affine_backward_input(self, delta, W):
        n_in, n_out = self._shape("affine_backward_input", "W", W)
        pairs = self.checked("affine_backward_input", delta=(delta, (None, n_out)), W=(W, (n_in, n_out)))
        da = self._empty((delta.shape[0], n_in), delta.dtype)
        pairs.affine_backward_input(delta, W, da)
        return da

    def activation_forward(self, activation, z):
        _known(activation)
        pairs = self._same("activation_forward", z=z)
        if activation == "linear":
            return z
        a = self._empty(z.shape, z.dtype)
        pairs.activation_forward(activation, z, a)
        return a

    def activation_backward(self, activation, z, a, da):
        _known(activation)
        pairs = self._same("activation_backward", z=z, a=a, da=da)
        if activation == "linear":
            return da
        delta = self._empty(z.shape, z.dtype)
        pairs.activation_backward(activation, z, a, da, delta)
        return delta

    def loss_forward(self, loss, activation, z, a, y, batch=None):
        pairs = self._same("loss_forward", z=z, a=a, y=y)
        terms, value = self._empty(y.shape, y.dtype), self._empty((), y.dtype)
        pairs.loss_forward(loss, activation, z, a, y, divisor(loss, y, batch), terms, value)
        return value

    def loss_backward(self, loss, activation, z, a, y, batch=None):
        pairs = self._same("loss_backward", z=z, a=a, y=y)
        delta = self._empty(y.shape, y.dtype)
        pairs.loss_backward(loss, activation, z, a, y, divisor(loss, y, batch), delta)
        return delta

    def asarray(self, x, dtype, copy=False):
        if isinstance(x, self.xp.ndarray):
            return self.xp.array(x, dtype=dtype, order="C", copy=copy or None)
        return self.xp.array(np.ascontiguousarray(x, dtype=dtype))

    def to_numpy(self, a):
        return self.xp.asnumpy(a)

    def synchronize(self):
        self._device.synchronize()

    @contextlib.contextmanager
    def scope(self):
        """The GPU is the current one; what does not fit into its memory is told with its size."""
        try:
            with self._device:
                yield
        except self.xp.cuda.memory.OutOfMemoryError as error:
            free, total = self.xp.cuda.runtime.memGetInfo()
            raise BackendUnavailable(
                f"backend cupy: {str(error).rstrip('.')}; {free / 1e9:.3g} of {total / 1e9:.3g} GB are free on "
                f"{self.device}. Use a smaller batch or float32, or end what else fills the GPU (nvidia-smi lists it)"
            ) from None

    def pairs(self, dtype):
        """The launches for one dtype, compiled when first asked for."""
        if dtype not in self._pairs:
            with self._device:
                self._pairs[dtype] = PAIRS[self.numerics](self.xp, dtype)
        return self._pairs[dtype]

    def trainer(self, network, optimizer, dtype, batch_size, shards, metric, steps_ahead=None):
        """Whole epochs with everything on the GPU; see `cupy_trainer.Trainer`. None for batches cut into shards."""
        from backprop_ref.backends.cupy_trainer import Trainer

        return Trainer(self, network, optimizer, dtype, batch_size, metric) if shards == 1 else None

    def _shape(self, pair, name, array):
        """The two sizes of a matrix from which those of the others follow."""
        self.checked(pair, **{name: (array, (None, None))})
        return array.shape

    def _same(self, pair, **arrays):
        """`checked`, for matrices of one shape."""
        first, z = next(iter(arrays.items()))
        shape = self._shape(pair, first, z)
        return self.checked(pair, **{name: (array, shape) for name, array in arrays.items()})

    def checked(self, pair, **arrays):
        """The launches for these arrays; refuses what a kernel would misread.

        Each array comes with the shape it has to have, None where any size will do.
        """
        first = None
        for name, (array, shape) in arrays.items():
            if not isinstance(array, self.xp.ndarray):
                raise InvalidInput(f"{pair}: {name} is a {type(array).__module__}.{type(array).__name__}, not CuPy's")
            dtype = array.dtype.name
            first = first or (name, dtype, array.shape)
            if dtype not in {"float64", "float32"}:
                raise InvalidInput(f"{pair}: {name} has dtype {dtype}: only float64 and float32 are computed with")
            if dtype != first[1]:
                raise InvalidInput(f"{pair}: {name} has dtype {dtype} and {first[0]} has {first[1]}: one is needed")
            fits = len(array.shape) == len(shape)
            if not fits or any(n not in {None, size} for n, size in zip(shape, array.shape, strict=True)):
                needed = ", ".join("any" if n is None else str(n) for n in shape)
                raise InvalidInput(f"{pair}: {name} has shape {array.shape} and {first[0]} {first[2]}: ({needed}) fits")
            if not array.flags.c_contiguous:
                raise InvalidInput(
                    f"{pair}: {name} of shape {array.shape} has strides {array.strides} and {first[0]} is "
                    f"{first[2]}: C-contiguous arrays are needed; pass cupy.ascontiguousarray({name})"
                )
        return self.pairs(first[1])


def _known(activation):
    if activation not in ACTIVATIONS:
        raise unknown("activation", activation, ACTIVATIONS)


def _adding_by_kernel(cupy, backend):
    """CuPy's arrays with a + of our own: shards are added with it, and CuPy's sets subnormal float32 sums to 0."""

    class ExactArray(cupy.ndarray):
        def __add__(self, other):
            pairs = backend.checked("a sum of shards", x=(self, self.shape), y=(other, self.shape))
            total = type(self)(self.shape, self.dtype)
            pairs.add(self, other, total)
            return total

    return ExactArray


def create(arithmetic, device, threads):
    """The backend for a device: cuda, cuda:0, cuda:1, …"""
    import cupy

    number = _number(cupy, device)
    try:
        backend = CupyBackend(cupy, arithmetic.numerics, number)
        with backend.scope():
            cupy.zeros(1)
            backend.synchronize()
            if arithmetic.numerics == "reproducible":
                _check_bits(backend)
    except BackendUnavailable:
        raise
    except Exception as error:  # CUDA's, NVRTC's or the loader's: their classes have nothing in common
        raise BackendUnavailable(
            f"backend cupy: installed, but cuda:{number} cannot compute: {_first_line(error)}. If a library is "
            f"missing, install {CUDA_EXTRAS}"
        ) from error
    return backend


def _number(cupy, device):
    """The number of the device asked for, after a look at whether there is a driver and such a device."""
    asked = "cuda:0" if device in {None, "cuda"} else device
    number = asked.removeprefix("cuda:")
    if not number.isdecimal():
        raise InvalidInput(f"backend cupy has no device '{device}': its devices are cuda:0, cuda:1, …")
    count = _device_count(cupy)
    if int(number) >= count:
        raise BackendUnavailable(
            f"backend cupy: no device '{asked}': there {'is' if count == 1 else 'are'} {count}, counted from cuda:0"
        )
    return int(number)


def _device_count(cupy):
    """How many GPUs there are; says what is missing where there is none."""
    runtime = cupy.cuda.runtime
    try:
        count, cause = runtime.getDeviceCount(), "CUDA finds none"
    except runtime.CUDARuntimeError as error:
        count, cause = 0, _first_line(error)
    if count:
        return count
    try:
        driver = runtime.driverGetVersion()
    except runtime.CUDARuntimeError:
        driver = 0
    if not driver:
        raise BackendUnavailable(
            f"backend cupy: installed, but no NVIDIA driver ({cause}); install the driver of your GPU, "
            "or use another backend"
        )
    if driver < runtime.runtimeGetVersion():
        raise BackendUnavailable(
            f"backend cupy: installed, but no device that this CuPy can use ({cause}): the driver is for CUDA "
            f"{_version(driver)}, CuPy for {_version(runtime.runtimeGetVersion())}; update the driver, or install {CUDA_EXTRAS}"
        )
    raise BackendUnavailable(
        f"backend cupy: installed, with a driver for CUDA {_version(driver)}, but no device ({cause}); look at "
        "nvidia-smi, and at CUDA_VISIBLE_DEVICES if it is set"
    )


def _version(number):
    """12090 is CUDA 12.9."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _first_line(error):
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")


def _check_bits(backend):
    """Compares one call of each kind with NumPy, on numbers that show fusing, rounding and lost subnormals.

    Raises
    ------
    BackendUnavailable
        The GPU or its compiler does not give the bits of the reproducible arithmetic.
    """
    numpy = ArrayBackend(np, Reproducible(np))
    for dtype in ("float64", "float32"):
        u, v, _ = probing_values(dtype)
        z, y = u.reshape(5, 10), v.reshape(5, 10)
        calls = [("affine_forward", z, y.T, 0 * v[:5]), ("affine_backward", z, y), ("affine_backward_input", y, z)]
        calls += [("activation_forward", name, 3 * y - 5) for name in ACTIVATIONS]
        calls += [("activation_backward", name, z - 1, z, y) for name in ACTIVATIONS]
        calls += [(f"loss_{way}", "cross_entropy", "softmax", y, z, z) for way in ("forward", "backward")]
        for pair, *arguments in calls:
            with np.errstate(all="ignore"):
                wanted = getattr(numpy, pair)(*arguments)
            got = getattr(backend, pair)(*(_on(backend, x, dtype) for x in arguments))
            together = isinstance(wanted, tuple)
            for mine, right in zip(got if together else [got], wanted if together else [wanted], strict=True):
                if backend.to_numpy(mine).tobytes() != np.asarray(right).tobytes():
                    raise BackendUnavailable(
                        f"reproducible numerics: on {backend.device}, {dtype}, {pair} does not have the bits of NumPy; "
                        "use fast numerics, or another backend"
                    )


def _on(backend, x, dtype):
    return backend.asarray(x, dtype) if isinstance(x, np.ndarray) else x
