"""The lines of one training step, compiled, in buffers that are used again.

Values of a layer stand neuron after neuron, the samples of a batch side by side: z, a and delta here are
``(n_out, m)``, m the rows of the batch or shard. So narrow layers vectorise over samples; where layers are wide,
`fused_panels.product` turns its tiles to whatever is long. Each formula and the order of each sum are those of
"reproducible arithmetic, version 1", of which ``neuron_loops.py`` is the plain reference.

Arrays are 1-D, C-contiguous, of one dtype; so are numbers, if nothing else is said. Loops read what they choose from
before they choose, which is what lets the compiler choose without branching.
"""

from functools import cache

import numpy as np

from . import elementary_vectors, fused_panels, fused_sums
from .elementary_numba import FUSED, IN_ANY_ORDER, compiled, label_of
from .fused_panels import part, product, view
from .fused_sums import row_products
from backprop_ref.formulas import LEAKY_SLOPE

# From how many multiplications on a product is more than plain loops, and from how many on it is shared out among
# threads; from how many weights on z and da are, and dW is, packed into panels.
PACKED_FROM = 2**12
SHARED_FROM = 2**20
PANELS_FROM = 2**7
DW_PANELS_FROM = 2**11
NEVER = 2**62

# `functions` gives this code the product that has threads.
product_shared = product


# `parts` gives this code the functions of all n numbers of an array, exp_all(x, n) for x <- exp(x).
exp_all = log_all = log1p_all = tanh_all = None


# The affine map, forward and backward. W and b stand in `flat` from w on, dW and db likewise in `grads`.


def affine_forward(flat, w, n_in, n_out, m, a, z, panels, workers):
    """z[j, s] = b[j] + a[0, s] W[0, j] + a[1, s] W[1, j] + ..."""
    W, b = view(flat, w, n_in, n_out), part(flat, w + n_in * n_out, n_out)
    z_js, a_ks, one = view(z, 0, n_out, m), view(a, 0, n_in, m), np.int64(1)
    if m == 1:
        for j in range(n_out):
            z[j] = b[j]
        for k in range(n_in):
            a_k = a[k]
            for j in range(n_out):
                z[j] += a_k * W[k, j]
        return
    for j in range(n_out):
        for s in range(m):
            z_js[j, s] = b[j]
    work = n_in * n_out * m
    if work >= PACKED_FROM and n_in * n_out >= PANELS_FROM:
        W_flat = part(flat, w, n_in * n_out)
        if work >= SHARED_FROM:
            product_shared(W_flat, n_out, one, a, m, one, z, m, one, n_in, n_out, m, panels, workers)
        else:
            product(W_flat, n_out, one, a, m, one, z, m, one, n_in, n_out, m, panels, one)
        return
    for j in range(n_out):
        for k in range(n_in):
            W_kj = W[k, j]
            for s in range(m):
                z_js[j, s] += a_ks[k, s] * W_kj


def affine_backward_one(delta, a, n_in, n_out, dW, db):
    """dW[k, j] = a[k] delta[j], and db likewise, of one sample; -0 is +0, as in every sum."""
    zero = dW.dtype.type(0)
    for j in range(n_out):
        db[j] = zero + delta[j]
    for k in range(n_in):
        a_k = a[k]
        for j in range(n_out):
            dW[k * n_out + j] = zero + a_k * delta[j]


def affine_backward(delta, a, w, n_in, n_out, m, grads, panels, workers):
    """dW[k, j] = a[k, 0] delta[j, 0] + a[k, 1] delta[j, 1] + ..., and db likewise."""
    dW, db = part(grads, w, n_in * n_out), part(grads, w + n_in * n_out, n_out)
    delta_js, a_ks, one, zero = view(delta, 0, n_out, m), view(a, 0, n_in, m), np.int64(1), grads.dtype.type(0)
    work = n_in * n_out * m
    if m == 1:
        affine_backward_one(delta, a, n_in, n_out, dW, db)
        return
    if work >= PACKED_FROM and n_in * n_out < DW_PANELS_FROM:
        row_products(a, delta, n_in, n_out, m, dW, db, panels)
        return
    for j in range(n_out):
        total = zero
        for s in range(m):
            total += delta_js[j, s]
        db[j] = total
    if work >= PACKED_FROM:
        for i in range(n_in * n_out):
            dW[i] = zero
        if work >= SHARED_FROM:
            product_shared(a, one, m, delta, one, m, dW, n_out, one, m, n_in, n_out, panels, workers)
        else:
            product(a, one, m, delta, one, m, dW, n_out, one, m, n_in, n_out, panels, one)
        return
    dW_kj = view(dW, 0, n_in, n_out)
    for k in range(n_in):
        for j in range(n_out):
            total = zero
            for s in range(m):
                total += a_ks[k, s] * delta_js[j, s]
            dW_kj[k, j] = total


def affine_backward_input(delta, flat, w, n_in, n_out, m, da, panels, workers):
    """da[k, s] = delta[0, s] W[k, 0] + delta[1, s] W[k, 1] + ..."""
    W, delta_js, da_ks = view(flat, w, n_in, n_out), view(delta, 0, n_out, m), view(da, 0, n_in, m)
    one, zero, work = np.int64(1), da.dtype.type(0), n_in * n_out * m
    if m == 1 and work < PACKED_FROM:
        for k in range(n_in):
            total = zero
            for j in range(n_out):
                total += delta[j] * W[k, j]
            da[k] = total
        return
    for i in range(n_in * m):
        da[i] = zero
    if work >= PACKED_FROM and n_in * n_out >= PANELS_FROM:
        W_flat = part(flat, w, n_in * n_out)
        if work >= SHARED_FROM:
            product_shared(W_flat, one, n_out, delta, m, one, da, m, one, n_out, n_in, m, panels, workers)
        else:
            product(W_flat, one, n_out, delta, m, one, da, m, one, n_out, n_in, m, panels, one)
        return
    for k in range(n_in):
        for j in range(n_out):
            W_kj = W[k, j]
            for s in range(m):
                da_ks[k, s] += delta_js[j, s] * W_kj


# Activations: a from z, and beneath it delta from a and da, which stands in delta before. `e`, `top` and `total` are
# for numbers in between, n_out * m, m and m of them.


def sigmoid_forward(n_out, m, z, a, e, top, total):
    """a = sigmoid(z); leaves exp(-|z|) in e."""
    zero, one = z.dtype.type(0), z.dtype.type(1)
    for i in range(n_out * m):
        e[i] = -abs(z[i])
    exp_all(e, n_out * m)
    for i in range(n_out * m):
        z_i, e_i = z[i], e[i]
        a[i] = (one if z_i >= zero else e_i) / (one + e_i)


def sigmoid_backward(n_out, m, a, delta, total):
    """delta = da (a (1 - a))"""
    one = a.dtype.type(1)
    for i in range(n_out * m):
        delta[i] = delta[i] * (a[i] * (one - a[i]))


def tanh_forward(n_out, m, z, a, e, top, total):
    """a = tanh(z)"""
    for i in range(n_out * m):
        e[i] = z[i]
    tanh_all(e, n_out * m)
    for i in range(n_out * m):
        a[i] = e[i]


def tanh_backward(n_out, m, a, delta, total):
    """delta = da (1 - a^2)"""
    one = a.dtype.type(1)
    for i in range(n_out * m):
        delta[i] = delta[i] * (one - a[i] * a[i])


def relu_forward(n_out, m, z, a, e, top, total):
    """a = z where z > 0, else +0; NaN stays NaN."""
    zero = z.dtype.type(0)
    for i in range(n_out * m):
        z_i = z[i]
        a[i] = zero if z_i <= zero else z_i


def relu_backward(n_out, m, a, delta, total):
    """delta = da where z > 0, which is where a > 0, else +0"""
    zero = a.dtype.type(0)
    for i in range(n_out * m):
        a_i, da_i = a[i], delta[i]
        delta[i] = zero if a_i <= zero else da_i


def leaky_relu_forward(n_out, m, z, a, e, top, total):
    """a = z where z > 0, else slope z"""
    zero, slope = z.dtype.type(0), z.dtype.type(LEAKY_SLOPE)
    for i in range(n_out * m):
        z_i = z[i]
        below = slope * z_i
        a[i] = z_i if z_i > zero else below


def leaky_relu_backward(n_out, m, a, delta, total):
    """delta = da where z > 0, which is where a > 0, else slope da"""
    zero, slope = a.dtype.type(0), a.dtype.type(LEAKY_SLOPE)
    for i in range(n_out * m):
        a_i, da_i = a[i], delta[i]
        below = slope * da_i
        delta[i] = da_i if a_i > zero else below


def softmax_forward(n_out, m, z, a, e, top, total):
    """a[j, s] = e[j, s] / S[s]; leaves the largest z of each sample in top, S = e[0, s] + e[1, s] + ... in total."""
    zero = z.dtype.type(0)
    z_js, a_js, e_js = view(z, 0, n_out, m), view(a, 0, n_out, m), view(e, 0, n_out, m)
    for s in range(m):
        top[s] = z_js[0, s]
        total[s] = zero
    for j in range(1, n_out):
        for s in range(m):
            z_s, top_s = z_js[j, s], top[s]
            top[s] = z_s if z_s > top_s else top_s
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


def linear_forward(n_out, m, z, a, e, top, total):
    """a = z"""
    for i in range(n_out * m):
        a[i] = z[i]


def linear_backward(n_out, m, a, delta, total):
    """delta = da"""


ACTIVATIONS = (
    (sigmoid_forward, sigmoid_backward),
    (tanh_forward, tanh_backward),
    (relu_forward, relu_backward),
    (leaky_relu_forward, leaky_relu_backward),
    (softmax_forward, softmax_backward),
    (linear_forward, linear_backward),
)
SIGMOID, TANH, RELU, LEAKY_RELU, SOFTMAX, LINEAR = range(6)


def activation_forward(activation, n_out, m, z, a, e, top, total):
    """The forward half of the activation with that code."""
    if activation == SIGMOID:
        sigmoid_forward(n_out, m, z, a, e, top, total)
    elif activation == TANH:
        tanh_forward(n_out, m, z, a, e, top, total)
    elif activation == RELU:
        relu_forward(n_out, m, z, a, e, top, total)
    elif activation == LEAKY_RELU:
        leaky_relu_forward(n_out, m, z, a, e, top, total)
    elif activation == SOFTMAX:
        softmax_forward(n_out, m, z, a, e, top, total)
    else:
        linear_forward(n_out, m, z, a, e, top, total)


def activation_backward(activation, n_out, m, a, delta, total):
    """The backward half of the activation with that code."""
    if activation == SIGMOID:
        sigmoid_backward(n_out, m, a, delta, total)
    elif activation == TANH:
        tanh_backward(n_out, m, a, delta, total)
    elif activation == RELU:
        relu_backward(n_out, m, a, delta, total)
    elif activation == LEAKY_RELU:
        leaky_relu_backward(n_out, m, a, delta, total)
    elif activation == SOFTMAX:
        softmax_backward(n_out, m, a, delta, total)


# Losses: the sum of the terms, s outer, j inner, and beneath it delta, or for the squared error da. They follow the
# last layer's forward, and use what it left in `e`, `top` and `total`; `room` is for n_out * m numbers in between.


def squared_error_forward(n_out, m, z, a, y, e, top, total, room):
    """The sum of (a - y)^2"""
    a_js, y_js, found = view(a, 0, n_out, m), view(y, 0, n_out, m), z.dtype.type(0)
    for s in range(m):
        for j in range(n_out):
            found += (a_js[j, s] - y_js[j, s]) * (a_js[j, s] - y_js[j, s])
    return found


def squared_error_backward(n_out, m, z, a, y, n, e, total, delta):
    """da = 2 (a - y) / n; the activation's own backward follows."""
    two = z.dtype.type(2)
    for i in range(n_out * m):
        delta[i] = (two * (a[i] - y[i])) / n


def softmax_cross_entropy_forward(n_out, m, z, a, y, e, top, total, room):
    """The sum of y (log S - (z - max)); puts log S in the place of S."""
    z_js, y_js, found = view(z, 0, n_out, m), view(y, 0, n_out, m), z.dtype.type(0)
    log_all(total, m)
    for s in range(m):
        for j in range(n_out):
            found += y_js[j, s] * (total[s] - (z_js[j, s] - top[s]))
    return found


def softmax_cross_entropy_backward(n_out, m, z, a, y, n, e, total, delta):
    """delta = (a Y - y) / n with Y = y[0, s] + y[1, s] + ..., 1 for probabilities"""
    a_js, y_js, delta_js = view(a, 0, n_out, m), view(y, 0, n_out, m), view(delta, 0, n_out, m)
    zero = z.dtype.type(0)
    for s in range(m):
        total[s] = zero
    for j in range(n_out):
        for s in range(m):
            total[s] += y_js[j, s]
    for j in range(n_out):
        for s in range(m):
            delta_js[j, s] = (a_js[j, s] * total[s] - y_js[j, s]) / n


def sigmoid_cross_entropy_forward(n_out, m, z, a, y, e, top, total, room):
    """The sum of y (max(-z, 0) + log(1 + e))"""
    z_js, y_js, l_js, zero = view(z, 0, n_out, m), view(y, 0, n_out, m), view(room, 0, n_out, m), z.dtype.type(0)
    found = zero
    for i in range(n_out * m):
        room[i] = e[i]
    log1p_all(room, n_out * m)
    for s in range(m):
        for j in range(n_out):
            below = -z_js[j, s] if z_js[j, s] < zero else zero
            found += y_js[j, s] * (below + l_js[j, s])
    return found


def sigmoid_cross_entropy_backward(n_out, m, z, a, y, n, e, total, delta):
    """delta = -y sigmoid(-z) / n"""
    zero, one = z.dtype.type(0), z.dtype.type(1)
    for i in range(n_out * m):
        z_i, e_i = z[i], e[i]
        delta[i] = -(y[i] * ((one if -z_i >= zero else e_i) / (one + e_i))) / n


def sigmoid_binary_cross_entropy_forward(n_out, m, z, a, y, e, top, total, room):
    """The sum of (max(z, 0) - z y) + log(1 + e)"""
    z_js, y_js, l_js, zero = view(z, 0, n_out, m), view(y, 0, n_out, m), view(room, 0, n_out, m), z.dtype.type(0)
    found = zero
    for i in range(n_out * m):
        room[i] = e[i]
    log1p_all(room, n_out * m)
    for s in range(m):
        for j in range(n_out):
            above = z_js[j, s] if z_js[j, s] > zero else zero
            found += (above - z_js[j, s] * y_js[j, s]) + l_js[j, s]
    return found


def sigmoid_binary_cross_entropy_backward(n_out, m, z, a, y, n, e, total, delta):
    """delta = (a - y) / n"""
    for i in range(n_out * m):
        delta[i] = (a[i] - y[i]) / n


LOSSES = (
    (squared_error_forward, squared_error_backward),
    (softmax_cross_entropy_forward, softmax_cross_entropy_backward),
    (sigmoid_cross_entropy_forward, sigmoid_cross_entropy_backward),
    (sigmoid_binary_cross_entropy_forward, sigmoid_binary_cross_entropy_backward),
)
SQUARED_ERROR, SOFTMAX_CROSS_ENTROPY, SIGMOID_CROSS_ENTROPY, SIGMOID_BINARY_CROSS_ENTROPY = range(4)


def loss_forward(loss, n_out, m, z, a, y, e, top, total, room):
    """The sum of the terms of the loss with that code."""
    if loss == SQUARED_ERROR:
        return squared_error_forward(n_out, m, z, a, y, e, top, total, room)
    if loss == SOFTMAX_CROSS_ENTROPY:
        return softmax_cross_entropy_forward(n_out, m, z, a, y, e, top, total, room)
    if loss == SIGMOID_CROSS_ENTROPY:
        return sigmoid_cross_entropy_forward(n_out, m, z, a, y, e, top, total, room)
    return sigmoid_binary_cross_entropy_forward(n_out, m, z, a, y, e, top, total, room)


def loss_backward(loss, n_out, m, z, a, y, n, e, total, delta):
    """delta, or for the squared error da, of the loss with that code."""
    if loss == SQUARED_ERROR:
        squared_error_backward(n_out, m, z, a, y, n, e, total, delta)
    elif loss == SOFTMAX_CROSS_ENTROPY:
        softmax_cross_entropy_backward(n_out, m, z, a, y, n, e, total, delta)
    elif loss == SIGMOID_CROSS_ENTROPY:
        sigmoid_cross_entropy_backward(n_out, m, z, a, y, n, e, total, delta)
    else:
        sigmoid_binary_cross_entropy_backward(n_out, m, z, a, y, n, e, total, delta)


# Updates, in place. `numbers`, float64: momentum, beta1, beta2, epsilon, weight decay, each rounded once here.


def add_decay(weight_decay, flat, grads, start, size):
    """dW <- dW + lambda W for one layer's weights."""
    for i in range(start, start + size):
        grads[i] += weight_decay * flat[i]


def sgd(flat, grads, first, second, powers, rate, numbers):
    """W <- W - eta g"""
    for i in range(flat.size):
        flat[i] -= rate * grads[i]


def momentum(flat, grads, first, second, powers, rate, numbers):
    """v <- mu v + g; W <- W - eta v"""
    mu = flat.dtype.type(numbers[0])
    for i in range(flat.size):
        v = mu * first[i] + grads[i]
        first[i] = v
        flat[i] -= rate * v


def nesterov(flat, grads, first, second, powers, rate, numbers):
    """v <- mu v + g; W <- W - eta (g + mu v)"""
    mu = flat.dtype.type(numbers[0])
    for i in range(flat.size):
        g = grads[i]
        v = mu * first[i] + g
        first[i] = v
        flat[i] -= rate * (g + mu * v)


def adam(flat, grads, first, second, powers, rate, numbers):
    """m <- beta1 m + (1 - beta1) g; v <- beta2 v + (1 - beta2) g^2; W <- W - (eta (m/c1)) / (sqrt(v/c2) + epsilon)"""
    real = flat.dtype.type
    powers[0] *= numbers[1]
    powers[1] *= numbers[2]
    c1, c2, epsilon = real(1.0 - powers[0]), real(1.0 - powers[1]), real(numbers[3])
    beta1, rest1, beta2, rest2 = real(numbers[1]), real(1.0 - numbers[1]), real(numbers[2]), real(1.0 - numbers[2])
    for i in range(flat.size):
        g = grads[i]
        m = beta1 * first[i] + rest1 * g
        v = beta2 * second[i] + rest2 * (g * g)
        first[i] = m
        second[i] = v
        flat[i] -= (rate * (m / c1)) / (np.sqrt(v / c2) + epsilon)


RULES = (sgd, momentum, nesterov, adam)
SGD, MOMENTUM, NESTEROV, ADAM = range(4)


def update(rule, flat, grads, first, second, powers, rate, numbers):
    """One step of the rule with that code."""
    if rule == SGD:
        sgd(flat, grads, first, second, powers, rate, numbers)
    elif rule == MOMENTUM:
        momentum(flat, grads, first, second, powers, rate, numbers)
    elif rule == NESTEROV:
        nesterov(flat, grads, first, second, powers, rate, numbers)
    else:
        adam(flat, grads, first, second, powers, rate, numbers)


# What the history needs besides the loss, added to `sums`, float64.


def count_correct(n_out, m, a, y, sums):
    """sums[0] += number of samples whose outputs are of the class that y says"""
    a_js, y_js, half, correct = view(a, 0, n_out, m), view(y, 0, n_out, m), a.dtype.type(0.5), 0
    for s in range(m):
        a_class = largest(a_js, s) if n_out > 1 else np.int64(a_js[0, s] > half)
        y_class = largest(y_js, s) if n_out > 1 else np.int64(y_js[0, s] > half)
        correct += 1 if a_class == y_class else 0
    sums[0] += correct


def largest(a, s):
    """The first j with the largest a[j, s]; NaN is larger than any number."""
    best, here = a[0, s], 0
    for j in range(1, a.shape[0]):
        if not (a[j, s] <= best or np.isnan(best)):
            best, here = a[j, s], j
    return here


def squared_residuals(n_out, m, a, y, sums):
    """sums[j] += (a[j, 0] - y[j, 0])^2, then (a[j, 1] - y[j, 1])^2, ..."""
    a_js, y_js = view(a, 0, n_out, m), view(y, 0, n_out, m)
    for j in range(n_out):
        total = sums[j]
        for s in range(m):
            residual = np.float64(a_js[j, s]) - np.float64(y_js[j, s])
            total += residual * residual
        sums[j] = total


METRICS = (count_correct, squared_residuals)
ACCURACY, RESIDUALS = range(2)


def measure(metric, n_out, m, a, y, sums):
    """What the metric with that code counts."""
    if metric == ACCURACY:
        count_correct(n_out, m, a, y, sums)
    else:
        squared_residuals(n_out, m, a, y, sums)


def gather(orders, row, start, source, n, m, a):
    """a[k, s] = source[orders[row, start + s], k], a 1-D"""
    a_ks = view(a, 0, n, m)
    for s in range(m):
        sample = orders[row, start + s]
        for k in range(n):
            a_ks[k, s] = source[sample, k]


def all_finite(x):
    """Whether no entry is infinite or NaN."""
    bad = 0
    for i in range(x.size):
        bad += 0 if abs(x[i]) < np.inf else 1
    return bad == 0


# A call that hands on eight arrays takes as long as a layer of four neurons: only elementary functions and large
# products are called, all else is compiled into its caller.
PARTS = (
    *(function for pair in (*ACTIVATIONS, *LOSSES) for function in pair),
    *(*RULES, add_decay, largest, *METRICS, gather, all_finite),
)
CHOICES = (activation_forward, activation_backward, loss_forward, loss_backward, update, measure)
_AFFINE = (affine_forward, affine_backward_one, affine_backward, affine_backward_input)

SOURCES = (__file__, *elementary_vectors.SOURCES, fused_sums.__file__)


@cache
def parts(dtype, fused=False):
    """The functions that any program is made of, by name, compiled for a dtype; `fused`: for fast numerics."""
    names, label = dict(elementary_vectors.functions(dtype, fused)), label_of(dtype, fused)
    options = FUSED if fused else {}
    for function in PARTS:
        names[function.__name__] = compiled(function, names, label, SOURCES, forceinline=True, **options)
    return names


@cache
def functions(dtype, shared=False, fused=False):
    """All functions of this file by name, compiled for a dtype.

    Parameters
    ----------
    dtype : "float64" or "float32"
    shared : bool
        Large products are divided among threads.
    fused : bool
        For fast numerics and narrow layers: fused multiply-add, sums in any order, no packed products.
    """
    names, label, options = dict(parts(dtype, fused)), label_of(dtype, fused), FUSED if fused else {}
    names["product"], names["row_products"] = fused_panels.functions(dtype), fused_sums.functions(dtype)
    names["product_shared"] = fused_panels.functions(dtype, True) if shared else names["product"]
    names |= {"PACKED_FROM": NEVER} if fused else {}
    for function in CHOICES:
        names[function.__name__] = compiled(function, names, label, SOURCES, forceinline=True, **options)
    in_order = {"inline": "always"}  # such code is part of its caller, and rounds like it
    for function in _AFFINE:
        how = {"forceinline": True, **IN_ANY_ORDER} if fused else in_order
        names[function.__name__] = compiled(function, names, label, SOURCES, cache=False, **how)
    return names
