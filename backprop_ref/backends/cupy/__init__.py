"""CuPy: NVIDIA GPUs. Kernels of our own for all but the matrix products of `fast`, which are cuBLAS's."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from backprop_ref.backends import CUDA_EXTRAS
from backprop_ref.backends.arithmetic import Fast, Reproducible
from backprop_ref.backends.array import divisor, known
from backprop_ref.backends.base import Array, Trainer
from backprop_ref.backends.cupy.device import call_everything, check_bits, device_number, first_line, out_of_memory
from backprop_ref.backends.cupy.pairs import FastPairs, ReproduciblePairs
from backprop_ref.dropout import Rates
from backprop_ref.errors import BackendUnavailable, InvalidInput
from backprop_ref.kernels.cuda_rules import identity
from backprop_ref.network import Network
from backprop_ref.optimizers import OPTIMIZERS, Optimizer

PAIRS = {"fast": FastPairs, "reproducible": ReproduciblePairs}


class CupyBackend:
    """The pairs on CuPy arrays of one GPU, in the current stream; nothing but `to_numpy` waits for the GPU.

    `Backend` documents them; the formulas stand in ``kernels/cuda``. Arrays have to be C-contiguous and of one dtype;
    others are refused, not copied. `number` is the GPU's, as CUDA counts; `threads` mean nothing to a GPU.
    """

    name = "cupy"

    def __init__(self, cupy: Any, numerics: str, number: int) -> None:
        self.xp, self.numerics = cupy, numerics
        self.version: str = cupy.__version__
        self.device = f"cuda:{number} ({cupy.cuda.runtime.getDeviceProperties(number)['name'].decode()})"
        self._device = cupy.cuda.Device(number)
        self._pairs: dict[str, FastPairs] = {}
        self._empty = _adding_by_kernel(cupy, self) if numerics == "reproducible" else cupy.ndarray

    def affine_forward(self, a: Array, W: Array, b: Array) -> Array:
        pairs = self.checked("affine_forward", a=(a, "sk"), W=(W, "kj"), b=(b, "j"))
        z = self._empty((a.shape[0], W.shape[1]), a.dtype)
        pairs.affine_forward(a, W, b, z)
        return z

    def affine_backward(self, delta: Array, a: Array) -> tuple[Array, Array]:
        pairs = self.checked("affine_backward", delta=(delta, "sj"), a=(a, "sk"))
        dW, db = self._empty((a.shape[1], delta.shape[1]), a.dtype), self._empty(delta.shape[1:], a.dtype)
        pairs.affine_backward(delta, a, dW, db)
        return dW, db

    def affine_backward_input(self, delta: Array, W: Array) -> Array:
        pairs = self.checked("affine_backward_input", delta=(delta, "sj"), W=(W, "kj"))
        da = self._empty((delta.shape[0], W.shape[0]), delta.dtype)
        pairs.affine_backward_input(delta, W, da)
        return da

    def activation_forward(self, activation: str, z: Array) -> Array:
        known(activation)
        pairs = self.checked("activation_forward", z=(z, "sj"))
        if identity(activation):
            return z
        a = self._empty(z.shape, z.dtype)
        pairs.activation_forward(activation, z, a)
        return a

    def activation_backward(self, activation: str, z: Array, a: Array, da: Array) -> Array:
        known(activation)
        pairs = self.checked("activation_backward", z=(z, "sj"), a=(a, "sj"), da=(da, "sj"))
        if identity(activation):
            return da
        delta = self._empty(z.shape, z.dtype)
        pairs.activation_backward(activation, z, a, da, delta)
        return delta

    def loss_forward(
        self,
        loss: str,
        activation: str,
        z: Array,
        a: Array,
        y: Array,
        batch: float | None = None,
        weights: Array | None = None,
    ) -> Array:
        weighted = {} if weights is None else {"weights": (weights, "s")}
        pairs = self.checked("loss_forward", z=(z, "sj"), a=(a, "sj"), y=(y, "sj"), **weighted)
        terms, value = self._empty(y.shape, y.dtype), self._empty((), y.dtype)
        pairs.loss_forward(loss, activation, z, a, y, divisor(loss, y, batch), terms, value, weights)
        return value

    def loss_backward(
        self,
        loss: str,
        activation: str,
        z: Array,
        a: Array,
        y: Array,
        batch: float | None = None,
        weights: Array | None = None,
    ) -> Array:
        weighted = {} if weights is None else {"weights": (weights, "s")}
        pairs = self.checked("loss_backward", z=(z, "sj"), a=(a, "sj"), y=(y, "sj"), **weighted)
        delta = self._empty(y.shape, y.dtype)
        pairs.loss_backward(loss, activation, z, a, y, divisor(loss, y, batch), delta, weights)
        return delta

    def asarray(self, x: npt.ArrayLike, dtype: str, copy: bool = False) -> Array:
        if isinstance(x, self.xp.ndarray):
            return self.xp.array(x, dtype=dtype, order="C")
        host = np.ascontiguousarray(x, dtype=dtype)
        array = self.xp.empty(host.shape, dtype)
        array.set(host)  # `cupy.array` would copy it to page-locked memory first, and keep as much of that for good
        self.synchronize()  # the copy may go on after `set`, and `host` be gone
        return array

    def to_numpy(self, a: Array) -> npt.NDArray[Any]:
        array: npt.NDArray[Any] = self.xp.asnumpy(a)
        return array

    def synchronize(self) -> None:
        self._device.synchronize()

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        """The GPU is the current one; what does not fit into its memory is told with its size."""
        with self._device:
            try:
                yield
            except (MemoryError, RuntimeError) as error:  # CuPy's own, or that of a library
                told = out_of_memory(self.xp, error, self.device)
                if told is None:
                    raise
                raise BackendUnavailable(told) from None

    def pairs(self, dtype: str) -> FastPairs:
        """The launches for one dtype, compiled when first asked for."""
        if dtype not in self._pairs:
            with self._device:
                self._pairs[dtype] = PAIRS[self.numerics](self.xp, dtype)
        return self._pairs[dtype]

    def trainer(
        self,
        network: Network,
        optimizer: Optimizer,
        dtype: str,
        batch_size: int,
        shards: int,
        metric: str,
        steps_ahead: int | None = None,
        dropout: Rates = (),
        *,
        weighted: bool = False,
    ) -> Trainer | None:
        """Whole epochs with everything on the GPU; see `trainer.Trainer`.

        None for batches cut into shards, dropout, samples with weights, and optimizers that define another step: these
        go batch by batch over the pairs, to the same bits. A captured step is the same for every batch of a size, but
        with weights n is a batch's own, and masks, norms and shards would each take kernels of their own.
        """
        from backprop_ref.backends.cupy import trainer

        known = type(optimizer) in OPTIMIZERS.values() and optimizer.simple and not optimizer.l2
        if weighted or shards > 1 or dropout or not known:
            return None
        return trainer.Trainer(self, network, optimizer, dtype, batch_size, metric)

    def checked(self, pair: str, **arrays: tuple[Array, str]) -> FastPairs:
        """The launches for these arrays, each with the names of its dimensions; refuses what a kernel would misread."""
        sizes: dict[str, int] = {}
        fit = True
        for name, (array, dimensions) in arrays.items():
            if not isinstance(array, self.xp.ndarray):
                raise InvalidInput(f"{pair}: {name} is a {type(array).__module__}.{type(array).__name__}, not CuPy's")
            if array.device.id != self._device.id:
                raise InvalidInput(f"{pair}: {name} is on cuda:{array.device.id}, but this backend on {self.device}")
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


def _refuse(pair: str, problem: str, arrays: dict[str, tuple[Array, str]], seen: Callable[[Array], object]) -> NoReturn:
    listed = ", ".join(f"{name} {seen(array)}" for name, (array, _) in arrays.items())
    raise InvalidInput(f"{pair}: {problem}: {listed}")


def _adding_by_kernel(cupy: Any, backend: CupyBackend) -> Any:
    """CuPy's arrays with a + and a * of our own, for shards and masks: CuPy's set subnormal float32 results to 0."""

    class ExactArray(cupy.ndarray):  # type: ignore[misc]
        def __add__(self, other: Array) -> Array:
            pairs = backend.checked("a sum of shards", x=(self, "sj"[: self.ndim]), y=(other, "sj"[: self.ndim]))
            total = type(self)(self.shape, self.dtype)
            pairs.add(self, other, total)
            return total

        def __mul__(self, mask: Array) -> Array:
            pairs = backend.checked("a product with a mask", x=(self, "sj"), mask=(mask, "sj"))
            product = type(self)(self.shape, self.dtype)
            pairs.multiply(self, mask, product)
            return product

    return ExactArray


def create(arithmetic: type[Fast] | type[Reproducible], device: str | None, threads: int | None) -> CupyBackend:
    """The backend for a device, cuda, cuda:0, cuda:1, …, after a first computation on it."""
    import cupy

    number = device_number(cupy, device)
    try:
        backend = CupyBackend(cupy, arithmetic.numerics, number)
        with backend.scope():
            call_everything(backend)
            if arithmetic.numerics == "reproducible":
                check_bits(backend)
    except BackendUnavailable:
        raise
    except Exception as error:  # CUDA's, NVRTC's or the loader's: their classes have nothing in common
        raise BackendUnavailable(
            out_of_memory(cupy, error, f"cuda:{number}")
            or f"backend cupy: installed, but cuda:{number} cannot compute: {first_line(error)}. If a library is "
            f"missing, install {CUDA_EXTRAS}"
        ) from error
    return backend
