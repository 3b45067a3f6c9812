"""Writes the README's table of benchmarks, between its markers, from what ``bench/ladder.py --out FOLDER`` measured.

``python ci/readme_table.py FOLDER/bench.json`` replaces the table; ``--check`` only says whether it would change.
"""

import argparse
import json
import sys
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"
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


def main(arguments):
    """Exit status 1 if the README is out of date and only checked, or has no markers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="bench.json", metavar="FOLDER/bench.json")
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 if the table is another")
    given = parser.parse_args(arguments)
    if not given.source.is_file():
        parser.error(f"{given.source}: no such file; make one with: python bench/ladder.py --out FOLDER")
    text = README.read_text(encoding="utf-8")
    if text.count(START) != 1 or text.count(END) != 1:
        sys.exit(f"{README.name}: the lines {START.strip()} and {END.strip()} have to stand in it once")
    wanted = replaced(text, table(json.loads(given.source.read_text(encoding="utf-8"))))
    if given.check:
        return int(wanted != text)
    README.write_text(wanted, encoding="utf-8")
    return 0


def replaced(text, table):
    """The README with another table between the markers."""
    before, rest = text.split(START)
    return f"{before}{START}{table}{END}{rest.split(END)[1]}"


def table(result):
    """A line for each network and precision, and one that says where and how it was measured."""
    shown = {peer: title for peer, title in PEERS.items() if any(measured(result["cases"], peer))}
    header = ["network", "batch", "dtype", "ours", *shown.values(), "products alone", "ours ÷ best peer", "÷ products"]
    lines = [header, ["---"] * len(header)]
    for rung, dtype in dict.fromkeys((case["rung"], case["dtype"]) for case in result["cases"]):
        cases = [case for case in result["cases"] if (case["rung"], case["dtype"]) == (rung, dtype)]
        ours = min((case for case in measured(cases) if case["kind"] == "backend"), key=median, default=None)
        if ours is None:
            continue
        others = [case for case in measured(cases) if case["kind"] == "peer"]
        best = min(others, key=median, default=None)
        lines.append(
            [
                *(rung, str(ours["batch"]), dtype, f"**{time(median(ours))}** {ours['name']}"),
                *(next((time(median(case)) for case in measured(cases, peer)), "–") for peer in shown),
                *(time(median(case)) for case in measured(cases, "products")),
                f"{ratio(ours, best)} ({best['name']})" if best else "–",
                f"{ours['of_limit']['products']['median']:.2f}",
            ]
        )
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) + f"\n{surroundings(result)}\n"


def measured(cases, name=None):
    """The cases that were timed; those of one name, if given."""
    return [case for case in cases if case["step_seconds"] and name in {None, case["name"]}]


def median(case):
    return case["step_seconds"]["median"]


def ratio(ours, theirs):
    """The median over the rounds of the quotient of two times."""
    quotients = sorted(mine / other for mine, other in zip(ours["rounds"], theirs["rounds"], strict=True))
    middle = len(quotients) // 2
    return f"{(quotients[middle] + quotients[-1 - middle]) / 2:.2f}"


def time(seconds):
    """Three figures and a unit."""
    for unit, scale in (("s", 1.0), ("ms", 1e3)):
        if seconds * scale >= 1.0:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


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
