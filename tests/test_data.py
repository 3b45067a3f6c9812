"""Built-in data, one-hot, splitting, and normalisation: sizes, seeds, edge cases, and the way to JSON and back."""

import hashlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import backprop_ref as br
from backprop_ref.data import NAMES, Preprocessing, load_dataset, split
from backprop_ref.data.dataset import Dataset
from backprop_ref.random import Stream

PINNED = [
    ("xor", {}, "d8c8907b570d7188"),
    ("encoder-8-3-8", {}, "be1f90e7917022df"),
    ("classification", {}, "b472d80c2045abd2"),
    ("classification", {"n_samples": 7, "n_features": 1, "n_classes": 2, "noise": 0.5, "seed": 5}, "167b8f48333d5076"),
    ("regression", {}, "43617e9bda5ce4b2"),
    ("regression", {"n_samples": 5, "n_features": 3, "seed": 2}, "d9ad6d14ad369095"),
]


def digest(dataset):
    return hashlib.sha256(dataset.x.astype("<f8").tobytes() + dataset.target.astype("<f8").tobytes()).hexdigest()


@pytest.mark.parametrize(("name", "options", "beginning"), PINNED)
def test_generated_data_are_the_same_everywhere(name, options, beginning):
    assert digest(load_dataset(name, **options))[:16] == beginning


@pytest.mark.parametrize("name", ["classification", "regression", "moons", "circles", "spirals"])
def test_a_seed_decides_everything(name):
    assert digest(load_dataset(name, seed=3)) == digest(load_dataset(name, seed=3))
    assert digest(load_dataset(name, seed=3)) != digest(load_dataset(name, seed=4))


@pytest.mark.parametrize("name", NAMES)
def test_a_data_set_is_what_it_says(name):
    dataset = load_dataset(name)
    assert dataset.x.dtype == np.float64
    assert np.isfinite(dataset.x).all()
    assert dataset.x.shape == (len(dataset.target), len(dataset.feature_names))
    if dataset.task == "regression":
        assert dataset.target.dtype == np.float64
    else:
        assert dataset.target.dtype == np.int64
        assert np.unique(dataset.target).tolist() == list(range(len(dataset.classes)))


@pytest.mark.parametrize(
    ("name", "options", "shape", "classes"),
    [
        ("classification", {"n_samples": 12, "n_features": 1, "n_classes": 5}, (12, 1), 5),
        ("regression", {"n_samples": 1, "n_features": 1}, (1, 1), None),
        ("spirals", {"n_samples": 4, "n_classes": 4, "noise": 0.0}, (4, 2), 4),
        ("moons", {"n_samples": 3}, (3, 2), 2),
        ("circles", {"n_samples": 2}, (2, 2), 2),
        ("encoder", {"n_features": 5}, (5, 5), 5),
        ("encoder-16-4-16", {}, (16, 16), 16),
    ],
)
def test_sizes_are_as_asked(name, options, shape, classes):
    dataset = load_dataset(name, **options)
    assert dataset.x.shape == shape
    assert (dataset.classes and len(dataset.classes)) == classes


def test_the_shapes_are_what_their_names_say():
    moons, circles, spirals = (load_dataset(name, noise=0.0) for name in ("moons", "circles", "spirals"))
    # sine, cosine, shifting there and back, and hypot: a unit in the last place of 1 for each
    rounding = 5 * np.finfo(np.float64).eps
    radius = np.hypot(*circles.x.T)
    assert np.abs(radius - np.where(circles.target == 0, 1.0, 0.5)).max() <= rounding
    centre = np.array([[0.0, 0.0], [1.0, 0.5]])[moons.target]
    assert np.abs(np.hypot(*(moons.x - centre).T) - 1.0).max() <= rounding
    assert np.hypot(*spirals.x.T).max() <= 1.0 + rounding


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("digtis", {}, "unknown data set 'digtis': did you mean 'digits'"),
        ("encoder-8-3-7", {}, "encoder-N-M-N"),
        ("encoder-8-0-8", {}, "encoder-N-M-N"),
        ("encoder-1-1-1", {}, "1 rows cannot show 2 classes"),
        ("moons", {"n_samples": 1}, "1 rows cannot show 2 classes"),
        ("classification", {"n_samples": 3, "n_classes": 4}, "3 rows cannot show 4 classes"),
        ("classification", {"n_classes": 1}, "n_classes=1: 2 or more"),
        ("classification", {"n_features": 0}, "n_features=0: 1 or more"),
        ("moons", {"n_classes": 3}, "no option n_classes; it has n_samples, noise, seed"),
        ("iris", {"n_samples": 3}, "no option n_samples"),
        ("moons", {"noise": -0.1}, "noise=-0.1"),
        ("moons", {"noise": float("nan")}, "noise=nan"),
        ("moons", {"seed": -1}, "seed -1"),
    ],
)
def test_what_cannot_be_made_is_refused(name, options, message):
    with pytest.raises(br.InvalidInput, match=message):
        load_dataset(name, **options)


def test_one_hot():
    assert br.one_hot([2, 0]).tolist() == [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    assert br.one_hot([0.0, 1.0], 3).tolist() == [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    assert br.one_hot([], 2).shape == (0, 2)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 3], r"label 3 at position 1 is out of range: 0 to 2"),
        ([0, -1], r"label -1 at position 1 is out of range"),
        ([0.5], r"label 0.5 at position 0 is not a whole number"),
        ([0, np.nan], r"label nan at position 1"),
        ([np.inf], r"label inf at position 0"),
        (["a"], r"number the classes first"),
        ([[0, 1]], r"shape \(1, 2\)"),
    ],
)
def test_one_hot_refuses_what_is_no_class(labels, message):
    with pytest.raises(br.InvalidInput, match=message):
        br.one_hot(labels, 3)


labels_of = st.lists(st.integers(0, 6), min_size=1, max_size=60).map(np.array)
shares = st.floats(0.0, 1.0, exclude_max=True)


@settings(deadline=None, derandomize=True)
@given(labels=labels_of, share=shares, seed=st.integers(0, 100))
def test_a_stratified_split(labels, share, seed):
    stay, out = split(len(labels), share, Stream(seed, "split"), labels)
    assert np.array_equal(np.sort(np.concatenate([stay, out])), np.arange(len(labels)))
    assert (np.diff(stay) > 0).all()
    assert (np.diff(out) > 0).all()
    assert set(labels[stay]) == set(labels)
    possible = len(labels) - len(set(labels))
    assert len(out) == min(round(share * len(labels)), possible)
    if len(out) == round(share * len(labels)):
        sizes = {label: np.sum(labels == label) for label in set(labels)}
        rounded_down = [min(int(share * size), size - 1) for size in sizes.values()]
        taken = [np.sum(labels[out] == label) for label in sizes]
        assert all(took >= least for took, least in zip(taken, rounded_down, strict=True))


@settings(deadline=None, derandomize=True)
@given(n=st.integers(1, 60), share=shares, seed=st.integers(0, 100))
def test_a_plain_split(n, share, seed):
    stay, out = split(n, share, Stream(seed, "split"))
    assert np.array_equal(np.sort(np.concatenate([stay, out])), np.arange(n))
    assert len(out) == min(round(share * n), n - 1)


def test_the_largest_remainder_gives_one_row_more():
    labels = np.repeat([0, 1, 2], [10, 4, 2])
    # shares of 3.0, 1.2 and 0.6, and 4.8 of all
    assert np.bincount(labels[split(16, 0.3, Stream(1, "split"), labels)[1]]).tolist() == [3, 1, 1]


def test_a_split_gives_each_class_its_share_and_depends_on_the_seed():
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    outs = [split(100, 0.2, Stream(seed, "split"), labels)[1] for seed in (1, 1, 2)]
    assert np.bincount(labels[outs[0]]).tolist() == [10, 6, 4]
    assert np.array_equal(outs[0], outs[1])
    assert not np.array_equal(outs[0], outs[2])


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_outside_0_to_1_is_refused(share):
    with pytest.raises(br.InvalidInput, match="from 0 to below 1"):
        split(10, share, Stream(1, "split"))


def numbers(name="numbers"):
    stream = Stream(7, "check")
    x = stream.normal(60).reshape(20, 3) * [1e-3, 1.0, 1e6] + [5.0, 0.0, -1e7]
    return Dataset(name, x, stream.normal(20) * 40.0 + 150.0, None, ("a", "b", "c"), "t")


@pytest.mark.parametrize("normalize", ["standardize", "minmax", "none"])
@pytest.mark.parametrize("dataset", ["iris", numbers()], ids=["classes", "numbers"])
def test_preprocessing_comes_back_from_json_to_the_bit(dataset, normalize):
    dataset = load_dataset(dataset) if isinstance(dataset, str) else dataset
    fitted = Preprocessing.fit(dataset, np.arange(0, len(dataset.x), 2), normalize)
    read = Preprocessing.from_dict(json.loads(json.dumps(fitted.to_dict())))
    assert read == fitted
    assert read.x(dataset.x).tobytes() == fitted.x(dataset.x).tobytes()
    assert read.y(dataset.target).tobytes() == fitted.y(dataset.target).tobytes()


def test_normalisation_is_by_the_training_rows():
    dataset, rows = numbers(), np.arange(11)
    rounding = len(rows) * np.finfo(np.float64).eps * np.abs(dataset.x).max(axis=0) / dataset.x.std(axis=0)
    x = Preprocessing.fit(dataset, rows).x(dataset.x)[rows]
    assert (np.abs(x.mean(axis=0)) <= rounding).all()
    assert (np.abs(x.std(axis=0) - 1.0) <= rounding).all()
    x = Preprocessing.fit(dataset, rows, "minmax").x(dataset.x)[rows]
    assert (x.min(axis=0).tolist(), x.max(axis=0).tolist()) == ([0.0] * 3, [1.0] * 3)
    assert np.array_equal(Preprocessing.fit(dataset, rows, "none").x(dataset.x), dataset.x)


def test_values_come_back_in_the_targets_own_units():
    dataset = numbers()
    fitted = Preprocessing.fit(dataset, np.arange(20))
    y = fitted.y(dataset.target)
    # four operations, each rounded to half a unit of numbers no larger than these
    unit = np.spacing(np.abs(dataset.target).max() + abs(fitted.target_shift))
    assert (np.abs(fitted.values(y) - dataset.target) <= 4 * unit / 2).all()


@pytest.mark.parametrize("normalize", ["standardize", "minmax"])
def test_a_constant_column_is_only_shifted(normalize):
    # ten times 0.1 adds up to 0.9999999999999999
    dataset = Dataset("d", np.full((10, 1), 0.1), np.zeros(10), None, ("a",))
    fitted = Preprocessing.fit(dataset, np.arange(10), normalize)
    assert fitted.x(np.array([[0.1], [1.1]])).tolist() == [[0.0], [1.0]]


@pytest.mark.parametrize("normalize", ["standardize", "minmax"])
def test_columns_too_large_to_normalise_are_named(normalize):
    x = np.array([[0.0, 1e308], [1.0, -1e308], [2.0, 1.0]])
    with pytest.raises(br.InvalidInput, match=r"column b: from -1e\+308 to 1e\+308, too large"):
        Preprocessing.fit(Dataset("d", x, np.zeros(3), None, ("a", "b")), np.arange(3), normalize)


def test_two_classes_can_be_one_output():
    dataset = load_dataset("moons", n_samples=6)
    fitted = Preprocessing.fit(dataset, np.arange(6), one_column=True)
    assert fitted.y(dataset.target).tolist() == dataset.target[:, None].tolist()
    assert Preprocessing.fit(load_dataset("iris"), np.arange(150), one_column=True).n_outputs == 3


def test_an_unknown_normalisation_and_a_wrong_width_are_refused():
    dataset = load_dataset("iris")
    with pytest.raises(br.InvalidInput, match="did you mean 'standardize'"):
        Preprocessing.fit(dataset, np.arange(9), "standardise")
    with pytest.raises(br.InvalidInput, match="3 feature columns; the network was trained on 4"):
        Preprocessing.fit(dataset, np.arange(9)).x(dataset.x[:, :3])
