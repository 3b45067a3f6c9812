"""Traces training: z, a, delta, gradients and parameters of some epochs, written while training goes on.

The trainer keeps the flat parameters of each traced epoch, and everything else is computed from them afterwards, for
many epochs at once: training itself is the same to the bit, and hardly slower. Record by record this is what
`backprop_ref.trace` gives for the chosen samples as one batch, on NumPy in the run's numerics: under reproducible
numerics to the bit.
"""

import contextlib
import math
import shutil
import tempfile
import weakref
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from backprop_ref.arrays import Batch, Matrix, Rows, Vector
from backprop_ref.backends import get_backend
from backprop_ref.backends.base import Backend
from backprop_ref.errors import InvalidInput, unknown
from backprop_ref.files import Name, path_of
from backprop_ref.network import Network
from backprop_ref.parameters import views
from backprop_ref.text import printable
from backprop_ref.traces.file import FILE, MOST_NAME, OF_SAMPLES, About, Records, open_trace, record_dtype
from backprop_ref.traces.passes import passes
from backprop_ref.traces.sinks import SINKS, Sink, Written, writing

MOST_SAMPLES, MOST_RECORDS, MOST_BYTES = 8, 1000, 2**28  # of a trace that is not told how many
SNAPSHOT_BYTES, BLOCK_BYTES = 2**22, 2**20


class Recorder:
    """What `br.train` is given as `trace`: it says which epochs to keep, and writes them.

    Parameters
    ----------
    folder : path-like, optional
        Where ``trace.bin``, ``trace.csv`` and the folder ``trace.parquet`` go; created. Default: a temporary one, which
        goes with the recorder and the `Result` that has it.
    kinds : sequence of 'binary', 'csv', 'parquet'
    samples : sequence of int, optional
        Rows of the training data, from 0; default: the first 8, or as many as there are.
    every : int, optional
        Each n-th epoch is traced, and epoch 0, the initial state, and the last. Default: each one, but of a trace that
        is only binary so few that there are at most `MOST_RECORDS` of at most `MOST_BYTES` together.
    digits : int, optional
        Significant digits in CSV, 1 to 17; default: the fewest that read back as the same number.
    configuration : str, optional
        What the run is called in the trace; default: the folder's name.

    Examples
    --------
    >>> import backprop_ref as br
    >>> network = br.Network([1, 1], ["linear"], "mean_squared_error")
    >>> recorder = Recorder("run", samples=[0], every=2)
    >>> result = br.train(network, network.init(), [[1.0]], [[2.0]], epochs=4, trace=recorder)
    >>> trace = open_trace("run")
    >>> trace["epoch"].tolist(), trace["W0"].shape
    ([0, 2, 4], (3, 1, 1))
    """

    def __init__(
        self,
        folder: Name | None = None,
        kinds: Collection[str] = ("binary",),
        samples: Sequence[int] | None = None,
        every: int | None = None,
        digits: int | None = None,
        configuration: str | None = None,
    ) -> None:
        for kind in kinds:
            if kind not in SINKS:
                raise unknown("kind of trace", kind, SINKS)
        if not kinds or (samples is not None and not len(samples)):
            raise InvalidInput(f"trace: kinds={list(kinds)}, samples={samples}: at least one of each is needed")
        for name, value, most in (("every", every, math.inf), ("digits", digits, 17)):
            if value is not None and (not isinstance(value, int | np.integer) or not 1 <= value <= most):
                limit = "" if most == math.inf else f" to {most}"
                raise InvalidInput(f"trace: {name}={value!r}: a whole number from 1{limit} is needed")
        self.folder = path_of(tempfile.mkdtemp(prefix="backprop-ref-") if folder is None else folder, "folder")
        if folder is None:
            weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        self.kinds, self.samples, self.every = tuple(kinds), samples, every
        usual = "training" if folder is None else self.folder.resolve().name
        self.configuration = printable(usual if configuration is None else configuration)
        if len(self.configuration) > MOST_NAME:
            raise InvalidInput(f"trace: a configuration of more than {MOST_NAME} characters; give a shorter name")
        self.digits = digits
        self._sinks: list[Sink] = []

    def start(
        self,
        network: Network,
        x: Batch,
        y: Batch,
        *,
        numerics: str,
        metric: str,
        columns: list[str],
        batches: int,
        epochs: int,
        done: int,
        resume: bool,
        weights: Vector | None = None,
    ) -> tuple[Written, ...]:
        """Opens the files; those of a run that is resumed lose what lies beyond the epochs that are done, at 0 all.

        x, y and `weights` are all training data, `columns` the history's, `batches` the updates of an epoch. What comes
        back says what the files hold; it goes into `write`, which returns what they hold then.
        """
        chosen = self._chosen(len(x))
        self._network, self._x, self._y, self._batches = network, x[chosen], y[chosen], batches
        self._weights = None if weights is None else weights[chosen]
        self._backend = get_backend("numpy", numerics)
        self._dtype = record_dtype(network, len(chosen), columns, x.dtype)
        self._block = max(1, BLOCK_BYTES // self._dtype.itemsize)
        self._every = self._each(epochs, resume)
        about = About(
            network, self.configuration, chosen, self._x, self._y, self._every, numerics, metric, self._weights
        )
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        beyond = (done or -1) if resume else None
        self._sinks = []
        for kind in self.kinds:
            self._sinks.append(SINKS[kind](self.folder, self._dtype, about, self.digits, beyond))
        return tuple(sink.begun for sink in self._sinks)

    @property
    def most_epochs(self) -> int:
        """Epochs of training whose snapshots are kept at a time."""
        return max(1, SNAPSHOT_BYTES // (self._network.n_parameters * self._x.itemsize)) * self._every

    def rows(self, done: int, count: int) -> Rows:
        """For each of the `count` epochs after `done`, the row that its snapshot gets, or -1."""
        traced = np.arange(done + 1, done + count + 1) % self._every == 0
        return np.where(traced, np.cumsum(traced) - 1, -1)

    def write(
        self,
        epochs: Sequence[int],
        flats: Matrix,
        columns: Mapping[str, Sequence[float]],
        written: tuple[Written, ...],
    ) -> tuple[Written, ...]:
        """Computes and writes the records of some epochs, rising, behind what is `written`; a sink that has them takes
        none.

        `columns` are the history of these epochs, and `flats` their parameters. `written` is what counts of the files:
        anything else in them, left by a write that failed, is written over.
        """
        for start in range(0, len(epochs), self._block):
            part = slice(start, start + self._block)
            first, last = int(epochs[part][0]), int(epochs[part][-1])
            if all(last <= place.last for place in written):
                continue
            records = self._records(epochs[part], flats[part], {name: values[part] for name, values in columns.items()})
            written = tuple(
                Written(last, sink.write(records, place.end)) if first > place.last else place
                for sink, place in zip(self._sinks, written, strict=True)
            )
        return written

    def flush(self, written: tuple[Written, ...]) -> tuple[Written, ...]:
        """Sees that what is written is on the disk; returns where it is then."""
        places = zip(self._sinks, written, strict=True)
        return tuple(place._replace(end=sink.flush(place.end)) for sink, place in places)

    def close(self, written: tuple[Written, ...]) -> None:
        """Closes the files behind what is written."""
        with contextlib.ExitStack() as each:
            for sink, place in zip(self._sinks, written, strict=False):
                each.callback(sink.close, place.end)
        self._sinks = []

    def discard(self) -> None:
        """Closes the files and removes those that `start` made."""
        while self._sinks:
            self._sinks.pop().discard()

    def _records(self, epochs: Sequence[int], flats: Matrix, columns: Mapping[str, Sequence[float]]) -> Records:
        records = np.empty(len(epochs), self._dtype)
        records["epoch"] = epochs
        records["iteration"] = records["epoch"] * self._batches
        for name, values in columns.items():
            records[name] = values
        return filled(records, self._backend, self._network, flats, self._x, self._y, self._weights)

    def _chosen(self, n: int) -> list[int]:
        if self.samples is None:
            return list(range(min(n, MOST_SAMPLES)))
        for sample in self.samples:
            if not 0 <= sample < n:
                raise InvalidInput(f"trace: there is no sample {sample}; the rows to train on are 0 to {n - 1}")
        return [int(sample) for sample in self.samples]

    def _each(self, epochs: int, resume: bool) -> int:
        if self.every is not None or set(self.kinds) != {"binary"}:
            return self.every or 1
        if resume and (self.folder / FILE).exists():
            return open_trace(self.folder).about.every
        records = max(2, min(MOST_RECORDS, MOST_BYTES // self._dtype.itemsize))
        return max(1, math.ceil(epochs / records))


def filled(
    records: Records, backend: Backend, network: Network, flats: Matrix, x: Batch, y: Batch, weights: Vector | None
) -> Records:
    """The records, one for each row of `flats`, with these parameters and what a pass over x and y gives."""
    found = passes(backend, network, flats, x, y, weights)
    found["W"], found["b"] = views(flats.T, network.sizes)
    for quantity, layers in found.items():
        for layer, array in enumerate(layers):
            records[f"{quantity}{layer}"] = array.T if quantity in OF_SAMPLES else np.moveaxis(array, -1, 0)
    return records
