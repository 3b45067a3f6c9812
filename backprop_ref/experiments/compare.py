"""One model on every backend: the same bits or not, where a difference starts, and how long a step takes."""

import contextlib
import math
import platform
import time
from typing import Any, NamedTuple

import numpy as np

from backprop_ref import showing
from backprop_ref.api import trace, value_and_grad
from backprop_ref.backends import get_backend
from backprop_ref.conformance.cases import same_bits
from backprop_ref.errors import BackpropRefError, TrainingDiverged
from backprop_ref.network import Network
from backprop_ref.parameters import Parameters
from backprop_ref.progress import Bar
from backprop_ref.training.ctrl_c import uninterrupted
from backprop_ref.training.train import train

TIMED_SECONDS = 0.15
REFERENCE = "numpy, reproducible"


class Difference(NamedTuple):
    """Where two arrays first differ, in the order of computation and then row by row."""

    quantity: str
    layer: int | None
    entry: tuple[int, ...]
    ulp: float
    """Distance of that entry, counted in representable numbers; infinite where one is NaN."""


class Comparison(NamedTuple):
    """What one backend gave, beside the reference."""

    backend: str
    numerics: str
    usable: bool
    reason: str
    exact: dict[str, bool]
    """For each tensor, z0 … db0, whether every bit is the reference's."""
    first: Difference | None
    largest_ulp: float
    largest_relative: float
    """Largest difference of a tensor, divided by its largest entry."""
    gradients: str | None
    """sha256 of the gradients."""
    weights: str | None
    """sha256 of the weights after training; None if it diverged."""
    weights_exact: bool
    step_seconds: float | None
    first_seconds: float | None
    """What the first pass and training took beyond later ones: compilation, most of all."""

    @property
    def all_exact(self):
        """Whether nothing at all differs."""
        return self.usable and all(self.exact.values()) and self.weights_exact

    def cells(self):
        """As a row of a table."""
        same = sum(self.exact.values())
        return (
            self.backend,
            "EXACT" if self.all_exact else f"{same} of {len(self.exact)} exact",
            "0" if self.all_exact else f"{self.largest_ulp:.3g} ulp, {self.largest_relative:.1e}",
            self.gradients[:12] if self.gradients else "",
            self.weights[:12] if self.weights else "diverged",
            "" if self.step_seconds is None else f"{float(f'{1e6 * self.step_seconds:.3g}'):,g} µs",
            "" if self.first_seconds is None else f"{self.first_seconds:.2f} s",
        )


class Compared(NamedTuple):
    """What was compared, and what came out."""

    network: Network
    params: Parameters
    batch_size: int
    rows: int
    found: list[Comparison]
    numerics: str

    @property
    def ok(self):
        """Whether no usable backend differs."""
        return all(row.all_exact for row in self.found if row.usable)

    def to_dict(self):
        """As ``--json`` prints it."""
        rows = [{**row._asdict(), "all_exact": row.all_exact} for row in self.found]
        for row in rows:
            row["first"] = row["first"] and row["first"]._asdict()
        network = self.network.to_dict()
        about = {"ok": self.ok, "reference": REFERENCE, "numerics": self.numerics, "network": network}
        return {**about, "backends": rows}

    def parts(self):
        """What is shown: what was compared, a row for each backend, and where one differs first."""
        network, params, found = self.network, self.params, self.found
        sizes, machine = "-".join(map(str, network.sizes)), platform.processor() or platform.machine()
        of = f"{sizes}, {', '.join(network.activations)}, {network.loss}, {params.dtype}"
        yield f"{of}; batch of {self.batch_size}"
        yield f"held against {REFERENCE}; weights after one epoch of {self.rows} rows; {machine}"
        header = "backend", "tensors", "largest difference", "gradients", "weights", "step", "first run"
        yield showing.Table(header, [row.cells() for row in found if row.usable])
        for row in found:
            if row.first is not None:
                first = row.first
                layer = "" if first.layer is None else f" of layer {first.layer}"
                entry = f" at {list(first.entry)}" if first.entry else ""
                yield f"{row.backend}: differs first in {first.quantity}{layer}{entry}, by {first.ulp:g} ulp"
            elif row.usable and not row.weights_exact:
                yield f"{row.backend}: the same gradients, but other weights after training"
            if not row.usable:
                yield f"{row.backend}: left out: {' '.join(row.reason.split())}"
        if self.numerics == "reproducible":
            yield "identical on every backend" if self.ok else "NOT identical: see above"

    def __str__(self):
        return showing.text(self.parts())

    def _repr_html_(self):
        return showing.html(self.parts())

    def _repr_markdown_(self):
        return showing.markdown(self.parts())


def compare(network, params, x, y, names, numerics="reproducible", *, batch_size, progress=None, **training):
    """Runs one model on each backend and holds it against NumPy under reproducible numerics: a `Comparison` for each
    name.

    The first `batch_size` rows serve for the gradients, one epoch over all of them for the trained weights; `training`
    is what else `backprop_ref.train` is told. Under reproducible numerics any difference is a fault.
    """
    how = {"epochs": 1, "batch_size": batch_size, "progress": False, **training}
    shards = training.get("shards", 1)
    reference = get_backend("numpy", "reproducible", device="cpu")
    expected = _quantities(network, params, x[:batch_size], y[:batch_size], shards, reference, *_weights(how))
    weights = uninterrupted(train(network, params, x, y, backend=reference, **how)).params.sha256()
    found = []
    with Bar("backend", len(names), progress) as bar:
        for name in names:
            try:
                backend = get_backend(name, numerics)
            except BackpropRefError as error:
                reason = str(error).removeprefix(f"backend {name}: ")
                nothing = Comparison(name, numerics, False, reason, {}, None, 0.0, 0.0, None, None, False, None, None)
                found.append(nothing)
            else:
                found.append(_one(name, backend, network, params, x, y, how, expected, weights))
            bar.update(len(found))
    return found


def compared(
    network: Network,
    params: Parameters,
    x: Any,
    y: Any,
    names: list[str],
    numerics: str = "reproducible",
    *,
    batch_size: int,
    progress: bool | None = None,
    **training: Any,
) -> Compared:
    """What `compare` finds, with what was compared."""
    found = compare(network, params, x, y, names, numerics, batch_size=batch_size, progress=progress, **training)
    return Compared(network, params, batch_size, len(x), found, numerics)


def _one(name, backend, network, params, x, y, how, expected, weights):
    rows, shards = slice(how["batch_size"]), how.get("shards", 1)
    started = time.perf_counter()
    got = _quantities(network, params, x[rows], y[rows], shards, backend, *_weights(how))
    first_pass = time.perf_counter() - started
    _quantities(network, params, x[rows], y[rows], shards, backend, *_weights(how))
    first_pass -= time.perf_counter() - started - first_pass
    exact = {key: same_bits(got[key], expected[key]) for key in expected}
    first = next((_difference(key, got[key], expected[key]) for key, same in exact.items() if not same), None)
    started = time.perf_counter()
    trained = step_seconds = None
    with contextlib.suppress(TrainingDiverged):  # where the reference did not, so that the weights differ
        trained = uninterrupted(train(network, params, x, y, backend=backend, **how)).params.sha256()
    first_run = time.perf_counter() - started
    with contextlib.suppress(TrainingDiverged):
        if not getattr(backend, "emulated", False):  # whose times would be taken for those of the real device
            step_seconds = _step_seconds(network, params, x, y, backend, how)
    steps = math.ceil(len(x) / how["batch_size"])
    return Comparison(
        name,
        backend.numerics,
        True,
        "",
        exact,
        first,
        max(float(np.max(_ulp(got[key], expected[key]))) for key in expected),
        max(_relative(got[key], expected[key]) for key in expected),
        value_and_grad(
            network, params, x[rows], y[rows], shards=shards, backend=backend, sample_weight=next(_weights(how), None)
        )[1].sha256(),
        trained,
        trained == weights,
        step_seconds,
        None if step_seconds is None else max(0.0, first_pass + first_run - steps * step_seconds),
    )


def _step_seconds(network, params, x, y, backend, how):
    """Seconds per update over as many epochs as fill `TIMED_SECONDS`, the start of training taken off."""
    if hasattr(backend, "timed"):
        backend = backend.timed()
        uninterrupted(train(network, params, x, y, backend=backend, **how))  # compiles what has not been
    steps = math.ceil(len(x) / how["batch_size"])
    epochs, spent = 1, 0.0
    while True:
        started = time.perf_counter()
        uninterrupted(train(network, params, x, y, backend=backend, **{**how, "epochs": epochs}))
        spent = time.perf_counter() - started
        if spent > TIMED_SECONDS or epochs >= 10_000:
            return spent / (epochs * steps)
        epochs = max(2 * epochs, int(epochs * TIMED_SECONDS / spent))


def _weights(how):
    """Those of the rows that serve for the gradients, if samples have weights."""
    if how.get("sample_weight") is not None:
        yield how["sample_weight"][: how["batch_size"]]


def _quantities(network, params, x, y, shards, backend, sample_weight=None):
    """Every tensor of a pass in the order of computation: z0, a0, …, loss, delta of the last layer, dW, db, …"""
    how = {"backend": backend, "sample_weight": sample_weight}
    seen = trace(network, params, x, y, **how)
    if shards > 1:  # which only sums over samples can tell
        loss, grads = value_and_grad(network, params, x, y, shards=shards, **how)
        seen = seen._replace(loss=loss, dW=grads.W, db=grads.b)
    layers = range(network.n_layers)
    found = {f"{name}{layer}": getattr(seen, name)[layer] for layer in layers for name in ("z", "a")}
    found["loss"] = np.array(seen.loss, dtype=params.dtype)
    for layer in reversed(layers):
        found |= {f"{name}{layer}": getattr(seen, name)[layer] for name in ("delta", "dW", "db")}
    return {**found, "dx": seen.dx}


def _ordered(array):
    """Floats as integers that count them in order, −0 just below +0."""
    bits = np.ascontiguousarray(array).view(np.int64 if array.dtype == np.float64 else np.int32).astype(np.int64)
    return np.where(bits < 0, np.int64(-(2 ** (8 * array.itemsize - 1))) - bits - 1, bits)


def _ulp(got, expected):
    """Distance of two arrays in representable numbers, entry by entry; infinite where only one is NaN."""
    distance = np.abs(_ordered(got).astype(np.float64) - _ordered(expected).astype(np.float64))
    near = np.abs(_ordered(got) - _ordered(expected)).astype(np.float64)
    distance = np.where(distance < 2.0**52, near, distance)
    return np.where(np.isnan(got) != np.isnan(expected), np.inf, distance)


def _relative(got, expected):
    largest = float(np.max(np.abs(expected)))
    return float(np.max(np.abs(got.astype(np.float64) - expected))) / (largest or 1.0)


def _difference(key, got, expected):
    apart = _ulp(got, expected)
    entry = tuple(int(i) for i in np.argwhere(apart > 0)[0]) if np.any(apart > 0) else (0,) * got.ndim
    layer = int(key.lstrip("abdeltzWx")) if key[-1].isdigit() else None
    return Difference(key.rstrip("0123456789"), layer, entry, float(apart[entry]))
