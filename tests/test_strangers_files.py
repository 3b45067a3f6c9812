"""Programs as they lie about: a file alone, training at its top level, losses that are only kept, Adam, weights made in
fit, objects that go back by themselves."""

import ast
import linecache

import numpy as np
import pytest

import backprop_ref as br
from backprop_ref.conformance.dissecting import curves
from backprop_ref.conformance.submissions.labels import labels
from backprop_ref.conformance.submissions.scripts.definitions import define
from backprop_ref.conformance.submissions.steps.targets import targets
from backprop_ref.errors import InvalidInput


def loaded(text, name):
    """What a text defines, which is there to be read."""
    file = f"<{hash(text)}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    space = {"__name__": "text"}
    exec(compile(text, file, "exec"), space)
    return space[name]


def said(text, name, **keywords):
    """The verdict on a text, and the ids of what is off."""
    outcome = br.verify(loaded(text, name), **keywords)
    return outcome.verdict, [found.id for found in outcome.findings]


KEEPS = """
import numpy as np

class Net:
    def __init__(self, n_in, n_hidden, n_out, lr=0.1):
        self.W1, self.b1 = np.random.randn(n_in, n_hidden), np.zeros(n_hidden)
        self.W2, self.b2 = np.random.randn(n_hidden, n_out), np.zeros(n_out)
        self.lr, self.losses = lr, []

    def fit(self, X, y, epochs=10):
        for epoch in range(epochs):
            h = np.tanh(X @ self.W1 + self.b1)
            p = 1 / (1 + np.exp(-(h @ self.W2 + self.b2)))
            KEPT
            d = (p - y) / len(X)
            e = d @ self.W2.T * (1 - h**2)
            self.W2 -= self.lr * h.T @ d
            self.b2 -= self.lr * d.sum(axis=0)
            self.W1 -= self.lr * X.T @ e
            self.b1 -= self.lr * e.sum(axis=0)
"""
ENTROPY = "-np.mean(np.sum(y * np.log(p) + (1 - y) * np.log(1 - p), axis=1))"
SQUARES = "np.mean((p - y) ** 2)"
KEPT = {
    "kept": ("self.losses.append({})", "CONVENTION", "WRONG"),
    "printed": ('print(f"epoch {{epoch}}: loss {{{}:.6f}}")', "CONVENTION", "WRONG"),
}


@pytest.mark.parametrize("how", KEPT)
def test_a_loss_that_is_kept_or_printed_says_which_is_meant(how):
    form, right, wrong = KEPT[how]
    assert said(KEEPS.replace("KEPT", form.format(ENTROPY)), "Net") == (right, [])
    verdict, ids = said(KEEPS.replace("KEPT", form.format(SQUARES)), "Net")
    assert (verdict, ids[:1]) == (wrong, ["output-derivative-missing"])


def test_what_is_no_loss_says_nothing():
    assert said(KEEPS.replace("KEPT", "error = np.mean(np.abs(p - y))"), "Net")[0] == "CONVENTION"


ADAM = """
import numpy as np

class Net:
    def __init__(self, n_in, n_hidden, n_out):
        self.W1, self.b1 = np.random.randn(n_in, n_hidden), np.zeros(n_hidden)
        self.W2, self.b2 = np.random.randn(n_hidden, n_out), np.zeros(n_out)

    def loss(self, X, y):
        h = np.tanh(X @ self.W1 + self.b1)
        d = 2 * (h @ self.W2 + self.b2 - y) / len(X)
        e = d @ self.W2.T * (1 - h**2)
        return len(X) * np.sum(d**2) / 4, {"W1": X.T @ e, "b1": e.sum(axis=0), "W2": h.T @ d, "b2": d.sum(axis=0)}

    def train(self, X, y, lr=0.001, epochs=10):
        for _ in range(epochs):
            loss, gradients = self.loss(X, y)
            for name, g in gradients.items():
                setattr(self, name, getattr(self, name) - lr * g / (np.sqrt(g * g) + 1e-8))
"""


def test_a_step_that_hides_the_gradient_gives_way_to_a_method_that_returns_it():
    network = "3-5-4:tanh,linear:sse"
    assert said(ADAM, "Net", network=network) == ("RIGHT", [])
    assert said(ADAM.replace("(1 - h**2)", "(1 - h)"), "Net", network=network)[1] == ["tanh-slope-linear"]
    alone = br.verify(loaded(ADAM.replace("def loss(", "def _loss(").replace("self.loss(", "self._loss("), "Net"))
    assert (alone.verdict, alone.reason.partition(",")[0]) == ("NOT JUDGED", "each weight moves by the same amount")


IN_FIT = """
import numpy as np

class Regression:
    def __init__(self, lr=0.01, epochs=100):
        self.lr, self.epochs, self.kept = lr, epochs, {}

    def fit(self, X, y):
        self.weights, self.bias = np.zeros(X.shape[1]), 0
        for _ in range(self.epochs):
            p = 1 / (1 + np.exp(-(X @ self.weights + self.bias)))
            self.weights -= self.lr * X.T @ (p - y) / len(X)
            self.bias -= self.lr * np.sum(p - y) / len(X)
"""


@pytest.mark.more
def test_weights_that_are_made_in_fit_are_ours():
    assert said(IN_FIT, "Regression") == ("RIGHT", [])
    assert said(IN_FIT.replace("np.sum(p - y) / len(X)", "np.sum(p - y)"), "Regression") == ("WRONG", ["bias-sum"])
    held = IN_FIT.replace("self.weights, self.bias = np.zeros(X.shape[1]), 0", "PUT")
    held = held.replace("self.weights", 'self.kept["W1"]').replace("self.bias", 'self.kept["b1"]')
    held = held.replace("PUT", 'self.kept["W1"], self.kept["b1"] = np.zeros(X.shape[1]), np.zeros(1)')
    assert said(held, "Regression") == ("RIGHT", [])


SCRIPT = """
import numpy as np
import pandas as pd

data = pd.read_csv("nowhere.csv")
inputs = data.values[:, :3]
expected_output = data.values[:, 3:]
hidden_weights = np.random.uniform(size=(3, 5))
output_weights = np.random.uniform(size=(5, 1))

def sigmoid(x, deriv=False):
    return x * (1 - x) if deriv else 1 / (1 + np.exp(-x))

for epoch in range(10000):
    h = sigmoid(inputs @ hidden_weights)
    p = sigmoid(h @ output_weights)
    error = expected_output - p
    d = error * sigmoid(p, deriv=True)
    e = d @ output_weights.T * sigmoid(h, deriv=True)
    output_weights += h.T @ d
    hidden_weights += inputs.T @ e
"""


@pytest.mark.more
def test_a_file_that_trains_at_its_top_level(tmp_path):
    file = tmp_path / "script.py"
    for text, ids in ((SCRIPT, []), (SCRIPT.replace("= d @", "= error @"), ["error-before-derivative"])):
        file.write_text(text)
        assert [found.id for found in br.verify(str(file)).findings] == ids


def test_what_in_a_file_goes_back_is_found(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(KEEPS + "\ndef sigmoid_gradient(z): ...\ndef forward(X, W): ...\nclass Dense:\n    pass\n")
    assert [one.name for one in targets(str(file))] == ["Net"]
    file.write_text("def forward(X, W): ...\ndef backward(X, y, W, cache): ...\ndef train_it(X, y): ...\n")
    assert [one.name for one in targets(str(file))] == ["backward", "train_it"]
    file.write_text("x = 1\n")
    with pytest.raises(InvalidInput, match="looks like a backward pass"):
        targets(str(file))


def test_definitions_are_there_without_what_trains():
    space = {}
    define(
        ast.parse("rows = open('nowhere')\nrate = 0.5\ndef f():\n    return rate\nf() + missing\n"), space, "mine.py"
    )
    assert space["f"]() == 0.5
    assert "rows" not in space


OBJECTS = """
import math, random

class Value:
    def __init__(self, data, made_of=()):
        self.data, self.grad, self.made_of, self.back = data, 0.0, made_of, lambda: None

    def __add__(self, other):
        out = Value(self.data + other.data, (self, other))
        def back():
            self.grad += out.grad
            other.grad += out.grad
        out.back = back
        return out

    def __mul__(self, other):
        out = Value(self.data * other.data, (self, other))
        def back():
            self.grad += other.data * out.grad
            other.grad += self.data * out.grad
        out.back = back
        return out

    def __sub__(self, other):
        return self + Value(-1.0) * (other if isinstance(other, Value) else Value(other))

    def __pow__(self, n):
        return self * self

    def tanh(self):
        out = Value(math.tanh(self.data), (self,))
        def back():
            self.grad += (1 - out.data**2) * out.grad
        out.back = back
        return out

    def backward(self):
        order = []
        def visit(one):
            if one not in order:
                for part in one.made_of:
                    visit(part)
                order.append(one)
        visit(self)
        self.grad = 1.0
        for one in reversed(order):
            one.back()

class Net:
    def __init__(self, sizes):
        self.W = [[[Value(random.gauss(0, 1)) for _ in range(n)] for _ in range(m)] for m, n in zip(sizes, sizes[1:])]
        self.b = [[Value(0.0) for _ in range(n)] for n in sizes[1:]]

    def __call__(self, x):
        a = [Value(one) for one in x]
        for W, b in zip(self.W, self.b):
            z = list(b)
            for j in range(len(b)):
                for k in range(len(a)):
                    z[j] = z[j] + a[k] * W[k][j]
            a = [one.tanh() for one in z]
        return a
"""


def test_operations_of_objects_that_go_back_by_themselves():
    network = "2-3-2:tanh,tanh:sse"
    assert said(OBJECTS, "Net", network=network) == ("RIGHT", [])
    wrong = br.verify(loaded(OBJECTS.replace("+= self.data * out", "+= other.data * out"), "Net"), network=network)
    assert "the gradient of *, operand 2 is not" in wrong.findings[0].text
    kept = OBJECTS.replace("            other.grad += self.data", "            other.grad = self.data")
    twice = br.verify(loaded(kept, "Net"), network=network).findings[0]
    assert (twice.id, twice.measured.partition(":")[0]) == (
        "overwritten-sum",
        "the gradient of *, operand 2, of an operand used twice",
    )


@pytest.mark.more
def test_sums_overwritten_in_the_order_of_a_set():
    text = OBJECTS.replace("            other.grad += self.data", "            other.grad = self.data")
    text = text.replace("            self.grad += other.data", "            self.grad = other.data")
    text = text.replace("in one.made_of:", "in random.sample(one.made_of, len(one.made_of)):")
    assert said(text, "Net", network="2-3-2:tanh,tanh:sse") == ("WRONG", ["overwritten-sum"])


ONE = """
import numpy as np

def gradients(W1, b1, W2, b2, X, Y):
    Y = Y.reshape(1, -1)
    A = np.tanh(W1 @ X + b1)
    D = (W2 @ A + b2 - Y) / Y.size
    E = W2.T @ D * (1 - A**2)
    return E @ X.T, E.sum(axis=1, keepdims=True), D @ A.T, D.sum(axis=1, keepdims=True)
"""


def test_code_that_reads_one_label_is_for_one_output():
    outcome = br.verify(loaded(ONE, "gradients"))
    assert (outcome.verdict, outcome.networks[0].partition(":")[0][-2:]) == ("CONVENTION", "-1")


@pytest.mark.parametrize(
    ("slope", "words"),
    [
        (lambda z, a: 3.0 * (1.0 - a) ** 2, "3 times ((1 − a)²) stands"),
        (lambda z, a: (z <= 0.0) * 1.0, "1 where z ≤ 0, else 0 stands"),
        (lambda z, a: np.arctan(z), "another curve stands for the derivative φ'(z): -"),
        (lambda z, a: np.cos(1e3 * z), ""),
    ],
)
def test_a_derivative_is_measured(slope, words):
    rng = np.random.default_rng(3)
    z, da = rng.normal(size=(2, 7, 5))
    found = curves.in_words(z, np.tanh(z), da, da * slope(z, np.tanh(z)), 1e-9)
    assert found.startswith(words)
    assert bool(found) == bool(words)


ONE_OUTPUT = """
import numpy as np

def backward(weights, biases, X, y):
    y, out = y.reshape(-1, 1), [X]
    for W, b in zip(weights, biases):
        out.append(np.tanh(out[-1] @ W.T + b))
    dW, db, error = [None] * len(weights), [None] * len(weights), out[-1] - y
    for l in reversed(range(len(weights))):
        delta = error * (1 - out[l + 1] ** 2)
        dW[l], db[l], error = delta.T @ out[l], delta.sum(axis=0), delta @ weights[l]
    return dW, db
"""

WRITTEN_SIZES = """
import numpy as np

def gradients(X, y, weights, biases):
    (W1, W2), (b1, b2) = weights, biases
    W1, W2 = W1.reshape(3, 3), W2.reshape(1, 3)
    a = np.tanh(W1 @ X + b1)
    p = 1 / (1 + np.exp(-(W2 @ a + b2)))
    delta = 2 * (p - y) * p * (1 - p) / X.shape[1]
    back = W2.T @ delta * (1 - a**2)
    sums = [part.sum(axis=1, keepdims=True) for part in (back, delta)]
    return np.mean((p - y) ** 2), [(back @ X.T, sums[0]), (delta @ a.T, sums[1])]
"""


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("text", "name", "right", "wrong"),
    [
        (ONE_OUTPUT, "backward", "(1 - out[l + 1] ** 2)", "out[l + 1]"),  # one label of each row, and no loss
        (WRITTEN_SIZES, "gradients", "(1 - a**2)", "a"),  # pairs of two layers that could be two lists
    ],
)
def test_functions_for_one_output(text, name, right, wrong):
    assert said(text, name)[0] in {"RIGHT", "CONVENTION"}
    verdict, ids = said(text.replace(right, wrong), name)
    assert (verdict, ids[0]) == ("WRONG", "activation-for-derivative")


ESTIMATOR = """
import numpy as np

class Scratch:
    def __init__(self, hidden_layer_sizes=(16,), learning_rate=0.01, max_iter=200, alpha=0.0):
        self.hidden_layer_sizes, self.learning_rate = hidden_layer_sizes, learning_rate
        self.max_iter, self.alpha = max_iter, alpha

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        T = (y[:, None] == self.classes_).astype(float)
        sizes = [X.shape[1], *self.hidden_layer_sizes, len(self.classes_)]
        self.coefs_ = [np.random.normal(size=pair) for pair in zip(sizes, sizes[1:])]
        self.intercepts_ = [np.zeros(n) for n in sizes[1:]]
        for _ in range(self.max_iter):
            h = np.maximum(X @ self.coefs_[0] + self.intercepts_[0], 0)
            e = np.exp(h @ self.coefs_[1] + self.intercepts_[1])
            delta = (e / e.sum(axis=1, keepdims=True) - T) / len(X)
            down = delta @ self.coefs_[1].T * (h > 0)
            for layer, (a, d) in enumerate(((X, down), (h, delta))):
                self.coefs_[layer] -= self.learning_rate * (a.T @ d + self.alpha * self.coefs_[layer])
                self.intercepts_[layer] -= self.learning_rate * d.sum(axis=0)
        return self
"""


@pytest.mark.more
def test_an_estimator_that_finds_its_classes_in_the_labels():
    assert said(ESTIMATOR, "Scratch") == ("RIGHT", [])
    assert said(ESTIMATOR.replace(" * (h > 0)", ""), "Scratch")[0] == "WRONG"


def test_labels_know_their_classes():
    known = labels(np.array([1, 0]), 4)
    assert np.unique(known).tolist() == [0, 1, 2, 3]
    assert np.unique(known + 1, return_counts=True)[0].tolist() == [1, 2]
