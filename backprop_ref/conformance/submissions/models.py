"""Classes with weights as attributes: their gradient from before and after one step, or as they return or keep it."""

import itertools
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from backprop_ref.conformance.cases import Case, Values
from backprop_ref.conformance.submissions.adaptive import ADAPTIVE
from backprop_ref.conformance.submissions.answer import Answer
from backprop_ref.conformance.submissions.calling import TIME_LIMIT, Late, NotJudged, Refusal, run
from backprop_ref.conformance.submissions.conventions import Declared, Layout
from backprop_ref.conformance.submissions.forms import one_hot, pairs
from backprop_ref.conformance.submissions.functions import hidden, is_outer, mean
from backprop_ref.conformance.submissions.reading import Unreadable
from backprop_ref.conformance.submissions.recording import numbers
from backprop_ref.conformance.submissions.separate import Separate, outline
from backprop_ref.conformance.submissions.settings import (
    INIT_RATE,
    ONE_HIDDEN,
    OUR_RATE,
    RATES,
    SIZES,
    TOLD,
    hidden_layers,
    known,
    role,
    setting,
)
from backprop_ref.conformance.submissions.steps import Step, checked, one_step, own_sizes
from backprop_ref.conformance.submissions.steps.plans import Plan, as_document, plans
from backprop_ref.errors import InvalidInput
from backprop_ref.network import Network
from backprop_ref.parameters import Parameters


class Way(NamedTuple):
    """How a class is asked."""

    folded: str
    """``first`` or ``last``: biases are that row of W."""
    labels: str
    """As in `forms.Form`."""
    plan: Plan


class Model:
    """A class such as ``Net(sizes, learning_rate)`` with ``fit(x, y)``, or with ``forward`` and ``backward``.

    Which methods make a step is found out by trying: see `backprop_ref.conformance.submissions.steps.plans`.

    Parameters
    ----------
    made : callable or Separate
        The class.
    declared : Declared
        Its learning rate has to be declared unless the class or its step takes one.
    time_limit : float
        Seconds for one step, if the class is in this process; a `Separate` has its own.

    Attributes
    ----------
    takes_biases : bool
        Whether biases were found in it, once it has been asked for a case.
    takes_network : bool
        Whether its constructor is told activations or the loss, or a torch module is followed by it.
    n_layers : int or None
        The depth it is made for, where its constructor says so.
    in_place : bool
        Whether the gradient is the difference of weights; False: it is returned, or kept in attributes.
    learning_rate : float or None
        Of its step; None: not known.
    """

    kind = "class"

    def __init__(self, made, declared=None, time_limit=TIME_LIMIT):
        self.function, self.declared, self.time_limit = made, declared or Declared(), time_limit
        self.learning_rate, self.in_place = self.declared.learning_rate, True
        found = outline(made)
        self.numbers, self.depth, self.explicit_biases = found.numbers, found.depth, False
        self.name, self.arguments = found.name, found.arguments or []
        self.takes = [one for one in self.arguments if not one.kind.startswith("VAR")]
        roles = [role(one.name) for one in self.takes if one.needed]
        self.takes_data = {"x", "y"} <= set(roles)
        self.plans = list(plans(found.methods, self.takes_data))
        if not self.plans:
            raise InvalidInput(
                f"class {self.name} has none of the methods fit(x, y), train_step(x, y), forward(x) with backward(…), "
                f"backprop(x, y) or the like; pass a function f(network, weights, biases, x, y) that returns "
                "(loss, dW, db)"
            )
        self.takes_network = any(setting(one.name) in TOLD for one in self.takes) or self.plans[0].autograd
        hidden = hidden_layers([one.name for one in self.takes])
        self.n_layers = None if hidden is None else hidden + 1
        self.layout, self.takes_biases = Layout(), True
        self.transposed = False  # in square networks, the layout of W is that seen in others
        self.alpha_is_rate, self.remakes, self.adaptive = False, False, False
        self.found: dict[Layout, Way] = {}

    def restart(self, made):
        """Takes the class afresh; what was found out stays."""
        self.function = made

    def layouts(self, known):
        """The model's own attributes tell the layout of the weights; that of samples is tried."""
        return [layout for layout in known if (layout.weights, layout.biases) == ("in-out", "flat")]

    def sizes(self) -> list[tuple[int, ...]] | None:
        """The sizes that the class is fixed to, where it makes its weights without being told any."""
        asked = (3, 5, 4, 2, 6, 7)[: (self.n_layers or 2) + 1]
        network = Network(asked, ["sigmoid"] * (len(asked) - 1), "sse")
        rng = np.random.default_rng(0)
        x, y = rng.random((8, asked[0])), rng.random((8, asked[-1]))
        case = Case("sizes", network, network.init(), x, y)
        made: list[tuple[int, ...]] = []
        for layout in (Layout(), Layout(samples="columns")) if self.takes_data else (Layout(),):
            try:
                settings = self._settings(case, layout.give_samples(x), layout.give_samples(y))
                if isinstance(self.function, Separate):
                    reply = self.function.sizes(settings=settings, asked=asked)
                else:
                    reply = run(own_sizes, self.function, settings=settings, asked=asked, limit=self.time_limit)
            except (NotJudged, Refusal, Unreadable):
                continue
            found = tuple(int(size) for size in reply.get("sizes") or ())
            if not self.takes_data or found[:1] in {(), asked[:1]}:  # in the other layout, samples are taken for inputs
                return None if len(found) < 2 else [found]
            made += [found] if len(found) > 1 else []
        return made[:1] if len(set(made)) == 1 else None  # whatever it is given

    def answer(self, case: Case, layout: Layout | None = None, twice: bool = False) -> Answer:
        """Makes the model, sets its weights, lets it make one step, and looks at its weights."""
        layout = layout or self.layout
        try:
            if case.da is not None or case.weight_decay:
                raise NotJudged("a class is asked for plain gradients only")
            values, slack = self._ask(self._way(case, layout), case, layout)
            return Answer(values, slack=slack)
        except NotJudged as reason:
            return Answer(left_out=str(reason))
        except (Refusal, Unreadable) as reason:
            return Answer(problem=str(reason))

    def _way(self, case, layout) -> Way:
        """The first way that makes a step or a gradient: found by trying, once for each layout."""
        if layout in self.found:
            return self.found[layout]
        try:
            return self._try(case, layout)
        except (Refusal, Unreadable) as reason:
            others = self._names() & {*RATES, INIT_RATE} - {"alpha"}
            if isinstance(reason, Late) or self.alpha_is_rate or "alpha" not in self._names() or others:
                raise
            self.alpha_is_rate = True  # and no strength of a penalty, where nothing moves without it
            return self._try(case, layout)

    def _try(self, case, layout) -> Way:
        failure: Exception | None = None
        tried = 0
        labels = ["", *(["indices"] if one_hot(case.y) else ["vector"] if case.y.shape[1] == 1 else [])]
        for way in itertools.starmap(Way, itertools.product(("", "last", "first"), labels, self.plans)):
            tried += 1
            try:
                self._ask(way, case, layout)
                if way.folded and not self._consistent(way, case, layout):
                    continue
                self._give_first_weights(way, case, layout)
            except Late:
                raise
            except (Refusal, Unreadable, NotJudged) as reason:
                failure = failure or reason
                continue
            self.found[layout] = way
            return way
        assert failure is not None
        raise (
            failure
            if tried == 1 or isinstance(failure, NotJudged)
            else type(failure)(f"{failure}; {tried - 1} other ways to call it failed too")
        )

    def _give_first_weights(self, way, case, layout):
        """Has ours taken for the weights that it makes anew in each step; a `Refusal` where that cannot be done."""
        row = replace(case, x=case.x[:1], y=case.y[:1]) if layout.one_sample else case
        for _ in range(2):
            if way.plan.autograd or way.plan.boxes or not self._made_anew(way, row, layout):
                return
            self.remakes = not self.remakes
        raise Refusal("it makes its first weights as it trains, whatever they were; make them in __init__ instead")

    def _made_anew(self, way, case, layout) -> bool:
        """Whether weights are the same after a step, whatever they were before it."""
        other = replace(case, params=Parameters(0.5 * case.params.flat, case.params.sizes))
        one, two = (self._step(way, some, layout, seeded=True).W for some in (case, other))
        return one is not None and two is not None and all(map(np.array_equal, one, two))

    def _consistent(self, way, case, layout) -> bool:
        """Whether for one sample dW[0] is x times db[0], so that biases are that row of W."""
        values, _ = self._ask(way, replace(case, x=case.x[:1], y=case.y[:1]), layout)
        return values.db is not None and is_outer(case.x[0], values.db[0], values.dW[0])

    def _ask(self, way, case, layout):
        if not layout.one_sample:
            return self._gradients(case, self._step(way, case, layout), way.plan)
        rows = [replace(case, x=case.x[s : s + 1], y=case.y[s : s + 1]) for s in range(len(case.x))]
        return mean([self._gradients(row, self._step(way, row, layout), way.plan) for row in rows], case)

    def recorded(self, case: Case) -> dict[str, tuple[float, float]]:
        """The numbers that a step keeps or prints, each with how much rounding hides of it; none where it fails."""
        if self.layout.one_sample and len(case.x) > 1:
            return {}
        try:
            return numbers(self._step(self._way(case, self.layout), case, self.layout, record=True).recorded)
        except (NotJudged, Refusal, Unreadable):
            return {}

    def wrong_operations(self, case: Case) -> dict[str, tuple[float, float]]:
        """Of objects that go back by themselves: see `operations.wrong_operations`; none of other code."""
        there = self.layout in self.found and self.found[self.layout].plan.boxes
        return self.recorded(case) if there else {}

    def _step(self, way, case, layout, record=False, seeded=False) -> Step:
        plan, labels = way.plan, way.labels
        settings = self._known(case)
        x, y = layout.give_samples(case.x), layout.give_samples(case.y)
        if labels == "indices":
            if not one_hot(case.y):
                raise NotJudged("its labels are indices of classes, and those of this case are none")
            y = case.y.argmax(axis=1).astype(np.int64)
        elif labels == "vector":
            y = case.y[:, 0].copy()
        calls = [*plan.calls, *([plan.update] if plan.update else []), *plan.loss]
        names = {name for call in calls for name, one in call.arguments if one == "="}
        question = {
            "plan": plan,
            "settings": self._settings(case, x, y),
            "sizes": case.network.sizes,
            "before": [list(case.params.W), list(case.params.b)],
            "samples": [x, y],
            "pairs": [] if labels else pairs(x, y, layout),
            "loss_name": case.network.loss,
            "keywords": {name: settings[found] for name in names if (found := setting(name)) in settings},
            "transposed": self.transposed,
            "folded": way.folded,
            "record": record,
            "remakes": self.remakes,
            "seeded": seeded,
        }
        if isinstance(self.function, Separate):
            step = checked(self.function.step(**{**question, "plan": as_document(plan)}))
        else:
            step = run(one_step, self.function, limit=self.time_limit, **question)
        self.transposed, self.takes_biases = step.transposed, step.has_biases
        return step

    def _names(self):
        """The settings among the arguments of the constructor and of the methods."""
        calls = [call for plan in self.plans for call in (*plan.calls, plan.update) if call is not None]
        taken = [one.name for one in self.takes] + [
            name for call in calls for name, one in call.arguments if one == "="
        ]
        return {setting(name) for name in taken}

    def _known(self, case):
        values = known(case, self.declared.learning_rate)
        return values | {"alpha": values["learning_rate"]} if self.alpha_is_rate else values

    def _settings(self, case, x, y) -> dict[str, Any]:
        """Arguments for the constructor, by what their names say; ``*``: those without names."""
        values = self._known(case)
        takes_init = any(setting(one.name) == INIT_RATE for one in self.takes)
        settings: dict[str, Any] = {}
        needed = [one for one in self.takes if one.needed]
        if not needed and any(one.kind == "VAR_POSITIONAL" for one in self.arguments):
            settings["*"] = list(case.network.sizes)
        for one in self.takes:
            data = role(one.name) if self.takes_data else ""
            name = setting(one.name)
            if data in {"x", "y"}:
                settings[one.name] = x if data == "x" else y
            elif name in values:
                if one.fits(values[name]) and not (takes_init and name == "learning_rate"):
                    settings[one.name] = values[name]
            elif name in ONE_HIDDEN:
                raise NotJudged(f"{self.name} has one hidden layer, by its argument '{one.name}'")
            elif one.needed and needed == [one]:
                settings[one.name] = list(case.network.sizes)
            elif one.needed:
                raise Refusal(
                    f"{self.name} needs the argument '{one.name}', whose meaning is not known; "
                    f"known are {', '.join(SIZES[:3])}, hidden_sizes, n_in, n_out, activation, loss, learning_rate"
                )
        return settings

    def _gradients(self, case, step: Step, plan):
        """Gradients as returned, or by ``W' = W − η·dW`` with what the rounding of W' hides of them."""
        self.adaptive = self.adaptive or step.adaptive
        if self.adaptive and step.dW is None:
            raise Refusal(ADAPTIVE)
        if step.W is None:
            self.in_place = False
            return Values(loss=step.loss, dW=step.dW, db=step.db), None
        self.in_place = True
        names = {setting(one.name) for one in self.takes} | set(plan.rates)
        rates = {*RATES, INIT_RATE} - ({"alpha"} if not self.alpha_is_rate else set())
        if self.learning_rate is None and names & rates:
            self.learning_rate = OUR_RATE
        rate = 1.0 if self.learning_rate is None else self.learning_rate
        u = float(np.finfo(case.params.dtype).eps) / 2
        lists: list[Any] = []
        slacks: list[Any] = []
        for before, after in ((case.params.W, step.W), (case.params.b, step.b)):
            if after is None:
                lists.append(None)
                slacks.append(None)
                continue
            if [part.shape for part in after] != [part.shape for part in before]:
                raise Refusal("the weights or biases have other shapes after the step")
            moves = [(old.astype(np.float64), new.astype(np.float64)) for old, new in zip(before, after, strict=True)]
            lists.append([(old - new) / rate for old, new in moves])
            slacks.append([hidden(old, new, u) / rate for old, new in moves])
        return Values(loss=step.loss, dW=lists[0], db=lists[1]), Values(dW=slacks[0], db=slacks[1])
