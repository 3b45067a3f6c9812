"""Backpropagation as people write it: every usual formula, drawn by lot, and sums in any order."""

import numpy as np
from scipy.special import erf

from backprop_ref.backends.arithmetic import Fast
from backprop_ref.conformance.cases import Values
from backprop_ref.formulas import ACTIVATIONS, SELU_ALPHA, SELU_SCALE
from backprop_ref.optimizers import AdaGrad, Adam, RMSprop

CHOICES = {
    "sigmoid": ("naive", "quotient", "stable", "by tanh"),
    "tanh": ("library", "exponentials", "of 2z", "by sigmoid"),
    "softmax": ("max", "plain"),
    "slope": ("product", "square", "from z"),
    "jacobian": (True, False),
    "order": ("library", "forward", "backward", "shuffled", "wide"),
    "mean": ("divide", "reciprocal", "twice", "end"),
    "gradient": ("difference", "quotient", "from log"),
    "update": ("textbook", "scaled velocity"),
    "norm": ("library", "columns", "wide"),
    "entrywise": ("table", "plain"),
}


def gelu_argument(m, z):
    return m.dtype(np.sqrt(2 / np.pi)) * (z + m.dtype(0.044715) * z**3)


def gelu_tanh_slope(m, z, a):
    t = np.tanh(gelu_argument(m, z))
    inner = m.dtype(np.sqrt(2 / np.pi)) * (1 + 3 * m.dtype(0.044715) * z**2)
    return m.dtype(0.5) * (1 + t) + m.dtype(0.5) * z * (1 - t**2) * inner


PLAIN = {
    "softsign": (lambda m, z: z / (np.abs(z) + 1), lambda m, z, a: (1 - np.abs(a)) ** 2),
    "hard_sigmoid": (
        lambda m, z: np.clip(z * m.dtype(1 / 6) + m.dtype(0.5), 0, 1),
        lambda m, z, a: np.where((a > 0) & (a < 1), m.dtype(1 / 6), m.dtype(0)),
    ),
    "softplus": (lambda m, z: np.log(1 + np.exp(z)), lambda m, z, a: 1 - np.exp(-a)),
    "silu": (lambda m, z: z / (1 + np.exp(-z)), lambda m, z, a: a + m.sigmoid(z) * (1 - a)),
    "elu": (lambda m, z: np.where(z > 0, z, np.exp(z) - 1), lambda m, z, a: np.where(z > 0, m.dtype(1), np.exp(z))),
    "gelu": (
        lambda m, z: m.dtype(0.5) * z * (1 + erf(z / m.dtype(np.sqrt(2)))),
        lambda m, z, a: (1 + erf(z / m.dtype(np.sqrt(2)))) / 2 + z * np.exp(-z * z / 2) / m.dtype(np.sqrt(2 * np.pi)),
    ),
    "gelu_tanh": (lambda m, z: m.dtype(0.5) * z * (1 + np.tanh(gelu_argument(m, z))), gelu_tanh_slope),
    "mish": (
        lambda m, z: z * np.tanh(np.log1p(np.exp(z))),
        lambda m, z, a: (
            np.tanh(np.log(1 + np.exp(z))) + z * (1 - np.tanh(np.log(1 + np.exp(z))) ** 2) / (1 + np.exp(-z))
        ),
    ),
    "selu": (
        lambda m, z: m.dtype(SELU_SCALE) * np.where(z > 0, z, m.dtype(SELU_ALPHA) * (np.exp(z) - 1)),
        lambda m, z, a: m.dtype(SELU_SCALE) * np.where(z > 0, m.dtype(1), m.dtype(SELU_ALPHA) * np.exp(z)),
    ),
}
"""Other usual forms of an activation and its slope than the table's."""


class Naive:
    """One of the many; `form` says which.

    Parameters
    ----------
    seed : int
        Of the lot.
    """

    def __init__(self, seed, dtype):
        self.rng, self.dtype = np.random.default_rng(seed), np.dtype(dtype).type
        self.form = {name: ways[self.rng.integers(len(ways))] for name, ways in CHOICES.items()}

    def matmul(self, p, q):
        order, n = self.form["order"], p.shape[1]
        if order == "library":
            return p @ q
        if order == "wide":
            return (p.astype(np.longdouble) @ q.astype(np.longdouble)).astype(p.dtype)
        ks = {"forward": np.arange(n), "backward": np.arange(n)[::-1], "shuffled": self.rng.permutation(n)}[order]
        total = np.zeros((len(p), q.shape[1]), p.dtype)
        for k in ks:
            total = total + p[:, k, None] * q[k]
        return total

    def sum(self, values, axis):
        return np.moveaxis(
            self.matmul(np.moveaxis(values, axis, -1), np.ones((values.shape[axis], 1), values.dtype)), 0, 0
        )

    def sigmoid(self, z):
        form = self.form["sigmoid"]
        if form == "quotient":
            return np.exp(z) / (1 + np.exp(z))
        if form == "naive":
            return 1 / (1 + np.exp(-z))
        if form == "by tanh":
            return (1 + np.tanh(z / 2)) / 2
        e = np.exp(-np.abs(z))
        return np.where(z >= 0, 1 / (1 + e), e / (1 + e))

    def tanh(self, z):
        form = self.form["tanh"]
        if form == "library":
            return np.tanh(z)
        if form == "exponentials":
            return (np.exp(z) - np.exp(-z)) / (np.exp(z) + np.exp(-z))
        if form == "of 2z":
            return (np.exp(2 * z) - 1) / (np.exp(2 * z) + 1)
        return 2 * self.sigmoid(2 * z) - 1

    def activation(self, name, z):
        if name == "softmax":
            e = np.exp(z - z.max(axis=1, keepdims=True)) if self.form["softmax"] == "max" else np.exp(z)
            return e / self.sum(e, 1)
        if name in {"relu", "leaky_relu"}:
            return np.maximum(z, 0) if name == "relu" else np.where(z > 0, z, self.dtype(0.01) * z)
        usual = {"sigmoid": self.sigmoid, "tanh": self.tanh, "linear": lambda z: z}.get(name)
        if usual is None and self.form["entrywise"] == "plain" and name in PLAIN:
            return PLAIN[name][0](self, z)
        return usual(z) if usual else ACTIVATIONS[name].forward(Fast(np), z)

    def delta(self, name, z, a, da):
        if name == "softmax":
            return self.softmax_delta(a, da)
        if name == "sigmoid":
            from_z = np.exp(-z) / (1 + np.exp(-z)) ** 2
            return da * {"product": a * (1 - a), "square": a - a * a, "from z": from_z}[self.form["slope"]]
        if name == "tanh":
            from_z = 1 / np.cosh(z) ** 2
            return da * {"product": (1 - a) * (1 + a), "square": 1 - a * a, "from z": from_z}[self.form["slope"]]
        if self.form["entrywise"] == "plain" and name in PLAIN:
            return da * PLAIN[name][1](self, z, a)
        if name not in {"relu", "leaky_relu"}:
            return ACTIVATIONS[name].backward(Fast(np), z, a, da)
        return np.where(z > 0, da, (self.dtype(0.01) if name == "leaky_relu" else self.dtype(0)) * da)

    def softmax_delta(self, a, da):
        if not self.form["jacobian"]:
            return a * (da - self.sum(da * a, 1))
        rows = [(np.diag(row) - np.outer(row, row)) for row in a]
        return np.concatenate([self.matmul(d[None, :], J) for d, J in zip(da, rows, strict=True)])

    def scaled(self, value, network, batch):
        """A value times 1/n; `batch` is the sum of the weights where samples have some."""
        outputs = network.sizes[-1] if network.loss in {"mean_squared_error", "binary_cross_entropy"} else 1
        if self.form["mean"] == "reciprocal":
            return value * (self.dtype(1) / self.dtype(batch * outputs))
        if self.form["mean"] == "twice":
            return value / self.dtype(outputs) / self.dtype(batch)
        return value / self.dtype(batch * outputs)

    def loss(self, network, a, y, weights=None):
        if network.loss.endswith("squared_error"):
            terms = (a - y) ** 2
        elif network.loss == "cross_entropy":
            terms = -y * np.log(a)
        else:
            terms = -(y * np.log(a) + (1 - y) * np.log(1 - a))
        terms = terms if weights is None else weights[:, None] * terms
        return self.scaled(
            self.sum(terms.reshape(1, -1), 1)[0, 0], network, len(y) if weights is None else weights.sum()
        )

    def loss_delta(self, network, z, a, y):
        """The last layer's delta, times n."""
        output, form = network.activations[-1], self.form["gradient"]
        if network.loss.endswith("squared_error"):
            return self.delta(output, z, a, 2 * (a - y))
        if output == "softmax":
            return self.softmax_cross_entropy_delta(z, a, y)
        slope = a * (1 - a)
        if network.loss == "cross_entropy":
            return (-y / a) * slope if form == "quotient" else y * (a - 1)
        if form == "quotient":
            return (a - y) / slope * slope
        return (-y / a + (1 - y) / (1 - a)) * slope if form == "from log" else a - y

    def softmax_cross_entropy_delta(self, z, a, y):
        if self.form["gradient"] == "difference":
            return a - y
        if self.form["gradient"] == "quotient":
            return self.delta("softmax", z, a, -y / a)
        shifted = z - z.max(axis=1, keepdims=True)
        return np.exp(shifted - np.log(self.sum(np.exp(shifted), 1))) - y

    def passed(self, network, W, b, x, y, weights=None, masks=()):
        """One pass, as `Values`; no delta where the mean is taken at the end."""
        masks = [*masks] or [None] * (network.n_layers - 1)
        z, a, inputs = [], [], [x]
        for W_l, b_l, name, mask in zip(W, b, network.activations, [*masks, None], strict=True):
            z.append(self.matmul(inputs[-1], W_l) + b_l)
            a.append(self.activation(name, z[-1]))
            inputs.append(a[-1] if mask is None else a[-1] * mask)
        late, batch = self.form["mean"] == "end", len(x) if weights is None else weights.sum()
        loss, delta, d = self.loss(network, a[-1], y, weights), [], self.loss_delta(network, z[-1], a[-1], y)
        d = d if weights is None else weights[:, None] * d
        d = d if late else self.scaled(d, network, batch)
        dW, db = [], []
        for layer in reversed(range(network.n_layers)):
            delta.insert(0, d)
            dW.insert(0, self.matmul(inputs[layer].T, d))
            db.insert(0, self.sum(d, 0)[:, 0])
            da = self.matmul(d, W[layer].T)
            if layer:
                da = da if masks[layer - 1] is None else da * masks[layer - 1]
                d = self.delta(network.activations[layer - 1], z[layer - 1], a[layer - 1], da)
        if late:
            dW, db = ([self.scaled(g, network, batch) for g in part] for part in (dW, db))
            return Values(z=z, a=a, dW=dW, db=db, dx=self.scaled(da, network, batch), loss=float(loss))
        return Values(z, a, delta, dW, db, da, float(loss))

    def stepped(self, case):
        """W and b after the steps of a case."""
        return self.steps(case.network, case.params, case.optimizer, case.batches())

    def steps(self, network, params, optimizer, batches):
        """W and b after a step for each batch, (x, y) or (x, y, weights, masks)."""
        tensors = [array.copy() for array in (*params.W, *params.b)]
        n, states = network.n_layers, [{} for _ in tensors]
        for t, (x, y, *counted) in enumerate(batches, start=1):
            seen = self.passed(network, tensors[:n], tensors[n:], x, y, *counted)
            gradients = self.clipped(optimizer, [*seen.dW, *seen.db])
            for i, (tensor, g) in enumerate(zip(tensors, gradients, strict=True)):
                g = g + self.dtype(optimizer.l1) * np.sign(tensor) if i < n and optimizer.l1 else g
                self.update(optimizer, states[i], tensor, g, t, decayed=i < n)
                if i < n and optimizer.max_norm is not None:
                    tensor *= np.concatenate([self.factor(optimizer.max_norm, column) for column in tensor.T])
        return tensors[:n], tensors[n:]

    def clipped(self, optimizer, gradients):
        if optimizer.clip_value is not None:
            return [
                np.clip(g, *(self.dtype(end) for end in (-optimizer.clip_value, optimizer.clip_value)))
                for g in gradients
            ]
        if optimizer.clip_norm is None:
            return gradients
        return [g * self.factor(optimizer.clip_norm, np.concatenate([g.ravel() for g in gradients])) for g in gradients]

    def factor(self, most, vector):
        """What a vector is multiplied by so that its norm is at most `most`."""
        if self.form["norm"] == "library":
            norm = np.linalg.norm(vector)
        else:
            wide = vector.astype(np.longdouble if self.form["norm"] == "wide" else self.dtype)
            norm = np.sqrt(self.sum((wide * wide)[None, :], 1)[0, 0])
        return np.minimum(self.dtype(1), self.dtype(most) / norm).astype(self.dtype).reshape(1)

    def update(self, optimizer, state, W, g, t, decayed):
        rate, scaled = self.dtype(optimizer.learning_rate), self.form["update"] == "scaled velocity"
        as_factor = optimizer.decoupled or (scaled and not getattr(optimizer, "momentum", 1))
        if decayed and optimizer.weight_decay and as_factor:
            W *= 1 - rate * self.dtype(optimizer.weight_decay)
        elif decayed and optimizer.weight_decay:
            g = g + self.dtype(optimizer.weight_decay) * W
        if isinstance(optimizer, Adam):
            beta1, beta2 = optimizer.beta1, optimizer.beta2
            m, v = state.get("m", np.zeros_like(W)), state.get("v", np.zeros_like(W))
            m = m + self.dtype(1 - beta1) * (g - m) if scaled else self.dtype(beta1) * m + self.dtype(1 - beta1) * g
            v = self.dtype(beta2) * v + self.dtype(1 - beta2) * g * g
            state.update(m=m, v=v)
            if optimizer.epsilon_hat:
                c1, c2 = self.dtype(1 - beta1**t), self.dtype(np.sqrt(1 - beta2**t))
                W -= rate * c2 / c1 * m / (np.sqrt(v) + self.dtype(optimizer.epsilon))
            elif scaled:
                c1, c2 = self.dtype(1 - beta1**t), self.dtype(np.sqrt(1 - beta2**t))
                W -= rate / c1 * m / (np.sqrt(v) / c2 + self.dtype(optimizer.epsilon))
            else:
                m, v = m / self.dtype(1 - beta1**t), v / self.dtype(1 - beta2**t)
                W -= rate * m / (np.sqrt(v) + self.dtype(optimizer.epsilon))
            return
        if isinstance(optimizer, RMSprop | AdaGrad):
            old, new = (optimizer.rho, 1 - optimizer.rho) if isinstance(optimizer, RMSprop) else (1, 1)
            v = state["v"] = self.dtype(old) * state.get("v", np.zeros_like(W)) + self.dtype(new) * g * g
            root = np.sqrt(v) + self.dtype(optimizer.epsilon)
            W -= rate / root * g if scaled else rate * (g / root)
            return
        mu = self.dtype(optimizer.momentum)
        if scaled:
            v = state["v"] = mu * state.get("v", np.zeros_like(W)) - rate * g
            W += mu * v - rate * g if optimizer.nesterov else v
            return
        v = state["v"] = mu * state.get("v", np.zeros_like(W)) + g
        W -= rate * (g + mu * v if optimizer.nesterov else v)
