"""Whole epochs in one compiled call, for every network: its shape is in a small table, so it is compiled once.

A call goes on from a cursor and does some steps, whole epochs or part of one; where it is cut changes no bit. Samples
are gathered into buffers as neuron after neuron (`fused_layers`), all of which the caller provides: nothing is
allocated inside but panels' views.
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from . import fused_layers, fused_panels
from .elementary_numba import compiled
from .fused_layers import (
    VECTOR,
    activation_backward,
    activation_forward,
    add_decay,
    affine_backward,
    affine_backward_input,
    affine_forward,
    all_finite,
    loss_backward,
    loss_forward,
    measure,
    update,
)
from .fused_panels import view


class Plan(NamedTuple):
    """What is computed.

    Attributes
    ----------
    layers : int64 array of shape (n_layers, 4)
        n_in, n_out, activation, and where W begins in the flat vector.
    loss, rule, metric : int
        Codes of `fused_layers`.
    batch_size, shards, workers : int
    per_row : int
        What n of the loss has for each row: n_out for a mean over the outputs, else 1.
    numbers : float64 array of shape (5,)
        momentum, beta1, beta2, epsilon, weight decay.
    """

    layers: Any
    loss: int
    rule: int
    metric: int
    batch_size: int
    shards: int
    workers: int
    per_row: int
    numbers: Any


class Data(NamedTuple):
    """x (samples, n_in), y (samples, n_out), orders (epochs, samples) int64, rates (epochs,) float64."""

    x: Any
    y: Any
    orders: Any
    rates: Any


class State(NamedTuple):
    """What training changes: the flat parameters, and the optimizer's velocity or m, v and powers (or empty arrays)."""

    flat: Any
    first: Any
    second: Any
    powers: Any


class History(NamedTuple):
    """losses (epochs,), measures (epochs, 1 or n_out), float64, and the cursor: epoch, first sample of the next batch."""

    losses: Any
    measures: Any
    cursor: Any


class Room(NamedTuple):
    """Buffers, all 1-D: a of all layers, y, z of one layer, e, delta, da, top, total; gradients, those of a shard, panels.

    `sums` is float64; `work` is for `fused_fixed`, which needs no other.
    """

    a: Any
    y: Any
    z: Any
    e: Any
    delta: Any
    da: Any
    top: Any
    total: Any
    grads: Any
    part: Any
    panels: Any
    sums: Any
    work: Any


def make_room(plan, n_parameters, dtype):
    """Buffers for a plan."""
    sizes = [int(plan.layers[0, 0]), *map(int, plan.layers[:, 1])]
    m = plan.batch_size
    widest = max(sizes) * m + VECTOR
    panels = max(
        max(fused_panels.room(*shape, plan.workers, dtype) for shape in _products(n_in, n_out, m))
        for n_in, n_out in zip(sizes, sizes[1:], strict=False)
    )
    lengths = (sum(sizes) * m, sizes[-1] * m, *[widest] * 4, m + VECTOR, m + VECTOR, n_parameters)
    arrays = [np.zeros(length, dtype) for length in (*lengths, n_parameters if plan.shards > 1 else 0)]
    return Room(*arrays, np.empty(panels, dtype), np.zeros(sizes[-1]), np.empty(0, dtype))


def _products(n_in, n_out, m):
    """Terms, rows and columns of a layer's three products."""
    return (n_in, n_out, m), (m, n_in, n_out), (n_out, n_in, m)


def gather(rows, source, a):
    """a[k, s] = source[rows[s], k]"""
    for s in range(rows.shape[0]):
        row = rows[s]
        for k in range(source.shape[1]):
            a[k, s] = source[row, k]


def value_and_grad(plan, flat, n, m, room, grads):
    """The loss and the gradients of m gathered samples, n being the whole batch's."""
    layers, last = plan.layers, plan.layers.shape[0] - 1
    n_out, before = layers[last, 1], 0
    for layer in range(last + 1):
        n_in, n_out, activation, w = layers[layer, 0], layers[layer, 1], layers[layer, 2], layers[layer, 3]
        a = view(room.a, before, n_in, m)
        before += n_in * m
        affine_forward(flat, w, n_in, n_out, a, room.z, room.panels, plan.workers)
        activation_forward(activation, n_out, m, room.z, room.a[before:], room.e, room.top, room.total)
    output, delta, da = room.a[before:], room.delta, room.da
    loss = loss_forward(plan.loss, n_out, m, room.z, output, room.y, n, room.e, room.top, room.total, da)
    loss_backward(plan.loss, layers[last, 2], n_out, m, room.z, output, room.y, n, room.e, room.total, delta)
    for layer in range(last, -1, -1):
        n_in, n_out, w = layers[layer, 0], layers[layer, 1], layers[layer, 3]
        before -= n_in * m
        affine_backward(delta, view(room.a, before, n_in, m), w, n_in, n_out, grads, room.panels, plan.workers)
        if layer > 0:
            affine_backward_input(delta, flat, w, n_in, n_out, m, da, room.panels, plan.workers)
            activation_backward(layers[layer - 1, 2], n_in, m, room.a[before:], da, room.total)
            delta, da = da, delta
    return loss


def step(plan, data, state, epoch, start, size, room):
    """One update; the batch's loss. `room.sums` gets what its outputs measure."""
    real = state.flat.dtype.type
    n, layers, last = real(size * plan.per_row), plan.layers, plan.layers.shape[0] - 1
    small, larger = size // plan.shards, size % plan.shards
    n_x, n_y = layers[0, 0], layers[last, 1]
    loss, begin, grads = real(0), start, room.grads
    room.sums[:] = 0.0
    for shard in range(min(plan.shards, size)):
        m = small + (1 if shard < larger else 0)
        rows = data.orders[epoch, begin : begin + m]
        gather(rows, data.x, view(room.a, 0, n_x, m))
        gather(rows, data.y, view(room.y, 0, n_y, m))
        found = value_and_grad(plan, state.flat, n, m, room, grads)
        outputs = 0
        for layer in range(last + 1):
            outputs += layers[layer, 0] * m
        measure(plan.metric, n_y, m, room.a[outputs:], room.y, room.sums)
        if shard == 0:
            loss, grads = found, room.part
        else:
            loss = loss + found
            for i in range(grads.size):
                room.grads[i] += grads[i]
        begin += m
    if plan.numbers[4] != 0.0:
        for layer in range(last + 1):
            add_decay(real(plan.numbers[4]), state.flat, room.grads, layers[layer, 3], layers[layer, 0] * layers[layer, 1])
    rate = real(data.rates[epoch])
    update(plan.rule, state.flat, room.grads, state.first, state.second, state.powers, rate, plan.numbers)
    return loss


def train(plan, data, state, history, room, steps):
    """Goes on from the cursor for at most `steps` steps.

    Returns
    -------
    bool
        Whether there is more to do: not all epochs are done, and every one so far has ended finite.
    """
    samples, epochs = data.x.shape[0], data.rates.shape[0]
    epoch, start = history.cursor
    losses, measures = history.losses, history.measures
    for _ in range(steps):
        size = min(plan.batch_size, samples - start)
        losses[epoch] += np.float64(step(plan, data, state, epoch, start, size, room)) * size
        for i in range(measures.shape[1]):
            measures[epoch, i] += room.sums[i]
        start += size
        if start == samples:
            losses[epoch] /= samples
            finite = abs(losses[epoch]) < np.inf and all_finite(state.flat)
            epoch, start = epoch + 1, 0
            if not finite or epoch == epochs:
                history.cursor[0], history.cursor[1] = epoch, start
                return False
    history.cursor[0], history.cursor[1] = epoch, start
    return True


@cache
def trainer(dtype, shared=False):
    """`train`, compiled for a dtype; `shared`: large products with threads."""
    sources = (__file__, *fused_layers.SOURCES)
    names = dict(fused_layers.functions(dtype, shared))
    names["gather"] = compiled(gather, names, dtype, sources)
    for function in (value_and_grad, step):
        names[function.__name__] = compiled(function, names, dtype, sources, inline="always", cache=False)
    return compiled(train, names, f"{dtype}_shared" if shared else dtype, sources)
