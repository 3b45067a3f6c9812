"""Ratios that say how fast the compiled trainers are, each against a plain rival on the same numbers, in one run.

    python bench/bench_step.py [small] [large] [xor] [start]

- small: the 2-4-1 step, batch 4, against the same step in C (step_c.c)
- large: the 784-2048-2048-10 step, batch 256, reproducible, against NumPy's products of the same shapes alone
- xor: 20,000 epochs of online XOR against beginner_xor.py
- start: a new process up to its first training step, compiled code on disk

Gradients or weights are compared before anything is timed. Rivals take turns; the ratio is the median of the ratios
of neighbours, its spread their quartiles. Compilation is reported apart.
"""

import ctypes
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import beginner_xor
import numpy as np

import backprop_ref as br
from backprop_ref.backends import numba_trainer
from backprop_ref.backends.numpy import blas_threads
from backprop_ref.random import Stream
from backprop_ref.training import PairsTrainer

HERE = Path(__file__).parent
PAIRS = 9


def main(*wanted):
    """Runs the comparisons named, or all."""
    print(surroundings())
    for name in wanted or COMPARISONS:
        COMPARISONS[name]()


def surroundings():
    """What the figures depend on."""
    from threadpoolctl import threadpool_info

    blas = [f"{info['internal_api']} {info['version']} ({info.get('architecture')})" for info in threadpool_info()]
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    return (
        f"processor {model}, {os.cpu_count()} cores; BLAS {', '.join(blas)}; "
        f"OPENBLAS_CORETYPE={os.environ.get('OPENBLAS_CORETYPE', 'unset')}; python {platform.python_version()}, "
        f"numpy {np.__version__}, backprop_ref {br.__version__}"
    )


def _lines(path):
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def alternate(ours, theirs, pairs=PAIRS):
    """Median times of two functions called in turn, and median and quartiles of the ratio of neighbours."""
    times = [(seconds(ours), seconds(theirs)) for _ in range(pairs + 1)][1:]
    ratios = [mine / other for mine, other in times]
    low, median, high = statistics.quantiles(ratios, n=4)
    return *(statistics.median(column) for column in zip(*times, strict=True)), median, low, high


def seconds(function):
    """What one call takes."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def report(what, figures, unit, per, names=("ours", "theirs")):
    """One line: both times per step or call, the ratio, its spread."""
    mine, other, median, low, high = figures
    scale = {"us": 1e6, "ms": 1e3, "s": 1.0}[unit] / per
    print(
        f"{what}: {names[0]} {mine * scale:.3g} {unit}, {names[1]} {other * scale:.3g} {unit}, "
        f"ratio {median:.3g} (quartiles {low:.3g} to {high:.3g})"
    )


def small():
    """Numba, reproducible, float64, against C; every step sees new samples, as repeating a batch ends in subnormals."""
    network = br.Network([2, 4, 1], ["sigmoid", "sigmoid"], "sse")
    epochs, samples = 50, 4000
    stream = Stream(1, "check")
    x, y = stream.normal(2 * samples).reshape(samples, 2), stream.uniform(samples).reshape(samples, 1)
    orders, rates = stream.permutations(epochs, samples), [0.1] * epochs
    c, losses = c_train(), np.empty(epochs)
    for specialize in ("always", "never"):
        made = numba_trainer.create(network, br.SGD(), "float64", 4, 1, "r2", 1, specialize=specialize)
        ours, theirs = network.init(1), network.init(1)

        def run_ours(made=made, params=ours):
            return made.run(params, {}, x, y, orders, rates)

        def run_theirs(params=theirs):
            c(x, y, orders, epochs, samples, params.flat, 0.1, losses)

        found, _ = run_ours()
        run_theirs()
        # libm's exp and fused multiply-add round differently, in each of the 50,000 steps
        assert np.allclose(found, losses, rtol=1e-9, atol=0), "C and Numba train differently"
        assert np.allclose(ours.flat, theirs.flat, rtol=1e-9, atol=1e-12), "C and Numba train differently"
        print(f"2-4-1, {specialize=}: compiling took {made.compile_seconds:.3g} s")
        names, figures = ("Numba", "C"), alternate(run_ours, run_theirs)
        report(f"2-4-1, batch 4, full step, {specialize=}, 1 thread", figures, "us", epochs * samples / 4, names)


def c_train():
    """`train` of step_c.c, compiled."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "step_c.so"
        flags = ["-O3", "-march=native", "-shared", "-fPIC"]
        subprocess.run(["gcc", *flags, str(HERE / "step_c.c"), "-o", str(library), "-lm"], check=True)
        train = ctypes.CDLL(str(library)).train
    array, whole = np.ctypeslib.ndpointer(np.float64, flags="C"), np.ctypeslib.ndpointer(np.int64, flags="C")
    train.argtypes = [array, array, whole, ctypes.c_int64, ctypes.c_int64, array, ctypes.c_double, array]
    train.restype = None
    return train


def large():
    """A whole step, reproducible, against the matrix products alone as the BLAS does them."""
    sizes, batch, threads = [784, 2048, 2048, 10], 256, 2
    network = br.Network(sizes, ["relu", "relu", "softmax"], "cross_entropy")
    stream = Stream(1, "check")
    samples = 4 * batch
    x, y = stream.uniform(784 * samples).reshape(samples, 784), np.eye(10)[stream.integers_below([10] * samples)]
    for dtype in ("float64", "float32"):
        x, y = x.astype(dtype), y.astype(dtype)
        made = numba_trainer.create(network, br.SGD(), dtype, batch, 1, "accuracy", threads)
        params, wanted = (network.init(1, "he", dtype) for _ in range(2))
        backend = br.get_backend("numpy", "reproducible")
        with backend.scope():
            first = np.arange(batch)[None, :]
            pairs = PairsTrainer(backend, network, br.SGD(), batch, 1, "accuracy")
            pairs.run(wanted, {}, x[:batch], y[:batch], first, [0.01])
        made.run(params, {}, x[:batch], y[:batch], first, [0.01])
        assert params.sha256() == wanted.sha256(), "not the bits of the reference"
        orders = stream.permutations(1, samples)
        operands = [
            pair
            for layer, (n_in, n_out) in enumerate(zip(sizes, sizes[1:], strict=False))
            for pair in products(stream, batch, n_in, n_out, layer > 0, dtype)
        ]

        def run_ours(made=made, params=params, x=x, y=y, orders=orders):
            return made.run(params, {}, x, y, orders, [0.01])

        def run_theirs(operands=operands):
            with blas_threads(threads):
                for _ in range(samples // batch):
                    for left, right in operands:
                        left @ right

        print(f"784-2048-2048-10, {dtype}: compiling took {made.compile_seconds:.3g} s")
        names, figures = ("whole step", "BLAS products alone"), alternate(run_ours, run_theirs)
        what = f"784-2048-2048-10, batch {batch}, {dtype}, reproducible, {threads} threads"
        report(what, figures, "ms", samples / batch, names)


def products(stream, batch, n_in, n_out, with_input, dtype):
    """The operands of a layer's z, dW and da, stored as a backend has them."""
    a, W, delta = (
        stream.normal(rows * columns).reshape(rows, columns).astype(dtype)
        for rows, columns in ((batch, n_in), (n_in, n_out), (batch, n_out))
    )
    return [(a, W), (a.T, delta), (delta, W.T)][: 3 if with_input else 2]


def xor():
    """20,000 epochs of online XOR: all of br.train on Numba, compiled code loaded, against a beginner's program."""
    epochs, rate = 20_000, 0.5
    network = br.Network([2, 4, 1], ["sigmoid", "sigmoid"], "sse")
    x, y, start = np.array(beginner_xor.X), np.array(beginner_xor.Y), network.init(1)
    options = {"batch_size": 1, "shuffle": False, "optimizer": br.SGD(rate), "backend": "numba"}
    options |= {"numerics": "reproducible", "progress": False}

    def run_ours(epochs=epochs):
        return br.train(network, start, x, y, epochs=epochs, **options).params

    def run_theirs(epochs=epochs):
        trained, _ = beginner_xor.train(start.W, start.b, epochs, rate)
        return br.Parameters.from_arrays(*trained.weights_and_biases())

    few = 500
    # the beginner's exp and association round differently, in each of 2,000 steps
    assert np.allclose(run_ours(few).flat, run_theirs(few).flat, rtol=1e-9, atol=1e-12), "they train differently"
    ours, theirs = min(seconds(run_ours) for _ in range(PAIRS)), seconds(run_theirs)
    print(
        f"online XOR, {epochs} epochs: Numba {ours:.3g} s, beginner {theirs:.3g} s, {theirs / ours:.3g} times as long"
    )


def start():
    """From launching Python to the end of the first training step, with compiled code on disk."""
    code = (
        "import numpy as np, backprop_ref as br\n"
        "network = br.Network([2, 4, 1], ['sigmoid', 'sigmoid'], 'sse')\n"
        "x = np.zeros((4, 2)); y = np.zeros((4, 1))\n"
        "br.train(network, network.init(1), x, y, epochs=1, backend='numba', numerics='reproducible')\n"
    )
    taken = [seconds(lambda: subprocess.run([sys.executable, "-c", code], check=True)) for _ in range(PAIRS + 1)][1:]
    low, median, high = statistics.quantiles(taken, n=4)
    print(f"launch to the first training step: {median:.3g} s (quartiles {low:.3g} to {high:.3g})")


COMPARISONS = {"small": small, "large": large, "xor": xor, "start": start}

if __name__ == "__main__":
    main(*sys.argv[1:])
