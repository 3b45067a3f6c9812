"""Forward and backward passes with many sets of parameters at once: one for each epoch of a trace.

Arrays here are (neurons, samples, epochs), or (n_in, n_out, epochs) for weights: each operation is one line over all
epochs. Sums are made in index order, one term at a time; activations and the loss are the backend's own pairs, which
see each sample of each epoch as a row. So under reproducible numerics the bits are those of `mlp.trace`.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from backprop_ref.arrays import Batch, Matrix, Vector
from backprop_ref.backends.base import Backend
from backprop_ref.network import Network
from backprop_ref.parameters import views
from backprop_ref.sample_weights import total

PerEpoch: TypeAlias = npt.NDArray[Any]
"""Shape (neurons, samples, epochs), (n_in, n_out, epochs) or (n_out, epochs)."""


def passes(
    backend: Backend, network: Network, flats: Matrix, x: Batch, y: Batch, weights: Vector | None = None
) -> dict[str, Sequence[PerEpoch]]:
    """One pass of NumPy's backend over the samples, which are one batch, for each row of `flats`."""
    epochs, last = len(flats), network.n_layers - 1
    W, b = views(np.ascontiguousarray(flats.T), network.sizes)
    z: list[PerEpoch] = []
    a: list[PerEpoch] = [np.broadcast_to(x.T[:, :, None], (*x.T.shape, epochs))]
    with backend.scope(), np.errstate(all="ignore"):
        for layer, activation in enumerate(network.activations):
            z.append(affine(a[-1], W[layer], b[layer]))
            a.append(_unfold(backend.activation_forward(activation, _rows(z[-1])), epochs))
        targets, output = np.repeat(y, epochs, axis=0), network.activations[-1]
        batch, each = (len(x), None) if weights is None else (total(weights), np.repeat(weights, epochs))
        found = backend.loss_backward(network.loss, output, _rows(z[last]), _rows(a[-1]), targets, batch, each)
        delta = [_unfold(found, epochs)]
        for layer in reversed(range(last)):
            da = affine_input(delta[0], W[layer + 1])
            seen = (_rows(array) for array in (z[layer], a[layer + 1], da))
            delta.insert(0, _unfold(backend.activation_backward(network.activations[layer], *seen), epochs))
        gradients = [affine_parameters(*pair) for pair in zip(delta, a, strict=False)]
    dW, db = map(list, zip(*gradients, strict=True))
    return {"z": z, "a": a[1:], "delta": delta, "dW": dW, "db": db}


def affine(a: PerEpoch, W: PerEpoch, b: PerEpoch) -> PerEpoch:
    """z = b + a[0] W[0] + a[1] W[1] + ..."""
    z = np.repeat(b[:, None], a.shape[1], axis=1)
    for k in range(len(W)):
        z += a[k] * W[k][:, None]
    return z


def affine_input(delta: PerEpoch, W: PerEpoch) -> PerEpoch:
    """da = delta[0] W[:, 0] + delta[1] W[:, 1] + ..."""
    da = np.zeros((len(W), *delta.shape[1:]), delta.dtype)
    for j in range(len(delta)):
        da += delta[j] * W[:, j][:, None]
    return da


def affine_parameters(delta: PerEpoch, a: PerEpoch) -> tuple[PerEpoch, PerEpoch]:
    """dW = a[0] delta[0] + a[1] delta[1] + ... over the samples, and db likewise."""
    dW = np.zeros((len(a), len(delta), delta.shape[2]), delta.dtype)
    db = np.zeros((len(delta), delta.shape[2]), delta.dtype)
    for s in range(delta.shape[1]):
        dW += a[:, s][:, None] * delta[:, s]
        db += delta[:, s]
    return dW, db


def _rows(array: PerEpoch) -> Batch:
    """(neurons, samples, epochs) as a row of neurons for each sample of each epoch."""
    return array.reshape(len(array), -1).T


def _unfold(rows: Batch, epochs: int) -> PerEpoch:
    """What `_rows` folded."""
    return rows.T.reshape(rows.shape[1], -1, epochs)
