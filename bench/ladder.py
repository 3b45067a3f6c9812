"""Backends, peers and limits on every rung of the ladder, in one run; what `make bench` shows.

    python bench/ladder.py [RUNG ...] [--threads 2] [--dtype float32] [--rounds 9] [--out FOLDER]
    python bench/ladder.py xor start     # against a beginner's program; from launch to the first step

Everybody's first step is compared with the definition before anything is timed. In each round everybody runs once, in
an order of its own; ratios are of times in the same round, and printed as median and quartiles. The whole process gets
as many cores as threads.
"""

import argparse
import os
import sys

SMALL = ("2-4-1", "8-3-8", "2-5-1")
LARGE = ("784-256-128-10", "784-2048-2048-10")


def main(arguments=None):
    """Runs what was asked for; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help="rungs, xor, start; default: all rungs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", choices=("float64", "float32"), action="append")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--round-seconds", type=float, default=0.1)
    parser.add_argument("--backends", default="numpy,numba", help="comma between; default: numpy,numba")
    parser.add_argument("--without", action="append", default=[], metavar="PEER")
    parser.add_argument("--out", metavar="FOLDER", help="also write bench.json, bench.csv and bench.html there")
    options = parser.parse_args(arguments)
    for name in ("threads", "rounds", "round_seconds"):
        if not getattr(options, name) > 0:
            parser.error(f"--{name.replace('_', '-')} has to be above 0")
    limit_process(options.threads)
    with_beginner = {"xor", "start"} & set(options.parts)
    if with_beginner:
        import beginner

        for part in sorted(with_beginner):
            beginner.COMPARISONS[part]()
    rungs = [part for part in options.parts if part not in with_beginner]
    if not rungs and options.parts:
        return 0
    from backprop_ref.errors import BackpropRefError

    try:
        return compare(options, rungs)
    except BackpropRefError as error:
        parser.error(str(error))


def limit_process(threads):
    """Takes as many cores as threads, before any library starts threads of its own."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = str(threads)


def compare(options, rungs):
    """The whole table, and the figures drawn from it."""
    import peers

    from backprop_ref.benchmarks.run import LADDER, Plan, backend_makers, run
    from backprop_ref.cli.bench import show_cases, write
    from backprop_ref.errors import unknown
    from backprop_ref.files import make_folder

    for name in options.without:
        if name not in peers.PEERS:
            raise unknown("peer", name, peers.PEERS)
    folder = make_folder("--out", options.out, "runs/bench") if options.out else None
    plan = Plan(
        makers=backend_makers(options.backends.split(","), threads=options.threads)
        | peers.makers([name for name in peers.PEERS if name not in options.without]),
        rungs=rungs or list(LADDER),
        dtypes=options.dtype or ["float64", "float32"],
        rounds=options.rounds,
        round_seconds=options.round_seconds,
        threads=options.threads,
    )
    result = run(plan)
    result["ratios"] = ratios(result["cases"])
    show_cases(result)
    show_ratios(result["ratios"])
    if folder:
        write(result, folder)
    return 130 if result["interrupted"] else 0


def ratios(cases):
    """What is compared with what: dicts of rung, dtype, ours, theirs, and the spread of the quotient of their times."""
    found = []
    for rung, dtype in dict.fromkeys((case["rung"], case["dtype"]) for case in cases):
        timed = {
            case["name"]: case
            for case in cases
            if (case["rung"], case["dtype"]) == (rung, dtype) and case["step_seconds"]
        }
        for what, ours, theirs in pairs(timed, rung):
            found.append({"rung": rung, "dtype": dtype, "what": what, **quotient(timed[ours], timed[theirs])})
    return found


def pairs(timed, rung):
    """Who is held against whom on a rung: what it says, one name, the other."""
    backends = [name for name, case in timed.items() if case["kind"] == "backend"]
    others = [name for name, case in timed.items() if case["kind"] == "peer"]
    if backends:
        ours = quickest(timed, backends)
        if others:
            yield "our best / best peer", ours, quickest(timed, others)
        for peer in others:
            yield f"our best / {peer}", ours, peer
        if rung in LARGE:
            yield "our best / matrix products", ours, "products"
    yield from (
        (what, ours, theirs)
        for what, ours, theirs in (
            ("numba reproducible / C", "numba reproducible", "C"),
            ("numba reproducible / matrix products", "numba reproducible", "products"),
            ("numpy fast / naive", "numpy fast", "naive numpy"),
            ("numba reproducible / fast", "numba reproducible", "numba fast"),
            ("numpy reproducible / fast", "numpy reproducible", "numpy fast"),
        )
        if ours in timed and theirs in timed
    )


def quickest(timed, names):
    """The name with the least median."""
    return min(names, key=lambda name: timed[name]["step_seconds"]["median"])


def quotient(ours, theirs):
    """Both names and medians, and the spread of ours ÷ theirs over the rounds."""
    from backprop_ref.benchmarks.timing import spread

    each = spread(mine / other for mine, other in zip(ours["rounds"], theirs["rounds"], strict=True))
    return {
        "ours": ours["name"],
        "theirs": theirs["name"],
        "ours_seconds": ours["step_seconds"]["median"],
        "theirs_seconds": theirs["step_seconds"]["median"],
        **each._asdict(),
    }


def show_ratios(found):
    """One line for each comparison."""
    from backprop_ref.cli import show
    from backprop_ref.cli.bench import in_words

    rows = [
        (
            *(row["rung"], row["dtype"], row["what"], row["ours"], in_words(row["ours_seconds"])),
            *(row["theirs"], in_words(row["theirs_seconds"])),
            f"{row['median']:.3g}",
            f"{row['low']:.3g} to {row['high']:.3g}",
        )
        for row in found
    ]
    header = ("rung", "dtype", "comparison", "ours", "a step", "theirs", "a step", "ratio", "quartiles")
    show.table(header, rows, "ratios of times in the same round")


if __name__ == "__main__":
    sys.exit(main())
