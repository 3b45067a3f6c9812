"""What somebody's code returned, as `Values`: from tuples, lists, dictionaries or objects of any array library."""

import math
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np

from backprop_ref.conformance.cases import Values

LOSS = ("loss", "cost", "L", "J", "l", "error")
WEIGHT_GRADIENTS = ("dW", "dw", "grad_W", "grads_W", "weight_grads", "grad_weights", "dweights", "coef_grads")
BIAS_GRADIENTS = ("db", "dB", "grad_b", "grads_b", "bias_grads", "grad_biases", "dbiases", "intercept_grads")
WEIGHTS = ("W", "w", "weights", "coefs_", "Ws")
BIASES = ("b", "biases", "bias", "intercepts_", "bs")
LISTS = {"z": ("z", "Z"), "a": ("a", "A"), "delta": ("delta", "deltas", "dz", "dZ"), "dW": WEIGHT_GRADIENTS}
LISTS |= {"db": BIAS_GRADIENTS, "W": WEIGHTS, "b": BIASES}


class Unreadable(ValueError):
    """An answer that is none, with the reason."""


def array(value: Any, what: str) -> np.ndarray:
    """Numbers from any array library or from nested lists, as float64 or float32.

    Raises
    ------
    Unreadable
        Text, complex numbers, ragged lists, None; or the object raises when it is asked for its numbers.
    """
    if value is None:
        raise Unreadable(f"{what} is None")
    try:
        for method in ("detach", "cpu"):
            if hasattr(value, method):
                value = getattr(value, method)()
        found = np.array(_plain(value))
        if found.dtype == object and all(isinstance(entry, Real | Decimal) for entry in found.flat):
            found = found.astype(np.float64)
    except Exception as error:  # the object is somebody else's, and may raise anything
        if "inhomogeneous" in str(error):
            raise Unreadable(f"{what} cannot be read as numbers: its rows have different lengths") from None
        raise Unreadable(f"{what} cannot be read as numbers: {_first_line(error)}") from None
    if found.dtype == np.float32:
        return found
    if found.dtype.kind not in "fiub":
        kind = {"c": "complex numbers", "U": "text", "S": "text"}.get(found.dtype.kind, f"{found.dtype} entries")
        remedy = "; return its real part" if found.dtype.kind == "c" else "; make it one with .astype(float)"
        raise Unreadable(f"{what} holds {kind}, and not real numbers{remedy}")
    return found.astype(np.float64)


def number(value: Any, what: str) -> Any:
    """One real number, from a scalar or an array with one entry."""
    found = array(value, what)
    if found.size != 1:
        raise Unreadable(f"{what} has shape {found.shape}, and is not one number")
    return float(found.reshape(())) if found.dtype == np.float64 else found.reshape(())[()]


def arrays(value: Any, what: str) -> list[np.ndarray]:
    """One array for each entry of a list."""
    if not _is_list(value):
        raise Unreadable(f"{what} is {_kind(value)}, and not a list with an array for each layer")
    return [array(part, f"{what}[{layer}]") for layer, part in enumerate(value)]


def returned(value: Any, sizes) -> Values:
    """The loss and the gradients in whatever a callable returned.

    Parameters
    ----------
    value
        ``(loss, [dW…], [db…])``, ``(dW, db)``, a list of pairs, dW and db in turn, a dictionary, an object with
        attributes, or the loss alone.
    sizes : sequence of int
        Of the network; they tell weights from biases.
    """
    if value is None:
        raise Unreadable("it returned None, and neither a loss nor gradients")
    if isinstance(value, str | bytes):
        raise Unreadable(f"it returned the text {_short(value)}")
    if isinstance(value, dict):
        return as_gradients(from_mapping(value, len(sizes) - 1))
    if depth(value) == 0:
        return Values(loss=number(value, "the loss"))
    if named(value):
        return as_gradients(from_mapping(named(value), len(sizes) - 1))
    if not _is_list(value):
        raise Unreadable(f"it returned {_kind(value)}, in which no gradients are recognised")
    if any(isinstance(part, str | bytes) for part in value):
        raise Unreadable("it returned text among its values, where numbers are due; make it a number with float()")
    scalars = [part for part in value if depth(part) == 0]
    rest = [part for part in value if depth(part) != 0]
    if len(scalars) > 1:
        raise Unreadable(f"it returned {len(scalars)} numbers beside each other; the loss is one")
    loss = number(scalars[0], "the loss") if scalars else None
    if not rest:
        if loss is None:
            raise Unreadable("it returned an empty list")
        return Values(loss=loss)
    gradients = rest[0] if len(rest) == 1 else rest
    if isinstance(gradients, dict) or named(gradients):
        found = from_mapping(gradients if isinstance(gradients, dict) else named(gradients), len(sizes) - 1)
        found = as_gradients(found)
        return found if loss is None else found._replace(loss=loss)
    dW, db = split(list(gradients), sizes)
    return Values(loss=loss, dW=dW, db=db)


def split(parts: list[Any], sizes) -> tuple[list[np.ndarray], list[np.ndarray] | None]:
    """dW and db from lists in one of the usual orders: the first whose shapes fit, else whose lengths do."""
    n, failure, fallback = len(sizes) - 1, None, None
    if len(parts) > 1 and all(depth(part) == 0 for part in parts):
        raise Unreadable(
            f"it returned one vector of {len(parts)} numbers; cut it into a list of dW and a list of db, with the "
            "shapes of the weights and biases it was given"
        )
    for order in (_two_lists, _pairs, _in_turn, _weights_first, _weights_only, _biases_first):
        chosen = order(parts, n)
        if chosen is None:
            continue
        try:
            dW = arrays(chosen[0], "dW")
            db = None if chosen[1] is None else arrays(chosen[1], "db")
        except Unreadable as error:
            failure = failure or error
            continue
        if _fits(dW, db, sizes):
            return dW, db
        fallback = fallback or (dW, db)
    if fallback:
        return fallback
    raise failure or Unreadable(f"it returned a list of {len(parts)}, neither (dW, db) nor pairs of {n} layers")


def _two_lists(parts, n):
    if len(parts) != 2 or not all(_is_list(part) for part in parts):
        return None
    return (parts[0], parts[1] or None) if len(parts[0]) == n and len(parts[1]) in {0, n} else None


def _biases_first(parts, n):
    chosen = _two_lists(parts, n)
    return None if chosen is None or chosen[1] is None else chosen[::-1]


def _pairs(parts, n):
    good = len(parts) == n and all(_is_list(pair) and len(pair) == 2 for pair in parts)
    return ([pair[0] for pair in parts], [pair[1] for pair in parts]) if good else None


def _in_turn(parts, n):
    return (parts[::2], parts[1::2]) if len(parts) == 2 * n else None


def _weights_first(parts, n):
    return (parts[:n], parts[n:]) if len(parts) == 2 * n else None


def _weights_only(parts, n):
    return (parts, None) if len(parts) == n else None


def _fits(dW, db, sizes) -> bool:
    shapes = list(zip(sizes, sizes[1:], strict=False))
    weights = all(part.shape in {shape, shape[::-1]} for part, shape in zip(dW, shapes, strict=True))
    biases = db is None or all(part.shape in {(n,), (1, n), (n, 1)} for part, (_, n) in zip(db, shapes, strict=True))
    return weights and biases


def named(value: Any) -> dict[str, Any]:
    """The attributes of an object that are called as what we look for."""
    names = [*LOSS, *(name for alternatives in LISTS.values() for name in alternatives), "dx"]
    plain = isinstance(value, list | np.ndarray) or type(value) is tuple
    if plain or depth(value) == 0 or hasattr(value, "__array__"):
        return {}
    found = {name: getattr(value, name) for name in names if hasattr(value, name)}
    return {name: part for name, part in found.items() if not callable(part)}


def from_mapping(mapping: dict[str, Any], n_layers: int) -> Values:
    """Values by name; ``dW1, dW2, …`` for ``dW``, and a few other names for each, are understood."""
    found: dict[str, Any] = {}
    for name in LOSS:
        if mapping.get(name) is not None and "loss" not in found:
            found["loss"] = number(mapping[name], name)
    for quantity, names in LISTS.items():
        for name in names:
            parts = mapping[name] if mapping.get(name) is not None else _numbered(mapping, name, n_layers)
            if parts is not None and quantity not in found:
                found[quantity] = arrays(parts, name)
    if mapping.get("dx") is not None:
        found["dx"] = array(mapping["dx"], "dx")
    nested = next((mapping[key] for key in ("grads", "gradients", "grad") if isinstance(mapping.get(key), dict)), None)
    if nested is not None:
        inner = as_gradients(from_mapping(nested, n_layers))
        found |= {key: part for key, part in inner._asdict().items() if part is not None}
    if not found:
        keys = _short(sorted(map(str, mapping)))
        raise Unreadable(f"none of loss, dW, db, z, a, delta, dx, W, b is among its keys: {keys}")
    return Values(**found)


def as_gradients(values: Values) -> Values:
    """Of what stands beside a loss or is called grads, W and b mean dW and db."""
    if values.dW is not None or values.db is not None:
        return values
    return values._replace(dW=values.W, db=values.b, W=None, b=None)


def _numbered(mapping, name, n_layers):
    """[dW1, dW2, …], or from dW0 on, if all of them are there."""
    for start in (1, 0):
        keys = [f"{name}{layer}" for layer in range(start, start + n_layers)]
        if all(key in mapping for key in keys):
            return [mapping[key] for key in keys]
    return None


def _plain(value):
    """Nested lists with hexadecimal floats as numbers; anything else as it is."""
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, str):
        return _from_hex(value)
    return value.detach().cpu().numpy() if hasattr(value, "detach") else value


def _from_hex(text):
    if text.strip().lower().lstrip("+-") in {"nan", "inf", "infinity"}:
        return float(text)
    if not text.strip().lower().lstrip("+-").startswith("0x"):
        raise ValueError(f"the text {_short(text)} is no number")
    return float.fromhex(text)


def _is_list(value):
    return isinstance(value, list | tuple) or (
        hasattr(value, "__len__")
        and hasattr(value, "__iter__")
        and not isinstance(value, str | bytes | dict)
        and getattr(value, "ndim", 1) > 0
    )


def depth(value):
    """0 for a number, 1 or more for anything with entries, −1 for what is neither."""
    if isinstance(value, int | float | complex | np.number) and not isinstance(value, bool):
        return 0
    if hasattr(value, "ndim") and hasattr(value, "shape"):
        return 0 if math.prod(value.shape) == 1 and value.ndim == 0 else value.ndim
    return 1 if isinstance(value, list | tuple | dict) else -1


def _kind(value):
    return f"a {type(value).__name__}"


def _short(value):
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _first_line(error):
    usual = isinstance(error, ValueError | TypeError | OverflowError)
    said = str(error) if usual else f"{type(error).__name__}: {error}"
    return said.partition("\n")[0][:160]
