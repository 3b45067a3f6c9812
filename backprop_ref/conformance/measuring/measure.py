"""Measures a submission: finds the networks it is made for, then holds each of its rules to the right one."""

import contextlib
from functools import partial
from typing import NamedTuple

import numpy as np

from backprop_ref.conformance.catalogue.known import BY_ID
from backprop_ref.conformance.catalogue.textbook import RULES, activate, replaced
from backprop_ref.conformance.measuring import asking, material, naming, unknown
from backprop_ref.conformance.measuring.asking import HALF_THE_DIGITS, Asked, Asker
from backprop_ref.conformance.measuring.batches import together
from backprop_ref.conformance.measuring.networks import kind_of, parse
from backprop_ref.conformance.measuring.rules import DOUBLE, Scene, forward_forms
from backprop_ref.conformance.measuring.samples import Samples, constant_part, ratio, same, split
from backprop_ref.conformance.outcomes.outcome import CONVENTION, NOT_JUDGED, OWN_TERMS, RIGHT, WRONG, Finding, Outcome
from backprop_ref.conformance.rounding.balls import Ball
from backprop_ref.conformance.submissions.conventions import SIMPLE, Factor
from backprop_ref.formulas import ACTIVATIONS

FEW = 8
"""Kinds of network that are tried in other sizes."""
LEAST_SAMPLES = 3
"""So many samples have to show their rules."""
ALMOST = 1e-5
"""A relative difference of losses that an ε in a logarithm makes."""
ORDER = (RIGHT, CONVENTION, OWN_TERMS, WRONG, NOT_JUDGED)
COMMON = (("softmax", "cross_entropy"), ("sigmoid", "binary_cross_entropy"), ("sigmoid", "sum_squared_error"),
          ("linear", "sum_squared_error"), ("tanh", "sum_squared_error"), ("softmax", "sum_squared_error"))  # fmt: skip
"""The outputs with their losses that people write most: of several explanations, the first."""


class Judgement(NamedTuple):
    """What is said of one network, or of several that a submission does not tell apart."""

    verdict: str
    network: str
    findings: tuple[Finding, ...] = ()
    conventions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    reason: str = ""


class Batches(NamedTuple):
    """The answers for a network: two batches, and the samples of the first one by one."""

    params: object
    five: Asked
    seven: Asked | None
    singles: list[Asked]
    tolerance: float

    @property
    def all(self):
        """Every answer."""
        return [self.five, *([self.seven] if self.seven else []), *self.singles]


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
    if found and network is None and (smaller := _written_for(submission, found[0])):
        found = asking.forms(submission, smaller)[0] or found
    if not found:
        return Outcome(target, NOT_JUDGED, reason=problem or "it gives no answer")
    if reload is not None:
        submission.restart(reload())
    best: Outcome | None = None
    seen: list[Asked | None] = []
    for form in found[:6]:
        submission.layout = form.layout
        ask = Asker(submission)
        plain = _plain_answer(ask, submission, form, network)
        if plain is not None and any(_same_answer(plain, other) for other in seen):
            continue
        seen.append(plain)
        outcome = _measured(ask, submission, form, target, network)
        if best is None or ORDER.index(outcome.verdict) < ORDER.index(best.verdict):
            best, layout, chosen = outcome, form.layout, form
        if best.verdict in {RIGHT, CONVENTION}:
            break
    submission.layout = layout
    assert best is not None
    if best.verdict in {RIGHT, CONVENTION} and network is None and submission.sizes() is None:
        _in_other_sizes(submission, best, chosen)
    return best


def _in_other_sizes(submission, outcome, form):
    """Makes an outcome WRONG if what is right in one network is wrong in another of the same kind."""
    if form.sizes != material.WIDTHS[len(form.sizes) - 1][0]:
        return  # it is made for these sizes
    ask = Asker(submission)
    for sizes in material.OTHER_WIDTHS[len(form.sizes) - 1]:
        kinds = [
            parse(text.replace(text.split(":")[0], "-".join(map(str, sizes)))) for text in _fitting(outcome, sizes)
        ]
        for kind in kinds[: 2 if ask.dear else FEW]:
            judged = _group(ask, form._replace(sizes=sizes), [kind], told=True)
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
    answer = _plain_answer(Asker(submission), submission, form, None)
    if answer is None or answer.values.dW is None:
        return None
    blocks = [
        [int(np.max(np.flatnonzero(np.any(W, axis=axis)), initial=-1)) + 1 for axis in (1, 0)] for W in answer.values.dW
    ]
    sizes = (blocks[0][0], *(block[1] for block in blocks))
    chained = all(one[1] == two[0] for one, two in zip(blocks, blocks[1:], strict=False))
    if sizes == tuple(form.sizes) or not chained or not set(sizes) <= set(submission.numbers):
        return None
    return material.networks(sizes)[0]


def _plain_answer(ask, submission, form, network):
    kind = network or material.networks(form.sizes)[0]
    params = material.parameters(form.sizes, biases=form.biases)
    return ask(kind, params, *material.batch(form.sizes, material.SAMPLES, hard=form.hard))


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
    for members in groups:
        judgement = _group(ask, form, members, told or network is not None, search=2 if wrong < 8 else 0)
        judged.append((judgement, members))
        wrong += judgement.verdict == WRONG
    return _merged(ask, form, judged, refused, target, told, submission)


def _groups(ask, submission, form, network):
    """Networks by the answer that the submission gives for them; and those for which it gives none."""
    kinds = [network] if network else sorted(material.networks(form.sizes), key=_commonness)
    if not submission.takes_network or network:
        return [kinds], []
    params = material.parameters(form.sizes, biases=form.biases)
    x, y = material.batch(form.sizes, material.SAMPLES, hard=form.hard)
    groups: list[tuple[Asked, list]] = []
    refused = []
    for kind in _each_pair(kinds) if ask.dear else kinds:
        answer = ask(kind, params, x, y)
        if answer is None:
            refused.append(kind)
            continue
        place = next((members for other, members in groups if _same_answer(other, answer)), None)
        if place is None:
            groups.append((answer, [kind]))
        else:
            place.append(kind)
    return [members for _, members in groups], refused


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


# ---- one group -------------------------------------------------------------------------------------------------------


def _group(ask, form, members, told, search=2) -> Judgement:
    """The judgement on the networks that give one answer."""
    batches = _ask_all(ask, form, members[0])
    if batches is None:
        return Judgement(NOT_JUDGED, kind_of(members[0]), reason=ask.problem)
    if ask.submission.in_place and (turn := _in_turn(ask, batches, members[0])) is not None:
        batches = turn
    if ask.submission.kind == "class" and any(
        one.loss is not None and not np.isfinite(one.loss) for one in batches.all
    ):
        batches = _without_losses(batches)  # what its methods say of a loss is not always of these weights
    state = _state(batches)
    if not _finite(batches):
        text = "its loss or gradients are not finite on plain numbers"
        finding = Finding("not-finite", text, "dW", (), "finite numbers", "NaN or infinity",
                          "look for a division by 0, the logarithm of 0, or an overflow of exp", "certain")  # fmt: skip
        return Judgement(WRONG, kind_of(members[0]), (finding,))
    if batches.five.values.dW is None:
        return Judgement(NOT_JUDGED, kind_of(members[0]), reason="it returns a loss and no gradients")
    if not any(np.any(array) for one in batches.all for array in one.values.dW):
        bug = BY_ID["all-zero"]
        finding = Finding(bug.id, bug.text, "dW", tuple(range(members[0].n_layers)), bug.right, bug.wrong, bug.hint)
        return Judgement(WRONG, kind_of(members[0]), (finding,))
    judge = partial(_without_loss, ask) if batches.five.loss is None else partial(_with_loss, ask, form)
    judgement = judge(batches, members, told, search)
    if judgement.verdict == WRONG and batches.tolerance < HALF_THE_DIGITS["float32"]:
        rough = judge(batches._replace(tolerance=HALF_THE_DIGITS["float32"]), members, told, 0)
        if rough.verdict in {RIGHT, CONVENTION}:
            judgement = rough._replace(
                notes=(*rough.notes, "right to the digits of float32, in which some of it is computed")
            )
    more = (*state, *_unsummed(batches), *_decay(ask, batches, members[0]))
    if more:
        judgement = judgement._replace(verdict=WRONG, findings=(*judgement.findings, *more))
    return judgement


def _unsummed(batches):
    """A finding where db has the right shape for one sample, and none for several."""
    if batches.five.values.db is not None or any(one.values.db is None for one in batches.singles):
        return ()
    bug = BY_ID["bias-not-summed"]
    return (Finding(bug.id, bug.text, "db", (), bug.right, bug.wrong, bug.hint),)


def _decay(ask, batches, network):
    """A finding where weight decay that is asked for is not λ·W in dW and nothing in db."""
    if ask.dear or "weight_decay" not in getattr(ask.submission, "names", ()):
        return ()
    five, strength = batches.five, 0.25
    answer = ask(network, batches.params, five.case.x, five.case.y, weight_decay=strength)
    if answer is None or answer.values.dW is None:
        return ()
    size = float(len(five.case.x))
    moved = np.concatenate([(a - b).ravel() for a, b in zip(answer.values.dW, five.values.dW, strict=True)])
    W = strength * np.concatenate([part.ravel() for part in batches.params.W])
    factors = {"decay-missing": 0.0, "decay-doubled": 2.0, "decay-halved": 0.5, "decay-sign": -1.0}
    factors |= {"decay-over-batch": 1.0 / size}
    found = []
    if not same(moved, W, 1e-6):
        usual = float(np.median(moved / W))  # whatever becomes of some entries otherwise
        name = next((name for name, c in factors.items() if abs(usual - c) <= 1e-6), None)
        sign = ratio(moved, strength * np.sign(W), 1e-6) is not None
        found += ["decay-absolute"] if sign else [name] if name else []
    pairs = zip(answer.values.db or (), five.values.db or (), strict=False)
    if any(np.abs(a - b).max() > 1e-6 for a, b in pairs):
        found.append("decay-on-bias")
    bugs = [BY_ID[name] for name in found]
    return tuple(Finding(bug.id, bug.text, "dW", (), bug.right, bug.wrong, bug.hint) for bug in bugs)


def _ask_all(ask, form, network, hard=False):
    """The `Batches` of a network; with other weights where these leave every gradient 0, as a relu at its left may."""
    found = None
    for seed in (1, 2, 3):
        found = _asked_with(ask, form, network, hard or form.hard, material.parameters(form.sizes, seed, form.biases))
        if found is None or any(np.any(array) for array in found.five.values.dW or [np.ones(1)]):
            break
    return found


def _asked_with(ask, form, network, hard, params):
    sizes = form.sizes
    x, y = material.batch(sizes, material.SAMPLES, hard=hard)
    five = ask(network, params, x, y, twice=not ask.dear)
    singles = [ask(network, params, x[s : s + 1], y[s : s + 1]) for s in range(len(x))]
    if five is None or any(one is None for one in singles):
        return None
    seven = None if ask.dear else ask(network, params, *material.batch(sizes, material.OTHER_BATCH, hard=hard))
    single = "float32" in {asking.precision_of(one.values) for one in (five, *singles[:2])}
    tolerance = HALF_THE_DIGITS["float32" if single else "float64"]
    for one in (five, *singles):  # differences of weights have lost some digits
        if one.slack is not None and one.values.dW is not None:
            for g, lost in zip(one.values.dW, one.slack.dW, strict=True):
                size = np.abs(g).max()
                tolerance = max(tolerance, 1e3 * float(np.max(lost)) / size if size else 0.0)
    return Batches(params, five, seven, singles, min(tolerance, 1e-3))


def _without_losses(batches):
    """The same batches, as if no loss were returned."""

    def bare(one):
        return one and one._replace(values=one.values._replace(loss=None))

    return batches._replace(
        five=bare(batches.five), seven=bare(batches.seven), singles=list(map(bare, batches.singles))
    )


def _in_turn(ask, batches, network):
    """The batches as they would be, where a class takes their samples one after the other and updates after each.

    Then what a batch of several gives is no sum, and only single samples say anything; None: it is not so.
    """
    if ask.dear or len(batches.singles) < 2 or batches.five.values.dW is None:
        return None
    rate = ask.submission.learning_rate or 1.0
    params = batches.params.copy()
    for one in batches.singles:
        answer = ask(network, params, one.case.x, one.case.y)
        if answer is None or answer.values.dW is None:
            return None
        for W, g in zip(params.W, answer.values.dW, strict=True):
            W -= rate * g
        for b, g in zip(params.b, answer.values.db or (), strict=False):
            b -= rate * g
    moves = [(old - new) / rate for old, new in zip(batches.params.W, params.W, strict=True)]
    plain = [np.sum([one.values.dW[layer] for one in batches.singles], axis=0) for layer in range(len(moves))]
    five = batches.five.values.dW
    if all(map(partial(same, tolerance=1e-6), five, plain)) or not all(map(partial(same, tolerance=1e-6), five, moves)):
        return None
    db = None
    if batches.five.values.db is not None:
        db = [np.sum([one.values.db[layer] for one in batches.singles], axis=0) for layer in range(len(moves))]
    values = batches.five.values._replace(dW=plain, db=db, loss=None)
    singles = [one._replace(values=one.values._replace(loss=None)) for one in batches.singles]
    return batches._replace(five=batches.five._replace(values=values, again=None), seven=None, singles=singles)


def _finite(batches):
    return all(
        np.all(np.isfinite(array))
        for one in batches.all
        for array in (*(one.values.dW or ()), *(one.values.db or ()), *([] if one.loss is None else [one.loss]))
    )


def _state(batches):
    """Findings on a second, identical call."""
    again = batches.five.again
    if again is None:
        return ()
    first, second = batches.five.values, again
    gradients = [(a, b) for name in ("dW", "db") if getattr(first, name) and getattr(second, name)
                 for a, b in zip(getattr(first, name), getattr(second, name), strict=True)]  # fmt: skip
    if all(same(b, a, batches.tolerance) for a, b in gradients):
        return ()
    twice = all(same(b, 2.0 * a, batches.tolerance) for a, b in gradients)
    bug = BY_ID["gradients-not-zeroed" if twice else "second-call-differs"]
    return (Finding(bug.id, bug.text, "state", (), bug.right, bug.wrong, bug.hint),)


def scenes_of(batches, network, rules=RULES):
    """A `Scene` for each sample, of the network with these rules."""
    return [Scene(material.case(network, batches.params, one.case.x, one.case.y), {}, rules) for one in batches.singles]


def _scene(asked, params, network, rules=RULES):
    return Scene(material.case(network, params, asked.case.x, asked.case.y), {}, rules)


def loss_factor(batches, network, rules=RULES, tolerance=1e-7) -> Factor | None:
    """The usual factor that the losses of all batches have beside those of a network; None: there is none."""
    asked = batches.all
    ours: list[float] = []
    for one in asked:
        if len(ours) == 1 and not _usual_ratio(asked[0], ours[0], max(batches.tolerance, tolerance)):
            return None
        loss = _scene(one, batches.params, network, rules).quantity(("loss", 0))
        if loss is None:
            return None
        ours.append(float(loss))
    theirs = np.array([one.loss for one in asked])
    for factor in SIMPLE:
        due = np.array([factor.of(one.case) for one in asked]) * ours
        if same(theirs, due, max(batches.tolerance, tolerance)):
            return factor
    return None


def _usual_ratio(one, ours, tolerance):
    """Whether some usual factor is between the first two losses: else there is no need to look at the others."""
    return any(abs(one.loss - f.of(one.case) * ours) <= tolerance * abs(one.loss) for f in SIMPLE)


def _rarer(batches, members, told):
    """The networks to be tried where none of the usual ones fits; none where the submission was told which it is."""
    if told:
        return []
    sizes = members[0].sizes
    return material.rarer_networks(sizes, _hidden_that_fit(batches, ACTIVATIONS) if len(sizes) > 2 else ())


def _of_that_hidden(batches, members):
    """The networks whose first hidden layer gives what dW of the next is made with, with b as it should be or not."""
    if members[0].n_layers == 1:
        return members
    fitting = _hidden_that_fit(batches, {network.activations[0] for network in members})
    return [network for network in members if network.activations[0] in fitting]


def _hidden_that_fit(batches, names):
    """Of these activations, those of `_of_that_hidden`."""
    params = batches.params
    G = np.stack([one.values.dW[1] for one in batches.singles])
    x = np.stack([one.case.x[0] for one in batches.singles])
    fitting = set()
    for name in names:
        for times in (1.0, 0.0, 2.0, float(x.shape[1])):
            v = activate(name, Ball.exact(x @ params.W[0] + times * params.b[0], DOUBLE)).mid
            rest = split(G, v)[1]
            if (
                np.abs(rest).max() <= batches.tolerance * np.abs(G).max()
                or constant_part(G, v, batches.tolerance) is not None
            ):
                fitting.add(name)
    return fitting


def _of_that_loss(batches, networks):
    """The networks whose loss is that of the submission, each with the factor between them."""
    return [(network, factor) for network in networks if (factor := loss_factor(batches, network)) is not None]


def _with_loss(ask, form, batches, members, told, search):
    fitting = _of_that_loss(batches, members) or _of_that_loss(batches, _rarer(batches, members, told))
    hard = False
    if not fitting and not form.hard:
        again = _ask_all(ask, form, members[0], hard=True)
        if again is not None and again.five.loss is not None:
            fits = _of_that_loss(again, members)
            if fits:
                fitting, batches, hard = fits, again, True
    if fitting and _free(ask):
        return _without_loss(ask, batches, [network for network, _ in fitting], told, search)
    if fitting:
        fitting.sort(key=lambda pair: SIMPLE.index(pair[1]))
        found = []
        for network, factor in fitting[:4]:
            found.append(_known(batches, network, factor, search))
            if found[-1].verdict != WRONG:
                break
        best = min(found, key=lambda one: (ORDER.index(one.verdict), _cost(one)))
        if best.verdict == WRONG and search and any(one.confidence == "measured" for one in best.findings):
            other = _other_rules(batches, _of_that_hidden(batches, members), members, search)
            best = min((best, other), key=_cost) if other is not None else best
        return best._replace(notes=(*best.notes, *(("for one-hot labels",) if hard else ())))
    near = _of_that_hidden(batches, members)
    almost = _almost(batches, near)
    if almost is not None:
        return almost
    return (
        _other_rules(batches, near, members, search)
        or _in_its_own_terms(ask, batches, members, told, search)
        or _without_loss(ask, batches, members, told, search)
    )


def _other_rules(batches, members, every, search):
    """The judgement where the loss fits with a known bug of the forward pass, the labels or the loss."""
    found = []
    for form in forward_forms(members[0].n_layers) if members else ():
        if form.fitted or form.bug.acceptable or "update" in form.bug.where:
            continue
        rules = replaced(form.change)
        for network in every if "a" in form.change else members:
            with contextlib.suppress(ValueError, IndexError):
                factor = loss_factor(batches, network, rules)
                if factor is None:
                    continue
                bug = form.bug
                quantity = "loss" if bug.where == "loss" else "z"
                first = Finding(
                    bug.id, bug.text, quantity, (), bug.right, bug.wrong, bug.hint, network=kind_of(network)
                )
                if not {"z", "a", "inputs"} & form.change.keys() and quantity == "loss":
                    rules = RULES
                found.append(_known(batches, network, factor, search, rules, (first,)))
                if len(found[-1].findings) == 1:
                    return found[-1]
    return min(found, key=_cost) if found else None


def _in_its_own_terms(ask, batches, members, told, search):
    """The judgement by the derivative of the submission's own loss; None where that cannot be had."""
    if ask.dear:
        return None  # it takes hundreds of calls
    network, five = members[0], batches.five
    near = _of_that_hidden(batches, members)
    added = _penalty(batches, near)
    known = _with_penalty(batches, added) if added and added[1] else None
    if known is None and batches.tolerance >= HALF_THE_DIGITS["float32"]:
        reason = "its loss is none of ours, and in float32 differences of it say nothing; compute in float64"
        known = Judgement(NOT_JUDGED, kind_of(network), reason=reason)
    if known is not None:
        return known
    true = unknown.Derivatives(ask, network, batches.params, five.case.x, five.case.y)
    if not true.ok:
        return None
    if unknown.is_derivative(five.values, true, batches.tolerance):
        name = kind_of(network) if told else "with a loss or an activation of its own"
        note = "the gradient is the derivative of your own loss, which is none of ours; checked by central differences"
        return Judgement(OWN_TERMS, name, notes=(note,))
    if added is not None:
        return _penalty_disagrees(batches, added, search)
    return _not_the_derivative(ask, batches, near, members, true, told, search)


def _penalty_disagrees(batches, added, search):
    """The judgement where the loss holds a penalty, and the gradient not its derivative."""
    network, words, factor, rest = added
    scale = factor.of(batches.singles[0].case)
    samples = Samples(scenes_of(batches, network), batches.singles, scale, batches.tolerance, search)
    findings = _findings(samples, batches, network, factor.batch - 1, RULES, scale)
    bug, where = BY_ID["penalty-disagrees"], kind_of(network)
    measured = f"in the loss: {words or f'{rest:.6g}, whatever the sample'}"
    first = Finding(bug.id, bug.text, "loss", (), bug.right, measured, bug.hint, network=where)
    return Judgement(WRONG, where, (*(one for one in findings if one.id != "decay-undeclared"), first))


def _not_the_derivative(ask, batches, near, members, true, told, search):
    """Which rule is off: by the rules of a usual network, or by those measured on the loss itself."""
    text = kind_of(members[0])
    guess = _without_loss(ask, batches, near or members, told, search and bool(near))
    if _cost(guess) <= 2 and guess.verdict != WRONG:
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
    pairs = unknown.measured_scenes(ask, members[0], batches)
    if len(pairs) >= LEAST_SAMPLES:
        own = _measured_rules(batches, pairs, true, text, search)
        if own is not None and (_cost(own) <= _cost(guess) or guess.verdict != WRONG):
            return own
    first = Finding(
        "not-the-derivative",
        "the gradient is not the derivative of your own loss",
        "dW",
        right="dW = dLoss/dW",
        measured="another",
        remedy="compare with central differences of the loss",
        confidence="measured",
    )
    return Judgement(WRONG, text, guess.findings if guess.verdict == WRONG else (first,))


def _with_penalty(batches, added):
    """The judgement where the gradient is right with the penalty that is in the loss; None if it is not."""
    network, words, factor, _ = added
    scale = factor.of(batches.singles[0].case)
    samples = Samples(scenes_of(batches, network), batches.singles, scale, batches.tolerance, 0)
    joined = together(samples, _scene(batches.five, batches.params, network), batches.five)
    strength = float(words.rpartition("= ")[2])
    sign = "|W|" in words
    parts = [np.sign(W) if sign else W for W in batches.params.W]
    right = all(same(samples.added.get(layer), strength * part, 1e-3) for layer, part in enumerate(parts))
    others = [off for off in samples.offs if off.quantity != "dW" or off.layer not in samples.added]
    biases = "b²" in words and all(
        off.quantity == "db" and same(off.measured - off.due, np.broadcast_to(strength * batches.params.b[off.layer],
        off.measured.shape), 1e-3) for off in others)  # fmt: skip
    if not right or (others and not biases) or joined.offs or set(joined.powers.values()) != {factor.batch - 1}:
        return None
    said = f"your loss holds the penalty {words}, and your gradient its derivative"
    return Judgement(CONVENTION, kind_of(network), conventions=(said,))


def _measured_rules(batches, pairs, true, text, search):
    """Findings by activations, slopes and deltas taken from the loss itself."""
    network = pairs[0][1].case.network
    singles = [one for one, _ in pairs]
    tolerance = max(batches.tolerance, 1e-5)
    samples = Samples([scene for _, scene in pairs], singles, 1.0, tolerance, search, unknown.own_forms())
    last, offs, findings = samples.last, [], []
    for off in samples.offs:
        if off.quantity == "delta" and off.layer == last and not off.named and not off.words:
            findings.append(naming.scaled(off.factor, 1.0, network.sizes[-1], False, text))
        else:
            offs.append(off)
    findings += naming.findings_of(offs, last, text)
    if not findings:
        whole = Samples([scene for _, scene in pairs], singles, 1.0, tolerance, 0)
        if len(singles) == len(batches.singles):
            joined = together(whole, _scene(batches.five, batches.params, network), batches.five)
            size = float(len(batches.five.case.x))
            total = whole.B[last].sum(axis=0) if whole.B[last] is not None else whole.G[last].sum(axis=0)
            due = true.db[last] if whole.B[last] is not None else true.dW[last]
            power = next((power for power in (-1, 0) if unknown.agree(size**power * total, due, 1e-5)), None)
            if power is not None and joined.powers:
                findings += naming.powered(joined.powers, power, text, True)
            findings += naming.findings_of(joined.offs, last, text)
    return Judgement(WRONG, text, tuple(findings)) if findings else None


def _penalty(batches, members):
    """The network, the words and the factor of a loss that is ours with something added whatever the samples."""
    for network in members:
        ours = np.array([float(_scene(one, batches.params, network).quantity(("loss", 0))) for one in batches.all])
        found = unknown.constant_rest(batches, ours, SIMPLE[:9])
        if found is not None:
            factor, rest, _ = found
            return network, unknown.penalty(rest, batches.params, True), factor, rest
    return None


def _almost(batches, members):
    """The judgement where the loss is that of a network but for its last digits, and the gradient is right."""
    for network in members:
        factor = loss_factor(batches, network, tolerance=ALMOST)
        if factor is not None:
            judgement = _known(batches, network, factor, 0)
            if judgement.verdict != WRONG:
                note = (
                    "your loss is right in its first digits only, as with an ε in its logarithm; its gradient is right"
                )
                return judgement._replace(notes=(*judgement.notes, note))
    return None


def _free(ask):
    """Whether gradients are differences of weights with a learning rate that nobody knows."""
    return ask.submission.in_place and ask.submission.learning_rate is None


def _cost(judgement):
    """How much an explanation has to say: rules without a name weigh most."""
    return sum(3 if finding.confidence == "measured" else 1 for finding in judgement.findings)


def _known(batches, network, factor, search=2, rules=RULES, before=()) -> Judgement:
    """The judgement on a network whose loss, but for a factor, is known."""
    scenes = scenes_of(batches, network, rules)
    c = factor.of(batches.singles[0].case)
    samples = Samples(scenes, batches.singles, c, batches.tolerance, search)
    findings = [*before, *_findings(samples, batches, network, factor.batch - 1, rules, c)]
    text = kind_of(network)
    if findings:
        wrong = any(not finding.acceptable for finding in findings)
        return Judgement(WRONG if wrong else CONVENTION, text, tuple(findings))
    if factor == Factor():
        return Judgement(RIGHT, text, notes=_digits(batches, network, factor))
    said = (
        f"your loss is {factor.in_words(network.loss)}, ours {Factor().in_words(network.loss)}: the gradient has the "
    )
    said += "same factor, which a learning rate makes up for"
    return Judgement(CONVENTION, text, conventions=(said,), notes=_digits(batches, network, factor))


def _findings(samples, batches, network, power, rules, loss_scale):
    """Findings of single samples and of batches.

    Parameters
    ----------
    power : int or None
        i where the batch's gradient should be size**i times the sum of its samples'; None: 0 or −1.
    loss_scale : float or None
        The factor of a sample's loss, where there is a loss.
    """
    last, text, offs, found = samples.last, kind_of(network), [], []
    squared, n_out = network.loss.endswith("squared_error"), network.sizes[-1]
    for off in samples.offs:
        if off.quantity == "delta" and off.layer == last and not off.named and not off.words:
            found.append(naming.scaled(off.factor, loss_scale, n_out, squared, text))
        else:
            offs.append(off)
    joined = together(samples, _scene(batches.five, batches.params, network, rules), batches.five)
    whole = [off for off in joined.offs if off.layer == last and any("target" in form.change or "error" in form.change
                                                                     for form, _ in off.named)]  # fmt: skip
    offs += whole or joined.offs
    found += naming.findings_of(offs, last, text)
    if joined.powers and not joined.offs:
        usual = _usual_power(joined.powers) if power is None else power
        found += naming.powered(joined.powers, usual, text, power)
    return found


def _usual_power(powers):
    """−1 or 0, whichever more tensors have."""
    values = list(powers.values())
    return max((-1, 0), key=values.count)


def _digits(batches, network, factor):
    """A note where more digits are lost than rounding explains."""
    scene = _scene(batches.five, batches.params, network)
    c = factor.of(batches.five.case)
    worst = 0.0
    with np.errstate(all="ignore"):
        for key, ball in scene.right():
            measured = getattr(batches.five.values, key[0], None)
            if key[0] not in {"dW", "db"} or measured is None:
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


def _without_loss(ask, batches, members, told, search):
    """The judgement on gradients without a loss: the network whose rules they fit best."""
    rarer = _rarer(batches, members, told)
    if rarer and not _of_that_hidden(batches, members):  # no usual activation gives what dW is made with
        return _best_without_loss(ask, batches, rarer, search)
    best = _best_without_loss(ask, batches, members, search)
    if best.verdict == WRONG and rarer:
        other = _best_without_loss(ask, batches, rarer, 0)
        best = other if other.verdict != WRONG else best
    return best


def _best_without_loss(ask, batches, members, search):
    ranked = []
    for place, network in enumerate(members):
        samples = Samples(scenes_of(batches, network), batches.singles, None, batches.tolerance, 0)
        ranked.append((len(samples.offs), _oddity(samples, network), place, network, RULES, ()))
    ranked.sort(key=lambda row: row[:3])
    best = _best_of(ask, batches, ranked, search)
    if search and best.verdict == WRONG and any(finding.confidence == "measured" for finding in best.findings):
        others = sorted(_other_forwards(batches, _of_that_hidden(batches, members)[:15]), key=lambda row: row[:3])
        if others and others[0][0] <= ranked[0][0]:
            best = min((best, _best_of(ask, batches, others, search)), key=_cost)
    return best


def _best_of(ask, batches, ranked, search):
    """The judgement that says least, of the networks whose rules fit best; pairs of bugs are tried last."""
    best: Judgement | None = None
    rows = [row for row in ranked[:5] if row[0] <= ranked[0][0] + 2]
    for level in (1, 2)[:search] or (0,):
        for _, _, _, network, rules, before in rows[: 5 if level < 2 else 2]:
            judgement = _by_its_rules(ask, batches, network, level, rules, before)
            rank = (ORDER.index(judgement.verdict), _cost(judgement))
            if best is None or rank < (ORDER.index(best.verdict), _cost(best)):
                best = judgement
            if best.verdict != WRONG or _cost(best) == 1:
                return best
        if best is not None and all(finding.confidence != "measured" for finding in best.findings):
            break
    assert best is not None
    return best


def _other_forwards(batches, members):
    """Rows like those of `_without_loss`, for forward passes with a known bug."""
    rows = []
    for form in forward_forms(members[0].n_layers) if members else ():
        if form.fitted or not {"z", "a", "inputs"} & form.change.keys() or form.bug.acceptable:
            continue
        rules = replaced(form.change)
        for place, network in enumerate(members):
            try:
                samples = Samples(scenes_of(batches, network, rules), batches.singles, None, batches.tolerance, 0)
            except (ValueError, IndexError):
                continue
            bug = form.bug
            finding = Finding(bug.id, bug.text, "z", (), bug.right, bug.wrong, bug.hint, network=kind_of(network))
            rows.append((len(samples.offs) + 1, _oddity(samples, network) + 1, place, network, rules, (finding,)))
    return rows


def _oddity(samples, network):
    """How unusual the factor of the gradient is: 0 if it has none."""
    factor = _simple(samples.scale, network.sizes[-1])
    return 9 if factor is None else SIMPLE.index(factor)


def _simple(scale, n_out):
    return next(
        (f for f in SIMPLE if f.batch == 0 and np.isclose(float(n_out) ** f.outputs * 2.0**f.twos, scale, rtol=1e-7)),
        None,
    )


def _by_its_rules(ask, batches, network, search, rules, before):
    samples = Samples(scenes_of(batches, network, rules), batches.singles, None, batches.tolerance, search)
    findings = [*before, *_findings(samples, batches, network, None, rules, None)]
    text, scale = kind_of(network), samples.scale
    factor = _simple(scale, network.sizes[-1])
    free = _free(ask)
    squared = network.loss.endswith("squared_error")
    if factor is None and not (free and scale > 0.0):
        findings.append(naming.scaled(scale, None, network.sizes[-1], squared, text))
    if findings:
        decay = all(finding.id == "decay-undeclared" for finding in findings)
        wrong = any(not finding.acceptable for finding in findings) and not decay
        return Judgement(WRONG if wrong else CONVENTION, text, tuple(findings))
    joined = together(samples, _scene(batches.five, batches.params, network, rules), batches.five)
    power = _usual_power(joined.powers)
    if free:
        said = f"weights are updated in place; gradients fit with a learning rate of {scale:.6g}"
        return Judgement(RIGHT, text, conventions=(said,))
    whole = Factor(power + 1, factor.outputs, factor.twos)
    if whole == Factor():
        return Judgement(
            RIGHT, text, notes=(*_digits(batches, network, whole), "no loss is returned, so none is judged")
        )
    said = f"the gradient is that of {whole.in_words(network.loss)}; ours of {Factor().in_words(network.loss)}"
    said += "; no loss is returned that would say otherwise, and a learning rate makes up for it"
    return Judgement(CONVENTION, text, conventions=(said,), notes=_digits(batches, network, whole))


# ---- all groups ------------------------------------------------------------------------------------------------------


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
