"""Whole epochs in one compiled call, for every network: its shape is in a small table, so it is compiled once for all
that have no other rules than those it knows.

A call goes on from a cursor and does some steps, whole epochs or part of one; where it is cut changes no bit. All
numbers in between stand in one array, ``work``, in sections; nothing is allocated inside.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba.extending import register_jitable

from backprop_ref import formulas
from backprop_ref.formulas import Settings

from ..compiling import FUSED, compiled, inlined, merged
from ..registers import padded, vector_of
from . import dropping, layers, limiting, rows
from .ordered_products import panels_for
from .views import part, uncounted


class Plan(NamedTuple):
    """What is computed."""

    layers: Any
    """int64 array, a `Layer` in each row."""
    hyper: "Hyper"
    loss: int
    """Which pair of `layers.Known`."""
    together: bool
    """Whether its error is of the last layer's z, not of a."""
    rule: int
    """Which update of `layers.Known`."""
    metric: int
    """Which of `layers.METRICS`."""
    batch_size: int
    shards: int
    workers: int
    per_row: int
    """What n of the loss has for each row: n_out for a mean over the outputs, else 1."""
    dropout: Any
    """float64 array, of each layer the probability with which its units are dropped."""


class Hyper(NamedTuple):
    """What an optimizer is set to, as in `formulas.Settings`; each is rounded once to the parameters' dtype where it is
    used."""

    momentum: float = 0.0
    beta1: float = 0.0
    beta2: float = 0.0
    epsilon: float = 0.0
    epsilon_hat: float = 0.0
    """ε where it is added before the bias correction; one of the two is 0."""
    weight_decay: float = 0.0
    decoupled_decay: float = 0.0
    l1: float = 0.0
    clip_value: float = 0.0
    clip_norm: float = 0.0
    max_norm: float = 0.0


class Layer(NamedTuple):
    """One layer. W begins at `w` in the flat vector; in ``work`` begin what it is given, `a_in`, the outputs `a`, `z`,
    what the activation's backward rule reads as z: z, or a where that gives the same, and under dropout the mask."""

    n_in: int
    n_out: int
    activation: int
    """Which of `layers.Known`."""
    w: int
    a_in: int = 0
    a: int = 0
    z: int = 0
    z_backward: int = 0
    mask: int = 0


class Sections(NamedTuple):
    """Where in ``work`` stand what layers share: y; the weights of the samples; z, or da in its place; delta;
    the terms of the loss; the slots of rules over rows; the gradients, and those of a shard; panels; zeros that stay;
    and where it ends."""

    y: int
    weights: int
    z: int
    delta: int
    terms: int
    slots: int
    grads: int
    shard: int
    panels: int
    zeros: int
    end: int


class Data(NamedTuple):
    """x (samples, n_in), y (samples, n_out), weights (samples, 1), or (0, 1) where there are none, orders (epochs,
    samples) int64, rates (epochs,) float64, seeds of dropout (epochs, hidden layers or more) uint64.
    """

    x: Any
    y: Any
    weights: Any
    orders: Any
    rates: Any
    seeds: Any


class State(NamedTuple):
    """What training changes: the flat parameters, the optimizer's arrays and its powers (or empty arrays), and room for
    the norms of the widest layer, float64."""

    flat: Any
    first: Any
    second: Any
    powers: Any
    norms: Any


class History(NamedTuple):
    """losses (epochs,), measures (epochs, 1 or n_out), sums of a batch (n_out,), all float64; the cursor, int64: epoch,
    first sample of the next batch; snapshots (any number, n_flat), and for each epoch, int64, which of them gets its
    parameters, or -1."""

    losses: Any
    measures: Any
    sums: Any
    cursor: Any
    snapshots: Any
    rows: Any


def placed(
    plan: Plan, dtype: str, known: layers.Known, panels: int, zeros: int = 0, gradients: bool = True
) -> tuple[Plan, Sections]:
    """The plan with a place in ``work`` for what each layer has, and the sections.

    Products work in so many numbers, `panels`, and start from so many `zeros`; gradients are stored or not.
    """
    activations = [formulas.ACTIVATIONS[name] for name in known.activations]
    table, m, end = [Layer(*map(int, row)) for row in plan.layers], plan.batch_size, 0
    widest, n_flat = max(row.n_out for row in table) * m, sum((row.n_in + 1) * row.n_out for row in table)

    def section(length: int) -> int:
        nonlocal end
        begin, end = end, end + padded(length, vector_of(dtype))
        return begin

    n_y, some = table[-1].n_out * m, n_flat * gradients
    slots = rows.N_SLOTS * padded(m, vector_of(dtype))
    lengths = (n_y, m * known.weighted, widest, widest, n_y, slots, some, some * (plan.shards > 1), panels, zeros)
    shared = dict(zip(Sections._fields, map(section, lengths), strict=False))
    a = section(table[0].n_in * m)
    for i, row in enumerate(table):
        a_in, a, by_a = a, section(row.n_out * m), activations[row.activation].z_for_a
        z = shared["z"] if by_a else section(row.n_out * m)
        table[i] = row._replace(a_in=a_in, a=a, z=z, z_backward=a if by_a else z)
        if plan.dropout[i] > 0.0:
            table[i], a = table[i]._replace(mask=section(row.n_out * m)), section(row.n_out * m)
    return plan._replace(layers=np.array(table, np.int64)), Sections(**shared, end=end)


def placed_with_panels(plan: Plan, dtype: str, known: layers.Known, packed: bool = True) -> tuple[Plan, Sections]:
    """`placed` for `program`; `packed`: products may be packed."""
    m = plan.batch_size
    extents = [extent for row in plan.layers for extent in _products(int(row[0]), int(row[1]), m)]
    panels = max(panels_for(*extent, plan.workers, dtype) for extent in extents)
    return placed(plan, dtype, known, panels * packed)


def _products(n_in: int, n_out: int, m: int) -> Sequence[tuple[int, int, int]]:
    """Terms, rows and columns of a layer's three products."""
    return (n_in, n_out, m), (m, n_in, n_out), (n_out, n_in, m)


@register_jitable(forceinline=True)
def layer_of(table: Any, i: int) -> Layer:
    """Row i of the table."""
    return Layer(
        table[i, 0], table[i, 1], table[i, 2], table[i, 3], table[i, 4], table[i, 5], table[i, 6], table[i, 7],
        table[i, 8],
    )  # fmt: skip


@register_jitable(forceinline=True)
def settings_of(hyper: Hyper, powers: Any, rate: Any, real: Any) -> Settings:
    """The numbers of an update rule for the next step, each rounded once; counts the step in `powers`."""
    powers[0] *= hyper.beta1
    powers[1] *= hyper.beta2
    c2 = 1.0 - powers[1]
    return Settings(
        rate,
        real(hyper.momentum),
        real(hyper.beta1),
        real(1.0 - hyper.beta1),
        real(hyper.beta2),
        real(1.0 - hyper.beta2),
        real(1.0 - powers[0]),
        real(c2),
        real(hyper.epsilon + hyper.epsilon_hat / np.sqrt(c2)),
    )


@merged
def uncounted_all(plan: Plan, data: Data, state: State, history: History, work: Any) -> Any:
    """The same arrays, whose references are not counted: that would cost as much as a step of a small network."""
    table = uncounted(plan.layers)
    plan = Plan(
        table, plan.hyper, plan.loss, plan.together, plan.rule, plan.metric,
        plan.batch_size, plan.shards, plan.workers, plan.per_row, uncounted(plan.dropout),
    )  # fmt: skip
    orders, rates, seeds = uncounted(data.orders), uncounted(data.rates), uncounted(data.seeds)
    data = Data(uncounted(data.x), uncounted(data.y), uncounted(data.weights), orders, rates, seeds)
    powers, norms = uncounted(state.powers), uncounted(state.norms)
    state = State(uncounted(state.flat), uncounted(state.first), uncounted(state.second), powers, norms)
    losses, measures, sums = uncounted(history.losses), uncounted(history.measures), uncounted(history.sums)
    cursor, snapshots, rows = uncounted(history.cursor), uncounted(history.snapshots), uncounted(history.rows)
    return plan, data, state, History(losses, measures, sums, cursor, snapshots, rows), uncounted(work)


@inlined
def all_finite(x: Any) -> bool:
    """Whether no entry is infinite or NaN."""
    bad = 0
    for i in range(x.size):
        bad += 0 if abs(x[i]) < np.inf else 1
    return bad == 0


@inlined
def rows_counted(data: Data, epoch: int, start: int, size: int) -> float:
    """What so many samples from `start` on count in a loss, without weights."""
    return np.float64(size)


@inlined
def weights_added(data: Data, epoch: int, start: int, size: int) -> float:
    """The sum of their weights, in order."""
    total = np.float64(0)
    for s in range(start, start + size):
        total += np.float64(data.weights[data.orders[epoch, s], 0])
    return total


def training(step: Any, weighted: bool) -> Callable[..., bool]:
    """``train(plan, sections, data, state, history, work, steps)``, to be compiled, over a compiled step."""
    weight_of = weights_added if weighted else rows_counted

    def train(
        plan: Plan, sections: Sections, data: Data, state: State, history: History, work: Any, steps: int
    ) -> bool:
        """Goes on from the cursor for at most `steps` steps.

        Gives whether there is more to do: not all epochs are done, and every one so far has ended finite.
        """
        plan, data, state, history, work = uncounted_all(plan, data, state, history, work)
        samples, epochs = data.x.shape[0], data.rates.shape[0]
        epoch, start = history.cursor[0], history.cursor[1]
        losses, measures = history.losses, history.measures
        for _ in range(steps):
            size = min(plan.batch_size, samples - start)
            weight = weight_of(data, epoch, start, size)
            loss = step(plan, sections, data, state, history.sums, epoch, start, size, weight, work)
            losses[epoch] += np.float64(loss) * weight
            for i in range(measures.shape[1]):
                measures[epoch, i] += history.sums[i]
            start += size
            if start == samples:
                total = 0.0
                for begin in range(0, samples, plan.batch_size):
                    total += weight_of(data, epoch, begin, min(plan.batch_size, samples - begin))
                losses[epoch] /= total
                finite = abs(losses[epoch]) < np.inf and all_finite(state.flat)
                if history.rows[epoch] >= 0:
                    for i in range(state.flat.size):
                        history.snapshots[history.rows[epoch], i] = state.flat[i]
                epoch, start = epoch + 1, 0
                if not finite or epoch == epochs:
                    history.cursor[0], history.cursor[1] = epoch, start
                    return False
        history.cursor[0], history.cursor[1] = epoch, start
        return True

    return train


def handing(layout: rows.Layout, known: layers.Known, fused: bool) -> tuple[Any, Any]:
    """``hand_on(plan, data, epoch, start, index, m, work)`` and ``hand_back(plan, index, m, work, da)``: what a hidden
    layer hands to the next under dropout, and its da; without, both do nothing."""
    draw, multiply = dropping.lines(layout, fused)

    @merged
    def hand_on(plan: Plan, data: Data, epoch: int, start: int, index: int, m: int, work: Any) -> None:
        rate = plan.dropout[index]
        if rate > 0.0:
            layer, above = layer_of(plan.layers, index), layer_of(plan.layers, index + 1)
            size = layer.n_out * m
            mask = part(work, layer.mask, size)
            draw(layer.n_out, m, data.seeds[epoch, index], rate, data.orders, epoch, start, mask)
            multiply(part(work, layer.a, size), mask, part(work, above.a_in, size))

    @merged
    def hand_back(plan: Plan, index: int, m: int, work: Any, da: Any) -> None:
        if plan.dropout[index] > 0.0:
            layer = layer_of(plan.layers, index)
            multiply(da, part(work, layer.mask, layer.n_out * m), da)

    @merged
    def nothing_on(plan: Plan, data: Data, epoch: int, start: int, index: int, m: int, work: Any) -> None:
        pass

    @merged
    def nothing_back(plan: Plan, index: int, m: int, work: Any, da: Any) -> None:
        pass

    return (hand_on, hand_back) if known.dropout else (nothing_on, nothing_back)


def limits(dtype: str, known: layers.Known, fused: bool) -> tuple[Any, Any]:
    """``limit(plan, flat, grads)`` clips the gradients and adds that of an L1 penalty; ``constrain(plan, flat, norms)``
    scales weights into each neuron; where the program knows none of it, both do nothing."""
    clip, add_lasso, norm, scale_columns = limiting.lines(dtype, fused)

    @merged
    def limit(plan: Plan, flat: Any, grads: Any) -> None:
        real = flat.dtype.type
        if plan.hyper.clip_value != 0.0:
            clip(grads.size, grads, real(plan.hyper.clip_value))
        if plan.hyper.clip_norm != 0.0:
            size = norm(grads)
            if size > plan.hyper.clip_norm:
                factor = real(plan.hyper.clip_norm / size)
                for i in range(grads.size):
                    grads[i] *= factor
        if plan.hyper.l1 != 0.0:
            for index in range(plan.layers.shape[0]):
                layer = layer_of(plan.layers, index)
                n = layer.n_in * layer.n_out
                add_lasso(n, part(flat, layer.w, n), part(grads, layer.w, n), real(plan.hyper.l1))

    @merged
    def constrain(plan: Plan, flat: Any, norms: Any) -> None:
        if plan.hyper.max_norm != 0.0:
            for index in range(plan.layers.shape[0]):
                layer = layer_of(plan.layers, index)
                W = part(flat, layer.w, layer.n_in * layer.n_out)
                scale_columns(W, layer.n_in, layer.n_out, plan.hyper.max_norm, norms)

    @merged
    def no_limit(plan: Plan, flat: Any, grads: Any) -> None:
        pass

    @merged
    def no_constraint(plan: Plan, flat: Any, norms: Any) -> None:
        pass

    return (limit, constrain) if known.limits else (no_limit, no_constraint)


@cache
def program(dtype: str, known: layers.Known, shared: bool = False, fused: bool = False) -> Any:
    """The program for a dtype and some rules; `shared`: large products with threads; `fused`: for fast numerics."""
    options: dict[str, Any] = FUSED if fused else {}
    affine_forward, affine_backward, affine_backward_input = layers.affine(dtype, shared, fused)
    lines = layers.chosen(layers.lines(dtype, fused, rows.BY_NEURONS, known))
    forward, backward, loss_of, update = lines.forward, lines.backward, lines.loss, lines.update
    gather, measure, add_decay, weighted = lines.gather, lines.measure, lines.add_decay, known.weighted
    hand_on, hand_back = handing(rows.BY_NEURONS, known, fused)
    limit, constrain = limits(dtype, known, fused)

    @merged
    def value_and_grad(
        plan: Plan,
        sections: Sections,
        data: Data,
        epoch: int,
        start: int,
        flat: Any,
        n: Any,
        m: int,
        work: Any,
        grads: int,
    ) -> Any:
        """The loss of m samples, gathered from `start` on, n being that of the batch; their gradients go to `grads` in
        `work`."""
        last, widest = plan.layers.shape[0] - 1, sections.delta - sections.z
        panels, gradients = part(work, sections.panels, 1), part(work, grads, flat.size)
        delta, da = part(work, sections.delta, widest), part(work, sections.z, widest)
        slots = part(work, sections.slots, sections.grads - sections.slots)
        for index in range(last + 1):
            layer = layer_of(plan.layers, index)
            n_in, n_out = layer.n_in, layer.n_out
            z, a_in, a = (
                part(work, layer.z, n_out * m),
                part(work, layer.a_in, n_in * m),
                part(work, layer.a, n_out * m),
            )
            affine_forward(flat, layer.w, n_in, n_out, m, a_in, z, panels, plan.workers)
            forward(layer.activation, (n_out, m, z, a, slots))
            hand_on(plan, data, epoch, start, index, m, work)
        layer = layer_of(plan.layers, last)
        n_out = layer.n_out
        z, a, y = part(work, layer.z, n_out * m), part(work, layer.a, n_out * m), part(work, sections.y, n_out * m)
        terms, weights = part(work, sections.terms, n_out * m), part(work, sections.weights, m)
        loss = loss_of(plan.loss, (n_out, m, z, a, y, weights, n, terms, delta, slots)) / n
        for index in range(last, -1, -1):
            layer = layer_of(plan.layers, index)
            n_in, n_out = layer.n_in, layer.n_out
            if index < last or not plan.together:
                z, a = part(work, layer.z_backward, n_out * m), part(work, layer.a, n_out * m)
                backward(layer.activation, (n_out, m, z, a, delta, slots))
            a_in = part(work, layer.a_in, n_in * m)
            affine_backward(delta, a_in, layer.w, n_in, n_out, m, gradients, panels, plan.workers)
            if index > 0:
                affine_backward_input(delta, flat, layer.w, n_in, n_out, m, da, panels, plan.workers)
                hand_back(plan, index - 1, m, work, da)
                delta, da = da, delta
        return loss

    @merged
    def step(
        plan: Plan,
        sections: Sections,
        data: Data,
        state: State,
        sums: Any,
        epoch: int,
        start: int,
        size: int,
        weight: float,
        work: Any,
    ) -> Any:
        """One update from the samples `start` on; the batch's loss. `sums` gets what its outputs measure."""
        real = work.dtype.type
        n, loss, begin, flat = real(weight * plan.per_row), real(0), start, state.flat
        first, last = layer_of(plan.layers, 0), layer_of(plan.layers, plan.layers.shape[0] - 1)
        n_x, n_y, small, larger = first.n_in, last.n_out, size // plan.shards, size % plan.shards
        for i in range(sums.size):
            sums[i] = 0.0
        for shard in range(min(plan.shards, size)):
            m = small + (1 if shard < larger else 0)
            y = part(work, sections.y, n_y * m)
            gather(data.orders, epoch, begin, data.x, n_x, m, part(work, first.a_in, n_x * m))
            gather(data.orders, epoch, begin, data.y, n_y, m, y)
            if weighted:
                gather(data.orders, epoch, begin, data.weights, 1, m, part(work, sections.weights, m))
            target = sections.grads if shard == 0 else sections.shard
            found = value_and_grad(plan, sections, data, epoch, begin, flat, n, m, work, target)
            measure(plan.metric, (n_y, m, part(work, last.a, n_y * m), y, sums))
            loss = found if shard == 0 else loss + found
            if shard > 0:
                for i in range(flat.size):
                    work[sections.grads + i] += work[sections.shard + i]
            begin += m
        grads = part(work, sections.grads, flat.size)
        limit(plan, flat, grads)
        if plan.hyper.weight_decay != 0.0:
            for index in range(plan.layers.shape[0]):
                layer = layer_of(plan.layers, index)
                add_decay(real(plan.hyper.weight_decay), flat, grads, layer.w, layer.n_in * layer.n_out)
        if plan.hyper.decoupled_decay != 0.0:
            strength = real(-(data.rates[epoch] * plan.hyper.decoupled_decay))
            for index in range(plan.layers.shape[0]):
                layer = layer_of(plan.layers, index)
                add_decay(strength, flat, flat, layer.w, layer.n_in * layer.n_out)
        settings = settings_of(plan.hyper, state.powers, real(data.rates[epoch]), real)
        update(plan.rule, (flat.size, flat, grads, state.first, state.second, settings))
        constrain(plan, flat, state.norms)
        return loss

    return compiled(training(step, weighted), **options)
