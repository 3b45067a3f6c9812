"""Data in a folder, larger than memory: read in blocks, and the same bits however they are read, and by how many."""

import datetime
import decimal
import itertools
import json
import re
import tracemalloc
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from test_ranks import on_threads

import backprop_ref as br
from backprop_ref import cli, mlp
from backprop_ref.blocks import looking, order
from backprop_ref.blocks.order import Stripes, pieces, visits
from backprop_ref.errors import InvalidInput
from backprop_ref.random import Stream
from backprop_ref.ranks.ranks import Ranks
from backprop_ref.training import fit
from backprop_ref.training.ctrl_c import CtrlC, Interrupted

ROWS, FEATURES, BLOCK = 331, 3, 40
COLOURS = np.array(["red", "green", "blue"])


def data():
    """x, float32, and the class of each row."""
    stream = Stream(7, "data")
    x = stream.normal(ROWS * FEATURES).reshape(ROWS, FEATURES) * [1.0, 20.0, 0.1] + [0.0, 5.0, -3.0]
    return x.astype(np.float32), np.argmax(x + stream.normal(ROWS * 3).reshape(ROWS, 3), axis=1)


def table(x, target, lists=False):
    if lists:
        features = {"x": pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), x.shape[1])}
    else:
        features = {f"x{i}": pa.array(column) for i, column in enumerate(x.T)}
    return pa.table({**features, "target": pa.array(target)})


def write(folder, kind, x, target, files=2, lists=False, group=BLOCK):
    """A folder of data, in files that end where blocks do."""
    folder.mkdir(parents=True)
    if kind == "npy":
        np.save(folder / "X.npy", x)
        np.save(folder / "y.npy", target)
        return folder
    cuts = [0, *(BLOCK * 3 * i for i in range(1, files)), len(x)]
    for number, (start, stop) in enumerate(pairwise(cuts)):
        part, path = table(x[start:stop], target[start:stop], lists), folder / f"part-{number}.{kind}"
        if kind == "parquet":
            pa.parquet.write_table(part, path, row_group_size=group)
        else:
            with pa.ipc.new_file(path, part.schema) as file:
                file.write_table(part, max_chunksize=group)
    return folder


HOW = {"epochs": 3, "batch_size": 17, "shards": 5, "optimizer": br.Adam(0.01), "threads": 1}


def network(outputs=3):
    return br.Network([FEATURES, 4, outputs], ["tanh", "softmax"], "cross_entropy")


def trained(folder, comm=None, readers=1, backend="numpy", **more):
    """Weights and history of a training on a folder."""
    opened = br.open_folder(folder, block_rows=BLOCK, comm=comm)
    parts = opened.parts(test_size=0.2, validation_size=0.3, readers=readers)
    told = {**HOW, "validation": parts["validation"], "backend": backend, "numerics": "reproducible", **more}
    result = br.train(network(), network().init(), parts["train"], comm=comm, **told)
    return result.params.sha256(), {name: column.tolist() for name, column in result.history.items()}


@pytest.mark.parametrize(("rows", "batch", "shards"), [(331, 17, 5), (30, 7, 1), (5, 7, 3), (64, 8, 8), (9, 2, 4)])
def test_an_order_has_every_row_once_and_each_shard_its_own_stripe(rows, batch, shards):
    stripes, blocks = Stripes(rows, batch, shards), [4] * (rows // 4) + [rows % 4]
    starts, cut = np.cumsum([0, *blocks]), pieces(stripes.lengths, blocks)
    seen, first = np.zeros(rows, int), 0
    for shard, (stripe, length) in enumerate(zip(cut, stripes.lengths, strict=True)):
        order = [starts[at.block] + at.start + rows for at, rows in visits(stripe, shard, key=3)]
        found = np.concatenate(order) if order else np.empty(0, int)
        assert sorted(found) == list(range(first, first + length))
        assert not length > 9 or (found != np.arange(first, first + length)).any()
        seen[found] += 1
        first += length
        places = [place + start for start, stop in stripes.windows for place in stripes.places(start, stop, shard)]
        wanted = []
        for start in range(0, rows, batch):
            own = mlp.cut(min(batch, rows - start), shards)[shard : shard + 1]
            wanted += [start + row for part in own for row in range(part.start, part.stop)]
        assert places == wanted
    assert (seen == 1).all()


def test_a_training_on_blocks_has_the_weights_of_one_in_memory_in_that_order(tmp_path):
    """In memory, with the order of each epoch written out."""
    x, target = data()
    folder = br.open_folder(write(tmp_path / "folder", "parquet", x, target), block_rows=BLOCK)
    part = folder.parts(test_size=0.0)["train"]
    mean = x.astype(float).mean(axis=0)
    assert np.allclose(part.preprocessing.shift, mean) and part.shape == (ROWS, FEATURES)
    wide, y = part.preprocessing.x(x.astype(float)), part.preprocessing.y(target)

    class Written(Stream):
        def permutations(self, count, n):
            orders = []
            for key in self.words(count).tolist():
                stripes, starts = Stripes(ROWS, 17, 5), np.cumsum([0, *(block.rows for block in folder.blocks)])
                of_stripe = [
                    np.concatenate([starts[at.block] + at.start + rows for at, rows in visits(stripe, shard, key)])
                    for shard, stripe in enumerate(pieces(stripes.lengths, np.diff(starts).tolist()))
                ]
                order = []
                for start in range(0, ROWS, 17):
                    for shard, rows in enumerate(mlp.cut(min(17, ROWS - start), 5)):
                        order += of_stripe[shard][: rows.stop - rows.start].tolist()
                        of_stripe[shard] = of_stripe[shard][rows.stop - rows.start :]
                orders.append(order)
            return np.array(orders)

    first = network().init()
    wanted = br.train(network(), first, wide, y, shuffle=Written(1, "shuffle"), **HOW)
    found = br.train(network(), first, part, **HOW)
    assert found.params.sha256() == wanted.params.sha256()
    assert np.allclose(found.history["loss"], wanted.history["loss"], rtol=1e-14)
    assert (found.history["accuracy"] == wanted.history["accuracy"]).all()
    plain = br.train(network(), first, part, shuffle=False, **{**HOW, "shards": 1})
    in_order = br.train(network(), first, wide, y, shuffle=False, **{**HOW, "shards": 1})
    assert plain.params.sha256() == in_order.params.sha256() != found.params.sha256()


def test_one_hash_whatever_the_files_the_readers_and_the_ranks(tmp_path):
    x, target = data()
    one = trained(write(tmp_path / "parquet", "parquet", x, COLOURS[target]), dropout=0.2)
    assert one == trained(write(tmp_path / "arrow", "arrow", x, COLOURS[target], lists=True), readers=3, dropout=0.2)
    assert one == trained(tmp_path / "parquet", readers=0, dropout=0.2)
    for size in (2, 3, 5):
        found, aborted = on_threads(size, lambda comm: trained(tmp_path / "parquet", comm, dropout=0.2))
        assert found == [one] * size and not aborted
    assert one[0] != trained(tmp_path / "parquet", dropout=0.2, seed=2)[0]


@pytest.mark.parametrize("backend", ["numpy", pytest.param("numba", marks=pytest.mark.more)])
def test_an_epoch_that_is_stopped_goes_on_after_the_window_that_was_done(tmp_path, monkeypatch, backend):
    """Also on ranks, and from what SIGKILL leaves; the windows before are not trained again."""
    folder, run, looks = write(tmp_path / "folder", "npy", *data()), tmp_path / "run", itertools.count(1)
    how = {"dropout": 0.2, "backend": backend}
    whole = trained(folder, **how)
    monkeypatch.setattr(order, "WINDOW", 17)
    windowed = trained(folder, **how)
    assert windowed != whole  # masks are those of a window
    monkeypatch.setattr(fit, "CHECKPOINT_SECONDS", 0.0)
    assert windowed == trained(folder, run_dir=run, **how)

    def pressed(self):
        if next(looks) % 9 == 0:
            raise Interrupted

    with monkeypatch.context() as patched:
        patched.setattr(CtrlC, "poll", pressed)
        reached = [(0, 0)]
        while reached[-1][0] < HOW["epochs"]:
            trained(folder, run_dir=run, force=len(reached) == 1, resume=len(reached) > 1, **how)
            state = br.load_state(run)
            reached.append((state.epoch, 0 if state.begun is None else state.begun.part.rows))
    assert len(reached) > 5 and all(rows % 17 == 0 for _, rows in reached) and reached == sorted(reached)
    assert windowed == trained(folder, run_dir=run, resume=True, **how)

    sums, summed = itertools.count(1), Ranks.sum

    def pressed_on_one(self, *given):
        if self.rank == 1 and next(sums) == 17:
            self.ctrl_c.pressed = 2
        return summed(self, *given)

    with monkeypatch.context() as patched:
        patched.setattr(Ranks, "sum", pressed_on_one)
        found, aborted = on_threads(2, lambda comm: trained(folder, comm, run_dir=run, force=True, **how))
    assert not aborted
    assert found[0] == found[1]
    assert br.load_state(run).begun.part.rows > 0
    assert windowed == trained(folder, run_dir=run, resume=True, **how)


@pytest.mark.parametrize("backend", ["python", pytest.param("numba", marks=pytest.mark.more)])
def test_other_backends_have_the_same_bits(backend, tmp_path):
    folder = write(tmp_path / "npy", "npy", *data())
    assert trained(folder, backend=backend, epochs=1) == trained(folder, epochs=1)


def test_each_rank_reads_its_own_rows_alone(tmp_path, monkeypatch):
    x, target = data()
    folder = write(tmp_path / "folder", "npy", x, target)
    read = [[], []]

    def run(comm):
        opened = br.open_folder(folder, block_rows=BLOCK, comm=comm)
        usual, mine = opened.files.read, read[comm.rank]
        opened.files.read = lambda block: mine.append(block) or usual(block)
        part = opened.parts(test_size=0.0)["train"]
        return br.train(network(), network().init(), part, comm=comm, **{**HOW, "shards": 2, "epochs": 1})

    on_threads(2, run)
    rows = [{row for block in blocks[1:] for row in range(block.start, block.stop)} for blocks in read]
    assert not rows[0] & rows[1] and len(rows[0] | rows[1]) == ROWS, "the first of each is a look at the targets"


def test_figures_are_those_of_the_definition_on_any_number_of_ranks(tmp_path):
    """Lane by lane and block by block, in Python's floats."""
    x, target = data()
    folder = write(tmp_path / "folder", "npy", np.tile(x, (3, 1)), np.tile(target, 3))

    def figures(comm):
        opened = br.open_folder(folder, block_rows=600, comm=comm)
        return opened.parts(test_size=0.0, validation_size=0.0)["train"].preprocessing

    def total(column):
        lanes = [0.0] * looking.LANES
        for i, value in enumerate(column):
            lanes[i % looking.LANES] += value
        found = 0.0
        for lane in lanes:
            found += lane
        return found

    one = figures(None)
    for number in range(FEATURES):
        rows, mean, squares = 0, 0.0, 0.0
        column = np.tile(x, (3, 1))[:, number].astype(float).tolist()
        for start in range(0, len(column), 600):
            block = column[start : start + 600]
            own = total(block) / len(block)
            around = total([(value - own) * (value - own) for value in block])
            if not rows:
                rows, mean, squares = len(block), own, around
                continue
            share, apart, rows = len(block) / (rows + len(block)), own - mean, rows + len(block)
            mean += apart * share
            squares = (squares + around) + (apart * apart) * ((rows - len(block)) * share)
        assert one.shift[number] == mean and one.scale[number] == (squares / rows) ** 0.5
    for size in (2, 3):
        assert on_threads(size, figures)[0] == [one] * size


@pytest.mark.parametrize("kind", ["parquet", pytest.param("npy", marks=pytest.mark.more)])
def test_a_folder_of_numbers_from_the_command_line_and_resumed(kind, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    x, _ = data()
    write(tmp_path / "folder", kind, x, (x @ [1.0, 0.1, 2.0]).astype(np.float32))
    asked = ["train", "folder", "--block-rows", "40", "--hidden", "4", "--batch-size", "20", "--backend", "numpy"]
    asked += ["--numerics", "reproducible", "--validation-size", "0.2", "--learning-rate", "0.05"]
    assert cli.run([*asked, "--epochs", "6", "--run-dir", "whole"]) == 0
    assert "331 rows of 3 features in" in capsys.readouterr().out
    assert cli.run([*asked, "--epochs", "2", "--run-dir", "parts"]) == 0
    assert cli.run(["train", "--resume", "parts", "--epochs", "6", "--readers", "0"]) == 0
    whole, parts = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("whole", "parts"))
    assert whole["sha256"] == parts["sha256"] and whole["test"] == parts["test"]
    assert (tmp_path / "whole/history.csv").read_bytes() == (tmp_path / "parts/history.csv").read_bytes()
    assert whole["test"]["r2"] > 0.5 and whole["rows"]["train"] + whole["rows"]["test"] < ROWS
    (tmp_path / "new.csv").write_text("x0,x1,x2,target\n0,5,-3,-5.5\n")
    assert cli.run(["predict", "whole", "--data-path", "new.csv"]) == 0
    assert cli.run([*asked[:3], "20", *asked[4:], "--epochs", "6", "--run-dir", "other"]) == 0
    assert json.loads((tmp_path / "other/results.json").read_text())["sha256"] != whole["sha256"]


def test_a_folder_whose_data_changed_is_not_resumed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    x, target = data()
    write(tmp_path / "folder", "npy", x, target)
    assert cli.run(["train", "folder", "--block-rows", "40", "--hidden", "4", "--epochs", "1", "--run-dir", "run"]) == 0
    x[0, 0] += 1
    np.save(tmp_path / "folder/X.npy", x)
    assert cli.run(["train", "--resume", "run", "--epochs", "2"]) == 2
    assert "cannot be resumed with another data" in capsys.readouterr().err


def test_a_block_is_held_and_not_the_folder(tmp_path, monkeypatch):
    """Also where a checkpoint is written after each window."""
    monkeypatch.setattr(fit, "CHECKPOINT_SECONDS", 0.0)
    x = np.zeros((200_000, 20), np.float32)
    x[:, 0] = np.arange(len(x)) % 7
    folder = write(tmp_path / "folder", "npy", x, np.arange(len(x)) % 2)
    size = x.nbytes
    del x
    tracemalloc.start()
    part = br.open_folder(folder, block_rows=2000).parts(test_size=0.1)["train"]
    net = br.Network([20, 2], ["softmax"], "cross_entropy")
    how = {"batch_size": 5000, "shuffle": False, "backend": "numpy", "run_dir": tmp_path / "run"}
    br.train(net, net.init(dtype="float32"), part, epochs=1, **how)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < size / 2


def test_what_a_folder_cannot_do_is_said_in_a_line(tmp_path):
    x, target = data()

    def refused(folder, **how):
        with pytest.raises(InvalidInput) as caught:
            br.open_folder(folder, **how).parts(test_size=0.2)
        return str(caught.value)

    (tmp_path / "empty").mkdir()
    assert "no data in this folder" in refused(tmp_path / "empty")
    bad = x.copy()
    bad[200, 1] = np.inf
    for kind, said in (
        ("npy", "X.npy, row 200"),
        ("parquet", "part-1.parquet, row 80"),
        ("arrow", "part-1.arrow, row 80"),
    ):
        remedy = "" if kind == "npy" else ", or give drop=['x1']"
        bad_folder = write(tmp_path / f"bad-{kind}", kind, bad, target)
        assert refused(bad_folder).endswith(
            f"{said}, column x1: inf is not a finite number; mend it in the files{remedy}"
        )
        assert not remedy or br.open_folder(bad_folder, drop=["x1"]).rows == ROWS
    folder = write(tmp_path / "parquet", "parquet", x, target)
    assert "unknown column 'kind': known are" in refused(folder, target="kind")
    np.save(folder / "X.npy", x)
    assert "files of several kinds (X.npy, Parquet)" in refused(folder)
    (folder / "X.npy").unlink()
    pa.parquet.write_table(table(x[:, :2], target), folder / "part-9.parquet")
    assert "part-9.parquet: has no column x2, unlike part-0.parquet; files of one schema" in refused(folder)
    whole = table(x, target)
    for other, said in (
        (whole.append_column("more", whole["x0"]), "has a further column more"),
        (
            whole.select(["x1", "x0", "x2", "target"]),
            "its columns are in another order: column 0 is x1, in part-0.parquet x0",
        ),
        (whole.set_column(1, "x1", whole["x1"].cast("double")), "column x1 is of type double, in part-0.parquet float"),
    ):
        pa.parquet.write_table(other, folder / "part-9.parquet")
        assert f"part-9.parquet: {said}" in refused(folder)
    (folder / "part-9.parquet").write_bytes(b"")
    assert "part-9.parquet: cannot be read as a Parquet file (it is empty); write it again" in refused(folder)
    (folder / "part-9.parquet").unlink()
    (folder / "inner").mkdir()
    for i in range(3):
        (folder / f"a{i}.csv").touch()
    assert br.open_folder(folder).notes[1].endswith(f"a0.csv, a1.csv, a2.csv and 1 more in {folder}")
    (tmp_path / "empty/a.csv").touch()
    assert "no data in this folder, but a.csv; X.npy and" in refused(tmp_path / "empty")
    write(tmp_path / "nest/year=1/month=2", "parquet", x, target)
    nested = refused(tmp_path / "nest")
    assert (
        f"in folders inside it, which are not looked into; give one of them, such as {tmp_path}/nest/year=1" in nested
    )
    assert br.open_folder(nested.split("such as ")[1].split(",")[0]).rows == ROWS
    texts = write(tmp_path / "texts", "arrow", x, COLOURS[target])
    assert "column target is of type string" in refused(texts, target="x0")
    one = write(tmp_path / "one", "npy", x, target)
    said = refused(one)
    assert "1 block is too few to set 0.2 of them aside; give smaller ones (block_rows=33), or test_size=0" in said
    assert br.open_folder(one, block_rows=33).parts(test_size=0.2)["test"]
    with pytest.raises(InvalidInput, match=r"aside; give test_size=0$"):
        br.open_folder(one).parts(test_size=1e-4)
    part = br.open_folder(one, block_rows=50).parts()["train"]
    for more, said in (
        ({"batch_size": None}, "all rows at once"),
        ({"optimizer": br.LBFGS(), "batch_size": None}, "LBFGS takes all rows"),
        ({"sample_weight": [1.0]}, "sample_weight is not for data"),
        ({"validation": (x, target)}, "validation has to be read in blocks"),
    ):
        with pytest.raises(InvalidInput, match=said):
            br.train(network(), network().init(), part, **more)


DAY = datetime.date(2020, 1, 1)
LARGE = 2**60 + np.arange(60) % 3
UNUSABLE = {
    "texts of the target that stand for nothing": ({"y": ["NA", "a", "b"] * 20}, "row 0, column y: no label"),
    "a target that is null": ({"y": [0, 1, None] * 20}, "row 2, column y: no label; fill it in, or remove that row"),
    "dates": ({"y": [DAY, DAY, DAY] * 20}, "target y holds dates, neither classes nor quantities"),
    "bytes": ({"y": [b"a", b"\xff", b"b"] * 20}, "target y holds values of type binary"),
    "lists": ({"y": [[1.0, 2.0]] * 60}, "target y holds values of type list"),
    "classes that float64 does not tell apart": ({"y": LARGE}, f"row 0, column y: {LARGE[0]} has more digits than"),
    "identifiers": (
        {"b": LARGE},
        f"column b: {LARGE[0]} has more digits than a float64 holds; give smaller numbers, or",
    ),
    "decimal identifiers": ({"b": [decimal.Decimal(10**20)] * 60}, "column b: 1e+20 has more digits than"),
    "a name twice": ({"b": range(60), "a": range(60)}, "two columns are named b"),
}


@pytest.mark.parametrize("kind", ["arrow", "parquet"])
@pytest.mark.parametrize("what", UNUSABLE)
def test_no_table_of_a_folder_is_read_wrongly_in_silence(what, kind, tmp_path):
    columns, said = UNUSABLE[what]
    made = pa.table({"a": np.arange(60.0), "b": np.arange(60) % 7, "y": np.arange(60) % 2} | columns)
    if what == "a name twice":
        made = made.rename_columns(["b", "b", "y"])
    if kind == "arrow":
        with pa.ipc.new_file(str(tmp_path / "part.arrow"), made.schema) as file:
            file.write_table(made)
    else:
        pa.parquet.write_table(made, tmp_path / "part.parquet")
    for task in (None, "classification"):
        with pytest.raises(InvalidInput) as caught:
            br.open_folder(tmp_path, "y", task=task)
        assert said in str(caught.value)
        assert "drop=['y']" not in str(caught.value)


def test_arrays_of_any_order_and_name_are_read_and_what_is_no_number_is_refused(tmp_path):
    x, target = data()

    def opened(x, y, names=("X.npy", "y.npy")):
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        for name, array in zip(names, (x, y), strict=True):
            np.save(folder / name, array)
        return br.open_folder(folder, block_rows=50)

    usual = opened(x, target)
    for other in (
        opened(np.asfortranarray(x), target),
        opened(x.astype(">f4"), target),
        opened(x, target, ("x.npy", "Y.npy")),
    ):
        assert other.parts()["train"].fingerprint() == usual.parts()["train"].fingerprint()
    assert opened(x, np.stack([target > 0, target > 1], axis=1)).task == "regression"
    missing = target.astype(float)
    missing[3] = np.nan
    for y, said in (
        (target.astype(complex), "y.npy: complex128 of shape"),
        (target.astype("M8[D]"), "y.npy: datetime64[D] of shape"),
        (missing, "y.npy, row 3, column target: nan is not"),
        (target + 2**60, f"y.npy, row 0, column target: {target[0] + 2**60} has more digits"),
        (np.where(target == 1, "", "a"), f"y.npy, row {int(np.argmax(target == 1))}, column target: no label"),
    ):
        with pytest.raises(InvalidInput, match=re.escape(said)):
            opened(x, y)


def test_the_stream_format_of_arrow_is_told_from_its_file_format(tmp_path):
    whole = table(*data())
    stream = tmp_path / "stream/a.arrow"
    stream.parent.mkdir()
    with pa.ipc.new_stream(stream, whole.schema) as file:
        file.write_table(whole)
    for read in (br.open_folder, br.read_table):
        with pytest.raises(InvalidInput, match=r"a.arrow: Arrow's stream format, .* write it by pyarrow.ipc.new_file"):
            read(stream.parent if read is br.open_folder else stream)


@pytest.mark.parametrize(
    "command", ["explain", *(pytest.param(each, marks=pytest.mark.more) for each in ("evaluate", "play"))]
)
def test_a_run_of_a_folder_says_what_works_in_place_of_looking_at_its_rows(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    x, target = data()
    write(tmp_path / "folder", "parquet", x, target)
    few = ["--hidden", "4", "--epochs", "1", "--backend", "numpy"]
    assert cli.run(["train", "folder", *few, "--run-dir", "run"]) == 0
    assert cli.run([command, "run"]) == 2
    assert "train on one of its files and give that run, or use this one by predict" in capsys.readouterr().err
    assert cli.run(["evaluate", "run", "--data-path", "folder/part-0.parquet"]) == 0
    assert cli.run(["report", "run"]) == 0
    assert "train on a file in place of a folder" in (said := capsys.readouterr().out) and "--trace" not in said
    assert "--trace binary" not in (tmp_path / "run/report.html").read_text()
    assert cli.run(["train", "folder/part-0.parquet", *few, "--run-dir", "one"]) == 0
    assert cli.run([command, "one"]) == 0
