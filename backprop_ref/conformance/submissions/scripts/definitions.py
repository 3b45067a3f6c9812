"""What a file defines, without the training that it does as it is imported."""

import ast
import contextlib
from typing import Any


def define(tree: ast.Module, space: dict[str, Any], filename: str) -> None:
    """Runs the statements of a file but for loops and what calls its own functions; what fails of these is passed over.

    Raises
    ------
    Exception
        Whatever its imports, classes and functions raise.
    """
    own = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    for node in tree.body:
        code = compile(ast.Module([node], []), filename, "exec")
        if isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef):
            exec(code, space)
        elif not isinstance(node, ast.For | ast.While) and not _calls(node, own):
            with contextlib.suppress(Exception, SystemExit):
                exec(code, space)


def _calls(node, own):
    return any(isinstance(one, ast.Name) and one.id in own for one in ast.walk(node))
