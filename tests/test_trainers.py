"""Compiled trainers give the bits of `PairsTrainer`: parameters, the optimizer's state, losses and measures."""

import itertools
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from backprop_ref.kernels.fused import pieces, products, uncompiled
from helpers import (
    FEW_RULES,
    OF_RARE_LOSSES,
    PAIRS,
    RARE_OPTIMIZERS,
    label,
    more,
    networks,
    parameters,
    program_of,
    rare_network,
    samples,
    seldom,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import backprop_ref as br
from backprop_ref import Network, get_backend
from backprop_ref.formulas import USUAL_ACTIVATIONS as ACTIVATIONS
from backprop_ref.formulas import USUAL_LOSSES
from backprop_ref.random import Stream
from backprop_ref.training.pairs import PairsTrainer

numba_trainer = pytest.importorskip("backprop_ref.backends.numba_trainer")

OPTIMIZERS = [
    br.SGD(0.1),
    br.SGD(0.1, weight_decay=0.01, l2=0.1),
    br.SGD(0.1, momentum=0.9),
    br.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    br.Adam(0.01),
    br.Adam(0.01, beta1=0.5, beta2=0.9, epsilon=1e-3, weight_decay=0.1),
]
# What is rare has a program of its own to be compiled; by default one for all of it.
RARE = Network(rare_network().sizes, rare_network().activations, "huber(0.5)")
OF_RARE = [network for network in OF_RARE_LOSSES if network.loss in {"huber(0.5)", "poisson"}]
USUAL = [network for network in networks() if network != rare_network()]
NETWORKS = [*USUAL, RARE, *map(more, [rare_network(), *OF_RARE])]
DTYPES = ["float64", more("float32")]  # by default float32 is compiled with threads alone


class Run:
    """One training, by `PairsTrainer` on the reference backend or by a compiled trainer, and everything it changes."""

    def __init__(self, network, optimizer, dtype, batch_size, shards=1, metric="r2", rows=13, scale=1.0):
        self.network, self.optimizer, self.dtype = network, optimizer, dtype
        self.batch_size, self.shards, self.metric = batch_size, shards, metric
        self.params = parameters(network, dtype=dtype)
        self.params.flat[:] *= scale
        self.slots = optimizer.init(self.params.flat)
        self.x, self.y = samples(network, rows, dtype=dtype)

    def by_pairs(self, orders, rates):
        """With the definition."""
        backend = get_backend("numpy", "reproducible")
        trainer = PairsTrainer(backend, self.network, self.optimizer, self.batch_size, self.shards, self.metric)
        with backend.scope():
            return self.outcome(trainer.run(self.params, self.slots, self.x, self.y, orders, rates))

    def compiled(self, orders, rates, chunk=None, threads=1, specialize="never"):
        """With the trainer of the numba backend, so many epochs a call."""
        made = numba_trainer.create(
            *(self.network, self.optimizer, self.dtype, self.batch_size, self.shards, self.metric, threads),
            specialize=specialize,
        )
        done = []
        for start in range(0, len(rates), chunk or len(rates)):
            part = slice(start, start + (chunk or len(rates)))
            done.append(made.run(self.params, self.slots, self.x, self.y, orders[part], rates[part]))
            if len(done[-1][0]) < len(rates[part]) or not np.isfinite(done[-1][0][-1]):
                break
        return self.outcome([np.concatenate(parts) for parts in zip(*done, strict=True)])

    def outcome(self, history):
        """Everything that is compared, by name."""
        losses, measures = history
        return {"losses": losses, "measures": measures, "flat": self.params.flat, **self.slots}


def orders_of(epochs, rows, seed=3):
    return Stream(seed, "shuffle").permutations(epochs, rows)


def assert_same_bits(found, wanted):
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape, name
        both_nan = np.isnan(found[name]) & np.isnan(array)
        same = found[name].view(f"u{array.itemsize}") == array.view(f"u{array.itemsize}")
        assert np.all(same | both_nan), f"{name}: {found[name][~(same | both_nan)]} != {array[~(same | both_nan)]}"


def check(*arguments, orders, rates, how=(), **options):
    """Trains by pairs and compiled, in each of the ways given, and compares."""
    wanted = Run(*arguments, **options).by_pairs(orders, rates)
    for way in how or ({},):
        assert_same_bits(Run(*arguments, **options).compiled(orders, rates, **way), wanted)
    return wanted


@pytest.mark.few(8)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("network", NETWORKS, ids=label)
def test_every_network(network, dtype):
    metric = "accuracy" if network.loss == "cross_entropy" else "r2"
    wanted = check(*(network, br.SGD(), dtype, 5, 2, metric), orders=orders_of(4, 13), rates=[0.02, 0.01, 0.02, 0.04])
    assert np.isfinite(wanted["flat"]).all()


@pytest.mark.few(1)
@pytest.mark.more(specialize="never", dtype="float32")
@pytest.mark.more(specialize="never", optimizer=RARE_OPTIMIZERS[1])
@pytest.mark.more(specialize="never", optimizer=RARE_OPTIMIZERS[2])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("specialize", ["never", "always"])
@pytest.mark.parametrize("optimizer", RARE_OPTIMIZERS, ids=repr)
def test_rare_optimizers(optimizer, specialize, dtype):
    rates = [optimizer.learning_rate * (0.5 + (epoch % 3)) for epoch in range(9)]
    given, ways = (FEW_RULES, optimizer, dtype, 4, 3, "accuracy"), [{"specialize": specialize, "chunk": 4}]
    check(*given, orders=orders_of(9, 13), rates=rates, how=ways)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
@pytest.mark.parametrize("batch_size, shards", [(1, 1), (4, 3), (7, 9), (13, 1), (13, 4)])
def test_every_optimizer_for_fifty_steps(optimizer, dtype, batch_size, shards):
    network = Network([3, 5, 2], ["tanh", "softmax"], "ce")
    epochs = max(4, 50 * batch_size // 13)
    rates = [optimizer.learning_rate * (0.5 + (epoch % 3)) for epoch in range(epochs)]
    check(*(network, optimizer, dtype, batch_size, shards, "accuracy"), orders=orders_of(epochs, 13), rates=rates)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("metric", ["accuracy", "labels", "r2"])
@pytest.mark.parametrize("sizes", [[2, 4, 1], [1, 1], [1, 1, 1], [3, 1, 4], [5, 3, 5], [4, 9, 1, 3]], ids=str)
def test_odd_sizes_and_either_metric(sizes, metric, dtype):
    network = Network(sizes, ["sigmoid"] * (len(sizes) - 1), "sse")
    for batch_size in (1, 3, 8, 11):
        check(*(network, br.SGD(0.5), dtype, batch_size, 1, metric), orders=orders_of(3, 8), rates=[0.5] * 3, rows=8)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("chunk", [1, 3, 10])
def test_chunks_change_nothing(chunk, dtype):
    network = Network([3, 5, 2], ["relu", "sigmoid"], "bce")
    orders, rates = orders_of(10, 13), [0.01 * (epoch + 1) for epoch in range(10)]
    check(*(network, br.Adam(), dtype, 4, 2, "accuracy"), orders=orders, rates=rates, how=[{"chunk": chunk}])


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("threads", "dtype"), [(1, "float64"), (2, "float32"), seldom(1, "float32"), seldom(2, "float64")]
)
def test_layers_wide_enough_for_panels_and_threads(threads, dtype):
    network = Network([70, 131, 157, 11], ["relu", "tanh", "softmax"], "ce")
    assert products.shared_from(ordered=True) < 131 * 157 * 67
    for batch_size in (20, 67):
        check(
            *(network, br.SGD(0.1, momentum=0.9), dtype, batch_size, 1, "accuracy"),
            orders=orders_of(2, 70),
            rates=[0.1, 0.1],
            rows=70,
            how=[{"threads": threads}],
        )


@pytest.mark.few(1)
@pytest.mark.parametrize(
    "network, optimizer, dtype, batch_size, shards, metric",
    [
        (Network([2, 4, 1], ["sigmoid", "sigmoid"], "sse"), br.SGD(0.5), "float64", 4, 1, "accuracy"),
        (Network([3, 1], ["sigmoid"], "bce"), OPTIMIZERS[5], "float32", 1, 1, "r2"),
        more(Network([3, 5, 4, 2], ["relu", "softmax", "softmax"], "ce"), OPTIMIZERS[3], "float64", 5, 2, "accuracy"),
        more(Network([3, 7, 3], ["leaky_relu", "sigmoid"], "ce"), OPTIMIZERS[2], "float64", 13, 3, "r2"),
    ],
    ids=str,
)
def test_sizes_as_constants(network, optimizer, dtype, batch_size, shards, metric):
    rates = [optimizer.learning_rate] * 20
    ways = [{"specialize": "always"}, {"specialize": "always", "chunk": 3}]
    check(*(network, optimizer, dtype, batch_size, shards, metric), orders=orders_of(20, 13), rates=rates, how=ways)


@pytest.mark.more
def test_what_is_compiled_for_constants_is_what_runs():
    """When it is made, once; else the first run would compile it again."""
    network = Network([1, 1], ["linear"], "mse")
    made = numba_trainer.create(network, br.SGD(), "float64", 2, 1, "r2", 1, specialize="always")
    made.run(network.init(1), {}, np.ones((2, 1)), np.ones((2, 1)), np.arange(2)[None], [0.1])
    assert len(made._program.signatures) == 1


def test_constants_have_to_repay():
    network = Network([2, 4, 1], ["sigmoid", "sigmoid"], "sse")
    few = numba_trainer.create(network, br.SGD(), "float64", 4, 1, "r2", 1, steps_ahead=10**5)
    many = numba_trainer.create(network, br.SGD(), "float64", 4, 1, "accuracy", 1, steps_ahead=10**9)
    assert (program_of(few), program_of(many)) == ("epochs", "fixed")
    with pytest.raises(br.InvalidInput, match="auto"):
        numba_trainer.create(network, br.SGD(), "float64", 4, 1, "r2", 1, specialize="sometimes")


LONG = """
import numpy as np
import backprop_ref as br
from backprop_ref.backends import numba_trainer

numba_trainer.AHEAD_AFTER_SECONDS = numba_trainer.AHEAD_FOR_SECONDS = 0.01
network, x, y = br.Network([2, 3, 1], ["tanh", "sigmoid"], "sse"), np.eye(2), np.ones((2, 1))
made = numba_trainer.create(network, br.SGD(0.1), "float64", 2, 1, "r2", 1, steps_ahead=10**7)
params, fixed, done = network.init(1), [made.fixed], 0
orders = np.tile(np.arange(2), (1000, 1))
while done < 50_000 or not made.fixed:
    made.run(params, {}, x, y, orders, [0.1] * 1000)
    done += 1000
    if made._ahead is not None:
        made._ahead._process.wait()
other = numba_trainer.create(network, br.SGD(0.1), "float64", 2, 1, "r2", 1, specialize="never")
again = network.init(1)
for _ in range(done // 1000):
    other.run(again, {}, x, y, orders, [0.1] * 1000)
print(fixed[0], made.fixed, other.fixed, params.sha256() == again.sha256())
"""


@pytest.mark.more
def test_constants_take_over_in_the_midst_of_long_training(tmp_path):
    """When another process has compiled them; the next process has them from the start. The bits are the same."""
    environment, found = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}, []
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", LONG], capture_output=True, text=True, check=True, env=environment)
        found.append(done.stdout.split())
    assert found == [["False", "True", "False", "True"], ["True", "True", "False", "True"]]


PLANS = (
    (Network([4, 3, 2], ["sigmoid", "softmax"], "ce"), br.Adam, {"shards": 2}),
    (Network([20, 64, 3], ["relu", "softmax"], "ce"), br.SGD, {}),
    (
        Network([20, 40, 32, 3], ["tanh", "relu", "sigmoid"], "bce"),
        lambda: br.SGD(0.1, momentum=0.9, nesterov=True, clip_norm=0.5, l2=1e-3, max_norm=1.0),
        {"dropout": 0.3, "sample_weight": np.arange(50) % 3 + 0.5},
    ),
)


@pytest.mark.few(3)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("numerics", ["reproducible", "fast"])
@pytest.mark.parametrize("plan", range(len(PLANS)))
def test_what_is_not_compiled_yet_runs_in_python_to_the_same_bits(plan, numerics, dtype, monkeypatch):
    (network, optimizer, how), found, ran = PLANS[plan], [], []
    x, y = np.linspace(-1, 1, 50 * network.sizes[0]).reshape(50, -1), np.eye(network.sizes[-1])[np.arange(50) % 2]
    program = uncompiled.program
    monkeypatch.setattr(uncompiled, "program", lambda dtype: ran.append(dtype) or program(dtype))
    for is_there in (True, False):
        monkeypatch.setattr(pieces, "program_is_there", lambda dtype, is_there=is_there: is_there)
        result = br.train(
            *(network, network.init(1, dtype=dtype), x.astype(dtype), y.astype(dtype)),
            epochs=3,
            batch_size=16,
            optimizer=optimizer(),
            numerics=numerics,
            backend="numba",
            progress=False,
            **how,
        )
        found.append((result.params.sha256(), repr(result.history)))
    assert found[0] == found[1] and set(ran) == {dtype}


def test_the_program_is_compiled_for_what_goes_on(monkeypatch):
    """After as many steps as do without, or from the start where more are expected."""
    monkeypatch.setattr(pieces, "program_is_there", lambda dtype: False)
    network, orders = Network([2, 3, 1], ["tanh", "sigmoid"], "sse"), np.tile(np.arange(2), (400, 1))
    hashes = []
    for expected, wanted in ((400, [True, True, False, False]), (10**4, [False] * 4)):
        made = numba_trainer.create(network, br.SGD(0.1), "float64", 2, 1, "r2", 1, expected)
        params, found = network.init(1), []
        for _ in range(4):
            made.run(params, {}, np.eye(2), np.ones((2, 1)), orders, [0.1] * 400)
            found.append(made._uncompiled)
        hashes.append(params.sha256())
        assert found == wanted
    assert hashes[0] == hashes[1]


def test_two_trainings_at_once_with_threads():
    network, orders = Network([70, 131, 157, 11], ["relu", "tanh", "softmax"], "ce"), orders_of(2, 70)
    wanted = Run(network, br.SGD(), "float32", 67, rows=70).by_pairs(orders, [0.1, 0.1])
    runs = [Run(network, br.SGD(), "float32", 67, rows=70) for _ in range(4)]
    with ThreadPoolExecutor(len(runs)) as pool:
        for found in pool.map(lambda run: run.compiled(orders, [0.1, 0.1], threads=2), runs):
            assert_same_bits(found, wanted)


def test_another_process_compiles_nothing():
    code = (
        "from backprop_ref import SGD, Network\n"
        "from backprop_ref.backends.numba_trainer import create\n"
        "for width, threads, dtype in ((3, 1, 'float64'), (1500, 2, 'float32')):\n"
        "    network = Network([width, width, 2], ['tanh', 'linear'], 'mse')\n"
        "    x, y = np.ones((2, width)), np.ones((2, 2))\n"
        "    made = create(network, SGD(), dtype, 2, 1, 'r2', threads)\n"
        "    losses, _ = made.run(network.init(1, dtype=dtype), {}, x, y, np.arange(2)[None], [0.1])\n"
        "    print(made.shared, made.compile_seconds, len(losses))\n"
    )
    exec(code, {"np": np})  # compiles
    command = [sys.executable, "-c", f"import numpy as np\n{code}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["False 0.0 1", "True 0.0 1"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["relu", "linear", "softmax"])
def test_divergence_stops_the_same(activation, dtype):
    network = Network([3, 5, 2], [activation, "linear"], "mse")
    wanted = check(
        *(network, br.SGD(1e3), dtype, 4),
        orders=orders_of(60, 13),
        rates=[1e3] * 60,
        scale=30.0,
        how=[{}, {"chunk": 1}, {"chunk": 7}],
    )
    assert 0 < len(wanted["losses"]) < 60


def test_saturated_outputs_and_infinite_logits_give_the_same_measures():
    network = Network([3, 4], ["softmax"], "ce")
    sgd, orders = br.SGD(1e200), orders_of(9, 13)
    check(*(network, sgd, "float64", 4, 1, "accuracy"), orders=orders, rates=[1e200] * 9, scale=1e200)


def test_orders_may_be_a_read_only_broadcast_and_data_read_only_or_strided():
    network, rates = Network([3, 5, 2], ["tanh", "linear"], "mse"), [0.1] * 3
    orders = np.broadcast_to(np.arange(13), (3, 13))
    wanted = Run(network, br.SGD(), "float64", 4).by_pairs(orders, rates)
    run = Run(network, br.SGD(), "float64", 4)
    run.x, run.y = np.asfortranarray(run.x), np.repeat(run.y, 2, axis=0)[::2]
    run.x.flags.writeable = False
    assert_same_bits(run.compiled(orders, rates), wanted)


def test_what_does_not_fit_is_refused():
    network, rates = Network([3, 5, 2], ["tanh", "linear"], "mse"), [0.1]
    run = Run(network, br.SGD(), "float64", 4)
    for wrong in (13, -1):
        with pytest.raises(IndexError, match="rows 0 to 12"):
            run.compiled(np.full((1, 13), wrong), rates)
    with pytest.raises(ValueError, match="orders have shapes"):
        run.compiled(orders_of(1, 12), rates)
    run.x = run.x[:, :2]
    with pytest.raises(ValueError, match="shapes"):
        run.compiled(orders_of(1, 13), rates)


def test_poll_is_called_within_an_epoch_and_may_raise():
    network = Network([3, 5, 2], ["tanh", "linear"], "mse")
    run = Run(network, br.SGD(), "float64", 1, rows=50)
    made = numba_trainer.create(network, br.SGD(), "float64", 1, 1, "r2", 1)
    calls = itertools.count()

    def poll():
        if next(calls) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made.run(run.params, run.slots, run.x, run.y, orders_of(1, 50), [0.1], poll)


@st.composite
def trainings(draw):
    """Any network with anything that can be asked of its training."""
    sizes = draw(st.lists(st.integers(1, 9), min_size=2, max_size=5))
    loss, output = draw(st.sampled_from(PAIRS))
    hidden = draw(st.lists(st.sampled_from(ACTIVATIONS), min_size=len(sizes) - 2, max_size=len(sizes) - 2))
    rows = draw(st.integers(1, 24))
    return {
        "network": Network(sizes, [*hidden, output], loss),
        "optimizer": draw(st.sampled_from(OPTIMIZERS)),
        "batch_size": draw(st.integers(1, rows)),
        "shards": draw(st.integers(1, 5)),
        "metric": draw(st.sampled_from(["accuracy", "labels", "r2"])),
        "rows": rows,
    }


@pytest.mark.parametrize("dtype", DTYPES)
@given(training=trainings(), epochs=st.integers(1, 6), chunk=st.integers(1, 6))
@settings(deadline=None, max_examples=80)
def test_any_training(training, dtype, epochs, chunk):
    training["dtype"] = dtype
    orders, rates = orders_of(epochs, training["rows"]), [training["optimizer"].learning_rate] * epochs
    wanted = Run(**training).by_pairs(orders, rates)
    assert_same_bits(Run(**training).compiled(orders, rates, chunk=chunk), wanted)


def test_the_tests_cover_every_loss():
    assert {network.loss for network in [*networks(), *OF_RARE]} > {*USUAL_LOSSES}
