"""Networks small enough to work through with pencil and paper; every z, a, delta, dW and db is written out.

The comments are the working. ln 3 and ln 2 as weights make sigmoids and softmaxes come out as simple fractions.
"""

import math

import numpy as np
import pytest

import backprop_ref as br
from backprop_ref.conformance.rounding.bounds import gradient_bounds

QUANTITIES = ("z", "a", "delta", "dW", "db")


def test_relu_and_linear_to_the_last_bit(backend):
    """2-3-2, relu then linear, sum of squared errors, two samples. All numbers are dyadic: every backend is exact."""
    network = br.Network([2, 3, 2], ["relu", "linear"], "sum_squared_error")
    params = br.Parameters.from_arrays(
        [[[1.0, -1.0, 0.5], [2.0, 1.0, -0.5]], [[1.0, 0.5], [-1.0, 2.0], [2.0, -0.5]]],
        [[0.0, 0.5, 1.0], [0.25, -0.25]],
    )
    x, y = [[1.0, 0.5], [-1.0, 1.0]], [[2.0, 0.0], [1.0, 4.0]]
    # sample 0: z0 = [1·1 + 0.5·2 + 0, 1·(−1) + 0.5·1 + 0.5, 1·0.5 + 0.5·(−0.5) + 1] = [2, 0, 1.25]
    # sample 1: z0 = [−1 + 2, 1 + 1 + 0.5, −0.5 − 0.5 + 1] = [1, 2.5, 0]
    z0 = [[2.0, 0.0, 1.25], [1.0, 2.5, 0.0]]
    a0 = z0  # nothing is negative; where z is 0 the slope is 0
    # sample 0: z1 = [2·1 + 0·(−1) + 1.25·2 + 0.25, 2·0.5 + 0·2 − 1.25·0.5 − 0.25] = [4.75, 0.125]
    # sample 1: z1 = [1 − 2.5 + 0 + 0.25, 0.5 + 5 − 0 − 0.25] = [−1.25, 5.25]
    z1 = [[4.75, 0.125], [-1.25, 5.25]]
    # loss = ((2.75² + 0.125²) + (2.25² + 1.25²)) / 2 = (7.578125 + 6.625) / 2
    loss = 7.1015625
    # delta1 = 2(a − y)/2 = a − y
    delta1 = [[2.75, 0.125], [-2.25, 1.25]]
    # dW1[k, j] = Σ a0[s, k]·delta1[s, j]
    dW1 = [[2 * 2.75 - 2.25, 2 * 0.125 + 1.25], [2.5 * -2.25, 2.5 * 1.25], [1.25 * 2.75, 1.25 * 0.125]]
    db1 = [0.5, 1.375]
    # da0 = delta1 @ W1.T: sample 0: [2.75 + 0.0625, −2.75 + 0.25, 5.5 − 0.0625]; sample 1: [−1.625, 4.75, −5.125]
    # delta0 = da0 where z0 > 0
    delta0 = [[2.8125, 0.0, 5.4375], [-1.625, 4.75, 0.0]]
    dW0 = [[2.8125 + 1.625, -4.75, 5.4375], [1.40625 - 1.625, 4.75, 2.71875]]
    db0 = [1.1875, 4.75, 5.4375]
    # dx = delta0 @ W0.T: sample 0: [2.8125 + 2.71875, 5.625 − 2.71875]; sample 1: [−1.625 − 4.75, −3.25 + 4.75]
    dx = [[5.53125, 2.90625], [-6.375, 1.5]]

    seen = br.trace(network, params, x, y, backend=backend)
    expected = {"z": [z0, z1], "a": [a0, z1], "delta": [delta0, delta1], "dW": [dW0, dW1], "db": [db0, db1]}
    for name in QUANTITIES:
        for layer in range(2):
            np.testing.assert_array_equal(getattr(seen, name)[layer], expected[name][layer], err_msg=f"{name}[{layer}]")
    np.testing.assert_array_equal(seen.dx, dx)
    assert seen.loss == loss


def test_sigmoid_and_squared_error(backend):
    """1-3-1 with sigmoids: z of 0 and ±ln 3 give a of 1/2, 3/4 and 1/4."""
    network = br.Network([1, 3, 1], ["sigmoid", "sigmoid"], "mean_squared_error")
    ln3 = math.log(3.0)
    params = br.Parameters.from_arrays([[[0.0, ln3, -ln3]], [[2.0], [-4.0], [8.0]]], [[0.0, 0.0, 0.0], [0.0]])
    # a0 = [1/2, 3/4, 1/4];  z1 = 2·1/2 − 4·3/4 + 8·1/4 = 0;  a1 = 1/2;  loss = (1/2 − 1)² = 1/4
    # delta1 = 2(1/2 − 1)·1/2·(1 − 1/2) = −1/4;  dW1 = a0·delta1;  da0 = delta1·W1 = [−1/2, 1, −2]
    # delta0 = da0·a0(1 − a0) = [−1/2·1/4, 1·3/16, −2·3/16];  dW0 = x·delta0, x = 1
    expected = {
        "z": [[[0.0, ln3, -ln3]], [[0.0]]],
        "a": [[[1 / 2, 3 / 4, 1 / 4]], [[1 / 2]]],
        "delta": [[[-1 / 8, 3 / 16, -3 / 8]], [[-1 / 4]]],
        "dW": [[[-1 / 8, 3 / 16, -3 / 8]], [[-1 / 8], [-3 / 16], [-1 / 16]]],
        "db": [[-1 / 8, 3 / 16, -3 / 8], [-1 / 4]],
    }
    _compare(backend, network, params, [[1.0]], [[1.0]], expected, 1 / 4)


@pytest.mark.parametrize("factor", [1.0, 3.0])
def test_softmax_and_cross_entropy(backend, factor):
    """1-3 with softmax: z = [0, ln 2, 0] gives p = [1/4, 1/2, 1/4]; labels need not sum to 1."""
    network = br.Network([1, 3], ["softmax"], "cross_entropy")
    ln2 = math.log(2.0)
    params = br.Parameters.from_arrays([[[0.0, ln2, 0.0]]], [[0.0, 0.0, 0.0]])
    # loss = −ln(1/2)·factor;  delta = p·Σy − y = factor·[1/4, 1/2 − 1, 1/4]
    delta = [factor / 4, -factor / 2, factor / 4]
    expected = {
        "z": [[[0.0, ln2, 0.0]]],
        "a": [[[1 / 4, 1 / 2, 1 / 4]]],
        "delta": [[delta]],
        "dW": [[delta]],
        "db": [delta],
    }
    _compare(backend, network, params, [[1.0]], [[0.0, factor, 0.0]], expected, factor * ln2)


def test_softmax_and_squared_error_by_the_full_jacobian(backend):
    """1-2 with softmax, p = [1/3, 2/3], y = [1, 0]: delta_j = p_j(da_j − Σ da·p), da = 2(p − y) = [−4/3, 4/3]."""
    network = br.Network([1, 2], ["softmax"], "sum_squared_error")
    params = br.Parameters.from_arrays([[[0.0, math.log(2.0)]]], [[0.0, 0.0]])
    # Σ da·p = −4/9 + 8/9 = 4/9;  delta = [1/3·(−4/3 − 4/9), 2/3·(4/3 − 4/9)] = [−16/27, 16/27]
    delta = [-16 / 27, 16 / 27]
    expected = {
        "z": [[[0.0, math.log(2.0)]]],
        "a": [[[1 / 3, 2 / 3]]],
        "delta": [[delta]],
        "dW": [[delta]],
        "db": [delta],
    }
    _compare(backend, network, params, [[1.0]], [[1.0, 0.0]], expected, 8 / 9)


def _compare(backend, network, params, x, y, expected, loss):
    """Within the rounding of the computation and of the fractions above, each a rounding of its own."""
    seen, bounds = br.trace(network, params, x, y, backend=backend), gradient_bounds(network, params, x, y)
    for name in QUANTITIES:
        for layer, true in enumerate(expected[name]):
            allowed = 2.0 * getattr(bounds, name)[layer] + np.spacing(np.abs(true))
            assert np.all(np.abs(getattr(seen, name)[layer] - true) <= allowed), f"{name}[{layer}]"
    assert abs(seen.loss - loss) <= 2.0 * bounds.loss + np.spacing(loss)
