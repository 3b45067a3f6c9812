"""Where a model keeps its weights and biases, whatever they are called."""

import contextlib
import itertools
from types import ModuleType
from typing import Any

import numpy as np

from backprop_ref.conformance.cases import Values
from backprop_ref.conformance.submissions.calling import Refusal
from backprop_ref.conformance.submissions.reading import BIASES, WEIGHTS, Unreadable, array, is_box
from backprop_ref.conformance.submissions.settings import role

DEEP = 6
"""How many attributes, keys and positions lead to an array at most."""
OTHERS = ("d", "grad", "delta", "nabla", "v", "m", "s", "prev", "old", "last", "velocity", "momentum", "cache", "best")
"""How names begin, before a W or a b, of arrays that have the shapes of weights and are none."""


class Rows(tuple):
    """Paths to what belongs to one neuron each: a row of weights, or a bias."""


class Slots:
    """Where a model keeps its weights and biases, whatever they are called, and in which layout.

    Each place is a path from the model: attributes, keys and positions, one after the other. It is gone through anew
    each time, because a step may put new lists, dictionaries and arrays in the place of those it found.

    Raises
    ------
    Unreadable
        No attributes of the right shapes; the message lists those there are.
    """

    def __init__(self, model, sizes, transposed=False, folded=""):
        self.model, self.folded = model, folded
        self.shapes = [(n_in + bool(folded), n_out) for n_in, n_out in zip(sizes, sizes[1:], strict=False)]
        self.weights = self._find(WEIGHTS, _is_weight)
        self.biases = self._find(BIASES, lambda part, _, n_out: part.size == n_out)
        if self.weights is None or self.biases is None:
            self._find_by_shapes(transposed)
        if self.weights is None:
            self._find_by_neurons()
        if self.weights is None and not folded:
            self._find_numbers()
        if self.weights is None:
            self._find_a_vector()
        if self.weights is None:  # a layer may be called output, as what comes out of it often is
            self._find_by_shapes(transposed, every=True)
        if folded:
            self.biases = None
        if self.weights is None:
            there = [name for name in _entries(model) if not name.startswith("__")]
            raise Unreadable(
                f"no weights of shapes {self.shapes} among the attributes {', '.join(sorted(there)[:12])}; keep "
                "them as arrays in attributes, lists or dictionaries, or pass a function"
            )
        self.unused = [] if self.biases else [path for path, _ in paths(model, scalars=True) if is_bias(path)]
        layer = next((layer for layer, (n_in, n_out) in enumerate(self.shapes) if n_in != n_out), None)
        if layer is None:
            self.transposed = transposed or isinstance(self.weights[0], Rows)
        else:
            shape = self._array(self.weights[layer]).shape
            self.transposed = len(shape) > 1 and shape != self.shapes[layer]

    def set(self, W, b):
        """Writes our weights and biases into the model."""
        if self.folded:
            rows = zip(b, W, strict=True)
            W = [np.vstack([v[None], w] if self.folded == "first" else [w, v[None]]) for v, w in rows]
        for path, value in zip(self.weights, W, strict=True):
            there = () if isinstance(path, Rows) else self._array(path).shape
            self._write(path, value.reshape(-1) if len(there) == 1 else value.T if self.transposed else value)
        for path, value in zip(self.biases or [], b, strict=False):
            self._write(path, value.reshape(self._array(path).shape))
        for path in self.unused:  # biases that stay as they are
            self._write(path, np.zeros_like(self._array(path)))

    def get(self):
        """The model's weights and biases, as they are at the time, in our layout."""
        b = None if self.biases is None else [self._array(path) for path in self.biases]
        return self.ours([self._array(path) for path in self.weights], b)

    def ours(self, W, b):
        """Weights and biases as the model has them, or gradients, in our layout; biases taken out of W."""
        W = [part[:, None] if part.ndim == 1 else part.T if self.transposed else part for part in W]
        if self.folded:
            first = self.folded == "first"
            b = [part[0 if first else -1] for part in W]
            W = [part[1:] if first else part[:-1] for part in W]
        return [part.copy() for part in W], None if b is None else [part.reshape(-1).copy() for part in b]

    def at(self, path):
        """The array, or number, at a path."""
        return self._array(path)

    def shapes_of(self, places):
        """Of the arrays at some paths, as the model has them."""
        return [self._array(path).shape for path in places]

    def gradients(self, shapes, weight_names, bias_names) -> Values | None:
        """Gradients among the attributes, under the names of the weights with a d before them or the like."""
        if any(map(is_box, self._ends(self.weights))):
            return self._of_boxes()
        dW = self._beside(self.weights, weight_names, shapes.W)
        if dW is None or not any(part.any() for part in dW):
            return None  # zeros are what they are before anything is worked out
        return Values(dW=dW, db=self._beside(self.biases, bias_names, shapes.b) if self.biases else None)

    def _ends(self, places):
        """What a path leads to, or the first entry of its lists."""
        for path in places:
            found = self._at(path[0] if isinstance(path, Rows) else path)
            while isinstance(found, list) and found:
                found = found[0]
            yield found

    def boxes(self):
        """The first object of each layer that holds a weight and its gradient."""
        return [found for found in self._ends(self.weights) if is_box(found)]

    def forget(self):
        """Sets the gradients beside the weights to 0."""
        for path in (*self.weights, *(self.biases or ())):
            for part in path if isinstance(path, Rows) else (path,):
                _forget(self._at(part))

    def _of_boxes(self):
        """The gradients that stand beside the weights; 0 where there is none."""
        dW = [self._array(path, _gradient) for path in self.weights]
        db = None if self.biases is None else [self._array(path, _gradient) for path in self.biases]
        return Values(dW=dW, db=db) if any(part.any() for part in (*dW, *(db or ()))) else None

    def _beside(self, places, names, shapes):
        for form in ("d{}", "d_{}", "grad_{}", "{}_grad", "grads_{}", "{}_grads", "dL_d{}", "delta_{}", "{}_gradient"):
            with contextlib.suppress(LookupError, Unreadable, TypeError):
                found = [self._array(_renamed(path, form)) for path in places]
                if [part.shape for part in found] == shapes:
                    return found
        found = self._find(names, lambda part, n_in, n_out: part.size in {n_in * n_out, n_out})
        parts = None if found is None else [self._array(path) for path in found]
        return parts if parts is not None and [part.shape for part in parts] == shapes else None

    def _find(self, names, fits):
        """A path for each layer, or None."""
        for paths in self._candidates(names):
            if len(paths) == len(self.shapes) and all(
                self._suits(path, shape, fits) for path, shape in zip(paths, self.shapes, strict=True)
            ):
                return paths
        return None

    def _find_by_shapes(self, transposed, every=False):
        """Arrays in the order of their definition whose shapes are those of the layers, and such as may be biases.

        A column of biases may look like a W; weights that leave biases over are preferred.
        """
        there = paths(self.model, every=every)
        turned = [shape[::-1] for shape in self.shapes]
        named = [one for one in there if not is_bias(one[0])]
        orders = (turned, self.shapes) if transposed else (self.shapes, turned)
        found = [self.weights] if self.weights else []
        for among, shapes in () if found else itertools.product((named, there), orders):
            found.append(_in_order(among, [{shape} for shape in shapes]))
        pairs = [(weights, self.biases or self._biases_beside(weights, there)) for weights in found if weights]
        if pairs:
            self.weights, self.biases = next((pair for pair in pairs if pair[1]), pairs[0])

    def _find_a_vector(self):
        """Weights of which those of the one output are a vector, with a number for its bias."""
        there = paths(self.model, scalars=True)
        due = [{shape, (shape[0],)} if shape[1] == 1 else {shape} for shape in self.shapes]
        self.weights = _in_order([one for one in there if not is_bias(one[0])], due)
        if self.weights:
            self.biases = self.biases or self._biases_beside(self.weights, there)

    def _find_by_neurons(self):
        """The weights of each neuron in a list or vector of its own, and its bias beside them."""
        there = paths(self.model, scalars=True)
        rows = _grouped([one for one in there if len(one[1]) == 1 and not is_bias(one[0])], self.shapes)
        if rows:
            self.weights = rows
            beside = {path[:-1]: path for path, shape in there if np.prod(shape) == 1 and is_bias(path)}
            biases = [Rows(beside[path[:-1]] for path in row if path[:-1] in beside) for row in rows]
            self.biases = biases if list(map(len, biases)) == list(map(len, rows)) else None

    def _find_numbers(self):
        """Weights and biases that are numbers each: those into the first neuron, then those into the next."""
        if of_numbers(self.model) != (*(n_in for n_in, _ in self.shapes), self.shapes[-1][1]):
            return
        numbers = [path for path, shape in paths(self.model, scalars=True) if shape == ()]
        weights, biases = filter(_names_weights, numbers), filter(is_bias, numbers)
        self.weights, self.biases = [], []
        for n_in, n_out in self.shapes:
            self.weights.append(Rows(Rows(itertools.islice(weights, n_in)) for _ in range(n_out)))
            self.biases.append(Rows(itertools.islice(biases, n_out)))

    def _biases_beside(self, weights, there):
        left = [(path, shape) for path, shape in there if path not in weights]
        due = [{(n,), (1, n), (n, 1)} for _, n in self.shapes]
        return _in_order([one for one in left if is_bias(one[0])], due) or _in_order(left, due)

    def _candidates(self, names):
        """Lists of objects such as ``model.layers[0].W``, then lists of arrays, then one name for each layer."""
        attributes = _entries(self.model)
        for key, value in attributes.items():
            if isinstance(value, list | tuple) and all(hasattr(part, "__dict__") for part in value):
                for name in names:
                    yield [(key, layer, name) for layer, part in enumerate(value) if name in vars(part)]
        within = [(key,) for key, value in attributes.items() if isinstance(value, dict)]
        for start in [(), *within]:
            holder = _entries(self._at(start))
            for name in names:
                if isinstance(holder.get(name), list | tuple):
                    yield [(*start, name, layer) for layer in range(len(holder[name]))]
                if len(self.shapes) == 1 and name in holder:
                    yield [(*start, name)]
                for form, first in itertools.product(("{}{}", "{}_{}"), (1, 0)):
                    keys = [form.format(name, first + layer) for layer in range(len(self.shapes))]
                    yield [(*start, key) for key in keys if key in holder]

    def _suits(self, path, shape, fits):
        try:
            return fits(self._array(path), *shape)
        except Unreadable:
            return False

    def _at(self, path):
        """What a path leads to."""
        found = self.model
        for key in path:
            try:
                found = _entries(found)[key]
            except (LookupError, TypeError):
                name = ".".join(map(str, path))
                raise Unreadable(f"after the step there is no {name}, where its weights were before it") from None
        return found

    def _array(self, path, part=lambda found: found):
        if isinstance(path, Rows):
            rows = np.stack([self._array(row, part).reshape(-1) for row in path])
            return rows.squeeze(1 if self._are_biases(path) else ())
        return array(part(self._at(path)), "a weight")

    @staticmethod
    def _are_biases(rows):
        return all(map(is_bias, rows))

    def _write(self, path, value):
        if isinstance(path, Rows):
            for row, part in zip(path, value, strict=True):
                self._write(row, part.reshape(self._array(row).shape))
            return
        holder, key = _entries(self._at(path[:-1])), path[-1]
        if isinstance(holder, tuple):
            holder = list(holder)
            _entries(self._at(path[:-2]))[path[-2]] = holder
        there = holder[key]
        if _filled(there, value):
            return
        if isinstance(there, np.ndarray) and there.dtype == value.dtype and there.flags.writeable:
            there[...] = value
        elif isinstance(there, list):
            holder[key] = value.tolist()
        elif isinstance(there, float | int):
            holder[key] = float(value)
        elif isinstance(there, np.ndarray):
            holder[key] = value.copy()
        else:
            raise Refusal(f"its weights are {type(there).__name__}, which cannot be set; pass a function")


def _is_weight(W, n_in, n_out):
    """Whether it has the shape of a layer's weights: of one neuron's, it may be a vector."""
    return W.shape in {(n_in, n_out), (n_out, n_in), *([(n_in,)] if n_out == 1 else [])}


def paths(model: Any, scalars=False, every=False) -> list[tuple[tuple[Any, ...], tuple[int, ...]]]:
    """Paths and shapes of the arrays in a model, in the order of their definition, without gradients and the like.

    With `scalars` those of numbers too; with `every` those that are called as gradients and outputs are.
    """
    found = []

    def other(path):
        return not every and is_other(path)

    def walk(holder, path):
        inner = enumerate(holder) if isinstance(holder, list | tuple) else holder.items()
        for key, value in inner:
            here = (*path, key)
            if isinstance(key, str) and key.startswith("__"):
                continue
            value = value.data if is_box(value) else value
            if isinstance(value, np.ndarray):
                if 0 < value.ndim < 3 and value.dtype.kind in "fiO" and not other(here):
                    found.append((here, value.shape))
            elif isinstance(value, float | int | np.number) and not isinstance(value, bool):
                if scalars and not other(here):
                    found.append((here, ()))
            elif len(here) < DEEP and (isinstance(value, list | tuple | dict) or _is_object(value)):
                rows = _nested(value)
                if rows is not None and not other(here):
                    found.append((here, rows.shape))
                elif rows is None:
                    walk(_entries(value), here)

    walk(_entries(model), ())
    return found


def chain(model: Any) -> tuple[int, ...] | None:
    """The sizes of a network, by matrices in the order of their definition of which each fits the one before it."""
    matrices = [shape for path, shape in paths(model) if len(shape) == 2 and not is_bias(path)]
    best: list[int] = []
    for turned in (False, True):
        shapes = [shape[::-1] if turned else shape for shape in matrices]
        for start in range(len(shapes)):
            sizes = list(shapes[start])
            for shape in shapes[start + 1 :]:
                if shape[0] == sizes[-1]:
                    sizes.append(shape[1])
            if len(sizes) > len(best):
                best = sizes
    last = next((shape for path, shape in paths(model)[::-1] if len(shape) == 1 and _names_weights(path)), None)
    if best and last == (best[-1],):  # the weights of one output
        best.append(1)
    return tuple(best) or next(((shape[0], 1) for shape in _vectors(model)), None)


def has_weights(model: Any) -> bool:
    """Whether it has some at once, by their names: then it does not make them when it first sees data."""
    return any(is_bias(path) or _names_weights(path) for path, _ in paths(model, scalars=True))


def of_numbers(model: Any) -> tuple[int, ...] | None:
    """The sizes of a network with one output whose weights and biases are numbers, such as w1 to w6 and b1 to b3."""
    numbers = [path for path, shape in paths(model, scalars=True) if shape == ()]
    weights, biases = sum(map(_names_weights, numbers)), sum(map(is_bias, numbers))
    if biases == 1:
        return (weights, 1) if weights else None
    hidden = biases - 1
    return (weights // hidden - 1, hidden, 1) if hidden > 0 and weights % hidden == 0 and weights > hidden else None


def _names_weights(path):
    return isinstance(path[-1], str) and role(path[-1]) in {"W", "weights"}


def _vectors(model):
    """The shapes of vectors that may be the weights of one neuron."""
    return [shape for path, shape in paths(model) if len(shape) == 1 and not is_bias(path)]


def _renamed(path, form):
    """A path whose last name has something before or behind it."""
    at = max(place for place, key in enumerate(path) if isinstance(key, str))
    return (*path[:at], form.format(path[at]), *path[at + 1 :])


def is_bias(path) -> bool:
    """Whether a path leads to a bias, by a name in it."""
    names = [key for key in path if isinstance(key, str)]
    return any(role(name) in {"b", "biases"} or name.lower().startswith("bias") for name in names)


def is_other(path) -> bool:
    """Whether a path leads to a gradient, a velocity or the like, by its last name; or to data."""
    names = [key for key in path if isinstance(key, str)]
    if not names:
        return False
    name = names[-1].lower().strip("_")
    begins = (name.removeprefix(start).strip("_") for start in OTHERS if name.startswith(start))
    beside = any(role(rest) in {"W", "b", "weights", "biases"} for rest in begins if rest)
    samples = role(name) in {"x", "y"} and name != "d"  # which is a bias after c, or a matrix of labels
    return beside or samples or name in {"output", "outputs", "out", "a", "z", "grad", "gradient"}


def _in_order(there, due):
    """The first arrays, one after the other, with the shapes due; None if they are not all there."""
    found, left = [], iter(there)
    for shapes in due:
        path = next((path for path, shape in left if shape in shapes), None)
        if path is None:
            return None
        found.append(path)
    return found


def _grouped(there, shapes):
    """`Rows` for each layer: one after the other, of length n_in, one for each neuron; None: not all are there."""
    left, found = list(there), []
    for n_in, n_out in shapes:
        group, left = left[:n_out], left[n_out:]
        if len(group) < n_out or any(shape != (n_in,) for _, shape in group):
            return None
        found.append(Rows(path for path, _ in group))
    return found or None


def _nested(value):
    """Lists of lists of numbers as an array."""
    if not isinstance(value, list) or not value or not (isinstance(value[0], list | float) or is_box(value[0])):
        return None
    try:
        found = array(value, "")
    except Unreadable:
        return None
    return found if 0 < found.ndim < 3 else None


def _gradient(found):
    """The same lists with the gradients of boxes in their places."""
    if isinstance(found, list):
        return [_gradient(part) for part in found]
    return found.grad if found.grad is not None else 0.0 * np.asarray(found.data)


def _forget(found):
    if isinstance(found, list):
        for part in found:
            _forget(part)
    else:
        found.grad = 0.0 * np.asarray(found.data) if isinstance(found.data, np.ndarray) else 0.0


def _filled(there, value) -> bool:
    """Writes numbers into a box, or into each of nested lists of them; whether it is one."""
    if is_box(there):
        there.data = value.reshape(there.data.shape).copy() if isinstance(there.data, np.ndarray) else float(value)
        return True
    return isinstance(there, list) and bool(there) and all(map(_filled, there, value))


def _is_object(value):
    return (
        hasattr(value, "__dict__")
        and not isinstance(value, type | ModuleType)
        and not callable(getattr(value, "__code__", None))
        and not hasattr(value, "__code__")
    )


def _entries(found):
    """A list or dictionary as it is, and the attributes of anything else that has some."""
    return found if isinstance(found, list | tuple | dict) or not hasattr(found, "__dict__") else vars(found)
