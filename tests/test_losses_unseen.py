"""Gradients whose loss is none of ours and is not returned: normalised batches or samples, pairs, weights of labels."""

import numpy as np
import pytest

import backprop_ref as br

NETWORK = "3-5-4:tanh,linear:sse"


def code(axis=0, loss="0", factor=1.0, out="y"):
    """A network that normalises over an axis of its first layer, with that loss in it."""

    def gradients(W1, b1, W2, b2, x, y):
        m = len(x)
        z = x @ W1 + b1
        size = np.sqrt(z.var(axis, keepdims=True) + 1e-5)
        n = (z - z.mean(axis, keepdims=True)) / size
        a = np.tanh(n)
        error = a @ W2 + b2 - y
        if loss:
            value = 0.5 * np.sum(error**2) / m  # noqa: F841
        if out == "pairs":  # which are to be as far apart as their labels
            error = error - error.mean(0)
        d2 = error / m
        dn = d2 @ W2.T * (1 - a**2)
        d1 = (dn - dn.mean(axis, keepdims=True) - n * (dn * n).mean(axis, keepdims=True)) / size
        return x.T @ d1 * factor, d1.sum(0), a.T @ d2, d2.sum(0)

    return gradients


@pytest.mark.parametrize(
    ("function", "verdict"),
    [
        (code(loss="kept"), "RIGHT IN ITS OWN TERMS"),
        *(
            pytest.param(code(**keywords), verdict, marks=pytest.mark.more)
            for keywords, verdict in (
                ({"loss": ""}, "NOT JUDGED"),
                ({"loss": "", "factor": 1.01}, "WRONG"),
                ({"axis": 1, "loss": "kept"}, "RIGHT IN ITS OWN TERMS"),
                ({"axis": 1, "loss": ""}, "NOT JUDGED"),
                ({"axis": 1, "loss": "", "factor": 1.01}, "WRONG"),
                ({"loss": "", "out": "pairs"}, "NOT JUDGED"),
                ({"loss": "kept", "factor": 1.01}, "WRONG"),
            )
        ),
    ],
)
def test_a_loss_that_is_not_returned(function, verdict):
    outcome = br.verify(function, network=NETWORK)
    assert outcome.verdict == verdict
    if verdict == "NOT JUDGED":
        assert "return the loss" in outcome.reason
