"""Weights of samples and of classes: the loss is Σ w·loss / Σ w, with the same bits everywhere."""

import numpy as np
import pytest
from helpers import more, parameters, samples
from test_bounds import outside
from test_identical import REFERENCE, assert_identical, each_dtype, other  # noqa: F401 (a fixture)

import backprop_ref as br
from backprop_ref.conformance.cases import Values
from backprop_ref.conformance.gradcheck import gradcheck
from backprop_ref.conformance.rounding import truth
from backprop_ref.conformance.rounding.bounds import gradient_bounds
from backprop_ref.random import Stream
from backprop_ref.training.pairs import PairsTrainer

CLASSES = br.Network([3, 5, 4], ["tanh", "softmax"], "cross_entropy")
NETWORKS = [
    CLASSES,
    br.Network([3, 5, 2], ["softsign", "sigmoid"], "bce"),
    br.Network([3, 4, 3], ["tanh", "softmax"], "mse"),
    br.Network([3, 5, 2], ["tanh", "linear"], "huber(0.5)"),
    br.Network([3, 5, 4], ["relu", "sigmoid"], "cross_entropy"),
    br.Network([3, 2], ["softplus"], "poisson"),
]
EXACT = 1e-12
each_network = pytest.mark.parametrize(
    "network", NETWORKS, ids=lambda network: f"{network.loss}-{network.activations[-1]}"
)


def some_weights(rows, seed=7):
    """Between 0.1 and 3."""
    return 0.1 + 2.9 * Stream(seed, "check").uniform(rows)


def value_and_grad(network, dtype="float64", rows=7, **how):
    x, y = samples(network, rows, dtype=dtype)
    loss, grads = br.value_and_grad(network, parameters(network, dtype=dtype), x, y, **how)
    return {"loss": np.array(loss), "flat": grads.flat}


def by_loops(network, params, x, y, weights):
    """The loss, and delta of the last layer, of 'a' and z alone: each product and each sum as the arithmetic has it."""
    seen = br.trace(network, params, x, y, numerics="reproducible")
    real, total, n = params.dtype.type, params.dtype.type(0), 0.0
    for w in weights.tolist():
        n += w
    n = real(n)
    delta = np.empty_like(seen.a[-1])
    for s, w in enumerate(weights):
        alone = br.trace(network, params, x[s : s + 1], y[s : s + 1], numerics="reproducible")
        for j in range(network.sizes[-1]):
            residual = alone.a[-1][0, j] - y[s, j]
            total += w * (residual * residual)
            delta[s, j] = w * ((real(2) * residual) / n)
    return total / n, delta


@each_dtype
def test_the_arithmetic_is_what_it_says(dtype):
    network = br.Network([3, 2], ["linear"], "sum_squared_error")
    params, (x, y), weights = parameters(network, dtype=dtype), samples(network, 7, dtype=dtype), some_weights(7)
    seen = br.trace(network, params, x, y, sample_weight=weights, numerics="reproducible")
    loss, delta = by_loops(network, params, x, y, weights.astype(dtype))
    assert seen.loss == loss
    assert seen.delta[-1].tobytes() == delta.tobytes()


@pytest.mark.more(other="numba_shared")
@each_dtype
@each_network
def test_every_backend_has_the_same_bits(other, network, dtype):  # noqa: F811
    for shards in (1, 2, 4):
        how = {"dtype": dtype, "sample_weight": some_weights(7), "shards": shards}
        found, wanted = (value_and_grad(network, backend=backend, **how) for backend in (other, REFERENCE))
        assert_identical(found, wanted, f"{shards} shards")


@pytest.mark.cuda_host
@each_dtype
def test_so_has_the_gpu_in_emulation(dtype):
    import host_cupy

    try:
        gpu = host_cupy.make("reproducible")
    except br.BackendUnavailable as error:
        pytest.skip(str(error))
    for network in NETWORKS:
        x, y = samples(network, 7, dtype=dtype)
        how = {"dtype": dtype, "sample_weight": some_weights(7), "shards": 2}
        assert_identical(value_and_grad(network, backend=gpu, **how), value_and_grad(network, backend=REFERENCE, **how))
        start, how = parameters(network, dtype=dtype), {"epochs": 2, "batch_size": 3, "sample_weight": some_weights(7)}
        trained = [br.train(network, start, x, y, backend=backend, **how).params.flat for backend in (gpu, REFERENCE)]
        assert trained[0].tobytes() == trained[1].tobytes()


@each_network
def test_weights_that_are_equal_change_nothing(network):
    plain = value_and_grad(network, numerics="reproducible")
    for weight in (1.0, 4.0):
        assert_identical(value_and_grad(network, sample_weight=np.full(7, weight), numerics="reproducible"), plain)


@each_network
def test_a_sample_of_weight_0_is_left_out(network):
    params, (x, y), weights = parameters(network), samples(network, 13), some_weights(13)
    x[5] = 1e300  # nothing of it is looked at
    weights[[0, 5, 12]] = 0.0
    kept = weights > 0.0
    how = {"numerics": "reproducible"}
    for shards in (1, 4):
        found = br.value_and_grad(network, params, x, y, sample_weight=weights, shards=shards, **how)
        wanted = br.value_and_grad(network, params, x[kept], y[kept], sample_weight=weights[kept], shards=shards, **how)
        assert (found[0], found[1].sha256()) == (wanted[0], wanted[1].sha256())
    found = br.train(network, params, x, y, epochs=3, batch_size=4, sample_weight=weights, **how)
    wanted = br.train(network, params, x[kept], y[kept], epochs=3, batch_size=4, sample_weight=weights[kept], **how)
    assert found.params.sha256() == wanted.params.sha256()
    assert found.history["loss"].tolist() == wanted.history["loss"].tolist()
    found = br.evaluate(network, params, x, y, sample_weight=weights, **how)
    wanted = br.evaluate(network, params, x[kept], y[kept], sample_weight=weights[kept], **how)
    assert str(found) == str(wanted)  # where NaN is NaN


def test_a_whole_number_is_so_many_rows():
    x, y = samples(CLASSES, 5)
    weights = np.array([1, 3, 2, 1, 4])
    loss, grads = br.value_and_grad(CLASSES, parameters(CLASSES), x, y, sample_weight=weights)
    rows = np.repeat(np.arange(5), weights)
    wanted_loss, wanted = br.value_and_grad(CLASSES, parameters(CLASSES), x[rows], y[rows])
    assert loss == pytest.approx(wanted_loss, rel=1e-14)
    np.testing.assert_allclose(grads.flat, wanted.flat, rtol=1e-12, atol=1e-16)
    how = {"epochs": 3, "batch_size": None, "optimizer": br.LBFGS()}
    found = br.train(CLASSES, parameters(CLASSES), x, y, sample_weight=weights, **how).params.flat
    again = br.train(CLASSES, parameters(CLASSES), x[rows], y[rows], **how).params.flat
    np.testing.assert_allclose(found, again, rtol=1e-9)
    tried = br.find_learning_rate(CLASSES, parameters(CLASSES), x, y, sample_weight=weights, steps=3, batch_size=None)
    assert tried.losses[0] == pytest.approx(loss, rel=1e-14)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([1.0, -1.0, 1.0], r"sample_weight\[1\] is -1.0: a finite number, 0 or more"),
        ([1.0, 1.0, np.nan], r"sample_weight\[2\] is nan"),
        ([np.inf, 1.0, 1.0], r"sample_weight\[0\] is inf"),
        ([0.0, 0.0, 0.0], "no row has a weight above 0"),
        ([1.0, 1.0], r"sample_weight has shape \(2,\); numbers of shape \(3,\)"),
        ([[1.0], [1.0], [1.0]], r"shape \(3, 1\).*np.ravel\(sample_weight\)"),
        (["a", "b", "c"], "sample_weight has dtype"),
        ([1e308, 1e308, 1e308], "the sum of the weights leaves the range of float64"),
    ],
)
def test_what_is_no_weight_is_refused(given, said):
    x, y = samples(CLASSES, 3)
    for function in (br.value_and_grad, br.trace, br.evaluate, br.train):
        with pytest.raises(br.InvalidInput, match=said):
            function(CLASSES, parameters(CLASSES), x, y, sample_weight=given)


# Weights of classes.

LABELS = np.array([0, 0, 0, 0, 0, 2, 2, 2, 3, 3, 0])


def of_classes(class_weight, labels=LABELS, **how):
    x = samples(CLASSES, len(labels))[0]
    y = br.one_hot(labels, 4)
    return value_of(br.value_and_grad(CLASSES, parameters(CLASSES), x, y, class_weight=class_weight, **how)), x, y


def value_of(found):
    return found[0], found[1].sha256()


@pytest.mark.parametrize("given", ["balanced", {0: 0.5, 3: 4.0}, [0.5, 9.0, 1.0, 4.0]])
def test_weights_of_classes_are_those_of_scikit_learn(given):
    from sklearn.utils.class_weight import compute_sample_weight

    named = (
        given if isinstance(given, str) else dict(enumerate(given)) if isinstance(given, list) else {1: 1, 2: 1} | given
    )
    theirs = compute_sample_weight(named, LABELS)
    found, x, y = of_classes(given)
    assert found == value_of(br.value_and_grad(CLASSES, parameters(CLASSES), x, y, sample_weight=theirs))
    both, *_ = of_classes(given, sample_weight=some_weights(len(LABELS)))
    times = theirs * some_weights(len(LABELS))
    assert both == value_of(br.value_and_grad(CLASSES, parameters(CLASSES), x, y, sample_weight=times))


@pytest.mark.parametrize(("loss", "low"), [("bce", 0.0), ("mse", 0.0), ("mse", -1.0)])
def test_one_output_has_two_classes(loss, low):
    network = br.Network([3, 1], ["sigmoid"], loss)
    y = np.where(np.arange(6) < 2, 1.0, low)[:, None]
    x, params = samples(network, 6)[0], parameters(network)
    found = br.value_and_grad(network, params, x, y, class_weight="balanced")
    weights = np.where(np.arange(6) < 2, 1.5, 0.75)
    assert value_of(found) == value_of(br.value_and_grad(network, params, x, y, sample_weight=weights))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("even", "class_weight='even': 'balanced', or a weight for each class"),
        ({4: 1.0}, "there is no class 4; the classes are 0 to 3"),
        ({0: -1.0}, r"class_weight\[0\] is -1.0"),
        ([1.0, 2.0], r"class_weight has shape \(2,\); numbers of shape \(4,\)"),
    ],
)
def test_what_is_no_weight_of_classes_is_refused(given, said):
    with pytest.raises(br.InvalidInput, match=said):
        of_classes(given)


def test_rows_that_are_of_no_class_have_no_weight_of_it():
    x, y = samples(CLASSES, 5)  # the first has soft labels
    with pytest.raises(br.InvalidInput, match="not every row of y is of one class.*give sample_weight"):
        br.train(CLASSES, parameters(CLASSES), x, y, class_weight="balanced")


# Gradients, curvature, bounds.


@each_network
def test_gradients_are_those_of_the_complex_step(network):
    x, y = samples(network, 7)
    how = {"sample_weight": some_weights(7), "numerics": "reproducible"}
    rows = gradcheck(network, parameters(network), x, y, **how)
    assert all(row.ok for row in rows)
    assert max(row.complex_step for row in rows) <= EXACT
    unweighted = br.value_and_grad(network, parameters(network), x, y)[1]
    assert not all(row.ok for row in gradcheck(network, parameters(network), x, y, grads=unweighted, **how))


@pytest.mark.parametrize("function", [br.hvp, br.gauss_newton])
def test_curvature_is_the_weighted_mean_of_that_of_each_sample(function):
    x, y, weights, params = *samples(CLASSES, 4), some_weights(4), parameters(CLASSES)
    tangent = parameters(CLASSES, seed=3)
    found = function(CLASSES, params, x, y, tangent, sample_weight=weights).flat
    each = [function(CLASSES, params, x[s : s + 1], y[s : s + 1], tangent).flat for s in range(4)]
    np.testing.assert_allclose(found, weights @ each / weights.sum(), rtol=1e-12, atol=1e-15)


@each_dtype
@each_network
@pytest.mark.few(3)
def test_bounds_hold(network, dtype):
    for seed in range(10):
        params, (x, y) = parameters(network, seed, dtype), samples(network, 7, seed, dtype)
        weights = some_weights(7, seed).astype(dtype)
        exact = truth.exact_pass(network, list(params.W), list(params.b), x, y, weights=weights)
        bounds = gradient_bounds(network, params, x, y, sample_weight=weights)
        for numerics in ("fast", "reproducible"):
            seen = br.trace(network, params, x, y, sample_weight=weights, numerics=numerics)
            assert not outside(Values.of(seen), exact, bounds)
        with np.errstate(all="ignore"):
            assert outside(Values.of(br.trace(network, params, x, y)), exact, bounds)


# Training.


@pytest.mark.seldom(specialize="never", dtype="float32")
@pytest.mark.parametrize(
    ("specialize", "numerics", "dtype", "shards"),
    [
        more("always", "reproducible", "float64", 2),
        ("never", "reproducible", "float32", 1),
        more("never", "fast", "float64", 1),
        more("rows", "fast", "float64", 2),
    ],
)
def test_numba_trains_with_weights(monkeypatch, specialize, numerics, dtype, shards):
    numba_trainer = pytest.importorskip("backprop_ref.backends.numba_trainer")
    network = NETWORKS[1]
    if specialize == "rows":
        monkeypatch.setattr(numba_trainer, "NARROW", 0)
        specialize = "never"
    how = {"specialize": specialize, "numerics": numerics, "weighted": True}
    trainer = numba_trainer.create(network, br.SGD(0.1), dtype, 5, shards, "labels", 1, **how)
    check_trainer(trainer, network, br.SGD(0.1), dtype, shards, numerics)


@pytest.mark.parametrize("network", [*NETWORKS[:-1]], ids=lambda network: f"{network.loss}-{network.activations[-1]}")
@pytest.mark.parametrize("shards", [1, 2])
def test_numpy_trains_with_weights(network, shards):
    for optimizer in (br.SGD(0.1), br.Adam(0.01)):
        backend = br.get_backend("numpy", "fast")
        trainer = backend.trainer(network, optimizer, "float64", 5, shards, "r2", weighted=True)
        with backend.scope():
            check_trainer(trainer, network, optimizer, "float64", shards, "fast")


def check_trainer(trainer, network, optimizer, dtype, shards, numerics):
    (x, y), weights = samples(network, 13, dtype=dtype), some_weights(13).astype(dtype)
    orders = Stream(3, "shuffle").permutations(3, 13)
    plain, ends = br.get_backend("python", "reproducible"), []
    metric = "labels" if network.activations[-1] == "sigmoid" and network.loss.startswith("binary") else "r2"
    for each in (trainer, PairsTrainer(plain, network, optimizer, 5, shards, metric)):
        params = parameters(network, dtype=dtype)
        with plain.scope():
            losses, _ = each.run(params, optimizer.init(params.flat), x, y, orders, [0.1] * 3, weights=weights)
        ends.append((params.flat, losses))
    for found, wanted in zip(*ends, strict=True):
        if numerics == "reproducible":
            assert found.tobytes() == wanted.tobytes()
        else:
            np.testing.assert_allclose(found, wanted, rtol=np.finfo(dtype).eps ** 0.5)


def test_an_epochs_loss_is_the_mean_over_its_weights():
    x, y = samples(CLASSES, 13)
    weights, params = some_weights(13), parameters(CLASSES)
    how = {"epochs": 1, "batch_size": 4, "optimizer": br.SGD(0.0), "shuffle": False, "sample_weight": weights}
    result = br.train(CLASSES, params, x, y, validation=(x[:5], y[:5], weights[:5]), **how)
    assert result.history["loss"][0] == pytest.approx(br.evaluate(CLASSES, params, x, y, sample_weight=weights)["loss"])
    held_out = br.evaluate(CLASSES, params, x[:5], y[:5], sample_weight=weights[:5])["loss"]
    assert result.history["val_loss"][0] == held_out
    assert result.history["accuracy"][0] == br.evaluate(CLASSES, params, x, y)["accuracy"]


def test_training_goes_on_with_its_weights_and_no_others(tmp_path):
    x, y = samples(CLASSES, 13)
    how = {"batch_size": 4, "optimizer": br.Adam(0.01), "sample_weight": some_weights(13), "numerics": "reproducible"}
    whole = br.train(CLASSES, parameters(CLASSES), x, y, epochs=6, **how)
    stopped = br.train(
        CLASSES, parameters(CLASSES), x, y, epochs=6, callback=lambda at: at.epoch == 2, run_dir=tmp_path, **how
    )
    assert stopped.epochs == 2
    for other_weights in (None, some_weights(13, 8)):
        with pytest.raises(br.InvalidInput, match="data"):
            others = {**how, "sample_weight": other_weights}
            br.train(CLASSES, parameters(CLASSES), x, y, epochs=6, run_dir=tmp_path, resume=True, **others)
    went_on = br.train(CLASSES, parameters(CLASSES), x, y, epochs=6, run_dir=tmp_path, resume=True, **how)
    assert went_on.params.sha256() == whole.params.sha256()
    result = br.train(CLASSES, parameters(CLASSES), x, y, epochs=3, **how)
    result = br.train(CLASSES, result.params, x, y, epochs=3, state=result.state, **how)
    assert result.params.sha256() == whole.params.sha256()


def test_a_trace_knows_the_weights(tmp_path):
    from backprop_ref.report.explorer import explored
    from backprop_ref.traces.file import open_trace
    from backprop_ref.traces.recorder import Recorder

    x, y = samples(CLASSES, 9)
    weights, params = some_weights(9), parameters(CLASSES)
    how = {"numerics": "reproducible", "epochs": 2, "trace": Recorder(tmp_path, samples=[1, 4])}
    br.train(CLASSES, params, x, y, sample_weight=weights, **how)
    trace = open_trace(tmp_path)
    seen = br.trace(CLASSES, params, x[[1, 4]], y[[1, 4]], sample_weight=weights[[1, 4]], numerics="reproducible")
    assert trace["dW0"][0].tobytes() == seen.dW[0].tobytes()
    assert (
        trace["loss"][0] == br.evaluate(CLASSES, params, x, y, sample_weight=weights, numerics="reproducible")["loss"]
    )
    about, _ = explored(trace, 1e6)
    assert about["divisor"] == weights[1] + weights[4]
    assert about["formulas"]["loss"][:2] == ["*", "w"]


# Against others, from equal weights, samples as they come.


def trained(x, y, **how):
    fixed = {"epochs": 5, "batch_size": 5, "optimizer": br.SGD(0.1, 0.9), "shuffle": False}
    result = br.train(CLASSES, parameters(CLASSES), x, y, **fixed, **how)
    return [*result.params.W, *result.params.b]


def assert_close(found, wanted):
    apart = [np.abs(a - b).max() / np.abs(b).max() for a, b in zip(found, wanted, strict=True)]
    assert max(apart) <= EXACT, apart


def test_torch_comes_to_the_same_weights():
    """Its cross_entropy with weights of classes is Σ w·loss / Σ w too."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    x, labels = samples(CLASSES, 13)[0], np.arange(13) % 4 % 3
    start, each = parameters(CLASSES), torch.tensor([0.5, 3.0, 1.0, 2.0], dtype=torch.float64)
    W, b = ([torch.tensor(one, requires_grad=True) for one in arrays] for arrays in (start.W, start.b))
    theirs = torch.optim.SGD([*W, *b], lr=0.1, momentum=0.9)
    for _ in range(5):
        for rows in (slice(at, at + 5) for at in range(0, 13, 5)):
            theirs.zero_grad()
            z = torch.tanh(torch.tensor(x[rows]) @ W[0] + b[0]) @ W[1] + b[1]
            torch.nn.functional.cross_entropy(z, torch.tensor(labels[rows]), weight=each).backward()
            theirs.step()
    found = trained(x, br.one_hot(labels, 4), class_weight=each.numpy())
    assert_close(found, [one.detach().numpy() for one in (*W, *b)])


def test_scikit_learn_comes_to_the_same_weights():
    """Its sample_weight is divided by the sum over the batch."""
    import inspect
    import warnings

    from sklearn.neural_network import MLPClassifier

    if "sample_weight" not in inspect.signature(MLPClassifier.fit).parameters:
        pytest.skip("scikit-learn 1.7 or later is needed: MLPClassifier.fit takes no sample_weight")
    x, labels, weights = samples(CLASSES, 15)[0], np.arange(15) % 4, some_weights(15)
    theirs = MLPClassifier(
        *((5,), "tanh"), alpha=0.0, solver="sgd", momentum=0.9, nesterovs_momentum=False, batch_size=5,
        learning_rate_init=0.1, max_iter=5, shuffle=False, warm_start=True,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that so few epochs are not enough
        theirs.fit(x, labels)
        start = parameters(CLASSES)
        theirs.coefs_, theirs.intercepts_ = ([each.copy() for each in arrays] for arrays in (start.W, start.b))
        theirs.fit(x, labels, sample_weight=weights)
    assert_close(trained(x, br.one_hot(labels), sample_weight=weights), [*theirs.coefs_, *theirs.intercepts_])


# On the command line.


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """A command line in a folder with a table; what it printed, and its errors."""
    from backprop_ref.cli import run

    monkeypatch.chdir(tmp_path)
    stream = Stream(4, "check")
    rows = zip(stream.normal(24).tolist(), stream.normal(24).tolist(), range(24), strict=True)
    lines = [f"{a},{b},{(0, 1, 2.5)[i % 3]},{'rare' if i % 4 == 0 else 'common'}" for a, b, i in rows]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,often,kind", *lines]))

    def called(*arguments, status=0):
        assert run(list(map(str, arguments))) == status
        return "\n".join(capsys.readouterr())

    return called


FILE, HOW = ("--data-path", "t.csv"), ("--test-size", "0", "--hidden", "3", "--numerics", "reproducible")


@pytest.mark.more
def test_a_command_line_trains_with_weights(command, tmp_path):
    (tmp_path / "c.yaml").write_text("data: {path: t.csv, sample_weight: often}\ntraining: {class_weight: {rare: 4}}\n")
    for name, given in (
        ("flags", (*FILE, "--sample-weight", "often", "--class-weight", '{"rare": 4}')),
        ("yaml", ("--config", "c.yaml")),
    ):
        told = command("train", *HOW, *given, "--epochs", 3, "--run-dir", name)
        assert "network 2-3-2" in told
    models = [br.load(tmp_path / name) for name in ("flags", "yaml")]
    table = br.read_table(tmp_path / "t.csv", "kind", sample_weight="often")
    assert table.weights.tolist() == [0.0, 1.0, 2.5] * 8
    assert models[0].params.sha256() == models[1].params.sha256()
    plain = command("train", *FILE, *HOW, "--drop", "often", "--epochs", 3, "--run-dir", "plain")
    assert plain and br.load(tmp_path / "plain").params.sha256() != models[0].params.sha256()
    whole = command("train", *HOW, "--config", "c.yaml", "--epochs", 5, "--run-dir", "whole")
    assert whole and command("train", "--resume", "flags", "--epochs", 5)
    assert br.load(tmp_path / "flags").params.sha256() == br.load(tmp_path / "whole").params.sha256()
    assert "w·" in command("explain", "flags")
    assert "gradients ok" in command("gradcheck", "flags", "--entries", 2)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--class-weight", '{"odd": 4}'), "--class-weight: unknown class 'odd': known are common, rare"),
        (("--class-weight", "even"), "--class-weight: 'even' is not allowed; balanced, or a weight for each class"),
        (("--class-weight", '{"rare": -1}'), "--class-weight: -1 is not allowed; 0 or more is needed"),
        (("--sample-weight", "oft"), "unknown column 'oft': did you mean 'often'?"),
        (("--sample-weight", "a"), "column a: '-.*' is no weight; a number, 0 or more, is needed"),
    ],
)
def test_a_command_line_says_what_is_no_weight(command, given, said):
    import re

    assert re.search(said, command("train", *FILE, *HOW, *given, status=2))
