"""Code that trains at the top level of a file, as notebooks do, as a function of x, y and the weights: one step."""

import ast
import inspect
from collections.abc import Iterator
from typing import Any, NamedTuple

from backprop_ref.conformance.submissions.settings import BATCH, DECAY, role, setting

TOP_LEVEL = "top_level"
"""The name that stands for the code of a file that trains outside of any function."""
HELD = {"W", "b", "weights", "biases", "params", "theta"}
"""Roles of names that hold weights."""


class Loop(NamedTuple):
    """The loop that trains, and what it needs.

    Attributes
    ----------
    body : list of statements
        What has to run before it, and the loop, once.
    given : list of str
        The names of x, y, the weights, the rate, λ and the size of a batch, which are given.
    held : list of str
        Those of the weights.
    """

    body: list[ast.stmt]
    given: list[str]
    held: list[str]

    @classmethod
    def of(cls, tree: ast.Module, name: str = "") -> "Loop | None":
        """That of a file, or of a function in it that makes its first weights itself; None if there is none."""
        if not name:
            return _last(tree.body, [])
        function = next((one for one in tree.body if isinstance(one, ast.FunctionDef) and one.name == name), None)
        if function is None or function.args.vararg or function.args.kwarg:
            return None
        arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        taken: dict[str, ast.expr] = {one.arg: ast.Constant(None) for one in arguments}
        defaults = [*function.args.defaults, *(one for one in function.args.kw_defaults if one is not None)]
        taken |= dict(zip(list(taken)[len(taken) - len(defaults) :], defaults, strict=True))
        before = [ast.Assign([ast.Name(one, ast.Store())], value, lineno=1) for one, value in taken.items()]
        if any(role(one) in HELD for one in taken) or any(isinstance(one, ast.Return) for one in _in_loops(function)):
            return None
        return _last(function.body, [*(one for one in tree.body if name not in _loaded(one)), *before])

    def function(self, space: dict[str, Any], filename: str):
        """What the loop does once, as a function that returns the weights; `space`: the module's names."""
        code = compile(ast.fix_missing_locations(ast.Module(self.body, [])), filename, "exec")
        given, held = self.given, self.held

        def top_level(*arguments, **keywords):
            space.update(dict(zip(given, arguments, strict=False)) | keywords)
            exec(code, space)
            return tuple(space[name] for name in held)

        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        signature = inspect.Signature([inspect.Parameter(name, kind) for name in given])
        top_level.__signature__ = signature  # type: ignore[attr-defined]
        top_level.returns_weights = True  # type: ignore[attr-defined]
        return top_level


def _is_loop(node):
    return isinstance(node, ast.For | ast.While)


def _in_loops(function):
    return (one for node in function.body if _is_loop(node) for one in ast.walk(node))


def _last(body, around) -> Loop | None:
    """The last loop of these statements that trains, with what is `around` them."""
    for place, node in reversed(list(enumerate(body))):
        if _is_loop(node) and (found := _loop(around, body[:place], node)) is not None:
            return found
    return None


def _loop(around, before, node):
    made = {name: one.value for one in before if isinstance(one, ast.Assign) for name in _stored(one)}
    values = {name: one.value for one in around if isinstance(one, ast.Assign) for name in _stored(one)} | made
    changed = set(_stored(node))
    loaded = _loaded(node)
    stored = [name for name in made if name in changed & loaded and role(name) in HELD]
    if {"W", "weights"} & set(map(role, stored)):
        stored = [name for name in stored if role(name) != "params"]  # a dictionary in which they are handed out
    data = []
    for wanted in ("x", "y"):
        named = [name for name in values if role(name) == wanted]
        inside = [name for name in named if name in loaded]
        data += (inside or named)[:1]
    if not stored or len(data) < 2:
        return None
    constants = [name for name, value in values.items() if isinstance(value, ast.Constant) and name not in data]
    rate = [name for name in constants if role(name) == "rate"][:1]
    told = [name for name in constants if setting(name) in {*DECAY, *BATCH} and name in loaded]
    given = [*data, *stored, *rate, *told]
    return Loop([*_needed([*around, *before], loaded, given), _once(node)], given, stored)


def _needed(before, loaded, given) -> list[ast.stmt]:
    """The statements before a loop that make what it reads, but for what is given."""
    found: list[ast.stmt] = []
    wanted = loaded - set(given)
    for one in reversed(before):
        names = set(_stored(one)) if isinstance(one, ast.Assign | ast.AugAssign | ast.AnnAssign) else set()
        if names & wanted and not names & set(given):
            found.insert(0, one)
            wanted |= _loaded(one) - set(given)
    return found


def _once(node):
    """The same loop, run through once if it counts; over samples, as it is."""
    counts = isinstance(node, ast.While) or (isinstance(node.iter, ast.Call) and _called(node.iter) != "zip")
    if not counts:
        return node
    target = ast.Name("_", ast.Store()) if isinstance(node, ast.While) else node.target
    once = ast.Call(ast.Name("range", ast.Load()), [ast.Constant(1)], [])
    return ast.copy_location(ast.For(target, once, node.body, []), node)


def _called(call):
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _stored(node) -> Iterator[str]:
    for one in ast.walk(node):
        if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store):
            yield one.id
        target = getattr(one, "target", None) if isinstance(one, ast.AugAssign) else None
        for place in [target, *(one.targets if isinstance(one, ast.Assign) else ())]:
            while isinstance(place, ast.Subscript):
                place = place.value
                if isinstance(place, ast.Name):
                    yield place.id


def _loaded(node) -> set[str]:
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Load)}
