"""Where a trace goes: CSV, Parquet, or the binary form that `traces.file` describes.

Each sink appends records as they come, and what it has written stays readable whatever happens to the process. Their
arguments are the same: the folder, the dtype of a record, its `About`, the digits of numbers in text (None: the fewest
that read back as the same number), and ``done``: the epochs that a resumed run has done, whose later records are cut
off; None for a new run, which overwrites nothing.

A sink is told where it ends, and returns its new end; ``begun`` is the first. So records count once the caller says so,
and those that a failed write left behind are written over.
"""

import contextlib
import csv
import os
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from backprop_ref import files
from backprop_ref.errors import InvalidInput
from backprop_ref.network import Network
from backprop_ref.text import as_csv
from backprop_ref.traces.file import FILE, OF_PARAMETERS, OF_SAMPLES, About, Records, RecordType, open_trace

PART_BYTES = 2**24  # of Parquet, before compression
MOST_COLUMNS = 20_000
FIRST_COLUMNS = 7  # epoch, loss, accuracy, configuration, iteration, learning_rate, sample


def writing(path: Path) -> AbstractContextManager[None]:
    """A context that turns an error of the system's into a line about the file."""
    return files.writing(path, "free some space or give another folder")


class Written(NamedTuple):
    """What counts of a sink: its last epoch, -1 if there is none, and where it ends."""

    last: int
    end: Any


class Sink(Protocol):
    """Where records go; see above."""

    begun: Written

    def write(self, records: Records, end: Any) -> Any:
        """Appends records behind an end; the new end."""
        ...

    def flush(self, end: Any) -> Any:
        """Sees that all before an end is on the disk; where that is then."""
        ...

    def close(self, end: Any) -> None:
        """Closes the files, without what is behind an end."""
        ...

    def discard(self) -> None:
        """Closes the files, and removes new ones."""
        ...


class _Growing:
    """A file of records behind a header; not buffered, so that an error belongs to the write that met it."""

    begun: Written

    def __init__(self, path: Path, header: bytes, done: int | None) -> None:
        files.refuse_links(path.parent, path.name)
        self._path, self._new = path, done is None or not path.exists()
        with writing(path):
            if done is None or self._new:
                self._file: IO[bytes] = path.open("xb", buffering=0)
            else:
                self.begun = self._go_on(header, done)
                self._file = files.open_in_place(path, "r+b", buffering=0)
            try:
                if self._new:
                    self.begun = Written(-1, self._append(header, 0))
                self._file.truncate(self.begun.end)
            except BaseException:
                self.discard()
                raise

    def _go_on(self, header: bytes, done: int) -> Written:
        """What of an earlier run's file counts."""
        raise NotImplementedError

    def _append(self, data: bytes, end: int) -> int:
        with writing(self._path):
            self._file.seek(end)
            left = memoryview(data)
            while left:
                left = left[self._file.write(left) :]
        return end + len(data)

    def flush(self, end: int) -> int:
        """Waits until the disk has everything."""
        with writing(self._path):
            os.fsync(self._file.fileno())
        return end

    def close(self, end: int) -> None:
        """Closes the file, without what does not count."""
        with writing(self._path), self._file:
            self._file.truncate(end)

    def discard(self) -> None:
        """Closes the file, and removes a new one."""
        with contextlib.suppress(OSError):
            self._file.close()
            if self._new:
                self._path.unlink()


class Binary(_Growing):
    """``trace.bin``: the records as they are."""

    name = FILE

    def __init__(self, folder: Path, dtype: RecordType, about: About, digits: int | None, done: int | None) -> None:
        self._dtype, self._about = dtype, about
        line = about.to_json(dtype).encode()
        super().__init__(folder / self.name, line + b" " * (-(len(line) + 1) % 64) + b"\n", done)

    def _go_on(self, header: bytes, done: int) -> Written:
        found = open_trace(self._path)
        about = self._about._replace(configuration=found.configuration)
        if found.about.to_json(found.records.dtype) != about.to_json(self._dtype):
            raise InvalidInput(f"{self._path}: the trace of another run; move it away")
        count = of_done(found["epoch"], about.every, done)
        last = _checked_last(self._path, found["epoch"][:count].tolist(), about.every, done)
        with self._path.open("rb") as file:
            return Written(last, len(file.readline()) + count * self._dtype.itemsize)

    def write(self, records: Records, end: int) -> int:
        """Appends them; they can be read from then on."""
        return self._append(records.tobytes(), end)


class Csv(_Growing):
    """``trace.csv``: a line for each epoch, or for each sample of each epoch, with the columns of `Columns`."""

    name = "trace.csv"

    @staticmethod
    def line_bytes(network: Network, dtype: npt.DTypeLike, digits: int | None) -> int:
        """About how long a line is: each number has its digits, a point, what is before it, and a comma."""
        digits = digits or np.finfo(dtype).precision + 1
        return (FIRST_COLUMNS + count_numbers(network, "CSV")) * (digits + 4)

    def __init__(self, folder: Path, dtype: RecordType, about: About, digits: int | None, done: int | None) -> None:
        self._columns, self._every, self._digits = Columns(about, dtype, "CSV"), about.every, digits
        self._configuration = _csv_line([about.configuration])
        super().__init__(folder / self.name, (_csv_line(self._columns.names) + "\n").encode(), done)

    def _go_on(self, header: bytes, done: int) -> Written:
        last: list[int] = []
        with self._path.open("rb") as file:
            if file.readline() != header:
                raise InvalidInput(f"{self._path}: the trace of another run; move it away")
            end = file.tell()
            for line in file:
                number = line.partition(b",")[0]
                epoch = int(number) if line.endswith(b"\n") and number.isdigit() else done + 1
                if of_done([*last, epoch], self._every, done) != 1 + len(last):
                    break
                if not last:  # the folder may have another name by now
                    fields = next(csv.reader([line.decode()]))
                    self._configuration = _csv_line([fields[len(self._columns.before)]])
                last, end = [epoch], end + len(line)
        return Written(_checked_last(self._path, last, self._every, done), end)

    def write(self, records: Records, end: int) -> int:
        """Appends them; they can be read from then on."""
        samples, columns = self._columns.samples, self._columns
        numbers = columns.of_samples(records).reshape(len(records) * len(samples), -1)
        of_samples, shared = (formatted(part, self._digits) for part in (numbers, columns.shared(records)))
        heads = zip(*(records[name].tolist() for name in columns.before), strict=True)
        behind = zip(*(records[name].tolist() for name in columns.behind), strict=True)
        lines = []
        for i, (head, tail) in enumerate(zip(heads, behind, strict=True)):
            start = ",".join([*map(self._text, head), self._configuration, *map(self._text, tail)])
            for j, sample in enumerate(samples):
                of_sample = of_samples[i * len(samples) + j]
                lines.append(f"{start}{f',{sample}' if len(samples) > 1 else ''},{of_sample},{shared[i]}\n")
        return self._append("".join(lines).encode(), end)

    def _text(self, value: float) -> str:
        return f"%.{self._digits}g" % value if self._digits and isinstance(value, float) else repr(value)


class Held(NamedTuple):
    """Where a Parquet trace ends: the number of the next part, and what is held for it: blocks of records, bytes."""

    part: int
    blocks: int = 0
    bytes: int = 0


class Parquet:
    """``trace.parquet``: a folder of files with the columns of `Columns`, each complete before it gets its name."""

    name = "trace.parquet"

    def __init__(self, folder: Path, dtype: RecordType, about: About, digits: int | None, done: int | None) -> None:
        self._arrow = _pyarrow()
        self._path, self._about, self._columns = folder / self.name, about, Columns(about, dtype, "Parquet")
        self._new = done is None or not self._path.exists()
        self._blocks: list[Records] = []
        files.refuse_links(folder, self.name)
        with writing(self._path):
            if self._new:
                self._path.mkdir()
            self.begun = Written(-1, Held(0)) if done is None or self._new else self._go_on(done)

    def _go_on(self, done: int) -> Written:
        for path in self._path.glob(".part-*"):
            if files.beside_which(path):
                path.unlink()
        counts: dict[Path, tuple[int, int]] = {}
        last: Sequence[int] = []
        number = 0
        for path in sorted(self._path.glob("part-*.parquet")):
            files.refuse_links(self._path, path.name)
            if self._arrow.parquet.read_schema(path).names != self._columns.names:
                raise InvalidInput(f"{path}: the trace of another run; move it away")
            table = self._arrow.parquet.read_table(path, columns=["epoch", "configuration"])
            epochs = table["epoch"].to_numpy()
            counts[path] = of_done(epochs, self._about.every, done), len(epochs)
            if counts[path][0]:
                self._about = self._about._replace(configuration=table["configuration"][0].as_py())
                last, number = epochs[: counts[path][0]].tolist(), int(path.stem.partition("-")[2]) + 1
        begun = Written(_checked_last(self._path, last, self._about.every, done), Held(number))
        for path, (count, of) in reversed(counts.items()):
            if count == 0:
                path.unlink()
            elif count < of:
                self._put(self._arrow.parquet.read_table(path).slice(0, count), path)
        return begun

    def write(self, records: Records, end: Held) -> Held:
        """Holds them until there are enough for a file."""
        self._blocks[end.blocks :] = [records]
        end = Held(end.part, end.blocks + 1, end.bytes + records.nbytes)
        return self.flush(end) if end.bytes >= PART_BYTES else end

    def flush(self, end: Held) -> Held:
        """Writes what is held into a file."""
        if end.blocks == 0:
            return end
        records = np.concatenate(self._blocks[: end.blocks])
        self._put(self._table(records), self._path / f"part-{end.part:05d}.parquet")
        return Held(end.part + 1)

    def close(self, end: Held) -> None:
        """Every file is closed."""

    def discard(self) -> None:
        """Removes a new folder and its files; with something else in it, it stays."""
        if self._new:
            with contextlib.suppress(OSError):
                for path in self._path.glob("part-*.parquet"):
                    path.unlink()
                self._path.rmdir()

    def _table(self, records: Records) -> Any:
        columns, samples = self._columns, self._columns.samples
        heads: dict[str, Any] = {}
        for name in columns.before + columns.behind:
            heads[name] = np.repeat(records[name], len(samples))
        heads["configuration"] = [self._about.configuration] * (len(records) * len(samples))
        heads["sample"] = np.tile(samples, len(records))
        numbers = columns.of_samples(records).reshape(len(records) * len(samples), -1)
        shared = np.repeat(columns.shared(records), len(samples), axis=0)
        of_numbers = [*numbers.T, *shared.T]
        names = columns.names[: len(columns.names) - len(of_numbers)]
        arrays = [heads[name] for name in names] + [np.ascontiguousarray(column) for column in of_numbers]
        return self._arrow.table(dict(zip(columns.names, arrays, strict=True)))

    def _put(self, table: Any, path: Path) -> None:
        with writing(path), files.replacing(path) as file:
            self._arrow.parquet.write_table(table, file)


class Columns:
    """The columns of a flat table, one number in each, by their `names`.

    First epoch, loss, accuracy or r2, val_… where there is validation, configuration, iteration and learning_rate; then
    sample, where there are several; then z, a and delta of each neuron, and w, b, dw and db of each connection. Layers
    are called input, hidden and output; two and more hidden ones hidden1, hidden2, … So z_hidden_0 is z of the first
    hidden neuron, w_input_hidden_2_0 the weight to it from the third input, and b_input_hidden_0 its bias. `before` and
    `behind` are the fields of a record that stand before and behind the configuration.
    """

    def __init__(self, about: About, dtype: RecordType, kind: str) -> None:
        sizes = about.network.sizes
        count_numbers(about.network, kind)
        history = [name for name in dtype.names or () if dtype[name].shape == () and name not in {"epoch", "iteration"}]
        self.before = ["epoch", *(name for name in history if name != "learning_rate")]
        self.behind, self.samples = ["iteration", "learning_rate"], about.samples
        self._layers = range(about.network.n_layers)
        called = layer_names(about.network)
        self.names = [*self.before, "configuration", *self.behind, *(["sample"] if len(self.samples) > 1 else [])]
        for quantity in OF_SAMPLES:
            for layer in self._layers:
                self.names += [f"{quantity}_{called[layer + 1]}_{j}" for j in range(sizes[layer + 1])]
        for quantity in OF_PARAMETERS:
            for layer in self._layers:
                stem = f"{quantity.lower()}_{called[layer]}_{called[layer + 1]}"
                into = range(sizes[layer + 1])
                of_weights = [f"{stem}_{k}_{j}" for k in range(sizes[layer]) for j in into]
                self.names += of_weights if "W" in quantity else [f"{stem}_{j}" for j in into]

    def of_samples(self, records: Records) -> npt.NDArray[Any]:
        """z, a and delta, of shape (records, samples, columns)."""
        return np.concatenate([records[f"{name}{layer}"] for name in OF_SAMPLES for layer in self._layers], axis=2)

    def shared(self, records: Records) -> npt.NDArray[Any]:
        """w, b, dw and db, of shape (records, columns)."""
        fields = [records[f"{name}{layer}"] for name in OF_PARAMETERS for layer in self._layers]
        return np.concatenate([field.reshape(len(records), -1) for field in fields], axis=1)


def count_numbers(network: Network, kind: str) -> int:
    """Columns for z, a, delta, w, b, dw and db; too many are refused."""
    numbers = 2 * network.n_parameters + 3 * sum(network.sizes[1:])
    if numbers > MOST_COLUMNS:
        raise InvalidInput(
            f"trace as {kind}: a network of {network.n_parameters:,} parameters needs {numbers:,} columns, "
            f"more than {MOST_COLUMNS:,}; trace it as binary"
        )
    return numbers


def layer_names(network: Network) -> list[str]:
    """What the columns call each layer, the input first."""
    hidden = network.n_layers - 1
    return ["input", *(f"hidden{i}" if hidden > 1 else "hidden" for i in range(1, hidden + 1)), "output"]


def formatted(table: npt.NDArray[Any], digits: int | None) -> list[str]:
    """Each row of a table of floats as text, with commas between."""
    if digits:
        line = ",".join([f"%.{digits}g"] * table.shape[1])
        return [line % tuple(row) for row in table.tolist()]
    if table.dtype == np.float32:  # whose shortest digits are fewer than those of the same number as float64
        return [",".join(row) for row in table.astype(str).tolist()]
    return [",".join(map(repr, row)) for row in table.tolist()]


def of_done(epochs: npt.ArrayLike, every: int, done: int) -> int:
    """How many of the epochs of a trace a resumed run keeps: those it has done, but for an odd one at the end, and as
    long as they rise.
    """
    epochs = np.asarray(epochs)
    stays = (epochs <= done) & (epochs % every == 0) & (np.diff(epochs, prepend=-1) >= 0)
    return len(stays) if stays.all() else int(np.argmin(stays))


def _checked_last(path: Path, epochs: Sequence[int], every: int, done: int) -> int:
    """The last of the epochs that stay, -1 if there is none; a trace that would get a gap behind it is refused."""
    if not len(epochs):
        return -1
    if epochs[-1] != done - done % every:
        raise InvalidInput(f"{path}: not each {every}. epoch up to {done} is in it; move it away, or it gets a gap")
    return int(epochs[-1])


def _csv_line(values: Iterable[object]) -> str:
    return as_csv([values]).removesuffix("\n")


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise InvalidInput(
            "a trace as Parquet needs pyarrow, which is not installed: pip install 'backprop-ref[parquet]'"
        ) from None
    return pyarrow


SINKS: dict[str, Any] = {"binary": Binary, "csv": Csv, "parquet": Parquet}
