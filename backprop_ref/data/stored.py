"""The preprocessing in a model file, as a type."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from backprop_ref.stored import Stored


class StoredPreprocessing(Stored):
    """`preprocessing.Preprocessing.to_dict`."""

    feature_names: Annotated[list[str], Field(min_length=1)]
    target_name: str
    classes: Annotated[list[str], Field(min_length=2)] | None
    shift: list[float]
    scale: list[float]
    target_shift: float
    target_scale: float
    one_column: bool
    normalize: Literal["standardize", "minmax", "none"]

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        n = len(self.feature_names)
        if len(self.shift) != n or len(self.scale) != n or 0.0 in self.scale:
            raise ValueError(f"a shift and a scale other than 0 is needed for each of {n} features")
        if self.one_column and len(self.classes or ()) != 2:
            raise ValueError("one_column needs two classes")
        return self
