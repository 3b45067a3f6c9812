"""Whole epochs over a backend's pairs: what every backend can do, and what faster trainers are held to."""

from __future__ import annotations

import numpy as np

from backprop_ref import metrics, mlp
from backprop_ref.api import as_parameters, on_backend
from backprop_ref.training.state import finite


class PairsTrainer:
    """Whole epochs over a backend's pairs; what compiled trainers do faster, and to the same bits."""

    def __init__(self, backend, network, optimizer, batch_size, shards, metric):
        self.backend, self.network, self.optimizer = backend, network, optimizer
        self.batch_size, self.shards, self.metric = batch_size, shards, metric
        self.measures = 1 if metric == "accuracy" else network.sizes[-1]

    def run(self, params, slots, x, y, orders, learning_rates, poll=lambda: None, kept=None):
        """Trains `params` and `slots` in place, one epoch per learning rate; stops after an epoch that is not finite.

        Parameters
        ----------
        params : Parameters
        slots : dict of str to array
            The optimizer's state.
        x, y : arrays of shape (samples, n_in) and (samples, n_out)
        orders : int64 array of shape (epochs, samples)
            The order of the samples in each epoch.
        learning_rates : list of float
        poll : callable
            Called now and then; raises if Ctrl-C was pressed.
        kept : Snapshots, optional
            Gets the parameters after some of the epochs.

        Returns
        -------
        losses : array of shape (epochs done,)
            Mean of the batch losses, weighted by batch size.
        measures : array of shape (epochs done, 1 or n_out)
            Correct samples, or squared residuals per output.
        """
        losses, measures = [], []
        for epoch, (order, learning_rate) in enumerate(zip(orders, learning_rates, strict=True)):
            batch_losses, measure = [], np.zeros(self.measures)
            for rows in self.batches(order):
                poll()
                batch_loss, outputs = self.step(params, slots, x[rows], y[rows], learning_rate)
                batch_losses.append((batch_loss, len(rows)))
                measure += self.measured(outputs, y[rows])
            total = 0.0
            for batch_loss, size in batch_losses:
                total += float(self.backend.to_numpy(batch_loss)) * size
            losses.append(total / len(order))
            measures.append(measure)
            if kept is not None:
                kept.keep(epoch, params.flat)
            if not finite(losses[-1], params):
                break
        return np.array(losses), np.array(measures)

    def batches(self, order):
        """The rows of each batch of an epoch."""
        return [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]

    def step(self, params, slots, x, y, learning_rate):
        """One update; the batch's loss, still on the device, and its outputs."""
        weights, x, y = on_backend(self.backend, params, x, y)
        loss, grads, outputs = mlp.value_and_grad(self.backend, self.network, weights, x, y, self.shards)
        self.optimizer.step(params, as_parameters(self.backend, grads, params), slots, learning_rate)
        return loss, outputs

    def measured(self, outputs, y):
        """Correct samples, or squared residuals per output, of a batch."""
        a = np.concatenate([self.backend.to_numpy(part) for part in outputs])
        return metrics.count_correct(a, y) if self.metric == "accuracy" else metrics.squared_residuals(a, y)
