"""Writes .docs/results.md: times by processor, one file in .docs/results for each machine that somebody measured.

``python ci/results_page.py FOLDER/bench.json`` adds what ``bench/ladder.py --out FOLDER`` measured, in the place of an
earlier result of the same processor and threads; without a file the page is written from those there are. ``--check``
only says whether it would change.
"""

import argparse
import json
import re
import sys
from pathlib import Path

from readme_table import markdown, measured, median, ratio

from backprop_ref.cli.bench import in_words

FOLDER = Path(__file__).resolve().parent.parent / ".docs/results"
PAGE = FOLDER.with_suffix(".md")
FORMAT = "backprop_ref-result-1"
INTRODUCTION = """# Results by processor

Time of a training step, our best backend, and in brackets by how much it is another's quickest, where peers were
installed. [Benchmarks](benchmarks.md) says what is timed, and how.

Add yours, a file of a few kilobytes that names no more of the machine than stands here. Measure while nothing else
runs,

    pip install -e '.[torch,jax,bench]' && python bench/ladder.py --threads 2 --out FOLDER
    python ci/results_page.py FOLDER/bench.json

and hand in what changed in `.docs`.
"""


def main(arguments):
    """Exit status 1 if the page is out of date and only checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, nargs="?", help="bench.json", metavar="FOLDER/bench.json")
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 if the page is another")
    given = parser.parse_args(arguments)
    if given.source:
        if not given.source.is_file():
            parser.error(f"{given.source}: no such file; make one with: python bench/ladder.py --out FOLDER")
        found = extract(json.loads(given.source.read_text(encoding="utf-8")))
        name = re.sub(r"[^a-z0-9]+", "-", f"{found['processor']} {found['threads']} threads".lower()).strip("-")
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / f"{name}.json").write_text(f"{json.dumps(found, indent=1)}\n", encoding="utf-8")
    text = page([json.loads(file.read_text(encoding="utf-8")) for file in sorted(FOLDER.glob("*.json"))])
    changed = not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != text
    if not given.check:
        PAGE.write_text(text, encoding="utf-8")
    return int(given.check and changed)


def extract(result):
    """What the page says of a run."""
    machine, rows = result["machine"], []
    for rung, dtype in dict.fromkeys((case["rung"], case["dtype"]) for case in result["cases"]):
        cases = [case for case in result["cases"] if (case["rung"], case["dtype"]) == (rung, dtype)]
        ours = min((case for case in measured(cases) if case["kind"] == "backend"), key=median, default=None)
        best = min((case for case in measured(cases) if case["kind"] == "peer"), key=median, default=None)
        if ours is not None:
            row = {"rung": rung, "batch": ours["batch"], "dtype": dtype, "who": ours["name"], **ours["step_seconds"]}
            rows.append(row | ({"peer": best["name"], "of_peer": ratio(ours, best)} if best else {}))
    blas = [f"{each['internal_api']} {each['architecture']}" for each in machine["libraries"] if each["architecture"]]
    return {
        "format": FORMAT,
        "processor": machine["processor"],
        "features": machine["features"],
        "blas": list(dict.fromkeys(blas)),
        "threads": machine["threads"],
        "load": machine["load"],
        "python": machine["python"],
        "packages": machine["packages"],
        "rounds": result["settings"]["rounds"],
        "rows": rows,
    }


def page(results):
    """The page: a table for each precision, a line for each machine."""
    text, rungs = INTRODUCTION, list(dict.fromkeys(row["rung"] for each in results for row in each["rows"]))
    for dtype in ("float64", "float32"):
        there = [each for each in results if any(row["dtype"] == dtype for row in each["rows"])]
        lines = [[name(each), *(cell(each, rung, dtype) for rung in rungs)] for each in there]
        if lines:
            text += f"\n## {dtype}\n\n{markdown([['processor', *rungs], *lines])}"
    return text if results else f"{text}\nNobody has yet.\n"


def name(result):
    """A machine, with what its times depend on."""
    blas, packages = ", ".join(result["blas"]), result["packages"]
    return f"{result['processor']}, {result['threads']} threads; {blas}; numba {packages['numba']}"


def cell(result, rung, dtype):
    """A machine's time on a rung."""
    found = [row for row in result["rows"] if (row["rung"], row["dtype"]) == (rung, dtype)]
    if not found:
        return "–"
    (row,) = found
    return in_words(row["median"]) + (f" ({row['of_peer']} × {row['peer']})" if "peer" in row else "")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
