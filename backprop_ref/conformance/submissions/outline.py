"""What has to be known of a function or class before it is called: its name, and the arguments it takes."""

import dis
import inspect
import itertools
import re
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from backprop_ref.conformance.submissions.settings import role
from backprop_ref.errors import is_library

STEPS = (
    *("partial_fit", "train_step", "train_on_batch", "train_batch", "step", "update", "fit", "train"),
    *("learn", "gradient_descent", "optimize", "train_epoch", "train_network", "train_model", "fit_model"),
    *("trainiere", "lerne", "entrainer", "apprendre", "entrenar", "训练", "训练一步"),
)
"""Methods that train, the smallest steps first."""


LARGEST = 999
"""Numbers in code that are larger are no sizes of networks, nor of all their weights."""
MOST = 64
"""So many functions are read that a function calls, and so many entries of a list."""

SLICES = {"BINARY_SLICE": 2, "STORE_SLICE": 2}
"""Instructions that take so many ends of a slice, in versions of Python that have them."""
SHORTENED = "__run_for_one_epoch__"
"""Under this name a module keeps the names of functions of which the number of epochs was made 1."""
BESIDE = ("adamw", "rmsprop", "adagrad")
"""Optimizers of golden vectors that code claims by naming them: else ``if sgd: … else: …`` takes them for Adam."""
GATHERED = ("weights", "biases", "params", "theta")
"""Roles of names that hold the weights or biases of several layers."""
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
    pairs: tuple[tuple[int, int], ...] = ()
    """Whole numbers that stand in its code one after the other, such as the shapes of matrices."""
    ranges: tuple[tuple[int, int], ...] = ()
    """Ends of ranges, such as of a loop and the one within it."""
    returns_weights: bool = False
    """Whether what it returns are weights after a step, and no gradients."""
    batched: bool = False
    """Whether its code speaks of several samples: an axis, a mean, the length of an array."""
    reads: tuple[tuple[str, int], ...] = ()
    """Data and weights of its module that a function reads by name, and the line in which it first does."""
    branches: bool = True
    """Whether its code, or code in files beside it, may do one thing or another."""
    optimizers: tuple[str, ...] = ()
    """Those among `BESIDE` that its code names."""
    shortened: tuple[str, ...] = ()
    """The functions in it of which the number of epochs that stands in the code was made 1."""

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
            getattr(found, "__name__", type(found).__name__),
            is_class,
            _arguments(found),
            methods,
            *_code(found),
            returns_weights=bool(getattr(found, "returns_weights", False)),
            batched=_batched(found),
            reads=_reads(found),
            branches=_branches(found),
            optimizers=_optimizers(found),
            shortened=_shortened(found),
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
            _pairs_of(document["pairs"]),
            _pairs_of(document["ranges"]),
            bool(document["returns_weights"]),
            bool(document["batched"]),
            tuple((str(name), int(line)) for name, line in document["reads"]),
            bool(document["branches"]),
            tuple(map(str, document["optimizers"])),
            tuple(map(str, document["shortened"])),
        )


def _pairs_of(found) -> tuple[tuple[int, int], ...]:
    return tuple((int(one), int(two)) for one, two in found)


def _code(found) -> tuple[tuple[int, ...], int, tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]:
    """Small numbers in the code, the number of layers that it has names for, neighbouring numbers, ranges."""
    numbers: set[int] = set()
    names: set[str] = set()
    pairs: list[tuple[int, int]] = []
    ranges: list[tuple[int, int]] = []
    known: dict[str, Any] = {}
    for part in parts_of(found):
        if inspect.isfunction(part):
            known = part.__globals__
            numbers |= _numbers((part.__defaults__, list((part.__kwdefaults__ or {}).values())))
            numbers |= _numbers([part.__globals__.get(name) for name in _names(part.__code__)])
        else:
            names |= {*part.co_varnames, *part.co_names, *(one for one in part.co_consts if isinstance(one, str))}
            numbers |= _numbers(part.co_consts)
            pairs += itertools.pairwise(_in_order(part, known))
            ranges += itertools.pairwise(_ends(part))
    layers = {int(match[1]) for name in names if (match := OF_A_LAYER.fullmatch(name))}
    small = tuple(sorted(number for number in numbers if 1 <= number <= LARGEST))
    depth = len(layers) if layers == set(range(min(layers, default=0), max(layers, default=0) + 1)) else 0
    two, ends = (tuple(pair for pair in some if all(1 <= n <= LARGEST for n in pair)) for some in (pairs, ranges))
    return small, depth, two, ends


def parts_of(found) -> Iterator[Any]:
    """A function, or those of a class, with the functions of their module that they call; and the code of each."""
    parts = vars(found).values() if inspect.isclass(found) else getattr(found, "parts", (found,))
    left = [part for part in parts if inspect.isfunction(part) or part is found]
    seen: list[Any] = []
    while left:
        part = left.pop()
        part = inspect.unwrap(part) if inspect.isfunction(part) else part
        if inspect.isfunction(part):
            used = [part.__globals__.get(name) for name in _names(part.__code__)]
            nearby = [other for other in used if inspect.isfunction(other) and other.__module__ == part.__module__]
            left += [other for other in nearby if other not in seen and len(seen) < MOST]
            seen.append(part)
            yield part
            part = part.__code__
        if inspect.iscode(part):
            yield part
            left += [one for one in part.co_consts if inspect.iscode(one)]


def _reads(found) -> tuple[tuple[str, int], ...]:
    """Globals by the names of x, y, weights or biases, which are no functions, in the order in which they are read."""
    first: dict[str, int] = {}
    known: dict[str, Any] = {}
    for part in parts_of(found) if inspect.isfunction(found) else ():
        if inspect.isfunction(part):
            known = part.__globals__
            continue
        for instruction in dis.get_instructions(part):
            name, line = instruction.argval, instruction.positions and instruction.positions.lineno
            if instruction.opname == "LOAD_GLOBAL" and name in known and not callable(known[name]) and line:
                first.setdefault(name, line)
    return tuple((name, line) for name, line in first.items() if role(name) in {"x", "y", "W", "b", *GATHERED})


def _branches(found) -> bool:
    """Whether there is a condition in the code of a function, or code in another file that may have one."""
    if not inspect.isfunction(found) or hasattr(found, "parts"):
        return True
    for part in parts_of(found):
        if inspect.isfunction(part):
            used = [part.__globals__.get(name) for name in _names(part.__code__)]
            files = [getattr(sys.modules.get(getattr(one, "__module__", "")), "__file__", None) or "" for one in used]
            files += [getattr(one, "__file__", None) or "" for one in used if inspect.ismodule(one)]
            if not all(file == part.__code__.co_filename or not file or is_library(file) for file in files):
                return True
        elif any("JUMP_IF" in one.opname for one in dis.get_instructions(part)):
            return True
    return False


def _batched(found):
    codes = [part for part in parts_of(found) if inspect.iscode(part)]
    names = {name for code in codes for name in code.co_names}
    keywords = {name for code in codes for part in code.co_consts if isinstance(part, tuple) for name in part}
    return bool({"mean", "average"} & names or {"axis", "keepdims"} & keywords) or any(map(_measures, codes))


def _shortened(found) -> tuple[str, ...]:
    functions = [part for part in parts_of(found) if inspect.isfunction(part)]
    return tuple(one.__name__ for one in functions if one.__name__ in one.__globals__.get(SHORTENED, ()))


def _optimizers(found) -> tuple[str, ...]:
    codes = [part for part in parts_of(found) if inspect.iscode(part)]
    named = " ".join(text for code in codes for text in (*code.co_consts, *code.co_names) if isinstance(text, str))
    return tuple(name for name in BESIDE if name in named.lower())


def _measures(code):
    """Whether code takes one of an array's lengths, or that of its samples."""
    before = ""
    for instruction in dis.get_instructions(code):
        name = instruction.argval if isinstance(instruction.argval, str) else ""
        if before == "shape" and instruction.opname == "LOAD_CONST" and type(instruction.argval) is int:
            return True
        if before == "len" and role(name) in {"x", "y"}:
            return True
        if instruction.opname.startswith("LOAD"):
            before = name
    return False


def _names(code):
    """The names that code reads, also in functions within it."""
    return {*code.co_names, *(name for one in code.co_consts if inspect.iscode(one) for name in _names(one))}


def _in_order(code, known):
    """The whole numbers that code loads, in the order in which they stand in it, but for the ends of slices.

    `known`: the globals, which may be such numbers.
    """
    loaded: list[tuple[int, ...]] = []  # by each instruction
    for instruction in dis.get_instructions(code):
        value, ends = instruction.argval, SLICES.get(instruction.opname, 0)
        if instruction.opname == "BUILD_SLICE":
            ends = instruction.arg or 0
        if ends:
            loaded[-ends:] = [()] * ends
        if instruction.opname == "LOAD_GLOBAL":
            value = known.get(value)
        taken = instruction.opname.startswith("LOAD") and isinstance(value, int | tuple) and value is not True
        values = (value if isinstance(value, tuple) else (value,)) if taken else ()
        loaded.append(tuple(one for one in values if type(one) is int))
    return itertools.chain.from_iterable(loaded)


def _ends(code) -> Iterator[int]:
    """The ends of ranges up to a number in the code, in the order in which they stand in it."""
    asked, end = False, None
    for instruction in dis.get_instructions(code):
        value = instruction.argval
        if value == "range":
            asked, end = True, None
        elif asked and instruction.opname.startswith("LOAD"):
            end = value if type(value) is int else None
            asked = end is not None
        elif asked and instruction.opname == "CALL":
            asked = False
            if end is not None:
                yield end


def _numbers(value) -> set[int]:
    """The whole numbers in nested tuples and lists."""
    if isinstance(value, tuple | list):
        return {number for part in value[:MOST] for number in _numbers(part)}
    return {value} if type(value) is int else set()


def _arguments(function):
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    return [Argument(p.name, p.kind.name, p.default is p.empty, type(p.default).__name__) for p in parameters]
