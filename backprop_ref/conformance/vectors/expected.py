"""What is expected of a case: the bits of the reproducible arithmetic, exact values, and bounds; needs mpmath."""

from dataclasses import replace

from backprop_ref.backends import get_backend
from backprop_ref.conformance.cases import Expected, mapped
from backprop_ref.conformance.rounding import truth
from backprop_ref.conformance.rounding.updates import case_bounds
from backprop_ref.conformance.running import answered, expects_steps


def completed(case):
    """The case with its `Expected`."""
    exact = _exact(case)
    reference = answered(get_backend("numpy", "reproducible"), case)
    return replace(case, expected=Expected(reference, exact, case_bounds(case, exact)))


def _exact(case):
    """The exact values, each rounded to float64."""
    network, W, b = case.network, list(case.params.W), list(case.params.b)
    found = truth.exact_pass(network, W, b, case.x, case.y, da=case.da)
    decay = truth.high_precision().number(case.weight_decay)
    dW = [
        [[g + decay * float(w) for g, w in zip(*rows, strict=True)] for rows in zip(*pair, strict=True)]
        for pair in zip(found.dW, W, strict=True)
    ]
    found = found._replace(dW=dW)
    if expects_steps(case):
        W, b = truth.exact_steps(network, W, b, case.batches(), case.optimizer)
        found = found._replace(W=W, b=b)
    return mapped(truth.rounded, found)
