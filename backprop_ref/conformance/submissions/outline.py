"""What has to be known of a function or class before it is called: its name, and the arguments it takes."""

import inspect
from typing import Any, NamedTuple

STEPS = ("partial_fit", "train_step", "train_on_batch", "train_batch", "step", "update", "fit", "train")
"""Methods that train, the smallest steps first."""


class Argument(NamedTuple):
    """One argument of a signature."""

    name: str
    kind: str
    """``POSITIONAL_OR_KEYWORD`` and so on, as `inspect` names them."""
    needed: bool
    """Whether it has no default."""


class Outline(NamedTuple):
    """A function or class, without its code."""

    name: str
    is_class: bool
    arguments: list[Argument] | None
    """None: not known."""
    methods: dict[str, list[Argument]]
    """Of a class: those among `STEPS`, without self."""

    @classmethod
    def of(cls, found: Any) -> "Outline":
        """That of anything that can be called."""
        is_class = inspect.isclass(found)
        steps = [name for name in STEPS if is_class and callable(getattr(found, name, None))]
        methods = {name: (_arguments(getattr(found, name)) or [])[1:] for name in steps}
        return cls(getattr(found, "__name__", type(found).__name__), is_class, _arguments(found), methods)

    def document(self) -> dict[str, Any]:
        """JSON-ready; the other way round: `from_document`."""
        return self._asdict()

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> "Outline":
        """What `document` gave."""
        arguments = document["arguments"]
        return cls(
            str(document["name"]),
            bool(document["is_class"]),
            None if arguments is None else [Argument(*one) for one in arguments],
            {name: [Argument(*one) for one in found] for name, found in document["methods"].items()},
        )


def _arguments(function):
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    return [Argument(p.name, p.kind.name, p.default is p.empty) for p in parameters]
