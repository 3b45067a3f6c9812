"""The quantities of a pass: what is given, its names, and equality of bits."""

import numpy as np
import pytest

import backprop_ref as br
from backprop_ref.conformance.cases import QUANTITIES, Values, mapped, same_bits, tensor_name, tensors


def a_pass():
    network = br.Network([2, 3, 1], ["tanh", "sigmoid"], "binary_cross_entropy")
    return Values.of(br.trace(network, network.init(seed=1), [[0.5, -1.0]], [[1.0]]))


def test_tensors_name_everything_given_in_the_order_of_a_pass():
    seen = a_pass()
    found = tensors(seen)
    assert list(dict.fromkeys(name for name, _ in found)) == [name for name in QUANTITIES if name not in {"W", "b"}]
    assert [layer for name, layer in found if name == "dW"] == [1, 0]
    assert found["dW", 0] is seen.dW[0]
    assert found["loss", 0] == seen.loss
    assert (tensor_name(("dW", 1)), tensor_name(("loss", 0))) == ("dW[1]", "loss")


def test_mapped_goes_through_what_is_given_and_leaves_out_the_rest():
    seen = a_pass()
    doubled = tensors(mapped(lambda one, other: one + other, seen, seen))
    assert doubled.keys() == tensors(seen).keys()
    for key, value in tensors(seen).items():
        np.testing.assert_array_equal(doubled[key], 2.0 * value)
    assert mapped(abs, Values(loss=-1.0)) == Values(loss=1.0)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ([1.0, 2.0], [1.0, 2.0], True),
        ([0.0], [-0.0], False),
        ([np.nan], [np.nan], True),
        ([1.0], [[1.0]], False),
        ([1.0], np.array([1.0], np.float32), False),
        (np.arange(6.0).reshape(2, 3).T, np.array([[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]), True),
        (0.5, np.float64(0.5), True),
    ],
)
def test_bits_are_the_same_or_not(first, second, same):
    assert same_bits(first, second) is same
