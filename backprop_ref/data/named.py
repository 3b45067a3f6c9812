"""The built-in data sets: logic puzzles, seeded generators, and the real sets that scikit-learn carries.

The generators draw from `Stream`. classification and regression are made in + − × and √ from normal numbers and
are the same to the bit everywhere; moons, circles and spirals use the platform's sine and cosine.
"""

import gzip
import importlib.util
import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from backprop_ref.data.dataset import Dataset, Target
from backprop_ref.errors import InvalidInput, check_is, unknown
from backprop_ref.kernels import ordered
from backprop_ref.random import Stream

Samples: TypeAlias = tuple[npt.NDArray[np.float64], Target]
"""Features (samples, features), and class numbers or values (samples,)."""


def xor() -> Samples:
    """The four cases of exclusive or."""
    x = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    return x, np.array([0, 1, 1, 0])


def encoder(n_features: int = 8) -> Samples:
    """n one-hot patterns that are their own targets (Rumelhart, Hinton and Williams 1986)."""
    return np.eye(n_features), np.arange(n_features)


def classification(
    n_samples: int = 1000, n_features: int = 20, n_classes: int = 3, noise: float = 1.0, seed: int = 1
) -> Samples:
    """Normal clouds, two to a class, about centres drawn from a normal distribution of deviation 1."""
    stream = Stream(seed, "data")
    centres = stream.normal(2 * n_classes * n_features).reshape(2 * n_classes, n_features)
    cloud = _shuffled(np.arange(n_samples) % (2 * n_classes), stream)
    x = centres[cloud] + noise * stream.normal(n_samples * n_features).reshape(n_samples, n_features)
    return x, cloud % n_classes


def regression(n_samples: int = 1000, n_features: int = 10, noise: float = 0.1, seed: int = 1) -> Samples:
    """A random linear function of normal inputs, plus the product of first and last, plus normal noise."""
    stream = Stream(seed, "data")
    x = stream.normal(n_samples * n_features).reshape(n_samples, n_features)
    slopes = stream.normal(n_features).reshape(n_features, 1)
    linear = ordered.affine(np, x, slopes, np.zeros(1))[:, 0]
    return x, linear + x[:, 0] * x[:, -1] + noise * stream.normal(n_samples)


def moons(n_samples: int = 400, noise: float = 0.1, seed: int = 1) -> Samples:
    """Two interleaved half circles of radius 1."""
    stream = Stream(seed, "data")
    label = _shuffled(np.arange(n_samples) % 2, stream)
    angle = math.pi * stream.uniform(n_samples)
    x = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    x[label == 1] = np.array([1.0, 0.5]) - x[label == 1]
    return x + noise * stream.normal(2 * n_samples).reshape(-1, 2), label


def circles(n_samples: int = 400, noise: float = 0.05, seed: int = 1) -> Samples:
    """Two circles about the origin, of radius 1 and 0.5."""
    stream = Stream(seed, "data")
    label = _shuffled(np.arange(n_samples) % 2, stream)
    angle = 2.0 * math.pi * stream.uniform(n_samples)
    x = np.stack([np.cos(angle), np.sin(angle)], axis=1) * np.where(label == 0, 1.0, 0.5)[:, None]
    return x + noise * stream.normal(2 * n_samples).reshape(-1, 2), label


def spirals(n_samples: int = 600, n_classes: int = 3, noise: float = 0.02, seed: int = 1) -> Samples:
    """One spiral arm to a class, three quarters of a turn, radius up to 1."""
    stream = Stream(seed, "data")
    label = _shuffled(np.arange(n_samples) % n_classes, stream)
    radius = np.sqrt(stream.uniform(n_samples))
    angle = 2.0 * math.pi * (label / n_classes + 0.75 * radius)
    x = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return x + noise * stream.normal(2 * n_samples).reshape(-1, 2), label


GENERATORS: dict[str, Callable[..., Samples]] = {
    function.__name__: function for function in (xor, encoder, classification, regression, moons, circles, spirals)
}
BUNDLED = ("digits", "iris", "wine", "breast_cancer", "diabetes")
NAMES = (*GENERATORS, *BUNDLED)
_LEAST = {"n_samples": 1, "n_features": 1, "n_classes": 2}


def load_dataset(name: str, **options: float | None) -> Dataset:
    """The built-in `Dataset` of that name.

    Parameters
    ----------
    name : str
        One of `NAMES`; ``encoder-16-4-16`` is the encoder with 16 patterns.
    **options
        n_samples, n_features, n_classes, noise, seed: those that the generator has; None counts as not given.

    Raises
    ------
    InvalidInput
        An unknown name, or an option that the set does not have.

    Examples
    --------
    >>> moons = load_dataset("moons", n_samples=100, seed=1)
    >>> moons.x.shape, moons.task, moons.classes
    ((100, 2), 'classification', ('0', '1'))
    """
    check_is("name", name, str, "the name of a data set")
    given = {key: value for key, value in options.items() if value is not None}
    if name.startswith("encoder-"):
        sizes = name.split("-")[1:]
        if len(sizes) != 3 or sizes[0] != sizes[2] or not all(size.isdecimal() and int(size) for size in sizes):
            raise InvalidInput(f"data set '{name}': an encoder is encoder-N-M-N, such as encoder-8-3-8")
        given.setdefault("n_features", int(sizes[0]))
    kind = "encoder" if name.startswith("encoder-") else name
    if kind not in NAMES:
        raise unknown("data set", name, NAMES)
    known = list(inspect.signature(GENERATORS[kind]).parameters) if kind in GENERATORS else []
    for key, value in given.items():
        if key not in known and key != "seed":
            raise InvalidInput(f"data set {name} has no option {key}; it has {', '.join(known) or 'none'}")
        if key in _LEAST and value < _LEAST[key]:
            raise InvalidInput(f"{key}={value}: {_LEAST[key]} or more are needed")
        if key == "noise" and not 0.0 <= value < math.inf:
            raise InvalidInput(f"noise={value}: a number not below 0 is needed")
    if kind in BUNDLED:
        return _bundled(kind)
    x, target = GENERATORS[kind](**{key: value for key, value in given.items() if key in known})
    features = tuple(f"x{column}" for column in range(x.shape[1]))
    if kind == "regression":
        return Dataset(name, x, target, None, features)
    count = int(given.get("n_classes", max(int(target.max()) + 1, 2)))
    if len(np.unique(target)) < count:
        raise InvalidInput(f"data set {name}: {len(x)} rows cannot show {count} classes; ask for more")
    return Dataset(name, x, target.astype(np.int64), tuple(str(label) for label in range(count)), features)


def _bundled(name: str) -> Dataset:
    if name == "digits":
        return _digits()
    import sklearn.datasets

    bunch = getattr(sklearn.datasets, f"load_{name}")()
    features = tuple(str(feature) for feature in bunch.feature_names)
    x = np.asarray(bunch.data, dtype=np.float64)
    if name == "diabetes":
        return Dataset(name, x, np.asarray(bunch.target, dtype=np.float64), None, features)
    classes = tuple(str(label) for label in bunch.target_names)
    return Dataset(name, x, np.asarray(bunch.target, dtype=np.int64), classes, features)


def _digits() -> Dataset:
    """The file that scikit-learn carries, without importing scikit-learn, which takes longer than training."""
    found = importlib.util.find_spec("sklearn")
    assert found is not None, "a dependency"
    with gzip.open(Path((found.submodule_search_locations or [""])[0], "datasets/data/digits.csv.gz"), "rt") as file:
        table = np.loadtxt(file, delimiter=",")
    features = tuple(f"pixel_{row}_{column}" for row in range(8) for column in range(8))
    return Dataset(
        "digits",
        np.ascontiguousarray(table[:, :-1]),
        table[:, -1].astype(np.int64),
        tuple(map(str, range(10))),
        features,
    )


def _shuffled(values: npt.NDArray[np.int64], stream: Stream) -> npt.NDArray[np.int64]:
    return values[stream.permutation(len(values))]
