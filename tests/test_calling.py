"""Code as people write it is called, and what it returns is read, without being told how."""


import numpy as np
import pytest
import strangers

import backprop_ref as br
from backprop_ref.conformance.cases import Case
from backprop_ref.conformance.submissions.conventions import layouts
from backprop_ref.conformance.submissions.functions import Function


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
WITH_LOSS = ["lists", "data_first", "other_words", "one_each", "one_each_loss_last", "in_words", "columns_dictionary", "dictionary_by_name", "small_dictionary", "other_keys", "keys_of_lists", "pairs_of_both", "dictionaries", "two_lists", "in_turn", "flat_by_layer", "flat_by_kind", "bias_row_last", "bias_row_first", "ones_in_x", "no_biases", "no_biases_dictionary", "updates", "updates_dictionary", "updates_in_place", "last_first", "with_cache", "with_predictions", "nameless", "nameless_layers", "nobody_says", "by_keyword", "columns_of_two", "with_settings"]


@pytest.mark.parametrize("name", WITH_LOSS)
def test_functions(name):
    submission = Function(getattr(strangers, name))
    _, values = fitting(submission, TWO)
    assert values.loss is not None
    fitting(submission, case_of((3, 5, 4), batch=1, seed=4))


@pytest.mark.parametrize("name", ["short_words", "one_sample"])
def test_functions_without_a_loss(name):
    _, values = fitting(Function(getattr(strangers, name)), TWO)
    assert values.loss is None


def test_the_depth_is_read_off_the_arguments():
    assert Function(strangers.three_layers).n_layers == 3
    assert Function(strangers.lists).n_layers is None
    fitting(Function(strangers.three_layers), case_of((3, 5, 4, 2)))
