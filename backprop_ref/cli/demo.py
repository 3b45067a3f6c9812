"""backprop-ref demo."""

import time

from backprop_ref.cli import compare, report, show
from backprop_ref.cli.check import gradcheck
from backprop_ref.cli.train import print_results
from backprop_ref.experiments.config import merge
from backprop_ref.experiments.runner import run


def demo():
    """Digits, trained and checked; on one thread of NumPy's BLAS, since two wait for each other on a busy machine."""
    started = time.perf_counter()
    show.say("1. Train a network on 1,797 handwritten digits: backprop-ref train digits --trace binary --threads 1", "")
    results = run(merge({"--dataset": "digits", "--trace": ["binary"], "--trace-every": "4", "--threads": "1"}))
    print_results(results)
    if results["stopped"] == "interrupted":
        return 130
    show.say("", f"2. Check its gradients: backprop-ref gradcheck {results['run_dir']} --entries 100", "")
    status = gradcheck(results["run_dir"], 7, 100, 1, False, {})
    show.say("", "3. Compare backends, to the last bit: backprop-ref compare iris --backends numpy,numba,python", "")
    compared = compare.run("iris", "numpy,numba,python", "reproducible", None, 4, {})
    compare.print_table(compared)
    show.say("", f"4. Look at all of it in a browser: backprop-ref report {results['run_dir']}", "")
    report.report([results["run_dir"]], None, [compared.to_dict()], None, ())
    status = max(status, 0 if compared.ok else 1)
    show.say("", f"Done in {time.perf_counter() - started:.1f} s. Next: the README, or backprop-ref --help")
    return status
