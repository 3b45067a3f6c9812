"""Times of whole training steps on the GPU, cupy, fast and reproducible, beside NumPy's fast steps on the processor.

    python bench/bench_gpu.py

Under reproducible numerics the weights are compared with NumPy's to the bit before anything is timed, under fast
numerics the gradients with the bounds. Needs a GPU; an emulation is refused.
"""

import statistics
import sys
import time

import numpy as np

import backprop_ref as br
from backprop_ref.conformance.rounding.bounds import gradient_bounds
from backprop_ref.random import Stream

FEW, MANY, REPEATS, BATCHES = 2, 12, 5, 8
CASES = [([784, 128, 10], 64), ([784, 2048, 2048, 10], 256)]


def main():
    backend = br.get_backend("cupy")
    if getattr(backend, "emulated", False):
        sys.exit(f"bench_gpu: {backend.name} has no times of its own")
    print(
        f"{backend.device}, cupy {backend.version}; median of {REPEATS} differences of {MANY} and {FEW} "
        f"epochs of {BATCHES} batches"
    )
    for sizes, batch in CASES:
        for dtype in ("float64", "float32"):
            compare(sizes, batch, dtype)


def compare(sizes, batch, dtype):
    """One line for a network, a batch and a dtype, after the results were compared."""
    network = br.Network(sizes, ["relu"] * (len(sizes) - 2) + ["softmax"], "cross_entropy")
    params, stream = network.init(1, "he", dtype), Stream(1, "check")
    rows = BATCHES * batch
    x = stream.uniform(sizes[0] * rows).reshape(rows, sizes[0]).astype(dtype)
    y = np.eye(sizes[-1], dtype=dtype)[stream.integers_below([sizes[-1]] * rows)]
    check(network, params, x[:batch], y[:batch])
    times = {
        f"{name} {numerics}": step_seconds(network, params, x, y, batch, br.get_backend(name, numerics))
        for name, numerics in (("cupy", "fast"), ("cupy", "reproducible"), ("numpy", "fast"))
    }
    listed = ", ".join(f"{name} {1e3 * seconds:.3g} ms" for name, seconds in times.items())
    print(f"{'-'.join(map(str, sizes))}, batch {batch}, {dtype}: a step takes {listed}")


def check(network, params, x, y):
    """Reproducible gradients against NumPy's bits, fast ones against the bounds."""
    right, exact, fast = (
        br.value_and_grad(network, params, x, y, backend=name, numerics=numerics)[1]
        for name, numerics in (("numpy", "reproducible"), ("cupy", "reproducible"), ("cupy", "fast"))
    )
    if exact.sha256() != right.sha256():
        sys.exit("bench_gpu: cupy does not have the bits of numpy under reproducible numerics")
    bounds = gradient_bounds(network, params, x, y)
    allowed = 2 * br.Parameters.from_arrays(bounds.dW, bounds.db).flat
    if not (np.abs(fast.flat.astype("float64") - right.flat) <= allowed).all():
        sys.exit("bench_gpu: cupy is outside the bounds under fast numerics")


def step_seconds(network, params, x, y, batch, backend):
    """Median seconds per step: of the epochs that a longer run has more, as each allocates, uploads and captures."""

    def run(epochs):
        started = time.perf_counter()
        br.train(network, params, x, y, epochs=epochs, batch_size=batch, optimizer=br.SGD(0.01), backend=backend)
        return time.perf_counter() - started

    run(FEW)  # compiles
    return statistics.median(run(MANY) - run(FEW) for _ in range(REPEATS)) / ((MANY - FEW) * BATCHES)


if __name__ == "__main__":
    main()
