"""The pieces that training a network needs: compiled where they have not been, and found by their addresses."""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from . import dropping, fast_products, layers, limiting, ordered_products, rows, wide_layers
from .calls import address_of
from .epochs import Layer, Pieces, Plan, Sections, placed
from .layers import Lines, Rules
from .views import part, view


class Kind(NamedTuple):
    """Which functions serve a network, besides its rules."""

    dtype: str
    fused: bool
    """For fast numerics."""
    wide: bool
    """Values of a layer stand sample after sample; else neuron after neuron."""
    packed: bool
    """Some product is large enough for packed operands."""
    shared: bool
    """Large products are divided among threads."""
    direct: bool
    """As `Plan.direct`."""

    @property
    def lines(self) -> Lines:
        return Lines(self.dtype, self.fused, rows.BY_SAMPLES if self.wide else rows.BY_NEURONS)


def placed_with_panels(plan: Plan, kind: Kind, rules: Rules) -> tuple[Plan, Sections]:
    """`epochs.placed`, with what the products need."""
    m, shapes = plan.batch_size, [(int(row[0]), int(row[1])) for row in plan.layers]
    extents = [extent for n_in, n_out in shapes for extent in products_of(kind, n_in, n_out, m)]
    if kind.wide:
        panels = max(fast_products.panels_for(*extent, plan.workers) for extent in extents)
        return placed(plan, kind.dtype, rules, panels, zeros=max(map(max, shapes)))
    panels = max(ordered_products.panels_for(*extent, plan.workers, kind.dtype) for extent in extents)
    return placed(plan, kind.dtype, rules, panels * (kind.packed and not kind.fused))


def products_of(kind: Kind, n_in: int, n_out: int, m: int) -> Sequence[tuple[int, int, int]]:
    """Terms, rows and columns of a layer's three products."""
    if kind.wide:
        return wide_layers.products_of(n_in, n_out, m)
    return (n_in, n_out, m), (m, n_in, n_out), (n_out, n_in, m)


def with_pieces(plan: Plan, kind: Kind, rules: Rules) -> Plan:
    """The plan with the addresses of all that it calls."""
    lines, last = kind.lines, len(plan.layers) - 1
    hyper, dropped = plan.hyper, plan.dropout.max(initial=0.0) > 0.0
    table = [Layer(*map(int, row)) for row in plan.layers]
    for index, name in enumerate(rules.activations):
        differentiated = index < last or not plan.together
        backward = of_backward(lines, name) if differentiated else 0
        table[index] = table[index]._replace(forward=of_forward(lines, name), backward=backward)
    draw, multiply = of_dropout(lines) if dropped else (0, 0)
    limit, constrain = of_limits(kind.dtype, kind.fused) if rules.limits else (0, 0)
    forward, backward, backward_input = (of_affine(kind, which) if which < 2 or last > 0 else 0 for which in range(3))
    pieces = Pieces(
        gather=of_gather(lines),
        affine_forward=forward,
        affine_backward=backward,
        affine_backward_input=backward_input,
        loss=of_loss(lines, rules.terms, rules.weighted),
        measure=of_measure(lines, rules.metric, rules.terms),
        update=0 if plan.direct else of_update(lines, rules.update),
        add_decay=of_decay(lines) if hyper.weight_decay or hyper.decoupled_decay else 0,
        limit=limit,
        constrain=constrain,
        draw=draw,
        multiply=multiply,
    )
    return plan._replace(layers=np.array(table, np.int64), pieces=pieces)


@cache
def of_gather(lines: Lines) -> int:
    line = lines.gather()

    def gather(order: Any, source: Any, n: int, m: int, a: Any) -> None:
        line(part(order, 0, 1), part(source, 0, 1), n, m, part(a, 0, 1))

    return address_of(lines.dtype, "gather", gather)


@cache
def of_forward(lines: Lines, name: str) -> int:
    line = lines.forward(name)

    def forward(n_out: int, m: int, z: Any, a: Any, slots: Any) -> None:
        line(n_out, m, part(z, 0, 1), part(a, 0, 1), part(slots, 0, 1))

    return address_of(lines.dtype, "forward", forward)


@cache
def of_backward(lines: Lines, name: str) -> int:
    line = lines.backward(name)

    def backward(n_out: int, m: int, z: Any, a: Any, delta: Any, slots: Any) -> None:
        line(n_out, m, part(z, 0, 1), part(a, 0, 1), part(delta, 0, 1), part(slots, 0, 1))

    return address_of(lines.dtype, "backward", backward)


@cache
def of_loss(lines: Lines, name: str, weighted: bool) -> int:
    line = lines.loss(name, weighted)

    def loss(n_out: int, m: int, z: Any, a: Any, y: Any, w: Any, n: Any, terms: Any, delta: Any, slots: Any) -> Any:
        z, a, y, w = part(z, 0, 1), part(a, 0, 1), part(y, 0, 1), part(w, 0, 1)
        return line(n_out, m, z, a, y, w, n, part(terms, 0, 1), part(delta, 0, 1), part(slots, 0, 1))

    return address_of(lines.dtype, "loss", loss)


@cache
def of_measure(lines: Lines, metric: str, terms: str) -> int:
    line = lines.measure(metric, terms)

    def measure(n_out: int, m: int, a: Any, y: Any, sums: Any) -> None:
        line(n_out, m, part(a, 0, 1), part(y, 0, 1), part(sums, 0, 1))

    return address_of(lines.dtype, "measure", measure)


@cache
def of_update(lines: Lines, name: str) -> int:
    line = lines.update(name)

    def update(n: int, flat: Any, grads: Any, first: Any, second: Any, settings: Any) -> None:
        line(n, part(flat, 0, 1), part(grads, 0, 1), part(first, 0, 1), part(second, 0, 1), settings)

    return address_of(lines.dtype, "update", update)


@cache
def of_decay(lines: Lines) -> int:
    line = lines.add_decay()

    def add_decay(n: int, W: Any, dW: Any, strength: Any) -> None:
        line(n, part(W, 0, 1), part(dW, 0, 1), strength)

    return address_of(lines.dtype, "add_decay", add_decay)


@cache
def of_dropout(lines: Lines) -> tuple[int, int]:
    draw_line, multiply_line = dropping.lines(lines.layout, lines.fused)

    def draw(n_out: int, m: int, seed: Any, rate: float, order: Any, mask: Any) -> None:
        draw_line(n_out, m, seed, rate, part(order, 0, 1), part(mask, 0, 1))

    def multiply(n: int, values: Any, mask: Any, out: Any) -> None:
        multiply_line(n, part(values, 0, 1), part(mask, 0, 1), part(out, 0, 1))

    return address_of(lines.dtype, "draw", draw), address_of(lines.dtype, "multiply", multiply)


@cache
def of_limits(dtype: str, fused: bool) -> tuple[int, int]:
    limit_line, constrain_line = limiting.lines(dtype, fused)
    FIELDS = len(Layer._fields)

    def limit(
        table: Any, n_layers: int, n: int, flat: Any, grads: Any, clip_value: float, clip_norm: float, l1: float
    ) -> None:
        limit_line(view(table, 0, n_layers, FIELDS), part(flat, 0, n), part(grads, 0, n), clip_value, clip_norm, l1)

    def constrain(table: Any, n_layers: int, flat: Any, max_norm: float, norms: Any) -> None:
        constrain_line(view(table, 0, n_layers, FIELDS), part(flat, 0, 1), max_norm, part(norms, 0, 1))

    return address_of(dtype, "limit", limit), address_of(dtype, "constrain", constrain)


@cache
def of_affine(kind: Kind, which: int) -> int:
    """Of the three of the affine map the first, second or third."""
    dtype, wide = kind.dtype, kind.wide
    if wide:
        line = wide_layers.affine(dtype, kind.shared, kind.direct)[which]
    else:
        line = layers.affine(dtype, kind.packed, kind.shared, kind.fused)[which]

    def affine_forward(
        flat: Any, w: int, n_in: int, n_out: int, m: int, a: Any, z: Any, panels: Any, n_panels: int, workers: int
    ) -> None:
        flat, a, z, panels = part(flat, 0, 1), part(a, 0, 1), part(z, 0, 1), part(panels, 0, n_panels)
        line(flat, w, n_in, n_out, m, a, z, panels, workers)

    def affine_backward(
        delta: Any,
        a: Any,
        w: int,
        n_in: int,
        n_out: int,
        m: int,
        target: Any,
        panels: Any,
        n_panels: int,
        workers: int,
        zeros: Any,
        one: Any,
    ) -> None:
        delta, a, target, panels = part(delta, 0, 1), part(a, 0, 1), part(target, 0, 1), part(panels, 0, n_panels)
        if wide:
            line(delta, a, w, n_in, n_out, m, target, panels, workers, part(zeros, 0, 1), part(one, 0, 1))
        else:
            line(delta, a, w, n_in, n_out, m, target, panels, workers)

    def affine_backward_input(
        delta: Any,
        flat: Any,
        w: int,
        n_in: int,
        n_out: int,
        m: int,
        da: Any,
        panels: Any,
        n_panels: int,
        workers: int,
        zeros: Any,
    ) -> None:
        delta, flat, da, panels = part(delta, 0, 1), part(flat, 0, 1), part(da, 0, 1), part(panels, 0, n_panels)
        if wide:
            line(delta, flat, w, n_in, n_out, m, da, panels, workers, part(zeros, 0, 1))
        else:
            line(delta, flat, w, n_in, n_out, m, da, panels, workers)

    functions = affine_forward, affine_backward, affine_backward_input
    return address_of(dtype, functions[which].__name__, functions[which])
