"""Opening a run of somebody else's: each file is what it should be, or refused in one line, whatever is in it."""

import copy
import itertools
import json
import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import SMALL_SWEEP, more, parameters, samples
from safetensors import safe_open
from safetensors.numpy import save_file

import backprop_ref as br
from backprop_ref.cli import run
from backprop_ref.cli.report import read_comparison
from backprop_ref.experiments.gather import gather
from backprop_ref.experiments.runner import load_run
from backprop_ref.network.model_file import WITHOUT_HASH
from backprop_ref.report.page import page, section_of_backends, sections_of_runs
from backprop_ref.traces.file import FILE, open_trace
from backprop_ref.traces.recorder import Recorder
from backprop_ref.training.checkpoint import CHECKPOINT
from backprop_ref.training.stored_checkpoint import load_checkpoint

HOSTILE = (
    *(None, True, -1, 0, 2, 0.5, 10**18, 10**400, float("nan"), float("inf"), "", "x", "<img src=x onerror=alert(1)>"),
    *([], [[]], {}, [None], {"a": 1}, [10**18], ["x"] * 9, "x" * 10**5, "\ud800", "\x1b]0;x\x07"),
)
"""What may stand in JSON in the place of anything."""


def places(value, path=()):
    """Paths to every part of a JSON value; of long lists only the first and the last."""
    yield path
    if isinstance(value, dict):
        keys = list(value)
    else:
        keys = sorted({0, len(value) - 1}) if isinstance(value, list) and value else []
    for key in keys:
        yield from places(value[key], (*path, key))


def mutations(value):
    """The value with any one part missing, twice, or something else."""
    for path in places(value):
        if not path:
            yield from HOSTILE
            continue
        *before, last = path
        for other in (KeyError, list, *HOSTILE):
            mutated = copy.deepcopy(value)
            part = mutated
            for key in before:
                part = part[key]
            if other is KeyError:
                del part[last]
            elif other is list:
                part[last] = [part[last]] * 2
            else:
                part[last] = other
            yield mutated


def survives(use, *arguments):
    """Whether it was accepted; what is not accepted is refused with a line, and never by another error."""
    try:
        use(*arguments)
    except br.InvalidInput as error:
        assert str(error)
        return False
    return True


def refused(capsys, arguments):
    """The one line with which a command refuses; None if it does its work."""
    status = run(list(map(str, arguments)))
    error = capsys.readouterr().err
    assert (status, error.count("\n")) in {(0, 0), (2, 1)}, error
    return error or None


# ---- the binary trace ----------------------------------------------------------------------------------------------


def report(trace):
    """All of a page that reads a trace, without plotly."""
    from backprop_ref.report.charts import traces as charts_trace
    from backprop_ref.report.charts.runs import Run
    from backprop_ref.report.embedding import as_json
    from backprop_ref.report.explorer import explored

    if not len(trace):
        return
    history = {name: np.array(trace[name]) for name in ("loss", trace.metric)}
    for section in sections_of_runs([Run("run", history, None, trace)]):
        as_json([chart.drawn for chart in section.charts])
    found = explored(trace, 10**6)
    as_json(found and found[0])
    charts_trace.parameters(trace)


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    """A trace as bytes: its header as JSON, and its records."""
    folder = tmp_path_factory.mktemp("traced")
    network = br.Network([3, 4, 2], ["tanh", "softmax"], "cross_entropy")
    x, y = samples(network, 5)
    recorder = Recorder(folder, samples=[0, 3])
    br.train(network, parameters(network), x, y, epochs=6, validation=(x, y), trace=recorder)
    line, _, records = (folder / FILE).read_bytes().partition(b"\n")
    return json.loads(line), records


def written(folder, header, records):
    """A file with this header, which is JSON or bytes, and these records."""
    line = header if isinstance(header, bytes) else json.dumps(header).encode()
    (folder / FILE).write_bytes(line + b"\n" + records)
    return folder / FILE


def reported(path):
    report(open_trace(path))


@pytest.mark.more
def test_every_entry_of_a_trace_may_be_anything(tmp_path, traced):
    header, records = traced
    assert survives(reported, written(tmp_path, header, records))
    accepted = [survives(reported, written(tmp_path, mutated, records)) for mutated in mutations(header)]
    assert 0 < sum(accepted) < len(accepted) / 3  # such as another name, or a number for a number


@pytest.mark.more
def test_every_byte_of_a_trace_may_be_anything(tmp_path, traced):
    header, records = traced
    whole, chance = written(tmp_path, header, records).read_bytes(), random.Random(1)
    length = len(whole) - len(records)
    for _ in range(500):
        content, where = bytearray(whole), chance.choice([chance.randrange(length), chance.randrange(len(whole))])
        match chance.randrange(3):
            case 0:
                content[where] = chance.randrange(256)
            case 1:
                del content[where : where + chance.choice([1, 8, 64, 10**6])]
            case 2:
                content[where:where] = chance.randbytes(chance.choice([1, 8, 64]))
        (tmp_path / FILE).write_bytes(content)
        survives(reported, tmp_path / FILE)


def test_records_may_be_any_bytes(tmp_path, traced):
    header, records = traced
    chance = random.Random(2)
    for fill in (chance.randbytes(len(records)), b"\0" * len(records), b"\xff" * len(records), b"\x7f" * len(records)):
        assert survives(reported, written(tmp_path, header, fill))


def of_objects(header):
    return [[name, kind.replace("<f8", "|O").replace("<i8", "|O"), shape] for name, kind, shape in header["fields"]]


@pytest.mark.parametrize(
    "mutate",
    [
        lambda h: {**h, "fields": of_objects(h)},
        lambda h: {**h, "fields": [["epoch", "|O", []], *h["fields"][1:]]},
        lambda h: {**h, "fields": [[name, kind.replace("<", ">"), shape] for name, kind, shape in h["fields"]]},
        lambda h: {**h, "fields": [[name, "<c16", shape] for name, _, shape in h["fields"]]},
        lambda h: {**h, "fields": [*h["fields"], h["fields"][-1]]},
        lambda h: {**h, "fields": [*h["fields"][:-1], ["db1", "<f8", [-2]]]},
        lambda h: {**h, "fields": [*h["fields"][:-1], ["db1", "<f8", [2**62]]]},
        lambda h: {**h, "fields": []},
        lambda h: {**h, "record_bytes": 0},
        lambda h: {**h, "network": {**h["network"], "sizes": [3, 10**18, 2]}},
        lambda h: {**h, "network": {**h["network"], "sizes": [3, 2**31 - 1, 2]}},
        lambda h: {**h, "samples": [0, "<img src=x onerror=alert(1)>"]},
        lambda h: {**h, "samples": []},
        lambda h: {**h, "x": [[1.0, 2.0], [1.0, 2.0, 3.0]]},
        lambda h: b'{"format": ' + b"[" * 10**6,
        lambda h: b'{"a": ' * 10**5,
        lambda h: b"9" * 10**5,
        lambda h: b" " * (2**26 + 10),
        lambda h: b"\xff\xfe" * 99,
    ],
)
def test_what_a_trace_may_not_say(tmp_path, traced, mutate):
    header, records = traced
    path = written(tmp_path, mutate(header), records)
    with pytest.raises(br.InvalidInput, match="not a binary trace of ours, or its first line is damaged"):
        open_trace(path)


def test_numbers_that_are_not_finite_are_shown(tmp_path, traced):
    header, records = traced
    path = written(tmp_path, {**header, "x": [[float("nan"), 1.0, 2.0], [float("inf"), 1e300, 0]]}, records)
    assert np.isnan(open_trace(path).x[0, 0])
    assert survives(reported, path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
@pytest.mark.parametrize("name", [FILE, "results.json", "history.csv", CHECKPOINT])
def test_a_pipe_is_not_waited_for(tmp_path, a_run, name, capsys):
    folder = shutil.copytree(a_run, tmp_path / "run")
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert "not a regular file" in refused(capsys, ["report", folder])


# ---- the other files of a run --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def a_run(tmp_path_factory):
    """The folder of a run of moons, which has a decision boundary, with validation."""
    folder = tmp_path_factory.mktemp("foreign") / "run"
    options = [
        "--epochs",
        "3",
        "--hidden-size",
        "3",
        "--n-samples",
        "40",
        "--validation-size",
        "0.2",
        "--trace",
        "binary",
    ]
    assert run(["train", "moons", *options, "--optimizer", "adam", "--run-dir", str(folder)]) == 0
    return folder


@pytest.fixture
def foreign(tmp_path, a_run):
    """A copy of the run, to change."""
    return shutil.copytree(a_run, tmp_path / "run")


def gathered(*folders):
    for section in sections_of_runs(gather(folders)):
        assert "<img" not in section.body
        json.dumps([chart.drawn for chart in section.charts], allow_nan=False)


@pytest.mark.parametrize("first", [0, *map(more, range(1, 6))])
@pytest.mark.more
def test_results_may_be_anything(foreign, first):
    """Every sixth change of them."""
    path = foreign / "results.json"
    for name in (CHECKPOINT, FILE):  # what takes the longest to draw
        (foreign / name).unlink()
    content = json.loads(path.read_text())
    accepted = []
    for mutated in itertools.islice(mutations(content), first, None, 6):
        path.write_text(json.dumps(mutated))
        accepted.append(survives(gathered, foreign))
    assert 0 < sum(accepted) < len(accepted)
    for text in ("", "{", "[" * 10**6, "9" * 10**5, "null"):
        path.write_text(text)
        assert not survives(gathered, foreign)


def test_a_score_that_is_not_finite_is_shown(foreign):
    """As JSON has no word for it, results.json says null."""
    content = json.loads((foreign / "results.json").read_text())
    content["train"]["loss"] = content["test"]["accuracy"] = None
    (foreign / "results.json").write_text(json.dumps(content))
    words = sections_of_runs(gather([foreign]))[0].body
    assert words.count("not finite") == 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "epoch,loss\n1,2\n",
        "epoch,loss,accuracy,<img src=x>\n1,2,3,4\n",
        "epoch,loss,accuracy,loss\n1,2,3,4\n",
        "epoch,loss,accuracy\n1,2\n",
        "epoch,loss,accuracy\n1,2,x\n",
        "epoch,loss,accuracy\n1,2,3,4\n",
        b"\xff\xfe\x00",
        b"epoch,loss,accuracy\n\xff,1,2\n",
    ],
)
def test_what_a_history_may_not_be(foreign, text):
    (foreign / "history.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert not survives(gathered, foreign)


@pytest.mark.parametrize(
    "text",
    [
        "training: {epochs: {a: 1}}",
        "training: {epochs: 2020-01-01}",
        f"training: {{epochs: 0x{'f' * 10**4}}}",
        "training: {epochs: [[1]]}",
        "training: {epochs: !!binary aGk=}",
        "data: &a {x: [&b [1, 1, 1, 1, 1, 1, 1, 1, 1], *b]}",
        "training: 3",
        "[" * 2000,
        "\0",
    ],
)
@pytest.mark.few(4)
def test_what_a_configuration_may_not_say(foreign, a_run, text):
    (foreign / "config.yaml").write_text(text)
    assert not survives(gathered, foreign, a_run)


@pytest.mark.more
def test_a_comparison_may_be_anything(tmp_path, capsys):
    assert run(["compare", "xor", "--backends", "numpy,python", "--steps", "1", "--json"]) == 0
    content, path = json.loads(capsys.readouterr().out), tmp_path / "compared.json"

    def shown():
        section = section_of_backends(read_comparison(path))
        assert "<img" not in section.body
        json.dumps([chart.drawn for chart in section.charts], allow_nan=False)

    accepted = []
    for mutated in mutations(content):
        path.write_text(json.dumps(mutated))
        accepted.append(survives(shown))
    assert 0 < sum(accepted) < len(accepted)


@pytest.mark.more
def test_rows_of_a_sweep_may_be_anything(tmp_path, capsys):
    assert run(["sweep", *SMALL_SWEEP, "--out", str(tmp_path / "sweep")]) == 0
    capsys.readouterr()
    path = next((tmp_path / "sweep/cells").glob("*/cell.json"))
    content = json.loads(path.read_text())

    def shown():
        from backprop_ref.cli.sweep import sections_of_sweep
        from backprop_ref.experiments.sweep import Sweep

        for section in sections_of_sweep(Sweep.open(tmp_path / "sweep"))[0]:
            assert "<img" not in section.body
            json.dumps([chart.drawn for chart in section.charts], allow_nan=False)

    accepted = []
    for mutated in mutations(content):
        path.write_text(json.dumps(mutated))
        accepted.append(survives(shown))
    assert 0 < sum(accepted) < len(accepted)


def test_a_sweep_that_calls_itself_another(tmp_path, capsys):
    options = ["--dataset", "xor", "--epochs", "2", "--seeds", "1,2", "--backend", "numpy"]
    assert run(["sweep", *options, "--out", str(tmp_path / "sweep")]) == 0
    path = tmp_path / "sweep/sweep.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "experiment": "vanishing-gradients"}))
    capsys.readouterr()
    assert "over another grid" in refused(capsys, ["report", tmp_path / "sweep"])


# ---- the checkpoint ------------------------------------------------------------------------------------------------


def opened(path):
    """Tensors and metadata of a checkpoint, as in format 1, in which no hash says that they were changed."""
    with safe_open(path, framework="numpy") as file:
        metadata = {**file.metadata(), "format": WITHOUT_HASH}
        del metadata["contents"], metadata["version"]
        return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118


READERS = {
    "network": load_run,
    "preprocessing": load_run,
    "progress": load_checkpoint,
    "identity": load_checkpoint,
    "history": load_checkpoint,
}


@pytest.mark.few(2)
@pytest.mark.parametrize(("entry", "reader"), READERS.items())
def test_what_a_checkpoint_says_may_be_anything(foreign, entry, reader):
    tensors, metadata = opened(foreign / CHECKPOINT)
    accepted = []
    for mutated in mutations(json.loads(metadata[entry])):
        save_file(tensors, foreign / CHECKPOINT, {**metadata, entry: json.dumps(mutated)})
        accepted.append(survives(reader, foreign / CHECKPOINT))
    assert not all(accepted)


@pytest.mark.few(1)
@pytest.mark.parametrize(
    "command", [["evaluate"], ["explain"], ["report"], ["train", "--epochs", "4", "--resume"]], ids=str
)
def test_commands_that_read_a_checkpoint_refuse_in_one_line(foreign, capsys, command):
    """Each of its entries is, in turn, of another kind, whose types are right, or missing."""
    tensors, metadata = opened(foreign / CHECKPOINT)
    progress, identity = json.loads(metadata["progress"]), json.loads(metadata["identity"])
    others = [
        {"network": {"sizes": [2, 3, 2], "activations": ["tanh", "softmax"], "loss": "ce"}},
        {"preprocessing": None},
        {"progress": {**progress, "epoch": 2}},
        {"progress": {**progress, "random": {**progress["random"], "state": {"state": 2**200, "inc": 1}}}},
        {"identity": {**identity, "data": "\x1b]0;x\x07\ud800\n"}},
        {"identity": {**identity, "seed": "\x1b]0;x\x07\ud800\n"}},
        {"history": ["loss", "accuracy"]},
        {"history": ["<img src=x>"]},
    ]
    for other in [*others, *({name: KeyError} for name in metadata)]:
        texts = {name: json.dumps(value) for name, value in other.items() if value is not KeyError}
        left = {name: text for name, text in metadata.items() if name not in other}
        save_file(tensors, foreign / CHECKPOINT, {**left, **texts})
        refused(capsys, [*command, foreign])


@pytest.mark.parametrize("text", ["{", "[" * 10**6, "9" * 10**5])
def test_a_checkpoint_whose_words_are_no_json(foreign, text):
    tensors, metadata = opened(foreign / CHECKPOINT)
    save_file(tensors, foreign / CHECKPOINT, {**metadata, "progress": text})
    with pytest.raises(br.InvalidInput, match="its metadata is damaged"):
        br.load(foreign)


@pytest.mark.more
def test_tensors_of_a_checkpoint_may_have_any_shape_and_type(foreign, capsys):
    tensors, metadata = opened(foreign / CHECKPOINT)
    for name, tensor in tensors.items():
        for other in (tensor[:-1], tensor[None], tensor.astype(np.int8), tensor.astype(np.float16), tensor[:0], None):
            changed = {key: value for key, value in {**tensors, name: other}.items() if value is not None}
            changed = {key: np.ascontiguousarray(value) for key, value in changed.items()}
            save_file(changed, foreign / CHECKPOINT, metadata)
            if name.startswith(("resume.", "history.")):
                assert refused(capsys, ["train", "--epochs", "4", "--resume", foreign])
            else:
                survives(br.load, foreign)


def test_a_checkpoint_of_a_type_that_numpy_lacks(foreign):
    header = json.dumps({"W0": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}).encode()
    (foreign / CHECKPOINT).write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0")
    with pytest.raises(br.InvalidInput, match="not a safetensors file"):
        br.load(foreign)


# ---- the page ------------------------------------------------------------------------------------------------------


def test_no_text_ends_a_script_of_the_page(traced, tmp_path):
    attack = "</script><script>alert(1)</script><!--\u2028"
    header, records = traced
    trace = open_trace(written(tmp_path, {**header, "configuration": attack}, records))
    from backprop_ref.report.charts.runs import Chart
    from backprop_ref.report.page import Section

    chart = Chart(attack, {"data": [{"name": attack}], "layout": {}}, attack, choices=(attack,), frames=(attack,))
    html = page(attack, [Section(attack, "", (chart,))], [trace])
    assert html.count("<script") == html.count("</script") == 5
    assert "<!--" not in html
    assert "\u2028" not in html


def test_a_folder_whose_name_is_no_text_is_shown(foreign, capsys):
    """With a byte that is not UTF-8, an escape sequence and a line break in it."""
    named = foreign.rename(foreign.with_name(os.fsdecode(b"r\xff\x1b[2J<b>\nq")))
    assert refused(capsys, ["report", named]) is None
    html = (named / "report.html").read_text(encoding="utf-8")
    assert r"<h1>r\udcff\x1b[2J&lt;b&gt;\nq</h1>" in html


def test_nothing_makes_elements_of_text():
    for path in (Path(br.__file__).parent / "report/static").glob("*.js"):
        source = path.read_text(encoding="utf-8")
        for way in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "Function(",
            "javascript:",
        ):
            assert way not in source, (path.name, way)
