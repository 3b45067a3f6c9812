"""Dropout: masks from integers alone, the same run on every backend, for any shards, and after SIGKILL."""

import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from backprop_ref.kernels.fused import products
from helpers import FEW_RULES, label, more, parameters, samples
from test_fast_trainers import trainer_of
from test_trainers import assert_same_bits, check, orders_of

import backprop_ref as br
from backprop_ref import Network
from backprop_ref.backends import numba_trainer
from backprop_ref.conformance.gradcheck import complex_step
from backprop_ref.dropout import checked, dropout_masks, key_of, seeds
from backprop_ref.random import Stream
from backprop_ref.training.pairs import PairsTrainer

FOLDER = Path(__file__).parent
SMOOTH = [
    Network([3, 5, 4, 2], ["tanh", "sigmoid", "softmax"], "ce"),
    Network([3, 5, 1], ["softplus", "linear"], "mse"),
    Network([2, 1, 3, 2], ["gelu", "silu", "sigmoid"], "bce"),
]
DEEP = Network([3, 5, 4, 2], ["tanh", "relu", "softmax"], "ce")
FEW = Network([3, 5, 4, 2], ["softsign", "softsign", "sigmoid"], "bce")
HOW = {"epochs": 3, "batch_size": 5, "optimizer": br.Adam(0.01), "dropout": (0.3, 0.5)}
LIMITED = br.SGD(0.1, 0.9, weight_decay=0.01, l1=0.02, clip_norm=0.3, max_norm=0.8)


def word(seed, place):
    """The word of `arithmetic.md`, in Python's whole numbers."""
    x, modulus = seed + (place + 1) * 0x9E3779B97F4A7C15, 2**64
    x = (x % modulus ^ x % modulus >> 30) * 0xBF58476D1CE4E5B9 % modulus
    x = (x ^ x >> 27) * 0x94D049BB133111EB % modulus
    return x ^ x >> 31


def kept(key, epoch, layers, layer, row, width, unit, rate):
    """Whether a unit takes part, by the document."""
    of_unit = word(word(key, epoch * layers + layer), row * ((width + 1) // 2) + unit // 2) >> 32 * (unit % 2)
    return of_unit % 2**32 >= Fraction(rate) * 2**32


def test_the_words_are_those_of_splitmix():
    """The first of seed 1234567, as other implementations have them."""
    assert [word(1234567, place) for place in range(3)] == [
        *(6457827717110365317, 3203168211198807973, 9817491932198370423)
    ]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_masks_are_those_of_the_document(dtype):
    rates, rows, widths = (0.3, 0.0, 0.9), [7, 0, 4_000_000_000], (5, 3, 8)
    network = Network([2, *widths, 1], ["tanh"] * 4, "mse")
    found, key = dropout_masks(network, rates, rows, seed=5, epoch=11, dtype=dtype), key_of(5)
    assert key == int(Stream(5, "dropout").words(1)[0]) and found[1] is None
    for layer in (0, 2):
        scale = np.dtype(dtype).type(1 / (1 - rates[layer]))
        where = (key, 10, 3, layer)
        wanted = [
            [scale * kept(*where, row, widths[layer], unit, rates[layer]) for unit in range(widths[layer])]
            for row in rows
        ]
        assert found[layer].dtype == dtype
        assert found[layer].tolist() == np.array(wanted, dtype).tolist()


def test_each_unit_is_kept_as_often_as_it_should_be():
    """Within five standard deviations, of layers, units, rows and epochs, and of pairs of them."""
    rate, n = 0.2, 4000
    network = Network([1, 4, 4, 1], ["tanh"] * 3, "mse")
    drawn = [dropout_masks(network, rate, np.arange(n), epoch=epoch) for epoch in (1, 2)]
    units = np.concatenate([np.concatenate(masks, axis=1) for masks in drawn], axis=1) > 0
    assert units.shape == (n, 16)
    off = 5 * np.sqrt(rate * (1 - rate) / n)
    assert np.abs(units.mean(axis=0) - (1 - rate)).max() < off
    both = (units[:, :, None] & units[:, None, :]).mean(axis=0)[np.triu_indices(16, 1)]
    assert np.abs(both - (1 - rate) ** 2).max() < 5 * np.sqrt(0.64 * 0.36 / n)


@pytest.mark.parametrize("network", SMOOTH, ids=label)
def test_the_gradient_under_a_mask_is_that_of_the_complex_step(network, backend):
    params, (x, y) = parameters(network), samples(network, 7)
    masks = dropout_masks(network, 0.4, np.arange(7))
    loss, grads = br.value_and_grad(network, params, x, y, masks=masks, backend=backend, shards=2)
    wanted = np.array([complex_step(network, params, x, y, i, masks) for i in range(params.flat.size)])
    assert np.abs(grads.flat - wanted).max() <= 1e-12 * np.abs(wanted).max()
    whole = br.value_and_grad(network, params, x, y, backend=backend, shards=2)
    assert loss != whole[0] and np.abs(grads.flat - whole[1].flat).max() > 0.01 * np.abs(wanted).max()


@pytest.mark.seldom(backend="numba", dtype="float32")
@pytest.mark.seldom(backend="numba", shards=2)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("shards", [1, 2, 4])
def test_every_backend_trains_to_the_same_bits(backend, shards, dtype):
    """Those of steps by hand, whose masks are for the rows of each batch."""
    if backend.numerics == "fast":
        pytest.skip("fast numerics have bits of their own")
    params, (x, y) = parameters(FEW, dtype=dtype), samples(FEW, 13, dtype=dtype)
    how = {**HOW, "optimizer": LIMITED, "shards": shards, "seed": 7}
    result = br.train(FEW, params, x, y, backend=backend, **how)
    assert result.params.sha256() == by_hand(params, x, y, shards).sha256()


@pytest.mark.parametrize("shards", [more(1), more(2)])
def test_threads_change_no_bit(shards):
    """In layers so wide that they share them."""
    wide = Network([70, 131, 157, 11], FEW.activations, FEW.loss)
    assert products.shared_from(ordered=True) < 120 * 131 * 157
    params, (x, y) = parameters(wide), samples(wide, 130)
    how = {**HOW, "epochs": 1, "batch_size": 120, "shards": shards, "numerics": "reproducible"}
    wanted = br.train(wide, params, x, y, backend="numpy", **how).params.sha256()
    for threads in (1, 2):
        assert br.train(wide, params, x, y, backend="numba", threads=threads, **how).params.sha256() == wanted


def by_hand(params, x, y, shards):
    """Steps one after the other, from public functions."""
    params, stream, slots = params.copy(), Stream(7, "shuffle"), LIMITED.init(params.flat)
    for epoch in range(1, HOW["epochs"] + 1):
        order = stream.permutation(len(x))
        for start in range(0, len(x), 5):
            rows = order[start : start + 5]
            masks = dropout_masks(FEW, HOW["dropout"], rows, seed=7, epoch=epoch, dtype=params.dtype.name)
            given = {"masks": masks, "shards": shards, "numerics": "reproducible", "backend": "numpy"}
            LIMITED.step(params, br.value_and_grad(FEW, params, x[rows], y[rows], **given)[1], slots, 0.1)
    return params


def test_where_sums_are_exact_shards_change_nothing():
    """Whole numbers and powers of two: every order of summation gives the same bits, so the masks do too."""
    network = Network([2, 4, 2], ["relu", "linear"], "sse")
    params = br.Parameters(np.round(2 * parameters(network).flat), network.sizes)
    x, y = (np.round(2 * each) for each in samples(network, 16))
    how = {"epochs": 2, "batch_size": 16, "optimizer": br.SGD(0.25), "dropout": 0.5, "numerics": "reproducible"}
    hashes = {br.train(network, params, x, y, shards=shards, **how).params.sha256() for shards in (1, 2, 4, 8)}
    assert len(hashes) == 1
    assert hashes != {br.train(network, params, x, y, **{**how, "dropout": 0.25}).params.sha256()}


@pytest.mark.seldom(kind="rows", dtype="float32")
@pytest.mark.parametrize(("kind", "dtype"), [("epochs", "float64"), more("rows", "float64"), ("rows", "float32")])
def test_fast_trainers_come_near_the_definition(kind, dtype):
    """Clipping, the penalties and max-norm too: one program knows them all."""
    found, wanted = (trained(make, dtype) for make in (fast(kind), defined))
    u = np.finfo(dtype).eps
    for name, array in wanted.items():
        assert np.abs(found[name] - array).max() <= 200 * u * np.abs(array).max(), name


@pytest.mark.parametrize("dtype", ["float64", more("float32")])
@pytest.mark.parametrize("shards", [1, 3])
def test_the_compiled_trainer_has_the_bits_of_the_definition(shards, dtype):
    for chunk in (1, 5):
        assert_same_bits(trained(compiled, dtype, shards, chunk), trained(defined, dtype, shards))


@pytest.mark.parametrize("specialize", [more("always")])
def test_programs_for_one_network_have_the_bits_too(specialize):
    """Without dropout, which they do not know; with what clips and constrains."""
    given = FEW_RULES, LIMITED, "float64", 5, 2, "r2"
    check(*given, orders=orders_of(5, 13), rates=[0.1] * 5, how=[{"specialize": specialize}])


def test_numpys_trainer_comes_near_the_definition():
    found, wanted = (trained(make, "float64", 2) for make in (fast("numpy"), defined))
    for name, array in wanted.items():
        assert np.abs(found[name] - array).max() <= 1e-13 * np.abs(array).max(), name


def defined(dtype, shards):
    backend = br.get_backend("numpy", "reproducible")
    return PairsTrainer(backend, FEW_RULES, LIMITED, 5, shards, "r2", (0.4,))


def compiled(dtype, shards):
    return numba_trainer.create(FEW_RULES, LIMITED, dtype, 5, shards, "r2", 1, specialize="never", dropout=(0.4,))


def fast(kind):
    return lambda dtype, shards: trainer_of(kind, FEW_RULES, LIMITED, dtype, 5, shards, dropout=(0.4,))


def trained(make, dtype, shards=1, chunk=5):
    """Five epochs by a trainer, so many a call."""
    params, (x, y) = parameters(FEW_RULES, dtype=dtype), samples(FEW_RULES, 13, dtype=dtype)
    slots, orders, drawn, found = LIMITED.init(params.flat), orders_of(5, 13), seeds(3, 0, 5, 1), []
    trainer = make(dtype, shards)
    with br.get_backend("numpy", "fast").scope():
        for start in range(0, 5, chunk):
            part = slice(start, start + chunk)
            given = params, slots, x, y, orders[part], [0.1] * len(orders[part])
            found.append(trainer.run(*given, seeds=drawn[part]))
    losses, measures = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return {"flat": params.flat, "losses": losses, "measures": measures, **slots}


CHILD = """
import sys, numpy as np, backprop_ref as br
from backprop_ref.training import fit
from helpers import parameters, samples
from test_dropout import DEEP, HOW
fit.CHECKPOINT_SECONDS = 0.0
x, y = samples(DEEP, 13)
seen = lambda epoch: print(epoch.epoch, flush=True)
how = {**HOW, "numerics": sys.argv[2], "shards": int(sys.argv[3]), "epochs": 100_000}
br.train(DEEP, parameters(DEEP), x, y, seed=7, callback=seen, run_dir=sys.argv[1], **how)
"""


@pytest.mark.few(1)
@pytest.mark.parametrize(("numerics", "shards"), [("fast", 1), ("reproducible", 2), ("reproducible", 4)])
def test_after_sigkill_it_goes_on_to_the_same_bits(tmp_path, numerics, shards):
    """For each number of shards; under reproducible numerics on another backend, with other threads."""
    arguments = [sys.executable, "-c", CHILD, str(tmp_path / "run"), numerics, str(shards)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, cwd=FOLDER) as child:
        assert [child.stdout.readline() for _ in range(9)][-1] == "9\n"
        child.send_signal(signal.SIGKILL)
    x, y = samples(DEEP, 13)
    reached = br.load_state(tmp_path / "run" / "checkpoint.safetensors")
    assert reached.epoch > 0 and reached.key == key_of(7)
    how = {**HOW, "epochs": reached.epoch + 5, "seed": 7, "numerics": numerics, "shards": shards}
    other = {} if numerics == "fast" else {"backend": "python", "threads": 2}
    resumed = br.train(DEEP, parameters(DEEP), x, y, run_dir=tmp_path / "run", resume=True, **how, **other)
    assert resumed.params.sha256() == br.train(DEEP, parameters(DEEP), x, y, **how).params.sha256()


def test_training_goes_on_from_a_state():
    """Call by call; also where the earlier calls had no dropout, or their own."""
    x, y = samples(DEEP, 13)
    whole = br.train(DEEP, parameters(DEEP), x, y, **HOW)
    parts = br.train(DEEP, parameters(DEEP), x, y, **{**HOW, "epochs": 1})
    for _ in range(2):
        parts = br.train(DEEP, parts.params, x, y, state=parts.state, **{**HOW, "epochs": 1})
    assert parts.params.sha256() == whole.params.sha256()
    plain = br.train(DEEP, whole.params, x, y, state=whole.state, **{**HOW, "dropout": None})
    assert plain.state.key == whole.state.key
    first = br.train(DEEP, parameters(DEEP), x, y, **{**HOW, "dropout": 0.0})
    assert first.state.key is None
    assert br.train(DEEP, first.params, x, y, state=first.state, **HOW).state.key == key_of(1)


def test_a_folder_is_resumed_with_the_same_dropout_only(tmp_path):
    x, y = samples(DEEP, 13)
    br.train(DEEP, parameters(DEEP), x, y, run_dir=tmp_path / "run", **HOW)
    for other in (None, 0.5):
        with pytest.raises(br.InvalidInput, match="another dropout"):
            br.train(
                *(DEEP, parameters(DEEP), x, y), run_dir=tmp_path / "run", resume=True, **{**HOW, "dropout": other}
            )


def test_nothing_is_dropped_outside_training():
    x, y = samples(DEEP, 13)
    seen = br.train(DEEP, parameters(DEEP), x, y, validation=(x, y), **HOW)
    assert seen.history["val_loss"][-1] == br.evaluate(DEEP, seen.params, x, y)["loss"]
    assert seen.history["val_loss"][-1] != seen.history["loss"][-1]


@pytest.mark.parametrize("wrong", [1.0, -0.1, float("nan"), True, "0.5", (0.1, 1.5), (0.1,), (0.1, 0.1, 0.1)])
def test_what_is_no_probability_is_refused(wrong):
    x, y = samples(DEEP, 5)
    with pytest.raises(br.InvalidInput, match="dropout"):
        br.train(DEEP, parameters(DEEP), x, y, dropout=wrong)
    flat = Network([3, 2], ["softmax"], "ce")
    assert checked(0.0, flat) == ()
    with pytest.raises(br.InvalidInput, match="has none"):
        checked(0.5, flat)


def test_masks_that_do_not_fit_are_refused():
    x, y = samples(DEEP, 5)
    good = dropout_masks(DEEP, 0.5, np.arange(5))
    for masks, told in (
        (good[:1], "1 masks for 2 hidden layers"),
        ([good[0], good[0]], "masks[1] has shape"),
        ([good[0][:3], None], "masks[0] has 3"),
    ):
        with pytest.raises(br.InvalidInput) as error:
            br.value_and_grad(DEEP, parameters(DEEP), x, y, masks=masks)
        assert told in str(error.value)
    for rows, epoch in (([-1], 1), ([[0]], 1), ([0.5], 1), ([0], 0), ([0], True)):
        with pytest.raises(br.InvalidInput):
            dropout_masks(DEEP, 0.5, rows, epoch=epoch)


def test_torch_has_the_same_gradient_under_the_same_mask():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    params, (x, y), masks = parameters(DEEP), samples(DEEP, 7), dropout_masks(DEEP, 0.4, np.arange(7))
    W, b = ([torch.tensor(each, requires_grad=True) for each in arrays] for arrays in (params.W, params.b))
    a = torch.tanh(torch.tensor(x) @ W[0] + b[0]) * torch.tensor(masks[0])
    a = torch.relu(a @ W[1] + b[1]) * torch.tensor(masks[1])
    loss = -(torch.tensor(y) * torch.log_softmax(a @ W[2] + b[2], dim=1)).sum() / len(y)
    loss.backward()
    _, grads = br.value_and_grad(DEEP, params, x, y, masks=masks)
    for ours, theirs in zip([*grads.W, *grads.b], [*W, *b], strict=True):
        assert np.abs(ours - theirs.grad.numpy()).max() <= 1e-12 * np.abs(ours).max()
