"""Each rule measured on single samples: with one sample, dW is the layer's input times delta, and db is delta.

A rule is judged given what the submission itself computed before it, so that bugs add up without hiding each other.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from backprop_ref.conformance.catalogue.textbook import RULES
from backprop_ref.conformance.dissecting import curves, deltas
from backprop_ref.conformance.dissecting.comparing import constant_part, ratio, same, split
from backprop_ref.conformance.dissecting.deltas import Above
from backprop_ref.conformance.dissecting.rules import Form, Part, Rows, changed, forms, with_parts

NOTHING = 64.0 * float(np.finfo(float).eps)
"""What is smaller than this part of a layer's largest gradient is what rounding leaves of 0."""
LEAST = 1e-10
"""A layer whose gradients are all smaller than this part of the others' may be nothing but rounding."""
NAMELESS = 4
"""So many bugs with names are as much to say as one rule without."""
Named: TypeAlias = list[tuple[Form, float | None]]
"""Forms of bugs, each with the number that it needs."""


@dataclass
class Off:
    """A rule that is not what it should be, given what came before it.

    Attributes
    ----------
    quantity, layer : str and int
        delta, dW or db of a layer.
    named : list of (Form, number or None)
        The known bugs that give exactly what was measured, each alone.
    factor : float
        If not 1, what was measured is so many times what a rule gives: the right one if nothing is named.
    measured, due : array
        One entry or row a sample.
    words : str
        What was measured, where it is no known bug.
    """

    quantity: str
    layer: int
    named: Named = field(default_factory=list)
    factor: float = 1.0
    measured: Any = None
    due: Any = None
    words: str = ""


class Option(NamedTuple):
    """A delta as dW or db tells it; `mask`: the entries of which they tell; `form`: the bug of dW that it takes;
    `added`: what is then in dW whatever the sample."""

    delta: Any
    mask: Any = None
    form: Form | None = None
    added: Any = None


class Samples:
    """A network's rules measured on single samples.

    Parameters
    ----------
    rows : Rows
        The samples, under the rules that are held to be right.
    asked : list of Asked
        The submission's answers for these.
    factor : float or None
        What the loss of one sample is beside ours, if it is known; None: found from the last delta.
    tolerance : float
        Relative; see `asking.HALF_THE_DIGITS`.
    search : bool
        Whether what is off is looked for among known bugs.
    usual : callable, optional
        Whether a factor is usual, where none is known.
    more : tuple of Form
        Bugs to look for beside the catalogue's.
    limit : int, optional
        No more is measured once there is so much to say.
    words : bool
        Whether the curve of a slope without a name is looked for.

    Attributes
    ----------
    offs : list of Off
    delta : dict of int to array of shape (samples, n)
        What the submission carried back, as far as its gradients tell.
    added, added_b : dict of int to array
        What is in dW, or db, of a layer whatever the sample.
    scale : float
        The factor of the last delta; `factor` where that is known.
    parts, factors : list of Part, and of (quantity, layer, number)
        What is off with deltas, dW and db.
    base : dict
        The rules beside these bugs.
    cost : int
        How much there is to say.
    """

    def __init__(self, rows: Rows, asked, factor, tolerance, search=True, usual=None, more=(), limit=None, words=True):
        self.rows, self.tolerance, self.scale = rows, tolerance, 1.0 if factor is None else factor
        self.search, self.more, self.usual, self.known = search, more, usual, factor is not None
        self.network, self.last, self.base = rows.network, rows.last, rows.rules
        self.G = [np.stack([one.values.dW[layer] for one in asked]) for layer in range(self.network.n_layers)]
        db = [one.values.db or [None] * len(self.G) for one in asked]
        self.B = [None if any(part is None for part in parts) else np.stack(parts) for parts in zip(*db, strict=True)]
        sizes = [
            max(float(np.abs(part).max()) for part in pair if part is not None)
            for pair in zip(self.G, self.B, strict=True)
        ]
        self.nothing = [NOTHING * (size if size > LEAST * max(sizes) else max(sizes)) for size in sizes]
        self.G = [self.without_noise(part, layer) for layer, part in enumerate(self.G)]
        self.B = [None if part is None else self.without_noise(part, layer) for layer, part in enumerate(self.B)]
        self.inputs = [rows.inputs(layer) for layer in range(len(self.G))]
        self.offs: list[Off] = []
        self.parts: list[Part] = []
        self.factors: list[tuple[str, int, float]] = []
        self.delta: dict[int, np.ndarray] = {}
        self.added: dict[int, np.ndarray] = {}
        self.added_b: dict[int, np.ndarray] = {}
        self.above: list[Above] = []
        self.complete, self.words = True, words
        for layer in reversed(range(self.network.n_layers)):
            self._layer(layer)
            if limit is not None and self.cost >= limit:
                self.complete = False
                break

    def without_noise(self, part, layer):
        """The same with 0 where there is nothing but rounding."""
        return np.where(np.abs(part) < self.nothing[layer], 0.0, part)

    @property
    def cost(self):
        """A bug of a name counts once, whatever the layers; a rule without a name more than a few of these."""
        names = {off.named[0][0].bug.id for off in self.offs if off.named}
        factors = {(off.quantity, round(off.factor, 9)) for off in self.offs if not off.named and not off.words}
        nameless = sum(bool(off.words) and not off.named for off in self.offs)
        odd = not self.known and self.usual is not None and not self.usual(self.scale)
        return len(names) + len(factors) + NAMELESS * nameless + odd

    # ---- one layer --------------------------------------------------------------------------------------------------

    def _layer(self, layer):
        G, B = self.G[layer], self.B[layer]
        options = self._options(layer)
        match, due = self._delta(layer, options)
        if match is None:
            base = options[0].delta
            due = self._right(layer) if due is None else due
            words = "" if same(base, due, self.tolerance) else self._in_words(layer, base)
            if words:
                self.offs.append(Off("delta", layer, [], 1.0, base, due, words))
            raws = ()
        else:
            option = options[match.option]
            value = match.factor * match.way.value
            base = value if option.mask is not None else option.delta
            told = (one.added for one in (option, *options) if one.added is not None and self._tells(one, base))
            if (added := next(told, None)) is not None:
                self.added[layer] = added
            self._say(layer, match, base, due)
            raws = deltas.raws_of(self.rows, match.way, layer, match.factor)
        self.delta[layer] = base
        rest = self.without_noise(G - self.added[layer], layer) if layer in self.added else G
        self._gradient("dW", layer, rest, base, match is not None)
        if layer in self.added:
            self._added(layer)
        if B is not None:
            self._gradient("db", layer, B, base, match is not None)
        ways = [base, *(option.delta for option in options if option.mask is None), *([] if due is None else [due])]
        unique: list[np.ndarray] = []
        for way in ways:
            if way.shape == base.shape and not any(same(way, other, self.tolerance) for other in unique):
                unique.append(way)
        self.above = [Above(way, raws if number == 0 else (), G) for number, way in enumerate(unique)]

    def _tells(self, option, delta):
        """Whether an option is that delta, where it says anything."""
        some = slice(None) if option.mask is None else option.mask
        return option.delta.shape == delta.shape and same(option.delta[some], delta[some], self.tolerance)

    def _in_words(self, layer, measured):
        """What is off with a delta of no known rule: the derivative, where all else is right."""
        if not self.words:
            return "no known rule gives it"
        if layer < self.last:
            da = self.rows.attempt("da", layer, delta={layer + 1: self.above[0].delta})
        else:
            da = self._error()
        z, a = self.rows.z[layer].mid, self.rows.a[layer].mid
        curve = "" if da is None else curves.in_words(z, a, da, measured, self.tolerance)
        return curve or "no known rule gives it"

    def _error(self):
        """dLoss/da of a squared error, each sample by itself; None for other losses, or where its factor is unknown."""
        squared = self.network.loss.endswith("squared_error") and self.network.activations[-1] != "softmax"
        if not squared or not self.known or self.base["delta"] is not RULES["delta"]:
            return None
        error = self.rows.attempt("error")
        error = None if error is None else self.rows.attempt("mean", self.rows.exact(error))
        return None if error is None else self.scale * error

    def _options(self, layer) -> list[Option]:
        """The deltas that dW and db may tell."""
        G, B, v = self.G[layer], self.B[layer], self.inputs[layer]
        from_W, rest = split(G, v)
        outer = np.abs(rest).max() <= self.tolerance * np.abs(G).max()
        if not outer:
            some = np.any(G, axis=(0, 2))  # rows that are left out hold nothing that is added either
            D = constant_part(G[:, some], v[:, some], self.tolerance, B)
            if D is not None and np.abs(D).max() > self.tolerance * np.abs(G).max():
                self.added[layer] = np.zeros(G.shape[1:])
                self.added[layer][some] = D
                from_W, outer = split(self.without_noise(G[:, some] - D, layer), v[:, some])[0], True
        told = np.any(v, axis=1)  # a layer that reads nothing but 0 tells nothing of delta
        options = (
            [] if not outer else [Option(from_W, None if np.all(told) else told[:, None] & np.ones_like(from_W, bool))]
        )
        options += [] if B is None else [Option(B)]
        if B is not None and outer and self.search and (bare := self._without_b(layer, from_W, B)) is not None:
            options.append(Option(bare))
        if not outer and self.search:
            options += self._undone(layer)
        options = [one for one in options if np.any(one.delta)] or options or [Option(from_W)]
        for one in list(options):  # a neuron without any gradient may be one that was left out
            some = np.any(one.delta, axis=0)
            if self.search and np.any(some) and not np.all(some):
                mask = np.broadcast_to(some, one.delta.shape)
                options.append(one._replace(mask=mask if one.mask is None else mask & one.mask))
        return options

    def _without_b(self, layer, from_W, B):
        """db without a multiple of b, where it is that beside a multiple of what dW tells; else None."""
        b = np.broadcast_to(self.rows.case.params.b[layer], B.shape)
        columns = np.stack([from_W.ravel(), b.ravel()], axis=1)
        (_, c), *_ = np.linalg.lstsq(columns, B.ravel(), rcond=None)
        rest = B - c * b
        return rest if abs(c) > 1e-9 and ratio(rest, from_W, self.tolerance) is not None else None

    def _undone(self, layer):
        """The deltas that dW tells if it was made with a known bug: with another array, rearranged, or in part only."""
        G, B, limit = self.G[layer], self.B[layer], self.tolerance * np.abs(self.G[layer]).max()
        for form in forms():
            if form.fitted or not form.change.keys() <= {"dW", "db", "left"}:
                continue
            if "left" in form.change:
                v = self.rows.attempt("left", layer, change=form.change)
                if v is not None and v.shape == self.inputs[layer].shape:
                    delta, rest = split(G, v)
                    told = np.broadcast_to(np.any(v, axis=1)[:, None], delta.shape)
                    mask = None if np.all(told) else told
                    if np.abs(rest).max() > limit and (D := constant_part(G, v, self.tolerance, B)) is not None:
                        yield Option(split(G - D, v)[0], mask, form, D)
                    elif np.abs(rest).max() <= limit:
                        yield Option(delta, mask, form)
            elif "dW" in form.change and (places := self._rearranged(form, layer)) is not None:
                right = np.full(G.shape, np.nan)
                right.reshape(len(G), -1)[:, places[places > 0] - 1] = G[:, places > 0]
                known = ~np.isnan(right[0])
                if np.all(known) and (D := constant_part(right, self.inputs[layer], self.tolerance, B)) is not None:
                    delta = split(right - D, self.inputs[layer])[0]
                    if np.abs(D).max() > limit:
                        told = np.broadcast_to(np.any(self.inputs[layer], axis=1)[:, None], delta.shape)
                        mask = None if np.all(told) else told
                        yield Option(delta, mask, form, D.reshape(-1)[places - 1].reshape(D.shape))
                        continue
                v = self.inputs[layer][:, :, None] * known
                size = (v * v).sum(axis=1)
                delta = (v * np.where(known, right, 0.0)).sum(axis=1) / np.where(size == 0.0, 1.0, size)
                rest = np.where(known, right, 0.0) - v * delta[:, None, :]
                told = size > 0.0
                if np.abs(rest).max() <= limit and known.sum() > known.any(axis=0).sum():
                    yield Option(delta, None if np.all(told) else told, form)

    def _rearranged(self, form, layer):
        """For each entry of dW the place, from 1, where it belongs, 0: nowhere; None: it is no rearrangement."""
        shape = self.G[layer].shape[1:]
        places = self.rows.exact(np.arange(1.0, 1.0 + np.prod(shape)).reshape(shape))
        try:
            found = form.change["dW"](lambda p, at: places, self.rows, layer).mid
        except (ValueError, IndexError, KeyError, TypeError):
            return None
        if found.shape != shape or not np.array_equal(found, np.round(found)) or np.array_equal(found, places.mid):
            return None
        return found.astype(int) if len(np.unique(found[found > 0])) == np.sum(found > 0) else None

    def _right(self, layer):
        """The right delta, given what is above; None where shapes do not fit."""
        if layer == self.last:
            found = self.rows.attempt("delta", layer)
            return None if found is None else found * self.scale
        return self.rows.attempt("delta", layer, delta={layer + 1: self.above[0].delta})

    def _delta(self, layer, options):
        """The fewest bugs that give a measured delta, and what would be right."""
        due, at_end = self._right(layer), layer == self.last
        pairs = [(one.delta, one.mask) for one in options]
        scale = 1.0 if not at_end else self.scale if self.known else None
        if due is not None:
            quick = deltas.Way(due / self.scale if at_end else due, (), None, self.base)
            found = deltas.best([quick], pairs, self.tolerance, scale, self.usual, self.nothing[layer])
            if not self.search or (found is not None and found.cost == 0):
                if found is not None and at_end and scale is None:
                    self.scale = found.factor
                return (None if found is None else self._with_raw(layer, found)), due
        elif not self.search:
            return None, due
        ways = deltas.output_ways(self.rows, self.more) if at_end else deltas.hidden_ways(
            self.rows, layer, self.above, self.more)  # fmt: skip
        found = deltas.best(ways, pairs, self.tolerance, scale, self.usual, self.nothing[layer])
        if found is None or found.cost > 1:
            other = self._by_numbers(layer, options)
            if other is not None and (found is None or other.cost < found.cost):
                found = other
        if found is not None and at_end and scale is None:
            self.scale = found.factor
        return found, due

    def _with_raw(self, layer, found):
        """The right way, with what comes before its derivative."""
        if layer == self.last:
            raw = self.rows.attempt("error") if self.base["delta"] is RULES["delta"] else None
            raw = found.way.value if raw is None else self.rows.attempt("mean", self.rows.exact(raw))
        else:
            raw = self.rows.attempt("da", layer, delta={layer + 1: self.above[0].delta})
        return found._replace(way=found.way._replace(raw=raw))

    def _by_numbers(self, layer, options):
        """What needs a number: updated weights, a small number in a logarithm, another slope."""
        at_end = layer == self.last
        for number, option in enumerate(options):
            match = None
            if not at_end and option.mask is None:
                match = deltas.by_updated_weights(self.rows, layer, self.above, option.delta)
            if match is None:
                scale = 1.0 if not at_end else self.scale if self.known else None
                match = deltas.by_a_number(
                    self.rows, layer, self.above, option.delta, scale, self.tolerance, option.mask
                )
            if match is not None:
                return match._replace(option=number)
        return None

    def _say(self, layer, match, measured, due):
        """An `Off` for each bug of a delta, and for a factor that it should not have."""
        self.base = match.way.base
        factor = match.factor / self.scale if layer == self.last else match.factor
        for part in match.way.parts:
            named: Named = [(form, part.number) for form in part.forms]
            self.offs.append(Off("delta", layer, named, 1.0, measured, due))
            self.parts.append(part)
        if abs(factor - 1.0) > self.tolerance:
            self.offs.append(Off("delta", layer, [], factor, measured, match.way.value))
            if layer < self.last or self.known:
                self.factors.append(("delta", layer, factor))

    # ---- dW and db given delta --------------------------------------------------------------------------------------

    def _made(self, name, layer, delta, form):
        """dW or db of each sample with that delta and a bug; None where shapes do not fit."""
        if "left" in form.change:
            v = self.rows.attempt("left", layer, change=form.change)
            return None if v is None else np.einsum("si,sj->sij", v, delta)
        above = {at: part for at, part in enumerate(self.G) if at > layer or (name == "db" and at == layer)}
        given = {**{at: part for at, part in self.delta.items() if at > layer}, layer: delta}
        change = form.change
        if name == "db":  # what db is made of is dW as it was
            change = {"dW": lambda right, p, at: p.dW[at] if at in p.dW else right(p, at), **change}
        found = self.rows.attempt(name, layer, change=change, alone=True, delta=given, above=above)
        return None if found is None else self.without_noise(found, layer)

    def _gradient(self, name, layer, measured, base, known):
        """What is off with dW or db, given the delta that was used; if that is `known`, a bug with a name."""
        due = np.einsum("si,sj->sij", self.inputs[layer], base) if name == "dW" else base
        vanishes = not np.any(measured) and np.abs(due).max(initial=0.0) <= self.nothing[layer]
        if vanishes or same(measured, due, self.tolerance):
            return
        some = np.any(self.G[layer], axis=(0, 1))  # the neurons that are not left out
        if name == "db" and self._decayed(layer, measured, due):
            return
        rules = {"dW": {"left", "dW"}, "db": {"db"}}[name]
        exact, scaled = [], []
        for form in forms() if self.search and known else ():
            if not rules & form.change.keys() or "error" in form.change or form.fitted:
                continue
            part = self._made(name, layer, base, form)
            if part is None or part.shape != measured.shape or same(part, due, 100.0 * self.tolerance):
                continue
            if same(measured, part, self.tolerance) or (
                part.shape == measured.shape and name == "db" and same(measured, part * some, self.tolerance)
            ):
                exact.append(form)
            elif (c := ratio(measured, part, self.tolerance)) is not None:
                scaled.append((form, c))
            elif name == "db" and self._decayed(layer, measured, part):
                self.offs.append(Off(name, layer, [(form, None)], 1.0, measured, due))
                return
        c = ratio(measured, due, self.tolerance)
        if exact or (scaled and c is None):
            self._added_to_sums(name, layer, exact)
            found = exact or [form for form, factor in scaled if np.isclose(factor, scaled[0][1])]
            self.offs.append(Off(name, layer, [(form, None) for form in found], 1.0, measured, due))
            self.parts.append(Part(layer, tuple(found)))
            if not exact:
                self.offs.append(Off(name, layer, [], scaled[0][1], measured, due))
                self.factors.append((name, layer, scaled[0][1]))
        else:
            if c is not None:
                self.factors.append((name, layer, c))
            words = "" if c is not None else "no known rule gives it" if np.any(measured) else "it is 0"
            self.offs.append(Off(name, layer, [], 1.0 if c is None else c, measured, due, words))

    def _added_to_sums(self, name, layer, found):
        """Takes what is added to dW for added to a db that is made of dW, too."""
        if name == "db" and layer in self.added and any(form.bug.id == "bias-row-sum" for form in found):
            self.added_b[layer] = self.added[layer].sum(axis=0)

    def _decayed(self, layer, measured, due):
        """Whether db is right but for a multiple of b, whatever the sample."""
        some = np.any(measured, axis=0)  # an entry that is left out holds nothing at all
        rest = (measured - due)[:, some]
        c = ratio(rest, np.broadcast_to(self.rows.case.params.b[layer][some], rest.shape), 1e-4)
        if c is None:
            return False
        named: Named = []
        named += [(form, c) for form in forms() if form.bug.id == "decay-on-bias" and form.fitted][:1]
        self.offs.append(Off("db", layer, named, 1.0, measured, due))
        self.added_b[layer] = c * self.rows.case.params.b[layer] * some
        return True

    def _added(self, layer):
        """What is in dW whatever the sample: a multiple of W, of its sign, or something else."""
        D, W = self.added[layer], self.rows.case.params.W[layer]
        some = np.any(self.G[layer], axis=0)  # an entry that is left out holds nothing at all
        for name, part in (("decay-undeclared", W), ("decay-absolute-undeclared", np.sign(W))):
            c = ratio(D[some], part[some], 1e-4)
            if c is not None:
                named: Named = []
                named += [(form, c) for form in forms() if form.bug.id == name][:1]
                self.offs.append(Off("dW", layer, named, 1.0, D, np.zeros_like(D), f"{c:.6g}"))
                return
        self.offs.append(Off("dW", layer, [], 1.0, D, np.zeros_like(D), "the same is added to dW for every sample"))

    # ---- whole batches ----------------------------------------------------------------------------------------------

    def rules(self):
        """The rules with everything that was found in them, for whole batches."""
        rules, scale = with_parts(self.base, self.parts), self.scale
        for quantity, layer, factor in self.factors:
            rules = changed(rules, {quantity: lambda right, p, at, factor=factor: right(p, at) * factor}, layer)
        return changed(rules, {"mean": lambda right, p, error: right(p, error) * scale})
