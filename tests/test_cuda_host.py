"""The CUDA kernels and their launching, without a GPU: compiled for the host, behind a stand-in for CuPy.

What this proves: the kernels' text and the code that launches it compute the reference's bits. What it cannot: that
CUDA's compiler and the GPU round as IEEE 754 says; the first use on a GPU checks that, and ci/gpu.sh at length.
"""

import functools
import hashlib
import itertools
import json
import math
import re
import sys

import host_cupy
import numpy as np
import pytest
from backprop_ref.kernels import cuda_cupy, cuda_source
from helpers import BATCHES, PAIRS, label, networks, parameters, samples
from test_elementary import PINNED
from test_identical import REFERENCE, OPTIMIZERS, assert_identical, computed, once_trained, some_networks, trained
from test_identical import weights as named_weights

import backprop_ref as br
from backprop_ref.backends import cupy as shipped
from backprop_ref.backends.array import ArrayBackend
from backprop_ref.conformance.elementary import sweep
from backprop_ref.experiments.compare import compare
from backprop_ref.network import ACTIVATIONS
from backprop_ref.random import Stream
from backprop_ref.training import PairsTrainer

pytestmark = pytest.mark.cuda_host

DTYPES = ("float64", "float32")
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=["sgd", "momentum", "nesterov", "adam"])
each_version = pytest.mark.parametrize("version", [1, 2])


@functools.cache
def emulation(numerics="reproducible"):
    return host_cupy.make(numerics)


@pytest.fixture
def gpu():
    """The cupy backend, reproducible, over the emulation; without a C++ compiler, a skip that says so."""
    try:
        return emulation()
    except br.BackendUnavailable as error:
        pytest.skip(str(error))


# The bits of the reference.


def check_networks(backend, chosen, batch, dtype):
    for network in chosen:
        params, (x, y) = parameters(network, dtype=dtype), samples(network, batch, dtype=dtype)
        expected = computed(REFERENCE, network, params, x, y)
        assert_identical(computed(backend, network, params, x, y), expected, f"{dtype} {label(network)}")


@each_dtype
@pytest.mark.parametrize("batch", BATCHES)
def test_every_tensor_has_the_bits_of_numpy(gpu, batch, dtype):
    check_networks(gpu, networks(), batch, dtype)


@each_dtype
@each_version
@pytest.mark.parametrize(("batch", "sizes"), [(31, [33, 1, 257]), (257, [1, 31, 33]), (1, [257, 33, 31]), (33, [31, 3])])
def test_ragged_sizes_have_the_bits_of_numpy(gpu, monkeypatch, batch, sizes, version, dtype):
    """Around what a tile, a warp and a block hold, in both versions of a kernel."""
    monkeypatch.setattr(cuda_cupy, "VERSIONS", dict.fromkeys(cuda_cupy.VERSIONS, version))
    host_cupy.launches.clear()
    check_networks(gpu, [br.Network(sizes, ["tanh", "relu"][: len(sizes) - 2] + ["softmax"], "ce")], batch, dtype)
    assert (f"affine_backward_v{version}" in dict(host_cupy.launches)) and (f"ordered_mean_v{version}" in dict(host_cupy.launches))


def check_trained(backend, chosen, optimizer, dtype):
    for network in chosen:
        about = f"{dtype} {label(network)} after training"
        assert_identical(trained(backend, network, optimizer, dtype), once_trained(network, optimizer, dtype), about)


@each_dtype
@each_optimizer
def test_weights_after_50_steps_have_the_bits_of_numpy(gpu, optimizer, dtype):
    """With every pair of loss and output; steps are launched by the backend's own trainer."""
    check_trained(gpu, some_networks(OPTIMIZERS.index(optimizer) + DTYPES.index(dtype)), optimizer, dtype)


@pytest.mark.long
@each_dtype
@each_optimizer
def test_weights_of_every_network_after_50_steps_have_the_bits_of_numpy(gpu, optimizer, dtype):
    check_trained(gpu, networks(), optimizer, dtype)


@each_dtype
def test_the_pairs_train_to_the_same_bits(gpu, dtype):
    """Without the trainer: the update then is the host's."""
    network = br.Network([3, 5, 2], ["tanh", "softmax"], "ce")
    x, y = samples(network, 7, dtype=dtype)
    orders, ends = Stream(3, "shuffle").permutations(4, 7), []
    for backend in (gpu, REFERENCE):
        params, optimizer = parameters(network, dtype=dtype), br.Adam(0.01)
        with backend.scope():
            pairs = PairsTrainer(backend, network, optimizer, 3, 2, "accuracy")
            pairs.run(params, optimizer.init(params.flat), x, y, orders, [0.01] * 4)
        ends.append(named_weights(params))
    assert_identical(*ends)


@each_dtype
def test_subnormal_numbers_survive_shards_and_any_upstream_gradient(gpu, dtype):
    """Sums of shards are subnormal here, which CuPy's own + would set to 0 in float32."""
    network = br.Network([5, 3, 2], ["leaky_relu", "linear"], "sse")
    params, (x, y) = parameters(network, dtype=dtype), samples(network, 9, dtype=dtype)
    tiny = np.dtype(dtype).type(np.finfo(dtype).smallest_normal)
    for matrix in (*params.W, *params.b):
        matrix *= np.dtype(dtype).type(2.0**-20)
    x, da = x * tiny, y * tiny
    results = []
    for backend in (gpu, REFERENCE):
        loss, grads = br.value_and_grad(network, params, x, da, shards=4, backend=backend)
        vjp, dx = br.vjp(network, params, x, da, backend=backend)
        results.append({"loss": np.array(loss), "shards": grads.flat, "vjp": vjp.flat, "dx": dx})
    assert_identical(*results)
    small = np.abs(results[0]["shards"])
    assert ((small > 0) & (small < tiny)).any()


@each_dtype
@pytest.mark.parametrize("function", ["exp", "log", "log1p", "tanh"])
def test_elementary_functions_have_their_pinned_bits(gpu, function, dtype):
    kernel = 'extern "C" __global__ void probe_v1(const real* x_i, real* y_i, integer n)\n{\n'
    kernel += f"    for EACH (i, n)\n        y_i[i] = {function}(x_i[i]);\n}}\n"
    module = host_cupy.Module()
    module.load((cuda_source.source(dtype) + kernel).encode())
    x = host_cupy.array(sweep(function, dtype, 20000))
    y = host_cupy.empty(x.shape, x.dtype)
    module.get_function("probe_v1")((79, 1, 1), (256, 1, 1), (x, y, np.int64(x.size)))
    found = y.get()
    expected = found.astype(found.dtype.newbyteorder("<"))
    # The sweep holds no NaN and the functions' NaN is positive; the reference's sign of it is the processor's.
    expected[np.isnan(expected)] = getattr(REFERENCE_FUNCTIONS(dtype), function)(x.get())[np.isnan(expected)]
    assert hashlib.sha256(expected.tobytes()).hexdigest() == PINNED[function, dtype]


def REFERENCE_FUNCTIONS(dtype):
    from backprop_ref.kernels import elementary

    return elementary.for_numpy(dtype)


# What no number tells: NaN, limits of a grid, graphs, what must not be taken.


@each_dtype
def test_nan_passes_through(gpu, dtype):
    """Wherever the reference has NaN, and nowhere else."""
    numpy = REFERENCE
    for place, (loss, output) in itertools.product(range(3), PAIRS):
        z, a, y, da = (Stream(i + 1, "check").uniform(15).reshape(5, 3).astype(dtype) for i in range(4))
        (z, a, y)[place][2, 1] = np.nan
        calls = [("affine_forward", z, da[:3, :3], a[0]), ("affine_backward", z, a), ("affine_backward_input", z, da)]
        calls += [("activation_forward", name, z) for name in ACTIVATIONS]
        calls += [("activation_backward", name, z, a, da) for name in ACTIVATIONS]
        calls += [(f"loss_{way}", loss, output, z, a, y) for way in ("forward", "backward")]
        for pair, *given in calls:
            with np.errstate(all="ignore"):
                wanted = getattr(numpy, pair)(*given)
            got = getattr(gpu, pair)(*(gpu.asarray(x.copy(), dtype) if isinstance(x, np.ndarray) else x for x in given))
            for mine, right in zip(*((x if isinstance(x, tuple) else (x,)) for x in (got, wanted)), strict=True):
                np.testing.assert_array_equal(gpu.to_numpy(mine), right, f"{pair} {loss} {output} {place}")


def test_kernels_go_round_where_a_grid_is_too_small(gpu, monkeypatch):
    """Two blocks at most: the last of 257 rows is still computed, and to the same bits."""
    monkeypatch.setattr(cuda_cupy, "MOST_BLOCKS", 2)
    host_cupy.launches.clear()
    check_networks(gpu, [br.Network([33, 31, 7], ["tanh", "softmax"], "ce")], 257, "float64")
    assert max(blocks for _, blocks in host_cupy.launches) == 2


@pytest.mark.parametrize("version", [1, 2])
def test_no_grid_is_larger_than_cuda_allows(gpu, monkeypatch, version):
    """In the first dimension 2^31 - 1 blocks; in the others, of which one holds 65,535, there is 1."""
    grids, kernels = [], gpu.pairs("float64").kernels
    monkeypatch.setattr(cuda_cupy, "VERSIONS", dict.fromkeys(cuda_cupy.VERSIONS, version))
    names = [f"{name}_v{version}" for name in cuda_cupy.VERSIONS] + ["tanh_forward_v1"]
    fake = dict.fromkeys(names, lambda grid, block, arguments: grids.append(grid))
    monkeypatch.setattr(kernels, "_functions", fake)
    for rows, columns in ((65536 * 16, 65536 * 16), (2**40, 3), (3, 2**40), (1, 1), (17, 1), (0, 5)):
        kernels.tiles("affine_forward", rows, columns, rows * columns)
        kernels.each("tanh_forward", rows * columns)
    assert all(1 <= blocks <= 2**31 - 1 and rest == [1, 1] for blocks, *rest in grids)
    assert grids[0][0] == grids[1][0] == 2**31 - 1
    assert grids[-1][0] == 1


def test_steps_are_captured_once_and_played(gpu, monkeypatch):
    """Three sizes of batches would be three graphs; here are two, and no launch happens outside them afterwards."""
    network = br.Network([3, 5, 2], ["tanh", "softmax"], "ce")
    x, y = samples(network, 7)
    trainer = gpu.trainer(network, br.Adam(0.01), "float64", 3, 1, "accuracy")
    params = parameters(network)
    run = functools.partial(trainer.run, params, br.Adam(0.01).init(params.flat), x, y)
    run(np.arange(14).reshape(2, 7) % 7, [0.01] * 2)
    assert [type(trainer.graphs[size]) for size in (3, 1)] == [host_cupy.Graph] * 2
    host_cupy.launches.clear()
    run(np.arange(7)[None, :], [0.01])
    assert not host_cupy.launches


@each_dtype
def test_where_cuda_refuses_to_capture_steps_are_launched(gpu, monkeypatch, dtype):
    def refuse(stream):
        raise host_cupy.CUDARuntimeError("cudaErrorStreamCaptureUnsupported")

    monkeypatch.setattr(host_cupy.Stream, "begin_capture", refuse)
    check_trained(gpu, itertools.islice(some_networks(0), 2), OPTIMIZERS[-1], dtype)


def test_a_step_neither_allocates_nor_waits(gpu, monkeypatch):
    """Under either numerics: between the first batch and the last of an epoch nothing leaves the GPU."""
    network = br.Network([3, 5, 2], ["tanh", "softmax"], "ce")
    x, y = samples(network, 7)
    for backend in (gpu, emulation("fast")):
        trainer, params = backend.trainer(network, br.SGD(0.1), "float64", 3, 1, "accuracy"), parameters(network)
        run = functools.partial(trainer.run, params, {}, x, y, np.arange(7)[None, :], [0.1])
        run()
        play = trainer._play

        def guarded(size, play=play):
            with monkeypatch.context() as patch:
                for name in ("get", "set"):
                    patch.setattr(host_cupy.ndarray, name, host_cupy.ndarray._refuse)
                patch.setattr(host_cupy.device, "memory", 0)
                play(size)

        trainer._play = guarded
        run()


def test_training_through_the_command_surface(gpu):
    """Interrupted and resumed state is the host's: chunks of any length give the same bits."""
    network = br.Network([3, 4, 2], ["relu", "sigmoid"], "bce")
    x, y = samples(network, 11)
    how = {"epochs": 9, "batch_size": 4, "optimizer": br.Adam(0.01), "shuffle": True}
    runs = [
        br.train(network, parameters(network), x, y, backend=backend, callback=callback, **how)
        for backend, callback in ((REFERENCE, None), (gpu, None), (gpu, lambda epoch: False))
    ]
    for run in runs[1:]:
        assert run.params.sha256() == runs[0].params.sha256()
        assert_identical(run.history, runs[0].history)


def test_fast_numerics_train_close_to_the_reference():
    """Every kernel of `fast` in a few steps; that gradients are within their bounds is tested with all backends."""
    network = br.Network([3, 5, 2], ["tanh", "softmax"], "ce")
    x, y = samples(network, 7)
    how = {"epochs": 2, "batch_size": 3, "optimizer": br.SGD(0.1, 0.9)}
    fast, exact = (br.train(network, parameters(network), x, y, backend=b, **how) for b in (emulation("fast"), REFERENCE))
    # 6 steps and sums of at most 8 terms: errors of some ten roundings, far below what any wrong formula makes
    assert np.abs(fast.params.flat - exact.params.flat).max() < 1000 * np.finfo(float).eps


def on(backend, *shape, dtype="float64"):
    return backend.asarray(np.ones(shape), dtype)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: g.affine_forward(on(g, 2, 3), on(g, 3, 4, dtype="float32"), on(g, 4)),
         "affine_forward: W has dtype float32 and a has float64: one is needed"),
        (lambda g: g.affine_forward(on(g, 2, 3), on(g, 4, 3).T, on(g, 4)),
         r"affine_forward: W of shape \(3, 4\) has strides \(8, 24\).*; pass cupy.ascontiguousarray\(W\)"),
        (lambda g: g.affine_forward(on(g, 2, 6)[:, ::2], on(g, 3, 4), on(g, 4)), r"a of shape \(2, 3\) has strides"),
        (lambda g: g.affine_forward(on(g, 2, 3), on(g, 5, 4), on(g, 4)),
         r"affine_forward: a has shape \(2, 3\) and W \(5, 4\): \(any, 5\) fits"),
        (lambda g: g.affine_forward(on(g, 2, 3), on(g, 3, 4), on(g, 3)), r"b has shape \(3,\)"),
        (lambda g: g.affine_backward(on(g, 2, 3), on(g, 3, 3)), r"delta has shape \(2, 3\) and a \(3, 3\)"),
        (lambda g: g.activation_forward("tanh", np.ones((2, 2))), "activation_forward: z is a numpy.ndarray"),
        (lambda g: g.activation_forward("tanh", g.xp.zeros((2, 2), "int64")), "z has dtype int64"),
        (lambda g: g.activation_forward("tanj", on(g, 2, 2)), "did you mean 'tanh'"),
        (lambda g: g.loss_backward("mean_squared_error", "tanh", on(g, 2, 2), on(g, 2, 2), on(g, 2, 1)),
         r"y has shape \(2, 1\) and z \(2, 2\): \(2, 2\) fits"),
        (lambda g: g.loss_forward("cross_entropy", "tanh", *[on(g, 2, 2)] * 3), "does not go with"),
        (lambda g: on(g, 2) + on(g, 3), "a sum of shards: "),
    ],
)  # fmt: skip
def test_what_a_kernel_would_misread_is_refused(gpu, call, message):
    with gpu.scope(), pytest.raises(br.InvalidInput, match=message):
        call(gpu)


# Planted: what is wrong with a kernel has to be found.

V2_SUM = "sum = sum + left[row][t] * right[t][column];"
PLANTED = {
    "a fused multiply-add": (V2_SUM, "sum = {std::fma(left[row][t].value, right[t][column].value, sum.value)};"),
    "terms in the reverse order": (V2_SUM, "sum = sum + left[row][count - 1 - t] * right[count - 1 - t][column];"),
    "the bias added last": ("sum = start_j[j];", "sum = real{0} * start_j[j];"),
    "the last row not written": ("if (i < n_i && j < n_j)\n            out", "if (i < n_i - 1 && j < n_j)\n            out"),
    "a row too many written": ("if (i < n_i && j < n_j)\n            out", "if (i <= n_i && j < n_j)\n            out"),
    "indices swapped": ("return {at, columns, rows, 1, columns}", "return {at, columns, rows, columns, 1}"),
    "padding summed up": ("n_t - t0 < TILE ? (int)(n_t - t0) : TILE", "TILE"),
    "no barrier before the sum": ("__syncthreads();\n            int count", "int count"),
    "no barrier after the sum": (f"{V2_SUM}\n            __syncthreads();", V2_SUM),
    "a barrier that some threads miss": ("__syncthreads();\n            int count", "if (j < n_j) __syncthreads();\n            int count"),
    "the last sample left out of db": ("for (integer s = 0; s < batch; ++s)\n            db", "for (integer s = 1; s < batch; ++s)\n            db"),
    "a sum of e backwards": ("total = total + a_j[j];", "total = a_j[j] + total * real{1.0000000000000002};"),
    "a derivative regrouped": ("real{1} - a_i[i] * a_i[i]", "(real{1} - a_i[i]) * (real{1} + a_i[i])"),
    "relu as a product": ("z_i[i] <= real{0} ? real{0} : da_i[i]", "da_i[i] * (z_i[i] > real{0} ? real{1} : real{0})"),
    "a loss summed in two halves": ("sum = sum + block[i - i0];", "sum = (i % 2 ? sum + block[i - i0] : block[i - i0] + sum) + real{1e-17};"),
    "a coefficient of exp off by its last bit": ("EXP[] = {0x1.5555555555559p-3", "EXP[] = {0x1.555555555555ap-3"),
    "division by a reciprocal": ("(a_j[j] * total - y_j[j]) / n", "(a_j[j] * total - y_j[j]) * (real{1} / n)"),
}  # fmt: skip
PLANTED_IN_UPDATES = {
    "an update fused": ("W_i[i] - rate * g_i[i];", "real{std::fma(-rate.value, g_i[i].value, W_i[i].value)};"),
    "Adam divided in another order": ("rate * (m_i[i] / c1) / (", "rate * ((m_i[i] / c1) / ("),
    "the first batch again and again": ("position[i] + (i == 0 ? batch : 1)", "position[i] + (i == 0 ? 0 : 1)"),
}


@pytest.fixture
def planted(gpu, monkeypatch):
    """Makes the backend over an edited text; nothing is checked when it is made."""

    def make(before, after):
        def edit(text):
            assert text.count(before) == 1, f"{text.count(before)} of what is to be replaced"
            return text.replace(before, after)

        monkeypatch.setattr(host_cupy, "edit", edit)
        with host_cupy.in_place_of_cupy() as cupy:
            return host_cupy.renamed(shipped.CupyBackend(cupy, "reproducible", 0))

    return make


@pytest.mark.parametrize("error", PLANTED)
def test_a_planted_error_is_caught(planted, error):
    """By the comparison of all tensors with NumPy's, on sizes no multiple of a tile."""
    backend = planted(*PLANTED[error])
    with pytest.raises((pytest.fail.Exception, AssertionError)):
        for hidden in ("tanh", "relu"):
            check_networks(backend, [br.Network([33, 17, 19], [hidden, "softmax"], "ce")], 41, "float64")


@pytest.mark.parametrize("error", PLANTED_IN_UPDATES)
def test_a_planted_error_in_an_update_is_caught(planted, error):
    before, after = PLANTED_IN_UPDATES[error]
    backend = planted(before, after + ")" * (after.count("(") - after.count(")") - before.count("(") + before.count(")")))
    optimizer = OPTIMIZERS[-1] if "Adam" in error else OPTIMIZERS[0]
    with pytest.raises((pytest.fail.Exception, br.TrainingDiverged)):
        check_trained(backend, some_networks(0), optimizer, "float64")


def test_the_first_use_notices_arithmetic_that_is_not_ieee(gpu, monkeypatch):
    """As on a GPU whose compiler fuses, or sets subnormal numbers to 0."""
    for before, after in (
        (V2_SUM, PLANTED["a fused multiply-add"][1]),
        ("return {ROUNDED(mul)(x.value, y.value)};", "REAL p = x.value * y.value; return {p * p < 1e-70 ? 0 : p};"),
        ("return {ROUNDED(div)(x.value, y.value)};", "return {x.value * (1 / y.value)};"),
    ):
        monkeypatch.setattr(host_cupy, "edit", lambda text, before=before, after=after: text.replace(before, after))
        with pytest.raises(br.BackendUnavailable, match=r"on cuda:0 \(.*\), float\d\d, .* does not have the bits of NumPy"):
            host_cupy.make()


def test_kernels_that_do_not_compile_are_told(gpu, monkeypatch):
    monkeypatch.setattr(host_cupy, "edit", lambda text: text.replace("real db = {0};", "real db = nothing;"))
    with pytest.raises(br.BackendUnavailable, match="installed, but cuda:0 cannot compute: .*affine.cu"):
        host_cupy.make()


def test_an_implicit_copy_through_the_host_is_caught(gpu, monkeypatch):
    x = gpu.asarray(np.ones((2, 2)), "float64")
    for trip in (np.asarray, float, bool, list, lambda x: np.ones((2, 2)) + x, lambda x: np.exp(x)):
        with pytest.raises(TypeError):
            trip(x)
    monkeypatch.setattr(type(gpu), "activation_forward", lambda self, name, z: self.asarray(np.tanh(z), "float64"))
    with pytest.raises(TypeError):
        check_networks(gpu, [br.Network([3, 2], ["tanh"], "sse")], 3, "float64")


# What a user is told, and what the emulation calls itself.


def test_the_emulation_says_what_it_is_and_yields_no_times(gpu):
    assert gpu.name == host_cupy.NAME == "cupy (host emulation)"
    assert "host emulation" in gpu.device and gpu.version == "host emulation"
    assert "cupy" not in {status.name for status in br.backends() if "emulation" in f"{status.device}{status.version}"}
    network = br.Network([3, 2], ["softmax"], "ce")
    (row,) = compare(
        network, parameters(network), *samples(network, 5), ["host_cupy:make"], batch_size=5, optimizer=br.SGD(0.1)
    )
    assert row.all_exact
    assert (row.step_seconds, row.first_seconds) == (None, None)


def error_of(monkeypatch, device=None, **runtime):
    """What `create` says over a CUDA runtime that answers so."""

    def raising(error):
        def function(*_):
            raise error

        return function

    with host_cupy.in_place_of_cupy() as cupy:
        for name, answer in runtime.items():
            failing = isinstance(answer, Exception)
            monkeypatch.setattr(cupy.cuda.runtime, name, raising(answer) if failing else lambda *_, answer=answer: answer)
        with pytest.raises(br.BackpropRefError) as caught:
            shipped.create(br.backends.__globals__["ARITHMETIC"]["fast"], device, None)
    return str(caught.value)


TOO_OLD = host_cupy.CUDARuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient")
NO_DEVICE = host_cupy.CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")


def test_messages_tell_what_is_missing(monkeypatch):
    say = functools.partial(error_of, monkeypatch)
    assert "installed, but no NVIDIA driver (cudaErrorInsuff" in say(getDeviceCount=TOO_OLD, driverGetVersion=0)
    message = say(getDeviceCount=TOO_OLD, driverGetVersion=11040)
    assert "the driver is for CUDA 11.4, CuPy for 12.9; update the driver, or install 'backprop-ref[cuda12]'" in message
    for answer in (NO_DEVICE, 0):
        message = say(getDeviceCount=answer, driverGetVersion=12090)
        assert "driver for CUDA 12.9, but no device" in message and "CUDA_VISIBLE_DEVICES" in message
    monkeypatch.undo()
    assert "no device 'cuda:3': there is 1" in say("cuda:3")
    assert "has no device 'gpu'" in say("gpu")


def test_without_the_compiler_the_extra_is_named(monkeypatch):
    def absent(*_):
        raise RuntimeError('Failure finding "libnvrtc.so.12"\nand more')

    monkeypatch.setattr(host_cupy, "zeros", absent)
    assert re.search(r"cannot compute: Failure finding .*12\". .* install 'backprop-ref\[cuda12\]'", error_of(monkeypatch))


def test_what_does_not_fit_is_told_with_its_size(gpu, monkeypatch):
    network = br.Network([3, 5, 2], ["tanh", "softmax"], "ce")
    params, (x, y) = parameters(network), samples(network, 1000)
    monkeypatch.setattr(host_cupy.device, "memory", 40_000)
    message = r"Out of memory allocating 40,000 bytes .*1.07 of 1.07 GB are free .*smaller batch or float32"
    for call in (br.value_and_grad, functools.partial(br.train, batch_size=None)):
        with pytest.raises(br.BackendUnavailable, match=message):
            call(network, params, x, y, backend=gpu)
        monkeypatch.setattr(host_cupy.device, "memory", 40_000)
