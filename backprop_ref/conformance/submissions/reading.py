"""What somebody's code returned, as `Values`: from tuples, lists, dictionaries or objects of any array library."""

import contextlib
import itertools
import math
from collections.abc import Iterator
from decimal import Decimal
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from backprop_ref.conformance.cases import Values
from backprop_ref.conformance.submissions.settings import words

LOSS = ("loss", "cost", "L", "J", "l", "error")
WEIGHT_GRADIENTS = words(
    """
    dW dw grad_W grads_W weight_grads grad_weights dweights coef_grads nabla_w nabla_W gW dWs dJdW dLdW dL_dW dC_dW
    W_grad weights_grad
    """
)
BIAS_GRADIENTS = words(
    """
    db dB grad_b grads_b bias_grads grad_biases dbiases intercept_grads nabla_b nabla_B gb dbs dJdb dLdb dL_db dC_db
    b_grad biases_grad
    """
)
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


def arrays(value: Any, what: str) -> list[Any]:
    """One array for each entry of a list; of biases, some may be None, where a layer has none."""
    if not _is_list(value):
        raise Unreadable(f"{what} is {_kind(value)}, and not a list with an array for each layer")
    some = what in {*BIASES, *BIAS_GRADIENTS} and any(part is not None for part in value)
    return [None if some and part is None else array(part, f"{what}[{layer}]") for layer, part in enumerate(value)]


class Shapes(NamedTuple):
    """Those of a submission's weights and biases, and so of its gradients."""

    W: list[tuple[int, ...]]
    b: list[tuple[int, ...]]
    """Empty: it has no biases."""

    @classmethod
    def of(cls, sizes) -> "Shapes":
        """In our layout."""
        return cls(list(zip(sizes, sizes[1:], strict=False)), [(n,) for n in sizes[1:]])

    def fit(self, dW, db, turned=False) -> bool:
        """Whether gradients have these shapes, biases that are None aside; ``turned``: or W the other way round."""
        if db is not None and len(db) > len(self.b):
            db = [part for part in db if part is not None]
        if len(dW) != len(self.W) or (db is not None and len(db) != len(self.b)):
            return False
        biases = db is None or all(
            part is None or part.shape == shape or _long(part.shape) == _long(shape)
            for part, shape in zip(db, self.b, strict=True)
        )
        return biases and all(
            part.shape == shape or (turned and part.shape == shape[::-1]) or (len(shape) == 1 and part.size == shape[0])
            for part, shape in zip(dW, self.W, strict=True)
        )

    def fit_weights(self, dW, db) -> bool:
        """Whether dW have these shapes, and there is a db of whatever shape for each b; but no other set of weights."""
        return (
            bool(self.b)
            and self.fit(dW, None, turned=True)
            and len(db or ()) == len(self.b)
            and not all(part is not None and part.shape in self.W for part in db)
        )


def returned(value: Any, shapes: Any) -> Values:
    """The first of the `readings`: what somebody most likely means."""
    return next(iter(readings(value, shapes).values()))


def readings(value: Any, shapes: Any) -> dict[int, Values]:
    """The loss and the gradients in whatever a callable returned, by the number of the order in which they stand.

    There are several where the shapes suit more than one of `ORDERS`; 0 is what stands in none.

    Parameters
    ----------
    value
        ``(loss, [dW…], [db…])``, ``(dW, db)``, a list of pairs, dW and db in turn, a dictionary, an object with
        attributes, or the loss alone; predictions and other arrays beside them are no gradients.
    shapes : Shapes, or the sizes of the network
        They tell weights from biases.
    """
    shapes = shapes if isinstance(shapes, Shapes) else Shapes.of(shapes)
    if value is None:
        raise Unreadable("it returned None, and neither a loss nor gradients")
    if isinstance(value, str | bytes):
        raise Unreadable(f"it returned the text {_short(value)}")
    if depth(value) == 0:
        return {0: Values(loss=number(value, "the loss"))}
    if len(shapes.W) == 1 and getattr(value, "shape", None) == shapes.W[0] and len(shapes.W[0]) == 1:
        return {0: Values(dW=[array(value, "dW")])}
    if isinstance(value, dict) or named(value):
        return {0: _of_mapping(value, shapes)}
    if not _is_list(value):
        raise Unreadable(f"it returned {_kind(value)}, in which no gradients are recognised")
    if any(isinstance(part, str | bytes) for part in value):
        raise Unreadable("it returned text among its values, where numbers are due; make it a number with float()")
    found = _of_sums(list(value), shapes)
    return _of_list(value, shapes) if found is None else {0: found}


def _of_mapping(value, shapes):
    mapping = value if isinstance(value, dict) else named(value)
    n = len(shapes.W)
    found: Values[Any] = Values()
    failure = None
    try:
        found = as_gradients(from_mapping(mapping, n))
    except Unreadable as error:
        failure = error
    fits = found.dW is None or shapes.fit(found.dW, found.db, turned=True) or shapes.fit_weights(found.dW, found.db)
    if failure or not fits:
        by_shape = _by_shapes(list(mapping.values()), shapes)
        if by_shape is None and failure:
            raise failure
        if by_shape is None:
            return found
        losses = [mapping[name] for name in LOSS if depth(mapping.get(name)) == 0]
        return by_shape._replace(loss=number(losses[0], "the loss") if losses else None)
    if found.dW is not None:
        extra = {name: None for name in ("z", "a", "delta") if len(getattr(found, name) or "") not in {0, n}}
        found = found._replace(**extra)
    return found


def _of_list(value, shapes):
    scalars = [part for part in value if depth(part) == 0]
    rest = [part for part in value if depth(part) != 0]
    misfit = None
    if rest:
        for part in rest:
            with contextlib.suppress(Unreadable):
                found = _of_mapping(part, shapes) if isinstance(part, dict) or named(part) else None
                if found is None or found.dW is None:
                    continue
                found = found if len(scalars) != 1 else found._replace(loss=number(scalars[0], "the loss"))
                if len(rest) == 1 or shapes.fit(found.dW, found.db, turned=True):
                    return {0: found}
                misfit = misfit or found  # one layer of several, or of other shapes
        gradients = list(rest[0] if len(rest) == 1 else rest)
        if len(scalars) < 2 and (fitting := dict(_fitting(gradients, shapes))):
            loss = number(scalars[0], "the loss") if scalars else None
            return {place: Values(loss=loss, dW=dW, db=db) for place, (dW, db) in fitting.items()}
        by_shape = _by_shapes(value, shapes)
        place, told = next(_fitting(gradients, shapes, odd=True), (0, (None, None)))
        in_lists = place and ORDERS[place - 1] in {_two_lists, _pairs}
        if place and len(scalars) < 2 and (in_lists or not _complete(by_shape)):
            loss = number(scalars[0], "the loss") if scalars else None
            return {0: Values(loss=loss, dW=told[0], db=told[1])}
        if by_shape is not None or misfit is not None:
            return {0: by_shape or misfit}
    if len(scalars) > 1:
        raise Unreadable(f"it returned {len(scalars)} numbers beside each other; the loss is one")
    loss = number(scalars[0], "the loss") if scalars else None
    if not rest:
        if loss is None:
            raise Unreadable("it returned an empty list")
        return {0: Values(loss=loss)}
    dW, db = split(gradients, shapes)
    return {0: Values(loss=loss, dW=dW, db=db)}


def _of_sums(parts, shapes):
    """Gradients dW, db, dW, db, … of which some db is one number for a layer of several, beside a loss; or None."""
    n = len(shapes.W)
    if shapes.b == [()]:
        return _of_a_neuron(parts, shapes)
    loss = [parts.pop(0 if depth(parts[0]) == 0 else -1)] if len(parts) == 2 * n + 1 else []
    if len(parts) != 2 * n or len(shapes.b) != n or any(depth(one) != 0 for one in loss):
        return None
    wide = [depth(db) == 0 and np.prod(b) > 1 for db, b in zip(parts[1::2], shapes.b, strict=True)]
    if not any(wide) or any(depth(dW) < 1 for dW in parts[::2]):
        return None
    with contextlib.suppress(Unreadable):
        dW, db = arrays(parts[::2], "dW"), arrays(parts[1::2], "db")
        rest = [np.zeros(b) if one else part for part, b, one in zip(db, shapes.b, wide, strict=True)]
        if shapes.fit(dW, rest, turned=True):
            return Values(loss=number(loss[0], "the loss") if loss else None, dW=dW, db=db)
    return None


def _of_a_neuron(parts, shapes):
    """dW, a vector, and db, a number, in either order, beside a loss that is the first number or, if last, the last."""
    vectors = [place for place, part in enumerate(parts) if getattr(part, "shape", None) == shapes.W[0]]
    if len(parts) not in {2, 3} or len(vectors) != 1 or sum(depth(part) == 0 for part in parts) != len(parts) - 1:
        return None
    numbers = [part for part in parts if depth(part) == 0]
    loss = numbers.pop(-1 if vectors == [0] else 0) if len(numbers) == 2 else None
    loss = None if loss is None else number(loss, "the loss")
    return Values(loss=loss, dW=[array(parts[vectors[0]], "dW")], db=[array(numbers[0], "db")])


def _complete(values):
    """Whether there is a db wherever there may be one."""
    return values is not None and values.db is not None and all(db is not None for db in values.db)


def _by_shapes(value, shapes: Shapes) -> Values | None:
    """Gradients among arrays of any nesting, by their shapes alone; None if they are not all there, in a usual order.

    What has no such shape, as predictions have not, is passed over; the one number left over is the loss.
    """
    found = list(leaves(value, {*shapes.W, *shapes.b}))
    fitting = [part for part in found if part.size == 1 or _usual(part.shape, shapes)]
    n = len(shapes.W)
    counts = range(n + len(shapes.b), n - 1, -1)
    for turned in (False, True):
        for count in counts:
            for start in range(len(fitting) - count + 1):
                parts = fitting[start : start + count]
                for dW, db in _orders(parts, n, shapes):
                    if shapes.fit(dW, db, turned):
                        left = [part for part in (*fitting[:start], *fitting[start + count :]) if part.size == 1]
                        return Values(loss=number(left[0], "the loss") if len(left) == 1 else None, dW=dW, db=db)
    return None


def _orders(parts, n, shapes):
    """dW and db in each order in which people return them, from the first layer on or from the last."""
    if len(parts) == n:
        yield parts, None
        yield parts[::-1], None
        return
    if len(parts) < 2 * n:  # some layers have no bias
        layers = range(len(shapes.b))
        for places in itertools.combinations(range(len(parts)), n):
            left = [part for k, part in enumerate(parts) if k not in places]
            for chosen in itertools.combinations(layers, len(left)):
                there = dict(zip(chosen, left, strict=True))
                yield [parts[k] for k in places], [there.get(layer) for layer in layers]
        return
    halves, turns = (parts[:n], parts[n:]), (parts[::2], parts[1::2])
    for dW, db in (halves, turns):
        yield dW, db
        yield dW[::-1], db[::-1]
        yield db, dW
        yield db[::-1], dW[::-1]


def leaves(value, shapes):
    """The arrays of numbers in nested lists and dictionaries, in order."""
    if isinstance(value, dict) or (type(value) not in {list, tuple} and named(value)):
        value = list((value if isinstance(value, dict) else named(value)).values())
    if isinstance(value, list | tuple):
        plain = None
        if not any(hasattr(part, "shape") and depth(part) > 0 for part in value):
            with contextlib.suppress(Unreadable):
                plain = array(value, "")
        if plain is not None and plain.shape in shapes:
            yield plain
            return
        for part in value:
            yield from leaves(part, shapes)
        return
    with contextlib.suppress(Unreadable):
        found = array(value, "") if depth(value) >= 0 else np.zeros(0)
        if found.ndim > 2 or (
            found.shape not in shapes and found.ndim and found.shape[0] and found.shape[1:] in shapes
        ):
            yield from found
        elif found.size:
            yield found


def _usual(shape, shapes):
    return shape in shapes.W or shape[::-1] in shapes.W or any(_long(shape) == _long(b) for b in shapes.b)


def _long(shape):
    """The length of what is a vector but for axes of one entry; the shape of anything else."""
    lengths = [length for length in shape if length != 1]
    return lengths[0] if len(lengths) == 1 else 1 if not lengths else shape


def _fitting(parts, shapes, odd=False) -> Iterator[tuple[int, tuple[list[np.ndarray], list[np.ndarray] | None]]]:
    """dW and db in each of the usual orders in which they have the shapes due, with its number; `odd`: or dW alone.

    Those where no W is the other way round come first: pairs of two layers can be two lists if it may be.
    """
    seen: list[Any] = []
    for turned, (place, order) in itertools.product((False, True), enumerate(ORDERS, 1)):
        with contextlib.suppress(Unreadable):
            chosen = order(parts, len(shapes.W))
            if chosen is None:
                continue
            dW, db = arrays(chosen[0], "dW"), None if chosen[1] is None else arrays(chosen[1], "db")
            parts_read = [*dW, *(db or ())]
            same = any(len(other) == len(parts_read) and all(map(np.array_equal, parts_read, other)) for other in seen)
            if not same and (shapes.fit_weights(dW, db) if odd else shapes.fit(dW, db, turned)):
                seen.append(parts_read)
                yield place, (dW, db)


def split(parts: list[Any], shapes: Any) -> tuple[list[np.ndarray], list[np.ndarray] | None]:
    """dW and db from lists in one of the usual orders: the first whose shapes fit, else whose lengths do."""
    shapes = shapes if isinstance(shapes, Shapes) else Shapes.of(shapes)
    n, failure, fallback = len(shapes.W), None, None
    if len(parts) > 1 and all(depth(part) == 0 for part in parts):
        raise Unreadable(
            f"it returned one vector of {len(parts)} numbers; cut it into a list of dW and a list of db, with the "
            "shapes of the weights and biases it was given"
        )
    for order in ORDERS:
        chosen = order(parts, n)
        if chosen is None:
            continue
        try:
            dW = arrays(chosen[0], "dW")
            db = None if chosen[1] is None else arrays(chosen[1], "db")
        except Unreadable as error:
            failure = failure or error
            continue
        if shapes.b and shapes.fit(dW, db, turned=True):
            return dW, db
        fallback = fallback or (dW, db)
    if fallback:
        return fallback
    raise failure or Unreadable(f"it returned a list of {len(parts)}, neither (dW, db) nor pairs of {n} layers")


def _two_lists(parts, n):
    if len(parts) != 2 or not all(_is_list(part) for part in parts):
        return None
    return (parts[0], parts[1] if len(parts[1]) else None) if len(parts[0]) == n and len(parts[1]) in {0, n} else None


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


def _from_the_last(order):
    """The same, from the last layer to the first."""

    def turned(parts, n):
        chosen = order(parts, n) if n > 1 else None
        return None if chosen is None else tuple(None if part is None else part[::-1] for part in chosen)

    return turned


ORDERS = (_two_lists, _pairs, _in_turn, _weights_first, _weights_only, _biases_first)
ORDERS = (*ORDERS, *map(_from_the_last, ORDERS))
"""In which gradients are returned, the usual ones first."""


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
            some = quantity in {"b", "db"}
            parts = mapping[name] if mapping.get(name) is not None else _numbered(mapping, name, n_layers, some)
            parts = [parts] if n_layers == 1 and _is_one(parts) else parts
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


def from_fields(mapping: dict[str, Any]) -> Values:
    """Values by the names of their fields, as another process sends them."""
    found: dict[str, Any] = {name: arrays(mapping[name], name) for name in LISTS if mapping.get(name) is not None}
    if mapping.get("loss") is not None:
        found["loss"] = number(mapping["loss"], "loss")
    if mapping.get("dx") is not None:
        found["dx"] = array(mapping["dx"], "dx")
    return Values(**found)


def as_gradients(values: Values) -> Values:
    """Of what stands beside a loss or is called grads, W and b mean dW and db."""
    if values.dW is not None or values.db is not None:
        return values
    return values._replace(dW=values.W, db=values.b, W=None, b=None)


def _is_one(parts):
    """Whether it is the array, or the number, of a layer, and no list with one for each."""
    return depth(parts) == 0 or (hasattr(parts, "ndim") and parts.ndim < 3)


def _numbered(mapping, name, n_layers, some=False):
    """[dW1, dW2, …], or from dW0 on, if all of them are there; or, with `some`, any: else None in its place."""
    for start, form in itertools.product((1, 0), ("{}{}", "{}_{}")):
        keys = [form.format(name, layer) for layer in range(start, start + n_layers)]
        found = [mapping.get(key) for key in keys]
        if all(part is not None for part in found) or (some and any(part is not None for part in found)):
            return found
    return None


def is_box(value: Any) -> bool:
    """Whether an object of somebody's automatic differentiation holds a number, or an array, and its gradient."""
    return hasattr(value, "data") and hasattr(value, "grad") and not hasattr(value, "detach")


def _plain(value):
    """Nested lists with hexadecimal floats as numbers, and of boxes what they hold; anything else as it is."""
    if is_box(value):
        return value.data
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
