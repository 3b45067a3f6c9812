"""After each epoch: what scikit-learn notes, whether it stops, and its learning rate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from backprop_ref.parameters import Parameters
from backprop_ref.training.state import Epoch

SMALLEST_RATE = 1e-6
"""An adaptive rate that is no larger does not fall any more; training stops."""


class Watch:
    """The callback of a training, which stops it, and with `schedule` its schedule.

    An epoch whose loss is above the best less `tol` counts as one without progress, also if it is the best; training
    stops where more than `n_iter_no_change` of them follow each other. With a validation score the same holds of that.

    Parameters
    ----------
    model : estimator
        Gets the attributes of scikit-learn's.
    samples : int
        Of an epoch.
    loss : callable
        scikit-learn's loss from that of the history.
    score : callable, optional
        The validation score of parameters.
    """

    def __init__(
        self,
        model: Any,
        samples: int,
        loss: Callable[[float], float],
        score: Callable[[Parameters], float] | None,
    ) -> None:
        self.model, self.samples, self.loss, self.score = model, samples, loss, score
        self.best: Parameters | None = None

    def __call__(self, epoch: Epoch) -> bool:
        model = self.model
        model.n_iter_ += 1
        model.t_ += self.samples
        model.loss_ = self.loss(epoch.values["loss"])
        model.loss_curve_.append(model.loss_)
        if model.verbose:
            print(f"Iteration {model.n_iter_}, loss = {model.loss_:.8f}")
        progress = self._of_loss() if self.score is None else self._of_score(epoch.params, self.score)
        model._no_improvement_count = 0 if progress else model._no_improvement_count + 1
        if model.solver == "sgd" and model.learning_rate == "invscaling":
            model._rate = float(model.learning_rate_init) / (model.t_ + 1) ** model.power_t
        if model._no_improvement_count <= model.n_iter_no_change:
            return False
        what = "Training loss" if self.score is None else "Validation score"
        said = f"{what} did not improve more than tol={model.tol:f} for {model.n_iter_no_change} consecutive epochs."
        if model.solver != "sgd" or model.learning_rate != "adaptive":
            return self._stops(f"{said} Stopping.")
        if model._rate <= SMALLEST_RATE:
            return self._stops(f"{said} Learning rate too small. Stopping.")
        model._rate /= 5.0
        model._no_improvement_count = 0
        self._say(f"{said} Setting learning rate to {model._rate:f}")
        return False

    def schedule(self, epoch: int, epochs: int) -> float:
        """The factor on `learning_rate_init` in the epoch to come."""
        return float(self.model._rate / self.model.learning_rate_init)

    def _of_loss(self) -> bool:
        """Whether the training loss fell by `tol`."""
        model = self.model
        progress = not model.loss_ > model.best_loss_ - model.tol
        model.best_loss_ = min(model.best_loss_, model.loss_)
        return bool(progress)

    def _of_score(self, params: Parameters, score: Callable[[Parameters], float]) -> bool:
        """Whether the validation score rose by `tol`; keeps the best parameters."""
        model, found = self.model, score(params)
        model.validation_scores_.append(found)
        self._say(f"Validation score: {found:f}")
        progress = not found < model.best_validation_score_ + model.tol
        if found > model.best_validation_score_:
            model.best_validation_score_, self.best = found, params.copy()
        return progress

    def _stops(self, why: str) -> bool:
        self._say(why)
        return True

    def _say(self, what: str) -> None:
        if self.model.verbose:
            print(what)


def begin(model: Any) -> None:
    """The attributes before the first epoch of all."""
    model.n_iter_ = model.t_ = model._no_improvement_count = 0
    model.loss_curve_ = []
    model.best_loss_ = None if model.early_stopping else np.inf
    model.validation_scores_ = [] if model.early_stopping else None
    model.best_validation_score_ = -np.inf if model.early_stopping else None
