"""Classes as well-known tutorials write them, right and with one bug each; and how a step of each is taken."""

import dataclasses
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from . import truth
from .layout import Layout
from .plan import Plan
from .program import Planted, Program
from .spec import Net, Spec


class Tutorial(NamedTuple):
    """A class, what it computes, and how one step of it is taken.

    Attributes
    ----------
    step : function ``(class, W, b, x, y) -> (dW, db)``
        In our layout, worked out from the weights before and after; db is None where there are no biases.
    bugs : tuple of (id, rule, layers, right text, wrong text)
    """

    key: str
    name: str
    net: Net
    reduction: str
    source: str
    step: Callable[..., tuple[list[Any], list[Any]]]
    bugs: tuple[tuple[str, str, tuple[int, ...], str, str], ...] = ()
    batch: int = 4
    biases: bool = True


def _moved(before, after, rate):
    return [(np.asarray(old) - np.asarray(new)) / rate for old, new in zip(before, after, strict=True)]


# ---- 1: data in the constructor, no biases, the step is added ------------------------------------------------------

DATA_IN_CONSTRUCTOR = """
import numpy as np


def sigmoid(x):
    return 1.0 / (1 + np.exp(-x))


def sigmoid_derivative(x):
    return x * (1.0 - x)


class NeuralNetwork:
    def __init__(self, x, y):
        self.input = x
        self.weights1 = np.random.rand(self.input.shape[1], 4)
        self.weights2 = np.random.rand(4, 1)
        self.y = y
        self.output = np.zeros(self.y.shape)

    def feedforward(self):
        self.layer1 = sigmoid(np.dot(self.input, self.weights1))
        self.output = sigmoid(np.dot(self.layer1, self.weights2))

    def backprop(self):
        error = 2 * (self.y - self.output) * sigmoid_derivative(self.output)
        d_weights2 = np.dot(self.layer1.T, error)
        hidden = np.dot(error, self.weights2.T) * sigmoid_derivative(self.layer1)
        d_weights1 = np.dot(self.input.T, hidden)
        self.weights1 += d_weights1
        self.weights2 += d_weights2


if __name__ == "__main__":
    X = np.array([[0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]])
    y = np.array([[0], [1], [1], [0]])
    nn = NeuralNetwork(X, y)
    for i in range(1500):
        nn.feedforward()
        nn.backprop()
    print(nn.output)
"""


def _data_in_constructor(made, W, b, x, y):
    model = made(x, y)
    model.weights1, model.weights2 = W[0].copy(), W[1].copy()
    model.feedforward()
    model.backprop()
    return _moved(W, [model.weights1, model.weights2], 1.0), [None, None]


# ---- 2: lists of column biases, mini-batches of pairs --------------------------------------------------------------

MINI_BATCHES = '''
import random

import numpy as np


class Network(object):

    def __init__(self, sizes):
        """The list ``sizes`` holds the number of neurons of each layer."""
        self.num_layers = len(sizes)
        self.sizes = sizes
        self.biases = [np.random.randn(n, 1) for n in sizes[1:]]
        self.weights = [np.random.randn(n, k) for k, n in zip(sizes[:-1], sizes[1:])]

    def feedforward(self, a):
        for b, w in zip(self.biases, self.weights):
            a = sigmoid(np.dot(w, a) + b)
        return a

    def SGD(self, training_data, epochs, mini_batch_size, eta):
        training_data = list(training_data)
        for epoch in range(epochs):
            random.shuffle(training_data)
            for start in range(0, len(training_data), mini_batch_size):
                self.update_mini_batch(training_data[start:start + mini_batch_size], eta)

    def update_mini_batch(self, mini_batch, eta):
        sum_b = [np.zeros(b.shape) for b in self.biases]
        sum_w = [np.zeros(w.shape) for w in self.weights]
        for x, y in mini_batch:
            grad_b, grad_w = self.backprop(x, y)
            sum_b = [s + g for s, g in zip(sum_b, grad_b)]
            sum_w = [s + g for s, g in zip(sum_w, grad_w)]
        self.weights = [w - (eta / len(mini_batch)) * g for w, g in zip(self.weights, sum_w)]
        self.biases = [b - (eta / len(mini_batch)) * g for b, g in zip(self.biases, sum_b)]

    def backprop(self, x, y):
        grad_b = [np.zeros(b.shape) for b in self.biases]
        grad_w = [np.zeros(w.shape) for w in self.weights]
        activation = x
        activations = [x]
        zs = []
        for b, w in zip(self.biases, self.weights):
            z = np.dot(w, activation) + b
            zs.append(z)
            activation = sigmoid(z)
            activations.append(activation)
        delta = self.cost_derivative(activations[-1], y) * sigmoid_prime(zs[-1])
        grad_b[-1] = delta
        grad_w[-1] = np.dot(delta, activations[-2].T)
        for l in range(2, self.num_layers):
            delta = np.dot(self.weights[-l + 1].T, delta) * sigmoid_prime(zs[-l])
            grad_b[-l] = delta
            grad_w[-l] = np.dot(delta, activations[-l - 1].T)
        return grad_b, grad_w

    def cost_derivative(self, output_activations, y):
        return output_activations - y


def sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))


def sigmoid_prime(z):
    return sigmoid(z) * (1 - sigmoid(z))
'''


def _mini_batches(made, W, b, x, y):
    model = made([W[0].shape[0], *(part.shape[1] for part in W)])
    model.weights, model.biases = [part.T.copy() for part in W], [part[:, None].copy() for part in b]
    model.update_mini_batch([(x[s][:, None], y[s][:, None]) for s in range(len(x))], 0.5)
    return (
        _moved(W, [part.T for part in model.weights], 0.5),
        _moved(b, [part[:, 0] for part in model.biases], 0.5),
    )


# ---- 3: a dictionary of parameters, samples in columns -------------------------------------------------------------

PARAMETERS_IN_COLUMNS = '''
import numpy as np


class DeepNet:
    """L-layer network: relu hidden layers, sigmoid output. X has shape (n_x, m), Y (1, m)."""

    def __init__(self, layer_dims, learning_rate=0.0075):
        self.L = len(layer_dims) - 1
        self.learning_rate = learning_rate
        self.parameters = {}
        for l in range(1, self.L + 1):
            n, k = layer_dims[l], layer_dims[l - 1]
            self.parameters["W" + str(l)] = np.random.randn(n, k) / np.sqrt(k)
            self.parameters["b" + str(l)] = np.zeros((n, 1))

    def forward(self, X):
        A = X
        self.caches = []
        for l in range(1, self.L + 1):
            A_prev = A
            Z = np.dot(self.parameters["W" + str(l)], A_prev) + self.parameters["b" + str(l)]
            A = np.maximum(0, Z) if l < self.L else 1 / (1 + np.exp(-Z))
            self.caches.append((A_prev, Z))
        return A

    def compute_cost(self, AL, Y):
        m = Y.shape[1]
        return float(-np.sum(Y * np.log(AL) + (1 - Y) * np.log(1 - AL)) / m)

    def backward(self, AL, Y):
        m = Y.shape[1]
        grads = {}
        dAL = -(np.divide(Y, AL) - np.divide(1 - Y, 1 - AL))
        dZ = dAL * AL * (1 - AL)
        for l in range(self.L, 0, -1):
            A_prev, Z = self.caches[l - 1]
            grads["dW" + str(l)] = np.dot(dZ, A_prev.T) / m
            grads["db" + str(l)] = np.sum(dZ, axis=1, keepdims=True) / m
            if l > 1:
                dA = np.dot(self.parameters["W" + str(l)].T, dZ)
                dZ = np.array(dA, copy=True)
                dZ[self.caches[l - 2][1] <= 0] = 0
        return grads

    def update_parameters(self, grads):
        for l in range(1, self.L + 1):
            self.parameters["W" + str(l)] -= self.learning_rate * grads["dW" + str(l)]
            self.parameters["b" + str(l)] -= self.learning_rate * grads["db" + str(l)]

    def fit(self, X, Y, num_iterations=3000, print_cost=False):
        costs = []
        for i in range(num_iterations):
            AL = self.forward(X)
            costs.append(self.compute_cost(AL, Y))
            grads = self.backward(AL, Y)
            self.update_parameters(grads)
        return costs
'''


def _parameters_in_columns(made, W, b, x, y):
    model = made([W[0].shape[0], *(part.shape[1] for part in W)], learning_rate=0.5)
    n = range(1, len(W) + 1)
    for l in n:
        model.parameters[f"W{l}"], model.parameters[f"b{l}"] = W[l - 1].T.copy(), b[l - 1][:, None].copy()
    model.fit(x.T, y.T, num_iterations=1)
    return (
        _moved(W, [model.parameters[f"W{l}"].T for l in n], 0.5),
        _moved(b, [model.parameters[f"b{l}"][:, 0] for l in n], 0.5),
    )


# ---- 4: layer objects, one sample after the other ------------------------------------------------------------------

LAYER_OBJECTS = """
import numpy as np


def tanh(x):
    return np.tanh(x)


def tanh_prime(x):
    return 1 - np.tanh(x) ** 2


def mse(y_true, y_pred):
    return np.mean(np.power(y_true - y_pred, 2))


def mse_prime(y_true, y_pred):
    return 2 * (y_pred - y_true) / y_true.size


class Layer:
    def __init__(self):
        self.input = None
        self.output = None


class FCLayer(Layer):
    def __init__(self, input_size, output_size):
        self.weights = np.random.rand(input_size, output_size) - 0.5
        self.bias = np.random.rand(1, output_size) - 0.5

    def forward(self, input_data):
        self.input = input_data
        self.output = np.dot(self.input, self.weights) + self.bias
        return self.output

    def backward(self, output_error, learning_rate):
        input_error = np.dot(output_error, self.weights.T)
        weights_error = np.dot(self.input.T, output_error)
        self.weights -= learning_rate * weights_error
        self.bias -= learning_rate * output_error
        return input_error


class ActivationLayer(Layer):
    def __init__(self, activation, activation_prime):
        self.activation = activation
        self.activation_prime = activation_prime

    def forward(self, input_data):
        self.input = input_data
        self.output = self.activation(self.input)
        return self.output

    def backward(self, output_error, learning_rate):
        return self.activation_prime(self.input) * output_error


class Network:
    def __init__(self):
        self.layers = [
            FCLayer(2, 3), ActivationLayer(tanh, tanh_prime),
            FCLayer(3, 1), ActivationLayer(tanh, tanh_prime),
        ]

    def predict(self, samples):
        return [self.forward(x.reshape(1, -1)) for x in samples]

    def forward(self, output):
        for layer in self.layers:
            output = layer.forward(output)
        return output

    def fit(self, x_train, y_train, epochs, learning_rate):
        err = 0
        for i in range(epochs):
            err = 0
            for x, y in zip(x_train, y_train):
                x, y = np.reshape(x, (1, -1)), np.reshape(y, (1, -1))
                output = self.forward(x)
                err += mse(y, output)
                error = mse_prime(y, output)
                for layer in reversed(self.layers):
                    error = layer.backward(error, learning_rate)
            err /= len(x_train)
        return err
"""


def _layer_objects(made, W, b, x, y):
    model = made()
    dense = model.layers[::2]
    for layer, part, bias in zip(dense, W, b, strict=True):
        layer.weights, layer.bias = part.copy(), bias[None, :].copy()
    model.fit(x, y, 1, 0.5)
    return _moved(W, [layer.weights for layer in dense], 0.5), _moved(b, [layer.bias[0] for layer in dense], 0.5)


# ---- 5: a two-layer classifier with a loss method and numbers of classes ------------------------------------------

LOSS_METHOD = '''
import numpy as np


class TwoLayerNet(object):
    """input - fully connected - ReLU - fully connected - softmax; y holds the number of each sample's class."""

    def __init__(self, input_size, hidden_size, output_size, std=1e-4):
        self.params = {}
        self.params["W1"] = std * np.random.randn(input_size, hidden_size)
        self.params["b1"] = np.zeros(hidden_size)
        self.params["W2"] = std * np.random.randn(hidden_size, output_size)
        self.params["b2"] = np.zeros(output_size)

    def loss(self, X, y=None, reg=0.0):
        W1, b1 = self.params["W1"], self.params["b1"]
        W2, b2 = self.params["W2"], self.params["b2"]
        N, D = X.shape
        h = np.maximum(0, X.dot(W1) + b1)
        scores = h.dot(W2) + b2
        if y is None:
            return scores
        shifted = scores - scores.max(axis=1, keepdims=True)
        probs = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
        loss = -np.log(probs[np.arange(N), y]).mean() + 0.5 * reg * (np.sum(W1 * W1) + np.sum(W2 * W2))
        grads = {}
        dscores = probs.copy()
        dscores[np.arange(N), y] -= 1
        dscores /= N
        grads["W2"] = h.T.dot(dscores) + reg * W2
        grads["b2"] = dscores.sum(axis=0)
        dh = dscores.dot(W2.T)
        dh[h <= 0] = 0
        grads["W1"] = X.T.dot(dh) + reg * W1
        grads["b1"] = dh.sum(axis=0)
        return loss, grads

    def train(self, X, y, learning_rate=1e-3, reg=0.0, num_iters=100):
        history = []
        for it in range(num_iters):
            loss, grads = self.loss(X, y, reg=reg)
            history.append(loss)
            for name in self.params:
                self.params[name] -= learning_rate * grads[name]
        return history

    def predict(self, X):
        return self.loss(X).argmax(axis=1)
'''


def _loss_method(made, W, b, x, y):
    model = made(W[0].shape[0], *(part.shape[1] for part in W))
    for l in (1, 2):
        model.params[f"W{l}"], model.params[f"b{l}"] = W[l - 1].copy(), b[l - 1].copy()
    model.train(x, y.argmax(axis=1), learning_rate=0.5, num_iters=1)
    return (
        _moved(W, [model.params[f"W{l}"] for l in (1, 2)], 0.5),
        _moved(b, [model.params[f"b{l}"] for l in (1, 2)], 0.5),
    )


# ---- 6: names of their own, the error the other way round ----------------------------------------------------------

HIDDEN_AND_OUT = """
import numpy as np


class MLP:
    def __init__(self, n_input, n_hidden, n_output, lr=0.1):
        self.lr = lr
        self.wh = np.random.uniform(size=(n_input, n_hidden))
        self.bh = np.random.uniform(size=(1, n_hidden))
        self.wout = np.random.uniform(size=(n_hidden, n_output))
        self.bout = np.random.uniform(size=(1, n_output))

    def sigmoid(self, x):
        return 1 / (1 + np.exp(-x))

    def derivatives_sigmoid(self, x):
        return x * (1 - x)

    def train(self, X, y, epochs=5000):
        for i in range(epochs):
            # forward
            hidden_layer_activations = self.sigmoid(np.dot(X, self.wh) + self.bh)
            output = self.sigmoid(np.dot(hidden_layer_activations, self.wout) + self.bout)
            # backward
            E = y - output
            slope_output_layer = self.derivatives_sigmoid(output)
            slope_hidden_layer = self.derivatives_sigmoid(hidden_layer_activations)
            d_output = E * slope_output_layer
            Error_at_hidden_layer = d_output.dot(self.wout.T)
            d_hiddenlayer = Error_at_hidden_layer * slope_hidden_layer
            self.wout += hidden_layer_activations.T.dot(d_output) * self.lr
            self.bout += np.sum(d_output, axis=0, keepdims=True) * self.lr
            self.wh += X.T.dot(d_hiddenlayer) * self.lr
            self.bh += np.sum(d_hiddenlayer, axis=0, keepdims=True) * self.lr
        return output
"""


def _hidden_and_out(made, W, b, x, y):
    model = made(W[0].shape[0], *(part.shape[1] for part in W), lr=0.5)
    model.wh, model.wout = W[0].copy(), W[1].copy()
    model.bh, model.bout = b[0][None, :].copy(), b[1][None, :].copy()
    model.train(x, y, epochs=1)
    return _moved(W, [model.wh, model.wout], 0.5), _moved(b, [model.bh[0], model.bout[0]], 0.5)


# ---- 7: backward(X, y, output) after forward(X), sizes and rate in the class ---------------------------------------

BACKWARD_OF_OUTPUT = """
import numpy as np


class Neural_Network(object):
    def __init__(self):
        self.inputSize = 2
        self.outputSize = 1
        self.hiddenSize = 3
        self.W1 = np.random.randn(self.inputSize, self.hiddenSize)
        self.W2 = np.random.randn(self.hiddenSize, self.outputSize)

    def forward(self, X):
        self.z = np.dot(X, self.W1)
        self.z2 = self.sigmoid(self.z)
        self.z3 = np.dot(self.z2, self.W2)
        o = self.sigmoid(self.z3)
        return o

    def sigmoid(self, s):
        return 1 / (1 + np.exp(-s))

    def sigmoidPrime(self, s):
        return s * (1 - s)

    def backward(self, X, y, o):
        self.o_error = y - o
        self.o_delta = self.o_error * self.sigmoidPrime(o)
        self.z2_error = self.o_delta.dot(self.W2.T)
        self.z2_delta = self.z2_error * self.sigmoidPrime(self.z2)
        self.W1 += X.T.dot(self.z2_delta)
        self.W2 += self.z2.T.dot(self.o_delta)

    def train(self, X, y):
        o = self.forward(X)
        self.backward(X, y, o)
"""


def _backward_of_output(made, W, b, x, y):
    model = made()
    model.W1, model.W2 = W[0].copy(), W[1].copy()
    model.train(x, y)
    return _moved(W, [model.W1, model.W2], 1.0), [None, None]


# ---- 8: three numbers of nodes, one sample as a list ---------------------------------------------------------------

NODES = """
import numpy


class neuralNetwork:

    def __init__(self, inputnodes, hiddennodes, outputnodes, learningrate):
        self.inodes = inputnodes
        self.hnodes = hiddennodes
        self.onodes = outputnodes
        self.wih = numpy.random.normal(0.0, pow(self.inodes, -0.5), (self.hnodes, self.inodes))
        self.who = numpy.random.normal(0.0, pow(self.hnodes, -0.5), (self.onodes, self.hnodes))
        self.lr = learningrate
        self.activation_function = lambda x: 1 / (1 + numpy.exp(-x))

    def train(self, inputs_list, targets_list):
        inputs = numpy.array(inputs_list, ndmin=2).T
        targets = numpy.array(targets_list, ndmin=2).T
        hidden_outputs = self.activation_function(numpy.dot(self.wih, inputs))
        final_outputs = self.activation_function(numpy.dot(self.who, hidden_outputs))
        output_errors = targets - final_outputs
        output_deltas = output_errors * final_outputs * (1.0 - final_outputs)
        hidden_errors = numpy.dot(self.who.T, output_deltas)
        self.who += self.lr * numpy.dot(output_deltas, numpy.transpose(hidden_outputs))
        hidden_deltas = hidden_errors * hidden_outputs * (1.0 - hidden_outputs)
        self.wih += self.lr * numpy.dot(hidden_deltas, numpy.transpose(inputs))

    def query(self, inputs_list):
        inputs = numpy.array(inputs_list, ndmin=2).T
        hidden_outputs = self.activation_function(numpy.dot(self.wih, inputs))
        return self.activation_function(numpy.dot(self.who, hidden_outputs))
"""


def _nodes(made, W, b, x, y):
    model = made(W[0].shape[0], *(part.shape[1] for part in W), 0.5)
    model.wih, model.who = W[0].T.copy(), W[1].T.copy()
    model.train(list(x[0]), list(y[0]))
    return _moved(W, [model.wih.T, model.who.T], 0.5), [None, None]


# ---- 9: a classifier with everything in the constructor ------------------------------------------------------------

CLASSIFIER = """
import numpy as np


class MLPClassifier:
    def __init__(self, layer_sizes, learning_rate=0.01, epochs=100, batch_size=32, seed=0):
        self.layer_sizes = layer_sizes
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.rng = np.random.default_rng(seed)
        self.weights = []
        self.biases = []
        for n_in, n_out in zip(layer_sizes[:-1], layer_sizes[1:]):
            self.weights.append(self.rng.normal(0, np.sqrt(2 / n_in), size=(n_in, n_out)))
            self.biases.append(np.zeros(n_out))

    def _softmax(self, z):
        e = np.exp(z - z.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    def _forward(self, X):
        activations, pre = [X], []
        for i, (W, b) in enumerate(zip(self.weights, self.biases)):
            z = activations[-1] @ W + b
            pre.append(z)
            activations.append(self._softmax(z) if i == len(self.weights) - 1 else np.tanh(z))
        return activations, pre

    def _backward(self, activations, pre, Y):
        m = len(Y)
        grads_W, grads_b = [], []
        delta = (activations[-1] - Y) / m
        for i in range(len(self.weights) - 1, -1, -1):
            grads_W.insert(0, activations[i].T @ delta)
            grads_b.insert(0, delta.sum(axis=0))
            if i > 0:
                delta = (delta @ self.weights[i].T) * (1 - np.tanh(pre[i - 1]) ** 2)
        return grads_W, grads_b

    def fit(self, X, Y):
        self.losses_ = []
        for _ in range(self.epochs):
            total = 0.0
            for start in range(0, len(X), self.batch_size):
                xb, yb = X[start:start + self.batch_size], Y[start:start + self.batch_size]
                activations, pre = self._forward(xb)
                total += -np.sum(yb * np.log(activations[-1] + 1e-12))
                grads_W, grads_b = self._backward(activations, pre, yb)
                for i in range(len(self.weights)):
                    self.weights[i] -= self.learning_rate * grads_W[i]
                    self.biases[i] -= self.learning_rate * grads_b[i]
            self.losses_.append(total / len(X))
        return self

    def predict(self, X):
        return self._forward(X)[0][-1].argmax(axis=1)
"""


def _classifier(made, W, b, x, y):
    model = made([W[0].shape[0], *(part.shape[1] for part in W)], learning_rate=0.5, epochs=1, batch_size=len(x))
    model.weights, model.biases = [part.copy() for part in W], [part.copy() for part in b]
    model.fit(x, y)
    return _moved(W, model.weights, 0.5), _moved(b, model.biases, 0.5)


# ---- 10: neurons as dictionaries, plain Python ---------------------------------------------------------------------

NEURONS = '''
from math import exp
from random import random, seed


class Net:
    """Each neuron is a dictionary; the last of its weights is the bias."""

    def __init__(self, n_inputs, n_hidden, n_outputs, l_rate=0.5):
        seed(1)
        self.l_rate = l_rate
        hidden_layer = [{"weights": [random() for i in range(n_inputs + 1)]} for i in range(n_hidden)]
        output_layer = [{"weights": [random() for i in range(n_hidden + 1)]} for i in range(n_outputs)]
        self.network = [hidden_layer, output_layer]

    def activate(self, weights, inputs):
        activation = weights[-1]
        for i in range(len(weights) - 1):
            activation += weights[i] * inputs[i]
        return activation

    def transfer_derivative(self, output):
        return output * (1.0 - output)

    def forward_propagate(self, row):
        inputs = row
        for layer in self.network:
            new_inputs = []
            for neuron in layer:
                neuron["output"] = 1.0 / (1.0 + exp(-self.activate(neuron["weights"], inputs)))
                new_inputs.append(neuron["output"])
            inputs = new_inputs
        return inputs

    def backward_propagate_error(self, expected):
        for i in reversed(range(len(self.network))):
            layer = self.network[i]
            errors = []
            if i != len(self.network) - 1:
                for j in range(len(layer)):
                    error = 0.0
                    for neuron in self.network[i + 1]:
                        error += neuron["weights"][j] * neuron["delta"]
                    errors.append(error)
            else:
                for j in range(len(layer)):
                    errors.append(layer[j]["output"] - expected[j])
            for j in range(len(layer)):
                layer[j]["delta"] = errors[j] * self.transfer_derivative(layer[j]["output"])

    def update_weights(self, row):
        for i in range(len(self.network)):
            inputs = row
            if i != 0:
                inputs = [neuron["output"] for neuron in self.network[i - 1]]
            for neuron in self.network[i]:
                for j in range(len(inputs)):
                    neuron["weights"][j] -= self.l_rate * neuron["delta"] * inputs[j]
                neuron["weights"][-1] -= self.l_rate * neuron["delta"]

    def train(self, data, targets, n_epoch=1):
        for epoch in range(n_epoch):
            for row, expected in zip(data, targets):
                self.forward_propagate(row)
                self.backward_propagate_error(expected)
                self.update_weights(row)
'''


def _neurons(made, W, b, x, y):
    model = made(W[0].shape[0], *(part.shape[1] for part in W), l_rate=0.5)
    for layer, part, bias in zip(model.network, W, b, strict=True):
        for j, neuron in enumerate(layer):
            neuron["weights"] = [*map(float, part[:, j]), float(bias[j])]
    model.train(x.tolist(), y.tolist())
    after = [np.array([neuron["weights"] for neuron in layer]).T for layer in model.network]
    return _moved(W, [part[:-1] for part in after], 0.5), _moved(b, [part[-1] for part in after], 0.5)


# ---- 11: one class, forward and backward in a loop over samples, gradients summed ----------------------------------

SAMPLE_LOOP = """
import numpy as np


class Regressor:
    RATE = 0.05

    def __init__(self, n_in, n_hidden, n_out):
        self.W1 = np.random.randn(n_hidden, n_in)
        self.b1 = np.zeros(n_hidden)
        self.W2 = np.random.randn(n_out, n_hidden)
        self.b2 = np.zeros(n_out)

    def forward(self, x):
        self.x = x
        self.h = np.tanh(self.W1 @ x + self.b1)
        return self.W2 @ self.h + self.b2

    def backward(self, d_out):
        d_h = (self.W2.T @ d_out) * (1 - self.h ** 2)
        return np.outer(d_h, self.x), d_h, np.outer(d_out, self.h), d_out

    def train_step(self, X, Y):
        total = [np.zeros_like(self.W1), np.zeros_like(self.b1), np.zeros_like(self.W2), np.zeros_like(self.b2)]
        loss = 0.0
        for x, y in zip(X, Y):
            out = self.forward(x)
            loss += 0.5 * np.sum((out - y) ** 2)
            for t, g in zip(total, self.backward(out - y)):
                t += g
        n = len(X)
        self.W1 -= self.RATE * total[0] / n
        self.b1 -= self.RATE * total[1] / n
        self.W2 -= self.RATE * total[2] / n
        self.b2 -= self.RATE * total[3] / n
        return loss / n
"""


def _sample_loop(made, W, b, x, y):
    model = made(W[0].shape[0], *(part.shape[1] for part in W))
    model.W1, model.W2, model.b1, model.b2 = W[0].T.copy(), W[1].T.copy(), b[0].copy(), b[1].copy()
    model.train_step(x, y)
    return _moved(W, [model.W1.T, model.W2.T], 0.05), _moved(b, [model.b1, model.b2], 0.05)


def _net(sizes, activations, loss="squared"):
    return Net(sizes, activations, loss)


TUTORIALS = (
    Tutorial(
        "data-in-constructor",
        "NeuralNetwork",
        _net((3, 4, 1), ("sigmoid", "sigmoid")),
        "sum",
        DATA_IN_CONSTRUCTOR,
        _data_in_constructor,
        (
            (
                "derivative-missing",
                "slope",
                (0,),
                "np.dot(error, self.weights2.T) * sigmoid_derivative(self.layer1)",
                "np.dot(error, self.weights2.T)",
            ),
            (
                "derivative-at-activation",
                "slope",
                (0, 1),
                "return x * (1.0 - x)",
                "return sigmoid(x) * (1.0 - sigmoid(x))",
            ),
            ("sign", "factor", (0, 1), "2 * (self.y - self.output)", "2 * (self.output - self.y)"),
        ),
        biases=False,
    ),
    Tutorial(
        "mini-batches",
        "Network",
        _net((3, 4, 4, 2), ("sigmoid",) * 3),
        "half-mean",
        MINI_BATCHES,
        _mini_batches,
        (
            ("derivative-fed-z", "slope", (0, 1), "* sigmoid_prime(zs[-l])", "* zs[-l] * (1 - zs[-l])"),
            ("bias-mean", "db", (0, 1, 2), "[b - (eta / len(mini_batch)) * g", "[b - (eta / len(mini_batch) ** 2) * g"),
            (
                "weights-missing-back",
                "carry",
                (1, 2),
                "np.dot(self.weights[-l + 1].T, delta)",
                "np.dot(np.ones_like(self.weights[-l + 1]).T, delta)",
            ),
        ),
    ),
    Tutorial(
        "parameters-in-columns",
        "DeepNet",
        _net((4, 5, 3, 1), ("relu", "relu", "sigmoid"), "bce"),
        "mean",
        PARAMETERS_IN_COLUMNS,
        _parameters_in_columns,
        (
            ("relu-mask-missing", "slope", (0, 1), "                dZ[self.caches[l - 2][1] <= 0] = 0\n", ""),
            ("weights-missing-mean", "dW", (0, 1, 2), "np.dot(dZ, A_prev.T) / m", "np.dot(dZ, A_prev.T)"),
            ("cross-entropy-da-as-delta", "output", (2,), "dZ = dAL * AL * (1 - AL)", "dZ = dAL"),
            ("mean-each-layer", "carry", (1, 2), ".T, dZ)\n", ".T, dZ) / m\n"),
        ),
    ),
    Tutorial(
        "layer-objects",
        "Network",
        _net((2, 3, 1), ("tanh", "tanh")),
        "element",
        LAYER_OBJECTS,
        _layer_objects,
        (
            (
                "updated-weights",
                "carry",
                (1,),
                "        input_error = np.dot(output_error, self.weights.T)\n        weights_error",
                "        weights_error",
            ),
            ("tanh-slope-linear", "slope", (0, 1), "return 1 - np.tanh(x) ** 2", "return 1 - np.tanh(x)"),
            (
                "derivative-missing",
                "slope",
                (0,),
                "FCLayer(2, 3), ActivationLayer(tanh, tanh_prime)",
                "FCLayer(2, 3), ActivationLayer(tanh, lambda x: np.ones_like(x))",
            ),
        ),
        batch=1,
    ),
    Tutorial(
        "loss-method",
        "TwoLayerNet",
        _net((4, 5, 3), ("relu", "softmax"), "ce"),
        "mean",
        LOSS_METHOD,
        _loss_method,
        (
            ("missing-mean", "factor", (0, 1), "        dscores /= N\n", ""),
            ("relu-mask-missing", "slope", (0,), "        dh[h <= 0] = 0\n", ""),
            ("softmax-extra-derivative", "output", (1,), "dscores /= N", "dscores *= probs * (1 - probs) / N"),
        ),
    ),
    Tutorial(
        "hidden-and-out",
        "MLP",
        _net((3, 4, 1), ("sigmoid", "sigmoid")),
        "half",
        HIDDEN_AND_OUT,
        _hidden_and_out,
        (
            (
                "error-before-derivative",
                "carry",
                (1,),
                "Error_at_hidden_layer = d_output.dot(self.wout.T)",
                "Error_at_hidden_layer = E.dot(self.wout.T)",
            ),
            ("bias-all-equal", "db", (0,), "np.sum(d_hiddenlayer, axis=0, keepdims=True)", "np.sum(d_hiddenlayer)"),
            (
                "derivative-missing",
                "slope",
                (0,),
                "d_hiddenlayer = Error_at_hidden_layer * slope_hidden_layer",
                "d_hiddenlayer = Error_at_hidden_layer",
            ),
        ),
    ),
    Tutorial(
        "backward-of-output",
        "Neural_Network",
        _net((2, 3, 1), ("sigmoid", "sigmoid")),
        "half",
        BACKWARD_OF_OUTPUT,
        _backward_of_output,
        (
            (
                "derivative-fed-z",
                "slope",
                (0,),
                "self.z2_error * self.sigmoidPrime(self.z2)",
                "self.z2_error * self.sigmoidPrime(self.z)",
            ),
            ("error-before-derivative", "carry", (1,), "self.o_delta.dot(self.W2.T)", "self.o_error.dot(self.W2.T)"),
        ),
        biases=False,
    ),
    Tutorial(
        "nodes",
        "neuralNetwork",
        _net((3, 4, 2), ("sigmoid", "sigmoid")),
        "half",
        NODES,
        _nodes,
        (
            (
                "error-before-derivative",
                "carry",
                (1,),
                "numpy.dot(self.who.T, output_deltas)",
                "numpy.dot(self.who.T, output_errors)",
            ),
            (
                "derivative-twice",
                "slope",
                (0,),
                "hidden_errors * hidden_outputs * (1.0 - hidden_outputs)",
                "hidden_errors * (hidden_outputs * (1.0 - hidden_outputs)) ** 2",
            ),
        ),
        batch=1,
        biases=False,
    ),
    Tutorial(
        "classifier",
        "MLPClassifier",
        _net((4, 5, 4, 3), ("tanh", "tanh", "softmax"), "ce"),
        "mean",
        CLASSIFIER,
        _classifier,
        (
            (
                "mean-twice",
                "factor",
                (0, 1, 2),
                "-= self.learning_rate * grads_",
                "-= self.learning_rate / len(xb) * grads_",
            ),
            ("derivative-at-activation", "slope", (0, 1), "np.tanh(pre[i - 1]) ** 2", "np.tanh(activations[i]) ** 2"),
            (
                "bias-zero",
                "db",
                (0, 1, 2),
                "grads_b.insert(0, delta.sum(axis=0))",
                "grads_b.insert(0, np.zeros_like(self.biases[i]))",
            ),
        ),
    ),
    Tutorial(
        "neurons",
        "Net",
        _net((2, 3, 2), ("sigmoid", "sigmoid")),
        "half",
        NEURONS,
        _neurons,
        (
            (
                "bias-in-weight-loop",
                "db",
                (0, 1),
                '                neuron["weights"][-1] -=',
                '                    neuron["weights"][-1] -=',
            ),
            ("overwritten-sum", "carry", (1,), 'error += neuron["weights"][j]', 'error = neuron["weights"][j]'),
            (
                "derivative-missing",
                "slope",
                (0, 1),
                'errors[j] * self.transfer_derivative(layer[j]["output"])',
                "errors[j]",
            ),
        ),
        batch=1,
    ),
    Tutorial(
        "sample-loop",
        "Regressor",
        _net((3, 4, 2), ("tanh", "identity")),
        "half-mean",
        SAMPLE_LOOP,
        _sample_loop,
        (
            ("last-sample-only", "batch", (0, 1), "                t += g\n", "                t[...] = g\n"),
            ("z-for-activation", "dW", (1,), "np.outer(d_out, self.h)", "np.outer(d_out, self.W1 @ self.x + self.b1)"),
            (
                "weights-missing-mean",
                "dW",
                (0,),
                "self.W1 -= self.RATE * total[0] / n",
                "self.W1 -= self.RATE * total[0]",
            ),
        ),
    ),
)


ALSO = {"relu-mask-missing": ("derivative-missing",)}
ALSO |= {"cross-entropy-da-as-delta": ("output-derivative-missing", "cross-entropy-at-activation")}
"""Other names of the same numbers."""

OTHER_NAMES: dict[str, dict[str, str]] = {
    "data-in-constructor": {"weights1": "syn0", "weights2": "syn1", "feedforward": "forward", "backprop": "backward"},
    "mini-batches": {
        "weights": "w_list",
        "biases": "b_list",
        "update_mini_batch": "train_batch",
        "backprop": "gradient",
    },
    "parameters-in-columns": {
        "parameters": "theta",
        "fit": "train",
        "num_iterations": "n_epochs",
        "learning_rate": "alpha",
    },
    "layer-objects": {"FCLayer": "Dense", "weights": "kernel", "bias": "offset", "fit": "train", "epochs": "n_epochs"},
    "loss-method": {"params": "store", "num_iters": "iterations", "learning_rate": "lr"},
    "hidden-and-out": {
        "wh": "w_ih",
        "wout": "w_ho",
        "bh": "bias_hidden",
        "bout": "bias_out",
        "train": "fit",
        "lr": "eta",
    },
    "backward-of-output": {"W1": "theta1", "W2": "theta2", "forward": "feed_forward", "train": "train_once"},
    "nodes": {"wih": "weights_ih", "who": "weights_ho", "lr": "rate", "neuralNetwork": "Perceptron"},
    "classifier": {
        "weights": "coefs",
        "biases": "intercepts",
        "fit": "train",
        "layer_sizes": "dims",
        "epochs": "n_iter",
    },
    "neurons": {"network": "layers", "l_rate": "eta", "n_epoch": "n_epochs", "train": "fit"},
    "sample-loop": {"W1": "U", "W2": "V", "b1": "c", "b2": "d", "train_step": "partial_fit", "RATE": "ETA"},
}
"""What else people call the same things."""


def renamed(text: str, names: dict[str, str]) -> str:
    """The same program with other names, none of which it had."""
    for old, new in names.items():
        if re.search(rf"\b{new}\b", text):
            raise ValueError(f"'{new}' has a meaning already")
        text = re.sub(rf"\b{old}\b", new, text)
    return text


def reference(tutorial: Tutorial, W, b, x, y):
    """The right gradient as one vector, by a function that is checked against differences of its loss."""
    n = tutorial.net.last + 1
    spec = Spec(tutorial.net, Layout(), tutorial.reduction, "lists", "loss-lists", (tutorial.biases,) * n)
    function = truth.load(Plan(spec).source(), spec.name)
    _, dW, db = spec.call(function, W, b, x, y)
    return truth.flat(dW, db)


def taken_step(tutorial: Tutorial, source: str, seed=3):
    """The gradient that a step of the class uses, and the right one, as vectors."""
    W, b, x, y = tutorial.net.inputs(tutorial.batch, seed)
    made = truth.load(source, tutorial.name)
    return truth.flat(*tutorial.step(made, W, b, x, y)), reference(tutorial, W, b, x, y)


def programs(others: bool = False) -> list[Program]:
    """Every class, right, then each of its bugs; ``others``: with other names for its methods and attributes."""
    if not others:
        return sources()
    found = []
    for program in sources():
        key = next(tutorial.key for tutorial in TUTORIALS if program.key.startswith(f"class-{tutorial.key}"))
        names = OTHER_NAMES[key]
        source, name = renamed(program.source, names), names.get(program.name, program.name)
        found.append(dataclasses.replace(program, key=f"{program.key}-renamed", source=source, name=name))
    return found


def sources() -> list[Program]:
    """Every class as its tutorial names things."""
    made = []
    for tutorial in TUTORIALS:
        about = f"{tutorial.net.describe()} loss={tutorial.reduction}"
        right = tutorial.source.lstrip()
        made.append(Program(f"class-{tutorial.key}", "class-right", right, tutorial.name, "right", about=about))
        for number, (kind, rule, layers, old, new) in enumerate(tutorial.bugs, start=1):
            if old not in right:
                raise ValueError(f"{tutorial.key} has no '{old}'")
            wrong = right.replace(old, new)
            if kind == "updated-weights":
                wrong = wrong.replace(
                    "        return input_error\n", "        return np.dot(output_error, self.weights.T)\n"
                )
            truths = (Planted(kind, rule, layers, ALSO.get(kind, ())),)
            made.append(
                Program(f"class-{tutorial.key}-{number}", "class-wrong", wrong, tutorial.name, "wrong", truths, about)
            )
    return made
