"""One call of somebody's function, read as numbers: the same here as in a process of its own."""

from typing import Any

from backprop_ref.conformance.submissions.reading import Shapes, Unreadable, array, depth, number, returned


def one_call(function, arguments: list[Any], keywords: dict[str, Any], shapes: Shapes) -> dict[str, Any]:
    """What a call gives, None or a number or values by name, and its arguments as they are afterwards."""
    result = function(*arguments, **keywords)
    if result is not None and depth(result) != 0:
        found = returned(result, shapes)._asdict()
        result = {name: value for name, value in found.items() if value is not None}
    elif result is not None:
        result = number(result, "the loss")
    return {"result": result, "arguments": [after(one) for one in (*arguments, *keywords.values())]}


def after(argument: Any) -> Any:
    """An argument of a call, or None if it no longer holds numbers."""
    if isinstance(argument, dict):
        return {name: after(part) for name, part in argument.items()}
    if isinstance(argument, list):
        return [after(part) for part in argument]
    try:
        return array(argument, "")
    except Unreadable:
        return None
