"""Into a backend's arrays and back, apart from everything else; both copy."""

import numpy as np
import pytest

SHAPE = (256, 784)


@pytest.mark.parametrize("way", ["to the backend", "back"])
def bench_transfer(benchmark, timed, backend, numbers, dtype, way):
    x = numbers(dtype, *SHAPE)
    with backend.scope():
        there = backend.asarray(x, dtype, copy=True)
        assert backend.to_numpy(there).tobytes() == x.tobytes()
    benchmark.group = f"transfer {way} {dtype}"
    if way == "back":
        timed(lambda: np.array(backend.to_numpy(there)), backend=backend, bytes=x.nbytes, dtype=dtype)
    else:
        timed(lambda: backend.asarray(x, dtype, copy=True), backend=backend, bytes=x.nbytes, dtype=dtype)
