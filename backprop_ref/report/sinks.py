"""Where a trace goes: CSV, Parquet, or the binary form that `report.trace` describes.

Each sink appends records as they come, and what it has written stays readable whatever happens to the process. Their
arguments are the same: the folder, the dtype of a record, its `About`, the digits of numbers in text (None: the fewest
that read back as the same number), and ``done``: the epochs that a resumed run has done, whose later records are cut
off; None for a new run, which overwrites nothing. ``last`` is the last epoch that a sink holds; -1 if none.
"""

import csv
import io
import os
from typing import Any

import numpy as np

from backprop_ref import files
from backprop_ref.errors import InvalidInput
from backprop_ref.report.trace import FILE, OF_PARAMETERS, OF_SAMPLES, open_trace

PART_BYTES = 2**24  # of Parquet, before compression
MOST_COLUMNS = 20_000
FIRST_COLUMNS = 7  # epoch, loss, accuracy, configuration, iteration, learning_rate, sample


def writing(path):
    """A context that turns an error of the system's into a line about the file."""
    return files.writing(path, "free some space or give another folder")


class Binary:
    """``trace.bin``: the records as they are."""

    name = FILE

    def __init__(self, folder, dtype, about, digits, done):
        self._path, self.last = folder / self.name, -1
        files.refuse_links(folder, self.name)
        if done is not None and self._path.exists():
            self._go_on(dtype, about, done)
            return
        line = about.to_json(dtype).encode()
        with writing(self._path):
            self._file = self._path.open("xb")
            self._file.write(line + b" " * (-(len(line) + 1) % 64) + b"\n")
            self._file.flush()

    def _go_on(self, dtype, about, done):
        found = open_trace(self._path)
        if found.about.to_json(found.records.dtype) != about._replace(configuration=found.configuration).to_json(dtype):
            raise InvalidInput(f"{self._path}: the trace of another run; move it away")
        whole = kept(found["epoch"], about.every, done)
        self.last = int(found["epoch"][whole - 1]) if whole else -1
        with writing(self._path):
            self._file = files.open_in_place(self._path, "r+b")
            self._file.truncate(len(self._file.readline()) + whole * dtype.itemsize)
            self._file.seek(0, os.SEEK_END)

    def write(self, records):
        """Appends them; they can be read from then on."""
        with writing(self._path):
            self._file.write(records.tobytes())
            self._file.flush()

    def flush(self):
        """Nothing is held back."""

    def close(self):
        """Closes the file."""
        self._file.close()


class Csv:
    """``trace.csv``: a line for each epoch, or for each sample of each epoch, with the columns of `Columns`."""

    name = "trace.csv"

    @staticmethod
    def line_bytes(network, dtype, digits):
        """About how long a line is: each number has its digits, a point, what is before it, and a comma."""
        digits = digits or np.finfo(dtype).precision + 1
        return (FIRST_COLUMNS + count_numbers(network, "CSV")) * (digits + 4)

    def __init__(self, folder, dtype, about, digits, done):
        self._path, self.last, self._digits = folder / self.name, -1, digits
        files.refuse_links(folder, self.name)
        self._columns = Columns(about, dtype, "CSV")
        self._configuration = _csv_line([about.configuration])
        header = _csv_line(self._columns.names) + "\n"
        with writing(self._path):
            if done is not None and self._path.exists():
                self._go_on(header, about.every, done)
                return
            self._file = self._path.open("x", encoding="utf-8", newline="")
            self._file.write(header)
            self._file.flush()

    def _go_on(self, header, every, done):
        with self._path.open("rb") as file:
            if file.readline().decode() != header:
                raise InvalidInput(f"{self._path}: the trace of another run; move it away")
            end = file.tell()
            for line in file:
                epoch = int(line.partition(b",")[0]) if line.endswith(b"\n") else done + 1
                if not kept([epoch], every, done):
                    break
                if self.last < 0:  # the folder may have another name by now
                    fields = next(csv.reader([line.decode()]))
                    self._configuration = _csv_line([fields[len(self._columns.before)]])
                self.last, end = epoch, end + len(line)
        self._file = files.open_in_place(self._path, "a", encoding="utf-8", newline="")
        self._file.truncate(end)

    def write(self, records):
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
        with writing(self._path):
            self._file.write("".join(lines))
            self._file.flush()

    def _text(self, value):
        return f"%.{self._digits}g" % value if self._digits and isinstance(value, float) else repr(value)

    def flush(self):
        """Nothing is held back."""

    def close(self):
        """Closes the file."""
        self._file.close()


class Parquet:
    """``trace.parquet``: a folder of files with the columns of `Columns`, each closed before it gets its name."""

    name = "trace.parquet"

    def __init__(self, folder, dtype, about, digits, done):
        self._arrow = _pyarrow()
        self._path, self.last, self._about = folder / self.name, -1, about
        self._columns = Columns(about, dtype, "Parquet")
        self._held, self._parts = [], 0
        files.refuse_links(folder, self.name)
        with writing(self._path):
            if done is not None and self._path.exists():
                self._go_on(done)
            else:
                self._path.mkdir()

    def _go_on(self, done):
        for path in self._path.glob(".part-*"):
            if files.beside_which(path):
                path.unlink()
        for path in sorted(self._path.glob("part-*.parquet")):
            files.refuse_links(self._path, path.name)
            table = self._arrow.parquet.read_table(path)
            if table.column_names != self._columns.names:
                raise InvalidInput(f"{path}: the trace of another run; move it away")
            epochs = table["epoch"].to_numpy()
            whole = kept(epochs, self._about.every, done)
            if whole:
                self._about = self._about._replace(configuration=table["configuration"][0].as_py())
                self.last, self._parts = int(epochs[whole - 1]), int(path.stem.partition("-")[2]) + 1
            if whole == 0:
                path.unlink()
            elif whole < len(epochs):
                self._put(table.slice(0, whole), files.replacing(path))

    def write(self, records):
        """Keeps them until there are enough for a file."""
        self._held.append(records)
        if sum(block.nbytes for block in self._held) >= PART_BYTES:
            self.flush()

    def flush(self):
        """Closes a file with what is held."""
        if self._held:
            records, self._held = np.concatenate(self._held), []
            path = self._path / f"part-{self._parts:05d}.parquet"
            with writing(path):
                self._put(self._table(records), files.creating(path))
            self._parts += 1

    def close(self):
        """Closes the last file."""
        self.flush()

    def _table(self, records):
        columns, samples = self._columns, self._columns.samples
        heads: dict[str, Any] = {}
        for name in columns.before + columns.behind:
            heads[name] = np.repeat(records[name], len(samples))
        heads["configuration"] = [self._about.configuration] * (len(records) * len(samples))
        heads["sample"] = np.tile(samples, len(records))
        numbers = columns.of_samples(records).reshape(len(records) * len(samples), -1)
        shared = np.repeat(columns.shared(records), len(samples), axis=0)
        numbers = [*numbers.T, *shared.T]
        names = columns.names[: len(columns.names) - len(numbers)]
        arrays = [heads[name] for name in names] + [np.ascontiguousarray(column) for column in numbers]
        return self._arrow.table(dict(zip(columns.names, arrays, strict=True)))

    def _put(self, table, opened):
        with opened as file:
            self._arrow.parquet.write_table(table, file)


class Columns:
    """The columns of a flat table, one number in each.

    First epoch, loss, accuracy or r2, val_… where there is validation, configuration, iteration and learning_rate; then
    sample, where there are several; then z, a and delta of each neuron, and w, b, dw and db of each connection. Layers
    are called input, hidden and output; two and more hidden ones hidden1, hidden2, … So z_hidden_0 is z of the first
    hidden neuron, w_input_hidden_2_0 the weight to it from the third input, and b_input_hidden_0 its bias.

    Attributes
    ----------
    names : list of str
    before, behind : list of str
        Fields of a record that stand before and behind the configuration.
    samples : list of int
    """

    def __init__(self, about, dtype, kind):
        sizes = about.network.sizes
        count_numbers(about.network, kind)
        history = [name for name in dtype.names if dtype[name].shape == () and name not in {"epoch", "iteration"}]
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

    def of_samples(self, records):
        """z, a and delta, of shape (records, samples, columns)."""
        return np.concatenate([records[f"{name}{layer}"] for name in OF_SAMPLES for layer in self._layers], axis=2)

    def shared(self, records):
        """w, b, dw and db, of shape (records, columns)."""
        fields = [records[f"{name}{layer}"] for name in OF_PARAMETERS for layer in self._layers]
        return np.concatenate([field.reshape(len(records), -1) for field in fields], axis=1)


def count_numbers(network, kind):
    """Columns for z, a, delta, w, b, dw and db.

    Raises
    ------
    InvalidInput
        There would be too many.
    """
    numbers = 2 * network.n_parameters + 3 * sum(network.sizes[1:])
    if numbers > MOST_COLUMNS:
        raise InvalidInput(
            f"trace as {kind}: a network of {network.n_parameters:,} parameters needs {numbers:,} columns, "
            f"more than {MOST_COLUMNS:,}; trace it as binary"
        )
    return numbers


def layer_names(network):
    """What the columns call each layer, the input first."""
    hidden = network.n_layers - 1
    return ["input", *(f"hidden{i}" if hidden > 1 else "hidden" for i in range(1, hidden + 1)), "output"]


def formatted(table, digits):
    """Each row of a table of floats as text, with commas between."""
    if digits:
        line = ",".join([f"%.{digits}g"] * table.shape[1])
        return [line % tuple(row) for row in table.tolist()]
    if table.dtype == np.float32:  # whose shortest digits are fewer than those of the same number as float64
        return [",".join(row) for row in table.astype(str).tolist()]
    return [",".join(map(repr, row)) for row in table.tolist()]


def kept(epochs, every, done):
    """How many of the epochs of a trace a resumed run keeps: those it has done, but for an odd one at the end."""
    stays = (np.asarray(epochs) <= done) & (np.asarray(epochs) % every == 0)
    return len(stays) if stays.all() else int(np.argmin(stays))


def _csv_line(values):
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(values)
    return text.getvalue()


def _pyarrow():
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise InvalidInput(
            "a trace as Parquet needs pyarrow, which is not installed: pip install 'backprop-ref[parquet]'"
        ) from None
    return pyarrow


SINKS: dict[str, Any] = {"binary": Binary, "csv": Csv, "parquet": Parquet}
