"""What tracing costs: an 8-3-8 run of 10,000 epochs with everything traced, against the same run without.

``python bench/bench_trace.py``. The runs with and without a trace alternate; CSV is compared with formatting and
writing the same numbers from a finished table, by the quickest formatter that Python has: repr, joined. Times are
processor seconds of the process, so that what else the machine does counts little.
"""

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

import backprop_ref as br
from backprop_ref.traces.file import open_trace
from backprop_ref.traces.recorder import Recorder
from backprop_ref.traces.sinks import Columns

EPOCHS, PAIRS = 10_000, 7
NETWORK = br.Network([8, 3, 8], ["sigmoid", "softmax"], "ce")


def seconds(work):
    started = time.process_time()
    work()
    return time.process_time() - started


def run(backend, numerics, recorder=None):
    br.train(
        NETWORK, NETWORK.init(1), np.eye(8), np.eye(8), epochs=EPOCHS, batch_size=8, backend=backend, numerics=numerics,
        progress=False, trace=recorder,
    )  # fmt: skip


def table(trace):
    """The numbers of a trace as one finished table of floats."""
    columns = Columns(trace.about, trace.records.dtype, "CSV")
    parts = [columns.of_samples(trace.records)[:, s] for s in range(len(trace.samples))]
    shared = columns.shared(trace.records)
    heads = [trace[name][:, None].astype(float) for name in columns.before + columns.behind]
    rows = [np.concatenate([*heads, np.full((len(trace), 1), s), part, shared], axis=1) for s, part in enumerate(parts)]
    return np.stack(rows, axis=1).reshape(len(trace) * len(parts), -1)


def formatted(rows, path):
    """Formats and writes a finished table."""
    with path.open("w") as file:
        file.write("".join(",".join(map(repr, row)) + "\n" for row in rows.tolist()))


def spread(times):
    return f"{statistics.median(times):.3f} s ({min(times):.3f} to {max(times):.3f})"


def compare(kind, samples, numerics, folder):
    """Prints what the trace of one kind costs."""
    extra, plain, same = [], [], []
    for pair in range(PAIRS):
        path = folder / f"{kind}-{len(samples)}-{numerics}-{pair}"
        recorder = Recorder(path, [kind], samples, every=1)
        without = seconds(lambda: run("numba", numerics))
        extra.append(seconds(lambda r=recorder: run("numba", numerics, r)) - without)
        plain.append(without)
        if kind == "csv":
            rows = table(open_trace(folder / "table"))
            same.append(seconds(lambda r=rows: formatted(r, folder / "table.csv")))
    print(f"{kind}, {len(samples)} of 8 samples, {numerics}: untraced {spread(plain)}, the trace {spread(extra)}")
    if same:
        beyond = [a - b for a, b in zip(extra, same, strict=True)]
        print(f"  formatting and writing the same table {spread(same)}, beyond that {spread(beyond)}")


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for numerics in ("fast", "reproducible"):
            run("numba", numerics)
            for samples in ([0], list(range(8))):
                compare("binary", samples, numerics, folder)
        run("numba", "fast", Recorder(folder / "table", ["binary"], [0], every=1))
        compare("csv", [0], "fast", folder)


if __name__ == "__main__":
    main()
