"""Measures a submission: finds the form and the sizes it is made for, then holds each of its rules to the right one."""

import time

import numpy as np

from backprop_ref.conformance.catalogue.known import BY_ID
from backprop_ref.conformance.measuring import asking, grouping, material
from backprop_ref.conformance.measuring.asking import Asked, Asker
from backprop_ref.conformance.measuring.grouping import judged_group, measured, plain_answer, same_answer
from backprop_ref.conformance.measuring.judgement import ORDER, Judgement
from backprop_ref.conformance.measuring.networks import parse
from backprop_ref.conformance.measuring.with_loss import FIRST_DIGITS
from backprop_ref.conformance.outcomes.outcome import CONVENTION, NOT_JUDGED, RIGHT, WRONG, Outcome
from backprop_ref.conformance.submissions.settings import role

FEW = 8
"""Kinds of network that are tried in other sizes."""
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
    smaller = None
    if found and network is None:
        vector = _of_a_vector(submission, found[0])
        smaller = vector or _written_for(submission, found[0])
        if smaller is not None and not vector and len(found) == 1 and asking.score(submission, smaller, *found[0][1:3]):
            found = [found[0]._replace(sizes=smaller.sizes)]  # in equal widths a wrong layout may suit as well
        elif smaller := smaller or _of_one_output(submission, found[0]):
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
        plain = plain_answer(ask, form, network)
        if plain is not None and any(same_answer(plain, other) for other in seen):
            continue
        seen.append(plain)
        outcome = measured(ask, submission, form, target, network)
        if best is None or _rank(outcome) < _rank(best):
            best, layout, chosen = outcome, form.layout, form
        if best.verdict in {RIGHT, CONVENTION}:
            break
    submission.layout = layout
    if submission.kind == "function":
        submission.settle()
    assert best is not None
    best = _one_by_one(submission, best, chosen, network) or best
    if network is not None or smaller is not None or submission.sizes() is not None:
        return best
    return _of_one_neuron(submission, best, chosen) or _with_other_sizes(submission, best, chosen, found)


def _with_other_sizes(submission, best, chosen, found):
    """The outcome by networks of other sizes too, of which more may be wrong."""
    best = _in_more_outputs(submission, best, chosen) or best
    alike = [form for form in found if form.sizes == chosen.sizes]
    best = _in_wider_layers(submission, best, alike) or best
    if best.verdict in {RIGHT, CONVENTION}:
        best = _in_a_square(submission, best, chosen) or best
    if best.verdict in {RIGHT, CONVENTION}:
        _in_other_sizes(submission, best, chosen)
    return best


def _of_one_neuron(submission, outcome, form):
    """The outcome for one output of a function of one w and b, where nothing but its db is wrong with several, for
    which it is one number; else None. So a linear or logistic regression is written."""
    names = [name for name in getattr(submission, "names", ()) if role(name) in {"W", "weights"}]
    found = getattr(submission, "forms", {}).get(form.layout)
    of_one = found is not None and "W0" in found.roles and len(form.sizes) == 2 and form.sizes[1] > 1
    if outcome.verdict != WRONG or not of_one or any(name[0].isupper() for name in names):
        return None
    plain = plain_answer(Asker(submission), form, None, samples=2)
    db = None if plain is None or plain.values.db is None else plain.values.db[0]
    if any(one.quantity != "db" for one in outcome.findings) or db is None or np.any(db != db[0]):
        return None
    one = form._replace(sizes=(form.sizes[0], 1))
    alone = measured(Asker(submission), submission, one, outcome.target, None)
    if alone.exit:
        return None
    alone.notes.append("its db is one number: it is taken to be made for one output")
    alone.plain = False
    return alone


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
    found = measured(Asker(submission), submission, alone, outcome.target, network)
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
            wider = measured(Asker(submission), submission, form._replace(sizes=sizes), outcome.target, None)
            if wider.verdict == WRONG and _beyond_its_sizes(wider):
                return wider
            if wider.verdict != NOT_JUDGED:
                break
    submission.layout = layout
    return None


def _in_more_outputs(submission, outcome, form):
    """The outcome where code that is wrong with one output is so with several, too, and in more rules; else None.

    It is asked for one output where another bug leaves no layout that suits several.
    """
    *_, last = form.sizes
    wide = material.WIDTHS[len(form.sizes) - 1][0]
    if outcome.verdict != WRONG or last > 1 or submission.kind != "function" or submission.takes_network:
        return None
    if not asking.score(submission, material.networks(wide)[0], form.layout, form.hard):
        return None
    wider = measured(Asker(submission), submission, form._replace(sizes=wide), outcome.target, None)
    ids, before = ({found.id for found in one.findings} for one in (wider, outcome))
    more = wider.verdict == WRONG and before & BY_ID.keys() <= ids and _beyond_its_sizes(wider) - before
    return wider if more else None


def _beyond_its_sizes(outcome):
    """The known bugs of an outcome that are none of code for one network only, nor give the numbers of one; none where
    a rule has no name."""
    named = all(found.id in BY_ID for found in outcome.findings)
    return {found.id for found in outcome.findings if named and not {found.id, *found.others} & OF_ITS_SIZES}


def _in_a_square(submission, outcome, form):
    """The outcome where code that is right for one layer takes two of equal widths as well, and is wrong; else None.

    What mixes up layers fails where their widths differ.
    """
    if len(form.sizes) != 2 or submission.n_layers is not None or submission.kind == "program":
        return None
    square = form._replace(sizes=(3, 3, 3), biases=(any(form.biases),) * 2)
    found = measured(Asker(submission), submission, square, outcome.target, None)
    return found if found.verdict == WRONG else None


def _in_other_sizes(submission, outcome, form):
    """Makes an outcome WRONG if what is right in one network is wrong in another of the same kind, wider or deeper."""
    if form.sizes != material.WIDTHS[len(form.sizes) - 1][0]:
        return  # it is made for these sizes
    ask, depth = Asker(submission), len(form.sizes) - 1
    almost = any(note.startswith(FIRST_DIGITS) for note in outcome.notes)  # elsewhere an ε may be more than that
    any_depth = depth == 2 and submission.n_layers is None and len(set(form.biases)) == 1
    deeper = [material.WIDTHS[3][0]] if any_depth else []
    begun = time.monotonic()
    for sizes in (*material.OTHER_WIDTHS[depth], *deeper):
        kinds = [
            parse(text.replace(text.split(":")[0], "-".join(map(str, sizes)))) for text in _fitting(outcome, sizes)
        ]
        if ask.dear and time.monotonic() - begun > grouping.SECONDS:
            outcome.notes.append("not asked for every other size: each case starts it anew, which takes its time")
            break
        for kind in kinds[: 2 if ask.dear or sizes in deeper else FEW]:
            there = form._replace(sizes=sizes, biases=(any(form.biases),) * (len(sizes) - 1))
            judged = judged_group(ask, there if sizes in deeper else form._replace(sizes=sizes), [kind], told=True)
            if judged.verdict == WRONG and not (almost and {one.id for one in judged.findings} == {"loss-unknown"}):
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


def _of_one_output(submission, form):
    """A network with one output, where code takes several and reads one label of each sample; else None."""
    if form.hard or form.sizes[-1] == 1 or submission.kind != "function" or submission.takes_network:
        return None
    submission.layout = form.layout
    ask, kind = Asker(submission), material.networks(form.sizes)[0]
    params = material.parameters(form.sizes, biases=form.biases)
    x, y = material.batch(form.sizes, 1)
    answers = [ask(kind, params, x, label) for label in (y, *(y + 0.25 * row for row in np.eye(form.sizes[-1])))]
    if any(one is None for one in answers):
        return None
    moved = [not same_answer(answers[0], other) for other in answers[1:]]
    return material.networks((*form.sizes[:-1], 1))[0] if sum(moved) == 1 else None


def _of_a_vector(submission, form):
    """A network with one output, where code runs in a square alone, and takes a vector for the weights of one output:
    then the square fits by chance; else None."""
    if submission.kind != "function" or len(form.sizes) < 3 or len(set(form.sizes)) > 1:
        return None
    known, submission.forms = submission.forms, {}
    kind = material.networks(material.OTHER_WIDTHS[len(form.sizes) - 1][-1])[0]
    found = asking.forms(submission, kind)[0]
    if found and submission.forms[found[0].layout].vector:
        return kind
    submission.forms = known
    return None


def _written_for(submission, form):
    """A network of the sizes up to which gradients are filled in, where code runs over fixed ranges; else None."""
    submission.layout = form.layout
    filled: list[np.ndarray] = []
    for seed in range(1, 9):  # in some weights or others, each relu lets something through
        ask = Asker(submission)
        one, two = (plain_answer(ask, form, None, seed, samples) for samples in (1, 2))
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
