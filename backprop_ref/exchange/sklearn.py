"""scikit-learn: a fitted multi-layer perceptron, and the scaling before it in a pipeline."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from backprop_ref.data.preprocessing import Preprocessing
from backprop_ref.errors import InvalidInput
from backprop_ref.exchange.models import made
from backprop_ref.network import Network
from backprop_ref.network.model_file import Model

ACTIVATIONS = {"identity": "linear", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu", "softmax": "softmax"}
SCALERS = ("StandardScaler", "MinMaxScaler")


def from_sklearn(estimator: object) -> Model:
    """The model of a fitted MLPClassifier or MLPRegressor, or of a pipeline of a scaler and one of them.

    Parameters
    ----------
    estimator : MLPClassifier, MLPRegressor, or sklearn.pipeline.Pipeline
        Those of scikit-learn, or of `backprop_ref.sklearn`.
        Its scaler may be a StandardScaler or a MinMaxScaler; it becomes part of the model's preprocessing, like the
        names of features and classes.

    Raises
    ------
    InvalidInput
        It is something else, is not fitted, or has a step that a model cannot hold.

    Examples
    --------
    >>> import backprop_ref as br
    >>> from sklearn.neural_network import MLPClassifier
    >>> theirs = MLPClassifier((3,), max_iter=2000, random_state=1).fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1])
    >>> br.from_sklearn(theirs).network
    Network(sizes=(1, 3, 1), activations=('relu', 'sigmoid'), loss='binary_cross_entropy')
    """
    named = getattr(estimator, "steps", [("", estimator)])
    steps: list[Any] = [step for _, step in named if step is not None and not isinstance(step, str)]
    mlp: Any = steps[-1] if steps else estimator
    kind = type(mlp).__name__
    if kind not in {"MLPClassifier", "MLPRegressor"}:
        raise InvalidInput(f"from_sklearn: a fitted MLPClassifier or MLPRegressor is needed, got {kind}")
    if not hasattr(mlp, "coefs_"):
        raise InvalidInput(f"from_sklearn: the {kind} is not fitted; call fit(X, y) first")
    if len(steps) > 2 or any(type(step).__name__ not in SCALERS for step in steps[:-1]):
        wrong = next((type(step).__name__ for step in steps[:-1] if type(step).__name__ not in SCALERS), "two scalers")
        raise InvalidInput(f"from_sklearn: {wrong} before the {kind}: only one of {' or '.join(SCALERS)} can be kept")
    if isinstance(getattr(mlp, "network_", None), Network):
        if mlp.out_activation_ == "exp":
            raise InvalidInput("from_sklearn: loss='poisson' predicts exp of the outputs, which a model cannot hold")
        model = Model(mlp.network_, mlp.params_, None)
    else:
        model = _theirs(mlp)
    preprocessing = _preprocessing(estimator, mlp, steps[:-1], model.network).to_dict()
    return model._replace(preprocessing=json.loads(json.dumps(preprocessing)))


def _theirs(mlp: Any) -> Model:
    """The model of scikit-learn's own estimator."""
    if mlp.activation not in ACTIVATIONS or mlp.out_activation_ not in ACTIVATIONS:
        raise InvalidInput(f"from_sklearn: activation {mlp.out_activation_} has no name here")
    activations = [ACTIVATIONS[mlp.activation]] * (len(mlp.coefs_) - 1) + [ACTIVATIONS[mlp.out_activation_]]
    return made("from_sklearn", mlp.coefs_, mlp.intercepts_, activations, None, loss=_loss(mlp))


def _loss(mlp: Any) -> str | None:
    return "mean_squared_error" if mlp.out_activation_ == "identity" else None


def _preprocessing(estimator: Any, mlp: Any, scalers: list[Any], network: Network) -> Preprocessing:
    """How its columns become x, and what its outputs stand for."""
    n_in, n_out = network.sizes[0], network.sizes[-1]
    names = getattr(estimator, "feature_names_in_", [f"x{i}" for i in range(n_in)])
    shift, scale = _scaling(scalers[0], n_in) if scalers else (np.zeros(n_in), np.ones(n_in))
    classes = getattr(mlp, "classes_", None)
    labels = classes is not None and len(classes) != max(2, n_out)
    if classes is not None and not labels:
        ours = getattr(mlp, "_multi_label", None)
        labels = mlp._label_binarizer.y_type_ == "multilabel-indicator" if ours is None else ours
    targets = tuple(f"y{i}" for i in range(n_out)) if (classes is None and n_out > 1) or labels else ()
    return Preprocessing(
        feature_names=tuple(map(str, names)),
        target_name=targets[0] if targets else "y",
        classes=None if classes is None or labels else tuple(map(str, classes)),
        shift=tuple(shift.tolist()),
        scale=tuple(scale.tolist()),
        target_shift=(0.0,) * n_out if targets else 0.0,
        target_scale=(1.0,) * n_out if targets else 1.0,
        one_column=classes is not None and not labels and n_out == 1,
        normalize="none" if not scalers else "standardize" if type(scalers[0]).__name__ == SCALERS[0] else "minmax",
        targets=targets,
    )


def _scaling(scaler: Any, n_in: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Shift and scale: x = (column − shift) / scale."""
    if not hasattr(scaler, "n_features_in_"):
        raise InvalidInput(f"from_sklearn: the {type(scaler).__name__} is not fitted")
    if type(scaler).__name__ == "StandardScaler":
        zeros, ones = np.zeros(n_in), np.ones(n_in)
        return (zeros if scaler.mean_ is None else scaler.mean_), (ones if scaler.scale_ is None else scaler.scale_)
    if scaler.clip:
        raise InvalidInput("from_sklearn: a MinMaxScaler that clips cannot be kept; give it clip=False")
    return -scaler.min_ / scaler.scale_, 1.0 / scaler.scale_
