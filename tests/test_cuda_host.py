"""The CUDA kernels and their launching, without a GPU: compiled for the host, behind a stand-in for CuPy.

What this proves: the kernels' text and the code that launches it compute the reference's bits. What it cannot: that
CUDA's compiler and the GPU round as IEEE 754 says; the first use on a GPU checks that, and ci/gpu.sh at length.
"""

import contextlib
import functools
import inspect
import itertools
import threading
import types

import host_cupy
import numpy as np
import pytest
from backprop_ref.kernels import cuda_cupy
from helpers import BATCHES, FEW_RULES, OF_RARE_LOSSES, PAIRS, RARE_OPTIMIZERS, label, networks, parameters, samples
from test_identical import OPTIMIZERS, REFERENCE, assert_identical, computed, once_trained, some_networks, trained
from test_identical import weights as named_weights
from test_ranks import on_threads
from test_ranks import trained as ranks_trained

import backprop_ref as br
from backprop_ref.backends import cupy as shipped
from backprop_ref.backends.arithmetic import Fast, Reproducible
from backprop_ref.conformance.rounding.bounds import gradient_bounds
from backprop_ref.experiments.compare import compare
from backprop_ref.network import ACTIVATIONS
from backprop_ref.random import Stream
from backprop_ref.training.on_ranks import PairsOnRanks
from backprop_ref.training.pairs import PairsTrainer

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


@pytest.mark.few(1)
@each_dtype
def test_every_tensor_has_the_bits_of_numpy(gpu, dtype):
    """All activations and losses, depth 0 to 3, odd widths, 7 samples."""
    check_networks(gpu, [*networks(), *OF_RARE_LOSSES], 7, dtype)


@each_dtype
@pytest.mark.parametrize("batch", BATCHES[:-1])
@pytest.mark.few(1)
def test_every_tensor_of_other_batches_has_the_bits_of_numpy(gpu, batch, dtype):
    """One sample, and five, for every sixth network."""
    check_networks(gpu, itertools.islice(networks(), batch, None, 6), batch, dtype)


@pytest.mark.long
@each_dtype
@pytest.mark.parametrize("batch", BATCHES[:-1])
def test_every_tensor_of_all_batches_has_the_bits_of_numpy(gpu, batch, dtype):
    check_networks(gpu, networks(), batch, dtype)


@each_dtype
@each_version
@pytest.mark.parametrize(
    ("batch", "sizes"), [(31, [33, 1, 257]), (257, [1, 31, 33]), (1, [257, 33, 31]), (33, [31, 3])]
)
def test_ragged_sizes_have_the_bits_of_numpy(gpu, monkeypatch, batch, sizes, version, dtype):
    """Around what a tile, a warp and a block hold, in both versions of a kernel."""
    monkeypatch.setattr(cuda_cupy, "VERSIONS", dict.fromkeys(cuda_cupy.VERSIONS, version))
    host_cupy.launches.clear()
    check_networks(gpu, [br.Network(sizes, ["tanh", "relu"][: len(sizes) - 2] + ["softmax"], "ce")], batch, dtype)
    assert {f"{name}_v{version}" for name in cuda_cupy.VERSIONS} <= set(dict(host_cupy.launches))


def check_trained(backend, chosen, optimizer, dtype):
    for network in chosen:
        about = f"{dtype} {label(network)} after training"
        assert_identical(trained(backend, network, optimizer, dtype), once_trained(network, optimizer, dtype), about)


@each_dtype
@each_optimizer
@pytest.mark.more
def test_weights_after_50_steps_have_the_bits_of_numpy(gpu, optimizer, dtype):
    """With every pair of loss and output; steps are launched by the backend's own trainer."""
    check_trained(gpu, some_networks(OPTIMIZERS.index(optimizer) + DTYPES.index(dtype)), optimizer, dtype)


@each_dtype
@pytest.mark.parametrize("optimizer", RARE_OPTIMIZERS, ids=repr)
def test_rare_optimizers_have_the_bits_of_numpy(gpu, optimizer, dtype):
    check_trained(gpu, [FEW_RULES], optimizer, dtype)


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
    x, da = x * tiny, y * tiny
    results = []
    for backend in (gpu, REFERENCE):
        loss, grads = br.value_and_grad(network, params, x, y, shards=4, backend=backend)
        vjp, dx = br.vjp(network, params, x, da, backend=backend)
        results.append({"loss": np.array(loss), "shards": grads.flat, "vjp": vjp.flat, "dx": dx})
    assert_identical(*results)
    small = np.abs(results[0]["shards"])
    assert ((small > 0) & (small < tiny)).any()


# What no number tells: NaN, limits of a grid, graphs, what must not be taken.


@each_dtype
@pytest.mark.few(1)
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
        kernels.tiles("affine_forward", rows, columns)
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
@pytest.mark.more
def test_where_cuda_refuses_to_capture_steps_are_launched(gpu, monkeypatch, dtype):
    def refuse(stream):
        raise host_cupy.CUDARuntimeError("cudaErrorStreamCaptureUnsupported")

    monkeypatch.setattr(host_cupy.Stream, "begin_capture", refuse)
    check_trained(gpu, itertools.islice(some_networks(0), 2), OPTIMIZERS[-1], dtype)


@pytest.mark.parametrize("error", [NotImplementedError, host_cupy.CUDARuntimeError, KeyboardInterrupt])
def test_whatever_happens_while_a_step_is_captured_the_capture_ends(gpu, monkeypatch, error):
    network = br.Network([3, 2], ["softmax"], "ce")
    trainer = gpu.trainer(network, br.SGD(), "float64", 7, 1, "r2")
    params, (x, y) = parameters(network), samples(network, 7)
    update = trainer._update

    def fail():
        if host_cupy.device.capture is not None:
            raise error
        update()

    monkeypatch.setattr(trainer, "_update", fail)
    with pytest.raises(KeyboardInterrupt) if error is KeyboardInterrupt else contextlib.nullcontext():
        trainer.run(params, {}, x, y, np.arange(14).reshape(2, 7) % 7, [0.1] * 2)
    assert host_cupy.device.capture is None
    assert trainer.capturing == (error is KeyboardInterrupt)


def test_data_that_do_not_fit_are_brought_again(gpu, monkeypatch):
    """What was allocated before the memory ran out is not taken for all of it."""
    network = br.Network([3, 2], ["softmax"], "ce")
    trainer = gpu.trainer(network, br.SGD(), "float64", 7, 1, "r2")
    params, (x, y) = parameters(network), samples(network, 7)
    run = functools.partial(trainer.run, params, {}, x, y, np.arange(7)[None], [0.1])
    monkeypatch.setattr(host_cupy.device, "memory", x.nbytes)
    with pytest.raises(br.BackendUnavailable, match="Out of memory"):
        run()
    monkeypatch.setattr(host_cupy.device, "memory", None)
    run()
    assert params.sha256() != parameters(network).sha256()


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


@each_dtype
@pytest.mark.few(1)
def test_a_fast_step_is_within_the_bounds(gpu, dtype):
    """One step of the trainer with rate 1: what it takes off the parameters is the gradient."""
    network = br.Network([3, 5, 2], ["tanh", "softmax"], "ce")
    params, (x, y) = parameters(network, dtype=dtype), samples(network, 7, dtype=dtype)
    how = {"epochs": 1, "batch_size": None, "optimizer": br.SGD(1.0)}
    backends = emulation("fast"), REFERENCE
    fast, exact = (br.train(network, params, x, y, backend=each, **how).params.flat for each in backends)
    bounds = gradient_bounds(network, params, x, y)
    allowed = 2 * br.Parameters.from_arrays(bounds.dW, bounds.db).flat + np.finfo(dtype).eps * np.abs(exact)
    assert (np.abs(fast.astype("float64") - exact) <= allowed).all()


def on(backend, *shape, dtype="float64"):
    return backend.asarray(np.ones(shape), dtype)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: g.affine_forward(on(g, 2, 3), on(g, 3, 4, dtype="float32"), on(g, 4)),
         "affine_forward: all have to be float64, or all float32: a float64, W float32, b float64"),
        (lambda g: g.affine_forward(on(g, 2, 3), on(g, 4, 3).T, on(g, 4)),
         r"C-contiguous .*: a \(24, 8\), W \(8, 24\), b \(8,\)"),
        (lambda g: g.affine_forward(on(g, 2, 6)[:, ::2], on(g, 3, 4), on(g, 4)), r"C-contiguous .*: a \(48, 16\)"),
        (lambda g: g.affine_forward(on(g, 2, 3), on(g, 5, 4), on(g, 4)),
         r"affine_forward: the shapes do not fit: a \(2, 3\), W \(5, 4\), b \(4,\)"),
        (lambda g: g.affine_forward(on(g, 2, 3), on(g, 3, 4), on(g, 3)), r"the shapes do not fit: .*, b \(3,\)"),
        (lambda g: g.affine_backward(on(g, 2, 3), on(g, 3, 3)), r"the shapes do not fit: delta \(2, 3\), a \(3, 3\)"),
        (lambda g: g.activation_forward("tanh", on(g, 2)), r"the shapes do not fit: z \(2,\)"),
        (lambda g: g.activation_forward("tanh", np.ones((2, 2))), "activation_forward: z is a numpy.ndarray"),
        (lambda g: g.activation_forward("tanh", g.xp.zeros((2, 2), "int64")), "all float32: z int64"),
        (lambda g: g.activation_forward("tanj", on(g, 2, 2)), "did you mean 'tanh'"),
        (lambda g: g.loss_backward("mean_squared_error", "tanh", on(g, 2, 2), on(g, 2, 2), on(g, 2, 1)),
         r"loss_backward: the shapes do not fit: z \(2, 2\), a \(2, 2\), y \(2, 1\)"),
        (lambda g: g.loss_forward("cross_entropy", "tanh", *[on(g, 2, 2)] * 3), "does not go with"),
        (lambda g: g.affine_backward(on(g, 2, 3), on(g, 2, 3))[1] + on(g, 2), "a sum of shards: the shapes do not fit"),
    ],
)  # fmt: skip
def test_what_a_kernel_would_misread_is_refused(gpu, call, message):
    with gpu.scope(), pytest.raises(br.InvalidInput, match=message):
        call(gpu)


# Planted: what is wrong with a kernel has to be found.

V2_SUM = "sum = sum + left[row][t] * right[t][column];"
V2_WRITE, V2_WRITE_END = "if (i < n_i && j < n_j)", "\n            out_ij"
BARRIER = "__syncthreads();\n            int count"
BARRIER_2, MEAN_SUM = "\n        __syncthreads();", "\n        if (threadIdx.x == 0)\n            for"
MEAN_SUM_END = "sum = sum + block[i - i0];"
SAMPLES, SAMPLES_END = "for (integer s = 0; s < batch; ++s)", "\n            db = "
PLANTED = {
    "a fused multiply-add": (V2_SUM, "sum = {std::fma(left[row][t].value, right[t][column].value, sum.value)};"),
    "terms in the reverse order": (V2_SUM, "sum = sum + left[row][count - 1 - t] * right[count - 1 - t][column];"),
    "the bias added last": ("sum = start_j[j];", "sum = real{0} * start_j[j];"),
    "the last row not written": (V2_WRITE + V2_WRITE_END, "if (i < n_i - 1 && j < n_j)" + V2_WRITE_END),
    "a row too many written": (V2_WRITE + V2_WRITE_END, "if (i <= n_i && j < n_j)" + V2_WRITE_END),
    "indices swapped": ("return {at, columns, rows, 1, columns}", "return {at, columns, rows, columns, 1}"),
    "padding summed up": ("n_t - t0 < TILE ? (int)(n_t - t0) : TILE", "TILE"),
    "no barrier before the sum": (BARRIER, "int count"),
    "no barrier after the sum": (f"{V2_SUM}\n            __syncthreads();", V2_SUM),
    "no barrier before the loss is summed": (f"{BARRIER_2}{MEAN_SUM}", MEAN_SUM),
    "no barrier after the loss is summed": (f"{MEAN_SUM_END}{BARRIER_2}", MEAN_SUM_END),
    "a barrier that some threads miss": (BARRIER, f"if (j < n_j) {BARRIER}"),
    "the first sample left out of db": (SAMPLES + SAMPLES_END, SAMPLES.replace("= 0", "= 1") + SAMPLES_END),
    "softmax without the maximum": ("a_j[j] = exp(z_j[j] - largest_0);", "a_j[j] = exp(z_j[j]);"),
    "a derivative regrouped": ("real{1} - a_i[i] * a_i[i]", "(real{1} - a_i[i]) * (real{1} + a_i[i])"),
    "relu as a product": ("z_i[i] <= real{0} ? real{0} : da_i[i]", "da_i[i] * (z_i[i] > real{0} ? real{1} : real{0})"),
    "the loss summed from the other end": (
        "sum = sum + block[i - i0];", "sum = sum + block[(n_terms < i0 + THREADS ? n_terms : i0 + THREADS) - 1 - i];"
    ),
    "a coefficient of exp off by its last bit": ("EXP[] = {0x1.5555555555559p-3", "EXP[] = {0x1.555555555555ap-3"),
    "division by a reciprocal": ("(a_j[j] * total_0 - y_j[j]) / n", "(a_j[j] * total_0 - y_j[j]) * (real{1} / n)"),
}  # fmt: skip
PLANTED_IN_UPDATES = {
    "an update fused": ("W_i[i] - rate * g_i[i];", "real{std::fma(-rate.value, g_i[i].value, W_i[i].value)};"),
    "Adam divided in another order": (
        "rate * (part_0 / c1) / (sqrt(part_1 / c2) + epsilon)", "rate * ((part_0 / c1) / (sqrt(part_1 / c2) + epsilon))"
    ),
    "the first batch again and again": ("position[i] + (i == 0 ? batch : 1)", "position[i] + (i == 0 ? 0 : 1)"),
}  # fmt: skip


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


@pytest.mark.few(2)
@pytest.mark.parametrize("error", PLANTED)
def test_a_planted_error_is_caught(planted, error):
    """By the comparison of all tensors with NumPy's, on sizes no multiple of a tile."""
    backend = planted(*PLANTED[error])
    with pytest.raises((pytest.fail.Exception, AssertionError)):
        for hidden in ("tanh", "relu"):
            check_networks(backend, [br.Network([33, 17, 19], [hidden, "softmax"], "ce")], 41, "float64")


@pytest.mark.more
def test_shared_memory_that_was_not_written_is_noticed(planted):
    """Were it 0, the sum of one row's terms would be right."""
    backend = planted("i < n_terms && i < i0 + THREADS; ++i", "i < i0 + THREADS; ++i")
    with pytest.raises(pytest.fail.Exception, match=r"in loss\[\], .*nan"):
        check_networks(backend, [br.Network([3, 19], ["softmax"], "ce")], 1, "float64")


@pytest.mark.few(1)
@pytest.mark.parametrize("error", PLANTED_IN_UPDATES)
def test_a_planted_error_in_an_update_is_caught(planted, error):
    backend = planted(*PLANTED_IN_UPDATES[error])
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
        with pytest.raises(br.BackendUnavailable, match=r"on cuda:0 \(.*\), float\d\d, .* not have the bits of NumPy"):
            host_cupy.make()


def test_kernels_that_do_not_compile_are_told(gpu, monkeypatch):
    monkeypatch.setattr(host_cupy, "edit", lambda text: text.replace("real db = {0};", "real db = nothing;"))
    with pytest.raises(br.BackendUnavailable, match="installed, but cuda:0 cannot compute: .*affine.cu"):
        host_cupy.make()


def test_an_implicit_copy_through_the_host_is_caught(gpu, monkeypatch):
    x = gpu.asarray(np.ones((2, 2)), "float64")
    for trip in (np.asarray, float, bool, list, lambda x: np.ones((2, 2)) + x, np.exp):
        with pytest.raises(TypeError):
            trip(x)
    monkeypatch.setattr(type(gpu), "activation_forward", lambda self, name, z: self.asarray(np.tanh(z), "float64"))
    with pytest.raises(TypeError):
        check_networks(gpu, [br.Network([3, 2], ["tanh"], "sse")], 3, "float64")


# Several ranks, a device each: gradients go through the host.


def test_ranks_on_devices_have_the_bits_of_one_process_on_the_host(gpu, monkeypatch):
    """The threads that stand for ranks take turns at the emulation's one device."""
    usual, turn = PairsOnRanks.of_shard, threading.Lock()

    def of_shard(self, *arguments):
        with turn:
            return usual(self, *arguments)

    monkeypatch.setattr(PairsOnRanks, "of_shard", of_shard)
    one = ranks_trained("classes", "float32", "adam, cosine, dropout", "numpy", "reproducible")
    for size in (2, 3):
        host_cupy.launches.clear()
        run = functools.partial(ranks_trained, "classes", "float32", "adam, cosine, dropout", gpu, None)
        found, aborted = on_threads(size, run)
        assert found == [one] * size and not aborted and host_cupy.launches


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
            function = raising(answer) if isinstance(answer, Exception) else lambda *_, answer=answer: answer
            monkeypatch.setattr(cupy.cuda.runtime, name, function)
        with pytest.raises(br.BackpropRefError) as caught:
            shipped.create(Fast, device, None)
    return str(caught.value)


TOO_OLD = host_cupy.CUDARuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient")
NO_DEVICE = host_cupy.CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")


def test_a_driver_that_is_a_little_older_is_not_blamed_for_a_missing_device(monkeypatch):
    message = error_of(monkeypatch, getDeviceCount=NO_DEVICE, driverGetVersion=12020)
    assert "driver for CUDA 12.2, but no device (cudaErrorNoDevice" in message and "update" not in message


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


def test_without_the_compiler_the_extra_is_named():
    def absent():
        raise RuntimeError('Failure finding "libnvrtc.so.12"\nand more')

    message = r"cannot compute: Failure finding .*12\". .* install 'backprop-ref\[cuda12\]'"
    for numerics in (Fast, Reproducible):
        with host_cupy.in_place_of_cupy() as cupy, pytest.raises(br.BackendUnavailable, match=message):
            cupy.cuda.nvrtc.getVersion = absent
            shipped.create(numerics, None, None)


@pytest.mark.parametrize(
    ("function", "error"),
    [
        ("matmul", ImportError('Failure finding "libcublasLt.so.12": No such file\nand more')),
        ("add", RuntimeError("Failed to auto-detect CUDA root directory. Please specify CUDA_PATH")),
        ("sum", RuntimeError("Failed to auto-detect CUDA root directory. Please specify CUDA_PATH")),
    ],
)
def test_libraries_that_fast_numerics_take_are_asked_for_at_first(gpu, function, error):
    def absent(*_, **__):
        raise error

    message = r"installed, but cuda:0 cannot compute: Fail.* install 'backprop-ref\[cuda12\]'"
    with host_cupy.in_place_of_cupy() as cupy:
        setattr(cupy, function, absent)
        with pytest.raises(br.BackendUnavailable, match=message):
            shipped.create(Fast, None, None)
        shipped.create(Reproducible, None, None)


@pytest.mark.parametrize("error", ["CUBLAS_STATUS_ALLOC_FAILED", "cudaErrorMemoryAllocation: out of memory"])
def test_a_full_gpu_is_told_whoever_notices(gpu, error):
    """Even where not so much is left that CUDA could tell how much."""

    def full(*_, **__):
        raise host_cupy.CUDARuntimeError(error)

    with host_cupy.in_place_of_cupy() as cupy:
        for place, name, message in (
            (cupy, "matmul", rf"^backend cupy: {error}; 1.07 of 1.07 GB are free on cuda:0 \(.*float32, a smaller"),
            (cupy.cuda.runtime, "getDeviceProperties", rf"^backend cupy: {error}; 1.07 .* on cuda:0\. Use float32"),
            (cupy.cuda.runtime, "memGetInfo", rf"^backend cupy: {error}; on cuda:0\. Use float32"),
        ):
            setattr(place, name, full)
            with host_cupy.device, pytest.raises(br.BackendUnavailable, match=message):
                shipped.create(Fast, None, None)


def test_an_array_of_another_gpu_is_refused(gpu, monkeypatch):
    x = on(gpu, 2, 2)
    monkeypatch.setattr(type(x), "device", types.SimpleNamespace(id=1))
    with pytest.raises(br.InvalidInput, match=r"activation_forward: z is on cuda:1, but this backend on cuda:0"):
        gpu.activation_forward("tanh", x)


def test_what_does_not_fit_is_told_with_its_size(gpu, monkeypatch):
    network = br.Network([3, 5, 2], ["tanh", "softmax"], "ce")
    params, (x, y) = parameters(network), samples(network, 1000)
    monkeypatch.setattr(host_cupy.device, "memory", 30_000)
    message = r"Out of memory allocating [\d,]+ bytes .*1.07 of 1.07 GB are free .*float32, a smaller batch"
    for call in (br.value_and_grad, functools.partial(br.train, batch_size=None)):
        with pytest.raises(br.BackendUnavailable, match=message):
            call(network, params, x, y, backend=gpu)
        monkeypatch.setattr(host_cupy.device, "memory", 30_000)


class FakeDriver:
    """Compiles and loads texts, and counts; machine code is the text behind the mark of a cubin."""

    def __init__(self, cupy, refused=()):
        self.compiled, self.loaded, self.refused = [], [], list(refused)
        cupy.cuda.compiler.compile_using_nvrtc = self.compile
        cupy.cuda.function.Module = lambda: self

    def compile(self, text, *_):
        self.compiled.append(text)
        return b"\x7fELF" + text.encode(), None

    def load(self, binary):
        if self.refused:
            raise host_cupy.CUDADriverError(self.refused.pop())
        self.loaded.append(binary)


@pytest.fixture
def stand_in(monkeypatch, tmp_path):
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path / "kept"))
    with host_cupy.in_place_of_cupy() as cupy:
        yield cupy


def test_machine_code_is_kept_and_found_again(stand_in, tmp_path):
    """Under a name that changes with the text."""
    driver = FakeDriver(stand_in)
    for text in ("one", "two", "one"):
        cuda_cupy.loaded(stand_in, text, ())
    assert driver.compiled == ["one", "two"]
    assert driver.loaded == [b"\x7fELFone", b"\x7fELFtwo", b"\x7fELFone"]
    assert len(list((tmp_path / "kept").iterdir())) == 2


def test_machine_code_that_is_damaged_or_does_not_load_is_made_anew(stand_in, tmp_path):
    driver = FakeDriver(stand_in)
    cuda_cupy.loaded(stand_in, "one", ())
    (kept,) = (tmp_path / "kept").iterdir()
    whole = kept.read_bytes()
    for damaged in (b"", whole[:-1], whole[:-1] + b"x"):
        kept.write_bytes(damaged)
        cuda_cupy.loaded(stand_in, "one", ())
        assert kept.read_bytes() == whole
    driver.refused = ["CUDA_ERROR_INVALID_IMAGE: device kernel image is invalid"]
    cuda_cupy.loaded(stand_in, "one", ())
    assert driver.compiled == ["one"] * 5
    assert driver.loaded == [b"\x7fELFone"] * 5


def test_without_a_place_to_keep_it_machine_code_is_made_each_time(stand_in, monkeypatch, tmp_path):
    driver = FakeDriver(stand_in)
    (tmp_path / "file").touch()
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path / "file"))
    cuda_cupy.loaded(stand_in, "one", ())

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("CUPY_CACHE_DIR")
    monkeypatch.setattr(cuda_cupy.Path, "home", homeless)
    cuda_cupy.loaded(stand_in, "one", ())
    assert driver.compiled == ["one"] * 2


def test_a_gpu_newer_than_the_compiler_is_told(stand_in):
    FakeDriver(stand_in, ["CUDA_ERROR_NO_BINARY_FOR_GPU: no kernel image is available for execution on the device"])
    with pytest.raises(br.BackendUnavailable, match=r"NVRTC 0\.0 does not know GPUs .* capability 7\.5; update"):
        shipped.create(Fast, None, None)


def test_the_stand_in_has_the_names_of_cupy():
    """Where CuPy is installed, with or without a GPU: what the backend calls is there, and takes what it is given."""
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    with host_cupy.in_place_of_cupy() as stand_in:
        names = [name for name in vars(stand_in) if not name.startswith("_") and name != "cuda"]
        names += [f"cuda.{name}" for name in vars(stand_in.cuda)]
        inner = ("compiler", "function", "memory", "driver", "runtime", "nvrtc")
        names += [f"cuda.{part}.{name}" for part in inner for name in vars(getattr(stand_in.cuda, part))]
    members = [name for name in vars(host_cupy.ndarray) if not name.startswith("_")] + ["__add__"]
    missing = [name for name in names if not reachable(cupy, name)]
    missing += [name for name in members if not hasattr(cupy.ndarray, name)]
    assert not missing
    assert issubclass(cupy.cuda.memory.OutOfMemoryError, Exception)
    assert list(inspect.signature(cupy.cuda.compiler.compile_using_nvrtc).parameters)[:4] == list(
        inspect.signature(host_cupy.compile_using_nvrtc).parameters
    )


def reachable(module, path):
    try:
        functools.reduce(getattr, path.split("."), module)
    except AttributeError:
        return False
    return True
