"""Code that is written for some networks only: which they are, and the flags that ask for these alone."""

from backprop_ref.conformance.judging.normalising import gradient_fits, loss_fits
from backprop_ref.conformance.judging.outcome import NO_ANSWER, NOT_JUDGED, Judged
from backprop_ref.network import LOSSES

FLAGS = ("--hidden", "--outputs", "--losses", "--layers")


def made_for(counting) -> tuple[list[Judged], list[str]]:
    """The cases of the networks that a submission seems to be written for, and a note with the flags for them.

    These are the networks whose losses are right, all of them, while no other's is; where no loss is returned, those
    whose gradients are. Both are empty if there is no such set, or if it is all.
    """
    asked = [one for one in counting if one.verdict != NOT_JUDGED]
    with_loss = any(_returns_loss(one) for one in asked)
    fits = loss_fits if with_loss else gradient_fits
    fitting = [one for one in asked if one.verdict != NO_ANSWER and _returns_loss(one) == with_loss and fits(one)]
    if not fitting or len(fitting) == len(asked):
        return [], []
    for flags in (FLAGS[:3], FLAGS):
        kinds = {flag: set().union(*(_kinds(one)[flag] for one in fitting)) for flag in flags}
        if [one for one in asked if all(_kinds(one)[flag] <= kinds[flag] for flag in flags)] == fitting:
            what = "loss" if with_loss else "gradient, but for a factor,"
            text = " ".join(f"{flag} {','.join(sorted(kind))}" for flag, kind in kinds.items() if kind)
            these = "activations, losses and depths" if flags == FLAGS else "activations and losses"
            where = f"in {len(fitting)} of {len(asked)} cases"
            return fitting, [f"the {what} is right {where}; if yours is made for these {these} alone, say {text}"]
    return [], []


def _returns_loss(one):
    return one.answer.values is not None and one.answer.values.loss is not None


def _kinds(one):
    """What the flags choose by: activations in hidden layers, that of the output, the loss, the layers of weights."""
    network = one.case.network
    kinds = ({*network.activations[:-1]}, {network.activations[-1]}, {LOSSES[network.loss]}, {str(network.n_layers)})
    return dict(zip(FLAGS, kinds, strict=True))
