"""The estimators against scikit-learn's: its checks, its numbers, and what people do with them."""

import importlib.util
import pickle
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import sklearn.neural_network as theirs
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import backprop_ref as br
import backprop_ref.sklearn as ours
from backprop_ref.sklearn import MLPClassifier, MLPRegressor
from backprop_ref.sklearn.random_state import Shuffled

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ROOT = Path(__file__).resolve().parent.parent
CLOSE = 1e-12
"""Of the weights, which are below 5: a few hundred steps, each of which rounds some 1e-16."""


def checked(backend):
    return [
        MLPClassifier((20,), max_iter=100, backend=backend),
        MLPRegressor("squared_error", (20,), max_iter=100, backend=backend),
    ]


@pytest.mark.few(40)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.together("estimator", "check")
@parametrize_with_checks(checked("numpy"))
def test_every_check_of_scikit_learn_passes(estimator, check):
    check(estimator)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.more()
@parametrize_with_checks(checked("numba"))
def test_every_check_of_scikit_learn_passes_with_numba(estimator, check):
    check(estimator)


def flowers():
    x, y = load_iris(return_X_y=True)
    order = np.random.default_rng(1).permutation(len(x))
    return StandardScaler().fit_transform(x)[order], y[order]


X, Y = flowers()
NUMBERS = X @ [1.0, -2.0, 0.5, 0.3] + np.sin(3.0 * X[:, 0])
COUNTS = np.random.default_rng(2).poisson(np.exp(X[:, 0]))
TARGETS = {
    "classes": ("MLPClassifier", Y),
    "two classes": ("MLPClassifier", np.where(Y == 1, "versicolor", "other")),
    "labels": ("MLPClassifier", np.column_stack([Y == 0, Y > 0, X[:, 0] > 0]).astype(int)),
    "numbers": ("MLPRegressor", NUMBERS),
}
SETTINGS = {
    "adam": {},
    "adam alpha": {"alpha": 0.1, "epsilon": 1e-3, "activation": "tanh", "batch_size": 32, "shuffle": False},
    "plain sgd": {"solver": "sgd", "momentum": 0.0, "activation": "logistic", "batch_size": 40},
    "momentum": {"solver": "sgd", "nesterovs_momentum": False, "shuffle": False, "batch_size": 40},
    "nesterov": {"solver": "sgd", "learning_rate_init": 0.05, "alpha": 0.5, "batch_size": 32},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.2, "batch_size": 32},
    "early": {"early_stopping": True, "learning_rate_init": 0.01, "n_iter_no_change": 2, "activation": "identity"},
    "lbfgs": {"solver": "lbfgs", "alpha": 0.01, "max_iter": 10},
}


def both(kind, y, fit=None, hidden=(7, 5), **settings):
    """scikit-learn's estimator and ours, fitted."""
    how = {"hidden_layer_sizes": hidden, "random_state": 3, "max_iter": 20, **settings}
    return [getattr(module, kind)(**how).fit(X, y, **(fit or {})) for module in (theirs, ours)]


def apart(one, other):
    found = zip(one.coefs_ + one.intercepts_, other.coefs_ + other.intercepts_, strict=True)
    return max(np.abs(a - b).max() for a, b in found)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("targets", TARGETS)
def test_the_numbers_are_those_of_scikit_learn(targets, settings):
    """From the same random state: initial weights, orders, steps, losses, and when it stops."""
    kind, y = TARGETS[targets]
    reference, model = both(kind, y, **SETTINGS[settings])
    assert apart(reference, model) <= CLOSE
    for name in ("n_iter_", "n_layers_", "n_outputs_", "out_activation_", "t_", "n_features_in_"):
        assert getattr(model, name) == getattr(reference, name), name
    assert abs(model.loss_ - reference.loss_) <= CLOSE
    if settings != "lbfgs":
        np.testing.assert_allclose(model.loss_curve_, reference.loss_curve_, rtol=CLOSE)
    if settings == "early":
        assert model.validation_scores_ == pytest.approx(reference.validation_scores_, rel=CLOSE)
        assert model.best_loss_ is reference.best_loss_ is None
    elif settings != "lbfgs":
        assert model.best_loss_ == pytest.approx(reference.best_loss_, rel=CLOSE)
    if kind == "MLPRegressor":
        np.testing.assert_allclose(model.predict(X), reference.predict(X), atol=10 * CLOSE)
    else:
        np.testing.assert_array_equal(model.predict(X), reference.predict(X))
        np.testing.assert_array_equal(model.classes_, reference.classes_)
        np.testing.assert_allclose(model.predict_proba(X), reference.predict_proba(X), atol=10 * CLOSE)
        assert model.predict_log_proba(X).shape == reference.predict_log_proba(X).shape


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_poisson_is_that_of_scikit_learn(solver):
    reference, model = both("MLPRegressor", COUNTS, loss="poisson", solver=solver, batch_size=32)
    assert apart(reference, model) <= CLOSE
    assert abs(model.loss_ - reference.loss_) <= CLOSE
    assert model.out_activation_ == reference.out_activation_ == "exp"
    np.testing.assert_allclose(model.predict(X), reference.predict(X), rtol=100 * CLOSE)


@pytest.mark.parametrize("settings", ["adam alpha", "nesterov", "lbfgs"])
def test_weights_of_samples_are_those_of_scikit_learn(settings):
    each = np.random.default_rng(3).uniform(0.1, 2.0, len(X))
    reference, model = both("MLPClassifier", Y, {"sample_weight": each}, **SETTINGS[settings])
    assert apart(reference, model) <= 10 * CLOSE


def test_an_adaptive_rate_falls_as_that_of_scikit_learn():
    how = {"learning_rate": "adaptive", "solver": "sgd", "tol": 0.05, "n_iter_no_change": 2, "batch_size": 32}
    reference, model = both("MLPClassifier", Y, learning_rate_init=0.5, max_iter=200, hidden=(), alpha=1.0, **how)
    assert model.n_iter_ == reference.n_iter_ < 200
    assert model._rate < 0.5 / 5**3
    assert apart(reference, model) <= CLOSE


@pytest.mark.parametrize("settings", ["adam", "invscaling"])
def test_partial_fit_goes_on_with_the_optimizers_state(settings):
    reference, model = (
        module.MLPClassifier((5,), random_state=1, **{**SETTINGS[settings], "batch_size": 20})
        for module in (theirs, ours)
    )
    for start in range(0, 150, 30):
        rows = slice(start, start + 30)
        for each in (reference, model):
            each.partial_fit(X[rows], Y[rows], classes=[0, 1, 2])
    assert apart(reference, model) <= CLOSE
    assert model.t_ == reference.t_ == 150
    assert len(model.loss_curve_) == 5


def test_warm_start_goes_on_and_stops_by_what_was_best():
    reference, model = (
        module.MLPClassifier((5,), warm_start=True, max_iter=9, random_state=1) for module in (theirs, ours)
    )
    for _ in range(3):
        reference.fit(X, Y)
        model.fit(X, Y)
    assert apart(reference, model) <= CLOSE
    assert model.t_ == reference.t_ == 27 * 150
    with pytest.raises(ValueError, match="classes"):
        model.fit(X, Y + 1)
    with pytest.raises(ValueError, match="warm_start=False"):
        model.set_params(hidden_layer_sizes=(6,)).fit(X, Y)


def test_with_several_outputs_the_gradient_is_that_of_the_loss():
    """scikit-learn's is that of the sum over the outputs, and its loss their mean."""
    targets = np.column_stack([NUMBERS, NUMBERS**2, X[:, 0]])
    how = {"solver": "sgd", "momentum": 0.0, "alpha": 0.0, "max_iter": 1, "batch_size": 150, "learning_rate_init": 0.1}
    reference, model = both("MLPRegressor", targets, **how)
    start = both("MLPRegressor", targets, **{**how, "learning_rate_init": 1e-300})[1].params_
    assert abs(reference.loss_ - model.loss_) <= CLOSE
    network = br.Network([4, 7, 5, 3], ["relu", "relu", "linear"], "mse")
    _, grads = br.value_and_grad(network, start, X, targets)
    for layer in range(3):
        step = start.W[layer] - model.coefs_[layer]
        np.testing.assert_allclose(step, 0.1 * 0.5 * grads.W[layer], atol=CLOSE)
        np.testing.assert_allclose(start.W[layer] - reference.coefs_[layer], 3 * step, atol=CLOSE)


def test_lbfgs_gets_on_with_data_that_is_not_scaled():
    """scikit-learn's is told a clipped loss with a gradient that is not, and stops."""
    x, y = load_wine(return_X_y=True)
    how = {"hidden_layer_sizes": (20,), "solver": "lbfgs", "alpha": 0.0, "max_iter": 40, "random_state": 1}
    reference, model = (module.MLPClassifier(**how).fit(x, y) for module in (theirs, ours))
    assert reference.n_iter_ < 10 < model.n_iter_
    assert model.loss_ < reference.loss_ / 5.0
    assert model.score(x, y) > reference.score(x, y)


def test_it_does_what_people_do_with_estimators():
    model = MLPClassifier((5,), max_iter=30, random_state=1, learning_rate_init=0.1, batch_size=30)
    table = np.column_stack([X, Y % 2])
    columns = ColumnTransformer(
        [("numbers", StandardScaler(), [0, 1, 2, 3]), ("kind", OneHotEncoder(), [4])], sparse_threshold=1
    )
    pipeline = make_pipeline(columns, model)
    assert pipeline.fit(table, Y).score(table, Y) > 0.9
    search = GridSearchCV(model, {"activation": ["relu", ["elu(0.5)"]]}, cv=2, n_jobs=2).fit(X, Y)
    assert search.best_score_ > 0.9
    assert cross_val_score(model, X, Y, cv=2).min() > 0.8
    calibrated = CalibratedClassifierCV(model, cv=2).fit(X, Y)
    np.testing.assert_allclose(calibrated.predict_proba(X).sum(axis=1), 1.0)
    fitted = clone(model).fit(X, Y)
    importances = permutation_importance(fitted, X, Y, n_repeats=2, random_state=1).importances_mean
    assert importances[2:].max() > importances[:2].max()
    again = pickle.loads(pickle.dumps(fitted))
    assert again.params_.sha256() == fitted.params_.sha256() == clone(model).fit(X, Y).params_.sha256()
    np.testing.assert_array_equal(again.partial_fit(X, Y).coefs_[0], fitted.partial_fit(X, Y).coefs_[0])


def test_what_is_more_than_scikit_learn_has():
    float32 = MLPClassifier((5,), dtype="float32", max_iter=3, random_state=1).fit(X, Y)
    assert {array.dtype.name for array in float32.coefs_} == {"float32"} == {float32.predict_proba(X).dtype.name}
    sparse = MLPRegressor(hidden_layer_sizes=(5,), max_iter=3, random_state=1).fit(csr_matrix(X), NUMBERS)
    assert (
        sparse.params_.sha256()
        == MLPRegressor(hidden_layer_sizes=(5,), max_iter=3, random_state=1).fit(X, NUMBERS).params_.sha256()
    )
    same = [
        MLPClassifier((5,), backend=backend, numerics="reproducible", max_iter=4, random_state=1).fit(X, Y)
        for backend in ("numpy", "numba")
    ]
    assert same[0].params_.sha256() == same[1].params_.sha256()
    layers = MLPClassifier((5, 4), ["gelu", "leaky_relu(0.2)"], solver=br.AdamW(0.02), max_iter=60, random_state=1).fit(
        X, Y
    )
    assert layers.network_.activations == ("gelu", "leaky_relu(0.2)", "softmax")
    assert layers.score(X, Y) > 0.9
    assert MLPClassifier((5,), solver=br.LBFGS(), max_iter=40, random_state=1).fit(X, Y).score(X, Y) > 0.9
    margins = MLPClassifier((), loss="hinge", max_iter=100, learning_rate_init=0.05, random_state=1).fit(X, Y == 0)
    assert margins.score(X, Y == 0) == 1.0
    assert not hasattr(margins, "predict_proba")
    assert ((margins.decision_function(X) > 0) == (Y == 0)).all()
    margins = clone(margins).set_params(loss="multi_class_hinge").fit(X, Y == 0)
    assert ((margins.decision_function(X) > 0) == margins.predict(X)).all()
    smooth = MLPClassifier((5,), loss="cross_entropy(0.1)", max_iter=60, learning_rate_init=0.05, random_state=1).fit(
        X, Y == 1
    )
    assert smooth.network_.sizes[-1] == 2
    assert smooth.predict_proba(X).shape == (150, 2)
    huber = MLPRegressor("huber(0.5)", (9,), solver="lbfgs", random_state=1).fit(X, NUMBERS)
    assert huber.score(X, NUMBERS) > 0.9


def test_weights_of_classes_are_weights_of_samples():
    rare = Y[Y < 2][:60], X[Y < 2][:60]
    how = {"hidden_layer_sizes": (3,), "solver": "lbfgs", "random_state": 1}
    of_classes = MLPClassifier(class_weight={0: 3.0}, **how).fit(rare[1], rare[0])
    of_samples = MLPClassifier(**how).fit(rare[1], rare[0], np.where(rare[0] == 0, 3.0, 1.0))
    np.testing.assert_array_equal(of_classes.coefs_[0], of_samples.coefs_[0])
    with pytest.raises(ValueError, match="partial_fit"):
        MLPClassifier(class_weight="balanced").partial_fit(X, Y, classes=[0, 1, 2])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"solver": "adams"}, "did you mean 'adam'"),
        ({"learning_rate": "adaptiv"}, "did you mean 'adaptive'"),
        ({"activation": "relux"}, "did you mean 'relu'"),
        ({"activation": ["relu"] * 4}, "4 names for 1 hidden layers"),
        ({"loss": (5,)}, "hidden_layer_sizes=(5,)"),
        ({"loss": "log_los"}, "did you mean 'log_loss'"),
        ({"hidden_layer_sizes": (5, 0)}, "hidden_layer_sizes"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"alpha": -1.0}, "alpha=-1.0"),
        ({"max_iter": 0}, "max_iter=0"),
        ({"backend": "nunpy"}, "did you mean 'numpy'"),
        ({"dtype": "float16"}, "float64 and float32"),
        ({"beta_1": 1.0}, "beta1=1.0"),
        ({"early_stopping": True, "validation_fraction": 0.001}, "validation_fraction"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_in_words(settings, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        MLPClassifier(**{"hidden_layer_sizes": (3,), "max_iter": 2, **settings}).fit(X, Y)


def test_partial_fit_is_not_there_for_lbfgs():
    assert not hasattr(MLPClassifier(solver="lbfgs"), "partial_fit")
    with pytest.raises(ValueError, match="early_stopping"):
        MLPClassifier(early_stopping=True).partial_fit(X, Y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="classes must be passed"):
        MLPClassifier().partial_fit(X, Y)


def test_it_warns_and_says_as_scikit_learn_does(capsys):
    for module in (theirs, ours):
        with pytest.warns(ConvergenceWarning, match="Maximum iterations"):
            warnings.simplefilter("always")
            module.MLPClassifier((3,), max_iter=2, verbose=True, random_state=1).fit(X, Y)
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == said[2:] and said[0].startswith("Iteration 1, loss = ")


def test_the_benchmark_compares_before_it_times():
    spec = importlib.util.spec_from_file_location("estimators", ROOT / "bench" / "estimators.py")
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    case = (4,), 32, "adam", "float64", "numpy"
    low, median, high = bench.compared(case, X, Y, times=2, epochs=2)
    assert 0.0 < low <= median <= high
    bench.LARGEST["float64"] = 0.0
    with pytest.raises(AssertionError, match="they train differently"):
        bench.compared((*case[:3], "float64", "numpy"), X, Y, times=2, epochs=2)


def test_orders_from_elsewhere_are_in_no_run_folder(tmp_path):
    network, orders = br.Network([4, 1], ["linear"], "mse"), Shuffled(np.random.RandomState(1), 150)
    with pytest.raises(br.InvalidInput, match="leave run_dir out"):
        br.train(network, network.init(), X, NUMBERS[:, None], shuffle=orders, run_dir=tmp_path / "run")
