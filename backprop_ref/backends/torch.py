"""PyTorch, as an array library: its autograd is not used."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from backprop_ref.backends.arithmetic import Fast, Reproducible
from backprop_ref.backends.array import ArrayBackend
from backprop_ref.backends.base import Array
from backprop_ref.errors import BackendUnavailable, InvalidInput


class TorchBackend(ArrayBackend):
    """The pairs on PyTorch tensors; devices cpu, cuda, cuda:0, …"""

    name = "torch"

    def asarray(self, x: npt.ArrayLike, dtype: str, copy: bool = False) -> Array:
        x = np.ascontiguousarray(x, dtype=dtype)
        return self.xp.asarray(x, device=self._device, copy=copy or not x.flags.writeable)

    def to_numpy(self, a: Array) -> npt.NDArray[Any]:
        array: npt.NDArray[Any] = a.detach().cpu().numpy()
        return array

    def synchronize(self) -> None:
        import torch

        if self.device.startswith("cuda"):
            torch.cuda.synchronize(self._device)

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        import torch

        before = torch.get_num_threads()
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        try:
            with torch.no_grad():
                yield
        finally:
            if self.threads is not None:
                torch.set_num_threads(before)


def create(arithmetic: type[Fast] | type[Reproducible], device: str | None, threads: int | None) -> TorchBackend:
    import array_api_compat.torch as xp
    import torch

    device = device or "cpu"
    try:
        chosen = torch.device(device)
        torch.empty(1, dtype=torch.float64, device=chosen)
    except (RuntimeError, TypeError, AssertionError) as error:
        cause = str(error).splitlines()[0]
        if device.partition(":")[0] in {"cpu", "cuda", "mps", "xpu"}:
            raise BackendUnavailable(f"backend torch: installed, but no device '{device}': {cause}") from None
        raise InvalidInput(f"backend torch has no device '{device}': {cause}") from None
    return TorchBackend(xp, arithmetic(xp), chosen, threads)
