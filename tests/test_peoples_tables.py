"""Five tables of the kinds people have: trained and predicted with no flag but the target, or after the message's."""

import csv
import io
import json
import random
import re
import shlex
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from backprop_ref.cli import run


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def passengers(chance):
    """Text, gaps, a name in quotes for each row, an index without a name."""
    yield ["", "survived", "class", "name", "sex", "age", "fare", "port"]
    for i in range(300):
        sex, age = chance.choice(["male", "female"]), chance.choice(["", str(chance.randint(1, 80))])
        lived = int(chance.random() < (0.8 if sex == "female" else 0.2))
        name = f"Person {i}, Mr. {chance.random():.6f}"
        yield [
            i,
            lived,
            chance.randint(1, 3),
            name,
            sex,
            age,
            f"{chance.random() * 90:.4f}",
            chance.choice(["S", "C", "Q", ""]),
        ]


def houses(chance):
    """Decimal commas, points between thousands, a unit."""
    yield ["Ort", "Fläche", "Zimmer", "Preis", "Baujahr"]
    for _ in range(300):
        area = 30 + chance.random() * 170
        price = f"{area * 3210.5 + chance.random() * 9000:,.2f}".replace(",", "#").replace(".", ",").replace("#", ".")
        row = [chance.choice(["Köln", "Jena", "Ulm"]), f"{area:.1f} m²".replace(".", ",")]
        yield [*row, int(area // 30) + 1, f"{price} €", chance.randint(1900, 2023)]


def sensors(chance):
    """Dates with times, a status, a value that says -."""
    yield ["time", "sensor", "temperature", "humidity", "status", "power"]
    start = datetime(2024, 1, 30)
    for i in range(300):
        at, warmth = start + timedelta(minutes=17 * i), 20 + 5 * chance.random()
        humidity = "-" if i % 50 == 7 else f"{40 + chance.random() * 20:.1f}%"
        yield [
            f"{at:%d/%m/%Y %H:%M}",
            f"s{i % 4}",
            f"{warmth:.2f}",
            humidity,
            "OK",
            f"{warmth * 3.5 + chance.random():.3f}",
        ]


def survey(chance):
    """Yes and no, a scale in words, an answer that is text."""
    yield ["Do you smoke?", "Do you exercise, at all?", "How often?", "Age group", "Happy"]
    for _ in range(300):
        smokes, moves = chance.choice(["Yes", "No"]), chance.choice(["yes", "no"])
        happy = "happy" if (moves == "yes") != (chance.random() < 0.1) else "unhappy"
        yield [
            smokes,
            moves,
            chance.choice(["never", "often", "daily"]),
            chance.choice(["18-29", "30-49", "50+"]),
            happy,
        ]


def wide(chance):
    """A thousand columns, some of which are always the same."""
    yield [*(f"g{i}" for i in range(1000)), "group"]
    for _ in range(60):
        group = chance.randint(0, 2)
        yield [*(0 if i % 100 == 0 else round(chance.gauss(group, 1), 3) for i in range(1000)), group]


TABLES = {
    "passengers": (passengers, ",", "survived", "accuracy", 0.65),
    "houses": (houses, ";", "Preis", "r2", 0.9),
    "sensors": (sensors, ",", "power", "r2", 0.8),
    "survey": (survey, "\t", "Happy", "accuracy", 0.75),
    "wide": (wide, ",", "group", "accuracy", 0.9),
}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.few(2)
def test_trained_and_predicted_after_one_message_at_most(name, capsys):
    rows_of, sep, target, metric, least = TABLES[name]
    rows = list(rows_of(random.Random(1)))
    written = io.StringIO()
    csv.writer(written, delimiter=sep).writerows(rows)
    Path("f.csv").write_text(written.getvalue(), encoding="cp1252" if name == "houses" else "utf-8")
    train = ["train", "--data-path", "f.csv", "--target", target, "--epochs", "30", "--json", "--run-dir", "run"]
    status = run(train)
    out, err = capsys.readouterr()
    if status:
        assert err.count("\n") == 1
        flags = shlex.split(re.search(r"; give (--.*)$", err)[1])
        assert flags == ["--missing", "median"]
        assert run([*train, *flags]) == 0
        out, err = capsys.readouterr()
    assert json.loads(out)["test"][metric] >= least
    assert f"target {target}" in err
    # predicted without the answer, columns the other way round
    at = rows[0].index(target)
    fresh = [[cell for i, cell in enumerate(row) if i != at][::-1] for row in rows[:20]]
    written = io.StringIO()
    csv.writer(written, delimiter=sep).writerows(fresh)
    Path("new.csv").write_text(written.getvalue(), encoding="utf-8")
    assert run(["predict", "run", "--data-path", "new.csv"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 20
    assert (err, "" in out.splitlines()[1:]) == ("", False)
    assert run(["predict", "run", "--data-path", "f.csv"]) == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(table) == len(rows) - 1
    assert all(row["prediction"] for row in table)
    if metric == "accuracy":
        truth = [str(row[at]) for row in rows[1:]]
        assert [row[target] for row in table] == truth
        assert sum(row["prediction"] == label for row, label in zip(table, truth, strict=True)) >= least * len(truth)
