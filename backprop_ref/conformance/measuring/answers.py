"""The answers of a submission for one network: two batches, one also sample by sample; and what they show at once."""

import itertools
from functools import partial
from typing import NamedTuple

import numpy as np

from backprop_ref.conformance.dissecting.comparing import ratio, same
from backprop_ref.conformance.measuring import asking, material
from backprop_ref.conformance.measuring.asking import HALF_THE_DIGITS, Asked
from backprop_ref.conformance.measuring.judgement import known_bug
from backprop_ref.conformance.measuring.networks import kind_of
from backprop_ref.conformance.outcomes.outcome import Finding
from backprop_ref.parameters import Parameters

SEEDS = 12
"""So many choices of weights are looked at for one that suits relus."""
MANY = (29, 53, 97)
"""Sizes of batches of which a seeded choice takes neither the first sample nor the last."""


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


def ask_all(ask, form, network, hard=False):
    """The `Batches` of a network; with other weights where these leave every gradient 0, as a relu at its left may, and
    with smaller numbers where a batch gives none that are finite, as one does that is learnt from sample by sample."""
    found = None
    first, *others = sorted(range(1, SEEDS + 1), key=lambda seed: _still(form, seed))
    for seed, size in ((first, 1.0), *((seed, 1.0) for seed in others[:2]), (first, 0.25)):
        params = material.parameters(form.sizes, seed, form.biases)
        if size != 1.0:
            params = Parameters(size * params.flat, params.sizes)
        found = _asked_with(ask, form, network, hard or form.hard, params, size)
        if found is None or (finite(found) and any(np.any(array) for array in found.five.values.dW or [np.ones(1)])):
            break
    return found


def _still(form, seed):
    """How many hidden neurons would be on, or off, for every sample if they were relus: bugs in these may not show."""
    params = material.parameters(form.sizes, seed, form.biases)
    a, count = material.batch(form.sizes, material.SAMPLES, hard=form.hard)[0], 0
    for W, b in zip(params.W[:-1], params.b[:-1], strict=True):
        z = a @ W + b
        count += int(np.sum(np.all(z > 0.0, axis=0) | np.all(z <= 0.0, axis=0)))
        a = np.maximum(z, 0.0)
    return count


def _asked_with(ask, form, network, hard, params, size):
    sizes = form.sizes
    x, y = material.batch(sizes, material.SAMPLES, hard=hard)
    x = size * x
    five = ask(network, params, x, y, twice=not ask.dear)
    singles = [ask(network, params, x[s : s + 1], y[s : s + 1]) for s in range(len(x))]
    if five is None or any(one is None for one in singles):
        return None
    seven = None
    if not ask.dear:
        x, y = material.batch(sizes, material.OTHER_BATCH, hard=hard)
        seven = ask(network, params, size * x, y)
    single = "float32" in {asking.precision_of(one.values) for one in (five, *singles[:2])}
    tolerance = HALF_THE_DIGITS["float32" if single else "float64"]
    for one in (five, *singles):  # differences of weights have lost some digits
        if one.slack is not None and one.values.dW is not None:
            for g, lost in zip(one.values.dW, one.slack.dW, strict=True):
                size = np.abs(g).max()
                tolerance = max(tolerance, 1e3 * float(np.max(lost)) / size if size else 0.0)
    return Batches(params, five, seven, singles, min(tolerance, 1e-3))


def without_losses(batches):
    """The same batches, as if no loss were returned."""

    def bare(one):
        return one and one._replace(values=one.values._replace(loss=None))

    return batches._replace(
        five=bare(batches.five), seven=bare(batches.seven), singles=list(map(bare, batches.singles))
    )


def without_unused_biases(ask, batches, network):
    """The same batches of a network without biases, where b stays as it is and moves nothing else."""
    if any(np.any(db) for one in batches.all for db in one.values.db or [np.ones(1)] if db is not None):
        return batches
    five = batches.five
    params = Parameters.from_arrays(batches.params.W, [0.0 * b for b in batches.params.b])
    other = ask(network, params, five.case.x, five.case.y)
    if other is None or not all(map(np.array_equal, other.values.dW, five.values.dW)):
        return batches

    def bare(one):
        return one and one._replace(values=one.values._replace(db=None))

    return batches._replace(
        params=params, five=bare(five), seven=bare(batches.seven), singles=list(map(bare, batches.singles))
    )


def in_steps(ask, batches, network):
    """The batches as they would be, where code makes several steps with a batch, or one with a part of it; and in words
    what it does.

    It takes samples one after the other, in their order or shuffled, a few at a time, or one that it picks. Then what
    a batch of several gives is no sum, and only what one step takes says anything; None: it is not so.
    """
    some = not ask.dear and len(batches.singles) > 1 and batches.five.values.dW is not None
    if not some or _power(batches.five, batches.singles) is not None:
        return None
    steps = _Steps(ask, batches, network)
    if _picks(steps):
        return _as_sums(batches, 0), "it takes one sample of a batch for a step, so that each is judged by itself"
    power = _draws(steps)
    if power is not None:
        return _as_sums(batches, power), "it draws samples of a batch at random, so that each is judged by itself"
    if not ask.submission.in_place:
        return None
    every = range(len(batches.singles))
    if steps.made(batches.five, [[s] for s in every]) or steps.of_three():
        return _as_sums(batches, 0), "it updates its weights after each sample, so that each is judged by itself"
    size, power = _of_some(steps) or (0, 0)
    said = f"it updates its weights after every {size} samples, so that no more are judged"
    return (_as_sums(batches, power), said) if size else None


def drawn(ask, batches, network):
    """Whether a class does something else with the same sample and weights each time."""
    if ask.submission.kind != "class" or not finite(batches) or batches.singles[0].values.dW is None:
        return False
    one = batches.singles[0]
    again = ask(network, batches.params, one.case.x, one.case.y)
    return again is not None and not all(map(partial(same, tolerance=1e-6), again.values.dW, one.values.dW))


class _Steps:
    """What becomes of weights by steps with some of the samples, one step after the other."""

    def __init__(self, ask, batches, network):
        self.ask, self.network, self.params, self.singles = ask, network, batches.params, batches.singles
        self.rate = getattr(ask.submission, "learning_rate", None) or 1.0  # no program has one

    def asked(self, rows, params=None):
        """The answer for some of the samples."""
        x, y = (np.concatenate([getattr(self.singles[s].case, name) for s in rows]) for name in "xy")
        return self.ask(self.network, self.params if params is None else params, x, y)

    def _after(self, params, rows):
        answer = self.asked(rows, params)
        if answer is None or answer.values.dW is None:
            return None
        params = params.copy()
        for part, g in (*zip(params.W, answer.values.dW, strict=True), *zip(params.b, answer.values.db or ())):  # noqa: B905
            part -= 0.0 if g is None else self.rate * g
        return params

    def _is(self, answer, params):
        moves = [(old - new) / self.rate for old, new in zip(self.params.W, params.W, strict=True)]
        return answer.values.dW is not None and all(map(partial(same, tolerance=1e-6), answer.values.dW, moves))

    def made(self, answer, steps):
        """Whether an answer is what these steps give."""
        params = self.params
        for rows in steps:
            params = self._after(params, rows)
            if params is None:
                return False
        return self._is(answer, params)

    def of_three(self):
        """Whether three samples make three steps, each with any one of them."""
        answer = self.asked((0, 1, 2))
        ends = [self.params]
        for _ in range(3):
            ends = [self._after(params, [s]) for params in ends if params is not None for s in range(3)]
        return answer is not None and any(params is not None and self._is(answer, params) for params in ends)


def is_sum(batches) -> bool:
    """Whether each dW of the batch is the sum, or the mean, of what its samples give alone."""
    return _power(batches.five, batches.singles) is not None


def _power(answer, singles):
    """0 or −1 where each dW of an answer is the sum or the mean of those of the singles; None: it is neither."""
    for power in (0, -1):
        totals = (np.sum(parts, axis=0) for parts in zip(*(one.values.dW for one in singles), strict=True))
        pairs = zip(answer.values.dW, totals, strict=True)
        if all(same(part, total * float(len(singles)) ** power, 1e-6) for part, total in pairs):
            return power
    return None


def _picks(steps):
    """Whether a step takes one sample of a batch, and not always the first, the last or another one."""
    n, found = len(steps.singles), []
    for size in (*range(2, n + 1), *range(2, n + 1), *MANY):
        rows = [s % n for s in range(size)]
        answer = steps.asked(rows)
        if answer is None or answer.values.dW is None:
            return False
        place = next((s for s in dict.fromkeys(rows) if _power(answer, [steps.singles[s]]) is not None), None)
        if place is None:
            return False
        found.append((place, place == rows[0], place == rows[-1]))
    places, first, last = zip(*found, strict=True)
    return len(set(places)) > 1 and not all(first) and not all(last)


def _draws(steps):
    """0 or −1 where a step takes the sum or mean over samples that it draws, some of them several times; else None."""
    found, powers = [], []
    live = [s for s, one in enumerate(steps.singles) if any(map(np.any, one.values.dW))]  # others add nothing anywhere
    for size in (2, 3, 4, 2, 3, 4):
        if size > len(live):
            return None
        answer = steps.asked(live[:size])
        if answer is None or answer.values.dW is None:
            return None
        if not any(map(np.any, answer.values.dW)):
            continue
        every = itertools.combinations_with_replacement(live[:size], size)
        fits = ((rows, _power(answer, [steps.singles[s] for s in rows])) for rows in every)
        rows, power = next((one for one in fits if one[1] is not None), ((), None))
        if power is None:
            return None
        found.append((len(rows), len(set(rows))))
        powers.append(power)
    twice, several = any(n < size for size, n in found), any(n > 1 for _, n in found)
    return powers[0] if twice and several and len(set(powers)) == 1 else None


def _of_some(steps):
    """How many samples a step takes of more than there are, and the power of that number in it; else None."""
    found = None
    live = [s for s, one in enumerate(steps.singles) if all(map(np.any, one.values.dW))]  # others add to anything
    for size in range(2, len(live)):
        answer = steps.asked(live[:size])
        known = answer is not None and answer.values.dW is not None
        power = _power(answer, [steps.singles[s] for s in live[:size]]) if known else None
        if power is None:
            break
        found = size, power
    if found is None:
        return None
    every = live[: found[0] + 1]
    answer, left = steps.asked(every), [(s, [r for r in every if r != s]) for s in every]
    if answer is not None and any(steps.made(answer, [most, [s]]) for s, most in left):
        return found
    return None


def _as_sums(batches, power):
    """The same without losses and the second batch, the first being the sum of its samples, or their mean."""

    def total(name):
        layers = zip(*(getattr(one.values, name) or () for one in batches.singles), strict=True)
        size = float(len(batches.singles)) ** power
        return [None if any(part is None for part in parts) else size * np.sum(parts, axis=0) for parts in layers]

    five = batches.five.values._replace(dW=total("dW"), db=total("db") or None, loss=None)
    singles = [one._replace(values=one.values._replace(loss=None)) for one in batches.singles]
    return batches._replace(five=batches.five._replace(values=five, again=None), seven=None, singles=singles)


def finite(batches):
    return all(
        array is None or np.all(np.isfinite(array))
        for one in batches.all
        for array in (*(one.values.dW or ()), *(one.values.db or ()), one.loss)
    )


def without_data(batches) -> bool:
    """Whether every dW is 0, or, like a penalty's, the same whatever the samples are, and every db 0."""
    first, *others = (one.values.dW for one in batches.all)
    if not any(np.any(part) for dW in (first, *others) for part in dW):
        return True
    constant = all(same(part, due, 1e-12) for dW in others for part, due in zip(dW, first, strict=True))
    biased = any(np.any(db) for one in batches.all for db in one.values.db or () if db is not None)
    return constant and not biased


def state(batches):
    """Findings on a second, identical call."""
    again = batches.five.again
    if again is None:
        return ()
    first, second = batches.five.values, again
    gradients = [(a, b) for name in ("dW", "db") if getattr(first, name) and getattr(second, name)
                 for a, b in zip(getattr(first, name), getattr(second, name), strict=True)]  # fmt: skip
    gradients = [pair for pair in gradients if pair[0] is not None]
    if all(same(b, a, batches.tolerance) for a, b in gradients):
        return ()
    twice = all(same(b, 2.0 * a, batches.tolerance) for a, b in gradients)
    return (known_bug("gradients-not-zeroed" if twice else "second-call-differs", "state"),)


def unsummed(ask, batches, network):
    """Findings where db has another shape than b: not summed over the batch, or over the neurons; or where it is left
    out, or of a shape that cannot be read, in some layers, whose b is used all the same."""
    five = batches.five
    layers: dict[str, list[int]] = {}
    alone = batches.singles[0].odd  # the width of another layer may be the size of a batch, and is not 1
    for layer, name in five.odd.items():
        if name:
            layers.setdefault(alone.get(layer) or name, []).append(layer)
    if not layers and five.values.db is None and all(one.values.db is not None for one in batches.singles):
        layers = {"bias-not-summed": []}
    found = [known_bug(name, "db", tuple(at)) for name, at in layers.items()]
    left_out = [layer for layer, db in enumerate(five.values.db or ()) if db is None and layer not in five.odd]
    left_out += [layer for layer, name in five.odd.items() if not name]
    if left_out and not found and _moves(ask, batches, network, left_out):
        text = "db has another shape than b, or is left out, where the other layers have it"
        found.append(
            Finding("unknown-db", text, "db", tuple(left_out), "db = Σₛ delta, of the shape of b", "none of that shape",
                    "sum delta over the batch's axis in every layer", "measured", network=kind_of(network))
        )  # fmt: skip
    return tuple(found)


def _moves(ask, batches, network, layers):
    """Whether the biases of these layers change the gradients."""
    moved = [b + 0.5 * (layer in layers) for layer, b in enumerate(batches.params.b)]
    params = Parameters.from_arrays(batches.params.W, moved)
    answer = ask(network, params, batches.five.case.x, batches.five.case.y)
    if answer is None or answer.values.dW is None:
        return False
    return not all(map(np.array_equal, answer.values.dW, batches.five.values.dW))


def decay(ask, batches, network, alone):
    """A finding where weight decay that is asked for is not λ·W in dW and nothing in db; under other names than
    weight_decay, any usual multiple of λ, that in the loss where there is one; `alone`: nothing else is off."""
    named = getattr(ask.submission, "decay", "")
    if ask.dear or not named:
        return ()
    five, strength = batches.five, 0.25
    answer = ask(network, batches.params, five.case.x, five.case.y, weight_decay=strength)
    if answer is None or answer.values.dW is None:
        return ()
    size = float(len(five.case.x))
    factors = {"decay-missing": 0.0, "decay-doubled": 2.0, "decay-halved": 0.5, "decay-sign": -1.0}
    factors |= {"decay-over-batch": 1.0 / size}
    found: dict[str, list[int]] = {}
    moves = [(a - b) / strength for a, b in zip(answer.values.dW, five.values.dW, strict=True)]
    factor, absolute = 1.0, _absolute(answer, five, batches.params, strength)
    of_loss, on_biases = _penalty_of_loss(answer, five, batches.params, strength, size)
    if named != "weight_decay":
        ratios = np.concatenate([(move / W).ravel() for move, W in zip(moves, batches.params.W, strict=True)])
        factor = of_loss or _usual_factor(ratios, size)
        if ask.submission.in_place and ask.submission.learning_rate is None and np.median(ratios) > 0.0:
            factor = float(np.median(ratios))  # with a rate that nobody knows, any multiple is one
    for layer, (moved, weights) in enumerate(zip(moves, batches.params.W, strict=True)):
        W = factor * weights if absolute is None else absolute * np.sign(weights)
        if same(moved, W, 1e-6):
            continue
        due = {name: c * W for name, c in factors.items()} | {"decay-absolute": np.sign(W)}
        alike = {name: np.mean(np.abs(moved - part) <= 1e-6) for name, part in {"": W, **due}.items()}
        name = max(alike, key=lambda name: alike[name])  # whatever becomes of some entries otherwise
        if alike[name] < 0.5:
            if not alone:  # another bug may have done that
                continue
            name = "penalty-disagrees" if five.loss is not None else "decay-undeclared"
        if name:
            found.setdefault(name, []).append(layer)
    pairs = zip(answer.values.db or (), five.values.db or (), strict=False)
    moved_b = [(layer, a - b) for layer, (a, b) in enumerate(pairs) if a is not None]
    biases = [layer for layer, move in moved_b if ratio(move, batches.params.b[layer], 1e-6) is not None]
    form = getattr(ask.submission, "forms", {}).get(ask.submission.layout)
    if biases and not on_biases and (of_loss or not getattr(form, "folded", "")):  # b as a row of W decays with it
        found["decay-on-bias"] = biases
    return tuple(known_bug(name, "db" if name.endswith("bias") else "dW", tuple(at)) for name, at in found.items())


def _absolute(answer, five, params, strength):
    """The factor of Σ|W| in a loss that holds λ times that; None: it does not, or no loss tells."""
    if answer.loss is None or np.isclose(answer.loss, five.loss, rtol=1e-12):
        return None
    c = (answer.loss - five.loss) / (strength * sum(float(np.abs(W).sum()) for W in params.W))
    return next((usual for usual in (1.0, 0.5, 1.0 / len(five.case.x)) if np.isclose(c, usual, rtol=1e-6)), None)


def _penalty_of_loss(answer, five, params, strength, size):
    """What the penalty in a loss is beside ½λ·ΣW², and whether it is of the biases too; 0: the loss has none."""
    if answer.loss is None or np.isclose(answer.loss, five.loss, rtol=1e-12):
        return 0.0, False
    squares, more = (sum(float((part * part).sum()) for part in parts) for parts in (params.W, params.b))
    factors = [(answer.loss - five.loss) / (0.5 * strength * some) for some in (squares, squares + more)]
    on_biases = not _is_usual(factors[0], size) and _is_usual(factors[1], size)
    return factors[on_biases], on_biases


def _is_usual(factor, size):
    return any(np.isclose(factor, c, rtol=1e-6) for c in (1.0, 2.0, 1.0 / size, 2.0 / size))


def _usual_factor(ratios, size):
    """What a penalty is by the gradient, where it is usual; else 1."""
    found = float(np.median(ratios))
    return found if _is_usual(found, size) else 1.0
