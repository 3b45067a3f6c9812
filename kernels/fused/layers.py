"""The lines of one training step, compiled, in buffers that are used again.

Values of a layer stand neuron after neuron, the samples of a batch side by side: z, a and delta here are
``(n_out, m)``, m the rows of the batch or shard. So narrow layers vectorise over samples; where layers are wide,
`ordered_products` turns its tiles to whatever is long. Formulas are those of `formulas`; the order of each sum is that
of "reproducible arithmetic, version 1", of which ``neuron_loops.py`` is the plain reference.

Arrays are 1-D, C-contiguous, of one dtype; so are numbers, if nothing else is said.
"""

from collections.abc import Callable
from functools import cache, partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from backprop_ref import formulas

from ..compiling import FUSED, IN_ANY_ORDER, inlined, merged
from . import rules
from .narrow_products import row_products_for
from .ordered_products import product_for
from .views import matrix, part, transposed, view

# From how many multiplications on a product is more than plain loops; from how many weights on z and da are, and dW is,
# packed into panels.
PACKED_FROM = 2**12
PANELS_FROM = 2**7
DW_PANELS_FROM = 2**11

METRICS = ("accuracy", "r2")


@cache
def affine(dtype: str, shared: bool = False, fused: bool = False) -> tuple[Any, Any, Any]:
    """The three of the affine map. W and b stand in `flat` from w on, dW and db likewise in `grads`.

    Parameters
    ----------
    dtype : "float64" or "float32"
    shared : bool
        Large products are divided among threads.
    fused : bool
        For fast numerics and narrow layers: fused multiply-add, sums in any order, no packed products.
    """
    packed = not fused
    compiled_in: Any = partial(inlined, **IN_ANY_ORDER) if fused else merged
    product, row_products = product_for(dtype, shared), row_products_for(dtype)

    @compiled_in
    def affine_forward(
        flat: Any, w: int, n_in: int, n_out: int, m: int, a: Any, z: Any, panels: Any, workers: int
    ) -> None:
        """z[j, s] = b[j] + a[0, s] W[0, j] + a[1, s] W[1, j] + ..."""
        W_kj, b = view(flat, w, n_in, n_out), part(flat, w + n_in * n_out, n_out)
        z_js, a_ks = view(z, 0, n_out, m), view(a, 0, n_in, m)
        if m == 1:
            for j in range(n_out):
                z[j] = b[j]
            for k in range(n_in):
                a_k = a[k]
                for j in range(n_out):
                    z[j] += a_k * W_kj[k, j]
            return
        for j in range(n_out):
            for s in range(m):
                z_js[j, s] = b[j]
        if packed and n_in * n_out * m >= PACKED_FROM and n_in * n_out >= PANELS_FROM:
            product(matrix(flat, w, n_out), matrix(a, 0, m), matrix(z, 0, m), n_in, n_out, m, panels, workers)
            return
        for j in range(n_out):
            for k in range(n_in):
                W = W_kj[k, j]
                for s in range(m):
                    z_js[j, s] += a_ks[k, s] * W

    @compiled_in
    def affine_backward_one(delta: Any, a: Any, n_in: int, n_out: int, dW: Any, db: Any) -> None:
        """dW[k, j] = a[k] delta[j], and db likewise, of one sample; -0 is +0, as in every sum."""
        zero = dW.dtype.type(0)
        for j in range(n_out):
            db[j] = zero + delta[j]
        for k in range(n_in):
            a_k = a[k]
            for j in range(n_out):
                dW[k * n_out + j] = zero + a_k * delta[j]

    @compiled_in
    def affine_backward(
        delta: Any, a: Any, w: int, n_in: int, n_out: int, m: int, grads: Any, panels: Any, workers: int
    ) -> None:
        """dW[k, j] = a[k, 0] delta[j, 0] + a[k, 1] delta[j, 1] + ..., and db likewise."""
        dW, db = part(grads, w, n_in * n_out), part(grads, w + n_in * n_out, n_out)
        delta_js, a_ks, zero = view(delta, 0, n_out, m), view(a, 0, n_in, m), grads.dtype.type(0)
        work = n_in * n_out * m
        if m == 1:
            affine_backward_one(delta, a, n_in, n_out, dW, db)
            return
        if packed and work >= PACKED_FROM and n_in * n_out < DW_PANELS_FROM:
            row_products(a, delta, n_in, n_out, m, dW, db, panels)
            return
        for j in range(n_out):
            total = zero
            for s in range(m):
                total += delta_js[j, s]
            db[j] = total
        if packed and work >= PACKED_FROM:
            for i in range(n_in * n_out):
                dW[i] = zero
            a_sk, delta_sj = transposed(matrix(a, 0, m)), transposed(matrix(delta, 0, m))
            product(a_sk, delta_sj, matrix(dW, 0, n_out), m, n_in, n_out, panels, workers)
            return
        dW_kj = view(dW, 0, n_in, n_out)
        for k in range(n_in):
            for j in range(n_out):
                total = zero
                for s in range(m):
                    total += a_ks[k, s] * delta_js[j, s]
                dW_kj[k, j] = total

    @compiled_in
    def affine_backward_input(
        delta: Any, flat: Any, w: int, n_in: int, n_out: int, m: int, da: Any, panels: Any, workers: int
    ) -> None:
        """da[k, s] = delta[0, s] W[k, 0] + delta[1, s] W[k, 1] + ..."""
        W_kj, delta_js, da_ks = view(flat, w, n_in, n_out), view(delta, 0, n_out, m), view(da, 0, n_in, m)
        zero, work = da.dtype.type(0), n_in * n_out * m
        if m == 1 and (work < PACKED_FROM or not packed):
            for k in range(n_in):
                total = zero
                for j in range(n_out):
                    total += delta[j] * W_kj[k, j]
                da[k] = total
            return
        for i in range(n_in * m):
            da[i] = zero
        if packed and work >= PACKED_FROM and n_in * n_out >= PANELS_FROM:
            W_jk = transposed(matrix(flat, w, n_out))
            product(W_jk, matrix(delta, 0, m), matrix(da, 0, m), n_out, n_in, m, panels, workers)
            return
        for k in range(n_in):
            for j in range(n_out):
                W = W_kj[k, j]
                for s in range(m):
                    da_ks[k, s] += delta_js[j, s] * W

    return affine_forward, affine_backward, affine_backward_input


class Lines(SimpleNamespace):
    """What a step does besides the affine map: by kind in `each`, lists in the order of the table, or functions that
    choose from them.

    forward(n_out, m, z, a, top, total): a from z; rows leave their largest z in `top`, the sum of exponentials in
    `total`. backward(n_out, m, z, a, delta, total): delta from da, which stands in delta before.
    loss(n_out, m, z, a, y, n, terms, delta, top, total): the sum of the terms, s outer, j inner, and delta or da; it
    follows the last layer's forward. update(n, flat, grads, first, second, settings), in place.
    measure(n_out, m, a, y, sums). gather(orders, row, start, source, n, m, a).
    """


def lines(dtype: str, fused: bool, by_layout: Callable[..., dict[str, Any]]) -> Lines:
    """The lines for a layout of the values of a layer; `fused`: for fast numerics."""
    options: dict[str, Any] = FUSED if fused else {}
    own = by_layout(dtype, **options)
    compiled_in: Any = partial(inlined, **options)

    def forward_of(name: str, activation: formulas.Activation) -> Any:
        if activation.by_rows:
            return own[f"{name}_forward"]
        loop = rules.forward(dtype, activation, **options)

        @compiled_in
        def forward(n_out: int, m: int, z: Any, a: Any, top: Any, total: Any) -> None:
            loop(n_out * m, z, a)

        return forward

    def backward_of(name: str, activation: formulas.Activation) -> Any:
        if activation.by_rows:
            return own[f"{name}_backward"]
        loop = rules.backward(dtype, activation, **options)

        @compiled_in
        def backward(n_out: int, m: int, z: Any, a: Any, delta: Any, total: Any) -> None:
            loop(n_out * m, z, a, delta)

        return backward

    def loss_of(name: str, pair: formulas.Terms) -> Any:
        if pair.by_rows:
            return own[name]
        loop, running_sum = rules.loss(dtype, pair, **options), own["running_sum"]

        @compiled_in
        def loss(
            n_out: int, m: int, z: Any, a: Any, y: Any, n: Any, terms: Any, delta: Any, top: Any, total: Any
        ) -> Any:
            loop(n_out * m, z, a, y, n, terms, delta)
            return running_sum(n_out, m, terms)

        return loss

    def update_of(rule: formulas.Update) -> Any:
        loop = rules.update(dtype, rule, **options)

        @compiled_in
        def update(n: int, flat: Any, grads: Any, first: Any, second: Any, settings: formulas.Settings) -> None:
            loop(n, flat, grads, first, second, settings)

        return update

    decay = rules.decay(dtype, **options)

    @compiled_in
    def add_decay(strength: Any, flat: Any, grads: Any, start: int, size: int) -> None:
        """dW <- dW + lambda W for one layer's weights."""
        decay(size, part(flat, start, size), part(grads, start, size), strength)

    each = {
        "forward": [forward_of(*item) for item in formulas.ACTIVATIONS.items()],
        "backward": [backward_of(*item) for item in formulas.ACTIVATIONS.items()],
        "loss": [loss_of(*item) for item in formulas.TERMS.items()],
        "update": [update_of(rule) for rule in formulas.UPDATES.values()],
        "measure": [own["count_correct"], own["squared_residuals"]],
    }
    return Lines(each=each, gather=own["gather"], add_decay=add_decay)


def chosen(found: Lines) -> Lines:
    """The lines with a function of each kind that chooses by number."""
    kinds = {kind: rules.choice(functions) for kind, functions in found.each.items()}
    return Lines(**kinds, gather=found.gather, add_decay=found.add_decay)


def by_neurons(dtype: str, **options: Any) -> dict[str, Any]:
    """What reads rows, where the values of a layer are ``(n_out, m)``."""
    exp, log = rules.elementary(dtype, "exp", **options), rules.elementary(dtype, "log", **options)
    compiled_in: Any = partial(inlined, **options)

    @compiled_in
    def softmax_forward(n_out: int, m: int, z: Any, a: Any, top: Any, total: Any) -> None:
        """a[j, s] = e[j, s] / S[s] with e = exp(z - max), S = e[0, s] + e[1, s] + ..."""
        zero = z.dtype.type(0)
        z_js, a_js = view(z, 0, n_out, m), view(a, 0, n_out, m)
        for s in range(m):
            top[s] = z_js[0, s]
            total[s] = zero
        for j in range(1, n_out):
            for s in range(m):
                z_s, top_s = z_js[j, s], top[s]
                top[s] = z_s if z_s > top_s else top_s
        for j in range(n_out):
            for s in range(m):
                a_js[j, s] = z_js[j, s] - top[s]
        exp(n_out * m, a, a)
        for j in range(n_out):
            for s in range(m):
                total[s] += a_js[j, s]
        for j in range(n_out):
            for s in range(m):
                a_js[j, s] = a_js[j, s] / total[s]

    @compiled_in
    def softmax_backward(n_out: int, m: int, z: Any, a: Any, delta: Any, total: Any) -> None:
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

    @compiled_in
    def softmax_cross_entropy(
        n_out: int, m: int, z: Any, a: Any, y: Any, n: Any, terms: Any, delta: Any, top: Any, total: Any
    ) -> Any:
        """The sum of y (log S - (z - max)); delta = (a Y - y) / n with Y = y[0, s] + y[1, s] + ..."""
        z_js, a_js, y_js, delta_js = (
            view(z, 0, n_out, m),
            view(a, 0, n_out, m),
            view(y, 0, n_out, m),
            view(delta, 0, n_out, m),
        )
        zero = z.dtype.type(0)
        found = zero
        log(m, total, total)
        for s in range(m):
            for j in range(n_out):
                found += y_js[j, s] * (total[s] - (z_js[j, s] - top[s]))
        for s in range(m):
            total[s] = zero
        for j in range(n_out):
            for s in range(m):
                total[s] += y_js[j, s]
        for j in range(n_out):
            for s in range(m):
                delta_js[j, s] = (a_js[j, s] * total[s] - y_js[j, s]) / n
        return found

    @compiled_in
    def running_sum(n_out: int, m: int, terms: Any) -> Any:
        terms_js, found = view(terms, 0, n_out, m), terms.dtype.type(0)
        for s in range(m):
            for j in range(n_out):
                found += terms_js[j, s]
        return found

    @compiled_in
    def largest(a: Any, s: int) -> int:
        """The first j with the largest a[j, s]; NaN is larger than any number."""
        best, here = a[0, s], 0
        for j in range(1, a.shape[0]):
            if not (a[j, s] <= best or np.isnan(best)):
                best, here = a[j, s], j
        return here

    @compiled_in
    def count_correct(n_out: int, m: int, a: Any, y: Any, sums: Any) -> None:
        """sums[0] += number of samples whose outputs are of the class that y says"""
        a_js, y_js, half, correct = view(a, 0, n_out, m), view(y, 0, n_out, m), a.dtype.type(0.5), 0
        for s in range(m):
            a_class = largest(a_js, s) if n_out > 1 else np.int64(a_js[0, s] > half)
            y_class = largest(y_js, s) if n_out > 1 else np.int64(y_js[0, s] > half)
            correct += 1 if a_class == y_class else 0
        sums[0] += correct

    @compiled_in
    def squared_residuals(n_out: int, m: int, a: Any, y: Any, sums: Any) -> None:
        """sums[j] += (a[j, 0] - y[j, 0])^2, then (a[j, 1] - y[j, 1])^2, ..."""
        a_js, y_js = view(a, 0, n_out, m), view(y, 0, n_out, m)
        for j in range(n_out):
            total = sums[j]
            for s in range(m):
                residual = np.float64(a_js[j, s]) - np.float64(y_js[j, s])
                total += residual * residual
            sums[j] = total

    @compiled_in
    def gather(orders: Any, row: int, start: int, source: Any, n: int, m: int, a: Any) -> None:
        """a[k, s] = source[orders[row, start + s], k], a 1-D"""
        a_ks = view(a, 0, n, m)
        for s in range(m):
            sample = orders[row, start + s]
            for k in range(n):
                a_ks[k, s] = source[sample, k]

    return {
        function.py_func.__name__: function
        for function in (
            *(softmax_forward, softmax_backward, softmax_cross_entropy, running_sum),
            *(count_correct, squared_residuals, gather),
        )
    }
