"""The gradient in the moments that a first step of Adam or RMSprop leaves in attributes, which the step itself hides.

Of Adam, m = (1 − β₁)·g and v = (1 − β₂)·g²; of RMSprop, v = (1 − ρ)·g², and each weight moves by η/√(1 − ρ).
"""

import itertools

import numpy as np

from backprop_ref.conformance.submissions.settings import RATES
from backprop_ref.conformance.submissions.steps.slots import paths

USUAL = (0.9, 0.999)
NEAR = 1e-6


def from_moments(slots, before, rate):
    """dW and db as the model has them, after a first step from what was there `before`; None where no moments are.

    Parameters
    ----------
    slots : Slots
    before : list of lists of arrays
        Weights, and biases if there are any, in our layout.
    rate : float or None
    """
    if slots.folded:
        return None
    after = [part for part in slots.get() if part is not None]
    pairs = (pair for lists in zip(before, after, strict=True) for pair in zip(*lists, strict=True))
    moves = [old - new for old, new in pairs]
    n = len(slots.weights)
    shapes = slots.shapes_of([*slots.weights, *(slots.biases or ())])
    moves = [
        (move.T if slots.transposed and place < n else move).reshape(shape)
        for place, (move, shape) in enumerate(zip(moves, shapes, strict=True))
    ]
    taken = {tuple(path) for path in (*slots.weights, *(slots.biases or ()))}
    there = [slots.at(path) for path, _ in paths(slots.model, every=True) if path not in taken]
    if not any(part.shape in shapes and np.any(part) and np.all(part >= 0.0) for part in there):
        return None
    floats = {float(slots.at(path)) for path, shape in paths(slots.model, scalars=True, every=True) if shape == ()}
    moments = _first_moments(moves, there, floats) or _second_moments(moves, there, rate, floats)
    parts = (moves[:n], moves[n:])
    found = None if moments is None else [_in_order(part, there, moments) for part in parts]
    return None if found is None or None in found else tuple(found)


def _in_order(moves, there, gradient):
    """The gradient of each tensor of one kind, from arrays that stand in the order of the layers."""
    found, place = [], -1
    for move in moves:
        fitting = ((at, g) for at, part in enumerate(there) if at > place and (g := gradient(move, part)) is not None)
        at, g = next(fitting, (place, None))
        if g is None and np.any(move):
            return None
        found.append(np.zeros_like(move) if g is None else g)
        place = at
    return found


def _first_moments(moves, there, floats):
    """Of Adam: what an array tells of the gradient that has the sign of each move and beside it, by the usual betas or
    its own, a multiple of its square."""
    betas = [*USUAL, *sorted(one for one in floats if 0.0 < one < 1.0)]
    pairs = [(one, (1.0 - two) / (1.0 - one) ** 2) for one, two in itertools.product(betas, betas)]
    squares = [part for part in there if np.all(part >= 0.0) and np.any(part)]

    def beta(move, part):
        if part.shape != move.shape or not np.array_equal(np.sign(part), np.sign(move)):
            return None
        square = part**2
        alike = [other for other in squares if other.shape == part.shape]
        return next((one for one, c in pairs if any(np.allclose(v, c * square, NEAR, 0.0) for v in alike)), None)

    largest = max(moves, key=np.count_nonzero)
    one = next((found for part in there if (found := beta(largest, part)) is not None), None)
    if one is None or not np.any(largest):
        return None
    return lambda move, part: None if beta(move, part) != one else part / (1.0 - one)


def _second_moments(moves, there, rate, floats):
    """Of RMSprop and Adagrad: what an array tells of which each move is the rate times the root of v/(1 − ρ) over the
    root of v and ε."""
    amount = np.max(np.abs(np.concatenate([move.ravel() for move in moves])))
    left = 0.0 if rate is None or not amount else round((rate / amount) ** 2, 4)  # 1 − ρ
    if not 0.0 < left <= 1.0:
        return None
    epsilons = sorted({0.0, 1e-10, 1e-8, 1e-7, 1e-6, *(one for one in floats if 0.0 < one < 1e-3)})

    def gradient(move, part):
        if part.shape != move.shape or not np.any(move) or not np.array_equal(part > 0.0, move != 0.0):
            return None
        root = np.sqrt(part)
        due = rate * root / np.sqrt(left)
        if any(np.allclose(due, np.abs(move) * (root + epsilon), NEAR, 1e-14) for epsilon in epsilons):
            return np.sign(move) * root / np.sqrt(left)
        return None

    largest = max(moves, key=np.count_nonzero)
    return gradient if any(gradient(largest, part) is not None for part in there) else None


def rate_of(keywords, settings):
    """The learning rate that a model was given, to its constructor or to a method."""
    given = keywords | settings
    return next((given[name] for name in RATES if isinstance(given.get(name), float)), None)
