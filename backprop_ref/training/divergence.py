"""Where a training that is no longer finite broke."""

import numpy as np

from backprop_ref import mlp
from backprop_ref.api import masks_on, on_backend
from backprop_ref.arrays import Batch, Rows
from backprop_ref.dropout import Seeds
from backprop_ref.training.pairs import PairsTrainer
from backprop_ref.training.state import State


def first_bad_step(
    trainer: PairsTrainer, state: State, x: Batch, y: Batch, order: Rows, rate: float, seeds: Seeds | None
) -> tuple[int | None, str]:
    """Layer and name of the first quantity that is not finite in an epoch, in the order of computation."""
    backend, network, params = trainer.backend, trainer.network, state.params.copy()
    slots = {name: slot.copy() for name, slot in state.slots.items()}
    for rows in trainer.batches(order):
        weights, x_rows, y_rows = on_backend(backend, params.copy(), x[rows], y[rows])
        masks = trainer.masks(seeds, rows, params)
        trainer.step(params, slots, x[rows], y[rows], rate, masks)
        seen = mlp.trace(backend, network, weights, x_rows, y_rows, masks=masks_on(backend, masks, params))
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
