"""Whole epochs in one compiled call, for every network: its shape is in a small table, and its rules, its products and
whatever else depends on more than the dtype are pieces that are compiled apart (`pieces`) and called at their addresses.

A call goes on from a cursor and does some steps, whole epochs or part of one; where it is cut changes no bit. All
numbers in between stand in one array, ``work``, in sections; nothing is allocated inside.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba.extending import register_jitable

from backprop_ref import formulas
from backprop_ref.formulas import Settings

from ..compiling import compiled, inlined, merged
from ..registers import padded, vector_of
from . import rows
from .calls import calls_for
from .layers import Rules
from .views import part, uncounted


class Plan(NamedTuple):
    """What is computed."""

    layers: Any
    """int64 array, a `Layer` in each row."""
    hyper: "Hyper"
    pieces: "Pieces"
    together: bool
    """Whether the loss's error is of the last layer's z, not of a."""
    direct: bool
    """Whether gradients are added to the parameters as they are computed, times minus the rate, and never stored."""
    batch_size: int
    shards: int
    workers: int
    per_row: int
    """What n of the loss has for each row: n_out for a mean over the outputs, else 1."""
    dropout: Any
    """float64 array, of each layer the probability with which its units are dropped."""


class Pieces(NamedTuple):
    """Addresses of what all layers share, of the kinds that `calls` lists; 0 where the plan has no use for one."""

    gather: int
    affine_forward: int
    affine_backward: int
    affine_backward_input: int
    loss: int
    measure: int
    update: int
    add_decay: int = 0
    limit: int = 0
    constrain: int = 0
    draw: int = 0
    multiply: int = 0


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
    w: int
    forward: int = 0
    """The address of its activation's piece, and of that one's backward rule."""
    backward: int = 0
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


def placed(plan: Plan, dtype: str, rules: Rules, panels: int, zeros: int = 0) -> tuple[Plan, Sections]:
    """The plan with a place in ``work`` for what each layer has, and the sections.

    Products work in so many numbers, `panels`, and start from so many `zeros`.
    """
    table, m, end = [Layer(*map(int, row)) for row in plan.layers], plan.batch_size, 0
    widest, n_flat = max(row.n_out for row in table) * m, sum((row.n_in + 1) * row.n_out for row in table)

    def section(length: int) -> int:
        nonlocal end
        begin, end = end, end + padded(length, vector_of(dtype))
        return begin

    n_y, gradients = table[-1].n_out * m, 0 if plan.direct else n_flat
    slots = rows.N_SLOTS * padded(m, vector_of(dtype))
    lengths = (n_y, m * rules.weighted, widest, widest, n_y, slots, gradients, gradients * (plan.shards > 1))
    shared = dict(zip(Sections._fields, map(section, (*lengths, panels, zeros)), strict=False))
    a = section(table[0].n_in * m)
    for i, (row, activation) in enumerate(zip(table, rules.activations, strict=True)):
        a_in, a, by_a = a, section(row.n_out * m), formulas.ACTIVATIONS[activation].z_for_a
        z = shared["z"] if by_a else section(row.n_out * m)
        table[i] = row._replace(a_in=a_in, a=a, z=z, z_backward=a if by_a else z)
        if plan.dropout[i] > 0.0:
            table[i], a = table[i]._replace(mask=section(row.n_out * m)), section(row.n_out * m)
    return plan._replace(layers=np.array(table, np.int64)), Sections(**shared, end=end)


@register_jitable(forceinline=True)
def layer_of(table: Any, i: int) -> Layer:
    """Row i of the table."""
    return Layer(
        table[i, 0], table[i, 1], table[i, 2], table[i, 3], table[i, 4], table[i, 5], table[i, 6], table[i, 7],
        table[i, 8], table[i, 9],
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
        table, plan.hyper, plan.pieces, plan.together, plan.direct,
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
def weight_of(data: Data, epoch: int, start: int, size: int) -> float:
    """What so many samples from `start` on count in a loss: the sum of their weights, in order, or how many they are."""
    if data.weights.shape[0] == 0:
        return np.float64(size)
    total = np.float64(0)
    for s in range(start, start + size):
        total += np.float64(data.weights[data.orders[epoch, s], 0])
    return total


def training(step: Any) -> Callable[..., bool]:
    """``train(plan, sections, data, state, history, work, steps)``, to be compiled, over a compiled step."""

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


@cache
def program(dtype: str) -> Any:
    """The program for a dtype."""
    (
        call_gather, call_affine_forward, call_affine_backward, call_affine_backward_input, call_forward,
        call_backward, call_loss, call_measure, call_update, call_add_decay, call_limit, call_constrain, call_draw,
        call_multiply,
    ) = calls_for(dtype)  # fmt: skip

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
        rate: Any,
        target: Any,
    ) -> Any:
        """The loss of m samples, gathered from `start` on, n being that of the batch; their gradients go to `target`,
        or, `direct`, are added to it, times minus the rate.

        `target` may be `flat` itself: a layer's weights are used for the layer below before they change.
        """
        piece, last, widest = plan.pieces, plan.layers.shape[0] - 1, sections.delta - sections.z
        panels, n_panels = part(work, sections.panels, 1), sections.zeros - sections.panels
        delta, da = part(work, sections.delta, widest), part(work, sections.z, widest)
        slots, zeros = part(work, sections.slots, 1), part(work, sections.zeros, 1)
        for index in range(last + 1):
            layer = layer_of(plan.layers, index)
            n_in, n_out, w = layer.n_in, layer.n_out, layer.w
            z, a_in, a = part(work, layer.z, 1), part(work, layer.a_in, 1), part(work, layer.a, 1)
            products = (panels, n_panels, plan.workers)
            call_affine_forward(piece.affine_forward, (flat, w, n_in, n_out, m, a_in, z, *products))
            call_forward(layer.forward, (n_out, m, z, a, slots))
            drop = plan.dropout[index]
            if drop > 0.0:
                mask, order = part(work, layer.mask, 1), part(data.orders, epoch * data.orders.shape[1] + start, 1)
                call_draw(piece.draw, (n_out, m, data.seeds[epoch, index], drop, order, mask))
                above = layer_of(plan.layers, index + 1)
                call_multiply(piece.multiply, (n_out * m, a, mask, part(work, above.a_in, 1)))
        layer = layer_of(plan.layers, last)
        n_out, z, a, y = layer.n_out, part(work, layer.z, 1), part(work, layer.a, 1), part(work, sections.y, 1)
        terms, weights = part(work, sections.terms, 1), part(work, sections.weights, 1)
        loss = call_loss(piece.loss, (n_out, m, z, a, y, weights, n, terms, delta, slots)) / n
        if plan.direct:
            for i in range(n_out * m):
                delta[i] *= -rate
        for index in range(last, -1, -1):
            layer = layer_of(plan.layers, index)
            n_in, n_out, w = layer.n_in, layer.n_out, layer.w
            if index < last or not plan.together:
                z, a = part(work, layer.z_backward, 1), part(work, layer.a, 1)
                call_backward(layer.backward, (n_out, m, z, a, delta, slots))
            a_in, products = part(work, layer.a_in, 1), (panels, n_panels, plan.workers, zeros)
            if index > 0:
                call_affine_backward_input(
                    piece.affine_backward_input, (delta, flat, w, n_in, n_out, m, da, *products)
                )
                if plan.dropout[index - 1] > 0.0:
                    mask = part(work, layer_of(plan.layers, index - 1).mask, 1)
                    call_multiply(piece.multiply, (n_in * m, da, mask, da))
            call_affine_backward(piece.affine_backward, (delta, a_in, w, n_in, n_out, m, target, *products, slots))
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
        real, piece, hyper = work.dtype.type, plan.pieces, plan.hyper
        flat, n, loss, begin, rate = state.flat, real(weight * plan.per_row), real(0), start, real(data.rates[epoch])
        first, last = layer_of(plan.layers, 0), layer_of(plan.layers, plan.layers.shape[0] - 1)
        n_x, n_y, small, larger = first.n_in, last.n_out, size // plan.shards, size % plan.shards
        grads, y = part(work, sections.grads, flat.size), part(work, sections.y, 1)
        for i in range(sums.size):
            sums[i] = 0.0
        for shard in range(min(plan.shards, size)):
            m = small + (1 if shard < larger else 0)
            order = part(data.orders, epoch * data.orders.shape[1] + begin, 1)
            call_gather(piece.gather, (order, data.x, n_x, m, part(work, first.a_in, 1)))
            call_gather(piece.gather, (order, data.y, n_y, m, y))
            if data.weights.shape[0] > 0:
                call_gather(piece.gather, (order, data.weights, 1, m, part(work, sections.weights, 1)))
            target = flat if plan.direct else grads if shard == 0 else part(work, sections.shard, flat.size)
            found = value_and_grad(plan, sections, data, epoch, begin, flat, n, m, work, rate, target)
            call_measure(piece.measure, (n_y, m, part(work, last.a, 1), y, sums))
            loss = found if shard == 0 else loss + found
            if shard > 0:
                for i in range(flat.size):
                    grads[i] += target[i]
            begin += m
        if piece.limit != 0:
            table, n_layers = plan.layers, plan.layers.shape[0]
            limits = (hyper.clip_value, hyper.clip_norm, hyper.l1)
            call_limit(piece.limit, (table, n_layers, flat.size, flat, grads, *limits))
        if piece.add_decay != 0:
            decoupled = hyper.decoupled_decay != 0.0
            strength = real(-(data.rates[epoch] * hyper.decoupled_decay) if decoupled else hyper.weight_decay)
            into = flat if decoupled else grads
            for index in range(plan.layers.shape[0]):
                layer = layer_of(plan.layers, index)
                size_of_W = layer.n_in * layer.n_out
                W, dW = part(flat, layer.w, 1), part(into, layer.w, 1)
                call_add_decay(piece.add_decay, (size_of_W, W, dW, strength))
        if not plan.direct:
            settings = settings_of(hyper, state.powers, rate, real)
            call_update(piece.update, (flat.size, flat, grads, state.first, state.second, settings))
        if piece.constrain != 0:
            call_constrain(piece.constrain, (plan.layers, plan.layers.shape[0], flat, hyper.max_norm, state.norms))
        return loss

    return compiled(training(step))
