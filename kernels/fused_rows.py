"""Whole epochs in one compiled call for networks with wide layers, in fast numerics.

Values of a layer stand sample after sample, as the data do: z, a and delta here are ``(m, n_out)``, m the rows of the
batch or shard. So a sample is gathered in one piece, and of each layer's three products only that with W's transpose,
which the first layer does without, has to turn what it reads. Products are those of `fused_tiles`; they are added to
the biases, and for plain gradient descent to the weights: W <- W - a^T (eta delta) is one product, and no gradient is
ever stored; what comes out is another where eta delta leaves the range of the dtype. What does not depend on the layout
is that of `fused_layers`, with fused multiply-add.
"""

from functools import cache

import numpy as np

from . import fused_epochs, fused_layers, fused_tiles
from .elementary_numba import FUSED, IN_ANY_ORDER, compiled
from .fused_epochs import Sections, lent, train
from .fused_layers import (
    SGD,
    SQUARED_ERROR,
    activation_backward,
    activation_forward,
    add_decay,
    exp_all,
    log_all,
    loss_backward,
    loss_forward,
    measure,
    update,
)
from .fused_panels import part, view
from .fused_tiles import product
from .vectors import vector_of, whole_vectors

# From how many multiplications on a product is shared out among threads; entries of an activation done at a time.
SHARED_FROM = 2**21
BLOCK = 2**12

product_shared = product


def multiply(left, left_t, left_i, right, right_t, right_j, start, start_i, out, depth, rows, columns, panels, workers):
    """out[i, j] = start[i, j] + (left[0, i] right[0, j] + left[1, i] right[1, j] + ...), row after row"""
    operands = left, left_t, left_i, right, right_t, right_j, start, start_i, out, columns
    if depth * rows * columns >= SHARED_FROM:
        product_shared(*operands, depth, rows, columns, panels, workers)
    else:
        product(*operands, depth, rows, columns, panels, np.int64(1))


# The affine map, forward and backward. W and b stand in `flat` from w on, dW and db likewise in `grads`.


def affine_forward(flat, w, n_in, n_out, m, a, z, panels, workers):
    """z[s, j] = b[j] + a[s, 0] W[0, j] + a[s, 1] W[1, j] + ..."""
    W, b, one, none = part(flat, w, n_in * n_out), part(flat, w + n_in * n_out, n_out), np.int64(1), np.int64(0)
    multiply(a, one, n_in, W, n_out, one, b, none, z, n_in, m, n_out, panels, workers)


def affine_backward(delta, a, w, n_in, n_out, m, grads, panels, workers, unit):
    """dW[k, j] <- dW[k, j] + (a[0, k] delta[0, j] + a[1, k] delta[1, j] + ...), and db likewise; `unit` is for a 1."""
    dW, db, one, none = part(grads, w, n_in * n_out), part(grads, w + n_in * n_out, n_out), np.int64(1), np.int64(0)
    unit[0] = 1
    multiply(unit, none, none, delta, n_out, one, db, none, db, m, one, n_out, panels, workers)
    multiply(a, n_in, one, delta, n_out, one, dW, n_out, dW, m, n_in, n_out, panels, workers)


def affine_backward_input(delta, flat, w, n_in, n_out, m, da, panels, workers, zeros):
    """da[s, k] = delta[s, 0] W[k, 0] + delta[s, 1] W[k, 1] + ...; `zeros` has room for n_in of them."""
    W, one, none, zero = part(flat, w, n_in * n_out), np.int64(1), np.int64(0), da.dtype.type(0)
    for k in range(n_in):
        zeros[k] = zero
    multiply(delta, one, n_out, W, one, n_out, zeros, none, da, n_out, m, n_in, panels, workers)


# What of an activation, a loss or a metric depends on where the outputs of a sample stand.


def softmax_forward(n_out, m, z, a, e, top, total):
    """a[s, j] = e[s, j] / S[s]; leaves the largest z of each sample in top, S = e[s, 0] + e[s, 1] + ... in total."""
    z_sj, a_sj, e_sj = view(z, 0, m, n_out), view(a, 0, m, n_out), view(e, 0, m, n_out)
    for s in range(m):
        highest = z_sj[s, 0]
        for j in range(1, n_out):
            z_j = z_sj[s, j]
            highest = z_j if z_j > highest else highest
        top[s] = highest
        for j in range(n_out):
            e_sj[s, j] = z_sj[s, j] - highest
    exp_all(e, n_out * m)
    for s in range(m):
        sum_s = z.dtype.type(0)
        for j in range(n_out):
            sum_s += e_sj[s, j]
        total[s] = sum_s
        for j in range(n_out):
            a_sj[s, j] = e_sj[s, j] / sum_s


def softmax_backward(n_out, m, a, delta, total):
    """delta[s, j] = a[s, j] (da[s, j] - t[s]) with t = da[s, 0] a[s, 0] + da[s, 1] a[s, 1] + ..."""
    a_sj, delta_sj = view(a, 0, m, n_out), view(delta, 0, m, n_out)
    for s in range(m):
        t = a.dtype.type(0)
        for j in range(n_out):
            t += delta_sj[s, j] * a_sj[s, j]
        for j in range(n_out):
            delta_sj[s, j] = a_sj[s, j] * (delta_sj[s, j] - t)


def softmax_cross_entropy_forward(n_out, m, z, a, y, e, top, total, room):
    """The sum of y (log S - (z - max)); puts log S in the place of S."""
    z_sj, y_sj, found = view(z, 0, m, n_out), view(y, 0, m, n_out), z.dtype.type(0)
    log_all(total, m)
    for s in range(m):
        loss_s = z.dtype.type(0)
        for j in range(n_out):
            loss_s += y_sj[s, j] * (total[s] - (z_sj[s, j] - top[s]))
        found += loss_s
    return found


def softmax_cross_entropy_backward(n_out, m, z, a, y, n, e, total, delta):
    """delta = (a Y - y) / n with Y = y[s, 0] + y[s, 1] + ..., 1 for probabilities"""
    a_sj, y_sj, delta_sj = view(a, 0, m, n_out), view(y, 0, m, n_out), view(delta, 0, m, n_out)
    for s in range(m):
        whole = z.dtype.type(0)
        for j in range(n_out):
            whole += y_sj[s, j]
        for j in range(n_out):
            delta_sj[s, j] = (a_sj[s, j] * whole - y_sj[s, j]) / n


def count_correct(n_out, m, a, y, sums):
    """sums[0] += number of samples whose outputs are of the class that y says"""
    a_sj, y_sj, half, correct = view(a, 0, m, n_out), view(y, 0, m, n_out), a.dtype.type(0.5), 0
    for s in range(m):
        a_class = largest(a_sj, s) if n_out > 1 else np.int64(a_sj[s, 0] > half)
        y_class = largest(y_sj, s) if n_out > 1 else np.int64(y_sj[s, 0] > half)
        correct += 1 if a_class == y_class else 0
    sums[0] += correct


def largest(a, s):
    """The first j with the largest a[s, j]; NaN is larger than any number."""
    best, here = a[s, 0], 0
    for j in range(1, a.shape[1]):
        if not (a[s, j] <= best or np.isnan(best)):
            best, here = a[s, j], j
    return here


def squared_residuals(n_out, m, a, y, sums):
    """sums[j] += (a[0, j] - y[0, j])^2, then (a[1, j] - y[1, j])^2, ..."""
    a_sj, y_sj = view(a, 0, m, n_out), view(y, 0, m, n_out)
    for s in range(m):
        for j in range(n_out):
            residual = np.float64(a_sj[s, j]) - np.float64(y_sj[s, j])
            sums[j] += residual * residual


def gather(orders, row, start, source, n, m, a):
    """a[s, k] = source[orders[row, start + s], k], a 1-D"""
    a_sk = view(a, 0, m, n)
    for s in range(m):
        sample = orders[row, start + s]
        for k in range(n):
            a_sk[s, k] = source[sample, k]


def sections_of(plan, dtype):
    """The sections for a plan; no gradients unless they are `stored`."""
    sizes = [int(plan.layers[0, 0]), *map(int, plan.layers[:, 1])]
    m, n_flat = plan.batch_size, sum((n_in + 1) * n_out for n_in, n_out in zip(sizes, sizes[1:], strict=False))
    panels = max(
        fused_tiles.room(*extent, plan.workers)
        for n_in, n_out in zip(sizes, sizes[1:], strict=False)
        for extent in products_of(n_in, n_out, m)
    )
    widest, some = max(sizes[1:]) * m, max(sizes[-1] * m, min(max(sizes[1:]) * m, BLOCK + max(sizes[1:])))
    lengths = (sum(sizes) * m, sizes[-1] * m, widest, some, widest, m, m)
    lengths += (n_flat * stored(plan), 0, panels)
    ends = np.cumsum([0, *(whole_vectors(length, vector_of(dtype)) for length in lengths)])
    return Sections(*ends.tolist())


def products_of(n_in, n_out, m):
    """Terms, rows and columns of a layer's three large products."""
    return (n_in, m, n_out), (m, n_in, n_out), (n_out, m, n_in)


def stored(plan):
    """Whether gradients are stored; else they are added to the parameters as they are made."""
    return plan.rule != SGD or plan.numbers[4] != 0.0 or plan.shards > 1


def value_and_grad(plan, sections, flat, n, m, work, factor, target):
    """The loss of m gathered samples, n being the whole batch's; adds `factor` times their gradients to `target`.

    `target` may be `flat` itself: a layer's weights are used for the layer below before they change. `factor` is one of
    the last layer's delta, and so of every other.
    """
    layers, last = plan.layers, plan.layers.shape[0] - 1
    a_in, widest = sections.a, sections.e - sections.z
    z, e = part(work, sections.z, widest), part(work, sections.e, sections.delta - sections.e)
    panels = part(work, sections.panels, sections.end - sections.panels)
    delta, da, top = part(work, sections.delta, widest), z, part(work, sections.top, m)
    total = part(work, sections.total, m)
    for layer in range(last + 1):
        n_in, n_out, w = layers[layer, 0], layers[layer, 1], layers[layer, 3]
        affine_forward(flat, w, n_in, n_out, m, part(work, a_in, n_in * m), z, panels, plan.workers)
        a_in += n_in * m
        rows = m if layer == last else max(1, BLOCK // n_out)
        for s in range(0, m, rows):
            here, at = min(rows, m - s), s * n_out
            a = part(work, a_in + at, n_out * here)
            activation_forward(layers[layer, 2], n_out, here, part(z, at, n_out * here), a, e, top, total)
    n_out = layers[last, 1]
    a, y = part(work, a_in, n_out * m), part(work, sections.y, n_out * m)
    loss = loss_forward(plan.loss, n_out, m, z, a, y, e, top, total, delta) / n
    loss_backward(plan.loss, n_out, m, z, a, y, n, e, total, delta)
    for i in range(n_out * m):
        delta[i] *= factor
    for layer in range(last, -1, -1):
        n_in, n_out, w = layers[layer, 0], layers[layer, 1], layers[layer, 3]
        if layer < last or plan.loss == SQUARED_ERROR:
            activation_backward(layers[layer, 2], n_out, m, part(work, a_in, n_out * m), delta, total)
        a_in -= n_in * m
        if layer > 0:
            affine_backward_input(delta, flat, w, n_in, n_out, m, da, panels, plan.workers, e)
        affine_backward(delta, part(work, a_in, n_in * m), w, n_in, n_out, m, target, panels, plan.workers, total)
        delta, da = da, delta
    return loss


def step(plan, sections, data, state, sums, epoch, start, size, work):
    """One update from the samples `start` on; the batch's loss. `sums` gets what its outputs measure."""
    real = work.dtype.type
    layers, last, flat, one = plan.layers, plan.layers.shape[0] - 1, state.flat, work.dtype.type(1)
    n, loss, begin, before, rate = real(size * plan.per_row), real(0), start, 0, real(data.rates[epoch])
    n_x, n_y, small, larger = layers[0, 0], layers[last, 1], size // plan.shards, size % plan.shards
    into_grads = stored(plan)
    for layer in range(last + 1):
        before += layers[layer, 0]
    for i in range(sums.size):
        sums[i] = 0.0
    grads = part(work, sections.grads, flat.size)
    if into_grads:
        for i in range(flat.size):
            grads[i] = real(0)
    for shard in range(min(plan.shards, size)):
        m = small + (1 if shard < larger else 0)
        y = part(work, sections.y, n_y * m)
        gather(data.orders, epoch, begin, data.x, n_x, m, part(work, sections.a, n_x * m))
        gather(data.orders, epoch, begin, data.y, n_y, m, y)
        factor, target = (one, grads) if into_grads else (-rate, flat)
        loss += value_and_grad(plan, sections, flat, n, m, work, factor, target)
        measure(plan.metric, n_y, m, part(work, sections.a + before * m, n_y * m), y, sums)
        begin += m
    if plan.numbers[4] != 0.0:
        for layer in range(last + 1):
            add_decay(real(plan.numbers[4]), flat, grads, layers[layer, 3], layers[layer, 0] * layers[layer, 1])
    if into_grads:
        update(plan.rule, flat, grads, state.first, state.second, state.powers, rate, plan.numbers)
    return loss


_OWN = (
    *(softmax_forward, softmax_backward, softmax_cross_entropy_forward, softmax_cross_entropy_backward),
    *(largest, count_correct, squared_residuals, gather),
)
_AFFINE = (multiply, affine_forward, affine_backward, affine_backward_input)


@cache
def program(dtype, shared=False):
    """`fused_epochs.train` over the steps of this file, compiled for a dtype; `shared`: large products with threads."""
    sources = (__file__, fused_epochs.__file__, fused_tiles.__file__, *fused_layers.SOURCES)
    label, names = f"{dtype}_rows", dict(fused_layers.parts(dtype, fused=True))
    names["product"] = fused_tiles.functions(dtype)
    names["product_shared"] = fused_tiles.functions(dtype, True) if shared else names["product"]
    for function in (*_OWN, *fused_layers.CHOICES):
        names[function.__name__] = compiled(function, names, label, sources, forceinline=True, cache=False, **FUSED)
    for function in _AFFINE:
        names[function.__name__] = compiled(
            function, names, f"{label}_shared" if shared else label, sources, cache=False, **IN_ANY_ORDER
        )
    for function in (stored, lent, value_and_grad, step):
        names[function.__name__] = compiled(function, names, label, sources, inline="always", cache=False)
    return compiled(train, names, f"{label}_shared" if shared else label, sources, **FUSED)
