"""What has to be known of a function or class before it is called: its name, and the arguments it takes."""

import inspect
import re
from typing import Any, NamedTuple

STEPS = (
    *("partial_fit", "train_step", "train_on_batch", "train_batch", "step", "update", "fit", "train"),
    *("learn", "gradient_descent", "optimize", "train_epoch", "train_network", "train_model", "fit_model"),
)
"""Methods that train, the smallest steps first."""


LARGEST = 12
"""A size that is written into code is at most so large, where it is looked for."""


OF_A_LAYER = re.compile(r"(?:W|w|[Ww]eights?|[Tt]heta)_?(\d)")


class Argument(NamedTuple):
    """One argument of a signature."""

    name: str
    kind: str
    """``POSITIONAL_OR_KEYWORD`` and so on, as `inspect` names them."""
    needed: bool
    """Whether it has no default."""
    default: str = ""
    """The name of the default's type."""

    def fits(self, value: Any) -> bool:
        """Whether a value is of a kind with the default: no name is given where a function or an object is usual."""
        if self.needed or self.default in {"NoneType", type(value).__name__}:
            return True
        kinds = ({"int", "float", "bool"}, {"list", "tuple"})
        return any({self.default, type(value).__name__} <= kind for kind in kinds)


class Outline(NamedTuple):
    """A function or class, without its code."""

    name: str
    is_class: bool
    arguments: list[Argument] | None
    """None: not known."""
    methods: dict[str, list[Argument]]
    """Of a class: those that can be called by others, without self."""
    numbers: tuple[int, ...] = ()
    """The small whole numbers that stand in its code: if it is for some sizes only, these are among them."""
    depth: int = 0
    """How many layers its names W1, W2, … speak of; 0: there are none."""

    @classmethod
    def of(cls, found: Any) -> "Outline":
        """That of anything that can be called."""
        is_class = inspect.isclass(found)
        methods = {}
        for name in dir(found) if is_class else ():
            if (not name.startswith("_") or name == "__call__") and callable(getattr(found, name, None)):
                bound = isinstance(inspect.getattr_static(found, name), staticmethod | classmethod)
                methods[name] = (_arguments(getattr(found, name)) or [])[0 if bound else 1 :]
        return cls(
            getattr(found, "__name__", type(found).__name__), is_class, _arguments(found), methods, *_code(found)
        )

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
            tuple(int(number) for number in document["numbers"]),
            int(document["depth"]),
        )


def _code(found) -> tuple[tuple[int, ...], int]:
    """The small numbers in somebody's code, and the number of layers that it has names for."""
    parts = [part for part in vars(found).values() if inspect.isfunction(part)] if inspect.isclass(found) else [found]
    codes = [part.__code__ for part in map(inspect.unwrap, parts) if inspect.isfunction(part)]
    numbers: set[int] = set()
    names: set[str] = set()
    while codes:
        code = codes.pop()
        names |= {*code.co_varnames, *code.co_names}
        for constant in code.co_consts:
            for one in constant if isinstance(constant, tuple) else (constant,):
                numbers |= {one} if type(one) is int else set()
                names |= {one} if isinstance(one, str) else set()
            codes += [constant] if inspect.iscode(constant) else []
    for part in parts:
        there = getattr(part, "__globals__", {})
        used = getattr(getattr(part, "__code__", None), "co_names", ())
        numbers |= {there[name] for name in used if type(there.get(name)) is int}
    layers = {int(match[1]) for name in names if (match := OF_A_LAYER.fullmatch(name))}
    small = tuple(sorted(number for number in numbers if 1 <= number <= LARGEST))
    return small, len(layers) if layers == set(range(min(layers, default=0), max(layers, default=0) + 1)) else 0


def _arguments(function):
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    return [Argument(p.name, p.kind.name, p.default is p.empty, type(p.default).__name__) for p in parameters]
