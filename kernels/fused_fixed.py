"""Whole epochs for one network, whose sizes, activations, loss, update rule and batch are constants of the program.

For small networks, where counting and choosing cost more than computing. Each layer is a function that has the layer
above it inside: forward, everything above, backward. All numbers of a run stand in one array, ``work``, in sections
that begin at constants, so that the compiler knows what never overlaps and keeps what it can in registers.

The formulas are those of `fused_layers`, compiled once more with constants for arguments.
"""

import hashlib
from functools import cache
from typing import NamedTuple

import numpy as np

from . import fused_epochs, fused_layers
from .elementary_numba import FUSED, IN_ANY_ORDER, compiled, label_of
from .fused_epochs import State, lent, train
from .fused_layers import (
    SQUARED_ERROR,
    add_decay,
    gather,
)
from .fused_layers import linear_backward as activation_backward
from .fused_layers import linear_forward as activation_forward
from .fused_layers import sgd as update
from .fused_layers import squared_error_backward as loss_backward
from .fused_layers import squared_error_forward as loss_forward
from .fused_layers import squared_residuals as measure
from .fused_panels import part, view
from .vectors import vector_of, whole_vectors

# What follows stands for others, so that the code can be read: `program` gives each layer its constants and activation,
N_IN, N_OUT, LOSS, LAST, FIRST_LAYER = 1, 1, 0, True, True
W, A_IN, A_OUT, Z, DELTA, DELTA_IN = [0] * 6

# and all of them those of the network, with its loss, update rule and metric.
Y, E, TOP, TOTAL, EXTRA, FLAT, FIRST, SECOND, GRADS, SHARD, A_LAST = [0] * 11
N_X, N_Y, M, SHARDS, PER_ROW, N_FLAT, N_FIRST, N_SECOND = [1] * 8
LAYERS = ((1, 1, 0, 0),)


def affine_forward(work, m):
    """z[j, s] = b[j] + a[0, s] W[0, j] + a[1, s] W[1, j] + ..."""
    W_kj, b = view(work, FLAT + W, N_IN, N_OUT), part(work, FLAT + W + N_IN * N_OUT, N_OUT)
    a, z = view(work, A_IN, N_IN, m), view(work, Z, N_OUT, m)
    for j in range(N_OUT):
        for s in range(m):
            total = b[j]
            for k in range(N_IN):
                total += a[k, s] * W_kj[k, j]
            z[j, s] = total


def affine_backward(work, grads, m):
    """dW[k, j] = a[k, 0] delta[j, 0] + a[k, 1] delta[j, 1] + ..., and db likewise."""
    a, delta = view(work, A_IN, N_IN, m), view(work, DELTA, N_OUT, m)
    dW, db = view(work, grads + W, N_IN, N_OUT), part(work, grads + W + N_IN * N_OUT, N_OUT)
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


def affine_backward_input(work, m):
    """da[k, s] = delta[0, s] W[k, 0] + delta[1, s] W[k, 1] + ..., for the layer below."""
    W_kj, delta, da = view(work, FLAT + W, N_IN, N_OUT), view(work, DELTA, N_OUT, m), view(work, DELTA_IN, N_IN, m)
    zero = work.dtype.type(0)
    for k in range(N_IN):
        for s in range(m):
            total = zero
            for j in range(N_OUT):
                total += delta[j, s] * W_kj[k, j]
            da[k, s] = total


_AFFINE = (affine_forward, affine_backward, affine_backward_input)


def above(work, grads, m, n):
    """The layer above this one, or here the loss: returns it and leaves in DELTA da, or delta with cross-entropies."""
    n_out, size = np.int64(N_OUT), N_OUT * m
    z, a, y, e = part(work, Z, size), part(work, A_OUT, size), part(work, Y, size), part(work, E, size)
    top, total = part(work, TOP, m), part(work, TOTAL, m)
    loss = loss_forward(n_out, m, z, a, y, e, top, total, part(work, EXTRA, size)) / n
    loss_backward(n_out, m, z, a, y, n, e, total, part(work, DELTA, size))
    return loss


def layer(work, grads, m, n):
    """Forward, everything above, backward."""
    n_out, size = np.int64(N_OUT), N_OUT * m
    z, a, e = part(work, Z, size), part(work, A_OUT, size), part(work, E, size)
    top, total = part(work, TOP, m), part(work, TOTAL, m)
    affine_forward(work, m)
    activation_forward(n_out, m, z, a, e, top, total)
    loss = above(work, grads, m, n)
    if LOSS == SQUARED_ERROR or not LAST:
        activation_backward(n_out, m, a, part(work, DELTA, size), total)
    affine_backward(work, grads, m)
    if not FIRST_LAYER:
        affine_backward_input(work, m)
    return loss


def step(plan, sections, data, state, sums, epoch, start, size, work):
    """One update from the samples `start` on; the batch's loss. `sums` gets what its outputs measure."""
    real = work.dtype.type
    n, loss, begin = real(size * PER_ROW), real(0), start
    n_x, n_y, rows, small, larger = np.int64(N_X), np.int64(N_Y), np.int64(M), size // SHARDS, size % SHARDS
    for i in range(N_Y):
        sums[i] = 0.0
    for shard in range(min(SHARDS, size)):
        m, at = small + (1 if shard < larger else 0), np.int64(GRADS if shard == 0 else SHARD)
        y = part(work, Y, N_Y * m)
        gather(data.orders, epoch, begin, data.x, n_x, m, part(work, A_IN, N_X * m))
        gather(data.orders, epoch, begin, data.y, n_y, m, y)
        found = first_layer(work, at, rows, n) if m == M else first_layer_apart(work, at, m, n)  # noqa: F821
        measure(n_y, m, part(work, A_LAST, N_Y * m), y, sums)
        loss = found if shard == 0 else loss + found
        if shard > 0:
            for i in range(N_FLAT):
                work[GRADS + i] += work[SHARD + i]
        begin += m
    flat, grads = part(work, FLAT, N_FLAT), part(work, GRADS, N_FLAT)
    if plan.numbers[4] != 0.0:
        for index in range(len(LAYERS)):
            n_in, n_out, _, w = LAYERS[index]
            add_decay(real(plan.numbers[4]), flat, grads, w, n_in * n_out)
    first, second = part(work, FIRST, N_FIRST), part(work, SECOND, N_SECOND)
    update(flat, grads, first, second, state.powers, real(data.rates[epoch]), plan.numbers)
    return loss


def copy(source, target):
    """target <- source"""
    for i in range(target.size):
        target[i] = source[i]


def train_fixed(plan, sections, data, state, history, work, steps):
    """`fused_epochs.train`, with all that it changes in `work` meanwhile."""
    plan, data, state, history, work = lent(plan, data, state, history, work)
    flat, first, second = part(work, FLAT, N_FLAT), part(work, FIRST, N_FIRST), part(work, SECOND, N_SECOND)
    copy(state.flat, flat)
    copy(state.first, first)
    copy(state.second, second)
    more = train(plan, sections, data, State(flat, first, second, state.powers), history, work, steps)
    copy(flat, state.flat)
    copy(first, state.first)
    copy(second, state.second)
    return more


class Shape(NamedTuple):
    """What a program is made for: the constants of a `fused_epochs.Plan`."""

    layers: tuple[tuple[int, int, int, int], ...]
    loss: int
    rule: int
    metric: int
    batch_size: int
    shards: int
    per_row: int

    @classmethod
    def of(cls, plan):
        """The shape of a plan."""
        layers = tuple(tuple(map(int, row)) for row in plan.layers)
        return cls(layers, *(getattr(plan, name) for name in cls._fields[1:]))

    @property
    def rows(self):
        """Rows of the largest shard."""
        return -(-self.batch_size // self.shards)

    @property
    def label(self):
        """Tells programs apart; short, since files on disk are named so."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:16]


@cache
def constants(dtype, shape):
    """Where each section of ``work`` begins, layer by layer in lists, and the other constants; and the size of it."""
    sizes, m = [shape.layers[0][0], *(n_out for _, n_out, _, _ in shape.layers)], shape.rows
    n_flat, slots, end = sum((n_in + 1) * n_out for n_in, n_out, _, _ in shape.layers), _SLOTS[shape.rule], 0

    def section(length):
        nonlocal end
        begin, end = end, end + whole_vectors(length, vector_of(dtype))
        return begin

    lengths = {"FLAT": n_flat, "GRADS": n_flat, "SHARD": n_flat if shape.shards > 1 else 0}
    lengths |= {"FIRST": n_flat * (slots > 0), "SECOND": n_flat * (slots > 1), "Y": sizes[-1] * m, "TOP": m, "TOTAL": m}
    lengths |= {"E": max(sizes) * m, "EXTRA": max(sizes) * m}
    made = {name: section(length) for name, length in lengths.items()}
    made |= {"A": [section(size * m) for size in sizes]}
    made |= {"Z": [section(size * m) for size in sizes[1:]], "DELTA": [section(size * m) for size in sizes[1:]]}
    made |= {"N_X": sizes[0], "N_Y": sizes[-1], "A_LAST": made["A"][-1], "M": m, "LAYERS": shape.layers}
    made |= {"SHARDS": shape.shards, "PER_ROW": shape.per_row, "LOSS": shape.loss}
    return made | {"N_FLAT": n_flat, "N_FIRST": lengths["FIRST"], "N_SECOND": lengths["SECOND"]}, end


_SLOTS = {fused_layers.SGD: 0, fused_layers.MOMENTUM: 1, fused_layers.NESTEROV: 1, fused_layers.ADAM: 2}


@cache
def program(dtype, shape, fused=False):
    """`train_fixed` for a shape, compiled for a dtype; `fused`: for fast numerics."""
    label, sources = f"{label_of(dtype, fused)}_{shape.label}", (__file__, fused_epochs.__file__, *fused_layers.SOURCES)
    options = FUSED if fused else {}
    names = fused_layers.parts(dtype, fused) | constants(dtype, shape)[0]
    names["loss_forward"], names["loss_backward"] = (names[half.__name__] for half in fused_layers.LOSSES[shape.loss])
    names["update"] = names[fused_layers.RULES[shape.rule].__name__]
    names["measure"] = names[fused_layers.METRICS[shape.metric].__name__]

    def inner(function, names, where="", inlined=True):
        how = IN_ANY_ORDER if fused and function in _AFFINE else options
        return compiled(function, names, f"{label}{where}", sources, cache=False, forceinline=inlined, **how)

    lowest = names | _layer_names(shape, names, inner)
    names["first_layer"] = inner(layer, lowest, "_0")
    names["first_layer_apart"] = inner(layer, lowest, "_0_apart", inlined=False)
    names["A_IN"] = names["A"][0]
    for function in (lent, copy, step, train):
        names[function.__name__] = compiled(function, names, label, sources, cache=False, inline="always")
    return compiled(train_fixed, names, label, sources, **options)


def _layer_names(shape, names, inner):
    """The names that the lowest layer's function needs; among them is the layer above it, and so on."""
    own = {}
    for index in reversed(range(len(shape.layers))):
        where, last = f"_{index}", index == len(shape.layers) - 1
        on_top = None if last else inner(layer, names | own, f"_{index + 1}")
        n_in, n_out, activation, w = shape.layers[index]
        halves = [names[half.__name__] for half in fused_layers.ACTIVATIONS[activation]]
        own = {"N_IN": n_in, "N_OUT": n_out, "W": w, "LAST": last, "FIRST_LAYER": index == 0}
        own |= {"Z": names["Z"][index], "A_IN": names["A"][index], "A_OUT": names["A"][index + 1]}
        own |= {"DELTA": names["DELTA"][index], "DELTA_IN": names["DELTA"][max(index - 1, 0)]}
        own |= dict(zip(("activation_forward", "activation_backward"), halves, strict=True))
        for function in _AFFINE:
            own[function.__name__] = inner(function, names | own, where)
        own["above"] = inner(above, names | own, where) if last else on_top
    return own
