"""The forms in which people hand over a network's weights, and which argument of a function is which.

A form is found out by trying: the first that runs, and gives gradients of the shapes of the weights given.
"""

import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from backprop_ref.conformance.cases import Case, Values
from backprop_ref.conformance.submissions.calling import NotJudged
from backprop_ref.conformance.submissions.conventions import Layout
from backprop_ref.conformance.submissions.outline import Argument
from backprop_ref.conformance.submissions.reading import Shapes
from backprop_ref.conformance.submissions.settings import DECAY, ONCE, ONE_HIDDEN, RATES, WIDTHS, known, role, setting

ORDERS = (
    "network weights biases x y",
    "x y network weights biases",
    "weights biases x y",
    "x y weights biases",
    "network params x y",
    "x weights biases y",
    "params x y",
    "x y params",
    "network x y params",
    "W b x y",
    "x y W b",
)
"""The usual orders of arguments, for names that say nothing; W and b stand for one argument a layer."""


class Style(NamedTuple):
    """How one argument holds all weights and biases."""

    pack: Callable[[list, list], Any]
    unpack: Callable[[Any, int], tuple[list, list]]
    """From what `pack` gave, and the number of layers, to the lists again."""


def _keyed(weight, bias, first):
    def pack(W, b):
        found = {weight.format(layer): part for layer, part in enumerate(W, first)}
        return found | {bias.format(layer): part for layer, part in enumerate(b, first) if part is not None}

    def unpack(params, n):
        layers = range(first, first + n)
        W, b = ([params[name.format(k)] for k in layers if name.format(k) in params] for name in (weight, bias))
        return W, b

    return Style(pack, unpack)


def _neurons(W, b=None):
    """A dictionary for each neuron of a layer, with its weights as a list."""
    found: list[dict[str, Any]] = [{"weights": column.tolist()} for column in W.T]
    if b is not None:
        for neuron, part in zip(found, b.reshape(-1).tolist(), strict=True):
            neuron["bias"] = part
    return found


def _by_neurons(layers, key):
    return [np.array([np.reshape(neuron[key], -1) for neuron in layer], dtype=np.float64).T for layer in layers]


def _of_layers(layers):
    return [layer["W"] for layer in layers], [layer["b"] for layer in layers]


def _two_keys(weight, bias):
    return Style(lambda W, b: {weight: W, bias: b}, lambda params, n: (params[weight], params[bias]))


def _each(weight, bias):
    return Style(
        lambda W, b: [{weight: w, bias: v} for w, v in zip(W, b, strict=True)],
        lambda params, n: ([part[weight] for part in params], [part[bias] for part in params]),
    )


STYLES = {
    "a dictionary W1, b1, …": _keyed("W{}", "b{}", 1),
    "a list of pairs (W, b)": Style(
        lambda W, b: [[w, v] for w, v in zip(W, b, strict=True)],
        lambda params, n: ([pair[0] for pair in params], [pair[1] for pair in params]),
    ),
    "a list of dictionaries W, b": _each("W", "b"),
    "a pair of lists": Style(lambda W, b: [W, b], lambda params, n: (params[0], params[1])),
    "a list W, b, W, b, …": Style(
        lambda W, b: [part for pair in zip(W, b, strict=True) for part in pair],
        lambda params, n: (params[::2], params[1::2]),
    ),
    "a dictionary w1, b1, …": _keyed("w{}", "b{}", 1),
    "a dictionary W0, b0, …": _keyed("W{}", "b{}", 0),
    "a dictionary of lists W, b": _two_keys("W", "b"),
    "a dictionary of lists weights, biases": _two_keys("weights", "biases"),
    "a list of dictionaries w, b": _each("w", "b"),
    "a list of dictionaries weights, biases": _each("weights", "biases"),
    "a list of dictionaries weights, bias": _each("weights", "bias"),
    "a dictionary weights1, bias1, …": _keyed("weights{}", "bias{}", 1),
    "a dictionary W_1, b_1, …": _keyed("W_{}", "b_{}", 1),
    "a dictionary layer1, … of dictionaries W, b": Style(
        lambda W, b: {f"layer{k}": {"W": w, "b": v} for k, (w, v) in enumerate(zip(W, b, strict=True), 1)},
        lambda params, n: _of_layers([params[f"layer{k}"] for k in range(1, n + 1)]),
    ),
    "layers of neurons weights, bias": Style(
        lambda W, b: [_neurons(w, v) for w, v in zip(W, b, strict=True)],
        lambda params, n: (_by_neurons(params, "weights"), [v[:, 0] for v in _by_neurons(params, "bias")]),
    ),
    "layers of neurons weights": Style(
        lambda W, b: [_neurons(w) for w in W], lambda params, n: (_by_neurons(params, "weights"), [])
    ),
    "a list of W": Style(lambda W, b: list(W), lambda params, n: (list(params), [])),
    "the one W": Style(lambda W, b: W[0], lambda params, n: ([params], [])),
}
ONLY_W = ("a list of W", "the one W")
NEURONS = tuple(name for name in STYLES if "neurons" in name)
KEYED = tuple(name for name in STYLES if re.match(r"a dictionary \w+[01], ", name))
"""Styles in which a bias can be left out."""
BARE = ("a list of W", "a dictionary W1, b1, …", "a dictionary w1, b1, …", "the one W")
"""Styles that serve without biases."""
FLAT = ("a vector W, b, W, b, …", "a vector W, W, …, b, b, …")


class Form(NamedTuple):
    """Which argument is which, and how each is made."""

    roles: tuple[str, ...]
    """Of the arguments: ``x``, ``params``, ``W0``, ``=name`` for a setting."""
    names: tuple[str, ...] = ()
    """Of those arguments, the last ones, that are given by name."""
    params: str = ""
    """A key of `STYLES`, or one of `FLAT`."""
    labels: str = ""
    """``indices`` of the classes, or a ``vector``; else as the layout has it."""
    folded: str = ""
    """``first`` or ``last``: biases are that row of W, its inputs being 1."""
    ones: bool = False
    """Whether x has that column of ones already."""
    reading: int = 0
    """In which order gradients are returned, where several fit; see `reading.readings`."""
    biased: tuple[bool, ...] = ()
    """Which layers have a bias; empty: all or none."""
    short: bool = False
    """Whether a list of biases holds those alone that there are; else None for the others."""
    vector: bool = False
    """Whether W of the one output is a vector, and its b a number."""

    @property
    def ambiguous(self) -> bool:
        """Whether another form has the same shapes."""
        return bool(self.folded) or self.params in FLAT

    def weights(self, case: Case, layout: Layout) -> tuple[list, list]:
        """W and b as they stand in the arguments, packed or not."""
        W, b = list(case.params.W), layout.give_biases(case.params.b)
        if self.biased and b:
            b = [part for part, has in zip(b, self.biased, strict=True) if has]
        if self.folded:
            at = {"first": 0, "last": -1}[self.folded]
            W = [np.vstack([v[None], w][:: 1 if at == 0 else -1]) for w, v in zip(W, case.params.b, strict=True)]
            b = []
        elif layout.biases == "none" and "biases" in self.roles:
            b = [np.zeros_like(v) for v in case.params.b]
        W = layout.give_weights(W)
        if self.vector and case.network.sizes[-1] != 1:
            raise NotJudged("its weights are a vector, which is for one output")
        if self.vector:
            return [*W[:-1], W[-1].reshape(-1)], [*b[:-1], *(v.reshape(()) for v in b[-1:])]
        if self.params == FLAT[0]:
            parts = [part for pair in itertools.zip_longest(W, b) for part in pair if part is not None]
            return [_vector(parts)], []
        return ([_vector([*W, *b])], []) if self.params in FLAT else (W, b)

    def give(self, case: Case, layout: Layout, rows: slice, rate: float | None) -> tuple[list[Any], dict[str, Any]]:
        """The arguments, fresh ones each time."""
        W, b = self.weights(case, layout)
        settings = known(case, rate) | dict.fromkeys(RATES, rate) if any(one[0] == "=" for one in self.roles) else {}
        x = case.x[rows]
        if self.ones:
            column = np.ones((len(x), 1), x.dtype)
            x = np.hstack([column, x] if self.folded == "first" else [x, column])
        x, y = layout.give_samples(x), self._labels(case, layout, rows)
        if self.biased and (b or layout.biases != "none"):
            there = iter(b)
            b = [next(there) if has else None for has in self.biased]

        def made(one):
            if one.startswith("="):
                if setting(one[1:]) not in settings:
                    raise NotJudged(f"it has one hidden layer, by its argument '{one[1:]}'")
                return settings[setting(one[1:])]
            if one[:-1] in {"W", "b"} and one[-1].isdigit():
                return (W if one[0] == "W" else b)[int(one[-1])]
            if one == "params":
                return W[0] if self.params in FLAT else STYLES[self.params].pack(W, b)
            if one == "pairs":
                return pairs(x, y, layout)
            if one == "biases":
                return [part for part in b if part is not None] if self.short else b
            return {"network": case.network, "x": x, "y": y, "weights": W, "batch": [x, y]}[one]

        n = len(self.roles) - len(self.names)
        keywords = zip(self.names, map(made, self.roles[n:]), strict=True)
        return [made(one) for one in self.roles[:n]], dict(keywords)

    def _labels(self, case, layout, rows):
        y = case.y[rows]
        if self.labels == "indices":
            if not one_hot(case.y):
                raise NotJudged("its labels are indices of classes, and those of this case are none")
            found = y.argmax(axis=1).astype(np.int64)
            return int(found[0]) if layout.samples == "flat" else found
        return y[:, 0].copy() if self.labels == "vector" else layout.give_samples(y)

    def after(self, arguments: list[Any], case: Case, layout: Layout) -> tuple[list, list]:
        """The weights and biases in arguments after a call, as `weights` gives them."""
        found: dict[str, Any] = dict(zip(self.roles, arguments, strict=False))
        if "params" in found:
            if self.params in FLAT:
                return [found["params"]], []
            return STYLES[self.params].unpack(found["params"], case.network.n_layers)
        if "weights" in found:
            return found["weights"], [part for part in found.get("biases", []) if part is not None]
        layers = range(case.network.n_layers)
        W, b = ([found[f"{name}{k}"] for k in layers if f"{name}{k}" in found] for name in "Wb")
        return W, b

    def shapes(self, case: Case, layout: Layout) -> Shapes:
        """Those of the weights and biases given, which are those due of gradients."""
        W, b = self.weights(case, layout)
        return Shapes([w.shape for w in W], [v.shape for v in b])

    def take(self, values: Values, case: Case, layout: Layout) -> Values:
        """Gradients in the form of `weights`, in our layout."""
        if self.params in FLAT and values.dW is not None:
            values = self._unrolled(values, case, layout)
        if self.vector and values.dW is not None:
            shapes = self._replace(vector=False).shapes(case, layout).W
            pairs = zip(values.dW, shapes, strict=False)
            values = values._replace(dW=[w.reshape(due) if w.ndim == 1 else w for w, due in pairs])
        values = layout.take(values)
        if self.folded and values.dW is not None:
            rows = slice(1, None) if self.folded == "first" else slice(None, -1)
            at = 0 if self.folded == "first" else -1
            values = values._replace(dW=[w[rows] for w in values.dW], db=[w[at].copy() for w in values.dW])
        if self.biased and values.db is not None and len(values.db) == sum(self.biased):
            there = iter(values.db)
            values = values._replace(db=[next(there) if has else None for has in self.biased])
        return values._replace(db=None) if layout.biases == "none" else values

    def _unrolled(self, values, case, layout):
        shapes = self._replace(params="").shapes(case, layout)
        order = [("dW", s) for s in shapes.W] + [("db", s) for s in shapes.b]
        if self.params == FLAT[0] and shapes.b:
            order = [part for pair in zip(order[: len(shapes.W)], order[len(shapes.W) :], strict=True) for part in pair]
        found: dict[str, list[np.ndarray]] = {"dW": [], "db": []}
        vector = values.dW[0].reshape(-1)
        for name, shape in order:
            size = int(np.prod(shape))
            found[name].append(vector[:size].reshape(shape))
            vector = vector[size:]
        return values._replace(dW=found["dW"], db=found["db"] or None)


def forms(arguments: list[Argument] | None, case: Case, layout: Layout) -> Iterator[Form]:
    """Every form that a signature leaves, the usual ones first."""
    n = case.network.n_layers
    labels = [""]
    if case.y.shape[1] > 1 and one_hot(case.y):
        labels.append("indices")
    elif case.y.shape[1] == 1 and layout.samples == "rows":
        labels.append("vector")
    found = bindings(arguments, n)
    for label in labels:
        for roles, names in found:
            for params, folded, ones in _kinds(arguments, roles, layout, n):
                yield Form(roles, names, params, label, folded, ones, biased=_biased(roles, n))
                if "W0" in roles and case.network.sizes[-1] == 1 and not folded:
                    yield Form(roles, names, params, label, vector=True)


def partly_biased(form: Form, n: int, biased=None) -> list[Form]:
    """The same form with biases in some of n layers only, in each way that it allows: by default in any of them."""
    if form.folded or form.biased or not (form.params in KEYED or "biases" in form.roles):
        return []
    some = [biased] if biased else [one for one in itertools.product((True, False), repeat=n) if len(set(one)) == 2]
    found = [form._replace(biased=one) for one in some]
    return [*found, *(one._replace(short=True) for one in found if "biases" in form.roles)]


def _biased(roles, n):
    """The layers that have an argument for b, where some have none; empty: all or no layers."""
    has = tuple(f"b{layer}" in roles for layer in range(n))
    return has if len(set(has)) == 2 else ()


def _kinds(arguments, roles, layout, n):
    """Style of the argument for all weights, whether biases are folded into W, and whether x has ones."""
    bare = layout.biases == "none"
    if "biases" in roles or any(one[0] == "b" and one[1:].isdigit() for one in roles):
        return [("", "", False)] if "biases" in roles or not bare else []
    folds = [] if bare or layout.biases != "flat" else list(itertools.product(("last", "first"), (False, True)))
    if "params" not in roles:
        return [("", "", False)] if bare else [("", *fold) for fold in folds]
    styles = list(BARE) if bare else [name for name in STYLES if name not in (*ONLY_W, *NEURONS)]
    if layout[:3] == ("in-out", "flat", "flat"):
        styles.append(NEURONS[0])
    vectors = list(FLAT[:1] if bare else FLAT) if layout.biases in {"none", "flat"} else []
    if any(role(one.name) == "theta" for one in arguments or []):
        styles = vectors + styles
    else:
        styles += vectors
    found = [(style, "", False) for style in styles if style != "the one W" or n == 1]
    if layout.samples == "flat" and layout.weights == "in-out" and folds:
        found += [(NEURONS[1], "last", False)]
    return found + [(style, *fold) for fold in folds for style in (*BARE[:2], FLAT[0])]


def bindings(arguments: list[Argument] | None, n: int) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """The roles that a signature's arguments may have, and the names of those to be given by name.

    Roles come from the names, and for names that say nothing from the usual orders.
    """
    arguments = arguments or [Argument("arguments", "VAR_POSITIONAL", True)]
    positional = [one for one in arguments if one.kind.startswith("POSITIONAL")]
    last = max((place for place, one in enumerate(positional) if one.needed or _is_given(one)), default=-1)
    optional = [*positional[last + 1 :], *(one for one in arguments if one.kind == "KEYWORD_ONLY")]
    optional = [one for one in optional if one.needed or _wanted(one)]
    names = tuple(one.name for one in optional)
    by_name = [_setting(one) for one in positional[: last + 1]]
    by_keyword = [_setting(one) for one in optional]
    if n != 2 and any(one.startswith("=") and setting(one[1:]) in ONE_HIDDEN for one in (*by_name, *by_keyword)):
        return []
    if any(one.kind == "VAR_POSITIONAL" for one in arguments):
        there = _bound([*by_name, *by_keyword])
        return [((*order, *by_keyword), names) for order in _orders(n) if not there or order[: len(there)] == there]
    found = []
    completed = list(_completed([*by_name, *by_keyword], n))
    if not completed and all(len(one.name) == 1 for one in positional[: last + 1]):  # they may mean something else
        completed = list(_completed([""] * len(by_name) + by_keyword, n))
    for roles in completed:
        layered = _layered(roles, [one.name for one in (*positional[: last + 1], *optional)])
        asked = {"x", "y"} <= set(layered or ()) or {"pairs", "batch"} & set(layered or ())
        held = any(one[0] == "W" or one in {"weights", "params", "pairs", "network"} for one in layered or ())
        if layered is not None and asked and held and (layered, names) not in found:
            found.append((layered, names))
    return found


_GIVEN = ("x", "y", "weights", "biases", "params", "theta", "W", "b", "network")


def _is_given(argument):
    """Whether an argument with a default may be what is asked about: one that is a number is none."""
    return role(argument.name) in _GIVEN and argument.default not in {"int", "float", "bool", "str"}


def _wanted(argument):
    """Whether an argument with a default is given: what is asked about, sizes, the rate, λ; alpha may be a slope."""
    found = role(argument.name)
    if setting(argument.name) in DECAY:
        return argument.name != "weight_decay" and argument.default in {"int", "float"}
    size = not found and setting(argument.name) in WIDTHS and argument.default in {"int", "NoneType"}
    once = setting(argument.name) in ONCE and argument.default == "int" and argument.name != "steps"
    return once or size or _is_given(argument) or (found == "rate" and setting(argument.name) != "alpha")


def _bound(roles):
    return [one for one in roles if one and not one.startswith("=")]


def _setting(argument):
    """A role, or ``=name`` for a setting."""
    found = role(argument.name)
    if found == "rate" or (not found and setting(argument.name)):
        return f"={argument.name}"
    return "params" if found == "theta" else found


def _orders(n):
    for text in ORDERS:
        order = text.split()
        if "W" in order:
            at = order.index("W")
            turns = [f"{name}{layer}" for layer in range(n) for name in "Wb"]
            yield [*order[:at], *turns, *order[at + 2 :]]
            yield [*order[:at], *(f"{name}{layer}" for name in "Wb" for layer in range(n)), *order[at + 2 :]]
            yield [*order[:at], *(f"W{layer}" for layer in range(n)), *order[at + 2 :]]
        else:
            yield order


def _completed(by_name, n):
    """Roles by name, with those that have none filled in as the usual orders have it."""
    by_name = _told_apart(by_name)
    places = [place for place, found in enumerate(by_name) if not found]
    if not places:
        yield by_name
        if "pairs" in by_name:
            yield ["batch" if one == "pairs" else one for one in by_name]
        if "weights" in by_name and "biases" in by_name and n == 1:
            yield [{"weights": "W", "biases": "b"}.get(one, one) for one in by_name]
        return
    missing = [one for one in "xy" if one not in by_name]
    if "W" in by_name and len(missing) == len(places):
        yield _filled(by_name, places, missing)
    bound = _bound(by_name)
    for order in _orders(n):
        left = list(order)
        for one in bound:
            if one in left:
                left.remove(one)
        if len(left) == len(places) and set(bound) <= set(order):
            yield _filled(by_name, places, left)


def _filled(by_name, places, left):
    """The same with these at some places."""
    filled = list(by_name)
    for place, one in zip(places, left, strict=True):
        filled[place] = one
    return filled


def _told_apart(by_name):
    """Names that mean one thing or another beside others: data beside y is x, without it pairs; weights alone, all."""
    roles = list(by_name)
    if "" not in roles and not {"weights", "params", "W"} & set(roles):
        roles = ["params" if one == "network" else one for one in roles]
    if "weights" in roles and "biases" not in roles:
        roles = ["params" if one == "weights" else one for one in roles]
    if "W" in roles and "biases" in roles and "b" not in roles:
        roles = ["b" if one == "biases" else one for one in roles]
    if "b" in roles and "weights" in roles and "W" not in roles:
        roles = ["W" if one == "weights" else one for one in roles]
    if "pairs" in roles and "y" in roles and "x" not in roles:
        roles = ["x" if one == "pairs" else one for one in roles]
    return roles


def _layered(roles, names):
    """W and b with the number of their layer, by their order or as their names have it; None if something is there
    twice."""
    counts = {"W": itertools.count(), "b": itertools.count()}
    numbered = [f"{one}{next(counts[one])}" if one in counts else one for one in roles]
    if 0 < roles.count("b") < roles.count("W"):
        digits = [re.sub(r"\D", "", name) if one in counts else "" for one, name in zip(roles, names, strict=True)]
        first = min((int(digit) for one, digit in zip(roles, digits, strict=True) if one == "W" and digit), default=0)
        numbered = [f"{one}{int(digit) - first}" if digit else one for one, digit in zip(roles, digits, strict=True)]
    plain = [one for one in numbered if not one.startswith("=")]
    if len(set(plain)) < len(plain) or "" in plain:
        return None
    return tuple(numbered)


def layers_of(arguments: list[Argument] | None) -> int | None:
    """How many layers a function takes that has an argument for the W of each."""
    names = [role(one.name) for one in arguments or []]
    one_hidden = any(
        not found and setting(one.name) in ONE_HIDDEN for found, one in zip(names, arguments or [], strict=True)
    )
    return names.count("W") or (2 if one_hidden else None)


def pairs(x, y, layout: Layout) -> list[list[Any]]:
    """One pair for each sample."""
    if layout.samples == "columns":
        return [[x[:, [s]].copy(), y[:, [s]].copy()] for s in range(x.shape[1])]
    return [[x, y]] if layout.samples == "flat" else [[x[s].copy(), y[s].copy()] for s in range(len(x))]


def one_hot(y) -> bool:
    """Whether each row is a class."""
    return y.shape[1] > 1 and bool(((y == 0) | (y == 1)).all() and (y.sum(axis=1) == 1).all())


def _vector(parts):
    return np.concatenate([part.reshape(-1) for part in parts])
