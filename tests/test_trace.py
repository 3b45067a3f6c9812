"""Tracing: a record is what `br.trace` gives, training stays the same to the bit, and files survive what happens."""

import contextlib
import csv
import json
import os
import re
import resource
import signal
import struct
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from helpers import label, networks, parameters, samples

import backprop_ref as br
from backprop_ref.cli import run
from backprop_ref.network.model_file import load_all
from backprop_ref.traces.file import FILE, open_trace
from backprop_ref.traces.passes import passes
from backprop_ref.traces.recorder import MOST_BYTES, MOST_RECORDS, Recorder
from backprop_ref.traces.sinks import MOST_COLUMNS

PROGRAM = [sys.executable, "-c", "from backprop_ref.cli import main; main()"]
NETWORK = br.Network([3, 5, 4], ["tanh", "softmax"], "ce")
QUANTITIES = ("z", "a", "delta", "dW", "db")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Each test in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def same(first, second):
    """Whether two arrays have the same shape, dtype and bits."""
    first, second = np.ascontiguousarray(first), np.ascontiguousarray(second)
    return (first.shape, first.dtype, first.tobytes()) == (second.shape, second.dtype, second.tobytes())


def parameters_of(trace, i):
    layers = range(trace.network.n_layers)
    return br.Parameters.from_arrays([trace[f"W{n}"][i] for n in layers], [trace[f"b{n}"][i] for n in layers])


def check_records(trace):
    """Each record is one pass of the definition's."""
    for i in range(len(trace)):
        seen = br.trace(trace.network, parameters_of(trace, i), trace.x, trace.y, numerics=trace.numerics)
        for name in QUANTITIES:
            for layer in range(trace.network.n_layers):
                assert same(trace[f"{name}{layer}"][i], getattr(seen, name)[layer]), (i, name, layer)


def train(folder=None, epochs=7, batch=11, dtype="float64", **options):
    """A short run, traced if there is a folder; options for the recorder begin with trace_."""
    x, y = samples(NETWORK, batch, dtype=dtype)
    tracing = {name.removeprefix("trace_"): options.pop(name) for name in list(options) if name.startswith("trace_")}
    recorder = None if folder is None else Recorder(folder, **tracing)
    return br.train(
        NETWORK, parameters(NETWORK, dtype=dtype), x, y, epochs=epochs, **{"batch_size": 5, **options}, trace=recorder
    )


def rows_of(path):
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


# --- what is recorded ---


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("network", list(networks()), ids=label)
def test_passes_over_many_epochs_have_the_bits_of_the_pairs(network, dtype):
    x, y = samples(network, 5, dtype=dtype)
    params = [parameters(network, seed, dtype) for seed in range(1, 5)]
    params[1].flat[:] *= 50.0
    backend = br.get_backend("numpy", "reproducible")
    made = passes(backend, network, np.array([p.flat for p in params]), x, y)
    for epoch, each in enumerate(params):
        wanted = br.trace(network, each, x, y, backend=backend)
        for name in QUANTITIES:
            for layer in range(network.n_layers):
                got = made[name][layer][..., epoch]
                assert same(got.T if name in {"z", "a", "delta"} else got, getattr(wanted, name)[layer])


@pytest.mark.few(6)
@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("optimizer", [br.SGD(0.1, 0.9), br.Adam(0.01)], ids=repr)
def test_tracing_changes_no_bit_of_training(backend, optimizer, every, folder):
    plain = train(backend=backend, optimizer=optimizer)
    traced = train(folder, backend=backend, optimizer=optimizer, trace_every=every, trace_samples=[4, 0, 10])
    assert traced.params.sha256() == plain.params.sha256()
    trace = open_trace(folder)
    assert trace["epoch"].tolist() == [0, *range(every, 7, every), 7]
    assert trace["iteration"].tolist() == [3 * epoch for epoch in trace["epoch"]]
    for name, column in plain.history.items():
        np.testing.assert_array_equal(traced.history[name], column)
        np.testing.assert_array_equal(trace[name][1:], column[trace["epoch"][1:] - 1])
    assert parameters_of(trace, -1).sha256() == plain.params.sha256()
    assert parameters_of(trace, 0).sha256() == parameters(NETWORK).sha256()
    x, y = samples(NETWORK, 11)
    np.testing.assert_array_equal(trace.x, x[[4, 0, 10]])
    np.testing.assert_array_equal(trace.y, y[[4, 0, 10]])
    if backend.numerics == "reproducible":
        check_records(trace)


def test_epoch_0_is_the_initial_state(folder):
    x, y = samples(NETWORK, 11)
    train(folder, validation=(x[:3], y[:3]))
    trace, whole = open_trace(folder), br.evaluate(NETWORK, parameters(NETWORK), x, y)
    assert (trace["loss"][0], trace["accuracy"][0], trace["learning_rate"][0]) == (
        whole["loss"],
        whole["accuracy"],
        0.0,
    )
    assert trace["val_loss"][0] == br.evaluate(NETWORK, parameters(NETWORK), x[:3], y[:3])["loss"]


@pytest.mark.few(1)
@pytest.mark.parametrize("specialize", ["never", "always"])
def test_compiled_training_leaves_the_parameters_of_each_epoch(specialize):
    from backprop_ref.backends import numba_trainer
    from backprop_ref.backends.base import Snapshots
    from backprop_ref.training.pairs import PairsTrainer

    network = br.Network([3, 2], ["sigmoid"], "sse")
    x, y = samples(network, 11)
    orders, rates, rows = np.arange(77).reshape(7, 11) % 11, [0.1] * 7, np.array([-1, 0, -1, -1, 1, -1, 2])
    found = []
    for maker in (
        PairsTrainer(br.get_backend("numpy", "reproducible"), network, br.SGD(0.1), 5, 1, "accuracy"),
        numba_trainer.create(network, br.SGD(0.1), "float64", 5, 1, "accuracy", 1, specialize=specialize),
    ):
        params, snapshots = parameters(network), Snapshots(np.zeros((3, network.n_parameters)), rows)
        maker.run(params, {}, x, y, orders, rates, snapshots=snapshots)
        found.append((params.sha256(), snapshots.flats))
    assert found[0][0] == found[1][0]
    assert same(found[0][1], found[1][1])
    assert same(found[0][1][2], params.flat)
    with pytest.raises(ValueError, match="do not fit"):
        maker.run(params, {}, x, y, orders, rates, snapshots=Snapshots(np.zeros((2, network.n_parameters)), rows))


def test_a_run_that_diverges_is_traced_up_to_there(folder):
    network = br.Network([3, 5, 2], ["sigmoid", "linear"], "mse")
    with pytest.raises(br.TrainingDiverged) as caught:
        x, y = samples(network, 7)
        recorder = Recorder(folder, ["binary", "csv"], samples=[0], every=3)
        br.train(network, parameters(network), x, y, epochs=500, optimizer=br.SGD(1e3), trace=recorder)
    trace = open_trace(folder)
    last = caught.value.result.epochs
    assert trace["epoch"].tolist() == [*range(0, last, 3), last]
    assert [int(row["epoch"]) for row in rows_of(folder / "trace.csv")] == trace["epoch"].tolist()
    assert parameters_of(trace, -1).sha256() == caught.value.result.params.sha256()


def test_early_stopping_ends_the_trace_with_the_last_epoch(folder):
    result = train(folder, epochs=500, patience=2, min_delta=0.1, trace_every=100)
    assert open_trace(folder)["epoch"].tolist() == [0, *range(100, result.epochs, 100), result.epochs]


def test_the_samples_are_the_first_8_or_those_that_there_are(folder):
    train(folder / "a", batch=5)
    train(folder / "b", batch=13)
    assert [open_trace(folder / name).samples for name in "ab"] == [list(range(5)), list(range(8))]


@pytest.mark.more
def test_a_binary_trace_is_thinned_and_no_other(folder):
    for name, kinds in (("a", ["binary"]), ("b", ["binary", "csv"])):
        train(folder / name, epochs=2 * MOST_RECORDS + 1, batch_size=None, trace_kinds=kinds, trace_samples=[0])
    thin, full = open_trace(folder / "a"), open_trace(folder / "b")
    assert (thin.every, full.every, len(full)) == (3, 1, 2 * MOST_RECORDS + 2)
    assert thin["epoch"][-1] == 2 * MOST_RECORDS + 1
    assert len(rows_of(folder / "b/trace.csv")) == len(full)


def test_a_wide_network_is_thinned_by_bytes(folder):
    wide = br.Network([200, 1000, 10], ["relu", "softmax"], "ce")
    x, y = samples(wide, 1)
    recorder, columns = Recorder(folder), ["loss", "accuracy", "learning_rate"]
    of_run = {"numerics": "fast", "metric": "accuracy", "columns": columns, "batches": 1}
    recorder.close(recorder.start(wide, x, y, **of_run, epochs=900, done=0, resume=False))
    trace = open_trace(folder)
    assert trace.every > 1
    assert 900 / trace.every * trace.records.dtype.itemsize <= MOST_BYTES


# --- CSV ---

ONE_HIDDEN = """
epoch loss accuracy configuration iteration learning_rate
z_hidden_0 z_hidden_1 z_output_0 a_hidden_0 a_hidden_1 a_output_0
delta_hidden_0 delta_hidden_1 delta_output_0
w_input_hidden_0_0 w_input_hidden_0_1 w_hidden_output_0_0 w_hidden_output_1_0
b_input_hidden_0 b_input_hidden_1 b_hidden_output_0
dw_input_hidden_0_0 dw_input_hidden_0_1 dw_hidden_output_0_0 dw_hidden_output_1_0
db_input_hidden_0 db_input_hidden_1 db_hidden_output_0
"""


def small(sizes, folder, **options):
    network = br.Network(sizes, ["sigmoid"] * (len(sizes) - 1), "bce")
    x, y = samples(network, 3)
    y[:] = y > 0.5
    br.train(network, parameters(network), x, y, epochs=2, trace=Recorder(folder, ["csv", "binary"], **options))
    return rows_of(folder / "trace.csv"), open_trace(folder)


def test_columns_with_one_hidden_layer(folder):
    rows, _ = small([1, 2, 1], folder, samples=[0])
    assert list(rows[0]) == ONE_HIDDEN.split()


@pytest.mark.parametrize(
    ("sizes", "names"),
    [
        ([2, 1], {"z_output_0", "w_input_output_1_0", "b_input_output_0"}),
        ([2, 1, 3, 1], {"z_hidden1_0", "a_hidden2_2", "w_input_hidden1_1_0", "dw_hidden1_hidden2_0_2"}),
    ],
)
def test_columns_of_other_depths(folder, sizes, names):
    rows, _ = small(sizes, folder, samples=[1, 2])
    assert names <= set(rows[0])
    assert [(row["epoch"], row["sample"]) for row in rows] == [(e, s) for e in "012" for s in "12"]


@pytest.mark.parametrize("chosen", [[0], [2, 0]])
def test_csv_reads_back_as_the_same_numbers(folder, chosen):
    rows, trace = small([2, 3, 1], folder, samples=chosen)
    for place, row in enumerate(rows):
        i, s = divmod(place, len(chosen))
        assert int(row.get("sample", chosen[0])) == chosen[s]
        assert row["configuration"] == folder.name
        assert float(row["loss"]) == trace["loss"][i]
        for j in range(3):
            assert float(row[f"z_hidden_{j}"]) == trace["z0"][i, s, j]
            assert float(row[f"delta_hidden_{j}"]) == trace["delta0"][i, s, j]
            assert float(row[f"w_hidden_output_{j}_0"]) == trace["W1"][i, j, 0]
            assert float(row[f"dw_input_hidden_1_{j}"]) == trace["dW0"][i, 1, j]
        assert float(row["db_hidden_output_0"]) == trace["db1"][i, 0]


def test_digits_of_csv(folder):
    rows, trace = small([2, 3, 1], folder, samples=[0], digits=17)
    assert rows[1]["z_hidden_0"] == f"{trace['z0'][1, 0, 0]:.17g}"
    assert rows[1]["loss"] == f"{trace['loss'][1]:.17g}"
    shortest, _ = small([2, 3, 1], folder / "b", samples=[0])
    assert shortest[1]["z_hidden_0"] == repr(float(trace["z0"][1, 0, 0]))


def test_float32_has_the_digits_of_float32(folder):
    train(folder, dtype="float32", trace_kinds=["csv", "binary"], trace_samples=[3])
    trace, rows = open_trace(folder), rows_of(folder / "trace.csv")
    assert trace["z0"].dtype == np.float32
    assert [row["z_hidden_1"] for row in rows] == [str(z) for z in trace["z0"][:, 0, 1]]


# --- Parquet ---


def test_parquet_holds_what_csv_holds(folder):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed; install 'backprop-ref[parquet]'")
    from pyarrow import parquet

    train(folder, trace_kinds=["parquet", "csv"], trace_samples=[1, 3])
    table, rows = parquet.read_table(folder / "trace.parquet").to_pydict(), rows_of(folder / "trace.csv")
    assert list(table) == list(rows[0])
    for name, column in table.items():
        assert [str(value) for value in column] == [row[name] for row in rows]


def test_without_pyarrow_there_is_one_clear_line(folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert run(["train", "xor", "--epochs", "1", "--trace", "parquet"]) == 2
    assert "pip install 'backprop-ref[parquet]'" in capsys.readouterr().err
    assert not list(Path("runs").iterdir())


# --- the binary form ---


def test_the_first_line_says_enough_to_read_it_without_us(folder):
    train(folder, trace_samples=[2])
    content = (folder / FILE).read_bytes()
    line, _, records = content.partition(b"\n")
    about = json.loads(line)
    assert (len(line) + 1) % 64 == 0
    assert len(records) == 8 * about["record_bytes"]
    kinds = {"<i8": "q", "<f8": "d"}
    layout = "<" + "".join(f"{int(np.prod(shape, initial=1))}{kinds[kind]}" for _, kind, shape in about["fields"])
    assert struct.calcsize(layout) == about["record_bytes"]
    assert struct.unpack_from(layout, records, 3 * about["record_bytes"])[0] == 3


def test_a_torn_record_is_left_out(folder):
    train(folder)
    path, size = folder / FILE, (folder / FILE).stat().st_size
    record = open_trace(folder).records.dtype.itemsize
    for cut, whole in ((1, 7), (record - 1, 7), (record, 7), (record + 1, 6), (8 * record - 1, 0), (8 * record, 0)):
        os.truncate(path, size - cut)
        trace = open_trace(path)
        assert len(trace) == whole
        assert trace["epoch"].tolist() == list(range(whole))


@pytest.mark.parametrize("content", [b"", b"x", b"{}\n", b"[1]\n", b'{"format": "other"}\n', bytes(1000)])
def test_what_is_no_trace(folder, content):
    (folder / FILE).write_bytes(content)
    with pytest.raises(br.InvalidInput, match="not a binary trace of ours"):
        open_trace(folder)


def test_no_trace_at_all(folder):
    for path in (folder, folder / FILE, folder / "none"):
        with pytest.raises(br.InvalidInput, match="no binary trace"):
            open_trace(path)


# --- files that are there, and runs that are killed ---


@pytest.mark.parametrize("kind", ["binary", "csv", "parquet"])
def test_nothing_is_overwritten(folder, kind):
    if kind == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed; install 'backprop-ref[parquet]'")
    train(folder, trace_kinds=[kind])
    before = {path: path.stat() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(br.InvalidInput, match="exists already, and nothing is overwritten"):
        train(folder, trace_kinds=[kind])
    assert all(path.stat().st_mtime_ns == stat.st_mtime_ns for path, stat in before.items())


def start(*arguments):
    return subprocess.Popen([*PROGRAM, *arguments], stdout=subprocess.PIPE, text=True)


RUN = ["xor", "--numerics", "reproducible", "--trace-every", "50", "--batch-size", "full"]


@pytest.mark.few(1)
@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT], ids=lambda number: number.name)
def test_a_stopped_run_is_readable_and_goes_on_as_if_never_stopped(folder, stop):
    """Parquet among the files where pyarrow is installed."""
    path, kinds = Path("a/run"), "binary,csv" + (",parquet" if find_spec("pyarrow") else "")
    training = start("train", *RUN, "--trace", kinds, "--epochs", "100000000", "--run-dir", str(path))
    while not (path / "checkpoint.safetensors").exists():
        assert training.poll() is None
        time.sleep(0.05)
    growing = len(open_trace(path))
    while len(open_trace(path)) == growing:
        assert training.poll() is None
        time.sleep(0.05)
    training.send_signal(stop)
    training.communicate()
    trace = open_trace(path)
    epochs = trace["epoch"].tolist()
    assert epochs[:-1] == list(range(0, 50 * (len(trace) - 1), 50))
    done = load_all(path)[2]["progress"]["epoch"]
    assert epochs[-1] == done if stop == signal.SIGINT else epochs[-1] >= done - done % 50
    more = ["--epochs", str(done + 77)]
    assert run(["train", "--resume", str(path), *more]) == 0
    assert run(["train", *RUN, "--trace", kinds, "--run-dir", "b/run", *more]) == 0
    for name in (FILE, "trace.csv"):
        assert (path / name).read_bytes() == Path("b/run", name).read_bytes()
    if "parquet" in kinds:
        from pyarrow import parquet

        first, second = (parquet.read_table(Path(name, "run/trace.parquet")) for name in "ab")
        assert first.equals(second)


@pytest.mark.more
def test_the_parts_of_a_killed_run_are_closed_parquet_files(folder):
    """SIGKILL in the middle: every part is whole, together they are epochs without a gap, and the run goes on."""
    pytest.importorskip("pyarrow", reason="pyarrow is not installed; install 'backprop-ref[parquet]'")
    from pyarrow import parquet

    options = ["encoder", "--trace", "parquet", "--trace-samples", "0,5", "--batch-size", "1", "--backend", "numpy"]
    training = start("train", *options, "--epochs", "100000000", "--run-dir", "run")
    while len(list(Path("run").glob("trace.parquet/part-*.parquet"))) < 3:
        assert training.poll() is None
        time.sleep(0.05)
    training.send_signal(signal.SIGKILL)
    training.communicate()
    parts = sorted(Path("run/trace.parquet").glob("part-*.parquet"))
    epochs = [epoch for part in parts for epoch in parquet.ParquetFile(part).read(["epoch"])["epoch"].to_pylist()]
    assert epochs == [epoch for epoch in range(len(epochs) // 2) for _ in range(2)]
    done = load_all("run")[2]["progress"]["epoch"]
    assert 0 < done <= epochs[-1]
    Path("run/trace.parquet/.part-00099.parquet.1.0123abcd").write_bytes(b"torn")  # as if killed while it wrote
    assert run(["train", "--resume", "run", "--epochs", str(done + 3)]) == 0
    table = parquet.read_table("run/trace.parquet")
    assert table["epoch"].to_pylist() == [epoch for epoch in range(done + 4) for _ in range(2)]
    assert table["sample"].to_pylist() == [0, 5] * (done + 4)
    assert not list(Path("run/trace.parquet").glob(".*"))


@pytest.mark.parametrize("kind", ["binary", "csv", "parquet"])
def test_a_trace_keeps_the_name_it_began_with(folder, kind):
    """A folder that is renamed before its run goes on: the configuration is the same in every line."""
    if kind == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed; install 'backprop-ref[parquet]'")
    both = ["--trace", f"{kind}", "--backend", "numpy"]
    assert run(["train", "xor", "--epochs", "3", *both, "--run-dir", "first"]) == 0
    Path("first").rename("second")
    assert run(["train", "--resume", "second", "--epochs", "6"]) == 0
    if kind == "binary":
        assert open_trace("second").configuration == "first"
        return
    if kind == "csv":
        found = [row["configuration"] for row in rows_of("second/trace.csv")]
    else:
        from pyarrow import parquet

        found = parquet.read_table("second/trace.parquet")["configuration"].to_pylist()
    assert found == ["first"] * 7 * 4


@pytest.mark.more
@pytest.mark.parametrize(
    "options",
    [
        ["xor", "--epochs", "600", "--numerics", "reproducible"],
        ["iris", "--epochs", "30", "--activation", "tanh"],
        ["encoder", "--epochs", "300", "--dtype", "float32", "--trace-samples", "0,4"],
        ["encoder", "--epochs", "400", "--trace-digits", "6", "--trace-every", "2"],
    ],
    ids=" ".join,
)
def test_the_size_of_csv_is_said_beforehand(capsys, monkeypatch, options):
    """Where it is a lot; "about" is to mean within an eighth."""
    from backprop_ref.cli import train

    said = re.compile(r"the trace as CSV will take about ([\d,]+) MB; less with --trace-every N")
    assert run(["train", *options, "--trace", "csv", "--run-dir", "quiet"]) == 0
    assert not said.search(capsys.readouterr().err)
    monkeypatch.setattr(train, "MUCH_CSV_BYTES", 0)
    assert run(["train", *options, "--trace", "csv", "--run-dir", "r"]) == 0
    about = int(said.search(capsys.readouterr().err)[1])
    assert abs(about - Path("r/trace.csv").stat().st_size / 1e6) <= about / 8 + 0.5


@pytest.mark.more
def test_a_sweep_says_the_size_of_all_its_csv(capsys, monkeypatch):
    from backprop_ref.cli import train

    monkeypatch.setattr(train, "MUCH_CSV_BYTES", 1e6)
    grid = ["--seeds", "1-5", "--widths", "3,4", "--trace", "csv", "--trace-samples", "0", "--backend", "numpy"]
    assert run(["sweep", "--dataset", "xor", "--epochs", "200", *grid, "--out", "s"]) == 0
    size = sum(path.stat().st_size for path in Path("s").rglob("trace.csv")) / 1e6
    about = int(re.search(r"will take about (\d+) MB", capsys.readouterr().err)[1])
    assert abs(about - size) <= size / 8 + 0.5


@contextlib.contextmanager
def files_up_to(size):
    """The system refuses to let a file grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.more
def test_a_full_disk_ends_training_with_what_was_reached(folder):
    said = r"trace.bin: cannot be written \(File too large\)"
    with files_up_to(50_000), pytest.raises(br.InvalidInput, match=said) as caught:
        train(folder / "t", run_dir=folder / "r", epochs=5000, trace_every=1)
    epochs = open_trace(folder / "t")["epoch"].tolist()
    assert 0 < caught.value.result.epochs == load_all(folder / "r")[2]["progress"]["epoch"] == epochs[-1]
    train(folder / "t", run_dir=folder / "r", epochs=5000, trace_every=1, resume=True)
    assert open_trace(folder / "t")["epoch"].tolist() == list(range(5001))


def test_a_run_that_goes_on_for_more_epochs_and_fails_still_wants_them(folder):
    """Its configuration is the one that its checkpoint was made with."""
    assert run(["train", "xor", "--epochs", "100", "--trace", "csv", "--backend", "numpy", "--run-dir", "r"]) == 0
    with files_up_to(2 * Path("r/trace.csv").stat().st_size):
        assert run(["train", "--resume", "r", "--epochs", "400"]) == 2
    assert 100 < load_all("r")[2]["progress"]["epoch"] < 400
    assert run(["train", "--resume", "r"]) == 0
    assert [row["epoch"] for row in rows_of("r/trace.csv")] == [str(e) for e in range(401) for _ in range(4)]


def test_a_callback_sees_an_epoch_that_is_recorded(folder):
    """Parameters, history and trace are of one epoch, the best among them."""
    x, y = samples(NETWORK, 11)
    validation, seen = (x[:3], y[:3]), []

    def look(at):
        trace = open_trace(folder)
        assert trace["epoch"][-1] == at.epoch
        assert parameters_of(trace, -1).sha256() == at.params.sha256()
        assert {name: trace[name][-1] for name in at.values} == at.values
        assert br.evaluate(NETWORK, at.params, *validation)["loss"] == at.values["val_loss"]
        seen.append(at.params.sha256())

    result = train(folder, validation=validation, patience=5, callback=look, optimizer=br.SGD(1.5))
    assert len(seen) == result.epochs
    assert seen[result.best_epoch - 1] == result.params.sha256()


@pytest.mark.parametrize("epoch", range(1, 8))
@pytest.mark.few(3)
def test_a_callback_that_fails_leaves_a_run_to_resume(folder, epoch):
    x, y = samples(NETWORK, 11)
    how = {"validation": (x[:3], y[:3]), "patience": 5, "optimizer": br.SGD(0.3), "trace_kinds": ["binary", "csv"]}

    def fail(at):
        if at.epoch == epoch:
            raise RuntimeError("mine")

    whole = train(folder / "a/run", run_dir=folder / "a/run", **how)
    with pytest.raises(RuntimeError, match="mine"):
        train(folder / "b/run", run_dir=folder / "b/run", callback=fail, **how)
    assert load_all(folder / "b/run")[2]["progress"]["epoch"] == epoch
    resumed = train(folder / "b/run", run_dir=folder / "b/run", resume=True, **how)
    assert (resumed.params.sha256(), resumed.best_epoch) == (whole.params.sha256(), 4)
    for name in (FILE, "trace.csv", "history.csv"):
        assert (folder / "a/run" / name).read_bytes() == (folder / "b/run" / name).read_bytes()


def test_a_trace_that_would_get_a_gap_is_refused_and_stays(folder):
    how = {"run_dir": folder, "trace_kinds": ["csv"]}
    train(folder, **how)
    before = (folder / "trace.csv").read_bytes()
    with pytest.raises(br.InvalidInput, match=r"trace.csv: not each 2\. epoch up to 7 is in it; move it away"):
        train(folder, epochs=9, resume=True, trace_every=2, **how)
    (folder / "trace.csv").write_bytes(b"".join(before.splitlines(keepends=True)[:-8]))
    with pytest.raises(br.InvalidInput, match=r"trace.csv: not each 1\. epoch up to 7"):
        train(folder, epochs=9, resume=True, **how)


def test_a_kind_that_is_added_holds_no_epoch_twice(folder):
    """Neither the first nor the last, which are written by themselves."""
    train(folder, epochs=0, run_dir=folder)
    both = {"run_dir": folder, "resume": True, "trace_kinds": ["binary", "csv"], "trace_samples": [0]}
    with pytest.raises(br.InvalidInput, match="the trace of another run"):
        train(folder, epochs=3, **both)
    (folder / FILE).unlink()
    train(folder, epochs=3, **both)
    (folder / "trace.csv").unlink()
    train(folder, epochs=3, **both)
    assert open_trace(folder)["epoch"].tolist() == [0, 1, 2, 3]
    assert [row["epoch"] for row in rows_of(folder / "trace.csv")] == ["3"]


def test_a_run_of_no_epochs_goes_on(folder):
    run(["train", "xor", "--epochs", "0", "--trace", "binary,csv", "--run-dir", "r"])
    assert open_trace("r")["epoch"].tolist() == [0]
    run(["train", "--resume", "r", "--epochs", "3"])
    assert open_trace("r")["epoch"].tolist() == [0, 1, 2, 3]
    assert [row["epoch"] for row in rows_of("r/trace.csv")] == [e for e in "0123" for _ in range(4)]


@pytest.mark.parametrize(
    "options",
    [
        {"kinds": []},
        {"kinds": ["xml"]},
        {"samples": []},
        {"samples": [11]},
        {"samples": [-1]},
        {"every": 0},
        {"every": 1.5},
        {"digits": 18},
        {"digits": 0},
    ],
    ids=repr,
)
def test_what_cannot_be_recorded(folder, options):
    with pytest.raises(br.InvalidInput):
        train(folder, **{f"trace_{name}": value for name, value in options.items()})


# --- the command ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trace-every", "2"], "trace.every (--trace-every): nothing is traced"),
        (["--trace-samples", "0"], "trace.samples (--trace-samples): nothing is traced"),
        (["--trace", "xml"], "--trace: 'xml' is not allowed; binary, csv or parquet is needed"),
        (["--trace", "csv", "--trace-samples", "0,4"], "there is no sample 4; the rows to train on are 0 to 3"),
        (["--trace", "csv", "--trace-digits", "18"], "--trace-digits"),
        (["--trace", "csv", "--hidden-size", "200,200"], f"more than {MOST_COLUMNS:,}; trace it as binary"),
    ],
)
def test_mistakes_get_one_clear_line(capsys, folder, arguments, message):
    assert run(["train", "xor", "--epochs", "1", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in re.sub(r"\s+", " ", error)
    assert error.count("\n") == 1
    assert not list(Path().glob("runs/*"))


def test_from_the_command_line_and_a_file(capsys, folder):
    Path("c.yaml").write_text("trace: {sinks: [binary, csv], every: 4, samples: [2, 0], digits: 6}\n")
    assert run(["train", "xor", "--epochs", "9", "--config", "c.yaml", "--run-dir", "r"]) == 0
    trace = open_trace("r")
    assert (trace.samples, trace["epoch"].tolist(), trace.configuration) == ([2, 0], [0, 4, 8, 9], "r")
    assert rows_of("r/trace.csv")[3]["z_output_0"] == f"{trace['z1'][1, 1, 0]:.6g}"


@pytest.mark.more
def test_a_disk_that_is_full_leaves_what_was_written(tmp_path):
    """The system refuses to let a file grow, in the middle of the first second."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    options = ["--epochs", "20000", "--trace", "csv", "--backend", "numpy", "--run-dir", "run"]
    how = {"cwd": tmp_path, "capture_output": True, "text": True, "preexec_fn": limit}
    done = subprocess.run([*PROGRAM, "train", "xor", *options], check=False, **how)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert len((tmp_path / "run/trace.csv").read_text().splitlines()) > 50


@pytest.mark.parametrize("tail", ["zeros", "half a record", "garbage"])
def test_a_tail_that_was_never_on_the_disk_is_no_record(tmp_path, tail):
    """What may be left behind the last synced byte when the power fails; a run that goes on writes over it."""
    network = br.Network([2, 1], ["sigmoid"], "bce")
    x, y = [[0.0, 1.0], [1.0, 1.0]], [[1.0], [0.0]]

    def trained(folder, epochs, resume=False):
        trace = Recorder(folder, ["binary", "csv"], samples=[0], every=1)
        br.train(network, network.init(), x, y, epochs=epochs, run_dir=folder, trace=trace, resume=resume)

    trained(tmp_path / "whole", 6)
    trained(tmp_path / "cut", 3)
    record = open_trace(tmp_path / "cut").records.itemsize
    for name in (FILE, "trace.csv"):
        more = {
            "zeros": bytes(3 * record),
            "half a record": bytes([9]) * (record // 2),
            "garbage": b"\x00\xff4,\n" * 99,
        }
        with (tmp_path / "cut" / name).open("ab") as file:
            file.write(more[tail])
    if tail == "zeros":
        assert open_trace(tmp_path / "cut")["epoch"].tolist() == [0, 1, 2, 3]
    trained(tmp_path / "cut", 6, resume=True)
    assert (tmp_path / "cut" / FILE).read_bytes().replace(b'"cut"', b'"whole"')[-6 * record :] == (
        (tmp_path / "whole" / FILE).read_bytes()[-6 * record :]
    )
    lines = (tmp_path / "cut/trace.csv").read_text().replace(",cut,", ",whole,")
    assert lines == (tmp_path / "whole/trace.csv").read_text()
