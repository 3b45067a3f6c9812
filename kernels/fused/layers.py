"""The lines of one training step, compiled, in buffers that are used again.

Values of a layer stand neuron after neuron, the samples of a batch side by side: z, a and delta here are
``(n_out, m)``, m the rows of the batch or shard. So narrow layers vectorise over samples; where layers are wide,
`wide_layers` has them the other way. Formulas are those of `formulas`; the order of each sum is that
of "reproducible arithmetic, version 1", of which ``neuron_loops.py`` is the plain reference.

Arrays are 1-D, C-contiguous, of one dtype; so are numbers, if nothing else is said.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np

from backprop_ref import formulas

from ..compiling import FUSED, IN_ANY_ORDER, inlined, merged
from . import rows, rules
from .calls import calls_for, products_kind
from .memory import reader
from .narrow_products import HEIGHTS, heights_for, row_products_for
from .views import at, matrix, transposed, view

# From how many multiplications on a product is more than plain loops; from how many weights on z and da are, and dW is,
# packed into panels.
PACKED_FROM = 2**12
PANELS_FROM = 2**7
DW_PANELS_FROM = 2**11

METRICS = ("accuracy", "labels", "r2")


def is_by_rows(n_in: int, n_out: int, m: int) -> bool:
    """Whether dW of a layer is a narrow product."""
    return n_in * n_out * m >= PACKED_FROM and n_in * n_out < DW_PANELS_FROM


def heights_of(shapes: Sequence[tuple[int, int]], m: int) -> tuple[int, ...]:
    """Heights of the narrow products of layers, n_in and n_out of each, of up to m rows."""
    found = [heights_for(n_in) for n_in, n_out in shapes if is_by_rows(n_in, n_out, m)]
    return tuple(sorted(set().union(*found)))


@cache
def affine(dtype: str, packed: bool, fused: bool, heights: tuple[int, ...] = HEIGHTS) -> dict[str, Callable[..., None]]:
    """The three of the affine map, yet to be compiled. W and b stand in `flat` from w on, dW and db in `grads`.

    `packed`: the plan has large products, for which `calls.Products` stand first in memory; `fused`: for fast numerics,
    in which it has none; `heights`: those of its narrow products, by `heights_of`.
    """
    row_products, call_product = merged(row_products_for(dtype, heights)), calls_for(dtype)["product"]
    read, zero = reader(products_kind(dtype)), np.dtype(dtype).type(0)
    by_rows = merged(is_by_rows)

    def affine_forward(flat: Any, w: int, n_in: int, n_out: int, m: int, a: Any, z: Any, memory: Any) -> None:
        """z[j, s] = b[j] + a[0, s] W[0, j] + a[1, s] W[1, j] + ..."""
        W_kj, b = view(flat, w, n_in, n_out), at(flat, w + n_in * n_out)
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
            left, out = matrix(flat, w, n_out), matrix(z, 0, m)
            call_product(read(memory).product, left, matrix(a, 0, m), out, out, n_in, n_out, m, memory)
            return
        for j in range(n_out):
            for k in range(n_in):
                W = W_kj[k, j]
                for s in range(m):
                    z_js[j, s] += a_ks[k, s] * W

    def affine_backward(
        delta: Any, a: Any, w: int, n_in: int, n_out: int, m: int, grads: Any, memory: Any, slots: Any
    ) -> None:
        """dW[k, j] = a[k, 0] delta[j, 0] + a[k, 1] delta[j, 1] + ..., and db likewise; -0 is +0, as in every sum."""
        dW, db, work = at(grads, w), at(grads, w + n_in * n_out), n_in * n_out * m
        delta_js, a_ks, dW_kj = view(delta, 0, n_out, m), view(a, 0, n_in, m), view(grads, w, n_in, n_out)
        if m == 1:
            for j in range(n_out):
                db[j] = zero + delta[j]
            for k in range(n_in):
                a_k = a[k]
                for j in range(n_out):
                    dW_kj[k, j] = zero + a_k * delta[j]
            return
        if packed and by_rows(n_in, n_out, m):
            row_products(a, delta, n_in, n_out, m, dW, db, read(memory).panels)
            return
        for j in range(n_out):
            total = zero
            for s in range(m):
                total += delta_js[j, s]
            db[j] = total
        if packed and work >= PACKED_FROM:
            for i in range(n_in * n_out):
                dW[i] = zero
            a_sk, delta_sj, out = transposed(matrix(a, 0, m)), transposed(matrix(delta, 0, m)), matrix(dW, 0, n_out)
            call_product(read(memory).product, a_sk, delta_sj, out, out, m, n_in, n_out, memory)
            return
        for k in range(n_in):
            for j in range(n_out):
                total = zero
                for s in range(m):
                    total += a_ks[k, s] * delta_js[j, s]
                dW_kj[k, j] = total

    def affine_backward_input(
        delta: Any, flat: Any, w: int, n_in: int, n_out: int, m: int, da: Any, memory: Any
    ) -> None:
        """da[k, s] = delta[0, s] W[k, 0] + delta[1, s] W[k, 1] + ..."""
        W_kj, delta_js, da_ks = view(flat, w, n_in, n_out), view(delta, 0, n_out, m), view(da, 0, n_in, m)
        work = n_in * n_out * m
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
            W_jk, right, out = transposed(matrix(flat, w, n_out)), matrix(delta, 0, m), matrix(da, 0, m)
            if m == 1:
                out = matrix(da, 0, n_in)
                call_product(read(memory).product, right, W_jk, out, out, n_out, 1, n_in, memory)
            else:
                call_product(read(memory).product, W_jk, right, out, out, n_out, n_in, m, memory)
            return
        for k in range(n_in):
            for j in range(n_out):
                W = W_kj[k, j]
                for s in range(m):
                    da_ks[k, s] += delta_js[j, s] * W

    return {function.__name__: function for function in (affine_forward, affine_backward, affine_backward_input)}


class Rules(NamedTuple):
    """What a network is trained with, by the names in `formulas`."""

    activations: tuple[str, ...]
    """Of each layer."""
    terms: str
    update: str
    metric: str
    """One of `METRICS`."""
    weighted: bool = False
    """Whether samples have weights."""
    limits: bool = False
    """Whether gradients are clipped, or weights penalised by L1 or constrained."""


class Lines(NamedTuple):
    """What a step does besides the affine map, for a layout of the values of a layer."""

    dtype: str
    fused: bool
    """For fast numerics."""
    layout: rows.Layout
    apart: bool = False
    """Whether functions are yet to be compiled, with the `options`; else they are for compiled code."""

    @property
    def options(self) -> dict[str, Any]:
        return FUSED if self.fused else {}

    def forward(self, name: str) -> Any:
        """``forward(n_out, m, z, a, slots)``: a from z; rules over rows leave numbers of each sample in the slots."""
        return self._loop("forward", formulas.ACTIVATIONS[name])

    def backward(self, name: str) -> Any:
        """``backward(n_out, m, z, a, delta, slots)``: delta from da, which stands in delta before."""
        return self._loop("backward", formulas.ACTIVATIONS[name])

    def loss(self, name: str, weighted: bool) -> Any:
        """``loss(n_out, m, z, a, y, w, n, terms, delta, slots)``: the sum of the terms, s outer, j inner, and delta or
        da; it follows the last layer's forward; w, what each sample counts, is read where samples have weights."""
        pair = formulas.TERMS[name]
        loop, over = self._replace(apart=False)._loop("loss", pair), self._reading_rows(pair.threshold)
        running_sum, weigh = over["running_sum"], over["weigh"]

        def loss(n_out: int, m: int, z: Any, a: Any, y: Any, w: Any, n: Any, terms: Any, delta: Any, slots: Any) -> Any:
            loop(n_out, m, z, a, y, n, terms, delta, slots)
            if weighted:
                weigh(n_out, m, w, terms)
                weigh(n_out, m, w, delta)
            return running_sum(n_out, m, terms)

        return loss if self.apart else inlined(loss, **self.options)

    def update(self, name: str) -> Any:
        """``update(n, 1, flat, grads, first, second, settings)``, in place."""
        return rules.update(self.dtype, formulas.UPDATES[name], apart=self.apart, **self.options)

    def add_decay(self) -> Any:
        """``add_decay(n_in, n_out, W, dW, strength)``: dW <- dW + lambda W"""
        return rules.decay(self.dtype, apart=self.apart, **self.options)

    def measure(self, metric: str, terms: str) -> Any:
        """``measure(n_out, m, a, y, sums)``"""
        over = self._reading_rows(formulas.TERMS[terms].threshold)
        return over[{"accuracy": "count_correct", "labels": "count_labels", "r2": "squared_residuals"}[metric]]

    def gather(self) -> Any:
        """``gather(order, source, n, m, a)``"""
        return self._reading_rows(0.5)["gather"]

    def _loop(self, which: str, rule: Any) -> Any:
        """A loop of `rows`, or of `rules`, which does without slots."""
        how: dict[str, Any] = {"apart": self.apart, **self.options}
        if rule.by_rows:
            return getattr(rows, which)(self.dtype, rule, self.layout, **how)
        return getattr(rules, which)(self.dtype, rule, **how)

    def _reading_rows(self, threshold: float) -> dict[str, Any]:
        return reading_rows(self.layout.rows, threshold, self.apart, **self.options)


def reading_rows(rows_of: Any, threshold: float, apart: bool, **options: Any) -> dict[str, Any]:
    """Sums, counts and copies in the order of the samples; ``rows_of(array, n_out, m)`` has a row for each. Above the
    threshold an output says 1. `apart`: counts and copies are yet to be compiled.
    """
    compiled_in: Any = partial(inlined, **options)
    sum_in: Any = partial(inlined, **(IN_ANY_ORDER if options else {}))

    @sum_in
    def running_sum(n_out: int, m: int, terms: Any) -> Any:
        terms_sj = rows_of(terms, n_out, m)
        found = terms_sj.dtype.type(0)
        for s in range(m):
            for j in range(n_out):
                found += terms_sj[s, j]
        return found

    @compiled_in
    def weigh(n_out: int, m: int, w: Any, x: Any) -> None:
        """x[s, j] <- w[s] x[s, j]"""
        x_sj = rows_of(x, n_out, m)
        for j in range(n_out):
            for s in range(m):
                x_sj[s, j] *= w[s]

    @compiled_in
    def largest(a_sj: Any, s: int) -> int:
        """The first j with the largest a[s, j]; NaN is larger than any number."""
        best, here = a_sj[s, 0], 0
        for j in range(1, a_sj.shape[1]):
            if not (a_sj[s, j] <= best or math.isnan(best)):
                best, here = a_sj[s, j], j
        return here

    def count_correct(n_out: int, m: int, a: Any, y: Any, sums: Any) -> None:
        """sums[0] += number of samples whose outputs are of the class that y says"""
        a_sj, y_sj, correct = rows_of(a, n_out, m), rows_of(y, n_out, m), 0
        half, least = a_sj.dtype.type(0.5), a_sj.dtype.type(threshold)
        for s in range(m):
            a_class = largest(a_sj, s) if n_out > 1 else np.int64(a_sj[s, 0] > least)
            y_class = largest(y_sj, s) if n_out > 1 else np.int64(y_sj[s, 0] > half)
            correct += 1 if a_class == y_class else 0
        sums[0] += correct

    def count_labels(n_out: int, m: int, a: Any, y: Any, sums: Any) -> None:
        """sums[0] += number of outputs on the side of the threshold that y says"""
        a_sj, y_sj, right = rows_of(a, n_out, m), rows_of(y, n_out, m), 0
        half, least = a_sj.dtype.type(0.5), a_sj.dtype.type(threshold)
        for s in range(m):
            for j in range(n_out):
                right += 1 if (a_sj[s, j] > least) == (y_sj[s, j] > half) else 0
        sums[0] += right

    def squared_residuals(n_out: int, m: int, a: Any, y: Any, sums: Any) -> None:
        """sums[j] += (a[0, j] - y[0, j])^2, then (a[1, j] - y[1, j])^2, ..."""
        a_sj, y_sj = rows_of(a, n_out, m), rows_of(y, n_out, m)
        for j in range(n_out):
            total = sums[j]
            for s in range(m):
                residual = np.float64(a_sj[s, j]) - np.float64(y_sj[s, j])
                total += residual * residual
            sums[j] = total

    def gather(order: Any, source: Any, n: int, m: int, a: Any) -> None:
        """a[s, k] = source[order[s] n + k], all of them 1-D"""
        a_sk = rows_of(a, n, m)
        for s in range(m):
            sample = order[s] * n
            for k in range(n):
                a_sk[s, k] = source[sample + k]

    found = {function.__name__: function for function in (count_correct, count_labels, squared_residuals, gather)}
    if not apart:
        found = {name: inlined(function, **options) for name, function in found.items()}
    return found | {"running_sum": running_sum, "weigh": weigh}
