"""The definition: a multi-layer perceptron, its forward pass and its backward pass.

Layer l computes ``z[l] = a[l-1] @ W[l] + b[l]`` and ``a[l] = activation[l](z[l])``, with ``a[-1] = x``. With
``delta[l] = dLoss/dz[l]`` the gradients follow from the last layer to the first (Rumelhart, Hinton and Williams 1986;
Nielsen, Neural Networks and Deep Learning, ch. 2, BP1 to BP4):

    delta[L-1] = dLoss/da[L-1] * activation'(z[L-1])
    delta[l]   = (delta[l+1] @ W[l+1].T) * activation'(z[l])
    dW[l]      = a[l-1].T @ delta[l]
    db[l]      = sum over samples of delta[l]

where for softmax, whose outputs depend on every z of their row, the product with activation' is one with its Jacobian.

Under dropout, what a hidden layer hands on is its a times a mask of 0 and 1/(1 − p), and its da is multiplied by the
same (`backprop_ref.dropout`): `masks`, one for each hidden layer, None where nothing is dropped.

Everything here is in the arrays of `backend`, which computes each line; this module says which lines, in which order.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeAlias

from backprop_ref.backends.base import Array, Backend, Trace
from backprop_ref.network import Network


class Weights(NamedTuple):
    """W and b of every layer, in a backend's arrays; gradients come in the same shape."""

    W: list[Array]
    b: list[Array]


class HasWeights(Protocol):
    """What stands for parameters: W and b, a sequence of arrays each."""

    @property
    def W(self) -> Sequence[Array]: ...
    @property
    def b(self) -> Sequence[Array]: ...


Masks: TypeAlias = Sequence[Array | None]
"""Of each hidden layer, (batch, n_out); () without dropout."""


def dropped(values: Array, masks: Masks, layer: int) -> Array:
    """What a hidden layer hands on, up from its a or down from its da."""
    return values if not masks or masks[layer] is None else values * masks[layer]


def forward(
    backend: Backend, network: Network, params: HasWeights, x: Array, masks: Masks = ()
) -> tuple[list[Array], list[Array]]:
    """Pre-activations z and activations a of every layer, each (batch, n_out)."""
    z, a = list[Array](), list[Array]()
    for layer, (W, b, activation) in enumerate(zip(params.W, params.b, network.activations, strict=True)):
        z.append(backend.affine_forward(dropped(a[-1], masks, layer - 1) if a else x, W, b))
        a.append(backend.activation_forward(activation, z[-1]))
    return z, a


def backward(
    backend: Backend,
    network: Network,
    params: HasWeights,
    x: Array,
    z: list[Array],
    a: list[Array],
    delta: Array,
    with_dx: bool = False,
    with_weights: bool = True,
    masks: Masks = (),
) -> tuple[list[Array], list[Array], list[Array], Array]:
    """delta, dW and db of every layer from the last layer's delta, and dx; None for what is not asked for."""
    deltas, dW, db = (list[Array]([None] * network.n_layers) for _ in range(3))
    da = None
    for layer in reversed(range(network.n_layers)):
        if da is not None:
            delta = backend.activation_backward(network.activations[layer], z[layer], a[layer], da)
        deltas[layer] = delta
        if with_weights:
            below = dropped(a[layer - 1], masks, layer - 1) if layer > 0 else x
            dW[layer], db[layer] = backend.affine_backward(delta, below)
        if layer > 0 or with_dx:
            da = backend.affine_backward_input(delta, params.W[layer])
            da = dropped(da, masks, layer - 1) if layer > 0 else da
    return deltas, dW, db, da if with_dx else None


def trace(
    backend: Backend,
    network: Network,
    params: HasWeights,
    x: Array,
    y: Array,
    batch: float | None = None,
    with_dx: bool = True,
    masks: Masks = (),
    weights: Array = None,
) -> Trace:
    """One forward and backward pass with everything it computes.

    `batch` is the number of rows in the whole batch when x and y are one shard of it; with `weights`, one for each row,
    it is needed, and their sum over the whole batch.
    """
    last = network.loss, network.activations[-1]
    z, a = forward(backend, network, params, x, masks)
    weighted = () if weights is None else (weights,)
    loss = backend.loss_forward(*last, z[-1], a[-1], y, batch, *weighted)
    delta = backend.loss_backward(*last, z[-1], a[-1], y, batch, *weighted)
    deltas, dW, db, dx = backward(backend, network, params, x, z, a, delta, with_dx, masks=masks)
    return Trace(x, y, z, a, deltas, dW, db, dx, loss)


def value_and_grad(
    backend: Backend,
    network: Network,
    params: HasWeights,
    x: Array,
    y: Array,
    shards: int = 1,
    masks: Masks = (),
    batch: float | None = None,
    weights: Array = None,
) -> tuple[Array, Weights, list[Array]]:
    """The loss and the gradients as `Weights`, added over `shards` parts of the batch in order; the parts' outputs.

    With `weights`, one for each row, `batch` is their sum.
    """
    parts = [
        trace(
            *(backend, network, params, x[rows, :], y[rows, :]),
            batch=x.shape[0] if batch is None else batch,
            with_dx=False,
            masks=[None if mask is None else mask[rows, :] for mask in masks],
            weights=None if weights is None else weights[rows],
        )
        for rows in cut(x.shape[0], shards)
    ]
    loss, dW, db = parts[0].loss, list(parts[0].dW), list(parts[0].db)
    for part in parts[1:]:
        loss = loss + part.loss
        dW = [total + more for total, more in zip(dW, part.dW, strict=True)]
        db = [total + more for total, more in zip(db, part.db, strict=True)]
    return loss, Weights(dW, db), [part.a[-1] for part in parts]


def vjp(backend: Backend, network: Network, params: HasWeights, x: Array, da: Array) -> tuple[Weights, Array]:
    """Gradients as `Weights`, and dx, for any upstream gradient da = dLoss/da of the last layer."""
    z, a = forward(backend, network, params, x)
    delta = backend.activation_backward(network.activations[-1], z[-1], a[-1], da)
    _, dW, db, dx = backward(backend, network, params, x, z, a, delta, with_dx=True)
    return Weights(dW, db), dx


def cut(batch: int, shards: int) -> list[slice]:
    """Slices that cut a batch into shards: the first (batch mod shards) get a row more; empty ones are left out."""
    small, larger = divmod(batch, shards)
    starts = [shard * small + min(shard, larger) for shard in range(shards + 1)]
    return [slice(start, end) for start, end in zip(starts, starts[1:], strict=False) if start < end]
