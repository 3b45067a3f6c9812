"""Forward and backward, neuron by neuron, to be stepped through: the formulas as loops over s, j and k.

    s  sample   0 .. batch - 1
    j  neuron   0 .. n_out - 1
    k  input    0 .. n_in - 1

The order of every sum and the association of every formula are those of "reproducible arithmetic, version 1".
Numba compiles these very functions, for one dtype at a time; then `exp`, `log`, `log1p`, `tanh` are the
compiled ones of that dtype, and `prange` may share its turns out among threads. It only ever counts things
that are computed apart from each other, so no sum depends on the number of threads.

All arrays that a function takes have one dtype, float64 or float32, and every number in it is of that dtype:
``real = z.dtype.type`` makes constants so, and n is passed as such. The last argument or arguments are arrays
for the results. Nothing else is written to, and nothing need be in them before.
"""

from .elementary import for_scalars

LEAKY_SLOPE = 0.01

prange = range


def exp(x):
    return type(x)(for_scalars(x.dtype.name).exp(x))


def log(x):
    return type(x)(for_scalars(x.dtype.name).log(x))


def log1p(x):
    return type(x)(for_scalars(x.dtype.name).log1p(x))


def tanh(x):
    return type(x)(for_scalars(x.dtype.name).tanh(x))


# The affine map. a (batch, n_in), W (n_in, n_out), b (n_out,), z and delta (batch, n_out).


def affine_forward(a, W, b, z):
    """z[s, j] = b[j] + a[s, 0] W[0, j] + a[s, 1] W[1, j] + ...

    NumPy: ``z = a @ W + b``
    """
    batch, n_out = z.shape
    n_in = a.shape[1]
    for s in prange(batch):
        for j in range(n_out):
            z[s, j] = b[j]
        for k in range(n_in):
            for j in range(n_out):
                z[s, j] += a[s, k] * W[k, j]


def affine_backward(delta, a, dW, db):
    """dW[k, j] = a[0, k] delta[0, j] + a[1, k] delta[1, j] + ..., and db[j] = delta[0, j] + delta[1, j] + ...

    NumPy: ``dW, db = a.T @ delta, delta.sum(axis=0)``
    """
    batch, n_out = delta.shape
    n_in = a.shape[1]
    zero = delta.dtype.type(0)
    for k in prange(n_in):
        for j in range(n_out):
            dW[k, j] = zero
        for s in range(batch):
            for j in range(n_out):
                dW[k, j] += a[s, k] * delta[s, j]
    for j in range(n_out):
        db[j] = zero
    for s in range(batch):
        for j in range(n_out):
            db[j] += delta[s, j]


def affine_backward_input(delta, W, da):
    """da[s, k] = delta[s, 0] W[k, 0] + delta[s, 1] W[k, 1] + ...

    NumPy: ``da = delta @ W.T``
    """
    batch, n_out = delta.shape
    n_in = W.shape[0]
    zero = delta.dtype.type(0)
    for s in prange(batch):
        for k in range(n_in):
            da[s, k] = zero
        for j in range(n_out):
            for k in range(n_in):
                da[s, k] += delta[s, j] * W[k, j]


# Activations: a from z, and beneath it delta from z, a and da. All (batch, n_out).


def logistic(z, zero, one):
    """1/(1 + exp(-z)) of one number, without overflow."""
    e = exp(-abs(z))
    return one / (one + e) if z >= zero else e / (one + e)


def sigmoid_forward(z, a):
    """a = sigmoid(z)"""
    batch, n_out = z.shape
    real = z.dtype.type
    zero, one = real(0), real(1)
    for s in range(batch):
        for j in range(n_out):
            a[s, j] = logistic(z[s, j], zero, one)


def sigmoid_backward(z, a, da, delta):
    """delta = da (a (1 - a))"""
    batch, n_out = z.shape
    one = z.dtype.type(1)
    for s in range(batch):
        for j in range(n_out):
            delta[s, j] = da[s, j] * (a[s, j] * (one - a[s, j]))


def tanh_forward(z, a):
    """a = tanh(z)"""
    batch, n_out = z.shape
    for s in range(batch):
        for j in range(n_out):
            a[s, j] = tanh(z[s, j])


def tanh_backward(z, a, da, delta):
    """delta = da (1 - a^2)"""
    batch, n_out = z.shape
    one = z.dtype.type(1)
    for s in range(batch):
        for j in range(n_out):
            delta[s, j] = da[s, j] * (one - a[s, j] * a[s, j])


def relu_forward(z, a):
    """a = z where z > 0, else +0; NaN stays NaN."""
    batch, n_out = z.shape
    zero = z.dtype.type(0)
    for s in range(batch):
        for j in range(n_out):
            a[s, j] = zero if z[s, j] <= zero else z[s, j]


def relu_backward(z, a, da, delta):
    """delta = da where z > 0, else +0"""
    batch, n_out = z.shape
    zero = z.dtype.type(0)
    for s in range(batch):
        for j in range(n_out):
            delta[s, j] = zero if z[s, j] <= zero else da[s, j]


def leaky_relu_forward(z, a):
    """a = z where z > 0, else slope z"""
    batch, n_out = z.shape
    real = z.dtype.type
    zero, slope = real(0), real(LEAKY_SLOPE)
    for s in range(batch):
        for j in range(n_out):
            a[s, j] = z[s, j] if z[s, j] > zero else slope * z[s, j]


def leaky_relu_backward(z, a, da, delta):
    """delta = da where z > 0, else slope da"""
    batch, n_out = z.shape
    real = z.dtype.type
    zero, slope = real(0), real(LEAKY_SLOPE)
    for s in range(batch):
        for j in range(n_out):
            delta[s, j] = da[s, j] if z[s, j] > zero else slope * da[s, j]


def largest(z, s):
    """max over j of z[s, j]"""
    top = z[s, 0]
    for j in range(1, z.shape[1]):
        top = z[s, j] if z[s, j] > top else top
    return top


def softmax_forward(z, a):
    """a[s, j] = e[j] / (e[0] + e[1] + ...) with e[j] = exp(z[s, j] - max over j of z[s, j])"""
    batch, n_out = z.shape
    zero = z.dtype.type(0)
    for s in range(batch):
        top, total = largest(z, s), zero
        for j in range(n_out):
            a[s, j] = exp(z[s, j] - top)
        for j in range(n_out):
            total += a[s, j]
        for j in range(n_out):
            a[s, j] /= total


def softmax_backward(z, a, da, delta):
    """delta[s, j] = a[s, j] (da[s, j] - t) with t = da[s, 0] a[s, 0] + da[s, 1] a[s, 1] + ..."""
    batch, n_out = z.shape
    zero = z.dtype.type(0)
    for s in range(batch):
        t = zero
        for j in range(n_out):
            t += da[s, j] * a[s, j]
        for j in range(n_out):
            delta[s, j] = a[s, j] * (da[s, j] - t)


def linear_forward(z, a):
    """a = z"""
    batch, n_out = z.shape
    for s in range(batch):
        for j in range(n_out):
            a[s, j] = z[s, j]


def linear_backward(z, a, da, delta):
    """delta = da"""
    batch, n_out = z.shape
    for s in range(batch):
        for j in range(n_out):
            delta[s, j] = da[s, j]


# Losses: one running sum of terms over s and j, divided by n once (`loss` is 0-d), and beneath it dLoss/da, or
# delta where the loss and the activation before it are differentiated as one. n is batch, or batch n_out for
# a mean over the outputs.


def squared_error_forward(z, a, y, n, loss):
    """loss = sum of (a - y)^2, over n"""
    batch, n_out = y.shape
    total = y.dtype.type(0)
    for s in range(batch):
        for j in range(n_out):
            total += (a[s, j] - y[s, j]) * (a[s, j] - y[s, j])
    loss[()] = total / n


def squared_error_backward(z, a, y, n, da):
    """da = 2 (a - y) / n; the activation's own backward follows."""
    batch, n_out = y.shape
    two = y.dtype.type(2)
    for s in range(batch):
        for j in range(n_out):
            da[s, j] = (two * (a[s, j] - y[s, j])) / n


def softmax_cross_entropy_forward(z, a, y, n, loss):
    """loss = sum of y (log S - (z - max)), over n, with S = sum over j of exp(z - max)"""
    batch, n_out = y.shape
    zero = y.dtype.type(0)
    total = zero
    for s in range(batch):
        top, S = largest(z, s), zero
        for j in range(n_out):
            S += exp(z[s, j] - top)
        log_S = log(S)
        for j in range(n_out):
            total += y[s, j] * (log_S - (z[s, j] - top))
    loss[()] = total / n


def softmax_cross_entropy_backward(z, a, y, n, delta):
    """delta = (a Y - y) / n with Y = y[s, 0] + y[s, 1] + ..., 1 for probabilities"""
    batch, n_out = y.shape
    zero = y.dtype.type(0)
    for s in range(batch):
        Y = zero
        for j in range(n_out):
            Y += y[s, j]
        for j in range(n_out):
            delta[s, j] = (a[s, j] * Y - y[s, j]) / n


def sigmoid_cross_entropy_forward(z, a, y, n, loss):
    """loss = sum of y (max(-z, 0) + log(1 + e)), over n, with e = exp(-|z|)"""
    batch, n_out = y.shape
    zero = y.dtype.type(0)
    total = zero
    for s in range(batch):
        for j in range(n_out):
            below = -z[s, j] if z[s, j] < zero else zero
            total += y[s, j] * (below + log1p(exp(-abs(z[s, j]))))
    loss[()] = total / n


def sigmoid_cross_entropy_backward(z, a, y, n, delta):
    """delta = -y sigmoid(-z) / n"""
    batch, n_out = y.shape
    real = y.dtype.type
    zero, one = real(0), real(1)
    for s in range(batch):
        for j in range(n_out):
            delta[s, j] = -(y[s, j] * logistic(-z[s, j], zero, one)) / n


def sigmoid_binary_cross_entropy_forward(z, a, y, n, loss):
    """loss = sum of (max(z, 0) - z y) + log(1 + e), over n, with e = exp(-|z|)"""
    batch, n_out = y.shape
    zero = y.dtype.type(0)
    total = zero
    for s in range(batch):
        for j in range(n_out):
            above = z[s, j] if z[s, j] > zero else zero
            total += (above - z[s, j] * y[s, j]) + log1p(exp(-abs(z[s, j])))
    loss[()] = total / n


def sigmoid_binary_cross_entropy_backward(z, a, y, n, delta):
    """delta = (a - y) / n"""
    batch, n_out = y.shape
    for s in range(batch):
        for j in range(n_out):
            delta[s, j] = (a[s, j] - y[s, j]) / n
