"""step_c.c: the step in C, sizes as constants, for networks of one hidden layer, sigmoid, squared error, float64."""

import ctypes
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from backprop_ref.benchmarks.check import LeftOut
from peers import Peer

SOURCE = Path(__file__).parent.parent / "step_c.c"
FLAGS = ("-O3", "-march=native", "-shared", "-fPIC")
MOST_WEIGHTS = 100  # loops without blocking are how C is written for small networks only


@cache
def compiled(n_in, n_hidden, n_out, batch):
    """`train` of step_c.c for these sizes."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "step_c.so"
        sizes = [f"-DN_IN={n_in}", f"-DN_HIDDEN={n_hidden}", f"-DN_OUT={n_out}", f"-DBATCH={batch}"]
        subprocess.run(["gcc", *FLAGS, *sizes, str(SOURCE), "-o", str(library), "-lm"], check=True)
        train = ctypes.CDLL(str(library)).train
    array, whole = np.ctypeslib.ndpointer(np.float64, flags="C"), np.ctypeslib.ndpointer(np.int64, flags="C")
    train.argtypes = [array, array, whole, ctypes.c_int64, ctypes.c_int64, array, ctypes.c_double, array]
    train.restype = None
    return train


class HandWritten(Peer):
    """gcc -O3 -march=native, libm's exp, no -ffast-math; it gathers rows by an order, as our trainers do."""

    def __init__(self, task):
        network = task.network
        if (network.activations, network.loss) != (("sigmoid", "sigmoid"), "sum_squared_error"):
            raise LeftOut("step_c.c is sigmoid and squared error only")
        if task.dtype != "float64" or network.n_parameters > MOST_WEIGHTS:
            raise LeftOut("step_c.c is for small networks in float64")
        if not shutil.which("gcc"):
            raise LeftOut("gcc is not installed")
        self.train = compiled(*network.sizes, task.batch)
        self.orders = np.empty((0, len(task.data[0])), np.int64)
        super().__init__(task)

    def restart(self, learning_rate):
        self.params, self.learning_rate = self.task.params.copy(), learning_rate

    def run(self, epochs):
        if len(self.orders) != epochs:
            self.orders = np.tile(np.arange(self.orders.shape[1]), (epochs, 1))
        self._train(*self.task.data, self.orders)

    def first_step(self, learning_rate):
        self.restart(learning_rate)
        self._train(*self.task.first_batch, np.arange(self.task.batch)[None, :])
        return self.parameters()

    def parameters(self):
        return self.params

    def _train(self, x, y, orders):
        self.losses = np.empty(len(orders))
        self.train(x, y, orders, *orders.shape, self.params.flat, self.learning_rate, self.losses)
