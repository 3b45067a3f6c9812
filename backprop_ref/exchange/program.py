"""What a program of a trained network says, whatever its language: from raw numbers to outputs and a class."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backprop_ref.data.preprocessing import Preprocessing
from backprop_ref.errors import InvalidInput
from backprop_ref.kernels.plain_code import identifier
from backprop_ref.metrics import threshold
from backprop_ref.network import Network
from backprop_ref.network.model_file import Model
from backprop_ref.parameters import Parameters
from backprop_ref.version import __version__

MOST_LISTED = 100
"""Features and classes whose names a header lists."""


@dataclass(frozen=True)
class Program:
    """A network to be written as a program, and how its functions are called."""

    name: str
    network: Network
    params: Parameters
    preprocessing: Preprocessing | None

    @classmethod
    def of(cls, model: Model, path: Path) -> Program:
        """The program of a model, named after its file."""
        name = identifier(path.stem)
        if not name.isidentifier() or not name.isascii():
            raise InvalidInput(
                f"{path}: functions are named after the file: begin its name with a letter, and use letters and digits"
            )
        if not np.isfinite(model.params.flat).all():
            raise InvalidInput("the parameters are not all finite, so no program of them would compute anything")
        preprocessing = None if model.preprocessing is None else _read(model.preprocessing)
        return cls(name, model.network, model.params, preprocessing)

    @property
    def dtype(self) -> str:
        """That of the parameters."""
        return self.params.dtype.name

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; none of numbers, or where there is no table behind it."""
        return (self.preprocessing and self.preprocessing.classes) or ()

    @property
    def n_features(self) -> int:
        """How many numbers it is given."""
        return self.network.sizes[0] if self.preprocessing is None else len(self.preprocessing.feature_names)

    @property
    def least(self) -> float:
        """Above it a single output says the second class."""
        return threshold(self.network)

    @property
    def units(self) -> tuple[float, float]:
        """Scale and shift of the output, where it is one number of a table's."""
        assert self.preprocessing is not None
        scale, shift = self.preprocessing.target_scale, self.preprocessing.target_shift
        assert isinstance(scale, float | int) and isinstance(shift, float | int), "of one target"
        return float(scale), float(shift)

    @property
    def activations(self) -> list[str]:
        """Each that it has, once, but for those that change nothing."""
        return [name for name in dict.fromkeys(self.network.activations) if name != "linear"]

    def header(self) -> Iterator[str]:
        """What it is, in lines."""
        network = self.network
        yield f"{'-'.join(map(str, network.sizes))}, {', '.join(network.activations)}, trained with {network.loss}."
        yield f"Written by backprop-ref {__version__} from parameters whose sha256 is"
        yield self.params.sha256()
        yield ""
        yield f"In {self.dtype} it computes what reproducible numerics compute, to the bit."
        if self.preprocessing is not None:
            missing = ", NaN where one is missing" if self.preprocessing.fill else ""
            yield f"It is given the features as the table has them{missing}; in order:"
            yield from _listed(self.preprocessing.feature_names)
            for rule in self.preprocessing.rules:
                if rule.kind != "number" and set(rule.features) & {*self.preprocessing.feature_names}:
                    yield f"{plain(rule.name)} is {plain(rule.described())}"
            if self.classes:
                yield "Its classes are:"
                yield from _listed(self.classes)
            else:
                yield "Its outputs are in the units of:"
                yield from _listed(self.preprocessing.target_names)


def _read(values: dict[str, Any]) -> Preprocessing:
    try:
        return Preprocessing.from_dict(json.loads(json.dumps(values)))
    except (ValueError, TypeError) as error:
        raise InvalidInput(f"its preprocessing is not one of ours ({error}); save it again") from None


def _listed(names: Sequence[str]) -> Iterator[str]:
    for number, name in enumerate(names[:MOST_LISTED]):
        yield f"  {number}  {plain(name)}"
    if len(names) > MOST_LISTED:
        yield f"  … and {len(names) - MOST_LISTED} more"


def plain(text: str) -> str:
    """A text that stands in one line of a comment and does not end it."""
    return "".join(letter if letter.isprintable() else "?" for letter in text).replace("*/", "* /").replace("??", "? ?")
