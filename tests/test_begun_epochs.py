"""A run that stops in the midst of an epoch goes on there, to the bits of one that never stopped."""

import itertools
import time

import host_cupy
import numpy as np
import pytest
from helpers import parameters, samples
from test_ranks import on_threads

import backprop_ref as br
from backprop_ref.ranks.ranks import Ranks
from backprop_ref.training import fit
from backprop_ref.training.checkpoint import CHECKPOINT
from backprop_ref.training.ctrl_c import CtrlC, Interrupted

NETWORK = br.Network([3, 5, 4], ["tanh", "softmax"], "ce")
X, Y = samples(NETWORK, 53)
EPOCHS = 3
HOW = {
    "dropout, weights": {
        "optimizer": br.Adam(0.01, weight_decay=0.1, l2=0.01),
        "dropout": 0.3,
        "shards": 2,
        "sample_weight": np.arange(53) % 3 + 0.5,
        "batch_size": 4,
    },
    "plain": {"optimizer": br.SGD(0.1), "batch_size": 5, "metric": "labels"},
    "looked at": {"optimizer": br.RMSprop(), "validation": (X[:5], Y[:5]), "patience": 9, "metric": "r2"},
}
HOW["looked at"]["batch_size"] = 7


def trained(backend, numerics, how, **more):
    return br.train(
        NETWORK, parameters(NETWORK), X, Y, epochs=EPOCHS, backend=backend, numerics=numerics, **how, **more
    )


def same(one, other):
    assert one.params.sha256() == other.params.sha256()
    for name, column in one.history.items():
        assert column.tobytes() == other.history[name].tobytes(), name


@pytest.fixture
def stopping(monkeypatch):
    """Has every training stop at its fifth poll."""
    polls = itertools.count(1)

    def poll(_):
        if next(polls) % 5 == 0:
            raise Interrupted

    monkeypatch.setattr(CtrlC, "poll", poll)


def resumed(folder, backends, numerics, how):
    """What a run comes to that is resumed until it is done, on one backend after the other; and where it stopped."""
    stops, result = [], None
    for resume, backend in enumerate(itertools.cycle(backends)):
        result = trained(backend, numerics, how, run_dir=folder, resume=resume > 0)
        if result.stopped == "epochs":
            return result, stops
        state = br.load_state(folder)
        assert result.epochs == state.epoch == len(result.history["loss"])
        stops.append((state.epoch, state.begun and state.begun.part.rows))
        assert stops.count(stops[-1]) == 1, "no progress"
    raise AssertionError


@pytest.mark.few(3, 12)
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(
    ("backends", "numerics"),
    [
        (["numpy", "numba"], "reproducible"),
        (["numpy"], "fast"),
        pytest.param(["numba"], "fast", marks=pytest.mark.more),
        pytest.param(["python", "array_api_strict"], "reproducible", marks=pytest.mark.more),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_from_batch_to_batch(tmp_path, monkeypatch, backends, numerics, how):
    whole = trained(backends[0], numerics, HOW[how])
    with monkeypatch.context() as patched:
        stopping.__wrapped__(patched)
        result, stops = resumed(tmp_path / "run", backends, numerics, HOW[how])
    same(whole, result)
    assert len({rows for _, rows in stops if rows}) > 1
    assert br.load_state(tmp_path / "run").begun is None


@pytest.mark.cuda_host
@pytest.mark.parametrize("optimizer", [br.SGD(0.1), br.Adam(0.01)], ids=["sgd", "adam"])
@pytest.mark.more
def test_on_a_gpu(tmp_path, stopping, optimizer):
    """To the bits of the reference, part by part, whichever of the two does them."""
    try:
        gpu = host_cupy.make("reproducible")
    except br.BackendUnavailable as error:
        pytest.skip(str(error))
    how = {"optimizer": optimizer, "batch_size": 6}
    result, stops = resumed(tmp_path / "run", [gpu, "numpy"], "reproducible", how)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(CtrlC, "poll", lambda _: None)
        same(trained("numpy", "reproducible", how), result)
    assert len(stops) > 5


@pytest.mark.parametrize("backend", ["numpy", pytest.param("numba", marks=pytest.mark.more)])
@pytest.mark.parametrize("numerics", ["reproducible", "fast"])
def test_several_ranks_stop_after_the_same_batch(tmp_path, monkeypatch, backend, numerics):
    """And one process, or another number of them, goes on."""
    how = {"optimizer": br.Adam(0.01), "batch_size": 6, "shards": 3, "dropout": 0.2, "run_dir": tmp_path / "run"}
    sums, summed = itertools.count(1), Ranks.sum

    def pressed(self, *given):
        if self.rank == 1 and next(sums) == 13:
            self.ctrl_c.pressed = 2
        return summed(self, *given)

    monkeypatch.setattr(fit, "CHUNK_SECONDS", 0.0)  # one epoch after the other
    whole = trained(backend, numerics, {**how, "run_dir": None})
    monkeypatch.setattr(Ranks, "sum", pressed)
    found, aborted = on_threads(2, lambda comm: trained(backend, numerics, how, comm=comm))
    assert not aborted and [each.stopped for each in found] == ["interrupted"] * 2
    state = br.load_state(tmp_path / "run")
    assert (state.epoch, state.begun.part.rows) == (1, 3 * 6)
    found, _ = on_threads(3, lambda comm: trained(backend, numerics, how, comm=comm, resume=True))
    for each in found:
        same(whole, each)


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_checkpoint_is_written_within_an_epoch(tmp_path, monkeypatch, ranks):
    """As SIGKILL there would leave it, it goes on to the same bits."""
    monkeypatch.setattr(fit, "CHECKPOINT_SECONDS", 0.0)
    kept, save = [], fit.Run.save

    def looked_at(run):
        save(run)
        if run.ranks.rank == 0:
            kept.append((run.state.begun and run.state.begun.part.rows, (tmp_path / "run" / CHECKPOINT).read_bytes()))

    how = {"optimizer": br.Adam(0.01), "batch_size": 4, "shards": 2}
    with monkeypatch.context() as patched:
        patched.setattr(fit.Run, "save", looked_at)
        if ranks == 1:
            whole = trained("numpy", "reproducible", how, run_dir=tmp_path / "run")
        else:
            run_dir = tmp_path / "run"
            whole, other = on_threads(
                2, lambda comm: trained("numpy", "reproducible", how, run_dir=run_dir, comm=comm)
            )[0]
            same(whole, other)
    same(trained("numpy", "reproducible", how), whole)
    rows = [rows for rows, _ in kept if rows]
    assert len(rows) > EPOCHS and rows[0] < rows[1]
    for _, content in [each for each in kept if each[0]][:: len(rows) // 3]:
        (tmp_path / "run" / CHECKPOINT).write_bytes(content)
        same(whole, trained("numpy", "reproducible", how, run_dir=tmp_path / "run", resume=True))


def test_a_part_of_other_data_is_refused(tmp_path, stopping):
    how = {"optimizer": br.SGD(0.1), "batch_size": 4, "run_dir": tmp_path}
    assert trained("numpy", "reproducible", how).stopped == "interrupted"
    state = br.load_state(tmp_path)
    assert state.begun is not None
    state.begun.part.rows = 52 + 4
    run = fit.Run.__new__(fit.Run)
    run.state, run.data, run.folder = state, (X, Y), None
    run.plan, run.pairs = type("", (), {"batch_size": 4}), type("", (), {"measures": 1})
    with pytest.raises(br.InvalidInput, match="the epoch under way is of other data, or damaged"):
        run._check_begun()


def test_a_long_epoch_is_not_lost(tmp_path):
    """Ctrl-C, and what it takes until training ends, far below the epoch's own time."""
    x = br.random.Stream(1, "data").normal(3 * 40_000).reshape(-1, 3)
    how = {"batch_size": 1, "run_dir": tmp_path, "backend": "python", "epochs": 1}
    polls, usual = [], CtrlC.poll

    def poll(self):
        polls.append(time.monotonic())
        self.pressed = 2 if len(polls) == 50 else self.pressed
        usual(self)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(CtrlC, "poll", poll)
        assert br.train(NETWORK, parameters(NETWORK), x, np.eye(4)[np.arange(40_000) % 4], **how).epochs == 0
    assert 40 < br.load_state(tmp_path).begun.part.rows < 50
