"""Where a training that is no longer finite broke."""

import numpy as np

from backprop_ref import mlp
from backprop_ref.api import masks_on, on_backend
from backprop_ref.arrays import Batch, Rows, Vector
from backprop_ref.dropout import Seeds
from backprop_ref.sample_weights import total
from backprop_ref.training.pairs import PairsTrainer
from backprop_ref.training.state import State


def first_bad_step(
    trainer: PairsTrainer,
    state: State,
    data: tuple[Batch, Batch, Vector | None],
    order: Rows,
    rate: float,
    seeds: Seeds | None,
) -> tuple[int | None, str]:
    """Layer and name of the first quantity that is not finite in an epoch, in the order of computation."""
    backend, network, params, (x, y, weights) = trainer.backend, trainer.network, state.params.copy(), data
    slots = {name: slot.copy() for name, slot in state.slots.items()}
    for rows in trainer.batches(order):
        each = None if weights is None else weights[rows]
        given = [x[rows], y[rows]] if each is None else [x[rows], y[rows], each]
        W, x_rows, y_rows, *counted = on_backend(backend, params.copy(), *given)
        masks = trainer.masks(seeds, rows, params)
        trainer.step(params, slots, x[rows], y[rows], rate, masks, each)
        batch = None if each is None else total(each)
        seen = mlp.trace(backend, network, W, x_rows, y_rows, batch, True, masks_on(backend, masks, params), *counted)
        layers = range(network.n_layers)
        computed = [(layer, name, getattr(seen, name)[layer]) for layer in layers for name in ("z", "a")]
        computed.append((network.n_layers - 1, "loss", seen.loss))
        computed += [
            (layer, name, getattr(seen, name)[layer]) for layer in reversed(layers) for name in ("delta", "dW", "db")
        ]
        computed = [(layer, name, backend.to_numpy(array)) for layer, name, array in computed]
        computed += [(layer, name, getattr(params, name)[layer]) for layer in layers for name in ("W", "b")]
        for layer, name, array in computed:
            if not np.isfinite(array).all():
                return layer, f"{name} of layer {layer}"
    return None, "the loss or a weight"
