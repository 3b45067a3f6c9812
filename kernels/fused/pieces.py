"""The pieces that training a network needs: compiled where they have not been, and found by their addresses."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np

from ..compiling import IN_ANY_ORDER, AsWritten, is_kept, is_stored, side_by_side
from . import dropping, layers, limiting, products, rows, wide_layers
from .calls import Products, address_of, parallel_loop
from .epochs import (
    SIGNATURE,
    Layer,
    Pieces,
    Plan,
    Sections,
    placed,
    program,
    step_for,
    value_and_grad_for,
)
from .layers import Lines, Rules


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
    """Large products are shared out among threads."""
    direct: bool
    """As `Plan.direct`."""

    @property
    def lines(self) -> Lines:
        return Lines(self.dtype, self.fused, rows.BY_SAMPLES if self.wide else rows.BY_NEURONS, apart=True)


def placed_with_panels(plan: Plan, kind: Kind, rules: Rules) -> tuple[Plan, Sections]:
    """`epochs.placed`, with what the products need."""
    m, shapes = plan.batch_size, [(int(row[0]), int(row[1])) for row in plan.layers]
    extents = [extent for n_in, n_out in shapes for extent in products_of(kind, n_in, n_out, m)]
    panels = max(products.panels_for(*extent, plan.workers) for extent in extents) if kind.wide or kind.packed else 0
    return placed(plan, kind.dtype, rules, panels, zeros=max(map(max, shapes)) * kind.wide)


def products_of(kind: Kind, n_in: int, n_out: int, m: int) -> Sequence[tuple[int, int, int]]:
    """Terms, rows and columns of a layer's three products."""
    if kind.wide:
        return wide_layers.products_of(n_in, n_out, m)
    return (n_in, n_out, m), (m, n_in, n_out), (n_out, n_in, m)


def program_is_there(dtype: str) -> bool:
    """Whether the program for every network need not be compiled, or cannot be kept on disk."""
    found = program(dtype)
    return bool(found.overloads) or not is_kept(found) or is_stored(found, SIGNATURE)


def with_pieces(plan: Plan, kind: Kind, rules: Rules, uncompiled: bool = False) -> Plan:
    """The plan with the addresses of all that it calls; the program that calls it is compiled, too, if it is not to be
    `uncompiled`."""
    hyper, table = plan.hyper, [Layer(*map(int, row)) for row in plan.layers]
    last, dtype = len(table) - 1, kind.dtype
    heights = layers.heights_of([(row.n_in, row.n_out) for row in table], plan.batch_size) if kind.packed else ()
    affine, lines = partial(partial, _of_affine, kind._replace(shared=False)), partial(partial, _of_lines, kind.lines)
    differentiated = {*rules.activations[: last if plan.together else None]}
    wanted: dict[Any, Callable[[], Any] | None] = {
        "program": None if uncompiled else partial(program(dtype).compile, SIGNATURE),
        "products": partial(_of_products, kind),
        "affine_backward": affine("affine_backward", heights),
        "step": None if uncompiled else partial(_of_step, dtype),
        "value_and_grad": None if uncompiled else partial(_of_value_and_grad, dtype),
        "affine_forward": affine("affine_forward"),
        "affine_backward_input": affine("affine_backward_input") if last > 0 else None,
        "loss": lines("loss", rules.terms, rules.weighted),
        "measure": lines("measure", rules.metric, rules.terms),
        **{("forward", name): lines("forward", name) for name in {*rules.activations}},
        **{("backward", name): lines("backward", name) for name in differentiated},
        "gather": lines("gather"),
        "update": None if plan.direct else lines("update", rules.update),
        "add_decay": lines("add_decay") if hyper.weight_decay or hyper.l2 or hyper.decoupled_decay else None,
        "limit": partial(_of_limits, dtype, kind.fused) if rules.limits else None,
        "squares": partial(_of_squares, dtype, kind.fused) if hyper.l2 else None,
        "draw": partial(_of_dropout, kind.lines) if plan.dropout.any() else None,
    }
    found = side_by_side({name: each for name, each in wanted.items() if each is not None})
    found["limit"], found["constrain"] = found.get("limit", (0, 0))
    found["draw"], found["multiply"] = found.get("draw", (0, 0))
    for index, name in enumerate(rules.activations):
        backward = found["backward", name] if index < last or not plan.together else 0
        table[index] = table[index]._replace(forward=found["forward", name], backward=backward)
    pieces = Pieces(*(found.get(name, 0) for name in Pieces._fields))
    return plan._replace(layers=np.array(table, np.int64), pieces=pieces)


@cache
def _of_step(dtype: str) -> int:
    return address_of(dtype, "step", step_for(dtype))


@cache
def _of_value_and_grad(dtype: str) -> int:
    return address_of(dtype, "value_and_grad", value_and_grad_for(dtype))


@cache
def _of_lines(lines: Lines, name: str, *arguments: Any) -> int:
    """One of `Lines`."""
    return address_of(lines.dtype, name, getattr(lines, name)(*arguments), **lines.options)


@cache
def _of_affine(kind: Kind, name: str, heights: tuple[int, ...] = ()) -> int:
    """One of the three of the affine map, with narrow products of these heights."""
    if kind.wide:
        return address_of(kind.dtype, name, wide_layers.affine(kind.dtype, kind.direct)[name], **kind.lines.options)
    function = layers.affine(kind.dtype, kind.packed, kind.fused, heights)[name]
    return address_of(kind.dtype, name, function, **(IN_ANY_ORDER if kind.fused else {}))


def products_for(plan: Plan, sections: Sections, kind: Kind, work: Any) -> Products:
    """What the plan's products need; the pieces are compiled first, or loaded."""
    addresses = _of_products(kind)
    panels, zeros = work[sections.panels : sections.zeros], work[sections.zeros :]
    return Products(panels, panels.size, plan.workers, **addresses, zeros=zeros)


def _of_products(kind: Kind) -> dict[str, int]:
    return of_products(kind.dtype, not kind.fused, kind.shared) if kind.wide or kind.packed else NO_PRODUCTS


NO_PRODUCTS = dict.fromkeys(("product", "pack", "share", "packing", "parallel"), 0)


@cache
def of_products(dtype: str, ordered: bool, shared: bool) -> dict[str, int]:
    """Addresses of what large products need, by the names in `calls.Products`."""
    return {
        "product": address_of(dtype, "product", products.product_for(dtype, ordered)),
        "pack": address_of(dtype, "pack", products.pack_for(dtype)),
        "share": address_of(dtype, "share", products.share_for(dtype, ordered), pipeline=AsWritten),
        "packing": address_of(dtype, "share", products.packing_for(dtype)),
        "parallel": _of_parallel_loop() if shared else 0,
    }


@cache
def _of_parallel_loop() -> int:
    return address_of("float64", "parallel", parallel_loop(), parallel=True)


@cache
def _of_dropout(lines: Lines) -> tuple[int, int]:
    draw, multiply = dropping.lines(lines.layout)
    return address_of(lines.dtype, "draw", draw), address_of(lines.dtype, "multiply", multiply)


@cache
def _of_limits(dtype: str, fused: bool) -> tuple[int, int]:
    limit, constrain, _ = limiting.lines(dtype, fused)
    return address_of(dtype, "limit", limit), address_of(dtype, "constrain", constrain)


@cache
def _of_squares(dtype: str, fused: bool) -> int:
    return address_of(dtype, "squares", limiting.lines(dtype, fused)[2])
