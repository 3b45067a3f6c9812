"""Each rule measured on single samples: with one sample, dW is the layer's input times delta, and db is delta.

A rule is judged given what the submission itself computed before it, so that bugs add up without hiding each other.
"""

import itertools
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from backprop_ref.conformance.measuring.rules import Form, Scene, forms, numbers_for

DELTA = {"error", "mean", "slope", "delta", "da", "weights_back", "target", "a", "z", "inputs"}
"""The rules that may change a delta."""


NOTHING = 64.0 * float(np.finfo(float).eps)
"""What is smaller than this part of the largest gradient is what rounding leaves of 0."""
Named: TypeAlias = list[tuple[Form, float | None]]
"""Forms of bugs, each with the number that it needs."""


@dataclass
class Off:
    """A quantity that is not what the right rule gives for what came before it.

    Attributes
    ----------
    quantity, layer : str and int
        delta, dW or db of a layer.
    named : list of (Form, number or None)
        The known bugs that give exactly what was measured.
    factor : float
        If not 1, what was measured is so many times what a rule gives: the right one if nothing is named.
    measured, due : array
        One entry or row a sample.
    words : str
        What was measured, where it is no known bug.
    both : bool
        Whether all that is named acts together; else each alone gives what was measured.
    """

    quantity: str
    layer: int
    named: Named = field(default_factory=list)
    factor: float = 1.0
    measured: Any = None
    due: Any = None
    words: str = ""
    both: bool = False


def same(measured, due, tolerance) -> bool:
    """Whether two stacks of arrays agree in so many of their digits."""
    if measured is None or due is None or measured.shape != due.shape or not np.all(np.isfinite(measured)):
        return False
    size = max(np.abs(measured).max(initial=0.0), np.abs(due).max(initial=0.0))
    return bool(np.abs(measured - due).max(initial=0.0) <= tolerance * size)


def ratio(measured, due, tolerance) -> float | None:
    """The number c with measured = c·due, if there is one that is not 0."""
    if measured is None or due is None or measured.shape != due.shape or not np.all(np.isfinite(measured)):
        return None
    size = float((due * due).sum())
    if not np.isfinite(size) or size == 0.0:
        return None
    c = float((due * measured).sum()) / size
    return c if c and same(measured, c * due, tolerance) else None


def split(G, v):
    """delta with G[s] = outer(v[s], delta[s]) as nearly as can be, and what is left of G."""
    size = (v * v).sum(axis=1)
    delta = np.einsum("si,sij->sj", v, G) / np.where(size == 0.0, 1.0, size)[:, None]
    return delta, G - np.einsum("si,sj->sij", v, delta)


def constant_part(G, v, tolerance):
    """What is added to G[s] = outer(v[s], delta[s]) whatever the sample; None if that does not explain G.

    Where P[s] takes away the direction of v[s], P[s]·G[s] = P[s]·D: a linear system for D.
    """
    samples, n = v.shape
    if n < 2:
        return None
    size = (v * v).sum(axis=1)
    P = np.eye(n) - np.einsum("si,sk->sik", v, v) / np.where(size == 0.0, 1.0, size)[:, None, None]
    total = P.sum(axis=0)
    if np.linalg.cond(total) > 1e6:
        return None
    D = np.linalg.solve(total, np.einsum("sik,skj->ij", P, G))
    _, rest = split(G - D, v)
    free = samples * (n - 1) - n  # more equations than unknowns, or anything fits
    return D if free > 0 and np.abs(rest).max() <= tolerance * np.abs(G).max() else None


class Samples:
    """A network's rules measured on single samples.

    Parameters
    ----------
    scenes : list of Scene
        One for each sample, under the rules that are held to be right.
    asked : list of Asked
        The submission's answers for these.
    factor : float or None
        What the loss of one sample is beside ours, if it is known; None: found from the last delta.
    tolerance : float
        Relative; see `asking.HALF_THE_DIGITS`.
    search : int
        What is off is looked for among no known bugs (0), single ones (1), and pairs of rules (2).
    more : tuple of Form
        Bugs to look for beside these.

    Attributes
    ----------
    offs : list of Off
    delta : dict of int to array of shape (samples, n)
        What the submission carried back, as far as its gradients tell.
    added : dict of int to array
        What is in dW of a layer whatever the sample.
    scale : float
        The factor of the last delta; `factor` where that is known.
    """

    def __init__(self, scenes: list[Scene], asked, factor, tolerance, search=2, more=()):
        self.scenes, self.tolerance, self.scale = scenes, tolerance, 1.0 if factor is None else factor
        self.search, self.forms = search, (*more, *forms())
        self.known = factor is not None
        network = scenes[0].case.network
        self.network, self.last = network, network.n_layers - 1
        self.G = [np.stack([one.values.dW[layer] for one in asked]) for layer in range(network.n_layers)]
        db = [one.values.db or [None] * len(self.G) for one in asked]
        self.B = [None if any(part is None for part in parts) else np.stack(parts) for parts in zip(*db, strict=True)]
        size = max(float(np.abs(part).max()) for part in (*self.G, *(part for part in self.B if part is not None)))
        self.nothing = NOTHING * size
        self.G = [np.where(np.abs(part) < self.nothing, 0.0, part) for part in self.G]
        self.B = [None if part is None else np.where(np.abs(part) < self.nothing, 0.0, part) for part in self.B]
        activations = [scene.forward()[1] for scene in scenes]
        self.inputs = [np.stack([scene.case.x[0] for scene in scenes])]
        self.inputs += [np.stack([a[layer][0] for a in activations]) for layer in range(self.last)]
        self.offs: list[Off] = []
        self.delta: dict[int, np.ndarray] = {}
        self.added: dict[int, np.ndarray] = {}
        self.upstream: list[dict] = [{}]
        for layer in reversed(range(network.n_layers)):
            self._layer(layer)

    # ---- what the rules give ---------------------------------------------------------------------------------------

    def predicted(self, key, form=None, number=None, given=None, extra=None):
        """A quantity on each sample, as a stack; None where shapes do not fit."""
        found = []
        for s, scene in enumerate(self.scenes):
            scene.given = {name: part[s][None] if name[0] == "delta" else part[s] for name, part in given.items()}
            if extra is not None:
                scene.given["delta", key[1]] = extra[s][None]
            change, parameter = (None, "") if form is None else (form.change, form.bug.parameter)
            part = scene.quantity(key, change, number, parameter)
            if part is None:
                return None
            found.append(part[0] if key[0] == "delta" and part.ndim == 2 and len(part) == 1 else part)
        if len({part.shape for part in found}) > 1:
            return None
        stack = np.stack(found)
        return np.where(np.abs(stack) < self.nothing, 0.0, stack)

    def explained_by(self, key, measured, given, rules, extra=None, scale=1.0, due=None):
        """The forms of bugs that give what was measured, up to a factor: (Form, number, factor)."""
        exact, scaled = [], []
        for form in self.forms if self.search else ():
            if not rules & form.change.keys():
                continue
            number = self._number(form, key, measured, given, extra, scale)
            if not form.fitted and not self._likely(form, key, measured, given, extra):
                continue
            found = None if form.fitted and number is None else self.predicted(key, form, number, given, extra)
            if found is None or (due is not None and same(found * scale, due, self.tolerance)):
                continue
            if same(measured, found * scale, self.tolerance):
                exact.append((form, number, 1.0))
            elif not form.fitted and (c := ratio(measured, found * scale, self.tolerance)) is not None:
                scaled.append((form, number, c))
        return exact or scaled

    def _number(self, form, key, measured, given, extra=None, scale=1.0):
        """The number with which a form comes nearest to what was measured; None if it needs none."""

        def measure(value):
            part = self.predicted(key, form, value, given, extra)
            return None if part is None else part * scale

        return numbers_for(measure, form.bug.start, measured) if form.fitted else None

    def _likely(self, form, key, measured, given, extra):
        """Whether a form gives the first sample's numbers, up to a factor."""
        every, self.scenes = self.scenes, self.scenes[:1]
        quick = self.predicted(key, form, None, given, extra)
        self.scenes = every
        if quick is None or quick.shape[1:] != measured.shape[1:]:
            return False
        return ratio(measured[:1], quick, self.tolerance) is not None if np.any(quick) else not np.any(measured[:1])

    def two_rules(self, key, measured, given, scale):
        """Two forms that act on different rules of one delta and together give what was measured."""
        if self.search < 2:
            return []
        usable = [form for form in self.forms if not {"delta", "a", "z"} & form.change.keys()]
        carried = [form for form in usable if {"weights_back", "da", "error", "target", "mean"} & form.change.keys()]
        slopes = [form for form in usable if set(form.change) == {"slope"} and not form.fitted]
        for one, two in itertools.product(carried, slopes):
            both = Form(one.bug, {**one.change, **two.change}, one.fitted)
            every, self.scenes = self.scenes, self.scenes[:1]
            number = self._number(both, key, measured[:1], given, None, scale)
            quick = None if one.fitted and number is None else self.predicted(key, both, number, given)
            self.scenes = every
            if quick is not None and same(measured[:1], quick * scale, self.tolerance):
                found = self.predicted(key, both, number, given)
                if found is not None and same(measured, found * scale, self.tolerance):
                    return [(one, number), (two, None)]
        return []

    # ---- one layer --------------------------------------------------------------------------------------------------

    def _layer(self, layer):
        G, B, v = self.G[layer], self.B[layer], self.inputs[layer]
        from_W, rest = split(G, v)
        outer = np.abs(rest).max() <= self.tolerance * np.abs(G).max()
        if not outer:
            D = constant_part(G, v, self.tolerance)
            if D is not None:
                self.added[layer] = D
                from_W, outer = split(G - D, v)[0], True
        options = [part for part in (from_W if outer else None, B) if part is not None]
        other = self._left(layer) if not outer else None
        if other is not None:
            options.append(other[1])
        if not options:
            options = [from_W]
        if np.any(options[-1]) or not np.any(options[0]):
            options = [part for part in options if np.any(part)] or options
        base, off = self._delta(layer, options)
        self.delta[layer] = base
        if off is not None:
            self.offs.append(off)
        self._weights(layer, G - self.added.get(layer, 0.0), from_W if outer else None, other, base)
        if B is not None:
            self._biases(layer, B, base)
        chosen = self.upstream[0]
        parts = {("dW", layer): G} | ({} if B is None else {("db", layer): B})
        ways = [base, *options, *([] if off is None or off.due is None else [off.due])]
        unique: list[np.ndarray] = []
        for way in ways:
            if way.shape == base.shape and not any(same(way, other, self.tolerance) for other in unique):
                unique.append(way)
        self.upstream = [{**chosen, **parts, ("delta", layer): way} for way in unique]

    def _left(self, layer):
        """Another input that dW may be made with: the form of its bug, and delta then."""
        G = self.G[layer]
        for form in self.forms:
            if "left" not in form.change or form.fitted:
                continue
            v = np.stack([scene.left(layer, form.change) for scene in self.scenes])
            if v.shape == self.inputs[layer].shape and not same(v, self.inputs[layer], self.tolerance):
                delta, rest = split(G, v)
                if np.abs(rest).max() <= self.tolerance * np.abs(G).max():
                    return form, delta
        return None

    def _delta(self, layer, options):
        """The delta that the submission used, and what is off with it: the least that explains what was measured."""
        found = self._by_the_rule(layer, options) or self._by_a_bug(layer, options) or self._by_two(layer, options)
        found = found or self._by_what_is_made_of_it(layer)
        if found is None:
            due = self.predicted(("delta", layer), None, None, self.upstream[0])
            off = Off("delta", layer, [], 1.0, options[0], due, "no known rule gives it")
            found = self.upstream[0], options[0], off
        given, measured, off = found
        self.upstream = [given]
        return measured, off

    def _by_the_rule(self, layer, options):
        """What was carried from above, a delta that the right rule gives, but for a factor, and that factor if any."""
        scaled = None
        for given, measured in itertools.product(self.upstream, options):
            due = self.predicted(("delta", layer), None, None, given)
            if due is None:
                continue
            due = due * self.scale if layer == self.last else due
            c = ratio(measured, due, self.tolerance)
            if layer == self.last and not self.known and c is not None:
                self.scale = c
                return given, measured, None
            if same(measured, due, self.tolerance):
                return given, measured, None
            if c is not None and scaled is None:
                scaled = given, measured, Off("delta", layer, [], c, measured, due)
        return scaled

    def _by_a_bug(self, layer, options):
        """The same for a delta that a known bug gives; without a factor, if one does."""
        key, scale, best = ("delta", layer), self.scale if layer == self.last else 1.0, None
        for given, measured in itertools.product(self.upstream, options):
            due = self.predicted(key, None, None, given)
            due = None if due is None else due * scale
            found = self.explained_by(key, measured, given, DELTA, None, scale, due)
            if found and (best is None or found[0][2] == 1.0):
                named: Named = [(form, number) for form, number, _ in found]
                best = given, measured, Off("delta", layer, named, found[0][2], measured, due)
                if found[0][2] == 1.0:
                    break
        return best

    def _by_two(self, layer, options):
        """The same for two bugs at once."""
        for given, measured in itertools.product(self.upstream, options):
            both = self.two_rules(("delta", layer), measured, given, self.scale if layer == self.last else 1.0)
            if both:
                return given, measured, Off("delta", layer, both, 1.0, measured, both=True)
        return None

    def _by_what_is_made_of_it(self, layer):
        """The right delta, where a known bug of dW and db, such as a loop that ends too soon, gives these from it."""
        for given in self.upstream:
            due = self.predicted(("delta", layer), None, None, given)
            if due is None:
                continue
            due = due * self.scale if layer == self.last else due
            parts = [("dW", self.G[layer]), *([] if self.B[layer] is None else [("db", self.B[layer])])]
            if all(
                same(part, self.predicted((name, layer), None, None, given, due), self.tolerance)
                or self.explained_by((name, layer), part, given, {"left", "dW", "db", "decay"}, due)
                for name, part in parts
            ):
                return given, due, None
        return None

    def _weights(self, layer, G, from_W, other, base):
        if layer in self.added:
            self._added(layer)
        if from_W is not None and same(from_W, base, self.tolerance):
            return
        if other is not None and same(other[1], base, self.tolerance):
            self.offs.append(Off("dW", layer, [(other[0], None)], 1.0, G))
            return
        self._gradient("dW", layer, G, base)

    def _biases(self, layer, B, base):
        if not same(B, base, self.tolerance):
            self._gradient("db", layer, B, base)

    def _gradient(self, name, layer, measured, base):
        """What is off with dW or db, given the delta that was used."""
        key, given = (name, layer), self.upstream[0]
        due = self.predicted(key, None, None, given, base)
        if same(measured, due, self.tolerance):
            return
        if not np.any(measured):
            zeros: Named = [(form, None) for form in forms() if form.bug.id == "bias-zero"] if name == "db" else []
            self.offs.append(Off(name, layer, zeros, 0.0, measured, due, "it is 0"))
            return
        found = self.explained_by(key, measured, given, {"left", "dW", "db", "decay"}, base, 1.0, due)
        exact = [(form, number) for form, number, c in found if c == 1.0]
        c = ratio(measured, due, self.tolerance)
        if exact or (found and c is None):
            named = exact or [(form, number) for form, number, _ in found]
            self.offs.append(Off(name, layer, named, 1.0 if exact else found[0][2], measured, due))
        else:
            words = "" if c is not None else "no known rule gives it"
            self.offs.append(Off(name, layer, [], 1.0 if c is None else c, measured, due, words))

    def _added(self, layer):
        """What is in dW whatever the sample: a multiple of W, of its sign, or something else."""
        D, W = self.added[layer], self.scenes[0].case.params.W[layer]
        for name, part in (("decay-undeclared", W), ("decay-absolute-undeclared", np.sign(W))):
            c = ratio(D, part, 1e-4)
            if c is not None:
                named: Named = []
                named += [(form, c) for form in forms() if form.bug.id == name][:1]
                self.offs.append(Off("dW", layer, named, 1.0, D, np.zeros_like(D), f"{c:.6g}"))
                return
        self.offs.append(Off("dW", layer, [], 1.0, D, np.zeros_like(D), "the same is added to dW for every sample"))
