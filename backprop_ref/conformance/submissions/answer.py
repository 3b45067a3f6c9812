"""What came of asking a submission for one case."""

from typing import NamedTuple

from backprop_ref.conformance.cases import Values


class Answer(NamedTuple):
    """What came out for one case, in our layout."""

    values: Values | None = None
    problem: str = ""
    """Why there is no answer: the case counts as failed."""
    left_out: str = ""
    """Why the case was not asked: it decides nothing."""
    changed: tuple[str, ...] = ()
    """Names of the arguments that were changed in place, where they should not be."""
    slack: Values | None = None
    """Rounding errors which the way of asking adds, for dW and db."""
    again: Values | None = None
    """What a second, identical call gave, if that differs."""
