"""For tests of somebody's own: ``from backprop_ref.testing import assert_gradients_right``."""

from collections.abc import Callable
from typing import Unpack

from backprop_ref.checking import Conventions, verify
from backprop_ref.network import Network


def assert_gradients_right(
    f: Callable[..., object] | str | None = None,
    *,
    command: str | None = None,
    network: Network | str | None = None,
    time_limit: float = 10.0,
    **conventions: Unpack[Conventions],
) -> None:
    """Fails, saying what is wrong, unless ``backprop_ref.verify`` calls the backward pass right.

    Takes what ``backprop_ref.verify`` takes.

    Raises
    ------
    AssertionError
        It is wrong, or could not be judged; the message says which rule is off.
    InvalidInput
        If there is nothing to judge, or no such network or convention.

    Examples
    --------
    >>> from backprop_ref.testing import assert_gradients_right
    >>> def gradients(network, weights, biases, x, y):
    ...     error = x @ weights[0] + biases[0] - y
    ...     return (error**2).mean(), [2 * x.T @ error / error.size], [2 * error.sum(axis=0) / error.size]
    >>> assert_gradients_right(gradients, network="3-2:linear:mse")
    """
    __tracebackhide__ = True
    outcome = verify(f, command=command, network=network, time_limit=time_limit, **conventions)
    if outcome.exit:
        raise AssertionError(str(outcome))
