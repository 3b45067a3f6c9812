"""Whole epochs in one compiled call for networks with wide layers, in fast numerics.

Values of a layer stand sample after sample, as the data do: z, a and delta here are ``(m, n_out)``, m the rows of the
batch or shard. So a sample is gathered in one piece, and of each layer's three products only that with W's transpose,
which the first layer does without, has to transpose what it reads. Products are those of `fast_products`; they are
added to the biases, and for plain gradient descent to the weights: W <- W - a^T (eta delta) is one product, and no
gradient is ever stored; what comes out is another where eta delta leaves the range of the dtype. What does not depend
on the layout is that of `layers`, with fused multiply-add.
"""

from functools import cache, partial
from typing import Any

from numba.extending import register_jitable

from backprop_ref import formulas

from ..compiling import FUSED, IN_ANY_ORDER, compiled, linked, merged
from . import layers, rows
from .epochs import Data, Plan, Sections, State, handing, layer_of, limits, placed, settings_of, training
from .fast_products import panels_for, product_for
from .views import View, matrix, part, repeated, transposed

# From how many multiplications on a product is shared out among threads; entries of an activation done at a time.
SHARED_FROM = 2**21
BLOCK = 2**12

SGD = formulas.USUAL_UPDATES.index("sgd")


@cache
def affine(dtype: str, shared: bool = False) -> tuple[Any, Any, Any]:
    """The three of the affine map. W and b stand in `flat` from w on, dW and db likewise in `grads`."""
    product = product_for(dtype)
    product_shared = product_for(dtype, True) if shared else product
    compiled_in: Any = partial(linked, **IN_ANY_ORDER)

    @compiled_in
    def add_product(
        left: View, right: View, start: View, out: View, depth: int, rows: int, columns: int, panels: Any, workers: int
    ) -> None:
        """out[i, j] = start[i, j] + (left[0, i] right[0, j] + left[1, i] right[1, j] + ...)"""
        if depth * rows * columns >= SHARED_FROM:
            product_shared(left, right, start, out, depth, rows, columns, panels, workers)
        else:
            product(left, right, start, out, depth, rows, columns, panels, 1)

    @compiled_in
    def affine_forward(
        flat: Any, w: int, n_in: int, n_out: int, m: int, a: Any, z: Any, panels: Any, workers: int
    ) -> None:
        """z[s, j] = b[j] + a[s, 0] W[0, j] + a[s, 1] W[1, j] + ..."""
        a_ks, W_kj, b_sj = transposed(matrix(a, 0, n_in)), matrix(flat, w, n_out), repeated(flat, w + n_in * n_out)
        add_product(a_ks, W_kj, b_sj, matrix(z, 0, n_out), n_in, m, n_out, panels, workers)

    @compiled_in
    def affine_backward(
        delta: Any, a: Any, w: int, n_in: int, n_out: int, m: int, grads: Any, panels: Any, workers: int, one: Any
    ) -> None:
        """dW[k, j] <- dW[k, j] + (a[0, k] delta[0, j] + a[1, k] delta[1, j] + ...), and db likewise; `one`: for a 1."""
        dW_kj, db_j = matrix(grads, w, n_out), repeated(grads, w + n_in * n_out)
        a_sk, delta_sj = matrix(a, 0, n_in), matrix(delta, 0, n_out)
        one[0] = 1
        add_product(View(part(one, 0, 1), 0, 0), delta_sj, db_j, db_j, m, 1, n_out, panels, workers)
        add_product(a_sk, delta_sj, dW_kj, dW_kj, m, n_in, n_out, panels, workers)

    @compiled_in
    def affine_backward_input(
        delta: Any, flat: Any, w: int, n_in: int, n_out: int, m: int, da: Any, panels: Any, workers: int, zeros: Any
    ) -> None:
        """da[s, k] = delta[s, 0] W[k, 0] + delta[s, 1] W[k, 1] + ...; `zeros`: n_in of them."""
        delta_js, W_jk = transposed(matrix(delta, 0, n_out)), transposed(matrix(flat, w, n_out))
        add_product(delta_js, W_jk, repeated(zeros, 0), matrix(da, 0, n_in), n_out, m, n_in, panels, workers)

    return affine_forward, affine_backward, affine_backward_input


def placed_with_panels(plan: Plan, dtype: str, known: layers.Known) -> tuple[Plan, Sections]:
    """`epochs.placed` for `program`; no gradients unless they are `stored`."""
    extents = [extent for row in plan.layers for extent in products_of(int(row[0]), int(row[1]), plan.batch_size)]
    panels, zeros = max(panels_for(*extent, plan.workers) for extent in extents), int(plan.layers[:, 0].max())
    return placed(plan, dtype, known, panels, zeros, gradients=stored(plan))


def products_of(n_in: int, n_out: int, m: int) -> tuple[tuple[int, int, int], ...]:
    """Terms, rows and columns of a layer's three large products."""
    return (n_in, m, n_out), (m, n_in, n_out), (n_out, m, n_in)


@register_jitable(forceinline=True)
def stored(plan: Plan) -> bool:
    """Whether gradients are stored; else they are added to the parameters as they are computed."""
    hyper = plan.hyper
    limited = hyper.l1 != 0.0 or hyper.clip_value != 0.0 or hyper.clip_norm != 0.0
    return plan.rule != SGD or hyper.weight_decay != 0.0 or plan.shards > 1 or limited


@cache
def program(dtype: str, known: layers.Known, shared: bool = False) -> Any:
    """The program for a dtype and some rules; `shared`: large products with threads."""
    affine_forward, affine_backward, affine_backward_input = affine(dtype, shared)
    lines = layers.chosen(layers.lines(dtype, True, rows.BY_SAMPLES, known))
    forward, backward, loss_of, update = lines.forward, lines.backward, lines.loss, lines.update
    gather, measure, add_decay, weighted = lines.gather, lines.measure, lines.add_decay, known.weighted
    hand_on, hand_back = handing(rows.BY_SAMPLES, known, True)
    limit, constrain = limits(dtype, known, True)

    @merged
    def value_and_grad(
        plan: Plan,
        sections: Sections,
        data: Data,
        epoch: int,
        start: int,
        flat: Any,
        n: Any,
        m: int,
        work: Any,
        factor: Any,
        target: Any,
    ) -> Any:
        """The loss of m samples, gathered from `start` on, n that of the batch; adds `factor` times their
        gradients to `target`.

        `target` may be `flat` itself: a layer's weights are used for the layer below before they change. `factor` is
        one of the last layer's delta, and so of every other.
        """
        last, widest = plan.layers.shape[0] - 1, sections.delta - sections.z
        panels = part(work, sections.panels, sections.end - sections.panels)
        delta, da = part(work, sections.delta, widest), part(work, sections.z, widest)
        slots, zeros = part(work, sections.slots, sections.grads - sections.slots), part(work, sections.zeros, 1)
        for index in range(last + 1):
            layer = layer_of(plan.layers, index)
            n_in, n_out = layer.n_in, layer.n_out
            z, a_in = part(work, layer.z, n_out * m), part(work, layer.a_in, n_in * m)
            affine_forward(flat, layer.w, n_in, n_out, m, a_in, z, panels, plan.workers)
            block = m if index == last else max(1, BLOCK // n_out)
            for s in range(0, m, block):
                here, first = min(block, m - s), s * n_out
                z, a = part(work, layer.z + first, n_out * here), part(work, layer.a + first, n_out * here)
                forward(layer.activation, (n_out, here, z, a, slots))
            hand_on(plan, data, epoch, start, index, m, work)
        layer = layer_of(plan.layers, last)
        n_out = layer.n_out
        z, a, y = part(work, layer.z, n_out * m), part(work, layer.a, n_out * m), part(work, sections.y, n_out * m)
        terms, weights = part(work, sections.terms, n_out * m), part(work, sections.weights, m)
        loss = loss_of(plan.loss, (n_out, m, z, a, y, weights, n, terms, delta, slots)) / n
        for i in range(n_out * m):
            delta[i] *= factor
        for index in range(last, -1, -1):
            layer = layer_of(plan.layers, index)
            n_in, n_out = layer.n_in, layer.n_out
            if index < last or not plan.together:
                z, a = part(work, layer.z_backward, n_out * m), part(work, layer.a, n_out * m)
                backward(layer.activation, (n_out, m, z, a, delta, slots))
            a_in = part(work, layer.a_in, n_in * m)
            if index > 0:
                affine_backward_input(delta, flat, layer.w, n_in, n_out, m, da, panels, plan.workers, zeros)
                hand_back(plan, index - 1, m, work, da)
            affine_backward(delta, a_in, layer.w, n_in, n_out, m, target, panels, plan.workers, slots)
            delta, da = da, delta
        return loss

    @merged
    def step(
        plan: Plan,
        sections: Sections,
        data: Data,
        state: State,
        sums: Any,
        epoch: int,
        start: int,
        size: int,
        weight: float,
        work: Any,
    ) -> Any:
        """One update from the samples `start` on; the batch's loss. `sums` gets what its outputs measure."""
        real = work.dtype.type
        flat, n, loss, begin, rate = state.flat, real(weight * plan.per_row), real(0), start, real(data.rates[epoch])
        first, last = layer_of(plan.layers, 0), layer_of(plan.layers, plan.layers.shape[0] - 1)
        n_x, n_y, small, larger = first.n_in, last.n_out, size // plan.shards, size % plan.shards
        into_grads = stored(plan)
        for i in range(sums.size):
            sums[i] = 0.0
        grads = part(work, sections.grads, flat.size)
        if into_grads:
            for i in range(flat.size):
                grads[i] = real(0)
        for shard in range(min(plan.shards, size)):
            m = small + (1 if shard < larger else 0)
            y = part(work, sections.y, n_y * m)
            gather(data.orders, epoch, begin, data.x, n_x, m, part(work, first.a_in, n_x * m))
            gather(data.orders, epoch, begin, data.y, n_y, m, y)
            if weighted:
                gather(data.orders, epoch, begin, data.weights, 1, m, part(work, sections.weights, m))
            factor, target = (real(1), grads) if into_grads else (-rate, flat)
            loss += value_and_grad(plan, sections, data, epoch, begin, flat, n, m, work, factor, target)
            measure(plan.metric, (n_y, m, part(work, last.a, n_y * m), y, sums))
            begin += m
        if into_grads:
            limit(plan, flat, grads)
        if plan.hyper.weight_decay != 0.0:
            for index in range(plan.layers.shape[0]):
                layer = layer_of(plan.layers, index)
                add_decay(real(plan.hyper.weight_decay), flat, grads, layer.w, layer.n_in * layer.n_out)
        if plan.hyper.decoupled_decay != 0.0:
            strength = real(-(data.rates[epoch] * plan.hyper.decoupled_decay))
            for index in range(plan.layers.shape[0]):
                layer = layer_of(plan.layers, index)
                add_decay(strength, flat, flat, layer.w, layer.n_in * layer.n_out)
        if into_grads:
            settings = settings_of(plan.hyper, state.powers, rate, real)
            update(plan.rule, (flat.size, flat, grads, state.first, state.second, settings))
        constrain(plan, flat, state.norms)
        return loss

    return compiled(training(step, weighted), **FUSED)
