"""The lines of one training step, compiled, in buffers that are used again.

Values of a layer stand neuron after neuron, the samples of a batch side by side: z, a and delta here are
``(n_out, m)``, m the rows of the batch or shard. So narrow layers vectorise over samples; where layers are wide,
`fused_panels.product` turns its tiles to whatever is long. Each formula and the order of each sum are those of
"reproducible arithmetic, version 1", of which ``neuron_loops.py`` is the plain reference.

Numbers as arguments are of the arrays' dtype. Activations, losses and update rules go by the codes below.
"""

from functools import cache

import numpy as np

from . import fused_panels, neuron_loops
from .elementary_numba import compiled
from .elementary_numba import functions as elementary
from .fused_panels import product, view
from .neuron_loops import LEAKY_SLOPE, exp, log, log1p, tanh

SIGMOID, TANH, RELU, LEAKY_RELU, SOFTMAX, LINEAR = range(6)
SQUARED_ERROR, SOFTMAX_CROSS_ENTROPY, SIGMOID_CROSS_ENTROPY, SIGMOID_BINARY_CROSS_ENTROPY = range(4)
SGD, MOMENTUM, NESTEROV, ADAM = range(4)
ACCURACY, RESIDUALS = range(2)

# From how many multiplications on a product is packed into panels, and shared out among threads.
PACKED_FROM = 2**11
SHARED_FROM = 2**20

# Elementary functions go over whole vectors: `e` and what else they fill has room for a multiple of this.
VECTOR = 16

product_shared = product


# Elementary functions of many numbers, each compiled and vectorised once. The 1-D array x is filled up to a whole vector.


def exp_all(x, n):
    """x <- exp(x), entry by entry"""
    for i in range(-(-n // VECTOR) * VECTOR):
        x[i] = exp(x[i])


def log_all(x, n):
    """x <- log(x)"""
    for i in range(-(-n // VECTOR) * VECTOR):
        x[i] = log(x[i])


def log1p_all(x, n):
    """x <- log1p(x)"""
    for i in range(-(-n // VECTOR) * VECTOR):
        x[i] = log1p(x[i])


def tanh_all(x, n):
    """x <- tanh(x)"""
    for i in range(-(-n // VECTOR) * VECTOR):
        x[i] = tanh(x[i])


# The affine map, forward and backward. W is flat[w:] of shape (n_in, n_out), b follows it.


def affine_forward(flat, w, n_in, n_out, a, z, panels, workers):
    """z[j, s] = b[j] + a[0, s] W[0, j] + a[1, s] W[1, j] + ...; a is (n_in, m), z 1-D."""
    m = a.shape[1]
    one = np.int64(1)
    W, b, z_js = view(flat, w, n_in, n_out), view(flat, w + n_in * n_out, 1, n_out), view(z, 0, n_out, m)
    if m == 1:
        z_j = view(z, 0, 1, n_out)
        for j in range(n_out):
            z_j[0, j] = b[0, j]
        for k in range(n_in):
            a_k = a[k, 0]
            for j in range(n_out):
                z_j[0, j] += a_k * W[k, j]
        return
    for j in range(n_out):
        for s in range(m):
            z_js[j, s] = b[0, j]
    work = n_in * n_out * m
    if work >= SHARED_FROM:
        product_shared(flat[w:], n_out, one, a.reshape(-1), m, one, z, m, one, n_in, n_out, m, panels, workers)
    elif work >= PACKED_FROM:
        product(flat[w:], n_out, one, a.reshape(-1), m, one, z, m, one, n_in, n_out, m, panels, one)
    else:
        for j in range(n_out):
            for k in range(n_in):
                W_kj = W[k, j]
                for s in range(m):
                    z_js[j, s] += a[k, s] * W_kj


def affine_backward(delta, a, w, n_in, n_out, grads, panels, workers):
    """dW[k, j] = a[k, 0] delta[j, 0] + a[k, 1] delta[j, 1] + ..., and db likewise, into grads[w:]; delta is 1-D."""
    m = a.shape[1]
    zero, one = grads.dtype.type(0), np.int64(1)
    dW, db, delta_js = view(grads, w, n_in, n_out), view(grads, w + n_in * n_out, 1, n_out), view(delta, 0, n_out, m)
    for j in range(n_out):
        total = zero
        for s in range(m):
            total += delta_js[j, s]
        db[0, j] = total
    work = n_in * n_out * m
    if work < PACKED_FROM or m == 1:
        for k in range(n_in):
            for j in range(n_out):
                total = zero
                for s in range(m):
                    total += a[k, s] * delta_js[j, s]
                dW[k, j] = total
        return
    for k in range(n_in):
        for j in range(n_out):
            dW[k, j] = zero
    if work >= SHARED_FROM:
        product_shared(a.reshape(-1), one, m, delta, one, m, grads[w:], n_out, one, m, n_in, n_out, panels, workers)
    else:
        product(a.reshape(-1), one, m, delta, one, m, grads[w:], n_out, one, m, n_in, n_out, panels, one)


def affine_backward_input(delta, flat, w, n_in, n_out, m, da, panels, workers):
    """da[k, s] = delta[0, s] W[k, 0] + delta[1, s] W[k, 1] + ...; delta and da are 1-D."""
    zero, one = da.dtype.type(0), np.int64(1)
    W, da_ks, delta_js = view(flat, w, n_in, n_out), view(da, 0, n_in, m), view(delta, 0, n_out, m)
    work = n_in * n_out * m
    for k in range(n_in):
        for s in range(m):
            da_ks[k, s] = zero
    if work >= SHARED_FROM:
        product_shared(flat[w:], one, n_out, delta, m, one, da, m, one, n_out, n_in, m, panels, workers)
    elif work >= PACKED_FROM:
        product(flat[w:], one, n_out, delta, m, one, da, m, one, n_out, n_in, m, panels, one)
    else:
        for k in range(n_in):
            for j in range(n_out):
                W_kj = W[k, j]
                for s in range(m):
                    da_ks[k, s] += delta_js[j, s] * W_kj


# Activations: a from z, and beneath it delta from a and da. All n_out * m long, 1-D.


def activation_forward(activation, n_out, m, z, a, e, top, total):
    """a from z. Sigmoid leaves e = exp(-|z|), softmax the largest z of each sample in `top`, S in `total`."""
    real = z.dtype.type
    zero, one, slope = real(0), real(1), real(LEAKY_SLOPE)
    size = n_out * m
    if activation == SIGMOID:
        for i in range(size):
            e[i] = -abs(z[i])
        exp_all(e, size)
        for i in range(size):
            z_i, e_i = z[i], e[i]
            a[i] = (one if z_i >= zero else e_i) / (one + e_i)
    elif activation == TANH:
        for i in range(size):
            e[i] = z[i]
        tanh_all(e, size)
        for i in range(size):
            a[i] = e[i]
    elif activation == RELU:
        for i in range(size):
            z_i = z[i]
            a[i] = zero if z_i <= zero else z_i
    elif activation == LEAKY_RELU:
        for i in range(size):
            z_i = z[i]
            below = slope * z_i
            a[i] = z_i if z_i > zero else below
    elif activation == SOFTMAX:
        softmax_forward(n_out, m, z, a, e, top, total)
    else:
        for i in range(size):
            a[i] = z[i]


def softmax_forward(n_out, m, z, a, e, top, total):
    """a[j, s] = e[j, s] / S[s] with e = exp(z - max over j of z), S = e[0, s] + e[1, s] + ..."""
    zero = z.dtype.type(0)
    z_js, a_js, e_js = view(z, 0, n_out, m), view(a, 0, n_out, m), view(e, 0, n_out, m)
    for s in range(m):
        top[s] = z_js[0, s]
        total[s] = zero
    for j in range(1, n_out):
        for s in range(m):
            z_i, top_i = z_js[j, s], top[s]
            top[s] = z_i if z_i > top_i else top_i
    for j in range(n_out):
        for s in range(m):
            e_js[j, s] = z_js[j, s] - top[s]
    exp_all(e, n_out * m)
    for j in range(n_out):
        for s in range(m):
            total[s] += e_js[j, s]
    for j in range(n_out):
        for s in range(m):
            a_js[j, s] = e_js[j, s] / total[s]


def activation_backward(activation, n_out, m, a, delta, total):
    """delta, which holds da before. For relu and leaky_relu, a > 0 just where z > 0."""
    real = a.dtype.type
    zero, one, slope = real(0), real(1), real(LEAKY_SLOPE)
    size = n_out * m
    if activation == SIGMOID:
        for i in range(size):
            delta[i] = delta[i] * (a[i] * (one - a[i]))
    elif activation == TANH:
        for i in range(size):
            delta[i] = delta[i] * (one - a[i] * a[i])
    elif activation == RELU:
        for i in range(size):
            a_i, da_i = a[i], delta[i]
            delta[i] = zero if a_i <= zero else da_i
    elif activation == LEAKY_RELU:
        for i in range(size):
            a_i, da_i = a[i], delta[i]
            below = slope * da_i
            delta[i] = da_i if a_i > zero else below
    elif activation == SOFTMAX:
        softmax_backward(n_out, m, a, delta, total)


def softmax_backward(n_out, m, a, delta, total):
    """delta[j, s] = a[j, s] (da[j, s] - t[s]) with t = da[0, s] a[0, s] + da[1, s] a[1, s] + ..."""
    zero = a.dtype.type(0)
    a_js, delta_js = view(a, 0, n_out, m), view(delta, 0, n_out, m)
    for s in range(m):
        total[s] = zero
    for j in range(n_out):
        for s in range(m):
            total[s] += delta_js[j, s] * a_js[j, s]
    for j in range(n_out):
        for s in range(m):
            delta_js[j, s] = a_js[j, s] * (delta_js[j, s] - total[s])


# Losses, after the last layer's activation_forward: the sum of the terms, s outer, j inner, and beneath it delta. z, a,
# y and e are 1-D, neuron after neuron; `room` is for n_out * m numbers in between.


def loss_forward(loss, n_out, m, z, a, y, n, e, top, total, room):
    """The loss: the sum of its terms, over n."""
    zero = z.dtype.type(0)
    size, found = n_out * m, zero
    z_js, a_js, y_js, room_js = view(z, 0, n_out, m), view(a, 0, n_out, m), view(y, 0, n_out, m), view(room, 0, n_out, m)
    if loss == SQUARED_ERROR:
        for s in range(m):
            for j in range(n_out):
                found += (a_js[j, s] - y_js[j, s]) * (a_js[j, s] - y_js[j, s])
    elif loss == SOFTMAX_CROSS_ENTROPY:
        log_all(total, m)
        for s in range(m):
            for j in range(n_out):
                found += y_js[j, s] * (total[s] - (z_js[j, s] - top[s]))
    else:
        for i in range(size):
            room[i] = e[i]
        log1p_all(room, size)
        if loss == SIGMOID_CROSS_ENTROPY:
            for s in range(m):
                for j in range(n_out):
                    below = -z_js[j, s] if z_js[j, s] < zero else zero
                    found += y_js[j, s] * (below + room_js[j, s])
        else:
            for s in range(m):
                for j in range(n_out):
                    above = z_js[j, s] if z_js[j, s] > zero else zero
                    found += (above - z_js[j, s] * y_js[j, s]) + room_js[j, s]
    return found / n


def loss_backward(loss, activation, n_out, m, z, a, y, n, e, total, delta):
    """delta of the last layer."""
    real = z.dtype.type
    zero, one, two = real(0), real(1), real(2)
    size = n_out * m
    if loss == SQUARED_ERROR:
        for i in range(size):
            delta[i] = (two * (a[i] - y[i])) / n
        activation_backward(activation, n_out, m, a, delta, total)
    elif loss == SOFTMAX_CROSS_ENTROPY:
        a_js, y_js, delta_js = view(a, 0, n_out, m), view(y, 0, n_out, m), view(delta, 0, n_out, m)
        for s in range(m):
            total[s] = zero
        for j in range(n_out):
            for s in range(m):
                total[s] += y_js[j, s]
        for j in range(n_out):
            for s in range(m):
                delta_js[j, s] = (a_js[j, s] * total[s] - y_js[j, s]) / n
    elif loss == SIGMOID_CROSS_ENTROPY:
        for i in range(size):
            z_i, e_i = z[i], e[i]
            delta[i] = -(y[i] * ((one if -z_i >= zero else e_i) / (one + e_i))) / n
    else:
        for i in range(size):
            delta[i] = (a[i] - y[i]) / n


# Updates, in place; `grads` is used up. Numbers are of the arrays' dtype, but for Adam's powers.


def add_decay(weight_decay, flat, grads, start, size):
    """dW <- dW + lambda W for one layer's weights."""
    for i in range(start, start + size):
        grads[i] += weight_decay * flat[i]


def update(rule, flat, grads, first, second, powers, rate, numbers):
    """One step of the optimizer; `numbers` are momentum, beta1, beta2, epsilon in float64."""
    real = flat.dtype.type
    size = flat.size
    if rule == SGD:
        for i in range(size):
            flat[i] -= rate * grads[i]
    elif rule == ADAM:
        powers[0] *= numbers[1]
        powers[1] *= numbers[2]
        c1, c2 = real(1.0 - powers[0]), real(1.0 - powers[1])
        beta1, rest1 = real(numbers[1]), real(1.0 - numbers[1])
        beta2, rest2, epsilon = real(numbers[2]), real(1.0 - numbers[2]), real(numbers[3])
        for i in range(size):
            first[i] = beta1 * first[i] + rest1 * grads[i]
            second[i] = beta2 * second[i] + rest2 * (grads[i] * grads[i])
            flat[i] -= (rate * (first[i] / c1)) / (np.sqrt(second[i] / c2) + epsilon)
    else:
        momentum = real(numbers[0])
        for i in range(size):
            first[i] = momentum * first[i] + grads[i]
        if rule == NESTEROV:
            for i in range(size):
                flat[i] -= rate * (grads[i] + momentum * first[i])
        else:
            for i in range(size):
                flat[i] -= rate * first[i]


# What the history needs besides the loss. a and y are 1-D, neuron after neuron; sums are float64.


def measure(metric, n_out, m, a, y, sums):
    """Adds the correct samples to sums[0], or the squared residuals of each output to its entry, s in order."""
    a_js, y_js = view(a, 0, n_out, m), view(y, 0, n_out, m)
    if metric == ACCURACY:
        for s in range(m):
            if n_out == 1:
                correct = (a_js[0, s] > a.dtype.type(0.5)) == (y_js[0, s] > a.dtype.type(0.5))
            else:
                correct = largest(a_js, s) == largest(y_js, s)
            sums[0] += 1.0 if correct else 0.0
    else:
        for j in range(n_out):
            for s in range(m):
                residual = np.float64(a_js[j, s]) - np.float64(y_js[j, s])
                sums[j] += residual * residual


def largest(a, s):
    """The first j with the largest a[j, s]; NaN is larger than any number."""
    best, here = a[0, s], 0
    for j in range(1, a.shape[0]):
        if best == best and not a[j, s] <= best:
            best, here = a[j, s], j
    return here


def all_finite(x):
    """Whether no entry is infinite or NaN."""
    bad = 0
    for i in range(x.size):
        bad += 0 if abs(x[i]) < np.inf else 1
    return bad == 0


# Compiled apart and linked once, or copied into their only caller: compiling takes longer with every level of calls.
_ALL = (exp_all, log_all, log1p_all, tanh_all)
OVER_SAMPLES = (
    *(softmax_forward, activation_forward, softmax_backward, activation_backward, loss_forward, loss_backward),
    *(largest, measure),
)
_APART = (*_ALL, *OVER_SAMPLES, add_decay, update, all_finite)
_COPIED = (affine_forward, affine_backward, affine_backward_input)

SOURCES = (__file__, fused_panels.__file__, neuron_loops.__file__)


@cache
def functions(dtype, shared=False):
    """The functions of this file by name, compiled for a dtype; `shared`: large products with threads."""
    names = elementary(dtype)._asdict() | {"product": fused_panels.functions(dtype)}
    names["product_shared"] = fused_panels.functions(dtype, True) if shared else names["product"]
    for function in _APART:
        names[function.__name__] = compiled(function, names, dtype, SOURCES)
    for function in _COPIED:
        names[function.__name__] = compiled(function, names, dtype, SOURCES, inline="always", cache=False)
    return names
