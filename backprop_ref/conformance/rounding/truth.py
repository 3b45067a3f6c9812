"""What is exactly right: the same network in 50 digits (mpmath), or in fractions where no exp or log is needed.

Plain lists and loops over samples, neurons and inputs. Formulas are chosen so that nothing cancels however large z is,
and differ from those of the backends: ``1 − σ(z) = σ(−z)``, ``1 − tanh² = sech²``, and cross-entropies and their
gradients as sums of terms of one sign wherever the labels are a distribution.
"""

from collections.abc import Callable
from fractions import Fraction
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from backprop_ref.conformance.cases import Values
from backprop_ref.errors import BackendUnavailable
from backprop_ref.formulas import ACTIVATIONS, LOSSES
from backprop_ref.optimizers import AdaGrad, Adam, RMSprop

DIGITS = 50
SUMS_OF_OUTPUTS = ("sum_squared_error", "cross_entropy")
"""The losses that are sums over the outputs; all others are means over them too."""


def high_precision():
    """Numbers of 50 digits.

    Raises
    ------
    BackendUnavailable
        mpmath is not installed.
    """
    try:
        import mpmath
    except ImportError:
        raise BackendUnavailable("mpmath, the truth, is not installed; install 'backprop-ref[truth]'") from None
    context = mpmath.MPContext()
    context.dps = DIGITS
    words = {name: getattr(context, name) for name in ("exp", "expm1", "log", "log1p", "sqrt", "erfc", "pi")}
    return SimpleNamespace(number=context.mpf, **words)


def fractions():
    """Exact rational numbers, for networks of linear, relu and leaky_relu layers with a squared error."""
    return SimpleNamespace(number=Fraction)


def exact_pass(network, W, b, x, y, numbers=None, da=None, weights=None, masks=()):
    """One forward and backward pass, exactly.

    Parameters
    ----------
    network : Network
    W, b, x, y
        Arrays or nested lists of numbers, taken as they are.
    numbers : optional
        `high_precision()` (default) or `fractions()`.
    da : array of shape (batch, n_out), optional
        An upstream gradient in place of the loss's.
    weights : array of shape (batch,), optional
        What each sample counts in the loss.
    masks : sequence of arrays of shape (batch, n_out) or None, optional
        Of each hidden layer, what its activations are multiplied by.

    Returns
    -------
    Values
        Nested lists of exact numbers, without W and b; `rounded` makes arrays of them. No loss if `da` is given.
    """
    numbers = numbers or high_precision()
    W, b, x, y, da = (_exactly(numbers.number, nested) for nested in (W, b, x, y, da))
    weights = _exactly(numbers.number, [1] * len(x) if weights is None else weights)
    masks = [None, *_exactly(numbers.number, masks or [None] * (network.n_layers - 1)), None]  # of every layer's input
    inputs, z, a = [x], [], []
    for layer, activation in enumerate(network.activations):
        z.append([_affine(row, W[layer], b[layer]) for row in inputs[-1]])
        a.append([_activation(numbers, activation, row) for row in z[-1]])
        inputs.append(_dropped(a[-1], masks[layer + 1]))
    output, loss = network.activations[-1], None
    plain, number = LOSSES.parts(network.loss)
    n = sum(weights) * (1 if plain in SUMS_OF_OUTPUTS else network.sizes[-1])
    if plain == "cross_entropy" and number and da is None:
        epsilon = _decimal(numbers, number)
        y = [[(1 - epsilon) * y_j + epsilon / len(row) for y_j in row] for row in y]
    n = numbers.number(n)
    if da is None:
        terms = [_loss(numbers, network.loss, output, *rows) for rows in zip(z[-1], a[-1], y, strict=True)]
        loss = _dot(weights, terms) / n
    nothing: list[Any] = [None] * network.n_layers
    delta, dW, db = nothing[:], nothing[:], nothing[:]
    for layer in reversed(range(network.n_layers)):
        if da is None:
            rows = zip(z[-1], a[-1], y, strict=True)
            found = [_loss_delta(numbers, network.loss, output, *row) for row in rows]
            delta[layer] = [[w * d / n for d in row] for w, row in zip(weights, found, strict=True)]
        else:
            rows = zip(z[layer], a[layer], da, strict=True)
            delta[layer] = [_activation_delta(numbers, network.activations[layer], *row) for row in rows]
        columns = list(zip(*delta[layer], strict=True))
        dW[layer] = [[_dot(a_k, column) for column in columns] for a_k in zip(*inputs[layer], strict=True)]
        db[layer] = [sum(column, numbers.number(0)) for column in columns]
        da = _dropped([[_dot(row, W_k) for W_k in W[layer]] for row in delta[layer]], masks[layer])
    return Values(z, a, delta, dW, db, da, loss)


def exact_steps(network, W, b, batches, optimizer, numbers=None):
    """W and b, nested lists of exact numbers, after one step of the optimizer per batch: ``(x, y)``, or ``(x, y,
    weights, masks)`` as of `exact_pass`.
    """
    numbers = numbers or high_precision()
    W, b = _exactly(numbers.number, W), _exactly(numbers.number, b)
    states: dict[tuple[int, ...], dict] = {}
    decay, l1 = numbers.number(optimizer.weight_decay), numbers.number(optimizer.l1)
    shrink = numbers.number(1)
    if optimizer.decoupled:
        decay, shrink = numbers.number(0), 1 - numbers.number(optimizer.learning_rate) * decay
    for t, (x, y, *counted) in enumerate(batches, start=1):
        weights, masks = counted or (None, ())
        seen = exact_pass(network, W, b, x, y, numbers, weights=weights, masks=masks)
        dW, db = _clipped(numbers, optimizer, [seen.dW, seen.db])
        for layer in range(network.n_layers):
            for k, row in enumerate(W[layer]):
                for j, w in enumerate(row):
                    g = dW[layer][k][j] + l1 * _sign(w) + decay * w
                    row[j] = shrink * w - _step(numbers, optimizer, states.setdefault((layer, k, j), {}), g, t)
            for j, g in enumerate(db[layer]):
                b[layer][j] -= _step(numbers, optimizer, states.setdefault((layer, j), {}), g, t)
            if optimizer.max_norm is not None:
                columns = [_shortened(numbers, optimizer.max_norm, column) for column in zip(*W[layer], strict=True)]
                W[layer] = [list(row) for row in zip(*columns, strict=True)]
    return W, b


def _clipped(numbers, optimizer, gradients):
    """Each entry between the bounds, or all of them as one vector no longer than it may be."""
    if optimizer.clip_value is not None:
        most = numbers.number(optimizer.clip_value)
        return _exactly(lambda g: max(min(g, most), -most), gradients)
    return gradients if optimizer.clip_norm is None else _shortened(numbers, optimizer.clip_norm, gradients)


def _shortened(numbers, most, nested):
    """A vector in nested lists, times most/norm where its norm is above `most`."""
    entries: list[Any] = []
    _exactly(entries.append, nested)
    norm = numbers.sqrt(_dot(entries, entries))
    return _exactly(lambda v: v * most / norm, nested) if norm > most else nested


def rounded(nested):
    """Exact numbers as a float64 array, or a single one as a float; each is rounded to nearest."""
    found = np.array(_exactly(float, nested), dtype=np.float64)
    return found if found.ndim else float(found)


def _exactly(number, nested):
    """Arrays and nested lists with every entry converted by `number`; None stays."""
    if nested is None:
        return None
    if isinstance(nested, np.ndarray):
        nested = nested.tolist()
    return [_exactly(number, entry) for entry in nested] if isinstance(nested, list | tuple) else number(nested)


def _dot(u, v):
    return sum(p * q for p, q in zip(u, v, strict=True))


def _dropped(values, mask):
    """What a hidden layer hands on, up or down."""
    if mask is None:
        return values
    return [[v * m for v, m in zip(*rows, strict=True)] for rows in zip(values, mask, strict=True)]


def _affine(row, W, b):
    return [_dot(row, column) + b_j for column, b_j in zip(zip(*W, strict=True), b, strict=True)]


def _decimal(numbers, number):
    """A number of a formula as it is written: 0.01 is a hundredth."""
    exact = Fraction(repr(number))
    return numbers.number(exact.numerator) / exact.denominator


def _sigmoid(numbers, z):
    return 1 / (1 + numbers.exp(-z))


class Exact(NamedTuple):
    """An activation of one number, and its derivative, in forms that share nothing with the formulas; those of a family
    are given its number too."""

    value: Callable[..., Any]
    slope: Callable[..., Any]


def _near_normal(m, z):
    """σ(2u), and the derivative of 2u: GELU's tanh form."""
    twice, k = m.sqrt(8 / m.pi), _decimal(m, 0.044715)
    return _sigmoid(m, twice * (z + k * z**3)), twice * (1 + 3 * k * z**2)


def _gelu_tanh_slope(m, z):
    s, slope = _near_normal(m, z)
    return s + z * s * (1 - s) * slope


def _gate(m, z):
    """tanh(log(1 + exp(z))), and 1 less its square."""
    q = m.expm1(2 * m.log1p(m.exp(z)))
    return q / (q + 2), 4 * (q + 1) / (q + 2) ** 2


def _mish_slope(m, z):
    t, rest = _gate(m, z)
    return t + z * rest * _sigmoid(m, z)


SCALE, ALPHA = 1.0507009873554805, 1.6732632423543772
"""Of selu."""

ENTRYWISE = {
    "linear": Exact(lambda m, z: z, lambda m, z: m.number(1)),
    "relu": Exact(lambda m, z: max(z, 0 * z), lambda m, z: m.number(1 if z > 0 else 0)),
    "leaky_relu": Exact(
        lambda m, z, slope: z if z > 0 else slope * z, lambda m, z, slope: m.number(1) if z > 0 else slope
    ),
    "sigmoid": Exact(_sigmoid, lambda m, z: _sigmoid(m, z) * _sigmoid(m, -z)),
    "tanh": Exact(
        lambda m, z: _sigmoid(m, 2 * z) - _sigmoid(m, -2 * z),
        lambda m, z: 4 * _sigmoid(m, 2 * z) * _sigmoid(m, -2 * z),
    ),
    "softsign": Exact(lambda m, z: z / (1 + abs(z)), lambda m, z: 1 / (1 + abs(z)) ** 2),
    "hard_sigmoid": Exact(
        lambda m, z: max(min(z + 3, m.number(6)), m.number(0)) / 6, lambda m, z: m.number(1 if -3 < z < 3 else 0) / 6
    ),
    "softplus": Exact(lambda m, z: m.log1p(m.exp(z)), _sigmoid),
    "silu": Exact(lambda m, z: z * _sigmoid(m, z), lambda m, z: _sigmoid(m, z) + z * _sigmoid(m, z) * _sigmoid(m, -z)),
    "elu": Exact(
        lambda m, z, alpha: z if z > 0 else alpha * m.expm1(z),
        lambda m, z, alpha: m.number(1) if z > 0 else alpha * m.exp(z),
    ),
    "selu": Exact(
        lambda m, z: _decimal(m, SCALE) * (z if z > 0 else _decimal(m, ALPHA) * m.expm1(z)),
        lambda m, z: _decimal(m, SCALE) * (m.number(1) if z > 0 else _decimal(m, ALPHA) * m.exp(z)),
    ),
    "gelu": Exact(
        lambda m, z: z * m.erfc(-z / m.sqrt(2)) / 2,
        lambda m, z: m.erfc(-z / m.sqrt(2)) / 2 + z * m.exp(-(z**2) / 2) / m.sqrt(2 * m.pi),
    ),
    "gelu_tanh": Exact(lambda m, z: z * _near_normal(m, z)[0], _gelu_tanh_slope),
    "mish": Exact(lambda m, z: z * _gate(m, z)[0], _mish_slope),
}
"""Every activation but softmax, which looks at a whole row."""


def _entrywise(numbers, name):
    """The activation of that name, and the number of its family."""
    plain, number = ACTIVATIONS.parts(name)
    return ENTRYWISE[plain], () if number is None else (_decimal(numbers, number),)


def _activation(numbers, name, z):
    if name == "softmax":
        return [1 / sum(numbers.exp(other - v) for other in z) for v in z]
    exact, number = _entrywise(numbers, name)
    return [exact.value(numbers, v, *number) for v in z]


def _activation_delta(numbers, name, z, a, da):
    if name == "softmax":
        pairs = list(zip(a, da, strict=True))
        return [a_j * sum(a_k * (da_j - da_k) for a_k, da_k in pairs) for a_j, da_j in pairs]
    exact, number = _entrywise(numbers, name)
    return [exact.slope(numbers, v, *number) * d for v, d in zip(z, da, strict=True)]


def _sign(x):
    return 1 if x > 0 else -1 if x < 0 else 0


ALONE = {
    "mean_absolute_error": Exact(lambda m, a, y: abs(a - y), lambda m, a, y: _sign(a - y)),
    "huber": Exact(
        lambda m, a, y, d: (a - y) ** 2 / 2 if abs(a - y) <= d else d * abs(a - y) - d**2 / 2,
        lambda m, a, y, d: max(min(a - y, d), -d),
    ),
    "log_cosh": Exact(
        lambda m, a, y: m.log1p((m.expm1(a - y) + m.expm1(y - a)) / 2),
        lambda m, a, y: _sigmoid(m, 2 * (a - y)) - _sigmoid(m, 2 * (y - a)),
    ),
    "hinge": Exact(
        lambda m, a, y: max(1 - (a if y > 0 else -a), m.number(0)),
        lambda m, a, y: (-1 if a < 1 else 0) if y > 0 else (1 if a > -1 else 0),
    ),
}
"""Losses of the output alone: of a and y, and the derivative by a."""


def _loss(numbers, loss, output, z, a, y):
    """One sample's loss, summed over its outputs."""
    if loss.endswith("squared_error"):
        return sum((a_j - y_j) ** 2 for a_j, y_j in zip(a, y, strict=True))
    plain, number = LOSSES.parts(loss)
    if plain in ALONE:
        given = () if number is None else (_decimal(numbers, number),)
        return sum(ALONE[plain].value(numbers, a_j, y_j, *given) for a_j, y_j in zip(a, y, strict=True))
    if plain == "multi_class_hinge":
        return sum(_margins(numbers, a, y))
    if loss == "poisson":
        logs = z if output == "linear" else [numbers.log(numbers.log1p(numbers.exp(v))) for v in z]
        return sum(numbers.exp(log) - y_j * log for log, y_j in zip(logs, y, strict=True))
    if output == "softmax":
        others = [sum(numbers.exp(other - z_j) for k, other in enumerate(z) if k != j) for j, z_j in enumerate(z)]
        return _dot(y, map(numbers.log1p, others))
    total = _dot(y, [numbers.log1p(numbers.exp(-v)) for v in z])
    if loss == "binary_cross_entropy":
        total += _dot([1 - y_j for y_j in y], [numbers.log1p(numbers.exp(v)) for v in z])
    return total


def _margins(numbers, a, y):
    """By how much each other class comes too near to the row's own."""
    of_class, none = _dot(a, [1 if y_j > 0 else 0 for y_j in y]), numbers.number(0)
    return [none if y_j > 0 else max(1 + a_j - of_class, none) for a_j, y_j in zip(a, y, strict=True)]


def _loss_delta(numbers, loss, output, z, a, y):
    """dLoss/dz of one sample's loss."""
    if loss.endswith("squared_error"):
        return _activation_delta(numbers, output, z, a, [2 * (a_j - y_j) for a_j, y_j in zip(a, y, strict=True)])
    plain, number = LOSSES.parts(loss)
    if plain in ALONE:
        given = () if number is None else (_decimal(numbers, number),)
        da = [numbers.number(ALONE[plain].slope(numbers, a_j, y_j, *given)) for a_j, y_j in zip(a, y, strict=True)]
        return _activation_delta(numbers, output, z, a, da)
    if plain == "multi_class_hinge":
        hit = [numbers.number(1 if margin > 0 else 0) for margin in _margins(numbers, a, y)]
        return [-sum(hit) if y_j > 0 else hit_j for hit_j, y_j in zip(hit, y, strict=True)]
    if loss == "poisson":
        exps = [numbers.exp(v) for v in z]
        rates = [
            (e, e) if output == "linear" else (numbers.log1p(e), _sigmoid(numbers, v))
            for e, v in zip(exps, z, strict=True)
        ]
        return [slope * (1 - y_j / rate) for (rate, slope), y_j in zip(rates, y, strict=True)]
    if output == "softmax":
        pairs = list(zip(a, y, strict=True))
        return [
            sum((y_k * a_j - y_j * a_k for k, (a_k, y_k) in enumerate(pairs) if k != j), numbers.number(0))
            for j, (a_j, y_j) in enumerate(pairs)
        ]
    delta = [-y_j * _sigmoid(numbers, -v) for v, y_j in zip(z, y, strict=True)]
    if loss == "binary_cross_entropy":
        delta = [d + (1 - y_j) * a_j for d, a_j, y_j in zip(delta, a, y, strict=True)]
    return delta


def _step(numbers, optimizer, state, g, t):
    """What one entry with gradient g loses in step t, counted from 1."""
    number = numbers.number
    rate = number(optimizer.learning_rate)
    if isinstance(optimizer, Adam):
        beta1, beta2 = number(optimizer.beta1), number(optimizer.beta2)
        m = state["m"] = beta1 * state.get("m", 0) + (1 - beta1) * g
        v = state["v"] = beta2 * state.get("v", 0) + (1 - beta2) * g * g
        rate, c2, epsilon = rate / (1 - beta1**t), 1 - beta2**t, number(optimizer.epsilon)
        if optimizer.epsilon_hat:
            return rate * numbers.sqrt(c2) * m / (numbers.sqrt(v) + epsilon)
        return rate * m / (numbers.sqrt(v / c2) + epsilon)
    if isinstance(optimizer, RMSprop | AdaGrad):
        old, new = (number(optimizer.rho), 1 - number(optimizer.rho)) if isinstance(optimizer, RMSprop) else (1, 1)
        v = state["v"] = old * state.get("v", 0) + new * g * g
        return rate * g / (numbers.sqrt(v) + number(optimizer.epsilon))
    momentum = number(optimizer.momentum)
    velocity = state["velocity"] = momentum * state.get("velocity", 0) + g
    return rate * (g + momentum * velocity if optimizer.nesterov else velocity)
