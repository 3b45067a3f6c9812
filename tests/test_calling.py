"""Code as people write it is called, and what it returns is read, without being told how."""

from dataclasses import replace
from functools import partial, wraps
from pathlib import Path

import numpy as np
import pytest
import stranger_models
import strangers

import backprop_ref as br
from backprop_ref.conformance.cases import Case
from backprop_ref.conformance.submissions.conventions import layouts
from backprop_ref.conformance.submissions.functions import Function
from backprop_ref.conformance.submissions.models import Model
from backprop_ref.conformance.submissions.separate import Separate
from backprop_ref.conformance.submissions.settings import OUR_RATE


def case_of(sizes, batch=7, seed=3, labels="soft", biases=True):
    """Made on the spot, with nothing expected of it."""
    rng = np.random.default_rng(seed)
    W = [rng.standard_normal(shape) for shape in zip(sizes, sizes[1:], strict=False)]
    b = [rng.standard_normal(n) * biases for n in sizes[1:]]
    y = rng.random((batch, sizes[-1]))
    if labels == "classes":
        y = np.eye(sizes[-1])[rng.integers(0, sizes[-1], batch)]
    network = br.Network(sizes, ["sigmoid"] * (len(sizes) - 1), "sse")
    return Case("made", network, br.Parameters.from_arrays(W, b), rng.standard_normal((batch, sizes[0])), y)


def right(case):
    """By the strangers' common loss."""
    return strangers.plain(case.params.W, case.params.b, case.x, case.y)[:3]


def close(found, due, slack=1e-9):
    return len(found) == len(due) and all(
        one.shape == two.shape and abs(one - two).max() <= slack for one, two in zip(found, due, strict=True)
    )


def fitting(submission, case):
    """The first of the layouts in which everything is right; asserts that there is one."""
    problems = []
    for layout in submission.layouts(layouts({})):
        used = case_of(case.network.sizes, len(case.x), biases=False) if layout.biases == "none" else case
        loss, dW, db = right(used)
        answer = submission.answer(used, layout, twice=False)
        values = answer.values
        if values is None:
            problems.append(answer.problem or answer.left_out)
            continue
        if values.dW is not None and close(values.dW, dW) and (layout.biases == "none" or close(values.db or [], db)):
            if values.loss is not None:
                assert abs(values.loss - loss) < 1e-12
            return layout, values
    raise AssertionError(problems)


TWO = case_of((3, 5, 4))
WITH_LOSS = [
    "lists",
    "data_first",
    "other_words",
    "one_each",
    "one_each_loss_last",
    "in_words",
    "columns_dictionary",
    "dictionary_by_name",
    "small_dictionary",
    "other_keys",
    "keys_of_lists",
    "pairs_of_both",
    "dictionaries",
    "two_lists",
    "in_turn",
    "flat_by_layer",
    "flat_by_kind",
    "bias_row_last",
    "bias_row_first",
    "ones_in_x",
    "no_biases",
    "no_biases_dictionary",
    "updates",
    "updates_dictionary",
    "updates_in_place",
    "last_first",
    "with_cache",
    "with_predictions",
    "nameless",
    "nameless_layers",
    "nobody_says",
    "by_keyword",
    "columns_of_two",
    "with_settings",
]


@pytest.mark.parametrize("name", WITH_LOSS)
def test_functions(name):
    submission = Function(getattr(strangers, name))
    _, values = fitting(submission, TWO)
    assert values.loss is not None
    fitting(submission, case_of((3, 5, 4), batch=1, seed=4))


@pytest.mark.parametrize("name", WITH_LOSS)
def test_functions_whose_first_layer_is_square(name):
    fitting(Function(getattr(strangers, name)), case_of((2, 2, 1), batch=5, seed=9))


@pytest.mark.parametrize("name", ["short_words", "one_sample"])
def test_functions_without_a_loss(name):
    _, values = fitting(Function(getattr(strangers, name)), TWO)
    assert values.loss is None


def test_the_depth_is_read_off_the_arguments():
    assert Function(strangers.three_layers).n_layers == 3
    assert Function(strangers.lists).n_layers is None
    fitting(Function(strangers.three_layers), case_of((3, 5, 4, 2)))


# ---- classes

WITH_BIASES = [
    "Fit",
    "ForwardBackward",
    "TrainCallsThem",
    "ThenUpdate",
    "LocalThenUpdate",
    "Returns",
    "ReturnsDictionary",
    "StepWithGrads",
    "Cached",
    "Nielsen",
    "NielsenBackprop",
    "ContainerTrains",
    "Odd",
    "Classes",
    "Pure",
    "Alpha",
    "BiasRow",
    "BiasColumnReturned",
    "LongNames",
    "DataAndDepth",
]


@pytest.mark.parametrize("name", WITH_BIASES)
def test_classes(name):
    submission = Model(getattr(stranger_models, name))
    case = case_of((3, 5, 4), labels="classes" if name == "Classes" else "soft")
    fitting(submission, case)
    assert submission.sizes() is None
    assert submission.learning_rate in {OUR_RATE, None}


@pytest.mark.parametrize("name", [name for name in WITH_BIASES if name not in {"Classes", "DataAndDepth"}])
def test_classes_whose_first_layer_is_square(name):
    fitting(Model(getattr(stranger_models, name)), case_of((2, 2, 1), batch=5, seed=9))


@pytest.mark.parametrize(
    ("name", "sizes"), [("Iterations", (3, 1)), ("DataInside", (3, 4, 4)), ("FixedInside", (2, 3, 1))]
)
def test_classes_with_sizes_of_their_own(name, sizes):
    submission = Model(getattr(stranger_models, name))
    assert submission.sizes() == [sizes]
    case = case_of(sizes, biases=False)
    answer = submission.answer(case)
    assert close(answer.values.dW, right(case)[1]), answer.problem
    assert answer.values.db is None
    assert submission.takes_biases is False
    assert submission.learning_rate is None


def test_the_gradient_of_the_loss_is_handed_to_layers_that_ask_for_it():
    submission = Model(stranger_models.Container)
    case = case_of((3, 5, 4))
    answer = submission.answer(case)
    assert close(answer.values.dW, [2 * g for g in right(case)[1]]), answer.problem
    assert answer.values.loss is None


def test_a_loss_is_asked_for_at_the_weights_given():
    case = case_of((3, 5, 4))
    for name in ("ThenUpdate", "ReturnsDictionary", "Pure"):
        loss = Model(getattr(stranger_models, name)).answer(case).values.loss
        assert abs(loss - right(case)[0]) < 1e-12, name


def test_what_a_class_is_told_is_seen():
    assert not Model(stranger_models.Fit).takes_network
    assert Model(stranger_models.ForwardBackward).n_layers == 2
    assert Model(stranger_models.Nielsen).n_layers is None


# ---- the rest of what functions do


@pytest.mark.parametrize("sizes", [(3, 5, 4), (3, 5, 1)])
def test_labels_that_have_to_be_indices_or_a_vector(sizes):
    name, labels = ("class_indices", "classes") if sizes[-1] > 1 else ("vector_of_labels", "soft")
    submission = Function(getattr(strangers, name))
    fitting(submission, case_of(sizes, labels=labels))
    if sizes[-1] > 1:
        layout = next(iter(submission.forms))
        assert "indices of classes" in submission.answer(TWO, layout).left_out


def test_a_gradient_that_is_one_number():
    fitting(Function(strangers.sum_for_bias), case_of((3, 5, 1)))


def test_several_conventions_at_once():
    fitting(Function(strangers.unrolled_with_bias_columns), case_of((3, 5, 4), labels="classes"))


def test_signatures_of_wrappers():
    @wraps(strangers.lists)
    def wrapped(*arguments, **keywords):
        return strangers.lists(*arguments, **keywords)

    def settled(network, weights, biases, x, y, scale, verbose=True):
        loss, dW, db = strangers.lists(weights, biases, x, y)
        return scale * loss, dW, db

    for function in (
        wrapped,
        partial(settled, scale=1.0),
        lambda w, b, x, t: strangers.lists(biases=b, weights=w, x=x, y=t),
        staticmethod(strangers.lists).__func__,
    ):
        fitting(Function(function), TWO)


def test_updated_weights_are_told_from_gradients():
    for name in ("updates", "updates_dictionary", "updates_in_place"):
        submission = Function(getattr(strangers, name))
        fitting(submission, TWO)
        assert (submission.in_place, submission.learning_rate) == (True, OUR_RATE)
    submission = Function(lambda W1, b1, W2, b2, X, y: strangers.updates(W1, b1, W2, b2, X, y, 0.125))
    answer = submission.answer(TWO)
    assert (submission.in_place, submission.learning_rate) == (True, None)
    assert close([8 * g for g in answer.values.dW], right(TWO)[1])


def test_what_is_told_the_network():
    assert Function(lambda network, weights, biases, x, y: 0).takes_network
    assert not Function(strangers.lists).takes_network


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("unknown_words", "cannot be told apart"),
        ("needs_a_cache", "'cache'"),
        ("forward_only", "its arguments x, weights cannot be told apart"),
        ("nothing_comes", "returned None, and neither a loss nor gradients, and changed no weights"),
    ],
)
def test_why_something_cannot_be_called(name, said):
    answer = Function(getattr(strangers, name)).answer(TWO)
    assert said in answer.problem
    assert "\n" not in answer.problem


# ---- in a process of its own

SEPARATE = ["columns_dictionary", "flat_by_kind", "bias_row_first", "updates_dictionary", "class_indices", "by_keyword"]
SEPARATE += ["dictionaries", "no_biases", "one_sample"]
SEPARATE_CLASSES = ["Cached", "NielsenBackprop", "TrainCallsThem", "ThenUpdate", "Classes", "Container"]


@pytest.mark.few(2)
@pytest.mark.parametrize("name", SEPARATE)
def test_functions_elsewhere(name):
    function = Separate(f"{strangers.__file__}:{name}", 10.0)
    case = case_of((3, 5, 4), labels="classes" if name == "class_indices" else "soft")
    layout, values = fitting(Function(function), case)
    here = Function(getattr(strangers, name)).answer(case, layout, twice=False).values
    assert all(one.tobytes() == two.tobytes() for one, two in zip(values.dW, here.dW, strict=True))
    function.afresh()


@pytest.mark.few(1)
@pytest.mark.parametrize("name", SEPARATE_CLASSES)
def test_classes_elsewhere(name):
    made = Separate(f"{stranger_models.__file__}:{name}", 10.0)
    case = case_of((3, 5, 4), labels="classes" if name == "Classes" else "soft")
    if name == "Container":
        case = replace(case, y=case.y / 2)
        assert close(Model(made).answer(case).values.dW, [2 * g for g in right(case)[1]])
    else:
        fitting(Model(made), case)
    assert Model(made).sizes() is None
    made.afresh()


def test_sizes_elsewhere():
    made = Separate(f"{stranger_models.__file__}:FixedInside", 10.0)
    assert Model(made).sizes() == [(2, 3, 1)]
    made.afresh()


def test_a_single_neuron():
    fitting(Function(strangers.logistic), case_of((3, 1)))


def test_drawings_and_progress_bars_are_in_nobodys_way():
    function = Separate(f"{Path(__file__).parent}/strangers_drawing.py:backprop", 10.0)
    fitting(Function(function), TWO)
    function.afresh()


def test_torch():
    pytest.importorskip("torch")
    import strangers_torch

    fitting(Function(strangers_torch.gradients), TWO)
    case = case_of((3, 5, 4))
    submission = Model(strangers_torch.Net)
    answer = submission.answer(case)
    loss, dW, db = right(case)
    assert abs(answer.values.loss - 2 * loss) < 1e-12, answer.problem
    assert close(answer.values.dW, [2 * g for g in dW])
    assert close(answer.values.db, [2 * g for g in db])
    assert submission.in_place is False
