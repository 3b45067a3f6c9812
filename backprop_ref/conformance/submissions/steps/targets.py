"""What in a file goes back, by its names, without running it: the likeliest first."""

import ast
from typing import NamedTuple

from backprop_ref.conformance.submissions.outline import STEPS, Argument
from backprop_ref.conformance.submissions.scripts.script import SCRIPT, Plan
from backprop_ref.conformance.submissions.scripts.top_level import TOP_LEVEL, Loop
from backprop_ref.conformance.submissions.settings import role
from backprop_ref.conformance.submissions.steps.plans import BACKWARD, plans
from backprop_ref.errors import InvalidInput
from backprop_ref.files import content


class Target(NamedTuple):
    """What in a file may go back."""

    name: str
    is_part: bool = False
    """Whether it is a layer beside other code, so that it says nothing of the whole if it is right."""


def targets(path: str) -> list[Target]:
    """Classes and functions, and `TOP_LEVEL`; those that others in the file are made of come last.

    Raises
    ------
    InvalidInput
        The file cannot be read, or nothing in it looks like a backward pass.
    """
    try:
        tree = ast.parse(content(path))
    except InvalidInput:
        raise
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror or 'no such file'}") from None
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InvalidInput(f"{path} is no Python that can be read: {error}") from None
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    used = {one.name: _names([other for other in classes if other is not one]) for one in classes}
    known = {one.name: list(plans(_methods(one, classes), _takes_data(one))) for one in classes}
    whole = [name for name, some in known.items() if some and name not in used[name]]
    steps = [name for name, some in known.items() if some and not (whole and all(map(_of_a_layer, some)))]
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and not _hands_out(node)]
    back = sorted((one for one in functions if _goes_back(one)), key=lambda one: -_likely(one))
    parts = {one.name for one in back if one.name in _names([other for other in back if other is not one])}
    back.sort(key=lambda one: one.name in parts)  # what others call is a part of a pass
    train = [one.name for one in functions if one.name in STEPS or "train" in one.name or "fit" in one.name]
    data = [one.name for one in functions if {"x", "y"} <= set(map(role, _taken(one)))]
    loop = [TOP_LEVEL] if Loop.of(tree) is not None else []
    loop += [one.name for one in functions if Loop.of(tree, one.name) is not None]
    script = [SCRIPT] if Plan.of(tree) is not None else []
    layers = [name for name, some in known.items() if some and all(map(_of_a_layer, some))]
    whole, steps = ([name for name in some if name not in layers] for some in (whole, steps))
    found = [*whole, *(one.name for one in back), *loop, *script, *train, *data, *steps, *([] if whole else layers)]
    if not found:
        raise InvalidInput(f"nothing in {path} looks like a backward pass; say which function or class: {path}:name")
    beside = len(classes) + len(functions) > 1 or bool(loop)
    return [Target(name, beside and name in layers) for name in dict.fromkeys(found)]


def _hands_out(function):
    """Whether a function yields, as what hands out batches does."""
    return any(isinstance(one, ast.Yield | ast.YieldFrom) for one in ast.walk(function))


def _of_a_layer(plan):
    """Whether a class is handed dLoss/da: beside a network of which it is a part, it says nothing of the whole."""
    return any(role == "upstream" for call in plan.calls for _, role in call.arguments)


def _names(nodes):
    return {one.id for node in nodes for one in ast.walk(node) if isinstance(one, ast.Name)}


def _taken(function):
    return [one.arg for one in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]


def _methods(node, classes) -> dict[str, list[Argument]]:
    """Those of a class and of the classes in the same file that it is made from."""
    found: dict[str, list[Argument]] = {}
    bases = {one.id for one in node.bases if isinstance(one, ast.Name)}
    for base in (one for one in classes if one.name in bases and one is not node):
        found |= _methods(base, [one for one in classes if one is not node])
    for one in node.body:
        if isinstance(one, ast.FunctionDef) and (not one.name.startswith("_") or one.name == "__call__"):
            static = any(isinstance(mark, ast.Name) and mark.id == "staticmethod" for mark in one.decorator_list)
            plain = [*one.args.posonlyargs, *one.args.args]
            needed = [place < len(plain) - len(one.args.defaults) for place in range(len(plain))]
            arguments = [
                Argument(arg.arg, "POSITIONAL_OR_KEYWORD", need) for arg, need in zip(plain, needed, strict=True)
            ]
            found[one.name] = arguments[0 if static else 1 :]
    return found


def _takes_data(node):
    made = next((one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"), None)
    return made is not None and {"x", "y"} <= set(map(role, _taken(made)))


def _goes_back(function):
    name = function.name.lower()
    words = ("back", "grad", "cost", "loss", "step", "update", "learn")
    return len(_taken(function)) > 1 and any(word in name for word in words)


def _likely(function):
    """How likely a function is the whole of a backward pass: by its name, and by how much it takes."""
    name = function.name.lower().strip("_")
    exact = {one.lower() for one in BACKWARD}
    return 8 * (name in exact) + 4 * ("back" in name) + 2 * ("grad" in name) + min(len(_taken(function)), 6) / 6
