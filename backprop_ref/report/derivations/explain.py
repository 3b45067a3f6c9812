"""One step of training in numbers: forward, loss, backward and update, for one sample.

Every number comes from `backprop_ref.trace`, the backend's pairs and the optimizer's own step; every formula is the
code's, see `derivation`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from backprop_ref.asking import ask
from backprop_ref.backends.array import divisor
from backprop_ref.errors import InvalidInput
from backprop_ref.formulas import ACTIVATIONS, together
from backprop_ref.optimizers.lbfgs import LBFGS
from backprop_ref.report.derivations import derivation
from backprop_ref.report.derivations.documents import Equation, Heading, Matrix, Words
from backprop_ref.report.derivations.step import Step
from backprop_ref.report.derivations.trees import Entry, Number, Scalar, Symbol, Total, Transposed, elementwise

MOST_NEURONS = 8  # of a layer, unless one is chosen


def explain(
    step: Step,
    layer: int | None = None,
    neuron: int | None = None,
    matrices: bool = False,
    with_derivation: bool = True,
) -> list[Any]:
    """A step as a document, a list of blocks for one of `documents.PAGES`.

    Of a single layer, or a neuron of it, if that is asked for; with `matrices`, whole layers in place of neuron by
    neuron; and `with_derivation`, why the formulas of the backward pass are what they are.
    """
    layers = _chosen_layers(step.network, layer, neuron)
    blocks: list[Any] = [Heading(2, "Forward"), *_vectors(step)]
    for index in layers:
        blocks += _forward(step, index, neuron, matrices)
    if layer in {None, step.network.n_layers - 1}:
        blocks += _loss(step)
    blocks.append(Heading(2, "Backward"))
    explained: set[str] = set()
    if with_derivation:
        blocks += [Heading(3, "Why: an affine map"), *derivation.of_affine()]
    for index in reversed(layers):
        blocks += _backward(step, index, neuron, matrices, explained if with_derivation else None)
    return [*blocks, *_update(step, layers, neuron, matrices)]


def check_range(what: str, chosen: int | None, count: int) -> None:
    """Refuses a layer, neuron or sample that does not exist."""
    if chosen is not None and (not isinstance(chosen, int | np.integer) or not 0 <= chosen < count):
        raise InvalidInput(f"{ask(f'--{what}', chosen)}: there is none; there are {count}, 0 to {count - 1}")


def _chosen_layers(network, layer, neuron):
    check_range("layer", layer, network.n_layers)
    if neuron is not None and layer is None and network.n_layers > 1:
        raise InvalidInput(
            f"{ask('--neuron', neuron)}: of which layer? add {ask('--layer', 0)} to {network.n_layers - 1}"
        )
    layers = range(network.n_layers) if layer is None else [layer]
    check_range("neuron", neuron, network.sizes[layers[0] + 1])
    return list(layers)


def _neurons(step, layer, neuron):
    """The neurons of a layer to show, and a line about the others."""
    count = step.network.sizes[layer + 1]
    if neuron is not None:
        return [neuron], []
    left = count - MOST_NEURONS
    said = f"see one with {ask('--layer', layer)} and a {ask('--neuron')} from 0 to {count - 1}"
    more = [Words(f"… {left} more neurons; {said}")]
    return range(min(count, MOST_NEURONS)), more if left > 0 else []


def _vectors(step):
    return [Matrix(Symbol("x"), step.trace.x), Matrix(Symbol("y"), step.trace.y)]


def _equal(name, tree, result=None, at=None, layer=None, below=("j",)):
    """name = the tree, and with places for its indices, = the result."""
    at = at or {}
    left = (Symbol(name, layer, below), at)
    return Equation((left, (tree, at)) if result is None else (left, (tree, at), (Number(float(result)), {})))


def _forward(step, layer, neuron, matrices):
    network = step.network
    n_in, n_out = network.sizes[layer : layer + 2]
    blocks: list[Any] = [Heading(3, f"Layer {layer}: {n_in} to {n_out}, {network.activations[layer]}")]
    a = step.entry("a", layer - 1, ("k",))
    z_tree = Total(a * step.entry("W", layer, ("k", "j")), n_in, "k", "k", step.entry("b", layer))
    a_tree = derivation.forward(network.activations[layer], n_out, step.entry("z", layer))
    blocks += [_equal("z", z_tree, layer=layer), _equal("a", a_tree, layer=layer)]
    if matrices:
        before = Symbol("x") if layer == 0 else Symbol("a", layer - 1)
        product = before @ Symbol("W", layer) + Symbol("b", layer)
        return [
            *blocks,
            _equal("z", product, layer=layer, below=()),
            Matrix(Symbol("W", layer), step.params.W[layer]),
            Matrix(Symbol("b", layer), step.params.b[layer][None]),
            Matrix(Symbol("z", layer), step.trace.z[layer]),
            Matrix(Symbol("a", layer), step.trace.a[layer]),
        ]
    neurons, more = _neurons(step, layer, neuron)
    for j in neurons:
        blocks.append(Words(f"neuron {j} of layer {layer}"))
        for name, tree in (("z", z_tree), ("a", a_tree)):
            result = getattr(step.trace, name)[layer][0, j]
            blocks.append(_equal(name, tree, result, {"j": j}, layer))
    return blocks + more


def _loss(step):
    tree, inside = derivation.loss(*_of_output(step), total=step.total)
    lines = [("S", inside, step.total)] if inside else []
    blocks: list[Any] = [Heading(2, f"Loss: {step.network.loss}")]
    if step.weight is not None:
        blocks.append(Words("w is what the sample counts, and n has the sum of w over the batch, here of one sample."))
    else:
        n = divisor(step.network.loss, step.trace.y, None)
        blocks.append(Words(f"n = {n:g}: the batch is this sample alone; in a trace it is all of its samples."))
    for name, formula, number in [*lines, ("loss", tree, step.trace.loss)]:
        blocks += [_equal(name, formula, below=()), _equal(name, formula, number, {"j": 0}, below=())]
    return blocks


def _of_output(step):
    """What the formulas of the loss are made from."""
    network, last = step.network, step.network.n_layers - 1
    n = Scalar("n", divisor(network.loss, step.trace.y, step.weight))
    w = None if step.weight is None else Scalar("w", step.weight)
    y = Entry("y", None, step.trace.y[0])
    z, a = step.entry("z", last), step.entry("a", last)
    return network.loss, network.activations[-1], network.sizes[-1], z, a, y, n, w


def _backward(step, layer, neuron, matrices, explained):
    network = step.network
    activation, steps = network.activations[layer], _to_delta(step, layer)
    why = [] if explained is None else _why(network, layer, explained)
    a = step.entry("a", layer - 1, ("k",))
    delta = step.entry("delta", layer)
    blocks: list[Any] = [Heading(3, f"Layer {layer}: {activation}"), *why]
    blocks += [_equal(name, tree, layer=layer) for name, tree, _ in steps]
    blocks += [_equal("dW", a * delta, layer=layer, below=("k", "j")), _equal("db", delta, layer=layer)]
    if matrices:
        return blocks + _backward_matrices(step, layer)
    neurons, more = _neurons(step, layer, neuron)
    for j in neurons:
        blocks.append(Words(f"neuron {j} of layer {layer}"))
        blocks += [_equal(name, tree, values[0, j], {"j": j}, layer) for name, tree, values in steps]
        blocks.append(OfInputs(_of_weights(step, layer, j, [("dW", a * delta, step.trace.dW[layer])])))
        blocks.append(_equal("db", delta, at={"j": j}, layer=layer))
    return blocks + more


@dataclass(frozen=True)
class OfInputs:
    """Lines of which a page shows as many as it shows terms of a sum."""

    lines: list[Equation]


def shortened(blocks: list[Any], terms: int) -> Iterator[Any]:
    """The blocks with every `OfInputs` cut to `terms` lines."""
    for block in blocks:
        if not isinstance(block, OfInputs):
            yield block
            continue
        shown = len(block.lines) if len(block.lines) <= terms else max(1, terms - 1)
        yield from block.lines[:shown]
        if shown < len(block.lines):
            yield Words(f"  … {len(block.lines) - shown} more lines")


def _to_delta(step, layer):
    """Names, trees and values of what leads to delta of a layer: da and delta, or delta alone."""
    network, last = step.network, step.network.n_layers - 1
    z, a = step.entry("z", layer), step.entry("a", layer)
    if layer == last:
        first = derivation.loss_backward(*_of_output(step))
        if step.da[layer] is None:
            return [("delta", first, step.trace.delta[layer])]
    else:
        above = Entry("delta", layer + 1, step.trace.delta[layer + 1][0], ("i",))
        weights = Entry("W", layer + 1, step.params.W[layer + 1], ("j", "i"))
        first = Total(above * weights, network.sizes[layer + 2], "i", "i")
    da = Entry("da", layer, step.da[layer][0])
    delta = derivation.backward(network.activations[layer], network.sizes[layer + 1], z, a, da)
    return [("da", first, step.da[layer]), ("delta", delta, step.trace.delta[layer])]


def _why(network, layer, explained):
    """The derivations that a layer needs and no layer before it has shown."""
    activation, n_out = network.activations[layer], network.sizes[layer + 1]
    blocks: list[Any] = []
    if layer == network.n_layers - 1:
        blocks += [Words(f"Why: {network.loss} after {activation}")]
        blocks += derivation.of_loss(network.loss, activation, n_out)
        if together(network.loss, activation):
            return blocks
    if activation not in explained:
        explained.add(activation)
        blocks += [Words(f"Why: {activation}"), *derivation.of_activation(activation, n_out)]
    return blocks


def _backward_matrices(step, layer):
    network, seen = step.network, step.trace
    before = Symbol("x") if layer == 0 else Symbol("a", layer - 1)
    blocks: list[Any] = []
    if layer < network.n_layers - 1:
        product = Symbol("delta", layer + 1) @ Transposed(Symbol("W", layer + 1))
        blocks.append(_equal("da", product, layer=layer, below=()))
    if step.da[layer] is not None:
        blocks.append(Matrix(Symbol("da", layer), step.da[layer]))
        if not ACTIVATIONS[network.activations[layer]].by_rows:
            slope = derivation.partial(Symbol("a"), Symbol("z"))
            blocks.append(_equal("delta", elementwise(Symbol("da", layer), slope), layer=layer, below=()))
    blocks.append(Matrix(Symbol("delta", layer), seen.delta[layer]))
    blocks.append(_equal("dW", Transposed(before) @ Symbol("delta", layer), layer=layer, below=()))
    blocks += [Matrix(Symbol("dW", layer), seen.dW[layer]), Matrix(Symbol("db", layer), seen.db[layer][None])]
    return blocks


def _update(step, layers, neuron, matrices):
    blocks: list[Any] = [Heading(2, f"Update: {type(step.optimizer).__name__.lower()}")]
    if isinstance(step.optimizer, LBFGS):
        said = (
            "Its direction comes from the gradients of all rows in the last steps, its length from a search along it."
        )
        return [*blocks, Words(said), Words("It has no formula for one sample, whose gradients are those above.")]
    blocks += [Equation(((Symbol(each.name), {}), (Number(each.number), {}))) for each in step.settings()]
    for told, words in (
        (step.shrunk, "s is clip_norm, over the norm of all gradients of W and b, which is larger."),
        (
            step.constrained,
            "f is max_norm over the norm of the new weights into a neuron, where that is larger, else 1.",
        ),
    ):
        blocks += [Words(words)] if told else []
    corrections = step.corrections()
    if corrections:
        blocks.append(Words("t counts updates, this one too; m and v are 0 before the first."))
    for name, tree, number in corrections:
        blocks += [_equal(name, tree, below=()), _equal(name, tree, number, {"j": 0}, below=())]
    for layer in layers:
        of_W, of_b = step.update("W", layer), step.update("b", layer)
        blocks.append(Heading(3, f"Layer {layer}"))
        blocks += [_equal(name, tree, layer=layer, below=("k", "j")) for name, tree, _ in of_W]
        blocks += [_equal(name, tree, layer=layer) for name, tree, _ in of_b]
        if matrices:
            blocks += [Matrix(Symbol(name, layer), values) for name, _, values in of_W]
            blocks += [Matrix(Symbol(name, layer), values[None]) for name, _, values in of_b]
            continue
        neurons, more = _neurons(step, layer, neuron)
        for j in neurons:
            blocks += [Words(f"neuron {j} of layer {layer}"), OfInputs(_of_weights(step, layer, j, of_W))]
            blocks += [_equal(name, tree, values[j], {"j": j}, layer) for name, tree, values in of_b]
        blocks += more
    return blocks


def _of_weights(step, layer, j, lines):
    """Lines for each weight of a neuron."""
    return [
        _equal(name, tree, values[k, j], {"k": k, "j": j}, layer, ("k", "j"))
        for k in range(step.network.sizes[layer])
        for name, tree, values in lines
    ]
