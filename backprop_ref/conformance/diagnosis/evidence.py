"""What was submitted for a case."""

from dataclasses import dataclass

from backprop_ref.conformance.cases import Case, Expected, Values


@dataclass(frozen=True)
class Evidence:
    """What was submitted for one case.

    Attributes
    ----------
    case : Case
    values : Values
        In our conventions, whatever part of them was given.
    expected : Expected, optional
        With wider bounds than the case's own, where the way of asking adds rounding errors.
    again : Values, optional
        What a second, identical call gave, if it differs.
    changed : tuple of str
        Names of the arguments that the call changed.
    """

    case: Case
    values: Values
    expected: Expected | None = None
    again: Values | None = None
    changed: tuple[str, ...] = ()
