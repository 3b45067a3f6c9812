"""CSV files: every way they are written, what the first line is taken for, and how a bad cell is named."""

import csv
import errno
import operator
import os
import re
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import backprop_ref as br
from backprop_ref.data import Preprocessing, read_csv, write_csv
from backprop_ref.data.tables import read_features

PLAIN = "a,b,kind\n1,2.5,x\n-3,4e1,y\n5,.6,x\n"


@pytest.fixture
def file(tmp_path):
    """Writes text or bytes into data.csv and gives its path."""

    def write(content, name="data.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def refused(path, message, **options):
    """The error of reading it: in one line, with the file's name and `message` in it."""
    with pytest.raises(br.InvalidInput) as caught:
        read_csv(path, **options)
    text = str(caught.value)
    assert text.startswith(f"{path}")
    assert message in text
    assert "\n" not in text


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(PLAIN, id="plain"),
        pytest.param(PLAIN[:-1], id="no final newline"),
        pytest.param("\ufeff" + PLAIN, id="byte order mark"),
        pytest.param(PLAIN.replace("\n", "\r\n"), id="Windows"),
        pytest.param(PLAIN.replace("\n", "\r"), id="old Mac"),
        pytest.param(PLAIN.replace(",", ";"), id="semicolons"),
        pytest.param(PLAIN.replace(",", "\t"), id="tabs"),
        pytest.param(PLAIN.replace(",", " , "), id="spaces"),
        pytest.param(re.sub(r"[^,\n]+", r'"\g<0>"', PLAIN), id="quotes"),
        pytest.param("\n \n" + PLAIN.replace("\n", "\n\n"), id="blank lines"),
        pytest.param("\n" + PLAIN.replace(",", ";"), id="blank line, semicolons"),
    ],
)
def test_every_way_to_write_the_same_table(file, content):
    dataset = read_csv(file(content))
    assert dataset.x.tolist() == [[1.0, 2.5], [-3.0, 40.0], [5.0, 0.6]]
    assert dataset.target.tolist() == [0, 1, 0]
    assert (dataset.classes, dataset.feature_names, dataset.target_name) == (("x", "y"), ("a", "b"), "kind")
    assert dataset.name == "data"


@pytest.mark.few(6)
@pytest.mark.parametrize(
    ("content", "header", "names", "rows"),
    [
        ("1,2,x\n3,4,y\n", None, ("x0", "x1"), 2),
        ("1,2,3\n4,5,6\n", None, ("x0", "x1"), 2),
        ("1,x\n2,y\n", None, ("x0",), 2),
        ("f,c\n1,x\n2,y\n", None, ("f",), 2),
        ("0,1,target\n1,2,3\n4,5,6\n", None, ("0", "1"), 2),
        ("1990,1991,1992\n1,2,3\n4,5,6\n", None, ("1990", "1991"), 2),
        ("1990,1991,1992\n1,2,3\n4,5,6\n", False, ("x0", "x1"), 3),
        ("1990,1991,1992\n1991,1992,1993\n", None, ("x0", "x1"), 2),
        ("0,1,2\n1,2,3\n4,5,6\n", None, ("0", "1"), 2),
        ("1,2,3,4,5\n4,5,6,7,8\n5,6,7,9,9\n", None, ("1", "2", "3", "4"), 2),
        ("0,1\n1,0\n1,1\n", None, ("x0",), 3),
        ("1990,1991,1992\n1,2,3\n4,5,6\n", True, ("1990", "1991"), 2),
        (",a,c\n0,1,x\n1,2,y\n", None, ("a",), 2),
        ("1,2,a\n3,4,b\n", False, ("x0", "x1"), 2),
        ('"a\nb",c\n1,x\n2,y\n', None, ("a b",), 2),
    ],
)
def test_what_the_first_line_is(file, content, header, names, rows):
    dataset = read_csv(file(content), header=header)
    assert dataset.feature_names == names
    assert len(dataset.x) == rows


@pytest.mark.parametrize(
    ("label", "name", "features"),
    [
        (None, "c", ("a", "b")),
        ("a", "a", ("b", "c")),
        (0, "a", ("b", "c")),
        ("1", "b", ("a", "c")),
        (-2, "b", ("a", "c")),
        ("-3", "a", ("b", "c")),
    ],
)
def test_the_label_by_name_or_position(file, label, name, features):
    dataset = read_csv(file("a,b,c\n1,2,3\n4,5,6\n"), label)
    assert (dataset.target_name, dataset.feature_names) == (name, features)


def test_a_name_goes_before_a_position(file):
    assert read_csv(file("2,1,0\n1,2,3\n4,5,6\n"), "2", header=True).feature_names == ("1", "0")


@pytest.mark.parametrize(
    ("labels", "classes", "target"),
    [
        ("b a b", ("a", "b"), [1, 0, 1]),
        ("10 9 10", ("9", "10"), [1, 0, 1]),
        ("3 3.0 4. 4", ("3", "4"), [0, 0, 1, 1]),
        ("-1 1.50 1.5", ("-1", "1.5"), [0, 1, 1]),
        ("1 1.0 1e0 2", ("1", "2"), [0, 0, 0, 1]),
        ("3 x 3.0", ("3", "x"), [0, 1, 0]),
        ("007 7 7", ("007", "7"), [0, 1, 1]),
        ("1_0 10 10", ("10", "1_0"), [1, 0, 0]),
        ("9007199254740993 9007199254740992 0", ("0", "9007199254740992", "9007199254740993"), [2, 1, 0]),
        ("é ß é", ("ß", "é"), [1, 0, 1]),
    ],
)
def test_classes_as_text_or_numbers(file, labels, classes, target):
    content = "".join(f"{i},{label}\n" for i, label in enumerate(labels.split()))
    dataset = read_csv(file(content), header=False, task="classification")
    assert (dataset.classes, dataset.target.tolist()) == (classes, target)


def test_regression_takes_the_label_as_numbers(file):
    dataset = read_csv(file("a,t\n1,2.5\n2,-1e3\n"), task="regression")
    assert (dataset.classes, dataset.target.tolist()) == (None, [2.5, -1000.0])


@pytest.mark.few(12)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty; a table"),
        ("\n \n", "empty; a table"),
        ("\ufeff", "empty; a table"),
        ("a,b,c\n", "only a header"),
        ("1,2,3\n", "one row of data; more are needed"),
        ("a,c\n1,x\n2,x\n", "only one class ('x') in column 'c'"),
        ("a,c\n" + "".join(f"{i},k{i}\n" for i in range(101)), "101 different values in column 'c' for 101 rows"),
        ("a,b,c\n1,2,x\n1,2\n", "line 3: 2 cells, but the header has 3; mend or remove"),
        ("a,b,c\n1,2,x\n\n1,2,y,4\n", "line 4: 4 cells, but the header has 3"),
        ("a,b\n1,2,x\n", "line 2: 3 cells, but the header has 2"),
        ("a,b,,c\n1,2,3,x\n3,4,5,y\n", "column 3 has no name"),
        ("1,2,x,\n3,4,y,3\n", "line 1, column target: no label"),
        ("a\n1\n2\n", "one column only"),
        ("a-b\n1-2\n", "one column only"),
        ("a,a,c\n1,2,x\n3,4,y\n", "line 1: two columns are named 'a'; rename one"),
        ("a,b,c\n1,2,x\n1,,y\n", "line 3, column b: empty; mend the cell"),
        ("a,b,c\n1,2,x\n1,2,\n", "line 3, column c: no label"),
        ("a,b,c\n1,nan,x\n1,2,y\n", "line 2, column b: 'nan' stands for a missing value"),
        ("a,b,c\n1,2,x\n-inf,2,y\n", "line 3, column a: '-inf' is not a finite number"),
        ("a,b,c\n1,1e400,x\n1,2,y\n", "line 2, column b: '1e400' is not a finite number"),
        ("a,b,c\n1,2,x\n1,red,y\n", "line 3, column b: 'red' is not a finite number"),
        (
            "a,b,c\n1,x,2\n2,1,3\n3,2,4\n",
            "line 2, column b: 'x' is not a finite number; mend the cell or remove that line, ",
        ),
        ("1,2.o,x\n1,2,y\n", "line 1, column x1: '2.o' is not a finite number"),
        ("x,1,2,3\n1,2,3,4\n", "if this line names the columns, say header=True"),
        ("a,c\n1,x\n2,nan\n", "line 3, column c: no label"),
        ("a,c\n1,x\n2,inf\n", "line 3, column c: 'inf' is no class"),
        ("a,b,c\n" + "9" * 5000 + ",2,x\n1,2,y\n", "line 2, column a: '999"),
        ('a,b,c\n1,2,"x\ny"\n2,three,x\n', "line 4, column b: 'three'"),
        ('a,b,c\n1,2,x\n2,three,"x\ny"\n', "line 3, column b: 'three'"),
        ('a,b,c\n1,2,"x\n2,3,y\n', "line 2: not CSV (a cell in quotes has no closing quote)"),
        ('a,b,c\n1,2,x\n1,2,"x"z\n', "line 3: not CSV"),
        (
            b"a,b,c\n1\0,2,x\n1,2,y\n",
            r"line 2, column a: '1\x00' is not a finite number; mend the cell or remove that line or kinds=",
        ),
    ],
)
def test_what_is_wrong_is_named(file, content, message):
    refused(file(content), message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_column": "kin"}, "no column 'kin'; its columns are a, b, kind"),
        ({"label_column": "a", "header": False}, "no column 'a'; the first line holds no names (else: header=True)"),
        ({"label_column": 3}, "label column 3 is out of range; there are 3 columns, 0 to 2"),
        ({"label_column": "-4"}, "label column -4 is out of range"),
        ({"task": "regression"}, "column kind holds texts, no quantities"),
    ],
)
def test_a_label_that_is_not_there(file, options, message):
    refused(file(PLAIN), message, **options)


def test_what_cannot_be_read(tmp_path, file, monkeypatch):
    refused(tmp_path / "absent.csv", "no such file; check the path")
    refused(tmp_path, "not a regular file but a folder; give a file in it")
    refused(file(PLAIN) / "below.csv", "cannot be read (Not a directory)")
    for code in (errno.EACCES, errno.EIO):
        error = OSError(code, os.strerror(code))
        monkeypatch.setattr(Path, "open", Mock(side_effect=error))
        refused("f.csv", f"cannot be read ({os.strerror(code)})")


def test_a_pipe_can_be_read_where_it_was_opened(tmp_path):
    """As a shell does it; one that is named might never be written to."""
    reading, writing = os.pipe()
    os.write(writing, b"\n" + PLAIN.replace(",", ";").encode())
    os.close(writing)
    assert len(read_csv(f"/dev/fd/{reading}").x) == 3
    os.close(reading)
    os.mkfifo(tmp_path / "pipe.csv")
    refused(tmp_path / "pipe.csv", "might never end; save what it gives to a file, or give /dev/stdin and redirect")


@pytest.mark.parametrize(
    ("targets", "task"),
    [
        ([10, 20, 29, 41, 50], "regression"),
        ([1, 2, 3, 4, 5], "classification"),
        ([10, 20, 10, 20, 50], "classification"),
    ],
)
def test_whole_numbers_that_come_once_each_are_quantities_unless_they_count(file, targets, task):
    rows = "".join(f"{0.5 + i},{target}\n" for i, target in enumerate(targets))
    assert read_csv(file(f"x,y\n{rows}")).task == task


finite = st.floats(allow_nan=False, allow_infinity=False)
COLUMNS = tuple(map(operator.itemgetter, range(3)))


@settings(deadline=None, derandomize=True, max_examples=50)
@given(rows=st.lists(st.tuples(finite, finite, finite), min_size=2, max_size=5, unique_by=COLUMNS))
def test_numbers_come_back_to_the_bit(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("csv") / "numbers.csv"
    write_csv(path, ["a", "b, and c", 't"'], rows)
    dataset = read_csv(path, task="regression")
    assert np.column_stack([dataset.x, dataset.target]).tobytes() == np.array(rows).tobytes()
    assert (*dataset.feature_names, dataset.target_name) == ("a", "b, and c", 't"')


def test_writing_where_one_cannot(tmp_path, file):
    for path in (tmp_path / "no" / "f.csv", file(PLAIN) / "f.csv", tmp_path):
        with pytest.raises(br.InvalidInput, match=r"cannot be written|exists already"):
            write_csv(path, ["a"], [[1]])
    assert [entry.name for entry in tmp_path.iterdir()] == ["data.csv"]


# --- a file for a trained network ---


@pytest.fixture
def trained(file):
    """The preprocessing of a network trained on a CSV file."""

    def fit(content, **options):
        dataset = read_csv(file(content, "train.csv"), **options)
        return Preprocessing.fit(dataset, np.arange(len(dataset.x)))

    return fit


NAMED = "a,b,c,kind\n1,2,3,x\n4,5,6,y\n"
UNNAMED = "1,2,3,x\n4,5,6,y\n"


@pytest.mark.parametrize(
    ("train", "content", "x", "truth"),
    [
        (NAMED, NAMED, [[1, 2, 3], [4, 5, 6]], [0, 1]),
        (NAMED, "kind,c,zz,a,b\ny,3,text,1,2\n", [[1, 2, 3]], [1]),
        (NAMED, "c,b,a\n3,2,1\n", [[1, 2, 3]], None),
        (NAMED, "1,2,3\n", [[1, 2, 3]], None),
        (NAMED, "1,2,3,y\n", [[1, 2, 3]], [1]),
        (NAMED, '1,2,3,"y "\n', [[1, 2, 3]], [1]),
        (UNNAMED, "p,q,r\n1,2,3\n", [[1, 2, 3]], None),
        (UNNAMED, "p,q,r,s\n1,2,3,x\n", [[1, 2, 3]], [0]),
        (UNNAMED, "1,2,3,x\n", [[1, 2, 3]], [0]),
        ("1,2,3,7\n4,5,6,8.0\n", "1,2,3,7.0\n1,2,3,8\n", [[1, 2, 3], [1, 2, 3]], [0, 1]),
    ],
)
def test_columns_are_found_by_name_else_by_position(trained, file, train, content, x, truth):
    table = read_features(file(content), trained(train))
    assert (table.x.tolist(), table.bad) == (x, {})
    assert (table.truth is None and truth is None) or table.truth.tolist() == truth


def test_numeric_names_are_recognised_as_the_networks_own(trained, file):
    preprocessing = trained("10,20,30\n1,2,x\n3,4,y\n", header=True)
    table = read_features(file("20,10\n2,1\n"), preprocessing)
    assert (table.x.tolist(), table.truth) == ([[1.0, 2.0]], None)


def test_a_label_that_came_first_without_a_name_is_found_first(trained, file):
    preprocessing = trained("x,1,2\ny,3,4\n", label_column=0)
    assert preprocessing.feature_names == ("x1", "x2")
    table = read_features(file("y,5,6\n"), preprocessing)
    assert (table.x.tolist(), table.truth.tolist()) == ([[5.0, 6.0]], [1])
    assert read_features(file("5,6\n"), preprocessing).x.tolist() == [[5.0, 6.0]]


def test_numbers_to_predict(trained, file):
    preprocessing = trained("a,t\n1,10\n2,20\n", task="regression")
    assert read_features(file("t,a\n2.5,1\n"), preprocessing).truth.tolist() == [2.5]


@pytest.mark.parametrize(
    ("train", "content", "message"),
    [
        (NAMED, "b,c,kind\n1,2,x\n", "no column 'a'; the network was trained on a, b, c"),
        (NAMED, "a,b,d,kind\n1,2,3,x\n", "no column 'c'"),
        (NAMED, "p,q,r\n1,2,3\n", "no column 'a'"),
        (NAMED, "1,2\n", "2 columns; the network was trained on 3 features; 3 or 4 are needed"),
        (NAMED, "1,2,3,4,5\n", "5 columns"),
        (UNNAMED, "x0,x1,x3\n1,2,3\n", "no column 'x2'"),
        (NAMED, "a,b,b,c\n1,2,2,3\n", "two columns are named 'b'"),
        (NAMED, "a,b,c\n", "only a header"),
        (NAMED, "", "empty"),
    ],
)
def test_a_file_that_does_not_fit_the_network(trained, file, train, content, message):
    path = file(content)
    with pytest.raises(br.InvalidInput) as caught:
        read_features(path, trained(train))
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


@pytest.mark.more
def test_a_thousand_columns(file):
    header = ",".join(f"c{i}" for i in range(1000))
    path = file(f"{header},t\n" + "\n".join(",".join(map(str, range(row, row + 1001))) for row in range(3)))
    dataset = read_csv(path, task="regression")
    assert dataset.x[2, 999] == 1001.0
    with path.open(newline="") as text:
        assert dataset.feature_names == tuple(next(csv.reader(text))[:-1])
