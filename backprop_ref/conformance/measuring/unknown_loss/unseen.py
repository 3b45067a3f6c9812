"""A loss that is not returned and none of ours: what the code keeps of it, and whether there can be one at all."""

from collections.abc import Callable, Iterator

import numpy as np

from backprop_ref.conformance.measuring import material
from backprop_ref.conformance.measuring.judgement import Judgement
from backprop_ref.conformance.measuring.networks import kind_of
from backprop_ref.conformance.measuring.unknown_loss.differences import STEP
from backprop_ref.conformance.outcomes.outcome import NOT_JUDGED, OWN_TERMS
from backprop_ref.conformance.submissions.conventions import SIMPLE
from backprop_ref.parameters import Parameters

DIRECTIONS = 6
"""In so many a gradient is held against what is kept, or against the differences of itself."""
DIGITS = 1e-5
"""To such a part of their size two slopes are the same."""


def by_what_is_kept(ask, network, batches) -> Judgement | None:
    """The judgement where some number that the code keeps has the gradient as its derivative; None: none has."""
    name = _kept(ask, network, batches.params, batches.five, list(_directions(batches.five, network)))
    if not name:
        return None
    said = f"it returns no loss, but keeps it as '{name}', which is none of ours, and of which the gradient is the "
    said += f"derivative; checked by central differences in {DIRECTIONS} random directions"
    return Judgement(OWN_TERMS, "with a loss or an activation of its own", notes=(said,))


def of_some_loss(ask, network, batches, coupled) -> Judgement | None:
    """That it cannot be judged, where the gradient is that of some loss; None: it is that of none, or kinks hide it.

    Parameters
    ----------
    coupled : bool
        Whether the gradient of a batch is not put together from its samples'.
    """
    if not _is_symmetric(ask, network, batches.params, batches.five, list(_directions(batches.five, network))):
        return None
    why = (
        "samples of a batch act on each other, as in batch normalisation, so that single ones show no rule"
        if coupled
        else "no usual activations and loss give its gradient, though it is the gradient of some loss"
    )
    how = "return the loss beside the gradients"
    how += ", or have a method loss(x, y)" if ask.submission.kind == "class" else ", as (loss, dW, db)"
    return Judgement(NOT_JUDGED, kind_of(network), reason=f"it returns no loss, and {why}: {how}")


def _directions(five, network) -> Iterator[np.ndarray]:
    """Random ones in all tensors that have a gradient."""
    rng = np.random.default_rng(network.sizes)
    db = five.values.db or [None] * network.n_layers
    for _ in range(DIRECTIONS):
        found = Parameters.zeros(network.sizes)
        for layer in range(network.n_layers):
            found.W[layer][...] = rng.normal(size=found.W[layer].shape)
            if db[layer] is not None:
                found.b[layer][...] = rng.normal(size=found.b[layer].shape)
        yield found.flat / np.linalg.norm(found.flat)


def _flat(values, sizes):
    """The gradients as one vector; 0 where there is none."""
    found = Parameters.zeros(sizes)
    for name in ("W", "b"):
        for there, g in zip(getattr(found, name), getattr(values, f"d{name}") or (), strict=False):
            there[...] = 0.0 if g is None else g
    return found.flat


def _difference(at: Callable, params, direction):
    """The derivative of what is `at` some weights along a direction; None where it fails, or a kink is near."""
    ends = [at(Parameters(params.flat + step * direction, params.sizes)) for step in (STEP, -STEP, STEP / 2, -STEP / 2)]
    if any(one is None for one in ends):
        return None
    long, short = (ends[0] - ends[1]) / (2.0 * STEP), (ends[2] - ends[3]) / STEP
    near = np.linalg.norm(short - long) <= 1e3 * DIGITS * np.linalg.norm(short)
    return short + (short - long) / 3.0 if near else None


def _is_symmetric(ask, network, params, five, along) -> bool:
    """Whether the gradient has symmetric derivatives, as the gradient of any loss has, and of nothing else."""

    def at(moved):
        answer = ask(network, moved, five.case.x, five.case.y)
        return None if answer is None or answer.values.dW is None else _flat(answer.values, network.sizes)

    found = [(v, change) for v in along if (change := _difference(at, params, v)) is not None]
    pairs = [(one, two) for place, one in enumerate(found) for two in found[:place]]
    size = np.sqrt(params.flat.size)
    return len(pairs) > 2 and all(
        abs(v @ of_w - w @ of_v) <= 10.0 * DIGITS * max(np.linalg.norm(of_v), np.linalg.norm(of_w)) / size
        for (v, of_v), (w, of_w) in pairs
    )


def _kept(ask, network, params, five, along) -> str:
    """The name under which a number is kept whose derivative the gradient is, but for a usual factor; empty: none."""
    names = list(ask.submission.recorded(five.case))
    if not names:
        return ""

    def at(moved):
        case = material.case(network, moved, five.case.x, five.case.y)
        ask.calls += 1
        record = ask.submission.recorded(case)
        numbers = [record.get(name, (np.nan, 0.0)) for name in names]
        return np.array([number if not slack else np.nan for number, slack in numbers])

    gradient, slopes, due = _flat(five.values, network.sizes), [], []
    for direction in along:
        ends = [at(Parameters(params.flat + step * direction, params.sizes)) for step in (STEP, -STEP)]
        slopes.append((ends[0] - ends[1]) / (2.0 * STEP))
        due.append(gradient @ direction)
    factors = {one.of(five.case) for one in SIMPLE}
    every, right = np.array(slopes), np.array(due)
    for name, theirs in zip(names, every.T, strict=True):
        if any(np.all(np.abs(theirs - c * right) <= DIGITS * np.abs(c * right).max()) for c in factors):
            return name.removesuffix(" at first")
    return ""
