"""PyTorch with its autograd and its optimizer, one operation at a time and compiled."""

import contextlib
import logging
import warnings
from itertools import pairwise

import numpy as np
import torch
from torch.nn import functional

from backprop_ref.benchmarks.check import LeftOut
from backprop_ref.benchmarks.contestants import products
from backprop_ref.random import Stream
from peers import Peer

logging.getLogger("torch").setLevel(logging.ERROR)

LAYERS = {"sigmoid": torch.nn.Sigmoid, "tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}


def loss_of(network, batch):
    """The loss from logits where PyTorch has it so, as its documentation advises."""
    if network.loss == "cross_entropy":
        return functional.cross_entropy
    if network.loss == "binary_cross_entropy":
        return functional.binary_cross_entropy_with_logits
    return lambda a, y: functional.mse_loss(a, y, reduction="sum") / batch


class Eager(Peer):
    """`torch.nn.Sequential`, ``loss.backward()`` and `torch.optim.SGD`."""

    def __init__(self, task):
        network, dtype = task.network, getattr(torch, task.dtype)
        layers = []
        for n_in, n_out, activation in zip(network.sizes, network.sizes[1:], network.activations, strict=False):
            layers += [torch.nn.Linear(n_in, n_out, dtype=dtype), LAYERS.get(activation, torch.nn.Identity)()]
        if network.loss.endswith("cross_entropy"):
            layers.pop()
        self.model, self.loss = torch.nn.Sequential(*layers), loss_of(network, task.batch)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1.0)
        self.data = [torch.from_numpy(array) for array in task.data]
        super().__init__(task)

    @contextlib.contextmanager
    def scope(self):
        before = torch.get_num_threads()
        torch.set_num_threads(self.task.threads or before)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def restart(self, learning_rate):
        self.set_rate(learning_rate)
        with torch.no_grad():
            for layer, W, b in zip(self.linear(), self.task.params.W, self.task.params.b, strict=True):
                layer.weight.copy_(torch.from_numpy(W.T))
                layer.bias.copy_(torch.from_numpy(b))

    def set_rate(self, learning_rate):
        self.optimizer.param_groups[0]["lr"] = learning_rate

    def linear(self):
        """The layers that have parameters."""
        return [layer for layer in self.model if isinstance(layer, torch.nn.Linear)]

    def run(self, epochs):
        for _ in range(epochs):
            self.losses = [self.step(x, y) for x, y in self.slices()]

    def slices(self):
        """Views of each batch."""
        return zip(*(array.split(self.task.batch) for array in self.data), strict=True)

    def first_step(self, learning_rate):
        self.restart(learning_rate)
        with self.scope():
            self.step(*next(iter(self.slices())))
        return self.parameters()

    def parameters(self):
        with torch.no_grad():
            weights = [np.ascontiguousarray(layer.weight.numpy().T) for layer in self.linear()]
            return self.from_arrays(weights, [layer.bias.numpy() for layer in self.linear()])

    def step(self, x, y):
        """One step of gradient descent; the loss of the batch."""
        self.optimizer.zero_grad()
        loss = self.loss(self.model(x), y)
        loss.backward()
        self.optimizer.step()
        return loss.detach()


class Products:
    """The matrix products of a step by PyTorch's BLAS, into memory that is there already."""

    kind, compile_seconds, name = "limit", 0.0, "products by torch"
    scope = Eager.scope

    def __init__(self, task):
        self.task, self.steps = task, task.batches
        stream, layers = Stream(1, "check"), list(pairwise(task.network.sizes))
        self.operands = [
            (left, right, left @ right)
            for layer, (n_in, n_out) in enumerate(layers)
            for pair in products(stream, task.batch, n_in, n_out, layer > 0, task.dtype)
            for left, right in [map(torch.from_numpy, pair)]
        ]

    def restart(self, learning_rate):
        """Nothing goes on from step to step."""

    def run(self, epochs):
        for _ in range(epochs * self.steps):
            for left, right, out in self.operands:
                torch.mm(left, right, out=out)


class Compiled(Eager):
    """The same with forward and backward pass, loss and update compiled by `torch.compile`."""

    def __init__(self, task):
        # in a tensor the rate can change without compiling again
        self.rate = torch.tensor(1.0, dtype=getattr(torch, task.dtype))
        super().__init__(task)
        torch._dynamo.reset()
        try:
            with self.scope():
                self.compiled = torch.compile(super().step)
                self.first_step(1.0)
        except torch._dynamo.exc.BackendCompilerFailed as error:
            raise LeftOut(f"torch.compile does not work here: {str(error).splitlines()[0]}") from None

    @contextlib.contextmanager
    def scope(self):
        """PyTorch's compiler warns of what PyTorch itself does: of functions on their way out, of ``.grad``."""
        with warnings.catch_warnings(), super().scope():
            warnings.simplefilter("ignore")
            yield

    def set_rate(self, learning_rate):
        self.optimizer.param_groups[0]["lr"] = self.rate.fill_(learning_rate)

    def step(self, x, y):
        return self.compiled(x, y)
