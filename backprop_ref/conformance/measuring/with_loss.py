"""The judgement on gradients that come with a loss."""

import itertools
import time
from collections.abc import Callable
from functools import partial

from backprop_ref.conformance.catalogue.bug import Change
from backprop_ref.conformance.catalogue.known import CATALOGUE
from backprop_ref.conformance.catalogue.output_delta import terms_with
from backprop_ref.conformance.dissecting.rules import Form, changed
from backprop_ref.conformance.judging.fitting import ALMOST
from backprop_ref.conformance.measuring import by_rules, forwards
from backprop_ref.conformance.measuring.answers import ask_all
from backprop_ref.conformance.measuring.asking import HALF_THE_DIGITS
from backprop_ref.conformance.measuring.by_rules import ENDED, free, known, without_loss
from backprop_ref.conformance.measuring.forwards import Forward
from backprop_ref.conformance.measuring.judgement import ORDER, Judgement, known_bug
from backprop_ref.conformance.measuring.losses import loss_factor
from backprop_ref.conformance.measuring.networks import kind_of
from backprop_ref.conformance.measuring.unknown_loss.own_terms import by_penalty, in_its_own_terms
from backprop_ref.conformance.outcomes.outcome import OWN_TERMS, WRONG
from backprop_ref.conformance.submissions.conventions import Factor

EPSILONS = (1e-4, 1e-5, 1e-6, 1e-7, 1e-8)
"""Smaller ones are lost digits."""
ONE_HOT = "for one-hot labels"
FIRST_DIGITS = "your loss is right in its first digits only, as with an ε in its logarithm"


def with_loss(ask, batches, members, search, *, form, told) -> Judgement:
    """The judgement on gradients with a loss."""
    fitting, hard, again = _of_that_loss(batches, forwards.right(members)), False, None
    if not fitting and not told:
        fitting = _of_that_loss(batches, forwards.right(forwards.rarer(members, batches)))
    if not fitting and not form.hard:
        again = ask_all(ask, form, members[0], hard=True)
        if again is not None and again.five.loss is not None:
            fitting = _of_that_loss(again, forwards.right(members))
            fitting = fitting or _of_that_loss(again, forwards.right(forwards.rarer(members, again)))
            if fitting:
                batches, hard = again, True
    if fitting and free(ask):
        return without_loss(ask, batches, [forward.network for forward, *_ in fitting], search, told=True)
    if fitting:
        best = _by_networks(batches, members, fitting, search)
        plain = best.plain and not hard and batches.tolerance < HALF_THE_DIGITS["float32"]
        return best._replace(notes=(*best.notes, *((ONE_HOT,) if hard else ())), plain=plain)
    near = forwards.fitting(forwards.right(members), batches)
    found = (
        (_by_single_losses(batches, near) if search else None)
        or _almost(ask, batches, near, search)
        or _by_penalty(batches, near, members, search)
        or (_by_bugs(batches, near, members) if search else None)
        or in_its_own_terms(ask, batches, members, told, search)
        or without_loss(ask, batches, members, search, told=told)
    )
    if found.verdict == WRONG and again is not None and again.five.loss is not None:
        own = in_its_own_terms(ask, again, members, told, False)
        if own is not None and own.verdict == OWN_TERMS:
            return own._replace(notes=(*own.notes, ONE_HOT))
    return found


def _by_networks(batches, members, fitting, search) -> Judgement:
    """The judgement by the networks that have the loss."""
    best = _least([partial(known, batches, forward, factor, bug, search) for forward, factor, bug in fitting[:4]])
    linear = "linear" in fitting[0][0].network.activations
    if best.cost > 1 and search and linear:
        found = _of_that_loss(batches, forwards.with_missing_activations(members))
        best = _least([partial(known, batches, *one) for one in found[:12]], best)
    if not best.named and search:  # what one loss is with a bug, another is without
        fit = {(forward.network.activations[-1], forward.network.loss) for forward, *_ in fitting}
        output = fitting[0][0].network.activations[-1]
        others = [one for one in members if one.activations[-1] == output and (output, one.loss) not in fit]
        every = forwards.right([one for one in others if one.activations == fitting[0][0].network.activations])
        every += forwards.with_missing_activations(others) if linear and others else []
        found = _of_that_loss(batches, _with_loss_bugs(every))
        best = _least([partial(known, batches, *one) for one in found[: 12 if linear else 6]], best)
    return best


def _by_penalty(batches, near, members, search) -> Judgement | None:
    """The judgement by networks whose loss has a penalty beside it; a linear one may be one without an activation, and
    what one loss is with a bug, another is without."""
    found = by_penalty(batches, near, search)
    if found is None or found.named or not search:
        return found
    missing = forwards.fitting(forwards.with_missing_activations(members), batches)
    other = by_penalty(batches, [*missing, *_with_loss_bugs(near)], search)
    return other if other is not None and other.cost < found.cost else found


def _by_bugs(batches, near, members) -> Judgement | None:
    """The judgement where the loss is a network's with a known bug of the forward pass or the loss; else None."""
    most = members[0].n_layers  # where hidden layers are none of ours, the loss is not either
    plain = forwards.fitting(near, batches, most - 1)
    bugs = forwards.fitting([*plain, *forwards.with_a_bug(members, batches)], batches, most)
    found = (
        _of_that_loss(batches, bugs)
        or _of_that_loss(batches, _with_loss_bugs(plain))
        or _of_that_loss(batches, _with_loss_bugs(bugs, alone=True))
    )
    return _least([partial(known, batches, *one) for one in found[:6]]) if found else _by_single_losses(batches, bugs)


def _of_that_loss(batches, every) -> list[tuple[Forward, Factor, str]]:
    """Those whose loss is the submission's, but for a factor; the simplest first."""
    found = [(forward, *factor) for forward in every if (factor := loss_factor(batches, forward)) is not None]
    return sorted(found, key=lambda one: (one[0].cost, bool(one[2]), sum(map(abs, one[1][:3]))))


def _by_single_losses(batches, every) -> Judgement | None:
    """The judgement where only single samples' losses are a network's, as with weights that change within a batch.

    None: there is no such network, or something is left without a name.
    """
    singles = batches._replace(five=batches.singles[0], seven=None, singles=batches.singles[1:])
    for forward, factor, constant in _of_that_loss(singles, every):
        for batch in (0, 1):
            found = known(batches, forward, factor._replace(batch=batch), constant)
            if found.verdict == WRONG and found.named and any(one.id == "samples-in-turn" for one in found.findings):
                return found
    return None


def _least(judged: list[Callable[[], Judgement]], best: Judgement | None = None) -> Judgement:
    """The judgement that says least, each made when it is asked for; the first that is not WRONG.

    Beside a `best` that is known, all have a bug of their forward pass or loss: then time may end the search.
    """
    begun, only_names = time.process_time(), best is not None
    for judge in judged:
        if best is not None and (best.verdict != WRONG or best.cost <= 1):
            break
        if best is not None and only_names and time.process_time() - begun > by_rules.SECONDS:
            return best._replace(notes=(*best.notes, ENDED.format(by_rules.SECONDS)))
        one = judge()
        if best is None or (ORDER.index(one.verdict), one.cost) < (ORDER.index(best.verdict), best.cost):
            best = one
    assert best is not None
    return best


def _with_loss_bugs(every, alone=False):
    """The same with a known bug of the loss's terms, and its gradient with it or without; or of these `alone`."""
    known_forms = [
        Form(bug, change)
        for bug in CATALOGUE
        for change in bug.variants
        if {"terms", "target"} & change.keys() and not {"z", "a", "inputs"} & change.keys() and not bug.acceptable
        if set(change) == {"terms"} or not alone
    ]
    for forward in every:
        for form in known_forms:
            bug = form.bug
            quantity = "loss" if bug.where == "loss" else "delta"
            finding = known_bug(bug.id, quantity, network=kind_of(forward.network))
            rules = changed(forward.rules, form.change)
            found = forward._replace(findings=(*forward.findings, finding), cost=forward.cost + 1, loss_rules=rules)
            yield found
            if {"error", "target"} & form.change.keys():
                yield found._replace(rules=rules)


def _almost(ask, batches, near, search):
    """The judgement where the loss is that of a network but for its last digits."""
    for forward in (*near, *_with_epsilon(near)):
        factor = loss_factor(batches, forward, tolerance=ALMOST)
        if factor is not None and not factor[1]:
            judgement = (
                without_loss(ask, batches, [forward.network], search, told=True)
                if free(ask)
                else known(batches, forward, *factor, search=search)
            )
            note = FIRST_DIGITS
            if judgement.verdict != WRONG:
                note += "; its gradient is right"
            return judgement._replace(notes=(*judgement.notes, note))
    return None


def _with_epsilon(every):
    """The same with an ε in the logarithms of the loss, which may be more than its last digits."""
    for forward, epsilon in itertools.product(every, EPSILONS):
        if forward.network.loss.endswith("cross_entropy"):
            terms: Change = {"terms": lambda right, p, epsilon=epsilon: terms_with(p, epsilon)}
            yield forward._replace(loss_rules=changed(forward.rules, terms))
