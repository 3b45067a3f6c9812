"""What the kit has to say of a submission: a verdict for each tensor, conventions, notes, the first wrong entry."""

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from backprop_ref.conformance.cases import Case, Expected, Key, Values, tensor_name
from backprop_ref.conformance.judging.verdict import EXACT, WITHIN_BOUND, WRONG, Verdict
from backprop_ref.conformance.submissions.answer import Answer

NOT_JUDGED, NO_ANSWER = "NOT JUDGED", "NO ANSWER"
ACCEPTABLE, UNDECLARED = "ACCEPTABLE", "UNDECLARED"
"""Verdicts on a submission: right in another convention, and right if a convention is declared."""
ORDER = (NOT_JUDGED, EXACT, WITHIN_BOUND, WRONG, NO_ANSWER)
"""From what decides nothing to the worst: a case's verdict is the worst of its tensors'."""


class Entry(NamedTuple):
    """The entry of a tensor that is farthest outside its bound."""

    where: tuple[int, ...]
    yours: float
    truth: float
    bound: float


class Wrong(NamedTuple):
    """The first wrong quantity in the order of computation."""

    case: str
    layer: int
    quantity: str
    entry: Entry | None
    words: str = ""
    """Why it is wrong, where no entry is to blame."""

    def document(self) -> dict[str, Any]:
        """JSON-ready."""
        entry = self.entry
        numbers = {} if entry is None else {name: plain(getattr(entry, name)) for name in ("yours", "truth", "bound")}
        where = None if entry is None else list(entry.where)
        return {"case": self.case, "layer": self.layer, "quantity": self.quantity, "entry": where, **numbers}


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
        """Name and layer of the first wrong quantity."""
        return next((key for key, found in self.verdicts.items() if found == WRONG), None)

    def document(self) -> dict[str, Any]:
        """JSON-ready."""
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
                    "ulp": plain(found.ulp),
                    "share_of_bound": plain(found.bounds),
                }
                for key, found in self.details.items()
                if found.verdict != EXACT
            },
        }


class Convention(NamedTuple):
    """One way in which a submission is written."""

    flag: str
    """With its value, as one would declare it."""
    how: str
    """declared, detected, or undeclared."""
    text: str


@dataclass
class Report:
    """Everything the kit has to say of one submission."""

    target: str
    verdict: str
    cases: list[Judged]
    conventions: list[Convention]
    diagnosis: list[Any]
    first_wrong: Wrong | None
    notes: list[str]
    strict: bool = False

    @property
    def exit(self) -> int:
        """0 if everything judged is right and the conventions are known, else 1."""
        return 0 if self.verdict in {EXACT, WITHIN_BOUND, ACCEPTABLE} else 1

    def counts(self) -> dict[str, int]:
        """How many deciding cases got which verdict."""
        deciding = [judged.verdict for judged in self.cases if judged.case.deciding or self.strict]
        return {verdict: deciding.count(verdict) for verdict in ORDER if verdict in deciding}

    def document(self) -> dict[str, Any]:
        """Everything as JSON-ready dictionaries; numbers that are not finite are texts."""
        first = self.first_wrong
        return {
            "target": self.target,
            "verdict": self.verdict,
            "exit": self.exit,
            "counts": self.counts(),
            "first_wrong": None if first is None else first.document(),
            "diagnosis": [found.to_dict() for found in self.diagnosis],
            "conventions": [convention._asdict() for convention in self.conventions],
            "notes": self.notes,
            "cases": [judged.document() for judged in self.cases],
        }


def plain(number: float) -> float | str:
    """A float for JSON, which knows neither NaN nor infinity."""
    return number if math.isfinite(number) else str(number)
