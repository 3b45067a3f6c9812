"""Somebody's function, asked for its gradients case by case; whatever it does, each case gets an answer or a reason."""

from typing import Any

import numpy as np

from backprop_ref.conformance.cases import Case, Values, same_bits, tensors
from backprop_ref.conformance.submissions.answer import Answer
from backprop_ref.conformance.submissions.calling import TIME_LIMIT, NotJudged, Refusal, run
from backprop_ref.conformance.submissions.conventions import Declared, Layout
from backprop_ref.conformance.submissions.reading import Unreadable, array, depth, number, returned
from backprop_ref.conformance.submissions.separate import Separate, outline
from backprop_ref.optimizers import describe

RATES = ("learning_rate", "lr", "eta", "alpha", "step_size")
OUR_RATE = 0.5  # a power of two: dividing by it rounds nothing


class Function:
    """A function ``f(network, weights, biases, x, y)`` that returns a loss and gradients.

    Parameters
    ----------
    function : callable or Separate
        A callable is called in this process.
    declared : Declared
    time_limit : float
        Seconds for one call of a callable; a `Separate` has its own.
    """

    kind = "function"

    def __init__(self, function, declared=None, time_limit=TIME_LIMIT):
        self.function, self.declared, self.time_limit = function, declared or Declared(), time_limit
        self.layout = Layout()
        self.learning_rate = self.declared.learning_rate
        self.in_place = self.declared.in_place
        self.names, self.positions = _signature(outline(function).arguments)
        self.rate_name = next((name for name in RATES if name in self.names), None)
        if self.rate_name and self.learning_rate is None:
            self.learning_rate = OUR_RATE

    def restart(self, function):
        """Takes the function afresh, free of what earlier calls may have left in it; what was found out stays."""
        self.function = function

    @property
    def takes_biases(self) -> bool:
        """Whether biases are among its arguments."""
        return self.positions != 4

    def layouts(self, known):
        """Those among the layouts that its signature leaves."""
        return known if self.takes_biases else [layout for layout in known if layout.biases == "none"]

    def answer(self, case: Case, layout: Layout | None = None, twice: bool = True) -> Answer:
        """Asks for one case, twice with copies of the same arguments."""
        try:
            layout = layout or self.layout
            values, slack, changed = self._ask(case, layout)
            again = None
            if twice:
                second, _, _ = self._ask(case, layout)
                again = None if _same(values, second) else second
            values = self._steps(case, layout, values)
            return Answer(values, changed=() if self.in_place else tuple(changed), slack=slack, again=again)
        except NotJudged as reason:
            return Answer(left_out=str(reason))
        except (Refusal, Unreadable) as reason:
            return Answer(problem=str(reason))

    def _ask(self, case, layout):
        keywords = self._keywords(case)
        if not layout.one_sample:
            return self._call(case, layout, keywords, slice(None))
        parts = [self._call(case, layout, _row(keywords, s), slice(s, s + 1)) for s in range(len(case.x))]
        return *_mean(parts, case), parts[0][2]

    def _keywords(self, case):
        keywords: dict[str, Any] = {}
        for name, value, present in (
            ("weight_decay", case.weight_decay, case.weight_decay != 0.0),
            ("da", case.da, case.da is not None),
        ):
            if present and name not in self.names:
                raise NotJudged(f"it takes no keyword {name}")
            if present:
                keywords[name] = value
        if self.rate_name:
            keywords[self.rate_name] = self.learning_rate
        return keywords

    def _arguments(self, case, layout, rows):
        weights, biases = layout.give_weights(case.params.W), layout.give_biases(case.params.b)
        if layout.biases == "none":
            biases = [np.zeros_like(b) for b in case.params.b]
        x, y = layout.give_samples(case.x[rows]), layout.give_samples(case.y[rows])
        return weights, biases, x, y

    def _call(self, case, layout, keywords, rows):
        weights, biases, x, y = self._arguments(case, layout, rows)
        if "da" in keywords:
            keywords = {**keywords, "da": layout.give_samples(keywords["da"])}
        before = self._arguments(case, layout, rows)
        given = (weights, biases, x, y) if self.takes_biases else (weights, x, y)
        result = self._run(case.network, *given, **keywords)
        changed = [
            name
            for name, now, then in zip(("weights", "biases", "x", "y"), (weights, biases, x, y), before, strict=True)
            if not _unchanged(now, then)
        ]
        moved = "weights" in changed or "biases" in changed
        if self.in_place or (moved and (result is None or depth(result) == 0)):
            self.in_place = True
            loss = number(result, "the loss") if depth(result) == 0 else None
            values, slack = self._from_updates(case, before, (weights, biases), layout)
            return layout.take(values._replace(loss=loss)), layout.take(slack), changed
        values = layout.take(returned(result, case.network.sizes))
        if layout.biases == "none":
            values = values._replace(db=None)
        return values, None, changed

    def _from_updates(self, case, before, after, layout):
        """Gradients from ``W' = W − η·dW``, and what the rounding of W' hides of them."""
        rate = 1.0 if self.learning_rate is None else self.learning_rate
        u = float(np.finfo(case.params.dtype).eps) / 2
        moves, slacks = [], []
        for then, now in zip(before[:2], after, strict=True):
            now = [array(part, "an updated weight").astype(np.float64) for part in now]
            then = [part.astype(np.float64) for part in then]
            if [part.shape for part in now] != [part.shape for part in then]:
                raise Refusal("the weights or biases have other shapes after the update")
            moves.append([(old - new) / rate for old, new in zip(then, now, strict=True)])
            slacks.append([hidden(old, new, u) / rate for old, new in zip(then, now, strict=True)])
        no_biases = layout.biases == "none"
        return (Values(dW=dW, db=None if no_biases else db) for dW, db in (moves, slacks))

    def _steps(self, case, layout, values):
        """Adds W and b after the case's three steps, for code that can make them."""
        if "steps" not in self.names or case.da is not None or layout.one_sample:
            return values
        arguments = self._arguments(case, layout, slice(None))
        extra = {"steps": 3, "optimizer": describe(case.optimizer), "batch_size": case.batch_size}
        extra = {name: value for name, value in extra.items() if name in self.names}
        extra |= self._keywords(case)
        made = returned(self._run(case.network, *arguments, **extra), case.network.sizes)
        return values._replace(**dict(zip("Wb", layout.take(Values(W=made.dW, b=made.db))[-2:], strict=True)))

    def _run(self, *arguments, **keywords):
        if isinstance(self.function, Separate):
            return self.function.call(*arguments, **keywords)
        return run(self.function, *arguments, limit=self.time_limit, **keywords)


def hidden(before, after, u):
    """What the rounding of ``after = before − step`` may hide of the step."""
    return u * (abs(before) + 2.0 * abs(after) + 3.0 * abs(before - after))


def _signature(arguments):
    """The names a function takes, and how many of them it needs by position; None if that is unknown."""
    if arguments is None:
        return frozenset(), None
    names, kinds = frozenset(one.name for one in arguments), [one.kind for one in arguments]
    if "VAR_POSITIONAL" in kinds:
        return names, None
    needed = [one for one in arguments if one.needed and one.kind.startswith("POSITIONAL")]
    return names, len([one for one in needed if one.name not in RATES])


def _row(keywords, s):
    return {name: value[s : s + 1] if name == "da" else value for name, value in keywords.items()}


def _mean(parts, case):
    """The mean over samples of their losses and gradients, and the rounding of that mean."""
    n = len(parts)
    values = [part[0] for part in parts]
    losses = [part.loss for part in values if part.loss is not None]
    n = 1 if case.da is not None else n  # gradients for an upstream gradient are sums over the samples
    means: dict[str, Any] = {"loss": sum(losses) / n if losses and len(losses) == len(parts) else None}
    slack: dict[str, Any] = {}
    for name in ("dW", "db"):
        lists = [getattr(part, name) for part in values]
        if any(arrays is None for arrays in lists):
            continue
        if any([a.shape for a in arrays] != [a.shape for a in lists[0]] for arrays in lists):
            raise Refusal(f"{name} has other shapes for other samples")
        stacked = [np.stack(layer).astype(np.float64) for layer in zip(*lists, strict=True)]
        means[name] = [layer.sum(axis=0) / n for layer in stacked]
        eps = float(np.finfo(np.float64).eps)
        slack[name] = [len(parts) * eps * abs(layer).sum(axis=0) / n for layer in stacked]
        hidden = [part[1] for part in parts if part[1] is not None]
        for more in hidden:
            slack[name] = [a + b / n for a, b in zip(slack[name], getattr(more, name), strict=True)]
    return Values(**means), Values(**slack)


def _unchanged(now, then):
    if isinstance(then, list):
        return len(now) == len(then) and all(map(_unchanged, now, then))
    return isinstance(now, np.ndarray) and same_bits(now, then)


def _same(first: Values, second: Values) -> bool:
    """The same bits in everything."""
    one, two = tensors(first), tensors(second)
    return one.keys() == two.keys() and all(same_bits(part, two[key]) for key, part in one.items())
