"""Whether CuPy can be used here: driver, device, libraries, memory, and the bits that the device computes."""

import contextlib
from typing import Any

import numpy as np

from backprop_ref.backends import CUDA_EXTRAS
from backprop_ref.backends.arithmetic import Reproducible, probing_values
from backprop_ref.backends.array import ArrayBackend
from backprop_ref.backends.base import Backend
from backprop_ref.errors import BackendUnavailable, InvalidInput
from backprop_ref.network import ACTIVATIONS

# What CuPy's allocator, CUDA's runtime, its driver and cuBLAS say where memory is full.
FULL = (
    *("Out of memory allocating", "cudaErrorMemoryAllocation", "CUDA_ERROR_OUT_OF_MEMORY"),
    *("CUBLAS_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_NOT_INITIALIZED"),
)


def device_number(cupy: Any, device: str | None) -> int:
    """The number of the device asked for, after a look at whether there is a driver and such a device."""
    asked = "cuda:0" if device is None or device == "cuda" else device
    number = asked.removeprefix("cuda:")
    if not number.isdecimal():
        raise InvalidInput(f"backend cupy has no device '{device}': its devices are cuda:0, cuda:1, …")
    count = _device_count(cupy)
    if int(number) >= count:
        raise BackendUnavailable(
            f"backend cupy: no device '{asked}': there {'is' if count == 1 else 'are'} {count}, counted from cuda:0"
        )
    return int(number)


def _device_count(cupy: Any) -> int:
    """How many GPUs there are; says what is missing where there is none."""
    count: int
    runtime = cupy.cuda.runtime
    try:
        count, cause = runtime.getDeviceCount(), "CUDA finds none"
    except runtime.CUDARuntimeError as error:
        count, cause = 0, first_line(error)
    if count:
        return count
    driver, built_for = runtime.driverGetVersion(), runtime.runtimeGetVersion()
    if not driver:
        raise BackendUnavailable(
            f"backend cupy: installed, but no NVIDIA driver ({cause}); install the driver of your GPU, "
            "or use another backend"
        )
    if "cudaErrorInsufficientDriver" in cause:
        raise BackendUnavailable(
            f"backend cupy: installed, but no device that this CuPy can use ({cause}): the driver is for CUDA "
            f"{_version(driver)}, CuPy for {_version(built_for)}; update the driver, or install {CUDA_EXTRAS}"
        )
    raise BackendUnavailable(
        f"backend cupy: installed, with a driver for CUDA {_version(driver)}, but no device ({cause}); look at "
        "nvidia-smi, and at CUDA_VISIBLE_DEVICES if it is set"
    )


def _version(number: int) -> str:
    """12090 is CUDA 12.9."""
    return f"{number // 1000}.{number % 1000 // 10}"


def first_line(error: Exception) -> str:
    """What an error says, in one line."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")


def out_of_memory(cupy: Any, error: Exception, device: str) -> str | None:
    """What to tell of an error that comes from a full GPU; None of another."""
    if isinstance(error, BackendUnavailable) or not any(sign in str(error) for sign in FULL):
        return None
    left = f"on {device}"
    with contextlib.suppress(RuntimeError):  # where even CUDA itself does not fit, it tells nothing
        free, total = cupy.cuda.runtime.memGetInfo()
        left = f"{free / 1e9:.3g} of {total / 1e9:.3g} GB are free {left}"
    return (
        f"backend cupy: {first_line(error)}; {left}. Use float32, a smaller batch or fewer samples, or end what else "
        "fills the GPU (nvidia-smi lists it)"
    )


def call_everything(backend: Backend) -> None:
    """One call of whatever training needs: NVRTC, cuBLAS, and CuPy's own kernels, which take CUDA's headers."""
    a, W, b = (backend.asarray(np.ones(shape), "float64") for shape in ((3, 2), (2, 5), 5))
    z = backend.affine_forward(a, W, b)
    backend.loss_forward("sum_squared_error", "tanh", z, backend.activation_forward("tanh", z), z)
    backend.affine_backward(z, a)
    backend.affine_backward_input(z, W)
    backend.synchronize()


def check_bits(backend: Backend) -> None:
    """Compares one call of each kind with NumPy, on numbers that show fusing, rounding and lost subnormals.

    A GPU or compiler that does not give the bits of the reproducible arithmetic is a BackendUnavailable.
    """
    numpy = ArrayBackend(np, Reproducible(np))
    for dtype in ("float64", "float32"):
        u, v, _ = probing_values(dtype)
        z, y = u.reshape(5, 10), v.reshape(5, 10)
        calls: list[tuple[Any, ...]] = [
            ("affine_forward", z, y.T, 0 * v[:5]),
            ("affine_backward", z, y),
            ("affine_backward_input", y, z),
        ]
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


def _on(backend: Backend, x: Any, dtype: str) -> Any:
    return backend.asarray(x, dtype) if isinstance(x, np.ndarray) else x
