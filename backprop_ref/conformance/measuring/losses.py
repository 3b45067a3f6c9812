"""The loss that a submission returns beside those of networks: the same, a usual factor, a penalty, or none of ours."""

import functools
import math

import numpy as np

from backprop_ref.conformance.dissecting.comparing import same
from backprop_ref.conformance.dissecting.rules import loss_of
from backprop_ref.conformance.measuring import material
from backprop_ref.conformance.measuring.forwards import Forward
from backprop_ref.conformance.submissions.conventions import OF_LOSSES, SIMPLE, Factor
from backprop_ref.formulas import LOSSES

CONSTANTS = {
    "": 1.0,
    "loss-sign": -1.0,
    "loss-log-base-2": 1.0 / math.log(2.0),
    "loss-log-base-10": 1.0 / math.log(10.0),
}
"""Factors of a loss that are no convention, by the bug."""


def case_of(asked, batches, forward: Forward):
    """The case that was asked for, as one of that network."""
    return material.case(forward.network, batches.params, asked.case.x, asked.case.y)


def loss_factor(batches, forward: Forward, tolerance=1e-7) -> tuple[Factor, str] | None:
    """The factor that the losses of all batches have beside those of a network, and the bug that it has else.

    None: there is no such factor.
    """
    tolerance = max(batches.tolerance, tolerance)
    asked = batches.all
    first = loss_of(case_of(asked[0], batches, forward), forward.loss_rules or forward.rules)
    sizes = [(len(one.case.x), one.case.y.shape[1]) for one in asked]
    usual = np.flatnonzero(np.abs(asked[0].loss - factors(*sizes[0]) * first) <= tolerance * abs(asked[0].loss))
    if not len(usual):
        return None
    rest = (loss_of(case_of(one, batches, forward), forward.loss_rules or forward.rules) for one in asked[1:])
    ours = np.array([first, *rest])
    theirs = np.array([one.loss for one in asked])
    for place in usual:
        if same(theirs, np.array([factors(*size)[place] for size in sizes]) * ours, tolerance):
            return _FACTORS[place]
    return None


_FACTORS = [(factor, name) for name in CONSTANTS for factor in (SIMPLE if name else OF_LOSSES)]


@functools.cache
def factors(batch, n_out) -> np.ndarray:
    """The numbers that these are for a batch of that size."""
    return np.array(
        [float(batch) ** f.batch * float(n_out) ** f.outputs * 2.0**f.twos * CONSTANTS[name] for f, name in _FACTORS]
    )


def is_usual(scale: float, network) -> bool:
    """Whether people reduce a loss like that: a sum or a mean over the outputs, a squared error with ½ or without."""
    n_out, squared = float(network.sizes[-1]), network.loss.endswith("squared_error")
    ours_is_mean = LOSSES[network.loss].divisor(1, network.sizes[-1]) != 1
    outputs = (1.0, n_out) if ours_is_mean else (1.0, 1.0 / n_out)
    return any(np.isclose(scale, o * t, rtol=1e-7) for o in outputs for t in ((1.0, 0.5) if squared else (1.0,)))


def simple(scale: float, n_out: int, tolerance: float = 0.0) -> Factor | None:
    """The usual factor of that size for a single sample; it has more digits than the gradients it is measured on."""
    rtol = max(1e-7, tolerance / 64)
    single = (f for f in SIMPLE if f.batch == 0)
    return next((f for f in single if np.isclose(float(n_out) ** f.outputs * 2.0**f.twos, scale, rtol=rtol)), None)
