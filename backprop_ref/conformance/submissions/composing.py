"""A function that needs what others in its module make, such as ``backward(parameters, cache, X, Y)``: together they
are one of weights, x and y.

The forward pass, the loss and the backward pass are told by their names, what one hands to the next by the names in
their ``return``, else by what such names usually mean.
"""

import ast
import copy
import dis
import inspect
import re
import sys
import textwrap
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from backprop_ref.conformance.submissions.outline import parts_of
from backprop_ref.conformance.submissions.reading import Unreadable, depth, number
from backprop_ref.conformance.submissions.settings import INTERMEDIATE, ONCE, QUIET, role, setting
from backprop_ref.conformance.submissions.steps.plans import BACKWARD, FORWARD, LOSS, carried
from backprop_ref.errors import is_library

WEIGHTS = ("params", "weights", "biases", "theta", "W", "b", "network")
"""Roles of arguments that hold weights or biases."""


GRADIENT = re.compile(r"(?:d|grad|nabla|g|dl_?d|dj_?d)_?(?:w|b|weights?|bias(?:es)?|theta)_?\d*", re.IGNORECASE)
"""Names of the gradient of one layer's weights or biases."""


def composed(found: Any) -> Any:
    """A function of weights, x and y that calls this one with what it needs; the same where it needs nothing else.

    Of a torch module, a class that makes others like it.
    """
    if not inspect.isfunction(found):
        module = not inspect.isclass(found) and hasattr(found, "forward") and hasattr(found, "state_dict")
        return _class_of(found) if module else found
    found = _given_its_globals(found)
    there = _functions(found)
    if steps := _of_neurons(found, there):
        return _stepping(steps, there)
    wanted = _inside(found)
    starts = _starts(found, there)
    if len(starts) == 1:
        return _trainer(found, starts[0])
    if not wanted:
        return found
    parts = [_forward(there, found)]
    if any(map(_is_gradient, wanted)):
        parts.append(_named(there, BACKWARD, ("back", "grad"), found))
    if None in parts:
        return found
    loss = next((one for one in there if one is not found and _is_loss(one)), None)
    return _Composed([*parts, found], loss).function()


def _class_of(module):
    """The class of a torch module, as if it took no arguments and always made this one."""

    def again(self):
        self.__dict__.update(copy.deepcopy(module).__dict__)

    return type(type(module).__name__, (type(module),), {"__init__": again, "__module__": type(module).__module__})


def _given_its_globals(found) -> Callable:
    """A function that takes x and y, which this one reads from its module, as arguments; the same where it takes some,
    where it changes globals, or where it reads others that may have been made of them."""
    parts = [part for part in parts_of(found) if inspect.isfunction(part)]
    codes = [part for part in parts_of(found) if inspect.iscode(part)]
    space, signature = found.__globals__, inspect.signature(found)
    names = [name for name in dict.fromkeys(name for one in codes for name in _globals(one)) if name in space]
    data = [name for name in names if role(name) in {"x", "y"} and not callable(space[name])]
    own = list(signature.parameters.values())
    simple = all(one.kind is one.POSITIONAL_OR_KEYWORD and one.default is one.empty for one in own)
    if (
        sorted(map(role, data)) != ["x", "y"]
        or not simple
        or not {role(one.name) for one in own} <= {*WEIGHTS}
        or not own
        or any(part.__globals__ is not space or _keeps(part) for part in parts)
        or any(one.opname in {"STORE_GLOBAL", "DELETE_GLOBAL"} for code in codes for one in dis.get_instructions(code))
        or not all(name in data or _of_code(space[name], found) for name in names)
    ):
        return found

    def given(*arguments, **keywords):
        bound = signature_of_all.bind(*arguments, **keywords).arguments
        before = {name: space[name] for name in data}
        space.update({name: bound.pop(name) for name in data})
        try:
            return found(**bound)
        finally:
            space.update(before)

    extra = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in data]
    signature_of_all = signature.replace(parameters=[*own, *extra])
    given.__name__, given.__module__ = found.__name__, found.__module__
    given.__wrapped__ = found  # type: ignore[attr-defined]
    given.__signature__ = signature_of_all  # type: ignore[attr-defined]
    return given


def _keeps(part) -> bool:
    """Whether a function holds values of its own, which may have been made of the data."""
    return bool(part.__defaults__ or part.__kwdefaults__ or part.__closure__)


def _globals(code):
    return [one.argval for one in dis.get_instructions(code) if one.opname == "LOAD_GLOBAL"]


def _of_code(value, found) -> bool:
    """Whether a global is a function of this module, or a library's function or module, which hold no data."""
    if inspect.isfunction(value) and value.__module__ == found.__module__:
        return True  # it is one of the parts
    if not isinstance(getattr(value, "__self__", None), ModuleType | None):
        return False
    place = value if inspect.ismodule(value) else sys.modules.get(getattr(value, "__module__", None) or "builtins")
    file = getattr(place, "__file__", None)
    code = inspect.ismodule(value) or inspect.isroutine(value) or inspect.isclass(value) or isinstance(value, np.ufunc)
    return code and place is not None and (file is None or is_library(file))


def _of_neurons(found, there) -> list[Callable]:
    """Functions that go forward, back, and update, each on a network of which they fill in the neurons; if this is one
    of them or calls them. Else none."""
    kinds = (("forward", "propagat"), ("back",), ("update",))
    every: list[list[Callable]] = [[], [], []]
    for one in there:
        place = next((at for at in (1, 2, 0) if _is_called(one, (), kinds[at])), None)
        names = [argument.name for argument in _arguments(one) if argument.default is argument.empty]
        if place is not None and len(names) == (2, 2, 3)[place]:
            every[place].append(one)
    if any(len(some) != 1 for some in every):
        return []
    steps = [one for (one,) in every]
    network = {_arguments(one)[0].name for one in steps}
    rated = role(_arguments(steps[2])[2].name) == "rate"
    used = found in steps or {one.__name__ for one in steps} <= {*found.__code__.co_names}
    neurons = any("weights" in one.__code__.co_consts for one in steps)
    return steps if len(network) == 1 and rated and used and neurons else []


def _stepping(steps, there):
    """One step with one sample, of a network as layers of neurons, which are dictionaries."""
    forward, backward, update = steps
    row = _arguments(update)[1].name
    training = (one for one in there if update.__name__ in one.__code__.co_names)
    labelled = any(_knows_a_last(one, row) for one in (update, *training))

    def step(params, x, y, l_rate):
        inputs = [*np.asarray(x).tolist(), *([1] if labelled else [])]
        forward(params, inputs)
        backward(params, np.asarray(y).tolist())
        update(params, inputs, l_rate)

    step.__name__ = backward.__name__
    step.__wrapped__ = backward  # type: ignore[attr-defined]
    step.__signature__ = inspect.signature(step, follow_wrapped=False)  # type: ignore[attr-defined]
    step.parts = [forward, backward, update]  # type: ignore[attr-defined]
    return step


def _knows_a_last(function, name):
    """Whether the last entry of a row is its label: it is taken as ``row[-1]``, or left out as in ``row[:-1]``."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return False
    return any(
        isinstance(node, ast.Subscript) and ast.unparse(node) in {f"{name}[-1]", f"{name}[:-1]"}
        for node in ast.walk(tree)
    )


def _is_gradient(name):
    return carried(name) == "grads" or bool(GRADIENT.fullmatch(name))


def _starts(found, there):
    """The functions that make the first weights for one that takes x and y, and trains."""
    names = [one.name for one in _arguments(found)]
    if not {"x", "y"} <= set(map(role, names)) or not any(setting(name) in ONCE for name in names):
        return []
    return [one for one in there if one.__name__ in found.__code__.co_names and "init" in one.__name__.lower()]


def _functions(found) -> list[Callable]:
    """Those of a function's module, in the order of their definition."""
    values = found.__globals__.values()
    return [one for one in values if inspect.isfunction(one) and one.__globals__ is found.__globals__]


def _arguments(function):
    return [one for one in inspect.signature(function).parameters.values() if not one.kind.name.startswith("VAR")]


def _inside(function) -> list[str]:
    """The needed arguments that other functions make: a cache, an output beside labels, gradients, Z1, A1."""
    names = [one.name for one in _arguments(function) if one.default is one.empty]
    labels = [name for name in names if role(name) == "y"]
    held = any(role(name) in WEIGHTS for name in names if name.lower() != "p")
    return [
        name
        for name in names
        if name.lower() in INTERMEDIATE
        or (name.lower() == "p" and held)
        or (carried(name) and (role(name) != "y" or len(labels) > 1) and role(name) not in {"x", "W", "b"})
        or not (role(name) or setting(name))
    ]


def _named(there, names, parts, found):
    """The last function with such a name that needs no gradients and does not train; one of these `parts` in turn."""
    fitting = [
        one
        for one in there
        if one is not found
        and not any(map(_is_gradient, _inside(one)))
        and not any(setting(argument.name) in ONCE for argument in _arguments(one))
        and "y" in {role(argument.name) for argument in _arguments(one)}
    ]
    alike = (
        [one for one in reversed(fitting) if _is_called(one, *how)]
        for how in ((names, ()), *(((), (part,)) for part in parts))
    )
    return next((some[0] for some in alike if some), None)


def _is_called(function, names, parts):
    plain = function.__name__.lower().strip("_")
    return plain in {name.lower() for name in names} or any(part in plain for part in parts)


def _forward(there, found):
    """The last function called as a forward pass that takes x and weights, and no more than is there."""
    fitting = [
        one
        for one in there
        if one is not found
        and _is_called(one, FORWARD, ("forward", "propagat"))
        and not _is_called(one, (), ("back",))
        and not _inside(one)
        and {"x"} <= {role(argument.name) for argument in _arguments(one)}
        and set(WEIGHTS) & {role(argument.name) for argument in _arguments(one)}
    ]
    named = [one for one in fitting if set(_returned(one)) & set(_inside(found))]
    return next(reversed(named or fitting), None)


def _is_loss(function):
    names = {role(one.name) for one in _arguments(function)} | {carried(one.name) for one in _arguments(function)}
    return _is_called(function, LOSS, ("cost", "loss")) and "y" in names and not _is_called(
        function, (), ("grad", "deriv", "prime", "back", "plot", "delta")
    )  # fmt: skip


def _returned(function) -> list[str]:
    """The names that stand in a function's last ``return``; empty where there are others than names."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return []
    found = [node.value for node in ast.walk(tree) if isinstance(node, ast.Return) and node.value is not None]
    parts = [] if not found else found[-1].elts if isinstance(found[-1], ast.Tuple) else [found[-1]]
    names = [part.id for part in parts if isinstance(part, ast.Name)]
    return names if len(names) == len(parts) else []


def _key(name):
    """What stands for an argument of several functions, whatever each calls it."""
    found = role(name)
    return found if found in {"x", "y", "params", "weights", "biases", "theta", "network", "rate"} else name


class _Composed:
    """Functions of which each takes what those before it made."""

    def __init__(self, parts, loss):
        self.parts, self.loss = parts, loss
        every = [*parts, *([loss] if loss else [])]
        made = {name for part in every for name in _inside(part)}
        outside: dict[str, inspect.Parameter] = {}
        for one in (one for part in every for one in _arguments(part) if one.name not in made):
            outside.setdefault(_key(one.name), one.replace(kind=one.POSITIONAL_OR_KEYWORD))
        self.outside = sorted(outside.values(), key=lambda one: one.default is not one.empty)

    @property
    def updates(self):
        """Whether the last part makes new weights of gradients."""
        return any(map(_is_gradient, _inside(self.parts[-1])))

    def function(self):
        """What they are together."""
        names = [one.name for one in self.outside]

        def together(*arguments, **keywords):
            given = dict(zip(names, arguments, strict=False)) | keywords
            return self.call({_key(name): value for name, value in given.items()})

        together.__name__ = self.parts[-1].__name__
        together.__signature__ = inspect.Signature(self.outside)  # type: ignore[attr-defined]
        together.__wrapped__ = self.parts[-1]  # type: ignore[attr-defined]
        together.returns_weights = self.updates  # type: ignore[attr-defined]
        together.parts = self.parts if self.loss is None else [*self.parts, self.loss]  # type: ignore[attr-defined]
        return together

    def call(self, given):
        """The result of the last part, with the loss before it where there is one."""
        made = _Made(given)
        result = None
        for place, part in enumerate(self.parts):
            result = part(**made.arguments(part))
            made.take(result, _returned(part))
            if place == 0:
                made.result = result
                loss = self._loss(made)
            made.last = result
        if self.updates and any(_put(result, given.get(role)) for role in ("params", "weights")):
            result = None
        has_loss = isinstance(result, tuple) and any(depth(part) == 0 for part in result)
        return result if loss is None or has_loss else loss if result is None else (loss, result)

    def _loss(self, made):
        if self.loss is None:
            return None
        try:
            found = float(number(self.loss(**made.arguments(self.loss)), "the loss"))
        except (Unreadable, ArithmeticError, LookupError, TypeError, ValueError, AttributeError):
            return None
        return found if np.isfinite(found) else None


class _Made:
    """What is there for the arguments of the next function."""

    def __init__(self, given):
        self.given, self.by_name, self.result, self.last = given, {}, None, None

    def take(self, result, names):
        """Takes what a function returned, under the names that it has there."""
        parts = result if isinstance(result, tuple) else (result,)
        for part in parts:
            self.by_name |= part if isinstance(part, dict) else {}
        if len(names) == len(parts):
            self.by_name |= dict(zip(names, parts, strict=True))

    def arguments(self, function) -> dict[str, Any]:
        """Those of a function, by name; what has a default only where it is there."""
        found, inside = {}, _inside(function)
        for one in _arguments(function):
            if one.name in inside:
                found[one.name] = self._inside(one.name)
            elif _key(one.name) in self.given:
                found[one.name] = self.given[_key(one.name)]
        return found

    def _inside(self, name):
        if carried(name) == "grads":
            return self.last
        same = {key.lower().replace("_", ""): value for key, value in self.by_name.items() if isinstance(key, str)}
        plain = name.lower().replace("_", "")
        if name in self.by_name or plain in same:
            return self.by_name.get(name, same.get(plain))
        parts = self.result if isinstance(self.result, tuple) else (self.result,)
        if carried(name) == "output" or name.lower() == "p":
            y = self.given.get("y")
            alike = [part for part in parts if getattr(part, "shape", None) == getattr(y, "shape", ())]
            return alike[-1] if alike else parts[-1]
        held = [part for part in parts if isinstance(part, dict | list | tuple)]
        if carried(name) == "cache" or (len(parts) == 1 and len(held) == 1):
            return held[0] if held else self.result
        raise LookupError(f"nothing in its module makes its argument '{name}'")


def _put(result, holder) -> bool:
    """Writes weights into what held them before, where they are returned in the same form; whether they are."""
    for part in (result, *(result if isinstance(result, tuple) else ())):
        if isinstance(holder, dict) and isinstance(part, dict) and part.keys() == holder.keys():
            holder.update(part)
            return True
        alike = isinstance(holder, list) and isinstance(part, list | tuple) and len(part) == len(holder)
        if alike and all(type(one) is type(other) for one, other in zip(part, holder, strict=True)):
            holder[:] = part
            return True
    return False


def _trainer(found, start):
    """A function of weights that makes one step of a training function which asks another one for its first weights."""
    every = _arguments(found)
    once = {one.name: 1 for one in every if setting(one.name) in ONCE}
    once |= {one.name: False for one in every if setting(one.name) in QUIET}
    weights = inspect.Parameter("parameters", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    left = [one.replace(kind=one.POSITIONAL_OR_KEYWORD) for one in every if one.name not in once]
    called = {one.name: "layer_sizes" if role(one.name) in WEIGHTS else one.name for one in left}
    left = [one.replace(name=called[one.name]) for one in left]
    names = [weights.name, *called]

    def one_step(*arguments, **keywords):
        given = dict(zip(names, arguments, strict=False))
        given |= {name: keywords[other] for name, other in called.items() if other in keywords}
        parameters, name = given.pop("parameters"), start.__name__
        space = found.__globals__
        space[name] = lambda *_, **__: parameters
        try:
            result = found(**given, **once)
            return None if _put(result, parameters) else result
        finally:
            space[name] = start

    one_step.__name__ = found.__name__
    one_step.__signature__ = inspect.Signature([weights, *left])  # type: ignore[attr-defined]
    one_step.__wrapped__ = found  # type: ignore[attr-defined]
    one_step.returns_weights = True  # type: ignore[attr-defined]
    return one_step
