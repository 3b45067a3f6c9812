"""Networks as classes, as tutorials write them; all compute the gradient of `strangers.plain`, some without biases."""

import numpy as np
from strangers import plain, sigmoid


class Fit:
    def __init__(self, layer_sizes, lr=0.1):
        self.lr = lr
        self.weights = [np.random.randn(*shape) for shape in zip(layer_sizes, layer_sizes[1:], strict=False)]
        self.biases = [np.zeros((1, n)) for n in layer_sizes[1:]]

    def fit(self, X, y, epochs=1000, verbose=True):
        np.random.seed(0)
        for epoch in range(epochs):
            loss, dW, db, _ = plain(self.weights, self.biases, X, y)
            self.weights = [W - self.lr * g for W, g in zip(self.weights, dW, strict=True)]
            self.biases = [b - self.lr * g for b, g in zip(self.biases, db, strict=True)]
            if verbose:
                print(epoch, loss)


class ForwardBackward:
    """forward(X), backward(X, y, output) changes the weights; W1, b1, W2, b2; sizes one by one."""

    def __init__(self, input_size, hidden_size, output_size):
        self.W1, self.b1 = np.random.randn(input_size, hidden_size), np.zeros((1, hidden_size))
        self.W2, self.b2 = np.random.randn(hidden_size, output_size), np.zeros((1, output_size))

    def forward(self, X):
        self.z1 = X @ self.W1 + self.b1
        self.a1 = sigmoid(self.z1)
        self.a2 = sigmoid(self.a1 @ self.W2 + self.b2)
        return self.a2

    def slopes(self, X, y):
        delta2 = (self.a2 - y) / len(X) * self.a2 * (1 - self.a2)
        delta1 = delta2 @ self.W2.T * self.a1 * (1 - self.a1)
        return X.T @ delta1, delta1.sum(0, keepdims=True), self.a1.T @ delta2, delta2.sum(0, keepdims=True)

    def backward(self, X, y, output, learning_rate):
        dW1, db1, dW2, db2 = self.slopes(X, y)
        self.W1 -= learning_rate * dW1
        self.b1 -= learning_rate * db1
        self.W2 -= learning_rate * dW2
        self.b2 -= learning_rate * db2


class TrainCallsThem(ForwardBackward):
    """The order of arguments and a print every so often."""

    def train(self, X, y, learning_rate, epochs):
        for epoch in range(epochs):
            output = self.forward(X)
            self.backward(X, y, output, learning_rate)
            if epoch % 100 == 0:
                print(f"epoch {epoch}: {np.mean((y - output) ** 2)}")


class ThenUpdate(ForwardBackward):
    """backward keeps dW1 and so on, update applies them; compute_loss(y, y_hat)."""

    def compute_loss(self, y, y_hat):
        return np.sum((y_hat - y) ** 2) / (2 * len(y))

    def backward(self, X, y):
        self.dW1, self.db1, self.dW2, self.db2 = self.slopes(X, y)

    def update(self, lr):
        for name in ("W1", "b1", "W2", "b2"):
            setattr(self, name, getattr(self, name) - lr * getattr(self, "d" + name))


class LocalThenUpdate(ForwardBackward):
    """What backward keeps has names of its own, so that update has to be called."""

    def backward(self, X, y):
        self.kept = dict(zip(("one", "two", "three", "four"), self.slopes(X, y), strict=True))
        self.kept["one"] = self.kept["one"].tolist()

    def update_weights(self, eta):
        self.W1 -= eta * np.array(self.kept["one"])
        self.b1 -= eta * self.kept["two"]
        self.W2 -= eta * self.kept["three"]
        self.b2 -= eta * self.kept["four"]


class Returns(ForwardBackward):
    def backward(self, X, y, y_hat):
        return self.slopes(X, y)


class ReturnsDictionary(ForwardBackward):
    def loss(self, X, y):
        return np.sum((self.forward(X) - y) ** 2) / (2 * len(y))

    def gradient(self, X, y):
        self.forward(X)
        return dict(zip(("W1", "b1", "W2", "b2"), self.slopes(X, y), strict=True))


class StepWithGrads(ForwardBackward):
    def backward(self, X, y):
        self.forward(X)
        return dict(zip(("dW1", "db1", "dW2", "db2"), self.slopes(X, y), strict=True))

    def step(self, grads, lr):
        self.W1 -= lr * grads["dW1"]


class Cached:
    """Columns, a dictionary of parameters, forward returns (A2, cache)."""

    def __init__(self, n_x, n_h, n_y):
        self.parameters = {"W1": np.random.randn(n_h, n_x), "b1": np.zeros((n_h, 1))}
        self.parameters |= {"W2": np.random.randn(n_y, n_h), "b2": np.zeros((n_y, 1))}

    def forward_propagation(self, X):
        A1 = sigmoid(self.parameters["W1"] @ X + self.parameters["b1"])
        A2 = sigmoid(self.parameters["W2"] @ A1 + self.parameters["b2"])
        return A2, {"A1": A1, "A2": A2}

    def backward_propagation(self, cache, X, Y):
        m, A1, A2 = X.shape[1], cache["A1"], cache["A2"]
        dZ2 = (A2 - Y) * A2 * (1 - A2) / m
        dZ1 = self.parameters["W2"].T @ dZ2 * A1 * (1 - A1)
        grads = {"dW1": dZ1 @ X.T, "db1": dZ1.sum(1, keepdims=True)}
        return grads | {"dW2": dZ2 @ A1.T, "db2": dZ2.sum(1, keepdims=True)}


class Nielsen:
    def __init__(self, sizes):
        self.num_layers, self.sizes = len(sizes), sizes
        self.biases = [np.random.randn(n, 1) for n in sizes[1:]]
        self.weights = [np.random.randn(n_out, n_in) for n_in, n_out in zip(sizes[:-1], sizes[1:], strict=True)]

    def feedforward(self, a):
        for b, w in zip(self.biases, self.weights, strict=True):
            a = sigmoid(w @ a + b)
        return a

    def update_mini_batch(self, mini_batch, eta):
        nabla_b, nabla_w = [np.zeros(b.shape) for b in self.biases], [np.zeros(w.shape) for w in self.weights]
        for x, y in mini_batch:
            more_b, more_w = self.backprop(x, y)
            nabla_b = [one + two for one, two in zip(nabla_b, more_b, strict=True)]
            nabla_w = [one + two for one, two in zip(nabla_w, more_w, strict=True)]
        self.weights = [w - eta / len(mini_batch) * g for w, g in zip(self.weights, nabla_w, strict=True)]
        self.biases = [b - eta / len(mini_batch) * g for b, g in zip(self.biases, nabla_b, strict=True)]

    def backprop(self, x, y):
        assert x.shape == (self.sizes[0], 1)
        _, dW, db, _ = plain([w.T for w in self.weights], [b[:, 0] for b in self.biases], x.T, y.T)
        return [h[:, None] for h in db], [g.T for g in dW]


class NielsenBackprop(Nielsen):
    """Only one sample at a time."""

    update_mini_batch = None


class Iterations:
    """No sizes, a rate of 1 inside, one layer of weights called as nobody else calls them, no biases."""

    def __init__(self):
        np.random.seed(1)
        self.synaptic_weights = 2 * np.random.random((3, 1)) - 1

    def train(self, training_set_inputs, training_set_outputs, number_of_training_iterations):
        for _ in range(number_of_training_iterations):
            dW = plain([self.synaptic_weights], [0.0], training_set_inputs, training_set_outputs)[1][0]
            self.synaptic_weights -= dW


class DataInside:
    """The class that is given its data at the start."""

    def __init__(self, x, y):
        self.input, self.y = x, y
        self.weights1, self.weights2 = np.random.rand(x.shape[1], 4), np.random.rand(4, y.shape[1])
        self.output = np.zeros(y.shape)

    def feedforward(self):
        self.layer1 = sigmoid(self.input @ self.weights1)
        self.output = sigmoid(self.layer1 @ self.weights2)

    def backprop(self):
        _, (dW1, dW2), _, _ = plain([self.weights1, self.weights2], [0.0, 0.0], self.input, self.y)
        self.weights1 -= dW1
        self.weights2 -= dW2


class FixedInside:
    """Sizes and weights of its own; costFunction and costFunctionPrime."""

    def __init__(self):
        self.inputLayerSize, self.outputLayerSize, self.hiddenLayerSize = 2, 1, 3
        self.W1 = np.random.randn(self.inputLayerSize, self.hiddenLayerSize)
        self.W2 = np.random.randn(self.hiddenLayerSize, self.outputLayerSize)

    def forward(self, X):
        return sigmoid(sigmoid(X @ self.W1) @ self.W2)

    def costFunction(self, X, y):
        return np.sum((y - self.forward(X)) ** 2) / (2 * len(X))

    def costFunctionPrime(self, X, y):
        dJdW1, dJdW2 = plain([self.W1, self.W2], [0.0, 0.0], X, y)[1]
        return dJdW1, dJdW2


class Dense:
    def __init__(self, n_in, n_out):
        self.weights, self.bias = np.random.randn(n_in, n_out), np.zeros(n_out)

    def forward(self, x):
        self.x = x
        self.a = sigmoid(x @ self.weights + self.bias)
        return self.a

    def backward(self, grad, lr):
        delta = grad * self.a * (1 - self.a)
        back = delta @ self.weights.T
        self.weights -= lr * self.x.T @ delta
        self.bias -= lr * delta.sum(0)
        return back


class Container:
    """Layers with forward and backward(grad, lr); the gradient of the loss comes from outside."""

    def __init__(self, *sizes):
        self.layers = [Dense(n_in, n_out) for n_in, n_out in zip(sizes, sizes[1:], strict=False)]

    def forward(self, x):
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, grad, lr):
        for layer in reversed(self.layers):
            grad = layer.backward(grad, lr)


class ContainerTrains(Container):
    def train_on_batch(self, x, y, learning_rate):
        output = self.forward(x)
        self.backward((output - y) / len(x), learning_rate)
        return np.sum((output - y) ** 2) / (2 * len(x))


class Odd:
    """Attributes that nobody knows, between others that have their shapes."""

    def __init__(self, n_input, n_hidden, n_output, momentum=0.9):
        self.vW_ih = np.zeros((n_hidden, n_input))
        self.first = {"matrix": np.random.randn(n_hidden, n_input), "offset": np.zeros((n_hidden, 1))}
        self.second = {"matrix": np.random.randn(n_output, n_hidden), "offset": np.zeros((n_output, 1))}
        self.momentum = momentum

    def learn(self, x, y):
        raise NotImplementedError

    def train(self, inputs, targets, eta, epochs):
        assert self.momentum == 0
        for _ in range(epochs):
            layers = (self.first, self.second)
            W, b = [layer["matrix"].T for layer in layers], [layer["offset"][:, 0] for layer in layers]
            _, dW, db, _ = plain(W, b, inputs, targets)
            for layer, g, h in zip(layers, dW, db, strict=True):
                layer["matrix"] = layer["matrix"] - eta * g.T
                layer["offset"] = layer["offset"] - eta * h[:, None]


class Classes:
    """Labels are indices of classes."""

    def __init__(self, hidden_sizes, n_in, n_out, learning_rate):
        sizes = [n_in, *hidden_sizes, n_out]
        self.coefs_ = [np.zeros(shape) for shape in zip(sizes, sizes[1:], strict=False)]
        self.intercepts_ = [np.zeros(n) for n in sizes[1:]]
        self.rate = learning_rate

    def partial_fit(self, X, y):
        assert y.dtype.kind == "i"
        _, dW, db, _ = plain(self.coefs_, self.intercepts_, X, np.eye(self.coefs_[-1].shape[1])[y])
        for part, g in zip([*self.coefs_, *self.intercepts_], [*dW, *db], strict=True):
            part -= self.rate * g
        return self


class Pure:
    """Lists of lists of numbers, and no NumPy."""

    def __init__(self, sizes, lr):
        self.weights = [[[0.0] * n_out for _ in range(n_in)] for n_in, n_out in zip(sizes, sizes[1:], strict=False)]
        self.biases = [[0.0] * n for n in sizes[1:]]
        self.lr = lr

    def train_step(self, x, y):
        W, b = [np.array(w) for w in self.weights], [np.array(v) for v in self.biases]
        loss, dW, db, _ = plain(W, b, x, y)
        self.weights = [(w - self.lr * g).tolist() for w, g in zip(W, dW, strict=True)]
        self.biases = [(v - self.lr * g).tolist() for v, g in zip(b, db, strict=True)]
        return loss


class Alpha(Fit):
    """alpha is the rate."""

    def __init__(self, sizes, alpha):
        super().__init__(sizes, alpha)


class BiasRow:
    """Biases are the first row of each W; the input gets its column of ones inside."""

    def __init__(self, input_size, hidden_size, output_size, learning_rate=0.05):
        self.W1 = np.random.normal(0, 0.5, (input_size + 1, hidden_size))
        self.W2 = np.random.normal(0, 0.5, (hidden_size + 1, output_size))
        self.learning_rate = learning_rate

    def train(self, X, y, max_epochs=1000):
        for _ in range(max_epochs):
            _, dW, db, _ = plain([self.W1[1:], self.W2[1:]], [self.W1[0], self.W2[0]], X, y)
            self.W1 = self.W1 - self.learning_rate * np.vstack([db[0], dW[0]])
            self.W2 = self.W2 - self.learning_rate * np.vstack([db[1], dW[1]])


class BiasColumnReturned(BiasRow):
    """The last column, and the gradients are returned."""

    def __init__(self, n_in, n_hidden, n_out):
        self.theta1, self.theta2 = np.random.rand(n_hidden, n_in + 1), np.random.rand(n_out, n_hidden + 1)

    train = None

    def compute_gradients(self, X, y):
        W, b = [self.theta1[:, :-1].T, self.theta2[:, :-1].T], [self.theta1[:, -1], self.theta2[:, -1]]
        loss, dW, db, _ = plain(W, b, X, y)
        return loss, [np.vstack([g, h]).T for g, h in zip(dW, db, strict=True)]


class LongNames:
    """Between its weights and its batches everything has a long name; activations are attributes too."""

    def __init__(self, input_size, hidden_size, output_size, learning_rate=0.01, epochs=100):
        self.input_size, self.hidden_size, self.output_size = input_size, hidden_size, output_size
        self.weights_input_hidden = np.random.rand(input_size, hidden_size)
        self.bias_hidden = np.zeros((1, hidden_size))
        self.weights_hidden_output = np.random.rand(hidden_size, output_size)
        self.bias_output = np.zeros((1, output_size))
        self.learning_rate, self.epochs = learning_rate, epochs

    def train(self, X, y):
        for _ in range(self.epochs):
            W, b = [self.weights_input_hidden, self.weights_hidden_output], [self.bias_hidden, self.bias_output]
            loss, dW, db, (_, self.hidden_output, self.output) = plain(W, b, X, y)
            self.weights_hidden_output += self.learning_rate * -dW[1]
            self.bias_output += self.learning_rate * -db[1]
            self.weights_input_hidden += self.learning_rate * -dW[0]
            self.bias_hidden += self.learning_rate * -db[0]
            print(loss)
        return self.output


class DataAndDepth:
    """Data at the start, a dictionary, columns, activations handed on; the depth is a default."""

    def __init__(self, X, y, hidden_layers=(5,)):
        sizes = [X.shape[0], *hidden_layers, y.shape[0]]
        self.parameters = {}
        for layer, (n_in, n_out) in enumerate(zip(sizes, sizes[1:], strict=False), 1):
            self.parameters[f"W{layer}"] = np.random.randn(n_out, n_in)
            self.parameters[f"b{layer}"] = np.random.randn(n_out, 1)

    def forward_propagation(self, X):
        activations = {"A0": X}
        for layer in range(1, len(self.parameters) // 2 + 1):
            W, b = self.parameters[f"W{layer}"], self.parameters[f"b{layer}"]
            activations[f"A{layer}"] = sigmoid(W @ activations[f"A{layer - 1}"] + b)
        return activations

    def back_propagation(self, y, activations):
        n, m, gradients = len(self.parameters) // 2, y.shape[1], {}
        dZ = (activations[f"A{n}"] - y) * activations[f"A{n}"] * (1 - activations[f"A{n}"]) / m
        for layer in reversed(range(1, n + 1)):
            before = activations[f"A{layer - 1}"]
            gradients[f"dW{layer}"] = dZ @ before.T
            gradients[f"db{layer}"] = np.sum(dZ, axis=1, keepdims=True)
            dZ = self.parameters[f"W{layer}"].T @ dZ * before * (1 - before)
        return gradients
