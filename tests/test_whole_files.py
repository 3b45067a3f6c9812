"""Files whose script trains, steps of Adam, and other right code that was once called wrong."""

import ast

import numpy as np
import pytest

import backprop_ref as br
from backprop_ref.conformance.measuring import verify
from backprop_ref.conformance.submissions.scripts.epochs import one_epoch
from backprop_ref.conformance.submissions.steps.slots import Slots
from backprop_ref.conformance.submissions.steps.targets import targets

LAYERS = """
import numpy as np

class Dense:
    def __init__(self, n_in, n_out):
        self.weights, self.bias = np.random.randn(n_out, n_in), np.random.randn(n_out, 1)

    def forward(self, x):
        self.x = x
        return self.weights @ x + self.bias

    def backward(self, grad, learning_rate):
        down = self.weights.T @ grad
        self.weights -= learning_rate * grad @ self.x.T
        self.bias -= learning_rate * grad
        return down

class Tanh:
    def forward(self, x):
        self.x = x
        return np.tanh(x)

    def backward(self, grad, learning_rate):
        return grad * (1 - np.tanh(self.x) ** 2)

def train(network, x_train, y_train, epochs=1000, learning_rate=0.01):
    for _ in range(epochs):
        for x, y in zip(x_train, y_train):
            out = x
            for layer in network:
                out = layer.forward(out)
            grad = 2 * (out - y)
            for layer in reversed(network):
                grad = layer.backward(grad, learning_rate)

X = np.reshape([[0, 0], [0, 1], [1, 0], [1, 1]], (4, 2, 1))
Y = np.reshape([[0], [1], [1], [0]], (4, 1, 1))
network = [Dense(2, 3), Tanh(), Dense(3, 1), Tanh()]
"""
TRAINS = "train(network, X, Y, epochs=10000, learning_rate=0.1)\n"
GLOBALS = """
import numpy as np
X, Y = np.eye(4, 3), np.array([[0], [1], [1], [0.0]])
w1, w2 = np.random.randn(3, 5), np.random.randn(5, 1)

def sigmoid(z):
    return 1 / (1 + np.exp(-z))

def train():
    global w1, w2
    h = sigmoid(X @ w1)
    p = sigmoid(h @ w2)
    d2 = (p - Y) * p * (1 - p)
    d1 = d2 @ w2.T * h * (1 - h)
    w2 -= 0.1 * h.T @ d2
    w1 -= 0.1 * X.T @ d1
"""


def of(tmp_path, text, name=""):
    """The outcome for a file, or for something in it."""
    (tmp_path / "mine.py").write_text(text)
    return br.verify(f"{tmp_path / 'mine.py'}{name and ':'}{name}")


@pytest.mark.more
def test_a_script_that_trains_a_network_of_layers_is_judged_as_a_whole(tmp_path):
    assert not of(tmp_path, LAYERS + TRAINS).exit
    wrong = of(tmp_path, LAYERS.replace("np.tanh(self.x) ** 2", "self.x ** 2") + TRAINS)
    assert [found.id for found in wrong.findings] == ["derivative-fed-z"]


@pytest.mark.more
def test_a_layer_that_is_right_does_not_make_its_file_right(tmp_path):
    outcome = of(tmp_path, LAYERS.replace("np.tanh(self.x) ** 2", "self.x ** 2"))
    assert outcome.verdict == "NOT JUDGED"


@pytest.mark.more
def test_a_function_that_changes_weights_of_its_module(tmp_path):
    assert not of(tmp_path, GLOBALS, "train").exit
    wrong = of(tmp_path, GLOBALS.replace("* h * (1 - h)", "* h"), "train")
    assert [found.id for found in wrong.findings] == ["activation-for-derivative"]


class Adaptive:
    """A first step of Adam, or of RMSprop, which hides the gradient."""

    adam, slope = True, staticmethod(lambda h: 1 - h**2)

    def __init__(self, n_in, n_hidden, n_out, learning_rate=0.001):
        sizes = {"W1": (n_in, n_hidden), "b1": n_hidden, "W2": (n_hidden, n_out), "b2": n_out}
        self.params = {name: np.random.default_rng(0).normal(size=size) for name, size in sizes.items()}
        self.m, self.v = ({f"d{name}": 0.0 * part for name, part in self.params.items()} for _ in range(2))
        self.learning_rate = learning_rate

    def fit(self, X, y, epochs=1):
        for _ in range(epochs):
            W1, b1, W2, b2 = self.params.values()
            h = np.tanh(X @ W1 + b1)
            d2 = 2 * (h @ W2 + b2 - y) / len(X)
            d1 = d2 @ W2.T * self.slope(h)
            for name, g in zip(self.params, (X.T @ d1, d1.sum(0), h.T @ d2, d2.sum(0)), strict=True):
                key = f"d{name}"
                self.m[key] = 0.9 * self.m[key] + 0.1 * g if self.adam else self.m[key]
                self.v[key] = 0.999 * self.v[key] + 0.001 * g**2
                step = self.m[key] / 0.1 / (np.sqrt(self.v[key] / 0.001) + 1e-8)
                step = step if self.adam else g / (np.sqrt(self.v[key]) + 1e-8)
                self.params[name] = self.params[name] - self.learning_rate * step


def test_the_gradient_is_read_from_the_moments_of_a_step():
    wrong = type("Wrong", (Adaptive,), {"slope": staticmethod(lambda h: 1 - h)})
    found = br.verify(wrong, network="3-5-4:tanh,linear:sse").findings
    assert [one.id for one in found] == ["tanh-slope-linear"]


@pytest.mark.more
@pytest.mark.parametrize("adam", [True, False])
def test_moments_of_a_network_that_is_found_out(adam):
    right = type("Right", (Adaptive,), {"adam": adam})
    wrong = type("Wrong", (Adaptive,), {"adam": adam, "slope": staticmethod(lambda h: 1 - h)})
    assert not br.verify(right).exit
    assert [found.id for found in br.verify(wrong).findings] == ["tanh-slope-linear"]


def test_a_function_that_makes_a_step_of_adam_is_not_judged_by_it():
    state: dict[str, list] = {"m": [], "v": []}

    def train_step(W1, b1, W2, b2, X, y):
        params = [W1, b1, W2, b2]
        h = np.tanh(X @ W1 + b1)
        d2 = 2 * (h @ W2 + b2 - y) / len(X)
        d1 = d2 @ W2.T * (1 - h**2)
        if not state["m"]:
            state["m"], state["v"] = ([0.0 * part for part in params] for _ in range(2))
        for part, g, m, v in zip(params, (X.T @ d1, d1.sum(0), h.T @ d2, d2.sum(0)), *state.values(), strict=True):
            m += 0.1 * (g - m)
            v += 0.001 * (g**2 - v)
            part -= 0.01 * m / (np.sqrt(v) + 1e-8)

    outcome = br.verify(train_step)
    assert outcome.verdict == "NOT JUDGED"
    assert "Adam" in outcome.reason


@pytest.mark.more
def test_one_layer_whose_W_is_no_list():
    def softmax(W, b, X, Y):
        e = np.exp(X @ W + b)
        p = e / e.sum(axis=1, keepdims=True)
        g = 2 * (p - Y) / len(X)
        dz = p * (g - (g * p).sum(axis=1, keepdims=True))
        return np.mean(np.sum((p - Y) ** 2, axis=1)), X.T @ dz, dz.sum(axis=0)

    def regression(X, y, w, b):
        error = X @ w + b - y
        return X.T @ error / len(y), error.mean()

    assert br.verify(softmax).verdict == "RIGHT"
    assert br.verify(regression).verdict == "CONVENTION"


@pytest.mark.more
def test_batch_normalisation_whose_bias_has_a_gradient_of_rounding():
    def right(W1, b1, W2, b2, x, y):
        z = x @ W1 + b1
        size = np.sqrt(z.var(0) + 1e-5)
        n = (z - z.mean(0)) / size
        a = np.tanh(n)
        error = a @ W2 + b2 - y
        d2 = error / len(x)
        dn = d2 @ W2.T * (1 - a**2)
        d1 = (dn - dn.mean(0) - n * (dn * n).mean(0)) / size
        return 0.5 * np.sum(error**2) / len(x), (x.T @ d1, d1.sum(0), a.T @ d2, d2.sum(0))

    def wrong(W1, b1, W2, b2, x, y):
        loss, (dW1, *others) = right(W1, b1, W2, b2, x, y)
        return loss, (1.01 * dW1, *others)

    assert br.verify(right).verdict == "RIGHT IN ITS OWN TERMS"
    assert br.verify(wrong).verdict == "WRONG"


NUMBERS = """
import numpy as np

def sigmoid(z):
    return 1 / (1 + np.exp(-z))

class Net:
    def __init__(self):
        self.w1, self.w2, self.w3, self.w4, self.w5, self.w6 = np.random.normal(size=6)
        self.b1, self.b2, self.b3 = np.random.normal(size=3)

    def train(self, data, labels):
        epochs = 1000
        for epoch in range(epochs):
            for x, y in zip(data, labels):
                h1 = sigmoid(self.w1 * x[0] + self.w2 * x[1] + self.b1)
                h2 = sigmoid(self.w3 * x[0] + self.w4 * x[1] + self.b2)
                o = sigmoid(self.w5 * h1 + self.w6 * h2 + self.b3)
                d = -2 * (y - o) * o * (1 - o)
                d1, d2 = d * self.w5 * h1 * (1 - h1), d * self.w6 * h2 * (1 - h2)
                self.w1 -= 0.1 * d1 * x[0]
                self.w2 -= 0.1 * d1 * x[1]
                self.w3 -= 0.1 * d2 * x[0]
                self.w4 -= 0.1 * d2 * x[1]
                self.w5 -= 0.1 * d * h1
                self.w6 -= 0.1 * d * h2
                self.b1 -= 0.1 * d1
                self.b2 -= 0.1 * d2
                self.b3 -= 0.1 * d
"""


@pytest.mark.more
def test_weights_that_are_numbers_and_epochs_that_are_written_in_the_code(tmp_path):
    assert of(tmp_path, NUMBERS).verdict == "RIGHT"
    wrong = of(tmp_path, NUMBERS.replace("self.w5 * h1 * (1 - h1)", "self.w5 * h1"))
    assert wrong.verdict == "WRONG"


def test_weights_that_are_numbers_are_those_of_neurons():
    space: dict = {}
    exec(NUMBERS, space)
    net = space["Net"]()
    slots = Slots(net, (2, 2, 1))
    slots.set([np.array([[1.0, 3.0], [2.0, 4.0]]), np.array([[5.0], [6.0]])], [np.array([7.0, 8.0]), np.array([9.0])])
    assert [net.w1, net.w2, net.w3, net.w4, net.w5, net.w6, net.b1, net.b2, net.b3] == [*range(1, 10)]
    assert [part.tolist() for part in slots.get()[0]] == [[[1.0, 3.0], [2.0, 4.0]], [[5.0], [6.0]]]


def test_one_epoch_is_run_of_those_that_are_written_in_functions():
    tree = ast.parse(
        "epochs = 9\ndef f(n):\n    epochs = 9\n"
        "    for epoch in range(9):\n        for k in range(9):\n            p = 9\n"
    )
    assert one_epoch(tree)
    assert ast.unparse(tree).count("9") == 3


def test_what_others_call_is_tried_last(tmp_path):
    text = "def backward(x, y):\n    return step_back(x, y)\n"
    text = "def step_back(W, X, y, cache, rate):\n    pass\n" + text.replace("backward", "model_gradient")
    (tmp_path / "mine.py").write_text(text)
    assert [one.name for one in targets(str(tmp_path / "mine.py"))] == ["model_gradient", "step_back"]


@pytest.mark.more
def test_a_file_is_not_tried_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(verify, "SECONDS", 0.0)
    fails = "def backward(W, x, y):\n    raise ValueError\ndef gradients(W, x, y):\n    raise ValueError\n"
    assert "nothing else in the file was tried" in of(tmp_path, fails).reason


MAKES_ITS_OWN = """
import numpy as np
X, y = np.random.randn(20, 3), np.random.randint(0, 4, 20)
count, penalty = len(X), 0.0

def build(hidden, passes=2000):
    W1, b1 = np.random.randn(3, hidden), np.zeros((1, hidden))
    W2, b2 = np.random.randn(hidden, 4), np.zeros((1, 4))
    for i in range(passes):
        a = np.tanh(X @ W1 + b1)
        p = np.exp(a @ W2 + b2)
        d = p / p.sum(axis=1, keepdims=True)
        d[range(count), y] -= 1
        back = d @ W2.T * (1 - a**2)
        W2 -= 0.01 * a.T @ d
        W1 -= 0.01 * X.T @ back
        b2 -= 0.01 * d.sum(axis=0, keepdims=True)
        b1 -= 0.01 * back.sum(axis=0, keepdims=True)
    return W1, b1, W2, b2

model = build(3)
"""
OF_ONE_OUTPUT = """
import numpy as np
features, targets = np.random.randn(20, 3), np.random.rand(20)
weights_hidden, weights_output = np.random.randn(3, 2), np.random.randn(2)
for e in range(900):
    step_hidden, step_output = np.zeros(weights_hidden.shape), np.zeros(weights_output.shape)
    for x, y in zip(features, targets):
        hidden = np.tanh(np.dot(x, weights_hidden))
        error = y - np.dot(hidden, weights_output)
        step_output += error * hidden
        step_hidden += np.dot(error, weights_output) * (1 - hidden**2) * x[:, None]
    weights_hidden += 0.1 * step_hidden
    weights_output += 0.1 * step_output
"""
PENALTY = """
import numpy as np

def cost(theta1, theta2, X, y, lambda_):
    m = len(X)
    a1 = np.c_[np.ones(m), X]
    a2 = np.c_[np.ones(m), np.tanh(a1 @ theta1)]
    d = a2 @ theta2 - y
    J = (d**2).sum() / (2 * m) + lambda_ / (2 * m) * ((theta1[1:] ** 2).sum() + (theta2[1:] ** 2).sum())
    back = (d @ theta2.T)[:, 1:] * (1 - a2[:, 1:] ** 2)
    grad1, grad2 = a1.T @ back / m, a2.T @ d / m
    grad1[1:] += lambda_ / m * theta1[1:]
    grad2[1:] += lambda_ / m * theta2[1:]
    return J, grad1, grad2
"""
ONE_HOT = """
import numpy as np

def gradients(p, x, y):
    z = x @ p.W1 + p.b1
    s = np.log1p(np.exp(z))
    q = np.exp(z * np.tanh(s) @ p.W2 + p.b2)
    q /= q.sum(axis=1, keepdims=True)
    d = (q - y) / len(x)
    back = d @ p.W2.T * (np.tanh(s) + z * (1 - np.tanh(s) ** 2) / (1 + np.exp(-z)))
    loss = -np.mean(np.log((q * y).sum(axis=1)))
    return loss, (x.T @ back, back.sum(axis=0), (z * np.tanh(s)).T @ d, d.sum(axis=0))
"""
NETZ = """
import numpy as np

lernrate = 0.1

class Netz:
    def __init__(self, eingaben, verdeckt, ausgaben):
        self.gewichte1, self.schwelle1 = np.random.randn(eingaben, verdeckt), np.zeros(verdeckt)
        self.gewichte2, self.schwelle2 = np.random.randn(verdeckt, ausgaben), np.zeros(ausgaben)

    def lerne(self, eingabe, ziel):
        a = np.tanh(eingabe @ self.gewichte1 + self.schwelle1)
        p = np.exp(a @ self.gewichte2 + self.schwelle2)
        p /= p.sum(axis=1, keepdims=True)
        d = (p - ziel) / len(ziel)
        back = d @ self.gewichte2.T * (1 - a**2)
        self.gewichte1 -= lernrate * eingabe.T @ back
        self.schwelle1 -= lernrate * back.sum(axis=0)
        self.gewichte2 -= lernrate * a.T @ d
        self.schwelle2 -= lernrate * d.sum(axis=0)
        return -(ziel * np.log(p + 1e-5)).sum() / len(ziel)
"""
COSTS = """
import numpy as np

def sigmoid(z):
    return 1 / (1 + np.exp(-z))

class Network:
    def __init__(self, sizes):
        self.biases = [np.random.randn(n, 1) for n in sizes[1:]]
        self.weights = [np.random.randn(n, m) for m, n in zip(sizes, sizes[1:])]

    def total_cost(self, data):
        total = 0.0
        for a, y in data:
            for w, b in zip(self.weights, self.biases):
                a = sigmoid(w @ a + b)
            total -= np.sum(y * np.log(a) + (1 - y) * np.log(1 - a))
        return total / len(data)

    def update_mini_batch(self, batch, eta):
        steps = [self.backprop(x, y) for x, y in batch]
        for layer in range(len(self.weights)):
            self.weights[layer] = self.weights[layer] - eta / len(batch) * sum(dw[layer] for dw, _ in steps)
            self.biases[layer] = self.biases[layer] - eta / len(batch) * sum(db[layer] for _, db in steps)

    def backprop(self, x, y):
        a = [x]
        for w, b in zip(self.weights, self.biases):
            a.append(sigmoid(w @ a[-1] + b))
        d, dw, db = a[-1] - y, [], []
        for layer in reversed(range(len(self.weights))):
            dw.insert(0, d @ a[layer].T)
            db.insert(0, d)
            d = self.weights[layer].T @ d * a[layer] * (1 - a[layer])
        return dw, db
"""


@pytest.mark.more
@pytest.mark.parametrize(
    ("text", "right", "wrong", "bug"),
    [
        (MAKES_ITS_OWN, "(1 - a**2)", "(1 - a)", "tanh-slope-linear"),
        (OF_ONE_OUTPUT, "step_hidden +=", "step_hidden =", "last-sample-only"),
        (PENALTY, "grad1[1:] += lambda_ / m * theta1[1:]", "grad1 += lambda_ / m * theta1", "decay-on-bias"),
        (ONE_HOT, "* (np.tanh(s) + z * (1 - np.tanh(s) ** 2) / (1 + np.exp(-z)))", "", "derivative-missing"),
        (NETZ, "* (1 - a**2)", "", "derivative-missing"),
        (COSTS, "a[-1] - y, [], []", "(a[-1] - y) * a[-1] * (1 - a[-1]), [], []", "sigmoid-extra-derivative"),
        (COSTS, "return dw, db", "return dw, db[::-1]", "bias-of-other-layer"),
    ],
)
def test_files_that_nobody_wrote_for_a_check(tmp_path, text, right, wrong, bug):
    assert of(tmp_path, text).exit == 0
    found = of(tmp_path, text.replace(right, wrong))
    assert (found.verdict, found.findings[0].id) == ("WRONG", bug)
