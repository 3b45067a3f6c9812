"""XOR as a beginner writes it after reading about neurons: an object for each, NumPy numbers, one sample at a time.

2 inputs, 4 hidden neurons, 1 output, all sigmoid; squared error; gradient descent after every sample. It computes what
``br.train(network, params, x, y, batch_size=1, shuffle=False)`` does, and slowly. Run it to see it learn.
"""

import numpy as np


class Neuron:
    """Weights, a bias, and what the last sample left."""

    def __init__(self, weights, bias):
        self.weights = [np.float64(weight) for weight in weights]
        self.bias = np.float64(bias)
        self.inputs = []
        self.output = np.float64(0.0)
        self.delta = np.float64(0.0)

    def forward(self, inputs):
        """The neuron's output for one sample."""
        self.inputs = inputs
        z = self.bias
        for weight, value in zip(self.weights, inputs, strict=True):
            z = z + weight * value
        self.output = 1.0 / (1.0 + np.exp(-z))
        return self.output

    def update(self, learning_rate):
        """One step down the gradient."""
        for i, value in enumerate(self.inputs):
            self.weights[i] = self.weights[i] - learning_rate * self.delta * value
        self.bias = self.bias - learning_rate * self.delta


class Layer:
    """Neurons side by side."""

    def __init__(self, weights, biases):
        self.neurons = [Neuron(column, bias) for column, bias in zip(np.transpose(weights), biases, strict=True)]

    def forward(self, inputs):
        """The outputs of all neurons."""
        return [neuron.forward(inputs) for neuron in self.neurons]


class NeuralNetwork:
    """Layers one after another."""

    def __init__(self, weights, biases):
        self.layers = [Layer(W, b) for W, b in zip(weights, biases, strict=True)]

    def forward(self, inputs):
        """The network's outputs for one sample."""
        for layer in self.layers:
            inputs = layer.forward(inputs)
        return inputs

    def train_one(self, inputs, targets, learning_rate):
        """One sample, forward and backward, and an update; its squared error."""
        outputs = self.forward(inputs)
        for neuron, target in zip(self.layers[-1].neurons, targets, strict=True):
            error = neuron.output - target
            neuron.delta = 2.0 * error * neuron.output * (1.0 - neuron.output)
        for layer, above in zip(self.layers[-2::-1], self.layers[:0:-1], strict=True):
            for j, neuron in enumerate(layer.neurons):
                total = np.float64(0.0)
                for other in above.neurons:
                    total = total + other.delta * other.weights[j]
                neuron.delta = total * neuron.output * (1.0 - neuron.output)
        for layer in self.layers:
            for neuron in layer.neurons:
                neuron.update(learning_rate)
        return sum((output - target) ** 2 for output, target in zip(outputs, targets, strict=True))

    def weights_and_biases(self):
        """W and b of each layer, as arrays."""
        weights = [np.array([neuron.weights for neuron in layer.neurons]).T for layer in self.layers]
        return weights, [np.array([neuron.bias for neuron in layer.neurons]) for layer in self.layers]


X = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
Y = [[0.0], [1.0], [1.0], [0.0]]


def train(weights, biases, epochs, learning_rate):
    """Trains a network from these weights on XOR, the samples in the order above; it, and the last mean error."""
    network, loss = NeuralNetwork(weights, biases), 0.0
    for _ in range(epochs):
        loss = np.mean([network.train_one(x, y, learning_rate) for x, y in zip(X, Y, strict=True)])
    return network, loss


if __name__ == "__main__":
    rng = np.random.default_rng(1)
    shapes = [(2, 4), (4, 1)]
    trained, error = train([rng.normal(size=shape) for shape in shapes], [np.zeros(n) for _, n in shapes], 5000, 0.5)
    print(f"mean squared error {error:.2g}")
    for sample in X:
        print(sample, "->", round(float(trained.forward(sample)[0]), 3))
