"""What several tests need: networks to try, data for them, a backend that refuses to write, and the command line."""

import itertools
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from backprop_ref import AdaGrad, AdamW, Network, Parameters, RMSprop, get_backend
from backprop_ref.backends.arithmetic import Fast
from backprop_ref.backends.base import Array
from backprop_ref.backends.numpy import NumpyBackend
from backprop_ref.formulas import ACTIVATIONS, LOSSES, USUAL_ACTIVATIONS, USUAL_LOSSES
from backprop_ref.random import Stream

PAIRS = [(name, output) for name in USUAL_LOSSES for output in LOSSES[name].outputs if output in USUAL_ACTIVATIONS]
RARE_PAIRS = [
    *(("mean_absolute_error", "sigmoid"), ("huber", "softmax"), ("huber(0.5)", "linear"), ("log_cosh", "tanh")),
    *(("hinge", "linear"), ("hinge", "tanh"), ("poisson", "linear"), ("poisson", "softplus")),
    *(("multi_class_hinge", "linear"), ("cross_entropy(0.1)", "softmax")),
    *((name, LOSSES[name].outputs[0]) for name in [*LOSSES][10:]),
]
"""Losses that few use, each with some output activations."""
RARE = [*(name for name in ACTIVATIONS if name not in USUAL_ACTIVATIONS), "leaky_relu(0.2)", "elu(0.5)"]
"""Activations that few use, and some with a number of their own."""
WIDTHS = {0: [3, 5], 1: [3, 5, 2], 2: [3, 5, 1, 4], 3: [2, 7, 3, 5, 3]}
BATCHES = [1, 5, 7]
PROGRAM = [sys.executable, "-c", "from backprop_ref.cli import main; main()"]


def more(*values):
    """Values of a test's parameters that repeat others, and more slowly."""
    return pytest.param(*values, marks=pytest.mark.more)


def seldom(*values):
    """The same, where each costs half a minute of compiling."""
    return pytest.param(*values, marks=pytest.mark.seldom)


def networks():
    """Every permitted usual output activation and loss, at every depth, with every usual hidden activation; then one
    with the rare ones.
    """
    for (loss, output), depth in itertools.product(PAIRS, WIDTHS):
        for hidden in USUAL_ACTIVATIONS if depth else USUAL_ACTIVATIONS[:1]:
            yield Network(WIDTHS[depth], [hidden] * depth + [output], loss)
    yield rare_network()


def rare_network():
    """Every rare activation in a hidden layer; one network, as it needs a program of its own."""
    widths = [3, *itertools.islice(itertools.cycle([5, 1, 4]), len(RARE)), 2]
    return Network(widths, [*RARE, RARE[0]], "mean_squared_error")


FEW_RULES = Network([3, 5, 2], ["softsign", "sigmoid"], "bce")
"""Its programs know two activations and one loss, and so are compiled quickly."""
RARE_OPTIMIZERS = [
    RMSprop(0.01, rho=0.7, weight_decay=0.1),
    AdaGrad(0.1, epsilon=1e-3),
    AdamW(0.01, beta2=0.9, weight_decay=0.1, epsilon=1e-3, epsilon_hat=True),
]
OF_RARE_LOSSES = [Network([3, 5, 2], ["tanh", output], loss) for loss, output in RARE_PAIRS]


def label(network):
    """A network as a test's name."""
    return "-".join(map(str, network.sizes)) + "-" + "-".join(network.activations) + f"-{network.loss}"


def parameters(network, seed=1, dtype="float64"):
    """Weights of deviation 1/√fan-in and biases of deviation 1/2, none of them 0."""
    stream = Stream(seed, "check")
    pairs = list(itertools.pairwise(network.sizes))
    weights = [stream.normal(n_in * n_out).reshape(n_in, n_out) / np.sqrt(n_in) for n_in, n_out in pairs]
    return Parameters.from_arrays(weights, [0.5 * stream.normal(n_out) for _, n_out in pairs], dtype)


def samples(network, batch, seed=2, dtype="float64"):
    """Normal inputs; targets that suit the loss: unbalanced classes, soft labels for one of them, or numbers."""
    stream = Stream(seed, "check")
    n_in, n_out = network.sizes[0], network.sizes[-1]
    x = stream.normal(batch * n_in).reshape(batch, n_in)
    if network.loss == "poisson":
        y = np.floor(4.0 * stream.uniform(batch * n_out)).reshape(batch, n_out)
    elif network.loss.endswith("error") or network.loss.startswith(("huber", "log_cosh")):
        y = stream.normal(batch * n_out).reshape(batch, n_out)
    else:
        y = np.eye(n_out)[np.minimum(stream.integers_below([2 * n_out] * batch), n_out - 1)]
        if network.loss != "multi_class_hinge":
            y[0] = stream.uniform(n_out)
    return x.astype(dtype), y.astype(dtype)


class ReadOnlyBackend(NumpyBackend):
    """NumPy in which everything the pairs are given is read-only, so that writing to an input raises."""

    name = "numpy_read_only"

    def __init__(self, numerics="fast", device=None, threads=None):
        assert numerics == "fast"
        super().__init__(np, Fast(np))

    def asarray(self, x: npt.ArrayLike, dtype: str, copy: bool = False) -> Array:
        return _locked(np.array(x, dtype=dtype))

    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        if not name.endswith(("_forward", "_backward", "_backward_input")):
            return found

        def locked(*arguments):
            made = found(*arguments)
            return tuple(map(_locked, made)) if isinstance(made, tuple) else _locked(made)

        return locked


def _locked(array):
    view = np.asarray(array).view()
    view.flags.writeable = False
    return view


def from_python(linked):
    """A compiled function that Python can call, of one that compiled code alone can."""
    from backprop_ref.kernels.compiling import compiled

    return compiled(lambda *arguments: linked(*arguments))  # noqa: PLW0108 (it has no machine code of its own)


def program_of(trainer):
    """Which program a trainer of the numba backend runs, and in fast numerics how the values of a layer stand."""
    return "fixed" if trainer.fixed else "rows" if trainer.kind.wide else "epochs"


def gradients_of(backend, network, params, x, y):
    """Every intermediate as NumPy arrays, by name: loss, z0, a0, delta0, dW0, db0, …, dx."""
    from backprop_ref import trace

    seen = trace(network, params, x, y, backend=backend)
    named = {
        f"{name}{layer}": getattr(seen, name)[layer]
        for name in ("z", "a", "delta", "dW", "db")
        for layer in range(network.n_layers)
    }
    return {"loss": np.array(seen.loss), **named, "dx": seen.dx}


SMALL_SWEEP = (
    *("--dataset", "xor", "--epochs", "2", "--seeds", "1,2", "--activations", "tanh,relu"),
    *("--backend", "numpy"),
)


def tree(folder, but=None):
    """Everything below a folder, by path: what it is, its permissions, when it was written, and what is in it.

    Without what begins with the name `but`, which may be changing meanwhile.
    """
    found, folder = {}, Path(folder)
    tops = (path for path in folder.iterdir() if but is None or not path.name.startswith(but))
    for path in sorted(each for top in tops for each in (top, *(top.rglob("*") if not top.is_symlink() else ()))):
        status = path.lstat()
        content = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(folder))] = (status.st_mode, status.st_ino, status.st_mtime_ns, content)
    return found


def command(*arguments, **options):
    """The command line in a process of its own, which has ended."""
    arguments = [*PROGRAM, *map(str, arguments)]
    return subprocess.run(arguments, capture_output=True, text=True, check=False, **options)


def reference():
    """The backend others are compared with."""
    return get_backend("numpy", "fast")


def axe():
    """The script of axe-core, which finds what some people cannot use in a page."""
    asked = ["node", "-p", "require.resolve('axe-core/axe.min.js')"]
    found = subprocess.run(asked, capture_output=True, text=True, check=False) if shutil.which("node") else None
    if found is None or found.returncode:
        pytest.skip("axe-core is not installed: npm install axe-core, and name its node_modules by NODE_PATH")
    return Path(found.stdout.strip()).read_text(encoding="utf-8")
