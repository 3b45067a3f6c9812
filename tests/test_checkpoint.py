"""Model files and checkpoints: what comes back, what is refused, and resuming to the same bits."""

import json
import signal
import subprocess
import time

import numpy as np
import pytest
from helpers import PROGRAM, parameters, samples, tree

import backprop_ref as br
from backprop_ref.errors import OtherBits
from backprop_ref.traces.recorder import Recorder
from backprop_ref.training.checkpoint import CHECKPOINT
from backprop_ref.training.history_file import HISTORY

NETWORK = br.Network([3, 5, 4], ["tanh", "softmax"], "ce")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_model_comes_back_to_the_bit(tmp_path, dtype):
    params = parameters(NETWORK, dtype=dtype)
    br.save(tmp_path / "model.safetensors", NETWORK, params, {"note": [1, 2.5]})
    network, loaded, preprocessing = br.load(tmp_path / "model.safetensors")
    assert network == NETWORK
    assert (loaded.dtype, loaded.sha256()) == (params.dtype, params.sha256())
    assert preprocessing == {"note": [1, 2.5]}


def test_saving_replaces_at_once_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "model.safetensors"
    for seed in (1, 2):
        br.save(path, NETWORK, parameters(NETWORK, seed))
    assert br.load(path).params.sha256() == parameters(NETWORK, 2).sha256()
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_other_tools_read_the_file(tmp_path):
    from safetensors.numpy import load_file

    br.save(tmp_path / "model.safetensors", NETWORK, parameters(NETWORK))
    tensors = load_file(tmp_path / "model.safetensors")
    assert {name: array.shape for name, array in tensors.items()} == {
        "W0": (3, 5),
        "b0": (5,),
        "W1": (5, 4),
        "b1": (4,),
    }


def test_every_truncation_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    br.save(path, NETWORK, parameters(NETWORK))
    whole = path.read_bytes()
    for length in (0, 1, 7, 8, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(br.InvalidInput, match=r"model.safetensors: (truncated|a safetensors file, but not one)"):
            br.load(path)


def test_every_bit_that_changes_is_noticed(tmp_path):
    br.train(NETWORK, parameters(NETWORK), *samples(NETWORK, 5), epochs=2, optimizer=br.Adam(), run_dir=tmp_path)
    path = tmp_path / CHECKPOINT
    whole = path.read_bytes()
    for bit in range(0, 8 * len(whole), 211):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        with pytest.raises(br.InvalidInput, match=CHECKPOINT):
            br.load_state(tmp_path)
    path.write_bytes(whole)
    assert br.load_state(tmp_path).epoch == 2


def test_a_file_of_another_version_names_it(tmp_path):
    from safetensors.numpy import save_file

    described = {"format": "backprop_ref-7", "version": '"4.5.6"'}
    save_file({"W0": np.ones((2, 2))}, tmp_path / "later.safetensors", metadata=described)
    with pytest.raises(br.InvalidInput, match="later.safetensors: written by backprop_ref 4.5.6 in format 'backprop_r"):
        br.load(tmp_path / "later.safetensors")
    described = {"format": "backprop_ref-1", "network": json.dumps(br.Network([2, 2], ["relu"], "mse").to_dict())}
    save_file({"W0": np.ones((2, 2)), "b0": np.ones(2)}, tmp_path / "earlier.safetensors", metadata=described)
    assert br.load(tmp_path / "earlier.safetensors").params.flat.tolist() == [1.0] * 6


def test_files_that_are_no_models_are_refused(tmp_path):
    from safetensors.numpy import save_file

    with pytest.raises(br.InvalidInput, match="no such file"):
        br.load(tmp_path / "absent.safetensors")
    with pytest.raises(br.InvalidInput, match="checkpoint.safetensors: no such file"):
        br.load(tmp_path)
    save_file({"W0": np.ones((2, 2))}, tmp_path / "foreign.safetensors")
    with pytest.raises(br.InvalidInput, match="not one that br.save wrote"):
        br.load(tmp_path / "foreign.safetensors")
    described = {"format": "backprop_ref-1", "network": json.dumps(NETWORK.to_dict())}
    save_file({"W0": np.ones((2, 2)), "b0": np.ones(2)}, tmp_path / "half.safetensors", metadata=described)
    with pytest.raises(br.InvalidInput, match="half.safetensors: not a usable model file"):
        br.load(tmp_path / "half.safetensors")


def test_parameters_of_another_network_are_not_saved(tmp_path):
    with pytest.raises(br.InvalidInput, match="do not fit"):
        br.save(tmp_path / "model.safetensors", br.Network([3, 4], ["softmax"], "ce"), parameters(NETWORK))
    assert not list(tmp_path.iterdir())


HOW = {
    "sgd": {"optimizer": br.SGD(0.1), "batch_size": 5},
    "momentum and validation": {"optimizer": br.SGD(0.1, 0.9, True, 0.01), "batch_size": 7, "patience": 50},
    "adam": {"optimizer": br.Adam(0.01), "batch_size": 1},
    "full batch": {"optimizer": br.Adam(0.01), "batch_size": None},
    "rmsprop": {"optimizer": br.RMSprop(0.01), "batch_size": 7},
    "shards": {"optimizer": br.SGD(0.1, 0.5), "batch_size": 6, "shards": 4},
}


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_resuming_gives_the_same_bits(tmp_path, how, dtype):
    x, y = samples(NETWORK, 23)
    arguments = {**HOW[how], "validation": (x[:5], y[:5]) if "validation" in how else None}
    start = parameters(NETWORK, dtype=dtype)
    whole = br.train(NETWORK, start, x, y, epochs=12, **arguments)
    br.train(NETWORK, start, x, y, epochs=12, run_dir=tmp_path / "run", callback=lambda at: at.epoch == 5, **arguments)
    resumed = br.train(NETWORK, start, x, y, epochs=12, run_dir=tmp_path / "run", resume=True, **arguments)
    assert resumed.params.sha256() == whole.params.sha256()
    assert resumed.best_epoch == whole.best_epoch
    assert list(resumed.history) == list(whole.history)
    for name, column in whole.history.items():
        np.testing.assert_array_equal(resumed.history[name], column)
    assert br.load(tmp_path / "run" / CHECKPOINT).params.sha256() == whole.params.sha256()
    lines = (tmp_path / "run" / HISTORY).read_text().splitlines()
    assert len(lines) == 13
    assert float(lines[-1].split(",")[1]) == whole.history["loss"][-1]


def test_a_checkpoint_holds_all_that_a_run_was(tmp_path):
    x, y = samples(NETWORK, 23)
    br.train(
        NETWORK,
        parameters(NETWORK),
        x,
        y,
        epochs=2,
        optimizer=br.Adam(),
        run_dir=tmp_path,
        preprocessing={"p": 1},
        config={"c": 2},
    )
    from backprop_ref.network.model_file import load_all

    model, tensors, metadata = load_all(tmp_path / CHECKPOINT)
    assert model.preprocessing == {"p": 1}
    assert metadata["config"] == {"c": 2}
    assert metadata["progress"]["epoch"] == 2
    assert metadata["progress"]["random"]["bit_generator"] == "PCG64"
    assert {"resume.slot.m", "resume.slot.v", "resume.slot.powers", "history.loss"} <= set(tensors)


def test_a_call_may_be_made_again(tmp_path):
    x, y = samples(NETWORK, 23)

    def cell(**how):
        trace = Recorder(tmp_path, ["binary"])
        return br.train(NETWORK, parameters(NETWORK), x, y, **{"epochs": 3, **how}, run_dir=tmp_path, trace=trace)

    first = cell()
    before = {name: (tmp_path / name).read_bytes() for name in (HISTORY, "trace.bin")}
    assert cell().params.sha256() == br.load(tmp_path).params.sha256() == first.params.sha256()
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    assert cell(epochs=5).epochs == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 1}, "it has 2 epochs, now 1"),
        ({"optimizer": br.SGD(0.2)}, "optimizer was"),
        ({"patience": 1}, "patience was None, now 1"),
        ({"params": NETWORK.init(seed=99)}, "params was"),
        ({"preprocessing": {"shift": 1}}, "its preprocessing is another one"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_another_run_is_replaced_on_request_alone(tmp_path, change, message):
    x, y = samples(NETWORK, 23)
    how = {"params": parameters(NETWORK), "x": x, "y": y, "epochs": 2, "run_dir": tmp_path}
    br.train(NETWORK, **how)
    before = tree(tmp_path)
    with pytest.raises(br.InvalidInput, match=rf"already holds another run \({message}.*force=True to replace it"):
        br.train(NETWORK, **how | change)
    assert tree(tmp_path) == before
    result = br.train(NETWORK, **how | change, force=True)
    assert br.load(tmp_path).params.sha256() == result.params.sha256()
    assert len((tmp_path / HISTORY).read_text().splitlines()) == 1 + result.epochs


def test_a_run_of_the_command_line_is_no_call_of_a_notebook(tmp_path):
    x, y = samples(NETWORK, 23)
    br.train(NETWORK, parameters(NETWORK), x, y, epochs=1, run_dir=tmp_path, config={"data": {}})
    with pytest.raises(br.InvalidInput, match="already holds a run of backprop-ref train; give another run_dir"):
        br.train(NETWORK, parameters(NETWORK), x, y, epochs=1, run_dir=tmp_path, force=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer": br.SGD(0.2)}, "another optimizer"),
        ({"batch_size": 7}, "another batch_size"),
        ({"seed": 2}, "another seed"),
        ({"shuffle": False}, "another shuffle"),
        ({"shards": 2}, "another shards"),
        ({"schedule": "cosine"}, "another schedule .*; leave the number of epochs as it was, or start a new run"),
        ({"numerics": "reproducible"}, "another numerics"),
        ({"validation": "more"}, "another data"),
    ],
)
def test_resuming_another_run_is_refused(tmp_path, change, message):
    x, y = samples(NETWORK, 23)
    br.train(NETWORK, parameters(NETWORK), x, y, epochs=1, run_dir=tmp_path, optimizer=br.SGD(0.1))
    before = (tmp_path / CHECKPOINT).read_bytes()
    if "validation" in change:
        change = {"validation": (x, y)}
    with pytest.raises(br.InvalidInput, match=message):
        br.train(
            NETWORK, parameters(NETWORK), x, y, run_dir=tmp_path, resume=True, **{"optimizer": br.SGD(0.1), **change}
        )
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def test_resuming_for_fewer_epochs_than_are_done_is_refused(tmp_path):
    x, y = samples(NETWORK, 23)
    three = br.train(NETWORK, parameters(NETWORK), x, y, epochs=3, run_dir=tmp_path)
    with pytest.raises(br.InvalidInput, match="epochs=2: the run in .* has 3 already"):
        br.train(NETWORK, parameters(NETWORK), x, y, epochs=2, run_dir=tmp_path, resume=True)
    again = br.train(NETWORK, parameters(NETWORK), x, y, epochs=3, run_dir=tmp_path, resume=True)
    assert again.params.sha256() == three.params.sha256()


def test_resuming_needs_a_whole_checkpoint(tmp_path):
    x, y = samples(NETWORK, 23)
    with pytest.raises(br.InvalidInput, match="no checkpoint.safetensors to resume from"):
        br.train(NETWORK, parameters(NETWORK), x, y, run_dir=tmp_path, resume=True)
    br.save(tmp_path / CHECKPOINT, NETWORK, parameters(NETWORK))
    with pytest.raises(br.InvalidInput, match="a model, but not a checkpoint"):
        br.train(NETWORK, parameters(NETWORK), x, y, run_dir=tmp_path, resume=True)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(br.InvalidInput, match="cannot be created"):
        br.train(NETWORK, parameters(NETWORK), *samples(NETWORK, 5), run_dir=tmp_path / "file" / "run")


def test_a_run_that_was_killed_has_its_history_beside_its_checkpoint(tmp_path, monkeypatch):
    """Saved after each chunk, and seen from the callback, as SIGKILL there would leave it."""
    from backprop_ref.training import fit

    monkeypatch.setattr(fit, "CHECKPOINT_SECONDS", 0.0)
    how = {"x": samples(NETWORK, 9)[0], "y": samples(NETWORK, 9)[1], "epochs": 7, "numerics": "reproducible"}
    killed = tmp_path / "killed"

    def look(at):
        if at.epoch == 6:
            killed.mkdir()
            for name in (CHECKPOINT, HISTORY):
                (killed / name).write_bytes((tmp_path / "run" / name).read_bytes())
            with (killed / HISTORY).open("ab") as file:
                file.write(b"6,0.1")  # what the disk had of the next line

    whole = br.train(NETWORK, parameters(NETWORK), **how, run_dir=tmp_path / "run", callback=look)
    state = br.load_state(killed)
    assert (state.epoch, state.stopped) == (5, None)
    assert state.columns["loss"].tolist() == whole.history["loss"][:5].tolist()
    assert br.train(NETWORK, parameters(NETWORK), **how, run_dir=killed, resume=True).params.sha256() == (
        whole.params.sha256()
    )
    for name in (HISTORY, "certificate.json"):
        assert (killed / name).read_bytes() == (tmp_path / "run" / name).read_bytes()


@pytest.mark.parametrize("text", [None, "", "epoch,loss,accuracy,learning_rate\n1,0.5,0.5,0.1\n"])
def test_a_history_that_a_checkpoint_counts_on_is_not_another_one(tmp_path, monkeypatch, text):
    from backprop_ref.training import fit

    monkeypatch.setattr(fit, "CHECKPOINT_SECONDS", 0.0)
    kept = []
    br.train(
        NETWORK,
        parameters(NETWORK),
        *samples(NETWORK, 9),
        epochs=3,
        run_dir=tmp_path,
        callback=lambda _: kept.append((tmp_path / CHECKPOINT).read_bytes()),
    )
    (tmp_path / CHECKPOINT).write_bytes(kept[-1])
    (tmp_path / HISTORY).unlink() if text is None else (tmp_path / HISTORY).write_text(text)
    with pytest.raises(
        br.InvalidInput, match=rf"{HISTORY}(, which it goes on in, is not beside| beside it was change)"
    ):
        br.load_state(tmp_path)


def test_other_threads_in_fast_numerics_are_told_of(tmp_path, recwarn):
    how = {"x": samples(NETWORK, 9)[0], "y": samples(NETWORK, 9)[1], "run_dir": tmp_path}
    br.train(NETWORK, parameters(NETWORK), **how, epochs=2, threads=1)
    br.train(NETWORK, parameters(NETWORK), **how, epochs=3, threads=1, resume=True)
    assert not recwarn.list
    with pytest.warns(OtherBits, match=r"on 2 threads, where it had 1: .* give threads=1 \(--threads 1\)"):
        br.train(NETWORK, parameters(NETWORK), **how, epochs=4, threads=2, resume=True)


@pytest.mark.few(1)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_that_end_a_process_save_first(tmp_path, number):
    """Nothing is lost: what the checkpoint has is where training stopped, and the process ends by that signal."""
    program = [*PROGRAM, "train", "xor", "--epochs", "100000000", "--trace", "csv", "--run-dir", "r"]
    with subprocess.Popen(program, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        while not (tmp_path / "r" / HISTORY).exists() and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(number)
        said = process.communicate()[1].splitlines()
        assert said[-1] == "interrupted; go on with: backprop-ref train --resume r"
        assert process.returncode == -number
    state = br.load_state(tmp_path / "r")
    assert (state.stopped, len((tmp_path / "r" / HISTORY).read_text().splitlines())) == ("interrupted", 1 + state.epoch)
    assert (tmp_path / "r/trace.csv").read_text().splitlines()[-1].startswith(f"{state.epoch},")
