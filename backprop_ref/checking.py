"""``br.verify``: somebody's backpropagation, judged from Python."""

from collections.abc import Callable
from types import NoneType
from typing import TypedDict, Unpack

from backprop_ref.conformance.outcomes.outcome import Outcome
from backprop_ref.errors import InvalidInput, check_is, unknown
from backprop_ref.network import Network


class Conventions(TypedDict, total=False):
    """What is known of somebody's code, as ``backprop-ref verify --help`` explains its flags."""

    weights: str
    samples: str
    biases: str
    one_sample: bool
    in_place: bool
    learning_rate: float


def verify(
    f: Callable[..., object] | str | None = None,
    *,
    command: str | None = None,
    network: Network | str | None = None,
    time_limit: float = 10.0,
    trust: bool = False,
    **conventions: Unpack[Conventions],
) -> Outcome:
    """Whether a backward pass is right; if it is not, which rule is off.

    Each rule is measured with inputs made for it. What is right is held to the golden vectors of its networks too.

    Parameters
    ----------
    f : callable or str
        A function ``f(network, weights, biases, x, y)`` that gives ``loss, dW, db``, or a class with a method such as
        ``fit``. A text such as ``"mine.py:gradients"`` names one, which runs in a process of its own; in a file alone,
        such as ``"mine.py"``, what goes back is found.
    command : str
        Instead of `f`: a program, which reads cases and writes answers as JSON.
    network : Network or str
        The only network it is made for, such as ``"2-2-1:sigmoid,sigmoid:sse"``. By default this is found out.
    time_limit : float
        Seconds for each call.
    trust : bool
        Whether it may use files, network and memory as you may; else it is kept from them where the system can do that.
    **conventions
        What is known of the code, such as ``weights="out-in"``: the flags of ``backprop-ref verify`` as keywords.

    Raises
    ------
    InvalidInput
        If there is nothing to judge, or no such network or convention.

    Examples
    --------
    >>> import numpy as np
    >>> import backprop_ref as br
    >>> def uphill(network, weights, biases, x, y):
    ...     error = x @ weights[0] + biases[0] - y
    ...     return (error**2).mean(), [-2 * x.T @ error / error.size], [-2 * error.sum(axis=0) / error.size]
    >>> outcome = br.verify(uphill, network="3-2:linear:mse")
    >>> outcome.verdict, outcome.exit, [found.id for found in outcome.findings]
    ('WRONG', 1, ['sign'])
    """
    from backprop_ref.conformance.measuring.verify import submission_of, verify_file, verify_submission
    from backprop_ref.conformance.submissions.calling import check_time_limit
    from backprop_ref.conformance.submissions.confined import trusted
    from backprop_ref.conformance.submissions.conventions import Declared

    check_is("command", command, (str, NoneType), "a command such as './mine'")
    check_is("network", network, (Network, str, NoneType), "a Network, or text such as '2-2-1:sigmoid,sigmoid:sse',")
    check_is("trust", trust, bool, "True or False")
    check_time_limit(time_limit)
    if (f is None) == (command is None):
        raise InvalidInput(f"{'nothing' if f is None else 'both f and command'} to verify: give one of f and command")
    if f is not None and not isinstance(f, str) and not callable(f):
        raise InvalidInput(
            f"f is {type(f).__name__}: a function, a class or text such as 'mine.py:gradients' is needed"
        )
    for keyword in conventions:
        if keyword not in Conventions.__annotations__:
            raise unknown("convention", keyword, list(Conventions.__annotations__))
    with trusted(trust):
        if isinstance(f, str) and f.endswith(".py"):
            return verify_file(f, Declared(**conventions), time_limit, network)
        submission = submission_of(f, command, Declared(**conventions), time_limit)
        target = command or f
        name = target if isinstance(target, str) else getattr(f, "__qualname__", type(f).__name__)
        return verify_submission(submission, target=name, network=network)
