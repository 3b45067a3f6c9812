"""Why the formulas of the backward pass are what they are: in components, in matrices, and as the code has them.

What the code computes is never written down here: the rules of `backprop_ref.formulas` are run on symbols. The tables
below add the steps that lead there.
"""

from backprop_ref.formulas import ACTIVATIONS, LOSSES, together
from backprop_ref.report.derivations.documents import Equation, Words
from backprop_ref.report.derivations.trees import (
    Call,
    Entry,
    Scalar,
    Symbol,
    Symbolic,
    Total,
    Transposed,
    Where,
    elementwise,
)


def partial(of, by):
    """∂of/∂by."""
    return Symbol(f"∂{of.name}", None, of.below) / Symbol(f"∂{by.name}", None, by.below)


def _symbol(name, *below):
    return Symbol(name, None, below)


def _over(index, body):
    return Total(body, 0, index, index)


def _chain(*trees):
    return Equation(tuple((tree, {}) for tree in trees))


A, DA, Y, DELTA = (_symbol(name, "j") for name in ("a", "da", "y", "delta"))
A_I, Z_I, DA_I, Y_I = (_symbol(name, "i") for name in ("a", "z", "da", "y"))


def entry(name):
    """An entry of a vector whose numbers are not known here."""
    return Entry(name, None, ())


Z, N, LOSS, SAME = entry("z"), _symbol("n"), _symbol("L"), _symbol("[i=j]")
Z_J = _symbol("z", "j")
EXP = Call("exp", -Z)

# the derivative of each activation, step by step
DERIVATIVE = {
    "sigmoid": [
        _chain(A, 1.0 / (1.0 + EXP)),
        _chain(partial(A, Z_J), EXP / ((1.0 + EXP) * (1.0 + EXP)), A * (1.0 - A)),
    ],
    "tanh": [_chain(A, Call("tanh", Z)), _chain(partial(A, Z_J), 1.0 - Call("tanh", Z) * Call("tanh", Z), 1.0 - A * A)],
    "relu": [
        _chain(partial(A, Z_J), Where(Z > 0.0, Symbol("1"), Symbol("0"))),
        Words("At z = 0, where there is no derivative, it is taken as 0."),
    ],
    "leaky_relu": [
        _chain(partial(A, Z_J), Where(Z > 0.0, Symbol("1"), Symbol("0.01"))),
        Words("At z = 0, where there is no derivative, it is taken as the slope, 0.01."),
    ],
    "softmax": [
        _chain(A, Call("exp", Z) / _over("i", Call("exp", Z_I))),
        Words("Subtracting the largest z of the row from each changes nothing, and keeps exp from overflowing."),
        Words("Each a depends on every z of its row, so the derivative is a matrix, the Jacobian:"),
        _chain(partial(A_I, Z_J), A_I * (SAME - A)),
        _chain(DELTA, _over("i", DA_I * (A_I * (SAME - A))), A * DA - A * _over("i", DA_I * A_I)),
    ],
    "linear": [_chain(partial(A, Z_J), Symbol("1"))],
}

# what cross-entropies and their output activation give together
TOGETHER = {
    ("cross_entropy", "softmax"): [
        _chain(LOSS, -_over("i", Y_I * Call("log", A_I))),
        _chain(partial(LOSS, A_I), -(Y_I / A_I)),
        Words("With the Jacobian of the softmax, a_i·([i=j] - a_j):"),
        _chain(DELTA, -_over("i", (Y_I / A_I) * (A_I * (SAME - A))), A * _over("i", Y_I) - Y),
        Words("Targets that sum to 1 leave a_j - y_j: what came out minus what was wanted, also known as p - y."),
    ],
    ("cross_entropy", "sigmoid"): [
        _chain(LOSS, -_over("j", Y * Call("log", A))),
        _chain(DELTA, -(Y / A) * (A * (1.0 - A)), -(Y * (1.0 - A))),
        Words("1 - a_j is the sigmoid of -z_j, which stays exact where a_j is nearly 1."),
    ],
    ("binary_cross_entropy", "sigmoid"): [
        _chain(LOSS, -_over("j", Y * Call("log", A) + (1.0 - Y) * Call("log", 1.0 - A))),
        _chain(partial(LOSS, A), (A - Y) / (A * (1.0 - A))),
        _chain(DELTA, (A - Y) / (A * (1.0 - A)) * (A * (1.0 - A)), A - Y),
    ],
}
SQUARED = [
    _chain(LOSS, _over("j", (A - Y) * (A - Y))),
    _chain(partial(LOSS, A), 2.0 * (A - Y)),
]


def of_activation(activation, count):
    """How delta follows from da, for a layer of `count` neurons."""
    matrices = elementwise(_symbol("da"), partial(_symbol("a"), _symbol("z")))
    computed = _chain(DELTA, backward(activation, count, Z, A, DA))
    last = (
        [computed]
        if activation == "softmax"
        else [computed, Words("or as matrices,"), _chain(_symbol("delta"), matrices)]
    )
    steps = DERIVATIVE.get(activation, [_chain(A, forward(activation, count, Z))])
    return [*steps, Words("so, as the code has it,"), *last]


def of_loss(loss, activation, count):
    """How delta of the last layer, or da, follows from the loss; n is its divisor."""
    computed = loss_backward(loss, activation, count, Z, A, Y, N)
    steps = TOGETHER.get((loss, activation), SQUARED if loss.endswith("squared_error") else [])
    of = DELTA if together(loss, activation) else DA
    said = "so, divided by n as the loss is," if steps else "The derivative of the loss, divided by n as it is:"
    return [*steps, Words(said), _chain(of, computed)]


def of_affine():
    """dW, db and da from delta, in components and as matrices."""
    z, W, b, below = _symbol("z", "j"), _symbol("W", "k", "j"), _symbol("b", "j"), _symbol("a", "k")
    return [
        _chain(z, Total(below * W, 0, "k", "k", b)),
        _chain(partial(z, W), below),
        _chain(partial(z, b), Symbol("1")),
        _chain(partial(z, below), W),
        Words("so, by the chain rule, in components and as matrices, with a the layer's input:"),
        _chain(_symbol("dW", "k", "j"), below * DELTA),
        _chain(_symbol("dW"), Transposed(_symbol("a")) @ _symbol("delta")),
        _chain(_symbol("db", "j"), DELTA),
        _chain(_symbol("da", "k"), _over("j", DELTA * W)),
        _chain(_symbol("da"), _symbol("delta") @ Transposed(_symbol("W"))),
    ]


def forward(activation, count, z):
    """a as the code computes it from z."""
    return ACTIVATIONS[activation].forward(Symbolic(count), z)


def backward(activation, count, z, a, da):
    """delta as the code computes it from z, a and da."""
    return ACTIVATIONS[activation].backward(Symbolic(count), z, a, da)


def loss(loss, activation, count, z, a, y, n, w=None, *, total):
    """The loss of one sample as the code computes it, w its weight if it has one, and what its terms call S, whose
    number is `total`: a sum over the row, or None."""
    arithmetic = _Naming(count, total)
    computed = LOSSES[loss].with_output(activation).terms(arithmetic, z, a, y)
    return Total(computed if w is None else w * computed, count, "j", "j") / n, arithmetic.named


class _Naming(Symbolic):
    """`Symbolic`, but a sum over the row is called S and kept apart."""

    def __init__(self, count, number):
        super().__init__(count)
        self.named, self._number = None, number

    def total(self, x):
        self.named = super().total(x)
        return Scalar("S", self._number)


def loss_backward(loss, activation, count, z, a, y, n, w=None):
    """What the loss gives the last layer: delta with a cross-entropy, else da."""
    error = LOSSES[loss].with_output(activation).error(Symbolic(count), z, a, y) / n
    return error if w is None else w * error
