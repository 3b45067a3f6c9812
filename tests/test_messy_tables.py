"""Tables as people have them: read right, with what was decided said, or refused in one line whose remedy works."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

import backprop_ref as br
from backprop_ref.cli import run

pa = pytest.importorskip("pyarrow")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def rows(header, cells, n=24):
    """A table: cells in turn, or made of the number of the row; a number; a label."""
    made = [cells(i) if callable(cells) else cells[i % len(cells)] for i in range(n)]
    return f"{header},b,t\n" + "".join(f"{cell},{i * i},{'uv'[i % 2]}\n" for i, cell in enumerate(made))


DASHES = [
    *("-", "--", "\u2013", "\u2014", "\u2212", ".", "...", "\u2026"),
    "N/a",
    "Null",
    "(null)",
    r"\N",
    "#REF!",
    "k.A.",
]


@pytest.mark.parametrize("sign", DASHES)
def test_signs_for_nothing_among_numbers_are_missing_values(sign):
    """In features and in targets; among texts they may be values."""
    Path("f.csv").write_text(rows("a", ["1", sign, "2.5", "4"]))
    with pytest.raises(br.InvalidInput, match="stands for a missing value .6 of 24 rows.*; give missing='median'"):
        br.read_table("f.csv")
    assert np.isnan(br.read_table("f.csv", missing="median").x[:, 0]).sum() == 6
    for labels in (["0", "1", sign], ["1.5", "2", "3.25", sign]):
        Path("g.csv").write_text("a,t\n" + "".join(f"{i * i},{labels[i % len(labels)]}\n" for i in range(24)))
        with pytest.raises(br.InvalidInput, match="line .*, column t: no label"):
            br.read_table("g.csv")
        assert len(br.read_table("g.csv", missing="drop").x) == 24 - 24 // len(labels)
    Path("h.csv").write_text(rows("a", ["u", sign, "v"]))
    assert "a=" + sign in br.read_table("h.csv").feature_names


def test_a_header_that_is_repeated_is_left_out():
    part = "".join(f"{i},{'xy'[i % 2]},{i / 3}\n" for i in range(9))
    Path("f.csv").write_text(f"a,b,t\n{part}a,b,t\n{part}a,b,t\n")
    found = br.read_table("f.csv")
    assert (found.feature_names, found.x.shape) == (("a", "b=x", "b=y"), (18, 3))
    assert "line 11 repeats the header, and others like it, and is left out" in found.notes
    Path("g.csv").write_text("a,b\n" + "x,u\ny,v\n" * 9 + "a,b\n")  # which may be a row as all others
    assert "no header" in br.read_table("g.csv").notes[0]
    assert br.read_table("g.csv", header=True).x.shape == (18, 2)


READ = {
    "percent": (rows("a", lambda i: f"{i}%"), ["a", "b"], 23, "target t"),
    "preamble": (
        "Sales\nMade,2020-01-01\n\n" + rows("a", lambda i: f"{i}.5"),
        ["a", "b"],
        23.5,
        "lines above the table",
    ),
    "yes, Y": (rows("a", ["yes", "no", "Y", "N"]), ["a", "b"], 0, "target t"),
    "TRUE, 1": (rows("a", ["TRUE", "0", "1", "FALSE"]), ["a", "b"], 0, "target t"),
    "zip code": (rows("a", ["02134", "10001"]), ["a=02134", "a=10001", "b"], 0, "a: '02134' is a code"),
    "apostrophe": (rows("a", lambda i: f"'{i}"), ["a", "b"], 23, "target t"),
    "its name is id": (
        rows("house_id", lambda i: 7 * i + 3),
        ["house_id", "b"],
        164,
        "house_id differs from row to row",
    ),
    "total": (rows("a", ["1", "2"]) + "0,99,Total\n", ["a", "b"], 0, "line 26 is learnt from; if 'Total' is a total"),
    "thousands, by the target": ("a;t\n1.250;0,5\n2.250;1,25\n4.250;2,5\n", ["a"], 4250, "target t"),
    "years above others": (
        "city,2019,2020\nBonn,1850,3\nKiel,77,9\nUlm,5,4\n",
        ["city=Bonn", "city=Kiel", "city=Ulm", "2019"],
        0,
        "header read",
    ),
    "form filled in online": (
        rows("a", ["2024/03/12 3:00:00 PM GMT+2", "2024/03/12 1:00:00 AM GMT"]),
        ["a", "b"],
        19794 + 1 / 24,
        "target t",
    ),
    "months": (rows("a", lambda i: f"{2020 + i // 12}{i % 12 + 1:02}"), ["a", "b"], 18962, "target t"),
    "dates of SAS": (rows("a", ["12MAR2024", "13MAR2024"]), ["a", "b"], 19795, "target t"),
    "dates of letters": (
        rows("a", ['"Tue, 12 Mar 2024 12:00:00 +0200"', '"Wed, 13 Mar 2024 02:00:00 +0200"']),
        ["a", "b"],
        19795,
        "target t",
    ),
    "-999": (rows("a", ["-999", "4", "5.5", "6"]), ["a", "b"], 6, "a: 6 cells are -999, far from all others"),
    "blank rows": (rows("a", ["1", "2"]) + ",,\n,,\n", ["a", "b"], 2, "2 of 26 rows are left out, as they are empty"),
    "header of 1, 2, 3": ("1,2,3\n4,5,u\n6,8,v\n", ["1", "2"], 6, "header read"),
    "header of years": ("2019,2020,t\n4,5,u\n6,8,v\n", ["2019", "2020"], 6, "header read"),
    "name in two lines": ('"a\nb",c,t\n1,2,u\n3,5,v\n', ["a b", "c"], 3, "header read"),
    "euro": ("a;b;t\n" + "".join(f"{i},50 €;{i * i};{'uv'[i % 2]}\n" for i in range(24)), ["a", "b"], 23.5, "target t"),
    "francs": (rows("a", lambda i: f"CHF {i}.50"), ["a", "b"], 23.5, "target t"),
    "identifier": (rows("a", lambda i: 90071992547409931 + i), ["b"], 529, "a is left out: numbers of 16 digits"),
    "quantities, each once": (
        rows("a", ["1.5", "2"], 12).replace("u", "7").replace(",v", ",9"),
        ["a", "b"],
        2,
        "target t",
    ),
}


@pytest.mark.parametrize("kind", READ)
def test_read_and_said(kind):
    content, names, last, said = READ[kind]
    Path("f.csv").write_text(content)
    table = br.read_table("f.csv")
    assert (list(table.feature_names), table.x[-1, 0]) == (names, last)
    assert said in " ".join(table.notes)


REFUSED = {
    "units": (rows("a", ["3%", "4%", "0.03"]), "numbers with different units (%, none)"),
    "currencies": (rows("a", ["$3", "€4"]), "numbers with different units ($, €)"),
    "forms of dates": (rows("a", ["2020-01-01", "13/02/2020", "2020-01-03"]), "is a date of another form than most"),
    "no such days": (rows("a", lambda i: f"2020-02-{i + 8:02d}"), "'2020-02-30' is no date, as most others are"),
    "fractions": (rows("a", lambda i: f"{i} 1/2"), "'0 1/2' and the like are no numbers or dates that can be read"),
    "post codes": (rows("a", lambda i: f"0{2100 + i}"), "column a holds codes such as '02100'"),
    "telephones": (rows("a", lambda i: f"+4930{123456 + i}"), "column a holds codes such as '+4930123456'"),
    "addresses": (rows("a", lambda i: f"10.{100 + i}.120.{130 + i}"), "'10.100.120.130' and the like are no numbers"),
    "target of currencies": (
        "a,t\n" + "".join(f"{i},{'$€'[i % 2]}{i / 4}\n" for i in range(24)),
        "different units ($, €)",
    ),
    "infinity": (rows("a", lambda i: "inf" if i == 4 else i), "line 6, column a: 'inf' is not a finite number"),
    "target with a word": ("a,y\n" + "".join(f"{i},{'n/k' if i == 3 else i / 4}\n" for i in range(16)), "'n/k' is not"),
    "target of dates": ("a,d\n" + "".join(f"{i % 7},2020-01-{i + 1:02d}\n" for i in range(16)), "target d holds dates"),
    "target with gaps": ("a,t\n" + "".join(f"{i % 7},{['u', 'v', ''][i % 3]}\n" for i in range(16)), "no label"),
    "gaps everywhere": ("a,b,t\n,2,u\n1,,v\n2,3,\n3,4,u\n4,5,v\n", "line 2, column a: empty"),
    "target of texts": ("a,t\n1,u\n2,v\n3,u\n", "column t holds texts, no quantities", "--task", "regression"),
    "texts alone": ("a,t\n" + "".join(f"it is {i} o'clock,{'uv'[i % 2]}\n" for i in range(60)), "60 different texts"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_and_read_by_the_remedy(kind, capsys):
    content, said, *flags = REFUSED[kind]
    Path("f.csv").write_text(content)
    assert run(["columns", "f.csv", *flags]) == 2
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1
    remedies = re.findall(r"(?:--(?!target)[a-z-]+ (?:'[^']*'|[^\s;),]+)(?: with)? ?)+", message)
    assert remedies
    for remedy in remedies:
        assert run(["columns", "f.csv", *shlex.split(remedy.replace(" with", ""))]) == 0, remedy
    capsys.readouterr()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("region,n,y\nx,1,2.5\ny,2,3\nx,3,4.5\nTotal,6,10\n", "line 5: 'Total' of the rows above; remove that line"),
        ("r,n,y\nu,1,2\nv,2,3\nTotal,3,5\nu,4,1\nv,2,8\nTotal,6,9\n", "line 4: 'Total' of the rows above"),
        ("a,t\n---,---\n1,u\n2,v\n", "line 2: no row of data ('---')"),
        (rows("a", ["1", "2"]).replace("t\n", "t\n(m),(kg),u\n", 1), "line 2: no row of data ('(m)' in column a"),
        (
            "a,b,t\n1,2,u\n3,\0,v\n",
            r"line 3, column b: '\x00' is not a finite number; mend the cell or remove that line",
        ),
        ("a,b,t\n1,2,u\n\n3,4,v\nSource: us\n", "line 5: 1 cells, but the header has 3"),
        ("a,note\n" + "1,\n2,\n3,x\n4,y\n5,\n", "no label, as in most rows; name another column by target"),
    ],
)
def test_lines_to_be_removed_are_named(content, said):
    Path("f.csv").write_text(content)
    with pytest.raises(br.InvalidInput, match=re.escape(said)):
        br.read_table("f.csv")


def test_a_total_is_no_total_unless_it_adds_up():
    Path("f.csv").write_text("brand,n,y\nx,1,2.5\ny,2,3\nx,3,4.5\nTotal,9,1.5\n")
    assert len(br.read_table("f.csv").x) == 4


def test_integers_that_floats_do_not_hold():
    label = ["u", "v"] * 6
    table = br.read_table(pa.table({"id": [2**53 + i for i in range(12)], "b": range(12), "t": label}))
    assert table.feature_names == ("b",)
    assert "id is left out: numbers of 16 digits" in " ".join(table.notes)


@pytest.mark.parametrize(
    "content",
    [
        '{"a": {"0": 1, "1": 2}, "t": {"0": "u", "1": "v"}}',
        '{"columns": ["a", "t"], "index": [0, 1], "data": [[1, "u"], [2, "v"]]}',
        '{"a": [1, 2], "t": ["u", "v"]}',
    ],
)
def test_json_as_pandas_writes_it(content):
    Path("f.json").write_text(content)
    table = br.read_table("f.json")
    assert (table.feature_names, table.x.tolist(), table.classes) == (("a",), [[1], [2]], ("u", "v"))


def test_json_with_a_name_twice():
    Path("f.json").write_text('[{"a": 1, "a": 2, "t": "u"}]')
    with pytest.raises(br.InvalidInput, match="a record has 'a' twice"):
        br.read_table("f.json")


def test_arrays_that_are_left_out_are_said():
    x = np.arange(12.0).reshape(6, 2)
    np.savez("f.npz", x_train=x, y_train=np.arange(6) % 2, x_test=x)
    assert "x_train and y_train are read, and x_test left out" in br.read_table("f.npz").notes[1]


def test_quotes_that_pair_are_those_of_a_well_written_file():
    from backprop_ref.data.csv_file import Layout, _check_quotes, _quotes_pair

    draw, layout, paired = np.random.default_rng(1), Layout(",", 0, 0, None, 2), 0
    for _ in range(3000):
        data = "".join(draw.choice(list('",a\n '), size=draw.integers(1, 9), p=[0.4, 0.2, 0.2, 0.15, 0.05])).encode()
        if b'"' in data and _quotes_pair(data, layout):
            _check_quotes("f.csv", data, layout)
            paired += 1
    assert paired > 100


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_a_table_read_in_parts_is_the_table(monkeypatch, newline):
    from backprop_ref.data import csv_file

    draw = np.random.default_rng(2)
    for size in (1, 5, 17, 60, 1000):
        texts = ["".join(draw.choice(list('a ",;\n'), size=5)) for _ in range(40)]
        written = [f'"{text.replace(chr(34), 2 * chr(34))}"' if i % 3 else str(i) for i, text in enumerate(texts)]
        rows = ["a,b", *(f"{i},{cell}" for i, cell in enumerate(written))]
        monkeypatch.setattr(csv_file, "PART_BYTES", size)
        raw = csv_file.read("f.csv", newline.join([*rows, ""]).encode(), True, None)
        expected = [cell.strip() if i % 3 else str(i) for i, cell in enumerate(texts)]
        assert [raw.columns[1].text(i) for i in range(raw.rows)] == expected


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_a_large_file_is_read_as_a_small_one(monkeypatch, tmp_path, newline):
    from backprop_ref.data import csv_file

    draw = np.random.default_rng(3)
    rows = [
        f'{draw.normal()},{i % 7 - 3},"{draw.choice(list("uvw"))}",{draw.normal()},{draw.integers(1000)}'
        for i in range(60)
    ]
    gaps = [*rows[:20], "", *rows[20:], "1.5,2,v,,7"]
    for k, lines in enumerate([rows, gaps]):
        (file := tmp_path / f"{k}.csv").write_text(newline.join(["a,b,c,d,e", *lines]), newline="")
        for target, more in (("e", {}), ("b", {"task": "regression"}), ("a", {"drop": ["c"]}), ("c", {})):
            read = [br.read_table(file, target, missing="mean", **more)]
            for size in (30, 500):
                with monkeypatch.context() as patch:
                    patch.setattr(csv_file, "LARGE_BYTES", 0)
                    patch.setattr(csv_file, "PART_BYTES", size)
                    read.append(br.read_table(file, target, missing="mean", **more))
            for large in read[1:]:
                np.testing.assert_array_equal(large.x, read[0].x)
                np.testing.assert_array_equal(large.target, read[0].target)
                assert (large.rules, large.notes, large.classes) == (read[0].rules, read[0].notes, read[0].classes)


def test_nested_lists_and_records():
    named = br.read_table([["a", "b", "t"], ["1", "2", "u"], ["3", "5", "v"]])
    assert (named.feature_names, named.x.tolist()) == (("a", "b"), [[1, 2], [3, 5]])
    assert br.read_table([{"a": 1, "t": "u"}, {"a": 2, "t": "v"}]).x.tolist() == [[1], [2]]
    with pytest.raises(br.InvalidInput, match="all as long"):
        br.read_table({"a": [1, 2], "t": ["u"]})


@pytest.mark.parametrize("column", ["number", "text"])
def test_numbers_that_stand_for_a_missing_value(column):
    cells = [-999.0, 1.5, 2.0, 3.0] * 3
    content = {"a": cells if column == "number" else list(map(str, cells)), "t": ["u", "v"] * 6}
    note, cell = br.read_table(content).notes[-1], "-999" if column == "number" else "-999.0"
    assert note == f"a: 3 cells are {cell}, far from all others (else: missing_values=['{cell}'], missing='median')"
    read = br.read_table(content, missing_values=[cell], missing="median")
    assert np.isnan(read.x[:, 0]).sum() == 3


ROWS = range(1, 13)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("t.md", "| a | b | y |\n|---|:--|---|\n" + "".join(f"| {i} | {i * 3} | {i % 2} |\n" for i in ROWS), [1, 3]),
        ("t.txt", "+---+---+\n| b | y |\n+---+---+\n" + "".join(f"| {i * 3} | {i % 2} |\n" for i in ROWS), [3]),
        ("t.csv", "d,y\n" + "".join(f"15{i:02d}2024,{i % 2}\n" for i in ROWS), [19737]),
        ("t.csv", "a,,b,y\n" + "".join(f"{i},,{i * 2},{i % 2}\n" for i in ROWS), [1, 2]),
        ("t.csv", "b,y\n" + "".join(f"\u200b{i * 3},{i % 2}\n" for i in ROWS), [3]),
        ("t.json", json.dumps([{"p": {"q": {"r": i * 2}}, "y": i % 2} for i in ROWS]), [2]),
        ("t.json", json.dumps({"ok": 1, "of": {"n": 12, "items": [{"a": i, "y": i % 2} for i in ROWS]}}), [1]),
    ],
    ids=["markdown", "mysql", "day first in digits", "empty without a name", "no width", "nested", "of an interface"],
)
def test_tables_of_other_programs(tmp_path, name, text, expected):
    (file := tmp_path / name).write_text(text, encoding="utf-8")
    read = br.read_table(file, "y")
    assert (read.x[0].tolist(), len(read.x)) == (expected, 12)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("t.csv", "a,y\n1,2\n# b\n2,3\nend of it\n3,4\n", "mend or remove lines 3, 5"),
        ("t.sql", "-- dump\nCREATE TABLE t (a INT);\nINSERT INTO t VALUES (1);\n", "a dump in SQL"),
        ("t.csv", "d,y\n" + "".join(f"{i:02d}{i % 5 + 1:02d}2024,{i % 2}\n" for i in ROWS), "dates='day-first'"),
        ("t.json", json.dumps([{"p": {"q": [i]}, "y": i % 2} for i in ROWS]), r"drop=\['p.q'\]"),
    ],
    ids=["lines that are no rows", "SQL", "day or month first in digits", "lists inside"],
)
def test_what_other_programs_write_and_is_refused(tmp_path, name, text, said):
    (file := tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(br.InvalidInput, match=said):
        br.read_table(file, "y")


@pytest.mark.parametrize("code", [-9, -99, -999])
def test_a_code_below_0_among_numbers_that_are_not(code):
    numbers = [float(code) if i % 5 == 0 else 100.0 * i for i in range(1, 31)]
    notes = br.read_table({"a": numbers, "y": [0.5 * i for i in range(30)]}).notes
    assert any(f"6 cells are {code}, and no other is below 0" in note for note in notes)


# --- what strangers tried ---


def test_two_digit_years_are_spoken_of_and_may_stand_first():
    table = br.read_table({"d": ["13/01/40", "14/02/68", "25/03/69"], "t": [1.5, 2.5, 3.5]})
    assert table.x[:, 0].tolist() == [25579.0, 35838.0, -282.0]
    assert "d: years of two digits, as in '13/01/40', are 1969 to 2068" in table.notes
    dates = [f"24-01-{day:02}" for day in range(1, 25)]
    with pytest.raises(br.InvalidInput, match=r"several dates \(or: dates='day-first'\); give dates='year-first'"):
        br.read_table({"d": dates, "t": [i + 0.5 for i in range(24)]})
    first = br.read_table({"d": dates, "t": [i + 0.5 for i in range(24)]}, dates="year-first")
    assert np.diff(first.x[:, 0]).tolist() == [1.0] * 23


def test_dates_are_ordered_as_the_rest_of_the_file_shows():
    certain, open_ = [f"01/{day:02}/2024" for day in range(1, 25)], [f"{day % 12 + 1:02}/05/2024" for day in range(24)]
    table = br.read_table({"a": certain, "b": open_, "t": [i + 0.5 for i in range(24)]})
    assert {rule.form for rule in table.rules if rule.kind == "date"} == {"month-first"}


def test_an_index_that_pandas_wrote_is_no_column():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame({"a": [1.0, 2.0, 4.0], "t": ["u", "v", "u"]})
    frame.iloc[::-1].to_parquet("f.parquet")
    table = br.read_table("f.parquet")
    assert (table.feature_names, table.target_name) == (("a",), "t")
    frame.assign(pid=[7, 9, 8]).set_index("pid").to_parquet("g.parquet")
    assert "pid is left out: it is the index" in " ".join(br.read_table("g.parquet").notes)


def test_json_by_rows_of_numbers():
    Path("f.json").write_text(json.dumps({str(i): {"a": i, "b": 2 * i, "t": i + 0.5} for i in range(24)}))
    assert br.read_table("f.json").x.shape == (24, 2)


def test_masked_values_are_missing():
    masked = np.ma.masked_equal(np.array([[1, -99], [2, 3], [4, 5], [6, 8]]), -99)
    with pytest.raises(br.InvalidInput, match="no label"):
        br.read_table(masked)


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({"task": "regresion"}, "did you mean 'regression'"),
        ({"header": "yes"}, "True or False is needed"),
        ({"kinds": ["a=category"]}, "a dict of columns is needed"),
        ({"target": []}, "name or position of a column"),
        ({"target": 1.0}, "name or position of a column"),
    ],
)
def test_arguments_of_other_kinds_are_refused(named, said):
    with pytest.raises(br.InvalidInput, match=said):
        br.read_table({"a": [1, 2, 3], "t": [0, 1, 1]}, **named)


def test_numbers_may_name_what_is_missing():
    table = br.read_table({"a": [1, -999, 3, 5], "t": [0, 1, 1, 0]}, missing="drop", missing_values=[-999])
    assert table.x[:, 0].tolist() == [1, 3, 5]


def test_categories_of_numbers_are_categories():
    pyarrow = pytest.importorskip("pyarrow")
    codes = pyarrow.array([10115, 80331, 20095] * 3).dictionary_encode()
    table = br.read_table(pyarrow.table({"zip": codes, "t": [0, 1, 1] * 3}))
    assert table.feature_names == ("zip=10115", "zip=20095", "zip=80331")


def test_true_beside_1_is_one_class():
    assert br.read_table({"a": [1, 2, 3, 4], "t": ["TRUE", "true", "1", "0"]}).classes == ("false", "true")


@pytest.mark.parametrize("record", ['{"a": [{"b": 1}], "t": "u"}', '{"a": [1, 2], "t": "u"}'])
def test_nested_records_are_refused_and_can_be_dropped(record):
    Path("f.jsonl").write_text("".join(f'{record[:-2]}{i}", "c": {i}}}\n' for i in range(2)))
    with pytest.raises(br.InvalidInput, match=r"drop=\['a'\]"):
        br.read_table("f.jsonl")
    assert br.read_table("f.jsonl", "t", drop=["a"]).feature_names == ("c",)


def test_records_with_large_integers():
    Path("f.jsonl").write_text("".join(f'{{"id": {10**19 + i}, "a": {i}, "t": "{"uv"[i % 2]}"}}\n' for i in range(4)))
    assert br.read_table("f.jsonl").feature_names == ("a",)


@pytest.mark.parametrize(
    "text", [",,\na,b,t\n1,2,3.5\n2,4,5.5\n3,1,2.5\n", "a,b,t,,,\n1,2,3.5,,,\n2,4,5.5,,,\n3,1,2.5,,,\n"]
)
def test_empty_rows_above_and_columns_behind_are_left_out(text):
    Path("f.csv").write_text(text)
    assert br.read_table("f.csv").x.tolist() == [[1, 2], [2, 4], [3, 1]]


def test_a_list_of_lists_in_json_may_have_a_header():
    Path("f.json").write_text('[["a", "t"], [1, "u"], [2, "v"]]')
    assert br.read_table("f.json", header=True).feature_names == ("a",)


def test_rows_of_different_lengths_are_refused():
    with pytest.raises(br.InvalidInput, match="all as long"):
        br.read_table([["a", "b", "t"], [1, 2, "u"], [3, "v"]])


def test_letters_that_look_alike_are_spoken_of():
    table = br.read_table({"c": ["caf\u00e9", "cafe\u0301", "red", "red\u200b"] * 2, "t": [0, 1, 1, 0] * 2})
    assert sum("are two values" in note for note in table.notes) == 2


@pytest.mark.parametrize("total", ["55,110,165.5", ",110,165.5"])
def test_a_last_row_of_sums_is_no_data(total):
    rows = [f"{i},{2 * i},{3 * i + 0.05}" for i in range(1, 11)]
    Path("f.csv").write_text("\n".join(["a,b,t", *rows, total]))
    with pytest.raises(br.InvalidInput, match="line 12: the sums of the rows above; remove that line"):
        br.read_table("f.csv", missing="median")


# --- exports of other countries and programs: what the column a becomes, its second cell, what is said of it ---

ABROAD = {
    "wide digits of Japan": ([f"\uff11\uff10{i % 10}" for i in range(10)], "number", 101, ""),
    "Arabic digits": (["\u0661\u0660", "\u0661\u0662\u066b\u0665"], "number", 12.5, ""),
    "yen": (['"\uffe51,000"', '"\uffe52,500"'], "number", 2500, ""),
    "rupees": (['"\u20b91,23,456"', '"\u20b92,23,456"'], "number", 223456, ""),
    "forced to text": (['="0012"', '="0013"'], "category", 0, "a: '0012' is a code"),
    "ja, nein": (["ja", "nein", "Ja"], "boolean", 0, ""),
    "WAHR, FALSCH": (["FALSCH", "WAHR"], "boolean", 1, ""),
    "oui, non": (["Non", "oui"], "boolean", 1, ""),
    "hai, iie": (["\u306f\u3044", "\u3044\u3044\u3048"], "boolean", 0, ""),
    "dates of Japan": (["2024\u5e743\u670812\u65e5", "2024\u5e744\u67081\u65e5"], "date", 19814, ""),
    "dates of Germany": (["12. M\u00e4rz 2024", "1. Mai 2024"], "date", 19844, ""),
    "dates of France": (["12 f\u00e9vr. 2024", "1 ao\u00fbt 2024"], "date", 19936, ""),
    "dates of Spain": (["12 de enero de 2024", "1 de mayo de 2024"], "date", 19844, ""),
    "numbers as 1E10": (["1E10", "2E11"], "number", 2e11, "a: '1E10' is learnt from as the number 1e+10"),
    "versions": (["1.9", "1.10", "1.11"], "number", 1.1, "a: '1.10' is learnt from as the number 1.1"),
    "a probe's fault": (["-127", "20.5", "21.5", "22.5", "23.5", "24.5"], "number", 20.5, "-127, far from all others"),
    "decimals with zeros": (["1.50", "2.75"], "number", 2.75, ""),
}


@pytest.mark.parametrize("kind", ABROAD)
def test_cells_of_other_countries_and_programs(kind):
    cells, becomes, second, said = ABROAD[kind]
    Path("f.csv").write_text(rows("a", cells), encoding="utf-8")
    table = br.read_table("f.csv")
    assert (table.rules[0].kind, table.x[1, 0]) == (becomes, second)
    assert said in " ".join(table.notes)
    assert said or not any(note.startswith("a: ") for note in table.notes)


def test_japanese_of_windows():
    kinds = "\u98df\u8cbb", "\u4ea4\u901a"
    text = "\u65e5\u4ed8,\u91d1\u984d,\u7a2e\u5225\n" + "".join(
        f'2024/03/{i + 1:02},"\\{1000 + i:,}",{kinds[i % 2]}\n' for i in range(24)
    )
    Path("f.csv").write_bytes(text.encode("cp932"))
    table = br.read_table("f.csv")
    assert table.feature_names == ("\u65e5\u4ed8", "\u91d1\u984d")
    assert table.x[:2, 1].tolist() == [1000, 1001]
    assert "not UTF-8: read as cp932" in " ".join(table.notes)
    for other in ("Gr\u00f6\u00dfe;\u00dcbung;T\u00e4g", "D\u00e9bit;Cr\u00e9dit;\u20ac"):
        Path("g.csv").write_bytes((other + "\n1;2;u\n3;4;v\n").encode("cp1252"))
        assert br.read_table("g.csv").feature_names == tuple(other.split(";")[:2])


@pytest.mark.few(6)
@pytest.mark.parametrize(
    ("encoding", "word"),
    {
        "cp1251": "Москва",
        "cp1250": "Łódź",
        "cp1253": "Αθήνα",
        "gb18030": "北京",
        "big5": "台北",
        "euc_kr": "서울",
        "euc_jp": "東京",
        "cp850": "Köln",
        "cp866": "Москва",
        "cp874": "ภูเก็ต",
        "mac_roman": "München",
    }.items(),
)
def test_text_of_other_encodings_is_shown_in_each_and_read_in_the_one_named(encoding, word):
    Path("f.csv").write_bytes(rows("a", [word, "x"]).encode(encoding))
    with pytest.raises(br.InvalidInput, match=rf"not UTF-8, nor .*encoding='NAME', .*{encoding} \('{word}'\)"):
        br.read_table("f.csv")
    assert f"a={word}" in br.read_table("f.csv", encoding=encoding).feature_names


@pytest.mark.parametrize(
    "words",
    [
        "Prix (k£)|£m|5 €",
        "°C|m²|n° 5|µg/m³",
        "“créée”|D’Arc|ÄÖÜ|MÜLLER",
        "Ações|Übergröße|œuvre|crème brûlée",
        "—|–|½|±0.5",
    ],
)
def test_words_of_western_europe_are_read_as_they_are(words):
    first, *_ = named = words.split("|")
    Path("f.csv").write_bytes((rows("a", named, 4 * len(named))).encode("cp1252"))
    table = br.read_table("f.csv", missing="median", kinds={"a": "category"})
    assert f"a={first}" in table.feature_names or first == "—"


def test_a_comma_in_single_quotes_moves_no_cells():
    Path("f.csv").write_text("a,b,t\n" + "".join(f"{i / 8},'x, y',{i}\n" for i in range(9)))
    with pytest.raises(br.InvalidInput, match="line 2: 4 cells, but the header has 3"):
        br.read_table("f.csv", "t")


@pytest.mark.parametrize(
    ("begins", "kind"),
    [
        (b"<html><table><tr><td>1</td></tr></table></html>", "a web page"),
        (b"SQLite format 3\0", "a database of SQLite"),
        (b"$FL2@(#) SPSS DATA FILE" + bytes(60), "a file of SPSS"),
        (b"\x01\x02\x03\x04 some \x05\x06\0\x07 bytes", "no text"),
    ],
)
def test_files_that_hold_no_table_are_named(begins, kind):
    Path("f.xls").write_bytes(begins)
    with pytest.raises(br.InvalidInput, match=f"f.xls: {kind}, which is not read; save its table as CSV"):
        br.read_table("f.xls")


def test_structured_arrays_and_objects_of_python():
    array = np.array([(1.5, "u", 2.5), (3.5, "v", 4.5)], [("a", float), ("b", "U1"), ("t", float)])
    assert br.read_table(array, "t").feature_names == ("a", "b=u", "b=v")
    network = br.Network([1, 1], activations=["linear"], loss="mean_squared_error")
    y = np.array([0.5, 7.25], object)
    with pytest.raises(br.InvalidInput, match=r"pass np.reshape\(np.asarray\(y, float\), \(-1, 1\)\)"):
        br.train(network, network.init(1), [[1.0], [2.0]], y, epochs=1)
    assert br.train(network, network.init(1), [[1.0], [2.0]], np.reshape(np.asarray(y, float), (-1, 1)), epochs=1)
    with pytest.raises(br.InvalidInput, match="y is a NoneType: rows of real numbers are needed"):
        br.train(network, network.init(1), [[1.0], [2.0]], None, epochs=1)


def test_rows_named_as_r_does_are_read_for_a_target_and_a_network_too():
    Path("f.csv").write_text('"a" "t"\n' + "".join(f'"{i + 1}" {i * i} "{"uv"[i % 2]}"\n' for i in range(24)))
    assert br.read_table("f.csv", "t").feature_names == ("a",)
    assert run(["train", "f.csv", "--target", "t", "--epochs", "1", "--run-dir", "run"]) == 0
    assert run(["predict", "run", "--data-path", "f.csv", "--output", "p.csv"]) == 0
    assert len(Path("p.csv").read_text().splitlines()) == 25
