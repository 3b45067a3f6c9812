"""One golden vector, what a submission answers to it, and the verdict on each tensor of that."""

import math
from dataclasses import dataclass, field
from typing import Any

from backprop_ref.conformance.cases import Case, Expected, Key, Values, tensor_name
from backprop_ref.conformance.judging.verdict import EXACT, WITHIN_BOUND, WRONG, Verdict
from backprop_ref.conformance.submissions.answer import Answer

NOT_JUDGED, NO_ANSWER = "NOT JUDGED", "NO ANSWER"
ORDER = (NOT_JUDGED, EXACT, WITHIN_BOUND, WRONG, NO_ANSWER)
"""From what decides nothing to the worst: a case's verdict is the worst of its tensors'."""


@dataclass
class Judged:
    """One case: its answer in our conventions, and what is to be said of it."""

    case: Case
    answer: Answer
    values: Values | None = None
    """In our layout, divided by the factor of the loss."""
    expected: Expected | None = None
    details: dict[Key, Verdict] = field(default_factory=dict)
    """The verdict on each quantity, by name and layer, in the order of computation."""
    verdict: str = NOT_JUDGED
    reason: str = ""
    again: Values | None = None
    """What a second, identical call gave, if that differs; like `values`."""

    slack: Values | None = None
    """Rounding errors of dW and db which the way of asking adds."""
    at_second: bool = False
    """Whether it is the second call that went wrong."""

    @property
    def verdicts(self) -> dict[Key, str]:
        """The verdicts by name and layer, as text."""
        return {key: found.verdict for key, found in self.details.items()}

    @property
    def changed(self) -> tuple[str, ...]:
        """Names of the arguments found changed in place."""
        return self.answer.changed

    @property
    def first_wrong(self) -> Key | None:
        """Name and layer of the first wrong quantity, in the order of computation."""
        return next((key for key, found in self.verdicts.items() if found == WRONG), None)

    def document(self) -> dict[str, Any]:
        """JSON-ready; numbers that are not finite are texts."""
        return {
            "name": self.case.name,
            "verdict": self.verdict,
            "deciding": self.case.deciding,
            "reason": self.reason,
            "tensors": {tensor_name(key): verdict for key, verdict in self.verdicts.items()},
            "details": {
                tensor_name(key): {
                    "words": found.words,
                    "entry": None if found.entry is None else list(found.entry),
                    "ulp": _plain(found.ulp),
                    "share_of_bound": _plain(found.bounds),
                }
                for key, found in self.details.items()
                if found.verdict != EXACT
            },
        }


def _plain(number: float) -> float | str:
    """A float for JSON, which knows neither NaN nor infinity."""
    return number if math.isfinite(number) else str(number)
