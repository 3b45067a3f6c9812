"""The catalogue: how backprop goes wrong in the wild, each bug as the rules of the textbook pass that it replaces."""

import numpy as np

from backprop_ref.conformance.cases import Case
from backprop_ref.conformance.catalogue import (
    all_tensors,
    hidden_delta,
    linear_algebra,
    losses,
    one_tensor,
    output_delta,
    regularisation,
    state,
    updates,
)
from backprop_ref.conformance.catalogue.bug import Bug
from backprop_ref.conformance.catalogue.textbook import RULES, predict, replaced
from backprop_ref.conformance.rounding.balls import Ball

CATALOGUE: tuple[Bug, ...] = (
    *all_tensors.BUGS,
    *losses.BUGS,
    *one_tensor.BUGS,
    *output_delta.BUGS,
    *hidden_delta.BUGS,
    *linear_algebra.BUGS,
    *regularisation.BUGS,
    *updates.BUGS,
    *state.BUGS,
)
BY_ID = {bug.id: bug for bug in CATALOGUE}


def shown_by(case: Case) -> tuple[str, ...]:
    """Ids of the bugs that show on a case: a variant leads outside the bounds."""
    with np.errstate(all="ignore"):
        right = dict(predict(case, RULES))
        return tuple(
            bug.id for bug in CATALOGUE if any(_shows(case, bug, form, right) for form in (*bug.variants, *bug.fitted))
        )


def _shows(case, bug, variant, right):
    values = {bug.parameter: Ball.exact(bug.start, right["z", 0].precision)}
    return any(
        wrong.shape != right[key].shape or not np.all(np.abs(wrong.mid - right[key].mid) <= wrong.rad + right[key].rad)
        for key, wrong in predict(case, replaced(variant), values=values)
    )
