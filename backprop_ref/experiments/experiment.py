"""A configuration with its data: everything ready to train, and the scores of what was."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from backprop_ref import dropout, metrics
from backprop_ref.api import checked_data, evaluate, loss_and_outputs
from backprop_ref.arrays import memory
from backprop_ref.asking import ask
from backprop_ref.backends import get_backend
from backprop_ref.data import Dataset, Preprocessing
from backprop_ref.errors import InvalidInput, unknown
from backprop_ref.experiments.schema import Config
from backprop_ref.metrics import scores
from backprop_ref.network import Network
from backprop_ref.optimizers.lbfgs import METHODS, AnyOptimizer
from backprop_ref.optimizers.schedules import Constant, Cosine, Step
from backprop_ref.sample_weights import weighted


@dataclass(frozen=True)
class Experiment:
    """A configuration with its data: everything ready to train."""

    config: Config
    dataset: Dataset
    parts: dict[str, np.ndarray]
    """Rows of the data set: train, validation, test."""
    preprocessing: Preprocessing
    network: Network
    optimizer: AnyOptimizer
    schedule: Constant | Step | Cosine

    def xy(self, part):
        """x and y of one part, as the network takes them."""
        rows = self.parts[part]
        return self.preprocessing.x(self.dataset.x[rows]), self.preprocessing.y(self.dataset.target[rows])

    def weights(self, part):
        """What each row of a part counts in the loss, as its column says; None without one."""
        return None if self.dataset.weights is None else self.dataset.weights[self.parts[part]]

    @property
    def class_weight(self):
        """What training is told of classes: 'balanced', weights by their numbers, or None."""
        given, classes = self.config.training.class_weight, self.dataset.classes
        if given is None:
            return None
        if classes is None:
            raise InvalidInput(f"{ask('--class-weight')}: the target is numbers, not classes; leave it out")
        if not isinstance(given, dict):
            return given
        for name in given:
            if name not in classes:
                raise InvalidInput(f"{ask('--class-weight')}: {unknown('class', name, classes)}")
        return {classes.index(name): weight for name, weight in given.items()}

    @property
    def of_steps(self):
        """What each step of training goes by: arguments of `br.train` and `br.find_learning_rate`."""
        training = self.config.training
        return {
            **{name: getattr(training, name) for name in ("shuffle", "seed", "shards", "dropout")},
            "batch_size": None if training.batch_size == "full" else training.batch_size,
            "optimizer": self.optimizer,
            "sample_weight": self.weights("train"),
            "class_weight": self.class_weight,
        }

    @property
    def validation(self):
        """What is looked at after each epoch."""
        if not len(self.parts["validation"]):
            return None
        weights = self.weights("validation")
        return self.xy("validation") if weights is None else (*self.xy("validation"), weights)

    @property
    def metric(self):
        """What the history measures, where the data know better than targets and loss: of one-hot classes no labels."""
        of_labels = metrics.metric_name(self.network, self.xy("train")[1]) == "labels"
        return "accuracy" if of_labels and self.dataset.task == "classification" else None

    def scored(self, part, result, backend):
        """The scores of a part."""
        return score(self.network, result.params, self.preprocessing, self.dataset, self.parts[part], backend)

    def initial_loss(self, params, backend=None):
        """The loss of all training rows, as training weighs them."""
        how = {"sample_weight": self.weights("train"), "class_weight": self.class_weight}
        return evaluate(self.network, params, *self.xy("train"), backend=backend, **how)["loss"]

    def counted(self, part, dtype):
        """x, y and weights of a part as `br.train` has them: without the rows of weight 0."""
        x, y = (array.astype(dtype) for array in self.xy(part))
        return weighted(x, y, self.weights(part), self.class_weight if part == "train" else None)


def described_by(config: Config, preprocessing: Preprocessing) -> tuple[Network, AnyOptimizer, Any]:
    """Network, optimizer and schedule of a configuration, for data with these columns."""
    network = config.network
    sizes: Any = [preprocessing.n_inputs, *(network.hidden or ()), preprocessing.n_outputs]
    activations: Any = [*(network.activation or ()), network.output_activation]
    described = Network(sizes, activations, network.loss or "")
    network.loss = described.loss
    _check_memory(described)
    dropout.checked(config.training.dropout, described)
    return described, _optimizer(config.training), _schedule(config.training)


def _check_memory(network):
    """Refuses what cannot fit into this machine's memory, before the machine is slowed down by it."""
    there = memory()
    needed = 2 * 4 * network.n_parameters  # parameters and gradients, of four bytes each at least
    if there and needed > there:
        raise InvalidInput(
            f"network of {network.n_parameters:,} parameters: {needed / 2**30:,.0f} GiB are needed at least, and "
            f"there are {there / 2**30:,.0f}; give smaller layers"
        )


def _optimizer(training):
    optimizer = METHODS[training.optimizer]
    return optimizer(**{field.name: getattr(training, field.name) for field in fields(optimizer)})


def _schedule(training):
    step, cosine = Step(training.step_epochs, training.step_factor), Cosine(training.minimum_factor)
    return {"constant": Constant(), "step": step, "cosine": cosine}[training.schedule]


def score(network, params, preprocessing, dataset, rows, backend=None):
    """Loss, and the scores of classes with the confusion matrix, or of numbers, on some rows of a data set; None
    without rows. Errors of numbers are in the target's own units, a list where there are several targets.
    """
    if not len(rows):
        return None
    x, y = preprocessing.x(dataset.x[rows]), preprocessing.y(dataset.target[rows])
    backend = get_backend(backend)
    with backend.scope():
        loss, a = loss_and_outputs(backend, network, params, *checked_data(network, x, y, params.dtype))
    if dataset.weights is not None:  # rows of weight 0 have no part in the loss, and are scored with all others
        loss = evaluate(network, params, x, y, sample_weight=dataset.weights[rows], backend=backend)["loss"]
    scored, truth = {"loss": loss}, dataset.target[rows]
    if dataset.task == "regression":
        labels = scores.of_labels(a, y) if metrics.metric_name(network, y) == "labels" else {}
        root, absolute = scores.residuals(*(values.reshape(a.shape) for values in (preprocessing.values(a), truth)))
        errors = {"rmse": root, "mae": absolute} if len(root) > 1 else {"rmse": root[0], "mae": absolute[0]}
        return {
            **scored,
            "r2": metrics.score("r2", a, y),
            **errors,
            "targets": list(preprocessing.target_names),
            **labels,
        }
    n = len(preprocessing.classes)
    return {
        **scored,
        **scores.of_classes(network, a, truth, n),
        "classes": list(preprocessing.classes),
        "confusion": scores.confusion(a, truth, n).tolist(),
    }
