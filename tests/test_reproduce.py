"""Training a run again, on any backend: identical, or the first epoch that differs, whatever was changed."""

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

import backprop_ref as br
from backprop_ref import cli
from backprop_ref.experiments import reproduce as reproducing
from backprop_ref.experiments.reproduce import Certificate
from backprop_ref.network.model_file import load_all, model_parts
from backprop_ref.training.chain import Chain, hashed, next_kept
from backprop_ref.training.checkpoint import CERTIFICATE, CHECKPOINT, KEPT, kept_name
from backprop_ref.training.stored_checkpoint import load_checkpoint
from backprop_ref.training.train import train

PROVED = {"numerics": "reproducible", "backend": "numpy", "progress": False}
KINDS = {
    "online": {"dataset": "xor", "epochs": 40, "learning_rate": 0.5},
    "full batch, momentum": {"dataset": "xor", "batch_size": "full", "momentum": 0.9, "nesterov": True, "epochs": 70},
    "adam, cosine": {"dataset": "iris", "optimizer": "adam", "schedule": "cosine", "epochs": 9},
    "adamw, float32": {"dataset": "iris", "optimizer": "adamw", "dtype": "float32", "epochs": 5},
    "rmsprop, shards": {"dataset": "iris", "optimizer": "rmsprop", "shards": 3, "epochs": 5},
    "dropout, l2": {"dataset": "iris", "hidden": [7, 5], "dropout": [0.2, 0.1], "l2": 0.01, "epochs": 5},
    "patience": {"dataset": "iris", "learning_rate": 2.0, "validation_size": 0.2, "patience": 2, "epochs": 60},
    "class weights": {"dataset": "iris", "class_weight": "balanced", "clip_norm": 0.1, "epochs": 4},
    "a fold, relu": {"dataset": "iris", "folds": 4, "fold": 2, "activation": "relu", "init": "he", "epochs": 4},
    "lbfgs": {"dataset": "xor", "optimizer": "lbfgs", "batch_size": "full", "epochs": 12},
    "regression": {"dataset": "regression", "n_samples": 60, "n_features": 3, "noise": 0.5, "epochs": 4},
    "diverged": {"dataset": "regression", "n_samples": 30, "optimizer": "sgd", "learning_rate": 1e6, "epochs": 20},
    "no epoch": {"dataset": "xor", "epochs": 0},
}
BACKENDS = ("numpy", "numba", "python", "array_api_strict")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Each test in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def trained(run="run", **settings):
    """A run folder."""
    try:
        br.run(run_dir=run, **{**PROVED, "dataset": "xor", "epochs": 40, **settings})
    except br.TrainingDiverged:
        assert settings["learning_rate"] > 1e3


def test_kept_epochs_are_few_and_the_same_however_one_gets_there():
    kept, epoch = [0], 0
    while epoch < 10**6:
        epoch = next_kept(epoch)
        kept.append(epoch)
    assert kept[:22] == [*range(17), 18, 20, 22, 24, 26]
    assert len(kept) < 150
    assert all(next_kept(epoch) == min(each for each in kept if each > epoch) for epoch in range(300))


@pytest.mark.few(3)
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_is_identical_on_another_backend(kind):
    backend = BACKENDS[list(KINDS).index(kind) % len(BACKENDS)]
    trained(**KINDS[kind])
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    for what in ("run", f"run/{CERTIFICATE}"):
        found = br.reproduce(what, backend=backend, progress=False)
        assert found.ok, found
        assert found.backend == backend
        assert found.sha256 == br.load("run").params.sha256()
    assert {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()} == before


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("trained_on", BACKENDS)
def test_every_kind_is_identical_from_backend_to_backend(kind, trained_on):
    """With --all: 52 runs."""
    trained(**KINDS[kind], backend=trained_on)
    backend = BACKENDS[BACKENDS.index(trained_on) - 1]
    assert br.reproduce("run", backend=backend, threads=2 if backend == "numba" else None, progress=False).ok


def test_certificates_are_the_same_wherever_a_run_is_trained():
    trained()
    trained("again", backend="python")
    assert Path("run", CERTIFICATE).read_bytes() == Path("again", CERTIFICATE).read_bytes()


def test_a_run_that_was_interrupted_and_gone_on_with():
    def stop(at):
        return at.epoch == 5

    network = br.Network([2, 3, 1], ["tanh", "sigmoid"], "bce")
    x, y = [[0, 0], [0, 1], [1, 0]], [[0], [1], [1]]
    how = {"epochs": 20, "run_dir": "r", "numerics": "reproducible"}
    br.train(network, network.init(), x, y, **how, callback=stop)
    first = json.loads(Path("r", CERTIFICATE).read_text())
    br.train(network, network.init(), x, y, **how, resume=True)
    br.train(network, network.init(), x, y, **how | {"run_dir": "s"})
    assert (first["epochs"], first["stopped"]) == (5, "callback")
    assert Path("r", CERTIFICATE).read_bytes() == Path("s", CERTIFICATE).read_bytes()
    with pytest.raises(br.InvalidInput, match="make the same call with a new run_dir, and compare the two cert"):
        br.reproduce(f"r/{CERTIFICATE}")


def test_ctrl_c_says_nothing_of_the_run(monkeypatch, capsys):
    """Training keeps Ctrl-C to itself, and gives the epochs that are done."""
    trained()

    def interrupted(*given, **how):
        return train(*given, **{**how, "callback": lambda at: signal.raise_signal(signal.SIGINT)})

    monkeypatch.setattr(reproducing, "train", interrupted)
    assert cli.run(["reproduce", "run"]) == 130
    assert capsys.readouterr().out == ""


ENDED = """
import signal, tempfile
from backprop_ref.training.ctrl_c import tidied
with tidied(), tempfile.TemporaryDirectory(dir="."):
    signal.raise_signal(signal.SIGTERM)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no process ends by a signal there")
def test_a_signal_removes_what_was_made_and_ends_the_process_by_itself(tmp_path):
    done = subprocess.run([sys.executable, "-c", ENDED], cwd=tmp_path, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr, [*tmp_path.iterdir()]) == (-signal.SIGTERM, b"", [])


def test_a_chain_that_begins_late():
    """As of a run that a version without chains began: its first link is over all rows until then."""
    trained()
    model, tensors, metadata = load_all("run")
    chain = Chain.of(metadata["identity"], metadata["chain"])
    link = chain.link(load_checkpoint(Path("run", CHECKPOINT))[1]._replace(chain=()))
    written = {**metadata, "chain": {**metadata["chain"], "links": [list(link)]}}
    Path("run", CHECKPOINT).write_bytes(
        b"".join(model_parts(model.network, model.params, model.preprocessing, tensors, written))
    )
    Path("run", CERTIFICATE).unlink()
    found = br.reproduce("run")
    assert (found.ok, found.compared) == (True, 1)


def table(flipped=False):
    """A file of rows, one number of which is another one in its last digit."""
    rows = [(i % 7, (i * i) % 5, "ab"[i % 2]) for i in range(40)]
    lines = [f"{u}.{1 if flipped and i == 17 else 0},{v},{kind}" for i, (u, v, kind) in enumerate(rows)]
    Path("t.csv").write_text("\n".join(["u,v,kind", *lines]) + "\n")


def changed_weights(run):
    """One bit of a weight is another one, and the file's hash is made anew."""
    run = Path(run)
    model, tensors, metadata = load_all(run)
    flat = tensors["resume.flat"].copy()
    flat.view(np.uint64)[3] ^= 1
    params = br.Parameters(flat, model.network.sizes)
    parts = model_parts(model.network, params, model.preprocessing, {**tensors, "resume.flat": flat}, metadata)
    (run / CHECKPOINT if run.is_dir() else run).write_bytes(b"".join(parts))


def damaged_weights(run):
    """One bit of a weight is another one."""
    content = bytearray(Path(run, CHECKPOINT).read_bytes())
    content[-9] ^= 1
    Path(run, CHECKPOINT).write_bytes(content)


def changed_config(run):
    """The last bit of the learning rate."""
    text = Path(run, "config.yaml").read_text()
    assert "learning_rate: 0.25\n" in text
    Path(run, "config.yaml").write_text(text.replace("learning_rate: 0.25\n", "learning_rate: 0.25000000000000006\n"))


def changed_certificate(run):
    """A hash in the middle of the chain, and the certificate's own hash made anew."""
    content = json.loads(Path(run, CERTIFICATE).read_text())
    content["chain"][6][1] = "0" * 64
    del content["sha256"]
    Path(run, CERTIFICATE).write_text(json.dumps({**content, "sha256": hashed(content)}))


def changed_history(run):
    """One digit of a loss, in the table beside the checkpoint."""
    lines = Path(run, "history.csv").read_text().splitlines()
    lines[7] = lines[7].replace(".", ".1", 1)
    Path(run, "history.csv").write_text("\n".join(lines) + "\n")


def shortened_history(run):
    """Without its last rows."""
    lines = Path(run, "history.csv").read_text().splitlines()
    Path(run, "history.csv").write_text("\n".join(lines[:31]) + "\n")


CHANGES = {
    "data": (lambda _: table(flipped=True), 0, "data was"),
    "weights": (changed_weights, 40, ""),
    "file": (damaged_weights, 40, "damaged"),
    "history": (changed_history, 7, "history.csv: line 8 is not what checkpoint.safetensors has"),
    "shorter history": (shortened_history, 31, "history.csv: line 32 is not what checkpoint.safetensors has"),
    "config": (changed_config, 1, "config.yaml: training.learning_rate was 0.25, now 0.25000000000000006"),
    "certificate": (changed_certificate, 6, "certificate.json: its chain of hashes does not hold from epoch 6 on"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.few(3)
def test_one_bit_is_found_and_its_epoch_named(change, capsys):
    table()
    trained(dataset=None, data_path="t.csv", learning_rate=0.25, hidden=[3])
    act, epoch, note = CHANGES[change]
    act("run")
    assert cli.run(["reproduce", "run", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["epochs"]) == (False, 40)
    assert found["differs"] == epoch if epoch else found["differs"] == 1
    assert note in " ".join(found["notes"])
    assert cli.run(["reproduce", "run"]) == 1
    assert "DIFFERENT: run, first in epoch" in capsys.readouterr().out


def test_other_first_weights_are_epoch_0():
    trained("start", learning_rate=0.5)
    first = ["train", "xor", "--from", "start", "--numerics", "reproducible", "--epochs", "3", "--run-dir", "run"]
    assert cli.run(first) == 0
    assert br.reproduce("run", progress=False).ok
    shutil.rmtree("start")
    trained("start", learning_rate=0.4)
    found = br.reproduce("run", progress=False)
    assert (found.ok, found.differs, found.what) == (False, 0, "weights")


@pytest.mark.parametrize(("section", "key", "value", "why"), [
    ("training", "epochs", 10**9, None),
    ("network", "hidden", [20_000, 20_000], "config.yaml is of another network"),
    ("data", "n_samples", 3 * 10**6, "its data are large"),
    ("data", "path", "large.csv", "its data are large"),
    ("backend", "name", "os:abort", "is code from elsewhere"),
])  # fmt: skip
def test_a_page_does_not_train_for_long_what_says_that_it_is_small(section, key, value, why):
    trained(dataset="moons", n_samples=40, epochs=3)
    with Path("large.csv").open("w") as file:
        file.truncate(9 * 10**6)
    content = yaml.safe_load(Path("run/config.yaml").read_text())
    content[section][key] = value
    if key == "path":
        content[section] = {"path": value}
    Path("run/config.yaml").write_text(yaml.safe_dump(content))
    found = reproducing.traced_again(Path("run"), json.loads(Path("run/results.json").read_text()))
    assert why in found if why else found["epoch"][-1] == 3, found


def test_a_page_gives_up_what_takes_long(monkeypatch):
    trained()
    monkeypatch.setattr(reproducing, "LATE", -1.0)
    found = reproducing.traced_again(Path("run"), json.loads(Path("run/results.json").read_text()))
    assert found == "training it again takes over -1 s"


def test_what_proves_nothing_is_refused(capsys):
    trained(numerics="fast")
    assert not Path("run", CERTIFICATE).exists()
    assert cli.run(["reproduce", "run"]) == 2
    assert "trained in fast numerics, whose bits are those of one machine" in capsys.readouterr().err
    assert cli.run(["reproduce", "absent"]) == 2
    Path("c.json").write_text("{}")
    assert cli.run(["reproduce", "c.json"]) == 2
    assert "not a certificate of ours" in capsys.readouterr().err


SPOTS = {"dataset": "iris", "epochs": 20, "optimizer": "adam", "keep_checkpoints": True}


def changed_slot(path):
    """One bit of what the optimizer keeps, which no link of the chain is over; the file's hash is made anew."""
    model, tensors, metadata = load_all(path)
    tensors["resume.slot.v"] = tensors["resume.slot.v"].copy()
    tensors["resume.slot.v"].view(np.uint64)[3] ^= 1
    path.write_bytes(b"".join(model_parts(model.network, model.params, model.preprocessing, tensors, metadata)))


@pytest.mark.more
def test_spots_are_trained_from_the_checkpoints_that_were_kept():
    """And those of a run that went on, and of one that was made anew, are those of a run that never stopped."""
    trained("stopped", **SPOTS | {"epochs": 9})
    assert cli.run(["train", "--resume", "stopped", "--epochs", "20"]) == 0
    trained(**SPOTS)
    kept = sorted(path.name for path in Path("run", KEPT).iterdir())
    assert kept == sorted(path.name for path in Path("stopped", KEPT).iterdir())
    assert kept == sorted(f"epoch-{epoch}.safetensors" for epoch in (*range(1, 17), 18, 20))
    found = br.reproduce("run", spot=2, backend="numba", progress=False)
    assert found.ok and found.spots[0] == (0, 1) and len(found.spots) == 3 and found.compared < 7, found
    for run in ("run", "stopped"):
        found = br.reproduce(run, spot=99, progress=False)
        assert (found.ok, found.compared, len(found.spots)) == (True, 19, 18), found


@pytest.mark.parametrize(("epoch", "change", "differs", "what", "note"), [
    (7, changed_slot, 7, "state", ""),
    (7, changed_weights, 7, "weights", ""),
    (7, lambda path: path.write_bytes(path.read_bytes()[:-9]), 7, "record", "truncated"),
    (7, lambda path: shutil.copy(path.with_name("epoch-6.safetensors"), path), 7, "weights", ""),
])  # fmt: skip
@pytest.mark.few(2)
def test_a_checkpoint_that_was_changed_is_found(epoch, change, differs, what, note, capsys):
    trained(**SPOTS)
    change(Path("run", kept_name(epoch)))
    assert cli.run(["reproduce", "run", "--spot", "99", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["differs"], found["what"]) == (differs, what), found
    assert note in " ".join(found["notes"])


def in_results(**changes):
    """Other entries of results.json."""

    def change(path):
        content = json.loads(path.read_text())
        path.write_text(json.dumps({**content, **{key: act(content[key]) for key, act in changes.items()}}))

    return change


AT_REST = [
    (kept_name(13), lambda path: path.unlink(), 13, "epoch-13.safetensors: missing"),
    (kept_name(13), lambda path: path.write_bytes(path.read_bytes()[:-9]), 13, "truncated"),
    (kept_name(13), changed_weights, 13, ""),
    (kept_name(13), lambda path: shutil.copy(path.with_name("epoch-12.safetensors"), path), 13, ""),
    (KEPT, lambda path: [file.unlink() for file in path.glob("*-??.*")], 10, "epoch-20.safetensors: missing"),
    ("history.csv", lambda path: changed_history(path.parent), 7, "history.csv: line 8"),
    ("history.csv", lambda path: path.write_text(path.read_text() + "21,0.1,0.1,0.1\n"), 21, "history.csv: line 22"),
    ("history.csv", lambda path: path.unlink(), 1, "history.csv: missing"),
    ("results.json", in_results(sha256=lambda was: was[::-1]), 20, "results.json: sha256 is"),
    ("results.json", in_results(epochs=lambda was: was + 1), 20, "results.json: epochs is 21"),
    ("results.json", in_results(history_last=lambda was: was | {"accuracy": 1.0}), 20, "history_last.accuracy is 1.0"),
    ("results.json", in_results(test=lambda was: was | {"accuracy": 0.99}), 20, "results.json: test.accuracy is 0.99"),
    ("results.json", lambda path: path.write_text("{"), 20, "not results of ours"),
]


@pytest.mark.more
def test_what_costs_no_training_is_compared_wherever_the_spots_are(monkeypatch):
    trained(**SPOTS)
    first = [br.reproduce("run", spot=1, progress=False) for _ in range(2)]
    assert all(found.ok for found in first), first
    assert {found.sha256 for found in first} == {br.load("run").params.sha256()}
    monkeypatch.setattr(reproducing.random.SystemRandom, "sample", lambda self, spots, count: spots[:count])  # 1-2
    for number, (name, change, differs, note) in enumerate(AT_REST):
        run = Path(shutil.copytree("run", f"run-{number}"))
        change(run / name)
        for spot in (1, None)[: 2 if number == 1 else 1]:
            found = br.reproduce(run, spot=spot, progress=False)
            assert (found.ok, found.differs) == (False, differs), (number, found)
            assert note in " ".join(found.notes), (number, found)


def test_what_ended_early_and_goes_on_is_kept_there():
    """Patience ends it at an epoch that has a link; with more patience it goes on."""
    how = {"dataset": "iris", "learning_rate": 2.0, "validation_size": 0.2, "epochs": 20, "keep_checkpoints": True}
    trained(**how, patience=2)
    ended = json.loads(Path("run", CERTIFICATE).read_text())["epochs"]
    assert ended < 16 and not Path("run", kept_name(ended)).exists()
    assert br.reproduce("run", spot=1, progress=False).ok
    assert cli.run(["train", "--resume", "run", "--patience", "20"]) == 0
    assert Path("run", kept_name(ended)).exists()
    assert br.reproduce("run", spot=99, progress=False).ok


def test_spots_find_other_data_and_say_what_is_missing(capsys):
    table()
    trained(dataset=None, data_path="t.csv", hidden=[3], keep_checkpoints=True)
    assert cli.run(["reproduce", "run", "--spot", "1"]) == 0
    assert "IDENTICAL where trained again: run, " in capsys.readouterr().out
    table(flipped=True)
    assert br.reproduce("run", spot=1, progress=False).differs == 1
    for what in (["run/certificate.json"], ["run"]):
        shutil.rmtree(Path("run", KEPT), ignore_errors=what == ["run/certificate.json"])
        assert cli.run(["reproduce", *what, "--spot", "1"]) == 2
        assert re.search("give the folder of the run|train with --keep-checkpoints", capsys.readouterr().err)
        Path("run", KEPT).mkdir(exist_ok=True)
    with pytest.raises(br.InvalidInput, match="nothing is proved from them in fast numerics"):
        trained("fast", numerics="fast", keep_checkpoints=True)
    assert not Path("fast").exists()


PAGE = Path(__file__).parent.parent / ".docs/reproduce.md"
GOLDEN = re.findall(r"\| `(\w+ --epochs .*)` \| `([0-9a-f]{64})` \|", PAGE.read_text("utf-8") if PAGE.exists() else "")


@pytest.mark.few(1)
@pytest.mark.parametrize(("line", "sha256"), GOLDEN)
def test_the_golden_hashes_of_the_page(line, sha256):
    line = f"train {line} --numerics reproducible --backend numba --run-dir run"
    assert cli.run(line.split()) == 0
    assert br.load("run").params.sha256() == sha256


def test_a_certificate_that_was_changed_is_noticed():
    trained()
    text = Path("run", CERTIFICATE).read_text()
    Certificate.checked(json.loads(text))
    Path("c.json").write_text(text.replace('"epochs": 40,\n "stopped"', '"epochs": 39,\n "stopped"'))
    with pytest.raises(br.InvalidInput, match="damaged: its contents are not those that its hash"):
        br.reproduce("c.json")


def test_a_certificate_of_other_kinds_is_refused(tmp_path):
    """Its hash is made anew by whoever changed it."""
    trained()
    content = json.loads(Path("run", CERTIFICATE).read_text())
    del content["sha256"]
    changes = [("data", "x", "the section data"), ("training", {"start": "x" * 300}, "is too long for the name")]
    for section, value, said in changes:
        told = {**content, "configuration": {**content["configuration"], section: value}}
        Path("c.json").write_text(json.dumps({**told, "sha256": hashed(told)}))
        with pytest.raises(br.InvalidInput, match=said):
            br.reproduce("c.json")
