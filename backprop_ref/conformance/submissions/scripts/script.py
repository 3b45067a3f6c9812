"""A script as a class: what it makes at its top level, networks of layers or weights, and the statement that trains it.

An object of the class has the script's names as attributes, so that weights are found among them whatever holds them.
It is made with our data in the place of the script's own, and its ``train()`` runs the statement for one epoch.
"""

import ast
import contextlib
import inspect
from typing import Any

import numpy as np

from backprop_ref.conformance.submissions.scripts.top_level import HELD, _loaded, _once, _stored
from backprop_ref.conformance.submissions.settings import BATCH, ONCE, QUIET, role, setting

SCRIPT = "script"
"""The name that stands for a file as a whole."""
TRAINS = ("train", "fit", "learn", "sgd", "descent", "optimi", "build_model", "step")
"""Parts of the names of functions and methods that train."""
INSIDE = (*TRAINS, "back", "grad", "update")
"""Parts of the names of what is called within a loop that trains."""


class Plan:
    """The statements of a file: those that make what is trained, and the one that trains; None where there is none.

    Attributes
    ----------
    before : list of statements
    trains : statement
    data : dict
        The names of x and y.
    """

    def __init__(self, before, trains, data):
        self.before, self.trains, self.data = before, trains, data

    @classmethod
    def of(cls, tree: ast.Module, name: str = "") -> "Plan | None":
        """That of a file; or, with the name of a function that changes weights of its module, of a call of that."""
        body = list(_flat(tree))
        if name:
            return _calling(body, next(one for one in body if isinstance(one, ast.FunctionDef) and one.name == name))
        for place in reversed(range(len(body))):
            if _trains(body[place]):
                data = _data(body[:place], body[place])
                return None if data is None else cls(body[:place], body[place], data)
        return None


def changes_weights(tree: ast.Module, name: str) -> bool:
    """Whether a function takes no weights, and changes some of its module."""
    function = next((one for one in tree.body if isinstance(one, ast.FunctionDef) and one.name == name), None)
    if function is None:
        return False
    taken = [one.arg for one in function.args.args]
    local = {one for node in ast.walk(function) if isinstance(node, ast.Global) for one in node.names}
    return {*map(role, taken)} <= {"x", "y", "rate"} and any(role(one) in HELD for one in local)


def _calling(body, function):
    """The plan of one call of a function, with the data that it takes or reads."""
    taken = [one.arg for one in function.args.args]
    needed = taken[: len(taken) - len(function.args.defaults)]
    names = {role(one): one for one in [*_loaded(function), *taken] if role(one) in {"x", "y"}}
    if names.keys() != {"x", "y"}:
        return None
    before = [node for node in body if not isinstance(node, ast.For | ast.While) and _call(node) is None]
    call = ast.Call(ast.Name(function.name, ast.Load()), [ast.Name(one, ast.Load()) for one in needed], [])
    return Plan(before, ast.copy_location(ast.Expr(call), function), {name: part for part, name in names.items()})


def _flat(tree):
    """The statements at the top level, with those under ``if __name__ == …`` and of a ``main()`` that is called."""
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    mains = {node.name: node for node in functions if len(node.args.args) == len(node.args.defaults)}
    for node in tree.body:
        inner = [node]
        if isinstance(node, ast.If) and "__name__" in _loaded(node.test):
            inner = node.body
        for one in inner:
            called = one.value.func if isinstance(one, ast.Expr) and isinstance(one.value, ast.Call) else None
            main = mains.get(called.id) if isinstance(called, ast.Name) and called.id == "main" else None
            yield from _body(main) if main else [one]


def _body(function):
    """The statements of a function, with its defaults before them."""
    for name, value in zip(function.args.args, function.args.defaults, strict=True):
        yield ast.copy_location(ast.Assign([ast.Name(name.arg, ast.Store())], value, lineno=value.lineno), value)
    yield from (part for part in function.body if not isinstance(part, ast.Return))


NO_TRAINING = ("split", "load", "data", "read", "get", "plot", "print")
"""Parts of names of what only makes or shows data, as train_test_split does."""


def _name_of(call):
    """That of a function or method that is called, but for a class and what makes data."""
    func = call.func
    name = func.id if isinstance(func, ast.Name) else func.attr if isinstance(func, ast.Attribute) else ""
    plain = name.lower()
    return "" if name[:1].isupper() or any(word in plain for word in NO_TRAINING) else plain


def _calls(node, words):
    calls = (one for one in ast.walk(node) if isinstance(one, ast.Call))
    return any(any(word in _name_of(one) for word in words) for one in calls)


def _trains(node):
    if isinstance(node, ast.For | ast.While):
        return _calls(node, INSIDE) or any(isinstance(one, ast.AugAssign) for one in ast.walk(node))
    return _call(node) is not None


def _call(node):
    """The call that trains in a statement such as ``history = net.fit(x, y)`` or ``print(train(x, y))``; else None."""
    if not isinstance(node, ast.Expr | ast.Assign):
        return None
    calls = (one for one in ast.walk(node) if isinstance(one, ast.Call))
    return next((one for one in calls if any(word in _name_of(one) for word in TRAINS)), None)


def _data(before, trains):
    """The names of x and y among those that are assigned; of several, those that the training reads come first."""
    stored = [name for node in before if isinstance(node, ast.Assign | ast.AnnAssign) for name in _stored(node)]
    read = _loaded(trains)
    names = sorted(dict.fromkeys(stored), key=lambda name: name not in read)
    y = next((name for name in names if role(name) == "y"), None)
    x = next((name for name in names if role(name) == "x"), None) or next(
        (name for name in names if role(name) == "pairs"), None
    )
    return None if x is None or y is None else {x: "x", y: "y"}


def as_class(tree: ast.Module, filename: str, name: str = "") -> type | None:
    """The class; None where nothing in the file trains. With a name, that function is called to train."""
    plan = Plan.of(tree, name)
    return None if plan is None else _class_of(plan, filename)


def _class_of(plan: Plan, filename: str) -> type:
    own: dict[str, Any] = {"__name__": SCRIPT, "__file__": filename}
    _run(plan.before, own, filename, lambda: None)
    takes_rate = any(role(name) == "rate" for name in own if isinstance(own[name], float)) or _rated(plan, own)
    statement = _once(plan.trains) if isinstance(plan.trains, ast.For | ast.While) else _wrapped(plan.trains)
    code = compile(ast.fix_missing_locations(ast.Module([statement], [])), filename, "exec")

    class Script:
        """The names of a script."""

        def __init__(self, x, y, learning_rate=None):
            space = vars(self)
            given = {"x": x, "y": y}
            ours = {name: _as(own.get(name), given[part]) for name, part in plan.data.items()}

            def replace():
                space.update({name: _copied(value) for name, value in ours.items()})
                for key, value in space.items():
                    if setting(key) in ONCE and isinstance(value, int):
                        space[key] = 1
                    if role(key) == "rate" and isinstance(value, float) and learning_rate is not None:
                        space[key] = learning_rate

            space.update({"__name__": SCRIPT, "__file__": filename})
            replace()
            _run(plan.before, space, filename, replace, plan.data)
            space["__once__"] = _for_one_epoch(len(x), learning_rate)

        def __getattribute__(self, name):
            if name == "train":  # which a script may have for something else
                return Script.train.__get__(self)
            return super().__getattribute__(name)

        def train(self):
            """One epoch of the statement that trains."""
            exec(code, vars(self))

    parts = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("x", "y")]
    if takes_rate:
        parts.append(inspect.Parameter("learning_rate", inspect.Parameter.POSITIONAL_OR_KEYWORD))
    Script.__signature__ = inspect.Signature(parts)  # type: ignore[attr-defined]
    Script.__name__ = SCRIPT
    return Script


def _run(statements, space, filename, replace, data=()):
    """Runs statements but for what trains; what fails of these is passed over, and data are replaced each time."""
    for node in statements:
        if isinstance(node, ast.For | ast.While) or _trains(node):
            continue
        if data and isinstance(node, ast.Assign) and set(_stored(node)) <= set(data):
            continue
        code = compile(ast.fix_missing_locations(ast.Module([node], [])), filename, "exec")
        if isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef):
            exec(code, space)
            continue
        with contextlib.suppress(Exception, SystemExit):
            exec(code, space)
        replace()


def _wrapped(node):
    """The call that trains alone, made by ``__once__``."""
    call = _call(node) or node.value
    once = ast.Call(ast.Name("__once__", ast.Load()), [call.func, *call.args], call.keywords)
    return ast.copy_location(ast.Expr(once), node)


def _rated(plan, space):
    """Whether what is called to train takes a learning rate."""
    call: Any = _call(plan.trains) or getattr(plan.trains, "value", None)
    with contextlib.suppress(Exception):
        found = eval(compile(ast.Expression(call.func), SCRIPT, "eval"), space)
        return any(role(name) == "rate" for name in inspect.signature(found).parameters)
    return False


def _for_one_epoch(samples, rate):
    """Calls what trains with one epoch, one batch and our rate, whatever it was to be called with."""

    def once(function, *arguments, **keywords):
        bound = inspect.signature(function).bind(*arguments, **keywords)
        bound.apply_defaults()
        for name, value in bound.arguments.items():
            if isinstance(value, bool):
                bound.arguments[name] = False if setting(name) in QUIET else value
            elif isinstance(value, int) and setting(name) in {*ONCE, *BATCH}:
                bound.arguments[name] = 1 if setting(name) in ONCE else samples
            elif isinstance(value, float | int) and role(name) == "rate" and rate is not None:
                bound.arguments[name] = rate
        return function(*bound.args, **bound.kwargs)

    return once


def _as(own, value):
    """Our data in the shape of the script's own: classes as numbers, columns in a stack, lists."""
    given, theirs = np.asarray(value), None
    with contextlib.suppress(Exception):
        theirs = np.asarray(own)
    if theirs is None or theirs.dtype == object or given.ndim != 2:
        return value
    if theirs.ndim == 3 and 1 in theirs.shape[1:]:
        given = given[:, :, None] if theirs.shape[2] == 1 else given[:, None, :]
    elif theirs.ndim == 1 and given.shape[1] == 1:
        given = given[:, 0]
    elif theirs.ndim == 1 and theirs.dtype.kind in "iu" and set(given.ravel()) == {0.0, 1.0}:
        given = given.argmax(axis=1)
    return given.tolist() if isinstance(own, list) else given


def _copied(value):
    return value.copy() if hasattr(value, "copy") else value
