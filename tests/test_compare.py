"""``backprop-ref compare``: says EXACT where it is, and where a difference starts where it is not."""

import json

import numpy as np
import pytest
from helpers import parameters, samples

import backprop_ref as br
from backprop_ref.backends.arithmetic import Reproducible
from backprop_ref.backends.numpy import NumpyBackend
from backprop_ref.cli import run
from backprop_ref.experiments.compare import _ulp, compare

NETWORK = br.Network([3, 5, 4], ["tanh", "softmax"], "ce")
HOW = {"batch_size": 7, "optimizer": br.SGD(0.1)}


class Reordered(NumpyBackend):
    """Sums of layer inputs taken from the other end."""

    def __init__(self, numerics, device, threads):
        super().__init__(np, Reproducible(np))

    def affine_forward(self, a, W, b):
        return super().affine_forward(a[:, ::-1], W[::-1], b)


@pytest.mark.more
def test_exact_backends_are_called_exact():
    params, (x, y) = parameters(NETWORK), samples(NETWORK, 21)
    for row in compare(NETWORK, params, x, y, ["numpy", "array_api_strict", "numba"], **HOW):
        assert row.all_exact
        assert (row.first, row.largest_ulp, row.largest_relative) == (None, 0.0, 0.0)
        assert row.gradients == br.value_and_grad(NETWORK, params, x[:7], y[:7], numerics="reproducible")[1].sha256()
        assert row.step_seconds > 0.0


def test_a_difference_is_found_where_it_starts():
    params, (x, y) = parameters(NETWORK), samples(NETWORK, 21)
    (row,) = compare(NETWORK, params, x, y, ["test_compare:Reordered"], **HOW)
    assert not row.all_exact
    assert (row.first.quantity, row.first.layer) == ("z", 0)
    right, wrong = (
        br.trace(NETWORK, params, x[:7], y[:7], numerics="reproducible", backend=name).z[0]
        for name in ("numpy", "test_compare:Reordered")
    )
    assert row.first.entry == tuple(np.argwhere(right != wrong)[0])
    assert row.first.ulp >= 1.0


def test_what_cannot_be_used_is_left_out_with_its_reason():
    params, (x, y) = parameters(NETWORK), samples(NETWORK, 21)
    (row,) = compare(NETWORK, params, x, y, ["absent_module:thing"], **HOW)
    assert not row.usable
    assert "cannot import 'absent_module'" in row.reason


def test_ulp_counts_representable_numbers():
    one = np.array([1.0, -0.0, 0.0, np.nan, np.inf, -1e-323])
    other = np.array([np.nextafter(1.0, 2.0), 0.0, 5e-324, 0.0, 1.7976931348623157e308, 1e-323])
    assert _ulp(one, other).tolist() == [1.0, 1.0, 1.0, np.inf, 1.0, 5.0]


@pytest.mark.more
@pytest.mark.parametrize(("numerics", "status"), [("reproducible", 1), ("fast", 0)])
def test_the_exit_status_says_whether_they_agree(capsys, numerics, status, monkeypatch, tmp_path):
    (tmp_path / "another.py").write_text(
        "import numpy as np\nfrom backprop_ref.backends.arithmetic import Fast\n"
        "from backprop_ref.backends.numpy import NumpyBackend\n"
        "class Off(NumpyBackend):\n"
        "    def __init__(self, numerics): super().__init__(np, Fast(np)); self.numerics = numerics\n"
        "    def affine_forward(self, a, W, b): return super().affine_forward(a, W, b) + 1e-9\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    arguments = ["compare", "iris", "--backends", "numpy,another:Off", "--numerics", numerics, "--json"]
    assert run(arguments) == status
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is False
    assert document["backends"][1]["first"]["quantity"] == "z"


@pytest.mark.more
def test_the_table_names_layer_entry_and_distance(capsys):
    assert run(["compare", "iris", "--backends", "numpy,test_compare:Reordered", "--activation", "tanh"]) == 1
    printed = capsys.readouterr().out
    assert "test_compare:Reordered: differs first in z of layer 0 at [" in printed
    assert "NOT identical" in printed
    assert run(["compare", "iris", "--backends", "numpy,numba"]) == 0
    assert "identical on every backend" in capsys.readouterr().out


def test_a_backend_asked_for_and_not_usable_is_an_error(capsys):
    assert run(["compare", "iris", "--backends", "numpy,absent_module:thing"]) == 2
    assert "cannot import 'absent_module'" in capsys.readouterr().err


def test_wrong_usage(capsys):
    assert run(["compare", "iris", "--backends", "numpi"]) == 2
    assert "did you mean 'numpy'" in capsys.readouterr().err


class Diverging(Reordered):
    """Right until it is trained: its trainer writes NaN."""

    affine_forward = NumpyBackend.affine_forward

    def trainer(self, *_):
        return self

    def run(self, params, slots, x, y, orders, learning_rates, poll):
        params.flat[:] = np.nan
        return np.full(len(orders), np.nan), np.zeros((len(orders), 1))


def test_a_backend_that_diverges_is_no_backend_that_agrees(capsys):
    assert run(["compare", "iris", "--backends", "numpy,test_compare:Diverging"]) == 1
    assert "the same gradients, but other weights after training" in capsys.readouterr().out


class Undefined(Reordered):
    """Right but for its loss, which is NaN."""

    affine_forward = NumpyBackend.affine_forward

    def loss_forward(self, *_):
        return np.float64(np.nan)


def test_json_says_null_where_a_number_is_not_finite(capsys):
    def refuse(constant):
        pytest.fail(f"{constant} is not JSON")

    assert run(["compare", "iris", "--backends", "test_compare:Undefined", "--json"]) == 1
    (row,) = json.loads(capsys.readouterr().out, parse_constant=refuse)["backends"]
    assert row["largest_ulp"] is None


@pytest.mark.more
def test_shards_and_the_order_of_the_rows_are_those_asked_for(capsys):
    """Gradients and weights of three shards are others than of one, and the same on both backends."""

    def hashes(*more):
        assert run(["compare", "iris", "--backends", "numpy,numba", "--steps", "3", *more, "--json"]) == 0
        rows = json.loads(capsys.readouterr().out)["backends"]
        (found,) = {(row["gradients"], row["weights"]) for row in rows}
        return found

    plain, sharded, ordered = hashes(), hashes("--shards", "3"), hashes("--no-shuffle")
    assert plain[0] == ordered[0] != sharded[0]
    assert len({plain[1], sharded[1], ordered[1]}) == 3
