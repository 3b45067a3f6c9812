"""Code for one network only, or with unusual biases and labels, is measured without being told so."""

import numpy as np
import pytest
from strangers import plain, sigmoid

import backprop_ref as br
from backprop_ref.conformance.measuring import asking
from backprop_ref.conformance.submissions.functions import Function
from backprop_ref.conformance.submissions.reading import Shapes, readings
from backprop_ref.conformance.submissions.settings import setting
from backprop_ref.conformance.submissions.steps.targets import targets

ACCEPTED = {"RIGHT", "CONVENTION", "RIGHT IN ITS OWN TERMS"}


def reshaped(params, x, y):
    W1, W2, W3 = params["W1"].reshape(2, 6), params["W2"].reshape(6, 4), params["W3"].reshape(4, 3)
    loss, dW, db, _ = plain([W1, W2, W3], [params["b1"], params["b2"], params["b3"]], x, y)
    return loss, {f"d{name}{i + 1}": part[i] for name, part in (("W", dW), ("b", db)) for i in range(3)}


def accumulated(x, y, W1, b1, W2, b2):
    dW1, dW2 = np.zeros((4, 2)), np.zeros((2, 5))
    db1, db2 = np.zeros(2), np.zeros(5)
    for row, target in zip(x, y, strict=True):
        _, dW, db, _ = plain([W1, W2], [b1, b2], row[None], target[None])
        dW1 += dW[0]
        dW2 += dW[1]
        db1 += db[0]
        db2 += db[1]
    return dW1, db1, dW2, db2


def over_ranges(weights, biases, x, y):
    _, dW, db, _ = plain(weights, biases, x, y)
    filled = np.zeros_like(weights[0]), np.zeros_like(weights[1])
    for i in range(2):
        for j in range(3):
            filled[0][i, j] = dW[0][i, j]
    for i in range(3):
        filled[1][i, 0] = dW[1][i, 0]
    return list(filled), db


def cut(theta, x, y):
    W = [theta[:10].reshape(2, 5), theta[15:35].reshape(5, 4), theta[39:51].reshape(4, 3)]
    b = [theta[10:15], theta[35:39], theta[51:54]]
    loss, dW, db, _ = plain(W, b, x, y)
    return loss, np.concatenate([part.ravel() for pair in zip(dW, db, strict=True) for part in pair])


N_IN, N_HIDDEN = 2, 3


def cut_to_its_end(theta, x, y):
    W1, W2 = theta[:6].reshape(N_IN, N_HIDDEN), theta[9:12].reshape(N_HIDDEN, 1)
    loss, dW, db, _ = plain([W1, W2], [theta[6:9], theta[12:]], x, y)
    return loss, np.concatenate([part.ravel() for pair in zip(dW, db, strict=True) for part in pair])


def cut_for_one_sample(theta, x, y):
    """As long as a vector for 3-4-1 without biases."""
    W, b = [theta[:9].reshape(3, 3), theta[12:15].reshape(3, 1)], [theta[9:12], theta[15:16]]
    loss, dW, db, _ = plain(W, b, x[None], y[None])
    return loss, np.concatenate([part.ravel() for pair in zip(dW, db, strict=True) for part in pair])


def cut_and_wrong(theta, x, y):
    loss, gradient = cut_for_one_sample(theta, x, y)
    gradient[9:12] *= 2.0
    return loss, gradient


@pytest.mark.parametrize(
    ("function", "sizes"),
    [
        *((reshaped, (2, 6, 4, 3)), (accumulated, (4, 2, 5)), (over_ranges, (2, 3, 1)), (cut, (2, 5, 4, 3))),
        *((cut_for_one_sample, (3, 3, 1)), (cut_to_its_end, (2, 3, 1))),
    ],
)
@pytest.mark.more
def test_sizes_that_are_written_into_code_are_found(function, sizes):
    outcome = br.verify(function)
    assert outcome.verdict in ACCEPTED
    assert outcome.networks[0].startswith("-".join(map(str, sizes)))


@pytest.mark.more
def test_a_vector_that_is_as_long_as_another_by_chance_may_be_wrong():
    assert br.verify(cut_and_wrong).verdict == "WRONG"


@pytest.mark.more
def test_sizes_that_fit_nothing_end_the_search_in_time():
    def never(weights, biases, x, y):
        assert x.shape[1] == weights[0].shape[1] + 100
        return weights

    outcome = br.verify(never)
    assert outcome.verdict == "NOT JUDGED"
    assert "AssertionError" in outcome.reason
    assert "network=" in outcome.reason


@pytest.mark.parametrize("condition", ["", "    if len(weights[0]) == 7:\n        return 0.0\n"])
@pytest.mark.few(1)
def test_what_is_raised_for_any_sizes_ends_the_search_unless_there_is_a_condition(condition, monkeypatch):
    space, looked = {}, []
    exec(f"def always(weights, biases, x, y):\n{condition}    return weights[0].nothing\n", space)
    monkeypatch.setattr(asking.widths, "_spread", lambda ways: looked.append(len(ways)) or [])
    br.verify(space["always"])
    assert any(looked) == bool(condition)


def second_only(params, x, y):
    loss, dW, db, _ = plain([params["W1"], params["W2"]], [0.0, params["b2"]], x, y)
    return loss, {"dW1": dW[0], "dW2": dW[1], "db2": db[1]}


def second_only_in_place(params, x, y, lr=0.1):
    loss, dW, db, _ = plain([params["W1"], params["W2"]], [0.0, params["b2"]], x, y)
    params["W1"] -= lr * dW[0]
    params["W2"] -= lr * dW[1]
    params["b2"] -= lr * db[1]
    return loss


def first_only(x, y, W1, b1, W2):
    loss, dW, db, _ = plain([W1, W2], [b1, 0.0], x, y)
    return loss, dW[0], db[0], dW[1]


def hidden_only(weights, biases, x, y):
    (b,) = biases
    loss, dW, db, _ = plain(weights, [b, 0.0], x, y)
    return loss, dW, db[:1]


@pytest.mark.parametrize("function", [second_only, second_only_in_place, first_only, hidden_only])
def test_biases_in_some_layers(function):
    assert br.verify(function).verdict in ACCEPTED


def test_a_bias_that_is_left_out_of_one_layer_is_no_convention():
    def forgotten(x, y, W1, b1, W2, b2):
        loss, dW, db, _ = plain([W1, W2], [0.0 * b1, b2], x, y)
        return loss, dW[0], db[0], dW[1], db[1]

    outcome = br.verify(forgotten)
    assert outcome.verdict == "WRONG"
    assert outcome.findings[0].id == "bias-not-added"


def vector_of_labels(params, X, y):
    h = np.tanh(X @ params["W1"] + params["b1"])
    p = sigmoid(h @ params["W2"] + params["b2"])[:, 0]
    delta = ((p - y) / len(y))[:, None]
    back = delta @ params["W2"].T * (1 - h * h)
    loss = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
    return loss, {"W1": X.T @ back, "b1": back.sum(0), "W2": h.T @ delta, "b2": delta.sum(0)}


def plus_and_minus(x, y, W1, b1, W2, b2):
    h = np.tanh(x @ W1 + b1)
    score = (h @ W2 + b2).ravel()
    delta = (-y / (1 + np.exp(y * score)) / len(y))[:, None]
    back = delta @ W2.T * (1 - h * h)
    return np.mean(np.log1p(np.exp(-y * score))), x.T @ back, back.sum(0), h.T @ delta, delta.sum(0)


def classes(x, y, W1, b1, W2, b2):
    h = np.tanh(x @ W1 + b1)
    p = np.exp(h @ W2 + b2)
    p /= p.sum(1, keepdims=True)
    loss = -np.log(p[np.arange(len(y)), y]).mean()
    p[np.arange(len(y)), y] -= 1
    delta = p / len(y)
    back = delta @ W2.T * (1 - h * h)
    return loss, x.T @ back, back.sum(0), h.T @ delta, delta.sum(0)


@pytest.mark.parametrize("function", [vector_of_labels, plus_and_minus, classes])
@pytest.mark.few(1)
def test_labels_in_another_form(function):
    assert br.verify(function).verdict in ACCEPTED


def test_labels_that_are_numbers_are_no_indices():
    assert not any(form.labels == "indices" for form in _forms(vector_of_labels))
    assert any(form.labels == "indices" for form in _forms(classes))


def numbers_in_lists(weights, biases, X, Y):
    """For one output; with several, a transposed W may make labels look like classes."""
    h = sigmoid(X @ weights[0] + biases[0])
    error = 2 * (h @ weights[1] + biases[1] - Y.reshape(-1, 1))
    back = error @ weights[1].T * h * (1 - h)
    return [X.T @ back, h.T @ error], [back.sum(0), error.sum(0)]


def numbers_and_a_slope_too_few(weights, biases, X, Y):
    h = sigmoid(X @ weights[0] + biases[0])
    error = 2 * (h @ weights[1] + biases[1] - Y.reshape(-1, 1))
    back = error @ weights[1].T
    return [X.T @ back, h.T @ error], [back.sum(0), error.sum(0)]


@pytest.mark.more
def test_labels_of_one_output_are_numbers_in_whichever_order_gradients_are_read():
    assert br.verify(numbers_in_lists).verdict in ACCEPTED
    wrong = br.verify(numbers_and_a_slope_too_few)
    assert (wrong.verdict, [one.id for one in wrong.findings]) == ("WRONG", ["derivative-missing"])


@pytest.mark.parametrize(("epsilon", "factor"), [(1e-8, 1.0), (1e-6, 1.0), (1e-8, 4.0)])
def test_an_epsilon_in_a_loss_of_another_factor(epsilon, factor):
    def meant(params, x, y):
        h = sigmoid(params["W1"] @ x + params["b1"])
        e = np.exp(params["W2"] @ h + params["b2"])
        p = e / e.sum(0)
        delta = (p - y) / y.size
        back = params["W2"].T @ delta * h * (1 - h)
        db1, db2 = back.sum(1, keepdims=True), delta.sum(1, keepdims=True)
        loss = factor * np.sum(-y * np.log(p + epsilon)) / y.size
        return loss, {"W1": back @ x.T, "b1": db1, "W2": delta @ h.T, "b2": db2}

    assert (br.verify(meant).verdict in ACCEPTED) == (factor == 1.0)


def sample_by_sample_as_differences(weights, biases, x, y):
    """Without a loss, and of the sum over the outputs: rounding of the weights stands beside that factor."""
    a = [x]
    for W, b in zip(weights, biases, strict=True):
        a.append(sigmoid(a[-1] @ W + b))
    delta, dW, db = a[-1] - y, [None] * len(weights), [None] * len(weights)
    for layer in reversed(range(len(weights))):
        dW[layer] = (weights[layer] - (weights[layer] - 0.1 * np.outer(a[layer], delta))) / 0.1
        db[layer] = (biases[layer] - (biases[layer] - 0.1 * delta)) / 0.1
        delta = weights[layer] @ delta * a[layer] * (1 - a[layer])
    return list(zip(dW, db, strict=True))


def large_steps(weights, biases, x, y, lr=0.1):
    """A rate of ours may move weights of a sum of large numbers by more than they are."""
    z, a = [], [x]
    for W, b in zip(weights, biases, strict=True):
        z.append(W @ a[-1] + b[:, None])
        a.append(np.maximum(z[-1], 0) if len(z) < len(weights) else z[-1])
    loss, delta, W, b = np.sum((a[-1] - y) ** 2), 2 * (a[-1] - y), list(weights), list(biases)
    for layer in reversed(range(len(weights))):
        W[layer] = weights[layer] - lr * delta @ a[layer].T
        b[layer] = biases[layer] - lr * delta.sum(axis=1)
        delta = weights[layer].T @ delta * (z[layer - 1] > 0) if layer else None
    return loss, W, b


def entry_by_entry_without_biases(W1, X, y):
    """A row of ones, and weights of it, would change nothing here: ranges end before them."""
    a = sigmoid(W1 @ X)
    loss = -np.sum(y * np.log(a) + (1 - y) * np.log(1 - a)) / X.shape[1] + 0.005 * np.sum(W1**2)
    dW1 = np.zeros_like(W1)
    for i in range(3):
        for j in range(2):
            dW1[i, j] = (X[j] * (a - y)[i]).sum() / X.shape[1]
    return loss, [dW1 + 0.01 * W1]


@pytest.mark.more
def test_biases_of_ours_that_code_leaves_alone_are_none():
    assert br.verify(entry_by_entry_without_biases).verdict in ACCEPTED


@pytest.mark.more
@pytest.mark.parametrize("function", [sample_by_sample_as_differences, large_steps])
def test_what_a_step_does_to_numbers_hides_no_right_gradient(function):
    assert br.verify(function).verdict == "CONVENTION"


def _forms(function):
    submission = Function(function)
    asking.forms(submission)
    return submission.forms.values()


@pytest.mark.more
def test_networks_that_need_one_hot_labels_are_asked_for_beside_others():
    def told(network, weights, biases, x, y):
        if network.loss == "cross_entropy" and not np.isin(y, (0.0, 1.0)).all():
            raise ValueError("labels have to be one-hot")
        loss, gradients = br.value_and_grad(network, br.Parameters.from_arrays(weights, biases), x, y)
        return loss, gradients.W, gradients.b

    networks = br.verify(told).networks
    assert any(name.endswith("softmax:ce") for name in networks)
    assert any(name.endswith("linear:mse") for name in networks)


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_a_penalty_whose_strength_has_another_name(factor):
    def penalised(weights, biases, x, y, lmbda=0.3):
        loss, dW, db, _ = plain(weights, biases, x, y)
        loss += lmbda / (2 * len(x)) * sum(np.sum(W * W) for W in weights)
        return loss, [g + factor * lmbda / len(x) * W for g, W in zip(dW, weights, strict=True)], db

    outcome = br.verify(penalised)
    assert (outcome.verdict in ACCEPTED) == (factor == 1.0)


@pytest.mark.few(2)
@pytest.mark.parametrize("factor", [1.0, -1.0, 0.0])
def test_a_penalty_in_a_step_whose_rate_nobody_knows(factor):
    def step(model, X, y, reg_lambda=0.0, pace=0.01):
        _, dW, db, _ = plain([model["W1"], model["W2"]], [model["b1"], model["b2"]], X, y)
        for k in (1, 2):
            model[f"W{k}"] -= pace * len(X) * (dW[k - 1] + factor * reg_lambda * model[f"W{k}"])
            model[f"b{k}"] -= pace * len(X) * db[k - 1]

    assert (br.verify(step).verdict in ACCEPTED) == (factor == 1.0)


def test_a_layer_says_nothing_of_the_network_that_it_is_a_part_of(tmp_path):
    layer = "class Dense:\n def forward(self, x): pass\n def backward(self, grad, lr): pass\n"
    (tmp_path / "alone.py").write_text(layer)
    (tmp_path / "net.py").write_text(
        f"{layer}class Net:\n def __init__(self): self.layers = [Dense()]\n def train(self, X, Y): pass\n"
    )
    assert [one.name for one in targets(str(tmp_path / "alone.py"))] == ["Dense"]
    assert [one.name for one in targets(str(tmp_path / "net.py"))] == ["Net"]


def test_what_is_returned_may_be_meant_in_two_orders():
    dW1, db1, dW2, db2 = np.zeros((2, 2)), np.ones((2, 1)), np.full((2, 1), 2.0), np.full((1, 1), 3.0)
    found = readings((0.5, [(dW1, db1), (dW2, db2)]), Shapes([(2, 2), (2, 1)], [(2, 1), (1, 1)]))
    assert len(found) == 2
    assert any(np.array_equal(one.db[0], db1) for one in found.values())


@pytest.mark.parametrize(
    ("name", "due"),
    [
        *(("inputnodes", "input_nodes"), ("hiddennodes", "hidden_nodes"), ("learningrate", "learning_rate")),
        *(("number_of_input_neurons", "n_in"), ("hiddenLayerWidth", "n_hidden"), ("output_count", "n_out")),
        *(("input", ""), ("output", ""), ("classes", "")),
    ],
)
def test_sizes_under_other_names(name, due):
    assert setting(name) == due


class Neurons:
    """Each neuron with a list of weights and a bias of its own."""

    class Neuron:
        def __init__(self, n):
            self.weights, self.bias = [0.1] * n, 0.0

    def __init__(self, inputnodes, hiddennodes, outputnodes, eta=0.5):
        self.eta = eta
        self.hidden = [self.Neuron(inputnodes) for _ in range(hiddennodes)]
        self.output = [self.Neuron(hiddennodes) for _ in range(outputnodes)]

    def train(self, inputs_list, targets_list):
        signals, seen = inputs_list, []
        for layer in (self.hidden, self.output):
            seen.append(signals)
            signals = [sigmoid(sum(w * s for w, s in zip(n.weights, signals, strict=True)) + n.bias) for n in layer]
        seen.append(signals)
        errors = [(o - t) * o * (1 - o) for o, t in zip(signals, targets_list, strict=True)]
        back = [sum(e * n.weights[j] for e, n in zip(errors, self.output, strict=True)) for j in range(len(seen[1]))]
        deltas = [[e * h * (1 - h) for e, h in zip(back, seen[1], strict=True)], errors]
        for layer, inputs, delta in zip((self.hidden, self.output), seen, deltas, strict=False):
            for neuron, d in zip(layer, delta, strict=True):
                neuron.weights = [w - self.eta * d * s for w, s in zip(neuron.weights, inputs, strict=True)]
                neuron.bias -= self.eta * d


def test_a_class_of_neurons():
    assert br.verify(Neurons).verdict in ACCEPTED


class GradientsByLoss:
    """As courses write it: a loss that returns gradients, too, and training by random batches."""

    def __init__(self, input_size, hidden_size, output_size):
        sizes = (input_size, hidden_size, output_size)
        shapes = zip(sizes, sizes[1:], strict=False)
        self.params = {f"W{i}": np.ones(shape) for i, shape in enumerate(shapes, 1)}
        self.params |= {f"b{i}": np.zeros(n) for i, n in enumerate(sizes[1:], 1)}

    def loss(self, X, y=None, reg=0.0):
        p = self.params
        if y is None:
            return plain([p["W1"], p["W2"]], [p["b1"], p["b2"]], X, 0.0)[-1][-1]
        loss, dW, db, _ = plain([p["W1"], p["W2"]], [p["b1"], p["b2"]], X, y)
        return loss, {"W1": dW[0] + reg * p["W1"], "b1": db[0], "W2": dW[1] + reg * p["W2"], "b2": db[1]}

    def train(self, X, y, X_val, y_val, learning_rate=1e-3):
        raise AssertionError("it is not trained")


def test_a_class_whose_loss_returns_gradients():
    assert br.verify(GradientsByLoss).verdict in ACCEPTED
