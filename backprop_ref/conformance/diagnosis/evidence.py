"""What was submitted, and what is found in it."""

from dataclasses import asdict, dataclass
from typing import Any

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


@dataclass(frozen=True)
class Finding:
    """A bug, and why it is thought to be there; `case`, `quantity` and `layer` say where it first shows."""

    id: str
    confidence: str
    text: str
    evidence: str
    right: str = ""
    wrong: str = ""
    hint: str = ""
    case: str = ""
    quantity: str = ""
    layer: int = 0
    acceptable: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As a JSON-ready dictionary."""
        return asdict(self)
