"""Somebody's function, asked for its gradients case by case; whatever it does, each case gets an answer or a reason."""

import itertools
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np

from backprop_ref.conformance.cases import Case, Values, same_bits, tensors
from backprop_ref.conformance.submissions.adaptive import ADAPTIVE, all_equal
from backprop_ref.conformance.submissions.answer import Answer
from backprop_ref.conformance.submissions.calling import FROM_THE_START, TIME_LIMIT, Late, NotJudged, Refusal, run
from backprop_ref.conformance.submissions.calls import Attempt, after, attempts, one_call, recorded
from backprop_ref.conformance.submissions.conventions import Declared, Factor, Layout
from backprop_ref.conformance.submissions.forms import Form, bindings, forms, layers_of, one_hot, partly_biased
from backprop_ref.conformance.submissions.outline import GATHERED
from backprop_ref.conformance.submissions.reading import Unreadable, array, from_fields, number
from backprop_ref.conformance.submissions.recording import numbers
from backprop_ref.conformance.submissions.separate import Separate, outline
from backprop_ref.conformance.submissions.settings import DECAY, INTERMEDIATE, OUR_RATE, TOLD, role, setting
from backprop_ref.optimizers import SGD, AdamW, describe

NEAR = 0.5
"""What is returned are updated weights, and no gradient, if they differ from the weights by less of their norm."""

ALONG = 0.2
"""They also hold the weights themselves about once: a gradient with weight decay in it holds λ times them."""

NEAR_ONE = 0.1
"""A step with weight decay takes less than this part of a weight away."""

ENOUGH = 3
"""So many answers that are gradients settle that all are: with a penalty, one or another may look like a weight."""

FIRST = (2, 8)
"""So many forms are tried at once at first, since one of them mostly fits."""
TOGETHER = 64
"""So many calls are made at once where it is tried out how to call."""

LATE = "no answer within"
"""How the reason begins where a call takes too long."""
AGAIN = 1.0
"""Once calls had no answer in time, and none had one before, others get so many seconds, or a tenth of the time."""

WRONG_KIND = (
    *("KeyError", "AttributeError", "NameError", "ImportError", "IndexError: only integers", "TypeError: list ind"),
    *("TypeError: tuple ind", "TypeError: string ind", "TypeError: unhashable", "TypeError: 'NoneType'"),
)
"""How reasons begin where a dictionary was due and a list was given, or the like."""


class Function:
    """A function that returns a loss and gradients, or updates weights, such as ``f(network, weights, biases, x, y)``.

    Which argument is which is told by their names and by trying: see `backprop_ref.conformance.submissions.forms`.

    Parameters
    ----------
    function : callable or Separate
        A callable is called in this process.
    declared : Declared
    time_limit : float
        Seconds for one call of a callable; a `Separate` has its own.

    Attributes
    ----------
    takes_network : bool
        Whether it is told activations and loss.
    n_layers : int or None
        The depth it is made for, where its signature says so.
    decay : str
        The name of its argument for the λ of a penalty; empty: it has none.
    in_place : bool
        Whether it updates the weights, in place or in what it returns.
    gives_gradients : bool
        Whether it is known to return gradients, so that what is returned is no longer held against the weights.
    learning_rate : float or None
        Of the update; None: not known.
    """

    kind = "function"

    def __init__(self, function, declared=None, time_limit=TIME_LIMIT):
        self.function, self.declared, self.time_limit = function, declared or Declared(), time_limit
        self.layout = Layout()
        self.learning_rate = self.declared.learning_rate
        self.in_place, self.gives_gradients, self.gradients_seen = self.declared.in_place, False, 0
        found = outline(function)
        self.arguments, self.depth = found.arguments, found.depth
        self.numbers, self.pairs, self.ranges = found.numbers, found.pairs, found.ranges
        self.returns_weights, self.batched, self.missing = found.returns_weights, found.batched, _missing(found)
        self.branches = found.branches
        self.answered = False
        self.late: list[str] = []
        roles = {role(one.name) for one in self.arguments or []}
        self.explicit_biases = bool(roles & {"b", "biases"})
        self.names = frozenset(one.name for one in self.arguments or [])
        self.decay = next((name for name in sorted(self.names) if setting(name) in DECAY), "")
        self.n_layers = layers_of(self.arguments)
        rates = [
            one for one in self.arguments or [] if role(one.name) == "rate" and (one.needed or one.name != "alpha")
        ]
        self.takes_rate = bool(rates)
        if rates and self.learning_rate is None:
            self.learning_rate = OUR_RATE
        self.forms: dict[Layout, Form] = {}
        self.staying: dict[tuple[Form, Layout], bool] = {}
        self.following: dict[tuple[Form, Layout], bool] = {}
        self.unfit: set[tuple[Form, int, bool, str, bool]] = set()
        self.failed: dict[tuple[Layout, tuple[int, ...], bool], Exception] = {}
        self.factors: dict[str, Factor] = {}
        """By loss, that of its gradients beside ours, which its steps are asked for with."""
        self.numeric: set[Form] = set()
        """Forms in which it takes labels for numbers, however its answer is read."""

    def restart(self, function):
        """Takes the function afresh, free of what earlier calls may have left in it; what was found out stays."""
        self.function = function

    def settle(self):
        """Takes it for granted from now on that it returns gradients, or updates weights, as it did last."""
        self.gives_gradients = not self.in_place

    @property
    def takes_network(self) -> bool:
        """Whether it is told activations and loss: by its arguments' names; if they say nothing, by what it got."""
        if self.arguments and not any("network" in roles for roles, _ in bindings(self.arguments, 2)):
            return any(setting(name) in TOLD and role(name) != "network" for name in self.names)
        if any(map(role, self.names)) or not self.forms:
            return any(role(name) == "network" or setting(name) in TOLD for name in self.names)
        return any("network" in form.roles for form in self.forms.values())

    @property
    def takes_biases(self) -> bool:
        """Whether it may have biases, in arguments of their own or beside the weights."""
        roles = [role(one.name) for one in self.arguments or []]
        return "W" not in roles or "b" in roles or "biases" in roles

    def sizes(self) -> list[tuple[int, ...]] | None:
        """A function takes whatever weights it is given."""
        return None

    def layouts(self, known):
        """Those among the layouts that its signature leaves."""
        if self.takes_biases:
            return known
        return [layout for layout in known if layout.biases in {"none", "flat"}]

    def answer(self, case: Case, layout: Layout | None = None, twice: bool = True) -> Answer:
        """Asks for one case, twice with copies of the same arguments."""
        if self.missing:
            return Answer(problem=self.missing)
        try:
            layout = layout or self.layout
            form = self._form(case, layout)
            values, slack, changed = self._ask(form, case, layout)
            if self.missing:
                return Answer(problem=self.missing)
            again = None
            if twice:
                second, _, _ = self._ask(form, case, layout)
                again = None if same_answers(values, second) else second
            values = self._steps(form, case, layout, values)
            return Answer(values, changed=() if self.in_place else tuple(changed), slack=slack, again=again)
        except NotJudged as reason:
            return Answer(left_out=str(reason))
        except (Refusal, Unreadable) as reason:
            return Answer(problem=str(reason))

    def _form(self, case, layout) -> Form:
        """The form that fits in a layout: found by trying, once."""
        found = self.forms.get(layout)
        if found is not None and (not found.biased or len(found.biased) == case.network.n_layers):
            return found
        handed = [one.name for one in self.arguments or [] if one.needed and one.name.lower() in INTERMEDIATE]
        if handed:
            raise Refusal(
                f"its argument '{handed[0]}' comes from a forward pass; pass a function of weights, biases, x and y "
                "that makes the forward pass and then calls this one"
            )
        question = (layout, tuple(case.network.sizes), one_hot(case.y))
        if question in self.failed:
            raise self.failed[question]
        ran: list[tuple[float, Form | None]] = []
        failures: list[tuple[int, Exception]] = []
        said: dict[Form, str] = {}
        for form, tried in self._readings(case, layout):
            try:
                if tried.failure and not tried.failure.startswith("NotImplementedError"):
                    raise Refusal(tried.failure)
                values, _, _ = self._ask(form, case, layout)
            except (Late, NotJudged):
                raise
            except (Refusal, Unreadable) as reason:
                failures.append((tried.lines, reason))
                said[form] = tried.failure
                if str(reason).startswith(WRONG_KIND) and not self.takes_network:
                    self.unfit.add(self._kind(form, case, layout))  # whatever the shapes of weights and biases
                continue
            if self._takes_numbers(form, case, layout):
                failures.append((tried.lines, Refusal("it takes labels for numbers, and not for indices of classes")))
                continue
            several = form.ambiguous or len(tried.reply.get("readings", ())) > 1
            fit = float(_fits(values, case))
            fit += self.consistency(form, case, layout) if fit and several else 0
            if fit > (case.network.n_layers if several else 0) and not _odd(values, case):
                self.forms[layout] = form = self._without_unused(form, values, case, layout)
                return form
            ran.append((fit - 0.5 * _odd(values, case), form))
        fit, form = max(ran, key=lambda one: one[0]) if ran else (1, self._partly_biased(said, case, layout))
        if form is None:
            self._give_up(failures, case, layout)
        if fit:
            self.forms[layout] = form
        return form

    def _without_unused(self, form, values, case, layout) -> Form:
        """The form without the biases that have no gradient, if the code does without them; else as it is."""
        used = tuple(part is not None and bool(np.any(part)) for part in values.db or ())
        if len(set(used)) < 2:
            return form
        return self._first_fitting(partly_biased(form, len(used), used), case, layout) or form

    def _partly_biased(self, said, case, layout) -> Form | None:
        """The first form with biases in some layers only that fits; None too where all failed for another reason, as
        where it is the same without any.

        Parameters
        ----------
        said : dict of Form to str
            How each form with all biases failed.
        """
        if said and all(failure.startswith(WRONG_KIND) for failure in said.values()):
            return None
        n = case.network.n_layers
        plain = [one for one in forms(self.arguments, case, layout) if self._kind(one, case, layout) not in self.unfit]
        bare = [form._replace(biased=(False,) * n) for form in plain if partly_biased(form, n)]
        tried = self.attempts([(form, case, layout) for form in bare])
        alike = {
            form._replace(biased=())
            for form, one in zip(bare, tried, strict=True)
            if one.failure and one.failure == said.get(form._replace(biased=()))
        }
        some = [
            one
            for form in plain
            for one in partly_biased(form, n)
            if (one.short or form not in alike) and self._kind(one, case, layout) not in self.unfit
        ]
        return self._first_fitting(some, case, layout, said)

    def _first_fitting(self, among, case, layout, said=None) -> Form | None:
        tried = self.attempts([(form, case, layout) for form in among])
        for form, one in zip(among, tried, strict=True) if said and not self.takes_network else ():
            if "values to unpack" in one.failure and one.failure != said.get(form._replace(biased=(), short=False)):
                self.unfit.add(self._kind(form, case, layout))  # a list of biases of that length, whatever the sizes
        fitting = (form for form, one in zip(among, tried, strict=True) if not one.failure)
        return next((form for form in fitting if not self._takes_numbers(form, case, layout)), None)

    def _readings(self, case, layout):
        """Forms not known to be unfit, each for every order in which its answer may be read, with an `Attempt`."""
        every = forms(self.arguments, case, layout)
        among = [form for form in every if self._kind(form, case, layout) not in self.unfit]
        for start, end in itertools.pairwise((0, *FIRST, len(among))):
            part = among[start:end]
            for form, tried in zip(part, self.attempts([(form, case, layout) for form in part]), strict=True):
                for reading, _ in tried.reply.get("readings", [(0, None)]):
                    yield form._replace(reading=reading), tried

    @staticmethod
    def _kind(form, case, layout):
        return form, case.network.n_layers, layout.one_sample, layout.samples, layout.biases == "none"

    def attempts(self, ways: list[tuple[Form, Case, Layout]]) -> list[Attempt]:
        """How far the function gets with each form in a layout for a case, of which it gets all samples or the first.

        An answer in other shapes than those due is a failure, too.
        """
        calls = []
        for form, case, layout in ways:
            given, keywords = form.give(case, layout, _samples_of(layout), self.learning_rate)
            calls.append((given, keywords, form.shapes(case, layout)))
        return [self._fitting(one, *way) for one, way in zip(self._attempts(calls), ways, strict=True)]

    def losses(self, cases: list[Case], layout: Layout) -> list[float | None]:
        """The losses for cases that differ in their weights alone, all asked for at once; None where there is none."""
        form = self._form(cases[0], layout)
        rows = [slice(s, s + 1) for s in range(len(cases[0].x))] if layout.one_sample else [slice(None)]
        calls = []
        for case in cases:
            for row in rows:
                given, keywords = form.give(case, layout, row, self.learning_rate)
                calls.append((given, keywords, form.shapes(case, layout)))
        found = [self._loss_of(one, cases[0], form) for one in self._attempts(calls, traced=False)]
        parts = [found[start : start + len(rows)] for start in range(0, len(found), len(rows))]
        return [None if None in part else sum(part) / len(rows) for part in parts]

    @staticmethod
    def _loss_of(attempt, case, form):
        if attempt.failure:
            return None
        result = _result(attempt.reply, form.reading)
        loss = result.loss if isinstance(result, Values) else result
        return None if loss is None else float(loss)

    def recorded(self, case: Case) -> dict[str, tuple[float, float]]:
        """The numbers that a call keeps or prints, each with how much rounding hides of it; none where it fails."""
        layout = self.layout
        if layout.one_sample and len(case.x) > 1:
            return {}
        try:
            form = self._form(case, layout)
            given, keywords = form.give(case, layout, _samples_of(layout), self.learning_rate)
            shapes = form.shapes(case, layout)
            if isinstance(self.function, Separate):
                reply = self.function.recorded(given, keywords, shapes)
            else:
                reply = run(recorded, self.function, given, keywords, shapes, limit=self.time_limit)
            return numbers(reply.get("recorded"))
        except (NotJudged, Refusal, Unreadable):
            return {}

    def _attempts(self, calls, traced=True):
        if len(calls) > TOGETHER:
            parts = (calls[start : start + TOGETHER] for start in range(0, len(calls), TOGETHER))
            return [one for part in parts for one in self._attempts(part, traced)]
        if len(self.late) >= FROM_THE_START and not self.answered:
            return [Attempt(failure=self.late[0])] * len(calls)
        separate = isinstance(self.function, Separate)
        limit = self.function.time_limit if separate else self.time_limit
        if self.late and not self.answered:
            limit = min(limit, max(AGAIN, limit / 10.0))
        try:
            if separate:
                reply = self.function.attempts(calls, traced, limit)
            else:
                reply = run(attempts, self.function, calls, traced, limit / 2.0, limit=limit)
            found = [Attempt(*one) for one in reply["attempts"]]
        except (Refusal, Unreadable) as reason:
            said = str(reason)
            if said.startswith(LATE) and not self.answered:
                self.late.append(said)
                said = self.late[0]
            if len(calls) < 2 or isinstance(reason, Late):
                return [Attempt(failure=said)] * len(calls)
            return [self._attempts([call], traced)[0] for call in calls]  # one of them ended them all
        self.answered |= not all(one.failure for one in found)
        left = calls[len(found) :] if found else []
        return found + (self._attempts(left, traced) if left else [])

    def _fitting(self, attempt, form, case, layout):
        """The attempt, with a failure if its answer does not fit the network."""
        if attempt.failure:
            return attempt
        in_place = self.in_place
        try:
            first, named = form.give(case, layout, _samples_of(layout), self.learning_rate)
            values, _, _ = self._read(attempt.reply, form, case, layout, [*first, *named.values()])
        except (Refusal, Unreadable, NotJudged, ValueError) as reason:
            return attempt._replace(failure=str(reason))
        finally:
            self.in_place = in_place
        if _fits(values, case):
            return attempt
        shapes = [part.shape for part in (*(values.dW or ()), *(values.db or ())) if part is not None]
        return attempt._replace(failure="its gradients have other shapes than its weights", shapes=shapes)

    def _give_up(self, failures, case, layout) -> NoReturn:
        """Raises the failure that came last in its code, or says why nothing was tried; final if for any network."""
        names = ", ".join(one.name for one in self.arguments or []) or "(none)"
        remedy = "call them weights, biases, x and y, or W1, b1, W2, b2, x and y"
        failure = Refusal(f"its arguments {names} cannot be told apart in {case.network.n_layers} layers; {remedy}")
        roles = {role(one.name) for one in self.arguments or []}
        if {"x", "y"} <= roles and not roles & {*GATHERED, "W", "b", "network"} and not failures:
            failure = Refusal(
                "it takes no weights: its own are made in it, or are of its module; have it take them, such as "
                "(weights, biases, x, y) or (W1, b1, W2, b2, x, y), or verify the file without a name"
            )
        elif self.unfit:
            failure = Refusal(f"in none of {len(self.unfit)} forms could it be called with its {names}; {remedy}")
        if failures:
            others = f"; {len(failures) - 1} other ways to call it failed too" if len(failures) > 1 else ""
            _, furthest = max(failures, key=lambda one: one[0])
            failure = type(furthest)(f"{furthest}{others}")
        if not self.takes_network:
            self.failed[layout, tuple(case.network.sizes), one_hot(case.y)] = failure
        raise failure

    def _takes_numbers(self, form, case, layout) -> bool:
        """Whether indices of classes are given for numbers: from one class to the next, one output's weights move one
        way and another's the other way, if they are taken for classes."""
        if form.labels != "indices":
            return False
        if form._replace(reading=0) in self.numeric:
            return True
        try:
            dW = [
                self._call(form, replace(case, x=case.x[:1], y=y[None]), layout, {}, slice(0, 1))[0].dW[-1]
                for y in np.eye(case.y.shape[1])[:3]
            ]
        except (NotJudged, Refusal, Unreadable, TypeError):
            return False
        moves = [two - one for one, two in itertools.pairwise(dW)]
        numbers = not any(np.any((moved > 0.0).any(axis=1) & (moved < 0.0).any(axis=1)) for moved in moves)
        if numbers and len(set(case.network.sizes)) == len(case.network.sizes):  # else one W may be read for another
            self.numeric.add(form._replace(reading=0))
        return numbers

    def consistency(self, form, case, layout) -> int:
        """In how many layers what another label changes in dW of a sample is an outer product with what it changes in
        db: else weights and biases stand elsewhere, or W otherwise."""

        def answer(y):
            try:
                case_of_one = replace(case, x=case.x[:1], y=y)
                return self._call(form, case_of_one, layout, self._keywords(case), slice(0, 1))[0]
            except (NotJudged, Refusal, Unreadable):
                return None

        one, two = two_answers(answer, case.y)
        return 0 if one is None or two is None else outer_layers(case.x[0], one, two)

    def _ask(self, form, case, layout):
        keywords = self._keywords(case)
        if not layout.one_sample:
            return self._call(form, case, layout, keywords, slice(None))
        rows = [slice(s, s + 1) for s in range(len(case.x))]
        if self.in_place or keywords:
            parts = [self._call(form, case, layout, _row(keywords, s), row) for s, row in enumerate(rows)]
            return *mean(parts, case), parts[0][2]
        given = [form.give(case, layout, row, self.learning_rate) for row in rows]
        calls = [(*one, form.shapes(case, layout)) for one in given]
        parts = []
        for one, row in zip(self._attempts(calls, traced=False), rows, strict=True):
            if one.failure:
                return self._call(form, case, layout, {}, row)  # which raises as the function does
            first, named = form.give(case, layout, row, self.learning_rate)
            parts.append(self._read(one.reply, form, case, layout, [*first, *named.values()]))
        return *mean(parts, case), parts[0][2]

    def _keywords(self, case):
        keywords: dict[str, Any] = {}
        if case.weight_decay != 0.0 and not self.decay:
            raise NotJudged("it takes no keyword weight_decay")
        if case.weight_decay != 0.0 and self.decay == "weight_decay":
            keywords["weight_decay"] = case.weight_decay  # another name is given with every call
        if case.da is not None:
            if "da" not in self.names:
                raise NotJudged("it takes no keyword da")
            keywords["da"] = case.da
        return keywords

    def _call(self, form, case, layout, extra, rows):
        first, named = form.give(case, layout, rows, self.learning_rate)
        before = [*first, *named.values()]
        given, keywords = form.give(case, layout, rows, self.learning_rate)
        if "da" in extra:
            extra = {**extra, "da": layout.give_samples(extra["da"])}
        reply = self._run(given, {**keywords, **extra}, form.shapes(case, layout))
        return self._read(reply, form, case, layout, before)

    def _read(self, reply, form, case, layout, before):
        """Values in our layout from a reply, what rounding hides of them, and the names of arguments that changed."""
        result, arguments = _result(reply, form.reading), reply.get("arguments", [])
        changed = [
            {"params": "weights"}.get(one, one)
            for one, now, then in zip(form.roles, arguments, before, strict=False)
            if one != "network" and one[0] != "=" and not _unchanged(now, after(then))
        ]
        moved = any(one[0] in "Wwb" for one in changed)
        bare = result is None or not isinstance(result, Values)
        if bare and (self.in_place or moved):
            self.in_place = True
            loss = None if result is None else result
            return *self._from_updates(form, case, layout, form.after(arguments, case, layout), loss), changed
        values = Values(loss=result) if bare else result
        if result is None:
            raise Unreadable("it returned None, and neither a loss nor gradients, and changed no weights")
        updated = self.returns_weights or not self.gives_gradients
        if values.dW is not None and updated and self._updated(form, case, layout, values):
            self.in_place = True
            return *self._from_updates(form, case, layout, (values.dW, values.db or []), values.loss), changed
        if self.declared.in_place and moved:
            return *self._from_updates(form, case, layout, form.after(arguments, case, layout), values.loss), changed
        try:
            return form.take(values, case, layout), None, changed
        except ValueError as error:
            raise Unreadable(f"its gradients have other shapes than its weights: {error}") from None

    def _updated(self, form, case, layout, values) -> bool:
        """Whether what it returned are the weights after a step: by their values, near to those before it."""
        before, _ = form.weights(case, layout)
        if [w.shape for w in before] != [w.shape for w in values.dW]:
            return False
        if self.returns_weights or (self.in_place and self.staying.get((form, layout))):
            return True  # seen before, and a large gradient moves them far
        moves = [now.astype(np.float64) - then for now, then in zip(values.dW, before, strict=True)]
        distance, size = (
            np.sqrt(sum(float((part.astype(np.float64) ** 2).sum()) for part in parts)) for parts in (moves, before)
        )
        along = sum(float((now * then).sum()) for now, then in zip(values.dW, before, strict=True)) / (
            size * size or 1.0
        )
        near = bool(distance < NEAR * size) and abs(along - 1.0) < ALONG
        updated = (near or self._follows_its_rate(form, case, layout)) and self._stays(form, case, layout)
        self.gradients_seen += not updated
        self.gives_gradients = not self.in_place and self.gradients_seen >= ENOUGH
        return updated

    def _first_of(self, form, case, layout, rate):
        """What it returns in the place of the first W."""
        given, keywords = form.give(case, layout, _samples_of(layout), rate)
        result = _result(self._run(given, keywords, form.shapes(case, layout)), form.reading)
        return np.asarray(result.dW[0], dtype=float)

    def _follows_its_rate(self, form, case, layout) -> bool:
        """Whether the first W moves half as far for half the rate, however far that is."""
        if not self.takes_rate or self.learning_rate is None:
            return False
        key = form, layout
        if key not in self.following:
            before = np.asarray(form.weights(case, layout)[0][0], dtype=float)
            rates = self.learning_rate, self.learning_rate / 2
            try:
                whole, half = (self._first_of(form, case, layout, rate) - before for rate in rates)
                largest = max(np.abs(before).max(), np.abs(whole).max())
                self.following[key] = bool(np.abs(whole - 2 * half).max() <= 1e-5 * largest)
            except (Refusal, Unreadable, NotJudged, AttributeError, TypeError, ValueError):
                self.following[key] = False
        return self.following[key]

    def _stays(self, form, case, layout) -> bool:
        """Whether the first W comes back as it was for inputs of 0, which give it no gradient: a penalty's is λ·W."""
        if (form, layout) not in self.staying:
            zero = replace(case, x=0.0 * case.x)
            before = np.asarray(form.weights(zero, layout)[0][0], dtype=float)
            try:
                now = self._first_of(form, zero, layout, self.learning_rate)
                c = float((now * before).sum() / (before * before).sum())
                alone = np.abs(now - c * before).max() <= 1e-5 * np.abs(before).max()
            except (Refusal, Unreadable, NotJudged, AttributeError, TypeError, ValueError):
                alone, c = False, 1.0
            self.staying[form, layout] = not alone or abs(c - 1.0) < NEAR_ONE
        return self.staying[form, layout]

    def _from_updates(self, form, case, layout, now, loss):
        """Gradients from ``W' = W − η·dW``, and what the rounding of W' hides of them."""
        rate = 1.0 if self.learning_rate is None else self.learning_rate
        u = float(np.finfo(case.params.dtype).eps) / 2
        moves, slacks = [], []
        for then, there in zip(form.weights(case, layout), now, strict=True):
            there = [None if part is None else array(part, "an updated weight").astype(np.float64) for part in there]
            then = [part.astype(np.float64) for part in then]
            if len(there) > len(then):
                there = [part for part in there if part is not None]
            if len(there) != len(then):
                raise Refusal("there are more or fewer weights or biases after the update")
            there = [  # a column may have become a row
                new.reshape(old.shape) if new is not None and new.size == old.size and new.ndim != old.ndim else new
                for new, old in zip(there, then, strict=True)
            ]
            if any(new is not None and new.shape != old.shape for new, old in zip(there, then, strict=True)):
                raise Refusal("the weights or biases have other shapes after the update")
            pairs = list(zip(then, there, strict=True))
            moves.append([None if new is None else (old - new) / rate for old, new in pairs])
            slacks.append([None if new is None else hidden(old, new, u) / rate for old, new in pairs])
        if all_equal([part for part in moves[0] if part is not None]):
            self.missing = ADAPTIVE  # later steps, which remember earlier ones, do not show it
            raise Refusal(ADAPTIVE)
        found, slack = (form.take(Values(dW=dW, db=db or None), case, layout) for dW, db in (moves, slacks))
        return found._replace(loss=loss), slack

    def _steps(self, form, case, layout, values):
        """Adds W and b after the case's three steps, where they are expected, for code that can make them."""
        if "steps" not in self.names or case.expected is None or case.da is not None or layout.one_sample:
            return values
        factor = self.factors.get(case.network.loss, Factor())
        if factor.batch and case.batch_size < len(case.x):  # then each step has a size of its own
            return values
        given, keywords = form.give(case, layout, slice(None), self.learning_rate)
        optimizer = describe(_for_scaled(case.optimizer, factor.of(case)))
        extra = {"steps": 3, "optimizer": optimizer, "batch_size": case.batch_size}
        extra = {name: value for name, value in extra.items() if name in self.names}
        made = _result(self._run(given, {**keywords, **extra, **self._keywords(case)}, form.shapes(case, layout)))
        if not isinstance(made, Values):
            raise Unreadable("it returned no weights after its steps; return (W, b), two lists")
        return values._replace(**dict(zip("Wb", layout.take(Values(W=made.dW, b=made.db))[-2:], strict=True)))

    def _run(self, arguments, keywords, shapes):
        """What `calls.one_call` gives."""
        if isinstance(self.function, Separate):
            return self.function.call(arguments, keywords, shapes)
        return run(one_call, self.function, arguments, keywords, shapes, limit=self.time_limit)


def _missing(outline) -> str:
    """Why a function cannot be given data that it reads from its module; empty if it takes some, or reads none."""
    takes = [role(one.name) if one.kind.endswith("KEYWORD") else "" for one in outline.arguments or []]
    weights = {"W", "b", "network", *GATHERED}
    data = [one for one in outline.reads if role(one[0]) in {"x", "y"}]
    if outline.arguments is None or not data or not {*takes} <= {*weights, "rate"}:
        return ""
    own = [] if weights & {*takes} else [one for one in outline.reads if role(one[0]) in weights]
    every = [name for name, _ in (*own, *data)]
    names = " and ".join(filter(None, (", ".join(every[:-1]), every[-1])))
    what = "weights, x and y" if not weights & {*takes} else "x and y"
    line = min(line for _, line in (*own, *data))
    remedy = "give them as arguments" + (" and return the gradients or the new weights" if own else "")
    return f"it takes no {what}; it reads {names} of its module (line {line}): {remedy}"


def _result(reply, reading=0):
    """None, a number or `Values`."""
    readings = dict(reply["readings"])
    result = readings.get(reading, next(iter(readings.values())))
    if isinstance(result, dict):
        return from_fields(result)
    return None if result is None else number(result, "the loss")


def _for_scaled(optimizer, c):
    """The optimizer whose steps with gradients that are c times as large are the same."""
    changes = {} if isinstance(optimizer, AdamW) else {"weight_decay": optimizer.weight_decay * c}
    if isinstance(optimizer, SGD):
        changes["learning_rate"] = optimizer.learning_rate / c
    else:
        changes["epsilon"] = optimizer.epsilon * c
    return optimizer if c == 1.0 else replace(optimizer, **changes)


def _samples_of(layout):
    """All samples, or the first for code that takes one at a time."""
    return slice(0, 1) if layout.one_sample else slice(None)


def _fits(values, case) -> bool:
    """Whether gradients came out, those of the weights in the shapes due, and as many of biases as there are."""
    if values.dW is None or [w.shape for w in values.dW] != [w.shape for w in case.params.W]:
        return False
    return values.db is None or len(values.db) == len(case.params.b)


def _odd(values, case) -> bool:
    """Whether some db has another shape than b."""
    return any(db is not None and db.shape != b.shape for db, b in zip(values.db or (), case.params.b, strict=False))


def is_outer(x, db, dW) -> bool:
    """Whether dW of one sample is x times db, but for much more than rounding; None stands for any vector.

    Inputs and neurons that are left out say nothing, if two are not.
    """
    if not np.all(np.isfinite(dW)):
        return False
    some = np.any(dW, axis=1)
    if some.sum() > 1:
        x, dW = None if x is None else x[some], dW[some]
    some = np.any(dW, axis=0)
    if some.sum() > 1:
        db, dW = None if db is None else db[some], dW[:, some]
    if x is None and db is None:
        strengths = np.linalg.svd(dW, compute_uv=False)
        return bool(strengths[1:].max(initial=0.0) <= 1e-3 * strengths[0])
    left = dW @ db / (db @ db or 1.0) if x is None else x
    right = np.outer(left, left @ dW / (left @ left or 1.0) if db is None else db)
    return bool(abs(dW - right).max() <= 1e-3 * abs(right).max())


def two_answers(answer, y) -> tuple[Values | None, Values | None]:
    """What `answer` gives for the first label of y, and for the first other one that changes its dW in every layer.

    Far ones are tried as well: the sign of an error, or a margin, changes with no other, nor does a sum over outputs.
    """
    one, two = answer(y[:1]), None
    near = next((row for row in y if not np.array_equal(row, y[0])), 1.0 - y[0])
    for label in (near, 10.0 * (1.0 + y[0]), -10.0 * (1.0 + y[0])):
        found = answer(label[None]) if one is not None else None
        two = two if found is None else found
        if found is None or found.dW is None or one.dW is None or not any(map(_alike, one.dW, found.dW)):
            break
    return one, two


def _alike(one, two):
    return abs(one - two).max() <= 1e-9 * abs(one).max()


def outer_layers(x, one: Values, two: Values) -> int:
    """In how many layers the difference of two gradients for one x is an outer product; what is added, whatever the
    label, as a penalty adds it, makes none."""
    if one.dW is None or two.dW is None:
        return 0
    none = [None] * len(one.dW)
    db = [None if a is None or b is None else b - a for a, b in zip(one.db or none, two.db or none, strict=True)]
    dW = [b - a for a, b in zip(one.dW, two.dW, strict=True)]
    return sum(is_outer(None if layer else x, *pair) for layer, pair in enumerate(zip(db, dW, strict=True)))


def hidden(before, after, u):
    """What the rounding of ``after = before − step`` may hide of the step."""
    return u * (abs(before) + 2.0 * abs(after) + 3.0 * abs(before - after))


def _row(keywords, s):
    return {name: value[s : s + 1] if name == "da" else value for name, value in keywords.items()}


def mean(parts, case):
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
        if any([np.shape(a) for a in arrays] != [np.shape(a) for a in lists[0]] for arrays in lists):
            raise Refusal(f"{name} has other shapes for other samples")
        layers = [None if part[0] is None else np.stack(part).astype(np.float64) for part in zip(*lists, strict=True)]
        means[name] = [None if layer is None else layer.sum(axis=0) / n for layer in layers]
        unit = len(parts) * float(np.finfo(np.float64).eps) / n
        slack[name] = [None if layer is None else unit * abs(layer).sum(axis=0) for layer in layers]
        for _, more, *_ in parts:
            if more is not None:
                pairs = zip(slack[name], getattr(more, name), strict=True)
                slack[name] = [None if a is None else a + b / n for a, b in pairs]
    return Values(**means), Values(**slack)


def _unchanged(now, then):
    if isinstance(then, dict):
        return isinstance(now, dict) and all(name in now and _unchanged(now[name], part) for name, part in then.items())
    if isinstance(then, list):
        return isinstance(now, list) and len(now) == len(then) and all(map(_unchanged, now, then))
    return now is None if then is None else isinstance(now, np.ndarray) and same_bits(now, then)


def same_answers(first: Values, second: Values) -> bool:
    """The same bits in everything."""
    one, two = tensors(first), tensors(second)
    return one.keys() == two.keys() and all(same_bits(part, two[key]) for key, part in one.items())
