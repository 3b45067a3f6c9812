"""Two figures for people rather than for steps: training XOR against a beginner's program, and launch to first step."""

import statistics
import subprocess
import sys
import time

import beginner_xor
import numpy as np

import backprop_ref as br

TIMES = 9
EPOCHS, RATE = 20_000, 0.5
FIRST_STEP = (
    "import numpy as np, backprop_ref as br\n"
    "network = br.Network([2, 4, 1], ['sigmoid', 'sigmoid'], 'sse')\n"
    "x = np.zeros((4, 2)); y = np.zeros((4, 1))\n"
    "br.train(network, network.init(1), x, y, epochs=1, backend='numba', numerics='reproducible')\n"
)


def train_ours(epochs=EPOCHS):
    """All of `br.train` for online XOR on Numba; its parameters."""
    network = br.Network([2, 4, 1], ["sigmoid", "sigmoid"], "sse")
    options = {"batch_size": 1, "shuffle": False, "optimizer": br.SGD(RATE), "progress": False}
    x, y = np.array(beginner_xor.X), np.array(beginner_xor.Y)
    where = {"backend": "numba", "numerics": "reproducible"}
    return br.train(network, network.init(1), x, y, epochs=epochs, **options, **where).params


def train_theirs(epochs=EPOCHS):
    """The same by beginner_xor.py."""
    start = br.Network([2, 4, 1], ["sigmoid", "sigmoid"], "sse").init(1)
    trained, _ = beginner_xor.train(start.W, start.b, epochs, RATE)
    return br.Parameters.from_arrays(*trained.weights_and_biases())


def check(epochs=500):
    """Both train alike; the beginner's exp and association round differently, in each of 2,000 steps."""
    ours, theirs = train_ours(epochs).flat, train_theirs(epochs).flat
    assert np.allclose(ours, theirs, rtol=1e-9, atol=1e-12), "they train differently"


def first_step():
    """A new process up to its first training step; fast once compiled code is on disk."""
    subprocess.run([sys.executable, "-c", FIRST_STEP], check=True)


def seconds(function):
    """What one call takes."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def xor():
    """Prints both times for 20,000 epochs of online XOR."""
    check()
    ours, theirs = min(seconds(train_ours) for _ in range(TIMES)), seconds(train_theirs)
    print(f"online XOR, {EPOCHS} epochs: Numba {ours:.3g} s, beginner {theirs:.3g} s, {theirs / ours:.3g} times")


def start():
    """Prints the time from launch to the end of the first step."""
    first_step()
    low, median, high = statistics.quantiles([seconds(first_step) for _ in range(TIMES)], n=4)
    print(f"launch to the first training step: {median:.3g} s (quartiles {low:.3g} to {high:.3g})")


COMPARISONS = {"xor": xor, "start": start}
