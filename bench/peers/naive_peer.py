"""A training step in NumPy as people write it from a textbook."""

import numpy as np

from backprop_ref.backends.numpy import blas_threads
from peers import Peer


def sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))


def softmax(z):
    e = np.exp(z - np.max(z, axis=1, keepdims=True))
    return e / np.sum(e, axis=1, keepdims=True)


FORWARD = {"sigmoid": sigmoid, "tanh": np.tanh, "relu": lambda z: np.maximum(0.0, z), "softmax": softmax}
SLOPE = {
    "sigmoid": lambda z: sigmoid(z) * (1.0 - sigmoid(z)),
    "tanh": lambda z: 1.0 - np.tanh(z) ** 2,
    "relu": lambda z: (z > 0.0).astype(z.dtype),
}


class Naive(Peer):
    """Lists of arrays, a new array for every operation."""

    def scope(self):
        return blas_threads(self.task.threads)

    def restart(self, learning_rate):
        self.learning_rate = self.task.params.dtype.type(learning_rate)
        self.W, self.b = ([part.copy() for part in parts] for parts in (self.task.params.W, self.task.params.b))

    def run(self, epochs):
        for _ in range(epochs):
            self.losses = [self.step(x, y) for x, y in self.batches()]

    def first_step(self, learning_rate):
        self.restart(learning_rate)
        self.step(*self.task.first_batch)
        return self.parameters()

    def parameters(self):
        return self.from_arrays(self.W, self.b)

    def step(self, x, y):
        """One step of gradient descent; the loss of the batch."""
        activations, m = self.task.network.activations, len(x)
        z, a = [], [x]
        for W, b, activation in zip(self.W, self.b, activations, strict=True):
            z.append(a[-1] @ W + b)
            a.append(FORWARD[activation](z[-1]))
        if self.task.network.loss == "cross_entropy":
            loss, delta = -np.sum(y * np.log(a[-1] + 1e-12)) / m, (a[-1] - y) / m
        elif self.task.network.loss == "binary_cross_entropy":
            loss = -np.mean(y * np.log(a[-1] + 1e-12) + (1.0 - y) * np.log(1.0 - a[-1] + 1e-12))
            delta = (a[-1] - y) / y.size
        else:
            loss = np.sum((a[-1] - y) ** 2) / m
            delta = 2.0 * (a[-1] - y) / m * SLOPE[activations[-1]](z[-1])
        gradients = []
        for layer in reversed(range(len(self.W))):
            gradients.append((a[layer].T @ delta, np.sum(delta, axis=0)))
            if layer > 0:
                delta = (delta @ self.W[layer].T) * SLOPE[activations[layer - 1]](z[layer - 1])
        for layer, (dW, db) in enumerate(reversed(gradients)):
            self.W[layer] = self.W[layer] - self.learning_rate * dW
            self.b[layer] = self.b[layer] - self.learning_rate * db
        return loss
