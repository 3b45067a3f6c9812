"""Files of every kind, mutated: what reads them takes them or refuses them in a line, quickly and in little memory.

``python tests/mutated.py 1000000 --seed 1`` tries so many, in one process; `test_mutated` tries a few. A mutation is of
the structure (an entry missing, twice, of another kind, moved elsewhere) or of the bytes. Each is made from its number
alone, so that one that is reported is made again by ``--only NUMBER``.
"""

import argparse
import contextlib
import copy
import faulthandler
import json
import math
import os
import random
import resource
import socket
import struct
import tempfile
import time
import traceback
import warnings
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import yaml
from helpers import SMALL_SWEEP
from safetensors.numpy import load, save

import backprop_ref as br
from backprop_ref.cli import run
from backprop_ref.cli.report import read_comparison
from backprop_ref.conformance.measuring.networks import parse
from backprop_ref.conformance.submissions.calls import Attempt
from backprop_ref.conformance.submissions.outline import Outline
from backprop_ref.conformance.submissions.programs import Answers
from backprop_ref.conformance.submissions.recording import numbers
from backprop_ref.conformance.submissions.separate.messages import Garbled, receive, send
from backprop_ref.conformance.vectors.documents import to_document
from backprop_ref.conformance.vectors.files import shipped_cases
from backprop_ref.exchange import formats
from backprop_ref.experiments import playing
from backprop_ref.experiments import reproduce as reproducing
from backprop_ref.experiments.config import dotenv, merge, read_config
from backprop_ref.experiments.gather import _settings, gather, read_history
from backprop_ref.experiments.reading import Results
from backprop_ref.experiments.runner import load_run, prepare
from backprop_ref.experiments.sweep import Sweep
from backprop_ref.experiments.sweep_page import sections_of_sweep
from backprop_ref.network.model_file import contents_hash
from backprop_ref.report.page import section_of_backends, sections_of_runs
from backprop_ref.traces.file import open_trace
from backprop_ref.training.chain import hashed
from backprop_ref.training.stored_checkpoint import load_checkpoint, load_with_state

SECONDS, BYTES = 5.0, 2**30
"""What no file may cost to read."""
REFUSALS = (br.BackpropRefError,)

HOSTILE = (
    *(
        None,
        True,
        False,
        -1,
        0,
        1,
        2,
        0.5,
        -0.0,
        10**18,
        2**53,
        -(2**63),
        10**400,
        1e308,
        math.nan,
        math.inf,
        -math.inf,
    ),
    *("", "x", "a,b", "../..", "/etc/passwd", "os:abort", "<img src=x onerror=alert(1)>", "[/b]", "[red]", "{0}", "%s"),
    *("\ud800", "\x1b]0;x\x07", "\x00", "\n", "=1+1", "\u202e", "é" * 300, "x" * 10**5, "1e999", "nan", "0x1p5"),
    *([], [[]], {}, [None], {"a": 1}, [10**18], ["x"] * 9, [[1.0], [1.0, 2.0]], {"": None}, [[[[[]]]]], [0.1] * 999),
)
"""What may stand in the place of anything."""
TEXTS = (
    b"",
    b"\0",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"[" * 9999,
    b'{"a":' * 9999,
    b"9" * 9999,
    b"\n" * 999,
    b",",
    b"\x1b[31m",
)
"""What may be put between bytes."""


def places(value, path=()):
    """Paths to every part of a value."""
    yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


def part_at(value, path):
    for key in path:
        value = value[key]
    return value


def changed(value, chance):
    """The value with one part that is missing, twice, something else, or another part's."""
    value = copy.deepcopy(value)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        paths = list(places(value))
        path = chance.choice(paths)
        if not path:
            if chance.random() < 0.95:
                continue
            return chance.choice(HOSTILE)
        *before, last = path
        part = part_at(value, before)
        match chance.randrange(6):
            case 0:
                del part[last]
            case 1:
                part[last] = [part[last]] * chance.choice((1, 2, 9))
            case 2:
                part[last] = copy.deepcopy(part_at(value, chance.choice(paths[1:])))
            case 3 if isinstance(part, dict):
                part[chance.choice(("x", "", "\ud800", "__class__", str(last) + "x"))] = part.pop(last)
            case 4 if isinstance(part[last], int | float) and not isinstance(part[last], bool):
                number = part[last]
                as_float = float(number) if abs(number) < 2**1000 else math.inf
                part[last] = chance.choice((-number, number + 1, number * 2, as_float, str(number)))
            case _:
                part[last] = copy.deepcopy(chance.choice(HOSTILE))
    return value


def damaged(content, chance):
    """Bytes of which some are others, missing, twice, or new."""
    content = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 5))):
        where = chance.randrange(len(content) + 1)
        length = chance.choice((1, 1, 2, 8, 64, 4096))
        match chance.randrange(5):
            case 0:
                content[where : where + 1] = bytes([chance.randrange(256)])
            case 1:
                del content[where : where + length]
            case 2:
                content[where:where] = chance.randbytes(min(length, 64))
            case 3:
                content[where:where] = chance.choice(TEXTS)
            case _:
                other = chance.randrange(len(content) + 1)
                content[where:where] = content[other : other + length]
    return bytes(content)


def overwritten(content, chance):
    """Bytes in place of which others stand, or numbers that mean much: what is behind them stays where it is."""
    if chance.random() < 0.3:
        return damaged(content, chance)
    content = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4))):
        width = chance.choice((1, 1, 2, 4, 8))
        where = chance.randrange(len(content) - width + 1)
        number = chance.choice(
            (0, 1, -1, 2 ** (8 * width - 1) - 1, chance.getrandbits(8 * width), chance.randrange(999))
        )
        content[where : where + width] = (number % 2 ** (8 * width)).to_bytes(width, "little")
    return bytes(content)


def as_json(value):
    return json.dumps(value).encode("utf-8", "surrogatepass")


def as_yaml(value):
    return yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "surrogatepass")


def of_text(read, write):
    """A mutation of a document: of its structure, or of its bytes."""

    def mutate(content, chance):
        if chance.random() < 0.75:
            return write(changed(read(content), chance))
        return damaged(content, chance)

    return mutate


of_json, of_yaml = of_text(json.loads, as_json), of_text(yaml.safe_load, as_yaml)
of_lines = of_text(
    lambda content: [json.loads(line) for line in content.splitlines()],
    lambda rows: b"\n".join(map(as_json, rows if isinstance(rows, list) else [rows])),
)


def of_table(content, chance):
    """Rows of which cells are others."""
    if chance.random() < 0.4:
        return damaged(content, chance)
    rows = changed([line.split(",") for line in content.decode().splitlines()], chance)
    lines = (
        (",".join(map(str, row)) if isinstance(row, list) else str(row) for row in rows)
        if isinstance(rows, list)
        else [str(rows)]
    )
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def of_model(content, chance):
    """A safetensors file whose words are JSON in JSON."""
    if chance.random() < 0.3:
        return damaged(content, chance)
    (length,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    if chance.random() < 0.7:
        words = header["__metadata__"]
        name = chance.choice([name for name in words if name not in {"format", "contents"}])
        words[name] = json.dumps(changed(json.loads(words[name]), chance))
    else:
        for described in header.values() if chance.random() < 0.2 else ():
            if "dtype" in described:
                described["dtype"] = chance.choice(("BF16", "F8_E4M3", "F16", "I64", "BOOL", "F32", "U8", "C64", "x"))
        header = changed(header, chance)
    if chance.random() < 0.8:
        _hash_made_anew(header, data)
    return _safetensors(header, data)


def _hash_made_anew(header, data):
    """As somebody does who means it; without it, the hash refuses what was changed before anything else is read."""
    with contextlib.suppress(Exception):
        words = {name: word for name, word in header["__metadata__"].items() if name != "contents"}
        header["__metadata__"] = {**words, "contents": contents_hash(load(_safetensors(header, data)), words)}


def _safetensors(header, data):
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(text)) + text + data


def of_trace(content, chance):
    """A trace whose first line is JSON."""
    line, _, records = content.partition(b"\n")
    if chance.random() < 0.3:
        return damaged(content, chance)
    header = changed(json.loads(line), chance)
    return as_json(header) + b"\n" + (records if chance.random() < 0.8 else damaged(records, chance))


def of_message(content, chance):
    """A message to the judge: lengths, JSON, numbers."""
    if chance.random() < 0.4:
        return damaged(content, chance)
    n_text, _ = struct.unpack("<QQ", content[:16])
    text, arrays = content[16 : 16 + n_text], content[16 + n_text :]
    text = as_json(changed(json.loads(text), chance))
    return struct.pack("<QQ", len(text), len(arrays)) + text + arrays


def of_certificate(content, chance):
    """A certificate; mostly its hash is made anew."""
    found = of_json(content, chance)
    with contextlib.suppress(ValueError, TypeError, AttributeError, RecursionError, UnicodeError):
        told = json.loads(found)
        if chance.random() < 0.8:
            told["sha256"] = hashed({key: value for key, value in told.items() if key != "sha256"})
            found = as_json(told)
    return found


class Reader:
    """A kind of file: how it is mutated, and what reads it."""

    def __init__(self, name, path, mutate, use, weight=10):
        self.name, self.path, self.mutate, self.use, self.weight = name, Path(path), mutate, use, weight
        self.content = self.path.read_bytes() if self.path.is_file() else b""


def shown(folder):
    """A page of a run folder, but for what plotly adds."""
    sections = sections_of_runs(gather([folder]))
    json.dumps([chart.drawn for section in sections for chart in section.charts], allow_nan=False)
    for section in sections:
        assert "<img" not in section.body
        assert "\x1b" not in section.body


def compared(path):
    section = section_of_backends(read_comparison(path))
    assert "<img" not in section.body
    json.dumps([chart.drawn for chart in section.charts], allow_nan=False)


def swept(folder):
    made = Sweep.open(folder)
    made.rows()
    for section in sections_of_sweep(made)[0]:
        assert "<img" not in section.body


def answered(path):
    answers, cases = Answers(path), shipped_cases()
    answers.unknown(cases)
    for case in cases[:3]:
        answers.answer(case)


def message(path):
    """What the judge reads from a submission's process."""
    one, two = socket.socketpair()
    with one, two:
        two.settimeout(0.5)
        content = path.read_bytes()[:150_000]
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**20)
        one.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            one.send(content)
        one.shutdown(socket.SHUT_WR)
        with contextlib.suppress(Garbled, EOFError, TimeoutError):
            reply = receive(two, 0.5)
            if isinstance(reply, dict):
                with contextlib.suppress(
                    KeyError, TypeError, ValueError, AttributeError, OverflowError
                ):  # as the judge does
                    Outline.from_document(reply)
                numbers(reply.get("recorded"))
                with contextlib.suppress(TypeError):
                    [Attempt(*each) for each in reply.get("attempts", ())]


def configured(path):
    read_config(path, besides=("sweep",))
    merge({}, path, environment=False, besides=("sweep",), computing=False)


def settings(folder):
    _settings(folder)


def env(folder):
    dotenv(folder)


def network(path):
    parse(path.read_bytes().decode("utf-8", "replace"))


def imported(path):
    formats.load(path, br.Network([3, 4, 2], ["tanh", "softmax"], "ce"))


def claimed(path):
    """All that `reproduce` does with a certificate before it trains."""
    (claim,) = reproducing._claims(path, [])
    again = path.with_name("again.yaml")
    again.write_text(yaml.safe_dump(reproducing._with_data(claim.config, path)))
    config = merge({}, again, environment=False)
    if config.data.n_samples is None or config.data.n_samples < 1000:
        prepare(config)


def parts(folder):
    """All that a training reads of a folder, once."""
    part = br.open_folder(folder, block_rows=7).parts(test_size=0.0, readers=0)["train"]
    for _ in part.each(range(len(part.blocks)), "float64"):
        pass


def explained(path):
    _, preprocessing = load_run(path)
    preprocessing.x(np.zeros((2, len(preprocessing.feature_names))))


def made(folder):  # noqa: PLR0915 (a file each)
    """Files of every kind in a folder, and their `Reader`s."""
    folder = Path(folder)
    with (
        Path(os.devnull).open("w") as nothing,
        contextlib.redirect_stdout(nothing),
        contextlib.redirect_stderr(nothing),
    ):
        options = [
            "--epochs",
            "3",
            "--hidden",
            "3",
            "--n-samples",
            "40",
            "--validation-size",
            "0.2",
            "--backend",
            "numpy",
            "--numerics",
            "reproducible",
        ]
        assert (
            run(
                [
                    "train",
                    "moons",
                    *options,
                    "--trace",
                    "binary",
                    "--optimizer",
                    "adam",
                    "--run-dir",
                    str(folder / "run"),
                ]
            )
            == 0
        )
        assert run(["sweep", *SMALL_SWEEP, "--out", str(folder / "sweep"), "--workers", "1"]) == 0
        with (folder / "compared.json").open("w") as out, contextlib.redirect_stdout(out):
            assert run(["compare", "xor", "--backends", "numpy,python", "--steps", "1", "--json"]) == 0
    cases = shipped_cases()[:3]
    answers = [{"name": case.name, **to_document(case)["expected"]["truth"]} for case in cases]
    (folder / "answers.json").write_bytes(as_json(answers))
    step = {"W": to_document(cases[0])["weights"], "b": to_document(cases[0])["biases"]}
    (folder / "step.json").write_bytes(
        as_json([{"name": cases[0].name, "learning_rate": 0.1, "before": step, "after": step}])
    )
    (folder / "given.yaml").write_text(
        "data: {path: t.csv, target: kind, kinds: {a: number}, drop: [b]}\n"
        "network: {hidden: [3, 4], activation: tanh}\n"
        "training: {epochs: 3, class_weight: {x: 2}, dropout: 0.1}\n"
        "sweep: {seed: 1-3, width: [[3, 4], 5]}\n"
    )
    rows = ["a,b,day,kind"] + [
        f"{i}.5,{'red' if i % 3 else 'blue'},2020-01-{i + 1:02d},{'yn'[i % 2]}" for i in range(20)
    ]
    (folder / "t.csv").write_text("\n".join(rows))
    (folder / "t.json").write_bytes(as_json([{"a": i, "b": "xy"[i % 2], "kind": i % 2} for i in range(12)]))
    (folder / "t.jsonl").write_bytes(b"\n".join(as_json({"a": i, "b": "xy"[i % 2], "kind": i % 2}) for i in range(12)))
    (folder / "t.arff").write_text(
        "@relation r\n@attribute a numeric\n@attribute kind {x,y}\n@data\n"
        + "\n".join(f"{i},{'xy'[i % 2]}" for i in range(9))
    )
    (folder / "t.libsvm").write_text("\n".join(f"{i % 2} 1:{i}.5 3:2" for i in range(9)))
    np.savez(folder / "t.npz", x=np.arange(12.0).reshape(6, 2), y=np.arange(6) % 2)
    np.save(folder / "t.npy", np.arange(12.0).reshape(6, 2))
    import pyarrow as pa
    import pyarrow.feather
    import pyarrow.parquet

    table = pa.table({"a": [1.0, 2.0, 3.0, 4.0], "b": ["x", "y", "x", "y"], "kind": [0, 1, 0, 1]})
    pyarrow.parquet.write_table(table, folder / "t.parquet")
    pyarrow.feather.write_feather(table, folder / "t.feather")
    for name in ("arrays", "arrow", "packed", "parquet", "lists"):
        (folder / name).mkdir()
    np.save(folder / "arrays/X.npy", np.sin(np.arange(40.0)).reshape(20, 2))
    np.save(folder / "arrays/y.npy", np.array(["x", "y"] * 10))
    columns = {"a": np.sin(np.arange(20.0)), "b": pa.array([True, False] * 10), "kind": ["x", "y"] * 10}
    lists = {"a": pa.array([[0.5, i] for i in range(20)]), "kind": pa.array(["x", "y"] * 10).dictionary_encode()}
    pyarrow.parquet.write_table(pa.table(columns), folder / "parquet/a.parquet", row_group_size=8)
    pyarrow.feather.write_feather(pa.table(columns), folder / "arrow/a.arrow", "uncompressed", chunksize=8)
    pyarrow.feather.write_feather(pa.table(columns), folder / "packed/a.arrow", "lz4", chunksize=8)
    pyarrow.feather.write_feather(pa.table(lists), folder / "lists/a.arrow", "uncompressed")
    (folder / "t.csv.gz").write_bytes(__import__("gzip").compress((folder / "t.csv").read_bytes()))
    (folder / ".env").write_text("LOG_LEVEL=INFO\nexport RANDOM_SEED='3' # x\n")
    (folder / "network.txt").write_text("4-16-3:tanh,softmax:ce")
    state = {"0.weight": np.ones((4, 3)), "0.bias": np.zeros(4), "2.weight": np.ones((2, 4)), "2.bias": np.zeros(2)}
    (folder / "state.safetensors").write_bytes(save(state))
    one, two = socket.socketpair()
    with one, two:
        values = {"dW": [np.ones((2, 3))], "db": [np.ones(3)]}
        outline = Outline.of(parse).document()
        send(
            one,
            {
                **outline,
                "readings": [[0, {"W": values["dW"]}]],
                "recorded": {"loss": [1.0, 0.0]},
                "attempts": [[None, "", values]],
                "spent": 1.0,
            },
        )
        (folder / "message").write_bytes(two.recv(2**20))
    runs, sweep = folder / "run", folder / "sweep"
    cell = next((sweep / "cells").glob("*/cell.json"))
    checkpoint = runs / "checkpoint.safetensors"
    br.save(folder / "model.safetensors", *br.load(checkpoint)[:2])
    of_others = []
    if find_spec("onnx"):
        described = br.Network([3, 4, 2], ["elu(0.5)", "softmax"], "ce")
        br.export(folder / "m.onnx", described, described.init())
        of_others = [Reader("ONNX", folder / "m.onnx", overwritten, formats.load, 5)]
    slow = 1
    return [
        Reader("results.json", runs / "results.json", of_json, lambda path: Results.read(path, "results of ours"), 8),
        Reader("results.json on a page", runs / "results.json", of_json, lambda path: shown(path.parent), slow),
        Reader("history.csv", runs / "history.csv", of_table, lambda path: read_history(path.parent), 8),
        Reader("history.csv on a page", runs / "history.csv", of_table, lambda path: shown(path.parent), slow),
        Reader("config.yaml", runs / "config.yaml", of_yaml, configured, 2),
        Reader("config.yaml, told apart", runs / "config.yaml", of_yaml, lambda path: settings(path.parent), 1),
        Reader("--config", folder / "given.yaml", of_yaml, configured, 4),
        Reader("checkpoint", checkpoint, of_model, load_checkpoint, 10),
        Reader("checkpoint as a model", checkpoint, of_model, explained, 8),
        Reader("model", folder / "model.safetensors", of_model, br.load, 6),
        Reader("model and state", checkpoint, of_model, load_with_state, 4),
        Reader("trace.bin", runs / "trace.bin", of_trace, open_trace, 10),
        Reader("trace.bin on a page", runs / "trace.bin", of_trace, lambda path: shown(path.parent), slow),
        Reader("sweep.json", sweep / "sweep.json", of_json, lambda path: Sweep.open(path.parent).rows(), 4),
        Reader("sweep.json on a page", sweep / "sweep.json", of_json, lambda path: swept(path.parent), slow),
        Reader("cell.json", cell, of_json, lambda path: Sweep.open(sweep).rows(), 3),
        Reader("cell.json on a page", cell, of_json, lambda path: swept(sweep), slow),
        Reader("compared.json", folder / "compared.json", of_json, compared, 6),
        Reader("answers", folder / "answers.json", of_json, answered, 6),
        Reader(
            "answers in lines",
            folder / "answers.json",
            of_text(
                json.loads, lambda value: b"\n".join(map(as_json, value if isinstance(value, list) else [value, value]))
            ),
            answered,
            3,
        ),
        Reader("answers by a step", folder / "step.json", of_json, answered, 4),
        Reader("message", folder / "message", of_message, message, 10),
        Reader("table.csv", folder / "t.csv", of_table, br.read_table, 3),
        Reader("table.csv.gz", folder / "t.csv.gz", damaged, br.read_table, 3),
        Reader("table.json", folder / "t.json", of_json, br.read_table, 3),
        Reader("table.jsonl", folder / "t.jsonl", of_lines, br.read_table, 3),
        Reader("table.arff", folder / "t.arff", damaged, br.read_table, 3),
        Reader("table.libsvm", folder / "t.libsvm", damaged, br.read_table, 3),
        Reader("table.npz", folder / "t.npz", damaged, br.read_table, 3),
        Reader("table.npy", folder / "t.npy", damaged, br.read_table, 3),
        Reader("table.parquet", folder / "t.parquet", damaged, br.read_table, 3),
        Reader("table.feather", folder / "t.feather", damaged, br.read_table, 3),
        Reader("X.npy of a folder", folder / "arrays/X.npy", overwritten, lambda path: parts(path.parent), 4),
        Reader("y.npy of a folder", folder / "arrays/y.npy", overwritten, lambda path: parts(path.parent), 4),
        Reader("Arrow of a folder", folder / "arrow/a.arrow", overwritten, lambda path: parts(path.parent), 5),
        Reader("packed Arrow", folder / "packed/a.arrow", overwritten, lambda path: parts(path.parent), 3),
        Reader("Arrow of lists", folder / "lists/a.arrow", overwritten, lambda path: parts(path.parent), 4),
        Reader("Parquet of a folder", folder / "parquet/a.parquet", overwritten, lambda path: parts(path.parent), 5),
        Reader("table.feather, in place", folder / "t.feather", overwritten, br.read_table, 3),
        Reader("table.parquet, in place", folder / "t.parquet", overwritten, br.read_table, 3),
        Reader("certificate", runs / "certificate.json", of_certificate, claimed, 5),
        Reader("config.yaml, played", runs / "config.yaml", of_yaml, lambda path: playing._run(str(path.parent)), 1),
        Reader("checkpoint, played", checkpoint, of_model, lambda path: playing._run(str(path.parent)), 2),
        *of_others,
        Reader(".env", folder / ".env", damaged, lambda path: env(path.parent), 3),
        Reader("--network", folder / "network.txt", damaged, network, 4),
        Reader("state_dict", folder / "state.safetensors", damaged, imported, 4),
    ]


class Found(Exception):
    """A mutation that a reader does not survive."""


def look(reader, content, seconds=math.inf):
    """Reads what is in a file; how it ended, taken or refused."""
    reader.path.write_bytes(content)
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as the command line does
            reader.use(reader.path)
        ended = "taken"
    except REFUSALS as error:
        ended = "refused"
        if not str(error):
            raise Found("refused without a word") from None
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in last if "backprop_ref" in frame.filename or "kernels" in frame.filename]
        at = (ours or last)[-1]
        raise Found(
            f"{type(error).__name__}: {' '.join(str(error).split())[:150]} ({Path(at.filename).name}, line {at.lineno})"
        ) from None
    finally:
        spent, after = time.process_time() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if spent > seconds:
        raise Found(f"took {spent:.1f} s")
    if (after - before) * 1024 > BYTES:
        raise Found(f"took {(after - before) / 2**20:.1f} GiB")
    return ended


def mutation(readers, number, seed):
    """The reader and the content of one of them."""
    chance = random.Random(f"{seed}:{number}")
    reader = chance.choices(readers, [each.weight for each in readers])[0]
    content = reader.content
    with contextlib.suppress(IndexError):  # nothing is left to change
        content = reader.mutate(content, chance)
    return reader, content


def tried(readers, numbers, seed, report=lambda line: None, seconds=math.inf):
    """Tries mutations; how often each reader took and refused, and what was found, by its words."""
    ends, found = Counter(), {}
    for number in numbers:
        reader, content = mutation(readers, number, seed)
        try:
            ends[reader.name, look(reader, content, seconds)] += 1
        except Found as error:
            ends[reader.name, "found"] += 1
            if (reader.name, str(error)) not in found:
                report(f"{number}: {reader.name}: {error}")
            found.setdefault((reader.name, str(error)), number)
        finally:
            reader.path.write_bytes(reader.content)
    return ends, found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--only", type=int)
    given = parser.parse_args()
    faulthandler.enable()
    # in memory, if there is such a folder: on a disk, writing takes longer than reading
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        os.chdir(folder)
        readers = made(folder)
        if given.only is not None:
            reader, content = mutation(readers, given.only, given.seed)
            print(reader.name, content[:3000])
            reader.path.write_bytes(content)
            reader.use(reader.path)
            return
        started, total, found = time.monotonic(), Counter(), {}
        for first in range(given.start, given.start + given.count, 10_000):
            numbers = range(first, min(first + 10_000, given.start + given.count))
            ends, more = tried(readers, numbers, given.seed, lambda line: print(line, flush=True), SECONDS)
            total, found = total + ends, {**more, **found}
            spent, largest = time.monotonic() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            done = f"{sum(total.values())} tried in {spent:.0f} s"
            print(f"{done}; {len(found)} kinds of findings; largest {largest} MB", flush=True)
        for (name, ended), count in sorted(total.items()):
            print(f"{name:28} {ended:8} {count}")


if __name__ == "__main__":
    main()
