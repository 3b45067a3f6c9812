"""People's tables, small ones of every kind: each is read right, or refused in one line that names the remedy."""

import gzip
import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

import backprop_ref as br
from backprop_ref.cli import run
from backprop_ref.data import Preprocessing, csv_file
from backprop_ref.data.tables import read_features


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Each test in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(content, name="f.csv"):
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return name


def columns(*cells, name="a", sep=","):
    """A table of a column and the target that counts."""
    quoted = [f'"{cell}"' if sep in cell else cell for cell in cells]
    return write(f"{name}{sep}t\n" + "".join(f"{cell}{sep}{i}.5\n" for i, cell in enumerate(quoted)))


def refused(words, call, *arguments, **options):
    with pytest.raises(br.InvalidInput) as caught:
        call(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    for word in [words] if isinstance(words, str) else words:
        assert word in message
    return message


# --- numbers ---


@pytest.mark.parametrize(
    ("cells", "sep", "numbers"),
    [
        (["1,5", "2,25"], ";", [1.5, 2.25]),
        (["1.234,5", "2"], ";", [1234.5, 2]),
        (["1.234.567", "2"], ";", [1234567, 2]),
        (["1,234.5", "2"], ",", [1234.5, 2]),
        (["1,234", "25"], ",", [1234, 25]),
        (["12,34,567", "25"], ",", [1234567, 25]),
        (["1 234,5", "2"], ";", [1234.5, 2]),
        (["1\u00a0234", "2"], ",", [1234, 2]),
        (["1'234.5", "2"], ",", [1234.5, 2]),
        (["0,123", "0,5"], ";", [0.123, 0.5]),
        (["1.234", "2.5"], ";", [1.234, 2.5]),
        (["1.234", "2.345"], ",", [1.234, 2.345]),
        (["$1,200.50", "$3"], ",", [1200.5, 3]),
        (["-$5", "$3"], ",", [-5, 3]),
        (["45%", "3.5 %"], ",", [45, 3.5]),
        (["12 kg", "3.5 kg"], ",", [12, 3.5]),
        (["1,5 €", "2 €"], ";", [1.5, 2]),
        (["\u22125", "3"], ",", [-5, 3]),
        (["1e3", "-2.5E-1"], ",", [1000, -0.25]),
        (["+1", ".5"], ",", [1, 0.5]),
        (["007", "12"], ",", [7, 12]),
        ([" 1 ", "2\t"], ";", [1, 2]),
    ],
)
def test_numbers_in_any_countrys_way(cells, sep, numbers):
    table = br.read_table(columns(*cells, sep=sep))
    assert (table.feature_names, table.x[:, 0].tolist()) == (("a",), numbers)


@pytest.mark.parametrize(
    ("content", "options", "numbers"),
    [
        ("a;b;t\n1.234;3,5;1,5\n2.345;4,5;2,5\n", {}, [1234, 2345]),
        ("a;b;t\n1,234;3.5;1.5\n2,345;4.5;2.5\n", {}, [1234, 2345]),
        ("a;t\n1,234;1\n2,345;2\n", {"decimal": ","}, [1.234, 2.345]),
        ("a;t\n1,234;1\n2,345;2\n", {"decimal": "."}, [1234, 2345]),
        ("a;t\n1.234;1\n2.345;2\n", {"decimal": ","}, [1234, 2345]),
        ("a;t\n1.234;1\n2.345;2\n", {"decimal": "."}, [1.234, 2.345]),
    ],
)
def test_a_mark_that_could_be_either_is_what_it_is_elsewhere_in_the_file(content, options, numbers):
    assert br.read_table(write(content), **options).x[:, 0].tolist() == numbers


@pytest.mark.parametrize(
    ("cells", "sep", "words"),
    [
        (["1,234", "2,345"], ";", ["column a: '1,234' may have a decimal comma or separate thousands", "decimal=','"]),
        (
            ["1", "2", "3", "x7"],
            ",",
            ["line 5, column a: 'x7' is not a finite number", "mend the cell", "missing_values=['x7']"],
        ),
        (["1", "2", "3", "1e999"], ",", ["line 5, column a: '1e999' is not a finite number"]),
        (["1", "2", "inf"], ",", ["line 4, column a: 'inf' is not a finite number"]),
        (["1", "2", "1_0"], ",", ["line 4, column a: '1_0' is not a finite number"]),
        (["1", "2", "0x1F"], ",", ["line 4, column a: '0x1F' is not a finite number"]),
        (["0", "1", "2", "3+", "3+"], ",", ["line 5, column a: '3+'", "(2 such cells)", "kinds={'a': 'category'}"]),
        (
            ["12 kg", "13 kg", "500 g"],
            ",",
            ["column a: numbers with different units (g, kg)", "kinds={'a': 'category'}"],
        ),
        (["20.5C", "70F"], ",", ["column a: numbers with different units (C, F)"]),
        (["1.234", "2.345"], ";", ["'1.234' may have a decimal point or separate thousands", "decimal='.'"]),
    ],
)
def test_cells_that_are_no_numbers_are_named(cells, sep, words):
    name = write(f"a{sep}t\n" + "".join(f"{cell}{sep}{i}\n" for i, cell in enumerate(cells)))
    refused(words, br.read_table, name, task="regression")


def test_codes_are_no_measures():
    assert br.read_table(columns("3A", "4B", "1st")).feature_names == ("a=1st", "a=3A", "a=4B")


def test_a_unit_that_is_not_everywhere_is_no_identifier():
    cells = [f"{i} kg" for i in range(60)] + ["500 g"]
    refused("column a: numbers with different units (g, kg)", br.read_table, columns(*cells))


# --- words ---


@pytest.mark.parametrize("pair", [("True", "False"), ("yes", "NO"), ("Y", "n"), ("on", "off"), ("TRUE", "false")])
def test_yes_and_no(pair):
    table = br.read_table(columns(*pair, pair[0]))
    assert (table.feature_names, table.x[:, 0].tolist()) == (("a",), [1, 0, 1])


def test_categories_are_one_hot_and_hashed_on_request():
    table = br.read_table(columns("red", "green", "red"))
    assert (table.feature_names, table.x.tolist()) == (("a=green", "a=red"), [[0, 1], [1, 0], [0, 1]])
    many = columns(*(f"city {i % 60}" for i in range(120)))
    refused(
        "column a is text with 60 different values (or: kinds={'a': 'hashed'}); give drop=['a']", br.read_table, many
    )
    hashed = br.read_table(many, kinds={"a": "hashed"})
    assert (hashed.x.shape, hashed.x.sum()) == ((120, 32), 120)
    assert br.read_table(many, kinds={"a": "category"}).x.shape == (120, 60)


def test_numbers_as_categories():
    table = br.read_table(columns("10", "9", "10"), kinds={"a": "category"})
    assert (table.feature_names, table.x.tolist()) == (("a=9", "a=10"), [[0, 1], [1, 0], [0, 1]])


@pytest.mark.parametrize(
    ("content", "kept", "said"),
    [
        (",a,t\n0,3,1.5\n1,4,2.5\n", ("a",), "the first column is left out: it counts or names the rows"),
        ("Unnamed: 0,a,t\n1,3,1.5\n2,4,2.5\n", ("a",), "Unnamed: 0 is left out: it counts"),
        ("a,t\nMazda,3,1.5\nFiat,4,2.5\n", ("a",), "the first column is left out"),
        (",a,t\n5,3,1.5\n1,4,2.5\n", ("", "a"), ""),
        ("a,b,t\n1,7,1.5\n2,7,2.5\n", ("a",), "b is left out: it is always 7"),
        ("a,b,t\n1,,1.5\n2,,2.5\n", ("a",), "b is left out: it is empty"),
        ("n,a,t\n" + "".join(f"name {i},{i},{i}.5\n" for i in range(12)), ("a",), "12 different texts in 12 rows"),
        ("a,t,\n1,1.5,\n2,2.5,\n", ("a",), "an empty last column is left out"),
    ],
)
def test_what_is_left_out_is_said(content, kept, said):
    table = br.read_table(write(content))
    assert table.feature_names == kept
    assert said in "; ".join(table.notes)


def test_a_column_that_counts_rows_is_spoken_of():
    table = br.read_table(write("id,a,t\n" + "".join(f"{i + 1},{i % 4},{i}.5\n" for i in range(12))))
    assert (table.feature_names, table.notes[1]) == (
        ("id", "a"),
        "id counts the rows, and is learnt from (else: id=['id'])",
    )


# --- dates ---


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        (["1970-01-02", "1970-01-11"], [1, 10]),
        (["1970-01-02 12:00", "1970-01-11 00:00"], [1.5, 10]),
        (["1970-01-02T12:00:00Z", "1970-01-11T00:00:00+02:00"], [1.5, 10 - 2 / 24]),
        (["13/01/1970", "02/01/1970"], [12, 1]),
        (["01/13/1970", "01/02/1970"], [12, 1]),
        (["02.01.1970", "03.02.1970"], [1, 33]),
        (["1970/1/2 6:00 pm", "1970/1/3 6:00 am"], [1.75, 2.25]),
        (["2 Jan 1970", "11 Feb 1970"], [1, 41]),
        (["Jan 2, 1970", "Feb 11, 1970"], [1, 41]),
        (["06:30", "18:00:36"], [6.5, 18.01]),
        (["1970-01", "1970-02"], [0, 31]),
    ],
)
def test_dates_are_numbers(cells, numbers):
    assert br.read_table(columns(*cells)).x[:, 0] == pytest.approx(numbers)


@pytest.mark.parametrize("cells", [("31/12/2023", "1/13/2024"), ("2024-01-01", "2024-01-02", "Total")])
def test_what_is_no_date_among_dates_is_named(cells):
    why = "is no date, as most others are" if cells[-1] == "Total" else "is a date of another form than most others"
    refused([f"column a: '{cells[-1]}' {why}"], br.read_table, columns(*cells))


def test_dates_that_could_be_two():
    file = columns("01/02/1970", "03/04/1970")
    refused(
        ["column a: '01/02/1970' is several dates (or: dates='month-first')", "dates='day-first'"], br.read_table, file
    )
    assert br.read_table(file, dates="day-first").x[:, 0].tolist() == [31, 92]
    assert br.read_table(file, dates="month-first").x[:, 0].tolist() == [1, 62]


# --- what is missing ---

GAPS = "a,c,t\n1,x,1.5\n,y,2.5\n5,,3.5\n9,y,4.5\n"


def test_missing_values_are_refused_by_the_flags_that_help():
    message = refused(["line 3, column a: empty", "line 4, column c: empty"], br.read_table, write(GAPS))
    assert message.endswith("; give missing='median'")


@pytest.mark.parametrize("token", ["", "NA", "N/A", "nan", "NaN", "null", "?", "-", "None", "#N/A", "."])
def test_what_stands_for_nothing(token):
    table = br.read_table(columns("1", token, "3"), missing="mean")
    assert np.isnan(table.x[1, 0])
    assert Preprocessing.fit(table, [0, 1, 2], "none").x(table.x).tolist() == [[1, 0], [2, 1], [3, 0]]


@pytest.mark.parametrize(
    ("rule", "row"),
    [("mean", [5, 0, 0, 1, 0]), ("median", [5, 0, 0, 1, 0]), ("most-frequent", [1, 0, 0, 1, 0])],
)
def test_missing_values_are_filled_in_and_said(rule, row):
    table = br.read_table(write(GAPS), missing=rule)
    preparation = Preprocessing.fit(table, [0, 1, 2, 3], "none")
    x = preparation.x(table.x)
    assert x[1].tolist() == [row[0], 0, 1, 1, 0]
    assert x[2].tolist() == [5, 0, 1 if rule == "most-frequent" else 0, 0, 1]
    assert preparation.n_inputs == 5


def test_the_training_rows_alone_say_what_is_filled_in():
    table = br.read_table(columns("1", "3", "", "1000"), missing="mean")
    assert Preprocessing.fit(table, [0, 1, 2], "none").x(table.x)[2].tolist() == [2, 1]


def test_rows_can_be_dropped():
    table = br.read_table(write(GAPS), missing="drop")
    assert (len(table.x), table.target.tolist()) == (2, [1.5, 4.5])
    assert "2 of 4 rows are left out" in " ".join(table.notes)


def test_texts_of_ones_own_for_a_missing_value():
    assert np.isnan(br.read_table(columns("1", "-999", "3"), missing="mean", missing_values=["-999"]).x[1, 0])


def test_a_target_without_any_value():
    refused("no value at all in column 'k'; name another by target", br.read_table, write("a,k\n1,\n2,\n"))


def test_a_label_that_is_missing():
    file = write("a,k\n1,x\n2,?\n3,y\n")
    refused(["line 3, column k: no label", "missing='drop'"], br.read_table, file)
    assert br.read_table(file, missing="drop").target.tolist() == [0, 1]


def test_all_that_is_in_the_way_stands_in_one_message():
    rows = "".join(f"T {i % 70},{'' if i == 3 else i},{i}.5\n" for i in range(140))
    refused(["drop=['ticket'], missing='median'", "line 5, column age"], br.read_table, write("ticket,age,t\n" + rows))


# --- header, target, task ---


@pytest.mark.parametrize(
    ("target", "task", "classes"),
    [
        ("0 1 0 1", "classification", ("0", "1")),
        ("1 1.0 1e0 2", "classification", ("1", "2")),
        ("0.5 1 2 3", "regression", None),
        ("yes no yes no", "classification", ("no", "yes")),
        ("yes NO Yes no", "classification", ("no", "yes")),
        ("True False True True", "classification", ("False", "True")),
        ("1,5 2,5 3 4", "regression", None),
        (" ".join(str(i * i) for i in range(25)), "regression", None),
        (" ".join(str(i % 3) for i in range(25)), "classification", ("0", "1", "2")),
        (" ".join(str(i % 26) for i in range(52)), "classification", tuple(map(str, range(26)))),
        (" ".join(f"c{i:02}" for i in range(24)), "classification", tuple(f"c{i:02}" for i in range(24))),
        ("a 1 b 2", "classification", ("1", "2", "a", "b")),
    ],
)
def test_the_task_is_decided_in_the_open(target, task, classes):
    rows = "".join(f"{i};{i % 7};{label}\n" for i, label in enumerate(target.split()))
    table = br.read_table(write(f"a;b;t\n{rows}"))
    assert (table.task, table.classes) == (task, classes)
    other = "regression" if task == "classification" else "classification"
    assert re.search(
        rf"header read \(else: header=False\); target t \(else: target='NAME'\).*else: task='{other}'", table.notes[0]
    )


def test_the_projects_own_exports_train_what_they_are():
    for name, task in (("diabetes", "regression"), ("iris", "classification"), ("encoder-24-5-24", "classification")):
        assert run(["data", name, "--out", f"{name}.csv"]) == 0
        table = br.read_table(f"{name}.csv")
        assert table.task == task
        assert np.array_equal(table.x, br.load_dataset(name).x)
        assert np.array_equal(table.target, br.load_dataset(name).target)


def test_several_targets():
    table = br.read_table(write("a,u,v\n1,2,30\n2,3,50\n4,4,10\n"), ["u", "v"])
    assert (table.target.tolist(), table.task) == ([[2, 30], [3, 50], [4, 10]], "regression")
    preparation = Preprocessing.fit(table, [0, 1, 2])
    y = preparation.y(table.target)
    assert y.shape == (3, 2)
    assert preparation.values(y) == pytest.approx(table.target)
    assert Preprocessing.from_dict(json.loads(json.dumps(preparation.to_dict()))) == preparation


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("sep=;\na;t\n1;2.5\n3;4.5\n", ["a"]),
        ("a\tt\n1\t2.5\n3\t4.5\n", ["a"]),
        ("a|t\n1|2.5\n3|4.5\n", ["a"]),
        ("a  t\n1  2.5\n30 4.5\n", ["a"]),
        ('"size, in m"; t\n1;2,5\n3;4,5\n', ["size, in m"]),
        ('"a;b",t\n1,2.5\n3,4.5\n', ["a;b"]),
        ('a, "b, c", t\n1, 4, 2.5\n3, 5, 4.5\n', ["a", "b, c"]),
        ("# made by a logger\n# on a Monday\na,t\n1,2.5\n3,4.5\n", ["a"]),
        ("# a,t\n1,2.5\n3,4.5\n", ["a"]),
        ("Report of 2024\n\na,b,t\n1,1,2.5\n3,2,4.5\n", ["a", "b"]),
        ("a,t\r1,2.5\r3,4.5\r", ["a"]),
        ("\ufeffa,t\n1,2.5\n3,4.5\n", ["a"]),
        ("größe;t\n1;2,5\n3;4,5\n".encode("utf-16"), ["größe"]),
        ("größe;t\n1;2,5\n3;4,5\n".encode("cp1252"), ["größe"]),
        (gzip.compress(b"a,t\n1,2.5\n3,4.5\n", mtime=0), ["a"]),
    ],
)
def test_how_files_are_written(content, names):
    table = br.read_table(write(content))
    assert (list(table.feature_names), table.x[:, 0].tolist(), table.target.tolist()) == (
        names,
        [1, table.x[1, 0]],
        [2.5, 4.5],
    )
    assert table.x[1, 0] in {3, 30}


def test_an_encoding_that_was_guessed_is_said():
    assert "read as cp1252 (else: encoding='NAME')" in " ".join(
        br.read_table(write("é,t\n1,2.5\n3,4.5\n".encode("cp1252"))).notes
    )
    japanese = write("値,t\n1,2.5\n3,4.5\n".encode("shift_jis"))
    assert br.read_table(japanese, encoding="shift_jis").feature_names == ("値",)
    refused("no such encoding", br.read_table, japanese, encoding="nope")


# --- other files, and tables in memory ---


def test_a_zip_archive_of_one_file():
    with zipfile.ZipFile("f.zip", "w") as archive:
        archive.writestr("train.csv", "a,t\n1,2.5\n3,4.5\n")
    assert br.read_table("f.zip").x.tolist() == [[1], [3]]
    with zipfile.ZipFile("f.zip", "a") as archive:
        archive.writestr("test.csv", "a\n1\n")
    refused("an archive of 2 files", br.read_table, "f.zip")


def test_parquet_feather_json_and_arrays():
    import pyarrow as pa
    import pyarrow.feather
    import pyarrow.parquet

    table = pa.table({"a": [1, 3], "ok": [True, False], "kind": ["x", "y"]})
    pyarrow.parquet.write_table(table, "f.parquet")
    pyarrow.feather.write_feather(table, "f.feather")
    write(json.dumps(table.to_pylist()), "f.json")
    write("\n".join(map(json.dumps, table.to_pylist())), "f.jsonl")
    for name in ("f.parquet", "f.feather", "f.json", "f.jsonl"):
        found = br.read_table(name)
        assert (found.feature_names, found.x.tolist(), found.classes) == (("a", "ok"), [[1, 1], [3, 0]], ("x", "y"))
    np.save("f.npy", np.array([[1, 2.5], [3, 4.5]]))
    np.savez("f.npz", X=np.array([[1.0], [3.0]]), y=np.array([2.5, 4.5]))
    for name in ("f.npy", "f.npz"):
        found = br.read_table(name)
        assert (found.x.tolist(), found.target.tolist()) == ([[1], [3]], [2.5, 4.5])
    np.savez("g.npz", a=np.zeros(3), b=np.zeros(3))
    refused("holds a, b; arrays named x and y are needed", br.read_table, "g.npz")


SPREADSHEET = {
    "[Content_Types].xml": '<Types xmlns="{package}/content-types"><Default Extension="rels" ContentType="{type}'
    'package.relationships+xml"/><Default Extension="xml" ContentType="application/xml"/><Override '
    'PartName="/xl/workbook.xml" ContentType="{type}officedocument.spreadsheetml.sheet.main+xml"/></Types>',
    "_rels/.rels": '<Relationships xmlns="{package}/relationships"><Relationship Id="r" Type="{office}/officeDocument" '
    'Target="xl/workbook.xml"/></Relationships>',
    "xl/workbook.xml": '<workbook xmlns="{main}" xmlns:r="{office}"><sheets><sheet name="One" sheetId="1" r:id="r"/>'
    "</sheets></workbook>",
    "xl/_rels/workbook.xml.rels": '<Relationships xmlns="{package}/relationships"><Relationship Id="r" '
    'Type="{office}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
}
PLACES = {
    "package": "http://schemas.openxmlformats.org/package/2006",
    "office": "http://schemas.openxmlformats.org/officeDocument/2006/relationships",
    "main": "http://schemas.openxmlformats.org/spreadsheetml/2006/main",
    "type": "application/vnd.openxmlformats-",
}


def spreadsheet(rows, name="f.xlsx", more=None, merged=""):
    """A workbook of one sheet, or of `more`: texts, numbers, True and False, None for an empty cell."""

    def cell(value):
        if value is None:
            return "<c/>"
        if isinstance(value, bool):
            return f'<c t="b"><v>{int(value)}</v></c>'
        if isinstance(value, str):
            return f'<c t="inlineStr"><is><t>{value}</t></is></c>'
        return f"<c><v>{value}</v></c>"

    merged = merged and f'<mergeCells><mergeCell ref="{merged}"/></mergeCells>'
    with zipfile.ZipFile(name, "w") as archive:
        for part, text in SPREADSHEET.items():
            if more:
                text = text.replace("</sheets>", '<sheet name="Two" sheetId="2" r:id="s"/></sheets>').replace(
                    '/sheet1.xml"/>',
                    '/sheet1.xml"/><Relationship Id="s" Type="{office}/worksheet" Target="worksheets/sheet2.xml"/>',
                )
            archive.writestr(part, re.sub(r"\{(\w+)\}", lambda found: PLACES[found[1]], text))
        for number, sheet in enumerate([rows, more] if more else [rows], 1):
            body = "".join(f"<row>{''.join(map(cell, row))}</row>" for row in sheet)
            content = f'<worksheet xmlns="{PLACES["main"]}"><sheetData>{body}</sheetData>{merged}</worksheet>'
            archive.writestr(f"xl/worksheets/sheet{number}.xml", content)
    return name


def test_formulas_without_values_are_no_empty_column():
    with zipfile.ZipFile(spreadsheet([["a", "b", "t"], *([i, 7777, i / 2] for i in range(5))])) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile("g.xlsx", "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, part.replace(b"<v>7777</v>", b"<f>A2+1</f><v></v>"))
    refused("g.xlsx: holds formulas without their values; open it in a spreadsheet", br.read_table, "g.xlsx")


def test_the_largest_sheet_and_cells_that_are_merged():
    rows = [["region", "a", "t"], ["north", 1, "u"], [None, 2, "v"], ["south", 3, "u"]]
    found = br.read_table(spreadsheet([["About"], ["date", "2020-01-01"]], more=rows, merged="A2:A3"))
    assert found.feature_names == ("region=north", "region=south", "a")
    assert found.x[:, 0].tolist() == [1, 1, 0]
    assert "sheet Two is read" in " ".join(found.notes)


def test_a_sheet_by_its_name():
    first, second = [["a", "t"], [1, "u"], [2, "v"], [4, "u"]], [["a", "t"], [5, "u"], [7, "v"]]
    file = spreadsheet(first, more=second)
    assert "(else: sheet='NAME', of Two)" in " ".join(br.read_table(file).notes)
    assert br.read_table(file, sheet="Two").x.tolist() == [[5], [7]]
    refused("unknown sheet 'two'", br.read_table, file, sheet="two")
    Path("f.csv").write_text("a,t\n1,u\n2,v\n")
    refused("no spreadsheet, so it has no sheet 'Two'; leave out sheet", br.read_table, "f.csv", sheet="Two")
    trained = ["train", file, "--sheet", "Two", "--epochs", "1", "--test-size", "0", "--run-dir", "run"]
    assert run(trained) == run(["predict", "run", "--data-path", file, "--sheet", "Two", "--output", "p.csv"]) == 0
    assert len(Path("p.csv").read_text().splitlines()) == 3
    assert run(["evaluate", "run"]) == run(["evaluate", "run", "--data-path", file, "--sheet", "Two"]) == 0


ARFF = """% of Weka's kind
@RELATION weather
@attribute outlook {sunny, 'rainy day'}
@attribute 'wind speed' numeric
@attribute note string
@attribute windy {0, 1}

@data
sunny,85,'it\\'s hot, no wind',0
'rainy day', ?,b,1
% more
sunny,7.5,b,1
"""


def test_attribute_relation_file_format():
    Path("f.arff").write_text(ARFF)
    found = br.read_table("f.arff", missing="median")
    assert found.feature_names[:3] == ("outlook=rainy day", "outlook=sunny", "wind speed")
    assert found.feature_names[3:] == ("note=b", "note=it's hot, no wind")
    np.testing.assert_array_equal(found.x[:, :3], [[0, 1, 85], [1, 0, np.nan], [0, 1, 7.5]])
    assert (found.classes, found.target.tolist()) == (("0", "1"), [0, 1, 1])
    refused("line 10, column wind speed: '?' stands for a missing value", br.read_table, "f.arff")
    for content, said in (
        (ARFF.replace("b,1", "1"), "line 10: 3 cells for 4 columns"),
        ("@relation r\n@attribute a numeric\n@data\n{0 1}\n", "line 4: rows in braces are not read"),
        ("@relation r\na,b\n@data\n1,2\n", "line 2: no @attribute with a name and a kind"),
        ("@relation r\n@attribute a numeric\n@data\n", "no rows below @data"),
    ):
        Path("f.arff").write_text(content)
        refused(said, br.read_table, "f.arff")


def test_a_file_of_libsvm():
    """Columns keep their numbers, whichever of them a later file has."""
    Path("f.svm").write_text("".join(f"{'-+'[i % 2]}1 1:{i} 3:{i * i}.5 # c\n" for i in range(8)))
    found = br.read_table("f.svm")
    assert (found.feature_names, found.x[2].tolist(), found.classes) == (("x1", "x3"), [2, 4.5], ("-1", "1"))
    Path("heart_scale").write_text(Path("f.svm").read_text())
    assert br.read_table("heart_scale").x.tolist() == found.x.tolist()
    preparation = Preprocessing.fit(found, range(8), "none")
    Path("new.svm").write_text("0 3:2.5 7:1\n0 0:9 1:4\n")
    assert read_features("new.svm", preparation).x.tolist() == [[0, 2.5], [4, 0]]
    for content in ("1,2 1:3\n", "1 3:3 2:4\n", "1 1:x\n", ""):
        Path("g.svm").write_text(content)
        refused("g.svm: ", br.read_table, "g.svm")


def test_a_spreadsheet():
    rows = [["a", "day", "ok", "kind"], [1, "1970-01-02", True, "x"], [3.5, "1970-01-03", False, "y"]]
    found = br.read_table(spreadsheet(rows))
    assert (found.feature_names, found.x.tolist()) == (("a", "day", "ok"), [[1, 1, 1], [3.5, 2, 0]])
    assert found.classes == ("x", "y")
    titled = br.read_table(spreadsheet([["Report"], [None], *rows, [None, None, None, None]], "g.xlsx"))
    assert titled.x.tolist() == found.x.tolist()
    refused("row 3, column a: empty", br.read_table, spreadsheet([*rows[:2], [None, *rows[2][1:]]]))
    write(b"PK\x03\x04xl/workbook", "bad.xlsx")
    refused("no spreadsheet that can be read", br.read_table, "bad.xlsx")


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow", "dict"])
def test_tables_of_other_libraries(library):
    content = {"a": [1, None, 3], "c": ["u", "v", "u"], "t": [1.5, 2.5, 3.5]}
    if library != "dict":
        module = pytest.importorskip(library)
        content = {"pandas": "DataFrame", "polars": "DataFrame", "pyarrow": "table"}[library] and getattr(
            module, "table" if library == "pyarrow" else "DataFrame"
        )(content)
    found = br.read_table(content, missing="mean")
    assert found.feature_names == ("a", "c=u", "c=v")
    assert np.isnan(found.x[1, 0])


def test_types_of_pandas():
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    table = pandas.DataFrame(
        {
            "whole": pandas.array([1, None, 3], dtype="Int64"),
            "kind": pandas.Categorical(["u", "v", "u"]),
            "ok": pandas.array([True, False, None], dtype="boolean"),
            "day": pandas.to_datetime(["1970-01-02", "1970-01-03", "1970-01-04"]),
            "t": [1.5, 2.5, 3.5],
        },
        index=["x", "y", "z"],
    )
    for each in (table, polars.from_pandas(table)):
        found = br.read_table(each, missing="mean")
        assert found.feature_names == ("whole", "kind=u", "kind=v", "ok", "day")
        assert found.x[0].tolist() == [1, 1, 0, 1, 1]
        assert np.isnan(found.x).sum() == 2
        assert found.notes[0].startswith("target t (else: ")
    refused("column l is of type list", br.read_table, pandas.DataFrame({"l": [[1], [2]], "t": [1.5, 2.5]}))
    mixed = pandas.DataFrame({"o": [1, "x", None], "t": [1.5, 2.5, 3.5]})
    refused(["row 1, column o: 'x' is not a finite number", "missing_values=['x']"], br.read_table, mixed)
    assert np.isnan(br.read_table(mixed, missing_values=["x"], missing="mean").x[:, 0]).tolist() == [False, True, True]
    twice = pandas.DataFrame([[1, 2, 3.5]], columns=["a", "a", "t"])
    refused("two columns are named 'a'; rename one", br.read_table, twice)
    refused("pass its .collect()", br.read_table, polars.from_pandas(table).lazy())


@pytest.mark.parametrize("column", ["a", "t"])
def test_infinity_in_a_typed_table_is_refused(column):
    table = {"a": [1.0, 2.0, 3.0], "t": [1.5, 2.5, 3.5]}
    table[column][1] = np.inf
    refused(f"row 1, column {column}: inf is not a finite number", br.read_table, table)


def test_numbers_of_a_large_file_are_read_at_once(monkeypatch):
    monkeypatch.setattr(csv_file, "LARGE_BYTES", 100)
    content = "a,b,c,t\n" + "".join(f"{i / 8},{i},{'' if i % 9 == 5 else i},{i}.5\n" for i in range(300))
    whole = br.read_table(write(content), missing="mean")
    assert whole.x[:3].tolist() == [[0, 0, 0], [0.125, 1, 1], [0.25, 2, 2]]
    assert np.isnan(whole.x[:, 2]).sum() == 33
    refused(
        "line 302, column b: 'x' is not a finite number", br.read_table, write(content + "1,x,3,4.5\n"), missing="mean"
    )
    refused("line 302: 3 cells, but the header has 4", br.read_table, write(content + "1,3,4.5\n"), missing="mean")
    refused(
        "line 302, column a: 'inf' is not a finite number",
        br.read_table,
        write(content + "inf,1,3,4.5\n"),
        missing="mean",
    )
    without = br.read_table(write(content), missing="mean", missing_values=["2"])
    assert np.isnan(without.x[:, 1]).nonzero()[0].tolist() == [2]
    thousands = "a;t\n" + "".join(f"{i}.000;{i}.5\n" for i in range(100, 160))
    assert br.read_table(write(thousands), decimal=",").x[0, 0] == 100000


@pytest.mark.more
def test_codes_whose_zeros_come_late_in_a_large_file_are_no_numbers(monkeypatch):
    monkeypatch.setattr(csv_file, "LARGE_BYTES", 100)
    monkeypatch.setattr(csv_file, "HEAD_BYTES", 1000)
    content = "a,zip,t\n" + "".join(f"{i / 8},{20000 + i % 9},{i}.5\n" for i in range(300))
    assert br.read_table(write(content)).x[-1].tolist() == [299 / 8, 20002]
    found = br.read_table(write(content + "1,00345,3.5\n"))
    assert "zip=00345" in found.feature_names
    monkeypatch.setattr(csv_file, "SCAN_BYTES", 64)
    for shift in range(64):  # wherever a block ends
        assert "zip=00345" in br.read_table(write("x" * shift + content + "1,00345,3.5\n")).feature_names


# --- for a trained network ---

TRAIN = """size,colour,day,ok,who,kind
1.5,red,2024-01-01,yes,ann,a
2.5,blue,2024-02-01,no,bob,b
3.5,red,2024-03-01,yes,cy,a
"""


@pytest.fixture
def rules():
    return Preprocessing.fit(br.read_table(write(TRAIN, "train.csv"), id=["who"]), [0, 1, 2], "none")


def test_rules_are_kept_as_json(rules):
    again = Preprocessing.from_dict(json.loads(json.dumps(rules.to_dict())))
    assert again == rules
    assert [rule.kind for rule in again.rules] == ["number", "category", "date", "boolean", "id", "category"]


def test_a_network_of_an_earlier_version_is_still_read():
    earlier = {
        "feature_names": ["a", "b"],
        "target_name": "kind",
        "classes": ["x", "y"],
        "shift": [0.0, 1.0],
        "scale": [1.0, 2.0],
        "target_shift": 0.0,
        "target_scale": 1.0,
        "one_column": False,
        "normalize": "none",
    }
    table = read_features(write("kind,b,a\ny,3,1\n"), Preprocessing.from_dict(earlier))
    assert (table.x.tolist(), table.truth.tolist()) == ([[1, 3]], [1])


@pytest.mark.parametrize("answer", ["kind", "blank", "?", "absent", "new"])
def test_any_order_of_columns_and_no_answer(rules, answer):
    cell = {"kind": ",b", "blank": ",", "?": ",?", "absent": "", "new": ",never seen"}[answer]
    name = "" if answer == "absent" else ",kind"
    table = read_features(write(f"ok,who,day,extra,colour,size{name}\nno,dan,2024-01-02,9,red,7{cell}\n"), rules)
    assert table.x.tolist() == [[7, 0, 1, 19724, 0]]
    assert (table.bad, table.ids) == ({}, {"who": ["dan"]})
    assert (table.truth is None) == (answer == "absent")
    if answer != "absent":
        assert table.truth.tolist() == [1 if answer == "kind" else -1]


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        (",red,2024-01-01,yes", "column size: empty"),
        ("x,red,2024-01-01,yes", "column size: 'x' is not a finite number"),
        ('"1,5",red,2024-01-01,yes', "column size: '1,5' is not a finite number"),
        ("1,green,2024-01-01,yes", "column colour: 'green' is none of the values that the network knows (blue, red)"),
        ("1,red,01/02/2024,yes", "column day: '01/02/2024' is no date of the form iso"),
        ("1,red,2024-01-01,maybe", "column ok: 'maybe' is neither no nor yes"),
    ],
)
def test_rows_that_cannot_be_done_are_named(rules, cells, why):
    table = read_features(write(f"size,colour,day,ok\n1,red,2024-01-01,yes\n{cells}\n"), rules)
    assert table.bad == {1: why}
    assert table.where(1) == "line 3"


def test_a_gap_where_training_had_none():
    table = br.read_table(write("a,b,c,t\n1,,x,1.5\n2,3,y,2.5\n4,5,x,3.5\n"), missing="median")
    rules = Preprocessing.fit(table, [0, 1, 2], "none")
    new = read_features(write("a,b,c\n1,,x\n,3,x\n2,3,\n"), rules)
    assert new.bad == {1: "column a: empty", 2: "column c: empty"}
    assert rules.x(new.x[:1]).tolist() == [[1, 4, 1, 0, 1]]


def test_columns_that_are_not_there(rules):
    refused(["no column 'size' (and 2 more)"], read_features, write("ok,x\nyes,1\n"), rules)


def test_a_first_row_of_data_is_no_header_for_a_network_without_names():
    rules = Preprocessing.fit(br.read_table(write("u,1,x\nv,2,y\nu,3,y\n"), header=False), [0, 1, 2], "none")
    table = read_features(write("v,7\nu,8\n"), rules)
    assert table.x.tolist() == [[0, 1, 7], [1, 0, 8]]


def test_messages_name_flags_on_the_command_line_and_arguments_in_python(capsys):
    from backprop_ref.cli import run

    content = {"a": ["1", None, "3", "4"], "who": ["?", "x", "y", "x"], "t": ["u", "v", "u", "v"]}
    file = write(
        "\n".join(",".join(cell or "" for cell in row) for row in [content, *zip(*content.values(), strict=True)])
        + "\n"
    )
    said = refused(["missing='median'", "remove that row"], br.read_table, content)
    assert "--" not in said
    refused(["missing='median'", "remove that line"], br.read_table, file)
    assert run(["columns", str(file)]) == 2
    assert "--missing median" in capsys.readouterr().err


def test_columns_of_lists_are_refused_unless_they_are_dropped():
    pa = pytest.importorskip("pyarrow")
    made = pa.table({"n": [[1], [2], [3]], "s": [{"k": 1}] * 3, "a": [1, 2, 3], "t": ["u", "v", "u"]})
    message = refused("column n is of type list<item: int64>", br.read_table, made)
    assert message.endswith("give drop=['n', 's']")
    assert br.read_table(made, drop=["n", "s"]).feature_names == ("a",)
