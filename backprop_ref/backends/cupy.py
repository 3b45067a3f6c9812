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
        pairs = self.checked("affine_forward", a=(a, "sk"), W=(W, "kj"), b=(b, "j"))
        z = self._empty((a.shape[0], W.shape[1]), a.dtype)
        pairs.affine_forward(a, W, b, z)
        return z

    def affine_backward(self, delta, a):
        pairs = self.checked("affine_backward", delta=(delta, "sj"), a=(a, "sk"))
        dW, db = self._empty((a.shape[1], delta.shape[1]), a.dtype), self._empty(delta.shape[1:], a.dtype)
        pairs.affine_backward(delta, a, dW, db)
        return dW, db

    def affine_backward_input(self, delta, W):
        pairs = self.checked("affine_backward_input", delta=(delta, "sj"), W=(W, "kj"))
        da = self._empty((delta.shape[0], W.shape[0]), delta.dtype)
        pairs.affine_backward_input(delta, W, da)
        return da

    def activation_forward(self, activation, z):
        _known(activation)
        pairs = self.checked("activation_forward", z=(z, "sj"))
        if activation == "linear":
            return z
        a = self._empty(z.shape, z.dtype)
        pairs.activation_forward(activation, z, a)
        return a

    def activation_backward(self, activation, z, a, da):
        _known(activation)
        pairs = self.checked("activation_backward", z=(z, "sj"), a=(a, "sj"), da=(da, "sj"))
        if activation == "linear":
            return da
        delta = self._empty(z.shape, z.dtype)
        pairs.activation_backward(activation, z, a, da, delta)
        return delta

    def loss_forward(self, loss, activation, z, a, y, batch=None):
        pairs = self.checked("loss_forward", z=(z, "sj"), a=(a, "sj"), y=(y, "sj"))
        terms, value = self._empty(y.shape, y.dtype), self._empty((), y.dtype)
        pairs.loss_forward(loss, activation, z, a, y, divisor(loss, y, batch), terms, value)
        return value

    def loss_backward(self, loss, activation, z, a, y, batch=None):
        pairs = self.checked("loss_backward", z=(z, "sj"), a=(a, "sj"), y=(y, "sj"))
        delta = self._empty(y.shape, y.dtype)
        pairs.loss_backward(loss, activation, z, a, y, divisor(loss, y, batch), delta)
        return delta

    def asarray(self, x, dtype, copy=False):
        if isinstance(x, self.xp.ndarray):
            return self.xp.array(x, dtype=dtype, order="C")
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
                f"{self.device}. Use float32, a smaller batch or fewer samples, or end what else fills the GPU "
                "(nvidia-smi lists it)"
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

    def checked(self, pair, **arrays):
        """The launches for these arrays, each with the names of its dimensions; refuses what a kernel would misread."""
        sizes: dict[str, int] = {}
        fit = True
        for name, (array, dimensions) in arrays.items():
            if not isinstance(array, self.xp.ndarray):
                raise InvalidInput(f"{pair}: {name} is a {type(array).__module__}.{type(array).__name__}, not CuPy's")
            fit &= len(array.shape) == len(dimensions)
            fit &= all(sizes.setdefault(d, n) == n for d, n in zip(dimensions, array.shape, strict=False))
        if not fit:
            _refuse(pair, "the shapes do not fit", arrays, lambda array: array.shape)
        dtypes = {array.dtype.name for array, _ in arrays.values()}
        if len(dtypes) > 1 or not dtypes <= {"float64", "float32"}:
            _refuse(pair, "all have to be float64, or all float32", arrays, lambda array: array.dtype)
        if not all(array.flags.c_contiguous for array, _ in arrays.values()):
            problem = "C-contiguous arrays are needed (cupy.ascontiguousarray makes them); strides in bytes are"
            _refuse(pair, problem, arrays, lambda array: array.strides)
        return self.pairs(dtypes.pop())


def _refuse(pair, problem, arrays, seen):
    listed = ", ".join(f"{name} {seen(array)}" for name, (array, _) in arrays.items())
    raise InvalidInput(f"{pair}: {problem}: {listed}")


def _known(activation):
    if activation not in ACTIVATIONS:
        raise unknown("activation", activation, ACTIVATIONS)


def _adding_by_kernel(cupy, backend):
    """CuPy's arrays with a + of our own: shards are added with it, and CuPy's sets subnormal float32 sums to 0."""

    class ExactArray(cupy.ndarray):  # type: ignore[name-defined]
        def __add__(self, other):
            pairs = backend.checked("a sum of shards", x=(self, "sj"[: self.ndim]), y=(other, "sj"[: self.ndim]))
            total = type(self)(self.shape, self.dtype)
            pairs.add(self, other, total)
            return total

    return ExactArray


def create(arithmetic, device, threads):
    """The backend for a device, cuda, cuda:0, cuda:1, …, after a first computation on it."""
    import cupy

    number = _number(cupy, device)
    try:
        backend = CupyBackend(cupy, arithmetic.numerics, number)
        with backend.scope():
            backend.to_numpy(backend.activation_forward("tanh", backend.asarray([[0.0]], "float64")))
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
    driver, own = runtime.driverGetVersion(), runtime.runtimeGetVersion()
    if not driver:
        raise BackendUnavailable(
            f"backend cupy: installed, but no NVIDIA driver ({cause}); install the driver of your GPU, "
            "or use another backend"
        )
    if driver < own:
        raise BackendUnavailable(
            f"backend cupy: installed, but no device that this CuPy can use ({cause}): the driver is for CUDA "
            f"{_version(driver)}, CuPy for {_version(own)}; update the driver, or install {CUDA_EXTRAS}"
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
