"""How a submission puts a batch together from its samples: sum or mean, tensor by tensor, or in another way."""

import itertools
from dataclasses import dataclass, field

import numpy as np

from backprop_ref.conformance.dissecting.comparing import same
from backprop_ref.conformance.dissecting.rules import Form, changed, deltas_of, forms, numbers_for, ran
from backprop_ref.conformance.dissecting.samples import Named, Off, Samples

POWERS = (0, -1, 1, -2, 2, -3, 3)


@dataclass
class Together:
    """A batch against the sum of its samples.

    Attributes
    ----------
    powers : dict of (str, int) to int
        For each tensor, i where the batch's is size**i times the sum of the samples'.
    offs : list of Off
        Tensors for which there is no such power.
    alone : dict of (str, int) to int
        The same powers where the batch's gradient is that of one of its samples.
    """

    powers: dict[tuple[str, int], int]
    offs: list[Off]
    alone: dict[tuple[str, int], int] = field(default_factory=dict)


class _Batch:
    """One batch: what was measured, tensor by tensor, and powers of its size."""

    def __init__(self, samples: Samples, case, asked, singles):
        self.samples, self.case, self.size, self.singles = samples, case, float(len(case.x)), singles
        values = asked.values
        self.measured = {("dW", layer): dW for layer, dW in enumerate(values.dW)}
        if values.db is not None:
            self.measured |= {("db", layer): db for layer, db in enumerate(values.db) if db is not None}
        for key, part in self.measured.items():
            self.measured[key] = np.where(np.abs(part) < self.size * samples.nothing[key[1]], 0.0, part)
        self.powers: dict[tuple[str, int], int] = {}
        self.done: set[tuple[str, int]] = set()
        self.alone: dict[tuple[str, int], int] = {}

    def power(self, key, total):
        """i with measured = size**i · total, beside what is added whatever the sample."""
        measured = self.measured[key]
        added = (self.samples.added if key[0] == "dW" else self.samples.added_b).get(key[1])
        if total is None or total.shape != measured.shape:
            return None
        for power in POWERS:
            due = self.size**power * total
            if added is None:
                fits = same(measured, due, self.samples.tolerance)
            else:  # of one number alone, any multiple may be added
                free = [float(((measured - due) * added).sum() / (added * added).sum())] if added.size > 1 else []
                times = (1.0, self.size, 1.0 / self.size, *free)
                fits = any(same(measured, due + c * added, self.samples.tolerance) for c in times)
            if fits:
                return power
        return None

    def settle(self, totals) -> bool:
        """Takes the powers of tensors that are such multiples; whether any is new."""
        new = {key: power for key in self.open if (power := self.power(key, totals.get(key))) is not None}
        for key in [key for key in new if not np.any(totals[key])]:  # of 0 there is no power
            self.measured[key] = totals[key]
            del new[key]
        self.powers |= new
        return bool(new)

    @property
    def open(self):
        """The tensors that are not explained yet, and not 0."""
        known = self.powers.keys() | self.done
        return [key for key, array in self.measured.items() if key not in known and np.any(array)]

    def sums(self):
        """The sums of the single samples' gradients."""
        samples, parts = self.samples, {}
        for layer in range(len(samples.G)):
            stack = np.stack([one.values.dW[layer] for one in self.singles])
            parts["dW", layer] = stack - samples.added.get(layer, 0.0)
            if samples.B[layer] is not None:
                stack = np.stack([one.values.db[layer] for one in self.singles])
                parts["db", layer] = stack - samples.added_b.get(layer, 0.0)
        return {key: self.samples.without_noise(part, key[1]).sum(axis=0) for key, part in parts.items()}

    def ran(self, rules):
        """The sums of the batch under rules that take means; weights are updated by what was measured."""
        return {key: self.size * part for key, part in ran(self.case, rules, self.measured).items()}


def together(samples: Samples, case, asked, singles) -> Together:
    """Compares the answer for a batch with those for its samples, then with what the rules that were found give."""
    batch = _Batch(samples, case, asked, singles)
    batch.settle(batch.sums())
    if not batch.open or not samples.search:
        return Together(batch.powers, [_unknown(key, batch) for key in batch.open])
    found = samples.rules()
    batch.settle(batch.ran(found))
    if batch.open:
        _other_variants(batch, samples)
    offs = _of_the_labels(batch, samples, found) if batch.open else []
    if batch.open:
        offs = _by_tensors(batch, samples, found)
    if batch.open:
        offs = _in_turn(batch, samples, found) or offs
    return Together(batch.powers, [*offs, *(_unknown(key, batch) for key in batch.open)], batch.alone)


def _by_tensors(batch, samples, rules):
    """A bug in how each tensor is put together, with the labels as they are or, if that explains more, with others."""
    explained = all(off.named or not off.words for off in samples.offs)
    plain = {
        key: _of_one_sample(batch, samples, key, samples.delta)
        or (_of_one_tensor(batch, samples, key, rules) if explained else None)
        for key in batch.open
    }
    before, alone = batch.powers, batch.alone
    for form in forms() if explained and not all(plain.values()) else ():
        if form.fitted or not form.change.keys() & {"target", "error"}:
            continue
        wrong = changed(rules, form.change)
        delta = [batch.size * part for part in deltas_of(batch.case, wrong) or ()]
        if not delta or any(part.shape != samples.delta[layer].shape for layer, part in enumerate(delta)):
            continue
        batch.powers, batch.alone = {}, {}
        batch.settle(batch.ran(wrong))
        offs: list[Off] = []
        for key in batch.open:
            if (off := _of_one_sample(batch, samples, key, delta)) is None:
                break
            offs.append(off)
        if len(offs) == len(batch.open):
            batch.done = set(batch.open)
            return [Off("delta", samples.last, [(form, None)]), *offs]
    batch.powers, batch.alone, batch.done = before, alone, {key for key, off in plain.items() if off}
    return [off for off in plain.values() if off]


def _unknown(key, batch):
    words = "it is no multiple of the sum of its samples' gradients"
    return Off(key[0], key[1], [], 1.0, batch.measured[key], None, words)


def _other_variants(batch, samples):
    """Other forms of the bugs that were found, which are the same for single samples only."""
    parts = samples.parts
    choices = [[part._replace(forms=(form,)) for form in part.forms] for part in parts]
    for chosen in itertools.islice(itertools.product(*choices), 1, 32):
        samples.parts = list(chosen)
        batch.settle(batch.ran(samples.rules()))
        if not batch.open:
            return
    samples.parts = parts


def _of_the_labels(batch, samples, rules):
    """A bug that acts on the labels of the whole batch, if it explains everything."""
    before = batch.powers
    for form in forms():
        if form.change.keys() & {"target", "error"} and not form.fitted:
            batch.powers = {}
            batch.settle(batch.ran(changed(rules, form.change)))
            if not batch.open:
                return [Off("delta", samples.last, [(form, None)])]
    batch.powers = before
    return []


def _in_turn(batch, samples, rules):
    """Weights that are updated within the batch, if that explains everything."""
    if any(off.words and not off.named for off in samples.offs):
        return []
    for form in forms():
        if form.bug.id == "samples-in-turn":
            for power, start in itertools.product((0, -1), (0.1, 0.01)):
                rate = _rate(batch, rules, form, power, start)
                if rate is not None:
                    batch.alone = {}
                    return [Off("dW", 0, [(form, rate)])]
    return []


def _rate(batch, rules, form: Form, power, start):
    """The learning rate of weights that are updated within the batch; None if that is not it."""
    keys = [key for key, array in batch.measured.items() if np.any(array)]
    goal = np.concatenate([batch.measured[key].ravel() for key in keys])

    def at(rate):
        totals = batch.ran(changed(rules, form.change, None, form.bug.parameter, rate))
        if any(key not in totals or totals[key].shape != batch.measured[key].shape for key in keys):
            return None
        return batch.size**power * np.concatenate([totals[key].ravel() for key in keys])

    number = numbers_for(at, start, goal)
    if number is None or not same(goal, at(number), 10 * batch.samples.tolerance):
        return None
    batch.powers = dict.fromkeys(keys, power)
    return number


def _of_one_sample(batch, samples, key, deltas):
    """A bug by which one sample stands for all, or the means of inputs and deltas for them, given the deltas."""
    name, layer = key
    inputs, delta = samples.inputs[layer], deltas[layer]
    left = {"dW": lambda rows: inputs[rows].T @ delta[rows], "db": lambda rows: delta[rows].sum(axis=0)}[name]
    totals = {"last-sample-only": left(slice(-1, None)), "first-sample-only": left(slice(0, 1))}
    if name == "dW":
        totals["mean-before-outer"] = np.outer(inputs.mean(axis=0), delta.sum(axis=0))
    for bug, total in totals.items():
        power = batch.power(key, total)
        if power is not None:
            named: Named = []
            named += [(form, None) for form in forms() if form.bug.id == bug][:1]
            if bug != "mean-before-outer":
                batch.alone[key] = power
            return Off(name, layer, named, 1.0, batch.measured[key], total)
    return None


def _of_one_tensor(batch, samples, key, rules):
    """A known bug in how one tensor is put together, under the rules that were found."""
    name, layer = key
    usual = max(set(batch.powers.values()), key=list(batch.powers.values()).count, default=None)
    for form in forms():
        if form.fitted or not form.change.keys() & {"left", "dW", "db"} or "error" in form.change:
            continue
        power = batch.power(key, batch.ran(changed(rules, form.change, layer)).get(key))
        if power is not None and (usual is None or power == usual):
            return Off(name, layer, [(form, None)], 1.0, batch.measured[key])
    return None
