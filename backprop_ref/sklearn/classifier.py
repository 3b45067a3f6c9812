"""The classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels
from sklearn.utils.validation import column_or_1d

from backprop_ref.arrays import Batch, Vector
from backprop_ref.backends.base import BackendChoice
from backprop_ref.errors import InvalidInput
from backprop_ref.metrics import threshold
from backprop_ref.optimizers import Optimizer
from backprop_ref.optimizers.lbfgs import LBFGS
from backprop_ref.sklearn.base import BaseMLP, Loss, can_be_partial, named_loss

PROBABILITIES = {"softmax", "logistic"}
OVER_CLASSES = ("cross_entropy", "ce", "categorical", "multi_class_hinge", "multi_margin")
"""Losses that need an output for each class, also of two."""


def _gives_probabilities(model: Any) -> bool:
    return getattr(model, "out_activation_", "softmax") in PROBABILITIES


class MLPClassifier(ClassifierMixin, BaseMLP):
    """A multi-layer perceptron as a classifier, with scikit-learn's interface and this package's training.

    Parameters have the names and defaults of ``sklearn.neural_network.MLPClassifier``, and mean the same; from the same
    `random_state` come the same weights. What is not there is marked +.

    Parameters
    ----------
    hidden_layer_sizes : array-like of int
    activation : str or list of str
        identity, logistic, tanh, relu; + any of `Network`, as 'gelu' or 'elu(0.5)'; + a list of them, one for each
        hidden layer, and one more for the output.
    solver : {'adam', 'sgd', 'lbfgs'} or optimizer
        + An optimizer, as ``br.AdamW(0.01)`` or ``br.LBFGS()``, is taken as it is: with its own learning rate, and
        without `alpha`.
    alpha : float
        Of the penalty alpha/(2n)·ΣW², n being the rows of a batch, or the sum of their weights.
    batch_size, learning_rate, learning_rate_init, power_t, max_iter, shuffle, random_state, tol, verbose, warm_start, \
momentum, nesterovs_momentum, early_stopping, validation_fraction, beta_1, beta_2, epsilon, n_iter_no_change, max_fun
        As there.
    loss : str
        + 'log_loss', or a loss of `Network`: 'cross_entropy(0.1)' smooths labels; under 'hinge' and
        'multi_class_hinge' there is a `decision_function` in the place of `predict_proba`.
    class_weight : 'balanced', dict or list of dict, optional
        + What each class counts, times `sample_weight`.
    backend, numerics : str, optional
        + What computes, and how: see `backprop_ref.get_backend`.
    dtype : {'float64', 'float32'}, optional
        + Default: that of X.

    Attributes
    ----------
    classes_, coefs_, intercepts_, n_features_in_, feature_names_in_, n_iter_, n_layers_, n_outputs_, out_activation_, \
loss_, loss_curve_, best_loss_, t_, validation_scores_, best_validation_score_
        As there; with lbfgs there is a `loss_curve_` too.
    network_ : Network
    params_ : Parameters
        For every function of ``backprop_ref``.

    Notes
    -----
    Sparse X is made dense: so many numbers as it has rows times columns have to fit into memory.

    Where scikit-learn's own numbers are not right, these differ. Its lbfgs is told a loss that is clipped at log(eps)
    with a gradient that is not, and so stops after a few iterations on data that is not scaled; here the loss is
    computed from z. With sample weights and several batches its `loss_curve_` counts each batch by its rows, here by
    its weights; rows of weight 0 it leaves in their batches, here they are as if they were not there.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from backprop_ref.sklearn import MLPClassifier
    >>> x, y = load_iris(return_X_y=True)
    >>> model = MLPClassifier((5,), activation="tanh", solver="lbfgs", random_state=1).fit(x, y)
    >>> bool(model.score(x, y) > 0.95), model.network_.activations
    (True, ('tanh', 'softmax'))
    """

    classes_: npt.NDArray[Any]

    def __init__(
        self,
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
        loss: str = "log_loss",
        class_weight: str | Mapping[Any, float] | Sequence[Mapping[Any, float]] | None = None,
        backend: BackendChoice = None,
        numerics: str | None = None,
        dtype: str | None = None,
    ) -> None:
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
        self.loss = loss
        self.class_weight = class_weight
        self.backend = backend
        self.numerics = numerics
        self.dtype = dtype

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def fit(self, X: Any, y: Any, sample_weight: npt.ArrayLike | None = None) -> MLPClassifier:
        """Trains on X, (samples, features), and y: labels, (samples,), or 0 and 1 of several labels, (samples, labels).

        Parameters
        ----------
        X : array-like, data frame or sparse matrix of shape (samples, features)
        y : array-like of shape (samples,) or (samples, labels)
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
    def partial_fit(
        self, X: Any, y: Any, sample_weight: npt.ArrayLike | None = None, classes: npt.ArrayLike | None = None
    ) -> MLPClassifier:
        """One epoch more, with the optimizer's state of the last one.

        Parameters
        ----------
        X, y, sample_weight
            As of `fit`.
        classes : array-like of shape (classes,)
            All labels that will come; needed in the first call.
        """
        if isinstance(self.class_weight, str):
            raise InvalidInput("class_weight='balanced' needs all of y; give partial_fit the weights, as a dict")
        if classes is not None:
            named = unique_labels(classes)
            if hasattr(self, "classes_") and not np.array_equal(self.classes_, named):
                raise InvalidInput(f"classes={classes!r} are not those of the last call, {self.classes_}")
            if not hasattr(self, "coefs_"):
                self._named = named
        elif not hasattr(self, "classes_"):
            raise ValueError("classes must be passed on the first call to partial_fit.")
        return self._fit(X, y, sample_weight, incremental=True)

    def _fit(self, X: Any, y: Any, sample_weight: npt.ArrayLike | None, incremental: bool) -> MLPClassifier:
        first = self._is_first(incremental)
        X, y = self._checked(X, y=y, reset=first, multi_output=True)
        check_classification_targets(y)
        y = y.toarray() if hasattr(y, "toarray") else y
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        multi_label = y.ndim == 2
        if multi_label and not type_of_target(y).startswith("multilabel"):
            raise ValueError(f"y has {y.shape[1]} columns: several labels are 0 and 1, and classes are one column")
        classes = np.arange(y.shape[1]) if multi_label else unique_labels(y)
        if first:
            self._multi_label = multi_label
            self.classes_ = classes if multi_label or not incremental else self._named
        if multi_label != self._multi_label or (multi_label and len(classes) != len(self.classes_)):
            raise ValueError("y has other columns than in the last call")
        if not first and self.warm_start and not np.array_equal(classes, self.classes_):
            raise ValueError(f"warm_start goes on with the classes {self.classes_}, and y has {classes}")
        strange = np.setdiff1d(classes, self.classes_)
        if len(strange):
            raise ValueError(f"`y` has classes not in `self.classes_`: {strange}; known are {self.classes_}")
        if self.class_weight is not None:
            each = compute_sample_weight(self.class_weight, y)
            sample_weight = each if sample_weight is None else each * np.asarray(sample_weight)
        model: MLPClassifier = self._trained(X, self._targets(y), sample_weight, incremental)
        return model

    def _targets(self, y: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """0 and 1: of each label, of the second of two classes, or of each class."""
        if self._multi_label:
            return y.astype(bool)
        numbers = np.searchsorted(self.classes_, y)[:, None]
        if len(self.classes_) > 2 or self._over_classes():
            return np.asarray(numbers == np.arange(max(2, len(self.classes_))))
        return np.asarray(numbers == 1)

    def _over_classes(self) -> bool:
        """Whether two classes have two outputs."""
        return str(self.loss).startswith(OVER_CLASSES) or self._named_output() == "softmax"

    def _metric(self) -> str:
        return "labels" if self._multi_label else "accuracy"

    def _loss(self, targets: Batch) -> Loss:
        outputs = ("sigmoid", "linear") if self._multi_label or targets.shape[1] == 1 else ("softmax", "linear")
        log_loss = "binary_cross_entropy" if outputs[0] == "sigmoid" else "cross_entropy"
        name, output = named_loss(self.loss, {"log_loss": log_loss}, outputs, self._named_output())
        summed = self.loss == "log_loss" and self._multi_label  # scikit-learn sums over labels, and we take their mean
        return Loss(name, output, float(targets.shape[1]) if summed else 1.0)

    def _stratified(self, targets: Batch) -> Batch | None:
        return targets if targets.shape[1] == 1 else None

    def _score_of(self, outputs: Batch, targets: Batch, sample_weight: Vector | None) -> float:
        found, wanted = self._labels(outputs), self._labels(targets, 0.5)
        return float(accuracy_score(wanted, found, sample_weight=sample_weight))

    def _labels(self, outputs: Batch, above: float | None = None) -> npt.NDArray[Any]:
        """Labels from outputs."""
        yes = outputs > (threshold(self.network_) if above is None else above)
        if self._multi_label:
            return yes.astype(int)
        numbers = yes[:, 0].astype(int) if outputs.shape[1] == 1 else outputs.argmax(axis=1)
        found: npt.NDArray[Any] = self.classes_[np.minimum(numbers, len(self.classes_) - 1)]
        return found

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """The class of each row, (samples,), or 0 and 1 of several labels, (samples, labels)."""
        return self._labels(self._outputs(X))

    @available_if(_gives_probabilities)
    def predict_proba(self, X: Any) -> Batch:
        """The probability of each class, or label, (samples, classes)."""
        a = self._outputs(X)
        return np.hstack([1.0 - a, a]) if a.shape[1] == 1 and not self._multi_label else a

    @available_if(_gives_probabilities)
    def predict_log_proba(self, X: Any) -> Batch:
        """The logarithm of `predict_proba`."""
        with np.errstate(divide="ignore"):
            logarithms: Batch = np.log(self.predict_proba(X))
        return logarithms

    @available_if(lambda model: not _gives_probabilities(model))
    def decision_function(self, X: Any) -> npt.NDArray[Any]:
        """Outputs that are no probabilities, (samples, classes); of two classes (samples,), above the threshold for the
        second."""
        a = self._outputs(X)
        if self._multi_label or len(self.classes_) > 2:
            return a
        return a[:, 1] - a[:, 0] if a.shape[1] == 2 else a[:, 0] - threshold(self.network_)
