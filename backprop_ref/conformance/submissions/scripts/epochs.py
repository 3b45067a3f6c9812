"""Functions that train for a number of epochs that is written in them: they are run for one."""

import ast
from typing import Any

from backprop_ref.conformance.submissions.settings import ONCE, setting

COUNTS = {*ONCE, "iteration", "iter", "it"}
"""Names of what counts epochs, or says how many."""


def one_epoch(tree: ast.Module) -> set[str]:
    """Writes 1 for numbers of epochs in the bodies of functions, in place; the names of these functions."""
    found = [
        (function.name, part)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if (part := _number(node)) is not None
    ]
    for _, part in found:
        part.value = 1
    return {name for name, _ in found}


def _number(node: Any) -> ast.Constant | None:
    """That of ``epochs = 1000``, or of ``for epoch in range(1000)``."""
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        target, value = node.targets[0], node.value
    elif isinstance(node, ast.For) and isinstance(node.iter, ast.Call) and len(node.iter.args) == 1:
        called = node.iter.func
        target, value = node.target, node.iter.args[0]
        if not isinstance(called, ast.Name) or called.id not in {"range", "trange"}:
            return None
    else:
        return None
    counts = isinstance(target, ast.Name) and setting(target.id) in COUNTS
    number = isinstance(value, ast.Constant) and type(value.value) is int and value.value > 1
    return value if counts and number and isinstance(value, ast.Constant) else None
