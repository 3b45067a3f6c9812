"""The judgement on a gradient whose loss is none of ours, by the derivative of that loss."""

import itertools

import numpy as np

from backprop_ref.conformance.dissecting.batches import together
from backprop_ref.conformance.dissecting.comparing import same
from backprop_ref.conformance.dissecting.rules import loss_of
from backprop_ref.conformance.dissecting.samples import Samples
from backprop_ref.conformance.measuring import forwards, naming
from backprop_ref.conformance.measuring.asking import HALF_THE_DIGITS
from backprop_ref.conformance.measuring.by_rules import divided, findings_of, without_loss
from backprop_ref.conformance.measuring.forwards import rows_of
from backprop_ref.conformance.measuring.judgement import ORDER, Judgement, known_bug
from backprop_ref.conformance.measuring.losses import CONSTANTS, case_of
from backprop_ref.conformance.measuring.networks import kind_of
from backprop_ref.conformance.measuring.unknown_loss import dissection
from backprop_ref.conformance.outcomes.outcome import CONVENTION, NOT_JUDGED, OWN_TERMS, WRONG, Finding
from backprop_ref.conformance.submissions.settings import OUR_RATE
from backprop_ref.parameters import Parameters

LEAST_SAMPLES = 3
"""So many samples have to show their rules."""
MOST_PENALTIES = 6
"""So many forward passes whose loss is the submission's, but for a penalty, are held to the gradient."""


def by_penalty(batches, every, search, known=True) -> Judgement | None:
    """The judgement where the loss is that of one of these with a penalty added, known or not; None: it is not."""
    best: Judgement | None = None
    for added in itertools.islice(_penalties(batches, every, known), MOST_PENALTIES if known else 1):
        found = _by_penalty(batches, added, search)
        if best is None or (ORDER.index(found.verdict), found.cost) < (ORDER.index(best.verdict), best.cost):
            best = found
        if best.verdict != WRONG or best.cost <= 1:
            break
    return best


def in_its_own_terms(ask, batches, members, told, search):
    """The judgement by the derivative of the submission's own loss; None where that cannot be had."""
    network = members[0]
    if batches.tolerance >= HALF_THE_DIGITS["float32"]:
        reason = "its loss is none of ours, and in float32 differences of it say nothing; compute in float64"
        return Judgement(NOT_JUDGED, kind_of(network), reason=reason)
    derived = dissection.is_derivative(ask, network, batches)
    name = kind_of(network) if told else "with a loss or an activation of its own"
    if derived and (layers := _moved_by_the_rate(ask, network, batches)):
        return Judgement(WRONG, name, (known_bug("updated-weights", "delta", layers, network=name),))
    if derived:
        note = "the gradient is the derivative of your own loss, which is none of ours; checked by central differences "
        note += f"in {dissection.DIRECTIONS} random directions of {'all weights' if ask.dear else 'each W and b'}"
        return Judgement(OWN_TERMS, name, notes=(note,))
    if search:
        bugs = forwards.fitting(forwards.with_a_bug(members, batches), batches, members[0].n_layers)
        every = [*forwards.fitting(forwards.right(members), batches), *bugs]
        if (found := by_penalty(batches, every, search, known=False)) is not None:
            return found
    return None if derived is None or ask.dear else _not_the_derivative(ask, batches, members, search)


def _moved_by_the_rate(ask, network, batches):
    """The layers whose gradient is another where a step is longer, as through weights that are updated already; with a
    short one that is less than differences of the loss tell."""
    submission = ask.submission
    if submission.kind != "function" or not submission.in_place or submission.learning_rate != OUR_RATE:
        return ()
    try:
        submission.learning_rate = 1.0
        longer = ask(network, batches.params, batches.five.case.x, batches.five.case.y)
    finally:
        submission.learning_rate = OUR_RATE
    if longer is None or longer.values.dW is None or batches.five.values.dW is None:
        return ()
    pairs = zip(longer.values.dW, batches.five.values.dW, strict=True)
    return tuple(layer for layer, pair in enumerate(pairs) if not same(*pair, 1e-6))


# ---- a penalty in the loss -------------------------------------------------------------------------------------------


def _penalties(batches, every, known):
    """Each loss that is ours with something added whatever the samples: its forward pass, in words, and its factor."""
    first = batches._replace(five=batches.singles[0], seven=None, singles=batches.singles[1:3])
    constants = list(CONSTANTS.items())[: 1 if known else None]
    pairs = ((forward, _losses(first, forward)) for forward in every)
    asked = ((*pair, *one) for pair in pairs for one in constants)
    for forward, few, name, constant in asked:
        if dissection.constant_rest(first, constant * few) is None:
            continue
        found = dissection.constant_rest(batches, constant * _losses(batches, forward))
        words = (
            "" if found is None else dissection.penalty(found[1], batches.params, True, dissection.digits_of(batches))
        )
        if found is not None and (words or not known):
            said = (known_bug(name, "loss", network=kind_of(forward.network)),) if name else ()
            yield forward._replace(findings=(*forward.findings, *said)), words, found[0]


def _losses(batches, forward):
    rules = forward.loss_rules or forward.rules
    return np.array([loss_of(case_of(one, batches, forward), rules) for one in batches.all])


def _by_penalty(batches, added, search):
    """The judgement where the loss holds a penalty, and the gradient its derivative or not."""
    forward, words, factor = added
    scale, where = factor.of(batches.singles[0].case), kind_of(forward.network)
    samples = Samples(rows_of(batches, forward), batches.singles, scale, batches.tolerance, search)
    found = findings_of(samples, batches, forward, factor.batch - 1, scale)
    findings = [
        *forward.findings,
        *(one for one in found if one.id not in {"decay-undeclared", "decay-absolute-undeclared"}),
    ]
    if not _derived(samples, words):
        measured = f"in the loss: {words or 'something that is the same whatever the sample'}"
        findings.append(known_bug("penalty-disagrees", "loss", measured=measured, network=where))
    elif "b²" in words:
        findings = [one for one in findings if one.id != "decay-on-bias"]
    if findings:
        return Judgement(WRONG, where, tuple(findings))
    said = f"your loss holds the penalty {words}, and your gradient its derivative"
    return Judgement(CONVENTION, where, conventions=(said,), plain=False)


def _derived(samples, words):
    """Whether what is added to each dW, and to each db if the penalty holds b, is the derivative of the penalty."""
    strength, params = float(words.rpartition("= ")[2] or "nan"), samples.rows.case.params
    parts = [np.sign(W) if "|W|" in words else W for W in params.W]
    biases = "b²" not in words or all(
        same(samples.added_b.get(layer), strength * b, 1e-3) for layer, b in enumerate(params.b)
    )
    return biases and all(
        layer in samples.added and same(samples.added[layer], strength * part * np.any(samples.G[layer], axis=0), 1e-3)
        for layer, part in enumerate(parts)
    )


# ---- a gradient that is not the derivative ---------------------------------------------------------------------------


def _not_the_derivative(ask, batches, members, search):
    """Which rule is off: by the rules of a usual network, or by those measured on the loss itself."""
    guess = without_loss(ask, batches, members, False, told=True)
    if guess.verdict != WRONG:
        finding = Finding(
            "loss-unknown",
            "the gradient is right for a usual loss, and the loss that is returned is another",
            "loss",
            right="the loss whose derivative the gradient is",
            measured="another number",
            remedy="return the loss that is differentiated",
            confidence="measured",
            network=guess.network,
        )
        return Judgement(WRONG, guess.network, (finding, *guess.findings))
    singles, rows = dissection.measured_samples(ask, members[0], batches)
    own = None
    if len(singles) >= LEAST_SAMPLES:
        own = _measured_rules(ask, batches, singles, rows, members[0], search)
        if own is not None and own.named:
            return own
    guess = without_loss(ask, batches, members, search, told=True)
    return own if own is not None and own.cost <= guess.cost else guess


def _measured_rules(ask, batches, singles, rows, network, search):
    """Findings by activations, slopes and deltas taken from the loss itself."""
    tolerance, text = max(batches.tolerance, 1e-5), kind_of(network)
    samples = Samples(rows, singles, 1.0, tolerance, bool(search), more=dissection.own_forms())
    last = samples.last
    if search and any(off.quantity == "delta" and off.layer < last and off.words for off in samples.offs):
        at_a = dissection.slopes_at_a(ask, network, batches.params, singles, rows)
        if at_a is not None:
            samples = Samples(rows, singles, 1.0, tolerance, True, more=(*dissection.own_forms(), at_a))
    offs, findings = [], []
    for off in samples.offs:
        if off.quantity == "delta" and off.layer == last and not off.named and not off.words:
            findings.append(naming.scaled(off.factor, 1.0, rows.network.sizes[-1], False, text))
        else:
            offs.append(off)
    findings = [*naming.findings_of(offs, last, text), *findings]
    samples.search = False
    joined = together(samples, batches.five.case, batches.five, batches.singles)
    if joined.offs and search and (name := dissection.by_other_labels(ask, network, batches)):
        return Judgement(WRONG, text, (known_bug(name, "delta", (last,), network=text), *findings))
    if not findings:
        size = float(len(batches.five.case.x))
        name = "db" if samples.B[last] is not None else "dW"
        total = np.sum([getattr(one.values, name)[last] for one in batches.singles], axis=0)
        due = _last(ask, batches, name[1:])
        power = next((power for power in (-1, 0) if dissection.agree(size**power * total, due, 1e-5)), None)
        if power is not None:
            findings += divided(joined, power, text)
        findings += naming.findings_of(joined.offs, last, text)
    return Judgement(WRONG, text, tuple(findings)) if findings else None


def _last(ask, batches, name):
    """The derivative of the loss of a batch by the last W or b; NaN where there is none."""
    wanted, five = Parameters.zeros(batches.params.sizes), batches.five.case
    getattr(wanted, name)[-1][...] = 1.0
    found = dissection.derivatives(ask, five.network, batches.params, five.x, five.y, wanted)
    return np.array(np.nan) if found is None else getattr(found, name)[-1]
