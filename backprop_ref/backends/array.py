"""One class for every array namespace (NumPy, PyTorch, JAX, array-api-strict): the formulas, written once."""

import contextlib

from backprop_ref.errors import InvalidInput, unknown
from backprop_ref.network import OUTPUTS_OF

LEAKY_SLOPE = 0.01

# Each activation is a pair: a from z, and beneath it delta from z, a and da. `m` is the arithmetic.


def sigmoid(m, z):
    e = m.exp(-m.xp.abs(z))
    return m.xp.where(z >= 0.0, 1.0 / (1.0 + e), e / (1.0 + e))


def sigmoid_backward(m, z, a, da):
    return da * (a * (1.0 - a))


def tanh(m, z):
    return m.tanh(z)


def tanh_backward(m, z, a, da):
    return da * (1.0 - a * a)


def relu(m, z):
    return m.xp.where(z <= 0.0, m.xp.zeros_like(z), z)


def relu_backward(m, z, a, da):
    return m.xp.where(z <= 0.0, m.xp.zeros_like(da), da)


def leaky_relu(m, z):
    return m.xp.where(z > 0.0, z, LEAKY_SLOPE * z)


def leaky_relu_backward(m, z, a, da):
    return m.xp.where(z > 0.0, da, LEAKY_SLOPE * da)


def softmax(m, z):
    e = m.exp(z - m.xp.max(z, axis=1, keepdims=True))
    return e / m.sum_columns(e)


def softmax_backward(m, z, a, da):
    return a * (da - m.sum_columns(da * a))


def linear(m, z):
    return z


def linear_backward(m, z, a, da):
    return da


ACTIVATION = {
    "sigmoid": (sigmoid, sigmoid_backward),
    "tanh": (tanh, tanh_backward),
    "relu": (relu, relu_backward),
    "leaky_relu": (leaky_relu, leaky_relu_backward),
    "softmax": (softmax, softmax_backward),
    "linear": (linear, linear_backward),
}

# Each loss is a pair: the terms whose sum over n is the loss, and beneath it delta; n comes from `divisor`.


def squared_error(m, z, a, y):
    return (a - y) * (a - y)


def squared_error_da(m, a, y, n):
    return (2.0 * (a - y)) / n


def softmax_cross_entropy(m, z, a, y):
    shifted = z - m.xp.max(z, axis=1, keepdims=True)
    return y * (m.log(m.sum_columns(m.exp(shifted))) - shifted)


def softmax_cross_entropy_backward(m, z, a, y, n):
    return (a * m.sum_columns(y) - y) / n


def sigmoid_cross_entropy(m, z, a, y):
    e = m.exp(-m.xp.abs(z))
    return y * (m.xp.where(z < 0.0, -z, m.xp.zeros_like(z)) + m.log1p(e))


def sigmoid_cross_entropy_backward(m, z, a, y, n):
    return -(y * sigmoid(m, -z)) / n


def sigmoid_binary_cross_entropy(m, z, a, y):
    e = m.exp(-m.xp.abs(z))
    return (m.xp.where(z > 0.0, z, m.xp.zeros_like(z)) - z * y) + m.log1p(e)


def sigmoid_binary_cross_entropy_backward(m, z, a, y, n):
    return (a - y) / n


CROSS_ENTROPY = {
    ("cross_entropy", "softmax"): (softmax_cross_entropy, softmax_cross_entropy_backward),
    ("cross_entropy", "sigmoid"): (sigmoid_cross_entropy, sigmoid_cross_entropy_backward),
    ("binary_cross_entropy", "sigmoid"): (sigmoid_binary_cross_entropy, sigmoid_binary_cross_entropy_backward),
}


class ArrayBackend:
    """The pairs over an array-API namespace; `Backend` documents them.

    Parameters
    ----------
    xp : namespace
        As the array API standard describes it; what a library does differently, its subclass overrides.
    arithmetic : `backprop_ref.backends.arithmetic.Fast` or `Reproducible`
    device : object, optional
        The namespace's device; None is its default.
    threads : int, optional
        For the namespace's matrix products; None leaves its own setting.
    """

    name = "array"

    def __init__(self, xp, arithmetic, device=None, threads=None):
        self.xp, self.arithmetic, self.threads = xp, arithmetic, threads
        self.numerics = arithmetic.numerics
        self._device = device
        self.device = "cpu" if device is None else str(device)
        self.version = getattr(xp, "__version__", None)

    def affine_forward(self, a, W, b):
        return self.arithmetic.affine(a, W, b)

    def affine_backward(self, delta, a):
        return self.arithmetic.matmul_tn(a, delta), self.arithmetic.sum_rows(delta)

    def affine_backward_input(self, delta, W):
        return self.arithmetic.matmul_nt(delta, W)

    def activation_forward(self, activation, z):
        return _rule(ACTIVATION, activation)[0](self.arithmetic, z)

    def activation_backward(self, activation, z, a, da):
        return _rule(ACTIVATION, activation)[1](self.arithmetic, z, a, da)

    def loss_forward(self, loss, activation, z, a, y, batch=None):
        check_pair(loss, activation)
        terms, _ = CROSS_ENTROPY.get((loss, activation), (squared_error, None))
        return self.arithmetic.sum_all(terms(self.arithmetic, z, a, y)) / divisor(loss, y, batch)

    def loss_backward(self, loss, activation, z, a, y, batch=None):
        check_pair(loss, activation)
        n = divisor(loss, y, batch)
        if (loss, activation) in CROSS_ENTROPY:
            return CROSS_ENTROPY[loss, activation][1](self.arithmetic, z, a, y, n)
        return self.activation_backward(activation, z, a, squared_error_da(self.arithmetic, a, y, n))

    def asarray(self, x, dtype, copy=False):
        return self.xp.asarray(x, dtype=getattr(self.xp, dtype), device=self._device, copy=copy or None)

    def to_numpy(self, a):
        import numpy as np

        return np.asarray(a)

    def synchronize(self):
        pass

    def scope(self):
        return contextlib.nullcontext()


def check_pair(loss, activation):
    """Refuses a loss, by its long name, that is none or does not go with the output activation."""
    if loss not in OUTPUTS_OF:
        raise unknown("loss", loss, OUTPUTS_OF)
    if activation not in OUTPUTS_OF[loss]:
        raise InvalidInput(f"loss {loss} does not go with output activation {activation}")


def divisor(loss, y, batch=None):
    """n of the loss, as a float: the rows of the whole batch, times the outputs where the loss is a mean over them."""
    rows, n_out = y.shape
    mean_over_outputs = loss in {"mean_squared_error", "binary_cross_entropy"}
    return float((batch or rows) * (n_out if mean_over_outputs else 1))


def _rule(table, name):
    try:
        return table[name]
    except KeyError:
        raise unknown("activation", name, table) from None
