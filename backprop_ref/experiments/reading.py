"""What the files of runs, cells of a sweep and comparisons hold, as types; None is a number that was not finite."""

from typing import Annotated

from pydantic import ConfigDict, Field, model_validator

from backprop_ref.experiments.schema import one_of
from backprop_ref.report.ends import OUTCOMES, STATES
from backprop_ref.stored import Count, Stored, StoredNetwork


class Score(Stored):
    """What `experiments.runner.score` found."""

    loss: float | None
    accuracy: float | None = None
    r2: float | None = None
    classes: list[str] = Field(default_factory=list, min_length=1)
    confusion: list[list[Count]] = Field(default_factory=list)

    @model_validator(mode="after")
    def _of_one_task(self):
        given = self.model_fields_set
        if ("r2" in given) == ({"accuracy", "classes", "confusion"} <= given):
            raise ValueError("either r2, or accuracy with classes and confusion, is needed")
        if [len(row) for row in self.confusion] != [len(self.classes)] * len(self.classes):
            raise ValueError(f"confusion has not a row and a column for each of {len(self.classes)} classes")
        return self


class Results(Stored):
    """Of results.json, what a report shows."""

    network: StoredNetwork
    epochs: Count
    stopped: Annotated[str, one_of(STATES)]
    train: Score | None
    test: Score | None
    backend: str
    numerics: str
    dtype: str
    seconds: float


class Row(Stored):
    """Of cell.json, what charts draw; values on the axes of the grid and more measures stand beside it."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, str | Count | float | None]

    state: Annotated[str, one_of(STATES.values())]
    outcome: Annotated[str, one_of(OUTCOMES)]
    epochs: Count
    initial_loss: float | None
    final_loss: float | None
    all_right_from_epoch: Count | None = None
    folder: str


class Comparison(Stored):
    """A backend in what ``backprop-ref compare --json`` prints."""

    backend: str
    usable: bool
    reason: str
    exact: dict[str, bool]
    all_exact: bool
    largest_relative: float | None
    gradients: str | None
    weights: str | None
    step_seconds: Annotated[float, Field(ge=0.0, le=1e9)] | None


class Compared(Stored):
    """What ``backprop-ref compare --json`` prints."""

    reference: str
    numerics: str
    backends: Annotated[list[Comparison], Field(min_length=1)]
