"""Trains on folders larger than the memory that is allowed: npy, Arrow and Parquet of the same rows.

    python bench/folders.py FOLDER --gigabytes 8 --limit 2      # writes three times 8 GB into FOLDER, which is new

Of each: seconds, processor seconds, the largest anonymous memory, sampled four times a second, and the hash. The limit
is RLIMIT_DATA: what a process may have of private memory, without what is mapped from files.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

FEATURES, BLOCK = 200, 50_000
KINDS = ("npy", "arrow", "parquet")


def make(folder, gigabytes):
    """Rows whose mean and deviation change from block to block, and a target that is linear in them."""
    blocks = max(1, round(gigabytes * 1e9 / (4 * FEATURES * BLOCK)))
    stream = np.random.default_rng(1)
    base, weights = (stream.standard_normal(shape, np.float32) for shape in ((BLOCK, FEATURES), (FEATURES,)))
    for kind in KINDS:
        (folder / kind).mkdir(parents=True)
    array = {"mode": "w+", "dtype": np.float32}
    x_file = np.lib.format.open_memmap(folder / "npy/X.npy", shape=(blocks * BLOCK, FEATURES), **array)
    y_file = np.lib.format.open_memmap(folder / "npy/y.npy", shape=(blocks * BLOCK,), **array)
    schema = pa.schema([("x", pa.list_(pa.float32(), FEATURES)), ("y", pa.float32())])
    with (
        pa.ipc.new_file(str(folder / "arrow/part-0.arrow"), schema) as arrow,
        pq.ParquetWriter(folder / "parquet/part-0.parquet", schema, use_dictionary=False) as parquet,
    ):
        for block in range(blocks):
            x = base * np.float32(1 + block / 100) + np.float32(block / 7)
            y, rows = x @ weights / 15, slice(block * BLOCK, (block + 1) * BLOCK)
            x_file[rows], y_file[rows] = x, y
            table = pa.table([pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), FEATURES), pa.array(y)], schema)
            arrow.write_table(table, max_chunksize=BLOCK)
            parquet.write_table(table, row_group_size=BLOCK)


def limited(command, gigabytes):
    """Status, seconds, processor seconds and peaks of memory in MB of a command under the limit."""
    most, started = int(gigabytes * 1e9), time.perf_counter()
    process = subprocess.Popen(command, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (most, most)))  # noqa: PLW1509
    peaks = {"RssAnon": 0, "RssFile": 0}
    while process.poll() is None:
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in peaks:
                peaks[name] = max(peaks[name], int(value.split()[0]) // 1024)
        time.sleep(0.25)
    return process.returncode, time.perf_counter() - started, peaks


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--gigabytes", type=float, default=8.0)
    arguments.add_argument("--limit", type=float, default=2.0)
    given = arguments.parse_args()
    if given.folder.exists():
        sys.exit(f"error: {given.folder} exists; give a new folder")
    make(given.folder, given.gigabytes)
    for kind in KINDS:
        run, before = given.folder / f"run-{kind}", resource.getrusage(resource.RUSAGE_CHILDREN)
        told = {"block-rows": BLOCK, "batch-size": 2000, "hidden": 16, "epochs": 1, "threads": 1, "dtype": "float32"}
        told |= {"backend": "numba", "numerics": "reproducible", "task": "regression", "run-dir": run}
        command = [sys.executable, "-m", "backprop_ref", "train", "--data-path", given.folder / kind]
        command += [text for name, value in told.items() for text in (f"--{name}", value)]
        status, seconds, peaks = limited(list(map(str, command)), given.limit)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        sha256 = json.loads((run / "results.json").read_text())["sha256"] if status == 0 else "none"
        memory = f"{peaks['RssAnon']} MB anonymous, {peaks['RssFile']} MB of files"
        print(
            f"{kind}: status {status}, {seconds:.0f} s, {spent:.0f} processor seconds, {memory}; {sha256}", flush=True
        )


if __name__ == "__main__":
    main()
