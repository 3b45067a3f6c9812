"""What figures depend on: processor, threads, BLAS, versions."""

import importlib.metadata
import os
import platform
import time
from pathlib import Path

import numpy as np

from backprop_ref.benchmarks.timing import spread
from backprop_ref.version import __version__

PACKAGES = ("numpy", "scipy", "numba", "llvmlite", "torch", "jax", "jaxlib", "cupy", "scikit-learn", "array-api-strict")
VARIABLES = ("OPENBLAS_CORETYPE", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
FEATURES = ("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512dq", "avx512vl", "amx_tile", "asimd", "sve")
BANDWIDTH_BYTES = 2**27  # far beyond the caches


def machine(threads=None):
    """A JSON-ready description of what computes."""
    from threadpoolctl import threadpool_info

    from backprop_ref.backends.numba_threads import MOST_THREADS

    blas = [
        {key: info.get(key) for key in ("internal_api", "version", "architecture", "num_threads", "prefix")}
        for info in threadpool_info()
    ]
    return {
        "processor": processor(),
        "features": features(),
        "cores": os.cpu_count(),
        "cores_allowed": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": threads,
        "numba_threads": MOST_THREADS,
        "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "libraries": blas,
        "environment": {name: os.environ.get(name) for name in VARIABLES},
        "system": platform.platform(),
        "python": platform.python_version(),
        "backprop_ref": __version__,
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
    }


def processor():
    """The processor's name."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def features():
    """Which vector instructions the processor has, of those that change how fast it is; none where nobody says."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    found = next((line.split() for line in lines if line.startswith(("flags", "Features"))), [])
    return [name for name in FEATURES if name in found]


def _version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def memory_bandwidth(rounds=5):
    """Bytes per second that one thread moves in ``W -= g`` over arrays that no cache holds, as a `Spread`."""
    W, g = (np.ones(BANDWIDTH_BYTES // 8) for _ in range(2))
    figures = []
    for _ in range(rounds):
        started = time.perf_counter()
        np.subtract(W, g, out=W)
        figures.append(3 * BANDWIDTH_BYTES / (time.perf_counter() - started))
    return spread(figures)
