"""A delta taken to pieces: which error or what from above, carried by which weights, times which slope and factor.

Every piece has a few forms, the right one and known bugs; a delta is looked for among all their combinations.
"""

import functools
import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from backprop_ref.conformance.catalogue.textbook import RULES, activate, derived
from backprop_ref.conformance.dissecting.comparing import ratio, same
from backprop_ref.conformance.dissecting.rules import (
    CLIPPED,
    RAW_ENTROPY,
    RAW_ERROR,
    TWO_STEPS,
    UPDATED,
    Form,
    Part,
    Rows,
    changed,
    forms_of,
    numbers_for,
)
from backprop_ref.formulas import ACTIVATIONS, together


class Way(NamedTuple):
    """A delta that rules give.

    Attributes
    ----------
    value : array of shape (samples, n)
    parts : tuple of Part
        The known bugs in it.
    raw : array
        What comes before the activation's derivative.
    base : dict
        The rules that it is made with beside the bugs.
    """

    value: Any
    parts: tuple[Part, ...]
    raw: Any
    base: dict


class Above(NamedTuple):
    """What may be carried back: delta of the layer above, what stood before its derivative, and dW there."""

    delta: Any
    raws: tuple[tuple[Form, Any], ...]
    dW: Any


class Match(NamedTuple):
    """A `Way` that gives what was measured, but for a factor."""

    way: Way
    option: int
    factor: float
    cost: int


class Slope(NamedTuple):
    """One derivative of an activation, and the forms of bugs that it stands for."""

    of: Any
    forms: tuple[Form, ...]


def slopes(rows: Rows, layer: int, more=()) -> list[Slope]:
    """The right derivative of a layer's activation and those of known bugs; such as are the same there are together."""
    if more:
        return _slopes(rows, layer, more)
    if ("slopes", layer) not in rows.known:
        rows.known["slopes", layer] = _slopes(rows, layer)
    return rows.known["slopes", layer]


def _slopes(rows, layer, more=()):
    probe, other_probe = np.random.default_rng(layer).normal(size=(2, *rows.z[layer].shape))

    def of(form):
        change = None if form is None else form.change
        return lambda da: rows.attempt("slope", layer, rows.exact(da), change=change)

    def entry_by_entry(slope, value):
        """The same as a product with numbers that are known, where it is one."""
        numbers = value / probe
        if not same(slope(other_probe), numbers * other_probe, 1e-12):
            return slope
        return lambda da: numbers * da if da.shape == numbers.shape else slope(da)

    found: list[tuple[Any, Slope]] = []
    free = _free_slopes(rows, layer)
    for form in (None, *more, *forms_of("slope")):
        slope = of(form)
        value = slope(probe)
        if value is None or value.shape != probe.shape:
            continue
        place = next((at for at, (other, _) in enumerate(found) if same(value, other, 1e-9)), None)
        named = () if form is None or form.bug.acceptable else (form,)
        if any(form is one for one in free):
            named = ()
        if place is None:
            found.append((value, Slope(entry_by_entry(slope, value), named)))
        elif found[place][1].forms:
            found[place] = value, found[place][1]._replace(forms=(*found[place][1].forms, *named))
    return [slope for _, slope in found]


def _free_slopes(rows, layer):
    """The slopes that are no bug of their own where the layer's activation is left out already."""
    z, a = rows.z[layer].mid, rows.a[layer].mid
    if rows.network.activations[layer] == "linear" or not np.array_equal(z, a):
        return []
    return [form for form in forms_of("slope") if form.bug.id in {"derivative-missing", "derivative-fed-z",
            "output-derivative-missing", "relu-mask-missing", "derivative-at-activation"}]  # fmt: skip


def output_ways(rows: Rows, more=()) -> Iterator[Way]:
    """Every delta of the output: targets × errors × slopes."""
    if rows.rules["delta"] is not RULES["delta"]:
        yield from _measured_ways(rows, more)
        return
    short = together(rows.network.loss, rows.network.activations[rows.last])
    if short:
        yield from (Way(error, parts, error, rows.rules) for error, parts in _errors(rows))
        errors = [(_in_two_steps(rows, change), _part(None, forms)) for forms, change in [((), {}), *_targets(rows)]]
    else:
        errors = _errors(rows)
    base = changed(rows.rules, TWO_STEPS) if short else rows.rules
    for slope, (error, parts) in itertools.product(slopes(rows, rows.last, more), errors):
        value = None if error is None else slope.of(error)
        if value is not None:
            yield Way(value, (*parts, *_part(rows.last, slope.forms)), error, base)


def _measured_ways(rows, more):
    """The last delta where it was measured, not computed, right and with the bugs of it."""
    for form in (None, *(form for form in more if "delta" in form.change)):
        value = rows.attempt("delta", rows.last, change=None if form is None else form.change)
        if value is not None:
            yield Way(value, () if form is None else (Part(rows.last, (form,)),), value, rows.rules)


def _in_two_steps(rows, change=None):
    """dLoss/da of a cross-entropy; None for other losses."""
    if rows.network.loss.endswith("squared_error") or rows.rules["delta"] is not RULES["delta"]:
        return None
    error = rows.attempt("error", change={**TWO_STEPS, **(change or {})})
    return None if error is None else rows.attempt("mean", rows.exact(error))


def _part(layer, forms, number=None):
    return (Part(layer, forms, number),) if forms else ()


def _targets(rows):
    """The forms that change the labels of a single sample, each as a change to these labels."""
    if "targets" not in rows.known:
        found = []
        for form in forms_of("target", "terms"):
            wrong = form.change["target"]
            y = rows.exact(np.concatenate([wrong(rows.rules["target"], one, "error").mid for one in rows.each]))
            if not np.array_equal(y.mid, rows.case.y):
                found.append(((form,), {"target": lambda right, p, use, y=y: y}))
        rows.known["targets"] = found
    return rows.known["targets"]


def _errors(rows):
    """The error before the mean, with the bugs of labels and of the error in it, each once."""
    if "errors" in rows.known:
        return rows.known["errors"]
    found: list[tuple[Any, tuple[Part, ...]]] = []
    targets = [((), {}), *_targets(rows)]
    errors = [((), {}), *(((form,), form.change) for form in forms_of("error", "terms"))]
    pairs = sorted(itertools.product(targets, errors), key=lambda pair: sum(len(forms) for forms, _ in pair))
    for pair in pairs:
        value = rows.attempt("error", change={**pair[0][1], **pair[1][1]} or None)
        if value is None or not np.any(value):
            continue
        parts = tuple(Part(None, forms) for forms, _ in pair if forms)
        place = next((at for at, (other, _) in enumerate(found) if same(value, other, 1e-9)), None)
        if place is None:
            found.append((value, parts))
        elif len(parts) == 1 and len(found[place][1]) == 1:
            part = found[place][1][0]
            found[place] = found[place][0], (part._replace(forms=(*part.forms, *parts[0].forms)),)
    mean = [(rows.attempt("mean", rows.exact(value)), parts) for value, parts in found]
    rows.known["errors"] = [(value, parts) for value, parts in mean if value is not None]
    return rows.known["errors"]


def hidden_ways(rows: Rows, layer: int, above: list[Above], more=()) -> Iterator[Way]:
    """Every delta of a hidden layer: what is carried × the weights that carry it × slopes."""
    slope_list = slopes(rows, layer, more)
    seen: list[Any] = []
    for one in above:
        for carried, parts in _carried(rows, layer, one):
            if any(same(carried, other, 1e-9) for other in seen):
                continue
            seen.append(carried)
            for slope in slope_list:
                value = slope.of(carried)
                if value is not None and value.shape == rows.z[layer].shape:
                    yield Way(value, (*parts, *_part(layer, slope.forms)), carried, rows.rules)


def _carried(rows, layer, above):
    """da of a layer in every form."""
    sums = [None, *(form for form in forms_of("da") if form.bug.id != RAW_ERROR.bug.id)]
    weights = [None, *forms_of("weights_back")]
    for (raw, delta), total, W in itertools.product([(None, above.delta), *above.raws], sums, weights):
        if total is not None and W is not None:
            continue
        change = {**(total.change if total else {}), **(W.change if W else {})}
        value = rows.attempt("da", layer, change=change or None, delta={layer + 1: delta})
        if value is not None and value.shape == rows.a[layer].shape:
            yield value, tuple(Part(layer, (form,)) for form in (raw, total, W) if form is not None)


def by_updated_weights(rows: Rows, layer: int, above: list[Above], measured) -> Match | None:
    """delta carried through W − η·dW of the layer above, with the η that fits."""
    slope_list = slopes(rows, layer)
    for one in above:
        for raw, delta in [(None, one.delta), *one.raws]:
            plain = rows.attempt("da", layer, delta={layer + 1: delta})
            if plain is None or one.dW is None:
                continue
            moved = np.einsum("sj,skj->sk", delta, one.dW)
            for slope in slope_list:
                for c, rate in _rates(slope.of, plain, moved, measured):
                    value = slope.of(plain - rate * moved)
                    if value is not None and abs(rate) > 1e-6 and same(measured, c * value, 1e-7):
                        parts = (Part(layer, (UPDATED,), rate), *_part(layer, slope.forms))
                        parts = (*((Part(layer, (raw,)),) if raw else ()), *parts)
                        way = Way(value, parts, plain - rate * moved, rows.rules)
                        return Match(way, 0, c, len(parts) + (c != 1.0))
    return None


def _rates(slope, plain, moved, measured):
    """Pairs of c and η with measured = c·slope(plain − η·moved), without a factor first."""
    A, B = slope(plain), slope(moved)
    if A is None or B is None or A.shape != measured.shape:
        return
    if not same(slope(plain - moved), A - B, 1e-9):  # a mask that looks at da passes what was measured
        passed = slope(measured)
        factor = np.divide(passed, measured, out=np.zeros_like(measured), where=measured != 0.0)
        A, B = factor * plain, factor * moved
        A, B, measured = (part[measured != 0.0] for part in (A, B, measured))
    size = float((B * B).sum())
    if size:
        yield 1.0, float((B * (A - measured)).sum()) / size
    columns = np.stack([A.ravel(), B.ravel()], axis=1)
    if len(columns) > 2 and np.all(np.isfinite(columns)) and np.linalg.matrix_rank(columns, 1e-9) == 2:
        c, d = np.linalg.lstsq(columns, measured.ravel(), rcond=None)[0]
        if c:
            yield float(c), float(-d / c)


def by_a_number(rows: Rows, layer: int, above: list[Above], measured, scale, tolerance, mask=None) -> Match | None:
    """delta by a form that needs a number: ε in a logarithm, another leaky slope; with that factor, or with any."""
    if mask is None:
        mask = np.ones(measured.shape, dtype=bool)
    measured = measured[mask]
    last = layer == rows.last
    ways: list[tuple[Any, ...]] = _epsilon_ways(rows) if last else []
    carried = _errors(rows)[:1] if last else [one for up in above for one in _carried(rows, layer, up)]
    for da, parts in carried:
        for form in forms_of("slope", fitted=True):
            given = {"change": form.change, "parameter": form.bug.parameter}
            ways.append(
                (
                    lambda number, da=da, given=given: rows.attempt(
                        "slope", layer, rows.exact(da), number=number, **given
                    ),
                    lambda number, form=form, parts=parts: (*parts, Part(layer, (form,), number)),
                    form.bug.start,
                    rows.rules,
                )
            )
    for due_scale in dict.fromkeys((scale, None) if last else (scale,)):  # a bug may bring another factor
        for value, parts, start, base in ways:
            number = numbers_for(
                lambda n, value=value, due_scale=due_scale: _scaled(value(n), due_scale, mask),
                start,
                _scaled(measured, due_scale and 1.0),
            )
            due = None if number is None else value(number)
            c = None if due is None else ratio(measured, due[mask], tolerance)
            if c is not None and (due_scale is None or abs(c - due_scale) <= tolerance * abs(due_scale)):
                return Match(Way(due, parts(number), due, base), 0, c, len(parts(number)) + (due_scale != scale))
    return None


def _scaled(array, scale, mask=None):
    """Some entries of an array times a factor; without one, of length 1."""
    if mask is not None and array is not None:
        array = array[mask] if array.shape == mask.shape else None
    return None if array is None else array * scale if scale else array / max(float(np.linalg.norm(array)), 1e-300)


def _epsilon_ways(rows):
    """The last delta of a cross-entropy with a small number in its logarithm, times a derivative, right or not."""
    if rows.network.loss.endswith("squared_error") or rows.rules["delta"] is not RULES["delta"]:
        return []
    base = changed(rows.rules, TWO_STEPS)

    def value(number, slope):
        given = {"change": CLIPPED.change, "parameter": CLIPPED.bug.parameter}
        error = rows.attempt("error", number=number, **given)
        error = None if error is None else rows.attempt("mean", rows.exact(error))
        return None if error is None else slope.of(error)

    def parts(number, slope):
        return (Part(None, (CLIPPED,), number), *_part(rows.last, slope.forms))

    return [
        (functools.partial(value, slope=slope), functools.partial(parts, slope=slope), CLIPPED.bug.start, base)
        for slope in slopes(rows, rows.last)
    ]


def best(ways, options, tolerance, scale=None, usual=None, nothing=0.0) -> Match | None:
    """The way with the fewest bugs that gives one of the measured deltas; of two, that which more entries tell of.

    Parameters
    ----------
    ways : iterable of Way
    options : list of (array, mask)
        Measured deltas; the mask tells which entries say something.
    scale : float, optional
        The factor that is due; None: any.
    usual : callable, optional
        Whether a factor is usual, where none is due.
    nothing : float
        What is smaller is what rounding leaves of 0.
    """
    found: Match | None = None
    untold = 0
    for way in ways:
        for number, (measured, mask) in enumerate(options):
            if way.value.shape != measured.shape:
                continue
            some, due = (measured, way.value) if mask is None else (measured[mask], way.value[mask])
            cost, rest = len(way.parts), measured.size - some.size
            if found is not None and (cost, rest) >= (found.cost, untold):
                continue
            vanishes = not np.any(some) and np.abs(due).max(initial=0.0) <= nothing
            if scale is not None and (vanishes or same(some, scale * due, tolerance)):
                found, untold = Match(way, number, scale, cost), rest
                continue
            c = ratio(some, due, tolerance)
            if c is None:
                continue
            cost += 1 if scale is not None else 0 if usual is None or usual(c) else 1
            if found is None or (cost, rest) < (found.cost, untold):
                found, untold = Match(way, number, c, cost), rest
        if found is not None and found.cost == 0:
            break
    return found


def _any_slope(rows: Rows) -> Iterator[Any]:
    """The derivatives that activations have at the last z, where none is 0."""
    z = rows.z[rows.last]
    one = rows.exact(np.ones(z.shape))
    for name in ACTIVATIONS:
        if name not in {"softmax", "linear"}:
            found = derived(name, z, activate(name, z), one).mid
            if np.all(found != 0.0):
                yield found


def raws_of(rows: Rows, way: Way, layer: int, factor: float):
    """What comes before the derivative, as forms of carrying it back: as it is, and times the factor of delta."""
    found = [(RAW_ERROR, factor * way.raw)]
    if layer == rows.last and rows.rules["delta"] is not RULES["delta"]:  # whatever its activation may be
        found = [(RAW_ERROR, factor * way.value / slope) for slope in _any_slope(rows)]
    error = _in_two_steps(rows) if layer == rows.last and way.base is rows.rules else None
    if error is not None:
        found.append((RAW_ENTROPY, factor * error))
    if factor != 1.0:
        found += [(form, value / factor) for form, value in found]
    return tuple((form, value) for form, value in found if np.all(np.isfinite(value)))
