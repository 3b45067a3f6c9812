"""A program with its truth."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Planted(NamedTuple):
    """A bug that was put in."""

    id: str
    rule: str
    layers: tuple[int, ...]
    also: tuple[str, ...] = ()
    """Ids that name it as well."""
    form: int = 0


@dataclass(frozen=True)
class Program:
    """Source text, the name in it to be judged, and what is true of it.

    Attributes
    ----------
    group : str
        right, single, pair, triple, unknown-right, unknown-wrong, class-right, class-wrong.
    expect : str
        right; own (the gradient of its own loss, which is not one of ours); wrong.
    """

    key: str
    group: str
    source: str
    name: str
    expect: str
    planted: tuple[Planted, ...] = ()
    about: str = ""
    spec: Any = field(default=None, repr=False)
    witness: str = field(default="", repr=False)
    """The same computation as a function that also returns its loss, for `Spec.plain`."""
