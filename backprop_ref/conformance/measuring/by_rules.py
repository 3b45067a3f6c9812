"""The judgement on gradients by the rules of a network: with its loss, or, where none is returned, by the gradients."""

import time

import numpy as np

from backprop_ref.conformance.dissecting.batches import together
from backprop_ref.conformance.dissecting.rules import right_pass
from backprop_ref.conformance.dissecting.samples import Samples
from backprop_ref.conformance.measuring import forwards, naming
from backprop_ref.conformance.measuring.asking import HALF_THE_DIGITS
from backprop_ref.conformance.measuring.forwards import rows_of
from backprop_ref.conformance.measuring.judgement import ORDER, Judgement, known_bug
from backprop_ref.conformance.measuring.losses import CONSTANTS, case_of, is_usual, simple
from backprop_ref.conformance.measuring.networks import kind_of
from backprop_ref.conformance.outcomes.outcome import CONVENTION, RIGHT, WRONG
from backprop_ref.conformance.submissions.conventions import SIMPLE, Factor
from backprop_ref.formulas import together as short_form
from backprop_ref.network import Network

SECONDS = 1.0
"""Simpler explanations are looked for no longer once there is one, and twice as long where there is none."""
ENDED = "the search for a simpler explanation was ended after {:.2g} s; the verdict does not depend on it"


def free(ask):
    """Whether gradients are differences of weights with a learning rate that nobody knows."""
    return ask.submission.in_place and ask.submission.learning_rate is None


def known(batches, forward, factor, constant="", search=True) -> Judgement:
    """The judgement on a network whose loss, but for a factor, is known.

    Parameters
    ----------
    constant : str
        The bug whose factor the loss has beside the usual one.
    """
    network, c = forward.network, factor.of(batches.singles[0].case)
    text, rows = kind_of(network), rows_of(batches, forward)
    if constant:  # the gradient may have the same factor: then it is that of its loss
        whole = Samples(rows, batches.singles, c * CONSTANTS[constant], batches.tolerance, False)
        if not whole.offs and constant != "loss-sign":
            said = f"your loss is computed in another logarithm: {CONSTANTS[constant]:.4g} times ours"
            return Judgement(CONVENTION, text, forward.findings, (said,)) if not forward.findings else Judgement(
                WRONG, text, forward.findings)  # fmt: skip
        forward = forward._replace(findings=(*forward.findings, known_bug(constant, "loss", network=text)))
    samples = Samples(rows, batches.singles, c, batches.tolerance, search)
    findings = [*forward.findings, *findings_of(samples, batches, forward, factor.batch - 1, c)]
    if findings:
        wrong = any(not finding.acceptable for finding in findings)
        return Judgement(WRONG if wrong else CONVENTION, text, tuple(findings))
    if factor == Factor():
        return Judgement(RIGHT, text, notes=_digits(batches, forward, factor))
    said = (
        f"your loss is {factor.in_words(network.loss)}, ours {Factor().in_words(network.loss)}: the gradient has the "
    )
    said += "same factor, which a learning rate makes up for"
    return Judgement(CONVENTION, text, conventions=(said,), notes=_digits(batches, forward, factor))


def findings_of(samples, batches, forward, power, loss_scale):
    """Findings of single samples and of batches.

    Parameters
    ----------
    power : int or None
        i where the batch's gradient should be size**i times the sum of its samples'; None: 0 or −1.
    loss_scale : float or None
        The factor of a sample's loss, where there is a loss.
    """
    last, network = samples.last, forward.network
    text, offs, found = kind_of(network), [], []
    squared, n_out = network.loss.endswith("squared_error"), network.sizes[-1]
    for off in samples.offs:
        if off.quantity == "delta" and off.layer == last and not off.named and not off.words:
            usual = loss_scale is not None and is_usual(loss_scale, network)
            loss_is_off = loss_scale is not None and not usual and is_usual(loss_scale * off.factor, network)
            found.append(naming.scaled(off.factor, loss_scale, n_out, squared, text, loss_is_off))
        else:
            offs.append(off)
    joined = together(samples, case_of(batches.five, batches, forward), batches.five, batches.singles)
    found = [*naming.findings_of([*offs, *joined.offs], last, text), *found]
    return [*found, *divided(joined, power, text)]


def divided(joined, power, text):
    """Findings for what is not divided by the batch size as is due; one sample may stand for the mean or the sum."""
    due = usual_power({**joined.powers, **joined.alone}) if power is None else power
    alone = {} if set(joined.alone.values()) in ({due}, {due + 1}) else joined.alone
    powers = {**joined.powers, **alone}
    return naming.powered(powers, power, text) if powers else []


def usual_power(powers):
    """−1 or 0, whichever more tensors have."""
    values = list(powers.values())
    return max((-1, 0), key=values.count)


def _digits(batches, forward, factor):
    """A note where more digits are lost than rounding explains."""
    c = factor.of(batches.five.case)
    worst = 0.0
    with np.errstate(all="ignore"):
        for key, ball in right_pass(case_of(batches.five, batches, forward), forward.rules):
            measured = getattr(batches.five.values, key[0], None)
            if key[0] not in {"dW", "db"} or measured is None or measured[key[1]] is None:
                continue
            gap = np.abs(measured[key[1]] - c * ball.mid)
            allowed = 8.0 * abs(c) * ball.rad + 64.0 * np.finfo(float).eps * np.abs(measured[key[1]])
            if np.any(gap > allowed):
                worst = max(worst, float(gap.max() / np.abs(measured[key[1]]).max()))
    if batches.tolerance > HALF_THE_DIGITS["float64"]:
        return ("computed in float32, or worked out from differences of weights",) if worst else ()
    if worst < 1e-12 or batches.five.slack is not None:
        return ()
    return (
        (f"right to {worst:.0e} of its size: more than rounding in float64 explains, such as an ε or a clip",)
        if worst
        else ()
    )


# ---- without a loss --------------------------------------------------------------------------------------------------


def without_loss(ask, batches, members, search, *, told) -> Judgement:
    """The judgement on gradients without a loss: the network whose rules they fit with the fewest bugs.

    Less usual networks are tried where no usual one has its hidden layers, and after these where none is right.
    """
    if told:
        return _of_fewest_bugs(ask, batches, members, search)
    usual = bool(forwards.fitting(forwards.right(members), batches, 0))
    best = _of_fewest_bugs(ask, batches, members, search) if usual else None
    if (best is None or best.verdict == WRONG) and (others := forwards.rarer(members, batches)):
        other = _of_fewest_bugs(ask, batches, others, search and best is None)
        best = other if best is None or other.verdict != WRONG else best
    return best or _of_fewest_bugs(ask, batches, members, search)


def _of_fewest_bugs(ask, batches, members, search):
    ranked = []
    for place, forward in enumerate(forwards.right(members)):
        samples = Samples(rows_of(batches, forward), batches.singles, None, batches.tolerance, False, words=False)
        ranked.append((samples.cost, _oddity(samples, forward.network), place, forward))
    ranked.sort(key=lambda row: row[:3])
    best: Judgement | None = None
    for _, _, _, forward in ranked[:5] if not ranked[0][0] else ranked[:1]:
        judgement = _by_its_rules(ask, batches, forward, search=False)
        assert judgement is not None
        if best is None or (ORDER.index(judgement.verdict), judgement.cost) < (ORDER.index(best.verdict), best.cost):
            best = judgement
        if best.verdict != WRONG:
            return best
    assert best is not None
    return _simplest(ask, batches, [forward.network for *_, forward in ranked], best) if search else best


def _simplest(ask, batches, members, best):
    """The network, right or with a bug of its forward pass, whose rules leave least to say.

    `members` are in the order in which they are tried.
    """
    begun, notes = time.process_time(), tuple[str, ...]()
    every = [*forwards.right(_families(members)), *forwards.with_a_bug(_families(members), batches)]
    fitting = forwards.fitting(every, batches)
    ends = {id(one): forwards.ends_as_told(rows_of(batches, one), batches) for one in fitting}
    for forward in sorted(fitting, key=lambda one: not ends[id(one)]):
        if forward.cost >= best.cost:
            continue
        seconds = (SECONDS if best.named else 2.0 * SECONDS) / ask.ways
        if forward.findings and time.process_time() - begun > seconds:  # right networks are all looked at
            notes = (ENDED.format(seconds),)
            continue
        found = _by_its_rules(ask, batches, forward, True, best.cost - len(forward.findings))
        if found is not None and found.cost < best.cost:
            best = found
    return best._replace(notes=(*best.notes, *notes))


def _families(members):
    """Networks whose gradients differ by more than a factor: one of the two squared errors."""
    found: dict[tuple, Network] = {}
    for network in members:
        found.setdefault((network.activations, network.loss.removeprefix("mean_").removeprefix("sum_")), network)
    return list(found.values())


def _oddity(samples, network):
    """How unusual the factor of the gradient is: 0 if it has none."""
    factor = simple(samples.scale, network.sizes[-1], samples.tolerance)
    return 9 if factor is None else SIMPLE.index(factor)


def _by_its_rules(ask, batches, forward, search, limit=None) -> Judgement | None:
    """The judgement by the rules of one network; None if it has as much to say as `limit`, or more."""
    network = forward.network
    n_out, squared, text = network.sizes[-1], network.loss.endswith("squared_error"), kind_of(network)

    def usual(scale):
        return simple(scale, n_out, batches.tolerance) is not None or (free(ask) and scale > 0.0)

    rows = rows_of(batches, forward)
    samples = Samples(rows, batches.singles, None, batches.tolerance, search, usual, limit=limit)
    if not samples.complete:
        return None
    findings = [*forward.findings, *findings_of(samples, batches, forward, None, None)]
    if not usual(samples.scale):
        scale = -1.0 if usual(-samples.scale) else samples.scale
        findings.append(naming.scaled(scale, None, n_out, squared, text))
    if findings:
        decay = all(finding.id == "decay-undeclared" for finding in findings)
        wrong = any(not finding.acceptable for finding in findings) and not decay
        return Judgement(WRONG if wrong else CONVENTION, text, tuple(findings))
    if free(ask):
        said = f"weights are updated in place; gradients fit with a learning rate of {samples.scale:.6g}"
        return Judgement(RIGHT, text, conventions=(said,))
    joined = together(samples, case_of(batches.five, batches, forward), batches.five, batches.singles)
    factor = simple(samples.scale, n_out, batches.tolerance) or Factor()
    whole = Factor(usual_power(joined.powers) + 1, factor.outputs, factor.twos)
    notes = _digits(batches, forward, whole)
    if short_form(network.loss, network.activations[-1]):
        pair = kind_of(network).rpartition(",")[2]
        notes += (f"right for {pair} alone: for a squared error the output's derivative would be missing",)
    if whole == Factor():
        return Judgement(RIGHT, text, notes=(*notes, "no loss is returned, so none is judged"))
    said = f"the gradient is that of {whole.in_words(network.loss)}; ours of {Factor().in_words(network.loss)}"
    said += "; no loss is returned that would say otherwise, and a learning rate makes up for it"
    return Judgement(CONVENTION, text, conventions=(said,), notes=notes)
