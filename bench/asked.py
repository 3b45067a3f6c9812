"""What this project asks of its own speed, in one table: each case, its figure, and whether it is met.

    python bench/asked.py [--dtype float64] [--rounds 7] [--out FOLDER] [--threads 2]

Peers that are installed take part. It takes some ten minutes; figures are medians and quartiles over the rounds. What
it writes to FOLDER/bench.json is what `bench/ladder.py` writes, so `ci/results_page.py` takes it too.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import ladder

MIDDLE = ("20-128-64-32-3", "64-128-10")
PROGRAM = [sys.executable, "-c", "from backprop_ref.cli import main; main()"]
PEERS = ("torch eager", "torch.compile", "jax scan", "C", "naive numpy")
LONG, SHORT = 201_000, 1_000
START = """
import json, resource, sys, time
started = time.time()
import numpy as np, backprop_ref as br
if sys.argv[1] == "sigmoid, sse, SGD":
    network, optimizer = br.Network([2, 4, 1], ["sigmoid", "sigmoid"], "sse"), br.SGD(0.5)
else:
    network, optimizer = br.Network([64, 32, 10], ["relu", "softmax"], "ce"), br.Adam()
x, y = np.ones((1797, network.sizes[0])) / 3, np.eye(10)[np.arange(1797) % 10][:, : network.sizes[-1]]
br.train(network, network.init(1), x, y, epochs=1, batch_size=64, optimizer=optimizer, backend="numba",
         numerics=sys.argv[2])
used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print(json.dumps([sum(one.ru_utime + one.ru_stime for one in used), time.time() - started]))
"""


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", choices=("float64", "float32"), action="append")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--rung", action="append", help="some rungs alone")
    parser.add_argument("--out", metavar="FOLDER", help="also write bench.json, bench.csv and bench.html there")
    options = parser.parse_args(arguments)
    rows = list(of_start(options.rounds)) if not options.rung else []
    ladder.limit_process(options.threads)
    from backprop_ref.cli import show
    from backprop_ref.cli.bench import show_cases, write
    from backprop_ref.files import make_folder

    folder = make_folder("--out", options.out, "runs/bench") if options.out else None
    rows += of_users(options.rounds)
    result = measured(options)
    show_cases(result)
    rows += of_ladder(result["cases"])
    if folder:
        write(result, folder)
    cells = [
        (what, case, f"{median:.3g}", f"{low:.3g} to {high:.3g}", f"{most:g}", "" if median <= most else "NO")
        for what, case, (median, low, high), most in rows
    ]
    show.table(("what", "case", "figure", "quartiles", "asked", "met"), cells)
    return 130 if result["interrupted"] else 0


def of_start(rounds):
    """From launch to the first step, in seconds, nothing on disk and then all of it; and the demo."""
    for case in ("sigmoid, sse, SGD", "relu, softmax, ce, Adam"):
        for numerics in ("fast", "reproducible"):
            cold, warm = [], []
            for _ in range(max(1, rounds // 2)):
                with tempfile.TemporaryDirectory() as folder:
                    for found in (cold, warm):
                        found.append(json.loads(program(folder, sys.executable, "-c", START, case, numerics)))
            named = f"{case}, {numerics}"
            yield "cold start, processor seconds", named, spread(one[0] for one in cold), 4.0
            yield "cold start, seconds", named, spread(one[1] for one in cold), 3.0
            yield "warm start, seconds", named, spread(one[1] for one in warm), 0.8
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        program(folder, *PROGRAM, "demo")
        yield "demo, cold, seconds", "", spread([time.perf_counter() - started]), 12.0


def program(folder, *command):
    """What a program prints that keeps compiled code in a folder."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(Path(folder, "cache"))}
    return subprocess.run(command, env=environment, cwd=folder, stdout=subprocess.PIPE, check=True).stdout


def of_users(rounds):
    """2-4-1 by `br.train` under reproducible numerics, once warm, against C."""
    import numpy as np
    from peers.c_peer import compiled

    import backprop_ref as br
    from backprop_ref.backends import get_backend
    from backprop_ref.metrics import metric_name

    network, backend = br.Network([2, 4, 1], ["sigmoid", "sigmoid"], "sse"), get_backend("numba", "reproducible")
    x, y = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), np.array([[0.0], [1.0], [1.0], [0.0]])
    params = network.init(1)

    def ours(epochs):
        given = {"epochs": epochs, "batch_size": 4, "optimizer": br.SGD(0.5), "shuffle": False, "progress": False}
        return seconds(lambda: br.train(network, params, x, y, backend=backend, **given))

    def theirs(epochs):
        train, flat = compiled(2, 4, 1, 4), params.flat.copy()
        orders = np.tile(np.arange(4), (epochs, 1))
        return seconds(lambda: train(x, y, orders, epochs, 4, flat, 0.5, np.empty(epochs)))

    backend.trainer(
        network, br.SGD(0.5), "float64", 4, 1, metric_name(network, y), specialize="always"
    )  # is on disk then
    found = [(ours(LONG) - ours(SHORT)) / (theirs(LONG) - theirs(SHORT)) for _ in range(rounds)]
    return [("2-4-1 as a user gets it / C", "reproducible", spread(found), 1.2)]


def measured(options):
    """The ladder, with the peers that are in question."""
    import peers

    from backprop_ref.benchmarks.check import LeftOut
    from backprop_ref.benchmarks.ladder import LADDER
    from backprop_ref.benchmarks.run import Plan, backend_makers, run

    makers = backend_makers(["numpy", "numba"], threads=options.threads) | peers.makers(PEERS)
    compile_it = makers["torch.compile"]

    def compile_large(task):
        """For small networks it takes long to make what is never the quickest."""
        if task.rung.name in ladder.SMALL:
            raise LeftOut("not for small networks")
        return compile_it(task)

    plan = Plan(
        makers=makers | {"torch.compile": compile_large},
        rungs=options.rung or list(LADDER),
        dtypes=options.dtype or ["float64", "float32"],
        rounds=options.rounds,
        round_seconds=0.05,
        threads=options.threads,
    )
    try:
        from peers.torch_peers import Products
    except ImportError:
        pass
    else:
        plan.limits[Products.name] = Products
    return run(plan)


def of_ladder(cases):
    """The rows that quotients of times in the same round give."""
    for rung, dtype in dict.fromkeys((case["rung"], case["dtype"]) for case in cases):
        here = [case for case in cases if (case["rung"], case["dtype"]) == (rung, dtype) and case["step_seconds"]]
        timed, small, named = {case["name"]: case for case in here}, rung in ladder.SMALL, f"{rung} {dtype}"
        ours = ladder.quickest(timed, [case["name"] for case in here if case["kind"] == "backend"])
        others = [name for name in timed if name in PEERS and name != "naive numpy"]
        pairs = [
            ("numba reproducible / fast", "numba reproducible", "numba fast", 1.25 if small else 2.1),
            ("numpy reproducible / fast", "numpy reproducible", "numpy fast", 8.0),
            ("numpy fast / naive", "numpy fast", "naive numpy", 0.95 if rung in ladder.LARGE else 0.8),
        ]
        if others:
            best = ladder.quickest(timed, others)
            pairs.append((f"{ours} / {best}", ours, best, 1.0 if rung == ladder.LARGE[-1] else 0.95))
        if rung in ladder.LARGE:
            limits = [name for name in timed if name.startswith("products")]
            pairs.append((f"{ours} / its products", ours, ladder.quickest(timed, limits), 1.05))
        for what, one, other, most in pairs:
            if one in timed and other in timed:
                found = ladder.quotient(timed[one], timed[other])
                yield what, named, (found["median"], found["low"], found["high"]), most


def spread(values):
    """Median and quartiles."""
    values = sorted(values)
    if len(values) < 2:
        return values * 3
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return middle, low, high


def seconds(function):
    """Of processor, of which both take one."""
    started = time.process_time()
    function()
    return time.process_time() - started


if __name__ == "__main__":
    sys.exit(main())
