"""Backpropagation as people write it: other arguments, other results; one network, sigmoid throughout, ½Σ(a − y)²/m."""

import numpy as np


def sigmoid(z):
    """Of any array."""
    return 1 / (1 + np.exp(-z))


def plain(weights, biases, x, y):
    """The loss, dW and db, and the activations."""
    a = [x]
    for W, b in zip(weights, biases, strict=True):
        a.append(sigmoid(a[-1] @ W + b))
    m = len(x)
    delta = (a[-1] - y) / m * a[-1] * (1 - a[-1])
    dW, db = [], []
    for layer in reversed(range(len(weights))):
        dW.insert(0, a[layer].T @ delta)
        db.insert(0, delta.sum(0))
        delta = delta @ weights[layer].T * a[layer] * (1 - a[layer])
    return ((a[-1] - y) ** 2).sum() / (2 * m), dW, db, a


def _two(W1, b1, W2, b2, x, y):
    return plain([W1, W2], [np.ravel(b1), np.ravel(b2)], x, y)


def lists(weights, biases, x, y):
    loss, dW, db, _ = plain(weights, biases, x, y)
    return loss, dW, db


def data_first(X, Y, Ws, bs):
    return lists(Ws, bs, X, Y)


def other_words(inputs, targets, W, b):
    loss, dW, db, _ = plain(W, b, inputs, targets)
    return dW, db, loss


def one_each(X, Y, W1, b1, W2, b2):
    loss, dW, db, _ = _two(W1, b1, W2, b2, X, Y)
    return loss, dW[0], db[0], dW[1], db[1]


def one_each_loss_last(X, y, w1, w2, b1, b2):
    loss, dW, db, _ = _two(w1, b1, w2, b2, X, y)
    return dW[0], dW[1], db[0], db[1], loss


def three_layers(x, t, W1, b1, W2, b2, W3, b3):
    loss, dW, db, _ = plain([W1, W2, W3], [b1, b2, b3], x, t)
    return loss, {"dW1": dW[0], "db1": db[0], "dW2": dW[1], "db2": db[1], "dW3": dW[2], "db3": db[2]}


def in_words(x, y, W_hidden, b_hidden, W_output, b_output):
    loss, dW, db, a = _two(W_hidden, b_hidden, W_output, b_output, x, y)
    return a[-1], loss, {"dW_hidden": dW[0], "db_hidden": db[0], "dW_output": dW[1], "db_output": db[1]}


def short_words(X, y, wh, bh, wout, bout):
    _, dW, db, _ = _two(wh, bh, wout, bout, X, y)
    return dW[0], db[0], dW[1], db[1]


def columns_dictionary(X, Y, parameters):
    W1, b1, W2, b2 = (parameters[name] for name in ("W1", "b1", "W2", "b2"))
    assert W1.shape[1] == X.shape[0] and b1.shape == (W1.shape[0], 1)
    loss, dW, db, a = _two(W1.T, b1, W2.T, b2, X.T, Y.T)
    grads = {"dW2": dW[1].T, "db2": db[1][:, None], "dW1": dW[0].T, "db1": db[0][:, None], "dZ1": a[1]}
    return grads, loss


def dictionary_by_name(params, x, y):
    loss, dW, db, _ = _two(params["W1"], params["b1"], params["W2"], params["b2"], x, y)
    return loss, {"W1": dW[0], "b1": db[0], "W2": dW[1], "b2": db[1]}


def small_dictionary(params, x, y):
    loss, dW, db, a = _two(params["w1"], params["b1"], params["w2"], params["b2"], x, y)
    return {"loss": loss, "grads": {"w1": dW[0], "b1": db[0], "w2": dW[1], "b2": db[1]}, "predictions": a[-1]}


def other_keys(params, x, y):
    loss, dW, db, _ = _two(params["weights1"], params["bias1"], params["weights2"], params["bias2"], x, y)
    return loss, {"grad_W1": dW[0], "grad_b1": db[0], "grad_W2": dW[1], "grad_b2": db[1]}


def keys_of_lists(params, x, y):
    loss, dW, db, _ = plain(params["weights"], params["biases"], x, y)
    return loss, {"weights": dW, "biases": db}


def pairs_of_both(params, x, y):
    loss, dW, db, _ = plain([W for W, b in params], [b for W, b in params], x, y)
    return loss, list(zip(dW, db, strict=True))


def dictionaries(params, batch):
    x, y = batch
    loss, dW, db, _ = plain([layer["W"] for layer in params], [layer["b"] for layer in params], x, y)
    return loss, [{"W": g, "b": h} for g, h in zip(dW, db, strict=True)]


def two_lists(params, x, y):
    weights, biases = params
    loss, dW, db, _ = plain(weights, biases, x, y)
    return loss, (dW, db)


def in_turn(params, x, y):
    W1, b1, W2, b2 = params
    loss, dW, db, _ = _two(W1, b1, W2, b2, x, y)
    return (loss, [dW[0], db[0], dW[1], db[1]])


def _cut(theta, sizes, by_layer):
    shapes = list(zip(sizes, sizes[1:], strict=False))
    order = [s for pair in zip(shapes, [(n,) for n in sizes[1:]], strict=True) for s in pair]
    order = order if by_layer else [*shapes, *((n,) for n in sizes[1:])]
    parts = []
    for shape in order:
        parts.append(theta[: int(np.prod(shape))].reshape(shape))
        theta = theta[int(np.prod(shape)) :]
    assert theta.size == 0
    n = len(shapes)
    return (parts[::2], parts[1::2]) if by_layer else (parts[:n], parts[n:])


def flat_by_layer(theta, X, y, layer_sizes):
    loss, dW, db, _ = plain(*_cut(theta, layer_sizes, True), X, y)
    return loss, np.concatenate([part.ravel() for pair in zip(dW, db, strict=True) for part in pair])


def flat_by_kind(theta, x, y, sizes):
    loss, dW, db, _ = plain(*_cut(theta, sizes, False), x, y)
    return loss, np.concatenate([part.ravel() for part in [*dW, *db]])


def _rows(weights, first):
    W = [w[1:] if first else w[:-1] for w in weights]
    return W, [w[0] if first else w[-1] for w in weights]


def _folded(loss, dW, db, first):
    return loss, [np.vstack([h, g] if first else [g, h]) for g, h in zip(dW, db, strict=True)]


def bias_row_last(x, y, weights):
    assert weights[0].shape[0] == x.shape[1] + 1
    return _folded(*plain(*_rows(weights, False), x, y)[:3], False)


def bias_row_first(Theta1, Theta2, X, y):
    """Columns of Theta as in the course by Ng: (n_out, 1 + n_in)."""
    assert Theta1.shape[1] == X.shape[1] + 1
    loss, grads = _folded(*plain(*_rows([Theta1.T, Theta2.T], True), X, y)[:3], True)
    return loss, grads[0].T, grads[1].T


def ones_in_x(weights, X, y):
    assert weights[0].shape[0] == X.shape[1] and (X[:, 0] == 1).all()
    return _folded(*plain(*_rows(weights, True), X[:, 1:], y)[:3], True)


def no_biases(X, y, W1, W2):
    assert W1.shape[0] == X.shape[1]
    loss, dW, _, _ = _two(W1, np.zeros(W1.shape[1]), W2, np.zeros(W2.shape[1]), X, y)
    return loss, dW[0], dW[1]


def no_biases_dictionary(X, y, params):
    assert set(params) == {"W1", "W2"}
    return no_biases(X, y, params["W1"], params["W2"])


def updates(W1, b1, W2, b2, X, y, lr):
    loss, dW, db, _ = _two(W1, b1, W2, b2, X, y)
    return W1 - lr * dW[0], b1 - lr * db[0], W2 - lr * dW[1], b2 - lr * db[1], loss


def updates_dictionary(parameters, X, Y, learning_rate=0.01):
    loss, dW, db, _ = _two(parameters["W1"], parameters["b1"], parameters["W2"], parameters["b2"], X, Y)
    for layer, (g, h) in enumerate(zip(dW, db, strict=True), 1):
        parameters[f"W{layer}"] = parameters[f"W{layer}"] - learning_rate * g
        parameters[f"b{layer}"] = parameters[f"b{layer}"] - learning_rate * h
    return parameters, loss


def updates_in_place(X, y, weights, biases, eta=0.1):
    loss, dW, db, _ = plain(weights, biases, X, y)
    for part, g in zip([*weights, *biases], [*dW, *db], strict=True):
        part -= eta * g
    return loss


def last_first(weights, biases, x, y):
    loss, dW, db, _ = plain(weights, biases, x, y)
    return loss, dW[::-1], db[::-1]


def with_cache(weights, biases, x, y):
    loss, dW, db, a = plain(weights, biases, x, y)
    return loss, (dW, db), {"a": a, "note": None}


def with_predictions(x, y, weights, biases):
    loss, dW, db, a = plain(weights, biases, x, y)
    return a[-1], loss, dW, db


def class_indices(X, y, weights, biases):
    y_hot = np.eye(weights[-1].shape[1])[y]
    return lists(weights, biases, X, y_hot)


def vector_of_labels(X, y, weights, biases):
    assert y.shape == (len(X),)
    return lists(weights, biases, X, y[:, None])


def nameless(a, e, c, g):
    return lists(c, g, a, e)


def nameless_layers(p1, p2, p3, p4, p5, p6):
    return one_each(p1, p2, p3, p4, p5, p6)


def nobody_says(*args):
    weights, biases, x, y = args
    return lists(weights, biases, x, y)


def by_keyword(*, X, y, weights, biases, verbose=True):
    print("epoch 1", X)
    return lists(weights, biases, X, y)


def one_sample(x, y, weights, biases):
    """Nielsen's: a sample is a column, and so is b; (nabla_b, nabla_w)."""
    assert x.shape == (weights[0].shape[1], 1) and biases[0].shape[1] == 1
    _, dW, db, _ = plain([W.T for W in weights], [b[:, 0] for b in biases], x.T, y.T)
    return [h[:, None] for h in db], [g.T for g in dW]


def columns_of_two(W1, b1, W2, b2, X, Y):
    loss, dW, db, _ = _two(W1.T, b1, W2.T, b2, X.T, Y.T)
    return loss, dW[0].T, db[0].reshape(-1, 1), dW[1].T, db[1].reshape(-1, 1)


def with_settings(nn_params, input_layer_size, hidden_layer_size, num_labels, X, y, lambda_):
    assert lambda_ == 0
    sizes = (input_layer_size, hidden_layer_size, num_labels)
    return flat_by_layer(nn_params, X, y, sizes)


def sum_for_bias(X, y, W1, b1, W2, b2):
    """One output, whose db is one number."""
    loss, dW, db, _ = _two(W1, b1, W2, b2, X, y)
    return loss, dW[0], db[0], dW[1], db[1].sum()


def unknown_words(x, y, weights, biases, colour, size_of_it):
    return lists(weights, biases, x, y)


def needs_a_cache(parameters, cache, X, Y):
    return cache["A1"]


def forward_only(x, weights):
    return x @ weights[0]


def nothing_comes(x, y, weights, biases):
    """Neither a result nor a change."""


def unrolled_with_bias_columns(nn_params, input_layer_size, hidden_layer_size, num_labels, X, y, Lambda):
    """As in the course by Ng, labels from 0 on."""
    cut = hidden_layer_size * (input_layer_size + 1)
    Theta1 = nn_params[:cut].reshape(hidden_layer_size, input_layer_size + 1)
    Theta2 = nn_params[cut:].reshape(num_labels, hidden_layer_size + 1)
    class_y = np.zeros((len(X), num_labels))
    for i in range(num_labels):
        class_y[:, i] = np.int32(y == i).reshape(1, -1)
    J, grad1, grad2 = bias_row_first(Theta1, Theta2, X, class_y)
    assert Lambda == 0
    return J, np.concatenate([grad1.ravel(), grad2.ravel()])


def logistic(w, b, X, Y):
    """One layer, one output, columns; b and its gradient are numbers."""
    m = X.shape[1]
    A = sigmoid(w.T @ X + b)
    dZ = (A - Y) * A * (1 - A) / m
    grads = {"dw": X @ dZ.T, "db": np.sum(dZ)}
    return grads, np.squeeze(np.sum((A - Y) ** 2) / (2 * m))
