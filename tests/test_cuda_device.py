"""What only a GPU can show, rehearsed in the emulation: how it rounds, and that steps are played as graphs."""

import numpy as np
import pytest
from backprop_ref.kernels import cuda_cupy, cuda_source, elementary
from helpers import parameters, samples

import backprop_ref as br
from backprop_ref.conformance.rounding.elementary import sweep

BLOCKS = 79
PROBE = """
extern "C" __global__ void {0}_v1(const real* x_i, real* y_i, integer n)
{{
    for EACH (i, n)
        y_i[i] = {0}(x_i[i]);
}}
"""


@pytest.fixture(params=["cupy", pytest.param("host_cupy:make", marks=pytest.mark.cuda_host)])
def gpu(request):
    """The cupy backend with reproducible numerics, on a GPU and over the emulation."""
    try:
        return br.get_backend(request.param, "reproducible")
    except br.BackendUnavailable as error:
        if request.param in request.config.getoption("--require-backend"):
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.few(1)
def test_elementary_functions_have_the_bits_of_numpy(gpu, dtype):
    """Over the sweeps whose hash is pinned for NumPy."""
    functions = ("exp", "log", "log1p", "tanh")
    text = cuda_source.source(dtype) + "".join(map(PROBE.format, functions))
    with gpu.scope():
        module = cuda_cupy.loaded(gpu.xp, text, cuda_source.OPTIONS[False])
        for name in functions:
            x = sweep(name, dtype, 20000)
            found = bits_free_of_nan(launched(gpu, module.get_function(f"{name}_v1"), x))
            assert found == bits_free_of_nan(getattr(elementary.for_numpy(dtype), name)(x)), name


def launched(gpu, function, x):
    """The kernel's results; threads go round, as there are fewer of them than arguments."""
    given = gpu.asarray(x, x.dtype.name)
    y = gpu.xp.empty(x.shape, x.dtype)
    function((BLOCKS, 1, 1), (cuda_source.THREADS, 1, 1), (given, y, np.int64(x.size)))
    return gpu.to_numpy(y)


def bits_free_of_nan(x):
    """The sign of a NaN is nobody's business."""
    return np.where(np.isnan(x), 0, x).tobytes()


def test_steps_are_played_as_graphs(gpu):
    """A graph for each size of a batch; none would mean that CUDA refuses the capture, and every step is slow."""
    network, optimizer = br.Network([3, 5, 2], ["tanh", "softmax"], "ce"), br.Adam(0.01)
    x, y = samples(network, 7)
    trainer, params = gpu.trainer(network, optimizer, "float64", 3, 1, "accuracy"), parameters(network)
    trainer.run(params, optimizer.init(params.flat), x, y, np.arange(21).reshape(3, 7) % 7, [0.01] * 3)
    assert trainer.capturing
    assert sorted(trainer.graphs) == [1, 3]
    assert all(hasattr(graph, "launch") for graph in trainer.graphs.values())
