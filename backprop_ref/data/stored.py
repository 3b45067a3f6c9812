"""The preprocessing in a model file, as a type."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from backprop_ref.stored import Stored


class StoredColumn(Stored):
    """`columns.Column.to_dict`."""

    name: str
    kind: Literal["number", "boolean", "category", "hashed", "date", "id", "left out"]
    decimal: Literal[".", ","] = "."
    groups: Literal["", ".", ","] = ""
    prefix: str = ""
    suffix: str = ""
    values: list[str] = Field(default_factory=list)
    form: str = ""
    nothing: list[str] = Field(default_factory=list)
    why: str = ""


class StoredPreprocessing(Stored):
    """`preprocessing.Preprocessing.to_dict`."""

    feature_names: Annotated[list[str], Field(min_length=1)]
    target_name: str
    classes: Annotated[list[str], Field(min_length=2)] | None
    shift: list[float]
    scale: list[float]
    target_shift: float | list[float]
    target_scale: float | list[float]
    one_column: bool
    normalize: Literal["standardize", "minmax", "none"]
    rules: list[StoredColumn] = Field(default_factory=list)
    missing: Literal["error", "drop", "mean", "median", "most-frequent"] = "error"
    fill: list[float] = Field(default_factory=list)
    indicators: list[Annotated[int, Field(ge=0)]] = Field(default_factory=list)
    targets: list[str] = Field(default_factory=list)
    named: bool = True

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        n = len(self.feature_names) + len(self.indicators)
        if len(self.shift) != n or len(self.scale) != n or 0.0 in self.scale:
            raise ValueError(f"a shift and a scale other than 0 is needed for each of {n} features")
        if self.one_column and len(self.classes or ()) != 2:
            raise ValueError("one_column needs two classes")
        if self.fill and (len(self.fill) != len(self.feature_names) or max(self.indicators, default=0) >= n):
            raise ValueError("a value to fill in is needed for each feature")
        shift = self.target_shift
        if (len(shift) if isinstance(shift, list) else 0) != len(self.targets):
            raise ValueError("a shift is needed for each target")
        return self
