"""scikit-learn's MLPClassifier and ours, in turn, on its digits: how many times faster ours is."""

import argparse
import statistics
import time
import warnings

import numpy as np
import sklearn
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier as Theirs
from threadpoolctl import threadpool_info

from backprop_ref.benchmarks.machine import machine
from backprop_ref.sklearn import MLPClassifier

SHAPES = [((32,), 32), ((128,), 64)]
ASKED = {"numba": 2.5, "numpy": 1.5}
LARGEST = {"float64": 1e-10, "float32": 2e-3}
"""By how much weights may differ after two epochs: some hundred steps of rounding."""


def models(hidden, batch, solver, dtype, backend, epochs):
    """Both, with the same settings; they never stop early."""
    how = {"hidden_layer_sizes": hidden, "batch_size": batch, "solver": solver, "max_iter": epochs, "random_state": 1}
    how |= {"n_iter_no_change": epochs}
    return Theirs(**how), MLPClassifier(**how, backend=backend, dtype=dtype)


def seconds(model, x, y):
    """What a fit takes."""
    started = time.perf_counter()
    model.fit(x, y)
    return time.perf_counter() - started


def compared(case, x, y, times, epochs):
    """Ratios of times, their quartiles; the weights are compared first."""
    short = [model.fit(x, y) for model in models(*case, 2)]
    apart = max(np.abs(a - b).max() for a, b in zip(short[0].coefs_, short[1].coefs_, strict=True))
    assert apart <= LARGEST[case[3]], f"they train differently: {apart}"
    theirs, ours = models(*case, epochs)
    ratios = [seconds(theirs, x, y) / seconds(ours, x, y) for _ in range(times)]
    return statistics.quantiles(ratios, n=4)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=9)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--backend", choices=ASKED, help="only that one")
    asked = parser.parse_args()
    digits, y = load_digits(return_X_y=True)
    about, libraries = machine(), threadpool_info()
    blas = ", ".join(f"{each['internal_api']} {each['version']}, {each['num_threads']} threads" for each in libraries)
    print(f"{about['processor']}; {blas}")
    print(f"scikit-learn {sklearn.__version__}; {asked.times} fits of {asked.epochs} epochs each, in turn")
    print(f"{'hidden':>8} {'batch':>5} {'solver':>6} {'dtype':>8} {'backend':>7}   times faster (quartiles)")
    for hidden, batch in SHAPES:
        for solver in ("sgd", "adam"):
            for dtype in ("float64", "float32"):
                for backend, least in ASKED.items() if not asked.backend else [(asked.backend, ASKED[asked.backend])]:
                    case = hidden, batch, solver, dtype, backend
                    low, median, high = compared(case, (digits / 16.0).astype(dtype), y, asked.times, asked.epochs)
                    note = "" if median >= least else f"   below {least}"
                    where = f"{hidden[0]:>8} {batch:>5} {solver:>6} {dtype:>8} {backend:>7}"
                    print(f"{where}   {median:.2f} ({low:.2f} to {high:.2f}){note}")


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        main()
