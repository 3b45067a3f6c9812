"""A first step of Adam, RMSprop or Adagrad: every weight moves by one amount, whatever its gradient is."""

import numpy as np

ADAPTIVE = "each weight moves by the same amount, as by Adam or RMSprop, which hides the gradient"
SOME = 5
"""So many weights have to move for that to be seen."""


def all_equal(moves) -> bool:
    """Whether arrays of moves hold one amount, up or down, but for where they are 0."""
    sizes = np.concatenate([np.ravel(np.abs(part)) for part in moves]) if len(moves) else np.zeros(0)
    moved = sizes[sizes > 0.0]  # and no NaN
    if len(moved) <= SOME:
        return False
    least, most = np.quantile(moved, [0.1, 0.9])
    return bool(most - least <= 1e-3 * most)
