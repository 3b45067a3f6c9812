"""What may be called a network, and its parameters."""

import numpy as np
import pytest

import backprop_ref as br
from backprop_ref.network import ACTIVATIONS, LOSSES, OUTPUTS_OF
from backprop_ref.network.initialisers import SCHEMES


def test_every_pair_is_permitted_or_refused_by_name():
    for loss in LOSSES:
        for output in ACTIVATIONS:
            if output in OUTPUTS_OF[loss]:
                assert br.Network([2, 3], [output], loss).loss == loss
            else:
                with pytest.raises(br.InvalidInput, match=f"{loss} does not go with output activation {output}: use"):
                    br.Network([2, 3], [output], loss)


def test_short_names_become_long():
    for loss, short in LOSSES.items():
        assert br.Network([2, 3], [OUTPUTS_OF[loss][0]], short).loss == loss


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([2], [], "mse"), "at least an input and an output"),
        (([2, 0], ["linear"], "mse"), "0 is not a positive integer"),
        (([2, 1.5], ["linear"], "mse"), "1.5 is not"),
        (([2, True], ["linear"], "mse"), "True is not"),
        (([2, 3, 1], ["relu"], "mse"), "1 activations for 2 layers"),
        (([2, 1], "relu", "mse"), "in a list"),
        (([2, 1], ["sigmoyd"], "mse"), "did you mean 'sigmoid'"),
        (([2, 1], ["linear"], "mean_square_error"), "did you mean 'mean_squared_error'"),
    ],
)
def test_what_is_no_network_is_refused(arguments, message):
    with pytest.raises(br.InvalidInput, match=message):
        br.Network(*arguments)


def test_summary_counts_what_there_is():
    network = br.Network([2, 4, 1], ["tanh", "sigmoid"], "bce")
    lines = network.summary().splitlines()
    assert lines[1].split() == ["0", "2", "x", "4", "tanh", "12"]
    assert lines[-1].split() == ["binary_cross_entropy", "17"]
    assert network.n_parameters == network.init().flat.size == 17


def test_parameters_are_views_of_one_vector():
    params = br.Network([2, 3, 1], ["tanh", "linear"], "mse").init(seed=3)
    params.W[1][2, 0] = 7.0
    assert params.flat[2 * 3 + 3 + 2] == 7.0
    assert params.b[0].base is not None
    copied = params.copy()
    copied.flat[:] = 0.0
    assert params.W[1][2, 0] == 7.0


def test_the_hash_is_of_the_values_alone():
    import hashlib

    params = br.Network([2, 3], ["linear"], "mse").init(seed=3)
    assert params.sha256() == hashlib.sha256(params.flat.astype("<f8").tobytes()).hexdigest()
    swapped = br.Parameters.from_arrays([params.W[0].astype(">f8")], [params.b[0].astype(">f8")])
    assert swapped.sha256() == params.sha256()
    zero = br.Parameters.from_arrays([[[0.0]]], [[1.0]])
    minus = br.Parameters.from_arrays([[[-0.0]]], [[1.0]])
    assert zero.sha256() != minus.sha256()


@pytest.mark.parametrize(
    ("weights", "biases", "message"),
    [
        ([np.ones((2, 3))], [np.ones(2)], r"layer 0: W has shape \(2, 3\) and b \(2,\)"),
        ([np.ones((2, 3)), np.ones((4, 1))], [np.ones(3), np.ones(1)], r"layer 1: .* n_in = 3"),
        ([np.ones(3)], [np.ones(3)], "layer 0"),
        ([np.ones((2, 3))], [], "1 weights and 0 biases"),
        ([np.ones((2, 3), "float16")], [np.ones(3)], "float16: only float64 and float32"),
        ([np.ones((2, 3), complex)], [np.ones(3)], "complex128: only"),
        ([np.ones((2, 3), object)], [np.ones(3)], "object: only"),
        ([np.ones((2, 3), "float32")], [np.ones(3)], "2 dtypes"),
    ],
)
def test_arrays_that_make_no_parameters_are_refused(weights, biases, message):
    with pytest.raises(br.InvalidInput, match=message):
        br.Parameters.from_arrays(weights, biases)


def test_whole_numbers_become_float64():
    assert br.Parameters.from_arrays([[[1], [2]]], [[0]]).dtype == np.float64


# sha256 of initial parameters of 3-5-2, seed 1: the same on every machine
PINNED = {
    "xavier": "54aaac91fee702c0b8193fe70d9c1fc167070f2307a139335e6b1cf0993b5dff",
    "xavier_uniform": "68ab1fa998d48998eb86817e30d6227925a9e58bd50c3dd10092af75fd1ed07e",
    "he": "f0bb3fec10086fd1559e92ca852a9fcd441780b9d9497aa0d589622e623b1d47",
    "he_uniform": "345c61144da9c6ac7d0bcadcf77a81eae7aa9d6e617ab8433e784c5fd4718017",
    "random_normal": "1530cdc3e841e29bac77481bf09dca211a65aed4a363c81c0c64e6f5aa74b663",
    "random_uniform": "0d5de92d3821e40bf83f353a20359c169f0188d6c42ebc3c92ef9fa381e5a24a",
    "zeros": "5341e6b2646979a70e57653007a1f310169421ec9bdd9f1a5648f75ade005af1",
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_initial_parameters_are_pinned(scheme):
    params = br.Network([3, 5, 2], ["tanh", "softmax"], "ce").init(seed=1, scheme=scheme)
    assert params.sha256() == PINNED[scheme]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_initial_parameters_have_their_deviation(scheme):
    params = br.Network([200, 300], ["linear"], "mse").init(seed=2, scheme=scheme)
    deviation = SCHEMES[scheme][1](200, 300)
    # the deviation of n samples scatters by at most 1/√(2n) of itself; five times that is one case in two million
    assert abs(params.W[0].std() - deviation) <= 5.0 * deviation / np.sqrt(2 * params.W[0].size)
    assert not params.b[0].any()


def test_float32_parameters_are_the_float64_ones_rounded_once():
    network = br.Network([3, 5, 2], ["tanh", "softmax"], "ce")
    np.testing.assert_array_equal(network.init(4, "he", "float32").flat, network.init(4, "he").flat.astype("float32"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, "seed -1"),
        ({"seed": 1.0}, "seed 1.0"),
        ({"scheme": "xaver"}, "did you mean 'xavier'"),
        ({"dtype": "float16"}, "unknown dtype 'float16'"),
    ],
)
def test_initialisation_refuses(arguments, message):
    with pytest.raises(br.InvalidInput, match=message):
        br.Network([2, 1], ["linear"], "mse").init(**arguments)


def test_copies_and_pickles_keep_their_views():
    import copy
    import pickle

    params = br.Network([2, 3, 1], ["tanh", "linear"], "mse").init(seed=3)
    for other in (copy.deepcopy(params), pickle.loads(pickle.dumps(params))):
        assert other.sha256() == params.sha256()
        other.flat[:] = 0.0
        assert not other.W[0].any()
        assert params.W[0].any()


@pytest.mark.parametrize(
    ("flat", "message"),
    [
        ([0.0] * 3, "flat has shape list"),
        (np.zeros(2), r"flat has shape \(2,\); .* need a NumPy array of \(3,\)"),
        (np.zeros(3, int), "dtype int64: only"),
        (np.zeros(3, "float16"), "dtype float16: only"),
        (np.zeros(6)[::2], "not contiguous"),
        (np.zeros(3).astype(np.dtype(float).newbyteorder()), r"the other byte order .*; pass flat.astype\('float64'\)"),
    ],
)
def test_a_vector_that_holds_no_parameters_is_refused(flat, message):
    with pytest.raises(br.InvalidInput, match=message):
        br.Parameters(flat, [2, 1])


@pytest.mark.parametrize("arguments", [(3, ["linear"], "mse"), ([2, 1], None, "mse"), ([2, 1], ["linear"], [])])
def test_wrong_kinds_of_arguments_are_refused(arguments):
    with pytest.raises(br.InvalidInput):
        br.Network(*arguments)
