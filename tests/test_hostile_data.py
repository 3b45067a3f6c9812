"""Folders of data that somebody made to do harm: refused in a line, in little time and memory."""

import json
import os
import resource
import struct
import time
import zipfile
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

import backprop_ref as br
from backprop_ref.blocks import files

N = 60
X = np.sin(np.arange(2.0 * N)).reshape(N, 2)
LETTERS = ["x", "y"] * (N // 2)


def headed(path, shape, kind="'<f8'", data=b"", size=0):
    """An .npy file whose header says what somebody likes; of `size` bytes, most of which take no space."""
    header = f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}}}\n".encode()
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data)
    os.truncate(path, max(path.stat().st_size, size))


def arrays(x=None, y=None):
    """Two files; what is no array is written by a function of a path."""

    def make(folder):
        for name, content in (("X", X if x is None else x), ("y", np.arange(N) % 3 if y is None else y)):
            path = folder / f"{name}.npy"
            content(path) if callable(content) else np.save(path, content, allow_pickle=True)

    return make


def says(*told, **more):
    return lambda path: headed(path, *told, **more)


def arrow(*columns, packed=None, **named):
    """An Arrow file of columns, which may have the same name; or of these targets beside two features."""

    def make(folder):
        told = columns or [("a", X[:, 0]), ("b", X[:, 1]), *named.items()]
        arrays = [column if isinstance(column, pa.Array) else pa.array(column) for _, column in told]
        batch = pa.RecordBatch.from_arrays(arrays, [name for name, _ in told])
        options = pa.ipc.IpcWriteOptions(compression=packed)
        with pa.ipc.new_file(folder / "part.arrow", batch.schema, options=options) as file:
            file.write_batch(batch)

    return make


def parquet(rows=None, **columns):
    """A Parquet file; `rows` is what its end says there are, where there are 9999."""

    def make(folder):
        path = folder / "part.parquet"
        pa.parquet.write_table(pa.table(columns or {"a": X[:, 0], "t": LETTERS}), path, store_schema=False)
        if rows is not None:
            content = path.read_bytes()
            (length,) = struct.unpack("<I", content[-8:-4])
            end = content[-8 - length : -8].replace(varint(9999), varint(rows))
            path.write_bytes(content[: -8 - length] + end + struct.pack("<I", len(end)) + b"PAR1")

    return make


def varint(number):
    """As Thrift writes it."""
    number, found = 2 * number, bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def raw_texts(offsets, content):
    """Texts that are what somebody says."""
    found = [None, pa.py_buffer(np.asarray(offsets, np.int32)), pa.py_buffer(content)]
    return pa.Array.from_buffers(pa.string(), len(offsets) - 1, found)


def codes(number, *texts):
    return pa.DictionaryArray.from_arrays(pa.array(np.full(N, number, np.int32)), pa.array(texts), safe=False)


def spoilt(name, before, after):
    """An Arrow file with other bytes."""

    def make(folder):
        arrow(("a-b-c", X[:, 0]), ("t", LETTERS))(folder)
        content = (folder / name).read_bytes()
        assert before in content
        (folder / name).write_bytes(content.replace(before, after))

    return make


MANY = {"a": np.arange(9999.0), "t": ["x", "y", "z"] * 3333}
HOSTILE = {
    "pickled": (arrays(x=np.array([[print]] * N, object)), "X.npy: no array that can be read"),
    "negative shape": (arrays(x=says("(-60, 2)", data=bytes(960))), "X.npy: no array that can be read"),
    "endless header": (arrays(x=lambda path: path.write_bytes(b"\x93NUMPY\x02\x00\x09\0\0\0{'descr':")), "no array"),
    "no columns": (arrays(x=says("(1000000000000000, 0)"), y=says("(1000000000000000, 0)")), "numbers of shape"),
    "too wide": (arrays(x=says(f"({N}, 100000000)", "'|u1'", size=7 * 10**9)), "100,000,000 features"),
    "no shape": (arrays(y=np.float64(1.0)), "y.npy: float64 of shape ()"),
    "no numbers": (arrays(y=np.zeros(N, "V8")), "for each row a number, a text"),
    "no characters": (arrays(y=says(f"({N},)", "'<U2'", data=b"\xff" * 8 * N)), "holds texts that are none"),
    "half characters": (arrays(y=np.array(["\ud800", "a"] * (N // 2))), "holds texts that are none"),
    "long labels": (arrays(y=np.array(["x" * 2000, "y"] * (N // 2))), "a text of 2,000 characters, which is no label"),
    "codes of nothing": (arrow(t=codes(10**6, "x", "y")), "part.arrow: cannot be read (In column 2"),
    "codes of no text": (arrow(t=codes(1, "x", None)), "part.arrow, row 0, column t: no label"),
    "no UTF-8": (arrow(t=raw_texts(np.arange(N + 1), b"\xff" * N)), "part.arrow: cannot be read (In column 2"),
    "bytes": (arrow(t=[b"\xff", b"x"] * (N // 2)), "target t holds values of type binary"),
    "lists": (arrow(t=[["x"], ["y"]] * (N // 2)), "target t holds values of type list<item: string>, neither"),
    "lists of numbers": (arrow(t=[[1], [2]] * (N // 2)), "target t holds values of type list<item: int64>, neither"),
    "structs": (arrow(t=[{"x": 1}, {"x": 2}] * (N // 2)), "target t holds values of type struct<x: int64>, neither"),
    "twice": (arrow(("a", X[:, 0]), ("a", X[:, 1]), ("t", LETTERS)), "two columns are named a;"),
    "no names": (spoilt("part.arrow", b"\x05\0\0\0a-b-c", b"\x05\0\0\0a-b-\xff"), "part.arrow: cannot be read as"),
    "rows that are not": (parquet(2**40, **MANY), "1,099,511,627,776 rows of 2 columns at once need"),
    "a few more rows": (parquet(10_000, **MANY), "part.parquet: "),
    "long lists": (parquet(a=[[0.0] * (2 * 10**6), *([[0.0]] * 3)], t=[*"xyxy"]), "2,000,000 features"),
    "long texts": (parquet(a=X[:, 0], t=["x" * 10**6, "y" * 10**6] * (N // 2)), "a text of 1,000,000 characters"),
    "a pipe": (arrays(x=os.mkfifo), "y.npy; one X.npy and one y.npy are needed"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.few(12)
def test_a_hostile_folder_is_refused_in_a_line(tmp_path, name):
    make, said = HOSTILE[name]
    make(tmp_path)
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(br.InvalidInput) as refused:
        br.open_folder(tmp_path, block_rows=20)
    assert said in str(refused.value) and "\n" not in str(refused.value) and len(str(refused.value)) < 400
    assert time.process_time() - started < 3.0
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 2**28


def test_a_text_is_held_once_however_many_rows_it_stands_in(tmp_path):
    """Else 20 MB on disk are 60 GB."""
    n = 60_000
    texts = pa.array(["x" * 10**5 + c for c in "ab"])
    column = pa.DictionaryArray.from_arrays(pa.array(np.arange(n, dtype=np.int32) % 2), texts)
    parquet(a=np.arange(float(n)), t=column)(tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(br.InvalidInput, match="which is no label"):
        br.open_folder(tmp_path)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 2**28


MAKE = {
    "npy": (arrays(), "X.npy"),
    "y.npy": (arrays(), "y.npy"),
    "arrow": (arrow(t=LETTERS), "part.arrow"),
    "parquet": (parquet(), "part.parquet"),
}


@pytest.mark.parametrize("how", ["shorter", "other", "gone"])
@pytest.mark.parametrize("kind", MAKE)
def test_a_folder_that_changes_while_it_is_read_is_refused(tmp_path, kind, how):
    """What is mapped into memory and cut short would end the process; other numbers would train another network."""
    make, name = MAKE[kind]
    make(tmp_path)
    part = br.open_folder(tmp_path, block_rows=20).parts(test_size=0.0, readers=0)["train"]
    assert sum(len(x) for x, _ in part.each(range(3), "float64")) == N
    content = (tmp_path / name).read_bytes()
    if how == "gone":
        (tmp_path / name).unlink()
    elif how == "shorter":
        os.truncate(tmp_path / name, 8)
    else:
        (tmp_path / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        os.utime(tmp_path / name, ns=(1, 1))
    with pytest.raises(br.InvalidInput, match=f"{name}: has changed while it was read"):
        list(part.each(range(3), "float64"))


def test_a_file_without_rows_is_said(tmp_path):
    parquet()(tmp_path)
    table = pa.parquet.read_table(tmp_path / "part.parquet")
    pa.parquet.write_table(table.slice(0, 0), tmp_path / "rest.parquet")
    assert br.open_folder(tmp_path).notes[1] == "without a row: rest.parquet"


def test_labels_are_numbered_as_they_come_up_however_they_are_stored(tmp_path):
    """So that a fingerprint says what stands in a folder, and not how."""
    texts = ["c", "a", "a", "b", "c", "a"] * 10
    dictionary = pa.array(["b", "a", "unused", "c", "a"])
    coded = pa.DictionaryArray.from_arrays(pa.array([3, 1, 4, 0, 3, 4] * 10, pa.int32()), dictionary)
    prints = []
    for i, make in enumerate([arrow(("a", X[:, 0]), ("t", texts)), arrow(("a", X[:, 0]), ("t", coded)),
                              parquet(a=X[:, 0], t=texts), parquet(a=X[:, 0], t=coded)]):  # fmt: skip
        (tmp_path / f"{i}").mkdir()
        make(tmp_path / f"{i}")
        opened = br.open_folder(tmp_path / f"{i}", block_rows=20)
        assert opened.classes == ("a", "b", "c")
        prints.append(opened.parts()["train"].fingerprint())
    assert all(one == other for one, other in pairwise(prints))
    assert files.LONGEST_LABEL >= 1000


def test_a_data_set_of_a_name_that_no_file_has(tmp_path):
    with pytest.raises(br.InvalidInput, match="too long for the name of a file"):
        br.run(dataset="x" * 300 + ".csv", run_dir=tmp_path / "run")


def test_weights_of_a_type_that_onnx_has_not(tmp_path):
    onnx = pytest.importorskip("onnx")
    network = br.Network([2, 1], ["sigmoid"], "bce")
    br.export(tmp_path / "m.onnx", network, network.init())
    proto = onnx.load(tmp_path / "m.onnx")
    proto.graph.initializer[0].data_type = 49
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(br.InvalidInput, match="cannot be read"):
        br.from_onnx(tmp_path / "m.onnx")


def test_a_block_that_memory_does_not_hold_is_no_bad_file(tmp_path, monkeypatch):
    parquet()(tmp_path)
    part = br.open_folder(tmp_path, block_rows=20).parts(test_size=0.0, readers=0)["train"]

    def short(*given):
        raise pa.ArrowMemoryError("realloc of size 67108864 failed")

    monkeypatch.setattr(files.ParquetFiles, "_table", short)
    with pytest.raises(br.InvalidInput, match=r"part\.parquet: .* does not fit into memory; give fewer rows by"):
        list(part.each(range(3), "float64"))


# --- single files ---


def zipped(**files):
    def make(path):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content, zipfile.ZIP_STORED if len(content) < 99 else None)

    return make


def sheet(cells, more=""):
    """A spreadsheet of one sheet, of such rows."""
    namespace = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    at = "http://schemas.openxmlformats.org/{}/2006/relationships"
    one = f'<Relationships xmlns="{at.format("package")}">'
    one += f'<Relationship Id="rId1" Type="{at.format("officeDocument")}/{{}}" Target="{{}}"/></Relationships>'
    book = f'<workbook {namespace} xmlns:r="{at.format("officeDocument")}"><sheets>'
    return zipped(
        **{
            "[Content_Types].xml": "<Types/>",
            "_rels/.rels": one.format("officeDocument", "xl/workbook.xml"),
            "xl/workbook.xml": book + '<sheet name="S" sheetId="1" r:id="rId1"/></sheets></workbook>',
            "xl/_rels/workbook.xml.rels": one.format("worksheet", "worksheets/sheet1.xml"),
            "xl/worksheets/sheet1.xml": f"<worksheet {namespace}><sheetData>{cells}</sheetData>{more}</worksheet>",
        }
    )


def table_of(rows, columns):
    """A spreadsheet in the open format, of one row of one cell that is said to be there so often."""
    names = ("office", "table", "text")
    spaces = " ".join(f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in names)
    cell = f'<table:table-cell office:value-type="float" office:value="1" table:number-columns-repeated="{columns}"/>'
    body = f'<table:table table:name="S"><table:table-row table:number-rows-repeated="{rows}">{cell}'
    content = f"<office:document-content {spaces}><office:body><office:spreadsheet>{body}"
    content += "</table:table-row></table:table></office:spreadsheet></office:body></office:document-content>"
    kind = "application/vnd.oasis.opendocument.spreadsheet"
    manifest = f"""<m:manifest xmlns:m="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"><m:file-entry
        m:full-path="/" m:media-type="{kind}"/></m:manifest>"""
    return zipped(**{"mimetype": kind, "META-INF/manifest.xml": manifest, "content.xml": content})


def row(number, *cells):
    return f'<row r="{number}">' + "".join(f'<c r="{at}"><v>{value}</v></c>' for at, value in cells) + "</row>"


def npy(*told, **more):
    """An .npy file's bytes, by its header."""

    def make(path):
        headed(path, *told, **more)

    return make


def written(content):
    return lambda path: path.write_text(content)


def lying(path):
    headed(path.with_name("x.npy"), "(1000000000000, 3)")
    zipped(**{"x.npy": path.with_name("x.npy").read_bytes()})(path)


ENDS = "no spreadsheet that can be read (it ends what reads it, or asks for over 1,024 MiB of memory or 10 s)"
FILES = {
    "cells far apart.xlsx": (sheet(row(1, ("A1", 1)) + row(1048576, ("XFD1048576", 2))), ENDS),
    "a row that is no number.xlsx": (sheet(row("9" * 20, ("A99999999999", 1))), ENDS),
    "merged beyond its end.xlsx": (
        sheet(row(1, ("A1", 1)), '<mergeCells><mergeCell ref="XFD1:XFD1048576"/></mergeCells>'),
        "one row of data",
    ),
    "unpacked.xlsx": (sheet(" " * 2**27), "over 100 times as large unpacked"),
    "a billion rows.ods": (table_of(10**9, 2), "over 100 times as large unpacked"),
    "two sizes.ods": (table_of(2**20, 2**14), "no spreadsheet that can be read"),
    "unpacked.npz": (zipped(**{"x.npy": bytes(2**27 + 1)}), "over 100 times as large unpacked"),
    "lying.npz": (lying, "float64 of shape (1000000000000, 3) in 0 bytes"),
    "of nothing.npy": (npy("(2000000000, 1)", "'<U0'"), "<U0 of shape (2000000000, 1) in 0 bytes"),
    "nested.npy": (npy("(" + "-" * 8000 + "5, 2)"), "arrays that memory does not hold"),
    "wide.npy": (npy("(2, 200000)", "'|u1'", size=500_000), "200,000 columns, and a table may have 100,000"),
    "other names.json": (
        written(json.dumps([{f"k{i}": i} for i in range(9999)])),
        "9,999 names in 9,999 records, most of which have few",
    ),
    "other names by row.json": (
        written(json.dumps({f"k{i}": {f"r{i}": 1} for i in range(9999)})),
        "9,999 names in 9,999 records, most of which have few",
    ),
    "a name twice.json": (
        written("[{" + ",".join(f'"k{i}":1' for i in range(50_000)) + ',"k7":2}]'),
        "a record has 'k7' twice",
    ),
    "wide.arff": (
        written("@relation r\n" + "@attribute a numeric\n" * 60_000 + "@data\n" + "1," * 59_999 + "1"),
        "two columns are named 'a'",
    ),
    "wide.libsvm": (written("1 1000000000:1\n0 1:2\n"), "1,000,000,001 columns, and a table may have 100,000"),
    "sparse.libsvm": (written("0 99000:1\n" * 2000), "2,000 rows of 99,001 columns, nearly all of which are 0"),
}


@pytest.mark.few(4)
@pytest.mark.parametrize("name", FILES)
def test_a_hostile_file_is_refused_in_a_line(tmp_path, name):
    make, said = FILES[name]
    make(tmp_path / name)
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(br.InvalidInput) as refused:
        br.read_table(tmp_path / name)
    assert said in str(refused.value) and "\n" not in str(refused.value)
    assert time.process_time() - started < 5.0
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 2**29


@pytest.mark.parametrize("name", ["/proc/kmsg", "/proc/self/environ"])
def test_what_the_system_makes_up_is_no_file(name):
    """/proc/kmsg says that it is a file of no size, and is waited for."""
    if not os.access(name, os.R_OK):
        pytest.skip(f"{name} cannot be read here")
    with pytest.raises(br.InvalidInput, match="reading it might never end|cannot be read"):
        br.read_table(name)
