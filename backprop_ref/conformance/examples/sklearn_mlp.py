"""scikit-learn's MLP behind the interface that `backprop-ref verify` calls: one step of partial_fit, weights in place.

backprop-ref verify backprop_ref.conformance.examples.sklearn_mlp:step

Its hidden layers share one activation, and its output is linear, sigmoid or softmax as the loss wants it; other cases
it does not claim. Its squared error is ½ the mean over batch and outputs, and its gradient that of ½ the mean over the
batch of the sum over the outputs: with several outputs the gradient is their number times too large.
"""

import numpy as np
from sklearn.neural_network import MLPClassifier, MLPRegressor

HIDDEN = {"sigmoid": "logistic", "tanh": "tanh", "relu": "relu", "linear": "identity"}


def step(network, weights, biases, x, y, learning_rate=0.5):
    """One step of plain gradient descent on weights and biases, in place; returns the loss before it."""
    settings = {
        "hidden_layer_sizes": network.sizes[1:-1],
        "activation": hidden_activation(network),
        "solver": "sgd",
        "alpha": 0.0,
        "learning_rate_init": learning_rate,
        "momentum": 0.0,
        "nesterovs_momentum": False,
        "batch_size": len(x),
        "shuffle": False,
        "random_state": 1,
    }
    model, targets, more = claimed(network, settings, y)
    model.partial_fit(x, targets, **more)  # makes the weights, whose values are then those given
    for mine, given in zip(model.coefs_ + model.intercepts_, weights + biases, strict=True):
        mine[...] = given
    model.partial_fit(x, targets)
    for mine, given in zip(model.coefs_ + model.intercepts_, weights + biases, strict=True):
        given[...] = mine
    return model.loss_


def hidden_activation(network):
    """scikit-learn's name for the activation that all hidden layers have."""
    names = set(network.activations[:-1]) or {"relu"}
    if len(names) > 1 or not names <= set(HIDDEN):
        raise NotImplementedError("hidden layers that are all sigmoid, tanh, relu or linear")
    return HIDDEN[names.pop()]


def claimed(network, settings, y):
    """The model, its targets and what its first partial_fit needs, if this is a network that it can be."""
    output, n_out = network.activations[-1], y.shape[1]
    if (output, network.loss) == ("linear", "mean_squared_error"):
        return MLPRegressor(**settings), y if n_out > 1 else y[:, 0], {}
    if (output, network.loss) not in {("softmax", "cross_entropy"), ("sigmoid", "binary_cross_entropy")}:
        raise NotImplementedError("linear with mean_squared_error, softmax or sigmoid with its cross-entropy")
    if not np.isin(y, (0.0, 1.0)).all() or (output == "softmax" and n_out < 3):
        raise NotImplementedError("labels of 0 and 1, and more than two classes")
    if output == "softmax":
        return MLPClassifier(**settings), y.argmax(axis=1), {"classes": np.arange(n_out)}
    labels = y.astype(int) if n_out > 1 else y[:, 0].astype(int)
    return MLPClassifier(**settings), labels, {"classes": np.arange(max(n_out, 2))}
