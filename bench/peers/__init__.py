"""What people would use instead: peers of the backends, on the same tasks, as contestants of `bench_contestants`.

A peer is a class called with a `Task`; it raises `LeftOut` for one that it cannot do. Each gets its batches as slices
of arrays in its own memory, gathers nothing, and keeps the loss of each batch, as training does.
"""

import contextlib
import importlib

from backprop_ref.benchmarks.check import LeftOut
from backprop_ref.parameters import Parameters

# name -> (module in this folder, class, what it needs)
PEERS = {
    "torch eager": ("torch_peers", "Eager", "torch"),
    "torch.compile": ("torch_peers", "Compiled", "torch"),
    "jax jit": ("jax_peers", "Jit", "jax"),
    "jax scan": ("jax_peers", "Scan", "jax"),
    "scikit-learn": ("sklearn_peer", "ScikitLearn", "sklearn"),
    "C": ("c_peer", "HandWritten", "gcc"),
    "naive numpy": ("naive_peer", "Naive", "numpy"),
}


class Peer:
    """What peers have in common: the task, and the arrays of an epoch."""

    kind, numerics, compile_seconds = "peer", "fast", 0.0
    extra: str | None = None
    """What this peer does in each step that the others do not."""

    def __init__(self, task):
        self.task, self.steps = task, task.batches
        self.restart(1.0)

    def scope(self):
        return contextlib.nullcontext()

    def batches(self):
        """x and y of each step of an epoch."""
        x, y = self.task.data
        starts = range(0, len(x), self.task.batch)
        return [(x[i : i + self.task.batch], y[i : i + self.task.batch]) for i in starts]

    def from_arrays(self, weights, biases):
        """`Parameters` from W and b of each layer."""
        return Parameters.from_arrays(weights, biases)


def makers(names=None):
    """Makers of contestants by name, for `bench.Plan`; those that are not installed are left out with that reason."""
    return {name: _maker(*PEERS[name]) for name in names or PEERS}


def _maker(module, name, needed):
    def make(task):
        try:
            found = importlib.import_module(f"peers.{module}")
        except ImportError as error:
            raise LeftOut(f"{needed} is not installed ({error})") from None
        return getattr(found, name)(task)

    return make
