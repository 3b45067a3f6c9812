"""Measures a submission: finds the networks it is made for, then holds each of its rules to the right one."""

from functools import partial

import numpy as np

from backprop_ref.conformance.catalogue.known import BY_ID
from backprop_ref.conformance.measuring import answers, asking, material
from backprop_ref.conformance.measuring.asking import HALF_THE_DIGITS, Asked, Asker
from backprop_ref.conformance.measuring.by_rules import without_loss
from backprop_ref.conformance.measuring.judgement import ORDER, Judgement, known_bug
from backprop_ref.conformance.measuring.networks import kind_of, parse
from backprop_ref.conformance.measuring.with_loss import with_loss
from backprop_ref.conformance.outcomes.outcome import CONVENTION, NOT_JUDGED, RIGHT, WRONG, Finding, Outcome

FEW = 8
"""Kinds of network that are tried in other sizes."""
COMMON = (("softmax", "cross_entropy"), ("sigmoid", "binary_cross_entropy"), ("sigmoid", "sum_squared_error"),
          ("linear", "sum_squared_error"), ("tanh", "sum_squared_error"), ("softmax", "sum_squared_error"))  # fmt: skip
"""The outputs with their losses that people write most: of several explanations, the first."""


OF_ITS_SIZES = {
    "sum-over-outputs",
    "mean-over-outputs",
    "last-unit-skipped",
    "last-weight-skipped",
    "loop-of-other-layer",
}
"""Bugs that code for one network only seems to have in another."""


def measure(submission, *, target="", network=None, reload=None) -> Outcome:
    """What a submission's gradients are worth.

    Parameters
    ----------
    submission : Function, Model or Program
    target : str
        What the outcome calls it.
    network : Network, optional
        The only network that it is asked for; default: it is found out.
    reload : callable, optional
        Imports the code again, since the calls that find its layout may have left something in it.
    """
    found, problem = asking.forms(submission, network)
    smaller = _written_for(submission, found[0]) if found and network is None else None
    if smaller is not None:
        found = asking.forms(submission, smaller)[0] or found
    if not found:
        return Outcome(target, NOT_JUDGED, reason=problem or "it gives no answer")
    if reload is not None:
        submission.restart(reload())
    best: Outcome | None = None
    seen: list[Asked | None] = []
    for form in found[:6]:
        submission.layout = form.layout
        ask = Asker(submission, len(found[:6]))
        plain = _plain_answer(ask, submission, form, network)
        if plain is not None and any(_same_answer(plain, other) for other in seen):
            continue
        seen.append(plain)
        outcome = _measured(ask, submission, form, target, network)
        if best is None or _rank(outcome) < _rank(best):
            best, layout, chosen = outcome, form.layout, form
        if best.verdict in {RIGHT, CONVENTION}:
            break
    submission.layout = layout
    if submission.kind == "function":
        submission.settle()
    assert best is not None
    best = _one_by_one(submission, best, chosen, network) or best
    if network is None and smaller is None and submission.sizes() is None:
        alike = [form for form in found if form.sizes == chosen.sizes]
        best = _in_wider_layers(submission, best, alike) or best
        if best.verdict in {RIGHT, CONVENTION}:
            best = _in_a_square(submission, best, chosen) or best
        if best.verdict in {RIGHT, CONVENTION}:
            _in_other_sizes(submission, best, chosen)
    return best


def _one_by_one(submission, outcome, form, network):
    """The outcome for code that takes one sample at a time, where its db is not summed over a batch in any layer, and
    nothing in it speaks of a batch; else None."""
    declared = form.layout.one_sample or submission.declared.one_sample is not None
    columns = (form.layout.samples, form.layout.biases) == ("columns", "column")  # else db has the shape of no b
    if submission.kind != "function" or submission.batched or declared or not columns:
        return None
    layers = {layer for one in outcome.findings if one.id == "bias-not-summed" for layer in one.layers}
    if len(layers) != sum(form.biases):
        return None
    alone = form._replace(layout=form.layout._replace(one_sample=True))
    submission.layout = alone.layout
    found = _measured(Asker(submission), submission, alone, outcome.target, network)
    if found.verdict == NOT_JUDGED:
        submission.layout = form.layout
        return None
    found.notes.append("nothing in it sums over a batch: it is taken to be made for one sample at a time")
    return found


def _rank(outcome):
    """How good a verdict is, and how much there is to say beside it: of several layouts, the one that explains most."""
    said = Judgement(outcome.verdict, "", tuple(outcome.findings))
    return ORDER.index(outcome.verdict), said.cost


def _in_wider_layers(submission, outcome, forms):
    """The outcome where code that is right with layers of one neuron is wrong with more, which it takes too; else None.

    In one neuron much is the same: a transposed W, a sum over neurons. That a mean over the outputs is no mean over the
    batch says nothing of code for one output, nor do neurons that loops over its own sizes leave out.
    """
    first, *inner, last = forms[0].sizes
    if outcome.exit or 1 not in (*inner, last):
        return None
    layout, wide = submission.layout, [2 if size == 1 else size for size in inner]
    for sizes in dict.fromkeys([(first, *wide, last), (first, *inner, 2), (first, *wide, 2)]):
        for form in forms if sizes != forms[0].sizes else ():
            submission.layout = form.layout
            wider = _measured(Asker(submission), submission, form._replace(sizes=sizes), outcome.target, None)
            ids = {found.id for found in wider.findings}
            if wider.verdict == WRONG and ids <= BY_ID.keys() and ids - OF_ITS_SIZES:
                return wider
            if wider.verdict != NOT_JUDGED:
                break
    submission.layout = layout
    return None


def _in_a_square(submission, outcome, form):
    """The outcome where code that is right for one layer takes two of equal widths as well, and is wrong; else None.

    What mixes up layers fails where their widths differ.
    """
    if len(form.sizes) != 2 or submission.n_layers is not None or submission.kind != "function":
        return None
    square = form._replace(sizes=(3, 3, 3), biases=(any(form.biases),) * 2)
    found = _measured(Asker(submission), submission, square, outcome.target, None)
    return found if found.verdict == WRONG else None


def _in_other_sizes(submission, outcome, form):
    """Makes an outcome WRONG if what is right in one network is wrong in another of the same kind, wider or deeper."""
    if form.sizes != material.WIDTHS[len(form.sizes) - 1][0]:
        return  # it is made for these sizes
    ask, depth = Asker(submission), len(form.sizes) - 1
    any_depth = depth == 2 and submission.n_layers is None and len(set(form.biases)) == 1
    deeper = [material.WIDTHS[3][0]] if any_depth else []
    for sizes in (*material.OTHER_WIDTHS[depth], *deeper):
        kinds = [
            parse(text.replace(text.split(":")[0], "-".join(map(str, sizes)))) for text in _fitting(outcome, sizes)
        ]
        for kind in kinds[: 2 if ask.dear or sizes in deeper else FEW]:
            there = form._replace(sizes=sizes, biases=(any(form.biases),) * (len(sizes) - 1))
            judged = _group(ask, there if sizes in deeper else form._replace(sizes=sizes), [kind], told=True)
            if judged.verdict == WRONG:
                outcome.verdict, outcome.conventions = WRONG, []
                outcome.networks = [f"{'-'.join(map(str, sizes))}:{judged.network}"]
                outcome.findings = [*judged.findings]
                outcome.calls += ask.calls
                return
    outcome.calls += ask.calls


def _fitting(outcome, sizes):
    """The networks of an outcome that there are with these sizes: softmax has more than one output."""
    kinds = [text for text in outcome.networks if sizes[-1] > 1 or "softmax:" not in text]
    last = {text.rpartition(",")[2]: text for text in reversed(kinds)}
    return [*last.values(), *(text for text in kinds if text not in last.values())]


def _written_for(submission, form):
    """A network of the sizes up to which gradients are filled in, where code runs over fixed ranges; else None."""
    submission.layout = form.layout
    filled: list[np.ndarray] = []
    for seed in range(1, 9):  # in some weights or others, each relu lets something through
        ask = Asker(submission)
        one, two = (_plain_answer(ask, submission, form, None, seed, samples) for samples in (1, 2))
        if one is None or two is None or one.values.dW is None or two.values.dW is None:
            return None
        moved = list(map(np.not_equal, one.values.dW, two.values.dW))  # what a penalty fills in is the same in both
        filled = moved if not filled else list(map(np.logical_or, filled, moved))
        if all(map(np.all, filled)):
            return None
    blocks = [[int(np.max(np.flatnonzero(np.any(W, axis=axis)), initial=-1)) + 1 for axis in (1, 0)] for W in filled]
    sizes = (blocks[0][0], *(block[1] for block in blocks))
    chained = all(one[1] == two[0] for one, two in zip(blocks, blocks[1:], strict=False))
    if sizes == tuple(form.sizes) or not chained or not set(sizes) <= set(submission.numbers):
        return None
    return material.networks(sizes)[0]


def _plain_answer(ask, submission, form, network, seed=1, samples=1):
    kind = network or material.networks(form.sizes)[0]
    params = material.parameters(form.sizes, seed, form.biases)
    return ask(kind, params, *material.batch(form.sizes, material.SAMPLES, samples, form.hard))


def _same_answer(one, two):
    if one is None or two is None:
        return one is two
    lists = [(one.values.dW, two.values.dW), (one.values.db, two.values.db)]
    return one.loss == two.loss and all(
        (a is None) == (b is None) and (a is None or all(map(np.array_equal, a, b))) for a, b in lists
    )


def _measured(ask, submission, form, target, network):
    groups, refused = _groups(ask, submission, form, network)
    if not groups:
        return Outcome(target, NOT_JUDGED, reason=ask.problem or "it gives no answer", calls=ask.calls)
    told = submission.takes_network and (len(groups) > 1 or network is not None)
    judged: list[tuple[Judgement, list]] = []
    wrong = 0
    for members, hard in groups:
        asked = form._replace(hard=hard)
        judgement = _group(ask, asked, members, told or network is not None, wrong < 8)
        if hard and not form.hard:
            judgement = judgement._replace(notes=(*judgement.notes, "for one-hot labels"), plain=False)
        judged.append((judgement, members))
        wrong += judgement.verdict == WRONG
    return _merged(ask, form, judged, refused, target, told, submission)


def _groups(ask, submission, form, network):
    """Networks by the answer that the submission gives for them, each with whether for one-hot labels only; and those
    for which it gives none."""
    kinds = [network] if network else sorted(material.networks(form.sizes), key=_commonness)
    if not submission.takes_network or network:
        return [(kinds, form.hard)], []
    params = material.parameters(form.sizes, biases=form.biases)
    groups: list[tuple[Asked, list, bool]] = []
    refused = _each_pair(kinds) if ask.dear else kinds
    for hard in (False, True)[form.hard :]:
        asked, refused = refused, []
        for kind in asked:
            answer = ask(kind, params, *material.batch(form.sizes, material.SAMPLES, hard=hard))
            if answer is None:
                refused.append(kind)
                continue
            place = next((one for other, one, its in groups if its == hard and _same_answer(other, answer)), None)
            if place is None:
                groups.append((answer, [kind], hard))
            else:
                place.append(kind)
    return [(members, hard) for _, members, hard in groups], refused


def _each_pair(kinds):
    """One network for each output with its loss, with another hidden activation each."""
    pairs: dict[tuple[str, str], list] = {}
    for kind in kinds:
        pairs.setdefault((kind.activations[-1], kind.loss), []).append(kind)
    return [group[place % 4 % len(group)] for place, group in enumerate(list(pairs.values())[:8])]


def _commonness(network):
    pair = (network.activations[-1], network.loss)
    place = COMMON.index(pair) if pair in COMMON else len(COMMON)
    hidden = ("sigmoid", "tanh", "relu", "leaky_relu", "linear", "softmax").index(network.activations[0])
    return place, hidden


def _group(ask, form, members, told, search=True) -> Judgement:
    """The judgement on the networks that give one answer."""
    batches = answers.ask_all(ask, form, members[0])
    if batches is None:
        return Judgement(NOT_JUDGED, kind_of(members[0]), reason=ask.problem)
    if answers.drawn(ask, batches, members[0]):
        reason = "two equal steps from equal weights differ: it draws random numbers, or has weights that are not found"
        return Judgement(NOT_JUDGED, kind_of(members[0]), reason=reason)
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
    judge = partial(with_loss, form=form) if batches.five.loss is not None else without_loss
    with np.errstate(all="ignore"):
        judgement = judge(ask, batches, members, search and not state, told=told)
    if judgement.verdict == WRONG and batches.tolerance < HALF_THE_DIGITS["float32"]:
        with np.errstate(all="ignore"):
            rough = judge(ask, batches._replace(tolerance=HALF_THE_DIGITS["float32"]), members, False, told=told)
        if rough.verdict in {RIGHT, CONVENTION}:
            judgement = rough._replace(
                notes=(*rough.notes, "right to the digits of float32, in which some of it is computed"),
                plain=False,
            )
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
