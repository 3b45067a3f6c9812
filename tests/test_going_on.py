"""Training goes on from a Result: many calls of few epochs give the bits of one call."""

import numpy as np
import pytest
from helpers import more, parameters, samples
from hypothesis import given, settings
from hypothesis import strategies as st

import backprop_ref as br

NETWORK = br.Network([3, 5, 4], ["tanh", "softmax"], "ce")
HOW = {
    "sgd": {"optimizer": br.SGD(0.1), "batch_size": 5},
    "nesterov, steps": {"optimizer": br.SGD(0.1, 0.9, True, 0.01), "batch_size": 7, "schedule": br.Step(2, 0.5)},
    "adam, cosine": {"optimizer": br.Adam(0.01), "batch_size": 4, "schedule": br.Cosine(over=5)},
    "adam, full batch": {"optimizer": br.Adam(0.01), "batch_size": None},
    "momentum, shards": {"optimizer": br.SGD(0.1, 0.5), "batch_size": 6, "shards": 4},
    "lbfgs": {"optimizer": br.LBFGS(memory=3, weight_decay=0.01), "batch_size": None},
    "dropout": {"optimizer": br.SGD(0.1), "batch_size": 5, "dropout": 0.3},
    "patience": {"optimizer": br.SGD(2.0, 0.9), "batch_size": 5, "patience": 4},
}


def in_calls(calls, x, y, start=None, between=lambda result: (result.params, result.state), **arguments):
    """A training cut into calls of so many epochs."""
    params, state = parameters(NETWORK) if start is None else start, None
    for epochs in calls:
        result = br.train(NETWORK, params, x, y, epochs=epochs, state=state, **arguments)
        params, state = between(result)
    return result


def assert_same(one, other):
    assert one.params.sha256() == other.params.sha256()
    assert one.state.params.sha256() == other.state.params.sha256()
    assert (one.epochs, one.best_epoch, one.stopped) == (other.epochs, other.best_epoch, other.stopped)
    assert one.state.random == other.state.random
    assert list(one.history) == list(other.history)
    for name, column in one.history.items():
        np.testing.assert_array_equal(column, other.history[name])
    for name, slot in one.state.slots.items():
        np.testing.assert_array_equal(slot, other.state.slots[name])


@pytest.mark.few(5, 30)
@pytest.mark.seldom(backend="numba", how="dropout")
@pytest.mark.parametrize("how", HOW)
def test_calls_of_one_epoch_give_the_bits_of_one_call(backend, how):
    x, y = samples(NETWORK, 23)
    arguments = {**HOW[how], "backend": backend, "validation": (x[:5], y[:5]) if how == "patience" else None}
    assert_same(in_calls([1] * 6, x, y, **arguments), in_calls([6], x, y, **arguments))


OPTIMIZERS = {
    br.SGD: {"momentum": st.sampled_from([0.0, 0.9])},
    br.Adam: {"beta2": st.sampled_from([0.9, 0.999]), "epsilon_hat": st.booleans()},
    br.AdamW: {},
    br.RMSprop: {"rho": st.sampled_from([0.5, 0.9])},
    br.AdaGrad: {},
}
LIMITS = {
    "weight_decay": st.sampled_from([0.0, 0.1]),
    "l1": st.sampled_from([0.0, 0.02]),
    "max_norm": st.none() | st.just(0.8),
}
CLIPS = st.sampled_from([{}, {"clip_value": 0.05}, {"clip_norm": 0.2}])
RATES = st.sampled_from([0.0, 0.01, 0.3, 3.0])
WEIGHTS = st.none() | st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0]), min_size=23, max_size=23).filter(any)
"""A weight of 0 leaves a row out."""


@st.composite
def trainings(draw):
    """Arguments of `br.train`, whatever goes together."""
    schedule = draw(st.sampled_from([None, br.Step(2, 0.5), br.Cosine(over=5)]))
    shared = {"schedule": schedule, "sample_weight": draw(WEIGHTS), "numerics": draw(st.sampled_from(NUMERICS))}
    if draw(st.booleans()):
        shared |= {
            "patience": draw(st.integers(1, 3)),
            "min_delta": draw(st.sampled_from([0.0, 0.1])),
            "restore_best": draw(st.booleans()),
            "class_weight": draw(st.sampled_from([None, [0.5, 3.0, 1.0, 2.0]])),
            "validation": draw(st.sampled_from([None, (X[:5], Y[:5]), (X[:3], Y[:3], [1.0, 0.0, 2.0])])),
        }
    if draw(st.integers(0, 5)) == 0:
        return {
            **shared,
            "optimizer": br.LBFGS(memory=3, weight_decay=draw(LIMITS["weight_decay"])),
            "batch_size": None,
        }
    kind = draw(st.sampled_from([*OPTIMIZERS]))
    chosen = {name: draw(values) for name, values in (LIMITS | OPTIMIZERS[kind]).items()}
    return {
        **shared,
        "optimizer": kind(draw(RATES), **chosen, **draw(CLIPS)),
        "batch_size": draw(st.sampled_from([None, 1, 5, 23])),
        "shards": draw(st.sampled_from([1, 3])),
        "dropout": draw(st.sampled_from([None, 0.3])),
        "shuffle": draw(st.booleans()),
        "seed": draw(st.integers(0, 9)),
    }


NUMERICS = ["fast", "reproducible"]
X, Y = samples(NETWORK, 23)[0], br.one_hot(np.arange(23) % 5 % 4)


@pytest.mark.parametrize("backend", ["numpy", more("numba")])
@settings(max_examples=30, deadline=None)
@given(arguments=trainings(), calls=st.lists(st.integers(0, 3), max_size=5))
def test_any_calls_give_the_bits_of_one_call(backend, arguments, calls):
    """Also calls of no epoch, and calls after patience has ended the training."""
    whole = in_calls([sum(calls)], X, Y, backend=backend, **arguments)
    assert_same(in_calls([*calls, 0], X, Y, backend=backend, **arguments), whole)


def test_fifty_calls_are_one(tmp_path):
    """Through a file between any two calls, and from a run folder."""
    x, y = samples(NETWORK, 23)
    whole = in_calls([50], x, y, optimizer=br.Adam(0.01), batch_size=4)
    assert_same(in_calls([1] * 50, x, y, optimizer=br.Adam(0.01), batch_size=4), whole)

    def through_a_file(result):
        path = tmp_path / f"{result.epochs}.safetensors"
        br.save(path, NETWORK, result.params, state=result.state)
        return br.load(path).params, br.load_state(path)

    calls = [20, 0, 29, 1]
    assert_same(in_calls(calls, x, y, between=through_a_file, optimizer=br.Adam(0.01), batch_size=4), whole)
    folder = tmp_path / "run"
    br.train(NETWORK, parameters(NETWORK), x, y, epochs=30, optimizer=br.Adam(0.01), batch_size=4, run_dir=folder)
    arguments = {"optimizer": br.Adam(0.01), "batch_size": 4, "state": br.load_state(folder)}
    last = br.train(NETWORK, br.load(folder).params, x, y, epochs=20, run_dir=tmp_path / "more", **arguments)
    assert_same(last, whole)
    assert_same(br.train(NETWORK, last.params, x, y, epochs=0, **{**arguments, "state": last.state}), whole)
    arguments["state"] = None
    again = br.train(NETWORK, last.params, x, y, epochs=50, run_dir=tmp_path / "more", resume=True, **arguments)
    assert_same(again, whole)


def test_a_state_is_not_used_up():
    """Two trainings go on from one, and it stays as it was; so does what was interrupted by a callback."""
    x, y = samples(NETWORK, 23)
    first = br.train(NETWORK, parameters(NETWORK), x, y, epochs=9, callback=lambda at: at.epoch == 3)
    before = first.state.params.sha256(), first.state.random, {name: len(c) for name, c in first.history.items()}
    one, other = (br.train(NETWORK, first.params, x, y, epochs=2, state=first.state) for _ in range(2))
    assert_same(one, other)
    assert_same(one, in_calls([5], x, y))
    assert before == (first.state.params.sha256(), first.state.random, {n: len(c) for n, c in first.history.items()})


def test_patience_that_begins_later_counts_from_there():
    x, y = samples(NETWORK, 23)
    first = br.train(NETWORK, parameters(NETWORK), x, y, epochs=5, optimizer=br.SGD(0.0))
    second = br.train(NETWORK, first.params, x, y, epochs=9, optimizer=br.SGD(0.0), patience=3, state=first.state)
    assert (second.epochs, second.best_epoch, second.stopped) == (8, 5, "patience")


def test_what_does_not_go_on_is_refused(tmp_path):
    x, y = samples(NETWORK, 23)
    result = br.train(NETWORK, parameters(NETWORK), x, y, epochs=1)
    for message, change in {
        "state is a Result": {"state": result},
        "leave out one": {"resume": True, "run_dir": tmp_path / "run"},
        r"br.Cosine\(over=50\)": {"schedule": "cosine"},
        "not those that the training": {"params": parameters(NETWORK)},
        "holds nothing, and this one needs m, powers, v": {"optimizer": br.Adam()},
        "give validation in every call": {"validation": (x, y)},
    }.items():
        arguments = {"params": result.params, "state": result.state, "epochs": 1, **change}
        with pytest.raises(br.InvalidInput, match=message):
            br.train(NETWORK, x=x, y=y, **arguments)
    br.save(tmp_path / "model.safetensors", NETWORK, result.params)
    with pytest.raises(br.InvalidInput, match="no state of a training"):
        br.load_state(tmp_path / "model.safetensors")
    with pytest.raises(br.InvalidInput, match="state is a Result"):
        br.save(tmp_path / "again.safetensors", NETWORK, result.params, state=result)
