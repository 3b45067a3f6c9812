"""The regressor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.metaestimators import available_if

from backprop_ref.arrays import Batch, Vector
from backprop_ref.backends.base import BackendChoice
from backprop_ref.errors import InvalidInput
from backprop_ref.optimizers import Optimizer
from backprop_ref.optimizers.lbfgs import LBFGS
from backprop_ref.sklearn.base import BaseMLP, Loss, can_be_partial, named_loss


class MLPRegressor(RegressorMixin, BaseMLP):
    """A multi-layer perceptron for regression, with scikit-learn's interface and this package's training.

    Parameters have the names and defaults of ``sklearn.neural_network.MLPRegressor``, and mean the same; from the same
    `random_state` come the same weights. What is not there is marked +.

    Parameters
    ----------
    loss : str
        'squared_error', half of the mean squared error, or 'poisson', half of the Poisson deviance of exp(z); + a loss
        of `Network`, as 'huber(0.5)'.
    hidden_layer_sizes, activation, solver, alpha, batch_size, learning_rate, learning_rate_init, power_t, max_iter, \
shuffle, random_state, tol, verbose, warm_start, momentum, nesterovs_momentum, early_stopping, validation_fraction, \
beta_1, beta_2, epsilon, n_iter_no_change, max_fun, backend, numerics, dtype
        As of `MLPClassifier`.

    Attributes
    ----------
    coefs_, intercepts_, n_features_in_, feature_names_in_, n_iter_, n_layers_, n_outputs_, out_activation_, loss_, \
loss_curve_, best_loss_, t_, validation_scores_, best_validation_score_, network_, params_
        As of `MLPClassifier`.

    Notes
    -----
    With several outputs scikit-learn's squared error is half of the mean over them, and its gradient that of half of
    their sum, so many times too large as there are outputs; here the gradient is that of the loss. What is said of
    `MLPClassifier` holds as well.

    Examples
    --------
    >>> from backprop_ref.sklearn import MLPRegressor
    >>> model = MLPRegressor("huber(0.5)", (), solver="lbfgs", alpha=0.0, random_state=1)
    >>> model.fit([[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0]).predict([[3.0]]).round(3).tolist()
    [7.0]
    """

    def __init__(
        self,
        loss: str = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: str | Sequence[str] = "relu",
        *,
        solver: str | Optimizer | LBFGS = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        backend: BackendChoice = None,
        numerics: str | None = None,
        dtype: str | None = None,
    ) -> None:
        self.loss = loss
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.backend = backend
        self.numerics = numerics
        self.dtype = dtype

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any, sample_weight: npt.ArrayLike | None = None) -> MLPRegressor:
        """Trains on X, (samples, features), and y, numbers of shape (samples,) or (samples, outputs).

        Parameters
        ----------
        X : array-like, data frame or sparse matrix of shape (samples, features)
        y : array-like of shape (samples,) or (samples, outputs)
        sample_weight : array-like of shape (samples,), optional
            What each sample counts in the loss, which is Σ w·loss / Σ w over a batch.

        Raises
        ------
        ValueError
            Data or parameters that do not fit.
        TrainingDiverged
            A loss or weight is no longer finite.
        """
        return self._fit(X, y, sample_weight, incremental=False)

    @available_if(can_be_partial)
    def partial_fit(self, X: Any, y: Any, sample_weight: npt.ArrayLike | None = None) -> MLPRegressor:
        """One epoch more, with the optimizer's state of the last one; parameters as of `fit`."""
        return self._fit(X, y, sample_weight, incremental=True)

    def _fit(self, X: Any, y: Any, sample_weight: npt.ArrayLike | None, incremental: bool) -> MLPRegressor:
        X, y = self._checked(X, y=y, reset=self._is_first(incremental), multi_output=True, y_numeric=True)
        self._is_flat = y.ndim == 1
        targets = y.reshape(-1, 1) if y.ndim == 1 else y
        if self.loss == "poisson" and (targets < 0).any():
            raise InvalidInput("y has a value below 0, which loss='poisson' knows no likelihood of")
        model: MLPRegressor = self._trained(X, targets, sample_weight, incremental)
        if self._is_log():
            self.out_activation_ = "exp"
        return model

    def _is_log(self) -> bool:
        """Whether the network's output is the logarithm of what is predicted."""
        found: bool = self.loss == "poisson" and self.network_.activations[-1] == "linear"
        return found

    def _metric(self) -> str:
        return "r2"

    def _loss(self, targets: Batch) -> Loss:
        aliases = {"squared_error": "mean_squared_error", "absolute_error": "mean_absolute_error"}
        name, output = named_loss(self.loss, aliases, ("linear",), self._named_output())
        if self.loss == "squared_error":
            return Loss(name, output, 0.5)
        if self.loss == "poisson":
            from scipy.special import xlogy

            constant = float((xlogy(targets, targets) - targets).sum(axis=1).mean())
            return Loss(name, output, float(targets.shape[1]), constant)
        return Loss(name, output)

    def _predicted(self, outputs: Batch) -> Batch:
        return np.exp(outputs) if self._is_log() else outputs

    def _score_of(self, outputs: Batch, targets: Batch, sample_weight: Vector | None) -> float:
        return float(r2_score(targets, self._predicted(outputs), sample_weight=sample_weight))

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """The prediction for each row, of the shape that y had: (samples,) or (samples, outputs)."""
        a = self._predicted(self._outputs(X))
        return a[:, 0] if self._is_flat else a
