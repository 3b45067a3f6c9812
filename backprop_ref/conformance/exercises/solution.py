"""A multi-layer perceptron in NumPy: its loss, and the gradients of its weights and biases."""

import numpy as np


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def activate(name, z):
    """The activation of a layer."""
    if name == "sigmoid":
        return sigmoid(z)
    if name == "tanh":
        return np.tanh(z)
    if name == "relu":
        return np.maximum(z, 0)
    if name == "leaky_relu":
        return np.where(z > 0, z, 0.01 * z)
    if name == "softmax":
        return softmax(z)
    return z


def derive(name, z, a, da):
    """dLoss/dz of a layer from its dLoss/da."""
    if name == "sigmoid":
        return da * a * (1 - a)
    if name == "tanh":
        return da * (1 - a**2)
    if name == "relu":
        return da * (z > 0)
    if name == "leaky_relu":
        return da * np.where(z > 0, 1, 0.01)
    if name == "softmax":
        return a * (da - (da * a).sum(axis=1, keepdims=True))
    return da


def loss_and_delta(loss, output, z, a, y):
    """The loss, and its derivative with respect to z of the output."""
    n = y.size if loss in ("mean_squared_error", "binary_cross_entropy") else len(y)
    if loss.endswith("squared_error"):
        terms, delta = (a - y) ** 2, derive(output, z, a, 2 * (a - y))
    elif loss == "binary_cross_entropy":
        terms, delta = y * np.logaddexp(0, -z) + (1 - y) * np.logaddexp(0, z), a - y
    elif output == "softmax":
        shifted = z - z.max(axis=1, keepdims=True)
        terms = y * (np.log(np.exp(shifted).sum(axis=1, keepdims=True)) - shifted)
        delta = a * y.sum(axis=1, keepdims=True) - y
    else:
        terms, delta = y * np.logaddexp(0, -z), -y * sigmoid(-z)
    return terms.sum() / n, delta / n


def gradients(network, weights, biases, x, y, weight_decay=0.0, steps=0, optimizer=None, batch_size=0):
    """The loss, dW and db of each layer; or weights and biases after some steps."""
    if steps:
        return train(network, weights, biases, x, y, steps, optimizer, batch_size)
    z, a = [], [x]
    for W, b, name in zip(weights, biases, network.activations):
        z.append(a[-1] @ W + b)
        a.append(activate(name, z[-1]))
    loss, delta = loss_and_delta(network.loss, network.activations[-1], z[-1], a[-1], y)
    dW, db = [np.zeros_like(W) for W in weights], [np.zeros_like(b) for b in biases]
    for layer in reversed(range(len(weights))):
        dW[layer] = a[layer].T @ delta
        dW[layer] += weight_decay * weights[layer]
        db[layer] = delta.sum(axis=0)
        if layer > 0:
            da = delta @ weights[layer].T
            delta = derive(network.activations[layer - 1], z[layer - 1], a[layer], da)
    return loss, dW, db


def train(network, weights, biases, x, y, steps, optimizer, batch_size):
    """Weights and biases after some steps, each on the next batch."""
    params = [*weights, *biases]
    states = [{"m": 0.0, "v": 0.0} for _ in params]
    starts = list(range(0, len(x), batch_size))
    for step in range(steps):
        start = starts[step % len(starts)]
        batch = slice(start, start + batch_size)
        _, dW, db = gradients(network, params[: len(weights)], params[len(weights) :], x[batch], y[batch])
        grads = [*dW, *db]
        for i, g in enumerate(grads):
            if i < len(weights):
                g = g + optimizer["weight_decay"] * params[i]
            params[i] = params[i] - change(optimizer, g, states[i], step + 1)
    return params[: len(weights)], params[len(weights) :]


def change(optimizer, g, state, t):
    """What a step takes from a parameter."""
    rate = optimizer["learning_rate"]
    if optimizer["name"] == "sgd":
        momentum = optimizer["momentum"]
        v = state["v"] = momentum * state["v"] + g
        return rate * (g + momentum * v if optimizer["nesterov"] else v)
    beta1, beta2, epsilon = optimizer["beta1"], optimizer["beta2"], optimizer["epsilon"]
    m = state["m"] = beta1 * state["m"] + (1 - beta1) * g
    v = state["v"] = beta2 * state["v"] + (1 - beta2) * g**2
    m, v = m / (1 - beta1**t), v / (1 - beta2**t)
    return rate * m / (np.sqrt(v) + epsilon)
