"""Whole epochs for one network, whose sizes, activations, loss, update rule and batch are constants of the program.

For small networks, where counting and choosing cost more than computing. Each layer is a function that has the layer
above it inside: forward, everything above, backward. All numbers of a run stand in one array, ``work``, in sections
that begin at constants, so that the compiler knows what never overlaps and keeps what it can in registers.
"""

from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np

from backprop_ref import formulas

from ..compiling import FUSED, IN_ANY_ORDER, compiled, inlined, linked, merged
from ..registers import padded, vector_of
from . import limiting, rows
from .epochs import Job, Plan, add_to, kind_for, settings_of, training
from .layers import Lines, Rules
from .memory import reader
from .views import at, part, view


class Shape(NamedTuple):
    """What a program is made for: the constants of an `epochs.Plan`."""

    rules: Rules
    layers: tuple[tuple[int, int, int], ...]
    """n_in, n_out, and where W begins."""
    together: int
    batch_size: int
    shards: int
    per_row: int

    @classmethod
    def of(cls, plan: Plan, rules: Rules) -> "Shape":
        """The shape of a plan."""
        table = tuple((int(row[0]), int(row[1]), int(row[2])) for row in plan.layers)
        return cls(rules, table, plan.together, plan.batch_size, plan.shards, plan.per_row)

    @property
    def rows(self) -> int:
        """Rows of the largest shard."""
        return -(-self.batch_size // self.shards)


class Sections(NamedTuple):
    """Where in ``work`` stands what, layer by layer in tuples; x is the first of `a`."""

    flat: int
    grads: int
    shard: int
    first: int
    second: int
    y: int
    weights: int
    terms: int
    slots: int
    a: tuple[int, ...]
    z: tuple[int, ...]
    delta: tuple[int, ...]
    end: int


class Lengths(NamedTuple):
    """Entries of the flat vector, and of the optimizer's arrays."""

    flat: int
    first: int
    second: int


def lengths_of(shape: Shape) -> Lengths:
    n_flat = sum((n_in + 1) * n_out for n_in, n_out, _ in shape.layers)
    states = len(formulas.UPDATES[shape.rules.update].state)
    return Lengths(n_flat, n_flat * (states > 0), n_flat * (states > 1))


@cache
def sections_of(shape: Shape, dtype: str) -> Sections:
    """The sections for a shape."""
    sizes, m, n, end = [n_out for _, n_out, _ in shape.layers], shape.rows, lengths_of(shape), 0

    def section(length: int) -> int:
        nonlocal end
        begin, end = end, end + padded(length, vector_of(dtype))
        return begin

    slots = rows.N_SLOTS * padded(m, vector_of(dtype))
    lengths = (n.flat, n.flat, n.flat * (shape.shards > 1), n.first, n.second, sizes[-1] * m, m * shape.rules.weighted)
    single = map(section, (*lengths, sizes[-1] * m, slots))
    shared = dict(zip(Sections._fields, single, strict=False))
    a, z, delta = (tuple(section(size * m) for size in of) for of in ([shape.layers[0][0], *sizes], sizes, sizes))
    return Sections(**shared, a=a, z=z, delta=delta, end=end)


@cache
def program(dtype: str, shape: Shape, fused: bool = False) -> Any:
    """``epochs.training`` for a shape, compiled; the state is in ``work``. `fused`: for fast numerics."""
    rules, places, lines = shape.rules, sections_of(shape, dtype), Lines(dtype, fused, rows.BY_NEURONS)
    FLAT, GRADS, SHARD, FIRST, SECOND, Y, WEIGHTS_AT, *_ = places
    A_IN, A_LAST, END, N_X, N_Y = places.a[0], places.a[-1], places.end, shape.layers[0][0], shape.layers[-1][1]
    N_FLAT, N_FIRST, N_SECOND = lengths_of(shape)
    M, SHARDS, PER_ROW, WEIGHTS = shape.rows, shape.shards, shape.per_row, shape.layers
    update, measure = lines.update(rules.update), lines.measure(rules.metric, rules.terms)
    gather, add_decay, real = lines.gather(), lines.add_decay(), np.dtype(dtype).type
    limit, constrain, squares = map(merged, limiting.lines(dtype, fused))
    weighted, limited, N_LAYERS = rules.weighted, rules.limits, len(shape.layers)
    first_layer, rest_of_shard = (passes(dtype, shape, fused, lines, outermost) for outermost in (True, False))

    def step(memory: Any, job: Job, epoch: int, start: int, size: int, weight: float) -> Any:
        """One update from the samples `start` on; the batch's loss. `sums` gets what its outputs measure."""
        plan, data, state, sums, work = job.plan, job.data, job.state, job.history.sums, part(job.work, 0, END)
        n, loss, begin, small, larger = real(weight * PER_ROW), real(0), start, size // SHARDS, size % SHARDS
        for i in range(N_Y):
            sums[i] = 0.0
        for shard in range(min(SHARDS, size)):
            m, grads = small + (1 if shard < larger else 0), np.int64(GRADS if shard == 0 else SHARD)
            y = part(work, Y, N_Y * m)
            order = at(data.orders, epoch * job.counts.samples + begin)
            gather(order, data.x, N_X, m, part(work, A_IN, N_X * m))
            gather(order, data.y, N_Y, m, y)
            if weighted:
                gather(order, data.weights, 1, m, part(work, WEIGHTS_AT, m))
            found = first_layer(work, grads, M, n) if m == M else rest_of_shard(work, grads, m, n)
            of_shard = at(sums, N_Y)
            for i in range(N_Y):
                of_shard[i] = 0.0
            measure(N_Y, m, part(work, A_LAST, N_Y * m), y, of_shard)
            add_to(N_Y, sums, of_shard)
            loss = found if shard == 0 else loss + found
            if shard > 0:
                add_to(N_FLAT, at(work, GRADS), at(work, SHARD))
            begin += m
        flat, grads_of_all = part(work, FLAT, N_FLAT), part(work, GRADS, N_FLAT)
        hyper = plan.hyper
        if hyper.l2 != 0.0:
            job.history.losses[epoch] += 0.5 * hyper.l2 * squares(plan.layers, N_LAYERS, flat)
        if limited:
            clip_value, clip_norm, l1 = hyper.clip_value, hyper.clip_norm, hyper.l1
            limit(plan.layers, N_LAYERS, N_FLAT, flat, grads_of_all, clip_value, clip_norm, l1)
        strength = hyper.weight_decay + hyper.l2 / weight
        if strength != 0.0:
            for n_in, n_out, w in WEIGHTS:
                n_W = n_in * n_out
                add_decay(n_in, n_out, part(flat, w, n_W), part(grads_of_all, w, n_W), real(strength))
        if hyper.decoupled_decay != 0.0:
            for n_in, n_out, w in WEIGHTS:
                W = part(flat, w, n_in * n_out)
                add_decay(n_in, n_out, W, W, real(-(data.rates[epoch] * hyper.decoupled_decay)))
        first, second = part(work, FIRST, N_FIRST), part(work, SECOND, N_SECOND)
        settings = settings_of(hyper, state.powers, real(data.rates[epoch]), real)
        update(N_FLAT, 1, flat, grads_of_all, first, second, settings)
        if limited:
            constrain(plan.layers, N_LAYERS, flat, hyper.max_norm, state.norms)
        return loss

    read = reader(kind_for(dtype))
    return compiled(training(dtype, read, merged(step)), **(FUSED if fused else {}))


def passes(dtype: str, shape: Shape, fused: bool, lines: Lines, inline: bool) -> Any:
    """``first_layer(work, grads, m, n)``: the loss of m samples, whose gradients go to `grads` in ``work``."""
    options: dict[str, Any] = FUSED if fused else {}
    compiled_in: Any = partial(inlined, **options)
    found, last = loss_above(shape, sections_of(shape, dtype), lines, compiled_in), len(shape.layers) - 1
    for index in reversed(range(last + 1)):
        how: Any = compiled_in if index > 0 or inline else partial(linked, **options)
        found = how(layer_below(found, index, shape, sections_of(shape, dtype), lines, fused))
    return found


def loss_above(shape: Shape, places: Sections, lines: Lines, compiled_in: Any) -> Any:
    """The loss, above the last layer."""
    N_OUT, Z, A, Y, WEIGHTS, TERMS = (
        shape.layers[-1][1],
        places.z[-1],
        places.a[-1],
        places.y,
        places.weights,
        places.terms,
    )
    DELTA, SLOTS, N_SLOTS = places.delta[-1], places.slots, places.a[0] - places.slots
    loss_of = lines.loss(shape.rules.terms, shape.rules.weighted)

    @compiled_in
    def above(work: Any, grads: int, m: int, n: Any) -> Any:
        """Leaves in DELTA da, or delta where loss and activation are differentiated as one."""
        size = N_OUT * m
        z, a, y, terms, delta = (
            part(work, Z, size),
            part(work, A, size),
            part(work, Y, size),
            part(work, TERMS, size),
            part(work, DELTA, size),
        )
        w, slots = part(work, WEIGHTS, m), part(work, SLOTS, N_SLOTS)
        return loss_of(N_OUT, m, z, a, y, w, n, terms, delta, slots) / n

    return above


def layer_below(above: Any, index: int, shape: Shape, places: Sections, lines: Lines, fused: bool) -> Any:
    """The function of a layer, with that above it inside."""
    (N_IN, N_OUT, w), activation, last = shape.layers[index], shape.rules.activations[index], len(shape.layers) - 1
    by_a = formulas.ACTIVATIONS[activation].z_for_a
    A_IN, A, Z, DELTA = places.a[index], places.a[index + 1], places.z[index], places.delta[index]
    Z_BACKWARD, DELTA_IN, SLOTS, N_SLOTS = (
        A if by_a else Z,
        places.delta[max(index - 1, 0)],
        places.slots,
        places.a[0] - places.slots,
    )
    W, WEIGHTS, FIRST_LAYER, BACKWARD = places.flat + w, w, index == 0, index < last or not shape.together
    forward, backward = lines.forward(activation), lines.backward(activation)
    in_any_order: Any = partial(inlined, **(IN_ANY_ORDER if fused else {}))

    @in_any_order
    def affine_forward(work: Any, m: int) -> None:
        """z[j, s] = b[j] + a[0, s] W[0, j] + a[1, s] W[1, j] + ..."""
        W_kj, b = view(work, W, N_IN, N_OUT), part(work, W + N_IN * N_OUT, N_OUT)
        a, z = view(work, A_IN, N_IN, m), view(work, Z, N_OUT, m)
        for j in range(N_OUT):
            for s in range(m):
                total = b[j]
                for k in range(N_IN):
                    total += a[k, s] * W_kj[k, j]
                z[j, s] = total

    @in_any_order
    def affine_backward(work: Any, grads: int, m: int) -> None:
        """dW[k, j] = a[k, 0] delta[j, 0] + a[k, 1] delta[j, 1] + ..., and db likewise."""
        a, delta = view(work, A_IN, N_IN, m), view(work, DELTA, N_OUT, m)
        dW, db = view(work, grads + WEIGHTS, N_IN, N_OUT), part(work, grads + WEIGHTS + N_IN * N_OUT, N_OUT)
        zero = work.dtype.type(0)
        for k in range(N_IN):
            for j in range(N_OUT):
                total = zero
                for s in range(m):
                    total += a[k, s] * delta[j, s]
                dW[k, j] = total
        for j in range(N_OUT):
            total = zero
            for s in range(m):
                total += delta[j, s]
            db[j] = total

    @in_any_order
    def affine_backward_input(work: Any, m: int) -> None:
        """da[k, s] = delta[0, s] W[k, 0] + delta[1, s] W[k, 1] + ..., for the layer below."""
        W_kj, delta, da = view(work, W, N_IN, N_OUT), view(work, DELTA, N_OUT, m), view(work, DELTA_IN, N_IN, m)
        zero = work.dtype.type(0)
        for k in range(N_IN):
            for s in range(m):
                total = zero
                for j in range(N_OUT):
                    total += delta[j, s] * W_kj[k, j]
                da[k, s] = total

    def layer(work: Any, grads: int, m: int, n: Any) -> Any:
        """Forward, everything above, backward."""
        size = N_OUT * m
        a, slots = part(work, A, size), part(work, SLOTS, N_SLOTS)
        affine_forward(work, m)
        forward(N_OUT, m, part(work, Z, size), a, slots)
        loss = above(work, grads, m, n)
        if BACKWARD:
            backward(N_OUT, m, part(work, Z_BACKWARD, size), a, part(work, DELTA, size), slots)
        affine_backward(work, grads, m)
        if not FIRST_LAYER:
            affine_backward_input(work, m)
        return loss

    return layer
