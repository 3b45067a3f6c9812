"""The lines of history.csv: many at once are written as few are, and read back to the bit."""

from array import array
from types import SimpleNamespace

import numpy as np
import pytest

from backprop_ref.training import history_file
from backprop_ref.training.history_file import HISTORY, HistoryFile
from backprop_ref.training.state import column_of

N = 2_000
WORDS = np.random.PCG64(1).random_raw(3 * N)
SIGNS = np.where(WORDS[:N] & np.uint64(1), -1.0, 1.0)
UNITS = (WORDS[N : 2 * N] >> np.uint64(11)) * 2.0**-53
POWERS = 10.0 ** (WORDS[2 * N :] % np.uint64(34)).astype(float) * 1e-14
EDGES = np.array([[x, np.nextafter(x, 0), np.nextafter(x, np.inf)] for x in 10.0 ** np.arange(-14.0, 23.0)]).ravel()
VALUES = {
    "any bits": WORDS.view(np.float64),
    "of all sizes": SIGNS * UNITS * POWERS,
    "of few digits": SIGNS * np.round(UNITS * 1000) * POWERS,
    "at the edges": np.concatenate([EDGES, -EDGES]),
    "few": np.resize([0.0, -0.0, 1.0, np.nan, np.inf, -np.inf, 0.25, 1e-5, 5e-324], N),
}


@pytest.mark.parametrize("values", VALUES)
def test_many_numbers_are_written_as_repr_has_them(values):
    found = history_file._texts(VALUES[values]).to_pylist()
    assert found == [*map(repr, VALUES[values].tolist())]


def test_many_lines_are_those_of_few(tmp_path, monkeypatch):
    columns = {"loss": column_of(UNITS), "accuracy": column_of(np.round(UNITS * 4) / 4)}

    def written(folder, *epochs):
        folder.mkdir()
        file = HistoryFile(folder, there=False)
        *_, counted = (file.write(SimpleNamespace(columns=columns, epoch=epoch)) for epoch in epochs)
        return (folder / HISTORY).read_bytes(), counted

    one_by_one = written(tmp_path / "a", 7, 700, N)
    monkeypatch.setattr(history_file, "MANY", 1)
    assert written(tmp_path / "b", 7, 700, N) == written(tmp_path / "c", N) == one_by_one
    rows = np.loadtxt(one_by_one[0].decode().splitlines()[1:], delimiter=",")
    assert array("d", rows[:, 1]) == columns["loss"]
