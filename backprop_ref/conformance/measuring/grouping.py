"""The networks of one size, grouped by what a submission answers: each group is judged, and all are one outcome."""

import time
from functools import partial

import numpy as np

from backprop_ref.asking import ask as say
from backprop_ref.conformance.catalogue.known import BY_ID
from backprop_ref.conformance.measuring import answers, material
from backprop_ref.conformance.measuring.asking import HALF_THE_DIGITS, Asked
from backprop_ref.conformance.measuring.by_rules import without_loss
from backprop_ref.conformance.measuring.judgement import ORDER, Judgement, known_bug
from backprop_ref.conformance.measuring.networks import EXAMPLE, kind_of
from backprop_ref.conformance.measuring.recorded import told_by_record
from backprop_ref.conformance.measuring.unknown_loss.unseen import by_what_is_kept, of_some_loss
from backprop_ref.conformance.measuring.with_loss import with_loss
from backprop_ref.conformance.outcomes.outcome import CONVENTION, NOT_JUDGED, RIGHT, WRONG, Finding, Outcome

COMMON = (("softmax", "cross_entropy"), ("sigmoid", "binary_cross_entropy"), ("sigmoid", "sum_squared_error"),
          ("linear", "sum_squared_error"), ("tanh", "sum_squared_error"), ("softmax", "sum_squared_error"))  # fmt: skip
"""The outputs with their losses that people write most: of several explanations, the first."""

USUAL = (("sigmoid", "sigmoid"), ("relu", "softmax"), ("tanh", "tanh"), ("relu", "linear"), ("tanh", "linear"),
         ("sigmoid", "linear"), ("relu", "sigmoid"), ("tanh", "sigmoid"), ("sigmoid", "softmax"))  # fmt: skip
"""The hidden activations with the outputs that people write most."""
SECONDS = 4.0
"""What starts anew with each call is asked no longer for other networks than the first."""
REMEMBERS = 3
"""Groups for which an answer depends on what was asked before: then they are no groups, and it is WRONG for all."""


def plain_answer(ask, form, network, seed=1, samples=1):
    """The answer for plain numbers: of the network, or the first of the form's sizes."""
    kind = network or material.networks(form.sizes)[0]
    params = material.parameters(form.sizes, seed, form.biases)
    return ask(kind, params, *material.batch(form.sizes, material.SAMPLES, samples, form.hard))


def same_answer(one, two):
    """Whether two answers have the same loss and gradients."""
    if one is None or two is None:
        return one is two
    lists = [(one.values.dW, two.values.dW), (one.values.db, two.values.db)]
    same_loss = one.loss == two.loss or (one.loss != one.loss and two.loss != two.loss)  # NaN is like NaN
    return same_loss and all((a is None) == (b is None) and (a is None or all(map(_alike, a, b))) for a, b in lists)


def _alike(one, two):
    """Whether two arrays are equal, or neither is there: a db of another shape than b is left out."""
    return one is two or (one is not None and two is not None and np.array_equal(one, two, equal_nan=True))


def measured(ask, submission, form, target, network):
    """The outcome for the networks of a form's sizes, or for the only one."""
    groups, refused = _groups(ask, submission, form, network)
    if not groups:
        reason = ask.problem or "it gives no answer"
        if ask.dear and network is None:
            reason += f"; if it is made for one network only, say which: {say('--network', EXAMPLE)}"
        return Outcome(target, NOT_JUDGED, reason=reason, calls=ask.calls)
    told = submission.takes_network and (len(groups) > 1 or network is not None)
    judged: list[tuple[Judgement, list]] = []
    wrong = remembers = 0
    for members, hard in groups:
        asked = form._replace(hard=hard)
        judgement = judged_group(ask, asked, members, told or network is not None, wrong < 8)
        if hard and not form.hard:
            judgement = judgement._replace(notes=(*judgement.notes, "for one-hot labels"), plain=False)
        judged.append((judgement, members))
        wrong += judgement.verdict == WRONG
        remembers += any(finding.quantity == "state" for finding in judgement.findings)
        if remembers >= REMEMBERS:
            break
    return _merged(ask, form, judged, refused, target, told, submission)


def _groups(ask, submission, form, network):
    """Networks by the answer that the submission gives for them, each with whether for one-hot labels only; and those
    for which it gives none."""
    kinds = [network] if network else sorted(material.networks(form.sizes), key=_commonness)
    if network is None and _is_handed_errors(submission, form.layout):
        kinds.sort(key=lambda kind: not kind.loss.endswith("squared_error"))
    if not submission.takes_network or network:
        return [(kinds, form.hard)], []
    params = material.parameters(form.sizes, biases=form.biases)
    groups: list[tuple[Asked, list, bool]] = []

    def sort_in(kinds, hard):
        """Adds to the groups; gives the kinds that get no answer."""
        none = []
        for kind in kinds:
            answer = ask(kind, params, *material.batch(form.sizes, material.SAMPLES, hard=hard))
            if answer is None:
                none.append(kind)
                continue
            place = next((one for other, one, its in groups if its == hard and same_answer(other, answer)), None)
            if place is None:
                groups.append((answer, [kind], hard))
            else:
                place.append(kind)
        return none

    begun, refused = time.monotonic(), _each_pair(kinds) if ask.dear else kinds
    for hard in (False, True)[form.hard :]:
        refused = sort_in(refused, hard)
        if ask.dear:
            refused = _of_dear(groups, kinds, refused, partial(sort_in, hard=hard))
        if ask.dear and (groups or time.monotonic() - begun > SECONDS):
            break
    return [(members, hard) for _, members, hard in groups], refused


def _of_dear(groups, kinds, refused, sort_in):
    """Adds to the groups of what was asked for one network of each pair: other networks of pairs that it refused, as
    code for one hidden activation does; and those that it cannot tell from these. The kinds that get no answer."""
    begun = time.monotonic()
    others = [kind for kind in sorted(kinds, key=_usual) if kind not in refused]
    for kind in others if refused else ():
        if _pair(kind) not in {_pair(one) for _, members, _ in groups for one in members}:
            refused = [*refused, *sort_in([kind])]
        if time.monotonic() - begun > SECONDS:
            break
    if not groups:
        return refused
    hidden = [{one.activations[0] for one in members} for _, members, _ in groups]
    if not any(len(names) > 1 for names in hidden):
        first, alike = groups[0][1], [kind for kind in kinds if _pair(kind) == _pair(groups[0][1][0])]
        sort_in([next((kind for kind in alike if kind not in (*first, *refused)), first[0])])
        hidden = [{one.activations[0] for one in groups[0][1]}]
    if any(len(names) > 1 for names in hidden):
        for _, members, _ in groups:
            pairs = set(map(_pair, kinds if len(groups) == 1 and not refused else members))
            members[:] = [kind for kind in kinds if _pair(kind) in pairs]
    done = {_pair(one) for _, members, _ in groups for one in members}
    return [kind for kind in refused if _pair(kind) not in done]


def _is_handed_errors(submission, layout):
    """Whether a class takes dLoss/da: then that of a squared error suits whatever output it has."""
    way = getattr(submission, "found", {}).get(layout)
    calls = () if way is None else way.plan.calls
    return any(role == "upstream" for call in calls for _, role in call.arguments)


def _each_pair(kinds):
    """One network for each output with its loss, with another hidden activation each."""
    pairs: dict[tuple[str, str], list] = {}
    for kind in kinds:
        pairs.setdefault(_pair(kind), []).append(kind)
    hidden = ("relu", "tanh", "sigmoid", "leaky_relu", "tanh", "sigmoid", "relu", "leaky_relu")
    some = zip(hidden, pairs.values(), strict=False)
    return [next((one for one in group if one.activations[0] == name), group[0]) for name, group in some]


def _pair(network):
    return network.activations[-1], network.loss


def _usual(network):
    """How usual a network is with its hidden activation; of code for one only, the usual ones are asked for first."""
    ends = network.activations[0], network.activations[-1]
    return USUAL.index(ends) if ends in USUAL else len(USUAL), _commonness(network)


def _commonness(network):
    pair = _pair(network)
    place = COMMON.index(pair) if pair in COMMON else len(COMMON)
    hidden = ("sigmoid", "tanh", "relu", "leaky_relu", "linear", "softmax").index(network.activations[0])
    return place, hidden


def judged_group(ask, form, members, told, search=True) -> Judgement:
    """The judgement on the networks that give one answer."""
    batches = answers.ask_all(ask, form, members[0])
    if batches is None:
        return Judgement(NOT_JUDGED, kind_of(members[0]), reason=ask.problem)
    if answers.drawn(ask, batches, members[0]):
        return _of_chance(ask, batches, members[0])
    steps = answers.in_steps(ask, batches, members[0])
    if steps is not None:
        batches = steps[0]
    if ask.submission.in_place and answers.finite(batches) and batches.five.values.dW is not None:
        batches = answers.without_unused_biases(ask, batches, members[0])
    losses = [one.loss for one in batches.all]
    if None in losses or (ask.submission.kind == "class" and not np.all(np.isfinite(losses))):
        batches = answers.without_losses(batches)  # what its methods say of a loss is not always of these weights
    state = answers.state(batches)
    if not answers.finite(batches):
        text = "its loss or gradients are not finite on plain numbers"
        finding = Finding("not-finite", text, "dW", (), "finite numbers", "NaN or infinity",
                          "look for a division by 0, the logarithm of 0, or an overflow of exp", "certain")  # fmt: skip
        return Judgement(WRONG, kind_of(members[0]), (finding,))
    if batches.five.values.dW is None:
        return Judgement(NOT_JUDGED, kind_of(members[0]), reason="it returns a loss and no gradients")
    if answers.without_data(batches):
        finding = known_bug("all-zero", "dW", tuple(range(members[0].n_layers)))
        return Judgement(WRONG, kind_of(members[0]), (finding,))
    note = ""
    if batches.five.loss is None and not told and not ask.dear and steps is None:
        members, note = told_by_record(ask, batches, members)
    judge = _by_all_digits if steps is not None or state or note else _by_a_loss_unseen
    judgement = judge(ask, form, batches, members, search and not state, told or bool(note))
    judgement = _by_operations(ask, batches, judgement)
    if note:
        judgement = judgement._replace(notes=(*judgement.notes, note))
    if steps is not None:
        judgement = judgement._replace(notes=(*judgement.notes, steps[1]), plain=False)
    more = (
        *state,
        *answers.unsummed(ask, batches, members[0]),
        *answers.decay(ask, batches, members[0], alone=judgement.verdict != WRONG),
    )
    if more:
        judgement = judgement._replace(verdict=WRONG, findings=(*judgement.findings, *more))
    return judgement


def _by_all_digits(ask, form, batches, members, search, told):
    """The judgement with the loss, or without one; where that is WRONG, by half as many digits, if these are right."""
    judge = partial(with_loss, form=form) if batches.five.loss is not None else without_loss
    with np.errstate(all="ignore"):
        judgement = judge(ask, batches, members, search, told=told)
    if batches.tolerance >= HALF_THE_DIGITS["float32"]:  # golden vectors are answered in their own precision
        return judgement._replace(plain=judgement.plain and ask.submission.in_place)
    if judgement.verdict != WRONG:
        return judgement
    with np.errstate(all="ignore"):
        rough = judge(ask, batches._replace(tolerance=HALF_THE_DIGITS["float32"]), members, False, told=told)
    if rough.verdict not in {RIGHT, CONVENTION}:
        return judgement
    note = "right to the digits of float32, in which some of it is computed"
    return rough._replace(notes=(*rough.notes, note), plain=False)


def _of_chance(ask, batches, network):
    """The judgement on steps that differ: what overwrites a sum may do so in the order of a set."""
    found = _by_operations(ask, batches, Judgement(WRONG, kind_of(network)))
    if found.findings:
        return found
    reason = "two equal steps from equal weights differ: it draws random numbers, or has weights that are not found"
    return Judgement(NOT_JUDGED, kind_of(network), reason=reason)


def _without_a_name(judgement, n_layers):
    """Whether a rule that is off has no name, other than that at the output: it may be one of a loss or an activation
    that is none of ours, or samples act on each other."""
    unknown = [one for one in judgement.findings if one.id not in BY_ID and one.confidence == "measured"]
    return any(one.quantity != "delta" or one.layers != (n_layers - 1,) for one in unknown)


def _by_a_loss_unseen(ask, form, batches, members, search, told):
    """The judgement where no loss is returned: by one that is kept, if the rules are not those of a usual network."""
    alone = not ask.dear and not form.layout.one_sample
    if alone and batches.five.loss is None:
        quick = _by_all_digits(ask, form, batches, members, False, told)
        if quick.verdict != WRONG:
            return quick
        if _without_a_name(quick, members[0].n_layers):
            kept = by_what_is_kept(ask, members[0], batches)
            if kept is not None:
                return kept
    judgement = _by_all_digits(ask, form, batches, members, search, told)
    if alone and batches.five.loss is None and _without_a_name(judgement, members[0].n_layers):
        return of_some_loss(ask, members[0], batches, not answers.is_sum(batches)) or judgement
    return judgement


def _by_operations(ask, batches, judgement):
    """The judgement with the operations that are off, in the place of rules without a name, where objects go back by
    themselves."""
    if judgement.verdict != WRONG or ask.submission.kind != "class":
        return judgement
    wrong = ask.submission.wrong_operations(batches.singles[0].case)
    twice = next((name for name in wrong if "used twice" in name), "")
    if twice:  # which looks like many another bug
        measured = f"the gradient of {twice}: {wrong[twice][0]:.6g}, and {wrong[twice][1]:.6g} is due"
        return judgement._replace(findings=(known_bug("overwritten-sum", "carry", measured=measured),))
    if not wrong or judgement.named:
        return judgement
    found = [
        Finding("operation-gradient", f"the gradient of {name} is not the derivative of what it computes", "operation",
                (), f"{due:.6g}, the difference quotient", f"{yours:.6g}",
                f"mend what {name.split(',')[0]} does on the way back", "certain")
        for name, (yours, due) in wrong.items()
    ]  # fmt: skip
    named = [one for one in judgement.findings if one.id in BY_ID]
    return judgement._replace(findings=(*found, *named))


def _merged(ask, form, judged, refused, target, told, submission):
    """One outcome for all groups."""
    sizes = "-".join(map(str, form.sizes))
    made_for, others, wrong, unknown = [], [kind_of(network) for network in refused], [], []
    for judgement, members in judged:
        kinds = [kind_of(network) for network in members]
        if judgement.verdict == NOT_JUDGED:
            others += kinds
            unknown.append(judgement)
        elif told and judgement.verdict in {RIGHT, CONVENTION} and judgement.network not in kinds:
            others += kinds
        elif judgement.verdict == WRONG:
            wrong.append(judgement)
        else:
            made_for.append(judgement)
            others += [kind for kind in kinds if kind != judgement.network] if len(judged) > 1 else []
    outcome = Outcome(target, RIGHT, calls=ask.calls, others=list(dict.fromkeys(others)))
    shown = wrong or made_for
    if not shown:
        outcome.verdict, outcome.reason = NOT_JUDGED, unknown[0].reason if unknown else ask.problem
        return outcome
    outcome.verdict = WRONG if wrong else max((one.verdict for one in made_for), key=ORDER.index)
    outcome.networks = [f"{sizes}:{one.network}" if ":" in one.network else f"{sizes} {one.network}" for one in shown]
    outcome.findings = _joined([finding for one in shown for finding in one.findings])
    outcome.conventions = list(dict.fromkeys(said for one in shown for said in one.conventions))
    outcome.notes = list(dict.fromkeys(said for one in shown for said in one.notes))
    usual = form.sizes == material.WIDTHS[len(form.sizes) - 1][0]
    outcome.plain = all(form.biases) and not form.hard and usual and all(one.plain for one in shown)
    if ask.changed and not submission.in_place:
        outcome.notes.append(f"it changes its {' and '.join(ask.changed)} in place")
    return outcome


def _joined(findings):
    """Each finding once, with every layer in which it was met; those with a name and most often met first."""
    groups: dict[str, list[Finding]] = {}
    for finding in findings:
        key = finding.id if finding.id in BY_ID else f"{finding.id} {finding.quantity} {finding.layers}"
        groups.setdefault(key, []).append(finding)
    ordered = sorted(groups.values(), key=lambda group: (group[0].id not in BY_ID, -len(group)))
    return [
        Finding(**{**vars(group[0]), "layers": tuple(sorted({layer for one in group for layer in one.layers}))})
        for group in ordered
    ]
