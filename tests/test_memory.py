"""What trainers take beyond their caller's arrays: a gradient, and three numbers for each neuron and row of a batch."""

import itertools
import tracemalloc

import numpy as np
import pytest
from backprop_ref.kernels import registers
from backprop_ref.kernels.fused import products, wide_layers

import backprop_ref as br
from backprop_ref import Network, get_backend
from backprop_ref.backends import numba_trainer, numpy_trainer
from backprop_ref.errors import InvalidInput
from backprop_ref.training.arguments import BLOCK, check_finite, largest

NETWORKS = [
    (Network([2, 4, 1], ["sigmoid", "sigmoid"], "sse"), 4),
    (Network([2, 5, 1], ["sigmoid", "sigmoid"], "sse"), 1600),
    (Network([64, 128, 10], ["relu", "softmax"], "ce"), 64),
    (Network([300, 200, 100, 10], ["relu", "tanh", "softmax"], "ce"), 128),
]
RULES = [br.SGD(0.1), br.SGD(0.1, momentum=0.9), br.Adam()]


def allowed(network, batch_size):
    """Numbers: a gradient, and for each row of a batch three of each width and two more."""
    return network.n_parameters + batch_size * (3 * sum(network.sizes) + 2)


def allocated_while(function):
    """Bytes that NumPy and Python had at most, above what they had before."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        function()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


@pytest.mark.more(dtype="float32")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("numerics", ["fast", "reproducible"])
@pytest.mark.parametrize("optimizer", RULES, ids=repr)
@pytest.mark.parametrize("network, batch_size", NETWORKS, ids=str)
def test_numba(network, batch_size, optimizer, numerics, dtype):
    made = numba_trainer.create(
        *(network, optimizer, dtype, batch_size, 1, "r2", 1), specialize="never", numerics=numerics
    )
    pairs = list(zip(network.sizes, network.sizes[1:], strict=False))
    panels = max(
        products.panels_for(*extent, 1)
        for n_in, n_out in pairs
        for extent in wide_layers.products_of(n_in, n_out, batch_size)
    )
    filling = (len(made._sections) + len(network.sizes)) * registers.vector_of(dtype)
    assert made._work.size <= allowed(network, batch_size) + panels + filling


def test_plain_descent_stores_no_gradient_of_wide_layers():
    network, batch_size = NETWORKS[-1]
    plain, momentum = (
        numba_trainer.create(network, rule, "float64", batch_size, 1, "r2", 1, numerics="fast") for rule in RULES[:2]
    )
    assert momentum._work.size - plain._work.size >= network.n_parameters


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("optimizer", RULES, ids=repr)
@pytest.mark.parametrize("network, batch_size", NETWORKS, ids=str)
def test_numpy(network, batch_size, optimizer, dtype):
    size = np.dtype(dtype).itemsize
    params, rows = network.init(1, dtype=dtype), 5 * batch_size
    slots, x, y = optimizer.init(params.flat), *(np.ones((rows, n), dtype) for n in network.sizes[:: network.n_layers])
    order = np.arange(rows)[None]

    def train():
        with get_backend("numpy", "fast").scope():
            numpy_trainer.create(network, optimizer, dtype, batch_size, 1, "r2").run(params, slots, x, y, order, [0.1])

    train()  # what is allocated once, whatever the size
    objects = 64 * 1024
    column_of_y = rows * (size + 1)
    flags = params.flat.size + batch_size * max(network.sizes)
    limit = size * (allowed(network, batch_size) + 2 * numpy_trainer.BLOCK) + column_of_y + flags + objects
    assert allocated_while(train) <= limit


@pytest.mark.parametrize("metric", ["r2", "accuracy"])
@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("numerics", ["fast", "reproducible"])
def test_data_are_not_copied(backend, numerics, metric):
    """But for the class that y says, that which is wanted and that which is found, where NumPy counts correct rows."""
    network, rows = Network([100, 20, 1], ["tanh", "sigmoid"], "bce"), 20_000
    made = get_backend(backend, numerics, threads=1).trainer(network, br.SGD(0.1), "float64", 10, 1, metric)
    if made is None:
        pytest.skip(f"{backend} has no trainer for {numerics} numerics")
    params, y, order = network.init(1), np.zeros((rows, 1)), np.arange(rows)[None]
    x = np.zeros((rows, 100), order="F" if backend == "numpy" else "C")
    with get_backend("numpy", "fast").scope():
        made.run(params, {}, x[:10], y[:10], order[:, :10], [0.1])
        classes = 3 * np.dtype(np.intp).itemsize + 1 if (backend, metric) == ("numpy", "accuracy") else 0
        assert allocated_while(lambda: made.run(params, {}, x, y, order, [0.1])) < rows * classes + 64 * 1024


def test_panels_of_wide_layers_hold_a_batch_and_for_each_worker_a_block_of_limited_size():
    batch, width, block = 100, 10**6, products.DEPTH * products.WIDTH
    for extent in itertools.permutations((batch, width, width)):
        assert products.panels_for(*extent, 3) <= (batch + 64) * width + 3 * block + products.LINE


def test_data_larger_than_memory_are_looked_at_some_rows_at_a_time(tmp_path):
    x = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (3 * BLOCK // 8, 8))
    assert allocated_while(lambda: check_finite("x", x)) < 2 * BLOCK < x.size
    x[-2, 3] = np.nan
    with pytest.raises(InvalidInput, match=rf"x\[{len(x) - 2}, 3\] is nan"):
        check_finite("x", x)
    x[-2, 3] = -7.0
    assert largest(x) == 7.0
