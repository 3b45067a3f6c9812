"""Training: what a run is made of, epoch by epoch, and how it stops."""

import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
from helpers import parameters, samples

import backprop_ref as br
from backprop_ref import metrics
from backprop_ref.conformance.rounding.bounds import gradient_bounds
from backprop_ref.conformance.rounding.near import INFLATION
from backprop_ref.conformance.rounding.precision import Rounding
from backprop_ref.conformance.rounding.updates import after
from backprop_ref.random import Stream

CLASSES = br.Network([3, 5, 4], ["tanh", "softmax"], "ce")
NUMBERS = br.Network([3, 5, 2], ["sigmoid", "linear"], "mse")


def hard(network, batch=23):
    """Samples with one class each, or numbers."""
    x, y = samples(network, batch)
    return (x, y) if network.loss == "mean_squared_error" else (x, np.eye(y.shape[1])[y.argmax(axis=1)])


@pytest.mark.few(6)
@pytest.mark.parametrize("batch_size", [None, 1, 5, 23, 100])
@pytest.mark.parametrize("optimizer", [br.SGD(0.1), br.SGD(0.1, 0.9, True, 0.01), br.Adam(0.01)], ids=repr)
def test_training_is_steps_of_value_and_grad(backend, batch_size, optimizer):
    """An epoch: a permutation from the stream, its batches in order, one update each; a short batch by its size."""
    x, y = hard(CLASSES)
    start = parameters(CLASSES)
    result = br.train(
        CLASSES,
        start,
        x,
        y,
        epochs=3,
        batch_size=batch_size,
        optimizer=optimizer,
        schedule="cosine",
        seed=4,
        backend=backend,
    )
    params, state, stream = start.copy(), optimizer.init(start.flat), Stream(4, "shuffle")
    size, losses, correct, steps = batch_size or 23, [], [], []
    for epoch in range(3):
        order = stream.permutation(23) if batch_size is not None else np.arange(23)
        total = hits = 0.0
        for rows in (order[i : i + size] for i in range(0, 23, size)):
            a = br.predict(CLASSES, params, x[rows], backend=backend)
            loss, grads = br.value_and_grad(CLASSES, params, x[rows], y[rows], backend=backend)
            learning_rate = optimizer.learning_rate * br.Cosine()(epoch, 3)
            optimizer.step(params, grads, state, learning_rate)
            steps.append((replace(optimizer, learning_rate=learning_rate), x[rows], y[rows]))
            total += loss * len(rows)
            hits += metrics.count_correct(a, y[rows])
        losses.append(total / 23)
        correct.append(hits / 23)
    if backend.numerics == "fast" and hasattr(backend, "trainer"):
        assert_both_within_the_bounds(result.params, params, start, steps)
    else:
        assert result.params.sha256() == params.sha256()
        assert result.history["loss"].tolist() == losses
    assert result.history["accuracy"].tolist() == correct
    assert (result.stopped, result.epochs) == ("epochs", 3)
    assert start.sha256() == parameters(CLASSES).sha256()


def assert_both_within_the_bounds(trained, stepped, start, steps):
    """Two ways to take the same steps: a trainer in fast numerics sums in an order of its own."""
    W, b = after(Rounding.of(start.dtype), CLASSES, start, steps)
    allowed = [2.0 * INFLATION * near.error for near in W + b]
    apart = [np.abs(a - b) for a, b in zip(trained.W + trained.b, stepped.W + stepped.b, strict=True)]
    assert all((a <= bound).all() for a, bound in zip(apart, allowed, strict=True))


def test_chunks_never_change_a_bit():
    """A callback makes every chunk one epoch; without it chunks grow."""
    x, y = hard(CLASSES)
    runs = [
        br.train(CLASSES, parameters(CLASSES), x, y, epochs=150, batch_size=5, callback=look)
        for look in (None, lambda _: None)
    ]
    assert runs[0].params.sha256() == runs[1].params.sha256()
    for name, column in runs[0].history.items():
        np.testing.assert_array_equal(column, runs[1].history[name])


def test_seeds_shuffle_and_no_shuffle():
    x, y = hard(CLASSES)
    hashes = [
        br.train(CLASSES, parameters(CLASSES), x, y, epochs=3, batch_size=5, **how).params.sha256()
        for how in ({"seed": 1}, {"seed": 1}, {"seed": 2}, {"shuffle": False}, {"shuffle": False, "seed": 2})
    ]
    assert hashes[0] == hashes[1] != hashes[2]
    assert hashes[3] == hashes[4]
    assert len(set(hashes)) == 3


def test_history_of_regression_and_validation():
    x, y = hard(NUMBERS)
    result = br.train(NUMBERS, parameters(NUMBERS), x, y, epochs=4, batch_size=7, validation=(x[:9], y[:9]))
    assert list(result.history) == ["loss", "r2", "learning_rate", "val_loss", "val_r2"]
    assert all(len(column) == 4 and column.dtype == np.float64 for column in result.history.values())
    last = br.evaluate(NUMBERS, result.params, x[:9], y[:9])
    assert result.history["val_loss"][-1] == last["loss"]
    assert result.history["val_r2"][-1] == last["r2"]


def test_r2_is_scikit_learns():
    from sklearn.metrics import r2_score

    x, y = hard(NUMBERS)
    a = br.predict(NUMBERS, parameters(NUMBERS), x)
    got = br.evaluate(NUMBERS, parameters(NUMBERS), x, y)["r2"]
    np.testing.assert_allclose(got, r2_score(y, a), rtol=len(y) * np.finfo(float).eps * 8)


def test_accuracy_by_half_and_by_argmax():
    one = br.Network([1, 1], ["sigmoid"], "bce")
    params = br.Parameters.from_arrays([[[1.0]]], [[0.0]])
    assert br.evaluate(one, params, [[-1.0], [2.0], [0.0], [3.0]], [[0], [1], [0], [0]])["accuracy"] == 0.75
    several = br.Network([2, 2], ["softmax"], "ce")
    params = br.Parameters.from_arrays([np.eye(2)], [np.zeros(2)])
    assert br.evaluate(several, params, [[2.0, 1.0], [0.0, 1.0]], [[1, 0], [1, 0]])["accuracy"] == 0.5
    assert "r2" in br.evaluate(one, br.Parameters.from_arrays([[[1.0]]], [[0.0]]), [[1.0], [2.0]], [[0.3], [0.6]])


def test_early_stopping_restores_the_best():
    x, y = hard(CLASSES)
    x_val, y_val = samples(CLASSES, 11, seed=9)
    kept = {}
    result = br.train(
        CLASSES,
        parameters(CLASSES),
        x,
        y,
        epochs=500,
        batch_size=5,
        optimizer=br.SGD(0.5),
        validation=(x_val, y_val),
        patience=5,
        callback=lambda at: kept.update({at.epoch: at.params.sha256()}),
    )
    losses = result.history["val_loss"]
    assert result.stopped == "patience"
    assert result.best_epoch == int(np.argmin(losses)) + 1 == result.epochs - 5
    assert result.params.sha256() == kept[result.best_epoch]
    assert br.evaluate(CLASSES, result.params, x_val, y_val)["loss"] == losses.min()


def test_early_stopping_may_keep_the_last_and_counts_min_delta():
    x, y = hard(CLASSES)
    last = {}
    result = br.train(
        CLASSES,
        parameters(CLASSES),
        x,
        y,
        epochs=50,
        patience=3,
        min_delta=1e9,
        restore_best=False,
        callback=lambda at: last.update(sha256=at.params.sha256()),
    )
    assert (result.stopped, result.epochs, result.best_epoch) == ("patience", 4, 1)
    assert result.params.sha256() == last["sha256"]


def test_a_callback_sees_each_epoch_and_may_stop():
    x, y = hard(CLASSES)
    seen = []
    result = br.train(
        CLASSES, parameters(CLASSES), x, y, epochs=50, callback=lambda at: seen.append(at) or at.epoch == 7
    )
    assert [at.epoch for at in seen] == list(range(1, 8))
    assert seen[-1].values["loss"] == result.history["loss"][-1]
    assert (result.stopped, result.epochs) == ("callback", 7)


def test_no_epochs_change_nothing():
    result = br.train(CLASSES, parameters(CLASSES), *hard(CLASSES), epochs=0)
    assert result.params.sha256() == parameters(CLASSES).sha256()
    assert list(result.history) == ["loss", "accuracy", "learning_rate"]
    assert all(len(column) == 0 for column in result.history.values())


@pytest.mark.parametrize(
    ("optimizer", "network", "where"),
    [
        (br.SGD(1e200), br.Network([3, 4, 2], ["linear", "linear"], "mse"), r"\w+ of layer \d"),
        (br.SGD(1e30), br.Network([3, 4, 2], ["relu", "linear"], "mse"), r"\w+ of layer \d"),
    ],
)
def test_divergence_names_epoch_layer_and_causes(optimizer, network, where):
    x, y = samples(network, 23)
    with pytest.raises(
        br.TrainingDiverged, match=rf"in epoch \d+: ({where}) is no longer finite. Likely causes: a learning rate"
    ) as caught:
        br.train(network, parameters(network), x, y, epochs=100, batch_size=5, optimizer=optimizer)
    error = caught.value
    assert error.result.epochs == error.epoch - 1 == len(error.result.history.get("loss", []))
    assert np.isfinite(error.result.params.flat).all()
    assert error.result.stopped == "diverged"


def test_divergence_keeps_the_epochs_before_it():
    """A schedule that breaks everything in the fourth epoch."""
    x, y = hard(NUMBERS)
    how = {"batch_size": 5, "schedule": lambda epoch, epochs: 1.0 if epoch < 3 else 1e300}
    with pytest.raises(br.TrainingDiverged) as caught:
        br.train(NUMBERS, parameters(NUMBERS), x, y, epochs=9, **how)
    three = br.train(NUMBERS, parameters(NUMBERS), x, y, epochs=3, **how)
    assert caught.value.epoch == 4
    assert caught.value.layer == 1
    assert caught.value.result.params.sha256() == three.params.sha256()
    np.testing.assert_array_equal(caught.value.result.history["loss"], three.history["loss"])


def test_ctrl_c_keeps_whole_epochs():
    """A real signal in the middle; what comes back is what that many epochs give."""
    x, y = hard(CLASSES, 200)
    timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    result = br.train(CLASSES, parameters(CLASSES), x, y, epochs=10**6, batch_size=5)
    assert result.stopped == "interrupted"
    assert 0 < result.epochs < 10**6
    again = br.train(CLASSES, parameters(CLASSES), x, y, epochs=result.epochs, batch_size=5)
    assert again.params.sha256() == result.params.sha256()
    assert len(result.history["loss"]) == result.epochs


def test_training_in_a_thread_of_its_own():
    x, y = hard(CLASSES)
    found = []
    thread = threading.Thread(target=lambda: found.append(br.train(CLASSES, parameters(CLASSES), x, y, epochs=2)))
    thread.start()
    thread.join()
    assert found[0].epochs == 2


def test_shards_change_the_sums_and_nothing_else():
    x, y = hard(CLASSES)
    loss, grads = br.value_and_grad(CLASSES, parameters(CLASSES), x, y)
    bounds = gradient_bounds(CLASSES, parameters(CLASSES), x, y)
    for shards in (2, 3, 23, 40):
        other_loss, other = br.value_and_grad(CLASSES, parameters(CLASSES), x, y, shards=shards)
        assert abs(other_loss - loss) <= 2.0 * bounds.loss
        for layer in range(2):
            assert np.all(np.abs(other.W[layer] - grads.W[layer]) <= 2.0 * bounds.dW[layer])
    trained = br.train(CLASSES, parameters(CLASSES), x, y, epochs=2, batch_size=7, shards=3)
    assert trained.epochs == 2


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"epochs": -1}, "epochs=-1"),
        ({"epochs": 1.5}, "epochs=1.5"),
        ({"epochs": 10**400}, "epochs=10+: a whole number from 0 to 9,007,199,254,740,992 is needed"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"patience": 0}, "patience=0"),
        ({"shards": 0}, "shards=0"),
        ({"seed": -3}, "seed -3"),
        ({"schedule": "sinus"}, "unknown schedule 'sinus'"),
        ({"schedule": 3}, "schedule 3: a name"),
        ({"resume": True}, "resume=True needs run_dir"),
        ({"validation": (np.ones((2, 2)), np.ones((2, 4)))}, r"x has shape \(2, 2\)"),
    ],
)
def test_wrong_arguments_are_refused(how, message):
    with pytest.raises(br.InvalidInput, match=message):
        br.train(CLASSES, parameters(CLASSES), *hard(CLASSES), **how)


def test_data_that_are_not_finite_are_named():
    x, y = hard(CLASSES)
    x[4, 1] = np.nan
    with pytest.raises(br.InvalidInput, match=r"x\[4, 1\] is nan"):
        br.train(CLASSES, parameters(CLASSES), x, y)


def test_a_failing_callback_loses_nothing(tmp_path):
    """Whatever it raises: the epochs until then are in the folder, and resuming goes on from there."""
    x, y = hard(CLASSES)

    def fail(at):
        if at.epoch == 3:
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        br.train(CLASSES, parameters(CLASSES), x, y, epochs=5, run_dir=tmp_path, callback=fail)
    resumed = br.train(CLASSES, parameters(CLASSES), x, y, epochs=5, run_dir=tmp_path, resume=True)
    assert resumed.params.sha256() == br.train(CLASSES, parameters(CLASSES), x, y, epochs=5).params.sha256()


def test_ctrl_c_in_a_callback_and_the_handler_afterwards():
    x, y = hard(CLASSES)

    def interrupt(at):
        if at.epoch == 2:
            raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    result = br.train(CLASSES, parameters(CLASSES), x, y, epochs=9, callback=interrupt)
    assert (result.stopped, result.epochs) == ("interrupted", 2)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_parameters_that_are_not_finite_are_refused(number):
    params = parameters(CLASSES)
    params.b[0][1] = number
    with pytest.raises(br.InvalidInput, match=r"params.flat\[16\] is (nan|inf): .*; start from other ones"):
        br.train(CLASSES, params, *hard(CLASSES))


def test_ctrl_c_while_a_trainer_is_compiled(tmp_path):
    """A real signal to a real process that has nothing compiled yet: no epoch is done, and nothing is lost."""
    code = """
import backprop_ref as br
from numba.core import event

class Begun(event.Listener):
    said = False
    def on_start(self, what):
        if not Begun.said:
            Begun.said = True
            print("compiling", flush=True)
    def on_end(self, what):
        pass

event.register("numba:compile", Begun())
network = br.Network([2, 3, 1], ["tanh", "sigmoid"], "bce")
backend = br.get_backend("numba")
result = br.train(network, network.init(1), [[0.0, 1.0]], [[1.0]], backend=backend)
print(result.stopped, result.epochs, result.params.sha256() == network.init(1).sha256())
"""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout.readline() == "compiling\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate()[0] == "interrupted 0 True\n"


def test_a_second_ctrl_c_does_not_wait_for_the_step():
    x, y = hard(CLASSES)
    seen = []

    def twice(epoch, epochs):
        os.kill(os.getpid(), signal.SIGINT)
        seen.append("first")
        os.kill(os.getpid(), signal.SIGINT)
        seen.append("second")

    assert br.train(CLASSES, parameters(CLASSES), x, y, schedule=twice).stopped == "interrupted"
    assert seen == ["first"]


def test_ctrl_c_stays_ignored_where_it_was():
    x, y = hard(CLASSES)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        result = br.train(
            CLASSES, parameters(CLASSES), x, y, epochs=5, callback=lambda _: os.kill(os.getpid(), signal.SIGINT)
        )
    finally:
        signal.signal(signal.SIGINT, before)
    assert (result.stopped, result.epochs) == ("epochs", 5)


def test_two_runs_never_share_a_folder(tmp_path):
    x, y = hard(CLASSES)

    def second(at):
        with pytest.raises(br.InvalidInput, match="another run is writing"):
            br.train(CLASSES, parameters(CLASSES), x, y, epochs=1, run_dir=tmp_path)
        return True

    assert br.train(CLASSES, parameters(CLASSES), x, y, run_dir=tmp_path, callback=second).stopped == "callback"


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_numpy_scalars_are_plain_numbers(tmp_path, dtype):
    """They neither change the precision nor break the checkpoint."""
    x, y = hard(CLASSES)
    start = parameters(CLASSES, dtype=dtype)
    plain = br.train(CLASSES, start, x, y, epochs=2, optimizer=br.SGD(0.1), seed=3, shards=2)
    scalars = {"optimizer": br.SGD(np.float64(0.1)), "seed": np.int64(3), "shards": np.int64(2)}
    run = br.train(CLASSES, start, x, y, epochs=2, schedule=lambda *_: np.float64(1.0), run_dir=tmp_path, **scalars)
    assert run.params.sha256() == plain.params.sha256()


def test_an_infinite_validation_loss_stops(tmp_path):
    """Before that epoch is recorded, so that a run that goes on stops there again."""
    x, y = hard(NUMBERS)
    how = {"validation": (x, 1e200 * np.ones_like(y)), "run_dir": tmp_path}
    for resume in (False, True):
        with pytest.raises(br.TrainingDiverged, match="the validation loss is inf after epoch 1") as caught:
            br.train(NUMBERS, parameters(NUMBERS), x, y, **how, resume=resume)
        assert (caught.value.epoch, caught.value.result.epochs) == (1, 0)
        assert caught.value.result.params.sha256() == parameters(NUMBERS).sha256()


def test_r2_of_a_constant_target_is_0_or_1():
    for rows in range(1, 60):
        y = np.full((rows, 1), 0.1)
        assert metrics.r2_from(np.zeros(1), y) == 1.0
        assert metrics.r2_from(np.ones(1), y) == 0.0


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"optimizer": "adam"}, "optimizer='adam': an optimizer such as"),
        ({"optimizer": br.Adam}, "an optimizer such as"),
        ({"validation": np.ones((2, 3))}, r"a pair \(x, y\)"),
        ({"callback": 5}, "callback=5"),
        ({"min_delta": float("nan")}, "min_delta=nan"),
        ({"schedule": lambda *_: float("nan")}, "schedule gives nan in epoch 0"),
        ({"schedule": lambda *_: -1.0}, "schedule gives -1.0"),
        ({"schedule": lambda *_: None}, "schedule gives None"),
        ({"preprocessing": {"a": np.ones(2)}, "run_dir": "run"}, "JSON-ready"),
    ],
)
def test_wrong_objects_are_refused(how, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(br.InvalidInput, match=message):
        br.train(CLASSES, parameters(CLASSES), *hard(CLASSES), **how)
    assert not list(tmp_path.iterdir())


def test_scores_do_not_depend_on_the_layout_of_arrays():
    """R² of the same numbers in C order, in Fortran order and with strides."""
    network = br.Network([2, 2], ["linear"], "mse")
    stream = Stream(9, "check")
    for _ in range(20):
        x, y = stream.normal(34).reshape(17, 2), stream.normal(34).reshape(17, 2)
        found = {
            br.evaluate(network, parameters(network), x, layout, numerics="reproducible")["r2"]
            for layout in (y, np.asfortranarray(y), np.repeat(y, 2, axis=0)[::2])
        }
        assert len(found) == 1


def test_divergence_of_a_compiled_trainer_alone_is_told_as_such():
    """NumPy's trainer has eta in delta, which overflows here before the sum cancels; the pairs stay finite."""
    network = br.Network([1, 1], ["linear"], "mse")
    params = br.Parameters.from_arrays([np.zeros((1, 1))], [np.zeros(1)], "float32")
    x, y = np.full((2, 1), 1e-10, "float32"), np.array([[1e6], [-1e6]], "float32")
    with pytest.raises(br.TrainingDiverged, match="in epoch 1") as found:
        br.train(network, params, x, y, epochs=1, batch_size=2, optimizer=br.SGD(1e35), backend="numpy")
    assert (found.value.epoch, found.value.layer, found.value.result.epochs) == (1, None, 0)
