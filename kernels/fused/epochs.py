"""Whole epochs in one compiled call, for every network: its shape is in a small table, and its rules, its products and
whatever else depends on more than the dtype are pieces, compiled apart (`pieces`) and called at their addresses.

A call goes on from a cursor and does some steps, whole epochs or part of one; where it is cut changes no bit. All
numbers in between stand in one array, ``work``, in sections; nothing is allocated inside.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba.core import types
from numba.core.types import containers
from numba.extending import intrinsic, register_jitable

from backprop_ref import formulas
from backprop_ref.formulas import Settings

from ..compiling import compiled, merged
from ..registers import padded, vector_of
from . import rows
from .calls import Products, calls_for
from .layers import Rules
from .memory import blank, kind_of, reader, readers
from .views import at, start_of

SIGNATURE = types.Array(types.int64, 1, "C"), types.int64
"""Of a `program`."""


class Plan(NamedTuple):
    """What is computed."""

    layers: Any
    """int64 array, a `Layer` in each row."""
    hyper: "Hyper"
    pieces: "Pieces"
    """Where the functions are that it calls."""
    together: int
    """Whether the loss's error is of the last layer's z, not of a."""
    direct: int
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

    step: int
    value_and_grad: int
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
    squares: int = 0
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
    l2: float = 0.0
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
    samples) int64, rates (epochs,) float64, seeds of dropout (epochs, any number from the hidden layers' on) uint64."""

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
    """losses (epochs,), measures (epochs, 1 or n_out), sums of a batch and behind them of a shard (2 n_out,), all
    float64; the cursor, int64: epoch, first sample of the next batch; snapshots (any number, n_flat), and for each
    epoch, int64, which of them gets its parameters, or -1."""

    losses: Any
    measures: Any
    sums: Any
    cursor: Any
    snapshots: Any
    rows: Any


class Counts(NamedTuple):
    """How long arrays are: layers, parameters, samples, epochs, what is measured, seeds of an epoch; and whether
    samples have weights."""

    layers: int
    flat: int
    samples: int
    epochs: int
    measures: int
    seeds: int
    weighted: int


class Job(NamedTuple):
    """All that compiled code gets."""

    products: Products
    plan: Plan
    sections: Sections
    data: Data
    state: State
    history: History
    counts: Counts
    work: Any


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


@intrinsic
def layer_of(typingctx: Any, table: Any, i: Any) -> Any:
    """Row i of the table."""
    layer = containers.NamedUniTuple(types.int64, len(Layer._fields), Layer)

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        begin = builder.mul(arguments[1], arguments[1].type(layer.count))
        first = builder.gep(start_of(context, builder, table, arguments[0]), [begin])
        words = [builder.load(builder.gep(first, [begin.type(place)])) for place in range(layer.count)]
        return context.make_tuple(builder, layer, words)

    return layer(table, types.intp), codegen


@merged
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
def add_to(n: int, total: Any, more: Any) -> None:
    for i in range(n):
        total[i] += more[i]


@merged
def put(n: int, into: Any, values: Any) -> None:
    for i in range(n):
        into[i] = values[i]


@merged
def scale(n: int, values: Any, factor: Any) -> None:
    for i in range(n):
        values[i] *= factor


@merged
def all_finite(n: int, x: Any) -> bool:
    """Whether no entry is infinite or NaN."""
    bad = 0
    for i in range(n):
        bad += 0 if abs(x[i]) < np.inf else 1
    return bad == 0


@merged
def weight_of(weights: Any, weighted: int, order: Any, size: int) -> float:
    """What so many samples count in a loss: the sum of their weights, in order, or how many they are."""
    if not weighted:
        return np.float64(size)
    total = np.float64(0)
    for s in range(size):
        total += np.float64(weights[order[s]])
    return total


@cache
def kind_for(dtype: str) -> Any:
    """The type of a `Job`."""
    real, wide = np.empty(0, dtype), np.empty(0)
    whole, seeds = np.empty(0, np.int64), np.empty(0, np.uint64)
    plan = blank(Plan, layers=whole, hyper=Hyper(), pieces=blank(Pieces), dropout=wide)
    data, state = Data(real, real, real, whole, wide, seeds), State(real, real, real, wide, wide)
    history = History(wide, wide, wide, whole, real, whole)
    products = blank(Products, panels=real, zeros=real)
    return kind_of(Job(products, plan, blank(Sections), data, state, history, blank(Counts), real))


class Words(NamedTuple):
    """What the functions below are made of: in compiled code, and in Python for `uncompiled`."""

    calls: Callable[[str], dict[str, Any]]
    readers: Callable[..., tuple[Any, ...]]
    merged: Callable[[Any], Any]
    at: Any
    layer_of: Any
    settings_of: Any
    add_to: Any
    put: Any
    scale: Any
    all_finite: Any
    weight_of: Any


COMPILED = Words(calls_for, readers, merged, at, layer_of, settings_of, add_to, put, scale, all_finite, weight_of)


def training(dtype: str, read: Any, step: Any, words: Words = COMPILED) -> Callable[..., bool]:
    """``train(memory, steps)``, yet to be compiled, over ``step(memory, job, epoch, start, size, weight)`` and
    ``read(memory)``, the job in memory."""
    at, put, all_finite, weight_of = words.at, words.put, words.all_finite, words.weight_of

    def train(memory: Any, steps: int) -> bool:
        """Goes on from the cursor for at most `steps` steps of the `Job` in memory.

        Gives whether there is more to do: not all epochs are done, and every one so far has ended finite.
        """
        job = read(memory)
        batch_size, history, counts = job.plan.batch_size, job.history, job.counts
        weights, orders, weighted, samples = job.data.weights, job.data.orders, counts.weighted, counts.samples
        epoch, start = history.cursor[0], history.cursor[1]
        for _ in range(steps):
            size = min(batch_size, samples - start)
            weight = weight_of(weights, weighted, at(orders, epoch * samples + start), size)
            loss = step(memory, job, epoch, start, size, weight)
            history.losses[epoch] += np.float64(loss) * weight
            for i in range(counts.measures):
                history.measures[epoch * counts.measures + i] += history.sums[i]
            start += size
            if start == samples:
                total = 0.0
                for begin in range(0, samples, batch_size):
                    rest = min(batch_size, samples - begin)
                    total += weight_of(weights, weighted, at(orders, epoch * samples + begin), rest)
                history.losses[epoch] /= total
                finite = abs(history.losses[epoch]) < np.inf and all_finite(counts.flat, job.state.flat)
                if history.rows[epoch] >= 0:
                    put(counts.flat, at(history.snapshots, history.rows[epoch] * counts.flat), job.state.flat)
                epoch, start = epoch + 1, 0
                if not finite or epoch == counts.epochs:
                    history.cursor[0], history.cursor[1] = epoch, start
                    return False
        history.cursor[0], history.cursor[1] = epoch, start
        return True

    return train


@cache
def program(dtype: str) -> Any:
    """``train(memory, steps)`` for a dtype, compiled; its steps are the piece "step"."""
    call_step = calls_for(dtype)["step"]

    @register_jitable(forceinline=True)
    def step(memory: Any, job: Job, epoch: int, start: int, size: int, weight: float) -> Any:
        return call_step(job.plan.pieces.step, memory, epoch, start, size, weight)

    return compiled(training(dtype, reader(kind_for(dtype)), step))


def shard_for(dtype: str, words: Words = COMPILED) -> Callable[..., Any]:
    """``shard(memory, epoch, begin, m, weight, target)``, yet to be compiled."""
    calls, real, at, layer_of = words.calls(dtype), np.dtype(dtype).type, words.at, words.layer_of
    read_plan, read_sections, read_data, read_history, read_counts, read_work = words.readers(
        kind_for(dtype), "plan", "sections", "data", "history", "counts", "work"
    )
    call_value_and_grad, call_gather, call_measure = calls["value_and_grad"], calls["gather"], calls["measure"]

    def shard(memory: Any, epoch: int, begin: int, m: int, weight: float, target: Any) -> Any:
        """The loss of the m samples from `begin` on, a shard of a batch of such a weight; their gradients go to
        `target`, and what their outputs measure behind the `sums` of the batch."""
        plan, sections, work, counts = read_plan(memory), read_sections(memory), read_work(memory), read_counts(memory)
        data, piece, table, sums = read_data(memory), plan.pieces, plan.layers, read_history(memory).sums
        first, last = layer_of(table, 0), layer_of(table, counts.layers - 1)
        y, n_out, order = at(work, sections.y), last.n_out, at(data.orders, epoch * counts.samples + begin)
        n, rate, of_shard = real(weight * plan.per_row), real(data.rates[epoch]), at(sums, n_out)
        call_gather(piece.gather, order, data.x, first.n_in, m, at(work, first.a_in))
        call_gather(piece.gather, order, data.y, n_out, m, y)
        if counts.weighted:
            call_gather(piece.gather, order, data.weights, 1, m, at(work, sections.weights))
        found = call_value_and_grad(piece.value_and_grad, memory, epoch, order, m, n, rate, target)
        for i in range(n_out):
            of_shard[i] = 0.0
        call_measure(piece.measure, n_out, m, at(work, last.a), y, of_shard)
        return found

    return shard


def step_for(dtype: str, words: Words = COMPILED) -> Callable[..., Any]:
    """The piece "step", yet to be compiled."""
    calls, real, at, layer_of = words.calls(dtype), np.dtype(dtype).type, words.at, words.layer_of
    read_plan, read_sections, read_data, read_state, read_history, read_counts, read_work = words.readers(
        kind_for(dtype), "plan", "sections", "data", "state", "history", "counts", "work"
    )
    one_shard, add_to, settings_of = words.merged(shard_for(dtype, words)), words.add_to, words.settings_of
    call_limit, call_add_decay, call_update = calls["limit"], calls["add_decay"], calls["update"]
    call_constrain, call_squares = calls["constrain"], calls["squares"]

    def step(memory: Any, epoch: int, start: int, size: int, weight: float) -> Any:
        """One update from the samples `start` on; the batch's loss. `sums` gets what its outputs measure.

        From no samples, it is one from the gradients that are there.
        """
        plan, sections, work, counts = read_plan(memory), read_sections(memory), read_work(memory), read_counts(memory)
        data, state, history = read_data(memory), read_state(memory), read_history(memory)
        piece, hyper, table, flat, sums = plan.pieces, plan.hyper, plan.layers, state.flat, history.sums
        last, n_layers, n_flat = layer_of(table, counts.layers - 1), counts.layers, counts.flat
        loss, rate, grads, n_out = real(0), real(data.rates[epoch]), at(work, sections.grads), last.n_out
        small, larger, begin = size // plan.shards, size % plan.shards, start
        for i in range(n_out):
            sums[i] = 0.0
        for shard in range(min(plan.shards, size)):
            m = small + (1 if shard < larger else 0)
            target = flat if plan.direct else grads if shard == 0 else at(work, sections.shard)
            found = one_shard(memory, epoch, begin, m, weight, target)
            loss = found if shard == 0 else loss + found
            add_to(n_out, sums, at(sums, n_out))
            if shard > 0:
                add_to(n_flat, grads, target)
            begin += m
        if piece.squares != 0:
            history.losses[epoch] += 0.5 * hyper.l2 * call_squares(piece.squares, table, n_layers, flat)
        if piece.limit != 0:
            clip_value, clip_norm, l1 = hyper.clip_value, hyper.clip_norm, hyper.l1
            call_limit(piece.limit, table, n_layers, n_flat, flat, grads, clip_value, clip_norm, l1)
        if piece.add_decay != 0:
            decoupled = hyper.decoupled_decay != 0.0
            added = hyper.weight_decay + hyper.l2 / weight
            strength = real(-(data.rates[epoch] * hyper.decoupled_decay) if decoupled else added)
            for index in range(n_layers):
                layer = layer_of(table, index)
                W, dW = at(flat, layer.w), at(flat if decoupled else grads, layer.w)
                call_add_decay(piece.add_decay, layer.n_in, layer.n_out, W, dW, strength)
        if not plan.direct:
            settings = settings_of(hyper, state.powers, rate, real)
            call_update(piece.update, n_flat, 1, flat, grads, state.first, state.second, settings)
        if piece.constrain != 0:
            call_constrain(piece.constrain, table, n_layers, flat, hyper.max_norm, state.norms)
        return loss

    return step


def value_and_grad_for(dtype: str, words: Words = COMPILED) -> Callable[..., Any]:
    """The piece "value_and_grad", yet to be compiled."""
    calls, at, layer_of, scale = words.calls(dtype), words.at, words.layer_of, words.scale
    read_plan, read_sections, read_data, read_state, read_counts, read_work = words.readers(
        kind_for(dtype), "plan", "sections", "data", "state", "counts", "work"
    )
    call_affine_forward, call_forward, call_draw = calls["affine_forward"], calls["forward"], calls["draw"]
    call_loss, call_backward, call_multiply = calls["loss"], calls["backward"], calls["multiply"]
    call_affine_backward, call_affine_backward_input = calls["affine_backward"], calls["affine_backward_input"]

    def value_and_grad(memory: Any, epoch: int, order: Any, m: int, n: Any, rate: Any, target: Any) -> Any:
        """The loss of m samples, gathered in that order, n being that of the batch; their gradients go to `target`,
        or, `direct`, are added to it, times minus the rate.

        `target` may be the parameters: a layer's weights are used for the layer below before they change.
        """
        plan, sections, work, counts = read_plan(memory), read_sections(memory), read_work(memory), read_counts(memory)
        data, state = read_data(memory), read_state(memory)
        piece, table, flat, last = plan.pieces, plan.layers, state.flat, counts.layers - 1
        delta, da, slots = at(work, sections.delta), at(work, sections.z), at(work, sections.slots)
        for index in range(last + 1):
            layer = layer_of(table, index)
            n_in, n_out, w = layer.n_in, layer.n_out, layer.w
            z, a_in, a = at(work, layer.z), at(work, layer.a_in), at(work, layer.a)
            call_affine_forward(piece.affine_forward, flat, w, n_in, n_out, m, a_in, z, memory)
            call_forward(layer.forward, n_out, m, z, a, slots)
            if plan.dropout[index] > 0.0:
                mask, seed = at(work, layer.mask), data.seeds[epoch * counts.seeds + index]
                call_draw(piece.draw, n_out, m, seed, plan.dropout[index], order, mask)
                call_multiply(piece.multiply, n_out * m, a, mask, at(work, layer_of(table, index + 1).a_in))
        layer = layer_of(table, last)
        n_out, z, a = layer.n_out, at(work, layer.z), at(work, layer.a)
        y, terms, weights = at(work, sections.y), at(work, sections.terms), at(work, sections.weights)
        loss = call_loss(piece.loss, n_out, m, z, a, y, weights, n, terms, delta, slots) / n
        if plan.direct:
            scale(n_out * m, delta, -rate)
        for index in range(last, -1, -1):
            layer = layer_of(table, index)
            n_in, n_out, w = layer.n_in, layer.n_out, layer.w
            if index < last or not plan.together:
                call_backward(layer.backward, n_out, m, at(work, layer.z_backward), at(work, layer.a), delta, slots)
            if index > 0:
                call_affine_backward_input(piece.affine_backward_input, delta, flat, w, n_in, n_out, m, da, memory)
                if plan.dropout[index - 1] > 0.0:
                    mask = at(work, layer_of(table, index - 1).mask)
                    call_multiply(piece.multiply, n_in * m, da, mask, da)
            a_in = at(work, layer.a_in)
            call_affine_backward(piece.affine_backward, delta, a_in, w, n_in, n_out, m, target, memory, slots)
            delta, da = da, delta
        return loss

    return value_and_grad
