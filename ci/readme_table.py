"""Writes the table of benchmarks: the whole of it into .docs/benchmarks.md, a few rows into README.md.

``python ci/readme_table.py FOLDER/bench.json`` takes what ``bench/ladder.py --out FOLDER`` measured; without a file,
the README's rows are taken from the page as it stands. ``--check`` only says whether a text would change.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

from backprop_ref.cli.bench import in_words

ROOT = Path(__file__).resolve().parent.parent
PAGE, README = ROOT / ".docs/benchmarks.md", ROOT / "README.md"
START, END = "<!-- benchmarks: ci/readme_table.py -->\n", "<!-- end of benchmarks -->\n"
PEERS = {
    "jax scan": "jax scan",
    "jax jit": "jax jit",
    "torch.compile": "torch.compile",
    "torch eager": "torch eager",
    "scikit-learn": "scikit-learn",
    "C": "C, gcc -O3",
    "naive numpy": "naive NumPy",
}
README_ROWS = ("2-4-1", "20-128-64-32-3", "784-256-128-10", "784-2048-2048-10")
README_COLUMNS = ("network", "batch", "ours", "jax scan", "torch eager", "scikit-learn", "naive NumPy")


def main(arguments):
    """Exit status 1 if a text is out of date and only checked, or has no markers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, nargs="?", help="bench.json", metavar="FOLDER/bench.json")
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 if a table is another")
    given = parser.parse_args(arguments)
    if given.source and not given.source.is_file():
        parser.error(f"{given.source}: no such file; make one with: python bench/ladder.py --out FOLDER")
    page, readme = parts(PAGE), parts(README)
    whole = table(json.loads(given.source.read_text(encoding="utf-8"))) if given.source else page[1]
    changed = False
    for path, (before, old, after), new in ((PAGE, page, whole), (README, readme, extract(whole))):
        changed |= new != old
        if not given.check:
            path.write_text(f"{before}{START}{new}{END}{after}", encoding="utf-8")
    return int(given.check and changed)


def parts(path):
    """The text before, between and after the markers."""
    text = path.read_text(encoding="utf-8")
    if text.count(START) != 1 or text.count(END) != 1:
        sys.exit(f"{path.name}: the lines {START.strip()} and {END.strip()} have to stand in it once")
    before, rest = text.split(START)
    return before, *rest.split(END)


def extract(table):
    """The README's rows and columns of a whole table, in float64."""
    header, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if "|" in line]
    columns = [header.index(name) for name in README_COLUMNS if name in header]
    chosen = [row for row in rows if row[0] in README_ROWS and row[header.index("dtype")] == "float64"]
    return markdown([[row[column] for column in columns] for row in (header, *chosen)])


def markdown(lines):
    """A header and rows as a table."""
    header, *rows = lines
    return "".join(f"| {' | '.join(line)} |\n" for line in (header, ["---"] * len(header), *rows))


def table(result):
    """A line for each network and precision, and one that says where and how it was measured."""
    shown = {peer: title for peer, title in PEERS.items() if any(measured(result["cases"], peer))}
    header = ["network", "batch", "dtype", "ours", *shown.values(), "products alone", "ours ÷ best peer", "÷ products"]
    lines = [header]
    for rung, dtype in dict.fromkeys((case["rung"], case["dtype"]) for case in result["cases"]):
        cases = [case for case in result["cases"] if (case["rung"], case["dtype"]) == (rung, dtype)]
        ours = min((case for case in measured(cases) if case["kind"] == "backend"), key=median, default=None)
        if ours is None:
            continue
        others = [case for case in measured(cases) if case["kind"] == "peer"]
        best = min(others, key=median, default=None)
        lines.append(
            [
                *(rung, str(ours["batch"]), dtype, f"**{in_words(median(ours))}** {ours['name']}"),
                *(next((in_words(median(case)) for case in measured(cases, peer)), "–") for peer in shown),
                *(in_words(median(case)) for case in measured(cases, "products")),
                f"{ratio(ours, best)} ({best['name']})" if best else "–",
                f"{ours['of_limit']['products']['median']:.2f}",
            ]
        )
    return f"{markdown(lines)}\n{surroundings(result)}\n"


def measured(cases, name=None):
    """The cases that were timed; those of one name, if given."""
    return [case for case in cases if case["step_seconds"] and name in {None, case["name"]}]


def median(case):
    return case["step_seconds"]["median"]


def ratio(ours, theirs):
    """The median over the rounds of the quotient of two times."""
    pairs = zip(ours["rounds"], theirs["rounds"], strict=True)
    return f"{statistics.median(mine / other for mine, other in pairs):.2f}"


def surroundings(result):
    """Where and how it was measured, as a sentence."""
    machine, settings = result["machine"], result["settings"]
    versions = ", ".join(
        f"{name} {machine['packages'][name]}"
        for name in ("numpy", "numba", "torch", "jax", "scikit-learn")
        if name in machine["packages"]
    )
    blas = next((lib for lib in machine["libraries"] if lib["internal_api"] not in {"openmp"}), None)
    library = f"{blas['internal_api']} {blas['version']} ({blas['architecture']}), " if blas else ""
    busy = machine["load"] is not None and machine["load"][0] > machine["cores"] / 2
    load = f" The machine was busy with other work (load average {machine['load'][0]:.1f})." if busy else ""
    return (
        f"Medians of {settings['rounds']} rounds, {settings['threads'] or 'all'} threads, {machine['processor']}, "
        f"{library}Python {machine['python']}, {versions}.{load}"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
