"""Scripts as tutorials write them are judged without flags: several functions, one neuron, objects, one column."""

import linecache

import numpy as np
import pytest
from corpus import whole

import backprop_ref as br

ACCEPTED = {"RIGHT", "CONVENTION"}
SEEDS = {"steps": (0, 1, 2, 3), "neuron": (0, 1, 2, 3, 4, 5), "objects": (0, 1), "column": (0, 1)}
SCRIPTS = [
    pytest.param(kind, seed, marks=() if 2 * seed < len(seeds) else pytest.mark.more)
    for kind, seeds in SEEDS.items()
    for seed in seeds
]


def loaded(program):
    """What is to be judged, its text being there to be read."""
    file = f"<{program.key}>"
    linecache.cache[file] = (len(program.source), None, program.source.splitlines(keepends=True), file)
    space = {"__name__": program.key}
    exec(compile(program.source, file, "exec"), space)
    return space[program.name]


def verdict(text, name):
    """That on a text."""
    return br.verify(loaded(whole.Program("text", "text", text, name, "right")))


@pytest.mark.few(1)
@pytest.mark.parametrize("kind", whole.KINDS)
def test_scripts_are_right_or_wrong_as_they_say(kind):
    for seed in range(12):
        assert whole.is_right(whole.program(kind, seed, bug=False))
        assert not whole.is_right(whole.program(kind, seed, bug=True))


@pytest.mark.few(2)
@pytest.mark.parametrize(("kind", "seed"), SCRIPTS)
def test_right_scripts_are_accepted(kind, seed):
    assert br.verify(loaded(whole.program(kind, seed, bug=False))).verdict in ACCEPTED


@pytest.mark.few(1)
@pytest.mark.parametrize(("kind", "seed"), SCRIPTS)
def test_wrong_scripts_are_named(kind, seed):
    program = whole.program(kind, seed, bug=True)
    outcome = br.verify(loaded(program))
    (bug,) = program.planted
    assert outcome.verdict == "WRONG"
    first = outcome.findings[0]
    assert first.id in {bug.id, *bug.also} or (first.quantity, *first.layers) == (bug.rule, *bug.layers)


CLASSES = """
import numpy as np

class Net:
    def __init__(self, n_in, n_hidden, n_out, lr=0.1):
        self.W1, self.b1 = np.random.randn(n_in, n_hidden), np.zeros(n_hidden)
        self.W2, self.b2 = np.random.randn(n_hidden, n_out), np.zeros(n_out)
        self.lr = lr

    def fit(self, X, y, epochs=10):
        for _ in range(epochs):
            order = np.random.permutation(len(X))
            for start in range(0, len(X), 4):
                rows = order[start : start + 4]
                h = np.tanh(X[rows] @ self.W1 + self.b1)
                d = (h @ self.W2 + self.b2 - y[rows]) / len(rows)
                e = d @ self.W2.T * (1 - h**2)
                self.W2 -= self.lr * h.T @ d
                self.b2 -= self.lr * d.sum(axis=0)
                self.W1 -= self.lr * X[rows].T @ e
                self.b1 -= self.lr * e.sum(axis=0)
"""


@pytest.mark.more
def test_shuffled_parts_of_a_batch_are_judged_by_a_part():
    assert verdict(CLASSES, "Net").verdict == "CONVENTION"
    wrong = verdict(CLASSES.replace("(1 - h**2)", "h * (1 - h)"), "Net")
    assert [found.id for found in wrong.findings] == ["tanh-slope-of-sigmoid"]
    first = CLASSES.replace("order = np.random.permutation(len(X))", "order = np.arange(1)")
    assert verdict(first, "Net").findings[0].id == "first-sample-only"


LABELS = """
import numpy as np

def forward(W1, b1, W2, b2, X):
    Z1 = W1 @ X + b1
    A1 = np.maximum(Z1, 0)
    Z2 = W2 @ A1 + b2
    A2 = np.exp(Z2) / sum(np.exp(Z2))
    return Z1, A1, Z2, A2

def one_hot(Y):
    found = np.zeros((Y.size, Y.max() + 1))
    found[np.arange(Y.size), Y] = 1
    return found.T

def backward(Z1, A1, Z2, A2, W1, W2, X, Y):
    m = Y.size
    dZ2 = A2 - one_hot(Y)
    dZ1 = W2.T @ dZ2 * (Z1 > 0)
    return dZ1 @ X.T / m, SUM_OF(dZ1) / m, dZ2 @ A1.T / m, SUM_OF(dZ2) / m
"""


def test_as_many_classes_as_the_largest_label_says():
    right = LABELS.replace("SUM_OF(dZ1)", "dZ1.sum(axis=1, keepdims=True)")
    right = right.replace("SUM_OF(dZ2)", "dZ2.sum(axis=1, keepdims=True)")
    assert verdict(right, "backward").verdict == "RIGHT"


def test_one_number_in_a_dictionary_is_the_db_of_its_only_layer():
    def gradients(W, b, x, y):
        p = 1 / (1 + np.exp(-(x @ W + b)))
        loss = -np.mean(np.sum(y * np.log(p) + (1 - y) * np.log(1 - p), axis=1))
        return {"dW": x.T @ (p - y) / len(x), "db": np.sum(p - y) / len(x)}, loss

    assert [found.id for found in br.verify(gradients, network="3-4:sigmoid:bce").findings] == ["bias-all-equal"]


@pytest.mark.more
def test_one_number_for_the_biases_of_a_layer_is_read():
    wrong = verdict(LABELS.replace("SUM_OF", "np.sum"), "backward")
    assert [(found.id, found.layers) for found in wrong.findings] == [("bias-all-equal", (0, 1))]


def test_columns_that_are_not_summed_are_wrong_where_code_speaks_of_a_batch():
    source = whole.program("column", 1, bug=False).source
    assert verdict(source, "backprop").verdict in ACCEPTED
    batched = source.replace("    nabla_b[-1] = delta\n", "    print(np.mean(delta))\n    nabla_b[-1] = delta\n")
    assert [found.id for found in verdict(batched, "backprop").findings] == ["bias-not-summed"]


def test_a_training_function_without_weights_is_not_judged():
    text = "import numpy as np\ndef train(X, y, n_hidden, lr=0.1, epochs=9):\n    return np.ones((3, n_hidden))\n"
    assert verdict(text, "train").verdict == "NOT JUDGED"


def test_objects_of_arrays_go_back_too():
    text = """
import numpy as np

class Tensor:
    def __init__(self, data, back=lambda g: None):
        self.data, self.back = np.asarray(data, dtype=float), back
        self.grad = np.zeros_like(self.data)

    def pull(self, g):
        self.grad = self.grad + (g if g.shape == self.data.shape else g.sum(axis=0))
        self.back(g)

    def backward(self):
        self.pull(np.ones_like(self.data))

    def __matmul__(self, o):
        return Tensor(self.data @ o.data, lambda g: (self.pull(g @ o.data.T), o.pull(self.data.T @ g)))

    def __add__(self, o):
        return Tensor(self.data + o.data, lambda g: (self.pull(g), o.pull(g)))

    def __sub__(self, o):
        return Tensor(self.data - o.data, lambda g: (self.pull(g), o.pull(-g)))

    def __mul__(self, o):
        o = o if isinstance(o, Tensor) else Tensor(np.full(self.data.shape, o))
        return Tensor(self.data * o.data, lambda g: (self.pull(g * o.data), o.pull(g * self.data)))

    def sum(self):
        return Tensor(self.data.sum(), lambda g: self.pull(np.full(self.data.shape, g)))

    def tanh(self):
        a = np.tanh(self.data)
        return Tensor(a, lambda g: self.pull(g * (1 - a**2)))

class Model:
    def __init__(self, sizes):
        self.W = [Tensor(np.random.randn(*pair)) for pair in zip(sizes, sizes[1:])]
        self.b = [Tensor(np.zeros(n)) for n in sizes[1:]]

    def forward(self, x):
        for W, b in zip(self.W, self.b):
            x = (x @ W + b).tanh()
        return x
"""
    assert verdict(text, "Model").verdict == "RIGHT"
    wrong = verdict(text.replace("(1 - a**2)", "(1 - a)"), "Model")
    assert [found.id for found in wrong.findings] == ["tanh-slope-linear"]


def test_labels_know_their_last_class():
    from backprop_ref.conformance.submissions.labels import labels

    few = labels(np.array([0, 1]), 4)
    assert few.max() == np.max(few) == 3
    assert (few * 1.0).max() == 1.0
    assert few[:1].max() == 3


OF_ITS_MODULE = """
import numpy as np

X, y = np.zeros((8, 3)), np.zeros((8, 2))
W1, W2 = np.zeros((3, 4)), np.zeros((4, 2))
half = np.full(8, 0.5)[:, None]

def gradients(W1, W2):
    h = np.tanh(X @ W1)
    d = half * (h @ W2 - y)
    return X.T @ (d @ W2.T * (1 - h**2)), h.T @ d

def step():
    global W1, W2
    dW1, dW2 = gradients(W1, W2)
    W1 = W1 - 0.1 * dW1
    W2 = W2 - 0.1 * dW2
"""


@pytest.mark.few(2)
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gradients", "it takes no x and y; it reads X and y of its module (line 9): give them as arguments"),
        ("step", "it takes no weights, x and y; it reads W1, W2, X and y of its module (line 9): give them as"),
    ],
)
def test_data_of_the_module_that_cannot_be_given_are_named(name, said):
    outcome = verdict(OF_ITS_MODULE, name)
    assert outcome.verdict == "NOT JUDGED"
    assert outcome.reason.startswith(said)


@pytest.mark.parametrize(("changed", "expected"), [("1 - h**2", "CONVENTION"), ("h * (1 - h)", "WRONG")])
@pytest.mark.few(1)
def test_data_of_the_module_are_given_where_nothing_is_made_of_them(changed, expected):
    text = OF_ITS_MODULE.replace("half * ", "").replace("1 - h**2", changed)
    assert verdict(text, "gradients").verdict == expected


@pytest.mark.parametrize("made", ["len(X) / 16", "{'half': 0.5}", "X.dot"])
def test_data_of_the_module_are_not_given_where_something_may_be_made_of_them(made):
    text = OF_ITS_MODULE.replace("np.full(8, 0.5)[:, None]", made)
    assert verdict(text, "gradients").reason.startswith("it takes no x and y; it reads X and y")
