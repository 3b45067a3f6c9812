"""Whole epochs in one compiled call, for every network: its shape is in a small table, so it is compiled once.

A call goes on from a cursor and does some steps, whole epochs or part of one; where it is cut changes no bit. All
numbers in between stand in one array, ``work``, in sections; nothing is allocated inside.
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from . import fused_layers, fused_panels
from .elementary_numba import FUSED, compiled, label_of
from .fused_layers import (
    SQUARED_ERROR,
    activation_backward,
    activation_forward,
    add_decay,
    affine_backward,
    affine_backward_input,
    affine_forward,
    all_finite,
    gather,
    loss_backward,
    loss_forward,
    measure,
    update,
)
from .fused_panels import borrowed, part
from .vectors import vector_of, whole_vectors


class Plan(NamedTuple):
    """What is computed.

    Attributes
    ----------
    layers : int64 array of shape (n_layers, 4)
        n_in, n_out, activation, and where W begins in the flat vector.
    numbers : float64 array of shape (5,)
        momentum, beta1, beta2, epsilon, weight decay.
    loss, rule, metric : int
        Codes of `fused_layers`.
    batch_size, shards, workers : int
    per_row : int
        What n of the loss has for each row: n_out for a mean over the outputs, else 1.
    """

    layers: Any
    numbers: Any
    loss: int
    rule: int
    metric: int
    batch_size: int
    shards: int
    workers: int
    per_row: int


class Sections(NamedTuple):
    """Where in ``work`` stand: a of all layers, x first; y; z, e and delta of one layer; two numbers of the softmax for
    each sample; the gradients, and those of a shard; panels; and where it ends. da takes the place of z."""

    a: int
    y: int
    z: int
    e: int
    delta: int
    top: int
    total: int
    grads: int
    shard: int
    panels: int
    end: int


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
    """losses (epochs,), measures (epochs, 1 or n_out), sums of a batch (n_out,), all float64; the cursor, int64: epoch,
    first sample of the next batch; snapshots (any number, n_flat), and for each epoch, int64, which of them gets its
    parameters, or -1."""

    losses: Any
    measures: Any
    sums: Any
    cursor: Any
    snapshots: Any
    rows: Any


def sections_of(plan, dtype, packed=True):
    """The sections for a plan; `packed`: with room for panels."""
    sizes = [int(plan.layers[0, 0]), *map(int, plan.layers[:, 1])]
    m, n_flat = plan.batch_size, sum((n_in + 1) * n_out for n_in, n_out in zip(sizes, sizes[1:], strict=False))
    panels = max(
        max(fused_panels.room(*shape, plan.workers, dtype) for shape in _products(n_in, n_out, m))
        for n_in, n_out in zip(sizes, sizes[1:], strict=False)
    )
    widest, shard = max(sizes[1:]) * m, n_flat if plan.shards > 1 else 0
    lengths = (sum(sizes) * m, sizes[-1] * m, *[widest] * 3, m, m, n_flat, shard, panels if packed else 0)
    ends = np.cumsum([0, *(whole_vectors(length, vector_of(dtype)) for length in lengths)])
    return Sections(*ends.tolist())


def _products(n_in, n_out, m):
    """Terms, rows and columns of a layer's three products."""
    return (n_in, n_out, m), (m, n_in, n_out), (n_out, n_in, m)


def value_and_grad(plan, sections, flat, n, m, work, grads):
    """The loss of m gathered samples, n being the whole batch's; their gradients go to `grads` in `work`."""
    layers, last = plan.layers, plan.layers.shape[0] - 1
    widest, a_in = sections.e - sections.z, sections.a
    z, e, panels = part(work, sections.z, widest), part(work, sections.e, widest), part(work, sections.panels, 1)
    delta, da = part(work, sections.delta, widest), z
    top, total, gradients = part(work, sections.top, m), part(work, sections.total, m), part(work, grads, flat.size)
    for layer in range(last + 1):
        n_in, n_out, w = layers[layer, 0], layers[layer, 1], layers[layer, 3]
        affine_forward(flat, w, n_in, n_out, m, part(work, a_in, n_in * m), z, panels, plan.workers)
        a_in += n_in * m
        activation_forward(layers[layer, 2], n_out, m, z, part(work, a_in, n_out * m), e, top, total)
    n_out = layers[last, 1]
    a, y = part(work, a_in, n_out * m), part(work, sections.y, n_out * m)
    loss = loss_forward(plan.loss, n_out, m, z, a, y, e, top, total, delta) / n
    loss_backward(plan.loss, n_out, m, z, a, y, n, e, total, delta)
    for layer in range(last, -1, -1):
        n_in, n_out, w = layers[layer, 0], layers[layer, 1], layers[layer, 3]
        if layer < last or plan.loss == SQUARED_ERROR:
            activation_backward(layers[layer, 2], n_out, m, part(work, a_in, n_out * m), delta, total)
        a_in -= n_in * m
        affine_backward(delta, part(work, a_in, n_in * m), w, n_in, n_out, m, gradients, panels, plan.workers)
        if layer > 0:
            affine_backward_input(delta, flat, w, n_in, n_out, m, da, panels, plan.workers)
            delta, da = da, delta
    return loss


def step(plan, sections, data, state, sums, epoch, start, size, work):
    """One update from the samples `start` on; the batch's loss. `sums` gets what its outputs measure."""
    real = work.dtype.type
    layers, last, flat = plan.layers, plan.layers.shape[0] - 1, state.flat
    n, loss, begin, before = real(size * plan.per_row), real(0), start, 0
    n_x, n_y, small, larger = layers[0, 0], layers[last, 1], size // plan.shards, size % plan.shards
    for layer in range(last + 1):
        before += layers[layer, 0]
    for i in range(sums.size):
        sums[i] = 0.0
    for shard in range(min(plan.shards, size)):
        m = small + (1 if shard < larger else 0)
        y = part(work, sections.y, n_y * m)
        gather(data.orders, epoch, begin, data.x, n_x, m, part(work, sections.a, n_x * m))
        gather(data.orders, epoch, begin, data.y, n_y, m, y)
        found = value_and_grad(plan, sections, flat, n, m, work, sections.grads if shard == 0 else sections.shard)
        measure(plan.metric, n_y, m, part(work, sections.a + before * m, n_y * m), y, sums)
        loss = found if shard == 0 else loss + found
        if shard > 0:
            for i in range(flat.size):
                work[sections.grads + i] += work[sections.shard + i]
        begin += m
    grads = part(work, sections.grads, flat.size)
    if plan.numbers[4] != 0.0:
        for layer in range(last + 1):
            add_decay(real(plan.numbers[4]), flat, grads, layers[layer, 3], layers[layer, 0] * layers[layer, 1])
    rate = real(data.rates[epoch])
    update(plan.rule, flat, grads, state.first, state.second, state.powers, rate, plan.numbers)
    return loss


def lent(plan, data, state, history, work):
    """The same arrays, whose references are not counted: that would cost as much as a step of a small network."""
    plan = Plan(
        *(borrowed(plan.layers), borrowed(plan.numbers), plan.loss, plan.rule, plan.metric),
        *(plan.batch_size, plan.shards, plan.workers, plan.per_row),
    )
    data = Data(borrowed(data.x), borrowed(data.y), borrowed(data.orders), borrowed(data.rates))
    state = State(borrowed(state.flat), borrowed(state.first), borrowed(state.second), borrowed(state.powers))
    history = History(
        *(borrowed(history.losses), borrowed(history.measures), borrowed(history.sums), borrowed(history.cursor)),
        *(borrowed(history.snapshots), borrowed(history.rows)),
    )
    return plan, data, state, history, borrowed(work)


def train(plan, sections, data, state, history, work, steps):
    """Goes on from the cursor for at most `steps` steps.

    Returns
    -------
    bool
        Whether there is more to do: not all epochs are done, and every one so far has ended finite.
    """
    plan, data, state, history, work = lent(plan, data, state, history, work)
    samples, epochs = data.x.shape[0], data.rates.shape[0]
    epoch, start = history.cursor[0], history.cursor[1]
    losses, measures = history.losses, history.measures
    for _ in range(steps):
        size = min(plan.batch_size, samples - start)
        loss = step(plan, sections, data, state, history.sums, epoch, start, size, work)
        losses[epoch] += np.float64(loss) * size
        for i in range(measures.shape[1]):
            measures[epoch, i] += history.sums[i]
        start += size
        if start == samples:
            losses[epoch] /= samples
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


@cache
def program(dtype, shared=False, fused=False):
    """`train`, compiled for a dtype; `shared`: large products with threads; `fused`: for fast numerics."""
    sources, label = (__file__, *fused_layers.SOURCES), label_of(dtype, fused)
    options = FUSED if fused else {}
    names = dict(fused_layers.functions(dtype, shared, fused))
    for function in (lent, value_and_grad, step):
        names[function.__name__] = compiled(function, names, label, sources, inline="always", cache=False)
    return compiled(train, names, f"{label}_shared" if shared else label, sources, **options)
