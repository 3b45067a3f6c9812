"""Activations and losses as text: forward, and the slope from z or from a."""

from typing import NamedTuple


class Activation(NamedTuple):
    """``forward`` and ``prime`` are bodies of functions of z, ``from_a`` an expression of a; empty: there is none."""

    forward: str
    prime: str
    from_a: str = ""
    inline: str = ""
    """Forward as one expression of z, where people write it in place."""
    inline_prime: str = ""


KNOWN = {
    "sigmoid": Activation(
        "return 1 / (1 + np.exp(-z))", "s = sigmoid(z)\n    return s * (1 - s)", "a * (1 - a)", "1 / (1 + np.exp(-z))"
    ),
    "tanh": Activation(
        "return np.tanh(z)", "return 1 - np.tanh(z) ** 2", "1 - a ** 2", "np.tanh(z)", "1 - np.tanh(z) ** 2"
    ),
    "relu": Activation(
        "return np.maximum(0, z)", "return (z > 0).astype(z.dtype)", "a > 0", "np.maximum(z, 0)", "z > 0"
    ),
    "leaky_relu": Activation(
        "return np.where(z > 0, z, 0.01 * z)",
        "return np.where(z > 0, 1.0, 0.01)",
        "np.where(a > 0, 1.0, 0.01)",
        "np.maximum(0.01 * z, z)",
        "np.where(z > 0, 1.0, 0.01)",
    ),
    "identity": Activation("return z", "return np.ones_like(z)", "", "z"),
}
"""What the project has in its table, and most code uses."""

RARE = {
    "softplus": Activation("return np.log1p(np.exp(z))", "return 1 / (1 + np.exp(-z))", "1 - np.exp(-a)"),
    "swish": Activation("return z / (1 + np.exp(-z))", "s = 1 / (1 + np.exp(-z))\n    return s + z * s * (1 - s)"),
    "elu": Activation(
        "return np.where(z > 0, z, np.exp(np.minimum(z, 0)) - 1)",
        "return np.where(z > 0, 1.0, np.exp(np.minimum(z, 0)))",
        "np.where(a > 0, 1.0, a + 1)",
    ),
    "gelu": Activation(
        "return 0.5 * z * (1 + np.tanh(0.7978845608028654 * (z + 0.044715 * z ** 3)))",
        "t = np.tanh(0.7978845608028654 * (z + 0.044715 * z ** 3))\n"
        "    inner = 0.7978845608028654 * (1 + 3 * 0.044715 * z ** 2)\n"
        "    return 0.5 * (1 + t) + 0.5 * z * (1 - t ** 2) * inner",
    ),
    "mish": Activation(
        "return z * np.tanh(np.log1p(np.exp(z)))",
        "t = np.tanh(np.log1p(np.exp(z)))\n    return t + z * (1 - t ** 2) / (1 + np.exp(-z))",
    ),
}
"""What it has, and few use."""

UNKNOWN = {
    "bent": Activation("return (np.sqrt(z ** 2 + 1) - 1) / 2 + z", "return z / (2 * np.sqrt(z ** 2 + 1)) + 1"),
    "wavy": Activation("return z + 0.5 * np.sin(z)", "return 1 + 0.5 * np.cos(z)"),
    "arctan": Activation("return np.arctan(z)", "return 1 / (1 + z ** 2)", "np.cos(a) ** 2"),
    "bell": Activation("return np.exp(-z ** 2)", "return -2 * z * np.exp(-z ** 2)"),
    "root": Activation("return z / np.sqrt(1 + z ** 2)", "return (1 + z ** 2) ** -1.5"),
}
"""What it has not."""

RARE_LOSSES = {
    "l1": ("np.abs(p - y)", "np.sign(p - y)"),
    "huber": ("np.where(np.abs(p - y) <= 1, 0.5 * (p - y) ** 2, np.abs(p - y) - 0.5)", "np.clip(p - y, -1, 1)"),
    "hinge": ("np.maximum(0, 1 - (2 * y - 1) * p)", "np.where((2 * y - 1) * p < 1, 1 - 2 * y, 0.0)"),
    "log-cosh": ("np.log(np.cosh(p - y))", "np.tanh(p - y)"),
    "poisson": ("np.exp(p) - y * p", "np.exp(p) - y"),
}
"""Losses that the project has and few use: the terms and their derivative by p."""

UNKNOWN_LOSSES = {
    "focal": (
        "-y * (1 - p) ** 2 * np.log(p) - (1 - y) * p ** 2 * np.log(1 - p)",
        "y * (2 * (1 - p) * np.log(p) - (1 - p) ** 2 / p) + (1 - y) * (p ** 2 / (1 - p) - 2 * p * np.log(1 - p))",
    ),
    "quartic": ("(p - y) ** 4", "4 * (p - y) ** 3"),
    "cauchy": ("np.log(1 + (p - y) ** 2)", "2 * (p - y) / (1 + (p - y) ** 2)"),
    "lopsided": ("np.where(p > y, 2.0, 1.0) * (p - y) ** 2", "np.where(p > y, 4.0, 2.0) * (p - y)"),
}
"""Losses nobody has heard of."""

LOSSES = RARE_LOSSES | UNKNOWN_LOSSES
