"""What the estimators share: scikit-learn's parameters put into a network, an optimizer and a call of `train`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from backprop_ref import api
from backprop_ref.arrays import Batch, Matrix, Vector
from backprop_ref.errors import InvalidInput, unknown
from backprop_ref.formulas import LOSSES
from backprop_ref.network import Network, activation_name, loss_name
from backprop_ref.optimizers import SGD, Adam, Optimizer
from backprop_ref.optimizers.lbfgs import LBFGS
from backprop_ref.parameters import Parameters
from backprop_ref.random import Stream
from backprop_ref.sample_weights import weighted
from backprop_ref.sklearn import watch
from backprop_ref.sklearn.random_state import Shuffled, initial
from backprop_ref.sklearn.watch import Watch
from backprop_ref.sklearn.whole_data import minimised
from backprop_ref.training.train import train

OURS = {"logistic": "sigmoid", "identity": "linear"}
THEIRS = {ours: theirs for theirs, ours in OURS.items()}
"""Names of activations."""

SOLVERS, LEARNING_RATES = ("lbfgs", "sgd", "adam"), ("constant", "invscaling", "adaptive")
FLOATS = (np.float64, np.float32)


class Loss(NamedTuple):
    """A loss of ours that stands for one of scikit-learn's."""

    name: str
    output: str
    """The activation of the last layer, where the estimator names none."""
    factor: float = 1.0
    """What scikit-learn's loss is times ours."""
    constant: float = 0.0
    """What it is more."""


def can_be_partial(model: Any) -> bool:
    """Whether an estimator has `partial_fit`; says why not."""
    if model.solver == "lbfgs" or isinstance(model.solver, LBFGS):
        raise AttributeError("partial_fit needs a stochastic solver, sgd or adam; lbfgs takes all samples at once")
    return True


class BaseMLP(BaseEstimator):
    """See `MLPClassifier` and `MLPRegressor`."""

    coefs_: list[Matrix]
    intercepts_: list[Vector]
    loss_curve_: list[float]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    @property
    def params_(self) -> Parameters:
        """Weights and biases for the functions of ``backprop_ref``: a copy of `coefs_` and `intercepts_`."""
        check_is_fitted(self)
        return Parameters.from_arrays(self.coefs_, self.intercepts_)

    @params_.setter
    def params_(self, params: Parameters) -> None:
        self.coefs_, self.intercepts_ = list(params.W), list(params.b)

    # what the two kinds do in their own ways

    def _metric(self) -> str:
        """What `train` measures."""
        raise NotImplementedError

    def _loss(self, targets: Batch) -> Loss:
        """The loss for these targets, and its output activation."""
        raise NotImplementedError

    def _score_of(self, outputs: Batch, targets: Batch, sample_weight: Vector | None) -> float:
        """The validation score."""
        raise NotImplementedError

    def _stratified(self, targets: Batch) -> Batch | None:
        """What a validation set is stratified by."""
        return None

    # data

    def _checked(self, X: Any, **how: Any) -> Any:
        """X as scikit-learn checks it, and dense; with y, if that is among the settings."""
        asked = FLOATS if self.dtype is None else np.dtype(self.dtype)
        found = validate_data(self, X, accept_sparse=True, dtype=asked, **how)
        X, *rest = found if "y" in how else (found,)
        X = X.toarray() if hasattr(X, "toarray") else X
        return (X, *rest) if rest else X

    def _outputs(self, X: Any) -> Batch:
        """The network's outputs."""
        check_is_fitted(self)
        return self._outputs_of(self.params_, self._checked(X, reset=False))

    def _outputs_of(self, params: Parameters, X: Batch) -> Batch:
        X = X.astype(params.dtype, copy=False)
        return api.predict(self.network_, params, X, backend=self.backend, numerics=self.numerics)

    # training

    def _is_first(self, incremental: bool) -> bool:
        """Whether training begins anew."""
        return not hasattr(self, "coefs_") or not (self.warm_start or incremental)

    def _trained(self, X: Batch, targets: npt.NDArray[Any], sample_weight: Any, incremental: bool) -> Any:
        """Trains on checked data; `incremental` is one epoch more."""
        self._check()
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
        random, loss = check_random_state(self.random_state), self._loss(targets)
        network = self._network(X.shape[1], targets.shape[1], loss)
        if self._is_first(incremental):
            self.network_ = network
            self.params_ = initial(network, random, X.dtype.name)
            watch.begin(self)
        elif network.sizes != self.network_.sizes:
            raise InvalidInput(
                f"training goes on with sizes {list(self.network_.sizes)}, and the parameters and data say "
                f"{list(network.sizes)}; set warm_start=False to begin anew"
            )
        self.n_layers_, self.n_outputs_ = len(network.sizes), network.sizes[-1]
        self.out_activation_ = THEIRS.get(network.activations[-1], network.activations[-1])
        X = X.astype(self.coefs_[0].dtype, copy=False)
        targets = np.asarray(targets, X.dtype)
        if self.solver == "lbfgs":
            self._minimised(X, targets, sample_weight, loss)
        else:
            self._descended(X, targets, sample_weight, loss, random, incremental)
        return self

    def _check(self) -> None:
        """Refuses parameters that nothing else looks at."""
        if isinstance(self.solver, str) and self.solver not in SOLVERS:
            raise unknown("solver", self.solver, SOLVERS)
        if not isinstance(self.solver, str | Optimizer | LBFGS):
            raise InvalidInput(
                f"solver={self.solver!r}: {', '.join(SOLVERS)} or an optimizer, as br.AdamW(), is needed"
            )
        if self.learning_rate not in LEARNING_RATES:
            raise unknown("learning_rate", str(self.learning_rate), LEARNING_RATES)
        limits = {"alpha": 0.0, "tol": 0.0, "max_iter": 1, "max_fun": 1, "n_iter_no_change": 1, "power_t": 0.0}
        limits |= dict.fromkeys(("epsilon", "learning_rate_init", "validation_fraction"), 0.0)
        for name, least in limits.items():
            value = getattr(self, name)
            number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
            if not number or not value >= least:
                raise InvalidInput(f"{name}={value!r}: a number, {least:g} or more, is needed")
        if not self.validation_fraction < 1.0:
            raise InvalidInput(
                f"validation_fraction={self.validation_fraction!r}: a number from 0 to below 1 is needed"
            )
        if not isinstance(self.solver, LBFGS) and not (
            self.batch_size == "auto" or (isinstance(self.batch_size, int | np.integer) and self.batch_size >= 1)
        ):
            raise InvalidInput(f"batch_size={self.batch_size!r}: 'auto', or a whole number, 1 or more, is needed")

    def _network(self, n_in: int, n_out: int, loss: Loss) -> Network:
        """What the parameters say, between so many features and outputs."""
        hidden = self._hidden_sizes()
        activations = [*self._names(len(hidden))[: len(hidden)], loss.output]
        return Network([n_in, *hidden, n_out], activations, loss.name)

    def _hidden_sizes(self) -> list[int]:
        sizes = self.hidden_layer_sizes
        found = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
        if any(isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1 for n in found):
            raise InvalidInput(f"hidden_layer_sizes={sizes!r}: whole numbers, 1 or more, are needed")
        return [int(n) for n in found]

    def _names(self, hidden: int) -> list[str]:
        """Our names of the activations that are given: of the hidden layers, and the output's where it is named."""
        if isinstance(self.activation, str):
            return [activation_name(OURS.get(self.activation, self.activation))] * hidden
        if not hasattr(self.activation, "__iter__") or not all(isinstance(name, str) for name in self.activation):
            raise InvalidInput(f"activation={self.activation!r}: a name, or one for each hidden layer, is needed")
        names = [activation_name(OURS.get(name, name)) for name in self.activation]
        if len(names) not in {hidden, hidden + 1}:
            raise InvalidInput(
                f"activation has {len(names)} names for {hidden} hidden layers: one name, one for each of them, or one "
                "more, the output's, is needed"
            )
        return names

    def _named_output(self) -> str | None:
        """The output's activation, where `activation` names it."""
        hidden = len(self._hidden_sizes())
        return self._names(hidden)[hidden] if len(self._names(hidden)) > hidden else None

    def _optimizer(self, loss: Loss) -> Optimizer | LBFGS:
        """scikit-learn's loss is `factor` times ours; so are its gradients."""
        if isinstance(self.solver, Optimizer | LBFGS):
            return self.solver
        rate, factor = self.learning_rate_init, loss.factor
        if self.solver == "adam":
            epsilon = self.epsilon / factor
            return Adam(rate, self.beta_1, self.beta_2, epsilon, l2=self.alpha / factor, epsilon_hat=True)
        return SGD(
            rate * factor,
            self.momentum,
            bool(self.nesterovs_momentum and self.momentum > 0.0),
            l2=self.alpha / factor,
            rate_in_velocity=self.learning_rate != "constant",
        )

    def _descended(
        self,
        X: Batch,
        targets: Batch,
        sample_weight: Vector | None,
        loss: Loss,
        random: np.random.RandomState,
        incremental: bool,
    ) -> None:
        """Trains by steps on batches, until the rule says stop."""
        score: Callable[[Parameters], float] | None = None
        if self.early_stopping:
            if incremental:
                raise InvalidInput("partial_fit does not support early_stopping=True: it sees no whole training")
            X, targets, sample_weight, score = self._split(X, targets, sample_weight, random)
        whole = isinstance(self.solver, LBFGS)
        if not incremental or not hasattr(self, "_state"):
            self._state, self._rate = None, float(self.learning_rate_init)
        if not isinstance(self.solver, str):
            loss = loss._replace(factor=1.0, constant=0.0)
        self.n_iter_ = 0
        seen = Watch(self, len(X), lambda value: loss.factor * value + loss.constant, score)
        orders = Shuffled(random, len(X)) if self.shuffle and not whole else None
        if sample_weight is not None:
            kept = int(np.count_nonzero(sample_weight))
            orders = Shuffled(random, kept) if orders is not None else None
        params, state = self.params_, self._state
        if state is not None:
            state = state._replace(params=params, random=Stream(1, "shuffle").state if orders is None else orders.state)
        result = train(
            self.network_,
            params,
            X,
            targets,
            epochs=1 if incremental else self.max_iter,
            batch_size=None if whole else self._rows(len(X)),
            optimizer=self._optimizer(loss),
            schedule=seen.schedule if self.solver == "sgd" and self.learning_rate != "constant" else None,
            shuffle=False if orders is None else orders,
            sample_weight=sample_weight,
            metric=self._metric(),
            callback=seen,
            state=state,
            progress=False,
            backend=self.backend,
            numerics=self.numerics,
        )
        self.params_ = result.params if seen.best is None else seen.best
        if result.state is not None:
            last = {name: column[-1:] for name, column in result.state.columns.items()}
            self._state = result.state._replace(columns=last, epoch=1, random={})
        if result.stopped == "interrupted":
            warnings.warn("Training interrupted by user.", stacklevel=4)
        elif result.stopped == "epochs" and not incremental:
            self._warn(
                f"Maximum iterations ({self.max_iter}) reached and the optimization hasn't converged; raise max_iter"
            )

    def _split(self, X: Batch, targets: Batch, sample_weight: Vector | None, random: np.random.RandomState) -> Any:
        """Rows to train on, and the score of parameters on the others."""
        given = [X, targets, *([] if sample_weight is None else [sample_weight])]
        how = {"random_state": random, "test_size": self.validation_fraction, "stratify": self._stratified(targets)}
        X, held_x, targets, held_targets, *weights = train_test_split(*given, **how)
        sample_weight, held_weight = weights or (None, None)
        if len(held_x) < 2:
            raise InvalidInput(
                f"the validation set has {len(held_x)} rows; give a larger validation_fraction, or more data"
            )

        def score(params: Parameters) -> float:
            outputs = self._outputs_of(params, held_x)
            finite = np.isfinite(outputs).all()
            return self._score_of(outputs, held_targets, held_weight) if finite else np.nan

        return X, targets, sample_weight, score

    def _rows(self, samples: int) -> int:
        """Of a batch."""
        if self.batch_size == "auto":
            return min(200, samples)
        if self.batch_size > samples:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped", stacklevel=5
            )
        return min(int(self.batch_size), samples)

    def _minimised(self, X: Batch, targets: Batch, sample_weight: Vector | None, loss: Loss) -> None:
        """Trains on all samples at once."""
        X, targets, each = weighted(X, targets, sample_weight, None)
        self.loss_curve_ = []
        self.params_, found = minimised(
            self.network_,
            self.params_,
            X,
            targets,
            each,
            factor=loss.factor,
            alpha=self.alpha,
            tol=self.tol,
            max_iter=self.max_iter,
            max_fun=self.max_fun,
            backend=self.backend,
            numerics=self.numerics,
            callback=lambda value: self.loss_curve_.append(value + loss.constant),
        )
        self.n_iter_, self.loss_ = min(found.nit, self.max_iter), float(found.fun) + loss.constant
        self.best_loss_ = self.loss_
        if found.status != 0:
            self._warn(
                f"lbfgs failed to converge after {found.nit} iterations: {found.message}; raise max_iter "
                f"({self.max_iter}) or max_fun ({self.max_fun}), or scale the data"
            )

    def _warn(self, message: str) -> None:
        warnings.warn(message, ConvergenceWarning, stacklevel=5)


def named_loss(name: str, aliases: Mapping[str, str], outputs: Iterable[str], output: str | None) -> tuple[str, str]:
    """Our name of a loss, and the first of the outputs that it goes with, unless one is named."""
    if not isinstance(name, str):
        raise InvalidInput(f"loss={name!r}: a name is needed; if these are widths, pass hidden_layer_sizes={name!r}")
    loss = loss_name(aliases.get(name, name))
    if loss not in LOSSES:
        raise unknown("loss", name, [*aliases, *LOSSES])
    if output is None:
        output = next((each for each in outputs if LOSSES[loss].goes_with(each)), LOSSES[loss].outputs[0])
    return loss, output
