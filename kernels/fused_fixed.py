"""Whole epochs for one network, whose sizes, activations, loss, update rule and batch are constants of the program.

For small networks, where counting and choosing cost more than computing. Each layer is a function that has the layer
above it inside: forward, everything above, backward. All numbers of a run stand in one array, ``work``, in sections
that begin at constants, so that the compiler knows what never overlaps and keeps what it can in registers.

The formulas are those of `fused_layers`, compiled once more with constants for arguments.
"""

from functools import cache
from typing import NamedTuple

from . import fused_epochs, fused_layers
from .elementary_numba import compiled
from .fused_epochs import State, gather, train
from .fused_layers import (
    VECTOR,
    activation_backward,
    activation_forward,
    add_decay,
    loss_backward,
    loss_forward,
    measure,
    update,
)
from .fused_panels import part, view

# Constants of a layer; `program` gives each layer its own.
N_IN, N_OUT, M, ACTIVATION, LOSS, LAST, FIRST_LAYER = 1, 1, 1, 0, 0, True, True
W, A_IN, A_OUT, Z, DELTA, DELTA_IN, Y, E, TOP, TOTAL, EXTRA = [0] * 11

# And of the network.
N_X, N_Y, RULE, METRIC, SHARDS, PER_ROW, N_FLAT, N_FIRST, N_SECOND = [1] * 9
FLAT, FIRST, SECOND, GRADS, PART, A_LAST = [0] * 6
LAYERS = ((1, 1, 0, 0),)


def affine_forward(work, m):
    """z[j, s] = b[j] + a[0, s] W[0, j] + a[1, s] W[1, j] + ..."""
    a, W_kj, b = view(work, A_IN, N_IN, m), view(work, FLAT + W, N_IN, N_OUT), part(work, FLAT + W + N_IN * N_OUT, N_OUT)
    z = view(work, Z, N_OUT, m)
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


def above(work, grads, m, n):
    """The layer above, or the loss: leaves da of this layer's outputs in DELTA and returns the loss."""
    size = N_OUT * m
    z, a, y, e = part(work, Z, size), part(work, A_OUT, size), part(work, Y, size), part(work, E, size)
    delta, top, total = part(work, DELTA, size), part(work, TOP, m), part(work, TOTAL, m)
    loss = loss_forward(LOSS, N_OUT, m, z, a, y, n, e, top, total, part(work, EXTRA, size))
    loss_backward(LOSS, ACTIVATION, N_OUT, m, z, a, y, n, e, total, delta)
    return loss


def layer(work, grads, m, n):
    """Forward, everything above, backward."""
    size = N_OUT * m
    z, a, e = part(work, Z, size), part(work, A_OUT, size), part(work, E, size)
    top, total = part(work, TOP, m), part(work, TOTAL, m)
    affine_forward(work, m)
    activation_forward(ACTIVATION, N_OUT, m, z, a, e, top, total)
    loss = above(work, grads, m, n)
    if not LAST:
        activation_backward(ACTIVATION, N_OUT, m, a, part(work, DELTA, size), total)
    affine_backward(work, grads, m)
    if not FIRST_LAYER:
        affine_backward_input(work, m)
    return loss


def value_and_grad(work, grads, m, n):
    """The loss and the gradients of m gathered samples, n being the whole batch's; only `M` of them quickly."""
    return first_layer(work, grads, M, n) if m == M else first_layer_any(work, grads, m, n)  # noqa: F821


def step(plan, data, state, epoch, start, size, room):
    """One update; the batch's loss. `room.sums` gets what its outputs measure."""
    work = room.work
    real = work.dtype.type
    n, loss, begin = real(size * PER_ROW), real(0), start
    small, larger = size // SHARDS, size % SHARDS
    for i in range(room.sums.size):
        room.sums[i] = 0.0
    for shard in range(min(SHARDS, size)):
        m = small + (1 if shard < larger else 0)
        rows = part(data.orders, epoch * data.x.shape[0] + begin, m)
        gather(rows, data.x, view(work, A_IN, N_X, m))
        gather(rows, data.y, view(work, Y, N_Y, m))
        found = value_and_grad(work, GRADS if shard == 0 else PART, m, n)
        measure(METRIC, N_Y, m, part(work, A_LAST, N_Y * m), part(work, Y, N_Y * m), room.sums)
        if shard == 0:
            loss = found
        else:
            loss = loss + found
            for i in range(N_FLAT):
                work[GRADS + i] += work[PART + i]
        begin += m
    flat, grads = part(work, FLAT, N_FLAT), part(work, GRADS, N_FLAT)
    if plan.numbers[4] != 0.0:
        for n_in, n_out, _, w in LAYERS:
            add_decay(real(plan.numbers[4]), flat, grads, w, n_in * n_out)
    first, second = part(work, FIRST, N_FIRST), part(work, SECOND, N_SECOND)
    update(RULE, flat, grads, first, second, state.powers, real(data.rates[epoch]), plan.numbers)
    return loss


def copy(source, target):
    """target <- source"""
    for i in range(target.size):
        target[i] = source[i]


def train_fixed(plan, data, state, history, room, steps):
    """`fused_epochs.train`, with everything it changes in `room.work` meanwhile."""
    work = room.work
    flat, first, second = part(work, FLAT, N_FLAT), part(work, FIRST, N_FIRST), part(work, SECOND, N_SECOND)
    copy(state.flat, flat)
    copy(state.first, first)
    copy(state.second, second)
    more = train(plan, data, State(flat, first, second, state.powers), history, room, steps)
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
        """Tells programs apart."""
        layers = "_".join(f"{n_in}x{n_out}a{activation}" for n_in, n_out, activation, _ in self.layers)
        return f"{layers}_l{self.loss}u{self.rule}m{self.metric}b{self.batch_size}s{self.shards}p{self.per_row}"


def sections(shape):
    """Where each section of `work` begins, by name (a list for those of which every layer has one), and its size."""
    sizes, m = [shape.layers[0][0], *(n_out for _, n_out, _, _ in shape.layers)], shape.rows
    n_flat, end, begins = sum((n_in + 1) * n_out for n_in, n_out, _, _ in shape.layers), 0, {}

    def section(length):
        nonlocal end
        begin, end = end, end + -(-length // VECTOR) * VECTOR
        return begin

    slots = {fused_layers.SGD: 0, fused_layers.MOMENTUM: 1, fused_layers.NESTEROV: 1, fused_layers.ADAM: 2}[shape.rule]
    lengths = {"FLAT": n_flat, "GRADS": n_flat, "PART": n_flat if shape.shards > 1 else 0}
    lengths |= {"FIRST": n_flat * (slots > 0), "SECOND": n_flat * (slots > 1), "Y": sizes[-1] * m, "TOP": m, "TOTAL": m}
    lengths |= {"E": max(sizes) * m, "EXTRA": max(sizes) * m}
    begins = {name: section(length) for name, length in lengths.items()}
    begins["A"] = [section(size * m) for size in sizes]
    begins["Z"], begins["DELTA"] = ([section(size * m) for size in sizes[1:]] for _ in range(2))
    return begins, {"N_FLAT": n_flat, "N_FIRST": lengths["FIRST"], "N_SECOND": lengths["SECOND"]}, end


@cache
def program(dtype, shape):
    """`train_fixed` for a shape, compiled for a dtype, and the size of its `work`."""
    begins, counts, end = sections(shape)
    label, sources = f"{dtype}_{shape.label}", (__file__, fused_epochs.__file__, *fused_layers.SOURCES)
    names = dict(fused_layers.functions(dtype))

    def inner(function, label, names, **options):
        options = {"forceinline": True, "cache": False} | options
        return compiled(function, names, label, sources, **options)

    for function in (*fused_layers.OVER_SAMPLES, gather, add_decay, update):
        names[function.__name__] = inner(function, label, names)
    constants = {name: value for name, value in begins.items() if name not in {"A", "Z", "DELTA"}} | counts
    constants |= {"N_X": shape.layers[0][0], "N_Y": shape.layers[-1][1], "RULE": shape.rule, "METRIC": shape.metric}
    constants |= {"SHARDS": shape.shards, "PER_ROW": shape.per_row, "M": shape.rows, "LOSS": shape.loss}
    constants |= {"A_IN": begins["A"][0], "A_LAST": begins["A"][-1], "LAYERS": shape.layers}
    names |= constants
    for rows, variant in (("", {}), ("_any", {"forceinline": False})):
        on_top = None
        for index in reversed(range(len(shape.layers))):
            on_top = _layer(shape, index, begins, names, on_top, f"{label}{rows}_{index}", inner, variant if index == 0 else {})
        names[f"first_layer{rows}"] = on_top
    for function in (value_and_grad, step, copy, train):
        names[function.__name__] = inner(function, label, names)
    return compiled(train_fixed, names, label, sources), end


def _layer(shape, index, begins, names, on_top, label, inner, options):
    """The function of a layer, with those above it inside."""
    n_in, n_out, activation, w = shape.layers[index]
    own = {"N_IN": n_in, "N_OUT": n_out, "ACTIVATION": activation, "W": w}
    own |= {"LAST": on_top is None, "FIRST_LAYER": index == 0, "Z": begins["Z"][index], "DELTA": begins["DELTA"][index]}
    own |= {"A_IN": begins["A"][index], "A_OUT": begins["A"][index + 1], "DELTA_IN": begins["DELTA"][max(index - 1, 0)]}
    names = names | own
    for function in (affine_forward, affine_backward, affine_backward_input):
        names[function.__name__] = inner(function, label, names)
    names["above"] = inner(above, label, names) if on_top is None else on_top
    return inner(layer, label, names, **options)
