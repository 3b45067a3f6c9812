"""Trainers for fast numerics: every step of theirs is within the bounds on rounding errors of one exact step."""

import itertools
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
from backprop_ref.kernels.compiling import FUSED, linked
from backprop_ref.kernels.fused import pieces, products, rules
from backprop_ref.kernels.fused.calls import Products, products_kind
from backprop_ref.kernels.fused.memory import words_of
from backprop_ref.kernels.fused.views import View
from backprop_ref.kernels.registers import vector_of
from helpers import (
    FEW_RULES,
    RARE_OPTIMIZERS,
    from_python,
    label,
    more,
    networks,
    parameters,
    program_of,
    rare_network,
    samples,
    seldom,
)

import backprop_ref as br
from backprop_ref import Network, get_backend
from backprop_ref.backends import numba_trainer, numpy_trainer
from backprop_ref.conformance.rounding.bounds import gradient_bounds
from backprop_ref.conformance.rounding.precision import LIBRARY_ULP
from backprop_ref.parameters import Parameters
from backprop_ref.random import Stream
from backprop_ref.training.pairs import PairsTrainer

DTYPES = ["float64", "float32"]
NETWORKS = list(networks())
PROGRAMS = [("numpy", "float64"), ("numpy", "float32"), ("epochs", "float64"), ("rows", "float64")]
PROGRAMS += [more("epochs", "float32"), more("rows", "float32")]  # by default float32 is compiled with threads alone
each_program = pytest.mark.parametrize(("kind", "dtype"), PROGRAMS)
OPTIMIZERS = [
    br.SGD(0.1),
    br.SGD(0.1, weight_decay=0.01, l2=0.1),
    br.SGD(0.1, momentum=0.9),
    br.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    br.Adam(0.01),
    br.Adam(0.01, beta1=0.5, beta2=0.9, epsilon=1e-3, weight_decay=0.1),
]


def trainer_of(kind, network, optimizer, dtype, batch_size, shards=1, metric="r2", threads=1, dropout=()):
    """A fast trainer of that kind, whatever the widths."""
    if kind == "numpy":
        return numpy_trainer.create(network, optimizer, dtype, batch_size, shards, metric, dropout)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numba_trainer, "NARROW", {"rows": 0}.get(kind, max(network.sizes)))
        made = numba_trainer.create(
            *(network, optimizer, dtype, batch_size, shards, metric, threads),
            specialize="always" if kind == "fixed" else "never",
            numerics="fast",
            dropout=dropout,
        )
    assert program_of(made) == kind
    return made


def run(trainer, params, slots, x, y, epochs=1, rate=0.1, **options):
    """Trains in place, samples in the order they have."""
    orders = np.broadcast_to(np.arange(len(x)), (epochs, len(x)))
    with get_backend("numpy", "fast").scope():
        return trainer.run(params, slots, x, y, orders, [rate] * epochs, **options)


def check_step(network, optimizer, rate, before, after, x, y):
    """One update, from the parameters and slots before it to those after, against the same in float64."""
    (start, slots), (params, found) = before, after
    u, exact = np.finfo(params.dtype).eps / 2, np.finfo(np.float64).eps / 2
    wide = Parameters(start.flat.astype(np.float64), start.sizes)
    _, grads = br.value_and_grad(network, wide, x.astype(np.float64), y.astype(np.float64), numerics="reproducible")
    limits = [gradient_bounds(network, each, x, y) for each in (start, wide)]
    bound = sum(Parameters.from_arrays(each.dW, each.db, "float64").flat for each in limits)
    decay = Parameters(np.zeros_like(wide.flat), wide.sizes)
    for into, W in zip(decay.W, wide.W, strict=True):
        into[:] = 0.0 if optimizer.decoupled else (optimizer.weight_decay + optimizer.l2 / len(x)) * W
    g, size = grads.flat + decay.flat, np.abs(grads.flat) + np.abs(decay.flat)
    bound = bound + 3 * (u + exact) * size
    least = float(np.finfo(params.dtype).smallest_subnormal)
    if isinstance(optimizer, br.Adam):
        m, v = (found[name].astype(np.float64) for name in ("m", "v"))
        m_before, v_before = (slots[name].astype(np.float64) for name in ("m", "v"))
        one, two = optimizer.beta1, optimizer.beta2
        assert_within(m, one * m_before + (1 - one) * g, bound + 8 * u * (np.abs(m_before) + size) + least)
        squares = (size + bound) ** 2 - size**2
        assert_within(v, two * v_before + (1 - two) * g * g, squares + 8 * u * (v_before + (size + bound) ** 2) + least)
        c1, c2 = 1.0 - found["powers"]
        epsilon = optimizer.epsilon / (np.sqrt(c2) if optimizer.epsilon_hat else 1.0)
        step = rate * (m / c1) / (np.sqrt(v / c2) + epsilon)
        error = 16 * u * np.abs(step)
        if optimizer.decoupled:
            for of_W, W in zip(Parameters(step, wide.sizes).W, wide.W, strict=True):
                of_W += rate * optimizer.weight_decay * W
            error += 4 * u * rate * optimizer.weight_decay * np.abs(wide.flat)
    elif isinstance(optimizer, br.RMSprop | br.AdaGrad):
        v, v_before = (each["v"].astype(np.float64) for each in (found, slots))
        old, new = (optimizer.rho, 1 - optimizer.rho) if isinstance(optimizer, br.RMSprop) else (1, 1)
        squares = (size + bound) ** 2 - size**2
        assert_within(v, old * v_before + new * g * g, squares + 8 * u * (v_before + (size + bound) ** 2) + least)
        below = np.sqrt(v) + optimizer.epsilon
        step = rate * g / below
        error = rate * bound / below + 16 * u * np.abs(step)
    else:
        mu, v_before = optimizer.momentum, np.zeros_like(g)
        if mu:
            v_before = slots["velocity"].astype(np.float64)
            assert_within(found["velocity"], mu * v_before + g, bound + 4 * u * (np.abs(v_before) + size) + least)
        v = mu * v_before + g
        step = rate * (g + mu * v if optimizer.nesterov else v)
        error = 2 * rate * bound + 8 * u * rate * (np.abs(v_before) + 2 * size)
    assert_within(params.flat, wide.flat - step, error + 2 * u * (np.abs(wide.flat) + np.abs(step)) + least)


def assert_within(found, wanted, bound):
    off = np.abs(found - wanted)
    assert np.all(off <= bound), f"off by up to {np.max(off / bound)} times the bound"


def check_steps(kind, network, optimizer, dtype, batch_size, rows, shards=1, threads=1, rate=0.05):
    """Trains on the first batch, the first two, ..., and checks what each batch adds to the ones before it."""
    start, (x, y) = parameters(network, dtype=dtype), samples(network, rows, dtype=dtype)
    trainer = trainer_of(kind, network, optimizer, dtype, batch_size, shards, threads=threads)
    before, end = (start, optimizer.init(start.flat)), 0
    for end in [*range(batch_size, rows, batch_size), rows]:
        params, slots = start.copy(), optimizer.init(start.flat)
        losses, _ = run(trainer, params, slots, x[:end], y[:end], rate=rate)
        batch = slice((end - 1) // batch_size * batch_size, end)
        check_step(network, optimizer, rate, before, (params, slots), x[batch], y[batch])
        before = params, slots
    check_history(kind, network, optimizer, dtype, batch_size, losses[0], x, y, rate)


def check_history(kind, network, optimizer, dtype, batch_size, loss, x, y, rate):
    """The epoch's loss is the mean of what it was before each step, weighted by batch size."""
    params = parameters(network, dtype=dtype)
    slots, total, bound = optimizer.init(params.flat), 0.0, 0.0
    trainer = trainer_of(kind, network, optimizer, dtype, batch_size)
    for start in range(0, len(x), batch_size):
        rows = slice(start, start + batch_size)
        size = len(x[rows])
        wide = Parameters(params.flat.astype(np.float64), params.sizes)
        total += size * br.value_and_grad(network, wide, x[rows].astype(float), y[rows].astype(float))[0]
        bound += 2 * size * gradient_bounds(network, params, x[rows], y[rows]).loss
        penalty = 0.5 * optimizer.l2 * sum((W * W).sum() for W in wide.W)
        total += penalty
        bound += (params.flat.size + 4) * np.finfo(params.dtype).eps * penalty
        run(trainer, params, slots, x[rows], y[rows], rate=rate)
    assert abs(loss - total / len(x)) <= bound / len(x)


@pytest.mark.few(10, 150)
@pytest.mark.more(kind="epochs", network=rare_network())  # by default FEW_RULES is
@pytest.mark.more(kind="rows", network=rare_network())
@pytest.mark.together("kind", "network")
@each_program
@pytest.mark.parametrize("network", NETWORKS, ids=label)
def test_every_network(network, kind, dtype):
    check_steps(kind, network, br.SGD(0.05), dtype, batch_size=5, rows=13)


@pytest.mark.few(4, 60)
@pytest.mark.together("kind", "optimizer")
@each_program
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
@pytest.mark.parametrize("batch_size, shards", [(1, 1), (4, 3), (7, 9), (13, 1), (13, 4)])
def test_every_optimizer(optimizer, kind, dtype, batch_size, shards):
    network = Network([3, 5, 2], ["tanh", "softmax"], "ce")
    check_steps(kind, network, optimizer, dtype, batch_size, rows=14, shards=shards)


@each_program
@pytest.mark.parametrize("sizes", [[2, 4, 1], [1, 1], [1, 1, 1], [3, 1, 4], [5, 3, 5], [4, 19, 1, 33]], ids=str)
@pytest.mark.few(3)
def test_odd_sizes(sizes, kind, dtype):
    network = Network(sizes, ["sigmoid"] * (len(sizes) - 1), "sse")
    for batch_size in (1, 3, 8):
        check_steps(kind, network, br.SGD(0.05), dtype, batch_size, rows=8)


@pytest.mark.parametrize(
    ("threads", "dtype"), [(1, "float64"), (2, "float32"), seldom(1, "float32"), seldom(2, "float64")]
)
@pytest.mark.parametrize("optimizer", [br.SGD(0.1), br.SGD(0.1, momentum=0.9)], ids=repr)
@pytest.mark.more
def test_layers_wide_enough_for_panels_and_threads(optimizer, threads, dtype):
    network, batch_size = Network([70, 131, 157, 11], ["relu", "tanh", "softmax"], "ce"), 120
    assert 131 * 157 * batch_size > products.shared_from(ordered=False)
    check_steps("rows", network, optimizer, dtype, batch_size, rows=130, threads=threads)
    check_steps("numpy", network, optimizer, dtype, batch_size, rows=130)


@pytest.mark.more
@pytest.mark.parametrize(
    ("network", "dtype"),
    [
        (Network([3, 4, 2], ["softmax", "softmax"], "ce"), "float64"),
        seldom(Network([3, 5, 4, 2], ["relu", "softmax", "softmax"], "ce"), "float64"),
        pytest.param(Network([3, 5, 4, 2], ["relu", "softmax", "softmax"], "ce"), "float32", marks=pytest.mark.long),
    ],
)
def test_sizes_as_constants(network, dtype):
    check_steps("fixed", network, OPTIMIZERS[3], dtype, batch_size=5, rows=13, shards=2)


@pytest.mark.few(None, 5)
@pytest.mark.more(kind="rows")
@pytest.mark.parametrize("optimizer", RARE_OPTIMIZERS, ids=repr)
@pytest.mark.parametrize(("kind", "dtype"), [*PROGRAMS, more("fixed", "float64")])
def test_rare_optimizers(kind, optimizer, dtype):
    check_steps(kind, FEW_RULES, optimizer, dtype, batch_size=5, rows=13, shards=2)


@pytest.mark.parametrize(("kind", "dtype"), [*PROGRAMS, more("fixed", "float32"), more("fixed", "float64")])
def test_chunks_change_no_bit(kind, dtype):
    network, optimizer = Network([3, 5, 2], ["sigmoid", "sigmoid"], "bce"), br.Adam()
    x, y = samples(network, 13, dtype=dtype)
    found = []
    for chunk in (6, 1, 2):
        trainer = trainer_of(kind, network, optimizer, dtype, 4, 2, "accuracy")
        params = parameters(network, dtype=dtype)
        slots = optimizer.init(params.flat)
        parts = [run(trainer, params, slots, x, y, chunk) for _ in range(6 // chunk)]
        found.append((*(np.concatenate(column).tobytes() for column in zip(*parts, strict=True)), params.sha256()))
    assert found[0] == found[1] == found[2]


@each_program
@pytest.mark.parametrize("metric", ["accuracy", "labels", "r2"])
def test_measures_are_those_of_the_definition(metric, kind, dtype):
    network = Network([3, 5, 4], ["tanh", "softmax"], "ce")
    x, y = samples(network, 13, dtype=dtype)
    backend = get_backend("numpy", "fast")
    pairs = PairsTrainer(backend, network, br.SGD(0.1), 4, 1, metric)
    (_, found), (_, wanted) = (
        run(trainer, parameters(network, dtype=dtype), {}, x, y)
        for trainer in (trainer_of(kind, network, br.SGD(0.1), dtype, 4, metric=metric), pairs)
    )
    assert found.shape == wanted.shape and found.dtype == wanted.dtype
    if metric != "r2":
        assert np.array_equal(found, wanted)
    else:  # outputs lie between 0 and 1, and depend on weights that at most one whole epoch has moved
        bounds = gradient_bounds(network, parameters(network, dtype=dtype), x, y)
        assert np.all(np.abs(found - wanted) <= 2 * len(x) * (4 * bounds.a[-1].max() + np.finfo(dtype).eps * len(x)))


@each_program
def test_correct_rows_of_one_output_in_any_order(kind, dtype):
    network = Network([3, 5, 1], ["tanh", "sigmoid"], "bce")
    x, y = samples(network, 13, dtype=dtype)
    y = (x[:, :1] > 0).astype(dtype)
    orders = Stream(1, "check").permutations(3, len(x))
    pairs = PairsTrainer(get_backend("numpy", "fast"), network, br.SGD(0.1), 4, 1, "accuracy")
    found, wanted = (
        trainer.run(parameters(network, dtype=dtype), {}, x, y, orders, [0.1] * 3)[1]
        for trainer in (trainer_of(kind, network, br.SGD(0.1), dtype, 4, metric="accuracy"), pairs)
    )
    assert np.array_equal(found, wanted) and 0 < found.min() < len(x)


@pytest.mark.parametrize("metric, columns", [("accuracy", 1), ("r2", 4)])
@pytest.mark.parametrize("kind", ["numpy", "epochs", "rows"])
def test_no_epochs(kind, metric, columns):
    network = Network([3, 5, 4], ["tanh", "softmax"], "ce")
    trainer = trainer_of(kind, network, br.SGD(0.1), "float64", 4, metric=metric)
    losses, measures = trainer.run(network.init(1), {}, *samples(network, 13), np.empty((0, 13), np.int64), [])
    assert losses.shape == (0,) and measures.shape == (0, columns)


@pytest.mark.parametrize("dtype", DTYPES)
def test_numpy_takes_rows_of_data_in_any_layout(dtype):
    network = Network([3, 5, 4], ["tanh", "softmax"], "ce")
    x, y = samples(network, 13, dtype=dtype)
    found = []
    for of in (np.ascontiguousarray, np.asfortranarray, lambda rows: np.repeat(rows, 2, axis=0)[::2]):
        params = parameters(network, dtype=dtype)
        run(trainer_of("numpy", network, br.SGD(0.1), dtype, 4), params, {}, of(x), of(y), 3)
        found.append(params.sha256())
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("kind", ["numpy", "epochs", "rows"])
@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_divergence_stops(activation, kind):
    network = Network([3, 5, 2], [activation, "linear"], "mse")
    params, (x, y) = parameters(network), samples(network, 13)
    params.flat[:] *= 30.0
    trainer = trainer_of(kind, network, br.SGD(1e3), "float64", 4)
    losses, measures = run(trainer, params, {}, x, y, epochs=60, rate=1e3)
    assert 0 < len(losses) < 60 and len(measures) == len(losses)
    assert np.isfinite(losses[:-1]).all() and not (np.isfinite(losses[-1]) and np.isfinite(params.flat).all())


@pytest.mark.parametrize("kind", ["numpy", "epochs", "rows"])
def test_poll_may_raise_within_an_epoch(kind):
    network, calls = Network([3, 5, 2], ["tanh", "linear"], "mse"), itertools.count()

    def poll():
        if next(calls) == 3:
            raise KeyboardInterrupt

    trainer = trainer_of(kind, network, br.SGD(), "float64", 1)
    with pytest.raises(KeyboardInterrupt):
        run(trainer, parameters(network), {}, *samples(network, 50), poll=poll)


@pytest.mark.parametrize("kind", ["numpy", "epochs", "rows"])
def test_data_may_be_read_only_or_strided(kind):
    network = Network([3, 5, 2], ["tanh", "linear"], "mse")
    x, y = samples(network, 13)
    strided = np.asfortranarray(x), np.repeat(y, 2, axis=0)[::2]
    for array in strided:
        array.flags.writeable = False
    one, other = parameters(network), parameters(network)
    run(trainer_of(kind, network, br.SGD(), "float64", 4), one, {}, x, y)
    run(trainer_of(kind, network, br.SGD(), "float64", 4), other, {}, *strided)
    assert one.sha256() == other.sha256()


@pytest.mark.few(1)
@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("sizes", [[3, 5, 2], [3, 40, 2]], ids=str)
def test_training_by_default_numerics_uses_them(backend, sizes):
    network = Network(sizes, ["tanh", "linear"], "mse")
    x, y = samples(network, 13)
    offered = get_backend(backend, "fast", threads=1).trainer(network, br.SGD(0.1), "float64", 4, 1, "r2")
    params = network.init(1)
    result = br.train(network, params, x, y, epochs=3, batch_size=4, shuffle=False, backend=backend, threads=1)
    run(offered, params, {}, x, y, epochs=3)
    assert result.params.sha256() == params.sha256()


@pytest.mark.more
def test_another_process_compiles_nothing():
    code = (
        "from backprop_ref import SGD, Network\n"
        "from backprop_ref.backends.numba_trainer import create\n"
        "for width, threads, dtype in ((3, 1, 'float64'), (40, 1, 'float64'), (1500, 2, 'float32')):\n"
        "    network = Network([width, width, 2], ['tanh', 'linear'], 'mse')\n"
        "    x, y = np.ones((2, width)), np.ones((2, 2))\n"
        "    made = create(network, SGD(), dtype, 2, 1, 'r2', threads, numerics='fast')\n"
        "    losses, _ = made.run(network.init(1, dtype=dtype), {}, x, y, np.arange(2)[None], [0.1])\n"
        "    print(made.kind.wide, made.shared, made.compile_seconds, len(losses))\n"
    )
    exec(code, {"np": np})  # compiles
    command = [sys.executable, "-c", f"import numpy as np\n{code}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["False False 0.0 1", "True False 0.0 1", "True True 0.0 1"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["exp", "log", "log1p", "tanh"])
def test_fused_elementary_functions_are_within_the_ulp_that_bounds_allow(name, dtype):
    real, wide = np.dtype(dtype).type, {"float64": np.longdouble, "float32": np.float64}[dtype]
    x = np.concatenate([np.linspace(-30.0, 30.0, 4001), np.logspace(-10, 1.5, 2001), -np.logspace(-10, -0.1, 501)])
    x = x[x > {"log": 0.0, "log1p": -1.0}.get(name, -np.inf)].astype(real)
    exact = getattr(np, name)(x.astype(wide))
    found = np.pad(x, (0, vector_of(dtype)), constant_values=1)
    from_python(rules.elementary(dtype, name, **FUSED))(len(x), 1, found, found)
    found = found[: len(x)]
    assert np.all(np.abs(found - exact) <= LIBRARY_ULP * np.spacing(np.abs(exact).astype(real)))


@cache
def product_for(dtype, ordered, shared):
    product = from_python(linked(products.product_for(dtype, ordered)))
    addresses = pieces.of_products(dtype, ordered, shared)

    def with_panels(left, right, start, out, depth, rows, columns, panels, workers):
        given = Products(panels, panels.size, workers, **addresses, zeros=panels)
        product(left, right, start, out, depth, rows, columns, words_of(products_kind(dtype), given))

    return with_panels


@pytest.mark.few(1)
@pytest.mark.more(threads=1, dtype="float32")
@pytest.mark.more(threads=2, dtype="float64")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads, workers", [(1, 1), (1, 7), (2, 2), (2, 7)])
@pytest.mark.parametrize("ordered", [False, True])
def test_products_of_odd_sizes(ordered, threads, workers, dtype):
    """Within the bound, and in order to the bits of one term after the other."""
    product, stream, u = product_for(dtype, ordered, threads > 1), Stream(1, "check"), np.finfo(dtype).eps / 2

    def check(found, start):
        assert_within(found, start + added, 2 * (depth + 1) * u * (np.abs(start) + magnitude))
        if ordered:
            one_by_one = np.broadcast_to(start, found.shape).copy()
            for a_i, b_j in zip(left, right, strict=True):
                one_by_one += a_i[:, None] * b_j
            assert found.tobytes() == one_by_one.tobytes()

    many_rows, many_columns = (1, 8, 13, 150, 1201), (1, 5, 24, 49, 1100)
    for i, j in np.ndindex(5, 5):
        depth, rows, columns = (1, 7, 600)[(i + j) % 3], many_rows[i], many_columns[j]
        left, right, start = (
            stream.normal(n * m).reshape(n, m).astype(dtype)
            for n, m in ((depth, rows), (depth, columns), (rows, columns))
        )
        size = products.panels_for(depth, rows, columns, workers)
        guarded = np.full(size + 4096, np.nan, dtype)
        extent, panels = (depth, rows, columns), guarded[:size]
        a, b = left.astype(np.float64), right.astype(np.float64)
        added, magnitude = a.T @ b, np.abs(a).T @ np.abs(b)
        for turned_left, turned_right in itertools.product((False, True), repeat=2):
            a_ti = View(left.T.ravel(), 1, depth) if turned_left else View(left.ravel(), rows, 1)
            b_tj = View(right.T.ravel(), 1, depth) if turned_right else View(right.ravel(), columns, 1)
            out = View(start.ravel().copy(), columns, 1)
            product(a_ti, b_tj, out, out, *extent, panels, workers)
            check(out.array.reshape(rows, columns), start)
            out.array[:], row = np.nan, start[0].copy()
            product(a_ti, b_tj, View(row, 0, 1), out, *extent, panels, workers)
            check(out.array.reshape(rows, columns), row)
        assert np.isnan(guarded[size:]).all(), "beyond the panels it was given"
